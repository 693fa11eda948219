"""Debian's programs that speak SMTP for a test: smtp-source, smtp-sink and swaks."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.e2e.support.process import Server, needs, run
from tests.e2e.support.waiting import answers, free_port, wait_for


def smtp_source(
    port: int,
    *,
    messages: int,
    size: int = 4096,
    sessions: int = 20,
    reverse_path: str = "sender@src.test",
    forward_path: str = "b@example.test",
    reuse: bool = False,
    timeout: float = 120.0,
) -> None:
    """Send that many messages over that many sessions; fails if one was refused."""
    needs("smtp-source")
    run(
        "smtp-source",
        *(["-d"] if reuse else []),
        *("-s", str(sessions), "-m", str(messages), "-l", str(size)),
        *("-f", reverse_path, "-t", forward_path, f"127.0.0.1:{port}"),
        timeout=timeout,
    )


class SmtpSink(Server):
    """smtp-sink: takes everything at full speed, and counts it.

    ``dump`` keeps each message in a file. ``lmtp`` speaks LMTP.
    """

    def __init__(self, directory: Path, *, dump: bool = False, port: int = 0) -> None:
        needs("smtp-sink")
        self.port = port or free_port()
        self.dump = directory / "dump"
        keep = ["-d", f"{self.dump}/%M."] if dump else []
        super().__init__(
            directory,
            ["smtp-sink", "-c", "-u", "nobody", *keep, f"127.0.0.1:{self.port}", "1024"],
        )

    def start(self) -> None:
        self.dump.mkdir(parents=True, exist_ok=True)
        self.dump.chmod(0o777)
        super().start()

    def wait_ready(self) -> None:
        wait_for("smtp-sink", lambda: answers(self.port, b"220"))

    @property
    def count(self) -> int:
        """Messages taken since the start, from its own counter."""
        counts = re.findall(rb"mesg=(\d+)", self.log.read_bytes()[-4096:])
        return int(counts[-1]) if counts else 0

    def messages(self) -> list[bytes]:
        """What was taken, as smtp-sink writes it: its own fields first, LF line ends."""
        return [path.read_bytes() for path in sorted(self.dump.iterdir())]


def swaks(port: int, *arguments: str, timeout: float = 60.0) -> tuple[int, str]:
    """Run one swaks transaction; its exit status and its transcript."""
    needs("swaks")
    done = subprocess.run(
        ["swaks", "--server", "127.0.0.1", "--port", str(port), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
