"""What Hven answered when it was recorded, and answers now: every route and format, of the site of rights, of the demo and of the examples."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))
sys.path.insert(0, str(Path(__file__).parent))

from recording_families import list_families, record_family
from recordings import DIRECTORY, compare_answers, write_recording

pytestmark = [pytest.mark.slow, pytest.mark.needs("packages")]


@pytest.mark.parametrize("family", list_families())
def test_answers_are_the_recorded_ones(family: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    answers = record_family(family, tmp_path)
    if request.config.getoption("--update"):
        write_recording(family, answers)
    difference = compare_answers(family, answers)
    assert not difference, difference


def test_no_recording_is_left_over() -> None:
    """A family that is gone takes its files along."""
    assert {path.stem for path in DIRECTORY.iterdir()} == set(list_families())
