"""Which columns are times, and from when they count."""

from __future__ import annotations

import pytest

from hven.model.table import (
    JD_EPOCH,
    MJD_EPOCH,
    Column,
    ReferenceFrame,
    Table,
    find_begin_and_end_time_columns,
    list_epoch_warnings,
    set_column_epochs,
)
from hven.model.types import FLOAT64, TIMESTAMP

FRAMES = tuple(
    ReferenceFrame(id=name, kind="timesys", timescale="UTC", timeorigin=name if "origin" in name else "2440000.5")
    for name in ("JD-origin", "MJD-origin", "own")
)


def column(name: str, ucd: str = "time.start", unit: str = "d", **more: object) -> Column:
    return Column(name=name, type=FLOAT64, unit=unit, ucd=ucd).copy_with(**more)


@pytest.mark.parametrize(
    ("one", "statistics", "wanted"),
    [
        (column("mjd_obs", frame="MJD-origin"), {}, MJD_EPOCH),
        (column("t_min", frame="JD-origin"), {}, JD_EPOCH),
        (column("x", frame="own"), {}, 2440000.5),
        (column("x", ucd="", frame="MJD-origin"), {}, MJD_EPOCH),
        (column("exp_mjd_start"), {"minimum": 53000.0, "maximum": 60000.5}, MJD_EPOCH),
        (column("start"), {"minimum": 2453000.0, "maximum": 2460000.5}, JD_EPOCH),
        (column("start"), {"minimum": 5.0, "maximum": 2460000.5}, None),
        (column("start"), {}, None),
        (column("t_min"), {}, MJD_EPOCH),
        (column("time_min"), {}, JD_EPOCH),
        (column("time_min"), {"minimum": 53000.0, "maximum": 60000.5}, MJD_EPOCH),
        (column("time_min", unit="s"), {}, None),
        (column("duration", ucd="time.duration;obs", frame="MJD-origin"), {}, None),
    ],
)
def test_where_a_column_of_days_begins(one: Column, statistics: dict[str, object], wanted: float | None) -> None:
    table = Table(schema="s", name="t", columns=(one,), frames=FRAMES)
    assert set_column_epochs(table, {one.name: statistics}).columns[0].epoch == wanted


def test_what_is_not_said_is_told() -> None:
    table = Table(
        schema="s",
        name="t",
        columns=(column("a"), column("b", frame="MJD-origin"), column("c"), column("d")),
        frames=FRAMES,
    )
    ranges = {"a": (53000.0, 53001.0), "b": (1.0, 2.0), "c": (2453000.0, 2453001.5), "d": (1.0, 2.0)}
    told = list_epoch_warnings(
        set_column_epochs(table), {name: {"minimum": low, "maximum": high} for name, (low, high) in ranges.items()}
    )
    assert [text.split(",")[0] for text in told] == [
        "a is read as modified Julian dates (MJD)",
        "c is read as Julian dates (JD)",
        "d is read as plain numbers",
    ]
    assert "53000.0..53001.0" in told[0]
    assert "timeorigin: MJD-origin" in told[0]


def test_begin_and_end_by_ucd_alone() -> None:
    stamps = [
        Column(name=name, type=TIMESTAMP, ucd=ucd)
        for name, ucd in (("modified", "time.processing;meta.file"), ("when", "time.epoch"))
    ]
    last, first = column("b", ucd="time.end", frame="MJD-origin"), column("a", frame="MJD-origin")

    def found(*columns: Column) -> list[str]:
        return [
            one.name
            for one in find_begin_and_end_time_columns(
                set_column_epochs(Table(schema="s", name="t", columns=columns, frames=FRAMES))
            )
            if one is not None
        ]

    assert found(*stamps, last, first) == ["a", "b"]
    assert found(*stamps) == ["when", "when"]
    assert found(stamps[0]) == []
    assert found(last) == ["b"]
    assert found(Column(name="date_obs", type=TIMESTAMP)) == ["date_obs", "date_obs"]
