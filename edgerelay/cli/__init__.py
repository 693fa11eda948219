"""The command line: one module a command, errors with file, key and nearest right key.

Exit codes: 0 good, 1 the thing asked for is not so, 2 usage or configuration error.
"""


def main() -> None:
    """The entry point. Imports nothing that the command at hand does not need."""
    from edgerelay.cli.group import edgerelay

    edgerelay(prog_name="edgerelay")
