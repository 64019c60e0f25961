"""The job type ``table_update``.

Index a column of a table that its owner keeps here (pyvo's `create_index`, as CADC's YouCat has it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.jobs._job_types import JobDefinition
from hven.model.errors import ParamError
from hven.model.params import Param
from hven.query import user_tables

if TYPE_CHECKING:
    from hven.jobs._job_types import RunningJob

PARAMS = (
    Param(name="TABLE", required=True, description="the table, as tap_user.NAME"),
    Param(name="INDEX", required=True, description="the column to index"),
    Param(name="UNIQUE", allowed=("true", "false"), description="true: no value may come twice"),
)


def run_job(running_job: RunningJob) -> None:
    """Index the column."""
    params = running_job.params
    required_values = {name: params.read_one(name) for name in ("TABLE", "INDEX")}
    for name, value in required_values.items():
        if value is None:
            raise ParamError(f"{name} is missing", name=name, remedy="TABLE=tap_user.mine and INDEX=column")
    is_unique = (params.read_one("UNIQUE") or "false").lower()
    if is_unique not in {"true", "false"}:
        raise ParamError(f"UNIQUE={is_unique!r:.40} is not known", name="UNIQUE", remedy="true or false")
    table_name = user_tables.parse_table_name(required_values["TABLE"] or "")
    user_tables.index_column(
        running_job.site,
        running_job.principal,
        table_name,
        required_values["INDEX"] or "",
        is_unique=is_unique == "true",
        is_cancelled=running_job.stopped.is_set,
    )


JOB = JobDefinition(name="table_update", title="Index of a user's table", params=PARAMS, run=run_job)
