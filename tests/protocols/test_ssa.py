"""SSA 1.1 over ivoa.obscore: ranges of wavelengths and times as people write them, utypes of the answer, the columns alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from asgi_client import Client
from astropy.time import Time
from lxml import etree

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.services.faces.ssa import _parse_time_range
from hven.site import Site

V = "{http://www.ivoa.net/xml/VOTable/v1.3}"
DESCRIPTOR = """\
collection: spectra
title: Spectra
tables:
  main:
    source: rows.csv
    primary: id
    position: [ra, dec]
    columns: {id: {type: string, ucd: "meta.id;meta.main"}, ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}, dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}, t: float64, low: float64, high: float64, kind: string, format: string}
    obscore:
      set: {facility_name: F, instrument_name: I, access_url: "https://x.example/a", calib_level: 2}
      map: {dataproduct_type: kind, t_min: t, t_max: t + 0.5, em_min: low, em_max: high, access_format: format, target_name: "'Star ' || id", em_res_power: 100 * ra}
"""
ROWS = """\
id,ra,dec,t,low,high,kind,format
a,10,10,52000,4e-7,7e-7,spectrum,application/fits
b,10.2,10,52500,1e-6,2e-6,spectrum,application/x-votable+xml
c,200,-5,53000,0.2,0.3,sed,text/csv
d,10,10,52000,4e-7,7e-7,image,application/fits
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("ssa")
    folder = directory / "collections/spectra"
    folder.mkdir(parents=True)
    (directory / "hven.toml").touch()
    (folder / "spectra.yaml").write_text(DESCRIPTOR)
    (folder / "rows.csv").write_text(ROWS)
    with Site(settings.load_settings(directory)) as made:
        ingest_collection(made, "spectra")
        yield Client(create_and_start_application(made))


def found(client: Client, *pairs: str) -> str:
    line = "&".join(["REQUEST=queryData", "RESPONSEFORMAT=csv", *(quote(pair, safe="=") for pair in pairs)])
    answer = client.ask("GET", "/ssa/ivoa.obscore", line.encode())
    assert answer.status == 200
    return "".join(row["DataID_Title"] for row in csv.DictReader(io.StringIO(answer.text)))


@pytest.mark.parametrize(
    ("pairs", "rows"),
    [
        ([], "abc"),
        (["POS=10,10"], "a"),
        (["POS=10,10;ICRS", "SIZE=0.5"], "ab"),
        (["POS=359.9,10", "SIZE=30"], "ab"),
        (["POS=-0.1,10", "SIZE=30"], "ab"),
        (["POS=370,10"], "a"),
        (["POS=-350,10"], "a"),
        (["BAND=6e-7"], "a"),
        (["BAND=7e-7/1e-6"], "ab"),
        (["BAND=/5e-7,0.25"], "ac"),
        (["BAND=radio"], "c"),
        (["BAND=optical,1.5e-6/;source"], "abc"),
        (["TIME=2001-04-01"], "a"),
        (["TIME=2001"], "a"),
        (["TIME=2001/2002"], "ab"),
        (["TIME=/2002-08-14,2003-12-27T06:00:00"], "abc"),
        (["TIME=2004/"], ""),
        (["FORMAT=fits"], "a"),
        (["FORMAT=votable,text/csv"], "bc"),
        (["FORMAT=compliant"], "ab"),
        (["FORMAT=%25"], ""),
        (["FORMAT=text_csv"], ""),
        (["TARGETNAME=Star a,Star c", "COLLECTION=spectra"], "ac"),
        (["PUBDID=ivo://example.org/spectra?b"], "b"),
        (["SPECRP=1010"], "bc"),
        (["TOP=1", "POS=200,-5"], "c"),
        (["TOP=0"], ""),
    ],
)
def test_parameters(client: Client, pairs: list[str], rows: str) -> None:
    assert "".join(sorted(found(client, *pairs))) == rows


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("2003", "2003-01-01", "2004-01-01"),
        ("2003-12", "2003-12-01", "2004-01-01"),
        ("2004-02", "2004-02-01", "2004-03-01"),
        ("2004-02-29", "2004-02-29", "2004-03-01"),
        ("2004-02-29T23", "2004-02-29T23:00:00", "2004-03-01"),
        ("2004-02-29T23:59", "2004-02-29T23:59:00", "2004-03-01"),
        ("1999-12-31T12:30:15.5Z", "1999-12-31T12:30:15.5", "1999-12-31T12:30:15.5"),
        ("2001/2002-05", "2001-01-01", "2002-06-01"),
    ],
)
def test_times_last_as_long_as_they_are_written(text: str, begin: str, end: str) -> None:
    # days of 86,400 seconds, as modified Julian dates of UTC have them but for those with a leap second
    assert _parse_time_range(text) == pytest.approx(
        (Time(begin, scale="tai").mjd, Time(end, scale="tai").mjd), abs=1e-9
    )


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("POS=M31", "POS='M31' is not a position"),
        ("POS=1,2;FK4", "POS='1,2;FK4' is not a position"),
        ("POS=1,99", "the latitude 99.0 is not between -90 and 90 degrees"),
        ("POS=1,98", "; write right ascension and declination in degrees (ICRS), such as 83.63,22.01"),
        ("SIZE=x", "SIZE='x' is not a number; write decimal degrees such as 83.633"),
        ("SPECRP=2000/", "SPECRP='2000/' is not a number; write a number such as 83.633"),
        ("TARGETNAME=a\0", "TARGETNAME contains a NUL character (%00); remove the character"),
        (
            "BAND=red",
            "BAND='red' is not a range of wavelengths; write a range in metres, such as 4e-7/7e-7, or one of radio",
        ),
        ("BAND=2/1", "BAND='2/1' is an empty interval"),
        ("TIME=2001-02-30", "TIME='2001-02-30' is not a time"),
        ("TIME=2002/2000", "TIME='2002/2000' is an empty interval"),
        ("REQUEST=getData", "REQUEST='getData' is not valid; write REQUEST=queryData"),
    ],
)
def test_faults_are_documents(client: Client, pair: str, words: str) -> None:
    answer = client.ask("GET", "/ssa/ivoa.obscore", quote(pair, safe="=").encode())
    root = etree.fromstring(answer.body)
    (info,) = root.iter(f"{V}INFO")
    assert (answer.status, info.get("name"), info.get("value")) == (200, "QUERY_STATUS", "ERROR")
    assert words in (info.text or "")


def test_columns_have_their_utypes_and_metadata_their_parameters(client: Client) -> None:
    root = etree.fromstring(client.get("/ssa/ivoa.obscore", REQUEST="queryData", FORMAT="METADATA").body)
    utypes = {field.get("utype") for field in root.iter(f"{V}FIELD")}
    assert {"ssa:Access.Reference", "ssa:Access.Format", "ssa:Dataset.DataModel", "ssa:Dataset.Length", "ssa:DataID.Title", "ssa:Curation.Publisher"} <= utypes  # fmt: skip
    assert not list(root.iter(f"{V}TR"))
    names = [param.get("name") for param in root.iter(f"{V}PARAM")]
    assert {"INPUT:POS", "INPUT:BAND", "INPUT:TIME", "INPUT:FORMAT"} <= {*names}
    rows = client.get(
        "/ssa/ivoa.obscore", REQUEST="queryData", RESPONSEFORMAT="csv", PUBDID="ivo://example.org/spectra?a"
    ).text
    (row,) = csv.DictReader(io.StringIO(rows))
    assert (row["Curation_Publisher"], row["Char_SpectralAxis_Coverage_Bounds_Start"]) == ("example.org", "4e-7")
