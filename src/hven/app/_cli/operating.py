"""``hven status`` and ``hven schedule``: how the site is, and when its collections follow their sources."""

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
    show_json,
    show_table,
)
from hven.engines import LiveRelation, Snapshot
from hven.ingest import find_stale_tables
from hven.jobs.health import SiteHealth
from hven.model.resource import format_duration
from hven.site.server_processes import list_server_processes
from hven.site.store import StateStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from hven.jobs.health import CollectionStatus, SiteStatus
    from hven.model.table import Table
    from hven.site import PublishedTable, Site
    from hven.site.server_processes import ServerProcess
    from hven.site.store import Alert, SyncScheduleRecord

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]
LEASE_PREFIXES = ("scheduler", "schedule ")  # begins the names of leases that are no work on a collection

schedule = typer.Typer(no_args_is_help=True)


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show what is published, how fresh it is, and what is wrong."""
    with open_site(context) as site:
        current = site.get_published_state()
        tables = _list_tables(site)
        health = SiteHealth(site)
        missing_engines = [health.get_redactor().redact_text(problem) for problem in site.probe_engines()]
        picture = health.get_status(wait_seconds=None)
        checks = health.run_checks(picture)
        problems = [*picture.problems, *(problem for problem in missing_engines if problem not in picture.problems)]
        hints = site.list_missing_indexes()
        published_records = site.store.read_published_records()
        quality_by_table = rule_history.read_published_quality(published_records[1])
        stale_tables = find_stale_tables(site.store.read_published_records()[1])
        running = [
            {
                "name": lease.name,
                "what": lease.what,
                "holder": lease.holder,
                "process": lease.display_holder,
                "since": lease.since,
            }
            for lease in site.store.leases.list_leases()
            if not lease.name.startswith(LEASE_PREFIXES)
        ]
    check_list = [
        {"name": check.name, "state": check.state, "message": check.message, "reason": check.reason} for check in checks
    ]
    servers = list_server_processes(load_site_settings(context))
    if as_json:
        show_json(
            {
                "tables": tables,
                "collections": [item.to_json() for item in picture.collections],
                "problems": problems,
                "checks": check_list,
                "alerts": [_alert_to_json(item) for item in picture.alerts],
                "stale": stale_tables,
                "hints": hints,
                "quality": {name: server_process.to_json() for name, server_process in quality_by_table.items()},
                "running": running,
                "scheduler": picture.scheduler,
                "servers": [asdict(server_process) for server_process in servers],
                "variant": load_site_settings(context).variant,
                "version": current.version,
            }
        )
        return
    _show_tables(context, tables)
    if any(item.timing is not None for item in picture.collections):
        print()
        _show_collections(picture)
    _print_troubles(picture.collections)
    lines = [
        *_format_server_lines(servers),
        *rule_history.format_quality_lines(quality_by_table),
        *(f"running: {lease['what']} by {lease['process']} since {format_time(lease['since'])}" for lease in running),
        *(
            f"{check['state']}: {check['name']}: {check['message'] or check['reason']}"
            for check in check_list
            if check["state"] != "ok"
        ),
        *(f"problem: {problem}" for problem in problems),
        *(f"stale: {line}" for line in stale_tables),
        *(
            f"alert not delivered: {item.message} ({item.delivery_problem})"
            for item in picture.alerts
            if item.delivery_problem
        ),
        *(f"hint: {hint}" for hint in hints),
    ]
    for line in lines:
        print(line)


def _format_server_lines(servers: Iterable[ServerProcess]) -> Iterator[str]:
    """Yield the troubles of servers: one line for all processes of a server that have the same."""
    servers_by_trouble = {(server.problem, server.waiting): server for server in servers}
    for server in servers_by_trouble.values():
        if server.problem:
            yield f"warning: {server.display_name}: {server.problem}"
        if server.waiting:
            changed_settings = ", ".join(server.waiting)
            yield f"restart needed: {changed_settings} changed in hven.toml since {server.display_name} began"


def _get_table_kind(published: PublishedTable) -> str:
    if published.table.view:
        return "view"
    return "live" if isinstance(published.relation, LiveRelation) else "table"


def _list_tables(site: Site) -> list[dict[str, Any]]:
    return [
        {
            "table": item.table.qualified_name,
            "rows": item.rows,
            "bytes": item.byte_count,
            "updated": item.updated,
            "access": describe_access(item, site.get_published_state().tables_by_name),
            "engine": item.relation.engine if isinstance(item.relation, Snapshot | LiveRelation) else None,
            "kind": _get_table_kind(item),
            "estimate": item.relation.rows if isinstance(item.relation, LiveRelation) else None,
        }
        for item in sorted(
            site.get_published_state().tables_by_name.values(), key=lambda item: item.table.qualified_name
        )
    ]


_GROUP_CONDITION_PATTERN = re.compile(r"\s*'((?:[^']|'')+)'\s+in\s+groups\s*", re.IGNORECASE)


def describe_access(item: PublishedTable, published: Mapping[str, PublishedTable]) -> str:
    """Say in a few words who sees the rows of a table, besides the site's owner in the shell.

    Parameters
    ----------
    item
        The table.
    published
        All that is published: a view is seen as the tables are that it reads.
    """
    words = [_describe_row_access(item.table)]
    words += [
        f"as {name}"
        for name in item.read_tables
        if name in published and _describe_row_access(published[name].table) != words[0]
    ]
    if words[0] == "public" and len(words) > 1:
        del words[0]
    if item.resource is None:
        words.append("no descriptor, so no page")
    return "; ".join(words)


def _describe_row_access(table: Table) -> str:
    if table.access == "private":
        return "nobody"
    words = [f"members of {table.project}" if table.access == "members" else ""]
    row_policy = table.policy
    if row_policy is not None and row_policy.rows is not None:
        group = _GROUP_CONDITION_PATTERN.fullmatch(row_policy.rows)
        words.append(f"group {group[1]}" if group is not None else f"conditions: {row_policy.rows}")
    access_text = ", ".join(word for word in words if word) or "public"
    files = row_policy and (row_policy.take or row_policy.files)
    if files:
        return f"{access_text}; files, conditions: {files}"
    return access_text


def _show_tables(context: typer.Context, rows: list[dict[str, Any]]) -> None:
    if not rows:
        print(
            f"Nothing is published yet. {format_command(context, 'new NAME --from FILE')} writes a descriptor; "
            f"{format_command(context, 'ingest NAME')} publishes it."
        )
        return
    show_table(
        ["table", "rows", "size", "updated", "engine", "access"],
        [
            [
                row["table"] + _TABLE_KIND_SUFFIXES[row["kind"]],
                _format_row_count(row),
                format_size(row["bytes"]) if row["kind"] != "live" else "",
                format_time(row["updated"]),
                row["engine"] or "",
                row["access"],
            ]
            for row in rows
        ],
    )


def _show_collections(picture: SiteStatus) -> None:
    """Show those that follow their sources by themselves, and say who runs the schedule."""
    scheduled_collections = [item for item in picture.collections if item.timing is not None]
    if not scheduled_collections:
        return
    show_table(
        ["collection", "state", "last good sync", "seen up to", "all read", "schedule", "next"],
        [
            [
                item.collection,
                item.state + (", running" if item.running else ""),
                f"{format_duration(item.lag)} ago" if item.lag is not None else "",
                item.modified,
                _format_elapsed(item.read),
                item.timing,
                item.state if item.held or item.paused else format_time(item.next),
            ]
            for item in scheduled_collections
        ],
    )
    if picture.scheduler is None:
        print("no server runs the schedule: hven serve, or hven work")


def _print_troubles(collections: Iterable[CollectionStatus]) -> None:
    """Print which do not follow their sources, and why."""
    for collection in collections:
        if collection.failures:
            if collection.timing is None:
                failure_text = f"the last run ({format_time(collection.ended or collection.started)})"
            else:
                failure_text = f"{collection.failures} in a row"
            print(f"failed: {collection.collection}, {failure_text}: {collection.message or 'it was stopped'}")
        if collection.held or collection.paused:
            print(
                f"{collection.state}: {collection.collection}, since "
                f"{format_time(collection.held or collection.paused)}: {collection.reason}"
            )


def _format_elapsed(timestamp: str | None) -> str:
    """Format how long ago a time was."""
    if timestamp is None:
        return ""
    past_time = datetime.fromisoformat(timestamp)
    if past_time.tzinfo is None:
        past_time = past_time.replace(tzinfo=UTC)
    elapsed_seconds = (datetime.now(UTC) - past_time).total_seconds()
    return f"{format_duration(max(elapsed_seconds, 0.0))} ago"


def _alert_to_json(item: Alert) -> dict[str, Any]:
    return {
        "at": item.at,
        "collection": item.collection,
        "kind": item.kind,
        "message": item.message,
        "undelivered": item.delivery_problem,
    }


_TABLE_KIND_SUFFIXES = {"view": " (view)", "live": " (live)", "table": ""}


def _format_row_count(row: dict[str, Any]) -> object:
    """Write the number of rows; that of a table which is read in place is its database's estimate."""
    if row["estimate"] is None:
        return row["rows"]
    return f"about {row['estimate']:,}"


@schedule.command("list")
def list_schedule(context: typer.Context, as_json: Json = False) -> None:
    """Show the schedule."""
    with open_site(context) as site:
        picture = SiteHealth(site).get_status(wait_seconds=None)
    scheduled_collections: list[CollectionStatus] = [item for item in picture.collections if item.timing is not None]
    if as_json:
        show_json([item.to_json() for item in scheduled_collections])
        return
    if not scheduled_collections:
        print("No collection follows its source by itself: say `sync: {every: 1 h}` in a descriptor.")
        return
    _show_collections(picture)
    _print_troubles(scheduled_collections)


@schedule.command("run")
def run_now(context: typer.Context, name: Name) -> None:
    """Let the server synchronise a collection now, whatever its time."""
    _change_schedule(context, name, lambda row, now: replace(row, asked=now))
    print(f"{name} is next")


@schedule.command("pause")
def pause_schedule(context: typer.Context, name: Name) -> None:
    """Pause a collection's schedule, until resume; a run that has begun goes on."""
    _change_schedule(context, name, lambda row, now: replace(row, paused=now, asked=None))
    print(f"{name} rests")


@schedule.command("resume")
def resume_schedule(context: typer.Context, name: Name) -> None:
    """Resume a collection's schedule, after a pause or a rollback; what it missed is made up once."""
    _change_schedule(context, name, lambda row, _: replace(row, paused=None), is_resume=True)
    print(f"{name} goes on")


def _change_schedule(
    context: typer.Context,
    name: str,
    change_row: Callable[[SyncScheduleRecord, float], SyncScheduleRecord],
    *,
    is_resume: bool = False,
) -> None:
    site_settings = load_site_settings(context)
    store = StateStore(site_settings.var_directory, site_settings.store)
    try:
        if is_resume and store.end_hold(name) and name not in store.schedules.list_schedules()[1]:
            return
        store.schedules.get_schedule(name)  # tells what to do if there is none
        store.schedules.update_schedule(name, lambda row, now: (None if row is None else change_row(row, now), ()))
    finally:
        store.close()
