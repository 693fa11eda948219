"""Why a signature is no pass: one exception, raised wherever that is found out."""

from __future__ import annotations

from edgerelay.policy import DkimOutcome


class Refused(Exception):
    """``reason`` is shown in the result: ASCII, one line, without a stranger's words."""

    def __init__(self, reason: str, outcome: DkimOutcome = DkimOutcome.PERMERROR) -> None:
        super().__init__(reason)
        self.reason = reason
        self.outcome = outcome
