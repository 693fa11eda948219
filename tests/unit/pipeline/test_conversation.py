"""A session's stages as SMTP brings them. (What policies do in them: test_asking.py.)"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, cast

import trio
from trio.testing import MockClock

from edgerelay.mail.address import NULL_REVERSE_PATH
from edgerelay.mail.envelope import Envelope
from edgerelay.pipeline import Configured, Conversation, Plan
from edgerelay.policy import (
    CONTINUE,
    Accept,
    Discard,
    ForwardPath,
    Hold,
    Mailbox,
    MailTransaction,
    Message,
    Policy,
    Prepend,
    Services,
    Session,
    Tag,
    Verdict,
)

ANN, BOB = (ForwardPath(Mailbox(name, "example.net")) for name in ("ann", "bob"))
MAIL = Envelope(NULL_REVERSE_PATH)
SESSION = Session(ip_address("192.0.2.7"), "TOKEN")
MESSAGE = cast("Message", None)


def talk(nursery: trio.Nursery, **hooks: Any) -> Conversation:
    kind = cast("type[Policy[Any]]", type("P", (Policy,), hooks))
    policy = kind(None, cast("Services", None))
    return Conversation(Plan([Configured("p", kind, policy)]), nursery, SESSION, lambda _: None)


async def test_edits_come_in_the_total_order_whoever_asked_for_them_first(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    def tags(name: str) -> Any:
        async def hook(*_: object) -> Verdict:
            return Tag((Prepend("X", name),))

        return hook

    async def on_rcpt(_: object, __: MailTransaction, path: ForwardPath) -> Verdict:
        return Tag((Prepend("X", path.mailbox.local_part),))

    conversation = talk(
        nursery,
        on_connect=tags("connect"),
        on_ehlo=tags("ehlo"),
        on_mail=tags("mail"),
        on_rcpt=on_rcpt,
        on_message=tags("message"),
    )
    conversation.connect().start()
    conversation.ehlo(SESSION).start()
    conversation.mail(MAIL).start()
    for path in (ANN, BOB):
        conversation.accepted(path, await conversation.rcpt(path))
    outcome = await conversation.message(MESSAGE)
    order = ["connect", "ehlo", "mail", "ann", "bob", "message"]
    assert [edit.value for edit in outcome.edits if isinstance(edit, Prepend)] == order


async def test_what_a_refused_recipient_would_have_had_is_forgotten(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def on_rcpt(_: object, __: MailTransaction, path: ForwardPath) -> Verdict:
        return Tag((Prepend("X", path.mailbox.local_part),))

    conversation = talk(nursery, on_rcpt=on_rcpt)
    conversation.mail(MAIL).start()
    await conversation.rcpt(ANN)  # and then the edge refused it
    conversation.accepted(BOB, await conversation.rcpt(BOB))
    outcome = await conversation.message(MESSAGE)
    assert outcome.edits == (Prepend("X", "bob"),)


async def test_each_recipient_sees_those_accepted_before_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    seen: list[tuple[ForwardPath, ...]] = []

    async def on_rcpt(_: object, transaction: MailTransaction, path: ForwardPath) -> Verdict:
        seen.append(transaction.forward_paths)
        return CONTINUE

    conversation = talk(nursery, on_rcpt=on_rcpt)
    conversation.mail(MAIL).start()
    for path in (ANN, BOB):
        conversation.accepted(path, await conversation.rcpt(path))
    assert seen == [(), (ANN,)]


async def test_decided_recipients_skip_the_message_stage_and_keep_their_verdicts(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    said: dict[ForwardPath, Verdict] = {ANN: Hold("new"), BOB: Discard("old")}

    async def on_rcpt(_: object, __: MailTransaction, path: ForwardPath) -> Verdict:
        return said[path]

    async def on_message(*_: object) -> Verdict:
        raise AssertionError("nobody is left to decide about")

    conversation = talk(nursery, on_rcpt=on_rcpt, on_message=on_message)
    conversation.mail(MAIL).start()
    for path in (ANN, BOB):
        conversation.accepted(path, await conversation.rcpt(path))
    outcome = await conversation.message(MESSAGE)
    assert outcome.verdicts == said
    assert {entry.name for entry in outcome.decided_by.values()} == {"p"}


async def test_a_session_accepted_at_connect_is_asked_nothing_more(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def on_connect(*_: object) -> Verdict:
        return Accept()

    async def never(*_: object) -> Verdict:
        raise AssertionError

    conversation = talk(
        nursery, on_connect=on_connect, on_mail=never, on_rcpt=never, on_message=never
    )
    conversation.connect().start()
    for _ in range(2):
        conversation.ehlo(SESSION).start()
        conversation.mail(MAIL).start()
        outcome = await conversation.rcpt(ANN)
        assert outcome.verdicts == {ANN: Accept()}
        conversation.accepted(ANN, outcome)
        assert (await conversation.message(MESSAGE)).verdicts == {ANN: Accept()}
