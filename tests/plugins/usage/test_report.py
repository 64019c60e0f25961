"""`hven report`: usage in several forms."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hven.model import settings
from hven.plugins.usage.usage_records import UsageCountStore, UsageKey
from hven.site import Site
from process_runner import run_hven

MONTH = f"{datetime.now(UTC):%Y-%m}"
PLAIN = "collection: {0}\ntitle: The {0}\n{1}tables:\n  main:\n    view: SELECT 1 AS n FROM {0}.other\n"


@pytest.fixture
def site_directory(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    for name, more in {"stars": "doi: 10.1234/Stars\nbibcode: 2024yCat..35810001B\n", "planets": "", "hidden": "access: private\n"}.items():  # fmt: skip
        (root / "collections" / name).mkdir(parents=True)
        (root / "collections" / name / f"{name}.yaml").write_text(PLAIN.format(name, more))
    (root / "hven.toml").write_text('name = "used"\ntitle = "Uraniborg"\n')
    with Site(settings.load_settings(root)) as site:
        for name, requests in {"stars": 3, "hidden": 5}.items():
            for table, service in (("", ""), ("", "tap"), ("main", "tap")):
                site.store.get_or_create(UsageCountStore).add_counts_and_delete_old_months({UsageKey(MONTH, name, table, service, "machine"): (2 * requests, requests, 2, 1, 4, 5, 6_000_000)})  # fmt: skip
    return root


def run_report(site_directory: Path, *words: str) -> str:
    return run_hven("--site", str(site_directory), "report", *words).stdout


def test_reports_are_written_in_every_format(site_directory: Path) -> None:
    lines = run_report(site_directory).splitlines()
    assert lines[0].startswith(f"{MONTH[:4]}-01 to {MONTH}")
    assert any(line.split()[:4] == ["stars", "machine", "6", "3"] for line in lines), lines
    assert "6.0 MB" in run_report(site_directory, "stars")
    assert "hidden" not in run_report(site_directory, "stars")
    assert any(
        line.split()[:3] == ["stars", "main", "6"] for line in run_report(site_directory, "--by", "table").splitlines()
    )
    rows = list(csv.DictReader(io.StringIO(run_report(site_directory, "--format", "csv"))))
    assert sum(int(row["requests"]) for row in rows if row["collection"] == "stars" and not row["service"]) == 3
    assert (
        json.loads(run_report(site_directory, "--format", "json"))["collections"]["hidden"]["months"][MONTH]["machine"][
            "requests"
        ]
        == 5
    )


def test_the_publisher_is_named_by_its_authority(site_directory: Path) -> None:
    def publishers() -> list[object]:
        items = json.loads(run_report(site_directory, "--format", "dsr", "--private"))["report-datasets"]
        return [one["publisher-id"] for one in items]

    assert publishers() == [[{"type": "urn", "value": "ivo://example.org"}]] * 2
    with (site_directory / "hven.toml").open("a") as file:
        file.write('authority = "uraniborg.example"\n')
    assert publishers() == [[{"type": "urn", "value": "ivo://uraniborg.example"}]] * 2


def test_exported_reports_omit_private_collections(site_directory: Path) -> None:
    found = json.loads(run_report(site_directory, "--format", "dsr"))
    assert "hidden" not in json.dumps(found)
    assert "The hidden" in run_report(site_directory, "--format", "dsr", "--private")
    assert run_report(site_directory, "--format", "dsr-tsv").startswith("Report_Name\tDataset Master Report\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("stras",), 1, "stars"),
        (("--from", "2026-13"), 1, "is not a month"),
        (("--to", "report.csv"), 1, "'report.csv' is not a month"),
        (("--from", "2026-05", "--to", "2026-04"), 1, "is after"),
        (("--format", "xls"), 2, "there is no format 'xls'"),
        (("--by", "weather"), 2, "set --by to one of collection, table"),
        (("--private",), 2, "--private can be used only with"),
    ],
)
def test_invalid_report_arguments_are_reported(
    site_directory: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    assert said in run_hven("--site", str(site_directory), "report", *words, expected_code=code).stderr
