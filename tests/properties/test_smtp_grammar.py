"""The short cut of the grammar is only a short cut, and nothing leaves it but its own error."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from edgerelay.mail.address import Mailbox
from edgerelay.mail.xtext import decode_xtext, encode_xtext, is_xtext
from edgerelay.smtp import grammar
from edgerelay.smtp.grammar import GrammarError, forward_path, hello_name, reverse_path
from edgerelay.smtp.parameters import mail_parameters, rcpt_parameters

#: Pieces of paths, put together any way.
PIECES = st.one_of(
    st.sampled_from('<>@."\\,: []-_aB9ü+'),
    st.sampled_from(["b.example", "192.0.2.1", "IPv6:::1", "d" * 63, "l" * 32, "postmaster"]),
)
NEARLY_PATHS = st.lists(PIECES, max_size=14).map("".join)
PATHS = st.builds("<{}@{}>{}".format, NEARLY_PATHS, NEARLY_PATHS, st.sampled_from(["", " X=1"]))
POSTMASTER = Mailbox("postmaster", "us.example")


def outcome(text: str, *, short_cut: bool) -> tuple[Mailbox, str] | str:
    read = grammar._path if short_cut else grammar._any_path
    try:
        return read(text, 0, grammar._BAD_REVERSE_PATH)
    except GrammarError as error:
        return str(error.reply)


@given(st.one_of(PATHS, NEARLY_PATHS, st.text(max_size=30)))
def test_the_short_cut_leads_where_the_grammar_leads(text: str) -> None:
    assert outcome(text, short_cut=True) == outcome(text, short_cut=False)


@given(st.one_of(PATHS, NEARLY_PATHS, st.text(max_size=30)))
def test_what_is_a_path_is_one_again(text: str) -> None:
    """A mailbox as text gives itself: so it can be kept as text and sent on."""
    read = outcome(text, short_cut=True)
    if not isinstance(read, str):
        assert outcome(f"<{read[0]}>", short_cut=True) == (read[0], "")


@given(st.text(max_size=60))
def test_only_its_own_error_leaves_the_grammar(text: str) -> None:
    for read in (
        lambda: hello_name(text),
        lambda: reverse_path(f"FROM:{text}"),
        lambda: forward_path(f"TO:{text}", POSTMASTER),
        lambda: mail_parameters(text, extended=True),
        lambda: rcpt_parameters(f" ORCPT={text}", extended=True),
        lambda: rcpt_parameters(f" NOTIFY={text}", extended=True),
    ):
        with contextlib.suppress(GrammarError):
            read()


@given(st.text(max_size=40))
def test_xtext_there_and_back(text: str) -> None:
    assert is_xtext(encode_xtext(text))
    assert decode_xtext(encode_xtext(text)) == text
