"""``hven query --epn``: over a site, and over a TAP service elsewhere."""

from __future__ import annotations

import csv
import io
import re
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from process_runner import run_hven, serve_site

DESCRIPTOR = """\
collection: omega
title: Cubes
licence: CC-BY-4.0
tables:
  epn_core:
    utype: ivo://ivoa.net/std/epntap#table-2.0
    source: {kind: csv, files: cubes.csv}
    columns:
      granule_uid: {type: string, ucd: meta.id;meta.main}
      target_name: {type: string, ucd: meta.id;src}
      time_min: {type: float64, unit: d, ucd: time.start;obs, frame: utc}
      time_max: {type: float64, unit: d, ucd: time.end;obs}
      c1min: {type: float64, unit: deg, ucd: pos.bodyrc.lon;stat.min}
      c1max: {type: float64, unit: deg, ucd: pos.bodyrc.lon;stat.max}
    frames: {utc: {kind: timesys, timeorigin: JD-origin, timescale: UTC}}
    groups: {when: {columns: [time_min, time_max]}}
    map: {time_min: jd(parse_time(t)), time_max: jd(parse_time(t)) + 0.01}
"""
ROWS = "granule_uid,target_name,t,c1min,c1max\na,Mars,2004-01-14T00:00:00,350,10\nb,Mars#Phobos,2005-01-14T00:00:00,30,40\nc,Venus,2004-06-14T00:00:00,,\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    place = tmp_path_factory.mktemp("epn") / "site"
    run_hven("init", place)
    directory = place / "collections" / "omega"
    directory.mkdir()
    (directory / "omega.yaml").write_text(DESCRIPTOR)
    (directory / "cubes.csv").write_text(ROWS)
    run_hven("--site", place, "ingest", "omega")
    return place


def uids(text):
    return "".join(sorted(row["granule_uid"] for row in csv.DictReader(io.StringIO(text))))


def test_over_a_site(site, tmp_path):
    done = run_hven("--site", site, "query", "--epn", "target_name=Mars time=2004", "-f", "csv")
    assert uids(done.stdout) == "a"
    assert "rows without a known target_name, time are left out" in done.stderr
    assert uids(run_hven("--site", site, "query", "--epn", "c1=0/35", "--unknown", "-f", "csv").stdout) == "abc"
    shown = run_hven("--site", site, "query", "--epn", "c1=0/5", "--show").stdout
    assert shown.startswith("SELECT * FROM omega.epn_core WHERE")
    assert uids(run_hven("--site", site, "query", shown, "-f", "csv").stdout) == "a"
    run_hven("--site", site, "query", "--epn", "time=2004", "-o", tmp_path / "found.vot")
    assert b"time.start;obs" in (tmp_path / "found.vot").read_bytes()


def test_faults_are_told_with_their_place(site):
    wrong = run_hven("--site", site, "query", "--epn", "target_name=Mars tiem=2004", expected_code=1)
    assert "line 1, column 18: there is no parameter 'tiem'; did you mean time" in wrong.stderr
    assert "give a query in ADQL, or parameters" in run_hven("--site", site, "query", expected_code=2).stderr
    assert "need --epn" in run_hven("--site", site, "query", "SELECT 1", "--unknown", expected_code=2).stderr
    assert (
        "no table 'omega.cubes'"
        in run_hven("--site", site, "query", "--epn", "time=2004", "--table", "omega.cubes", expected_code=1).stderr
    )


def test_over_a_service_elsewhere(site, tmp_path):
    with serve_site(site) as server:
        url = f"http://127.0.0.1:{server.port}/tap"
        done = run_hven("query", "--url", url, "--epn", "target_name=Mars c1=0/35", "-f", "csv", cwd=tmp_path)
        assert uids(done.stdout) == "ab"
        assert (
            "cut off after 1 rows"
            in run_hven(
                "query",
                "--url",
                url,
                "SELECT granule_uid FROM omega.epn_core",
                "--maxrec",
                "1",
                "-f",
                "csv",
                cwd=tmp_path,
            ).stderr
        )
        wrong = run_hven("query", "--url", url, "SELECT nothing FROM omega.epn_core", cwd=tmp_path, expected_code=1)
        assert "nothing" in wrong.stderr
        assert "/tap/sync" in wrong.stderr
        away = run_hven(
            "query", "--url", url.replace("/tap", "/nowhere"), "--epn", "time=2004", cwd=tmp_path, expected_code=1
        )
        assert "address of a TAP service" in away.stderr


def test_an_answer_says_as_much_as_the_services_own(site, tmp_path):
    """Frames, groups and where the rows come from (Data Origin) are in what a shell writes, from here and from elsewhere."""
    text, file = "SELECT granule_uid, time_min, time_max FROM omega.epn_core", tmp_path / "answer.vot"

    def list_described_items(document):
        keep = [
            item
            for item in re.findall(r"<(?:INFO|TIMESYS|GROUP|FIELDref|FIELD)[^>]*>", document)
            if "data_service" not in item
        ]
        return sorted(item for item in keep if not re.search('name="(server_|request|standardID|service_)', item))

    with serve_site(site) as server:
        url = f"http://127.0.0.1:{server.port}/tap"
        form = urllib.parse.urlencode({"LANG": "ADQL", "QUERY": text, "RESPONSEFORMAT": "votable/td"}).encode()
        with urllib.request.urlopen(f"{url}/sync", form, timeout=60) as answer:
            wanted = list_described_items(answer.read().decode())
        assert {"TIMESYS", "GROUP"} <= {re.match(r"<(\w+)", item)[1] for item in wanted}
        assert any("CC-BY-4.0" in item for item in wanted)
        for words in (["--site", site], ["--url", url]):
            run_hven("query", *words, text, "-f", "votable/td", "-o", file, cwd=tmp_path)
            assert list_described_items(file.read_text()) == wanted
