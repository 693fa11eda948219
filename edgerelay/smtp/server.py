"""The server's half of SMTP without I/O: octets in, events out; replies in, octets out.

RFC 5321 with PIPELINING (RFC 2920): one event is returned at a time and answered with
`ServerProtocol.send` before the next is asked for, so the replies of a group come in order,
and whoever calls may join them into one write. It never waits, measures or decides: what may
come when is in `edgerelay.smtp.states`, what it looks like in `edgerelay.smtp.grammar`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final, Literal

from edgerelay.mail.address import Mailbox
from edgerelay.mail.envelope import Body, Envelope, Notify, Recipient, Ret
from edgerelay.mail.reply import Reply
from edgerelay.smtp.data import ChunkReader, DataReader
from edgerelay.smtp.errors import LocalProtocolError
from edgerelay.smtp.events import (
    DataChunk,
    DataProblem,
    EndOfChunk,
    EndOfData,
    Event,
    Expand,
    Hello,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Refused,
    Reset,
    StartChunk,
    StartData,
    StartTls,
    Verify,
    XClient,
)
from edgerelay.smtp.excerpt import CONTROL, excerpt
from edgerelay.smtp.extensions import Extensions, ehlo_reply
from edgerelay.smtp.grammar import GrammarError, forward_path, hello_name, reverse_path
from edgerelay.smtp.lines import BadLine, LineBuffer
from edgerelay.smtp.parameters import mail_parameters, rcpt_parameters
from edgerelay.smtp.states import AFTER_SUCCESS, BEFORE_TLS, State, Verb, after
from edgerelay.smtp.xclient import xclient

_UNKNOWN: Final = Reply(500, "5.5.1", "Command not recognized")
_NOT_IMPLEMENTED: Final = Reply(502, "5.5.1", "Command not implemented")
_BAD_CHARACTERS: Final = Reply(500, "5.5.2", "Control characters are not accepted")
_NOT_UTF8: Final = Reply(500, "5.5.2", "Not UTF-8")
_NOT_ASCII: Final = Reply(501, "5.5.2", "Only ASCII is accepted here")
_NO_ARGUMENT: Final = Reply(501, "5.5.4", "This command takes no argument")
_WANTS_ARGUMENT: Final = Reply(501, "5.5.4", "This command wants an argument")
_NEEDS_SMTPUTF8: Final = Reply(553, "5.6.7", "Non-ASCII address without SMTPUTF8")
_TOO_BIG: Final = Reply(552, "5.3.4", "Message too big")
_TLS_FIRST: Final = Reply(530, "5.7.0", "Must issue a STARTTLS command first")
_AFTER_STARTTLS: Final = Reply(554, "5.5.1", "Nothing may follow STARTTLS")
_NOT_SMTP: Final = Reply(554, "5.5.1", "This is an SMTP server")
_NO_RECIPIENTS: Final = Reply(554, "5.5.1", "No valid recipients")
_BDAT_SYNTAX: Final = Reply(501, "5.5.4", "Syntax: BDAT octets [LAST]")
_BDAT_WANTED: Final = Reply(503, "5.5.1", "BODY=BINARYMIME wants BDAT")
_BDAT_ALONE: Final = Reply(503, "5.5.1", "Only BDAT may follow BDAT, or RSET")
_NOT_BINARY: Final = Reply(504, "5.5.4", "BODY=BINARYMIME is not offered")
_PRDR_NOT_OFFERED: Final = Reply(555, "5.5.4", "PRDR is not offered")
#: Said before the replies for each recipient, which are followed by one for all.
_FOR_EACH: Final = Reply(353, "", "A reply for each recipient follows, and one for all")
_REQUIRETLS_NOT_OFFERED: Final = Reply(555, "5.5.4", "REQUIRETLS is not offered")
_BAD_SEQUENCE: Final[Mapping[Verb, Reply]] = {
    Verb.MAIL: Reply(503, "5.5.1", "Say EHLO first"),
    Verb.RCPT: Reply(503, "5.5.1", "Need MAIL first"),
    Verb.DATA: Reply(503, "5.5.1", "Need RCPT first"),
    Verb.BDAT: Reply(503, "5.5.1", "Need RCPT first"),
    Verb.STARTTLS: Reply(503, "5.5.1", "STARTTLS comes after EHLO, outside a transaction"),
    Verb.XCLIENT: Reply(503, "5.5.1", "XCLIENT comes outside a transaction"),
}
_NESTED_MAIL: Final = Reply(503, "5.5.1", "Nested MAIL command")

#: What browsers and proxies say first: nobody who speaks SMTP does.
_OTHER_PROTOCOLS: Final = frozenset(
    {"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI"}
)
_TLS_HANDSHAKE: Final = 0x16  # first octet of a ClientHello (RFC 8446 section 5.1)

#: Commands that exist, but not here (RFC 5321 section 4.2.4: 502).
_KNOWN_ELSEWHERE: Final = frozenset(
    {"AUTH", "ETRN", "ATRN", "TURN", "SEND", "SOML", "SAML", "XFORWARD"}
)

#: Nothing the client says is a command now.
_SILENT: Final = frozenset({State.HANDSHAKE, State.CLOSED})

_CONNECTED: Final = State.CONNECTED
_DATA: Final = Verb.DATA
_BDAT: Final = re.compile("([0-9]{1,20})(?: +(LAST))?", re.ASCII | re.IGNORECASE)
_END_OF_DATA: Final = Verb.END_OF_DATA

#: Commands as they are nearly always: the same senders and recipients come all day.
_REMEMBERED: Final = 4096

#: Only a bare <postmaster> needs to know whose it is.
_NOBODY: Final = Mailbox("postmaster", "invalid")

_VERBS: Final = {
    verb.name: verb for verb in Verb if verb not in (Verb.END_OF_DATA, Verb.TLS_STARTED)
}


@dataclasses.dataclass(slots=True)
class _Chunk:
    """Octets that BDAT announced. ``refused``: what is said when they are there, and thrown away
    (RFC 3030 section 2: they come, whatever is thought of the command)."""

    size: int
    left: int
    last: bool
    refused: Refused | None = None


class ServerProtocol:
    """One connection. ``postmaster`` is who a bare <postmaster> is.

    ``long_lines`` is "accept" or "reject", ``bare_newline`` "reject" or "normalize". Whatever
    octets come, nothing is raised; what is raised (`LocalProtocolError`) is the caller's fault.
    """

    __slots__ = (
        "_body",
        "_chunk",
        "_chunks",
        "_ended",
        "_extended",
        "_extensions",
        "_lines",
        "_normalize",
        "_pending",
        "_postmaster",
        "_prdr",
        "_reader",
        "_refused_recipient",
        "_reject_long_lines",
        "_smtputf8",
        "_tls_required",
        "_verb",
        "state",
    )

    def __init__(
        self,
        *,
        extensions: Extensions,
        postmaster: Mailbox,
        tls_required: bool = False,
        long_lines: str = "accept",
        bare_newline: str = "reject",
    ) -> None:
        self.state = State.CONNECTED
        self._extensions = extensions
        self._postmaster = postmaster
        self._tls_required = tls_required
        self._reject_long_lines = long_lines == "reject"
        self._normalize = bare_newline == "normalize"
        self._lines = LineBuffer()
        self._reader: DataReader | None = None
        self._chunks: ChunkReader | None = None  # of this transaction
        self._chunk: _Chunk | None = None  # whose octets come
        self._ended = False  # the final dot came, and its event is still to be told
        self._pending: Event | None = None  # what `send` will answer
        self._verb = Verb.NOOP  # of the pending event, unless it is a Refused
        self._extended = False  # EHLO rather than HELO: parameters may come
        self._smtputf8 = False  # of this transaction
        self._body: Body | None = None  # of this transaction
        self._prdr = False  # in this transaction
        self._refused_recipient = False  # in this transaction

    @property
    def is_drained(self) -> bool:
        """No octet is buffered: what must be so when TLS starts (RFC 3207 section 4.2)."""
        return self._lines.is_empty

    @property
    def is_receiving(self) -> bool:
        """Octets that come are content, or a chunk that is refused: no command."""
        return self._reader is not None or self._chunk is not None

    @property
    def problem(self) -> DataProblem | None:
        """What is wrong with the content that is coming, as far as it has come."""
        if self._reader is not None:
            return self._reader.problem
        return self._chunks.problem if self._chunks and self.state is State.CHUNKS else None

    def receive_data(self, data: bytes) -> None:
        """Take what the client sent; ``b""`` is the end: what is incomplete stays so.

        Memory is bounded if `next_event` is asked until None before more is given.
        """
        if data and self.state is not State.CLOSED:
            self._lines.feed(data)

    def next_event(self) -> Event | None:
        """Return what came next, or None if that needs more octets.

        Raises LocalProtocolError if the event before was not answered.
        """
        if self._pending is not None:
            raise LocalProtocolError("the event before has had no answer")
        if self._reader is not None:
            return self._next_content(self._reader)
        chunk = self._chunk
        if chunk is not None:
            return self._next_of_chunk(chunk)
        state = self.state
        if state is _CONNECTED and self._lines.peek() == _TLS_HANDSHAKE:
            self._pending = Refused(_NOT_SMTP, "TLS handshake", fatal=True)
        elif state not in _SILENT:
            line = self._lines.next_line()
            if line is None:
                return None
            event = self._read(line)
            if self._chunk is not None:  # its reply comes after its octets
                return event or self._next_of_chunk(self._chunk)
            self._pending = event
        return self._pending

    def send(self, reply: Reply) -> bytes:
        """Answer the last event and return the octets to send.

        A positive reply moves the session, a negative one leaves it where it was; 421 ends
        it. Without an event to answer only a greeting or a 421 may be sent. Raises
        LocalProtocolError for any other reply that has no place here.
        """
        event, self._pending = self._pending, None
        if reply.code == 421:
            self._close()
        elif event is None:
            if self.state is not State.CONNECTED or reply.code not in (220, 554):
                raise LocalProtocolError(f"{reply.code} answers nothing")
        elif type(event) is Refused:
            if event.fatal:
                self._close()
        else:
            self._move(event, reply)
        return reply.octets

    def send_for_each(self, each: Iterable[Reply], for_all: Reply) -> bytes:
        """Answer the end of content with a reply for each recipient that RCPT was answered 250
        for, in that order, and the one that ends it all: negative if all of them are.

        The client must have asked for it with PRDR (draft-hall-prdr); raises LocalProtocolError
        if it has not. Where all have the same fate `send` says so in one reply.
        """
        if type(self._pending) is not EndOfData or not self._prdr:
            raise LocalProtocolError("no reply for each recipient is awaited")
        replies = tuple(each)
        if for_all.code >= 400 and any(reply.code < 400 for reply in replies):
            raise LocalProtocolError("the last one would take back what was said to some")
        first = b"".join(bytes(reply) for reply in (_FOR_EACH, *replies))
        return first + self.send(for_all)

    def ehlo_reply(self, hostname: str) -> Reply:
        """The positive answer to EHLO: what is on offer now."""
        return ehlo_reply(hostname, self._extensions)

    def offer_xclient(self, offered: bool) -> None:
        """Whether this client may say whom it speaks for."""
        if offered is not self._extensions.xclient:
            self._extensions = dataclasses.replace(self._extensions, xclient=offered)

    def tls_started(self) -> None:
        """The handshake is done: forget all that was said in the clear, and what it offered.

        RFC 3207 section 4.2. Raises LocalProtocolError unless a 220 answered STARTTLS.
        """
        if self.state is not State.HANDSHAKE:
            raise LocalProtocolError(f"no handshake in state {self.state.name}")
        self.state = after(self.state, Verb.TLS_STARTED, succeeded=True)
        self._lines.clear()
        # RFC 8689 section 2: REQUIRETLS is for TLS alone.
        self._extensions = dataclasses.replace(self._extensions, starttls=False, requiretls=True)
        self._tls_required = self._extended = self._smtputf8 = False

    # --- what a reply does -----------------------------------------------------------------

    def _move(self, event: Event, reply: Reply) -> None:
        verb, positive = self._verb, reply.code < 400
        if (reply.code == 354) != (positive and verb is _DATA):
            raise LocalProtocolError(f"{reply.code} does not answer {verb.name}")
        self.state = after(self.state, verb, succeeded=positive)
        kind = type(event)
        if kind is EndOfData:
            self._reader = None
            self._ended = False
        elif not positive:
            self._refused_recipient = self._refused_recipient or kind is Rcpt
        elif kind is StartData:
            self._reader = DataReader(
                self._extensions.size,
                reject_long_lines=self._reject_long_lines,
                normalize=self._normalize,
            )
        elif isinstance(event, Mail):
            self._smtputf8 = event.envelope.smtputf8
            self._body = event.envelope.body
            self._prdr = event.prdr
            self._refused_recipient = False
        elif isinstance(event, Hello):
            self._extended = event.verb == "EHLO"
        elif kind is XClient:
            self._extended = self._smtputf8 = False

    def _close(self) -> None:
        self.state = State.CLOSED
        self._reader = self._chunk = None
        self._lines.clear()

    # --- what octets mean ------------------------------------------------------------------

    def _next_content(self, reader: DataReader) -> Event | None:
        if not self._ended:
            data = self._lines.take_all()
            if not data:
                return None
            content, rest = reader.feed(data)
            if rest is not None:
                self._lines.feed(rest)
                self._ended = True
            if content:
                return DataChunk(content)
            if rest is None:
                return None
        self._verb = _END_OF_DATA
        self._pending = EndOfData(reader.problem, reader.size)
        return self._pending

    def _next_of_chunk(self, chunk: _Chunk) -> Event | None:
        octets = self._lines.take(chunk.left) if chunk.left else b""
        chunk.left -= len(octets)
        if chunk.refused is not None:
            if not chunk.left:
                self._chunk, self._pending = None, chunk.refused
            return self._pending
        reader = self._chunks
        assert reader is not None, "a chunk that is read has its reader"  # noqa: S101  narrows
        content = reader.feed(octets) if octets else b""
        if chunk.last and not chunk.left:
            content += reader.finish()
        if content:
            return DataChunk(content)
        if chunk.left:
            return None
        self._chunk = None
        if chunk.last:
            self._verb, self._pending = _END_OF_DATA, EndOfData(reader.problem, reader.size)
        else:
            self._verb, self._pending = Verb.BDAT, EndOfChunk(reader.problem, chunk.size)
        return self._pending

    def _read(self, line: bytes | BadLine) -> Event | None:
        """None: there are octets to be skipped before anything is said."""
        if isinstance(line, BadLine):
            return Refused(line.reply, line.excerpt)
        try:
            text = line.decode().rstrip(" \t")
        except UnicodeDecodeError:
            return Refused(_NOT_UTF8, excerpt(line))
        if not text.isprintable() and CONTROL.search(text):
            return Refused(_BAD_CHARACTERS, excerpt(line))
        word, _, argument = text.partition(" ")
        verb = _VERBS.get(word) or _VERBS.get(word.upper())
        if verb is None:
            return self._unknown(word.upper(), line)
        if verb is Verb.BDAT:
            return self._start_chunk(argument.strip(" "), line)
        if self._tls_required and verb not in BEFORE_TLS:
            return Refused(_TLS_FIRST, excerpt(line))
        if verb not in AFTER_SUCCESS[self.state]:
            return Refused(self._out_of_order(verb), excerpt(line))
        self._verb = verb
        try:
            if not text.isascii() and not _may_be_utf8(verb, text):
                raise GrammarError(_NOT_ASCII)
            return _PARSERS[verb](self, argument)
        except GrammarError as error:
            self._refused_recipient = self._refused_recipient or verb is Verb.RCPT
            return Refused(error.reply, excerpt(line))

    def _start_chunk(self, argument: str, line: bytes) -> Event | None:
        said = _BDAT.fullmatch(argument)
        if said is None:
            # Nobody knows how many octets follow, and not one of them may become a command.
            return Refused(_BDAT_SYNTAX, excerpt(line), fatal=True)
        size, last = int(said[1]), said[2] is not None
        refusal: Reply | None = None
        if self._tls_required:
            refusal = _TLS_FIRST
        elif Verb.BDAT not in AFTER_SUCCESS[self.state]:
            refusal = self._out_of_order(Verb.BDAT)
        elif not self._extended:
            refusal = _NOT_IMPLEMENTED
        self._chunk = _Chunk(size, size, last)
        if refusal is not None:
            self._chunk.refused = Refused(refusal, excerpt(line))
            return None
        if self.state is not State.CHUNKS:
            self.state = State.CHUNKS
            self._chunks = ChunkReader(
                self._extensions.size,
                reject_long_lines=self._reject_long_lines,
                normalize=self._normalize,
                binary=self._body is Body.BINARY_MIME,
            )
        return StartChunk(size, last)

    def _unknown(self, word: str, line: bytes) -> Refused:
        if word in _OTHER_PROTOCOLS:
            return Refused(_NOT_SMTP, excerpt(line), fatal=True)
        reply = _NOT_IMPLEMENTED if word in _KNOWN_ELSEWHERE else _UNKNOWN
        return Refused(reply, excerpt(line))

    def _out_of_order(self, verb: Verb) -> Reply:
        """What to say of it; that it is out of order, the table said."""
        if self.state is State.CHUNKS:
            return _BDAT_ALONE
        is_content = verb is Verb.DATA or verb is Verb.BDAT
        if is_content and self.state is State.MAIL and self._refused_recipient:
            return _NO_RECIPIENTS  # RFC 2920 section 3.1: a group whose RCPTs all failed
        if verb is Verb.MAIL and self.state is not State.CONNECTED:
            return _NESTED_MAIL
        return _BAD_SEQUENCE[verb]

    def _hello(self, argument: str) -> Event:
        return _said_hello("EHLO" if self._verb is Verb.EHLO else "HELO", argument.strip(" "))

    def _mail(self, argument: str) -> Event:
        if argument.isascii() and " " not in argument:
            return _plain_mail(argument)
        path, rest = reverse_path(argument)
        given = mail_parameters(rest, extended=self._extended)
        size = given.get("SIZE", int)
        if size is not None and 0 < self._extensions.size < size:
            raise GrammarError(_TOO_BIG)  # RFC 1870 section 6.1
        body = given.get("BODY", Body)
        if body is Body.BINARY_MIME and not self._extensions.binarymime:
            raise GrammarError(_NOT_BINARY)
        requiretls = "REQUIRETLS" in given
        if requiretls and not self._extensions.requiretls:
            raise GrammarError(_REQUIRETLS_NOT_OFFERED)
        prdr = "PRDR" in given
        if prdr and not self._extensions.prdr:
            raise GrammarError(_PRDR_NOT_OFFERED)
        smtputf8 = "SMTPUTF8" in given
        if not smtputf8 and path.mailbox is not None and not path.mailbox.is_ascii:
            raise GrammarError(_NEEDS_SMTPUTF8)  # RFC 6531 section 3.5
        envelope = Envelope(
            path,
            body=body,
            smtputf8=smtputf8,
            requiretls=requiretls,
            ret=given.get("RET", Ret),
            envid=given.get("ENVID", str),
        )
        return Mail(envelope, size, prdr)

    def _start_data(self, argument: str) -> Event:
        _no_argument(argument)
        if self._body is Body.BINARY_MIME:
            raise GrammarError(_BDAT_WANTED)  # RFC 3030 section 3
        return _START_DATA

    def _rcpt(self, argument: str) -> Event:
        if "@" in argument and " " not in argument and argument.isascii():
            return _plain_rcpt(argument)
        path, rest = forward_path(argument, self._postmaster)
        if not self._smtputf8 and not argument.isascii():
            raise GrammarError(_NEEDS_SMTPUTF8)
        given = rcpt_parameters(rest, extended=self._extended)
        return Rcpt(Recipient(path, given.get("NOTIFY", Notify), given.get("ORCPT", str)))

    def _starttls(self, argument: str) -> Event:
        _no_argument(argument)  # RFC 3207 section 4: 501
        if not self._extensions.starttls:
            raise GrammarError(_NOT_IMPLEMENTED)
        if not self._lines.is_empty:
            return Refused(_AFTER_STARTTLS, "STARTTLS", fatal=True)
        return StartTls()

    def _xclient(self, argument: str) -> Event:
        if not self._extensions.xclient:
            raise GrammarError(_NOT_IMPLEMENTED)
        return xclient(argument)


@lru_cache(maxsize=_REMEMBERED)
def _said_hello(verb: Literal["EHLO", "HELO"], argument: str) -> Hello:
    return Hello(verb, hello_name(argument))


@lru_cache(maxsize=_REMEMBERED)
def _plain_mail(argument: str) -> Mail:
    """MAIL without a space, hence without parameters, in ASCII."""
    path, rest = reverse_path(argument)
    mail_parameters(rest, extended=False)  # refuses any
    return Mail(Envelope(path), None)


@lru_cache(maxsize=_REMEMBERED)
def _plain_rcpt(argument: str) -> Rcpt:
    """RCPT without a space, in ASCII, and with a domain: no bare <postmaster>."""
    path, rest = forward_path(argument, _NOBODY)
    rcpt_parameters(rest, extended=False)
    return Rcpt(Recipient(path))


def _may_be_utf8(verb: Verb, text: str) -> bool:
    """MAIL says so in a parameter, and so do VRFY and EXPN (RFC 6531 section 3.7.4.2)."""
    if verb is Verb.VRFY or verb is Verb.EXPN:
        return text.upper().endswith(" SMTPUTF8")
    return verb is Verb.MAIL or verb is Verb.RCPT


def _no_argument(argument: str) -> None:
    if argument:
        raise GrammarError(_NO_ARGUMENT)


def _an_argument(argument: str) -> str:
    if not argument:
        raise GrammarError(_WANTS_ARGUMENT)
    return argument


def _bare(event: Event) -> Callable[[ServerProtocol, str], Event]:
    """The parser of a command that takes no argument."""

    def parse(_: ServerProtocol, argument: str) -> Event:
        _no_argument(argument)
        return event

    return parse


_START_DATA: Final = StartData()

_PARSERS: Final[Mapping[Verb, Callable[[ServerProtocol, str], Event]]] = {
    Verb.EHLO: ServerProtocol._hello,
    Verb.HELO: ServerProtocol._hello,
    Verb.MAIL: ServerProtocol._mail,
    Verb.RCPT: ServerProtocol._rcpt,
    Verb.DATA: ServerProtocol._start_data,
    Verb.RSET: _bare(Reset()),
    Verb.QUIT: _bare(Quit()),
    Verb.STARTTLS: ServerProtocol._starttls,
    Verb.XCLIENT: ServerProtocol._xclient,
    # RFC 5321 section 4.1.1.9: an argument of NOOP is ignored.
    Verb.NOOP: lambda _, __: Noop(),
    Verb.VRFY: lambda _, argument: Verify(_an_argument(argument)),
    Verb.EXPN: lambda _, argument: Expand(_an_argument(argument)),
    Verb.HELP: lambda _, argument: Help(argument),
}
