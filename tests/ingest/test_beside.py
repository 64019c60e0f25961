"""Curators' Python in a process of its own: whatever it does, the ingest tells it in words, with the row, and what is published stays."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.errors import DataError, DescriptorError, SourceError, UserError
from hven.model.settings import DescriptorPythonLimits
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.sources import curator_process
from hven.sources.curator_process import CuratorCodeError, CuratorProcess, find_first_failing_row
from hven.testing.site import open_site_with_uningested_files
from process_runner import wait_until

MEMORY = 512 * 1024**2
# loops for ever, and says so before: only then its time begins, however long the machine took to come there
LOOP = "open(os.path.join(os.path.dirname(__file__), 'looping'), 'a').write('x')\n        while True: pass"
TEXT = """
collection: c
title: C
functions: f.py
tables:
  main:
    source: {kind: csv, files: d.csv}
    primary: [id]
    sync: {}
    columns: {id: int64, x: float64}
    map: {x: f(v)}
"""
ROWS = "id,v\n" + "".join(f"{n},{n}.5\n" for n in range(1, 21))
GOOD = 'import pyarrow.compute as pc\n\ndef f(v) -> "float64":\n    return pc.multiply(v, 2.0)\n'
AT = "    if 17.5 in v.to_pylist():\n"  # of row 17
BAD = {  # what the function does at a row, and how it is told
    "raise": ("        1 / 0\n", ["ZeroDivisionError: division by zero (f.py:6)", "in row 17 of d.csv, with 17.5"]),
    "exit": ("        os._exit(3)\n", ["the Python code ended its process with exit code 3", "in row 17"]),
    "leave": ("        sys.exit('enough')\n", ["SystemExit: enough", "in row 17"]),
    "loop": (f"        {LOOP}\n", ["the Python code gave no response within 2 s and was stopped (limit: python.seconds in hven.toml)", "in row 17"]),
    "segfault": ("        ctypes.string_at(0)\n", ["the process ended with SIGSEGV: compiled code failed", "in row 17"]),
    "killed": ("        os.kill(os.getpid(), 9)\n", ["the process ended with SIGKILL", "in row 17"]),
    "bomb": ("        [bytearray(2**26) for _ in range(1000)]\n", ["the Python code needed more than 536,870,912 bytes of memory (limit: python.memory in hven.toml)", "in row 17"]),
    "array": ("        __import__('numpy').ones(2**28)\n", ["the Python code needed more than 536,870,912 bytes of memory", "in row 17"]),
    "list": ("        return [1.0] * len(v)\n", ["the function 'f' returned the type 'list', not an Arrow array"]),
    "short": ("        return v[1:]\n", ["the function 'f' returned 19 values for 20 rows"]),
}  # fmt: skip


@pytest.fixture
def loops(monkeypatch):
    """Let the time of an answer begin when the code loops; gives what names the directory that it loops in."""
    answer, known, where = CuratorProcess.receive_answer, [0], []

    def answer_of_loop(self, seconds):
        def loops_since():
            return sum(path.stat().st_size for path in where[0].glob("looping")) - known[0]

        if where:
            wait_until(lambda: loops_since() or self._channel.closed or self._channel.poll(0), 300)
        try:
            return answer(self, seconds)
        except CuratorCodeError as failure:
            if not failure.was_answered:  # it was stopped: the next loop is another one
                known[0] += loops_since()
            raise

    monkeypatch.setattr(CuratorProcess, "receive_answer", answer_of_loop)
    return where.append


def code(what: str) -> str:
    return f'import ctypes, os, sys, time\nimport pyarrow as pa\n\ndef f(v) -> "float64":\n{AT}{what}    return v\n'


def values(site):
    with query.run_query("SELECT COUNT(*) AS n, SUM(x) AS s FROM c.main", OWNER_PRINCIPAL, site=site) as result:
        return result.read_table().to_pylist()[0]


@pytest.fixture(
    scope="module", params=[60.0]
)  # what takes its time on a busy machine is no fault; where time is tried it is short
def home(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("beside")
    with open_site_with_uningested_files(
        directory,
        TEXT,
        {"d.csv": ROWS, "f.py": GOOD},
        python=DescriptorPythonLimits(seconds=request.param, memory=MEMORY),
    ) as site:
        ingest_collection(site, "c")
        yield site, directory / "collections/c/f.py"


@pytest.mark.parametrize(
    ("home", "what"), [(2.0 if "within 2 s" in BAD[what][1][0] else 60.0, what) for what in BAD], indirect=["home"]
)
def test_whatever_a_function_does_is_told_with_its_row(home, what, loops):
    site, file = home
    loops(file.parent)
    file.write_text(code(BAD[what][0]))
    with pytest.raises(DataError) as caught:
        (ingest_collection if len(what) % 2 else sync_collection)(site, "c")
    for words in BAD[what][1]:
        assert words in str(caught.value)
    assert str(caught.value).startswith("collections/c/c.yaml:") or "c.yaml" in str(caught.value)
    assert values(site) == {"n": 20, "s": sum(2 * (n + 0.5) for n in range(1, 21))}, "what is published stays"


def test_a_sync_calls_the_function_for_what_is_new(home):
    site, file = home
    file.write_text(GOOD)
    sync_collection(site, "c")
    data = file.with_name("d.csv")
    data.write_text(ROWS + "21,0.25\n")
    assert sync_collection(site, "c").changes["c.main"].mapped == 1
    assert values(site)["n"] == 21
    data.write_text(ROWS)
    sync_collection(site, "c", accept_changes=True)


@pytest.mark.parametrize("apart", [False, True], ids=["child", "with a session of its own"])
def test_nothing_is_left_running(tmp_path, apart):
    (tmp_path / "f.py").write_text(
        "import os, subprocess, sys\nimport pyarrow as pa\n\ndef f():\n"
        f"    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1e6)'], start_new_session={apart})\n    return pa.array([os.getpid(), child.pid])\n"
    )
    python = CuratorProcess()
    pids = python.call_function(tmp_path / "f.py", "f", []).to_pylist()
    assert os.getpid() not in pids
    ends = [os.pidfd_open(pid) for pid in pids]
    python.stop_process()
    for end in ends:
        assert select.select([end], [], [], 60.0)[0], "what it had started is gone, too"
        os.close(end)


def test_nothing_of_the_servers_environment_is_seen_but_where_things_are(tmp_path, monkeypatch):
    for name in ("HVEN_NAME", "OPS_DB", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "MYPATH"):
        monkeypatch.setenv(name, "a secret")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    (tmp_path / "f.py").write_text(
        "import os, pyarrow as pa\n\ndef f():\n    return pa.array([f'{k}={v}' for k, v in os.environ.items()])\n"
    )
    python = CuratorProcess(DescriptorPythonLimits(environment={"CDF_LIB": "/opt/cdf"}))
    seen = python.call_function(tmp_path / "f.py", "f", []).to_pylist()
    python.stop_process()
    assert {"TZ=UTC", "OMP_NUM_THREADS=2", "CDF_LIB=/opt/cdf", f"PATH={os.environ['PATH']}"} <= {*seen}
    assert not [one for one in seen if "a secret" in one]


def test_code_that_closes_the_way_to_its_process_is_stopped(tmp_path):
    (tmp_path / "f.py").write_text("import os, time\n\ndef f():\n    os.closerange(3, 1 << 20)\n    time.sleep(1e6)\n")
    with pytest.raises(
        CuratorCodeError, match="the Python code closed its connection to Hven, so Hven stopped the process"
    ):
        CuratorProcess().call_function(tmp_path / "f.py", "f", [])


def test_one_process_is_asked_many_times_and_begun_anew_after_its_end(tmp_path):
    (tmp_path / "f.py").write_text(
        "import os\nimport pyarrow as pa\nx = []\n\ndef f(v):\n    x.append(1)\n    if v[0].as_py(): os.kill(os.getpid(), 15)\n    return pa.array([len(x)])\n"
    )
    python = CuratorProcess()
    asked = [python.call_function(tmp_path / "f.py", "f", [pa.array([0])])[0].as_py() for _ in range(3)]
    assert asked == [1, 2, 3]
    with pytest.raises(CuratorCodeError, match="SIGTERM"):
        python.call_function(tmp_path / "f.py", "f", [pa.array([1])])
    assert python.call_function(tmp_path / "f.py", "f", [pa.array([0])])[0].as_py() == 1
    assert signal.SIGTERM == 15


@pytest.mark.parametrize(("rows", "bad"), [(1, 0), (300, 0), (300, 299), (301, 150), (7, 3)])
def test_the_first_wrong_row_is_found_by_halves(rows, bad):
    asked = []

    def fails(low, high):
        asked.append((low, high))
        return low <= bad < high

    assert find_first_failing_row(fails, rows) == bad
    assert len(asked) <= rows.bit_length() + 1
    assert find_first_failing_row(lambda low, high: (low, high) == (0, rows), rows) == (0 if rows == 1 else None), (
        "only all of them together"
    )


def test_pandas_is_loaded_for_code_that_imports_it_alone(tmp_path):
    """Arrow would load it for the first column that it makes, which took twice the time that a process starts in."""
    (tmp_path / "f.py").write_text("""\
import sys
import pyarrow as pa

def plain(v):
    pa.array(v.to_numpy())
    return pa.array(["pandas" in sys.modules] * len(v))

def late(v):
    import pandas
    return pa.array(pandas.Series(v.to_numpy()))

def frame(v):
    return pa.array([type(v.to_pandas()).__name__] * len(v))
""")
    values = pa.array([1.5, float("nan")])
    apart = CuratorProcess()
    try:
        assert apart.call_function(tmp_path / "f.py", "plain", [values]).to_pylist() == [False, False]
        pytest.importorskip("pandas")
        # Arrow takes NaN of data frames alone for null
        assert apart.call_function(tmp_path / "f.py", "late", [values]).to_pylist() == [1.5, None]
        apart.stop_process()
        assert apart.call_function(tmp_path / "f.py", "frame", [values]).to_pylist() == ["Series", "Series"]
    finally:
        apart.stop_process()


@pytest.mark.parametrize("home", [2.0], indirect=True)
def test_a_file_that_cannot_be_imported_is_told_at_ingest(home, loops):
    site, file = home
    loops(file.parent)
    for text, words in (
        ("import nothing_of_that_name\n" + GOOD, "f.py cannot be imported: ModuleNotFoundError"),
        (
            GOOD + "\nimport os\nos._exit(5)\n",
            "f.py cannot be imported: the Python code ended its process with exit code 5",
        ),
        (
            GOOD + f"\nimport os\nif True:\n        {LOOP}\n",
            "f.py cannot be imported: the Python code gave no response within 2 s",
        ),
        (GOOD + "\ndel f\n", "f.py has no function 'f'"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=words.replace(".", r"\.")):
            ingest_collection(site, "c")
    file.write_text(GOOD)


SOURCE = """
collection: s
title: S
tables:
  main:
    source: {kind: python, file: w.py}
    columns: {id: int64}
"""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("os._exit(0)", r"rows\(\) after 2,500 rows: the Python code ended its process with exit code 0"),
        (LOOP.replace(" " * 8, " " * 4), r"rows\(\) after 2,500 rows: the Python code gave no response within 2 s"),
        ("ctypes.string_at(0)", r"rows\(\) after 2,500 rows: the process ended with SIGSEGV"),
        (
            "[bytearray(2**26) for _ in range(1000)]",
            r"rows\(\) after 2,500 rows: the Python code needed more than 536,870,912 bytes",
        ),
        ("1 / 0", r"w\.py:6: ZeroDivisionError in rows\(\): division by zero"),
        ("sys.exit(1)", r"rows\(\) after 2,500 rows: SystemExit: 1"),
    ],
)
def test_whatever_a_source_does_is_told_with_how_far_it_came(tmp_path, line, words, loops):
    loops(tmp_path / "collections" / "s")
    text = f"import ctypes, os, sys\n\ndef rows():\n    for n in range(2500):\n        yield {{'id': n}}\n    {line}\n    yield {{'id': -1}}\n"
    seconds = 2.0 if "within 2 s" in words else 60.0  # what takes its time on a busy machine is not what is tried here
    with (
        open_site_with_uningested_files(
            tmp_path, SOURCE, {"w.py": text}, python=DescriptorPythonLimits(seconds=seconds, memory=MEMORY)
        ) as site,
        pytest.raises((SourceError, DescriptorError), match=words),
    ):
        ingest_collection(site, "s")


def test_a_slow_source_has_its_time_for_each_row(tmp_path, monkeypatch):
    """The limit is the time without a row, not that of a batch, nor of everything: here it is over behind each row."""
    begin, allowed = CuratorProcess._start_process, tmp_path / "collections" / "s" / "allowed"
    timeouts = []

    class Impatient:
        """The way to the process: the time for an answer is over as soon as a row came."""

        def __init__(self, channel, python):
            self.channel, self.python = channel, python

        def __getattr__(self, name):
            return getattr(self.channel, name)

        def poll(self, _seconds):
            # whoever waits has counted the rows so far: only now the next row may come, or it would be counted with them
            rows = self.python.yielded_row_count
            allowed.write_text("x" * (rows + 1))
            wait_until(lambda: self.python.yielded_row_count > rows or self.channel.poll(0), 300)
            if self.python.yielded_row_count == rows:
                return True
            timeouts.append(rows)
            return False

    def begin_impatiently(python):
        begin(python)
        python._channel = Impatient(python._channel, python)

    monkeypatch.setattr(CuratorProcess, "_start_process", begin_impatiently)
    # there are as many looks without an answer as rows; the first row may be there before anybody waits for it
    text = (
        "import os, time\n\nFILE = os.path.join(os.path.dirname(__file__), 'allowed')\n\ndef rows():\n    for n in range(8):\n"
        "        while n >= os.path.getsize(FILE): time.sleep(0.005)\n        yield {'id': n}\n"
    )
    with open_site_with_uningested_files(
        tmp_path, SOURCE, {"w.py": text, "allowed": ""}, python=DescriptorPythonLimits(seconds=2.0, memory=MEMORY)
    ) as site:
        assert ingest_collection(site, "s").row_count == 8
    assert len(timeouts) >= 7


def test_a_process_that_is_about_to_start_its_program_is_waited_for(monkeypatch):
    command = ["sh", "-c", f"read go; exec env {curator_process.PROCESS_MARK_VARIABLE}=x sleep 1000"]
    with subprocess.Popen(command, env={}, stdin=subprocess.PIPE, start_new_session=True) as late:
        environment = Path(f"/proc/{late.pid}/environ")
        rounds = []

        def start_program(_seconds: float) -> None:
            rounds.append(0)
            if len(rounds) == 2:
                late.stdin.write(b"go\n")
                late.stdin.flush()
                wait_until(lambda: b"=x" in environment.read_bytes())

        ended = subprocess.Popen(["true"], start_new_session=True)
        try:
            with monkeypatch.context() as patched:
                patched.setattr(curator_process, "time", SimpleNamespace(sleep=start_program))
                curator_process._kill_process_and_descendants(ended, multiprocessing.Pipe()[0], "x")
            assert late.wait(60) == -signal.SIGKILL
        finally:
            late.kill()
