"""Walks: contours as walks over pixels, some thousand pixels at a time, are filled and brought onto the sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import _cylinder as cylinder
from hven.model.sky._contour_faults import LONGEST, Check, Contours
from hven.model.sky._cores import spread
from hven.model.sky._disc import Disc, taken
from hven.model.sky._outlines import Outlined, outlined
from hven.model.sky._pixels import BITS, LINE, Runs, enclosed
from hven.model.sky._ragged import ends
from hven.model.sky._regions import Regions

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from hven.model.sky._chart import Chart

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

BLOCK = 1 << 16  # pixels of contours at a time: what is computed of them stays in a processor's cache


def walked(
    walk: Callable[[Whole], tuple[Whole, Whole, Whole]], size: Whole, grid: Disc | Chart, check: Check
) -> Contours:
    """Make regions of walks over pixels.

    Parameters
    ----------
    walk
        Given indexes of rows, returns the pixels of their walks: number of the row among these, x, y.
    size
        How many pixels each walk has, about; shape (n,).
    grid
        The images, one for each row.
    check
        What is wrong already.

    Returns
    -------
    contours
        Of n rows.
    """
    check.mark("too_long", size >= LONGEST, size)
    check.grid(grid)
    good = np.flatnonzero(check.fault == 0)
    block = np.cumsum(size[good]) // BLOCK

    def of(part: Whole) -> list[tuple[Whole, Outlined]]:
        row, x, y = walk(part)
        images = taken(grid, part)
        if not isinstance(images, Disc):
            row, x, y = cylinder.closed(row, x, y, images)
        first = np.searchsorted(row, np.arange(len(part)))
        last = np.append(first[1:], len(row)) - 1
        apart = np.maximum(np.abs(x[last] - x[first]), np.abs(y[last] - y[first]))
        low, high = ([end.reduceat(a, first) for a in (x, y)] for end in (np.minimum, np.maximum))
        wide = np.maximum(high[0] - low[0], high[1] - low[1])
        check.mark("open", apart > 1, apart, part)
        check.mark("too_long", wide >= LONGEST, wide, part)
        fine = check.fault[part] == 0
        if not fine.all():
            kept = fine[row]
            row, x, y = (np.cumsum(fine) - 1)[row[kept]], x[kept], y[kept]
            part, images, low, high = part[fine], taken(images, fine), [a[fine] for a in low], [a[fine] for a in high]
        if not len(part):
            return []
        runs = enclosed(row, x - low[0][row] + 1, y - low[1][row] + 1)
        left, below = low[0] - 1, low[1] - 1
        if (
            isinstance(images, Disc)
            and not (within := images.within(*zip(low, high, strict=True))).all()
            and within.any()
        ):
            each = [(runs.of(some, np.cumsum(some) - 1), np.flatnonzero(some)) for some in (within, ~within)]
            made = [_lying(those, grid, check, part[at], left[at], below[at]) for those, at in each]
            order = np.argsort(np.concatenate([at for _, at in each]))
            pixels, clipped = (
                np.concatenate([getattr(one, name) for one in made])[order] for name in ("pixels", "clipped")
            )
            return [(part, Outlined(Regions.concat([one.regions for one in made]).take(order), pixels, clipped))]
        return [(part, _lying(runs, grid, check, part, left, below))]

    found = spread(of, np.split(good, np.flatnonzero(np.diff(block)) + 1) if len(good) else [])
    return _gathered([one for some in found for one in some], check)


def boxed(runs: Runs, grid: Disc | Chart, check: Check, x: Whole, y: Whole) -> Contours:
    """Make regions of pixels.

    Parameters
    ----------
    runs
        The pixels of n regions.
    grid
        Their images.
    check
        What is wrong already.
    x, y
        The pixel that (0, 0) of the runs stands for, shape (n,).

    Returns
    -------
    contours
        Of n rows.
    """
    check.grid(grid)
    good = np.flatnonzero(check.fault == 0)
    index = np.cumsum(check.fault == 0) - 1
    if not len(good):
        return faulty(check)
    runs = runs.of(check.fault == 0, index)
    return _gathered([(good, _lying(runs, grid, check, good, x[good], y[good]))], check)


def faulty(check: Check) -> Contours:
    """Make contours without a region.

    Parameters
    ----------
    check
        What is wrong with each.

    Returns
    -------
    contours
        As many.
    """
    return _gathered([], check)


def _lying(runs: Runs, grid: Disc | Chart, check: Check, part: Whole, x: Whole, y: Whole) -> Outlined:
    """Bring pixels onto the sphere and mark what is not on it."""
    images = taken(grid, part)
    if isinstance(images, Disc):
        found = outlined(runs, len(part), images, x, y)
        check.mark("off_disc", np.diff(found.regions.rows) == 0, found.pixels, part)
        return found
    first = np.searchsorted(runs.begin, np.arange(len(part)) << 2 * BITS)
    left, right = np.minimum.reduceat(runs.begin % LINE, first), np.maximum.reduceat(runs.end % LINE, first)
    last = np.append(first[1:], len(runs.begin)) - 1
    turn = cylinder.turns(images)
    around = (right - left >= np.where(turn > 0, turn, np.inf)) | (
        (right - left) * np.abs(images.step_x) >= 360.0 - 1e-9
    )
    check.mark("round", around & (turn == 0), right - left, part)
    for end in (first, last):
        check.mark("latitude", images.beyond((runs.begin[end] >> BITS) % LINE + y), right - left, part)
    return cylinder.mapped(runs, len(part), images, x, y, around & (turn > 0))


def _gathered(found: list[tuple[Whole, Outlined]], check: Check) -> Contours:
    """Put regions, whose rows ascend, where these are."""
    rows = len(check.fault)
    pixels, clipped, parts = np.zeros(rows, dtype=np.int64), np.zeros(rows), np.zeros(rows, dtype=np.int64)
    for part, of in found:
        pixels[part], clipped[part], parts[part] = of.pixels, of.clipped, np.diff(of.regions.rows)
    regions = Regions.concat([of.regions for _, of in found])
    regions = Regions(regions.lon, regions.lat, regions.rings, regions.parts, ends(parts))
    wrong = (check.fault > 0) & (parts > 0)
    if wrong.any():
        held = regions.take(~wrong)
        regions = Regions(held.lon, held.lat, held.rings, held.parts, ends(np.where(wrong, 0, parts)))
    return Contours(regions, pixels, clipped, check.fault, check.number, *np.zeros((2, rows), np.bool_))
