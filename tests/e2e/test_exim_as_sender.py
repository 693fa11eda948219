"""Exim hands mail for several recipients to us, and hears of each of them what it can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.e2e.support.client import message
from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.exim import Exim
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import wait_for
from tests.policy_distribution import install, python_path

ANN = "ann@src.test"


def test_with_prdr_exim_reports_who_was_refused_and_we_do_not(workdir: Path) -> None:
    """One is taken, one refused for good, one for now (draft-hall-prdr-00)."""
    install(workdir / "site")  # whose policy "split" says of each recipient what its name is
    names = ("accept@example.test", "reject@example.test", "defer@example.test")
    with NextHop() as hop:
        url = f"smtp://127.0.0.1:{hop.port}"
        config = relay_config(workdir / "relay", url, policy=[{"use": "split"}])
        env = {"PYTHONPATH": python_path(workdir / "site")}
        with Edgerelay(workdir / "relay", config, env=env) as us:
            exim = Exim(workdir / "exim", relay_to=us.port)
            exim.send(ANN, *names, content=message())
            [taken] = hop.wait_taken(1)
            refused = us.find("refused", command="data")
            token = refused[0]["session"]
            wait_for("Exim's QUIT", lambda: us.find("session", session=token, end="quit"))
    assert [rcpt.split()[1] for rcpt in taken.rcpts] == ["TO:<accept@example.test>"]
    assert {(each["forward_path"], each["reply"][:9]) for each in refused} == {
        ("<reject@example.test>", "550 5.7.1"),
        ("<defer@example.test>", "451 4.7.1"),
    }
    log = exim.mainlog
    assert "PRDR" in log, log
    assert "=> accept@example.test" in log, log
    assert "** reject@example.test" in log, log
    assert "== defer@example.test" in log, log
    assert len(hop.taken) == 1, "no report of ours: it was said to Exim"


def test_exim_sends_to_another_route_in_a_message_of_its_own(
    workdir: Path, relay: Callable[..., Edgerelay]
) -> None:
    with NextHop() as hop, NextHop() as other:
        us = relay(
            f"smtp://127.0.0.1:{hop.port}",
            listener={"split": True},
            also={"other.test": other.port},
        )
        exim = Exim(workdir / "exim", relay_to=us.port, transport=("hosts_try_prdr =",))
        exim.send(ANN, "a@example.test", "b@other.test", "c@example.test", content=message())
        exim.send_again()
        [taken], [split] = hop.wait_taken(1), other.wait_taken(1)
        [refused] = us.find("refused", command="rcpt")
    assert {rcpt.split()[1] for rcpt in taken.rcpts} == {
        "TO:<a@example.test>",
        "TO:<c@example.test>",
    }
    assert [rcpt.split()[1] for rcpt in split.rcpts] == ["TO:<b@other.test>"]
    assert refused["reply"].startswith("452 4.5.3")
