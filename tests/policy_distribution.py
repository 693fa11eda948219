"""A distribution of policies as a third party would install it, in a directory of its own."""

from __future__ import annotations

import os
from pathlib import Path

#: One policy for each thing that can be seen of policies from outside.
SOURCE = '''
from dataclasses import dataclass
from typing import Literal

import trio

from edgerelay.policy import *


@dataclass(frozen=True, slots=True)
class Colour(Evidence):
    name: str

    @property
    def authentication_results(self):
        return (AuthenticationResult("x-colour", "pass", (("smtp.colour", self.name),)),)


@dataclass(frozen=True, slots=True)
class Taste(Evidence):
    name: str


@dataclass(frozen=True)
class PainterOptions:
    colour: Literal["red", "blue"] = "red"
    coats: int = 1


class Painter(Policy[PainterOptions]):
    """Gives every transaction a colour.

    More of it.
    """

    options_type = PainterOptions
    provides = (Colour,)

    async def on_mail(self, transaction):
        transaction.provide(Colour(self.options.colour))
        return CONTINUE


class Gourmet(Policy):
    """Looks at the colour."""

    needs = (Colour,)

    async def on_rcpt(self, transaction, forward_path):
        colour = await transaction.evidence(Colour)
        if colour.name == "blue":
            return Reject(Reply(550, "5.7.1", "Nobody eats that"))
        if forward_path.mailbox.local_part == "later":
            return Defer(Reply(451, "4.7.1", "Come again"))
        return CONTINUE


class Keeper(Policy):
    """Writes down who came."""

    has_effects = True
    wants = (Colour,)

    async def on_rcpt(self, transaction, forward_path):
        self.services.log("kept", path=forward_path)
        await self.services.table().put("seen", b"1", expires_in=60)
        return CONTINUE


class Labeller(Policy):
    """Labels the message and takes a label away."""

    async def on_message(self, transaction, message):
        edits = [Prepend("X-Label", f"{message.size} octets"), AddScore(1.5, "labelled")]
        edits += [Remove(field) for field in message.named("X-Old")]
        return Tag(tuple(edits))


@dataclass(frozen=True)
class JudgeOptions:
    how: Literal["accept", "defer", "reject", "hold", "discard"] = "reject"


VERDICTS = {
    "accept": ACCEPT,
    "defer": Defer(Reply(451, "4.7.1", "Later")),
    "reject": Reject(Reply(550, "5.7.1", "Never")),
    "hold": Hold("for you"),
    "discard": Discard("for you"),
}


class Judge(Policy[JudgeOptions]):
    """Says of every message what it is told to say."""

    options_type = JudgeOptions

    async def on_message(self, transaction, message):
        return VERDICTS[self.options.how]


class Split(Policy):
    """Says of each recipient what its name is."""

    async def on_message(self, transaction, message):
        return PerRecipient(
            {
                path: VERDICTS[path.mailbox.local_part]
                for path in transaction.forward_paths
                if path.mailbox.local_part in VERDICTS
            }
        )


@dataclass(frozen=True)
class GuardOptions:
    where: Literal["connect", "ehlo", "mail"] = "connect"
    wait: Duration = 0.0


class Guard(Policy[GuardOptions]):
    """Lets nobody in."""

    options_type = GuardOptions

    async def answer(self, where):
        if where != self.options.where:
            return CONTINUE
        if self.options.wait:
            await trio.sleep(self.options.wait)
        return Reject(Reply(550, "5.7.1", "Not you"))

    async def on_connect(self, connection):
        return await self.answer("connect")

    async def on_ehlo(self, connection):
        return await self.answer("ehlo")

    async def on_mail(self, transaction):
        return await self.answer("mail")


class Sleeper(Policy):
    """Takes very long."""

    async def on_mail(self, transaction):
        await trio.sleep(3600)
        return CONTINUE


class Raiser(Policy):
    """Fails at every message."""

    async def on_message(self, transaction, message):
        raise RuntimeError("the secret of the raiser")


class Egg(Policy):
    """Waits for the hen."""

    needs = (Colour,)
    provides = (Taste,)

    async def on_mail(self, transaction):
        return CONTINUE


class Hen(Policy):
    """Waits for the egg."""

    needs = (Taste,)
    provides = (Colour,)

    async def on_mail(self, transaction):
        return CONTINUE


class Late(Policy):
    """Gives the colour when the message is there."""

    provides = (Colour,)

    async def on_message(self, transaction, message):
        return CONTINUE


class Closed(Policy):
    """Cannot be opened."""

    async def __aenter__(self):
        raise RuntimeError("the door is locked")

    async def on_mail(self, transaction):
        return CONTINUE
'''

#: What it is imported as.
MODULE = "kitchen_policies"
NAMES = (
    "painter",
    "gourmet",
    "keeper",
    "labeller",
    "judge",
    "split",
    "guard",
    "sleeper",
    "raiser",
    "egg",
    "hen",
    "late",
    "closed",
)


def python_path(directory: Path) -> str:
    """PYTHONPATH of a process that is to find what was installed there, beside its own."""
    return os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])


def install(directory: Path) -> None:
    """Put it where ``directory`` in ``sys.path`` or PYTHONPATH finds it.

    ``broken`` is an entry point that leads nowhere.
    """
    directory.mkdir(exist_ok=True)
    (directory / "kitchen_policies.py").write_text(SOURCE)
    info = directory / "kitchen_policies-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kitchen-policies\nVersion: 1.2\n")
    points = [f"{name} = kitchen_policies:{name.capitalize()}" for name in NAMES]
    points.append("broken = kitchen_policies:Missing")
    (info / "entry_points.txt").write_text("\n".join(["[edgerelay.policies]", *points, ""]))
