"""Names of outputs without a name: from the expression alone, the same wherever it stands, valid, unique, short."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adql_sky import CATALOGUE
from hven.adql import bind_query, parse_query
from hven.adql._output_names import MAX_NAME_CHARACTERS
from hven.adql.reserved_words import RESERVED_WORDS
from shared import EXAMPLES_FACTOR

NAMES = {
    "ra + 1": "ra_plus_1",
    "RA+1": "ra_plus_1",
    "s.ra + -- a comment\n 1": "ra_plus_1",
    "ra - 266.41683": "ra_minus_number",
    "rmag - 0.03": "rmag_minus_0_03",
    "ra / dec * 2": "ra_over_dec_times_2",
    "-ra": "minus_ra",
    "(ra)": "ra",
    "CAST(ra AS VARCHAR)": "ra",
    "id % 10": "id_mod_10",
    "id & 7": "id_bitand_7",
    "COUNT(*)": "count_all",
    "COUNT(DISTINCT ra)": "count_ra",
    "MAX(ra)": "max_ra",
    "AVG(ra - dec)": "avg_ra_minus_dec",
    "ROUND(ra, 2)": "round_ra_2",
    "DISTANCE(POINT(ra, dec), POINT(10.684708, 41.26875))": "distance_ra_dec",
    "POINT(ra, dec)": "point_ra_dec",
    "CONTAINS(POINT(ra, dec), CIRCLE(1, 2, 3))": "contains_point_ra_dec_circle_1_2_3",
    "COALESCE(name, 'none')": "coalesce_name",
    "LOWER(name)": "lower_name",
    "name || ' x ' || name": "name_name",
    "ivo_to_mjd(seen)": "ivo_to_mjd_seen",
    "IN_UNIT(ra, 'arcmin')": "ra_in_arcmin",
    "CASE WHEN rmag < 6 AND ra > rmag THEN 'bright' END": "case_rmag_ra",
    "(SELECT MAX(flux) FROM photometry)": "max_flux",
    "(SELECT MAX(flux) AS most FROM photometry)": "most",
    "ROW_NUMBER() OVER (ORDER BY ra)": "row_number",
    "PI()": "pi_value" if "PI" in RESERVED_WORDS else "pi",
    "RAND()": "rand_value",
    "1": "number_1",
    "2.5": "number_2_5",
    "123456789": "number",
    "'abc'": "text",
    "NULL": "null_value",
    "1 + 1": "number_1_plus_1",
}


def name_of(expression: str, before: str = "", table: str = "stars AS s") -> str:
    return bind_query(parse_query(f"SELECT {before}{expression} FROM {table}"), CATALOGUE).columns[-1].name


@pytest.mark.parametrize("expression", NAMES)
def test_the_name_follows_from_the_expression(expression):
    assert name_of(expression) == NAMES[expression]
    if "(*)" not in expression and not any(word in expression for word in ("COUNT", "MAX(ra", "AVG")):
        assert name_of(expression, before="s.id AS one, s.name AS two, ") == NAMES[expression]
    nested = f"(SELECT {expression} FROM stars AS s) AS q"
    assert bind_query(parse_query(f"SELECT * FROM {nested}"), CATALOGUE).columns[0].name == NAMES[expression]
    again = bind_query(parse_query(f"SELECT {NAMES[expression]} FROM {nested}"), CATALOGUE)
    assert again.columns[0].name == NAMES[expression]


def test_what_stands_twice_is_numbered():
    bound = bind_query(parse_query("SELECT ra + 1, ra + 2, ra + 1, 5, 5, 'a', 'b' FROM stars"), CATALOGUE)
    names = [column.name for column in bound.columns]
    assert names == ["ra_plus_1", "ra_plus_2", "ra_plus_1_2", "number_5", "number_5_2", "text", "text_2"]


def test_a_number_in_a_name_is_part_of_the_plan_and_a_long_one_is_not():
    assert bind_query(parse_query("SELECT ra + 1 FROM stars"), CATALOGUE).free_slots == frozenset()
    assert bind_query(parse_query("SELECT ra + 1 AS x FROM stars"), CATALOGUE).free_slots == {0}
    assert bind_query(parse_query("SELECT ra + 1.23456 FROM stars"), CATALOGUE).free_slots == {0}


def test_order_by_takes_the_made_name():
    bound = bind_query(parse_query("SELECT ra + 1 FROM stars ORDER BY ra_plus_1"), CATALOGUE)
    assert bound.query.order_by[0].expr.value == 1


def test_a_chain_of_a_thousand_has_a_short_name():
    assert name_of(" + ".join(["ra"] * 1000)) == "ra_plus_ra_plus_ra_plus_ra_plus_ra_plus"


leaves = st.sampled_from(["ra", "dec", "1", "2.25", "123456.789", "rmag", "id", "NULL"])
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*/%"), inner),
        st.builds("{}({})".format, st.sampled_from(["ABS", "SQRT", "ROUND", "COS"]), inner),
        st.builds("(-{})".format, inner),
        st.builds("CASE WHEN {} > 1 THEN {} END".format, inner, inner),
        st.builds("COALESCE({}, {})".format, inner, inner),
        st.builds("CAST({} AS DOUBLE PRECISION)".format, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=60 * EXAMPLES_FACTOR, deadline=None)
@given(expressions, expressions)
def test_names_are_valid_short_and_stable(one, two):
    columns = bind_query(parse_query(f"SELECT {one}, {two}, {one} FROM stars"), CATALOGUE).columns
    names = [column.name for column in columns]
    assert len(set(names)) == 3
    for name in names:
        assert name.isidentifier()
        assert name.isascii()
        assert name.upper() not in RESERVED_WORDS
        assert len(name) <= MAX_NAME_CHARACTERS + len("number__value_3")
    assert name_of(one) == names[0] == name_of(one.replace(" ", "\n").lower())
