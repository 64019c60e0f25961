"""Find the stretch of time with the latest samples of a data set.

Pages open there where the whole time span is mostly empty.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hven.model.errors import HvenError
from hven.plugins.series import pyramids, reductions
from hven.plugins.series.column_statistics import TableStatisticsCache

if TYPE_CHECKING:
    from hven.plugins.series.sample_sets import SampleDataSet, TimeExtent
    from hven.services.face import ServiceContext
    from hven.site import PublishedState
    from hven.site.auth import Principal

GAP_SEARCH_BINS = 512  # bins into which a span is divided to look for gaps
MIN_GAP_SHARE = 0.25  # share of the span: with smaller gaps, the whole span shows where samples are
MIN_GAP_SAMPLES = 10  # distances of two samples: a few missing samples do not begin a new stretch
MAX_ROUNDS = 4  # each searches the part behind the last gap: 512 ** 4 bins tell microseconds in two thousand years


def find_span_after_last_gap(
    context: ServiceContext,
    principal: Principal,
    data_set: SampleDataSet,
    extent: TimeExtent,
    published_state: PublishedState,
) -> tuple[int, int] | None:
    """Find the samples behind the last large gap.

    Parameters
    ----------
    context
        Service context of the site.
    principal
        Reader for whom the answer is built.
    data_set
        Data set to read.
    extent
        Time span of the samples that the reader sees.
    published_state
        The state that is read.

    Returns
    -------
    stretch
        Its begin and its end in microseconds since 1970; the end is that of `extent`. It is all of `extent` where there
        is no large gap, or where the search would take long: the samples are on another server, or they are many and
        have no reductions yet. None: there are no samples.
    """
    if extent.start is None or extent.stop is None:
        return None
    name = _choose_narrowest_parameter(data_set)
    if data_set.remote is not None or name is None:
        return extent.start, extent.stop
    if not pyramids.can_reduce_quickly(context, principal, data_set, extent, published_state):
        return extent.start, extent.stop
    access_key = published_state.find_access_key(principal, context.policies)
    key = ("latest", data_set.id, published_state.version, access_key)
    fact_cache: TableStatisticsCache = context.site.get_or_create(TableStatisticsCache)
    stretch: tuple[int, int] | None = fact_cache.find(key)
    if stretch is None:
        try:
            stretch = _search_span_after_last_gap(
                context, principal, data_set, name, extent=extent, published_state=published_state
            )
        except HvenError:  # the page shows the whole span, and reports why parts of it are missing
            return extent.start, extent.stop
        fact_cache.store(key, stretch)
    return stretch


def _choose_narrowest_parameter(data_set: SampleDataSet) -> str | None:
    """Choose the parameter with the fewest values a sample; return None if the data set has no numbers."""
    names = set(pyramids.list_numeric_parameters(data_set))
    numeric_parameters = [parameter for parameter in data_set.parameters if parameter.name in names]
    if not numeric_parameters:
        return None
    return min(numeric_parameters, key=lambda parameter: math.prod(parameter.dimensions)).name


def _search_span_after_last_gap(
    context: ServiceContext,
    principal: Principal,
    data_set: SampleDataSet,
    parameter_name: str,
    *,
    extent: TimeExtent,
    published_state: PublishedState,
) -> tuple[int, int]:
    begin = extent.start or 0
    stop = extent.stop or 0
    cadence = pyramids.estimate_cadence(data_set, extent)
    for _ in range(MAX_ROUNDS):
        requested_width = max((stop - begin) // GAP_SEARCH_BINS, 1)
        width = reductions.choose_bin_width(requested_width, cadence) or requested_width
        parts = pyramids.read_bins(
            context,
            principal,
            data_set,
            [parameter_name],
            start=begin,
            stop=stop,
            bin_microseconds=width,
            published_state=published_state,
        )
        part_numbers = [np.asarray(bins["number"], np.int64) for bins in parts]
        numbers = np.concatenate([np.empty(0, np.int64), *part_numbers])
        gaps = (np.diff(numbers) - 1) * width
        min_gap = max(MIN_GAP_SHARE * (stop - begin), MIN_GAP_SAMPLES * cadence)
        (large_gaps,) = np.nonzero(gaps >= min_gap)
        if not large_gaps.size:
            break
        begin = max(begin, int(numbers[large_gaps[-1] + 1]) * width)
    return begin, stop


__all__ = ["find_span_after_last_gap"]
