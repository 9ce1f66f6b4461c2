"""``sitegate schema``: JSON Schema for editors."""

from __future__ import annotations

from gateway.commands.output import FINE, MISUSE, complain, say

SUFFIX = ".schema.json"


def schema(kind: str) -> int:
    """Print the schema of site files or profiles."""
    from gateway.config.schema import SCHEMAS, as_text

    kinds = [name.removesuffix(SUFFIX) for name in SCHEMAS]
    if kind not in kinds:
        complain(f"there is no schema {kind!r}; choose {' or '.join(kinds)}")
        return MISUSE
    say(as_text(SCHEMAS[kind + SUFFIX]()).rstrip())
    return FINE
