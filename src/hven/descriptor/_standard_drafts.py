"""``hven new --standard``: a first descriptor of a table of EPN-TAP or ObsCore, which passes the check.

Guesses and gaps are marked in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import yaml

from hven.descriptor import _source_credits
from hven.descriptor._epn_proposals import propose_epn_tap
from hven.descriptor._loading import check_descriptor
from hven.descriptor._merging import list_standards
from hven.descriptor._obscore_proposals import propose_obscore
from hven.descriptor._source_facts import collect_source_columns
from hven.descriptor._standard_proposals import MappingProposal, MappingProposer
from hven.descriptor._yaml_text import format_comment, format_flow_value, format_folded_text, format_scalar
from hven.model.errors import UsageError, suggest_spelling
from hven.model.sky import region_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from hven.descriptor._column_guesses import ColumnGuess
    from hven.descriptor._source_metadata import SourceMetadata
    from hven.model.settings import Settings

PROPOSERS_BY_STANDARD = {"epn-tap": propose_epn_tap, "obscore": propose_obscore}
MIN_REQUIRED_COLUMNS = 4  # required columns by their own names: the source is a table of the standard already
MAX_CHECK_ROUNDS = 40  # proposals that are taken back, one check after the other


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardDraft:
    """A source that was looked at, for a table of a standard.

    Attributes
    ----------
    standard
        Its full name: ``epn-tap-2.0``.
    source_text
        Text in which the target may be named: file, title, description.
    image_coverage
        What images with WCS cards show: ``sky`` or ``body``; None: there are none.
    credits, is_by_catalogue_builder
        As of `_source_credits.write_head_lines`.
    source_metadata
        What features in time and frequency have besides: their geometries and properties are columns of their own;
        None: the rows are none.
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
    credits: Mapping[str, str] = field(default_factory=dict)
    is_by_catalogue_builder: bool = False
    created: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())

    def propose_mapping(self, table: Mapping[str, Any]) -> MappingProposal:
        """Guess the mapping."""
        propose = next(function for stem, function in PROPOSERS_BY_STANDARD.items() if self.standard.startswith(stem))
        source_columns = collect_source_columns(self.guesses, self.sample)
        required_columns = [
            fact for fact in source_columns if table["columns"].get(fact.source.lower(), {}).get("required")
        ]
        if len(required_columns) >= MIN_REQUIRED_COLUMNS:
            incomplete_columns = [fact for fact in required_columns if 0 < len(fact.filled_values) < len(fact.sample)]
        else:
            incomplete_columns = []
        complete_row_mask: Any = None  # the standard's own table, with lines that hold nothing
        for fact in incomplete_columns:
            if fact.is_text:
                has_value = pc.fill_null(pc.not_equal(fact.sample, ""), False)
            else:
                has_value = pc.is_valid(fact.sample)
            if complete_row_mask is None:
                complete_row_mask = has_value
            else:
                complete_row_mask = pc.and_(complete_row_mask, has_value)
        if incomplete_columns:
            source_columns = collect_source_columns(
                self.guesses, {name: values.filter(complete_row_mask) for name, values in self.sample.items()}
            )
        proposal = propose(
            MappingProposer(
                table["columns"],
                source_columns,
                name=self.name,
                source_text=self.source_text,
                key_columns=self.key,
                position_columns=self.position,
                list_columns=collect_source_columns(self.guesses, self.sample, select_lists=True),
                has_files="files" in self.options,
                image_coverage=self.image_coverage,
                allowed_words={
                    str(rule["columns"]): frozenset(
                        str(word).lower() for word in table["vocabularies"][rule["of"]]["values"]
                    )
                    for rule in table.get("rules", {}).values()
                    if rule.get("check") == "words" and rule.get("severity", "error") == "error"
                },
            )
        )
        if incomplete_columns:
            proposal.row_condition = " AND ".join(
                f"{fact.sql} <> ''" if fact.is_text else f"{fact.sql} IS NOT NULL" for fact in incomplete_columns
            )
        if self.source_metadata is not None and "access_url" in table["columns"]:
            uid = "granule_uid = '{target.granule_uid}'"
            query_text = f"SELECT * FROM {self.name}.{self.find_table_name(table)} WHERE {uid}".replace(" ", "+")
            proposal.settings |= {
                "dataproduct_type": ("set", "ev", "each row is an event"),
                "access_url": (
                    "text",
                    f"{{site.url}}/tap/sync?LANG=ADQL&RESPONSEFORMAT=tfcat&QUERY={query_text}",
                    "itself, as TFCat",
                ),
                "access_format": ("set", "application/json", ""),
                "access_estsize": ("map", "CAST(1 + LENGTH(geometry) / 1000 AS INTEGER)", ""),
            }
            proposal.used_sources.update(item.source for item in self.own_columns)
            proposal.missing_values.pop("access_url", None)
        return proposal

    @property
    def own_columns(self) -> list[ColumnGuess]:
        """Columns that the table has besides those of the standard."""
        return [
            item
            for item in self.guesses
            if self.source_metadata is not None
            and item.column.utype not in {region_files.tfcat.ID_UTYPE, region_files.tfcat.DERIVED_UTYPE}
        ]

    def _write_credit_lines(self) -> list[str]:
        """Write who made the data as the source says, and what only the curator knows."""
        credit_lines = [
            line
            for line in _source_credits.write_head_lines(self.credits, by_builder=self.is_by_catalogue_builder)
            if not line.startswith("#")
        ]
        missing_key_lines = {
            "creators": '# creators: [{name: "Brahe, T."}]  # to fill: who made the data, in the order of citation',
            "publisher": "# publisher: {name: Observatory}  # to fill",
            "licence": "# licence: CC-BY-4.0  # to fill",
        }
        return [
            *credit_lines,
            *(
                line
                for key, line in missing_key_lines.items()
                if not any(credit_line.startswith(f"{key}:") for credit_line in credit_lines)
            ),
        ]

    def write_descriptor(self, proposal: MappingProposal, table: Mapping[str, Any]) -> str:
        """Write the descriptor."""
        columns: Mapping[str, Any] = table["columns"]
        lines = [
            (
                f"# A first descriptor for {self.standard}, guessed from {format_comment(self.origin)}. What "
                f"stands behind '# guessed' may be wrong; where '# to fill' stands,"
            ),
            (
                f"# only you know. `hven check {self.name}` tells every fault, `hven ingest {self.name}` publishes "
                f"it as {self.name}.{self.find_table_name(table)}."
            ),
            f"collection: {format_scalar(self.name)}",
            f"title: {format_scalar(self.title or self.name.replace('_', ' ').capitalize())}"
            + ("" if self.title else "  # to fill: one line for people"),
            *(
                format_folded_text("description", self.description)
                if self.description
                else ["# description: to fill: some sentences - what, from where, how good"]
            ),
            f"created: {self.created}  # guessed: today; creation_date of the rows, unless they have one",
            *self._write_credit_lines(),
            "tables:",
            f"  {self.find_table_name(table)}:",
            f"    # {self.rows:,} rows"
            if self.is_complete
            else f"    # guessed from the first {self.rows - self.rows % 1000:,} rows",
            *(f"    # {format_comment(note)}" for note in self.notes),
            f"    standard: {self.standard}",
        ]
        if proposal.frame is not None:
            if proposal.frame not in {None, "none"}:
                frame = format_scalar(proposal.frame)
            else:
                frame = '"none"'
            lines.append(f"    frame: {frame}  # guessed: what c1, c2, c3 are")
        optional = [*_list_used_optional_columns(proposal, table), *proposal.optional_families]
        if optional:
            lines.append(f"    optional: {format_flow_value(optional)}")
        lines.append("    source: " + format_flow_value({"kind": self.kind, **self.options}))
        if proposal.row_condition is not None:
            lines.append(
                f"    where: {format_scalar(proposal.row_condition)}  # guessed: other rows lack what the "
                f"standard needs"
            )
        lines += ["    let:"] if proposal.let_expressions else []
        lines += [f"      {name}: {format_scalar(text)}" for name, text in proposal.let_expressions.items()]
        lines += ["    columns:"] if proposal.column_types or self.own_columns else []
        lines += [
            f"      {name}: {format_flow_value({'type': type_name})}  # {format_comment(why)}"
            for name, (type_name, why) in proposal.column_types.items()
        ]
        for item in self.own_columns:
            if item.column.name in columns or self.source_metadata is None:
                continue
            attributes = {
                key: value for key in ("unit", "ucd", "utype", "description") if (value := getattr(item.column, key))
            }
            if item.column.type.is_string and item.column.type.xtype is None:
                type_name = "string"
            else:
                type_name = str(item.column.type)
            lines.append(
                f"      {format_scalar(item.column.name)}: "
                f"{format_flow_value({'type': type_name, **attributes, **self.source_metadata.describe_references(item.column)})}"
            )
        width = max([len(name) for name in proposal.settings] or [0])
        for setting_kind in ("set", "text", "map"):
            settings_of_kind = [
                (name, proposal.settings[name])
                for name in columns
                if name in proposal.settings and proposal.settings[name][0] == setting_kind
            ]
            lines += [f"    {setting_kind}:"] if settings_of_kind else []
            for name, (_, text, why) in settings_of_kind:
                line = f"      {name}:".ljust(width + 7) + " " + format_scalar(text)
                lines.append(line + (f"  # {format_comment(why)}" if why else ""))
        lines += [
            f"    # to fill: {name}: {format_comment(hint)}"
            for name, hint in proposal.missing_values.items()
            if name not in proposal.settings
        ]
        lines += self.source_metadata.write_table_keys(include_frames=False) if self.source_metadata is not None else []
        unused = [item.source for item in self.guesses if item.source and item.source not in proposal.used_sources]
        if unused:
            lines.append(f"    # not used: {format_comment(', '.join(unused))}")
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def find_table_name(self, table: Mapping[str, Any]) -> str:
        """Name the table."""
        return str(table.get("called", "main"))


def find_full_standard_name(standard: str, settings: Settings | None = None) -> str:
    """Find the newest standard of a name: ``epn-tap`` is epn-tap-2.0.

    Raises
    ------
    UsageError
        There is none, or none that a mapping can be guessed for.
    """
    supported_standards = [
        name
        for name in list_standards(settings)
        if any(re.fullmatch(re.escape(stem) + r"(-[\d.]+)?", name) for stem in PROPOSERS_BY_STANDARD)
    ]
    matching_standards = [
        name for name in supported_standards if name == standard or name.rpartition("-")[0] == standard
    ]
    if not matching_standards:
        raise UsageError(
            f"no mapping can be guessed for {standard!r}",
            remedy=suggest_spelling(standard, [*PROPOSERS_BY_STANDARD, *supported_standards])
            or f"known: {', '.join(PROPOSERS_BY_STANDARD)}",
        )
    return max(matching_standards)


def write_checked_draft(draft: StandardDraft, path: Path, settings: Settings) -> str:
    """Write the descriptor to `path`, and take back what does not pass the check; return the text."""
    standard_path = list_standards(settings)[draft.standard]
    standard_document = yaml.load(
        standard_path.read_text(encoding="utf-8"), yaml.CSafeLoader
    )  # that of C is ten times as fast
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
    """List the optional columns that are used, and those that belong to them."""
    standard_columns: Mapping[str, Any] = table["columns"]
    used_columns = {name for name in proposal.settings if standard_columns[name].get("optional")}
    families: Mapping[str, Sequence[str]] = table.get("families", {})
    for group in table.get("together", ()):
        members = [
            member for item in ([group] if isinstance(group, str) else group) for member in families.get(item, [item])
        ]
        if used_columns & set(members):
            used_columns |= set(members)
    return [name for name in standard_columns if name in used_columns]
