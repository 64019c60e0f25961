"""Rules with ``flag``: the bits are what a person would set, whatever wrote the rows; the counts are those of the whole table."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hven import query
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.ingest.quality import QualityFlagStatistics, format_percent, parse_flag_statistics
from hven.ingest.sync import sync_collection
from hven.model.errors import DataError, HvenError
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import build_settings
from postgres_cluster import run_cluster
from process_runner import run_hven

TEXT = """\
collection: obs
title: Headers
engine: {engine}
tables:
  main:
    source: {{kind: csv, files: a.csv, types: {{id: int32, ins: string, mjd: float64, band: string, low: float64, high: float64}}}}
    primary: id
    max_rejects: 1
    sync: {{}}
    columns: {{id: {{type: int32, required: true}}, ins: string, mjd: float64, band: string, low: float32, high: float32}}
    vocabularies: {{bands: {{values: [H, K]}}}}
    flags:
      column: quality_flags
      by: {{instrument: ins, year: CAST(ISO(target.mjd + 2400000.5) AS CHAR(4))}}
    rules:
      time_known: {{if: mjd IS NOT NULL, flag: 0, message: the time is not known}}
      modern: {{if: mjd >= 50000, flag: 40}}
      band: {{check: words, of: bands, columns: band, flag: 3, severity: info}}
      pairs: {{check: order, columns: [low, high], flag: 5}}
      either: {{if: "low < 5 OR ins = 'A'", flag: 1}}
      counted: {{if: id <> 7, severity: warning}}
      refused: {{if: id < 90}}
      asleep: {{if: id < 0, flag: 2, severity: "off"}}
"""
BITS = {"time_known": 0, "either": 1, "band": 3, "pairs": 5, "modern": 40}
FAULTY = ~(1 << BITS["band"])  # `band` is of severity info: it is counted, and a row that breaks it alone is valid
NAMES = ("id", "ins", "mjd", "band", "low", "high")

row = st.tuples(
    st.sampled_from(["A", "B", ""]),
    st.sampled_from(["", "49999.5", "50000", "51544", "60000.25"]),
    st.sampled_from(["H", "K", "x", ""]),
    st.sampled_from(["", "1", "5", "9"]),
    st.sampled_from(["", "1", "5"]),
)
tables = st.dictionaries(st.sampled_from([*range(1, 12), 90, 95]), row, min_size=1)
YEARS = {"40000": "1968", "49999.5": "1995", "50000": "1995", "51544": "2000", "60000.25": "2023", "": None}


def compute_flags_by_hand(record):
    """Judge a row as a person would who reads the descriptor: what is not known breaks nothing, but for `time_known`."""
    ins, mjd, band, low, high = record
    flags = 0 if mjd else 1
    flags |= 2 * (bool(low) and float(low) >= 5 and ins not in {"A", ""})
    flags |= 8 * (band == "x")
    flags |= 32 * (bool(low and high) and float(low) > float(high))
    return flags | (1 << 40) * (bool(mjd) and float(mjd) < 50000)


def write(home, rows):
    with (home / "collections" / "obs" / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(NAMES)
        writer.writerows((ident, *record) for ident, record in rows.items())


def fetch_rows(site, text):
    with query.run_query(text, OWNER_PRINCIPAL, site=site) as result:
        return [tuple(one.values()) for batch in result.iterate_batches() for one in batch.to_pylist()]


def agrees(site, report, rows):
    """Hold the published flags, and the counts of a run, against judgements by hand."""
    kept = {ident: record for ident, record in rows.items() if ident < 90}
    wanted = {ident: compute_flags_by_hand(record) for ident, record in kept.items()}
    assert dict(fetch_rows(site, "SELECT id, quality_flags FROM obs.main")) == wanted
    quality = report.tables["obs.main"].quality
    assert (quality.bits, list(quality.bits)) == (BITS, sorted(BITS, key=BITS.get))
    assert (quality.rows, quality.flagged) == (len(kept), sum(flags & FAULTY != 0 for flags in wanted.values()))
    assert quality.rules == {name: sum(flags >> bit & 1 for flags in wanted.values()) for name, bit in BITS.items()}
    groups = {}
    for ident, record in kept.items():
        groups.setdefault((record[0] or None, YEARS[record[1]]), []).append(wanted[ident])
    assert {tuple(group.of): (group.rows, group.flagged, group.rules) for group in quality.groups} == {
        key: (
            len(flags),
            sum(one & FAULTY != 0 for one in flags),
            {name: count for name, bit in BITS.items() if (count := sum(one >> bit & 1 for one in flags))},
        )
        for key, flags in groups.items()
    }
    assert quality.others is None
    return wanted


@pytest.fixture(scope="module")
def database():
    with run_cluster() as found:
        yield found.url


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def site(request, tmp_path_factory):
    home = tmp_path_factory.mktemp(request.param)
    more = (
        {"brought": {"postgres": build_settings("postgres", url=request.getfixturevalue("database"))}}
        if request.param == "postgres"
        else {}
    )
    files = {"a.csv": ",".join(NAMES) + "\n1,A,50000,H,1,1\n"}
    with open_site_with_uningested_files(
        home, TEXT.format(engine=request.param), files, keep_snapshots=2, **more
    ) as opened:
        yield opened, home


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=tables, second=tables)
def test_flags_are_those_that_a_person_would_set(site, first, second):
    opened, home = site
    first, second = {2: ("A", "50000", "H", "1", "1"), **first}, {2: ("A", "50000", "H", "1", "1"), **second}
    write(home, first)
    agrees(opened, ingest_collection(opened, "obs"), first)
    write(home, second)
    agrees(opened, sync_collection(opened, "obs", accept_changes=True), second)
    unchanged = sync_collection(opened, "obs")
    assert not unchanged.published
    agrees(opened, unchanged, second)


def test_a_sync_that_maps_few_rows_counts_all(site):
    opened, home = site
    rows = dict.fromkeys(range(1, 61), ("B", "40000", "x", "9", "1"))
    write(home, rows)
    ingest_collection(opened, "obs")
    rows[5] = ("A", "50000", "H", "1", "1")
    write(home, rows)
    report = sync_collection(opened, "obs")
    assert report.changes["obs.main"].mapped == 1
    assert report.tables["obs.main"].quality.flagged == 59
    agrees(opened, report, rows)
    assert f"{1 / 60:.2%}".replace("%", " %") in report.format_text()


def test_flags_are_searched_and_described(site):
    opened, home = site
    rows = {1: ("A", "", "x", "1", "1"), 2: ("B", "40000", "H", "9", "1"), 3: ("A", "50000", "K", "1", "1")}
    write(home, rows)
    report = ingest_collection(opened, "obs")
    assert fetch_rows(opened, "SELECT id FROM obs.main WHERE quality_flags & 8 > 0") == [(1,)]
    assert fetch_rows(opened, "SELECT id FROM obs.main WHERE quality_flags & 1099511627776 <> 0") == [(2,)]
    assert fetch_rows(opened, "SELECT id FROM obs.main WHERE quality_flags = 0") == [(3,)]
    said = "SELECT datatype, ucd, description FROM TAP_SCHEMA.columns WHERE table_name = 'obs.main' AND column_name = 'quality_flags'"
    assert fetch_rows(opened, said) == [
        (
            "long",
            "meta.code.qual",
            "Quality flags: 0 if nothing is wrong, else the sum of 1 time_known (the time is not known); 2 either; 8 band; 32 pairs; 1099511627776 modern",
        )
    ]
    found = report.tables["obs.main"].findings
    assert {name: found[name].severity for name in BITS if name in found} == {
        "time_known": "warning", "modern": "warning", "band": "info", "pairs": "warning", "either": "warning",
    }  # fmt: skip
    assert report.tables["obs.main"].rejected == 0
    assert (
        parse_flag_statistics(json.loads(json.dumps(report.tables["obs.main"].quality.to_json())))
        == report.tables["obs.main"].quality
    )


SMALL = """\
collection: small
title: t
tables:
  main:
    source: {kind: csv, files: a.csv}
    primary: id
    columns: {id: int32, x: int32, y: float64}
    flags: {column: q, by: {part: x}}
    rules:
"""


def small(tmp_path, rules, csv_text="id,x,y\n1,1,1\n2,-1,2\n3,,3\n"):
    return open_site_with_uningested_files(tmp_path, SMALL + rules, {"a.csv": csv_text})


def write_rules(tmp_path, rules):
    (tmp_path / "collections" / "small" / "small.yaml").write_text(SMALL + rules)


def test_bits_stay_when_rules_come_go_and_are_renamed(tmp_path):
    with small(tmp_path, "      positive: {if: x > 0, flag: 4}\n") as opened:
        assert not ingest_collection(opened, "small").warnings
        flags = "SELECT id, q FROM small.main ORDER BY id"
        assert fetch_rows(opened, flags) == [(1, 0), (2, 16), (3, 0)]  # what is not known breaks no rule
        write_rules(tmp_path, "      first: {if: y > 1, flag: 0}\n      positive: {if: x > 0, flag: 4}\n")
        assert not sync_collection(opened, "small", accept_changes=True).warnings
        assert fetch_rows(opened, flags) == [(1, 1), (2, 16), (3, 0)]
        write_rules(tmp_path, "      first: {if: y > 1, flag: 0}\n")  # gone: its bit is nobody's
        report = sync_collection(opened, "small", accept_changes=True)
        assert report.tables["small.main"].quality.rules == {"first": 1}
        assert fetch_rows(opened, flags) == [(1, 1), (2, 0), (3, 0)]
        write_rules(tmp_path, "      first: {if: y > 1, flag: 0}\n      odd: {if: x > 0, flag: 4}\n")
        warnings = sync_collection(opened, "small", accept_changes=True).warnings
        (warning,) = warnings
        assert warning.startswith(
            "small.main: bit 4 of q meant 'positive', but now means 'odd', so queries with this bit"
        )
        assert not ingest_collection(opened, "small").warnings  # told once


def test_a_rule_that_cannot_be_evaluated_is_named(tmp_path):
    rules = "      fine: {if: y > 0, flag: 0}\n      product: {if: x * 2000000000 * x * 2000000000 > 0, flag: 1}\n"
    with small(tmp_path, rules, "id,x,y\n1,1,1\n2,-1,2\n") as opened:
        ingest_collection(opened, "small")
        (tmp_path / "collections" / "small" / "a.csv").write_text("id,x,y\n1,1,1\n2,-3,2\n")
        for run in (ingest_collection, sync_collection):
            with pytest.raises(DataError, match="the rule product cannot be evaluated") as caught:
                run(opened, "small")
            assert caught.value.place.line == 11
        assert fetch_rows(opened, "SELECT id, q FROM small.main ORDER BY id") == [(1, 0), (2, 0)]


def test_groups_beyond_the_limit_are_put_together(tmp_path, monkeypatch):
    from hven.ingest import _flag_counts as flag_counts

    monkeypatch.setattr(flag_counts, "MAX_GROUPS", 2)
    data = "id,x,y\n" + "".join(f"{n},{n % 5},{n}\n" for n in range(20))
    with small(tmp_path, "      few: {if: x < 3 OR y > 15, flag: 0}\n", data) as opened:
        quality = ingest_collection(opened, "small").tables["small.main"].quality
        assert [(group.of, group.flagged) for group in quality.groups] == [(["3"], 3), (["4"], 3)]
        assert (quality.others.rows, quality.others.flagged) == (12, 0)
        assert quality.rows == 20


def test_what_follows_sees_flags_of_its_own(tmp_path):
    text = SMALL + (
        "      positive: {if: x > 0, flag: 4}\n"
        "  parts:\n"
        "    source: {kind: query, adql: 'SELECT id, y, q AS of_header FROM small.main'}\n"
        "    primary: id\n"
        "    columns: {id: int32, y: float64, of_header: int32}\n"
        "    flags: flags\n"
        "    rules: {header: {if: of_header = 0, flag: 0}}\n"
    )
    with open_site_with_uningested_files(
        tmp_path, text, {"a.csv": "id,x,y\n" + "".join(f"{n},{n % 4 - 1},1\n" for n in range(1, 41))}
    ) as opened:
        first = ingest_collection(opened, "small")
        assert (
            first.tables["small.parts"].quality.rules
            == {"header": first.tables["small.main"].quality.rules["positive"]}
            == {"header": 20}
        )
        path = tmp_path / "collections" / "small" / "a.csv"
        path.write_text(path.read_text().replace("\n4,-1,", "\n4,7,"))
        report = sync_collection(opened, "small")
        assert report.tables["small.parts"].quality.rules == {"header": 19}
        assert fetch_rows(opened, "SELECT COUNT(*) FROM small.parts WHERE flags & 1 = 1") == [(19,)]


def test_trend(tmp_path):
    run_hven("init", tmp_path)
    with small(tmp_path, "      positive: {if: x > 0, flag: 4}\n") as opened:
        ingest_collection(opened, "small")
        path = tmp_path / "collections" / "small" / "a.csv"
        path.write_text("id,x,y\n1,1,1\n2,-1,2\n3,-7,3\n")
        sync_collection(opened, "small", accept_changes=True)
    shown = run_hven("--site", tmp_path, "history", "small", "--rules", "--json")
    runs = json.loads(shown.stdout)
    assert [(run["kind"], run["tables"]["small.main"]["rules"]) for run in runs] == [
        ("sync", {"positive": 2}),
        ("ingest", {"positive": 1}),
    ]
    text = run_hven("--site", tmp_path, "history", "small", "--rules", "--last", "1").stdout
    assert "33.33 %" in text
    assert "66.67 %" not in text
    assert "by part" in text
    status = json.loads(run_hven("--site", tmp_path, "status", "--json").stdout)
    assert status["quality"]["small.main"]["flagged"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("flags: {column: q, by: {part: x}}", ""), "the table has no column for flags"),
        (("    rules:", "    map: {y: target.q}\n    rules:"), "q cannot be used here, because the rules set it"),
        (("    rules:", "    set: {q: 5}\n    rules:"), "'q' gets its value from the rules"),
        (("part: x", "part: nix"), "nix"),
        (("part: x", "part: COUNT(*)"), "COUNT"),
        (("y: float64}", "y: float64, q: float64}"), "the column q is float64, which has no bits"),
        (("y: float64}", "y: float64, q: int16}"), "int16 has no bit 15"),
        (("flag: 15", "flag: 63"), "flag must be a whole number from 0 to 62, not 63"),
        (
            ("flag: 15", "flag: 1, severity: error"),
            "Hven rejects rows that break this rule, so these rows cannot have a flag",
        ),
        (("flag: 15", "flag: 0"), "the rule 'one' already uses bit 0"),
        (("if: y > 1", "if: q = 0"), "q is set by the rules, so a rule cannot use it"),
        (("if: y > 1", "check: unique, columns: y"), "so it cannot set a flag"),
        (("source: {kind: csv, files: a.csv}", "view: SELECT 1 AS a FROM small.x"), "a view cannot have 'flags'"),
    ],
)
def test_faults(tmp_path, change, message):
    rules = "      one: {if: x > 0, flag: 0}\n      two: {if: y > 1, flag: 15}\n"
    with small(tmp_path, rules) as opened:
        path = tmp_path / "collections" / "small" / "small.yaml"
        assert change[0] in SMALL + rules
        path.write_text((SMALL + rules).replace(*change))
        faults = [fault for fault in check_descriptor(path, opened.settings) if fault.severity == "error"]
        if not faults:  # it shows when the source's columns are known
            with pytest.raises(HvenError, match=message):
                ingest_collection(opened, "small")
        else:
            assert any(message in str(fault) for fault in faults), faults


def test_shares_are_never_rounded_to_all_or_none():
    assert [format_percent(part, 100_000) for part in (0, 1, 50_000, 99_999, 100_000)] == [
        "0.00 %",
        "0.01 %",
        "50.00 %",
        "99.99 %",
        "100.00 %",
    ]
    assert format_percent(98_220, 100_000) == "98.22 %"
    assert format_percent(0, 0) == "-"
    assert parse_flag_statistics({"column": "q"}) is None
    assert parse_flag_statistics(None) is None
    assert QualityFlagStatistics(column="q", bits={}).format_text() == "q: - of 0 rows without a flag"


GIVEN = """\
collection: obs
title: Rows that come with their flags
tables:
  main:
    source: {{kind: csv, files: a.csv}}
    primary: id
    flags: {{column: qc, given: true, by: {{even: id - 2 * FLOOR(id / 2)}}}}
    rules:
      saturated: {{flag: 0, message: a pixel is saturated}}
      cloudy: {{flag: 2}}
      {more}
    columns: {{id: int32, qc: {{type: int32, description: Quality}}}}
"""


def test_flags_that_come_with_the_rows_are_told_and_counted(tmp_path) -> None:
    text = GIVEN.format(more="tested: {if: qc < 100, severity: warning}")
    with open_site_with_uningested_files(tmp_path, text, {"a.csv": "id,qc\n1,0\n2,1\n3,5\n4,\n5,4\n"}) as site:
        report = ingest_collection(site, "obs")
        table = report.tables["obs.main"]
        assert (table.published, table.quality.rules, table.quality.flagged) == (5, {"saturated": 2, "cloudy": 2}, 3)
        assert [(group.of, group.rules) for group in table.quality.groups] == [
            (["0"], {"saturated": 1}),
            (["1"], {"saturated": 1, "cloudy": 2}),
        ]
        rows = query.run_query(
            "SELECT id, qc FROM obs.main WHERE qc IS NULL OR qc > 0 ORDER BY id", OWNER_PRINCIPAL, site=site
        )
        assert [tuple(row.values()) for row in rows.read_table().to_pylist()] == [(2, 1), (3, 5), (4, None), (5, 4)]
        told = site.get_published_state().tables_by_name["obs.main"].table.find_column("qc").description
        assert told == "Quality: 0 if nothing is wrong, else the sum of 1 saturated (a pixel is saturated); 4 cloudy"


@pytest.mark.parametrize(
    ("given", "more", "said"),
    [
        (True, "x: {if: id > 1, flag: 3}", "the rows already have flags"),
        (False, "x: {if: id > 1, flag: 3}", "rules.saturated lacks the key 'if'"),
        (True, "x: {message: nothing}", "rules.x lacks the key 'if'"),
    ],
)
def test_what_flags_cannot_say(given: bool, more: str, said: str, tmp_path) -> None:
    text = GIVEN.format(more=more)
    with open_site_with_uningested_files(
        tmp_path, text if given else text.replace("given: true, ", ""), {"a.csv": "id,qc\n1,0\n"}
    ) as opened:
        faults = check_descriptor(opened.settings.collections_directory / "obs" / "obs.yaml", opened.settings)
    assert any(said in str(fault) for fault in faults), faults
