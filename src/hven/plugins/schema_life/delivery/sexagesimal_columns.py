"""Write right ascensions and declinations as CDS does: hours or degrees, minutes and seconds, each in a column."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow.compute as pc

from hven.plugins.schema_life.delivery.fixed_width_columns import FixedWidthColumn, find_nulls

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from hven.model.table import Column
    from hven.plugins.schema_life.delivery.fixed_width_columns import Cells

SECONDS_A_DAY, SECONDS_A_DEGREE, ARCSEC_A_DEGREE = 86_400, 240, 3600
TIME_DECIMALS, ARC_DECIMALS = 6, 5  # 15 and 10 microarcseconds


class _AnglePart(NamedTuple):
    """A column of an angle; its number is that of whole periods of seconds, modulo 60 unless it is the first one."""

    label: str
    unit: str
    title: str
    period_seconds: int = 1
    decimals: int = 0


PARTS_BY_UCD = {
    "pos.eq.ra": (
        _AnglePart("RAh", "h", "Hour", 3600),
        _AnglePart("RAm", "min", "Minute", 60),
        _AnglePart("RAs", "s", "Second", 1, TIME_DECIMALS),
    ),
    "pos.eq.dec": (
        _AnglePart("DE-", "---", "Sign", 0),
        _AnglePart("DEd", "deg", "Degree", 3600),
        _AnglePart("DEm", "arcmin", "Arcminute", 60),
        _AnglePart("DEs", "arcsec", "Arcsecond", 1, ARC_DECIMALS),
    ),
}


def find_sexagesimal_columns(columns: Sequence[Column]) -> dict[str, str]:
    """Find the right ascension and the declination of a table, by their UCDs; the main ones, if there are several.

    Parameters
    ----------
    columns
        The columns of the table.

    Returns
    -------
    ucds
        Name of a column -> a key of `PARTS_BY_UCD`.
    """
    ucds = {}
    for ucd in PARTS_BY_UCD:
        angles = [
            column for column in columns if column.unit == "deg" and (column.ucd or "").lower().split(";")[0] == ucd
        ]
        angles.sort(key=lambda column: "meta.main" not in (column.ucd or "").lower())
        if angles:
            ucds[angles[0].name] = ucd
    return ucds


class SexagesimalColumn(FixedWidthColumn):
    """One of the columns of an angle.

    Parameters
    ----------
    name
        Name of the column with the angle in degrees.
    part
        Which of its columns this is.
    """

    def __init__(self, name: str, part: _AnglePart) -> None:
        super().__init__(name)
        self._part = part
        self._is_time = part.label.startswith("RA")

    @property
    def width(self) -> int:
        """Number of bytes."""
        if not self._part.period_seconds:
            return 1
        return 2 + bool(self._part.decimals) + self._part.decimals

    @property
    def format_text(self) -> str:
        """The format ``A1``, ``I2`` or ``F9.6``."""
        if not self._part.period_seconds:
            return "A1"
        if self._part.decimals:
            return f"F{self.width}.{self._part.decimals}"
        return "I2"

    def measure(self, values: pa.Array) -> None:
        """Find whether values are missing."""
        self.has_nulls |= bool(find_nulls(values).any())

    def write_cells(self, values: pa.Array) -> Cells:
        """Write digits with leading zeros, or the sign."""
        nulls = find_nulls(values)
        degrees = np.where(nulls, 0.0, pc.fill_null(values, 0).to_numpy(zero_copy_only=False).astype(np.float64))
        cells = np.full((len(degrees), self.width), ord("."), np.uint8)
        if not self._part.period_seconds:
            cells[:, 0] = np.where(np.signbit(degrees), ord("-"), ord("+"))
        else:
            numbers = self._compute_numbers(degrees)
            for position in reversed(range(self.width)):
                if position != 2:
                    cells[:, position] = numbers % 10 + ord("0")
                    numbers = numbers // 10
        cells[nulls] = ord(" ")
        return cells

    def _compute_numbers(self, degrees: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the numbers of this column, with the digits of their decimals; the whole angle is rounded once."""
        if self._is_time:
            scale = 10**TIME_DECIMALS
            steps = np.rint(degrees % 360 * SECONDS_A_DEGREE * scale) % (SECONDS_A_DAY * scale)
        else:
            scale = 10**ARC_DECIMALS
            steps = np.rint(np.abs(degrees) * ARCSEC_A_DEGREE * scale)
        period = self._part.period_seconds * scale
        if self._part.period_seconds == 1:
            numbers = steps % (60 * scale)
        else:
            numbers = steps // period % (60 if self._part.period_seconds == 60 else 100)
        whole_numbers: NDArray[np.int64] = numbers.astype(np.int64)
        return whole_numbers
