"""Limits, alarms and their whole life: rules are data, the engine is pure, nothing here writes to a wire."""
