"""Read the samples of parameters, and match the records of variables that have times of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media.api import MISSING_INSTANT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from hven.model.table import Column, ParameterBins, SeriesParameterSpec
    from hven.plugins.series.sampled_variables import Read, SampledVariable

    Numbers = npt.NDArray[Any]
    RecordNumbers = dict[str, npt.NDArray[np.int64] | None]

_MAX_RECORD_GAP = 8192  # records between two that are needed, up to which all are read in one go


@dataclass(frozen=True, slots=True)
class FileSampleParameter:
    """A parameter of a data set, and the variables of the file that it consists of."""

    column: Column
    file_parameter: SeriesParameterSpec
    sources: tuple[SampledVariable, ...]
    bins: tuple[ParameterBins, ...]

    @property
    def is_single_variable(self) -> bool:
        """Whether the parameter is a variable as the file has it."""
        is_unchanged = self.file_parameter.fill is None and self.file_parameter.element is None
        return is_unchanged and len(self.sources) == 1

    def find_time_variable_name(self, source_number: int) -> str:
        """Return the name of the variable with the times of a source; empty for the times of the data set."""
        if not self.file_parameter.clocks:
            return ""
        return self.file_parameter.clocks[source_number]


def read_parameter_samples(
    parameter: FileSampleParameter,
    record_numbers: RecordNumbers,
    stream_readers: Mapping[tuple[int, str], Read],
    begin: int,
    end: int,
) -> pa.Array:
    """Read some samples of a parameter."""
    kind = parameter.column.arrow_field.type
    cells = []
    for source_number, variable in enumerate(parameter.sources):
        source_records = record_numbers[parameter.find_time_variable_name(source_number)]
        if source_records is None:
            read = stream_readers.get((variable.part.index, variable.name), variable.read_samples)
            cells.append(read(begin, end))
        else:
            cells.append(_read_records(variable.read_samples, source_records[begin:end]))
    if parameter.is_single_variable:
        return cells[0].cast(kind)
    values, is_missing = [], []
    for cell, variable in zip(cells, parameter.sources, strict=True):
        source_values, is_source_missing = _build_matrix(cell, variable, parameter.file_parameter)
        values.append(source_values)
        is_missing.append(is_source_missing)
    flat = np.concatenate(values, axis=1).ravel()
    mask = np.concatenate(is_missing, axis=1).ravel()
    array = pa.array(flat, mask=mask, from_pandas=True)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(array.cast(kind.value_type), kind.list_size)
    return array.cast(kind)


def _build_matrix(
    cells: pa.Array, variable: SampledVariable, file_parameter: SeriesParameterSpec
) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """Return values as a matrix of samples and elements, and which of them are missing."""
    is_nested = pa.types.is_fixed_size_list(cells.type)
    flat = cells.flatten() if is_nested else cells
    if is_nested and cells.null_count:
        size = cells.type.list_size
        flat = pa.concat_arrays([cells.values.slice(cells.offset * size, len(cells) * size)])
    is_missing = np.asarray(flat.is_null())
    values = np.asarray(flat.fill_null(0)).reshape(len(cells), -1)
    is_missing = is_missing.reshape(values.shape)
    if is_nested and cells.null_count:
        is_missing = is_missing | np.asarray(cells.is_null())[:, None]
    if file_parameter.element is not None:
        element_count = variable.shape[-1]
        values = values[:, file_parameter.element :: element_count]
        is_missing = is_missing[:, file_parameter.element :: element_count]
    if file_parameter.fill is not None:
        is_missing = is_missing | (values == file_parameter.fill)
    return values, is_missing


def _read_records(read: Read, record_numbers: npt.NDArray[np.int64]) -> pa.Array:
    """Read records in any order; the number -1 gives null."""
    needed_records = np.unique(record_numbers[record_numbers >= 0])
    if not len(needed_records):
        null_positions = pa.array([None] * len(record_numbers), pa.int64())
        return read(0, 1).take(null_positions)
    ends = np.flatnonzero(np.diff(needed_records) > _MAX_RECORD_GAP)
    run_starts = needed_records[np.append(0, ends + 1)]
    run_stops = needed_records[np.append(ends, len(needed_records) - 1)] + 1
    parts = []
    numbers = []
    for first, stop in zip(run_starts, run_stops, strict=True):
        parts.append(read(int(first), int(stop)))
        numbers.append(np.arange(first, stop))
    positions = np.searchsorted(np.concatenate(numbers), record_numbers)
    indices = pa.array(positions, mask=record_numbers < 0)
    return pa.concat_arrays(parts).take(indices)


def match_records_by_time(
    main_times: npt.NDArray[np.int64],
    record_numbers: RecordNumbers,
    clock_name: str,
    clock_times: npt.NDArray[np.int64],
    *,
    tolerance: float,
) -> tuple[npt.NDArray[np.int64], RecordNumbers]:
    """Assign the records of a clock to the samples nearest in time, and return all times and record numbers.

    Records that are nearest to no sample become samples of their own.
    """
    rows = np.flatnonzero(clock_times != MISSING_INSTANT)
    rows = rows[np.argsort(clock_times[rows], kind="stable")]
    times = clock_times[rows]
    nearest_clock = _find_nearest_indexes(times, main_times)
    nearest_main = _find_nearest_indexes(main_times, times)
    matched_rows = np.full(len(main_times), -1, np.int64)
    if len(times) and len(main_times):
        is_mutual = nearest_main[nearest_clock] == np.arange(len(main_times))
        is_close = np.abs(times[nearest_clock] - main_times) <= tolerance
        is_match = is_mutual & is_close
        matched_rows[is_match] = rows[nearest_clock[is_match]]
    is_unmatched = ~np.isin(rows, matched_rows)
    all_times = np.concatenate([main_times, times[is_unmatched]])
    all_times, first = np.unique(all_times, return_index=True)
    no_records = np.full(int(is_unmatched.sum()), -1)
    merged_numbers: RecordNumbers = {}
    for key, clock_records in record_numbers.items():
        main_numbers = clock_records
        if main_numbers is None:
            main_numbers = np.arange(len(main_times))
        merged_numbers[key] = np.concatenate([main_numbers, no_records])[first]
    merged_numbers[clock_name] = np.concatenate([matched_rows, rows[is_unmatched]])[first]
    return all_times, merged_numbers


def _find_nearest_indexes(
    sorted_values: npt.NDArray[np.int64], searched_values: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the positions of the nearest of increasing values."""
    if not len(sorted_values):
        return np.zeros(len(searched_values), np.int64)
    after = np.clip(np.searchsorted(sorted_values, searched_values), 0, len(sorted_values) - 1)
    before = np.clip(after - 1, 0, None)
    distance_before = np.abs(sorted_values[before] - searched_values)
    distance_after = np.abs(sorted_values[after] - searched_values)
    return np.where(distance_before <= distance_after, before, after)
