"""`move`: a collection's rows from one engine to another; the pointers change when everything is there, all at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.ingest import _space as space
from hven.ingest._filling import Progress
from hven.ingest._steps import WAIT, new_id
from hven.model import plugins
from hven.model.errors import HvenError, NotFound, StorageError, UserError
from hven.site.serving import refuse_unread
from hven.site.store import lease_name
from hven.site.store.runs import ABORTED, COMPLETED, ERROR

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.engines import Engine, Snapshot
    from hven.site import Site
    from hven.site.store import Lease, Record


def move(site: Site, name: str, to: str, *, progress: Callable[[Progress], None] | None = None) -> list[Record]:
    """Move what is published of a collection to another engine. What it was in before stays for a rollback, as after an ingest.

    Parameters
    ----------
    site
        Where.
    name
        Of the collection.
    to
        Name of an engine.
    progress
        Called after each batch, from this thread.

    Returns
    -------
    list of Record
        The tables that were moved; empty if all are there already.

    Raises
    ------
    NotFound
        Nothing of the collection is published.
    UserError
        No engine is called so.
    Conflict
        The collection is being ingested, or a running server cannot read that engine.
    StorageError
        One of the engines fails; what was published stays.
    """
    if to not in plugins.names("engines"):
        raise UserError(f"no engine is called {to!r}", remedy=f"known: {', '.join(plugins.names('engines'))}")
    target = site.engines.get(to)  # what this command itself lacks is said first
    refuse_unread(site.settings, site.store, to)
    run = new_id()
    with site.store.leases.held(lease_name(name), what=f"the move of {name}") as lease:
        records = [record for record in site.store.current()[1].values() if record.collection == name]
        if not records:
            raise NotFound(f"nothing of {name!r} is published", remedy="hven status lists what is")
        if all(record.snapshot.engine == to for record in records):
            return []
        site.store.runs.mark_dead(name)
        space.sweep(site)
        site.store.runs.begin(run, name, "move")
        phase, message = ERROR, None
        try:
            moved = _moved(site, name, records, target, run, lease, progress)
            phase = COMPLETED
        except HvenError as error:
            message = str(error)
            raise
        except BaseException as error:
            phase, message = ABORTED, f"stopped: {type(error).__name__}"
            raise
        finally:
            site.store.runs.end(run, phase, message=message, summary={"to": to})
    space.prune(site, name)
    return moved


def _moved(
    site: Site,
    name: str,
    records: list[Record],
    target: Engine,
    run: str,
    lease: Lease,
    progress: Callable[[Progress], None] | None,
) -> list[Record]:
    made: list[Record] = []
    published = False
    try:
        for record in records:
            if record.snapshot.engine != target.name:
                snapshot = _copied(site.engines.of(record.snapshot), target, record, progress)
                moves = [
                    *record.provenance.get("moved", ()),
                    {"from": record.id, "engine": record.snapshot.engine, "run": run},
                ]
                made.append(
                    replace(record, snapshot=snapshot, run=run, provenance={**record.provenance, "moved": moves})
                )
        names = {record.table.qualified for record in made}
        stay = [record for record in records if record.table.qualified not in names]
        with space.files_lease(site, wait=WAIT):
            site.store.publish(name, [*made, *stay], run=run, lease=lease, same=True)
            published = True
            for record in made:
                target.published(record.snapshot)
    except BaseException:
        if not published:
            site.engines.drop(record.snapshot for record in made)
        raise
    site.refresh()
    return made


def _copied(source: Engine, target: Engine, record: Record, progress: Callable[[Progress], None] | None) -> Snapshot:
    """Stage the rows of a snapshot in another engine; every row must arrive."""
    schema = record.table.arrow
    staging = target.stage(record.table, new_id())
    try:
        done = 0
        for batch in source.read(record.snapshot):
            staging.write(batch.select(schema.names).cast(schema))
            done += batch.num_rows
            if progress is not None:
                progress(
                    Progress(
                        table=record.table.qualified, step="move", rows=done, done=done, total=record.snapshot.rows
                    )
                )
        snapshot = replace(staging.finish(), engine=target.name)
    except BaseException:
        staging.abandon()
        raise
    if snapshot.rows != record.snapshot.rows:
        target.drop(snapshot)
        raise StorageError(
            f"{record.table.qualified} has {record.snapshot.rows:,} rows, of which {snapshot.rows:,} arrived in {target.name}",
            remedy="nothing was changed; look for a fault of the disk, and report it",
        )
    return snapshot
