"""Pictures of OIFITS: squared visibilities and closure phases over spatial frequency in Mlambda, and the UV plane; flagged values as rings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.formats.media import Rows
from hven.formats.pictures._curves import finished, page
from hven.formats.pictures._image_pictures import lettered
from hven.formats.pictures._sheet import LINES, Frame, Sheet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.formats.media import Product
    from hven.formats.pictures._appearance import Look

    Numbers = npt.NDArray[np.float64]

PANES = ("vis2", "t3phi", "uv")
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


def _read(rows: Rows) -> Iterator[dict[str, Any]]:
    names = ("VIS2DATA", "VIS2ERR", "T3PHI", "T3PHIERR", "FLAG", "UCOORD", "VCOORD", "MJD", "STA_INDEX", "U1COORD", "V1COORD", "U2COORD", "V2COORD", "EFF_WAVE")  # fmt: skip
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


def measured(product: Product, diameter: float) -> list[tuple[float, tuple[int, ...], float, float]]:
    """Return the transfer function by a calibrator: for each row of OI_VIS2 its MJD, stations, VIS2 over that of a disc, and its error."""
    waves = _waves(product)
    found = []
    for rows in _rows(product, _TABLES["vis2"]):
        wave = waves.get(_card(rows, "INSNAME"))
        for one in _read(rows) if wave is not None else ():
            x, y, error, flag = _points(one, np.asarray(wave, np.float64), "vis2")
            count = len(one["MJD"])
            if not count or not len(x):
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                model = _disc(x, diameter)
                value, spread = (np.where(flag, np.nan, values / model).reshape(count, -1) for values in (y, error))
            stations = np.sort(np.asarray(one["STA_INDEX"]).reshape(count, -1), 1)
            for at in np.flatnonzero(np.isfinite(value).any(1)):
                pair = tuple(int(station) for station in stations[at])
                found.append((float(one["MJD"][at]), pair, float(np.nanmean(value[at])), float(np.nanmean(spread[at]))))
    return found


def _disc(x: Numbers, diameter: float) -> Numbers:
    """Return VIS2 of a uniform disc of so many mas at frequencies in Mlambda."""
    z = np.pi * np.radians(diameter / 3.6e6) * x * 1e6
    turn = (np.arange(64) + 0.5) * np.pi / 64  # Bessel's integral: J1(z) = mean of cos(t - z sin t) over half a turn
    bessel = np.cos(turn[:, None] - z[None] * np.sin(turn)[:, None]).mean(0)
    return np.asarray(np.where(z > 1e-6, (2.0 * bessel / np.maximum(z, 1e-12)) ** 2, 1.0))


def transfer(
    found: Sequence[tuple[str, Sequence[tuple[float, tuple[int, ...], float, float]]]], look: Look
) -> tuple[Sheet, str]:
    """Draw the transfer function of a night: of each calibrator its measurements over time, a colour for each pair of telescopes."""
    every = [one for _, some in found for one in some]
    pairs = sorted({pair for _, pair, _, _ in every})
    when, value = (np.array([one[at] for one in every]) for at in (0, 2))
    low, high = (float(when.min()), float(when.max())) if len(when) else (0.0, 1.0)
    room = (high - low) * 0.06 or 0.01
    top = float(np.nanpercentile(value, 99)) * 1.15 if len(value) else 1.0
    sheet, frame = page(look, (low - room, high + room), (0.0, max(top, 0.1)), ("time", ""))
    if look.axes:
        frame.marked(("time (UTC)", "VIS2 / VIS2 of the disc" if any(look.diameters) else "VIS2"), grid=True)
    layer = frame.layer()
    for number, pair in enumerate(pairs):
        some = [one for one in every if one[1] == pair]
        x, y, error = (np.array([one[at] for one in some]) for at in (0, 2, 3))
        colour = LINES[number % len(LINES)]
        layer.bars(x, y - error, y + error, colour)
        layer.points(x, y, colour, max(2.0, look.size / 330))
    layer.done()
    sizes = [*look.diameters, *[0.0] * len(found)]
    said = ", ".join(
        f"{name} {size:g} mas" if size else f"{name} as a point" for (name, _), size in zip(found, sizes, strict=False)
    )
    words = f"transfer function: {len(every)} measurements of {len(pairs)} pairs of telescopes; {said}"
    finished(sheet, frame, look, "Transfer function", words, ["-".join(map(str, pair)) for pair in pairs[: len(LINES)]])
    return sheet, words
