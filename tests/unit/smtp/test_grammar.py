"""Each production with what it takes and what it does not."""

from __future__ import annotations

import pytest

from edgerelay.mail.address import Mailbox
from edgerelay.smtp.grammar import (
    GrammarError,
    forward_path,
    hello_name,
    is_address_literal,
    is_domain,
    is_local_part,
    is_route,
    reverse_path,
)

POSTMASTER = Mailbox("postmaster", "here.example")


@pytest.mark.parametrize(
    ("argument", "mailbox", "rest"),
    [
        ("FROM:<a@b.example>", Mailbox("a", "b.example"), ""),
        ("from:<a@b.example>", Mailbox("a", "b.example"), ""),
        ("FROM:<a@b.example> SIZE=1 BODY=7BIT", Mailbox("a", "b.example"), " SIZE=1 BODY=7BIT"),
        ("FROM: <a@b.example>", Mailbox("a", "b.example"), ""),  # as Postfix and Exim do
        ("FROM:<>", None, ""),
        ("FROM:<> SIZE=1", None, " SIZE=1"),
        # the text is kept as it came
        ("FROM:<A.b+C@B.Example>", Mailbox("A.b+C", "B.Example"), ""),
        ('FROM:<"john doe"@b.example>', Mailbox('"john doe"', "b.example"), ""),
        ('FROM:<"a@b"@c.example>', Mailbox('"a@b"', "c.example"), ""),
        ('FROM:<"a\\"b>"@c.example> X', Mailbox('"a\\"b>"', "c.example"), " X"),
        ('FROM:<""@c.example>', Mailbox('""', "c.example"), ""),
        ("FROM:<!#$%&'*+-/=?^_`{|}~@b.example>", Mailbox("!#$%&'*+-/=?^_`{|}~", "b.example"), ""),
        ("FROM:<a@localhost>", Mailbox("a", "localhost"), ""),
        ("FROM:<a@_dmarc.my_host.example>", Mailbox("a", "_dmarc.my_host.example"), ""),
        ("FROM:<a@[192.0.2.1]>", Mailbox("a", "[192.0.2.1]"), ""),
        ("FROM:<a@[IPv6:2001:db8::1]>", Mailbox("a", "[IPv6:2001:db8::1]"), ""),
        # source routes are read and forgotten
        ("FROM:<@x.example:a@b.example>", Mailbox("a", "b.example"), ""),
        ("FROM:<@x.example,@y.example:a@b.example>", Mailbox("a", "b.example"), ""),
        # UTF-8 is grammar; whether it is allowed now is the session's question
        ("FROM:<jörg@b.example>", Mailbox("jörg", "b.example"), ""),
        ('FROM:<"j ö"@bücher.example>', Mailbox('"j ö"', "bücher.example"), ""),
    ],
)
def test_a_reverse_path(argument: str, mailbox: Mailbox | None, rest: str) -> None:
    path, follows = reverse_path(argument)
    assert (path.mailbox, follows) == (mailbox, rest)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a@b.example",  # no brackets
        "<a@b.example",
        "a@b.example>",
        "<<a@b.example>>",
        "<a>",
        "<@b.example>",
        "<a@>",
        "<a@b@c.example>",
        '<"a@b.example">',  # a quoted string and no domain
        '<"a"b@c.example>',
        '<"a"c.example>',
        '<"a\\"@c.example>',  # the quote is never closed
        "<a b@c.example>",
        "<a..b@c.example>",
        "<.a@c.example>",
        "<a.@c.example>",
        "<a@c..example>",
        "<a@.example>",
        "<a@c.example.>",
        "<a@-c.example>",
        "<a@c-.example>",
        "<a@c!d.example>",
        "<a@[192.0.2]>",
        "<a@[192.0.2.256]>",
        "<a@[IPv6:2001:db8::1%eth0]>",
        "<a@192.0.2.1]>",
        "<a@[]>",
        "<x.example:a@b.example>",
        "<@x.example a@b.example>",
        "<@:a@b.example>",
        "<@x..example:a@b.example>",
        "<(comment)a@b.example>",
        "<a@b.exa\u0085mple>",
        "<a\u0085@b.example>",
        "<a@local\u3002test>",  # dots for UTS 46 alone
        "<a@local\uff0etest>",
        "<a@local\uff61test>",
        "<a@\u00ad\u200b.example>",  # no U-label: nothing is left of it
        f"<{'l' * 65}@b.example>",
        f"<{'ü' * 33}@b.example>",  # 66 octets
        f"<a@{'d' * 64}.example>",
        f"<a@{'abcdefghi.' * 30}example>",
        f"<a@{'abcdefghi.' * 25}examp>",  # a domain of 255 octets, but a path of 259
    ],
)
def test_no_reverse_path(path: str) -> None:
    with pytest.raises(GrammarError) as caught:
        reverse_path(f"FROM:{path}")
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (501, "5.1.7")
    with pytest.raises(GrammarError) as caught:
        forward_path(f"TO:{path}", POSTMASTER)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (501, "5.1.3")


def test_limits_are_reached_exactly() -> None:
    """RFC 5321 section 4.5.3.1.1 to section 4.5.3.1.3, all three at once."""
    local_part = "l" * 64
    domain = ".".join(["d" * 63, "d" * 63, "d" * 61])
    path, _ = reverse_path(f"FROM:<{local_part}@{domain}>")
    assert len(str(path)) == 256


@pytest.mark.parametrize("argument", ["", "FROM", "FROM <a@b.example>", "TO:<a@b.example>"])
def test_mail_wants_from(argument: str) -> None:
    with pytest.raises(GrammarError, match=r"501 5\.5\.2 Syntax: MAIL FROM"):
        reverse_path(argument)


@pytest.mark.parametrize("argument", ["", "TO", "TO <a@b.example>", "FROM:<a@b.example>"])
def test_rcpt_wants_to(argument: str) -> None:
    with pytest.raises(GrammarError, match=r"501 5\.5\.2 Syntax: RCPT TO"):
        forward_path(argument, POSTMASTER)


@pytest.mark.parametrize("text", ["<postmaster>", "<Postmaster>", "<POSTMASTER>"])
def test_a_bare_postmaster_is_ours(text: str) -> None:
    """RFC 5321 section 4.5.1."""
    path, rest = forward_path(f"TO:{text} NOTIFY=NEVER", POSTMASTER)
    assert (path.mailbox, rest) == (POSTMASTER, " NOTIFY=NEVER")


def test_the_null_path_is_no_recipient() -> None:
    with pytest.raises(GrammarError, match=r"5\.1\.3"):
        forward_path("TO:<>", POSTMASTER)


@pytest.mark.parametrize(
    "name",
    ["mx.example.com", "localhost", "my_host", "[192.0.2.1]", "[IPv6:2001:db8::1]", "2001:db8::1"],
)
def test_a_client_may_call_itself(name: str) -> None:
    assert hello_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "a b", "<script>", "a\tb", "bücher.example", "[", "[]", "[a]b", "a" * 256]
)
def test_a_client_may_not_call_itself(name: str) -> None:
    with pytest.raises(GrammarError, match="501"):
        hello_name(name)


def test_the_pieces_of_a_path() -> None:
    assert is_route("@a.example,@b.example")
    assert not is_route("@a.example,b.example")
    assert is_local_part('"a b"')
    assert not is_local_part('"a\tb"')
    assert is_domain("bücher.example")
    assert is_domain("xn--bcher-kva.example")
    assert is_domain(".".join(["d" * 63] * 4))
    assert not is_domain(".".join(["d" * 63] * 4) + ".d")
    assert not is_domain("ü" * 64 + ".example")  # a label over 63 octets once it is an A-label


@pytest.mark.parametrize(
    ("literal", "good"),
    [
        ("[127.0.0.1]", True),
        ("[ipv6:::1]", True),
        ("[IPv6:::ffff:192.0.2.1]", True),
        ("[x400:c=de]", True),
        ("[x-:c]", False),
        ("[x:]", False),
        ("[:c]", False),
        ("[IPv6:]", False),
        ("[010.0.0.1]", False),  # octal or decimal: who knows
    ],
)
def test_an_address_literal(literal: str, good: bool) -> None:
    assert is_address_literal(literal) is good
