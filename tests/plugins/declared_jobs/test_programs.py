"""Programs as jobs: real processes - what they get, what they leave, what they may use, how they die."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobRequester, JobService
from hven.model.errors import ParamError, UnauthenticatedError
from hven.model.params import Param, RequestParams, UploadedFile, collect_params
from hven.model.types import INT32
from hven.plugins.declared_jobs.program_runner import ProgramRunner
from hven.site import Site
from hven.site.auth import Principal
from hven.site.store import JobRecord
from hven.testing.site import open_tiny_site
from job_programs import ECHO_PROGRAM, write_job_type
from process_runner import assert_takes_less, wait_until

HERE = JobRequester(principal=Principal(), address="192.0.2.1")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}) as made:
        yield made


Run = Callable[..., tuple[JobRecord, dict[str, bytes]]]


def ran(
    site: Site, kind: str, *pairs: tuple[str, str], files: dict[str, bytes] | None = None
) -> tuple[JobRecord, dict[str, bytes]]:
    """Make a job, run it, give it and its results."""
    desk = JobService(site, kind)
    given = collect_params([*pairs, ("PHASE", "RUN")])
    parts = {
        name: UploadedFile(name=name, file=io.BytesIO(body), size=len(body)) for name, body in (files or {}).items()
    }
    job = desk.create_job(RequestParams(given.values, parts), HERE)
    assert run_next_job(site)
    job = site.store.jobs.get_job(job.id)
    return job, {item["id"]: desk.find_result_file(job, item["id"])[0].read_bytes() for item in job.results}


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


# --- what a program gets -------------------------------------------------------------------------------------


def test_arguments_directory_environment_and_limits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HVEN_TEST_KEY", "k-17")
    monkeypatch.setenv("SECRET_OF_THE_SERVICE", "hidden")
    write_job_type(
        site.settings.directory,
        "echo",
        'title: Echo\ncommand: [./echo.py, "{A}", [--b, "{B}"], "-c={C}", plain, [--none, "{D}"]]\n'
        "params: {A: {required: true, many: true}, B: {type: int32}, C: {default: '7'}, D: }\n"
        "environment: {KEY: $HVEN_TEST_KEY, MODE: fast}\nlimits: {memory: 1 GiB, cpu: 20, disk: 10 MiB}\n",
        echo_py=ECHO_PROGRAM,
    )
    job, results = ran(site, "echo", ("A", "x y; rm -rf / `id` $(id) *"), ("a", "é'\""), ("B", "-5"), ("OTHER", "1"))
    assert job.phase == "COMPLETED", job.error
    told = json.loads(results["stdout"])
    assert told["argv"] == ["x y; rm -rf / `id` $(id) *", "é'\"", "--b", "-5", "-c=7", "plain"]
    place = site.settings.var_directory / "jobs" / job.id
    assert told["cwd"] == str(place / "run-1")
    assert told["environment"] == {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": told["cwd"], "TMPDIR": told["cwd"], "KEY": "***", "MODE": "fast",
    }  # fmt: skip
    assert told["limits"] == [20, 1 << 30, 10 << 20]
    assert (told["stdin"], told["session"]) == ("", True)
    assert [path.name for path in place.iterdir()] == ["stdout-1.txt"]  # its directory has gone


def test_a_file_of_the_request_and_files_as_results(site: Site) -> None:
    write_job_type(
        site.settings.directory,
        "turn",
        "title: Turn\ncommand: [./turn.py, '{IMAGE}']\nparams: {IMAGE: {file: true, required: true}}\n"
        "results: {turned: {file: out/turned.fits, type: application/fits}, log: {file: log.txt, type: text/plain, optional: true}}\n",
        turn_py="import os, sys\nos.mkdir('out')\nopen('out/turned.fits', 'wb').write(open(sys.argv[1], 'rb').read()[::-1])\n",
    )
    body = bytes(range(256)) * 4000
    job, results = ran(site, "turn", files={"IMAGE": body})
    assert job.phase == "COMPLETED", job.error
    assert results == {"turned": body[::-1]}
    assert [(item["id"], item["media_type"], item["bytes"]) for item in job.results] == [
        ("turned", "application/fits", len(body))
    ]
    with pytest.raises(ParamError, match="the file IMAGE is missing"):
        JobService(site, "turn").create_job(collect_params([("PHASE", "RUN")]), HERE)


def test_a_result_that_is_a_link_to_elsewhere_is_no_result(site: Site) -> None:
    write_job_type(
        site.settings.directory,
        "link",
        "title: Link\ncommand: [./link.py]\nresults: {out: {file: out.txt, type: text/plain}, far: {file: d/passwd, type: text/plain}}\n",
        link_py="import os\nos.symlink('/etc/passwd', 'out.txt')\nos.symlink('/etc', 'd')\n",
    )
    job, results = ran(site, "link")
    assert job.phase == "ERROR"
    assert "did not write the file out.txt" in str(job.error)
    assert results == {}


# --- how it ends ---------------------------------------------------------------------------------------------


def test_a_failure_tells_its_last_words_and_keeps_all_of_them(site: Site) -> None:
    script = "import sys\nprint('half way')\nfor n in range(5000): print('line', n, file=sys.stderr)\nsys.exit('no flux in <band> & more')\n"
    write_job_type(site.settings.directory, "fail", "title: Fail\ncommand: [./fail.py]\n", fail_py=script)
    job, results = ran(site, "fail")
    assert job.phase == "ERROR"
    assert job.error is not None
    assert job.error["message"].startswith("the program ended with exit code 1; its last output was: ")
    assert "no flux in <band> & more" in job.error["message"]
    assert len(job.error["message"]) < 2500
    assert results["stdout"] == b"half way\n"
    assert results["stderr"].count(b"\n") == 5001


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("x = bytearray(1 << 30)\n", "MemoryError"),
        ("while True: pass\n", "signal 9|signal 24"),
        ("f = open('big', 'wb')\nfor _ in range(99): f.write(bytes(1 << 20)); f.flush()\n", "File too large|signal 25|limits.disk"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "stopped by signal 11"),
    ],
)  # fmt: skip
def test_limits_hold(site: Site, script: str, said: str) -> None:
    import re

    text = "title: Greedy\ncommand: [./greedy.py]\nlimits: {memory: 300 MiB, cpu: 1, disk: 4 MiB}\n"
    write_job_type(site.settings.directory, "greedy", text, greedy_py=script)
    job, _ = ran(site, "greedy")
    assert job.phase == "ERROR"
    assert re.search(said, str(job.error)), job.error


def test_a_program_that_is_not_there_any_more(site: Site) -> None:
    path = write_job_type(site.settings.directory, "gone", "title: Gone\ncommand: [./gone.py]\n", gone_py="print(1)\n")
    job = JobService(site, "gone").create_job(collect_params([("PHASE", "RUN")]), HERE)
    (path.parent / "gone.py").unlink()
    assert run_next_job(site)
    found = site.store.jobs.get_job(job.id)
    assert found.phase == "ERROR"
    assert "127" in str(found.error) or "does not exist" in str(found.error)


FAMILY = """import os, subprocess, sys, time
subprocess.Popen(["sleep", "300"])
subprocess.Popen(["sleep", "300"], start_new_session=True)  # it leaves the group, and its parent
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open("ready", "w").write(str(os.getpid()))
        time.sleep(300)
    os._exit(0)
print("progress: 40 %", flush=True)
time.sleep({pause})
"""


def sleepers(place: str) -> list[int]:
    """Give the processes whose directory is (or was) that one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str((entry / "cwd").readlink()).removesuffix(" (deleted)").startswith(place) and alive(
                    int(entry.name)
                ):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.fixture
def running(site: Site) -> Iterator[Any]:
    threads: list[threading.Thread] = []
    stop = threading.Event()

    def begin(pause: float = 300) -> tuple[JobRecord, str]:
        write_job_type(
            site.settings.directory,
            "family",
            "title: Family\ncommand: [./family.py]\n",
            family_py=FAMILY.format(pause=pause),
        )
        job = JobService(site, "family").create_job(collect_params([("PHASE", "RUN")]), HERE)
        threads.append(threading.Thread(target=lambda: run_next_job(site, stop_event=stop)))
        threads[-1].start()
        place = str(site.settings.var_directory / "jobs" / job.id / "run-1")
        wait_until(lambda: pause < 1 or (len(sleepers(place)) >= 5 and (Path(place) / "ready").exists()))
        return job, place

    begin.stop = stop  # type: ignore[attr-defined]
    begin.join = lambda: threads[-1].join(60)  # type: ignore[attr-defined]
    yield begin
    stop.set()
    for thread in threads:
        thread.join(60)


def test_progress_is_told_while_it_runs(site: Site, running: Any) -> None:
    job, _ = running()
    wait_until(lambda: site.store.jobs.get_job(job.id).progress.get("share") == 0.4)
    JobService(site, "family").run_or_abort_job(site.store.jobs.get_job(job.id), "ABORT")
    running.join()


def test_abort_kills_everything_that_came_of_it_within_a_second(site: Site, running: Any) -> None:
    def measure_abort() -> float:
        job, place = running()
        JobService(site, "family").run_or_abort_job(site.store.jobs.get_job(job.id), "ABORT")
        seconds = wait_until(lambda: not sleepers(place))
        running.join()
        assert site.store.jobs.get_job(job.id).phase == "ABORTED"
        assert not Path(place).exists()
        return seconds

    assert_takes_less(measure_abort, 1, attempts=20)


def test_destroying_does_so_too(site: Site, running: Any) -> None:
    def measure_destruction() -> float:
        job, place = running()
        JobService(site, "family").destroy_job(site.store.jobs.get_job(job.id))
        seconds = wait_until(lambda: not sleepers(place))
        running.join()
        assert not (site.settings.var_directory / "jobs" / job.id).exists()
        return seconds

    assert_takes_less(measure_destruction, 1, attempts=20)


def test_the_time_limit_does_so_too(site: Site, running: Any) -> None:
    job, place = running()
    JobService(site, "family").change_job(site.store.jobs.get_job(job.id), collect_params([("EXECUTIONDURATION", "1")]))
    wait_until(lambda: not sleepers(place))
    running.join()
    found = site.store.jobs.get_job(job.id)
    assert found.phase == "ABORTED"
    assert "its time limit" in str(found.error)


def test_what_a_program_leaves_behind_dies_at_its_end(site: Site, running: Any) -> None:
    job, place = running(0.3)
    running.join()
    assert site.store.jobs.get_job(job.id).phase == "COMPLETED"
    assert sleepers(place) == []


def test_a_worker_that_goes_home_puts_the_job_back(site: Site, running: Any) -> None:
    job, place = running()
    running.stop.set()
    running.join()
    assert sleepers(place) == []
    found = site.store.jobs.get_job(job.id)
    assert (found.phase, found.attempts) == ("QUEUED", 0)


# --- who may, how many ---------------------------------------------------------------------------------------


def test_quotas_of_a_type(site: Site) -> None:
    write_job_type(
        site.settings.directory,
        "echo",
        "title: E\ncommand: [./echo.py]\nlimits: {running: 1, waiting: 2, seconds: 7}\n",
        echo_py=ECHO_PROGRAM,
    )
    desk = JobService(site, "echo")
    made = [desk.create_job(collect_params([("PHASE", "RUN")]), HERE) for _ in range(3)]
    assert [site.store.jobs.get_job(job.id).phase for job in made] == ["QUEUED", "QUEUED", "HELD"]
    assert [job.duration for job in made] == [7, 7, 7]
    assert desk.create_job(collect_params([("EXECUTIONDURATION", "100")]), HERE).duration == 7
    other = JobService(site, "tap").create_job(collect_params([("PHASE", "RUN"), ("QUERY", "SELECT 1 AS a")]), HERE)
    assert site.store.jobs.get_job(other.id).phase == "QUEUED"
    first = site.store.jobs.claim_job({"echo": 1})
    assert first is not None
    assert first.type == "echo"
    second = site.store.jobs.claim_job({"echo": 1})
    assert second is not None
    assert second.id == other.id  # the next of the other type: one of this type runs already
    assert site.store.jobs.claim_job({"echo": 1}) is None
    site.store.jobs.finish_job_and_notify_owner(first, "COMPLETED")
    assert site.store.jobs.claim_job({"echo": 1}).id == made[1].id  # type: ignore[union-attr]


def test_a_private_type_is_for_those_who_are_logged_in(site: Site) -> None:
    write_job_type(
        site.settings.directory, "echo", "title: E\naccess: private\ncommand: [./echo.py]\n", echo_py=ECHO_PROGRAM
    )
    with pytest.raises(UnauthenticatedError, match="only users with an account"):
        JobService(site, "echo").create_job(collect_params([]), HERE)
    assert (
        JobService(site, "echo")
        .create_job(collect_params([]), JobRequester(principal=Principal(name="tycho"), address=""))
        .owner
        == "tycho"
    )


# --- arguments -----------------------------------------------------------------------------------------------

PROGRAM = ProgramRunner(
    argv=("/p", "{FREE}", ("--n", "{NUMBER}"), "--free={FREE}"),
    params=(Param(name="FREE"), Param(name="NUMBER", type=INT32)),
)


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=40))
@settings(max_examples=200)
def test_a_value_is_one_argument_whatever_it_holds(text: str) -> None:
    asked = collect_params([("FREE", text)])
    if text.startswith("-"):
        with pytest.raises(ParamError, match="would treat it as an option"):
            PROGRAM.build_arguments(asked, {})
    else:
        assert PROGRAM.build_arguments(asked, {}) == ["/p", text, f"--free={text}"]


def test_holes_in_values_stay_what_they_are() -> None:
    assert PROGRAM.build_arguments(collect_params([("FREE", "{NUMBER}"), ("NUMBER", "-3")]), {}) == [
        "/p",
        "{NUMBER}",
        "--n",
        "-3",
        "--free={NUMBER}",
    ]


@pytest.mark.parametrize("value", ["a\0b", "x" * 200_000])
def test_what_no_argument_can_be(value: str) -> None:
    with pytest.raises(ParamError, match="the program cannot take the value of"):
        PROGRAM.build_arguments(collect_params([("FREE", value)]), {})
