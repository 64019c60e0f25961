"""Draw spectra, series of time, and dynamic spectra.

They come from arrays whose axes are described, and from tables by their columns.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.plugins.previews.pictures.appearance import choose_stretch
from hven.plugins.previews.pictures.canvas import LINE_COLOURS, PictureCanvas, PlotFrame
from hven.plugins.previews.pictures.downsampling import read_cell_means
from hven.plugins.previews.pictures.image_pictures import draw_captions, read_axis_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.formats.media import ArrayPart, Axis, TablePart
    from hven.model.table import Column
    from hven.plugins.previews.pictures.appearance import PictureStyle

    Numbers = npt.NDArray[np.float64]

MAX_CURVE_VALUES = 2_000_000
_LOG_RANGE_DECADES = 3.0
_LOG_AXIS_RATIO = 30.0  # ratio of the ends of an axis from which on it is logarithmic
MAX_CUBE_PLANES = 400  # of a cube whose spectrum is drawn
MAX_TABLE_ROWS, TABLE_BLOCKS = 200_000, 200  # rows of a table that are read, and in how many blocks if it has more
_ABSCISSA_PATTERNS = (
    (
        "spectral",
        re.compile(
            r"(?i)^(wave(length)?s?|lambda|wl|w_?vac|loglam|wlen|eff_wave|freq(uency)?|nu|energy|channel)(_|$|\d)"
            r"|^(em\.(wl|freq|energy))"
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
    """Values of one or several lines over an axis."""

    x: Numbers
    lines: list[tuple[str, Numbers, Numbers | None]]  # name, values, errors
    axis_labels: tuple[str, str]
    kind: str
    description: str
    scale_type: str | None = None  # of the values


def create_array_curve(array: ArrayPart, errors: ArrayPart | None) -> Curve:
    """Create the curve of an array with one long axis: a spectrum or a series."""
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
    default_name = "wavelength" if kind == "spectral" else kind or "pixel"
    label = _drop_default_name(array.name) or "value"
    if array.unit:
        label = f"{label} ({array.unit})"
    description = f"part {array.index} {array.name}".strip()
    if value_count < count:
        description += f", first {value_count} of {count} values"
    return Curve(x, [("", values, error)], (name or default_name, label), kind, description, array.scale_type)


def create_cube_spectrum(array: ArrayPart) -> Curve:
    """Create the mean spectrum of a cube."""
    axis_numbers = range(len(array.axes))
    long_axes = [axis_number for axis_number in axis_numbers if array.axes[axis_number].size > 1]
    spectral_axis = next(axis_number for axis_number in long_axes if array.axes[axis_number].kind == "spectral")
    other_axes = [axis_number for axis_number in long_axes if axis_number != spectral_axis]
    plane_count = array.axes[spectral_axis].size
    drawn_count = min(plane_count, MAX_CUBE_PLANES)
    plane_numbers = np.unique(np.linspace(0, plane_count - 1, drawn_count).round().astype(int))
    x, name, kind = _read_axis_values(array.axes[spectral_axis], plane_count)
    values = []
    for plane in plane_numbers:
        if len(other_axes) > 1:
            fixed_pixels = dict.fromkeys(axis_numbers, 0) | {spectral_axis: int(plane)}
            value_limit = MAX_CURVE_VALUES // max(1, len(plane_numbers)) * 8
            means, _ = read_cell_means(
                array, other_axes[-1], other_axes[-2], fixed_pixels, (8, 8), value_limit=value_limit
            )
        else:
            window = [slice(0, axis_item.size) for axis_item in array.axes]
            window[spectral_axis] = slice(int(plane), int(plane) + 1)
            means = np.asarray(array.read(window), np.float64)
        mean = np.nan
        if np.isfinite(means).any():
            mean = float(np.nanmean(means))
        values.append(mean)
    part_name = f"part {array.index} {array.name}".strip()
    description = f"{part_name}, mean of each plane, {len(plane_numbers)} of {plane_count} planes"
    label = f"mean ({array.unit})" if array.unit else "mean"
    line = ("", np.array(values), None)
    return Curve(x[plane_numbers], [line], (name, label), kind, description)


def _drop_default_name(name: str) -> str:
    if name.upper() in {"PRIMARY", "", "DATA"}:
        return ""
    return name


def _read_axis_values(axis: Axis, count: int) -> tuple[Numbers, str, str]:
    """Return the values along an axis, its name and its kind."""
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
        return _convert_wavelengths_for_plot(values)
    if axis.kind == "time":
        return values, "time (UTC)", "time"
    name = f"{axis.name} ({axis.unit})" if axis.unit else axis.name
    return values, name, ""


def _convert_wavelengths_for_plot(metres: Numbers) -> tuple[Numbers, str, str]:
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


# each kind of column of a curve has its branch
def create_table_curve(table_part: TablePart) -> Curve | None:  # noqa: C901, PLR0912
    """Create the curve of a table: a spectrum or a series; return None if no two columns go together."""
    abscissa = _find_abscissa(table_part)
    if abscissa is None or not table_part.row_count:
        return None
    x, kind = abscissa
    is_single_row = table_part.row_count == 1 and x.type.is_array
    candidates = _list_ordinate_candidates(table_part, x, is_single_row=is_single_row)
    errors = [column for column in candidates if _ERROR_PATTERN.search(column.name)]
    ys = _choose_line_columns(table_part, [column for column in candidates if column not in errors])
    if not ys or (x.type.is_array and not is_single_row):
        return None
    quality = _find_flag_column(candidates)
    read_columns = [x, *ys, *errors]
    if quality is not None:
        read_columns.append(quality)
    table = _read_columns(table_part, read_columns, is_single_row)
    values = table[x.name]
    name = x.name.lower()
    if kind == "time":
        values, name, kind = _convert_times_to_mjd(values, x, table_part)
    elif x.unit:
        name = f"{name} ({x.unit})"
    lines = []
    for column in ys:
        if len(table[column.name]) != len(values):
            lines += _split_cell_lines(table_part, column, table[column.name], len(values))
        else:
            error = _find_error_values(column, errors, table, values.shape)
            lines.append((column.name, table[column.name], error))
    if not lines:
        return None
    lines = lines[:8]
    label = ys[0].unit or "value"
    if len(lines) == 1:
        if ys[0].unit:
            label = f"{ys[0].name} ({ys[0].unit})"
        else:
            label = ys[0].name
    description = f"part {table_part.index} {table_part.name}".strip()
    if quality is not None and len(table[quality.name]) == len(values):
        lines, flag_note = _remove_flagged_values(lines, table[quality.name] == 0, quality.name)
        description += flag_note
    if table_part.row_count > MAX_TABLE_ROWS:
        description += f", {len(values):,} of {table_part.row_count:,} rows"
    if len(lines) == 1:
        lines = [("", *lines[0][1:])]
    return Curve(values, lines, (name, label), kind, description, _find_common_scale_type(table_part, ys))


def _find_common_scale_type(table_part: TablePart, columns: Sequence[Column]) -> str | None:
    """Return the scale that the file states for all of these columns; None if there is none."""
    metadata = None
    if table_part.collect_time_series_metadata is not None:
        metadata = table_part.collect_time_series_metadata()
    if metadata is None:
        return None
    scale_types = {metadata.scale_types.get(column.name) for column in columns}
    if len(scale_types) == 1:
        return scale_types.pop()
    return None


def _list_numeric_columns(table_part: TablePart) -> list[Column]:
    numeric_columns = []
    for column in table_part.columns:
        is_number_array = column.type.is_array and column.type.datatype not in {"char", "boolean"}
        if column.type.is_numeric or is_number_array:
            numeric_columns.append(column)
    return numeric_columns


def _find_abscissa(table_part: TablePart) -> tuple[Column, str] | None:
    """Find the column of the abscissa, and its kind."""
    for kind, pattern in _ABSCISSA_PATTERNS:
        for column in _list_numeric_columns(table_part):
            if _has_matching_name(column, pattern):
                return column, kind
    return None


def _list_ordinate_candidates(table_part: TablePart, x: Column, *, is_single_row: bool) -> list[Column]:
    """List the columns of values, errors and flags that go with the abscissa, vectors of main values first."""
    numeric = _list_numeric_columns(table_part)
    candidates = [column for column in numeric if column is not x and column.type.is_array == x.type.is_array]
    data = [column for column in candidates if column.name not in table_part.support_columns]
    if is_single_row or any(_MAIN_VALUE_PATTERN.search(column.name) for column in data):
        return candidates
    vectors = []  # their components are lines
    for column in numeric:
        is_vector = str(column.type.arraysize or "") in _VECTOR_SIZES
        if is_vector and column.name not in table_part.support_columns and _MAIN_VALUE_PATTERN.search(column.name):
            vectors.append(column)
    return [*vectors, *candidates]


def _choose_line_columns(table_part: TablePart, candidates: Sequence[Column]) -> list[Column]:
    """Choose up to four columns of one kind and unit that are drawn together."""
    value_columns = [column for column in candidates if not _AUXILIARY_PATTERN.search(column.name)]

    def rank_column(column: Column) -> tuple[bool, bool]:
        return column.name in table_part.support_columns, not _MAIN_VALUE_PATTERN.search(column.name)

    value_columns.sort(key=lambda column: (*rank_column(column), bool(_COUNTS_PATTERN.search(column.name))))
    if not value_columns:
        return []
    first = value_columns[0]
    same_unit = [column for column in value_columns if column.unit == first.unit]
    return [column for column in same_unit if rank_column(column) == rank_column(first)][:4]


def _find_error_values(
    column: Column, errors: Sequence[Column], table: dict[str, Numbers], shape: tuple[int, ...]
) -> Numbers | None:
    """Find the errors of a column by the name of their column."""
    error_name_pattern = re.compile(
        rf"(?i)^(e_?|err_?|sigma_?)?{re.escape(column.name)}(_?(err(or)?s?|sigma|unc\w*))?$"
        r"|^(err(or)?s?|sigma|stat)$"
    )
    for error_column in errors:
        if error_name_pattern.match(error_column.name) and table[error_column.name].shape == shape:
            return table[error_column.name]
    return None


def _find_flag_column(candidates: Sequence[Column]) -> Column | None:
    """Find the column of flags."""
    for column in candidates:
        if _QUALITY_PATTERN.search(column.name) and column.type.is_integer:
            return column
    return None


def _remove_flagged_values(
    lines: list[tuple[str, Numbers, Numbers | None]], is_good: npt.NDArray[np.bool_], quality_name: str
) -> tuple[list[tuple[str, Numbers, Numbers | None]], str]:
    """Remove flagged values, unless nearly all are; return also how many there are, in words."""
    if not 0.1 < is_good.mean() < 1:
        return lines, ""
    good_lines = []
    for title, values, error in lines:
        good_values = values
        if len(values) == len(is_good):
            good_values = np.where(is_good, values, np.nan)
        good_lines.append((title, good_values, error))
    return good_lines, f", without {int((~is_good).sum()):,} values that {quality_name} flags"


def _split_cell_lines(
    table: TablePart, column: Column, values: Numbers, count: int
) -> list[tuple[str, Numbers, Numbers | None]]:
    """Split a cell of several lines into these, by its dimensions."""
    arraysize = str(column.type.arraysize)
    if arraysize in _VECTOR_SIZES and len(values) == count * int(arraysize):
        components = values.reshape(count, -1).T
        return [(f"{column.name} {number}", line, None) for number, line in enumerate(components, 1)]
    number = 1 + [column_item.name for column_item in table.columns].index(column.name)
    tdim_value = ""
    for card in table.cards:
        if card.keyword == f"TDIM{number}":
            tdim_value = str(card.value)
            break
    sizes = [int(word) for word in re.findall(r"\d+", tdim_value)]
    if len(sizes) != 2 or count not in sizes or sizes[0] * sizes[1] != len(values) or len(values) > 4 * count:
        return []
    grid = values.reshape(sizes[1], sizes[0])
    if sizes[1] == count:
        grid = grid.T
    return [(f"{column.name} {line_number}", line, None) for line_number, line in enumerate(grid, 1)]


def _has_matching_name(column: Column, pattern: re.Pattern[str]) -> bool:
    if _ERROR_PATTERN.search(column.name):
        return False
    return bool(pattern.search(column.name) or pattern.search(column.ucd or ""))


def _read_columns(table_part: TablePart, columns: Sequence[Column], is_single_row: bool) -> dict[str, Numbers]:
    """Read columns as numbers: all rows, or blocks of them."""
    starts = [0]
    size = table_part.row_count
    if table_part.row_count > MAX_TABLE_ROWS:
        size = MAX_TABLE_ROWS // TABLE_BLOCKS
        starts = np.linspace(0, table_part.row_count - size, TABLE_BLOCKS).astype(int).tolist()
    batches = [batch for start in starts for batch in table_part.read_batches(start, size)]
    table = pa.Table.from_batches(batches)
    values_by_column = {}
    for column in columns:
        values = table[column.name].combine_chunks()
        if is_single_row or column.type.is_array:
            values = pc.list_flatten(values)
        numbers = values.cast(pa.float64(), safe=False)
        values_by_column[column.name] = np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)
    return values_by_column


def _convert_times_to_mjd(values: Numbers, column: Column, table: TablePart) -> tuple[Numbers, str, str]:
    """Convert times to MJD if the table states from when they count."""
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
        whole_day = float(str(cards["BJDREFI"]))
        fraction = float(str(cards.get("BJDREFF") or 0.0))
        reference_mjd = whole_day + fraction - 2_400_000.5
    if unit in {"d", "day", "days"} or (unit and unit.startswith("bjd")):
        step = 1.0
    elif unit in {"s", "sec", "seconds"}:
        step = 1.0 / 86_400.0
    else:
        step = None
    time_zero = cards.get("TIMEZERO")
    if isinstance(time_zero, int | float) and 15_000 < time_zero < 90_000 and abs(middle) < 4e7:
        reference_mjd = time_zero  # in files of SDAC the day itself
    if isinstance(reference_mjd, int | float) and step is not None:
        return float(reference_mjd) + values * step, "time", "time"
    epoch = (column.ucd or "").startswith("time.epoch") and unit == "d"  # times of CDF and netCDF
    if ("MJD" in name or epoch) and 15_000 < middle < 90_000:
        return values, "time", "time"
    if "JD" in name and 2_400_000 < middle < 2_500_000:
        return values - 2_400_000.5, "time", "time"
    axis_name = column.name.lower()
    if column.unit:
        axis_name = f"{axis_name} ({column.unit})"
    return values, axis_name, ""


def draw_curve(curve: Curve, look: PictureStyle, title: str) -> tuple[PictureCanvas, str]:
    """Draw the lines of a curve."""
    x_range = _choose_axis_range(curve.x, 0.0, 0.0)
    all_values = np.concatenate([y for _, y, _ in curve.lines])
    is_log_axis = curve.scale_type == "log" and bool((all_values > 0).any())
    convert = _compute_logarithms if is_log_axis else np.asarray
    y_range = _choose_axis_range(convert(all_values))
    sheet, frame = create_curve_canvas(look, x_range, y_range, (curve.kind, "log" if is_log_axis else ""))
    if look.axes:
        frame.draw_axes(curve.axis_labels, has_grid=True)
    layer = frame.create_layer()
    has_room = len(curve.x) <= frame.width / 3
    line_width = 1.2 if look.axes else 1.5
    for number, (_, y, error) in enumerate(curve.lines):
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        if error is not None and has_room:
            layer.draw_error_bars(curve.x, convert(y - error), convert(y + error), (168, 178, 192))
        line_x, line_y = curve.x, convert(y)
        if curve.kind == "time" and has_room:
            layer.draw_points(line_x, line_y, colour, 1.8)
        if curve.kind == "time":
            line_x, line_y = _insert_nan_at_gaps(line_x, line_y)
        layer.draw_curve(line_x, line_y, colour, line_width)
    layer.merge_into_canvas()
    if any(np.isfinite(y).any() for _, y, _ in curve.lines):
        description = curve.description
    else:
        description = f"{curve.description}, no values"
    omitted_count = int((all_values <= 0).sum())
    if is_log_axis and omitted_count:
        description += f", without {omitted_count:,} values that are not above 0"
    line_names = [name for name, _, _ in curve.lines]
    label_curve_canvas(sheet, frame, look, title=title, description=description, line_names=line_names)
    return sheet, description


def _compute_logarithms(values: Numbers) -> Numbers:
    """Compute logarithms to base 10; NaN for numbers that are not above 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values > 0, np.log10(values), np.nan)


def _insert_nan_at_gaps(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Break a line where samples are missing for much longer than the usual step."""
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
    look: PictureStyle, x: tuple[float, float], y: tuple[float, float], axis_kinds: tuple[str, str] = ("", "")
) -> tuple[PictureCanvas, PlotFrame]:
    """Create a canvas for curves: five wide and three high; without axes, three by two."""
    if not look.axes:
        sheet = PictureCanvas(look.size, max(1, round(look.size * 2 / 3)))
        whole_sheet = (1, 1, sheet.size[0] - 2, sheet.size[1] - 2)
        return sheet, PlotFrame(sheet, whole_sheet, x, y, axis_kinds)
    sheet = PictureCanvas(look.size, max(1, round(look.size * 0.64)))
    letter_pixels = int(np.clip(look.size / 58, 8, 20))
    sheet.letter_pixels = letter_pixels
    left = int(6.4 * letter_pixels)
    top = int(2.6 * letter_pixels)
    right = look.size - int(1.6 * letter_pixels)
    bottom = sheet.size[1] - int(6.6 * letter_pixels)
    box = (left, top, max(right, left + 1), max(bottom, top + 1))
    return sheet, PlotFrame(sheet, box, x, y, axis_kinds)


def label_curve_canvas(
    sheet: PictureCanvas,
    frame: PlotFrame,
    look: PictureStyle,
    *,
    title: str,
    description: str,
    line_names: Sequence[str] = (),
) -> None:
    """Draw the title, the description and the names of lines around the frame."""
    if not look.axes:
        width, height = sheet.size
        sheet.pen.rectangle([0, 0, width - 1, height - 1], outline=(205, 209, 215))
        return
    draw_captions(sheet, frame.box, title, description, look.note)
    draw_line_names(frame, line_names)


def draw_line_names(frame: PlotFrame, line_names: Sequence[str]) -> None:
    """Draw the names of lines into the upper right corner, as many as there is room for."""
    sheet = frame.sheet
    right_edge = frame.box[2] - 6.0
    name_widths = [sheet.measure_text(name) + 1.5 * sheet.letter_pixels for name in line_names]
    while sum(name_widths) > frame.width:
        name_widths.pop()
    for number, name_width in reversed([*enumerate(name_widths)]):
        if line_names[number]:
            colour = LINE_COLOURS[number % len(LINE_COLOURS)]
            sheet.draw_text((right_edge, frame.box[1] + 6), line_names[number], "ra", colour=colour)
            right_edge -= name_width


def _choose_axis_range(values: Numbers, percentile: float = 0.2, margin: float = 0.06) -> tuple[float, float]:
    """Choose the range of an axis: without the last outliers, and with a margin."""
    finite_values = values[np.isfinite(values)]
    if not len(finite_values):
        return 0.0, 1.0
    if not percentile:
        first, last = float(finite_values.min()), float(finite_values.max())
    else:
        first, last = map(float, np.percentile(finite_values, (percentile, 100 - percentile)))
    if margin and last > first:  # what sticks out a little is shown, too
        value_range = last - first
        first = max(float(finite_values.min()), first - value_range)
        last = min(float(finite_values.max()), last + value_range)
    value_range = (last - first) or abs(first) or 1.0
    extension = value_range * margin
    if not last > first:
        extension += value_range / 2
    return first - extension, last + extension


def find_dynamic_spectrum_axes(array: ArrayPart) -> tuple[Axis, Axis] | None:
    """Find the axes of a dynamic spectrum, across (time) and upwards; return None if it is none.

    Of several polarizations the first is drawn.
    """
    long_axes = [axis for axis in array.axes if axis.size > 1 and axis.kind != "polarization"]
    if len(long_axes) != 2:
        return None
    kinds = [_guess_axis_kind(axis) for axis in long_axes]
    if set(kinds) == {"time", "spectral"}:
        return (long_axes[kinds.index("time")], long_axes[kinds.index("spectral")])
    return None


def _guess_axis_kind(axis: Axis) -> str:
    """Guess the kind of an axis by its name and unit, if it is not known."""
    if axis.kind:
        return axis.kind
    if re.match(r"(?i)time|seconds", axis.name):
        return "time"
    if re.search(r"(?i)freq|energy|wavel", axis.name) or (axis.unit or "").lower() in {"ev", "kev", "mev"}:
        return "spectral"
    return ""


def draw_dynamic_spectrum(
    array: ArrayPart, axes: tuple[Axis, Axis], look: PictureStyle, title: str
) -> tuple[PictureCanvas, str]:
    """Draw a dynamic spectrum: time across, each channel without its median."""
    from PIL import Image  # noqa: PLC0415  (only pictures need it)

    axis_numbers = {id(axis): number for number, axis in enumerate(array.axes)}
    time_axis, spectral_axis = (axis_numbers[id(axis)] for axis in axes)
    cell_counts = (min(look.size, axes[0].size), min(look.size, axes[1].size))
    values, is_complete = read_cell_means(array, time_axis, spectral_axis, {}, cell_counts)
    x, name_x, kind = _read_monotonic_axis(axes[0])
    y, name_y, _ = _read_monotonic_axis(axes[1])
    # channels that a receiver left unused have the same value
    is_used_channel = np.concatenate([[True], np.diff(y) != 0])
    values = values[_mark_used_cells(is_used_channel, len(values))]
    y = y[is_used_channel]
    if y[-1] < y[0]:
        values = values[::-1]
        y = y[::-1]
    if x[-1] < x[0]:
        values = values[:, ::-1]
        x = x[::-1]
    values, normalization = _scale_channels_for_display(values, array.scale_type)
    axis_scale = axes[1].scale_type
    is_log_axis = bool(y[0] > 0 and (axis_scale == "log" if axis_scale else y[-1] / y[0] > _LOG_AXIS_RATIO))
    if is_log_axis:
        y = np.log10(y)
    stretch = choose_stretch(values, look, "inferno")
    y_kind = "log" if is_log_axis else ""
    x_range = (float(x[0]), float(x[-1]))
    y_range = (float(y[0]), float(y[-1]))
    sheet, frame = create_curve_canvas(look, x_range, y_range, (kind, y_kind))
    cell_rows = np.arange(len(y)) * len(values) / len(y)
    cell_columns = np.arange(len(x)) * values.shape[1] / len(x)
    rows = np.interp(np.linspace(y[0], y[-1], frame.height), y, cell_rows)
    columns = np.interp(np.linspace(x[0], x[-1], frame.width), x, cell_columns)
    row_numbers = np.clip(rows.astype(int), 0, len(values) - 1)[::-1]
    column_numbers = np.clip(columns.astype(int), 0, values.shape[1] - 1)
    pixels = stretch.to_rgba(values[np.ix_(row_numbers, column_numbers)])
    paper = Image.new("RGBA", (frame.width, frame.height), (236, 238, 241, 255))
    paper.alpha_composite(Image.fromarray(np.ascontiguousarray(pixels), "RGBA"))
    sheet.image.paste(paper.convert("RGB"), frame.box[:2])
    part = "" if is_complete else ", of a part of its pixels"
    state = ""
    for axis in array.axes:
        if axis.kind == "polarization" and axis.read_values is not None:
            state = f", polarization {axis.read_values()[0]}"
            break
    part_name = f"part {array.index} {array.name}".strip()
    words = f"{part_name}{state}, {normalization}{part}, {stretch.description}"
    if look.axes:
        frame.draw_axes((name_x, name_y), has_outward_ticks=True)
    label_curve_canvas(sheet, frame, look, title=title, description=words)
    return sheet, words


def _scale_channels_for_display(values: Numbers, scale_type: str | None) -> tuple[Numbers, str]:
    """Return logarithms, or else each channel without its median; and which of the two.

    If the file does not state the scale of the values, those of a large range become logarithms.
    """
    positive_values = values[np.isfinite(values) & (values > 0)]
    wants_logarithms = scale_type == "log" and len(positive_values) > 0
    if scale_type is None and len(positive_values) > 0.5 * values.size:
        low, high = np.log10(np.percentile(positive_values, (2, 98)))
        wants_logarithms = bool(high - low > _LOG_RANGE_DECADES / 2)
    if wants_logarithms:
        return _compute_logarithms(values), "logarithms"
    filled = np.isfinite(values).any(1)
    values[filled] -= np.nanmedian(values[filled], 1)[:, None]
    return values, "each channel less its median"


def _mark_used_cells(is_used_channel: npt.NDArray[np.bool_], cell_count: int) -> npt.NDArray[np.bool_]:
    """Return which cells have channels that are used."""
    if is_used_channel.all():
        return np.ones(cell_count, np.bool_)
    channel_numbers = (np.arange(cell_count) * len(is_used_channel)) // cell_count
    return is_used_channel[np.minimum(channel_numbers, len(is_used_channel) - 1)]


def _read_monotonic_axis(axis: Axis) -> tuple[Numbers, str, str]:
    """Read the values along an axis of a dynamic spectrum, which are monotonic."""
    values, name, kind = _read_axis_values(axis, axis.size)
    steps = np.diff(values)
    if len(values) < 2 or values[0] == values[-1] or not ((steps >= 0).all() or (steps <= 0).all()):
        return np.arange(1.0, axis.size + 1.0), axis.name or "pixel", ""
    return values, name, kind
