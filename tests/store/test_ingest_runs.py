"""A run that is recorded around a block ends as the block ends."""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path

import pytest

from hven.model.errors import UserError
from hven.site.store import StateStore


@pytest.mark.parametrize(
    ("error", "phase", "message"),
    [
        (None, "COMPLETED", None),
        (UserError("no such engine", remedy="use duckdb"), "ERROR", "no such engine; use duckdb"),
        (KeyboardInterrupt(), "ABORTED", "stopped: KeyboardInterrupt"),
    ],
)
def test_the_end_of_the_block_is_the_end_of_the_run(
    tmp_path: Path, error: BaseException | None, phase: str, message: str | None
) -> None:
    counts = {"rows": 0}
    with closing(StateStore(tmp_path)) as store:
        with suppress(UserError, KeyboardInterrupt), store.runs.record_run("1", "stars", "move", summarize=counts.copy):
            assert store.runs.get_run("1").phase == "RUNNING"
            counts["rows"] = 7
            if error is not None:
                raise error
        run = store.runs.get_run("1")
    assert (run.kind, run.phase, run.message, run.summary) == ("move", phase, message, {"rows": 7})
    assert run.ended is not None
