"""OIFITS: the tables of FITS as they stand, and before them a table of points each for VIS2, VIS, T3 and FLUX.

Baselines, wavelengths, targets joined in.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import Medium, Product, TablePart, list_media
from hven.formats.media._stored_arrays import convert_library_errors
from hven.model.table import MJD_EPOCH, Column
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media._remote_files import Place

_TEXT_TYPE, _REAL_TYPE, _FLAG_TYPE = Type("char", "*"), Type("double"), Type("boolean")
# observables of a kind of table: their columns as points, with units, UCDs and what they are
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


def open_oifits(file: Place) -> Product:
    """Open a file.

    Parameters
    ----------
    file
        A path, or what reads one from elsewhere.

    Returns
    -------
    product
        Tables of points, then all that is in the file as FITS has it.

    Raises
    ------
    SourceError
        It is no FITS, or damaged.
    """
    fits_product = list_media()["fits"].open(file)
    return add_point_tables(fits_product) or fits_product


def add_point_tables(fits_product: Product) -> Product | None:
    """Put tables of points before what FITS has.

    Parameters
    ----------
    fits_product
        An open file of FITS.

    Returns
    -------
    product
        None: it has no such tables.
    """
    tables = [part for part in fits_product.parts if isinstance(part, TablePart)]
    views: list[TablePart] = []
    for kind in _OBSERVABLES:
        members = [table for table in tables if table.name.upper() == kind]
        if members:
            point_table = _create_point_table(
                kind, members, tables, max(part.index for part in fits_product.parts) + 1 + len(views)
            )
            views.append(point_table)
    if not any(table.name.upper() in {"OI_TARGET", "OI_WAVELENGTH"} for table in tables):
        return None
    return Product(
        medium="oifits", parts=(*views, *fits_product.parts), cards=fits_product.cards, close=fits_product.close
    )


def _read_card_text(table: TablePart, keyword: str) -> str:
    return next(
        (str(card.value).strip() for card in table.cards if card.keyword == keyword and card.value is not None), ""
    )


def _read_names_by_number(tables: Sequence[TablePart], table_kind: str, key: str, column: str) -> dict[int, str]:
    """Read names by numbers of a small table: targets, stations."""
    names_by_number: dict[int, str] = {}
    for table in tables:
        if table.name.upper() == table_kind and {key, column} <= {column_item.name for column_item in table.columns}:
            for batch in table.read_batches(0, table.row_count):
                numbers = batch.column(key).to_pylist()
                names = batch.column(column).to_pylist()
                names_by_number |= dict(zip(numbers, (str(name).strip() for name in names), strict=True))
    return names_by_number


def _read_wavelengths(
    tables: Sequence[TablePart], name: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Read the wavelengths and bands of an instrument; None: the file does not have them."""
    for table in tables:
        if table.name.upper() == "OI_WAVELENGTH" and _read_card_text(table, "INSNAME") == name:
            batches = table.read_batches(0, table.row_count)
            wavelength_table = pa.Table.from_batches(batches).combine_chunks()
            return np.asarray(wavelength_table["EFF_WAVE"], np.float64), np.asarray(
                wavelength_table["EFF_BAND"], np.float64
            )
    return None


def _create_point_table(
    table_kind: str, members: Sequence[TablePart], tables: Sequence[TablePart], index: int
) -> TablePart:
    column_names = {column_item.name for member in members for column_item in member.columns}
    observables = [member for member in _OBSERVABLES[table_kind] if member[0] in column_names]
    baseline_columns = [name for name in _BASELINE_COLUMNS.get(table_kind, ()) if name in column_names]
    columns = (
        Column(name="TARGET", type=_TEXT_TYPE, ucd="meta.id;src", description="name of the target"),
        Column(name="INSNAME", type=_TEXT_TYPE, ucd="meta.id;instr", description="instrument and mode"),
        Column(
            name="STATIONS",
            type=_TEXT_TYPE,
            ucd="meta.id;instr.baseline",
            description="stations of the baseline or triangle",
        ),
        Column(name="MJD", type=_REAL_TYPE, unit="d", ucd="time.epoch", description="MJD, UTC", epoch=MJD_EPOCH),
        *(
            Column(name=name, type=_REAL_TYPE, unit="m", ucd="instr.baseline", description="baseline's coordinate")
            for name in baseline_columns
        ),
        Column(name="EFF_WAVE", type=_REAL_TYPE, unit="m", ucd="em.wl", description="wavelength"),
        Column(name="EFF_BAND", type=_REAL_TYPE, unit="m", ucd="instr.bandwidth", description="width of the channel"),
        Column(
            name="SPATIAL_FREQUENCY",
            type=_REAL_TYPE,
            unit="1/rad",
            ucd="instr.baseline;arith.ratio",
            description="longest baseline over wavelength",
        ),
        *(
            Column(name=name, type=_REAL_TYPE, unit=unit, ucd=ucd, description=description)
            for name, unit, ucd, description in observables
        ),
        Column(name="FLAG", type=_FLAG_TYPE, ucd="meta.code.qual", description="the value is not to be used"),
    )
    sizes = {id(member): _count_wavelengths(member) for member in members}

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        point = 0
        targets = _read_names_by_number(tables, "OI_TARGET", "TARGET_ID", "TARGET")
        for member in members:
            stations = _read_names_by_number(
                [
                    array_table
                    for array_table in tables
                    if _read_card_text(array_table, "ARRNAME") == _read_card_text(member, "ARRNAME")
                ],
                "OI_ARRAY",
                "STA_INDEX",
                "STA_NAME",
            )
            width = sizes[id(member)]
            # rows of the file that hold what is asked for
            first, last = (
                max(0, start - point) // width,
                -(-max(0, min(start + row_limit - point, member.row_count * width)) // width),
            )
            row = first
            for batch in member.read_batches(first, max(0, last - first)):
                with convert_library_errors(member.name, "OIFITS"):
                    points = _flatten_points(batch, member, width, columns, tables, targets, stations)
                begin = point + row * width
                row += batch.num_rows
                points = points.slice(
                    max(0, start - begin), max(0, min(start + row_limit, begin + points.num_rows) - max(start, begin))
                )
                if points.num_rows:
                    yield points
            point += member.row_count * width

    count = sum(member.row_count * sizes[id(member)] for member in members)
    return TablePart(
        index=index, name=f"{table_kind} points", columns=columns, row_count=count, read_batches=partial(read_batches)
    )


def _count_wavelengths(table: TablePart) -> int:
    """Return how many wavelengths each row has."""
    observable = _OBSERVABLES[table.name.upper()][0][0]
    column = next((column_item for column_item in table.columns if column_item.name == observable), None)
    shape = () if column is None else column.type.shape
    return int(shape[0] or 1) if shape else 1


def _flatten_points(
    batch: pa.RecordBatch,
    table: TablePart,
    width: int,
    columns: Sequence[Column],
    tables: Sequence[TablePart],
    targets: Mapping[int, str],
    stations: Mapping[int, str],
) -> pa.RecordBatch:
    available_columns = set(batch.schema.names)
    count = batch.num_rows

    def read_numbers(name: str) -> npt.NDArray[np.float64]:
        return np.asarray(batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False))

    instrument = _read_card_text(table, "INSNAME")
    waves = _read_wavelengths(tables, instrument)
    if waves is None or len(waves[0]) != width:
        waves = np.full(width, np.nan), np.full(width, np.nan)
    column_values: dict[str, Any] = {
        "TARGET": _repeat_texts([targets.get(number, "") for number in batch.column("TARGET_ID").to_pylist()], width),
        "INSNAME": pa.array([instrument] * (count * width)),
        "MJD": np.repeat(read_numbers("MJD"), width),
        "EFF_WAVE": np.tile(waves[0], count),
        "EFF_BAND": np.tile(waves[1], count),
    }
    if "STA_INDEX" in available_columns:
        station_numbers = batch.column("STA_INDEX").to_pylist()
        column_values["STATIONS"] = _repeat_texts(
            [
                "-".join(stations.get(table, str(table)) for table in (row if isinstance(row, list) else [row]))
                for row in station_numbers
            ],
            width,
        )
    baseline_columns = [
        name for name in ("UCOORD", "VCOORD", "U1COORD", "V1COORD", "U2COORD", "V2COORD") if name in available_columns
    ]
    for name in baseline_columns:
        column_values[name] = np.repeat(read_numbers(name), width)
    if baseline_columns:
        pairs = [
            np.hypot(column_values[u], column_values[v])
            for u, v in zip(baseline_columns[::2], baseline_columns[1::2], strict=True)
        ]
        if len(pairs) == 2:  # of a triangle, the third side as well
            pairs.append(
                np.hypot(
                    column_values[baseline_columns[0]] + column_values[baseline_columns[2]],
                    column_values[baseline_columns[1]] + column_values[baseline_columns[3]],
                )
            )
        column_values["SPATIAL_FREQUENCY"] = np.max(pairs, axis=0) / column_values["EFF_WAVE"]
    arrays = []
    for column in columns:
        values = column_values.get(column.name)
        if values is None and column.name in available_columns:
            cells = batch.column(column.name)
            if pa.types.is_nested(cells.type):
                values = cells.flatten()
            else:
                values = cells
            if len(values) != count * width:
                values = None
        kind = column.arrow_field.type
        arrays.append(
            pa.nulls(count * width, kind)
            if values is None
            else pa.array(values, from_pandas=True).cast(kind)
            if isinstance(values, np.ndarray)
            else values.cast(kind)
        )
    schema = pa.schema([column.arrow_field for column in columns])
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _repeat_texts(texts: Sequence[str], width: int) -> pa.Array:
    return pa.array(texts, pa.string()).take(pa.array(np.repeat(np.arange(len(texts)), width)))


MEDIUM = Medium(
    name="oifits",
    title="OIFITS",
    media_types=("application/oifits", "image/oifits"),
    extensions=("oifits", "oifits.gz"),
    signature_pattern=rb"SIMPLE  =.*?(CONTENT = 'OIFITS|EXTNAME = 'OI_(ARRAY|TARGET|WAVELENGTH|VIS|VIS2|T3|FLUX) *')",
    open=open_oifits,
    refinement=("fits", add_point_tables),
)
