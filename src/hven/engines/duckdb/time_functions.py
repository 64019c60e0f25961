"""Times in text for DuckDB, whose own CAST drops an offset from UTC: how they are parsed, and their SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa  # noqa: TC002  (DuckDB evaluates the annotations of its functions)

from hven.model.literal import parse_times

if TYPE_CHECKING:
    from collections.abc import Callable

#: What DuckDB also accepts without losing anything: one digit where two are usual.
_LENIENT_TIME_PATTERN = r"\s*[1-9]\d{0,3}-\d{1,2}-\d{1,2}(?:[T ]\d{1,2}:\d{1,2}(?::\d{1,2}(?:\.\d*)?)?)?Z?\s*"

TIME_MACROS = (
    (
        "CREATE OR REPLACE MACRO hven_dated(t) AS\n"
        "       CASE WHEN t BETWEEN TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999' THEN t END"
    ),
    (
        "CREATE OR REPLACE MACRO hven_time_or_null(s) AS\n"
        "       coalesce(hven_time(s), "
        f"CASE WHEN regexp_full_match(s, '{_LENIENT_TIME_PATTERN}') THEN TRY_CAST(s AS TIMESTAMP) END)"
    ),
    (
        "CREATE OR REPLACE MACRO hven_time_or_error(s) AS CASE WHEN s IS NOT NULL\n"
        "       THEN coalesce(hven_time_or_null(s), "
        "CAST(error(concat('timestamp \"', s, '\" cannot be read')) AS TIMESTAMP)) END"
    ),
)
TIME_SIGNATURES: dict[str, tuple[tuple[str, ...], str]] = {"hven_time": (("VARCHAR",), "TIMESTAMP")}


def _parse_times(texts: pa.Array) -> pa.Array:
    return parse_times(texts)[0]


TIME_FUNCTIONS: dict[str, Callable[..., pa.Array]] = {"hven_time": _parse_times}
