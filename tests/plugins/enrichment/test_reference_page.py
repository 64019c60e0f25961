"""The page of the key `enrich` names every option and state, and the examples of options are right.

UPDATE_GOLDEN=1 rewrites the generated parts (never in CI).
"""

from __future__ import annotations

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from hven.descriptor import build_descriptor_json_schema
from hven.model import plugins
from hven.plugins.enrichment.document_store import (
    STATE_BROKEN,
    STATE_FAILED,
    STATE_HERE,
    STATE_MISSING,
    STATE_OLD,
    STATE_REFUSED,
    STATE_WAITING,
)
from hven.plugins.enrichment.enrichment_options import DocumentColumn, DocumentEnrichmentOptions
from plugin_needs import require_plugins
from reference_pages import keep_part, write_options
from shared import ROOT

PAGE = ROOT / "src/hven/plugins/enrichment/docs/documents-of-rows.md"
OPTIONS = {"url": "https://archive.example/{id}", "id": "id", "columns": {"mode": "MODE"}}


@pytest.mark.parametrize(
    ("name", "model"), [("of documents", DocumentEnrichmentOptions), ("of columns of documents", DocumentColumn)]
)
def test_every_option_is_on_the_page(name, model):
    keep_part(PAGE, f"<!-- options: {name} -->", "<!-- /options -->", write_options(model))


@pytest.mark.parametrize(
    "state", [STATE_HERE, STATE_OLD, STATE_WAITING, STATE_MISSING, STATE_REFUSED, STATE_BROKEN, STATE_FAILED]
)
def test_every_state_is_explained(state):
    assert f"| `{state}` |" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DocumentEnrichmentOptions.model_fields)
def test_the_example_of_an_option_is_right(name):
    (value, *_) = DocumentEnrichmentOptions.model_fields[name].examples
    options = {key: item for key, item in OPTIONS.items() if (key, name) != ("url", "file")}
    DocumentEnrichmentOptions.model_validate(options | {name: value})


@pytest.mark.parametrize("name", DocumentColumn.model_fields)
def test_the_example_of_a_column_is_right(name):
    (value, *_) = DocumentColumn.model_fields[name].examples
    DocumentColumn.model_validate({"key": "LST", name: value})


def test_the_example_of_the_page_is_right():
    example = PAGE.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    source = yaml.safe_load(example)["source"]
    DocumentEnrichmentOptions.model_validate(source.pop("enrich"))
    plugins.load_plugin("sources", source.pop("kind")).Options.model_validate(source)


@pytest.mark.parametrize(
    ("column", "is_accepted"), [("EXPTIME", True), ({"key": "EXPTIME"}, True), ({"word": "EXPTIME"}, False)]
)
def test_the_schema_for_editors_accepts_each_way_of_writing_a_column(column, is_accepted):
    validator = jsonschema.Draft202012Validator(build_descriptor_json_schema())
    source = {"kind": "csv", "files": "a.csv", "enrich": {**OPTIONS, "columns": {"x": column}}}
    assert validator.is_valid({"collection": "x", "tables": {"main": {"source": source}}}) is is_accepted


def test_a_site_without_the_package_of_a_form_is_told_its_name():
    require_plugins("documents", "label")
    options = {**OPTIONS, "format": "label"}
    assert DocumentEnrichmentOptions.model_validate(options).format == "label"
    try:
        plugins.select_plugin_packages(["enrichment"])
        with pytest.raises(ValidationError, match="'label' belongs to the plug-in package planetary_media, but"):
            DocumentEnrichmentOptions.model_validate(options)
    finally:
        plugins.select_plugin_packages(None)
