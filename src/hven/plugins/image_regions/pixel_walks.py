"""Fill contours that are walks over pixels, in blocks of pixels, and turn them into regions on the sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import Regions
from hven.model.sky.api.ragged_arrays import compute_offsets, map_in_threads
from hven.plugins.image_regions import map_wraparound
from hven.plugins.image_regions.contour_regions import MAX_CONTOUR_PIXELS, ContourFaultRecorder, ContourRegions
from hven.plugins.image_regions.disc_image import DiscImage, select_images
from hven.plugins.image_regions.outlines import OutlinedRegions, join_outlined_regions, trace_pixel_regions
from hven.plugins.image_regions.pixel_runs import COORDINATE_BITS, KEYS_PER_LINE, PixelRuns, fill_closed_pixel_walks

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from hven.plugins.image_regions.cylindrical_map import CylindricalMap

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

BLOCK_PIXELS = 1 << 16  # pixels of contours at a time: their arrays fit into a processor's cache


def build_regions_from_walks(
    trace_pixels: Callable[[Whole], tuple[Whole, Whole, Whole]],
    pixel_counts: Whole,
    image_geometry: DiscImage | CylindricalMap,
    recorder: ContourFaultRecorder,
) -> ContourRegions:
    """Make regions of walks over pixels.

    Parameters
    ----------
    trace_pixels
        Takes indexes of rows and returns the pixels of their walks: number of the row among these, x, y.
    pixel_counts
        The approximate number of pixels of each walk, shape (n,).
    image_geometry
        The images, one for each row.
    recorder
        Records the faults; rows that already have a fault get no region.

    Returns
    -------
    contours
        A region or a fault for each of n rows.
    """
    recorder.mark_faulty_rows("too_long", pixel_counts >= MAX_CONTOUR_PIXELS, pixel_counts)
    recorder.mark_rows_of_invalid_images(image_geometry)
    good = np.flatnonzero(recorder.fault == 0)
    block = np.cumsum(pixel_counts[good]) // BLOCK_PIXELS

    def trace_rows(row_indexes: Whole) -> list[tuple[Whole, OutlinedRegions]]:
        row, x, y = trace_pixels(row_indexes)
        images = select_images(image_geometry, row_indexes)
        if not isinstance(images, DiscImage):
            row, x, y = map_wraparound.close_walks_around_body(row, x, y, images)
        first = np.searchsorted(row, np.arange(len(row_indexes)))
        last = np.append(first[1:], len(row)) - 1
        x_gap = np.abs(x[last] - x[first])
        y_gap = np.abs(y[last] - y[first])
        apart = np.maximum(x_gap, y_gap)
        low = [np.minimum.reduceat(values, first) for values in (x, y)]
        high = [np.maximum.reduceat(values, first) for values in (x, y)]
        wide = np.maximum(high[0] - low[0], high[1] - low[1])
        recorder.mark_faulty_rows("open", apart > 1, apart, row_indexes)
        recorder.mark_faulty_rows("too_long", wide >= MAX_CONTOUR_PIXELS, wide, row_indexes)
        fine = recorder.fault[row_indexes] == 0
        if not fine.all():
            is_kept = fine[row]
            new_numbers = np.cumsum(fine) - 1
            row = new_numbers[row[is_kept]]
            x = x[is_kept]
            y = y[is_kept]
            row_indexes = row_indexes[fine]
            images = select_images(images, fine)
            low = [values[fine] for values in low]
            high = [values[fine] for values in high]
        if not len(row_indexes):
            return []
        runs = fill_closed_pixel_walks(row, x - low[0][row] + 1, y - low[1][row] + 1)
        left_pixels = low[0] - 1
        below = low[1] - 1
        is_inside = np.ones(len(row_indexes), np.bool_)
        if isinstance(images, DiscImage):
            is_inside = images.is_inside_limb((low[0], high[0]), (low[1], high[1]))
        if is_inside.all() or not is_inside.any():
            outlined = _trace_regions_on_sphere(runs, image_geometry, recorder, row_indexes, x=left_pixels, y=below)
        else:
            outlined = _trace_inside_limb_separately(
                runs, image_geometry, recorder, row_indexes, is_inside=is_inside, x=left_pixels, y=below
            )
        return [(row_indexes, outlined)]

    blocks: list[Whole] = []
    if len(good):
        block_starts = np.flatnonzero(np.diff(block)) + 1
        blocks = np.split(good, block_starts)
    block_outlines = []
    for outlines in map_in_threads(trace_rows, blocks):
        block_outlines.extend(outlines)
    return _collect_contour_regions(block_outlines, recorder)


def build_regions_from_runs(
    runs: PixelRuns, image_geometry: DiscImage | CylindricalMap, recorder: ContourFaultRecorder, x: Whole, y: Whole
) -> ContourRegions:
    """Make regions of runs of pixels.

    Parameters
    ----------
    runs
        The pixels of n regions.
    image_geometry
        Their images.
    recorder
        Records the faults; rows that already have a fault get no region.
    x, y
        The pixel that (0, 0) of the runs stands for, shape (n,).

    Returns
    -------
    contours
        A region or a fault for each of n rows.
    """
    recorder.mark_rows_of_invalid_images(image_geometry)
    good = np.flatnonzero(recorder.fault == 0)
    index = np.cumsum(recorder.fault == 0) - 1
    if not len(good):
        return build_contours_without_regions(recorder)
    runs = runs.take_regions(recorder.fault == 0, index)
    outlined = _trace_regions_on_sphere(runs, image_geometry, recorder, good, x=x[good], y=y[good])
    return _collect_contour_regions([(good, outlined)], recorder)


def build_contours_without_regions(recorder: ContourFaultRecorder) -> ContourRegions:
    """Make contours without a region.

    Parameters
    ----------
    recorder
        The faults of the rows.

    Returns
    -------
    contours
        A row without a region for each fault.
    """
    return _collect_contour_regions([], recorder)


def _trace_regions_on_sphere(
    runs: PixelRuns,
    image_geometry: DiscImage | CylindricalMap,
    recorder: ContourFaultRecorder,
    row_indexes: Whole,
    *,
    x: Whole,
    y: Whole,
) -> OutlinedRegions:
    """Turn pixels into regions on the sphere, and record a fault for those that are not on it."""
    images = select_images(image_geometry, row_indexes)
    if isinstance(images, DiscImage):
        outlines = trace_pixel_regions(runs, len(row_indexes), images, x, y)
        is_empty = np.diff(outlines.regions.rows) == 0
        recorder.mark_faulty_rows("off_disc", is_empty, outlines.pixels, row_indexes)
        return outlines
    row_keys = np.arange(len(row_indexes)) << 2 * COORDINATE_BITS
    first = np.searchsorted(runs.begin, row_keys)
    leftmost = np.minimum.reduceat(runs.begin % KEYS_PER_LINE, first)
    rightmost = np.maximum.reduceat(runs.end % KEYS_PER_LINE, first)
    last = np.append(first[1:], len(runs.begin)) - 1
    width = rightmost - leftmost
    turn = map_wraparound.count_pixels_per_turn(images)
    turn_width = np.where(turn > 0, turn, np.inf)
    is_whole_turn = width * np.abs(images.step_x) >= 360.0 - 1e-9
    around = (width >= turn_width) | is_whole_turn
    recorder.mark_faulty_rows("round", around & (turn == 0), width, row_indexes)
    for run_number in (first, last):
        line = (runs.begin[run_number] >> COORDINATE_BITS) % KEYS_PER_LINE
        is_beyond_pole = images.is_beyond_pole(line + y)
        recorder.mark_faulty_rows("latitude", is_beyond_pole, width, row_indexes)
    is_wrapping = around & (turn > 0)
    return map_wraparound.trace_map_regions(runs, images, x, y, is_wrapping=is_wrapping)


def _trace_inside_limb_separately(
    runs: PixelRuns,
    image_geometry: DiscImage | CylindricalMap,
    recorder: ContourFaultRecorder,
    row_indexes: Whole,
    *,
    is_inside: Flags,
    x: Whole,
    y: Whole,
) -> OutlinedRegions:
    """Turn pixels into regions, those away from the limb without clipping."""
    pieces = []
    for is_selected in (is_inside, ~is_inside):
        selected = np.flatnonzero(is_selected)
        selected_runs = runs.take_regions(is_selected, np.cumsum(is_selected) - 1)
        rows = row_indexes[selected]
        outlined = _trace_regions_on_sphere(selected_runs, image_geometry, recorder, rows, x=x[selected], y=y[selected])
        pieces.append((selected, outlined))
    return join_outlined_regions(pieces)


def _collect_contour_regions(
    block_outlines: list[tuple[Whole, OutlinedRegions]], recorder: ContourFaultRecorder
) -> ContourRegions:
    """Put the regions of blocks, whose rows ascend, into the rows that they belong to."""
    rows = len(recorder.fault)
    pixels = np.zeros(rows, dtype=np.int64)
    clipped = np.zeros(rows)
    parts = np.zeros(rows, dtype=np.int64)
    for row_indexes, outline in block_outlines:
        pixels[row_indexes] = outline.pixels
        clipped[row_indexes] = outline.clipped
        parts[row_indexes] = np.diff(outline.regions.rows)
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
    minimal, mended = np.zeros((2, rows), np.bool_)
    return ContourRegions(regions, pixels, clipped, recorder.fault, recorder.number, minimal, mended)
