"""``hven status`` and ``hven schedule``: how the site is, and when its collections follow their sources."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app._cli import rule_history as quality
from hven.app._cli.context import moment, settings, show_json, show_table, size, spelled
from hven.app._cli.context import site as open_site
from hven.engines import Live, Snapshot
from hven.ingest import stale
from hven.jobs.health import Health
from hven.model.resource import span
from hven.site.serving import serving
from hven.site.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hven.jobs.health import Followed, Picture
    from hven.model.table import Table
    from hven.site import Published, Site
    from hven.site.store import Alert, Schedule

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]
NEVER_RUN = ("scheduler", "schedule ")  # begins the names of leases that are no work on a collection

schedule = typer.Typer(no_args_is_help=True)


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show what is published, how fresh it is, and what is wrong."""
    with open_site(context) as site:
        current = site.current()
        tables = _tables(site)
        health = Health(site)
        away = [health.hiding().text(problem) for problem in site.away()]
        picture = health.picture(patience=None)
        checks = health.checks(picture)
        problems = [*picture.problems, *(problem for problem in away if problem not in picture.problems)]
        hints = site.hints()
        judged = quality.published(site.store.current()[1])
        old = stale(site.store.current()[1])
        running = [
            {
                "name": lease.name,
                "what": lease.what,
                "holder": lease.holder,
                "process": lease.shown,
                "since": lease.since,
            }
            for lease in site.store.leases.all()
            if not lease.name.startswith(NEVER_RUN)
        ]
    told = [
        {"name": check.name, "state": check.state, "message": check.message, "reason": check.reason} for check in checks
    ]
    servers = serving(settings(context))
    if as_json:
        show_json(
            {
                "tables": tables,
                "collections": [item.to_json() for item in picture.collections],
                "problems": problems,
                "checks": told,
                "alerts": [_alert(item) for item in picture.alerts],
                "stale": old,
                "hints": hints,
                "quality": {name: one.to_json() for name, one in judged.items()},
                "running": running,
                "scheduler": picture.scheduler,
                "servers": [asdict(one) for one in servers],
                "variant": settings(context).variant,
                "version": current.version,
            }
        )
        return
    _show_tables(context, tables)
    if any(item.timing is not None for item in picture.collections):
        print()
        _show_collections(picture)
    _show_troubles(picture.collections)
    for server in {(one.problem, one.waiting): one for one in servers}.values():  # not a line for each of its processes
        if server.problem:
            print(f"warning: {server.shown}: {server.problem}")
        if server.waiting:
            print(f"restart needed: {', '.join(server.waiting)} changed in hven.toml since {server.shown} began")
    for line in quality.lines(judged):
        print(line)
    for lease in running:
        print(f"running: {lease['what']} by {lease['process']} since {moment(lease['since'])}")
    for check in told:
        if check["state"] != "ok":
            print(f"{check['state']}: {check['name']}: {check['message'] or check['reason']}")
    for problem in problems:
        print(f"problem: {problem}")
    for line in old:
        print(f"stale: {line}")
    for item in picture.alerts:
        if item.undelivered:
            print(f"alert not delivered: {item.message} ({item.undelivered})")
    for hint in hints:
        print(f"hint: {hint}")


def _tables(site: Site) -> list[dict[str, Any]]:
    return [
        {
            "table": item.table.qualified,
            "rows": item.rows,
            "bytes": item.bytes,
            "updated": item.updated,
            "access": describe_access(item, site.current().published),
            "engine": item.relation.engine if isinstance(item.relation, Snapshot | Live) else None,
            "kind": "view" if item.table.view else "live" if isinstance(item.relation, Live) else "table",
            "estimate": item.relation.rows if isinstance(item.relation, Live) else None,
        }
        for item in sorted(site.current().published.values(), key=lambda item: item.table.qualified)
    ]


_GROUP = re.compile(r"\s*'((?:[^']|'')+)'\s+in\s+groups\s*", re.IGNORECASE)


def describe_access(item: Published, published: Mapping[str, Published]) -> str:
    """Say in a few words who sees the rows of a table, besides the site's owner in the shell.

    Parameters
    ----------
    item
        The table.
    published
        All that is published: a view is seen as the tables are that it reads.
    """
    words = [_describe_table(item.table)]
    words += [f"as {name}" for name in item.reads if name in published and _describe_table(published[name].table) != words[0]]  # fmt: skip
    if words[0] == "public" and len(words) > 1:
        del words[0]
    if item.resource is None:
        words.append("no descriptor, so no page")
    return "; ".join(words)


def _describe_table(table: Table) -> str:
    if table.access == "private":
        return "nobody"
    words = [f"members of {table.project}" if table.access == "members" else ""]
    levels = table.policy
    if levels is not None and levels.rows is not None:
        group = _GROUP.fullmatch(levels.rows)
        words.append(f"group {group[1]}" if group is not None else f"conditions: {levels.rows}")
    known = ", ".join(one for one in words if one) or "public"
    files = levels and (levels.take or levels.files)
    return f"{known}; files, conditions: {files}" if files else known


def _show_tables(context: typer.Context, rows: list[dict[str, Any]]) -> None:
    if not rows:
        print(
            f"Nothing is published yet. {spelled(context, 'new NAME --from FILE')} writes a descriptor; "
            f"{spelled(context, 'ingest NAME')} publishes it."
        )
        return
    show_table(
        ["table", "rows", "size", "updated", "engine", "access"],
        [
            [
                row["table"] + _KINDS[row["kind"]],
                _rows(row),
                size(row["bytes"]) if row["kind"] != "live" else "",
                moment(row["updated"]),
                row["engine"] or "",
                row["access"],
            ]
            for row in rows
        ],
    )


def _show_collections(picture: Picture) -> None:
    """Show those that follow their sources by themselves, and say who runs the schedule."""
    shown = [item for item in picture.collections if item.timing is not None]
    if not shown:
        return
    show_table(
        ["collection", "state", "last good sync", "seen up to", "all read", "schedule", "next"],
        [
            [
                item.collection,
                item.state + (", running" if item.running else ""),
                f"{span(item.lag)} ago" if item.lag is not None else "",
                item.modified,
                _ago(item.read),
                item.timing,
                item.state if item.held or item.paused else moment(item.next),
            ]
            for item in shown
        ],
    )
    if picture.scheduler is None:
        print("no server runs the schedule: hven serve, or hven work")


def _show_troubles(collections: Iterable[Followed]) -> None:
    """Print which do not follow their sources, and why."""
    for one in collections:
        if one.failures:
            which = (
                f"the last run ({moment(one.ended or one.started)})"
                if one.timing is None
                else f"{one.failures} in a row"
            )
            print(f"failed: {one.collection}, {which}: {one.message or 'it was stopped'}")
        if one.held or one.paused:
            print(f"{one.state}: {one.collection}, since {moment(one.held or one.paused)}: {one.reason}")


def _ago(at: str | None) -> str:
    """Format how long ago a time was."""
    if at is None:
        return ""
    then = datetime.fromisoformat(at)
    return f"{span(max((datetime.now(UTC) - (then if then.tzinfo else then.replace(tzinfo=UTC))).total_seconds(), 0.0))} ago"


def _alert(item: Alert) -> dict[str, Any]:
    return {
        "at": item.at,
        "collection": item.collection,
        "kind": item.kind,
        "message": item.message,
        "undelivered": item.undelivered,
    }


_KINDS = {"view": " (view)", "live": " (live)", "table": ""}


def _rows(row: dict[str, Any]) -> object:
    """Write the number of rows; that of a table which is read in place is its database's estimate."""
    return row["rows"] if row["estimate"] is None else f"about {row['estimate']:,}"


@schedule.command("list")
def listed(context: typer.Context, as_json: Json = False) -> None:
    """Show the schedule."""
    with open_site(context) as site:
        picture = Health(site).picture(patience=None)
    shown: list[Followed] = [item for item in picture.collections if item.timing is not None]
    if as_json:
        show_json([item.to_json() for item in shown])
        return
    if not shown:
        print("No collection follows its source by itself: say `sync: {every: 1 h}` in a descriptor.")
        return
    _show_collections(picture)
    _show_troubles(shown)


@schedule.command("run")
def run(context: typer.Context, name: Name) -> None:
    """Let the server synchronise a collection now, whatever its time."""
    _change(context, name, lambda row, now: replace(row, asked=now))
    print(f"{name} is next")


@schedule.command("pause")
def pause(context: typer.Context, name: Name) -> None:
    """Pause a collection's schedule, until resume; a run that has begun goes on."""
    _change(context, name, lambda row, now: replace(row, paused=now, asked=None))
    print(f"{name} rests")


@schedule.command("resume")
def resume(context: typer.Context, name: Name) -> None:
    """Resume a collection's schedule, after a pause or a rollback; what it missed is made up once."""
    _change(context, name, lambda row, _: replace(row, paused=None), resume=True)
    print(f"{name} goes on")


def _change(
    context: typer.Context, name: str, step: Callable[[Schedule, float], Schedule], *, resume: bool = False
) -> None:
    found = settings(context)
    store = Store(found.var, found.store)
    try:
        if resume and store.resume(name) and name not in store.schedules.all()[1]:
            return
        store.schedules.get(name)  # tells what to do if there is none
        store.schedules.change(name, lambda row, now: (None if row is None else step(row, now), ()))
    finally:
        store.close()
