"""What tests lack is skipped with a word, counted by its group, and an error in CI."""

from __future__ import annotations

import pytest

import requirements
import shared


@pytest.fixture
def outside_ci(monkeypatch):
    """Say that this is not CI, and that nothing is left out."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("HVEN_TESTS_WITHOUT", raising=False)
    return monkeypatch


def group(monkeypatch, *, there):
    monkeypatch.setitem(requirements.GROUPS, "loom", requirements.Requirement("a loom", "weave one", lambda: there))


@pytest.mark.parametrize("ci", ["true", ""])
def test_what_is_there_is_used(outside_ci, ci):
    outside_ci.setenv("CI", ci)
    group(outside_ci, there=True)
    requirements.require("loom")


def test_what_is_missing_is_skipped_at_home_and_an_error_in_ci(outside_ci):
    group(outside_ci, there=False)
    with pytest.raises(pytest.skip.Exception, match="needs loom: a loom"):
        requirements.require("loom")
    outside_ci.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="a loom must be there in CI: weave one"):
        requirements.require("loom")


@pytest.mark.parametrize("said", ["loom", "shared,loom", "all"])
def test_what_is_left_out_is_skipped_in_ci_too(outside_ci, said):
    group(outside_ci, there=True)
    outside_ci.setenv("CI", "true")
    outside_ci.setenv("HVEN_TESTS_WITHOUT", said)
    with pytest.raises(pytest.skip.Exception):
        requirements.require("loom")


def test_a_file_that_is_missing_beside_the_others_is_an_error(outside_ci, tmp_path):
    outside_ci.setattr(shared, "SHARED", tmp_path)
    outside_ci.setitem(
        requirements.GROUPS, "shared", requirements.Requirement("../shared", "put it there", lambda: True)
    )
    (tmp_path / "there").touch()
    assert shared.shared("there") == tmp_path / "there"
    with pytest.raises(pytest.fail.Exception, match="shared/elsewhere is missing"):
        shared.shared("elsewhere")


def test_each_group_has_one_line(outside_ci):
    group(outside_ci, there=False)
    reasons = ["Skipped: needs loom: a loom", "needs loom: a loom (its shuttle)", "Skipped: needs curl: curl", "a whim"]
    assert list(requirements.summarize_skips(reasons)) == [
        "2 tests need a loom: weave one",
        "1 skipped: a whim",
        "1 test needs curl: Debian's package curl",
    ]


def test_marks_name_groups(pytestconfig, request):
    """A mark of a group that nobody knows would never skip."""
    marks = {name for item in request.session.items for mark in item.iter_markers("needs") for name in mark.args}
    assert marks <= set(requirements.GROUPS)
