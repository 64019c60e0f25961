"""gavo_vocmatch and gavo_ipix: against the vocabularies' own tables, and numbers that Q3C itself has computed."""

from __future__ import annotations

import csv
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adql_runner import evaluate_expression, run_query
from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.adql.vocabularies import list_term_and_narrower_terms, load_vocabularies
from hven.model.errors import BindError
from hven.model.sky import q3c
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, STRING
from shared import EXAMPLES_FACTOR, shared

ONE = StaticTableCatalogue([Table(schema="s", name="one", columns=())])
NAMES = [
    "product-type",
    "datalink/core",
    "object-type",
    "refframe",
    "timescale",
    "messenger",
    "voresource/relationship_type",
]


def above(rows: dict[str, dict[str, str]], term: str) -> set[str]:
    """Climb from a term to all that are wider, as the table of the vocabulary has them."""
    found = {term}
    for parent in [rows[term]["parent"], *rows[term]["extra_broader"].split()]:
        if parent:
            found |= above(rows, parent)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_terms_match_as_the_vocabulary_says(name):
    """Every term against every one: a term matches those that are above it, and itself."""
    with shared(
        f"standards/vocab/{name.replace('/', '-').replace('datalink-core', 'datalink-core')}.csv"
    ).open() as lines:
        rows = {row["term"]: row for row in csv.DictReader(lines)}
    assert set(load_vocabularies()[name]) == set(rows)
    wider = {term: above(rows, term) for term in rows}
    for term in rows:
        assert set(list_term_and_narrower_terms(name, term)) == {other for other in rows if term in wider[other]}


def test_it_matches_columns():
    words = ["image", "#spectral-cube", "cube", "spectrum", "Image", "", None]
    table = Table(schema="s", name="t", columns=(Column(name="p", type=STRING),))
    got = run_query(
        "SELECT gavo_vocmatch('product-type', 'spatially-resolved-dataset', p) AS m FROM s.t",
        [(table, pa.table({"p": words}))],
    )
    assert got.column("m").to_pylist() == [1, 1, 1, 0, 0, 0, None]
    kept = run_query(
        "SELECT p FROM s.t WHERE 1 = gavo_vocmatch('product-type', '#cube', p)", [(table, pa.table({"p": words}))]
    )
    assert kept.column("p").to_pylist() == ["#spectral-cube", "cube"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            "gavo_vocmatch('product-typ', 'image', 'a')",
            "this site has no vocabulary 'product-typ'; did you mean 'product-type'?",
        ),
        ("gavo_vocmatch('uat', 'moons', 'a')", "for another vocabulary, write its terms: x IN ('a', 'b')"),
        (
            "gavo_vocmatch('product-type', 'imag', 'a')",
            "the vocabulary product-type has no term 'imag'; did you mean 'image'?",
        ),
        (
            "gavo_vocmatch('product-type', 'qqq', 'a')",
            "use one of its terms, such as spatially-resolved-dataset, image",
        ),
        ("gavo_vocmatch('product-type', 'a' || 'b', 'a')", "argument 2 (term) must be written as a literal"),
        ("gavo_vocmatch('product-type', 'image', 5)", "argument 3 (matchagainst) must be a string"),
    ],
)
def test_refused(call, words):
    with pytest.raises(BindError, match=re.escape(words)):
        bind_query(parse_query(f"SELECT {call} FROM s.one"), ONE)


#: What q3c_ang2ipix of Q3C 2.0 gives: its own regression test, and positions all over the sky.
Q3C = [
    (0, 0, 2017612633061982208), (0, 90, 480383960252852906), (0, 91, 480383960252852906), (-1, 0, 1825388318008017157), (359, 0, 1825388318008017157),
    (94.18037, 71.21562, 884097295390420113), (35.00617, -34.34117, 1528467307801486825), (4.61466, -36.27158, 1478424307156710606),
    (218.80593, -76.35612, 6036985181231845179), (20.20155, -23.32259, 1605375713144603128), (343.73605, -10.75828, 1411540711974206564),
    (67.56475, 54.79823, 520862132099444286), (63.01655, 8.27994, 2915886776349115343), (211.71192, -53.53026, 5877172232169665359),
    (4.17936, 44.29514, 2210759151872862121), (118.16589, 38.41611, 3432205287100154338), (16.76738, -84.70541, 6631818103600996787),
    (225.82915, 53.52501, 744548363349752271), (329.34762, -3.09993, 1365622995981984534), (99.501, 2.45074, 3175945174407889453),
    (135.68389, 37.18627, 1150983855500663521), (247.45308, -52.42448, 5938436661943220153), (19.7389, -5.15716, 1649933665162458667),
    (313.41957, -3.86008, 5185350068434582356), (58.53438, -18.45181, 2475360001517641269), (304.76061, 11.81476, 5590107552977851475),
    (188.67994, 4.86028, 4330479343113994043), (212.1544, 64.81694, 699711564817219876), (72.71045, -32.36347, 2421986950644833725),
]  # fmt: skip


def test_pixels_are_those_of_q3c():
    lon, lat, pixels = (np.array(column) for column in zip(*Q3C, strict=True))
    np.testing.assert_array_equal(q3c.compute_q3c_pixel_numbers(lon, lat), pixels)
    table = Table(schema="s", name="t", columns=(Column(name="a", type=FLOAT64), Column(name="b", type=FLOAT64)))
    got = run_query(
        "SELECT gavo_ipix(a, b) AS p FROM s.t", [(table, pa.table({"a": lon.astype(float), "b": lat.astype(float)}))]
    )
    assert got.column("p").to_pylist() == pixels.tolist()
    assert evaluate_expression("gavo_ipix(10, NULL)") is None
    assert evaluate_expression("gavo_ipix(10, 20)") == 2061494256435992038


@settings(max_examples=60 * EXAMPLES_FACTOR, deadline=None)
@given(st.floats(0, 360), st.floats(-90, 90))
def test_pixels_are_near_their_positions(lon, lat):
    """The number taken apart again, by the definition of the cube, leads back to the position."""
    pixel = int(q3c.compute_q3c_pixel_numbers(np.array([lon]), np.array([lat]))[0])
    face, rest = divmod(pixel, 1 << 60)
    x, y = (sum((rest >> (2 * bit + odd) & 1) << bit for bit in range(30)) / 2**29 - 1 + 2**-30 for odd in (0, 1))
    place = {0: (-y, x, 1), 1: (1, x, y), 2: (-x, 1, y), 3: (-1, -x, y), 4: (x, -1, y), 5: (y, x, -1)}[face]
    true = (
        np.cos(np.radians(lat)) * np.cos(np.radians(lon)),
        np.cos(np.radians(lat)) * np.sin(np.radians(lon)),
        np.sin(np.radians(lat)),
    )
    assert np.linalg.norm(np.array(place) / np.linalg.norm(place) - true) < 3e-9
