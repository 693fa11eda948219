"""The answer to EHLO says what is there now."""

from __future__ import annotations

from edgerelay.smtp.extensions import Extensions, ehlo_reply


def test_the_first_line_is_our_name_and_no_enhanced_code() -> None:
    """RFC 5321 section 4.1.1.1 and RFC 2034 section 4."""
    reply = ehlo_reply("mx.example", Extensions(size=1000))
    assert bytes(reply).startswith(b"250-mx.example\r\n")


def test_what_is_offered() -> None:
    reply = ehlo_reply("mx.example", Extensions(size=1000, starttls=True))
    assert set(reply.more) == {
        "PIPELINING",
        "SIZE 1000",
        "STARTTLS",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "DSN",
        "CHUNKING",
    }
    assert "STARTTLS" not in ehlo_reply("mx.example", Extensions(size=1000)).more


def test_what_may_be_offered() -> None:
    some = Extensions(size=0, recipients=100, binarymime=True, requiretls=True, prdr=True)
    more = ehlo_reply("mx.example", some).more
    assert {"BINARYMIME", "LIMITS RCPTMAX=100", "REQUIRETLS", "PRDR"} < set(more)
