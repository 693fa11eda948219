"""Whom a proxy speaks for is read strictly: rights hang on it."""

from __future__ import annotations

import pytest

from edgerelay.smtp.grammar import GrammarError
from edgerelay.smtp.xclient import KEYWORD, xclient


def test_all_attributes() -> None:
    said = xclient(
        "name=mail.example ADDR=192.0.2.79 PORT=4711 PROTO=esmtp HELO=[192.0.2.79] "
        "LOGIN=j+C3+B6rg+20x DESTADDR=IPV6:2001:db8::1 DESTPORT=25"
    )
    assert said.attributes == {
        "NAME": "mail.example",
        "ADDR": "192.0.2.79",
        "PORT": "4711",
        "PROTO": "ESMTP",
        "HELO": "[192.0.2.79]",
        "LOGIN": "jörg x",
        "DESTADDR": "2001:db8::1",
        "DESTPORT": "25",
    }
    assert KEYWORD == "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"


def test_what_the_proxy_does_not_know() -> None:
    said = xclient("NAME=[UNAVAILABLE] ADDR=[tempunavail]")
    assert said.attributes == {"NAME": None, "ADDR": None}


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "ADDR",
        "ADDR=",
        "ADDR=mail.example",
        "ADDR=192.0.2.256",
        "ADDR=2001:db8::1",
        "ADDR=IPV6:192.0.2.1",
        "ADDR=IPV6:fe80::1%eth0",
        "ADDR=IPV6:fe80::1%a+0D+0AX-Injected:+20yes",
        "DESTADDR=IPV6:fe80::1%+00",
        "ADDR=192.0.2.1 addr=192.0.2.2",
        "PORT=65536",
        "PORT=-1",
        "PROTO=LMTP",
        "HELO=a+0D+0Ab",
        "LOGIN=+0A",
        "LOGIN=+zz",
        "LOGIN=+FF",
        "COLOUR=green",
    ],
)
def test_anything_else_is_refused(argument: str) -> None:
    with pytest.raises(GrammarError, match=r"501 5\.5\.4"):
        xclient(argument)
