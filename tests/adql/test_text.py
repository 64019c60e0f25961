"""Canonical text: whatever tree there is, its text reads back as the same tree."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.adql import parse_condition, parse_expression, parse_query, quote_adql_name
from hven.adql._function_syntax import infer_kind_letter
from hven.adql.adql_writer import write_adql
from hven.adql.reserved_words import RESERVED_WORDS
from hven.adql.syntax_tree import (
    ArrayElement,
    BetweenPredicate,
    BinaryOperation,
    CaseExpression,
    CastExpression,
    ColumnRef,
    CommonTableExpression,
    Comparison,
    Conjunction,
    DerivedTable,
    Disjunction,
    ExistsPredicate,
    FrameBound,
    FunctionCall,
    Ident,
    InPredicate,
    Join,
    LikePredicate,
    Literal,
    NamedWindow,
    Negation,
    NullPredicate,
    OrderItem,
    Query,
    Select,
    SelectItem,
    SelectStar,
    SetOperation,
    Subquery,
    TableRef,
    UnaryOperation,
    WindowExpression,
    WindowFrame,
)
from shared import EXAMPLES_FACTOR

# --- trees as the parser makes them -----------------------------------------------------------------------------

TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8)
PLAIN = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,6}", fullmatch=True).filter(
    lambda name: name.upper() not in RESERVED_WORDS
)
IDENTS = st.builds(Ident, PLAIN) | st.builds(Ident, TEXTS.filter(bool), st.just(value=True))
COLUMNS = st.builds(ColumnRef, IDENTS, st.lists(IDENTS, max_size=3).map(tuple))
NUMBERS = st.builds(Literal, st.integers(0, 2**70) | st.floats(min_value=0, allow_nan=False, allow_infinity=False))
STRINGS = st.builds(Literal, TEXTS)
LITERALS = NUMBERS | STRINGS | st.just(Literal(None)) | st.builds(Literal, st.booleans())
WHOLE = st.builds(Literal, st.integers(0, 10**6))


def lists(of, least=1, most=3):
    return st.lists(of, min_size=least, max_size=most).map(tuple)


def short(strategy):
    """Hide how a strategy is made: hypothesis would print it at every use."""

    @st.composite
    def tree(draw):
        return draw(strategy)

    return tree()


def allow_kinds(*kinds):
    """Keep the values that the grammar lets stand where a number (a string) must."""
    return lambda node: infer_kind_letter(node) in {"", *kinds}


def values(inner, conditions, queries):
    numeric = inner.filter(allow_kinds("n"))
    calls = st.one_of(
        st.builds(FunctionCall, st.sampled_from(["IVO_HASWORD", "F", "COALESCE"]), lists(inner)),
        st.builds(FunctionCall, st.sampled_from(["AVG", "COUNT", "MAX"]), lists(inner, 1, 1), st.booleans()),
        st.just(FunctionCall("COUNT", star=True)),
        st.just(FunctionCall("PI")),
        st.builds(FunctionCall, st.sampled_from(["ABS", "SIN", "FLOOR"]), lists(numeric, 1, 1)),
        st.builds(FunctionCall, st.sampled_from(["MOD", "POWER", "POINT"]), lists(numeric, 2, 2)),
        st.builds(FunctionCall, st.sampled_from(["LOWER", "UPPER"]), lists(STRINGS | COLUMNS, 1, 1)),
    )
    casts = st.builds(
        CastExpression, inner, st.sampled_from(["INTEGER", "DOUBLE PRECISION", "TIMESTAMP", "POLYGON", "CHAR"])
    ) | st.builds(CastExpression, inner, st.just("VARCHAR"), st.integers(0, 99))
    cases = st.builds(CaseExpression, st.none(), lists(st.tuples(conditions, inner)), st.none() | inner) | st.builds(
        CaseExpression, inner, lists(st.tuples(inner, inner)), st.none() | inner
    )
    return short(
        st.one_of(
            st.builds(UnaryOperation, st.sampled_from("+-~"), numeric),
            st.builds(BinaryOperation, st.sampled_from(["+", "-", "*", "/", "%", "|", "&", "^"]), numeric, numeric),
            st.builds(BinaryOperation, st.just("||"), inner, inner),
            calls,
            casts,
            cases,
            st.builds(Subquery, queries),
            st.builds(ArrayElement, inner, lists(inner, 1, 2)),
        )
    )


PLACES = ["UNBOUNDED PRECEDING", "PRECEDING", "CURRENT ROW", "FOLLOWING", "UNBOUNDED FOLLOWING"]


@st.composite
def frames(draw):
    """Draw a frame that does not end before it begins."""
    unit = draw(st.sampled_from(["ROWS", "RANGE", "GROUPS"]))
    numbers = NUMBERS if unit == "RANGE" else WHOLE
    first = draw(st.integers(0, 3))
    last = draw(st.integers(max(first, 1), 4))
    start, end = (FrameBound(PLACES[n], draw(numbers) if n in {1, 3} else None) for n in (first, last))
    return WindowFrame(unit, start, end)


def windows(inner):
    """Windows, and names of them; the WINDOW clause may have any."""
    called = st.builds(FunctionCall, st.sampled_from(["RANK", "IVO_F"]), lists(inner, 0, 2)) | st.just(
        FunctionCall("COUNT", star=True)
    )
    orders = lists(st.builds(OrderItem, inner, st.booleans()), 0, 2)
    return st.builds(WindowExpression, called, lists(inner, 0, 2), orders, st.none() | frames()) | st.builds(
        WindowExpression, called, name=IDENTS
    )


def draw_named_windows(inner):
    orders = lists(st.builds(OrderItem, inner, st.booleans()), 0, 2)
    made = st.builds(NamedWindow, IDENTS, lists(inner, 0, 2), orders, st.none() | frames())
    return st.lists(made, max_size=2, unique_by=lambda window: window.name.name.lower()).map(tuple)


def predicates(inner, queries):
    text = inner.filter(lambda node: infer_kind_letter(node) != "g")
    return short(
        st.one_of(
            st.builds(Comparison, st.sampled_from(["=", "<>", "<", ">", "<=", ">="]), inner, inner),
            st.builds(BetweenPredicate, inner, inner, inner, st.booleans()),
            st.builds(
                InPredicate,
                inner,
                lists(inner).filter(lambda choices: not (len(choices) == 1 and isinstance(choices[0], Subquery))),
                st.booleans(),
            ),
            st.builds(InPredicate, inner, st.builds(Subquery, queries), st.booleans()),
            st.builds(LikePredicate, text, text, st.booleans(), st.booleans()),
            st.builds(NullPredicate, inner, st.booleans()),
            st.builds(ExistsPredicate, queries),
        )
    )


def conditions_of(simple):
    return st.recursive(
        simple,
        lambda part: (
            st.builds(Conjunction, lists(part, 2)) | st.builds(Disjunction, lists(part, 2)) | st.builds(Negation, part)
        ),
        max_leaves=4,
    )


def items(inner):
    return lists(
        st.builds(SelectItem, inner, st.none() | IDENTS)
        | st.builds(SelectStar, st.lists(IDENTS, max_size=3).map(tuple)),
    )


TABLES = st.builds(TableRef, lists(IDENTS), st.none() | IDENTS)


def joins(left, conditions):
    def make(first, second, kind_and_how):
        kind_word, how = kind_and_how
        if kind_word == "CROSS":
            return Join(first, second, "CROSS")
        if how == "free":
            return Join(first, second, kind_word)
        if how == "natural":
            return Join(first, second, kind_word, natural=True)
        return (
            Join(first, second, kind_word, using=how)
            if isinstance(how, tuple)
            else Join(first, second, kind_word, on=how)
        )

    how = st.tuples(
        st.sampled_from(["INNER", "LEFT", "RIGHT", "FULL", "CROSS"]),
        st.sampled_from(["natural", "free"]) | lists(IDENTS) | conditions,
    )
    return st.builds(make, left, left, how)


def selects(inner, conditions, queries):
    leaves = TABLES | st.builds(DerivedTable, queries, IDENTS) if queries is not None else TABLES
    sources = st.recursive(leaves, lambda part: joins(part, conditions), max_leaves=3)
    return st.builds(
        Select,
        items(inner | windows(inner)),
        sources,
        st.none() | conditions,
        lists(inner, 0, 2),
        st.none() | conditions,
        st.booleans(),
        st.none() | WHOLE,
        draw_named_windows(LEAVES),
    )


def bodies(select):
    def operand(part):
        ordered = st.builds(Query, part, lists(st.builds(OrderItem, COLUMNS | WHOLE, st.booleans())), st.none() | WHOLE)
        side = part | ordered
        return st.builds(SetOperation, st.sampled_from(["UNION", "EXCEPT", "INTERSECT"]), side, side, st.booleans())

    return st.recursive(select, operand, max_leaves=3)


def queries_over(inner, conditions, queries, ctes=st.just(())):  # noqa: B008 - a strategy is immutable
    orders = lists(st.builds(OrderItem, inner, st.booleans()), 0, 2)
    return st.builds(Query, bodies(selects(inner, conditions, queries)), orders, st.none() | WHOLE, ctes)


LEAVES = short(LITERALS | COLUMNS)
SMALL = short(st.builds(Query, st.builds(Select, items(LEAVES), TABLES)))
VALUES = short(
    st.recursive(LEAVES, lambda inner: values(inner, conditions_of(predicates(inner, SMALL)), SMALL), max_leaves=6)
)
CONDITIONS = short(conditions_of(predicates(VALUES, SMALL)))
SUBQUERIES = short(queries_over(LEAVES, conditions_of(predicates(LEAVES, SMALL)), SMALL))
CTES = st.lists(st.builds(CommonTableExpression, IDENTS, SUBQUERIES), max_size=2).map(tuple)
QUERIES = short(queries_over(VALUES, CONDITIONS, SUBQUERIES, CTES))


@given(VALUES)
def test_values_come_back(tree):
    assert parse_expression(write_adql(tree)) == tree


@given(CONDITIONS)
def test_conditions_come_back(tree):
    assert parse_condition(write_adql(tree)) == tree


@settings(max_examples=20 * EXAMPLES_FACTOR)  # large trees
@given(QUERIES)
def test_queries_come_back(tree):
    text = write_adql(tree)
    again = parse_query(text)
    assert again == tree
    assert write_adql(again) == text


@given(NUMBERS | STRINGS)
def test_literals_come_back_with_their_type(literal):
    again = parse_expression(write_adql(literal))
    assert again.value == literal.value
    assert type(again.value) is type(literal.value)


# --- trees that only programs make -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (Literal(-5), "-5"),
        (BinaryOperation("-", Literal(1), Literal(-5)), "1 - -5"),
        (UnaryOperation("-", Literal(-5)), "-(-5)"),
        (BinaryOperation("||", Literal("a"), Literal(-5)), "'a' || (-5)"),
        (Literal(math.inf), "CAST('Infinity' AS DOUBLE PRECISION)"),
        (Literal(math.nan), "CAST('NaN' AS DOUBLE PRECISION)"),
        (Literal(1e300), "1E+300"),
        (ColumnRef(Ident("size")), '"size"'),
        (ColumnRef(Ident("2mass")), '"2mass"'),
        (ColumnRef(Ident("a b"), (Ident("T", quoted=True),)), '"T"."a b"'),
        (ColumnRef(Ident('x" OR 1=1 --')), '"x"" OR 1=1 --"'),
        (Literal("'; DROP TABLE t --"), "'''; DROP TABLE t --'"),
        (Conjunction((Comparison("=", ColumnRef(Ident("a")), Literal(1)),)), "a = 1"),
        (OrderItem(ColumnRef(Ident("a")), descending=True), "a DESC"),
        (SelectItem(Literal(1), Ident("one")), "1 AS one"),
        (Join(TableRef((Ident("a"),)), TableRef((Ident("b"),)), "CROSS"), "a CROSS JOIN b"),
        (Select((SelectItem(Literal(1)),)), "SELECT 1"),
        (
            SetOperation(
                "UNION",
                Select((SelectStar(),), TableRef((Ident("t"),))),
                Select((SelectStar(),), TableRef((Ident("u"),))),
            ),
            "SELECT * FROM t UNION SELECT * FROM u",
        ),
    ],
)
def test_trees_of_programs(tree, text):
    assert write_adql(tree) == text


def test_names_after_a_dot_need_quotes_in_queries_only():
    name = ColumnRef(Ident("size"), (Ident("file"),))
    assert write_adql(name) == "file.size"
    assert write_adql(Query(Select((SelectItem(name),), TableRef((Ident("file"),))))) == 'SELECT file."size" FROM file'


def test_what_has_no_text():
    with pytest.raises(TypeError, match="CommonTableExpression"):
        write_adql(CommonTableExpression(Ident("x"), Query(Select((SelectStar(),)))))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("main", "main"),
        ("TAP_SCHEMA", "TAP_SCHEMA"),
        ("size", '"size"'),
        ("2mass", '"2mass"'),
        ('a"b', '"a""b"'),
        ("naïve", '"naïve"'),
    ],
)
def test_quote(name, text):
    assert quote_adql_name(name) == text
    assert parse_query(f"SELECT * FROM {text}").body.source.parts[0].name == name
