"""Draw the panels of a plot as SVG: curves, spectrograms with shapes over them, and marks of events.

The inside of a panel is 1000 units wide for any time span, and is stretched to the width of the page. Strokes and texts
are not stretched. Vertical positions are pixels.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from hven.plugins.previews.pictures.appearance import COLOUR_MAPS
from hven.plugins.previews.pictures.canvas import AxisTicks, choose_ticks
from hven.plugins.series.time_texts import format_instant
from hven.plugins.stacked_plots.table_events import HERTZ_PER_UNIT, compute_lanes
from hven.portal.api.plots import format_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from PIL.Image import Image as PilImage

    from hven.plugins.stacked_plots.plot_reading import LineTrace, PanelContent, SpectrumTrace
    from hven.plugins.stacked_plots.table_events import TableEvents, TimeFrequencyShape

    Numbers = npt.NDArray[Any]

INSIDE_WIDTH = 1000
LINE_HEIGHT_PIXELS = 150
SPECTRUM_HEIGHT_PIXELS = 220
LANE_HEIGHT_PIXELS = 14
MAX_LANES = 6
MAX_LINKED_EVENTS = 200  # more marks would be too small to be chosen, and too many for the keyboard
MAX_DRAWN_POINTS = 3000  # of a line; more are reduced to the extremes of pixels
LOGARITHMIC_FACTOR = 500  # lines of positive values are logarithmic if the largest is this many times the smallest
COLOUR_PERCENTILES = (2.0, 99.5)
DAY_MICROSECONDS = 86_400_000_000
UNIX_EPOCH_MJD = 40_587.0
NO_VALUE_COLOUR = (128, 128, 128, 112)
WIDE_TIME_TICKS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelAxis:
    """The vertical axis of a panel.

    Attributes
    ----------
    low, high
        Values at the bottom and at the top; logarithms to the base 10 if `is_logarithmic`.
    """

    low: float
    high: float
    is_logarithmic: bool

    def locate(self, values: Any, height: float) -> Numbers:
        """Return positions in pixels from the top."""
        numbers = self.scale(values)
        return np.asarray((1 - (numbers - self.low) / ((self.high - self.low) or 1.0)) * height)

    def scale(self, values: Any) -> Numbers:
        """Return values in the units of `low` and `high`; those without a logarithm lie at the bottom."""
        numbers = np.asarray(values, np.float64)
        if self.is_logarithmic:
            with np.errstate(divide="ignore", invalid="ignore"):
                numbers = np.where(numbers > 0, np.log10(numbers), np.where(np.isnan(numbers), np.nan, self.low))
        return numbers

    def choose_ticks(self, height: float) -> AxisTicks:
        """Choose the ticks for a height in pixels."""
        return choose_ticks(self.low, self.high, max(2, round(height / 40)), "log" if self.is_logarithmic else "")


def measure_panel(content: PanelContent) -> int:
    """Return the height of the inside of a panel in pixels."""
    if content.spectrum is not None:
        return SPECTRUM_HEIGHT_PIXELS
    if content.events is not None:
        return LANE_HEIGHT_PIXELS * (max(_choose_lanes(content.events, 0), default=0) + 1) + 6
    return LINE_HEIGHT_PIXELS


def build_axis(content: PanelContent) -> PanelAxis | None:
    """Build the vertical axis of a panel; None if it has none."""
    if content.spectrum is not None:
        spectrum = content.spectrum
        low, high = spectrum.low, spectrum.high
        if spectrum.is_logarithmic:
            low, high = np.log10([low, high]).tolist()
        return PanelAxis(low=low, high=high, is_logarithmic=spectrum.is_logarithmic)
    values = [part for trace in content.lines for part in (trace.lows, trace.highs)]
    joined = np.concatenate([np.empty(0), *values])
    joined = joined[np.isfinite(joined)]
    if not joined.size:
        return None
    low, high = float(joined.min()), float(joined.max())
    scale_types = {trace.scale_type for trace in content.lines}
    positive = joined[joined > 0]
    is_wide = low > 0 and high > LOGARITHMIC_FACTOR * low
    is_logarithmic = bool(positive.size) and ("log" in scale_types or (scale_types == {None} and is_wide))
    if is_logarithmic:
        low, high = np.log10([float(positive.min()), high]).tolist()
    margin = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return PanelAxis(low=low - margin, high=high + margin, is_logarithmic=is_logarithmic)


def choose_time_ticks(start: int, stop: int, limit: int = WIDE_TIME_TICKS) -> tuple[AxisTicks, list[float]]:
    """Choose the ticks of the time axis, and their places as shares of the span."""
    first, last = (to_mjd(instant) for instant in (start, stop))
    ticks = choose_ticks(first, last, limit, "time")
    return ticks, [(position - first) / ((last - first) or 1.0) for position in ticks.positions]


def to_mjd(instants: Any) -> Any:
    """Convert microseconds since 1970 to Modified Julian dates."""
    return np.asarray(instants, np.float64) / DAY_MICROSECONDS + UNIX_EPOCH_MJD


def locate_instants(instants: Any, start: int, stop: int, width: float = INSIDE_WIDTH) -> Numbers:
    """Return horizontal positions of times."""
    return np.asarray((np.asarray(instants, np.float64) - start) / (stop - start) * width)


def draw_panel(
    content: PanelContent,
    events: Sequence[TableEvents],
    start: int,
    stop: int,
    area: TimeFrequencyShape | None = None,
) -> Markup:
    """Draw the inside of a panel.

    Parameters
    ----------
    content
        What the panel shows.
    events
        Rows whose shapes are drawn over spectrograms of frequencies.
    start, stop
        The time span in microseconds since 1970.
    area
        An outline that the reader has drawn over spectrograms.
    """
    height = measure_panel(content)
    parts: list[str] = []
    axis = build_axis(content)
    if axis is not None:
        tick_positions = axis.choose_ticks(height).positions
        rows = [(1 - (position - axis.low) / ((axis.high - axis.low) or 1.0)) * height for position in tick_positions]
        if content.spectrum is None:
            parts.append(_draw_time_grid(start, stop, height))
            parts.append(f'<path class="grid" d="{"".join(f"M0 {row:.1f}H{INSIDE_WIDTH}" for row in rows)}"/>')
    if content.spectrum is not None and axis is not None:
        parts += _draw_spectrum(content.spectrum, start, stop, height)
        scale = HERTZ_PER_UNIT.get(content.spectrum.axis_unit)
        if scale is not None:
            parts += [part for item in events for part in _draw_shapes(item, axis, scale, (start, stop), height)]
            if area is not None:
                outline = _write_shape_path(area, axis, scale, (start, stop), height)
                parts.append(f'<path class="area" d="{outline}"/>')
    elif axis is not None:
        for number, trace in enumerate(content.lines):
            parts += _draw_line(trace, axis, number, (start, stop), height)
    if content.events is not None:
        parts += _draw_events(content.events, start, stop)
    return Markup("".join(parts))  # noqa: S704  (each part is escaped)


def _draw_time_grid(start: int, stop: int, height: int) -> str:
    shares = choose_time_ticks(start, stop)[1]
    path = "".join(f"M{share * INSIDE_WIDTH:.1f} 0V{height}" for share in shares)
    return f'<path class="grid" d="{path}"/>'


def reduce_line(trace: LineTrace, start: int, stop: int) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Reduce a line to what a picture can show: positions across, means, lows, highs."""
    x = locate_instants(trace.instants, start, stop)
    if len(x) <= MAX_DRAWN_POINTS:
        return x, trace.means, trace.lows, trace.highs
    pixels = np.floor(x).astype(np.int64)
    starts = np.flatnonzero(np.r_[True, pixels[1:] != pixels[:-1]])
    counts = np.diff(starts, append=len(x))
    with np.errstate(invalid="ignore", divide="ignore"):
        is_value = np.isfinite(trace.means)
        sums = np.add.reduceat(np.where(is_value, trace.means, 0.0), starts)
        means = sums / np.add.reduceat(is_value, starts, dtype=np.int64)
    lows = np.fmin.reduceat(trace.lows, starts)
    highs = np.fmax.reduceat(trace.highs, starts)
    return np.add.reduceat(x, starts) / counts, means, lows, highs


def split_line(x: Numbers, y: Numbers, max_gap: float) -> Iterator[slice]:
    """Split a line at missing values, and where points are further apart than `max_gap` (0: nowhere)."""
    if not len(y):
        return
    is_finite = np.isfinite(y)
    is_break = np.r_[True, ~is_finite[1:] | ~is_finite[:-1] | ((np.diff(x) > max_gap) if max_gap else False)]
    starts = np.flatnonzero(is_break)
    for first, last in zip(starts, [*starts[1:], len(y)], strict=True):
        if is_finite[first]:
            yield slice(int(first), int(last))


def _draw_line(trace: LineTrace, axis: PanelAxis, number: int, span: tuple[int, int], height: int) -> Iterator[str]:
    if not len(trace.instants):
        return
    start, stop = span
    x, means, lows, highs = reduce_line(trace, start, stop)
    max_gap = trace.max_gap_microseconds / (stop - start) * INSIDE_WIDTH
    if max_gap and len(x) < len(trace.instants):
        max_gap = max(max_gap, 1.5)
    y, top, bottom = (axis.locate(values, height) for values in (means, highs, lows))
    curve, band = [], []
    for run in split_line(x, y, max_gap):
        curve.append(_write_path(x[run], y[run]))
        if np.nanmax(bottom[run] - top[run]) > 0.7:
            outline = _write_path(np.r_[x[run], x[run][::-1]], np.r_[top[run], bottom[run][::-1]])
            band.append(f"{outline}z")
    if band:
        yield f'<path class="band line-{number % 6}" d="{"".join(band)}"/>'
    yield f'<path class="curve line-{number % 6}" d="{"".join(curve)}"/>'


def _write_path(x: Numbers, y: Numbers) -> str:
    pairs = zip(np.round(x, 1).tolist(), np.round(y, 1).tolist(), strict=True)
    text = "L".join(f"{across:g} {down:g}" for across, down in pairs)
    if len(x) == 1:
        return f"M{text}h0"
    return f"M{text}"


def find_colour_limits(spectrum: SpectrumTrace) -> tuple[float, float, bool]:
    """Find the values of the darkest and the brightest colour, and whether colours show logarithms."""
    values = spectrum.values[np.isfinite(spectrum.values)]
    if not values.size:
        return 0.0, 1.0, False
    low, high = np.percentile(values, COLOUR_PERCENTILES).tolist()
    positive = values[values > 0]
    is_wide = low > 0 and high > 100 * low
    if positive.size and (spectrum.has_logarithmic_values or is_wide):
        low = max(low, float(np.percentile(positive, COLOUR_PERCENTILES[0])))
        return low, max(high, low * 1.0001), True
    return low, high if high > low else low + (abs(low) or 1.0), False


def render_spectrum(spectrum: SpectrumTrace) -> PilImage:
    """Render a spectrogram as an image of a pixel for each bin and row, the highest row first."""
    from PIL import Image  # noqa: PLC0415  (only pictures need it)

    low, high, is_logarithmic = find_colour_limits(spectrum)
    values = spectrum.values
    with np.errstate(invalid="ignore", divide="ignore"):
        if is_logarithmic:
            values, low, high = np.log(np.maximum(values, low)), float(np.log(low)), float(np.log(high))
        shares = np.clip((values - low) / (high - low), 0, 1)
    palette = build_palette()
    indexes = np.nan_to_num(shares * (len(palette) - 1)).astype(np.uint8)
    pixels = np.concatenate([palette[indexes], np.full((*indexes.shape, 1), 255, np.uint8)], axis=2)
    is_missing = ~np.isfinite(values)
    pixels[is_missing] = 0
    pixels[is_missing & spectrum.has_samples[None, :]] = NO_VALUE_COLOUR
    return Image.fromarray(np.ascontiguousarray(pixels[::-1]), "RGBA")


def build_palette() -> npt.NDArray[np.uint8]:
    """Build the 256 colours of viridis."""
    stops = np.array([[int(stop[at : at + 2], 16) for at in (0, 2, 4)] for stop in COLOUR_MAPS["viridis"]], np.float64)
    positions = np.linspace(0, 1, len(stops))
    steps = np.linspace(0, 1, 256)
    return (
        np.stack([np.interp(steps, positions, stops[:, channel]) for channel in range(3)], axis=1)
        .round()
        .astype(np.uint8)
    )


def _draw_spectrum(spectrum: SpectrumTrace, start: int, stop: int, height: int) -> Iterator[str]:
    if not spectrum.has_samples.any():
        return
    buffer = io.BytesIO()
    render_spectrum(spectrum).save(buffer, "PNG", compress_level=6)
    data = base64.b64encode(buffer.getvalue()).decode()
    end = spectrum.start + spectrum.values.shape[1] * spectrum.bin_microseconds
    left, right = locate_instants([spectrum.start, end], start, stop)
    yield (
        f'<image x="{left:.3f}" width="{right - left:.3f}" height="{height}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{data}"/>'
    )


def _draw_shapes(
    events: TableEvents, axis: PanelAxis, hertz: float, span: tuple[int, int], height: int
) -> Iterator[str]:
    """Draw the boxes and the shapes of rows over a spectrogram whose axis has frequencies in units of `hertz`."""
    for left, right, top, bottom in locate_boxes(events, axis, hertz, span, height):
        yield (
            f'<rect class="box" x="{left:.2f}" y="{top:.2f}" width="{max(right - left, 0.5):.2f}" '
            f'height="{max(bottom - top, 0.5):.2f}"/>'
        )
    shapes = list_visible_shapes(events, axis, hertz, span, height)
    paths = [_write_shape_path(shape, axis, hertz, span, height) for shape in shapes]
    if paths:
        yield f'<path class="shape" d="{"".join(paths)}"/>'


def _write_shape_path(
    shape: TimeFrequencyShape, axis: PanelAxis, hertz: float, span: tuple[int, int], height: int
) -> str:
    path = _write_path(locate_instants(shape.instants, *span), axis.locate(shape.hertz / hertz, height))
    if shape.is_closed:
        return f"{path}z"
    return path


def locate_boxes(
    events: TableEvents, axis: PanelAxis, hertz: float, span: tuple[int, int], height: float
) -> list[tuple[float, float, float, float]]:
    """Return the visible boxes of rows in time and frequency: left, right, top, bottom."""
    if events.boxes is None:
        return []
    low, high = events.boxes
    is_known = np.isfinite(low) & np.isfinite(high)
    left, right = (locate_instants(times[is_known], *span) for times in (events.begins, events.ends))
    top, bottom = (axis.locate(frequencies[is_known] / hertz, height) for frequencies in (high, low))
    is_visible = (right >= 0) & (left <= INSIDE_WIDTH) & (bottom >= 0) & (top <= height)
    edges = (edge[is_visible].tolist() for edge in (left, right, top, bottom))
    return list(zip(*edges, strict=True))


def list_visible_shapes(
    events: TableEvents, axis: PanelAxis, hertz: float, span: tuple[int, int], height: float
) -> list[TimeFrequencyShape]:
    """List the shapes of rows that reach into the times and frequencies of a spectrogram."""
    visible_shapes = []
    for shape in events.shapes:
        x = locate_instants(shape.instants, *span)
        y = axis.locate(shape.hertz / hertz, height)
        if x.max() >= 0 and x.min() <= INSIDE_WIDTH and y.max() >= 0 and y.min() <= height:
            visible_shapes.append(shape)
    return visible_shapes


def _choose_lanes(events: TableEvents, gap: int) -> list[int]:
    return compute_lanes(events.begins, events.ends, gap, MAX_LANES)


def locate_events(events: TableEvents, start: int, stop: int, width: float) -> list[tuple[float, float, float]]:
    """Return the marks of rows: left, right, and the middle of the lane."""
    left, right = (
        np.clip(locate_instants(times, start, stop, width), -9, width + 9) for times in (events.begins, events.ends)
    )
    rows = [3 + LANE_HEIGHT_PIXELS * (lane + 0.5) for lane in _choose_lanes(events, 0)]
    return list(zip(left.tolist(), right.tolist(), rows, strict=True))


def _draw_events(events: TableEvents, start: int, stop: int) -> Iterator[str]:
    marks = locate_events(events, start, stop, INSIDE_WIDTH)
    is_linked = len(marks) <= MAX_LINKED_EVENTS
    paths = []
    for number, (left, right, row) in enumerate(marks):
        if right - left < 1.5:  # moments
            path = f'd="M{left:.1f} {row - 5:g}v10" class="moment"'
        else:
            path = f'd="M{left:.1f} {row:g}H{right:.1f}" class="event"'
        if not is_linked:
            paths.append(f"<path {path}/>")
            continue
        name = f"{events.labels[number]} {format_instant(int(events.begins[number]))[:19]}".strip()
        paths.append(f'<a href="{escape(events.urls[number])}"><path {path}><title>{escape(name)}</title></path></a>')
    yield "".join(paths)


def describe_panel(content: PanelContent) -> str:
    """Describe a panel in words, for readers who do not see it: names and ranges."""
    if content.events is not None:
        return f"{len(content.events.begins):,}"
    if content.spectrum is not None:
        low, high, _ = find_colour_limits(content.spectrum)
        unit = content.spectrum.axis_unit
        axis = (
            f"{format_number(content.spectrum.low)} \N{EN DASH} {format_number(content.spectrum.high)} {unit}".strip()
        )
        colours = f"{format_number(low)} \N{EN DASH} {format_number(high)} {content.spectrum.unit}".strip()
        return f"{content.spectrum.name}: {axis}; {colours}"
    texts = []
    for trace in content.lines:
        values = np.concatenate([trace.lows, trace.highs])
        values = values[np.isfinite(values)]
        if values.size:
            extremes = f"{format_number(float(values.min()))} \N{EN DASH} {format_number(float(values.max()))}"
            texts.append(f"{trace.name}: {extremes} {trace.unit}".strip())
    return "; ".join(texts)
