"""The SQL of functions whose form depends on their arguments."""

from __future__ import annotations

from typing import Any

DRAWN_PARTS = ("", "largest", "hull", "all")  # the part that is drawn of a region that is not a single polygon
BOUND_SIDES = ("west", "east", "south", "north")
MENDED_QUALITY_CODE = 5  # the number of "mended" in `contour_regions.REGION_QUALITIES`


def write_sun_l0(writer: Any, node: Any) -> str:
    """Write SUN_L0(t, rotation), which is infinite if the rotation is not that of the date, unless it is NULL."""
    time = f"epoch_us({writer.write_expression(node.args[0])})"
    if len(node.args) == 1:
        return f"hven_sun_l0({time})"
    (rotation,) = _write_doubles_or_nan(writer, node.args[1:])
    return f"hven_sun_l0_of({time}, {rotation})"


def _write_doubles_or_nan(writer: Any, nodes: Any) -> list[str]:
    """Write numbers as doubles with NaN for NULL, so that a contour has a fault and is not NULL itself."""
    return [f"coalesce({text}, 'nan'::DOUBLE)" for text in writer.dialect.write_doubles(writer, nodes)]


def write_contour_image(writer: Any, node: Any) -> str:
    """Write DISC or CHART as a list of 8 or 7 numbers, filled up with zeros."""
    number_texts = _write_doubles_or_nan(writer, node.args)
    number_count = 8 if node.name == "DISC" else 7
    filling = ["0e0"] * (number_count - len(number_texts))
    return f"list_value({', '.join([*number_texts, *filling])})"


def write_chain_or_box_contour(writer: Any, node: Any) -> str:
    """Write CHAIN_CONTOUR(code, x, y, image, origin, directions) or BOX_CONTOUR(x0, y0, x1, y1, image, origin)."""
    if node.name == "CHAIN_CONTOUR":
        number_texts = _write_doubles_or_nan(writer, node.args[1:3])
        code, _, _, image, *optional_texts = (writer.write_expression(arg) for arg in node.args)
        directions = optional_texts[1:] or ["'helio'"]
        argument_texts = [code, *number_texts, image, _write_pixel_origin(optional_texts), *directions]
    else:
        number_texts = _write_doubles_or_nan(writer, node.args[:4])
        image, *optional_texts = (writer.write_expression(arg) for arg in node.args[4:])
        argument_texts = [*number_texts, image, _write_pixel_origin(optional_texts)]
    return f"hven_{node.name.lower()}({', '.join(argument_texts)})"


def write_chain_tfcat(writer: Any, node: Any) -> str:
    """Write CHAIN_AREA or CHAIN_LINE(code, time, spectral, steps of both, directions)."""
    number_texts = _write_doubles_or_nan(writer, node.args[1:5])
    directions = "'helio'"
    if len(node.args) > 5:
        directions = writer.write_expression(node.args[5])
    code = writer.write_expression(node.args[0])
    as_lines = "true" if node.name == "CHAIN_LINE" else "false"
    return f"nullif(hven_chain_tfcat({', '.join([code, *number_texts, directions, as_lines])}), '')"


def write_list_contour(writer: Any, node: Any) -> str:
    """Write LIST_CONTOUR(points, image, origin, unit)."""
    points, image, *optional_texts = (writer.write_expression(arg) for arg in node.args)
    if node.args[0].meta.type.is_string:
        points = f"hven_numbers_in({points})"
    else:
        points = f"list_transform(CAST({points} AS DOUBLE[]), lambda v: coalesce(v, 'nan'::DOUBLE))"
    unit = writer.dialect.quote_string("pixel")
    if len(optional_texts) > 1:
        unit = optional_texts[1]
    return f"hven_list_contour({points}, {image}, {_write_pixel_origin(optional_texts)}, {unit})"


def write_geojson_contour(writer: Any, node: Any) -> str:
    """Write GEOJSON_CONTOUR(geometry, longitudes)."""
    geometry, *longitude_texts = (writer.write_expression(arg) for arg in node.args)
    longitudes = writer.dialect.quote_string("east")
    if longitude_texts:
        longitudes = longitude_texts[0]
    return f"hven_geojson_contour({geometry}, {longitudes})"


def write_mask_contour(writer: Any, node: Any) -> str:
    """Write MASK_CONTOUR(path, value, image, directory); without an image, the cards of the file describe it."""
    path, value, *optional_args = node.args
    texts = [writer.write_expression(path), *writer.dialect.write_doubles(writer, [value])]
    directory = None
    if optional_args and optional_args[-1].meta.type.is_string:
        directory = optional_args.pop()
    if optional_args:
        texts.append(writer.write_expression(optional_args[0]))
    else:
        texts.append("CAST([] AS DOUBLE[])")
    if directory is None:
        texts.append(writer.dialect.quote_string("."))
    else:
        texts.append(writer.write_expression(directory))
    return f"hven_mask_contour({', '.join(texts)})"


def write_contour_polygon(writer: Any, node: Any) -> str:
    """Write CONTOUR_POLYGON(contour, part)."""
    part = 0
    if len(node.args) > 1:
        part = DRAWN_PARTS.index(node.args[1].value)
    region = f"({writer.write_expression(node.args[0])}).region"
    return f"nullif(hven_contour_polygon({region}, {part}::TINYINT), CAST([] AS DOUBLE[]))"


def write_contour_bound(writer: Any, node: Any) -> str:
    """Write CONTOUR_BOUND(contour, side)."""
    side = BOUND_SIDES.index(node.args[1].value) + 1
    return f"nullif(hven_contour_bounds(({writer.write_expression(node.args[0])}).region)[{side}], 'nan'::DOUBLE)"


def write_contour_moc(writer: Any, node: Any) -> str:
    """Write CONTOUR_MOC(contour, 'rest')."""
    region = f"({writer.write_expression(node.args[0])}).region"
    rest_only = "false"
    if len(node.args) > 1:
        rest_only = "true"
    return f"nullif(hven_contour_moc({region}, {rest_only}), '')"


def write_contour_quality(writer: Any, node: Any) -> str:
    """Write CONTOUR_QUALITY(contour, 'hull')."""
    contour_sql = writer.write_expression(node.args[0])
    quality_sql = f"hven_contour_quality(({contour_sql}).quality)"
    if len(node.args) == 1 or node.args[1].value != "hull":
        return quality_sql
    several_sql = f"(len(({contour_sql}).region) > 1 OR len(({contour_sql}).region[1]) > 1)"
    is_hull_sql = f"{several_sql} AND ({contour_sql}).quality NOT IN (1, {MENDED_QUALITY_CODE})"
    return f"CASE WHEN {is_hull_sql} THEN 'hull' ELSE {quality_sql} END"


def write_contour_fault(writer: Any, node: Any) -> str:
    """Write CONTOUR_FAULT(contour, 'name')."""
    contour_sql = writer.write_expression(node.args[0])
    if len(node.args) > 1:
        return f"hven_contour_kind(({contour_sql}).fault)"
    return f"nullif(hven_contour_fault(({contour_sql}).fault, ({contour_sql}).number), '')"


def write_wcs_footprint(writer: Any, node: Any) -> str:
    """Write WCS_FOOTPRINT of all its cards."""
    axis_texts = [writer.write_expression(arg) for arg in node.args[:2]]
    number_texts = writer.dialect.write_doubles(writer, node.args[2:])
    corners_sql = f"hven_wcs_({', '.join([*axis_texts, *number_texts])})"
    return f"nullif({corners_sql}, CAST([] AS DOUBLE[]))"


def _write_pixel_origin(optional_texts: list[str]) -> str:
    """Write the origin of pixel numbers, which is the first optional argument and 0 without it."""
    if optional_texts:
        return f"CAST({optional_texts[0]} AS BIGINT)"
    return "0::BIGINT"
