"""The reader who sees half: through the query road, on every kind of query that has a road of its own."""

import pyarrow as pa
import pytest

from hven.query import run_query
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site

ROWS = 200


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    n = list(range(ROWS))
    rows = pa.table(
        {
            "n": pa.array(n, pa.int64()),
            "ra": pa.array([i * 1.8 for i in n]),
            "dec": pa.array([(i % 90) - 45.0 for i in n]),
            "g": pa.array([i % 3 for i in n], pa.int32()),
        }
    )
    other = pa.table({"n": pa.array(n, pa.int64()), "label": pa.array([f"s{i}" for i in n])})
    made = open_tiny_site(tmp_path_factory.mktemp("half"), {"sky.stars": rows, "sky.tags": other})
    yield made
    made.close()


def ask(site, text, who=ANONYMOUS_PRINCIPAL):
    result = run_query(text, who, site=site, policies=build_odd_rows_hidden_policies("n"))
    return [row for batch in result.iterate_batches() for row in batch.to_pylist()]


QUERIES = {
    "all": "SELECT n FROM sky.stars",
    "star": "SELECT * FROM sky.stars",
    "count": "SELECT COUNT(*) AS c FROM sky.stars",
    "count of a column": "SELECT COUNT(n) AS c FROM sky.stars",
    "cone": "SELECT n FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 90))",
    "distance": "SELECT n FROM sky.stars WHERE DISTANCE(POINT(ra, dec), POINT(10, 10)) < 60",
    "top by order": "SELECT TOP 10 n FROM sky.stars ORDER BY n DESC",
    "key": "SELECT n FROM sky.stars WHERE n IN (1, 2, 3, 4)",
    "one odd": "SELECT n FROM sky.stars WHERE n = 5",
    "maximum": "SELECT MAX(n) AS m FROM sky.stars",
    "groups": "SELECT g, COUNT(*) AS c FROM sky.stars GROUP BY g ORDER BY g",
    "join": "SELECT a.n FROM sky.stars AS a JOIN sky.tags AS b ON a.n = b.n",
    "exists": "SELECT n FROM sky.tags WHERE EXISTS (SELECT 1 FROM sky.stars AS s WHERE s.n = sky.tags.n)",
    "not in": "SELECT n FROM sky.tags WHERE n NOT IN (SELECT n FROM sky.stars)",
    "union": "SELECT n FROM sky.stars UNION ALL SELECT n FROM sky.tags",
    "with": "WITH w AS (SELECT n FROM sky.stars) SELECT COUNT(*) AS c FROM w",
    "crossmatch": "SELECT a.n FROM sky.stars AS a JOIN sky.stars AS b ON 1 = CONTAINS(POINT(a.ra, a.dec), CIRCLE(b.ra, b.dec, 0.01))",
    "offset": "SELECT n FROM sky.stars ORDER BY n OFFSET 95",
    "literals": "SELECT n, 3 AS k FROM sky.stars WHERE g = 1 AND n > 7",
}


@pytest.fixture(scope="module")
def half(site, tmp_path_factory):
    """A site in which the other half does not exist."""
    tables = {}
    for name, columns in (("sky.stars", "n, ra, dec, g"), ("sky.tags", "n, label")):
        rows = ask(site, f"SELECT {columns} FROM {name}", OWNER_PRINCIPAL)
        tables[name] = pa.Table.from_pylist([row for row in rows if row["n"] % 2 == 0])
    made = open_tiny_site(tmp_path_factory.mktemp("rest"), tables)
    yield made
    made.close()


@pytest.mark.parametrize("name", QUERIES)
def test_no_query_tells_of_the_other_half(site, half, name):
    found = ask(site, QUERIES[name])
    expected = [row for batch in run_query(QUERIES[name], site=half).iterate_batches() for row in batch.to_pylist()]
    if "ORDER" not in QUERIES[name]:
        found, expected = (
            sorted(rows, key=lambda row: sorted((k, str(v)) for k, v in row.items())) for rows in (found, expected)
        )
    assert found == expected
    assert all(row["n"] % 2 == 0 for row in found if "n" in row)


def test_answers_do_not_wander_between_readers(site):
    text = "SELECT COUNT(*) AS c FROM sky.stars"
    for _ in range(2):
        assert ask(site, text) == [{"c": ROWS // 2}]
        assert ask(site, text, OWNER_PRINCIPAL) == [{"c": ROWS}]
        assert [row for batch in run_query(text, site=site).iterate_batches() for row in batch.to_pylist()] == [
            {"c": ROWS}
        ]
    assert (
        run_query(text, site=site, policies=build_odd_rows_hidden_policies("n")).scope
        != run_query(text, site=site).scope
    )


def test_a_known_shape_with_other_literals_stays_filtered(site):
    for limit in (1, 3, 5, 4, 100):
        found = ask(site, f"SELECT n FROM sky.stars WHERE n < {limit}")
        assert sorted(row["n"] for row in found) == list(range(0, limit, 2))
