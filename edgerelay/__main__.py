"""`python -m edgerelay` is the command `edgerelay`."""

from edgerelay.cli import main

main()
