"""Which tiles the page of a time series shows first.

Browsers fetch them while its scripts come, which would ask for them last of all.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.services.series import DAY_MICROSECONDS, parse_microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECOND_MICROSECONDS = 1_000_000
BINS_PER_TILE = 512
# as the page's script has it (web/src/tiles.js): microseconds of a bin
BIN_WIDTHS_MICROSECONDS = (
    *(size * ten for ten in (1, 10, 100, 1000, 10_000, 100_000) for size in (1, 2, 5)),
    *(size * SECOND_MICROSECONDS for size in (1, 2, 5, 10, 15, 30)),
    *(size * 60 * SECOND_MICROSECONDS for size in (1, 2, 5, 10, 15, 30)),
    *(size * 3600 * SECOND_MICROSECONDS for size in (1, 2, 4, 8, 12)),
    *(size * DAY_MICROSECONDS for size in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
)
PAGE_MARGIN_PIXELS = 152  # pixels of a window beside the times: margins of the page, the axis on the left
WINDOW_WIDTHS_PIXELS = (340, 2600)  # pixels of windows that are thought of
SPECTRUM_BIN_PIXELS = 1.5  # pixels of a bin of a spectrum
MAX_TILES = 40  # tiles, of all windows


def list_first_tiles(
    series_facts: Mapping[str, Any], query_params: Mapping[str, str], url: str
) -> list[dict[str, str]]:
    """List the tiles that are shown first, each with the windows it is for.

    Parameters
    ----------
    series_facts
        What the script is told of the data set.
    query_params
        Of the page's address.
    url
        At which tiles are asked for.

    Returns
    -------
    tiles
        The address of each as ``href``, a media query as ``media``.
    """
    span = _find_first_span(series_facts, query_params)
    if span is None:
        return []
    chosen_names = set(query_params.get("_p", "").split(",")) & {
        parameter["name"] for parameter in series_facts["parameters"]
    } or set(series_facts["shown"])
    shown_parameters = [parameter for parameter in series_facts["parameters"] if parameter["name"] in chosen_names]
    tiles = [
        {"href": f"{url}?PARAMETER={quote(parameter['name'], safe='')}&WIDTH={width}&TILE={number}", "media": media}
        for parameter in shown_parameters
        for width, media in _list_bin_widths(span[1] - span[0], SPECTRUM_BIN_PIXELS if parameter["spectrum"] else 1.0)
        for number in range(span[0] // (BINS_PER_TILE * width), -(-span[1] // (BINS_PER_TILE * width)))
    ]
    if len(tiles) <= MAX_TILES:
        return tiles
    return []


def _find_first_span(series_facts: Mapping[str, Any], query_params: Mapping[str, str]) -> tuple[int, int] | None:
    """Find the times that are shown first; None: the script will choose them."""
    if series_facts["start"] is None or series_facts["stop"] is None or "_at" in query_params:
        return None
    start, stop = series_facts["latest"]
    margin = (stop - start) // 100
    try:
        if "_from" in query_params:
            low = parse_microseconds(query_params["_from"])
        else:
            low = start - margin
        if "_to" in query_params:
            high = parse_microseconds(query_params["_to"])
        else:
            high = stop + margin
    except ValueError:
        return None
    if low < high and ("_from" in query_params) == ("_to" in query_params):
        return (low, high)
    return None


def _list_bin_widths(span_microseconds: int, bin_pixels: float) -> Iterator[tuple[int, str]]:
    """Tell which bins are chosen in windows of which width."""
    for finer_width, width in pairwise((0, *BIN_WIDTHS_MICROSECONDS)):
        # that many pixels at least, and fewer than the finer one needs
        min_pixels, max_pixels = (
            PAGE_MARGIN_PIXELS + bin_pixels * span_microseconds / bin_width if bin_width else float("inf")
            for bin_width in (width, finer_width)
        )
        min_pixels = max(min_pixels, WINDOW_WIDTHS_PIXELS[0])
        max_pixels = min(max_pixels, WINDOW_WIDTHS_PIXELS[1])
        if min_pixels < max_pixels:
            yield width, f"(min-width: {min_pixels:.1f}px) and (max-width: {max_pixels - 0.1:.1f}px)"


__all__ = ["list_first_tiles"]
