"""Members of ivoa.obscore that an index finds empty are left out of what is computed: that must change nothing but time."""

from __future__ import annotations

import contextlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from hven import query
from hven.engines.duckdb.query_plan import DuckPlan
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.model.table import Table, build_columns_from_arrow
from hven.site import Site
from hven.site.auth import Principal
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL
from hven.testing.policies import build_odd_rows_hidden_policies
from shared import EXAMPLES_FACTOR

FIELDS = """\
collection: {name}
title: Fields
access: {access}
tables:
  main:
    source: {{kind: csv, files: rows.csv}}
    primary: ident
    columns:
      ident: {{type: string, description: Name}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: RA}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Dec}}
      wave: {{type: float64, unit: nm, ucd: em.wl, description: Wavelength}}
      n: {{type: int32, indexed: true, description: Number}}
    obscore:
      set: {{dataproduct_type: {kind}, calib_level: 2, facility_name: {name}}}
      text: {{obs_title: "{name} {{ident}}"}}
      map:
        em_min: wave
        {more}
      optional: obs_title
      {own}
      {radio}
"""
BARE = """\
collection: bare
title: Tables without positions
tables:
  main:
    source: {kind: csv, files: rows.csv}
    primary: ident
    columns:
      ident: {type: string, description: Name}
      n: {type: int32, description: Number}
    obscore:
      set: {dataproduct_type: measurements, calib_level: 3}
"""
OWN = "columns: {number: {type: int32, description: A number}}"
RADIO = "radio: {set: {instr_tel_number: 3}, map: {f_resolution: n}}"
REGION = "s_region: \"'Circle ICRS ' || CAST(ra AS VARCHAR) || ' ' || CAST(dec AS VARCHAR) || ' 0.4'\""


def rows(name: str, count: int, lon: float) -> str:
    made = np.random.default_rng(count)
    lines = [
        f"{name}{number},{(lon + made.uniform(0, 60)) % 360:.6f},{made.uniform(-40, 40):.6f},{500 + number % 7},{number}"
        for number in range(count)
    ]
    return "\n".join(["ident,ra,dec,wave,n", *lines]) + "\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("members")
    made = {
        "bare": (BARE, "ident,n\nbare0,0\nbare1,1\nbare2,2\n"),
        "east": (
            {"access": "public", "kind": "image", "more": f"number: n\n        {REGION}", "own": OWN, "radio": RADIO},
            rows("east", 400, 0),
        ),
        "north": (
            {"access": "public", "kind": "cube", "more": "number: n", "own": OWN, "radio": ""},
            rows("north", 300, 40),
        ),
        "south": (
            {"access": "private", "kind": "image", "more": f"number: n\n        {REGION}", "own": OWN, "radio": ""},
            rows("south", 350, 50),
        ),
        "west": (
            {"access": "public", "kind": "image", "more": REGION, "own": "", "radio": RADIO},
            rows("west", 250, 180),
        ),
    }
    for name, (text, content) in made.items():
        place = directory / "collections" / name
        place.mkdir(parents=True)
        (place / f"{name}.yaml").write_text(text if isinstance(text, str) else FIELDS.format(name=name, **text))
        (place / "rows.csv").write_text(content)
    with Site(Settings(directory=directory, authority="ohp.fr"), watch_for_changes=False) as found:
        for name in made:
            ingest_collection(found, name)
        found.refresh_published_state()
        yield found


@contextlib.contextmanager
def looking_at_all(site):
    """Answer without indexes, and so without leaving anything out."""
    engine = site.engines.get_engine("duckdb")
    engine.uses_indexes = False
    try:
        yield
    finally:
        engine.uses_indexes = True


UPLOAD = pa.table(
    {
        "lon": [10.0, 70.0, 200.0, 300.0, None],
        "lat": [0.0, 10.0, -10.0, 60.0, 1.0],
        "name": ["east7", "north3", "west9", "x", None],
    }
)
UPLOADED = Table(schema="TAP_UPLOAD", name="mine", columns=tuple(build_columns_from_arrow(UPLOAD.schema)))


def ask(site, text, who=ANONYMOUS_PRINCIPAL, **more):
    with query.run_query(text, who, site=site, uploads={"TAP_UPLOAD.mine": (UPLOADED, UPLOAD)}, **more) as result:
        batches = list(result.iterate_batches())
        schema = pa.schema([(column.name, column.type.arrow) for column in result.columns])
    return pa.Table.from_batches(batches, schema=batches[0].schema if batches else schema)


def compare_with_full_view(site, text, who=ANONYMOUS_PRINCIPAL, **more):
    """Ask both ways and compare; give the rows."""
    found = ask(site, text, who, **more)
    with looking_at_all(site):
        wanted = ask(site, text, who, **more)
    assert found.schema.equals(wanted.schema), text
    keyed = [sorted(map(repr, table.to_pylist())) for table in (found, wanted)]
    assert keyed[0] == keyed[1], text
    return found


NAMES = ["east", "north", "south", "west", "bare", "none"]
simple = st.one_of(
    st.builds(
        lambda lon, lat, size: f"1 = CONTAINS(POINT(s_ra, s_dec), CIRCLE({lon:.3f}, {lat:.3f}, {size}))",
        st.floats(0, 359), st.floats(-45, 45), st.sampled_from([0.001, 0.5, 3, 30]),
    ),
    st.builds(lambda lon, lat: f"DISTANCE(s_ra, s_dec, {lon:.3f}, {lat:.3f}) < 2", st.floats(0, 359), st.floats(-45, 45)),
    st.builds(lambda name, n: f"obs_publisher_did = 'ivo://ohp.fr/{name}?{name}{n}'", st.sampled_from(NAMES), st.integers(0, 400)),
    st.builds(lambda name, n: f"obs_id IN ('{name}{n}', 'north{n}', 'x')", st.sampled_from(NAMES), st.integers(0, 400)),
    st.sampled_from(NAMES).map(lambda name: f"obs_collection = '{name}'"),
    st.sampled_from(["image", "cube", "none"]).map(lambda kind: f"dataproduct_type = '{kind}'"),
    st.integers(-5, 400).map(lambda n: f"number = {n}"),
    st.floats(0, 359).map(lambda lon: f"1 = INTERSECTS(s_region, CIRCLE({lon:.2f}, 0, 5))"),
    st.sampled_from(["s_ra IS NULL", "number IS NULL", "s_region IS NULL", "em_min > 5.03e-7", "s_xel1 < 0", "1 = 0"]),
)  # fmt: skip
conditions = st.one_of(
    simple,
    simple,
    st.builds(lambda a, b: f"({a}) AND ({b})", simple, simple),
    st.builds(lambda a, b: f"({a}) OR ({b})", simple, simple),
    st.builds(lambda a, b, c: f"({a} OR {b}) AND NOT {c}", simple, simple, simple),
)
FORMS = [
    "SELECT * FROM ivoa.obscore WHERE {}",
    "SELECT obs_id, s_ra + 1 AS x, s_region FROM ivoa.obscore AS o WHERE {}",
    "SELECT COUNT(*) AS n, MIN(s_ra) AS a, MAX(number) AS b, AVG(em_min) AS c FROM ivoa.obscore WHERE {}",
    "SELECT obs_collection, COUNT(*) AS n FROM ivoa.obscore WHERE {} GROUP BY obs_collection HAVING COUNT(*) > 1",
    "SELECT DISTINCT facility_name, dataproduct_type FROM ivoa.obscore WHERE {}",
    "SELECT TOP 7 obs_publisher_did, number / 2 AS half FROM ivoa.obscore WHERE {} ORDER BY obs_publisher_did DESC",
    "SELECT * FROM ivoa.obscore NATURAL JOIN ivoa.obscore_radio WHERE {}",
    "SELECT obs_id, f_resolution FROM ivoa.obscore LEFT JOIN ivoa.obscore_radio USING (obs_publisher_did) WHERE {}",
    "SELECT m.name, o.obs_id FROM TAP_UPLOAD.mine AS m LEFT JOIN ivoa.obscore AS o ON m.name = o.obs_id AND {}",
    "SELECT m.name, obs_id FROM ivoa.obscore JOIN TAP_UPLOAD.mine AS m ON 1 = CONTAINS(POINT(s_ra, s_dec), CIRCLE(m.lon, m.lat, 3)) WHERE {}",
    "SELECT name FROM TAP_UPLOAD.mine WHERE name IN (SELECT obs_id FROM ivoa.obscore WHERE {})",
    "SELECT name FROM TAP_UPLOAD.mine AS m WHERE NOT EXISTS (SELECT 1 FROM ivoa.obscore WHERE obs_id = m.name AND {})",
    "WITH w AS (SELECT * FROM ivoa.obscore WHERE {}) SELECT a.obs_id FROM w AS a JOIN w AS b ON a.number = b.number AND a.obs_id < b.obs_id",
    "SELECT obs_id FROM ivoa.obscore WHERE {} UNION SELECT ident FROM west.main WHERE n < 3",
    "SELECT obs_id FROM ivoa.obscore WHERE {} EXCEPT SELECT ident FROM east.main WHERE n > 50",
    "SELECT ident FROM east.main AS e WHERE n < 20 AND (SELECT COUNT(*) FROM ivoa.obscore WHERE number = e.n AND {}) > 0",
]  # fmt: skip
OWNER = Principal(name="owner", groups=frozenset({"owner"}))
READERS = [ANONYMOUS_PRINCIPAL, OWNER]


@settings(
    max_examples=50 * EXAMPLES_FACTOR,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    form=st.sampled_from(FORMS),
    condition=conditions,
    who=st.sampled_from(READERS),
    policies=st.sampled_from([None, build_odd_rows_hidden_policies("n")]),
)
@example(  # a filter of a hash join's keys that DuckDB hands down to a scan of Arrow rows, which refuses it
    form="SELECT name FROM TAP_UPLOAD.mine AS m WHERE NOT EXISTS (SELECT 1 FROM ivoa.obscore WHERE obs_id = m.name AND {})",
    condition="s_region IS NULL",
    who=OWNER,
    policies=None,
)
def test_leaving_members_out_changes_nothing(site, form, condition, who, policies):
    compare_with_full_view(
        site, form.replace("{}", f"({condition})"), who, **({} if policies is None else {"policies": policies})
    )


def texts(site, text, monkeypatch):
    """Give the SQL that is run for a query, empty where nothing is."""
    found = []
    made = DuckPlan._get_or_write_sql

    def note_text(plan, reduced):
        found.append(made(plan, reduced))
        return found[-1]

    monkeypatch.setattr(DuckPlan, "_get_or_write_sql", note_text)
    answer = ask(site, text)
    return answer, [item.sql for item in found[-1:]]


def test_only_the_member_that_has_rows_is_computed(site, monkeypatch):
    found, (sql,) = texts(
        site, "SELECT * FROM ivoa.obscore WHERE obs_publisher_did = 'ivo://ohp.fr/north?north17'", monkeypatch
    )
    assert found.column("obs_id").to_pylist() == ["north17"]
    assert "UNION" not in sql
    assert sql.count("SELECT") == 1  # the layer of the view is gone, too
    assert "hven.candidates" in sql


def test_two_members_of_four(site, monkeypatch):
    text = "SELECT obs_id FROM ivoa.obscore WHERE obs_id IN ('east3', 'west4')"
    found, (sql,) = texts(site, f"{text} ORDER BY obs_id", monkeypatch)
    assert found.column(0).to_pylist() == ["east3", "west4"]
    assert sql.count("UNION ALL") == 1
    monkeypatch.setattr(DuckPlan, "execute_without_deferring", None)  # without an order, their indexes are enough
    assert sorted(ask(site, text).column(0).to_pylist()) == ["east3", "west4"]


def test_nothing_is_computed_where_there_is_nothing(site, monkeypatch):
    cone = "SELECT * FROM ivoa.obscore WHERE 1 = CONTAINS(POINT(s_ra, s_dec), CIRCLE(300, 60, 1))"
    found, sql = texts(site, f"{cone} ORDER BY obs_id", monkeypatch)
    assert (found.num_rows, sql) == (0, [""])
    found, (sql,) = texts(site, cone.replace("*", "COUNT(*) AS n"), monkeypatch)
    assert (found.to_pylist(), sql.count("UNION")) == ([{"n": 0}], 0)


def test_values_keep_the_type_of_the_whole_union(site):
    """What is left may be whole numbers where the union has fractions."""
    both = "(SELECT n AS x FROM east.main WHERE n = {} UNION ALL SELECT wave FROM west.main WHERE n = {}) AS v"
    for one, two in ((3, 4), (3, -1), (-1, 4), (-1, -1)):
        found = compare_with_full_view(site, f"SELECT x, x / 2 AS half FROM {both.format(one, two)}")
        assert found.num_rows == (one > 0) + (two > 0)
        assert str(found.schema.field("half").type) == "double"
        if one > 0:
            assert 1.5 in found.column("half").to_pylist()
    empty = compare_with_full_view(site, f"SELECT SUM(x) AS s, COUNT(x) AS n FROM {both.format(-1, -1)}")
    assert empty.to_pylist() == [{"s": None, "n": 0}]
