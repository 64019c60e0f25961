"""Spectra whose channels change with time, on one axis: each bin's values stand where its channels are, and where they change is told."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[Any]

MOST = 4096  # channels
SAME = 1e-6  # of a center: means of one list of channels differ in their last digits
WIDE = 30  # times the lowest center is the highest: then rows are even in their logarithms


def placed(
    values: Numbers, centers: Numbers, rows: int, *, peak: bool
) -> tuple[Numbers, tuple[float, float, bool] | None, list[int]]:
    """Put spectra of several lists of channels on rows of one axis.

    Parameters
    ----------
    values
        Shape (bins, channels).
    centers
        Of the channels, of the same shape; NaN: there is no such channel.
    rows
        Of the axis, at most.
    peak
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
    there = np.isfinite(centers).any(axis=1)
    shown = np.flatnonzero(there)
    others = [not np.allclose(centers[a], centers[b], rtol=SAME, atol=0, equal_nan=True) for a, b in pairwise(shown)]
    changes = [int(place) for place, other in zip(shown[1:], others, strict=True) if other]
    if not len(shown):
        return np.full((1, len(values)), np.nan), None, []
    low, high = float(np.nanmin(centers)), float(np.nanmax(centers))
    log = low > 0 and high > WIDE * low
    runs = [shown[(shown >= first) & (shown < last)] for first, last in pairwise([shown[0], *changes, len(values)])]
    edges = [_edges(centers[run[0]], log=log) for run in runs]
    low, high = min(one[0] for one, _ in edges), max(one[-1] for one, _ in edges)
    rows = min(rows, max(len(order) for _, order in edges) * (1 if len(edges) == 1 else 4))
    axis = np.linspace(low, high, rows + 1)
    picture = np.full((rows, len(values)), np.nan)
    for run, (own, order) in zip(runs, edges, strict=True):
        picture[:, run] = _spread(values[run][:, order], own, axis, peak=peak).T
    first, last = (float(np.exp(one) if log else one) for one in (low, high))
    return picture, (first, last, log), changes


def _edges(centers: Numbers, *, log: bool) -> tuple[Numbers, Numbers]:
    """Find the edges of channels, rising, half way between centers, and the order of the channels."""
    order = np.argsort(centers, kind="stable")[: int(np.isfinite(centers).sum())]
    at = np.log(centers[order]) if log else centers[order].astype(np.float64)
    half = np.diff(at) / 2
    ends = (half[0], half[-1]) if len(half) else (0.5, 0.5)
    return np.concatenate([[at[0] - ends[0]], at[:-1] + half, [at[-1] + ends[1]]]), order


def _spread(values: Numbers, edges: Numbers, axis: Numbers, *, peak: bool) -> Numbers:
    """Give each row the channels that lie in it, or the one that it lies in."""
    bounds = np.searchsorted((edges[:-1] + edges[1:]) / 2, axis)
    found = np.full((len(values), len(axis) - 1), np.nan)
    middle = (axis[:-1] + axis[1:]) / 2
    within = np.searchsorted(edges, middle, side="right") - 1
    for row, (first, last) in enumerate(pairwise(bounds)):
        if last - first > 1:
            part = values[:, first:last]
            some = np.isfinite(part)
            with np.errstate(invalid="ignore", divide="ignore"):
                found[:, row] = np.fmax.reduce(part, axis=1) if peak else np.where(some, part, 0).sum(1) / some.sum(1)
        elif 0 <= within[row] < values.shape[1]:
            found[:, row] = values[:, within[row]]
    return found


__all__ = ["placed"]
