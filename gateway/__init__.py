"""What to do with what the devices say: honest data, kept, shown and judged."""

__version__ = "0.1.0"
