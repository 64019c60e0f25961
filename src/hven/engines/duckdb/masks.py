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

BUDGET = 512 << 20  # bytes of one image
MOST = 100_000  # labels of one image; more of them are no labels


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one image.

    Attributes
    ----------
    values
        Ascending, shape (n,).
    regions
        Of each, and behind them why there is none of any other; shape (n + 1,).
    """

    values: npt.NDArray[np.int64]
    regions: contours.Contours

    def of(self, asked: Any) -> contours.Contours:
        """Give the regions of some labels.

        Parameters
        ----------
        asked
            Values, shape (m,).

        Returns
        -------
        contours
            A region or a fault for each.
        """
        count = len(self.values)
        at = np.searchsorted(self.values, asked)
        there = (at < count) & (np.append(self.values, 0)[at] == asked)
        return self.regions.take(np.where(there, at, count))


def labels(directory: str, path: str, grid: Any, image: tuple[float, ...]) -> Labels:
    """Read the labels of an image.

    Parameters
    ----------
    directory, path
        Where it is.
    grid
        Where in it what is; None: by the cards of its header.
    image
        The numbers of the grid.

    Returns
    -------
    labels
        What cannot be read has a fault, and no label.
    """
    try:
        whole = Path(directory) / path
        said = whole.stat()
        return _read(str(whole), (said.st_mtime_ns, said.st_size), _Image(image, grid))
    except (OSError, ValueError):  # no such file, or no name of one
        return _none("no_file")


@dataclass(frozen=True, slots=True)
class _Image:
    """A grid that equals another one of the same numbers."""

    numbers: tuple[float, ...]
    grid: Any

    def __hash__(self) -> int:
        return hash(self.numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Image) and str(self.numbers) == str(other.numbers)


@lru_cache(maxsize=8)
def _read(path: str, state: tuple[int, int], image: _Image) -> Labels:  # noqa: ARG001  (tells the states of a file apart)
    from astropy.io import fits  # noqa: PLC0415  (a quarter of a second to load, asked by few)

    try:
        with fits.open(path, memmap=False, lazy_load_hdus=True, ignore_missing_simple=False) as file:
            for hdu in file:
                if not hdu.is_image or len(hdu.shape) != 2:
                    continue
                size = abs(hdu.header["BITPIX"]) // 8 * hdu.shape[0] * hdu.shape[1]
                if size > BUDGET:
                    return _none("too_large", size)
                found, grid = np.asarray(hdu.data), image.grid or contours.disc(hdu.header)
                break
            else:
                return _none("no_labels")
    except Exception:  # noqa: BLE001  (whatever a file makes a reader stumble over)
        return _none("no_labels")
    whole = found.astype(np.int64) if found.dtype.kind in "iub" else np.nan_to_num(found).astype(np.int64)
    values = np.unique(whole[whole != 0])  # of few pixels, mostly
    if len(values) > MOST or (found.dtype.kind == "f" and (whole != np.nan_to_num(found)).any()):
        return _none("no_labels")
    none = _none("no_label")
    if not len(values):
        return none
    return Labels(values, contours.Contours.concat([contours.masks(whole, values, grid), none.regions]))


def _none(name: str, number: int = 0) -> Labels:
    """Make labels of an image that has none, for a reason."""
    check = contours.Check(1)
    check.mark(name, np.ones(1, np.bool_), number)
    return Labels(np.empty(0, np.int64), contours.faulty(check))
