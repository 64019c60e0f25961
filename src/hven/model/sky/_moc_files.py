"""Read and write MOC files: ASCII, JSON and FITS (MOC 2.0, section 4.3)."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import _healpix as healpix
from hven.model.sky._moc import Moc

if TYPE_CHECKING:
    from collections.abc import Callable

_FITS_SIGNATURE = b"SIMPLE  ="


def write_moc(moc: Moc, file_format: str = "fits", body: str = "") -> bytes:
    """Write a MOC for other programs.

    Parameters
    ----------
    moc
        A MOC in ICRS, or in the frame of a body.
    file_format
        ``fits`` (ranges, MOC 2.0), ``json`` or ``ascii``.
    body
        The body of the frame. FITS names it in place of C, the frame of the sky, as Aladin does. Empty: ICRS.

    Returns
    -------
    bytes
        The bytes of the file.

    Raises
    ------
    ValueError
        The format is unknown.
    """
    if file_format not in {"fits", "json", "ascii"}:
        message = f"{file_format!r} is not a format of MOC files; use fits, json or ascii"
        raise ValueError(message)
    if file_format == "ascii":
        return str(moc).encode()
    if file_format == "json":
        cells = {str(order): order_cells.tolist() for order, order_cells in healpix.split_ranges_into_cells(moc.ranges)}
        cells.setdefault(str(moc.order), [])
        return json.dumps(cells).encode()
    from astropy.io import fits  # noqa: PLC0415  (slow to load; few need it)

    column = fits.Column("RANGE", "K", array=moc.ranges.ravel())
    table = fits.BinTableHDU.from_columns([column])
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


def read_moc(data: bytes) -> Moc:
    """Read a MOC from the bytes of a file, in any of the three formats.

    Parameters
    ----------
    data
        ASCII, JSON, or FITS with ranges (MOC 2.0) or unique numbers of cells (MOC 1).

    Returns
    -------
    moc
        The MOC, with its order.

    Raises
    ------
    ValueError
        The file is not a MOC of space, is in another frame of the sky than ICRS, or has cells that do not exist.
    """
    if data.startswith(_FITS_SIGNATURE):
        return _read_fits_moc(data)
    text = data.decode("utf-8", "replace").strip()
    if text.startswith("{"):
        return _read_json_moc(text)
    return Moc.parse(text)


def _read_json_moc(text: str) -> Moc:
    try:
        cells = json.loads(text)
        words = []
        for order, order_cells in cells.items():
            numbers = " ".join(str(int(cell)) for cell in order_cells)
            words.append(f"{int(order)}/{numbers}")
    except (ValueError, TypeError, AttributeError):
        message = 'a MOC in JSON must be an object that maps orders to lists of cells: {"6": [1, 2]}'
        raise ValueError(message) from None
    return Moc.parse(" ".join(words))


def _read_fits_moc(data: bytes) -> Moc:
    from astropy.io import fits  # noqa: PLC0415  (slow to load; few need it)

    try:
        with fits.open(io.BytesIO(data), memmap=False) as file:
            tables = [hdu for hdu in file if isinstance(hdu, fits.BinTableHDU)]
            head = tables[0].header
            rows = np.asarray(tables[0].data.field(0)).astype(np.int64).ravel()
    except (OSError, IndexError, TypeError, ValueError):
        message = "the FITS file has no table that could be a MOC"
        raise ValueError(message) from None
    kind = str(head.get("ORDERING", "")).strip()
    dimension = str(head.get("MOCDIM", "SPACE")).strip()
    builders: dict[str, Callable[[], Moc]] = {
        "RANGE": lambda: _build_moc_from_ranges(rows, int(head.get("MOCORD_S", healpix.MAX_ORDER))),
        "NUNIQ": lambda: _build_moc_from_uniq(rows, int(head.get("MOCORD_S", head.get("MOCORDER", 0)))),
    }
    if dimension != "SPACE" or kind not in builders:
        message = (
            "the FITS table is not a space MOC with ORDERING='RANGE' or 'NUNIQ': "
            f"ORDERING is {kind!r}, MOCDIM is {dimension!r}"
        )
        raise ValueError(message)
    frame = str(head.get("COORDSYS", "C")).strip()
    if frame not in {"C", ""} and len(frame) == 1:
        message = (
            f"the MOC is in the frame {frame!r} (COORDSYS); Hven reads only C (ICRS) and frames of solar-system bodies"
        )
        raise ValueError(message)
    return builders[kind]()


def _build_moc_from_ranges(rows: np.ndarray, order: int) -> Moc:
    pairs = rows[: len(rows) // 2 * 2].reshape(-1, 2)
    has_pairs = len(rows) % 2 == 0
    has_valid_order = 0 <= order <= healpix.MAX_ORDER
    has_valid_cells = not (pairs < 0).any() and not (pairs > healpix.MAX_ORDER_CELL_COUNT).any()
    if not (has_pairs and has_valid_order and has_valid_cells):
        message = (
            "the MOC contains an incomplete range, a cell that does not exist, or an order (MOCORD_S) that is not "
            f"between 0 and {healpix.MAX_ORDER}"
        )
        raise ValueError(message)
    is_filled = pairs[:, 0] < pairs[:, 1]
    return Moc(healpix.merge_ranges(pairs[is_filled]), order)


def _build_moc_from_uniq(uniq_cells: np.ndarray, min_order: int) -> Moc:
    exact_orders = np.log2(np.maximum(uniq_cells, 1) / 4.0) / 2.0
    orders = np.floor(exact_orders).astype(np.int64)
    cells = uniq_cells - (4 << 2 * np.clip(orders, 0, healpix.MAX_ORDER))
    if (uniq_cells < 4).any() or (orders > healpix.MAX_ORDER).any() or (cells >= 12 << 2 * orders).any():
        message = "the MOC contains cells that do not exist"
        raise ValueError(message)
    shift = 2 * (healpix.MAX_ORDER - orders)
    ranges = np.stack([cells << shift, (cells + 1) << shift], axis=1)
    max_order = max(min_order, int(orders.max(initial=0)))
    return Moc(healpix.merge_ranges(ranges), max_order)
