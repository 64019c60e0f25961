"""Read where published files lie (`root`, `at`, `from` of an entry of `files`), for the source of the kind `files`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hven.adql.adql_writer import write_adql, write_adql_literal
from hven.descriptor._column_expressions import parse_placeholder, parse_written_expression, split_template
from hven.model import plugins
from hven.model.table import FileRoot
from hven.sources.remote_stores import find_scheme_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.descriptor._collection_context import InheritedCollectionKeys
    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues
    from hven.descriptor.written_yaml import LocatedYamlScalar
    from hven.model.errors import TextPlace

WEB_SCHEMES = ("http", "https")


def read_file_root(
    file_fields: LocatedKeyValues,
    collection_context: InheritedCollectionKeys,
    allowed_directories: Sequence[Path],
    faults: FaultCollector,
    *,
    is_restricted: bool,
) -> FileRoot | None:
    """Read where the files of an entry lie; None after a fault.

    `is_restricted` says that not everybody may have the files.
    """
    root_text: LocatedYamlScalar | None = file_fields.get("root")
    path_prefix = _read_path_prefix(file_fields, faults)
    if path_prefix is None:
        return None
    if root_text is None:
        for key in ("options", "proxied"):
            if key in file_fields:
                message = f"files.{key}: this key needs 'root', with an address"
                faults.add_error(message, file_fields.places[key], "write `root: https://host/path`")
                return None
        return FileRoot(path_prefix=path_prefix)
    options = {key: str(value) for key, value in file_fields.get("options", {}).items()}
    file_root = FileRoot(path_prefix=path_prefix, address=str(root_text).rstrip("/"), options=options)
    if file_root.scheme is None:
        message, remedy = "", ""
        directory = (collection_context.directory / Path(file_root.address).expanduser()).resolve()
        if not any(directory.is_relative_to(allowed.resolve()) for allowed in allowed_directories):
            message = f"{root_text} is outside the site, and not in `roots` in hven.toml"
            remedy = f'ask the site\'s operators to add it to hven.toml: roots = ["{directory}"]'
    else:
        message, remedy = _find_address_problem(file_root, root_text.place, faults)
    if message:
        faults.add_error(f"files.root: {message}", root_text.place, remedy)
        return None
    redirects_clients = file_root.scheme in WEB_SCHEMES and not is_restricted and not options
    if "proxied" in file_fields:
        redirects_clients = not bool(file_fields["proxied"])
    if file_root.scheme is None:
        redirects_clients = False
    if redirects_clients and file_root.scheme not in (*WEB_SCHEMES, "ftp"):
        message = f"files.proxied: users cannot open {file_root.scheme}:// addresses"
        faults.add_error(message, file_fields.places["proxied"], "remove 'proxied'")
        return None
    return replace(file_root, redirects_clients=redirects_clients)


def _read_path_prefix(file_fields: LocatedKeyValues, faults: FaultCollector) -> str | None:
    """Read the begin of the paths of an entry's files; None after a fault."""
    path = PurePosixPath(str(file_fields.get("at", "")))
    is_printable = all(map(str.isprintable, path.parts))
    if path.is_absolute() or {"..", "~"} & {*path.parts} or not is_printable:
        message = f"files.at: {path} is not a path within the collection"
        faults.add_error(message, file_fields.places["at"], "write `at: raw`, or `at: raw/2020`")
        return None
    if path.parts:
        return str(path)
    return ""


def _find_address_problem(file_root: FileRoot, place: TextPlace, faults: FaultCollector) -> tuple[str, str]:
    """Return what is wrong with an address, and the remedy; two empty texts if nothing is."""
    address = file_root.address
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018  (it raises)
    except ValueError as error:
        return f"{address[:80]!r} is not an address: {error}", "write `root: https://host/path`"
    if "@" in parts.netloc or parts.query or parts.fragment or "::" in address:
        message = "the address must not contain a user name, a password, ?, # or ::"
        return message, "write `options: {user: .., password: $NAME}`, and put NAME in secrets.toml"
    is_clean = address.isprintable() and " " not in address
    if {"..", "."} & {*parts.path.split("/")} or not is_clean:
        return (
            "the address contains spaces, or has . or .. as a part",
            "write the complete address, without these parts and spaces",
        )
    scheme_error = find_scheme_error(file_root.scheme)
    if scheme_error is None:
        return "", ""
    if plugins.find_disabled_package("remote_stores", str(file_root.scheme)) is None:
        return scheme_error.message, scheme_error.remedy
    # only a warning: what was published stays at its address, although its files cannot be read
    faults.add_warning(f"files.root: {scheme_error.message}", place, scheme_error.remedy)
    return "", ""


def write_file_listing_query(
    file_fields: LocatedKeyValues, collection_context: InheritedCollectionKeys, faults: FaultCollector
) -> str | None:
    """Write the query whose rows name files: columns path, bytes, sha256; None after a fault."""
    schema, _, name = str(file_fields["from"]).rpartition(".")
    if "path" not in file_fields:
        faults.add_error(
            "files.from needs `path`, which gives the path of each file",
            file_fields.places["from"],
            "write `path: '{year}/{name}.fits'`",
        )
        return None
    parts = []
    for part in split_template(file_fields["path"], "files.path", faults):
        if isinstance(part, str):
            parts.append(write_adql_literal(part))
            continue
        if part.format_spec:
            faults.add_error(
                "files.path: a format such as :04d or :iso cannot be used here",
                file_fields["path"].locate_character(part.offset),
                "use a column that contains the formatted text",
            )
            return None
        constant = collection_context.constants.get(part.expression_text)
        if constant is None:
            tree = parse_placeholder(file_fields["path"], part, "files.path", faults)
        else:
            tree = None
        if constant is None and tree is None:
            return None
        parts.append(write_adql_literal(str(constant)) if tree is None else f"CAST({write_adql(tree)} AS VARCHAR)")
    if parts:
        select_items = [f"{' || '.join(parts)} AS path"]
    else:
        select_items = []
    for key, column in (("size", "bytes"), ("sha256", "sha256")):
        if key in file_fields:
            tree = parse_written_expression(file_fields[key], f"files.{key}", faults)
            select_items += [] if tree is None else [f"{write_adql(tree)} AS {column}"]
    if not parts:
        return None
    return f'SELECT DISTINCT {", ".join(select_items)} FROM "{schema or collection_context.schema}"."{name}" AS target'


def build_file_source_options(file_fields: LocatedKeyValues, file_root: FileRoot, adql: str | None) -> dict[str, Any]:
    """Write the options of the source."""
    source_options: dict[str, Any] = {
        key: str(file_fields[key]) for key in ("title", "description", "type") if key in file_fields
    }
    source_options |= {
        key: [str(text_value) for text_value in file_fields[key]]
        for key in ("files", "ignore", "writers")
        if key in file_fields
    }
    source_options |= {
        key: value
        for key, value in (("root", file_root.address), ("at", file_root.path_prefix), ("adql", adql))
        if value
    }
    source_options |= {"options": dict(file_root.options)} if file_root.options else {}
    source_options |= {"direct": True} if file_root.redirects_clients else {}
    return source_options | ({"checksums": bool(file_fields["checksums"])} if "checksums" in file_fields else {})
