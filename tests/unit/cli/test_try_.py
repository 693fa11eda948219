"""`edgerelay try`, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgerelay.cli.group import edgerelay
from edgerelay.cli.try_ import with_crlf
from tests.unit.cli.trials import CONTENT, configuration

Run = Callable[..., Result]

WHO = ("--client", "192.0.2.1", "--helo", "h.test", "--mail-from", "a@b.test")
TO = ("--rcpt-to", "x@example.com")

pytestmark = pytest.mark.usefixtures("kitchen")


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., None]:
    def configure(*policies: str) -> None:
        top = 'state_dir = "state"\n'
        (tmp_path / "e.toml").write_bytes(configuration(*policies, top=top))
        (tmp_path / "m.eml").write_bytes(CONTENT)

    return configure


def test_people_read_it_from_the_policies_down_to_the_fields(
    run: Run, configure: Callable[..., None], tmp_path: Path
) -> None:
    configure("painter", "keeper", "labeller")
    result = run("try", "m.eml", *WHO, *TO)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "Asked at Policy Mode Verdict Time Evidence and reasons"
    assert lines[1].startswith("mail painter enforce continue ")
    assert lines[1].endswith(" ms x-colour=pass smtp.colour=red")
    assert lines[2].startswith("rcpt keeper enforce continue ")
    assert "<x@example.com> accepted message 250 2.0.0 Ok -" in lines
    added = result.stdout.index("Would be added:\n  Authentication-Results: mx.test;")
    removed = result.stdout.index("Would be removed:\n  X-Old: one\n   two\n")
    assert added < removed
    assert "Score: 1.5" in lines
    assert "keeper: kept path=<x@example.com>" in lines
    assert lines[-1].startswith("The last reply would come after ")
    assert not (tmp_path / "state").exists()


def test_programs_read_json(run: Run, configure: Callable[..., None]) -> None:
    configure("painter", "gourmet")
    more = ("--rcpt-to", "later@example.com", "--rcpt-to", "x@example.com")
    result = run("try", "m.eml", *WHO, *TO, *more, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert [(each["forward_path"], each["outcome"]) for each in told["recipients"]] == [
        ("<x@example.com>", "accepted"),
        ("<later@example.com>", "deferred"),
    ]
    assert told["steps"][0]["evidence"] == ["x-colour=pass smtp.colour=red"]
    assert told["is_trusted"] is False


def test_a_refusal_is_exit_code_1_and_no_complaint(
    run: Run, configure: Callable[..., None]
) -> None:
    configure("judge")
    result = run("try", "m.eml", *WHO, *TO)
    assert result.exit_code == 1
    assert "550 5.7.1 Never" in result.stdout
    assert result.stderr == ""


def test_without_policies_it_says_so(run: Run, configure: Callable[..., None]) -> None:
    configure()
    result = run("try", "m.eml", *WHO, *TO)
    assert result.exit_code == 0
    assert result.stdout.startswith("No policy was asked.\n")


def test_a_message_may_come_by_standard_input_with_line_feeds(
    run: Run, configure: Callable[..., None]
) -> None:
    configure("labeller")
    arguments = ["-c", "e.toml", "try", "-", *WHO, *TO]
    result = CliRunner().invoke(edgerelay, arguments, input=b"Subject: x\n\nhello")
    assert result.exit_code == 0, result.output
    assert "lines of the file end with LF; CRLF was put in its place" in result.stdout
    assert "the last line of the file had no end; it was given one" in result.stdout
    assert "X-Label: 21 octets" in result.stdout


def test_a_policy_that_cannot_be_opened_is_named(run: Run, configure: Callable[..., None]) -> None:
    configure("closed")
    result = run("try", "m.eml", *WHO, *TO)
    assert result.exit_code == 1
    assert result.stderr == (
        "edgerelay: policy closed cannot be opened: RuntimeError: the door is locked\n"
    )


@pytest.mark.parametrize("sender", ["<>", "", "<a@b.test>"])
@pytest.mark.parametrize("to", ["postmaster", "<x@example.com>", "POSTMASTER@example.com"])
def test_addresses_are_written_with_brackets_or_without(
    run: Run, configure: Callable[..., None], sender: str, to: str
) -> None:
    configure()
    who = ("--client", "2001:db8::1", "--helo", "[192.0.2.1]", "--mail-from", sender)
    result = run("try", "m.eml", *who, "--rcpt-to", to)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("replaced", "by", "said"),
    [
        ("192.0.2.1", "localhost", "an address such as 192.0.2.1"),
        ("h.test", "two words", "a name such as mx.example.com"),
        ("a@b.test", "a@b@c", "an address, or <>"),
        ("a@b.test", "a@b.test> SIZE=1", "an address, or <>"),
        ("x@example.com", "x", "expected an address"),
        ("x@example.com", "", "expected an address"),
        ("m.eml", "nowhere.eml", "does not exist"),
        ("--helo", "--hello", "No such option"),
    ],
)
def test_what_could_not_be_said_is_a_usage_error(
    run: Run, configure: Callable[..., None], replaced: str, by: str, said: str
) -> None:
    configure("painter")
    arguments = [by if each == replaced else each for each in ("m.eml", *WHO, *TO)]
    result = run("try", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("missing", ["--client", "--helo", "--mail-from", "--rcpt-to"])
def test_nothing_is_guessed(run: Run, configure: Callable[..., None], missing: str) -> None:
    configure()
    given = [*WHO, *TO]
    at = given.index(missing)
    result = run("try", "m.eml", *given[:at], *given[at + 2 :])
    assert result.exit_code == 2
    assert missing in result.stderr


@pytest.mark.parametrize(
    ("data", "content", "changes"),
    [
        (b"", b"", 0),
        (b"a\r\nb\r\n", b"a\r\nb\r\n", 0),
        (b"a\nb\n", b"a\r\nb\r\n", 1),
        (b"a\nb", b"a\r\nb\r\n", 2),
        (b"a\r\nb\nc\r\n", b"a\r\nb\nc\r\n", 0),  # both: left to the relay's own judgement
        (b"a", b"a\r\n", 1),
    ],
)
def test_lines_of_a_file_end_as_those_of_a_message(
    data: bytes, content: bytes, changes: int
) -> None:
    found, notes = with_crlf(data)
    assert (found, len(notes)) == (content, changes)
