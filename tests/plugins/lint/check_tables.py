"""The tables of checks on the pages of lint and of packages that add groups of checks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from finding_examples import FILE, read_examples

from hven.plugins.lint.check_groups import CheckGroup


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def write_check_tables(groups: Iterable[CheckGroup], file: Path = FILE, heading: str = "###") -> str:
    found = []
    examples = read_examples(file)
    for group in groups:
        found.append(f"{heading} Group {group.name}: {group.title}\n\n")
        found.append("| Check | What is wrong, and the remedy | Example | Source |\n|---|---|---|---|\n")
        for one in group.checks:
            taplint = f" (taplint: {', '.join(one.taplint_codes)})" if one.taplint_codes else ""
            example = examples[one.code].replace("|", "\\|").replace("`", "'").replace("\n", " ")
            what = f"{one.summary}. Remedy: {one.remedy}"
            found.append(
                f"| `{one.code}`, {one.severity} | {cell(what)} | `{example}` | {cell(one.source + taplint)} |\n"
            )
        found.append("\n")
    return "".join(found)
