"""Records of rows, of the products that their links lead to, and of changes of rows by people."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hven.adql import syntax_tree
from hven.engines import Snapshot
from hven.model.errors import HvenError
from hven.plugins.provenance.prov_records import ACTIVITY, ENTITY, ProvRecord
from hven.plugins.provenance.provenance_search import MAX_MEMBERS, ProvStep, StepList
from hven.plugins.provenance.row_files import find_row_file
from hven.plugins.provenance.site_records import build_step_to_origin, limit_steps, step_to_target
from hven.portal.api.column_values import build_column_ref
from hven.portal.api.page_rows import build_table_address
from hven.portal.api.table_rows import MAX_KEY_CHARACTERS, QueryRunner, TableSearch, fetch_row, format_keys
from hven.services.datalinks import list_row_links
from hven.site.api.row_changes import RowChange, list_row_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Table
    from hven.plugins.provenance.reader_site import ReaderSite

PROGENITOR_SEMANTICS = "#progenitor"
DATASET_ID_PATTERN = re.compile(r"ivo://[^/?#]+/([^?#]+)\?(.+)", re.DOTALL)
MAX_ID_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRow:
    """A row that the reader may see.

    Attributes
    ----------
    table
        Its table.
    key
        Its key, as addresses of pages have it.
    values
        Its values by column.
    links
        Its links, as rows of DataLink.
    changes
        Its changes by people, the latest first.
    """

    table: Table
    key: str
    values: Mapping[str, Any]
    links: Sequence[Mapping[str, Any]]
    changes: Sequence[RowChange]


class RowRecords:
    """Find rows (``row/TABLE/KEY``), products (``product/NUMBER/TABLE/KEY``) and changes (``change/ID/TABLE/KEY``).

    Parameters
    ----------
    reader_site
        The tables that the reader may know of.
    """

    def __init__(self, reader_site: ReaderSite) -> None:
        self.reader_site = reader_site
        self.runner = QueryRunner(
            site=reader_site.site,
            principal=reader_site.principal,
            policies=reader_site.context.policies,
            published_state=reader_site.published_state,
        )
        self.finders: dict[str, Callable[[str], ProvRecord | None]] = {
            "row": self._find_row_record,
            "product": self._find_product,
            "change": self._find_change,
        }
        self.backward_steps: dict[str, Callable[[str], StepList]] = {
            "row": self._list_row_origins,
            "product": self._list_product_origins,
            "change": self._list_change_origins,
        }
        self.forward_steps: dict[str, Callable[[str], StepList]] = {"row": self._list_row_products}
        self._rows: dict[str, FoundRow | None] = {}

    def find_row(self, name: str) -> FoundRow | None:
        """Find a row by the name in its id; None: there is none that the reader may see.

        Parameters
        ----------
        name
            Qualified name of the table, a slash, and the key: its value, or a list in JSON.
        """
        if name not in self._rows:
            self._rows[name] = self._fetch_row(name)
        return self._rows[name]

    def _fetch_row(self, name: str) -> FoundRow | None:
        table_name, _, key_text = name.partition("/")
        published = self.reader_site.tables.get(table_name)
        if published is None or not published.table.primary or len(key_text) > MAX_KEY_CHARACTERS:
            return None
        table = published.table
        key = _key_text_to_json(table, key_text)
        page = fetch_row(TableSearch(table=table), self.runner, key)
        if not page.rows.num_rows:
            return None
        values = {column.name: page.rows.column(number)[0].as_py() for number, column in enumerate(page.columns)}
        return FoundRow(
            table=table,
            key=key,
            values=values,
            links=self._list_links(table, values),
            changes=list_row_changes(self.reader_site.site, table, key),
        )

    def _list_links(self, table: Table, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """List the links of a row to files and pages."""
        identifier_column = table.identifier_column
        identifier = None
        if identifier_column is not None:
            identifier = values.get(identifier_column.name)
        if identifier is None:
            return []
        try:
            links = list_row_links(
                table,
                [str(identifier)],
                principal=self.reader_site.principal,
                site=self.reader_site.site,
                policies=self.reader_site.context.policies,
                published_state=self.reader_site.published_state,
                base_url=self.reader_site.base_url,
            )
        except HvenError:  # a row without links still has a history
            return []
        return [link for link in links.to_pylist() if link["access_url"] and not link["error_message"]]

    def _find_row_record(self, name: str) -> ProvRecord | None:
        row = self.find_row(name)
        if row is None:
            return None
        url = f"{build_table_address(self.reader_site.base_url, row.table)}?{urlencode({'_row': row.key})}"
        identifier_column = row.table.identifier_column
        identifier = None
        if identifier_column is not None:
            identifier = row.values.get(identifier_column.name)
        return ProvRecord(
            id=f"row/{name}",
            kind=ENTITY,
            label=f"Row {' '.join(map(str, json.loads(row.key)))} of {row.table.qualified_name}",
            ivoa_type="Entity",
            attributes={"identifier": None if identifier is None else str(identifier)},
            url=url,
        )

    def _list_row_origins(self, name: str) -> StepList:
        row = self.find_row(name)
        if row is None:
            return StepList()
        record_id = f"row/{name}"
        published = self.reader_site.tables[row.table.qualified_name]
        steps = []
        if isinstance(published.relation, Snapshot):
            snapshot_id = published.relation.id
            steps.append(build_step_to_origin("hadMember", f"snapshot/{snapshot_id}", record_id))
            origin = self.reader_site.find_origin(snapshot_id)
            row_file = None
            if origin is not None:
                row_file = find_row_file(self.reader_site.site, origin, row.table, row.values)
            if row_file is not None and row_file.name:
                is_only_file = row_file.file_count == 1
                target = f"source/{snapshot_id}" if is_only_file else f"file/{snapshot_id}/{row_file.name}"
                steps.append(step_to_target("wasDerivedFrom", record_id, target))
        else:
            steps.append(step_to_target("wasDerivedFrom", record_id, f"table/{row.table.qualified_name}"))
        if row.changes:
            steps.append(_build_step_to_change("wasGeneratedBy", record_id, row.changes[0], name))
        for number, link in enumerate(row.links[:MAX_MEMBERS]):
            if link["semantics"] == PROGENITOR_SEMANTICS:
                steps.append(step_to_target("wasDerivedFrom", record_id, f"product/{number}/{name}"))
        return limit_steps(steps)

    def _list_row_products(self, name: str) -> StepList:
        row = self.find_row(name)
        links = () if row is None else row.links
        steps = [
            build_step_to_origin("wasDerivedFrom", f"product/{number}/{name}", f"row/{name}")
            for number, link in enumerate(links)
            if link["semantics"] != PROGENITOR_SEMANTICS
        ]
        return limit_steps(steps)

    def _find_product(self, name: str) -> ProvRecord | None:
        number_text, _, row_name = name.partition("/")
        row = self.find_row(row_name)
        if row is None or not number_text.isdecimal() or int(number_text) >= len(row.links):
            return None
        link = row.links[int(number_text)]
        return ProvRecord(
            id=f"product/{name}",
            kind=ENTITY,
            label=link["description"] or link["semantics"],
            ivoa_type="DatasetEntity",
            attributes={
                "location": link["access_url"],
                "media_type": link["content_type"],
                "bytes": link["content_length"],
            },
            url=link["access_url"],
        )

    def _list_product_origins(self, name: str) -> StepList:
        number_text, _, row_name = name.partition("/")
        row = self.find_row(row_name)
        if row is None or row.links[int(number_text)]["semantics"] == PROGENITOR_SEMANTICS:
            return StepList()
        return StepList([step_to_target("wasDerivedFrom", f"product/{name}", f"row/{row_name}")])

    def _find_change(self, name: str) -> ProvRecord | None:
        change_id, _, row_name = name.partition("/")
        row = self.find_row(row_name)
        change = next((change for change in (() if row is None else row.changes) if change.id == change_id), None)
        if row is None or change is None:
            return None
        is_known_account = self.reader_site.can_see_account(change.account, row.table.schema)
        return ProvRecord(
            id=f"change/{name}",
            kind=ACTIVITY,
            label=f"Change of row {' '.join(map(str, json.loads(row.key)))} of {row.table.qualified_name}",
            ivoa_type="Activity",
            attributes={"comment": f"{change.title}: {', '.join(change.columns) or 'new row'}"},
            ended=change.at,
            url=f"{self.reader_site.base_url}{change.path}" if is_known_account else "",
        )

    def _list_change_origins(self, name: str) -> StepList:
        """List who proposed a change, and the change before it: PROV allows one generation of the row."""
        change_id, _, row_name = name.partition("/")
        row = self.find_row(row_name)
        changes = () if row is None else row.changes
        number = next((number for number, change in enumerate(changes) if change.id == change_id), None)
        if row is None or number is None:
            return StepList()
        record_id = f"change/{name}"
        steps = [
            _build_step_to_change("wasInformedBy", record_id, change, row_name) for change in changes[number + 1 :][:1]
        ]
        if changes[number].account:
            target = f"account/{changes[number].account}/{row.table.schema}"
            steps.append(step_to_target("wasAssociatedWith", record_id, target, role="author"))
        return StepList(steps)

    def find_row_name(self, dataset_id: str) -> str | None:
        """Find the row with a publisher's dataset identifier: ``ivo://authority/collection?id``.

        Parameters
        ----------
        dataset_id
            The identifier.

        Returns
        -------
        name
            The name in the id of the row; None: there is none that the reader may see.
        """
        match = DATASET_ID_PATTERN.fullmatch(dataset_id)
        if match is None or len(dataset_id) > MAX_ID_CHARACTERS:
            return None
        for table_name in self.reader_site.tables_by_collection.get(match[1], ()):
            table = self.reader_site.tables[table_name].table
            column = table.identifier_column
            if column is None or not table.primary:
                continue
            if column.type.is_string:
                texts = [dataset_id, match[2]]
            else:
                texts = [match[2]]
            for text in texts:
                key = self._find_row_key(table, column.name, text, is_number=column.type.is_numeric)
                if key is not None:
                    return f"{table_name}/{write_key_text(table, key)}"
        return None

    def _find_row_key(self, table: Table, column_name: str, text: str, *, is_number: bool) -> str | None:
        """Return the key of the row with an identifier."""
        value: str | int = text
        if is_number:
            if not text.removeprefix("-").isdecimal() or len(text) > 18:
                return None
            value = int(text)
        condition = syntax_tree.Comparison("=", build_column_ref(column_name), syntax_tree.Literal(value))
        items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in table.primary)
        select = syntax_tree.Select(
            items, TableSearch(table=table).build_from_item(), where=condition, top=syntax_tree.Literal(1)
        )
        rows = self.runner.fetch_table(syntax_tree.Query(select))
        if rows.num_rows:
            return format_keys(rows, table.primary)[0]
        return None


def _build_step_to_change(kind: str, record_id: str, change: RowChange, row_name: str) -> ProvStep:
    time = change.at if kind == "wasGeneratedBy" else None
    return step_to_target(kind, record_id, f"change/{change.id}/{row_name}", time=time)


def _key_text_to_json(table: Table, key_text: str) -> str:
    """Write the key of a row as addresses of pages have it: a list in JSON."""
    if len(table.primary) > 1:
        return key_text
    column_type = table.find_column(table.primary[0]).type
    if column_type.is_numeric:
        return f"[{key_text}]"
    return json.dumps([key_text], ensure_ascii=False, separators=(",", ":"))


def write_key_text(table: Table, key: str) -> str:
    """Write the key of a row as ids of records have it.

    Parameters
    ----------
    table
        The table.
    key
        The key as addresses of pages have it.
    """
    values = json.loads(key)
    if len(table.primary) == 1:
        return str(values[0])
    return key
