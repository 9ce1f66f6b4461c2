"""How to talk to things: wires and field protocols. Imports nothing of the gateway."""
