"""Describe a collection for mirrors, and write the descriptor of a mirror of another site's collection.

A public descriptor of kind ``hven`` does not say how a site makes its rows: it has no sources, paths, secrets, mappings
or private tables, and only what everybody can compute from the public columns (`public_metadata`). A descriptor from
elsewhere is copied key by key, and of its expressions only those: another site's text must not choose what is read
here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from hven.descriptor.api.descriptor_sections import (
    ATTRIBUTE_NAMES_BY_KEY,
    CollectionSection,
    ColumnGroupSection,
    ColumnSection,
    CoordinateFrameSection,
    ForeignKeySection,
    TableParamSection,
    TableSection,
)
from hven.descriptor.value_schema import MIRRORED_MARK, DescriptorSection, find_section_class
from hven.model.errors import SourceError
from hven.model.table import FILES_UTYPE, Column, LocalizedText, Table
from hven.model.types import parse_type
from hven.plugins.mirroring import public_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.resource import CollectionSpec

HVEN_SOURCE_KIND = "hven"
MIRROR_FILE_MARK = "# A mirror of "  # begin of the first line of a descriptor that hven wrote, and may write again


def _list_mirrored_keys(section: type[DescriptorSection]) -> tuple[str, ...]:
    return tuple(section.record.list_marked_keys(MIRRORED_MARK))


def _map_record_keys(section: type[DescriptorSection]) -> dict[str, tuple[str, ...]]:
    """Map the mirrored keys that hold lists of records to the mirrored keys of such a record."""
    record_keys = {}
    for key in _list_mirrored_keys(section):
        record_section = find_section_class(section.record.key_types[key])
        if record_section is not None:
            record_keys[key] = _list_mirrored_keys(record_section)
    return record_keys


RECORD_KEYS = _map_record_keys(CollectionSection)
COLLECTION_KEYS = tuple(key for key in _list_mirrored_keys(CollectionSection) if key not in RECORD_KEYS)
TABLE_KEYS = _list_mirrored_keys(TableSection)
COLUMN_KEYS = _list_mirrored_keys(ColumnSection)
FRAME_KEYS = _list_mirrored_keys(CoordinateFrameSection)
GROUP_KEYS = _list_mirrored_keys(ColumnGroupSection)
FOREIGN_KEY_KEYS = _list_mirrored_keys(ForeignKeySection)
PARAM_KEYS = _list_mirrored_keys(TableParamSection)
DEFAULT_VALUES = {"rank": 10}
MAX_TEXT_CHARACTERS = 100_000  # characters of one text
_COLLECTION_NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LANGUAGE_PATTERN = re.compile(r"[a-z]{2}")


class NothingToMirrorError(SourceError):
    """A collection has nothing that can be copied: only views of other collections' tables, for example."""


def write_public_descriptor(
    resource: CollectionSpec,
    tables: Iterable[Table],
    *,
    url: str,
    metadata: public_metadata.PublicMetadata | None = None,
) -> str:
    """Write the descriptor with which another Hven reproduces a collection.

    Parameters
    ----------
    resource
        The collection.
    tables
        Public tables of the collection, and those of other schemas that examples may read.
    url
        Address of this site.
    metadata
        Observations, flags and examples that everybody can compute from the columns.

    Returns
    -------
    text
        YAML.
    """
    metadata = metadata or public_metadata.PublicMetadata()
    visible_tables = [_remove_hidden_columns(table) for table in tables]
    own_tables = [table for table in visible_tables if table.schema == resource.name]
    collection_values = {key: find_descriptor_key_value(resource, key) for key in COLLECTION_KEYS}
    collection_values = {key: value for key, value in collection_values.items() if value not in (None, ())}
    collection_values.setdefault("reference_url", f"{url}/collections/{resource.name}")
    body: dict[str, Any] = {"collection": resource.name}
    body |= {name: _to_yaml_value(value) for name, value in collection_values.items()}
    for key, record_keys in RECORD_KEYS.items():
        records = find_descriptor_key_value(resource, key)
        if records:
            body[key] = [_select_nondefault_attributes(record, record_keys) for record in records]
    table_descriptions = _describe_tables(own_tables, url, metadata)
    if table_descriptions:
        body["tables"] = table_descriptions
    examples = public_metadata.select_self_contained_examples(metadata.examples, visible_tables, resource.name)
    if examples and table_descriptions:
        body["examples"] = examples
    return f"{MIRROR_FILE_MARK}{url}/collections/{resource.name}\n{_write_yaml(body)}"


def find_descriptor_key_value(resource: CollectionSpec, key: str) -> Any:
    """Return the value that a collection has for a key of its descriptor.

    Parameters
    ----------
    resource
        The collection.
    key
        Key at the top of a descriptor.

    Returns
    -------
    value
        None: the descriptor does not have the key.
    """
    attribute = ATTRIBUTE_NAMES_BY_KEY.get(key, key)
    return getattr(resource, attribute, resource.extensions.get(key))


def _describe_tables(
    own_tables: Sequence[Table], url: str, metadata: public_metadata.PublicMetadata
) -> dict[str, dict[str, Any]]:
    """Describe tables and views; the table of the collection's files is none of them."""
    stored_tables = {}
    for table in own_tables:
        if table.view is None and table.utype != FILES_UTYPE:
            stored_tables[table.qualified_name] = table
    descriptions = {}
    for table in stored_tables.values():
        description = _describe_table(table, url, stored_tables)
        description |= public_metadata.describe_flags_and_observations(table, metadata, _describe_column)
        descriptions[table.name] = description
    tables_by_name = {table.name: table for table in own_tables}
    public_views = public_metadata.iterate_public_view_descriptions(
        own_tables, stored_tables.values(), _describe_column
    )
    for name, view in public_views:
        title_and_description = _select_nondefault_attributes(tables_by_name[name], ("title", "description"))
        descriptions[name] = {**title_and_description, **view}
    return descriptions


def write_mirror_descriptor(
    text: str,
    url: str,
    name: str,
    *,
    sync_interval: str | None,
    files: Sequence[Mapping[str, str]] = (),
    omission_notes: list[str] | None = None,
) -> str:
    """Write the descriptor of a mirror of another site's collection.

    Parameters
    ----------
    text
        Descriptor that the other site gave.
    url
        Address of the other site.
    name
        Name of the collection, there and here.
    sync_interval
        Interval in which the mirror is updated; None: only on demand.
    files
        ``files`` and ``title`` of the files that belong to the collection.
    omission_notes
        Takes a note of everything that is left out, with the reason.

    Returns
    -------
    text
        YAML.

    Raises
    ------
    SourceError
        The text is no descriptor, or of another collection.
    NothingToMirrorError
        The collection has neither tables nor files that can be copied.
    """
    foreign_document = _parse_remote_descriptor(text, url, name)
    body: dict[str, Any] = {"collection": name}
    body |= _copy_keys(foreign_document, COLLECTION_KEYS)
    for key, record_keys in RECORD_KEYS.items():
        records = foreign_document.get(key)
        if isinstance(records, list):
            body[key] = [_copy_keys(record, record_keys) for record in records if isinstance(record, dict)]
    if omission_notes is None:
        omission_notes = []
    foreign_reader = public_metadata.RemoteDescriptorReader(name, _copy_column_keys, omission_notes)
    table_descriptions = _copy_remote_tables(foreign_document.get("tables"), url, name, foreign_reader)
    if table_descriptions:
        body["tables"] = table_descriptions
        examples = foreign_reader.read_examples(foreign_document.get("examples"))
        if examples:
            body["examples"] = examples
    if files:
        body["files"] = [dict(file_entry) for file_entry in files]
    if not table_descriptions and not files:
        raise NothingToMirrorError(
            f"{name} at {url} contains neither tables nor files that can be copied",
            remedy=(
                "copy the tables that the collection's views read, and define the same views in a collection of this "
                "site"
            ),
        )
    if sync_interval is not None:
        body["sync"] = {"every": sync_interval}
    head = (
        f"{MIRROR_FILE_MARK}{url}/collections/{name}\n# `hven mirror` writes this file; to keep your own version, "
        "edit it and remove this first line.\n"
    )
    return head + _write_yaml(body)


def _parse_remote_descriptor(text: str, url: str, name: str) -> dict[Any, Any]:
    foreign_document: Any = None
    try:
        # aliases of YAML can make much data of little text; descriptors that hven writes have none
        if not any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            foreign_document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SourceError(
            f"the descriptor of {name} from {url} is not YAML",
            remedy="check that the address belongs to a Hven site",
        ) from error
    is_of_collection = isinstance(foreign_document, dict) and foreign_document.get("collection") == name
    if not is_of_collection or not _COLLECTION_NAME_PATTERN.fullmatch(name):
        raise SourceError(
            f"{url} returned no descriptor of {name!r}", remedy="check that the address belongs to a Hven site"
        )
    return dict(foreign_document)


def _copy_remote_tables(
    remote_tables: Any, url: str, name: str, remote_reader: public_metadata.RemoteDescriptorReader
) -> dict[str, dict[str, Any]]:
    """Copy the tables of another site, and the views that read only these tables."""
    tables = _copy_text_keyed_map(remote_tables)
    descriptions = {}
    views = {}
    known_tables = []
    for key, foreign_table in tables.items():
        if isinstance(foreign_table, dict) and "view" in foreign_table and "source" not in foreign_table:
            views[key] = foreign_table
        else:
            descriptions[key] = _copy_table_description(foreign_table, url, f"{name}.{key}")
    for key, description in descriptions.items():
        known_table = _build_table_from_description(name, key, description)
        description.update(remote_reader.read_flags_and_observations(known_table, tables[key]))
        known_tables.append(known_table)
    if not known_tables:
        return descriptions
    for key, foreign_view in views.items():
        view = remote_reader.register_readable_view(key, foreign_view, known_tables)
        if view is not None:
            descriptions[key] = {**_copy_keys(foreign_view, ("title", "description")), **view}
    return descriptions


def _describe_table(table: Table, url: str, tables: Mapping[str, Table]) -> dict[str, Any]:
    visible_columns = {column.name for column in table.columns if not column.hidden}
    description: dict[str, Any] = {}
    for key in TABLE_KEYS:
        value = getattr(table, key)
        if value is None or (value == () and key != "observation"):  # [] means that each row is a line
            continue
        if key in {"primary", "observation"} and not visible_columns.issuperset(value):
            continue
        description[key] = _to_yaml_value(value)
    if "form" in description:  # `time` stands for time_min and time_max
        description["form"] = [
            name for name in description["form"] if visible_columns & {name, f"{name}min", f"{name}_min"}
        ]
    description["source"] = {"kind": HVEN_SOURCE_KIND, "url": url, "table": table.qualified_name}
    used_enums = {column.enum for column in (*table.columns, *table.params) if column.enum and not column.hidden}
    params = {}
    for param in table.params:
        params[param.name] = {"type": str(param.type), **_select_nondefault_attributes(param, PARAM_KEYS)}
    optional_sections = {
        "frames": {frame.id: _select_nondefault_attributes(frame, FRAME_KEYS) for frame in table.frames},
        "params": params,
        "enums": {name: dict(labels) for name, labels in table.enums.items() if name in used_enums},
        "groups": _describe_groups(table, visible_columns | params.keys()),
        "keys": _describe_foreign_keys(table, visible_columns, tables),
        "indexes": [list(names) for names in table.indexes if visible_columns.issuperset(names)],
    }
    description |= {key: section for key, section in optional_sections.items() if section}
    description["columns"] = {column.name: _describe_column(column) for column in table.columns if not column.hidden}
    return description


def _describe_groups(table: Table, visible_names: set[str]) -> dict[str, Any]:
    """Describe the groups whose members everybody may see."""
    groups = {}
    for group in table.groups:
        if visible_names.issuperset(group.roles.values()):
            groups[group.name] = {"roles": dict(group.roles), **_select_nondefault_attributes(group, GROUP_KEYS)}
    return groups


def _describe_foreign_keys(table: Table, visible_columns: set[str], tables: Mapping[str, Table]) -> dict[str, Any]:
    """Describe the foreign keys whose columns, here and in the target, everybody may see."""
    keys = {}
    for key in table.keys:
        target = tables.get(key.target)
        if target is None or not visible_columns.issuperset(key.columns):
            continue
        if _has_hidden_column(target, key.target_columns):
            continue
        keys[key.id] = {
            "columns": list(key.columns),
            "target": key.target,
            "target_columns": list(key.target_columns),
            **_select_nondefault_attributes(key, FOREIGN_KEY_KEYS),
        }
    return keys


def _remove_hidden_columns(table: Table) -> Table:
    columns = tuple(column for column in table.columns if not column.hidden)
    return table.copy_with(columns=columns)


def _build_table_from_description(schema: str, name: str, description: Mapping[str, Any]) -> Table:
    """Build a table with as much as expressions over it must know."""
    columns = []
    for key, column_keys in description["columns"].items():
        try:
            column_type = parse_type(str(column_keys.get("type")))
        except ValueError:  # the check of the descriptor reports it, with its place
            continue
        unit = column_keys.get("unit")
        ucd = column_keys.get("ucd")
        columns.append(Column(name=key, type=column_type, unit=unit, ucd=ucd))
    return Table(schema=schema, name=name, columns=tuple(columns))


def _has_hidden_column(table: Table, names: Iterable[str]) -> bool:
    columns = [table.find_column(name) for name in names]
    return any(column is None or column.hidden for column in columns)


def _describe_column(column: Column) -> dict[str, Any]:
    return {"type": str(column.type), **_select_nondefault_attributes(column, COLUMN_KEYS)}


def _select_nondefault_attributes(source_object: object, keys: Iterable[str]) -> dict[str, Any]:
    """Return the attributes that differ from their defaults, as values of YAML."""
    attributes = {}
    for key in keys:
        value = getattr(source_object, key)
        if value is None or value == () or value == DEFAULT_VALUES.get(key):
            continue
        if value is not False or key == "value":  # 0 is a value, and so is the `false` of a parameter
            attributes[key] = _to_yaml_value(value)
    return attributes


def _copy_table_description(remote_table: Any, url: str, table: str) -> dict[str, Any]:
    """Copy the description of another site's table; its source is that site, whatever the text says."""
    if not isinstance(remote_table, dict) or not isinstance(remote_table.get("columns"), dict):
        raise SourceError(
            f"{url} does not list the columns of {table}",
            remedy="check which version of Hven the other site runs; your site may run a different version",
        )
    description = _copy_keys(remote_table, TABLE_KEYS)
    description["source"] = {"kind": HVEN_SOURCE_KIND, "url": url, "table": table}
    for key, allowed_keys in (("frames", FRAME_KEYS), ("params", ("type", *PARAM_KEYS)), ("enums", None)):
        if isinstance(remote_table.get(key), dict):
            description[key] = _copy_entries(remote_table[key], allowed_keys)
    schema = table.partition(".")[0]
    optional_sections = {
        "groups": _copy_groups(remote_table.get("groups")),
        "keys": _copy_foreign_keys(remote_table.get("keys"), schema),
        "indexes": _copy_indexes(remote_table.get("indexes")),
    }
    description |= {key: section for key, section in optional_sections.items() if section}
    columns = {}
    for name, foreign_column in remote_table["columns"].items():
        if isinstance(foreign_column, dict):
            columns[str(name)] = _copy_column_keys(foreign_column)
    description["columns"] = columns
    return description


def _copy_entries(entries: Mapping[Any, Any], allowed_keys: Sequence[str] | None) -> dict[str, Any]:
    """Copy named maps with their allowed keys; None: with all of them."""
    copied_entries = {}
    for name, entry in entries.items():
        if isinstance(entry, dict):
            copied_entries[str(name)] = {
                str(key): _to_yaml_value(value)
                for key, value in entry.items()
                if allowed_keys is None or key in allowed_keys
            }
    return copied_entries


def _copy_text_keyed_map(value: Any) -> dict[str, Any]:
    """Return a map with texts as keys; the empty map for any other value."""
    if isinstance(value, dict):
        return {str(key): inner_value for key, inner_value in value.items()}
    return {}


def _copy_groups(remote_groups: Any) -> dict[str, Any]:
    groups = {}
    for name, foreign_group in _copy_text_keyed_map(remote_groups).items():
        if isinstance(foreign_group, dict) and isinstance(foreign_group.get("roles"), dict):
            roles = {str(role): _to_yaml_value(column) for role, column in foreign_group["roles"].items()}
            groups[name] = {"roles": roles, **_copy_keys(foreign_group, GROUP_KEYS)}
    return groups


def _copy_foreign_keys(foreign_keys: Any, schema: str) -> dict[str, Any]:
    """Copy the foreign keys that lead to tables of the same collection."""
    keys = {}
    copied_keys = ("columns", "target", "target_columns", *FOREIGN_KEY_KEYS)
    for name, foreign_key in _copy_text_keyed_map(foreign_keys).items():
        if isinstance(foreign_key, dict) and str(foreign_key.get("target", "")).startswith(f"{schema}."):
            keys[name] = _copy_keys(foreign_key, copied_keys)
    return keys


def _copy_indexes(remote_indexes: Any) -> list[Any]:
    if not isinstance(remote_indexes, list):
        return []
    return [_to_yaml_value(columns) for columns in remote_indexes if isinstance(columns, list)]


def _copy_column_keys(remote_column: Any) -> dict[str, Any]:
    if isinstance(remote_column, dict):
        return _copy_keys(remote_column, ("type", *COLUMN_KEYS))
    return {}


def _copy_keys(remote_entries: Mapping[Any, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: _to_yaml_value(remote_entries[key]) for key in keys if key in remote_entries}


def _to_yaml_value(value: Any) -> Any:
    """Convert a value to what YAML has: texts, numbers, lists of them, a text in several languages."""
    if isinstance(value, tuple | list):
        return [_to_yaml_value(item) for item in value]
    if isinstance(value, LocalizedText):
        value = value.texts
    if isinstance(value, Mapping) and value and all(_LANGUAGE_PATTERN.fullmatch(str(key)) for key in value):
        texts = {str(language): str(text) for language, text in value.items()}
        return {language: text[:MAX_TEXT_CHARACTERS] for language, text in texts.items()}
    if isinstance(value, bool | int | float) or value is None:
        return value
    return str(value)[:MAX_TEXT_CHARACTERS]


def _write_yaml(body: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(dict(body), sort_keys=False, allow_unicode=True, width=120)
    return str(text)
