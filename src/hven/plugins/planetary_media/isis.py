"""Read ISIS cubes by windows: tiled or by bands, special pixels as NaN, maps with their projection, and tables."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import MAX_PARTS, ArrayPart, Axis, OpenProductFile, ProductFileFormat, convert_to_wavelengths
from hven.formats.media.api import (
    ArrayLayout,
    create_sky_mapping_builder,
    normalize_length_unit,
    write_map_projection_cards,
)
from hven.model.errors import SourceError, format_message
from hven.plugins.planetary_media import pvl_labels
from hven.plugins.planetary_media.record_tables import RecordField, create_fixed_record_table
from hven.plugins.planetary_media.stored_arrays import StoredValueEncoding, create_window_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from hven.formats.media import Part, Place, TablePart
    from hven.plugins.planetary_media.pvl_labels import PvlLabel

    Window = Sequence[slice]

# stored type, special pixels, lowest valid value
_PIXEL_TYPES: dict[str, tuple[str, tuple[float, ...], float | None]] = {
    "UNSIGNEDBYTE": ("u1", (0.0, 255.0), None),
    "SIGNEDWORD": ("i2", (), -32752.0),
    "UNSIGNEDWORD": ("u2", (0.0, 1.0, 2.0, 65534.0, 65535.0), None),
    "SIGNEDINTEGER": ("i4", (), -(2.0**31) + 8),
    "UNSIGNEDINTEGER": ("u4", (0.0, 1.0, 2.0, 2.0**32 - 2, 2.0**32 - 1), None),
    "REAL": ("f4", (), float(np.uint32(0xFF7FFFFA).view(np.float32))),
    "DOUBLE": ("f8", (), float(np.uint64(0xFFEFFFFFFFFFFFFA).view(np.float64))),
}
_FIELD_TYPES = {"INTEGER": ("i4", 4), "DOUBLE": ("f8", 8), "REAL": ("f4", 4), "TEXT": ("text", 1)}


def open_isis(file: Place) -> OpenProductFile:
    """Open a cube.

    Parameters
    ----------
    file
        The file, which is read by ranges, wherever it lies.

    Returns
    -------
    product
        The cube as bands, lines, samples; and its tables.

    Raises
    ------
    SourceError
        The label is not that of a cube, or promises more than the file has.
    """
    label = pvl_labels.read_pvl_label(file)
    cube = _find_object(label, "ISISCUBE")
    core = None
    if cube is not None:
        core = _find_object(cube, "CORE")
    if cube is None or core is None or core.get("^CORE") is not None:
        raise SourceError(
            format_message("{name} is not an ISIS cube, or does not contain the cube's pixels", file.name)
        )
    core_objects: dict[str, PvlLabel] = dict(core.objects)
    sizes = []
    if "DIMENSIONS" in core_objects:
        dimensions = core_objects["DIMENSIONS"]
        sizes = [int(dimensions.find_number(word) or 0) for word in ("BANDS", "LINES", "SAMPLES")]
    pixel_type_name = str(core_objects.get("PIXELS", core).get("TYPE")).upper()
    kind, nulls, lowest_valid = _PIXEL_TYPES.get(pixel_type_name, ("", (), None))
    if not kind or min(sizes, default=0) < 1:
        raise SourceError(
            format_message("{name} is not an ISIS cube, or does not contain the cube's pixels", file.name)
        )
    pixels = core_objects["PIXELS"]
    order = "<"
    if str(pixels.get("BYTEORDER")).upper() == "MSB":
        order = ">"
    factor = float(pixels.find_number("MULTIPLIER") or 1.0)
    zero = float(pixels.find_number("BASE") or 0.0)
    scale = StoredValueEncoding(factor, zero, nulls, lowest_valid)
    dtype, read = _create_cube_reader(file, core, sizes, np.dtype(f"{order}{kind}"), scale)
    band_axis = _create_band_axis(_find_object(cube, "BANDBIN"), sizes[0])
    wcs_cards = write_map_projection_cards(_convert_mapping_to_pds3(cube), origin_pixel=0.5)
    if wcs_cards:
        line_axis = Axis(name="LATITUDE", size=sizes[1], kind="latitude")
        sample_axis = Axis(name="LONGITUDE", size=sizes[2], kind="longitude")
    else:
        line_axis = Axis(name="LINE", size=sizes[1])
        sample_axis = Axis(name="SAMPLE", size=sizes[2])
    cube_array = ArrayPart(
        index=0,
        name="CORE",
        axes=(band_axis, line_axis, sample_axis),
        dtype=dtype,
        read=read,
        create_sky_mapping=create_sky_mapping_builder(wcs_cards),
        cards=tuple(wcs_cards),
    )
    parts: list[Part] = [cube_array]
    for name, inner_object in label.objects[:MAX_PARTS]:
        if name == "TABLE":
            parts.append(_create_table(file, inner_object, len(parts)))
    return OpenProductFile(medium="isis", parts=tuple(parts), cards=tuple(cube.list_cards()))


def _find_object(label: PvlLabel, name: str) -> PvlLabel | None:
    """Find the first object of this name in a label."""
    for _, inner_object in label.find_objects(name):
        return inner_object
    return None


def _create_table(file: Place, table_label: PvlLabel, index: int) -> TablePart:
    order = ">"
    if str(table_label.get("BYTEORDER")).upper() == "LSB":
        order = "<"
    fields = _read_table_fields(table_label, order)
    return create_fixed_record_table(
        file,
        fields,
        index=index,
        name=str(table_label.get("NAME") or "TABLE"),
        offset=int(table_label.find_number("STARTBYTE") or 1) - 1,
        record_bytes=sum(field.size * field.item_count for field in fields),
        record_count=int(table_label.find_number("RECORDS") or 0),
    )


def _create_cube_reader(
    file: Place, core: PvlLabel, sizes: Sequence[int], dtype: np.dtype[Any], scale: StoredValueEncoding
) -> tuple[np.dtype[Any], Callable[[Window], npt.NDArray[Any]]]:
    bands, lines, samples = sizes
    offset = int(core.find_number("STARTBYTE") or 1) - 1
    if str(core.get("FORMAT")).upper() != "TILE":
        return create_window_reader(file, ArrayLayout(offset, dtype, (bands, lines, samples)), scale)
    tile_lines = int(core.find_number("TILELINES") or 0)
    tile_samples = int(core.find_number("TILESAMPLES") or 0)
    if min(tile_lines, tile_samples) < 1:
        raise SourceError(format_message("the size of an array in {name} is missing", file.name))
    tile_row_count = -(-lines // tile_lines)
    tile_column_count = -(-samples // tile_samples)
    tiles_shape = (bands, tile_row_count, tile_column_count, tile_lines, tile_samples)
    value_type, read_tiles = create_window_reader(file, ArrayLayout(offset, dtype, tiles_shape), scale)

    def read_window(window: Window) -> npt.NDArray[Any]:
        """Read the tiles that a window touches, and cut it out of them."""
        band, line, sample = window
        tile_rows = slice(line.start // tile_lines, -(-line.stop // tile_lines))
        tile_columns = slice(sample.start // tile_samples, -(-sample.stop // tile_samples))
        whole_tile = (slice(0, tile_lines), slice(0, tile_samples))
        tiles = read_tiles([band, tile_rows, tile_columns, *whole_tile])
        block = tiles.transpose(0, 1, 3, 2, 4)
        joined_tiles = block.reshape(len(block), -1, block.shape[3] * tile_samples)
        top = line.start - tile_rows.start * tile_lines
        left = sample.start - tile_columns.start * tile_samples
        bottom = top + line.stop - line.start
        right = left + sample.stop - sample.start
        return joined_tiles[:, top:bottom, left:right]

    return value_type, read_window


def _create_band_axis(group: PvlLabel | None, size: int) -> Axis:
    if group is None:
        centres = []
    else:
        centres = group.list_values("CENTER")
    if group is None or len(centres) != size or not all(isinstance(centre, int | float) for centre in centres):
        return Axis(name="BAND", size=size)
    unit = str(group.units.get("CENTER") or group.get("UNIT") or "um")
    centre_values = np.array(centres, np.float64)
    values = partial(convert_to_wavelengths, centre_values, "", unit)
    return Axis(
        name="BAND",
        size=size,
        kind="spectral",
        unit=normalize_length_unit(unit),
        read_values=values,
        read_file_values=lambda: centre_values,
    )


def _convert_mapping_to_pds3(cube: PvlLabel) -> dict[str, object]:
    """Convert a group Mapping to the keywords of PDS3."""
    mapping_group = _find_object(cube, "MAPPING")
    if mapping_group is None:
        return {}
    step = mapping_group.find_number("PIXELRESOLUTION")
    left_edge = mapping_group.find_number("UPPERLEFTCORNERX")
    top_edge = mapping_group.find_number("UPPERLEFTCORNERY")
    if not step or left_edge is None or top_edge is None:
        return {}
    polar = mapping_group.find_number("POLARRADIUS")
    equator = mapping_group.find_number("EQUATORIALRADIUS")
    return {
        "MAP_PROJECTION_TYPE": mapping_group.get("PROJECTIONNAME"),
        "TARGET_NAME": mapping_group.get("TARGETNAME"),
        "A_AXIS_RADIUS": equator and equator / 1e3,
        "B_AXIS_RADIUS": equator and equator / 1e3,
        "C_AXIS_RADIUS": polar and polar / 1e3,
        "MAP_SCALE": step / 1e3,
        "CENTER_LONGITUDE": mapping_group.find_number("CENTERLONGITUDE"),
        "CENTER_LATITUDE": mapping_group.find_number("CENTERLATITUDE"),
        "POSITIVE_LONGITUDE_DIRECTION": str(mapping_group.get("LONGITUDEDIRECTION")).upper().removeprefix("POSITIVE"),
        "COORDINATE_SYSTEM_NAME": str(mapping_group.get("LATITUDETYPE")).upper(),
        "MAP_PROJECTION_ROTATION": mapping_group.find_number("ROTATION"),
        "SAMPLE_PROJECTION_OFFSET": -float(left_edge) / step,
        "LINE_PROJECTION_OFFSET": float(top_edge) / step,
    }


def _read_table_fields(table: PvlLabel, order: str) -> list[RecordField]:
    fields = []
    offset = 0
    for name, field_label in table.objects:
        if name != "FIELD":
            continue
        type_name = str(field_label.get("TYPE")).upper()
        kind, size = _FIELD_TYPES.get(type_name, ("text", 1))
        count = int(field_label.find_number("SIZE") or 1)
        if kind == "text":
            size, count = (count, 1)
        else:
            kind = order + kind
        field_name = str(field_label.get("NAME"))
        fields.append(RecordField(name=field_name, kind=kind, offset=offset, size=size, item_count=count))
        offset += size * count
    return fields


MEDIUM = ProductFileFormat(
    name="isis",
    title="ISIS",
    media_types=("application/x-isis3-cube",),
    extensions=("cub",),
    signature_pattern=rb"\s*Object\s*=\s*IsisCube",
    open=open_isis,
    has_units_as_comments=True,
)
