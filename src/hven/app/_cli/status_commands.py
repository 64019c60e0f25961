"""``hven status`` and ``schedule``: show the state of the site, and when its collections follow their sources.

Modules of packages at the extension point ``hven.status`` add facts: ``STATUS_KEY``, their key in ``--json``,
``collect_status(site)``, their JSON value, and ``format_status_lines(value)``, the lines about them.
"""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app._cli import rule_history
from hven.app._cli.context import (
    format_command,
    format_size,
    format_time,
    load_site_settings,
    open_site,
    print_json,
    print_table,
)
from hven.descriptor import load_descriptor
from hven.engines import LiveRelation, Snapshot
from hven.ingest.api.runs import find_stale_table_warnings
from hven.jobs.health import SiteHealthMonitor
from hven.jobs.schedule_planning import build_recurrence, plan_next_run
from hven.model import plugins
from hven.model.resource import format_duration
from hven.site.server_processes import list_server_processes
from hven.site.state_faults import find_absent_rows
from hven.site.store import StateStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from hven.jobs.health import CollectionStatus, HealthCheckResult, SiteStatus
    from hven.model.resource import Recurrence
    from hven.model.table import Table
    from hven.site import PublishedTable, Site
    from hven.site.server_processes import ServerProcess
    from hven.site.store import CollectionAlert, Lease, SyncScheduleRecord

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]
LEASE_PREFIXES = ("scheduler", "schedule ", "server ", "jobs ")  # leases with these names are not work on a collection

schedule = typer.Typer(no_args_is_help=True)


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show what is published, how fresh it is, and what is wrong."""
    with open_site(context) as site:
        published_state = site.get_published_state()
        tables = _published_tables_to_json(site)
        health = SiteHealthMonitor(site)
        engine_problems = [health.get_redactor().redact_text(problem) for problem in site.probe_engines()]
        site_status = health.get_status(wait_seconds=None)
        checks = health.run_health_checks(site_status)
        published_records = site.store.read_published_records()[1]
        absent_rows = map(str, find_absent_rows(site.settings, published_records))
        problems = list(dict.fromkeys([*absent_rows, *site_status.problems, *engine_problems]))
        hints = site.list_missing_indexes()
        quality_by_table = rule_history.read_published_flag_statistics(published_records)
        stale_tables = find_stale_table_warnings(published_records)
        running = [
            _lease_to_json(lease)
            for lease in site.store.leases.list_leases()
            if not lease.name.startswith(LEASE_PREFIXES)
        ]
        package_facts = [(part, part.collect_status(site)) for part in plugins.load_extensions("hven.status")]
    site_settings = load_site_settings(context)
    servers = list_server_processes(site_settings)
    if as_json:
        print_json(
            {
                "tables": tables,
                "collections": [item.to_json() for item in site_status.collections],
                "problems": problems,
                "checks": [asdict(check) for check in checks],
                "alerts": [item.to_json() for item in site_status.alerts],
                "stale": stale_tables,
                "hints": hints,
                "quality": {name: quality.to_json() for name, quality in quality_by_table.items()},
                "running": running,
                "scheduler": site_status.scheduler,
                "servers": [asdict(server_process) for server_process in servers],
                "variant": site_settings.variant,
                "version": published_state.version,
                **{part.STATUS_KEY: value for part, value in package_facts},
            }
        )
        return
    _print_published_tables(context, tables)
    if scheduled_collections := _list_scheduled_collections(site_status):
        print()
        _print_scheduled_collections(scheduled_collections, site_status)
    _print_sync_problems(site_status.collections)
    lines = [
        *_format_server_problem_lines(servers),
        *rule_history.format_flag_statistics_lines(quality_by_table),
        *(f"running: {lease['what']} by {lease['process']} since {format_time(lease['since'])}" for lease in running),
        *_format_failed_check_lines(checks),
        *(f"problem: {problem}" for problem in problems),
        *(f"stale: {line}" for line in stale_tables),
        *_format_undelivered_alert_lines(site_status.alerts),
        *(line for part, value in package_facts for line in part.format_status_lines(value)),
        *(f"hint: {hint}" for hint in hints),
    ]
    for line in lines:
        print(line)


def _lease_to_json(lease: Lease) -> dict[str, Any]:
    return {
        "name": lease.name,
        "what": lease.what,
        "holder": lease.holder,
        "process": lease.display_holder,
        "since": lease.since,
    }


def _format_failed_check_lines(checks: Iterable[HealthCheckResult]) -> Iterator[str]:
    for check in checks:
        if check.state != "ok":
            yield f"{check.state}: {check.name}: {check.message or check.reason}"


def _format_undelivered_alert_lines(alerts: Iterable[CollectionAlert]) -> Iterator[str]:
    for alert in alerts:
        if alert.delivery_problem:
            yield f"alert not delivered: {alert.message} ({alert.delivery_problem})"


def _format_server_problem_lines(servers: Iterable[ServerProcess]) -> Iterator[str]:
    """Yield the problems of servers; processes of a server that have the same problem share a line."""
    servers_by_problem = {(server.problem, server.waiting): server for server in servers}
    for server in servers_by_problem.values():
        if server.problem:
            yield f"warning: {server.display_name}: {server.problem}"
        if server.waiting:
            changed_settings = ", ".join(server.waiting)
            yield f"restart needed: {changed_settings} changed in hven.toml since {server.display_name} started"


def _get_table_kind(published_table: PublishedTable) -> str:
    if published_table.table.view:
        return "view"
    if isinstance(published_table.relation, LiveRelation):
        return "live"
    return "table"


def _published_tables_to_json(site: Site) -> list[dict[str, Any]]:
    published_tables = site.get_published_state().tables_by_name
    return [_published_table_to_json(item, published_tables) for _, item in sorted(published_tables.items())]


def _published_table_to_json(
    published_table: PublishedTable, tables_by_name: Mapping[str, PublishedTable]
) -> dict[str, Any]:
    relation = published_table.relation
    return {
        "table": published_table.table.qualified_name,
        "rows": published_table.rows,
        "bytes": published_table.byte_count,
        "updated": published_table.updated,
        "access": describe_table_access(published_table, tables_by_name),
        "engine": relation.engine if isinstance(relation, Snapshot | LiveRelation) else None,
        "kind": _get_table_kind(published_table),
        "estimate": relation.rows if isinstance(relation, LiveRelation) else None,
    }


_GROUP_CONDITION_PATTERN = re.compile(r"\s*'((?:[^']|'')+)'\s+in\s+groups\s*", re.IGNORECASE)


def describe_table_access(published_table: PublishedTable, tables_by_name: Mapping[str, PublishedTable]) -> str:
    """Describe in a few words who sees the rows of a table, besides the site's owner in the shell.

    Parameters
    ----------
    published_table
        The table.
    tables_by_name
        All published tables by qualified name. A view is restricted as the tables are that it reads.
    """
    access_texts = [_describe_row_and_file_access(published_table.table)]
    for name in published_table.read_tables:
        if name in tables_by_name and _describe_row_and_file_access(tables_by_name[name].table) != access_texts[0]:
            access_texts.append(f"as {name}")
    if access_texts[0] == "public" and len(access_texts) > 1:
        del access_texts[0]
    if published_table.resource is None:
        access_texts.append("no page, because there is no descriptor")
    return "; ".join(access_texts)


def _describe_row_and_file_access(table: Table) -> str:
    if table.access == "private":
        return "nobody"
    conditions = []
    if table.access == "members":
        conditions.append(f"members of {table.project}")
    row_policy = table.policy
    if row_policy is not None and row_policy.rows is not None:
        group = _GROUP_CONDITION_PATTERN.fullmatch(row_policy.rows)
        conditions.append(f"conditions: {row_policy.rows}" if group is None else f"group {group[1]}")
    access_text = ", ".join(conditions) or "public"
    file_condition = row_policy and (row_policy.take or row_policy.files)
    if file_condition:
        return f"{access_text}; files, conditions: {file_condition}"
    return access_text


def _print_published_tables(context: typer.Context, rows: list[dict[str, Any]]) -> None:
    if not rows:
        new_command = format_command(context, "new NAME --from FILE")
        ingest_command = format_command(context, "ingest NAME")
        print(f"Nothing is published yet. {new_command} writes a descriptor; {ingest_command} publishes its tables.")
        return
    cells_by_row = [
        (
            row["table"] + _TABLE_KIND_SUFFIXES[row["kind"]],
            _format_row_count(row),
            format_size(row["bytes"]) if row["kind"] != "live" else "",
            format_time(row["updated"]),
            row["engine"] or "",
            row["access"],
        )
        for row in rows
    ]
    print_table(["table", "rows", "size", "updated", "engine", "access"], cells_by_row)


def _list_scheduled_collections(site_status: SiteStatus) -> list[CollectionStatus]:
    return [item for item in site_status.collections if item.timing is not None]


def _print_scheduled_collections(collections: Iterable[CollectionStatus], site_status: SiteStatus) -> None:
    """Show the collections that follow their sources on a schedule, and whether a server runs it."""
    names = ["collection", "state", "last good sync", "seen up to", "all read", "schedule", "next"]
    print_table(names, [_format_schedule_row(item) for item in collections])
    if site_status.scheduler is None:
        print("no server is running the schedule; start `hven serve` or `hven work`")


def _format_schedule_row(collection_status: CollectionStatus) -> tuple[object, ...]:
    state = f"{collection_status.state}, running" if collection_status.running else collection_status.state
    last_sync = "" if collection_status.lag is None else f"{format_duration(collection_status.lag)} ago"
    is_waiting = collection_status.held or collection_status.paused
    if is_waiting:
        next_run = collection_status.state
    else:
        next_run = format_time(collection_status.next)
    return (
        collection_status.collection,
        state,
        last_sync,
        collection_status.modified,
        _format_elapsed_time(collection_status.read),
        collection_status.timing,
        next_run,
    )


def _print_sync_problems(collections: Iterable[CollectionStatus]) -> None:
    """Print which collections do not follow their sources, and why."""
    for collection in collections:
        if collection.failures:
            if collection.timing is None:
                failure_text = f"last run {format_time(collection.ended or collection.started)}"
            elif collection.failures == 1:
                failure_text = "once"
            else:
                failure_text = f"{collection.failures} times in a row"
            print(f"failed: {collection.collection} ({failure_text}): {collection.message or 'the run was stopped'}")
        if collection.held or collection.paused:
            since = format_time(collection.held or collection.paused)
            print(f"{collection.state}: {collection.collection} (since {since}): {collection.reason}")


def _format_elapsed_time(timestamp: str | None) -> str:
    """Format how long ago a time was; empty for None."""
    if timestamp is None:
        return ""
    past_time = datetime.fromisoformat(timestamp)
    if past_time.tzinfo is None:
        past_time = past_time.replace(tzinfo=UTC)
    elapsed_seconds = (datetime.now(UTC) - past_time).total_seconds()
    return f"{format_duration(max(elapsed_seconds, 0.0))} ago"


_TABLE_KIND_SUFFIXES = {"view": " (view)", "live": " (live)", "table": ""}


def _format_row_count(row: dict[str, Any]) -> object:
    """Return the number of rows; for a live table, the estimate of its database."""
    if row["estimate"] is None:
        return row["rows"]
    return f"about {row['estimate']:,}"


@schedule.command("list")
def list_schedule(context: typer.Context, as_json: Json = False) -> None:
    """Show the schedule."""
    with open_site(context) as site:
        site_status = SiteHealthMonitor(site).get_status(wait_seconds=None)
    scheduled_collections = _list_scheduled_collections(site_status)
    if as_json:
        print_json([item.to_json() for item in scheduled_collections])
        return
    if not scheduled_collections:
        print(
            "No collection follows its source on a schedule. To set a schedule, add `sync: {every: 1 h}` to a "
            "descriptor."
        )
        return
    _print_scheduled_collections(scheduled_collections, site_status)
    _print_sync_problems(scheduled_collections)


@schedule.command("run")
def request_sync_now(context: typer.Context, collection_name: Name) -> None:
    """Make the server synchronise a collection now."""
    _update_schedule_and_hold(context, collection_name, lambda row, now: replace(row, asked=now))
    print(f"the server will synchronise {collection_name} next")


@schedule.command("pause")
def pause_schedule(context: typer.Context, name: Name) -> None:
    """Pause a collection's schedule until `resume`.

    A run that has begun continues.
    """
    _update_schedule_and_hold(context, name, lambda row, now: replace(row, paused=now, asked=None))
    print(f"{name} is paused")


@schedule.command("resume")
def resume_schedule(context: typer.Context, name: Name) -> None:
    """Resume a collection's schedule after a pause or a rollback.

    One run replaces all runs that were missed.
    """
    _update_schedule_and_hold(context, name, lambda row, _: replace(row, paused=None), is_resume=True)
    print(f"{name} is scheduled again")


def _update_schedule_and_hold(
    context: typer.Context,
    collection_name: str,
    change_record: Callable[[SyncScheduleRecord, float], SyncScheduleRecord],
    *,
    is_resume: bool = False,
) -> None:
    site_settings = load_site_settings(context)
    store = StateStore(site_settings.var_directory, site_settings.store)
    try:
        has_record = collection_name in store.schedules.list_schedules()[1]
        if is_resume and store.end_hold(collection_name) and not has_record:
            return
        last_published = store.list_publication_times().get(collection_name)
        path = site_settings.locate_descriptor(collection_name)
        recurrence: Recurrence | None = None
        if not has_record and last_published is not None and path.is_file():
            recurrence = build_recurrence(load_descriptor(path, site_settings))
        if recurrence is None:
            store.schedules.get_schedule(collection_name)  # raises an error with the remedy if there is none

        def change_schedule(
            row: SyncScheduleRecord | None, now: float
        ) -> tuple[SyncScheduleRecord | None, Iterable[CollectionAlert]]:
            if row is None and recurrence is not None:  # no server has planned it yet
                row = plan_next_run(
                    None, collection_name, recurrence, now, site_settings.schedule, last_published=last_published
                )
            return (None if row is None else change_record(row, now)), ()

        store.schedules.update_schedule(collection_name, change_schedule)
    finally:
        store.close()
