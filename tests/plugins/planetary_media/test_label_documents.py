"""Labels as documents of rows (`enrich:`)."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hven.model import plugins
from hven.sources._documents.document_values import InvalidDocumentError, extract_values
from hven.sources.document_enrichment import DocumentEnrichmentOptions

LABEL = b"PDS_VERSION_ID = PDS3\nSTART_TIME = 2004-01-01T00:00:00\nEXPOSURE = 2.5 <s>\nEND\n"


def test_values_of_labels():
    want = [(["START_TIME"], "text", False), (["EXPOSURE"], "float", False)]
    assert extract_values(LABEL, "label", want)[0][1] == 2.5


@pytest.mark.parametrize("body", [LABEL[:40], b"<html>", b"{"])
def test_what_is_no_label_is_told(body):
    with pytest.raises(InvalidDocumentError):
        extract_values(body, "label", [(["a.b.1"], "int", False)])


def test_a_site_without_the_package_is_told_its_name():
    options = {"url": "https://archive.example/{id}", "id": "id", "columns": {"a": "A"}, "format": "label"}
    assert DocumentEnrichmentOptions.model_validate(options).format == "label"
    try:
        plugins.select_plugin_packages([])
        with pytest.raises(ValidationError, match="'label' belongs to the plug-in package planetary_media, which"):
            DocumentEnrichmentOptions.model_validate(options)
    finally:
        plugins.select_plugin_packages(None)
