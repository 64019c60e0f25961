"""The pages of sources name every kind and option, and their examples are right."""

from __future__ import annotations

import re

import pytest
import yaml
from pydantic import ValidationError

from hven.model import plugins
from hven.sources._documents.document_store import (
    STATE_BROKEN,
    STATE_FAILED,
    STATE_HERE,
    STATE_MISSING,
    STATE_OLD,
    STATE_REFUSED,
    STATE_WAITING,
)
from hven.sources.document_enrichment import DocumentColumn, DocumentEnrichmentOptions
from plugin_needs import list_absent_packages, list_package_pages
from shared import ROOT

REFERENCE = ROOT / "docs/reference"
PAGE = (REFERENCE / "sources.md").read_text()
PACKAGE_PAGES = [page.read_text() for page in list_package_pages()]
PAGES = [PAGE, *(page.read_text() for page in sorted((REFERENCE / "sources").glob("*.md"))), *PACKAGE_PAGES]
BLOCKS = [(page, block) for page in PAGES for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
# pages of packages have descriptors, too
EXAMPLES = [block for page, block in BLOCKS if page not in PACKAGE_PAGES or block.startswith("source:")]
OPTIONS = [
    (kind, name)
    for kind in plugins.list_plugins("sources")
    for name in plugins.load_plugin("sources", kind).Options.model_fields
]


@pytest.mark.parametrize("kind", plugins.list_plugins("sources"))
def test_every_option_of_every_kind_is_explained(kind):
    sections = [re.search(rf"^## {kind}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE) for page in PAGES]
    (section,) = [section for section in sections if section]
    for option in plugins.load_plugin("sources", kind).Options.model_fields:
        assert f"`{option}`" in section.group(1), f"{kind}: {option}"


def test_every_option_of_documents_is_explained():
    section = re.search(r"^## Documents of rows\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    for option in (*DocumentEnrichmentOptions.model_fields, *DocumentColumn.model_fields):
        assert f"| `{option}`" in section.group(1), option
    for state in (STATE_HERE, STATE_OLD, STATE_WAITING, STATE_MISSING, STATE_REFUSED, STATE_BROKEN, STATE_FAILED):
        assert f"| `{state}` |" in section.group(1), state


def read_sources(example):
    """Read the sources of an example: kind and options."""
    for line in re.split(r"^(?=source:)", example, flags=re.MULTILINE):
        if line.strip():
            yield yaml.safe_load(line)["source"]


def is_valid(model, options):
    try:
        model.model_validate(options)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("kind", "name"), OPTIONS)
def test_the_example_of_an_option_is_right(kind, name):
    """It is valid beside the options of an example of its kind, without those that it excludes."""
    model = plugins.load_plugin("sources", kind).Options
    (value, *_) = model.model_fields[name].examples
    bases = [entry for example in EXAMPLES for entry in read_sources(example) if entry["kind"] == kind]
    bases = [{key: item for key, item in base.items() if key not in {"kind", "enrich"}} for base in bases]
    tries = [
        {key: item for key, item in base.items() if key != left_out} | {name: value}
        for base in bases
        for left_out in ("", *base)
    ]
    assert any(is_valid(model, options) for options in tries), (value, bases)
    assert value != model.model_fields[name].default


@pytest.mark.parametrize("name", DocumentEnrichmentOptions.model_fields)
def test_the_example_of_an_option_of_documents_is_right(name):
    base = {"url": "https://archive.example/{id}", "id": "id", "columns": {"mode": "MODE"}}
    (value, *_) = DocumentEnrichmentOptions.model_fields[name].examples
    DocumentEnrichmentOptions.model_validate(
        {key: item for key, item in base.items() if (key, name) != ("url", "file")} | {name: value}
    )


@pytest.mark.parametrize("name", DocumentColumn.model_fields)
def test_the_example_of_a_column_of_documents_is_right(name):
    (value, *_) = DocumentColumn.model_fields[name].examples
    DocumentColumn.model_validate({"key": "LST", name: value})


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_have_the_options_that_they_use(example):
    for entry in read_sources(example):
        if "enrich" in entry:
            DocumentEnrichmentOptions.model_validate(entry.pop("enrich"))
        plugins.load_plugin("sources", entry.pop("kind")).Options.model_validate(entry)


def test_every_kind_has_an_example():
    shown_kinds = {entry["kind"] for example in EXAMPLES for entry in read_sources(example)}
    known_kinds = set(plugins.list_plugins("sources"))
    assert known_kinds <= shown_kinds
    assert shown_kinds == known_kinds or list_absent_packages()
