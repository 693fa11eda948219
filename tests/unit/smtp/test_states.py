"""The table is small enough to try whole."""

from __future__ import annotations

from itertools import product

import pytest

from edgerelay.smtp.states import (
    AFTER_SUCCESS,
    BEFORE_TLS,
    STATELESS,
    BadSequenceError,
    State,
    Verb,
    after,
)

COMMAND_STATES = [State.CONNECTED, State.READY, State.MAIL, State.RCPT, State.CHUNKS]
NO_COMMANDS = [Verb.END_OF_DATA, Verb.TLS_STARTED]
COMMANDS = [verb for verb in Verb if verb not in NO_COMMANDS]

#: Where each verb may come, written a second time and by verb, so that a slip shows.
ALLOWED = {
    Verb.EHLO: COMMAND_STATES,
    Verb.HELO: COMMAND_STATES,
    Verb.RSET: COMMAND_STATES,
    Verb.NOOP: COMMAND_STATES,
    Verb.VRFY: COMMAND_STATES,
    Verb.EXPN: COMMAND_STATES,
    Verb.HELP: COMMAND_STATES,
    Verb.QUIT: COMMAND_STATES,
    Verb.MAIL: [State.READY],
    Verb.RCPT: [State.MAIL, State.RCPT],
    Verb.DATA: [State.RCPT],
    Verb.BDAT: [State.RCPT, State.CHUNKS],
    Verb.STARTTLS: [State.READY],
    Verb.XCLIENT: [State.CONNECTED, State.READY],
    Verb.END_OF_DATA: [State.DATA, State.CHUNKS],
    Verb.TLS_STARTED: [State.HANDSHAKE],
}


@pytest.mark.parametrize(("state", "verb"), list(product(State, Verb)))
def test_every_verb_comes_where_it_may_and_nowhere_else(state: State, verb: Verb) -> None:
    if state in ALLOWED[verb]:
        assert after(state, verb, succeeded=True) is AFTER_SUCCESS[state][verb]
    else:
        with pytest.raises(BadSequenceError, match=f"{verb.name} in state {state.name}"):
            after(state, verb, succeeded=True)


@pytest.mark.parametrize(("state", "verb"), list(product(COMMAND_STATES, COMMANDS)))
def test_a_refused_command_changes_nothing_but_quit(state: State, verb: Verb) -> None:
    if verb in AFTER_SUCCESS[state] and verb not in (Verb.QUIT, Verb.BDAT):
        assert after(state, verb, succeeded=False) is state


@pytest.mark.parametrize("state", [State.RCPT, State.CHUNKS])
def test_a_refused_chunk_ends_the_transaction(state: State) -> None:
    assert after(state, Verb.BDAT, succeeded=False) is State.READY


@pytest.mark.parametrize("succeeded", [True, False])
def test_the_end_of_data_ends_the_transaction_whatever_the_reply(succeeded: bool) -> None:
    for state in (State.DATA, State.CHUNKS):
        assert after(state, Verb.END_OF_DATA, succeeded=succeeded) is State.READY


@pytest.mark.parametrize("succeeded", [True, False])
def test_quit_ends_the_session_whatever_the_reply(succeeded: bool) -> None:
    assert after(State.RCPT, Verb.QUIT, succeeded=succeeded) is State.CLOSED


@pytest.mark.parametrize(
    ("state", "verb"), list(product(COMMAND_STATES, sorted(STATELESS, key=str)))
)
def test_stateless_commands_move_nothing(state: State, verb: Verb) -> None:
    assert after(state, verb, succeeded=True) is state


@pytest.mark.parametrize("verb", [Verb.EHLO, Verb.HELO, Verb.RSET])
@pytest.mark.parametrize("state", [State.READY, State.MAIL, State.RCPT, State.CHUNKS])
def test_ehlo_and_rset_end_a_transaction(state: State, verb: Verb) -> None:
    assert after(state, verb, succeeded=True) is State.READY


def test_rset_does_not_stand_in_for_ehlo() -> None:
    assert after(State.CONNECTED, Verb.RSET, succeeded=True) is State.CONNECTED


def test_tls_makes_the_session_forget_its_ehlo() -> None:
    state = after(State.READY, Verb.STARTTLS, succeeded=True)
    assert after(state, Verb.TLS_STARTED, succeeded=True) is State.CONNECTED


def test_before_tls_are_the_four_of_the_rfc() -> None:
    """RFC 3207 section 4."""
    assert {verb.name for verb in BEFORE_TLS} == {"NOOP", "EHLO", "STARTTLS", "QUIT"}


def test_every_state_can_be_reached() -> None:
    reached = {State.CONNECTED}
    while grown := {t for s in reached for t in AFTER_SUCCESS[s].values()} - reached:
        reached |= grown
    assert reached == set(State)
