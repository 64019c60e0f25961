"""Data sets of samples in time: which a reader has, what their parameters are, and their samples as Arrow batches in the order of time.

Faces (HAPI, das2) write what is read here; the samples come by the one road, a window of time at a time, so that neither memory nor the clock
of a query limits how long a data set is.

Common
------
around
    The site.
who
    The reader.
one
    The data set.
holdings
    The state that is read, whatever is published meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import Response, StreamingResponse

from hven import query
from hven.adql.text import literal, quote
from hven.engines import Snapshot
from hven.model import Cache
from hven.model.errors import HvenError
from hven.model.table import Column, begins_and_ends, is_time
from hven.model.types import parse_type
from hven.services._encoding import Encoder, choose
from hven.services._granules import Files
from hven.services._parameters import Parameter, has_text_arrays, make_parameter, make_stamp
from hven.services._referenced import referenced
from hven.services._sample_streams import sample_streams
from hven.services._shared_tables import write_sample_condition
from hven.services._stamps import DAY, SECOND, UNIX, iso, layout, micros, nanos, stamps
from hven.services.address import base

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from starlette.requests import Request

    from hven.model.table import Series, Table
    from hven.services._granules import Described
    from hven.services._referenced import Far
    from hven.services.face import Surroundings
    from hven.site import Holdings, Published
    from hven.site.auth import Reader

CELLS = 1_000_000  # values of a window of time, about: with an index on times, what is read stays in the cache
MOST = 2**62
AGAIN = 10.0  # seconds after which files that could not be read are tried again
LATER = 50.0  # more of them, where another server has to be asked
COMPRESSED = 1_400  # bytes from which compressing is worth it


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """One data set, as a reader knows it.

    Attributes
    ----------
    series
        What its descriptor says.
    published
        Its table.
    table
        The same as the reader knows it.
    time
        When samples were taken.
    parameters
        In order, without the time.
    left_out
        Columns that can be no parameter, and why.
    notes
        What else is to be said of it.
    told
        What its files have, where its samples stand in files.
    stop
        Name of the column in which events end; empty: samples have no end.
    count
        How many samples there are, about.
    state
        What tells a state of its files from others; empty: its samples are rows. None: not everybody may take all of its files.
    of, width, how
        The data set that it is made of, in bins of so many microseconds: of means, or ``available``; None, 0 and empty: of none.
    far
        Where its samples are asked for; None: they are here.
    """

    series: Series
    published: Published
    table: Table
    time: Parameter
    parameters: tuple[Parameter, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    told: Described | None = None
    stop: str = ""
    count: int = 0
    state: str | None = ""
    of: DataSet | None = None
    width: int = 0
    how: str = ""
    far: Far | None = None

    @property
    def changing(self) -> str:
        """What tells an answer from the one before, where nobody here knows whether it is the same; else empty."""
        return token_hex(8) if self.far is not None else ""

    @property
    def fine(self) -> bool:
        """Whether its times have nanoseconds."""
        return self.told is not None and self.told.fine

    @property
    def id(self) -> str:
        """Under which HAPI has it."""
        return self.series.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From when to when a reader has samples.

    Attributes
    ----------
    start, stop
        Of the first sample, and behind the last: microseconds since 1970 (UTC); None: there are none.
    rows
        How many.
    """

    start: int | None
    stop: int | None
    rows: int


def data_sets(
    around: Surroundings, who: Reader, face: str, holdings: Holdings, *, collection: str | None = None
) -> dict[str, DataSet]:
    """List the data sets of tables that a reader may know of.

    Parameters
    ----------
    face
        That asks: tables whose collection leaves it out have none.
    collection
        Of its tables alone; None: of all.

    Returns
    -------
    data_sets
        By id; of two with one id the first.
    """
    found: dict[str, DataSet] = {}
    for table in holdings.catalogue(who, around.policies).tables():
        if not table.series or not table.offers(face) or table.release is not None:
            continue
        if collection is not None and table.schema != collection:
            continue
        published = holdings.published.get(table.qualified)
        if published is None:
            continue
        known = {**_statistics(around, who, published, holdings), **_text_arrays(around, who, published, holdings)}
        far = referenced(around, published)
        for series in table.series:
            if far is not None:
                made = _far(around, who, far, series, published, holdings)
            else:
                made = _in_files(around, who, series, table, published, holdings) if series.file else _made(series, table, published, known)  # fmt: skip
            if made is not None:  # of two with one id the first; `hven check` tells
                found.setdefault(made.id, made)
    return found


def _made(series: Series, table: Table, published: Published, known: Mapping[str, Mapping[str, Any]]) -> DataSet | None:
    columns = {column.name.lower(): column for column in table.columns}
    begin, end = begins_and_ends(table)
    time = columns.get(series.time.lower()) if series.time else begin
    if time is None or not is_time(time):  # `hven check` tells
        return None
    names = series.parameters or [one.name for one in table.columns if not one.hidden]
    stop = end.name if end is not None and end is not begin and time is begin else ""  # of events
    parameters, left = [], []
    for column in (columns[name.lower()] for name in names if name.lower() in columns):
        if column.name == time.name:
            continue
        made = make_stamp(column) if column.name == stop else make_parameter(column, known.get(column.name, {}), series)
        if isinstance(made, str):
            left.append((column.name, made))
        else:
            parameters.append(made)
    return DataSet(series=series, published=published, table=table, time=replace(make_stamp(time), fill=None), parameters=tuple(parameters), left_out=tuple(left), stop=stop, count=published.rows or 0)  # fmt: skip


def _far(
    around: Surroundings, who: Reader, far: Far, series: Series, published: Published, holdings: Holdings
) -> DataSet | None:
    """Make a data set of a server elsewhere; None: the server does not say what it is."""
    relation = published.relation
    key = ("far", series.id, relation.id if isinstance(relation, Snapshot) else holdings.version, repr(series))
    kept: Facts = around.site.kept(Facts)
    found: tuple[DataSet] | None = kept.find(key)
    if found is None:
        faults = _faults(around, holdings, holdings.reach(who, around.policies))
        if series.id in faults and monotonic() < faults[series.id][1] + AGAIN:
            return None
        try:
            (time, *columns), bins, lengths, cadence = far.described()
        except HvenError as error:
            faults[series.id] = faults[series.path] = error, monotonic() + LATER
            return None
        for name in (series.id, series.path):
            faults.pop(name, None)
        said = replace(series, bins={**bins, **series.bins}, cadence=series.cadence or cadence)
        made = [
            (one.name, make_parameter(one, {"max_length": lengths.get(one.name), "minimum": None}, said))
            for one in columns
        ]
        left = tuple((name, one) for name, one in made if isinstance(one, str))
        stamp = Parameter(column=time, kind="isotime", length=27, fill=None)
        parameters = tuple(one for _, one in made if not isinstance(one, str))
        one_set = DataSet(series=said, published=published, table=published.table, time=stamp, parameters=parameters, left_out=left, state=None, far=far)  # fmt: skip
        kept.keep(key, found := (one_set,))
    return replace(found[0], published=published, table=published.table)


def _in_files(
    around: Surroundings, who: Reader, series: Series, table: Table, published: Published, holdings: Holdings
) -> DataSet | None:
    """Make a data set of what files have; None: the reader may take none, or none can be read."""
    key = ("set", series.id, holdings.version, holdings.reach(who, around.policies))
    kept: Facts = around.site.kept(Facts)
    found: tuple[DataSet | None] | None = kept.find(key)
    if found is None:
        faults = _faults(around, holdings, holdings.reach(who, around.policies))
        if series.id in faults and monotonic() < faults[series.id][1] + AGAIN:
            return None
        files = Files(around, who, series, table, holdings) if begins_and_ends(table)[0] else None
        try:
            told = files.described(kept) if files is not None else None
        except HvenError as error:
            faults[series.id] = faults[series.path] = error, monotonic()
            return None
        for name in (series.id, series.path):
            faults.pop(name, None)
        extent = files.extent() if files is not None and told is not None else None
        if files is not None and told is not None and extent is not None:
            told = files.counted(told, extent)
        listed = holdings.published.get(f"{table.schema}.files")
        relation = listed.relation if listed is not None else None
        state = None if files is None or files.guarded else relation.id if isinstance(relation, Snapshot) else None
        made, left = [], []
        for column in told.columns if told is not None else ():
            # samples in files: their readers have made null what the files fill
            known = {"max_length": told.lengths.get(column.name, None if column.type.is_array else 1), "minimum": None} if told is not None else {}  # fmt: skip
            one = make_parameter(column, known, replace(series, bins=told.bins) if told is not None else series)
            if isinstance(one, str):
                left.append((column.name, one))
            else:
                made.append(one)
        length = 30 if told is not None and told.fine else 27
        time = Parameter(column=Column(name=told.time if told else "Time", type=parse_type("timestamp"), ucd="time.epoch"), kind="isotime", length=length, fill=None)  # fmt: skip
        one_set = None if told is None else DataSet(series=series, published=published, table=table, time=time, parameters=tuple(made), left_out=tuple(left), notes=told.notes, told=told, count=extent[2] if extent else 0, state=state)  # fmt: skip
        kept.keep(key, found := (one_set,))
    return found[0]


def _faults(around: Surroundings, holdings: Holdings, reach: str) -> dict[str, tuple[HvenError, float]]:
    """Find the data sets whose files nobody can read now: why, and when that was seen, by id and path."""
    kept: Facts = around.site.kept(Facts)
    key = ("faults", holdings.version, reach)
    found: dict[str, tuple[HvenError, float]] | None = kept.find(key)
    if found is None:
        kept.keep(key, found := {})
    return found


class Facts(Cache[Any]):
    """What was asked of tables whose ingest cannot say it of all readers alike."""

    def __init__(self) -> None:
        super().__init__(10_000)


class Lists(Cache["dict[str, DataSet]"]):
    """The data sets of readers who know of the same tables and see the same rows, as long as these stay; so many data sets in all."""

    def __init__(self) -> None:
        super().__init__(50_000)


def _statistics(
    around: Surroundings, who: Reader, published: Published, holdings: Holdings
) -> Mapping[str, Mapping[str, Any]]:
    """Find how long texts and how large integers are: as the ingest counted, or, where some readers see less, among the rows that this one sees."""
    table = published.table
    texts = [one.name for one in table.columns if one.type.is_string]
    whole = [one.name for one in table.columns if one.type.is_integer and one.type.datatype in {"int", "long"}]
    if table.policy is None and all("max_length" in published.statistics.get(name, {}) for name in texts):
        return published.statistics
    key = ("texts", table.qualified, holdings.version, holdings.reach(who, around.policies))
    kept: Facts = around.site.kept(Facts)
    found: dict[str, dict[str, Any]] | None = kept.find(key)
    if found is None:
        found = {name: {"max_length": 1} for name in texts}
        name = f"{quote(table.schema)}.{quote(table.name)}"
        run = partial(query.run, who=who, site=around.site, policies=around.policies, holdings=holdings)
        if texts:
            with run(f"SELECT {', '.join(map(quote, texts))} FROM {name}", maxrec=MOST, most=MOST) as result:
                for batch in result.batches():
                    for at, one in enumerate(texts):
                        longest = pc.max(pc.binary_length(batch.column(at))).as_py() or 0
                        found[one]["max_length"] = max(found[one]["max_length"], longest)
        if whole:
            items = ", ".join(f"MIN({quote(one)}), MAX({quote(one)})" for one in whole)
            with run(f"SELECT {items} FROM {name}") as result:
                row = [column[0].as_py() for column in result.table().columns]
            found |= {one: {"minimum": row[2 * at], "maximum": row[2 * at + 1]} for at, one in enumerate(whole)}
        kept.keep(key, found)
    return found


def _text_arrays(
    around: Surroundings, who: Reader, published: Published, holdings: Holdings
) -> Mapping[str, Mapping[str, Any]]:
    """Find how long the texts of arrays are, among the rows that a reader sees: the ingest counts those of plain texts alone."""
    table = published.table
    said = {name.lower() for series in table.series for name in series.parameters}
    texts = [one.name for one in table.columns if has_text_arrays(one.type) and (not said or one.name.lower() in said)]
    if not texts:
        return {}
    key = ("text arrays", table.qualified, holdings.version, holdings.reach(who, around.policies))
    kept: Facts = around.site.kept(Facts)
    found: dict[str, dict[str, Any]] | None = kept.find(key)
    if found is None:
        found = {name: {"max_length": 1} for name in texts}
        name = f"{quote(table.schema)}.{quote(table.name)}"
        run = partial(query.run, who=who, site=around.site, policies=around.policies, holdings=holdings)
        with run(f"SELECT {', '.join(map(quote, texts))} FROM {name}", maxrec=MOST, most=MOST) as result:
            for batch in result.batches():
                for at, one in enumerate(texts):
                    longest = pc.max(pc.binary_length(pc.list_flatten(batch.column(at)))).as_py() or 0
                    found[one]["max_length"] = max(found[one]["max_length"], longest)
        kept.keep(key, found)
    return found


def span(around: Surroundings, who: Reader, one: DataSet, holdings: Holdings) -> Span:
    """Return from when to when a reader has samples; where all rows are everybody's, what the ingest has counted says it."""
    if one.told is not None:
        return _extent(around, who, one, holdings)
    table, facts, shared = one.published.table, one.published.statistics, one.far is None and len(one.table.series) > 1
    own = write_sample_condition([each.name for each in one.parameters], facts) if shared else ()
    known = facts.get(one.time.name, {})
    everybodys = one.far is None and not (table.policy or table.view or one.series.condition or own)
    key = ("span", one.id, holdings.version, holdings.reach(who, around.policies))
    kept: Facts = around.site.kept(Facts)
    if everybodys and known.get("minimum") is not None and known.get("maximum") is not None:
        first, last, rows = known["minimum"], known["maximum"], one.published.rows or 0
    elif (before := kept.find(key)) is not None:
        first, last, rows = before
    else:
        begin, end = ("begins", "ends") if one.far is not None else (quote(one.time.name),) * 2
        text = f"SELECT MIN({begin}) AS low, MAX({end}) AS high, COUNT(*) AS many FROM {_source(one, *own)}"
        with query.run(text, who, site=around.site, policies=around.policies, holdings=holdings) as result:
            ((first, last, rows),) = (tuple(row.values()) for row in result.table().to_pylist())
        kept.keep(key, (first, last, rows))
    if first is None or last is None:
        return Span(start=None, stop=None, rows=0)
    epoch = one.time.column.epoch
    if epoch is None:
        start, stop = (int(np.datetime64(str(value).rstrip("Z"), "us").astype(np.int64)) for value in (first, last))
    else:
        start, stop = (_rounded((float(str(value)) + epoch - UNIX) * DAY) for value in (first, last))
    if one.far is not None:  # which says when it ends
        return Span(start=start, stop=stop, rows=max(int((stop - start) / ((one.series.cadence or 1) * SECOND)), 1))
    behind = round((one.series.cadence or 0) * SECOND) or (1 if epoch is None else 1000)
    return Span(start=start, stop=stop + behind, rows=int(rows))


def _extent(around: Surroundings, who: Reader, one: DataSet, holdings: Holdings) -> Span:
    key = ("extent", one.id, holdings.version, holdings.reach(who, around.policies))
    kept: Facts = around.site.kept(Facts)
    found: tuple[Span] | None = kept.find(key)
    if found is None:
        said = Files(around, who, one.series, one.table, holdings).extent()
        behind = round((one.series.cadence or 0) * SECOND) or 1
        made = Span(start=None, stop=None, rows=0) if said is None else Span(start=said[0], stop=said[1] + behind, rows=said[2])  # fmt: skip
        kept.keep(key, found := (made,))
    return found[0]


def _rounded(value: float) -> int:
    return round(value / 1000) * 1000


def _source(one: DataSet, *conditions: str) -> str:
    """Write where samples come from."""
    table = f"{quote(one.table.schema)}.{quote(one.table.name)} AS target"
    said = [*((f"({one.series.condition})",) if one.series.condition else ()), *conditions]
    return f"{table}{' WHERE ' if said else ''}{' AND '.join(said)}"


def samples(
    around: Surroundings,
    who: Reader,
    one: DataSet,
    names: Sequence[str],
    start: int,
    stop: int,
    holdings: Holdings,
    width: int = 0,
) -> Iterator[pa.RecordBatch]:
    """Read samples, in the order of time: batches whose first column is the time as microseconds since 1970 (int64), then what was asked for.

    Parameters
    ----------
    names
        Of its parameters.
    start, stop
        Microseconds since 1970 (UTC): from the first one on, before the second.
    width
        Microseconds of the bins that are made of them: servers elsewhere may send as few.

    Yields
    ------
    batches
        Each of a few megabytes.

    Raises
    ------
    HvenError
        As of any query, before the first batch or later.
    """
    with sample_streams(around.site).stream():
        yield from _samples(around, who, one, names, start, stop, holdings, width)


def _samples(
    around: Surroundings,
    who: Reader,
    one: DataSet,
    names: Sequence[str],
    start: int,
    stop: int,
    holdings: Holdings,
    width: int,
) -> Iterator[pa.RecordBatch]:
    """Read samples window by window; all streams together hold no more than their budget."""
    whole = span(around, who, one, holdings)
    if whole.start is None or whole.stop is None:
        return
    start, stop = max(start, whole.start), min(stop, whole.stop)
    asked = set(names)
    chosen = [parameter for parameter in one.parameters if parameter.name in asked]
    if one.far is not None:
        if start < stop:
            yield from one.far.batches([parameter.name for parameter in chosen], start, stop, width)
        return
    if one.told is not None:
        files = Files(around, who, one.series, one.table, holdings)
        yield from files.batches(one.told, [parameter.name for parameter in chosen], start, stop)
        return
    width = 1 + sum(int(np.prod(parameter.size or (1,))) for parameter in chosen)
    streams = sample_streams(around.site)
    room = min(streams.window_cells, CELLS)
    step = max(int((whole.stop - whole.start) / max(whole.rows, 1) * max(room // width, 1)), 1)
    columns = ", ".join(quote(name) for name in (one.time.name, *(parameter.name for parameter in chosen)))
    fields = ["hven_time", *(parameter.name for parameter in chosen)]
    while start < stop:
        before, room = room, min(streams.window_cells, CELLS)
        step = max(step * room // before, 1)
        end = min(start + step, stop)
        bounds = [
            f"{quote(one.time.name)} {sign} {_bound(one, moment)}" for sign, moment in ((">=", start), ("<", end))
        ]
        text = f"SELECT {columns} FROM {_source(one, *bounds)}"
        waiting: list[pa.RecordBatch] = []
        read = 0
        with query.run(text, who, site=around.site, policies=around.policies, holdings=holdings, maxrec=MOST, most=MOST) as result:  # fmt: skip
            for batch in result.batches():
                read += batch.num_rows
                cells = [
                    _times(cell, of.column) if of.column.epoch is not None and of.kind == "isotime" else cell
                    for cell, of in zip(batch.columns[1:], chosen, strict=True)
                ]
                waiting.append(pa.record_batch([_times(batch.column(0), one.time.column), *cells], names=fields))
                if read * width > room * 4 and end - start > 1:
                    break
        if read * width > room * 4 and end - start > 1:  # a burst: shorter windows, for what is sorted is in memory
            step = max((end - start) // 8, 1)
            continue
        yield from _in_order(waiting)
        start = end
        if read * width < room // 4:  # nights, gaps: the next window is wider
            step *= 2


def fine_samples(
    around: Surroundings, who: Reader, one: DataSet, names: Sequence[str], start: int, stop: int, holdings: Holdings
) -> Iterator[pa.RecordBatch]:
    """Read samples in the order of time, of a data set whose files have nanoseconds: batches whose first column is timestamps of nanoseconds.

    Parameters
    ----------
    names
        Of its parameters.
    start, stop
        Nanoseconds since 1970 (UTC): from the first one on, before the second.

    Yields
    ------
    batches
        Each of a few megabytes.

    Raises
    ------
    HvenError
        As of `samples`.
    """
    with sample_streams(around.site).stream():
        yield from _fine_samples(around, who, one, names, start, stop, holdings)


def _fine_samples(
    around: Surroundings, who: Reader, one: DataSet, names: Sequence[str], start: int, stop: int, holdings: Holdings
) -> Iterator[pa.RecordBatch]:
    whole = span(around, who, one, holdings)
    if whole.start is None or whole.stop is None or one.told is None:
        return
    low, high = max(start // 1000, whole.start), min(-(-stop // 1000), whole.stop)
    asked = set(names)
    chosen = [parameter.name for parameter in one.parameters if parameter.name in asked]
    files = Files(around, who, one.series, one.table, holdings)
    for batch in files.batches(one.told, chosen, low, high, fine=True):
        times = np.asarray(batch.column(0)).astype(np.int64)
        first, last = (int(at) for at in np.searchsorted(times, (max(start, -MOST), min(stop, MOST))))
        if first < last:
            yield batch.slice(first, last - first)


def _in_order(batches: Sequence[pa.RecordBatch]) -> Sequence[pa.RecordBatch]:
    """Put samples in the order of time, in which they most often are: that is quicker than to have the engine sort them."""
    last = None
    for batch in batches:
        moments = np.asarray(batch.column(0))
        if len(moments) and ((last is not None and moments[0] < last) or (moments[1:] < moments[:-1]).any()):
            whole = pa.concat_batches(batches)
            return [whole.take(pa.array(np.argsort(np.asarray(whole.column(0)), kind="stable")))]
        last = moments[-1] if len(moments) else last
    return batches


def _bound(one: DataSet, moment: int) -> str:
    """Write a time as the column has it."""
    epoch = one.time.column.epoch
    if epoch is None:
        return f"CAST({literal(iso(moment)[:-1])} AS TIMESTAMP)"
    # half a millisecond before: what is shown as this time is not less than it
    return repr((moment - 500) / DAY + UNIX - epoch)


def _times(array: pa.Array, column: Column) -> pa.Array:
    """Convert times to microseconds since 1970; days in doubles to whole milliseconds."""
    if column.epoch is None:
        return array.cast(pa.timestamp("us")).cast(pa.int64())
    days = np.asarray(array.cast(pa.float64()), np.float64)
    moments = np.round((np.nan_to_num(days) + (column.epoch - UNIX)) * (DAY // 1000)).astype(np.int64) * 1000
    return pa.array(moments, mask=np.isnan(days))


class Asked:
    """A request of a face over data sets: who asks, of which state.

    Parameters
    ----------
    request
        Of the reader.
    around
        The site.

    Attributes
    ----------
    face
        Name of the face.
    """

    face = ""

    def __init__(self, request: Request, around: Surroundings) -> None:
        self.around, self.request = around, request
        self.who: Reader = around.reader(request)
        self.holdings: Holdings = around.site.current()
        self.base = base(request, around.site.settings)

    @cached_property
    def known(self) -> dict[str, DataSet]:
        """The reader's data sets, by the names that the face has for them; found in a thread, for rows may be asked."""
        kept: Lists = self.around.site.kept(Lists)
        key = (self.face, self.holdings.version, self.reach)
        found = kept.find(key)
        if found is None:
            found = self.found()
            if not _faults(self.around, self.holdings, self.reach):
                kept.keep(key, found, len(found) + 1)
        return found

    def named(self, name: str) -> DataSet | None:
        """Find a data set.

        Parameters
        ----------
        name
            As the face has it.

        Returns
        -------
        data_set
            None: the reader has none of that name.

        Raises
        ------
        HvenError
            What reads its files does not; the error says why.
        """
        found = self.known.get(name)
        fault = None if found is not None else _faults(self.around, self.holdings, self.reach).get(name)
        if fault is not None:
            raise fault[0]
        return found

    def found(self) -> dict[str, DataSet]:
        """Find the reader's data sets."""
        return data_sets(self.around, self.who, self.face, self.holdings)

    @cached_property
    def reach(self) -> str:
        """What the reader may know of and which rows they see: those with the same words get the same answers."""
        return self.holdings.reach(self.who, self.around.policies)

    def span(self, one: DataSet) -> Span:
        """Find from when to when the reader has samples.

        Parameters
        ----------
        one
            A data set.

        Returns
        -------
        span
            Of this reader.
        """
        return span(self.around, self.who, one, self.holdings)


async def streamed(
    request: Request, chunks: Callable[[], Iterator[bytes]], headers: Mapping[str, str], *, status: int = 200
) -> Response:
    """Answer with bytes that threads make one after the other; what goes wrong before the first of them is raised here, later the line is cut.

    Parameters
    ----------
    request
        Whose answer it is.
    chunks
        Makes them.
    headers
        With the media type.
    status
        Of HTTP.

    Returns
    -------
    response
        Packed, if the reader takes that.
    """
    if request.method == "HEAD":
        return Response(None, status, {**headers})
    made = chunks()
    first = await run_in_threadpool(next, made, None)
    second = await run_in_threadpool(next, made, None) if first is not None else None
    encoding = choose(request.headers.get("accept-encoding", ""))
    if second is None:
        body = first or b""
        if encoding is None or len(body) < COMPRESSED:
            return Response(body, status, {**headers})
    encoder = Encoder(encoding) if encoding is not None else None

    async def body_of() -> AsyncIterator[bytes]:
        async for piece in iterate_in_threadpool(chain(filter(None, (first, second)), made)):
            yield piece if encoder is None else await run_in_threadpool(encoder.feed, piece)
        if encoder is not None:
            yield encoder.finish()

    every = {**headers, **({} if encoding is None else {"content-encoding": encoding})}
    return StreamingResponse(body_of(), status, every)


__all__ = [
    "DAY",
    "UNIX",
    "Asked",
    "DataSet",
    "Parameter",
    "Span",
    "data_sets",
    "fine_samples",
    "iso",
    "layout",
    "micros",
    "nanos",
    "samples",
    "span",
    "stamps",
    "streamed",
]
