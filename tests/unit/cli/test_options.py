"""Options that commands share."""

from __future__ import annotations

import click
import pytest

from edgerelay.cli.options import age

CONTEXT = click.Context(click.Command("x"))
OPTION = click.Option(["--older"])


def test_an_age_is_a_duration() -> None:
    assert age(CONTEXT, OPTION, "2h") == 7200.0
    assert age(CONTEXT, OPTION, None) is None


def test_a_bare_number_is_no_age() -> None:
    with pytest.raises(click.BadParameter, match="expected a duration"):
        age(CONTEXT, OPTION, "2")
