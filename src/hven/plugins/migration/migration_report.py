"""The report of a conversion: what needs a decision, what was left out, what was understood, with lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.plugins.migration.resource_xml import Element

MAX_REPORT_LINES = 60  # of a section, before the others: a person reads them in two minutes
MAX_LISTED_LINES = 8  # line numbers of one entry


@dataclass(slots=True)
class MigrationReport:
    """What was found in one resource descriptor, by sections; each text has the lines at which it applies."""

    decisions: dict[str, list[str]] = field(default_factory=dict)
    omissions: dict[str, list[str]] = field(default_factory=dict)
    results: dict[str, list[str]] = field(default_factory=dict)
    main_file: str = ""

    def add_decision(self, element: Element | None, text: str) -> None:
        """Note what a person has to decide or write."""
        self._add_entry(self.decisions, element, text)

    def add_omission(self, element: Element | None, text: str) -> None:
        """Note what was left out, and why."""
        self._add_entry(self.omissions, element, text)

    def add_result(self, element: Element | None, text: str) -> None:
        """Note what was understood, and what it became."""
        self._add_entry(self.results, element, text)

    def _add_entry(self, entries: dict[str, list[str]], element: Element | None, text: str) -> None:
        places = entries.setdefault(text, [])
        if element is not None:
            prefix = f"{element.file}:" if element.file and element.file != self.main_file else ""
            place = f"{prefix}{element.line}"
            if place not in places:
                places.append(place)

    def write_summary(self) -> str:
        """Count the entries of each section in one line."""
        return (
            f"entries understood: {len(self.results)}, left out: {len(self.omissions)}, "
            f"needing your decision: {len(self.decisions)}"
        )

    def write_text(self, title: str) -> str:
        """Write the report as text."""
        lines = [title, "=" * len(title), ""]
        sections = (
            ("Needs your decision", self.decisions),
            ("Left out", self.omissions),
            ("Understood", self.results),
        )
        for heading, entries in sections:
            lines += [f"{heading} ({len(entries)})", "-" * (len(heading) + len(str(len(entries))) + 3)]
            entry_lines = list(_write_entries(entries)) or ["nothing"]
            lines += entry_lines[:MAX_REPORT_LINES]
            if len(entries) > MAX_REPORT_LINES:
                lines.append(f"and {len(entries) - MAX_REPORT_LINES} more, at the end")
            lines.append("")
        for heading, entries in sections:
            if len(entries) > MAX_REPORT_LINES:
                more_heading = f"{heading}: the other {len(entries) - MAX_REPORT_LINES}"
                lines += [more_heading, "-" * len(more_heading), *list(_write_entries(entries))[MAX_REPORT_LINES:], ""]
        return "\n".join(lines)


def _write_entries(entries: dict[str, list[str]]) -> Iterator[str]:
    for text, places in entries.items():
        yield f"{format_places(places)}: {text}" if places else text


def format_places(places: Sequence[str]) -> str:
    """Write line numbers: ``line 3`` or ``lines 3, 5, 9 and 12 more``."""
    if len(places) == 1:
        return f"line {places[0]}"
    listed = ", ".join(places[:MAX_LISTED_LINES])
    more = len(places) - MAX_LISTED_LINES
    return f"lines {listed}" + (f" and {more} more" if more > 0 else "")
