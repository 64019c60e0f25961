"""Each check of rules has an example, and an ingest refuses just the row that breaks it."""

from __future__ import annotations

import csv
import io
from typing import get_args

import pytest

from hven.descriptor._keys import ValidationRuleSection
from hven.ingest.api.runs import ingest_collection
from hven.testing.site import open_site_with_uningested_files
from reference_pages import REFERENCE, keep_part, write_cell
from rule_examples import CHECK_EXAMPLES, RuleCheckExample


def test_every_check_has_an_example() -> None:
    assert {example.check for example in CHECK_EXAMPLES} == set(
        get_args(ValidationRuleSection.record.key_types["check"])
    )


@pytest.mark.parametrize("example", CHECK_EXAMPLES, ids=lambda example: example.check)
def test_the_row_that_breaks_a_check_is_refused(example: RuleCheckExample, tmp_path) -> None:
    columns = ", ".join(f"{name}: {{type: {example.column_types.get(name, 'string')}}}" for name in example.passing_row)
    types = ", ".join(f"{name}: string" for name in example.passing_row if name not in example.column_types)
    descriptor = f"""\
collection: demo
title: Demo
tables:
  main:
    max_rejects: 1
    columns: {{{columns}}}
    vocabularies: {{bands: {{values: [u, g, r]}}}}
    rules:
      shown: {example.rule}
    source: {{kind: csv, files: rows.csv, delimiter: comma, header: true, types: {{{types}}}}}
"""
    rows = io.StringIO()
    writer = csv.DictWriter(rows, list(example.passing_row))
    writer.writeheader()
    writer.writerows([example.passing_row, example.breaking_row])
    with open_site_with_uningested_files(tmp_path, descriptor, {"rows.csv": rows.getvalue()}) as site:
        table = ingest_collection(site, "demo").tables["demo.main"]
    assert (table.published, table.rejected) == (1, 1)
    (finding,) = [one for one in table.findings.values() if one.count]
    assert [offender.row for offender in finding.offenders] == [2]


def test_the_page_of_rules_shows_each_check() -> None:
    lines = ["", "| Check | What it requires | Example | Value that breaks it |", "|---|---|---|---|"]
    for example in CHECK_EXAMPLES:
        broken = ", ".join(f"{name} = {value or 'null'}" for name, value in example.breaking_row.items())
        if example.check == "unique":
            broken += " in a second row"
        lines.append(
            f"| `{example.check}` | {write_cell(example.meaning)} | `{write_cell(example.rule)}` | `{broken}` |"
        )
    keep_part(REFERENCE / "descriptor/rules.md", "<!-- checks -->", "<!-- /checks -->", "\n".join(lines) + "\n\n")
