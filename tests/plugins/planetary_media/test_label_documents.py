"""Labels as row documents (`enrich:`)."""

from __future__ import annotations

import pytest

from hven.plugins.planetary_media import label_document
from hven.plugins.planetary_media.label_document import DOCUMENT
from hven.sources.api.documents import InvalidDocumentError

LABEL = b"PDS_VERSION_ID = PDS3\nSTART_TIME = 2004-01-01T00:00:00\nEXPOSURE = 2.5 <s>\nEND\n"


def test_values_are_extracted_from_labels():
    find_value = DOCUMENT.create_lookup(LABEL, ["START_TIME", "EXPOSURE"])
    assert find_value("EXPOSURE") == 2.5
    assert find_value("a.b.1") is None


@pytest.mark.parametrize("body", [LABEL[:40], b"<html>", b"{"])
def test_what_is_no_label_is_told(body):
    with pytest.raises(InvalidDocumentError):
        DOCUMENT.create_lookup(body, ["a.b.1"])


def test_a_label_that_is_too_large_is_not_called_incomplete(monkeypatch):
    monkeypatch.setattr(label_document, "MAX_LABEL_BYTES", 50)
    with pytest.raises(InvalidDocumentError, match=r"has 78 bytes; the limit is 50"):
        DOCUMENT.create_lookup(LABEL, ["START_TIME"])
