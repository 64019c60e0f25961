"""ISIS cubes: tiled or by bands, special pixels as NaN, maps with their projection, tables. Read by windows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import MOST, Array, Axis, Medium, Product, wavelengths
from hven.formats.media import _labels as labels
from hven.formats.media import _maps as maps
from hven.formats.media._grids import Layout, Scale, mapped
from hven.formats.media._records import Field, fixed
from hven.formats.media._spectral import spelled
from hven.model.errors import SourceError, say
from hven.model.sky import footprints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from hven.formats.media import Part
    from hven.formats.media._labels import Label

    Window = Sequence[slice]
    from hven.formats.media._distant import Place

# stored type, special pixels, lowest valid value
_TYPES: dict[str, tuple[str, tuple[float, ...], float | None]] = {
    "UNSIGNEDBYTE": ("u1", (0.0, 255.0), None),
    "SIGNEDWORD": ("i2", (), -32752.0),
    "UNSIGNEDWORD": ("u2", (0.0, 1.0, 2.0, 65534.0, 65535.0), None),
    "SIGNEDINTEGER": ("i4", (), -(2.0**31) + 8),
    "UNSIGNEDINTEGER": ("u4", (0.0, 1.0, 2.0, 2.0**32 - 2, 2.0**32 - 1), None),
    "REAL": ("f4", (), float(np.uint32(0xFF7FFFFA).view(np.float32))),
    "DOUBLE": ("f8", (), float(np.uint64(0xFFEFFFFFFFFFFFFA).view(np.float64))),
}
_FIELDS = {"INTEGER": ("i4", 4), "DOUBLE": ("f8", 8), "REAL": ("f4", 4), "TEXT": ("text", 1)}


def open_isis(file: Place) -> Product:
    """Open a cube.

    Parameters
    ----------
    file
        It is read by ranges, wherever it lies.

    Returns
    -------
    product
        The cube as bands, lines, samples; its tables.

    Raises
    ------
    SourceError
        The label is none of a cube, or promises more than the file has.
    """
    label = labels.read(file)
    cube = next((one for _, one in label.named("ISISCUBE")), None)
    core = None if cube is None else next((one for _, one in cube.named("CORE")), None)
    if cube is None or core is None or core.get("^CORE") is not None:
        raise SourceError(say("{name} is no cube of ISIS with its pixels in it", file.name))
    found: dict[str, Label] = dict(core.objects)
    sizes = [int(found["DIMENSIONS"].number(word) or 0) for word in ("BANDS", "LINES", "SAMPLES")] if "DIMENSIONS" in found else []  # fmt: skip
    kind, nulls, least = _TYPES.get(str(found.get("PIXELS", core).get("TYPE")).upper(), ("", (), None))
    if not kind or min(sizes, default=0) < 1:
        raise SourceError(say("{name} is no cube of ISIS with its pixels in it", file.name))
    pixels = found["PIXELS"]
    order = ">" if str(pixels.get("BYTEORDER")).upper() == "MSB" else "<"
    scale = Scale(float(pixels.number("MULTIPLIER") or 1.0), float(pixels.number("BASE") or 0.0), nulls, least)
    dtype, read = _cube(file, core, sizes, np.dtype(f"{order}{kind}"), scale)
    bands = next((one for _, one in cube.named("BANDBIN")), None)
    world = maps.cards(_mapping(cube), pixel=0.5)
    axes = (
        _bands(bands, sizes[0]),
        Axis(name="LATITUDE" if world else "LINE", size=sizes[1], kind="latitude" if world else ""),
        Axis(name="LONGITUDE" if world else "SAMPLE", size=sizes[2], kind="longitude" if world else ""),
    )
    places = partial(footprints.places, {card.keyword: card.value for card in world}) if world else None
    parts: list[Part] = [Array(index=0, name="CORE", axes=axes, dtype=dtype, read=read, places=places, cards=tuple(world))]  # fmt: skip
    for name, one in label.objects[:MOST]:
        if name == "TABLE":
            fields = _fields(one, "<" if str(one.get("BYTEORDER")).upper() == "LSB" else ">")
            record = sum(field.size * field.items for field in fields)
            parts.append(fixed(file, fields, index=len(parts), name=str(one.get("NAME") or "TABLE"), offset=int(one.number("STARTBYTE") or 1) - 1, record=record, count=int(one.number("RECORDS") or 0)))  # fmt: skip
    return Product(medium="isis", parts=tuple(parts), cards=tuple(cube.cards()))


def _cube(file: Place, core: Label, sizes: Sequence[int], dtype: np.dtype[Any], scale: Scale) -> tuple[np.dtype[Any], Callable[[Window], npt.NDArray[Any]]]:  # fmt: skip
    bands, lines, samples = sizes
    offset = int(core.number("STARTBYTE") or 1) - 1
    if str(core.get("FORMAT")).upper() != "TILE":
        return mapped(file, Layout(offset, dtype, (bands, lines, samples)), scale)
    high, wide = int(core.number("TILELINES") or 0), int(core.number("TILESAMPLES") or 0)
    if min(high, wide) < 1:
        raise SourceError(say("an array of {name} has no size", file.name))
    meant, tiles = mapped(file, Layout(offset, dtype, (bands, -(-lines // high), -(-samples // wide), high, wide)), scale)  # fmt: skip

    def read(window: Window) -> npt.NDArray[Any]:
        """Read the tiles that a window touches, and cut it out of them."""
        band, line, sample = window
        down = slice(line.start // high, -(-line.stop // high))
        across = slice(sample.start // wide, -(-sample.stop // wide))
        block = tiles([band, down, across, slice(0, high), slice(0, wide)]).transpose(0, 1, 3, 2, 4)
        whole = block.reshape(len(block), -1, block.shape[3] * wide)
        top, left = line.start - down.start * high, sample.start - across.start * wide
        return whole[:, top : top + line.stop - line.start, left : left + sample.stop - sample.start]

    return meant, read


def _bands(group: Label | None, size: int) -> Axis:
    centres = [] if group is None else group.words("CENTER")
    if group is None or len(centres) != size or not all(isinstance(one, int | float) for one in centres):
        return Axis(name="BAND", size=size)
    unit = str(group.units.get("CENTER") or group.get("UNIT") or "um")
    own = np.array(centres, np.float64)
    values = partial(wavelengths, own, "", unit)
    return Axis(name="BAND", size=size, kind="spectral", unit=spelled(unit), values=values, own=lambda: own)


def _mapping(cube: Label) -> dict[str, object]:
    """Write a group Mapping in the words of PDS3."""
    one = next((one for _, one in cube.named("MAPPING")), None)
    step = None if one is None else one.number("PIXELRESOLUTION")
    corner = None if one is None else (one.number("UPPERLEFTCORNERX"), one.number("UPPERLEFTCORNERY"))
    if one is None or not step or corner is None or None in corner:
        return {}
    polar, equator = one.number("POLARRADIUS"), one.number("EQUATORIALRADIUS")
    return {
        "MAP_PROJECTION_TYPE": one.get("PROJECTIONNAME"),
        "TARGET_NAME": one.get("TARGETNAME"),
        "A_AXIS_RADIUS": equator and equator / 1e3,
        "B_AXIS_RADIUS": equator and equator / 1e3,
        "C_AXIS_RADIUS": polar and polar / 1e3,
        "MAP_SCALE": step / 1e3,
        "CENTER_LONGITUDE": one.number("CENTERLONGITUDE"),
        "CENTER_LATITUDE": one.number("CENTERLATITUDE"),
        "POSITIVE_LONGITUDE_DIRECTION": str(one.get("LONGITUDEDIRECTION")).upper().removeprefix("POSITIVE"),
        "COORDINATE_SYSTEM_NAME": str(one.get("LATITUDETYPE")).upper(),
        "MAP_PROJECTION_ROTATION": one.number("ROTATION"),
        "SAMPLE_PROJECTION_OFFSET": -float(corner[0] or 0.0) / step,
        "LINE_PROJECTION_OFFSET": float(corner[1] or 0.0) / step,
    }


def _fields(table: Label, order: str) -> list[Field]:
    found, at = [], 0
    for name, one in table.objects:
        if name != "FIELD":
            continue
        kind, size = _FIELDS.get(str(one.get("TYPE")).upper(), ("text", 1))
        count = int(one.number("SIZE") or 1)
        size, count = (count, 1) if kind == "text" else (size, count)
        found.append(Field(name=str(one.get("NAME")), kind=kind if kind == "text" else order + kind, at=at, size=size, items=count))  # fmt: skip
        at += size * count
    return found


MEDIUM = Medium(
    name="isis",
    title="ISIS",
    media_types=("application/x-isis3-cube",),
    endings=("cub",),
    begins=rb"\s*Object\s*=\s*IsisCube",
    open=open_isis,
)
