"""Outbound: which next hop, when, and with what outcome; knows no listener."""
