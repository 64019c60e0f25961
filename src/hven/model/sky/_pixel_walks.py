"""Walks: contours as walks over pixels, some thousand pixels at a time, are filled and brought onto the sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import _map_wraparound as map_wraparound
from hven.model.sky._contour_faults import MAX_CONTOUR_PIXELS, ContourRegions, FaultRecorder
from hven.model.sky._disc_image import DiscImage, take_images
from hven.model.sky._outlines import OutlinedRegions, trace_regions
from hven.model.sky._pixel_runs import COORDINATE_BITS, KEYS_PER_LINE, PixelRuns, fill_walks
from hven.model.sky._ragged_arrays import compute_offsets
from hven.model.sky._regions import Regions
from hven.model.sky._thread_pool import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from hven.model.sky._cylindrical_map import CylindricalMap

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

BLOCK_PIXELS = 1 << 16  # pixels of contours at a time: what is computed of them stays in a processor's cache


def build_regions_from_walks(
    trace_pixels: Callable[[Whole], tuple[Whole, Whole, Whole]],
    pixel_counts: Whole,
    image_geometry: DiscImage | CylindricalMap,
    recorder: FaultRecorder,
) -> ContourRegions:
    """Make regions of walks over pixels.

    Parameters
    ----------
    trace_pixels
        Given indexes of rows, returns the pixels of their walks: number of the row among these, x, y.
    pixel_counts
        How many pixels each walk has, about; shape (n,).
    image_geometry
        The images, one for each row.
    recorder
        What is wrong already.

    Returns
    -------
    contours
        Of n rows.
    """
    recorder.mark_rows("too_long", pixel_counts >= MAX_CONTOUR_PIXELS, pixel_counts)
    recorder.check_images(image_geometry)
    good = np.flatnonzero(recorder.fault == 0)
    block = np.cumsum(pixel_counts[good]) // BLOCK_PIXELS

    def trace_rows(row_indexes: Whole) -> list[tuple[Whole, OutlinedRegions]]:
        row, x, y = trace_pixels(row_indexes)
        images = take_images(image_geometry, row_indexes)
        if not isinstance(images, DiscImage):
            row, x, y = map_wraparound.close_walks(row, x, y, images)
        first = np.searchsorted(row, np.arange(len(row_indexes)))
        last = np.append(first[1:], len(row)) - 1
        apart = np.maximum(np.abs(x[last] - x[first]), np.abs(y[last] - y[first]))
        low, high = ([end.reduceat(a, first) for a in (x, y)] for end in (np.minimum, np.maximum))
        wide = np.maximum(high[0] - low[0], high[1] - low[1])
        recorder.mark_rows("open", apart > 1, apart, row_indexes)
        recorder.mark_rows("too_long", wide >= MAX_CONTOUR_PIXELS, wide, row_indexes)
        fine = recorder.fault[row_indexes] == 0
        if not fine.all():
            is_kept = fine[row]
            row = (np.cumsum(fine) - 1)[row[is_kept]]
            x = x[is_kept]
            y = y[is_kept]
            row_indexes, images, low, high = (
                row_indexes[fine],
                take_images(images, fine),
                [a[fine] for a in low],
                [a[fine] for a in high],
            )
        if not len(row_indexes):
            return []
        runs = fill_walks(row, x - low[0][row] + 1, y - low[1][row] + 1)
        left_pixels = low[0] - 1
        below = low[1] - 1
        if (
            isinstance(images, DiscImage)
            and not (within := images.is_inside_limb(*zip(low, high, strict=True))).all()
            and within.any()
        ):
            each = [
                (runs.take_regions(selected, np.cumsum(selected) - 1), np.flatnonzero(selected))
                for selected in (within, ~within)
            ]
            outlines = [
                _trace_on_sphere(run_group, image_geometry, recorder, row_indexes[at], left_pixels[at], below[at])
                for run_group, at in each
            ]
            order = np.argsort(np.concatenate([at for _, at in each]))
            pixels, clipped = (
                np.concatenate([getattr(outline, name) for outline in outlines])[order]
                for name in ("pixels", "clipped")
            )
            return [
                (
                    row_indexes,
                    OutlinedRegions(
                        Regions.concat([outline.regions for outline in outlines]).take(order), pixels, clipped
                    ),
                )
            ]
        return [(row_indexes, _trace_on_sphere(runs, image_geometry, recorder, row_indexes, left_pixels, below))]

    block_results = map_in_threads(trace_rows, np.split(good, np.flatnonzero(np.diff(block)) + 1) if len(good) else [])
    return _collect_regions(
        [block_outline for block_outlines in block_results for block_outline in block_outlines], recorder
    )


def build_regions_from_runs(
    runs: PixelRuns, image_geometry: DiscImage | CylindricalMap, recorder: FaultRecorder, x: Whole, y: Whole
) -> ContourRegions:
    """Make regions of pixels.

    Parameters
    ----------
    runs
        The pixels of n regions.
    image_geometry
        Their images.
    recorder
        What is wrong already.
    x, y
        The pixel that (0, 0) of the runs stands for, shape (n,).

    Returns
    -------
    contours
        Of n rows.
    """
    recorder.check_images(image_geometry)
    good = np.flatnonzero(recorder.fault == 0)
    index = np.cumsum(recorder.fault == 0) - 1
    if not len(good):
        return build_empty_regions(recorder)
    runs = runs.take_regions(recorder.fault == 0, index)
    return _collect_regions(
        [(good, _trace_on_sphere(runs, image_geometry, recorder, good, x[good], y[good]))], recorder
    )


def build_empty_regions(recorder: FaultRecorder) -> ContourRegions:
    """Make contours without a region.

    Parameters
    ----------
    recorder
        What is wrong with each.

    Returns
    -------
    contours
        As many.
    """
    return _collect_regions([], recorder)


def _trace_on_sphere(
    runs: PixelRuns,
    image_geometry: DiscImage | CylindricalMap,
    recorder: FaultRecorder,
    row_indexes: Whole,
    x: Whole,
    y: Whole,
) -> OutlinedRegions:
    """Bring pixels onto the sphere and mark what is not on it."""
    images = take_images(image_geometry, row_indexes)
    if isinstance(images, DiscImage):
        outlines = trace_regions(runs, len(row_indexes), images, x, y)
        recorder.mark_rows("off_disc", np.diff(outlines.regions.rows) == 0, outlines.pixels, row_indexes)
        return outlines
    first = np.searchsorted(runs.begin, np.arange(len(row_indexes)) << 2 * COORDINATE_BITS)
    leftmost = np.minimum.reduceat(runs.begin % KEYS_PER_LINE, first)
    rightmost = np.maximum.reduceat(runs.end % KEYS_PER_LINE, first)
    last = np.append(first[1:], len(runs.begin)) - 1
    turn = map_wraparound.count_pixels_per_turn(images)
    around = (rightmost - leftmost >= np.where(turn > 0, turn, np.inf)) | (
        (rightmost - leftmost) * np.abs(images.step_x) >= 360.0 - 1e-9
    )
    recorder.mark_rows("round", around & (turn == 0), rightmost - leftmost, row_indexes)
    for end in (first, last):
        recorder.mark_rows(
            "latitude",
            images.is_beyond_pole((runs.begin[end] >> COORDINATE_BITS) % KEYS_PER_LINE + y),
            rightmost - leftmost,
            row_indexes,
        )
    return map_wraparound.trace_map_regions(runs, len(row_indexes), images, x, y, around & (turn > 0))


def _collect_regions(block_outlines: list[tuple[Whole, OutlinedRegions]], recorder: FaultRecorder) -> ContourRegions:
    """Put regions, whose rows ascend, where these are."""
    rows = len(recorder.fault)
    pixels = np.zeros(rows, dtype=np.int64)
    clipped = np.zeros(rows)
    parts = np.zeros(rows, dtype=np.int64)
    for row_indexes, outline in block_outlines:
        pixels[row_indexes], clipped[row_indexes], parts[row_indexes] = (
            outline.pixels,
            outline.clipped,
            np.diff(outline.regions.rows),
        )
    regions = Regions.concat([outline.regions for _, outline in block_outlines])
    regions = Regions(regions.lon, regions.lat, regions.rings, regions.parts, compute_offsets(parts))
    wrong = (recorder.fault > 0) & (parts > 0)
    if wrong.any():
        valid_regions = regions.take(~wrong)
        offsets = compute_offsets(np.where(wrong, 0, parts))
        regions = Regions(
            valid_regions.lon,
            valid_regions.lat,
            valid_regions.rings,
            valid_regions.parts,
            offsets,
        )
    return ContourRegions(regions, pixels, clipped, recorder.fault, recorder.number, *np.zeros((2, rows), np.bool_))
