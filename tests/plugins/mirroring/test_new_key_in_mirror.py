"""A new key of descriptors goes along to mirrors if its one line says so."""

from __future__ import annotations

from pathlib import Path

from new_descriptor_keys import VALUES, run_with_new_keys

PROGRAM = """\
import json, sys
from pathlib import Path

from hven.descriptor import load_descriptor
from hven.model.settings import Settings
from hven.plugins.mirroring import mirror_descriptors as mirroring

directory = Path(sys.argv[1])
settings = Settings(directory=directory)
origin = load_descriptor(directory / "origin.yaml", settings)
told = mirroring.write_public_descriptor(origin, [spec.table for spec in origin.tables], url="https://hven.example")
(directory / "copy.yaml").write_text(
    mirroring.write_mirror_descriptor(told, "https://hven.example", "plates", sync_interval=None)
)
print(json.dumps({"copy": dict(load_descriptor(directory / "copy.yaml", settings).extensions)}))
"""


def test_a_mirror_has_what_is_mirrored(tmp_path: Path) -> None:
    outcome = run_with_new_keys(tmp_path, PROGRAM)
    assert outcome["copy"] == {"audience": VALUES["audience"], "sponsor": VALUES["sponsor"]}
