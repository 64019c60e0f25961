"""What is a conflict between schemas, and what is only another spelling."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.model.errors import ParamError
from hven.model.types import parse_type
from hven.plugins.schema_life.comparison_documents import comparison_to_json
from hven.plugins.schema_life.described_columns import ComparedSchema, DescribedColumn, name_type, write_type_name
from hven.plugins.schema_life.schema_comparison import (
    KINDS_BY_GROUPING,
    SchemaComparison,
    compare_models,
    normalize_unit_text,
)


def build_model(label: str, *columns: DescribedColumn) -> ComparedSchema:
    return ComparedSchema(
        label=label, columns=[column._replace(model=label) for column in columns], read_at=datetime.now(UTC)
    )


def column(name: str, type_name: str = "float64", **texts: object) -> DescribedColumn:
    return DescribedColumn("", "t", name, type_name, **texts)


def list_conflicts(comparison: SchemaComparison) -> list[tuple[str, str]]:
    return [(group.key, conflict.kind) for group in comparison.groups for conflict in group.conflicts]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (column("ra", unit="deg"), column("RA", unit="degrees")),
        (column("v", unit="km/s"), column("v", unit="km.s**-1")),
        (column("w", unit="Angstrom"), column("w", unit="0.1nm")),
        (column("m", ucd="phot.mag;em.opt.V"), column("m", ucd="PHOT.MAG; em.opt.v")),
        (column("m", ucd="PHOT_JHN_V"), column("m", ucd="phot.mag;em.opt.V")),
        (column("a", ucd="meta.id"), column("a")),
        (column("a", description="The name of the star"), column("a", description="Name of this star as in SIMBAD")),
        (column("a", choices=(("1", "x"), ("2", "y"))), column("a", choices=(("2", "y"), ("1", "x")))),
    ],
)
def test_spellings_are_no_conflicts(first: DescribedColumn, second: DescribedColumn) -> None:
    assert list_conflicts(compare_models([build_model("a", first), build_model("b", second)])) == []


@pytest.mark.parametrize(
    ("kind", "first", "second", "is_convertible"),
    [
        ("unit", column("ra", unit="deg"), column("ra", unit="rad"), True),
        ("unit", column("ra", unit="deg"), column("ra", unit="mag"), False),
        ("unit", column("ra", unit="deg"), column("ra"), False),
        ("unit", column("ra", unit="deg"), column("ra", unit="furlongs"), False),
        ("type", column("s_region", "float64"), column("s_region", "string"), None),
        ("ucd", column("a", ucd="meta.id"), column("a", ucd="phot.mag"), None),
        ("utype", column("a", utype="x:a"), column("a", utype="x:b"), None),
        ("choices", column("a", choices=(("1", "x"),)), column("a", choices=(("x", "1"),)), None),
        (
            "meaning",
            column("z", description="Redshift of the galaxy"),
            column("z", description="Height above sea level"),
            None,
        ),
    ],
)
def test_conflicts_have_kinds(
    kind: str, first: DescribedColumn, second: DescribedColumn, is_convertible: bool | None
) -> None:
    comparison = compare_models([build_model("a", first), build_model("b", second)])
    assert list_conflicts(comparison) == [(first.name, kind)]
    conflict = comparison.groups[0].conflicts[0]
    assert conflict.is_convertible is is_convertible
    swapped = compare_models([build_model("b", second), build_model("a", first)])
    assert swapped.groups[0].conflicts[0].id == conflict.id  # the order of models and columns is no difference
    noted = compare_models([build_model("a", first), build_model("b", second)], notes={conflict.id: "known"})
    assert noted.groups[0].conflicts[0].note == "known"
    assert (comparison.count_open_differences([kind]), noted.count_open_differences([kind])) == (1, 0)


def test_signs_in_names_can_be_ignored() -> None:
    models = [
        build_model("a", column("RAJ2000", unit="deg"), column("B-V"), column("_")),
        build_model("b", column('"ra_j2000"', unit="rad"), column("b_v"), column("__")),
    ]
    groups = {group.key: group for group in compare_models(models, "similar-name").groups}
    assert {key: list(group.models) for key, group in groups.items()} == {
        "raj2000": ["a", "b"], "bv": ["a", "b"], "_": ["a"], "__": ["b"]
    }  # fmt: skip
    assert list_conflicts(compare_models(models, "similar-name")) == [("raj2000", "unit")]
    assert list_conflicts(compare_models(models)) == []


def test_other_groupings() -> None:
    models = [
        build_model("a", column("RAJ2000", unit="deg", ucd="pos.eq.ra"), column("n", "int32")),
        build_model("b", column("s_ra", unit="rad", ucd="pos.eq.ra"), column("n", "int32")),
    ]
    assert list_conflicts(compare_models(models, "name")) == []
    assert list_conflicts(compare_models(models, "ucd")) == [("pos.eq.ra", "unit")]
    assert list_conflicts(compare_models(models, "unit")) == list_conflicts(compare_models(models, "type")) == []
    by_name = compare_models(models)
    assert [group.missing_models for group in by_name.groups] == [[], ["b"], ["a"]]
    assert by_name.count_open_differences(["missing"]) == 2
    with pytest.raises(ParamError, match="cannot be grouped by 'colour'"):
        compare_models(models, "colour")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("int4",), "int32"), (("integer",), "int32"), (("adql:INTEGER",), "int32"), (("int",), "int32"),
        (("int8",), "int64"), (("adql:VARCHAR(20)",), "string"), (("VARCHAR(*)",), "string"), (("char", "*"), "string"),
        (("char", "4x*"), "string[]"), (("double", "3"), "float64[]"), (("double", "1"), "float64"),
        (("double precision",), "float64"), (("char", "*", "timestamp"), "timestamp"), (("int4[]",), "int32[]"),
        (("char", "*", "adql:REGION"), "adql:REGION"), (("REGION",), "adql:REGION"), (("", ""), ""),
        (("char", "*", "adql:TIMESTAMP"), "timestamp"), (("numeric(3,2)",), "numeric"),
    ],
)  # fmt: skip
def test_types_of_services(words: tuple[str, ...], expected: str) -> None:
    assert write_type_name(*words) == expected


@pytest.mark.parametrize(
    "text", ["int32", "string[20]", "timestamp", "float64[3]", "adql:REGION", "bool", "unicode", "uri"]
)
def test_types_of_this_site_are_those_of_services(text: str) -> None:
    column_type = parse_type(text)
    assert name_type(column_type) == write_type_name(
        column_type.datatype, column_type.arraysize or "", column_type.xtype or ""
    )


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["deg", "rad", "", "?!"])), max_size=6), st.randoms())
def test_order_is_no_difference(pairs: list[tuple[str, str]], random: object) -> None:
    columns = [column(name, unit=unit) for name, unit in pairs]
    first = compare_models([build_model("m", *columns)])
    random.shuffle(columns)
    second = compare_models([build_model("m", *columns)])
    ids = [
        [conflict.id for group in comparison.groups for conflict in group.conflicts] for comparison in (first, second)
    ]
    assert ids[0] == ids[1]


@given(
    st.lists(
        st.builds(
            column,
            st.sampled_from(["a", "A", "b"]),
            st.sampled_from(["int32", "string"]),
            unit=st.sampled_from(["", "deg", "degree", "rad"]),
            ucd=st.sampled_from(["", "meta.id", "META.ID", "pos"]),
            utype=st.sampled_from(["", "x", "X", "y"]),
        ),
        max_size=8,
    )
)
def test_values_of_conflicts_are_all_that_differ(columns: list[DescribedColumn]) -> None:
    expected = {}
    for key in ("a", "b"):
        group = [each for each in columns if each.name.lower() == key]
        values = {
            "type": {each.type for each in group},
            "unit": {each.unit.replace("degree", "deg") for each in group},
            "ucd": {each.ucd.lower() for each in group} - {""},
            "utype": {each.utype.lower() for each in group} - {""},
        }
        expected |= {(key, kind): texts for kind, texts in values.items() if len(texts) > 1}
    found = {}
    for group in compare_models([build_model("m", *columns)]).groups:
        for conflict in group.conflicts:
            found[group.key, conflict.kind] = {value.text for value in conflict.values}
            counts = [len(value.columns) for value in conflict.values]
            assert counts == sorted(counts, reverse=True)
    assert found == expected


@given(st.text(max_size=20))
def test_any_unit_is_normalised(text: str) -> None:
    unit = normalize_unit_text(text)
    assert normalize_unit_text(unit) == unit or text.strip() == unit


def test_each_grouping_compares_an_attribute() -> None:
    model = build_model("m", column("a", unit="m", ucd="meta.id", utype="x"))
    for grouping in KINDS_BY_GROUPING:
        assert len(compare_models([model], grouping).groups) == 1


ODD_TEXTS = st.text(st.sampled_from('a"\\\n\u00e9\u2028{},:'), max_size=4)


@given(st.lists(st.builds(column, ODD_TEXTS, ODD_TEXTS, unit=ODD_TEXTS, description=ODD_TEXTS), max_size=6))
def test_json_says_what_the_groups_say(columns: list[DescribedColumn]) -> None:
    columns = [each._replace(choices=((each.unit, each.name),) if each.unit else ()) for each in columns]
    comparison = compare_models([build_model('m"', *columns), build_model("n", *columns[:2])])
    expected = []
    for group in comparison.groups:
        conflicts = []
        for conflict in group.conflicts:
            values = [
                {"value": value.text, "columns": [each.place for each in value.columns]} for value in conflict.values
            ]
            facts = {"id": conflict.id, "kind": conflict.kind, "values": values, "note": "", "pair_notes": []}
            if conflict.is_convertible is not None:
                facts["convertible"] = conflict.is_convertible
            conflicts.append(facts)
        group_facts = {"key": group.key, "models": group.models, "missing": group.missing_models}
        group_facts["missing_count"] = len(group.missing_models)
        if group.missing_models:
            group_facts |= {"missing_id": comparison.compute_missing_id(group), "missing_note": ""}
        group_columns = [each._asdict() | {"choices": dict(each.choices)} for each in group.columns]
        expected.append(group_facts | {"columns": group_columns, "conflicts": conflicts})
    assert orjson.loads(orjson.dumps(comparison_to_json(comparison)))["groups"] == expected
