"""Digits of chain codes, and their steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

HELIO_STEPS = ((-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1))
"""Steps (x to the right, y up) of the digits 0 to 7 in HELIO's catalogues: 0 is left, then anticlockwise."""
FREEMAN_STEPS = HELIO_STEPS[4:] + HELIO_STEPS[:4]
"""The same for Freeman's codes: 0 is right, then anticlockwise."""


def parse_chain_step_table(text: str) -> tuple[tuple[int, int], ...] | None:
    """Parse a table of steps.

    Parameters
    ----------
    text
        ``helio``, ``freeman``, or the steps of the digits from 0 on, x to the right and y up: ``1,0 1,-1 0,-1 -1,-1
        -1,0 -1,1 0,1 1,1``.

    Returns
    -------
    table
        The step of each digit; None if the text is not such a table.
    """
    if text == "helio":
        return HELIO_STEPS
    if text == "freeman":
        return FREEMAN_STEPS
    parsed_steps = tuple(_STEPS_BY_TEXT.get(word) for word in text.split())
    table = tuple(step for step in parsed_steps if step is not None)
    if len(set(table)) == len(parsed_steps) == len(HELIO_STEPS):
        return table
    return None


_STEPS_BY_TEXT = {f"{x},{y}": (x, y) for x, y in HELIO_STEPS}


def view_chain_digits(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return the digits of all texts.

    Parameters
    ----------
    texts
        Chain codes (`pyarrow.large_string`), shape (n,).

    Returns
    -------
    digits, offsets
        The digits as numbers, where other letters are above 7; and where each text begins among them, shape (n + 1,).
    """
    _, places, data = texts.buffers()
    offsets = np.frombuffer(places, np.int64, len(texts) + 1, texts.offset * 8)
    all_bytes = np.frombuffer(data or b"", np.uint8)
    digits = all_bytes[offsets[0] : offsets[-1]] - np.uint8(48)
    return digits, offsets - offsets[0]
