"""The parent process: binds, drops privileges, starts workers and starts them again.

It never touches a message. If it dies, its workers see their channel end, stop accepting and
finish what they have.
"""

from edgerelay.supervisor.serving import serve

__all__ = ["serve"]
