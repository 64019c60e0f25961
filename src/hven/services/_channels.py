"""Spectra whose channels change with time, on one axis.

Each bin's values stand where its channels are, and where they change is told.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[Any]

MAX_CHANNELS = 4096  # channels
CENTER_TOLERANCE = 1e-6  # of a center: means of one list of channels differ in their last digits
LOGARITHMIC_RANGE_FACTOR = 30  # times the lowest center is the highest: then rows are even in their logarithms


def resample_spectra(
    values: Numbers, centers: Numbers, max_rows: int, *, use_peaks: bool
) -> tuple[Numbers, tuple[float, float, bool] | None, list[int]]:
    """Put spectra of several lists of channels on rows of one axis.

    Parameters
    ----------
    values
        Shape (bins, channels).
    centers
        Of the channels, of the same shape; NaN: there is no such channel.
    max_rows
        Of the axis, at most.
    use_peaks
        Whether a row of several channels has the highest of them, and not their mean.

    Returns
    -------
    picture
        Shape (rows, bins); NaN where no channel is.
    axis
        Where it begins and ends, and whether it is logarithmic; None: no channel is known.
    changes
        Numbers of the bins from which on the channels are others.
    """
    has_centers = np.isfinite(centers).any(axis=1)
    bin_numbers = np.flatnonzero(has_centers)
    is_changed = [
        not np.allclose(centers[a], centers[b], rtol=CENTER_TOLERANCE, atol=0, equal_nan=True)
        for a, b in pairwise(bin_numbers)
    ]
    changes = [int(place) for place, changed in zip(bin_numbers[1:], is_changed, strict=True) if changed]
    if not len(bin_numbers):
        return np.full((1, len(values)), np.nan), None, []
    low = float(np.nanmin(centers))
    high = float(np.nanmax(centers))
    log = low > 0 and high > LOGARITHMIC_RANGE_FACTOR * low
    runs = [
        bin_numbers[(bin_numbers >= first) & (bin_numbers < last)]
        for first, last in pairwise([bin_numbers[0], *changes, len(values)])
    ]
    edges = [_compute_channel_edges(centers[run[0]], is_logarithmic=log) for run in runs]
    low = min(edge[0] for edge, _ in edges)
    high = max(edge[-1] for edge, _ in edges)
    max_rows = min(max_rows, max(len(order) for _, order in edges) * (1 if len(edges) == 1 else 4))
    axis = np.linspace(low, high, max_rows + 1)
    picture = np.full((max_rows, len(values)), np.nan)
    for run, (run_edges, order) in zip(runs, edges, strict=True):
        picture[:, run] = _resample_run(values[run][:, order], run_edges, axis, use_peaks=use_peaks).T
    first, last = (float(np.exp(edge) if log else edge) for edge in (low, high))
    return picture, (first, last, log), changes


def _compute_channel_edges(centers: Numbers, *, is_logarithmic: bool) -> tuple[Numbers, Numbers]:
    """Find the edges of channels, rising, half way between centers, and the order of the channels."""
    order = np.argsort(centers, kind="stable")[: int(np.isfinite(centers).sum())]
    if is_logarithmic:
        at = np.log(centers[order])
    else:
        at = centers[order].astype(np.float64)
    half = np.diff(at) / 2
    if len(half):
        ends = (half[0], half[-1])
    else:
        ends = (0.5, 0.5)
    return np.concatenate([[at[0] - ends[0]], at[:-1] + half, [at[-1] + ends[1]]]), order


def _resample_run(values: Numbers, edges: Numbers, axis: Numbers, *, use_peaks: bool) -> Numbers:
    """Give each row the channels that lie in it, or the one that it lies in."""
    bounds = np.searchsorted((edges[:-1] + edges[1:]) / 2, axis)
    resampled = np.full((len(values), len(axis) - 1), np.nan)
    middle = (axis[:-1] + axis[1:]) / 2
    within = np.searchsorted(edges, middle, side="right") - 1
    for row, (first, last) in enumerate(pairwise(bounds)):
        if last - first > 1:
            part = values[:, first:last]
            is_finite = np.isfinite(part)
            with np.errstate(invalid="ignore", divide="ignore"):
                if use_peaks:
                    resampled[:, row] = np.fmax.reduce(part, axis=1)
                else:
                    resampled[:, row] = np.where(is_finite, part, 0).sum(1) / is_finite.sum(1)
        elif 0 <= within[row] < values.shape[1]:
            resampled[:, row] = values[:, within[row]]
    return resampled


__all__ = ["resample_spectra"]
