"""``hven lint``: validate a TAP, EPN-TAP, ObsCore or HAPI service as a stranger sees it, or a TFCat file."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hven import lint as lint_package
from hven.app._cli.context import show_json
from hven.model.errors import SourceError
from hven.sources import RejectedRow, SourceContext, tfcat

if TYPE_CHECKING:
    from rich.console import Console

    from hven.lint import LintFinding, LintReport

NOT_JUDGED_EXIT_CODE = 2


class SeverityOption(enum.StrEnum):
    """From which severity on findings count for the exit code."""

    info = "info"
    warning = "warning"
    error = "error"


def lint(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL|FILE",
            help="Base address of a TAP service, of the site whose /tap it is, or of HAPI: ../hapi; or a file of "
            "TFCat.",
        ),
    ],
    *,
    only_checks: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="GROUP|CODE", help="Only these checks (several: repeat, or separate by commas)."
        ),
    ] = None,
    severity: Annotated[
        SeverityOption, typer.Option("--severity", help="Findings from this one on make the exit code 1.")
    ] = SeverityOption.warning,
    sample_rows: Annotated[
        int, typer.Option("--sample", min=1, max=100_000, help="Rows of a table that are fetched at most.")
    ] = 1000,
    timeout_seconds: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds that one answer may keep us waiting.")
    ] = 30.0,
    pause_seconds: Annotated[
        float | None,
        typer.Option("--pause", min=0, help="Seconds between two requests (default: 0.1; none on this machine)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Judge any service of TAP or HAPI as a stranger does."""
    from rich.console import Console  # noqa: PLC0415  (a tenth of a second, for people alone)

    if Path(url).is_file():
        _lint_tfcat_file(Path(url).absolute(), as_json=as_json)
        return
    limits = lint_package.LintLimits(
        row_limit=sample_rows,
        timeout_seconds=timeout_seconds,
        total_seconds=4 * timeout_seconds,
        pause_seconds=pause_seconds,
    )
    words = [word.strip() for finding in only_checks or () for word in finding.split(",") if word.strip()]
    console = Console(stderr=True)
    if as_json or not console.is_terminal:
        report = lint_package.validate_service(url, selected_codes=words, limits=limits)
    else:
        with console.status("asking ...") as status:
            report = lint_package.validate_service(url, selected_codes=words, limits=limits, on_group=status.update)
    if as_json:
        show_json(report.to_json())
    elif not report.is_judged:
        print(f"hven: {report.reason}", file=sys.stderr)
    else:
        _print_report(report)
    skipped_groups = {name for name, _ in report.unjudged}
    is_nothing_judged = not report.findings and not report.table_coverages and skipped_groups.issuperset(report.groups)
    if not report.is_judged or is_nothing_judged:
        raise typer.Exit(NOT_JUDGED_EXIT_CODE)
    severity_order = lint_package.SEVERITIES.index
    if any(severity_order(finding.severity) >= severity_order(severity.value) for finding in report.findings):
        raise typer.Exit(1)


def _lint_tfcat_file(path: Path, *, as_json: bool) -> None:
    """Judge a catalogue of features: its document, then each of them."""
    rejects: list[RejectedRow] = []
    count, document_error = 0, ""
    try:
        source = tfcat.open(
            tfcat.Options.model_validate({"files": path.name}),
            SourceContext(directory=path.parent, on_reject=rejects.append),
        )
        count = sum(batch.num_rows for batch in source.read_batches())
    except SourceError as error:
        document_error = str(error)
    if as_json:
        faults = [{"feature": reject.row, "fault": reject.reason} for reject in rejects]
        show_json(
            {"file": str(path), "features": count + len(rejects), "document": document_error or None, "faults": faults}
        )
    else:
        feature_lines = [f"feature {reject.row:,}: {reject.reason}" for reject in rejects]
        print(
            "\n".join(
                [
                    *feature_lines,
                    document_error or f"{path.name}: {len(rejects):,} of {count + len(rejects):,} features are wrong",
                ]
            )
        )
    if document_error or rejects:
        raise typer.Exit(1)


def _print_report(report: LintReport) -> None:
    """Print for people: findings by group, then what was looked at."""
    from rich.console import Console  # noqa: PLC0415  (a tenth of a second, for people alone)
    from rich.text import Text  # noqa: PLC0415  (a tenth of a second, for people alone)

    # no cutting to the screen's width where somebody reads a file or a pipe
    console = Console(soft_wrap=True, highlight=False)
    tap = f"TAP {report.tap_version or '?'}, ADQL {', '.join(report.adql_versions) or '?'}"
    console.print(Text(report.url, style="bold"), f"HAPI {report.hapi_version}" if report.hapi_version else tap)
    for group in lint_package.CHECK_GROUPS:
        group_findings = [finding for finding in report.findings if finding.code.partition(".")[0] == group.name]
        if group_findings:
            console.print()
            console.print(Text(group.title, style="bold underline"))
        for finding in group_findings:
            _print_finding(console, finding)
    console.print()
    for sampled_table in report.table_coverages:
        if sampled_table.total_rows is None:
            total = "an unknown number of"
        else:
            total = f"{sampled_table.total_rows:,}"
        if sampled_table.total_rows == sampled_table.row_count:
            sample_text = "all"
        else:
            sample_text = f"the first {sampled_table.row_count:,} of {total}"
        console.print(
            f"{sampled_table.table}: {sample_text} rows "
            f"fetched{', others judged by the service itself' if sampled_table.used_aggregates else ''}",
            style="dim",
            markup=False,
        )
    for name, why in report.unjudged:
        console.print(f"not judged ({name}): {why}", style="dim", markup=False)
    counts = ", ".join(
        f"{number} {name}{'s' if number != 1 and name != 'info' else ''}"
        for name, number in report.counts_by_severity.items()
    )
    console.print(
        f"{counts}; {report.request_count} requests in {report.duration_seconds:.1f} s", style="bold", markup=False
    )


SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def _print_finding(console: Console, finding: LintFinding) -> None:
    from rich.text import Text  # noqa: PLC0415  (a tenth of a second, for people alone)

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
        details.append(f"example: {' has '.join(word for word in (finding.key, finding.value) if word)}")
    if finding.count > 1 or finding.row_count:
        if finding.row_count:
            of = f" of {finding.row_count:,}"
        else:
            of = ""
        details.append(f"{finding.count:,}{of}{' (of those fetched)' if finding.sampled else ''}")
    for detail in (*details, f"{finding.remedy}  [{finding.source}]"):
        console.print(Text("         " + detail, style="dim"))
