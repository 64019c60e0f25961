"""A HiPS of images on other servers, which are read by ranges."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from file_servers import ServedFiles, serve_http, serve_s3
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import UpstreamError
from hven.model.sky import healpix
from hven.plugins.hips import surveys
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from hven.sources import remote_stores

DESCRIPTOR = """\
collection: far
title: Far
files: [{root: "%s", from: main, path: "{name}"%s}]
tables:
  main:
    source: {kind: csv, file: rows.csv}
    primary: id
    columns: {id: string, name: string}
"""
CARDS = {"CTYPE1": "RA---TAN", "CRVAL1": 10.0, "CRPIX1": 1000, "CDELT1": -1e-3, "CTYPE2": "DEC--TAN", "CRVAL2": 20.0, "CRPIX2": 1000, "CDELT2": 1e-3}  # fmt: skip


def image() -> bytes:
    body = io.BytesIO()
    fits.PrimaryHDU(np.arange(2000 * 2000, dtype="f4").reshape(2000, 2000), fits.Header(CARDS)).writeto(body)
    return body.getvalue()


def cube() -> bytes:
    body = io.BytesIO()
    values = np.arange(30 * 20 * 10, dtype=">f4").reshape(30, 20, 10)
    fits.PrimaryHDU(values, fits.Header({"CTYPE3": "FREQ", "CRVAL3": 1e9, "CDELT3": 1e6, "CRPIX3": 1})).writeto(body)
    return body.getvalue()


FILES = {"image.fits": image(), "cube.fits": cube(), "text.fits": b"no image"}


@contextmanager
def serve_files(kind: str) -> Iterator[tuple[str, str, str]]:
    """Serve the files; gives their root, options of the root, and a secret."""
    if kind == "http":
        with serve_http(ServedFiles({f"/{name}": body for name, body in FILES.items()})) as server:
            yield server.address, "", ""
        return
    with serve_s3({f"level 2/{name}": body for name, body in FILES.items()}) as (address, key, secret):
        options = f", options: {{endpoint_url: '{address}', key: {key}, secret: $STORE}}"
        yield "s3://observatory/level%202", options, secret


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_a_hips_is_made_of_them(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the values of the image; what is no image is left out, a server that is away ends it."""
    folder = tmp_path / "collections/far"
    folder.mkdir(parents=True)
    (folder / "rows.csv").write_text("id,name\n" + "".join(f"{name[:2]},{name}\n" for name in FILES))
    with serve_files(kind) as (root, options, secret):
        (folder / "far.yaml").write_text(DESCRIPTOR % (root, options))
        (tmp_path / "secrets.toml").write_text(f'STORE = "{secret}"\n')
        (tmp_path / "hven.toml").write_text('name = "far"\nallow_private = true\n')
        with Site(settings.load_settings(tmp_path)) as site:
            ingest_collection(site, "far")
            around = ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)
            made = surveys.build_hips_survey(around, OWNER_PRINCIPAL, "far", "sky", order=3)
            assert (made.files, sorted(made.left_out)) == (("image.fits",), ["cube.fits", "text.fits"])
            wcs = WCS(fits.Header.fromstring(FILES["image.fits"][:2880]))
            (cell,) = healpix.compute_cell_indexes(3 + 9, np.array([10.1]), np.array([20.1]))
            x, y = wcs.all_world2pix(np.transpose(healpix.compute_cell_centers(3 + 9, np.array([cell]))), 0)[0]
            tile = fits.getdata(made.place / f"Norder3/Dir0/Npix{cell >> 18}.fits")
            assert np.nanmin(np.abs(tile - (2000 * y + x))) < 1  # values are linear: any interpolation is exact
            monkeypatch.setattr(
                surveys.remote_files,
                "request_unchanged_file_state",
                lambda *_, **__: (_ for _ in ()).throw(remote_stores.build_timeout_error()),
            )
            with pytest.raises(UpstreamError):
                surveys.build_hips_survey(around, OWNER_PRINCIPAL, "far", "sky", order=3)
            survey = surveys.find_hips_survey(site.settings, "far", "sky")
            assert survey is not None
            assert survey.place == made.place
