"""Find the stretch of time with the latest samples of a data set.

Pages open there where the whole time span is mostly empty.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from hven.model.errors import HvenError
from hven.plugins.series import pyramids, reductions

if TYPE_CHECKING:
    from hven.plugins.series.reader_view import ReaderView
    from hven.plugins.series.sample_sets import SampleDataSet, TimeExtent

GAP_SEARCH_BINS = 512  # bins into which a span is divided to look for gaps
MIN_GAP_SHARE = 0.25  # share of the span: with smaller gaps, the whole span shows where samples are
MIN_GAP_SAMPLES = 10  # distances of two samples: a few missing samples do not begin a new stretch
MAX_ROUNDS = 4  # each searches the part behind the last gap: 512 ** 4 bins tell microseconds in two thousand years


def find_span_after_last_gap(view: ReaderView, data_set: SampleDataSet, extent: TimeExtent) -> tuple[int, int]:
    """Find the samples behind the last large gap.

    Parameters
    ----------
    view
        What the reader sees.
    data_set
        Data set to read.
    extent
        Time span of the samples that the reader sees.

    Returns
    -------
    stretch
        Its begin and its end in microseconds since 1970; the end is that of `extent`. It is all of `extent` where there
        is no large gap, or where the search would take long: the samples are on another server, or they are many and
        have no reductions yet.
    """
    if data_set.remote is not None or not data_set.numeric_parameters:
        return extent.start, extent.stop
    if not pyramids.can_reduce_quickly(view, data_set, extent):
        pyramids.request_pyramid(view, data_set)
        return extent.start, extent.stop
    with contextlib.suppress(HvenError):  # the page shows the whole span, and reports why parts of it are missing
        return view.find_or_compute("latest", data_set.id, lambda: _search_span_after_last_gap(view, data_set, extent))
    return extent.start, extent.stop


def _search_span_after_last_gap(view: ReaderView, data_set: SampleDataSet, extent: TimeExtent) -> tuple[int, int]:
    begin, stop = extent.start, extent.stop
    narrowest_parameter = min(data_set.numeric_parameters, key=lambda parameter: parameter.element_count)
    cadence = data_set.estimate_cadence(extent)
    for _ in range(MAX_ROUNDS):
        requested_width = max((stop - begin) // GAP_SEARCH_BINS, 1)
        width = reductions.choose_bin_width(requested_width, cadence) or requested_width
        parts = pyramids.read_bins(
            view, data_set, [narrowest_parameter.name], start=begin, stop=stop, bin_microseconds=width
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
