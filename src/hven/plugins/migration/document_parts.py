"""What converters of documents share: parts of a document by their names, types, places, and addresses of databases."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

from hven.model.errors import UsageError
from hven.plugins.drafts.column_guesses import to_adql_identifier
from hven.plugins.drafts.document_drafts import ALL_COLLECTIONS
from hven.plugins.migration.draft_building import CODE_FILE, REPORT_FILE, DraftBuilder
from hven.plugins.migration.resource_xml import Element

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from hven.plugins.drafts.document_drafts import DocumentDraftRequest

SIGNATURE_BYTES = 64 << 10
MAX_LISTED_PARTS = 12
# types of SQL, VOTable, TAP, pgSphere, Java and Felis
TYPE_WORDS = {
    **dict.fromkeys(("boolean", "bool"), "bool"),
    **dict.fromkeys(("unsignedbyte", "byte", "ubyte", "short", "smallint", "int2", "tinyint", "bytea"), "int16"),
    **dict.fromkeys(("int", "integer", "int4", "mediumint", "serial", "ushort"), "int32"),
    **dict.fromkeys(("long", "bigint", "int8", "bigserial", "uint", "ulong"), "int64"),
    **dict.fromkeys(("float", "real", "float4"), "float32"),
    **dict.fromkeys(("double", "double precision", "float8", "numeric", "decimal"), "float64"),
    **dict.fromkeys(("timestamp", "timestamptz", "datetime", "date"), "timestamp"),
    **dict.fromkeys(("point", "spoint"), "point"),
    **dict.fromkeys(("circle", "scircle"), "circle"),
    **dict.fromkeys(("polygon", "spoly"), "polygon"),
    "smoc": "moc",
}
_JDBC_PATTERN = re.compile(r"jdbc:(postgresql|mysql|mariadb):(?://([^/?]*)/)?([^?]*)(?:\?(.*))?")


def read_head(path: Path) -> bytes:
    """Read the first bytes of a file, in which its kind shows; empty: it cannot be read."""
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(SIGNATURE_BYTES)
    except OSError:
        return b""


def find_type(word: str) -> str:
    """Find the type of a column by a word of another program: of a text, or of any type that is not known, string."""
    return TYPE_WORDS.get(re.sub(r"\(.*|\s+without.*|\s+with\s.*", "", word).strip().lower(), "string")


def choose_name(name: str, default: str) -> str:
    """Choose the name of a table or column: as it is, or as ADQL allows it."""
    identifier = to_adql_identifier(name, default)
    return name if identifier == name.lower() else identifier


def build_map(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Build the key `map` for columns of a database that have another name in ADQL; empty if none has."""
    chosen_names = {name: choose_name(name, "column") for name in names}
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in chosen_names}
    renamed = {chosen: quoted[name] for name, chosen in chosen_names.items() if chosen != name}
    return {"map": renamed} if renamed else {}


def choose_free_name(name: str, used_names: Iterable[str]) -> str:
    """Choose a name, with a number behind it if others have it; case does not matter."""
    lower_names = {used_name.lower() for used_name in used_names}
    numbers = itertools.count(2)
    chosen_name = name
    while chosen_name.lower() in lower_names:
        chosen_name = f"{name}_{next(numbers)}"
    return chosen_name


def add_table(builder: DraftBuilder, name: str, keys: dict[str, Any], place: Element, noun: str) -> None:
    """Add a table, under another name if two names of the document become one in ADQL.

    Parameters
    ----------
    builder
        The collection.
    name
        Name of the table in the document.
    keys
        Keys of the table.
    place
        Where the document describes it.
    noun
        What the document calls a table, and its whole name, for the report.
    """
    base = choose_name(name, "main")
    table_name = choose_free_name(base, builder.tables)
    if table_name != base:
        builder.report.add_decision(place, f"{noun} is the table {table_name}, because {base} is there already")
    builder.tables[table_name] = keys
    count = len(keys["columns"])
    builder.report.add_result(place, f"{noun} with {count} column{'' if count == 1 else 's'}")


def build_place(line: int, file: str = "") -> Element:
    """Build an element that stands for a line in the report of a document that is not XML."""
    return Element("", {}, line, file)


def create_builders(
    request: DocumentDraftRequest, parts: Mapping[str, Any], program: str, noun: str
) -> dict[str, tuple[DraftBuilder, list[str]]]:
    """Choose the parts of a document that become collections.

    Parameters
    ----------
    request
        Name of the collection: that of a part, which alone becomes the collection; `ALL_COLLECTIONS`, so that each
        part becomes one; or any other, so that all parts become tables of it.
    parts
        The parts by their names.
    program
        The program from which the document comes.
    noun
        What a part is called.

    Returns
    -------
    builders
        By the name of the collection, with the names of its parts.

    Raises
    ------
    UsageError
        There are no parts.
    ConflictError
        A file exists that would be written.
    """
    if not parts:
        raise UsageError(f"{request.path.name} describes no {noun}", remedy="check the file")
    names_by_collection: dict[str, list[str]] = {request.name: list(parts)}
    lower_names: dict[str, str] = {}
    for name in parts:
        lower_names[choose_free_name(to_adql_identifier(name, noun), lower_names)] = name
    if request.name == ALL_COLLECTIONS:
        names_by_collection = {lower_name: [name] for lower_name, name in lower_names.items()}
    elif request.name.lower() in lower_names:
        names_by_collection = {request.name: [lower_names[request.name.lower()]]}
    builders: dict[str, tuple[DraftBuilder, list[str]]] = {}
    for collection, names in names_by_collection.items():
        request.check_new_collection(collection, (REPORT_FILE, CODE_FILE))
        builders[collection] = DraftBuilder(collection, request.settings, program), names
    for builder, names in builders.values():
        builder.report.main_file = request.path.name
        if len(names) > 1:
            listed = ", ".join(names[:MAX_LISTED_PARTS]) + (" ..." if len(names) > MAX_LISTED_PARTS else "")
            builder.report.add_result(
                None, f"{len(names)} times {noun} in one collection ({listed}); the name '*' makes one for each"
            )
    return builders


def convert_jdbc_address(address: str, user: str = "", password: str = "") -> str:
    """Convert an address of JDBC to one that Hven reads; empty: Hven has no such address."""
    match = _JDBC_PATTERN.fullmatch(address.strip())
    if match is None:
        return ""
    dialect, host, database, query = match.groups()
    parameters = dict(parse_qsl(query or ""))
    user, password = user or parameters.get("user", ""), password or parameters.get("password", "")
    login = ":".join(quote(part, safe="") for part in (user, password) if part)
    return f"{dialect}://{login}{'@' if user else ''}{host or 'localhost'}/{database}"


def keep_jdbc_address(
    builder: DraftBuilder, request: DocumentDraftRequest, values: Sequence[str], place: Element
) -> str:
    """Keep the address, user and password of JDBC as a secret, and return ``$NAME``."""
    address = convert_jdbc_address(*values)
    if address:
        parameters = [name for name, _ in parse_qsl(values[0].partition("?")[2]) if name not in {"user", "password"}]
        if parameters:
            builder.report.add_decision(
                place, f"parameters of the address were left out ({', '.join(parameters)}): add what Hven needs"
            )
        secret = request.store_address(builder.name, address)
        builder.report.add_result(place, f"the address of the database, with its password, is the secret {secret[1:]}")
        return secret
    secret = f"{builder.name.upper()}_DB"
    dialect = re.match(r"jdbc:\w+", values[0])  # the rest can have a password
    builder.report.add_decision(
        place, f"the database ({dialect[0] if dialect else 'not named'}): put its address into the secret {secret}"
    )
    return f"${secret}"


def set_value(values: dict[str, Any], key: str, value: str) -> None:
    """Set a key to a text in which runs of blanks are one, unless the text is empty."""
    if value.strip():
        values[key] = " ".join(value.split())


def set_primary_key(keys: dict[str, Any], columns: Sequence[str]) -> None:
    """Set the primary key of a table, unless it has no columns."""
    if columns:
        keys["primary"] = columns[0] if len(columns) == 1 else list(columns)
