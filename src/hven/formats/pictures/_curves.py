"""Pictures of spectra, of series of time, and of dynamic spectra: arrays whose axes say what they are, and tables by their columns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.pictures._appearance import stretched
from hven.formats.pictures._image_pictures import lettered, meant
from hven.formats.pictures._sheet import LINES, Frame, Sheet
from hven.formats.pictures._thinning import thinned

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.formats.media import Array, Axis, Rows
    from hven.formats.pictures._appearance import Look
    from hven.model.table import Column

    Numbers = npt.NDArray[np.float64]

MOST = 2_000_000  # values of a curve
_POWERS = 3.0
_FAR = 30.0  # times as high: what reaches so far is drawn by its logarithms
PLANES = 400  # of a cube whose spectrum is drawn
ROWS, BLOCKS = 200_000, 200  # of a table: so many are read, in so many blocks if it has more
_X = (
    ("spectral", re.compile(r"(?i)^(wave(length)?s?|lambda|wl|w_?vac|loglam|wlen|eff_wave|freq(uency)?|nu|energy|channel)(_|$|\d)|^(em\.(wl|freq|energy))")),
    ("time", re.compile(r"(?i)^(time|epoch|mjd|b?jd|tjd|hjd|date(_?obs)?|barytime|utc?|t_mid)(_|$|\d)|^time\.epoch")),
)  # fmt: skip
_ERROR = re.compile(r"(?i)(^|_)(e|err|error|errors|sigma|stat|unc|uncert\w*|ivar|var|std)(_|$)")
_MAIN = re.compile(r"(?i)flux|intens|rate|count|vis2|signal|brightness|radiance|mag|b_?[rtnxyz]$|density|irradiance")
_VECTORS = {str(size) for size in range(2, 9)}  # values in a cell that are lines of their own
_COUNTS = re.compile(r"(?i)count|electron")
_QUALITY = re.compile(r"(?i)^(sap_)?(quality|flags?|dq|qual)$")
_DULL = re.compile(r"(?i)qual|flag|cadence|index|^id$|mask|corr$|number|status")


class Curve(NamedTuple):
    """Values over something."""

    x: Numbers
    lines: list[tuple[str, Numbers, Numbers | None]]  # name, values, errors
    names: tuple[str, str]
    kind: str
    words: str


def of_array(array: Array, errors: Array | None) -> Curve:
    """Take a spectrum or a series out of an array of one long axis."""
    at, axis = max(enumerate(array.axes), key=lambda one: one[1].size)
    count = axis.size
    most = min(count, MOST)

    def read(one: Array) -> Numbers:
        window = [slice(0, 1)] * len(one.axes)
        window[at] = slice(0, most)
        return np.asarray(one.read(window), np.float64).ravel()

    values = read(array)
    error = read(errors) if errors is not None and errors.shape == array.shape else None
    x, name, kind = _along(axis, most)
    name = name or ("wavelength" if kind == "spectral" else kind or "pixel")
    label = " ".join(one for one in (_plain(array.name) or "value", f"({array.unit})" if array.unit else "") if one)
    words = f"part {array.index} {array.name}".strip() + (f", first {most} of {count} values" if most < count else "")
    return Curve(x, [("", values, error)], (name, label), kind, words)


def of_cube(array: Array) -> Curve:
    """Take the mean spectrum of a cube."""
    at = next(at for at, one in enumerate(array.axes) if one.kind == "spectral" and one.size > 1)
    others = [other for other in range(len(array.axes)) if other != at and array.axes[other].size > 1]
    count = min(array.axes[at].size, PLANES)
    taken = np.unique(np.linspace(0, array.axes[at].size - 1, count).round().astype(int))
    x, name, kind = _along(array.axes[at], array.axes[at].size)
    values = []
    for plane in taken:
        fixed = dict.fromkeys(range(len(array.axes)), 0) | {at: int(plane)}
        across, down = (
            (others[-1], others[-2]) if len(others) > 1 else (others[-1] if others else (at + 1) % len(array.axes), at)
        )
        if down == at:
            window = [slice(0, one.size) for one in array.axes]
            window[at] = slice(int(plane), int(plane) + 1)
            means = np.asarray(array.read(window), np.float64)
        else:
            means, _ = thinned(array, across, down, fixed, (8, 8), MOST // max(1, len(taken)) * 8)
        values.append(float(np.nanmean(means)) if np.isfinite(means).any() else np.nan)
    words = (
        f"part {array.index} {array.name}".strip()
        + f", mean of each plane, {len(taken)} of {array.axes[at].size} planes"
    )
    label = f"mean ({array.unit})" if array.unit else "mean"
    return Curve(x[taken], [("", np.array(values), None)], (name, label), kind, words)


def _plain(name: str) -> str:
    return "" if name.upper() in {"PRIMARY", "", "DATA"} else name


def _along(axis: Axis, count: int) -> tuple[Numbers, str, str]:
    """Return what the pixels of an axis stand for, its name and its kind."""
    values, found = None, meant(axis)
    if found is not None:
        values = np.asarray(found, np.float64)[:count] if np.asarray(found).dtype.kind in "iuf" else None
    if values is None or not np.isfinite(values).any():
        return np.arange(1.0, count + 1.0), axis.name, ""
    if axis.kind == "spectral":
        return _waves(values)
    if axis.kind == "time":
        return values, "time (UTC)", "time"
    return values, f"{axis.name} ({axis.unit})" if axis.unit else axis.name, ""


def _waves(metres: Numbers) -> tuple[Numbers, str, str]:
    middle = float(np.nanmedian(metres))
    if middle >= 3e-4:
        frequencies = 299_792_458.0 / metres
        return (
            (frequencies / 1e9, "frequency (GHz)", "") if middle < 0.3 else (frequencies / 1e6, "frequency (MHz)", "")
        )
    if middle < 1e-8:
        return 1.2398419843e-9 / metres, "energy (keV)", ""
    return (metres * 1e6, "wavelength (µm)", "") if middle >= 1e-6 else (metres * 1e9, "wavelength (nm)", "")


def of_rows(rows: Rows) -> Curve | None:
    """Take a spectrum or a series out of a table; None: it has no two columns that go together."""
    numeric = [
        column
        for column in rows.columns
        if column.type.is_numeric or (column.type.is_array and column.type.datatype not in {"char", "boolean"})
    ]
    found = next(((column, kind) for kind, words in _X for column in numeric if _matches(column, words)), None)
    if found is None or not rows.count:
        return None
    x, kind = found
    one = rows.count == 1 and x.type.is_array
    fit = [column for column in numeric if column is not x and column.type.is_array == x.type.is_array]
    data = [column for column in fit if column.name not in rows.support]
    if not one and not any(_MAIN.search(column.name) for column in data):  # vectors: their parts are lines
        vectors = [
            column
            for column in numeric
            if str(column.type.arraysize or "") in _VECTORS and column.name not in rows.support
        ]
        fit = [*(column for column in vectors if _MAIN.search(column.name)), *fit]
    errors = [column for column in fit if _ERROR.search(column.name)]
    rest = [column for column in fit if column not in errors and not _DULL.search(column.name)]
    rest.sort(
        key=lambda column: (
            column.name in rows.support,
            not _MAIN.search(column.name),
            bool(_COUNTS.search(column.name)),
        )
    )
    if not rest or (x.type.is_array and not one):
        return None
    ys = [column for column in rest if column.unit == rest[0].unit and bool(_MAIN.search(column.name)) == bool(_MAIN.search(rest[0].name)) and (column.name in rows.support) == (rest[0].name in rows.support)][:4]  # fmt: skip
    quality = next((column for column in fit if _QUALITY.search(column.name) and column.type.is_integer), None)
    table = _read(rows, [x, *ys, *errors, *([] if quality is None else [quality])], one)
    values = table[x.name]
    if kind == "time":
        values, name, kind = _times(values, x, rows)
    else:
        name = f"{x.name.lower()} ({x.unit})" if x.unit else x.name.lower()
    lines = []
    for column in ys:
        if len(table[column.name]) != len(values):
            lines += _several(rows, column, table[column.name], len(values))
            continue
        wanted = re.compile(
            rf"(?i)^(e_?|err_?|sigma_?)?{re.escape(column.name)}(_?(err(or)?s?|sigma|unc\w*))?$|^(err(or)?s?|sigma|stat)$"
        )
        own = next((one for one in errors if wanted.match(one.name) and table[one.name].shape == values.shape), None)
        lines.append((column.name, table[column.name], None if own is None else table[own.name]))
    if not lines:
        return None
    lines = lines[:8]
    label = f"{ys[0].name}{f' ({ys[0].unit})' if ys[0].unit else ''}" if len(lines) == 1 else ys[0].unit or "value"
    words = f"part {rows.index} {rows.name}".strip()
    if quality is not None and len(table[quality.name]) == len(values) and 0.1 < (table[quality.name] == 0).mean() < 1:
        good = table[quality.name] == 0
        lines = [(title, np.where(good, y, np.nan) if len(y) == len(good) else y, error) for title, y, error in lines]
        words += f", without {int((~good).sum()):,} values that {quality.name} flags"
    if rows.count > ROWS:
        words += f", {len(values):,} of {rows.count:,} rows"
    return Curve(values, lines if len(lines) > 1 else [("", *lines[0][1:])], (name, label), kind, words)


def _several(rows: Rows, column: Column, values: Numbers, count: int) -> list[tuple[str, Numbers, Numbers | None]]:
    """Cut a cell of several lines, as its dimensions have them, into these."""
    if str(column.type.arraysize) in _VECTORS and len(values) == count * int(str(column.type.arraysize)):
        return [(f"{column.name} {at}", line, None) for at, line in enumerate(values.reshape(count, -1).T, 1)]
    number = 1 + [one.name for one in rows.columns].index(column.name)
    said = next((str(card.value) for card in rows.cards if card.keyword == f"TDIM{number}"), "")
    sizes = [int(word) for word in re.findall(r"\d+", said)]
    if len(sizes) != 2 or count not in sizes or sizes[0] * sizes[1] != len(values) or len(values) > 4 * count:
        return []
    grid = values.reshape(sizes[1], sizes[0])
    grid = grid.T if sizes[1] == count else grid
    return [(f"{column.name} {at}", line, None) for at, line in enumerate(grid, 1)]


def _matches(column: Column, words: re.Pattern[str]) -> bool:
    return bool(words.search(column.name) or (column.ucd and words.search(column.ucd))) and not _ERROR.search(
        column.name
    )


def _read(rows: Rows, columns: Sequence[Column], one: bool) -> dict[str, Numbers]:
    """Read columns as numbers: all rows, or blocks of them."""
    starts = [0] if rows.count <= ROWS else np.linspace(0, rows.count - ROWS // BLOCKS, BLOCKS).astype(int).tolist()
    size = rows.count if rows.count <= ROWS else ROWS // BLOCKS
    batches = [batch for start in starts for batch in rows.batches(start, size)]
    table = pa.Table.from_batches(batches)
    made = {}
    for column in columns:
        values = table[column.name].combine_chunks()
        values = pc.list_flatten(values) if one or column.type.is_array else values
        made[column.name] = np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    return made


def _times(values: Numbers, column: Column, rows: Rows) -> tuple[Numbers, str, str]:
    """Return times as MJD where the table says from when they count."""
    cards = {card.keyword: card.value for card in rows.cards}
    name, unit = column.name.upper(), (column.unit or "").lower()
    known = values[np.isfinite(values)]
    middle = float(np.median(known)) if len(known) else 0.0
    zero = cards.get("MJDREF")
    whole, part = cards.get("MJDREFI"), cards.get("MJDREFF", 0.0)
    if zero is None and isinstance(whole, int | float) and isinstance(part, int | float):
        zero = float(whole) + float(part)
    if zero is None and cards.get("BJDREFI") is not None:
        zero = float(str(cards["BJDREFI"])) + float(str(cards.get("BJDREFF") or 0.0)) - 2_400_000.5
    step = (
        1.0
        if unit in {"d", "day", "days"} or (unit and unit.startswith("bjd"))
        else 1.0 / 86_400.0
        if unit in {"s", "sec", "seconds"}
        else None
    )
    begin = cards.get("TIMEZERO")
    if isinstance(begin, int | float) and 15_000 < begin < 90_000 and abs(middle) < 4e7:
        zero = begin  # as SDAC has it: the day itself
    if isinstance(zero, int | float) and step is not None:
        return float(zero) + values * step, "time", "time"
    epoch = (column.ucd or "").startswith("time.epoch") and unit == "d"  # as readers give times of CDF and netCDF
    if ("MJD" in name or epoch) and 15_000 < middle < 90_000:
        return values, "time", "time"
    if "JD" in name and 2_400_000 < middle < 2_500_000:
        return values - 2_400_000.5, "time", "time"
    return values, f"{column.name.lower()} ({column.unit})" if column.unit else column.name.lower(), ""


def drawn(curve: Curve, look: Look, title: str) -> tuple[Sheet, str]:
    """Draw curves."""
    sheet, frame = page(
        look, _reach(curve.x, 0.0, 0.0), _reach(np.concatenate([y for _, y, _ in curve.lines])), (curve.kind, "")
    )
    if look.axes:
        frame.marked(curve.names, grid=True)
    layer = frame.layer()
    few = len(curve.x) <= frame.width / 3
    thin = 1.2 if look.axes else 1.5
    for number, (_, y, error) in enumerate(curve.lines):
        colour = LINES[number % len(LINES)]
        if error is not None and few:
            layer.bars(curve.x, y - error, y + error, (168, 178, 192))
        if curve.kind == "time" and few:
            layer.points(curve.x, y, colour, 1.8)
        layer.curve(*(_broken(curve.x, y) if curve.kind == "time" else (curve.x, y)), colour, thin)
    layer.done()
    words = curve.words if any(np.isfinite(y).any() for _, y, _ in curve.lines) else f"{curve.words}, no values"
    finished(sheet, frame, look, title, words, [name for name, _, _ in curve.lines])
    return sheet, words


def _broken(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Break a line where there is nothing for much longer than usual."""
    steps = np.diff(x)
    usual = float(np.nanmedian(steps)) if len(steps) else 0.0
    gaps = np.flatnonzero(steps > 20 * usual) + 1 if usual > 0 else np.empty(0, np.int64)
    return np.insert(x, gaps, x[gaps]), np.insert(y, gaps, np.nan)


def page(
    look: Look, x: tuple[float, float], y: tuple[float, float], kinds: tuple[str, str] = ("", "")
) -> tuple[Sheet, Frame]:
    """Make a sheet for curves: five wide, three high; without axes three by two."""
    if not look.axes:
        sheet = Sheet(look.size, max(1, round(look.size * 2 / 3)))
        return sheet, Frame(sheet, (1, 1, sheet.size[0] - 2, sheet.size[1] - 2), x, y, kinds)
    sheet = Sheet(look.size, max(1, round(look.size * 0.64)))
    letters = sheet.letters = int(np.clip(look.size / 58, 8, 20))
    box = (int(6.4 * letters), int(2.6 * letters), look.size - int(1.6 * letters), sheet.size[1] - int(6.6 * letters))
    return sheet, Frame(sheet, (box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)), x, y, kinds)


def finished(sheet: Sheet, frame: Frame, look: Look, title: str, words: str, names: Sequence[str] = ()) -> None:
    """Write what is around the frame: title, what it shows, names of lines."""
    if not look.axes:
        sheet.pen.rectangle([0, 0, sheet.size[0] - 1, sheet.size[1] - 1], outline=(205, 209, 215))
        return
    lettered(sheet, frame.box, title, words, look.note)
    named(frame, names)


def named(frame: Frame, names: Sequence[str]) -> None:
    """Write the names of lines into the upper right corner, as many as there is room for."""
    sheet, at = frame.sheet, frame.box[2] - 6.0
    wide = [sheet.wide(name) + 1.5 * sheet.letters for name in names]
    while sum(wide) > frame.width:
        wide.pop()
    for number, room in reversed([*enumerate(wide)]):
        if names[number]:
            sheet.words((at, frame.box[1] + 6), names[number], "ra", colour=LINES[number % len(LINES)])
            at -= room


def _reach(values: Numbers, low: float = 0.2, room: float = 0.06) -> tuple[float, float]:
    """Return from where to where an axis goes: without the last outliers, with some room."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    first, last = (
        (float(known.min()), float(known.max())) if not low else map(float, np.percentile(known, (low, 100 - low)))
    )
    if room and last > first:  # what sticks out a little is shown, too
        wide = last - first
        first, last = max(float(known.min()), first - wide), min(float(known.max()), last + wide)
    wide = (last - first) or abs(first) or 1.0
    return first - wide * room - (0.0 if last > first else wide / 2), last + wide * room + (
        0.0 if last > first else wide / 2
    )


def dynamic(array: Array) -> tuple[Axis, Axis] | None:
    """Return the axes of a dynamic spectrum, across (time) and upwards; None: it is none. Of several polarizations the first is drawn."""
    long = [axis for axis in array.axes if axis.size > 1 and axis.kind != "polarization"]
    if len(long) != 2:
        return None
    kinds = [axis.kind or ("time" if re.match(r"(?i)time|seconds", axis.name) else "spectral" if (re.search(r"(?i)freq|energy|wavel", axis.name) or (axis.unit or "").lower() in {"ev", "kev", "mev"}) else "") for axis in long]  # fmt: skip
    return (long[kinds.index("time")], long[kinds.index("spectral")]) if set(kinds) == {"time", "spectral"} else None


def spread(array: Array, axes: tuple[Axis, Axis], look: Look, title: str) -> tuple[Sheet, str]:
    """Draw a dynamic spectrum: time across, each channel less its median."""
    from PIL import Image  # noqa: PLC0415  (loaded for pictures alone)

    across, up = (next(at for at, one in enumerate(array.axes) if one is axis) for axis in axes)
    values, whole = thinned(array, across, up, {}, (min(look.size, axes[0].size), min(look.size, axes[1].size)))
    x, name_x, kind = _side(axes[0])
    y, name_y, _ = _side(axes[1])
    once = np.concatenate([[True], np.diff(y) != 0])  # channels that a receiver left unused have the same value
    values, y = values[_cells(once, len(values))], y[once]
    if y[-1] < y[0]:
        values, y = values[::-1], y[::-1]
    if x[-1] < x[0]:
        values, x = values[:, ::-1], x[::-1]
    known = values[np.isfinite(values) & (values > 0)]
    powers = len(known) > 0.5 * values.size and np.ptp(np.log10(np.percentile(known, (2, 98)))) > _POWERS / 2
    if powers:
        with np.errstate(divide="ignore", invalid="ignore"):
            values, said = np.where(values > 0, np.log10(values), np.nan), "logarithms"
    else:
        filled = np.isfinite(values).any(1)
        values[filled] -= np.nanmedian(values[filled], 1)[:, None]
        said = "each channel less its median"
    far = bool(y[0] > 0 and y[-1] / y[0] > _FAR)
    y = np.log10(y) if far else y
    stretch = stretched(values, look, "inferno")
    sheet, frame = page(look, (float(x[0]), float(x[-1])), (float(y[0]), float(y[-1])), (kind, "log" if far else ""))
    rows = np.interp(np.linspace(y[0], y[-1], frame.height), y, np.arange(len(y)) * len(values) / len(y))
    columns = np.interp(np.linspace(x[0], x[-1], frame.width), x, np.arange(len(x)) * values.shape[1] / len(x))
    at = (np.clip(rows.astype(int), 0, len(values) - 1)[::-1], np.clip(columns.astype(int), 0, values.shape[1] - 1))
    pixels = stretch.painted(values[np.ix_(*at)])
    paper = Image.new("RGBA", (frame.width, frame.height), (236, 238, 241, 255))
    paper.alpha_composite(Image.fromarray(np.ascontiguousarray(pixels), "RGBA"))
    sheet.image.paste(paper.convert("RGB"), frame.box[:2])
    part = "" if whole else ", of a part of its pixels"
    state = next((f", polarization {axis.values()[0]}" for axis in array.axes if axis.kind == "polarization" and axis.values is not None), "")  # fmt: skip
    words = f"part {array.index} {array.name}".strip() + f"{state}, {said}{part}, {stretch.said}"
    if look.axes:
        frame.marked((name_x, name_y), outward=True)
    finished(sheet, frame, look, title, words)
    return sheet, words


def _cells(once: npt.NDArray[np.bool_], cells: int) -> npt.NDArray[np.bool_]:
    """Return which cells have channels that count."""
    return (
        once[np.minimum((np.arange(cells) * len(once)) // cells, len(once) - 1)]
        if not once.all()
        else np.ones(cells, np.bool_)
    )


def _side(axis: Axis) -> tuple[Numbers, str, str]:
    """Return values of an axis of a dynamic spectrum, monotonous."""
    values, name, kind = _along(axis, axis.size)
    steps = np.diff(values)
    if len(values) < 2 or values[0] == values[-1] or not ((steps >= 0).all() or (steps <= 0).all()):
        return np.arange(1.0, axis.size + 1.0), axis.name or "pixel", ""
    return values, name, kind
