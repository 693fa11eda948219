"""The one-policy harness: a question for each stage, the answer as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
import trio
from trio.testing import MockClock

from edgerelay.mail.address import NULL_REVERSE_PATH
from edgerelay.mail.envelope import Body, Envelope
from edgerelay.policy import (
    ACCEPT,
    CONTINUE,
    Connection,
    Defer,
    Discard,
    DkimResult,
    Duration,
    ForwardPath,
    Hold,
    MailTransaction,
    Message,
    MessageVerdict,
    PerRecipient,
    Policy,
    Prepend,
    Reject,
    Reply,
    SpfCheck,
    SpfOutcome,
    SpfResult,
    Status,
    Tag,
    Verdict,
)
from edgerelay.testing.literal_dns import Fault, Zone
from edgerelay.testing.noting import PolicyFailed
from edgerelay.testing.policy_harness import PolicyHarness
from edgerelay.testing.virtual_time import wait

NO = Reject(Reply(550, "5.7.1", "No"))
LATER = Defer(Reply(451, "4.7.1", "Later"))
SPF = SpfResult((SpfCheck("mailfrom", SpfOutcome.PASS, "a.example", "x@a.example"),))


@dataclass(frozen=True, slots=True)
class Options:
    at: Literal["connect", "ehlo", "mail", "rcpt", "message", "never"] = "never"
    after: Duration = 0.001


class Refuses(Policy[Options]):
    """Refuses at one stage, after a while."""

    options_type = Options

    async def on_connect(self, connection: Connection) -> Verdict:
        self.services.log("connect", client=str(connection.session.client))
        return await self._at("connect")

    async def on_ehlo(self, connection: Connection) -> Verdict:
        self.services.log("ehlo", helo=connection.session.helo)
        return await self._at("ehlo")

    async def on_mail(self, transaction: MailTransaction) -> Verdict:
        self.services.log("mail", path=str(transaction.envelope.reverse_path))
        return await self._at("mail")

    async def on_rcpt(self, transaction: MailTransaction, forward_path: ForwardPath) -> Verdict:
        self.services.log("rcpt", path=str(forward_path), before=len(transaction.forward_paths))
        return await self._at("rcpt")

    async def on_message(self, transaction: MailTransaction, message: Message) -> MessageVerdict:
        self.services.log("message", size=message.size)
        return await self._at("message")

    async def _at(self, stage: str) -> Verdict:
        await trio.sleep(self.options.after)
        return NO if stage == self.options.at else CONTINUE


def stages(policy: PolicyHarness) -> list[str]:
    return [line.text for line in policy.logged]


async def test_what_is_left_out_is_asked_with_its_defaults(autojump_clock: MockClock) -> None:
    async with PolicyHarness(Refuses) as policy:
        assert await policy.message() == CONTINUE
        assert stages(policy) == ["connect", "ehlo", "mail", "rcpt", "message"]
        assert policy.logged[0].facts == {"client": "192.0.2.1"}
        assert await policy.rcpt("a@example.com") == CONTINUE
        assert stages(policy)[5:] == ["mail", "rcpt"]
        assert await policy.rcpt("b@example.com") == CONTINUE
        assert policy.logged[-1].facts == {"path": "<b@example.com>", "before": 1}
        policy.reset()
        assert await policy.rcpt() == CONTINUE
        assert policy.logged[-1].facts["before"] == 0
        policy.quit()
        assert await policy.mail("") == CONTINUE
        assert stages(policy)[-3:] == ["connect", "ehlo", "mail"]


@pytest.mark.parametrize("at", ["connect", "ehlo", "mail", "rcpt", "message"])
async def test_the_verdict_is_that_of_the_stage(at: str, autojump_clock: MockClock) -> None:
    async with PolicyHarness(Refuses, options={"at": at, "after": "2s"}) as policy:
        assert await policy.ask() == NO
        assert stages(policy)[-1] == at
        assert trio.current_time() == 2 * len(stages(policy))


async def test_what_was_decided_before_stands_for_what_follows(autojump_clock: MockClock) -> None:
    async with PolicyHarness(Refuses, options={"at": "connect"}) as policy:
        assert await policy.rcpt() == NO
        assert stages(policy) == ["connect"]


async def test_a_policy_sees_the_facts_it_is_given(autojump_clock: MockClock) -> None:
    class Curious(Policy[Any]):
        """Looks at everything."""

        async def on_rcpt(
            self, transaction: MailTransaction, forward_path: ForwardPath
        ) -> Verdict:
            session, envelope = transaction.session, transaction.envelope
            assert session.client is None
            assert (session.helo, session.is_extended, session.tls) == ("x", False, "TLSv1.3 Y")
            assert session.is_trusted
            assert session.is_authenticated
            assert envelope.body is Body.EIGHT_BIT_MIME
            assert envelope.reverse_path.is_null
            return ACCEPT

    async with PolicyHarness(Curious) as policy:
        await policy.connect("", is_trusted=True, is_authenticated=True)
        await policy.ehlo("x", is_extended=False, tls="TLSv1.3 Y")
        await policy.mail(Envelope(NULL_REVERSE_PATH, body=Body.EIGHT_BIT_MIME))
        assert await policy.rcpt() == ACCEPT


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"att": "mail"}, "att: unknown key"),
        ({"at": "data"}, "at: "),
        ({"after": 5}, "after: "),
        ({"after": "-5s"}, "after: "),
    ],
)
def test_options_are_checked_as_in_the_configuration(
    options: Mapping[str, object], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        PolicyHarness(Refuses, options=options)


class Judges(Policy[Any]):
    """Reads evidence, and publishes some."""

    needs = (SpfResult,)

    async def on_mail(self, transaction: MailTransaction) -> Verdict:
        result = await transaction.evidence(SpfResult)
        return CONTINUE if result.mail_from == SPF.mail_from else NO


async def test_evidence_can_be_handed_in(autojump_clock: MockClock) -> None:
    async with PolicyHarness(Judges, given=[SPF]) as policy:
        assert await policy.mail() == CONTINUE
        assert policy.published == ()  # it gave none itself
    with pytest.raises(ValueError, match="SpfResult"):
        PolicyHarness(Judges)


async def test_what_it_publishes_can_be_read(autojump_clock: MockClock) -> None:
    class Finds(Policy[Any]):
        """Publishes what it is there for."""

        provides = (SpfResult,)

        async def on_mail(self, transaction: MailTransaction) -> Verdict:
            transaction.provide(SPF)
            return Tag((Prepend("X-Seen", "yes"),))

    async with PolicyHarness(Finds) as policy:
        assert await policy.mail() == Tag((Prepend("X-Seen", "yes"),))
        assert policy.published_of(SpfResult) == SPF
        assert policy.edits == (Prepend("X-Seen", "yes"),)
        with pytest.raises(LookupError):
            policy.published_of(DkimResult)


async def test_a_failure_is_raised_with_its_cause(autojump_clock: MockClock) -> None:
    class Fails(Policy[Any]):
        """Fails in all the ways there are."""

        async def on_mail(self, transaction: MailTransaction) -> Verdict:
            match str(transaction.envelope.reverse_path):
                case "<raise@x>":
                    raise LookupError("a list is gone")
                case "<hang@x>":
                    await trio.sleep_forever()
                case "<undeclared@x>":
                    await transaction.evidence(SpfResult)
            return "no verdict"  # type: ignore[return-value]  # what is tested

    async with PolicyHarness(Fails, timeout=7) as policy:
        with pytest.raises(PolicyFailed, match=r"mail: .*a list is gone") as raised:
            await policy.mail("raise@x")
        assert isinstance(raised.value.__cause__, LookupError)
        with pytest.raises(PolicyFailed, match="time"):
            await policy.mail("hang@x")
        assert trio.current_time() == 7
        with pytest.raises(PolicyFailed, match="SpfResult"):
            await policy.mail("undeclared@x")
        with pytest.raises(PolicyFailed, match="no verdict"):
            await policy.mail("value@x")


async def test_recipients_that_are_refused_do_not_count(autojump_clock: MockClock) -> None:
    class Picks(Policy[Any]):
        """A verdict of its own for each recipient."""

        async def on_rcpt(
            self, transaction: MailTransaction, forward_path: ForwardPath
        ) -> Verdict:
            verdicts: dict[str, Verdict] = {"no": NO, "later": LATER, "hold": Hold("x")}
            return verdicts.get(forward_path.mailbox.local_part, CONTINUE)

        async def on_message(
            self, transaction: MailTransaction, message: Message
        ) -> MessageVerdict:
            self.services.log(" ".join(str(path) for path in transaction.forward_paths))
            return PerRecipient({transaction.forward_paths[0]: Discard("x")})

    async with PolicyHarness(Picks) as policy:
        for local_part in ("no", "later", "hold", "a", "b"):
            await policy.rcpt(f"{local_part}@x")
        verdict = await policy.message()
        assert policy.logged[0].text == "<a@x> <b@x>"
        assert isinstance(verdict, PerRecipient)
        await policy.rcpt("hold@x")
        assert await policy.message() == Hold("x")  # nobody is left to be asked about


async def test_the_dns_is_the_zone_and_the_clock_is_virtual(autojump_clock: MockClock) -> None:
    class Looks(Policy[Any]):
        """Asks the DNS, and the time."""

        async def on_connect(self, connection: Connection) -> Verdict:
            answer = await self.services.dns.resolve("a.example", "A")
            dead = await self.services.dns.resolve("dead.example", "A")
            assert answer.records == ("192.0.2.7",)
            assert dead.status is Status.TEMPORARY
            await self.services.table().put("seen", b"yes", expires_in=3600)
            self.services.log("now", at=self.services.now())
            return CONTINUE

    zone: Zone = {("a.example", "A"): ["192.0.2.7"], ("dead.example", "A"): Fault.TIMEOUT}
    start = datetime(2026, 1, 4, tzinfo=UTC)
    async with PolicyHarness(Looks, zone=zone, start=start) as policy:
        await wait(hours=1)
        await policy.connect()
        assert policy.logged[0].facts["at"] == start.timestamp() + 3600 + 5
        assert policy.questions == [("a.example", "A"), ("dead.example", "A")]
        assert policy.writes == 1


async def test_a_large_body_comes_in_pieces(autojump_clock: MockClock) -> None:
    class Counts(Policy[Any]):
        """Reads all of it."""

        async def on_message(
            self, transaction: MailTransaction, message: Message
        ) -> MessageVerdict:
            assert message.body is None
            pieces = [len(chunk) async for chunk in message.chunks()]
            return Hold(f"{len(pieces)} pieces, {sum(pieces)} octets")

    content = b"Subject: x\r\n\r\n" + b"x" * 600_000
    async with PolicyHarness(Counts) as policy:
        verdict = await policy.message(content, in_memory=False)
        assert verdict == Hold("3 pieces, 600000 octets")


async def test_background_work_runs_while_it_is_open(autojump_clock: MockClock) -> None:
    class Ticks(Policy[Any]):
        """Counts minutes."""

        async def run(self) -> None:
            while True:
                await trio.sleep(60)
                self.services.log("tick")

        async def on_connect(self, connection: Connection) -> Verdict:
            return CONTINUE

    async with PolicyHarness(Ticks) as policy:
        await wait(minutes=3)
        assert len(policy.logged) == 3
        assert policy.tasks == 0  # it belongs to no session
