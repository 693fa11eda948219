"""compare.py: edgerelay and Postfix side by side, medians of interleaved runs, as a table.

BENCH_REPS (3)                    runs of each
BENCH_WORKLOADS (W1 W3 W4 W5 S1)  see drive.py
BENCH_PEERS (edgerelay postfix)   the ratio columns compare each with the last
BENCH_M                           messages of W1; the others shrink alike
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import sys

from drive import DISTURBED, HERE, run
from rich import box
from rich.console import Console
from rich.table import Table

Result = dict[str, object]


def main() -> int:
    reps = int(os.environ.get("BENCH_REPS", "3"))
    workloads = os.environ.get("BENCH_WORKLOADS", "W1 W3 W4 W5 S1").split()
    peers = os.environ.get("BENCH_PEERS", "edgerelay postfix").split()
    missing = [p for p in ("smtp-source", "postfix") if not shutil.which(p, path=_path())]
    if missing or os.geteuid() != 0:
        print(f"needs root and {', '.join(missing) or 'nothing else'}: {HERE}/install.sh")
        return 2
    console = Console(width=max(100, shutil.get_terminal_size().columns))
    results: list[Result] = []
    with open(HERE / "results.jsonl", "a", encoding="ascii") as record:
        for repetition in range(1, reps + 1):
            for workload in workloads:
                for peer in peers:
                    result = run(peer, workload)
                    results.append(result)
                    record.write(json.dumps(result) + "\n")
                    record.flush()
                    console.print(f"[dim]{repetition}/{reps} {_line(result)}[/dim]")
    console.print(_table(results, workloads, peers))
    lost = [r for r in results if r["arrived"] != r["messages"]]
    for result in lost:
        console.print(f"[red]not every message arrived once: {_line(result)}[/red]")
    if any(float(str(r["others"])) >= DISTURBED for r in results):
        console.print("[yellow]*: others computed meanwhile; CPU holds, rates do not[/yellow]")
    return 1 if lost else 0


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _line(result: Result) -> str:
    return (
        f"{result['workload']} {result['peer']}: {result['arrived']}/{result['messages']}, "
        f"{result['cpu_ms']} ms CPU, {result['rate']}/s, others {result['others']} "
        f"{result['complaint']}"
    )


def _median(results: list[Result], workload: str, peer: str, key: str) -> float:
    values = [
        float(str(r[key])) for r in results if r["workload"] == workload and r["peer"] == peer
    ]
    return statistics.median(values)


def _table(results: list[Result], workloads: list[str], peers: list[str]) -> Table:
    title = "Medians. CPU of one message; mail/s until the last has arrived, 250/s until accepted"
    table = Table(title=title, box=box.SIMPLE)
    table.add_column("load", no_wrap=True)
    table.add_column("peer", no_wrap=True)
    for name in ("CPU ms", "ratio", "mail/s", "ratio", "250/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("PSS MB", "sync ms", "others"):
        table.add_column(name, justify="right", no_wrap=True)
    for workload in workloads:
        for peer in peers:
            of = {
                key: _median(results, workload, peer, key)
                for key in ("cpu_ms", "rate", "accept_rate", "memory_mb", "others")
            }
            base = {key: _median(results, workload, peers[-1], key) for key in ("cpu_ms", "rate")}
            syncs = [r["sync_ms"] for r in results if r["peer"] == peer and r["sync_ms"]]
            table.add_row(
                workload,
                peer,
                f"{of['cpu_ms']:.2f}",
                f"1/{base['cpu_ms'] / of['cpu_ms']:.1f}" if of["cpu_ms"] else "-",
                f"{of['rate']:.0f}",
                f"{of['rate'] / base['rate']:.1f}x" if base["rate"] else "-",
                f"{of['accept_rate']:.0f}",
                f"{of['memory_mb']:.0f}",
                f"{statistics.median(map(float, map(str, syncs))):.2f}" if syncs else "-",
                f"{of['others']:.2f}{'*' if of['others'] >= DISTURBED else ''}",
                end_section=peer == peers[-1],
            )
    return table


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
