"""The job type ``table_update``: index a column of a user's table.

pyvo's `create_index` uses it, as with CADC's YouCat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.jobs import JobDefinition
from hven.model.errors import ParamError
from hven.model.params import Param
from hven.plugins.user_tables import table_writing

if TYPE_CHECKING:
    from hven.jobs import RunningJob

PARAMS = (
    Param(name="TABLE", required=True, description="the table, as tap_user.NAME"),
    Param(name="INDEX", required=True, description="the column to index"),
    Param(name="UNIQUE", allowed=("true", "false"), description="true: no value may occur twice"),
)


def run_index_job(running_job: RunningJob) -> None:
    """Index the column."""
    params = running_job.params
    table_text = params.read_one("TABLE")
    column_name = params.read_one("INDEX")
    for name, text in (("TABLE", table_text), ("INDEX", column_name)):
        if text is None:
            raise ParamError(f"{name} is missing", name=name, remedy="write TABLE=tap_user.mine and INDEX=column")
    unique_text = (params.read_one("UNIQUE") or "false").lower()
    if unique_text not in {"true", "false"}:
        raise ParamError(f"UNIQUE={unique_text!r:.40} is not valid", name="UNIQUE", remedy="write true or false")
    table_writing.index_user_table_column(
        running_job.site,
        running_job.principal,
        table_writing.parse_user_table_name(table_text or ""),
        column_name or "",
        is_unique=unique_text == "true",
        is_cancelled=running_job.stopped.is_set,
    )


JOB = JobDefinition(name="table_update", title="Index of a user's table", params=PARAMS, run=run_index_job)
