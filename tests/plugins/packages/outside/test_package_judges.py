"""Programs of others judge packages: bagit.py of the Library of Congress, and roc-validator of the RO-Crate community."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from package_sites import DESCRIPTOR, create_site, pack, unpack_tar

from hven.site.auth import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL
from requirements import ROOT, require

JUDGES = ROOT / ".cache"


@pytest.mark.parametrize("principal", [OWNER_PRINCIPAL, ANONYMOUS_PRINCIPAL], ids=["owner", "public"])
def test_bags_are_valid(tmp_path: Path, principal: object) -> None:
    require("bagit")
    pack(create_site(tmp_path / "site"), tmp_path / "night.tar", principal=principal)
    folder = unpack_tar(tmp_path / "night.tar", tmp_path / "bag")
    words = [sys.executable, str(JUDGES / "bagit/bagit.py"), "--validate", str(folder)]
    completed = subprocess.run(words, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    (folder / "data/README.md").write_text("changed")
    assert subprocess.run(words, capture_output=True, check=False).returncode == 1, "the judge finds a changed file"


@pytest.mark.parametrize("form", ["ro-crate", "bagit"])
def test_crates_are_valid(tmp_path: Path, form: str) -> None:
    require("roc-validator")
    require("rocrate")
    institute = 'affiliation: Uraniborg, ror: "https://ror.org/03f0f6041", orcid:'
    descriptor = DESCRIPTOR.replace("orcid:", institute)
    pack(create_site(tmp_path / "site", descriptor=descriptor), tmp_path / "night.tar", form=form)
    folder = unpack_tar(tmp_path / "night.tar", tmp_path / "crate")
    crate = folder if form == "ro-crate" else folder / "data"
    assert judge_crate(crate) == []
    if form == "ro-crate":
        # the publisher has no ROR identifier here, and descriptors name nobody whom to ask at the institute of a creator
        unknown_facts = ("ROR identifier", "contactPoint SHOULD reference")
        issues = judge_crate(crate, "RECOMMENDED")
        assert [text for text in issues if not any(fact in text for fact in unknown_facts)] == []
    metadata = json.loads((crate / "ro-crate-metadata.json").read_text())
    for entity in metadata["@graph"]:
        if entity["@id"] == "./":
            del entity["license"]
    (crate / "ro-crate-metadata.json").write_text(json.dumps(metadata))
    assert judge_crate(crate), "the judge finds a missing licence"


def judge_crate(crate: Path, severity: str = "REQUIRED") -> list[str]:
    """Return what the judge finds, without the network: the context of RO-Crate 1.3 comes from a file."""
    program = Path(__file__).with_name("offline_crate_judge.py")
    context = JUDGES / "rocrate/rocrate/data/ro-crate.jsonld"
    words = [sys.executable, str(program), str(JUDGES / "roc-validator"), str(context), str(crate), severity]
    completed = subprocess.run(words, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr[-2000:]
    issues: list[str] = json.loads(completed.stdout.splitlines()[-1])
    return issues
