"""A reply that could not be sent cannot be made."""

from __future__ import annotations

import pytest

from edgerelay.mail.reply import Reply


@pytest.mark.parametrize(
    ("reply", "wire"),
    [
        (Reply(250, "2.0.0", "OK"), b"250 2.0.0 OK\r\n"),
        (Reply(354, "", "Go ahead"), b"354 Go ahead\r\n"),
        (Reply(250, "", "mx", ("SIZE 5", "DSN")), b"250-mx\r\n250-SIZE 5\r\n250 DSN\r\n"),
        (Reply(550, "5.7.1", "No", ("never",)), b"550-5.7.1 No\r\n550 5.7.1 never\r\n"),
        (Reply(250, "", "é"), "250 é\r\n".encode()),
    ],
)
def test_a_reply_on_the_wire(reply: Reply, wire: bytes) -> None:
    """RFC 5321 section 4.2.1 and RFC 2034 section 4: every line has the codes."""
    assert bytes(reply) == wire


@pytest.mark.parametrize(
    ("code", "enhanced", "text"),
    [
        (199, "", "x"),
        (600, "", "x"),
        (250, "5.0.0", "x"),
        (250, "2.0", "x"),
        (250, "2.0.0000", "x"),
        (350, "3.0.0", "x"),
        (250, "", "a\r\nb"),
        (250, "", "a\x00"),
        (250, "", "a\x7f"),
    ],
)
def test_what_cannot_be_sent_cannot_be_made(code: int, enhanced: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"reply|code|contradicts|control"):
        Reply(code, enhanced, text)


def test_no_further_line_holds_a_control_either() -> None:
    with pytest.raises(ValueError, match="control"):
        Reply(250, "", "a", ("b\nc",))


def test_what_kind_it_is() -> None:
    assert Reply(250, "", "").is_positive
    assert Reply(354, "", "").is_positive
    assert Reply(451, "", "").is_transient
    assert Reply(550, "", "").is_permanent
    assert not Reply(451, "", "").is_positive


def test_as_one_line() -> None:
    assert str(Reply(550, "5.1.1", "No", ("such user",))) == "550 5.1.1 No such user"
    assert str(Reply(250, "", "OK")) == "250 OK"
