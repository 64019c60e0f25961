"""docs/reference/sources.md names every kind and option, and its examples are right."""

from __future__ import annotations

import re

import pytest
import yaml

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
from hven.sources.document_enrichment import DocumentColumn, EnrichOptions
from shared import ROOT

PAGE = (ROOT / "docs/reference/sources.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
SHARED = {"files", "ignore", "skip", "comment", "encoding", "null"}


@pytest.mark.parametrize("kind", plugins.list_plugins("sources"))
def test_every_option_of_every_kind_is_explained(kind):
    section = re.search(rf"^## {kind}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert section, f"no section on {kind}"
    files = re.search(r"^## Files\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    for option in plugins.load_plugin("sources", kind).Options.model_fields:
        assert f"`{option}`" in section.group(1) or (
            option in SHARED and f"`{option}`" in files.group(1) + section.group(1)
        ), f"{kind}: {option}"


def test_every_option_of_documents_is_explained():
    section = re.search(r"^## Documents of rows\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    for option in (*EnrichOptions.model_fields, *DocumentColumn.model_fields):
        assert re.search(rf"\b{option}\b", section.group(1)), option
    for state in (STATE_HERE, STATE_OLD, STATE_WAITING, STATE_MISSING, STATE_REFUSED, STATE_BROKEN, STATE_FAILED):
        assert f"| `{state}` |" in section.group(1), state


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_have_the_options_that_they_use(example):
    entry = yaml.safe_load(example)["source"]
    if "enrich" in entry:
        EnrichOptions.model_validate(entry.pop("enrich"))
    plugins.load_plugin("sources", entry.pop("kind")).Options.model_validate(entry)


def test_every_kind_has_an_example():
    assert {yaml.safe_load(example)["source"]["kind"] for example in EXAMPLES} == set(plugins.list_plugins("sources"))
