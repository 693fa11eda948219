"""What a recipient's sender wants to hear."""

from __future__ import annotations

from edgerelay.mail.address import ForwardPath, Mailbox
from edgerelay.mail.envelope import NOTIFY_DEFAULT, Notify, Recipient

PATH = ForwardPath(Mailbox("a", "b.example"))


def test_without_notify_failures_and_delays_are_reported() -> None:
    """RFC 3461 section 4.1."""
    assert Recipient(PATH).wants == NOTIFY_DEFAULT == Notify.FAILURE | Notify.DELAY


def test_never_is_not_the_same_as_nothing() -> None:
    assert Recipient(PATH, Notify.NEVER).wants is Notify.NEVER
    assert not Recipient(PATH, Notify.NEVER).wants & Notify.FAILURE
