"""A collection as others may reproduce it: what is public of it as a descriptor of kind ``hven``, and such a descriptor read from elsewhere.

Nothing in it says how a site makes its rows: no sources, paths, secrets, mappings or private tables; only what everybody could compute of the public
columns (`computed`). What comes from elsewhere is copied key by key, and of expressions nothing but those: another site's text must not choose what ours reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from hven.descriptor import computed
from hven.model.errors import SourceError
from hven.model.table import FILES, Column, Table, Wording
from hven.model.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.resource import Resource

KIND = "hven"
MARK = "# A mirror of "  # first line of a descriptor that we wrote, and may write again
# keys that a mirror copies; tests/descriptor/test_mirroring.py says of each other key why it stays at its site
ABOUT = (
    "title", "description", "short_name", "subjects", "publisher", "publisher_ror", "licence", "licence_url", "citation", "bibcode", "doi",
    "acknowledgement", "utype", "reference_url", "facility", "instrument", "waveband", "content_level", "type", "created", "index",
)  # fmt: skip
RECORDS = {  # keys of a collection that hold a list of records -> keys of such a record
    "creators": ("name", "orcid", "affiliation", "ror", "url"),
    "contributors": ("name", "role", "orcid", "affiliation", "ror"),
    "funding": ("funder", "ror", "award", "title", "url"),
    "related": ("id", "relation"),
}
ATTRIBUTES = {"related": "works"}  # keys whose value has another name in `Resource`
TABLE = ("title", "description", "utype", "primary", "position", "form", "observation", "index")
COLUMN = (
    "unit", "ucd", "utype", "description", "label", "null", "rank", "required", "indexed", "unique", "std", "section", "display", "frame",
    "link", "enum", "minimum", "maximum",
)  # fmt: skip
FRAME = ("kind", "system", "epoch", "equinox", "refposition", "timescale", "timeorigin")
WORDS = ("description", "utype", "ucd")
PARAM = ("value", "unit", "ucd", "utype", "description", "enum")
USUAL = {"rank": 10}
LONGEST = 100_000  # characters of one text
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LANGUAGE = re.compile(r"[a-z]{2}")


class Nothing(SourceError):
    """A collection has nothing that can be copied: views of others' tables alone, say."""


def public(resource: Resource, tables: Iterable[Table], *, url: str, also: computed.Computed | None = None) -> str:
    """Generate the descriptor with which another Hven reproduces a collection.

    Parameters
    ----------
    resource
        The collection.
    tables
        Those of it that everybody may know of; and those of other schemas, which examples may read.
    url
        Address of this site.
    also
        What is computed of their columns.

    Returns
    -------
    text
        YAML.
    """
    also = also or computed.Computed()
    seen = [_open(table) for table in tables]
    mine = [table for table in seen if table.schema == resource.name]
    said = {name: value for name in ABOUT if (value := getattr(resource, name)) not in (None, ())}
    said.setdefault("reference_url", f"{url}/collections/{resource.name}")
    body: dict[str, Any] = {"collection": resource.name, **{name: _plain(value) for name, value in said.items()}}
    for key, inside in RECORDS.items():
        if records := getattr(resource, ATTRIBUTES.get(key, key)):
            body[key] = [_chosen(record, inside) for record in records]
    shown = {table.qualified: table for table in mine if table.view is None and table.utype != FILES}
    made = {
        table.name: {**_table(table, url, shown), **computed.told(table, also, _column)} for table in shown.values()
    }
    made |= {
        name: {**_chosen(next(table for table in mine if table.name == name), ("title", "description")), **view}
        for name, view in computed.views(mine, shown.values(), _column)
    }
    if made:
        body["tables"] = made
    examples = computed.examples(also.examples, seen, resource.name)
    if examples and made:
        body["examples"] = examples
    return f"{MARK}{url}/collections/{resource.name}\n{_dumped(body)}"


def mirrored(
    text: str,
    url: str,
    name: str,
    *,
    every: str | None,
    files: Sequence[Mapping[str, str]] = (),
    left: list[str] | None = None,
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
    every
        How often it is followed; None: only when it is asked for.
    files
        ``files``, ``title`` of the files that go with it.
    left
        Takes what is said there and is not taken over, with the reason.

    Returns
    -------
    text
        YAML.

    Raises
    ------
    SourceError
        It is no descriptor, or of another collection.
    Nothing
        It has neither tables nor files.
    """
    try:
        # references of YAML may make much of little text; ours has none
        given = None if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)) else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SourceError(f"{url} gives a descriptor of {name} that is no YAML", remedy="is that a Hven?") from error
    if not isinstance(given, dict) or given.get("collection") != name or not _NAME.fullmatch(name):
        raise SourceError(f"{url} gives no descriptor of {name!r}", remedy="is that a Hven?")
    body: dict[str, Any] = {"collection": name, **{key: _plain(given[key]) for key in ABOUT if key in given}}
    for key, inside in RECORDS.items():
        if isinstance(given.get(key), list):
            body[key] = [_said(record, inside) for record in given[key] if isinstance(record, dict)]
    found = given.get("tables")
    taken = computed.Taken(name, _said_column, [] if left is None else left)
    tables = {str(key): value for key, value in (found if isinstance(found, dict) else {}).items()}
    views = {
        key: value
        for key, value in tables.items()
        if isinstance(value, dict) and "view" in value and "source" not in value
    }
    kept = {key: _taken(value, url, f"{name}.{key}") for key, value in tables.items() if key not in views}
    known = {key: _known(name, key, value) for key, value in kept.items()}
    for key, value in kept.items():
        value.update(taken.beside(known[key], tables[key]))
    there = list(known.values())
    for key, value in views.items() if there else ():
        view = taken.view(key, value, there)
        if view is not None:
            kept[key] = {**_said(value, ("title", "description")), **view}
    if kept:
        body["tables"] = kept
        body |= {"examples": examples} if (examples := taken.examples(given.get("examples"))) else {}
    if files:
        body["files"] = [dict(one) for one in files]
    if not kept and not files:
        raise Nothing(
            f"{name} of {url} has no tables and files that can be copied",
            remedy="views over tables of other collections are made here, over what is copied",
        )
    if every is not None:
        body["sync"] = {"every": every}
    head = f"{MARK}{url}/collections/{name}\n# `hven mirror` writes this file; edit it, and take this first line away, to keep it as it is.\n"
    return head + _dumped(body)


def origins(resource: Resource) -> tuple[str, ...]:
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
    found = {
        str(source.options.get("url", "")).rstrip("/")
        for spec in resource.tables
        for source in spec.sources
        if source.kind == KIND and source.options.get("table") == spec.table.qualified
    }
    return tuple(sorted(found - {""}))


def _table(table: Table, url: str, tables: Mapping[str, Table]) -> dict[str, Any]:
    frames = {frame.id: _chosen(frame, FRAME) for frame in table.frames}
    used = {column.enum for column in (*table.columns, *table.params) if column.enum and not column.hidden}
    shown = {column.name for column in table.columns if not column.hidden}
    made: dict[str, Any] = {
        key: _plain(value)
        for key in TABLE
        if (value := getattr(table, key)) is not None
        and (value != () or key == "observation")  # [] says there that each row is a line
        and (key not in {"primary", "observation"} or shown >= {*value})
    }
    if "form" in made:  # `time` stands for time_min and time_max
        made["form"] = [name for name in made["form"] if shown & {name, f"{name}min", f"{name}_min"}]
    made["source"] = {"kind": KIND, "url": url, "table": table.qualified}
    params = {one.name: {"type": str(one.type), **_chosen(one, PARAM)} for one in table.params}
    enums = {key: dict(words) for key, words in table.enums.items() if key in used}
    groups = {
        one.name: {"roles": dict(one.roles), **_chosen(one, WORDS)}
        for one in table.groups
        if shown | {*params} >= {*one.roles.values()}
    }
    keys = {
        one.id: {
            "columns": [*one.columns],
            "target": one.target,
            "target_columns": [*one.target_columns],
            **_chosen(one, WORDS[:2]),
        }
        for one in table.keys
        if shown >= {*one.columns} and one.target in tables and not _hidden(tables[one.target], one.target_columns)
    }
    indexes = [[*names] for names in table.indexes if shown >= {*names}]
    beside = (
        ("frames", frames),
        ("params", params),
        ("enums", enums),
        ("groups", groups),
        ("keys", keys),
        ("indexes", indexes),
    )
    made |= {key: value for key, value in beside if value}
    made["columns"] = {column.name: _column(column) for column in table.columns if not column.hidden}
    return made


def _open(table: Table) -> Table:
    """Drop a table's hidden columns."""
    return table.having(columns=tuple(column for column in table.columns if not column.hidden))


def _known(schema: str, name: str, taken: Mapping[str, Any]) -> Table:
    """Build a table as far as expressions over it must know it."""
    columns = []
    for key, said in taken["columns"].items():
        try:
            kind = parse_type(str(said.get("type")))
        except ValueError:  # the descriptor has this fault then, with its place
            continue
        columns.append(Column(name=key, type=kind, unit=said.get("unit"), ucd=said.get("ucd")))
    return Table(schema=schema, name=name, columns=tuple(columns))


def _hidden(table: Table, names: Iterable[str]) -> bool:
    return any(column is None or column.hidden for name in names for column in (table.column(name),))


def _column(column: Column) -> dict[str, Any]:
    return {"type": str(column.type), **_chosen(column, COLUMN)}


def _chosen(thing: object, keys: Iterable[str]) -> dict[str, Any]:
    found = {key: getattr(thing, key) for key in keys}
    return {
        key: _plain(value)
        for key, value in found.items()
        if value is not None  # 0 is a value, and so is the `false` of a parameter
        and (value is not False or key == "value")
        and value != ()
        and value != USUAL.get(key)
    }


def _taken(given: Any, url: str, table: str) -> dict[str, Any]:
    """Copy what another site says of a table; from where its rows come is said by us."""
    if not isinstance(given, dict) or not isinstance(given.get("columns"), dict):
        raise SourceError(f"{url} does not say the columns of {table}", remedy="that site may have another version")
    made: dict[str, Any] = {key: _plain(given[key]) for key in TABLE if key in given}
    made["source"] = {"kind": KIND, "url": url, "table": table}
    for key, inside in (("frames", FRAME), ("params", ("type", *PARAM)), ("enums", None)):
        if isinstance(given.get(key), dict):
            made[key] = {
                str(name): {str(word): _plain(text) for word, text in value.items() if inside is None or word in inside}
                for name, value in given[key].items()
                if isinstance(value, dict)
            }
    groups = given.get("groups")
    made["groups"] = {
        str(name): {"roles": {str(role): _plain(column) for role, column in one["roles"].items()}, **_said(one, WORDS)}
        for name, one in (groups if isinstance(groups, dict) else {}).items()
        if isinstance(one, dict) and isinstance(one.get("roles"), dict)
    }
    keys = given.get("keys")
    made["keys"] = {
        str(name): _said(one, ("columns", "target", "target_columns", *WORDS[:2]))
        for name, one in (keys if isinstance(keys, dict) else {}).items()
        if isinstance(one, dict) and str(one.get("target", "")).startswith(f"{table.partition('.')[0]}.")
    }
    indexes = given.get("indexes")
    made["indexes"] = [_plain(one) for one in indexes if isinstance(one, list)] if isinstance(indexes, list) else []
    made = {key: value for key, value in made.items() if value or key not in {"groups", "keys", "indexes"}}
    made["columns"] = {
        str(name): _said_column(value) for name, value in given["columns"].items() if isinstance(value, dict)
    }
    return made


def _said_column(given: Any) -> dict[str, Any]:
    return _said(given, ("type", *COLUMN)) if isinstance(given, dict) else {}


def _said(given: Mapping[Any, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: _plain(given[key]) for key in keys if key in given}


def _plain(value: Any) -> Any:
    """Convert a value to what YAML has: texts, numbers, lists of them, a text in several languages."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Wording):
        value = value.texts
    if isinstance(value, Mapping) and value and all(_LANGUAGE.fullmatch(str(key)) for key in value):
        return {str(language): str(text)[:LONGEST] for language, text in value.items()}
    if isinstance(value, bool | int | float) or value is None:
        return value
    return str(value)[:LONGEST]


def _dumped(body: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(body), sort_keys=False, allow_unicode=True, width=120))


__all__ = ["MARK", "Nothing", "mirrored", "origins", "public"]
