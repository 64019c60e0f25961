"""The binder: our own pairs (tests/corpus/adql-bind), output columns, what a plan may reuse, row filters, views."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adql_sky import BRIGHT, CATALOGUE, PHOTOMETRY, SQL_NAMES, STARS
from hven.adql import bind_condition, bind_expression, bind_query, parse_condition, parse_expression, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.adql.sql_writer import write_sql
from hven.adql.syntax_tree import (
    ColumnRef,
    Comparison,
    FunctionCall,
    Ident,
    Literal,
    Query,
    Select,
    SelectItem,
    TableRef,
)
from hven.engines.duckdb.dialect import DuckDBDialect
from hven.model.errors import BindError
from hven.model.table import Column, ColumnGroup, Table
from hven.model.types import FLOAT64, INT64

FOLDER = Path(__file__).parent.parent / "corpus" / "adql-bind"


def blocks(name):
    """Cut a file at its marks: ``--#`` title, query, then lines that begin with ``--!``, ``--=`` or ``-->``."""
    for block in (FOLDER / name).read_text(encoding="utf-8").split("--# ")[1:]:
        title, rest = block.split("\n", 1)
        lines = rest.strip("\n").split("\n")
        cut = next(index for index, line in enumerate(lines) if line[:3] in {"--!", "--=", "-->"})
        yield pytest.param("\n".join(lines[:cut]), {line[:3]: line[4:] for line in lines[cut:]}, id=title)


@pytest.mark.parametrize(("query", "expected"), list(blocks("errors.sql")))
def test_error(query, expected):
    with pytest.raises(BindError) as caught:
        bind_query(parse_query(query), CATALOGUE)
    assert str(caught.value) == expected["--!"]


def describe_columns(columns):
    return "; ".join(f"{column.name} {column.type}" + (f" {column.unit}" if column.unit else "") for column in columns)


@pytest.mark.parametrize(("query", "expected"), list(blocks("written.sql")))
def test_written(query, expected):
    bound = bind_query(parse_query(query), CATALOGUE)
    assert describe_columns(bound.columns) == expected["--="]
    assert write_sql(bound, DuckDBDialect(), SQL_NAMES).sql == expected["-->"]


def test_there_are_pairs():
    assert len(list(blocks("errors.sql"))) > 50
    assert len(list(blocks("written.sql"))) > 25


def columns(query, catalogue=CATALOGUE):
    return bind_query(parse_query(query), catalogue).columns


# --- output columns


def test_a_column_passed_on_keeps_everything():
    (column,) = columns("SELECT ra FROM stars")
    assert column is STARS.find_column("ra")
    (renamed,) = columns("SELECT q.x FROM (SELECT ra AS x FROM stars) AS q")
    assert renamed == STARS.find_column("ra").copy_with(name="x")


def test_names_are_unique_and_valid():
    got = columns(
        "SELECT ra, stars.ra, ra AS \"RA\", COUNT(*), COUNT(*), MAX(dec), ra + 1, 'x', CAST(ra AS REAL), -dec, IN_UNIT(dec, 'rad') FROM stars GROUP BY ra, dec"
    )
    names = [column.name for column in got]
    assert names == [
        "ra",
        "ra_2",
        "RA_3",
        "count_all",
        "count_all_2",
        "max_dec",
        "ra_plus_1",
        "text",
        "ra_4",
        "minus_dec",
        "dec_in_rad",
    ]
    assert len({name.lower() for name in names}) == len(names)


def test_aliases_are_kept_as_written():
    assert [column.name for column in columns('SELECT ra AS RAdeg, dec "de c", id AS "SELECT" FROM stars')] == [
        "RAdeg",
        "de c",
        "SELECT",
    ]


@pytest.mark.parametrize(
    "query", ["SELECT * FROM logs", "SELECT l.* FROM logs AS l", "SELECT * FROM (SELECT l.* FROM logs AS l) AS x"]
)
def test_a_star_that_stands_for_nothing_is_refused(query):
    logs = Table(schema="s", name="logs", columns=(Column(name="secret_id", type=INT64, hidden=True),))
    with pytest.raises(
        BindError, match="selects no column, because all columns are hidden; list the columns"
    ) as caught:
        columns(query, StaticTableCatalogue([logs]))
    assert "secret_id" not in str(caught.value)
    assert [column.name for column in columns("SELECT secret_id FROM logs", StaticTableCatalogue([logs]))] == [
        "secret_id"
    ]


def test_chains_of_a_thousand_links_bind_wherever_they_stand():
    total = " + ".join(f"CASE WHEN rmag > {n} THEN 1 ELSE 0 END" for n in range(1100))
    bind_query(parse_query(f"SELECT SUM({total}) AS x FROM stars"), CATALOGUE)
    bind_query(
        parse_query(f"SELECT {total} AS x, COUNT(*) AS n FROM stars GROUP BY {total} ORDER BY {total}"), CATALOGUE
    )
    bind_query(
        parse_query("SELECT " + " || ".join(["name"] * 1100) + " AS x, COUNT(*) AS n FROM stars GROUP BY name"),
        CATALOGUE,
    )
    bind_query(parse_query(" UNION ".join(["SELECT rmag FROM stars"] * 1100)), CATALOGUE)


@pytest.mark.parametrize(
    "value", ["rmag + 1", "rmag + 1 + id", "2 * (rmag + 1)", "rmag + 1 - rmag / 2 * (rmag + 1)", "(rmag + 1) * id"]
)
def test_the_beginning_of_a_chain_may_be_grouped_by(value):
    grouped = "rmag + 1, id, rmag / 2"
    bind_query(parse_query(f"SELECT {value} AS x, COUNT(*) AS n FROM stars GROUP BY {grouped}"), CATALOGUE)
    with pytest.raises(BindError, match="neither in GROUP BY"):
        bind_query(parse_query(f"SELECT {value} + rmag AS x, COUNT(*) AS n FROM stars GROUP BY {grouped}"), CATALOGUE)
    with pytest.raises(BindError, match="neither in GROUP BY"):
        bind_query(parse_query(f"SELECT 1 + {value} AS x, COUNT(*) AS n FROM stars GROUP BY rmag + 2, id"), CATALOGUE)


def test_star_leaves_hidden_columns_out_but_they_can_be_named():
    assert "secret" not in [column.name for column in columns("SELECT * FROM stars")]
    assert [column.name for column in columns("SELECT secret FROM stars")] == ["secret"]


def test_a_star_stands_for_the_columns_of_a_group():
    group = ColumnGroup(name="V", roles={"value": "v", "error": "e_v", "band": "johnson", "secret": "hidden_v"})
    names = ("id", "e_v", "v", "hidden_v")
    stars, others = (
        Table(
            schema="s",
            name=name,
            columns=tuple(Column(name=column, type=FLOAT64, hidden=column == "hidden_v") for column in names),
            groups=(group,),
        )
        for name in ("stars", "v")
    )
    alone, both = StaticTableCatalogue([stars]), StaticTableCatalogue([stars, others])
    for query in ("SELECT V.* FROM stars", "SELECT stars.v.* FROM stars", "SELECT a.V.* FROM stars AS a"):
        assert [column.name for column in columns(query, alone)] == ["v", "e_v"], query
    assert len(columns("SELECT id, V.* FROM stars", alone)) == 3
    # a table of FROM has precedence over a group with its name
    assert [column.name for column in columns("SELECT v.* FROM v", both)] == ["id", "e_v", "v"]
    with pytest.raises(BindError, match="'V' is ambiguous"):
        columns("SELECT V.* FROM stars AS a, stars AS b", alone)
    for query in ("SELECT W.* FROM stars", 'SELECT "v".* FROM stars', "SELECT b.V.* FROM stars AS a"):
        with pytest.raises(BindError, match="no table"):
            columns(query, alone)


def test_columns_of_outer_joins_may_be_null():
    assert columns("SELECT id FROM stars")[0].required
    assert [
        c.required for c in columns("SELECT s.id, p.id FROM stars AS s LEFT JOIN photometry AS p ON s.id = p.id")
    ] == [True, False]
    assert [
        c.required for c in columns("SELECT s.id, p.id FROM stars AS s RIGHT JOIN photometry AS p ON s.id = p.id")
    ] == [False, True]
    assert [
        c.required for c in columns("SELECT s.id, p.id FROM stars AS s FULL JOIN photometry AS p ON s.id = p.id")
    ] == [False, False]
    assert not columns("SELECT q.id FROM (SELECT p.id FROM stars AS s LEFT JOIN photometry AS p ON s.id = p.id) AS q")[
        0
    ].required


def test_merged_columns_come_first_and_once():
    assert [column.name for column in columns("SELECT * FROM labels JOIN photometry USING (id)")] == [
        "id",
        "Name",
        'odd "one"',
        "flux",
        "name_2",
    ]
    assert [column.name for column in columns("SELECT photometry.* FROM labels JOIN photometry USING (id)")] == [
        "id",
        "flux",
        "name",
    ]


def test_origins_reach_through_subqueries():
    (column,) = columns("SELECT q.m * 2 AS x FROM (SELECT rmag - dec AS m FROM stars) AS q")
    assert set(column.origins) == {"rmag", "dec"}


def test_union_has_the_words_of_the_left_and_the_types_of_both():
    one, two = columns("SELECT id, rmag FROM stars UNION SELECT flux, flux FROM photometry")
    assert (one.name, one.type, one.ucd, one.required) == ("id", FLOAT64, "meta.id;meta.main", False)
    assert (two.name, two.type, two.unit) == ("rmag", FLOAT64, "mag")
    assert columns("SELECT NULL AS x FROM stars UNION SELECT id FROM stars")[0].type == INT64


# --- names


NAMED = StaticTableCatalogue(
    [
        Table(schema="My Schema", name="Mixed", columns=(Column(name="RAdeg"), Column(name="plain"))),
        Table(schema="other", name="mixed", columns=(Column(name="a"),)),
    ]
)


@pytest.mark.parametrize(
    ("query", "fine"),
    [
        ('SELECT radeg FROM "My Schema".mixed', True),
        ('SELECT "RAdeg" FROM "My Schema"."Mixed"', True),
        ('SELECT "radeg" FROM "My Schema".mixed', False),
        ('SELECT RADEG FROM "my schema".mixed', False),
        ('SELECT "Mixed".RAdeg FROM "Mixed"', True),
        ("SELECT * FROM mixed", False),  # in both schemas
        ('SELECT a FROM "mixed"', True),
        ("SELECT a FROM catalog1.other.mixed", False),
    ],
)
def test_case_of_names(query, fine):
    if fine:
        bind_query(parse_query(query), NAMED)
    else:
        with pytest.raises(BindError):
            bind_query(parse_query(query), NAMED)


def test_the_catalogue_decides_what_errors_may_name():
    with pytest.raises(BindError) as caught:
        bind_query(parse_query("SELECT * FROM photometri"), StaticTableCatalogue([STARS]))
    assert "photometry" not in str(caught.value)


def test_file_facts_are_single_names_with_a_dot():
    source = StaticTableCatalogue(
        [
            Table(
                schema="",
                name="source",
                columns=(Column(name="file.path"), Column(name="source.row"), Column(name="a")),
            )
        ]
    )
    bound = bind_query(parse_query("SELECT file.path, source.row, source.a FROM source"), source)
    assert [column.name for column in bound.columns] == ["file.path", "source.row", "a"]


def test_bound_lists_the_stored_tables():
    bound = bind_query(
        parse_query("WITH w AS (SELECT id FROM photometry) SELECT b.id FROM bright AS b JOIN w ON b.id = w.id"),
        CATALOGUE,
    )
    assert {table.qualified_name for table in bound.tables} == {"sky.stars", "sky.photometry"}


# --- what a plan may reuse


def test_free_slots_and_the_shape():
    text = "SELECT TOP 5 id, IN_UNIT(ra, 'rad') FROM stars WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 10, 20, 0.5)) AND variable = 1 AND name = 'x' ORDER BY 2"
    bound = bind_query(parse_query(text), CATALOGUE)
    assert [value for slot, value in enumerate(bound.literal_values) if slot in bound.free_slots] == [
        5,
        10,
        20,
        0.5,
        "x",
    ]
    fixed = [value for slot, value in enumerate(bound.literal_values) if slot not in bound.free_slots]
    assert "rad" in fixed
    assert 2 in fixed  # the position in ORDER BY
    assert fixed.count(1) == 2  # of CONTAINS and of the boolean


def test_grouping_by_an_expression_fixes_its_literals():
    bound = bind_query(parse_query("SELECT rmag / 2, COUNT(*) FROM stars WHERE id < 7 GROUP BY rmag / 2"), CATALOGUE)
    assert [bound.literal_values[slot] for slot in bound.free_slots] == [7]
    bound = bind_query(parse_query("SELECT name, rmag / 2 AS x FROM stars ORDER BY rmag / 2"), CATALOGUE)
    assert not bound.free_slots


def test_very_many_literals_are_all_part_of_the_shape():
    bound = bind_query(
        parse_query(f"SELECT TOP 3 id FROM stars WHERE {' OR '.join(f'id = {n}' for n in range(500))}"), CATALOGUE
    )
    assert not bound.free_slots
    assert len(bound.literal_values) == 501


def test_a_long_list_is_part_of_the_shape_and_what_stands_beside_it_is_free():
    bound = bind_query(
        parse_query(f"SELECT TOP 3 id FROM stars WHERE id IN ({', '.join(map(str, range(500)))}) AND id > 17"),
        CATALOGUE,
    )
    assert bound.free_slots == {0, 501}
    assert (bound.literal_values[0], bound.literal_values[501]) == (3, 17)
    assert all(value is None for value in bound.literal_values[1:501])


def test_literals_of_views_and_of_programs_are_no_slots():
    bound = bind_query(parse_query("SELECT id FROM bright"), CATALOGUE)
    assert bound.literal_values == ()
    made = Query(
        Select(
            (SelectItem(ColumnRef(Ident("id"))),),
            TableRef((Ident("stars"),)),
            Comparison("=", ColumnRef(Ident("name")), Literal("it's")),
        )
    )
    bound = bind_query(made, CATALOGUE)
    assert write_sql(bound, DuckDBDialect(), SQL_NAMES).sql.endswith("= 'it''s')")


# --- conditions and expressions alone


def test_expressions_over_plain_columns():
    bound = bind_expression(parse_expression("rmag * 2 + secret"), STARS.columns)
    assert bound.meta.origins == {"rmag", "secret"}
    assert bind_condition(parse_condition("ra > 10 AND name IS NOT NULL"), STARS.columns).meta.type.is_boolean
    with pytest.raises(BindError, match="is an aggregate function"):
        bind_expression(parse_expression("MAX(ra)"), STARS.columns)
    with pytest.raises(BindError, match="not a condition"):
        bind_condition(parse_expression("ra + 1"), STARS.columns)


def test_row_filters_are_applied_before_anything_else():
    where = bind_condition(parse_condition("id % 2 = 0 AND name <> 7"), PHOTOMETRY.columns)
    bound = bind_query(parse_query("SELECT s.id FROM stars AS s LEFT JOIN photometry AS p ON s.id = p.id"), CATALOGUE)
    join = bound.query.body.source
    filtered = replace(
        bound,
        query=replace(
            bound.query, body=replace(bound.query.body, source=replace(join, right=replace(join.right, where=where)))
        ),
    )
    sql = write_sql(filtered, DuckDBDialect(), SQL_NAMES).sql
    condition = """(((t0."id" % nullif(2, 0)) = 0) AND (t0."name" <> 7))"""
    assert (
        f"""LEFT JOIN (SELECT list_extract([COLUMNS(*)], CASE WHEN {condition} THEN 1 END) FROM "sky.photometry" AS t0 WHERE {condition}) AS t2 ON"""
        in sql
    )


def test_a_view_lends_its_words():
    column = columns("SELECT rmag FROM bright")[0]
    assert column.description == BRIGHT.find_column("rmag").description
    assert [column.name for column in columns("SELECT bright.* FROM sky.bright")] == ["id", "rmag", "label"]


def test_points_are_taken_apart_for_the_engine():
    bound = bind_query(
        parse_query(
            "SELECT id FROM stars WHERE 1 = INTERSECTS(CIRCLE('ICRS', POINT('ICRS', 1, 2), 3), POINT('ICRS', ra, dec))"
        ),
        CATALOGUE,
    )
    call = bound.query.body.where.right
    assert isinstance(call, FunctionCall)
    assert call.name == "CONTAINS"
    assert [arg.name for arg in call.args] == ["POINT", "CIRCLE"]
    assert [len(arg.args) for arg in call.args] == [2, 3]


def test_too_deep_is_an_error_not_a_crash():
    expr = ColumnRef(Ident("ra"))
    for _ in range(20_000):
        expr = FunctionCall("ABS", (expr,))
    with pytest.raises(BindError, match="nested too deeply"):
        bind_query(Query(Select((SelectItem(expr),), TableRef((Ident("stars"),)))), CATALOGUE)


def test_wide_tables_do_not_confuse():
    wide = Table(schema="w", name="wide", columns=tuple(Column(name=f"c{number}") for number in range(400)))
    bound = bind_query(parse_query("SELECT * FROM wide WHERE c399 > 1"), StaticTableCatalogue([wide]))
    assert len(bound.columns) == 400
    assert bound.columns[17] is wide.columns[17]


ODD = (
    Table(schema="obs", name="My Table", columns=(Column(name="Full Name"), Column(name="mag"), Column(name="Size"))),
    Table(schema="obs", name="plain", columns=(Column(name="Full Name"), Column(name="mag"), Column(name="order"))),
)


@pytest.mark.parametrize(
    ("query", "remedy"),
    [
        ("SELECT FullName FROM obs.plain", 'did you mean "Full Name"?'),
        ("SELECT maag FROM obs.plain", "did you mean 'mag'?"),
        ("SELECT ordre FROM obs.plain", 'did you mean "order"?'),
        ("SELECT mag FROM obs.plain ORDER BY ordre", 'did you mean "order"?'),
        ("SELECT 1 AS n FROM obs.MyTable", 'did you mean obs."My Table"?'),
        ("SELECT 1 AS n FROM MyTable", 'did you mean obs."My Table"?'),
        ("SELECT 1 AS n FROM obs.plane", "did you mean 'obs.plain'?"),
        ("SELECT 1 AS n FROM obs.plain JOIN obs.plain AS b USING (fulname)", 'did you mean "Full Name"?'),
        ("SELECT 1 AS n FROM obs.others", 'use one of obs."My Table", obs.plain'),
        ("SELECT 1 AS n FROM nowhere.others", ""),
        ('SELECT "size" FROM obs."My Table"', 'write "Size" or Size; names in double quotes are case-sensitive'),
    ],
)
def test_the_nearest_name_is_written_as_a_query_must_write_it(query, remedy):
    with pytest.raises(BindError) as caught:
        bind_query(parse_query(query), StaticTableCatalogue(ODD))
    assert caught.value.remedy == remedy
