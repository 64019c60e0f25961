"""Hostile and enormous texts: a tree or a ParseError, never anything else, and no recursion over what only repeats."""

from __future__ import annotations

import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hven.adql import lexer, parse_condition, parse_expression, parse_query
from hven.adql._token_stream import MAX_NESTING_DEPTH
from hven.adql.adql_writer import write_adql
from hven.adql.lexer import separate_literals_from_query
from hven.adql.reserved_words import RESERVED_WORDS
from hven.adql.syntax_tree import BinaryOperation, Join, Literal, LiteralList, SetOperation
from hven.model.errors import ParseError

MANY = 5000


def query(condition="1 = 1", value="a", source="t"):
    return f"SELECT {value} FROM {source} WHERE {condition}"


@pytest.mark.parametrize(
    "text",
    [
        query(value="(" * 10_000 + "a" + ")" * 10_000),
        query("(" * 10_000 + "a = 1" + ")" * 10_000),
        query("(" * 10_000),
        query(value="ABS(" * 10_000 + "a" + ")" * 10_000),
        query(value="f(" * 10_000),
        query(value="CAST(" * 10_000),
        query(value="CASE WHEN a = " * 10_000),
        query(value="CASE " * 10_000),
        query(value="~" * 10_000 + "a"),
        query("a IN (" + "(" * 10_000),
        query("NOT (" * 10_000),
        query("-(" * 10_000),
        query("EXISTS (SELECT a FROM t WHERE " * 10_000),
        query("a = (SELECT a FROM t WHERE " * 10_000),
        query(source="(" * 10_000 + "a"),
        query(source="(SELECT a FROM " * 10_000),
        "(" * 10_000 + "SELECT a FROM t" + ")" * 10_000,
        "SELECT a FROM t UNION (" * 10_000,
    ],
)
def test_deep_nesting_is_refused_cleanly(text):
    with pytest.raises(ParseError, match=r"nested too deeply|too many consecutive operators"):
        parse_query(text)


@pytest.mark.parametrize("part", ["NOT " * 10_000 + "a = 1", "- " * 10_000 + "a = 1"])
def test_repeated_prefixes_are_refused(part):
    with pytest.raises(ParseError):
        parse_query(query(part))


def call_at_depth(frames, call):
    return call() if frames == 0 else call_at_depth(frames - 1, call)


@pytest.mark.parametrize(
    ("form", "times"),
    [
        ("({})", 1),
        ("-({})", 2),
        ("f({})", 1),
        ("CAST({} AS REAL)", 1),
        ("(1 + {})", 1),
        ("CASE WHEN b = {} THEN c END", 2),
        ("CASE WHEN NOT (b = {}) THEN c END", 4),
        ("(SELECT {} FROM t)", 3),
        ("(SELECT b FROM t WHERE c IN (1, {}))", 4),
        ("(SELECT b FROM t JOIN u ON EXISTS (SELECT {} FROM v))", 6),
        ("(SELECT b FROM (SELECT {} FROM v) AS d)", 7),
        ("(SELECT b FROM u UNION (SELECT {} FROM v ORDER BY 1))", 5),
    ],
)
def test_the_deepest_query_leaves_room_on_the_stack(form, times):
    """The limit is hit long before Python's own, even under a server's frames."""
    inner = "a"
    for _ in range(MAX_NESTING_DEPTH // times):
        inner = form.format(inner)
    text = query(value=inner)
    tree = call_at_depth(sys.getrecursionlimit() // 3, lambda: parse_query(text))
    assert call_at_depth(sys.getrecursionlimit() // 3, lambda: parse_query(write_adql(tree))) == tree
    with pytest.raises(ParseError, match="nested too deeply"):
        parse_query(text.replace("a", f"{'(' * MAX_NESTING_DEPTH}a{')' * MAX_NESTING_DEPTH}"))


def test_a_nearly_full_stack_gives_a_clean_error_too():
    text = query(value="(" * (MAX_NESTING_DEPTH - 1) + "a" + ")" * (MAX_NESTING_DEPTH - 1))
    with pytest.raises(ParseError, match="nested too deeply"):
        call_at_depth(sys.getrecursionlimit() - 200, lambda: parse_query(text))


@pytest.mark.parametrize("word", ["AND", "OR"])
def test_long_conditions_are_flat(word):
    where = parse_query(query(f" {word} ".join(f"a = {n}" for n in range(MANY)))).body.where
    assert len(where.parts) == MANY
    assert where.parts[-1].right == Literal(MANY - 1)


@pytest.mark.parametrize("op", ["+", "*", "||", "-", "|"])
def test_long_chains_do_not_recurse(op):
    text = query(value=f" {op} ".join(["a"] * MANY))
    tree = parse_query(text)
    node, operators = tree.body.items[0].expr, 0
    while isinstance(node, BinaryOperation):
        node, operators = node.left, operators + 1
    assert operators == MANY - 1
    assert write_adql(tree) == text


def test_long_unions_and_joins_do_not_recurse():
    text = " UNION ".join(["SELECT a FROM t"] * MANY)
    tree = parse_query(text)
    assert isinstance(tree.body, SetOperation)
    assert write_adql(tree) == text
    for text in (
        f"SELECT * FROM t{', t' * MANY}",
        f"SELECT * FROM t{' NATURAL JOIN t' * MANY}",
        f"SELECT * FROM t{' JOIN t USING (a)' * MANY}",
    ):
        tree = parse_query(text)
        assert isinstance(tree.body.source, Join)
        assert write_adql(tree) == text


def test_a_hundred_thousand_choices():
    text = query(f"a IN ({', '.join(map(str, range(100_000)))})")
    choices = parse_query(text).body.where.choices
    assert len(choices) == 100_000
    assert choices[-1] == Literal(99_999)
    assert choices[-1].text_offset == text.rindex("99999")
    assert len(separate_literals_from_query(text)[1]) == 100_000


LISTS = {
    "numbers": ", ".join(map(str, range(-100, 100))), "signs": ",".join(f" + {n}\n" for n in range(200)), "floats": ", ".join(f"-{n}.5e-3" for n in range(200)),
    "points": ",".join(f".{n}" for n in range(200)), "texts": ", ".join(f"'o''{n}, )'" for n in range(200)), "empty": ",".join(["''"] * 200),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_a_long_list_is_one_node(name, monkeypatch):
    text = query(f"a IN ({LISTS[name]}) AND b = 17")
    tree = parse_query(text)
    first, last = tree.body.where.parts
    assert isinstance(first.choices, LiteralList)
    assert parse_query(write_adql(tree)) == tree
    assert separate_literals_from_query(text)[1][last.right.slot] == 17
    monkeypatch.setattr(lexer, "_LITERAL_LIST_FORMS", [])
    cut = parse_query(text).body.where.parts[0].choices
    assert isinstance(cut, tuple)
    assert [one.text_offset for one in first.choices] == [one.text_offset for one in cut]
    signs = {"-": -1, "+": 1}
    assert [one.value for one in first.choices] == [
        one.value if isinstance(one, Literal) else signs[one.op] * one.operand.value for one in cut
    ]


@pytest.mark.parametrize(
    "spoilt",
    ["1 2", "1x", "'a", "9" * 500, "1e999", "--", ", ,", "SELECT", "$"],
)
def test_what_is_wrong_in_a_long_list_keeps_its_place(spoilt):
    short, long = "1, ", ", ".join(["1"] * 300) + ", "
    places = []
    for before in (short, long):
        text = query(f"a IN ({before}{spoilt}, 3)")
        with pytest.raises(ParseError) as fault:
            parse_query(text)
        places.append((fault.value.offset - len(before), fault.value.message))
    assert places[0] == places[1]


@pytest.mark.parametrize("one", ["1 + 1", "b", "NULL", "-- why\n 5", "0x1F", "1.5", "'x'", "(5)", "-(5)"])
def test_lists_with_something_else_in_them_are_cut_word_by_word(one):
    tree = parse_query(query(f"a IN ({', '.join(['1'] * 150)}, {one}, {', '.join(['2'] * 150)})"))
    choices = tree.body.where.choices
    assert len(choices) == 301
    assert isinstance(choices, tuple)
    assert write_adql(parse_query(write_adql(tree))) == write_adql(tree)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "'" * 999_999,
        '"' * 999_999,
        "'\"" * 500_000,
        "--\n" * 300_000,
        "-" * 1_000_000,
        " " * 1_000_000,
        "1" * 1_000_000,
        "1." * 500_000,
        "'a' " * 250_000,
        "'a' -- \n" * 100_000,
        "(" * 1_000_000,
        "SELECT " * 100_000,
        "SELECT a FROM t WHERE a = '" + "x" * 1_000_000,
        "SELECT " + "a." * 300_000 + "a FROM t",
        "SELECT " + "x" * 1_000_000 + " FORM t",
        "\u00e9" * 1_000_000,
        "; " * 300_000,
    ],
)
def test_a_megabyte_of_nonsense(text):
    separate_literals_from_query(text)
    with pytest.raises(ParseError) as caught:
        parse_query(text)
    assert len(str(caught.value)) < 1000


WORDS = st.sampled_from(
    [
        *sorted(RESERVED_WORDS), "a", "t", "s.t", "t.*", "limit", '"x"', "'y'", "1", "2.5", "1e3", "(", ")", "(", ")", ",", ",", ".", "*", "+", "-", "/", "%", "||",
        "|", "&", "^", "~", "=", "<>", "!=", "<", ">=", ";", "f(", "COUNT(", "POINT(", "CIRCLE(", "POLYGON(", "CAST(", "-- x\n", "\u00e9", "::", "SELECT",
        "SELECT a FROM t", "(SELECT a FROM t)", "FROM", "WHERE", "JOIN", "ON", "USING (a)", "AND", "OR", "NOT", "IN (", "BETWEEN", "LIKE", "AS", "IS NULL",
        "ORDER BY", "GROUP BY", "UNION", "CASE", "WHEN", "THEN", "END", "WITH x AS (",
    ]
)  # fmt: skip
SOUP = st.lists(WORDS, max_size=25).map(" ".join)


@given(SOUP)
def test_word_soup_gives_a_tree_or_a_parse_error(soup):
    for text in (
        soup,
        f"SELECT {soup}",
        f"SELECT a FROM {soup}",
        f"SELECT a FROM t WHERE {soup}",
        f"SELECT {soup} FROM t",
    ):
        for version in ("2.1", "2.0"):
            try:
                tree = parse_query(text, version)
            except ParseError as caught:
                fault = caught
            else:
                if version == "2.1":
                    assert parse_query(write_adql(tree)) == tree
                continue
            assert 0 <= fault.offset <= len(text)
            assert fault.message


@given(SOUP)
@example("PI")
def test_word_soup_in_mappings(soup):
    for read in (parse_expression, parse_condition):
        try:
            tree = read(soup)
        except ParseError:
            continue
        assert read(write_adql(tree)) == tree


@given(st.data())
def test_damaged_queries(data):
    """A good query with a piece cut out, doubled or replaced."""
    text = (
        "WITH w AS (SELECT a, COUNT(*) AS n FROM s.t GROUP BY a) SELECT DISTINCT TOP 10 w.*, -b * 2 || 'x' AS y, CASE WHEN a IN (1, 2) THEN 'p' END "
        "FROM w LEFT JOIN (SELECT * FROM u) AS v ON w.a = v.a, z WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE(1, 2, 3)) AND NOT (a BETWEEN 1 AND 2 "
        "OR b LIKE 'x%') AND EXISTS (SELECT * FROM q) UNION ALL (SELECT 1, 2 FROM t ORDER BY 1) ORDER BY 1 DESC OFFSET 5"
    )
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    piece = data.draw(
        st.sampled_from(["", text[start:end] * 2, "(", ")", "'", '"', ",", " AND ", "\u2019", "--", ";", "0x1", "\n"])
    )
    damaged = text[:start] + piece + text[end:]
    try:
        tree = parse_query(damaged)
    except ParseError:
        return
    assert parse_query(write_adql(tree)) == tree
