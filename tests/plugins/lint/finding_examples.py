"""What lint says of planted faults: the examples of the page of checks, kept in examples.json.

The tests that plant the faults compare them; with `--update` they write them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from hven.plugins.lint.validation import CHECK_GROUPS, LintFinding

Planted = TypeVar("Planted")
FILE = Path(__file__).with_name("examples.json")
CHECKS = {check.code: check for group in CHECK_GROUPS for check in group.checks}


def read_examples() -> dict[str, str]:
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


def describe_finding(finding: LintFinding) -> str:
    """Describe where a fault is and what is wrong there, without the check's own sentence."""
    place = ".".join(word for word in (finding.table, finding.column) if word)
    detail = finding.message.removeprefix(CHECKS[finding.code].summary).removeprefix(": ")
    example = " has ".join(word for word in (finding.key, finding.value) if word)
    if example == place or example in detail:
        example = ""
    text = "; ".join(word for word in (detail, example) if word)
    described = (
        ": ".join(word for word in (place, text) if word) or f"{finding.severity} {finding.code} {finding.message}"
    )
    return re.sub(r"http://127\.0\.0\.1:\d+", "https://hapi.example", described)


def keep_example(finding: LintFinding, *, update: bool) -> None:
    """Compare an example with what lint says now, or write it."""
    text = describe_finding(finding)
    if update:
        examples = {**read_examples(), finding.code: text}
        ordered = {code: examples[code] for code in CHECKS if code in examples}
        temporary = FILE.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(FILE)
    assert read_examples().get(finding.code) == text, "run pytest tests/plugins/lint -n 0 --update"


def choose_faults(faults: list[tuple[Collection[str], Planted]]) -> dict[str, Planted]:
    """Choose the fault that shows each check: the first one that has no other code, else the first one."""
    chosen = {}
    for codes, fault in sorted(faults, key=lambda item: len(item[0])):
        for code in sorted(codes):
            chosen.setdefault(code, fault)
    return chosen
