"""A match after changes of its inputs is the same as a match of everything, and reads only what the changes touch."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from hven.model.errors import DataError
from hven.model.table import Column
from hven.model.types import FLOAT64, INT64, STRING
from hven.plugins.matching import match_update, star_groups
from hven.plugins.matching.catalogue_reading import CatalogueReader
from hven.plugins.matching.match_options import Options
from hven.plugins.matching.match_store import StoredMatch
from hven.plugins.matching.match_update import CatalogueMatcher
from hven.plugins.matching.pair_expressions import PairExpressions
from hven.plugins.matching.pair_search import PairSearch, read_reference_stars
from hven.plugins.matching.row_digests import DIGEST_COLUMN, RowDigestReader, compute_row_digests
from hven.plugins.matching.sky_cells import find_circles_in_cells, find_position_cells, find_touched_cells
from hven.plugins.matching.star_groups import find_star_groups
from hven.plugins.matching.star_positions import build_unit_vectors
from hven.plugins.matching.zone_index import TooManyPairsError
from plugins.matching.generated_stars import generate_pairs

UCDS = {
    "id": "meta.id;meta.main", "source": "meta.id;meta.main", "ra": "pos.eq.ra;meta.main", "dec": "pos.eq.dec;meta.main",
    "pmra": "pos.pm;pos.eq.ra", "pmdec": "pos.pm;pos.eq.dec",
}  # fmt: skip
TYPES = {pa.int64(): INT64, pa.float64(): FLOAT64, pa.string(): STRING}


class Answer:
    """Rows with metadata of their columns."""

    def __init__(self, rows, names):
        self.columns = [Column(name=name, type=TYPES[rows[name].type], ucd=UCDS.get(name)) for name in names]
        self._rows = rows.select(names)

    def __iter__(self):
        return iter(self._rows.to_batches(max_chunksize=700))


class Tables:
    """Tables in memory, which answer the queries of a match by distance alone."""

    def __init__(self, **tables):
        self.tables = tables

    def __call__(self, text, uploads=None):
        name = re.search(r"FROM \S*?(\w+)\"?$", text)[1]
        rows = self.tables[name]
        if "MIN(" in text:
            (epoch,) = re.findall(r"MIN\(\"?(\w+)", text)
            bounds = pc.min_max(rows[epoch]).as_py()
            return Answer(pa.table({"first": [bounds["min"]], "last": [bounds["max"]]}), ["first", "last"])
        if "TOP 0" in text:
            return Answer(rows.slice(0, 0), rows.column_names)
        return Answer(rows, re.findall(r"\w+", text.split("FROM")[0].removeprefix("SELECT")))


def match_tables(first, second, options, stored=None):
    """Match two tables; return the match, and what the next run knows of it."""
    run_query = Tables(first=first, second=second)
    reference_reader = CatalogueReader("reference", options.reference, run_query, keeps_motionless=True)
    reader = CatalogueReader("gaia", options.catalogues["gaia"], run_query, keeps_motionless=True)
    columns = {"reference": reference_reader.columns, "gaia": reader.columns}
    expressions = PairExpressions("gaia", options.catalogues["gaia"], columns)
    reference = read_reference_stars(RowDigestReader(reference_reader), [reference_reader.longitude, DIGEST_COLUMN])
    matcher = CatalogueMatcher(reader, expressions, options, run_query, lambda _: None)
    match, cell_digests = matcher.compute_match(reference, stored)
    digests = np.asarray(reference.rows[DIGEST_COLUMN.name])
    return match, StoredMatch(
        match=match,
        is_of_this_run=False,
        reference_ids=reference.ids,
        reference_digests=digests,
        cell_digests=cell_digests,
    )


def assert_same_match(match, expected):
    """Compare all arrays of two matches, to the last bit."""
    for part, names in (
        ("pairs", ("reference_rows", "ranks", "separations", "reference_vectors", "partner_vectors")),
        ("verdicts", match.verdicts.__slots__),
    ):
        for name in names:
            values, expected_values = (getattr(getattr(either, part), name) for either in (match, expected))
            assert values.tobytes() == expected_values.tobytes(), name
    assert match.pairs.ids.equals(expected.pairs.ids)
    assert match.pairs.rows.equals(expected.pairs.rows.select(match.pairs.rows.column_names))
    assert {name: array.tobytes() for name, array in match.values.items()} == {
        name: array.tobytes() for name, array in expected.values.items()
    }


def change_stars(stars, random):
    """Remove, move and add some stars, and mix the rows."""
    count = stars.num_rows
    columns = {name: stars[name].to_numpy().copy() for name in stars.column_names}
    changed = random.choice(count, random.integers(0, 5), replace=False)
    for name in set(columns) - {"id", "source"}:
        scale = 1 / 3600 if name in {"ra", "dec"} else 50.0
        columns[name][changed] += random.normal(0, scale, len(changed))
    columns["ra"] %= 360
    columns["dec"] = np.clip(columns["dec"], -90, 90)
    kept = np.flatnonzero(random.uniform(size=count) > random.choice([0, 0.002]))
    mixed = random.permutation(kept)
    table = pa.table({name: values[mixed] for name, values in columns.items()})
    copied = table.slice(0, random.integers(0, 4))  # new stars near others
    id_name = stars.column_names[0]
    new_ids = pa.array(random.integers(10_000_000, 20_000_000, copied.num_rows))
    return pa.concat_tables([table, copied.set_column(0, id_name, new_ids)])


CASES = {
    "row epochs": ({}, {"epoch": "epoch"}),
    "one epoch": ({}, {"epoch": 2016.0, "columns": ["v"], "best": "unique"}),
    "linear": ({"motion": "linear"}, {"epoch": 2016.0, "mates": 40.0}),
    "common epoch": ({"epoch": 1950.0}, {"epoch": 2016.0, "best": "all"}),
}


@pytest.mark.parametrize("case", CASES)
def test_updates_are_equal_to_matches_of_everything(case):
    changes, catalogue = CASES[case]
    options = Options.model_validate(
        {
            "reference": {"table": "sky.first", "epoch": 1991.25},
            "catalogues": {"gaia": {"table": "sky.second", "radius": 1.5, **catalogue}},
            **changes,
        }
    )
    random = np.random.default_rng(len(case))
    first, second = generate_pairs(2000)
    second = second.append_column("epoch", pa.array(np.full(2000, 2016.0)))
    match, stored = match_tables(first, second, options)
    for _ in range(6):
        if random.uniform() < 0.7:
            first = change_stars(first, random)
        if random.uniform() < 0.7:
            second = change_stars(second, random)
            epochs = np.where(np.arange(len(second)) < 3, 1999.0, second["epoch"].to_numpy())
            second = second.set_column(4, "epoch", pa.array(epochs))
        match, stored = match_tables(first, second, options, stored)
        assert_same_match(match, match_tables(first, second, options)[0])


def test_unchanged_inputs_are_not_matched_again(monkeypatch):
    options = Options.model_validate(
        {
            "reference": {"table": "sky.first", "epoch": 1991.25},
            "catalogues": {"gaia": {"table": "sky.second", "epoch": 2016.0, "radius": 1.5}},
        }
    )
    first, second = generate_pairs(500)
    match, stored = match_tables(first, second, options)
    searched = []
    find_pairs = PairSearch.find_pairs

    def record_search(search, columns):
        pairs = find_pairs(search, columns)
        searched.append((len(search._positions.epochs), len(pairs.separations)))
        return pairs

    monkeypatch.setattr(PairSearch, "find_pairs", record_search)
    mixed = second.take(np.random.default_rng(1).permutation(500))
    assert_same_match(match_tables(first, mixed, options, stored)[0], match)
    assert not searched
    magnitudes = second["v"].to_numpy().copy()
    magnitudes[400] += 1
    match_tables(first, second.set_column(3, "v", pa.array(magnitudes)), options, stored)
    assert not searched  # the match doesn't read magnitudes
    latitudes = second["dec"].to_numpy().copy()
    latitudes[400] += 0.1 / 3600
    match_tables(first, second.set_column(2, "dec", pa.array(latitudes)), options, stored)
    ((star_count, pair_count),) = searched
    assert star_count < 100
    assert pair_count < 100


def test_repeated_ids_are_found_in_an_update():
    """The two rows are in different cells, and only one of them has changed."""
    options = Options.model_validate(
        {
            "reference": {"table": "sky.first", "epoch": 1991.25},
            "catalogues": {"gaia": {"table": "sky.second", "epoch": 2016.0, "radius": 1.5}},
        }
    )
    first = pa.table({"id": [1, 2], "ra": [10.0, 50.0], "dec": [0.0, 0.0]})
    second = pa.table({"source": [1, 2], "ra": [10.0, 50.0], "dec": [0.0, 0.0]})
    stored = match_tables(first, second, options)[1]
    repeated = pa.table({"source": [1, 1], "ra": [10.0, 50.0], "dec": [0.0, 0.0]})
    with pytest.raises(DataError, match=r"2 candidates of sky\.second have only 1 different values of source"):
        match_tables(first, repeated, options, stored)


def test_an_update_has_the_limits_of_a_match(monkeypatch):
    options = Options.model_validate(
        {
            "reference": {"table": "sky.first", "epoch": 1991.25},
            "catalogues": {"gaia": {"table": "sky.second", "epoch": 2016.0, "radius": 1.5}},
        }
    )
    first, second = generate_pairs(500)
    stored = match_tables(first, second, options)[1]
    monkeypatch.setattr(match_update, "MAX_PAIRS", 100)
    with pytest.raises(DataError, match="too dense"):
        match_tables(first, second, options, stored)


def test_circles_touch_the_cells_of_all_positions_in_them():
    random = np.random.default_rng(5)
    count = 120
    longitudes = random.choice([0.0, 359.9999, 180.0], count) + random.uniform(0, 0.0001, count)
    latitudes = np.degrees(np.arcsin(random.uniform(-1, 1, count)))
    latitudes[:20], latitudes[20:40] = 89.9999, -90.0
    radii = 10 ** random.uniform(-1, 4, count)
    angles, distances = random.uniform(0, 2 * np.pi, count), np.radians(radii / 3600 * random.uniform(0, 1, count))
    latitude = np.radians(latitudes)
    sine = np.sin(latitude) * np.cos(distances) + np.cos(latitude) * np.sin(distances) * np.cos(angles)
    east = np.arctan2(
        np.sin(angles) * np.sin(distances) * np.cos(latitude), np.cos(distances) - np.sin(latitude) * sine
    )
    cells = find_position_cells((longitudes + np.degrees(east)) % 360, np.degrees(np.arcsin(np.clip(sine, -1, 1))))
    for number in range(count):
        circle = longitudes[[number]], latitudes[[number]], radii[[number]]
        touched = find_touched_cells(*circle)
        assert touched[cells[number]]
        assert len(find_circles_in_cells(*circle, touched)) == 1
        assert len(find_circles_in_cells(*circle, ~touched)) == 0


def test_digests_depend_on_each_value():
    """Nulls, texts with the same letters and the order of columns matter; batches and slices don't."""
    rows = pa.record_batch(
        {
            "a": pa.array([1, 1, None, 0, 1], pa.int64()),
            "b": pa.array([1.5, 1.5, 1.5, 1.5, None]),
            "c": pa.array(["ab", "ba", "", None, "é" * 40]),
            "d": pa.array([True, False, None, True, True]),
            "e": pa.array([0, 1, 2, None, 4], pa.timestamp("us")),
        }
    )
    digests = compute_row_digests(rows)
    assert len(set(digests)) == 5
    for number in range(5):
        assert compute_row_digests(rows.slice(number, 1)) == digests[number]
        assert compute_row_digests(rows.take(pa.array([number]))) == digests[number]
    swapped = pa.record_batch({"a": rows["b"], "b": rows["a"], "c": rows["c"], "d": rows["d"], "e": rows["e"]})
    assert not set(digests) & set(compute_row_digests(swapped))
    lists = pa.record_batch({"a": pa.array([[1], [2]])})
    assert not set(compute_row_digests(lists)) & set(compute_row_digests(lists))


def test_a_million_stars_in_an_arcsecond_are_too_many():
    """This is told before any pair is built; 300 of them beside one object are only many candidates."""
    count = 1_000_000
    random = np.random.default_rng(6)
    ra, dec = 10 + random.uniform(0, 1, count) / 3600, random.uniform(0, 1, count) / 3600
    first = pa.table({"id": np.arange(count), "ra": ra, "dec": dec})
    second = pa.table({"source": np.arange(count), "ra": ra, "dec": dec})
    options = Options.model_validate(
        {
            "reference": {"table": "sky.first"},
            "catalogues": {"gaia": {"table": "sky.second", "radius": 1.0, "mates": 1.0}},
        }
    )
    with pytest.raises(DataError, match=r"sky\.second is too dense: at least [0-9,]+ pairs are within 2 arcsec"):
        match_tables(first, second, options)
    with pytest.raises(TooManyPairsError):
        find_star_groups(build_unit_vectors(ra, dec), 1.0)
    match, _ = match_tables(first.slice(0, 1), second.slice(0, 300), options)
    assert match.verdicts.mate_counts.tolist() == [int((match.pairs.separations <= 1).sum())]
    assert len(match.pairs.separations) == 300


def test_links_of_groups_are_bounded(monkeypatch):
    monkeypatch.setattr(star_groups, "MAX_LINKS", 10)
    with pytest.raises(TooManyPairsError):
        find_star_groups(build_unit_vectors(np.full(6, 10.0), np.zeros(6)), 1.0)
