"""Bad descriptors, pair by pair: NAME.yaml and, in NAME.txt, everything that `hven check` must say about it.

UPDATE_GOLDEN=1 rewrites the .txt files (never in CI); review the difference as prose.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from hven.descriptor import check_descriptor, load_descriptor
from hven.model import plugins
from hven.model.errors import DescriptorError
from hven.model.settings import Settings

CORPUS = Path(__file__).resolve().parent.parent / "corpus" / "descriptors" / "bad"
CASES = sorted(path.stem for path in CORPUS.glob("*.yaml"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Copy the corpus into a site, so that messages name files as a curator sees them."""
    directory = tmp_path_factory.mktemp("site")
    shutil.copytree(CORPUS, directory / "collections" / "x", ignore=shutil.ignore_patterns("*.txt"))
    return Settings(directory=directory)


@pytest.mark.parametrize("case", CASES)
def test_every_fault_is_said_at_its_place(case, site):
    path = site.collections_directory / "x" / f"{case}.yaml"
    faults = check_descriptor(path, site)
    package_services = [name for package in plugins.list_plugin_packages() for name in package.protocols]
    said = (
        "".join(f"{fault.severity}: {fault}\n" for fault in faults)
        .replace(str(site.directory), "SITE")
        .replace("collections/x/", "")
        .replace(", ".join(plugins.list_plugins("sources")), "KINDS")
        .replace("".join(f", {name}" for name in package_services), "")
    )
    golden = CORPUS / f"{case}.txt"
    if os.environ.get("UPDATE_GOLDEN") and os.environ.get("CI") != "true":
        golden.write_text(said, encoding="utf-8")
    assert said == without_absent_kinds(golden.read_text(encoding="utf-8"))
    assert faults, "a bad descriptor without a fault"
    for fault in faults:
        assert fault.place.file is not None
        assert fault.place.line is not None or "cannot read" in fault.message


def without_absent_kinds(text: str) -> str:
    """Leave kinds of sources out of lists of them that plug-in packages would bring which this run does without."""
    kinds = plugins.list_plugins("sources")

    def keep_present(match: re.Match[str]) -> str:
        return ", ".join(kind for kind in match[0].split(", ") if kind in kinds)

    return re.sub(r"\bcsv, das2(, \w+)+", keep_present, text)


@pytest.mark.parametrize("case", CASES)
def test_load_raises_the_errors_that_need_no_data(case, site):
    path = site.collections_directory / "x" / f"{case}.yaml"
    expected = [fault for fault in check_descriptor(path, site, check_sources=False) if fault.severity == "error"]
    if not expected:
        load_descriptor(path, site)
        return
    with pytest.raises(DescriptorError) as caught:
        load_descriptor(path, site)
    assert list(caught.value.faults) == expected


def test_a_corpus_without_orphans():
    assert {path.stem for path in CORPUS.glob("*.txt")} == set(CASES)
