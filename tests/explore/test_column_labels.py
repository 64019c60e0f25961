"""What columns are called: the descriptor's words, the standard's by frame and language, else the name; names of queries on request."""

from __future__ import annotations

import pytest

from hven.descriptor import load_standard_descriptor
from hven.model.table import Column, Table, set_column_epochs
from hven.model.types import parse_type
from hven.portal._explore.column_labels import (
    RANGE_END_LABELS,
    ColumnLabels,
    find_coordinate_frame,
    load_standard_labels,
)
from hven.portal._pages.texts import list_languages, load_page_translations

FRAMES = ("celestial", "body", "cartesian", "spherical", "cylindrical")


def epn(kind: str = "", **columns: Column) -> Table:
    """Return EPN-TAP's table in a frame, with columns of one's own."""
    loaded = load_standard_descriptor("epn-tap-2.0").tables[0]
    table = loaded.table
    ucds = {"celestial": "pos.eq.ra", "body": "pos.bodyrc.lon", "cartesian": "pos.cartesian.x", "spherical": "pos.spherical.r", "cylindrical": "pos.cylindrical.r"}  # fmt: skip
    framed = [
        one.copy_with(ucd=f"{ucds[kind]};stat.min") if one.name == "c1min" and kind in ucds else one
        for one in table.columns
    ]
    return set_column_epochs(
        Table(schema="a", name="epn_core", columns=(*framed, *columns.values()), frames=table.frames, utype=table.utype)
    )


@pytest.mark.parametrize("name", ["epn-tap-2.0", "obscore-1.1", "obscore-radio-1.0"])
@pytest.mark.parametrize("kind", ["", *FRAMES, "healpix"])
@pytest.mark.parametrize("language", list_languages())
def test_every_standard_column_has_labels_in_each_frame_and_language(name: str, kind: str, language: str) -> None:
    table = load_standard_descriptor(name).tables[0].table
    table = Table(schema="ivoa", name="obscore" if "obscore" in name else "epn_core", columns=table.columns)
    labels = ColumnLabels(
        table=table, language=language, translations=load_page_translations(language, "columns"), frame=kind
    )
    said = {one.name: labels.label_column(one) for one in table.columns}
    assert [name for name, label in said.items() if label == name or "_" in label] == []
    assert len(set(said.values())) == len(said), "two columns are not called alike"
    assert not any("{" in label for label in said.values())


@pytest.mark.parametrize("language", list_languages()[1:])
def test_every_word_is_translated_and_nothing_else(language: str) -> None:
    wanted = set(RANGE_END_LABELS).union(*(one.list_label_texts() for one in load_standard_labels().values()))
    assert set(load_page_translations(language, "columns")) == wanted


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_is_told_by_its_first_coordinate(kind: str) -> None:
    assert find_coordinate_frame(epn(kind)) == kind


def test_coordinates_are_labelled_by_their_frame() -> None:
    on = {kind: ColumnLabels(table=epn(kind)) for kind in FRAMES}
    assert [on[kind].label_field("c1") for kind in FRAMES] == ["Right ascension", "Longitude", "x", "Distance", "Distance from the axis"]  # fmt: skip
    body = on["body"]
    assert [body.label_field(one) for one in ("c1min", "c1max", "c2min", "time", "time_min", "solar_longitude")] == ["Longitude, west", "Longitude, east", "Latitude, south", "Time", "Start", "Ls"]  # fmt: skip
    assert [body.label_field(one) for one in ("phase_min", "phase_max")] == ["Phase angle, min", "Phase angle, max"]
    assert ColumnLabels(table=epn(), frame="healpix").label_field("c1") == "HEALPix order"
    assert ColumnLabels(table=epn()).label_field("c1") == "First coordinate"


def test_the_descriptors_word_goes_first_and_other_columns_keep_their_names() -> None:
    table = epn("body", own=Column(name="orbit_number"), said=Column(name="ice", label="Ice <b>index</b>"))
    labels = ColumnLabels(table=table, language="fr", translations=load_page_translations("fr", "columns"))
    assert [labels.label_field(one) for one in ("orbit_number", "ice", "target_name", "nowhere")] == ["orbit_number", "Ice <b>index</b>", "Cible", "nowhere"]  # fmt: skip
    assert [labels.label_field(one) for one in ("c1min", "phase_max")] == ["Longitude, ouest", "Angle de phase, max."]


def test_a_nonstandard_table_keeps_its_own_names() -> None:
    table = Table(schema="a", name="b", columns=(Column(name="time_min"), Column(name="s_ra", utype="obscore:x")))
    labels = ColumnLabels(table=table)
    assert [labels.label_field(one.name) for one in table.columns] == ["time_min", "Right ascension"]


def test_names_as_queries_write_them() -> None:
    labels = ColumnLabels(table=epn("body", said=Column(name="ice", label="Ice")), is_raw=True)
    assert [labels.label_field(one) for one in ("c1min", "time", "ice")] == ["c1min", "time", "ice"]
    assert labels.translate_code(labels.table.find_column("dataproduct_type"), "sc") == "sc"


def test_codes_become_words_in_lists_and_plurals() -> None:
    table = epn()
    kind, level = table.find_column("dataproduct_type"), table.find_column("processing_level")
    english, french = (
        ColumnLabels(table=table),
        ColumnLabels(table=table, language="fr", translations=load_page_translations("fr", "columns")),
    )
    assert [english.translate_code(kind, one) for one in ("sc", "im#sp", "xx", "")] == ["spectral cube", "image, spectrum", "xx", ""]  # fmt: skip
    assert english.translate_code(kind, "sc", is_plural=True) == "spectral cubes"
    assert [one.translate_code(level, "3") for one in (english, french)] == ["calibrated", "étalonné"]


def test_column_tooltips_show_the_name_and_the_description() -> None:
    table = epn("body", own=Column(name="orbit", description="Number of the orbit"), bare=Column(name="bare"))
    labels = ColumnLabels(table=table)
    assert labels.write_column_tooltip(table.find_column("time_min")).startswith("time_min: Start of")
    assert [labels.write_column_tooltip(table.find_column(one)) for one in ("orbit", "bare")] == [
        "Number of the orbit",
        "",
    ]
    assert [
        labels.find_unit_or_time_scale(table.find_column(one)) for one in ("time_min", "c1_resol_min", "phase_min")
    ] == [
        "UTC",
        "",
        "deg",
    ]


def number(name: str, unit: str | None = None) -> Column:
    return Column(name=name, type=parse_type("float64"), unit=unit)


@pytest.mark.parametrize(
    ("name", "unit", "largest", "label"),
    [
        ("size_kb", "kbyte", 5e6, "size"),
        ("size_kb", "kbyte", 50, "size_kb"),
        ("freq_hz", "Hz", 5e9, "freq"),
        ("e_freq_hz", "Hz", 5e9, "e_freq"),
        ("width_um", "um", 5e4, "width"),
        ("duration_ms", "ms", 9e5, "duration"),
        ("hz", "Hz", 5e9, "hz"),
        ("size_of_box", "kbyte", 5e6, "size_of_box"),
        ("v_km_s", "km.s-1", 300, "v_km_s"),
    ],
)
def test_a_label_names_no_unit_other_than_the_one_that_is_shown(
    name: str, unit: str, largest: float, label: str
) -> None:
    column = number(name, unit)
    labels = ColumnLabels(
        table=Table(schema="t", name="t", columns=(column,)),
        statistics={name: {"minimum": largest / 2, "maximum": largest}},
    )
    assert labels.label_column(column) == labels.label_field(name) == label
    assert ColumnLabels(table=labels.table, is_raw=True).label_column(column) == name


def test_a_unit_that_the_reader_chose_is_not_contradicted() -> None:
    speed, low, high = number("v_km_s", "km.s-1"), number("freq_hz_min", "Hz"), number("freq_hz_max", "Hz")
    labels = ColumnLabels(table=Table(schema="t", name="t", columns=(speed, low, high)))
    assert (labels.label_column(speed), labels.label_column(speed, "m.s-1")) == ("v_km_s", "v")
    assert (labels.label_column(low, "MHz"), labels.label_field("freq_hz", "MHz")) == ("freq_min", "freq")
    assert labels.label_field("freq_hz", "Hz") == "freq_hz"


def test_labels_stay_different() -> None:
    columns = (
        number("size_kb", "kbyte"),
        number("size_bytes", "byte"),
        number("rate_hz", "Hz"),
        number("rate", "Hz"),
        number("date_d", "d"),
        number("date_"),
    )
    labels = ColumnLabels(table=Table(schema="t", name="t", columns=columns))
    assert [labels.label_column(one, "GHz") for one in columns] == [
        "size_kb",
        "size_bytes",
        "rate_hz",
        "rate",
        "date_d",
        "date",
    ]


def test_a_reserved_word_is_read_without_what_queries_need() -> None:
    columns = (number("date_"), number("size_"), number("x_"), number("order_"), number("order"))
    labels = ColumnLabels(table=Table(schema="t", name="t", columns=columns))
    assert [labels.label_column(one) for one in columns] == ["date", "size", "x_", "order_", "order"]
    assert ColumnLabels(table=labels.table, is_raw=True).label_column(columns[0]) == "date_"
