"""Durability: a message that was committed here survives kill -9, power loss and a full disk."""
