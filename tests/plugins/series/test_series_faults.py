"""All that `hven check` says of bad data sets in a descriptor, at its place; UPDATE_GOLDEN=1 rewrites it (never in CI)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hven.descriptor import check_descriptor
from hven.model.settings import Settings

FOLDER = Path(__file__).parent


def test_every_fault_is_said_at_its_place(tmp_path: Path) -> None:
    site = Settings(directory=tmp_path)
    path = tmp_path / "collections/x/bad_series.yaml"
    path.parent.mkdir(parents=True)
    shutil.copyfile(FOLDER / "bad_series.yaml", path)
    faults = check_descriptor(path, site)
    said = (
        "".join(f"{fault.severity}: {fault}\n" for fault in faults)
        .replace(str(tmp_path), "SITE")
        .replace("collections/x/", "")
    )
    golden = FOLDER / "bad_series.txt"
    if os.environ.get("UPDATE_GOLDEN") and os.environ.get("CI") != "true":
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")
    for fault in faults:
        assert fault.place.line is not None
