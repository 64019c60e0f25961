"""The FITS header behind a row: found by address, path and name among the files that a collection publishes, and read as astropy reads it."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hven.ingest.api.runs import ingest_collection
from hven.model.table import FILES_UTYPE
from hven.portal._explore import parse_search, row_pages
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._views import row_header
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.sources.fits_headers import read_headers as cards_of
from hven.testing.site import open_site_with_uningested_files

SUN = """\
collection: sun
title: Images
files: "data/*.fits*"
tables:
  images:
    primary: [name]
    source: {kind: csv, files: rows.csv}
    columns:
      name: {type: string, ucd: meta.id;meta.main}
      file_name: {type: string, ucd: meta.id;meta.file}
      access_url: {type: string, ucd: meta.ref.url}
"""
ROWS = """\
name,file_name,access_url
by name,a_1.fits,
by address,,ADDRESS/collections/sun/files/data/b.fits
packed,c.fits.gz,
elsewhere,,https://other.example/data/b.fits
nothing,,
alike,a-1.fits,
text,notes.txt,
"""


def image(seed: int, *, extension: bool = False) -> bytes:
    first = fits.PrimaryHDU(np.zeros((5, 7), np.int16))
    first.header["OBJECT"] = ("Sun's disc", "what was seen")
    first.header["EXPTIME"] = (2.5 + seed, "[s] exposure")
    first.header["HIERARCH ESO DET NAME"] = ("chip", "detector")
    first.header["LONGTEXT"] = "x" * 150
    first.header["FLAG"] = (True, "yes")
    first.header["COMMENT"] = "flat <b>&</b> dark"
    first.header["HISTORY"] = "made"
    parts: list[fits.PrimaryHDU | fits.BinTableHDU] = [first]
    if extension:
        parts.append(
            fits.BinTableHDU.from_columns([fits.Column(name="x", format="D", array=np.arange(1000.0))], name="EVENTS")
        )
    file = io.BytesIO()
    fits.HDUList(parts).writeto(file)
    return file.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = {
        "data/a_1.fits": image(1),
        "data/b.fits": image(2, extension=True),
        "data/c.fits.gz": gzip.compress(image(3, extension=True)),
        "data/axx.fits": b"no FITS at all",
    }
    with open_site_with_uningested_files(
        tmp_path_factory.mktemp("headed"), SUN, {"rows.csv": ROWS, **made}, public_url="http://vo.example"
    ) as found:
        place = found.settings.collections_directory / "sun" / "rows.csv"
        place.write_text(ROWS.replace("ADDRESS", "http://vo.example"))
        ingest_collection(found, "sun")
        found.refresh_published_state()
        yield found


def behind(site: Site, name: str) -> row_header.RowFileHeader | None:
    road = QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )
    tables = tuple(site.get_published_state().get_catalogue(ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES).iterate_tables())
    table = next(one for one in tables if one.qualified_name == "sun.images")
    return row_header.read_row_fits_header_and_record_access(
        row_pages.fetch_row(parse_search([], table), road, json.dumps([name])), table, road, tables
    )


@pytest.mark.parametrize(
    ("name", "file"), [("by name", "data/a_1.fits"), ("by address", "data/b.fits"), ("packed", "data/c.fits.gz")]
)
def test_the_header_is_that_of_the_rows_file(site: Site, name: str, file: str) -> None:
    found = behind(site, name)
    assert found is not None
    assert found.path == file
    assert found.address.startswith("http")
    with fits.open(site.settings.collections_directory / "sun" / file) as told:
        assert len(found.headers) == len(told)
        for mine, theirs in zip(found.headers, told, strict=True):
            wanted = {
                card.keyword: card.value
                for card in theirs.header.cards
                if card.keyword not in {"COMMENT", "HISTORY", ""}
            }
            assert {key.removeprefix("HIERARCH "): value for key, value in mine.card_values.items()} == wanted
            assert {key: mine.comments[key] for key in mine.card_values} == {
                key: theirs.header.comments[key] for key in wanted
            }
            assert [text for key, text in mine.commentary if key == "COMMENT"] == list(theirs.header.get("COMMENT", []))


@pytest.mark.parametrize("name", ["elsewhere", "nothing", "alike", "text", "no such row"])
def test_other_rows_have_none(site: Site, name: str) -> None:
    assert behind(site, name) is None


def test_a_file_that_was_changed_is_not_read(site: Site) -> None:
    place = site.settings.collections_directory / "sun" / "data" / "a_1.fits"
    old = place.read_bytes()
    try:
        place.write_bytes(old + b"\0" * 2880)
        assert behind(site, "by name") is None
    finally:
        place.write_bytes(old)


def test_a_header_without_end_is_left(tmp_path: Path) -> None:
    endless = tmp_path / "a.fits"
    with endless.open("wb") as file:
        file.write(b"SIMPLE  =                    T".ljust(80))
        file.truncate(50_000_000)
    with pytest.raises(Exception, match="without an END"):
        cards_of(endless)


HELD = """\
collection: held
title: Images, some of them locked
files: "data/*.fits"
tables:
  images:
    access: {take: "owner = 'open'", path: file}
    primary: [name]
    source: {kind: csv, files: rows.csv}
    columns:
      name: {type: string, ucd: meta.id;meta.main}
      owner: {type: string}
      file: {type: string, ucd: meta.id;meta.file}
"""


def test_the_header_of_a_file_is_for_who_may_take_the_file(tmp_path: Path) -> None:
    rows_of = "name,owner,file\nfree,open,data/a.fits\nlocked,anna,data/b.fits\n"
    files = {"rows.csv": rows_of, "data/a.fits": image(1), "data/b.fits": image(2)}
    with open_site_with_uningested_files(tmp_path, HELD, files, public_url="http://vo.example") as site:
        ingest_collection(site, "held")
        site.refresh_published_state()
        tables = tuple(site.get_published_state().get_catalogue(ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES).iterate_tables())
        (table,) = [one for one in tables if one.qualified_name == "held.images"]
        assert not [
            one for one in tables if one.schema == "held" and one.utype == FILES_UTYPE
        ]  # the list of all files is private
        road = QueryRunner(
            site=site,
            principal=ANONYMOUS_PRINCIPAL,
            policies=DEFAULT_POLICIES,
            published_state=site.get_published_state(),
        )
        free, locked = (
            row_header.read_row_fits_header_and_record_access(
                row_pages.fetch_row(parse_search([], table), road, json.dumps([name])), table, road, tables
            )
            for name in ("free", "locked")
        )
        assert free is not None
        assert (free.path, len(free.headers)) == ("data/a.fits", 1)
        assert locked is None
