"""Masks: labels of images in FITS files, converted to regions once for all rows that refer to them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.plugins.image_regions import contours

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

MAX_IMAGE_BYTES = 512 << 20  # maximum size of one image
MAX_LABELS = 100_000  # an image with more distinct values is no image of labels


@dataclass(frozen=True, slots=True)
class MaskLabels:
    """The labels of one image.

    Attributes
    ----------
    label_values
        Values of the labels, ascending; shape (n,).
    label_regions
        Region of each label, and last the fault of all other values; shape (n + 1,).
    """

    label_values: npt.NDArray[np.int64]
    label_regions: contours.ContourRegions

    def select_regions(self, label_numbers: Any) -> contours.ContourRegions:
        """Return the regions of some labels.

        Parameters
        ----------
        label_numbers
            Values of labels, shape (m,).

        Returns
        -------
        contours
            A region or a fault for each.
        """
        count = len(self.label_values)
        label_places = np.searchsorted(self.label_values, label_numbers)
        is_known = (label_places < count) & (np.append(self.label_values, 0)[label_places] == label_numbers)
        return self.label_regions.take(np.where(is_known, label_places, count))


def load_mask_labels(directory: str, path: str, image_numbers: Sequence[float]) -> MaskLabels:
    """Read the labels of an image.

    Parameters
    ----------
    directory, path
        Directory, and path of the file relative to it.
    image_numbers
        The numbers of the geometry of the image (`contours.build_image_geometry`); empty: the cards of its header
        describe it.

    Returns
    -------
    labels
        The labels. A file that cannot be read has a fault and no label.
    """
    try:
        full_path = Path(directory) / path
        file_status = full_path.stat()
        file_state = (file_status.st_mtime_ns, file_status.st_size)
        return _read_mask_labels(str(full_path), file_state, np.array(image_numbers, np.float64).tobytes())
    except (OSError, ValueError):  # no such file, or no valid path
        return _build_labels_of_faulty_image("no_file")


@lru_cache(maxsize=8)
def _read_mask_labels(
    path: str,
    file_state: tuple[int, int],  # noqa: ARG001  (a part of the cache key)
    image_bytes: bytes,  # numbers that are NaN would not be equal
) -> MaskLabels:
    from astropy.io import fits  # noqa: PLC0415  (importing it takes a quarter of a second, and few queries need it)

    try:
        with fits.open(path, memmap=False, lazy_load_hdus=True, ignore_missing_simple=False) as file:
            for hdu in file:
                if not hdu.is_image or len(hdu.shape) != 2:
                    continue
                size = abs(hdu.header["BITPIX"]) // 8 * hdu.shape[0] * hdu.shape[1]
                if size > MAX_IMAGE_BYTES:
                    return _build_labels_of_faulty_image("too_large", size)
                pixels = np.asarray(hdu.data)
                if image_bytes:
                    grid = contours.build_image_geometry(np.frombuffer(image_bytes)[None, :])
                else:
                    grid = contours.build_solar_disc_image(hdu.header)
                break
            else:
                return _build_labels_of_faulty_image("no_labels")
    except Exception:  # noqa: BLE001  (a damaged file may raise anything)
        return _build_labels_of_faulty_image("no_labels")
    if pixels.dtype.kind in "iub":
        integer_pixels = pixels.astype(np.int64)
    else:
        integer_pixels = np.nan_to_num(pixels).astype(np.int64)
    values = np.unique(integer_pixels[integer_pixels != 0])  # usually of few pixels
    has_fractions = pixels.dtype.kind == "f" and (integer_pixels != np.nan_to_num(pixels)).any()
    if len(values) > MAX_LABELS or has_fractions:
        return _build_labels_of_faulty_image("no_labels")
    empty_labels = _build_labels_of_faulty_image("no_label")
    if not len(values):
        return empty_labels
    label_regions = contours.build_regions_from_labels(integer_pixels, values, grid)
    all_regions = contours.ContourRegions.concat([label_regions, empty_labels.label_regions])
    return MaskLabels(values, all_regions)


def _build_labels_of_faulty_image(fault_name: str, fault_number: int = 0) -> MaskLabels:
    """Return the labels of an image that has none, with the fault."""
    recorder = contours.ContourFaultRecorder(1)
    recorder.mark_faulty_rows(fault_name, np.ones(1, np.bool_), fault_number)
    return MaskLabels(np.empty(0, np.int64), contours.build_contours_without_regions(recorder))
