"""Masks: the labels of images in FITS files, made regions once for all the rows that ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import contours

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_IMAGE_BYTES = 512 << 20  # bytes of one image
MAX_LABELS = 100_000  # labels of one image; more of them are no labels


@dataclass(frozen=True, slots=True)
class MaskLabels:
    """The labels of one image.

    Attributes
    ----------
    label_values
        Ascending, shape (n,).
    label_regions
        Of each, and behind them why there is none of any other; shape (n + 1,).
    """

    label_values: npt.NDArray[np.int64]
    label_regions: contours.ContourRegions

    def select_regions(self, label_numbers: Any) -> contours.ContourRegions:
        """Give the regions of some labels.

        Parameters
        ----------
        label_numbers
            Values, shape (m,).

        Returns
        -------
        contours
            A region or a fault for each.
        """
        count = len(self.label_values)
        label_places = np.searchsorted(self.label_values, label_numbers)
        is_known = (label_places < count) & (np.append(self.label_values, 0)[label_places] == label_numbers)
        return self.label_regions.take(np.where(is_known, label_places, count))


def load_labels(directory: str, path: str, image_geometry: Any, grid_numbers: tuple[float, ...]) -> MaskLabels:
    """Read the labels of an image.

    Parameters
    ----------
    directory, path
        Where it is.
    image_geometry
        Where in it what is; None: by the cards of its header.
    grid_numbers
        The numbers of the grid.

    Returns
    -------
    labels
        What cannot be read has a fault, and no label.
    """
    try:
        full_path = Path(directory) / path
        file_status = full_path.stat()
        return _read_labels(
            str(full_path), (file_status.st_mtime_ns, file_status.st_size), _ImageKey(grid_numbers, image_geometry)
        )
    except (OSError, ValueError):  # no such file, or no name of one
        return _build_faulty_labels("no_file")


@dataclass(frozen=True, slots=True)
class _ImageKey:
    """A grid that equals another one of the same numbers."""

    numbers: tuple[float, ...]
    grid: Any

    def __hash__(self) -> int:
        return hash(self.numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ImageKey) and str(self.numbers) == str(other.numbers)


@lru_cache(maxsize=8)
# tells the states of a file apart
def _read_labels(path: str, file_state: tuple[int, int], image_key: _ImageKey) -> MaskLabels:  # noqa: ARG001
    from astropy.io import fits  # noqa: PLC0415  (a quarter of a second to load, asked by few)

    try:
        with fits.open(path, memmap=False, lazy_load_hdus=True, ignore_missing_simple=False) as file:
            for hdu in file:
                if not hdu.is_image or len(hdu.shape) != 2:
                    continue
                size = abs(hdu.header["BITPIX"]) // 8 * hdu.shape[0] * hdu.shape[1]
                if size > MAX_IMAGE_BYTES:
                    return _build_faulty_labels("too_large", size)
                pixels = np.asarray(hdu.data)
                grid = image_key.grid or contours.build_disc_image(hdu.header)
                break
            else:
                return _build_faulty_labels("no_labels")
    except Exception:  # noqa: BLE001  (whatever a file makes a reader stumble over)
        return _build_faulty_labels("no_labels")
    if pixels.dtype.kind in "iub":
        integer_pixels = pixels.astype(np.int64)
    else:
        integer_pixels = np.nan_to_num(pixels).astype(np.int64)
    values = np.unique(integer_pixels[integer_pixels != 0])  # of few pixels, mostly
    if len(values) > MAX_LABELS or (pixels.dtype.kind == "f" and (integer_pixels != np.nan_to_num(pixels)).any()):
        return _build_faulty_labels("no_labels")
    empty_labels = _build_faulty_labels("no_label")
    if not len(values):
        return empty_labels
    return MaskLabels(
        values,
        contours.ContourRegions.concat(
            [contours.build_regions_from_labels(integer_pixels, values, grid), empty_labels.label_regions]
        ),
    )


def _build_faulty_labels(fault_name: str, fault_number: int = 0) -> MaskLabels:
    """Make labels of an image that has none, for a reason."""
    recorder = contours.FaultRecorder(1)
    recorder.mark_rows(fault_name, np.ones(1, np.bool_), fault_number)
    return MaskLabels(np.empty(0, np.int64), contours.build_empty_regions(recorder))
