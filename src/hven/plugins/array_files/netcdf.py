"""Read netCDF by the CF conventions, with h5netcdf (version 4) or scipy (the classic version).

Variables over times become tables, grids become arrays; groups, scales and fill values are applied.
"""

from __future__ import annotations

import math
import re
import warnings
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import (
    MAX_PARTS,
    ArrayPart,
    Axis,
    HeaderCard,
    OpenProductFile,
    ProductFileFormat,
    TablePart,
    convert_to_wavelengths,
)
from hven.formats.media.api import (
    MISSING_INSTANT,
    VOTABLE_TYPES,
    ArrayLayout,
    ProductVariable,
    convert_library_errors,
    copy_remote_file_to_disk,
    create_sky_mapping_builder,
    find_body_ctype_code,
    format_arraysize,
    read_window_values,
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
from hven.plugins.array_files.compound_tables import (
    COLUMN_METADATA_SUFFIX,
    create_compound_table,
    find_compound_tables,
)
from hven.plugins.array_files.uint64_texts import (
    build_uint64_text_deviation,
    create_uint64_text_type,
    has_values_beyond_int64,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media import Part, Place
    from hven.formats.media.api import Instants
    from hven.model import ReadDeviation

    Window = Sequence[slice]

FILL_ATTRIBUTES = ("_FillValue", "missing_value", "FILLVAL")
_TIME_UNIT_PATTERN = re.compile(
    r"(\w+)\s+since\s+(\d{1,4})-(\d{1,2})-(\d{1,2})"
    r"(?:[T ]+(\d{1,2}):(\d{1,2})(?::(\d{1,2}(?:\.\d*)?))?)?\s*(Z|UTC|GMT|[+-]\d{1,2}(?::?\d{2})?)?",
    re.IGNORECASE,
)
_UNITS_PER_DAY = {
    name: units_per_day
    for names, units_per_day in (
        ("d day", 1.0),
        ("h hr hour", 24.0),
        ("min minute", 1440.0),
        ("s sec second", 86_400.0),
        ("ms msec millisecond", 86_400e3),
        ("us microsecond", 86_400e6),
    )
    for name in names.split()
}
# what the library of netCDF writes for itself
_HDF5_ATTRIBUTES = {
    "DIMENSION_LIST",
    "REFERENCE_LIST",
    "CLASS",
    "NAME",
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "_NCProperties",
}
_UNIX_EPOCH_MJD = 40_587.0
_COMPLEX_PARTS: dict[str, Callable[[Any], Any]] = {"_real": np.real, "_imag": np.imag}


@dataclass(kw_only=True, eq=False)
class _NetcdfVariable:
    """A variable of a file of either version.

    Attributes
    ----------
    name
        Name with the names of its groups before it.
    read_stored
        Read a window of the stored values.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any]
    read_stored: Callable[[Window], npt.NDArray[Any]]
    unlimited_dims: frozenset[str]
    has_truncated_times = False

    def read_text_attribute(self, name: str) -> str:
        return istp.read_text_attribute(self.attributes, name)

    def read_number_attribute(self, name: str) -> Any:
        value = np.asarray(self.attributes.get(name)).ravel()
        if value.dtype.kind in "iuf" and len(value):
            return value[0]
        return None

    @property
    def is_text(self) -> bool:
        return self.dtype.kind in "SUO"

    @property
    def is_time(self) -> bool:
        return self.time_reference is not None

    @property
    def column_name(self) -> str:
        return self.name.rsplit("/", 1)[-1]

    @property
    def cell_shape(self) -> tuple[int, ...]:
        return self.shape[1:]

    @property
    def bytes_per_cell(self) -> int:
        return math.prod(self.cell_shape) * self.dtype.itemsize

    @cached_property
    def time_reference(self) -> tuple[float, float] | None:
        """The MJD from which its times count, and how many of its units make a day; None if it is no time."""
        match = _TIME_UNIT_PATTERN.fullmatch(self.read_text_attribute("units"))
        calendar = self.read_text_attribute("calendar").lower() or "standard"
        if match is None or calendar not in {"standard", "gregorian", "proleptic_gregorian"}:
            return None
        unit_name = match[1].lower()
        units_per_day = _UNITS_PER_DAY.get(unit_name, _UNITS_PER_DAY.get(unit_name.rstrip("s")))
        if units_per_day is None:
            return None
        try:
            day = np.datetime64(f"{int(match[2]):04d}-{int(match[3]):02d}-{int(match[4]):02d}")
        except ValueError:
            return None
        hours, minutes, seconds = (float(match[group] or 0) for group in (5, 6, 7))
        hour = hours + minutes / 60.0 + seconds / 3600.0
        zone_hours = 0.0
        zone = re.fullmatch(r"([+-])(\d{1,2}):?(\d{2})?", match[8] or "")
        if zone:
            zone_hours = float(f"{zone[1]}1") * (int(zone[2]) + int(zone[3] or 0) / 60.0)
        day_number = float(day.astype(np.int64))
        return day_number + _UNIX_EPOCH_MJD + (hour - zone_hours) / 24.0, units_per_day

    def find_fill_values(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        is_missing = np.zeros(stored.shape, np.bool_)
        for name in FILL_ATTRIBUTES:
            fill = np.asarray(self.attributes.get(name)).ravel()
            if fill.dtype.kind in "iuf" and stored.dtype.kind in "iuf":
                is_missing |= np.isin(stored, fill.astype(stored.dtype))
        return is_missing

    @cached_property
    def scale_and_offset(self) -> tuple[float, float] | None:
        factor = self.read_number_attribute("scale_factor")
        zero = self.read_number_attribute("add_offset")
        if factor is None and zero is None:
            return None
        return float(1.0 if factor is None else factor), float(zero or 0.0)

    @property
    def value_type(self) -> np.dtype[Any]:
        """The type of the values that `read_values` returns: by CF that of the scale, else one that can hold NaN."""
        if self.is_time:
            return np.dtype("f8")
        for name in ("scale_factor", "add_offset"):
            number = self.read_number_attribute(name)
            if number is not None:
                is_short = number.dtype == np.float32 and self.dtype.itemsize <= 2
                return np.dtype("f4" if is_short else "f8")
        native_type = self.dtype.newbyteorder("=")
        fill_values = [np.asarray(self.attributes.get(name)) for name in FILL_ATTRIBUTES]
        has_fill = any(fill_value.dtype.kind in "iuf" for fill_value in fill_values)
        if native_type.kind == "f" or not has_fill:
            return native_type
        return np.dtype("f4" if native_type.itemsize <= 2 else "f8")

    def read_values(self, window: Window) -> npt.NDArray[Any]:
        """Read a window as physical values: scaled, times as MJD, fill values as NaN."""
        stored = self.read_stored(window)
        is_missing = self.find_fill_values(stored)
        values = stored.astype(self.value_type)
        if self.scale_and_offset is not None:
            factor, offset = self.scale_and_offset
            values = values * values.dtype.type(factor) + values.dtype.type(offset)
        if self.time_reference is not None:
            start_mjd, units_per_day = self.time_reference
            values = values / units_per_day + start_mjd
        if is_missing.any():
            values[is_missing] = np.nan
        return values

    def read_instants(self, start: int, stop: int) -> Instants:
        """Read times as microseconds since 1970, and nanoseconds; integers are not converted to floats in between."""
        zero = self.time_reference
        assert zero is not None  # noqa: S101  (only times are read so)
        stored = self.read_stored(self._build_record_window(start, stop))
        start_instant = round((zero[0] - _UNIX_EPOCH_MJD) * 86_400e6)
        step = 86_400e6 / zero[1]  # microseconds of a unit
        is_missing = self.find_fill_values(stored)
        nanoseconds = None
        is_whole = stored.dtype.kind in "iu" and self.scale_and_offset is None
        if is_whole and step >= 1.0:
            microseconds = stored.astype(np.int64) * round(step)
        elif is_whole and step == 1e-3:
            microseconds, nanoseconds = np.divmod(stored.astype(np.int64), 1000)
        else:
            factor, offset = self.scale_and_offset or (1.0, 0.0)
            values = stored.astype(np.float64) * factor + offset
            is_missing |= ~np.isfinite(values)
            microseconds = np.round(np.where(is_missing, 0.0, values) * step).astype(np.int64)
        return np.where(is_missing, MISSING_INSTANT, microseconds + start_instant), nanoseconds

    def _build_record_window(self, start: int, stop: int) -> tuple[slice, ...]:
        """Return the window of some records."""
        return (slice(start, stop), *(slice(0, size) for size in self.cell_shape))

    @cached_property
    def exceeds_int64(self) -> bool:
        """Whether the variable holds unsigned integers that exceed the largest int64."""
        if self.dtype.str[1:] != "u8" or not self.shape or self.is_time or self.scale_and_offset is not None:
            return False

        def read_filled(first: int, stop: int) -> npt.NDArray[np.uint64]:
            stored = self.read_stored(self._build_record_window(first, stop))
            missing = self.find_fill_values(stored)
            return np.where(missing, 0, stored).astype(np.uint64)

        record_values = max(1, math.prod(self.cell_shape))
        step = max(1, MAX_CELL_BYTES * 16 // record_values)
        return has_values_beyond_int64(read_filled, self.shape[0], step)

    def create_column(self) -> Column:
        name = self.column_name
        descriptions = (self.read_text_attribute(word) for word in ("long_name", "standard_name", "CATDESC"))
        description = next(filter(None, descriptions), "")
        if self.is_time:
            return create_time_column(name, f"MJD: {description}".rstrip(": "), self.cell_shape)
        if self.exceeds_int64:
            column_type = create_uint64_text_type(self.cell_shape)
            unit = self.read_text_attribute("units") or None
            return Column(name=name, type=column_type, unit=unit, description=description or None)
        if self.is_text:
            column_type = ColumnType("char", "*")
        else:
            if self.scale_and_offset:
                numpy_type = self.value_type
            else:
                numpy_type = self.dtype
            column_type = ColumnType(VOTABLE_TYPES[numpy_type.str[1:]], format_arraysize(self.cell_shape))
        label = istp.read_axis_label(self.attributes, name)
        return Column(name=name, type=column_type, unit=self.unit, description=description or None, label=label)

    @property
    def unit(self) -> str | None:
        """The unit; for variables with attributes of ISTP without markup, and None for words that mean none."""
        if self.read_text_attribute("VAR_TYPE"):
            return istp.strip_unit_markup(self.read_text_attribute("UNITS"))
        return self.read_text_attribute("units") or None

    def read_arrow(self, start: int, stop: int, arrow_type: pa.DataType) -> pa.Array:
        """Read records as cells, with nulls for fill values."""
        window = self._build_record_window(start, stop)
        if self.is_text:
            return pa.array(_decode_texts(self.read_stored(window)), pa.string())
        is_unscaled = not self.is_time and self.scale_and_offset is None
        if is_unscaled:
            values = self.read_stored(window)
        else:
            values = self.read_values(window)
        mask = None
        if is_unscaled:
            mask = self.find_fill_values(values)
        return build_number_cells(values, self.cell_shape, arrow_type, mask)

    def describe(self) -> ProductVariable:
        """Describe the variable for lists of all variables."""
        cards = tuple(_list_attribute_cards(self.attributes))
        return ProductVariable(name=self.name, type=self.dtype.name, sizes=self.shape, cards=cards)


def _decode_texts(cells: npt.NDArray[Any]) -> list[str]:
    """Decode texts, which may stand in rows of single characters."""
    if cells.ndim == 2:
        cells = np.ascontiguousarray(cells).view(f"S{cells.shape[1]}").ravel()
    return [cell.decode("utf-8", "replace").rstrip("\0 ") if isinstance(cell, bytes) else str(cell) for cell in cells]


def open_netcdf(file: Place) -> OpenProductFile:
    """Open a file.

    Parameters
    ----------
    file
        The file; one on another server is read by ranges, and copied if it is of the classic version.

    Returns
    -------
    product
        A table for each axis of times or records, and arrays for variables with further axes.

    Raises
    ------
    SourceError
        The file is no netCDF or damaged, it names other files, or a library to read it is not installed.
    """
    name = file.name
    with convert_library_errors(name, "netCDF"), ExitStack() as resources:
        with file.open("rb") as source:
            signature = source.read(4)
        if signature[:3] == b"CDF" and signature[3:] not in {b"\x01", b"\x02"}:
            raise SourceError(
                format_message("{name} has the netCDF version {version}, which Hven cannot read", name, "CDF-5"),
                remedy=format_message("convert the file to netCDF-4 (`nccopy -k nc4`)"),
            )
        deviations: list[ReadDeviation] = []
        tables: list[TablePart] = []
        if signature[:3] == b"CDF":
            variables_found, global_attributes = _open_netcdf3(file, resources)
        else:
            hdf5_file = resources.enter_context(_open_hdf5(file))
            for path, dataset in find_compound_tables(hdf5_file, name)[:MAX_PARTS]:
                rows, table_deviations = create_compound_table(path, dataset, len(tables), name)
                if rows is not None:
                    tables.append(rows)
                deviations += table_deviations
            variables_found, global_attributes = _open_netcdf4(hdf5_file, name, resources)
        part_variables = {variable.name: variable for variable in variables_found[:MAX_PARTS]}
        deviations += [
            build_uint64_text_deviation(variable.column_name, name)
            for variable in part_variables.values()
            if variable.exceeds_int64
        ]
        cards = tuple(_list_attribute_cards(global_attributes))
        return OpenProductFile(
            medium="netcdf",
            parts=(*tables, *_create_parts(part_variables, len(tables))),
            cards=cards,
            close=resources.pop_all().close,
            describe_data_set=partial(istp.describe_data_set, cards),
            list_variables=lambda: (variable.describe() for variable in variables_found),
            deviations=deviations,
        )


def read_global_attributes(file: Place) -> Iterator[HeaderCard]:
    """Read the global attributes only.

    Parameters
    ----------
    file
        The file; one on another server is read by ranges, and copied if it is of the classic version.

    Yields
    ------
    cards
        Attributes in the order of the file.

    Raises
    ------
    SourceError
        As in `open_netcdf`.
    """
    with file.open("rb") as source:
        is_classic = source.read(3) == b"CDF"
    if is_classic:
        with open_netcdf(file) as product:
            yield from product.cards
        return
    with convert_library_errors(file.name, "netCDF"), _open_hdf5(file) as hdf5_file:
        import h5py  # noqa: PLC0415  (few requests need it)

        global_attributes = {}
        for word, value in _read_attributes(hdf5_file.attrs).items():
            if isinstance(value, h5py.Empty):
                continue
            is_single = isinstance(value, np.ndarray) and value.size == 1
            global_attributes[word] = value.ravel()[0] if is_single else value
        cards = list(_list_attribute_cards(global_attributes))
    yield from cards


def _open_hdf5(file: Place) -> Any:
    plugins.require_modules("a netCDF file", "h5py", error_class=SourceError)
    import h5py  # noqa: PLC0415  (few requests need it)

    return h5py.File(file if isinstance(file, Path) else file.open("rb"), "r")


def _open_netcdf4(hdf5_file: Any, name: str, resources: ExitStack) -> tuple[list[_NetcdfVariable], Mapping[str, Any]]:
    plugins.require_modules("a netCDF file", "h5netcdf", error_class=SourceError)
    import h5netcdf  # noqa: PLC0415  (few requests need it)

    netcdf_object = h5netcdf.File(hdf5_file, "r", phony_dims="sort")
    resources.callback(netcdf_object.close)  # its variables refer to it weakly: this method keeps it until then
    variables_found: list[_NetcdfVariable] = []
    _collect_variables(netcdf_object, name, variables_found)
    return variables_found, _read_attributes(netcdf_object.attrs)


def _collect_variables(group: Any, file_name: str, collected: list[_NetcdfVariable], group_path: str = "") -> None:
    """Collect the variables of a group, and then those of the groups in it, up to `MAX_PARTS`."""
    for title, variable in group.variables.items():
        table_title = title.removesuffix(COLUMN_METADATA_SUFFIX)
        is_table_metadata = table_title != title and table_title in group.variables
        if not is_table_metadata and variable.dtype.kind in "iufcSO" and len(collected) < MAX_PARTS:
            collected += _create_variables(group, variable, group_path + title, file_name)
    for title, inner_group in group.groups.items():
        _collect_variables(inner_group, file_name, collected, f"{group_path}{title}/")


def _create_variables(group: Any, variable: Any, name: str, file_name: str) -> Iterator[_NetcdfVariable]:
    """Create a variable; of complex numbers create one for each of their parts."""
    dimensions = {dim: group.dimensions.get(dim) for dim in variable.dimensions}
    unlimited_dims = frozenset(dim for dim, size in dimensions.items() if size is not None and size.isunlimited())
    is_complex = variable.dtype.kind == "c"
    if is_complex:
        value_type = np.dtype(f"f{variable.dtype.itemsize // 2}")
    else:
        value_type = variable.dtype
    if is_complex:
        parts = _COMPLEX_PARTS
    else:
        parts = {"": np.asarray}
    for name_suffix, take_part in parts.items():
        yield _NetcdfVariable(
            name=name + name_suffix,
            dims=tuple(variable.dimensions),
            shape=tuple(int(size) for size in variable.shape),
            dtype=value_type,
            attributes=_read_attributes(variable.attrs),
            read_stored=partial(_read_variable_window, variable, file_name, take_part),
            unlimited_dims=unlimited_dims,
        )


def _read_attributes(attribute_manager: Any) -> dict[str, Any]:
    attributes = {}
    for word in attribute_manager:
        if word not in _HDF5_ATTRIBUTES:
            # an attribute may have a type that is not supported
            with suppress(OSError, TypeError, ValueError, KeyError):
                attributes[word] = attribute_manager[word]
    return attributes


def _read_variable_window(
    variable: Any, name: str, select_component: Callable[[Any], Any], window: Window
) -> npt.NDArray[Any]:
    with convert_library_errors(name, "netCDF"):
        return np.asarray(select_component(variable[tuple(window)]))


def _open_netcdf3(file: Place, resources: ExitStack) -> tuple[list[_NetcdfVariable], Mapping[str, Any]]:
    plugins.require_modules("a netCDF file", "scipy", error_class=SourceError)
    from scipy.io import netcdf_file  # noqa: PLC0415  (few requests need it)

    path, remove_copy = copy_remote_file_to_disk(file)
    resources.callback(remove_copy)
    # the memory map is never read: it shows where values lie, and spans of the file are read instead
    netcdf_object = netcdf_file(str(path), "r", mmap=True)
    memory_map = netcdf_object._mm_buf  # noqa: SLF001
    base = 0
    if memory_map is not None:
        base = memory_map.ctypes.data
    records = frozenset(dim for dim, size in netcdf_object.dimensions.items() if size is None)
    variables_found = []
    for title, variable in netcdf_object.variables.items():
        data = variable.data
        shape = tuple(data.shape)
        layout = ArrayLayout(data.ctypes.data - base, data.dtype, shape, tuple(data.strides))
        netcdf_variable = _NetcdfVariable(
            name=title,
            dims=tuple(variable.dimensions),
            shape=shape,
            dtype=data.dtype,
            attributes=dict(variable._attributes),  # noqa: SLF001
            read_stored=partial(read_window_values, path, layout),
            unlimited_dims=records,
        )
        variables_found.append(netcdf_variable)
    global_attributes = dict(netcdf_object._attributes)  # noqa: SLF001
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns that arrays may still refer to its map
        netcdf_object.close()
    return variables_found, global_attributes


def _list_attribute_cards(attributes: Mapping[str, Any]) -> Iterator[HeaderCard]:
    for word, value in attributes.items():
        plain = value
        if isinstance(value, bytes):
            plain = value.decode("utf-8", "replace")
        if isinstance(plain, str):
            text = plain
        else:
            text = " ".join(map(str, np.asarray(plain).ravel()[:50]))
        if not text.strip():
            continue
        if isinstance(plain, np.integer | np.floating):
            yield HeaderCard(word, plain.item())
        else:
            yield HeaderCard(word, text[:2000])


def _find_coordinate_variable(
    dim: str, variable_name: str, variables_by_name: Mapping[str, _NetcdfVariable]
) -> _NetcdfVariable | None:
    """Find the variable of an axis in its own group, or in those around it."""
    group = variable_name.rpartition("/")[0]
    while True:
        coordinate = variables_by_name.get(f"{group}/{dim}".lstrip("/"))
        if coordinate is not None and coordinate.dims == (dim,) and not coordinate.is_text:
            return coordinate
        if not group:
            return None
        group = group.rpartition("/")[0]


def _create_parts(variables_by_name: Mapping[str, _NetcdfVariable], index: int) -> Iterator[Part]:
    table_variables: set[str] = set()
    for (group, dim, count), members in _group_columns_by_dimension(variables_by_name).items():
        if _has_only_grid_coordinates(dim, members, variables_by_name):
            continue
        members.sort(key=lambda variable: not variable.is_time)
        table_variables.update(variable.name for variable in members)
        table_name = f"{group}/{dim}".lstrip("/")
        names = {variable.name for variable in members}
        describe_axes = partial(_describe_axes, variables_by_name=variables_by_name, member_names=names)
        collect_metadata = partial(collect_time_series_metadata, members, describe_axes)
        yield create_variable_table(members, index, table_name, count, collect_metadata=collect_metadata)
        index += 1
    for variable in variables_by_name.values():
        is_column = variable.name in table_variables
        if variable.is_text or min(variable.shape, default=0) < 1 or (len(variable.shape) < 2 and is_column):
            continue
        sides = zip(variable.dims, variable.shape, strict=True)
        axes = [_create_axis(dim, size, variable, variables_by_name) for dim, size in sides]
        has_described_axis = any(axis.read_values for axis in axes[1:])
        if len(variable.shape) == 1 or (is_column and not has_described_axis):
            continue
        cards = _write_lon_lat_grid_cards(axes, variable, variables_by_name)
        if cards:
            for number, kind in ((-1, "longitude"), (-2, "latitude")):
                axes[number] = Axis(name=axes[number].name, size=axes[number].size, kind=kind, unit="deg")
        yield ArrayPart(
            index=index,
            name=variable.name,
            axes=tuple(axes),
            dtype=variable.value_type,
            read=variable.read_values,
            unit=variable.read_text_attribute("units") or None,
            cards=(*cards, *_list_attribute_cards(variable.attributes)),
            create_sky_mapping=create_sky_mapping_builder(cards),
            scale_type=istp.read_scale_type(variable.attributes),
        )
        index += 1


def _group_columns_by_dimension(
    variables_by_name: Mapping[str, _NetcdfVariable],
) -> dict[tuple[str, str, int], list[_NetcdfVariable]]:
    """Group the variables that can be columns by group, first dimension and its size."""
    groups: dict[tuple[str, str, int], list[_NetcdfVariable]] = {}
    for variable in variables_by_name.values():
        if not variable.dims:
            continue
        clock = _find_coordinate_variable(variable.dims[0], variable.name, variables_by_name)
        has_times = clock is not None and clock.is_time
        is_record = has_times or variable.dims[0] in variable.unlimited_dims
        is_characters = variable.dtype.kind == "S" and variable.dtype.itemsize == 1 and len(variable.dims) == 2
        fits_in_cell = variable.bytes_per_cell <= MAX_CELL_BYTES
        is_cell = is_record and not variable.is_text and min(variable.cell_shape, default=1) > 0
        if len(variable.dims) == 1 or (fits_in_cell and (is_characters or is_cell)):
            key = (variable.name.rpartition("/")[0], variable.dims[0], variable.shape[0])
            groups.setdefault(key, []).append(variable)
    return groups


def _has_only_grid_coordinates(
    dim: str, members: Sequence[_NetcdfVariable], variables_by_name: Mapping[str, _NetcdfVariable]
) -> bool:
    """Return whether variables are only the values along an axis of a grid, which the grid itself shows."""
    are_coordinates = all(variable.dims == (variable.column_name,) for variable in members)
    return are_coordinates and any(
        dim in variable.dims and len(variable.dims) > 1 for variable in variables_by_name.values()
    )


def _describe_axes(
    variable: _NetcdfVariable, variables_by_name: Mapping[str, _NetcdfVariable], member_names: Collection[str]
) -> tuple[ArrayAxisMetadata, ...]:
    """Describe what the elements of each dimension stand for, by DEPEND_1 .. or the variable of the dimension.

    Return nothing if one dimension is unknown.
    """
    axis_metadata = []
    for number, (dim, size) in enumerate(zip(variable.dims[1:], variable.cell_shape, strict=True), 1):
        axis_variable = variables_by_name.get(variable.read_text_attribute(f"DEPEND_{number}"))
        axis_variable = axis_variable or _find_coordinate_variable(dim, variable.name, variables_by_name)
        if axis_variable is None or axis_variable.is_text or axis_variable.is_time:
            return ()
        # metadata: numbers of components
        if istp.is_metadata_variable(axis_variable.attributes):
            return ()
        centers: tuple[float, ...] | str = ""
        if axis_variable.shape == (size,):
            centers = round_bin_centers(axis_variable.read_values((slice(0, size),)), size)
        elif axis_variable.shape == (variable.shape[0], size) and axis_variable.name in member_names:
            centers = axis_variable.column_name
        if not centers:
            return ()
        axis_metadata.append(describe_axis(axis_variable, centers))
    return tuple(axis_metadata)


def _create_axis(
    dim: str, size: int, variable: _NetcdfVariable, variables_by_name: Mapping[str, _NetcdfVariable]
) -> Axis:
    coordinate = _find_coordinate_variable(dim, variable.name, variables_by_name)
    if coordinate is None or coordinate.shape != (size,) or size > 1 << 24:
        return Axis(name=dim, size=size)
    read_values = cache(partial(coordinate.read_values, (slice(0, size),)))
    unit = coordinate.read_text_attribute("units")
    scale_type = istp.read_scale_type(coordinate.attributes)
    search_text = f"{dim} {coordinate.read_text_attribute('standard_name')}".lower()
    if coordinate.is_time:
        return Axis(name=dim, size=size, kind="time", unit="d", read_values=read_values)
    if re.search(r"wavelength|wavenumber|radiation_frequency|^freq|^lambda\b|^wave", search_text) and unit:
        return Axis(
            name=dim,
            size=size,
            kind="spectral",
            unit=unit,
            read_values=lambda: convert_to_wavelengths(read_values(), "", unit),
            read_file_values=read_values,
            scale_type=scale_type,
        )
    return Axis(name=dim, size=size, unit=unit or None, read_values=read_values, scale_type=scale_type)


def _write_lon_lat_grid_cards(
    axes: Sequence[Axis], variable: _NetcdfVariable, variables_by_name: Mapping[str, _NetcdfVariable]
) -> list[HeaderCard]:
    """Write a regular grid of latitudes and longitudes as WCS; return nothing for any other grid."""
    if len(axes) < 2:
        return []
    for dim, unit_pattern in zip(variable.dims[-2:], (r"degrees?(n|north)", r"degrees?(e|east)"), strict=True):
        coordinate = _find_coordinate_variable(dim, variable.name, variables_by_name)
        unit = ""
        if coordinate is not None:
            unit = coordinate.read_text_attribute("units").lower().replace("_", "")
        if not re.fullmatch(unit_pattern, unit):
            return []
    lat = _read_coordinates(axes[-2])
    lon = _read_coordinates(axes[-1])
    lat_step = _find_even_step(lat)
    lon_step = _find_even_step(lon)
    if not lat_step or not lon_step:
        return []
    radius = None
    mapping = variables_by_name.get(variable.read_text_attribute("grid_mapping"))
    if mapping is not None:
        radius = mapping.read_number_attribute("semi_major_axis")
        if radius is None:
            radius = mapping.read_number_attribute("earth_radius")
    target_name = variable.read_text_attribute("target_name")
    if not target_name and radius is not None and 6.3e6 < radius < 6.4e6:
        target_name = "Earth"
    body = find_body_ctype_code(target_name)
    # the middle of the map is its reference, so that all longitudes lie within 180 degrees of it, as wcslib requires
    middle = len(lon) // 2
    wcs_values: dict[str, str | float] = {
        "CTYPE1": f"{body}LN-CAR",
        "CTYPE2": f"{body}LT-CAR",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CRPIX1": middle + 1.0,
        "CRVAL1": float(lon[middle]),
        "CDELT1": lon_step,
        "CRPIX2": 1.0 - float(lat[0]) / lat_step,
        "CRVAL2": 0.0,
        "CDELT2": lat_step,
    }
    return [HeaderCard(*pair) for pair in wcs_values.items()]


def _read_coordinates(axis: Axis) -> npt.NDArray[np.float64]:
    """Read the values along an axis; empty if they are unknown."""
    if axis.read_values is None:
        return np.zeros(0)
    return np.asarray(axis.read_values(), np.float64)


def _find_even_step(coordinates: npt.NDArray[np.float64]) -> float:
    """Return the step of evenly spaced coordinates; 0 if they are uneven or fewer than two."""
    if len(coordinates) < 2:
        return 0.0
    even_coordinates, step = np.linspace(coordinates[0], coordinates[-1], len(coordinates), retstep=True)
    max_error = np.abs(coordinates - even_coordinates).max()
    if max_error > 1e-3 * abs(step):
        return 0.0
    return float(step)


MEDIUM = ProductFileFormat(
    name="netcdf",
    title="netCDF",
    media_types=("application/x-netcdf", "application/netcdf"),
    extensions=("nc", "nc4", "h5", "hdf5"),
    signature_pattern=rb"\x89HDF\r\n\x1a\n|CDF[\x01\x02\x05]",
    open=open_netcdf,
    read_cards=read_global_attributes,
)
