"""``hven ingest``, ``history``, ``rollback``, ``move``, ``remove``: publish collections, and undo it."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from hven.app._cli.context import format_command, format_size, format_time, open_site, print_json, print_table
from hven.app._cli.progress import IngestProgressBar
from hven.app._cli.rule_history import show_rule_trend
from hven.ingest.api.runs import (
    delete_collection_sync_data,
    execute_steps_after_publication,
    execute_steps_before_removal,
    ingest_collection,
    move_collection_to_engine,
)
from hven.jobs import run_results, schedule_planning
from hven.model.errors import ConflictError, NotFoundError, UserError
from hven.model.plugins import list_installed_packages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.ingest.api.runs import IngestReport
    from hven.model.resource import Recurrence
    from hven.site import Site
    from hven.site.store import SnapshotRecord
    from hven.site.store.ingest_runs import IngestRun

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]
T = TypeVar("T")
RUN_WAIT_SECONDS = 60.0  # time that a run under way gets to end; a scheduled one may take some seconds


def ingest(
    context: typer.Context,
    name: Name,
    sample_rows: Annotated[
        int | None,
        typer.Option(
            "--sample", min=1, help="Read and publish only this number of rows of each source, for a first look."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read, map and check everything, but publish nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read a collection's sources, check the rows, and publish them."""
    with open_site(context) as site, IngestProgressBar(quiet=as_json) as progress:

        def run_ingest() -> IngestReport:
            return ingest_collection(site, name, sample_rows=sample_rows, dry_run=dry_run, progress=progress)

        if dry_run or sample_rows is not None:
            report = run_ingest()
        else:
            report = run_results.run_and_record_sync(site, name, run_ingest)
        if not dry_run:
            execute_steps_after_publication(site, name)
        recurrence = _find_sync_schedule(site, name)
    if as_json:
        print_json(report.to_json())
        return
    print(report.format_text())
    if sample_rows is not None and not dry_run and recurrence is not None:
        pause_command = format_command(context, "schedule pause", name)
        print(f"the next scheduled run ({recurrence}) publishes all rows; to prevent this, run: {pause_command}")


def history(
    context: typer.Context,
    name: Name,
    show_rules: Annotated[
        bool, typer.Option("--rules", help="Show for each run how many rows broke each rule that has a flag.")
    ] = False,
    max_runs: Annotated[
        int, typer.Option("--last", metavar="N", min=1, help="With --rules: maximum number of runs.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """Show a collection's snapshots, runs and moves, newest first."""
    if show_rules:
        with open_site(context) as site:
            row_limit = max(500, max_runs)
            runs = site.store.runs.list_runs(name, row_limit=row_limit)
        show_rule_trend(name, runs, max_runs, as_json=as_json)
        return
    with open_site(context) as site:
        _, published_ids = site.store.read_published_snapshot_ids()
        records = site.store.list_snapshots(name)
        events = site.store.list_publication_events(name)
        runs = site.store.runs.list_runs(name)
    if not records and not runs:
        raise NotFoundError(
            f"there is no collection {name!r} in the system state", remedy="run `hven status` to see what is published"
        )
    snapshot_facts = [_snapshot_to_json(record, published_ids) for record in records]
    move_facts: list[dict[str, Any]] = [
        {"at": event.at, "action": event.action, "run": event.run, "state": dict(event.state)} for event in events
    ]
    run_facts = [_run_to_json(run) for run in runs]
    if as_json:
        print_json({"snapshots": snapshot_facts, "events": move_facts, "runs": run_facts})
        return
    _show_snapshots(snapshot_facts)
    print()
    _show_runs(run_facts)
    print()
    _show_publication_events(move_facts)


def _snapshot_to_json(record: SnapshotRecord, published_ids: Mapping[str, str]) -> dict[str, Any]:
    table_name = record.table.qualified_name
    return {
        "snapshot": record.id,
        "table": table_name,
        "rows": record.snapshot.rows,
        "bytes": record.snapshot.bytes,
        "created": record.created,
        "run": record.run,
        "published": published_ids.get(table_name) == record.id,
    }


def _run_to_json(run: IngestRun) -> dict[str, Any]:
    return {
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


def _show_snapshots(snapshot_facts: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            "*" if facts["published"] else "",
            facts["snapshot"],
            facts["table"],
            facts["rows"],
            format_size(facts["bytes"]),
            format_time(facts["created"]),
        )
        for facts in snapshot_facts
    ]
    headings = ["", "snapshot", "table", "rows", "size", "created"]
    print_table(headings, rows, title="Snapshots (* = published)")


def _show_runs(run_facts: Sequence[dict[str, Any]]) -> None:
    rows = [
        (
            facts["run"],
            _format_run_kind(facts),
            facts["phase"],
            format_time(facts["started"]),
            format_time(facts["ended"]),
            facts["message"] or _summarize_sync_changes(facts),
        )
        for facts in run_facts
    ]
    print_table(["run", "kind", "phase", "started", "ended", "message"], rows, title="Runs")


def _show_publication_events(event_facts: Sequence[Mapping[str, Any]]) -> None:
    rows = []
    for facts in event_facts:
        tables = ", ".join(f"{table} {snapshot}" for table, snapshot in facts["state"].items())
        rows.append((format_time(facts["at"]), facts["action"], tables))
    print_table(["at", "action", "tables"], rows, title="Moves")


def _format_run_kind(run_facts: dict[str, Any]) -> str:
    """Format the kind of a run: ``ingest``, ``ingest (dry)`` or ``ingest (sample 100)``."""
    kind: str = run_facts["kind"]
    if run_facts["dry_run"]:
        return f"{kind} (dry)"
    if run_facts["sample"]:
        return f"{kind} (sample {run_facts['sample']})"
    return kind


def rollback(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection, or one table as schema.table.")],
    snapshot: Annotated[
        str | None, typer.Argument(metavar="SNAPSHOT", help="The snapshot to publish (default: the previous state).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Publish an earlier snapshot again."""
    with open_site(context) as site:
        old_state = _find_published_snapshot_ids(site, name)

        def roll_back() -> dict[str, str]:
            if snapshot is None and _find_published_snapshot_ids(site, name) != old_state:
                history_command = format_command(context, "history", name.partition(".")[0])
                rollback_command = format_command(context, "rollback", name, "SNAPSHOT")
                raise UserError(
                    f"{name} was published again in the meantime, so the previous state has changed",
                    remedy=f"choose a snapshot with {history_command}, and run: {rollback_command}",
                )
            return site.store.roll_back(name, snapshot)

        new_state = _retry_until_unlocked(roll_back)
        if name in site.store.map_hold_start_times():
            held_name = name
        else:
            held_name = name.partition(".")[0]
        recurrence = _find_sync_schedule(site, held_name)
    if as_json:
        print_json(new_state)
        return
    for table_name, snapshot_id in new_state.items():
        print(f"{table_name} is now at {snapshot_id}")
    if recurrence:
        schedule_text = f"its schedule ({recurrence}) is paused"
    else:
        schedule_text = "it has no schedule"
    sync_command = format_command(context, "sync", held_name)
    resume_command = format_command(context, "schedule resume", held_name)
    print(
        f"{held_name} stays in this state; {schedule_text}. To publish new rows now, run: {sync_command}\n"
        f"To end the hold without publishing now, run: {resume_command}"
    )


def _retry_until_unlocked(action: Callable[[], T]) -> T:
    """Run an action as soon as no run is under way on the collection, and return its result.

    A user who wants to roll back should not have to be quicker than a schedule.
    """
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


def _find_published_snapshot_ids(site: Site, name: str) -> dict[str, str]:
    """Return the published snapshot of each table of a collection, or of one table."""
    published_records = site.store.read_published_records()[1]
    return {table: record.id for table, record in published_records.items() if name in {table, record.collection}}


def move(
    context: typer.Context,
    name: Name,
    engine_name: Annotated[
        str, typer.Option("--to", metavar="ENGINE", help=("The new engine: duckdb (embedded) or postgres."))
    ],
    as_json: Json = False,
) -> None:
    """Move a collection's rows to another engine."""
    with open_site(context) as site:
        moved_records = move_collection_to_engine(site, name, engine_name)
        resource = site.get_published_state().resources.get(name)
        configured_engine = site.engines.default_engine
        if resource is not None and resource.engine:
            configured_engine = resource.engine
        recurrence = _find_sync_schedule(site, name)
    if as_json:
        snapshot_ids = {record.table.qualified_name: record.id for record in moved_records}
        print_json({"moved": snapshot_ids, "engine": engine_name})
        return
    for record in moved_records:
        print(f"{record.table.qualified_name}: {record.snapshot.rows:,} rows are now in {engine_name}")
    if not moved_records:
        print(f"{name} is already in {engine_name}")
    if configured_engine != engine_name:
        next_run = "sync or ingest"
        if recurrence:
            next_run = f"sync or ingest (schedule: {recurrence})"
        print(
            f"the next {next_run} moves {name} back to {configured_engine}; to prevent this, add "
            f"`engine: {engine_name}` to the descriptor"
        )


def remove(
    context: typer.Context,
    name: Name,
    purge_data: Annotated[
        bool, typer.Option("--purge", help="Also delete the snapshots that no release needs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Stop publishing a collection; --purge also deletes its data."""
    with open_site(context) as site:
        execute_steps_before_removal(site, name)
        removed_tables = _retry_until_unlocked(lambda: site.store.unpublish_collection(name))
        deleted_snapshots = []
        if purge_data:
            deleted_snapshots = site.store.delete_unreferenced_snapshots(name)
        problems = site.engines.drop_snapshots_and_list_problems(deleted_snapshots)
        if purge_data:
            delete_collection_sync_data(site, name)
            _delete_derived_files(site, name)
    if as_json:
        print_json({"removed": removed_tables, "purged": [snapshot.id for snapshot in deleted_snapshots]})
        return
    print(f"{', '.join(removed_tables) or name}: no longer published")
    if purge_data:
        print(f"{len(deleted_snapshots)} snapshot{'s' if len(deleted_snapshots) != 1 else ''} deleted")
        for problem in problems:
            print(f"warning: {problem}")
    else:
        rollback_command = format_command(context, "rollback", name)
        purge_command = format_command(context, "remove", name, "--purge")
        print(f"the data is kept; to publish it again, run: {rollback_command}\nto delete it, run: {purge_command}")


def _delete_derived_files(site: Site, name: str) -> None:
    """Delete the files that Hven and its plug-in packages have made of a collection."""
    var_directory = site.settings.var_directory
    (var_directory / "prepared" / name).unlink(missing_ok=True)  # marks of prepared files
    for package in list_installed_packages():
        for folder in package.collection_folders:
            shutil.rmtree(var_directory / folder / name, ignore_errors=True)


def _find_sync_schedule(site: Site, name: str) -> Recurrence | None:
    """Return the schedule of a collection; None if it has none, or none that is valid."""
    resource = site.get_published_state().resources.get(name)
    if resource is None:
        return None
    try:
        return schedule_planning.build_recurrence(resource)
    except ValueError:  # `hven check` and `hven status` report it
        return None


def _summarize_sync_changes(run_facts: dict[str, Any]) -> str:
    """Summarize what a sync changed: ``main +3 ~1 -2``."""
    if run_facts["kind"] != "sync" or run_facts["phase"] != "COMPLETED":
        return ""
    table_changes = []
    for name, counts in run_facts["changes"].items():
        change_text = _format_change_counts(counts)
        if change_text:
            table_changes.append(f"{name.partition('.')[2]} {change_text}")
    return "; ".join(table_changes) or "no change"


def _format_change_counts(counts: Mapping[str, Any]) -> str:
    """Format the changes of a table: ``+3 ~1 -2``, ``all new``, or empty if nothing changed."""
    if counts.get("new"):
        return "all new"
    signs_by_key = {"added": "+", "changed": "~", "removed": "-"}
    return " ".join(f"{sign}{counts[key]:,}" for key, sign in signs_by_key.items() if counts.get(key))
