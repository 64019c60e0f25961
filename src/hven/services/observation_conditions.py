"""Conditions on observations, as SIA and SSA ask for them: where, in which interval.

As ADQL over the columns of ObsCore.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hven.adql.adql_writer import write_literal
from hven.model.errors import ParamError
from hven.model.sky import Circle, shape_text
from hven.model.table import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.params import Param
    from hven.model.table import Table

OBSCORE_TABLE = "ivoa.obscore"


def create_applies_test(service: str) -> Callable[[Table], bool]:
    """Make the test of a face over observations.

    Ivoa.obscore, and each of its tables whose collection names the face in ``services``.

    Parameters
    ----------
    service
        Name of the face.
    """

    def has_observations(table: Table) -> bool:
        if table.qualified_name == OBSCORE_TABLE:
            return True
        return table.observed and service in table.services

    return has_observations


def describe_input_params(params: Sequence[Param]) -> tuple[tuple[Column, object], ...]:
    """Describe parameters as constants ``INPUT:NAME``, as the answer to FORMAT=METADATA does.

    Parameters
    ----------
    params
        Of a service.
    """
    return tuple(
        (
            Column(
                name=f"INPUT:{param.name}",
                type=param.type,
                unit=param.unit,
                ucd=param.ucd,
                description=param.description,
                enum=f"INPUT:{param.name}",
            ),
            param.default or "",
        )
        for param in params
        if param.default or not param.type.is_numeric
    )


def write_region_condition(text: str, *, name: str = "POS") -> str:
    """Write that what was observed touches a shape: by its outline, where there is none by its centre.

    Parameters
    ----------
    text
        ``CIRCLE lon lat radius``, ``RANGE ..`` or ``POLYGON ..``, degrees, ICRS.
    name
        Of the parameter, for faults.

    Returns
    -------
    condition
        In parentheses.

    Raises
    ------
    ParamError
        It is no shape.
    """
    try:
        read = shape_text.parse_shape("pos", text)
    except ValueError as error:
        remedy = "CIRCLE lon lat radius, RANGE lon1 lon2 lat1 lat2 or POLYGON lon1 lat1 .., in degrees (ICRS)"
        raise ParamError(f"{name}={text!r:.60}: {error}", name=name, remedy=remedy) from None
    if isinstance(read, Circle):  # of which engines know more than of others
        shape = f"CIRCLE({read.lon!r}, {read.lat!r}, {read.radius!r})"
    else:
        shape = f"REGION({write_literal(shape_text.write_shape('shape', read))})"
    return f"(1 = INTERSECTS(s_region, {shape}) OR (s_region IS NULL AND 1 = CONTAINS(POINT(s_ra, s_dec), {shape})))"


def write_interval_condition(begin: str, end: str, interval: tuple[float, float]) -> str:
    """Write that two columns span a part of an interval; bounds belong to it, what is not known matches nothing.

    Parameters
    ----------
    begin, end
        Columns, or twice the same.
    interval
        May be infinite.

    Returns
    -------
    condition
        In parentheses.
    """
    low, high = interval
    parts = [f"{begin} <= {high!r}"] * (not math.isinf(high)) + [f"{end} >= {low!r}"] * (not math.isinf(low))
    return f"({' AND '.join(parts or [f'{begin} IS NOT NULL', f'{end} IS NOT NULL'])})"


__all__ = [
    "OBSCORE_TABLE",
    "create_applies_test",
    "describe_input_params",
    "write_interval_condition",
    "write_region_condition",
]
