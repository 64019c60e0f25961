"""How many public resource descriptors become descriptors that `hven check` accepts.

The repositories are not part of Hven. Clone those of `COMMITS` into one folder, each as ``owner+name``, and name the
folder in HVEN_DESCRIPTOR_CORPUS.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from migration_sites import convert
from stand_ins import write_stand_in

from hven.model.errors import HvenError
from hven.model.settings import Settings, create_site_directory, load_settings
from process_runner import run_hven

CORPUS = os.environ.get("HVEN_DESCRIPTOR_CORPUS", "")
COMMITS = {
    "epn-vespa+DaCHS-for-VESPA": "319ddf8f5a32307fba099658e3fcce53f7c7d415",
    "epn-vespa+dachs_jacobs": "7f3fc77baade709c07b2aa27d3c962491a6bd2e5",
    "H-E-L-P+gavo_inputs": "299a159284e4fbf236a0056155f0430529622317",
    "olgavoz1971+dachs_upjs_vo": "cc78563afdb9a763a8d17dba147b8cb6f97b1d34",
    "aramknyazyan+ArVO_DaCHs": "89a45d45c4834df0a18dab600b80e9387fbe1bd7",
    "CBDC+mars_craters_lagain": "09c251b544fce196c4ca0d696f780763fe9e6247",
}
MIN_ACCEPTED_SHARE = 0.70
MAX_REPORT_LINES = 200  # a person reads such a report in about two minutes
NAME_PATTERN = re.compile(r"(\.rd|\.rd\.xml|q\.rd_\w+)$")
BACKUP_PATTERN = re.compile(r"backup|save|old|README", re.IGNORECASE)
# of EPN-TAP: columns that every row must have
REQUIRED_COLUMNS = [
    *["granule_uid", "granule_gid", "obs_id", "dataproduct_type", "target_name", "target_class", "service_title"],
    *["creation_date", "modification_date", "release_date"],
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CORPUS, reason="needs the public repositories, in the folder HVEN_DESCRIPTOR_CORPUS"),
]


@dataclass(frozen=True, kw_only=True)
class CorpusResult:
    """What became of one resource descriptor."""

    path: str
    outcome: str
    detail: str = ""
    report_lines: int = 0


def list_descriptors(repository: Path) -> list[Path]:
    """List the different resource descriptors of a repository, without backups."""
    paths: dict[str, Path] = {}
    for path in sorted(repository.rglob("*")):
        relative_path = path.relative_to(repository).as_posix()
        if path.is_file() and NAME_PATTERN.search(path.name) and not BACKUP_PATTERN.search(relative_path):
            paths.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path)
    return list(paths.values())


def convert_and_check(settings: Settings, path: Path, name: str, relative_path: str) -> CorpusResult:
    """Convert one, and run ``hven check`` with stand-ins for data that are not there.

    The stand-ins have the columns that the descriptor reads. What `hven check` says of their values does not count.
    """
    try:
        site_files = convert(settings, name, path)
    except HvenError as error:
        return CorpusResult(path=relative_path, outcome="refused", detail=str(error))
    report_lines = len(site_files.read_report(name).splitlines())
    descriptor = site_files.load_descriptor(name)
    if not descriptor.get("tables"):
        return CorpusResult(path=relative_path, outcome="no table", report_lines=report_lines)
    descriptor_path = settings.locate_descriptor(name)
    for table in descriptor["tables"].values():
        if "source" in table:
            required = REQUIRED_COLUMNS if table.get("standard") else []
            write_stand_in(table, descriptor_path.parent, required)
    descriptor_path.write_text(yaml.safe_dump(descriptor, sort_keys=False, allow_unicode=True), encoding="utf-8")
    errors = list_check_errors(settings, name)
    outcome = "faulty" if errors else "accepted"
    return CorpusResult(path=relative_path, outcome=outcome, detail="; ".join(errors[:3]), report_lines=report_lines)


def create_corpus_site(directory: Path) -> Settings:
    """Create a site that may read the repositories."""
    create_site_directory(directory)
    settings_path = directory / "hven.toml"
    settings_path.write_text(f'roots = ["{Path(CORPUS).resolve()}"]\n' + settings_path.read_text())
    return load_settings(directory)


def find_collection_name(path: Path) -> str:
    """Find the schema of a resource descriptor, which a person gives as the name of the collection."""
    match = re.search(
        r"""<resource\b[^>]*?\sschema\s*=\s*["']([A-Za-z]\w*)["']""", path.read_text("utf-8", errors="replace")
    )
    return match[1].lower() if match else "unnamed"


def list_check_errors(settings: Settings, name: str) -> list[str]:
    """List the errors that ``hven check`` prints."""
    try:
        printed = run_hven("check", name, "--json", "--site", settings.directory).stdout
    except AssertionError as error:
        printed = str(error).partition("\n")[2].partition("\n\n")[0] or str(error)
        match = re.search(r"\[\s*\{.*\}\s*\]", str(error), re.DOTALL)
        printed = match[0] if match else json.dumps([{"severity": "error", "message": str(error)[:300]}])
    faults: list[dict[str, Any]] = json.loads(printed)
    errors = [fault["message"] for fault in faults if fault["severity"] == "error"]
    return [message for message in errors if "would be rejected" not in message]  # values of stand-ins are invented


def test_most_descriptors_are_accepted(tmp_path: Path) -> None:
    results: dict[str, list[CorpusResult]] = defaultdict(list)
    number = 0
    for repository in COMMITS:
        folder = Path(CORPUS) / repository
        assert folder.is_dir(), f"{folder} is not there: clone {repository.replace('+', '/')}"
        for path in list_descriptors(folder):
            number += 1
            relative_path = path.relative_to(folder).as_posix()
            settings = create_corpus_site(tmp_path / f"site{number}")
            results[repository].append(convert_and_check(settings, path, find_collection_name(path), relative_path))
    print()
    for repository, items in results.items():
        counts = Counter(item.outcome for item in items)
        print(f"{repository} {dict(counts)}")
        for item in items:
            if item.outcome != "accepted":
                print(f"    {item.outcome}: {item.path}: {item.detail[:300]}")
    totals = Counter(item.outcome for items in results.values() for item in items)
    longest = max(item.report_lines for items in results.values() for item in items)
    share = totals["accepted"] / (sum(totals.values()) - totals["no table"])
    print(f"all: {dict(totals)}; {share:.0%} accepted of those that define tables; longest report: {longest} lines")
    assert share >= MIN_ACCEPTED_SHARE
    assert longest <= MAX_REPORT_LINES
