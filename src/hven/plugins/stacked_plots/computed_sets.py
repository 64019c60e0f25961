"""Select and compute parameters of a data set, for plots and for HAPI.

The text ``goes_xrs;xrsa;ratio=xrsa/xrsb`` selects the parameter ``xrsa`` and computes ``ratio``. HAPI clients use it as
the id of a data set (extension point ``series.computed_sets``), with the rights of the data set that it is made from.

Common
------
view
    What the reader sees.
start, stop
    Microseconds since 1970: from `start` (included) to `stop` (excluded).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.model.errors import NotFoundError, ParamError, TimeLimitError, format_message, suggest_spelling
from hven.model.table import Column
from hven.model.types import FLOAT64, parse_type
from hven.plugins.series import reductions, sample_sets
from hven.plugins.series.sample_parameters import SampleParameter, is_spectrum
from hven.plugins.stacked_plots.plot_addresses import parse_panel
from hven.plugins.stacked_plots.sample_expressions import (
    ComputedLine,
    SampleBlock,
    compute_max_gap,
    parse_computed_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.plugins.series.reader_view import ReaderView
    from hven.plugins.series.sample_sets import SampleDataSet

    Matrix = npt.NDArray[np.float64]

MAX_SELECTED_PARAMETERS = 8
MAX_BLOCK_VALUES = 8_000_000  # values that are in memory while lines are computed
MIN_BLOCK_SAMPLES = 50_000  # new samples for which computing a block is worth its margins
TIME_NAME = "hven_time"  # the first column of samples
_NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSelection:
    """Parameters of a data set, some of which are computed.

    Attributes
    ----------
    data_set
        The data set.
    parameters
        The parameters, in the order in which they were written.
    lines
        Those that are computed, by name.
    """

    data_set: SampleDataSet
    parameters: tuple[SampleParameter, ...]
    lines: Mapping[str, ComputedLine]

    @property
    def names(self) -> list[str]:
        """Names of the parameters."""
        return [parameter.name for parameter in self.parameters]

    @property
    def source_names(self) -> list[str]:
        """Names of the stored parameters that are needed."""
        names: dict[str, None] = {}
        for parameter in self.parameters:
            line = self.lines.get(parameter.name)
            names.update(dict.fromkeys(line.source_names if line else [parameter.name]))
        return list(names)

    @property
    def margin_microseconds(self) -> int:
        """Time before and after a span whose samples are needed, too."""
        return max((line.margin_microseconds for line in self.lines.values()), default=0)

    def compute_columns(self, block: SampleBlock) -> dict[str, Matrix]:
        """Compute the values of all parameters, by name."""
        return {
            name: self.lines[name].evaluate(block) if name in self.lines else block.values[name] for name in self.names
        }


def select_samples(view: ReaderView, data_set: SampleDataSet, parameter_texts: Sequence[str]) -> SampleSelection:
    """Select parameters of a data set.

    Parameters
    ----------
    data_set
        A data set that the reader may see.
    parameter_texts
        Names of parameters, and ``name=expression`` for computed ones; none: those that are worth seeing first.

    Raises
    ------
    HvenError
        There is no such parameter, an expression is wrong, or there are too many.
    """
    numeric_parameters = {parameter.name: parameter for parameter in data_set.numeric_parameters}
    if len(parameter_texts) > MAX_SELECTED_PARAMETERS:
        message = format_message("a panel has {count} parameters; the maximum is {limit}", len(parameter_texts), 8)
        raise ParamError(message, name="panel", remedy="divide them between several panels")
    chosen: dict[str, SampleParameter] = {}
    lines = {}
    for text in parameter_texts or _choose_first_names(data_set):
        name, equals_sign, expression = (part.strip() for part in text.partition("="))
        if equals_sign and name not in numeric_parameters:
            if not _NAME_PATTERN.fullmatch(name):
                message = format_message("{name!r:.80} cannot be the name of a computed parameter", name)
                raise ParamError(message, name="panel", remedy="use letters, digits and underscores")
            cadence = data_set.estimate_cadence(sample_sets.find_time_extent(view, data_set))
            lines[name] = parse_computed_line(name, expression, numeric_parameters, cadence)
            chosen[name] = _build_computed_parameter(lines[name], numeric_parameters)
        elif text in numeric_parameters:
            chosen[text] = numeric_parameters[text]
        else:
            message = format_message("the data set has no numeric parameter {name!r:.80}", text)
            remedy = suggest_spelling(text, numeric_parameters) or ", ".join(numeric_parameters)[:300]
            raise NotFoundError(message, remedy=remedy)
    return SampleSelection(data_set=data_set, parameters=tuple(chosen.values()), lines=lines)


def _choose_first_names(data_set: SampleDataSet) -> list[str]:
    """Choose a spectrum, else up to three lines of one unit."""
    parameters = data_set.numeric_parameters
    spectra = [parameter.name for parameter in parameters if is_spectrum(parameter)]
    if spectra or not parameters:
        return spectra[:1]
    units = [parameter.column.unit for parameter in parameters]
    unit = next(filter(None, units), units[0])
    return [parameter.name for parameter in parameters if parameter.column.unit == unit][:3]


def _build_computed_parameter(line: ComputedLine, parameters: Mapping[str, SampleParameter]) -> SampleParameter:
    """Build the parameter of a computed line; it has the channels of the array from which it is computed."""
    count = line.element_count
    column = Column(
        name=line.name,
        type=parse_type(f"float64[{count}]") if count > 1 else FLOAT64,
        unit=line.unit or None,
        description=line.expression,
    )
    if count == 1:
        return SampleParameter(column=column, value_kind="double")
    source = next(parameters[name] for name in line.source_names if parameters[name].element_count == count)
    return SampleParameter(column=column, value_kind="double", dimensions=source.dimensions, bins=source.bins)


def read_selected_samples(
    view: ReaderView, selection: SampleSelection, start: int, stop: int
) -> Iterator[pa.RecordBatch]:
    """Read the samples of a selection, in the order of time, as `sample_sets.read_samples` does.

    Raises
    ------
    HvenError
        As for any query; or the windows of functions have too many samples.
    """
    data_set = selection.data_set
    if not selection.lines:
        yield from sample_sets.read_samples(view, data_set, selection.names, start=start, stop=stop)
        return
    margin = selection.margin_microseconds
    cadence = data_set.estimate_cadence(sample_sets.find_time_extent(view, data_set))
    max_gap = compute_max_gap(cadence)
    batches = sample_sets.read_samples(view, data_set, selection.source_names, start=start - margin, stop=stop + margin)
    instants = np.empty(0, np.int64)
    values: dict[str, Matrix] = {}
    emitted_until = start

    def compute_batch(until: int) -> pa.RecordBatch:
        """Compute the samples from `emitted_until` to `until`."""
        block = SampleBlock(instants=instants, values=values, max_gap_microseconds=max_gap)
        is_inside = (instants >= emitted_until) & (instants < until)
        columns = selection.compute_columns(block)
        arrays = [_build_array(columns[parameter.name][is_inside], parameter) for parameter in selection.parameters]
        return pa.record_batch([pa.array(instants[is_inside]), *arrays], names=[TIME_NAME, *selection.names])

    for batch in batches:
        if not batch.num_rows:
            continue
        instants, values = _append_samples(batch, instants, values, selection.source_names)
        if sum(matrix.size for matrix in values.values()) > MAX_BLOCK_VALUES:
            message = format_message(
                "the windows of the expression contain more than {limit:,} values", MAX_BLOCK_VALUES
            )
            raise TimeLimitError(message, remedy="use shorter windows, or a shorter time span")
        until = min(int(instants[-1]) - margin, stop)
        if until > emitted_until and np.count_nonzero(instants >= emitted_until) >= MIN_BLOCK_SAMPLES:
            yield compute_batch(until)
            emitted_until = until
            first = int(np.searchsorted(instants, until - margin - max_gap))
            instants = instants[first:]
            values = {name: matrix[first:] for name, matrix in values.items()}
    if len(instants) and emitted_until < stop:
        yield compute_batch(stop)


def _append_samples(
    batch: pa.RecordBatch, instants: npt.NDArray[np.int64], values: Mapping[str, Matrix], names: Iterable[str]
) -> tuple[npt.NDArray[np.int64], dict[str, Matrix]]:
    joined_instants = np.concatenate([instants, np.asarray(batch.column(0), np.int64)])
    joined_values = {}
    for name in names:
        matrix = reductions.to_matrix(batch.column(name)).astype(np.float64, copy=False)
        earlier = values.get(name)
        joined_values[name] = matrix if earlier is None or not len(earlier) else np.concatenate([earlier, matrix])
    return joined_instants, joined_values


def _build_array(matrix: Matrix, parameter: SampleParameter) -> pa.Array:
    elements = pa.array(np.ascontiguousarray(matrix, np.float64).ravel())
    if parameter.dimensions:
        return pa.FixedSizeListArray.from_arrays(elements, parameter.element_count)
    return elements


def find_computed_set(view: ReaderView, data_sets: Mapping[str, SampleDataSet], name: str) -> SampleDataSet | None:
    """Find the data set of an id that selects or computes parameters of another one; None for other ids.

    Parameters
    ----------
    data_sets
        The reader's data sets, by id.
    name
        Id such as ``goes_xrs;ratio=xrsa/xrsb``.

    Raises
    ------
    HvenError
        An expression of the id is wrong.
    """
    address = parse_panel(name)
    base_set = data_sets.get(address.name)
    if base_set is None or not address.parameters or base_set.base_set is not None or base_set.remote is not None:
        return None
    selection = select_samples(view, base_set, address.parameters)
    series = replace(
        base_set.series, id=name, title=f"{base_set.title}: {', '.join(selection.names)}", places={}, colors={}
    )
    parameters = []
    for parameter in selection.parameters:
        is_fixed = not any(isinstance(axis.centers, str) for axis in parameter.bins)
        parameters.append(replace(parameter, bins=parameter.bins if is_fixed else (), value_kind="double", fill="NaN"))
    return replace(
        base_set,
        series=series,
        time=replace(base_set.time, byte_length=min(base_set.time.byte_length, 27)),
        parameters=tuple(parameters),
        left_out=(),
        notes=(),
        base_set=base_set,
        bin_microseconds=1,
        read_computed=_read_computed_set,
    )


def _read_computed_set(
    view: ReaderView, data_set: SampleDataSet, parameter_names: Sequence[str], start: int, stop: int
) -> Iterator[pa.RecordBatch]:
    base_set = data_set.base_set
    if base_set is None:
        return
    selection = select_samples(view, base_set, parse_panel(data_set.id).parameters)
    requested = tuple(parameter for parameter in selection.parameters if parameter.name in parameter_names)
    lines = {name: line for name, line in selection.lines.items() if name in parameter_names}
    chosen = replace(selection, parameters=requested, lines=lines)
    for batch in read_selected_samples(view, chosen, start, stop):
        columns = [batch.column(name) for name in chosen.names]
        numbers = [
            _build_array(reductions.to_matrix(column).astype(np.float64, copy=False), parameter)
            for column, parameter in zip(columns, requested, strict=True)
        ]
        yield pa.record_batch([batch.column(0), *numbers], names=[TIME_NAME, *chosen.names])
