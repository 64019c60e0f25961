"""Draw OIFITS: squared visibilities and closure phases over spatial frequency in Mlambda, and the UV plane.

Flagged values are drawn as rings.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.formats.media import TablePart
from hven.plugins.previews.pictures.canvas import LINE_COLOURS, PictureCanvas, PlotFrame, choose_ticks
from hven.plugins.previews.pictures.curves import create_curve_canvas, draw_line_names, label_curve_canvas
from hven.plugins.previews.pictures.image_pictures import draw_captions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media import OpenProductFile
    from hven.plugins.previews.pictures.appearance import PictureStyle

    Numbers = npt.NDArray[np.float64]

PANE_NAMES = ("vis2", "t3phi", "uv")
VISIT_GAP_DAYS = 0.01  # without a measurement, after which a new visit to the star begins
MAX_POINTS = 60_000  # of a picture; of more points every nth is drawn
_PANE_TABLES = {"vis2": "OI_VIS2", "t3phi": "OI_T3", "uv": "OI_VIS2"}
_FLAGGED_COLOUR = (178, 184, 193)


class InterferometryPoints(NamedTuple):
    """Measurements: frequencies in Mlambda, values, errors, flags, and of the UV plane u and v in Mlambda."""

    x: Numbers
    y: Numbers
    error: Numbers
    flag: npt.NDArray[np.bool_]
    total_count: int


def is_oifits(product: OpenProductFile) -> bool:
    """Return whether a file is OIFITS."""
    names = {part.name.upper() for part in product.parts if isinstance(part, TablePart)}
    return "OI_WAVELENGTH" in names and not names.isdisjoint({"OI_VIS2", "OI_T3", "OI_VIS"})


def _read_card_text(table: TablePart, key: str) -> str:
    for card in table.cards:
        if card.keyword == key:
            return str(card.value).strip()
    return ""


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
        columns = {}
        for name in names:
            if name in batch.schema.names:
                columns[name] = np.array(batch.column(name).to_pylist())
        yield columns


def _read_wavelengths(product: OpenProductFile) -> dict[str, Numbers]:
    """Read the wavelengths of each instrument."""
    wavelengths_by_instrument = {}
    for table in _find_tables_by_name(product, "OI_WAVELENGTH"):
        if table.row_count:
            arrays = [np.asarray(columns["EFF_WAVE"], np.float64) for columns in _read_columns(table)]
            wavelengths_by_instrument[_read_card_text(table, "INSNAME")] = np.concatenate(arrays)
    return wavelengths_by_instrument


def read_interferometry_points(product: OpenProductFile, pane_name: str) -> InterferometryPoints:
    """Read the measurements of a picture."""
    wavelengths_by_instrument = _read_wavelengths(product)
    point_arrays: list[tuple[Numbers, Numbers, Numbers, npt.NDArray[np.bool_]]] = []
    for table in _find_tables_by_name(product, _PANE_TABLES[pane_name]):
        wavelengths = wavelengths_by_instrument.get(_read_card_text(table, "INSNAME"))
        if wavelengths is None or not table.row_count:
            continue
        wavelengths = np.asarray(wavelengths, np.float64)
        point_arrays += [_compute_pane_points(columns, wavelengths, pane_name) for columns in _read_columns(table)]
    if not point_arrays:
        return InterferometryPoints(np.empty(0), np.empty(0), np.empty(0), np.empty(0, np.bool_), 0)
    x, y, error, flag = (np.concatenate(arrays) for arrays in zip(*point_arrays, strict=True))
    is_finite = np.isfinite(x) & np.isfinite(y)
    point_count = int(is_finite.sum())
    step = -(-point_count // MAX_POINTS) or 1
    drawn = np.flatnonzero(is_finite)[::step]
    return InterferometryPoints(x[drawn], y[drawn], error[drawn], flag[drawn].astype(np.bool_), point_count)


def _find_tables_by_name(product: OpenProductFile, name: str) -> list[TablePart]:
    tables = [part for part in product.parts if isinstance(part, TablePart)]
    return [table for table in tables if table.name.upper() == name]


def _compute_pane_points(
    column_arrays: dict[str, Any], wavelengths: Numbers, pane_name: str
) -> tuple[Numbers, Numbers, Numbers, npt.NDArray[np.bool_]]:
    def read_channels(name: str) -> Numbers:
        values = np.asarray(column_arrays[name])
        return values.reshape(len(values), -1)

    def read_coordinates(name: str) -> Numbers:
        return np.asarray(column_arrays[name], np.float64)

    if "FLAG" in column_arrays:
        flags = read_channels("FLAG").astype(np.bool_)
    else:
        flags = None
    with np.errstate(divide="ignore", invalid="ignore"):
        if pane_name == "uv":
            u = read_coordinates("UCOORD")[:, None] / wavelengths / 1e6
            v = read_coordinates("VCOORD")[:, None] / wavelengths / 1e6
            if flags is None or flags.shape != u.shape:
                flag = np.zeros(u.shape, np.bool_)
            else:
                flag = flags
            return u.ravel(), v.ravel(), np.zeros(u.size), flag.ravel()
        if pane_name == "t3phi":
            u1, v1 = read_coordinates("U1COORD"), read_coordinates("V1COORD")
            u2, v2 = read_coordinates("U2COORD"), read_coordinates("V2COORD")
            sides = [np.hypot(u1, v1), np.hypot(u2, v2), np.hypot(u1 + u2, v1 + v2)]
            baseline_lengths = np.maximum.reduce(sides)
            y = read_channels("T3PHI")
            error = read_channels("T3PHIERR")
        else:
            baseline_lengths = np.hypot(read_coordinates("UCOORD"), read_coordinates("VCOORD"))
            y = read_channels("VIS2DATA")
            error = read_channels("VIS2ERR")
        x = baseline_lengths[:, None] / wavelengths / 1e6
    if y.shape != x.shape:
        return (np.empty(0), np.empty(0), np.empty(0), np.empty(0, np.bool_))
    if flags is None or flags.shape != y.shape:
        flag = np.zeros(y.shape, np.bool_)
    else:
        flag = flags
    values = y.astype(np.float64).ravel()
    return x.ravel(), values, error.astype(np.float64).ravel(), flag.ravel()


def draw_oifits(product: OpenProductFile, look: PictureStyle, title: str) -> tuple[PictureCanvas, str]:
    """Draw an OIFITS file: one pane if it is requested or there are no axes, else all that have measurements."""
    if look.show in PANE_NAMES:
        pane_names = [look.show]
    else:
        pane_names = list(PANE_NAMES)
    points_by_pane = {pane_name: read_interferometry_points(product, pane_name) for pane_name in pane_names}
    panes = [pane_name for pane_name in pane_names if len(points_by_pane[pane_name].x)] or pane_names[:1]
    if not look.axes:
        panes = panes[:1]
    description = ", ".join(_describe_points(pane_name, points_by_pane[pane_name]) for pane_name in panes)
    count = len(panes)
    if not look.axes:
        height_ratio = 1.0
        if panes != ["uv"]:
            height_ratio = 2 / 3
        sheet = PictureCanvas(look.size, round(look.size * height_ratio))
        sheet.letter_pixels = 1
        width, height = sheet.size
        limits = _choose_axis_limits(panes[0], points_by_pane[panes[0]], sheet.size)
        frame = PlotFrame(sheet, (1, 1, width - 2, height - 2), *limits)
        _draw_pane(frame, panes[0], points_by_pane[panes[0]], 0.006 * look.size)
        sheet.pen.rectangle([0, 0, width - 1, height - 1], outline=(205, 209, 215))
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
        limits = _choose_axis_limits(pane_name, points_by_pane[pane_name], (pane_width, pane_height))
        frame = PlotFrame(sheet, box, *limits)
        frame.draw_axes(_AXIS_NAMES[pane_name], has_grid=True)
        _draw_pane(frame, pane_name, points_by_pane[pane_name], max(1.2, letters / 7))
    box = (left_margin, top_margin, sheet.size[0], top_margin + pane_height)
    draw_captions(sheet, box, title, description, look.note)
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
    text = f"{pane_name.upper()} {len(points.x):,}{total_text} points"
    if flagged_count:
        text += f" ({flagged_count:,} flagged)"
    return text


def _choose_axis_limits(
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
        lowest = min(0.0, max(low, -0.5)) - 0.02
        highest = max(1.05, min(high * 1.1, 2.0))
        return (0.0, right), (lowest, highest)
    axis_limit = min(185.0, max(abs(low), abs(high), 2.0) * 1.2)
    return (0.0, right), (-axis_limit, axis_limit)


def _draw_pane(frame: PlotFrame, pane_name: str, points: InterferometryPoints, radius: float) -> None:
    layer = frame.create_layer()
    is_good = ~points.flag
    good_x, good_y, good_error = points.x[is_good], points.y[is_good], points.error[is_good]
    flagged_x, flagged_y = points.x[points.flag], points.y[points.flag]
    if pane_name == "uv":
        for sign in (1.0, -1.0):
            layer.draw_points(sign * flagged_x, sign * flagged_y, _FLAGGED_COLOUR, radius * 0.8, is_filled=False)
            layer.draw_points(sign * good_x, sign * good_y, LINE_COLOURS[0], radius * 0.8)
    else:
        if pane_name == "vis2":
            colour = LINE_COLOURS[0]
        else:
            colour = LINE_COLOURS[1]
        if pane_name == "t3phi":
            layer.draw_curve(np.array(frame.x), np.zeros(2), (150, 157, 168), 0.8)
        layer.draw_points(flagged_x, flagged_y, _FLAGGED_COLOUR, radius, is_filled=False)
        if len(good_x) <= 4000:
            layer.draw_error_bars(good_x, good_y - good_error, good_y + good_error, (158, 180, 212))
        layer.draw_points(good_x, good_y, colour, radius)
    layer.merge_into_canvas()


class CalibratorMeasurements(NamedTuple):
    """What was measured of a star of known diameter.

    Attributes
    ----------
    name
        Name of the star.
    diameter
        Diameter of a uniform disc, mas; 0: a point.
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


def _list_calibrator_names(product: OpenProductFile) -> dict[int, str]:
    """Return the targets by number; only the calibrators, where the file says which these are."""
    targets: dict[int, tuple[str, str]] = {}
    for table in _find_tables_by_name(product, "OI_TARGET"):
        for column_arrays in _read_columns(table, ("TARGET_ID", "TARGET", "CATEGORY")):
            kinds = column_arrays.get("CATEGORY", [""] * len(column_arrays["TARGET_ID"]))
            for number, name, kind in zip(column_arrays["TARGET_ID"], column_arrays["TARGET"], kinds, strict=True):
                category = str(kind).strip().upper()
                targets.setdefault(int(number), (str(name).strip(), category))
    calibrators = {number: name for number, (name, kind) in targets.items() if kind == "CAL"}
    return calibrators or {number: name for number, (name, _) in targets.items()}


def normalize_star_name(name: str) -> str:
    """Return the name of a star without what catalogues write differently."""
    return re.sub(r"[\s_]", "", name).casefold()


def read_calibrators(
    product: OpenProductFile, diameters: Iterator[float], diameters_by_star: Mapping[str, float]
) -> list[CalibratorMeasurements]:
    """Return what a file has of each calibrator.

    Of those that are known by name, else of all, of a diameter each in the order of OI_TARGET.
    """
    wavelengths_by_instrument = _read_wavelengths(product)
    found_calibrators = []
    arrays: dict[str, dict[int, str]] = {}
    for table in _find_tables_by_name(product, "OI_ARRAY"):
        for column_arrays in _read_columns(table, ("STA_INDEX", "STA_NAME")):
            station_names = column_arrays["STA_NAME"].tolist()
            stations = dict(zip(column_arrays["STA_INDEX"].tolist(), station_names, strict=True))
            arrays[_read_card_text(table, "ARRNAME")] = stations
    for number, name in _list_calibrator_names(product).items():
        if diameters_by_star and normalize_star_name(name) not in diameters_by_star:
            continue
        if diameters_by_star:
            diameter = diameters_by_star[normalize_star_name(name)]
        else:
            diameter = next(diameters, 0.0)
        times = [np.empty(0)]
        pairs = []
        values = [np.empty((4, 0))]
        for table in _find_tables_by_name(product, _PANE_TABLES["vis2"]):
            wavelengths = wavelengths_by_instrument.get(_read_card_text(table, "INSNAME"))
            stations = arrays.get(_read_card_text(table, "ARRNAME"), {})
            if wavelengths is None:
                continue
            for column_arrays in _read_columns(table):
                x, y, error, flag = _compute_pane_points(column_arrays, np.asarray(wavelengths, np.float64), "vis2")
                is_target = np.asarray(column_arrays["TARGET_ID"]) == number
                if not len(x) or not is_target.any():
                    continue
                with np.errstate(divide="ignore", invalid="ignore"):
                    model = _compute_disc_visibility(x, diameter)
                    channels = np.stack([y, error, y / model, error / model])
                    channel_values = np.where(flag, np.nan, channels)
                channel_values = channel_values.reshape(4, len(is_target), -1)[:, is_target]
                is_good = np.isfinite(channel_values).all(0)
                count = is_good.sum(1)
                sums = np.where(is_good, channel_values, 0.0).sum(2)
                mean = sums / np.maximum(count, 1)
                row_times = np.asarray(column_arrays["MJD"], np.float64)[is_target]
                times.append(row_times[count > 0])
                values.append(mean[:, count > 0])
                station_numbers = np.asarray(column_arrays["STA_INDEX"]).reshape(len(is_target), -1)
                for pair in station_numbers[is_target][count > 0].tolist():
                    pair_names = [str(stations.get(station, station)).strip() for station in pair]
                    pairs.append("-".join(sorted(pair_names)))
        if pairs:
            mean_values = np.concatenate(values, 1)
            calibrator = CalibratorMeasurements(name, diameter, np.concatenate(times), tuple(pairs), mean_values)
            found_calibrators.append(calibrator)
    return found_calibrators


def _compute_disc_visibility(x: Numbers, diameter: float) -> Numbers:
    """Compute VIS2 of a uniform disc of this diameter in mas at frequencies in Mlambda."""
    z = np.pi * np.radians(diameter / 3.6e6) * x * 1e6
    angles = (np.arange(64) + 0.5) * np.pi / 64  # Bessel's integral: J1(z) = mean of cos(t - z sin t) over half a turn
    phases = angles[:, None] - z[None] * np.sin(angles)[:, None]
    bessel = np.cos(phases).mean(0)
    visibilities = (2.0 * bessel / np.maximum(z, 1e-12)) ** 2
    return np.asarray(np.where(z > 1e-6, visibilities, 1.0))


class _CalibratorNight(NamedTuple):
    """The measurements of all calibrators of a night."""

    times: Numbers
    values: Numbers  # as in `CalibratorMeasurements`
    measured_pairs: npt.NDArray[np.str_]  # of each measurement
    pairs: list[str]
    visits: list[npt.NDArray[np.int64]]  # measurements of one star, one after the other
    stars: npt.NDArray[np.int64]  # number of the calibrator of each measurement


def _combine_calibrators(calibrators: Sequence[CalibratorMeasurements]) -> _CalibratorNight:
    times = np.concatenate([np.empty(0), *(calibrator.times for calibrator in calibrators)])
    values = np.concatenate([np.empty((4, 0)), *(calibrator.values for calibrator in calibrators)], 1)
    telescope_pairs: list[str] = []
    for calibrator in calibrators:
        telescope_pairs += calibrator.telescope_pairs
    measurement_counts = [len(calibrator.times) for calibrator in calibrators]
    stars = np.repeat(np.arange(len(calibrators)), measurement_counts)
    order = np.argsort(times, kind="stable")
    is_other_star = np.diff(stars[order]) != 0
    is_new_visit = is_other_star | (np.diff(times[order]) > VISIT_GAP_DAYS)
    visit_starts = np.flatnonzero(is_new_visit) + 1
    visits = [visit_rows for visit_rows in np.split(order, visit_starts) if len(visit_rows)]
    return _CalibratorNight(
        times, values, np.array(telescope_pairs, np.str_), sorted({*telescope_pairs}), visits, stars
    )


def draw_transfer_function(
    calibrators: Sequence[CalibratorMeasurements], look: PictureStyle
) -> tuple[PictureCanvas, str]:
    """Draw a night of calibrators over time: VIS2 above, and below VIS2 over that of the disc, the transfer function.

    Each pair of telescopes has a colour.
    """
    night = _combine_calibrators(calibrators)
    low, high, upper_top, lower_top = 0.0, 1.0, 1.0, 1.0
    if len(night.times):
        low, high = float(night.times.min()), float(night.times.max())
        upper_top = max(0.1, 1.5 * float(np.percentile(night.values[0], 99)))
        lower_top = max(0.1, 1.25 * float(np.percentile(night.values[2], 99)))
    margin = (high - low) * 0.06 or 0.01
    sheet, outer_frame = create_curve_canvas(look, (low - margin, high + margin), (0.0, lower_top), ("time", ""))
    frames = [(outer_frame, 2)]
    if look.axes:
        left, top, right, bottom = outer_frame.box
        middle = (top + bottom) // 2
        gap = sheet.letter_pixels // 2
        upper_box = (left, top, right, middle - gap)
        lower_box = (left, middle + gap, right, bottom)
        upper_frame = PlotFrame(sheet, upper_box, outer_frame.x, (0.0, upper_top), outer_frame.kinds)
        lower_frame = PlotFrame(sheet, lower_box, outer_frame.x, (0.0, lower_top), outer_frame.kinds)
        frames = [(upper_frame, 0), (lower_frame, 2)]
        tick_limit = max(2, int(outer_frame.width / (5.5 * sheet.letter_pixels)))
        ticks = choose_ticks(*outer_frame.x, tick_limit, "time")
        ticks_without_labels = replace(ticks, labels=("",) * len(ticks.labels), axis_note="")
        upper_frame.draw_axes(("", "VIS2"), ticks_without_labels, has_grid=True)
        ratio_name = "VIS2 / 1"
        if any(look.diameters):
            ratio_name = "VIS2 / disc"
        lower_frame.draw_axes(("time (UTC)", ratio_name), ticks, has_grid=True)
    for frame, row in frames:
        _draw_night(frame, night, row, radius=max(2.0, look.size / 330))
    description = _describe_night(night, calibrators)
    title = "Calibrators and transfer function"
    label_curve_canvas(sheet, outer_frame, look, title=title, description=description)
    if look.axes:
        draw_line_names(frames[-1][0], night.pairs)
        star_times = []
        for visit_rows in night.visits:
            star_name = calibrators[night.stars[visit_rows[0]]].name
            star_times.append((star_name, night.times[visit_rows]))
        _draw_star_names(frames[0][0], star_times)
    return sheet, description


def _draw_night(frame: PlotFrame, night: _CalibratorNight, row: int, *, radius: float) -> None:
    """Draw a row of the values of a night, with its errors in the next row."""
    layer = frame.create_layer()
    values = night.values[row]
    for number, name in enumerate(night.pairs):
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        is_pair = night.measured_pairs == name
        x = night.times[is_pair]
        y = values[is_pair]
        error = night.values[row + 1][is_pair]
        if row:  # the transfer function is read between calibrators
            visits = [visit_rows[is_pair[visit_rows]] for visit_rows in night.visits]
            pair_visits = [visit_rows for visit_rows in visits if len(visit_rows)]
            mean_times = np.array([night.times[visit_rows].mean() for visit_rows in pair_visits])
            mean_values = np.array([values[visit_rows].mean() for visit_rows in pair_visits])
            pale_colour = [(channel + 510) // 3 for channel in colour]
            layer.draw_curve(mean_times, mean_values, pale_colour, 0.8)
        layer.draw_error_bars(x, y - error, y + error, colour)
        layer.draw_points(x, y, colour, radius)
    layer.merge_into_canvas()


def _describe_night(night: _CalibratorNight, calibrators: Sequence[CalibratorMeasurements]) -> str:
    names = {}
    for calibrator in calibrators:
        size_text = f"{calibrator.diameter:g} mas" if calibrator.diameter else "as a point"
        names[calibrator.name] = f"{calibrator.name} {size_text}"
    names_text = ", ".join([*names.values()][:6])
    if len(names) > 6:
        names_text += f" and {len(names) - 6} more"
    counts_text = f"{len(night.times)} measurements of {len(night.pairs)} pairs of telescopes"
    return f"transfer function: {counts_text}; {names_text}"


def _draw_star_names(frame: PlotFrame, blocks: Sequence[tuple[str, Numbers]]) -> None:
    """Draw the names of stars over their times as far as there is room, in three alternating lines."""
    size = max(8, frame.sheet.letter_pixels - 2)
    ends = [0.0, 0.0, 0.0]
    for name, visit_times in blocks:
        name_x = frame.box[0] + float(frame.compute_pixel_positions(visit_times.mean(), 0)[0])
        half = frame.sheet.measure_text(name, size) / 2
        left_limit = frame.box[0] + half + 3
        right_limit = frame.box[2] - half - 3
        name_x = min(max(name_x, left_limit), right_limit)
        for row, end in enumerate(ends):
            if name_x - half > end + 6:
                name_y = frame.box[1] + 4 + 1.3 * size * row
                frame.sheet.draw_text((name_x, name_y), name, "ma", size)
                ends[row] = name_x + half
                break
