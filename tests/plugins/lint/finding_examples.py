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

from hven.plugins.lint.validation import LintFinding, list_check_groups

Planted = TypeVar("Planted")
FILE = Path(__file__).with_name("examples.json")
CHECKS = {check.code: check for group in list_check_groups() for check in group.checks}


def read_examples(file: Path = FILE) -> dict[str, str]:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


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


def keep_example(finding: LintFinding, *, update: bool, file: Path = FILE) -> None:
    """Compare an example with what lint says now, or write it; other packages have files of their own."""
    text = describe_finding(finding)
    if update:
        examples = {**read_examples(file), finding.code: text}
        ordered = {code: examples[code] for code in CHECKS if code in examples}
        temporary = file.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(file)
    assert read_examples(file).get(finding.code) == text, "run pytest tests/plugins/lint -n 0 --update"


def choose_faults(faults: list[tuple[Collection[str], Planted]]) -> dict[str, Planted]:
    """Choose the fault that shows each check: the first one that has no other code, else the first one."""
    chosen = {}
    for codes, fault in sorted(faults, key=lambda item: len(item[0])):
        for code in sorted(codes):
            chosen.setdefault(code, fault)
    return chosen
