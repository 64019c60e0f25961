"""A sheet: frames with ticks, curves, points, words, drawn by Pillow.

Lines are drawn three times as large and made smaller, which smooths them.
"""

from __future__ import annotations

import io
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from PIL.Image import Image as PilImage

    Numbers = npt.NDArray[np.float64]

INK_COLOUR, FRAME_COLOUR, GRID_COLOUR, PAPER_COLOUR = (38, 42, 48), (105, 112, 122), (228, 231, 235), (255, 255, 255)
LINE_COLOURS = ((36, 84, 158), (204, 92, 28), (42, 135, 84), (140, 70, 150), (170, 140, 30), (90, 96, 104))
_SUPERSAMPLING = 3  # lines are drawn so many times as large
MINUS_SIGN = "\N{MINUS SIGN}"
_DAY_SECONDS = 86_400.0
_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)  # of the Modified Julian date
_TIME_STEPS_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)


class RenderedPicture(NamedTuple):
    """A picture.

    Attributes
    ----------
    body
        PNG.
    description
        What it shows.
    """

    body: bytes
    description: str


@cache
def load_font(size: int) -> Any:
    """Return letters: DejaVu, where the machine has it, which has all signs; else those that Pillow brings along."""
    from PIL import ImageFont  # noqa: PLC0415  (loaded for pictures alone)

    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def to_font_characters(text: str) -> str:
    """Return a text in the signs that the letters have."""
    text = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
    if load_font(12).getname()[0].startswith("DejaVu"):
        return text
    text = re.sub("(?<=10)(?=[⁻⁰¹²³⁴⁵⁶⁷⁸⁹])", "^", text)
    text = "".join(
        character for character in unicodedata.normalize("NFKD", text) if not unicodedata.combining(character)
    )
    for sign, plain in ((MINUS_SIGN, "-"), ("°", "deg"), ("μ", "u"), ("λ", "lambda"), ("\N{EN DASH}", "-"), ("·", "|")):
        text = text.replace(sign, plain)
    return text.encode("ascii", "replace").decode()


@dataclass(frozen=True, slots=True)
class AxisTicks:
    """Where an axis is marked, and what is written there.

    Attributes
    ----------
    positions
        Values on the axis.
    labels
        One for each.
    axis_note
        What the axis' name needs besides: a power of ten, a date.
    """

    positions: tuple[float, ...]
    labels: tuple[str, ...]
    axis_note: str = ""


def choose_ticks(low: float, high: float, tick_limit: int, axis_kind: str = "") -> AxisTicks:
    """Choose marks.

    Parameters
    ----------
    low, high
        Of the axis.
    tick_limit
        Marks at most, about.
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
        return AxisTicks(
            tuple(positions), tuple(_format_power_of_ten(int(position_or_factor)) for position_or_factor in positions)
        )
    minimum_step = (high - low) / max(1, tick_limit)
    power = 10.0 ** np.floor(np.log10(minimum_step))
    step = power * next(
        position_or_factor
        for position_or_factor in (1.0, 2.0, 5.0, 10.0)
        if position_or_factor * power >= minimum_step * 0.999
    )
    first = np.ceil(low / step - 1e-9)
    last = np.floor(high / step + 1e-9)
    if last - first < 100:
        positions = np.arange(first, last + 1.0) * step
    else:
        positions = np.array([low, high])
    largest = np.abs(positions).max(initial=0.0)
    if largest:
        digits = int(np.floor(np.log10(largest)))
    else:
        digits = 0
    if axis_kind == "log":
        return AxisTicks(tuple(positions), tuple(f"{10.0**position_or_factor:.3g}" for position_or_factor in positions))
    if digits >= 5 or digits <= -4:
        scale = digits
    else:
        scale = 0
    decimals = max(0, int(np.ceil(-np.log10(step) + scale - 1e-9)))
    if decimals > 8:  # a small range far from zero
        return AxisTicks(tuple(positions), tuple(f"{position_or_factor:.10g}" for position_or_factor in positions))
    labels = tuple(
        f"{position_or_factor / 10.0**scale + 0.0:.{decimals}f}".replace("-", MINUS_SIGN)
        for position_or_factor in positions
    )
    return AxisTicks(tuple(positions), labels, f"10{_format_superscript(scale)}" if scale else "")


def _format_superscript(number: int) -> str:
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _format_power_of_ten(number: int) -> str:
    if -3 <= number <= 3:
        return f"{10.0**number:g}"
    return f"10{_format_superscript(number)}"


def format_mjd(mjd: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Write a time.

    Parameters
    ----------
    mjd
        Modified Julian date.
    form
        Of `strftime`.
    """
    try:
        seconds = round(mjd * _DAY_SECONDS, 3)
        return (_MJD_EPOCH + timedelta(seconds=seconds)).strftime(form)
    except OverflowError:
        return f"{mjd:g}"


def _choose_time_ticks(low: float, high: float, tick_limit: int) -> AxisTicks:
    minimum_step_seconds = (high - low) * _DAY_SECONDS / max(1, tick_limit)
    if minimum_step_seconds <= _TIME_STEPS_SECONDS[-1]:
        step = next(first_day for first_day in _TIME_STEPS_SECONDS if first_day >= minimum_step_seconds) / _DAY_SECONDS
        form = "%H:%M:%S" if step * _DAY_SECONDS < 60 else "%H:%M"
    else:
        days = next(
            (
                first_day
                for first_day in (1, 2, 5, 10, 30, 90, 180, 365, 730, 1826, 3652)
                if first_day >= minimum_step_seconds / _DAY_SECONDS
            ),
            36_525,
        )
        step = float(days)
        form = "%Y-%m-%d" if days < 90 else "%Y-%m"
    base = np.floor(low)
    positions = base + np.arange(np.ceil((low - base) / step - 1e-9), np.floor((high - base) / step + 1e-9) + 1) * step
    first_day = format_mjd(low + 1e-5, "%Y-%m-%d")
    last_day = format_mjd(high - 1e-5, "%Y-%m-%d")
    if step >= 1:
        axis_note = ""
    elif first_day == last_day:
        axis_note = first_day
    else:
        axis_note = f"{first_day} \N{EN DASH} {last_day}"
    return AxisTicks(tuple(positions), tuple(format_mjd(position, form) for position in positions), axis_note)


class PictureCanvas:
    """A page of pixels.

    Parameters
    ----------
    width, height
        Pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw  # noqa: PLC0415  (loaded for pictures alone)

        self.image: PilImage = Image.new("RGB", (max(1, width), max(1, height)), PAPER_COLOUR)
        self.pen: Any = ImageDraw.Draw(self.image)
        self.size = width, height
        # letters of a size that fits the page
        if min(width, height):
            self.letter_pixels = int(np.clip(min(width * 0.85, height) / 42, 9, 22))
        else:
            self.letter_pixels = 9

    def draw_text(
        self,
        xy: tuple[float, float],
        text: str,
        anchor: str = "la",
        size: int = 0,
        colour: tuple[int, int, int] = INK_COLOUR,
    ) -> None:
        """Write a text; `anchor` as Pillow has it."""
        self.pen.text(
            xy, to_font_characters(text), fill=colour, font=load_font(size or self.letter_pixels), anchor=anchor
        )

    def measure_text(self, text: str, size: int = 0) -> float:
        """Return how wide a text is."""
        font = load_font(size or self.letter_pixels)
        return float(font.getlength(to_font_characters(text)))

    def shorten_text(self, text: str, width_limit: float, size: int = 0) -> str:
        """Return as much of a text as has room."""
        text = to_font_characters(text)
        if self.measure_text(text, size) <= width_limit:
            return text
        kept_characters = int(len(text) * width_limit / max(1.0, self.measure_text(text, size)))
        while kept_characters > 0 and self.measure_text(text[:kept_characters] + "…", size) > width_limit:
            kept_characters -= 1
        if kept_characters > 0:
            return text[:kept_characters] + "…"
        return ""

    def draw_upright_text(self, xy: tuple[float, float], text: str, size: int = 0) -> None:
        """Write a text upwards, around a point."""
        from PIL import Image, ImageDraw  # noqa: PLC0415  (loaded already)

        letters = load_font(size or self.letter_pixels)
        text_width = int(self.measure_text(text, size)) + 2
        text_height = int(1.5 * (size or self.letter_pixels))
        strip = Image.new("RGB", (max(1, text_width), max(1, text_height)), PAPER_COLOUR)
        ImageDraw.Draw(strip).text(
            (text_width / 2, text_height / 2), to_font_characters(text), fill=INK_COLOUR, font=letters, anchor="mm"
        )
        strip = strip.transpose(Image.Transpose.ROTATE_90)
        self.image.paste(strip, (int(xy[0] - strip.width / 2), int(xy[1] - strip.height / 2)))

    def to_png(self, metadata_texts: Mapping[str, str]) -> bytes:
        """Pack it, with texts."""
        return encode_png(self.image, metadata_texts)


def encode_png(image: PilImage, metadata_texts: Mapping[str, str]) -> bytes:
    """Pack a picture as PNG.

    Parameters
    ----------
    image
        Of Pillow.
    metadata_texts
        Texts that stand in the file.
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
    """A frame with two axes on a sheet.

    Parameters
    ----------
    box
        Left, top, right, bottom: what is inside.
    x, y
        From left to right, from bottom to top.
    kinds
        Of the axes, as of `choose_ticks`.
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

    def compute_pixels(self, x: Any, y: Any) -> tuple[Numbers, Numbers]:
        """Return pixels within the frame, from its left upper corner."""
        horizontal_share = (np.asarray(x, np.float64) - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        vertical_share = (np.asarray(y, np.float64) - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        return horizontal_share * self.width, (1.0 - vertical_share) * self.height

    def draw_axes(
        self,
        names: tuple[str, str],
        x: AxisTicks | None = None,
        y: AxisTicks | None = None,
        *,
        grid: bool = False,
        outward: bool = False,
    ) -> None:
        """Draw the frame, its marks and names."""
        sheet, (left, top, right, bottom) = self.sheet, self.box
        size = sheet.letter_pixels
        x = x or choose_ticks(*self.x, max(2, int(self.width / (5.5 * size))), self.kinds[0])
        y = y or choose_ticks(*self.y, max(2, int(self.height / (4 * size))), self.kinds[1])
        tick_pixels = max(3, size // 3)
        ends = -np.inf
        for value, label in sorted(
            zip(x.positions, x.labels, strict=True),
            key=lambda ticks_or_pair: self.compute_pixels(ticks_or_pair[0], 0)[0],
        ):
            pixels = self.compute_pixels(value, 0)
            pixel = left + float(pixels[0])
            if not left - 0.6 <= pixel <= right + 0.6:
                continue
            if grid:
                sheet.pen.line([(pixel, top), (pixel, bottom)], fill=GRID_COLOUR)
            sheet.pen.line(
                [(pixel, bottom + (tick_pixels if outward else 0)), (pixel, bottom - (0 if outward else tick_pixels))],
                fill=INK_COLOUR,
            )
            half = sheet.measure_text(label) / 2
            if pixel - half > ends + 4 and pixel + half < sheet.size[0]:
                sheet.draw_text((pixel, bottom + tick_pixels + 3), label, "ma")
                ends = pixel + half
        widest = 0.0
        ends = np.inf
        for value, label in sorted(
            zip(y.positions, y.labels, strict=True),
            key=lambda ticks_or_pair: -self.compute_pixels(0, ticks_or_pair[0])[1],
        ):
            pixel = top + float(self.compute_pixels(0, value)[1])
            if not top - 0.6 <= pixel <= bottom + 0.6:
                continue
            if grid:
                sheet.pen.line([(left, pixel), (right, pixel)], fill=GRID_COLOUR)
            sheet.pen.line(
                [(left - (tick_pixels if outward else 0), pixel), (left + (0 if outward else tick_pixels), pixel)],
                fill=INK_COLOUR,
            )
            if pixel < ends - size:
                sheet.draw_text((left - tick_pixels - 3, pixel), label, "rm")
                ends = pixel
                widest = max(widest, sheet.measure_text(label))
        sheet.pen.rectangle([left, top, right, bottom], outline=FRAME_COLOUR)
        horizontal_name, vertical_name = (
            f"{name}  ({ticks_or_pair.axis_note})"
            if ticks_or_pair.axis_note and name
            else name or ticks_or_pair.axis_note
            for name, ticks_or_pair in zip(names, (x, y), strict=True)
        )
        if horizontal_name:
            sheet.draw_text(
                ((left + right) / 2, bottom + tick_pixels + 5 + 1.3 * size),
                sheet.shorten_text(horizontal_name, self.width),
                "ma",
            )
        if vertical_name:
            sheet.draw_upright_text(
                (max(0.8 * size, left - tick_pixels - 8 - widest - size), (top + bottom) / 2),
                sheet.shorten_text(vertical_name, self.height),
            )

    def create_layer(self) -> PlotLayer:
        """Begin to draw inside."""
        return PlotLayer(self)


class PlotLayer:
    """What is drawn within a frame, smoothly."""

    def __init__(self, frame: PlotFrame) -> None:
        from PIL import Image, ImageDraw  # noqa: PLC0415  (loaded already)

        self.frame = frame
        left, top, right, bottom = frame.box
        below = frame.sheet.image.crop((left, top, right, bottom))
        self.image = below.resize(
            (frame.width * _SUPERSAMPLING, frame.height * _SUPERSAMPLING), Image.Resampling.NEAREST
        )
        self.pen: Any = ImageDraw.Draw(self.image)

    def _compute_pixels(self, x: Any, y: Any) -> Numbers:
        horizontal_pixels, vertical_pixels = self.frame.compute_pixels(x, y)
        edge = 10.0 * max(self.frame.width, self.frame.height)
        return (
            np.stack([np.clip(horizontal_pixels, -edge, edge), np.clip(vertical_pixels, -edge, edge)], -1)
            * _SUPERSAMPLING
        )

    def draw_curve(self, x: Numbers, y: Numbers, colour: Sequence[int], line_width: float = 1.2) -> None:
        """Draw a line, broken where there is no value; of more values than pixels the reach of each pixel."""
        pixels = self.frame.compute_pixels(x, np.zeros(len(x)))
        pixel = np.clip(pixels[0], -1, self.frame.width + 1)
        if len(x) > 6 * self.frame.width and (np.diff(pixel) >= 0).all():
            x, y = _reduce_to_pixel_extremes(pixel.astype(np.int64), x, y)
        is_finite = np.isfinite(x) & np.isfinite(y)
        ends = np.flatnonzero(np.diff(np.concatenate([[0], is_finite.astype(np.int8), [0]])))
        width = max(1, round(line_width * _SUPERSAMPLING))
        for start, stop in zip(ends[::2], ends[1::2], strict=True):
            points = self._compute_pixels(x[start:stop], y[start:stop])
            if len(points) == 1:
                self._draw_dot(points[0], 1.2 * _SUPERSAMPLING, colour, is_filled=True)
            else:
                self.pen.line(points.ravel().tolist(), fill=tuple(colour), width=width, joint="curve")

    def draw_points(
        self, x: Numbers, y: Numbers, colour: Sequence[int], radius: float, *, is_filled: bool = True
    ) -> None:
        """Draw dots, or rings."""
        for point in self._compute_pixels(x, y)[np.isfinite(x) & np.isfinite(y)]:
            self._draw_dot(point, radius * _SUPERSAMPLING, colour, is_filled=is_filled)

    def draw_error_bars(self, x: Numbers, low: Numbers, high: Numbers, colour: Sequence[int]) -> None:
        """Draw the reach of errors."""
        is_finite = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
        for lower_point, upper_point in zip(
            self._compute_pixels(x, low)[is_finite], self._compute_pixels(x, high)[is_finite], strict=True
        ):
            self.pen.line([tuple(lower_point), tuple(upper_point)], fill=tuple(colour), width=_SUPERSAMPLING)

    def _draw_dot(self, point: Numbers, radius: float, colour: Sequence[int], *, is_filled: bool) -> None:
        box = [point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius]
        if is_filled:
            self.pen.ellipse(box, fill=tuple(colour))
        else:
            self.pen.ellipse(box, outline=tuple(colour), width=_SUPERSAMPLING)

    def merge_into_canvas(self) -> None:
        """Lay it on the sheet."""
        self.frame.sheet.image.paste(self.image.reduce(_SUPERSAMPLING), self.frame.box[:2])


def _reduce_to_pixel_extremes(pixel: npt.NDArray[np.int64], x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Return the smallest and the largest value of each pixel, one behind the other."""
    starts = np.flatnonzero(np.concatenate([[True], np.diff(pixel) > 0]))
    is_finite = np.isfinite(y)
    low = np.minimum.reduceat(np.where(is_finite, y, np.inf), starts)
    high = np.maximum.reduceat(np.where(is_finite, y, -np.inf), starts)
    extremes = np.stack([low, high], 1).ravel()
    extremes[~np.isfinite(extremes)] = np.nan
    return np.repeat(x[starts], 2), extremes
