"""STILTS, the engine of TOPCAT: its validator of TAP services, its TAP and cone clients, its VOTable linter."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from astropy.io import votable

from process_runner import Server
from shared import shared
from stilts import run_stilts
from storage_engines import EMBEDDED, use_engines

pytestmark = [pytest.mark.standard, pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("outside")]

# code -> (what the message must say, why it is no fault of ours)
ALLOWED = {
    "CULF": (
        r"tapregext#features-adql-(string|common-table|sets|type|conditional|unit|offset)\"",
        "ADQL 2.1 defines these; stilts 3.4.7 knows TAPRegExt 1.0's list alone",
    ),
    "VCEX": (r"", "vocabularies are fetched from the net; offline its built-in terms are used"),
}


def test_taplint_finds_no_fault(taplint_report: list[str]) -> None:
    told = taplint_report
    assert [line for line in told if line[:2] in {"E-", "F-"}] == []
    strange = []
    for line in told:
        if found := re.match(r"W-[A-Z]+-([A-Z0-9]+)-?\w* +(.*)", line):
            expected, _ = ALLOWED.get(found[1], ("(?!)", ""))
            if not re.search(expected, found[2]):
                strange.append(line)
    assert strange == []
    assert "Totals: Errors: 0;" in told[-2] + told[-1] + told[-3]
    # it has really looked at what is published
    assert any(re.match(r"S-TME-SUMM-\d+ Schemas: 8, Tables: 13,", line) for line in told), told
    assert sum(line.startswith("Section ") for line in told) == 14


def test_tapquery_counts_and_computes(server: Server) -> None:
    answer = run_stilts(
        "tapquery",
        f"tapurl={server.url}/tap",
        "sync=true",
        "ofmt=csv",
        "adql=SELECT COUNT(*) AS n, MIN(vmag) AS brightest FROM hipparcos.main",
    )
    assert list(csv.DictReader(io.StringIO(answer.stdout))) == [{"n": "125982", "brightest": "-1.44"}]


@use_engines(EMBEDDED)
def test_links_of_rows_are_found_in_order(server: Server) -> None:
    query = "adql=SELECT TOP 3 id, name FROM openngc.main WHERE major_axis > 60 ORDER BY major_axis DESC"
    tap = ["tapquery", f"tapurl={server.url}/tap", "sync=true", query]
    first, *_ = list(csv.DictReader(io.StringIO(run_stilts(*tap, "ofmt=csv").stdout)))
    told = run_stilts(
        "datalinklint", f"votable={server.url}/datalink/openngc.main?ID={quote(first['id'])}&ID=none"
    ).stdout
    # words of the vocabulary that are younger than the terms that it has built in: it cannot fetch them here
    newer = [
        line
        for line in told.splitlines()
        if re.match(r"E-SMCO-\d Unknown predicate '(counterpart|documentation)' from core", line)
    ]
    assert [line for line in told.splitlines() if line[:2] in {"E-", "W-", "F-"} and line not in newer] == []
    assert "Datalink table rows checked: 4" in told


@use_engines(EMBEDDED)
def test_an_error_is_told_in_our_words(server: Server) -> None:
    done = run_stilts(
        "tapquery", f"tapurl={server.url}/tap", "sync=true", "adql=SELECT vmagg FROM hipparcos.main", code=None
    )
    assert done.returncode
    assert "no column 'vmagg' in hipparcos.main; did you mean 'vmag'?" in done.stderr


def test_cone_gives_the_stars_around(server: Server) -> None:
    words = [
        f"serviceurl={server.url}/cone/hipparcos.main",
        "servicetype=cone",
        "lon=83.63",
        "lat=22.01",
        "radius=1.5",
        "ofmt=csv",
    ]
    rows = list(csv.DictReader(io.StringIO(run_stilts("cone", *words, "verb=3").stdout)))
    around = server.rows(
        "SELECT star FROM hipparcos.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(83.63, 22.01, 1.5)) ORDER BY star"
    )
    assert sorted(int(row["star"]) for row in rows) == [row[0] for row in around] != []
    assert len(run_stilts("cone", *words, "verb=1").stdout.splitlines()[0].split(",")) < len(rows[0])


def test_coneskymatch_finds_every_object_again(server: Server, tmp_path: Path) -> None:
    rows = server.rows("SELECT TOP 25 id, ra, dec FROM openngc.main WHERE dec > 60 AND ra IS NOT NULL ORDER BY id")
    (tmp_path / "in.csv").write_text("mine,ra,dec\n" + "\n".join(f"{name},{ra},{dec}" for name, ra, dec in rows) + "\n")
    answer = run_stilts(
        "coneskymatch",
        f"in={tmp_path / 'in.csv'}",
        "ifmt=csv",
        f"serviceurl={server.url}/cone/openngc.main",
        "servicetype=cone",
        "ra=ra",
        "dec=dec",
        "sr=0.0005",
        "find=best",
        "copycols=mine",
        "parallel=2",
        "ofmt=csv",
    )
    found = list(csv.DictReader(io.StringIO(answer.stdout)))
    assert len(found) == len(rows) == 25
    assert sum(row["mine"] == row["id"] for row in found) >= 23  # some objects stand in both catalogues at one place


@pytest.mark.parametrize("table", ["jmdc.main", "maser.main", "charm.main", "flares.main"])
def test_votlint_has_no_word_to_say(server: Server, tmp_path: Path, table: str) -> None:
    without_a_word(server, tmp_path, table, "votable")


@use_engines(EMBEDDED)
@pytest.mark.parametrize(
    ("table", "form"),
    [
        ("jmdc.main", "votable/td"),
        ("jmdc.main", "votable/b"),
        ("maser.main", "votable/td"),
        ("TAP_SCHEMA.columns", "votable/td"),
    ],
)
def test_votlint_on_other_forms(server: Server, tmp_path: Path, table: str, form: str) -> None:
    without_a_word(server, tmp_path, table, form)


def without_a_word(server: Server, tmp_path: Path, table: str, form: str) -> None:
    status, _, body = server.get("/tap/sync", LANG="ADQL", QUERY=f"SELECT TOP 50 * FROM {table}", RESPONSEFORMAT=form)
    assert status == 200, body
    (tmp_path / "answer.vot").write_bytes(body)
    told = run_stilts("votlint", f"votable={tmp_path / 'answer.vot'}", "validate=true", "ucd=true", "unit=true")
    assert told.stdout.strip() == ""


@use_engines(EMBEDDED)
@pytest.mark.parametrize(
    "path",
    [
        "/cone/hipparcos.main?RA=10&DEC=10&SR=1",
        "/cone/hipparcos.main?RA=10&DEC=10&SR=0",
        "/cone/hipparcos.main?RA=x",
        "/tap/sync?LANG=ADQL&QUERY=SELECT",
    ],
)
def test_votlint_on_other_documents(server: Server, tmp_path: Path, path: str) -> None:
    (tmp_path / "answer.vot").write_bytes(server.get(path)[2])
    assert (
        run_stilts(
            "votlint", f"votable={tmp_path / 'answer.vot'}", "validate=true", "ucd=true", "unit=true"
        ).stdout.strip()
        == ""
    )


@use_engines(EMBEDDED)
def test_every_other_format_is_read_as_the_votable_is(server: Server, tmp_path: Path) -> None:
    """STILTS counts, and adds up, what it read."""
    query = "SELECT star, name, ra, vmag, parallax FROM hipparcos.main WHERE dec > 88 ORDER BY star"
    figures = {}
    for one in ("votable", "csv", "fits"):
        path = tmp_path / f"answer.{one}"
        path.write_bytes(server.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT=one)[2])
        told = run_stilts("tpipe", f"in={path}", f"ifmt={one}", "cmd=stats name nGood sum", "ofmt=csv")
        figures[one] = [
            (row["Name"], row["NGood"], float(row["Sum"] or "nan")) for row in csv.DictReader(io.StringIO(told.stdout))
        ]
    names, goods, sums = zip(*figures["votable"], strict=True)
    for form in ("csv", "fits"):
        others, theirs, added = zip(*figures[form], strict=True)
        assert names == others
        assert goods == theirs
        assert added == pytest.approx(sums, rel=1e-6, nan_ok=True)


def test_the_served_table_is_the_file(server: Server, tmp_path: Path) -> None:
    """What STILTS reads from the catalogue's own FITS file is what it reads from our answer."""
    path = shared("data/interferometry/jmdc/JMDC_2017-03-28.fits.gz")
    (tmp_path / "jmdc.vot").write_bytes(server.get("/tap/sync", LANG="ADQL", QUERY="SELECT * FROM jmdc.main")[2])
    ours = votable.parse_single_table(tmp_path / "jmdc.vot").to_table(use_names_over_ids=True)
    theirs = csv.DictReader(
        io.StringIO(run_stilts("tpipe", f"in={path}", "cmd=keepcols 'UD_MEAS LD_MEAS'", "ofmt=csv").stdout)
    )
    measured = [(float(row["UD_MEAS"] or "nan"), float(row["LD_MEAS"] or "nan")) for row in theirs]
    served = np.column_stack(
        [np.ma.filled(ours["ud_meas"].astype(float), np.nan), np.ma.filled(ours["ld_meas"].astype(float), np.nan)]
    )
    assert len(ours.columns) == 251
    assert len(measured) == len(served)
    assert np.allclose(np.sort(np.array(measured), axis=0), np.sort(served, axis=0), rtol=1e-6, atol=0, equal_nan=True)
