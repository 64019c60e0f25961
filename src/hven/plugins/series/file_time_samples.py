"""Read the samples in time of an open file.

The module finds the variables that are times and parameters, determines when each sample was taken, and yields the
samples in the order of time.

Values come from the readers of media. A file is no list of samples as it stands: times may run back, be missing or come
twice, spectra may stand in several columns with times of their own, and channels in another part.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.media import ArrayPart, Part, TablePart
from hven.formats.media.api import MISSING_INSTANT, format_arraysize
from hven.model.errors import SourceError, format_message
from hven.model.sky import time_scales
from hven.model.table import Column, ParameterBins, SeriesParameterSpec
from hven.model.types import ColumnType
from hven.plugins.series.reference_times import UNIX_EPOCH_DAYS, read_reference_time
from hven.plugins.series.sample_records import FileSampleParameter, match_records_by_time, read_parameter_samples
from hven.plugins.series.sampled_variables import (
    SAMPLE_TYPES,
    ColumnStream,
    SampledVariable,
    create_array_variable,
    create_cell_variable,
    create_row_variable,
    create_sequential_reader,
    create_time_variable,
    find_element_type,
    is_part_named,
    list_columns,
    read_column,
)
from hven.plugins.series.time_texts import DAY_MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.formats.media import Axis, HeaderCard, OpenProductFile
    from hven.model.table import TimeSeriesSpec
    from hven.plugins.series.sampled_variables import Read

    Instants = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]
    Numbers = npt.NDArray[Any]

BATCH_VALUES = 1 << 19  # values of a batch
NO_LAYOUT = "-" * 16  # the layout of a file that has nothing of a data set
BLOCK_TIMES = 1 << 17  # times that are read at once
MAX_SAMPLES = 1 << 25  # samples of a file
# microseconds from 1970 within which nanoseconds fit into 64 bits: years 1678 to 2261
MAX_NANOSECOND_INSTANT = 9_200_000_000_000_000
MAX_DATED_MICROSECONDS = 1e17  # times further from their reference are taken for fill values
_VERSION_PATTERN = re.compile(r"_[vV](\d+(?:[._-]\d+)*)(?=[._]|$)")
# time scales of FITS
_TIME_SCALES = {"TAI": "TAI", "IAT": "TAI", "TT": "TT", "TDT": "TT", "ET": "TDB", "TDB": "TDB", "GPS": "GPS"}
_TIME_SCALE_SUFFIX = re.compile(rf"\s\(?({'|'.join(_TIME_SCALES)})\)?\s*$")
_UNIT_MICROSECONDS = {
    "d": DAY_MICROSECONDS,
    "day": DAY_MICROSECONDS,
    "h": 3_600_000_000,
    "hr": 3_600_000_000,
    "hour": 3_600_000_000,
    "min": 60_000_000,
    "minute": 60_000_000,
    "s": 1_000_000,
    "sec": 1_000_000,
    "second": 1_000_000,
    "ms": 1_000,
    "msec": 1_000,
    "millisecond": 1_000,
    "us": 1,
    "microsecond": 1,
    "ns": 1e-3,
    "nanosecond": 1e-3,
}


@dataclass(frozen=True, slots=True)
class _TimeConversion:
    """The conversion of numbers to times: the unit of the numbers, and the time from which they are counted."""

    unit_microseconds: float
    reference_days: float | None = None  # the number that is 1970-01-01; None: the numbers count from another instant
    is_alone: bool = False  # nothing is added to the numbers

    def convert_to_microseconds(self, cells: pa.Array) -> _TimesWithNanoseconds:
        """Convert numbers to microseconds."""
        unit_microseconds = self.unit_microseconds
        is_missing = np.asarray(cells.is_null())
        if pa.types.is_integer(cells.type):
            counts = np.asarray(cells.fill_null(0)).astype(np.int64)
            if unit_microseconds < 1 and self.reference_days is None:  # as doubles they would lose digits
                microseconds, nanoseconds = np.divmod(counts, 1000)
                return _TimesWithNanoseconds(microseconds, nanoseconds, is_missing)
            if unit_microseconds >= 1 and self.reference_days in {None, UNIX_EPOCH_DAYS["MJD"]}:
                microseconds = (counts - int(self.reference_days or 0)) * int(unit_microseconds)
                return _TimesWithNanoseconds(microseconds, None, is_missing)
        values = np.asarray(cells.cast(pa.float64()).fill_null(np.nan)) - (self.reference_days or 0.0)
        is_missing = ~(np.abs(values) * unit_microseconds <= MAX_DATED_MICROSECONDS)
        values = np.where(is_missing, 0.0, values)
        rounding_microseconds = 1
        if self.reference_days is not None and self.is_alone and unit_microseconds == DAY_MICROSECONDS:
            rounding_microseconds = 1000  # a double of days since 4713 BC resolves 40 microseconds
        steps = np.round(values * (unit_microseconds / rounding_microseconds))
        return _TimesWithNanoseconds(steps.astype(np.int64) * rounding_microseconds, None, is_missing)


class _TimesWithNanoseconds(NamedTuple):
    """Microseconds, nanoseconds below them (None: unknown), and a mask of missing times."""

    microseconds: npt.NDArray[np.int64]
    nanoseconds: npt.NDArray[np.int64] | None
    is_missing: npt.NDArray[np.bool_]

    def add(self, other: _TimesWithNanoseconds) -> _TimesWithNanoseconds:
        microseconds = self.microseconds + other.microseconds
        nanoseconds = self.nanoseconds
        if other.nanoseconds is not None:
            if nanoseconds is None:
                all_nanoseconds = other.nanoseconds
            else:
                all_nanoseconds = other.nanoseconds + nanoseconds
            carried, nanoseconds = np.divmod(all_nanoseconds, 1000)
            microseconds = microseconds + carried
        return _TimesWithNanoseconds(microseconds, nanoseconds, self.is_missing | other.is_missing)


class WrongDataSetFileError(SourceError):
    """The file has no time, or no parameter, of the data set: it is one of another data set."""


class SampleTimes(NamedTuple):
    """The times of the samples of a file, in order.

    Attributes
    ----------
    scale
        Unit of the counts: 1 for microseconds since 1970, 1000 for nanoseconds.
    counts
        Times, shape (n,), increasing.
    record_numbers
        For each clock the record that each sample is (-1: none); None: the order of the file.
    omitted_count
        Number of samples that were left out because they have no time, or that of another one.
    has_truncated_times
        Whether digits of times were left out: below a nanosecond, or below a microsecond where nanoseconds do not fit
        into 64 bits.
    """

    scale: int
    counts: npt.NDArray[np.int64]
    record_numbers: dict[str, npt.NDArray[np.int64] | None]
    omitted_count: int
    has_truncated_times: bool

    @property
    def memory_bytes(self) -> int:
        """Size in memory, in bytes."""
        record_bytes = [numbers.nbytes for numbers in self.record_numbers.values() if numbers is not None]
        return self.counts.nbytes + sum(record_bytes)


class FileTimeSamples:
    """The samples of an open file.

    Parameters
    ----------
    product
        The open file; it stays open as long as samples are read.
    time_series
        Which samples they are.
    name
        Name of the file.

    Raises
    ------
    SourceError
        The file has no such samples, or contradicts itself.

    Attributes
    ----------
    time_variable
        Name of the variable that says when samples were taken.
    columns
        Parameters, in order.
    bins
        Bins of the elements of parameters, by name.
    instants
        Times of the samples: microseconds since 1970, increasing, shape (n,).
    """

    def __init__(self, product: OpenProductFile, time_series: TimeSeriesSpec, name: str) -> None:
        self._product = product
        self._time_series = time_series
        self._name = name
        self._clock = self._find_time_variable()
        self.time_variable = self._clock.name
        names = time_series.parameters
        if isinstance(self._clock.part, TablePart) and not names:
            columns = self._clock.part.columns
            names = tuple(column.name for column in columns if column.name != self._clock.name)
        file_parameters = {key.casefold(): parameter for key, parameter in time_series.variables.items()}
        self._parameters: dict[str, FileSampleParameter] = {}
        for parameter_name in names:
            file_parameter = file_parameters.get(parameter_name.casefold(), SeriesParameterSpec())
            parameter = self._create_parameter(parameter_name, file_parameter)
            if parameter is not None:
                self._parameters[parameter.column.name] = parameter
        if not self._parameters:
            raise WrongDataSetFileError(
                format_message("{file} has none of the parameters {names}", name, ", ".join(names)[:300])
            )
        self.columns = tuple(item.column for item in self._parameters.values())
        self.bins = {key: item.bins for key, item in self._parameters.items() if item.bins}
        self._has_truncated_times = False

    # --- variables ----------------------------------------------------------------------------------------------------

    def _find_variables_by_name(self, name: str) -> Iterator[tuple[Part, Column | None]]:
        """Find parts and columns with this name, in the part with the time first; ``2.DATA`` is DATA of a part."""
        part_name, _, name_in_part = name.partition(".")
        for part, columns in self._columns_by_part:
            searched_names = [name]
            if name_in_part and is_part_named(part, part_name):
                searched_names.append(name_in_part)
            for searched_name in searched_names:
                column = columns.get(searched_name.casefold())
                if column is not None:
                    yield part, column
                elif isinstance(part, ArrayPart) and is_part_named(part, searched_name):
                    yield part, None

    @cached_property
    def _columns_by_part(self) -> list[tuple[Part, dict[str, Column]]]:
        """List the parts, the one with the time first, each with its columns by name."""
        preferred_part = self._time_series.part
        parts = list(self._product.parts)
        if preferred_part is not None:
            parts.sort(key=lambda part: not is_part_named(part, preferred_part))
        columns_by_part = []
        for part in parts:
            columns = {column.name.casefold(): column for column in reversed(list_columns(part))}
            columns_by_part.append((part, columns))
        return columns_by_part

    def _find_time_variable(self) -> SampledVariable:
        if self._time_series.time:
            candidates = list(self._find_variables_by_name(self._time_series.time))
        else:
            candidates = list(self._find_time_columns())
        for part, column in candidates:
            if isinstance(part, TablePart) and column is not None:
                return create_time_variable(part, column)
            if isinstance(part, ArrayPart) and column is None and len(part.axes) == 1:
                array_variable = create_array_variable(part, part.shape[0])
                if array_variable:
                    return array_variable
        time_name = self._time_series.time or "time"
        raise WrongDataSetFileError(
            format_message("{file} has no variable {name!r} with the times of the samples", self._name, time_name),
            remedy=format_message(
                "write `time: NAME`, where NAME is the variable that contains the times of the samples"
            ),
        )

    def _find_time_columns(self) -> Iterator[tuple[Part, Column]]:
        """Find the columns of tables that are times by their UCD or type."""
        preferred_part = self._time_series.part
        for part in self._product.parts:
            if not isinstance(part, TablePart):
                continue
            if preferred_part is not None and not is_part_named(part, preferred_part):
                continue
            for column in part.columns:
                if (column.ucd or "").startswith("time.epoch") or column.type.is_timestamp:
                    yield part, column

    def _find_variable(self, name: str, sample_count: int) -> SampledVariable | None:
        """Find a variable with this number of samples."""
        other_count = None
        for part, column in self._find_variables_by_name(name):
            sampled_variable = None
            if column is None:
                if isinstance(part, ArrayPart):
                    sampled_variable = create_array_variable(part, sample_count)
            elif isinstance(part, TablePart):
                if part.row_count == sample_count:
                    sampled_variable = create_row_variable(part, column)
                elif part.row_count == 1:
                    sampled_variable = create_cell_variable(part, column, sample_count)
                if sampled_variable is None:
                    other_count = part.row_count
            if sampled_variable is not None:
                return sampled_variable
        if other_count is not None and self._time_series.parameters:
            raise SourceError(
                format_message(
                    "{name!r} in {file} has {there} values, but the number of sample times is {count}",
                    name,
                    self._name,
                    other_count,
                    sample_count,
                )
            )
        return None

    def _create_parameter(self, name: str, file_parameter: SeriesParameterSpec) -> FileSampleParameter | None:
        """Create a parameter; return None if the file does not have it."""
        sampled_variables = []
        for source_number, source in enumerate(file_parameter.of or (name,)):
            sample_count = self._clock.sample_count
            if file_parameter.clocks:
                sample_count = self._find_source_time_variable(file_parameter.clocks[source_number]).sample_count
            values = self._find_variable(source, sample_count)
            if values is None:
                return None
            sampled_variables.append(values)
        first = sampled_variables[0].column
        shape = self._find_parameter_shape(name, sampled_variables, file_parameter.element)
        kind = first.type
        if len(sampled_variables) > 1 or file_parameter.element is not None:
            element_type = np.result_type(*(find_element_type(source.column) for source in sampled_variables))
            kind = ColumnType(SAMPLE_TYPES[element_type.str[1:]], None)
        if not kind.is_string:
            kind = ColumnType(kind.datatype, format_arraysize(shape), kind.xtype)
        unit = file_parameter.unit or first.unit
        description = file_parameter.description or first.description
        label = file_parameter.label or first.label
        column = first.copy_with(
            name=name,
            type=kind,
            unit=unit,
            description=description,
            label=label,
        )
        bins = self._find_parameter_bins(name, sampled_variables, shape)
        return FileSampleParameter(column, file_parameter, tuple(sampled_variables), bins)

    def _find_source_time_variable(self, name: str) -> SampledVariable:
        """Find the variable with the times of a source of a parameter."""
        for part, column in self._find_variables_by_name(name):
            if isinstance(part, TablePart) and column is not None:
                return create_time_variable(part, column)
        raise SourceError(
            format_message("{file} has no variable {name!r} with the times of the samples", self._name, name)
        )

    def _find_parameter_shape(
        self, name: str, sampled_variables: Sequence[SampledVariable], element: int | None
    ) -> tuple[int, ...]:
        """Find the shape of a sample; the elements of several variables are put one behind the other."""
        source_shapes = [source.shape for source in sampled_variables]
        if element is not None:
            if not all(shape and 0 <= element < shape[-1] for shape in source_shapes):
                raise SourceError(
                    format_message("{name!r} in {file} has no element {number}", name, self._name, element)
                )
            source_shapes = [shape[:-1] for shape in source_shapes]
        if len(source_shapes) == 1:
            return source_shapes[0]
        return (sum(math.prod(shape) for shape in source_shapes),)

    def _find_parameter_bins(
        self, name: str, sampled_variables: Sequence[SampledVariable], shape: tuple[int, ...]
    ) -> tuple[ParameterBins, ...]:
        """Find what the elements of a parameter stand for, from the descriptor or else from the file."""
        for key, declared_bins in self._time_series.bins.items():
            if key.casefold() == name.casefold():
                dimensions = zip(declared_bins, shape, strict=False)
                return tuple(
                    self._read_declared_bins(name, dimension_bins, size) for dimension_bins, size in dimensions
                )
        first_variable = sampled_variables[0]
        source_array = None
        for array in self._product.arrays:
            if array.name and array.name == first_variable.name:
                source_array = array
                break
        if len(sampled_variables) > 1 or source_array is None or not shape:
            return ()
        count = first_variable.sample_count
        axes = [axis for axis in source_array.axes if axis.size != count or axis.kind != "time"]
        parameter_bins = []
        for axis, size in zip(axes[-len(first_variable.shape) :], shape, strict=False):
            axis_bins = self._find_axis_bins(axis, size)
            if axis_bins is None:
                return ()
            parameter_bins.append(axis_bins)
        return tuple(parameter_bins)

    def _read_declared_bins(self, parameter_name: str, declared_bins: ParameterBins, size: int) -> ParameterBins:
        """Read the centers of declared bins from the variables that they name."""
        words = declared_bins.of
        if not words and isinstance(declared_bins.centers, str):
            words = (declared_bins.centers,)
        if not words:
            return declared_bins
        centers_by_word = [self._read_bin_centers(word, size) for word in words]
        values: list[float] = []
        units = [declared_bins.unit]
        for centers in centers_by_word:
            if centers is None:
                return declared_bins  # a parameter of each sample
            values += centers[0].tolist()
            units.append(centers[1])
        unit = units[0] or units[1]
        if len(values) != size or not np.isfinite(values).all():
            raise SourceError(
                format_message(
                    "{words} in {file} have {count} values, but {name!r} has {size} elements",
                    ", ".join(map(repr, words)),
                    self._name,
                    len(values),
                    parameter_name,
                    size,
                )
            )
        return replace(declared_bins, centers=tuple(values), of=(), unit=unit)

    def _find_axis_bins(self, axis: Axis, size: int) -> ParameterBins | None:
        """Find what the elements along an axis of the file stand for; None if the axis has no finite values."""
        if axis.size != size or axis.read_values is None:
            return None
        for column in list_columns(self._clock.part):
            if column.name == axis.name and column.type.is_array:  # each sample has its own
                return ParameterBins(name=axis.name, unit=axis.unit, centers=axis.name)
        read_values = axis.read_file_values or axis.read_values
        values = np.asarray(read_values())
        if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            return None
        centers = tuple(values.astype(np.float64).tolist())
        return ParameterBins(name=axis.name, unit=axis.unit, centers=centers)

    def _read_bin_centers(self, variable_name: str, size: int) -> tuple[Numbers, str | None] | None:
        """Read the values of the channels, which the file has once; return None if each sample has its own."""
        for part, column in self._find_variables_by_name(variable_name):
            if isinstance(part, ArrayPart):
                if len(part.axes) == 1:
                    values = part.read([slice(0, part.shape[0])])
                    return np.asarray(values, np.float64), part.unit
            elif column is not None and isinstance(part, TablePart):
                is_array = column.type.is_array
                if is_array and part.row_count == self._clock.sample_count and part.row_count > 1:
                    return None
                if part.row_count == 1 or not is_array:
                    cells = read_column(part, column.name, 0, part.row_count)
                    if pa.types.is_nested(cells.type):
                        cells = cells.flatten()
                    numbers = cells.cast(pa.float64()).to_numpy(zero_copy_only=False)
                    return np.asarray(numbers), column.unit
        for array in self._product.arrays:
            for axis in array.axes:
                if axis.name.casefold() == variable_name.casefold() and axis.read_values is not None:
                    read_values = axis.read_file_values or axis.read_values
                    return np.asarray(read_values(), np.float64), axis.unit
        raise SourceError(
            format_message(
                "{file} lacks the variable {name!r}, which should describe {size} elements",
                self._name,
                variable_name,
                size,
            )
        )

    # --- times --------------------------------------------------------------------------------------------------------

    def _read_utc_times(self, clock: SampledVariable) -> Instants:
        """Read all times of a variable as the file has them; nanoseconds are None if all of them are 0."""
        if clock.sample_count > MAX_SAMPLES:
            raise SourceError(
                format_message("{file} has more than {most:,} samples", self._name, MAX_SAMPLES),
                remedy=format_message("split the file into several files"),
            )
        instants = np.empty(clock.sample_count, np.int64)
        nanoseconds: npt.NDArray[np.int64] | None = None
        read_block = self._create_time_reader(clock)
        for first in range(0, clock.sample_count, BLOCK_TIMES):
            stop = min(first + BLOCK_TIMES, clock.sample_count)
            instants[first:stop], nanoseconds_below = read_block(first, stop)
            if nanoseconds_below is not None and nanoseconds_below.any():
                if nanoseconds is None:
                    nanoseconds = np.zeros(clock.sample_count, np.int64)
                nanoseconds[first:stop] = nanoseconds_below
        if isinstance(clock.part, TablePart) and clock.part.has_truncated_times(clock.name):
            self._has_truncated_times = True
        return self._convert_to_utc(clock, instants, nanoseconds)

    def _convert_to_utc(
        self, clock: SampledVariable, times: npt.NDArray[np.int64], nanos: npt.NDArray[np.int64] | None
    ) -> Instants:
        """Convert times from the time scale of the variable to UTC."""
        scale = _TIME_SCALES.get(self._find_time_scale(clock), "UTC")
        if scale == "UTC":
            return times, nanos
        is_present = times != MISSING_INSTANT
        utc_times = np.where(is_present, times, 0)
        utc_times[is_present] = time_scales.convert_to_monotonic_utc(times[is_present], scale)
        if (utc_times[is_present] == time_scales.NO_TIME).any():
            raise SourceError(
                format_message(
                    "{file} contains {scale} times before 1972; Hven cannot convert these times to UTC, because UTC "
                    "and TAI did not yet differ by whole seconds",
                    self._name,
                    scale,
                )
            )
        if nanos is not None and scale == "TDB":  # which is ahead of TT by no whole microseconds
            self._has_truncated_times = True
            nanos = None
        elif nanos is not None:  # in a leap second, a microsecond of UTC stands for a thousand
            next_utc_times = time_scales.convert_to_monotonic_utc(times[is_present] + 1, scale)
            nanos[is_present] *= next_utc_times - utc_times[is_present] == 1
        return np.where(is_present, utc_times, MISSING_INSTANT), nanos

    def _find_time_scale(self, clock: SampledVariable) -> str:
        """Find the time scale from the descriptor, the unit of the times or the card TIMESYS; empty if none says it."""
        if self._time_series.clock.scale:
            return self._time_series.clock.scale
        has_exact_reader = isinstance(clock.part, TablePart) and clock.part.read_instants is not None
        if has_exact_reader and clock.column.epoch is not None:
            return ""
        unit_text = self._time_series.clock.since or clock.column.unit or ""
        reference_text = re.split(r"\ssince\s", unit_text)[-1]
        scale_match = _TIME_SCALE_SUFFIX.search(reference_text)
        if scale_match is None:
            time_system = self._collect_card_values(clock.part).get("TIMESYS", "")
            scale_match = _TIME_SCALE_SUFFIX.search(f" {time_system}".upper())
        if scale_match is None:
            return ""
        return scale_match[1]

    def _create_time_reader(self, clock: SampledVariable) -> Callable[[int, int], Instants]:
        time_options = self._time_series.clock
        column = clock.column
        read_exact = self._find_exact_time_reader(clock)
        if read_exact is not None:
            return lambda first, stop: read_exact(clock.name, first, stop)
        read = create_sequential_reader(clock)
        if column.type.is_timestamp or column.type.is_string:
            return lambda first, stop: self._parse_time_texts(read(first, stop), clock.name)
        unit_name = unit = time_options.unit or column.unit or ""
        reference_text = time_options.since or ""
        match = re.fullmatch(r"(\w+)\s+since\s+(.+)", unit)
        if match:
            unit_name = match[1]
            reference_text = reference_text or match[2]
        reference_text = _TIME_SCALE_SUFFIX.sub("", reference_text)
        scale = _find_unit_microseconds(unit_name)
        if scale is None:
            raise SourceError(
                format_message("the unit {unit!r} of {name!r} is not a unit of time", unit, clock.name),
                remedy=format_message("write the unit, such as `time: {{of: {name}, unit: ms}}`", clock.name),
            )
        if column.epoch is not None and not reference_text:
            reference_days: float | None = UNIX_EPOCH_DAYS["JD"] - column.epoch
        else:
            reference_days = UNIX_EPOCH_DAYS.get(reference_text)
        reference_instant = 0
        if reference_days is None:
            cards = self._collect_card_values(clock.part)
            reference_instant = read_reference_time(reference_text, cards, self._name)
        read_added_times = self._create_added_time_reader(clock)
        conversion = _TimeConversion(scale, reference_days, is_alone=read_added_times is None)

        def read_times(first: int, stop: int) -> Instants:
            times = conversion.convert_to_microseconds(read(first, stop))
            if read_added_times is not None:
                times = times.add(read_added_times(first, stop))
            instants = np.where(times.is_missing, MISSING_INSTANT, times.microseconds + reference_instant)
            return instants, times.nanoseconds

        return read_times

    def _find_exact_time_reader(self, clock: SampledVariable) -> Callable[[str, int, int], Instants] | None:
        """Find the part's own reader of times, if the descriptor does not reinterpret them."""
        time_options = self._time_series.clock
        part = clock.part
        has_known_reference = clock.column.epoch is not None or clock.column.type.is_timestamp
        is_reinterpreted = bool(time_options.since) or time_options.plus is not None
        if not isinstance(part, TablePart) or not clock.is_row_per_sample:
            return None
        if not has_known_reference or is_reinterpreted:
            return None
        return part.read_instants

    def _parse_time_texts(self, cells: pa.Array, name: str) -> Instants:
        """Parse times that are written out, or convert timestamps."""
        nanos: npt.NDArray[np.int64] | None = None
        if pa.types.is_string(cells.type):
            texts = pc.replace_substring_regex(pc.utf8_trim_whitespace(cells), r"(?i)\s*(Z|UTC?)$", "")
            is_empty = pc.equal(pc.utf8_length(texts), 0)
            texts = pc.if_else(is_empty, pa.scalar(None, pa.string()), texts)
            if pc.any(pc.match_substring_regex(texts, r"\.\d{6}\d*[1-9]")).as_py():
                has_finer_digits = pc.match_substring_regex(texts, r"\.\d{9}\d*[1-9]")
                if pc.any(has_finer_digits).as_py():
                    self._has_truncated_times = True
                digits = pc.struct_field(pc.extract_regex(texts, r"\.\d{6}(?P<nanos>\d{1,3})"), "nanos")
                nano_counts = pc.utf8_rpad(digits, 3, "0").cast(pa.int64())
                nanos = np.asarray(nano_counts.fill_null(0))
            texts = pc.replace_substring_regex(texts, r"(\.\d{6})\d+$", r"\1")
            try:
                cells = texts.cast(pa.timestamp("us"))
            except pa.ArrowInvalid as fault:
                reason = str(fault)[:120]
                raise SourceError(
                    format_message("{name!r} contains values that are not valid times: {reason}", name, reason)
                ) from None
        timestamps = cells.cast(pa.timestamp("us"), safe=False)
        micros = timestamps.cast(pa.int64())
        return np.asarray(micros.fill_null(MISSING_INSTANT), np.int64), nanos

    def _create_added_time_reader(self, clock: SampledVariable) -> Callable[[int, int], _TimesWithNanoseconds] | None:
        """Create the reader of a variable that is added to the times, if there is one."""
        if self._time_series.clock.plus is None:
            return None
        name, unit = self._time_series.clock.plus
        added_variable = self._find_variable(name, clock.sample_count)
        if added_variable is None:
            raise SourceError(format_message("{file} has no variable {name!r}", self._name, name))
        unit_name = (unit or added_variable.column.unit or "").lower()
        scale = _find_unit_microseconds(unit_name)
        if scale is None:
            raise SourceError(format_message("the unit {unit!r} of {name!r} is not a unit of time", unit_name, name))
        read = create_sequential_reader(added_variable)
        conversion = _TimeConversion(scale)
        return lambda first, stop: conversion.convert_to_microseconds(read(first, stop))

    def _collect_card_values(self, part: Part) -> dict[str, Any]:
        all_cards: Iterable[HeaderCard] = (*part.cards, *self._product.cards)
        values_by_keyword: dict[str, Any] = {}
        for card in all_cards:
            if card.value is not None:
                values_by_keyword.setdefault(card.keyword.upper(), card.value)
        return values_by_keyword

    def _read_scaled_times_by_clock(self) -> tuple[int, dict[str, npt.NDArray[np.int64]]]:
        """Read times by clock, as the file has them.

        The first value is 1000 if they are counts of nanoseconds, and 1 if they are counts of microseconds.
        """
        instants_by_clock = {"": self._read_utc_times(self._clock)}
        sample_counts: dict[str, int] = {}
        for parameter in self._parameters.values():
            for clock_name, source in zip(parameter.file_parameter.clocks, parameter.sources, strict=False):
                sample_counts.setdefault(clock_name, source.sample_count)
        for clock_name in sorted(sample_counts):
            values = self._find_variable(clock_name, sample_counts[clock_name])
            assert values is not None  # noqa: S101  (`_create_parameter` has found it)
            instants_by_clock[clock_name] = self._read_utc_times(values)
        microseconds = {name: times for name, (times, _) in instants_by_clock.items()}
        if all(nanos is None for _, nanos in instants_by_clock.values()):
            return 1, microseconds
        for times in microseconds.values():
            present_times = times[times != MISSING_INSTANT]
            if (np.abs(present_times) > MAX_NANOSECOND_INSTANT).any():
                self._has_truncated_times = True
                return 1, microseconds
        nanosecond_counts = {}
        for name, (times, nanos) in instants_by_clock.items():
            counts = times * 1000
            if nanos is not None:
                counts = counts + nanos
            nanosecond_counts[name] = np.where(times == MISSING_INSTANT, MISSING_INSTANT, counts)
        return 1000, nanosecond_counts

    @cached_property
    def times(self) -> SampleTimes:
        """The times of all samples, which are read once; another reader of the same file may have read them."""
        return self._read_and_sort_times()

    def _read_and_sort_times(self) -> SampleTimes:
        scale, counts_by_clock = self._read_scaled_times_by_clock()
        main_counts = counts_by_clock.pop("")
        record_numbers: dict[str, npt.NDArray[np.int64] | None] = {"": None}
        omitted_count = 0
        is_present = main_counts != MISSING_INSTANT
        if not is_present.all() or not (main_counts[1:] > main_counts[:-1]).all():
            order = np.flatnonzero(is_present)
            order = order[np.argsort(main_counts[order], kind="stable")]
            sorted_counts = main_counts[order]
            is_last_of_time = np.append(sorted_counts[1:] != sorted_counts[:-1], True)[: len(order)]
            omitted_count = len(main_counts) - int(is_last_of_time.sum())
            record_numbers[""] = order[is_last_of_time]
            main_counts = main_counts[record_numbers[""]]
        tolerance = (self._time_series.cadence or 0) * 500_000 * scale
        if not tolerance and len(main_counts) > 1:
            tolerance = float(np.median(np.diff(main_counts))) / 2
        for name, clock_counts in counts_by_clock.items():
            is_same_length = record_numbers[""] is None and len(clock_counts) == len(main_counts)
            if is_same_length and (np.abs(clock_counts - main_counts) <= tolerance).all():
                record_numbers[name] = None
                continue
            main_counts, record_numbers = match_records_by_time(
                main_counts, record_numbers, name, clock_counts, tolerance=tolerance
            )
        return SampleTimes(scale, main_counts, record_numbers, omitted_count, self._has_truncated_times)

    @cached_property
    def instants(self) -> npt.NDArray[np.int64]:
        """The times of the samples in microseconds."""
        times = self.times
        if times.scale > 1:
            return times.counts // times.scale
        return times.counts

    @cached_property
    def text_lengths(self) -> dict[str, int]:
        """The size of the longest text of each text parameter in bytes, rounded up to 8, 16, 32 ..."""
        columns = [parameter.column for parameter in self._parameters.values()]
        names = [column.name for column in columns if column.type.is_string]
        lengths_by_name = dict.fromkeys(names, 8)
        if not names:
            return lengths_by_name
        for batch in self.read_batches(names, MISSING_INSTANT, 2**62):
            for name in names:
                text_lengths = pc.binary_length(batch.column(name))
                longest = pc.max(text_lengths).as_py() or 0
                while lengths_by_name[name] < longest:
                    lengths_by_name[name] *= 2
        return lengths_by_name

    @property
    def has_nanoseconds(self) -> bool:
        """Whether some times have digits below a microsecond; reads all times if the file can express such digits."""
        has_several_clocks = any(parameter.file_parameter.clocks for parameter in self._parameters.values())
        if not has_several_clocks:
            part = self._clock.part
            has_plain_times = isinstance(part, TablePart) and part.read_instants is None
            if has_plain_times and self._clock.column.type.is_timestamp:
                return False  # without reading a time
            read_times = self._create_time_reader(self._clock)
            first_nanoseconds = read_times(0, min(self._clock.sample_count, BLOCK_TIMES))[1]
            if first_nanoseconds is None:
                return False
        return self.times.scale > 1

    @property
    def layout_digest(self) -> str:
        """A digest of the parameters, by which files with other parameters are told apart."""
        layout_facts: list[Any] = []
        for parameter in self._parameters.values():
            column = parameter.column
            arrow_type = str(column.arrow_field.type)
            text_length = self.text_lengths.get(column.name)
            layout_facts.append([column.name, arrow_type, column.unit, repr(parameter.bins), text_length])
        if self.has_nanoseconds:
            layout_facts.append("ns")
        digest = hashlib.sha256(json.dumps(layout_facts).encode())
        return digest.hexdigest()[: len(NO_LAYOUT)]

    # --- samples ------------------------------------------------------------------------------------------------------

    def read_batches(
        self, parameter_names: Sequence[str], start: int, stop: int, *, in_nanoseconds: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Read samples in the order of time.

        Parameters
        ----------
        parameter_names
            Names of parameters.
        start, stop
            Times in microseconds since 1970; the samples are from `start` on and before `stop`.
        in_nanoseconds
            Yield times as timestamps of nanoseconds instead of numbers of microseconds.

        Yields
        ------
        batches
            The times, then the requested parameters.

        Raises
        ------
        SourceError
            The file is damaged, or its times cannot be counted in nanoseconds.
        """
        record_numbers = self.times.record_numbers
        instants = self.instants
        first, last = (int(position) for position in np.searchsorted(instants, (start, stop)))
        if in_nanoseconds:
            time_values = self._convert_times_to_nanoseconds(first, last)
            time_type = pa.timestamp("ns")
        else:
            time_values = instants[first:last]
            time_type = pa.int64()
        parameters = [self._parameters[name] for name in parameter_names]
        width = 1
        for parameter in parameters:
            width += sum(math.prod(variable.shape) for variable in parameter.sources)
        step = max(BATCH_VALUES // width, 1)
        streams, stream_readers = self._open_column_streams(parameters, first, last)
        fields = [parameter.column.arrow_field for parameter in parameters]
        schema = pa.schema([pa.field("hven_time", time_type), *fields])
        end = first
        while end < last:
            begin = end
            end = min(end + step, last)
            for stream in streams:  # a batch ends where one of the file ends, so that nothing is copied together
                end = min(end, begin + stream.unread_batch_rows)
            arrays = [pa.array(time_values[begin - first : end - first]).cast(time_type)]
            for parameter in parameters:
                parameter_array = read_parameter_samples(parameter, record_numbers, stream_readers, begin, end)
                arrays.append(parameter_array)
            yield pa.record_batch(arrays, schema=schema)

    def _open_column_streams(
        self, parameters: Sequence[FileSampleParameter], first: int, last: int
    ) -> tuple[list[ColumnStream], dict[tuple[int, str], Read]]:
        """Open a stream for each part whose rows are samples in order; return the streams and readers of columns."""
        record_numbers = self.times.record_numbers
        groups: dict[int, list[SampledVariable]] = {}
        for parameter in parameters:
            for source_number, variable in enumerate(parameter.sources):
                is_in_order = record_numbers[parameter.find_time_variable_name(source_number)] is None
                if variable.is_row_per_sample and is_in_order:
                    groups.setdefault(variable.part.index, []).append(variable)
        streams = []
        stream_readers = {}
        for members in groups.values():
            stream = ColumnStream(members, first, last)
            streams.append(stream)
            for variable in members:
                stream_readers[variable.part.index, variable.name] = stream.create_reader(variable.name)
        return streams, stream_readers

    def _convert_times_to_nanoseconds(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Count times in nanoseconds."""
        times = self.times.counts[first:last]
        if self.times.scale > 1:
            return times
        if (np.abs(times) > MAX_NANOSECOND_INSTANT).any():
            raise SourceError(
                format_message(
                    "the times of the other files are in nanoseconds, but {file} contains times before 1678 or after "
                    "2261, which cannot be stored in nanoseconds",
                    self._name,
                )
            )
        return times * 1000


def _find_unit_microseconds(unit: str) -> float | None:
    """Return the microseconds of a unit of time, in singular or plural; None for any other unit."""
    name = unit.lower()
    return _UNIT_MICROSECONDS.get(name, _UNIT_MICROSECONDS.get(name.rstrip("s")))


def find_file_version(path: str) -> str | None:
    """Find the version in the name of a file: the last number after ``_v``."""
    versions = _VERSION_PATTERN.findall(path.rpartition("/")[2])
    return versions[-1] if versions else None
