"""Looks at the machine with the eyes of the user that the relay runs as.

Root may write anywhere and open any socket; what root can reach proves nothing.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def acting_as(user: str) -> Iterator[None]:
    """If we are root and the machine has ``user``, be that user inside the block."""
    account = _account(user)
    if os.geteuid() != 0 or account is None:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.initgroups(user, account.pw_gid)
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _account(user: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        return None
