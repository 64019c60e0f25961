"""``hven ingest``, ``history``, ``rollback``, ``remove``: what is published, and since when."""

from __future__ import annotations

import shutil
import sys
import time
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from hven import ingest as ingest_package
from hven.app._cli.context import format_command, format_size, format_time, open_site, show_json, show_table
from hven.app._cli.progress import ProgressBar
from hven.app._cli.rule_history import show_trend
from hven.jobs import run_results, schedule_planning
from hven.model.errors import ConflictError, NotFoundError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.ingest import IngestReport
    from hven.model.resource import Recurrence
    from hven.site import Site

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]
T = TypeVar("T")
RUN_WAIT_SECONDS = 60.0  # seconds for a run under way to end: one of a schedule takes some


def ingest(
    context: typer.Context,
    name: Name,
    sample_rows: Annotated[
        int | None,
        typer.Option("--sample", min=1, help="Read and publish only so many rows of each source: a first look."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read, map and check everything; publish nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read a collection's sources, check the rows, and publish them."""
    with open_site(context) as site, ProgressBar(quiet=as_json) as progress:

        def run_ingest() -> IngestReport:
            return ingest_package.ingest_collection(
                site, name, sample_rows=sample_rows, dry_run=dry_run, progress=progress
            )

        if dry_run or sample_rows is not None:
            report = run_ingest()
        else:
            report = run_results.run_and_record(site, name, run_ingest)
        published_tables = site.get_published_state().tables_by_name.values() if not dry_run else ()
        if any(
            published_table.table.series for published_table in published_tables if published_table.table.schema == name
        ):  # loaded as verbs are: by few
            resolve_name("hven.services.pyramid_building:build_missing_pyramids")(site, name)
        recurrence = _find_schedule(site, name)
    if as_json:
        show_json(report.to_json())
        return
    print(report.format_text())
    if sample_rows is not None and not dry_run and recurrence is not None:
        print(
            f"its schedule ({recurrence}) publishes all rows: "
            f"{format_command(context, 'schedule pause', name)} keeps it from that"
        )


def history(
    context: typer.Context,
    name: Name,
    show_rules: Annotated[
        bool, typer.Option("--rules", help="Show instead how many rows broke each rule that has a flag, run by run.")
    ] = False,
    max_runs: Annotated[int, typer.Option("--last", metavar="N", min=1, help="With --rules: so many runs.")] = 20,
    as_json: Json = False,
) -> None:
    """Show a collection's snapshots, runs and moves, newest first."""
    if show_rules:
        with open_site(context) as site:
            row_limit = max(500, max_runs)
            done_runs = site.store.runs.list_runs(name, row_limit=row_limit)
        show_trend(name, done_runs, max_runs, as_json=as_json)
        return
    with open_site(context) as site:
        _, published_ids = site.store.read_pointers()
        records = site.store.list_snapshots(name)
        events = site.store.list_events(name)
        runs = site.store.runs.list_runs(name)
        if not records and not runs:
            raise NotFoundError(
                f"there is no collection {name!r} in the system state", remedy="hven status lists what is published"
            )
        snapshots: list[dict[str, Any]] = [
            {
                "snapshot": record.id,
                "table": record.table.qualified_name,
                "rows": record.snapshot.rows,
                "bytes": record.snapshot.bytes,
                "created": record.created,
                "run": record.run,
                "published": published_ids.get(record.table.qualified_name) == record.id,
            }
            for record in records
        ]
    move_facts: list[dict[str, Any]] = [
        {"at": event.at, "action": event.action, "run": event.run, "state": dict(event.state)} for event in events
    ]
    run_facts: list[dict[str, Any]] = [
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
        show_json({"snapshots": snapshots, "events": move_facts, "runs": run_facts})
        return
    show_table(
        ["", "snapshot", "table", "rows", "size", "created"],
        [
            [
                "*" if s["published"] else "",
                s["snapshot"],
                s["table"],
                s["rows"],
                format_size(s["bytes"]),
                format_time(s["created"]),
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
                _format_run_kind(run),
                run["phase"],
                format_time(run["started"]),
                format_time(run["ended"]),
                run["message"] or _summarize_changes(run),
            ]
            for run in run_facts
        ],
        title="Runs",
    )
    print()
    show_table(
        ["at", "action", "tables"],
        [
            [
                format_time(move["at"]),
                move["action"],
                ", ".join(f"{table} {now}" for table, now in move["state"].items()),
            ]
            for move in move_facts
        ],
        title="Moves",
    )


def _format_run_kind(run: dict[str, Any]) -> str:
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
        old_state = _find_snapshots(site, name)

        def roll_back() -> dict[str, str]:
            if snapshot is None and _find_snapshots(site, name) != old_state:
                raise UserError(
                    f"{name} was published again meanwhile, so that the state before is another one",
                    remedy=f"{format_command(context, 'history', name.partition('.')[0])} shows where to go: "
                    f"{format_command(context, 'rollback', name, 'SNAPSHOT')}",
                )
            return site.store.roll_back(name, snapshot)

        page_context = _retry_until_free(roll_back)
        if name in site.store.list_held_collections():
            held_name = name
        else:
            held_name = name.partition(".")[0]
        recurrence = _find_schedule(site, held_name)
    if as_json:
        show_json(page_context)
        return
    for table, now in page_context.items():
        print(f"{table} is now at {now}")
    if recurrence:
        schedule_text = f"its schedule ({recurrence}) rests"
    else:
        schedule_text = "nothing else changes it"
    print(
        f"{held_name} is held there: {schedule_text}, until {format_command(context, 'sync', held_name)} or "
        f"{format_command(context, 'schedule resume', held_name)}"
    )


def _retry_until_free(action: Callable[[], T]) -> T:
    """Retry until the run under way has ended: who wants to go back shall not have to be quicker than a schedule."""
    give_up_time = time.monotonic() + RUN_WAIT_SECONDS
    is_announced = False
    while True:
        try:
            return action()
        except ConflictError as error:
            if time.monotonic() > give_up_time:
                raise
            if not is_announced:
                print(f"waiting: {error.message}", file=sys.stderr)
            is_announced = True
        time.sleep(0.1)


def _find_snapshots(site: Site, name: str) -> dict[str, str]:
    """Look up the snapshots of a collection or table."""
    return {
        table: record.id
        for table, record in site.store.read_published_records()[1].items()
        if name in {table, record.collection}
    }


def move(
    context: typer.Context,
    name: Name,
    engine_name: Annotated[str, typer.Option("--to", metavar="ENGINE", help="duckdb (embedded) or postgres.")],
    as_json: Json = False,
) -> None:
    """Move a collection's rows to another engine."""
    with open_site(context) as site:
        moved_records = ingest_package.move_collection(site, name, engine_name)
        resource = site.get_published_state().resources.get(name)
        configured_engine = (resource.engine if resource is not None else None) or site.engines.default_engine
        recurrence = _find_schedule(site, name)
    if as_json:
        show_json(
            {"moved": {record.table.qualified_name: record.id for record in moved_records}, "engine": engine_name}
        )
        return
    for record in moved_records:
        print(f"{record.table.qualified_name}: {record.snapshot.rows:,} rows are in {engine_name} now")
    if not moved_records:
        print(f"{name} is in {engine_name} already")
    if configured_engine != engine_name:
        if recurrence:
            run = f"sync or ingest (schedule: {recurrence})"
        else:
            run = "sync or ingest"
        print(
            f"the next {run} puts it into {configured_engine} again, unless its descriptor says `engine: {engine_name}`"
        )


def remove(
    context: typer.Context,
    name: Name,
    purge_data: Annotated[bool, typer.Option("--purge", help="Also delete its snapshots.")] = False,
    as_json: Json = False,
) -> None:
    """Publish a collection no more; its data are kept until --purge."""
    with open_site(context) as site:
        resolve_name("hven.services.doi_minting:keep_tombstone")(site, name)  # loaded as verbs are: by few
        removed_tables = _retry_until_free(lambda: site.store.unpublish_collection(name))
        if purge_data:
            dropped = site.store.delete_unpinned_snapshots(name)
        else:
            dropped = []
        troubles = site.engines.drop_snapshots(dropped)
        if purge_data:
            ingest_package.delete_sync_data(site, name)
            for made_directory in ("hips", "cubes", "prepared"):
                shutil.rmtree(site.settings.var_directory / made_directory / name, ignore_errors=True)
    if as_json:
        show_json({"removed": removed_tables, "purged": [snapshot.id for snapshot in dropped]})
        return
    print(f"{', '.join(removed_tables) or name}: published no more")
    if purge_data:
        print(f"{len(dropped)} snapshots deleted")
        for trouble in troubles:
            print(f"warning: {trouble}")
    else:
        print(
            f"the data are kept: {format_command(context, 'rollback', name)} brings them back, "
            f"{format_command(context, 'remove', name, '--purge')} deletes them"
        )


def _find_schedule(site: Site, name: str) -> Recurrence | None:
    """Look up the schedule of a collection, if it has one."""
    resource = site.get_published_state().resources.get(name)
    try:
        if resource is None:
            return None
        return schedule_planning.build_recurrence(resource)
    except ValueError:  # check and status tell that
        return None


def _summarize_changes(run: dict[str, Any]) -> str:
    """Summarize what a sync changed: ``main +3 ~1 -2``."""
    if run["kind"] != "sync" or run["phase"] != "COMPLETED":
        return ""
    table_changes = []
    for name, counts in run["changes"].items():
        signs = " ".join(
            f"{sign}{counts[key]:,}"
            for sign, key in (("+", "added"), ("~", "changed"), ("-", "removed"))
            if counts.get(key)
        )
        if signs or counts.get("new"):
            table_changes.append(f"{name.partition('.')[2]} {'all new' if counts.get('new') else signs}")
    return "; ".join(table_changes) or "no change"
