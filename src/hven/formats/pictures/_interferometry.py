"""Pictures of OIFITS: squared visibilities and closure phases over spatial frequency in Mlambda, and the UV plane.

Flagged values as rings.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.formats.media import TablePart
from hven.formats.pictures._canvas import LINE_COLOURS, PictureCanvas, PlotFrame, choose_ticks
from hven.formats.pictures._curves import create_curve_canvas, label_curve_canvas, label_lines
from hven.formats.pictures._image_pictures import draw_captions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media import Product
    from hven.formats.pictures._appearance import Look

    Numbers = npt.NDArray[np.float64]

PANE_NAMES = ("vis2", "t3phi", "uv")
VISIT_GAP_DAYS = 0.01  # days without a measurement after which a star was looked at again
MAX_POINTS = 60_000  # points of a picture; of more every so manieth
_PANE_TABLES = {"vis2": "OI_VIS2", "t3phi": "OI_T3", "uv": "OI_VIS2"}
_FLAGGED_COLOUR = (178, 184, 193)


class InterferometryPoints(NamedTuple):
    """Measurements: frequencies in Mlambda, values, errors, flags, and of the UV plane u and v in Mlambda."""

    x: Numbers
    y: Numbers
    error: Numbers
    flag: npt.NDArray[np.bool_]
    total_count: int


def is_oifits(product: Product) -> bool:
    """Return whether a file is OIFITS."""
    names = {part.name.upper() for part in product.parts if isinstance(part, TablePart)}
    return "OI_WAVELENGTH" in names and not names.isdisjoint({"OI_VIS2", "OI_T3", "OI_VIS"})


def _read_card_text(table: TablePart, key: str) -> str:
    return next((str(card.value).strip() for card in table.cards if card.keyword == key), "")


_READ_COLUMNS = (
    "TARGET_ID",
    "VIS2DATA",
    "VIS2ERR",
    "T3PHI",
    "T3PHIERR",
    "FLAG",
    "UCOORD",
    "VCOORD",
    "MJD",
    "STA_INDEX",
    "U1COORD",
    "V1COORD",
    "U2COORD",
    "V2COORD",
    "EFF_WAVE",
)


def _read_columns(table: TablePart, names: Sequence[str] = _READ_COLUMNS) -> Iterator[dict[str, Any]]:
    for batch in table.read_batches(0, 1_000_000):
        yield {name: np.array(batch.column(name).to_pylist()) for name in names if name in batch.schema.names}


def _read_wavelengths(product: Product) -> dict[str, Numbers]:
    """Return the wavelengths of each instrument."""
    return {
        _read_card_text(table, "INSNAME"): np.concatenate(
            [np.asarray(column_arrays["EFF_WAVE"], np.float64) for column_arrays in _read_columns(table)]
        )
        for table in _find_tables(product, "OI_WAVELENGTH")
        if table.row_count
    }


def read_points(product: Product, pane_name: str) -> InterferometryPoints:
    """Read the measurements of a picture."""
    wavelengths_by_instrument = _read_wavelengths(product)
    point_arrays: list[tuple[Numbers, Numbers, Numbers, npt.NDArray[np.bool_]]] = []
    for table in _find_tables(product, _PANE_TABLES[pane_name]):
        wavelengths = wavelengths_by_instrument.get(_read_card_text(table, "INSNAME"))
        if wavelengths is None or not table.row_count:
            continue
        point_arrays += [
            _compute_points(columns_or_arrays, np.asarray(wavelengths, np.float64), pane_name)
            for columns_or_arrays in _read_columns(table)
        ]
    if not point_arrays:
        return InterferometryPoints(np.empty(0), np.empty(0), np.empty(0), np.empty(0, np.bool_), 0)
    x, y, error, flag = (
        np.concatenate([columns_or_arrays[array_number] for columns_or_arrays in point_arrays])
        for array_number in range(4)
    )
    is_finite = np.isfinite(x) & np.isfinite(y)
    x = x[is_finite]
    y = y[is_finite]
    error = error[is_finite]
    flag = flag[is_finite]
    step = -(-len(x) // MAX_POINTS) or 1
    return InterferometryPoints(x[::step], y[::step], error[::step], flag[::step].astype(np.bool_), len(x))


def _find_tables(product: Product, name: str) -> list[TablePart]:
    return [part for part in product.parts if isinstance(part, TablePart) and part.name.upper() == name]


def _compute_points(
    column_arrays: dict[str, Any], wavelengths: Numbers, pane_name: str
) -> tuple[Numbers, Numbers, Numbers, npt.NDArray[np.bool_]]:
    def read_channels(name: str) -> Numbers:
        values = np.asarray(column_arrays[name])
        return values.reshape(len(values), -1)

    if "FLAG" in column_arrays:
        flags = read_channels("FLAG").astype(np.bool_)
    else:
        flags = None
    with np.errstate(divide="ignore", invalid="ignore"):
        if pane_name == "uv":
            u, v = (
                np.asarray(column_arrays[name], np.float64)[:, None] / wavelengths / 1e6
                for name in ("UCOORD", "VCOORD")
            )
            if flags is None or flags.shape != u.shape:
                flag = np.zeros(u.shape, np.bool_)
            else:
                flag = flags
            return u.ravel(), v.ravel(), np.zeros(u.size), flag.ravel()
        if pane_name == "t3phi":
            u1, v1, u2, v2 = (
                np.asarray(column_arrays[name], np.float64) for name in ("U1COORD", "V1COORD", "U2COORD", "V2COORD")
            )
            baseline_lengths = np.maximum.reduce([np.hypot(u1, v1), np.hypot(u2, v2), np.hypot(u1 + u2, v1 + v2)])
            y = read_channels("T3PHI")
            error = read_channels("T3PHIERR")
        else:
            baseline_lengths = np.hypot(
                np.asarray(column_arrays["UCOORD"], np.float64), np.asarray(column_arrays["VCOORD"], np.float64)
            )
            y = read_channels("VIS2DATA")
            error = read_channels("VIS2ERR")
        x = baseline_lengths[:, None] / wavelengths / 1e6
    if y.shape != x.shape:
        return (np.empty(0), np.empty(0), np.empty(0), np.empty(0, np.bool_))
    if flags is None or flags.shape != y.shape:
        flag = np.zeros(y.shape, np.bool_)
    else:
        flag = flags
    return x.ravel(), y.astype(np.float64).ravel(), error.astype(np.float64).ravel(), flag.ravel()


def draw_oifits(product: Product, look: Look, title: str) -> tuple[PictureCanvas, str]:
    """Draw an OIFITS file: one pane if it is asked for or there are no axes, else all that have measurements."""
    points_by_pane = {
        pane_name: read_points(product, pane_name)
        for pane_name in ([look.show] if look.show in PANE_NAMES else PANE_NAMES)
    }
    panes = [pane_name for pane_name in points_by_pane if len(points_by_pane[pane_name].x)] or [
        next(iter(points_by_pane))
    ]
    if not look.axes:
        panes = panes[:1]
    description = ", ".join(_describe_points(pane_name, points_by_pane[pane_name]) for pane_name in panes)
    count = len(panes)
    if not look.axes:
        sheet = PictureCanvas(look.size, round(look.size * (1.0 if panes == ["uv"] else 2 / 3)))
        sheet.letter_pixels = 1
        frame = PlotFrame(
            sheet,
            (1, 1, sheet.size[0] - 2, sheet.size[1] - 2),
            *_choose_limits(panes[0], points_by_pane[panes[0]], sheet.size),
        )
        _draw_pane(frame, panes[0], points_by_pane[panes[0]], 0.006 * look.size)
        sheet.pen.rectangle([0, 0, sheet.size[0] - 1, sheet.size[1] - 1], outline=(205, 209, 215))
        return sheet, description
    letters = int(np.clip(look.size / 75, 8, 20))
    top_margin = int(2.8 * letters)
    bottom_margin = int(6.4 * letters)
    left_margin = int(5.6 * letters)
    gap = int(6.8 * letters)
    pane_width = (look.size - left_margin - gap * (count - 1) - letters) // count
    if count > 1 or panes == ["uv"]:
        pane_height = min(pane_width, round(look.size * 0.62))
    else:
        pane_height = round(pane_width * 0.58)
    sheet = PictureCanvas(look.size, top_margin + pane_height + bottom_margin)
    sheet.letter_pixels = letters
    for number, pane_name in enumerate(panes):
        start = left_margin + number * (pane_width + gap)
        box = (start, top_margin, start + max(pane_width, 1), top_margin + max(pane_height, 1))
        limits = _choose_limits(pane_name, points_by_pane[pane_name], (pane_width, pane_height))
        frame = PlotFrame(sheet, box, *limits)
        frame.draw_axes(_AXIS_NAMES[pane_name], grid=True)
        _draw_pane(frame, pane_name, points_by_pane[pane_name], max(1.2, letters / 7))
    draw_captions(
        sheet, (left_margin, top_margin, sheet.size[0], top_margin + pane_height), title, description, look.note
    )
    return sheet, description


_AXIS_NAMES = {
    "vis2": ("baseline (Mλ)", "VIS2"),
    "t3phi": ("longest baseline (Mλ)", "T3PHI (°)"),
    "uv": ("u (Mλ)", "v (Mλ)"),
}


def _describe_points(pane_name: str, points: InterferometryPoints) -> str:
    flagged_count = int(points.flag.sum())
    if points.total_count == len(points.x):
        total_text = ""
    else:
        total_text = f" of {points.total_count:,}"
    return f"{pane_name.upper()} {len(points.x):,}{total_text} points" + (
        f" ({flagged_count:,} flagged)" if flagged_count else ""
    )


def _choose_limits(
    pane_name: str, points: InterferometryPoints, size: tuple[int, int]
) -> tuple[tuple[float, float], tuple[float, float]]:
    if (~points.flag).any():
        is_good = ~points.flag
    else:
        is_good = np.ones(len(points.x), np.bool_)
    x = points.x[is_good]
    y = points.y[is_good]
    if pane_name == "uv":
        axis_limit = float(np.hypot(x, y).max(initial=0.0)) * 1.08 or 1.0
        ratio = size[0] / max(1, size[1])
        horizontal_limit = axis_limit * max(ratio, 1.0)
        vertical_limit = axis_limit * max(1.0 / ratio, 1.0)
        return (horizontal_limit, -horizontal_limit), (-vertical_limit, vertical_limit)  # east is left
    right = float(x.max(initial=0.0)) * 1.05 or 1.0
    if not len(y):
        return (0.0, right), (0.0, 1.0)
    low, high = (float(percentile) for percentile in np.percentile(y, (0.5, 99.5)))
    if pane_name == "vis2":
        return (0.0, right), (min(0.0, max(low, -0.5)) - 0.02, max(1.05, min(high * 1.1, 2.0)))
    axis_limit = min(185.0, max(abs(low), abs(high), 2.0) * 1.2)
    return (0.0, right), (-axis_limit, axis_limit)


def _draw_pane(frame: PlotFrame, pane_name: str, points: InterferometryPoints, radius: float) -> None:
    layer = frame.create_layer()
    is_good = ~points.flag
    if pane_name == "uv":
        for sign in (1.0, -1.0):
            layer.draw_points(
                sign * points.x[points.flag],
                sign * points.y[points.flag],
                _FLAGGED_COLOUR,
                radius * 0.8,
                is_filled=False,
            )
            layer.draw_points(sign * points.x[is_good], sign * points.y[is_good], LINE_COLOURS[0], radius * 0.8)
    else:
        if pane_name == "t3phi":
            layer.draw_curve(np.array(frame.x), np.zeros(2), (150, 157, 168), 0.8)
        layer.draw_points(points.x[points.flag], points.y[points.flag], _FLAGGED_COLOUR, radius, is_filled=False)
        if is_good.sum() <= 4000:
            layer.draw_error_bars(
                points.x[is_good],
                (points.y - points.error)[is_good],
                (points.y + points.error)[is_good],
                (158, 180, 212),
            )
        layer.draw_points(
            points.x[is_good], points.y[is_good], LINE_COLOURS[0] if pane_name == "vis2" else LINE_COLOURS[1], radius
        )
    layer.merge_into_canvas()


class Calibrator(NamedTuple):
    """What was measured of a star of known diameter.

    Attributes
    ----------
    name
        Of the star.
    diameter
        Of a uniform disc, mas; 0: a point.
    times
        MJD, a value for each row of OI_VIS2.
    telescope_pairs
        The telescopes of each.
    values
        VIS2 and its error, and both over VIS2 of the disc: the mean of the wavelengths that are not flagged.
    """

    name: str
    diameter: float
    times: Numbers
    telescope_pairs: tuple[str, ...]
    values: Numbers


def _list_stars(product: Product) -> dict[int, str]:
    """Return the targets by number; only the calibrators, where the file says which these are."""
    targets: dict[int, tuple[str, str]] = {}
    for table in _find_tables(product, "OI_TARGET"):
        for column_arrays in _read_columns(table, ("TARGET_ID", "TARGET", "CATEGORY")):
            kinds = column_arrays.get("CATEGORY", [""] * len(column_arrays["TARGET_ID"]))
            for number, name, kind in zip(column_arrays["TARGET_ID"], column_arrays["TARGET"], kinds, strict=True):
                targets.setdefault(int(number), (str(name).strip(), str(kind).strip().upper()))
    calibrators = {number: name for number, (name, kind) in targets.items() if kind == "CAL"}
    return calibrators or {number: name for number, (name, _) in targets.items()}


def normalize_star_name(name: str) -> str:
    """Return the name of a star without what catalogues write differently."""
    return re.sub(r"[\s_]", "", name).casefold()


def read_calibrators(
    product: Product, diameters: Iterator[float], diameters_by_star: Mapping[str, float]
) -> list[Calibrator]:
    """Return what a file has of each calibrator.

    Of those that are known by name, else of all, of a diameter each in the order of OI_TARGET.
    """
    wavelengths_by_instrument = _read_wavelengths(product)
    found_calibrators = []
    arrays = {
        _read_card_text(table, "ARRNAME"): dict(
            zip(column_arrays["STA_INDEX"].tolist(), column_arrays["STA_NAME"].tolist(), strict=True)
        )
        for table in _find_tables(product, "OI_ARRAY")
        for column_arrays in _read_columns(table, ("STA_INDEX", "STA_NAME"))
    }
    for number, name in _list_stars(product).items():
        if diameters_by_star and normalize_star_name(name) not in diameters_by_star:
            continue
        if diameters_by_star:
            diameter = diameters_by_star[normalize_star_name(name)]
        else:
            diameter = next(diameters, 0.0)
        times = [np.empty(0)]
        pairs = []
        values = [np.empty((4, 0))]
        for table in _find_tables(product, _PANE_TABLES["vis2"]):
            wavelengths = wavelengths_by_instrument.get(_read_card_text(table, "INSNAME"))
            stations = arrays.get(_read_card_text(table, "ARRNAME"), {})
            for column_arrays in _read_columns(table) if wavelengths is not None else ():
                x, y, error, flag = _compute_points(column_arrays, np.asarray(wavelengths, np.float64), "vis2")
                is_target = np.asarray(column_arrays["TARGET_ID"]) == number
                if not len(x) or not is_target.any():
                    continue
                with np.errstate(divide="ignore", invalid="ignore"):
                    model = _compute_disc_visibility(x, diameter)
                    channel_values = np.where(flag, np.nan, np.stack([y, error, y / model, error / model]))
                channel_values = channel_values.reshape(4, len(is_target), -1)[:, is_target]
                is_good = np.isfinite(channel_values).all(0)
                count = is_good.sum(1)
                mean = np.where(is_good, channel_values, 0.0).sum(2) / np.maximum(count, 1)
                times.append(np.asarray(column_arrays["MJD"], np.float64)[is_target][count > 0])
                values.append(mean[:, count > 0])
                station_pairs = (
                    np.asarray(column_arrays["STA_INDEX"]).reshape(len(is_target), -1)[is_target][count > 0].tolist()
                )
                pairs += [
                    "-".join(sorted(str(stations.get(station, station)).strip() for station in pair))
                    for pair in station_pairs
                ]
        if pairs:
            found_calibrators.append(
                Calibrator(name, diameter, np.concatenate(times), tuple(pairs), np.concatenate(values, 1))
            )
    return found_calibrators


def _compute_disc_visibility(x: Numbers, diameter: float) -> Numbers:
    """Return VIS2 of a uniform disc of so many mas at frequencies in Mlambda."""
    z = np.pi * np.radians(diameter / 3.6e6) * x * 1e6
    angles = (np.arange(64) + 0.5) * np.pi / 64  # Bessel's integral: J1(z) = mean of cos(t - z sin t) over half a turn
    bessel = np.cos(angles[:, None] - z[None] * np.sin(angles)[:, None]).mean(0)
    return np.asarray(np.where(z > 1e-6, (2.0 * bessel / np.maximum(z, 1e-12)) ** 2, 1.0))


def draw_transfer_function(calibrators: Sequence[Calibrator], look: Look) -> tuple[PictureCanvas, str]:
    """Draw a night of calibrators over time: VIS2 above, below what is left of it for a point: the transfer function.

    A colour for each pair of telescopes.
    """
    times = np.concatenate([calibrator.times for calibrator in calibrators] or [np.empty(0)])
    value = np.concatenate([calibrator.values for calibrator in calibrators] or [np.empty((4, 0))], 1)
    pair = np.array([item for calibrator in calibrators for item in calibrator.telescope_pairs], np.str_)
    star = np.repeat(np.arange(len(calibrators)), [len(calibrator.times) for calibrator in calibrators])
    pairs = sorted({*pair.tolist()})
    if len(times):
        low, high = (float(times.min()), float(times.max()))
    else:
        low, high = (0.0, 1.0)
    room = (high - low) * 0.06 or 0.01
    tops = [
        max(0.1, (1.25 if row else 1.5) * float(np.percentile(value[row], 99))) if len(times) else 1.0 for row in (0, 2)
    ]
    sheet, outer_frame = create_curve_canvas(look, (low - room, high + room), (0.0, tops[1]), ("time", ""))
    frames = [(outer_frame, 2)]
    if look.axes:
        left, top, right, bottom = outer_frame.box
        middle = (top + bottom) // 2
        gap = sheet.letter_pixels // 2
        frames = [
            (PlotFrame(sheet, box, outer_frame.x, (0.0, upper_limit), outer_frame.kinds), row)
            for box, upper_limit, row in (
                ((left, top, right, middle - gap), tops[0], 0),
                ((left, middle + gap, right, bottom), tops[1], 2),
            )
        ]
    order = np.argsort(times, kind="stable")
    is_new_visit = (np.diff(star[order]) != 0) | (np.diff(times[order]) > VISIT_GAP_DAYS)
    blocks = [
        item for item in np.split(order, np.flatnonzero(is_new_visit) + 1) if len(item)
    ]  # visits to one star each
    marks = choose_ticks(*outer_frame.x, max(2, int(outer_frame.width / (5.5 * sheet.letter_pixels))), "time")
    for frame, row in frames:
        if look.axes:
            is_last_frame = frame is frames[-1][0]
            if is_last_frame:
                sides = ("time (UTC)", "VIS2 / disc" if any(look.diameters) else "VIS2 / 1")
            else:
                sides = ("", "VIS2")
            frame.draw_axes(
                sides,
                marks if is_last_frame else replace(marks, labels=("",) * len(marks.labels), axis_note=""),
                grid=True,
            )
        layer = frame.create_layer()
        for number, name in enumerate(pairs):
            colour = LINE_COLOURS[number % len(LINE_COLOURS)]
            is_pair = pair == name
            x = times[is_pair]
            y = value[row][is_pair]
            error = value[row + 1][is_pair]
            if row:  # the transfer function is read between calibrators
                visits = [visit_rows for item in blocks if len(visit_rows := item[is_pair[item]])]
                means = np.array([(times[visit_rows].mean(), value[row][visit_rows].mean()) for visit_rows in visits])
                layer.draw_curve(means[:, 0], means[:, 1], [(item + 510) // 3 for item in colour], 0.8)
            layer.draw_error_bars(x, y - error, y + error, colour)
            layer.draw_points(x, y, colour, max(2.0, look.size / 330))
        layer.merge_into_canvas()
    names = {
        calibrator.name: f"{calibrator.name} {calibrator.diameter:g} mas"
        if calibrator.diameter
        else f"{calibrator.name} as a point"
        for calibrator in calibrators
    }
    names_text = ", ".join([*names.values()][:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    description = f"transfer function: {len(times)} measurements of {len(pairs)} pairs of telescopes; {names_text}"
    label_curve_canvas(sheet, outer_frame, look, "Calibrators and transfer function", description)
    if look.axes:
        label_lines(frames[-1][0], pairs)
        _draw_star_names(frames[0][0], [(calibrators[star[item[0]]].name, times[item]) for item in blocks])
    return sheet, description


def _draw_star_names(frame: PlotFrame, blocks: Sequence[tuple[str, Numbers]]) -> None:
    """Write the names of stars over their times, as far as there is room: of three in turn on a line of their own."""
    size = max(8, frame.sheet.letter_pixels - 2)
    ends = [0.0, 0.0, 0.0]
    for name, visit_times in blocks:
        name_x = frame.box[0] + float(frame.compute_pixels(visit_times.mean(), 0)[0])
        half = frame.sheet.measure_text(name, size) / 2
        name_x = min(max(name_x, frame.box[0] + half + 3), frame.box[2] - half - 3)
        row = next((row for row, end in enumerate(ends) if name_x - half > end + 6), None)
        if row is not None:
            frame.sheet.draw_text((name_x, frame.box[1] + 4 + 1.3 * size * row), name, "ma", size)
            ends[row] = name_x + half
