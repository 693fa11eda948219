"""The client's half of SMTP and LMTP without I/O: commands in, octets out; octets in, replies out.

RFC 5321, LMTP (RFC 2033), PIPELINING (RFC 2920). Commands may be sent in groups; replies are
matched to them in order. The server is as hostile as anybody: its replies are bounded,
printable, and each one has been asked for. It never waits, and never retries.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from edgerelay.mail.envelope import Body, Envelope, Notify, Recipient
from edgerelay.mail.reply import Reply
from edgerelay.mail.xtext import utf8_addr_xtext
from edgerelay.smtp.errors import LocalProtocolError, PeerClosedError, PeerProtocolError
from edgerelay.smtp.excerpt import excerpt, printable

#: Octets of a reply line with its CRLF. RFC 5321 section 4.5.3.1.5 says 512; servers say more.
_LINE_LIMIT: Final = 4096
#: Lines of one reply: a long EHLO has twenty.
_LINES_LIMIT: Final = 100
#: Characters of a line, and lines, that a `Reply` keeps: it goes into logs and reports. (Of
#: the answer to EHLO all lines are kept.)
_KEPT_CHARACTERS: Final = 512
_KEPT_LINES: Final = 20
#: Octets of a line that may be remembered.
_REMEMBERED_OCTETS: Final = 1024

# Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
# (RFC 5321 section 4.2; 1yz is not used in SMTP).
_reply_line: Final = re.compile(rb"[2-5][0-9][0-9](?:[ -][^\n]*)?")
_enhanced: Final = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")

_Asked: TypeAlias = Literal["greeting", "EHLO", "HELO", "RCPT", "STARTTLS", "other"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the server offers. ``size`` is in octets: None if not offered, 0 if unlimited."""

    pipelining: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    dsn: bool = False
    starttls: bool = False
    enhanced: bool = False
    chunking: bool = False
    binarymime: bool = False
    requiretls: bool = False
    size: int | None = None

    @classmethod
    def from_reply(cls, reply: Reply) -> Capabilities:
        """Read the answer to EHLO (RFC 5321 section 4.1.1.1); keywords ignore case."""
        offered = {}
        for line in reply.more:
            keyword, _, rest = line.partition(" ")
            offered[keyword.upper()] = rest.strip()
        size = offered.get("SIZE")
        if size is not None and not (size.isascii() and size.isdigit() and len(size) <= 20):
            size = "0"
        return cls(
            pipelining="PIPELINING" in offered,
            eight_bit="8BITMIME" in offered,
            smtputf8="SMTPUTF8" in offered,
            dsn="DSN" in offered,
            starttls="STARTTLS" in offered,
            enhanced="ENHANCEDSTATUSCODES" in offered,
            chunking="CHUNKING" in offered,
            binarymime="BINARYMIME" in offered,
            requiretls="REQUIRETLS" in offered,
            size=None if size is None else int(size),
        )


_NOTHING: Final = Capabilities()


class ClientProtocol:
    """One connection to a server, from its greeting on."""

    __slots__ = (
        "_accepted",
        "_asked",
        "_buffer",
        "_closed",
        "_lines",
        "_lmtp",
        "_position",
        "_tail",
        "capabilities",
    )

    def __init__(self, *, lmtp: bool = False) -> None:
        self.capabilities = _NOTHING  #: empty until the server has answered EHLO or LHLO
        self._lmtp = lmtp
        self._asked: deque[_Asked] = deque(["greeting"])
        self._buffer = b""
        self._position = 0
        self._lines: list[bytes] = []  # of a reply whose last line has not come
        self._closed = False
        self._accepted = 0  # recipients of this transaction
        self._tail = b"\r\n"  # last two octets of content; it begins as if after a CRLF

    # --- commands --------------------------------------------------------------------------

    # Each raises PeerProtocolError if replies are there that nothing asked for.

    def ehlo(self, name: str) -> bytes:
        """EHLO, or LHLO (RFC 2033 section 4.1)."""
        return self._command("EHLO", f"{'LHLO' if self._lmtp else 'EHLO'} {name}")

    def helo(self, name: str) -> bytes:
        return self._command("HELO", f"HELO {name}")

    def starttls(self) -> bytes:
        return self._command("STARTTLS", "STARTTLS")

    def tls_started(self) -> None:
        """The handshake is done: forget what the server offered in the clear.

        Raises PeerProtocolError if anything followed the 220: it may have been put there by
        somebody else (RFC 3207 section 6).
        """
        if self._asked:
            raise LocalProtocolError("STARTTLS has not been answered")
        if self._position < len(self._buffer) or self._lines:
            raise PeerProtocolError("the server sent more after its reply to STARTTLS")
        self.capabilities = _NOTHING

    def mail(self, envelope: Envelope, *, size: int, body: Body | None) -> bytes:
        """MAIL with the parameters that the server offers, and no other.

        ``size`` in octets. Whether the message may go without what is not offered is the
        caller's question.
        """
        offered = self.capabilities
        line = f"MAIL FROM:{envelope.reverse_path}"
        if offered.size is not None:
            line += f" SIZE={size}"
        if body is not None and (offered.eight_bit or body is Body.BINARY_MIME):
            line += f" BODY={body.value}"
        if envelope.smtputf8 and offered.smtputf8:
            line += " SMTPUTF8"
        if envelope.requiretls and offered.requiretls:
            line += " REQUIRETLS"
        if offered.dsn:
            if envelope.ret is not None:
                line += f" RET={envelope.ret.value}"
            if envelope.envid is not None:
                line += f" ENVID={envelope.envid}"
        self._accepted = 0
        return self._command("other", line)

    def rcpt(self, recipient: Recipient) -> bytes:
        line = f"RCPT TO:{recipient.forward_path}"
        if self.capabilities.dsn:
            if recipient.notify is not None:
                line += f" NOTIFY={_notify(recipient.notify)}"
            if recipient.orcpt is not None:
                line += f" ORCPT={self._orcpt(recipient.orcpt)}"
        return self._command("RCPT", line)

    def data(self) -> bytes:
        self._tail = b"\r\n"
        self._asked.append("other")
        return b"DATA\r\n"

    def bdat(self, size: int) -> bytes:
        """The only chunk, which is the last (RFC 3030 section 2): ``size`` octets follow.

        Raises PeerProtocolError if the server has answered it already.
        """
        self._expect_silence()
        self._expect_verdicts()
        return b"BDAT %d LAST\r\n" % size

    def rset(self) -> bytes:
        return self._command("other", "RSET")

    def quit(self) -> bytes:
        return self._command("other", "QUIT")

    def noop(self) -> bytes:
        return self._command("other", "NOOP")

    # --- content ---------------------------------------------------------------------------

    def content(self, chunk: bytes) -> bytes:
        """Return a piece of content with its dots doubled (RFC 5321 section 4.5.2).

        Where the content is cut does not matter.
        """
        if not chunk:
            return b""
        tail = self._tail
        self._tail = chunk[-2:] if len(chunk) > 1 else tail[-1:] + chunk
        # rfind is a third of the price of a replace that finds nothing; and where the last dot
        # is near the start, as in an encoded attachment, it costs nothing.
        stuffed = chunk
        if chunk.rfind(b"\r\n.", 0, chunk.rfind(b".") + 1) >= 0:
            stuffed = chunk.replace(b"\r\n.", b"\r\n..")
        if chunk[0] == 0x2E and tail == b"\r\n":
            return b"." + stuffed
        if tail[-1:] == b"\r" and chunk.startswith(b"\n."):
            return b"\n." + stuffed[1:]
        return stuffed

    def end_of_data(self) -> bytes:
        """Return the final dot, after a CRLF if the content does not end with one.

        Raises PeerProtocolError if the server has answered it already: a 250 from before the
        dot is nobody's word for the message.
        """
        self._expect_silence()
        self._expect_verdicts()
        end = b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
        self._tail = b"\r\n"
        return end

    # --- replies ---------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Take what the server sent; ``b""`` is the end of the stream."""
        if not data:
            self._closed = True
        elif self._position < len(self._buffer):
            self._buffer = self._buffer[self._position :] + data
            self._position = 0
        else:
            self._buffer = data
            self._position = 0

    def next_reply(self) -> Reply | None:
        """Return the next reply, in the order of the commands; None if it has not come.

        Control characters are escaped, length and lines bounded; ``enhanced`` is empty if
        absent or contradicting. Raises PeerProtocolError for what is no reply, and for one
        that nobody asked for; PeerClosedError, a kind of it, if replies will not come.
        """
        start = self._position
        if start >= len(self._buffer) and not self._closed:
            return None
        asked = self._asked[0] if self._asked else None
        # Nearly always a line is a reply, and one that was given before.
        end = self._buffer.find(b"\r\n", start, start + _REMEMBERED_OCTETS)
        if end >= 0 and not self._lines and (reply := _of_line(self._buffer[start:end])):
            self._position = end + 2
        elif (lines := self._next_lines()) is None:
            return None
        else:
            kept = _KEPT_LINES if asked else 1
            reply = _read(lines if asked == "EHLO" else lines[:kept])
        if asked is None:
            raise PeerProtocolError(f"the server said, unasked: {reply}")
        self._asked.popleft()
        if asked != "other":
            self._note(asked, reply)
        return reply

    def _next_lines(self) -> list[bytes] | None:
        """Return the lines of the next reply; None if its last one has not come."""
        while self._position < len(self._buffer) or self._closed:
            end = self._buffer.find(b"\r\n", self._position, self._position + _LINE_LIMIT)
            if end < 0:
                self._check_unended()
                return None
            line = self._buffer[self._position : end]
            self._position = end + 2
            if self._take(line):
                lines, self._lines = self._lines, []
                return lines
        return None

    def _command(self, asked: _Asked, line: str) -> bytes:
        octets = line.encode()
        if b"\r" in octets or b"\n" in octets:
            raise LocalProtocolError("a command holds a line end")
        if not self._asked:
            self._expect_silence()
        self._asked.append(asked)
        return octets + b"\r\n"

    def _expect_silence(self) -> None:
        """Replies that came before the question answer something else, or nothing."""
        if self._position < len(self._buffer) or self._lines:
            raise PeerProtocolError("the server replied before it was asked")

    def _expect_verdicts(self) -> None:
        if self._lmtp:
            # RFC 2033 section 4.2: one reply for each recipient that was accepted.
            self._asked.extend(["other"] * self._accepted)
        else:
            self._asked.append("other")
        self._accepted = 0

    def _orcpt(self, orcpt: str) -> str:
        return orcpt if self.capabilities.smtputf8 else utf8_addr_xtext(orcpt)

    def _check_unended(self) -> None:
        waiting = len(self._buffer) - self._position
        if waiting >= _LINE_LIMIT:
            raise PeerProtocolError("the server sent an endless reply line")
        if self._buffer.find(b"\n", self._position) >= 0:
            raise PeerProtocolError("the server ended a reply line with a bare LF")
        if self._closed and (self._asked or waiting or self._lines):
            raise PeerClosedError(f"the server left with {len(self._asked)} replies due")

    def _take(self, line: bytes) -> bool:
        """Add a line to the reply; return whether it was the last."""
        if _reply_line.fullmatch(line) is None:
            raise PeerProtocolError(f"the server said something that is no reply: {excerpt(line)}")
        if self._lines and self._lines[0][:3] != line[:3]:
            raise PeerProtocolError(f"the server changed the code in a reply: {excerpt(line)}")
        if len(self._lines) >= _LINES_LIMIT:
            raise PeerProtocolError("the server sent an endless reply")
        self._lines.append(line)
        return line[3:4] != b"-"

    def _note(self, asked: _Asked, reply: Reply) -> None:
        if asked == "RCPT":
            self._accepted += reply.is_positive
        elif asked == "EHLO":
            self.capabilities = _capabilities(reply) if reply.is_positive else _NOTHING
        elif asked == "HELO":
            self.capabilities = _NOTHING


def _notify(notify: Notify) -> str:
    """``NEVER`` or the others in the order of RFC 3461 section 4.1."""
    words = [
        flag.name for flag in (Notify.SUCCESS, Notify.FAILURE, Notify.DELAY) if flag in notify
    ]
    return ",".join(filter(None, words)) or "NEVER"


@lru_cache(maxsize=512)  # about 1 MiB at worst
def _of_line(line: bytes) -> Reply | None:
    """Return the reply that a line is, if it is one and all of it.

    Servers say the same few things all day: they are read once.
    """
    if line[3:4] == b"-" or _reply_line.fullmatch(line) is None:
        return None
    return _read((line,))


def _read(lines: Sequence[bytes]) -> Reply:
    code = int(lines[0][:3])
    texts = [_text(line) for line in lines]
    match = _enhanced.match(texts[0])
    enhanced = match[1] if match is not None and match[1][0] == str(code)[0] else ""
    if enhanced:
        texts = [text.removeprefix(enhanced).removeprefix(" ") for text in texts]
    return Reply(code, enhanced, texts[0], tuple(texts[1:]))


_capabilities: Final = lru_cache(maxsize=64)(Capabilities.from_reply)


def _text(line: bytes) -> str:
    text = line[4 : 4 + _KEPT_CHARACTERS].decode("utf-8", "backslashreplace")
    return printable(text)[:_KEPT_CHARACTERS]
