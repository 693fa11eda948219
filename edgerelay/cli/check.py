"""`edgerelay check`: would this configuration work on this machine, now?"""

from __future__ import annotations

import time

import click

from edgerelay.cli.options import config_option, config_path, json_option
from edgerelay.cli.output import NotSo, print_json, print_table


@click.command()
@config_option
@click.option("--spool", is_flag=True, help="Check the databases of a stopped relay too (slow).")
@json_option
def check(spool: bool, as_json: bool) -> None:
    """Check configuration, policies, TLS files, state directory, DNS and next hops.

    Exit code 2: the configuration is wrong. Exit code 1: it is right, but something it
    names does not work. Warnings change nothing.
    """
    from edgerelay.cli.findings import Finding, Grade
    from edgerelay.config.reading import load

    path = config_path()
    config = load(path)
    found = [Finding(Grade.GOOD, "configuration", str(path))]

    import trio

    from edgerelay.cli.findings import advice, policy_findings, spool_findings, state_findings
    from edgerelay.cli.identity import acting_as
    from edgerelay.cli.reaching import network_findings

    now = time.time()  # noqa: TID251 - a command for a person, who lives in wall-clock time
    found += advice(config, now)
    found += policy_findings(config)
    found += state_findings(config.state_dir)
    if spool:
        found += spool_findings(config.state_dir)
    with acting_as(config.user):
        found += trio.run(network_findings, config)
    if as_json:
        print_json(found)
    else:
        print_table(
            ["", "What", "Finding"],
            [[finding.grade.value, finding.what, finding.text] for finding in found],
        )
    problems = sum(finding.grade is Grade.PROBLEM for finding in found)
    if problems:
        raise NotSo(f"{problems} of {len(found)} checks found a problem")
