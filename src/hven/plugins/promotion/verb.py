"""``hven promote``: publish a collection on another site as this site publishes it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app.api import format_command, format_time, load_site_settings, print_json
from hven.model.errors import HvenError, UsageError
from hven.model.settings import load_settings
from hven.plugins.promotion import collection_states, promotion
from hven.plugins.promotion.settings import find_target
from hven.site import Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.plugins.promotion.promotion import PromotionReport, ReturnReport, TablePromotion

MAX_PRINTED_NAMES = 10
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def promote(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection.")],
    target_name: Annotated[
        str, typer.Option("--to", metavar="TARGET", help="The other site: a section [targets.TARGET] of hven.toml.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what differs, and publish nothing.")] = False,
    must_return: Annotated[
        bool, typer.Option("--back", help="Return the target to its publication before the last promotion.")
    ] = False,
    may_widen: Annotated[
        bool, typer.Option("--widen", help="Publish even if more people can see a table than before.")
    ] = False,
    may_overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace changes that were made on the target itself.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Publish a collection on another site, in one step.

    Rows, metadata, rights and files change together.
    """
    if must_return and (dry_run or may_widen or may_overwrite):
        raise UsageError("--back can't be combined with --dry-run, --widen or --overwrite", remedy="use --back alone")
    settings = load_site_settings(context)
    target = find_target(settings, target_name)
    refusals: Sequence[HvenError] = ()
    with ExitStack() as stack:
        target_site = stack.enter_context(Site(load_settings(target.locate_site(settings))))
        if must_return:
            _show_return(promotion.return_to_earlier_publication(target_site, name), name, target_name, as_json=as_json)
            return
        own_site = stack.enter_context(Site(settings))
        if dry_run:
            own_state = collection_states.read_own_state(own_site, name)
            target_state = collection_states.read_collection_state(target_site, name)
            report = promotion.compare_sites(own_state, target_state)
            refusals = promotion.list_refusals(
                own_state, target_site, report, may_widen=may_widen, may_overwrite=may_overwrite
            )
        else:
            report = promotion.promote_collection(
                own_site, target_site, name, may_widen=may_widen, may_overwrite=may_overwrite
            )
    if as_json:
        print_json(_report_to_json(report) | {"refusals": [str(error) for error in refusals]})
    else:
        _print_report(report, target_name)
        for error in refusals:
            print(f"refused: {error}")
    if refusals:
        raise typer.Exit(1)
    if as_json:
        return
    if report.run is not None:
        command = format_command(context, "promote", name, "--to", target_name, "--back")
        print(f"to return to the previous publication, run: {command}")


def _show_return(report: ReturnReport, name: str, target_name: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"state": dict(report.state), "tables": dict(report.tables)})
        return
    print(f"{target_name} publishes {name} again as before the last promotion")
    words = {None: "not recorded", True: "as promoted then", False: "NOT as promoted then"}
    for table, (row_count, is_same) in report.tables.items():
        print(f"  {table}: {row_count:,} rows, snapshot {report.state[table]}, digest {words[is_same]}")


def _report_to_json(report: PromotionReport) -> dict[str, Any]:
    metadata = report.metadata
    return {
        "collection": report.collection,
        "run": report.run,
        "by": report.by,
        "at": report.at,
        "differs": report.has_changes,
        "target_changes": list(report.foreign_changes),
        "tables": [table.to_json() for table in report.tables],
        "added_tables": metadata.added_tables,
        "removed_tables": metadata.removed_tables,
        "columns": metadata.columns,
        "rights": [
            {"table": item.table, "before": item.before, "after": item.after, "wider": item.is_wider}
            for item in metadata.rights
        ],
        "metadata": metadata.collection,
        "files": {
            "added": metadata.files.added,
            "changed": metadata.files.changed,
            "removed": metadata.files.removed,
            "copied": report.copied_files,
        },
        "warnings": report.warnings,
    }


def _print_report(report: PromotionReport, target_name: str) -> None:
    if not report.has_changes and not report.foreign_changes:
        print(f"{report.collection} is the same on both sites; there is nothing to promote")
        return
    for change in report.foreign_changes:
        print(f"change on the target: {change}")
    for table in report.tables:
        print(_format_table(table))
    metadata = report.metadata
    for title, names in (
        ("new tables", metadata.added_tables),
        ("removed tables", metadata.removed_tables),
        ("metadata of the collection", metadata.collection),
        ("new files", metadata.files.added),
        ("changed files", metadata.files.changed),
        ("removed files", metadata.files.removed),
    ):
        if names:
            more = f" and {len(names) - MAX_PRINTED_NAMES:,} more" if len(names) > MAX_PRINTED_NAMES else ""
            print(f"{title}: {', '.join(names[:MAX_PRINTED_NAMES])}{more}")
    for text in metadata.columns:
        print(f"column: {text}")
    for item in metadata.rights:
        wider = "; more people can see it (--widen)" if item.is_wider else ""
        print(f"rights: {item.table}: {item.before} -> {item.after}{wider}")
    if report.run is None:
        return
    for table in report.tables:
        print(_format_equality(table))
    time_text = format_time(report.at)
    print(f"{report.collection} is published in {target_name} by the run {report.run} ({report.by}, {time_text})")
    print(f"files: {report.copied_files:,} copied; the others are shared with the previous publication")
    for warning in report.warnings:
        print(f"warning: {warning}")


def _format_table(table: TablePromotion) -> str:
    name = table.record.table.qualified_name
    difference = table.difference
    if difference is None:
        reason = "the target has no such table" if table.target is None else "columns or keys differ"
        return f"rows of {name}: all {table.own_hashes.row_count:,} ({reason})"
    text = (
        f"rows of {name}: {difference.added:,} added, {difference.changed:,} changed, "
        f"{difference.removed_count:,} removed"
    )
    for word, keys in difference.samples.items():
        if keys:
            key_texts = [", ".join(f"{key} {value}" for key, value in row.items()) for row in keys]
            text += f"\n  {word}: {'; '.join(key_texts)}"
    return text


def _format_equality(table: TablePromotion) -> str:
    hashes = table.target_hashes or table.own_hashes
    return (
        f"equal: {table.record.table.qualified_name}: {table.own_hashes.row_count:,} rows here and "
        f"{hashes.row_count:,} there, digests {table.own_hashes.digest} and {hashes.digest}, "
        f"{table.copied_rows:,} rows copied"
    )
