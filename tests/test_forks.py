"""Tests that run in forks are told as those that run in the process which collected them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BEGINNING = "import os, time, warnings, pytest\n"
CONFTEST = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); pytest_plugins = ['failure_log', 'forks']"


def run(place: Path, *words: str, **modules: str) -> tuple[int, str]:
    """Run the tests of some modules in three forks; give the exit code and what pytest told."""
    (place / "conftest.py").write_text(CONFTEST)
    (place / "pytest.ini").write_text("[pytest]\n")
    for name, text in modules.items():
        (place / f"test_{name}.py").write_text(BEGINNING + text)
    command = [sys.executable, "-m", "pytest", "-ra", "--forks", "3", *words]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def test_outcomes_are_those_of_the_tests(tmp_path):
    code, told = run(
        tmp_path,
        good="@pytest.mark.parametrize('n', range(20))\ndef test_number(n): print('said')\n",
        bad="def test_wrong():\n    print('what it said')\n    assert 1 + 1 == 3\n",
        other="def test_left_out(): pytest.skip('a reason')\n@pytest.mark.xfail(strict=True)\ndef test_expected(): assert False\n",
        error="@pytest.fixture\ndef broken(): raise ValueError('broken fixture')\ndef test_over_it(broken): pass\n",
        parts="def test_parts(subtests):\n    for n in range(3):\n        with subtests.test(n=n):\n            assert n != 1\n",
        warned="def test_that_warns(): warnings.warn('mind the gap')\n",
    )
    assert code == 1
    (last,) = re.findall(r"=+ (.*) in [\d.]+s", told)
    assert {"3 failed", "21 passed", "1 skipped", "1 xfailed", "1 error", "1 warning"} <= set(last.split(", ")), told
    for words in ("assert (1 + 1) == 3", "what it said", "a reason", "broken fixture", "(n='1')", "mind the gap"):
        assert words in told


def test_a_failure_is_written_before_the_run_ends(tmp_path):
    failures = tmp_path / ".pytest_cache" / "d" / "failures" / "failures.txt"
    code, told = run(
        tmp_path,
        bad="def test_wrong():\n    assert 1 + 1 == 3\n",
        waits=f"""
from pathlib import Path
def test_that_waits_for_the_line():
    until = time.monotonic() + 120
    while not (words := Path({str(failures)!r}).read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    assert words == "test_bad.py::test_wrong (call): assert (1 + 1) == 3\\n"
""",
    )
    assert code == 1
    assert "1 failed, 1 passed" in told


def test_modules_are_collected_once_and_fixtures_are_those_of_a_worker(tmp_path):
    kept = tmp_path / "kept"
    module = f"""
with open({str(kept)!r}, "a") as file:
    file.write("imported\\n")
@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with open({str(kept)!r}, "a") as file:
        file.write(f"made by {{os.getpid()}} in {{tmp_path_factory.getbasetemp()}}\\n")
    yield
    with open({str(kept)!r}, "a") as file:
        file.write(f"gone by {{os.getpid()}}\\n")
def test_one(place): time.sleep(0.5)
def test_two(place): pass
"""
    code, told = run(tmp_path, one=module, two=module, three=module)
    assert code == 0, told
    lines = kept.read_text().split("\n")
    assert lines.count("imported") == 3
    made = [line.removeprefix("made by ").split(" in ") for line in lines if line.startswith("made")]
    assert len(made) == 3
    assert sorted(line.removeprefix("gone by ") for line in lines if line.startswith("gone")) == sorted(one for one, _ in made)  # fmt: skip
    assert len({one for one, _ in made}) == len({place for _, place in made}) > 1  # a directory for each worker


@pytest.mark.parametrize("how", ["os._exit(7)", "os.kill(os.getpid(), 9)"])
def test_a_worker_that_ends_fails_its_test_and_no_other(tmp_path, how):
    rest = "@pytest.mark.parametrize('n', range(9))\ndef test_number(n): pass\n"
    code, told = run(tmp_path, ends=f"def test_before(): pass\ndef test_end(): {how}\n{rest}", one=rest, two=rest)
    assert code == 1
    assert re.search(r"1 failed, 28 passed", told), told
    assert f"the worker ended in the middle of this test (exit code {7 if '7' in how else -9})" in told


def test_a_worker_that_crashes_tells_what_it_was_doing(tmp_path):
    code, told = run(tmp_path, ends="def test_end(): os.kill(os.getpid(), 11)\n")
    assert code == 1
    assert "the worker ended in the middle of this test (exit code -11)" in told
    assert re.search(r"Segmentation fault[\s\S]*test_ends.py\", line \d+ in test_end", told), told


def test_x_breaks_it_off(tmp_path):
    slow = "def test_slow(): time.sleep(0.3)\n"
    many = "@pytest.mark.parametrize('n', range(1000))\ndef test_number(n): time.sleep(0.1)\n"
    code, told = run(tmp_path, "-x", bad=f"{slow}def test_wrong(): assert False\n", many=many)
    assert code == 1
    assert "stopping after 1 failures" in told


def test_groups_stay_together(tmp_path):
    module = f"@pytest.mark.xdist_group('all')\n@pytest.mark.parametrize('n', range(5))\ndef test_pid(n):\n    open({str(tmp_path)!r} + f'/pid-{{os.getpid()}}', 'a').close()\n"
    code, told = run(tmp_path, one=module, two=module, three=module)
    assert code == 0, told
    assert len(list(tmp_path.glob("pid-*"))) == 1


def test_no_fork_of_a_test_outlives_the_run(tmp_path):
    fork = f"""
def test_fork():
    number = os.fork()
    if not number:
        time.sleep(600)
        os._exit(0)
    open({str(tmp_path / "number")!r}, "w").write(str(number))
"""
    code, told = run(tmp_path, one=fork)
    assert code == 0, told
    assert not Path(f"/proc/{(tmp_path / 'number').read_text()}").exists()


def test_forks_and_xdist_are_not_mixed(tmp_path):
    code, told = run(tmp_path, "-n", "2", one="def test_one(): pass\n")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "take one" in told
