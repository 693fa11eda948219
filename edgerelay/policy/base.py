"""The base class of every policy: typed options, a hook for each stage it cares for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

from edgerelay.mail.address import ForwardPath
from edgerelay.policy.evidence import Evidence
from edgerelay.policy.message import Message
from edgerelay.policy.services import Services
from edgerelay.policy.verdicts import CONTINUE, MessageVerdict, Verdict
from edgerelay.policy.views import Connection, MailTransaction


class Stage(IntEnum):
    """When a policy is asked, in the order of the conversation."""

    CONNECT, EHLO, MAIL, RCPT, MESSAGE = range(5)


@dataclass(frozen=True, slots=True)
class NoOptions:
    """A policy without options of its own."""


OptionsT = TypeVar("OptionsT")


class Policy(Generic[OptionsT]):
    """One question asked of every session; override the hooks whose answer you know.

    All policies of a stage are asked together, and the verdict is that of the first decisive
    one in the order of the configuration. A hook may be cancelled at any checkpoint: the
    client hangs up, an earlier policy decides, its time is over. One that raises counts as
    its ``on_error`` says.

    The relay opens a policy before the first connection and closes it after the last one, as
    an async context manager; one instance serves every session of a worker, so what must be
    shared or last belongs into `Services.table`.
    """

    #: A frozen dataclass; each field is an option of the ``[[policy]]`` table.
    options_type: ClassVar[type[Any]] = NoOptions
    #: Types of evidence that this policy publishes.
    provides: ClassVar[tuple[type[Evidence], ...]] = ()
    #: At which stage; required of a provider with several hooks.
    provides_at: ClassVar[Stage | None] = None
    #: Evidence without which it cannot answer: a configuration that lacks it is refused.
    needs: ClassVar[tuple[type[Evidence], ...]] = ()
    #: Evidence that it uses if some policy gives it (`Connection.evidence_if_any`).
    wants: ClassVar[tuple[type[Evidence], ...]] = ()
    #: It changes what lasts (a table): asked only once all before it have consented.
    has_effects: ClassVar[bool] = False

    def __init__(self, options: OptionsT, services: Services) -> None:
        self.options = options
        self.services = services

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    async def run(self) -> None:
        """Work in the background for as long as the policy is open.

        Override it if there is any. Returning ends it for good; raising starts it again after
        a back-off, and is an event.
        """

    async def on_connect(self, connection: Connection) -> Verdict:
        return CONTINUE

    async def on_ehlo(self, connection: Connection) -> Verdict:
        return CONTINUE

    async def on_mail(self, transaction: MailTransaction) -> Verdict:
        return CONTINUE

    async def on_rcpt(self, transaction: MailTransaction, forward_path: ForwardPath) -> Verdict:
        return CONTINUE

    async def on_message(self, transaction: MailTransaction, message: Message) -> MessageVerdict:
        return CONTINUE
