"""The command line: one module a command, errors with file, key and nearest right key."""
