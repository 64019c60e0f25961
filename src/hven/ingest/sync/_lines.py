"""One table, row by row: source rows that the ledger knows are left alone, the others are mapped; what differs is merged into the snapshot."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._fingerprints import fingerprints
from hven.ingest._ledger import KEYS, words
from hven.ingest._picking import nullable, rows_of, without_nan
from hven.ingest.sync._differing import Differences, paired
from hven.ingest.sync._known import Known
from hven.model.errors import Unmergeable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines import Engine, Snapshot
    from hven.ingest._ledger import Notes
    from hven.model.table import Table

MANY = 200_000  # rows that may always be mapped one by one in memory ..
SHARE = 0.3  # .. and of bigger tables so much: with more, everything is computed anew, with flat memory


class Anew(Exception):
    """What became of the rows depends on more than themselves, or they are too many: everything must be computed. The text says why."""


class Lines:
    """A ledger against a source that is being read.

    Parameters
    ----------
    ledger
        Of the published snapshot.
    names
        What the numbers of its column ``file`` mean: entry and name.
    notes
        Takes the lines of rows that are not in it.
    """

    def __init__(self, ledger: pa.Table, names: Sequence[Sequence[Any]], notes: Notes) -> None:
        self.ledger = ledger
        self.notes = notes
        self._names = names
        self._before = np.asarray(ledger.column("file")).astype(np.int64)
        # the file in which a row was seen this time: it may have another name
        self._now = np.full(ledger.num_rows, -1, np.int64)
        self.known = Known(*(np.asarray(ledger.column(name)) for name in ("first", "second")))
        self.read = 0
        self.fresh = 0  # source rows that were not known
        self._most = max(MANY, int(SHARE * ledger.num_rows))

    def sieve(self, entry: int, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Drop the rows that are known (for `Filling`)."""
        self.read += batch.num_rows
        first, second = words(batch, entry, self.notes.columns[entry])
        found = self.known.claim(first, second)
        there = found >= 0
        self._now[found[there]] = self.notes.numbers(entry, batch)[there]
        fresh = np.flatnonzero(~there)
        self.fresh += len(fresh)
        if self.fresh > self._most:
            raise Anew(f"more than {self._most:,} source rows are new or changed")
        return (
            batch.slice(0, 0)
            if not len(fresh)
            else batch
            if len(fresh) == batch.num_rows
            else batch.take(pa.array(fresh))
        )

    def same(self) -> bool:
        """Return whether the ledger is as it was: every line is there, in its file, and no other."""
        if self.fresh or not self.known.claimed.all():
            return False
        old = {(entry, name): number for number, (entry, name) in enumerate(self._names)}
        numbers = np.array([old.get(name, -1) for name in self.notes.files] or [-1], np.int64)
        seen = self._now >= 0
        return bool(np.array_equal(numbers[self._now[seen]], self._before[seen]))

    def keep(self, mask: Any) -> None:
        """Write the lines that stay into the new ledger."""
        files = self._now.copy()
        unseen = mask & (files < 0)
        used = np.unique(self._before[unseen])
        numbers = np.full(int(used.max()) + 1 if len(used) else 1, -1, np.int64)
        numbers[used] = self.notes.numbered([tuple(self._names[number]) for number in used.tolist()])
        files[unseen] = numbers[self._before[unseen]]
        kept = self.ledger if mask.all() else self.ledger.filter(pa.array(mask))
        at = kept.column_names.index("file")
        item = self.notes.schema.field("file")
        for batch in kept.set_column(at, item, pa.array(files[mask].astype(np.int32))).to_batches():
            self.notes.add(pa.RecordBatch.from_arrays(batch.columns, schema=self.notes.schema))


class Merging:
    """What unknown rows became, beside what is published.

    Parameters
    ----------
    gone
        Which lines of the ledger are there no more.
    made
        Rows of the table that the unknown source rows gave.
    """

    def __init__(
        self, keeper: Engine, table: Table, base: Snapshot, ledger: pa.Table, gone: Any, made: pa.Table
    ) -> None:
        self.keeper, self.table, self.base = keeper, table, base
        self.made = without_nan(made)
        self.primary = list(table.primary)
        went = ledger.column(KEYS).filter(pa.array(gone))
        self.went = keys_of(went, self.primary, table)

    def differences(self) -> Differences:
        """Find what is another row than before.

        Raises
        ------
        Anew
            Two rows have one key: an ingest of everything says what is to be done.
        """
        come = self.made.select(self.primary)
        mine = _hash(come)
        if len(np.unique(mine)) < len(mine):
            raise Anew("two source rows have one primary key")
        if any(come.column(name).null_count for name in self.primary):
            raise Anew("a row has no primary key")
        went = _hash(self.went)
        if len(np.unique(went)) < len(went):
            raise Anew("the ledger has a key twice")
        other = ~np.isin(mine, went)
        wanted = pa.concat_tables([self.went, come.filter(pa.array(other))])
        before = rows_of(self.keeper, self.table, self.base, wanted) if wanted.num_rows else self.made.slice(0, 0)
        found = _hash(before.select(self.primary))
        if before.num_rows and np.isin(found, mine[other]).any():
            raise Anew("a new row has the primary key of another one")
        if int(np.isin(found, went).sum()) != len(went):
            raise Anew("the ledger and what is published do not agree")
        return paired(before, self.made.select(before.column_names), self.primary)


def merged(keeper: Engine, table: Table, base: Snapshot, ident: str, found: Differences) -> Snapshot:
    """Merge an old snapshot and what differs into a new one.

    Raises
    ------
    Anew
        The old one is written in another way than the table wants it now.
    """
    removed = found.before.slice(0, found.before.num_rows - found.changed).select(list(table.primary))
    try:
        staging = keeper.merge(table, ident, base, gone=removed if removed.num_rows else None)
    except Unmergeable as error:
        raise Anew(error.message) from error
    try:
        for batch in found.after.select(table.arrow.names).cast(table.arrow).to_batches():
            staging.write(batch)
        return replace(staging.finish(), engine=keeper.name)
    except BaseException:
        staging.abandon()
        raise


def keys_of(lists: pa.ChunkedArray, primary: Sequence[str], table: Table) -> pa.Table:
    """Return the keys that stand in lines, one under the other."""
    flat = pc.list_flatten(lists)
    whole = flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat
    schema = nullable(pa.schema([table.arrow.field(name) for name in primary]))
    return pa.table([pc.struct_field(whole, name) for name in primary], schema=schema)


def _hash(keys: pa.Table) -> Any:
    return fingerprints(keys.columns, keys.num_rows)[0]
