"""A sheet: frames with ticks, curves, points, words, drawn by Pillow; lines are drawn three times as large and made smaller, which smooths them."""

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
    from PIL.Image import Image as Pixels

    Numbers = npt.NDArray[np.float64]

INK, SOFT, GRID, PAPER = (38, 42, 48), (105, 112, 122), (228, 231, 235), (255, 255, 255)
LINES = ((36, 84, 158), (204, 92, 28), (42, 135, 84), (140, 70, 150), (170, 140, 30), (90, 96, 104))
_FINE = 3  # lines are drawn so many times as large
MINUS = "\N{MINUS SIGN}"
_DAY = 86_400.0
_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)  # of the Modified Julian date
_TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)


class Picture(NamedTuple):
    """A picture.

    Attributes
    ----------
    body
        PNG.
    words
        What it shows.
    """

    body: bytes
    words: str


@cache
def font(size: int) -> Any:
    """Return letters: DejaVu, where the machine has it, which has all signs; else those that Pillow brings along."""
    from PIL import ImageFont  # noqa: PLC0415  (loaded for pictures alone)

    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def written(text: str) -> str:
    """Return a text in the signs that the letters have."""
    text = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
    if font(12).getname()[0].startswith("DejaVu"):
        return text
    text = re.sub("(?<=10)(?=[⁻⁰¹²³⁴⁵⁶⁷⁸⁹])", "^", text)
    text = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    for sign, plain in ((MINUS, "-"), ("°", "deg"), ("μ", "u"), ("λ", "lambda"), ("\N{EN DASH}", "-"), ("·", "|")):
        text = text.replace(sign, plain)
    return text.encode("ascii", "replace").decode()


@dataclass(frozen=True, slots=True)
class Ticks:
    """Where an axis is marked, and what is written there.

    Attributes
    ----------
    places
        Values on the axis.
    words
        One for each.
    more
        What the axis' name needs besides: a power of ten, a date.
    """

    places: tuple[float, ...]
    words: tuple[str, ...]
    more: str = ""


def ticks(low: float, high: float, most: int, kind: str = "") -> Ticks:
    """Choose marks.

    Parameters
    ----------
    low, high
        Of the axis.
    most
        Marks at most, about.
    kind
        ``time``: the values are MJD; ``log``: they are logarithms.
    """
    low, high = min(low, high), max(low, high)
    if not np.isfinite([low, high, high - low]).all() or not low < high:
        return Ticks((low,), (f"{low:.6g}",))
    if kind == "time" and low > -1e6 and high < 3e6:
        return _of_time(low, high, most)
    if kind == "log" and high - low >= 1.0:
        step = max(1, round((high - low) / most))
        places = np.arange(np.ceil(low), high + 1e-9, step)
        return Ticks(tuple(places), tuple(_power(int(one)) for one in places))
    rough = (high - low) / max(1, most)
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next(one for one in (1.0, 2.0, 5.0, 10.0) if one * power >= rough * 0.999)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    places = np.arange(first, last + 1.0) * step if last - first < 100 else np.array([low, high])
    largest = np.abs(places).max(initial=0.0)
    digits = int(np.floor(np.log10(largest))) if largest else 0
    if kind == "log":
        return Ticks(tuple(places), tuple(f"{10.0**one:.3g}" for one in places))
    scale = digits if digits >= 5 or digits <= -4 else 0
    decimals = max(0, int(np.ceil(-np.log10(step) + scale - 1e-9)))
    if decimals > 8:  # a small range far from zero
        return Ticks(tuple(places), tuple(f"{one:.10g}" for one in places))
    words = tuple(f"{one / 10.0**scale + 0.0:.{decimals}f}".replace("-", MINUS) for one in places)
    return Ticks(tuple(places), words, f"10{_raised(scale)}" if scale else "")


def _raised(number: int) -> str:
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _power(number: int) -> str:
    return f"{10.0**number:g}" if -3 <= number <= 3 else f"10{_raised(number)}"


def moment(mjd: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Write a time.

    Parameters
    ----------
    mjd
        Modified Julian date.
    form
        Of `strftime`.
    """
    try:
        return (_EPOCH + timedelta(seconds=round(mjd * _DAY, 3))).strftime(form)
    except OverflowError:
        return f"{mjd:g}"


def _of_time(low: float, high: float, most: int) -> Ticks:
    rough = (high - low) * _DAY / max(1, most)
    if rough <= _TIMES[-1]:
        step = next(one for one in _TIMES if one >= rough) / _DAY
        form = "%H:%M:%S" if step * _DAY < 60 else "%H:%M"
    else:
        days = next((one for one in (1, 2, 5, 10, 30, 90, 180, 365, 730, 1826, 3652) if one >= rough / _DAY), 36_525)
        step, form = float(days), "%Y-%m-%d" if days < 90 else "%Y-%m"
    base = np.floor(low)
    places = base + np.arange(np.ceil((low - base) / step - 1e-9), np.floor((high - base) / step + 1e-9) + 1) * step
    one = moment(low + 1e-5, "%Y-%m-%d")
    other = moment(high - 1e-5, "%Y-%m-%d")
    more = "" if step >= 1 else one if one == other else f"{one} \N{EN DASH} {other}"
    return Ticks(tuple(places), tuple(moment(at, form) for at in places), more)


class Sheet:
    """A page of pixels.

    Parameters
    ----------
    width, height
        Pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw  # noqa: PLC0415  (loaded for pictures alone)

        self.image: Pixels = Image.new("RGB", (max(1, width), max(1, height)), PAPER)
        self.pen: Any = ImageDraw.Draw(self.image)
        self.size = width, height
        # letters of a size that fits the page
        self.letters = int(np.clip(min(width * 0.85, height) / 42, 9, 22)) if min(width, height) else 9

    def words(
        self, xy: tuple[float, float], text: str, anchor: str = "la", size: int = 0, colour: tuple[int, int, int] = INK
    ) -> None:
        """Write a text; `anchor` as Pillow has it."""
        self.pen.text(xy, written(text), fill=colour, font=font(size or self.letters), anchor=anchor)

    def wide(self, text: str, size: int = 0) -> float:
        """Return how wide a text is."""
        return float(font(size or self.letters).getlength(written(text)))

    def shortened(self, text: str, room: float, size: int = 0) -> str:
        """Return as much of a text as has room."""
        text = written(text)
        if self.wide(text, size) <= room:
            return text
        keep = int(len(text) * room / max(1.0, self.wide(text, size)))
        while keep > 0 and self.wide(text[:keep] + "…", size) > room:
            keep -= 1
        return text[:keep] + "…" if keep > 0 else ""

    def upright(self, xy: tuple[float, float], text: str, size: int = 0) -> None:
        """Write a text upwards, around a point."""
        from PIL import Image, ImageDraw  # noqa: PLC0415  (loaded already)

        letters = font(size or self.letters)
        wide, high = int(self.wide(text, size)) + 2, int(1.5 * (size or self.letters))
        strip = Image.new("RGB", (max(1, wide), max(1, high)), PAPER)
        ImageDraw.Draw(strip).text((wide / 2, high / 2), written(text), fill=INK, font=letters, anchor="mm")
        strip = strip.transpose(Image.Transpose.ROTATE_90)
        self.image.paste(strip, (int(xy[0] - strip.width / 2), int(xy[1] - strip.height / 2)))

    def png(self, notes: Mapping[str, str]) -> bytes:
        """Pack it, with texts."""
        return packed(self.image, notes)


def packed(image: Pixels, notes: Mapping[str, str]) -> bytes:
    """Pack a picture as PNG.

    Parameters
    ----------
    image
        Of Pillow.
    notes
        Texts that stand in the file.
    """
    from PIL.PngImagePlugin import PngInfo  # noqa: PLC0415  (loaded already)

    info, out = PngInfo(), io.BytesIO()
    for key, text in notes.items():
        if text:
            info.add_itxt(key, text)
    image.save(out, "PNG", pnginfo=info, compress_level=4)
    return out.getvalue()


class Frame:
    """A frame with two axes on a sheet.

    Parameters
    ----------
    box
        Left, top, right, bottom: what is inside.
    x, y
        From left to right, from bottom to top.
    kinds
        Of the axes, as of `ticks`.
    """

    def __init__(
        self,
        sheet: Sheet,
        box: tuple[int, int, int, int],
        x: tuple[float, float],
        y: tuple[float, float],
        kinds: tuple[str, str] = ("", ""),
    ) -> None:
        self.sheet, self.box, self.x, self.y, self.kinds = sheet, box, x, y, kinds
        self.width, self.height = max(1, box[2] - box[0]), max(1, box[3] - box[1])

    def place(self, x: Any, y: Any) -> tuple[Numbers, Numbers]:
        """Return pixels within the frame, from its left upper corner."""
        across = (np.asarray(x, np.float64) - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        up = (np.asarray(y, np.float64) - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        return across * self.width, (1.0 - up) * self.height

    def marked(
        self, names: tuple[str, str], x: Ticks | None = None, y: Ticks | None = None, *, grid: bool = False, outward: bool = False
    ) -> None:  # fmt: skip
        """Draw the frame, its marks and names."""
        sheet, (left, top, right, bottom) = self.sheet, self.box
        size = sheet.letters
        x = x or ticks(*self.x, max(2, int(self.width / (5.5 * size))), self.kinds[0])
        y = y or ticks(*self.y, max(2, int(self.height / (4 * size))), self.kinds[1])
        long = max(3, size // 3)
        ends = -np.inf
        for value, word in sorted(zip(x.places, x.words, strict=True), key=lambda one: self.place(one[0], 0)[0]):
            at = left + float(self.place(value, 0)[0])
            if not left - 0.6 <= at <= right + 0.6:
                continue
            if grid:
                sheet.pen.line([(at, top), (at, bottom)], fill=GRID)
            sheet.pen.line([(at, bottom + (long if outward else 0)), (at, bottom - (0 if outward else long))], fill=INK)
            half = sheet.wide(word) / 2
            if at - half > ends + 4 and at + half < sheet.size[0]:
                sheet.words((at, bottom + long + 3), word, "ma")
                ends = at + half
        widest, ends = 0.0, np.inf
        for value, word in sorted(zip(y.places, y.words, strict=True), key=lambda one: -self.place(0, one[0])[1]):
            at = top + float(self.place(0, value)[1])
            if not top - 0.6 <= at <= bottom + 0.6:
                continue
            if grid:
                sheet.pen.line([(left, at), (right, at)], fill=GRID)
            sheet.pen.line([(left - (long if outward else 0), at), (left + (0 if outward else long), at)], fill=INK)
            if at < ends - size:
                sheet.words((left - long - 3, at), word, "rm")
                ends = at
                widest = max(widest, sheet.wide(word))
        sheet.pen.rectangle([left, top, right, bottom], outline=SOFT)
        across, up = (f"{name}  ({one.more})" if one.more and name else name or one.more for name, one in zip(names, (x, y), strict=True))  # fmt: skip
        if across:
            sheet.words(((left + right) / 2, bottom + long + 5 + 1.3 * size), sheet.shortened(across, self.width), "ma")
        if up:
            sheet.upright(
                (max(0.8 * size, left - long - 8 - widest - size), (top + bottom) / 2),
                sheet.shortened(up, self.height),
            )

    def layer(self) -> Layer:
        """Begin to draw inside."""
        return Layer(self)


class Layer:
    """What is drawn within a frame, smoothly."""

    def __init__(self, frame: Frame) -> None:
        from PIL import Image, ImageDraw  # noqa: PLC0415  (loaded already)

        self.frame = frame
        left, top, right, bottom = frame.box
        below = frame.sheet.image.crop((left, top, right, bottom))
        self.image = below.resize((frame.width * _FINE, frame.height * _FINE), Image.Resampling.NEAREST)
        self.pen: Any = ImageDraw.Draw(self.image)

    def _xy(self, x: Any, y: Any) -> Numbers:
        across, down = self.frame.place(x, y)
        edge = 10.0 * max(self.frame.width, self.frame.height)
        return np.stack([np.clip(across, -edge, edge), np.clip(down, -edge, edge)], -1) * _FINE

    def curve(self, x: Numbers, y: Numbers, colour: Sequence[int], wide: float = 1.2) -> None:
        """Draw a line, broken where there is no value; of more values than pixels the reach of each pixel."""
        pixel = np.clip(self.frame.place(x, np.zeros(len(x)))[0], -1, self.frame.width + 1)
        if len(x) > 6 * self.frame.width and (np.diff(pixel) >= 0).all():
            x, y = _reach(pixel.astype(np.int64), x, y)
        known = np.isfinite(x) & np.isfinite(y)
        ends = np.flatnonzero(np.diff(np.concatenate([[0], known.astype(np.int8), [0]])))
        width = max(1, round(wide * _FINE))
        for start, stop in zip(ends[::2], ends[1::2], strict=True):
            points = self._xy(x[start:stop], y[start:stop])
            if len(points) == 1:
                self._dot(points[0], 1.2 * _FINE, colour, full=True)
            else:
                self.pen.line(points.ravel().tolist(), fill=tuple(colour), width=width, joint="curve")

    def points(self, x: Numbers, y: Numbers, colour: Sequence[int], radius: float, *, full: bool = True) -> None:
        """Draw dots, or rings."""
        for point in self._xy(x, y)[np.isfinite(x) & np.isfinite(y)]:
            self._dot(point, radius * _FINE, colour, full=full)

    def bars(self, x: Numbers, low: Numbers, high: Numbers, colour: Sequence[int]) -> None:
        """Draw the reach of errors."""
        known = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
        for one, other in zip(self._xy(x, low)[known], self._xy(x, high)[known], strict=True):
            self.pen.line([tuple(one), tuple(other)], fill=tuple(colour), width=_FINE)

    def _dot(self, point: Numbers, radius: float, colour: Sequence[int], *, full: bool) -> None:
        box = [point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius]
        if full:
            self.pen.ellipse(box, fill=tuple(colour))
        else:
            self.pen.ellipse(box, outline=tuple(colour), width=_FINE)

    def done(self) -> None:
        """Lay it on the sheet."""
        self.frame.sheet.image.paste(self.image.reduce(_FINE), self.frame.box[:2])


def _reach(pixel: npt.NDArray[np.int64], x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Return the smallest and the largest value of each pixel, one behind the other."""
    starts = np.flatnonzero(np.concatenate([[True], np.diff(pixel) > 0]))
    known = np.isfinite(y)
    low = np.minimum.reduceat(np.where(known, y, np.inf), starts)
    high = np.maximum.reduceat(np.where(known, y, -np.inf), starts)
    both = np.stack([low, high], 1).ravel()
    both[~np.isfinite(both)] = np.nan
    return np.repeat(x[starts], 2), both
