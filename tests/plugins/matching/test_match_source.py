"""The source ``match`` in a site: columns, log, sync, faults, and the same pairs as STILTS."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pytest

from hven.adql.syntax_tree import Literal, transform_tree
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.errors import HvenError
from hven.plugins.matching.candidate_service import FACE as CANDIDATES
from hven.plugins.matching.limit_service import FACE as LIMITS
from hven.plugins.matching.match_store import MatchStore
from hven.plugins.matching.pair_search import PairSearch
from hven.query import run_query
from hven.testing.site import open_site_with_uningested_files
from plugins.matching.generated_stars import generate_pairs, move_stars, write_csv
from process_runner import run_hven
from stilts import run_stilts

DESCRIPTOR = """
collection: sky
title: Stars
description: Made up.
creators: [{name: A}]
tables:
  first:
    title: First
    description: Stars
    source: {kind: csv, files: first.csv}
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main, description: Number}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
      pmra: {type: float64, unit: mas/yr, ucd: pos.pm;pos.eq.ra, description: Proper motion}
      pmdec: {type: float64, unit: mas/yr, ucd: pos.pm;pos.eq.dec, description: Proper motion}
      mag: {type: float64, unit: mag, ucd: phot.mag, description: Magnitude}
  second:
    title: Second
    description: Stars
    source: {kind: csv, files: second.csv}
    primary: source
    columns:
      source: {type: int64, ucd: meta.id;meta.main, description: Number}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
      v: {type: float64, unit: mag, ucd: phot.mag, description: Magnitude}
  matched:
    title: Matched
    description: Stars with partners
    source: %s
    primary: id
  candidates:
    title: Log
    description: Candidates
    source: %s
    primary: [id, candidate_id]
"""
SOURCE = {
    "kind": "match",
    "reference": {"table": "sky.first", "epoch": 1991.25, "columns": ["mag"]},
    "catalogues": {"gaia": {"table": "sky.second", "epoch": 2016.0, "radius": 1.5, "columns": ["v"]}},
}


def open_stars(directory, first, second, *, changes=(), **catalogue):
    """Open a site with two tables, and ingest them and their match."""
    source = {**SOURCE, **dict(changes)}
    source["catalogues"] = {"gaia": {**SOURCE["catalogues"]["gaia"], **catalogue}}
    texts = [json.dumps({**source, "rows": rows}) for rows in ("objects", "candidates")]
    files = {"first.csv": write_csv(first), "second.csv": write_csv(second)}
    return open_site_with_uningested_files(directory, DESCRIPTOR % tuple(texts), files)


def read(site, query):
    """Read a query as a table."""
    with run_query(query, site=site) as result:
        batches = list(result.iterate_batches())
        schema = pa.schema([pa.field(column.name, column.type.arrow) for column in result.columns])
    return pa.Table.from_batches(batches) if batches else schema.empty_table()


@pytest.fixture(scope="module")
def stars():
    return generate_pairs(3000)


@pytest.fixture(scope="module")
def site(tmp_path_factory, stars):
    catalogue = {"dmag": "reference.mag - gaia.v", "and": "ABS(reference.mag - gaia.v) <= 1.5"}
    directory = tmp_path_factory.mktemp("match")
    with open_stars(directory, *stars, changes={"groups": {"radius": 3}}.items(), **catalogue) as opened:
        ingest_collection(opened, "sky")
        yield opened


def test_columns_have_searchcals_names(site):
    table = site.store.read_published_records()[1]["sky.matched"].table
    assert [column.name for column in table.columns] == [
        "id", "mag", "XM_GAIA_id", "XM_GAIA_n_mates", "XM_GAIA_sep", "XM_GAIA_sep_2nd", "XM_GAIA_score",
        "XM_GAIA_dmag", "XM_GAIA_flag", "v", "XMATCH_MAIN_FLAG", "XMATCH_ALL_FLAG", "XMATCH_LOG", "GroupID",
        "GroupSize",
    ]  # fmt: skip
    assert table.find_column("XM_GAIA_sep").unit == "arcsec"
    assert table.find_column("mag").ucd == "phot.mag"


def test_objects_and_log_agree(site):
    rows = read(site, "SELECT id, XM_GAIA_id AS partner, XM_GAIA_n_mates AS mates FROM sky.matched ORDER BY id")
    partners = read(site, "SELECT id, candidate_id FROM sky.candidates WHERE is_partner = 'true' ORDER BY id")
    matched = rows.filter(pa.compute.is_valid(rows["partner"]))
    assert rows.num_rows == 3000
    assert matched["id"].to_pylist() == partners["id"].to_pylist()
    assert [str(value) for value in matched["partner"].to_pylist()] == partners["candidate_id"].to_pylist()
    assert matched.num_rows > 2000
    mates = read(site, "SELECT id, COUNT(*) AS n FROM sky.candidates WHERE separation <= 3 GROUP BY id ORDER BY id")
    counted = rows.filter(pa.compute.greater(rows["mates"], 0))
    assert mates["n"].to_pylist() == counted["mates"].to_pylist()


def test_log_gives_reasons(site):
    reasons = set(read(site, "SELECT DISTINCT reason FROM sky.candidates")["reason"].to_pylist())
    assert {"partner", "beyond the radius", "the condition does not hold, or the score is unknown"} <= reasons
    flagged = read(site, "SELECT XMATCH_LOG AS text FROM sky.matched WHERE XM_GAIA_flag = 1")["text"].to_pylist()
    assert set(flagged) == {"GAIA: too far"}


def run_service(site, service, **parameters):
    """Run the query of a service over the candidates."""
    table = site.store.read_published_records()[1]["sky.candidates"].table
    assert service.applies(table)
    query = service.build_query(table, parameters)

    def fill_slot(node):
        if isinstance(node, Literal) and node.slot >= 0:
            return Literal(query.values[node.slot])
        return node

    return read(site, transform_tree(query.query(), fill_slot))


def test_candidates_of_an_object_come_with_reasons(site):
    star = read(site, "SELECT TOP 1 id FROM sky.candidates WHERE candidate_rank = 2 ORDER BY id")["id"][0].as_py()
    rows = run_service(site, CANDIDATES, ID=str(star), CATALOGUE="gaia")
    assert set(rows["id"].to_pylist()) == {star}
    assert rows["candidate_rank"].to_pylist()[:2] == [1, 2]
    assert rows["reason"][1].as_py() != "partner"
    with pytest.raises(HvenError, match="is a number"):
        run_service(site, CANDIDATES, ID="Sirius", CATALOGUE=None)


def list_pairs(rows):
    """Return the pairs of rows."""
    return set(zip(rows["id"].to_pylist(), rows["candidate_id"].to_pylist(), strict=True))


def test_other_limits_are_those_of_a_new_match(site, stars, tmp_path):
    whole_sky = {"CATALOGUE": "gaia", "RA": 0.0, "DEC": 90.0, "SR": 180.0}
    assert run_service(site, LIMITS, **whole_sky, RADIUS=1.5, DMAG=1.5).num_rows == 0
    changes = run_service(site, LIMITS, **whole_sky, RADIUS=0.8, DMAG=0.4)
    gained, lost = (
        list_pairs(changes.filter(pa.compute.equal(changes["partner_change"], change))) for change in ("gains", "loses")
    )
    assert gained
    assert lost
    partners = "SELECT id, candidate_id FROM sky.candidates WHERE is_partner = 'true'"
    expected = (list_pairs(read(site, partners)) | gained) - lost
    options = {"dmag": "reference.mag - gaia.v", "and": "ABS(reference.mag - gaia.v) <= 0.4", "radius": 0.8}
    with open_stars(tmp_path, *stars, **options) as opened:
        ingest_collection(opened, "sky")
        assert list_pairs(read(opened, partners)) == expected


SIGMA_RULE = {"magnitudes": ["reference.mag", "gaia.v"], "errors": ["gaia.v / 20", "0.2"], "limit": 3}


def test_magnitudes_are_compared_by_the_rule_of_searchcal(tmp_path, stars):
    """|V - V_est| <= n * min(0.5, max(0.1, e_V, e_V_est)); an object without magnitude fits, a candidate doesn't."""
    first, second = (table.slice(0, 1000) for table in (stars[0], stars[1].sort_by("source")))
    first = first.set_column(5, "mag", pa.array([None] * 5 + first["mag"].to_pylist()[5:], pa.float64()))
    second = second.set_column(3, "v", pa.array([None] * 10 + second["v"].to_pylist()[10:], pa.float64()))
    whole_sky = {"CATALOGUE": "gaia", "RA": 0.0, "DEC": 90.0, "SR": 180.0, "RADIUS": 1.5}
    partners = "SELECT id, candidate_id FROM sky.candidates WHERE is_partner = 'true'"
    with open_stars(tmp_path / "three", first, second, within_sigma=SIGMA_RULE) as opened:
        ingest_collection(opened, "sky")
        rows = read(opened, "SELECT * FROM sky.candidates ORDER BY id, candidate_id")
        assert run_service(opened, LIMITS, **whole_sky, DMAG=None, NSIGMA=3.0).num_rows == 0
        changes = run_service(opened, LIMITS, **whole_sky, DMAG=None, NSIGMA=0.5)
        before = list_pairs(read(opened, partners))
    magnitudes = dict(zip(first["id"].to_pylist(), first["mag"].to_pylist(), strict=True))
    candidates = dict(zip(second["source"].to_pylist(), second["v"].to_pylist(), strict=True))
    sigmas = []
    for star, candidate in zip(rows["id"].to_pylist(), rows["candidate_id"].to_pylist(), strict=True):
        magnitude, other = magnitudes[star], candidates[int(candidate)]
        if magnitude is None or other is None:
            sigmas.append(0.0 if magnitude is None else None)
        else:
            sigmas.append(abs(magnitude - other) / min(0.5, max(0.1, other / 20, 0.2)))
    assert rows["dmag_sigma"].to_pylist() == pytest.approx(sigmas, rel=1e-12, nan_ok=True)
    assert None in sigmas
    assert 0.0 in sigmas
    fits = [sigma is not None and sigma <= 3 for sigma in sigmas]
    assert [rank is not None for rank in rows["candidate_rank"].to_pylist()] == fits
    gained, lost = (
        list_pairs(changes.filter(pa.compute.equal(changes["partner_change"], change))) for change in ("gains", "loses")
    )
    assert lost
    with open_stars(tmp_path / "half", first, second, within_sigma={**SIGMA_RULE, "limit": 0.5}) as opened:
        ingest_collection(opened, "sky")
        assert list_pairs(read(opened, partners)) == (before | gained) - lost
        assert read(opened, "SELECT XM_GAIA_dmag AS dmag FROM sky.matched WHERE id = 20").num_rows == 1


def test_sigma_limits_need_the_column(site):
    table = site.store.read_published_records()[1]["sky.candidates"].table
    with pytest.raises(HvenError, match="NSIGMA can't be a limit"):
        LIMITS.build_query(table, {"RADIUS": 1.0, "NSIGMA": 5.0})


def test_a_run_matches_once_for_all_tables(tmp_path, stars, monkeypatch):
    """The log is made of the pairs that were found for the objects; the next run only finds what has changed."""
    first, second = (table.slice(0, 300) for table in stars)
    found = []
    find_pairs = PairSearch.find_pairs
    monkeypatch.setattr(PairSearch, "find_pairs", lambda *arguments: found.append(1) or find_pairs(*arguments))
    with open_stars(tmp_path, first, second, columns=["v"], dmag="reference.mag - gaia.v") as opened:
        ingest_collection(opened, "sky")
        assert len(found) == 1
        objects, log = (read(opened, f"SELECT * FROM sky.{table}") for table in ("matched", "candidates"))
        ingest_collection(opened, "sky")
        assert len(found) == 1
        (directory,) = opened.settings.data_directory.rglob("matches")
        (stored,) = directory.iterdir()
        assert sorted(file.name for file in (stored / "tables").iterdir()) == ["sky.candidates", "sky.matched"]
        monkeypatch.setattr(MatchStore, "load_match_and_mark_in_use", lambda *_: None)
        ingest_collection(opened, "sky")
        assert len(found) == 3
        assert read(opened, "SELECT * FROM sky.matched").equals(objects)
        assert read(opened, "SELECT * FROM sky.candidates").equals(log)


def test_other_options_replace_the_stored_match(tmp_path, stars):
    first, second = (table.slice(0, 100) for table in stars)
    kept = []
    for radius in (1.5, 0.5):
        with open_stars(tmp_path, first, second, radius=radius) as opened:
            ingest_collection(opened, "sky")
            (directory,) = opened.settings.data_directory.rglob("matches")
            kept += [entry.name for entry in directory.iterdir()]
            assert max(read(opened, "SELECT separation FROM sky.candidates")["separation"].to_pylist()) <= radius + 3
    assert len(set(kept)) == 2


def test_broken_stored_matches_are_ignored(tmp_path, stars):
    first, second = (table.slice(0, 100) for table in stars)
    with open_stars(tmp_path, first, second) as opened:
        ingest_collection(opened, "sky")
        log = read(opened, "SELECT * FROM sky.candidates")
        (pairs,) = opened.settings.data_directory.rglob("match/pairs")
        pairs.write_bytes(pairs.read_bytes()[:100])
        ingest_collection(opened, "sky")
        assert read(opened, "SELECT * FROM sky.candidates").equals(log)


def test_inputs_are_pinned(site):
    records = site.store.read_published_records()[1]
    inputs = records["sky.matched"].provenance["inputs"]
    assert inputs == {name: records[name].id for name in ("sky.first", "sky.second")}


def test_rerun_is_identical_and_sync_keeps_unchanged_tables(site):
    before = read(site, "SELECT * FROM sky.candidates ORDER BY id, candidate_id")
    report = sync_collection(site, "sky")
    assert report.changes["sky.matched"].how == report.changes["sky.candidates"].how == "nothing"
    ingest_collection(site, "sky")
    assert read(site, "SELECT * FROM sky.candidates ORDER BY id, candidate_id").equals(before)


def test_sync_matches_what_has_changed(tmp_path, stars, monkeypatch):
    """A sync after changes publishes the rows of a site that matches everything, and reads few stars for that."""
    options = {"dmag": "reference.mag - gaia.v", "and": "ABS(reference.mag - gaia.v) <= 1.5", "columns": ["v"]}
    first, second = (table.slice(0, 1000) for table in (stars[0], stars[1].sort_by("source")))
    queries = [f"SELECT * FROM sky.{table} ORDER BY id" for table in ("matched", "candidates")]
    searched = []
    find_pairs = PairSearch.find_pairs
    with open_stars(tmp_path / "synced", first, second, **options) as opened:
        ingest_collection(opened, "sky")
        (tmp_path / "synced" / "hven.toml").write_text('title = "Stars"\n')
        before = opened.store.list_publication_events("sky")[0].run
        matched = read(opened, "SELECT id FROM sky.matched WHERE XM_GAIA_id IS NOT NULL")["id"].to_pylist()
        lost = matched[1]
        second = second.filter(pa.compute.not_equal(second["source"], lost + 1_000_000))
        magnitudes = first["mag"].to_numpy().copy()
        magnitudes[[matched[3], matched[9]]] += 3
        first = first.set_column(5, "mag", pa.array(magnitudes)).slice(1)
        for name, table in (("first", first), ("second", second)):
            (tmp_path / "synced" / "collections" / "sky" / f"{name}.csv").write_bytes(write_csv(table))
        monkeypatch.setattr(
            PairSearch, "find_pairs", lambda self, columns: searched.append(self) or find_pairs(self, columns)
        )
        report = sync_collection(opened, "sky")
        synced = [read(opened, query) for query in queries]
        arguments = ("partners", "sky.matched", before, "--site", opened.settings.directory)
        listed = json.loads(run_hven(*arguments, "--json").stdout)
        shown = run_hven(*arguments).stdout
        message = run_hven(arguments[0], "sky.nothing", *arguments[2:], expected_code=1).stderr
    change = report.changes["sky.matched"]
    listed_changes = {(row["change"], row["id"]["id"]): row["catalogues"] for row in listed}
    assert "removed" in shown
    assert "GAIA" in shown
    assert "has no table sky.nothing" in message
    assert listed_changes[("removed", 0)] == []
    assert listed_changes[("changed", lost)] == ["GAIA"]
    assert len(listed_changes) == 4
    assert 3 <= change.changed < 10
    assert change.removed == 1
    assert 0 < sum(len(search._positions.epochs) for search in searched) < 300
    assert synced[0].filter(pa.compute.equal(synced[0]["id"], lost))["XM_GAIA_id"].to_pylist() == [None]
    with open_stars(tmp_path / "fresh", first, second, **options) as opened:
        ingest_collection(opened, "sky")
        assert [read(opened, query) for query in queries] == synced


def run_tmatch2(directory, first, second, find, *, with_magnitudes=False):
    """Return the pairs that STILTS finds within 1.5 arcsec, at the epoch 2016."""
    columns = (first[name].to_numpy() for name in ("ra", "dec", "pmra", "pmdec"))
    for name, values in zip(("ra_b", "dec_b"), move_stars(*columns, 24.75), strict=True):
        first = first.append_column(name, pa.array(values))
    (directory / "first.csv").write_bytes(write_csv(first))
    (directory / "second.csv").write_bytes(write_csv(second))
    magnitudes = (" mag", " v") if with_magnitudes else ("", "")
    run_stilts(
        "tmatch2",
        f"in1={directory / 'first.csv'}",
        f"in2={directory / 'second.csv'}",
        "ifmt1=csv",
        "ifmt2=csv",
        f"matcher={'sky+1d' if with_magnitudes else 'sky'}",
        f"values1=ra_b dec_b{magnitudes[0]}",
        f"values2=ra dec{magnitudes[1]}",
        f"params={'1.5 0.5' if with_magnitudes else '1.5'}",
        f"find={find}",
        "join=1and2",
        f"out={directory / 'out.csv'}",
        "ofmt=csv",
        "progress=none",
    )
    judged = pa.csv.read_csv(directory / "out.csv")
    return set(zip(judged["id"].to_pylist(), judged["source"].to_pylist(), strict=True))


@pytest.mark.needs("stilts")
@pytest.mark.parametrize(
    ("best", "find", "score"),
    [
        ("unique", "best", None),
        ("first", "best1", None),
        ("all", "all", None),
        ("unique", "best", "SQRT(POWER(separation / 1.5, 2) + POWER((reference.mag - gaia.v) / 0.5, 2))"),
    ],
)
def test_pairs_are_those_of_stilts(tmp_path, stars, best, find, score):
    first, second = stars
    options = {} if score is None else {"score": score, "and": "ABS(reference.mag - gaia.v) <= 0.5"}
    with open_stars(tmp_path, first, second, best=best, **options) as opened:
        ingest_collection(opened, "sky")
        rows = read(opened, "SELECT id, candidate_id, separation FROM sky.candidates WHERE is_partner = 'true'")
    ours = set(zip(rows["id"].to_pylist(), map(int, rows["candidate_id"].to_pylist()), strict=True))
    assert ours == run_tmatch2(tmp_path, first, second, find, with_magnitudes=score is not None)


@pytest.mark.needs("stilts")
def test_the_order_of_tables_matters_as_in_stilts(tmp_path):
    """Star 1 is nearest to 10, and 2 to 11; 11 is nearest to 1: only the first table sees two pairs."""
    left, right = ([1, 2], [0.1, 0.6]), ([10, 11], [0.0, 0.3])
    sizes = []
    for name, (ids, offsets), (sources, partner_offsets) in (("a", left, right), ("b", right, left)):
        zeros = np.zeros(2)
        ra = 180 + np.array(offsets) / 3600
        first = pa.table({"id": ids, "ra": ra, "dec": zeros, "pmra": zeros, "pmdec": zeros, "mag": zeros})
        second = pa.table({"source": sources, "ra": 180 + np.array(partner_offsets) / 3600, "dec": zeros, "v": zeros})
        with open_stars(tmp_path / name, first, second, best="unique") as opened:
            ingest_collection(opened, "sky")
            rows = read(opened, "SELECT id, XM_GAIA_id AS partner FROM sky.matched WHERE XM_GAIA_id IS NOT NULL")
        ours = set(zip(rows["id"].to_pylist(), rows["partner"].to_pylist(), strict=True))
        assert ours == run_tmatch2(tmp_path / name, first, second, "best")
        sizes.append(len(ours))
    assert sizes == [2, 1]


@pytest.mark.needs("stilts")
def test_mutual_partners_are_the_best_of_both_sides_in_stilts(tmp_path, stars):
    first, second = stars
    with open_stars(tmp_path, first, second) as opened:
        ingest_collection(opened, "sky")
        rows = read(opened, "SELECT id, XM_GAIA_id AS partner FROM sky.matched WHERE XM_GAIA_id IS NOT NULL")
    ours = set(zip(rows["id"].to_pylist(), rows["partner"].to_pylist(), strict=True))
    assert ours == run_tmatch2(tmp_path, first, second, "best1") & run_tmatch2(tmp_path, first, second, "best2")


def ingest_fault(directory, first, second, **options):
    """Return the message with which an ingest ends."""
    with open_stars(directory, first, second, **options) as opened, pytest.raises(HvenError) as caught:
        ingest_collection(opened, "sky")
    return str(caught.value)


def test_bad_inputs_are_told(tmp_path, stars):
    first, second = stars[0].slice(0, 20), stars[1].slice(0, 20)
    repeated = first.set_column(5, "mag", pa.array([9.0] * 20))
    cases = {
        "radius": ({"radius": 648_000}, "less than or equal to 3600"),
        "epoch": ({"epoch": 20_160}, "Julian year from 1000 to 3000"),
        "epoch_column": ({"epoch": "vv"}, "names a column 'vv'"),
        "score": ({"score": "separation +"}, "`score`"),
        "unknown": ({"score": "reference.magnitude"}, "names a column 'magnitude'"),
        "bare": ({"and": "mag < 3"}, "reference.mag or gaia.mag"),
        "sigma": ({"within_sigma": {**SIGMA_RULE, "errors": ["gaia.e_v"]}}, "names a column 'e_v'"),
        "sigma_limits": ({"within_sigma": {**SIGMA_RULE, "smallest": 1}}, "`smallest` is 1, which is more than"),
        "sigma_text": ({"within_sigma": {**SIGMA_RULE, "errors": ["gaia.v +"]}}, "'gaia.v +'"),
    }
    for name, (options, message) in cases.items():
        assert message in ingest_fault(tmp_path / name, first, second, **options)
    message = ingest_fault(
        tmp_path / "ids",
        repeated,
        second,
        changes={"reference": {"table": "sky.first", "id": "mag", "columns": ["id"]}}.items(),
    )
    assert "rows of sky.first repeat the mag of another row" in message


def test_nulls_and_row_epochs_are_counted(tmp_path, stars):
    first, second = stars[0].slice(0, 50), stars[1]
    motions = pa.array([None] * 3 + first["pmra"].to_pylist()[3:], pa.float64())
    first = first.set_column(3, "pmra", motions)
    changes = {"motion": "rigorous", "missing_motion": "unmatched"}
    with open_stars(tmp_path, first, second, changes=changes.items()) as opened:
        report = ingest_collection(opened, "sky")
        rows = read(opened, "SELECT XM_GAIA_id AS partner FROM sky.matched WHERE id < 3")
    assert rows["partner"].to_pylist() == [None] * 3
    assert any(
        "3 rows of sky.first (reference) have no proper motion, and stay unmatched" in str(warning)
        for warning in report.warnings
    )


def test_row_epochs_are_as_exact_as_one_epoch(tmp_path, stars):
    """Stars of 10 arcsec/yr are found at the date of each row, and rows without a date stay unmatched."""
    first = stars[0].slice(0, 500)
    years = np.random.default_rng(3).uniform(1990, 2020, 500)
    columns = [first[name].to_numpy() for name in ("ra", "dec", "pmra", "pmdec")]
    ra, dec = move_stars(*columns, years - 1991.25)
    epochs = pa.array([None] * 2 + years[2:].tolist(), pa.float64())
    second = pa.table({"source": first["id"], "ra": ra, "dec": dec, "v": epochs})
    with open_stars(tmp_path, first, second, epoch="v", radius=0.001) as opened:
        report = ingest_collection(opened, "sky")
        rows = read(opened, "SELECT id, XM_GAIA_id AS partner FROM sky.matched ORDER BY id")
    assert rows["partner"].to_pylist() == [None, None, *range(2, 500)]
    assert any("2 rows of sky.second (gaia) have no epoch" in str(warning) for warning in report.warnings)


def test_julian_dates_and_a_common_epoch(tmp_path, stars):
    first = stars[0].slice(0, 200)
    columns = [first[name].to_numpy() for name in ("ra", "dec", "pmra", "pmdec")]
    ra, dec = move_stars(*columns, 8.75)
    second = pa.table({"source": first["id"], "ra": ra, "dec": dec, "v": np.full(200, 51_544.5)})
    text = DESCRIPTOR.replace("unit: mag, ucd: phot.mag, description: Magnitude V", "unit: mag, description: V")
    dates = text.replace("v: {type: float64, unit: mag, ucd: phot.mag", "v: {type: float64, unit: d, ucd: time.epoch")
    source = {**SOURCE, "catalogues": {"gaia": {"table": "sky.second", "epoch": "v", "radius": 0.001}}}
    files = {"first.csv": write_csv(first), "second.csv": write_csv(second)}
    sources = [json.dumps({**source, "rows": rows}) for rows in ("objects", "pairs")]
    with open_site_with_uningested_files(tmp_path / "dates", dates % tuple(sources), files) as opened:
        ingest_collection(opened, "sky")
        assert read(opened, "SELECT COUNT(*) AS n FROM sky.candidates")["n"].to_pylist() == [200]
    changes = {"epoch": 1991.25, "motion": "linear"}  # the partners have no motions of their own
    with open_stars(tmp_path / "common", first, second, changes=changes.items(), radius=0.001) as opened:
        ingest_collection(opened, "sky")
        moving = read(opened, "SELECT COUNT(*) AS n FROM sky.matched WHERE XM_GAIA_id IS NOT NULL")
    assert moving["n"].to_pylist() == [0]


def test_result_does_not_depend_on_the_order_of_rows(tmp_path, stars):
    tables = []
    for name, seed in (("sorted", None), ("mixed", 7)):
        first, second = (table.slice(0, 600) for table in (stars[0], stars[1].sort_by("source")))
        if seed is not None:
            order = np.random.default_rng(seed).permutation(600)
            first, second = first.take(order), second.take(order[::-1])
        with open_stars(tmp_path / name, first, second) as opened:
            ingest_collection(opened, "sky")
            tables.append([read(opened, f"SELECT * FROM sky.{table}") for table in ("matched", "candidates")])
    assert tables[0] == tables[1]


def test_dense_catalogue_publishes_nothing(tmp_path, stars, monkeypatch):
    monkeypatch.setattr("hven.plugins.matching.pair_search.MAX_PAIRS", 100)
    first, second = stars[0].slice(0, 300), stars[1]
    with open_stars(tmp_path, first, second) as opened:
        with pytest.raises(HvenError, match=r"sky\.second is too dense: at least .* pairs are within 4.5 arcsec"):
            ingest_collection(opened, "sky")
        assert not opened.store.read_published_records()[1]
    changes = {"groups": {"radius": 3600}}
    monkeypatch.setattr("hven.plugins.matching.star_groups.MAX_LINKS", 100)
    message = ingest_fault(tmp_path / "groups", first, stars[1].slice(0, 3), changes=changes.items())
    assert "sky.first is too dense" in message
    assert "`radius` of `groups`" in message


def test_a_catalogue_that_changes_during_a_match_is_matched_as_it_was(tmp_path, stars, monkeypatch):
    """The run reads the pinned snapshots; the next sync matches what has changed."""
    first, second = stars[0].slice(0, 300), stars[1]
    lines = DESCRIPTOR.splitlines()
    begin = lines.index("  matched:")
    inputs = "\n".join(lines[:begin]).replace("collection: sky", "collection: inputs")
    outputs = "\n".join([*lines[: lines.index("tables:") + 1], *lines[begin:]])
    sources = [json.dumps({**SOURCE, "rows": rows}).replace("sky.", "inputs.") for rows in ("objects", "candidates")]
    folder = tmp_path / "collections" / "inputs"
    folder.mkdir(parents=True)
    (folder / "inputs.yaml").write_text(inputs)
    (folder / "first.csv").write_bytes(write_csv(first))
    (folder / "second.csv").write_bytes(write_csv(second))
    find_pairs = PairSearch.find_pairs
    query = "SELECT id, candidate_id, separation FROM sky.candidates ORDER BY id, candidate_id"
    with open_site_with_uningested_files(tmp_path, outputs % tuple(sources), {}) as opened:
        ingest_collection(opened, "inputs")
        ingest_collection(opened, "sky")
        expected = read(opened, query)
        before = opened.store.read_published_records()[1]["inputs.second"].id

        def change_catalogue(search, columns):
            monkeypatch.setattr(PairSearch, "find_pairs", find_pairs)
            (folder / "second.csv").write_bytes(write_csv(second.slice(0, 2000)))
            ingest_collection(opened, "inputs")
            return find_pairs(search, columns)

        monkeypatch.setattr(PairSearch, "find_pairs", change_catalogue)
        monkeypatch.setattr(MatchStore, "load_match_and_mark_in_use", lambda *_: None)
        ingest_collection(opened, "sky")
        records = opened.store.read_published_records()[1]
        assert records["sky.candidates"].provenance["inputs"]["inputs.second"] == before
        assert records["inputs.second"].id != before
        assert read(opened, query).equals(expected)
        monkeypatch.undo()
        sync_collection(opened, "sky", accept_changes=True)
        assert 0 < read(opened, query).num_rows < expected.num_rows
