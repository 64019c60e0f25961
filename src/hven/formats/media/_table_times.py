"""Convert columns of times of tables to MJD."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media._spectral_axes import UNIX_EPOCH_MJD, convert_axis_times_to_mjd, find_reference_date_as_mjd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from hven.formats.media._product import HeaderCard
    from hven.model.table import Column

    Values = Callable[[pa.Array], npt.NDArray[np.float64]]

# offsets of the cards {..}REFI, {..}REFF from MJD
_REFERENCE_CARD_OFFSETS = {"MJD": 0.0, "JD": -2_400_000.5, "BJD": -2_400_000.5}


def create_time_converter(column: Column, cards: Sequence[HeaderCard]) -> Values:
    """Create the function that converts a column of times to MJD.

    Parameters
    ----------
    column
        Column of texts, timestamps, or numbers.
    cards
        Cards that may state the zero of numbers; the first of several with one keyword counts.

    Returns
    -------
    turn
        Function that converts values of the column.

    Raises
    ------
    SourceError
        The unit is not one of time, or the reference of the times is unknown.
    """
    card_values: dict[str, Any] = {card.keyword: card.value for card in reversed(cards)}
    unit = (column.unit or "").strip().lower()
    column_name = column.name.lower()
    if column.type.is_timestamp or column.type.is_string:
        return _convert_dates_to_mjd
    shift = _find_reference_mjd(card_values)
    if column.epoch is not None or "jd" in column_name:
        if column.epoch is not None:
            offset_days = -2_400_000.5 + column.epoch
        elif "mjd" in column_name:
            offset_days = 0.0
        else:
            offset_days = -2_400_000.5
        return lambda array: to_floats(array) + offset_days
    if shift is not None:
        if re.search(r"\b(d|days?)\b", unit or str(card_values.get("TIMEUNIT", ""))):
            scale = 1.0
        else:
            scale = 1.0 / 86_400.0
        return lambda array: to_floats(array) * scale + shift
    start_mjd = find_reference_date_as_mjd(card_values)
    if start_mjd is not None and {"MJDREF", "JDREF"}.isdisjoint(card_values):

        def convert_since_start(array: pa.Array) -> npt.NDArray[np.float64]:
            # milliseconds are those of the day in files of SolarSoft, NRH and ORFEES, whose unit may be missing
            values = to_floats(array)
            is_milliseconds = unit == "ms"
            if not unit and column.type.datatype == "int":
                is_milliseconds = bool(np.nanmax(values, initial=0.0) > 2 * 86_400)
            if is_milliseconds:
                values_mjd: npt.NDArray[np.float64] = values / 86_400e3 + np.floor(start_mjd)
                return values_mjd
            return convert_axis_times_to_mjd(values, unit, card_values)

        convert_axis_times_to_mjd(np.zeros(1), unit, card_values)
        return convert_since_start
    convert_axis_times_to_mjd(np.zeros(1), unit, card_values)
    return lambda array: convert_axis_times_to_mjd(to_floats(array), unit, card_values)


def _find_reference_mjd(card_values: dict[str, Any]) -> float | None:
    """Find the time from which times are counted in two cards, of the whole day and of its fraction."""
    for key, zero in _REFERENCE_CARD_OFFSETS.items():
        whole_day = card_values.get(f"{key}REFI")
        if isinstance(whole_day, int | float):
            fraction = card_values.get(f"{key}REFF") or 0.0
            return float(whole_day) + float(fraction) + zero
    return None


def to_floats(array: pa.Array) -> npt.NDArray[np.float64]:
    """Convert numbers to doubles.

    Parameters
    ----------
    array
        Numbers, shape (n,).

    Returns
    -------
    numbers
        Shape (n,); NaN for nulls.
    """
    numbers = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.asarray(numbers, np.float64)


def _convert_dates_to_mjd(array: pa.Array) -> npt.NDArray[np.float64]:
    if pa.types.is_string(array.type):
        microseconds = np.full(len(array), np.nan)
        for row, text in enumerate(array.to_pylist()):
            try:
                instant = np.datetime64(str(text).strip().rstrip("Z"), "us")
                microseconds[row] = instant.astype(np.int64)
            except ValueError:
                continue
    else:
        timestamps = array.cast(pa.timestamp("us"))
        microseconds = to_floats(timestamps.cast(pa.int64()))
    return microseconds / 86_400e6 + UNIX_EPOCH_MJD
