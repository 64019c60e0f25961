"""TAP_SCHEMA: complete, self-describing, consistent, and each reader's own."""

from __future__ import annotations

import re

import pytest

from hven.adql.adql_writer import quote_adql_name
from hven.engines import Snapshot
from hven.model.table import Column, ForeignKey, Table
from hven.model.types import FLOAT64, INT32, INT64, STRING, TIMESTAMP, parse_type
from hven.site import _tap_schema as tap_schema
from hven.site._state_builder import build_published_state
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES, OWNER_PRINCIPAL, Principal
from hven.site.store import SnapshotRecord

STARS = Table(
    schema="cat",
    name="stars",
    description="Stars",
    primary=("id",),
    position=("ra", "dec"),
    columns=(
        Column(name="id", type=INT64, required=True, ucd="meta.id;meta.main", rank=1),
        Column(name="ra", type=FLOAT64, unit="deg", ucd="pos.eq.ra;meta.main", rank=1),
        Column(name="dec", type=FLOAT64, unit="deg", ucd="pos.eq.dec;meta.main", rank=1),
        Column(name="size", type=INT32, rank=20),
        Column(name="name", type=parse_type("string[12*]"), description="Étoile"),
        Column(name="seen", type=TIMESTAMP),
        Column(name="flux", type=parse_type("float32[3]"), unit=""),
        Column(name="Odd name", type=STRING),
        Column(name="inner", type=STRING, hidden=True),
    ),
)
NOTES = Table(
    schema="cat",
    name="notes",
    access="private",
    columns=(Column(name="star", type=INT64),),
    keys=(ForeignKey(id="star", columns=("star",), target="cat.stars", target_columns=("id",)),),
)
LINKS = Table(
    schema="other",
    name="order",
    columns=(Column(name="note", type=INT64), Column(name="star", type=INT64)),
    keys=(
        ForeignKey(id="n", columns=("note",), target="cat.notes", target_columns=("star",)),
        ForeignKey(id="s", columns=("star",), target="cat.stars", target_columns=("id",), description="Its star"),
    ),
)


def record(table: Table, **statistics) -> SnapshotRecord:
    snapshot = Snapshot(
        id=f"1-{table.name}", table=table.qualified_name, path=table.qualified_name, rows=0, statistics=statistics
    )
    return SnapshotRecord(
        snapshot=snapshot, table=table, collection=table.schema, run="r", created="2026-01-01T00:00:00Z"
    )


@pytest.fixture
def holdings():
    return build_published_state({table.qualified_name: record(table) for table in (STARS, NOTES, LINKS)}, {})


def rows(catalogue, name):
    return catalogue.memory_relations[f"TAP_SCHEMA.{name}"].rows.to_pylist()


def test_it_describes_itself_with_all_columns_of_the_standard(holdings):
    catalogue = holdings.get_catalogue()
    listed = [
        (row["table_name"], row["column_name"])
        for row in rows(catalogue, "columns")
        if row["table_name"].startswith("TAP_SCHEMA.")
    ]
    # TAP 1.1 section 4, tables 1 to 5
    expected = {
        "schemas": "schema_name utype description schema_index",
        "tables": "schema_name table_name table_type utype description table_index",
        "columns": 'table_name column_name datatype arraysize xtype "size" description utype unit ucd indexed principal std column_index',
        "keys": "key_id from_table target_table description utype",
        "key_columns": "key_id from_column target_column",
    }
    assert sorted(listed) == sorted(
        (f"TAP_SCHEMA.{table}", name) for table, names in expected.items() for name in names.split()
    )
    own = {row["column_name"]: row for row in rows(catalogue, "columns") if row["table_name"] == "TAP_SCHEMA.columns"}
    assert all(row["std"] == 1 for row in own.values())
    assert {name for name, row in own.items() if row["datatype"] == "int"} == {
        '"size"',
        "indexed",
        "principal",
        "std",
        "column_index",
    }
    pairs = {row["key_id"]: (row["from_column"], row["target_column"]) for row in rows(catalogue, "key_columns")}
    found = {
        (row["from_table"], row["target_table"], *pairs[row["key_id"]])
        for row in rows(catalogue, "keys")
        if row["from_table"].startswith("TAP_")
    }
    assert {tuple(word.removeprefix("TAP_SCHEMA.") for word in key) for key in found} == {  # TAP 1.1 section 4
        ("tables", "schemas", "schema_name", "schema_name"),
        ("columns", "tables", "table_name", "table_name"),
        ("keys", "tables", "from_table", "table_name"),
        ("keys", "tables", "target_table", "table_name"),
        ("key_columns", "keys", "key_id", "key_id"),
    }
    for table in tap_schema.load_tap_schema_definition().tables:
        relation = catalogue.memory_relations[table.qualified_name].rows
        assert relation.schema.names == [column.name for column in table.columns]


def test_every_reference_leads_somewhere_and_nothing_is_an_empty_string(holdings):
    for who in (ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL):
        catalogue = holdings.get_catalogue(who)
        schemas = {row["schema_name"] for row in rows(catalogue, "schemas")}
        tables = {row["table_name"] for row in rows(catalogue, "tables")}
        columns = {(row["table_name"], row["column_name"]) for row in rows(catalogue, "columns")}
        keys = {row["key_id"]: row for row in rows(catalogue, "keys")}
        assert {row["schema_name"] for row in rows(catalogue, "tables")} == schemas
        assert {name for name, _ in columns} == tables
        for row in keys.values():
            assert {row["from_table"], row["target_table"]} <= tables
        pairs = rows(catalogue, "key_columns")
        assert {row["key_id"] for row in pairs} == set(keys)
        for row in pairs:
            key = keys[row["key_id"]]
            assert (key["from_table"], row["from_column"]) in columns
            assert (key["target_table"], row["target_column"]) in columns
        for name in ("schemas", "tables", "columns", "keys", "key_columns"):
            assert all(value != "" for row in rows(catalogue, name) for value in row.values())
            required = [
                column.name
                for table in tap_schema.load_tap_schema_definition().tables
                if table.name == name
                for column in table.columns
                if column.required
            ]
            assert all(row[word] is not None for row in rows(catalogue, name) for word in required)


def test_columns_say_what_the_model_says(holdings):
    found = {
        row["column_name"]: row for row in rows(holdings.get_catalogue(), "columns") if row["table_name"] == "cat.stars"
    }
    assert "inner" not in found
    assert list(found) == ["id", "ra", "dec", '"size"', "name", "seen", "flux", '"Odd name"']
    assert [row["column_index"] for row in found.values()] == list(range(1, 9))
    assert (found["name"]["datatype"], found["name"]["arraysize"], found["name"]["size"]) == ("char", "12*", 12)
    assert (found["seen"]["datatype"], found["seen"]["arraysize"], found["seen"]["xtype"], found["seen"]["size"]) == (
        "char",
        "*",
        "timestamp",
        None,
    )
    assert (found["flux"]["arraysize"], found["flux"]["size"], found["flux"]["unit"]) == ("3", 3, None)
    assert (found["ra"]["arraysize"], found["ra"]["unit"], found["ra"]["indexed"], found["ra"]["principal"]) == (
        None,
        "deg",
        1,
        1,
    )
    assert (found['"size"']["indexed"], found['"size"']["principal"], found['"size"']["std"]) == (0, 0, 0)
    assert found["id"]["indexed"] == 1


def test_names_are_written_as_a_query_must_write_them(holdings):
    names = [row["table_name"] for row in rows(holdings.get_catalogue(), "tables")]
    assert 'other."order"' in names
    assert all(re.fullmatch(r'([A-Za-z]\w*|"[^"]+")\.([A-Za-z]\w*|"[^"]+")', name) for name in names)
    assert quote_adql_name('a"b') == '"a""b"'


def test_a_private_table_is_in_nobody_elses_tap_schema(holdings):
    public, owner = holdings.get_catalogue(), holdings.get_catalogue(OWNER_PRINCIPAL)
    for name in ("schemas", "tables", "columns", "keys", "key_columns"):
        assert "notes" not in str(rows(public, name))
    assert "cat.notes" in str(rows(owner, "tables"))
    assert [row["key_id"] for row in rows(public, "keys") if row["key_id"].startswith("other")] == ["other.order:s"]
    assert len([row for row in rows(owner, "keys") if row["key_id"].startswith("other")]) == 2
    assert (
        holdings.find_access_key()
        == holdings.find_access_key(Principal(name="ann"))
        == "public"
        != holdings.find_access_key(OWNER_PRINCIPAL)
    )
    assert (
        holdings.find_relation("TAP_SCHEMA.tables", holdings.find_access_key(OWNER_PRINCIPAL)).rows.num_rows
        == holdings.find_relation("TAP_SCHEMA.tables").rows.num_rows + 1
    )


def test_string_columns_with_other_than_ascii_are_unicode():
    holdings = build_published_state(
        {"cat.stars": record(STARS, name={"non_ascii": 3}, **{"Odd name": {"non_ascii": 0}})}, {}
    )
    assert holdings.tables_by_name["cat.stars"].table.find_column("name").type == parse_type("unicode[12*]")
    assert holdings.tables_by_name["cat.stars"].table.find_column("Odd name").type == STRING
    odd = Table(schema="µ", name="t", columns=(Column(name="a", unit="µm"),))
    catalogue = build_published_state({"µ.t": record(odd)}, {}).get_catalogue()
    own = {table.name: table for schema in catalogue.schemas for table in schema.tables if schema.name == "TAP_SCHEMA"}
    assert (
        own["columns"].find_column("unit").type
        == own["columns"].find_column("table_name").type
        == parse_type("unicode")
    )
    told = {(row["table_name"], row["column_name"]): row["datatype"] for row in rows(catalogue, "columns")}
    assert told["TAP_SCHEMA.columns", "unit"] == told["TAP_SCHEMA.schemas", "schema_name"] == "unicodeChar"
    assert told["TAP_SCHEMA.columns", "ucd"] == "char"


class HalfOf:
    """A policy with row filters: readers with other rows have another reach."""

    def decide_visibility(self, table, who):
        return None

    def find_row_condition(self, table, who):
        from hven.adql import syntax_tree

        return (
            None
            if who.name is None
            else syntax_tree.Comparison(
                "=", syntax_tree.ColumnRef(syntax_tree.Ident("id")), syntax_tree.Literal(len(who.name))
            )
        )


def test_readers_with_other_rows_have_another_reach(holdings):
    policies = (*DEFAULT_POLICIES, HalfOf())
    names = [holdings.find_access_key(Principal(name=name), policies) for name in (None, "a", "b", "bb")]
    assert names[0] == "public"
    assert names[1] == names[2] != names[3]
    assert len(set(names)) == 3
    first, second = (holdings.get_catalogue(Principal(name=name), policies) for name in ("a", "bb"))
    assert first is second  # the same tables: one TAP_SCHEMA
    assert holdings.find_relation("TAP_SCHEMA.tables", names[3]) is first.memory_relations["TAP_SCHEMA.tables"]
