"""Spectra whose channels change with time, on one axis: each bin's values stand where its channels are, and where they change is told."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[Any]

MOST = 4096  # channels
WIDE = 30  # times the lowest center is the highest: then rows are even in their logarithms


def placed(
    values: Numbers, centers: Numbers, rows: int, *, peak: bool
) -> tuple[Numbers, tuple[float, float, bool], list[int]]:
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
        Where it begins and ends, and whether it is logarithmic.
    changes
        Numbers of the bins from which on the channels are others.
    """
    known = np.isfinite(centers)
    there = known.any(axis=1)
    lists, of_bin = np.unique(np.where(known, centers, np.inf), axis=0, return_inverse=True)
    of_bin = np.where(there, of_bin.reshape(-1), -1)
    shown = np.flatnonzero(there)
    changes = [int(b) for a, b in pairwise(shown) if of_bin[a] != of_bin[b]]
    if not len(shown):
        return np.full((1, len(values)), np.nan), (0.0, 1.0, False), []
    low, high = float(np.nanmin(centers)), float(np.nanmax(centers))
    log = low > 0 and high > WIDE * low
    edges = {number: _edges(lists[number], log=log) for number in np.unique(of_bin[shown])}
    low, high = min(one[0] for one, _ in edges.values()), max(one[-1] for one, _ in edges.values())
    rows = min(rows, max(len(order) for _, order in edges.values()) * (1 if len(edges) == 1 else 4))
    axis = np.linspace(low, high, rows + 1)
    picture = np.full((rows, len(values)), np.nan)
    for number, (own, order) in edges.items():
        which = np.flatnonzero(of_bin == number)
        picture[:, which] = _spread(values[which][:, order], own, axis, peak=peak).T
    ends = (float(np.exp(low)), float(np.exp(high))) if log else (low, high)
    return picture, (*ends, log), changes


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
