"""Data sets made of others: the same samples in wider bins, from what is kept of them, the times at which there are samples at all, and the files.

Clients find them as `x_relations` and `x_availability` in the info of the data set that they are made of, and ask for
them as for any other. Lists of files are as the draft of HAPI 3.4 has them (its schema's `infoFileListing`): `Time`,
`fileURI`, `fileSize`.

Common
------
context, principal, published_state
    As of `hven.services.series`.
data_set
    A data set.
base_extent
    From when to when the one that it is made of has samples.
data_sets
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
from hven.services._granules import ENTIRE_TIME_SPAN, DataSetFiles
from hven.services._reductions import WIDTHS
from hven.services._time_texts import SECOND_MICROSECONDS
from hven.services.series import DataSet, SampleParameter, TimeExtent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.services.face import ServiceContext
    from hven.site import PublishedState
    from hven.site.auth import Principal

    Whole = npt.NDArray[np.int64]

AVAILABILITY_KIND, FILE_LISTING_KIND = "available", "listed"
MAX_AVAILABILITY_BINS = 200_000  # bins of the whole time in which samples are looked for, at most
SAMPLES_PRESENT_CODE = 200  # the code of a time with samples, as proposed for HAPI
DEFAULT_PATH_BYTES = 1024  # bytes of a path, where nothing is known of them
_BIN_STATISTICS = (("m", "", ""), ("l", "_min", "Lowest"), ("h", "_max", "Largest"))


def format_duration(seconds: float) -> str:
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
    days, remaining_seconds = divmod(seconds, 86_400)
    hours, remaining_seconds = divmod(remaining_seconds, 3_600)
    minutes, remaining_seconds = divmod(remaining_seconds, 60)
    clock = "".join(
        f"{amount:.9g}{unit}" for amount, unit in ((hours, "H"), (minutes, "M"), (remaining_seconds, "S")) if amount
    )
    return "P" + (f"{days:.0f}D" if days else "") + (f"T{clock}" if clock or not days else "")


def add_derived_sets(
    context: ServiceContext, principal: Principal, data_sets: Mapping[str, DataSet], published_state: PublishedState
) -> dict[str, DataSet]:
    """Add to data sets those that are made of them."""
    all_sets = dict(data_sets)
    for base_set in data_sets.values():
        base_extent = series.find_time_extent(context, principal, base_set, published_state)
        if base_extent.start is None or base_extent.stop is None or base_set.stop_column or base_set.remote is not None:
            continue
        widths = pyramids.list_widths(context, principal, base_set, base_extent)
        derived_sets = [_derive_coarse_set(base_set, width) for width in widths]
        if base_set.file_layout is not None:
            derived_sets += [_derive_availability_set(base_set, 1), _derive_file_listing(base_set, published_state)]
        elif base_set.series.cadence and (widths or base_extent.row_count <= pyramids.MAX_DIRECT_VALUES):
            min_width = max(
                (base_extent.stop - base_extent.start) / MAX_AVAILABILITY_BINS,
                base_set.series.cadence * 2 * SECOND_MICROSECONDS,
            )
            availability_set = _derive_availability_set(
                base_set, next((width for width in WIDTHS if width >= min_width), WIDTHS[-1])
            )
            derived_sets.append(availability_set)
        for derived_set in derived_sets:
            all_sets.setdefault(derived_set.id, derived_set)
    return all_sets


def _derive_coarse_set(data_set: DataSet, bin_microseconds: int) -> DataSet:
    cadence = bin_microseconds / SECOND_MICROSECONDS
    derived_series = replace(
        data_set.series,
        id=f"{data_set.id}_{format_duration(cadence).replace('.', '_')}",
        title=f"{data_set.series.title or data_set.table.title or data_set.id}: means, {format_duration(cadence)}",
        cadence=cadence,
        stamp="center",
        places={},
        colors={},
    )
    parameters = tuple(parameter for parameter, *_ in _list_bin_parameters(data_set))
    time = _limit_time_precision(data_set.time)
    return replace(
        data_set,
        series=derived_series,
        time=time,
        parameters=parameters,
        left_out=(),
        notes=(),
        base_set=data_set,
        bin_microseconds=bin_microseconds,
    )


def _limit_time_precision(time: SampleParameter) -> SampleParameter:
    """Make the time of what is told by the microsecond."""
    return replace(time, byte_length=min(time.byte_length, 27))


def _list_bin_parameters(data_set: DataSet) -> Iterator[tuple[SampleParameter, str, str]]:
    """Yield what bins have of the parameters that are numbers: which value, of which."""
    for parameter in data_set.parameters:
        # bins that change with each sample have no mean
        if parameter.value_kind not in {"double", "integer"} or any(
            isinstance(bins.centers, str) for bins in parameter.bins
        ):
            continue
        for letter, ending, word in _BIN_STATISTICS:
            if letter == "l" and parameter.dimensions:
                continue
            about = f"{word} of {parameter.name}" if word else parameter.column.description
            column = parameter.column.copy_with(
                name=parameter.name + ending,
                description=about,
                type=parameter.column.type if parameter.dimensions else FLOAT64,
            )
            yield replace(parameter, column=column, value_kind="double", fill="NaN"), letter, parameter.name


def _derive_availability_set(data_set: DataSet, bin_microseconds: int) -> DataSet:
    title = (
        f"{data_set.series.title or data_set.table.title or data_set.id}: when there are "
        f"{'files' if data_set.file_layout is not None else 'samples'}"
    )
    availability_series = replace(
        data_set.series,
        id=f"{data_set.id}_availability",
        title=title,
        description=None,
        cadence=None,
        stamp="begin",
        places={},
        colors={},
    )
    if data_set.file_layout is not None:
        of = "; gaps within a file are not told"
    else:
        of = ""
    end = Column(name="endTime", type=parse_type("timestamp"), description=f"Behind the last sample of the span{of}")
    code = Column(name="code", type=parse_type("int32"), description="200: there are samples")
    time = _limit_time_precision(data_set.time)
    parameters = (
        SampleParameter(column=end, value_kind="isotime", byte_length=time.byte_length, fill=" " * time.byte_length),
        SampleParameter(column=code, value_kind="integer", fill="-1"),
        SampleParameter(
            column=Column(name="message", type=parse_type("string")), value_kind="string", byte_length=8, fill=""
        ),
    )
    return replace(
        data_set,
        series=availability_series,
        time=time,
        parameters=parameters,
        left_out=(),
        notes=(),
        base_set=data_set,
        bin_microseconds=bin_microseconds,
        derivation=AVAILABILITY_KIND,
        stop_column="endTime",
    )


def _derive_file_listing(data_set: DataSet, published_state: PublishedState) -> DataSet:
    """Make the list of the files in which samples stand, those of older versions among them."""
    listed = published_state.tables_by_name.get(f"{data_set.table.schema}.files")
    path_statistics: Mapping[str, Any] = listed.statistics.get("path", {}) if listed is not None else {}
    longest = int(path_statistics.get("max_length") or DEFAULT_PATH_BYTES) * (
        4 if path_statistics.get("non_ascii") else 1
    )
    title = f"{data_set.series.title or data_set.table.title or data_set.id}: files"
    series_of = replace(
        data_set.series,
        id=f"{data_set.id}_files",
        title=title,
        description=None,
        cadence=None,
        stamp="begin",
        places={},
        colors={},
    )
    time = replace(
        _limit_time_precision(data_set.time),
        column=data_set.time.column.copy_with(name="Time", description="Of the first sample in the file"),
    )
    path = Column(name="fileURI", type=parse_type("string"), description="File with samples")
    size = Column(name="fileSize", type=FLOAT64, unit="byte", description="Of the file")
    parameters = (
        SampleParameter(column=path, value_kind="string", byte_length=longest, fill=""),
        SampleParameter(column=size, value_kind="double"),
    )
    return replace(
        data_set,
        series=series_of,
        time=time,
        parameters=parameters,
        left_out=(),
        notes=(),
        base_set=data_set,
        bin_microseconds=1,
        derivation=FILE_LISTING_KIND,
    )


def describe_relations(data_set: DataSet, data_sets: Mapping[str, DataSet]) -> dict[str, Any]:
    """Say which data sets are made of one, as keys of its info: by the names that HAPI's extensions have."""
    base = data_set.base_set or data_set
    if data_set.derivation == FILE_LISTING_KIND:
        return {"x_relations": [{"id": base.id, "type": "isFileListingOf"}]}
    wider = [
        {
            "id": each.id,
            "description": each.series.title,
            "cadence": format_duration(width / SECOND_MICROSECONDS),
            "type": "resample",
            "method": "mean",
        }
        for width in WIDTHS
        if width > data_set.bin_microseconds and data_set.derivation != AVAILABILITY_KIND
        if (each := data_sets.get(f"{base.id}_{format_duration(width / SECOND_MICROSECONDS).replace('.', '_')}"))
        is not None
        and each.base_set is base
    ]
    relations: dict[str, Any] = {"x_relations": wider} if wider else {}
    spans = data_sets.get(f"{base.id}_availability")
    return relations | (
        {"x_availability": spans.id}
        if data_set.base_set is None and spans is not None and spans.base_set is base
        else {}
    )


def derive_time_extent(data_set: DataSet, base_extent: TimeExtent) -> TimeExtent:
    """Return from when to when a data set that is made of another one has records: its bins, as a whole."""
    if base_extent.start is None or base_extent.stop is None:
        return base_extent
    low = base_extent.start // data_set.bin_microseconds
    high = -(-base_extent.stop // data_set.bin_microseconds)
    row_count = min(base_extent.row_count, high - low)
    return TimeExtent(
        start=low * data_set.bin_microseconds,
        stop=high * data_set.bin_microseconds,
        row_count=row_count,
    )


def read_derived_set(
    context: ServiceContext,
    principal: Principal,
    data_set: DataSet,
    names: Sequence[str],
    start: int,
    stop: int,
    published_state: PublishedState,
) -> Iterator[pa.RecordBatch]:
    """Read a data set that is made of another one.

    Parameters
    ----------
    names, start, stop
        As of `series.read_samples`.

    Yields
    ------
    batches
        As of `series.read_samples`.
    """
    base = data_set.base_set or data_set
    width = data_set.bin_microseconds
    if data_set.derivation == AVAILABILITY_KIND:
        base_extent = series.find_time_extent(context, principal, base, published_state)
        if base_extent.start is not None and base_extent.stop is not None:
            if base.file_layout is not None:
                begins, ends = _find_file_spans(context, principal, base, published_state)
            else:
                begins, ends = _find_sampled_spans(
                    pyramids.read_bins(
                        context, principal, base, [], base_extent.start, base_extent.stop, width, published_state
                    ),
                    width,
                )
            yield _build_span_batch(begins, ends, names, start, stop)
        return
    if data_set.derivation == FILE_LISTING_KIND:
        yield from DataSetFiles(context, principal, base.series, base.table, published_state).list_file_batches(
            names, start, stop
        )
        return
    chosen = [
        (parameter, f"{letter} {name}", name)
        for parameter, letter, name in _list_bin_parameters(base)
        if parameter.name in set(names)
    ]
    source_names = list(dict.fromkeys(name for *_, name in chosen))
    for bins in pyramids.read_bins(context, principal, base, source_names, start, stop, width, published_state):
        middle = bins["number"] * width + width // 2
        inside = (middle >= start) & (middle < stop)
        if not inside.any():
            continue
        arrays = [pa.array(middle[inside])]
        for parameter, field, _ in chosen:
            values = np.ascontiguousarray(bins[field][inside], np.float64).reshape(int(inside.sum()), -1)
            flat = pa.array(values.ravel())
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if parameter.dimensions else flat)
        yield pa.record_batch(arrays, names=["hven_time", *(parameter.name for parameter, *_ in chosen)])


def _find_sampled_spans(parts: Iterator[Any], bin_microseconds: int) -> tuple[Whole, Whole]:
    """Join bins that follow each other."""
    numbers = np.concatenate([np.zeros(0, np.int64), *(np.asarray(part["number"]) for part in parts)])
    return _join_spans(numbers * bin_microseconds, (numbers + 1) * bin_microseconds, 0)


def _find_file_spans(
    context: ServiceContext, principal: Principal, data_set: DataSet, published_state: PublishedState
) -> tuple[Whole, Whole]:
    """Join files between which less than two samples are missing."""
    cadence = round((data_set.series.cadence or 0) * SECOND_MICROSECONDS)
    files = DataSetFiles(context, principal, data_set.series, data_set.table, published_state).list_granules(
        *ENTIRE_TIME_SPAN
    )
    begins, ends = np.array(sorted((each.start, each.stop) for each in files), np.int64).reshape(-1, 2).T
    return _join_spans(begins, np.maximum.accumulate(ends) + (cadence or 1), cadence)


def _join_spans(begins: Whole, ends: Whole, max_gap: int) -> tuple[Whole, Whole]:
    """Join spans in order that are not further apart than so many microseconds."""
    gaps = np.flatnonzero(begins[1:] > ends[:-1] + max_gap)
    return begins[np.r_[0, gaps + 1][: len(begins)]], ends[np.r_[gaps, len(ends) - 1][: len(ends)]]


def _build_span_batch(begins: Whole, ends: Whole, names: Sequence[str], start: int, stop: int) -> pa.RecordBatch:
    inside = (begins >= start) & (begins < stop)
    count = int(inside.sum())
    arrays_by_name = {
        "endTime": pa.array(ends[inside]).cast(pa.timestamp("us")),
        "code": pa.array(np.full(count, SAMPLES_PRESENT_CODE, np.int32)),
        "message": pa.repeat("samples", count),
    }
    return pa.record_batch(
        [pa.array(begins[inside]), *(arrays_by_name[name] for name in arrays_by_name if name in names)],
        names=["hven_time", *(name for name in arrays_by_name if name in names)],
    )


__all__ = ["add_derived_sets", "derive_time_extent", "describe_relations", "format_duration", "read_derived_set"]
