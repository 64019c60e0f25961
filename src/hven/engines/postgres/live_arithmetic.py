"""Functions of ours that are small programs in our own databases, as expressions: for databases that have none of ours (`live_text` writes them out).

CASE keeps its order, but what is constant is computed when a statement is planned: no branch may fail for constants of another one.
"""

from __future__ import annotations

_D = "double precision"
_SQL = "LANGUAGE sql IMMUTABLE"
_SIZE = f"CASE WHEN abs(y) > 1e6 THEN y / 1e6 * ln(nullif(abs(x), 0)) * 1e6 ELSE y * (ln(nullif(abs(x), 0)) + CAST('1e-300' AS {_D})) END"
_ODD = "x < 0 AND y = trunc(y) AND abs(y) < 9007199254740992 AND CAST(y AS numeric) % 2 <> 0"
_TENS = f"power(CAST(10 AS {_D}), least(abs(digits), 308))"
_TENTHS = "CAST(round((jd - 2440587.5) * 864000000) AS bigint)"

SPELLED: tuple[str, ...] = (
    f"""FUNCTION hven_power(x {_D}, y {_D}) RETURNS {_D} {_SQL} AS $$
      SELECT CASE WHEN x IS NULL OR y IS NULL THEN NULL WHEN y = 0 OR x = 1 THEN 1 WHEN x = 'nan' OR y = 'nan' THEN 'nan'
        WHEN x = 0 THEN CASE WHEN y > 0 THEN 0 ELSE CAST('infinity' AS {_D}) END
        WHEN x = '-infinity' AND y <> trunc(y) THEN CASE WHEN y > 0 THEN CAST('infinity' AS {_D}) ELSE 0 END
        WHEN abs(x) = 'infinity' OR abs(y) = 'infinity' THEN power(x, y)
        WHEN x < 0 AND y <> trunc(y) THEN 'nan'
        WHEN {_SIZE} > 709.782712893384 THEN CASE WHEN {_ODD} THEN CAST('-infinity' AS {_D}) ELSE 'infinity' END
        WHEN {_SIZE} < -708.3 THEN 0 ELSE power(x, y) END $$""",
    f"""FUNCTION hven_round(x {_D}, digits integer) RETURNS {_D} {_SQL} AS $$
      SELECT CASE WHEN digits = 0 THEN hven_whole(x) WHEN abs(x) = 'infinity' OR x = 'nan' OR digits > 300 THEN x
        WHEN digits < 0 THEN CASE WHEN abs(x) / {_TENS} < 0.5 THEN 0 ELSE hven_whole(x / {_TENS}) * {_TENS} END
        WHEN digits > 0 THEN CASE WHEN abs(x) > 1e308 / {_TENS} THEN x ELSE hven_whole(x * {_TENS}) / {_TENS} END END $$""",
    f"""FUNCTION hven_truncate(x {_D}, digits integer) RETURNS {_D} {_SQL} AS $$
      SELECT CASE WHEN digits = 0 THEN trunc(x) WHEN abs(x) = 'infinity' OR x = 'nan' OR digits > 300 THEN x
        WHEN digits < 0 THEN CASE WHEN abs(x) < {_TENS} THEN 0 ELSE trunc(x / {_TENS}) * {_TENS} END
        WHEN digits > 0 THEN CASE WHEN abs(x) > 1e308 / {_TENS} THEN x ELSE trunc(x * {_TENS}) / {_TENS} END END $$""",
    f"""FUNCTION hven_remainder(x {_D}, y {_D}) RETURNS {_D} {_SQL} AS $$
      SELECT CASE WHEN y = 0 THEN NULL WHEN abs(x) < abs(y) THEN x ELSE x - y * trunc(x / y) END $$""",
    f"""FUNCTION hven_iso(jd {_D}) RETURNS timestamp {_SQL} AS $$
      SELECT timestamp '1970-01-01' + CAST({_TENTHS} / 864000000 AS integer) * interval '1 day' + {_TENTHS} % 864000000 * interval '100 microseconds' $$""",
)

_MOMENT = "(timestamp '1970-01-01' + CAST(hven_whole({}) AS bigint) * interval '{} microsecond')"


def from_unix(seconds: str) -> str:
    """Write the time of seconds since 1970."""
    return _MOMENT.format(f"CAST({seconds} AS {_D}) * 1000000", 1)


def from_days(days: str, zero: float) -> str:
    """Write the time of a Julian date; `zero` is that of 1970. One double resolves no microseconds: tenths of milliseconds are right."""
    return _MOMENT.format(f"(CAST({days} AS {_D}) - CAST('{zero}' AS {_D})) * 864000000", 100)


__all__ = ["SPELLED", "from_days", "from_unix"]
