"""OpenDKIM and our policy say the same of the same messages.

OpenDKIM reads the keys from a file, so neither asks a DNS. What it signs with the library's own
defaults is rsa-sha1, which we must not accept any more: that is tested too.
"""

from __future__ import annotations

import re
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from edgerelay.testing.messages import (
    TEST_KEYS,
    SigningKey,
    build_message,
    dkim_records,
    key_record,
    sign,
)
from tests.e2e.support.process import needs, run
from tests.policies.dkim_support import ask

DOMAIN = "sender.example"
ODD = build_message(
    fields=[("X-Folded", "a\r\n\t b  c \r\n  d"), ("Received", "one"), ("Received", "two")],
    body="  two  spaces \n\ttab\t \n\n.\nline\n\n\n",
)
CONFIGURATION = """\
Mode v
Syslog no
TestPublicKeys {keys}
AlwaysAddARHeader yes
"""


#: Each key is under its own name.
ZONE: dict[tuple[str, str], Any] = {
    place: records
    for name, key in TEST_KEYS.items()
    for place, records in dkim_records(DOMAIN, name, key).items()
}


def opendkim_says(directory: Path, message: bytes) -> str:
    """The result of the topmost signature, as it would put it into the message."""
    needs("opendkim")
    keys = "".join(
        f"{name}._domainkey.{DOMAIN} {key_record(key)}\n" for name, key in TEST_KEYS.items()
    )
    (directory / "keys").write_text(keys)
    (directory / "opendkim.conf").write_text(CONFIGURATION.format(keys=directory / "keys"))
    (directory / "message.eml").write_bytes(message)
    done = subprocess.run(
        ["/usr/sbin/opendkim", "-f", "-x", "opendkim.conf", "-t", "message.eml", "-vv"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    found = re.search(r"\bdkim=(\w+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    return found[1]


async def agree(directory: Path, message: bytes) -> str:
    theirs = opendkim_says(directory, message)
    ours = (await ask(message, ZONE)).result.signatures[0]
    assert theirs == ours.outcome.value, ours
    return theirs


@pytest.mark.parametrize("key", TEST_KEYS)
@pytest.mark.parametrize("form", ["/".join(p) for p in product(["simple", "relaxed"], repeat=2)])
async def test_what_we_sign_passes(tmp_path: Path, key: str, form: str) -> None:
    message = sign(ODD, DOMAIN, key, TEST_KEYS[key], canonicalization=form)
    assert await agree(tmp_path, message) == "pass"
    names = ["from", "received", "received", "received", "x-folded", "list-id"]
    message = sign(ODD, DOMAIN, key, TEST_KEYS[key], canonicalization=form, names=names)
    assert await agree(tmp_path, message) == "pass"


@pytest.mark.parametrize("form", ["/".join(p) for p in product(["simple", "relaxed"], repeat=2)])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        # not after the colon, where its test mode does not tell one space from two
        (b"Subject: A message", b"Subject: A  message"),
        (b"Subject: A message", b"SUBJECT: A message"),
        (b"Subject: A message", b"Subject: A\r\n message"),
        (b"Subject: A message", b"Subject: B message"),
        (b"two  spaces ", b"two spaces"),
        (b"two  spaces ", b"twospaces"),
        (b"line\r\n", b"line \t\r\n"),
        (b"line\r\n\r\n\r\n", b"line\r\n"),
        (b"line\r\n\r\n\r\n", b"line\r\nmore\r\n"),
        (b"Received: one", b"Received: other"),
        (b"\r\nFrom: ", b"\r\nReceived: zero\r\nFrom: "),
    ],
)
async def test_what_was_changed_is_judged_alike(
    tmp_path: Path, old: bytes, new: bytes, form: str
) -> None:
    key: SigningKey = TEST_KEYS["rsa-2048"]
    names = ["from", "subject", "received"]
    message = sign(ODD, DOMAIN, "rsa-2048", key, canonicalization=form, names=names)
    assert message.count(old) == 1
    assert await agree(tmp_path, message.replace(old, new)) in ("pass", "fail")


@pytest.mark.parametrize("length", [0, 1, 20, 10_000])
async def test_l_is_judged_alike(tmp_path: Path, length: int) -> None:
    key = TEST_KEYS["ed25519"]
    message = sign(ODD, DOMAIN, "ed25519", key, length=min(length, 30), names=["from"])
    await agree(tmp_path, message)
    await agree(tmp_path, message + b"added\r\n")


async def test_what_opendkim_signs_is_rsa_sha1_and_refused(tmp_path: Path) -> None:
    needs("opendkim-testmsg")
    key = tmp_path / "key.pem"
    key.write_bytes(TEST_KEYS["rsa-2048"].private)
    command = ["opendkim-testmsg", "-C", "-d", DOMAIN, "-s", "rsa-2048", "-k", str(key)]
    message = run(*command, text=build_message().decode()).encode()
    said = await ask(message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), ZONE)
    assert said.words == ["permerror rsa-sha1 is obsolete"]
