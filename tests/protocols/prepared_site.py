"""A site with cubes and other files, of which tests make pictures and copies before anybody asks."""

from __future__ import annotations

from pathlib import Path

import h5netcdf
import numpy as np
from asgi_client import Client
from astropy.io import fits

from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site

PAPER = """\
collection: cubes
title: Cubes
licence: CC-BY-4.0
files: ["*.fits", "*.nc"]
{prepare}
tables:
  main:
    source: rows.csv
    primary: id
    columns: {{id: string, file: string}}
    links: [{{semantics: this, file: "{{target.file}}"}}]
"""
NAMES = ("parts", "whole", "packed", "plain", "table")


def header(**more: object) -> fits.Header:
    cards = {"CTYPE1": "RA---TAN", "CRVAL1": 10.0, "CRPIX1": 20, "CDELT1": -1e-2, "CTYPE2": "DEC--TAN", "CRVAL2": 20.0, "CRPIX2": 15, "CDELT2": 1e-2,
             "CTYPE3": "FREQ", "CUNIT3": "Hz", "CRVAL3": 1e11, "CRPIX3": 1, "CDELT3": 1e6}  # fmt: skip
    return fits.Header({**cards, **more})


def write_cubes(folder: Path) -> None:
    """Write a cube with its errors and flags, one of integers with scale, blanks and polarizations, one in compressed tiles, and netCDF."""
    random = np.random.default_rng(3)
    data = random.normal(5, 1, (60, 30, 40)).astype(">f4")
    data[3, 4, 5] = np.nan
    parts = [fits.PrimaryHDU(), fits.ImageHDU(data, header(), name="SCI"), fits.ImageHDU(data / 9, header(), name="ERR"), fits.ImageHDU((data > 6).astype("i2"), header(), name="DQ")]  # fmt: skip
    fits.HDUList(parts).writeto(folder / "parts.fits", overwrite=True)
    numbers = random.integers(-30_000, 30_000, (4, 60, 30, 40)).astype(">i2")
    hdu = fits.PrimaryHDU(numbers, header(CTYPE4="STOKES", CRVAL4=1, CRPIX4=1, CDELT4=1))
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.5, 3.0, int(numbers[0, 1, 2, 3])
    hdu.writeto(folder / "whole.fits", output_verify="silentfix", overwrite=True)
    tiles = fits.CompImageHDU(data, header(), tile_shape=(1, 30, 40), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), tiles]).writeto(folder / "packed.fits", overwrite=True)
    fits.PrimaryHDU(data[0], header()).writeto(folder / "plain.fits", overwrite=True)
    table = fits.BinTableHDU.from_columns([fits.Column("note", "8A", array=["words"])])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(folder / "table.fits", overwrite=True)
    with h5netcdf.File(folder / "maps.nc", "w") as file:
        file.dimensions = {"time": 60, "y": 30, "x": 40}
        made = file.create_variable("flux", ("time", "y", "x"), "f8", chunks=(10, 30, 40), compression="gzip")
        made[...] = data


def make_prepared_site(directory: Path, prepare: str = "", *, more: str = "") -> Site:
    folder = directory / "collections" / "cubes"
    folder.mkdir(parents=True)
    write_cubes(folder)
    (folder / "rows.csv").write_text("id,file\n" + "".join(f"{one},{one}.fits\n" for one in NAMES))
    (folder / "cubes.yaml").write_text(PAPER.format(prepare=prepare))
    (directory / "hven.toml").write_text(f'name = "cubes"\n{more}\n[health]\noperators = ["olga"]\n')
    site = Site(settings.load_settings(directory))
    ingest_collection(site, "cubes")
    return site


def fetch_body(client: Client, path: str, **params: str) -> bytes:
    found = client.get(path, **params)
    assert found.status == 200, found.text
    return found.body
