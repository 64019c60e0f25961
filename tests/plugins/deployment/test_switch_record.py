"""The proof of switches counts no runs together between which requests were lost, or the code changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from switch_record import SwitchRecord, identify_code


def run_switches(directory: Path, count: int, *, faults: tuple[str, ...] = (), code: str = "a") -> None:
    """Make some switches; at the last one, a client notices the faults."""
    client = SimpleNamespace(faults=[])
    record = SwitchRecord("proof", directory, 10, code=code, stop_file=directory / "stop")
    (directory / "stop").unlink(missing_ok=True)
    for switch in record.number_switches([client]):
        if switch == count - 1:
            (directory / "stop").touch()
            client.faults = list(faults)

    def judge() -> Mapping[str, int]:
        assert not client.faults
        return {"requests": 100}

    record.add_run(judge)


def read_switches(directory: Path) -> int | None:
    file = directory / "proof.json"
    return json.loads(file.read_text())["totals"]["switches"] if file.exists() else None


def test_runs_add_up_until_there_are_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_switches(tmp_path, 4)
    assert read_switches(tmp_path) == 4
    run_switches(tmp_path, 3)
    assert read_switches(tmp_path) == 7
    run_switches(tmp_path, 5)  # three are left
    assert read_switches(tmp_path) is None, "the next proof begins at 0"
    assert "'switches': 10, 'runs': 3, 'requests': 300" in capsys.readouterr().out


def test_a_run_that_loses_a_request_begins_the_count_anew(tmp_path: Path) -> None:
    run_switches(tmp_path, 4)
    with pytest.raises(AssertionError):
        run_switches(tmp_path, 3, faults=("reset",))
    assert read_switches(tmp_path) is None
    run_switches(tmp_path, 3)
    assert read_switches(tmp_path) == 3


def test_a_run_that_is_killed_begins_the_count_anew(tmp_path: Path) -> None:
    run_switches(tmp_path, 4)
    SwitchRecord("proof", tmp_path, 10, code="a")
    assert read_switches(tmp_path) is None, "nobody knows what it lost"


def test_switches_of_other_code_do_not_count(tmp_path: Path) -> None:
    run_switches(tmp_path, 4)
    run_switches(tmp_path, 3, code="b")
    assert read_switches(tmp_path) == 3
    assert identify_code() == identify_code() != ""
