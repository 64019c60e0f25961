"""What a list type may say, and what `hven check` says of the others, with file:line:column."""

from __future__ import annotations

import pytest
from list_sites import PLAIN_LIST, write_list_type

from hven.jobs import type_catalogue
from hven.jobs.type_catalogue import find_declaration_faults
from hven.plugins.fanout.list_declarations import LIST_TYPES
from hven.site import Site
from job_programs import ECHO_PROGRAM, write_job_type


@pytest.fixture(autouse=True)
def _own_lists(site: Site) -> None:
    """Remove the lists of other tests."""
    for path in (site.settings.directory / "jobs" / "lists").glob("*.yaml"):
        path.unlink()


def test_a_list_is_a_job_type_with_a_form(site: Site) -> None:
    write_list_type(site, "squares", PLAIN_LIST)
    job_type = type_catalogue.load_served_job_types(site.settings)["squares"]
    assert [param.name for param in job_type.params] == ["LIST", "TABLE"]
    assert job_type.files == ("TABLE",)
    assert list(find_declaration_faults(site.settings)) == []
    # a new text is read at once
    write_list_type(site, "squares", PLAIN_LIST.replace("title: Squares", "title: Other squares"))
    assert type_catalogue.find_job_type(site.settings, "squares").title == "Other squares"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("job: square", "job: squire", "jobs/lists/bad.yaml:3:23: steps.square.job: there is no job type 'squire'"),
        ("job: square", "job: table_update", "users cannot run jobs of the type table_update"),
        ("job: square", "job: bad", "steps.square.job: bad is itself a list"),
        ("job: square", "job: closed", "the step square runs the private job type closed"),
        ("job: square", "job: square, send: {Y: '{X}'}", "the job type has no parameter Y"),
        ("job: square", "job: square, send: {X: '{Z}'}", "the list has no column or parameter Z"),
        ("job: square", "job: square, after: {job: all}", "steps.square.after: there is no earlier step"),
        ("job: square", "job: square, files: {GIVEN: square.squares}", "'square.squares' is not a result of a step"),
        ("X: {", "Y: {", "requires X, but the list does not provide it"),
        ("required: true", "required: true, many: true", "rows.X: a list cannot have the key 'many' here"),
        ("join: square.squares", "join: squares", "join: 'squares' is not a result of a step"),
        ("rows: 50", "rows: 100000", "limits.rows must be"),
        ("title: Squares", "params: {LIST: }\ntitle: x", "params.LIST: the list already has a column or a parameter"),
    ],
)
def test_faults_are_told(site: Site, old: str, new: str, fault: str) -> None:
    write_job_type(
        site.settings.directory,
        "closed",
        "title: C\naccess: private\ncommand: [./echo.py, '{X}']\nparams: {X: }\n",
        echo_py=ECHO_PROGRAM,
    )
    write_list_type(site, "bad", PLAIN_LIST.replace(old, new))
    faults = [str(found) for found in find_declaration_faults(site.settings)]
    assert any(fault in text for text in faults), faults


def test_a_list_must_not_have_the_name_of_a_job_type(site: Site) -> None:
    write_list_type(site, "square", PLAIN_LIST)
    assert "there is already a job type 'square', in jobs/square.yaml" in str(
        next(find_declaration_faults(site.settings))
    )
    assert LIST_TYPES.list_type_names(site.settings) == ["square"]
