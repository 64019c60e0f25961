"""Find the columns that are times, and the epochs from which they count."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model._table_structure import Column, ReferenceFrame, Table

# Julian dates at which Julian dates and modified Julian dates are 0
JD_EPOCH = 0.0
MJD_EPOCH = 2_400_000.5
EPOCH_LABELS = {JD_EPOCH: "JD", MJD_EPOCH: "MJD"}
# epochs of columns of EPN-TAP and ObsCore, whose texts tell them: the TAP_SCHEMA of a service has no TIMESYS
_STANDARD_COLUMN_EPOCHS = {
    "time_min": JD_EPOCH,
    "time_max": JD_EPOCH,
    "epoch": JD_EPOCH,
    "t_min": MJD_EPOCH,
    "t_max": MJD_EPOCH,
}
_TIMEORIGIN_EPOCHS = {"JD-origin": JD_EPOCH, "MJD-origin": MJD_EPOCH}
# years 999 to 3000; 1883 to 2160
_PLAUSIBLE_RANGES_DAYS = {
    JD_EPOCH: (2_086_000.0, 2_817_000.0),
    MJD_EPOCH: (9_000.0, 110_000.0),
}
_TIME_UCDS = ("time.start", "time.end", "time.epoch")
_START_UCDS = ("time.start", "time.epoch", "time")
_NON_INSTANT_UCDS = (
    "time.creation",
    "time.release",
    "time.processing",
    "time.duration",
    "time.interval",
    "time.period",
    "time.lifetime",
    "time.resolution",
    "time.crossing",
    "time.phase",
    "time.scale",
    "time.equinox",
    "time.age",
)


def set_column_epochs(table: Table, statistics: Mapping[str, Mapping[str, object]] | None = None) -> Table:
    """Set the epochs of columns of days (`Column.epoch`).

    Parameters
    ----------
    table
        A described table, with its frames.
    statistics
        Statistics of its rows, by column; they distinguish Julian dates from modified ones where there is no TIMESYS.

    Returns
    -------
    table
        The table with epochs; the same object if nothing changes.
    """
    frames = {frame.id: frame for frame in table.frames}
    statistics_by_column = statistics or {}
    columns = []
    has_changed = False
    for column in table.columns:
        frame = frames.get(column.frame or "")
        column_epoch = find_column_epoch(column, frame, statistics_by_column.get(column.name, {}))
        if column_epoch in {None, column.epoch}:
            columns.append(column)
        else:
            columns.append(column.copy_with(epoch=column_epoch))
            has_changed = True
    if not has_changed:
        return table
    return table.copy_with(columns=tuple(columns))


def list_epoch_warnings(table: Table, statistics: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Describe the assumptions about columns whose UCD says that they are times, without an epoch.

    Parameters
    ----------
    table
        A table that `set_column_epochs` returned.
    statistics
        ``minimum`` and ``maximum`` of its columns, by name.

    Returns
    -------
    warnings
        A sentence with its remedy for each such column.
    """
    warnings = []
    for column in table.columns:
        column_statistics = statistics.get(column.name, {})
        is_number = column.type.is_numeric and not column.type.is_array
        has_time_ucd = (column.ucd or "").lower().startswith(_TIME_UCDS) and column.unit == "d" and is_number
        if not has_time_ucd or column.epoch is not None or column_statistics.get("minimum") is None:
            continue
        guessed_epoch = guess_column_epoch(column, column_statistics)
        if guessed_epoch is None:
            word = "plain numbers, neither Julian dates nor modified Julian dates"
        else:
            word = f"{'modified ' * (guessed_epoch == MJD_EPOCH)}Julian dates ({EPOCH_LABELS[guessed_epoch]})"
        remedy = (
            "if this is wrong, write `frames: {t: {kind: timesys, timeorigin: MJD-origin}}` (or JD-origin, or a "
            "number), and `frame: t` for the column"
        )
        warnings.append(
            f"{column.name} is read as {word}, judging by its range "
            f"{column_statistics['minimum']}..{column_statistics['maximum']}; {remedy}"
        )
    return warnings


def find_column_epoch(
    column: Column, frame: ReferenceFrame | None = None, statistics: Mapping[str, object] | None = None
) -> float | None:
    """Return the Julian date at which a column of days is 0.

    Parameters
    ----------
    column
        A column with the unit ``d``.
    frame
        Its TIMESYS, whose ``timeorigin`` decides (VOTable 1.4, 3.2).
    statistics
        Its ``minimum`` and ``maximum``, which decide where there is no TIMESYS.

    Returns
    -------
    epoch
        Julian date in days: 0 for Julian dates, 2400000.5 for modified ones. None if the column is not a time in days.
    """
    ucd = (column.ucd or "").lower()
    is_number = column.type.is_numeric and not column.type.is_array
    if not is_number or column.unit != "d" or ucd.startswith(_NON_INSTANT_UCDS):
        return None
    if frame is not None and frame.kind == "timesys" and frame.timeorigin is not None:
        try:
            if frame.timeorigin in _TIMEORIGIN_EPOCHS:
                return _TIMEORIGIN_EPOCHS[frame.timeorigin]
            return float(frame.timeorigin)
        except ValueError:
            return None
    column_statistics = statistics or {}
    guessed_epoch = None
    if column_statistics.get("minimum") is not None:
        guessed_epoch = guess_column_epoch(column, column_statistics)
    if guessed_epoch is None:
        return _STANDARD_COLUMN_EPOCHS.get(column.name.lower())
    return guessed_epoch


def guess_column_epoch(column: Column, statistics: Mapping[str, object]) -> float | None:
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
        As of `find_column_epoch`, a Julian date; None: neither is likely (Julian dates of the years 999 to 3000,
        modified ones of 1883 to 2160).
    """
    low = statistics.get("minimum")
    high = statistics.get("maximum")
    if not (column.ucd or "").lower().startswith(_TIME_UCDS):
        return None
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    return next(
        (
            julian_epoch
            for julian_epoch, (lowest, highest) in _PLAUSIBLE_RANGES_DAYS.items()
            if lowest <= low and high <= highest
        ),
        None,
    )


def is_time_column(column: Column) -> bool:
    """Return whether a column's values are moments: timestamps, or days from a known epoch.

    Parameters
    ----------
    column
        As `set_column_epochs` knows it.
    """
    return column.type.is_timestamp or column.epoch is not None


def find_begin_and_end_time_columns(table: Table) -> tuple[Column | None, Column | None]:
    """Find the columns that say when something began and ended, by their UCDs.

    Parameters
    ----------
    table
        As `set_column_epochs` returns it.

    Returns
    -------
    begin
        The first of ``time.start``, ``time.epoch``, ``time``; of several the one of the smallest rank. None if there is
        no time.
    end
        ``time.end``; where there is none, the same as `begin`.
    """
    begins: list[tuple[int, int, Column]] = []
    ends: list[tuple[int, Column]] = []
    for column in table.columns:
        ucd = (column.ucd or "").lower()
        if column.hidden or not is_time_column(column) or column.type.is_array or ucd.startswith(_NON_INSTANT_UCDS):
            continue
        if ucd.startswith("time.end"):
            ends.append((column.rank, column))
        else:
            ucd_priority = next(
                (index for index, start in enumerate(_START_UCDS) if ucd.startswith(start)), len(_START_UCDS)
            )
            begins.append((ucd_priority, column.rank, column))
    if begins:
        begin = min(begins, key=lambda candidate: candidate[:2])[2]
    else:
        begin = None
    if ends and (begin is None or (begin.ucd or "").lower().startswith("time.start")):
        end = min(ends, key=lambda candidate: candidate[0])[1]
    else:
        end = None
    return begin, end or begin
