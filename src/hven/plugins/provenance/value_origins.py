"""Explain where the values of a row come from: source file, column or card, rule, unit, and run.

Everything follows from the descriptor and from what is stored about the snapshot of the row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hven.engines import Snapshot
from hven.model import units
from hven.plugins.provenance.row_files import RowFile, find_row_file
from hven.site.api.row_changes import RowChange, list_row_changes
from hven.site.auth import collect_column_masks
from hven.sources.kind_traits import is_made_by_queries, list_source_queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.resource import ColumnMapping, TableSpec
    from hven.model.table import Column
    from hven.plugins.provenance.reader_site import ReaderSite, SnapshotOrigin
    from hven.portal.api.page_rows import RowPage
    from hven.portal.api.table_rows import TableView

MAX_RULE_CHARACTERS = 2_000
# how a column gets its value, by the word of the descriptor
RULE_KINDS = {"set": "constant", "text": "template", "map": "expression", "lookup": "lookup"}
COPY_RULE, VIEW_RULE, QUERY_RULE, UNKNOWN_RULE, MASK_RULE = "copy", "view", "query", "standard", "hidden"
NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueOrigin:
    """Where the value of a column comes from.

    Attributes
    ----------
    column
        Name of the column.
    rule_kind
        ``copy``, ``constant``, ``template``, ``expression``, ``lookup``, ``default``, ``flags``, ``embargo``, ``view``,
        ``query``, ``standard`` or ``hidden``.
    rules
        The rules as the descriptor has them, one for each kind of row that a source row gives.
    helpers
        Names and expressions of the descriptor (``let``) that the rules use.
    source_columns
        Columns of the source, or cards of headers, from which it is computed.
    source_unit, unit
        Unit of the source and of the column, if the value was converted; otherwise empty.
    change
        The latest change of the value by people; None: there is none.
    """

    column: str
    rule_kind: str
    rules: Sequence[str] = ()
    helpers: Sequence[tuple[str, str]] = ()
    source_columns: Sequence[str] = ()
    source_unit: str = ""
    unit: str = ""
    change: RowChange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOrigin:
    """Where a row and its values come from.

    Attributes
    ----------
    values
        Origins of its values, in the order of the columns.
    file
        Its source file; None: it was read from no file.
    snapshot_id, run_id
        Ids of its snapshot and its run; empty: it is a row of a view, or is read where it is.
    source_kinds
        Kinds of its source: ``csv``, ``headers``.
    read_tables
        Tables from which it was made.
    queries
        The queries that made it from these tables; none if one of them is hidden from the reader.
    """

    values: Sequence[ValueOrigin]
    file: RowFile | None
    snapshot_id: str
    run_id: str
    source_kinds: Sequence[str]
    read_tables: Sequence[str]
    queries: Sequence[str]


def explain_row_origin(table_view: TableView, page: RowPage, reader_site: ReaderSite) -> RowOrigin:
    """Explain where a row comes from.

    Parameters
    ----------
    table_view
        The table, as the reader sees it.
    page
        The row.
    reader_site
        The tables that the reader may know of.
    """
    table = table_view.table
    relation = table_view.published.relation
    origin = None
    if isinstance(relation, Snapshot):
        origin = reader_site.find_origin(relation.id)
    masks = collect_column_masks([table], reader_site.principal).get(table.qualified_name, {})
    spec = reader_site.find_table_spec(table.qualified_name if origin is None else origin.table_name)
    context = _TableRules(origin, spec, frozenset(name.lower() for name in masks))
    values = {column.name: page.rows.column(number)[0].as_py() for number, column in enumerate(page.columns)}
    is_made_here = spec is not None and bool(spec.sources) and all(map(is_made_by_queries, spec.sources))
    row_file = None
    if origin is not None and not is_made_here:
        row_file = find_row_file(reader_site.site, origin, table, values)
    if origin is not None:
        inputs = origin.provenance.get("inputs") or {}
    else:
        inputs = table_view.published.read_tables
    changes = _list_known_changes(table_view, page, reader_site)
    queries: list[str] = []
    if inputs and all(name in reader_site.tables for name in inputs):
        queries = []
        if table.view:
            queries = [table.view]
        queries += [text for source in (() if spec is None else spec.sources) for text in list_source_queries(source)]
    return RowOrigin(
        values=[
            replace(context.explain_column(column, values[column.name]), change=_find_column_change(changes, column))
            for column in page.columns
        ],
        file=row_file,
        snapshot_id="" if origin is None else origin.id,
        run_id="" if origin is None else origin.run_id,
        source_kinds=[] if spec is None else list(dict.fromkeys(str(source.kind) for source in spec.sources)),
        read_tables=[name for name in inputs if name in reader_site.tables],
        queries=[text[:MAX_RULE_CHARACTERS] for text in queries],
    )


def _list_known_changes(table_view: TableView, page: RowPage, reader_site: ReaderSite) -> list[RowChange]:
    """List the changes of a row in its current state, with the accounts that the reader may know of."""
    table = table_view.table
    current = reader_site.tables.get(table.qualified_name)
    if current is None or current.relation != table_view.published.relation or not page.keys[0]:
        return []
    return [
        change if reader_site.can_see_account(change.account, table.schema) else replace(change, account="", path="")
        for change in list_row_changes(reader_site.site, table, page.keys[0])
    ]


def _find_column_change(changes: Sequence[RowChange], column: Column) -> RowChange | None:
    return next((change for change in changes if not change.columns or column.name in change.columns), None)


class _TableRules:
    """The rules of a table.

    Parameters
    ----------
    origin
        Origin of the snapshot; None for a view, or a table that is read where it is.
    spec
        Description of the table; None if its descriptor is gone.
    hidden_names
        Columns that the reader does not see, in lower case.
    """

    def __init__(self, origin: SnapshotOrigin | None, spec: TableSpec | None, hidden_names: frozenset[str]) -> None:
        self.spec = spec
        self.hidden_names = hidden_names
        provenance: Mapping[str, Any] = {} if origin is None else origin.provenance
        self.origins_by_column: Mapping[str, Sequence[str]] = provenance.get("origins") or {}
        self.is_stored = origin is not None
        self.source_units: dict[str, str] = {}
        for entry in provenance.get("source_columns") or ():
            self.source_units |= {column["name"]: column.get("unit") or "" for column in entry}
        self.mappings: dict[str, list[ColumnMapping]] = {}
        if spec is not None:
            granule_settings = [setting for granule in spec.granules for setting in granule.settings]
            for setting in (*spec.settings, *granule_settings):
                self.mappings.setdefault(setting.column.lower(), []).append(setting)

    def explain_column(self, column: Column, value: object) -> ValueOrigin:
        """Explain where the value of a column comes from."""
        name = column.name
        if name.lower() in self.hidden_names:
            return ValueOrigin(column=name, rule_kind=MASK_RULE)
        source_columns = self.origins_by_column.get(name, ())
        rule_kind, rules = self._find_column_rules(name, source_columns, value)
        source_unit = ""
        if len(source_columns) == 1 and rule_kind in {COPY_RULE, "expression"}:
            source_unit = self.source_units.get(source_columns[0], "")
            if source_unit == (column.unit or "") or not units.are_units_convertible(source_unit, column.unit):
                source_unit = ""
        return ValueOrigin(
            column=name,
            rule_kind=rule_kind,
            rules=[str(rule[:MAX_RULE_CHARACTERS]) for rule in rules],
            helpers=self._list_helper_expressions(rules),
            source_columns=source_columns,
            source_unit=source_unit,
            unit=(column.unit or "") if source_unit else "",
        )

    def _find_column_rules(self, name: str, source_columns: Sequence[str], value: object) -> tuple[str, list[str]]:
        """Find the kind of rule of a column, and the rules; of a column of flags, those that the row breaks."""
        if self.spec is None or not self.is_stored:
            return VIEW_RULE, []
        if self.spec.flags is not None and self.spec.flags.column == name:
            return "flags", self._list_broken_rules(self.spec, value)
        mappings = self.mappings.get(name.lower())
        if mappings:
            return _classify_mappings(mappings, source_columns)
        rules: list[str] = []
        rule_kind = COPY_RULE if source_columns else UNKNOWN_RULE
        if self.spec.embargo is not None and self.spec.embargo.column == name:
            rule_kind, rules = "embargo", [self.spec.embargo.describe()]
        elif not source_columns and name in self.spec.defaults:
            rule_kind, rules = "default", [str(self.spec.defaults[name].value)]
        return rule_kind, rules

    def _list_broken_rules(self, spec: TableSpec, value: object) -> list[str]:
        """List the rules whose bits are set in a value of the column of flags."""
        bits = {} if spec.flags is None else spec.flags.bits
        flag_bits = value if isinstance(value, int) else 0
        broken_names = {name for name, bit in bits.items() if flag_bits >> bit & 1}
        broken_rules = [rule for rule in spec.rules if rule.name in broken_names]
        return [f"{rule.name}: {rule.message or rule.condition}" for rule in broken_rules]

    def _list_helper_expressions(self, rules: Sequence[str]) -> list[tuple[str, str]]:
        """List the names of ``let`` that rules use, with their expressions, and those that these use."""
        if self.spec is None or not self.spec.let:
            return []
        texts_by_name = {name.lower(): (str(name), str(text)) for name, (text, _) in self.spec.let.items()}
        pending = list(rules)
        helpers: dict[str, tuple[str, str]] = {}
        while pending:
            for word in NAME_PATTERN.findall(pending.pop()):
                if word.lower() in texts_by_name and word.lower() not in helpers:
                    helpers[word.lower()] = texts_by_name[word.lower()]
                    pending.append(texts_by_name[word.lower()][1])
        return list(helpers.values())


def _classify_mappings(mappings: Sequence[ColumnMapping], source_columns: Sequence[str]) -> tuple[str, list[str]]:
    """Return the kind of a column's settings, and their texts; a name alone is a copy."""
    texts = [str(mapping.value) for mapping in mappings]
    if len(mappings) == 1 and mappings[0].how == "map" and [texts[0].strip('"')] == [*source_columns]:
        return COPY_RULE, []
    kinds = {RULE_KINDS.get(mapping.how, mapping.how) for mapping in mappings}
    return kinds.pop() if len(kinds) == 1 else "expression", texts
