"""Of each RCPT: its lane, or the refusal that the client reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio.testing

from edgerelay.mail.address import NULL_REVERSE_PATH, ForwardPath, Mailbox
from edgerelay.mail.reply import Reply
from edgerelay.observe.events import Event
from edgerelay.relay.callout import ProbeFailed
from edgerelay.relay.recipients import Accepted, RecipientCheck
from edgerelay.relay.routing import LaneSpec, Router
from edgerelay.relay.settings import HopKind, NextHop, RelaySettings, RouteSettings
from edgerelay.runtime import inline
from edgerelay.tables import MemoryTables
from edgerelay.testing.check_table import HandClock

STORE = NextHop(HopKind.SMTP, "10.0.0.5", 25)
LANE = "smtp://10.0.0.5:25"


class Scene:
    def __init__(self, tmp_path: Path) -> None:
        self.events: list[Event] = []
        self.probed: list[str] = []
        self.answer: Reply | Exception = Reply(250, "2.1.5", "OK")
        self.file = tmp_path / "recipients"
        directory = NextHop(HopKind.MAILDIR, path=tmp_path)
        routes = (
            RouteSettings(("any.example",), (STORE,), "any"),
            RouteSettings(("file.example",), (STORE,), self.file),
            RouteSettings(("callout.example",), (STORE,), "callout"),
            RouteSettings(("maildir.example",), (directory,), "callout"),
        )
        self.check = RecipientCheck(
            Router(RelaySettings("relay.example", routes=routes)),
            MemoryTables(HandClock()),
            self.probe,
            self.events.append,
            HandClock(),
            inline,
        )

    async def probe(self, lane: LaneSpec, forward_path: ForwardPath) -> Reply:
        self.probed.append(str(forward_path.mailbox))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def rcpt(self, address: str, *, trusted: bool = False) -> str:
        path = ForwardPath(Mailbox.from_text(address))
        answer = await self.check(path, NULL_REVERSE_PATH, trusted=trusted)
        if isinstance(answer, Accepted):
            return answer.lane
        return f"{answer.reply.code} {answer.reply.enhanced}"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_a_domain_that_no_route_names_is_not_relayed(scene: Scene) -> None:
    assert await scene.rcpt("u@elsewhere.example") == "550 5.7.1"
    assert await scene.rcpt("postmaster@elsewhere.example") == "550 5.7.1"
    # Routing tricks of old are local parts like any other here.
    assert await scene.rcpt("u%elsewhere.example@any.example") == LANE
    assert await scene.rcpt("u@[192.0.2.1]") == "550 5.7.1"


async def test_two_routes_that_share_a_lane_are_two(scene: Scene) -> None:
    answers = [
        await scene.check(ForwardPath(Mailbox.from_text(to)), NULL_REVERSE_PATH, trusted=True)
        for to in (
            "a@any.example",
            "b@any.example",
            "c@callout.example",
            "d@x.example",
            "e@y.test",
        )
    ]
    lanes = [answer.lane for answer in answers if isinstance(answer, Accepted)]
    routes = [answer.route for answer in answers if isinstance(answer, Accepted)]
    assert lanes == [LANE, LANE, LANE, "mx:x.example", "mx:y.test"]
    assert routes[0] == routes[1] != routes[2]
    assert routes[3] is routes[4] is None


async def test_a_trusted_client_relays_anywhere(scene: Scene) -> None:
    assert await scene.rcpt("u@elsewhere.example", trusted=True) == "mx:elsewhere.example"
    assert scene.probed == []


async def test_a_trusted_clients_recipients_of_ours_are_checked(scene: Scene) -> None:
    scene.answer = Reply(550, "5.1.1", "unknown")
    assert await scene.rcpt("u@callout.example", trusted=True) == "550 5.1.1"


async def test_anyone_of_an_open_domain(scene: Scene) -> None:
    with trio.testing.assert_no_checkpoints():
        assert await scene.rcpt("whoever@any.example") == LANE


async def test_a_file_says_who_is_there(scene: Scene) -> None:
    scene.file.write_text("ann@file.example\n")
    assert await scene.rcpt("Ann@File.example") == LANE
    with trio.testing.assert_no_checkpoints():
        assert await scene.rcpt("ann+tag@file.example") == LANE
        assert await scene.rcpt("bob@file.example") == "550 5.1.1"


async def test_without_its_file_a_route_defers(scene: Scene) -> None:
    assert await scene.rcpt("ann@file.example") == "451 4.3.0"
    assert len(scene.events) == 1


async def test_a_callout_says_who_is_there(scene: Scene) -> None:
    assert await scene.rcpt("ann@callout.example") == LANE
    with trio.testing.assert_no_checkpoints():
        assert await scene.rcpt("ann@callout.example") == LANE
    assert scene.probed == ["ann@callout.example"]
    scene.answer = ProbeFailed("connection refused")
    assert await scene.rcpt("bob@callout.example") == "451 4.4.3"


async def test_a_directory_is_not_asked(scene: Scene) -> None:
    assert (await scene.rcpt("ann@maildir.example")).startswith("maildir://")
    assert scene.probed == []


@pytest.mark.parametrize("local_part", ["postmaster", "Postmaster", "ABUSE"])
@pytest.mark.parametrize("domain", ["file.example", "callout.example"])
async def test_postmaster_and_abuse_are_always_there(
    scene: Scene, local_part: str, domain: str
) -> None:
    scene.file.write_text("!postmaster@file.example\n")
    scene.answer = Reply(550, "5.1.1", "unknown")
    assert await scene.rcpt(f"{local_part}@{domain}") == LANE


async def test_a_check_that_breaks_defers_and_is_an_event(scene: Scene) -> None:
    scene.answer = ZeroDivisionError("secret detail")
    assert await scene.rcpt("ann@callout.example") == "451 4.3.0"
    assert len(scene.events) == 1
