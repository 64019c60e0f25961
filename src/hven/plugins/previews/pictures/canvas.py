"""Draw on a canvas with Pillow: frames with ticks, curves, points, texts.

Lines are drawn three times as large and scaled down, which smooths them.
"""

from __future__ import annotations

import io
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from PIL.Image import Image as PilImage

    Numbers = npt.NDArray[np.float64]

INK_COLOUR, FRAME_COLOUR = (38, 42, 48), (105, 112, 122)
GRID_COLOUR, PAPER_COLOUR = (228, 231, 235), (255, 255, 255)
LINE_COLOURS = ((36, 84, 158), (204, 92, 28), (42, 135, 84), (140, 70, 150), (170, 140, 30), (90, 96, 104))
_SUPERSAMPLING = 3  # factor by which lines are drawn larger
MINUS_SIGN = "\N{MINUS SIGN}"
_DAY_SECONDS = 86_400.0
_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)  # of the Modified Julian date
_TIME_STEPS_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)
_TIME_STEPS_DAYS = (1, 2, 5, 10, 30, 90, 180, 365, 730, 1826, 3652)
_MAX_TIME_STEP_DAYS = 36_525


class RenderedPicture(NamedTuple):
    """A picture.

    Attributes
    ----------
    body
        Bytes of the PNG.
    description
        What it shows.
    """

    body: bytes
    description: str


@cache
def load_font(size: int) -> Any:
    """Load the font DejaVu, which has all characters, if the machine has it; else the one of Pillow."""
    from PIL import ImageFont  # noqa: PLC0415  (loaded for pictures alone)

    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def replace_missing_glyphs(text: str) -> str:
    """Convert a text to the characters that the font has."""
    text = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
    if load_font(12).getname()[0].startswith("DejaVu"):
        return text
    text = re.sub("(?<=10)(?=[⁻⁰¹²³⁴⁵⁶⁷⁸⁹])", "^", text)
    decomposed_text = unicodedata.normalize("NFKD", text)
    text = "".join(character for character in decomposed_text if not unicodedata.combining(character))
    for sign, plain in ((MINUS_SIGN, "-"), ("°", "deg"), ("μ", "u"), ("λ", "lambda"), ("\N{EN DASH}", "-"), ("·", "|")):
        text = text.replace(sign, plain)
    return text.encode("ascii", "replace").decode()


@dataclass(frozen=True, slots=True)
class AxisTicks:
    """The ticks of an axis.

    Attributes
    ----------
    positions
        Values on the axis.
    labels
        A label for each position.
    axis_note
        What the name of the axis needs besides: a power of ten, or a date.
    """

    positions: tuple[float, ...]
    labels: tuple[str, ...]
    axis_note: str = ""


def choose_ticks(low: float, high: float, tick_limit: int, axis_kind: str = "") -> AxisTicks:
    """Choose the ticks of an axis.

    Parameters
    ----------
    low, high
        Ends of the axis.
    tick_limit
        Approximate maximum number of ticks.
    axis_kind
        ``time``: the values are MJD; ``log``: they are logarithms.
    """
    low, high = min(low, high), max(low, high)
    if not np.isfinite([low, high, high - low]).all() or not low < high:
        return AxisTicks((low,), (f"{low:.6g}",))
    if axis_kind == "time" and low > -1e6 and high < 3e6:
        return _choose_time_ticks(low, high, tick_limit)
    if axis_kind == "log" and high - low >= 1.0:
        step = max(1, round((high - low) / tick_limit))
        positions = np.arange(np.ceil(low), high + 1e-9, step)
        labels = [_format_power_of_ten(int(position)) for position in positions]
        return AxisTicks(tuple(positions), tuple(labels))
    minimum_step = (high - low) / max(1, tick_limit)
    power = 10.0 ** np.floor(np.log10(minimum_step))
    step = 10.0 * power
    for factor in (1.0, 2.0, 5.0):
        if factor * power >= minimum_step * 0.999:
            step = factor * power
            break
    first = np.ceil(low / step - 1e-9)
    last = np.floor(high / step + 1e-9)
    if last - first < 100:
        positions = np.arange(first, last + 1.0) * step
    else:
        positions = np.array([low, high])
    if axis_kind == "log":
        return AxisTicks(tuple(positions), tuple(f"{10.0**position:.3g}" for position in positions))
    scale = 0
    largest = np.abs(positions).max(initial=0.0)
    if largest:
        digits = int(np.floor(np.log10(largest)))
        if digits >= 5 or digits <= -4:
            scale = digits
    needed_decimals = np.ceil(-np.log10(step) + scale - 1e-9)
    decimals = max(0, int(needed_decimals))
    if decimals > 8:  # a small range far from zero
        return AxisTicks(tuple(positions), tuple(f"{position:.10g}" for position in positions))
    texts = [f"{position / 10.0**scale + 0.0:.{decimals}f}" for position in positions]
    labels = [text.replace("-", MINUS_SIGN) for text in texts]
    axis_note = f"10{_format_superscript(scale)}" if scale else ""
    return AxisTicks(tuple(positions), tuple(labels), axis_note)


def _format_superscript(number: int) -> str:
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _format_power_of_ten(number: int) -> str:
    if -3 <= number <= 3:
        return f"{10.0**number:g}"
    return f"10{_format_superscript(number)}"


def format_mjd(mjd: float, time_format: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Format a time.

    Parameters
    ----------
    mjd
        Modified Julian date.
    time_format
        Format of `strftime`.
    """
    try:
        seconds = round(mjd * _DAY_SECONDS, 3)
        return (_MJD_EPOCH + timedelta(seconds=seconds)).strftime(time_format)
    except OverflowError:
        return f"{mjd:g}"


def _choose_time_ticks(low: float, high: float, tick_limit: int) -> AxisTicks:
    minimum_step_seconds = (high - low) * _DAY_SECONDS / max(1, tick_limit)
    if minimum_step_seconds <= _TIME_STEPS_SECONDS[-1]:
        seconds = next(step_seconds for step_seconds in _TIME_STEPS_SECONDS if step_seconds >= minimum_step_seconds)
        step = seconds / _DAY_SECONDS
        form = "%H:%M:%S" if seconds < 60 else "%H:%M"
    else:
        minimum_step_days = minimum_step_seconds / _DAY_SECONDS
        long_enough_days = (step_days for step_days in _TIME_STEPS_DAYS if step_days >= minimum_step_days)
        days = next(long_enough_days, _MAX_TIME_STEP_DAYS)
        step = float(days)
        form = "%Y-%m-%d" if days < 90 else "%Y-%m"
    base = np.floor(low)
    first_number = np.ceil((low - base) / step - 1e-9)
    last_number = np.floor((high - base) / step + 1e-9)
    positions = base + np.arange(first_number, last_number + 1) * step
    first_day = format_mjd(low + 1e-5, "%Y-%m-%d")
    last_day = format_mjd(high - 1e-5, "%Y-%m-%d")
    if step >= 1:
        axis_note = ""
    elif first_day == last_day:
        axis_note = first_day
    else:
        axis_note = f"{first_day} \N{EN DASH} {last_day}"
    labels = [format_mjd(position, form) for position in positions]
    return AxisTicks(tuple(positions), tuple(labels), axis_note)


class PictureCanvas:
    """A canvas of pixels.

    Parameters
    ----------
    width, height
        Size in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw  # noqa: PLC0415  (loaded for pictures alone)

        image_size = (max(1, width), max(1, height))
        self.image: PilImage = Image.new("RGB", image_size, PAPER_COLOUR)
        self.pen: Any = ImageDraw.Draw(self.image)
        self.size = width, height
        # letters of a size that fits the canvas
        self.letter_pixels = 9
        if min(width, height):
            fitting_pixels = min(width * 0.85, height) / 42
            self.letter_pixels = int(np.clip(fitting_pixels, 9, 22))

    def draw_text(
        self,
        xy: tuple[float, float],
        text: str,
        anchor: str = "la",
        size: int = 0,
        colour: tuple[int, int, int] = INK_COLOUR,
    ) -> None:
        """Draw a text; `anchor` is an anchor of Pillow."""
        font = load_font(size or self.letter_pixels)
        self.pen.text(xy, replace_missing_glyphs(text), fill=colour, font=font, anchor=anchor)

    def measure_text(self, text: str, size: int = 0) -> float:
        """Return the width of a text in pixels."""
        font = load_font(size or self.letter_pixels)
        return float(font.getlength(replace_missing_glyphs(text)))

    def shorten_text(self, text: str, width_limit: float, size: int = 0) -> str:
        """Shorten a text to the available width."""
        text = replace_missing_glyphs(text)
        if self.measure_text(text, size) <= width_limit:
            return text
        share = width_limit / max(1.0, self.measure_text(text, size))
        kept_characters = int(len(text) * share)
        while kept_characters > 0 and self.measure_text(text[:kept_characters] + "…", size) > width_limit:
            kept_characters -= 1
        if kept_characters > 0:
            return text[:kept_characters] + "…"
        return ""

    def draw_upright_text(self, xy: tuple[float, float], text: str, size: int = 0) -> None:
        """Draw a text upwards, centred on a point."""
        from PIL import Image, ImageDraw  # noqa: PLC0415  (loaded already)

        letters = load_font(size or self.letter_pixels)
        text_width = int(self.measure_text(text, size)) + 2
        text_height = int(1.5 * (size or self.letter_pixels))
        strip_size = (max(1, text_width), max(1, text_height))
        strip = Image.new("RGB", strip_size, PAPER_COLOUR)
        pen = ImageDraw.Draw(strip)
        middle = (text_width / 2, text_height / 2)
        pen.text(middle, replace_missing_glyphs(text), fill=INK_COLOUR, font=letters, anchor="mm")
        strip = strip.transpose(Image.Transpose.ROTATE_90)
        left = int(xy[0] - strip.width / 2)
        top = int(xy[1] - strip.height / 2)
        self.image.paste(strip, (left, top))

    def to_png(self, metadata_texts: Mapping[str, str]) -> bytes:
        """Encode the canvas as PNG, with texts."""
        return encode_png(self.image, metadata_texts)


def encode_png(image: PilImage, metadata_texts: Mapping[str, str]) -> bytes:
    """Encode an image as PNG.

    Parameters
    ----------
    image
        Image of Pillow.
    metadata_texts
        Texts that are stored in the file.
    """
    from PIL.PngImagePlugin import PngInfo  # noqa: PLC0415  (loaded already)

    info = PngInfo()
    buffer = io.BytesIO()
    for key, text in metadata_texts.items():
        if text:
            info.add_itxt(key, text)
    image.save(buffer, "PNG", pnginfo=info, compress_level=4)
    return buffer.getvalue()


class PlotFrame:
    """A frame with two axes on a canvas.

    Parameters
    ----------
    box
        Left, top, right and bottom edge of the inside.
    x, y
        Values at the left and the right edge, and at the bottom and the top.
    kinds
        Kinds of the axes, as in `choose_ticks`.
    """

    def __init__(
        self,
        sheet: PictureCanvas,
        box: tuple[int, int, int, int],
        x: tuple[float, float],
        y: tuple[float, float],
        kinds: tuple[str, str] = ("", ""),
    ) -> None:
        self.sheet = sheet
        self.box = box
        self.x = x
        self.y = y
        self.kinds = kinds
        self.width = max(1, box[2] - box[0])
        self.height = max(1, box[3] - box[1])

    def compute_pixel_positions(self, x: Any, y: Any) -> tuple[Numbers, Numbers]:
        """Return pixels within the frame, from its upper left corner."""
        horizontal_range = (self.x[1] - self.x[0]) or 1.0
        vertical_range = (self.y[1] - self.y[0]) or 1.0
        horizontal_share = (np.asarray(x, np.float64) - self.x[0]) / horizontal_range
        vertical_share = (np.asarray(y, np.float64) - self.y[0]) / vertical_range
        return horizontal_share * self.width, (1.0 - vertical_share) * self.height

    def draw_axes(
        self,
        names: tuple[str, str],
        x: AxisTicks | None = None,
        y: AxisTicks | None = None,
        *,
        has_grid: bool = False,
        has_outward_ticks: bool = False,
    ) -> None:
        """Draw the frame, its ticks and the names of axes."""
        sheet, (left, top, right, bottom) = self.sheet, self.box
        size = sheet.letter_pixels
        if x is None:
            x = choose_ticks(*self.x, max(2, int(self.width / (5.5 * size))), self.kinds[0])
        if y is None:
            y = choose_ticks(*self.y, max(2, int(self.height / (4 * size))), self.kinds[1])
        tick_pixels = max(3, size // 3)
        self._draw_horizontal_ticks(x, tick_pixels, has_grid=has_grid, has_outward_ticks=has_outward_ticks)
        widest = self._draw_vertical_ticks(y, tick_pixels, has_grid=has_grid, has_outward_ticks=has_outward_ticks)
        sheet.pen.rectangle([left, top, right, bottom], outline=FRAME_COLOUR)
        horizontal_name = _add_axis_note(names[0], x.axis_note)
        vertical_name = _add_axis_note(names[1], y.axis_note)
        if horizontal_name:
            place = ((left + right) / 2, bottom + tick_pixels + 5 + 1.3 * size)
            sheet.draw_text(place, sheet.shorten_text(horizontal_name, self.width), "ma")
        if vertical_name:
            name_x = max(0.8 * size, left - tick_pixels - 8 - widest - size)
            place = (name_x, (top + bottom) / 2)
            sheet.draw_upright_text(place, sheet.shorten_text(vertical_name, self.height))

    def _draw_horizontal_ticks(
        self, ticks: AxisTicks, tick_pixels: int, *, has_grid: bool, has_outward_ticks: bool
    ) -> None:
        """Draw the ticks of the lower edge from left to right, with labels as far as there is room."""
        sheet, (left, top, right, bottom) = self.sheet, self.box
        tick_end = bottom + tick_pixels if has_outward_ticks else bottom - tick_pixels
        positions = self.compute_pixel_positions(ticks.positions, 0)[0]
        label_end = -np.inf
        for position, label in sorted(zip(positions, ticks.labels, strict=True), key=itemgetter(0)):
            pixel = left + float(position)
            if not left - 0.6 <= pixel <= right + 0.6:
                continue
            if has_grid:
                sheet.pen.line([(pixel, top), (pixel, bottom)], fill=GRID_COLOUR)
            sheet.pen.line([(pixel, bottom), (pixel, tick_end)], fill=INK_COLOUR)
            half = sheet.measure_text(label) / 2
            if pixel - half > label_end + 4 and pixel + half < sheet.size[0]:
                sheet.draw_text((pixel, bottom + tick_pixels + 3), label, "ma")
                label_end = pixel + half

    def _draw_vertical_ticks(
        self, ticks: AxisTicks, tick_pixels: int, *, has_grid: bool, has_outward_ticks: bool
    ) -> float:
        """Draw the ticks of the left edge upwards, with labels as far as there is room; return the widest label."""
        sheet, (left, top, right, bottom) = self.sheet, self.box
        tick_end = left - tick_pixels if has_outward_ticks else left + tick_pixels
        positions = self.compute_pixel_positions(0, ticks.positions)[1]
        widest = 0.0
        label_end = np.inf
        for position, label in sorted(zip(positions, ticks.labels, strict=True), key=lambda pair: -pair[0]):
            pixel = top + float(position)
            if not top - 0.6 <= pixel <= bottom + 0.6:
                continue
            if has_grid:
                sheet.pen.line([(left, pixel), (right, pixel)], fill=GRID_COLOUR)
            sheet.pen.line([(left, pixel), (tick_end, pixel)], fill=INK_COLOUR)
            if pixel < label_end - sheet.letter_pixels:
                sheet.draw_text((left - tick_pixels - 3, pixel), label, "rm")
                label_end = pixel
                widest = max(widest, sheet.measure_text(label))
        return widest

    def create_layer(self) -> PlotLayer:
        """Create the layer that is drawn inside."""
        return PlotLayer(self)


def _add_axis_note(name: str, axis_note: str) -> str:
    if axis_note and name:
        return f"{name}  ({axis_note})"
    return name or axis_note


class PlotLayer:
    """What is drawn within a frame, with smooth lines."""

    def __init__(self, frame: PlotFrame) -> None:
        from PIL import Image, ImageDraw  # noqa: PLC0415  (loaded already)

        self.frame = frame
        left, top, right, bottom = frame.box
        below = frame.sheet.image.crop((left, top, right, bottom))
        layer_size = (frame.width * _SUPERSAMPLING, frame.height * _SUPERSAMPLING)
        self.image = below.resize(layer_size, Image.Resampling.NEAREST)
        self.pen: Any = ImageDraw.Draw(self.image)

    def _compute_pixel_positions(self, x: Any, y: Any) -> Numbers:
        horizontal_pixels, vertical_pixels = self.frame.compute_pixel_positions(x, y)
        edge = 10.0 * max(self.frame.width, self.frame.height)
        clipped_horizontal = np.clip(horizontal_pixels, -edge, edge)
        clipped_vertical = np.clip(vertical_pixels, -edge, edge)
        return np.stack([clipped_horizontal, clipped_vertical], -1) * _SUPERSAMPLING

    def draw_curve(self, x: Numbers, y: Numbers, colour: Sequence[int], line_width: float = 1.2) -> None:
        """Draw a line, with gaps at missing values; for more values than pixels draw the extremes of each pixel."""
        pixels = self.frame.compute_pixel_positions(x, np.zeros(len(x)))
        pixel = np.clip(pixels[0], -1, self.frame.width + 1)
        if len(x) > 6 * self.frame.width and (np.diff(pixel) >= 0).all():
            x, y = _reduce_to_pixel_extremes(pixel.astype(np.int64), x, y)
        is_finite = np.isfinite(x) & np.isfinite(y)
        is_drawn = np.concatenate([[0], is_finite.astype(np.int8), [0]])
        ends = np.flatnonzero(np.diff(is_drawn))
        width = max(1, round(line_width * _SUPERSAMPLING))
        for start, stop in zip(ends[::2], ends[1::2], strict=True):
            points = self._compute_pixel_positions(x[start:stop], y[start:stop])
            if len(points) == 1:
                self._draw_dot(points[0], 1.2 * _SUPERSAMPLING, colour, is_filled=True)
            else:
                coordinates = points.ravel().tolist()
                self.pen.line(coordinates, fill=tuple(colour), width=width, joint="curve")

    def draw_points(
        self, x: Numbers, y: Numbers, colour: Sequence[int], radius: float, *, is_filled: bool = True
    ) -> None:
        """Draw dots, or rings."""
        for point in self._compute_pixel_positions(x, y)[np.isfinite(x) & np.isfinite(y)]:
            self._draw_dot(point, radius * _SUPERSAMPLING, colour, is_filled=is_filled)

    def draw_error_bars(self, x: Numbers, low: Numbers, high: Numbers, colour: Sequence[int]) -> None:
        """Draw error bars."""
        is_finite = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
        lower_points = self._compute_pixel_positions(x, low)[is_finite]
        upper_points = self._compute_pixel_positions(x, high)[is_finite]
        for lower_point, upper_point in zip(lower_points, upper_points, strict=True):
            ends = [tuple(lower_point), tuple(upper_point)]
            self.pen.line(ends, fill=tuple(colour), width=_SUPERSAMPLING)

    def _draw_dot(self, point: Numbers, radius: float, colour: Sequence[int], *, is_filled: bool) -> None:
        x, y = point
        box = [x - radius, y - radius, x + radius, y + radius]
        if is_filled:
            self.pen.ellipse(box, fill=tuple(colour))
        else:
            self.pen.ellipse(box, outline=tuple(colour), width=_SUPERSAMPLING)

    def merge_into_canvas(self) -> None:
        """Paste the layer into its canvas."""
        smooth_image = self.image.reduce(_SUPERSAMPLING)
        self.frame.sheet.image.paste(smooth_image, self.frame.box[:2])


def _reduce_to_pixel_extremes(pixel: npt.NDArray[np.int64], x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Return the smallest and the largest value of each pixel, one after the other."""
    is_new_pixel = np.concatenate([[True], np.diff(pixel) > 0])
    starts = np.flatnonzero(is_new_pixel)
    is_finite = np.isfinite(y)
    low = np.minimum.reduceat(np.where(is_finite, y, np.inf), starts)
    high = np.maximum.reduceat(np.where(is_finite, y, -np.inf), starts)
    extremes = np.stack([low, high], 1).ravel()
    extremes[~np.isfinite(extremes)] = np.nan
    return np.repeat(x[starts], 2), extremes
