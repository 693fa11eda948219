"""From a file's octets to a `Config`, or to every problem in it at once.

pydantic is imported only when a whole file is read: the queue commands need one key of it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgerelay.config.errors import ConfigError, KeyPath, Problem, key_text
from edgerelay.config.lines import line_of, lines_of_keys

if TYPE_CHECKING:
    from edgerelay.config.values import Config

ENVIRONMENT: Final = "EDGERELAY_CONFIG"
PLACES: Final = (Path("edgerelay.toml"), Path("/etc/edgerelay/edgerelay.toml"))
DEFAULT_STATE_DIR: Final = "/var/lib/edgerelay"


def find(explicit: Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Say which file is meant: ``-c FILE``, $EDGERELAY_CONFIG, or the first usual place.

    Raises ConfigError if nothing names one and none is there.
    """
    if explicit is not None:
        return explicit
    if named := environment.get(ENVIRONMENT):
        return Path(named)
    for place in PLACES:
        if place.is_file():
            return place
    looked = " and ".join(map(str, PLACES))
    raise ConfigError([f"no configuration: give -c FILE or ${ENVIRONMENT} (looked for {looked})"])


def load(path: Path) -> Config:
    """Read and check a file. Raises ConfigError with every problem."""
    return parse(_octets(path), str(path))


def state_dir_of(path: Path) -> Path:
    """Read the one key that leads to a running relay, whatever is wrong with the others.

    A mistake in a file that is being edited must not lock an operator out of the queue.
    Raises ConfigError if it is no TOML or the key is not text.
    """
    origin = str(path)
    value = _toml(_octets(path), origin)[0].get("state_dir", DEFAULT_STATE_DIR)
    if not isinstance(value, str) or not value:
        raise ConfigError([f"{origin}: state_dir: expected a name, not empty"])
    return (path.absolute().parent / value).resolve()


def parse(text: bytes, origin: str) -> Config:
    """Check a file's octets. ``origin`` is its name, for messages and for relative paths.

    Raises ConfigError with every problem, each naming the file, the line and the key.
    """
    from pydantic import ValidationError

    from edgerelay.config.building import build
    from edgerelay.config.model import File
    from edgerelay.config.policies import policy_problems, policy_settings
    from edgerelay.config.problems import problems_of
    from edgerelay.config.rules import broken_rules
    from edgerelay.config.tls_files import read_tls_files, tls_paths_of

    raw, source = _toml(text, origin)
    problems: list[Problem] = []
    file = None
    try:
        file = File.model_validate(raw)
    except ValidationError as error:
        problems += problems_of(error)
    base = Path(origin).absolute().parent
    problems += broken_rules(raw, base)
    policies = policy_settings(raw)
    problems += policy_problems(policies)
    tls_paths = tls_paths_of(raw, base)
    # Before they are read: what changes later is then seen as a change.
    tls_signs = tls_paths.signs() if tls_paths else ()
    tls_files = read_tls_files(tls_paths, problems) if tls_paths else None
    if file is None or problems:
        raise ConfigError(_told(problems, origin, source))
    config = build(file, base, tls_files, policies)
    return replace(config, tls_paths=tls_paths, tls_signs=tls_signs)


def _octets(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error


def _toml(text: bytes, origin: str) -> tuple[dict[str, Any], str]:
    try:
        source = text.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise ConfigError([f"{origin}:{line}: not UTF-8"]) from error
    try:
        return tomllib.loads(source), source
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{origin}: not TOML: {error}"]) from error


def _told(problems: list[Problem], origin: str, source: str) -> list[str]:
    """One line each, in the order of the file, no problem twice."""
    lines = lines_of_keys(source)
    told: dict[str, int] = {}
    for problem in problems:
        line = line_of(problem.path, lines)
        told.setdefault(_line(problem.path, problem.text, origin, line), line or 0)
    return sorted(told, key=lambda text: told[text])


def _line(path: KeyPath, text: str, origin: str, line: int | None) -> str:
    place = f"{origin}:{line}" if line else origin
    return f"{place}: {key_text(path)}: {text}" if path else f"{place}: {text}"
