"""A collection as others may reproduce it.

What is public of it as a descriptor of kind ``hven``, and such a descriptor read from elsewhere.

Nothing in it says how a site makes its rows: no sources, paths, secrets, mappings or private tables; only what
everybody could compute of the public columns (`public_metadata`). What comes from elsewhere is copied key by key, and
of expressions nothing but those: another site's text must not choose what ours reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from hven.descriptor import public_metadata
from hven.model.errors import SourceError
from hven.model.table import FILES_UTYPE, Column, LocalizedText, Table
from hven.model.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.resource import Resource

HVEN_SOURCE_KIND = "hven"
MIRROR_FILE_MARK = "# A mirror of "  # first line of a descriptor that we wrote, and may write again
# keys that a mirror copies; tests/descriptor/test_mirroring.py says of each other key why it stays at its site
COLLECTION_KEYS = (
    "title",
    "description",
    "short_name",
    "subjects",
    "publisher",
    "publisher_ror",
    "licence",
    "licence_url",
    "citation",
    "bibcode",
    "doi",
    "acknowledgement",
    "utype",
    "reference_url",
    "facility",
    "instrument",
    "waveband",
    "content_level",
    "type",
    "created",
    "index",
)
RECORD_KEYS = {  # keys of a collection that hold a list of records -> keys of such a record
    "creators": ("name", "orcid", "affiliation", "ror", "url"),
    "contributors": ("name", "role", "orcid", "affiliation", "ror"),
    "funding": ("funder", "ror", "award", "title", "url"),
    "related": ("id", "relation"),
}
ATTRIBUTE_NAMES_BY_KEY = {"related": "works"}  # keys whose value has another name in `Resource`
TABLE_KEYS = ("title", "description", "utype", "primary", "position", "form", "observation", "index")
COLUMN_KEYS = (
    "unit",
    "ucd",
    "utype",
    "description",
    "label",
    "null",
    "rank",
    "required",
    "indexed",
    "unique",
    "std",
    "section",
    "display",
    "frame",
    "link",
    "enum",
    "minimum",
    "maximum",
)
FRAME_KEYS = ("kind", "system", "epoch", "equinox", "refposition", "timescale", "timeorigin")
DESCRIPTION_KEYS = ("description", "utype", "ucd")
PARAM_KEYS = ("value", "unit", "ucd", "utype", "description", "enum")
DEFAULT_VALUES = {"rank": 10}
MAX_TEXT_CHARACTERS = 100_000  # characters of one text
_COLLECTION_NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LANGUAGE_PATTERN = re.compile(r"[a-z]{2}")


class NothingToMirrorError(SourceError):
    """A collection has nothing that can be copied: views of others' tables alone, say."""


def write_public_descriptor(
    resource: Resource, tables: Iterable[Table], *, url: str, metadata: public_metadata.PublicMetadata | None = None
) -> str:
    """Generate the descriptor with which another Hven reproduces a collection.

    Parameters
    ----------
    resource
        The collection.
    tables
        Those of it that everybody may know of; and those of other schemas, which examples may read.
    url
        Address of this site.
    metadata
        What is computed of their columns.

    Returns
    -------
    text
        YAML.
    """
    metadata = metadata or public_metadata.PublicMetadata()
    visible_tables = [_remove_hidden_columns(table) for table in tables]
    own_tables = [table for table in visible_tables if table.schema == resource.name]
    collection_values = {
        name: value for name in COLLECTION_KEYS if (value := getattr(resource, name)) not in (None, ())
    }
    collection_values.setdefault("reference_url", f"{url}/collections/{resource.name}")
    body: dict[str, Any] = {
        "collection": resource.name,
        **{name: _to_yaml_value(value) for name, value in collection_values.items()},
    }
    for key, record_keys in RECORD_KEYS.items():
        records = getattr(resource, ATTRIBUTE_NAMES_BY_KEY.get(key, key))
        if records:
            body[key] = [_select_attributes(record, record_keys) for record in records]
    stored_tables = {
        table.qualified_name: table for table in own_tables if table.view is None and table.utype != FILES_UTYPE
    }
    table_descriptions = {
        table.name: {
            **_describe_table(table, url, stored_tables),
            **public_metadata.describe_table(table, metadata, _describe_column),
        }
        for table in stored_tables.values()
    }
    table_descriptions |= {
        name: {
            **_select_attributes(next(table for table in own_tables if table.name == name), ("title", "description")),
            **view,
        }
        for name, view in public_metadata.iterate_public_views(own_tables, stored_tables.values(), _describe_column)
    }
    if table_descriptions:
        body["tables"] = table_descriptions
    examples = public_metadata.select_examples(metadata.examples, visible_tables, resource.name)
    if examples and table_descriptions:
        body["examples"] = examples
    return f"{MIRROR_FILE_MARK}{url}/collections/{resource.name}\n{_write_yaml(body)}"


def write_mirror_descriptor(
    text: str,
    url: str,
    name: str,
    *,
    sync_interval: str | None,
    files: Sequence[Mapping[str, str]] = (),
    omission_notes: list[str] | None = None,
) -> str:
    """Generate our descriptor of another site's collection.

    Parameters
    ----------
    text
        What that site gave.
    url
        Its address, as we ask it.
    name
        What it is called here.
    sync_interval
        How often it is followed; None: only when it is asked for.
    files
        ``files``, ``title`` of the files that go with it.
    omission_notes
        Takes what is said there and is not taken over, with the reason.

    Returns
    -------
    text
        YAML.

    Raises
    ------
    SourceError
        It is no descriptor, or of another collection.
    NothingToMirrorError
        It has neither tables nor files.
    """
    try:
        # references of YAML may make much of little text; ours has none
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            foreign_document = None
        else:
            foreign_document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SourceError(f"{url} gives a descriptor of {name} that is no YAML", remedy="is that a Hven?") from error
    if (
        not isinstance(foreign_document, dict)
        or foreign_document.get("collection") != name
        or not _COLLECTION_NAME_PATTERN.fullmatch(name)
    ):
        raise SourceError(f"{url} gives no descriptor of {name!r}", remedy="is that a Hven?")
    body: dict[str, Any] = {
        "collection": name,
        **{key: _to_yaml_value(foreign_document[key]) for key in COLLECTION_KEYS if key in foreign_document},
    }
    for key, record_keys in RECORD_KEYS.items():
        if isinstance(foreign_document.get(key), list):
            body[key] = [
                _copy_keys(record, record_keys) for record in foreign_document[key] if isinstance(record, dict)
            ]
    tables_value = foreign_document.get("tables")
    foreign_reader = public_metadata.ForeignDescriptorReader(
        name, _copy_column_keys, [] if omission_notes is None else omission_notes
    )
    tables = {str(key): value for key, value in (tables_value if isinstance(tables_value, dict) else {}).items()}
    views = {
        key: value
        for key, value in tables.items()
        if isinstance(value, dict) and "view" in value and "source" not in value
    }
    table_descriptions = {
        key: _copy_table_description(value, url, f"{name}.{key}") for key, value in tables.items() if key not in views
    }
    known_tables = {key: _build_known_table(name, key, value) for key, value in table_descriptions.items()}
    for key, value in table_descriptions.items():
        table_keys = foreign_reader.read_table_keys(known_tables[key], tables[key])
        value.update(table_keys)
    readable_tables = list(known_tables.values())
    for key, value in views.items() if readable_tables else ():
        view = foreign_reader.read_view(key, value, readable_tables)
        if view is not None:
            table_descriptions[key] = {**_copy_keys(value, ("title", "description")), **view}
    if table_descriptions:
        body["tables"] = table_descriptions
        body |= (
            {"examples": examples}
            if (examples := foreign_reader.read_examples(foreign_document.get("examples")))
            else {}
        )
    if files:
        body["files"] = [dict(file_entry) for file_entry in files]
    if not table_descriptions and not files:
        raise NothingToMirrorError(
            f"{name} of {url} has no tables and files that can be copied",
            remedy="views over tables of other collections are made here, over what is copied",
        )
    if sync_interval is not None:
        body["sync"] = {"every": sync_interval}
    head = (
        f"{MIRROR_FILE_MARK}{url}/collections/{name}\n# `hven mirror` writes this file; edit it, and take this "
        f"first line away, to keep it as it is.\n"
    )
    return head + _write_yaml(body)


def list_mirrored_sites(resource: Resource) -> tuple[str, ...]:
    """List the sites that a collection reproduces.

    Parameters
    ----------
    resource
        The collection.

    Returns
    -------
    urls
        Addresses of its sources of kind ``hven`` that have the same table.
    """
    urls = {
        str(source.options.get("url", "")).rstrip("/")
        for spec in resource.tables
        for source in spec.sources
        if source.kind == HVEN_SOURCE_KIND and source.options.get("table") == spec.table.qualified_name
    }
    return tuple(sorted(urls - {""}))


def _describe_table(table: Table, url: str, tables: Mapping[str, Table]) -> dict[str, Any]:
    frames = {frame.id: _select_attributes(frame, FRAME_KEYS) for frame in table.frames}
    used = {column.enum for column in (*table.columns, *table.params) if column.enum and not column.hidden}
    visible_columns = {column.name for column in table.columns if not column.hidden}
    description: dict[str, Any] = {
        key: _to_yaml_value(value)
        for key in TABLE_KEYS
        if (value := getattr(table, key)) is not None
        and (value != () or key == "observation")  # [] says there that each row is a line
        and (key not in {"primary", "observation"} or visible_columns >= {*value})
    }
    if "form" in description:  # `time` stands for time_min and time_max
        description["form"] = [
            name for name in description["form"] if visible_columns & {name, f"{name}min", f"{name}_min"}
        ]
    description["source"] = {"kind": HVEN_SOURCE_KIND, "url": url, "table": table.qualified_name}
    params = {entry.name: {"type": str(entry.type), **_select_attributes(entry, PARAM_KEYS)} for entry in table.params}
    enums = {key: dict(words) for key, words in table.enums.items() if key in used}
    groups = {
        entry.name: {"roles": dict(entry.roles), **_select_attributes(entry, DESCRIPTION_KEYS)}
        for entry in table.groups
        if visible_columns | {*params} >= {*entry.roles.values()}
    }
    keys = {
        entry.id: {
            "columns": [*entry.columns],
            "target": entry.target,
            "target_columns": [*entry.target_columns],
            **_select_attributes(entry, DESCRIPTION_KEYS[:2]),
        }
        for entry in table.keys
        if visible_columns >= {*entry.columns}
        and entry.target in tables
        and not _has_hidden_column(tables[entry.target], entry.target_columns)
    }
    indexes = [[*names] for names in table.indexes if visible_columns >= {*names}]
    optional_sections = (
        ("frames", frames),
        ("params", params),
        ("enums", enums),
        ("groups", groups),
        ("keys", keys),
        ("indexes", indexes),
    )
    description |= {key: value for key, value in optional_sections if value}
    description["columns"] = {column.name: _describe_column(column) for column in table.columns if not column.hidden}
    return description


def _remove_hidden_columns(table: Table) -> Table:
    """Drop a table's hidden columns."""
    columns = tuple(column for column in table.columns if not column.hidden)
    return table.copy_with(columns=columns)


def _build_known_table(schema: str, name: str, description: Mapping[str, Any]) -> Table:
    """Build a table as far as expressions over it must know it."""
    columns = []
    for key, column_keys in description["columns"].items():
        try:
            column_type = parse_type(str(column_keys.get("type")))
        except ValueError:  # the descriptor has this fault then, with its place
            continue
        unit = column_keys.get("unit")
        ucd = column_keys.get("ucd")
        columns.append(Column(name=key, type=column_type, unit=unit, ucd=ucd))
    return Table(schema=schema, name=name, columns=tuple(columns))


def _has_hidden_column(table: Table, names: Iterable[str]) -> bool:
    return any(column is None or column.hidden for name in names for column in (table.find_column(name),))


def _describe_column(column: Column) -> dict[str, Any]:
    return {"type": str(column.type), **_select_attributes(column, COLUMN_KEYS)}


def _select_attributes(source_object: object, keys: Iterable[str]) -> dict[str, Any]:
    attributes = {key: getattr(source_object, key) for key in keys}
    return {
        key: _to_yaml_value(value)
        for key, value in attributes.items()
        if value is not None  # 0 is a value, and so is the `false` of a parameter
        and (value is not False or key == "value")
        and value != ()
        and value != DEFAULT_VALUES.get(key)
    }


def _copy_table_description(foreign_table: Any, url: str, table: str) -> dict[str, Any]:
    """Copy what another site says of a table; from where its rows come is said by us."""
    if not isinstance(foreign_table, dict) or not isinstance(foreign_table.get("columns"), dict):
        raise SourceError(f"{url} does not say the columns of {table}", remedy="that site may have another version")
    description: dict[str, Any] = {
        key: _to_yaml_value(foreign_table[key]) for key in TABLE_KEYS if key in foreign_table
    }
    description["source"] = {"kind": HVEN_SOURCE_KIND, "url": url, "table": table}
    for key, allowed_keys in (("frames", FRAME_KEYS), ("params", ("type", *PARAM_KEYS)), ("enums", None)):
        if isinstance(foreign_table.get(key), dict):
            description[key] = {
                str(name): {
                    str(word): _to_yaml_value(text)
                    for word, text in value.items()
                    if allowed_keys is None or word in allowed_keys
                }
                for name, value in foreign_table[key].items()
                if isinstance(value, dict)
            }
    groups = foreign_table.get("groups")
    description["groups"] = {
        str(name): {
            "roles": {str(role): _to_yaml_value(column) for role, column in entry["roles"].items()},
            **_copy_keys(entry, DESCRIPTION_KEYS),
        }
        for name, entry in (groups if isinstance(groups, dict) else {}).items()
        if isinstance(entry, dict) and isinstance(entry.get("roles"), dict)
    }
    keys = foreign_table.get("keys")
    description["keys"] = {
        str(name): _copy_keys(entry, ("columns", "target", "target_columns", *DESCRIPTION_KEYS[:2]))
        for name, entry in (keys if isinstance(keys, dict) else {}).items()
        if isinstance(entry, dict) and str(entry.get("target", "")).startswith(f"{table.partition('.')[0]}.")
    }
    indexes = foreign_table.get("indexes")
    if isinstance(indexes, list):
        description["indexes"] = [_to_yaml_value(entry) for entry in indexes if isinstance(entry, list)]
    else:
        description["indexes"] = []
    description = {
        key: value for key, value in description.items() if value or key not in {"groups", "keys", "indexes"}
    }
    description["columns"] = {
        str(name): _copy_column_keys(value)
        for name, value in foreign_table["columns"].items()
        if isinstance(value, dict)
    }
    return description


def _copy_column_keys(foreign_column: Any) -> dict[str, Any]:
    if isinstance(foreign_column, dict):
        return _copy_keys(foreign_column, ("type", *COLUMN_KEYS))
    return {}


def _copy_keys(foreign_keys: Mapping[Any, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: _to_yaml_value(foreign_keys[key]) for key in keys if key in foreign_keys}


def _to_yaml_value(value: Any) -> Any:
    """Convert a value to what YAML has: texts, numbers, lists of them, a text in several languages."""
    if isinstance(value, tuple | list):
        return [_to_yaml_value(item) for item in value]
    if isinstance(value, LocalizedText):
        value = value.texts
    if isinstance(value, Mapping) and value and all(_LANGUAGE_PATTERN.fullmatch(str(key)) for key in value):
        return {str(language): str(text)[:MAX_TEXT_CHARACTERS] for language, text in value.items()}
    if isinstance(value, bool | int | float) or value is None:
        return value
    return str(value)[:MAX_TEXT_CHARACTERS]


def _write_yaml(body: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(body), sort_keys=False, allow_unicode=True, width=120))


__all__ = [
    "MIRROR_FILE_MARK",
    "NothingToMirrorError",
    "list_mirrored_sites",
    "write_mirror_descriptor",
    "write_public_descriptor",
]
