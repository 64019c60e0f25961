"""Name the types of numbers in files as VOTable does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_INT64 = np.uint64(2**63 - 1)
VOTABLE_TYPES = {
    "i1": "short",
    "u1": "unsignedByte",
    "i2": "short",
    "u2": "int",
    "i4": "int",
    "u4": "long",
    "i8": "long",
    "u8": "long",
    "f4": "float",
    "f8": "double",
}


def format_arraysize(shape: Sequence[int]) -> str | None:
    """Write a shape as an arraysize of VOTable.

    Parameters
    ----------
    shape
        Lengths of the axes, the slowest axis first.

    Returns
    -------
    arraysize
        None for a scalar.
    """
    return "x".join(str(length) for length in reversed(shape)) or None
