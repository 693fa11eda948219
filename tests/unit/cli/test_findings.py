"""What `check` finds without asking the network."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from edgerelay.cli.findings import Finding, Grade, advice, spool_findings, state_findings
from edgerelay.config import parse

ROUTE = '[[route]]\ndomains = ["example.com"]\nnext_hop = ["{}"]\n'


def warnings(text: str) -> dict[str, str]:
    config = parse(text.encode(), "e.toml")
    return {f.what: f.text for f in advice(config, 0.0) if f.grade is Grade.WARNING}


def test_any_recipient_for_a_server_that_could_be_asked_is_warned_of() -> None:
    said = warnings(ROUTE.format("smtp://10.0.0.5") + 'recipients = "any"\n')
    assert "bounces go to forged senders" in said["route example.com"]


@pytest.mark.parametrize("hop", ["maildir:///m", "mx"])
def test_where_nobody_can_be_asked_it_is_not(hop: str) -> None:
    assert "route example.com" not in warnings(ROUTE.format(hop))


def test_an_open_relay_is_warned_of() -> None:
    said = warnings(ROUTE.format("mx") + '[access]\nrelay_from = ["0.0.0.0/0"]\n')
    assert "open relay" in said["access.relay_from"]


@pytest.mark.parametrize(
    ("written", "is_warned_of"),
    [
        ('hostname = "mx.elsewhere.example"\n', False),
        ('postmaster = "root@example.com"\n', False),
        ('postmaster = "root@elsewhere.example"\n', True),
    ],
)
def test_a_postmaster_whose_mail_no_route_takes_is_warned_of(
    written: str, *, is_warned_of: bool
) -> None:
    assert ("postmaster" in warnings(written + ROUTE.format("mx"))) is is_warned_of


def test_mail_in_the_clear_is_warned_of() -> None:
    assert "in the clear" in warnings(ROUTE.format("mx"))["tls"]


def only(path: Path) -> Finding:
    (finding,) = state_findings(path)
    return finding


def test_a_state_directory_of_ours_is_good(tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert only(path) == Finding(Grade.GOOD, "state_dir", f"{path} will be created")
    assert not path.exists()
    path.mkdir(mode=0o700)
    assert only(path) == Finding(Grade.GOOD, "state_dir", str(path))


def test_one_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert only(tmp_path).grade is Grade.WARNING
    tmp_path.chmod(0o700)


def test_a_file_in_its_place_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    assert only(tmp_path / "state").text == f"{tmp_path}/state is no directory"
    assert only(tmp_path / "state" / "deeper").grade is Grade.PROBLEM


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_one_that_we_cannot_write_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o500)
    assert "not writable" in only(tmp_path / "state").text


@pytest.fixture
def database(tmp_path: Path) -> Path:
    (tmp_path / "lock").touch()
    shard = tmp_path / "spool" / "0"
    shard.mkdir(parents=True)
    connection = sqlite3.connect(shard / "spool.db")
    connection.execute("CREATE TABLE t (x)")
    connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 100)
    connection.commit()
    connection.close()
    return shard / "spool.db"


def test_a_whole_database_is_good(database: Path, tmp_path: Path) -> None:
    (finding,) = spool_findings(tmp_path)
    assert finding == Finding(Grade.GOOD, "shard 0", "its database is whole")


def test_a_damaged_one_is_a_problem(database: Path, tmp_path: Path) -> None:
    octets = bytearray(database.read_bytes())
    octets[8192:12288] = b"\xff" * 4096
    database.write_bytes(octets)
    (finding,) = spool_findings(tmp_path)
    assert finding.grade is Grade.PROBLEM


def test_a_running_relay_is_left_alone(tmp_path: Path) -> None:
    (finding,) = spool_findings(tmp_path)
    assert finding == Finding(Grade.PROBLEM, "spool", f"no relay has ever run on {tmp_path}")


def certificate_findings(tmp_path: Path, now: float) -> Finding:
    issued = trustme.CA().issue_cert(
        "mx.example.com", not_after=datetime.fromtimestamp(2_000_000_000, UTC)
    )
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o600)
    text = ROUTE.format("mx") + (
        f'[tls]\ncertificate = "{tmp_path}/cert.pem"\nprivate_key = "{tmp_path}/key.pem"\n'
    )
    (found,) = [f for f in advice(parse(text.encode(), "e.toml"), now) if f.what == "tls"]
    return found


def test_a_certificate_is_told_with_its_names_and_its_end(tmp_path: Path) -> None:
    found = certificate_findings(tmp_path, 1_900_000_000)
    assert found.grade is Grade.GOOD
    assert found.text.endswith("cert.pem: ECDSA for mx.example.com, until 2033-05-18")


@pytest.mark.parametrize(
    ("now", "said"),
    [(2_000_000_000 - 86400 * 3, "3 days are left"), (2_000_000_001, "it has expired")],
)
def test_a_certificate_near_or_past_its_end_is_warned_of(
    tmp_path: Path, now: float, said: str
) -> None:
    found = certificate_findings(tmp_path, now)
    assert found.grade is Grade.WARNING
    assert found.text.endswith(said)
