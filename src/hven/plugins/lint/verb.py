"""``hven lint``: validate a TAP, EPN-TAP, ObsCore or HAPI service as a client sees it, or a TFCat file."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hven.app.api import print_json
from hven.plugins.lint import file_reports, validation

if TYPE_CHECKING:
    from rich.console import Console

    from hven.plugins.lint.validation import CheckedRowCoverage, LintFinding, LintReport

NOT_JUDGED_EXIT_CODE = 2


class SeverityOption(enum.StrEnum):
    """The lowest severity of findings that make the exit code 1."""

    info = "info"
    warning = "warning"
    error = "error"


def lint(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL|FILE",
            help="Base address of a TAP service, of a site with a service at /tap, or of a HAPI service (../hapi); "
            "or a TFCat file.",
        ),
    ],
    *,
    only_checks: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="GROUP|CODE",
            help=("Run only these checks. For several, repeat the option, or separate them by commas."),
        ),
    ] = None,
    severity: Annotated[
        SeverityOption, typer.Option("--severity", help="Lowest severity that makes the exit code 1.")
    ] = SeverityOption.warning,
    sample_rows: Annotated[
        int, typer.Option("--sample", min=1, max=100_000, help="Maximum number of rows of a table to fetch.")
    ] = 1000,
    timeout_seconds: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for an answer.")] = 30.0,
    pause_seconds: Annotated[
        float | None,
        typer.Option(
            "--pause",
            min=0,
            help=("Seconds between two requests (default: 0.1, or none for a service on this machine)."),
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Validate any TAP or HAPI service as its clients see it."""
    from rich.console import Console  # noqa: PLC0415  (the import takes a tenth of a second)

    file = Path(url)
    if file.is_file():
        _lint_file(file.absolute(), as_json=as_json)
        return
    limits = validation.LintRequestLimits(
        row_limit=sample_rows,
        timeout_seconds=timeout_seconds,
        total_seconds=4 * timeout_seconds,
        pause_seconds=pause_seconds,
    )
    stripped_codes = [code.strip() for code in ",".join(only_checks or ()).split(",")]
    codes = [code for code in stripped_codes if code]
    console = Console(stderr=True)
    if as_json or not console.is_terminal:
        report = validation.validate_service(url, selected_codes=codes, limits=limits)
    else:
        with console.status("asking ...") as status:
            report = validation.validate_service(url, selected_codes=codes, limits=limits, on_group=status.update)
    if as_json:
        print_json(report.to_json())
    elif not report.is_judged:
        print(f"hven: {report.reason}", file=sys.stderr)
    else:
        _print_lint_report(report)
    skipped_groups = {name for name, _ in report.unjudged}
    is_nothing_judged = not report.findings and not report.table_coverages and skipped_groups.issuperset(report.groups)
    if not report.is_judged or is_nothing_judged:
        raise typer.Exit(NOT_JUDGED_EXIT_CODE)
    counted_severities = validation.SEVERITIES[validation.SEVERITIES.index(severity.value) :]
    if any(finding.severity in counted_severities for finding in report.findings):
        raise typer.Exit(1)


def _lint_file(path: Path, *, as_json: bool) -> None:
    """Validate a file: the document, then each of its items."""
    report = file_reports.validate_file(path)
    items = f"{report.item_name}s"
    if as_json:
        faults = [{report.item_name: reject.row, "fault": reject.reason} for reject in report.rejects]
        document_error = report.document_error or None
        print_json({"file": str(path), items: report.item_count, "document": document_error, "faults": faults})
    else:
        for reject in report.rejects:
            print(f"{report.item_name} {reject.row:,}: {reject.reason}")
        summary = f"{path.name}: {len(report.rejects):,} of {report.item_count:,} {items} are wrong"
        print(report.document_error or summary)
    if report.document_error or report.rejects:
        raise typer.Exit(1)


def _print_lint_report(report: LintReport) -> None:
    """Print a report: the findings by group, then what was checked."""
    from rich.console import Console  # noqa: PLC0415  (the import takes a tenth of a second)
    from rich.text import Text  # noqa: PLC0415  (the import takes a tenth of a second)

    # soft_wrap: lines are not cut to the width of a terminal, because the output may be a file or a pipe
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(report.url, style="bold"), report.service_title)
    for group in validation.list_check_groups():
        group_findings = [finding for finding in report.findings if finding.code.partition(".")[0] == group.name]
        if group_findings:
            console.print()
            console.print(Text(group.title, style="bold underline"))
        for finding in group_findings:
            _print_finding(console, finding)
    console.print()
    for coverage in report.table_coverages:
        console.print(_describe_checked_rows(coverage), style="dim", markup=False)
    for name, reason in report.unjudged:
        console.print(f"the group {name} was not checked: {reason}", style="dim", markup=False)
    severity_counts = ", ".join(
        _format_severity_count(name, count) for name, count in report.counts_by_severity.items()
    )
    summary = f"{severity_counts}; {report.request_count} requests in {report.duration_seconds:.1f} s"
    console.print(summary, style="bold", markup=False)


def _describe_checked_rows(coverage: CheckedRowCoverage) -> str:
    """Describe which rows of a table were checked."""
    if coverage.total_rows == coverage.row_count:
        sample_text = "all"
    elif coverage.total_rows is None:
        sample_text = f"the first {coverage.row_count:,} of an unknown number of"
    else:
        sample_text = f"the first {coverage.row_count:,} of {coverage.total_rows:,}"
    suffix = ", others judged by the service itself" if coverage.used_aggregates else ""
    return f"{coverage.table}: {sample_text} rows fetched{suffix}"


def _format_severity_count(severity: str, count: int) -> str:
    if count == 1 or severity == "info":
        return f"{count} {severity}"
    return f"{count} {severity}s"


SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def _print_finding(console: Console, finding: LintFinding) -> None:
    from rich.text import Text  # noqa: PLC0415  (the import takes a tenth of a second)

    place = ".".join(word for word in (finding.table, finding.column) if word)
    line = Text.assemble(
        (f"{finding.severity:8}", SEVERITY_STYLES[finding.severity]),
        (finding.code, "bold"),
        "  ",
        (place, "green"),
        "  " if place else "",
        finding.message,
    )
    console.print(line)
    details = []
    if finding.value or finding.key:
        example = " has ".join(word for word in (finding.key, finding.value) if word)
        details.append(f"example: {example}")
    if finding.count > 1 or finding.row_count:
        count_text = f"{finding.count:,}"
        if finding.row_count:
            count_text += f" of {finding.row_count:,}"
        if finding.sampled:
            count_text += " (of those fetched)"
        details.append(count_text)
    details.append(f"{finding.remedy}  [{finding.source}]")
    for detail in details:
        console.print(Text("         " + detail, style="dim"))
