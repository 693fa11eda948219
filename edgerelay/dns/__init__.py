"""Questions to the DNS, answered from a cache, once, and within a time limit."""
