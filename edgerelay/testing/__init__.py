"""Public test support: scripted peers, memory transports and contracts."""
