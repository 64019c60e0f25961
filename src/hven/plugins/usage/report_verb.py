"""``hven report``: report how the site was used."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from hven.app.api import format_size, open_site, print_json, print_table
from hven.model.errors import NotFoundError, UsageError, suggest_spelling
from hven.plugins.usage import usage_reports
from hven.plugins.usage.usage_records import UsageCountStore
from hven.services.face import ServiceContext, load_service_faces
from hven.site.auth import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL

if TYPE_CHECKING:
    from hven.site import Site

GROUPING_KEYS = ("collection", "table", "service", "month", "access")
REPORT_FORMATS = ("text", "csv", "json", "dsr", "dsr-tsv")


def report(
    context: typer.Context,
    *,
    collection: Annotated[str | None, typer.Argument(metavar="COLLECTION", help="Report only this collection.")] = None,
    first_month: Annotated[
        str | None,
        typer.Option("--from", metavar="MONTH", help=("First month, such as 2026-03 (default: January of this year).")),
    ] = None,
    last_month: Annotated[
        str | None, typer.Option("--to", metavar="MONTH", help="Last month (default: this month).")
    ] = None,
    grouping: Annotated[
        list[str] | None,
        typer.Option(
            "--by", metavar="WHAT", help=f"Group lines by {', '.join(GROUPING_KEYS)}; repeat the option for several."
        ),
    ] = None,
    format_name: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help=f"{', '.join(REPORT_FORMATS)}; dsr is COUNTER's dataset report."
        ),
    ] = "text",
    include_private: Annotated[
        bool, typer.Option("--private", help="With --format dsr: include collections that are not public.")
    ] = False,
) -> None:
    """Report the use of collections, by month."""
    if format_name not in REPORT_FORMATS:
        raise UsageError(
            f"there is no format {format_name!r:.40}", remedy=f"set --format to one of {', '.join(REPORT_FORMATS)}"
        )
    for key in grouping or ():
        if key not in GROUPING_KEYS:
            raise UsageError(
                f"lines cannot be grouped by {key!r:.40}", remedy=f"set --by to one of {', '.join(GROUPING_KEYS)}"
            )
    if include_private and not format_name.startswith("dsr"):
        raise UsageError(
            "--private can be used only with --format dsr; other reports include all collections",
            remedy="leave out --private",
        )
    with open_site(context) as site:
        names = None
        if collection is not None:
            _require_counted_or_published_collection(site, collection)
            names = {collection}
        if format_name.startswith("dsr") and not include_private:
            public_collections = _list_public_collections(site)
            names = public_collections if names is None else names & public_collections
        service_context = replace(
            ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), faces=load_service_faces()
        )
        usage_report = usage_reports.read_usage_report(service_context, first_month, last_month, collections=names)
        _print_usage_report(usage_report, service_context, grouping or ["collection", "access"], format_name)


def _require_counted_or_published_collection(site: Site, collection: str) -> None:
    """Check that a collection is published, or was used when it was.

    Raises
    ------
    NotFoundError
        It is neither.
    """
    usage_counts = site.store.get_or_create(UsageCountStore)
    counted_collections = {key.collection for key in usage_counts.read_usage_sums()}
    known_collections = counted_collections.union(site.get_published_state().resources)
    if collection not in known_collections:
        suggestion = suggest_spelling(collection, sorted(known_collections))
        raise NotFoundError(
            f"there is no collection {collection!r:.80}, and there are no counts for that name",
            remedy=suggestion or "run `hven report` to see all collections",
        )


def _list_public_collections(site: Site) -> set[str]:
    published_state = site.get_published_state()
    public_schemas = {schema.name for schema in published_state.get_catalogue(ANONYMOUS_PRINCIPAL).schemas}
    return public_schemas.intersection(published_state.resources)


def _print_usage_report(
    usage_report: usage_reports.UsageReport, service_context: ServiceContext, grouping: list[str], format_name: str
) -> None:
    if format_name == "csv":
        sys.stdout.write(usage_reports.write_csv(usage_report))
    elif format_name == "json":
        print_json(usage_reports.usage_report_to_json(usage_report))
    elif format_name == "dsr":
        print_json(usage_reports.build_counter_dataset_report(usage_report, service_context))
    elif format_name == "dsr-tsv":
        sys.stdout.write(usage_reports.write_counter_report_tsv(usage_report, service_context))
    else:
        _print_usage_sums_by_group(usage_report, grouping)
    for note in usage_report.notes:
        print(f"note: {note}", file=sys.stderr)


def _print_usage_sums_by_group(usage_report: usage_reports.UsageReport, grouping: list[str]) -> None:
    """Show the sums of each group as a table."""
    keys = list(dict.fromkeys(grouping))
    if "table" in keys and "collection" not in keys:
        keys.insert(0, "collection")
    figures_by_heading = {
        "looked at": "investigations",
        "taken": "requests",
        "sessions": "unique_requests",
        "files": "files",
        "rows": "rows",
    }
    if "table" in keys or "service" in keys:  # sessions are counted only for collections as a whole
        del figures_by_heading["sessions"]
    rows = []
    for group, sums in usage_report.sum_counts_by(*keys).items():
        figures = [sums[figure] for figure in figures_by_heading.values()]
        rows.append([*(part or "(site)" for part in group), *figures, format_size(sums["bytes"])])
    print_table([*keys, *figures_by_heading, "bytes"], rows, title=f"{usage_report.since} to {usage_report.until}")
