"""Contours: chain codes, lists of pixels, masks and boxes of images -> regions on the sphere, and what is wrong with them.

The region of a contour is the union of the squares of its pixels: those on it and those that it winds round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.model.sky import _sun as sun
from hven.model.sky._chain_features import chain_features
from hven.model.sky._chart import Chart
from hven.model.sky._contour_faults import FAULTS, LONGEST, QUALITIES, REMEDIES, Check, Contours, Fault
from hven.model.sky._cores import spread
from hven.model.sky._cylinder import unrolled
from hven.model.sky._directions import polygons
from hven.model.sky._disc import Disc, taken
from hven.model.sky._geometries import of_geometries
from hven.model.sky._pixels import filled, labelled
from hven.model.sky._ragged import ends, followers, gathered, numbered, owners
from hven.model.sky._sun_cards import date, disc
from hven.model.sky._sun_cards import number as card
from hven.model.sky._walks import boxed, faulty, walked

if TYPE_CHECKING:
    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]

__all__ = [
    "FAULTS", "FREEMAN", "HELIO", "HFC", "QUALITIES", "REMEDIES", "Chart", "Check", "Contours", "Disc", "Fault", "boxes", "card", "chain_codes", "chain_features", "date", "directions", "disc", "faulty", "masks", "of_geometries", "pixel_lists", "polygons", "spread", "sun",
]  # fmt: skip

HELIO = ((-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1))
"""Steps (x to the right, y up) of the digits 0 to 7 in HELIO's catalogues: 0 is left, then anticlockwise."""
FREEMAN = HELIO[4:] + HELIO[:4]
"""0 is right, then anticlockwise."""
HFC = {
    "chain": ("CC", "CH_CC", "CHAIN_CODE", "CHAINCODE"),
    "x": ("CC_X_PIX", "CH_CC_X_PIX", "CC_X", "X"),
    "y": ("CC_Y_PIX", "CH_CC_Y_PIX", "CC_Y", "Y"),
    "radius": ("R_SUN", "RSUN_PIX"),
    "centre": ("CENTER_X,CENTER_Y", "CRPIX1,CRPIX2"),
    "scale": ("CDELT1,CDELT2", "CDELT1"),
    "date": ("DATE_OBS", "DATE-OBS", "FEAT_DATE"),
    "observer": ("CRLN_OBS,CRLT_OBS", "L0,B0"),
    "rotation": ("C_ROTATION", "CAR_ROT", "CARROT"),
    "region": ("S_REGION", "COVERAGE", "REGION", "FOOTPRINT"),
    "name": ("GRANULE_UID", "ID", "NAME"),
}
"""What HFC and its like call the columns of a chain code and of its image: the first that is there. ``CRPIX`` counts from 1."""


def directions(words: str) -> tuple[tuple[int, int], ...] | None:
    """Read a table of steps.

    Parameters
    ----------
    words
        ``helio``, ``freeman``, or the steps of the digits from 0 on, x to the right and y up: ``1,0 1,-1 0,-1 -1,-1 -1,0 -1,1 0,1 1,1``.

    Returns
    -------
    table
        None: that is none.
    """
    if words in {"helio", "freeman"}:
        return HELIO if words == "helio" else FREEMAN
    found = tuple(_STEPS.get(word) for word in words.split())
    table = tuple(step for step in found if step is not None)
    return table if len(set(table)) == len(found) == len(HELIO) else None


_STEPS = {f"{x},{y}": (x, y) for x, y in HELIO}


def chain_codes(
    codes: pa.Array | npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike, grid: Disc | Chart, *,
    table: tuple[tuple[int, int], ...] = HELIO, origin: int = 0, arcsec: bool = False, check: Check | None = None,
) -> Contours:  # fmt: skip
    """Make regions of chain codes.

    Parameters
    ----------
    codes
        Digits from 0 to 7, a text for each row, shape (n,), or one text; an empty one is a single pixel, a null is a fault.
    x, y
        The first pixel; shape (n,).
    grid
        The images, one for each row, or one for all.
    table
        The step (x, y) of each digit.
    origin
        How `x` and `y` number an image's first pixel.
    arcsec
        `x` and `y` are arcseconds from the centre of the disc instead.
    check
        Rows that are known to have faults already.

    Returns
    -------
    contours
        A region or a fault for each row.
    """
    codes = [codes] if isinstance(codes, str) else codes
    texts = codes if isinstance(codes, pa.Array) else pa.array(codes, from_pandas=True)
    texts = texts.cast(pa.large_string())
    rows = len(texts)
    _, places, data = texts.buffers()
    offsets = np.frombuffer(places, np.int64, rows + 1, texts.offset * 8)
    digits = np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]] - np.uint8(48)
    offsets, count = offsets - offsets[0], np.diff(offsets)
    check = check or Check(rows)
    check.mark("no_contour", np.asarray(texts.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_))
    wrong = np.flatnonzero(digits > 7)
    at, first = np.unique(np.searchsorted(offsets, wrong, "right") - 1, return_index=True)
    letter = np.zeros(rows, dtype=np.int64)
    letter[at] = wrong[first] - offsets[at] + 1
    check.mark("letter", letter > 0, letter)
    if arcsec and isinstance(grid, Disc):
        x, y = (a + np.divide(b, c) for a, b, c in ((grid.x, x, grid.scale_x), (grid.y, y, grid.scale_y)))
        origin = 0
    start = [np.atleast_1d(np.asarray(values, dtype=np.float64)) - origin for values in (x, y)]
    check.mark("no_start", ~(np.abs(start[0]) < 2.0**40) | ~(np.abs(start[1]) < 2.0**40))
    steps = np.array(table, dtype=np.int64).T.copy()

    def walk(part: Whole) -> tuple[Whole, Whole, Whole]:
        # the pixel before each step, and the last one
        size = count[part] + 1
        row = np.repeat(np.arange(len(part)), size)
        first = np.cumsum(size) - size
        stepped = np.ones(len(row), dtype=np.bool_)
        stepped[first] = False
        together = part[-1] - part[0] + 1 == len(part)
        digit = digits[offsets[part[0]] : offsets[part[-1] + 1]] if together else digits[gathered(offsets, part)[0]]
        found = []
        for axis in (0, 1):
            move = np.zeros(len(row), dtype=np.int64)
            move[stepped] = steps[axis].take(digit)
            # from the end of one walk to the beginning of the next
            begin = np.rint(start[axis][part]).astype(np.int64)
            end = begin + np.add.reduceat(move, first)
            move[first] = begin - np.append(0, end[:-1])
            found.append(np.cumsum(move))
        return row, found[0], found[1]

    return walked(walk, count, grid, check)


def pixel_lists(
    offsets: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike, grid: Disc | Chart, *,
    origin: int = 0, check: Check | None = None,
) -> Contours:  # fmt: skip
    """Make regions of contours that are lists of pixels; between two of them, the contour goes straight.

    Parameters
    ----------
    offsets
        Where in `x` and `y` each contour begins, and the end; shape (n + 1,). The first pixel may be repeated at the end.
    x, y
        Pixels, shape (m,).
    grid, origin, check
        As in `chain_codes`.

    Returns
    -------
    contours
        A region or a fault for each row.
    """
    offsets = np.asarray(offsets, dtype=np.int64)
    rows, length = len(offsets) - 1, np.diff(offsets)
    check = check or Check(rows)
    check.mark("no_contour", length == 0)
    given = np.stack([np.asarray(values, dtype=np.float64) - origin for values in (x, y)])
    known = (np.abs(given) < 2.0**40).all(axis=0)
    check.mark("no_start", np.bincount(owners(offsets), weights=~known, minlength=rows) > 0)
    pixel = np.rint(np.where(known, given, 0.0)).astype(np.int64)
    move = pixel[:, followers(offsets)] - pixel
    if isinstance(grid, Chart):
        move[0], pixel[0] = unrolled(offsets, pixel[0], move, taken(grid, np.arange(rows)))
    pace = np.maximum(np.abs(move).max(axis=0, initial=0), 1)
    size = np.diff(ends(pace)[offsets])

    def walk(part: Whole) -> tuple[Whole, Whole, Whole]:
        corner, _ = gathered(offsets, part)
        of, step = numbered(pace[corner])
        at = corner[of]
        found = pixel[:, at] + np.rint(move[:, at] * (step / pace[at])).astype(np.int64)
        return np.repeat(np.arange(len(part)), size[part]), found[0], found[1]

    return walked(walk, size, grid, check)


def masks(image: npt.NDArray[np.integer], values: npt.ArrayLike, grid: Disc | Chart) -> Contours:
    """Make regions of the labels of an image.

    Parameters
    ----------
    image
        Labels, shape (height, width); y goes up.
    values
        The labels asked for, each once, shape (n,).
    grid
        The image, as one row.

    Returns
    -------
    contours
        A region for each label; what is nowhere in the image is a fault.
    """
    image, asked = np.asarray(image), np.atleast_1d(values)
    check = Check(len(asked))
    runs = labelled(image, asked)
    check.mark("no_contour", runs.pixels(len(asked)) == 0)
    origin = np.full(len(asked), -1)
    return boxed(runs, grid, check, origin, origin)


def boxes(
    x0: npt.ArrayLike, y0: npt.ArrayLike, x1: npt.ArrayLike, y1: npt.ArrayLike, grid: Disc | Chart, *,
    origin: int = 0, check: Check | None = None,
) -> Contours:  # fmt: skip
    """Make regions of boxes of pixels.

    Parameters
    ----------
    x0, y0, x1, y1
        First and last pixel of each, in any order of the corners; shape (n,).
    grid, origin, check
        As in `chain_codes`.

    Returns
    -------
    contours
        A region or a fault for each row.
    """
    given = np.stack([np.atleast_1d(np.asarray(values, dtype=np.float64)) - origin for values in (x0, y0, x1, y1)])
    check = check or Check(given.shape[1])
    known = (np.abs(given) < 2.0**40).all(axis=0)
    check.mark("no_start", ~known)
    pixel = np.rint(np.where(known, given, 0.0)).astype(np.int64).reshape(2, 2, -1)
    low, size = pixel.min(axis=0), np.ptp(pixel, axis=0) + 1
    wide = size.max(axis=0)
    check.mark("too_long", wide >= LONGEST, wide)
    size = np.where(check.fault > 0, 0, size)
    one = np.ones_like(low[0])
    return boxed(filled(one, one, size[0], size[1]), grid, check, low[0] - 1, low[1] - 1)
