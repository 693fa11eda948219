"""A postmaster's way: list what is there, try a message, observe on a running relay, read the
counts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay, document, relay_config
from tests.policy_distribution import install, python_path

WHO = ("--client", "192.0.2.1", "--helo", "client.test", "--mail-from", "a@b.test")


@pytest.fixture(autouse=True)
def kitchen(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(workdir / "site")
    monkeypatch.setenv("PYTHONPATH", python_path(workdir / "site"))


def configured(directory: Path, *policies: dict[str, Any], **tables: Any) -> dict[str, Any]:
    return relay_config(
        directory,
        f"maildir://{directory}/mail",
        policy=list(policies),
        dns={"servers": ["127.0.0.1:9"], "timeout": "200ms"},
        **tables,
    )


def edgerelay(
    directory: Path, config: dict[str, Any], *arguments: str, text: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    file = directory / "edgerelay.toml"
    file.write_text(document(config))
    command = [sys.executable, "-m", "edgerelay", "-c", str(file), *arguments]
    return subprocess.run(command, input=text, capture_output=True, timeout=30, check=False)


def tried(
    workdir: Path, config: dict[str, Any], *to: str, text: bytes = b"Subject: x\n\nhello\n"
) -> tuple[int, dict[str, Any]]:
    rcpt_to = [word for each in to for word in ("--rcpt-to", each)]
    done = edgerelay(workdir, config, "try", "-", *WHO, *rcpt_to, "--json", text=text)
    assert done.stdout, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def observed(workdir: Path) -> Iterator[Edgerelay]:
    """A relay of two workers on which one policy is only observed."""
    config = configured(
        workdir,
        {"use": "painter"},
        {"use": "gourmet"},
        {"use": "judge", "mode": "observe", "how": "reject"},
        {"use": "judge", "mode": "observe", "how": "accept"},
        workers=2,
    )
    server = Edgerelay(workdir / "relay", config)
    server.start()
    yield server
    server.stop()


def test_what_bundled_policies_say_is_shown_though_the_dns_is_dead(workdir: Path) -> None:
    config = configured(workdir, {"use": "spf"}, {"use": "greylisting"})
    status, told = tried(workdir, config, "x@example.test")
    assert status == 1
    (recipient,) = told["recipients"]
    assert (recipient["outcome"], recipient["policy"]) == ("deferred", "spf")
    (spf,) = [step for step in told["steps"] if step["policy"] == "spf"]
    assert spf["verdict"] == "defer"
    assert "spf=temperror smtp.mailfrom=a@b.test" in spf["evidence"][0]
    assert not (workdir / "state").exists()


def test_a_stranger_is_greylisted_each_time_since_a_trial_leaves_no_traces(workdir: Path) -> None:
    config = configured(workdir, {"use": "greylisting"})
    for _ in range(2):
        status, told = tried(workdir, config, "x@example.test", "y@example.test")
        assert status == 1
        assert [each["reply"][:9] for each in told["recipients"]] == ["451 4.7.1"] * 2
        assert {each["policy"] for each in told["recipients"]} == {"greylisting"}


def test_a_message_that_is_accepted_is_shown_with_its_fields(workdir: Path) -> None:
    config = configured(workdir, {"use": "painter"}, {"use": "labeller"})
    forged = b"Authentication-Results: relay.test; spf=pass\nSubject: x\n\nhello\n"
    status, told = tried(workdir, config, "x@example.test", text=forged)
    assert status == 0
    assert told["added"][0].startswith("Authentication-Results: relay.test; x-colour=pass")
    assert told["added"][1].startswith("X-Label: ")
    assert told["removed"] == ["Authentication-Results: relay.test; spf=pass"]


def test_what_try_says_is_what_a_relay_does(workdir: Path) -> None:
    config = configured(workdir, {"use": "painter"}, {"use": "gourmet"}, {"use": "labeller"})
    _, told = tried(workdir, config, "later@example.test", "x@example.test")
    with Edgerelay(workdir / "relay", config) as server, Client(server.port) as client:
        client.command("MAIL FROM:<a@b.test>")
        later = client.command("RCPT TO:<later@example.test>")
        assert client.command("RCPT TO:<x@example.test>").code == 250
        assert client.command("DATA").code == 354
        client.write(b"Subject: x\r\n\r\nhello\r\n.\r\n")
        assert client.read().code == 250
        assert str(later).startswith(told["recipients"][0]["reply"])
        delivered = server.wait_event("delivery", outcome="delivered")
        assert delivered
    (mail,) = (workdir / "mail" / "new").iterdir()
    content = mail.read_bytes().replace(b"\r\n", b"\n").decode()
    for field in told["added"]:
        assert field in content


def test_a_relay_at_work_tells_what_its_observers_would_have_done(observed: Edgerelay) -> None:
    for number in range(4):
        with Client(observed.port) as client:
            to = "later@example.test" if number == 3 else "x@example.test"
            client.send("a@b.test", to, message())
            client.command("QUIT")
    observed.wait_event("policy_observed", 3, policy="judge")
    told = observed.json("policy", "list")
    counts = {each["name"]: each["counts"] for each in told["configured"]}
    assert told["note"] == ""
    assert counts["judge"] == {"disagree": 3}
    assert counts["judge-2"] == {"agree": 3}
    assert counts["gourmet"] == {"defer": 1}
    assert {each["mode"] for each in told["configured"]} == {"enforce", "observe"}
    people = observed.cli("policy", "list")
    assert people.returncode == 0
    assert people.stdout.startswith("Configured")


def test_without_a_relay_the_list_says_so(workdir: Path) -> None:
    config = configured(workdir, {"use": "painter"})
    done = edgerelay(workdir, config, "policy", "list")
    assert done.returncode == 0
    assert b"no relay is running" in done.stdout
    for name in (b"access", b"greylisting", b"spf", b"painter"):
        assert name in done.stdout


@pytest.mark.parametrize(
    "arguments", [("try",), ("try", "-"), ("try", "/nowhere", *WHO, "--rcpt-to", "x@example.test")]
)
def test_a_command_that_is_not_whole_is_exit_code_2(
    workdir: Path, arguments: tuple[str, ...]
) -> None:
    assert edgerelay(workdir, configured(workdir), *arguments, text=b"").returncode == 2
