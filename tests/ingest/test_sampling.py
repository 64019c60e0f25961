"""hven check tells what the ingest will refuse or warn of; a failed test tells what was rejected."""

from __future__ import annotations

import json

import pytest

from hven.ingest.api.runs import ingest_collection
from hven.model.errors import DataError, UserError
from hven.testing.site import open_site_with_uningested_files
from process_runner import run_hven

EPN = """\
collection: smart
title: Minerals
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: none
    optional: [access_url, access_format, access_estsize]
    source: {kind: csv, files: a.csv}
    set: {granule_gid: site, dataproduct_type: sp, processing_level: 5, target_name: Mars, target_class: planet, instrument_host_name: MRO, instrument_name: CRISM, access_format: text/csv}
    text: {granule_uid: "{name}", obs_id: "{name}", access_url: "https://example.org/{name}"}
"""


def list_sampling_faults(tmp_path, descriptor, rows):
    with open_site_with_uningested_files(tmp_path, descriptor, {"a.csv": rows}):
        (tmp_path / "hven.toml").write_text('name = "t"\n')
    done = run_hven("--site", tmp_path, "check", "--json", expected_code=1)
    return [fault for fault in json.loads(done.stdout) if "rows would be rejected" in fault["message"]]


def test_rows_that_no_ingest_will_take(tmp_path):
    faults = list_sampling_faults(tmp_path, EPN, "name\n" + "".join(f"n{k}\n" for k in range(30)) + "né\n")
    access, uid = sorted(faults, key=lambda fault: fault["severity"])
    assert (
        "smart.epn_core: all of the first 31 rows would be rejected: a row with an access_url must" in access["message"]
    )
    assert "product_size(url)" in access["message"]
    assert (access["severity"], uid["severity"]) == ("error", "warning")
    assert "1 of the first 31 rows would be rejected: a granule_uid must be ASCII" in uid["message"].replace(
        "granule_uid: ", ""
    )
    assert not (tmp_path / "var" / "snapshots").exists() or not list((tmp_path / "var" / "snapshots").rglob("*.arrow"))


def test_a_file_without_rows_is_told(tmp_path):
    with open_site_with_uningested_files(
        tmp_path,
        "collection: a\ntitle: A\ntables: {main: {source: {kind: csv, files: a.csv}, columns: {x: string}}}\n",
        {"a.csv": "x\n"},
    ):
        (tmp_path / "hven.toml").write_text('name = "t"\n')
    assert (
        "a.main would be empty: the source has no rows; check the files" in run_hven("--site", tmp_path, "check").stdout
    )


def test_what_is_published_with_a_warning_is_foretold_and_flags_are_not(tmp_path):
    text = """\
collection: stars
title: Stars
tables:
  main:
    flags: quality
    columns: {ud: float64}
    rules: {big: {if: ud < 4, severity: warning}, small: {if: ud > 1, flag: 0}, odd: {if: ud <> 3, severity: info}}
    source: {kind: csv, files: a.csv}
"""
    with open_site_with_uningested_files(tmp_path, text, {"a.csv": "ud\n1\n2\n3\n4\n5\n"}):
        (tmp_path / "hven.toml").write_text('name = "t"\n')
    faults = [
        fault
        for fault in json.loads(run_hven("--site", tmp_path, "check", "--json").stdout)
        if "rows" in fault["message"]
    ]
    assert [(fault["severity"], fault["message"].partition(": ")[2][:23]) for fault in faults] == [
        ("warning", "2 of the first 5 rows: ")
    ]


def test_a_failed_test_tells_what_was_rejected(tmp_path):
    text = """\
collection: stars
title: Stars
tables:
  main:
    columns: {ud: {type: float64, minimum: 0}}
    source: {kind: csv, files: a.csv}
tests:
  - {query: SELECT COUNT(*) AS n FROM stars.main, expect: {n: 5}}
"""
    with (
        open_site_with_uningested_files(tmp_path, text, {"a.csv": "ud\n1\n2\n-1\n-1\n3\n"}) as site,
        pytest.raises(DataError) as found,
    ):
        ingest_collection(site, "stars")
    assert (
        "n is 3, expected 5; 2 of 5 rows of stars.main were rejected: ud is below the minimum 0 (2); they are in"
        in found.value.message
    )
    assert "main.csv" in found.value.message


LIMITED = """\
collection: stars
title: Stars
tables:
  main:
    columns: {{ud: {{type: float64, minimum: 0}}}}
    source: {{kind: csv, files: a.csv}}
    max_rejects: {limit}
"""


def check_and_ingest(tmp_path, text, files, *, refused):
    """Return what the check says; both end with an error, or neither."""
    with open_site_with_uningested_files(tmp_path, text, files):
        (tmp_path / "hven.toml").write_text('name = "t"\n')
    done = run_hven("--site", tmp_path, "check", "--json", expected_code=int(refused))
    run_hven("--site", tmp_path, "ingest", "stars", expected_code=int(refused))
    return json.loads(done.stdout)


@pytest.mark.parametrize(("bad", "limit"), [(2, 0.5), (5, 0.5), (6, 0.5), (9, 0.5), (1, 0.1), (2, 0.1), (9, 1)])
def test_check_refuses_what_the_ingest_will_refuse(tmp_path, bad, limit):
    """Of ten rows: a share above max_rejects is an error of the check, with the first rows at fault."""
    rows = "ud\n" + "".join(f"{-row if row <= bad else row}\n" for row in range(1, 11))
    refused = bad / 10 > limit
    faults = check_and_ingest(tmp_path, LIMITED.format(limit=limit), {"a.csv": rows}, refused=refused)
    errors = [fault for fault in faults if fault["severity"] == "error"]
    assert bool(errors) is refused
    if refused:
        assert errors[0]["message"].startswith(
            f"stars.main: nothing would be published, because {bad} of the first 10 rows would be rejected, "
            f"more than max_rejects ({limit:g})"
        )
        assert "a.csv row 1: ud = -1.0" in errors[0]["message"]


def test_rows_that_no_reader_understands_count_too(tmp_path):
    """Text in a column of numbers is refused by the reader, before a rule looks at it."""
    text = LIMITED.format(limit=0.5).replace("files: a.csv", "files: a.csv, types: {ud: float64}")
    rows = "ud\n" + "".join(f"word{row}\n" if row <= 7 else f"{row}\n" for row in range(1, 11))
    faults = check_and_ingest(tmp_path, text, {"a.csv": rows}, refused=True)
    assert any("7 of the first 10 rows would be rejected" in fault["message"] for fault in faults)


def test_a_query_over_the_site_is_not_read(tmp_path):
    descriptor = """\
collection: a
title: A
tables:
  main: {source: {kind: csv, files: a.csv}, columns: {x: int64}}
  large: {source: {kind: query, adql: "SELECT x FROM a.main WHERE x > 1"}}
"""
    with open_site_with_uningested_files(tmp_path, descriptor, {"a.csv": "x\n1\n2\n"}):
        (tmp_path / "hven.toml").write_text('name = "t"\n')
    assert "1 descriptor: 0 errors, 0 warnings" in run_hven("--site", tmp_path, "check").stdout


@pytest.mark.parametrize(
    ("table", "code", "expected"),
    [
        (
            "{source: {kind: csv, files: a.csv}, columns: {x: {type: int32}, y: {type: int32}}, map: {y: f(x)}}",
            "def f(x) -> int:\n    return missing(x)\n",
            (
                "error",
                "the function 'f' failed: NameError: name 'missing' is not defined (code.py:2); in row 1 of a.csv",
            ),
        ),
        (
            "{source: {kind: python, file: code.py, function: rows}, columns: {x: {type: int32}}}",
            "def rows():\n    yield {'x': missing}\n",
            ("warning", "code.py:2: NameError in rows(): name 'missing' is not defined"),
        ),
    ],
)
def test_check_reports_python_code_that_fails(tmp_path, table, code, expected):
    functions = "functions: code.py\n" if "map:" in table else ""
    text = f"collection: a\ntitle: A\n{functions}tables:\n  main: {table}\n"
    with open_site_with_uningested_files(tmp_path, text, {"a.csv": "x\n1\n", "code.py": code}) as site:
        (tmp_path / "hven.toml").write_text('name = "t"\n')
        with pytest.raises(UserError, match="NameError"):
            ingest_collection(site, "a")
    severity, message = expected
    done = run_hven("--site", tmp_path, "check", "--json", expected_code=int(severity == "error"))
    faults = [fault for fault in json.loads(done.stdout) if "NameError" in fault["message"]]
    assert [fault["severity"] for fault in faults] == [severity]
    assert message in faults[0]["message"]
