"""What a collection computes of its public columns - observations, views, flags, examples - as it is told to mirrors, and as it is taken from elsewhere.

Both sides ask the same: can it be computed from the public columns alone? So nothing hidden is told, and nothing that
is taken reads what is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hven.adql import bind_expression, bind_query, parse_expression, parse_query
from hven.adql.functions import QUERY_FUNCTIONS
from hven.adql.scope import StaticCatalogue
from hven.adql.syntax_tree import CommonTable, TableRef, walk_tree
from hven.descriptor._merging import list_standard_columns
from hven.descriptor._quality_flags import MAX_FLAG_BIT
from hven.descriptor.observations import OBSCORE_RADIO_VIEW, OBSCORE_VIEW, STANDARDS_BY_VIEW
from hven.model.errors import HvenError
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from hven.descriptor.observations import ObservationViewMember
    from hven.model.resource import ExampleQuery, TableSpec
    from hven.model.table import Column

SITE_SCHEMAS = ("ivoa", "tap_schema")  # schemas that every site has
MAX_EXAMPLES = 50  # examples
MAX_TEXT_CHARACTERS = 100_000  # characters of one text
REQUIRED_OBSCORE_COLUMNS = (
    "calib_level",
    "obs_collection",
    "obs_id",
    "obs_publisher_did",
)  # rows without one are in no view


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicMetadata:
    """What is told beside the tables.

    Attributes
    ----------
    view_members
        ``obscore``, ``obscore_radio`` -> qualified name of a table -> what it gives to that view.
    table_specs
        Name of a table -> what the descriptor says of it.
    examples
        Those that everybody can run.
    """

    view_members: Mapping[str, Mapping[str, ObservationViewMember]] = field(default_factory=dict)
    table_specs: Mapping[str, TableSpec] = field(default_factory=dict)
    examples: Collection[ExampleQuery] = ()


def find_expression_fault(text: str, columns: Iterable[Column]) -> str:
    """Check whether an expression can be computed from some columns alone.

    Parameters
    ----------
    text
        ADQL.
    columns
        That it may read.

    Returns
    -------
    fault
        Why not; empty if it can.
    """
    try:
        bind_expression(parse_expression(text), tuple(columns), functions=QUERY_FUNCTIONS, text=text)
    except HvenError as error:
        return error.message
    return ""


def find_query_fault(text: str, tables: Iterable[Table], schemas: Collection[str]) -> str:
    """Check whether a query can be answered from some tables alone.

    Parameters
    ----------
    text
        ADQL.
    tables
        That it may read.
    schemas
        Names in lower case, which it must write.

    Returns
    -------
    fault
        Why not; empty if it can.
    """
    try:
        tree = parse_query(text)
        common_table_names = {node.name.name.lower() for node in walk_tree(tree) if isinstance(node, CommonTable)}
        for node in walk_tree(tree):
            is_common_table = (
                isinstance(node, TableRef) and len(node.parts) == 1 and node.parts[0].name.lower() in common_table_names
            )
            if (
                isinstance(node, TableRef)
                and not is_common_table
                and (len(node.parts) != 2 or node.parts[0].name.lower() not in schemas)
            ):
                return f"it reads {'.'.join(part.name for part in node.parts)}"
        bind_query(tree, StaticCatalogue(tables))
    except HvenError as error:
        return error.message
    return ""


# --- told ----------------------------------------------------------------------------------------------------------


def describe_table(
    table: Table, metadata: PublicMetadata, describe_column: Callable[[Column], dict[str, Any]]
) -> dict[str, Any]:
    """Describe what a descriptor says of a table beside its columns.

    Parameters
    ----------
    table
        Its public columns only.
    metadata
        What is computed of them.
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
        description |= _describe_flags(table, spec)
    obscore_member = metadata.view_members.get(OBSCORE_VIEW, {}).get(table.qualified_name)
    if obscore_member is None:
        observations = None
    else:
        observations = _describe_view_member(table, obscore_member, OBSCORE_VIEW, describe_column)
    if observations is not None:
        radio = metadata.view_members.get(OBSCORE_RADIO_VIEW, {}).get(table.qualified_name)
        if radio is None:
            radio_description = None
        else:
            radio_description = _describe_view_member(table, radio, OBSCORE_RADIO_VIEW, describe_column)
        description[OBSCORE_VIEW] = {
            **observations,
            **({"radio": radio_description} if radio_description is not None else {}),
        }
    return description


def _describe_flags(table: Table, spec: TableSpec) -> dict[str, Any]:
    flags = spec.flags
    if flags is None or flags.column not in {column.name for column in table.columns}:
        return {}
    messages = {rule.name: rule.message for rule in spec.rules}
    by = {
        name: str(text)
        for name, (text, _) in flags.group_expressions.items()
        if not find_expression_fault(str(text), table.columns)
    }
    return {
        "flags": {"column": flags.column, "given": True, **({"by": by} if by else {})},
        "rules": {
            name: {"flag": bit, **({"message": rule_message} if (rule_message := messages.get(name)) else {})}
            for name, bit in flags.bits.items()
        },
    }


def _describe_view_member(
    table: Table, member: ObservationViewMember, view_name: str, describe_column: Callable[[Column], dict[str, Any]]
) -> dict[str, Any] | None:
    """Write the expressions of a view's member; None if one that every row must have reads what is not public."""
    standard = _load_standard_columns(view_name)
    items = {}
    # what gives a value where nothing is said
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
            items[column.name] = text
    own_columns = {column.name: describe_column(column) for column in member.columns if column.name not in standard}
    optional_columns = [column.name for column in member.columns if standard.get(column.name)]
    description: dict[str, Any] = {"converted": True, "map": items}
    return description | {
        key: value for key, value in (("optional", optional_columns), ("columns", own_columns)) if value
    }


@lru_cache(maxsize=2)
def _load_standard_columns(view_name: str) -> dict[str, bool]:
    """List the columns of a standard; true for those that a table asks for."""
    return list_standard_columns(STANDARDS_BY_VIEW[view_name])


def iterate_public_views(
    public_tables: Iterable[Table], stored_tables: Iterable[Table], describe_column: Callable[[Column], dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the views that read public columns of this collection alone.

    Parameters
    ----------
    public_tables
        All tables and views that everybody may know of.
    stored_tables
        The tables among them.
    describe_column
        Describes a column as plain values.

    Yields
    ------
    name, description
        In an order in which each can be made.
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
            derived_descriptions = {
                column.name: _select_attributes(describe_column(column))
                for column in bind_query(parse_query(table.view or ""), StaticCatalogue(known_tables)).columns
            }
            known_tables.append(table)
            stated_descriptions = {column.name: _select_attributes(describe_column(column)) for column in table.columns}
            changed_attributes = {
                name: changes
                for name, stated_description in stated_descriptions.items()
                if (changes := _select_changes(stated_description, derived_descriptions.get(name, {})))
            }
            yield table.name, {"view": table.view, **({"columns": changed_attributes} if changed_attributes else {})}


def _select_changes(stated: Mapping[str, Any], derived: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stated.items() if derived.get(key) != value}


def _select_attributes(description: Mapping[str, Any]) -> dict[str, Any]:
    return {key: description[key] for key in ("description", "unit", "ucd", "utype", "label") if key in description}


def select_examples(
    collection_examples: Iterable[ExampleQuery], tables: Iterable[Table], schema: str
) -> list[dict[str, str]]:
    """Select the examples that read nothing but this collection, and what every site has.

    Parameters
    ----------
    collection_examples
        Of the collection.
    tables
        That everybody may know of.
    schema
        Of the collection.

    Returns
    -------
    examples
        As a descriptor has them.
    """
    stored_tables = tuple(
        table.copy_with(view=None) for table in tables
    )  # what a view computes is not the question here
    readable_examples = [
        example
        for example in collection_examples
        if not find_query_fault(example.query, stored_tables, {schema.lower(), *SITE_SCHEMAS})
    ][:MAX_EXAMPLES]
    return [
        {
            "title": example.name,
            "query": example.query,
            **({"description": example.description} if example.description else {}),
        }
        for example in readable_examples
    ]


# --- taken ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class ForeignDescriptorReader:
    """What another site says of one collection, as far as it can be computed here; `omission_notes` tells of the rest.

    Attributes
    ----------
    schema
        What the collection is called here.
    copy_column_keys
        Copies what is said of a column: with known keys alone.
    """

    schema: str
    copy_column_keys: Callable[[Any], dict[str, Any]]
    omission_notes: list[str] = field(default_factory=list)

    def read_table_keys(self, table: Table, foreign_keys: Mapping[Any, Any]) -> dict[str, Any]:
        """Read what is said of a table beside its columns.

        Parameters
        ----------
        table
            As it will be.
        foreign_keys
            What the other site's descriptor says.

        Returns
        -------
        description
            What of it holds here.
        """
        description: dict[str, Any] = self._read_flags(table, foreign_keys)
        obscore_value = foreign_keys.get(OBSCORE_VIEW)
        if isinstance(obscore_value, dict):
            observations = self._read_view_member(table, obscore_value, OBSCORE_VIEW)
            if observations is not None:
                radio = obscore_value.get("radio")
                if isinstance(radio, dict):
                    radio_description = self._read_view_member(table, radio, OBSCORE_RADIO_VIEW)
                else:
                    radio_description = None
                description[OBSCORE_VIEW] = {
                    **observations,
                    **({"radio": radio_description} if radio_description is not None else {}),
                }
        return description

    def _read_flags(self, table: Table, foreign_keys: Mapping[Any, Any]) -> dict[str, Any]:
        flags = foreign_keys.get("flags")
        rules = foreign_keys.get("rules")
        if isinstance(flags, dict):
            column = flags.get("column")
        else:
            column = None
        if not isinstance(rules, dict) or column not in {table_column.name for table_column in table.columns}:
            return {}
        bits: dict[int, str] = {}
        words: dict[str, str] = {}
        for name, rule in rules.items():
            if isinstance(rule, dict):
                bit = rule.get("flag")
            else:
                bit = None
            if isinstance(bit, int) and not isinstance(bit, bool) and 0 <= bit <= MAX_FLAG_BIT and bit not in bits:
                bits[bit] = str(name)
                words[str(name)] = str(rule.get("message") or "")[:MAX_TEXT_CHARACTERS]
        if isinstance(flags, dict):
            by = flags.get("by")
        else:
            by = None
        groupings = {}
        for name, text in by.items() if isinstance(by, dict) else ():
            fault_text = find_expression_fault(str(text), table.columns)
            if fault_text:
                self.omission_notes.append(
                    f"{table.qualified_name}: flagged rows are not counted by {name}: {fault_text}"
                )
            else:
                groupings[str(name)] = str(text)
        if not bits:
            return {}
        return {
            "flags": {"column": column, "given": True, **({"by": groupings} if groupings else {})},
            "rules": {
                name: {"flag": bit, **({"message": words[name]} if words[name] else {})} for bit, name in bits.items()
            },
        }

    def _read_view_member(self, table: Table, foreign_keys: Mapping[Any, Any], view_name: str) -> dict[str, Any] | None:
        standard = _load_standard_columns(view_name)
        view = f"ivoa.{view_name}"
        columns = foreign_keys.get("columns")
        if isinstance(columns, dict):
            own_columns = {str(name): self.copy_column_keys(map_value) for name, map_value in columns.items()}
        else:
            own_columns = {}
        items: dict[str, str] = {}
        map_value = foreign_keys.get("map")
        for key, value in map_value.items() if isinstance(map_value, dict) else ():
            name = str(key)
            text = str(value)
            if value is None or text == "NULL":
                fault_text = ""
            else:
                fault_text = find_expression_fault(text, table.columns)
            if name not in standard and name not in own_columns:
                self.omission_notes.append(
                    f"{view} has no column {name} of {table.qualified_name}: the standard, as we know it, has none"
                )
            elif fault_text and name in REQUIRED_OBSCORE_COLUMNS:
                self.omission_notes.append(f"{table.qualified_name} is not in {view}: {name}: {fault_text}")
                return None
            else:
                if fault_text or value is None:
                    items[name] = "NULL"
                else:
                    items[name] = text
                if fault_text:
                    self.omission_notes.append(
                        f"{view} has nothing under {name} of {table.qualified_name}: {fault_text}"
                    )
        optional_value = foreign_keys.get("optional")
        if isinstance(optional_value, list):
            optional = [name for name in map(str, optional_value) if standard.get(name)]
        else:
            optional = []
        own_columns = {
            name: column_keys for name, column_keys in own_columns.items() if name in items and name not in standard
        }
        description: dict[str, Any] = {"converted": True, "map": items}
        return description | {
            key: optional_part
            for key, optional_part in (("optional", optional), ("columns", own_columns))
            if optional_part
        }

    def read_view(self, name: str, foreign_keys: Mapping[Any, Any], tables: list[Table]) -> dict[str, Any] | None:
        """Read a view of the tables of its own collection; it is one of them then.

        Parameters
        ----------
        name
            Of the view.
        foreign_keys
            What the other site's descriptor says.
        tables
            Of the collection, which grow.

        Returns
        -------
        description
            None: it reads something else.
        """
        text = str(foreign_keys.get("view"))
        fault_text = find_query_fault(text, tables, {self.schema.lower()})
        if fault_text:
            self.omission_notes.append(f"the view {self.schema}.{name} is left out: {fault_text}")
            return None
        tables.append(
            Table(schema=self.schema, name=name, columns=bind_query(parse_query(text), StaticCatalogue(tables)).columns)
        )
        columns = foreign_keys.get("columns")
        if isinstance(columns, dict):
            words = {
                str(key): _select_attributes(self.copy_column_keys(column_description))
                for key, column_description in columns.items()
            }
        else:
            words = {}
        return {"view": text, **({"columns": words} if words else {})}

    def read_examples(self, foreign_examples: object) -> list[dict[str, str]]:
        """Read examples: they are shown, and run when a reader asks.

        Parameters
        ----------
        foreign_examples
            What the other site's descriptor says.

        Returns
        -------
        examples
            As a descriptor has them.
        """
        if isinstance(foreign_examples, list):
            complete_examples = [
                example
                for example in foreign_examples
                if isinstance(example, dict) and example.get("title") and example.get("query")
            ]
        else:
            complete_examples = []
        keys = ("title", "query", "description")
        return [
            {key: str(example[key])[:MAX_TEXT_CHARACTERS] for key in keys if example.get(key) is not None}
            for example in complete_examples[:MAX_EXAMPLES]
        ]


__all__ = [
    "ForeignDescriptorReader",
    "PublicMetadata",
    "describe_table",
    "find_expression_fault",
    "find_query_fault",
    "iterate_public_views",
    "select_examples",
]
