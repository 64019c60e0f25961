"""Build the draft of a collection, with its report, from what a converter understood of a document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.plugins.drafts.document_drafts import CollectionDraft
from hven.plugins.drafts.source_discovery import format_descriptor_path
from hven.plugins.migration.descriptor_text import write_descriptor_text
from hven.plugins.migration.draft_pruning import prune_draft
from hven.plugins.migration.migration_report import MigrationReport
from hven.plugins.migration.moved_code import READING_ADVICE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import Settings
    from hven.plugins.migration.resource_xml import Element

MAX_NOTES = 12  # decisions that stand at the head of the descriptor
REPORT_FILE = "migration-report.txt"
CODE_FILE = "dachs_code.py"


class DraftBuilder:
    """Builds the draft of one collection.

    Parameters
    ----------
    name
        Name of the collection.
    settings
        Settings of the site.
    program
        The program from which the collection comes.

    Attributes
    ----------
    draft
        The keys of the descriptor, except the tables.
    tables
        The tables by their names.
    report
        What was understood and what not.
    notes
        Lines that ``hven new`` prints.
    settings_lines
        Lines for ``hven.toml``, which the report lists.
    mapping_lines
        Places in the document from which mappings come, by table and column.
    """

    def __init__(self, name: str, settings: Settings, program: str) -> None:
        self.name = name
        self.settings = settings
        self.draft: dict[str, Any] = {"collection": name}
        self.tables: dict[str, dict[str, Any]] = {}
        self.report = MigrationReport()
        self.notes: list[str] = []
        self.settings_lines: list[str] = []
        self.mapping_lines: dict[tuple[str, str], Element] = {}
        self._program = program
        self._directory = settings.collections_directory / name

    def format_path(self, path: Path) -> str:
        """Write a path as the descriptor names it."""
        return format_descriptor_path(self.settings, self._directory, path)

    def build_draft(self, origins: Sequence[str], code_text: str = "") -> CollectionDraft:
        """Check what was converted, remove what the check refuses, and write the descriptor and the report.

        Parameters
        ----------
        origins
            Names of the documents.
        code_text
            Code that stands beside the descriptor.
        """
        self.draft.setdefault("title", self.name.replace("_", " ").capitalize())
        if self.tables:
            self.draft["tables"] = self.tables
        elif "layers" not in self.draft:
            self.report.add_decision(None, f"{origins[0]} describes no table: nothing can be published yet")
        if self._has_outside_files():
            self.report.add_decision(
                None,
                "the data are outside the site: copy them to the directory of the descriptor, or add their folder to "
                "`roots` in hven.toml",
            )
        prune_draft(
            self.draft,
            settings=self.settings,
            report=self.report,
            files={CODE_FILE: code_text} if code_text else {},
            lines=self.mapping_lines,
        )
        if self.settings_lines:
            self.report.add_decision(None, "add the lines at the end of this report to hven.toml")
        origin = ", ".join(origins[:3])
        report_text = self.report.write_text(f"{origin}: conversion to the collection {self.name}")
        if self.settings_lines:
            report_text += "\nLines for hven.toml\n-------------------\n" + "\n".join(self.settings_lines)
        files = {REPORT_FILE: report_text}
        if code_text:
            files[CODE_FILE] = code_text
            self.notes.append(f"{CODE_FILE} contains code from {origin}: {READING_ADVICE}")
        return CollectionDraft(
            name=self.name,
            text=write_descriptor_text(self.draft, self._write_heading(origin)),
            files=files,
            notes=[*self.notes, f"{self.report.write_summary()}; read {REPORT_FILE}"],
        )

    def _write_heading(self, origin: str) -> list[str]:
        heading = [
            f"A first descriptor, converted from {origin} of {self._program}. Check it and correct what is wrong;",
            f"`hven check {self.name}` reports every error. {REPORT_FILE} says what was understood and what not.",
        ]
        decisions = list(self.report.decisions.items())
        for text, places in decisions[:MAX_NOTES]:
            heading.append(f"To decide ({', '.join(places[:3])}): {text}" if places else f"To decide: {text}")
        if len(decisions) > MAX_NOTES:
            heading.append(f"and {len(decisions) - MAX_NOTES} more in {REPORT_FILE}")
        return heading

    def _has_outside_files(self) -> bool:
        paths: list[str] = []
        for table in self.tables.values():
            sources = table.get("source", [])
            for source in [sources] if isinstance(sources, dict) else sources:
                paths += list_paths(source.get("files"))
        paths += list_paths(self.draft.get("files"))
        return any(Path(path).is_absolute() for path in paths)


def list_paths(value: str | list[str] | None) -> list[str]:
    """List the paths of a key that has none, one, or a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def order_keys(keys: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """Copy some keys in an order."""
    return {key: keys[key] for key in order if key in keys}
