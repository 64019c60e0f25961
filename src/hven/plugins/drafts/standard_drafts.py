"""Draft a table of EPN-TAP or ObsCore that passes the check, with guesses and gaps marked: ``hven new --standard``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import yaml

from hven.descriptor import check_descriptor
from hven.descriptor.api.descriptor_sections import list_standards
from hven.descriptor.api.yaml_text import (
    format_yaml_comment,
    format_yaml_flow_value,
    format_yaml_folded_text,
    format_yaml_scalar,
)
from hven.model.errors import UsageError, suggest_spelling
from hven.plugins.drafts import source_credits
from hven.plugins.drafts.epn_proposals import propose_epn_tap_mapping
from hven.plugins.drafts.obscore_proposals import propose_obscore_mapping
from hven.plugins.drafts.source_facts import collect_source_columns
from hven.plugins.drafts.standard_proposals import MappingProposal, MappingProposer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from hven.descriptor.api.key_proposals import ColumnGuess
    from hven.model.settings import Settings
    from hven.plugins.drafts.source_facts import SourceColumn
    from hven.plugins.drafts.source_metadata import SourceMetadata
    from hven.sources import GeoFeatureSource

PROPOSERS_BY_STANDARD = {"epn-tap": propose_epn_tap_mapping, "obscore": propose_obscore_mapping}
MIN_REQUIRED_COLUMNS = 4  # required columns by their own names that show a table of the standard
MAX_CHECK_ROUNDS = 40  # rounds of a check and the removal of the proposals that do not pass it
CREDIT_PLACEHOLDERS = {
    "creators": '# creators: [{name: "Brahe, T."}]  # to fill: who made the data, in the order of citation',
    "publisher": "# publisher: Observatory  # to fill",
    "licence": "# licence: CC-BY-4.0  # to fill",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardTableDraft:
    """A source that was looked at, for a table of a standard.

    Attributes
    ----------
    standard
        Full name of the standard: ``epn-tap-2.0``.
    source_text
        Text in which the target may be named: file, title, description.
    image_coverage
        ``sky`` or ``body``, as images with WCS cards show; None: there are no such images.
    credits, is_by_catalogue_builder
        As in `source_credits.write_credit_head_lines`.
    source_metadata
        Metadata of features, whose geometries and properties become columns of their own; None: the rows are no such
        features.
    feature_source
        The source of these features.
    """

    name: str
    standard: str
    kind: str
    options: Mapping[str, Any]
    guesses: Sequence[ColumnGuess]
    sample: Mapping[str, pa.Array]
    key: Sequence[ColumnGuess]
    position: tuple[ColumnGuess, ColumnGuess] | None
    rows: int
    is_complete: bool
    notes: Sequence[str]
    title: str | None
    description: str | None
    origin: str
    source_text: str = ""
    image_coverage: str | None = None
    source_metadata: SourceMetadata | None = None
    feature_source: GeoFeatureSource | None = None
    credits: Mapping[str, str] = field(default_factory=dict)
    is_by_catalogue_builder: bool = False
    created: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())

    def propose_mapping(self, table: Mapping[str, Any]) -> MappingProposal:
        """Guess the mapping of the source's columns to those of the standard."""
        propose = next(function for stem, function in PROPOSERS_BY_STANDARD.items() if self.standard.startswith(stem))
        source_columns = collect_source_columns(self.guesses, self.sample)
        incomplete_columns = self._find_incomplete_columns(source_columns, table)
        if incomplete_columns:
            complete_rows = self._select_complete_rows(incomplete_columns)
            source_columns = collect_source_columns(self.guesses, complete_rows)
        proposer = MappingProposer(
            table["columns"],
            source_columns,
            name=self.name,
            source_text=self.source_text,
            key_columns=self.key,
            position_columns=self.position,
            list_columns=collect_source_columns(self.guesses, self.sample, is_for_lists=True),
            has_files="files" in self.options,
            image_coverage=self.image_coverage,
            allowed_words=_list_allowed_words(table),
        )
        proposal = propose(proposer)
        if incomplete_columns:
            conditions = []
            for column in incomplete_columns:
                test = "<> ''" if column.is_text else "IS NOT NULL"
                conditions.append(f"{column.sql} {test}")
            proposal.row_condition = " AND ".join(conditions)
        if self.feature_source is not None and "access_url" in table["columns"]:
            self._propose_access_to_features(proposal, self.feature_source, table)
        return proposal

    def _find_incomplete_columns(
        self, source_columns: Sequence[SourceColumn], table: Mapping[str, Any]
    ) -> list[SourceColumn]:
        """Find required columns that lack some values in a table that is of the standard already."""
        required_columns = []
        for column in source_columns:
            standard_column = table["columns"].get(column.source.lower(), {})
            if standard_column.get("required"):
                required_columns.append(column)
        if len(required_columns) < MIN_REQUIRED_COLUMNS:
            return []
        return [column for column in required_columns if 0 < len(column.filled_values) < len(column.sample)]

    def _select_complete_rows(self, incomplete_columns: Sequence[SourceColumn]) -> dict[str, pa.Array]:
        """Return the rows of the sample that have a value in each of these columns."""
        complete_row_mask: Any = None
        for column in incomplete_columns:
            if column.is_text:
                has_value = pc.fill_null(pc.not_equal(column.sample, ""), False)
            else:
                has_value = pc.is_valid(column.sample)
            if complete_row_mask is None:
                complete_row_mask = has_value
            else:
                complete_row_mask = pc.and_(complete_row_mask, has_value)
        return {name: values.filter(complete_row_mask) for name, values in self.sample.items()}

    def _propose_access_to_features(
        self, proposal: MappingProposal, feature_source: GeoFeatureSource, table: Mapping[str, Any]
    ) -> None:
        """Propose the row itself for the file of the row."""
        table_name = f"{self.name}.{self.find_table_name(table)}"
        proposal.settings |= feature_source.propose_file_access_columns(table_name)
        proposal.used_sources.update(guess.source for guess in self.own_columns)
        proposal.missing_values.pop("access_url", None)

    @property
    def own_columns(self) -> list[ColumnGuess]:
        """Columns that the table has beside those of the standard."""
        if self.feature_source is None:
            return []
        derived_utypes = self.feature_source.list_helper_column_utypes()
        return [guess for guess in self.guesses if guess.column.utype not in derived_utypes]

    def _write_credit_lines(self) -> list[str]:
        """Write who made the data as the source says, and ask for what only the curator knows."""
        head_lines = source_credits.write_credit_head_lines(
            self.credits, has_builder_names=self.is_by_catalogue_builder
        )
        credit_lines = [line for line in head_lines if not line.startswith("#")]
        keys = {line.partition(":")[0] for line in credit_lines}
        placeholders = [line for key, line in CREDIT_PLACEHOLDERS.items() if key not in keys]
        return [*credit_lines, *placeholders]

    def write_descriptor(self, proposal: MappingProposal, table: Mapping[str, Any]) -> str:
        """Write the descriptor."""
        lines = [
            *self._write_head(table),
            "tables:",
            f"  {self.find_table_name(table)}:",
            *self._write_table_head(proposal, table),
            *self._write_column_lines(proposal, table["columns"]),
            *_write_setting_lines(proposal, table["columns"]),
        ]
        for name, hint in proposal.missing_values.items():
            if name not in proposal.settings:
                lines.append(f"    # to fill: {name}: {format_yaml_comment(hint)}")
        if self.source_metadata is not None:
            lines += self.source_metadata.write_metadata_sections(include_frames=False)
        unused_sources = [
            guess.source for guess in self.guesses if guess.source and guess.source not in proposal.used_sources
        ]
        if unused_sources:
            lines.append(f"    # not used: {format_yaml_comment(', '.join(unused_sources))}")
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def _write_head(self, table: Mapping[str, Any]) -> list[str]:
        table_name = f"{self.name}.{self.find_table_name(table)}"
        default_title = self.name.replace("_", " ").capitalize()
        title_line = f"title: {format_yaml_scalar(self.title or default_title)}"
        if not self.title:
            title_line += "  # to fill: one line for people"
        guess_line = (
            f"# A first descriptor for {self.standard}, guessed from {format_yaml_comment(self.origin)}. Values "
            "marked '# guessed' may be wrong; only"
        )
        command_line = (
            f"# you know the values marked '# to fill'. `hven check {self.name}` reports every error, `hven "
            f"ingest {self.name}` publishes it as {table_name}."
        )
        lines = [
            guess_line,
            command_line,
            f"collection: {format_yaml_scalar(self.name)}",
            title_line,
        ]
        if self.description:
            lines += format_yaml_folded_text("description", self.description)
        else:
            lines.append(
                "# description: to fill: a few sentences - what the data are, where they come from, how good they are"
            )
        lines.append(f"created: {self.created}  # guessed: today; creation_date of the rows, unless they have one")
        return [*lines, *self._write_credit_lines()]

    def _write_table_head(self, proposal: MappingProposal, table: Mapping[str, Any]) -> list[str]:
        """Write notes, standard, frame, source and conditions of the table."""
        row_count_line = f"    # {self.rows:,} rows"
        if not self.is_complete:
            row_count_line = f"    # guessed from the first {self.rows - self.rows % 1000:,} rows"
        lines = [
            row_count_line,
            *(f"    # {format_yaml_comment(note)}" for note in self.notes),
            f"    standard: {self.standard}",
        ]
        if proposal.frame is not None:
            frame = '"none"'
            if proposal.frame != "none":
                frame = format_yaml_scalar(proposal.frame)
            lines.append(f"    frame: {frame}  # guessed: what c1, c2, c3 are")
        optional = [*_list_used_optional_columns(proposal, table), *proposal.optional_families]
        if optional:
            lines.append(f"    optional: {format_yaml_flow_value(optional)}")
        lines.append("    source: " + format_yaml_flow_value({"kind": self.kind, **self.options}))
        if proposal.row_condition is not None:
            condition = format_yaml_scalar(proposal.row_condition)
            lines.append(f"    where: {condition}  # guessed: other rows lack what the standard needs")
        if proposal.let_expressions:
            lines.append("    let:")
        lines += [f"      {name}: {format_yaml_scalar(text)}" for name, text in proposal.let_expressions.items()]
        return lines

    def _write_column_lines(self, proposal: MappingProposal, standard_columns: Mapping[str, Any]) -> list[str]:
        """Write the types that differ from the standard, and the columns that it does not have."""
        lines = []
        if proposal.column_types or self.own_columns:
            lines.append("    columns:")
        for name, (type_name, reason) in proposal.column_types.items():
            lines.append(
                f"      {name}: {format_yaml_flow_value({'type': type_name})}  # {format_yaml_comment(reason)}"
            )
        for guess in self.own_columns:
            column = guess.column
            if column.name in standard_columns or self.source_metadata is None:
                continue
            attributes: dict[str, Any] = {"type": str(column.type)}
            if column.type.is_string and column.type.xtype is None:
                attributes["type"] = "string"
            for key in ("unit", "ucd", "utype", "description"):
                value = getattr(column, key)
                if value:
                    attributes[key] = value
            attributes |= self.source_metadata.describe_column_attributes(column)
            lines.append(f"      {format_yaml_scalar(column.name)}: {format_yaml_flow_value(attributes)}")
        return lines

    def find_table_name(self, table: Mapping[str, Any]) -> str:
        """Return the name of the table, as the standard prescribes it."""
        return str(table.get("called", "main"))


def _list_allowed_words(table: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """List the words, in lower case, that a column of a standard may have: others are errors."""
    allowed_words = {}
    for rule in table.get("rules", {}).values():
        if rule.get("check") == "words" and rule.get("severity", "error") == "error":
            words = table["vocabularies"][rule["of"]]["values"]
            allowed_words[str(rule["columns"])] = frozenset(str(word).lower() for word in words)
    return allowed_words


def _write_setting_lines(proposal: MappingProposal, standard_columns: Mapping[str, Any]) -> list[str]:
    """Write ``set``, ``text`` and ``map``, in the order of the standard's columns."""
    lines = []
    width = max((len(name) for name in proposal.settings), default=0)
    for setting_kind in ("set", "text", "map"):
        names = [name for name in standard_columns if name in proposal.settings]
        names = [name for name in names if proposal.settings[name][0] == setting_kind]
        if names:
            lines.append(f"    {setting_kind}:")
        for name in names:
            _, text, reason = proposal.settings[name]
            line = f"      {name}:".ljust(width + 7) + " " + format_yaml_scalar(text)
            if reason:
                line += f"  # {format_yaml_comment(reason)}"
            lines.append(line)
    return lines


def find_full_standard_name(standard: str, settings: Settings | None = None) -> str:
    """Find the newest standard of a name: ``epn-tap`` is epn-tap-2.0.

    Raises
    ------
    UsageError
        There is no such standard, or no mapping to it can be guessed.
    """
    pattern = re.compile(rf"({'|'.join(map(re.escape, PROPOSERS_BY_STANDARD))})(-[\d.]+)?")
    supported_standards = [name for name in list_standards(settings) if pattern.fullmatch(name)]
    matching_standards = [
        name for name in supported_standards if name == standard or name.rpartition("-")[0] == standard
    ]
    if not matching_standards:
        hint = suggest_spelling(standard, [*PROPOSERS_BY_STANDARD, *supported_standards])
        raise UsageError(
            f"Hven cannot guess a mapping to the standard {standard!r}",
            remedy=hint or f"use one of {', '.join(PROPOSERS_BY_STANDARD)}",
        )
    return max(matching_standards)


def write_checked_draft(draft: StandardTableDraft, path: Path, settings: Settings) -> str:
    """Write the descriptor to `path`, remove the proposals that do not pass the check, and return the text."""
    standard_text = list_standards(settings)[draft.standard].read_text(encoding="utf-8")
    standard_document = yaml.load(standard_text, yaml.CSafeLoader)  # ten times as fast as the loader in Python
    table: Mapping[str, Any] = next(iter(standard_document["tables"].values()))
    proposal = draft.propose_mapping(table)
    text = draft.write_descriptor(proposal, table)
    for _ in range(MAX_CHECK_ROUNDS):
        path.write_text(text, encoding="utf-8")
        errors = [fault for fault in check_descriptor(path, settings) if fault.severity == "error"]
        reasons_by_column: dict[str, str] = {}
        for fault in errors:
            match = re.search(r"\.(?:map|set)\.(\w+)", fault.message)
            if match is not None and match[1] in proposal.settings:
                reasons_by_column.setdefault(match[1], fault.message.partition(": ")[2])
        if not reasons_by_column:
            break
        for column, reason in reasons_by_column.items():
            proposal.reject_setting(column, reason)
        text = draft.write_descriptor(proposal, table)
    return text


def _list_used_optional_columns(proposal: MappingProposal, table: Mapping[str, Any]) -> list[str]:
    """List the optional columns that the proposal uses, and the columns that belong to them."""
    standard_columns: Mapping[str, Any] = table["columns"]
    used_columns = {name for name in proposal.settings if standard_columns[name].get("optional")}
    families: Mapping[str, Sequence[str]] = table.get("families", {})
    for group in table.get("together", ()):
        members: set[str] = set()
        for name in [group] if isinstance(group, str) else group:
            members.update(families.get(name, [name]))
        if used_columns & members:
            used_columns |= members
    return [name for name in standard_columns if name in used_columns]
