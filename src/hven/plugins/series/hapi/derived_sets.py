"""Data sets that are derived from others: means in wider bins, times with samples, and lists of files.

Clients find them as `x_relations` and `x_availability` in the info of the base data set, and request them as any other.
The extension point ``series.computed_sets`` is for packages that compute data sets. A module of it has a function
``find_computed_set(view, data_sets, name)``, which returns the data set of an id, or None.

Lists of files follow the draft of HAPI 3.4 (`infoFileListing` in its schema): `Time`, `fileURI`, `fileSize`.

Common
------
view
    What the reader sees.
data_set
    A data set.
data_sets
    The reader's data sets, by id.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.model import plugins
from hven.model.table import Column
from hven.model.types import FLOAT64, parse_type
from hven.plugins.series import pyramids, sample_sets
from hven.plugins.series.reductions import WIDTHS
from hven.plugins.series.sample_files import ENTIRE_TIME_SPAN, DataSetFiles
from hven.plugins.series.sample_parameters import SampleParameter
from hven.plugins.series.sample_sets import SampleDataSet
from hven.plugins.series.time_texts import SECOND_MICROSECONDS, format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.plugins.series.reader_view import ReaderView

    Whole = npt.NDArray[np.int64]

COMPUTED_SETS_POINT = "series.computed_sets"
AVAILABILITY_KIND = "available"
FILE_LISTING_KIND = "listed"
MAX_AVAILABILITY_BINS = 200_000  # bins into which the whole time is divided to look for samples, at most
SAMPLES_PRESENT_CODE = 200  # code of a time with samples, as proposed for HAPI
DEFAULT_PATH_BYTES = 1024  # bytes of a path, where its column has no statistics
_BIN_STATISTICS = (("m", "", ""), ("l", "_min", "Lowest"), ("h", "_max", "Largest"))


def with_derived_sets(view: ReaderView, data_sets: Mapping[str, SampleDataSet]) -> dict[str, SampleDataSet]:
    """Add derived data sets to data sets."""
    all_sets = dict(data_sets)
    for base_set in data_sets.values():
        extent = sample_sets.find_time_extent(view, base_set)
        if extent is None or base_set.stop_column or base_set.remote is not None:
            continue
        widths = pyramids.list_bin_widths(view, base_set, extent)
        derived_sets = [_derive_coarse_set(base_set, width) for width in widths]
        if base_set.file_layout is not None:
            derived_sets.append(_derive_availability_set(base_set, 1))
            derived_sets.append(_derive_file_listing_set(view, base_set))
        elif base_set.series.cadence and (widths or extent.row_count <= pyramids.MAX_DIRECT_VALUES):
            cadence_microseconds = base_set.series.cadence * SECOND_MICROSECONDS
            min_width = max(extent.span / MAX_AVAILABILITY_BINS, 2 * cadence_microseconds)
            availability_width = next((width for width in WIDTHS if width >= min_width), WIDTHS[-1])
            derived_sets.append(_derive_availability_set(base_set, availability_width))
        for derived_set in derived_sets:
            all_sets.setdefault(derived_set.id, derived_set)
    return all_sets


def find_computed_set(view: ReaderView, data_sets: Mapping[str, SampleDataSet], name: str) -> SampleDataSet | None:
    """Find the data set of an id that another package computes; None if none does."""
    for module in plugins.load_extensions(COMPUTED_SETS_POINT):
        data_set: SampleDataSet | None = module.find_computed_set(view, data_sets, name)
        if data_set is not None:
            return data_set
    return None


def _derive_set(
    base_set: SampleDataSet,
    id_suffix: str,
    title_suffix: str,
    parameters: Sequence[SampleParameter],
    *,
    bin_microseconds: int,
    **series_changes: Any,
) -> SampleDataSet:
    """Derive a data set, whose times have microseconds at most."""
    series = replace(
        base_set.series,
        id=f"{base_set.id}_{id_suffix}",
        title=f"{base_set.title}: {title_suffix}",
        places={},
        colors={},
        **series_changes,
    )
    return replace(
        base_set,
        series=series,
        time=replace(base_set.time, byte_length=min(base_set.time.byte_length, 27)),
        parameters=tuple(parameters),
        left_out=(),
        notes=(),
        base_set=base_set,
        bin_microseconds=bin_microseconds,
    )


def _write_width_suffix(bin_microseconds: int) -> str:
    return format_duration(bin_microseconds / SECOND_MICROSECONDS).replace(".", "_")


def _derive_coarse_set(base_set: SampleDataSet, bin_microseconds: int) -> SampleDataSet:
    cadence = bin_microseconds / SECOND_MICROSECONDS
    return _derive_set(
        base_set,
        _write_width_suffix(bin_microseconds),
        f"means, {format_duration(cadence)}",
        [parameter for parameter, *_ in _list_bin_statistic_parameters(base_set)],
        bin_microseconds=bin_microseconds,
        cadence=cadence,
        stamp="center",
    )


def _list_bin_statistic_parameters(data_set: SampleDataSet) -> Iterator[tuple[SampleParameter, str, str]]:
    """Yield the parameters of bins: each with the letter of its statistic and the parameter from which it comes."""
    for parameter in data_set.numeric_parameters:
        if any(isinstance(bins.centers, str) for bins in parameter.bins):
            continue  # channels that change with each sample have no mean
        for letter, suffix, adjective in _BIN_STATISTICS:
            if letter == "l" and parameter.dimensions:
                continue
            column = parameter.column.copy_with(
                name=parameter.name + suffix,
                description=f"{adjective} of {parameter.name}" if adjective else parameter.column.description,
                type=parameter.column.type if parameter.dimensions else FLOAT64,
            )
            bin_parameter = replace(parameter, column=column, value_kind="double", fill="NaN")
            yield bin_parameter, letter, parameter.name


def _derive_availability_set(base_set: SampleDataSet, bin_microseconds: int) -> SampleDataSet:
    subject = "samples"
    end_description = "End of the span, after its last sample"
    if base_set.file_layout is not None:
        subject = "files"
        end_description += "; gaps within a file are not listed"
    end_column = Column(name="endTime", type=parse_type("timestamp"), description=end_description)
    code_column = Column(name="code", type=parse_type("int32"), description="200: there are samples")
    message_column = Column(name="message", type=parse_type("string"))
    time_length = min(base_set.time.byte_length, 27)
    parameters = (
        SampleParameter(column=end_column, value_kind="isotime", byte_length=time_length, fill=" " * time_length),
        SampleParameter(column=code_column, value_kind="integer", fill="-1"),
        SampleParameter(column=message_column, value_kind="string", byte_length=8, fill=""),
    )
    availability_set = _derive_set(
        base_set,
        "availability",
        f"when there are {subject}",
        parameters,
        bin_microseconds=bin_microseconds,
        description=None,
        cadence=None,
        stamp="begin",
    )
    return replace(availability_set, derivation=AVAILABILITY_KIND, stop_column="endTime")


def _derive_file_listing_set(view: ReaderView, base_set: SampleDataSet) -> SampleDataSet:
    """Derive the list of the files with samples, older versions included."""
    file_table = view.published_state.tables_by_name.get(f"{base_set.table.schema}.files")
    path_statistics: Mapping[str, Any] = {}
    if file_table is not None:
        path_statistics = file_table.statistics.get("path", {})
    path_bytes = int(path_statistics.get("max_length") or DEFAULT_PATH_BYTES)
    if path_statistics.get("non_ascii"):
        path_bytes *= 4
    path_column = Column(name="fileURI", type=parse_type("string"), description="File with samples")
    size_column = Column(name="fileSize", type=FLOAT64, unit="byte", description="Size of the file")
    parameters = (
        SampleParameter(column=path_column, value_kind="string", byte_length=path_bytes, fill=""),
        SampleParameter(column=size_column, value_kind="double"),
    )
    file_listing = _derive_set(
        base_set,
        "files",
        "files",
        parameters,
        bin_microseconds=1,
        description=None,
        cadence=None,
        stamp="begin",
    )
    time_column = base_set.time.column.copy_with(name="Time", description="Time of the first sample in the file")
    return replace(file_listing, time=replace(file_listing.time, column=time_column), derivation=FILE_LISTING_KIND)


def describe_data_set_relations(data_set: SampleDataSet, data_sets: Mapping[str, SampleDataSet]) -> dict[str, Any]:
    """Describe which data sets are derived from one, with the keys of HAPI's extensions."""
    base_set = data_set.base_set or data_set
    if data_set.derivation == FILE_LISTING_KIND:
        return {"x_relations": [{"id": base_set.id, "type": "isFileListingOf"}]}

    def find_derived_set(id_suffix: str) -> SampleDataSet | None:
        derived_set = data_sets.get(f"{base_set.id}_{id_suffix}")
        if derived_set is not None and derived_set.base_set is base_set:
            return derived_set
        return None

    coarser_sets = []
    for width in WIDTHS:
        coarse_set = find_derived_set(_write_width_suffix(width))
        if coarse_set is None or width <= data_set.bin_microseconds or data_set.derivation == AVAILABILITY_KIND:
            continue
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
    availability_set = find_derived_set("availability")
    if data_set is base_set and availability_set is not None:
        relations["x_availability"] = availability_set.id
    return relations


def read_derived_set(
    view: ReaderView, data_set: SampleDataSet, parameter_names: Sequence[str], *, start: int, stop: int
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
    if data_set.read_computed is not None:
        yield from data_set.read_computed(view, data_set, parameter_names, start, stop)
        return
    base_set = data_set.base_set or data_set
    width = data_set.bin_microseconds
    if data_set.derivation == AVAILABILITY_KIND:
        spans = _find_available_spans(view, base_set, width)
        if spans is not None:
            begins, ends = spans
            yield _build_availability_batch(begins, ends, parameter_names, start, stop)
        return
    if data_set.derivation == FILE_LISTING_KIND:
        files = DataSetFiles(view, base_set.series, base_set.table)
        yield from files.build_file_listing_batches(parameter_names, start, stop)
        return
    requested_names = set(parameter_names)
    chosen = [item for item in _list_bin_statistic_parameters(base_set) if item[0].name in requested_names]
    batch_names = ["hven_time", *(parameter.name for parameter, *_ in chosen)]
    source_names = list(dict.fromkeys(source_name for *_, source_name in chosen))
    for bins in pyramids.read_bins(view, base_set, source_names, start=start, stop=stop, bin_microseconds=width):
        centers = bins["number"] * width + width // 2
        is_inside = (centers >= start) & (centers < stop)
        if not is_inside.any():
            continue
        arrays = [pa.array(centers[is_inside])]
        for parameter, letter, source_name in chosen:
            values = np.ascontiguousarray(bins[f"{letter} {source_name}"][is_inside], np.float64)
            elements = pa.array(values.ravel())
            if parameter.dimensions:
                elements = pa.FixedSizeListArray.from_arrays(elements, parameter.element_count)
            arrays.append(elements)
        yield pa.record_batch(arrays, names=batch_names)


def _find_available_spans(
    view: ReaderView, base_set: SampleDataSet, bin_microseconds: int
) -> tuple[Whole, Whole] | None:
    """Find the begins and ends of spans with samples; return None if there are no samples."""
    extent = sample_sets.find_time_extent(view, base_set)
    if extent is None:
        return None
    if base_set.file_layout is not None:
        return _find_file_spans(view, base_set)
    parts = pyramids.read_bins(
        view, base_set, [], start=extent.start, stop=extent.stop, bin_microseconds=bin_microseconds
    )
    part_numbers = [np.asarray(part["number"]) for part in parts]
    begins = np.concatenate([np.zeros(0, np.int64), *part_numbers]) * bin_microseconds
    return _join_spans(begins, begins + bin_microseconds, 0)


def _find_file_spans(view: ReaderView, data_set: SampleDataSet) -> tuple[Whole, Whole]:
    """Join files between which less than two samples are missing."""
    cadence = round((data_set.series.cadence or 0) * SECOND_MICROSECONDS)
    granules = DataSetFiles(view, data_set.series, data_set.table).list_granules(*ENTIRE_TIME_SPAN)
    spans = sorted((granule.start, granule.stop) for granule in granules)
    begins, ends = np.array(spans, np.int64).reshape(-1, 2).T
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
