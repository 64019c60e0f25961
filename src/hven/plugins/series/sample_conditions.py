"""Which rows of a table are samples of one data set, where several share the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.adql.adql_writer import quote_adql_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def write_sample_condition_adql(
    parameter_names: Sequence[str], statistics: Mapping[str, Mapping[str, Any]]
) -> tuple[str, ...]:
    """Write as ADQL which rows are samples of a data set: those where one of its parameters has a value.

    Nothing if one has a value in each row.
    """
    nulls = [statistics.get(name, {}).get("nulls") for name in parameter_names]
    if not nulls or 0 in nulls:
        return ()
    return (f"({' OR '.join(f'{quote_adql_name(name)} IS NOT NULL' for name in parameter_names)})",)
