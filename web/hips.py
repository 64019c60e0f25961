"""Draws the sky that pages show without any outside network: a HiPS of order 0 with a faint Milky Way; called by scripts/web.

IVOA HiPS 1.0: ``properties``, ``Norder0/Dir0/Npix0..11.png`` of 512 x 512 pixels, and ``Norder3/Allsky.png``.
"""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from cdshealpix.nested import healpix_to_lonlat
from mocpy import MOC

SIDE = 512
DARK, BAND = np.array([13, 17, 30]), np.array([86, 94, 128])


def tile(order: int, number: int, side: int) -> np.ndarray:
    """Give the pixels of a tile: the nested cells below it, rows from the top; shape (side, side, 3)."""
    depth = order + side.bit_length() - 1
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    cells = number * side * side + interleaved(y, x)  # a PNG begins at the top: down the rows, then along them (tried with Aladin Lite)
    lon, lat = healpix_to_lonlat(cells.ravel().astype(np.uint64), depth)
    lat_g, lon_g = galactic(lon.rad, lat.rad)
    away = np.angle(np.exp(1j * lon_g))  # from the centre of the Galaxy
    glow = np.exp(-np.abs(lat_g) / np.radians(9)) * (0.55 + 0.45 * np.cos(away / 2) ** 2) + 0.25 * np.exp(
        -(lat_g**2 + (away / 1.6) ** 2) / 0.05
    )
    shade = np.rint(np.clip(glow, 0, 1)[:, None] * 24) / 24  # few colours make small files
    return np.rint(DARK + shade * (BAND - DARK)).astype(np.uint8).reshape(side, side, 3)


def interleaved(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mix the bits of two numbers: x at even places, y at odd ones."""
    found = np.zeros(x.shape, np.int64)
    for bit in range(16):
        found |= ((x >> bit) & 1) << (2 * bit) | ((y >> bit) & 1) << (2 * bit + 1)
    return found


def galactic(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give galactic latitude and longitude of ICRS positions, all in radians."""
    pole_ra, pole_dec, node = np.radians([192.85948, 27.12825, 122.93192])
    lat = np.arcsin(np.clip(np.sin(dec) * np.sin(pole_dec) + np.cos(dec) * np.cos(pole_dec) * np.cos(ra - pole_ra), -1, 1))
    lon = node - np.arctan2(
        np.cos(dec) * np.sin(ra - pole_ra), np.sin(dec) * np.cos(pole_dec) - np.cos(dec) * np.sin(pole_dec) * np.cos(ra - pole_ra)
    )
    return lat, lon


def png(pixels: np.ndarray) -> bytes:
    """Write pixels as PNG, with a palette: the picture has few colours."""
    colours, at = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    height, width, _ = pixels.shape
    if len(colours) > 256:
        raise ValueError(f"{len(colours)} colours")
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = at.reshape(height, width)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"PLTE", colours.tobytes())
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + chunk(b"IEND", b"")
    )


def main(target: Path) -> None:
    """Write all files of the HiPS."""
    for number in range(12):
        path = target / "Norder0" / "Dir0" / f"Npix{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(tile(0, number, SIDE)))
    columns, small = 27, 64  # 768 tiles of order 3
    rows = -(-768 // columns)
    sheet = np.empty((rows * small, columns * small, 3), np.uint8)
    sheet[:] = DARK
    for number in range(768):
        row, column = divmod(number, columns)
        sheet[row * small : (row + 1) * small, column * small : (column + 1) * small] = tile(3, number, small)
    (target / "Norder3").mkdir(parents=True, exist_ok=True)
    (target / "Norder3" / "Allsky.png").write_bytes(png(sheet))
    MOC.from_healpix_cells(np.arange(12, dtype=np.uint64), np.zeros(12, np.uint8), 0).save(
        target / "Moc.fits", format="fits", overwrite=True
    )
    facts = {
        "creator_did": "ivo://hven/P/sky", "obs_title": "A drawn sky", "obs_description": "A faint Milky Way, drawn: shown where no survey can be fetched",
        "dataproduct_type": "image", "hips_version": "1.4", "hips_frame": "equatorial", "hips_order": "0", "hips_order_min": "0", "hips_tile_width": str(SIDE),
        "hips_tile_format": "png", "hips_release_date": "2026-11-20T00:00Z", "hips_status": "public master clonableOnce", "moc_sky_fraction": "1",
    }  # fmt: skip
    (target / "properties").write_text("".join(f"{name:20} = {value}\n" for name, value in facts.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
