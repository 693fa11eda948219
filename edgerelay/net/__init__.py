"""Octet streams: the seam below every conversation, its socket form, and one reaper."""
