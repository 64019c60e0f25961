"""OIFITS: the tables of FITS as they stand, and before them a table of points each for VIS2, VIS, T3 and FLUX: baselines, wavelengths, targets joined in."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import Medium, Product, Rows, media
from hven.formats.media._grids import guarded
from hven.model.table import MJD, Column
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media._distant import Place

_TEXT, _REAL, _FLAG = Type("char", "*"), Type("double"), Type("boolean")
# observables of a kind of table: their columns as points, with units, UCDs and what they are
_KINDS: dict[str, tuple[tuple[str, str | None, str, str], ...]] = {
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
_COORDINATES = {"OI_VIS2": ("UCOORD", "VCOORD"), "OI_VIS": ("UCOORD", "VCOORD"), "OI_T3": ("U1COORD", "V1COORD", "U2COORD", "V2COORD")}  # fmt: skip


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
    plain = media()["fits"].open(file)
    return refined(plain) or plain


def refined(plain: Product) -> Product | None:
    """Put tables of points before what FITS has.

    Parameters
    ----------
    plain
        An open file of FITS.

    Returns
    -------
    product
        None: it has no such tables.
    """
    tables = [part for part in plain.parts if isinstance(part, Rows)]
    views: list[Rows] = []
    for kind in _KINDS:
        members = [one for one in tables if one.name.upper() == kind]
        if members:
            views.append(_points(kind, members, tables, max(part.index for part in plain.parts) + 1 + len(views)))
    if not any(one.name.upper() in {"OI_TARGET", "OI_WAVELENGTH"} for one in tables):
        return None
    return Product(medium="oifits", parts=(*views, *plain.parts), cards=plain.cards, closing=plain.closing)


def _word(rows: Rows, keyword: str) -> str:
    return next((str(card.value).strip() for card in rows.cards if card.keyword == keyword and card.value is not None), "")  # fmt: skip


def _named(rows: Sequence[Rows], kind: str, key: str, column: str) -> dict[int, str]:
    """Read names by numbers of a small table: targets, stations."""
    found: dict[int, str] = {}
    for one in rows:
        if one.name.upper() == kind and {key, column} <= {each.name for each in one.columns}:
            for batch in one.batches(0, one.count):
                numbers, names = batch.column(key).to_pylist(), batch.column(column).to_pylist()
                found |= dict(zip(numbers, (str(name).strip() for name in names), strict=True))
    return found


def _waves(tables: Sequence[Rows], name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Read the wavelengths and bands of an instrument; None: the file does not have them."""
    for one in tables:
        if one.name.upper() == "OI_WAVELENGTH" and _word(one, "INSNAME") == name:
            whole = pa.Table.from_batches(one.batches(0, one.count)).combine_chunks()
            return np.asarray(whole["EFF_WAVE"], np.float64), np.asarray(whole["EFF_BAND"], np.float64)
    return None


def _points(kind: str, members: Sequence[Rows], tables: Sequence[Rows], index: int) -> Rows:
    known = {each.name for one in members for each in one.columns}
    observed = [one for one in _KINDS[kind] if one[0] in known]
    places = [name for name in _COORDINATES.get(kind, ()) if name in known]
    columns = (
        Column(name="TARGET", type=_TEXT, ucd="meta.id;src", description="name of the target"),
        Column(name="INSNAME", type=_TEXT, ucd="meta.id;instr", description="instrument and mode"),
        Column(name="STATIONS", type=_TEXT, ucd="meta.id;instr.baseline", description="stations of the baseline or triangle"),
        Column(name="MJD", type=_REAL, unit="d", ucd="time.epoch", description="MJD, UTC", epoch=MJD),
        *(Column(name=name, type=_REAL, unit="m", ucd="instr.baseline", description="baseline's coordinate") for name in places),
        Column(name="EFF_WAVE", type=_REAL, unit="m", ucd="em.wl", description="wavelength"),
        Column(name="EFF_BAND", type=_REAL, unit="m", ucd="instr.bandwidth", description="width of the channel"),
        Column(name="SPATIAL_FREQUENCY", type=_REAL, unit="1/rad", ucd="instr.baseline;arith.ratio", description="longest baseline over wavelength"),
        *(Column(name=name, type=_REAL, unit=unit, ucd=ucd, description=told) for name, unit, ucd, told in observed),
        Column(name="FLAG", type=_FLAG, ucd="meta.code.qual", description="the value is not to be used"),
    )  # fmt: skip
    sizes = {id(one): _width(one) for one in members}

    def batches(start: int, most: int) -> Iterator[pa.RecordBatch]:
        at = 0
        targets = _named(tables, "OI_TARGET", "TARGET_ID", "TARGET")
        for one in members:
            stations = _named([each for each in tables if _word(each, "ARRNAME") == _word(one, "ARRNAME")], "OI_ARRAY", "STA_INDEX", "STA_NAME")  # fmt: skip
            width = sizes[id(one)]
            # rows of the file that hold what is asked for
            first, last = max(0, start - at) // width, -(-max(0, min(start + most - at, one.count * width)) // width)
            row = first
            for batch in one.batches(first, max(0, last - first)):
                with guarded(one.name, "OIFITS"):
                    made = _flat(batch, one, width, columns, tables, targets, stations)
                begin = at + row * width
                row += batch.num_rows
                made = made.slice(max(0, start - begin), max(0, min(start + most, begin + made.num_rows) - max(start, begin)))  # fmt: skip
                if made.num_rows:
                    yield made
            at += one.count * width

    count = sum(one.count * sizes[id(one)] for one in members)
    return Rows(index=index, name=f"{kind} points", columns=columns, count=count, batches=partial(batches))


def _width(rows: Rows) -> int:
    """Return how many wavelengths each row has."""
    observable = _KINDS[rows.name.upper()][0][0]
    column = next((one for one in rows.columns if one.name == observable), None)
    shape = () if column is None else column.type.shape
    return int(shape[0] or 1) if shape else 1


def _flat(
    batch: pa.RecordBatch, one: Rows, width: int, columns: Sequence[Column], tables: Sequence[Rows], targets: Mapping[int, str], stations: Mapping[int, str]
) -> pa.RecordBatch:  # fmt: skip
    there = set(batch.schema.names)
    count = batch.num_rows

    def numbers(name: str) -> npt.NDArray[np.float64]:
        return np.asarray(batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False))

    instrument = _word(one, "INSNAME")
    waves = _waves(tables, instrument)
    if waves is None or len(waves[0]) != width:
        waves = np.full(width, np.nan), np.full(width, np.nan)
    found: dict[str, Any] = {
        "TARGET": _repeated([targets.get(number, "") for number in batch.column("TARGET_ID").to_pylist()], width),
        "INSNAME": pa.array([instrument] * (count * width)),
        "MJD": np.repeat(numbers("MJD"), width),
        "EFF_WAVE": np.tile(waves[0], count),
        "EFF_BAND": np.tile(waves[1], count),
    }
    if "STA_INDEX" in there:
        each = batch.column("STA_INDEX").to_pylist()
        found["STATIONS"] = _repeated(["-".join(stations.get(one, str(one)) for one in (row if isinstance(row, list) else [row])) for row in each], width)  # fmt: skip
    places = [name for name in ("UCOORD", "VCOORD", "U1COORD", "V1COORD", "U2COORD", "V2COORD") if name in there]
    for name in places:
        found[name] = np.repeat(numbers(name), width)
    if places:
        pairs = [np.hypot(found[u], found[v]) for u, v in zip(places[::2], places[1::2], strict=True)]
        if len(pairs) == 2:  # of a triangle, the third side as well
            pairs.append(np.hypot(found[places[0]] + found[places[2]], found[places[1]] + found[places[3]]))
        found["SPATIAL_FREQUENCY"] = np.max(pairs, axis=0) / found["EFF_WAVE"]
    arrays = []
    for column in columns:
        values = found.get(column.name)
        if values is None and column.name in there:
            cells = batch.column(column.name)
            values = cells.flatten() if pa.types.is_nested(cells.type) else cells
            values = values if len(values) == count * width else None
        kind = column.arrow.type
        arrays.append(pa.nulls(count * width, kind) if values is None else pa.array(values, from_pandas=True).cast(kind) if isinstance(values, np.ndarray) else values.cast(kind))  # fmt: skip
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([column.arrow for column in columns]))


def _repeated(texts: Sequence[str], width: int) -> pa.Array:
    return pa.array(texts, pa.string()).take(pa.array(np.repeat(np.arange(len(texts)), width)))


MEDIUM = Medium(
    name="oifits",
    title="OIFITS",
    media_types=("application/oifits", "image/oifits"),
    endings=("oifits", "oifits.gz"),
    begins=rb"SIMPLE  =.*?(CONTENT = 'OIFITS|EXTNAME = 'OI_(ARRAY|TARGET|WAVELENGTH|VIS|VIS2|T3|FLUX) *')",
    open=open_oifits,
    refines=("fits", refined),
)
