"""Data sets made of others: the same samples in wider bins, from what is kept of them, the times at which there are samples at all, and the files.

Clients find them as `x_relations` and `x_availability` in the info of the data set that they are made of, and ask for them as for any other.
Lists of files are as the draft of HAPI 3.4 has them (its schema's `infoFileListing`): `Time`, `fileURI`, `fileSize`.

Common
------
around, who, holdings
    As of `hven.services.series`.
one
    A data set.
whole
    From when to when the one that it is made of has samples.
known
    The reader's data sets, by id.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.model.table import Column
from hven.model.types import FLOAT64, parse_type
from hven.services import _pyramids as pyramids
from hven.services import series
from hven.services._granules import ALWAYS, Files
from hven.services._reductions import WIDTHS
from hven.services._stamps import SECOND
from hven.services.series import DataSet, Parameter, Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.services.face import Surroundings
    from hven.site import Holdings
    from hven.site.auth import Reader

    Whole = npt.NDArray[np.int64]

AVAILABLE, LISTED = "available", "listed"
SPANS = 200_000  # bins of the whole time in which samples are looked for, at most
FOUND = 200  # the code of a time with samples, as proposed for HAPI
LONGEST = 1024  # bytes of a path, where nothing is known of them
_ENDINGS = (("m", "", ""), ("l", "_min", "Lowest"), ("h", "_max", "Largest"))


def duration(seconds: float) -> str:
    """Write a duration as ISO 8601 has it.

    Parameters
    ----------
    seconds
        More than none.

    Returns
    -------
    text
        ``PT1M``.
    """
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    clock = "".join(f"{one:.9g}{unit}" for one, unit in ((hours, "H"), (minutes, "M"), (rest, "S")) if one)
    return "P" + (f"{days:.0f}D" if days else "") + (f"T{clock}" if clock or not days else "")


def with_derived(
    around: Surroundings, who: Reader, known: Mapping[str, DataSet], holdings: Holdings
) -> dict[str, DataSet]:
    """Add to data sets those that are made of them."""
    found = dict(known)
    for one in known.values():
        whole = series.span(around, who, one, holdings)
        if whole.start is None or whole.stop is None or one.stop or one.far is not None:
            continue
        widths = pyramids.offered(around, who, one, whole)
        made = [_coarse(one, width) for width in widths]
        if one.told is not None:
            made += [_available(one, 1), _listed(one, holdings)]
        elif one.series.cadence and (widths or whole.rows <= pyramids.SMALL):
            least = max((whole.stop - whole.start) / SPANS, one.series.cadence * 2 * SECOND)
            made.append(_available(one, next((width for width in WIDTHS if width >= least), WIDTHS[-1])))
        for each in made:
            found.setdefault(each.id, each)
    return found


def _coarse(one: DataSet, width: int) -> DataSet:
    cadence = width / SECOND
    said = replace(
        one.series, id=f"{one.id}_{duration(cadence).replace('.', '_')}", title=f"{one.series.title or one.table.title or one.id}: means, {duration(cadence)}",
        cadence=cadence, stamp="center", places={}, colors={},
    )  # fmt: skip
    parameters = tuple(parameter for parameter, *_ in _parts(one))
    return replace(
        one, series=said, time=_coarser(one.time), parameters=parameters, left_out=(), notes=(), of=one, width=width
    )


def _coarser(time: Parameter) -> Parameter:
    """Make the time of what is told by the microsecond."""
    return replace(time, length=min(time.length, 27))


def _parts(one: DataSet) -> Iterator[tuple[Parameter, str, str]]:
    """Yield what bins have of the parameters that are numbers: which value, of which."""
    for each in one.parameters:
        # bins that change with each sample have no mean
        if each.kind not in {"double", "integer"} or any(isinstance(bins.centers, str) for bins in each.bins):
            continue
        for letter, ending, word in _ENDINGS:
            if letter == "l" and each.size:
                continue
            about = f"{word} of {each.name}" if word else each.column.description
            column = each.column.having(name=each.name + ending, description=about, type=each.column.type if each.size else FLOAT64)  # fmt: skip
            yield replace(each, column=column, kind="double", fill="NaN"), letter, each.name


def _available(one: DataSet, width: int) -> DataSet:
    title = f"{one.series.title or one.table.title or one.id}: when there are {'files' if one.told is not None else 'samples'}"
    said = replace(one.series, id=f"{one.id}_availability", title=title, description=None, cadence=None, stamp="begin", places={}, colors={})  # fmt: skip
    of = "; gaps within a file are not told" if one.told is not None else ""
    end = Column(name="endTime", type=parse_type("timestamp"), description=f"Behind the last sample of the span{of}")
    code = Column(name="code", type=parse_type("int32"), description="200: there are samples")
    time = _coarser(one.time)
    parameters = (
        Parameter(column=end, kind="isotime", length=time.length, fill=" " * time.length),
        Parameter(column=code, kind="integer", fill="-1"),
        Parameter(column=Column(name="message", type=parse_type("string")), kind="string", length=8, fill=""),
    )
    return replace(one, series=said, time=time, parameters=parameters, left_out=(), notes=(), of=one, width=width, how=AVAILABLE, stop="endTime")  # fmt: skip


def _listed(one: DataSet, holdings: Holdings) -> DataSet:
    """Make the list of the files in which samples stand, those of older versions among them."""
    listed = holdings.published.get(f"{one.table.schema}.files")
    said: Mapping[str, Any] = listed.statistics.get("path", {}) if listed is not None else {}
    longest = int(said.get("max_length") or LONGEST) * (4 if said.get("non_ascii") else 1)
    title = f"{one.series.title or one.table.title or one.id}: files"
    series_of = replace(one.series, id=f"{one.id}_files", title=title, description=None, cadence=None, stamp="begin", places={}, colors={})  # fmt: skip
    time = replace(
        _coarser(one.time), column=one.time.column.having(name="Time", description="Of the first sample in the file")
    )
    path = Column(name="fileURI", type=parse_type("string"), description="File with samples")
    size = Column(name="fileSize", type=FLOAT64, unit="byte", description="Of the file")
    parameters = (Parameter(column=path, kind="string", length=longest, fill=""), Parameter(column=size, kind="double"))
    return replace(one, series=series_of, time=time, parameters=parameters, left_out=(), notes=(), of=one, width=1, how=LISTED)  # fmt: skip


def links(one: DataSet, known: Mapping[str, DataSet]) -> dict[str, Any]:
    """Say which data sets are made of one, as keys of its info: by the names that HAPI's extensions have."""
    base = one.of or one
    if one.how == LISTED:
        return {"x_relations": [{"id": base.id, "type": "isFileListingOf"}]}
    wider = [
        {"id": each.id, "description": each.series.title, "cadence": duration(width / SECOND), "type": "resample", "method": "mean"}
        for width in WIDTHS
        if width > one.width and one.how != AVAILABLE
        if (each := known.get(f"{base.id}_{duration(width / SECOND).replace('.', '_')}")) is not None and each.of is base
    ]  # fmt: skip
    made: dict[str, Any] = {"x_relations": wider} if wider else {}
    spans = known.get(f"{base.id}_availability")
    return made | ({"x_availability": spans.id} if one.of is None and spans is not None and spans.of is base else {})


def span(one: DataSet, whole: Span) -> Span:
    """Return from when to when a data set that is made of another one has records: its bins, as a whole."""
    if whole.start is None or whole.stop is None:
        return whole
    low, high = whole.start // one.width, -(-whole.stop // one.width)
    return Span(start=low * one.width, stop=high * one.width, rows=min(whole.rows, high - low))


def records(
    around: Surroundings, who: Reader, one: DataSet, names: Sequence[str], start: int, stop: int, holdings: Holdings
) -> Iterator[pa.RecordBatch]:
    """Read a data set that is made of another one.

    Parameters
    ----------
    names, start, stop
        As of `series.samples`.

    Yields
    ------
    batches
        As of `series.samples`.
    """
    base, width = one.of or one, one.width
    if one.how == AVAILABLE:
        whole = series.span(around, who, base, holdings)
        if whole.start is not None and whole.stop is not None:
            begins, ends = _filed(around, who, base, holdings) if base.told is not None else _sampled(pyramids.reduced(around, who, base, [], whole.start, whole.stop, width, holdings), width)  # fmt: skip
            yield _spans(begins, ends, names, start, stop)
        return
    if one.how == LISTED:
        yield from Files(around, who, base.series, base.table, holdings).listed(names, start, stop)
        return
    chosen = [(parameter, f"{letter} {name}", name) for parameter, letter, name in _parts(base) if parameter.name in set(names)]  # fmt: skip
    wanted = list(dict.fromkeys(name for *_, name in chosen))
    for bins in pyramids.reduced(around, who, base, wanted, start, stop, width, holdings):
        middle = bins["number"] * width + width // 2
        inside = (middle >= start) & (middle < stop)
        if not inside.any():
            continue
        arrays = [pa.array(middle[inside])]
        for parameter, field, _ in chosen:
            values = np.ascontiguousarray(bins[field][inside], np.float64).reshape(int(inside.sum()), -1)
            flat = pa.array(values.ravel())
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if parameter.size else flat)
        yield pa.record_batch(arrays, names=["hven_time", *(parameter.name for parameter, *_ in chosen)])


def _sampled(parts: Iterator[Any], width: int) -> tuple[Whole, Whole]:
    """Join bins that follow each other."""
    numbers = np.concatenate([np.zeros(0, np.int64), *(np.asarray(part["number"]) for part in parts)])
    return _joined(numbers * width, (numbers + 1) * width, 0)


def _filed(around: Surroundings, who: Reader, one: DataSet, holdings: Holdings) -> tuple[Whole, Whole]:
    """Join files between which less than two samples are missing."""
    cadence = round((one.series.cadence or 0) * SECOND)
    files = Files(around, who, one.series, one.table, holdings).granules(*ALWAYS)
    begins, ends = np.array(sorted((each.start, each.stop) for each in files), np.int64).reshape(-1, 2).T
    return _joined(begins, np.maximum.accumulate(ends) + (cadence or 1), cadence)


def _joined(begins: Whole, ends: Whole, apart: int) -> tuple[Whole, Whole]:
    """Join spans in order that are not further apart than so many microseconds."""
    gaps = np.flatnonzero(begins[1:] > ends[:-1] + apart)
    return begins[np.r_[0, gaps + 1][: len(begins)]], ends[np.r_[gaps, len(ends) - 1][: len(ends)]]


def _spans(begins: Whole, ends: Whole, names: Sequence[str], start: int, stop: int) -> pa.RecordBatch:
    inside = (begins >= start) & (begins < stop)
    count = int(inside.sum())
    every = {
        "endTime": pa.array(ends[inside]).cast(pa.timestamp("us")),
        "code": pa.array(np.full(count, FOUND, np.int32)),
        "message": pa.repeat("samples", count),
    }
    return pa.record_batch([pa.array(begins[inside]), *(every[name] for name in every if name in names)], names=["hven_time", *(name for name in every if name in names)])  # fmt: skip


__all__ = ["duration", "links", "records", "span", "with_derived"]
