"""What must succeed before anything starts: the lock, the sockets, the privileges.

Every failure here is a `StartError` whose text names what the operator can change.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import resource
import signal
import socket
import stat
from pathlib import Path
from typing import Final

#: Connections the kernel keeps for us between two turns of the accept loop. Below the
#: thousands a burst overflows it and clients wait seconds for their SYN to be sent again.
BACKLOG: Final = 4096


class StartError(Exception):
    """Nothing was started; the process exits with code 2."""


def prepare_process() -> None:
    """Files are ours alone, a crash leaves no secrets on disk, descriptors suffice.

    A SIGHUP that comes before anybody listens for it must not end us.
    """
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def lock_state(state_dir: Path) -> int:
    """Create the directory and take it for ourselves; the descriptor is the lock.

    The lock is gone when the last process that inherited it is, so workers do not.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"state_dir: cannot use {state_dir}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StartError(f"state_dir: another edgerelay is running on {state_dir}") from None
    return lock


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket, non-blocking. ``[::]`` takes IPv6 alone (V6ONLY)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise StartError(
            f"listener: cannot listen on {address_text(host, port)}: {_why(error)}"
        ) from error
    return listening


def _why(error: OSError) -> str:
    hint = {
        errno.EADDRINUSE: "another program is listening there",
        errno.EADDRNOTAVAIL: "no interface of this machine has that address",
        errno.EACCES: "a port below 1024 needs root or CAP_NET_BIND_SERVICE",
    }
    return hint.get(error.errno or 0) or error.strerror or str(error)


def address_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bound_name(listening: socket.socket) -> str:
    """The address as bound: port 0 has become a real one."""
    host, port = listening.getsockname()[:2]
    return address_text(host, port)


def drop_privileges(user: str, *, explicit: bool, state_dir: Path) -> str | None:
    """Become ``user`` if we are root, after giving it the state. Returns a warning, if any.

    A default user that this machine does not have leaves root in place with a warning; one
    that the configuration names must exist.
    """
    if os.geteuid() != 0:
        return None
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        if explicit:
            raise StartError(f"user: this machine has no user {user!r}") from None
        return f"running as root: this machine has no user {user!r}"
    if account.pw_uid == 0:
        return "running as root: so the configuration says" if explicit else None
    give(state_dir, account)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    return None


def give(state_dir: Path, account: pwd.struct_passwd) -> None:
    """Make an account the owner of the state: of what root or its last owner made there."""
    owner = state_dir.stat().st_uid
    os.chown(state_dir, account.pw_uid, account.pw_gid)
    for directory, names, files in os.walk(state_dir):
        for name in (*names, *files):
            path = Path(directory) / name
            found = path.lstat()
            # A second name may stand anywhere: whoever may write here could have made this one.
            is_ours_alone = stat.S_ISDIR(found.st_mode) or found.st_nlink == 1
            if found.st_uid in (0, owner) and is_ours_alone:
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
