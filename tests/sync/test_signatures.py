"""Signatures of tables stay as stored states have them, so that no upgrade reads every table once more."""

from __future__ import annotations

from typing import Any

import pytest

from hven.ingest import _ledger
from hven.model.errors import TextPlace
from hven.model.resource import SourceSpec

DOCUMENTS = {"url": "https://example.org/{id}", "values": {"airmass": "AIRM"}}


@pytest.mark.parametrize(
    ("additions", "signed"),
    [
        ({}, {"enrich": "None"}),
        ({"enrich": DOCUMENTS}, {"enrich": DOCUMENTS}),
        ({"weather": {"station": 2}}, {"enrich": "None", "weather": {"station": "2"}}),
    ],
    ids=["none", "enrich", "another"],
)
def test_keys_of_packages_are_signed_as_members_of_the_source(
    additions: dict[str, Any], signed: dict[str, Any]
) -> None:
    source = SourceSpec(kind="csv", options={"files": "a.csv"}, place=TextPlace(line=3), additions=additions)
    expected = {"kind": "csv", "options": {"files": "a.csv"}, "place": None, **signed}
    assert _ledger._to_json_without_places([source]) == [expected]
