"""MOCs against mocpy, there and back."""

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given, settings
from hypothesis import strategies as st
from mocpy import MOC

from hven.model.sky import Moc, healpix
from mocs import cover_positions
from shared import EXAMPLES_FACTOR

CELLS = st.integers(0, 6).flatmap(
    lambda order: st.tuples(st.just(order), st.lists(st.integers(0, (12 << 2 * order) - 1), max_size=60))
)


@settings(max_examples=200 * EXAMPLES_FACTOR)
@given(CELLS)
def test_ascii_is_read_by_mocpy_and_read_back(case):
    order, cells = case
    moc = Moc.from_cells(cells, order)
    again = Moc.parse(str(moc))
    assert again == moc
    assert again.order == order
    theirs = MOC.from_string(str(moc), format="ascii")
    assert theirs.max_order == order
    assert theirs.to_depth29_ranges.astype(np.int64).tolist() == moc.ranges.tolist()
    assert moc.fraction == pytest.approx(theirs.sky_fraction)
    assert Moc.parse(theirs.to_string(format="ascii")) == moc


@given(CELLS, CELLS)
def test_set_operations_are_mocpys(one, two):
    a, b = Moc.from_cells(one[1], one[0]), Moc.from_cells(two[1], two[0])
    c, d = (MOC.from_string(str(each), format="ascii") for each in (a, b))
    for ours, theirs in ((a | b, c | d), (a & b, c & d), (a - b, c & d.complement()), (~a, c.complement())):
        assert ours.ranges.tolist() == theirs.to_depth29_ranges.astype(np.int64).tolist()


def test_positions_are_held_and_degraded_ones_too():
    rng = np.random.default_rng(1)
    lon, lat = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-1, 1, 500)))
    moc = cover_positions(np.append(lon, np.nan), np.append(lat, 0), 9)
    theirs = MOC.from_lonlat(lon * u.deg, lat * u.deg, max_norder=9)
    assert str(moc.degrade(4)) == str(cover_positions(lon, lat, 4))
    assert moc == Moc.parse(theirs.to_string(format="ascii"))
    assert moc.contains(lon, lat).all()
    assert not moc.contains([np.nan], [0.0]).any()
    far = rng.uniform(0, 360, 2000), np.degrees(np.arcsin(rng.uniform(-1, 1, 2000)))
    assert moc.contains(*far).tolist() == theirs.contains_lonlat(far[0] * u.deg, far[1] * u.deg).tolist()
    assert moc == Moc.from_cells(healpix.compute_cell_indexes(12, lon, lat), 12, target_order=9)
    assert len({moc, Moc.parse(str(moc))}) == 1


def test_many_are_written_and_measured_at_once():
    rng = np.random.default_rng(2)
    mocs = [Moc.from_cells([], 4), Moc.from_cells(range(12), 0)]
    for order in rng.integers(0, 30, 1_500).tolist():
        width = min(12 << 2 * order, 40)
        first = int(rng.integers(0, (12 << 2 * order) - width + 1))
        mocs.append(Moc.from_cells(rng.integers(first, first + width, rng.integers(0, 30)), order))
    big = Moc.from_cells(rng.integers(0, 12 << 16, 100_000), 8)
    mocs.insert(700, big)
    texts = Moc.to_texts(mocs)
    assert [Moc.parse(text) for text in texts.to_pylist()] == mocs
    assert texts[700].as_py() == MOC.from_string(str(big), format="ascii").to_string(format="ascii").strip()
    assert Moc.compute_text_sky_fractions(texts).tolist() == pytest.approx([moc.fraction for moc in mocs])
    assert Moc.to_texts([]).to_pylist() == []


def test_written_forms():
    assert str(Moc.from_cells([], 3)) == "3/"
    assert str(Moc.from_cells(range(12), 0)) == "0/0-11"
    assert str(Moc.from_cells([0, 1, 2, 3, 4], 1)) == "0/0 1/4"
    assert Moc.parse("s6/1-4,9 7/").order == 7
    assert Moc.parse("0/").fraction == 0
    assert Moc.parse("1/ 4 5\n2/0").order == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "empty"),
        ("5", "offset 0"),
        ("3/a", "'3/a'"),
        ("30/1", "order 30"),
        ("1/48", "no cell 48; its last cell is 47"),
        ("1/5-4", "ends before"),
        ("1/1 2-x", "offset 4"),
        ("t61/1", "t61"),
    ],
)
def test_what_is_no_moc_is_refused(words, why):
    with pytest.raises(ValueError, match=why):
        Moc.parse(words)
