"""Certificates that change on the disk are taken up without anybody asking.

Whoever renews them may write two files one after the other, and a file in several writes. So a
change is taken up once it looks the same twice, and what is not good then is told once and
waited for to change again: the old certificates stay meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgerelay.config.errors import Problem
from edgerelay.config.tls_files import Sign, TlsPaths, read_tls_files
from edgerelay.net.key_pairs import TlsFiles

#: Seconds between two looks.
LOOK_EVERY: Final = 5.0

Signs = tuple[Sign, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """Other files than those in use: good ones, or none and why."""

    signs: Signs
    files: TlsFiles | None
    problems: tuple[str, ...] = ()


class CertificateWatch:
    """Remembers what it saw last; its owner calls `look` every `LOOK_EVERY` seconds."""

    def __init__(self) -> None:
        self._last: Signs = ()
        self._told: Signs = ()

    def look(self, paths: TlsPaths, in_use: Signs) -> Changed | None:
        """Return what is to be told or taken up, if anything. Blocks.

        ``in_use`` are the signs of the files that handshakes take now.
        """
        signs = paths.signs()
        is_settled, self._last = signs == self._last, signs
        if not is_settled or signs in (in_use, self._told):
            return None
        self._told = signs
        problems: list[Problem] = []
        try:
            files = read_tls_files(paths, problems)
        except OSError as error:  # gone between two looks at it
            return Changed(signs, None, (str(error),))
        return Changed(signs, files, tuple(problem.text for problem in problems))
