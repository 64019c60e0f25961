"""What differs selects the tests that execute it: a face, a format and a verb theirs; what all tests execute, the first tier."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import coverage_map
import coverage_recorder
import run_report
import tiers
from coverage_map import CoverageMap, Selector, Source, list_changed_functions
from shared import ROOT

START = (
    "import sys; sys.path.insert(0, {tests!r}); import coverage_recorder; coverage_recorder.start_recording(); {rest}"
)
CONE, GEOJSON, SCORE, TIMING = (
    "tests/protocols/test_cone.py",
    "tests/formats/test_geojson.py",
    "tests/cli/test_metadata_score.py",
    "tests/model/test_timing.py",
)


CONFTEST = "import run_records\npytest_configure = run_records.pytest_configure\n"
FIXTURES = """
import time, pytest

def burn(seconds):
    begun = time.process_time()
    while time.process_time() < begun + seconds:
        pass

@pytest.fixture(scope="module")
def inner():
    burn(0.2)

@pytest.fixture(scope="module")
def outer(request):
    request.getfixturevalue("inner")
    burn(0.1)

@pytest.fixture
def own(inner, outer):
    burn(0.01)

def test_first(own):
    pass

def test_second(own):
    pass

def test_third(tmp_path):
    pass
"""


def python(folder: Path, rest: str, **environment: str) -> None:
    """Run Python with the recorder, as the hook of .venv starts it."""
    code = START.format(tests=str(ROOT / "tests"), rest=rest)
    known = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "HVEN_COVERAGE"))}
    known |= {coverage_recorder.FOLDER_VARIABLE: str(folder), **environment}
    known.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run([sys.executable, "-c", code], env=known, cwd=ROOT, capture_output=True, text=True, check=False, timeout=500)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Record the tests of a face, of a format and of a verb, and those of something that all of them use."""
    folder = tmp_path_factory.mktemp("recording") / "maps"
    coverage_recorder.prepare_folder(folder, ROOT)
    words = ["-q", "-p", "no:cacheprovider", "--forks", "2", CONE, GEOJSON, SCORE, TIMING]
    python(folder, f"import pytest; sys.exit(pytest.main({words!r}))")
    return folder


@pytest.fixture(scope="module")
def read_recording(folder):
    return coverage_map.read_recording(folder)


@pytest.mark.parametrize(
    ("path", "test"),
    [
        ("src/hven/services/faces/cone.py", CONE),
        ("src/hven/formats/geojson.py", GEOJSON),
        ("src/hven/app/_cli/metadata_score.py", SCORE),
    ],
)
def test_a_change_selects_its_own_tests(read_recording, path, test):
    selection = Selector(read_recording).select([(path, path, {"a_function_that_is_new"})])
    assert test in selection.tests
    assert TIMING not in selection.tests
    # the other two of the three are not asked, but for a face's: what judges metadata looks at faces, too
    assert {CONE, GEOJSON, SCORE} & selection.tests <= {test, SCORE}


def test_a_plug_in_asks_for_the_contracts_of_the_registry(read_recording):
    selector = Selector(read_recording)
    for path, group in (
        ("src/hven/services/faces/cone.py", "protocols"),
        ("src/hven/formats/geojson.py", "formats"),
        ("src/hven/formats/votable/__init__.py", "formats"),
        ("src/hven/app/_cli/metadata_score.py", None),
    ):
        assert selector.find_plugin_group(path) == group
        tests = selector.select([(path, path, {"a_function_that_is_new"})]).tests
        assert (coverage_map.CONTRACT_TESTS in tests) == (group is not None)


def test_what_all_execute_asks_for_the_first_tier(read_recording):
    selector = Selector(read_recording)
    for path in ("src/hven/model/timing.py", "src/hven/adql/syntax_tree.py", "constraints.txt", "tests/conftest.py"):
        assert any(path in reason for reason in selector.select([(path, path, None)]).whole)
    assert read_recording.sources["src/hven/model/plugins.py"].common


def test_a_function_of_all_tests_asks_for_the_first_tier_and_another_of_its_file_does_not():
    # each of ten modules costs the same
    tests = {f"tests/test_{number}.py": 1.0 for number in range(10)}
    known = CoverageMap(
        "HEAD", {"src/hven/a.py": Source({"start"}, {"tests/test_house.py", "tests/test_docs.py"})}, tests
    )
    selector = Selector(known)
    assert selector.select([("src/hven/a.py", "src/hven/a.py", {"rare"})]).whole == []
    assert selector.select([("src/hven/a.py", "src/hven/a.py", {"rare", "start"})]).whole
    # beside functions: a constant, an import
    assert selector.select([("src/hven/a.py", "src/hven/a.py", None)]).tests == {
        "tests/test_house.py",
        "tests/test_docs.py",
    }


def test_a_selection_that_costs_more_than_half_is_the_first_tier():
    seconds = {"tests/test_house.py": 6.0, "tests/test_docs.py": 4.0}
    known = CoverageMap("HEAD", {"src/hven/a.py": Source(set(), {"tests/test_docs.py"})}, seconds)
    selection = Selector(known).select([("src/hven/a.py", "src/hven/a.py", {"rare"})])
    assert selection.whole == ["the tests that execute it take 100% of the time of all"]


def test_a_new_file_is_tested_by_those_who_import_it():
    importer, new = "src/hven/services/faces/cone.py", "src/hven/services/face.py"
    known = CoverageMap("HEAD", {importer: Source(set(), {CONE})}, {CONE: 1.0, TIMING: 9.0})
    assert CONE in Selector(known).select([(new, new, None)]).tests


def test_tests_helpers_and_data_select_who_uses_them():
    selector = Selector(CoverageMap("HEAD", {}, {}))
    assert selector.select([(CONE, CONE, None)]).tests == {CONE}
    assert "tests/protocols/test_cone.py" not in selector.select([("tests/second_engine.py", "", None)]).tests
    assert "tests/operations/test_held.py" in selector.select([("tests/second_engine.py", "", None)]).tests
    assert selector.select([("tests/formats/conftest.py", "", None)]).tests == {"tests/formats"}
    assert any("clocks" in reason for reason in selector.select([("tests/clocks.py", "", None)]).whole)
    assert "tests/test_howto.py" in selector.select([("docs/howto/extend.md", "", None)]).tests


def test_a_map_is_read_as_it_was_written(read_recording, tmp_path):
    read_recording.write(tmp_path / "coverage.json")
    assert CoverageMap.read(tmp_path / "coverage.json") == read_recording
    assert CoverageMap.read(tmp_path / "nowhere.json") is None


def test_a_map_keeps_what_another_tier_recorded(read_recording):
    path = "src/hven/services/faces/cone.py"
    older = CoverageMap("HEAD", {path: Source(set(), {TIMING, "tests/test_house.py", "tests/gone.py"})}, {"tests/test_house.py": 3.0, "tests/gone.py": 1.0, TIMING: 99.0})  # fmt: skip
    made = CoverageMap(read_recording.commit, {path: Source(set(), {CONE})}, dict(read_recording.seconds))
    made.add_missing(older)
    assert made.sources[path].tests == {CONE, "tests/test_house.py"}
    assert made.seconds == read_recording.seconds | {"tests/test_house.py": 3.0}


def test_dear_tests_are_recorded_and_left_out_of_the_first_tier(tmp_path, monkeypatch):
    coverage_recorder.prepare_folder(tmp_path, ROOT)
    costs = {"test_a[x]": 1.5, "test_a[y]": 0.75, "test_b[x]": 1.5, "test_b[y]": 0.25, "test_c": 0.75, "test_d": 0.25}
    lines = [{"id": f"tests/test_house.py::{name}", "module": "tests/test_house.py", "outcome": "passed", "cpu": cost} for name, cost in costs.items()]  # fmt: skip
    other = {
        "id": "tests/adql/test_bind.py::test_e",
        "module": "tests/adql/test_bind.py",
        "outcome": "passed",
        "cpu": 0.5,
    }
    (tmp_path / "tests-1.jsonl").write_text("\n".join(map(json.dumps, [*lines, other])))
    made = coverage_map.read_recording(tmp_path)
    # by the average of its cases; rules of the house are seen at once though they take longer
    assert made.slow == {"tests/test_house.py::test_a", "tests/adql/test_bind.py::test_e"}
    made.slow.remove("tests/adql/test_bind.py::test_e")
    # what was slow stays until it takes half of the limit; what did not run stays; what is gone goes
    older = {f"tests/test_house.py::{name}" for name in ("test_c", "test_d", "test_elsewhere")} | {
        "tests/gone.py::test"
    }
    made.add_missing(CoverageMap("HEAD", {}, {}, slow=older))
    assert made.slow == {f"tests/test_house.py::{name}" for name in ("test_a", "test_c", "test_elsewhere")}
    made.write(tmp_path / tiers.COVERAGE_PATH.rpartition("/")[2])
    monkeypatch.setattr(tiers, "COVERAGE_PATH", "coverage.json")
    assert tiers.FirstTier(tmp_path).slow == made.slow


def test_a_fixture_counts_for_all_tests_that_use_it():
    def record(name, cpu, *uses, **fixtures):
        return {"id": f"tests/a/test_b.py::{name}", "outcome": "passed", "cpu": cpu, "uses": uses, "fixtures": fixtures}

    tests = [
        record("test_first[1]", 8.1, "site", "tables", site=6.0, tables=2.0),
        record("test_first[2]", 0.1, "site", "tables"),
        record("test_second", 0.3, "site"),
        record("test_third", 0.2, "site", "tables"),
        record("test_alone", 1.5),
        {**record("test_skipped", 0.0, "site"), "outcome": "skipped"},
    ]
    found = coverage_map.compute_means(tests)
    name = "tests/a/test_b.py::test_{}".format
    assert found == pytest.approx({
        name("first"): 0.1 + 6 / 4 + 2 / 3, name("second"): 0.3 + 6 / 4, name("third"): 0.2 + 6 / 4 + 2 / 3, name("alone"): 1.5,
    })  # fmt: skip
    # nothing is lost: of one function there are two cases
    assert sum(test["cpu"] for test in tests) == pytest.approx(sum(found.values()) + found[name("first")])


def test_a_recorded_fixture_has_an_account_of_its_own(tmp_path):
    (tmp_path / "conftest.py").write_text(f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\n" + CONFTEST)
    (tmp_path / "test_x.py").write_text(FIXTURES)
    python(
        tmp_path, f"import os, pytest; os.chdir({str(tmp_path)!r}); sys.exit(pytest.main(['-q', '-c', '/dev/null', '--rootdir', '.', '.']))"
    )  # fmt: skip
    first, second, third = (test for test in run_report.read_tests(tmp_path))
    assert first["uses"] == second["uses"] == ["test_x.py::inner", "test_x.py::outer"]
    tick = 1 / os.sysconf("SC_CLK_TCK")  # seconds: the times of children are known no better
    assert first["fixtures"]["test_x.py::inner"] >= 0.2 - 2 * tick
    assert 0.1 - 2 * tick <= first["fixtures"]["test_x.py::outer"] < 0.2, "without what it asked for itself"
    assert sum(first["fixtures"].values()) <= first["cpu"] + 0.002  # figures are rounded
    assert second["fixtures"] == {}
    assert third["uses"] == ["::tmp_path_factory"]
    assert sum(third["fixtures"].values()) <= third["cpu"] + 0.002


def test_a_map_that_lacks_many_modules_is_not_selected_by(read_recording, monkeypatch, capsys):
    monkeypatch.setattr(coverage_map.CoverageMap, "read", lambda: read_recording)
    monkeypatch.setattr(coverage_map, "list_changes", lambda *_: [])
    assert Selector(read_recording).count_unknown() > 0.9  # it knows four
    assert coverage_map.main(["select"]) == 0
    out, told = capsys.readouterr()
    assert out == "first\n"
    assert "of the test modules: record it anew" in told


def test_what_a_run_did_not_execute_is_known(folder):
    unexecuted = coverage_map.find_unexecuted(folder)
    assert "src/hven/app/_cli/delegate.py" in unexecuted
    assert "src/hven/services/faces/cone.py" not in unexecuted


def test_the_functions_of_changed_lines(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(
        "X = 1\n\n@deco\ndef f():\n    def g():\n        return 1\n    return g\n\nclass C:\n    def h(self):\n        pass\n"
    )
    assert list_changed_functions(file, "@@ -4 +4 @@\n@@ -6,2 +6 @@") == {"f", "g"}
    assert list_changed_functions(file, "@@ -3 +3 @@\n@@ -11,0 +11,1 @@") == {"f", "h"}
    assert list_changed_functions(file, "@@ -6 +6 @@\n@@ -1 +1 @@") is None
    assert list_changed_functions(tmp_path / "gone.py", "@@ -1 +0,0 @@") is None


def test_a_process_is_recorded_though_it_is_killed_and_so_are_its_children(tmp_path):
    coverage_recorder.prepare_folder(tmp_path, ROOT)
    rest = "import os, subprocess; from hven.model import plugins; pid = os.fork(); pid or (plugins.list_plugins('formats'), os.kill(os.getpid(), 9)); os.waitpid(pid, 0)"
    python(tmp_path, rest, **{coverage_recorder.MODULE_VARIABLE: "tests/some/test_module.py"})
    _, files = coverage_recorder.read_files(tmp_path)
    (name, row), *_ = coverage_recorder.read_maps(tmp_path)
    assert name == "tests/some/test_module.py"
    path = "src/hven/model/plugins.py"
    first, count = files[path]
    done = {
        function
        for number, function in enumerate(coverage_recorder.list_functions(ROOT / path), 1)
        if row[first + number]
    }
    assert row[first]  # the module
    assert {"list_plugins", "_map_builtin_modules"} <= done
    assert "load_plugin" not in done
    assert count == len(coverage_recorder.list_functions(ROOT / path)) + 1


def test_recorded_code_is_cached_apart_and_other_packages_as_ever(tmp_path):
    folder = tmp_path / "maps"
    coverage_recorder.prepare_folder(folder, ROOT)
    python(folder, "import hven.sky; assert sys.pycache_prefix is None")
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*.pyc")]
    assert any("hven/sky." in path for path in paths), paths
    assert all("/src/hven/" in path for path in paths), paths


def test_records_say_what_tests_cost_and_check(folder):
    tests = run_report.read_tests(folder)
    counts = run_report.count_by_folder(tests)
    assert counts["model"]["executed"] == counts["model"]["cases"] > 20
    assert counts["model"]["assertions"] >= counts["model"]["cases"] / 2
    assert counts["all"]["cases"] == len(tests)


def test_a_folder_that_checks_less_is_an_error(tmp_path, capsys):
    line = {"id": "tests/a/test_b.py::test_c", "module": "tests/a/test_b.py", "outcome": "passed", "cpu": 0.5, "wall": 0.5, "asserts": 2, "marks": ["slow"]}  # fmt: skip
    (tmp_path / "tests-1.jsonl").write_text(json.dumps(line))
    saved = tmp_path / "saved.json"
    assert run_report.main([str(tmp_path), "--save", str(saved)]) == 0
    assert run_report.main([str(tmp_path), "--before", str(saved)]) == 0
    assert "marked slow, 0.5 s at most: tests/a/test_b.py" in capsys.readouterr().out
    (tmp_path / "tests-1.jsonl").write_text(json.dumps({**line, "asserts": 1}))
    assert run_report.main([str(tmp_path), "--before", str(saved)]) == 1
    assert "fewer assertions than before: a, all" in capsys.readouterr().err


PROPERTIES = """
from hypothesis import example, given, settings, strategies

tried = {}

def count(name):
    tried[name] = tried.get(name, 0) + 1

@given(strategies.integers())
@settings(max_examples=90)
def test_ninety(number):
    count("ninety")

@given(strategies.integers())
@settings(max_examples=8)
def test_eight(number):
    count("eight")

class TestMethods:
    @given(strategies.integers())
    @settings(max_examples=12)
    @example(5)
    def test_twelve(self, number):
        count("twelve")

def test_end():
    print("tried", sorted(tried.items()))
"""


@pytest.mark.parametrize(
    ("tier", "tried"),
    [
        (tiers.FIRST, [("eight", 8), ("ninety", 30), ("twelve", 11)]),  # what is named itself comes on top
        (tiers.ALL, [("eight", 8), ("ninety", 90), ("twelve", 13)]),
    ],
)
def test_the_first_tier_tries_a_third_of_the_examples(tmp_path, tier, tried):
    (tmp_path / "conftest.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\nimport tiers\npytest_addoption, pytest_configure = tiers.add_options, tiers.configure\n"
    )
    (tmp_path / "test_x.py").write_text(PROPERTIES)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "--tier", tier, "-c", "/dev/null", "--rootdir", tmp_path, tmp_path]  # fmt: skip
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path).stdout
    assert f"tried {tried}" in told, told
    assert ("most examples of 2 tests of properties" in told) == (tier == tiers.FIRST)


def test_the_first_tier_leaves_out_by_rule_and_says_so():
    first = tiers.FirstTier(ROOT)
    first.counts[tiers.MARKS["slow"]] = 3
    lines = list(first.summarize())
    assert lines[0] == "left out of the first tier, `scripts/test --all` runs them:"
    assert any("of tests/browser: pages in Chromium" in line for line in lines)
    assert lines[-1].split() == ["3", "tests", "marked", "slow"]
    assert first.pytest_ignore_collect(ROOT / "tests/browser")
    assert not first.pytest_ignore_collect(ROOT / "tests/sky")
    assert {"postgresql", "spark", "stilts", "chromium", "moto"} <= tiers.list_excluded_groups()
    assert "shared" not in tiers.list_excluded_groups()
