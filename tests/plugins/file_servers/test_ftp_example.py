"""Example 8: products on an FTP server reach readers through the site, at the addresses of the rows."""

from __future__ import annotations

import io
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits

from example_sites import ingest_all, open_example
from file_servers import ServedFiles, serve_ftp
from hven.app._server import create_and_start_application
from hven.model.settings import load_settings
from hven.site import Site
from plugin_needs import require_plugins

pytestmark = pytest.mark.slow
ROOT = "ftp://ftp.bass2000.example.org"


def draw_sun(number: int) -> bytes:
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    body = io.BytesIO()
    disc = np.where(x**2 + y**2 < 0.8, 1000 + number - 200 * (x**2 + y**2), number)
    fits.PrimaryHDU(disc.astype("f4"), fits.Header({"OBJECT": "Sun"})).writeto(body)
    return body.getvalue()


def test_products_of_an_ftp_server_come_through_the_site(tmp_path: Path) -> None:
    require_plugins("protocols", "previews")
    with open_example("08-bass2000-daily", tmp_path) as directory:
        with sqlite3.connect(directory / "collections/bass2000/data/bass2000.sqlite") as database:
            paths = [path for (path,) in database.execute("SELECT path FROM daily WHERE path LIKE '%.fits' LIMIT 4")]
        database.close()
        files = {f"/{path}": draw_sun(number) for number, path in enumerate(paths)}
        with serve_ftp(ServedFiles(files)) as server:
            descriptor = directory / "collections/bass2000/bass2000.yaml"
            text = descriptor.read_text(encoding="utf-8")
            assert ROOT in text
            descriptor.write_text(text.replace(ROOT, server.address), encoding="utf-8")
            with (directory / "hven.toml").open("a") as settings:
                settings.write("allow_private = true\n")
            ingest_all(directory)
            assert server.asked == [], "an ingest does not ask the server"
            with Site(load_settings(directory)) as site:
                client = Client(create_and_start_application(site))
                query = f"SELECT path, access_url, thumbnail_url FROM bass2000.epn_core WHERE path = '{paths[1]}'"
                answer = client.get("/tap/sync", LANG="ADQL", FORMAT="json", QUERY=query)
                assert answer.status == 200, answer.text
                table = client.get(f"/collections/bass2000/epn_core?path={paths[1]}&_cols=path,access_url")
                assert table.status == 200
                for path in paths:
                    file = client.get(f"/collections/bass2000/files/ftp/{path}")
                    assert (file.status, file.body) == (200, files[f"/{path}"])
                    assert file.headers["content-type"] in {"application/fits", "image/fits"}
                address = urlsplit(f"/collections/bass2000/files/ftp/{paths[1]}").path
                assert address in answer.text
                part = client.ask("GET", address, headers={"range": "bytes=0-79"})
                assert (part.status, part.body[:6]) == (206, b"SIMPLE")
                picture = client.get(f"/collections/bass2000/preview/ftp/{paths[1]}?size=200")
                assert (picture.status, picture.body[:4]) == (200, b"\x89PNG")
                gone = client.get("/collections/bass2000/files/ftp/pub/meudon/none.fits")
                assert gone.status == 404
