"""Read CDF by the conventions of ISTP, with cdflib.

Variables over one epoch become a table; those over an epoch and further axes become arrays, too.
"""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import MAX_PARTS, ArrayPart, Axis, HeaderCard, OpenProductFile, ProductFileFormat, TablePart
from hven.formats.media.api import ProductVariable, convert_library_errors, copy_to_disk, format_arraysize
from hven.model import plugins
from hven.model.errors import SourceError, format_message
from hven.model.table import MJD_EPOCH, ArrayAxisMetadata, Column, TimeSeriesMetadata
from hven.model.types import ColumnType
from hven.plugins.array_files import istp_attributes as istp
from hven.plugins.array_files.cdf_epochs import (
    convert_epochs_to_instants,
    convert_epochs_to_mjd,
    has_subnanosecond_digits,
)
from hven.plugins.array_files.cdf_types import (
    CDF_TYPE_NAMES,
    EPOCH16_TYPE,
    EPOCH_TYPE,
    TEXT_TYPES,
    TT2000_TYPE,
    VOTABLE_TYPES,
    find_numpy_type,
)
from hven.plugins.array_files.compressed_cdf import UNCOMPRESSED_MAGIC, unpack_cdf

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats.media import Part, Place
    from hven.formats.media.api import Instants

MAX_CELL_BYTES = 1 << 16  # of a cell of a table; a larger variable is only an array
MAX_BATCH_RECORDS = 1 << 17  # of a batch
MAX_COMPRESSION_RATIO = 1100  # highest ratio of zlib


class _CdfVariable:
    """A variable: its description, and access to its records."""

    def __init__(self, file: Any, lock: threading.Lock, name: str, *, file_bytes: int, file_name: str) -> None:
        variable_info = file.varinq(name)
        self.file = file
        self.lock = lock
        self.name = name
        self.file_name = file_name
        self.attributes: dict[str, Any] = file.varattsget(name)
        self.cdf_type = int(variable_info.Data_Type)
        self.record_count = int(variable_info.Last_Rec) + 1
        vary = list(variable_info.Dim_Vary) or [True] * len(variable_info.Dim_Sizes)
        sizes = zip(variable_info.Dim_Sizes, vary, strict=False)
        self.shape = tuple(int(size) for size, varies in sizes if varies and int(varies))
        self.varies_by_record = bool(variable_info.Rec_Vary)
        self.is_time = self.cdf_type in {EPOCH_TYPE, EPOCH16_TYPE, TT2000_TYPE}
        self.has_truncated_times = False  # times that were read had digits below a nanosecond
        self.item_bytes = 8
        if not self.is_time and self.cdf_type not in TEXT_TYPES:
            self.item_bytes = np.dtype(find_numpy_type(self.cdf_type)).itemsize
        record_bytes = math.prod(self.shape) * self.item_bytes
        max_bytes = max(MAX_COMPRESSION_RATIO * file_bytes, 1 << 20)
        if min(self.shape, default=1) < 1 or record_bytes * max(1, self.record_count) > max_bytes:
            promised_bytes = record_bytes * self.record_count
            raise SourceError(
                format_message(
                    "{name} has {there} bytes, but its label states {end}", file_name, file_bytes, promised_bytes
                )
            )

    @property
    def unit(self) -> str | None:
        return istp.strip_unit_markup(str(self.attributes.get("UNITS") or ""))

    @property
    def is_support(self) -> bool:
        """Whether it describes data, by its VAR_TYPE (ISTP Metadata Guidelines, variable attributes)."""
        return istp.is_support_variable(self.attributes)

    def read_records(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read records as they are stored."""
        if stop <= start or self.record_count < 1:
            value_type = "U1" if self.cdf_type in TEXT_TYPES else find_numpy_type(self.cdf_type)
            return np.empty((0, *self.shape), value_type)
        record_count = stop - start
        with self.lock, convert_library_errors(self.file_name, "CDF"):
            self.file.reset_read_limit()
            stored_values = self.file.varget(self.name, startrec=start, endrec=stop - 1)
        if isinstance(stored_values, str):  # texts without dimensions come joined
            size = max(1, len(stored_values) // record_count)
            text_starts = range(0, len(stored_values), size)[:record_count]
            stored_values = [stored_values[text_start : text_start + size] for text_start in text_starts]
        values = np.asarray(stored_values)
        if self.varies_by_record:
            return values.reshape((record_count, *self.shape))
        return np.broadcast_to(values.reshape(self.shape), (record_count, *self.shape))

    def find_fill_values(self, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        fill = self.attributes.get("FILLVAL")
        if fill is None or isinstance(fill, str) or np.size(fill) != 1 or values.dtype.kind not in "iuf":
            return np.zeros(values.shape, np.bool_)
        fill_value = np.asarray(fill).ravel()[0].astype(values.dtype)
        return np.asarray(values == fill_value)

    def read_values(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read records as physical values: times as MJD, fill values as NaN."""
        stored = self.read_records(start, stop)
        if self.is_time:
            return convert_epochs_to_mjd(stored, self.cdf_type)
        is_missing = self.find_fill_values(stored)
        if not is_missing.any() and stored.dtype.kind != "f":
            if self.cdf_type not in TEXT_TYPES:
                return stored.astype(self.value_type, copy=False)
            return stored
        filled_values = stored.astype(self.value_type)
        filled_values[is_missing] = np.nan
        return filled_values

    def read_instants(self, start: int, stop: int) -> Instants:
        stored = self.read_records(start, stop)
        if has_subnanosecond_digits(stored, self.cdf_type):
            self.has_truncated_times = True
        return convert_epochs_to_instants(stored, self.cdf_type)

    @property
    def value_type(self) -> np.dtype[Any]:
        """The type of the values that `read_values` returns, the same for each window."""
        stored_type = np.dtype("f8" if self.is_time else find_numpy_type(self.cdf_type)).newbyteorder("=")
        if stored_type.kind == "f" or self.attributes.get("FILLVAL") is None:
            return stored_type
        return np.dtype("f4" if stored_type.itemsize <= 2 else "f8")

    def create_column(self) -> Column:
        size = format_arraysize(self.shape)
        if self.is_time:
            epoch = None if size else MJD_EPOCH
            column_type = ColumnType("double", size)
            return Column(
                name=self.name, type=column_type, unit="d", ucd="time.epoch", description="MJD, UTC", epoch=epoch
            )
        if self.cdf_type in TEXT_TYPES:
            column_type = ColumnType("char", "*")
        else:
            column_type = ColumnType(VOTABLE_TYPES.get(self.cdf_type, "double"), size)
        description = _read_description(self.attributes)
        label = istp.read_axis_label(self.attributes, self.name)
        return Column(name=self.name, type=column_type, unit=self.unit, description=description, label=label)

    def read_arrow(self, start: int, stop: int, arrow_type: pa.DataType) -> pa.Array:
        """Read records as cells, with nulls for fill values."""
        stored = self.read_records(start, stop)
        if self.cdf_type in TEXT_TYPES:
            texts = [str(text).rstrip(" \0") for text in stored.ravel()]
            return pa.array(texts, pa.string())
        values = convert_epochs_to_mjd(stored, self.cdf_type) if self.is_time else stored
        flat_values = np.ascontiguousarray(values).ravel()
        mask = None
        if not self.is_time and self.attributes.get("FILLVAL") is not None:
            mask = self.find_fill_values(flat_values)
            if not mask.any():
                mask = None
        may_hold_nan = True
        if flat_values.dtype.kind == "f":  # without NaN, Arrow copies nothing
            may_hold_nan = flat_values.size > 0 and bool(np.isnan(flat_values.min()))
        native_values = flat_values.astype(flat_values.dtype.newbyteorder("="), copy=False)
        cells = pa.array(native_values, mask=mask, from_pandas=may_hold_nan)
        if not self.shape:
            return cells.cast(arrow_type)
        items = cells.cast(arrow_type.value_type)
        return pa.FixedSizeListArray.from_arrays(items, arrow_type.list_size).cast(arrow_type)


def _read_description(attributes: Mapping[str, Any]) -> str | None:
    """Read the description of a variable (CATDESC, or FIELDNAM)."""
    text = str(attributes.get("CATDESC") or attributes.get("FIELDNAM") or "").strip()
    return text or None


def open_cdf(file: Place) -> OpenProductFile:
    """Open a file.

    Parameters
    ----------
    file
        The file; one on another server is read by ranges, and copied if it is compressed as a whole.

    Returns
    -------
    product
        A table for each epoch, and arrays for variables that have further axes (DEPEND_1 ..).

    Raises
    ------
    SourceError
        The file is no CDF or damaged, or cdflib is not installed.
    """
    plugins.require_modules("a CDF file", "cdflib", error_class=SourceError)
    name = file.name
    with file.open("rb") as head:
        is_uncompressed = head.read(8)[4:] == UNCOMPRESSED_MAGIC
    if is_uncompressed:
        path, close = (file, _remove_nothing)
    else:
        path, close = _unpack_file(file)
    try:
        with convert_library_errors(name, "CDF"):
            source = _load_reader_class()(path)
            file_info = source.cdf_info()
            lock = threading.Lock()
            file_bytes = path.stat().st_size
            if source.end > file_bytes:
                message = format_message(
                    "{name} has {there} bytes, but its label states {end}", name, file_bytes, source.end
                )
                remedy = format_message("download the file again; it is truncated")
                raise SourceError(message, remedy=remedy)  # noqa: TRY301
            names = [*file_info.zVariables, *file_info.rVariables][:MAX_PARTS]
            variables_by_name = {}
            for variable_name in names:
                variables_by_name[variable_name] = _CdfVariable(
                    source, lock, variable_name, file_bytes=file_bytes, file_name=name
                )
            cards = _convert_attributes_to_cards(source.globalattsget())
            parts = tuple(_create_parts(variables_by_name))

            def list_variables() -> Iterator[ProductVariable]:
                for variable in variables_by_name.values():
                    sizes = variable.shape
                    if variable.varies_by_record:
                        sizes = (variable.record_count, *variable.shape)
                    type_name = CDF_TYPE_NAMES.get(variable.cdf_type, str(variable.cdf_type))
                    yield ProductVariable(
                        name=variable.name,
                        type=type_name,
                        sizes=sizes,
                        cards=_convert_attributes_to_cards(variable.attributes),
                    )

            def close_file() -> None:
                source._f.close()  # noqa: SLF001  (it has no other way)
                close()

            return OpenProductFile(
                medium="cdf", parts=parts, cards=cards, close=close_file, list_variables=list_variables
            )
    except BaseException:
        close()
        raise


def read_global_attributes(file: Place) -> Iterator[HeaderCard]:
    """Read the global attributes only.

    Parameters
    ----------
    file
        File as in `open_cdf`.

    Yields
    ------
    cards
        Attributes in the order of the file.

    Raises
    ------
    SourceError
        As in `open_cdf`.
    """
    plugins.require_modules("a CDF file", "cdflib", error_class=SourceError)
    with file.open("rb") as stream:
        is_uncompressed = stream.read(8)[4:] == UNCOMPRESSED_MAGIC
    if not is_uncompressed:
        with open_cdf(file) as product:
            yield from product.cards
        return
    with convert_library_errors(file.name, "CDF"):
        source = _load_reader_class()(file)
        try:
            cards = _convert_attributes_to_cards(source.globalattsget())
        finally:
            source._f.close()  # noqa: SLF001  (cdflib has no method for it)
    yield from cards


def _unpack_file(file: Place) -> tuple[Path, Callable[[], None]]:
    """Unpack a file that is compressed as a whole; return its path, and the function that removes it."""
    local_path, close = copy_to_disk(file)
    try:
        with convert_library_errors(file.name, "CDF"):
            path = unpack_cdf(local_path, file.name)
    finally:
        close()
    return path, partial(path.unlink, missing_ok=True)


def _remove_nothing() -> None:
    """Do nothing, for there is no copy to remove."""


def _load_reader_class() -> Any:
    """Import the reader, and with it cdflib, which only CDF files need."""
    return plugins.import_hven_module("hven.plugins.array_files.cdf_reader", "CDF files").BoundedCdfReader


def _convert_attributes_to_cards(attributes: dict[str, Any]) -> tuple[HeaderCard, ...]:
    cards = []
    for attribute_name, value in attributes.items():
        values = value if isinstance(value, list) else [value]
        words = [str(item) for item in values if item is not None]
        text = " ".join(words).strip()
        if text:
            cards.append(HeaderCard(attribute_name, text[:2000]))
    return tuple(cards)


def _create_parts(variables_by_name: dict[str, _CdfVariable]) -> Iterator[Part]:
    index = 0
    for clock, members in _group_variables_by_time(variables_by_name).items():
        members.sort(key=lambda variable: variable.name != clock)
        clock_members = members
        if clock in variables_by_name:
            clock_members = [variable for variable in members if variable.name == clock]
        count = max(variable.record_count for variable in clock_members)
        column_variables = [variable for variable in members if _is_table_column(variable, count)]
        if column_variables:
            collect_metadata = partial(_collect_sample_metadata, column_variables, variables_by_name)
            yield _create_table(column_variables, index, clock, count, collect_metadata)
            index += 1
    for variable in variables_by_name.values():
        has_values = variable.varies_by_record and variable.record_count > 0
        if not has_values or not variable.shape or variable.is_time or variable.cdf_type in TEXT_TYPES:
            continue
        axes = _create_axes(variable, variables_by_name)
        if axes:
            yield ArrayPart(
                index=index,
                name=variable.name,
                axes=axes,
                dtype=variable.value_type,
                read=_create_window_reader(variable),
                unit=variable.unit,
                cards=_convert_attributes_to_cards(variable.attributes),
                role="support" if variable.is_support else "data",
            )
            index += 1


def _group_variables_by_time(variables_by_name: dict[str, _CdfVariable]) -> dict[str, list[_CdfVariable]]:
    """Group the variables with records by their time (DEPEND_0); those without one by the number of records."""
    groups: dict[str, list[_CdfVariable]] = {}
    for variable in variables_by_name.values():
        clock = str(variable.attributes.get("DEPEND_0") or "").strip()
        if variable.is_time and not clock:
            clock = variable.name
        elif clock not in variables_by_name:
            if variable.record_count <= 1 and not variable.is_time:
                continue
            clock = f"{variable.record_count} records"
        if variable.varies_by_record:
            groups.setdefault(clock, []).append(variable)
    return groups


def _is_table_column(variable: _CdfVariable, record_count: int) -> bool:
    """Return whether a variable is a column of a table with this number of records."""
    if variable.cdf_type in TEXT_TYPES and variable.shape:
        return False
    cell_bytes = math.prod(variable.shape) * variable.item_bytes
    return variable.record_count == record_count and cell_bytes <= MAX_CELL_BYTES


def _collect_sample_metadata(
    column_variables: Sequence[_CdfVariable], variables_by_name: Mapping[str, _CdfVariable]
) -> TimeSeriesMetadata | None:
    """Collect the metadata of samples, for commands that draft a data set.

    Return None if the samples have no times, or if no variable says that it is data.
    """
    clock = column_variables[0]
    data = [variable for variable in column_variables[1:] if istp.is_data_variable(variable.attributes)]
    if not clock.is_time or clock.shape or not data:
        return None
    names = {variable.name for variable in column_variables}
    axes = {}
    ranges = {}
    for variable in column_variables:
        if variable.shape:
            axis_metadata = _describe_axes(variable, variables_by_name, names)
            if axis_metadata:
                axes[variable.name] = axis_metadata
        elif not variable.is_time:
            limits = istp.read_valid_range(variable.attributes)
            if limits is not None:
                ranges[variable.name] = limits
    systems = {}
    for variable in data:
        system = istp.read_text_attribute(variable.attributes, "COORDINATE_SYSTEM")
        if variable.shape == (3,) and system:
            systems[variable.name] = system
    data_names = tuple(variable.name for variable in data)
    return TimeSeriesMetadata(time=clock.name, data=data_names, axes=axes, valid=ranges, systems=systems)


def _describe_axes(
    variable: _CdfVariable, variables_by_name: Mapping[str, _CdfVariable], names: Collection[str]
) -> tuple[ArrayAxisMetadata, ...]:
    """Describe what the elements of each dimension stand for (DEPEND_1 ..); empty if one dimension is unknown."""
    axis_metadata = []
    for number, size in enumerate(variable.shape, 1):
        axis_variable = _find_axis_variable(variable, number, variables_by_name)
        if (
            axis_variable is None
            or istp.read_text_attribute(axis_variable.attributes, "VAR_TYPE").lower() == "metadata"
        ):
            return ()  # metadata: numbers of components
        has_own_values = axis_variable.varies_by_record and axis_variable.record_count > 1
        if has_own_values and axis_variable.shape == (size,) and axis_variable.name in names:
            centers: tuple[float, ...] | str = axis_variable.name
        else:
            read_axis = _create_axis_reader(axis_variable)
            values = np.asarray(read_axis(), np.float64).ravel()
            if values.size != size or size > istp.MAX_BIN_CENTERS or not np.isfinite(values).all():
                return ()
            centers = tuple(float(f"{value:.9g}") for value in values)
        label = istp.read_axis_label(axis_variable.attributes, axis_variable.name)
        label = label or _read_description(axis_variable.attributes)
        axis_metadata.append(
            ArrayAxisMetadata(name=axis_variable.name, unit=axis_variable.unit, label=label, centers=centers)
        )
    return tuple(axis_metadata)


def _find_axis_variable(
    variable: _CdfVariable, number: int, variables_by_name: Mapping[str, _CdfVariable]
) -> _CdfVariable | None:
    """Find the numeric variable along a dimension (DEPEND_1 ..), if it has the size of the dimension."""
    name = str(variable.attributes.get(f"DEPEND_{number}") or "").strip()
    axis_variable = variables_by_name.get(name)
    if axis_variable is None or axis_variable.cdf_type in TEXT_TYPES or axis_variable.is_time:
        return None
    if axis_variable.shape not in {(variable.shape[number - 1],), ()}:
        return None
    return axis_variable


def _create_table(
    column_variables: Sequence[_CdfVariable],
    index: int,
    time_name: str,
    count: int,
    collect_metadata: Callable[[], TimeSeriesMetadata | None] | None = None,
) -> TablePart:
    columns = tuple(variable.create_column() for variable in column_variables)
    schema = pa.schema([column.arrow_field for column in columns])
    width = sum(math.prod(variable.shape) * variable.item_bytes for variable in column_variables)

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        step = max(1, min(MAX_BATCH_RECORDS, (8 << 20) // width))
        for first in range(start, min(count, start + row_limit), step):
            stop = min(count, start + row_limit, first + step)
            arrays = []
            for variable, arrow_type in zip(column_variables, schema.types, strict=True):
                arrays.append(variable.read_arrow(first, stop, arrow_type))
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def select_columns(names: Collection[str]) -> TablePart:
        selected_variables = [variable for variable in column_variables if variable.name in names]
        return _create_table(selected_variables, index, time_name, count)

    cards: tuple[HeaderCard, ...] = ()
    if column_variables[0].is_time:
        cards = (HeaderCard("TIMESYS", "UTC"),)
    variables_by_name = {variable.name: variable for variable in column_variables}
    support_columns = frozenset(variable.name for variable in column_variables if variable.is_support)
    return TablePart(
        index=index,
        name=time_name,
        columns=columns,
        row_count=count,
        read_batches=read_batches,
        cards=cards,
        select_columns=select_columns,
        read_instants=lambda name, start, stop: variables_by_name[name].read_instants(start, stop),
        has_truncated_times=lambda name: variables_by_name[name].has_truncated_times,
        support_columns=support_columns,
        collect_sample_metadata=collect_metadata,
    )


def _create_window_reader(variable: _CdfVariable) -> Callable[[Sequence[slice]], npt.NDArray[Any]]:
    def read_window(window: Sequence[slice]) -> npt.NDArray[Any]:
        first, *further_slices = window
        values = variable.read_values(first.start, first.stop)
        return values[(slice(None), *further_slices)]

    return read_window


def _create_axes(variable: _CdfVariable, variables_by_name: dict[str, _CdfVariable]) -> tuple[Axis, ...]:
    """Create the axes of a variable from what they depend on; empty if only the axis of records is known."""
    clock = variables_by_name.get(str(variable.attributes.get("DEPEND_0") or ""))
    record_axis = Axis(name="record" if clock is None else clock.name, size=variable.record_count)
    if clock is not None and clock.is_time and clock.record_count == variable.record_count and not clock.shape:
        read_times = _create_axis_reader(clock)
        record_axis = replace(record_axis, kind="time", unit="d", read_values=read_times)
    axes = [record_axis]
    has_described_axis = False
    for number, size in enumerate(variable.shape, 1):
        axis_variable = _find_axis_variable(variable, number, variables_by_name)
        if axis_variable is None or axis_variable.record_count < 1:
            axes.append(Axis(name=f"axis{number}", size=size))
            continue
        if str(axis_variable.attributes.get("VAR_TYPE")) != "metadata":
            has_described_axis = True
        read_axis = _create_axis_reader(axis_variable)
        axes.append(Axis(name=axis_variable.name, size=size, unit=axis_variable.unit, read_values=read_axis))
    return tuple(axes) if has_described_axis else ()


def _create_axis_reader(axis_variable: _CdfVariable) -> Callable[[], npt.NDArray[Any]]:
    """Create the reader of the values along an axis; if each record has its own, the first with a value counts."""

    @cache
    def read_axis_values() -> npt.NDArray[Any]:
        if not axis_variable.shape:
            return axis_variable.read_values(0, axis_variable.record_count)
        for start in range(min(axis_variable.record_count, 100)):
            record_values = axis_variable.read_values(start, start + 1)[0]
            if np.isfinite(record_values.astype(np.float64)).any():
                return np.asarray(record_values)
        return np.asarray(axis_variable.read_values(0, 1)[0])

    return read_axis_values


MEDIUM = ProductFileFormat(
    name="cdf",
    title="CDF",
    media_types=("application/x-cdf",),
    extensions=("cdf",),
    signature_pattern=rb"\xcd\xf3\x00\x01|\xcd\xf2\x60\x02|\x00\x00\xff\xff\x00\x00\xff\xff",
    open=open_cdf,
    read_cards=read_global_attributes,
)
