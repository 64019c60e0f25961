"""`push`: rows that a client sends, by the road of every sync: the same mapping, checks, tests, followers and publication; and a journal that keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.descriptor.tables import LISTS, PUSH
from hven.ingest._kept_rows import Kept, Taken, row_state, shown
from hven.ingest._sent_files import Sending, entry_of, path_of, place_of
from hven.ingest._sent_rows import Unfit, completed, read
from hven.ingest._steps import new_id
from hven.ingest._trial import load
from hven.ingest._writing import DELETE, POST, PUT, Refused, Write, Writing, Written, matches, replayed
from hven.model import plugins
from hven.model.errors import Conflict, NotFound, Outdated, Overloaded, ParamError, say
from hven.site.store import Push, lease_name, now
from hven.sources import GONE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.site import Site
    from hven.site.auth import Reader
    from hven.site.store import Lease

WAIT = 20.0  # seconds to wait for another write, or an ingest
UNFOLDED = 5  # times the bytes of a body: what its values may take in memory


def target(site: Site, name: str, path: str = "") -> tuple[Resource, TableSpec, SourceSpec] | None:
    """Find a table that rows, or files, can be pushed into.

    Parameters
    ----------
    site
        Where.
    name
        ``schema.table``, in any case.
    path
        Of a file that is meant.

    Returns
    -------
    found
        Its collection, itself and its source that takes them; None: there is none.
    """
    for resource in site.current().resources.values():
        for spec in resource.tables:
            if spec.table.qualified.lower() == name.lower():
                source = next((one for one in spec.sources if one.kind == PUSH), None) or entry_of(spec, path)
                return None if source is None else (resource, spec, source)
    return None


def may(resource: Resource, source: SourceSpec, who: Reader) -> bool:
    """Check whether somebody may write into a table: by name, by group, or as contributor of its project.

    Parameters
    ----------
    resource
        The collection.
    source
        Of the table, as `target` found it.
    who
        Who asks.

    Returns
    -------
    bool
        Who has no account never may.
    """
    said = source.options.get("writers") or ()
    writers = {said} if isinstance(said, str) else {*said}
    if not writers and resource.project is not None:
        writers = {f"project:{resource.project}:contributor"}
    return who.name is not None and ("owner" in who.groups or who.name in writers or bool(writers & who.groups))


def filed(site: Site, name: str, file: str) -> str:
    """Return the path that a file gets of which a name alone is known.

    Parameters
    ----------
    site
        Where.
    name
        ``schema.table``.
    file
        Without directories.

    Returns
    -------
    path
        In the directory that the pattern of ``files:`` names; of tables that take rows, and of archives: nothing.
    """
    found = target(site, name)
    return path_of(found[1], file) if found is not None and found[2].kind == LISTS else ""


def push(site: Site, name: str, write: Write, who: Reader) -> Written:
    """Write into a table, and publish it.

    Parameters
    ----------
    site
        Where.
    name
        ``schema.table``.
    write
        What is wanted.
    who
        Who wants it, and may (`may`).

    Returns
    -------
    written
        What became of it. It is published, and durable.

    Raises
    ------
    NotFound
        No such table, or no such row.
    SourceError, DataError, TooLarge
        What was sent; nothing was written. `Refused` has the report, `Unfit` the faults.
    Conflict
        A row of that key is there; the Idempotency-Key was used for something else; the collection is held.
    Outdated
        The state is another one than If-Match says.
    Overloaded, Unavailable, StorageError
        Somebody else is at it for long; another source, a database or the disk is not there.
    """
    found = target(site, name, "/".join(write.key or ()))
    if found is None or who.name is None:
        raise NotFound(say("there is no table {name!r:.120} to write to", name))
    kind = _Pushing if found[2].kind == PUSH else Sending
    one = kind(site, found[1], found[0].name, write, who.name)
    one.receive(found[2])
    try:
        with site.store.leases.held(lease_name(found[0].name), what=f"a push into {one.table}", wait=WAIT) as lease:
            return one.under(lease)
    except Conflict as error:
        if isinstance(error, (Taken, Outdated)):
            raise
        raise Overloaded(error.message, remedy="try again later") from error


class _Pushing(Writing):
    """Rows, from what was sent to what is published."""

    sent: pa.Table | None = None

    def receive(self, source: SourceSpec) -> None:
        """Read what was sent: before anybody has to wait for it."""
        write, limits = self.write, self.site.settings.limits
        if write.body is None:
            if write.action != DELETE or write.key is None:
                raise ParamError("nothing was sent", remedy="send rows as JSON, CSV, VOTable, FITS or Parquet")
            return
        schema = plugins.load("sources", PUSH).Options.model_validate(dict(source.options)).schema
        columns = {item.name: item.type for item in schema if item.name != GONE}
        most, size = limits.upload_rows, limits.upload * UNFOLDED
        self.sent = read(write.body, write.media, columns, most=most, size=size, alike=write.action == PUT)
        self.sent = completed(self.sent, write.given, columns)
        if not self.sent.num_rows:
            raise ParamError("there are no rows in what was sent", remedy="send at least one")
        if write.key is not None and self.sent.num_rows != 1:
            raise ParamError(
                say("one row is meant, and {count:,} were sent", self.sent.num_rows),
                remedy="send one, or leave the key out",
            )

    # --- under the collection's lease -----------------------------------------------------------------------------

    def under(self, lease: Lease) -> Written:
        """Do it, while nobody else writes."""
        site = self.site
        resource = load(site, self.collection)
        kept = _kept(site, resource, self.table)
        if (before := self._before(kept)) is not None:
            return before
        self.free()
        record = site.store.current()[1].get(self.table)
        if record is None:
            raise NotFound(say("{table} is not published yet", self.table), remedy="its owner does that: hven ingest")
        made = self._push(kept, record.snapshot.statistics)
        report = self.report(made.run)
        self.publish(resource, report, made, lease)
        if not self.write.dry_run:
            if not report.published:  # what is published shows nothing of it, but it was said
                site.store.pushes.add(made, lease)
            site.store.pushes.compact(self.table, kept.folded, lease)
        told = made.answer
        return Written(
            run=made.run, ids=told["ids"], rows=made.rows, removed=made.removed, state=told["state"], report=report
        )

    # --- what was there, and what is to be there ----------------------------------------------------------------------

    def _before(self, kept: Kept) -> Written | None:
        """Find out whether this was written before."""
        write = self.write
        found = self.site.store.pushes.found(self.table, token=write.token, digest=self.digest)
        if write.token or found is None or write.action != POST:
            return self.again(found)
        return replayed(found) if self._still(kept, found.answer["ids"]) else None

    def _still(self, kept: Kept, ids: Sequence[Any]) -> bool:
        """Check whether the rows of an earlier push are as they are sent now."""
        there, missing = kept.there(kept.listed(ids))
        if self.sent is None or missing.any():
            return False
        names = [name for name in self.sent.column_names if name != kept.ids]
        return bool(there.select(names).equals(self.sent.select(names)))

    def _push(self, kept: Kept, statistics: Mapping[str, Mapping[str, object]]) -> Push:
        """Make the push: its piece, and what is told of it."""
        write = self.write
        if write.key is not None:
            keys = kept.addressed(write.key)
            for name in set(kept.key).intersection(self.sent.column_names if self.sent is not None else ()):
                if self.sent is not None and self.sent.column(name).to_pylist() != keys.column(name).to_pylist():
                    raise ParamError(
                        say("{name} cannot be changed: it names the row", name),
                        remedy="delete the row, and send another one",
                    )
        else:
            assert self.sent is not None  # noqa: S101  (`receive` saw to it)
            largest = statistics.get(kept.ids or "", {}).get("maximum")
            keys = kept.named(self.sent, largest=largest, fresh=write.action == POST)
        there, missing = kept.there(keys)
        self._match(there, missing)
        if write.action == POST and not missing.all():
            raise Taken(say("there is a row {key} already", shown(keys, ~missing)), remedy="PUT changes it")
        if write.action != POST and missing.any():
            raise NotFound(
                say("there is no row {key} that was pushed", shown(keys, missing)),
                remedy="rows of other sources are theirs to change",
            )
        gone = write.action == DELETE
        piece = kept.without(there) if gone else kept.whole(keys, self.sent, None if write.action == POST else there)
        run, count = new_id(), piece.num_rows
        names = keys.column(0).to_pylist() if len(kept.key) == 1 else [list(row.values()) for row in keys.to_pylist()]
        state = row_state(piece) if count == 1 and not gone else run
        return Push(
            run=run,
            table=self.table,
            collection=self.collection,
            at=now(),
            by=self.by,
            action=write.action,
            rows=0 if gone else count,
            removed=count if gone else 0,
            token=write.token,
            digest=self.digest,
            top=kept.top,
            answer={"ids": names, "state": state},
            piece=piece,
        )

    def _match(self, there: pa.Table, missing: Any) -> None:
        """Compare what is there with what the client believes (RFC 9110, 13.1.1)."""
        match = self.write.match
        if match is None:
            return
        if self.write.key is not None:
            state = "" if missing.any() else row_state(there)
        else:
            state = self.site.store.pushes.state(self.table)
        if not state or not matches(match, state):
            raise Outdated(
                "it was changed by somebody else meanwhile" if state else "there is no such row",
                remedy="ask for it anew, and decide again",
            )


def _kept(site: Site, resource: Resource, table: str) -> Kept:
    """Open the journal of a table."""
    for spec in resource.tables:
        for source in spec.sources:
            if spec.table.qualified == table and source.kind == PUSH:
                return Kept(site, resource, spec, source)
    raise NotFound(say("{table} takes no rows", table))


def row(site: Site, name: str, key: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Find a row as it was pushed.

    Parameters
    ----------
    site
        Where.
    name
        ``schema.table``.
    key
        As an address has it.

    Returns
    -------
    row, state
        Its columns; what If-Match takes.

    Raises
    ------
    NotFound
        There is none.
    """
    found = target(site, name, "/".join(key))
    if found is None:
        raise NotFound(say("there is no table {name!r:.120} to write to", name))
    if found[2].kind != PUSH:
        place = place_of(site, found[0], found[2], "/".join(key))
        if not place.digest:
            raise NotFound(say("there is no file {path!r:.120}", "/".join(key)))
        return {"path": "/".join(key), "bytes": place.path.stat().st_size, "sha256": place.digest}, place.digest
    kept = _kept(site, found[0], found[1].table.qualified)
    there, missing = kept.there(kept.addressed(key))
    if missing.any():
        raise NotFound(say("there is no row {key!r:.120} that was pushed", "/".join(key)))
    return there.drop_columns([GONE]).to_pylist()[0], row_state(there)


__all__ = [
    "DELETE",
    "POST",
    "PUT",
    "Refused",
    "Taken",
    "Unfit",
    "Write",
    "Written",
    "filed",
    "may",
    "push",
    "row",
    "target",
]
