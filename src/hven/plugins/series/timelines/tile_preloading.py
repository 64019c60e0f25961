"""List the tiles that the page of a time series shows first.

Browsers fetch them together with the scripts of the page, and not only after these run.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.plugins.series.time_texts import DAY_MICROSECONDS, parse_time_as_microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECOND_MICROSECONDS = 1_000_000
BINS_PER_TILE = 512
# microseconds; the same as in the page's script (web/src/series_tiles.js)
BIN_WIDTHS_MICROSECONDS = (
    *(size * ten for ten in (1, 10, 100, 1000, 10_000, 100_000) for size in (1, 2, 5)),
    *(size * SECOND_MICROSECONDS for size in (1, 2, 5, 10, 15, 30)),
    *(size * 60 * SECOND_MICROSECONDS for size in (1, 2, 5, 10, 15, 30)),
    *(size * 3600 * SECOND_MICROSECONDS for size in (1, 2, 4, 8, 12)),
    *(size * DAY_MICROSECONDS for size in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
)
PAGE_MARGIN_PIXELS = 152  # pixels of a window that show no times: margins of the page and the left axis
WINDOW_WIDTHS_PIXELS = (340, 2600)  # the smallest and the largest supported window
SPECTRUM_BIN_PIXELS = 1.5  # width of a bin of a spectrum
MAX_TILES = 40  # for all window widths together


def list_tiles_to_preload(
    series_facts: Mapping[str, Any], query_params: Mapping[str, str], url: str
) -> list[dict[str, str]]:
    """List the tiles that are shown first, each with the window widths that need it.

    Parameters
    ----------
    series_facts
        The JSON of the data set for the script.
    query_params
        Parameters of the page's address.
    url
        Address of the tiles.

    Returns
    -------
    tiles
        The address of each tile as ``href``, a media query as ``media``; empty if there would be too many tiles.
    """
    span = _find_first_time_span(series_facts, query_params)
    if span is None:
        return []
    start, stop = span
    known_names = {parameter["name"] for parameter in series_facts["parameters"]}
    requested_names = known_names.intersection(query_params.get("_p", "").split(","))
    shown_names = requested_names or set(series_facts["shown"])
    tiles = []
    for parameter in series_facts["parameters"]:
        if parameter["name"] not in shown_names:
            continue
        quoted_name = quote(parameter["name"], safe="")
        bin_pixels = SPECTRUM_BIN_PIXELS if parameter["spectrum"] else 1.0
        for bin_width, media in _list_widths_by_media_query(stop - start, bin_pixels):
            tile_width = BINS_PER_TILE * bin_width
            for number in range(start // tile_width, -(-stop // tile_width)):
                href = f"{url}?PARAMETER={quoted_name}&WIDTH={bin_width}&TILE={number}"
                tiles.append({"href": href, "media": media})
    if len(tiles) <= MAX_TILES:
        return tiles
    return []


def _find_first_time_span(series_facts: Mapping[str, Any], query_params: Mapping[str, str]) -> tuple[int, int] | None:
    """Find the time span that is shown first; None if the script chooses it."""
    if series_facts["start"] is None or series_facts["stop"] is None or "_at" in query_params:
        return None
    start, stop = series_facts["latest"]
    margin = (stop - start) // 100
    try:
        if "_from" in query_params:
            low = parse_time_as_microseconds(query_params["_from"])
        else:
            low = start - margin
        if "_to" in query_params:
            high = parse_time_as_microseconds(query_params["_to"])
        else:
            high = stop + margin
    except ValueError:
        return None
    if low < high and ("_from" in query_params) == ("_to" in query_params):
        return (low, high)
    return None


def _list_widths_by_media_query(span_microseconds: int, bin_pixels: float) -> Iterator[tuple[int, str]]:
    """Yield the widths of bins, each with the media query of the windows in which the script chooses it."""
    for finer_width, width in pairwise((0, *BIN_WIDTHS_MICROSECONDS)):
        # a window has enough pixels for bins of this width, and too few for bins of the finer width
        needed_pixels = PAGE_MARGIN_PIXELS + bin_pixels * span_microseconds / width
        min_pixels = max(needed_pixels, WINDOW_WIDTHS_PIXELS[0])
        max_pixels: float = WINDOW_WIDTHS_PIXELS[1]
        if finer_width:
            max_pixels = min(PAGE_MARGIN_PIXELS + bin_pixels * span_microseconds / finer_width, max_pixels)
        if min_pixels < max_pixels:
            yield width, f"(min-width: {min_pixels:.1f}px) and (max-width: {max_pixels - 0.1:.1f}px)"
