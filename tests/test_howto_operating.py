"""The how-tos about workbooks, slow queries, heavy users and troubles do what they say."""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
import random
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hven.model.settings import Settings, load_settings
from plugin_needs import require_verb
from process_runner import Server, reserve_port, run_hven, serve_site, wait_until, write_shell_program
from requirements import require
from shared import ROOT

pytestmark = pytest.mark.slow

FIELD_COUNT = 50
STAR_COUNT = 20_000
STARS_DESCRIPTOR = """\
collection: stars
title: Stars
tables:
  main:
    primary: [name]
    position: [ra, dec]
    source: {kind: csv, files: stars.csv}
    columns:
      name: {type: string, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      vmag: {type: float64, unit: mag, ucd: phot.mag;em.opt.V, indexed: true}
      field: {type: string}
"""


@dataclass(frozen=True)
class Page:
    """A how-to, by its blocks: (what stands behind the fence, text)."""

    name: str

    def read_text(self) -> str:
        return (ROOT / "docs/howto" / self.name).read_text(encoding="utf-8")

    def find_blocks(self, kind: str) -> list[str]:
        blocks = re.findall(rf"^( *)```{re.escape(kind)}\n(.*?)^ *```", self.read_text(), re.MULTILINE | re.DOTALL)
        assert blocks, f"{self.name} has no block of {kind}"
        return [re.sub(rf"(?m)^{indent}", "", text) for indent, text in blocks]

    def write_files(self, directory: Path) -> None:
        """Write the blocks that say `file=`."""
        for name, text in re.findall(r"^```\w+ file=(\S+)\n(.*?)^```", self.read_text(), re.MULTILINE | re.DOTALL):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text, encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty site, and shells that know `hven` and `python3`."""
    (tmp_path / "bin").mkdir()
    write_shell_program(tmp_path / "bin/hven")
    (tmp_path / "bin/python3").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (tmp_path / "bin/python3").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    run_hven("init", tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def stars(site: Path) -> Path:
    """Give a site with a table of 20,000 stars, without an index of the field."""
    rng = random.Random(1)
    place = site / "collections/stars"
    place.mkdir(parents=True)
    rows = (
        f"S{i:05d},{rng.uniform(0, 360):.5f},{rng.uniform(-90, 90):.5f},{rng.uniform(2, 16):.2f},F{i % FIELD_COUNT}\n"
        for i in range(STAR_COUNT)
    )
    (place / "stars.csv").write_text("name,ra,dec,vmag,field\n" + "".join(rows))
    (place / "stars.yaml").write_text(STARS_DESCRIPTOR)
    run_hven("ingest", "stars", "--site", site)
    return site


def run_shell(directory: Path, text: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_against(server: Server, text: str) -> str:
    assert "127.0.0.1:8080" in text
    return run_shell(server.site, text.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}"))


# --- read Excel --------------------------------------------------------------------------------------------------------


def write_workbook(path: Path, *more: list[object]) -> None:
    import openpyxl

    workbook = openpyxl.Workbook()
    for row in (
        ["plate", "date", "exposure"],
        ["0001", dt.datetime(1931, 2, 1, 21, 30), 30],
        ["0002", dt.datetime(1931, 2, 13), 45.5],
        [None, None, None],
        ["0003", None, None],
        *more,
    ):
        workbook.active.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    workbook.save(path)


def test_a_workbook_is_saved_as_csv_or_read_by_a_function(site: Path) -> None:
    require("openpyxl")
    require_verb("new")
    page = Page("read-excel.md")
    write_workbook(site / "plates.xlsx")
    refused = run_hven("new", "plates", "--from", site / "plates.xlsx", "--site", site, expected_code=1).stderr
    assert "an Excel workbook (.xlsx)" in refused
    assert "save the sheet as CSV UTF-8" in refused
    run_shell(site, page.find_blocks("sh convert")[0])
    assert "0001,1931-02-01 21:30:00,30" in (site / "plates.csv").read_text()
    assert yaml.safe_load((site / "collections/plates/plates.yaml").read_text())["tables"]["main"]["columns"]["plate"]["type"] == "string"  # fmt: skip
    page.write_files(site)
    write_workbook(site / "collections/plates/data/plates.xlsx")
    told = run_shell(site, page.find_blocks("sh publish")[0])
    assert [line.split() for line in told.splitlines() if line.startswith("000")] == [
        ["0001", "1931-02-01T21:30:00", "30"],
        ["0002", "1931-02-13T00:00:00", "45.5"],
        ["0003"],
    ]
    write_workbook(site / "collections/plates/data/plates.xlsx", ["0004", "1931-02-14", 20])
    assert "1 rejected" in run_hven("ingest", "plates", "--site", site).stdout  # text that looks like a date


def test_the_function_skips_empty_lines_and_takes_the_sheet_by_its_number(tmp_path: Path) -> None:
    require("openpyxl")
    Page("read-excel.md").write_files(tmp_path)
    write_workbook(tmp_path / "collections/plates/data/plates.xlsx")
    spec = importlib.util.spec_from_file_location("workbook", tmp_path / "collections/plates/workbook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert [row["plate"] for row in module.rows("data/plates.xlsx")] == ["0001", "0002", "0003"]
    with pytest.raises(IndexError):
        list(module.rows("data/plates.xlsx", sheet=1))


# --- slow queries ------------------------------------------------------------------------------------------------------


def count_rows_read(site: Path, condition: str) -> int:
    told = run_hven("explain", f"SELECT name FROM stars.main WHERE {condition}", "--site", site).stdout
    (count,) = re.findall(r"stars\.main: about ([\d,]+) of 20,000 rows are read", told)
    return int(count.replace(",", ""))


def test_an_index_makes_a_query_fast(stars: Path) -> None:
    page = Page("slow-query.md")
    explain, ingest = page.find_blocks("sh")
    assert run_shell(stars, explain).strip() == page.find_blocks("text scan")[0].strip()
    descriptor = stars / "collections/stars/stars.yaml"
    edited = descriptor.read_text().replace("      field: {type: string}\n", page.find_blocks("yaml")[0])
    assert edited != descriptor.read_text()
    descriptor.write_text(edited)
    assert run_shell(stars, explain).strip() == page.find_blocks("text scan")[0].strip()  # the edit alone does nothing
    assert page.find_blocks("text index")[0].strip() in run_shell(stars, ingest)
    pairs = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", page.read_text(), re.MULTILINE)
    assert len(pairs) == 3
    for slow, fast in pairs:
        assert count_rows_read(stars, slow) == STAR_COUNT, slow
        assert count_rows_read(stars, fast) < STAR_COUNT / 10, fast
    columns = run_hven("query", "-f", "csv", "SELECT column_name FROM TAP_SCHEMA.columns WHERE table_name = 'stars.main' AND indexed = 1", "--site", stars).stdout  # fmt: skip
    assert columns.split()[1:] == ["name", "ra", "dec", "vmag", "field"]


def test_slow_requests_and_heavy_users_are_found_in_the_log(stars: Path) -> None:
    slow, heavy = Page("slow-query.md"), Page("limit-a-user.md")
    slow.write_files(stars)
    heavy.write_files(stars)
    with serve_site(stars) as server:
        answer = server.get("/tap/sync", LANG="ADQL", QUERY="SELECT * FROM stars.main", EXPLAIN="true")
        assert b"estimate: stars.main: about 20,000 of 20,000 rows are read" in answer[2]
        assert server.get("/tap/sync", LANG="ADQL", QUERY="SELECT * FROM stars.main", RESPONSEFORMAT="csv")[0] == 200
        metrics = run_against(server, slow.find_blocks("sh served")[0])
        for name in re.findall(r"`(hven_\w+)", slow.read_text()):
            if name != "hven_query_errors_total":  # no query failed
                assert name in metrics, name
        assert server.get("/tap/sync", LANG="ADQL", QUERY="SELECT nope FROM stars.main")[0] == 400
        assert 'hven_query_errors_total{kind="BindError"} 1' in server.get("/metrics")[2].decode()
        wait_until(lambda: any(line["status"] == 400 for line in server.lines()))
        log = server.site / "access.log"
        log.write_text((server.site / "serve.log").read_text())
    for page, path in ((slow, "slowest.py"), (heavy, "heavy.py")):
        (command,) = page.find_blocks("sh log")
        told = run_shell(stars, command.replace("/var/log/hven/access.log", str(log)))
        assert path in command
        if page is slow:
            assert re.search(r"^\d+ 200 127\.0\.0\.1 /tap/sync LANG=ADQL&QUERY=SELECT", told, re.MULTILINE)
            assert len(told.splitlines()) <= 10
        else:
            assert re.search(r"^127\.0\.0\.1: \d+ requests, \d+ s, [1-9]\d* MB$", told, re.MULTILINE)


def test_kinds_of_errors_that_the_page_names_exist() -> None:
    from hven.site.counters import ERROR_KINDS

    assert set(re.findall(r'kind="(\w+)"', Page("slow-query.md").read_text())) <= set(ERROR_KINDS)


# --- heavy users -------------------------------------------------------------------------------------------------------


def read_setting(settings: Settings, section: str, name: str) -> object:
    """Read a setting of the core, or of a package that adds to the section."""
    brought_parts = [part for key, part in settings.brought.items() if key.partition(":")[0] == section]
    part = next(part for part in (getattr(settings, section), *brought_parts) if hasattr(part, name))
    return getattr(part, name)


def test_limits_of_the_page_are_settings_and_their_defaults_are_told(site: Path) -> None:
    (text,) = Page("limit-a-user.md").find_blocks("toml")
    (site / "hven.toml").write_text("")
    defaults = load_settings(site, {})
    (site / "hven.toml").write_text(text)
    settings = load_settings(site, {})
    assert run_hven("check", "--site", site).stderr == ""
    given = tomllib.loads(text)
    for section, values in given.items():
        for name in values:
            assert read_setting(settings, section, name) != read_setting(defaults, section, name), name
    units = {"MiB": 2**20, "GiB": 2**30}
    told = re.findall(r"^(\w+) = .*\(default ([\d,]+)(?: (\w+))?\)", text, re.MULTILINE)
    assert len(told) == 8
    for name, number, unit in told:
        section = next(section for section, values in given.items() if name in values)
        assert read_setting(defaults, section, name) == int(number.replace(",", "")) * units.get(unit, 1), name


def test_what_users_see_at_a_limit(stars: Path) -> None:
    (stars / "hven.toml").write_text(
        "job_workers = 0\n[limits]\nseconds = 0.2\nmaxrec_default = 3\nmaxrec_hard = 3\nupload = 100\n[jobs]\nqueued = 1\nopen = 2\n"
    )
    query = {"LANG": "ADQL", "QUERY": "SELECT name FROM stars.main", "RESPONSEFORMAT": "votable/td"}
    with serve_site(stars) as server:
        body = server.get("/tap/sync", **query)[2]
        assert body.count(b"<TR>") == 3
        assert b"OVERFLOW" in body
        long = "SELECT COUNT(*) FROM stars.main AS a, stars.main AS b, stars.main AS c WHERE a.vmag + b.vmag < c.vmag"
        assert server.get("/tap/sync", LANG="ADQL", QUERY=long)[0] == 408
        boundary = b"--b\r\nContent-Disposition: form-data; name="
        parts = {
            "LANG": b"ADQL",
            "QUERY": b"SELECT * FROM TAP_UPLOAD.t",
            "UPLOAD": b"t,param:f",
            "f": b"a\n" + b"1\n" * 99,
        }
        form = (
            b"".join(boundary + f'"{name}"\r\n\r\n'.encode() + text + b"\r\n" for name, text in parts.items())
            + b"--b--\r\n"
        )
        assert server.send("POST", "/tap/sync", form, {"Content-Type": "multipart/form-data; boundary=b"})[0] == 413
        jobs = [server.post("/tap/async", PHASE="RUN", **query) for _ in range(3)]
        assert [status for status, _, _ in jobs] == [303, 303, 403]
        phases = [server.get(re.sub(r"^https?://[^/]+", "", headers["location"]) + "/phase")[2] for _, headers, _ in jobs[:2]]  # fmt: skip
        assert phases == [b"QUEUED", b"HELD"]


def test_an_account_loses_its_tokens(site: Path) -> None:
    run_hven("user", "add", "anna", "--site", site)
    run_hven("token", "add", "anna", "--scope", "read", "--for", "a script", "--site", site)
    page = Page("limit-a-user.md")
    assert "none" in run_shell(site, page.find_blocks("sh")[0])  # no tables
    assert "a script" in run_shell(site, page.find_blocks("sh account")[0])
    assert "a script" not in run_hven("token", "list", "anna", "--site", site).stdout


# --- troubles ----------------------------------------------------------------------------------------------------------


def read_messages() -> list[str]:
    """Give the messages of a server that does not start, as the page quotes them."""
    section = Page("troubleshoot.md").read_text().partition("## The server does not start")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def test_first_commands_and_the_health_of_a_site(stars: Path) -> None:
    page = Page("troubleshoot.md")
    told = run_shell(stars, page.find_blocks("sh")[0])
    assert "1 descriptor: 0 errors" in told
    assert "stars.main" in told
    assert "COMPLETED" in told
    with serve_site(stars) as server:
        assert '"status":"ok"' in run_against(server, page.find_blocks("sh served")[0])


def test_a_server_that_does_not_start_says_why(site: Path) -> None:
    taken, unknown, _ = read_messages()
    with socket.socket() as other:
        port = reserve_port()
        other.bind(("127.0.0.1", port))
        other.listen()
        told = run_hven("serve", "--port", port, "--site", site, expected_code=2, in_subprocess=True).stderr
    assert taken.replace("8080", str(port)) in told
    (site / "hven.toml").write_text("\n" * 27 + "ports = 1\n")
    assert unknown in run_hven("serve", "--site", site, expected_code=1, in_subprocess=True).stderr
    assert (
        unknown
        in run_hven("check", "--site", site, expected_code=1).stderr
        + run_hven("check", "--site", site, expected_code=1).stdout
    )


def test_a_fault_in_a_descriptor_leaves_the_last_good_version(stars: Path) -> None:
    path = stars / "collections/stars/stars.yaml"
    with serve_site(stars) as server:
        text = path.read_text()
        path.write_text(text.replace("title: Stars", "title: Bright stars"))
        wait_until(lambda: b"Bright stars" in server.get("/collections/stars")[2])
        path.write_text(text.replace("title: Stars", "titel: Faint stars"))
        assert "titel" in run_hven("check", "stars", "--site", stars, expected_code=1).stdout
        wait_until(lambda: b'"descriptors","state":"warning"' in server.get("/health/ready")[2])
        assert b"Bright stars" in server.get("/collections/stars")[2]


def test_a_setting_that_waits_for_a_restart_is_named_and_an_address_does_not(stars: Path) -> None:
    with serve_site(stars) as server:
        (stars / "hven.toml").write_text('job_workers = 2\npublic_url = "https://vo.example.org/hven"\n')
        wait_until(lambda: "restart needed: job_workers" in run_hven("status", "--site", stars).stdout)
        wait_until(lambda: b"https://vo.example.org/hven" in server.get("/tap/capabilities")[2])


def test_rejected_rows_are_kept_with_their_reason(stars: Path) -> None:
    place = stars / "collections/stars"
    (place / "stars.csv").write_text("name,ra,dec,vmag,field\nA,10,20,bright,F1\nB,11,21,3.5,F1\nC,12,22,4.5,F1\n")
    (place / "stars.yaml").write_text(STARS_DESCRIPTOR.replace("csv,", "csv, types: {vmag: float64},"))
    assert "1 rejected" in run_hven("ingest", "stars", "--site", stars).stdout
    (rejects,) = stars.glob("var/rejects/*/*.csv")
    assert rejects.name == "main.csv"
    assert "bright" in rejects.read_text()
