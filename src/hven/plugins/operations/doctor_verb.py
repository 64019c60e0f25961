"""The verb ``hven doctor``: what is wrong with a site, or will be, and the commands that mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hven import __version__
from hven.app.api import format_command, load_site_settings, print_json
from hven.model.errors import UserError
from hven.plugins.operations.examination import DEFAULT_TIME_LIMIT_SECONDS, SiteExamination, inspect_settings
from hven.plugins.operations.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND_WORD = "hven "
FAILURE_HARMS = {"critical", "error"}
# exit codes of the Monitoring Plugins, which Nagios, Icinga and others run
MONITORING_CODES = {"critical": 2, "error": 2, "warning": 1}
MONITORING_WORDS = {0: "OK", 1: "WARNING", 2: "CRITICAL"}


def run_doctor(
    context: typer.Context,
    *,
    seconds: Annotated[
        float, typer.Option(help="Time for all checks, in seconds.", min=0.1, max=600)
    ] = DEFAULT_TIME_LIMIT_SECONDS,
    for_monitoring: Annotated[
        bool, typer.Option("--monitor", help="Print one line, with the exit codes of monitoring plugins (0, 1, 2).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Find what is wrong or will be, and what mends it.

    The most harmful comes first. The command changes nothing, and does not upgrade the system state.
    """
    try:
        settings = load_site_settings(context)
    except UserError as error:
        finding = Finding(
            harm="critical",
            subject="hven.toml",
            message=str(error),
            remedy=error.remedy or "",
            command="hven check",
            check="settings",
        )
        examination = SiteExamination(findings=[finding], duration_seconds=0.0)
    else:
        examination = inspect_settings(settings, seconds)
    if as_json:
        print_json(
            {
                "version": __version__,
                "seconds": round(examination.duration_seconds, 3),
                "counts": examination.count_by_harm(),
                "findings": [finding.to_json() for finding in examination.findings],
            }
        )
    elif for_monitoring:
        print(format_monitoring_line(examination))
    else:
        _print_findings(context, examination)
    exit_code = int(any(finding.harm in FAILURE_HARMS for finding in examination.findings))
    if for_monitoring:
        exit_code = find_monitoring_code(examination.findings)
    if exit_code:
        raise typer.Exit(exit_code)


def find_monitoring_code(findings: Sequence[Finding]) -> int:
    """Return the exit code of a monitoring plugin for some findings."""
    return max((MONITORING_CODES.get(finding.harm, 0) for finding in findings), default=0)


def format_monitoring_line(examination: SiteExamination) -> str:
    """Format an examination as a line for monitoring programs, with the duration after a ``|``."""
    word = MONITORING_WORDS[find_monitoring_code(examination.findings)]
    text = f"{_format_counts(examination)}"
    if word != "OK":
        text = f"{text}: {examination.findings[0].message}"
    line = f"HVEN {word} - {text}".replace("|", "/").replace("\n", " ")
    return f"{line} | seconds={examination.duration_seconds:.2f}"


def _print_findings(context: typer.Context, examination: SiteExamination) -> None:
    for finding in examination.findings:
        print(f"{finding.harm}: {finding.subject}: {finding.message}")
        command = finding.command
        if finding.remedy and finding.remedy != f"run `{command}`":
            print(f"    {finding.remedy}")
        if command.startswith(COMMAND_WORD):
            command = format_command(context, command.removeprefix(COMMAND_WORD))
        if command:
            print(f"    $ {command}")
    print(f"{_format_counts(examination)} ({examination.duration_seconds:.1f} s)")


def _format_counts(examination: SiteExamination) -> str:
    counts = examination.count_by_harm()
    if not counts:
        return "nothing needs attention"
    return ", ".join(f"{count} {harm}" for harm, count in counts.items())
