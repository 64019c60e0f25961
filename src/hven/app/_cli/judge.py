"""``hven lint``: judge any TAP, EPN-TAP, ObsCore or HAPI service by what it shows to a stranger, or a catalogue of TFCat in a file."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hven import lint as room
from hven.app._cli.context import show_json
from hven.model.errors import SourceError
from hven.sources import Context, Reject, tfcat

if TYPE_CHECKING:
    from rich.console import Console

    from hven.lint import Finding, Report

NOT_JUDGED = 2


class Severity(enum.StrEnum):
    """From which severity on findings count for the exit code."""

    info = "info"
    warning = "warning"
    error = "error"


def lint(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL|FILE",
            help="Base address of a TAP service, of the site whose /tap it is, or of HAPI: ../hapi; or a file of TFCat.",
        ),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="GROUP|CODE", help="Only these checks (several: repeat, or separate by commas)."
        ),
    ] = None,
    severity: Annotated[
        Severity, typer.Option("--severity", help="Findings from this one on make the exit code 1.")
    ] = Severity.warning,
    sample: Annotated[
        int, typer.Option("--sample", min=1, max=100_000, help="Rows of a table that are fetched at most.")
    ] = 1000,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds that one answer may keep us waiting.")
    ] = 30.0,
    pause: Annotated[
        float | None,
        typer.Option("--pause", min=0, help="Seconds between two requests (default: 0.1; none on this machine)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Judge any service of TAP or HAPI as a stranger does."""
    from rich.console import Console  # noqa: PLC0415  (a tenth of a second, for people alone)

    if Path(url).is_file():
        _features(Path(url).absolute(), as_json=as_json)
        return
    limits = room.Limits(rows=sample, seconds=timeout, total=4 * timeout, pause=pause)
    words = [word.strip() for one in only or () for word in one.split(",") if word.strip()]
    told = Console(stderr=True)
    if as_json or not told.is_terminal:
        report = room.lint(url, only=words, limits=limits)
    else:
        with told.status("asking ...") as status:
            report = room.lint(url, only=words, limits=limits, progress=status.update)
    if as_json:
        show_json(report.to_json())
    elif not report.judged:
        print(f"hven: {report.reason}", file=sys.stderr)
    else:
        _show(report)
    skipped = {name for name, _ in report.unjudged}
    nothing = not report.findings and not report.looked and skipped.issuperset(report.groups)
    if not report.judged or nothing:
        raise typer.Exit(NOT_JUDGED)
    order = room.SEVERITIES.index
    if any(order(one.severity) >= order(severity.value) for one in report.findings):
        raise typer.Exit(1)


def _features(path: Path, *, as_json: bool) -> None:
    """Judge a catalogue of features: its document, then each of them."""
    rejects: list[Reject] = []
    count, wrong = 0, ""
    try:
        source = tfcat.open(
            tfcat.Options.model_validate({"files": path.name}), Context(directory=path.parent, reject=rejects.append)
        )
        count = sum(batch.num_rows for batch in source.batches())
    except SourceError as error:
        wrong = str(error)
    if as_json:
        faults = [{"feature": one.row, "fault": one.reason} for one in rejects]
        show_json({"file": str(path), "features": count + len(rejects), "document": wrong or None, "faults": faults})
    else:
        said = [f"feature {one.row:,}: {one.reason}" for one in rejects]
        print(
            "\n".join([*said, wrong or f"{path.name}: {len(rejects):,} of {count + len(rejects):,} features are wrong"])
        )
    if wrong or rejects:
        raise typer.Exit(1)


def _show(report: Report) -> None:
    """Print for people: findings by group, then what was looked at."""
    from rich.console import Console  # noqa: PLC0415  (a tenth of a second, for people alone)
    from rich.text import Text  # noqa: PLC0415  (a tenth of a second, for people alone)

    # no cutting to the screen's width where somebody reads a file or a pipe
    out = Console(soft_wrap=True, highlight=False)
    tap = f"TAP {report.tap or '?'}, ADQL {', '.join(report.adql) or '?'}"
    out.print(Text(report.url, style="bold"), f"HAPI {report.hapi}" if report.hapi else tap)
    for group in room.GROUPS:
        found = [one for one in report.findings if one.code.partition(".")[0] == group.name]
        if found:
            out.print()
            out.print(Text(group.title, style="bold underline"))
        for one in found:
            _finding(out, one)
    out.print()
    for seen in report.looked:
        total = "an unknown number of" if seen.total is None else f"{seen.total:,}"
        how = "all" if seen.total == seen.rows else f"the first {seen.rows:,} of {total}"
        out.print(
            f"{seen.table}: {how} rows fetched{', others judged by the service itself' if seen.aggregates else ''}",
            style="dim",
            markup=False,
        )
    for name, why in report.unjudged:
        out.print(f"not judged ({name}): {why}", style="dim", markup=False)
    counts = ", ".join(
        f"{number} {name}{'s' if number != 1 and name != 'info' else ''}" for name, number in report.counts.items()
    )
    out.print(f"{counts}; {report.requests} requests in {report.seconds:.1f} s", style="bold", markup=False)


STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def _finding(out: Console, one: Finding) -> None:
    from rich.text import Text  # noqa: PLC0415  (a tenth of a second, for people alone)

    place = ".".join(word for word in (one.table, one.column) if word)
    line = Text.assemble(
        (f"{one.severity:8}", STYLES[one.severity]),
        (one.code, "bold"),
        "  ",
        (place, "green"),
        "  " if place else "",
        one.message,
    )
    out.print(line)
    details = []
    if one.value or one.key:
        details.append(f"example: {' has '.join(word for word in (one.key, one.value) if word)}")
    if one.count > 1 or one.of:
        of = f" of {one.of:,}" if one.of else ""
        details.append(f"{one.count:,}{of}{' (of those fetched)' if one.sampled else ''}")
    for detail in (*details, f"{one.remedy}  [{one.source}]"):
        out.print(Text("         " + detail, style="dim"))
