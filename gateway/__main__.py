"""``python -m gateway`` is ``sitegate``."""

from gateway.cli import main

main()
