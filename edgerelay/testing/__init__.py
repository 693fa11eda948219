"""The public test kit: for authors of policies, and for the relay's own tests.

`PolicyHarness` asks one policy, `RelayHarness` runs a whole relay, `check_policy` is the
contract of any policy; docs/testing.md shows each at work. Names are imported when they are
used, because the whole relay stands behind some of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from edgerelay.testing.check_policies import check_policy
    from edgerelay.testing.client import HungUp, Sent, SmtpClient
    from edgerelay.testing.hops import Hop
    from edgerelay.testing.literal_dns import Fault, LiteralResolver, Zone
    from edgerelay.testing.messages import (
        TEST_KEYS,
        SigningKey,
        build_message,
        dkim_records,
        sign,
    )
    from edgerelay.testing.noting import PolicyFailed
    from edgerelay.testing.policy_harness import PolicyHarness
    from edgerelay.testing.relay_harness import RelayHarness
    from edgerelay.testing.scripted_peer import DROP, HANG, Drop, Late, Raw, ReceivedMessage
    from edgerelay.testing.services import Logged
    from edgerelay.testing.virtual_time import wait

__all__ = [
    "DROP",
    "HANG",
    "TEST_KEYS",
    "Drop",
    "Fault",
    "Hop",
    "HungUp",
    "Late",
    "LiteralResolver",
    "Logged",
    "PolicyFailed",
    "PolicyHarness",
    "Raw",
    "ReceivedMessage",
    "RelayHarness",
    "Sent",
    "SigningKey",
    "SmtpClient",
    "Zone",
    "build_message",
    "check_policy",
    "dkim_records",
    "sign",
    "wait",
]

_HOMES: Final = {
    "check_policies": ("check_policy",),
    "client": ("HungUp", "Sent", "SmtpClient"),
    "hops": ("Hop",),
    "literal_dns": ("Fault", "LiteralResolver", "Zone"),
    "messages": ("TEST_KEYS", "SigningKey", "build_message", "dkim_records", "sign"),
    "noting": ("PolicyFailed",),
    "policy_harness": ("PolicyHarness",),
    "relay_harness": ("RelayHarness",),
    "scripted_peer": ("DROP", "HANG", "Drop", "Late", "Raw", "ReceivedMessage"),
    "services": ("Logged",),
    "virtual_time": ("wait",),
}
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
