"""Window functions: against Python's own sorting, with groups and subqueries, and what is refused."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adql_runner import run_query
from hven.adql import bind_query, parse_query
from hven.adql.functions import WINDOW_AGGREGATE_NAMES, WINDOW_FUNCTIONS
from hven.adql.scope import StaticTableCatalogue
from hven.adql.syntax_tree import WindowExpression, walk_tree
from hven.model.errors import BindError, ParseError
from hven.model.table import Column, Table
from hven.model.types import INT32, INT64, STRING
from reference_pages import keep_part
from shared import EXAMPLES_FACTOR, ROOT
from window_examples import WINDOW_EXAMPLES

COLUMNS = (
    Column(name="id", type=INT64, required=True),
    Column(name="g", type=STRING),
    Column(name="x", type=INT32, unit="mag"),
)
TABLE = Table(schema="s", name="t", columns=COLUMNS)
rows_of = st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.none() | st.integers(-5, 5)), max_size=25)


def query_rows(query: str, rows: list[tuple[str | None, int | None]]) -> list[tuple]:
    data = pa.table(
        {
            "id": pa.array(range(len(rows)), pa.int64()),
            "g": pa.array([g for g, _ in rows], pa.string()),
            "x": pa.array([x for _, x in rows], pa.int32()),
        }
    )
    return [tuple(row.values()) for row in run_query(query, [(TABLE, data)]).to_pylist()]


def place(x: int | None) -> tuple[bool, int]:
    return (x is None, x or 0)  # NULLs come last


@settings(max_examples=30 * EXAMPLES_FACTOR, deadline=None)
@given(rows_of)
def test_ranks_and_sums_as_python_counts_them(rows):
    got = query_rows(
        "SELECT id, ROW_NUMBER() OVER (PARTITION BY g ORDER BY x, id) AS n, RANK() OVER (PARTITION BY g ORDER BY x) AS r, DENSE_RANK() OVER (PARTITION BY g ORDER BY x) AS d,"
        " COUNT(*) OVER (PARTITION BY g) AS c, SUM(x) OVER (PARTITION BY g ORDER BY id) AS s, LAG(x) OVER (ORDER BY id) AS before, LEAD(x, 2) OVER (ORDER BY id) AS later,"
        " MAX(x) OVER () AS most FROM s.t ORDER BY id",
        rows,
    )
    known = [x for _, x in rows if x is not None]
    expected = []
    for number, (g, x) in enumerate(rows):
        mine = [(other, m) for m, (h, other) in enumerate(rows) if h == g]
        before = [item for item in mine if (place(item[0]), item[1]) < (place(x), number)]
        smaller = [item for item in mine if place(item[0]) < place(x)]
        running = [other for other, m in mine if m <= number and other is not None]
        expected.append(
            (
                number, len(before) + 1, len(smaller) + 1, len({place(item[0]) for item in smaller}) + 1, len(mine), sum(running) if running else None,
                rows[number - 1][1] if number else None, rows[number + 2][1] if number + 2 < len(rows) else None, max(known, default=None),
            )
        )  # fmt: skip
    assert got == expected


@settings(max_examples=30 * EXAMPLES_FACTOR, deadline=None)
@given(rows_of)
def test_the_first_rows_of_each_as_python_finds_them(rows):
    """By several columns, with nulls: engines may find them by grouping."""
    query = "SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY g ORDER BY x, id) AS n FROM s.t) AS q WHERE n = 1 ORDER BY id"
    firsts = {g: min((place(x), number) for number, (h, x) in enumerate(rows) if h == g)[1] for g, _ in rows}
    assert query_rows(query, rows) == [(number,) for number in sorted(firsts.values())]


ROWS = [("a", 1), ("a", 2), ("b", 2), ("b", None), (None, 7)]


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("SELECT g, RANK() OVER (ORDER BY COUNT(*) DESC, g) AS r FROM s.t GROUP BY g ORDER BY r", [("a", 1), ("b", 2), (None, 3)]),
        ("SELECT SUM(COUNT(*)) OVER () AS n FROM s.t GROUP BY g", [(5,)] * 3),
        ("SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY g ORDER BY id) AS n FROM s.t) AS q WHERE n = 2 ORDER BY id", [(1,), (3,)]),
        ("SELECT TOP 2 id, COUNT(*) OVER () AS n FROM s.t ORDER BY x DESC, id", [(4, 5), (1, 5)]),
        ("SELECT id FROM s.t ORDER BY ROW_NUMBER() OVER (ORDER BY id DESC) OFFSET 3", [(1,), (0,)]),
        ("SELECT NTILE(2) OVER (ORDER BY id) AS q, FIRST_VALUE(id) OVER (ORDER BY id DESC) AS f FROM s.t ORDER BY id", [(1, 4)] * 3 + [(2, 4)] * 2),
        ("SELECT COUNT(DISTINCT x) OVER () AS n, AVG(x) OVER (PARTITION BY g) AS m FROM s.t WHERE g = 'a'", [(2, 1.5)] * 2),
        ("SELECT PERCENT_RANK() OVER (ORDER BY id) AS p, CUME_DIST() OVER (ORDER BY id) AS c FROM s.t ORDER BY 1", [(n / 4, (n + 1) / 5) for n in range(5)]),
        ("SELECT MEDIAN(x) OVER () AS m, LAST_VALUE(id) OVER (ORDER BY g) AS l FROM s.t WHERE g IS NOT NULL AND x = 2 ORDER BY l", [(2.0, 1), (2.0, 2)]),
    ],
)  # fmt: skip
def test_where_windows_stand(query, answer):
    assert query_rows(query, ROWS) == answer


def edges(side: str) -> st.SearchStrategy[str]:
    return st.sampled_from([f"UNBOUNDED {side}", f"0 {side}", f"1 {side}", f"3 {side}", "CURRENT ROW"])


def edge(text: str) -> float:
    """Give how far an end of a frame is from the current row."""
    number, _, side = text.partition(" ")
    size = 0.0 if text == "CURRENT ROW" else float("inf") if number == "UNBOUNDED" else float(number)
    return -size if side == "PRECEDING" else size


@settings(max_examples=60 * EXAMPLES_FACTOR, deadline=None)
@given(rows_of, st.sampled_from(["ROWS", "RANGE", "GROUPS"]), edges("PRECEDING"), edges("FOLLOWING"), st.booleans())
def test_frames_as_python_cuts_them(rows, unit, start, end, descending):
    """The frame by its definition: so many rows, so near a value, so many groups of equal values."""
    order = "x, id" if unit == "ROWS" else "x"
    words = f"ORDER BY {order.replace(',', ' DESC,') if descending and ',' in order else order + ' DESC' * descending} {unit} BETWEEN {start} AND {end}"
    window = f"OVER (PARTITION BY g {words})"
    got = query_rows(
        f"SELECT id, COUNT(*) {window} AS n, SUM(x) {window} AS s, MIN(x) OVER w AS m, FIRST_VALUE(x) OVER w AS f FROM s.t WINDOW w AS (PARTITION BY g {words}) ORDER BY id",
        rows,
    )
    low, high = edge(start), edge(end)
    for number, (g, x) in enumerate(rows):
        mine = [(other, m) for m, (h, other) in enumerate(rows) if h == g]
        mine.sort(key=lambda item: (item[0] is None, (item[0] or 0) * (-1 if descending else 1), item[1]))
        groups = {key: place for place, key in enumerate(dict.fromkeys(other for other, _ in mine))}
        at = [m for _, m in mine].index(number)
        frame = []
        for place, (other, _) in enumerate(mine):
            if unit == "ROWS":
                away = place - at
            elif unit == "GROUPS":
                away = groups[other] - groups[x]
            elif (other is None) != (x is None):
                away = float("inf") if other is None else float("-inf")
            else:
                away = 0 if x is None else (other - x) * (-1 if descending else 1)
            if low <= away <= high:
                frame.append(other)
        known = [other for other in frame if other is not None]
        _, n, s, m, f = got[number]
        assert n == len(frame)
        assert s == (sum(known) if known else None)
        assert m == min(known, default=None)
        if unit == "ROWS":
            assert f == (frame[0] if frame else None)


@pytest.mark.parametrize("order", ["1.5 + 0", "'a' || 'b'"])
def test_groups_over_a_constant_order_are_one_group(order):
    query = f"SELECT COUNT(*) OVER (ORDER BY {order} GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW) AS n FROM s.t"
    assert query_rows(query, ROWS) == [(5,)] * 5
    bound = bind_query(parse_query(query), StaticTableCatalogue([TABLE]))
    (window,) = (node for node in walk_tree(bound.query) if isinstance(node, WindowExpression))
    assert window.order_by, "PostgreSQL refuses GROUPS without an order"


def test_named_windows_serve_order_by_and_groups():
    query = "SELECT g, SUM(COUNT(*)) OVER w AS n, NTH_VALUE(g, 2) OVER w AS other FROM s.t GROUP BY g WINDOW w AS (ORDER BY g) ORDER BY ROW_NUMBER() OVER w DESC"
    assert query_rows(query, ROWS) == [(None, 5, "b"), ("b", 4, "b"), ("a", 2, None)]


def test_what_is_known_of_them():
    columns = bind_query(
        parse_query(
            "SELECT LAG(id) OVER (ORDER BY id), MAX(x) OVER () AS most, COUNT(*) OVER (), RANK() OVER (ORDER BY x) FROM s.t"
        ),
        StaticTableCatalogue([TABLE]),
    ).columns
    assert [(item.name, str(item.type), item.unit) for item in columns] == [
        ("lag_id", "int64", None), ("most", "int32", "mag"), ("count_all", "int64", None), ("rank", "int64", None),
    ]  # fmt: skip
    assert not columns[0].required  # the first row has no row before it


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            "SELECT id FROM s.t WHERE RANK() OVER (ORDER BY x) < 3",
            "is not allowed in WHERE; compute it in a subquery in FROM",
        ),
        ("SELECT g FROM s.t GROUP BY g HAVING COUNT(*) OVER () > 1", "is not allowed in HAVING"),
        ("SELECT MAX(RANK() OVER (ORDER BY x)) FROM s.t", "is not allowed in the argument of MAX"),
        ("SELECT SUM(RANK() OVER (ORDER BY x)) OVER () FROM s.t", "is not allowed in a window"),
        ("SELECT g, RANK() OVER (ORDER BY x) FROM s.t GROUP BY g", "column 'x' is neither in GROUP BY"),
        ("SELECT RANK() FROM s.t", "RANK is a window function and needs OVER; write RANK"),
        ("SELECT UPPER(g) OVER () FROM s.t", "UPPER is not allowed before OVER"),
        ("SELECT RANKK() OVER () FROM s.t", "did you mean 'RANK'"),
        ("SELECT RANK(DISTINCT x) OVER () FROM s.t", "DISTINCT"),
        ("SELECT NTILE(id) OVER () FROM s.t", "must be written as a literal"),
        ("SELECT RANK(3) OVER () FROM s.t", "RANK takes 0 arguments"),
        ("SELECT RANK() OVER (PARTITION x) FROM s.t", "BY after PARTITION"),
        (
            "SELECT RANK() OVER (ORDER BY x RANGE 1 PRECEDING) FROM s.t",
            "RANK uses the whole partition and cannot have a frame; leave out the frame (RANGE ..)",
        ),
        ("SELECT SUM(x) OVER (GROUPS 1 PRECEDING) FROM s.t", "the window has no ORDER BY; add ORDER BY to the window"),
        (
            "SELECT SUM(x) OVER (ORDER BY g RANGE 1 PRECEDING) FROM s.t",
            "RANGE with distances needs an ORDER BY with exactly one numeric column",
        ),
        (
            "SELECT SUM(x) OVER (ORDER BY x, id RANGE 1 PRECEDING) FROM s.t",
            "RANGE with distances needs an ORDER BY with exactly one numeric column",
        ),
        ("SELECT SUM(x) OVER v FROM s.t WINDOW w AS (ORDER BY x)", "no window 'v'"),
        ("SELECT SUM(x) OVER ww FROM s.t WINDOW w AS (ORDER BY x)", "no window 'ww'; did you mean 'w'?"),
        ("SELECT SUM(x) OVER w FROM s.t", "write WINDOW w AS (..) after FROM"),
        ("SELECT x FROM s.t WINDOW w AS (ORDER BY y)", "no column 'y'"),
        ("SELECT x FROM s.t WHERE x IN (SELECT MAX(x) OVER w FROM s.t) WINDOW w AS (ORDER BY x)", "no window 'w'"),
        ("SELECT NTH_VALUE(x, 0) OVER (ORDER BY x) FROM s.t", "use a number that is at least 1"),
        ("SELECT NTILE(0) OVER (ORDER BY x) FROM s.t", "use a number that is at least 1"),
        ("SELECT RANK() OVER (ORDER BY x FROM s.t", "PARTITION BY, ORDER BY, a frame or a closing parenthesis"),
    ],
)
def test_what_is_refused(query, words):
    with pytest.raises((BindError, ParseError), match=re.escape(words)) as caught:
        bind_query(parse_query(query), StaticTableCatalogue([TABLE]))
    assert caught.value.column > 1


def test_adql_20_has_none():
    with pytest.raises(ParseError, match="extension"):
        parse_query("SELECT COUNT(*) OVER () FROM t", "2.0")


THINGS = Table(schema="s", name="things", columns=(Column(name="x"), Column(name="name", type=STRING)))
THINGS_DATA = pa.table({"x": [1.0, 1.0, 2.0, 3.0], "name": ["a", "b", "c", "d"]})


def test_every_function_before_over_has_an_example():
    assert set(WINDOW_EXAMPLES) == {*WINDOW_FUNCTIONS, *WINDOW_AGGREGATE_NAMES}


@pytest.mark.parametrize("name", WINDOW_EXAMPLES)
def test_every_example_is_true(name):
    call, _, said = WINDOW_EXAMPLES[name].partition(" is ")
    assert call.startswith(f"{name}(")
    rows = run_query(f"SELECT name, {call} AS v FROM s.things ORDER BY name", [(THINGS, THINGS_DATA)]).to_pylist()
    wanted = ast.literal_eval(said)
    assert [row["v"] for row in rows] == [
        pytest.approx(item, rel=1e-9) if isinstance(item, float) else item for item in wanted
    ]
    assert [type(row["v"]) for row in rows] == [type(item) for item in wanted]


def write_window_functions():
    """Write the table of functions before OVER, and of aggregates there."""
    lines = ["", "| Before OVER | Result | Meaning | Example |", "|---|---|---|---|"]
    for name, text in WINDOW_EXAMPLES.items():
        call, _, said = text.partition(" is ")
        example = f"`{call}` is `{said.replace('None', 'NULL')}`"
        entry = WINDOW_FUNCTIONS.get(name)
        if entry is None:
            lines.append(f"| `{name}` | | value of the aggregate function over the frame | {example} |")
            continue
        (form,) = entry.signatures
        result = {"SAME": "type of its argument"}.get(form.result, form.result)
        arguments = ", ".join(f"[{item.name}]" if item.is_optional else item.name for item in form.parameters)
        lines.append(f"| `{name}({arguments})` | {result} | {entry.doc} | {example} |")
    return "\n".join(lines) + "\n\n"


def test_the_reference_lists_each_with_its_example():
    page = ROOT / "docs/reference/adql.md"
    keep_part(page, "<!-- window functions -->", "<!-- /window functions -->", write_window_functions())


def test_the_reference_names_each():
    page = Path(ROOT / "docs/reference/adql.md").read_text(encoding="utf-8")
    for name in itertools.chain(WINDOW_FUNCTIONS, WINDOW_AGGREGATE_NAMES):
        assert re.search(rf"\b{name}\b", page), name
    assert all(entry.doc in page for entry in WINDOW_FUNCTIONS.values())
