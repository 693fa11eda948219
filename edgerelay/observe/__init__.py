"""What happened, as typed values in one stream; logs and counters read it.

The bottom layer: it knows none of the parts whose events it carries.
"""
