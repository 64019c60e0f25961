"""``hven promote``: publish collections of one site on another, as the first site publishes them."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app.api import format_command, format_time, load_site_settings, print_json
from hven.model.errors import UsageError
from hven.plugins.promotion import promotion
from hven.plugins.promotion.package_selection import load_target_settings_and_select_packages
from hven.plugins.promotion.promotion import PromotionOptions, SiteSource
from hven.plugins.promotion.remote_sites import RemoteSite
from hven.plugins.promotion.service_validation import (
    find_service_address,
    validate_promoted_tables,
    write_validation_json,
)
from hven.plugins.promotion.settings import find_target
from hven.site import Site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.errors import HvenError
    from hven.model.settings import Settings
    from hven.plugins.lint.validation import LintReport
    from hven.plugins.promotion.promotion import PromotionSource, ReturnReport
    from hven.plugins.promotion.promotion_reports import PromotionReport, TablePromotion

MAX_PRINTED_NAMES = 10
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def promote(
    context: typer.Context,
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="The collections, perhaps with a state as for `hven diff` (stars@R4). All change at one moment.",
        ),
    ] = None,
    target_name: Annotated[
        str | None,
        typer.Option("--to", metavar="TARGET", help="The other site, a section [targets.TARGET], publishes them."),
    ] = None,
    source_name: Annotated[
        str | None,
        typer.Option("--from", metavar="TARGET", help="This site publishes them as the other site does."),
    ] = None,
    must_promote_all: Annotated[bool, typer.Option("--all", help="Promote all collections that have rows.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what differs, and publish nothing.")] = False,
    must_return: Annotated[
        bool, typer.Option("--back", help="Return to what was published before the last promotion.")
    ] = False,
    widened_tables: Annotated[
        list[str] | None,
        typer.Option("--widen", metavar="TABLE", help="Publish even if more people can see this table than before."),
    ] = None,
    may_merge: Annotated[
        bool, typer.Option("--merge", help="Keep changes that only the publishing site has; refuse conflicts.")
    ] = False,
    may_overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace changes that were made on the publishing site itself.")
    ] = False,
    must_compare_contents: Annotated[
        bool, typer.Option("--checksum", help="Read files to compare them, even if their sizes and times are equal.")
    ] = False,
    must_validate: Annotated[
        bool,
        typer.Option("--lint", help="Afterwards, validate the promoted tables at public_url of the publishing site."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Publish collections on another site, in one step.

    Rows, metadata, rights and files change together.
    """
    _check_options(
        names=names or [],
        sites=(target_name, source_name),
        must_return=must_return,
        others={
            "--dry-run": dry_run,
            "--lint": must_validate,
            "--widen": bool(widened_tables),
            "--merge": may_merge,
            "--overwrite": may_overwrite,
            "--all": must_promote_all,
            "--checksum": must_compare_contents,
        },
    )
    options = PromotionOptions(
        widened_tables=frozenset(widened_tables or ()),
        may_overwrite=may_overwrite,
        may_merge=may_merge,
        must_compare_contents=must_compare_contents,
    )
    collection_names = [name.partition("@")[0] for name in names or ()]
    states = {collection: state for collection, mark, state in (name.partition("@") for name in names or ()) if mark}
    settings = load_site_settings(context)
    other_name = target_name or source_name or ""
    publisher_name = target_name or "this site"
    with ExitStack() as stack:
        if find_target(settings, other_name).url:
            _check_options_for_addresses(other_name, must_compare_contents=must_compare_contents, states=states)
        source, target_site = _open_sites(
            stack, settings, target_name, source_name, states=states, is_source_needed=not must_return
        )
        if must_return:
            returns = promotion.return_collections(target_site, collection_names)
            _show_returns(returns, publisher_name, as_json=as_json)
            return
        service_url = ""
        if must_validate:
            service_url = find_service_address(target_site.settings)
        promoted_names = collection_names or _list_promoted_names(source)
        reports, refusals = _promote(source, target_site, promoted_names, options, dry_run=dry_run)
        published_state = target_site.get_published_state()
    validation = None
    if must_validate:
        tables = [table.record.table.qualified_name for report in reports for table in report.tables]
        all_tables = list(published_state.tables_by_name)
        validation = validate_promoted_tables(service_url, tables, all_tables, published_state.version)
    if as_json:
        documents = [
            _report_to_json(report, validation)
            | {"refusals": [str(error) for error in refusals.get(report.collection, ())]}
            for report in reports
        ]
        print_json(documents[0] if names and len(names) == 1 else documents)
    else:
        for report in reports:
            _print_report(report, publisher_name)
            for error in refusals.get(report.collection, ()):
                print(f"refused: {error}")
        if validation is not None:
            _print_validation(validation)
    if any(refusals.values()):
        raise typer.Exit(1)
    promoted_names = [report.collection for report in reports if report.run is not None]
    if promoted_names and not as_json:
        side = "--from" if target_name is None else "--to"
        command = format_command(context, "promote", *promoted_names, side, other_name, "--back")
        print(f"to return to the previous publication, run: {command}")
    if validation is not None and (validation.reason or validation.counts_by_severity["error"]):
        raise typer.Exit(1)


def _list_promoted_names(source: PromotionSource) -> list[str]:
    """List all collections that can be promoted, and tell which are left out."""
    names, names_without_rows = source.list_collections()
    if names_without_rows:
        left_out = _format_names(names_without_rows)
        remedy = "ingest them, or, if their tables are live, copy their directories to the other site"
        print(f"left out, because they store no rows: {left_out}; {remedy}", file=sys.stderr)
    return names


def _check_options(
    *,
    names: Sequence[str],
    sites: tuple[str | None, str | None],
    must_return: bool,
    others: Mapping[str, bool],
) -> None:
    """Refuse options that contradict each other."""
    used_options = [option for option, is_used in others.items() if is_used]
    collection_names = {name.partition("@")[0] for name in names}
    faults = (
        ((sites[0] is None) == (sites[1] is None), "name one other site", "add --to TARGET, or --from TARGET"),
        (bool(names) == others["--all"], "name the collections", "add their names, or --all instead of names"),
        (
            len(collection_names) < len(names),
            "a collection is named twice",
            "name each collection once, with one state",
        ),
        (
            must_return and bool(used_options),
            f"--back can't be combined with {', '.join(used_options)}",
            "use --back with the names of the collections",
        ),
        (
            others["--lint"] and others["--dry-run"],
            "--lint and --dry-run exclude each other: nothing new is published that could be validated",
            "use one of them",
        ),
        (others["--merge"] and others["--overwrite"], "--merge and --overwrite exclude each other", "use one of them"),
        (
            must_return and any("@" in name for name in names),
            "--back always returns to the state before the last promotion",
            "omit @ and the state",
        ),
    )
    for is_fault, message, remedy in faults:
        if is_fault:
            raise UsageError(message, remedy=remedy)


def _check_options_for_addresses(other_name: str, *, must_compare_contents: bool, states: Mapping[str, str]) -> None:
    """Refuse what needs both sites on this machine."""
    if must_compare_contents:
        raise UsageError(
            f"--checksum works only if both sites are on this machine; {other_name} is read from its address",
            remedy="omit --checksum; to copy a file again although its size is the same, run `touch` on it there",
        )
    for collection, state in states.items():
        raise UsageError(
            f"{collection}@{state} works only if both sites are on this machine; {other_name} is read from its address",
            remedy=f"run `hven rollback {collection} SNAPSHOT` there first, and omit @{state} here",
        )


def _open_sites(
    stack: ExitStack,
    settings: Settings,
    target_name: str | None,
    source_name: str | None,
    *,
    states: Mapping[str, str],
    is_source_needed: bool,
) -> tuple[PromotionSource, Site]:
    """Open the site from which collections come, and the site that publishes them."""
    other = find_target(settings, target_name or source_name or "")
    if target_name is not None:
        if other.url:
            command = f"hven promote NAME --from {other.name}"
            raise UsageError(
                f"{other.url} can't be changed from here: a site with an address is only read",
                remedy=f"add a section [targets.NAME] for this site to the hven.toml there, and run there: {command}",
            )
        other_settings = load_target_settings_and_select_packages(other.locate_site(settings), settings)
        target_site = stack.enter_context(Site(other_settings))
        return SiteSource(site=stack.enter_context(Site(settings)), states=states), target_site
    target_site = stack.enter_context(Site(settings))
    if other.url:
        return stack.enter_context(RemoteSite(other, settings)), target_site
    if not is_source_needed:
        return SiteSource(site=target_site), target_site
    other_settings = load_target_settings_and_select_packages(other.locate_site(settings), settings)
    return SiteSource(site=stack.enter_context(Site(other_settings)), states=states), target_site


def _promote(
    source: PromotionSource,
    target_site: Site,
    names: Sequence[str],
    options: PromotionOptions,
    *,
    dry_run: bool,
) -> tuple[list[PromotionReport], dict[str, list[HvenError]]]:
    """Promote collections, or only compare them; return the reports, and why a promotion would be refused."""
    if not dry_run:
        return promotion.promote_collections(source, target_site, names, options), {}
    with promotion.plan_promotion(source, target_site, names, options) as plans:
        refusals = {plan.origin.name: promotion.list_refusals(plan, target_site, options) for plan in plans}
        return [plan.report for plan in plans], refusals


def _show_returns(returns: Mapping[str, ReturnReport], publisher_name: str, *, as_json: bool) -> None:
    documents = [{"state": dict(report.state), "tables": dict(report.tables)} for report in returns.values()]
    if as_json:
        print_json(documents[0] if len(documents) == 1 else documents)
        return
    words = {None: "not recorded", True: "as promoted then", False: "NOT as promoted then"}
    for name, report in returns.items():
        if not report.tables:
            print(f"{publisher_name} no longer publishes {name}, as before its first promotion")
            continue
        print(f"{publisher_name} publishes {name} again as before the last promotion")
        for table, (row_count, is_same) in report.tables.items():
            print(f"  {table}: {row_count:,} rows, snapshot {report.state[table]}, digest {words[is_same]}")


def _report_to_json(report: PromotionReport, validation: LintReport | None) -> dict[str, Any]:
    metadata = report.metadata
    return {
        "collection": report.collection,
        "run": report.run,
        "by": report.by,
        "at": report.at,
        "differs": report.has_changes,
        "target_changes": list(report.foreign_changes),
        "kept_changes": report.kept_changes,
        "conflicts": report.conflicts,
        "tables": [table.to_json() for table in report.tables],
        "added_tables": metadata.added_tables,
        "removed_tables": metadata.removed_tables,
        "columns": metadata.columns,
        "rights": [
            {"table": item.table, "before": item.before, "after": item.after, "wider": item.is_wider}
            for item in metadata.rights
        ],
        "metadata": metadata.collection,
        "changes": [change._asdict() for change in metadata.changes],
        "files": {
            "added": metadata.files.added,
            "changed": metadata.files.changed,
            "removed": metadata.files.removed,
            "all": report.file_count,
            "copied": report.copied_files,
        },
        "warnings": report.warnings,
        "lint": validation and write_validation_json(validation),
    }


def _print_report(report: PromotionReport, publisher_name: str) -> None:
    for change in report.foreign_changes:
        print(f"change on the target: {change}")
    for change in report.kept_changes:
        print(f"the target keeps: {change}")
    if not report.has_changes and (not report.foreign_changes or report.kept_changes):
        state = "has nothing new" if report.kept_changes else "is the same on both sites"
        print(f"{report.collection} {state}; there is nothing to promote")
        return
    for table in report.tables:
        print(_format_table(table))
    _print_metadata_difference(report)
    for warning in report.warnings:
        print(f"warning: {warning}")
    if report.run is not None:
        _print_publication(report, publisher_name)


def _print_metadata_difference(report: PromotionReport) -> None:
    metadata = report.metadata
    for title, names in (
        ("new tables", metadata.added_tables),
        ("removed tables", metadata.removed_tables),
        ("new files", metadata.files.added),
        ("changed files", metadata.files.changed),
        ("removed files", metadata.files.removed),
    ):
        if names:
            print(f"{title}: {_format_names(names)}")
    for text in metadata.columns:
        print(f"column: {text}")
    for change in metadata.changes:
        if change.subject == report.collection:
            print(f"metadata of the collection: {change}")
    for item in metadata.rights:
        wider = f"; more people could see it (--widen {item.table})" if item.is_wider else ""
        print(f"rights: {item.table}: {item.before} -> {item.after}{wider}")


def _print_publication(report: PromotionReport, publisher_name: str) -> None:
    for table in report.tables:
        print(_format_equality(table))
    time_text = format_time(report.at)
    print(f"{report.collection} is published in {publisher_name} by the run {report.run} ({report.by}, {time_text})")
    shared_count = report.file_count - report.copied_files
    basis = "contents" if report.compares_contents else "size and time"
    print(
        f"files: {report.copied_files:,} copied, {shared_count:,} shared with the previous publication (same {basis})"
    )


def _print_validation(validation: LintReport) -> None:
    if validation.reason:
        print(f"{validation.url} could not be validated: {validation.reason}")
        return
    for finding in validation.findings:
        place = f"{finding.table}: " if finding.table else ""
        print(f"{finding.severity}: {place}{finding.message} [{finding.code}]; {finding.remedy}")
    counts = ", ".join(f"{count} {severity}" for severity, count in validation.counts_by_severity.items())
    print(f"hven lint {validation.url}: {counts}")


def _format_names(names: Sequence[str]) -> str:
    more = ""
    if len(names) > MAX_PRINTED_NAMES:
        more = f" and {len(names) - MAX_PRINTED_NAMES:,} more"
    return f"{', '.join(names[:MAX_PRINTED_NAMES])}{more}"


def _format_table(table: TablePromotion) -> str:
    name = table.record.table.qualified_name
    difference = table.difference
    if difference is None:
        reason = "the target has no such table" if table.target is None else "columns or keys differ"
        return f"rows of {name}: all {table.source_hashes.row_count:,} ({reason})"
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
    hashes = table.target_hashes or table.source_hashes
    word = "merged" if table.is_merged else "equal"
    counts = f"{table.source_hashes.row_count:,} rows in the source and {hashes.row_count:,} in the target"
    return (
        f"{word}: {table.record.table.qualified_name}: {counts}, {len(table.record.table.columns)} columns, digests "
        f"{table.source_hashes.digest} and {hashes.digest}, {table.copied_rows:,} rows copied"
    )
