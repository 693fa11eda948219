"""Asks the policies: concurrent work, sequential meaning."""
