"""At night, only those who wrote by day reach a mailbox that wakes somebody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgerelay.policy import (
    CONTINUE,
    Defer,
    Duration,
    ForwardPath,
    MailTransaction,
    Policy,
    Reply,
    Verdict,
)

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
QUIET: Final = Defer(Reply(450, "4.2.1", "This mailbox is quiet at night; please try later"))


@dataclass(frozen=True, slots=True)
class Options:
    #: Whose nights are quiet: "oncall@example.com", in any case.
    mailboxes: tuple[str, ...]
    #: When the night begins and ends, in hours UTC; the same hour twice: it is always night.
    begins: int = 22
    ends: int = 6
    #: How long a correspondent who wrote by day stays known.
    remember: Duration = 30 * DAY

    def __post_init__(self) -> None:
        if not (0 <= self.begins < 24 and 0 <= self.ends < 24):
            raise ValueError("begins and ends are hours from 0 to 23")


class QuietHours(Policy[Options]):
    """Defers mail of strangers to some mailboxes until the morning.

    A deferral loses nothing: the sender's queue comes back after the night. Whoever wrote by
    day is known by the domain of the reverse-path, and reports (the null one) always pass.
    """

    options_type = Options
    has_effects = True  # it remembers who wrote

    async def on_rcpt(self, transaction: MailTransaction, forward_path: ForwardPath) -> Verdict:
        mailbox, sender = forward_path.mailbox, transaction.envelope.reverse_path.mailbox
        address = f"{mailbox.local_part}@{mailbox.domain_key}".lower()
        if sender is None or address not in map(str.lower, self.options.mailboxes):
            return CONTINUE
        table, key = self.services.table(), f"{sender.domain_key} {address}"
        if self._is_night():
            return CONTINUE if await table.get(key) is not None else QUIET
        await table.put(key, b"", expires_in=self.options.remember)
        return CONTINUE

    def _is_night(self) -> bool:
        begins, ends = self.options.begins, self.options.ends
        hour = self.services.now() % DAY / HOUR
        return begins <= hour < ends if begins < ends else hour >= begins or hour < ends
