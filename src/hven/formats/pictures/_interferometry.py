"""Pictures of OIFITS: squared visibilities and closure phases over spatial frequency in Mlambda, and the UV plane; flagged values as rings."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.formats.media import Rows
from hven.formats.pictures._curves import finished, named, page
from hven.formats.pictures._image_pictures import lettered
from hven.formats.pictures._sheet import LINES, Frame, Sheet, ticks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media import Product
    from hven.formats.pictures._appearance import Look

    Numbers = npt.NDArray[np.float64]

PANES = ("vis2", "t3phi", "uv")
VISIT = 0.01  # days without a measurement after which a star was looked at again
MOST = 60_000  # points of a picture; of more every so manieth
_TABLES = {"vis2": "OI_VIS2", "t3phi": "OI_T3", "uv": "OI_VIS2"}
_DULL = (178, 184, 193)


class Points(NamedTuple):
    """Measurements: frequencies in Mlambda, values, errors, flags, and of the UV plane u and v in Mlambda."""

    x: Numbers
    y: Numbers
    error: Numbers
    flag: npt.NDArray[np.bool_]
    every: int


def is_oifits(product: Product) -> bool:
    """Return whether a file is OIFITS."""
    names = {part.name.upper() for part in product.parts if isinstance(part, Rows)}
    return "OI_WAVELENGTH" in names and not names.isdisjoint({"OI_VIS2", "OI_T3", "OI_VIS"})


def _card(rows: Rows, key: str) -> str:
    return next((str(card.value).strip() for card in rows.cards if card.keyword == key), "")


_COLUMNS = ("TARGET_ID", "VIS2DATA", "VIS2ERR", "T3PHI", "T3PHIERR", "FLAG", "UCOORD", "VCOORD", "MJD", "STA_INDEX", "U1COORD", "V1COORD", "U2COORD", "V2COORD", "EFF_WAVE")  # fmt: skip


def _read(rows: Rows, names: Sequence[str] = _COLUMNS) -> Iterator[dict[str, Any]]:
    for batch in rows.batches(0, 1_000_000):
        yield {name: np.array(batch.column(name).to_pylist()) for name in names if name in batch.schema.names}


def _waves(product: Product) -> dict[str, Numbers]:
    """Return the wavelengths of each instrument."""
    return {
        _card(rows, "INSNAME"): np.concatenate([np.asarray(one["EFF_WAVE"], np.float64) for one in _read(rows)])
        for rows in _rows(product, "OI_WAVELENGTH")
        if rows.count
    }


def points(product: Product, show: str) -> Points:
    """Read the measurements of a picture."""
    waves = _waves(product)
    found: list[tuple[Numbers, Numbers, Numbers, npt.NDArray[np.bool_]]] = []
    for rows in _rows(product, _TABLES[show]):
        wave = waves.get(_card(rows, "INSNAME"))
        if wave is None or not rows.count:
            continue
        found += [_points(one, np.asarray(wave, np.float64), show) for one in _read(rows)]
    if not found:
        return Points(np.empty(0), np.empty(0), np.empty(0), np.empty(0, np.bool_), 0)
    x, y, error, flag = (np.concatenate([one[at] for one in found]) for at in range(4))
    known = np.isfinite(x) & np.isfinite(y)
    x, y, error, flag = x[known], y[known], error[known], flag[known]
    step = -(-len(x) // MOST) or 1
    return Points(x[::step], y[::step], error[::step], flag[::step].astype(np.bool_), len(x))


def _rows(product: Product, name: str) -> list[Rows]:
    return [part for part in product.parts if isinstance(part, Rows) and part.name.upper() == name]


def _points(one: dict[str, Any], wave: Numbers, show: str) -> tuple[Numbers, Numbers, Numbers, npt.NDArray[np.bool_]]:
    def channels(name: str) -> Numbers:
        values = np.asarray(one[name])
        return values.reshape(len(values), -1)

    flags = channels("FLAG").astype(np.bool_) if "FLAG" in one else None
    with np.errstate(divide="ignore", invalid="ignore"):
        if show == "uv":
            u, v = (np.asarray(one[name], np.float64)[:, None] / wave / 1e6 for name in ("UCOORD", "VCOORD"))
            flag = np.zeros(u.shape, np.bool_) if flags is None or flags.shape != u.shape else flags
            return u.ravel(), v.ravel(), np.zeros(u.size), flag.ravel()
        if show == "t3phi":
            u1, v1, u2, v2 = (
                np.asarray(one[name], np.float64) for name in ("U1COORD", "V1COORD", "U2COORD", "V2COORD")
            )
            base = np.maximum.reduce([np.hypot(u1, v1), np.hypot(u2, v2), np.hypot(u1 + u2, v1 + v2)])
            y, error = channels("T3PHI"), channels("T3PHIERR")
        else:
            base = np.hypot(np.asarray(one["UCOORD"], np.float64), np.asarray(one["VCOORD"], np.float64))
            y, error = channels("VIS2DATA"), channels("VIS2ERR")
        x = base[:, None] / wave / 1e6
    if y.shape != x.shape:
        return (np.empty(0), np.empty(0), np.empty(0), np.empty(0, np.bool_))
    flag = np.zeros(y.shape, np.bool_) if flags is None or flags.shape != y.shape else flags
    return x.ravel(), y.astype(np.float64).ravel(), error.astype(np.float64).ravel(), flag.ravel()


def drawn(product: Product, look: Look, title: str) -> tuple[Sheet, str]:
    """Draw an OIFITS file: one pane if it is asked for or there are no axes, else all that have measurements."""
    there = {show: points(product, show) for show in ([look.show] if look.show in PANES else PANES)}
    panes = [show for show in there if len(there[show].x)] or [next(iter(there))]
    panes = panes if look.axes else panes[:1]
    words = ", ".join(_said(show, there[show]) for show in panes)
    count = len(panes)
    if not look.axes:
        sheet = Sheet(look.size, round(look.size * (1.0 if panes == ["uv"] else 2 / 3)))
        sheet.letters = 1
        frame = Frame(
            sheet, (1, 1, sheet.size[0] - 2, sheet.size[1] - 2), *_limits(panes[0], there[panes[0]], sheet.size)
        )
        _pane(frame, panes[0], there[panes[0]], 0.006 * look.size)
        sheet.pen.rectangle([0, 0, sheet.size[0] - 1, sheet.size[1] - 1], outline=(205, 209, 215))
        return sheet, words
    letters = int(np.clip(look.size / 75, 8, 20))
    top, below = int(2.8 * letters), int(6.4 * letters)
    left, gap = int(5.6 * letters), int(6.8 * letters)
    wide = (look.size - left - gap * (count - 1) - letters) // count
    high = min(wide, round(look.size * 0.62)) if count > 1 or panes == ["uv"] else round(wide * 0.58)
    sheet = Sheet(look.size, top + high + below)
    sheet.letters = letters
    for number, show in enumerate(panes):
        start = left + number * (wide + gap)
        box = (start, top, start + max(wide, 1), top + max(high, 1))
        frame = Frame(sheet, box, *_limits(show, there[show], (wide, high)))
        frame.marked(_NAMES[show], grid=True)
        _pane(frame, show, there[show], max(1.2, letters / 7))
    lettered(sheet, (left, top, sheet.size[0], top + high), title, words, look.note)
    return sheet, words


_NAMES = {
    "vis2": ("baseline (Mλ)", "VIS2"),
    "t3phi": ("longest baseline (Mλ)", "T3PHI (°)"),
    "uv": ("u (Mλ)", "v (Mλ)"),
}


def _said(show: str, there: Points) -> str:
    flagged = int(there.flag.sum())
    shown = "" if there.every == len(there.x) else f" of {there.every:,}"
    return f"{show.upper()} {len(there.x):,}{shown} points" + (f" ({flagged:,} flagged)" if flagged else "")


def _limits(show: str, there: Points, size: tuple[int, int]) -> tuple[tuple[float, float], tuple[float, float]]:
    good = ~there.flag if (~there.flag).any() else np.ones(len(there.x), np.bool_)
    x, y = there.x[good], there.y[good]
    if show == "uv":
        most = float(np.hypot(x, y).max(initial=0.0)) * 1.08 or 1.0
        ratio = size[0] / max(1, size[1])
        across, up = (most * max(ratio, 1.0), most * max(1.0 / ratio, 1.0))
        return (across, -across), (-up, up)  # east is left
    right = float(x.max(initial=0.0)) * 1.05 or 1.0
    if not len(y):
        return (0.0, right), (0.0, 1.0)
    low, high = (float(one) for one in np.percentile(y, (0.5, 99.5)))
    if show == "vis2":
        return (0.0, right), (min(0.0, max(low, -0.5)) - 0.02, max(1.05, min(high * 1.1, 2.0)))
    most = min(185.0, max(abs(low), abs(high), 2.0) * 1.2)
    return (0.0, right), (-most, most)


def _pane(frame: Frame, show: str, there: Points, radius: float) -> None:
    layer = frame.layer()
    good = ~there.flag
    if show == "uv":
        for sign in (1.0, -1.0):
            layer.points(sign * there.x[there.flag], sign * there.y[there.flag], _DULL, radius * 0.8, full=False)
            layer.points(sign * there.x[good], sign * there.y[good], LINES[0], radius * 0.8)
    else:
        if show == "t3phi":
            layer.curve(np.array(frame.x), np.zeros(2), (150, 157, 168), 0.8)
        layer.points(there.x[there.flag], there.y[there.flag], _DULL, radius, full=False)
        if good.sum() <= 4000:
            layer.bars(there.x[good], (there.y - there.error)[good], (there.y + there.error)[good], (158, 180, 212))
        layer.points(there.x[good], there.y[good], LINES[0] if show == "vis2" else LINES[1], radius)
    layer.done()


class Calibrator(NamedTuple):
    """What was measured of a star of known diameter.

    Attributes
    ----------
    name
        Of the star.
    diameter
        Of a uniform disc, mas; 0: a point.
    when
        MJD, a value for each row of OI_VIS2.
    pairs
        The telescopes of each.
    values
        VIS2 and its error, and both over VIS2 of the disc: the mean of the wavelengths that are not flagged.
    """

    name: str
    diameter: float
    when: Numbers
    pairs: tuple[str, ...]
    values: Numbers


def _stars(product: Product) -> dict[int, str]:
    """Return the targets by number; only the calibrators, where the file says which these are."""
    found: dict[int, tuple[str, str]] = {}
    for rows in _rows(product, "OI_TARGET"):
        for one in _read(rows, ("TARGET_ID", "TARGET", "CATEGORY")):
            kinds = one.get("CATEGORY", [""] * len(one["TARGET_ID"]))
            for number, name, kind in zip(one["TARGET_ID"], one["TARGET"], kinds, strict=True):
                found.setdefault(int(number), (str(name).strip(), str(kind).strip().upper()))
    known = {number: name for number, (name, kind) in found.items() if kind == "CAL"}
    return known or {number: name for number, (name, _) in found.items()}


def plain(name: str) -> str:
    """Return the name of a star without what catalogues write differently."""
    return re.sub(r"[\s_]", "", name).casefold()


def calibrators(product: Product, diameters: Iterator[float], known: Mapping[str, float]) -> list[Calibrator]:
    """Return what a file has of each calibrator: of those that are known by name, else of all, of a diameter each in the order of OI_TARGET."""
    waves, made = _waves(product), []
    arrays = {
        _card(rows, "ARRNAME"): dict(zip(one["STA_INDEX"].tolist(), one["STA_NAME"].tolist(), strict=True))
        for rows in _rows(product, "OI_ARRAY")
        for one in _read(rows, ("STA_INDEX", "STA_NAME"))
    }
    for number, name in _stars(product).items():
        if known and plain(name) not in known:
            continue
        diameter = known[plain(name)] if known else next(diameters, 0.0)
        when, pairs, values = [np.empty(0)], [], [np.empty((4, 0))]
        for rows in _rows(product, _TABLES["vis2"]):
            wave, stations = waves.get(_card(rows, "INSNAME")), arrays.get(_card(rows, "ARRNAME"), {})
            for one in _read(rows) if wave is not None else ():
                x, y, error, flag = _points(one, np.asarray(wave, np.float64), "vis2")
                mine = np.asarray(one["TARGET_ID"]) == number
                if not len(x) or not mine.any():
                    continue
                with np.errstate(divide="ignore", invalid="ignore"):
                    model = _disc(x, diameter)
                    every = np.where(flag, np.nan, np.stack([y, error, y / model, error / model]))
                every = every.reshape(4, len(mine), -1)[:, mine]
                good = np.isfinite(every).all(0)
                count = good.sum(1)
                mean = np.where(good, every, 0.0).sum(2) / np.maximum(count, 1)
                when.append(np.asarray(one["MJD"], np.float64)[mine][count > 0])
                values.append(mean[:, count > 0])
                some = np.asarray(one["STA_INDEX"]).reshape(len(mine), -1)[mine][count > 0].tolist()
                pairs += ["-".join(sorted(str(stations.get(each, each)).strip() for each in pair)) for pair in some]
        if pairs:
            made.append(Calibrator(name, diameter, np.concatenate(when), tuple(pairs), np.concatenate(values, 1)))
    return made


def _disc(x: Numbers, diameter: float) -> Numbers:
    """Return VIS2 of a uniform disc of so many mas at frequencies in Mlambda."""
    z = np.pi * np.radians(diameter / 3.6e6) * x * 1e6
    turn = (np.arange(64) + 0.5) * np.pi / 64  # Bessel's integral: J1(z) = mean of cos(t - z sin t) over half a turn
    bessel = np.cos(turn[:, None] - z[None] * np.sin(turn)[:, None]).mean(0)
    return np.asarray(np.where(z > 1e-6, (2.0 * bessel / np.maximum(z, 1e-12)) ** 2, 1.0))


def transfer(found: Sequence[Calibrator], look: Look) -> tuple[Sheet, str]:
    """Draw a night of calibrators over time: VIS2 above, below what is left of it for a point: the transfer function; a colour for each pair of telescopes."""
    when = np.concatenate([one.when for one in found] or [np.empty(0)])
    value = np.concatenate([one.values for one in found] or [np.empty((4, 0))], 1)
    pair = np.array([each for one in found for each in one.pairs], np.str_)
    star = np.repeat(np.arange(len(found)), [len(one.when) for one in found])
    pairs = sorted({*pair.tolist()})
    low, high = (float(when.min()), float(when.max())) if len(when) else (0.0, 1.0)
    room = (high - low) * 0.06 or 0.01
    tops = [
        max(0.1, (1.25 if row else 1.5) * float(np.percentile(value[row], 99))) if len(when) else 1.0 for row in (0, 2)
    ]
    sheet, whole = page(look, (low - room, high + room), (0.0, tops[1]), ("time", ""))
    frames = [(whole, 2)]
    if look.axes:
        left, top, right, bottom = whole.box
        middle, gap = (top + bottom) // 2, sheet.letters // 2
        frames = [
            (Frame(sheet, box, whole.x, (0.0, most), whole.kinds), row)
            for box, most, row in (((left, top, right, middle - gap), tops[0], 0), ((left, middle + gap, right, bottom), tops[1], 2))
        ]  # fmt: skip
    order = np.argsort(when, kind="stable")
    parted = (np.diff(star[order]) != 0) | (np.diff(when[order]) > VISIT)
    blocks = [each for each in np.split(order, np.flatnonzero(parted) + 1) if len(each)]  # visits to one star each
    marks = ticks(*whole.x, max(2, int(whole.width / (5.5 * sheet.letters))), "time")
    for frame, row in frames:
        if look.axes:
            last = frame is frames[-1][0]
            sides = ("time (UTC)", "VIS2 / disc" if any(look.diameters) else "VIS2 / 1") if last else ("", "VIS2")
            frame.marked(sides, marks if last else replace(marks, words=("",) * len(marks.words), more=""), grid=True)
        layer = frame.layer()
        for number, name in enumerate(pairs):
            colour, mine = LINES[number % len(LINES)], pair == name
            x, y, error = when[mine], value[row][mine], value[row + 1][mine]
            if row:  # the transfer function is read between calibrators
                visits = [some for each in blocks if len(some := each[mine[each]])]
                means = np.array([(when[some].mean(), value[row][some].mean()) for some in visits])
                layer.curve(means[:, 0], means[:, 1], [(each + 510) // 3 for each in colour], 0.8)
            layer.bars(x, y - error, y + error, colour)
            layer.points(x, y, colour, max(2.0, look.size / 330))
        layer.done()
    names = {
        one.name: f"{one.name} {one.diameter:g} mas" if one.diameter else f"{one.name} as a point" for one in found
    }
    said = ", ".join([*names.values()][:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    words = f"transfer function: {len(when)} measurements of {len(pairs)} pairs of telescopes; {said}"
    finished(sheet, whole, look, "Calibrators and transfer function", words)
    if look.axes:
        named(frames[-1][0], pairs)
        _signed(frames[0][0], [(found[star[each[0]]].name, when[each]) for each in blocks])
    return sheet, words


def _signed(frame: Frame, blocks: Sequence[tuple[str, Numbers]]) -> None:
    """Write the names of stars over their times, as far as there is room: of three in turn on a line of their own."""
    size = max(8, frame.sheet.letters - 2)
    ends = [0.0, 0.0, 0.0]
    for name, when in blocks:
        at = frame.box[0] + float(frame.place(when.mean(), 0)[0])
        half = frame.sheet.wide(name, size) / 2
        at = min(max(at, frame.box[0] + half + 3), frame.box[2] - half - 3)
        row = next((row for row, end in enumerate(ends) if at - half > end + 6), None)
        if row is not None:
            frame.sheet.words((at, frame.box[1] + 4 + 1.3 * size * row), name, "ma", size)
            ends[row] = at + half
