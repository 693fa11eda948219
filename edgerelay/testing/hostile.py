"""What strangers send: names, paths and messages that a policy must survive.

Each is something a relay lets through to its policies: what the protocol itself refuses is
not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

HELOS: Final = (
    "[192.0.2.1]",
    "[IPv6:2001:db8::1]",
    "[nonsense",
    "localhost",
    "-",
    "a..b",
    ".",
    "xn--",
    "münchen.example",
    "%s%n{0}{__class__}",
    "name;with=parameters",
    "x" * 255,
    ".".join(["label"] * 60),
    "l" * 64 + ".example",
)

#: "" is the null reverse-path.
REVERSE_PATHS: Final = (
    "",
    "postmaster@localhost",
    '"odd @ \\" local"@sender.example',
    "ann@[192.0.2.7]",
    "ann@[IPv6:2001:db8::7]",
    "jürgen@bücher.example",
    "ann@xn--bcher-kva.example",
    "ann@xn--",
    "a" * 64 + "@" + ".".join(["label"] * 30),
    "ann@" + "l" * 64 + ".example",
    "bounce+bob=example.com@list.example",
    "%s%n{0}@sender.example",
)

FORWARD_PATHS: Final = (
    "postmaster@example.com",
    '"very odd"@example.com',
    "jürgen@bücher.example",
    "bob@[192.0.2.25]",
    "BOB+tag@EXAMPLE.COM",
    "b" * 64 + "@example.com",
)

_MIB: Final = 1024 * 1024

#: By what is wrong with them; lines end with CRLF as they do after DATA.
MESSAGES: Final[Mapping[str, bytes]] = {
    "empty": b"",
    "a blank line": b"\r\n",
    "no header": b"\r\nonly a body\r\n",
    "no body": b"Subject: x\r\nFrom: a@b.example\r\n",
    "no field at all": b"this is no header\r\n\r\nbody\r\n",
    "a fold at the start": b" folded\r\nSubject: x\r\n\r\nbody\r\n",
    "space before the colon": b"Subject : x\r\n\r\nbody\r\n",
    "NUL": b"Subject: a\0b\r\n\0: x\r\n\r\n\0\0\r\n",
    "octets that are no UTF-8": b"Subject: \xff\xfe\x80\r\n\xc3: x\r\n\r\n\xff\r\n",
    "two From": b"From: a@b.example\r\nFrom: c@d.example, e@f.example\r\n\r\nbody\r\n",
    "From that is no address": b'From: "<<<>>>" <@@,;:\r\n\r\nbody\r\n',
    "10,000 fields": b"X: y\r\n" * 10_000 + b"\r\nbody\r\n",
    "a field of a megabyte": b"Subject: " + b"x" * _MIB + b"\r\n\r\nbody\r\n",
    "a field of 10,000 folds": b"Subject: x" + b"\r\n y" * 10_000 + b"\r\n\r\nbody\r\n",
    "a field of spaces": b"Subject:" + b" " * 50_000 + b"x\r\n\r\nbody\r\n",
    "signatures of nonsense": (
        b"DKIM-Signature: v=1; a=; b=" + b"=" * 4000 + b"; h=" + b":" * 4000 + b"\r\n"
        b"DKIM-Signature: \xff\r\nARC-Seal: i=0; cv=none\r\n"
        b"Authentication-Results: mx.example.test; spf=pass\r\n\r\nbody\r\n"
    ),
    "a line of a megabyte": b"Subject: x\r\n\r\n" + b"x" * _MIB + b"\r\n",
    "20,000 blank lines": b"Subject: x\r\n\r\nbody\r\n" + b"\r\n" * 20_000,
    "nested parts without end": b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n)
        for n in range(500)
    ),
}
