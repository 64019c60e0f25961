"""MOC as a file: ASCII, JSON and FITS (MOC 2.0, section 4.3)."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import _healpix as healpix
from hven.model.sky._moc import Moc

if TYPE_CHECKING:
    from collections.abc import Callable

_FITS = b"SIMPLE  ="


def moc_written(moc: Moc, as_: str = "fits", body: str = "") -> bytes:
    """Write a MOC for other programs.

    Parameters
    ----------
    moc
        In ICRS, or in the frame of a body.
    as_
        ``fits`` (ranges, MOC 2.0), ``json`` or ``ascii``.
    body
        Whose frame it is in; FITS names it where that of the sky is C, as Aladin does. Empty: ICRS.

    Returns
    -------
    bytes
        The file.

    Raises
    ------
    ValueError
        There is no such form.
    """
    if as_ not in {"fits", "json", "ascii"}:
        message = f"a MOC is no {as_!r} file: fits, json, ascii"
        raise ValueError(message)
    if as_ == "ascii":
        return str(moc).encode()
    if as_ == "json":
        cells = {str(order): found.tolist() for order, found in healpix.by_order(moc.ranges)}
        return json.dumps({**cells, **({} if str(moc.order) in cells else {str(moc.order): []})}).encode()
    from astropy.io import fits  # noqa: PLC0415  (slow to load, asked by few)

    table = fits.BinTableHDU.from_columns([fits.Column("RANGE", "K", array=moc.ranges.ravel())])
    facts = {
        "MOCVERS": "2.0",
        "MOCDIM": "SPACE",
        "ORDERING": "RANGE",
        "COORDSYS": body.lower() or "C",
        "MOCORD_S": moc.order,
    }
    table.header.update({**facts, "MOCTOOL": "Hven"})
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(file)
    return file.getvalue()


def moc_read(data: bytes) -> Moc:
    """Read a MOC from a file's bytes, in whichever of the three forms it is.

    Parameters
    ----------
    data
        ASCII, JSON, or FITS with ranges (MOC 2.0) or unique numbers of cells (MOC 1).

    Returns
    -------
    moc
        Of its order.

    Raises
    ------
    ValueError
        No MOC of space, one in another frame of the sky than ICRS, or cells that there are not; says what.
    """
    if data.startswith(_FITS):
        return _of_fits(data)
    text = data.decode("utf-8", "replace").strip()
    return _of_json(text) if text.startswith("{") else Moc.parse(text)


def _of_json(text: str) -> Moc:
    try:
        cells = json.loads(text)
        words = [f"{int(order)}/{' '.join(str(int(cell)) for cell in found)}" for order, found in cells.items()]
    except (ValueError, TypeError, AttributeError):
        message = 'a MOC in JSON is an object of orders and lists of cells: {"6": [1, 2]}'
        raise ValueError(message) from None
    return Moc.parse(" ".join(words))


def _of_fits(data: bytes) -> Moc:
    from astropy.io import fits  # noqa: PLC0415  (slow to load, asked by few)

    try:
        with fits.open(io.BytesIO(data), memmap=False) as file:
            tables = [one for one in file if isinstance(one, fits.BinTableHDU)]
            head, rows = tables[0].header, np.asarray(tables[0].data.field(0)).astype(np.int64).ravel()
    except (OSError, IndexError, TypeError, ValueError):
        message = "the FITS file has no table that could be a MOC"
        raise ValueError(message) from None
    kind, dimension = str(head.get("ORDERING", "")).strip(), str(head.get("MOCDIM", "SPACE")).strip()
    made: dict[str, Callable[[], Moc]] = {
        "RANGE": lambda: _of_ranges(rows, int(head.get("MOCORD_S", healpix.ORDER))),
        "NUNIQ": lambda: _of_unique(rows, int(head.get("MOCORD_S", head.get("MOCORDER", 0)))),
    }
    if dimension != "SPACE" or kind not in made:
        message = f"the FITS table is no MOC of space with RANGE or NUNIQ: ORDERING is {kind!r}, MOCDIM {dimension!r}"
        raise ValueError(message)
    if (frame := str(head.get("COORDSYS", "C")).strip()) not in {"C", ""} and len(frame) == 1:
        message = f"the MOC is in the frame {frame!r} (COORDSYS); only C, which is ICRS, is read, and those of bodies"
        raise ValueError(message)
    return made[kind]()


def _of_ranges(rows: np.ndarray, order: int) -> Moc:
    pairs = rows[: len(rows) // 2 * 2].reshape(-1, 2)
    if len(rows) % 2 or not 0 <= order <= healpix.ORDER or (pairs < 0).any() or (pairs > healpix.CELLS).any():
        message = "the MOC has ranges of cells that there are not"
        raise ValueError(message)
    return Moc(healpix.merge(pairs[pairs[:, 0] < pairs[:, 1]]), order)


def _of_unique(rows: np.ndarray, order: int) -> Moc:
    orders = np.floor(np.log2(np.maximum(rows, 1) / 4.0) / 2.0).astype(np.int64)
    cells = rows - (4 << 2 * np.clip(orders, 0, healpix.ORDER))
    if (rows < 4).any() or (orders > healpix.ORDER).any() or (cells >= 12 << 2 * orders).any():
        message = "the MOC has numbers of cells that there are not"
        raise ValueError(message)
    shift = 2 * (healpix.ORDER - orders)
    ranges = np.stack([cells << shift, (cells + 1) << shift], axis=1)
    return Moc(healpix.merge(ranges), max(order, int(orders.max(initial=0))))
