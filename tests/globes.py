"""HiPS maps of bodies whose colours encode longitude and latitude, so that pictures show where something was drawn."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import healpix

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Bytes = npt.NDArray[np.uint8]

ORDER, SIDE = 3, 32  # 768 tiles; pixels of a quarter of a degree
GREY = 90.0  # the least of a pixel's three colours
LOW_VALUE, HIGH_VALUE = 170.0, 250.0  # the largest of them at the south pole, and at the north pole


def compute_colours(lon: Floats, lat: Floats) -> Bytes:
    """Compute the colours of positions: hue for longitude, brightness for latitude, darker lines every 30 degrees."""
    high = LOW_VALUE + (HIGH_VALUE - LOW_VALUE) * (lat + 90) / 180
    sector, part = np.divmod((lon % 360) / 60, 1.0)
    up, down = GREY + (high - GREY) * part, high - (high - GREY) * part
    grey = np.full_like(high, GREY)
    six = [
        (high, up, grey),
        (down, high, grey),
        (grey, high, up),
        (grey, down, high),
        (up, grey, high),
        (high, grey, down),
    ]
    rgb = np.stack([np.choose(sector.astype(np.int64), [one[at] for one in six]) for at in range(3)], axis=-1)
    across = np.abs((lon + 15) % 30 - 15) * np.cos(np.radians(lat))
    along = np.abs((lat + 15) % 30 - 15)
    lines = (np.minimum(across, along) < 0.3) & (np.abs(lat) < 89)
    rgb[lines] *= 0.6
    return np.round(rgb).astype(np.uint8)


def compute_positions(rgb: Bytes) -> tuple[Floats, Floats]:
    """Compute longitudes and latitudes from colours; NaN for other colours."""
    red, green, blue = (rgb[..., at].astype(np.float64) for at in range(3))
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    with np.errstate(all="ignore"):
        wide = high - low
        hue = np.where(
            high == red,
            (green - blue) / wide % 6,
            np.where(high == green, 2 + (blue - red) / wide, 4 + (red - green) / wide),
        )
        lat = 180 * (high - LOW_VALUE) / (HIGH_VALUE - LOW_VALUE) - 90
    good = (np.abs(low - GREY) <= 3) & (np.abs(lat) <= 92) & (wide > 0)
    return np.where(good, hue * 60, np.nan), np.where(good, lat, np.nan)


def write_globe(target: Path, *, like: Path | None = None, **facts: str) -> Path:
    """Write a HiPS of a whole body with additional properties; `like` shares the pixels of another one."""
    target.mkdir(parents=True)
    if like is None:
        _write_tiles(target / f"Norder{ORDER}")
    else:
        (target / f"Norder{ORDER}").symlink_to(like / f"Norder{ORDER}")
    said = {
        "creator_did": f"ivo://example.org/P/{target.name}",
        "obs_title": target.name,
        "dataproduct_type": "image",
        "hips_version": "1.4",
        "hips_order": str(ORDER),
        "hips_tile_width": str(SIDE),
        "hips_tile_format": "png",
        "hips_status": "public master clonableOnce",
        "moc_sky_fraction": "1",
        **facts,
    }
    (target / "properties").write_text(
        "".join(f"{name:20} = {value}\n" for name, value in said.items()), encoding="utf-8"
    )
    return target


def _write_tiles(target: Path) -> None:
    order = ORDER + SIDE.bit_length() - 1
    pixels = np.arange(12 * 4**order, dtype=np.int64)
    lon, lat = healpix.compute_cell_centers(order, pixels)
    # x and y of a pixel in its tile are the even and the odd bits of its number; a PNG goes down the rows, then along
    # them
    inner = np.arange(SIDE * SIDE)
    x, y = (sum(((inner >> (2 * bit + odd)) & 1) << bit for bit in range(SIDE.bit_length())) for odd in (0, 1))
    seen = np.empty((12 * 4**ORDER, SIDE, SIDE, 3), np.uint8)
    seen[:, x, y] = compute_colours(lon, lat).reshape(-1, SIDE * SIDE, 3)
    (target / "Dir0").mkdir(parents=True)
    for number, tile in enumerate(seen):
        (target / f"Dir0/Npix{number}.png").write_bytes(encode_png(tile))
    columns = 27
    whole = np.zeros((-(-len(seen) // columns), SIDE, columns, SIDE, 3), np.uint8)
    for number, tile in enumerate(seen):
        whole[number // columns, :, number % columns] = tile
    (target / "Allsky.png").write_bytes(encode_png(whole.reshape(-1, columns * SIDE, 3)))


def encode_png(picture: Bytes) -> bytes:
    """Encode a picture as PNG."""
    high, wide, _ = picture.shape
    rows = np.zeros((high, 1 + 3 * wide), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = picture.reshape(high, -1)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), 1)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def decode_png(data: bytes) -> Bytes:
    """Decode a PNG with 8 bits for each channel, or with a palette."""
    at, packed, palette = 8, b"", np.zeros((0, 3), np.uint8)
    wide, high, depth, kind = struct.unpack(">IIBB", data[16:26])
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        packed += body if name == b"IDAT" else b""
        palette = np.frombuffer(body, np.uint8).reshape(-1, 3) if name == b"PLTE" else palette
        at += 12 + length
    assert depth == 8, "a picture of few colours"
    step = {2: 3, 3: 1, 6: 4}[kind]
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(high, 1 + step * wide)
    made = np.zeros((high + 1, step * wide), np.uint8)
    for number, row in enumerate(rows):
        made[number + 1] = _undo_filter(int(row[0]), row[1:], made[number], step)
    pixels = made[1:].reshape(high, wide, step)
    return palette[pixels[..., 0]] if kind == 3 else pixels[..., :3]


def _undo_filter(kind: int, row: Bytes, above: Bytes, step: int) -> Bytes:
    """Undo the filter of a row of a PNG.

    Filter 1 is the difference to the left pixel, 2 to the one above, 3 to the mean of both, 4 to the nearest of three
    (Paeth).
    """
    if kind == 1:
        return np.cumsum(row.reshape(-1, step), axis=0, dtype=np.uint8).ravel()
    if kind in {0, 2}:
        return row + above if kind else row
    made, up = bytearray(step) + bytes(row), bytes(step) + above.tobytes()
    for at in range(step, len(made)):
        left, over, corner = made[at - step], up[at], up[at - step]
        if kind == 3:
            guess = (left + over) // 2
        else:
            sums = abs(over - corner), abs(left - corner), abs(left + over - 2 * corner)
            guess = (left, over, corner)[sums.index(min(sums))]
        made[at] = (made[at] + guess) & 255
    return np.frombuffer(bytes(made[step:]), np.uint8)


def find_outlines(pixels: Bytes, ink: tuple[int, int, int]) -> list[tuple[float, float, float, float]]:
    """Find the areas that lines of a colour enclose: west, east, south and north of each; across 0 west > east.

    The map beside a line tells where the line is.
    """
    lines = (np.abs(pixels.astype(np.int64) - ink) <= 60).all(axis=-1)
    lon, lat = compute_positions(pixels)
    left = set(zip(*(each.tolist() for each in np.nonzero(lines)), strict=True))
    found = []
    while left:
        line, reached = [], [left.pop()]
        while reached:  # pixels that touch, by a corner or with one between them, are one line
            y, x = reached.pop()
            line.append((y, x))
            near = {(y + down, x + right) for down in range(-2, 3) for right in range(-2, 3)} & left
            left -= near
            reached += near
        close, beside = np.zeros((2, *lines.shape), bool)  # colours of the line's own edge are mixed
        for y, x in line:
            close[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
            beside[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = True
        beside &= ~close & np.isfinite(lon)
        if len(line) < 20 or not beside.any():
            continue
        first = lon[beside][0]
        turned = (lon[beside] - first + 180) % 360 - 180
        found.append(((first + turned.min()) % 360, (first + turned.max()) % 360, lat[beside].min(), lat[beside].max()))
    return sorted(found)
