"""Inbound: listeners and sessions, up to the durable commit; knows no next hop."""
