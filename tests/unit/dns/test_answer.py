"""Which names can be asked for, and the form they are remembered in."""

from __future__ import annotations

import pytest

from edgerelay.dns.answer import Answer, Mx, Status, addresses, canonical


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Example.COM.", "example.com"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("xn--mller-kva.example", "xn--mller-kva.example"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        ("a" * 64 + ".example", None),
        (".".join(["a" * 63] * 3 + ["a" * 61]), ".".join(["a" * 63] * 3 + ["a" * 61])),
        (".".join(["a" * 63] * 3 + ["a" * 62]), None),
        ("", None),
        (".", None),
        ("a..b", None),
        ("a.b..", None),
        ("müller.example", None),
        ("100% a B.example", "100% a b.example"),
        ("a\tb", None),
        ("a\\046b", None),
        ("a\r\nb", None),
    ],
)
def test_canonical(name: str, expected: str | None) -> None:
    assert canonical(name) == expected


def test_addresses_are_the_records_that_are_text() -> None:
    assert addresses(Answer(Status.FOUND, ("192.0.2.1", Mx(1, "x")))) == ("192.0.2.1",)
