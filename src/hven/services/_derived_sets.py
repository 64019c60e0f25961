"""Data sets made of others: the same samples in wider bins, from what is kept of them, and the times at which there are samples at all.

Clients find them as `x_relations` and `x_availability` in the info of the data set that they are made of, and ask for them as for any other.
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
from hven.services._reductions import WIDTHS
from hven.services._stamps import SECOND
from hven.services.series import DataSet, Parameter, Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.services.face import Surroundings
    from hven.site import Holdings
    from hven.site.auth import Reader

AVAILABLE = "available"
SPANS = 200_000  # bins of the whole time in which samples are looked for, at most
FOUND = 200  # the code of a time with samples, as proposed for HAPI
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
    """Add to data sets those that are made of them.

    Parameters
    ----------
    around
        The site.
    who
        The reader.
    known
        Their data sets.
    holdings
        What is published.

    Returns
    -------
    data_sets
        By id.
    """
    found = dict(known)
    for one in known.values():
        whole = series.span(around, who, one, holdings)
        if whole.start is None or whole.stop is None or one.stop:
            continue
        widths = pyramids.offered(around, who, one, whole)
        made = [_coarse(one, width) for width in widths]
        if one.series.cadence and not one.series.file and (widths or whole.rows <= pyramids.SMALL):
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
    return replace(one, series=said, parameters=parameters, left_out=(), notes=(), of=one, width=width)


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
    title = f"{one.series.title or one.table.title or one.id}: when there are samples"
    said = replace(one.series, id=f"{one.id}_availability", title=title, description=None, cadence=None, stamp="begin", places={}, colors={})  # fmt: skip
    end = Column(name="endTime", type=parse_type("timestamp"), description="Behind the last sample of the span")
    code = Column(name="code", type=parse_type("int32"), description="200: there are samples")
    parameters = (
        Parameter(column=end, kind="isotime", length=one.time.length, fill=" " * one.time.length),
        Parameter(column=code, kind="integer", fill="-1"),
        Parameter(column=Column(name="message", type=parse_type("string")), kind="string", length=8, fill=""),
    )
    return replace(one, series=said, parameters=parameters, left_out=(), notes=(), of=one, width=width, how=AVAILABLE, stop="endTime")  # fmt: skip


def links(one: DataSet, known: Mapping[str, DataSet]) -> dict[str, Any]:
    """Say which data sets are made of one, by the names that HAPI's extensions have.

    Parameters
    ----------
    one
        A data set.
    known
        Those of the reader.

    Returns
    -------
    keys
        Of its info.
    """
    base = one.of or one
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
    """Return from when to when a data set that is made of another one has records.

    Parameters
    ----------
    one
        The data set.
    whole
        Of the other one.

    Returns
    -------
    span
        Its bins, as a whole.
    """
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
    around, who, one, names, start, stop, holdings
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
            yield _spans(pyramids.reduced(around, who, base, [], whole.start, whole.stop, width, holdings), width, names, start, stop)  # fmt: skip
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


def _spans(parts: Iterator[Any], width: int, names: Sequence[str], start: int, stop: int) -> pa.RecordBatch:
    """Join bins that follow each other."""
    numbers = np.concatenate([np.zeros(0, np.int64), *(np.asarray(part["number"]) for part in parts)])
    gaps = np.flatnonzero(np.diff(numbers) > 1)
    begins = numbers[np.r_[0, gaps + 1]] * width if len(numbers) else numbers
    ends = (numbers[np.r_[gaps, len(numbers) - 1]] + 1) * width if len(numbers) else numbers
    inside = (begins >= start) & (begins < stop)
    count = int(inside.sum())
    every = {
        "endTime": pa.array(ends[inside]).cast(pa.timestamp("us")),
        "code": pa.array(np.full(count, FOUND, np.int32)),
        "message": pa.repeat("samples", count),
    }
    return pa.record_batch([pa.array(begins[inside]), *(every[name] for name in every if name in names)], names=["hven_time", *(name for name in every if name in names)])  # fmt: skip


__all__ = ["duration", "links", "records", "span", "with_derived"]
