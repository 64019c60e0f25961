"""Which tiles the page of a time series shows first: browsers fetch them while its scripts come, which would ask for them last of all."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.services.series import DAY, micros

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECOND = 1_000_000
BINS = 512
# as the page's script has it (web/src/tiles.js): microseconds of a bin
LADDER = (
    *(size * ten for ten in (1, 10, 100, 1000, 10_000, 100_000) for size in (1, 2, 5)),
    *(size * SECOND for size in (1, 2, 5, 10, 15, 30)),
    *(size * 60 * SECOND for size in (1, 2, 5, 10, 15, 30)),
    *(size * 3600 * SECOND for size in (1, 2, 4, 8, 12)),
    *(size * DAY for size in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
)
AROUND = 152  # pixels of a window beside the times: margins of the page, the axis on the left
SCREENS = (340, 2600)  # pixels of windows that are thought of
SPARE = 1.5  # pixels of a bin of a spectrum
MOST = 40  # tiles, of all windows


def ahead(told: Mapping[str, Any], given: Mapping[str, str], url: str) -> list[dict[str, str]]:
    """List the tiles that are shown first, each with the windows it is for.

    Parameters
    ----------
    told
        What the script is told of the data set.
    given
        Of the page's address.
    url
        At which tiles are asked for.

    Returns
    -------
    tiles
        The address of each as ``href``, a media query as ``media``.
    """
    span = _span(told, given)
    if span is None:
        return []
    chosen = set(given.get("_p", "").split(",")) & {one["name"] for one in told["parameters"]} or set(told["shown"])
    shown = [one for one in told["parameters"] if one["name"] in chosen]
    found = [
        {"href": f"{url}?PARAMETER={quote(one['name'], safe='')}&WIDTH={width}&TILE={number}", "media": media}
        for one in shown
        for width, media in _widths(span[1] - span[0], SPARE if one["spectrum"] else 1.0)
        for number in range(span[0] // (BINS * width), -(-span[1] // (BINS * width)))
    ]
    return found if len(found) <= MOST else []


def _span(told: Mapping[str, Any], given: Mapping[str, str]) -> tuple[int, int] | None:
    """Find the times that are shown first; None: the script will choose them."""
    if told["start"] is None or told["stop"] is None or "_at" in given:
        return None
    start, stop = told["latest"]
    room = (stop - start) // 100
    try:
        low = micros(given["_from"]) if "_from" in given else start - room
        high = micros(given["_to"]) if "_to" in given else stop + room
    except ValueError:
        return None
    return (low, high) if low < high and ("_from" in given) == ("_to" in given) else None


def _widths(long: int, spare: float) -> Iterator[tuple[int, str]]:
    """Tell which bins are chosen in windows of which width."""
    for finer, width in pairwise((0, *LADDER)):
        # that many pixels at least, and fewer than the finer one needs
        least, most = (AROUND + spare * long / one if one else float("inf") for one in (width, finer))
        least, most = max(least, SCREENS[0]), min(most, SCREENS[1])
        if least < most:
            yield width, f"(min-width: {least:.1f}px) and (max-width: {most - 0.1:.1f}px)"


__all__ = ["ahead"]
