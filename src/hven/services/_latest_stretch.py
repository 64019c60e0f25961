"""The stretch of time in which a data set has its latest samples.

Pages open there, where the whole span is mostly empty.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hven.model.errors import HvenError
from hven.services import _pyramids as pyramids
from hven.services import _reductions as reductions
from hven.services.series import TableFactCache

if TYPE_CHECKING:
    from hven.services.face import ServiceContext
    from hven.services.series import DataSet, TimeExtent
    from hven.site import PublishedState
    from hven.site.auth import Principal

GAP_SEARCH_BINS = 512  # into which a span is divided to look for gaps
MIN_GAP_SHARE = 0.25  # of the span: with smaller gaps, the whole span shows where samples are
MIN_GAP_SAMPLES = 10  # times the usual distance of two samples: a few samples far apart are no stretches of their own
MAX_ROUNDS = (
    4  # each looks more closely at what is behind the last gap: 512 ** 4 bins tell microseconds in two thousand years
)


def find_latest_stretch(
    context: ServiceContext,
    principal: Principal,
    data_set: DataSet,
    extent: TimeExtent,
    published_state: PublishedState,
) -> tuple[int, int] | None:
    """Find the samples behind the last large gap.

    Parameters
    ----------
    context
        The site.
    principal
        The reader.
    data_set
        The data set.
    extent
        From when to when the reader has samples.
    published_state
        The state that is read.

    Returns
    -------
    stretch
        Its begin and its end in microseconds since 1970; the end is that of `extent`. All of `extent` if no large gap
        is in it, and where looking for one takes long: the samples are on another server, or they are many and their
        reductions are not made yet. None: there are no samples.
    """
    if extent.start is None or extent.stop is None:
        return None
    name = _choose_narrowest_parameter(data_set)
    if (
        data_set.remote is not None
        or name is None
        or not pyramids.is_quick(context, principal, data_set, extent, published_state)
    ):
        return extent.start, extent.stop
    key = ("latest", data_set.id, published_state.version, published_state.find_access_key(principal, context.policies))
    fact_cache: TableFactCache = context.site.get_or_create(TableFactCache)
    stretch: tuple[int, int] | None = fact_cache.find(key)
    if stretch is None:
        try:
            stretch = _search_last_gap(context, principal, data_set, name, extent, published_state)
        except HvenError:  # the page shows the whole span, and says why parts of it do not come
            return extent.start, extent.stop
        fact_cache.store(key, stretch)
    return stretch


def _choose_narrowest_parameter(data_set: DataSet) -> str | None:
    """Choose the parameter of which the least is read; None: the data set has no numbers."""
    names = set(pyramids.list_numeric_parameters(data_set))
    drawn = [each for each in data_set.parameters if each.name in names]
    if drawn:
        return min(drawn, key=lambda each: math.prod(each.dimensions)).name
    return None


def _search_last_gap(
    context: ServiceContext,
    principal: Principal,
    data_set: DataSet,
    name: str,
    extent: TimeExtent,
    published_state: PublishedState,
) -> tuple[int, int]:
    begin = extent.start or 0
    stop = extent.stop or 0
    native = pyramids.estimate_cadence(data_set, extent)
    for _ in range(MAX_ROUNDS):
        requested_width = max((stop - begin) // GAP_SEARCH_BINS, 1)
        width = reductions.choose_bin_width(requested_width, native) or requested_width
        parts = pyramids.read_bins(context, principal, data_set, [name], begin, stop, width, published_state)
        numbers = np.concatenate([np.empty(0, np.int64), *(np.asarray(bins["number"], np.int64) for bins in parts)])
        empty = (np.diff(numbers) - 1) * width
        (large,) = np.nonzero(empty >= max(MIN_GAP_SHARE * (stop - begin), MIN_GAP_SAMPLES * native))
        if not large.size:
            break
        begin = max(begin, int(numbers[large[-1] + 1]) * width)
    return begin, stop


__all__ = ["find_latest_stretch"]
