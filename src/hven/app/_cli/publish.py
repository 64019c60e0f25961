"""``hven ingest``, ``history``, ``rollback``, ``remove``: what is published, and since when."""

from __future__ import annotations

import shutil
import sys
import time
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from hven import ingest as room
from hven.app._cli.context import moment, show_json, show_table, size, spelled
from hven.app._cli.context import site as open_site
from hven.app._cli.progress import Progress
from hven.app._cli.rule_history import show_trend
from hven.jobs import operations, planning
from hven.model.errors import Conflict, NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.ingest import Report
    from hven.model.resource import Timing
    from hven.site import Site

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]
T = TypeVar("T")
PATIENCE = 60.0  # seconds for a run under way to end: one of a schedule takes some


def ingest(
    context: typer.Context,
    name: Name,
    sample: Annotated[
        int | None,
        typer.Option("--sample", min=1, help="Read and publish only so many rows of each source: a first look."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read, map and check everything; publish nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read a collection's sources, check the rows, and publish them."""
    with open_site(context) as site, Progress(quiet=as_json) as progress:

        def run() -> Report:
            return room.ingest(site, name, sample=sample, dry_run=dry_run, progress=progress)

        report = run() if dry_run or sample is not None else operations.counted(site, name, run)
        listed = site.current().published.values() if not dry_run else ()
        if any(one.table.series for one in listed if one.table.schema == name):  # loaded as verbs are: by few
            resolve_name("hven.services.reducing:reduce")(site, name)
        timing = _schedule(site, name)
    if as_json:
        show_json(report.to_json())
        return
    print(report.text())
    if sample is not None and not dry_run and timing is not None:
        print(
            f"its schedule ({timing}) publishes all rows: {spelled(context, 'schedule pause', name)} keeps it from that"
        )


def history(
    context: typer.Context,
    name: Name,
    rules: Annotated[
        bool, typer.Option("--rules", help="Show instead how many rows broke each rule that has a flag, run by run.")
    ] = False,
    last: Annotated[int, typer.Option("--last", metavar="N", min=1, help="With --rules: so many runs.")] = 20,
    as_json: Json = False,
) -> None:
    """Show a collection's snapshots, runs and moves, newest first."""
    if rules:
        with open_site(context) as site:
            done_runs = site.store.runs.of(name, limit=max(500, last))
        show_trend(name, done_runs, last, as_json=as_json)
        return
    with open_site(context) as site:
        _, present = site.store.pointers()
        records = site.store.snapshots(name)
        events = site.store.history(name)
        runs = site.store.runs.of(name)
        if not records and not runs:
            raise NotFound(
                f"there is no collection {name!r} in the system state", remedy="hven status lists what is published"
            )
        snapshots: list[dict[str, Any]] = [
            {
                "snapshot": record.id,
                "table": record.table.qualified,
                "rows": record.snapshot.rows,
                "bytes": record.snapshot.bytes,
                "created": record.created,
                "run": record.run,
                "published": present.get(record.table.qualified) == record.id,
            }
            for record in records
        ]
    moves: list[dict[str, Any]] = [
        {"at": event.at, "action": event.action, "run": event.run, "state": dict(event.state)} for event in events
    ]
    done: list[dict[str, Any]] = [
        {
            "run": run.id,
            "kind": run.kind,
            "phase": run.phase,
            "started": run.started,
            "ended": run.ended,
            "message": run.message,
            "dry_run": bool(run.summary.get("dry_run")),
            "sample": run.summary.get("sample"),
            "changes": run.summary.get("changes", {}),
        }
        for run in runs
    ]
    if as_json:
        show_json({"snapshots": snapshots, "events": moves, "runs": done})
        return
    show_table(
        ["", "snapshot", "table", "rows", "size", "created"],
        [
            [
                "*" if s["published"] else "",
                s["snapshot"],
                s["table"],
                s["rows"],
                size(s["bytes"]),
                moment(s["created"]),
            ]
            for s in snapshots
        ],
        title="Snapshots (* = published)",
    )
    print()
    show_table(
        ["run", "kind", "phase", "started", "ended", "message"],
        [
            [
                run["run"],
                _kind(run),
                run["phase"],
                moment(run["started"]),
                moment(run["ended"]),
                run["message"] or _changes(run),
            ]
            for run in done
        ],
        title="Runs",
    )
    print()
    show_table(
        ["at", "action", "tables"],
        [
            [moment(move["at"]), move["action"], ", ".join(f"{table} {now}" for table, now in move["state"].items())]
            for move in moves
        ],
        title="Moves",
    )


def _kind(run: dict[str, Any]) -> str:
    """Name the kind of a run: ingest, ingest (dry), ingest (sample 100)."""
    if run["dry_run"]:
        return f"{run['kind']} (dry)"
    return f"{run['kind']} (sample {run['sample']})" if run["sample"] else run["kind"]


def rollback(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection, or one table as schema.table.")],
    snapshot: Annotated[
        str | None, typer.Argument(metavar="SNAPSHOT", help="Where to go back to (default: the state before).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Publish an earlier snapshot again."""
    with open_site(context) as site:
        before = _state(site, name)

        def back() -> dict[str, str]:
            if snapshot is None and _state(site, name) != before:
                raise UserError(
                    f"{name} was published again meanwhile, so that the state before is another one",
                    remedy=f"{spelled(context, 'history', name.partition('.')[0])} shows where to go: {spelled(context, 'rollback', name, 'SNAPSHOT')}",
                )
            return site.store.rollback(name, snapshot)

        state = _patiently(back)
        held = name if name in site.store.held() else name.partition(".")[0]
        timing = _schedule(site, held)
    if as_json:
        show_json(state)
        return
    for table, now in state.items():
        print(f"{table} is now at {now}")
    what = f"its schedule ({timing}) rests" if timing else "nothing else changes it"
    print(
        f"{held} is held there: {what}, until {spelled(context, 'sync', held)} or {spelled(context, 'schedule resume', held)}"
    )


def _patiently(do: Callable[[], T]) -> T:
    """Retry until the run under way has ended: who wants to go back shall not have to be quicker than a schedule."""
    end, told = time.monotonic() + PATIENCE, False
    while True:
        try:
            return do()
        except Conflict as error:
            if time.monotonic() > end:
                raise
            if not told:
                print(f"waiting: {error.message}", file=sys.stderr)
            told = True
        time.sleep(0.1)


def _state(site: Site, name: str) -> dict[str, str]:
    """Look up the snapshots of a collection or table."""
    return {table: one.id for table, one in site.store.current()[1].items() if name in {table, one.collection}}


def move(
    context: typer.Context,
    name: Name,
    to: Annotated[str, typer.Option("--to", metavar="ENGINE", help="duckdb (embedded) or postgres.")],
    as_json: Json = False,
) -> None:
    """Move a collection's rows to another engine."""
    with open_site(context) as site:
        made = room.move(site, name, to)
        resource = site.current().resources.get(name)
        wanted = (resource.engine if resource is not None else None) or site.engines.default
        timing = _schedule(site, name)
    if as_json:
        show_json({"moved": {record.table.qualified: record.id for record in made}, "engine": to})
        return
    for record in made:
        print(f"{record.table.qualified}: {record.snapshot.rows:,} rows are in {to} now")
    if not made:
        print(f"{name} is in {to} already")
    if wanted != to:
        run = f"sync or ingest (schedule: {timing})" if timing else "sync or ingest"
        print(f"the next {run} puts it into {wanted} again, unless its descriptor says `engine: {to}`")


def remove(
    context: typer.Context,
    name: Name,
    purge: Annotated[bool, typer.Option("--purge", help="Also delete its snapshots.")] = False,
    as_json: Json = False,
) -> None:
    """Publish a collection no more; its data are kept until --purge."""
    with open_site(context) as site:
        resolve_name("hven.services.minting:keep_tombstone")(site, name)  # loaded as verbs are: by few
        gone = _patiently(lambda: site.store.remove(name))
        dropped = site.store.purge(name) if purge else []
        troubles = site.engines.drop(dropped)
        if purge:
            room.forget(site, name)
            for made in ("hips", "cubes", "prepared"):
                shutil.rmtree(site.settings.var / made / name, ignore_errors=True)
    if as_json:
        show_json({"removed": gone, "purged": [snapshot.id for snapshot in dropped]})
        return
    print(f"{', '.join(gone) or name}: published no more")
    if purge:
        print(f"{len(dropped)} snapshots deleted")
        for trouble in troubles:
            print(f"warning: {trouble}")
    else:
        print(
            f"the data are kept: {spelled(context, 'rollback', name)} brings them back, {spelled(context, 'remove', name, '--purge')} deletes them"
        )


def _schedule(site: Site, name: str) -> Timing | None:
    """Look up the schedule of a collection, if it has one."""
    resource = site.current().resources.get(name)
    try:
        return None if resource is None else planning.timing_of(resource)
    except ValueError:  # check and status tell that
        return None


def _changes(run: dict[str, Any]) -> str:
    """Summarize what a sync changed: ``main +3 ~1 -2``."""
    if run["kind"] != "sync" or run["phase"] != "COMPLETED":
        return ""
    told = []
    for name, counts in run["changes"].items():
        signs = " ".join(
            f"{sign}{counts[key]:,}"
            for sign, key in (("+", "added"), ("~", "changed"), ("-", "removed"))
            if counts.get(key)
        )
        if signs or counts.get("new"):
            told.append(f"{name.partition('.')[2]} {'all new' if counts.get('new') else signs}")
    return "; ".join(told) or "no change"
