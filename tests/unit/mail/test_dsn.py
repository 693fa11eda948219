"""A report is well-formed for `email`, readable for a person, and deaf to what it reports."""

from __future__ import annotations

from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.policy import default
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerelay.mail.address import NULL_REVERSE_PATH, ForwardPath, Mailbox, ReversePath
from edgerelay.mail.dsn import Report, ReportedRecipient, ReportKind, Subject, report
from edgerelay.mail.envelope import Envelope, Recipient, Ret

NOON = 1_700_000_000.0
HEAD = b"From: ann@example.com\r\nSubject: lunch\r\n\r\nAt one?\r\n"
POSTMASTER = Mailbox("postmaster", "relay.example")


def to(address: str, orcpt: str | None = None) -> Recipient:
    return Recipient(ForwardPath(Mailbox.from_text(address)), orcpt=orcpt)


UNKNOWN = ReportedRecipient(
    to("bob@example.org"), "5.1.1", "550 5.1.1 No such user", "mx.example.org", attempted=NOON
)


def compose(
    kind: ReportKind = ReportKind.FAILED,
    *recipients: ReportedRecipient,
    reverse_path: str = "ann@example.com",
    ret: Ret | None = None,
    envid: str | None = None,
    smtputf8: bool = False,
    head: bytes = HEAD,
    full: bytes | None = None,
) -> Report:
    mailbox = ReversePath(Mailbox.from_text(reverse_path))
    envelope = Envelope(mailbox, ret=ret, envid=envid, smtputf8=smtputf8)
    return report(
        kind,
        Subject("QID1", envelope, NOON - 60),
        recipients or (UNKNOWN,),
        reporting_mta="relay.example",
        postmaster=POSTMASTER,
        report_id="QID2",
        now=NOON,
        head=head,
        full=full,
    )


class Parsed:
    """A report as `email` reads it; whatever it finds wrong fails the test."""

    def __init__(self, made: Report) -> None:
        assert all(len(line) <= 998 for line in made.content.split(b"\r\n"))
        assert b"\n" not in made.content.replace(b"\r\n", b"")
        assert b"\r" not in made.content.replace(b"\r\n", b"")
        assert made.is_7bit == made.content.isascii()
        parsed = BytesParser(policy=default).parsebytes(made.content)
        assert isinstance(parsed, EmailMessage)
        assert parsed.get_content_type() == "multipart/report"
        assert parsed.get_param("report-type") == "delivery-status"
        self.message = parsed
        self.explanation, self.status, self.returned = cast(
            "list[EmailMessage]", list(parsed.iter_parts())
        )
        ours = (parsed, self.explanation, self.status)  # the returned part is the sender's
        assert [part.defects for part in ours] == [[], [], []]

    @property
    def text(self) -> str:
        return cast(str, self.explanation.get_content()).replace("\r\n", "\n")

    @property
    def groups(self) -> list[dict[str, str]]:
        """The field groups of the delivery status: the message's, then one a recipient."""
        payload = cast("list[Message[Any, Any]]", self.status.get_payload())
        return [{name: str(value) for name, value in group.items()} for group in payload]


def test_a_failure_says_all_that_rfc_3464_asks_for() -> None:
    bob = ReportedRecipient(
        to("bob@example.org", "rfc822;Bob+2Bx@Example.ORG"),
        "5.1.1",
        "550 5.1.1 No such user",
        "mx.example.org",
        attempted=NOON,
    )
    parsed = Parsed(compose(ReportKind.FAILED, bob, envid="QQ+2B314159"))
    assert parsed.groups == [
        {
            "Original-Envelope-Id": "QQ+314159",
            "Reporting-MTA": "dns; relay.example",
            "Arrival-Date": "Tue, 14 Nov 2023 22:12:20 +0000",
        },
        {
            "Original-Recipient": "rfc822; Bob+x@Example.ORG",
            "Final-Recipient": "rfc822; bob@example.org",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.example.org",
            "Diagnostic-Code": "smtp; 550 5.1.1 No such user",
            "Last-Attempt-Date": "Tue, 14 Nov 2023 22:13:20 +0000",
        },
    ]


def test_its_header_is_that_of_an_automatic_answer() -> None:
    message = Parsed(compose()).message
    assert message["From"] == "Mail Delivery System <postmaster@relay.example>"
    assert message["To"] == "ann@example.com"
    assert message["Subject"] == "Undeliverable: mail to bob@example.org"
    assert message["Message-ID"] == "<QID2@relay.example>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"


def test_a_person_reads_what_happened_to_whom_and_what_to_do() -> None:
    assert Parsed(compose()).text == (
        "This is the mail relay at relay.example.\n"
        "\n"
        "Your message of 2023-11-14 22:12 UTC could not be delivered to one\n"
        "recipient. This is final: it will not be tried again.\n"
        "\n"
        "  <bob@example.org>\n"
        "    The mail server mx.example.org said:\n"
        "      550 5.1.1 No such user\n"
        "    Check the address for a typing error: there is no such mailbox.\n"
        "\n"
        "The technical details follow, and then your message or its header.\n"
        "\n"
        "For help, write to the postmaster and quote this reference:\n"
        "  postmaster@relay.example, reference QID1\n"
    )


def test_a_delay_says_until_when_it_is_tried() -> None:
    late = ReportedRecipient(
        to("bob@example.org"), "4.4.1", "connection refused", retry_until=NOON + 86400
    )
    parsed = Parsed(compose(ReportKind.DELAYED, late))
    assert parsed.groups[1]["Action"] == "delayed"
    assert parsed.groups[1]["Will-Retry-Until"] == "Wed, 15 Nov 2023 22:13:20 +0000"
    # What we say ourselves is not passed off as a peer's reply.
    assert parsed.groups[1]["Diagnostic-Code"] == "x-edgerelay; connection refused"
    assert "Remote-MTA" not in parsed.groups[1]
    assert "It will be tried until 2023-11-15 22:13 UTC." in parsed.text
    assert "you need not send it again" in parsed.text


@pytest.mark.parametrize("kind", ReportKind)
def test_every_kind_is_a_report_about_each_recipient(kind: ReportKind) -> None:
    status = "2.0.0" if kind in (ReportKind.DELIVERED, ReportKind.RELAYED) else "5.0.0"
    recipients = [ReportedRecipient(to(f"u{n}@example.org"), status, "") for n in range(3)]
    parsed = Parsed(compose(kind, *recipients))
    assert [group["Action"] for group in parsed.groups[1:]] == [kind.value] * 3
    assert "3 recipients" in " ".join(parsed.text.split())
    assert parsed.message["Subject"].endswith("mail to u0@example.org and 2 more")


def test_the_header_comes_back_as_it_was() -> None:
    parsed = Parsed(compose())
    assert parsed.returned.get_content_type() == "text/rfc822-headers"
    assert parsed.returned.get_content() == "From: ann@example.com\r\nSubject: lunch\r\n"


def test_the_whole_comes_back_if_ret_full_asks_and_it_failed() -> None:
    parsed = Parsed(compose(ret=Ret.FULL, full=HEAD))
    assert parsed.returned.get_content_type() == "message/rfc822"
    assert parsed.returned.get_content()["Subject"] == "lunch"
    delayed = Parsed(compose(ReportKind.DELAYED, ret=Ret.FULL, full=HEAD))
    assert delayed.returned.get_content_type() == "text/rfc822-headers"
    headers = Parsed(compose(ret=Ret.HDRS, full=HEAD))
    assert headers.returned.get_content_type() == "text/rfc822-headers"


@pytest.mark.parametrize(
    "unmailable", [b"x" * 999, b"bare\nnewline", b"bare\rreturn", b"nul\x00", b"y\r\n" * 100_000]
)
def test_what_could_not_be_mailed_again_is_not_returned_whole(unmailable: bytes) -> None:
    parsed = Parsed(compose(ret=Ret.FULL, full=HEAD + unmailable))
    assert parsed.returned.get_content_type() == "text/rfc822-headers"


def test_an_8_bit_message_makes_an_8_bit_report() -> None:
    made = compose(ret=Ret.FULL, full=HEAD + "Müller\r\n".encode())
    assert not made.is_7bit
    assert Parsed(made).returned["Content-Transfer-Encoding"] == "8bit"


def test_an_8_bit_header_comes_back_through_7_bits() -> None:
    header = "Subject: Grüße\r\n".encode("latin-1")
    made = compose(head=header + b"\r\nbody")
    assert made.is_7bit
    assert Parsed(made).returned.get_payload(decode=True) == header


@pytest.mark.parametrize(
    ("head", "returned"),
    [
        # No end of the header within what we were given: its complete lines.
        (b"A: 1\r\nB: 2\r\nC: tr", b"A: 1\r\nB: 2\r\n"),
        # Stray line ends and NUL cannot make lines of their own.
        (b"A: 1\nB: 2\rC: 3\x00\r\n\r\n", b"A: 1 B: 2 C: 3 \r\n"),
        # A line of any length is continued.
        (
            b"A: " + b"x" * 1500 + b"\r\n\r\n",
            b"A: " + b"x" * 995 + b"\r\n " + b"x" * 505 + b"\r\n",
        ),
    ],
)
def test_the_returned_header_is_mailable(head: bytes, returned: bytes) -> None:
    got = Parsed(compose(head=head)).returned.get_payload(decode=True)
    assert got == returned


@pytest.mark.parametrize("head", [b"", b"\r\nbody", b"A: 1"])
def test_where_there_is_no_header_none_is_returned(head: bytes) -> None:
    returned = Parsed(compose(head=head)).returned.as_string()

    assert returned.strip() == "Content-Type: text/rfc822-headers"


def test_a_hostile_reply_stays_one_field() -> None:
    evil = ReportedRecipient(
        to("bob@example.org"), "5.0.0", "550 x\r\nAction: delivered\r\n\r\n--=_QID2--\x1b[2J", "mx"
    )
    group = Parsed(compose(ReportKind.FAILED, evil)).groups[1]
    assert group["Action"] == "failed"
    assert "Action: delivered" in group["Diagnostic-Code"]
    assert "\x1b" not in group["Diagnostic-Code"]


def test_no_part_can_hold_the_boundary() -> None:
    forged = b"Subject: x\r\n--=_QID2: y\r\n--=_QID2_1: z\r\n\r\n"
    message = Parsed(compose(head=forged)).message
    assert message.get_boundary() == "=_QID2_2"


def test_utf_8_addresses_make_an_international_report() -> None:
    """RFC 6533: the three parts in their global forms, addresses of the type utf-8."""
    nina = ReportedRecipient(to("niña+x@example.org"), "5.1.1", "550 ¿quién?", "mx")
    made = compose(ReportKind.FAILED, nina, smtputf8=True, reverse_path="jürgen@example.com")
    assert made.smtputf8
    assert b"Content-Type: message/global-delivery-status" in made.content
    assert b"Content-Type: message/global-headers" in made.content
    assert "To: <jürgen@example.com>".encode() in made.content
    assert "Final-Recipient: utf-8; niña\\x{2B}x@example.org".encode() in made.content
    assert "Diagnostic-Code: smtp; 550 ¿quién?".encode() in made.content


def test_an_ascii_message_with_smtputf8_makes_a_plain_report() -> None:
    made = compose(smtputf8=True)
    assert (made.smtputf8, made.is_7bit) == (False, True)
    Parsed(made)


def test_words_that_are_not_ascii_reach_the_person_and_are_escaped_for_the_program() -> None:
    made = compose(
        ReportKind.FAILED, ReportedRecipient(to("b@example.org"), "5.0.0", "541 né", "m")
    )
    parsed = Parsed(made)
    assert made.is_7bit
    assert "541 né" in parsed.text
    assert parsed.groups[1]["Diagnostic-Code"] == r"smtp; 541 n\xe9"


def test_there_is_no_report_to_nobody() -> None:
    with pytest.raises(ValueError, match="never reported"):
        report(
            ReportKind.FAILED,
            Subject("QID1", Envelope(NULL_REVERSE_PATH), NOON),
            (UNKNOWN,),
            reporting_mta="relay.example",
            postmaster=POSTMASTER,
            report_id="QID2",
            now=NOON,
            head=HEAD,
        )


def test_a_status_is_a_status() -> None:
    with pytest.raises(ValueError, match="no enhanced status code"):
        ReportedRecipient(to("b@example.org"), "550", "")


@given(
    reply=st.text(max_size=3000),
    head=st.binary(max_size=300) | st.from_regex(rb"[A-C: \r\n\xff-]{0,80}"),
    orcpt=st.none() | st.text(max_size=100).map(lambda text: f"rfc822;{text}"),
    envid=st.none() | st.from_regex(r"([a-c]|\+[0-9A-F]{2}){1,40}", fullmatch=True),
    smtputf8=st.booleans(),
    kind=st.sampled_from(ReportKind),
)
def test_nothing_from_outside_breaks_it(
    reply: str, head: bytes, orcpt: str | None, envid: str | None, smtputf8: bool, kind: ReportKind
) -> None:
    hostile = ReportedRecipient(to("bob@example.org", orcpt), "5.0.0", reply, "mx.example.org")
    made = compose(kind, hostile, head=head, envid=envid, smtputf8=smtputf8)
    parsed = Parsed(made)
    if not made.smtputf8:  # `email` reads no groups in the global form
        assert len(parsed.groups) == 2
        assert parsed.groups[1]["Action"] == kind.value
