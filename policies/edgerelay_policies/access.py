"""Access lists: who is let in and who is kept out, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from edgerelay.policy import (
    ACCEPT,
    CONTINUE,
    Addresses,
    AddressPattern,
    Connection,
    ForwardPath,
    Mailbox,
    MailTransaction,
    Network,
    Policy,
    Reject,
    Reply,
    Services,
    Verdict,
)

NO_CLIENT = Reject(Reply(550, "5.7.1", "Mail from your network is not accepted here"))
NO_SENDER = Reject(Reply(550, "5.7.1", "Mail from this address is not accepted here"))
NO_RECIPIENT = Reject(Reply(550, "5.7.1", "This address takes no mail from outside"))


@dataclass(frozen=True, slots=True)
class Options:
    allow_clients: tuple[Network, ...] = ()  #: no policy after this one is asked of them
    deny_clients: tuple[Network, ...] = ()
    allow_senders: Addresses = ()  #: forgeable: anybody may name them
    deny_senders: Addresses = ()
    deny_recipients: Addresses = ()


class Access(Policy[Options]):
    """Accept or refuse by lists of networks and addresses; what allows goes before what denies."""

    options_type = Options

    def __init__(self, options: Options, services: Services) -> None:
        super().__init__(options, services)
        self._allowed_senders = _Lists(options.allow_senders)
        self._denied_senders = _Lists(options.deny_senders)
        self._denied_recipients = _Lists(options.deny_recipients)
        self._of_client = lru_cache(maxsize=4096)(self._verdict_of_client)

    async def on_connect(self, connection: Connection) -> Verdict:
        client = connection.session.client
        return CONTINUE if client is None else self._of_client(client.version, client.packed)

    async def on_mail(self, transaction: MailTransaction) -> Verdict:
        mailbox = transaction.envelope.reverse_path.mailbox
        if mailbox is None:
            return CONTINUE
        if mailbox in self._allowed_senders:
            return ACCEPT
        return NO_SENDER if mailbox in self._denied_senders else CONTINUE

    async def on_rcpt(self, transaction: MailTransaction, forward_path: ForwardPath) -> Verdict:
        return NO_RECIPIENT if forward_path.mailbox in self._denied_recipients else CONTINUE

    def _verdict_of_client(self, version: int, packed: bytes) -> Verdict:
        if _is_in(version, packed, self.options.allow_clients):
            return ACCEPT
        return NO_CLIENT if _is_in(version, packed, self.options.deny_clients) else CONTINUE


def _is_in(version: int, packed: bytes, networks: Sequence[Network]) -> bool:
    number = int.from_bytes(packed, "big")
    return any(
        network.version == version and (number & int(network.netmask)) == int(network[0])
        for network in networks
    )


class _Lists:
    """Patterns by what is looked up: a list of a hundred thousand costs as much as one of ten."""

    def __init__(self, patterns: Sequence[AddressPattern]) -> None:
        self._mailboxes = {(p.local_part, p.domain) for p in patterns if p.local_part}
        self._domains = {p.domain for p in patterns if not p.local_part and not p.is_below}
        self._below = {p.domain for p in patterns if p.is_below}

    def __contains__(self, mailbox: Mailbox) -> bool:
        domain = mailbox.domain_key
        if domain in self._domains or (mailbox.local_part.lower(), domain) in self._mailboxes:
            return True
        parent = domain
        while self._below and (parent := parent.partition(".")[2]):
            if parent in self._below:
                return True
        return False
