"""A key of descriptors is one line in one file: its model, checks, schema, reference and anonymising follow."""

from __future__ import annotations

import pytest

from new_descriptor_keys import VALUES, run_with_new_keys

PROGRAM = """\
import json, sys
from pathlib import Path

sys.path.insert(0, sys.argv[2])
from hven.descriptor import build_descriptor_json_schema, check_descriptor, load_descriptor, remove_personal_values
from hven.model.settings import Settings
import reference_pages

directory = Path(sys.argv[1])
settings = Settings(directory=directory)
origin = load_descriptor(directory / "origin.yaml", settings)
properties = build_descriptor_json_schema()["properties"]
print(
    json.dumps(
        {
            "model": dict(origin.extensions),
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


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return run_with_new_keys(tmp_path_factory.mktemp("keys"), PROGRAM)


def test_the_model_has_its_value(outcome: dict[str, object]) -> None:
    assert outcome["model"] == VALUES


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
        "3:1 'sponser' is not a valid key of the descriptor",
    ]
