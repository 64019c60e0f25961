"""docs/reference/sources.md names every kind and option, and its examples are right."""

from __future__ import annotations

import re

import pytest
import yaml

from hven.model import plugins
from shared import ROOT

PAGE = (ROOT / "docs/reference/sources.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
SHARED = {"files", "ignore", "skip", "comment", "encoding", "null"}


@pytest.mark.parametrize("kind", plugins.names("sources"))
def test_every_option_of_every_kind_is_explained(kind):
    section = re.search(rf"^## {kind}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert section, f"no section on {kind}"
    files = re.search(r"^## Files\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    for option in plugins.load("sources", kind).Options.model_fields:
        assert f"`{option}`" in section.group(1) or (
            option in SHARED and f"`{option}`" in files.group(1) + section.group(1)
        ), f"{kind}: {option}"


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_have_the_options_that_they_use(example):
    entry = yaml.safe_load(example)["source"]
    plugins.load("sources", entry.pop("kind")).Options.model_validate(entry)


def test_every_kind_has_an_example():
    assert {yaml.safe_load(example)["source"]["kind"] for example in EXAMPLES} == set(plugins.names("sources"))
