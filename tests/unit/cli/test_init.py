"""`edgerelay init` writes what `edgerelay check` accepts."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edgerelay.cli.init import configuration
from edgerelay.config import load, names, parse

Run = Callable[..., Result]

HOPS = [
    "smtp://10.0.0.5:25",
    "smtps://mail.example.com",
    "lmtp://[::1]:24",
    "lmtp+unix:///run/dovecot/lmtp",
    "maildir:///var/mail/{domain}/{local_part}",
    "mx:example.org",
    "mx",
]


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("is_root", [True, False])
def test_what_is_written_is_good(hop: str, is_root: bool) -> None:
    text = configuration("example.com", names.next_hop(hop), is_root=is_root)
    config = parse(text.encode(), "/etc/edgerelay.toml")
    (route,) = config.relay().routes
    assert route.next_hops == (names.next_hop(hop),)


@pytest.mark.parametrize("is_root", [True, False])
def test_every_example_in_a_comment_is_good_too(is_root: bool) -> None:
    """Uncommented they are the defaults, or need the files they name."""
    text = configuration("example.com", names.next_hop("smtp://h"), is_root=is_root)
    lines = []
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        is_key = bare != line and (" = " in bare or bare.startswith("[")) and "." not in bare[-1:]
        lines.append(bare if is_key else line)
    uncommented = "\n".join(lines)
    raw = tomllib.loads(uncommented)
    assert {"hostname", "tls", "limits", "queue"} <= raw.keys()
    del raw["tls"]
    without_files = (
        uncommented.replace('certificate = "fullchain.pem"', "")
        .replace('private_key = "privkey.pem"', "")
        .replace("[tls]", "")
        .replace('tls = "starttls"', "")
    )
    parse(without_files.encode(), "/etc/edgerelay.toml")


def test_a_file_is_written_and_never_overwritten(run: Run, tmp_path: Path) -> None:
    result = run("init", "Example.COM", "--next-hop", "lmtp://127.0.0.1")
    assert result.exit_code == 0
    written = tmp_path / "edgerelay.toml"
    assert load(written).relay().routes[0].domains == ("example.com",)
    before = written.read_text()
    result = run("init", "example.org", "--next-hop", "mx")
    assert result.exit_code == 1
    assert result.stderr == "edgerelay: edgerelay.toml exists already and is left as it is\n"
    assert written.read_text() == before


def test_the_file_may_be_elsewhere_or_standard_output(run: Run, tmp_path: Path) -> None:
    assert run("init", "a.b", "--next-hop", "mx", "--output", "other.toml").exit_code == 0
    assert (tmp_path / "other.toml").exists()
    result = run("init", "a.b", "--next-hop", "mx", "--output", "-")
    assert "route" in tomllib.loads(result.stdout)


def test_a_directory_that_is_not_there_is_said(run: Run) -> None:
    result = run("init", "a.b", "--next-hop", "mx", "--output", "none/e.toml")
    assert result.exit_code == 1
    assert "cannot write none/e.toml: No such file or directory" in result.stderr


@pytest.mark.parametrize(
    ("domain", "hop", "said"),
    [("a..b", "mx", "'a..b' is no domain"), ("a.b", "10.0.0.5", "expected smtp://HOST[:PORT]")],
)
def test_what_is_no_domain_or_hop_is_wrong_usage(
    run: Run, domain: str, hop: str, said: str
) -> None:
    result = run("init", domain, "--next-hop", hop)
    assert result.exit_code == 2
    assert said in result.stderr.replace("\n", " ")
