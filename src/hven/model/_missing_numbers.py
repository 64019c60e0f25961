"""NaN in columns: Hven keeps nulls instead."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def replace_nan_with_null(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Replace NaN by null in a column of any type.

    They are the same in VOTable and FITS (VOTable 1.4 section 6), and engines order NaN differently, so none is kept.

    Parameters
    ----------
    values
        A column (n,).

    Returns
    -------
    values : Array
        A column (n,), with the same type.
    """
    if not pa.types.is_floating(values.type):
        return values
    is_nan = pc.is_nan(values)
    if pc.any(is_nan).as_py():
        return pc.if_else(is_nan, pa.scalar(None, values.type), values)
    return values
