"""Pretend devices on real sockets, serial lines and MQTT: one seeded world, played through the profiles."""
