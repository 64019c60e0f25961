"""Files that others read for us: a program of hven.toml's, as the how-to has it, and a function beside the descriptor; whatever they do instead of reading."""

from __future__ import annotations

import json
import os
import re
import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from asgi_client import Client
from test_series_files import info, rows

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model import settings
from hven.model.errors import DataError
from hven.site import Site
from hven.sources import file_readers
from process_runner import wait_until
from shared import ROOT

KIND = np.dtype([("time", "M8[us]"), ("flux", "f4", 5)])
DAY = np.datetime64("2020-01-01", "us")
MODES = """\

def misbehave(asked):
    mode, _, only = open(sys.argv[1]).read().partition(" ")
    if not mode or only not in asked["path"]:
        return
    if mode != "hangs" and (asked["columns"] is None) != (mode == "headless"):
        return
    import os, subprocess, time
    whole = read(asked["path"])
    if mode == "hangs":
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        open(sys.argv[1] + ".pids", "w").write(f"{os.getpid()} {child.pid}")
        time.sleep(1000)
    elif mode == "rubbish":
        out.write(b"hello, this is no Arrow\\n")
    elif mode == "numbers":
        out.write(bytes(range(200, 256)))
    elif mode == "dies":
        out.write(pa.ipc.new_stream(pa.BufferOutputStream(), whole.schema) and b"\\xff\\xff\\xff\\xff\\x10")
        out.flush()
        print("Traceback ..", "ValueError: no such record in " + asked["path"], sep="\\n", file=sys.stderr, flush=True)
        os._exit(3)
    elif mode == "killed":
        os.kill(os.getpid(), 9)
    elif mode == "endless":
        with pa.ipc.new_stream(out, whole.schema) as stream:
            while True:
                stream.write_table(whole)
    elif mode == "large":
        table = pa.table({"time": np.zeros(10_000_000)})
        with pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table)
    elif mode == "hungry":
        bytearray(2 << 30)
    elif mode in {"other", "fewer", "false", "headless"}:
        table = whole.select(asked["columns"] or ["time"]).slice(asked["first"], asked["rows"])
        if mode == "other":
            table = table.rename_columns([name.upper() for name in table.column_names])
        if mode == "false":
            kind = table.schema.field(0).type
            table = table.set_column(0, "time", pa.array(["x"] * len(table)).dictionary_encode())
        table = table.slice(0, len(table) - 1) if mode == "fewer" else table
        with pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table)
    elif mode == "environment":
        raise RuntimeError(" ".join(sorted(os.environ)) + " in " + os.getcwd())
    out.flush()
    return True
"""


def program() -> str:
    """Read the program that the how-to shows."""
    page = (ROOT / "src/hven/plugins/series/docs/series-readers.md").read_text(encoding="utf-8")
    (path,) = re.findall(r"\]\((?:\.\./)+(examples/readers/\w+\.py)\)", page)
    return (ROOT / path).read_text(encoding="utf-8")


def spectra(path: Path, day: int, count: int = 300) -> npt.NDArray[Any]:
    found = np.zeros(count, KIND)
    found["time"] = DAY + np.timedelta64(day, "D") + np.arange(count) * np.timedelta64(1, "m")
    found["flux"] = np.random.default_rng(day).normal(size=(count, 5))
    np.save(path, found)
    return found


def write_series_site(
    directory: Path, reader: str = "spectra", more: str = "", *, series: str = "", days: int = 2
) -> Path:
    home = directory / "collections" / "nda"
    (home / "data").mkdir(parents=True)
    text = f"collection: nda\ntitle: Radio\ndescription: Spectra\nlicence_url: https://licence.example\nfiles: data/*\ntables:\n  days:\n    source: {{kind: granules, files: data/*}}\n    follow: true\n    series: {{file: '{{target.path}}', cadence: 1 min, reader: {reader}{series}}}\n"  # fmt: skip
    (home / "nda.yaml").write_text(text)
    (directory / "reader.py").write_text(program().replace("    try:\n", "    if misbehave(asked):\n        continue\n    try:\n", 1).replace("\nlast = table", f"{MODES}\n\nlast = table"))  # fmt: skip
    (directory / "mode").write_text("")
    (directory / "hven.toml").write_text(f'public_url = "https://vo.example"\n[readers.spectra]\ncommand = ["{sys.executable}", "./reader.py", "./mode"]\nmemory = "1 GiB"\nenvironment = {{EXTRA = "1"}}\n{more}')  # fmt: skip
    for day in range(days):
        spectra(home / "data" / f"x_{day}.npy", day)
    return home


def open_client(directory: Path) -> tuple[Site, Client]:
    site = Site(settings.load_settings(directory))
    report = ingest_collection(site, "nda")
    assert report.published, report.error
    return site, Client(create_and_start_application(site))


def format_samples(found: npt.NDArray[Any]) -> list[list[object]]:
    return [[f"{one['time']}Z", *one["flux"].tolist()] for one in found]


def numbers(lines: list[list[str]]) -> list[list[object]]:
    return [[line[0], *(float(np.float32(value)) for value in line[1:])] for line in lines]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Path]]:
    directory = tmp_path_factory.mktemp("readers")
    write_series_site(directory)
    site, client = open_client(directory)
    with site:
        yield client, directory
    file_readers.stop_idle_readers()


def test_samples_are_those_of_the_file(world: tuple[Client, Path]) -> None:
    client, directory = world
    said = info(client)
    assert [(one["name"], one["units"], one.get("description")) for one in said["parameters"][1:]] == [("flux", "Jy", "Flux density")]  # fmt: skip
    assert said["parameters"][1]["bins"] == [{"name": "frequency", "units": "MHz", "centers": np.linspace(10, 80, 5).tolist()}]  # fmt: skip
    assert (said["startDate"], said["stopDate"]) == ("2020-01-01T00:00:00.000000Z", "2020-01-02T05:00:00.000000Z")
    there = [np.load(directory / f"collections/nda/data/x_{day}.npy") for day in range(2)]
    assert numbers(rows(client)) == format_samples(np.concatenate(there))
    some = rows(client, "2020-01-01T04:58Z", "2020-01-02T00:02Z")
    assert numbers(some) == format_samples(np.concatenate([there[0][298:], there[1][:2]]))
    # one process has answered all of it
    assert len(running(directory)) == 1


def running(directory: Path) -> list[int]:
    """List the processes of a directory's readers."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(directory / "reader.py").encode() in words[1:3] and b"-I" not in words[:3]:
            found.append(int(place.parent.name))
    return found


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("rubbish", "the output of the program is not an Arrow stream"),
        ("numbers", "not an Arrow stream"),
        ("dies", "the program ended with exit code 3; its last message: ValueError: no such record in x_1.npy"),
        ("killed", "the program was ended by signal 9: it was killed, probably because it used too much memory"),
        ("endless", "the program returned more rows than the "),
        ("large", "or is larger than 64 MiB"),
        ("hungry", "its last message: MemoryError"),
        ("other", "returned columns that differ from its schema; the first difference is 'time timestamp[us]'"),
        ("false", "returned columns that differ from its schema; the first difference is 'time timestamp[us]'"),
        ("fewer", "should return 300 rows, but returned 299"),
        ("headless", "does not state the number of rows"),
    ],
)
def test_failures_of_a_reader_are_reported_and_no_sample_is_sent(
    world: tuple[Client, Path], mode: str, words: str
) -> None:
    client, directory = world
    (directory / "mode").write_text(f"{mode} x_1")
    try:
        answer = client.get("/hapi/data", dataset="nda_days", start="2020-01-02T00:10Z", stop="2020-01-02T00:20Z")
        assert answer.status >= 500, answer.text
        status = json.loads(answer.body)["status"]
        assert status["code"] == 1500
        assert words in status["message"]
        assert "x_1.npy" in status["message"]
        assert str(directory) not in status["message"]
    finally:
        (directory / "mode").write_text("")
    # another process reads as before, where the fault was one of the process
    assert len(rows(client, "2020-01-02T00:10Z", "2020-01-02T00:20Z")) == 10


def test_a_fault_behind_the_first_samples_cuts_no_line(world: tuple[Client, Path]) -> None:
    client, directory = world
    said = info(client)
    (directory / "mode").write_text("dies x_1")
    answer = client.get("/hapi/data", dataset="nda_days", start=said["startDate"], stop=said["stopDate"])
    (directory / "mode").write_text("")
    assert (answer.status, json.loads(answer.body)["status"]["code"]) == (503, 1500)
    assert "x_1.npy" in answer.text


def test_it_sees_nothing_of_the_server(world: tuple[Client, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    client, directory = world
    file_readers.stop_idle_readers()
    monkeypatch.setenv("HVEN_SECRET_OF_TESTS", "x")
    (directory / "mode").write_text("environment x_1")
    answer = client.get("/hapi/data", dataset="nda_days", start="2020-01-02T00:10Z", stop="2020-01-02T00:20Z")
    (directory / "mode").write_text("")
    found = re.search(r"RuntimeError: (.*) in \S*hven-reader-", json.loads(answer.body)["status"]["message"])
    assert found is not None
    assert set(found[1].split()) - {"LC_CTYPE"} == {"EXTRA", "HOME", "LANG", "PATH", "TMPDIR"}


def test_a_hanging_reader_is_ended_with_its_child_processes(tmp_path: Path) -> None:
    write_series_site(tmp_path, days=1)
    site, _ = open_client(tmp_path)
    site.close()
    text = (tmp_path / "hven.toml").read_text()
    (tmp_path / "hven.toml").write_text(text + "seconds = 6\n")
    (tmp_path / "mode").write_text("hangs x_")
    with Site(settings.load_settings(tmp_path)) as site:
        client = Client(create_and_start_application(site))
        answer = client.get("/hapi/data", dataset="nda_days", start="2020-01-01T00:10Z", stop="2020-01-01T00:20Z")
        assert json.loads(answer.body)["status"]["code"] == 1500
        # the others of the catalog are there, and nobody waits once more
        assert json.loads(client.get("/hapi/catalog").body)["catalog"] == []
        assert "the program gave no response within 6 s, and was stopped" in answer.text
        pids = (tmp_path / "mode.pids").read_text().split() if (tmp_path / "mode.pids").exists() else []
        wait_until(lambda: not any(Path("/proc", pid).exists() for pid in pids))
        wait_until(lambda: len(running(tmp_path)) <= 1)


@pytest.mark.parametrize(
    ("command", "words"),
    [("./lost", "its last message: the program cannot be started: No such file or directory"), ("hven-lost", "there is no program 'hven-lost'")],
)  # fmt: skip
def test_a_program_that_is_not_there_is_told(tmp_path: Path, command: str, words: str) -> None:
    home = write_series_site(tmp_path, days=1)
    open_client(tmp_path)[0].close()
    text = (tmp_path / "hven.toml").read_text()
    (tmp_path / "hven.toml").write_text(re.sub("command = .*", f'command = ["{command}"]', text))
    with Site(settings.load_settings(tmp_path)) as site:
        answer = Client(create_and_start_application(site)).get("/hapi/info", dataset="nda_days")
        assert (answer.status, json.loads(answer.body)["status"]["code"]) == (503, 1500)
        assert words in answer.text
        spectra(home / "data/x_0.npy", 5)
        with pytest.raises(DataError, match=re.escape(words)):
            sync_collection(site, "nda")


def test_many_at_once_and_a_process_of_many_files(world: tuple[Client, Path]) -> None:
    client, directory = world
    expected = format_samples(np.load(directory / "collections/nda/data/x_1.npy"))[:60]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]  # numbers of files that `select` does not know
    file_readers.stop_idle_readers()
    try:
        with ThreadPoolExecutor(6) as threads:
            found = list(threads.map(lambda _: numbers(rows(client, "2020-01-02", "2020-01-02T01:00Z")), range(12)))
    finally:
        for one in held:
            os.close(one)
    assert all(one == expected for one in found)
    assert 1 <= len(running(directory)) <= 2


def test_one_that_nobody_asks_ends(tmp_path: Path) -> None:
    write_series_site(tmp_path, more="idle = 0.1\n", days=1)
    site, client = open_client(tmp_path)
    with site:
        wait_until(lambda: not running(tmp_path))
        assert len(rows(client)) == 300


def test_times_that_run_back_are_put_in_order_and_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    home = write_series_site(tmp_path, days=0)
    text = (home / "nda.yaml").read_text()
    (home / "nda.yaml").write_text(text.replace("    follow", "    max_rejects: 1\n    follow"))
    there = spectra(home / "data/a.npy", 0)
    np.save(home / "data/a.npy", there[::-1])
    (home / "data/b.npy").write_bytes(b"rubbish")
    site = Site(settings.load_settings(tmp_path))
    with site:
        report = ingest_collection(site, "nda")
        table = report.tables["nda.days"]
        assert (table.published, table.rejected) == (1, 1)
        assert (
            "the reader spectra cannot read b.npy"
            in (Path(site.settings.var_directory) / str(table.rejects)).read_text()
            if table.rejects
            else ""
        )
        assert numbers(rows(Client(create_and_start_application(site)))) == format_samples(there)


FUNCTION = """\
import numpy as np


def routine(path):
    print("what it prints is no answer")
    found = np.load(path)
    return {"time": found["time"], "flux": found["flux"] * FACTOR}
"""


def test_a_function_beside_the_descriptor(tmp_path: Path) -> None:
    home = write_series_site(tmp_path, "own.py:routine", series=", variables: {flux: {unit: Jy}}, bins: {flux: {name: frequency, unit: MHz, centers: [1, 2, 3, 4, 5]}}")  # fmt: skip
    (home / "own.py").write_text(FUNCTION.replace("FACTOR", "1"))
    site, client = open_client(tmp_path)
    with site:
        said = info(client)["parameters"][1]
        assert (said["units"], said["bins"][0]["centers"]) == ("Jy", [1.0, 2.0, 3.0, 4.0, 5.0])
        whole = np.load(home / "data/x_0.npy")
        assert numbers(rows(client, stop="2020-01-02")) == format_samples(whole)
        # another function reads other things, of all files
        (home / "own.py").write_text(FUNCTION.replace("FACTOR", "2"))
        spectra(home / "data/x_2.npy", 2)
        assert sync_collection(site, "nda").published
        whole["flux"] *= 2
        assert numbers(rows(client, stop="2020-01-02")) == format_samples(whole)
        assert len(rows(client, "2020-01-03", "2020-01-03T05:00Z")) == 300
        (home / "own.py").write_text(FUNCTION.replace("FACTOR", "len(1)"))
        with pytest.raises(
            DataError, match=r"cannot read x_0.npy: own.py, line 7: TypeError: object of type 'int' has no len"
        ):
            sync_collection(site, "nda")


@pytest.mark.parametrize(
    ("reader", "words"),
    [
        ("spectre", "series.reader: hven.toml has no reader 'spectre'"),
        ("lost.py", "series.reader: there is no file lost.py beside the descriptor"),
        ("own.py:routin", "series.reader: own.py has no function 'routin'"),
        ("bad.py", "series.reader: "),
    ],
)
def test_check_names_a_reader_that_is_not_there(tmp_path: Path, reader: str, words: str) -> None:
    home = write_series_site(tmp_path, reader, days=1)
    (home / "own.py").write_text(FUNCTION)
    (home / "bad.py").write_text("def read(path:\n")
    faults = [
        one for one in check_descriptor(home / "nda.yaml", settings.load_settings(tmp_path)) if one.severity == "error"
    ]
    assert [one for one in faults if words in one.message], faults
    assert all(one.place.line for one in faults)


def test_a_reader_needs_files(tmp_path: Path) -> None:
    home = write_series_site(tmp_path, days=1)
    text = (home / "nda.yaml").read_text()
    (home / "nda.yaml").write_text(text.replace("file: '{target.path}', ", ""))
    assert any("series.reader: this key is for samples in files, but here the samples are the table's rows" in one.message for one in check_descriptor(home / "nda.yaml", settings.load_settings(tmp_path)))  # fmt: skip
