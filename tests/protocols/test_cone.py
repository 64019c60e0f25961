"""Cone search as Simple Cone Search 1.03 has it."""

from __future__ import annotations

import io
from pathlib import Path

import astropy.coordinates as coord
import numpy as np
import pyarrow as pa
import pytest
from asgi_client import Client
from astropy import units as u
from astropy.io.votable import parse
from lxml import etree
from star_tables import STARS, build_rows

from hven.app._server import create_and_start_application
from hven.engines.duckdb.engine import DuckEngine
from hven.testing.site import open_tiny_site

V = {"v": "http://www.ivoa.net/xml/VOTable/v1.3"}


def fields(body: bytes) -> dict[str, str]:
    return {item.get("name"): item.get("ucd") for item in etree.fromstring(body).iterfind(".//v:FIELD", V)}


@pytest.mark.parametrize(
    ("ra", "dec", "sr"), [(10, 10, 5), (0.01, -0.01, 8), (123, 90, 6), (200, -89.5, 10), (350, 40, 60), (1, 1, 180)]
)
def test_the_rows_are_those_that_astropy_finds(client: Client, ra: float, dec: float, sr: float) -> None:
    answer = client.get("/cone/stars.main", RA=ra, DEC=dec, SR=sr)
    assert answer.status == 200
    found = parse(io.BytesIO(answer.body)).get_first_table().to_table()
    stars = build_rows()
    places = coord.SkyCoord(stars["ra"].to_numpy() * u.deg, stars["dec"].to_numpy() * u.deg)
    inside = places.separation(coord.SkyCoord(ra * u.deg, dec * u.deg)).deg <= sr
    assert sorted(found["id"]) == sorted(np.array(stars["id"].to_pylist())[inside])


def test_a_cone_where_the_table_has_nothing_is_answered_without_a_look_at_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stars = build_rows(3000)
    ra, dec = stars["ra"].to_numpy(), stars["dec"].to_numpy()
    north = stars.filter(pa.array((dec > 20) & (ra > 10)))
    with open_tiny_site(tmp_path, {"stars.main": (STARS, north)}) as site:
        asked = Client(create_and_start_application(site))

        def answers(dec: int) -> list[int]:
            texts = [
                asked.get("/cone/stars.main", RA=100, DEC=dec, SR=15, RESPONSEFORMAT="csv"),
                *(
                    asked.get(
                        "/tap/sync",
                        LANG="ADQL",
                        RESPONSEFORMAT="csv",
                        QUERY=query.format(f"1 = CONTAINS(POINT(ra, dec), CIRCLE(100, {dec}, 15))"),
                    )
                    for query in (
                        "SELECT * FROM stars.main WHERE {}",
                        "SELECT id FROM stars.main WHERE mag > 3 AND {} ORDER BY mag",
                    )
                ),
            ]
            assert {one.status for one in texts} == {200}
            return [one.body.count(b"\n") - 1 for one in texts]

        assert min(answers(50)) > 0
        monkeypatch.setattr(DuckEngine, "run_sql", lambda *_, **__: pytest.fail("DuckDB was asked"))
        assert answers(-40) == [0, 0, 0]


@pytest.mark.parametrize(
    ("verb", "names"),
    [
        ("1", "id ra dec number"),
        ("2", "id ra dec number mag"),
        ("3", "id ra dec number mag note"),
        ("", "id ra dec number mag"),
    ],
)
def test_verb_selects_columns_by_rank(client: Client, verb: str, names: str) -> None:
    answer = client.get("/cone/stars.main", RA=10, DEC=10, SR=5, VERB=verb)
    assert list(fields(answer.body)) == names.split()


def test_a_value_of_verb_that_there_is_not_is_refused(client: Client) -> None:
    answer = client.get("/cone/stars.main", RA=10, DEC=10, SR=5, VERB=9)
    assert b"VERB='9' is not valid; use one of 1, 2, 3" in answer.body


def test_exactly_one_field_has_each_main_ucd(client: Client) -> None:
    ucds = list(fields(client.get("/cone/stars.main", RA=10, DEC=10, SR=5, VERB=3).body).values())
    for main in ("ID_MAIN", "POS_EQ_RA_MAIN", "POS_EQ_DEC_MAIN"):
        assert ucds.count(main) == 1
    assert not any(ucd and ucd.endswith("meta.main") for ucd in ucds)


def test_a_numeric_identifier_is_shown_as_text(tmp_path: Path) -> None:
    numbered = STARS.copy_with(
        primary=("number",),
        columns=tuple(column.copy_with(ucd=None) if column.name == "id" else column for column in STARS.columns),
    )
    with open_tiny_site(tmp_path, {"stars.main": (numbered, build_rows(300))}) as site:
        for params in ({"SR": 60}, {"SR": 0}, {"SR": 180, "MAXREC": 5}, {"SR": 60, "RESPONSEFORMAT": "votable"}):
            answer = Client(create_and_start_application(site)).get("/cone/stars.main", RA=10, DEC=10, **params)
            (field,) = etree.fromstring(answer.body).xpath("//v:FIELD[@ucd='ID_MAIN']", namespaces=V)
            assert (field.get("name"), field.get("datatype"), field.get("arraysize")) == ("number", "char", "*")
            found = parse(io.BytesIO(answer.body)).get_first_table().to_table()
            assert all(str(value).isdigit() for value in found["number"])


def test_radius_zero_asks_for_the_columns_alone(client: Client) -> None:
    answer = client.get("/cone/stars.main", RA=10, DEC=10, SR=0)
    assert answer.status == 200
    assert len(fields(answer.body)) == 5
    assert len(parse(io.BytesIO(answer.body)).get_first_table().array) == 0


@pytest.mark.parametrize(("ra", "same"), [("-0.5", "359.5"), ("-360", "0"), ("360.5", "0.5"), ("720", "360")])
def test_a_right_ascension_one_turn_away_is_the_same(client: Client, ra: str, same: str) -> None:
    found, wanted = (
        parse(io.BytesIO(client.get("/cone/stars.main", RA=text, DEC=10, SR=20).body)).get_first_table().array
        for text in (ra, same)
    )
    assert len(wanted)
    assert list(found["id"]) == list(wanted["id"])


def test_maxrec_cuts_and_says_so(client: Client) -> None:
    answer = client.get("/cone/stars.main", RA=10, DEC=10, SR=180, MAXREC=7)
    assert len(parse(io.BytesIO(answer.body)).get_first_table().array) == 7
    assert b"OVERFLOW" in answer.body


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"DEC": 1, "SR": 1}, "RA is missing"),
        ({"RA": 1, "SR": 1}, "DEC is missing"),
        ({"RA": 1, "DEC": 1}, "SR is missing"),
        ({"RA": "ten", "DEC": 1, "SR": 1}, "not a number"),
        ({"RA": 1, "DEC": 91, "SR": 1}, "out of range"),
        ({"RA": 721, "DEC": 1, "SR": 1}, "out of range"),
        ({"RA": 1, "DEC": 1, "SR": -1}, "out of range"),
        ({"RA": "nan", "DEC": 1, "SR": 1}, "finite"),
        ({"RA": 1, "DEC": 1, "SR": 1, "RESPONSEFORMAT": "docx"}, "docx"),
        ({"RA": 1, "DEC": 1, "SR": 1, "MAXREC": "x"}, "MAXREC"),
    ],
)
def test_faults_are_an_info_named_error_under_status_200(client: Client, params: dict[str, object], word: str) -> None:
    answer = client.get("/cone/stars.main", **params)
    assert answer.status == 200
    tree = etree.fromstring(answer.body)
    (info,) = tree.xpath("v:INFO[@name='Error']", namespaces=V)
    assert word in info.get("value")
    assert not tree.xpath(".//v:TABLE", namespaces=V)


def test_an_unknown_table_is_404_with_the_nearest_name(client: Client) -> None:
    answer = client.get("/cone/stars.mian", RA=1, DEC=1, SR=1)
    assert answer.status == 404
    assert "stars.main" in answer.text


def test_a_private_table_is_no_table(client: Client) -> None:
    private = client.get("/cone/secret.main", RA=1, DEC=1, SR=1)
    absent = client.get("/cone/secret.nothing", RA=1, DEC=1, SR=1)
    assert private.status == absent.status == 404
    assert "secret.main'" not in absent.text


def test_other_formats(client: Client) -> None:
    answer = client.get("/cone/stars.main", RA=10, DEC=10, SR=5, RESPONSEFORMAT="csv", VERB=1)
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text.splitlines()[0] == "id,ra,dec,number"


def test_what_the_reader_has_already_is_not_sent_again(client: Client) -> None:
    first = client.get("/cone/stars.main", RA=10, DEC=10, SR=5)
    again = client.ask(
        "GET", "/cone/stars.main", b"RA=10&DEC=10&SR=5", headers={"if-none-match": first.headers["etag"]}
    )
    assert (again.status, again.body) == (304, b"")
    other = client.ask(
        "GET", "/cone/stars.main", b"RA=11&DEC=10&SR=5", headers={"if-none-match": first.headers["etag"]}
    )
    assert other.status == 200
