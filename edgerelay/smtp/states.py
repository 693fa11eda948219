"""The order of commands (RFC 5321 section 4.1.4), all of it, and nothing else.

Rule 1: what decides whether a command may come now is in this file.
Rule 2: this file knows no octets, no parameter and no clock.

A command moves the session only when its reply is a positive completion, so the table
needs no column for failure: a refused command leaves the state as it was. Four things move
it whatever the reply, and `after` names them: the end of mail data ends the transaction (RFC
5321 section 4.1.1.4), so does a chunk that is refused (RFC 3030 section 2), QUIT ends the
session, and so does a 421 to anything (`State.CLOSED` is then set by whoever sent it).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final


class State(Enum):
    __hash__ = object.__hash__  # Enum's own is written in Python, and costs at every look-up
    CONNECTED = auto()  #: the client has not said who it is, or TLS made us forget it
    READY = auto()  #: EHLO or HELO accepted, no mail transaction open
    MAIL = auto()  #: reverse-path accepted
    RCPT = auto()  #: at least one forward-path accepted
    DATA = auto()  #: 354 sent, the client owes us mail data
    CHUNKS = auto()  #: mail data come in chunks (RFC 3030), the last one is still to come
    HANDSHAKE = auto()  #: 220 to STARTTLS sent, the client owes us a TLS handshake
    CLOSED = auto()  #: 221 or 421 sent, or the protocol was broken beyond repair


class Verb(Enum):
    __hash__ = object.__hash__
    EHLO = auto()
    HELO = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    BDAT = auto()
    END_OF_DATA = auto()  #: no command: CRLF "." CRLF, or all octets of the last chunk
    RSET = auto()
    NOOP = auto()
    VRFY = auto()
    EXPN = auto()
    HELP = auto()
    QUIT = auto()
    STARTTLS = auto()
    XCLIENT = auto()
    TLS_STARTED = auto()  #: no command: the handshake is done


#: Commands that never move the session, and need no EHLO (RFC 5321 section 4.1.4).
STATELESS: Final = frozenset({Verb.NOOP, Verb.VRFY, Verb.EXPN, Verb.HELP})

#: What may come before TLS where TLS is required; the rest is 530 (RFC 3207 section 4).
BEFORE_TLS: Final = frozenset({Verb.NOOP, Verb.EHLO, Verb.STARTTLS, Verb.QUIT})


def _commands(state: State, moves: Mapping[Verb, State]) -> Mapping[Verb, State]:
    """A state in which commands come: those of its own, and those that may come anytime."""
    anytime = {verb: state for verb in STATELESS}
    identify = {Verb.EHLO: State.READY, Verb.HELO: State.READY}
    # RFC 5321 section 4.1.4: EHLO also ends a transaction, as RSET does.
    abandon = {Verb.RSET: state if state is State.CONNECTED else State.READY}
    return {**anytime, **identify, **abandon, **moves, Verb.QUIT: State.CLOSED}


#: Which commands may come in a state, and the state that follows a positive reply.
AFTER_SUCCESS: Final[Mapping[State, Mapping[Verb, State]]] = {
    State.CONNECTED: _commands(State.CONNECTED, {Verb.XCLIENT: State.CONNECTED}),
    State.READY: _commands(
        # RFC 3207 section 4: not inside a transaction, so only here.
        State.READY,
        {
            Verb.MAIL: State.MAIL,
            Verb.STARTTLS: State.HANDSHAKE,
            Verb.XCLIENT: State.CONNECTED,
        },
    ),
    State.MAIL: _commands(State.MAIL, {Verb.RCPT: State.RCPT}),
    State.RCPT: _commands(
        State.RCPT,
        {Verb.RCPT: State.RCPT, Verb.DATA: State.DATA, Verb.BDAT: State.CHUNKS},
    ),
    State.DATA: {Verb.END_OF_DATA: State.READY},
    # RFC 3030 section 2: DATA cannot follow BDAT, nor can another recipient.
    State.CHUNKS: _commands(
        State.CHUNKS, {Verb.BDAT: State.CHUNKS, Verb.END_OF_DATA: State.READY}
    ),
    # RFC 3207 section 4.2: what the client said in the clear is forgotten.
    State.HANDSHAKE: {Verb.TLS_STARTED: State.CONNECTED},
    State.CLOSED: {},
}

_WHATEVER_THE_REPLY: Final = frozenset({Verb.END_OF_DATA, Verb.QUIT})


class BadSequenceError(Exception):
    """503: this command may not come now."""

    def __init__(self, verb: Verb, state: State) -> None:
        super().__init__(f"{verb.name} in state {state.name}")
        self.verb, self.state = verb, state


def after(state: State, verb: Verb, *, succeeded: bool) -> State:
    """Return the state that follows, or raise BadSequenceError if there is none."""
    target = AFTER_SUCCESS[state].get(verb)
    if target is None:
        raise BadSequenceError(verb, state)
    if succeeded or verb in _WHATEVER_THE_REPLY:
        return target
    return State.READY if verb is Verb.BDAT else state
