"""Store recorded answers: for each family an index in plain text, and the compressed normal forms."""

from __future__ import annotations

import difflib
import lzma
from collections.abc import Mapping
from pathlib import Path

from normal_form import compute_digest

DIRECTORY = Path(__file__).parent / "answers"
MAX_SHOWN_DIFFERENCES = 12
MAX_SHOWN_LINES = 40  # of each difference
RECORD_COMMAND = "read the differences, and record what is meant to change: .venv/bin/python -m pytest -q -n 0 tests/recorded -k '{family}' --update"
ANSWER_SEPARATOR = "\x1e"  # between answers


def write_recording(family: str, answers: Mapping[str, list[str]]) -> None:
    """Write the answers of a family; Git shows changes of the index."""
    DIRECTORY.mkdir(exist_ok=True)
    whole = ANSWER_SEPARATOR.join("\n".join([key, *lines]) for key, lines in sorted(answers.items()))
    index = [
        f"{compute_digest(chr(10).join(lines).encode())} {lines[0]} | {key}" for key, lines in sorted(answers.items())
    ]
    (DIRECTORY / f"{family}.txt").write_text("\n".join(index) + "\n", encoding="utf-8")
    (DIRECTORY / f"{family}.xz").write_bytes(lzma.compress(whole.encode(), preset=9 | lzma.PRESET_EXTREME))


def read_recording(family: str) -> dict[str, list[str]]:
    """Read the answers of a family; none if it is not recorded."""
    path = DIRECTORY / f"{family}.xz"
    if not path.exists():
        return {}
    parts = lzma.decompress(path.read_bytes()).decode().split(ANSWER_SEPARATOR)
    return {key: lines for key, *lines in (part.split("\n") for part in parts)}


def compare_answers(family: str, answers: Mapping[str, list[str]]) -> str:
    """Describe how answers differ from recorded ones; an empty text if they do not."""
    recorded = read_recording(family)
    told = [f"no recorded answer: {key}" for key in sorted(answers.keys() - recorded.keys())]
    told += [f"recorded, and not asked any more: {key}" for key in sorted(recorded.keys() - answers.keys())]
    for key in sorted(answers.keys() & recorded.keys()):
        if answers[key] != recorded[key]:
            lines = list(difflib.unified_diff(recorded[key], answers[key], "recorded", "now", lineterm="", n=1))
            told.append("\n".join([key, *(line[:400] for line in lines[:MAX_SHOWN_LINES])]))
    if not told:
        return ""
    more = [f"... and {len(told) - MAX_SHOWN_DIFFERENCES} more"] if len(told) > MAX_SHOWN_DIFFERENCES else []
    return "\n\n".join([*told[:MAX_SHOWN_DIFFERENCES], *more, RECORD_COMMAND.format(family=family)])
