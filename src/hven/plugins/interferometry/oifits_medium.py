"""Read OIFITS: a table of points for each of VIS2, VIS, T3 and FLUX, and then the tables of the file as FITS has them.

The points are joined with baselines, wavelengths and targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import OpenProductFile, ProductFileFormat, TablePart, list_product_file_formats
from hven.formats.media.api import convert_library_errors
from hven.model.table import MJD_EPOCH, Column
from hven.model.types import ColumnType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media import Place

_TEXT_TYPE, _REAL_TYPE, _FLAG_TYPE = ColumnType("char", "*"), ColumnType("double"), ColumnType("boolean")
# observables of each kind of table as columns of points: name, unit, UCD, description
_OBSERVABLES: dict[str, tuple[tuple[str, str | None, str, str], ...]] = {
    "OI_VIS2": (
        ("VIS2DATA", None, "phys.interferometry;phot.flux", "squared visibility"),
        ("VIS2ERR", None, "stat.error;phys.interferometry", "error of VIS2DATA"),
    ),
    "OI_T3": (
        ("T3AMP", None, "phys.interferometry;phot.flux", "triple product's amplitude"),
        ("T3AMPERR", None, "stat.error", "error of T3AMP"),
        ("T3PHI", "deg", "pos.phaseAng;phys.interferometry", "closure phase"),
        ("T3PHIERR", "deg", "stat.error;pos.phaseAng", "error of T3PHI"),
    ),
    "OI_VIS": (
        ("VISAMP", None, "phys.interferometry;phot.flux", "visibility's amplitude"),
        ("VISAMPERR", None, "stat.error", "error of VISAMP"),
        ("VISPHI", "deg", "pos.phaseAng;phys.interferometry", "visibility's phase"),
        ("VISPHIERR", "deg", "stat.error;pos.phaseAng", "error of VISPHI"),
    ),
    "OI_FLUX": (
        ("FLUXDATA", None, "phot.flux", "flux"),
        ("FLUXERR", None, "stat.error;phot.flux", "error of FLUXDATA"),
    ),
}
_BASELINE_COLUMNS = {
    "OI_VIS2": ("UCOORD", "VCOORD"),
    "OI_VIS": ("UCOORD", "VCOORD"),
    "OI_T3": ("U1COORD", "V1COORD", "U2COORD", "V2COORD"),
}


def open_oifits(file: Place) -> OpenProductFile:
    """Open a file.

    Parameters
    ----------
    file
        Path of the file, or a file on another server.

    Returns
    -------
    product
        Tables of points, and then the parts that FITS has.

    Raises
    ------
    SourceError
        The file is not FITS, or damaged.
    """
    fits_product = list_product_file_formats()["fits"].open(file)
    return with_point_tables(fits_product) or fits_product


def with_point_tables(fits_product: OpenProductFile) -> OpenProductFile | None:
    """Add tables of points before the parts of a FITS file.

    Parameters
    ----------
    fits_product
        An open FITS file.

    Returns
    -------
    product
        The product with the tables; None if the file has no tables of OIFITS.
    """
    tables = [part for part in fits_product.parts if isinstance(part, TablePart)]
    views: list[TablePart] = []
    for kind in _OBSERVABLES:
        members = [table for table in tables if table.name.upper() == kind]
        if members:
            index = max(part.index for part in fits_product.parts) + 1 + len(views)
            views.append(_create_spectral_point_table(kind, members, tables, index))
    if not any(table.name.upper() in {"OI_TARGET", "OI_WAVELENGTH"} for table in tables):
        return None
    parts = (*views, *fits_product.parts)
    return OpenProductFile(medium="oifits", parts=parts, cards=fits_product.cards, close=fits_product.close)


def _read_card_text(table: TablePart, keyword: str) -> str:
    for card in table.cards:
        if card.keyword == keyword and card.value is not None:
            return str(card.value).strip()
    return ""


def _read_names_by_number(tables: Sequence[TablePart], table_kind: str, key: str, column: str) -> dict[int, str]:
    """Read the names of targets or stations by their numbers from a small table."""
    names_by_number: dict[int, str] = {}
    for table in tables:
        if table.name.upper() == table_kind and {key, column} <= {column_item.name for column_item in table.columns}:
            for batch in table.read_batches(0, table.row_count):
                numbers = batch.column(key).to_pylist()
                names = batch.column(column).to_pylist()
                stripped_names = [str(name).strip() for name in names]
                names_by_number |= dict(zip(numbers, stripped_names, strict=True))
    return names_by_number


def _read_wavelengths(
    tables: Sequence[TablePart], instrument: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Read the wavelengths and bands of an instrument; return None if the file does not have them."""
    for table in tables:
        if table.name.upper() == "OI_WAVELENGTH" and _read_card_text(table, "INSNAME") == instrument:
            batches = table.read_batches(0, table.row_count)
            wavelength_table = pa.Table.from_batches(batches).combine_chunks()
            wavelengths = np.asarray(wavelength_table["EFF_WAVE"], np.float64)
            bands = np.asarray(wavelength_table["EFF_BAND"], np.float64)
            return wavelengths, bands
    return None


def _create_spectral_point_table(
    table_kind: str, members: Sequence[TablePart], tables: Sequence[TablePart], index: int
) -> TablePart:
    columns = _list_point_columns(table_kind, members)
    sizes = {id(member): _count_wavelengths(member) for member in members}

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        stop = start + row_limit
        first_point = 0
        names = _PointLookup(tables)
        for member in members:
            width = sizes[id(member)]
            # the rows of the file with the requested points
            first_row = max(0, start - first_point) // width
            last_point = max(0, min(stop - first_point, member.row_count * width))
            end_row = -(-last_point // width)
            row = first_row
            for batch in member.read_batches(first_row, max(0, end_row - first_row)):
                with convert_library_errors(member.name, "OIFITS"):
                    points = _expand_rows_to_points(batch, member, width, columns, names)
                begin = first_point + row * width
                row += batch.num_rows
                point_count = min(stop, begin + points.num_rows) - max(start, begin)
                points = points.slice(max(0, start - begin), max(0, point_count))
                if points.num_rows:
                    yield points
            first_point += member.row_count * width

    count = sum(member.row_count * sizes[id(member)] for member in members)
    name = f"{table_kind} points"
    return TablePart(index=index, name=name, columns=columns, row_count=count, read_batches=read_batches)


def _list_point_columns(table_kind: str, members: Sequence[TablePart]) -> tuple[Column, ...]:
    """List the columns of a table of points."""
    column_names = {column_item.name for member in members for column_item in member.columns}
    columns = [
        Column(name="TARGET", type=_TEXT_TYPE, ucd="meta.id;src", description="name of the target"),
        Column(name="INSNAME", type=_TEXT_TYPE, ucd="meta.id;instr", description="instrument and mode"),
        Column(
            name="STATIONS",
            type=_TEXT_TYPE,
            ucd="meta.id;instr.baseline",
            description="stations of the baseline or triangle",
        ),
        Column(name="MJD", type=_REAL_TYPE, unit="d", ucd="time.epoch", description="MJD, UTC", epoch=MJD_EPOCH),
    ]
    baseline_names = [name for name in _BASELINE_COLUMNS.get(table_kind, ()) if name in column_names]
    columns += [_create_number_column(name, "m", "instr.baseline", "baseline's coordinate") for name in baseline_names]
    columns.append(_create_number_column("EFF_WAVE", "m", "em.wl", "wavelength"))
    columns.append(_create_number_column("EFF_BAND", "m", "instr.bandwidth", "width of the channel"))
    frequency_ucd = "instr.baseline;arith.ratio"
    columns.append(
        _create_number_column("SPATIAL_FREQUENCY", "1/rad", frequency_ucd, "longest baseline over wavelength")
    )
    observables = [observable for observable in _OBSERVABLES[table_kind] if observable[0] in column_names]
    columns += [_create_number_column(*observable) for observable in observables]
    flag = Column(name="FLAG", type=_FLAG_TYPE, ucd="meta.code.qual", description="the value is not to be used")
    return (*columns, flag)


def _create_number_column(name: str, unit: str | None, ucd: str, description: str) -> Column:
    return Column(name=name, type=_REAL_TYPE, unit=unit, ucd=ucd, description=description)


class _PointLookup:
    """The names of targets and stations of a file, and the wavelengths of its instruments."""

    def __init__(self, tables: Sequence[TablePart]) -> None:
        self._tables = tables
        self.targets = _read_names_by_number(tables, "OI_TARGET", "TARGET_ID", "TARGET")
        self._stations_by_array: dict[str, Mapping[int, str]] = {}

    def read_stations(self, table: TablePart) -> Mapping[int, str]:
        """Read the names of the stations of the array that a table refers to."""
        array_name = _read_card_text(table, "ARRNAME")
        if array_name not in self._stations_by_array:
            array_tables = [item for item in self._tables if _read_card_text(item, "ARRNAME") == array_name]
            stations = _read_names_by_number(array_tables, "OI_ARRAY", "STA_INDEX", "STA_NAME")
            self._stations_by_array[array_name] = stations
        return self._stations_by_array[array_name]

    def read_wavelengths(self, instrument: str, width: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Read the wavelengths and bands of an instrument; NaN if they are unknown or of another number."""
        wavelengths = _read_wavelengths(self._tables, instrument)
        if wavelengths is None or len(wavelengths[0]) != width:
            return np.full(width, np.nan), np.full(width, np.nan)
        return wavelengths


def _count_wavelengths(table: TablePart) -> int:
    """Count the wavelengths of each row."""
    observable = _OBSERVABLES[table.name.upper()][0][0]
    for column_item in table.columns:
        if column_item.name == observable and column_item.type.shape:
            return int(column_item.type.shape[0] or 1)
    return 1


def _expand_rows_to_points(
    batch: pa.RecordBatch, table: TablePart, width: int, columns: Sequence[Column], names: _PointLookup
) -> pa.RecordBatch:
    """Write a row for each wavelength of each row."""
    available_columns = set(batch.schema.names)
    count = batch.num_rows
    instrument = _read_card_text(table, "INSNAME")
    wavelengths, bands = names.read_wavelengths(instrument, width)
    targets = [names.targets.get(number, "") for number in batch.column("TARGET_ID").to_pylist()]
    column_values: dict[str, Any] = {
        "TARGET": _repeat_texts(targets, width),
        "INSNAME": pa.array([instrument] * (count * width)),
        "MJD": np.repeat(_read_numbers(batch, "MJD"), width),
        "EFF_WAVE": np.tile(wavelengths, count),
        "EFF_BAND": np.tile(bands, count),
    }
    if "STA_INDEX" in available_columns:
        stations = names.read_stations(table)
        station_texts = []
        for row in batch.column("STA_INDEX").to_pylist():
            station_numbers = row if isinstance(row, list) else [row]
            station_names = [stations.get(number, str(number)) for number in station_numbers]
            station_texts.append("-".join(station_names))
        column_values["STATIONS"] = _repeat_texts(station_texts, width)
    baselines = []
    for u_name, v_name in (("UCOORD", "VCOORD"), ("U1COORD", "V1COORD"), ("U2COORD", "V2COORD")):
        if u_name in available_columns:
            u = column_values[u_name] = np.repeat(_read_numbers(batch, u_name), width)
            v = column_values[v_name] = np.repeat(_read_numbers(batch, v_name), width)
            baselines.append((u, v))
    if baselines:
        lengths = [np.hypot(u, v) for u, v in baselines]
        if len(baselines) == 2:  # the third side of a triangle
            (first_u, first_v), (second_u, second_v) = baselines
            lengths.append(np.hypot(first_u + second_u, first_v + second_v))
        column_values["SPATIAL_FREQUENCY"] = np.max(lengths, axis=0) / column_values["EFF_WAVE"]
    arrays = []
    for column in columns:
        values = column_values.get(column.name)
        if values is None and column.name in available_columns:
            cells = batch.column(column.name)
            values = cells.flatten() if pa.types.is_nested(cells.type) else cells
            if len(values) != count * width:
                values = None
        kind = column.arrow_field.type
        if values is None:
            arrays.append(pa.nulls(count * width, kind))
        elif isinstance(values, np.ndarray):
            arrays.append(pa.array(values, from_pandas=True).cast(kind))
        else:
            arrays.append(values.cast(kind))
    schema = pa.schema([column.arrow_field for column in columns])
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _read_numbers(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.float64]:
    numbers = batch.column(name).cast(pa.float64())
    return np.asarray(numbers.to_numpy(zero_copy_only=False))


def _repeat_texts(texts: Sequence[str], width: int) -> pa.Array:
    row_numbers = np.repeat(np.arange(len(texts)), width)
    return pa.array(texts, pa.string()).take(pa.array(row_numbers))


MEDIUM = ProductFileFormat(
    name="oifits",
    title="OIFITS",
    media_types=("application/oifits", "image/oifits"),
    extensions=("oifits", "oifits.gz"),
    product_types={"oifits": "#visibility"},
    signature_pattern=rb"SIMPLE  =.*?(CONTENT = 'OIFITS|EXTNAME = 'OI_(ARRAY|TARGET|WAVELENGTH|VIS|VIS2|T3|FLUX) *')",
    open=open_oifits,
    refinement=("fits", with_point_tables),
)
