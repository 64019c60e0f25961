"""Pictures of spectra, of series of time, and of dynamic spectra.

Arrays whose axes say what they are, and tables by their columns.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.pictures._appearance import choose_stretch
from hven.formats.pictures._canvas import LINE_COLOURS, PictureCanvas, PlotFrame
from hven.formats.pictures._downsampling import read_cell_means
from hven.formats.pictures._image_pictures import draw_captions, read_axis_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.formats.media import ArrayPart, Axis, TablePart
    from hven.formats.pictures._appearance import Look
    from hven.model.table import Column

    Numbers = npt.NDArray[np.float64]

MAX_CURVE_VALUES = 2_000_000  # values of a curve
_LOG_RANGE_DECADES = 3.0
_LOG_AXIS_RATIO = 30.0  # times as high: what reaches so far is drawn by its logarithms
MAX_CUBE_PLANES = 400  # of a cube whose spectrum is drawn
MAX_TABLE_ROWS, TABLE_BLOCKS = 200_000, 200  # of a table: so many are read, in so many blocks if it has more
_ABSCISSA_PATTERNS = (
    (
        "spectral",
        re.compile(
            r"(?i)^(wave(length)?s?|lambda|wl|w_?vac|loglam|wlen|eff_wave|freq(uency)?|nu|energy|channel)(_|$|\d)|^(em\.(wl|freq|energy))"
        ),
    ),
    ("time", re.compile(r"(?i)^(time|epoch|mjd|b?jd|tjd|hjd|date(_?obs)?|barytime|utc?|t_mid)(_|$|\d)|^time\.epoch")),
)
_ERROR_PATTERN = re.compile(r"(?i)(^|_)(e|err|error|errors|sigma|stat|unc|uncert\w*|ivar|var|std)(_|$)")
_MAIN_VALUE_PATTERN = re.compile(
    r"(?i)flux|intens|rate|count|vis2|signal|brightness|radiance|mag|b_?[rtnxyz]$|density|irradiance"
)
_VECTOR_SIZES = {str(size) for size in range(2, 9)}  # values in a cell that are lines of their own
_COUNTS_PATTERN = re.compile(r"(?i)count|electron")
_QUALITY_PATTERN = re.compile(r"(?i)^(sap_)?(quality|flags?|dq|qual)$")
_AUXILIARY_PATTERN = re.compile(r"(?i)qual|flag|cadence|index|^id$|mask|corr$|number|status")


class Curve(NamedTuple):
    """Values over something."""

    x: Numbers
    lines: list[tuple[str, Numbers, Numbers | None]]  # name, values, errors
    axis_labels: tuple[str, str]
    kind: str
    description: str


def take_array_curve(array: ArrayPart, errors: ArrayPart | None) -> Curve:
    """Take a spectrum or a series out of an array of one long axis."""
    axis_number, axis = max(enumerate(array.axes), key=lambda axis_or_text: axis_or_text[1].size)
    count = axis.size
    value_count = min(count, MAX_CURVE_VALUES)

    def read_values(array_part: ArrayPart) -> Numbers:
        window = [slice(0, 1)] * len(array_part.axes)
        window[axis_number] = slice(0, value_count)
        return np.asarray(array_part.read(window), np.float64).ravel()

    values = read_values(array)
    if errors is not None and errors.shape == array.shape:
        error = read_values(errors)
    else:
        error = None
    x, name, kind = _read_axis_values(axis, value_count)
    name = name or ("wavelength" if kind == "spectral" else kind or "pixel")
    label = " ".join(
        axis_or_text
        for axis_or_text in (_drop_default_name(array.name) or "value", f"({array.unit})" if array.unit else "")
        if axis_or_text
    )
    description = f"part {array.index} {array.name}".strip() + (
        f", first {value_count} of {count} values" if value_count < count else ""
    )
    return Curve(x, [("", values, error)], (name, label), kind, description)


def take_cube_curve(array: ArrayPart) -> Curve:
    """Take the mean spectrum of a cube."""
    spectral_axis = next(
        spectral_axis
        for spectral_axis, axis_item in enumerate(array.axes)
        if axis_item.kind == "spectral" and axis_item.size > 1
    )
    other_axes = [
        other_axis
        for other_axis in range(len(array.axes))
        if other_axis != spectral_axis and array.axes[other_axis].size > 1
    ]
    count = min(array.axes[spectral_axis].size, MAX_CUBE_PLANES)
    plane_numbers = np.unique(np.linspace(0, array.axes[spectral_axis].size - 1, count).round().astype(int))
    x, name, kind = _read_axis_values(array.axes[spectral_axis], array.axes[spectral_axis].size)
    values = []
    for plane in plane_numbers:
        fixed_pixels = dict.fromkeys(range(len(array.axes)), 0) | {spectral_axis: int(plane)}
        if len(other_axes) > 1:
            first_axis, second_axis = (other_axes[-1], other_axes[-2])
        else:
            first_axis, second_axis = (
                other_axes[-1] if other_axes else (spectral_axis + 1) % len(array.axes),
                spectral_axis,
            )
        if second_axis == spectral_axis:
            window = [slice(0, axis_item.size) for axis_item in array.axes]
            window[spectral_axis] = slice(int(plane), int(plane) + 1)
            means = np.asarray(array.read(window), np.float64)
        else:
            means, _ = read_cell_means(
                array, first_axis, second_axis, fixed_pixels, (8, 8), MAX_CURVE_VALUES // max(1, len(plane_numbers)) * 8
            )
        values.append(float(np.nanmean(means)) if np.isfinite(means).any() else np.nan)
    description = (
        f"part {array.index} {array.name}".strip()
        + f", mean of each plane, {len(plane_numbers)} of {array.axes[spectral_axis].size} planes"
    )
    if array.unit:
        label = f"mean ({array.unit})"
    else:
        label = "mean"
    return Curve(x[plane_numbers], [("", np.array(values), None)], (name, label), kind, description)


def _drop_default_name(name: str) -> str:
    if name.upper() in {"PRIMARY", "", "DATA"}:
        return ""
    return name


def _read_axis_values(axis: Axis, count: int) -> tuple[Numbers, str, str]:
    """Return what the pixels of an axis stand for, its name and its kind."""
    values = None
    read_values = read_axis_values(axis)
    if read_values is not None:
        if np.asarray(read_values).dtype.kind in "iuf":
            values = np.asarray(read_values, np.float64)[:count]
        else:
            values = None
    if values is None or not np.isfinite(values).any():
        return np.arange(1.0, count + 1.0), axis.name, ""
    if axis.kind == "spectral":
        return _convert_wavelengths(values)
    if axis.kind == "time":
        return values, "time (UTC)", "time"
    return values, f"{axis.name} ({axis.unit})" if axis.unit else axis.name, ""


def _convert_wavelengths(metres: Numbers) -> tuple[Numbers, str, str]:
    middle = float(np.nanmedian(metres))
    if middle >= 3e-4:
        frequencies = 299_792_458.0 / metres
        if middle < 0.3:
            return (frequencies / 1e9, "frequency (GHz)", "")
        return (frequencies / 1e6, "frequency (MHz)", "")
    if middle < 1e-8:
        return 1.2398419843e-9 / metres, "energy (keV)", ""
    if middle >= 1e-6:
        return (metres * 1e6, "wavelength (µm)", "")
    return (metres * 1e9, "wavelength (nm)", "")


def take_table_curve(table_part: TablePart) -> Curve | None:
    """Take a spectrum or a series out of a table; None: it has no two columns that go together."""
    numeric = [
        column
        for column in table_part.columns
        if column.type.is_numeric or (column.type.is_array and column.type.datatype not in {"char", "boolean"})
    ]
    abscissa = next(
        (
            (column, kind)
            for kind, description in _ABSCISSA_PATTERNS
            for column in numeric
            if _has_matching_name(column, description)
        ),
        None,
    )
    if abscissa is None or not table_part.row_count:
        return None
    x, kind = abscissa
    is_single_row = table_part.row_count == 1 and x.type.is_array
    matching_columns = [column for column in numeric if column is not x and column.type.is_array == x.type.is_array]
    data = [column for column in matching_columns if column.name not in table_part.support_columns]
    if not is_single_row and not any(
        _MAIN_VALUE_PATTERN.search(column.name) for column in data
    ):  # vectors: their parts are lines
        vectors = [
            column
            for column in numeric
            if str(column.type.arraysize or "") in _VECTOR_SIZES and column.name not in table_part.support_columns
        ]
        matching_columns = [
            *(column for column in vectors if _MAIN_VALUE_PATTERN.search(column.name)),
            *matching_columns,
        ]
    errors = [column for column in matching_columns if _ERROR_PATTERN.search(column.name)]
    value_columns = [
        column for column in matching_columns if column not in errors and not _AUXILIARY_PATTERN.search(column.name)
    ]
    value_columns.sort(
        key=lambda column: (
            column.name in table_part.support_columns,
            not _MAIN_VALUE_PATTERN.search(column.name),
            bool(_COUNTS_PATTERN.search(column.name)),
        )
    )
    if not value_columns or (x.type.is_array and not is_single_row):
        return None
    ys = [
        column
        for column in value_columns
        if column.unit == value_columns[0].unit
        and bool(_MAIN_VALUE_PATTERN.search(column.name)) == bool(_MAIN_VALUE_PATTERN.search(value_columns[0].name))
        and (column.name in table_part.support_columns) == (value_columns[0].name in table_part.support_columns)
    ][:4]
    quality = next(
        (column for column in matching_columns if _QUALITY_PATTERN.search(column.name) and column.type.is_integer), None
    )
    table = _read_columns(table_part, [x, *ys, *errors, *([] if quality is None else [quality])], is_single_row)
    values = table[x.name]
    if kind == "time":
        values, name, kind = _convert_times(values, x, table_part)
    elif x.unit:
        name = f"{x.name.lower()} ({x.unit})"
    else:
        name = x.name.lower()
    lines = []
    for column in ys:
        if len(table[column.name]) != len(values):
            lines += _split_cell_lines(table_part, column, table[column.name], len(values))
            continue
        error_name_pattern = re.compile(
            rf"(?i)^(e_?|err_?|sigma_?)?{re.escape(column.name)}(_?(err(or)?s?|sigma|unc\w*))?$|^(err(or)?s?|sigma|stat)$"
        )
        error_column = next(
            (
                is_single_row
                for is_single_row in errors
                if error_name_pattern.match(is_single_row.name) and table[is_single_row.name].shape == values.shape
            ),
            None,
        )
        lines.append((column.name, table[column.name], None if error_column is None else table[error_column.name]))
    if not lines:
        return None
    lines = lines[:8]
    if len(lines) == 1:
        label = f"{ys[0].name}{f' ({ys[0].unit})' if ys[0].unit else ''}"
    else:
        label = ys[0].unit or "value"
    description = f"part {table_part.index} {table_part.name}".strip()
    if quality is not None and len(table[quality.name]) == len(values) and 0.1 < (table[quality.name] == 0).mean() < 1:
        is_good = table[quality.name] == 0
        lines = [
            (title, np.where(is_good, y, np.nan) if len(y) == len(is_good) else y, error) for title, y, error in lines
        ]
        description += f", without {int((~is_good).sum()):,} values that {quality.name} flags"
    if table_part.row_count > MAX_TABLE_ROWS:
        description += f", {len(values):,} of {table_part.row_count:,} rows"
    return Curve(values, lines if len(lines) > 1 else [("", *lines[0][1:])], (name, label), kind, description)


def _split_cell_lines(
    table: TablePart, column: Column, values: Numbers, count: int
) -> list[tuple[str, Numbers, Numbers | None]]:
    """Cut a cell of several lines, as its dimensions have them, into these."""
    if str(column.type.arraysize) in _VECTOR_SIZES and len(values) == count * int(str(column.type.arraysize)):
        return [
            (f"{column.name} {line_number}", line, None)
            for line_number, line in enumerate(values.reshape(count, -1).T, 1)
        ]
    number = 1 + [column_item.name for column_item in table.columns].index(column.name)
    tdim_value = next((str(card.value) for card in table.cards if card.keyword == f"TDIM{number}"), "")
    sizes = [int(word) for word in re.findall(r"\d+", tdim_value)]
    if len(sizes) != 2 or count not in sizes or sizes[0] * sizes[1] != len(values) or len(values) > 4 * count:
        return []
    grid = values.reshape(sizes[1], sizes[0])
    if sizes[1] == count:
        grid = grid.T
    return [(f"{column.name} {line_number}", line, None) for line_number, line in enumerate(grid, 1)]


def _has_matching_name(column: Column, pattern: re.Pattern[str]) -> bool:
    return bool(
        pattern.search(column.name) or (column.ucd and pattern.search(column.ucd))
    ) and not _ERROR_PATTERN.search(column.name)


def _read_columns(table_part: TablePart, columns: Sequence[Column], is_single_row: bool) -> dict[str, Numbers]:
    """Read columns as numbers: all rows, or blocks of them."""
    if table_part.row_count <= MAX_TABLE_ROWS:
        starts = [0]
    else:
        starts = (
            np.linspace(0, table_part.row_count - MAX_TABLE_ROWS // TABLE_BLOCKS, TABLE_BLOCKS).astype(int).tolist()
        )
    if table_part.row_count <= MAX_TABLE_ROWS:
        size = table_part.row_count
    else:
        size = MAX_TABLE_ROWS // TABLE_BLOCKS
    batches = [batch for start in starts for batch in table_part.read_batches(start, size)]
    table = pa.Table.from_batches(batches)
    values_by_column = {}
    for column in columns:
        values = table[column.name].combine_chunks()
        if is_single_row or column.type.is_array:
            values = pc.list_flatten(values)
        values_by_column[column.name] = np.asarray(
            values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64
        )
    return values_by_column


def _convert_times(values: Numbers, column: Column, table: TablePart) -> tuple[Numbers, str, str]:
    """Return times as MJD where the table says from when they count."""
    cards = {card.keyword: card.value for card in table.cards}
    name = column.name.upper()
    unit = (column.unit or "").lower()
    finite_values = values[np.isfinite(values)]
    if len(finite_values):
        middle = float(np.median(finite_values))
    else:
        middle = 0.0
    reference_mjd = cards.get("MJDREF")
    reference_day = cards.get("MJDREFI")
    part = cards.get("MJDREFF", 0.0)
    if reference_mjd is None and isinstance(reference_day, int | float) and isinstance(part, int | float):
        reference_mjd = float(reference_day) + float(part)
    if reference_mjd is None and cards.get("BJDREFI") is not None:
        reference_mjd = float(str(cards["BJDREFI"])) + float(str(cards.get("BJDREFF") or 0.0)) - 2_400_000.5
    if unit in {"d", "day", "days"} or (unit and unit.startswith("bjd")):
        step = 1.0
    elif unit in {"s", "sec", "seconds"}:
        step = 1.0 / 86_400.0
    else:
        step = None
    time_zero = cards.get("TIMEZERO")
    if isinstance(time_zero, int | float) and 15_000 < time_zero < 90_000 and abs(middle) < 4e7:
        reference_mjd = time_zero  # as SDAC has it: the day itself
    if isinstance(reference_mjd, int | float) and step is not None:
        return float(reference_mjd) + values * step, "time", "time"
    epoch = (column.ucd or "").startswith("time.epoch") and unit == "d"  # as readers give times of CDF and netCDF
    if ("MJD" in name or epoch) and 15_000 < middle < 90_000:
        return values, "time", "time"
    if "JD" in name and 2_400_000 < middle < 2_500_000:
        return values - 2_400_000.5, "time", "time"
    return values, f"{column.name.lower()} ({column.unit})" if column.unit else column.name.lower(), ""


def draw_curve(curve: Curve, look: Look, title: str) -> tuple[PictureCanvas, str]:
    """Draw curves."""
    axis_range = _choose_axis_range(curve.x, 0.0, 0.0)
    sheet, frame = create_curve_canvas(
        look,
        axis_range,
        _choose_axis_range(np.concatenate([y for _, y, _ in curve.lines])),
        (curve.kind, ""),
    )
    if look.axes:
        frame.draw_axes(curve.axis_labels, grid=True)
    layer = frame.create_layer()
    has_room = len(curve.x) <= frame.width / 3
    line_width = 1.2 if look.axes else 1.5
    for number, (_, y, error) in enumerate(curve.lines):
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        if error is not None and has_room:
            layer.draw_error_bars(curve.x, y - error, y + error, (168, 178, 192))
        if curve.kind == "time" and has_room:
            layer.draw_points(curve.x, y, colour, 1.8)
        layer.draw_curve(*(_split_at_gaps(curve.x, y) if curve.kind == "time" else (curve.x, y)), colour, line_width)
    layer.merge_into_canvas()
    if any(np.isfinite(y).any() for _, y, _ in curve.lines):
        description = curve.description
    else:
        description = f"{curve.description}, no values"
    label_curve_canvas(sheet, frame, look, title, description, [name for name, _, _ in curve.lines])
    return sheet, description


def _split_at_gaps(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Break a line where there is nothing for much longer than usual."""
    steps = np.diff(x)
    if len(steps):
        usual = float(np.nanmedian(steps))
    else:
        usual = 0.0
    if usual > 0:
        gaps = np.flatnonzero(steps > 20 * usual) + 1
    else:
        gaps = np.empty(0, np.int64)
    return np.insert(x, gaps, x[gaps]), np.insert(y, gaps, np.nan)


def create_curve_canvas(
    look: Look, x: tuple[float, float], y: tuple[float, float], axis_kinds: tuple[str, str] = ("", "")
) -> tuple[PictureCanvas, PlotFrame]:
    """Make a sheet for curves: five wide, three high; without axes three by two."""
    if not look.axes:
        sheet = PictureCanvas(look.size, max(1, round(look.size * 2 / 3)))
        return sheet, PlotFrame(sheet, (1, 1, sheet.size[0] - 2, sheet.size[1] - 2), x, y, axis_kinds)
    sheet = PictureCanvas(look.size, max(1, round(look.size * 0.64)))
    letter_pixels = sheet.letter_pixels = int(np.clip(look.size / 58, 8, 20))
    box = (
        int(6.4 * letter_pixels),
        int(2.6 * letter_pixels),
        look.size - int(1.6 * letter_pixels),
        sheet.size[1] - int(6.6 * letter_pixels),
    )
    return sheet, PlotFrame(sheet, (box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)), x, y, axis_kinds)


def label_curve_canvas(
    sheet: PictureCanvas, frame: PlotFrame, look: Look, title: str, description: str, line_names: Sequence[str] = ()
) -> None:
    """Write what is around the frame: title, what it shows, names of lines."""
    if not look.axes:
        sheet.pen.rectangle([0, 0, sheet.size[0] - 1, sheet.size[1] - 1], outline=(205, 209, 215))
        return
    draw_captions(sheet, frame.box, title, description, look.note)
    label_lines(frame, line_names)


def label_lines(frame: PlotFrame, line_names: Sequence[str]) -> None:
    """Write the names of lines into the upper right corner, as many as there is room for."""
    sheet = frame.sheet
    right_edge = frame.box[2] - 6.0
    name_widths = [sheet.measure_text(name) + 1.5 * sheet.letter_pixels for name in line_names]
    while sum(name_widths) > frame.width:
        name_widths.pop()
    for number, name_width in reversed([*enumerate(name_widths)]):
        if line_names[number]:
            sheet.draw_text(
                (right_edge, frame.box[1] + 6),
                line_names[number],
                "ra",
                colour=LINE_COLOURS[number % len(LINE_COLOURS)],
            )
            right_edge -= name_width


def _choose_axis_range(values: Numbers, percentile: float = 0.2, margin: float = 0.06) -> tuple[float, float]:
    """Return from where to where an axis goes: without the last outliers, with some room."""
    finite_values = values[np.isfinite(values)]
    if not len(finite_values):
        return 0.0, 1.0
    if not percentile:
        first, last = (float(finite_values.min()), float(finite_values.max()))
    else:
        first, last = map(float, np.percentile(finite_values, (percentile, 100 - percentile)))
    if margin and last > first:  # what sticks out a little is shown, too
        value_range = last - first
        first = max(float(finite_values.min()), first - value_range)
        last = min(float(finite_values.max()), last + value_range)
    value_range = (last - first) or abs(first) or 1.0
    return first - value_range * margin - (0.0 if last > first else value_range / 2), last + value_range * margin + (
        0.0 if last > first else value_range / 2
    )


def find_dynamic_spectrum_axes(array: ArrayPart) -> tuple[Axis, Axis] | None:
    """Return the axes of a dynamic spectrum, across (time) and upwards; None: it is none.

    Of several polarizations the first is drawn.
    """
    long_axes = [axis for axis in array.axes if axis.size > 1 and axis.kind != "polarization"]
    if len(long_axes) != 2:
        return None
    kinds = [
        axis.kind
        or (
            "time"
            if re.match(r"(?i)time|seconds", axis.name)
            else "spectral"
            if (re.search(r"(?i)freq|energy|wavel", axis.name) or (axis.unit or "").lower() in {"ev", "kev", "mev"})
            else ""
        )
        for axis in long_axes
    ]
    if set(kinds) == {"time", "spectral"}:
        return (long_axes[kinds.index("time")], long_axes[kinds.index("spectral")])
    return None


def draw_dynamic_spectrum(
    array: ArrayPart, axes: tuple[Axis, Axis], look: Look, title: str
) -> tuple[PictureCanvas, str]:
    """Draw a dynamic spectrum: time across, each channel less its median."""
    from PIL import Image  # noqa: PLC0415  (loaded for pictures alone)

    time_axis, spectral_axis = (
        next(axis_or_cells for axis_or_cells, axis_item in enumerate(array.axes) if axis_item is axis) for axis in axes
    )
    values, is_complete = read_cell_means(
        array, time_axis, spectral_axis, {}, (min(look.size, axes[0].size), min(look.size, axes[1].size))
    )
    x, name_x, kind = _read_monotonic_axis(axes[0])
    y, name_y, _ = _read_monotonic_axis(axes[1])
    is_used_channel = np.concatenate(
        [[True], np.diff(y) != 0]
    )  # channels that a receiver left unused have the same value
    values = values[_mark_used_cells(is_used_channel, len(values))]
    y = y[is_used_channel]
    if y[-1] < y[0]:
        values = values[::-1]
        y = y[::-1]
    if x[-1] < x[0]:
        values = values[:, ::-1]
        x = x[::-1]
    positive_values = values[np.isfinite(values) & (values > 0)]
    is_log_scaled = (
        len(positive_values) > 0.5 * values.size
        and np.ptp(np.log10(np.percentile(positive_values, (2, 98)))) > _LOG_RANGE_DECADES / 2
    )
    if is_log_scaled:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(values > 0, np.log10(values), np.nan)
            normalization = "logarithms"
    else:
        filled = np.isfinite(values).any(1)
        values[filled] -= np.nanmedian(values[filled], 1)[:, None]
        normalization = "each channel less its median"
    is_log_axis = bool(y[0] > 0 and y[-1] / y[0] > _LOG_AXIS_RATIO)
    if is_log_axis:
        y = np.log10(y)
    stretch = choose_stretch(values, look, "inferno")
    sheet, frame = create_curve_canvas(
        look, (float(x[0]), float(x[-1])), (float(y[0]), float(y[-1])), (kind, "log" if is_log_axis else "")
    )
    rows = np.interp(np.linspace(y[0], y[-1], frame.height), y, np.arange(len(y)) * len(values) / len(y))
    columns = np.interp(np.linspace(x[0], x[-1], frame.width), x, np.arange(len(x)) * values.shape[1] / len(x))
    axis_or_cells = (
        np.clip(rows.astype(int), 0, len(values) - 1)[::-1],
        np.clip(columns.astype(int), 0, values.shape[1] - 1),
    )
    pixels = stretch.to_rgba(values[np.ix_(*axis_or_cells)])
    paper = Image.new("RGBA", (frame.width, frame.height), (236, 238, 241, 255))
    paper.alpha_composite(Image.fromarray(np.ascontiguousarray(pixels), "RGBA"))
    sheet.image.paste(paper.convert("RGB"), frame.box[:2])
    part = "" if is_complete else ", of a part of its pixels"
    state = next(
        (
            f", polarization {axis.read_values()[0]}"
            for axis in array.axes
            if axis.kind == "polarization" and axis.read_values is not None
        ),
        "",
    )
    words = f"part {array.index} {array.name}".strip() + f"{state}, {normalization}{part}, {stretch.description}"
    if look.axes:
        frame.draw_axes((name_x, name_y), outward=True)
    label_curve_canvas(sheet, frame, look, title, words)
    return sheet, words


def _mark_used_cells(is_used_channel: npt.NDArray[np.bool_], cell_count: int) -> npt.NDArray[np.bool_]:
    """Return which cells have channels that count."""
    if not is_used_channel.all():
        return is_used_channel[
            np.minimum((np.arange(cell_count) * len(is_used_channel)) // cell_count, len(is_used_channel) - 1)
        ]
    return np.ones(cell_count, np.bool_)


def _read_monotonic_axis(axis: Axis) -> tuple[Numbers, str, str]:
    """Return values of an axis of a dynamic spectrum, monotonous."""
    values, name, kind = _read_axis_values(axis, axis.size)
    steps = np.diff(values)
    if len(values) < 2 or values[0] == values[-1] or not ((steps >= 0).all() or (steps <= 0).all()):
        return np.arange(1.0, axis.size + 1.0), axis.name or "pixel", ""
    return values, name, kind
