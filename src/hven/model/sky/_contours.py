"""Contours: chain codes, lists of pixels, masks and boxes of images -> regions on the sphere, and what is wrong with them.

The region of a contour is the union of the squares of its pixels: those on it and those that it winds round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.model.sky import _sun as sun
from hven.model.sky._chain_features import write_chain_geometries
from hven.model.sky._contour_faults import (
    FAULT_MESSAGES,
    FAULT_REMEDIES,
    MAX_CONTOUR_PIXELS,
    REGION_QUALITIES,
    ContourFault,
    ContourRegions,
    FaultRecorder,
)
from hven.model.sky._cylindrical_map import CylindricalMap
from hven.model.sky._direction_contours import build_regions_from_directions
from hven.model.sky._disc_image import DiscImage, take_images
from hven.model.sky._geojson_contours import build_regions_from_geojson
from hven.model.sky._map_wraparound import unwrap_contours
from hven.model.sky._pixel_runs import fill_boxes, find_label_pixels
from hven.model.sky._pixel_walks import build_empty_regions, build_regions_from_runs, build_regions_from_walks
from hven.model.sky._ragged_arrays import (
    compute_element_numbers,
    compute_offsets,
    compute_row_indexes,
    compute_successors,
    gather_rows,
)
from hven.model.sky._solar_headers import build_disc_image, find_date, find_number
from hven.model.sky._thread_pool import map_in_threads

if TYPE_CHECKING:
    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]

__all__ = [
    "FAULT_MESSAGES",
    "FAULT_REMEDIES",
    "FREEMAN_STEPS",
    "HELIO_STEPS",
    "HFC_COLUMN_NAMES",
    "REGION_QUALITIES",
    "ContourFault",
    "ContourRegions",
    "CylindricalMap",
    "DiscImage",
    "FaultRecorder",
    "build_disc_image",
    "build_empty_regions",
    "build_regions_from_chain_codes",
    "build_regions_from_directions",
    "build_regions_from_geojson",
    "build_regions_from_labels",
    "build_regions_from_pixel_boxes",
    "build_regions_from_pixel_lists",
    "find_date",
    "find_number",
    "map_in_threads",
    "parse_step_table",
    "sun",
    "write_chain_geometries",
]

HELIO_STEPS = ((-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1))
"""Steps (x to the right, y up) of the digits 0 to 7 in HELIO's catalogues: 0 is left, then anticlockwise."""
FREEMAN_STEPS = HELIO_STEPS[4:] + HELIO_STEPS[:4]
"""0 is right, then anticlockwise."""
HFC_COLUMN_NAMES = {
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
"""What HFC and its like call the columns of a chain code and of its image: the first that is there.

``CRPIX`` counts from 1.
"""


def parse_step_table(text: str) -> tuple[tuple[int, int], ...] | None:
    """Read a table of steps.

    Parameters
    ----------
    text
        ``helio``, ``freeman``, or the steps of the digits from 0 on, x to the right and y up: ``1,0 1,-1 0,-1 -1,-1
        -1,0 -1,1 0,1 1,1``.

    Returns
    -------
    table
        None: that is none.
    """
    if text in {"helio", "freeman"}:
        return HELIO_STEPS if text == "helio" else FREEMAN_STEPS
    parsed_steps = tuple(_STEPS_BY_TEXT.get(word) for word in text.split())
    table = tuple(step for step in parsed_steps if step is not None)
    if len(set(table)) == len(parsed_steps) == len(HELIO_STEPS):
        return table
    return None


_STEPS_BY_TEXT = {f"{x},{y}": (x, y) for x, y in HELIO_STEPS}


def build_regions_from_chain_codes(
    codes: pa.Array | npt.ArrayLike,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    image_geometry: DiscImage | CylindricalMap,
    *,
    step_table: tuple[tuple[int, int], ...] = HELIO_STEPS,
    origin: int = 0,
    arcsec: bool = False,
    recorder: FaultRecorder | None = None,
) -> ContourRegions:
    """Make regions of chain codes.

    Parameters
    ----------
    codes
        Digits from 0 to 7, a text for each row, shape (n,), or one text; an empty one is a single pixel, a null is a
        fault.
    x, y
        The first pixel; shape (n,).
    image_geometry
        The images, one for each row, or one for all.
    step_table
        The step (x, y) of each digit.
    origin
        How `x` and `y` number an image's first pixel.
    arcsec
        `x` and `y` are arcseconds from the centre of the disc instead.
    recorder
        Rows that are known to have faults already.

    Returns
    -------
    contours
        A region or a fault for each row.
    """
    if isinstance(codes, str):
        codes = [codes]
    if isinstance(codes, pa.Array):
        texts = codes
    else:
        texts = pa.array(codes, from_pandas=True)
    texts = texts.cast(pa.large_string())
    rows = len(texts)
    _, places, data = texts.buffers()
    offsets = np.frombuffer(places, np.int64, rows + 1, texts.offset * 8)
    digits = np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]] - np.uint8(48)
    offsets, count = offsets - offsets[0], np.diff(offsets)
    recorder = recorder or FaultRecorder(rows)
    recorder.mark_rows("no_contour", np.asarray(texts.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_))
    wrong = np.flatnonzero(digits > 7)
    at, first = np.unique(np.searchsorted(offsets, wrong, "right") - 1, return_index=True)
    letter = np.zeros(rows, dtype=np.int64)
    letter[at] = wrong[first] - offsets[at] + 1
    recorder.mark_rows("letter", letter > 0, letter)
    if arcsec and isinstance(image_geometry, DiscImage):
        x, y = (
            a + np.divide(b, c)
            for a, b, c in (
                (image_geometry.x, x, image_geometry.scale_x),
                (image_geometry.y, y, image_geometry.scale_y),
            )
        )
        origin = 0
    start = [np.atleast_1d(np.asarray(values, dtype=np.float64)) - origin for values in (x, y)]
    recorder.mark_rows("no_start", ~(np.abs(start[0]) < 2.0**40) | ~(np.abs(start[1]) < 2.0**40))
    steps = np.array(step_table, dtype=np.int64).T.copy()

    def trace_pixels(row_indexes: Whole) -> tuple[Whole, Whole, Whole]:
        # the pixel before each step, and the last one
        size = count[row_indexes] + 1
        row = np.repeat(np.arange(len(row_indexes)), size)
        first = np.cumsum(size) - size
        stepped = np.ones(len(row), dtype=np.bool_)
        stepped[first] = False
        is_contiguous = row_indexes[-1] - row_indexes[0] + 1 == len(row_indexes)
        if is_contiguous:
            digit = digits[offsets[row_indexes[0]] : offsets[row_indexes[-1] + 1]]
        else:
            digit = digits[gather_rows(offsets, row_indexes)[0]]
        coordinates = []
        for axis in (0, 1):
            move = np.zeros(len(row), dtype=np.int64)
            move[stepped] = steps[axis].take(digit)
            # from the end of one walk to the beginning of the next
            begin = np.rint(start[axis][row_indexes]).astype(np.int64)
            end = begin + np.add.reduceat(move, first)
            move[first] = begin - np.append(0, end[:-1])
            coordinates.append(np.cumsum(move))
        return row, coordinates[0], coordinates[1]

    return build_regions_from_walks(trace_pixels, count, image_geometry, recorder)


def build_regions_from_pixel_lists(
    offsets: npt.ArrayLike,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    image_geometry: DiscImage | CylindricalMap,
    *,
    origin: int = 0,
    recorder: FaultRecorder | None = None,
) -> ContourRegions:
    """Make regions of contours that are lists of pixels; between two of them, the contour goes straight.

    Parameters
    ----------
    offsets
        Where in `x` and `y` each contour begins, and the end; shape (n + 1,). The first pixel may be repeated at the
        end.
    x, y
        Pixels, shape (m,).
    image_geometry, origin, recorder
        As in `build_regions_from_chain_codes`.

    Returns
    -------
    contours
        A region or a fault for each row.
    """
    offsets = np.asarray(offsets, dtype=np.int64)
    rows = len(offsets) - 1
    length = np.diff(offsets)
    recorder = recorder or FaultRecorder(rows)
    recorder.mark_rows("no_contour", length == 0)
    coordinates = np.stack([np.asarray(values, dtype=np.float64) - origin for values in (x, y)])
    is_valid = (np.abs(coordinates) < 2.0**40).all(axis=0)
    recorder.mark_rows("no_start", np.bincount(compute_row_indexes(offsets), weights=~is_valid, minlength=rows) > 0)
    pixel = np.rint(np.where(is_valid, coordinates, 0.0)).astype(np.int64)
    move = pixel[:, compute_successors(offsets)] - pixel
    if isinstance(image_geometry, CylindricalMap):
        move[0], pixel[0] = unwrap_contours(offsets, pixel[0], move, take_images(image_geometry, np.arange(rows)))
    pace = np.maximum(np.abs(move).max(axis=0, initial=0), 1)
    size = np.diff(compute_offsets(pace)[offsets])

    def trace_pixels(row_indexes: Whole) -> tuple[Whole, Whole, Whole]:
        corner, _ = gather_rows(offsets, row_indexes)
        segment, step = compute_element_numbers(pace[corner])
        at = corner[segment]
        positions = pixel[:, at] + np.rint(move[:, at] * (step / pace[at])).astype(np.int64)
        return np.repeat(np.arange(len(row_indexes)), size[row_indexes]), positions[0], positions[1]

    return build_regions_from_walks(trace_pixels, size, image_geometry, recorder)


def build_regions_from_labels(
    image: npt.NDArray[np.integer], labels: npt.ArrayLike, image_geometry: DiscImage | CylindricalMap
) -> ContourRegions:
    """Make regions of the labels of an image.

    Parameters
    ----------
    image
        Labels, shape (height, width); y goes up.
    labels
        The labels asked for, each once, shape (n,).
    image_geometry
        The image, as one row.

    Returns
    -------
    contours
        A region for each label; what is nowhere in the image is a fault.
    """
    image = np.asarray(image)
    label_values = np.atleast_1d(labels)
    check = FaultRecorder(len(label_values))
    runs = find_label_pixels(image, label_values)
    pixel_count = runs.count_pixels(len(label_values))
    check.mark_rows("no_contour", pixel_count == 0)
    origin = np.full(len(label_values), -1)
    return build_regions_from_runs(runs, image_geometry, check, origin, origin)


def build_regions_from_pixel_boxes(
    x0: npt.ArrayLike,
    y0: npt.ArrayLike,
    x1: npt.ArrayLike,
    y1: npt.ArrayLike,
    image_geometry: DiscImage | CylindricalMap,
    *,
    origin: int = 0,
    recorder: FaultRecorder | None = None,
) -> ContourRegions:
    """Make regions of boxes of pixels.

    Parameters
    ----------
    x0, y0, x1, y1
        First and last pixel of each, in any order of the corners; shape (n,).
    image_geometry, origin, recorder
        As in `build_regions_from_chain_codes`.

    Returns
    -------
    contours
        A region or a fault for each row.
    """
    corners = np.stack([np.atleast_1d(np.asarray(values, dtype=np.float64)) - origin for values in (x0, y0, x1, y1)])
    recorder = recorder or FaultRecorder(corners.shape[1])
    is_valid = (np.abs(corners) < 2.0**40).all(axis=0)
    recorder.mark_rows("no_start", ~is_valid)
    pixel = np.rint(np.where(is_valid, corners, 0.0)).astype(np.int64).reshape(2, 2, -1)
    low = pixel.min(axis=0)
    size = np.ptp(pixel, axis=0) + 1
    wide = size.max(axis=0)
    recorder.mark_rows("too_long", wide >= MAX_CONTOUR_PIXELS, wide)
    size = np.where(recorder.fault > 0, 0, size)
    ones_column = np.ones_like(low[0])
    return build_regions_from_runs(
        fill_boxes(ones_column, ones_column, size[0], size[1]), image_geometry, recorder, low[0] - 1, low[1] - 1
    )
