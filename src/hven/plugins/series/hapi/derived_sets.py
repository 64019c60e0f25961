"""Data sets that are derived from others: means in wider bins, times with samples, and lists of files.

Clients find them as `x_relations` and `x_availability` in the info of the base data set, and request them as any other.
Lists of files follow the draft of HAPI 3.4 (`infoFileListing` in its schema): `Time`, `fileURI`, `fileSize`.

Common
------
context, principal, published_state
    As in `hven.plugins.series.sample_sets`.
data_set
    A data set.
base_extent
    Time span of the samples of the base data set.
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
from hven.plugins.series import pyramids, sample_sets
from hven.plugins.series.reductions import WIDTHS
from hven.plugins.series.sample_files import ENTIRE_TIME_SPAN, DataSetFiles
from hven.plugins.series.sample_sets import SampleDataSet, SampleParameter, TimeExtent
from hven.plugins.series.time_texts import SECOND_MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.services.face import ServiceContext
    from hven.site import PublishedState
    from hven.site.auth import Principal

    Whole = npt.NDArray[np.int64]

AVAILABILITY_KIND = "available"
FILE_LISTING_KIND = "listed"
MAX_AVAILABILITY_BINS = 200_000  # bins into which the whole time is divided to look for samples, at most
SAMPLES_PRESENT_CODE = 200  # code of a time with samples, as proposed for HAPI
DEFAULT_PATH_BYTES = 1024  # bytes of a path, where its column has no statistics
_BIN_STATISTICS = (("m", "", ""), ("l", "_min", "Lowest"), ("h", "_max", "Largest"))


def format_duration(seconds: float) -> str:
    """Write a duration in ISO 8601.

    Parameters
    ----------
    seconds
        A positive number of seconds.

    Returns
    -------
    text
        ``PT1M``.
    """
    days, remaining_seconds = divmod(seconds, 86_400)
    hours, remaining_seconds = divmod(remaining_seconds, 3_600)
    minutes, remaining_seconds = divmod(remaining_seconds, 60)
    amounts = {"H": hours, "M": minutes, "S": remaining_seconds}
    time_text = "".join(f"{amount:.9g}{unit}" for unit, amount in amounts.items() if amount)
    text = "P"
    if days:
        text += f"{days:.0f}D"
    if time_text or not days:
        text += f"T{time_text}"
    return text


def with_derived_sets(
    context: ServiceContext,
    principal: Principal,
    data_sets: Mapping[str, SampleDataSet],
    published_state: PublishedState,
) -> dict[str, SampleDataSet]:
    """Add derived data sets to data sets."""
    all_sets = dict(data_sets)
    for base_set in data_sets.values():
        base_extent = sample_sets.find_time_extent(context, principal, base_set, published_state)
        if base_extent.start is None or base_extent.stop is None or base_set.stop_column or base_set.remote is not None:
            continue
        widths = pyramids.list_bin_widths(context, principal, base_set, base_extent)
        derived_sets = [_derive_coarse_set(base_set, width) for width in widths]
        if base_set.file_layout is not None:
            derived_sets.append(_derive_availability_set(base_set, 1))
            derived_sets.append(_derive_file_listing(base_set, published_state))
        elif base_set.series.cadence and (widths or base_extent.row_count <= pyramids.MAX_DIRECT_VALUES):
            span_microseconds = base_extent.stop - base_extent.start
            cadence_microseconds = base_set.series.cadence * SECOND_MICROSECONDS
            min_width = max(span_microseconds / MAX_AVAILABILITY_BINS, 2 * cadence_microseconds)
            availability_width = next((width for width in WIDTHS if width >= min_width), WIDTHS[-1])
            derived_sets.append(_derive_availability_set(base_set, availability_width))
        for derived_set in derived_sets:
            all_sets.setdefault(derived_set.id, derived_set)
    return all_sets


def _write_title(data_set: SampleDataSet) -> str:
    return data_set.series.title or data_set.table.title or data_set.id


def _write_coarse_set_id(base_id: str, bin_microseconds: int) -> str:
    duration = format_duration(bin_microseconds / SECOND_MICROSECONDS)
    return f"{base_id}_{duration.replace('.', '_')}"


def _derive_coarse_set(data_set: SampleDataSet, bin_microseconds: int) -> SampleDataSet:
    cadence = bin_microseconds / SECOND_MICROSECONDS
    derived_series = replace(
        data_set.series,
        id=_write_coarse_set_id(data_set.id, bin_microseconds),
        title=f"{_write_title(data_set)}: means, {format_duration(cadence)}",
        cadence=cadence,
        stamp="center",
        places={},
        colors={},
    )
    parameters = tuple(parameter for parameter, *_ in _list_bin_statistic_parameters(data_set))
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
    """Limit a time to microseconds."""
    return replace(time, byte_length=min(time.byte_length, 27))


def _list_bin_statistic_parameters(data_set: SampleDataSet) -> Iterator[tuple[SampleParameter, str, str]]:
    """Yield the parameters of bins: each with the letter of its statistic and the parameter from which it comes."""
    for parameter in data_set.parameters:
        # channels that change with each sample have no mean
        has_changing_bins = any(isinstance(bins.centers, str) for bins in parameter.bins)
        if parameter.value_kind not in {"double", "integer"} or has_changing_bins:
            continue
        for letter, suffix, adjective in _BIN_STATISTICS:
            if letter == "l" and parameter.dimensions:
                continue
            description = parameter.column.description
            if adjective:
                description = f"{adjective} of {parameter.name}"
            column_type = FLOAT64
            if parameter.dimensions:
                column_type = parameter.column.type
            column = parameter.column.copy_with(name=parameter.name + suffix, description=description, type=column_type)
            bin_parameter = replace(parameter, column=column, value_kind="double", fill="NaN")
            yield bin_parameter, letter, parameter.name


def _derive_availability_set(data_set: SampleDataSet, bin_microseconds: int) -> SampleDataSet:
    subject = "samples"
    end_description = "End of the span, after its last sample"
    if data_set.file_layout is not None:
        subject = "files"
        end_description += "; gaps within a file are not listed"
    title = f"{_write_title(data_set)}: when there are {subject}"
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
    time = _limit_time_precision(data_set.time)
    end_column = Column(name="endTime", type=parse_type("timestamp"), description=end_description)
    code_column = Column(name="code", type=parse_type("int32"), description="200: there are samples")
    message_column = Column(name="message", type=parse_type("string"))
    end_fill = " " * time.byte_length
    parameters = (
        SampleParameter(column=end_column, value_kind="isotime", byte_length=time.byte_length, fill=end_fill),
        SampleParameter(column=code_column, value_kind="integer", fill="-1"),
        SampleParameter(column=message_column, value_kind="string", byte_length=8, fill=""),
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


def _derive_file_listing(data_set: SampleDataSet, published_state: PublishedState) -> SampleDataSet:
    """Derive the list of the files with samples, older versions included."""
    file_table = published_state.tables_by_name.get(f"{data_set.table.schema}.files")
    path_statistics: Mapping[str, Any] = {}
    if file_table is not None:
        path_statistics = file_table.statistics.get("path", {})
    path_bytes = int(path_statistics.get("max_length") or DEFAULT_PATH_BYTES)
    if path_statistics.get("non_ascii"):
        path_bytes *= 4
    listing_series = replace(
        data_set.series,
        id=f"{data_set.id}_files",
        title=f"{_write_title(data_set)}: files",
        description=None,
        cadence=None,
        stamp="begin",
        places={},
        colors={},
    )
    time_column = data_set.time.column.copy_with(name="Time", description="Time of the first sample in the file")
    time = replace(_limit_time_precision(data_set.time), column=time_column)
    path_column = Column(name="fileURI", type=parse_type("string"), description="File with samples")
    size_column = Column(name="fileSize", type=FLOAT64, unit="byte", description="Size of the file")
    parameters = (
        SampleParameter(column=path_column, value_kind="string", byte_length=path_bytes, fill=""),
        SampleParameter(column=size_column, value_kind="double"),
    )
    return replace(
        data_set,
        series=listing_series,
        time=time,
        parameters=parameters,
        left_out=(),
        notes=(),
        base_set=data_set,
        bin_microseconds=1,
        derivation=FILE_LISTING_KIND,
    )


def describe_data_set_relations(data_set: SampleDataSet, data_sets: Mapping[str, SampleDataSet]) -> dict[str, Any]:
    """Describe which data sets are derived from one, with the keys of HAPI's extensions."""
    base = data_set.base_set or data_set
    if data_set.derivation == FILE_LISTING_KIND:
        return {"x_relations": [{"id": base.id, "type": "isFileListingOf"}]}
    coarser_sets = []
    for width in WIDTHS:
        coarse_set = data_sets.get(_write_coarse_set_id(base.id, width))
        if coarse_set is None or coarse_set.base_set is not base:
            continue
        if width > data_set.bin_microseconds and data_set.derivation != AVAILABILITY_KIND:
            relation = {
                "id": coarse_set.id,
                "description": coarse_set.series.title,
                "cadence": format_duration(width / SECOND_MICROSECONDS),
                "type": "resample",
                "method": "mean",
            }
            coarser_sets.append(relation)
    relations: dict[str, Any] = {}
    if coarser_sets:
        relations["x_relations"] = coarser_sets
    availability_set = data_sets.get(f"{base.id}_availability")
    if data_set.base_set is None and availability_set is not None and availability_set.base_set is base:
        relations["x_availability"] = availability_set.id
    return relations


def derive_time_extent(data_set: SampleDataSet, base_extent: TimeExtent) -> TimeExtent:
    """Return the time span of the records of a derived data set: that of the base, widened to whole bins."""
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
    data_set: SampleDataSet,
    parameter_names: Sequence[str],
    *,
    start: int,
    stop: int,
    published_state: PublishedState,
) -> Iterator[pa.RecordBatch]:
    """Read a derived data set.

    Parameters
    ----------
    parameter_names, start, stop
        As in `sample_sets.read_samples`.

    Yields
    ------
    batches
        As in `sample_sets.read_samples`.
    """
    base = data_set.base_set or data_set
    width = data_set.bin_microseconds
    if data_set.derivation == AVAILABILITY_KIND:
        spans = _find_available_spans(context, principal, base, width, published_state)
        if spans is not None:
            begins, ends = spans
            yield _build_availability_batch(begins, ends, parameter_names, start, stop)
        return
    if data_set.derivation == FILE_LISTING_KIND:
        files = DataSetFiles(context, principal, base.series, base.table, published_state)
        yield from files.build_file_listing_batches(parameter_names, start, stop)
        return
    requested_names = set(parameter_names)
    chosen_parameters = []
    fields = []
    source_names = []
    for parameter, letter, source_name in _list_bin_statistic_parameters(base):
        if parameter.name in requested_names:
            chosen_parameters.append(parameter)
            fields.append(f"{letter} {source_name}")
            source_names.append(source_name)
    batch_names = ["hven_time", *(parameter.name for parameter in chosen_parameters)]
    for bins in pyramids.read_bins(
        context,
        principal,
        base,
        list(dict.fromkeys(source_names)),
        start=start,
        stop=stop,
        bin_microseconds=width,
        published_state=published_state,
    ):
        centers = bins["number"] * width + width // 2
        is_inside = (centers >= start) & (centers < stop)
        if not is_inside.any():
            continue
        arrays = [pa.array(centers[is_inside])]
        bin_count = int(is_inside.sum())
        for parameter, field in zip(chosen_parameters, fields, strict=True):
            field_values = np.ascontiguousarray(bins[field][is_inside], np.float64)
            values = field_values.reshape(bin_count, -1)
            elements = pa.array(values.ravel())
            if parameter.dimensions:
                arrays.append(pa.FixedSizeListArray.from_arrays(elements, values.shape[1]))
            else:
                arrays.append(elements)
        yield pa.record_batch(arrays, names=batch_names)


def _find_available_spans(
    context: ServiceContext,
    principal: Principal,
    base: SampleDataSet,
    bin_microseconds: int,
    published_state: PublishedState,
) -> tuple[Whole, Whole] | None:
    """Find the begins and ends of spans with samples; return None if there are no samples."""
    base_extent = sample_sets.find_time_extent(context, principal, base, published_state)
    if base_extent.start is None or base_extent.stop is None:
        return None
    if base.file_layout is not None:
        return _find_file_spans(context, principal, base, published_state)
    bins = pyramids.read_bins(
        context,
        principal,
        base,
        [],
        start=base_extent.start,
        stop=base_extent.stop,
        bin_microseconds=bin_microseconds,
        published_state=published_state,
    )
    return _join_bins_to_spans(bins, bin_microseconds)


def _join_bins_to_spans(parts: Iterator[Any], bin_microseconds: int) -> tuple[Whole, Whole]:
    """Join bins that follow each other."""
    part_numbers = [np.asarray(part["number"]) for part in parts]
    numbers = np.concatenate([np.zeros(0, np.int64), *part_numbers])
    begins = numbers * bin_microseconds
    return _join_spans(begins, begins + bin_microseconds, 0)


def _find_file_spans(
    context: ServiceContext, principal: Principal, data_set: SampleDataSet, published_state: PublishedState
) -> tuple[Whole, Whole]:
    """Join files between which less than two samples are missing."""
    cadence = round((data_set.series.cadence or 0) * SECOND_MICROSECONDS)
    files = DataSetFiles(context, principal, data_set.series, data_set.table, published_state)
    granules = files.list_granules(*ENTIRE_TIME_SPAN)
    spans = sorted((granule.start, granule.stop) for granule in granules)
    span_array = np.array(spans, np.int64).reshape(-1, 2)
    begins, ends = span_array.T
    return _join_spans(begins, np.maximum.accumulate(ends) + (cadence or 1), cadence)


def _join_spans(begins: Whole, ends: Whole, max_gap: int) -> tuple[Whole, Whole]:
    """Join ordered spans with gaps of at most `max_gap` microseconds."""
    gaps = np.flatnonzero(begins[1:] > ends[:-1] + max_gap)
    first_indexes = np.r_[0, gaps + 1][: len(begins)]
    last_indexes = np.r_[gaps, len(ends) - 1][: len(ends)]
    return begins[first_indexes], ends[last_indexes]


def _build_availability_batch(
    begins: Whole, ends: Whole, parameter_names: Sequence[str], start: int, stop: int
) -> pa.RecordBatch:
    is_inside = (begins >= start) & (begins < stop)
    count = int(is_inside.sum())
    codes = np.full(count, SAMPLES_PRESENT_CODE, np.int32)
    arrays_by_name = {
        "endTime": pa.array(ends[is_inside]).cast(pa.timestamp("us")),
        "code": pa.array(codes),
        "message": pa.repeat("samples", count),
    }
    chosen = {name: array for name, array in arrays_by_name.items() if name in parameter_names}
    times = pa.array(begins[is_inside])
    return pa.record_batch([times, *chosen.values()], names=["hven_time", *chosen])


__all__ = [
    "derive_time_extent",
    "describe_data_set_relations",
    "format_duration",
    "read_derived_set",
    "with_derived_sets",
]
