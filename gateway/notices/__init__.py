"""Telling people of alarms: what happened becomes lines, lines become few messages, a durable outbox sends them."""
