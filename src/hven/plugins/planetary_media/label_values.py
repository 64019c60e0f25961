"""Interpret what labels write: constants for values of a type, and names of files beside the label."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import SourceError, format_message

if TYPE_CHECKING:
    from hven.formats.media import Place


class RadixInteger(int):
    """An integer that a label writes with its radix (``16#8001#``, ``0x8001``).

    It stands for the bits of a value of any type.
    """


def parse_label_constant(value: object, dtype: np.dtype[Any]) -> float | None:
    """Read a constant of a label for values of a type: a number, or the bits of one.

    Parameters
    ----------
    value
        Value as the label has it. A `RadixInteger` (``16#FF7FFFFB#``) holds the bits of a real, or of a signed number
        in two's complement. An integer that does not fit the type does so, too.
    dtype
        Type of the values.

    Returns
    -------
    constant
        The constant in the unit of the file; None if the value is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    size = 8 * dtype.itemsize
    if isinstance(value, int) and 0 <= value < 1 << size:
        if dtype.kind == "f" and size in {32, 64} and (isinstance(value, RadixInteger) or value >= 1 << (size - 1)):
            return float(np.array(value, f"u{dtype.itemsize}").view(f"f{dtype.itemsize}"))
        if dtype.kind == "i" and value >= 1 << (size - 1):
            return float(value - (1 << size))
    if dtype.kind == "f" and size == 32 and abs(value) <= float(np.finfo(np.float32).max):
        return float(np.float32(value))  # as the values are: labels write seven or eight digits of it
    return float(value)


def find_companion_file(folder: Place, name: str) -> Place:
    """Find a file that a label names in the folder of the label; case does not matter.

    Parameters
    ----------
    folder
        Folder of the label.
    name
        File name as the label has it.

    Returns
    -------
    path
        Path of a plain file.

    Raises
    ------
    SourceError
        The file lies elsewhere, or does not exist.
    """
    is_plain_name = re.fullmatch(r"[\w .+~()-]+", name) and name not in {".", ".."}
    if not is_plain_name:
        raise SourceError(
            format_message("the label points to {name!r}, which is not in the folder of the label", name[:100]),
            remedy=format_message("put the file next to the label"),
        )
    label_folder = folder.resolve()
    for path in (label_folder / name, label_folder / name.lower(), label_folder / name.upper()):
        if path.is_file():
            if path.resolve().parent != label_folder:
                raise SourceError(
                    format_message("the label points to {name!r}, which is not in the folder of the label", name[:100]),
                    remedy=format_message("put the file next to the label"),
                )
            return path
    raise SourceError(format_message("the label points to {name}, which is missing", name))
