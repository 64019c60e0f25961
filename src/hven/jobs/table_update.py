"""The job type ``table_update``: index a column of a table that its owner keeps here (pyvo's `create_index`, as CADC's YouCat has it)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.jobs._types import Type
from hven.model.errors import ParamError
from hven.model.params import Param
from hven.query import user_tables as own

if TYPE_CHECKING:
    from hven.jobs._types import Work

PARAMS = (
    Param(name="TABLE", required=True, description="the table, as tap_user.NAME"),
    Param(name="INDEX", required=True, description="the column to index"),
    Param(name="UNIQUE", allowed=("true", "false"), description="true: no value may come twice"),
)


def run(work: Work) -> None:
    """Index the column."""
    params = work.params
    given = {name: params.one(name) for name in ("TABLE", "INDEX")}
    for name, value in given.items():
        if value is None:
            raise ParamError(f"{name} is missing", name=name, remedy="TABLE=tap_user.mine and INDEX=column")
    unique = (params.one("UNIQUE") or "false").lower()
    if unique not in {"true", "false"}:
        raise ParamError(f"UNIQUE={unique!r:.40} is not known", name="UNIQUE", remedy="true or false")
    own.index(
        work.site,
        work.who,
        own.name_of(given["TABLE"] or ""),
        given["INDEX"] or "",
        unique=unique == "true",
        stopped=work.stopped.is_set,
    )


JOB = Type(name="table_update", title="Index of a user's table", params=PARAMS, run=run)
