"""Samples that stand in the files of a table's rows: which files have which times, by the rows; what their parameters are; and the samples, read in place.

Files are asked for where all files are (`hven.services.filed`): roots, rights of rows and of files, and files on other servers are as everywhere.
Where several files have the same time, that of the highest version holds: in all of its own span, gaps included.
"""

from __future__ import annotations

import heapq
import re
import threading
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven import query
from hven.adql.text import literal, quote
from hven.formats.media import Samples, open_product
from hven.model import Cache, units
from hven.model.errors import HvenError, SourceError, Unavailable, say
from hven.model.table import Bins, Column, begins_and_ends
from hven.model.types import Type
from hven.services import filed
from hven.services._stamps import DAY, SECOND, UNIX, iso
from hven.sources.readers import open_read

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from hven.formats.media import Product
    from hven.model.table import Series, Table
    from hven.services.face import Surroundings
    from hven.site import Holdings
    from hven.site.auth import Reader

MOST = 2**62
ALWAYS = (
    -61_000_000_000 * SECOND,
    253_000_000_000 * SECOND,
)  # years 36 to 9987: engines agree on how these are written
TRIED = 50  # files of one layout of which the first that the reader may take is looked into
LAYOUTS = 100  # that are looked into
ASKED = 500  # files that are asked for at once
FEW = 5_000  # files of a data set that are listed once, and not for each window
FINE = 9_200_000_000 * SECOND  # from 1970 to where nanoseconds can be counted
SLACK = SECOND  # that rows may be off which do not come from the files themselves
_NUMBERS = re.compile(r"(\d+)")
_VERSION = re.compile(r"_[vV](\d+(?:[._-]\d+)*)(?=[._]|$)")


class Granule(NamedTuple):
    """A file, by its row: from the time of its first sample to that of its last one, microseconds since 1970."""

    path: str
    start: int
    stop: int
    version: str


class Known(Cache[list[Granule]]):
    """The files of data sets that have few, as readers see them who see the same: so many files in all."""

    def __init__(self) -> None:
        super().__init__(20 * FEW)


class Clocks(Cache[Any]):
    """When the samples of files were taken, of the files that were read last: tiles of a picture, and the next picture, are of the same."""

    def __init__(self) -> None:
        super().__init__(64 << 20, 16 << 20)
        self._turns = tuple(threading.Lock() for _ in range(16))

    def of(self, key: Hashable, samples: Samples) -> None:
        """Have samples know their times; of several who ask at once for those of a file, one reads them."""
        known = self.find(key)
        if known is None:
            with self._turns[hash(key) % len(self._turns)]:
                known = self.find(key)
                if known is None:
                    self.keep(key, samples.times, samples.times.bytes)
        if known is not None:
            samples.know(known)


class Layout(NamedTuple):
    """What a file has."""

    time: str
    columns: tuple[Column, ...]
    bins: Mapping[str, tuple[Bins, ...]]
    lengths: Mapping[str, int]
    finer: bool = False


@dataclass(frozen=True, slots=True)
class Described:
    """What a data set has, of all its files.

    Attributes
    ----------
    time
        What the newest calls its times.
    columns
        Its parameters.
    bins
        Of their elements.
    lengths
        Bytes of texts.
    tables
        Parameters that are channels of others, which change: name -> of which parameter.
    notes
        What is to be said of it.
    fine
        Whether times have nanoseconds.
    """

    time: str
    columns: tuple[Column, ...]
    bins: Mapping[str, tuple[Bins, ...]]
    lengths: Mapping[str, int]
    tables: Mapping[str, str]
    notes: tuple[str, ...] = ()
    fine: bool = False


class Files:
    """The files of a data set, for a reader.

    Parameters
    ----------
    around
        The site.
    who
        The reader.
    series
        The data set.
    table
        Its table.
    holdings
        The state that is read.

    Attributes
    ----------
    guarded
        Whether one may take a row's file is another question than whether one sees the row.
    """

    def __init__(self, around: Surroundings, who: Reader, series: Series, table: Table, holdings: Holdings) -> None:
        self.around, self.who, self.series, self.table, self.holdings = around, who, series, table, holdings
        begin, end = begins_and_ends(table)
        if begin is None or end is None:
            raise Unavailable(say("no column of {table} says when the samples of a file begin", table.qualified))
        self._begin, self._end = begin, end
        names = {column.name for column in table.columns}
        self._layout = "layout" if {"layout", "samples"} <= names else None
        self._slack = 0 if self._layout else SLACK + round((series.cadence or 0) * SECOND)
        own = write_own_files(table, series) if self._layout else None
        self._shared, self._own = own is not None, () if own is None else (own,)
        self.guarded = any(one.schema == table.schema and one.policy and one.policy.path for one in holdings.guarded)

    # --- rows --------------------------------------------------------------------------------------------------------

    def _rows(self, items: str, *conditions: str, more: str = "") -> Iterator[dict[str, Any]]:
        said = [*((f"({self.series.condition})",) if self.series.condition else ()), *self._own, *conditions]
        where = f" WHERE {' AND '.join(said)}" if said else ""
        text = f"SELECT {items} FROM {quote(self.table.schema)}.{quote(self.table.name)} AS target{where}{more}"
        around = self.around
        with query.run(text, self.who, site=around.site, policies=around.policies, holdings=self.holdings, maxrec=MOST, most=MOST) as result:  # fmt: skip
            for batch in result.batches():
                yield from batch.to_pylist()

    @property
    def _path(self) -> str:
        holes = [part for part in self.series.file if not isinstance(part, str)]
        return ", ".join(f'{hole.text} AS "_{at}"' for at, hole in enumerate(holes)) or '1 AS "_0"'

    def _named(self, row: Mapping[str, Any]) -> str | None:
        """Fill the template of the path; None: a value of it is missing."""
        made, at = [], 0
        for part in self.series.file:
            if isinstance(part, str):
                made.append(part)
                continue
            value = row[f"_{at}"]
            if value is None:
                return None
            made.append(format(value, part.spec) if part.spec else str(value))
            at += 1
        return "".join(made)

    def granules(self, start: int, stop: int) -> list[Granule]:
        """List the files that may have samples of some times, and that the reader may take.

        Parameters
        ----------
        start, stop
            Microseconds since 1970.
        """
        low, high = start - self._slack, stop + self._slack
        published = self.holdings.published.get(self.table.qualified)
        if self.guarded or published is None or not 0 < (published.rows or 0) <= FEW:
            found = self._between(low, high)
            return self._open(found) if self.guarded else found
        known = self.around.site.kept(Known)
        reach = self.holdings.reach(self.who, self.around.policies)
        key = (self.table.qualified, self.series.id, self.holdings.version, reach)
        every = known.find(key)
        if every is None:
            every = self._between(*ALWAYS)
            known.keep(key, every, len(every) + 1)
        return [one for one in every if one.stop >= low and one.start < high]

    def _between(self, low: int, high: int) -> list[Granule]:
        begin, end = (f"target.{quote(one.name)}" for one in (self._begin, self._end))
        version = f", target.{quote(self.series.version)} AS a_version" if self.series.version else ""
        items = f"{begin} AS a_first, {end} AS a_last, {self._path}{version}"
        late, early = f"{end} >= {_bound(self._end, low)}", f"{begin} < {_bound(self._begin, high)}"
        found = []
        for row in self._rows(items, late, early):
            path = self._named(row)
            if path is None or row["a_first"] is None or row["a_last"] is None:
                continue
            number = str(row["a_version"] or "") if version else "".join(_VERSION.findall(path.rpartition("/")[2])[-1:])
            found.append(Granule(path, _micros(self._begin, row["a_first"]), _micros(self._end, row["a_last"]), number))
        return found

    def _open(self, found: list[Granule]) -> list[Granule]:
        """Keep the files that the reader may take."""
        kept = []
        for at in range(0, len(found), ASKED):
            some = found[at : at + ASKED]
            known = self._asked([one.path for one in some])
            kept += [one for one in some if one.path in known.rows]
        return kept

    def _asked(self, paths: Sequence[str]) -> filed.Found:
        return filed.asked(self.around, self.who, self.table.schema, paths)

    def listed(self, names: Sequence[str], start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """List the files themselves, in the order of their first samples.

        Parameters
        ----------
        names
            ``fileURI``, ``fileSize``.
        start, stop
            Between which the first sample is: microseconds since 1970.
        """
        found = [one for one in self.granules(start, stop) if start <= one.start < stop]
        found.sort(key=lambda one: (one.start, _natural(one.version), _natural(one.path)))
        for at in range(0, len(found), ASKED):
            known = self._asked([one.path for one in found[at : at + ASKED]]).rows
            some = [one for one in found[at : at + ASKED] if one.path in known]
            sizes = [known[one.path]["bytes"] for one in some]
            every = {"fileURI": pa.array([one.path for one in some], pa.string()), "fileSize": pa.array(sizes, pa.float64())}  # fmt: skip
            chosen = {name: array for name, array in every.items() if name in names}
            yield pa.record_batch([pa.array([one.start for one in some], pa.int64()), *chosen.values()], names=["hven_time", *chosen])  # fmt: skip

    def extent(self) -> tuple[int, int, int] | None:
        """Find from when to when there are samples, and about how many; None: there are none."""
        begin, end = (f"target.{quote(one.name)}" for one in (self._begin, self._end))
        if self.guarded:
            every = self.granules(*ALWAYS)
            if not every:
                return None
            first, last, many = min(one.start for one in every), max(one.stop for one in every), None
        else:
            many_of = ", SUM(target.samples) AS a_many" if self._layout else ""
            (row,) = self._rows(f"MIN({begin}) AS a_first, MAX({end}) AS a_last{many_of}")
            if row["a_first"] is None or row["a_last"] is None:
                return None
            first, last, many = (
                _micros(self._begin, row["a_first"]),
                _micros(self._end, row["a_last"]),
                row.get("a_many"),
            )
        if self._shared:  # each has a clock of its own
            first, last = self._own_end(begin, first, 0), self._own_end(f"{end} DESC", last, -1)
        step = (self.series.cadence or 1.0) * SECOND
        return first, last, int(many) if many else max(int((last - first) / step), 1)

    def _own_end(self, order: str, known: int, at: int) -> int:
        """Find the first or last sample of a data set whose table has others: the table knows the times of all of them together.

        Parameters
        ----------
        order
            Which files come first.
        known
            What the table knows: microseconds since 1970.
        at
            Which sample of a file: 0 or -1.
        """
        paths = [path for row in self._rows(f"TOP {TRIED} {self._path}", more=f" ORDER BY {order}") if (path := self._named(row))]  # fmt: skip
        found = self._asked(paths)
        for path in (path for path in paths if path in found.rows):
            try:
                product, state = self._product(found, path)
                with product:
                    moments = self._sampled(product, path, state).moments
            except HvenError:  # told where its samples are asked for
                return known
            if len(moments):
                return int(moments[at])
        return known

    def counted(self, told: Described, extent: tuple[int, int, int]) -> Described:
        """Have times without nanoseconds where some files have times that cannot be counted so."""
        if not told.fine or (extent[0] > -FINE and extent[1] < FINE):
            return told
        note = "times have digits below a microsecond, which are left out: some are before 1678 or behind 2261"
        return replace(told, fine=False, notes=(*told.notes, note))

    # --- what files have ---------------------------------------------------------------------------------------------

    def described(self, kept: Any) -> Described | None:
        """Find what the data set has, by a file of each layout; None: the reader may take none.

        Parameters
        ----------
        kept
            Cache of what files have.

        Raises
        ------
        HvenError
            The program that reads its files does not.
        """
        end = f"target.{quote(self._end.name)}"
        layouts: list[str | None] = [None]
        if self._layout is not None:
            what = f"TOP {LAYOUTS} target.layout AS a_layout"
            ordered = f" GROUP BY target.layout ORDER BY MAX({end}) DESC"
            rows = [*self._rows(what, "target.samples > 0", more=ordered)] or [*self._rows(what, more=ordered)][:1]
            layouts = [row["a_layout"] for row in rows]
        found: list[Layout] = []
        for layout in layouts:
            conditions = () if layout is None else (f"target.layout = {literal(layout)}",)
            text = f" ORDER BY {end} DESC"
            paths = [path for row in self._rows(f"TOP {TRIED} {self._path}", *conditions, more=text) if (path := self._named(row))]  # fmt: skip
            if (one := self._looked(paths, kept)) is not None:
                found.append(one)
        return _together(found, self.series) if found else None

    def _looked(self, paths: Sequence[str], kept: Any) -> Layout | None:
        """Look into the first file that can be taken and read."""
        known = self._asked(paths) if paths else None
        for path in paths:
            if known is None or path not in known.rows:
                continue
            row = known.rows[path]
            key = ("layout", self.table.schema, path, row["tag"], repr(self.series))
            layout: Layout | None = kept.find(key)
            if layout is None:
                try:
                    with self._product(known, path)[0] as product:
                        one = Samples(product, self.series, path.rpartition("/")[2])
                        layout = Layout(one.time, one.columns, one.bins, one.lengths, one.finer)
                except (HvenError, OSError) as error:
                    if self.series.reader is not None and isinstance(error.__cause__ or error, SourceError):
                        raise  # of a program: it may read again, and others may take as long
                    continue
                kept.keep(key, layout)
            return layout
        return None

    def _product(self, known: filed.Found, path: str) -> tuple[Product, Hashable]:
        """Open a file; and return what tells its state from others."""
        row = known.one(path)
        place = filed.opened_at(self.around, self.who, self.table.schema, row)
        filed.look_beside(self.around, self.who, self.table.schema, path, place)
        known.note("file taken", path)
        try:
            name = path.rpartition("/")[2]
            state = (row["tag"], *([(facts := place.stat()).st_mtime_ns, facts.st_size] if isinstance(place, Path) else []))  # fmt: skip
            if self.series.reader is not None:
                return open_read(self.around.site.settings, place, name, self.series.reader), state
            return open_product(place, name, lines=True), state
        except SourceError as error:
            raise _broken(path, error) from error

    # --- samples -----------------------------------------------------------------------------------------------------

    def batches(
        self, told: Described, names: Sequence[str], start: int, stop: int, *, fine: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Read samples in the order of time.

        Parameters
        ----------
        told
            What the data set has.
        names
            Of its parameters.
        start, stop
            Microseconds since 1970: from the first one on, before the second.
        fine
            Times as timestamps of nanoseconds.

        Yields
        ------
        batches
            Times as microseconds, or as asked for, then the parameters.

        Raises
        ------
        HvenError
            A file that is needed cannot be had or read, or has something else than what was told.
        """
        every = {one.name: one for one in told.columns}
        wanted = [(name, every[name]) for name in names]
        pieces = segments(self.granules(start, stop), start, stop, self._slack)
        if fine:  # where a file ends within the microsecond in which the next begins, that has samples of both
            pieces = [(one, begin, end + (end == one.stop < stop)) for one, begin, end in pieces]
            yield from _apart(self._pieces(pieces, told, wanted, fine))
        else:
            yield from self._pieces(pieces, told, wanted, fine)

    def _pieces(
        self,
        pieces: Sequence[tuple[Granule, int, int]],
        told: Described,
        wanted: Sequence[tuple[str, Column]],
        fine: bool,
    ) -> Iterator[pa.RecordBatch]:
        for at in range(0, len(pieces), ASKED):
            some = pieces[at : at + ASKED]
            known = self._asked(list({one.path for one, _, _ in some}))
            last: str | None = None
            product: Product | None = None
            try:
                for one, begin, end in some:
                    if one.path != last:
                        if product is not None:
                            product.closing()
                        (product, state), last = self._product(known, one.path), one.path
                        samples = self._sampled(product, one.path, state)
                    yield from self._piece(samples, told, wanted, one.path, begin, end, fine)
            finally:
                if product is not None:
                    product.closing()

    def _sampled(self, product: Product, path: str, state: Hashable) -> Samples:
        try:
            samples = Samples(product, self.series, path.rpartition("/")[2])
            if self.series.reader is None:  # a program may give others at any time, and what is wrong with them is told
                self.around.site.kept(Clocks).of((self.table.schema, path, state, repr(self.series)), samples)
        except SourceError as error:
            raise _broken(path, error) from error
        return samples

    def _piece(
        self,
        found: Samples,
        told: Described,
        wanted: Sequence[tuple[str, Column]],
        path: str,
        begin: int,
        end: int,
        fine: bool,
    ) -> Iterator[pa.RecordBatch]:
        own = {one.name: one for one in found.columns}
        own_names = [name for name, _ in wanted if name in own]
        for name, _ in wanted:
            if name in own:
                _same_bins(name, found.bins.get(name, ()), told, path)
        try:
            for batch in found.batches(own_names, begin, end, fine=fine):
                arrays = [batch.column(0)]
                for name, column in wanted:
                    if name in own:
                        arrays.append(
                            _fitted(batch.column(batch.schema.get_field_index(name)), own[name], column, path)
                        )
                    elif name in told.tables:
                        arrays.append(_repeated(found.bins.get(told.tables[name], ()), column, batch.num_rows))
                    else:
                        arrays.append(pa.nulls(batch.num_rows, column.arrow.type))
                yield pa.record_batch(arrays, names=["hven_time", *(name for name, _ in wanted)])
        except SourceError as error:
            raise _broken(path, error) from error


def _apart(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Leave out samples at the end of a batch whose times the next one has."""
    last: pa.RecordBatch | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        if last is not None:
            first = batch.column(0)[0].value
            yield last.slice(0, int(np.searchsorted(np.asarray(last.column(0)).astype(np.int64), first)))
        last = batch
    if last is not None:
        yield last


def write_own_files(table: Table, series: Series) -> str | None:
    """Write the condition that a row's file has something of a data set; None: no other data set has files of this table.

    Parameters
    ----------
    table
        Whose rows are files.
    series
        One of its data sets.
    """
    files = [one.id for one in table.series if one.file]
    if len(files) < 2 or series.id not in files or not any(one.name == "layout" for one in table.columns):
        return None
    before = "_" * (files.index(series.id) * (len(Samples.NO_LAYOUT) + 1))  # the layout has a word for each data set
    return f"(target.layout IS NULL OR target.layout NOT LIKE {literal(f'{before}{Samples.NO_LAYOUT}%')})"


def segments(found: Sequence[Granule], start: int, stop: int, slack: int = 0) -> list[tuple[Granule, int, int]]:
    """Find which file has which times: where several do, that of the highest version.

    Where one ends with the very time with which another begins, the later one has it.

    Parameters
    ----------
    found
        Files.
    start, stop
        Microseconds since 1970: from the first one on, before the second.
    slack
        How far samples may lie beside what is said of a file, where no other one is.

    Returns
    -------
    segments
        Files with their times, in the order of time: from the first one on, before the second.
    """
    ordered = sorted(found, key=lambda one: (_natural(one.version), _natural(one.path)))
    begins = {one.start for one in found}
    items = []
    for rank, one in enumerate(ordered):
        end = one.stop if one.stop in begins and one.start < one.stop else one.stop + 1
        items.append((one.start, end, -rank, one))
        if slack:
            low = len(found) - rank
            items += [(one.start - slack, one.start, low, one), (end, end + slack, low, one)]
    items.sort(key=lambda item: item[0])
    points = sorted({point for begin, end, _, _ in items for point in (begin, end)})
    active: list[tuple[int, int, int, Granule]] = []
    made: list[tuple[Granule, int, int]] = []
    at = 0
    for low, high in pairwise(points):
        while at < len(items) and items[at][0] <= low:
            _, end, rank, one = items[at]
            heapq.heappush(active, (rank, at, end, one))
            at += 1
        while active and active[0][2] <= low:
            heapq.heappop(active)
        if not active or high <= start or low >= stop:
            continue
        one = active[0][3]
        if made and made[-1][0] is one and made[-1][2] == low:
            made[-1] = (one, made[-1][1], min(high, stop))
        else:
            made.append((one, max(low, start), min(high, stop)))
    return made


def _natural(text: str) -> list[tuple[int, str]]:
    """Order versions and names by the numbers in them: v10 comes behind v9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBERS.split(text) if part]


def _broken(path: str, error: HvenError) -> Unavailable:
    return Unavailable(say("the file {path} cannot be read: {reason}", path, error.message), remedy=error.remedy)


def _together(found: Sequence[Layout], series: Series) -> Described:
    """Put together what files have, the newest first; channels that are not the same in all become a parameter of each sample."""
    columns: dict[str, Column] = {}
    bins: dict[str, tuple[Bins, ...]] = {}
    lengths: dict[str, int] = {}
    tables: dict[str, str] = {}
    notes: list[str] = []
    for layout in found:
        for one in layout.columns:
            known = columns.get(one.name)
            columns[one.name] = one if known is None else _wider(known, one)
            lengths[one.name] = max(lengths.get(one.name, 1), layout.lengths.get(one.name, 1))
    order = {name.casefold(): at for at, name in enumerate(series.parameters)}
    made = sorted(columns.values(), key=lambda one: order.get(one.name.casefold(), 0))
    own = [{one.name: one for one in layout.columns} for layout in found]
    for one in tuple(made):
        having = [at for at, columns_of in enumerate(own) if one.name in columns_of]
        each = [found[at].bins.get(one.name, ()) for at in having]
        if any(own[at] and one.name not in own[at] for at in range(len(found))):
            notes.append(f"{one.name} is not in all files; where it is not, it is filled")
        said = {own[at][one.name].unit or "" for at in having}
        if len(said) > 1:
            notes.append(f"the unit of {one.name} is " + ("not said in all files" if "" in said else f"another one in some files; all values are in {one.unit}"))  # fmt: skip
        if not each[0]:
            continue
        bins[one.name] = each[0]
        if all(other == each[0] for other in each):
            continue
        if len(each[0]) == 1 and all(len(other) == 1 for other in each):
            first = each[0][0]
            name = first.name if first.name not in columns else f"{one.name}_{first.name}"
            columns[name] = one
            tables[name] = one.name
            size = int(np.prod([part or 1 for part in one.type.shape]))
            made.append(Column(name=name, type=Type("double", str(size)), unit=first.unit, description=f"Of the elements of {one.name}, which change"))  # fmt: skip
            bins[one.name] = (replace(first, centers=name, ranges=()),)
            notes.append(f"the channels of {one.name} change with time: they are the parameter {name}")
        else:
            del bins[one.name]
            notes.append(f"what the elements of {one.name} stand for changes, and is not told")
    there = {one.name.casefold() for one in made}
    notes += [f"{name} is in no file" for name in series.parameters if name.casefold() not in there][:100]
    fine = any(layout.finer for layout in found)  # files with such digits have a layout of their own
    return Described(found[0].time, tuple(made), bins, lengths, tables, tuple(notes), fine)


def _wider(one: Column, other: Column) -> Column:
    """Find a column that has the values of two; units are those of the first."""
    first, second = one.type, other.type
    if first.is_string or second.is_string:
        return one
    if not one.unit and other.unit:
        one = one.having(unit=other.unit)
    alike = first.datatype == second.datatype and (one.unit or "") == (other.unit or "")
    kind = first.datatype if alike else "double"
    shapes = [tuple(part or 1 for part in each.shape) for each in (first, second)]
    shape = (
        tuple(max(pair) for pair in zip(*shapes, strict=True)) if len(shapes[0]) == len(shapes[1]) == 1 else shapes[0]
    )
    return one.having(type=Type(kind, "x".join(map(str, shape)) or None, first.xtype))


def _same_bins(name: str, own: tuple[Bins, ...], told: Described, path: str) -> None:
    """Refuse channels that are not those that were told."""
    if name in told.tables.values() or name not in told.bins:
        return
    if [(one.centers, one.ranges) for one in own] != [(one.centers, one.ranges) for one in told.bins[name]]:
        raise Unavailable(say("the channels of {name} in {path} are not those of the data set", name, path), remedy=say("ingest the collection again"))  # fmt: skip


def _fitted(array: pa.Array, own: Column, column: Column, path: str) -> pa.Array:
    """Make values of a file those of the data set; elements that the file does not have are none."""
    kind = column.arrow.type
    here, there = units.meant(own.unit), units.meant(column.unit)
    if here and there and not units.same(here, there):
        if not units.convertible(here, there) or not column.type.datatype == "double":
            raise Unavailable(
                say("{name} of {path} is in {own}, and in {unit} in the data set", column.name, path, here, there),
                remedy=say(
                    "variables: {{{name}: {{unit: ..}}}} if that is wrong; else a series of its own", column.name
                ),
            )
        inner = array.flatten() if pa.types.is_fixed_size_list(array.type) else array
        scaled = pc.multiply(inner.cast(pa.float64()), units.factor(here, there))
        nested = pa.types.is_fixed_size_list(array.type)
        array = pa.FixedSizeListArray.from_arrays(scaled, array.type.list_size) if nested else scaled
    if array.type == kind:
        return array
    try:
        if pa.types.is_fixed_size_list(kind) and pa.types.is_fixed_size_list(array.type):
            size, there = kind.list_size, array.type.list_size
            flat = array.flatten().cast(kind.value_type)
            if size != there and len(column.type.shape) == 1 and there < size:
                rows = np.arange(len(array) * there).reshape(-1, there)
                places = np.pad(rows, ((0, 0), (0, size - there)), constant_values=-1).ravel()
                flat = flat.take(pa.array(places, mask=places < 0))
            elif size != there:
                raise pa.ArrowInvalid(f"{there} elements")  # noqa: TRY301
            return pa.FixedSizeListArray.from_arrays(flat, size)
        return array.cast(kind)
    except pa.ArrowInvalid as error:
        message = say("{name} of {path} is no {kind} as in the data set: {reason}", column.name, path, str(column.type), str(error)[:100])  # fmt: skip
        raise Unavailable(message) from None


def _repeated(bins: tuple[Bins, ...], column: Column, rows: int) -> pa.Array:
    """Write channels of a file under each of its samples."""
    size = column.arrow.type.list_size
    centers = bins[0].centers if bins and isinstance(bins[0].centers, tuple) else ()
    one = np.full(size, np.nan)
    one[: len(centers)] = centers[:size]
    return pa.FixedSizeListArray.from_arrays(pa.array(np.tile(one, rows)), size).cast(column.arrow.type)


def _bound(column: Column, moment: int) -> str:
    """Write a time as the column has it."""
    if column.epoch is None:
        return f"CAST({literal(iso(moment)[:-1])} AS TIMESTAMP)"
    return repr(moment / DAY + UNIX - column.epoch)


def _micros(column: Column, value: Any) -> int:
    """Read a time of a row."""
    if column.epoch is None:
        return int(np.datetime64(value, "us").astype(np.int64))
    return round((float(value) + column.epoch - UNIX) * (DAY // 1000)) * 1000


__all__ = ["Described", "Files", "Granule", "segments"]
