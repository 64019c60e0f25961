"""The line that says what a table is: of what all rows say, and nothing where nothing is known or all may not be told."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hven.model.table import Column, Table, set_column_epochs
from hven.model.types import FLOAT64, STRING
from hven.portal._explore.column_labels import ColumnLabels
from hven.portal._explore.table_sentence import write_common_value_sentence

COLUMNS = (
    *(
        Column(name=name, type=STRING)
        for name in ("facility_name", "instrument_name", "dataproduct_type", "target_name")
    ),
    *(Column(name=name, type=FLOAT64, unit="m", ucd="em.wl") for name in ("em_min", "em_max")),
    *(Column(name=name, type=FLOAT64, unit="d", ucd="time.start", frame=None) for name in ("t_min", "t_max")),
)
TABLE = set_column_epochs(Table(schema="a", name="b", standard="obscore-1.1", columns=COLUMNS))


def build_statistics(value: object, distinct: int = 1) -> dict[str, object]:
    return {"minimum": value, "maximum": value, "distinct": distinct, "nulls": 0}


ALL: dict[str, Any] = {
    "facility_name": build_statistics("Uraniborg"), "instrument_name": build_statistics("Sextant"), "dataproduct_type": build_statistics("image"), "target_name": build_statistics("Mars#Venus"),
    "em_min": {"minimum": 4e-7}, "em_max": {"maximum": 7.04e-7}, "t_min": {"minimum": 53005.0}, "t_max": {"maximum": 55000.0},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({}, "Uraniborg / Sextant, images, Mars, Venus, 400\u2013700 nm, 2004\u20132009"),
        (
            {"instrument_name": build_statistics("Uraniborg")},
            "Uraniborg, images, Mars, Venus, 400\u2013700 nm, 2004\u20132009",
        ),
        (
            {"facility_name": build_statistics("x", 2), "instrument_name": {}},
            "Images, Mars, Venus, 400\u2013700 nm, 2004\u20132009",
        ),
        ({"facility_name": {}, "instrument_name": {}, "dataproduct_type": {}}, ""),
        (
            {"em_min": {"minimum": -1.0}, "t_max": {"maximum": 53006.4}},
            "Uraniborg / Sextant, images, Mars, Venus, 2004",
        ),
        (  # the last row has no end
            {"t_min": {"minimum": 53005.0, "maximum": 55500.0}},
            "Uraniborg / Sextant, images, Mars, Venus, 400\u2013700 nm, 2004\u20132010",
        ),
        ({"em_max": {"maximum": math.inf}, "t_min": {}}, "Uraniborg / Sextant, images, Mars, Venus"),
        (
            {"t_max": {"maximum": 1e300}, "target_name": build_statistics("x" * 1000)},
            "Uraniborg / Sextant, images, 400\u2013700 nm",
        ),
        (
            {"target_name": {**build_statistics("Mars"), "nulls": 3}},
            "Uraniborg / Sextant, images, 400\u2013700 nm, 2004\u20132009",
        ),
        (
            {"dataproduct_type": build_statistics("<b>odd</b>")},
            "Uraniborg / Sextant, <b>odd</b>, Mars, Venus, 400\u2013700 nm, 2004\u20132009",
        ),
    ],
)
def test_the_sentence_of_a_table_describes_all_its_rows(changed: dict[str, Any], line: str) -> None:
    assert write_common_value_sentence(ColumnLabels(table=TABLE, statistics={**ALL, **changed})) == line


def test_there_is_none_where_nothing_may_be_told_or_names_are_wanted() -> None:
    assert write_common_value_sentence(ColumnLabels(table=TABLE)) == ""
    assert write_common_value_sentence(ColumnLabels(table=TABLE, statistics=ALL, is_raw=True)) == ""


def test_events_have_the_name_of_their_group() -> None:
    columns = (*COLUMNS, Column(name="granule_gid", type=STRING))
    table = Table(schema="a", name="b", standard="epn-2.0", columns=columns)
    statistics = {**ALL, "dataproduct_type": build_statistics("ev"), "granule_gid": build_statistics("active region")}
    labels = ColumnLabels(table=table, statistics=statistics)
    assert write_common_value_sentence(labels).startswith("Uraniborg / Sextant, active region, Mars, Venus")
    assert write_common_value_sentence(
        ColumnLabels(table=table, statistics={**statistics, "granule_gid": build_statistics("a", 2)})
    ).startswith("Uraniborg / Sextant, events, Mars, Venus")
