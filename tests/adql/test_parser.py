"""Trees: what the parser makes of each construct, with positions; and mapping expressions with their places."""

from __future__ import annotations

import pytest

from hven.adql import parse_condition, parse_expression, parse_query
from hven.adql.adql_writer import write_adql
from hven.adql.syntax_tree import (
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
    FunctionCall,
    Ident,
    InPredicate,
    Join,
    LikePredicate,
    Literal,
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
)
from hven.model.errors import ParseError, TextPlace


def col(*parts):
    *qualifier, name = (Ident(part) for part in parts)
    return ColumnRef(name, tuple(qualifier))


def table(*parts, alias=None):
    return TableRef(tuple(Ident(part) for part in parts), Ident(alias) if alias else None)


def num(value):
    return Literal(value)


def value(text):
    """The tree of one value, by way of a query."""
    item = parse_query(f"SELECT {text} FROM t").body.items[0]
    return item.expr


def condition(text):
    return parse_query(f"SELECT a FROM t WHERE {text}").body.where


def source(text):
    return parse_query(f"SELECT * FROM {text}").body.source


SIMPLE = Query(Select((SelectItem(col("a")),), table("t")))
OTHER = Query(Select((SelectItem(col("b")),), table("u")))


def test_every_clause_has_its_field():
    text = "SELECT DISTINCT TOP 5 a, t.b AS x, t.*, * FROM s.t WHERE a = 1 GROUP BY a, b HAVING COUNT(*) > 2 ORDER BY x DESC, 2 OFFSET 7"
    tree = parse_query(text)
    assert tree == Query(
        Select(
            (SelectItem(col("a")), SelectItem(col("t", "b"), Ident("x")), SelectStar((Ident("t"),)), SelectStar()),
            table("s", "t"),
            Comparison("=", col("a"), num(1)),
            (col("a"), col("b")),
            Comparison(">", FunctionCall("COUNT", star=True), num(2)),
            distinct=True,
            top=num(5),
        ),
        (OrderItem(col("x"), descending=True), OrderItem(num(2))),
        num(7),
    )
    assert tree.text == text


def test_positions_and_slots():
    text = "SELECT TOP 5 a\nFROM t WHERE (b + 2) * 3 >= 'x' AND c IN (4, 5) OFFSET 6"
    tree = parse_query(text)
    top = tree.body.top
    compare, membership = tree.body.where.parts
    assert (top.text_offset, top.slot) == (text.index("5"), 0)
    assert compare.text_offset == text.index("(b")
    assert compare.left.left.text_offset == text.index("b + 2")
    assert (compare.right.text_offset, compare.right.slot) == (text.index("'x'"), 3)
    assert [(choice.slot, choice.text_offset) for choice in membership.choices] == [
        (4, text.index("4")),
        (5, text.index("5)")),
    ]
    assert tree.offset.slot == 6
    assert tree.body.source.text_offset == text.index("t WHERE")
    assert tree.text_offset == tree.body.text_offset == 0


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("NULL", Literal(None)),
        ("'it''s'", Literal("it's")),
        ('c.s."T".a', ColumnRef(Ident("a"), (Ident("c"), Ident("s"), Ident("T", quoted=True)))),
        ("a - b - c", BinaryOperation("-", BinaryOperation("-", col("a"), col("b")), col("c"))),
        ("a + b * c", BinaryOperation("+", col("a"), BinaryOperation("*", col("b"), col("c")))),
        ("(a + b) * c", BinaryOperation("*", BinaryOperation("+", col("a"), col("b")), col("c"))),
        ("-a * b", BinaryOperation("*", UnaryOperation("-", col("a")), col("b"))),
        (
            "a | b & c + 1",
            BinaryOperation("|", col("a"), BinaryOperation("&", col("b"), BinaryOperation("+", col("c"), num(1)))),
        ),
        ("a ^ b & c", BinaryOperation("^", col("a"), BinaryOperation("&", col("b"), col("c")))),
        ("~-a", UnaryOperation("~", UnaryOperation("-", col("a")))),
        ("a || b || c", BinaryOperation("||", BinaryOperation("||", col("a"), col("b")), col("c"))),
        ("COUNT(DISTINCT a)", FunctionCall("COUNT", (col("a"),), distinct=True)),
        ("ivo_hasword(a, 'x')", FunctionCall("IVO_HASWORD", (col("a"), Literal("x")))),
        ("CAST(a AS varchar(8))", CastExpression(col("a"), "VARCHAR", 8)),
        ("CAST(a AS Double Precision)", CastExpression(col("a"), "DOUBLE PRECISION")),
        ("CASE a WHEN 1 THEN b END", CaseExpression(col("a"), ((num(1), col("b")),), None)),
        (
            "CASE WHEN a = 1 THEN b ELSE c END",
            CaseExpression(None, ((Comparison("=", col("a"), num(1)), col("b")),), col("c")),
        ),
        ("(SELECT a FROM t)", Subquery(SIMPLE)),
        ("((SELECT a FROM t) UNION SELECT b FROM u)", Subquery(Query(SetOperation("UNION", SIMPLE.body, OTHER.body)))),
    ],
)
def test_values(text, tree):
    assert value(text) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a != 1", Comparison("<>", col("a"), num(1))),
        (
            "a = 1 AND b = 2 AND c = 3",
            Conjunction(tuple(Comparison("=", col(name), num(n)) for n, name in enumerate("abc", 1))),
        ),
        (
            "a = 1 OR b = 2 AND c = 3",
            Disjunction(
                (
                    Comparison("=", col("a"), num(1)),
                    Conjunction((Comparison("=", col("b"), num(2)), Comparison("=", col("c"), num(3)))),
                )
            ),
        ),
        (
            "NOT (a = 1 OR b = 2)",
            Negation(Disjunction((Comparison("=", col("a"), num(1)), Comparison("=", col("b"), num(2))))),
        ),
        ("a NOT BETWEEN 1 AND 2", BetweenPredicate(col("a"), num(1), num(2), negated=True)),
        ("a IN (1)", InPredicate(col("a"), (num(1),))),
        ("a NOT IN (SELECT b FROM u)", InPredicate(col("a"), Subquery(OTHER), negated=True)),
        ("a IN ((SELECT b FROM u))", InPredicate(col("a"), Subquery(OTHER))),
        ("a IN ((SELECT b FROM u), 1)", InPredicate(col("a"), (Subquery(OTHER), num(1)))),
        ("a NOT ILIKE 'x%'", LikePredicate(col("a"), Literal("x%"), negated=True, ignore_case=True)),
        ("a IS NOT NULL", NullPredicate(col("a"), negated=True)),
        ("EXISTS (SELECT b FROM u)", ExistsPredicate(OTHER)),
        ("((a)) IS NULL", NullPredicate(col("a"))),
    ],
)
def test_conditions(text, tree):
    assert condition(text) == tree


A, B, C = table("a"), table("b"), table("c")
ON_AB = Comparison("=", col("a", "x"), col("b", "x"))
ON_BC = Comparison("=", col("b", "x"), col("c", "x"))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a, b", Join(A, B, "CROSS")),
        ("a CROSS JOIN b", Join(A, B, "CROSS")),
        ("a AS x, s.b y", Join(table("a", alias="x"), table("s", "b", alias="y"), "CROSS")),
        ("a NATURAL FULL OUTER JOIN b", Join(A, B, "FULL", natural=True)),
        ("a LEFT JOIN b USING (x, y)", Join(A, B, "LEFT", using=(Ident("x"), Ident("y")))),
        ("a JOIN b ON a.x = b.x JOIN c ON b.x = c.x", Join(Join(A, B, on=ON_AB), C, on=ON_BC)),
        ("a JOIN b JOIN c ON b.x = c.x ON a.x = b.x", Join(A, Join(B, C, on=ON_BC), on=ON_AB)),
        ("a JOIN b NATURAL JOIN c ON a.x = b.x", Join(A, Join(B, C, natural=True), on=ON_AB)),
        ("a JOIN (b JOIN c ON b.x = c.x) ON a.x = b.x", Join(A, Join(B, C, on=ON_BC), on=ON_AB)),
        ("a JOIN b JOIN c ON b.x = c.x", Join(Join(A, B), C, on=ON_BC)),
        ("a, b JOIN c ON b.x = c.x", Join(A, Join(B, C, on=ON_BC), "CROSS")),
        ("(SELECT a FROM t) x", DerivedTable(SIMPLE, Ident("x"))),
        ("((SELECT a FROM t) AS x CROSS JOIN b)", Join(DerivedTable(SIMPLE, Ident("x")), B, "CROSS")),
        (
            "((SELECT a FROM t) UNION ALL SELECT b FROM u) AS x",
            DerivedTable(Query(SetOperation("UNION", SIMPLE.body, OTHER.body, all=True)), Ident("x")),
        ),
        ("(a NATURAL JOIN b) AS j", DerivedTable(Query(Select((SelectStar(),), Join(A, B, natural=True))), Ident("j"))),
    ],
)
def test_from(text, tree):
    assert source(text) == tree


def test_set_operations_bind_as_the_grammar_says():
    one, two, three = (Select((SelectItem(col("a")),), table(name)) for name in "tuv")
    texts = [f"SELECT a FROM {name}" for name in "tuv"]

    def body(form):
        return parse_query(form.format(*texts)).body

    assert body("{} UNION {} EXCEPT {}") == SetOperation("EXCEPT", SetOperation("UNION", one, two), three)
    assert body("{} UNION {} INTERSECT {}") == SetOperation("UNION", one, SetOperation("INTERSECT", two, three))
    assert body("({} UNION {}) INTERSECT {}") == SetOperation("INTERSECT", SetOperation("UNION", one, two), three)
    assert body("{} EXCEPT ({} EXCEPT ALL {})") == SetOperation(
        "EXCEPT", one, SetOperation("EXCEPT", two, three, all=True)
    )


def test_order_belongs_to_the_whole_or_to_the_parenthesis():
    whole = parse_query("SELECT a FROM t UNION SELECT b FROM u ORDER BY 1")
    assert isinstance(whole.body, SetOperation)
    assert len(whole.order_by) == 1
    part = parse_query("SELECT a FROM t UNION (SELECT b FROM u ORDER BY 1)")
    assert part.order_by == ()
    assert part.body.right == Query(OTHER.body, (OrderItem(num(1)),))


def test_common_tables():
    tree = parse_query('WITH x AS (SELECT a FROM t), "Y" AS (SELECT b FROM u) SELECT a FROM x')
    assert tree.ctes == (
        CommonTableExpression(Ident("x"), SIMPLE),
        CommonTableExpression(Ident("Y", quoted=True), OTHER),
    )


def test_trees_are_equal_whatever_the_layout():
    assert parse_query("select a from t where b=1") == parse_query("SELECT a\nFROM t -- all of it\nWHERE ((b) = 1);")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a FROM t WHERE b 'x\x01\ny'",
        'SELECT a FROM t u "x\x01\ny"',
        "SELECT a\x07 FROM t",
        "SELECT \U000e0041 FROM t",
    ],
)
def test_messages_have_no_control_characters(text):
    with pytest.raises(ParseError) as caught:
        parse_query(text)
    assert str(caught.value).isprintable()


# --- ADQL 2.0 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a FROM t UNION SELECT a FROM u",
        "SELECT a FROM t ORDER BY t.a",
        "SELECT a FROM t ORDER BY a + 1",
        "SELECT a FROM t GROUP BY FLOOR(a)",
        "SELECT a FROM t WHERE a ILIKE 'x'",
        "SELECT a FROM t OFFSET 1",
        "SELECT CAST(a AS INTEGER) FROM t",
        "SELECT CASE WHEN a = 1 THEN 2 END FROM t",
        "SELECT a % 2 FROM t",
        "SELECT ~a FROM t",
        "WITH x AS (SELECT a FROM t) SELECT a FROM x",
        "SELECT * FROM a CROSS JOIN b",
        "SELECT a FROM t WHERE b = (SELECT c FROM u)",
    ],
)
def test_version_2_0_has_not_what_came_later(text):
    assert parse_query(text)
    with pytest.raises(ParseError):
        parse_query(text, "2.0")


def test_version_2_0_does_not_reserve_what_came_later():
    assert parse_query("SELECT bigint, in_unit FROM offset", "2.0").body.source == table("offset")
    with pytest.raises(ParseError, match="reserved word"):
        parse_query("SELECT a FROM offset")


# --- mapping expressions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("file.path", col("file", "path")),
        ("file.size", col("file", "size")),
        ("target.time_min", col("target", "time_min")),
        ("source.date", col("source", "date")),
        ("m_u - 0.03", BinaryOperation("-", col("m_u"), num(0.03))),
        ("substring(a, 1, 2)", FunctionCall("SUBSTRING", (col("a"), num(1), num(2)))),
        ("trim(a) || '.fits'", BinaryOperation("||", FunctionCall("TRIM", (col("a"),)), Literal(".fits"))),
        ("parse_time(date_obs)", FunctionCall("PARSE_TIME", (col("date_obs"),))),
    ],
)
def test_mapping_expressions(text, tree):
    assert parse_expression(text) == tree
    assert parse_expression(write_adql(tree)) == tree


def test_mapping_conditions():
    assert parse_condition("quality > 0 AND file.size IS NOT NULL") == Conjunction(
        (Comparison(">", col("quality"), num(0)), NullPredicate(col("file", "size"), negated=True))
    )


@pytest.mark.parametrize(
    ("read", "text", "column", "message"),
    [
        (parse_expression, "a +", 4, "expected a value"),
        (parse_expression, "a = 1", 1, "expected a value, found a condition"),
        (parse_expression, "a b", 3, "expected the end of the text"),
        (parse_expression, "a; b", 2, "only one query"),
        (parse_expression, "", 1, "empty"),
        (parse_expression, "date", 1, "expected a value"),
        (parse_expression, "SELECT a FROM t", 1, "must be in parentheses"),
        (parse_condition, "a", 2, "expected a comparison"),
        (parse_condition, "a == 1", 4, "=="),
        (parse_condition, "a = \u201cx\u201d", 5, "typographic"),
    ],
)
def test_faults_in_mappings_have_their_place(read, text, column, message):
    with pytest.raises(ParseError, match=message) as caught:
        read(text)
    assert (caught.value.line, caught.value.column) == (1, column)
    with pytest.raises(ParseError, match=message) as caught:
        read(text, TextPlace(file="c.yaml", line=12, column=20))
    assert caught.value.place == TextPlace(file="c.yaml", line=12, column=20 + column - 1)
    assert str(caught.value).startswith(f"c.yaml:12:{19 + column}: ")


def test_fault_on_a_later_line_of_a_mapping():
    with pytest.raises(ParseError) as caught:
        parse_expression("a\n  * / b", TextPlace(file="c.yaml", line=12, column=20))
    assert caught.value.place == TextPlace(file="c.yaml", line=13, column=5)


def test_place_without_a_line_stays():
    with pytest.raises(ParseError) as caught:
        parse_condition("a <", TextPlace(file="c.yaml"))
    assert str(caught.value).startswith("c.yaml: ")
