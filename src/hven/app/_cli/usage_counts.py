"""``hven report``: what was used."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from hven.app._cli.context import format_size, open_site, show_json, show_table
from hven.model.errors import NotFoundError, UsageError, suggest_spelling
from hven.services import usage_reports
from hven.services.face import ServiceContext, load_faces
from hven.site.auth import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL

GROUPING_KEYS = ("collection", "table", "service", "month", "access")
REPORT_FORMATS = ("text", "csv", "json", "dsr", "dsr-tsv")


def report(
    context: typer.Context,
    *,
    collection: Annotated[str | None, typer.Argument(metavar="COLLECTION", help="That one alone.")] = None,
    first_month: Annotated[
        str | None, typer.Option("--from", metavar="MONTH", help="First month: 2026-03; else January.")
    ] = None,
    last_month: Annotated[str | None, typer.Option("--to", metavar="MONTH", help="Last month; else this one.")] = None,
    grouping: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="WHAT", help=f"Lines by {', '.join(GROUPING_KEYS)}; several times."),
    ] = None,
    format_name: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help=f"{', '.join(REPORT_FORMATS)}; dsr is COUNTER's dataset report."
        ),
    ] = "text",
    include_private: Annotated[
        bool, typer.Option("--private", help="With dsr: collections that not everybody sees, too.")
    ] = False,
) -> None:
    """Report what was used, by collection and month."""
    if format_name not in REPORT_FORMATS:
        raise UsageError(f"there is no format {format_name!r:.40}", remedy=f"--format {', '.join(REPORT_FORMATS)}")
    for key in grouping or ():
        if key not in GROUPING_KEYS:
            raise UsageError(f"lines cannot be made by {key!r:.40}", remedy=f"--by {', '.join(GROUPING_KEYS)}")
    if include_private and not format_name.startswith("dsr"):
        raise UsageError("--private belongs to --format dsr: other reports have all", remedy="leave it out")
    with open_site(context) as site:
        names = None
        if collection is not None:
            counted_collections = {key.collection for key in site.store.uses.sum_months()}
            known_collections = counted_collections | set(site.get_published_state().resources)
            if collection not in known_collections:
                raise NotFoundError(
                    f"there is no collection {collection!r:.80}, and none was counted",
                    remedy=suggest_spelling(collection, sorted(known_collections)) or "hven report lists them",
                )
            names = {collection}
        if format_name.startswith("dsr") and not include_private:
            public_collections = {
                schema.name for schema in site.get_published_state().get_catalogue(ANONYMOUS_PRINCIPAL).schemas
            } & set(site.get_published_state().resources)
            names = public_collections if names is None else names & public_collections
        service_context = replace(ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), faces=load_faces())
        _print_report(
            usage_reports.read_report(service_context, first_month, last_month, collections=names),
            service_context,
            grouping or ["collection", "access"],
            format_name,
        )


def _print_report(
    usage_report: usage_reports.UsageReport, service_context: ServiceContext, grouping: list[str], format_name: str
) -> None:
    if format_name == "csv":
        sys.stdout.write(usage_reports.write_csv(usage_report))
    elif format_name == "json":
        show_json(usage_reports.to_json(usage_report))
    elif format_name == "dsr":
        show_json(usage_reports.build_counter_report(usage_report, service_context))
    elif format_name == "dsr-tsv":
        sys.stdout.write(usage_reports.write_counter_table(usage_report, service_context))
    else:
        keys = list(
            dict.fromkeys(
                [*(["collection"] if "table" in grouping and "collection" not in grouping else []), *grouping]
            )
        )
        rows = [
            (
                *(part or "(site)" for part in key),
                sums["investigations"],
                sums["requests"],
                sums["unique_requests"],
                sums["files"],
                sums["rows"],
                format_size(sums["bytes"]),
            )
            for key, sums in usage_report.sum_by(*keys).items()
        ]
        headings = [*keys, "looked at", "taken", "sessions", "files", "rows", "bytes"]
        if {"table", "service"} & set(keys):  # who took what in an hour is known of collections as a whole
            headings.pop(len(keys) + 2)
            rows = [(*row[: len(keys) + 2], *row[len(keys) + 3 :]) for row in rows]
        show_table(headings, rows, title=f"{usage_report.since} to {usage_report.until}")
    for note in usage_report.notes:
        print(f"note: {note}", file=sys.stderr)
