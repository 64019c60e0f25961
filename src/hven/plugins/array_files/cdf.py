"""Read CDF by the conventions of ISTP, with cdflib.

Variables over one epoch become a table; those over an epoch and further axes become arrays, too.
"""

from __future__ import annotations

import math
import threading
from contextlib import ExitStack
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import MAX_PARTS, ArrayPart, Axis, HeaderCard, OpenProductFile, ProductFileFormat
from hven.formats.media.api import (
    VOTABLE_TYPES,
    ProductVariable,
    convert_library_errors,
    copy_remote_file_to_disk,
    format_arraysize,
)
from hven.model import plugins
from hven.model.errors import SourceError, format_message
from hven.model.table import ArrayAxisMetadata, Column
from hven.model.types import ColumnType
from hven.plugins.array_files import istp_attributes as istp
from hven.plugins.array_files.array_variables import (
    MAX_CELL_BYTES,
    build_number_cells,
    collect_time_series_metadata,
    create_time_column,
    create_variable_table,
    describe_axis,
    round_bin_centers,
)
from hven.plugins.array_files.cdf_epochs import (
    convert_epochs_to_instants,
    convert_epochs_to_mjd,
    has_subnanosecond_digits,
)
from hven.plugins.array_files.cdf_types import (
    EPOCH16_TYPE,
    EPOCH_TYPE,
    TEXT_TYPES,
    TT2000_TYPE,
    find_numpy_type,
    find_type_name,
)
from hven.plugins.array_files.compressed_cdf import UNCOMPRESSED_MAGIC, unpack_cdf

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats.media import Part, Place
    from hven.formats.media.api import Instants

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
        self.cell_shape = tuple(int(size) for size, varies in sizes if varies)
        self.varies_by_record = bool(variable_info.Rec_Vary)
        self.is_time = self.cdf_type in {EPOCH_TYPE, EPOCH16_TYPE, TT2000_TYPE}
        self.is_text = self.cdf_type in TEXT_TYPES
        self.has_truncated_times = False
        self.stored_type = np.dtype(find_numpy_type(self.cdf_type))
        if self.is_time or self.is_text:
            item_bytes = 8
        else:
            item_bytes = self.stored_type.itemsize
        self.bytes_per_cell = math.prod(self.cell_shape) * item_bytes
        max_bytes = max(MAX_COMPRESSION_RATIO * file_bytes, 1 << 20)
        if min(self.cell_shape, default=1) < 1 or self.bytes_per_cell * max(1, self.record_count) > max_bytes:
            promised_bytes = self.bytes_per_cell * self.record_count
            raise SourceError(
                format_message(
                    "{name} is {there} bytes long, but its header states a size of {end} bytes",
                    file_name,
                    file_bytes,
                    promised_bytes,
                )
            )

    @property
    def column_name(self) -> str:
        return self.name

    @property
    def unit(self) -> str | None:
        return istp.strip_unit_markup(str(self.attributes.get("UNITS") or ""))

    def read_records(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read records as they are stored."""
        if stop <= start or self.record_count < 1:
            return np.empty((0, *self.cell_shape), self.stored_type)
        record_count = stop - start
        with self.lock, convert_library_errors(self.file_name, "CDF"):
            self.file.reset_read_limit()
            stored_values = self.file.varget(self.name, startrec=start, endrec=stop - 1)
        if isinstance(stored_values, str):  # texts without dimensions come joined
            size = max(1, len(stored_values) // record_count)
            stored_values = [stored_values[number * size : (number + 1) * size] for number in range(record_count)]
        values = np.asarray(stored_values)
        if self.varies_by_record:
            return values.reshape((record_count, *self.cell_shape))
        return np.broadcast_to(values.reshape(self.cell_shape), (record_count, *self.cell_shape))

    def find_fill_values(self, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
        """Find the fill values; None: there are none."""
        fill = self.attributes.get("FILLVAL")
        if fill is None or isinstance(fill, str) or np.size(fill) != 1 or values.dtype.kind not in "iuf":
            return None
        is_missing = np.asarray(values == np.asarray(fill).ravel()[0].astype(values.dtype))
        if is_missing.any():
            return is_missing
        return None

    def read_values(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read records as physical values: times as MJD, fill values as NaN."""
        stored = self.read_records(start, stop)
        if self.is_time:
            return convert_epochs_to_mjd(stored, self.cdf_type)
        values = stored.astype(self.value_type)
        is_missing = self.find_fill_values(stored)
        if is_missing is not None:
            values[is_missing] = np.nan
        return values

    def read_window(self, window: Sequence[slice]) -> npt.NDArray[Any]:
        first, *further_slices = window
        return self.read_values(first.start, first.stop)[(slice(None), *further_slices)]

    def read_instants(self, start: int, stop: int) -> Instants:
        stored = self.read_records(start, stop)
        if has_subnanosecond_digits(stored, self.cdf_type):
            self.has_truncated_times = True
        return convert_epochs_to_instants(stored, self.cdf_type)

    @property
    def value_type(self) -> np.dtype[Any]:
        """The type of the values that `read_values` returns, the same for each window."""
        if self.stored_type.kind == "f" or self.attributes.get("FILLVAL") is None:
            return self.stored_type
        return np.dtype("f4" if self.stored_type.itemsize <= 2 else "f8")

    def create_column(self) -> Column:
        if self.is_time:
            return create_time_column(self.name, "MJD, UTC", self.cell_shape)
        if self.is_text:
            column_type = ColumnType("char", "*")
        else:
            datatype = VOTABLE_TYPES[find_numpy_type(self.cdf_type)]
            column_type = ColumnType(datatype, format_arraysize(self.cell_shape))
        description = str(self.attributes.get("CATDESC") or self.attributes.get("FIELDNAM") or "").strip() or None
        label = istp.read_axis_label(self.attributes, self.name)
        return Column(name=self.name, type=column_type, unit=self.unit, description=description, label=label)

    def read_arrow(self, start: int, stop: int, arrow_type: pa.DataType) -> pa.Array:
        """Read records as cells, with nulls for fill values."""
        stored = self.read_records(start, stop)
        if self.is_text:
            texts = [str(text).rstrip(" \0") for text in stored.ravel()]
            return pa.array(texts, pa.string())
        values = stored
        if self.is_time:
            values = convert_epochs_to_mjd(stored, self.cdf_type)
        if self.is_time:
            mask = None
        else:
            mask = self.find_fill_values(stored)
        return build_number_cells(values, self.cell_shape, arrow_type, mask)

    def describe(self) -> ProductVariable:
        """Describe the variable for lists of all variables."""
        return ProductVariable(
            name=self.name,
            type=find_type_name(self.cdf_type),
            sizes=(self.record_count, *self.cell_shape) if self.varies_by_record else self.cell_shape,
            cards=_convert_attributes_to_cards(self.attributes),
        )


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
    name = file.name
    with ExitStack() as resources:
        source = _open_reader(file, resources)
        with convert_library_errors(name, "CDF"):
            file_info = source.cdf_info()
            lock = threading.Lock()
            file_bytes = source.place.stat().st_size
            if source.end > file_bytes:
                message = format_message(
                    "{name} is {there} bytes long, but its header states a size of {end} bytes",
                    name,
                    file_bytes,
                    source.end,
                )
                remedy = format_message("download the file again; it is truncated")
                raise SourceError(message, remedy=remedy)
            variables_by_name = {
                variable_name: _CdfVariable(source, lock, variable_name, file_bytes=file_bytes, file_name=name)
                for variable_name in [*file_info.zVariables, *file_info.rVariables][:MAX_PARTS]
            }
            cards = _convert_attributes_to_cards(source.globalattsget())
            parts = tuple(_create_parts(variables_by_name))
        return OpenProductFile(
            medium="cdf",
            parts=parts,
            cards=cards,
            close=resources.pop_all().close,
            describe_data_set=partial(istp.describe_data_set, cards),
            list_variables=lambda: (variable.describe() for variable in variables_by_name.values()),
        )


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
    with ExitStack() as resources:
        source = _open_reader(file, resources)
        with convert_library_errors(file.name, "CDF"):
            cards = _convert_attributes_to_cards(source.globalattsget())
    yield from cards


def _open_reader(file: Place, resources: ExitStack) -> Any:
    """Open the reader of a file, which is unpacked if it is compressed as a whole."""
    plugins.require_modules("a CDF file", "cdflib", error_class=SourceError)
    with file.open("rb") as head:
        is_uncompressed = head.read(8)[4:] == UNCOMPRESSED_MAGIC
    place = file
    if not is_uncompressed:
        place = unpacked_path = _unpack_file(file)
        resources.callback(unpacked_path.unlink, missing_ok=True)
    with convert_library_errors(file.name, "CDF"):
        # only CDF files need cdflib
        cdf_reader = plugins.import_hven_module("hven.plugins.array_files.cdf_reader", "CDF files")
        source = cdf_reader.BoundedCdfReader(place)
    resources.callback(source._f.close)  # noqa: SLF001  (cdflib has no method for it)
    return source


def _unpack_file(file: Place) -> Path:
    """Unpack a file that is compressed as a whole; return the path of the unpacked one."""
    local_path, close = copy_remote_file_to_disk(file)
    try:
        with convert_library_errors(file.name, "CDF"):
            return unpack_cdf(local_path, file.name)
    finally:
        close()


def _convert_attributes_to_cards(attributes: dict[str, Any]) -> tuple[HeaderCard, ...]:
    cards = []
    for attribute_name, value in attributes.items():
        if isinstance(value, list):
            values = value
        else:
            values = [value]
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
            names = {variable.name for variable in column_variables}
            describe_axes = partial(_describe_axes, variables_by_name=variables_by_name, column_names=names)
            yield create_variable_table(
                column_variables,
                index,
                clock,
                count,
                time_cards=(HeaderCard("TIMESYS", "UTC"),),
                collect_metadata=partial(collect_time_series_metadata, column_variables, describe_axes),
            )
            index += 1
    for variable in variables_by_name.values():
        has_values = variable.varies_by_record and variable.record_count > 0
        if not has_values or not variable.cell_shape or variable.is_time or variable.is_text:
            continue
        axes = _create_axes(variable, variables_by_name)
        if axes:
            yield ArrayPart(
                index=index,
                name=variable.name,
                axes=axes,
                dtype=variable.value_type,
                read=variable.read_window,
                unit=variable.unit,
                cards=_convert_attributes_to_cards(variable.attributes),
                role="support" if istp.is_support_variable(variable.attributes) else "data",
                scale_type=istp.read_scale_type(variable.attributes),
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
    if variable.is_text and variable.cell_shape:
        return False
    return variable.record_count == record_count and variable.bytes_per_cell <= MAX_CELL_BYTES


def _describe_axes(
    variable: _CdfVariable, variables_by_name: Mapping[str, _CdfVariable], column_names: Collection[str]
) -> tuple[ArrayAxisMetadata, ...]:
    """Describe what the elements of each dimension stand for (DEPEND_1 ..); empty if one dimension is unknown."""
    axis_metadata = []
    for number, size in enumerate(variable.cell_shape, 1):
        axis_variable = _find_axis_variable(variable, number, variables_by_name)
        # metadata: numbers of components
        if axis_variable is None or istp.is_metadata_variable(axis_variable.attributes):
            return ()
        centers: tuple[float, ...] | str = axis_variable.name
        has_own_values = axis_variable.varies_by_record and axis_variable.record_count > 1
        if not has_own_values or axis_variable.cell_shape != (size,) or axis_variable.name not in column_names:
            centers = round_bin_centers(_read_axis_values(axis_variable), size)
        if not centers:
            return ()
        axis_metadata.append(describe_axis(axis_variable, centers))
    return tuple(axis_metadata)


def _find_axis_variable(
    variable: _CdfVariable, number: int, variables_by_name: Mapping[str, _CdfVariable]
) -> _CdfVariable | None:
    """Find the numeric variable along a dimension (DEPEND_1 ..), if it has the size of the dimension."""
    name = str(variable.attributes.get(f"DEPEND_{number}") or "").strip()
    axis_variable = variables_by_name.get(name)
    if axis_variable is None or axis_variable.is_text or axis_variable.is_time:
        return None
    if axis_variable.cell_shape not in {(variable.cell_shape[number - 1],), ()}:
        return None
    return axis_variable


def _create_axes(variable: _CdfVariable, variables_by_name: dict[str, _CdfVariable]) -> tuple[Axis, ...]:
    """Create the axes of a variable from what they depend on; empty if only the axis of records is known."""
    clock = variables_by_name.get(str(variable.attributes.get("DEPEND_0") or ""))
    count = variable.record_count
    if clock is not None and clock.is_time and clock.record_count == count and not clock.cell_shape:
        read_times = cache(partial(_read_axis_values, clock))
        axes = [Axis(name=clock.name, size=count, kind="time", unit="d", read_values=read_times)]
    else:
        axes = [Axis(name="record" if clock is None else clock.name, size=count)]
    has_described_axis = False
    for number, size in enumerate(variable.cell_shape, 1):
        axis_variable = _find_axis_variable(variable, number, variables_by_name)
        if axis_variable is None or axis_variable.record_count < 1:
            axes.append(Axis(name=f"axis{number}", size=size))
            continue
        if not istp.is_metadata_variable(axis_variable.attributes):
            has_described_axis = True
        read_axis = cache(partial(_read_axis_values, axis_variable))
        scale_type = istp.read_scale_type(axis_variable.attributes)
        axes.append(
            Axis(
                name=axis_variable.name,
                size=size,
                unit=axis_variable.unit,
                read_values=read_axis,
                scale_type=scale_type,
            )
        )
    if has_described_axis:
        return tuple(axes)
    return ()


def _read_axis_values(axis_variable: _CdfVariable) -> npt.NDArray[Any]:
    """Read the values along an axis; if each record has its own, the first with a value counts."""
    if not axis_variable.cell_shape:
        return axis_variable.read_values(0, axis_variable.record_count)
    for start in range(min(axis_variable.record_count, 100)):
        record_values = axis_variable.read_values(start, start + 1)[0]
        if np.isfinite(record_values.astype(np.float64)).any():
            return np.asarray(record_values)
    return np.asarray(axis_variable.read_values(0, 1)[0])


MEDIUM = ProductFileFormat(
    name="cdf",
    title="CDF",
    media_types=("application/x-cdf",),
    extensions=("cdf",),
    signature_pattern=rb"\xcd\xf3\x00\x01|\xcd\xf2\x60\x02|\x00\x00\xff\xff\x00\x00\xff\xff",
    open=open_cdf,
    read_cards=read_global_attributes,
)
