"""Uploads by other people's clients: STILTS and pyvo, at once and as jobs; values and matches answered a second time by astropy and numpy."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import pyvo
from astropy.coordinates import angular_separation
from astropy.io.votable import parse
from astropy.table import MaskedColumn, Table

from process_runner import Server
from stilts import run_stilts
from storage_engines import EMBEDDED, use_engines

pytestmark = [pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("outside")]

MATCH = "SELECT u.n, h.star FROM TAP_UPLOAD.mine AS u JOIN hipparcos.main AS h ON DISTANCE(POINT(h.ra, h.dec), POINT(u.lon, u.lat)) < 2.0/3600"


@pytest.fixture(scope="module")
def stars(server: Server) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = pyvo.dal.TAPService(f"{server.url}/tap").run_sync("SELECT star, ra, dec FROM hipparcos.main").to_table()
    return tuple(np.asarray(table[name]) for name in ("star", "ra", "dec"))


def test_taplint_finds_no_fault_in_uploads(taplint_report: list[str]) -> None:
    assert [line for line in taplint_report if re.match("[EFW]-UPL-", line)] == []
    assert any(line.startswith("Section UPL") for line in taplint_report)


@pytest.mark.parametrize("sync", ["true", "false"])
def test_stilts_sends_a_table_and_gets_it_back(server: Server, tmp_path: Path, sync: str) -> None:
    there_and_back(server, tmp_path, "BINARY2", sync)


@use_engines(EMBEDDED)
@pytest.mark.parametrize("form", ["TABLEDATA", "BINARY"])
@pytest.mark.parametrize("sync", ["true", "false"])
def test_stilts_sends_it_in_other_forms(server: Server, tmp_path: Path, form: str, sync: str) -> None:
    there_and_back(server, tmp_path, form, sync)


def there_and_back(server: Server, tmp_path: Path, form: str, sync: str) -> None:
    table = Table(
        {"n": np.arange(500), "name": [f"é{n}" if n % 3 else "" for n in range(500)], "x": np.linspace(-1, 1, 500)}
    )
    table["k"] = MaskedColumn(np.arange(500, dtype=np.int32), mask=np.arange(500) % 7 == 0)
    sent, back = tmp_path / "sent.fits", tmp_path / "back.vot"
    table["name"] = [f"e{n}" if n % 3 else "" for n in range(500)]  # FITS has ASCII
    table["k"].fill_value = -1
    table.write(sent)
    run_stilts(
        "tapquery", f"tapurl={server.url}/tap", "nupload=1", f"upload1={sent}", "upname1=t", f"upvotformat={form}", f"sync={sync}",
        *(["poll=200"] if sync == "false" else []),
        "adql=SELECT * FROM TAP_UPLOAD.t ORDER BY n", f"out={back}", "ofmt=votable",
    )  # fmt: skip
    found = parse(back).get_first_table().to_table()
    assert found.colnames == table.colnames
    assert (np.asarray(found["x"]) == np.asarray(table["x"])).all()
    assert [str(value or "") for value in found["name"].filled("")] == list(table["name"])
    assert (found["k"].mask == table["k"].mask).all()
    assert (found["k"].compressed() == table["k"].compressed()).all()


@pytest.mark.parametrize("mode", ["run_sync", "run_async"])
def test_pyvo_matches_a_list_by_position(
    server: Server, stars: tuple[np.ndarray, np.ndarray, np.ndarray], mode: str
) -> None:
    star, ra, dec = stars
    made = np.random.default_rng(5)
    picked = made.integers(0, len(star), 1_000)
    lon = ra[picked] + made.normal(0, 1 / 3600, 1_000) / np.cos(np.radians(dec[picked]))
    lat = np.clip(dec[picked] + made.normal(0, 1 / 3600, 1_000), -90, 90)
    mine = Table({"n": np.arange(1_000), "lon": lon % 360, "lat": lat})
    found = getattr(pyvo.dal.TAPService(f"{server.url}/tap"), mode)(MATCH, uploads={"mine": mine}).to_table()
    expected = set()
    by_dec = np.argsort(dec)
    for n in range(1_000):  # only those at about the same declination are worth a closer look
        near = by_dec[slice(*np.searchsorted(dec[by_dec], [lat[n] - 0.001, lat[n] + 0.001]))]
        apart = angular_separation(np.radians(lon[n]), np.radians(lat[n]), np.radians(ra[near]), np.radians(dec[near]))
        expected |= {(n, int(other)) for other in star[near[apart < np.radians(2 / 3600)]]}
    assert len(expected) > 500
    assert set(zip(found["n"].tolist(), found["star"].tolist(), strict=True)) == expected


# pyvo leaves files open
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_pyvo_sends_files_and_texts(server: Server, tmp_path: Path) -> None:
    service = pyvo.dal.TAPService(f"{server.url}/tap")
    file = tmp_path / "list.csv"
    file.write_text("star,remark\n1,first\n2,second\n", encoding="utf-8")
    query = "SELECT u.remark FROM hipparcos.main AS h JOIN TAP_UPLOAD.list AS u ON u.star = h.star ORDER BY h.star"
    for given in (str(file), io.BytesIO(file.read_bytes())):
        assert list(service.run_sync(query, uploads={"list": given}).to_table()["remark"]) == ["first", "second"]
    assert {method.ivo_id.rpartition("-")[2] for method in service.upload_methods} == {"inline", "http", "https"}


def test_pyvo_is_told_what_is_wrong(server: Server) -> None:
    service = pyvo.dal.TAPService(f"{server.url}/tap")
    page = io.BytesIO(b"<html><body>Please log in</body></html>")
    with pytest.raises(pyvo.dal.DALQueryError) as caught:
        service.run_sync("SELECT * FROM TAP_UPLOAD.t", uploads={"t": page})
    assert re.search("HTML page", str(caught.value))


@pytest.mark.parametrize(
    "query",
    [
        MATCH,
        MATCH.replace("TAP_UPLOAD.mine AS u JOIN hipparcos.main AS h", "hipparcos.main AS h JOIN TAP_UPLOAD.mine AS u"),
        MATCH.replace("JOIN", "LEFT OUTER JOIN"),
        "SELECT COUNT(*) AS n FROM TAP_UPLOAD.mine AS u, hipparcos.main AS h WHERE DISTANCE(h.ra, h.dec, u.lon, u.lat) <= 2.0/3600 AND h.vmag < 9",
        "SELECT COUNT(*) AS n FROM TAP_UPLOAD.mine AS u JOIN hipparcos.main AS h ON 1 = CONTAINS(POINT(h.ra, h.dec), CIRCLE(u.lon, u.lat, 2.0/3600))",
        "SELECT COUNT(*) AS n FROM TAP_UPLOAD.mine AS u JOIN hipparcos.main AS h ON 1 = CONTAINS(POINT(u.lon, u.lat), CIRCLE(POINT(h.ra, h.dec), 2.0/3600))",
    ],
)
def test_a_match_by_position_goes_by_the_index_however_it_is_written(server: Server, query: str) -> None:
    mine = io.StringIO()
    Table({"n": np.arange(1_000), "lon": np.linspace(0, 359, 1_000), "lat": np.linspace(-89, 89, 1_000)}).write(
        mine, format="ascii.csv"
    )
    boundary = "----e1"
    parts = [("LANG", "ADQL"), ("QUERY", query), ("UPLOAD", "mine,param:f"), ("EXPLAIN", "true")]
    body = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts
    ).encode()
    body += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'.encode()
        + mine.getvalue().encode()
        + f"\r\n--{boundary}--\r\n".encode()
    )
    status, _, answer = server.send(
        "POST", "/tap/sync", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    )
    assert status == 200
    assert "h: matched with u by the position index" in answer.decode().splitlines()
