"""What is read of a source: what may have changed, as far as the source can tell; and which lines of the ledger are there no more."""

from __future__ import annotations

import datetime as dt
import math
from contextlib import closing
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._ledger import pinned, words
from hven.ingest._read_ahead import Ahead
from hven.ingest.sync._lines import MANY
from hven.ingest.sync._pages import Part
from hven.ingest.sync._watermark import begin
from hven.ingest.watermarks import Watch, unpacked
from hven.sources import Blocks, Counts, Feeds, FileWise, Picks, Since

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.ingest._filling import Filling
    from hven.ingest._ledger import Entry, State
    from hven.ingest.sync._lines import Lines
    from hven.model.resource import Sync
    from hven.sources import Source

    Turn = Callable[[int, Entry, Source, object], Source]


FEW = 1000  # rows that are always asked for by key


class Wider(Exception):
    """The narrow way does not do: everything must be read. The text says why."""


class Given(Part):
    """Rows that were read already, as a source."""

    def __init__(self, source: Source, rows: Sequence[pa.RecordBatch]) -> None:
        super().__init__(source)
        self._rows = rows

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:  # noqa: ARG002  (read with them)
        """Yield the rows."""
        yield from self._rows

    def size(self) -> int | None:
        """Count the rows."""
        return int(sum(batch.num_rows for batch in self._rows))


class SomeFiles(Part):
    """Some files of a source, or none, with what was said of those that are as they were."""

    def __init__(self, whole: Source, some: Source | None, kept: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(whole)
        self._some, self._kept = some, kept

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of these files."""
        if self._some is not None:
            yield from self._some.batches(columns, limit)

    def said(self) -> list[dict[str, Any]]:
        """Name all files."""
        return sorted([*self._kept, *(pinned(self._some) if self._some is not None else ())], key=itemgetter("name"))

    def size(self) -> int | None:
        """Count the bytes to come."""
        return self._some.size() if self._some is not None else 0

    def done(self) -> int:
        """Count the bytes read."""
        return self._some.done() if isinstance(self._some, Counts) else 0


class Reading:
    """How the sources of a table are read in one run.

    Parameters
    ----------
    one
        Its entries are replaced by what shall be read.
    old, state
        What the last run left; what this one will leave.
    pins
        Provenance of the published snapshot: files that were read.
    full
        Everything is read, whatever the watermark says.
    turn
        Keeps the pages of a source that is asked page by page: ``turn(number, entry, source, what is asked)``.
    looks
        Tells which sources are asked: others are taken to be as they were.

    Attributes
    ----------
    how
        What was read, in words.
    complete
        Every row was looked at, not only those that a watermark promises.
    """

    def __init__(
        self,
        one: Filling,
        lines: Lines,
        said: Sync | None,
        old: State,
        state: State,
        pins: Sequence[Mapping[str, Any]],
        *,
        full: bool,
        turn: Turn,
        looks: Callable[[Entry], bool] = lambda _: True,
    ) -> None:
        self.one, self.lines, self.said, self.old, self.state = one, lines, said, old, state
        self._turn, self._looks = turn, looks
        self.full = full or due(said, old)
        self._pins = pins
        self.complete, self._narrow = True, False
        self.unsummed = False  # checksums of blocks were wanted, and the source has none
        self._words: list[str] = []
        self._marked = set[int]()  # entries that were narrowed by the watermark
        self._lost = set[int]()  # entries that cannot say any more what changed
        self._left = set[str]()  # files that are not read again
        self._read = set[int]()  # entries whose rows are sifted already
        self.watch = one.watch or Watch(one.engine, one.entries)
        owner = np.array([entry for entry, _ in old.files], np.int64)
        files = np.asarray(lines.ledger.column("file"))
        self._files = files
        self._owner = owner[files] if len(owner) else np.zeros(len(files), np.int64)

    @property
    def how(self) -> str:
        """What was read, in words."""
        return ", ".join(dict.fromkeys(self._words)) or "everything"

    def prepare(self) -> None:
        """Choose for each source, and read what must be known before rows are mapped.

        Raises
        ------
        Wider
            Read everything instead.
        """
        self.one.sieve = self._sieve
        self.one.entries = [
            replace(entry, source=self._source(number, entry)) for number, entry in enumerate(self.one.entries)
        ]

    def finish(self) -> None:
        """Record what was seen in the state of the next run.

        Raises
        ------
        Wider
            The watermark went backwards.
        """
        for entry in self._marked:
            last, largest = unpacked(self.old.watermark.get(str(entry))), self.watch.largest.get(entry)
            if largest is None or largest < last:
                raise Wider(
                    f"the watermark went backwards, from {last} to {largest if largest is not None else 'nothing'}"
                )
        if not self.complete:
            self.state.full = self.old.full
        for file, count in self.old.unread.items():
            if file in self._left or self._narrow:
                self.one.unread[file] = self.one.unread.get(file, 0) + count

    def _sieve(self, entry: int, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch if entry in self._read else self.lines.sieve(entry, batch)

    def _source(self, number: int, entry: Entry) -> Source:
        source: Source = entry.source
        if not self._looks(entry):
            return self._unasked(number, source)
        full = self.full or bool(self.old.waiting.get(str(number)))  # documents came to rows that are as they were
        if isinstance(source, FileWise) and not full:
            return self._changed_files(number, entry, source)
        key = self.lines.notes.identities[number]
        if key and not full and isinstance(source, Feeds):
            fed = self._told(number, source, key)
            if fed is not None:
                return fed
        if self.said is not None and key and number not in self._lost:
            if self.said.deletions == "blocks" and isinstance(source, Blocks):
                found = self._changed_blocks(number, source, key)
                if found is not None:
                    return found
            if self.said.deletions == "blocks":
                self.unsummed = True
            mark = self.said.watermark
            last = self.old.watermark.get(str(number))
            if (
                mark is not None
                and last is not None
                and not full
                and isinstance(source, Since)
                and source.narrow(mark[0])
            ):
                since = begin(unpacked(last), self.said, entry)
                self.complete, self._narrow = False, True
                self._marked.add(number)
                self._words.append(f"since {since}")
                narrow: Source = source.since(mark[0], since)
                part = self._turn(number, entry, narrow, str(since))
                return self._window(number, source, part, compare=self.said.deletions in {"compare", "blocks"})
        self._words.append("everything")
        return self._turn(number, entry, entry.source, "everything")

    def _unasked(self, number: int, source: Source) -> Source:
        """Leave a source alone, and what is known of it for the next run as it was."""
        at, mine = str(number), self._owner == number
        self.lines.known.claimed[mine] = True
        self._read.add(number)
        self.complete = False
        for name in ("listed", "fed", "watermark", "blocks"):
            now, was = getattr(self.state, name), getattr(self.old, name)
            now.pop(at, None)
            now |= {at: was[at]} if at in was else {}
        if at in self.old.watermark:
            self.watch.largest[number] = unpacked(self.old.watermark[at])
        before = self.old.listed.get(at)
        names = {name for owner, name in self.old.files if owner == number and name}
        names.update(before.column("name").to_pylist() if before is not None else ())
        self._left |= names
        kept = [pin for pin in self._pins if pin["name"] in names]
        return SomeFiles(source, None, kept) if isinstance(source, FileWise) else Given(source, ())

    # --- files -------------------------------------------------------------------------------------------------

    def _changed_files(self, number: int, entry: Entry, source: FileWise) -> Source:
        """Read files that are new or have another size, time or checksum."""
        now, before = self.state.listed[str(number)], self.old.listed.get(str(number))
        alike = np.zeros(len(now), bool) if before is None else _alike(now, before)
        names = now.column("name")
        same = set(names.filter(pa.array(alike)).to_pylist())
        self._left |= same
        self.complete = self.complete and not same
        known = np.array([owner == number and name in same for owner, name in self.old.files], bool)
        if len(known):
            self.lines.known.claimed[known[self._files]] = True
        self._words.append(f"{len(now) - len(same):,} of {len(now):,} {'file' if len(now) == 1 else 'files'}")
        if not same:
            return entry.source
        kept = [pin for pin in self._pins if pin["name"] in same]
        rest = sorted(names.filter(pa.array(~alike)).to_pylist())
        return SomeFiles(entry.source, source.only(rest) if rest else None, kept)

    # --- what the source tells itself ------------------------------------------------------------------------------

    def _told(self, number: int, source: Any, key: Sequence[str]) -> Source | None:
        """Read the rows that the source says have changed; None: it cannot say, or names rows by another key than we do."""
        before = self.old.fed.get(str(number))
        if before is None:
            return None
        mine = self._owner == number
        known = self.lines.known
        if str(number) in self.old.watermark:  # it stays what it was, but for rows that come
            self.watch.largest[number] = unpacked(self.old.watermark[str(number)])
        if self.state.fed.get(str(number)) == before:
            self._read.add(number)
            self._words.append("nothing: the source is as it was")
            known.claimed[mine] = True
            return Given(source, ())
        found = source.changes(before)
        # all pages are fewer questions than all keys
        many = found is not None and 2 * found.touched.num_rows > max(int(mine.sum()), FEW)
        if found is None or many or set(found.key) != set(key):
            self.watch.largest.pop(number, None)
            if found is None or many:  # what changed need not have a new watermark
                self._lost.add(number)
            return None
        self.state.fed[str(number)] = found.state
        self._read.add(number)
        self._words.append(f"{found.touched.num_rows:,} rows that came or changed, by the source's own word")
        batches = [batch for part in (found.touched, found.removed) for batch in part.to_batches()]
        other = np.concatenate([np.zeros(0, np.uint64), *(words(batch, number, key)[0] for batch in batches)])
        fresh = (
            self._sifted(number, found.rows.batches(self.one.asked(self.one.entries[number])))[0]
            if found.touched.num_rows
            else []
        )
        known.claimed[mine & ~np.isin(np.asarray(self.lines.ledger.column("identity")), other)] = True
        return Given(source, fresh)

    # --- what a watermark, or checksums, promise ------------------------------------------------------------------

    def _changed_blocks(self, number: int, source: Any, key: Sequence[str]) -> Source | None:
        """Read the rows of blocks of keys whose checksum is another one."""
        found = source.blocks(key, self.lines.notes.columns[number])
        if found is None:
            return None
        now = {
            str(block): [rows, str(total)]
            for block, rows, total in zip(
                *(found.column(name).to_pylist() for name in ("block", "rows", "checksum")), strict=True
            )
        }
        self.state.blocks[str(number)] = now
        before = self.old.blocks.get(str(number))
        if before is None or self.full:
            self._words.append("everything")
            return source  # type: ignore[no-any-return]
        other = [block for block, facts in now.items() if before.get(block) != facts]
        self._words.append(f"{len(other):,} of {len(now):,} blocks of keys")
        if not other and before.keys() <= now.keys():
            self._read.add(number)
            self.lines.known.claimed[self._owner == number] = True
            return Given(source, ())
        if 2 * len(other) > len(now):
            return source  # type: ignore[no-any-return]
        return self._window(number, source, source.block(key, other), compare=True)

    def _window(self, number: int, source: Any, part: Source, *, compare: bool) -> Source:
        """Read a part of the rows, and find which lines they replace; with `compare`, which rows went, and which came unnoticed."""
        self._read.add(number)
        lines, notes, known = self.lines, self.lines.notes, self.lines.known
        entry = self.one.entries[number]
        fresh, idents = self._sifted(number, part.batches(self.one.asked(entry)))
        mine = self._owner == number
        names = np.asarray(lines.ledger.column("identity"))
        if compare:
            key = notes.identities[number]
            there = np.concatenate(
                [np.zeros(0, np.uint64), *(words(batch, number, key)[0] for batch in source.batches(key))]
            )
            gone, odd = _against(names, mine, known.claimed, there, idents)
            again = odd[np.isin(odd, there)]
        else:
            gone = mine & ~known.claimed & np.isin(names, idents)
            odd = again = _several(names[mine], idents)  # one of them was edited: which lines are the others'?
        if len(odd):
            keys = self._keys(number, again, source.batches(notes.identities[number]) if compare else iter(fresh))
            fresh = self._picked(number, source, odd, keys, fresh, idents)
            gone = (gone & ~np.isin(names, odd)) | (mine & np.isin(names, odd) & ~known.claimed)
        known.claimed[mine & ~gone] = True
        return Given(source, fresh)

    def _sifted(self, number: int, batches: Iterator[pa.RecordBatch]) -> tuple[list[pa.RecordBatch], Any]:
        """Read rows; return those that are not known, and their identities.

        The watermark follows the first rows that are read. Those that are asked for again must not raise it: others that were written since
        the first question may lie below.
        """
        fresh: list[pa.RecordBatch] = []
        idents: list[Any] = [np.zeros(0, np.uint64)]
        with closing(Ahead(batches)) as ahead:
            for batch in ahead:
                self.watch(number, batch)
                left = self.lines.sieve(number, batch)
                if left.num_rows:
                    fresh.append(left)
                    idents.append(self.lines.notes.identity(number, left))
        self.watch.done.add(number)
        return fresh, np.concatenate(idents)

    def _keys(self, number: int, wanted: Any, batches: Iterator[pa.RecordBatch]) -> pa.Table | None:
        """Find the values of some identities in rows that have them; None: there are none."""
        key = list(self.lines.notes.identities[number])
        parts = (
            [batch.filter(pa.array(np.isin(words(batch, number, key)[0], wanted))) for batch in batches]
            if len(wanted)
            else []
        )
        found = [part.select(key) for part in parts if part.num_rows]
        return pa.Table.from_batches(found).group_by(key).aggregate([]) if found else None

    def _picked(
        self, number: int, source: Any, odd: Any, keys: pa.Table | None, fresh: list[pa.RecordBatch], idents: Any
    ) -> list[pa.RecordBatch]:
        """Read all rows of some keys, whatever their watermark: those that came late, and those of which there are several."""
        lines, key = self.lines, self.lines.notes.identities[number]
        if keys is not None and (keys.num_rows > MANY or not isinstance(source, Picks)):
            raise Wider(f"{keys.num_rows:,} rows came, or went, that the watermark does not tell of")
        names = np.asarray(lines.ledger.column("identity"))
        lines.known.release(np.flatnonzero((self._owner == number) & np.isin(names, odd) & lines.known.claimed))
        kept = []
        begin_ = 0
        for batch in fresh:
            stay = ~np.isin(idents[begin_ : begin_ + batch.num_rows], odd)
            begin_ += batch.num_rows
            kept.append(batch.filter(pa.array(stay)))
        if keys is not None:
            asked = source.pick(key, keys).batches(self.one.asked(self.one.entries[number]))
            kept += self._sifted(number, _only(asked, number, key, odd))[0]
        return [batch for batch in kept if batch.num_rows]


def _alike(now: pa.Table, before: pa.Table) -> Any:
    """Tell which files are as they were: all that is known of them is the same, and that is more than their size."""
    at = pc.index_in(now.column("name"), value_set=before.column("name").combine_chunks())
    found = np.asarray(pc.is_valid(at))
    told = np.zeros(len(now), bool)
    there = before.take(at)
    for name in now.column_names[1:]:
        one, other = now.column(name), there.column(name)
        found &= np.asarray(pc.fill_null(pc.equal(one, other), False)) | np.asarray(pc.and_(pc.is_null(one), pc.is_null(other)))  # fmt: skip
        told |= np.asarray(pc.is_valid(one)) & (name != "bytes")
    return found & told


def _only(batches: Iterator[pa.RecordBatch], number: int, key: Sequence[str], wanted: Any) -> Iterator[pa.RecordBatch]:
    """Drop rows that the source took for equal to a key."""
    for batch in batches:
        yield batch.filter(pa.array(np.isin(words(batch, number, key)[0], wanted)))


def _several(names: Any, fresh: Any) -> Any:
    """Return the identities of fresh rows that several lines or several of these rows have."""
    every, number = np.unique(np.concatenate([names, fresh]), return_inverse=True)
    lines = np.bincount(number[: len(names)], minlength=len(every))
    new = np.bincount(number[len(names) :], minlength=len(every))
    return every[(new > 1) | ((new > 0) & (lines > 1))]


def _against(names: Any, mine: Any, claimed: Any, there: Any, fresh: Any) -> tuple[Any, Any]:
    """Compare the identities of lines, of the source's rows, and of the rows that were read and are not known.

    Returns
    -------
    gone, odd
        Lines that are there no more, or were edited; identities of which all rows must be looked at.
    """
    at = np.flatnonzero(mine)
    every, number = np.unique(np.concatenate([names[at], there, fresh]), return_inverse=True)
    size = len(every)
    of_lines, of_source, of_fresh = (
        number[: len(at)],
        number[len(at) : len(at) + len(there)],
        number[len(at) + len(there) :],
    )
    lines, source, new = (np.bincount(part, minlength=size) for part in (of_lines, of_source, of_fresh))
    seen = np.bincount(of_lines, weights=claimed[at], minlength=size)
    single = (lines <= 1) & (source <= 1) & (new <= 1)
    odd = np.where(
        single,
        ((lines == 0) & (new == 0) & (source == 1)) | ((source == 0) & (new == 1)) | ((seen == 1) & (new == 1)),
        (new > 0) | (source != lines),
    )
    over = ~odd & ((source == 0) | (new > 0))
    gone = np.zeros(len(names), bool)
    gone[at[over[of_lines]]] = True
    return gone, every[odd]


def due(said: Sync | None, old: State) -> bool:
    """Return whether it is time to read everything."""
    if said is None or said.full is None or math.isinf(said.full):
        return False
    if old.full is None:
        return True
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(old.full)
    # the clock was ahead then: nobody knows how long that is ago
    return not dt.timedelta() <= age < dt.timedelta(seconds=said.full)
