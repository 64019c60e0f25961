"""Resample spectra whose channels change with time to one axis, and find where the channels change."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[Any]

MAX_CHANNELS = 4096
CENTER_TOLERANCE = 1e-6  # relative: the means of equal channels differ in their last digits
LOGARITHMIC_RANGE_FACTOR = 30  # if the highest center is this many times the lowest, the axis is logarithmic


def resample_spectra(
    values: Numbers, centers: Numbers, max_rows: int, *, use_peaks: bool, scale_type: str | None = None
) -> tuple[Numbers, tuple[float, float, bool] | None, list[int]]:
    """Resample spectra with different channels to the rows of one axis.

    Parameters
    ----------
    values
        Shape (bins, channels).
    centers
        Centers of the channels, of the same shape; NaN: there is no such channel.
    max_rows
        Maximum number of rows.
    use_peaks
        Whether a row of several channels has their maximum instead of their mean.
    scale_type
        ``linear`` or ``log``: the scale of the axis; None: logarithmic if the range of the channels is wide.

    Returns
    -------
    picture
        Shape (rows, bins); NaN where there is no channel.
    axis
        Begin and end of the axis, and whether it is logarithmic; None if no channel is known.
    changes
        Indexes of the bins where the channels change.
    """
    has_centers = np.isfinite(centers).any(axis=1)
    bin_indexes = np.flatnonzero(has_centers)
    if not len(bin_indexes):
        empty_picture = np.full((1, len(values)), np.nan)
        return empty_picture, None, []
    changes = _find_channel_changes(centers, bin_indexes)
    is_logarithmic = _is_logarithmic_axis(centers, scale_type)
    runs = []
    for first, last in pairwise([bin_indexes[0], *changes, len(values)]):
        is_in_run = (bin_indexes >= first) & (bin_indexes < last)
        runs.append(bin_indexes[is_in_run])
    edges = [_compute_channel_edges(centers[run[0]], is_logarithmic=is_logarithmic) for run in runs]
    low = min(run_edges[0] for run_edges, _ in edges)
    high = max(run_edges[-1] for run_edges, _ in edges)
    needed_rows = max(len(order) for _, order in edges)
    if len(edges) > 1:
        needed_rows *= 4
    row_count = min(max_rows, needed_rows)
    axis = np.linspace(low, high, row_count + 1)
    picture = np.full((row_count, len(values)), np.nan)
    for run, (run_edges, order) in zip(runs, edges, strict=True):
        ordered_values = values[run][:, order]
        picture[:, run] = _resample_to_axis(ordered_values, run_edges, axis, use_peaks=use_peaks).T
    if is_logarithmic:
        low, high = (np.exp(low), np.exp(high))
    return picture, (float(low), float(high), is_logarithmic), changes


def _find_channel_changes(centers: Numbers, bin_indexes: npt.NDArray[np.int64]) -> list[int]:
    """Find the bins whose channels differ from those of the bin before."""
    changes = []
    for before, after in pairwise(bin_indexes):
        is_same = np.allclose(centers[before], centers[after], rtol=CENTER_TOLERANCE, atol=0, equal_nan=True)
        if not is_same:
            changes.append(int(after))
    return changes


def _is_logarithmic_axis(centers: Numbers, scale_type: str | None) -> bool:
    """Return whether an axis has the stated scale, or a wide range; one with a center at 0 or below is linear."""
    lowest = float(np.nanmin(centers))
    highest = float(np.nanmax(centers))
    if scale_type:
        is_wanted = scale_type == "log"
    else:
        is_wanted = highest > LOGARITHMIC_RANGE_FACTOR * lowest
    return lowest > 0 and is_wanted


def _compute_channel_edges(centers: Numbers, *, is_logarithmic: bool) -> tuple[Numbers, Numbers]:
    """Compute the rising edges of channels, half way between their centers, and the order of the channels."""
    channel_count = int(np.isfinite(centers).sum())
    order = np.argsort(centers, kind="stable")[:channel_count]
    positions = centers[order].astype(np.float64)
    if is_logarithmic:
        positions = np.log(centers[order])
    half_gaps = np.diff(positions) / 2
    first_half, last_half = (0.5, 0.5)
    if len(half_gaps):
        first_half, last_half = (half_gaps[0], half_gaps[-1])
    first_edge = positions[0] - first_half
    last_edge = positions[-1] + last_half
    inner_edges = positions[:-1] + half_gaps
    return np.concatenate([[first_edge], inner_edges, [last_edge]]), order


def _resample_to_axis(values: Numbers, edges: Numbers, axis: Numbers, *, use_peaks: bool) -> Numbers:
    """Give each row the channels that lie in it, or the one channel in which it lies."""
    channel_centers = (edges[:-1] + edges[1:]) / 2
    channel_bounds = np.searchsorted(channel_centers, axis)
    row_centers = (axis[:-1] + axis[1:]) / 2
    containing_channels = np.searchsorted(edges, row_centers, side="right") - 1
    row_count = len(axis) - 1
    resampled = np.full((len(values), row_count), np.nan)
    for row, (first, last) in enumerate(pairwise(channel_bounds)):
        channel = containing_channels[row]
        if last - first > 1:
            part = values[:, first:last]
            is_finite = np.isfinite(part)
            with np.errstate(invalid="ignore", divide="ignore"):
                if use_peaks:
                    resampled[:, row] = np.fmax.reduce(part, axis=1)
                else:
                    sums = np.where(is_finite, part, 0).sum(1)
                    resampled[:, row] = sums / is_finite.sum(1)
        elif 0 <= channel < values.shape[1]:
            resampled[:, row] = values[:, channel]
    return resampled
