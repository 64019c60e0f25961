"""Samples in time of an open file.

Which of its variables are times and parameters, when each sample was taken, and the samples in the order of time.

Values are those of the media's readers; here they are put under times. A file is no list of samples as it stands: times
may run back, be missing or come twice, spectra may stand in several columns with times of their own, channels in
another part.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.media._product import MISSING_INSTANT, ArrayPart, Part, SampleTimes, TablePart
from hven.formats.media._reference_times import DAY_MICROSECONDS, UNIX_EPOCH_DAYS, read_reference_time
from hven.model.errors import SourceError, format_message
from hven.model.sky import time_scales
from hven.model.table import Column, FileParameter, ParameterBins
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.formats.media._product import HeaderCard, Instants, Product
    from hven.model.table import TimeSeries

    Numbers = npt.NDArray[Any]
    Read = Callable[[int, int], pa.Array]

BATCH_VALUES = 1 << 19  # values of a batch
NO_LAYOUT = "-" * 16  # stands for the layout of a file that has nothing of a data set
BLOCK_TIMES = 1 << 17  # times that are read at once
MAX_SAMPLES = 1 << 25  # samples of a file
MAX_NANOSECOND_INSTANT = (
    9_200_000_000_000_000  # microseconds from 1970 within which nanoseconds can be counted: years 1678 to 2261
)
_TIME_SCALES = {"TAI": "TAI", "IAT": "TAI", "TT": "TT", "TDT": "TT", "ET": "TDB", "TDB": "TDB", "GPS": "GPS"}  # of FITS
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
_VOTABLE_TYPES = {
    "i1": "short",
    "u1": "unsignedByte",
    "i2": "short",
    "u2": "int",
    "i4": "int",
    "u4": "long",
    "i8": "long",
    "f4": "float",
    "f8": "double",
    "b1": "boolean",
}


@dataclass(frozen=True, slots=True)
class _SampledVariable:
    """A variable of a file: values along its times."""

    name: str
    part: Part
    column: Column
    sample_count: int
    shape: tuple[int, ...]
    read_samples: Read
    is_row_per_sample: bool = False  # a row of the part is a sample


@dataclass(frozen=True, slots=True)
class _SampledParameter:
    column: Column
    file_parameter: FileParameter
    sources: tuple[_SampledVariable, ...]
    bins: tuple[ParameterBins, ...]

    @property
    def is_single_variable(self) -> bool:
        """It is a variable as it stands."""
        return len(self.sources) == 1 and self.file_parameter.fill is None and self.file_parameter.element is None


class ForeignFileError(SourceError):
    """A file that has no time, or no parameter, of a data set: it is one of another data set."""


class FileSamples:
    """The samples of an open file.

    Parameters
    ----------
    product
        Open as long as its samples are read.
    time_series
        Which they are.
    name
        Of the file.

    Raises
    ------
    SourceError
        The file has none such, or what it says cannot be.

    Attributes
    ----------
    time_variable
        Name of the variable that says when samples were taken.
    columns
        Parameters, in order.
    bins
        Of their elements, by name.
    instants
        When samples were taken: microseconds since 1970, increasing, shape (n,).
    omitted_count
        How many were left out because they have no time, or that of another one.
    NO_LAYOUT, ForeignFileError
        What stands for the layout of a file that has nothing of a data set, and the error that tells of it.
    has_truncated_times
        Whether times that were read have digits which are left out: below a nanosecond, or below a microsecond where
        they cannot be counted so.
    """

    NO_LAYOUT = NO_LAYOUT
    ForeignFileError = ForeignFileError

    def __init__(self, product: Product, time_series: TimeSeries, name: str) -> None:
        self._product = product
        self._time_series = time_series
        self._name = name
        self._clock = self._find_time_variable()
        self.time_variable = self._clock.name
        if isinstance(self._clock.part, TablePart):
            names = time_series.parameters or [
                item.name for item in self._clock.part.columns if item.name != self._clock.name
            ]
        else:
            names = time_series.parameters
        file_parameters = {key.casefold(): item for key, item in time_series.variables.items()}
        parameters = [
            self._create_parameter(item, file_parameters.get(item.casefold(), FileParameter())) for item in names
        ]
        self._parameters = {item.column.name: item for item in parameters if item is not None}
        if not self._parameters:
            raise ForeignFileError(
                format_message("{file} has none of the parameters {names}", name, ", ".join(names)[:300])
            )
        self.columns = tuple(item.column for item in self._parameters.values())
        self.bins = {key: item.bins for key, item in self._parameters.items() if item.bins}
        self.omitted_count = 0
        self.has_truncated_times = False
        self._times: SampleTimes | None = None

    # --- which variables there are -----------------------------------------------------------------------------------

    def _find_candidates(self, name: str) -> Iterator[tuple[Part, Column | None]]:
        """Find what is called so: in the part with the time first; ``2.DATA`` is that of a part."""
        part_name, _, name_in_part = name.partition(".")
        for part, columns in self._columns_by_part:
            for searched_name in (name, name_in_part if name_in_part and _has_name(part, part_name) else None):
                if searched_name is not None and searched_name.casefold() in columns:
                    yield part, columns[searched_name.casefold()]
                elif searched_name is not None and isinstance(part, ArrayPart) and _has_name(part, searched_name):
                    yield part, None

    @cached_property
    def _columns_by_part(self) -> list[tuple[Part, dict[str, Column]]]:
        """List the parts, the one with the time first, with their columns by name."""
        preferred_part = self._time_series.part
        parts = sorted(
            self._product.parts,
            key=lambda part_or_column: preferred_part is None or not _has_name(part_or_column, preferred_part),
        )
        return [
            (part, {part_or_column.name.casefold(): part_or_column for part_or_column in reversed(_list_columns(part))})
            for part in parts
        ]

    def _find_time_variable(self) -> _SampledVariable:
        if self._time_series.time:
            candidates = [(part, column) for part, column in self._find_candidates(self._time_series.time)]
        else:
            candidates = [
                (part, table_column)
                for part in self._product.parts
                if isinstance(part, TablePart)
                and (self._time_series.part is None or _has_name(part, self._time_series.part))
                for table_column in part.columns
                if (table_column.ucd or "").startswith("time.epoch") or table_column.type.is_timestamp
            ]
        for part, column in candidates:
            if column is None:
                if (
                    isinstance(part, ArrayPart)
                    and len(part.axes) == 1
                    and (array_variable := _sample_array(part, part.shape[0]))
                ):
                    return array_variable
            elif isinstance(part, TablePart):
                return _sample_time_column(part, column)
        time_name = self._time_series.time or "time"
        raise ForeignFileError(
            format_message("{file} has no variable {name!r} that says when samples were taken", self._name, time_name),
            remedy=format_message("time: the variable that does"),
        )

    def _find_variable(self, name: str, sample_count: int) -> _SampledVariable | None:
        """Find a variable with so many samples."""
        other_count = None
        for part, column in self._find_candidates(name):
            sampled_variable = None
            if column is None:
                if isinstance(part, ArrayPart):
                    sampled_variable = _sample_array(part, sample_count)
                else:
                    sampled_variable = None
            elif isinstance(part, TablePart):
                if part.row_count == sample_count:
                    sampled_variable = _sample_rows(part, column)
                elif part.row_count == 1:
                    sampled_variable = _sample_cell(part, column, sample_count)
                else:
                    sampled_variable = None
                other_count = part.row_count if sampled_variable is None else other_count
            if sampled_variable is not None:
                return sampled_variable
        if other_count is not None and self._time_series.parameters:
            raise SourceError(
                format_message(
                    "{name} of {file} has {there} values, and there are {count} times",
                    name,
                    self._name,
                    other_count,
                    sample_count,
                )
            )
        return None

    def _create_parameter(self, name: str, file_parameter: FileParameter) -> _SampledParameter | None:
        """Make a parameter; None: the file does not have it."""
        sampled_variables = []
        for source_number, source in enumerate(file_parameter.of or (name,)):
            count = self._clock.sample_count
            if file_parameter.clocks:
                clocks = (
                    _sample_time_column(part, column)
                    for part, column in self._find_candidates(file_parameter.clocks[source_number])
                    if isinstance(part, TablePart) and column is not None
                )
                clock = next(clocks, None)
                if clock is None:
                    raise SourceError(
                        format_message(
                            "{file} has no variable {name!r} that says when samples were taken",
                            self._name,
                            file_parameter.clocks[source_number],
                        )
                    )
                count = clock.sample_count
            values = self._find_variable(source, count)
            if values is None:
                return None
            sampled_variables.append(values)
        first = sampled_variables[0].column
        kind = first.type
        shape = sampled_variables[0].shape
        if file_parameter.element is not None:
            if not shape or not all(
                source.shape and 0 <= file_parameter.element < source.shape[-1] for source in sampled_variables
            ):
                raise SourceError(
                    format_message("{name} of {file} has no element {number}", name, self._name, file_parameter.element)
                )
            source_shapes = [source.shape[:-1] for source in sampled_variables]
        else:
            source_shapes = [source.shape for source in sampled_variables]
        if len(sampled_variables) > 1:
            shape = (sum(math.prod(source) for source in source_shapes),)
        else:
            shape = source_shapes[0]
        if len(sampled_variables) > 1 or file_parameter.element is not None:
            kind = Type(
                _VOTABLE_TYPES[
                    np.result_type(*(_find_element_type(source.column) for source in sampled_variables)).str[1:]
                ],
                None,
            )
        if not kind.is_string:
            kind = Type(kind.datatype, "x".join(str(source) for source in reversed(shape)) or None, kind.xtype)
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
        return _SampledParameter(
            column, file_parameter, tuple(sampled_variables), self._find_bins(name, sampled_variables, shape)
        )

    def _find_bins(
        self, name: str, sampled_variables: Sequence[_SampledVariable], shape: tuple[int, ...]
    ) -> tuple[ParameterBins, ...]:
        """Find what elements stand for: as it is said, else as the file has it."""
        declared_bins = next(
            (bin_item for key, bin_item in self._time_series.bins.items() if key.casefold() == name.casefold()), None
        )
        if declared_bins is not None:
            parameter_bins = []
            for bin_item, size in zip(declared_bins, shape, strict=False):
                words = bin_item.of or ((bin_item.centers,) if isinstance(bin_item.centers, str) else ())
                if not words:
                    parameter_bins.append(bin_item)
                    continue
                tables = [self._read_bin_centers(word, size) for word in words]
                if any(table is None for table in tables):
                    parameter_bins.append(bin_item)  # a parameter of each sample
                    continue
                values = [value for table in tables if table is not None for value in table[0].tolist()]
                unit = bin_item.unit or next((table[1] for table in tables if table is not None), None)
                if len(values) != size or not np.isfinite(values).all():
                    raise SourceError(
                        format_message(
                            "{words} of {file} are {count} values, for {size} elements of {name}",
                            ", ".join(words),
                            self._name,
                            len(values),
                            size,
                            name,
                        )
                    )
                parameter_bins.append(replace(bin_item, centers=tuple(values), of=(), unit=unit))
            return tuple(parameter_bins)
        source_array = next(
            (part for part in self._product.arrays if part.name and part.name == sampled_variables[0].name), None
        )
        if len(sampled_variables) > 1 or source_array is None or not shape:
            return ()
        axes = [
            axis for axis in source_array.axes if axis.size != sampled_variables[0].sample_count or axis.kind != "time"
        ][-len(sampled_variables[0].shape) :]
        parameter_bins = []
        for axis, size in zip(axes, shape, strict=False):
            if axis.size != size or axis.read_values is None:
                return ()
            if any(
                bin_item.name == axis.name and bin_item.type.is_array for bin_item in _list_columns(self._clock.part)
            ):
                parameter_bins.append(ParameterBins(name=axis.name, unit=axis.unit, centers=axis.name))
                continue
            table = np.asarray((axis.read_file_values or axis.read_values)())
            if table.dtype.kind not in "iuf" or not np.isfinite(table).all():
                return ()
            centers = tuple(table.astype(np.float64).tolist())
            parameter_bins.append(ParameterBins(name=axis.name, unit=axis.unit, centers=centers))
        return tuple(parameter_bins)

    def _read_bin_centers(self, word: str, size: int) -> tuple[Numbers, str | None] | None:
        """Read what the channels of a spectrum are, which stand somewhere once; None: each sample has its own."""
        for part, column in self._find_candidates(word):
            if isinstance(part, ArrayPart):
                if len(part.axes) == 1:
                    return np.asarray(part.read([slice(0, part.shape[0])]), np.float64), part.unit
            elif column is not None and isinstance(part, TablePart):
                if column.type.is_array and part.row_count == self._clock.sample_count and part.row_count > 1:
                    return None
                if part.row_count == 1 or not column.type.is_array:
                    cells = _read_column(part, column.name, 0, part.row_count)
                    if pa.types.is_nested(cells.type):
                        flat = cells.flatten()
                    else:
                        flat = cells
                    return np.asarray(flat.cast(pa.float64()).to_numpy(zero_copy_only=False)), column.unit
        for array in self._product.arrays:
            for axis in array.axes:
                if axis.name.casefold() == word.casefold() and axis.read_values is not None:
                    return np.asarray((axis.read_file_values or axis.read_values)(), np.float64), axis.unit
        raise SourceError(
            format_message(
                "{file} has no variable {name!r}, which says what {size} elements are", self._name, word, size
            )
        )

    # --- times --------------------------------------------------------------------------------------------------------

    def _read_instants(self, clock: _SampledVariable) -> Instants:
        """Read all times of a variable, as the file has them; of nanoseconds None where there is no other than 0."""
        if clock.sample_count > MAX_SAMPLES:
            raise SourceError(
                format_message("{file} has more than {most:,} samples", self._name, MAX_SAMPLES),
                remedy=format_message("cut it into several"),
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
        self.has_truncated_times = self.has_truncated_times or (
            isinstance(clock.part, TablePart) and clock.part.has_truncated_times(clock.name)
        )
        return self._convert_to_utc(clock, instants, nanoseconds)

    def _convert_to_utc(
        self, clock: _SampledVariable, times: npt.NDArray[np.int64], nanos: npt.NDArray[np.int64] | None
    ) -> Instants:
        """Convert times of another clock than UTC."""
        scale_name = self._time_series.clock.scale
        if not scale_name and not (
            isinstance(clock.part, TablePart)
            and clock.part.read_instants is not None
            and clock.column.epoch is not None
        ):
            reference_text = re.split(r"\ssince\s", self._time_series.clock.since or clock.column.unit or "")[-1]
            scale_match = _TIME_SCALE_SUFFIX.search(reference_text) or _TIME_SCALE_SUFFIX.search(
                f" {self._collect_cards(clock.part).get('TIMESYS', '')}".upper()
            )
            if scale_match is not None:
                scale_name = scale_match[1]
            else:
                scale_name = ""
        scale = _TIME_SCALES.get(scale_name, "UTC")
        if scale == "UTC":
            return times, nanos
        is_present = times != MISSING_INSTANT
        utc_times = np.where(is_present, times, 0)
        utc_times[is_present] = time_scales.convert_to_monotonic_utc(times[is_present], scale)
        if (utc_times[is_present] == time_scales.NO_TIME).any():
            raise SourceError(
                format_message(
                    "{file} has times of {scale} before 1972, which UTC does not follow by whole seconds",
                    self._name,
                    scale,
                )
            )
        if nanos is not None and scale == "TDB":  # which is ahead of TT by no whole microseconds
            self.has_truncated_times = True
            nanos = None
        elif nanos is not None:  # in a leap second a microsecond is a thousandth of one
            nanos[is_present] *= (
                time_scales.convert_to_monotonic_utc(times[is_present] + 1, scale) - utc_times[is_present] == 1
            )
        return np.where(is_present, utc_times, MISSING_INSTANT), nanos

    def _create_time_reader(self, clock: _SampledVariable) -> Callable[[int, int], Instants]:
        time_options = self._time_series.clock
        part = clock.part
        column = clock.column
        unit = time_options.unit or column.unit or ""
        match = re.fullmatch(r"(\w+)\s+since\s+(.+)", unit)
        reference_text = _TIME_SCALE_SUFFIX.sub("", time_options.since or (match[2] if match else ""))
        if (
            isinstance(part, TablePart)
            and part.read_instants is not None
            and clock.is_row_per_sample
            and (column.epoch is not None or column.type.is_timestamp)
            and not time_options.since
            and time_options.plus is None
        ):
            read_exact = part.read_instants
            return lambda first, stop: read_exact(clock.name, first, stop)
        read = _create_block_reader(clock)
        if column.type.is_timestamp or column.type.is_string:
            return lambda first, stop: self._parse_time_texts(read(first, stop), clock.name)
        unit_name = match[1] if match else unit
        scale = _UNIT_MICROSECONDS.get(unit_name.lower(), _UNIT_MICROSECONDS.get(unit_name.lower().rstrip("s")))
        if scale is None:
            raise SourceError(
                format_message("the unit {unit!r} of {name} is none of time", unit, clock.name),
                remedy=format_message("time: {{of: {name}, unit: ms}}", clock.name),
            )
        reference_days = (
            UNIX_EPOCH_DAYS["JD"] - column.epoch
            if column.epoch is not None and not reference_text
            else UNIX_EPOCH_DAYS.get(reference_text)
        )
        reference_instant = (
            0
            if reference_days is not None
            else read_reference_time(reference_text, self._collect_cards(part), self._name)
        )
        if time_options.plus is not None:
            read_added = self._create_added_time_reader(clock)
        else:
            read_added = None
        # a double of days since 4713 BC resolves 40 microseconds
        if reference_days is not None and read_added is None and scale == DAY_MICROSECONDS:
            rounding_microseconds = 1000
        else:
            rounding_microseconds = 1

        def read_times(first: int, stop: int) -> Instants:
            cells = read(first, stop)
            is_missing = np.asarray(cells.is_null())
            nanoseconds: npt.NDArray[np.int64] | None = None
            if (
                pa.types.is_integer(cells.type) and scale < 1 and reference_days is None
            ):  # as doubles they would lose digits
                microseconds, nanoseconds = np.divmod(np.asarray(cells.fill_null(0)).astype(np.int64), 1000)
            elif pa.types.is_integer(cells.type) and scale >= 1 and reference_days in {None, 40_587.0}:
                microseconds = (np.asarray(cells.fill_null(0)).astype(np.int64) - int(reference_days or 0)) * int(scale)
            else:
                values = np.asarray(cells.cast(pa.float64()).fill_null(np.nan))
                is_missing |= ~np.isfinite(values)
                values = np.where(is_missing, reference_days or 0.0, values) - (reference_days or 0.0)
                is_missing |= np.abs(values) * scale > 1e17
                microseconds = (
                    np.round(np.where(is_missing, 0.0, values) * (scale / rounding_microseconds)).astype(np.int64)
                    * rounding_microseconds
                )
            if read_added is not None:
                added_microseconds, added_nanoseconds, is_added_missing = read_added(first, stop)
                if added_nanoseconds is not None:
                    carried, nanoseconds = np.divmod(
                        added_nanoseconds + (0 if nanoseconds is None else nanoseconds), 1000
                    )
                    added_microseconds = added_microseconds + carried
                microseconds = microseconds + added_microseconds
                is_missing = is_missing | is_added_missing
            return np.where(is_missing, MISSING_INSTANT, microseconds + reference_instant), nanoseconds

        return read_times

    def _parse_time_texts(self, cells: pa.Array, name: str) -> Instants:
        """Read times that are written out, or timestamps."""
        nanos: npt.NDArray[np.int64] | None = None
        if pa.types.is_string(cells.type):
            texts = pc.replace_substring_regex(pc.utf8_trim_whitespace(cells), r"(?i)\s*(Z|UTC?)$", "")
            texts = pc.if_else(pc.equal(pc.utf8_length(texts), 0), pa.scalar(None, pa.string()), texts)
            if pc.any(pc.match_substring_regex(texts, r"\.\d{6}\d*[1-9]")).as_py():
                self.has_truncated_times = self.has_truncated_times or bool(
                    pc.any(pc.match_substring_regex(texts, r"\.\d{9}\d*[1-9]")).as_py()
                )
                digits = pc.struct_field(pc.extract_regex(texts, r"\.\d{6}(?P<nanos>\d{1,3})"), "nanos")
                nanos = np.asarray(pc.utf8_rpad(digits, 3, "0").cast(pa.int64()).fill_null(0))
            texts = pc.replace_substring_regex(texts, r"(\.\d{6})\d+$", r"\1")
            try:
                cells = texts.cast(pa.timestamp("us"))
            except pa.ArrowInvalid as fault:
                raise SourceError(
                    format_message("{name} has texts that are no times: {reason}", name, str(fault)[:120])
                ) from None
        micros = cells.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        return np.asarray(micros.fill_null(MISSING_INSTANT), np.int64), nanos

    def _create_added_time_reader(
        self, clock: _SampledVariable
    ) -> Callable[[int, int], tuple[Numbers, Numbers | None, npt.NDArray[np.bool_]]]:
        name, unit = self._time_series.clock.plus or ("", None)
        added_variable = self._find_variable(name, clock.sample_count)
        if added_variable is None:
            raise SourceError(format_message("{file} has no variable {name!r}", self._name, name))
        unit_name = (unit or added_variable.column.unit or "").lower()
        scale, read = (
            _UNIT_MICROSECONDS.get(unit_name, _UNIT_MICROSECONDS.get(unit_name.rstrip("s"))),
            _create_block_reader(added_variable),
        )
        if scale is None:
            raise SourceError(format_message("the unit {unit!r} of {name} is none of time", unit_name, name))

        def read_added_times(first: int, stop: int) -> tuple[Numbers, Numbers | None, npt.NDArray[np.bool_]]:
            cells = read(first, stop)
            if pa.types.is_integer(cells.type) and scale < 1:
                return (*np.divmod(np.asarray(cells.fill_null(0)).astype(np.int64), 1000), np.asarray(cells.is_null()))
            values = np.asarray(cells.cast(pa.float64()).fill_null(np.nan))
            is_missing = ~np.isfinite(values)
            return np.round(np.where(is_missing, 0.0, values) * scale).astype(np.int64), None, is_missing

        return read_added_times

    def _collect_cards(self, part: Part) -> dict[str, Any]:
        all_cards: Iterable[HeaderCard] = (*part.cards, *self._product.cards)
        values_by_keyword: dict[str, Any] = {}
        for card in all_cards:
            if card.value is not None:
                values_by_keyword.setdefault(card.keyword.upper(), card.value)
        return values_by_keyword

    def _read_time_counts(self) -> tuple[int, dict[str, npt.NDArray[np.int64]]]:
        """Read times by clock, as the file has them.

        Counts of nanoseconds (1000) where some have such, of microseconds (1) else.
        """
        instants_by_clock = {"": self._read_instants(self._clock)}
        for name in sorted(
            {name for parameter in self._parameters.values() for name in parameter.file_parameter.clocks}
        ):
            values = self._find_variable(
                name,
                next(
                    parameter.sources[parameter.file_parameter.clocks.index(name)].sample_count
                    for parameter in self._parameters.values()
                    if name in parameter.file_parameter.clocks
                ),
            )
            assert values is not None  # noqa: S101  (it was found before)
            instants_by_clock[name] = self._read_instants(values)
        if all(nanos is None for _, nanos in instants_by_clock.values()):
            return 1, {name: times for name, (times, _) in instants_by_clock.items()}
        if any(
            (np.abs(times[times != MISSING_INSTANT]) > MAX_NANOSECOND_INSTANT).any()
            for times, _ in instants_by_clock.values()
        ):
            self.has_truncated_times = True
            return 1, {name: times for name, (times, _) in instants_by_clock.items()}
        return 1000, {
            name: np.where(times == MISSING_INSTANT, MISSING_INSTANT, times * 1000 + (0 if nanos is None else nanos))
            for name, (times, nanos) in instants_by_clock.items()
        }

    @property
    def times(self) -> SampleTimes:
        """When samples were taken: all times are read, once."""
        if self._times is None:
            self._times = self._order_times()
        return self._times

    def set_times(self, times: SampleTimes) -> None:
        """Take the times that another look at the same file has read.

        Parameters
        ----------
        times
            Of it.
        """
        self._times = times
        self.omitted_count = times.omitted_count
        self.has_truncated_times = times.has_truncated_times

    def _order_times(self) -> SampleTimes:
        scale, counts_by_clock = self._read_time_counts()
        main_counts = counts_by_clock[""]
        record_numbers: dict[str, npt.NDArray[np.int64] | None] = {"": None}
        is_present = main_counts != MISSING_INSTANT
        if not is_present.all() or not (main_counts[1:] > main_counts[:-1]).all():
            order = np.flatnonzero(is_present)
            order = order[np.argsort(main_counts[order], kind="stable")]
            last = np.append(main_counts[order][1:] != main_counts[order][:-1], True)[: len(order)]
            self.omitted_count = len(main_counts) - int(last.sum())
            record_numbers[""] = order[last]
            main_counts = main_counts[record_numbers[""]]
        tolerance = (self._time_series.cadence or 0) * 500_000 * scale or (
            float(np.median(np.diff(main_counts))) / 2 if len(main_counts) > 1 else 0
        )
        for name, clock_counts in [*counts_by_clock.items()][1:]:
            if (
                record_numbers[""] is None
                and len(clock_counts) == len(main_counts)
                and (np.abs(clock_counts - main_counts) <= tolerance).all()
            ):
                record_numbers[name] = None
                continue
            rows = np.flatnonzero(clock_counts != MISSING_INSTANT)
            rows = rows[np.argsort(clock_counts[rows], kind="stable")]
            main_counts, record_numbers = _match_records(
                main_counts, record_numbers, name, clock_counts, rows, tolerance
            )
        return SampleTimes(scale, main_counts, record_numbers, self.omitted_count, self.has_truncated_times)

    @cached_property
    def instants(self) -> npt.NDArray[np.int64]:
        """When samples were taken."""
        times = self.times
        if times.scale > 1:
            return times.counts // times.scale
        return times.counts

    @cached_property
    def text_lengths(self) -> dict[str, int]:
        """Bytes of the longest text of each parameter of texts: 8, 16, 32 ..."""
        names = [parameter.column.name for parameter in self._parameters.values() if parameter.column.type.is_string]
        lengths_by_name = dict.fromkeys(names, 8)
        for batch in self.read_batches(names, MISSING_INSTANT, 2**62) if names else ():
            for name in names:
                longest = pc.max(pc.binary_length(batch.column(name))).as_py() or 0
                while lengths_by_name[name] < longest:
                    lengths_by_name[name] *= 2
        return lengths_by_name

    @property
    def has_nanoseconds(self) -> bool:
        """Whether some times have digits below a microsecond; all are read, where the file can say such."""
        several = any(parameter.file_parameter.clocks for parameter in self._parameters.values())
        clock = self._clock
        if (
            not several
            and clock.column.type.is_timestamp
            and isinstance(clock.part, TablePart)
            and clock.part.read_instants is None
        ):
            return False  # nobody is asked
        capable = several or self._create_time_reader(clock)(0, min(clock.sample_count, BLOCK_TIMES))[1] is not None
        return capable and self.times.scale > 1

    @property
    def layout(self) -> str:
        """What tells files whose parameters are other ones."""
        layout_facts = [
            [
                parameter.column.name,
                str(parameter.column.arrow_field.type),
                parameter.column.unit,
                repr(parameter.bins),
                self.text_lengths.get(parameter.column.name),
            ]
            for parameter in self._parameters.values()
        ]
        return hashlib.sha256(json.dumps([*layout_facts, *["ns"] * self.has_nanoseconds]).encode()).hexdigest()[
            : len(NO_LAYOUT)
        ]

    # --- samples ------------------------------------------------------------------------------------------------------

    def read_batches(
        self, names: Sequence[str], start: int, stop: int, *, in_nanoseconds: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Read samples.

        Parameters
        ----------
        names
            Of parameters.
        start, stop
            From the first time on, before the second.
        in_nanoseconds
            Times as timestamps of nanoseconds, instead of numbers of microseconds.

        Yields
        ------
        batches
            The times, then the parameters that were asked for.

        Raises
        ------
        SourceError
            The file is damaged; its times cannot be counted in nanoseconds.
        """
        record_numbers = self.times.record_numbers
        instants = self.instants
        first, last = (int(parameter) for parameter in np.searchsorted(instants, (start, stop)))
        if in_nanoseconds:
            instants = self._count_nanoseconds(first, last)
        parameters = [self._parameters[name] for name in names]
        width = 1 + sum(math.prod(value.shape) for parameter in parameters for value in parameter.sources)
        step = max(BATCH_VALUES // width, 1)
        stream_readers: dict[tuple[int, str], Read] = {}
        groups: dict[int, list[_SampledVariable]] = {}
        for parameter in parameters:
            for source_number, value in enumerate(parameter.sources):
                if (
                    value.is_row_per_sample
                    and record_numbers[
                        parameter.file_parameter.clocks[source_number] if parameter.file_parameter.clocks else ""
                    ]
                    is None
                ):
                    groups.setdefault(value.part.index, []).append(value)
        streams = [_ColumnStream(members, first, last) for members in groups.values()]
        for stream, members in zip(streams, groups.values(), strict=True):
            stream_readers |= {(value.part.index, value.name): stream.create_reader(value.name) for value in members}
        if in_nanoseconds:
            kind = pa.timestamp("ns")
        else:
            kind = pa.int64()
        schema = pa.schema([pa.field("hven_time", kind), *(parameter.column.arrow_field for parameter in parameters)])
        end = first
        while end < last:
            begin = end
            end = min(end + step, last)
            for stream in streams:  # as they come, so that nothing is put together
                end = min(end, begin + stream.rows_ahead)
            arrays = [
                _read_parameter(parameter, record_numbers, stream_readers, begin, end) for parameter in parameters
            ]
            times = pa.array(instants[begin - first : end - first] if in_nanoseconds else instants[begin:end]).cast(
                kind
            )
            yield pa.record_batch([times, *arrays], schema=schema)

    def _count_nanoseconds(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Count times in nanoseconds."""
        times = self.times.counts[first:last]
        if self.times.scale > 1:
            return times
        if (np.abs(times) > MAX_NANOSECOND_INSTANT).any():
            raise SourceError(
                format_message(
                    "{file} has times before 1678 or behind 2261, which cannot be counted in nanoseconds as "
                    "those of other files",
                    self._name,
                )
            )
        return times * 1000


def _list_columns(part: Part) -> tuple[Column, ...]:
    """List the columns of a part, if it has some."""
    if isinstance(part, TablePart):
        return part.columns
    return ()


def _has_name(part: Part, name: str) -> bool:
    return name == str(part.index) or name.casefold() == part.name.casefold()


def _sample_rows(part: TablePart, column: Column) -> _SampledVariable:
    """Take a column: a row is a sample."""
    if column.type.is_array and not column.type.is_string:
        shape = tuple(length or 0 for length in reversed(column.type.shape))
    else:
        shape = ()
    return _SampledVariable(
        column.name,
        part,
        column,
        part.row_count,
        shape,
        lambda first, stop: _read_column(part, column.name, first, stop),
        is_row_per_sample=True,
    )


def _sample_time_column(part: TablePart, column: Column) -> _SampledVariable:
    """Take a column of times: one a row, or all in the one cell."""
    return (_sample_cell(part, column, None) if part.row_count == 1 else None) or _sample_rows(part, column)


def _sample_cell(part: TablePart, column: Column, count: int | None) -> _SampledVariable | None:
    """Take the one cell of a column: its elements are samples, along its first dimension or its last one."""
    if not column.type.is_array or column.type.is_string:
        return None
    cell = _read_column(part, column.name, 0, 1).flatten()
    shape: tuple[int, ...] = tuple(length or len(cell) for length in reversed(column.type.shape))
    is_transposed = count is not None and shape[0] != count and shape[-1] == count
    if count is not None and shape[0] != count and not is_transposed:
        return None
    if is_transposed and len(shape) > 1:
        element_order = np.moveaxis(np.arange(len(cell)).reshape(shape), -1, 0)
        cell = cell.take(pa.array(element_order.ravel()))
        shape = element_order.shape
    inner = shape[1:]
    size = math.prod(inner)
    kind = Type(column.type.datatype, "x".join(str(length) for length in reversed(inner)) or None, column.type.xtype)

    def read_samples(first: int, stop: int) -> pa.Array:
        elements = cell.slice(first * size, (stop - first) * size)
        if inner:
            return pa.FixedSizeListArray.from_arrays(elements, size)
        return elements

    return _SampledVariable(column.name, part, column.copy_with(type=kind), shape[0], inner, read_samples)


def _sample_array(part: ArrayPart, count: int) -> _SampledVariable | None:
    """Take an array, of which one axis is time."""
    axes = [axis_number for axis_number, axis in enumerate(part.axes) if axis.size == count]
    if not axes:
        return None
    time_axis = next((axis_number for axis_number in axes if part.axes[axis_number].kind == "time"), axes[0])
    inner = tuple(axis.size for axis_number, axis in enumerate(part.axes) if axis_number != time_axis)
    name = _VOTABLE_TYPES.get(part.dtype.newbyteorder("=").str[1:], "double")
    column = Column(
        name=part.name or f"part{part.index}",
        type=Type(name, "x".join(str(length) for length in reversed(inner)) or None),
        unit=part.unit,
    )

    def read_samples(first: int, stop: int) -> pa.Array:
        window = [
            slice(first, stop) if axis_number == time_axis else slice(0, axis.size)
            for axis_number, axis in enumerate(part.axes)
        ]
        values = np.ascontiguousarray(np.moveaxis(part.read(window), time_axis, 0))
        flat = pa.array(values.ravel().astype(values.dtype.newbyteorder("="), copy=False), from_pandas=True)
        if inner:
            return pa.FixedSizeListArray.from_arrays(flat, math.prod(inner))
        return flat

    return _SampledVariable(column.name, part, column, count, inner, read_samples)


def _read_column(part: TablePart, name: str, first: int, stop: int) -> pa.Array:
    if part.select_columns is not None:
        narrow_table = part.select_columns([name])
    else:
        narrow_table = part
    arrays = [
        batch.column(batch.schema.get_field_index(name)) for batch in narrow_table.read_batches(first, stop - first)
    ]
    if arrays:
        column_values = pa.concat_arrays(arrays)
    else:
        column_values = pa.nulls(0, narrow_table.columns[0].arrow_field.type)
    if len(column_values) != stop - first:
        raise SourceError(format_message("{name} ends where its values should be", name))
    return column_values


class _ColumnStream:
    """Columns of a part, read once from one row to another; each is asked for the same rows in turn."""

    def __init__(self, members: Sequence[_SampledVariable], first: int, last: int) -> None:
        part = members[0].part
        assert isinstance(part, TablePart)  # noqa: S101  (a row is a sample)
        names = {member.name for member in members}
        self._batches = (part.select_columns(names) if part.select_columns is not None else part).read_batches(
            first, last - first
        )
        self._names = sorted(names)
        self._start = -1
        self._current_arrays: dict[str, pa.Array] = {}
        self._remaining_batch: pa.RecordBatch = None

    def create_reader(self, name: str) -> Read:
        def read_rows(first: int, stop: int) -> pa.Array:
            if self._start != first:
                next_rows = self._read_next_rows(stop - first)
                self._start, self._current_arrays = first, next_rows
            return self._current_arrays[name]

        return read_rows

    @property
    def rows_ahead(self) -> int:
        """How many rows are there in one piece; the next ones are read if there are none."""
        while not self._remaining_batch:
            next_batch = next(self._batches, None)
            if next_batch is None:
                raise SourceError(
                    format_message("{name} ends where its values should be", ", ".join(self._names)[:100])
                )
            self._remaining_batch = next_batch
        row_count: int = self._remaining_batch.num_rows
        return row_count

    def _read_next_rows(self, count: int) -> dict[str, pa.Array]:
        parts = []
        row_count = 0
        while row_count < count and self.rows_ahead:
            piece = self._remaining_batch.slice(0, count - row_count)
            self._remaining_batch = self._remaining_batch.slice(piece.num_rows)
            parts.append(piece)
            row_count += piece.num_rows
        return {
            name: parts[0].column(name)
            if len(parts) == 1
            else pa.concat_arrays([piece_item.column(name) for piece_item in parts])
            for name in self._names
        }


def _create_block_reader(values: _SampledVariable) -> Read:
    """Read blocks one behind the other: each is asked for once."""
    if values.is_row_per_sample:
        return _ColumnStream([values], 0, values.sample_count).create_reader(values.name)
    return values.read_samples


def _read_parameter(
    parameter: _SampledParameter,
    record_numbers: dict[str, npt.NDArray[np.int64] | None],
    stream_readers: dict[tuple[int, str], Read],
    begin: int,
    end: int,
) -> pa.Array:
    """Read some samples of a parameter."""
    kind = parameter.column.arrow_field.type
    cells = []
    for source_number, value in enumerate(parameter.sources):
        source_records = record_numbers[
            parameter.file_parameter.clocks[source_number] if parameter.file_parameter.clocks else ""
        ]
        if source_records is None:
            read = stream_readers.get((value.part.index, value.name), value.read_samples)
        else:
            read = value.read_samples
        cells.append(read(begin, end) if source_records is None else _read_records(read, source_records[begin:end]))
    if parameter.is_single_variable:
        return cells[0].cast(kind)
    value_matrices = [
        _build_matrix(cell, value, parameter.file_parameter)
        for cell, value in zip(cells, parameter.sources, strict=True)
    ]
    flat = np.concatenate([values for values, _ in value_matrices], axis=1).ravel()
    is_missing = np.concatenate([mask for _, mask in value_matrices], axis=1).ravel()
    if pa.types.is_fixed_size_list(kind):
        inner = kind.value_type
    else:
        inner = kind
    array = pa.array(flat, mask=is_missing, from_pandas=True).cast(inner)
    if inner is not kind:
        return pa.FixedSizeListArray.from_arrays(array, kind.list_size)
    return array


def _build_matrix(
    cells: pa.Array, value: _SampledVariable, file_parameter: FileParameter
) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """Take values as a matrix of samples and elements, and which are none."""
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
        last = value.shape[-1]
        values = values[:, file_parameter.element :: last]
        is_missing = is_missing[:, file_parameter.element :: last]
    return values, is_missing if file_parameter.fill is None else is_missing | (values == file_parameter.fill)


def _read_records(read: Read, record_numbers: npt.NDArray[np.int64]) -> pa.Array:
    """Read records in any order; -1 is none."""
    wanted_records = np.unique(record_numbers[record_numbers >= 0])
    if not len(wanted_records):
        return read(0, 1).take(pa.array([None] * len(record_numbers), pa.int64()))
    ends = np.flatnonzero(np.diff(wanted_records) > BLOCK_TIMES // 16)
    runs = zip(
        wanted_records[np.append(0, ends + 1)],
        wanted_records[np.append(ends, len(wanted_records) - 1)] + 1,
        strict=True,
    )
    parts = []
    numbers = []
    for first, stop in runs:
        parts.append(read(int(first), int(stop)))
        numbers.append(np.arange(first, stop))
    positions = np.searchsorted(np.concatenate(numbers), record_numbers)
    return pa.concat_arrays(parts).take(pa.array(positions, mask=record_numbers < 0))


def _match_records(
    main_times: npt.NDArray[np.int64],
    record_numbers: dict[str, npt.NDArray[np.int64] | None],
    name: str,
    clock_times: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    tolerance: float,
) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.int64] | None]]:
    """Put records under the samples that are next to them in time.

    Those that are next to none are samples of their own.
    """
    times = clock_times[rows]
    nearest_clock = _find_nearest(times, main_times)
    nearest_main = _find_nearest(main_times, times)
    matched_rows = np.full(len(main_times), -1, np.int64)
    if len(times) and len(main_times):
        mutual = (nearest_main[nearest_clock] == np.arange(len(main_times))) & (
            np.abs(times[nearest_clock] - main_times) <= tolerance
        )
        matched_rows[mutual] = rows[nearest_clock[mutual]]
    is_unmatched = ~np.isin(rows, matched_rows)
    all_times = np.concatenate([main_times, times[is_unmatched]])
    all_times, first = np.unique(all_times, return_index=True)
    merged_numbers: dict[str, npt.NDArray[np.int64] | None] = {}
    for key, clock_records in record_numbers.items():
        if clock_records is None:
            main_numbers = np.arange(len(main_times))
        else:
            main_numbers = clock_records
        merged_numbers[key] = np.concatenate([main_numbers, np.full(int(is_unmatched.sum()), -1)])[first]
    merged_numbers[name] = np.concatenate([matched_rows, rows[is_unmatched]])[first]
    return all_times, merged_numbers


def _find_nearest(
    sorted_values: npt.NDArray[np.int64], searched_values: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Find the nearest of increasing values."""
    if not len(sorted_values):
        return np.zeros(len(searched_values), np.int64)
    after = np.clip(np.searchsorted(sorted_values, searched_values), 0, len(sorted_values) - 1)
    before = np.clip(after - 1, 0, None)
    return np.where(
        np.abs(sorted_values[before] - searched_values) <= np.abs(sorted_values[after] - searched_values), before, after
    )


def _find_element_type(column: Column) -> np.dtype[Any]:
    kind = column.arrow_field.type
    if pa.types.is_fixed_size_list(kind):
        inner = kind.value_type
    else:
        inner = kind
    element_type: np.dtype[Any] = np.dtype(inner.to_pandas_dtype())
    return element_type


__all__ = ["FileSamples"]
