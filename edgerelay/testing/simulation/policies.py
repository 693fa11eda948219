"""Policies that do what a recipient's local part says, the bad ones included."""

from __future__ import annotations

from typing import Final

import trio

from edgerelay.mail.reply import Reply
from edgerelay.policy import (
    CONTINUE,
    AddScore,
    Decisive,
    Defer,
    Discard,
    ForwardPath,
    Hold,
    MailTransaction,
    Message,
    MessageVerdict,
    PerRecipient,
    Policy,
    Prepend,
    Reject,
    Tag,
    Verdict,
)

_VERDICTS: Final[dict[str, Decisive]] = {
    "hold": Hold("the simulation says so"),
    "drop": Discard("the simulation says so"),
    "later": Defer(Reply(451, "4.7.1", "Come back")),
    "no": Reject(Reply(550, "5.7.1", "Not this one")),
}


class Moody(Policy[None]):
    """Hangs for ever, or raises, where it is told to."""

    async def on_rcpt(self, transaction: MailTransaction, forward_path: ForwardPath) -> Verdict:
        if forward_path.mailbox.local_part == "hang":
            await trio.sleep_forever()
        if forward_path.mailbox.local_part == "raise":
            raise RuntimeError("this recipient makes me raise")
        return CONTINUE


class Judge(Policy[None]):
    """Says of each recipient of a message what its local part says."""

    async def on_message(self, transaction: MailTransaction, message: Message) -> MessageVerdict:
        verdicts = {
            path: _VERDICTS[path.mailbox.local_part]
            for path in transaction.forward_paths
            if path.mailbox.local_part in _VERDICTS
        }
        return PerRecipient(verdicts) if verdicts else Tag((AddScore(1.0, "judged"), LABEL))


LABEL: Final = Prepend("X-Judged", "yes")
POLICIES: Final = {"moody": Moody, "judge": Judge}
