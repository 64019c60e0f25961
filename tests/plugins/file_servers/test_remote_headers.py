"""Headers of files on other servers: read by small ranges, from lists and from buckets."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits

import file_servers
from hven.model import plugins
from hven.model.errors import SourceError
from hven.sources import SourceContext
from hven.sources._reading import header_cache
from shared import shared


def open_source(kind, directory, **options):
    module = plugins.load_plugin("sources", kind)
    return module.open(module.Options.model_validate(options), SourceContext(directory=directory))


def read(source, columns=None):
    batches = list(source.read_batches(columns))
    return pa.Table.from_batches(batches).to_pylist() if batches else []


def header(path, **cards):
    fits.PrimaryHDU(header=fits.Header(cards)).writeto(path, overwrite=True)


def record_opened_files(source, monkeypatch):
    """Have the names of files that are opened."""
    names = []
    heads = source.read_header
    monkeypatch.setattr(source, "read_header", lambda file: names.append(file.name) or heads(file))
    return names


def test_remote_headers_are_read_with_small_range_requests(tmp_path):
    """One request for each file, of its first block; another reading asks what it is, and no more."""
    bodies = {}
    for number in range(12):
        hdu = fits.PrimaryHDU(np.zeros((200, 300), "f4"), header=fits.Header({"N": number}))
        hdu.writeto(tmp_path / "a.fits", overwrite=True)
        bodies[f"/data/{number}.fits"] = (tmp_path / "a.fits").read_bytes()
    bodies["/data/bad.fits"] = b"<html>not here</html>" * 999
    with file_servers.serve_http(file_servers.ServedFiles(bodies)) as there:
        names = [*(f"data/{number}.fits" for number in range(12)), "data/bad.fits", "data/gone.fits"]
        options = {"files": names, "root": there.address, "mode": "header", "cards": ["N", "NAXIS1"]}

        def read_again(rejects, **more):
            module = plugins.load_plugin("sources", "fits")
            context = SourceContext(
                directory=tmp_path, on_reject=rejects.append, allow_private=True, cache_directory=tmp_path / "kept"
            )
            source = module.open(module.Options.model_validate(options | more), context)
            source.list_columns()
            there.asked.clear()
            return read(source, ["N", "NAXIS1", "file.size", "file.url"]), [*there.asked]

        rejects = []
        found, asked = read_again(rejects)
        assert [row["N"] for row in found] == [*range(12)]
        assert found[3] == {"N": 3, "NAXIS1": 300, "file.size": len(bodies["/data/3.fits"]), "file.url": f"{there.address}/data/3.fits"}  # fmt: skip
        assert {one.file.rpartition("/")[2] for one in rejects} == {"bad.fits", "gone.fits"}
        assert {line.rpartition("bytes=")[2] for line in asked if "GET" in line} == {"0-32767"}
        assert len([line for line in asked if "/data/3.fits" in line]) == 1
        read_again([])
        assert all(line.startswith("GET") for line in asked if "gone" not in line)
        gone = there.address
    rejects.clear()
    with pytest.raises(SourceError, match=r"cannot be reached"):
        read(open_far_source(tmp_path, gone, names, rejects))
    assert rejects == []


def open_far_source(directory, address, names, rejects):
    module = plugins.load_plugin("sources", "fits")
    context = SourceContext(directory=directory, on_reject=rejects.append, allow_private=True)
    return module.open(module.Options.model_validate({"files": names, "root": address, "mode": "header", "cards": ["N"]}), context)  # fmt: skip


def test_only_changed_files_of_an_ftp_server_are_read(tmp_path):
    """By ftp: a pattern, size and time from the list."""
    bodies = {"/notes.txt": b"none"}
    for number in range(5):
        header(tmp_path / "a.fits", N=number)
        bodies[f"/night/{number}.fits"] = (tmp_path / "a.fits").read_bytes()
    with file_servers.serve_ftp(file_servers.ServedFiles(bodies)) as there:

        def open_far_source_of_kind(kind, files, **more):
            module = plugins.load_plugin("sources", kind)
            context = SourceContext(directory=tmp_path, allow_private=True, cache_directory=tmp_path / "kept")
            return module.open(module.Options.model_validate({"files": files, "root": there.address, **more}), context)

        source = open_far_source_of_kind("fits", "**/*.fits", mode="header", cards=["N"], ignore="4.fits")
        assert read(source, ["N", "file.path"]) == [
            {"N": number, "file.path": f"night/{number}.fits"} for number in range(4)
        ]
        assert {(one["modified"], one["bytes"]) for one in source.list_files().to_pylist()} == {("2026-01-02T03:04:05.000000000Z", 2880)}  # fmt: skip
        there.asked.clear()
        assert read(
            open_far_source_of_kind("fits", "**/*.fits", mode="header", cards=["N"], ignore="4.fits"), ["N"]
        ) == [{"N": number} for number in range(4)]
        assert not [line for line in there.asked if line.startswith("RETR")], (
            "what was listed as it was is not asked for"
        )
        (row,) = read(open_far_source_of_kind("product", "night/4.fits", mode="cards", cards=["N"]), ["value"])
        assert row == {"value": "4"}
        with pytest.raises(SourceError, match=r"no file matches .*\*\.jpg"):
            open_far_source_of_kind("fits", "*.jpg", mode="header")


def test_headers_in_an_s3_bucket_are_read(tmp_path, monkeypatch):
    """By S3, judged by moto: all kinds that read heads, by a pattern; what was listed as it was is not opened again; a wrong key ends it."""
    bodies = {}
    for number in range(4):
        header(tmp_path / "a.fits", N=number)
        bodies[f"night/{number}.fits"] = (tmp_path / "a.fits").read_bytes()
    (path,) = shared("data/interferometry/oifits").glob("GRAVI.2016*.fits")
    bodies["oi/a.oifits"] = path.read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("in/1.fits", bodies["night/1.fits"])
    bodies["packed.zip"] = packed.getvalue()
    monkeypatch.setattr(header_cache, "RECENT_CHANGE_SECONDS", -2.0)  # they were put there just now
    with file_servers.serve_s3(bodies) as (address, key, secret):

        def open_bucket_source(kind, files, said=secret, **more):
            module = plugins.load_plugin("sources", kind)
            context = SourceContext(
                directory=tmp_path, allow_private=True, cache_directory=tmp_path / "kept", resolve_secret=lambda _: said
            )
            options = {"endpoint_url": address, "key": key, "secret": "$S3"}
            return module.open(
                module.Options.model_validate({"files": files, "root": "s3://observatory", "options": options, **more}),
                context,
            )

        cards = {"mode": "header", "cards": ["N"]}
        source = open_bucket_source("fits", "night/*.fits", **cards, ignore="3.fits")
        found = read(source, ["N", "file.path", "file.size", "file.url"])
        assert [(row["N"], row["file.path"], row["file.size"]) for row in found] == [
            (number, f"night/{number}.fits", 2880) for number in range(3)
        ]
        assert [row["file.url"] for row in found] == [f"s3://observatory/night/{number}.fits" for number in range(3)]
        again = open_bucket_source("fits", "night/*.fits", **cards, ignore="3.fits")
        names = record_opened_files(again, monkeypatch)
        assert [row["N"] for row in read(again, ["N"])] == [0, 1, 2]
        assert names == []
        (row,) = read(open_bucket_source("product", "night/3.fits", mode="cards", cards=["N"]), ["value"])
        assert row == {"value": "3"}
        if "oifits" in plugins.list_plugins("sources"):
            assert read(open_bucket_source("oifits", "oi/*.oifits"), ["target_name", "nb_vis2"]) == read(
                open_source("oifits", path.parent, files=path.name), ["target_name", "nb_vis2"]
            )
        (row,) = read(open_bucket_source("fits", "*.zip", **cards), ["N", "file.path"])
        assert row == {"N": 1, "file.path": "packed.zip/in/1.fits"}
        with pytest.raises(SourceError, match="it returned status 403"):
            read(open_bucket_source("fits", "night/*.fits", said="wrong", **cards))
