"""Describe what a collection computes from its public columns: observations, views, flags and examples.

One half of this module describes it for mirrors, the other half reads such a description of another site. Both ask
whether a thing can be computed from the public columns alone. So nothing hidden is published, and nothing from
elsewhere reads other data of this site.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hven.adql import bind_expression, bind_query, parse_expression, parse_query
from hven.adql.functions import QUERY_FUNCTIONS
from hven.adql.scope import StaticTableCatalogue
from hven.adql.syntax_tree import CommonTableExpression, TableRef, walk_tree
from hven.descriptor.api.descriptor_sections import MAX_FLAG_BIT, map_standard_column_optionality
from hven.descriptor.observations import OBSCORE_RADIO_VIEW, OBSCORE_VIEW, STANDARDS_BY_VIEW
from hven.model.errors import HvenError
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from hven.descriptor.observations import ObscoreViewMember
    from hven.model.resource import ExampleQuery, TableSpec
    from hven.model.table import Column

SITE_SCHEMAS = ("ivoa", "tap_schema")  # schemas that every site has
MAX_EXAMPLES = 50
MAX_TEXT_CHARACTERS = 100_000  # characters of one text
DESCRIPTIVE_KEYS = ("description", "unit", "ucd", "utype", "label")
# rows without one of these are in no view
REQUIRED_OBSCORE_COLUMNS = ("calib_level", "obs_collection", "obs_id", "obs_publisher_did")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicMetadata:
    """Metadata that are published beside the tables.

    Attributes
    ----------
    view_members
        Contribution of a table to a view, by name of the view (``obscore``, ``obscore_radio``) and qualified name of
        the table.
    table_specs
        Parts of the descriptor, by name of the table.
    examples
        Examples that everybody can run.
    """

    view_members: Mapping[str, Mapping[str, ObscoreViewMember]] = field(default_factory=dict)
    table_specs: Mapping[str, TableSpec] = field(default_factory=dict)
    examples: Collection[ExampleQuery] = ()


def find_expression_fault(text: str, columns: Iterable[Column]) -> str:
    """Return why an expression cannot be computed from some columns alone.

    Parameters
    ----------
    text
        ADQL.
    columns
        Columns that it may read.

    Returns
    -------
    fault
        Reason; empty if it can be computed.
    """
    try:
        bind_expression(parse_expression(text), tuple(columns), functions=QUERY_FUNCTIONS, text=text)
    except HvenError as error:
        return error.message
    return ""


def find_query_fault(text: str, tables: Iterable[Table], schemas: Collection[str]) -> str:
    """Return why a query cannot be answered from some tables alone.

    Parameters
    ----------
    text
        ADQL.
    tables
        Tables that it may read.
    schemas
        Schemas, in lower case; the query must write the schema of each table.

    Returns
    -------
    fault
        Reason; empty if it can be answered.
    """
    try:
        tree = parse_query(text)
        nodes = list(walk_tree(tree))
        common_table_names = {node.name.name.lower() for node in nodes if isinstance(node, CommonTableExpression)}
        for node in nodes:
            if not isinstance(node, TableRef):
                continue
            names = [part.name for part in node.parts]
            first_name = names[0].lower()
            is_common_table = len(names) == 1 and first_name in common_table_names
            has_known_schema = len(names) == 2 and first_name in schemas
            if not is_common_table and not has_known_schema:
                return f"it reads {'.'.join(names)}"
        bind_query(tree, StaticTableCatalogue(tables))
    except HvenError as error:
        return error.message
    return ""


# --- descriptions for mirrors ----------------------------------------------------------------------------------


def describe_flags_and_observations(
    table: Table, metadata: PublicMetadata, describe_column: Callable[[Column], dict[str, Any]]
) -> dict[str, Any]:
    """Describe the flags and observations of a table.

    Parameters
    ----------
    table
        Table with its public columns only.
    metadata
        Metadata that are published beside the tables.
    describe_column
        Describes a column as plain values.

    Returns
    -------
    description
        Keys of a descriptor.
    """
    description: dict[str, Any] = {}
    spec = metadata.table_specs.get(table.name)
    if spec is not None:
        description |= _describe_quality_flag_column(table, spec)
    view_descriptions: dict[str, dict[str, Any] | None] = {}
    for view_name in (OBSCORE_VIEW, OBSCORE_RADIO_VIEW):
        member = metadata.view_members.get(view_name, {}).get(table.qualified_name)
        view_descriptions[view_name] = None
        if member is not None:
            view_descriptions[view_name] = _describe_view_member(table, member, view_name, describe_column)
    observations = view_descriptions[OBSCORE_VIEW]
    radio_observations = view_descriptions[OBSCORE_RADIO_VIEW]
    if observations is not None and radio_observations is not None:
        observations["radio"] = radio_observations
    if observations is not None:
        description[OBSCORE_VIEW] = observations
    return description


def _describe_quality_flag_column(table: Table, spec: TableSpec) -> dict[str, Any]:
    """Describe flags as given in their column: a mirror copies them, and runs no rules."""
    flags = spec.flags
    if flags is None or flags.column not in {column.name for column in table.columns}:
        return {}
    groupings = {}
    for name, (text, _) in flags.group_expressions.items():
        if not find_expression_fault(str(text), table.columns):
            groupings[name] = str(text)
    messages = {rule.name: rule.message for rule in spec.rules}
    return _build_flag_keys(flags.column, groupings, flags.bits, messages)


def _build_flag_keys(
    column: str, groupings: Mapping[str, str], bits: Mapping[str, int], messages: Mapping[str, str | None]
) -> dict[str, Any]:
    """Write the keys ``flags`` and ``rules`` of a table whose flags come with its rows."""
    flag_keys: dict[str, Any] = {"column": column, "given": True}
    if groupings:
        flag_keys["by"] = groupings
    rules: dict[str, dict[str, Any]] = {}
    for name, bit in bits.items():
        rules[name] = {"flag": bit}
        message = messages.get(name)
        if message:
            rules[name]["message"] = message
    return {"flags": flag_keys, "rules": rules}


def _describe_view_member(
    table: Table, member: ObscoreViewMember, view_name: str, describe_column: Callable[[Column], dict[str, Any]]
) -> dict[str, Any] | None:
    """Write the expressions of a view's member; None if one that every row must have reads hidden columns."""
    standard = _load_standard_columns(view_name)
    expressions = {}
    # columns that have a default where the descriptor has no expression
    default_names = {column.name.lower() for column in table.columns} | {"s_ra", "s_dec"}
    for column in member.columns:
        text = member.column_expressions.get(column.name, "NULL")
        if text.startswith("CAST(NULL AS "):
            text = "NULL"
        if text != "NULL" and find_expression_fault(text, table.columns):
            if column.required:
                return None
            text = "NULL"
        if text != "NULL" or column.name not in standard or column.name in default_names:
            expressions[column.name] = text
    own_columns = {column.name: describe_column(column) for column in member.columns if column.name not in standard}
    optional_columns = [column.name for column in member.columns if standard.get(column.name)]
    return _build_view_keys(expressions, optional_columns, own_columns)


def _build_view_keys(
    expressions: Mapping[str, str], optional_columns: Sequence[str], own_columns: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the keys of ``obscore``; its expressions are in the units of the standard already."""
    view_keys: dict[str, Any] = {"converted": True, "map": expressions}
    if optional_columns:
        view_keys["optional"] = optional_columns
    if own_columns:
        view_keys["columns"] = own_columns
    return view_keys


@lru_cache(maxsize=2)
def _load_standard_columns(view_name: str) -> dict[str, bool]:
    """List the columns of a standard; the value is True for a column that is there only if asked for."""
    return map_standard_column_optionality(STANDARDS_BY_VIEW[view_name])


def iterate_public_view_descriptions(
    public_tables: Iterable[Table], stored_tables: Iterable[Table], describe_column: Callable[[Column], dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the views that read public columns of this collection alone.

    Parameters
    ----------
    public_tables
    public_tables
        All public tables and views.
    stored_tables
        The tables among them.
    describe_column
        Describes a column as plain values.

    Yields
    ------
    name, description
        In an order in which each view reads only earlier ones.
    """
    known_tables = list(stored_tables)
    pending_views = [table for table in public_tables if table.view is not None]
    while pending_views:
        readable_views = [
            table
            for table in pending_views
            if not find_query_fault(table.view or "", known_tables, {table.schema.lower()})
        ]
        if not readable_views:
            return
        for table in readable_views:
            pending_views.remove(table)
            query = bind_query(parse_query(table.view or ""), StaticTableCatalogue(known_tables))
            known_tables.append(table)
            derived_attributes = {}
            for column in query.columns:
                derived_attributes[column.name] = _select_descriptive_attributes(describe_column(column))
            changed_attributes = {}
            for column in table.columns:
                attributes = _select_descriptive_attributes(describe_column(column))
                changes = _select_changed_attributes(attributes, derived_attributes.get(column.name, {}))
                if changes:
                    changed_attributes[column.name] = changes
            description: dict[str, Any] = {"view": table.view}
            if changed_attributes:
                description["columns"] = changed_attributes
            yield table.name, description


def _select_changed_attributes(attributes: Mapping[str, Any], derived_attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if derived_attributes.get(key) != value}


def _select_descriptive_attributes(description: Mapping[str, Any]) -> dict[str, Any]:
    return {key: description[key] for key in DESCRIPTIVE_KEYS if key in description}


def select_self_contained_examples(
    collection_examples: Iterable[ExampleQuery], tables: Iterable[Table], schema: str
) -> list[dict[str, str]]:
    """Select the examples that read only this collection and the schemas that every site has.

    Parameters
    ----------
    collection_examples
        Examples of the collection.
    tables
        All public tables.
    schema
        Schema of the collection.

    Returns
    -------
    examples
        Examples as a descriptor has them.
    """
    # a view counts as a table: whether it can be computed is decided elsewhere
    stored_tables = tuple(table.copy_with(view=None) for table in tables)
    schemas = {schema.lower(), *SITE_SCHEMAS}
    example_keys = []
    for example in collection_examples:
        if find_query_fault(example.query, stored_tables, schemas):
            continue
        keys = {"title": example.name, "query": example.query}
        if example.description:
            keys["description"] = example.description
        example_keys.append(keys)
    return example_keys[:MAX_EXAMPLES]


# --- descriptions of other sites -------------------------------------------------------------------------------


@dataclass(slots=True)
class RemoteDescriptorReader:
    """Reads another site's description of a collection, as far as it can be computed here.

    Attributes
    ----------
    schema
        Name of the collection here.
    copy_column_keys
        Copies the known keys of a column's description.
    omission_notes
        Takes a note of everything that is left out.
    """

    schema: str
    copy_column_keys: Callable[[Any], dict[str, Any]]
    omission_notes: list[str] = field(default_factory=list)

    def read_flags_and_observations(self, table: Table, remote_keys: Mapping[Any, Any]) -> dict[str, Any]:
        """Read the flags and observations of a table.

        Parameters
        ----------
        table
            The table as it will be.
        remote_keys
            Keys of the table in the other site's descriptor.

        Returns
        -------
        description
            The keys that hold here.
        """
        description: dict[str, Any] = self._read_flags(table, remote_keys)
        obscore_value = remote_keys.get(OBSCORE_VIEW)
        if not isinstance(obscore_value, dict):
            return description
        observations = self._read_view_member(table, obscore_value, OBSCORE_VIEW)
        if observations is None:
            return description
        radio_value = obscore_value.get("radio")
        if isinstance(radio_value, dict):
            radio_observations = self._read_view_member(table, radio_value, OBSCORE_RADIO_VIEW)
            if radio_observations is not None:
                observations["radio"] = radio_observations
        description[OBSCORE_VIEW] = observations
        return description

    def _read_flags(self, table: Table, remote_keys: Mapping[Any, Any]) -> dict[str, Any]:
        flags = remote_keys.get("flags")
        rules = remote_keys.get("rules")
        if not isinstance(flags, dict) or not isinstance(rules, dict):
            return {}
        column = flags.get("column")
        if column not in {table_column.name for table_column in table.columns}:
            return {}
        names_by_bit: dict[int, str] = {}
        messages: dict[str, str | None] = {}
        for name, rule in rules.items():
            bit = None
            if isinstance(rule, dict):
                bit = rule.get("flag")
            if not isinstance(bit, int) or isinstance(bit, bool):
                continue
            if 0 <= bit <= MAX_FLAG_BIT and bit not in names_by_bit:
                names_by_bit[bit] = str(name)
                messages[str(name)] = str(rule.get("message") or "")[:MAX_TEXT_CHARACTERS]
        groupings = self._read_flag_groupings(table, flags.get("by"))
        if not names_by_bit:
            return {}
        bits = {name: bit for bit, name in names_by_bit.items()}
        return _build_flag_keys(column, groupings, bits, messages)

    def _read_flag_groupings(self, table: Table, remote_groupings: object) -> dict[str, str]:
        """Read the expressions by which flagged rows are counted."""
        groupings = {}
        if isinstance(remote_groupings, dict):
            for name, text in remote_groupings.items():
                fault = find_expression_fault(str(text), table.columns)
                if fault:
                    note = f"{table.qualified_name}: flagged rows are not counted by {name}: {fault}"
                    self.omission_notes.append(note)
                else:
                    groupings[str(name)] = str(text)
        return groupings

    def _read_view_member(self, table: Table, remote_keys: Mapping[Any, Any], view_name: str) -> dict[str, Any] | None:
        """Read the expressions of a view's member; None if one that every row must have cannot be computed here."""
        standard = _load_standard_columns(view_name)
        view = f"ivoa.{view_name}"
        foreign_columns = remote_keys.get("columns")
        own_columns = {}
        if isinstance(foreign_columns, dict):
            own_columns = {str(name): self.copy_column_keys(column) for name, column in foreign_columns.items()}
        expressions: dict[str, str] = {}
        foreign_expressions = remote_keys.get("map")
        if not isinstance(foreign_expressions, dict):
            foreign_expressions = {}
        for key, value in foreign_expressions.items():
            name = str(key)
            text = "NULL"
            if value is not None:
                text = str(value)
            if name not in standard and name not in own_columns:
                self.omission_notes.append(
                    f"{view} does not get the column {name} of {table.qualified_name}, which this version of the "
                    "standard does not have"
                )
                continue
            expressions[name] = text
            fault = ""
            if text != "NULL":
                fault = find_expression_fault(text, table.columns)
            if fault and name in REQUIRED_OBSCORE_COLUMNS:
                self.omission_notes.append(f"{table.qualified_name} is not in {view}: {name}: {fault}")
                return None
            if fault:
                expressions[name] = "NULL"
                self.omission_notes.append(f"{view} has no {name} for {table.qualified_name}: {fault}")
        optional_columns = []
        foreign_optional = remote_keys.get("optional")
        if isinstance(foreign_optional, list):
            optional_columns = [name for name in map(str, foreign_optional) if standard.get(name)]
        own_columns = {
            name: column_keys
            for name, column_keys in own_columns.items()
            if name in expressions and name not in standard
        }
        return _build_view_keys(expressions, optional_columns, own_columns)

    def register_readable_view(
        self, name: str, remote_keys: Mapping[Any, Any], tables: list[Table]
    ) -> dict[str, Any] | None:
        """Read a view over tables of its own collection, and add it to them.

        Parameters
        ----------
        name
            Name of the view.
        remote_keys
            Keys of the view in the other site's descriptor.
        tables
            Tables of the collection; the view is appended.

        Returns
        -------
        description
            Keys of the view; None: it reads other tables.
        """
        text = str(remote_keys.get("view"))
        fault = find_query_fault(text, tables, {self.schema.lower()})
        if fault:
            self.omission_notes.append(f"the view {self.schema}.{name} is left out: {fault}")
            return None
        query = bind_query(parse_query(text), StaticTableCatalogue(tables))
        tables.append(Table(schema=self.schema, name=name, columns=query.columns))
        description: dict[str, Any] = {"view": text}
        foreign_columns = remote_keys.get("columns")
        if isinstance(foreign_columns, dict) and foreign_columns:
            columns = {}
            for key, foreign_column in foreign_columns.items():
                columns[str(key)] = _select_descriptive_attributes(self.copy_column_keys(foreign_column))
            description["columns"] = columns
        return description

    def read_examples(self, remote_examples: object) -> list[dict[str, str]]:
        """Read examples: pages show them, and run them when a reader asks for it.

        Parameters
        ----------
        remote_examples
            Examples of the other site's descriptor.

        Returns
        -------
        examples
            Examples as a descriptor has them.
        """
        if not isinstance(remote_examples, list):
            return []
        examples = []
        for foreign_example in remote_examples:
            if not isinstance(foreign_example, dict):
                continue
            if not foreign_example.get("title") or not foreign_example.get("query"):
                continue
            example = {}
            for key in ("title", "query", "description"):
                if foreign_example.get(key) is not None:
                    example[key] = str(foreign_example[key])[:MAX_TEXT_CHARACTERS]
            examples.append(example)
        return examples[:MAX_EXAMPLES]
