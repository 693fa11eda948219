"""What a person reads in a report: plain, one line at a time, and of use."""

from __future__ import annotations

import pytest

from edgerelay.mail.address import ForwardPath, Mailbox, ReversePath
from edgerelay.mail.dsn_words import (
    ReportedRecipient,
    ReportKind,
    Subject,
    explain,
    one_line,
    title,
)
from edgerelay.mail.envelope import Envelope, Recipient

BOB = Mailbox("bob", "example.org")
SUBJECT = Subject("QID1", Envelope(ReversePath(Mailbox("ann", "example.com"))), 1_700_000_000.0)


def text(kind: ReportKind, status: str = "5.0.0", reply: str = "", remote_mta: str = "") -> str:
    reported = ReportedRecipient(Recipient(ForwardPath(BOB)), status, reply, remote_mta)
    postmaster = Mailbox("postmaster", "relay.example")
    return explain(kind, SUBJECT, (reported,), "relay.example", postmaster)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("5.1.1", "typing error"),
        ("5.1.2", "no such domain"),
        ("5.1.10", "accepts no mail"),
        ("5.1.99", "Check the address, or ask"),
        ("5.2.2", "full"),
        ("5.3.4", "smaller"),
        ("5.3.9", "mail administrator"),
        ("4.4.7", "Try again later"),
        ("5.7.1", "does not want this message"),
        ("5.0.0", "mail administrator"),
    ],
)
def test_a_failure_comes_with_advice(status: str, advice: str) -> None:
    assert advice in " ".join(text(ReportKind.FAILED, status).split())


def test_only_failures_come_with_advice() -> None:
    assert "administrator" not in text(ReportKind.DELAYED, "4.4.1")
    assert "administrator" not in text(ReportKind.DELIVERED, "2.0.0")


def test_whose_words_they_are() -> None:
    hops = text(ReportKind.FAILED, reply="550 No", remote_mta="mx.example")
    assert "The mail server mx.example said:\r\n      550 No\r\n" in hops
    ours = text(ReportKind.FAILED, reply="connection refused")
    assert "What happened:\r\n      connection refused\r\n" in ours
    assert "happened" not in text(ReportKind.FAILED)


def test_every_line_is_short_whatever_the_hop_said() -> None:
    lines = text(ReportKind.FAILED, reply="x " * 5000 + "y" * 5000, remote_mta="mx").split("\r\n")
    assert max(map(len, lines)) <= 78
    assert len(lines) < 60


@pytest.mark.parametrize(
    ("line", "utf8", "shown"),
    [
        ("plain text", False, "plain text"),
        ("a\r\nb\tc", False, "a  b c"),
        ("\x1b[31m\x00\x7f", False, "?[31m??"),
        ("naïve", True, "naïve"),
        ("naïve", False, r"na\xefve"),
        # What would turn the line's direction, or is half a character, is spelt out.
        ("\u202eevil", True, r"\u202eevil"),
        ("\ud800", True, r"\ud800"),
    ],
)
def test_one_line_of_anything(line: str, utf8: bool, shown: str) -> None:
    assert one_line(line, utf8) == shown


def test_the_subject_names_the_first_recipient() -> None:
    assert title(ReportKind.FAILED, BOB, 1) == "Undeliverable: mail to bob@example.org"
    assert title(ReportKind.DELAYED, BOB, 3) == (
        "Delayed, still trying: mail to bob@example.org and 2 more"
    )
    assert title(ReportKind.DELIVERED, None, 1) == "Delivered: your message"
