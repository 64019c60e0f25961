"""The state of a plot in its address: ``_from``, ``_to``, ``_in``, and a ``panel`` for each panel, from the top.

A panel is a data set with its parameters, ``goes_xrs;xrsa;ratio=xrsa/xrsb``, or the rows of a table,
``table:hfc1t3.epn_core``. A minus before it hides the panel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hven.model.errors import ParamError, format_message
from hven.plugins.series.time_texts import format_instant, parse_time_as_microseconds
from hven.plugins.stacked_plots.drawn_areas import AREA_NAME, parse_drawn_area

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.datastructures import QueryParams

    from hven.plugins.stacked_plots.drawn_areas import DrawnArea

MAX_PANELS = 12
MAX_PANEL_CHARACTERS = 2000
TABLE_PREFIX = "table:"
HIDDEN_PREFIX = "-"
MAX_SPAN_MICROSECONDS = 1000 * 366 * 86_400_000_000
MIN_SPAN_MICROSECONDS = 10
ZOOM_FACTOR = 3
MOVE_SHARE = 0.5  # of the span
TIME_NAMES = ("_from", "_to")
PANEL_NAME = "panel"


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelAddress:
    """A panel, as the address names it.

    Attributes
    ----------
    name
        Id of the data set, or name of the table.
    is_table
        Whether the panel shows rows of a table.
    parameters
        Names of parameters of the data set; ``name=expression`` for those that are computed.
    is_hidden
        Whether the panel is not drawn.
    """

    name: str
    is_table: bool = False
    parameters: tuple[str, ...] = ()
    is_hidden: bool = False

    def to_text(self) -> str:
        """Write the panel as the value of a parameter."""
        text = TABLE_PREFIX + self.name if self.is_table else ";".join((self.name, *self.parameters))
        if self.is_hidden:
            return HIDDEN_PREFIX + text
        return text


def parse_panel(text: str) -> PanelAddress:
    """Parse the value of a parameter ``panel``.

    Raises
    ------
    ParamError
        The text is too long.
    """
    if len(text) > MAX_PANEL_CHARACTERS:
        message = format_message("a panel has more than {limit:,} characters", MAX_PANEL_CHARACTERS)
        raise ParamError(message, name=PANEL_NAME, remedy="remove some of its expressions")
    is_hidden = text.startswith(HIDDEN_PREFIX)
    text = text.removeprefix(HIDDEN_PREFIX)
    if text.startswith(TABLE_PREFIX):
        return PanelAddress(name=text.removeprefix(TABLE_PREFIX).strip(), is_table=True, is_hidden=is_hidden)
    name, *parameters = (part.strip() for part in text.split(";"))
    return PanelAddress(name=name, parameters=tuple(filter(None, parameters)), is_hidden=is_hidden)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotAddress:
    """The state of a plot.

    Attributes
    ----------
    panels
        The panels, from the top.
    start, stop
        The time span in microseconds since 1970; None: the page chooses it.
    area
        An area that the reader has drawn: panels show only the rows that touch it.
    """

    panels: tuple[PanelAddress, ...] = ()
    start: int | None = None
    stop: int | None = None
    area: DrawnArea | None = None

    def list_sample_panels(self) -> list[PanelAddress]:
        """List the visible panels with samples; the others show rows of tables."""
        return [panel for panel in self.panels if not panel.is_table and not panel.is_hidden]

    def list_parameters(self) -> list[tuple[str, str]]:
        """List the parameters of the address."""
        parameters = []
        if self.start is not None and self.stop is not None:
            parameters += [("_from", _format_short_time(self.start)), ("_to", _format_short_time(self.stop))]
        if self.area is not None:
            parameters.append((AREA_NAME, self.area.to_text()))
        return parameters + [(PANEL_NAME, panel.to_text()) for panel in self.panels]

    def write_query(self) -> str:
        """Write the parameters of the address."""
        return urlencode(self.list_parameters())

    def with_span(self, start: int, stop: int) -> PlotAddress:
        """Return the same panels for another time span."""
        return replace(self, start=start, stop=max(stop, start + MIN_SPAN_MICROSECONDS))

    def write_time_links(self) -> dict[str, str]:
        """Write the queries of the same plot for other spans: ``earlier``, ``later``, ``closer``, ``wider``."""
        if self.start is None or self.stop is None:
            return {}
        span = self.stop - self.start
        step = round(span * MOVE_SHARE)
        margin = (span - span // ZOOM_FACTOR) // 2
        outside = span * (ZOOM_FACTOR - 1) // 2
        spans = {
            "earlier": (self.start - step, self.stop - step),
            "later": (self.start + step, self.stop + step),
            "closer": (self.start + margin, self.stop - margin),
            "wider": (self.start - outside, self.stop + outside),
        }
        return {name: self.with_span(*limits).write_query() for name, limits in spans.items()}

    def write_panel_links(self, index: int) -> dict[str, str]:
        """Write the queries in which a panel is one place higher or lower, hidden or shown, or removed."""
        panels = list(self.panels)
        panel = panels[index]
        toggled = replace(panel, is_hidden=not panel.is_hidden)
        links = {
            "toggle": self._write_query_of_panels([*panels[:index], toggled, *panels[index + 1 :]]),
            "remove": self._write_query_of_panels([*panels[:index], *panels[index + 1 :]]),
            "higher": "",
            "lower": "",
        }
        if index > 0:
            order = [*panels[: index - 1], panel, panels[index - 1], *panels[index + 1 :]]
            links["higher"] = self._write_query_of_panels(order)
        if index < len(panels) - 1:
            order = [*panels[:index], panels[index + 1], panel, *panels[index + 2 :]]
            links["lower"] = self._write_query_of_panels(order)
        return links

    def write_query_with_panel(self, panel: PanelAddress) -> str:
        """Write the query in which a panel is added at the bottom."""
        return self._write_query_of_panels([*self.panels, panel])

    def _write_query_of_panels(self, panels: Sequence[PanelAddress]) -> str:
        return replace(self, panels=tuple(panels)).write_query()


def _format_short_time(instant: int) -> str:
    """Write a time without zeros at its end, but with minutes."""
    text = format_instant(instant).removesuffix("Z")
    if "." in text:
        return text.rstrip("0").rstrip(".").removesuffix(":00")
    return text


def parse_plot_address(query_params: QueryParams | Mapping[str, str], panel_texts: Sequence[str]) -> PlotAddress:
    """Parse the state of a plot.

    Parameters
    ----------
    query_params
        Parameters of the address.
    panel_texts
        The values of its parameters ``panel``.

    Raises
    ------
    ParamError
        A time is no time, the span is empty or too long, the area is none, or there are too many panels.
    """
    if len(panel_texts) > MAX_PANELS:
        message = format_message("the plot has {count} panels; the maximum is {limit}", len(panel_texts), MAX_PANELS)
        raise ParamError(message, name=PANEL_NAME, remedy="remove some panels from the address")
    panels = tuple(parse_panel(text) for text in panel_texts if text.strip())
    times = [_parse_time(query_params.get(name, "").strip(), name) for name in TIME_NAMES]
    start, stop = times
    area = parse_drawn_area(query_params.get(AREA_NAME, ""))
    if start is None or stop is None:
        return PlotAddress(panels=panels, area=area)
    if not MIN_SPAN_MICROSECONDS <= stop - start <= MAX_SPAN_MICROSECONDS:
        message = format_message("the end of the time span is not after its start, or the span is too long")
        raise ParamError(message, name="_to", remedy="write times such as _from=2003-10-28&_to=2003-10-29")
    return PlotAddress(panels=panels, start=start, stop=stop, area=area)


def _parse_time(text: str, name: str) -> int | None:
    if not text:
        return None
    try:
        instant = parse_time_as_microseconds(text.replace(" ", "T"))
        format_instant(instant)
    except (ValueError, OverflowError):
        message = format_message("{name}={text!r:.60} is not a time", name, text)
        raise ParamError(message, name=name, remedy="write a time such as 2003-10-28T11:00") from None
    return instant
