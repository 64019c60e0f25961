"""Turn chain codes, lists of pixels, masks and boxes of images into regions on the sphere, and report faults.

The region of a contour is the union of the squares of its pixels: those on the contour and those inside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.model.sky.api.ragged_arrays import (
    compute_element_numbers,
    compute_offsets,
    compute_row_indexes,
    compute_successor_indexes,
    gather_element_indexes,
)
from hven.plugins.image_regions import sun
from hven.plugins.image_regions.chain_features import write_chain_codes_as_tfcat
from hven.plugins.image_regions.chain_steps import (
    FREEMAN_STEPS,
    HELIO_STEPS,
    parse_chain_step_table,
    view_chain_digits,
)
from hven.plugins.image_regions.contour_regions import (
    MAX_CONTOUR_PIXELS,
    REGION_QUALITIES,
    ContourFault,
    ContourFaultRecorder,
    ContourRegions,
)
from hven.plugins.image_regions.cylindrical_map import CylindricalMap
from hven.plugins.image_regions.direction_contours import build_regions_from_arcsecond_outlines
from hven.plugins.image_regions.disc_image import DiscImage, select_images
from hven.plugins.image_regions.geojson_contours import build_regions_from_geojson
from hven.plugins.image_regions.map_wraparound import unwrap_contours
from hven.plugins.image_regions.pixel_runs import fill_pixel_boxes, find_label_pixels
from hven.plugins.image_regions.pixel_walks import (
    build_contours_without_regions,
    build_regions_from_runs,
    build_regions_from_walks,
)
from hven.plugins.image_regions.solar_headers import build_solar_disc_image, find_observation_date

if TYPE_CHECKING:
    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]

__all__ = [
    "FREEMAN_STEPS",
    "HELIO_STEPS",
    "REGION_QUALITIES",
    "ContourFault",
    "ContourFaultRecorder",
    "ContourRegions",
    "CylindricalMap",
    "DiscImage",
    "build_contours_without_regions",
    "build_image_geometry",
    "build_regions_from_arcsecond_outlines",
    "build_regions_from_chain_codes",
    "build_regions_from_geojson",
    "build_regions_from_labels",
    "build_regions_from_pixel_boxes",
    "build_regions_from_pixel_lists",
    "build_solar_disc_image",
    "find_observation_date",
    "parse_chain_step_table",
    "sun",
    "write_chain_codes_as_tfcat",
]

_MAX_COORDINATE = 2.0**40  # pixels; a contour that begins farther away, or at NaN, is a fault


def build_image_geometry(image_numbers: npt.NDArray[np.float64]) -> DiscImage | CylindricalMap:
    """Make images of the numbers that DISC or CHART of a descriptor gives.

    Parameters
    ----------
    image_numbers
        Shape (n, 8) for discs, (n, 7) for maps. The last number of all maps is 0, or it is that of none.

    Returns
    -------
    images
        n images.
    """
    columns = image_numbers.T
    if len(columns) == 8:
        return DiscImage(*columns)
    x, y, step_x, step_y, lon, lat, equal = columns
    return CylindricalMap(x, y, step_x, step_y, lon, lat, bool(equal.any()))


def build_regions_from_chain_codes(
    codes: pa.Array | npt.ArrayLike,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    image_geometry: DiscImage | CylindricalMap,
    *,
    step_table: tuple[tuple[int, int], ...] = HELIO_STEPS,
    origin: int = 0,
    arcsec: bool = False,
    recorder: ContourFaultRecorder | None = None,
) -> ContourRegions:
    """Make regions of chain codes.

    Parameters
    ----------
    codes
        Digits from 0 to 7, a text for each row, shape (n,), or one text. An empty text is a single pixel, a null is a
        fault.
    x, y
        The first pixel; shape (n,).
    image_geometry
        The images, one for each row, or one for all.
    step_table
        The step (x, y) of each digit.
    origin
        The number that `x` and `y` give an image's first pixel.
    arcsec
        Whether `x` and `y` are arcseconds from the centre of the disc instead.
    recorder
        Records the faults; rows that already have a fault keep it.

    Returns
    -------
    contours
        A region or a fault for each row.
    """
    texts = _to_text_array(codes)
    rows = len(texts)
    digits, offsets = view_chain_digits(texts)
    count = np.diff(offsets)
    recorder = recorder or ContourFaultRecorder(rows)
    is_null = texts.is_null().to_numpy(zero_copy_only=False)
    recorder.mark_faulty_rows("no_contour", np.asarray(is_null, dtype=np.bool_))
    letter = _find_wrong_letters(digits, offsets)
    recorder.mark_faulty_rows("letter", letter > 0, letter)
    if arcsec and isinstance(image_geometry, DiscImage):
        x = image_geometry.x + np.divide(x, image_geometry.scale_x)
        y = image_geometry.y + np.divide(y, image_geometry.scale_y)
        origin = 0
    start = [_to_float_array(values) - origin for values in (x, y)]
    has_start = (np.abs(start[0]) < _MAX_COORDINATE) & (np.abs(start[1]) < _MAX_COORDINATE)
    recorder.mark_faulty_rows("no_start", ~has_start)
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
            first_digit = offsets[row_indexes[0]]
            last_digit = offsets[row_indexes[-1] + 1]
            digit = digits[first_digit:last_digit]
        else:
            positions = gather_element_indexes(offsets, row_indexes)[0]
            digit = digits[positions]
        coordinates = []
        for axis in (0, 1):
            move = np.zeros(len(row), dtype=np.int64)
            move[stepped] = steps[axis].take(digit)
            # from the end of one walk to the beginning of the next
            rounded_start = np.rint(start[axis][row_indexes])
            begin = rounded_start.astype(np.int64)
            end = begin + np.add.reduceat(move, first)
            move[first] = begin - np.append(0, end[:-1])
            coordinates.append(np.cumsum(move))
        return row, coordinates[0], coordinates[1]

    return build_regions_from_walks(trace_pixels, count, image_geometry, recorder)


def _to_text_array(codes: pa.Array | npt.ArrayLike) -> pa.Array:
    if isinstance(codes, str):
        codes = [codes]
    if isinstance(codes, pa.Array):
        texts = codes
    else:
        texts = pa.array(codes, from_pandas=True)
    return texts.cast(pa.large_string())


def _find_wrong_letters(digits: npt.NDArray[np.uint8], offsets: Whole) -> Whole:
    """Return the place of the first wrong letter of each text, from 1; 0 if there is none."""
    wrong = np.flatnonzero(digits > 7)
    row_of_wrong = np.searchsorted(offsets, wrong, "right") - 1
    rows, first = np.unique(row_of_wrong, return_index=True)
    places = np.zeros(len(offsets) - 1, dtype=np.int64)
    places[rows] = wrong[first] - offsets[rows] + 1
    return places


def build_regions_from_pixel_lists(
    offsets: npt.ArrayLike,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    image_geometry: DiscImage | CylindricalMap,
    *,
    origin: int = 0,
    recorder: ContourFaultRecorder | None = None,
) -> ContourRegions:
    """Make regions of contours that are lists of pixels, with straight lines between them.

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
    recorder = recorder or ContourFaultRecorder(rows)
    recorder.mark_faulty_rows("no_contour", length == 0)
    positions = [np.asarray(values, dtype=np.float64) - origin for values in (x, y)]
    coordinates = np.stack(positions)
    is_valid = (np.abs(coordinates) < _MAX_COORDINATE).all(axis=0)
    invalid_counts = np.bincount(compute_row_indexes(offsets), weights=~is_valid, minlength=rows)
    recorder.mark_faulty_rows("no_start", invalid_counts > 0)
    valid_coordinates = np.where(is_valid, coordinates, 0.0)
    pixel = np.rint(valid_coordinates).astype(np.int64)
    move = pixel[:, compute_successor_indexes(offsets)] - pixel
    if isinstance(image_geometry, CylindricalMap):
        images = select_images(image_geometry, np.arange(rows))
        move[0], pixel[0] = unwrap_contours(offsets, pixel[0], move, images)
    move_length = np.abs(move).max(axis=0, initial=0)
    pace = np.maximum(move_length, 1)
    step_offsets = compute_offsets(pace)
    size = np.diff(step_offsets[offsets])

    def trace_pixels(row_indexes: Whole) -> tuple[Whole, Whole, Whole]:
        corner, _ = gather_element_indexes(offsets, row_indexes)
        segment, step = compute_element_numbers(pace[corner])
        at = corner[segment]
        share = step / pace[at]
        positions = pixel[:, at] + np.rint(move[:, at] * share).astype(np.int64)
        row = np.repeat(np.arange(len(row_indexes)), size[row_indexes])
        return row, positions[0], positions[1]

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
        The requested labels, each once, shape (n,).
    image_geometry
        The image, as a single row.

    Returns
    -------
    contours
        A region for each label; a label that is nowhere in the image is a fault.
    """
    image = np.asarray(image)
    label_values = np.atleast_1d(labels)
    check = ContourFaultRecorder(len(label_values))
    runs = find_label_pixels(image, label_values)
    pixel_count = runs.count_pixels(len(label_values))
    check.mark_faulty_rows("no_contour", pixel_count == 0)
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
    recorder: ContourFaultRecorder | None = None,
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
    corners = np.stack([_to_float_array(values) - origin for values in (x0, y0, x1, y1)])
    recorder = recorder or ContourFaultRecorder(corners.shape[1])
    is_valid = (np.abs(corners) < _MAX_COORDINATE).all(axis=0)
    recorder.mark_faulty_rows("no_start", ~is_valid)
    valid_corners = np.where(is_valid, corners, 0.0)
    pixel = np.rint(valid_corners).astype(np.int64).reshape(2, 2, -1)
    low = pixel.min(axis=0)
    size = np.ptp(pixel, axis=0) + 1
    wide = size.max(axis=0)
    recorder.mark_faulty_rows("too_long", wide >= MAX_CONTOUR_PIXELS, wide)
    size = np.where(recorder.fault > 0, 0, size)
    ones_column = np.ones_like(low[0])
    runs = fill_pixel_boxes(ones_column, ones_column, size[0], size[1])
    return build_regions_from_runs(runs, image_geometry, recorder, low[0] - 1, low[1] - 1)


def _to_float_array(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.atleast_1d(np.asarray(values, dtype=np.float64))
