"""Conditions on observations, as SIA and SSA ask for them: where, in which interval; as ADQL over the columns of ObsCore."""

from __future__ import annotations

import math

from hven.adql.text import literal
from hven.model.errors import ParamError
from hven.model.sky import shape_text


def inside(text: str, *, name: str = "POS") -> str:
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
        shape = f"REGION({literal(shape_text.write('shape', shape_text.parse('pos', text)))})"
    except ValueError as error:
        remedy = "CIRCLE lon lat radius, RANGE lon1 lon2 lat1 lat2 or POLYGON lon1 lat1 .., in degrees (ICRS)"
        raise ParamError(f"{name}={text!r:.60}: {error}", name=name, remedy=remedy) from None
    return f"(1 = INTERSECTS(s_region, {shape}) OR (s_region IS NULL AND 1 = CONTAINS(POINT(s_ra, s_dec), {shape})))"


def between(begin: str, end: str, interval: tuple[float, float]) -> str:
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


__all__ = ["between", "inside"]
