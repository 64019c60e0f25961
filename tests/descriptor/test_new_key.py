"""A key of descriptors is one line in one file: its model, checks, schema, reference, mirror and anonymising follow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from shared import ROOT

KEYS_MODULE = "hven/descriptor/_keys.py"
FOLLOWING_LINE = "    engine: Impersonal[Local[Text]]\n"
NEW_KEYS = """\
    audience: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("[students, teachers]")]
    "for whom the data are: students"
    sponsor: Annotated[Mirrored[Text], KeyExample("The Crown of Denmark")]
    "who pays"
    room: Annotated[Local[int], KeyExample("7")]
    "where the plates are kept"
"""
PROGRAM = """\
import json, sys
from pathlib import Path

sys.path.insert(0, sys.argv[2])
from hven.descriptor import build_descriptor_json_schema, check_descriptor, load_descriptor, remove_personal_values
from hven.descriptor import mirroring
from hven.model.settings import Settings
import reference_pages

directory = Path(sys.argv[1])
settings = Settings(directory=directory)
origin = load_descriptor(directory / "origin.yaml", settings)
told = mirroring.write_public_descriptor(origin, [spec.table for spec in origin.tables], url="https://hven.example")
(directory / "copy.yaml").write_text(
    mirroring.write_mirror_descriptor(told, "https://hven.example", "plates", sync_interval=None)
)
properties = build_descriptor_json_schema()["properties"]
print(
    json.dumps(
        {
            "model": dict(origin.extensions),
            "copy": dict(load_descriptor(directory / "copy.yaml", settings).extensions),
            "for referees": dict(remove_personal_values(origin).extensions),
            "schema": {key: properties[key]["description"] for key in ("audience", "sponsor", "room")},
            "reference": reference_pages.write_key_section(reference_pages.SECTIONS_BY_NAME["collection subject"]),
            "index": reference_pages.write_key_index(),
            "faults": [
                f"{fault.place.line}:{fault.place.column} {fault.message}"
                for fault in check_descriptor(directory / "faulty.yaml", settings)
            ],
        }
    )
)
"""
REST = """\
collection: plates
title: Plates
tables:
  main: {primary: id, columns: {id: int32}, source: {kind: csv, file: plates.csv}}
"""
ORIGIN = f"audience: [students, teachers]\nsponsor: The Crown of Denmark\nroom: 7\n{REST}"
FAULTY = f"audience: {{students: 1}}\nroom: big\nsponser: The Crown of Denmark\n{REST}"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Run a program over a copy of the source whose one module of keys has three more keys."""
    directory = tmp_path_factory.mktemp("keys")
    source = directory / "src"
    leave_out = shutil.ignore_patterns("__pycache__", "portal", "proofs")
    shutil.copytree(ROOT / "src/hven", source / "hven", ignore=leave_out)
    module = source / KEYS_MODULE
    text = module.read_text(encoding="utf-8")
    assert text.count(FOLLOWING_LINE) == 1
    module.write_text(text.replace(FOLLOWING_LINE, NEW_KEYS + FOLLOWING_LINE), encoding="utf-8")
    (directory / "plates.csv").write_text("id\n1\n")
    (directory / "origin.yaml").write_text(ORIGIN)
    (directory / "faulty.yaml").write_text(FAULTY)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(directory), str(ROOT / "tests")],
        env={"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    read: dict[str, object] = json.loads(done.stdout)
    return read


VALUES = {"audience": ["students", "teachers"], "sponsor": "The Crown of Denmark", "room": 7}


def test_the_model_has_its_value(outcome: dict[str, object]) -> None:
    assert outcome["model"] == VALUES


def test_a_mirror_has_what_is_mirrored(outcome: dict[str, object]) -> None:
    assert outcome["copy"] == {"audience": VALUES["audience"], "sponsor": VALUES["sponsor"]}


def test_a_blind_referee_sees_only_what_is_known_to_be_impersonal(outcome: dict[str, object]) -> None:
    assert outcome["for referees"] == {"audience": VALUES["audience"]}


def test_editors_offer_it(outcome: dict[str, object]) -> None:
    assert outcome["schema"] == {
        "audience": "for whom the data are: students",
        "sponsor": "who pays",
        "room": "where the plates are kept",
    }


def test_the_reference_explains_it_with_an_example(outcome: dict[str, object]) -> None:
    page = str(outcome["reference"])
    assert "| `audience` | for whom the data are: students |" in page
    assert "audience: [students, teachers]\n" in page
    assert "[`audience`](descriptor/metadata.md#" in str(outcome["index"])


def test_it_is_checked_with_its_place_and_all_faults_at_once(outcome: dict[str, object]) -> None:
    assert outcome["faults"] == [
        "1:11 audience must be text, not a map",
        "2:7 room must be a whole number, not 'big'",
        "3:1 the descriptor has no key 'sponser'",
    ]
