"""The stretch of time in which a data set has its latest samples: pages open there, where the whole span is mostly empty."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hven.model.errors import HvenError
from hven.services import _pyramids as pyramids
from hven.services import _reductions as reductions
from hven.services.series import Facts

if TYPE_CHECKING:
    from hven.services.face import Surroundings
    from hven.services.series import DataSet, Span
    from hven.site import Holdings
    from hven.site.auth import Reader

BINS = 512  # into which a span is divided to look for gaps
MIN_GAP_SHARE = 0.25  # of the span: with smaller gaps, the whole span shows where samples are
MIN_GAP_SAMPLES = 10  # times the usual distance of two samples: a few samples far apart are no stretches of their own
MAX_ROUNDS = (
    4  # each looks more closely at what is behind the last gap: 512 ** 4 bins tell microseconds in two thousand years
)


def find_latest_stretch(
    around: Surroundings, who: Reader, one: DataSet, whole: Span, holdings: Holdings
) -> tuple[int, int] | None:
    """Find the samples behind the last large gap.

    Parameters
    ----------
    around
        The site.
    who
        The reader.
    one
        The data set.
    whole
        From when to when the reader has samples.
    holdings
        The state that is read.

    Returns
    -------
    stretch
        Its begin and its end in microseconds since 1970; the end is that of `whole`. All of `whole` if no large gap is in it, and where looking for
        one takes long: the samples are on another server, or they are many and their reductions are not made yet. None: there are no samples.
    """
    if whole.start is None or whole.stop is None:
        return None
    name = _narrowest_parameter(one)
    if one.far is not None or name is None or not pyramids.is_quick(around, who, one, whole, holdings):
        return whole.start, whole.stop
    key = ("latest", one.id, holdings.version, holdings.reach(who, around.policies))
    kept: Facts = around.site.kept(Facts)
    found: tuple[int, int] | None = kept.find(key)
    if found is None:
        try:
            found = _behind_last_gap(around, who, one, name, whole, holdings)
        except HvenError:  # the page shows the whole span, and says why parts of it do not come
            return whole.start, whole.stop
        kept.keep(key, found)
    return found


def _narrowest_parameter(one: DataSet) -> str | None:
    """Choose the parameter of which the least is read; None: the data set has no numbers."""
    names = set(pyramids.numeric(one))
    drawn = [each for each in one.parameters if each.name in names]
    return min(drawn, key=lambda each: math.prod(each.size)).name if drawn else None


def _behind_last_gap(
    around: Surroundings, who: Reader, one: DataSet, name: str, whole: Span, holdings: Holdings
) -> tuple[int, int]:
    begin, stop = whole.start or 0, whole.stop or 0
    native = pyramids.native(one, whole)
    for _ in range(MAX_ROUNDS):
        asked = max((stop - begin) // BINS, 1)
        width = reductions.width(asked, native) or asked
        parts = pyramids.reduced(around, who, one, [name], begin, stop, width, holdings)
        numbers = np.concatenate([np.empty(0, np.int64), *(np.asarray(bins["number"], np.int64) for bins in parts)])
        empty = (np.diff(numbers) - 1) * width
        (large,) = np.nonzero(empty >= max(MIN_GAP_SHARE * (stop - begin), MIN_GAP_SAMPLES * native))
        if not large.size:
            break
        begin = max(begin, int(numbers[large[-1] + 1]) * width)
    return begin, stop


__all__ = ["find_latest_stretch"]
