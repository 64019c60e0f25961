"""Heads of many files: FITS and product files of every medium, judged by the libraries that read them whole; what is kept, and what goes wrong."""

from __future__ import annotations

import errno
import io
import os
import tarfile
import threading
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.table import Table

from hven import query
from hven.descriptor import check_descriptor
from hven.ingest.sync import sync_collection
from hven.model import plugins
from hven.model.errors import ChangeLimitExceededError, SourceError
from hven.model.settings import Settings
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.sources import SourceContext
from hven.sources._reading import header_cache
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import create_descriptor, require_functions
from shared import EXAMPLES_FACTOR, shared


def open_source(kind, directory, rejects=None, *, kept=None, **options):
    module = plugins.load_plugin("sources", kind)
    context = SourceContext(
        directory=directory, on_reject=rejects.append if rejects is not None else None, cache_directory=kept
    )
    return module.open(module.Options.model_validate(options), context)


def read(source, columns=None):
    batches = list(source.read_batches(columns))
    return pa.Table.from_batches(batches).to_pylist() if batches else []


def rows(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return result.read_table().to_pylist()


def header(path, **cards):
    fits.PrimaryHDU(header=fits.Header(cards)).writeto(path, overwrite=True)


# --- many files -----------------------------------------------------------------------------------------------


def record_opened_files(source, monkeypatch):
    """Have the names of files that are opened."""
    names = []
    heads = source.read_header
    monkeypatch.setattr(source, "read_header", lambda file: names.append(file.name) or heads(file))
    return names


def test_the_next_read_opens_only_changed_files(tmp_path, monkeypatch):
    data, kept = tmp_path / "data", tmp_path / "kept"
    data.mkdir()
    for number in range(30):
        header(data / f"{number:02}.fits", N=number)
        os.utime(data / f"{number:02}.fits", (1e9, 1e9))

    def read_again(**options):
        source = open_source("fits", data, kept=kept, files="*.fits", mode="header", cards=["N"], **options)
        names = record_opened_files(source, monkeypatch)
        return [row["N"] for row in read(source)], [*dict.fromkeys(names)]

    assert read_again() == ([*range(30)], [f"{number:02}.fits" for number in range(30)])
    assert read_again() == ([*range(30)], [])
    header(data / "07.fits", N=700)  # of the same size, at another time
    os.utime(data / "07.fits", (1e9, 1e9 + 1))
    header(data / "08.fits", N=800)  # a moment ago: it may change again within a tick of the clock
    assert read_again() == ([*range(7), 700, 800, *range(9, 30)], ["07.fits", "08.fits"])
    assert read_again()[1] == ["08.fits"]
    assert read_again(hdu=[0, 1])[1] == [f"{number:02}.fits" for number in range(30)], "read in another way"
    (kept / "heads.sqlite").write_bytes(b"no database at all" * 1000)
    assert read_again() == ([*range(7), 700, 800, *range(9, 30)], [f"{number:02}.fits" for number in range(30)])


def test_a_file_that_changes_during_the_read_is_rejected(tmp_path, monkeypatch):
    for number in range(3):
        header(tmp_path / f"{number}.fits", N=number)
    rejects = []
    source = open_source("fits", tmp_path, rejects, files="*.fits", mode="header", cards=["N"])
    source.list_columns()
    heads = source.read_header

    def growing(file):
        found = heads(file)
        if file.name == "1.fits":
            with file.path.open("ab") as more:
                more.write(b"x")
        return found

    monkeypatch.setattr(source, "read_header", growing)
    assert read(source) == [{"N": 0}, {"N": 2}]
    assert [(one.file, one.reason) for one in rejects] == [("1.fits", "the file changed while Hven was reading it")]


def test_unreadable_and_missing_files_are_rejected(tmp_path):
    for number in range(100):
        header(tmp_path / f"{number:02}.fits", N=number)
        if number % 10 == 3:
            (tmp_path / f"{number:02}.fits").write_bytes(b"\0" * 100 if number % 20 == 3 else b"SIMPLE  =")
    rejects = []
    source = open_source("fits", tmp_path, rejects, files="*.fits", mode="header", cards=["N"])
    (tmp_path / "50.fits").unlink()
    assert [row["N"] for row in read(source)] == [number for number in range(100) if number % 10 != 3 and number != 50]
    assert {one.file for one in rejects} == {f"{number:02}.fits" for number in (*range(3, 100, 10), 50)}
    with pytest.raises(SourceError, match=r"03\.fits"):
        read(open_source("fits", tmp_path, files="*.fits", mode="header", cards=["N"]))


def test_circular_links_are_skipped_and_outside_links_are_refused(tmp_path):
    data, outside = tmp_path / "data", tmp_path / "outside"
    (data / "deep").mkdir(parents=True)
    outside.mkdir()
    header(data / "deep" / "a.fits", N=1)
    header(outside / "b.fits", N=2)
    (data / "deep" / "round").symlink_to(data)
    (data / "self.fits").symlink_to(data / "self.fits")
    source = open_source("fits", data, files="**/*.fits", mode="header", cards=["N"])
    assert read(source, ["N", "file.path"]) == [{"N": 1, "file.path": "deep/a.fits"}]
    (data / "out.fits").symlink_to(outside / "b.fits")
    with pytest.raises(SourceError, match=r"out\.fits is a link to a file outside the collection"):
        open_source("fits", data, files="**/*.fits", mode="header", cards=["N"])


def test_slow_files_are_read_in_parallel_and_stay_in_order(tmp_path, monkeypatch):
    """As many at once as is said, of one mount, whichever source asks; a disk is slow here until all those have come."""
    for number in range(60):
        header(tmp_path / f"{number:02}.fits", N=number)
    source = open_source("fits", tmp_path, files="*.fits", mode="header", cards=["N"], at_once=4)
    source.list_columns()
    heads, lock, state = source.read_header, threading.Lock(), {"now": 0, "most": 0}
    four = threading.Barrier(4)
    monkeypatch.setattr(
        header_cache._AdaptiveHeaderReader,
        "is_io_bound",
        property(lambda pace: pace.file_count >= header_cache.FILES_BEFORE_DECISION),
    )

    def waiting(file):
        if threading.current_thread() is threading.main_thread():
            return heads(file)
        with lock:
            state["now"] += 1
            state["most"] = max(state["most"], state["now"])
        four.wait(60)  # broken if there are never four of them
        with lock:
            state["now"] -= 1
        return heads(file)

    monkeypatch.setattr(source, "read_header", waiting)
    assert [row["N"] for row in read(source)] == [*range(60)]
    assert state["most"] == 4


SITE = """\
collection: frames
title: Frames
tables:
  main:
    source: {kind: fits, mode: header, files: "data/*.fits"}
    primary: [name]
    columns: {name: string, n: int32, checksum: string, kind: string}
    map: {name: file.name, n: N, checksum: file.sha256, kind: file.media_type}
    sync: {}
"""


def test_a_missing_disk_deletes_no_rows(tmp_path):
    with open_site_with_uningested_files(tmp_path, SITE) as site:
        data = site.settings.collections_directory / "frames/data"
        data.mkdir()
        for number in range(40):
            header(data / f"{number:02}.fits", N=number)
        sync_collection(site, "frames")
        (first, *_) = rows(site, "SELECT * FROM frames.main ORDER BY n")
        assert (first["kind"], len(first["checksum"])) == ("application/fits", 64)
        away = data.rename(data.with_name("away"))
        data.mkdir()  # where it was mounted
        with pytest.raises(SourceError, match="no file matches"):
            sync_collection(site, "frames")
        for number in range(3):  # a part of it came back
            (away / f"{number:02}.fits").rename(data / f"{number:02}.fits")
        with pytest.raises(ChangeLimitExceededError, match=r"37 of 40 rows .* would be removed"):
            sync_collection(site, "frames")
        assert rows(site, "SELECT COUNT(*) AS n FROM frames.main") == [{"n": 40}]
        sync_collection(site, "frames", accept_changes=True)
        assert rows(site, "SELECT COUNT(*) AS n FROM frames.main") == [{"n": 3}]


@pytest.mark.parametrize("pattern", ["*/*.fits", "**/*.fits"])
def test_a_folder_that_cannot_be_listed_ends_the_ingest(tmp_path, monkeypatch, pattern):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        header(tmp_path / folder / "1.fits", N=1)
    assert len(open_source("fits", tmp_path, files=pattern, mode="header").files) == 2
    scandir = os.scandir

    def stale(place="."):
        if str(place).endswith("/b"):
            raise OSError(errno.ESTALE, "Stale file handle", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", stale)
    with pytest.raises(SourceError, match="b cannot be listed: Stale file handle"):
        open_source("fits", tmp_path, files=pattern, mode="header")


# --- product files --------------------------------------------------------------------------------------------


def geotiff(path, size, keys, doubles, step, corner):
    from PIL import Image, TiffImagePlugin

    tags = TiffImagePlugin.ImageFileDirectory_v2()
    flat = [1, 1, 0, len(keys), *(number for key in keys for number in key)]
    for tag, kind, value in ((33550, 12, (step, step, 0.0)), (33922, 12, (0.0, 0.0, 0.0, *corner, 0.0)), (34735, 3, tuple(flat)), (34736, 12, tuple(doubles)), (34737, 2, "D_Mars_2000|")):  # fmt: skip
        tags.tagtype[tag] = kind
        tags[tag] = value
    Image.new("L", size).save(path, tiffinfo=tags)


def test_maps_in_geotiff_have_their_footprints(tmp_path):
    """Longitudes and latitudes; metres of an equirectangular and a polar map of a sphere."""
    require_functions("wcs_footprint")
    radius = 3_396_190.0
    degree = np.radians(1.0) * radius
    sphere = [(2057, 34736, 1, 0), (2049, 34737, 12, 0)]
    geotiff(tmp_path / "1.tif", (40, 20), [(1024, 0, 1, 2), *sphere], [radius], 0.5, (100.0, 20.0))
    geotiff(tmp_path / "2.tif", (40, 20), [(1024, 0, 1, 1), (3075, 0, 1, 17), (3088, 34736, 1, 1), *sphere], [radius, 180.0], degree / 2, (-10 * degree, 20 * degree))  # fmt: skip
    edge = 2.0 * radius * np.tan(np.radians(10.0) / 2.0)
    geotiff(tmp_path / "3.tif", (40, 40), [(1024, 0, 1, 1), (3075, 0, 1, 15), (3081, 34736, 1, 1), (3095, 34736, 1, 2), *sphere], [radius, -90.0, 0.0], edge / 20, (-edge, edge))  # fmt: skip
    rows = read(open_source("product", tmp_path, files="*.tif", mode="images"), ["width", "height", "type", "OBJECT", "CTYPE1", "file.footprint"])  # fmt: skip
    assert [(row["width"], row["height"], row["type"], row["OBJECT"], row["CTYPE1"]) for row in rows] == [
        (40, 20, "uint8", "Mars", "MALN-CAR"), (40, 20, "uint8", "Mars", "MALN-CAR"), (40, 40, "uint8", "Mars", "MALN-STG")
    ]  # fmt: skip
    corners = [
        np.array([(corner["x"], corner["y"]) for corner in row["file.footprint"]["region"][0][0]]) for row in rows
    ]
    for found, low, high in ((corners[0], (100.0, 10.0), (120.0, 20.0)), (corners[1], (170.0, 10.0), (190.0, 20.0))):
        assert found.min(0) == pytest.approx(low, abs=0.06)
        assert found.max(0) == pytest.approx(high, abs=0.06)
    # the corners of the square, and the middles of its edges
    assert corners[2][:, 1].max() == pytest.approx(
        -90.0 + 2.0 * np.degrees(np.arctan(2**0.5 * np.tan(np.radians(5.0)))), abs=0.1
    )
    assert corners[2][:, 1].min() == pytest.approx(-80.0, abs=0.1)


def build_box(kind, *inner):
    body = b"".join(inner)
    return (len(body) + 8).to_bytes(4, "big") + kind + body


def grid(system, origin, *steps):
    vectors = "".join(f"<gml:offsetVector>{step}</gml:offsetVector>" for step in steps)
    return f'<gml:FeatureCollection xmlns:gml="http://www.opengis.net/gml"><gml:RectifiedGrid dimension="2"><gml:origin><gml:Point srsName="{system}"><gml:pos>{origin}</gml:pos></gml:Point></gml:origin>{vectors}</gml:RectifiedGrid></gml:FeatureCollection>'.encode()


OWN = b'<gml:Dictionary xmlns:gml="http://www.opengis.net/gml"><gml:GeographicCRS><gml:srsName>Mars (2015) - Sphere / Ocentric</gml:srsName></gml:GeographicCRS></gml:Dictionary>'


def test_maps_with_gml_in_jpeg_2000_have_their_footprints(tmp_path):
    """As GDAL writes them: latitudes first in EPSG's system, longitudes first in one of its own; the same places as of a GeoTIFF."""
    require_functions("wcs_footprint")
    urn, own = "urn:ogc:def:crs:EPSG::4326", "gmljp2://xml/CRSDictionary.gml#ogrcrs1"
    said = {
        "1": (grid(urn, "19.75 100.25", "0 0.5", "-0.5 0"),),
        "2": (grid(own, "100.25 19.75", "0.5 0", "0 -0.5"), OWN),
        "3": (grid("urn:ogc:def:crs:EPSG::32631", "100 20", "10 0", "0 -10"),),  # metres of another projection
        "4": (grid(urn, "19.75 100.25", "0.1 0.5", "-0.5 0.1"),),  # turned
        "5": (b"<not-xml", b""),
    }
    size = build_box(b"ihdr", (20).to_bytes(4, "big"), (40).to_bytes(4, "big"), b"\0\1\7\7\0\0")
    for name, documents in said.items():
        parts = [build_box(b"asoc", build_box(b"lbl ", b"x"), build_box(b"xml ", one)) for one in documents]
        body = build_box(b"jP  ", b"\r\n\x87\n") + build_box(b"ftyp", b"jp2 ") + build_box(b"jp2h", size)
        (tmp_path / f"{name}.jp2").write_bytes(
            body + build_box(b"asoc", build_box(b"lbl ", b"gml.data"), *parts) + build_box(b"jp2c", b"x")
        )
    rows = read(open_source("product", tmp_path, files="*.jp2", mode="images"), ["file.stem", "width", "height", "CTYPE1", "file.footprint"])  # fmt: skip
    assert [(row["file.stem"], row["width"], row["height"], row["CTYPE1"]) for row in rows] == [
        ("1", 40, 20, "EALN-CAR"), ("2", 40, 20, "MALN-CAR"), ("3", 40, 20, None), ("4", 40, 20, None), ("5", 40, 20, None)
    ]  # fmt: skip
    for row in rows[:2]:
        corners = np.array([(one["x"], one["y"]) for one in row["file.footprint"]["region"][0][0]])
        assert corners.min(0) == pytest.approx((100.0, 10.0), abs=0.06)
        assert corners.max(0) == pytest.approx((120.0, 20.0), abs=0.06)


def test_footprints_of_images_and_headers_are_equal():
    """Of FITS both kinds make the same footprint."""
    require_functions("wcs_footprint")
    folder = shared("data/helio/images")
    (of_headers, of_images) = (
        {row["file.name"]: row["file.footprint"] for row in read(open_source(kind, folder, files="*.f*ts", mode=mode), ["file.name", "file.footprint"]) if not row["file.footprint"]["fault"]}
        for kind, mode in (("fits", "header"), ("product", "images"))
    )  # fmt: skip
    assert of_images == of_headers
    assert len(of_images) == 12


def test_real_maps_and_pictures_have_sizes_and_footprints(tmp_path):
    require_functions("wcs_footprint")
    maps = read(open_source("product", shared("data/planetary/maps"), files="*.tif", mode="images"), ["OBJECT", "width", "height", "file.footprint"])  # fmt: skip
    assert [(row["OBJECT"], row["width"], row["height"], row["file.footprint"]["fault"]) for row in maps] == [("Ceres", 1024, 512, 0), ("Mars", 1024, 512, 0)]  # fmt: skip
    picture = shared("data/helio/images") / "2013_06_24__17_31_30_84__SDO_AIA_AIA_193.jp2"
    (row,) = read(open_source("product", picture.parent, files=picture.name, mode="images"), ["width", "height", "TELESCOP", "WAVELNTH", "NAXIS1", "file.footprint"])  # fmt: skip
    assert (row["width"], row["height"], row["TELESCOP"], row["WAVELNTH"], row["NAXIS1"]) == (
        410,
        410,
        "SDO",
        193,
        4096,
    )
    assert row["file.footprint"]["fault"] == 0
    for name, body in (("1.jp2", picture.read_bytes()), ("2.tif", (shared("data/planetary/maps") / "mars.tif").read_bytes())):  # fmt: skip
        for at in (9, 20, 60, 90, 300):
            (tmp_path / f"{at}{name}").write_bytes(body[:at])
        (tmp_path / f"z{name}").write_bytes(body)
    rejects = []
    found = read(open_source("product", tmp_path, rejects, files="*", mode="images"), ["file.name"])
    assert {"z1.jp2", "z2.tif"} <= {row["file.name"] for row in found}
    assert len(found) + len(rejects) == 12
    assert len(rejects) >= 6


def test_new_writes_a_valid_descriptor(tmp_path):
    settings = Settings(directory=tmp_path)
    text = (path := create_descriptor(settings, "mine", str(shared("data/planetary/maps")))).read_text()
    assert "kind: product" in text
    assert "      width:" in text
    assert [str(fault) for fault in check_descriptor(path, settings) if fault.severity == "error"] == []


def test_new_writes_a_descriptor_for_archives(tmp_path):
    settings = Settings(directory=tmp_path)
    (tmp_path / "volumes").mkdir()
    with zipfile.ZipFile(tmp_path / "volumes/a.zip", "w") as archive:
        archive.write(shared("data/planetary/maps/mars.tif"), "data/a.tif")
        archive.writestr("readme.txt", "no image")
    path = create_descriptor(settings, "mine", str(tmp_path / "volumes"))
    assert "../../volumes/*.zip" in path.read_text()
    assert "mode: images" in path.read_text()
    assert [str(fault) for fault in check_descriptor(path, settings) if fault.severity == "error"] == []


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_new_drafts_archives_of_fits_files(tmp_path, name):
    settings = Settings(directory=tmp_path)
    fits.PrimaryHDU(np.zeros((2, 3)), fits.Header({"NIGHT": 7})).writeto(tmp_path / "1.fits")
    if name == "a.zip":
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.write(tmp_path / "1.fits", "raw/1.fits")
    else:
        with tarfile.open(tmp_path / name, "w:gz") as archive:
            archive.add(tmp_path / "1.fits", "raw/1.fits")
    path = create_descriptor(settings, "mine", str(tmp_path / name))
    assert "      night:" in path.read_text()
    assert "mode: images" in path.read_text()
    assert [str(fault) for fault in check_descriptor(path, settings) if fault.severity == "error"] == []


def test_new_drafts_headers_of_archived_tables(tmp_path):
    settings = Settings(directory=tmp_path)
    fits.BinTableHDU.from_columns([fits.Column("x", "D", array=[1.0, 2.0])]).writeto(tmp_path / "1.fits")
    with fits.open(tmp_path / "1.fits", "update") as opened:
        opened[0].header["NIGHT"] = 7
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "1.fits", "1.fits")
    path = create_descriptor(settings, "mine", str(tmp_path / "a.zip"))
    assert "mode: images" not in path.read_text()
    assert "      night:" in path.read_text()
    assert list(check_descriptor(path, settings)) == []


def test_new_reads_headers_of_extensions_below_an_empty_primary_header(tmp_path):
    settings = Settings(directory=tmp_path)
    science = fits.ImageHDU(np.zeros((2, 2)), fits.Header({"NIGHT": 7}), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), science]).writeto(tmp_path / "a.fits")
    path = create_descriptor(settings, "mine", str(tmp_path / "a.fits"))
    assert "mode: header, hdu: [0, 1]}" in path.read_text()
    assert "      night:" in path.read_text()


def test_integers_beyond_64_bits_are_texts(tmp_path):
    (tmp_path / "data").mkdir()
    header(tmp_path / "data/1.fits", NIGHT=10**25, SMALL=-(2**63))
    (row,) = read(open_source("fits", tmp_path / "data", files="*.fits", mode="header", cards=["NIGHT", "SMALL"]))
    assert row == {"NIGHT": str(10**25), "SMALL": -(2**63)}


def test_an_archive_without_a_wanted_member_says_what_it_holds(tmp_path):
    (tmp_path / "data").mkdir()
    with zipfile.ZipFile(tmp_path / "data/a.zip", "w") as archive:
        for name in ("read.me", "items/1.json", "items/2.json", "items/3.json", "items/4.json"):
            archive.writestr(name, "{}")
    with pytest.raises(SourceError) as told:
        read(open_source("product", tmp_path / "data", files="*.zip"))
    message = str(told.value)
    assert "no member of the archive matches " in message
    assert "; the archive contains read.me, items/1.json, items/2.json .. (5 in total)" in message
    assert "unpack the archive and list its files in `files`" in message
    assert "if they are of the same kind with unusual names, write `members: ['**/*.json']`" in message
    assert len(message) < 400, "not a wall of patterns"


@pytest.mark.parametrize(
    ("kind", "remedy"), [("fits", "choose a different `hdu`"), ("product", "use `mode: cards` to list the cards")]
)
def test_a_card_that_no_file_has_is_told_in_words_of_the_kind(tmp_path, kind, remedy):
    (tmp_path / "data").mkdir()
    header(tmp_path / "data/1.fits", N=1)
    with pytest.raises(SourceError, match=remedy):
        read(open_source(kind, tmp_path / "data", files="*.fits", mode="header", cards=["NOSUCH"]))


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tar.xz"])
def test_members_of_archives_are_read_as_files(tmp_path, ending, monkeypatch):
    header(tmp_path / "1.fits", N=1)
    header(tmp_path / "2.fits", N=2)
    members = {"night/1.fits": (tmp_path / "1.fits").read_bytes(), "2.fits": (tmp_path / "2.fits").read_bytes(), "../out.fits": (tmp_path / "2.fits").read_bytes(), "notes.txt": b"none"}  # fmt: skip
    data = tmp_path / "data"
    data.mkdir()

    def pack():
        if ending == "zip":
            with zipfile.ZipFile(data / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for name, body in members.items():
                    archive.writestr(name, body)
        else:
            with tarfile.open(data / f"a.{ending}", f"w:{ending.partition('.')[2]}") as archive:
                for name, body in members.items():
                    fact = tarfile.TarInfo(name)
                    fact.size, fact.mtime = len(body), 1e9
                    archive.addfile(fact, io.BytesIO(body))
        os.utime(data / f"a.{ending}", (1.7e9, 1.7e9))

    pack()
    source = open_source("fits", data, kept=tmp_path / "kept", files=f"*.{ending}", mode="header", cards=["N"])
    found = read(source, ["N", "file.path", "file.size", "file.media_type"])
    assert [(row["N"], row["file.path"]) for row in found] == [(1, f"a.{ending}/night/1.fits"), (2, f"a.{ending}/2.fits")]  # fmt: skip
    assert {(row["file.size"], row["file.media_type"]) for row in found} == {(2880, "application/fits")}
    assert source.list_files().column("name").to_pylist() == [f"a.{ending}/night/1.fits", f"a.{ending}/2.fits"]
    (member,) = read(open_source("product", data, files=f"*.{ending}", members="night/*.fits", cards=["N"]))
    assert member == {"N": 1}
    if ending == "zip":
        members["2.fits"] = members["2.fits"].replace(b" 2", b" 7")
        pack()
        source = open_source("fits", data, kept=tmp_path / "kept", files="*.zip", mode="header", cards=["N"])
        names = record_opened_files(source, monkeypatch)
        assert [row["N"] for row in read(source)] == [1, 7]
        assert names == ["a.zip/2.fits"]
    body = (data / f"a.{ending}").read_bytes()
    (data / f"a.{ending}").write_bytes(body[: len(body) // 3])
    with pytest.raises(SourceError, match=rf"a\.{ending}"):
        read(open_source("fits", data, files=f"*.{ending}", mode="header", cards=["N"]))
    with pytest.raises(SourceError, match="Hven reads rows of tables only from files next to the descriptor"):
        open_source("fits", data, files=f"*.{ending}")


@pytest.mark.parametrize(
    ("name", "kind", "mode"),
    [
        ("planetary/maps/mars.tif", "product", "images"),
        ("helio/images/2013_06_24__17_31_30_84__SDO_AIA_AIA_193.jp2", "product", "images"),
    ],
)
def test_damage_at_the_head_is_told_or_harmless(tmp_path, name, kind, mode):
    """One bad file of ten thousand must not end the ingest: whatever is in it, it is a row or kept aside."""
    chance = np.random.default_rng(2026)
    path = shared(f"data/{name}")
    body = np.frombuffer(path.read_bytes()[:200_000], np.uint8)
    for number in range(12 * EXAMPLES_FACTOR):
        bytes_ = body.copy()
        places = chance.integers(0, min(len(body), 30_000), chance.integers(1, 12))
        places[::2] %= 600
        bytes_[places] = chance.integers(0, 256, len(places), np.uint8)
        (tmp_path / f"{number:03}{path.suffix}").write_bytes(bytes_.tobytes())
    (tmp_path / f"z{path.suffix}").write_bytes(path.read_bytes())
    rejects = []
    found = read(
        open_source(kind, tmp_path, rejects, files=f"*{path.suffix}", mode=mode), ["file.name", "file.footprint"]
    )
    assert {row["file.name"] for row in found} >= {f"z{path.suffix}"}
    assert len({row["file.name"] for row in found} | {one.file for one in rejects}) == 12 * EXAMPLES_FACTOR + 1


@pytest.mark.parametrize("kind", ["fits", "votable"])
def test_narrower_numbers_of_later_files_are_widened(tmp_path, kind):
    (tmp_path / "data").mkdir()
    for number, (dtype, value) in enumerate((("i4", 70000), ("i2", -3))):
        Table({"x": np.array([value], dtype)}).write(tmp_path / f"data/{number}.{kind}", format=kind)
    rows = read(open_source(kind, tmp_path / "data", files=f"*.{kind}"))
    assert [row["x"] for row in rows] == [70000, -3]


def test_wider_numbers_of_later_fits_files_widen_the_column(tmp_path):
    (tmp_path / "data").mkdir()
    for number, (dtype, value) in enumerate((("i2", 1), ("f8", 1.5))):
        Table({"x": np.array([value], dtype)}).write(tmp_path / f"data/{number}.fits")
    source = open_source("fits", tmp_path / "data", files="*.fits")
    assert str(source.list_columns()[0].type) == "float64"
    assert [row["x"] for row in read(source)] == [1.0, 1.5]
