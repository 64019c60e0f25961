"""Write a plot as a picture of its own: an SVG document, and a PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import escape

from hven.plugins.previews.pictures.canvas import LINE_COLOURS, AxisTicks, PictureCanvas, PlotFrame
from hven.plugins.stacked_plots import plot_drawing
from hven.plugins.stacked_plots.plot_drawing import (
    build_axis,
    choose_time_ticks,
    draw_panel,
    list_visible_shapes,
    locate_boxes,
    locate_events,
    measure_panel,
    to_mjd,
)
from hven.plugins.stacked_plots.table_events import HERTZ_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.plugins.stacked_plots.plot_drawing import PanelAxis
    from hven.plugins.stacked_plots.plot_reading import PanelContent
    from hven.plugins.stacked_plots.table_events import TableEvents, TimeFrequencyShape

LEFT_PIXELS, RIGHT_PIXELS = 90, 14  # margins
TITLE_PIXELS, FOOT_PIXELS, GAP_PIXELS = 24, 58, 10
PAGE_PIXELS = plot_drawing.INSIDE_WIDTH + LEFT_PIXELS + RIGHT_PIXELS
BOX_COLOUR, SHAPE_COLOUR, EVENT_COLOUR = (255, 255, 255), (230, 165, 115), (179, 84, 30)
_STYLE = """
svg{background:#fff;font:12px system-ui,sans-serif;fill:#1d2129}
.grid{stroke:#e4e7eb;fill:none}.frame{stroke:#697079;fill:none}.tick{stroke:#1d2129;fill:none}
.curve,.band,.grid,.box,.shape,.area,.event,.moment{vector-effect:non-scaling-stroke}
.curve{fill:none;stroke-width:1.3;stroke-linejoin:round;stroke-linecap:round}.band{opacity:.25;stroke:none}
.box{fill:none;stroke:#fff;stroke-width:1.2}.shape{fill:none;stroke:#e6a573;stroke-width:1.5}
.area{fill:none;stroke:#fff;stroke-width:2;stroke-dasharray:6 4}
.event{stroke:#b3541e;stroke-width:9;fill:none}.moment{stroke:#b3541e;stroke-width:2;fill:none}
"""


def list_overlaid_events(panels: Sequence[PanelContent]) -> list[TableEvents]:
    """List the rows whose shapes are drawn over spectrograms: those of all visible panels."""
    return [panel.events for panel in panels if panel.events is not None]


def list_drawn_panels(panels: Sequence[PanelContent]) -> list[PanelContent]:
    """List the panels that have something to draw."""
    return [panel for panel in panels if not panel.address.is_hidden and panel.fault is None]


def join_trace_names(content: PanelContent) -> str:
    """Join the names of the lines, or of the spectrum, with their units."""
    if content.spectrum is not None:
        spectrum = content.spectrum
        if spectrum.unit:
            return f"{spectrum.name} ({spectrum.unit})"
        return spectrum.name
    units = {trace.unit for trace in content.lines}
    names = ", ".join(trace.name for trace in content.lines)
    unit = ""
    if len(units) == 1:
        unit = units.pop()
    return f"{names} ({unit})" if unit else names


def name_axis(content: PanelContent) -> str:
    """Name the vertical axis of a panel, with its unit."""
    if content.spectrum is not None:
        spectrum = content.spectrum
        if spectrum.axis_unit:
            return f"{spectrum.axis_name} ({spectrum.axis_unit})"
        return spectrum.axis_name
    units = {trace.unit for trace in content.lines}
    if len(units) == 1:
        return units.pop()
    return ""


def write_svg_document(
    panels: Sequence[PanelContent], start: int, stop: int, area: TimeFrequencyShape | None = None
) -> bytes:
    """Write a plot as an SVG document that needs no other file.

    Parameters
    ----------
    panels
        Content of the panels.
    start, stop
        The time span in microseconds since 1970.
    area
        An outline that the reader has drawn over spectrograms.
    """
    drawn = list_drawn_panels(panels)
    events = list_overlaid_events(drawn)
    parts = []
    top = 0
    for content in drawn:
        height = measure_panel(content)
        top += TITLE_PIXELS
        title = " · ".join(filter(None, (content.title, join_trace_names(content))))
        parts.append(f'<text x="{LEFT_PIXELS}" y="{top - 7}">{escape(title)}</text>')
        parts.append(
            f'<svg x="{LEFT_PIXELS}" y="{top}" width="{plot_drawing.INSIDE_WIDTH}" height="{height}" '
            f'viewBox="0 0 {plot_drawing.INSIDE_WIDTH} {height}">{draw_panel(content, events, start, stop, area)}</svg>'
        )
        parts += _draw_axis(build_axis(content), name_axis(content), top, height)
        top += height + GAP_PIXELS
    parts += _draw_time_axis(start, stop, top)
    height = top + FOOT_PIXELS
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{PAGE_PIXELS}" height="{height}" '
        f'viewBox="0 0 {PAGE_PIXELS} {height}"><style>{_STYLE}{_write_line_styles()}</style>'
        f'<rect width="{PAGE_PIXELS}" height="{height}" fill="#fff"/>'
    )
    return f"{head}{''.join(parts)}</svg>\n".encode()


def _write_line_styles() -> str:
    styles = []
    for number, colour in enumerate(LINE_COLOURS):
        code = "#{:02x}{:02x}{:02x}".format(*colour)
        styles.append(f".curve.line-{number}{{stroke:{code}}}.band.line-{number}{{fill:{code}}}")
    return "".join(styles)


def _draw_axis(axis: PanelAxis | None, name: str, top: int, height: int) -> Iterator[str]:
    yield f'<rect class="frame" x="{LEFT_PIXELS}" y="{top}" width="{plot_drawing.INSIDE_WIDTH}" height="{height}"/>'
    if axis is None:
        return
    ticks = axis.choose_ticks(height)
    for position, label in zip(ticks.positions, ticks.labels, strict=True):
        row = top + (1 - (position - axis.low) / (axis.high - axis.low)) * height
        yield f'<path class="tick" d="M{LEFT_PIXELS - 4} {row:.1f}h4"/>'
        yield f'<text x="{LEFT_PIXELS - 7}" y="{row + 4:.1f}" text-anchor="end">{escape(label)}</text>'
    label = " ".join(filter(None, (name, ticks.axis_note)))
    middle = top + height / 2
    yield f'<text transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(label)}</text>'


def _draw_time_axis(start: int, stop: int, top: int) -> Iterator[str]:
    ticks, shares = choose_time_ticks(start, stop)
    for share, label in zip(shares, ticks.labels, strict=True):
        across = LEFT_PIXELS + share * plot_drawing.INSIDE_WIDTH
        yield f'<path class="tick" d="M{across:.1f} {top - GAP_PIXELS}v5"/>'
        yield f'<text x="{across:.1f}" y="{top + 10}" text-anchor="middle">{escape(label)}</text>'
    note = f"{ticks.axis_note} UTC".strip()
    middle = LEFT_PIXELS + plot_drawing.INSIDE_WIDTH / 2
    yield f'<text x="{middle}" y="{top + 32}" text-anchor="middle">{escape(note)}</text>'


def write_png(
    panels: Sequence[PanelContent],
    start: int,
    stop: int,
    metadata_texts: dict[str, str],
    area: TimeFrequencyShape | None = None,
) -> bytes:
    """Write a plot as PNG.

    Parameters
    ----------
    panels
        Content of the panels.
    start, stop
        The time span in microseconds since 1970.
    metadata_texts
        Texts that are stored in the file.
    area
        An outline that the reader has drawn over spectrograms.
    """
    drawn = list_drawn_panels(panels)
    events = list_overlaid_events(drawn)
    heights = [measure_panel(content) for content in drawn]
    height = sum(heights) + len(drawn) * (TITLE_PIXELS + GAP_PIXELS) + FOOT_PIXELS
    canvas = PictureCanvas(PAGE_PIXELS, height)
    canvas.letter_pixels = 12
    top = 0
    for number, content in enumerate(drawn):
        top += TITLE_PIXELS
        title = " · ".join(filter(None, (content.title, join_trace_names(content))))
        canvas.draw_text((LEFT_PIXELS, top - 20), canvas.shorten_text(title, plot_drawing.INSIDE_WIDTH))
        box = (LEFT_PIXELS, top, LEFT_PIXELS + plot_drawing.INSIDE_WIDTH, top + heights[number])
        is_last = number == len(drawn) - 1
        _draw_panel_on_canvas(canvas, box, content, events, (start, stop), has_time_labels=is_last, area=area)
        top += heights[number] + GAP_PIXELS
    return canvas.to_png(metadata_texts)


def _draw_panel_on_canvas(
    canvas: PictureCanvas,
    box: tuple[int, int, int, int],
    content: PanelContent,
    events: Sequence[TableEvents],
    instants: tuple[int, int],
    *,
    has_time_labels: bool,
    area: TimeFrequencyShape | None = None,
) -> None:
    start, stop = instants
    span = (float(to_mjd(start)), float(to_mjd(stop)))
    axis = build_axis(content)
    low, high = (axis.low, axis.high) if axis is not None else (0.0, 1.0)
    kinds = ("time", "log" if axis is not None and axis.is_logarithmic else "")
    frame = PlotFrame(canvas, box, span, (low, high), kinds)
    ticks, _ = choose_time_ticks(start, stop)
    height = box[3] - box[1]
    if content.spectrum is not None and axis is not None and content.spectrum.has_samples.any():
        _draw_spectrogram(canvas, box, content, start, stop)
        scale = HERTZ_PER_UNIT.get(content.spectrum.axis_unit)
        for item in events if scale is not None else ():
            for left, right, upper, lower in locate_boxes(item, axis, scale or 1.0, instants, height):
                corners = [(left, upper), (right, upper), (right, lower), (left, lower), (left, upper)]
                _draw_clipped_line(canvas, box, corners, BOX_COLOUR)
            for shape in list_visible_shapes(item, axis, scale or 1.0, instants, height):
                _draw_clipped_line(canvas, box, _locate_shape(shape, axis, scale, instants, height), SHAPE_COLOUR)
        if area is not None and scale is not None:
            _draw_clipped_line(canvas, box, _locate_shape(area, axis, scale, instants, height), BOX_COLOUR)
    elif axis is not None:
        layer = frame.create_layer()
        for number, trace in enumerate(content.lines):
            times, values = to_mjd(trace.instants), axis.scale(trace.means)
            gap = trace.max_gap_microseconds / plot_drawing.DAY_MICROSECONDS
            for run in plot_drawing.split_line(times, values, gap):
                layer.draw_curve(times[run], values[run], LINE_COLOURS[number % len(LINE_COLOURS)])
        layer.merge_into_canvas()
    elif content.events is not None:
        for left, right, row in locate_events(content.events, start, stop, plot_drawing.INSIDE_WIDTH):
            first, last = np.clip([left, max(right, left + 2)], 0, plot_drawing.INSIDE_WIDTH) + box[0]
            canvas.pen.rectangle([first, box[1] + row - 5, last, box[1] + row + 4], fill=EVENT_COLOUR)
    x_ticks: Any = ticks
    names = ("", name_axis(content))
    if has_time_labels:
        names = ("UTC", names[1])
    else:
        x_ticks = AxisTicks(ticks.positions, ("",) * len(ticks.positions))
    y_ticks = axis.choose_ticks(height) if axis is not None else AxisTicks((), ())
    frame.draw_axes(names, x_ticks, y_ticks)


def _locate_shape(
    shape: TimeFrequencyShape, axis: PanelAxis, hertz: float | None, instants: tuple[int, int], height: int
) -> list[tuple[float, float]]:
    x = plot_drawing.locate_instants(shape.instants, *instants)
    points = list(zip(x.tolist(), axis.locate(shape.hertz / (hertz or 1.0), height).tolist(), strict=True))
    return points + points[:1] * shape.is_closed


def _draw_spectrogram(
    canvas: PictureCanvas, box: tuple[int, int, int, int], content: PanelContent, start: int, stop: int
) -> None:
    from PIL import Image  # noqa: PLC0415  (only pictures need it)

    spectrum = content.spectrum
    if spectrum is None:
        return
    picture = plot_drawing.render_spectrum(spectrum)
    end = spectrum.start + spectrum.values.shape[1] * spectrum.bin_microseconds
    left, right = plot_drawing.locate_instants([spectrum.start, end], start, stop).tolist()
    width, height = box[2] - box[0], box[3] - box[1]
    scale = picture.width / (right - left)
    inside = (width, height)
    source = (max(-left, 0) * scale, 0, picture.width - max(right - width, 0) * scale, picture.height)
    target = (max(left, 0.0), min(right, float(width)))
    size = (max(round(target[1]) - round(target[0]), 1), height)
    layer = Image.new("RGBA", inside, (255, 255, 255, 0))
    layer.paste(picture.resize(size, Image.Resampling.NEAREST, source), (round(target[0]), 0))
    canvas.image.paste(layer, box[:2], layer)


def _draw_clipped_line(
    canvas: PictureCanvas,
    box: tuple[int, int, int, int],
    points: Sequence[tuple[float, float]],
    colour: tuple[int, int, int],
) -> None:
    """Draw a line inside a panel; what is outside is drawn along its edge."""
    width, height = box[2] - box[0], box[3] - box[1]
    corners = [(box[0] + min(max(x, 0), width), box[1] + min(max(y, 0), height)) for x, y in points]
    canvas.pen.line(corners, fill=colour, width=1)
