"""Small expiring maps that outlive a process."""
