"""A collection whose files are on a server, a store or the disk, for tests of what is made of such files."""

from __future__ import annotations

import io
from contextlib import ExitStack

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits

from file_servers import ServedFiles, serve_ftp, serve_http, serve_s3
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site

TABLE = """\
tables:
  main:
    source: {kind: csv, file: rows.csv}
    primary: id
    columns: {id: string, name: string}
    links:
      - {semantics: this, file: "{target.name}"}
"""
IMAGE = np.arange(2000 * 2000, dtype="f4").reshape(2000, 2000)  # 16 MB: no reader needs all of it
CUBE = np.arange(30 * 20 * 10, dtype=">f4").reshape(30, 20, 10)
NOTES = b"What the images show, in words that no reader of products opens.\n"


def image() -> bytes:
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CRVAL1": 10.0, "CRPIX1": 1000, "CDELT1": -1e-3, "CTYPE2": "DEC--TAN", "CRVAL2": 20.0, "CRPIX2": 1000, "CDELT2": 1e-3}
    )  # fmt: skip
    body = io.BytesIO()
    fits.PrimaryHDU(IMAGE, header).writeto(body)
    return body.getvalue()


def build_compressed_fits() -> bytes:
    body = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(IMAGE[:500, :500].astype("i4"), tile_shape=(50, 50))]).writeto(
        body
    )
    return body.getvalue()


def cube() -> bytes:
    body = io.BytesIO()
    fits.PrimaryHDU(CUBE, fits.Header({"CTYPE3": "FREQ", "CRVAL3": 1e9, "CDELT3": 1e6, "CRPIX3": 1})).writeto(body)
    return body.getvalue()


FILES = {
    "image.fits": image(),
    "packed.fits": build_compressed_fits(),
    "cube.fits": cube(),
    "notes.txt": NOTES,
    "text.fits": b"no image",
    "empty.fits": b"",
}  # fmt: skip


@pytest.fixture
def open_far_client(tmp_path):
    """Open a site whose files are those below an address."""
    with ExitStack() as stack:

        def open_(
            root: str, *, names=tuple(FILES), more: str = "", options: str = "", secret: str = "", table: str = TABLE
        ):
            folder = tmp_path / "site" / "collections" / "far"
            folder.mkdir(parents=True, exist_ok=True)
            line = f'files: [{{root: "{root}", from: main, path: "{{name}}"{options}}}]\n'
            (folder / "far.yaml").write_text(f"collection: far\ntitle: Far\n{line}{table}")
            (folder / "rows.csv").write_text("id,name\n" + "".join(f"{one.partition('.')[0]},{one}\n" for one in names))
            (tmp_path / "site" / "secrets.toml").write_text(f'STORE = "{secret}"\n')
            (tmp_path / "site" / "hven.toml").write_text(f'name = "far"\nallow_private = true\n{more}')
            site = stack.enter_context(Site(settings.load_settings(tmp_path / "site")))
            ingest_collection(site, "far")
            client = Client(create_and_start_application(site))
            client.site = site
            return client

        yield open_


@pytest.fixture(params=["disk", "http", "ftp", "memory", "s3"])
def stored_root(request, tmp_path):
    """Keep the files on a server, or on the disk; gives the root's address and what is said with it, and the server."""
    if request.param == "disk":
        (tmp_path / "archive").mkdir()
        for name, body in FILES.items():
            (tmp_path / "archive" / name).write_bytes(body)
        root = tmp_path / "archive"
        yield {"root": str(root), "options": ", checksums: false", "more": f'roots = ["{root}"]\n'}, None
        return
    if request.param == "s3":
        with serve_s3({f"level 2/{name}": body for name, body in FILES.items()}) as (address, key, secret):
            options = f", options: {{endpoint_url: '{address}', key: {key}, secret: $STORE}}"
            yield {"root": "s3://observatory/level%202", "options": options, "secret": secret}, None
        return
    if request.param == "memory":
        import fsspec

        store = fsspec.filesystem("memory")
        store.pipe({f"/{tmp_path.name}/{name}": body for name, body in FILES.items()})
        yield {"root": f"memory://{tmp_path.name}"}, None
        store.rm(f"/{tmp_path.name}", recursive=True)
        return
    with (serve_http if request.param == "http" else serve_ftp)(
        ServedFiles({f"/{name}": body for name, body in FILES.items()})
    ) as there:
        yield {"root": there.address}, there
