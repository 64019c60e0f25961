"""The source ``identify``: real stars at their epochs, each rule, a slow oracle, decisions of people, sync, bad input."""

import json

import astropy.units as u
import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time

from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.errors import HvenError
from hven.plugins.matching.identity_rules import RULES
from hven.plugins.matching.target_names import normalize_target_names
from hven.query import run_query
from hven.testing.site import open_site_with_uningested_files
from plugins.matching.generated_stars import move_stars, write_csv

DESCRIPTOR = """
collection: obs
title: Observations
description: Made up.
creators: [{name: A}]
tables:
  objects:
    title: Objects
    description: A part of SIMBAD
    source: {kind: csv, files: objects.csv}
    primary: oid
    columns:
      oid: {type: int64, ucd: meta.id, description: Number}
      main_id: {type: string, ucd: meta.id;meta.main, description: Name}
      ids: {type: string, ucd: meta.id, description: Names}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
      pmra: {type: float64, unit: mas/yr, ucd: pos.pm;pos.eq.ra, description: Proper motion}
      pmdec: {type: float64, unit: mas/yr, ucd: pos.pm;pos.eq.dec, description: Proper motion}
  exposures:
    title: Exposures
    description: Headers
    source: {kind: csv, files: exposures.csv}
    primary: number
    columns:
      number: {type: int64, ucd: meta.id;meta.main, description: Number}
      target_name: {type: string, ucd: meta.id;src, description: Name}
      target_ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      target_dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
      epoch: {type: float64, unit: yr, ucd: time.epoch, description: Year}
  decisions:
    title: Decisions
    description: Of people
    source: {kind: csv, files: decisions.csv}
    max_rejects: 1
    columns:
      target_name: {type: string, description: Name}
      target_ra: {type: float64, unit: deg, description: Right ascension}
      target_dec: {type: float64, unit: deg, description: Declination}
      ident_catalogue: {type: string, description: Catalogue}
      ident_id: {type: string, description: Object}
      author: {type: string, description: Author}
      reason: {type: string, description: Reason}
  identified:
    title: Identified
    description: Which object each exposure shows
    primary: number
    source: %s
  candidates:
    title: Candidates
    description: All candidates
    source: %s
"""
SOURCE = {
    "kind": "identify",
    "targets": {"table": "obs.exposures", "epoch": "epoch"},
    "among": {"simbad": {"table": "obs.objects", "id": "oid"}},
    "overrides": {"table": "obs.decisions"},
}
OBJECTS = pa.table(
    {
        "oid": [1, 2, 3, 4, 5, 6, 7, 8, 9],
        "main_id": [
            "* alf CMa", "NAME Barnard's star", "NAME Proxima Centauri", "* 61 Cyg A", "* 61 Cyg B", "Intruder", "Twin",
            "Other twin", "Nowhere",
        ],
        "ids": [
            "HD 48915|NAME Sirius", "GJ 699", "HIP 70890#GJ 551", "HD 201091", "HD 201092", "", "Pair", "Pair;Second",
            "",
        ],
        "ra": [101.28715533, 269.45207696, 217.42894222, 316.72474829, 316.730266, 101.28715533, 50.0, 50.001, None],
        "dec": [-16.71611586, 4.69336497, -62.67949019, 38.74941732, 38.742044, -16.71611586, 20.0, 20.0, None],
        "pmra": [-546.01, -801.551, -3781.741, 4164.209, 4105.976, 0.0, None, None, None],
        "pmdec": [-1223.07, 10362.394, 769.465, 3249.614, 3155.942, 0.0, None, None, None],
    }
)  # fmt: skip
DECISION_NAMES = (
    "target_name", "target_ra", "target_dec", "ident_catalogue", "ident_id", "author", "reason"
)  # fmt: skip


def build_exposures(*rows):
    """Build the table of exposures from rows of name, place and year."""
    names = ("target_name", "target_ra", "target_dec", "epoch")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    types = (pa.string(), pa.float64(), pa.float64(), pa.float64())
    arrays = {name: pa.array(columns[name], kind) for name, kind in zip(names, types, strict=True)}
    return pa.table({"number": np.arange(len(rows)), **arrays})


def build_decisions(*rows):
    """Build the table of decisions."""
    columns = zip(*rows, strict=True) if rows else [[]] * len(DECISION_NAMES)
    return pa.table(dict(zip(DECISION_NAMES, map(list, columns), strict=True)))


def write_files(exposures, decisions, objects=OBJECTS):
    """Write the files of the site."""
    tables = {"objects": objects, "exposures": exposures, "decisions": decisions}
    return {f"{name}.csv": write_csv(table) for name, table in tables.items()}


def open_exposures(directory, exposures, decisions=(), *, objects=OBJECTS, **changes):
    """Open a site with exposures and objects."""
    texts = [json.dumps({**SOURCE, **changes, "rows": rows}) for rows in ("targets", "candidates")]
    files = write_files(exposures, build_decisions(*decisions), objects)
    return open_site_with_uningested_files(directory, DESCRIPTOR % tuple(texts), files)


def read(site, query):
    """Read a query as a list of rows."""
    with run_query(query, site=site) as result:
        return [row for batch in result.iterate_batches() for row in batch.to_pylist()]


def identify(directory, exposures, decisions=(), **changes):
    """Return the identified exposures."""
    with open_exposures(directory, exposures, decisions, **changes) as site:
        ingest_collection(site, "obs")
        return read(site, "SELECT * FROM obs.identified ORDER BY number")


def move_to(oid, year):
    """Return the place of an object at a year, by astropy."""
    row = OBJECTS.slice(oid - 1, 1).to_pylist()[0]
    place = SkyCoord(
        row["ra"] * u.deg,
        row["dec"] * u.deg,
        pm_ra_cosdec=row["pmra"] * u.mas / u.yr,
        pm_dec=row["pmdec"] * u.mas / u.yr,
        distance=10 * u.pc,
        obstime=Time(2000.0, format="jyear"),
    ).apply_space_motion(Time(year, format="jyear"))
    return place.ra.deg, place.dec.deg


def test_fast_stars_are_found_at_the_epoch_of_the_observation(tmp_path):
    names = {
        "Sirius": 1, "HD048915": 1, "alpha CMa": 1, "alf_CMa": 1, "barnard's star": 2, "gj551": 3, "61 cyg a": 4,
        "HD 201092": 5,
    }  # fmt: skip
    rows = identify(tmp_path, build_exposures(*((name, *move_to(oid, 2021.5), 2021.5) for name, oid in names.items())))
    for row, oid in zip(rows, names.values(), strict=True):
        assert (row["ident_id"], row["ident_confidence"], row["ident_by"]) == (str(oid), "high", "rule")
        assert row["ident_sep"] < 0.001
        assert row["ident_epoch"] == 2021.5
    # a star is at the place that Sirius had in 2000
    assert rows[0]["ident_n"] == 2
    assert rows[0]["ident_sep_2nd"] == pytest.approx(28.8, abs=0.1)


RULE_CASES = [
    # name, place, year, and what is expected: rule, object, conflicting object
    (("Nobody", 200.0, 0.0, 2000.0), 0, None, None),
    (("Twin", 50.0, 20.0, 2000.0), 1, "7", None),
    (("61 Cyg A", 316.72474829, 38.75341732, 2000.0), 2, "4", None),
    (("GJ 699", None, None, None), 3, "2", None),
    (("Nowhere", 10.0, 10.0, 2000.0), 3, "9", None),
    (("unknown", 217.42894222, -62.67949019, 2000.0), 4, "3", None),
    (("PAIR", 50.0, 20.0, 2000.0), 5, "7", None),
    (("unknown", 101.28715533, -16.71611586, 2000.0), 6, "1", None),
    (("Second", 50.0001, 20.0, 2000.0), 7, "8", None),
    (("Sirius", 12.0, 12.0, 2000.0), 8, None, "1"),
    (("Sirius", 50.0, 20.0, 2000.0), 9, None, "1"),
    (("unknown", 50.004, 20.0, 2000.0), 10, None, None),
    ((None, 269.45207696, 4.69336497, 2000.0), 4, "2", None),
]


def test_each_rule_decides_as_the_table_says(tmp_path):
    rows = identify(tmp_path, build_exposures(*(target for target, *_ in RULE_CASES)))
    for row, (target, rule, oid, conflict) in zip(rows, RULE_CASES, strict=True):
        assert row["ident_reason"] == RULES[rule].reason, target
        assert row["ident_confidence"] == RULES[rule].confidence
        assert (row["ident_id"], row["ident_conflict_id"]) == (oid, conflict), target
    assert {rule for _, rule, _, _ in RULE_CASES} == set(range(11))
    (conflict,) = [row for row, (_, rule, _, _) in zip(rows, RULE_CASES, strict=True) if rule == 8]
    assert conflict["ident_conflict_main"] == "* alf CMa"
    assert conflict["ident_conflict_sep"] > 3600


def identify_slowly(target, objects, year):
    """Return the rule and the object of a target, by a loop over all objects and spherical trigonometry."""
    candidates = []
    for item in objects:
        ra, dec = move_stars(*(np.float64(item[name]) for name in ("ra", "dec", "pmra", "pmdec")), year - 2000)
        place, other = SkyCoord(target["ra"], target["dec"], unit="deg"), SkyCoord(ra, dec, unit="deg")
        distance = place.separation(other).arcsec
        same = target["name"] in {item["main_id"], *item["ids"].split("|")}
        if distance <= 36 or same:
            grade = {(True, True): 1, (False, True): 4}.get((same, distance <= 3))
            grade = grade or (2 if same and distance <= 36 else 5 if same else 6)
            candidates.append((grade, distance, item["oid"]))
    candidates.sort()
    if not candidates:
        return 0, None
    best = candidates[0]
    grades = [grade for grade, _, _ in candidates]
    at_place, named = sum(grade in (1, 4) for grade in grades), sum(grade in (1, 2) for grade in grades)
    rule = {1: 1, 2: 7 if at_place else 2, 4: 6 if at_place > 1 else 4, 5: 8, 6: 10}[best[0]]
    if named > 1:
        rule = 5
    if best[0] == 4 and 5 in grades:
        rule = 9
    return rule, str(best[2]) if rule in range(1, 8) else None


def test_a_crowded_field_is_identified_as_by_a_slow_program(tmp_path):
    random = np.random.default_rng(5)
    count = 60
    dec = random.normal(0, 0.008, count)
    objects = pa.table(
        {
            "oid": np.arange(count),
            "main_id": [f"Star {number}" for number in range(count)],
            "ids": [f"Alias {number % 23}|Other {number}" for number in range(count)],
            "ra": random.normal(0, 0.008, count) % 360,
            "dec": dec,
            "pmra": random.normal(0, 300, count),
            "pmdec": random.normal(0, 300, count),
        }
    )
    targets = []
    for number in range(80):
        place = objects.slice(number % count, 1).to_pylist()[0]
        name = [f"Star {number}", f"Alias {number % 30}", f"Other {(number * 7) % 70}", "X"][number % 4]
        shift = random.normal(0, 0.0015, 2)
        targets.append((name, (place["ra"] + shift[0]) % 360, place["dec"] + shift[1], 2016.0))
    rows = identify(tmp_path, build_exposures(*targets), objects=objects)
    rules = set()
    items = objects.to_pylist()
    for row, (name, ra, dec, year) in zip(rows, targets, strict=True):
        rule, oid = identify_slowly({"name": name, "ra": ra, "dec": dec}, items, year)
        assert (row["ident_reason"], row["ident_id"]) == (RULES[rule].reason, oid)
        rules.add(rule)
    assert rules >= {1, 2, 5, 6, 7, 9, 10}


def test_candidates_keep_conflicts(tmp_path):
    with open_exposures(tmp_path, build_exposures(("Sirius", 50.0, 20.0, 2000.0))) as site:
        ingest_collection(site, "obs")
        rows = read(site, "SELECT * FROM obs.candidates ORDER BY candidate_id")
    assert [(row["candidate_main"], row["agreement"], row["is_identified"]) for row in rows] == [
        ("* alf CMa", "name, but elsewhere", False),
        ("Twin", "place", False),
        ("Other twin", "neighbour", False),
    ]


DECISIONS = [
    ("Sirius", 12.001, 12.0, None, "2", "Ada", "the header names the guide star"),
    ("HD 1", None, None, None, None, "Bob", "a test of the detector"),
]


def test_decisions_of_people_survive_a_new_ingest(tmp_path):
    targets = [("sirius", 12.0, 12.0, 2010.0), ("Sirius", 12.5, 12.0, 2010.0), ("HD001", 50.0, 20.0, 2010.0)]
    with open_exposures(tmp_path, build_exposures(*targets), DECISIONS) as site:
        ingest_collection(site, "obs")
        before = read(site, "SELECT * FROM obs.identified ORDER BY number")
        # the same targets come with other numbers, and more of them
        files = write_files(build_exposures(("Twin", 50.0, 20.0, 2010.0), *targets), build_decisions(*DECISIONS))
        for name, content in files.items():
            (tmp_path / "collections" / "obs" / name).write_bytes(content)
        ingest_collection(site, "obs")
        after = read(site, "SELECT * FROM obs.identified ORDER BY number")
    first, second, third = before
    assert (first["ident_id"], first["ident_main"], first["ident_confidence"]) == ("2", "NAME Barnard's star", "manual")
    assert (first["ident_by"], first["ident_conflict_id"]) == ("Ada", None)
    assert first["ident_reason"] == "a person decided: the header names the guide star"
    assert second["ident_confidence"] == "conflict", "half a degree from the place in the decision"
    assert (third["ident_id"], third["ident_by"], third["ident_confidence"]) == (None, "Bob", "manual")
    assert [{**row, "number": 0} for row in after[1:]] == [{**row, "number": 0} for row in before]


def test_an_unchanged_sync_identifies_nothing_and_a_decision_changes_its_rows(tmp_path):
    targets = build_exposures(*(target for target, *_ in RULE_CASES))
    with open_exposures(tmp_path, targets) as site:
        ingest_collection(site, "obs")
        assert sync_collection(site, "obs").changes["obs.identified"].how == "nothing"
        path = tmp_path / "collections" / "obs" / "decisions.csv"
        decisions = [("Vega", None, None, None, None, "Ada", "x"), ("Sirius", 12.0, 12.0, "simbad", "1", "Ada", "y")]
        path.write_bytes(write_csv(build_decisions(*decisions)))
        change = sync_collection(site, "obs").changes["obs.identified"]
        assert (change.changed, change.added, change.removed) == (1, 0, 0)
        path.write_bytes(write_csv(build_decisions(decisions[0])))  # the other one is withdrawn
        assert sync_collection(site, "obs").changes["obs.identified"].changed == 1
        rows = read(site, "SELECT ident_confidence AS c FROM obs.identified WHERE number = 9")
    assert rows == [{"c": "conflict"}]


def test_the_report_counts_confidences_and_gaps(tmp_path):
    targets = build_exposures(("Sirius", *move_to(1, 2000.0), None), ("GJ 699", None, None, 2000.0))
    with open_exposures(tmp_path, targets, [("GJ 699", None, None, None, "77", "Ada", "?")]) as site:
        warnings = "\n".join(map(str, ingest_collection(site, "obs").warnings))
    assert "1 rows of obs.exposures (targets) have no epoch, and count as rows of the year 2000" in warnings
    assert "1 rows of obs.exposures (targets) have no position" in warnings
    assert "confidences of 2 targets: 1 high, 1 manual" in warnings
    assert "for 1 targets, people chose objects that are in no catalogue" in warnings


def test_moved_places_show_what_chance_identifies(tmp_path):
    targets = build_exposures(("unknown", 50.0, 20.0 + 5 / 60, 2000.0), ("Sirius", *move_to(1, 2000.0), 2000.0))
    with open_exposures(tmp_path, targets, calibrate=True) as site:
        warnings = "\n".join(map(str, ingest_collection(site, "obs").warnings))
    assert "confidences of 2 targets: 1 high, 1 none" in warnings
    assert "confidences of 2 targets after Hven moved them by 5 arcmin: 1 conflict, 1 medium" in warnings


@pytest.mark.parametrize(
    ("changes", "decisions", "message"),
    [
        ({"near": 40}, (), "`near` is 40, but `radius` is only 36"),
        ({"radius": 1e6}, (), "less than or equal to 3600"),
        ({"targets": {"table": "obs.exposures", "name": "nome"}}, (), "names a column 'nome'"),
        ({"targets": {"table": "obs.exposures", "epoch": "number"}}, (), "which is not a Julian year"),
        ({"among": {"a b": {"table": "obs.objects"}}}, (), "can't be called 'a b'"),
        ({"among": {"x": {"table": "obs.objects", "id": "pmra"}}}, (), "3 rows of obs.objects have no pmra"),
        ({}, [("Sirius", None, None, None, "1", " ", "because")], "1 rows of obs.decisions have no author"),
        ({}, [("Sirius", None, None, None, "1", "Ada", None)], "1 rows of obs.decisions have no reason"),
    ],
)
def test_bad_inputs_are_told_and_publish_nothing(tmp_path, changes, decisions, message):
    targets = build_exposures(("Sirius", 1.0, 1.0, 2000.0), ("Vega", 1.0, 1.0, 2000.0))
    with open_exposures(tmp_path, targets, decisions, **changes) as site, pytest.raises(HvenError) as caught:
        ingest_collection(site, "obs")
    assert message in str(caught.value)


def test_a_name_that_everything_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("hven.plugins.matching.target_names.MAX_EQUAL_PAIRS", 3)
    targets = build_exposures(*[("Pair", 1.0, 1.0, 2000.0)] * 2)
    with open_exposures(tmp_path, targets) as site:
        with pytest.raises(HvenError, match="4 pairs of a target and an object have equal names"):
            ingest_collection(site, "obs")
        assert not site.store.read_published_records()[1]


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (["HD 48915", "HD048915", "hd 48915", "HD_48915"], "HD48915"),
        (["alf CMa", "* alf CMa", "alpha CMa", "Alpha_CMa", "ALF CMA"], "ALFCMA"),
        (["V* RR Lyr", "RR Lyr", "rr lyr"], "RRLYR"),
        (["ksi02 CMa", "* ksi02 CMa", "xi2 CMa"], "KSI2CMA"),
        (["mu.02 Sco", "mu2 Sco"], "MU2SCO"),
        (["NAME Barnard's star", "Barnard's Star"], "BARNARD'SSTAR"),
        (["PSZ2 G000.04+45.13"], "PSZ2G0.04+45.13"),
        (["", "  ", None, "*"], None),
    ],
)
def test_spellings_of_a_name_are_equal(names, key):
    assert normalize_target_names(pa.array(names, pa.string())).to_pylist() == [key] * len(names)
