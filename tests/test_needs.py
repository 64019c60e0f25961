"""What tests lack is skipped with a word, counted by its group, and an error in CI."""

from __future__ import annotations

import pytest

import requirements
import shared


@pytest.fixture
def at_home(monkeypatch):
    """Say that this is not CI, and that nothing is left out."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("HVEN_TESTS_WITHOUT", raising=False)
    return monkeypatch


def group(monkeypatch, *, there):
    monkeypatch.setitem(requirements.GROUPS, "loom", requirements.Requirement("a loom", "weave one", lambda: there))


@pytest.mark.parametrize("ci", ["true", ""])
def test_what_is_there_is_used(at_home, ci):
    at_home.setenv("CI", ci)
    group(at_home, there=True)
    requirements.require("loom")


def test_what_is_missing_is_skipped_at_home_and_an_error_in_ci(at_home):
    group(at_home, there=False)
    with pytest.raises(pytest.skip.Exception, match="needs loom: a loom"):
        requirements.require("loom")
    at_home.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="a loom must be there in CI: weave one"):
        requirements.require("loom")


@pytest.mark.parametrize("said", ["loom", "shared,loom", "all"])
def test_what_is_left_out_is_skipped_in_ci_too(at_home, said):
    group(at_home, there=True)
    at_home.setenv("CI", "true")
    at_home.setenv("HVEN_TESTS_WITHOUT", said)
    with pytest.raises(pytest.skip.Exception):
        requirements.require("loom")


def test_a_file_that_is_missing_beside_the_others_is_an_error(at_home, tmp_path):
    at_home.setattr(shared, "SHARED", tmp_path)
    at_home.setitem(requirements.GROUPS, "shared", requirements.Requirement("../shared", "put it there", lambda: True))
    (tmp_path / "there").touch()
    assert shared.shared("there") == tmp_path / "there"
    with pytest.raises(pytest.fail.Exception, match="shared/elsewhere is missing"):
        shared.shared("elsewhere")


def test_each_group_has_one_line(at_home):
    group(at_home, there=False)
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
