"""netCDF by CF's conventions: variables over times as a table, grids as arrays; groups, scales, fills.

H5netcdf reads version 4, scipy the classic one.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass, field
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
    Medium,
    Product,
    TablePart,
    convert_to_wavelengths,
)
from hven.formats.media import _compound_tables as compound_tables
from hven.formats.media import _istp as istp
from hven.formats.media import _map_projections as map_projections
from hven.formats.media._product import MISSING_INSTANT, ProductVariable
from hven.formats.media._record_tables import (
    UINT64_DIGITS,
    VOTABLE_TYPES,
    describe_text_deviation,
    has_values_beyond_int64,
)
from hven.formats.media._stored_arrays import ArrayLayout, convert_library_errors, copy_to_disk, read_window_values
from hven.model import plugins
from hven.model.errors import SourceError, format_message
from hven.model.sky import footprints
from hven.model.table import MJD_EPOCH, AxisMetadata, Column, SampleMetadata
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media import Part

    Window = Sequence[slice]
    from hven.formats.media._product import Instants
    from hven.formats.media._remote_files import Place
    from hven.model import Deviation

MAX_CELL_BYTES = 1 << 16  # bytes of a cell of a table
FILL_ATTRIBUTES = ("_FillValue", "missing_value", "FILLVAL")
MAX_GROUP_DEPTH = 20  # groups in each other
_TIME_UNIT_PATTERN = re.compile(
    r"(\w+)\s+since\s+(\d{1,4})-(\d{1,2})-(\d{1,2})(?:[T ]+(\d{1,2}):(\d{1,2})(?::(\d{1,2}(?:\.\d*)?))?)?\s*(Z|UTC|GMT|[+-]\d{1,2}(?::?\d{2})?)?",
    re.IGNORECASE,
)
_UNITS_PER_DAY = {
    "d": 1.0,
    "day": 1.0,
    "h": 24.0,
    "hr": 24.0,
    "hour": 24.0,
    "min": 1440.0,
    "minute": 1440.0,
    "s": 86_400.0,
    "sec": 86_400.0,
    "second": 86_400.0,
    "ms": 86_400e3,
    "msec": 86_400e3,
    "millisecond": 86_400e3,
    "us": 86_400e6,
    "microsecond": 86_400e6,
}


_COMPLEX_PARTS: dict[str, Callable[[Any], Any]] = {"_real": np.real, "_imag": np.imag}


@dataclass(frozen=True, kw_only=True)
class _NetcdfVariable:
    """A variable of either version.

    Attributes
    ----------
    name
        With its groups before it.
    read_stored
        Reads a part as it is stored.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any]
    read_stored: Callable[[Window], npt.NDArray[Any]]
    unlimited_dims: frozenset[str] = field(default_factory=frozenset)

    def read_text(self, name: str) -> str:
        value = self.attributes.get(name)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if value is None:
            return ""
        return str(value)

    def read_number(self, name: str) -> Any:
        value = np.asarray(self.attributes.get(name)).ravel()
        if value.dtype.kind in "iuf" and len(value):
            return value[0]
        return None

    @property
    def is_text(self) -> bool:
        return self.dtype.kind in "SUO"

    @property
    def time_reference(self) -> tuple[float, float] | None:
        """MJD at which its times are 0, and how many of its unit a day has; None: it is no time."""
        match = _TIME_UNIT_PATTERN.fullmatch(self.read_text("units").strip())
        calendar = self.read_text("calendar").lower() or "standard"
        if match:
            units_per_day = _UNITS_PER_DAY.get(match[1].lower(), _UNITS_PER_DAY.get(match[1].lower().rstrip("s")))
        else:
            units_per_day = None
        if match is None or units_per_day is None or calendar not in {"standard", "gregorian", "proleptic_gregorian"}:
            return None
        try:
            day = np.datetime64(f"{int(match[2]):04d}-{int(match[3]):02d}-{int(match[4]):02d}")
        except ValueError:
            return None
        hour = float(match[5] or 0) + float(match[6] or 0) / 60.0 + float(match[7] or 0) / 3600.0
        zone = re.fullmatch(r"([+-]\d{1,2}):?(\d{2})?", match[8] or "")
        if zone:
            zone_hours = int(zone[1]) + math.copysign(int(zone[2] or 0) / 60.0, int(zone[1]))
        else:
            zone_hours = 0.0
        return float(day.astype(np.int64)) + 40_587.0 + (hour - zone_hours) / 24.0, units_per_day

    def find_missing(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        is_missing = np.zeros(stored.shape, np.bool_)
        for name in FILL_ATTRIBUTES:
            fill = np.asarray(self.attributes.get(name)).ravel()
            if fill.dtype.kind in "iuf" and stored.dtype.kind in "iuf":
                is_missing |= np.isin(stored, fill.astype(stored.dtype))
        return is_missing

    @property
    def scale_and_offset(self) -> tuple[float, float] | None:
        factor = self.read_number("scale_factor")
        zero = self.read_number("add_offset")
        if factor is None and zero is None:
            return None
        return (float(1.0 if factor is None else factor), float(zero or 0.0))

    @property
    def value_type(self) -> np.dtype[Any]:
        """The type of `read_values`, as CF has it: that of the scale, else one with room for NaN."""
        if self.time_reference is not None:
            return np.dtype("f8")
        for name in ("scale_factor", "add_offset"):
            if self.read_number(name) is not None:
                number = self.read_number(name)
                return np.dtype("f4" if number.dtype == np.float32 and self.dtype.itemsize <= 2 else "f8")
        native_type = self.dtype.newbyteorder("=")
        has_fill = any(np.asarray(self.attributes.get(name)).dtype.kind in "iuf" for name in FILL_ATTRIBUTES)
        if native_type.kind == "f" or not has_fill:
            return native_type
        return np.dtype("f4" if native_type.itemsize <= 2 else "f8")

    def read_values(self, window: Window) -> npt.NDArray[Any]:
        """Read a part as it is meant: scaled, times as MJD, what is filled as NaN."""
        stored = self.read_stored(window)
        is_missing = self.find_missing(stored)
        result_type = self.value_type
        scaled_values = stored.astype(result_type)
        zero = self.time_reference
        scaled = self.scale_and_offset
        if scaled is not None:
            scaled_values = scaled_values * result_type.type(scaled[0]) + result_type.type(scaled[1])
        if zero is not None:
            scaled_values = scaled_values / zero[1] + zero[0]
        if is_missing.any():
            scaled_values[is_missing] = np.nan
        return scaled_values

    def read_instants(self, start: int, stop: int) -> Instants:
        """Read times as microseconds since 1970, and nanoseconds.

        Whole numbers without a detour by those with fractions.
        """
        zero = self.time_reference
        assert zero is not None  # noqa: S101  (asked of times alone)
        stored = self.read_stored((slice(start, stop), *(slice(0, size) for size in self.shape[1:])))
        start_instant = round((zero[0] - 40_587.0) * 86_400e6)
        step = 86_400e6 / zero[1]
        if stored.dtype.kind in "iu" and step >= 1.0 and self.scale_and_offset is None:
            instants_read = stored.astype(np.int64) * round(step) + start_instant
            missing = self.find_missing(stored)
            return np.where(missing, MISSING_INSTANT, instants_read), None
        if stored.dtype.kind in "iu" and step == 1e-3 and self.scale_and_offset is None:
            micros, nanos = np.divmod(stored.astype(np.int64), 1000)
            return np.where(self.find_missing(stored), MISSING_INSTANT, micros + start_instant), nanos
        values = stored.astype(np.float64)
        scaled = self.scale_and_offset
        if scaled is not None:
            values = values * scaled[0] + scaled[1]
        is_missing = self.find_missing(stored) | ~np.isfinite(values)
        return np.where(
            is_missing,
            MISSING_INSTANT,
            np.round(np.where(is_missing, 0.0, values) * step).astype(np.int64) + start_instant,
        ), None

    @cached_property
    def exceeds_int64(self) -> bool:
        """Whether it holds unsigned integers that int64 cannot hold."""
        if (
            self.dtype.str[1:] != "u8"
            or self.time_reference is not None
            or self.scale_and_offset is not None
            or not self.shape
        ):
            return False

        def read_filled(first: int, stop: int) -> npt.NDArray[np.uint64]:
            stored = self.read_stored((slice(first, stop), *(slice(0, size) for size in self.shape[1:])))
            missing = self.find_missing(stored)
            return np.where(missing, 0, stored).astype(np.uint64)

        return has_values_beyond_int64(
            read_filled, self.shape[0], max(1, MAX_CELL_BYTES * 16 // max(1, math.prod(self.shape[1:])))
        )

    def create_column(self) -> Column:
        name = self.name.rsplit("/", 1)[-1]
        description_text = (
            self.read_text("long_name")
            or self.read_text("standard_name")
            or istp.read_text_attribute(self.attributes, "CATDESC")
        )
        size = "x".join(str(length) for length in reversed(self.shape[1:])) or None
        if self.time_reference is not None:
            return Column(
                name=name,
                type=Type("double", size),
                unit="d",
                ucd="time.epoch",
                description=f"MJD: {description_text}".rstrip(": "),
                epoch=None if size else MJD_EPOCH,
            )
        if self.exceeds_int64:
            size = "x".join(str(length) for length in (UINT64_DIGITS, *reversed(self.shape[1:])))
            return Column(
                name=name,
                type=Type("char", size if len(self.shape) > 1 else f"{UINT64_DIGITS}*"),
                unit=self.read_text("units").strip() or None,
                description=description_text or None,
            )
        if self.is_text:
            kind = "char"
        else:
            kind = VOTABLE_TYPES[self.value_type.str[1:] if self.scale_and_offset else self.dtype.str[1:]]
        return Column(
            name=name,
            type=Type(kind, "*" if kind == "char" else size),
            unit=self.unit,
            description=description_text or None,
            label=istp.read_axis_label(self.attributes, name),
        )

    @property
    def unit(self) -> str | None:
        """The unit; of variables with ISTP's attributes without markup and words for none."""
        if istp.read_text_attribute(self.attributes, "VAR_TYPE"):
            return istp.clean_unit(istp.read_text_attribute(self.attributes, "UNITS"))
        return self.read_text("units").strip() or None

    def read_arrow(self, start: int, stop: int, arrow_type: pa.DataType) -> pa.Array:
        """Read records as cells, nulls where they are filled."""
        window = (slice(start, stop), *(slice(0, size) for size in self.shape[1:]))
        if self.is_text:
            cells = self.read_stored(window)
            if cells.ndim == 2:  # characters
                cells = np.ascontiguousarray(cells).view(f"S{cells.shape[1]}").ravel()
            return pa.array(
                [
                    text.decode("utf-8", "replace").rstrip("\0 ") if isinstance(text, bytes) else str(text)
                    for text in cells
                ],
                pa.string(),
            )
        is_unscaled = self.time_reference is None and self.scale_and_offset is None
        if is_unscaled:
            cell_values = self.read_stored(window)
        else:
            cell_values = self.read_values(window)
        flat = np.ascontiguousarray(cell_values).ravel()
        flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
        mask = self.find_missing(flat) if is_unscaled else None
        cells = pa.array(flat, mask=mask, from_pandas=True)
        if len(self.shape) == 1:
            return cells.cast(arrow_type)
        if self.exceeds_int64:
            ends = np.arange(0, len(cells) + 1, math.prod(self.shape[1:]), dtype=np.int32)
            return pa.ListArray.from_arrays(pa.array(ends), cells.cast(pa.string()))
        return pa.FixedSizeListArray.from_arrays(cells.cast(arrow_type.value_type), arrow_type.list_size).cast(
            arrow_type
        )


def open_netcdf(file: Place) -> Product:
    """Open a file.

    Parameters
    ----------
    file
        One on another server is read by ranges, and copied if it is of the classic version.

    Returns
    -------
    product
        A table for each axis of times or records, arrays of what has further axes.

    Raises
    ------
    SourceError
        It is no netCDF, damaged, names other files, or what reads it is not installed.
    """
    name = file.name
    with convert_library_errors(name, "netCDF"):
        with file.open("rb") as source:
            signature = source.read(4)
        if signature[:3] == b"CDF" and signature[3:] not in {b"\x01", b"\x02"}:
            raise SourceError(
                format_message("{name} is netCDF of a version that is not read: {version}", name, "CDF-5"),
                remedy=format_message("write it as netCDF-4 (nccopy -k nc4)"),
            )
        deviations: list[Deviation] = []
        tables: list[TablePart] = []
        if signature[:3] == b"CDF":
            variables_found, global_attributes, close = _open_classic(file, name)
        else:
            variables_found, global_attributes, close, tables = _open_version_4(file, name, deviations)
        try:
            deviations += [
                describe_text_deviation(variable.name.rsplit("/", 1)[-1], name)
                for variable in variables_found[:MAX_PARTS]
                if variable.exceeds_int64
            ]
            parts = (
                *tables,
                *_create_parts({variable.name: variable for variable in variables_found[:MAX_PARTS]}, len(tables)),
            )
        except BaseException:
            close()
            raise

    def list_variables() -> Iterator[ProductVariable]:
        for variable in variables_found:
            yield ProductVariable(
                name=variable.name,
                type=variable.dtype.name,
                sizes=variable.shape,
                cards=tuple(_list_attribute_cards(variable.attributes)),
            )

    cards = tuple(_list_attribute_cards(global_attributes))
    return Product(
        medium="netcdf",
        parts=parts,
        cards=cards,
        close=close,
        list_variables=list_variables,
        deviations=deviations,
    )


def read_cards(file: Place) -> Iterator[HeaderCard]:
    """Read global attributes alone.

    Parameters
    ----------
    file
        One on another server is read by ranges, and copied if it is of the classic version.

    Yields
    ------
    cards
        In the order of the file.

    Raises
    ------
    SourceError
        As `open_netcdf`.
    """
    with file.open("rb") as source:
        is_classic = source.read(3) == b"CDF"
    if is_classic:
        with open_netcdf(file) as product:
            yield from product.cards
        return
    plugins.require_modules("a netCDF file", "h5py", error_class=SourceError)
    import h5py  # noqa: PLC0415  (asked by few)

    with (
        convert_library_errors(file.name, "netCDF"),
        h5py.File(file if isinstance(file, Path) else file.open("rb"), "r") as hdf5_file,
    ):
        global_attributes = {
            word: value
            for word, value in _read_attributes(hdf5_file.attrs).items()
            if not isinstance(value, h5py.Empty)
        }
        attribute_cards = _list_attribute_cards(
            {
                word: value.ravel()[0] if isinstance(value, np.ndarray) and value.size == 1 else value
                for word, value in global_attributes.items()
            }
        )
        cards = [*attribute_cards]
    yield from cards


def _open_version_4(
    file: Place, name: str, deviations: list[Deviation]
) -> tuple[list[_NetcdfVariable], Mapping[str, Any], Callable[[], None], list[TablePart]]:
    plugins.require_modules("a netCDF file", "h5py", "h5netcdf", error_class=SourceError)
    import h5netcdf  # noqa: PLC0415  (asked by few)
    import h5py  # noqa: PLC0415  (asked by few)

    hdf5_file = h5py.File(file if isinstance(file, Path) else file.open("rb"), "r")
    try:
        _refuse_external_values(hdf5_file, hdf5_file, h5py, name, 0)
        tables: list[TablePart] = []
        for path, dataset in compound_tables.find_compound_tables(hdf5_file, h5py, MAX_PARTS):
            rows, table_deviations = compound_tables.create_compound_table(path, dataset, len(tables), name)
            tables += [] if rows is None else [rows]
            deviations += table_deviations
        netcdf_object = h5netcdf.File(hdf5_file, "r", phony_dims="sort")
        variables_found: list[_NetcdfVariable] = []

        def collect_variables(group: Any, group_path: str, depth: int) -> None:
            for title, variable_or_group in group.variables.items():
                if (
                    title.endswith(compound_tables.COLUMN_METADATA_SUFFIX)
                    and title.removesuffix(compound_tables.COLUMN_METADATA_SUFFIX) in group.variables
                ):
                    continue
                if variable_or_group.dtype.kind in "iufcSO" and len(variables_found) < MAX_PARTS:
                    unlimited = frozenset(
                        dim
                        for dim in variable_or_group.dimensions
                        if group.dimensions.get(dim) is not None and group.dimensions[dim].isunlimited()
                    )
                    # complex numbers are taken apart
                    for name_suffix, part in (
                        _COMPLEX_PARTS.items() if variable_or_group.dtype.kind == "c" else (("", np.asarray),)
                    ):
                        if name_suffix:
                            kind = np.dtype(f"f{variable_or_group.dtype.itemsize // 2}")
                        else:
                            kind = variable_or_group.dtype
                        dims = tuple(variable_or_group.dimensions)
                        shape = tuple(int(size) for size in variable_or_group.shape)
                        attributes = _read_attributes(variable_or_group.attrs)
                        variables_found.append(
                            _NetcdfVariable(
                                name=group_path + title + name_suffix,
                                dims=dims,
                                shape=shape,
                                dtype=kind,
                                attributes=attributes,
                                read_stored=partial(_read_section, variable_or_group, name, part),
                                unlimited_dims=unlimited,
                            )
                        )
            for title, variable_or_group in group.groups.items():
                if depth < MAX_GROUP_DEPTH:
                    collect_variables(variable_or_group, f"{group_path}{title}/", depth + 1)

        collect_variables(netcdf_object, "", 0)

        def close_files() -> None:
            netcdf_object.close()  # its variables know it by weak references: it is kept until here
            hdf5_file.close()

        return variables_found, _read_attributes(netcdf_object.attrs), close_files, tables
    except BaseException:
        hdf5_file.close()
        raise


def _refuse_external_values(group: Any, root: Any, h5py: Any, name: str, depth: int) -> None:
    """Refuse what has its values in other files: HDF5 would open them, wherever they are."""
    for title in list(group)[: 10 * MAX_PARTS]:
        link = group.get(title, getlink=True)
        is_external = isinstance(link, h5py.ExternalLink)
        if is_external or isinstance(link, h5py.SoftLink):
            member = None
        else:
            member = group.get(title)
        if isinstance(member, h5py.Dataset):
            is_external = bool(member.external) or member.is_virtual
        elif isinstance(member, h5py.Group) and depth < MAX_GROUP_DEPTH:
            _refuse_external_values(member, root, h5py, name, depth + 1)
        if is_external:
            raise SourceError(format_message("{name} has values in other files, which are not read", name))


def _read_attributes(attribute_manager: Any) -> dict[str, Any]:
    attributes = {}
    for word in attribute_manager:
        if word not in {
            "DIMENSION_LIST",
            "REFERENCE_LIST",
            "CLASS",
            "NAME",
            "_Netcdf4Dimid",
            "_Netcdf4Coordinates",
            "_NCProperties",
        }:
            try:
                attributes[word] = attribute_manager[word]
            except (OSError, TypeError, ValueError, KeyError):  # an attribute of a kind that nobody reads
                continue
    return attributes


def _read_section(variable: Any, name: str, take_part: Callable[[Any], Any], window: Window) -> npt.NDArray[Any]:
    with convert_library_errors(name, "netCDF"):
        return np.asarray(take_part(variable[tuple(window)]))


def _open_classic(file: Place, _name: str) -> tuple[list[_NetcdfVariable], Mapping[str, Any], Callable[[], None]]:
    plugins.require_modules("a netCDF file", "scipy", error_class=SourceError)
    from scipy.io import netcdf_file  # noqa: PLC0415  (asked by few)

    path, close = copy_to_disk(file)
    # the map is never looked into: it says where values lie, and spans of the file are read
    netcdf_object = netcdf_file(str(path), "r", mmap=True)
    base = netcdf_object._mm_buf.ctypes.data if netcdf_object._mm_buf is not None else 0  # noqa: SLF001
    records = frozenset(dim for dim, size in netcdf_object.dimensions.items() if size is None)
    variables_found = []
    for title, variable in netcdf_object.variables.items():
        data = variable.data
        layout = ArrayLayout(data.ctypes.data - base, data.dtype, tuple(data.shape), tuple(data.strides))
        read = partial(read_window_values, path, layout)
        variables_found.append(
            _NetcdfVariable(
                name=title,
                dims=tuple(variable.dimensions),
                shape=tuple(data.shape),
                dtype=data.dtype,
                attributes=dict(variable._attributes),
                read_stored=read,
                unlimited_dims=records,
            )
        )  # noqa: SLF001
    global_attributes = dict(netcdf_object._attributes)  # noqa: SLF001
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that arrays may still look into its map
        netcdf_object.close()
    return variables_found, global_attributes, close


def _list_attribute_cards(attributes: Mapping[str, Any]) -> Iterator[HeaderCard]:
    for word, value in attributes.items():
        if isinstance(value, bytes):
            plain = value.decode("utf-8", "replace")
        else:
            plain = value
        text = plain if isinstance(plain, str) else " ".join(str(item) for item in np.asarray(plain).ravel()[:50])
        if text.strip():
            single = isinstance(plain, int | float | np.integer | np.floating)
            yield HeaderCard(word, plain.item() if isinstance(plain, np.generic) and single else text[:2000])


def _find_coordinate_variable(
    dim: str, variable_name: str, variables_by_name: Mapping[str, _NetcdfVariable]
) -> _NetcdfVariable | None:
    """Find the variable of an axis: of its own group, or of those around it."""
    group = variable_name.rpartition("/")[0]
    while True:
        coordinate = variables_by_name.get(f"{group}/{dim}".lstrip("/"))
        if coordinate is not None and coordinate.dims == (dim,) and not coordinate.is_text:
            return coordinate
        if not group:
            return None
        group = group.rpartition("/")[0]


def _create_parts(variables_by_name: Mapping[str, _NetcdfVariable], index: int) -> Iterator[Part]:
    tables: set[str] = set()
    groups: dict[tuple[str, str, int], list[_NetcdfVariable]] = {}
    for variable in variables_by_name.values():
        if variable.dims:
            clock = _find_coordinate_variable(variable.dims[0], variable.name, variables_by_name)
            record = variable.dims[0] in variable.unlimited_dims or (
                clock is not None and clock.time_reference is not None
            )
            characters = variable.dtype.kind == "S" and variable.dtype.itemsize == 1 and len(variable.dims) == 2
            fits_in_cell = math.prod(variable.shape[1:]) * variable.dtype.itemsize <= MAX_CELL_BYTES
            if (
                len(variable.dims) == 1
                or (characters and fits_in_cell)
                or (record and fits_in_cell and not variable.is_text and min(variable.shape[1:]) > 0)
            ):
                groups.setdefault((variable.name.rpartition("/")[0], variable.dims[0], variable.shape[0]), []).append(
                    variable
                )
    for (group, dim, count), members in groups.items():
        # what is nothing but values along an axis of a grid stands with the grid
        is_grid_dimension = any(
            dim in variable.dims and len(variable.dims) > 1 for variable in variables_by_name.values()
        )
        if is_grid_dimension and all(
            len(variable.dims) == 1 and variable.name.rsplit("/", 1)[-1] == dim for variable in members
        ):
            continue
        members.sort(key=lambda variable: variable.time_reference is None)
        tables.update(variable.name for variable in members)
        yield _create_table(
            members,
            index,
            f"{group}/{dim}".lstrip("/"),
            count,
            partial(_collect_sample_metadata, members, variables_by_name),
        )
        index += 1
    for variable in variables_by_name.values():
        if (
            variable.is_text
            or min(variable.shape, default=0) < 1
            or (len(variable.shape) < 2 and variable.name in tables)
        ):
            continue
        axes = [
            _create_axis(dim, size, variable, variables_by_name)
            for dim, size in zip(variable.dims, variable.shape, strict=True)
        ]
        if len(variable.shape) == 1 or (variable.name in tables and not any(axis.read_values for axis in axes[1:])):
            continue
        cards = _write_map_cards(axes, variable, variables_by_name)
        if cards:
            axes[-1] = Axis(name=axes[-1].name, size=axes[-1].size, kind="longitude", unit="deg")
            axes[-2] = Axis(name=axes[-2].name, size=axes[-2].size, kind="latitude", unit="deg")
        if cards:
            places = partial(footprints.build_image_wcs, {card.keyword: card.value for card in cards})
        else:
            places = None
        yield ArrayPart(
            index=index,
            name=variable.name,
            axes=tuple(axes),
            dtype=variable.value_type,
            read=variable.read_values,
            unit=variable.read_text("units").strip() or None,
            cards=(*cards, *_list_attribute_cards(variable.attributes)),
            create_sky_mapping=places,
        )
        index += 1


def _collect_sample_metadata(
    members: Sequence[_NetcdfVariable], variables_by_name: Mapping[str, _NetcdfVariable]
) -> SampleMetadata | None:
    """Collect what variables with ISTP's attributes say of samples; None.

    There are no times, or none says that it is data.
    """
    clock = members[0]
    data = [variable for variable in members if variable is not clock and istp.is_data_variable(variable.attributes)]
    if clock.time_reference is None or len(clock.shape) != 1 or not data:
        return None
    names = {variable.name: variable.name.rsplit("/", 1)[-1] for variable in members}
    axes = {
        names[variable.name]: axis_metadata
        for variable in members
        if len(variable.shape) > 1 and (axis_metadata := _describe_axes(variable, variables_by_name, names))
    }
    ranges = {
        names[variable.name]: limits
        for variable in members
        if len(variable.shape) == 1
        and variable.time_reference is None
        and (limits := istp.read_valid_range(variable.attributes)) is not None
    }
    systems = {
        names[variable.name]: system
        for variable in data
        if variable.shape[1:] == (3,) and (system := istp.read_text_attribute(variable.attributes, "COORDINATE_SYSTEM"))
    }
    return SampleMetadata(
        time=names[clock.name],
        data=tuple(names[variable.name] for variable in data),
        axes=axes,
        valid=ranges,
        systems=systems,
    )


def _describe_axes(
    variable: _NetcdfVariable, variables_by_name: Mapping[str, _NetcdfVariable], names: Mapping[str, str]
) -> tuple[AxisMetadata, ...]:
    """Tell what the elements of each dimension stand for, by DEPEND_1 .. or the variable of the dimension; empty.

    Not of all of them is it known.
    """
    axis_metadata = []
    for number, (dim, size) in enumerate(zip(variable.dims[1:], variable.shape[1:], strict=True), 1):
        axis_variable = variables_by_name.get(
            istp.read_text_attribute(variable.attributes, f"DEPEND_{number}")
        ) or _find_coordinate_variable(dim, variable.name, variables_by_name)
        if (
            axis_variable is None
            or axis_variable.is_text
            or axis_variable.time_reference is not None
            or axis_variable.shape not in {(size,), (variable.shape[0], size)}
        ):
            return ()
        if (
            istp.read_text_attribute(axis_variable.attributes, "VAR_TYPE").lower() == "metadata"
        ):  # numbers of components
            return ()
        centers: tuple[float, ...] | str = names.get(axis_variable.name, "")
        if axis_variable.shape == (size,):
            values = np.asarray(axis_variable.read_values((slice(0, size),)), np.float64)
            if size > istp.MAX_BIN_CENTERS or not np.isfinite(values).all():
                return ()
            centers = tuple(float(f"{value:.9g}") for value in values)
        if not centers:
            return ()
        column = axis_variable.create_column()
        axis_metadata.append(
            AxisMetadata(name=column.name, unit=column.unit, label=column.label or column.description, centers=centers)
        )
    return tuple(axis_metadata)


def _create_table(
    members: Sequence[_NetcdfVariable],
    index: int,
    name: str,
    count: int,
    collect_metadata: Callable[[], SampleMetadata | None] | None = None,
) -> TablePart:
    columns = tuple(variable.create_column() for variable in members)
    schema = pa.schema([column.arrow_field for column in columns])
    width = sum(math.prod(variable.shape[1:]) * max(8, variable.dtype.itemsize) for variable in members)

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        step = max(1, min(65_536, (8 << 20) // width))
        for first in range(start, min(count, start + row_limit), step):
            stop = min(count, start + row_limit, first + step)
            arrays = [
                variable.read_arrow(first, stop, kind) for variable, kind in zip(members, schema.types, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    variables_by_column = {column.name: variable for column, variable in zip(columns, members, strict=True)}
    support_columns = frozenset(
        column_name
        for column_name, variable in variables_by_column.items()
        if istp.is_support_variable(variable.attributes)
    )
    return TablePart(
        index=index,
        name=name,
        columns=columns,
        row_count=count,
        read_batches=read_batches,
        select_columns=lambda names: _create_table(
            [variable for column_name, variable in variables_by_column.items() if column_name in names],
            index,
            name,
            count,
        ),
        read_instants=lambda column_name, start, stop: variables_by_column[column_name].read_instants(start, stop),
        support_columns=support_columns,
        collect_sample_metadata=collect_metadata,
    )


def _create_axis(
    dim: str, size: int, variable: _NetcdfVariable, variables_by_name: Mapping[str, _NetcdfVariable]
) -> Axis:
    coordinate = _find_coordinate_variable(dim, variable.name, variables_by_name)
    if coordinate is None or coordinate.shape != (size,) or size > 1 << 24:
        return Axis(name=dim, size=size)
    read_values = cache(partial(coordinate.read_values, (slice(0, size),)))
    unit, search_text = coordinate.read_text("units").strip(), f"{dim} {coordinate.read_text('standard_name')}".lower()
    if coordinate.time_reference is not None:
        return Axis(name=dim, size=size, kind="time", unit="d", read_values=read_values)
    if re.search(r"wavelength|wavenumber|radiation_frequency|^freq|^lambda\b|^wave", search_text) and unit:
        return Axis(
            name=dim,
            size=size,
            kind="spectral",
            unit=unit,
            read_values=lambda: convert_to_wavelengths(read_values(), "", unit),
            read_file_values=read_values,
        )
    return Axis(name=dim, size=size, unit=unit or None, read_values=read_values)


def _write_map_cards(
    axes: Sequence[Axis], variable: _NetcdfVariable, variables_by_name: Mapping[str, _NetcdfVariable]
) -> list[HeaderCard]:
    """Write a regular grid of latitudes and longitudes as WCS; empty: it is none."""
    if len(axes) < 2:
        return []
    map_coordinates = [_find_coordinate_variable(dim, variable.name, variables_by_name) for dim in variable.dims[-2:]]
    for coordinate, is_latitude in zip(map_coordinates, (True, False), strict=True):
        if coordinate is None:
            unit = ""
        else:
            unit = coordinate.read_text("units").lower().replace("_", "")
        if not re.fullmatch(r"degrees?(n|north)" if is_latitude else r"degrees?(e|east)", unit):
            return []
    lat, lon = (np.asarray(axis.read_values(), np.float64) if axis.read_values else np.zeros(0) for axis in axes[-2:])
    steps = [
        float(coordinates[-1] - coordinates[0]) / (len(coordinates) - 1) if len(coordinates) > 1 else 0.0
        for coordinates in (lat, lon)
    ]
    if not all(steps) or any(
        np.abs(coordinates - coordinates[0] - step * np.arange(len(coordinates))).max() > 1e-3 * abs(step)
        for coordinates, step in zip((lat, lon), steps, strict=True)
    ):
        return []
    mapping = variables_by_name.get(variable.read_text("grid_mapping"))
    if mapping is None:
        radius = None
    else:
        radius = mapping.read_number("semi_major_axis")
    if radius is None and mapping is not None:
        radius = mapping.read_number("earth_radius")
    body = map_projections.find_body_code(
        variable.read_text("target_name") or ("Earth" if radius is not None and 6.3e6 < radius < 6.4e6 else "")
    )
    wcs_values: list[tuple[str, str | float]] = [
        ("CTYPE1", f"{body}LN-CAR"),
        ("CTYPE2", f"{body}LT-CAR"),
        ("CUNIT1", "deg"),
        ("CUNIT2", "deg"),
    ]
    # the middle of the map is its reference, so that what wcslib knows of longitudes (180 to either side) has all of it
    middle = len(lon) // 2
    wcs_values += [("CRPIX1", middle + 1.0), ("CRVAL1", float(lon[middle])), ("CDELT1", steps[1])]
    wcs_values += [("CRPIX2", 1.0 - float(lat[0]) / steps[0]), ("CRVAL2", 0.0), ("CDELT2", steps[0])]
    return [HeaderCard(*pair) for pair in wcs_values]


MEDIUM = Medium(
    name="netcdf",
    title="netCDF",
    media_types=("application/x-netcdf", "application/netcdf"),
    extensions=("nc", "nc4", "h5", "hdf5"),
    signature_pattern=rb"\x89HDF\r\n\x1a\n|CDF[\x01\x02\x05]",
    open=open_netcdf,
    read_cards=read_cards,
)
