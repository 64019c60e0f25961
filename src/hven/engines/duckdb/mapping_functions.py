"""The functions of `hven.adql._mapping_functions` in DuckDB.

They are SQL templates, and vectorised functions that compute with `hven.model.sky` or read files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.value_kinds import classify_type
from hven.engines._engine_functions import to_numpy, to_single_array
from hven.model import shape_columns
from hven.model.sky import bodies, footprints, time_scales

if TYPE_CHECKING:
    from collections.abc import Callable

_DOUBLE_ARGUMENT = "CAST({0} AS DOUBLE)"
_DOUBLE_ARGUMENT_PAIR = "CAST({0} AS DOUBLE), CAST({1} AS DOUBLE)"

MAPPING_MACROS: tuple[str, ...] = (
    # a Julian date in one double resolves 40 microseconds, so tenths of a millisecond are shown
    (
        "CREATE OR REPLACE MACRO hven_of_jd(day, zero) AS make_timestamp(CAST(round((day - zero) * 864000000e0) AS "
        "BIGINT) * 100)"
    ),
    (
        "CREATE OR REPLACE MACRO hven_of_parts(day, fraction, zero) AS make_timestamp(\n"
        "       CAST(floor(day - zero) AS BIGINT) * 86400000000 + "
        "CAST(round((day - zero - floor(day - zero) + fraction) * 86400000000e0) AS BIGINT))"
    ),
    # dividing the least numbers below 0 gives -0
    "CREATE OR REPLACE MACRO hven_lon(x) AS CASE WHEN x < 0 AND x > -1e-300 THEN 0e0 ELSE x - 360 * floor(x / 360) END",
    "CREATE OR REPLACE MACRO hven_lon_360(x) AS CASE WHEN x >= 0 AND x <= 360 THEN x ELSE hven_lon(x) END",
    (
        "CREATE OR REPLACE MACRO hven_lon_180(x) AS CASE WHEN x >= -180 AND x <= 180 THEN x ELSE hven_lon(x + 180) "
        "- 180 END"
    ),
    "CREATE OR REPLACE MACRO hven_east_min(low, high) AS CASE WHEN high - low >= 360 THEN 0e0 ELSE hven_lon(-high) END",
    (
        "CREATE OR REPLACE MACRO hven_east_max(low, high) AS CASE WHEN high - low >= 360 THEN 360e0 WHEN "
        "hven_lon(-low) = 0 AND high <> low THEN 360e0 ELSE hven_lon(-low) END"
    ),
    (
        "CREATE OR REPLACE MACRO hven_hashlist(items) AS nullif(array_to_string(list_filter(items, "
        "lambda w, i: w <> '' AND list_position(items, w) = i), '#'), '')"
    ),
    (
        "CREATE OR REPLACE MACRO hven_numbers(text) AS list_transform(string_split(text, '#'), lambda w: "
        "TRY_CAST(w AS DOUBLE))"
    ),
    (
        r"CREATE OR REPLACE MACRO hven_clean(s) AS trim(regexp_replace("
        r"regexp_replace(strip_accents(s), '\s+', ' ', 'g'), "
        r"'[^A-Za-z0-9 ._:/+()*,;=%@?-]', '_', 'g'))"
    ),
)

_NO_VALUE_SQL = {
    "tai": str(time_scales.NO_TIME),
    "utc": str(time_scales.NO_TIME),
    "polar_ratio": "0e0",
    "target_class": "''",
    "target_name": "''",
}
MAPPING_MACROS += (
    *(
        f"CREATE OR REPLACE MACRO hven_{name}(x) AS nullif(hven_{name}_(x), {value})"
        for name, value in _NO_VALUE_SQL.items()
    ),
    # the light travel time may include a leap second; before 1972 there was none
    (
        "CREATE OR REPLACE MACRO hven_left(t, light) AS coalesce(make_timestamp(hven_utc(hven_tai(epoch_us(t)) - "
        "light)), t - to_microseconds(light))"
    ),
    "CREATE OR REPLACE MACRO hven_file_size(x, d) AS nullif(hven_file_size_(x, d), -1)",
    "CREATE OR REPLACE MACRO hven_file_md5(x, d) AS nullif(hven_file_md5_(x, d), '')",
)

MAPPING_TEMPLATES: dict[str, str] = {
    "LIGHT_TIME": f"({_DOUBLE_ARGUMENT} / 299792.458e0)",
    "TARGET_TIME": ".write_target_time",
    "FROM_JD": ".write_from_jd",
    "FROM_MJD": ".write_from_jd",
    "FROM_DAY": (
        "(make_timestamp(CAST({0} AS BIGINT), 1, 1, 0, 0, 0e0) + to_microseconds(CAST(round((CAST({1} AS DOUBLE) - "
        "1) * 86400000000e0) AS BIGINT)))"
    ),
    "FROM_UNIX": f"make_timestamp(CAST(round({_DOUBLE_ARGUMENT} * 1000000e0) AS BIGINT))",
    "FROM_CCSDS": ".write_from_ccsds",
    "FROM_TT2000": "make_timestamp(hven_utc(CAST({0} AS BIGINT) // 1000 + 946727967816000))",  # J2000 in TAI
    "TAI_TO_UTC": "make_timestamp(hven_utc(epoch_us({0})))",
    "UTC_TO_TAI": "make_timestamp(hven_tai(epoch_us({0})))",
    "TT_TO_UTC": "make_timestamp(hven_utc(epoch_us({0}) - 32184000))",
    "MARS_LS": ".write_mars_ls",
    "LON_360": f"hven_lon_360({_DOUBLE_ARGUMENT})",
    "LON_180": f"hven_lon_180({_DOUBLE_ARGUMENT})",
    "EAST_LON": f"hven_lon(-{_DOUBLE_ARGUMENT})",
    "EAST_MIN": f"hven_east_min({_DOUBLE_ARGUMENT_PAIR})",
    "EAST_MAX": f"hven_east_max({_DOUBLE_ARGUMENT_PAIR})",
    "PLANETOCENTRIC": (
        f"CASE WHEN abs({_DOUBLE_ARGUMENT}) <= 90 THEN degrees(atan2(pow(hven_polar_ratio({{1}}), 2) * "
        f"sin(radians({_DOUBLE_ARGUMENT})), cos(radians({_DOUBLE_ARGUMENT})))) END"
    ),
    "TARGET_CLASS": "hven_target_class({0})",
    "TARGET_NAME": "hven_target_name({0})",
    "HASHLIST": ".write_hashlist",
    "CLEAN": "hven_clean({0})",
    "EPN_TEXT": "lower(hven_clean({0}))",
    "URL_ENCODE": "url_encode({0})",
    "URL_PATH": "replace(url_encode({0}), '%2F', '/')",
    "FIRST_NOT_IN": ".write_first_not_in",
    "HIGHEST_NOT_IN": ".write_first_not_in",
    "PRODUCT_SIZE": ".write_product_file_function",
    "PRODUCT_MD5": ".write_product_file_function",
    "ORIENTED": ".write_oriented_shape",
    "POLYGON_OF": ".write_polygon_of",
    "LONLAT_BOX": ".write_lonlat_box",
}

# : A value stands for "no answer", and a macro turns it into NULL: DuckDB accepts no NULL from a function for arguments
# that are not NULL.
MAPPING_SIGNATURES: dict[str, tuple[tuple[str, ...], str]] = {
    "hven_tai_": (("BIGINT",), "BIGINT"),  # microseconds since 1970 on the clock of the time scale
    "hven_utc_": (("BIGINT",), "BIGINT"),
    "hven_mars_ls": (("BIGINT",), "DOUBLE"),
    "hven_polar_ratio_": (("VARCHAR",), "DOUBLE"),
    "hven_target_class_": (("VARCHAR",), "VARCHAR"),
    "hven_target_name_": (("VARCHAR",), "VARCHAR"),
    "hven_file_size_": (("VARCHAR", "VARCHAR"), "BIGINT"),  # (path, directory that relative paths start from)
    "hven_file_md5_": (("VARCHAR", "VARCHAR"), "VARCHAR"),
    "hven_oriented": (("DOUBLE[]", "VARCHAR"), "DOUBLE[]"),
    "hven_oriented_text": (("VARCHAR", "VARCHAR"), "VARCHAR"),
    "hven_polygon_of": (("VARCHAR", "VARCHAR"), "DOUBLE[]"),
}


_STC_FRAMES = {"ICRS", "FK4", "FK5", "GALACTIC", "ECLIPTIC", "UNKNOWNFRAME"}  # frames of STC-S that `outlines` reads


def _wrap_time_function(function: Callable[[Any], Any]) -> Callable[[Any], pa.Array]:
    def evaluate_times(column: Any) -> pa.Array:
        result = function(to_numpy(column))
        return pa.array(result)

    return evaluate_times


def _wrap_distinct_name_function(
    function: Callable[[str], Any], arrow_type: pa.DataType, no_value: float | str
) -> Callable[[Any], pa.Array]:
    """Wrap a function of one name so that it computes each distinct name of a column once."""

    def evaluate_names(column: Any) -> pa.Array:
        encoded = to_single_array(column).dictionary_encode()
        results = []
        for name in encoded.dictionary.to_pylist():
            result = function(name)
            results.append(no_value if result is None else result)
        return pa.array(results, arrow_type).take(encoded.indices)

    return evaluate_names


def _wrap_file_function(
    function: Callable[[Path], Any], arrow_type: pa.DataType, no_value: float | str
) -> Callable[[Any, Any], pa.Array]:
    def evaluate_paths(path: Any, directory: Any) -> pa.Array:
        start = Path()
        if len(directory):
            start = Path(to_single_array(directory)[0].as_py())

        def evaluate_path(path_text: str) -> Any:
            try:
                return function(start / path_text)
            except (OSError, ValueError):  # no such file, or no valid path: NULL, which the report counts
                return None

        return _wrap_distinct_name_function(evaluate_path, arrow_type, no_value)(path)

    return evaluate_paths


def _measure_file_bytes(path: Path) -> int | None:
    if path.is_file():
        return path.stat().st_size
    return None


def _compute_md5(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _orient_polygons(polygon: Any, view: Any) -> pa.Array:
    polygon_lists = to_single_array(polygon)
    offsets = np.asarray(polygon_lists.offsets.to_numpy(), dtype=np.int64)
    list_values = np.asarray(polygon_lists.values.to_numpy(zero_copy_only=False), dtype=np.float64)
    numbers = list_values[offsets[0] : offsets[-1]]
    starts = offsets - offsets[0]
    oriented = footprints.orient_polygons(starts, numbers, from_outside=_is_seen_from_outside(view))
    return pa.ListArray.from_arrays(pa.array(starts.astype(np.int32)), pa.array(oriented))


def _orient_region_texts(region: Any, view: Any) -> pa.Array:
    return shape_columns.orient_polygon_texts(to_single_array(region), seen_from_outside=_is_seen_from_outside(view))


def _is_seen_from_outside(view: Any) -> bool:
    return bool(pc.all(pc.equal(view, "body")).as_py())


def _extract_polygons_stated_in_frame(region: Any, frame: Any) -> pa.Array:
    """Return the corners of polygons; empty for other regions and for polygons in another frame."""
    texts = to_single_array(region)
    upper_texts = pc.ascii_upper(texts)
    outlines = shape_columns.parse_simple_shapes(texts)
    frame_names = {name.upper() for name in pc.unique(to_single_array(frame)).to_pylist()}
    if frame_names:
        frame_names.add("UNKNOWNFRAME")
    is_other_frame = np.zeros(len(texts), bool)
    for name in _STC_FRAMES - frame_names:
        is_other_frame |= np.asarray(pc.match_substring(upper_texts, f" {name} "))
    polygon_outlines = outlines.select_rows(~outlines.is_circle & ~is_other_frame[outlines.rows])
    sizes = np.zeros(len(texts), np.int32)
    sizes[polygon_outlines.rows] = polygon_outlines.lengths
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int32)])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(polygon_outlines.numbers))


MAPPING_FUNCTIONS: dict[str, Callable[..., pa.Array]] = {
    "hven_tai_": _wrap_time_function(time_scales.utc_to_tai),
    "hven_utc_": _wrap_time_function(time_scales.tai_to_utc),
    "hven_mars_ls": lambda column: pa.array(time_scales.compute_mars_ls_from_utc(to_numpy(column))),
    "hven_polar_ratio_": _wrap_distinct_name_function(bodies.compute_polar_radius_ratio, pa.float64(), 0.0),
    "hven_target_class_": _wrap_distinct_name_function(bodies.classify_target, pa.string(), ""),
    "hven_target_name_": _wrap_distinct_name_function(bodies.find_iau_name, pa.string(), ""),
    "hven_file_size_": _wrap_file_function(_measure_file_bytes, pa.int64(), -1),
    "hven_file_md5_": _wrap_file_function(_compute_md5, pa.string(), ""),
    "hven_oriented": _orient_polygons,
    "hven_oriented_text": _orient_region_texts,
    "hven_polygon_of": _extract_polygons_stated_in_frame,
}


class MappingDialect:
    """Methods of the dialect for the functions whose SQL depends on their arguments."""

    def write_target_time(self: Any, writer: Any, node: Any) -> str:
        """Write TARGET_TIME(jd or t, distance)."""
        time_sql = self._write_as_timestamp(writer, node.args[0])
        distance_sql = f"CAST({writer.write_expression(node.args[1])} AS DOUBLE)"
        return f"hven_left({time_sql}, CAST(round({distance_sql} / 299792.458e0 * 1000000) AS BIGINT))"

    def _write_as_timestamp(self: Any, writer: Any, node: Any) -> str:
        """Write a time that may be a Julian date as a timestamp."""
        text: str = writer.write_expression(node)
        if node.meta.type.is_numeric:
            return f"hven_of_jd(CAST({text} AS DOUBLE), 2440587.5e0)"
        return text

    def write_mars_ls(self: Any, writer: Any, node: Any) -> str:
        """Write MARS_LS(jd or t)."""
        return f"hven_mars_ls(epoch_us({self._write_as_timestamp(writer, node.args[0])}))"

    def write_from_jd(self: Any, writer: Any, node: Any) -> str:
        """Write FROM_JD or FROM_MJD of a date in one part or two."""
        zero = "2440587.5e0" if node.name == "FROM_JD" else "40587e0"
        parts = self.write_doubles(writer, node.args)
        if len(parts) == 1:
            return f"hven_of_jd({parts[0]}, {zero})"
        return f"hven_of_parts({parts[0]}, {parts[1]}, {zero})"

    def write_from_ccsds(self: Any, writer: Any, node: Any) -> str:
        """Write FROM_CCSDS: TAI seconds since 1958-01-01, which is 378691200 s before 1970.

        The integer seconds and the fraction are rounded each on its own.
        """
        parts = self.write_doubles(writer, node.args)
        microseconds_sql = " + ".join(f"CAST(round({part} * 1000000) AS BIGINT)" for part in parts)
        return f"make_timestamp(hven_utc({microseconds_sql} - 378691200000000))"

    def write_hashlist(self: Any, writer: Any, node: Any) -> str:
        """Write HASHLIST: join all values and split them again, so that lists among them are split, too."""
        first_arg = node.args[0]
        if classify_type(first_arg.meta.type) == "array":
            items = f"CAST({writer.write_expression(first_arg)} AS VARCHAR[])"
            joined_sql = f"array_to_string({items}, '#')"
        else:
            items = ", ".join(self.write_as_text(writer.write_expression(arg), arg) for arg in node.args)
            joined_sql = f"concat_ws('#', {items})"
        return f"hven_hashlist(list_transform(string_split({joined_sql}, '#'), lambda w: trim(w)))"

    def write_first_not_in(self: Any, writer: Any, node: Any) -> str:
        """Write FIRST_NOT_IN or HIGHEST_NOT_IN, of lists in text or arrays."""
        first_list, second_list = node.args
        is_highest = node.name == "HIGHEST_NOT_IN"
        if not first_list.meta.type.is_string:
            first = self.write_array_as_list(writer, first_list)
            second = self.write_array_as_list(writer, second_list)
        elif is_highest:
            first, second = (f"hven_numbers({writer.write_expression(arg)})" for arg in node.args)
        else:
            first, second = (
                f"list_transform(string_split({writer.write_expression(arg)}, '#'), lambda w: trim(w))"
                for arg in node.args
            )
        missing_sql = f"list_filter({first}, lambda w: w IS NOT NULL AND NOT list_contains(coalesce({second}, []), w))"
        if is_highest:
            chosen_sql = f"list_max({missing_sql})"
        else:
            chosen_sql = f"list_extract({missing_sql}, 1)"
        return f"CAST({chosen_sql} AS {node.meta.type.duckdb})"

    def write_product_file_function(self: Any, writer: Any, node: Any) -> str:
        """Write PRODUCT_SIZE or PRODUCT_MD5; the second argument is the descriptor's directory."""
        name = "hven_file_size" if node.name == "PRODUCT_SIZE" else "hven_file_md5"
        texts = [writer.write_expression(arg) for arg in node.args[:2]]
        if len(texts) == 1:
            texts.append(self.quote_string("."))
        return f"{name}({', '.join(texts)})"

    def write_oriented_shape(self: Any, writer: Any, node: Any) -> str:
        """Write ORIENTED(polygon or region, view)."""
        shape, view = node.args
        if classify_type(shape.meta.type) == "region":
            return f"hven_oriented_text({writer.write_expression(shape)}, {writer.write_expression(view)})"
        return f"hven_oriented({self.write_shape_numbers(writer, shape)}, {writer.write_expression(view)})"

    def write_polygon_of(self: Any, writer: Any, node: Any) -> str:
        """Write POLYGON_OF(region, frame)."""
        frame = "''"
        if len(node.args) > 1:
            frame = writer.write_expression(node.args[1])
        region = writer.write_expression(node.args[0])
        return f"nullif(hven_polygon_of({region}, {frame}), CAST([] AS DOUBLE[]))"

    def write_lonlat_box(self: Any, writer: Any, node: Any) -> str:
        """Write LONLAT_BOX: the corners from the south-west one on, eastwards for a body."""
        west, east, south, north = self.write_doubles(writer, node.args[:4])
        corners = [(west, south), (east, south), (east, north), (west, north)]
        view = node.args[4].value
        if view == "sky":
            corners = [corners[0], *reversed(corners[1:])]
        numbers_sql = ", ".join(f"{lon}, {lat}" for lon, lat in corners)
        condition_sql = (
            f"{west} + {east} + {south} + {north} IS NOT NULL AND hven_lon({east} - {west}) < 180 AND "
            f"hven_lon({east} - {west}) > 0 AND {south} < {north}"  # 0 to 360 is no box either
        )
        return f"CASE WHEN {condition_sql} THEN list_value({numbers_sql}) END"
