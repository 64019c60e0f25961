"""``hven jobs``: jobs and lists from the shell, here and at a server; Ctrl-C, exit codes, bad input, rights."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from list_sites import SQUARE_PROGRAM, SQUARE_TYPE, write_list_type

from hven.model.errors import HvenError, UsageError
from hven.plugins.fanout import jobs_verb
from hven.plugins.fanout.job_clients import RemoteJobClient
from job_programs import write_job_type
from process_runner import Server, run_hven, serve_site

LIST = """\
title: Squares
rows: {X: {type: float64, required: true}}
steps: {square: {job: square}}
join: square.squares
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("verb") / "site"
    run_hven("init", site)
    square_type = SQUARE_TYPE.replace("environment: {RUN_LOG: $RUN_LOG}\n", "")
    write_job_type(site, "square", square_type, square_py=SQUARE_PROGRAM)
    write_job_type(site, "secret", "title: S\naccess: private\ncommand: [echo, 7]\n")
    write_job_type(site, "slow", "title: Slow\ncommand: [sleep, '600']\n")
    write_list_type(site, "squares", LIST)
    return site


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Server]:
    toml = directory / "hven.toml"
    toml.write_text("job_workers = 2\n" + toml.read_text())
    with serve_site(directory) as made:
        yield made


def run(
    directory: Path, *words: object, code: int = 0, stdin: str = "", cwd: Path | None = None, **environment: str
) -> tuple[str, str]:
    """Run ``hven jobs``; a process of its own is only needed where it forks."""
    in_subprocess = words[0] == "run" and "--url" not in words and "-o" in words
    done = run_hven(
        "--site", directory, "jobs", *words,
        cwd=cwd, stdin=stdin, expected_code=code, in_subprocess=in_subprocess, **environment,
    )  # fmt: skip
    return done.stdout, done.stderr


@pytest.mark.slow
def test_a_job_and_a_list_of_this_site(directory: Path, tmp_path: Path) -> None:
    given = tmp_path / "given.txt"
    given.write_text("abc")
    out, _ = run(directory, "run", "square", "x=2", f"GIVEN=@{given}", "-o", tmp_path / "one")
    assert out == f"{tmp_path}/one/squares.csv\n"
    assert (tmp_path / "one/squares.csv").read_text() == "part,square,given\n0,4,3\n1,4,3\n2,4,3\n"
    rows = tmp_path / "rows.csv"
    rows.write_text("X\n3\n13\n5\n")
    _, err = run(directory, "run", "squares", "--rows", rows, "-o", tmp_path / "list")
    assert "hven: 1 of 3 rows have failed\n" in err
    joined = list(csv.DictReader(io.StringIO((tmp_path / "list/csv.csv").read_text())))
    assert {row["X"] for row in joined} == {"3", "5"}
    # a site named by a relative path: the program runs elsewhere, and finds its file
    run(Path(), "run", "square", "x=2", f"GIVEN=@{given}", "-o", tmp_path / "relative", cwd=directory)
    assert (tmp_path / "relative/squares.csv").read_text().endswith("2,4,3\n")
    assert (tmp_path / "list/parquet.parquet").read_bytes()[:4] == b"PAR1"
    # what failed is told: its output is saved, and the exit code says so
    _, err = run(directory, "run", "square", "X=13", "-o", tmp_path / "bad", code=1)
    assert "13 brings bad luck" in err
    assert "13 brings bad luck" in (tmp_path / "bad/stderr.txt").read_text()
    # no file is overwritten
    _, err = run(directory, "run", "square", "X=2", "-o", tmp_path / "one", code=2)
    assert "already exists" in err
    listed = json.loads(run(directory, "list", "square", "--limit", 2, "--json")[0])
    assert [entry["phase"] for entry in listed] == ["COMPLETED", "ERROR"]
    shown = json.loads(run(directory, "show", listed[1]["job"], "--json")[0])
    assert shown["parameters"] == [{"id": "X", "value": "13"}]
    assert "ERROR" in run(directory, "show", listed[1]["job"])[0]


@pytest.mark.slow
def test_ctrl_c_aborts_the_job(directory: Path, tmp_path: Path) -> None:
    # a shell has its background ignore the signal
    command = ["env", "--default-signal=INT", sys.executable, "-m", "hven"]
    line = [*command, "--site", str(directory), "jobs", "run", "slow"]
    with subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        started = process.stderr.readline()
        assert "started the job slow/" in started
        os.kill(process.pid, signal.SIGINT)
        told = process.stderr.read()
        assert process.wait(60) == 130
    assert "aborted the job slow/" in told
    (job,) = json.loads(run(directory, "list", "slow", "--json")[0])
    assert job["job"] in started
    assert job["phase"] == "ABORTED"
    assert list(tmp_path.iterdir()) == []


def test_jobs_of_a_server(server: Server, directory: Path, tmp_path: Path) -> None:
    there = ("--url", server.url)
    run(directory, "run", "square", "X=1", *there, "-o", tmp_path / "out")
    assert (tmp_path / "out/squares.csv").read_text().startswith("part,square")
    run(directory, "run", "squares", "--rows", "-", *there, "-o", tmp_path / "list", stdin="4\n5\n")
    assert (tmp_path / "list/csv.csv").read_text().count("\n") > 2
    name = run(directory, "run", "slow", "--detach", *there)[0].strip()
    run(directory, "abort", name, *there)
    assert json.loads(run(directory, "show", name, "--json", *there)[0])["phase"] == "ABORTED"
    listed = json.loads(run(directory, "list", "slow", "--json", *there)[0])
    assert name in [entry["job"] for entry in listed]
    # what the server refuses is told
    assert "999" in run(directory, "run", "square", "X=9999", *there, code=1)[1]


def test_rights(server: Server, directory: Path, tmp_path: Path) -> None:
    token = run_hven("--site", directory, "user", "add", "tycho").stdout.strip()
    file = tmp_path / "token.txt"
    file.write_text(f"{token}\n")
    there = ("--url", server.url)
    assert "no job type 'secret'" in run(directory, "run", "secret", *there, code=1)[1]
    name = run(directory, "run", "secret", "--detach", *there, "--token-file", file)[0].strip()
    assert json.loads(run(directory, "show", name, "--json", *there, HVEN_TOKEN=token)[0])["ownerId"] == "tycho"
    _, err = run(directory, "show", name, *there, code=1)
    assert "--token-file" in err
    assert json.loads(run(directory, "list", "secret", "--json", "--as", "tycho")[0])[0]["job"] == name
    assert json.loads(run(directory, "list", "secret", "--json")[0]) == []
    assert "no account" in run(directory, "list", "--as", "nobody", code=1)[1]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run", "sqare"], 1, "there is no job type 'sqare'"),
        (["run", "square", "Y=1"], 2, "no parameter 'Y'"),
        (["run", "square", "5"], 2, "write KEY=VALUE"),
        (["run", "square", "X=1", "GIVEN=@/nowhere"], 2, "no file '/nowhere'"),
        (["run", "square", "X=word"], 1, "X"),
        (["run", "square", "X=1", "--rows", "-"], 2, "is not a list type"),
        (["run", "squares", "--rows", "/nowhere"], 2, "no file '/nowhere'"),
        (["run", "squares", "--rows", "-"], 1, "the list has no rows"),
        (["show", "square"], 2, "write TYPE/ID"),
        (["show", "square/../../x"], 2, "write TYPE/ID"),
        (["abort", "square/nothing"], 1, "nothing"),
        (["list", "--phase", "ASLEEP"], 1, "ASLEEP"),
        (["list", "--token-file", "x"], 2, "--token-file needs --url"),
        (["list", "--url", "http://vo.example.org", "--as", "x"], 2, "--as cannot be combined"),
    ],
)
def test_bad_input(directory: Path, words: list[str], code: int, message: str) -> None:
    assert message in run(directory, *words, code=code)[1]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://vo.example.org", "without encryption"),
        ("ftp://vo.example.org", "is not the address of a site"),
        ("https://me:pw@vo.example.org", "must not contain a user name"),
        ("vo.example.org", "is not the address of a site"),
    ],
)
def test_addresses_that_would_give_away_a_token(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RemoteJobClient(url, "token")


class HostileClient(RemoteJobClient):
    """A client of a server whose results have dangerous names."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")

    def save_result(self, type_name: str, job_id: str, result: Mapping[str, Any], file: BinaryIO) -> None:
        """Write some bytes, or break off."""
        file.write(b"x")
        if result["id"] == "broken":
            raise HvenError("the connection was lost")


def test_names_of_results_stay_in_the_directory(tmp_path: Path) -> None:
    names = ["../../escaped", "/etc/x", ".hidden", "good", "broken"]
    job = {"jobId": "1", "results": [{"id": name, "mime-type": "text/x-unknown"} for name in names]}
    saved = []
    with pytest.raises(HvenError):
        saved += jobs_verb._save_results(HostileClient(), "t", job, tmp_path / "deep")
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["good", "result1", "result2", "result3"]
    assert list(tmp_path.iterdir()) == [tmp_path / "deep"]
