"""Arrays of the match: positions, pairs, groups and the six outcomes of SearchCal."""

import os
import subprocess
import sys
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.plugins.matching.match_verdicts import CandidatePairs, MatchRule, judge_pairs
from hven.plugins.matching.star_groups import find_star_groups
from hven.plugins.matching.star_positions import (
    StarPositions,
    build_unit_vectors,
    compute_coordinates,
    compute_separations,
)
from hven.plugins.matching.zone_index import TooManyPairsError, ZoneIndex


def test_rigorous_motion_agrees_with_astropy():
    random = np.random.default_rng(5)
    count = 10_000
    ra = random.uniform(0, 360, count)
    dec = np.degrees(np.arcsin(random.uniform(-1, 1, count)))
    dec[:200] = 89.999
    pmra, pmdec = random.normal(0, 300, (2, count))
    pmra[200:300] = 10_000
    positions = StarPositions(
        longitudes=ra, latitudes=dec, longitude_motions=pmra, latitude_motions=pmdec, epochs=np.full(count, 1991.25)
    )
    moved = positions.compute_vectors(np.arange(count), np.full(count, 2016.0))
    coordinates = SkyCoord(
        ra=ra * u.deg,
        dec=dec * u.deg,
        pm_ra_cosdec=pmra * u.mas / u.yr,
        pm_dec=pmdec * u.mas / u.yr,
        distance=np.full(count, 10.0) * u.kpc,
        radial_velocity=np.zeros(count) * u.km / u.s,
        obstime=Time(1991.25, format="jyear", scale="tcb"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ERFA finds stars of 10 arcsec/yr too fast
        expected = coordinates.apply_space_motion(new_obstime=Time(2016.0, format="jyear", scale="tcb"))
    expected_vectors = build_unit_vectors(np.asarray(expected.ra.deg), np.asarray(expected.dec.deg))
    assert compute_separations(moved, expected_vectors).max() < 1e-4


SEPARATIONS_PROGRAM = """
import math
import numpy as np
from hven.plugins.matching.star_positions import ARCSEC_PER_RADIAN, compute_separations
first, second = np.random.default_rng(3).normal(0, 1, (2, 20_000, 3))
first, second = (vectors / np.linalg.norm(vectors, axis=1)[:, None] for vectors in (first, second))
halves = np.linalg.norm(first - second, axis=1) / 2
expected = [2 * math.asin(min(half, 1.0)) * ARCSEC_PER_RADIAN for half in halves.tolist()]
print(int((compute_separations(first, second) != expected).sum()))
"""


def test_separations_are_the_same_on_each_processor():
    """Numpy's arcsine has other last digits with AVX-512, which `conftest` excludes."""
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": ""}
    done = subprocess.run(
        [sys.executable, "-c", SEPARATIONS_PROGRAM], env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "0"


def test_linear_motion_is_jmmcs_formula():
    positions = StarPositions(
        longitudes=np.array([10.0]),
        latitudes=np.array([60.0]),
        longitude_motions=np.array([1000.0]),
        latitude_motions=np.array([-500.0]),
        epochs=np.array([2000.0]),
    )
    longitudes, latitudes = compute_coordinates(positions.compute_vectors(np.array([0]), np.array([1991.25]), "linear"))
    assert longitudes[0] == pytest.approx(10 + (1991.25 - 2000) * (0.001 * 1000 / 3600) / np.cos(np.radians(60)))
    assert latitudes[0] == pytest.approx(60 + (1991.25 - 2000) * (0.001 * -500 / 3600))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 30.0, 3600.0]), st.sampled_from([0.0, 89.99, -90.0]))
def test_index_finds_all_pairs(seed, radius, latitude):
    random = np.random.default_rng(seed)
    scale = radius / 3600 * 3
    longitudes = random.uniform(0, 360, 60) if abs(latitude) > 89 else random.normal(0, scale, 60) % 360
    latitudes = np.clip(latitude + random.normal(0, scale, 60), -90, 90)
    index = ZoneIndex(longitudes[:30], latitudes[:30], radius)
    pairs = [
        (int(row), int(place))
        for rows, places in index.iterate_pairs(longitudes[30:], latitudes[30:])
        for row, place in zip(rows, places, strict=True)
    ]
    vectors = build_unit_vectors(longitudes, latitudes)
    separations = np.array([compute_separations(vectors[:30], vectors[row : row + 1]) for row in range(30, 60)])
    expected = [(int(row), int(place)) for row, place in np.argwhere(separations <= radius)]
    assert sorted(pairs) == expected


def test_dense_stars_are_refused():
    positions = np.full(100, 10.0)
    with pytest.raises(TooManyPairsError):
        list(ZoneIndex(positions, positions, 1.0, max_tested_pairs=1000).iterate_pairs(positions, positions))


def test_groups_are_chains():
    longitudes = np.array([0.0, 1.0, 2.0, 100.0, 359.9995, 50.0, 50.0001]) * 1.0
    longitudes[:3] = np.array([0.0, 2.0, 4.0]) / 3600
    ids, sizes = find_star_groups(build_unit_vectors(longitudes, np.zeros(7)), 2.5)
    assert ids.tolist() == [1, 1, 1, 0, 1, 2, 2]
    assert sizes.tolist() == [4, 4, 4, 0, 4, 2, 2]


@settings(deadline=None)
@given(st.permutations(range(40)))
def test_long_chain_is_one_group(order):
    longitudes = np.array(order) * 2.0 / 3600
    assert set(find_star_groups(build_unit_vectors(longitudes, np.zeros(40)), 2.5)[1]) == {40}


def judge(pairs, count, *, best="mutual", radius=1.5, ambiguous=0.5):
    """Judge pairs of (object, candidate, separation)."""
    references, partners, separations = (np.array(column) for column in zip(*pairs, strict=True))
    vectors = build_unit_vectors(separations / 3600, np.zeros(len(pairs)))
    candidates = CandidatePairs(
        reference_rows=references,
        partner_ranks=partners,
        separations=separations,
        scores=separations,
        fulfilled=np.ones(len(pairs), bool),
        reference_vectors=vectors,
        partner_vectors=vectors,
    )
    rule = MatchRule(radius_arcsec=radius, mates_radius_arcsec=3.0, best=best, ambiguous_difference=ambiguous)
    return judge_pairs(candidates, rule, count)


@pytest.mark.parametrize(
    ("pairs", "flags", "partners"),
    [
        ([(0, 0, 0.1)], [0, 0], [0, -1]),
        ([(0, 0, 1.6)], [1, 0], [-1, -1]),  # too far
        ([(0, 0, 0.1), (1, 0, 0.7)], [0, 2], [0, -1]),  # better elsewhere; the second choice is not tried
        ([(0, 0, 0.3), (1, 0, 0.5)], [4, 2], [0, -1]),  # two objects with nearly the same score
        ([(0, 0, 0.3), (0, 1, 0.5)], [8, 0], [0, -1]),  # two candidates with nearly the same score
        ([(0, 0, 0.01), (1, 0, 0.4)], [16, 2], [0, -1]),  # the same, but the first is clearly better
        ([(0, 0, 0.01), (0, 1, 0.4)], [32, 0], [0, -1]),
        ([(0, 0, 0.1), (0, 1, 0.2), (1, 0, 0.2)], [16, 2], [0, -1]),
    ],
)
def test_outcomes_of_searchcal(pairs, flags, partners):
    verdicts = judge(pairs, 2)
    assert verdicts.flags.tolist() == flags
    shown = [pairs[number][1] if number >= 0 else -1 for number in verdicts.shown_pairs]
    assert not (verdicts.second_separations == 0).any()
    assert np.where(verdicts.has_partner, shown, -1).tolist() == partners


def test_mutual_first_and_all():
    pairs = [(0, 0, 0.1), (1, 0, 0.7), (1, 1, 0.9)]
    assert (judge(pairs, 2).verdicts == 0).tolist() == [True, False, False]
    rivals = [(0, 0, 0.2), (0, 1, 0.1), (1, 0, 0.3)]  # the first object prefers the other candidate
    assert (judge(rivals, 2).verdicts == 0).tolist() == [False, True, False]
    assert (judge(rivals, 2, best="unique").verdicts == 0).tolist() == [False, True, True]
    assert (judge(pairs, 2, best="first").verdicts == 0).tolist() == [True, True, False]
    assert (judge(pairs, 2, best="all").verdicts == 0).tolist() == [True, True, True]


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_result_does_not_depend_on_order(seed):
    random = np.random.default_rng(seed)
    pairs = list(
        {
            (int(a), int(b)): float(s)
            for a, b, s in zip(*random.integers(0, 6, (2, 20)), random.integers(0, 4, 20) / 2, strict=True)
        }.items()
    )
    pairs = [(*key, separation) for key, separation in pairs]
    mixed = [pairs[number] for number in random.permutation(len(pairs))]
    first, second = judge(pairs, 6), judge(mixed, 6)
    assert first.flags.tolist() == second.flags.tolist()
    chosen = [
        {pairs_[n][:2] for n in np.flatnonzero(v.verdicts == 0)} for pairs_, v in ((pairs, first), (mixed, second))
    ]
    assert chosen[0] == chosen[1]
