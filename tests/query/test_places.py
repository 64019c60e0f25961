"""What cannot be computed is said with the place of the expression; constants that cannot be right are refused by the binder."""

from __future__ import annotations

import pyarrow as pa
import pytest

from hven.model.errors import BindError, EvaluationError
from hven.query import run_query
from hven.testing.site import open_tiny_site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    rows = pa.table({"id": [1, 2, 3], "word": ["12", "x", "7"], "big": [2**62, 5, 2**63 - 1], "x": [1.5, -1.0, 0.0]})
    with open_tiny_site(tmp_path_factory.mktemp("places") / "site", {"big.main": rows}) as made:
        yield made


def failure(site, text: str) -> EvaluationError:
    with run_query(text, site=site) as result, pytest.raises(EvaluationError) as caught:
        list(result.iterate_batches())
    assert result.build_status().error_message == str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("SELECT id, CAST(word AS INTEGER) AS n FROM big.main", "CAST(word"),
        ("SELECT CAST(id AS VARCHAR) AS s,\n  CAST(word AS INTEGER) AS n FROM big.main", "CAST(word"),
        ("SELECT id FROM big.main\nWHERE id > 0 AND CAST(word AS DOUBLE PRECISION) > 3", "CAST(word"),
        ("SELECT id + 1, big * big FROM big.main", "big * big"),
        ("SELECT id * 2 + 1, 9000000000000000000 + big AS s FROM big.main", "9000000000000000000 + big"),
        ("SELECT CAST(word AS TIMESTAMP) AS t, CAST(id AS REAL) AS r FROM big.main", "CAST(word"),
        ("SELECT COUNT(*), SUM(big) FROM big.main", "SUM(big)"),
        (
            "SELECT id FROM big.main WHERE (SELECT id FROM big.main) = 2 AND id IN (SELECT id FROM big.main)",
            "(SELECT id FROM big.main) =",
        ),
        ("SELECT ABS(-big - 1) AS a FROM big.main", "ABS("),
        ("SELECT id, REGEXP_MATCH(word, '(') AS m FROM big.main", "REGEXP_MATCH"),
    ],
)
def test_the_expression_that_failed_is_named(site, text, what):
    error = failure(site, text)
    at = text.index(what)
    assert (error.line, error.column) == (text[:at].count("\n") + 1, at - text[:at].rfind("\n"))
    assert "in one of" not in error.message


def test_if_several_may_have_failed_all_are_named(site):
    text = "SELECT CAST(word AS INTEGER) AS a,\nCAST(word || '1' AS INTEGER) AS b FROM big.main"
    error = failure(site, text)
    assert (error.line, error.column) == (1, 8)
    assert "(in one of these 2 CASTs: line 1, column 8; line 2, column 1)" in error.message


def test_a_remembered_plan_says_the_place_in_the_text_that_was_sent(site):
    assert failure(site, "SELECT CAST(word AS INTEGER) AS n FROM big.main").column == 8
    assert (
        failure(site, "SELECT   /* */ 1".replace("/* */ 1", "   CAST(word AS INTEGER) AS n FROM big.main")).column == 13
    )


@pytest.mark.parametrize(
    ("shape", "at", "why"),
    [
        ("CIRCLE(0, 0, -1)", 14, "the radius of a CIRCLE cannot be -1; give a radius of 0 or more"),
        ("CIRCLE(POINT(1, 2), -0.5)", 21, "the radius of a CIRCLE cannot be -0.5"),
        ("POINT(0, 95)", 10, "the latitude of a POINT cannot be 95; give a latitude from -90 to 90"),
        ("POINT('ICRS', 0, -90.5)", 18, "the latitude of a POINT cannot be -90.5"),
        ("POLYGON(1, 2, 3, 91, 5, 6)", 18, "the latitude of a POLYGON cannot be 91"),
        ("BOX(1, -91, 2, 3)", 8, "the latitude of a BOX cannot be -91"),
    ],
)
def test_constants_that_are_no_shape_are_refused_where_they_stand(site, shape, at, why):
    with pytest.raises(BindError) as caught:
        run_query(f"SELECT {shape} AS s FROM big.main", site=site)
    assert caught.value.column == 7 + at
    assert why in str(caught.value)


def test_a_remembered_plan_takes_no_such_constant(site):
    good = "SELECT id FROM big.main WHERE CONTAINS(POINT(x, x), CIRCLE(1.5, {}, 1)) = 1"
    assert run_query(good.format("1.5"), site=site).read_table().num_rows == 1
    assert run_query(good.format("80.0"), site=site).read_table().num_rows == 0
    with pytest.raises(BindError, match="the latitude of a CIRCLE cannot be 95"):
        run_query(good.format("95.0"), site=site)
    assert run_query(good.format("1.5"), site=site).read_table().num_rows == 1


def test_circles_of_rows_with_a_negative_radius_hold_nothing(site):
    inside = run_query(
        "SELECT id FROM big.main WHERE CONTAINS(POINT(0, 0), CIRCLE(0, 0, x)) = 1", site=site
    ).read_table()
    assert sorted(inside["id"].to_pylist()) == [1, 3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT id FROM TAP_UPLOAD.t", "line 1, column 16: there is no table 'TAP_UPLOAD.t', because this request uploads no tables; write `UPLOAD=t,param:t`"),
        ("SELECT gaiafunc(x) FROM big.main", "no function GAIAFUNC; see the functions"),
        ("SELECT sqr(x) FROM big.main", "did you mean 'SQRT'?"),
        ("SELECT IN_UNIT(DISTANCE(0, 0, x, x), 'degrees') FROM big.main", "'degrees' is not the VOUnits spelling of this unit; write 'deg'"),
        ("SELECT IN_UNIT(DISTANCE(0, 0, x, x), 'arcseconds') FROM big.main", "write 'arcsec'"),
    ],
)  # fmt: skip
def test_remedies(site, text, said):
    with pytest.raises(BindError) as caught:
        run_query(text, site=site)
    assert said in str(caught.value)


def test_uploads_that_came_are_named(site):
    from hven.model.table import Column, Table
    from hven.model.types import INT64

    table = Table(schema="TAP_UPLOAD", name="mine", columns=(Column(name="n", type=INT64),))
    uploads = {"TAP_UPLOAD.mine": (table, pa.table({"n": [1]}, schema=table.arrow_schema))}
    with pytest.raises(BindError) as caught:
        run_query("SELECT * FROM TAP_UPLOAD.other", site=site, uploads=uploads)
    assert "there is no table 'TAP_UPLOAD.other'; this request uploads TAP_UPLOAD.mine; " in str(caught.value)
