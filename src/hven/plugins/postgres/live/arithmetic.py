"""Expressions in place of the plpgsql functions, for databases that have no functions of Hven.

`live_dialect` writes them into the queries.

CASE keeps its order, but PostgreSQL computes constant branches when it plans a statement. No branch may therefore fail
for constants that belong to another one.
"""

from __future__ import annotations

_DOUBLE_TYPE = "double precision"
_SQL_FUNCTION_OPTIONS = "LANGUAGE sql IMMUTABLE"
_LOG_POWER_SQL = (
    "CASE WHEN abs(y) > 1e6 THEN y / 1e6 * ln(nullif(abs(x), 0)) * 1e6 "
    f"ELSE y * (ln(nullif(abs(x), 0)) + CAST('1e-300' AS {_DOUBLE_TYPE})) END"
)
_IS_ODD_POWER_SQL = "x < 0 AND y = trunc(y) AND abs(y) < 9007199254740992 AND CAST(y AS numeric) % 2 <> 0"
_POWER_OF_TEN_SQL = f"power(CAST(10 AS {_DOUBLE_TYPE}), least(abs(digits), 308))"
_JULIAN_TENTHS_SQL = "CAST(round((jd - 2440587.5) * 864000000) AS bigint)"

EXPRESSION_DEFINITIONS: tuple[str, ...] = (
    f"""FUNCTION hven_power(x {_DOUBLE_TYPE}, y {_DOUBLE_TYPE}) RETURNS {_DOUBLE_TYPE} {_SQL_FUNCTION_OPTIONS} AS $$
      SELECT CASE WHEN x IS NULL OR y IS NULL THEN NULL WHEN y = 0 OR x = 1 THEN 1 WHEN x = 'nan' OR y = 'nan'
        THEN 'nan'
        WHEN x = 0 THEN CASE WHEN y > 0 THEN 0 ELSE CAST('infinity' AS {_DOUBLE_TYPE}) END
        WHEN x = '-infinity' AND y <> trunc(y) THEN CASE WHEN y > 0 THEN CAST('infinity' AS {_DOUBLE_TYPE}) ELSE 0 END
        WHEN abs(x) = 'infinity' OR abs(y) = 'infinity' THEN power(x, y)
        WHEN x < 0 AND y <> trunc(y) THEN 'nan'
        WHEN {_LOG_POWER_SQL} > 709.782712893384 THEN CASE WHEN {_IS_ODD_POWER_SQL}
          THEN CAST('-infinity' AS {_DOUBLE_TYPE}) ELSE 'infinity' END
        WHEN {_LOG_POWER_SQL} < -708.3 THEN 0 ELSE power(x, y) END $$""",
    f"""FUNCTION hven_round(x {_DOUBLE_TYPE}, digits integer) RETURNS {_DOUBLE_TYPE} {_SQL_FUNCTION_OPTIONS} AS $$
      SELECT CASE WHEN digits = 0 THEN hven_whole(x) WHEN abs(x) = 'infinity' OR x = 'nan' OR digits > 300 THEN x
        WHEN digits < 0 THEN CASE WHEN abs(x) / {_POWER_OF_TEN_SQL} < 0.5 THEN 0
          ELSE hven_whole(x / {_POWER_OF_TEN_SQL}) * {_POWER_OF_TEN_SQL} END
        WHEN digits > 0 THEN CASE WHEN abs(x) > 1e308 / {_POWER_OF_TEN_SQL} THEN x
          ELSE hven_whole(x * {_POWER_OF_TEN_SQL}) / {_POWER_OF_TEN_SQL} END END $$""",
    f"""FUNCTION hven_truncate(x {_DOUBLE_TYPE}, digits integer) RETURNS {_DOUBLE_TYPE} {_SQL_FUNCTION_OPTIONS} AS $$
      SELECT CASE WHEN digits = 0 THEN trunc(x) WHEN abs(x) = 'infinity' OR x = 'nan' OR digits > 300 THEN x
        WHEN digits < 0 THEN CASE WHEN abs(x) < {_POWER_OF_TEN_SQL} THEN 0
          ELSE trunc(x / {_POWER_OF_TEN_SQL}) * {_POWER_OF_TEN_SQL} END
        WHEN digits > 0 THEN CASE WHEN abs(x) > 1e308 / {_POWER_OF_TEN_SQL} THEN x
          ELSE trunc(x * {_POWER_OF_TEN_SQL}) / {_POWER_OF_TEN_SQL} END END $$""",
    f"""FUNCTION hven_remainder(x {_DOUBLE_TYPE}, y {_DOUBLE_TYPE}) RETURNS {_DOUBLE_TYPE} {_SQL_FUNCTION_OPTIONS} AS $$
      SELECT CASE WHEN y = 0 THEN NULL WHEN abs(x) < abs(y) THEN x ELSE x - y * trunc(x / y) END $$""",
    f"""FUNCTION hven_iso(jd {_DOUBLE_TYPE}) RETURNS timestamp {_SQL_FUNCTION_OPTIONS} AS $$
      SELECT timestamp '1970-01-01' + CAST({_JULIAN_TENTHS_SQL} / 864000000 AS integer) * interval '1 day'
        + {_JULIAN_TENTHS_SQL} % 864000000 * interval '100 microseconds' $$""",
)

_TIMESTAMP_TEMPLATE = "(timestamp '1970-01-01' + CAST(hven_whole({}) AS bigint) * interval '{} microsecond')"


def write_unix_timestamp_sql(seconds_sql: str) -> str:
    """Write the timestamp of a number of seconds since 1970."""
    return _TIMESTAMP_TEMPLATE.format(f"CAST({seconds_sql} AS {_DOUBLE_TYPE}) * 1000000", 1)


def write_julian_timestamp_sql(days_sql: str, epoch_days: float) -> str:
    """Write the timestamp of a Julian date; `epoch_days` is the Julian date of 1970.

    A double does not resolve microseconds of a Julian date. Tenths of milliseconds are right.
    """
    return _TIMESTAMP_TEMPLATE.format(
        f"(CAST({days_sql} AS {_DOUBLE_TYPE}) - CAST('{epoch_days}' AS {_DOUBLE_TYPE})) * 864000000", 100
    )
