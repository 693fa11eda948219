"""Keys are found where they stand."""

from __future__ import annotations

from edgerelay.config.lines import line_of, lines_of_keys


def test_keys_are_found_on_their_lines() -> None:
    lines = lines_of_keys(
        'a = 1 # [x]\n[t]\n"b" = [\n  1,\n]\n[[r]]\nc.d = 2\n[[r]]\nc = 3\n[r.s]\ne = 4\n'
    )
    assert lines["a",] == 1
    assert lines["t", "b"] == 3
    assert lines["r", 0, "c", "d"] == 7
    assert lines["r", 1, "c"] == 9
    assert line_of(("t", "missing"), lines) == 2
    assert line_of(("t", "b", 0), lines) == 3
    assert line_of(("nothing",), lines) is None
