"""Outputs: what may be switched, when not, who asked, what came of it. Nothing else in the gateway writes to a wire."""
