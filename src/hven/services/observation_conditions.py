"""Write the conditions of SIA and SSA on observations, positions and intervals, as ADQL over the columns of ObsCore."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hven.adql.adql_writer import write_adql_literal
from hven.model.errors import ParamError
from hven.model.sky import Circle, shape_text
from hven.model.table import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.params import Param
    from hven.model.table import Table

OBSCORE_TABLE = "ivoa.obscore"


def create_observation_service_test(service: str) -> Callable[[Table], bool]:
    """Create the test whether a service of observations serves a table.

    It serves ivoa.obscore, and each table of observations whose collection names the service in ``services``.

    Parameters
    ----------
    service
        Name of the service.
    """

    def has_observations(table: Table) -> bool:
        if table.qualified_name == OBSCORE_TABLE:
            return True
        return table.observed and service in table.services

    return has_observations


def build_input_constants(params: Sequence[Param]) -> tuple[tuple[Column, object], ...]:
    """Describe parameters as constants ``INPUT:NAME``, as the answer to FORMAT=METADATA does.

    Parameters
    ----------
    params
        Parameters of a service.
    """
    constants = []
    for param in params:
        if not param.default and param.type.is_numeric:
            continue
        column = Column(
            name=f"INPUT:{param.name}",
            type=param.type,
            unit=param.unit,
            ucd=param.ucd,
            description=param.description,
            enum=f"INPUT:{param.name}",
        )
        constants.append((column, param.default or ""))
    return tuple(constants)


def write_region_condition(text: str, *, name: str = "POS") -> str:
    """Write the condition that an observation touches a shape, with its outline or else with its centre.

    Parameters
    ----------
    text
        ``CIRCLE lon lat radius``, ``RANGE ..`` or ``POLYGON ..``, in degrees (ICRS).
    name
        Name of the parameter, for error messages.

    Returns
    -------
    condition
        Condition in parentheses.

    Raises
    ------
    ParamError
        The text is no shape.
    """
    try:
        parsed_shape = shape_text.parse_dali_shape("pos", text)
    except ValueError as error:
        remedy = "write CIRCLE lon lat radius, RANGE lon1 lon2 lat1 lat2 or POLYGON lon1 lat1 .., in degrees (ICRS)"
        raise ParamError(f"{name}={text!r:.60}: {error}", name=name, remedy=remedy) from None
    if isinstance(parsed_shape, Circle):  # engines optimize circles better than other shapes
        shape = f"CIRCLE({parsed_shape.lon!r}, {parsed_shape.lat!r}, {parsed_shape.radius!r})"
    else:
        shape_literal = write_adql_literal(shape_text.write_dali_shape("shape", parsed_shape))
        shape = f"REGION({shape_literal})"
    return f"(1 = INTERSECTS(s_region, {shape}) OR (s_region IS NULL AND 1 = CONTAINS(POINT(s_ra, s_dec), {shape})))"


def write_interval_condition(begin_column: str, end_column: str, interval: tuple[float, float]) -> str:
    """Write the condition that the span of two columns overlaps a closed interval; null values match nothing.

    Parameters
    ----------
    begin_column, end_column
        Columns with the ends of the span; they may be the same column.
    interval
        Ends of the interval, which may be infinite.

    Returns
    -------
    condition
        Condition in parentheses.
    """
    low, high = interval
    parts = []
    if not math.isinf(high):
        parts.append(f"{begin_column} <= {high!r}")
    if not math.isinf(low):
        parts.append(f"{end_column} >= {low!r}")
    if not parts:
        parts = [f"{begin_column} IS NOT NULL", f"{end_column} IS NOT NULL"]
    return f"({' AND '.join(parts)})"
