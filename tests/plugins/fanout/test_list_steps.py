"""The plan of a list: whatever happens to its jobs, each is created once, and the list ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hven.plugins.fanout.list_steps import ListStep, StepJob, find_last_jobs, plan_list_jobs, write_child_name
from hven.site.store import JobRef


@st.composite
def step_lists(draw: st.DrawFn) -> list[ListStep]:
    """Draw steps, each after some of the earlier ones."""
    steps: list[ListStep] = []
    for number in range(draw(st.integers(1, 4))):
        names = [step.name for step in steps]
        after = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
        steps.append(
            ListStep(name=f"s{number}", job_type="any", after_steps=tuple(after), is_any_enough=draw(st.booleans()))
        )
    return steps


@given(step_lists(), st.integers(1, 4), st.integers(0, 2), st.data())
def test_a_list_ends_and_creates_each_job_once(
    steps: list[ListStep], row_count: int, retry_count: int, data: st.DataObject
) -> None:
    phases: dict[str, str] = {}
    while True:
        refs = [JobRef(name, phase, "", None, name) for name, phase in phases.items()]
        plan = plan_list_jobs(steps, row_count, find_last_jobs(refs), retry_count=retry_count)
        if plan.is_finished:
            break
        for due in plan.due_jobs:
            name = write_child_name(due.step.name, due.row, due.attempt)
            assert name not in phases
            assert due.attempt <= retry_count + 1
            done = [
                any(
                    phases.get(write_child_name(step_name, due.row, attempt)) == "COMPLETED"
                    for attempt in range(1, retry_count + 2)
                )
                for step_name in due.step.after_steps
            ]
            assert all(done) or (due.step.is_any_enough and any(done))
            phases[name] = "QUEUED"
        open_names = [name for name, phase in phases.items() if phase == "QUEUED"]
        ended = data.draw(st.lists(st.sampled_from(open_names), min_size=1, unique=True))
        phases |= {name: data.draw(st.sampled_from(["COMPLETED", "ERROR", "ABORTED"])) for name in ended}
    assert sum(plan.outcome_counts.values()) == row_count * len(steps)
    assert set(plan.outcome_counts) <= {"done", "failed", "skipped"}


def test_a_failure_stops_only_a_list_whose_step_says_so() -> None:
    first = ListStep(name="a", job_type="x")
    last_jobs = {("a", 1): StepJob("id", 1, "ERROR")}
    for stops in (True, False):
        second = ListStep(name="b", job_type="x", after_steps=("a",), stops_list=stops)
        plan = plan_list_jobs([first, second], 2, last_jobs, retry_count=0)
        assert (plan.stopping_job is not None) is stops
        assert plan.failed_rows == [1]
