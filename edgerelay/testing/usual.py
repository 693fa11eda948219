"""What a test means that does not say otherwise."""

from __future__ import annotations

from typing import Final

MESSAGE: Final = (
    b"From: Ann <ann@sender.example>\r\n"
    b"To: Bob <bob@example.com>\r\n"
    b"Subject: hello\r\n"
    b"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
    b"Message-ID: <1@sender.example>\r\n"
    b"\r\n"
    b"Hello, Bob.\r\n"
)
HOSTNAME: Final = "mx.example.test"  #: of a configuration that names none
