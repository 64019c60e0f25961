"""Python beside a descriptor: what it may use, and how it failed. `process` runs it, out of reach of everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What Python beside a descriptor may use."""

    seconds: float = 300.0  # for a batch of rows, or until the next rows of a source
    memory: int = 4 * 1024**3  # bytes of data


class Failure(Exception):
    """What the code did instead of answering, in words.

    Attributes
    ----------
    line
        Of the curator's file, if it raised.
    answered
        False: it went on beyond its time.
    """

    def __init__(self, text: str, line: int | None = None, *, answered: bool = True) -> None:
        super().__init__(text)
        self.line, self.answered = line, answered


def first_wrong(fails: Callable[[int, int], bool], rows: int) -> int | None:
    """Find the first row without which a function does not fail; None: no row does it alone."""
    low, high = 0, rows
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(low, middle) else (middle, high)
    return low if rows and fails(low, high) else None


__all__ = ["Failure", "Limits", "first_wrong"]
