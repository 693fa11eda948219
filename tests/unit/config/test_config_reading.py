"""From a file to values, or to every problem in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgerelay.config import ConfigError, find, load, parse, state_dir_of


def problems(text: str, origin: str = "e.toml") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), origin)
    return caught.value.problems


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    assert problems(
        """\
workers = "many"
[[listener]]
adress = "0.0.0.0:25"
tls = "implicit"
[tls]
private_key = "nowhere.pem"
certificate = "nowhere.pem"
[[route]]
next_hop = ["mx"]
recipients = "file:nowhere.txt"
""",
        "/nowhere/e.toml",
    ) == [
        '/nowhere/e.toml:1: workers: expected "auto" or a number from 1 to 1024',
        '/nowhere/e.toml:3: listener[1].adress: unknown key; did you mean "address"?',
        "/nowhere/e.toml:6: tls.private_key: /nowhere/nowhere.pem: no such file",
        "/nowhere/e.toml:7: tls.certificate: /nowhere/nowhere.pem: no such file",
        "/nowhere/e.toml:8: route[1].domains: is required",
        "/nowhere/e.toml:10: route[1].recipients: cannot read /nowhere/nowhere.txt: "
        "No such file or directory",
    ]


def test_what_is_no_toml_is_told_with_its_line() -> None:
    assert problems("x = [") == ["e.toml: not TOML: Invalid value (at end of document)"]
    assert problems("a = 1\na = 2\n") == [
        "e.toml: not TOML: Cannot overwrite a value (at line 2, column 6)"
    ]


def test_what_is_no_utf8_is_told_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"^e.toml:2: not UTF-8$"):
        parse(b'# \nhostname = "\xff"', "e.toml")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_the_state_directory_is_found_whatever_else_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "e.toml"
    file.write_text('state_dir = "state"\nnonsense = 5\n')
    assert state_dir_of(file) == tmp_path / "state"
    file.write_text("state_dir = 5\n")
    with pytest.raises(ConfigError, match="state_dir: expected a name"):
        state_dir_of(file)


def test_the_file_is_the_one_named_or_the_first_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find(Path("a.toml"), {"EDGERELAY_CONFIG": "b.toml"}) == Path("a.toml")
    assert find(None, {"EDGERELAY_CONFIG": "b.toml"}) == Path("b.toml")
    (tmp_path / "edgerelay.toml").touch()
    assert find(None, {}) == Path("edgerelay.toml")
