"""Which columns are times, and from when they count."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model._structure import Column, FrameRef, Table

JD, MJD = 0.0, 2_400_000.5  # Julian dates at which Julian dates and modified ones are 0
WORDS = {JD: "JD", MJD: "MJD"}
# of EPN-TAP and ObsCore, which say it in words: the TAP_SCHEMA of a service has no TIMESYS
_STANDARD = {"time_min": JD, "time_max": JD, "epoch": JD, "t_min": MJD, "t_max": MJD}
_ORIGINS = {"JD-origin": JD, "MJD-origin": MJD}
_RANGES = {JD: (2_086_000.0, 2_817_000.0), MJD: (9_000.0, 110_000.0)}  # years 999 to 3000; 1883 to 2160
_TIMES = ("time.start", "time.end", "time.epoch")
_PLACES = ("time.start", "time.epoch", "time")
_OTHER = ("time.creation", "time.release", "time.processing", "time.duration", "time.interval", "time.period", "time.lifetime", "time.resolution",
          "time.crossing", "time.phase", "time.scale", "time.equinox", "time.age")  # fmt: skip


def dated(table: Table, statistics: Mapping[str, Mapping[str, object]] | None = None) -> Table:
    """Set from when the columns of days count (`Column.epoch`).

    Parameters
    ----------
    table
        As described, with its frames.
    statistics
        Of its rows, by column: they tell Julian dates from modified ones where there is no TIMESYS.

    Returns
    -------
    table
        The same object if nothing changes.
    """
    frames = {frame.id: frame for frame in table.frames}
    known = statistics or {}
    columns = tuple(
        column
        if (found := epoch(column, frames.get(column.frame or ""), known.get(column.name, {}))) in {None, column.epoch}
        else column.having(epoch=found)
        for column in table.columns
    )
    return (
        table
        if all(one is other for one, other in zip(columns, table.columns, strict=True))
        else table.having(columns=columns)
    )


def taken(table: Table, statistics: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Describe what columns are taken for whose UCD says that they are times, and nothing from when.

    Parameters
    ----------
    table
        As `dated` returns it.
    statistics
        ``minimum`` and ``maximum`` of its columns, by name.

    Returns
    -------
    warnings
        A sentence with its remedy for each such column.
    """
    found = []
    for column in table.columns:
        told = statistics.get(column.name, {})
        named = (
            (column.ucd or "").lower().startswith(_TIMES)
            and column.unit == "d"
            and column.type.is_numeric
            and not column.type.is_array
        )
        if not named or column.epoch is not None or told.get("minimum") is None:
            continue
        zero = guessed(column, told)
        word = (
            "no dates: neither Julian dates nor modified ones"
            if zero is None
            else f"{'modified ' * (zero == MJD)}Julian dates ({WORDS[zero]})"
        )
        remedy = "say `frames: {t: {kind: timesys, timeorigin: MJD-origin}}` (or JD-origin, or a number) and `frame: t` of the column"
        found.append(f"{column.name} is taken for {word}, by its range {told['minimum']}..{told['maximum']}; {remedy}")
    return found


def epoch(
    column: Column, frame: FrameRef | None = None, statistics: Mapping[str, object] | None = None
) -> float | None:
    """Return the Julian date at which a column of days is 0.

    Parameters
    ----------
    column
        One with the unit ``d``.
    frame
        Its TIMESYS, whose ``timeorigin`` decides (VOTable 1.4, 3.2).
    statistics
        Its ``minimum`` and ``maximum``, which decide where there is no TIMESYS.

    Returns
    -------
    epoch
        Julian date in days: 0 for Julian dates, 2400000.5 for modified ones. None: it is no time that is counted in days.
    """
    ucd = (column.ucd or "").lower()
    if column.type.is_array or not column.type.is_numeric or column.unit != "d" or ucd.startswith(_OTHER):
        return None
    if frame is not None and frame.kind == "timesys" and frame.timeorigin is not None:
        try:
            return _ORIGINS[frame.timeorigin] if frame.timeorigin in _ORIGINS else float(frame.timeorigin)
        except ValueError:
            return None
    known = statistics or {}
    found = guessed(column, known) if known.get("minimum") is not None else None
    return _STANDARD.get(column.name.lower()) if found is None else found


def guessed(column: Column, statistics: Mapping[str, object]) -> float | None:
    """Distinguish Julian dates from modified ones by their range, where the UCD says that they are times.

    Parameters
    ----------
    column
        One of days.
    statistics
        Its ``minimum`` and ``maximum``.

    Returns
    -------
    epoch
        As of `epoch`, a Julian date; None: neither is likely (Julian dates of the years 999 to 3000, modified ones of 1883 to 2160).
    """
    low, high = statistics.get("minimum"), statistics.get("maximum")
    if not (column.ucd or "").lower().startswith(_TIMES):
        return None
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    return next((zero for zero, (least, most) in _RANGES.items() if least <= low and high <= most), None)


def is_time(column: Column) -> bool:
    """Return whether a column's values are moments: timestamps, or days from a known epoch.

    Parameters
    ----------
    column
        As `dated` knows it.
    """
    return column.type.is_timestamp or column.epoch is not None


def begins_and_ends(table: Table) -> tuple[Column | None, Column | None]:
    """Find the columns that say when something began and ended, by their UCDs.

    Parameters
    ----------
    table
        As `dated` returns it.

    Returns
    -------
    begin
        The first of ``time.start``, ``time.epoch``, ``time``; of several the one of the smallest rank. None if there is no time.
    end
        ``time.end``; where there is none, the same as `begin`.
    """
    begins: list[tuple[int, int, Column]] = []
    ends: list[tuple[int, Column]] = []
    for column in table.columns:
        ucd = (column.ucd or "").lower()
        if column.hidden or not is_time(column) or column.type.is_array or ucd.startswith(_OTHER):
            continue
        if ucd.startswith("time.end"):
            ends.append((column.rank, column))
        else:
            place = next((at for at, start in enumerate(_PLACES) if ucd.startswith(start)), len(_PLACES))
            begins.append((place, column.rank, column))
    begin = min(begins, key=lambda one: one[:2])[2] if begins else None
    end = (
        min(ends, key=lambda one: one[0])[1]
        if ends and (begin is None or (begin.ucd or "").lower().startswith("time.start"))
        else None
    )
    return begin, end or begin
