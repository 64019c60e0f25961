"""Draft the collections of a service from its survey, with a report."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.column_names import REGULAR_IDENTIFIER_PATTERN
from hven.model import units
from hven.plugins.drafts.column_guesses import to_adql_identifier
from hven.plugins.drafts.document_drafts import CollectionDraft
from hven.plugins.migration.column_conversion import (
    find_unit_differences,
    has_epn_columns,
    list_position_columns,
    replace_epn_columns,
)
from hven.plugins.migration.descriptor_text import write_descriptor_text
from hven.plugins.migration.document_parts import choose_free_name, set_primary_key
from hven.plugins.migration.draft_pruning import prune_draft
from hven.plugins.migration.migration_report import MigrationReport
from hven.plugins.service_migration.collection_metadata import RecordConverter

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hven.model.settings import Settings
    from hven.plugins.service_migration.service_survey import ServiceSurvey, SurveyedTable

# schemas that Hven fills itself, or that only the old program uses, with the reason
OMITTED_SCHEMAS = {
    "ivoa": "Hven fills ivoa.obscore from `obscore` in the descriptors",
    "dc": "DaCHS keeps its own records in this schema",
    "glots": "DaCHS keeps a list of other services' tables in this schema",
    "rr": "this is a searchable registry: `hven new` has a source for its records (kind oai)",
}
MAX_NOTED_PROBLEMS = 20  # of one table


class SurveyConverter:
    """Drafts collections from a survey.

    Parameters
    ----------
    survey
        The service.
    settings
        Settings of the site.
    database
        Secret (``$NAME``) with the address of the old database, from which rows are read; empty: by TAP.
    """

    def __init__(self, survey: ServiceSurvey, settings: Settings, database: str = "") -> None:
        self._survey = survey
        self._settings = settings
        self._database = database
        self.report = MigrationReport()
        self._tables_by_schema: dict[str, list[SurveyedTable]] = defaultdict(list)
        for table in survey.tables.values():
            self._sort_table(table)
        self.names_by_schema: dict[str, str] = {}
        for schema in self._tables_by_schema:
            name = to_adql_identifier(schema, "data")
            self.names_by_schema[schema] = choose_free_name(name, self.names_by_schema.values())
        epn_tables = [table.name.lower() for table in survey.readable_tables if has_epn_columns(table.columns)]
        self.records = RecordConverter(survey, self.names_by_schema, epn_tables, self.report)
        for problem in survey.problems:
            self.report.add_decision(None, problem)

    @property
    def collection_names(self) -> list[str]:
        """Names of the collections."""
        return list(self.names_by_schema.values())

    def _sort_table(self, table: SurveyedTable) -> None:
        schema = table.schema.lower()
        if table.failure:
            self.report.add_omission(None, f"the table {table.name} cannot be read: {table.failure}")
        elif schema in OMITTED_SCHEMAS:
            self.report.add_omission(None, f"the table {table.name}: {OMITTED_SCHEMAS[schema]}")
        else:
            self._tables_by_schema[table.schema or "main"].append(table)

    def draft_collections(self, existing_names: Collection[str]) -> list[CollectionDraft]:
        """Draft all collections but those that exist already."""
        drafts = []
        for schema, tables in self._tables_by_schema.items():
            name = self.names_by_schema[schema]
            if name in existing_names:
                self.report.add_result(None, f"the collection {name} exists already, and stays as it is")
                continue
            if name != schema.lower():
                self.report.add_decision(
                    None, f"the schema {schema} becomes the collection {name}: queries need the new name"
                )
            drafts.append(self._draft_collection(name, tables))
        return drafts

    def _draft_collection(self, name: str, tables: Sequence[SurveyedTable]) -> CollectionDraft:
        draft: dict[str, Any] = {"collection": name, "title": name.replace("_", " ").capitalize()}
        draft |= self.records.keys.get(name, {})
        for schema in {table.schema for table in tables}:
            draft |= self._find_data_keys("schemas", schema)
        notes: dict[str, list[str]] = {}
        table_drafts: dict[str, Any] = {}
        for table in tables:
            table_name = choose_free_name(to_adql_identifier(table.local_name, "table"), table_drafts)
            self._add_page_aliases(table, name, table_name)
            table_drafts[table_name] = self._draft_table(name, table, tables)
            notes[table_name] = table.problems[:MAX_NOTED_PROBLEMS]
            for problem in table.problems:
                self.report.add_decision(None, f"{table.name}: {problem}")
        examples = [
            example
            for example in self._survey.examples
            if any(table.name.lower() in example["query"].lower() for table in tables)
        ]
        if examples:
            draft["examples"] = examples
        draft["tables"] = table_drafts
        prune_draft(draft, settings=self._settings, report=self.report)
        heading = [
            f"A first descriptor, from {self._survey.url} ({self._survey.program}). Correct what is wrong;",
            f"`hven check {name}` reports every error, `hven ingest {name}` copies the rows.",
        ]
        return CollectionDraft(name=name, text=write_descriptor_text(draft, heading, notes))

    def _find_data_keys(self, kind: str, name: str) -> dict[str, Any]:
        """Find the keys in the DataCite record of a schema or a table."""
        records = (record for record in self._survey.data_records if record["kind"] == kind)
        return next((dict(record["keys"]) for record in records if record["name"].lower() == name.lower()), {})

    def _add_page_aliases(self, table: SurveyedTable, collection: str, table_name: str) -> None:
        """Add aliases for the pages on which the old program describes a table."""
        page = f"/collections/{collection}"
        if self._survey.program == "DaCHS":
            self.records.aliases[f"/tableinfo/{table.name}"] = f"{page}/{table_name}"
        elif self._survey.program == "Daiquiri":
            self.records.aliases[f"/metadata/{table.schema}"] = page
            self.records.aliases[f"/metadata/{table.schema}/{table.local_name}"] = f"{page}/{table_name}"

    def _draft_table(
        self, collection: str, table: SurveyedTable, neighbours: Sequence[SurveyedTable]
    ) -> dict[str, Any]:
        columns = {name: dict(attributes) for name, attributes in table.columns.items()}
        for name, attributes in columns.items():
            self._normalize_unit_attribute(table, name, attributes)
        data_keys = self._find_data_keys("tables", f"{table.schema}.{table.local_name}")
        texts = {"title": data_keys.get("title") or table.title, "description": table.description}
        keys: dict[str, Any] = {name: text for name, text in texts.items() if text}
        if data_keys.get("doi"):
            self.report.add_decision(
                None, f"{table.name} has the DOI {data_keys['doi']}: one DOI names a collection, so choose `doi`"
            )
        if has_epn_columns(table.columns):
            keys |= self._apply_epn_standard(collection, table, columns)
        else:
            if table.utype and "obscore" not in table.utype.lower():
                keys["utype"] = table.utype
            keys |= _build_key_constraints(table, neighbours)
            known_targets = {neighbour.local_name.lower() for neighbour in neighbours}
            for key, value in table.foreign_keys.items():
                if str(value["target"]).lower() not in known_targets:
                    self.report.add_decision(
                        None, f"{table.name}: the foreign key {key} leads to {value['target']}, in another collection"
                    )
            position = list_position_columns(columns)
            if position:
                keys["position"] = position
        keys["source"] = self._build_source(table)
        if table.endpoint:
            keys["endpoints"] = {"old": table.endpoint}
        renamed = _rename_columns(columns)
        if renamed:
            keys["map"] = renamed
            names = ", ".join(f"{source.strip(chr(34))} -> {name}" for name, source in renamed.items())
            self.report.add_decision(None, f"{table.name}: columns have other names now ({names})")
        if columns:
            keys["columns"] = columns
        rows = "an unknown number of" if table.row_count is None else f"{table.row_count:,}"
        self.report.add_result(None, f"the table {table.name}: {len(table.columns)} columns, {rows} rows")
        return keys

    def _normalize_unit_attribute(self, table: SurveyedTable, name: str, attributes: dict[str, Any]) -> None:
        """Keep a unit if VOUnits has it; otherwise write it into the description."""
        text = attributes.pop("unit", "")
        unit = None
        if text:
            unit = units.normalize_unit(text)
        if unit:
            attributes["unit"] = unit
        elif text:
            attributes["description"] = f"{attributes.get('description', name)} [{text}]"
            self.report.add_decision(None, f"{table.name}.{name}: {text!r} is no unit of VOUnits; write `unit`")

    def _build_source(self, table: SurveyedTable) -> dict[str, Any]:
        if self._database and table.source.get("kind") == "tap":
            return {"kind": "sql", "url": self._database, "table": table.name}
        return table.source

    def _apply_epn_standard(
        self, collection: str, table: SurveyedTable, columns: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        """Replace columns of EPN-TAP by the standard."""
        for text in find_unit_differences(columns):
            self.report.add_decision(None, f"{table.name}: {text}")
        keys = replace_epn_columns(columns, (), table.sample.get("spatial_frame_type", ""))
        title = table.sample.get("service_title")
        if title is not None and title != collection:
            keys["set"] = {"service_title": collection}
            self.report.add_result(None, f"{table.name}: service_title is the collection's name, not {title!r}")
        return keys

    def write_report(self) -> str:
        """Write the report of the whole service."""
        text = self.report.write_text(f"{self._survey.url} ({self._survey.program}): migration to Hven")
        lines = self.records.write_settings_lines()
        if lines:
            text += "\nLines for hven.toml\n-------------------\n" + "\n".join(lines)
        return text


def choose_column_name(name: str) -> str:
    """Choose the name of a column: that in the service, if it is a regular identifier, even a reserved word.

    Parameters
    ----------
    name
        Name in the service.
    """
    if REGULAR_IDENTIFIER_PATTERN.fullmatch(name):
        return name
    return to_adql_identifier(name)


def _build_key_constraints(table: SurveyedTable, neighbours: Sequence[SurveyedTable]) -> dict[str, Any]:
    """Build the primary key, and the foreign keys to tables of the same collection."""
    keys: dict[str, Any] = {}
    paging_key = table.source.get("key")
    primary = table.primary or ([paging_key] if paging_key else [])
    if all(name in table.columns for name in primary):
        set_primary_key(keys, [choose_column_name(name) for name in primary])
    targets = {neighbour.local_name.lower(): neighbour for neighbour in neighbours}
    for key, value in table.foreign_keys.items():
        target = targets.get(str(value["target"]).lower())
        if target is not None:
            entry = {
                "columns": [choose_column_name(name) for name in value["columns"]],
                "target": to_adql_identifier(target.local_name, "table"),
                "target_columns": [choose_column_name(name) for name in value["target_columns"]],
            }
            keys.setdefault("keys", {})[to_adql_identifier(key, "key")] = entry
    return keys


def _rename_columns(columns: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Give columns regular names; return the expressions of those that are renamed."""
    renamed: dict[str, str] = {}
    for source_name, attributes in list(columns.items()):
        name = choose_column_name(source_name)
        if name != source_name and name not in columns:
            del columns[source_name]
            columns[name] = {"label": source_name, **attributes}
            renamed[name] = '"' + source_name.replace('"', '""') + '"'
    return renamed
