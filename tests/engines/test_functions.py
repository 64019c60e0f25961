"""Functions given to DuckDB: each row's answer is that of the shapes themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.engines import ExecutionLimits
from hven.engines import _sky_functions as functions
from hven.engines._query_analysis.shape_parsing import parse_shape
from hven.engines.duckdb.dialect import UDF_SIGNATURES
from hven.engines.duckdb.engine import DuckEngine
from hven.engines.duckdb.udf_registry import UDFS
from hven.model.sky import are_shapes_intersecting, build_shape_from_array, has_shape_inside
from mocs import cover_positions
from shared import EXAMPLES_FACTOR

LIST = pa.list_(pa.float64())
near = st.floats(-3, 3).map(lambda x: round(x, 3))
small = st.floats(0.05, 2).map(lambda x: round(x, 3))


@st.composite
def shapes(draw) -> list[float]:
    lon, lat = 40 + draw(near), 10 + draw(near)
    kind = draw(st.sampled_from(["point", "circle", "range", "polygon"]))
    if kind == "point":
        return [lon, lat]
    if kind == "circle":
        return [lon, lat, draw(small)]
    width, height = draw(small), draw(small)
    if kind == "range":
        return [lon, lon + width, lat, lat + height]
    return [lon, lat, lon + width, lat, lon + width / 2, lat + height]


def shape(numbers):
    return build_shape_from_array({2: "point", 3: "circle", 4: "range"}.get(len(numbers), "polygon"), numbers)


@settings(max_examples=60 * EXAMPLES_FACTOR, deadline=None)
@given(st.lists(st.tuples(shapes(), shapes()), min_size=1, max_size=20))
def test_pairs_of_shapes(pairs):
    one, two = pa.array([a for a, _ in pairs], LIST), pa.array([b for _, b in pairs], LIST)
    inside = functions.SKY_FUNCTIONS["hven_contains"](one, two).to_pylist()
    assert inside == [has_shape_inside(shape(b), shape(a)) for a, b in pairs]
    assert functions.SKY_FUNCTIONS["hven_intersects"](one, two).to_pylist() == [
        are_shapes_intersecting(shape(a), shape(b)) for a, b in pairs
    ]


def test_what_is_no_shape_holds_nothing():
    odd = pa.array([[1.0], [], [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]], LIST)
    point = pa.array([[1.0, 2.0]] * 4, LIST)
    assert functions.SKY_FUNCTIONS["hven_contains"](point, odd).to_pylist()[:3] == [False] * 3
    assert functions.SKY_FUNCTIONS["hven_area"](odd).to_pylist()[:3] == [None] * 3
    assert functions.SKY_FUNCTIONS["hven_centroid"](odd).to_pylist()[:3] == [None] * 3


@pytest.mark.parametrize(
    ("inner", "outer", "held", "touch"),
    [
        ("point 10 20", "circle 10 20 1", True, True),
        ("Circle ICRS 10 20 0.5", "circle 10 20 1", True, True),
        ("circle 10 20 2", "Circle ICRS 10 20 1", False, True),
        ("circle 10 20 1", "circle 50 20 1", False, False),
        ("no shape", "circle 50 20 1", False, False),
        ("circle 10 20 0.01", str(cover_positions([10.0], [20.0], 4)), True, True),
        (str(cover_positions([200.0], [20.0], 4)), "circle 10 20 5", False, False),
    ],
)
def test_shapes_as_text(inner, outer, held, touch):
    rows = (pa.array([inner] * 3), pa.array([outer] * 3))
    if not inner.startswith("point"):
        assert functions.SKY_FUNCTIONS["hven_intersects_text"](*rows).to_pylist() == [touch] * 3
        assert functions.SKY_FUNCTIONS["hven_contains_text"](*rows).to_pylist() == [held] * 3


def test_areas_and_middles_of_text():
    text = pa.array(["circle 10 20 1", "0/0", "x", "circle 10 20 1"])
    areas = functions.SKY_FUNCTIONS["hven_area_text"](text).to_pylist()
    assert areas[0] == areas[3] == pytest.approx(np.pi, rel=1e-3)
    assert areas[1] == pytest.approx(129600 / np.pi / 12)
    assert areas[2] is None
    middles = functions.SKY_FUNCTIONS["hven_centroid_text"](text).to_pylist()
    assert middles[0] == pytest.approx([10, 20])
    assert middles[1] == pytest.approx([45, 41.8], abs=3)
    assert middles[2] is None


def test_boxes_and_cells():
    box = functions.SKY_FUNCTIONS["hven_box"](*(pa.array([value] * 2) for value in (10.0, 0.0, 2.0, 4.0))).to_pylist()
    assert len(box[0]) == 8
    assert box[0] == box[1]
    order, lon, lat = pa.array([0, 3, 29, 40]), pa.array([45.0] * 4), pa.array([41.0] * 4)
    cells = functions.SKY_FUNCTIONS["hven_healpix"](order, lon, lat).to_pylist()
    assert cells[0] == 0
    assert cells[3] is None
    assert cells[1] == cells[2] >> 52
    centre = functions.SKY_FUNCTIONS["hven_healpix_center"](pa.array([29]), pa.array([cells[2]])).to_pylist()[0]
    assert centre == pytest.approx([45.0, 41.0], abs=1e-6)


def test_every_function_of_the_dialect_is_there():
    assert set(UDFS) == set(UDF_SIGNATURES)
    assert set(functions.SKY_FUNCTIONS) == set(functions.FUNCTION_SIGNATURES)


def test_each_is_defined_by_whoever_names_it_first(tmp_path):
    """Many at once, in any order; beside them, answers that are computed by ours are read to their end, or broken off."""
    texts = {
        "healpix": "hven_healpix(3, 45e0, CAST(range % 80 AS DOUBLE))",
        "distance": "hven_distance(0e0, 0e0, 0e0, CAST(range AS DOUBLE))",
        "lon": "hven_lon_180(CAST(range AS DOUBLE))",
        "time": "epoch_us(hven_left(make_timestamp(range), 1))",
        "area": "hven_area([1e0, 2e0, CAST(range % 9 + 1 AS DOUBLE)])",
        "name": "hven_target_name('mars')",
    }
    schema = pa.schema([("found", pa.string())])

    def ask(engine, name, whole):
        sql = f"SELECT CAST({texts[name]} AS VARCHAR) AS found FROM range(20000)"
        execution = engine.run_sql(sql, [], {}, schema, ExecutionLimits(batch_rows=500))
        batches = iter(execution)
        rows = next(batches).num_rows
        if whole:
            rows += sum(batch.num_rows for batch in batches)
        execution.close()
        return rows == 20000 if whole else rows > 0

    for _ in range(2):
        engine = DuckEngine(tmp_path, memory_bytes=2**28)
        with ThreadPoolExecutor(24) as pool:
            asked = [pool.submit(ask, engine, name, whole) for name in texts for whole in (True, False) * 2]
            assert all(one.result(60) for one in asked)
        engine.close()


def test_what_is_written_is_read_back():
    shapes = {
        "POINT(1.5, -2)": "point 1.5 -2",
        "CIRCLE(10, 20, 1)": "circle 10 20 1",
        "POLYGON(0, 0, 10, 0, 10, 10)": "polygon 0 0 10 0 10 10",
    }
    numbers = [[1.5, -2.0], [10.0, 20.0, 1.0], [0.0, 0.0, 10.0, 0.0, 10.0, 10.0], None]
    written = functions.SKY_FUNCTIONS["hven_text"](pa.array(numbers, pa.list_(pa.float64())))
    assert written.to_pylist() == [*shapes.values(), None]
    middles = functions.SKY_FUNCTIONS["hven_centroid_text"](written.drop_null()).to_pylist()
    assert np.array(middles[:2]) == pytest.approx(np.array([[1.5, -2.0], [10.0, 20.0]]))
    assert functions.SKY_FUNCTIONS["hven_area_text"](written.drop_null()).to_pylist()[0] == 0.0


ODD = ["", "nonsense", "circle 10 95 1", "circle 40 10 181", "circle 400 10 1", "circle -320 10 1", "polygon 0 0 90 0 180 0 270 10", "polygon 10 10 190 -10 30 5",
       "Circle ICRS 40 10 0", "CIRCLE GALACTIC 40 10 2", "polygon 40 10 40 10 40 10", "circle 40 10 180", "circle 40 10 +1", "point 40 10", "range 30 50 0 20",
       "circle 1 2 1 polygon 39 9 41 9 40 11", "6/20000-20100", "Union ICRS (Circle 40 10 1 Circle 50 10 1)", "polygon 41 9 39 9 40 11", "circle 40 10 1 nan", "circle 40 nan 1",
       "Polygon UNKNOWNFrame 350 -5 10 -5 10 5 350 5", "circle 0 90 3"]  # fmt: skip


def word(numbers: list[float]) -> str:
    return " ".join([{2: "point", 3: "circle", 4: "range"}.get(len(numbers), "polygon"), *map(str, numbers)])


texts = st.one_of(shapes().map(word), shapes().map(word), st.sampled_from(ODD))


@settings(max_examples=40 * EXAMPLES_FACTOR, deadline=None)
@given(st.lists(st.tuples(texts, texts, near, near), min_size=5, max_size=9))
def test_many_texts_at_once_are_what_each_is_alone(rows):
    one, two = [a for a, *_ in rows], [b for _, b, *_ in rows]
    lon, lat = [40 + x for *_, x, _ in rows], [10 + y for *_, y in rows]
    times = functions.MIN_VECTORIZED_ROWS // len(rows) + 1
    for name, columns in (
        ("hven_intersects_text", (one, two)),
        ("hven_contains_text", (one, two)),
        ("hven_in_text", (lon, lat, one)),
    ):
        call = functions.SKY_FUNCTIONS[name]
        alone = call(*(pa.array(column) for column in columns)).to_pylist()
        assert len(alone) < functions.MIN_VECTORIZED_ROWS
        assert call(*(pa.array(column * times) for column in columns)).to_pylist() == alone * times, (name, columns)


def test_shapes_at_the_edge_of_what_is_one_are_told_apart_in_crowds():
    column = pa.array(ODD * 3)
    same = pa.array(["circle 40 10 2"] * len(column))
    crowd = functions.SKY_FUNCTIONS["hven_intersects_text"](column, same).to_pylist()
    single = [
        functions.SKY_FUNCTIONS["hven_intersects_text"](pa.array([text]), pa.array(["circle 40 10 2"])).to_pylist()[0]
        for text in ODD
    ]
    assert crowd == single * 3
    assert sum(single) > 5


@settings(max_examples=40 * EXAMPLES_FACTOR, deadline=None)
@given(
    st.lists(st.lists(shapes().filter(lambda one: len(one) in {3, 6}), min_size=1, max_size=4), min_size=1, max_size=5),
    st.booleans(),
)
def test_areas_of_unions_are_those_of_one_by_one(unions, dali):
    texts = []
    for parts in unions:
        words = [f"{'Circle' if len(one) == 3 else 'Polygon'} {' '.join(map(str, one))}" for one in parts]
        texts.append(" ".join(words) if dali else f"Union ICRS ({' '.join(words)})")
    found = functions._compute_shape_text_areas(
        pa.array([*texts, "Union ICRS (Circle 1 2)", "Union (Circle 1 2 300)", *texts])
    ).to_pylist()
    expected = [parse_shape(text).compute_area() for text in texts]
    assert found == [pytest.approx(area, rel=1e-9) for area in expected] + [None, None] + [
        pytest.approx(area, rel=1e-9) for area in expected
    ]
