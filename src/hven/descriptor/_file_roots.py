"""Where published files lie: `root`, `at`, `from` of an entry of `files`, checked and written for the source of the kind `files`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hven.adql.text import literal, write
from hven.descriptor._column_expressions import expression, holes, inner
from hven.model.table import Root
from hven.sources.stores import SCHEMES, speaks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.descriptor._inherited import Inherited
    from hven.descriptor.value_schema import Faults, Fields
    from hven.descriptor.written import Written

WEB = ("http", "https")


def root(item: Fields, around: Inherited, grounds: Sequence[Path], faults: Faults, *, guarded: bool) -> Root | None:
    """Read where the files of an entry lie; None after a fault. `guarded`: not everybody may have them."""
    said: Written | None = item.get("root")
    at = PurePosixPath(str(item.get("at", "")))
    if at.is_absolute() or {"..", "~"} & {*at.parts} or not all(map(str.isprintable, at.parts)):
        faults.error(f"files.at: {at} is no path within the collection", item.places["at"], "at: raw, or raw/2020")
        return None
    if said is None:
        for key in ("options", "proxied"):
            if key in item:
                faults.error(
                    f"files.{key}: it goes with 'root', an address", item.places[key], "root: https://host/path"
                )
                return None
        return Root(at=str(at) if at.parts else "")
    options = {key: str(value) for key, value in item.get("options", {}).items()}
    found = Root(at=str(at) if at.parts else "", address=str(said).rstrip("/"), options=options)
    if found.scheme is None:
        place = (around.directory / Path(found.address).expanduser()).resolve()
        if not any(place.is_relative_to(one.resolve()) for one in grounds):
            message = f"files.root: {said} is outside the site, and not in `roots` of hven.toml"
            faults.error(message, said.place, f'the owner of the site says roots = ["{place}"] there')
            return None
        return found
    if (fault := _address(found)) is not None:
        faults.error(f"files.root: {fault[0]}", said.place, fault[1])
        return None
    direct = not bool(item["proxied"]) if "proxied" in item else found.scheme in WEB and not guarded and not options
    if direct and found.scheme not in (*WEB, "ftp"):
        faults.error(
            f"files.proxied: readers cannot open {found.scheme}://", item.places["proxied"], "leave proxied out"
        )
        return None
    return Root(at=found.at, address=found.address, options=options, direct=direct)


def _address(found: Root) -> tuple[str, str] | None:
    """Find what is wrong with an address, and what helps."""
    try:
        parts = urlsplit(found.address)
        parts.port  # noqa: B018  (it raises)
    except ValueError as error:
        return f"{found.address[:80]!r} is no address: {error}", "https://host/path"
    if "@" in parts.netloc or parts.query or parts.fragment or "::" in found.address:
        return (
            "an address of files has no password, ? or #",
            "options: {user: .., password: $NAME}, and NAME in secrets.toml",
        )
    if {"..", "."} & {*parts.path.split("/")} or not found.address.isprintable() or " " in found.address:
        return "the address leads somewhere else than it seems to", "write it without .. and blanks"
    if not speaks(str(found.scheme)):
        return f"nobody here speaks {found.scheme}://", f"known: {', '.join(SCHEMES)}"
    return None


def query(item: Fields, around: Inherited, faults: Faults) -> str | None:
    """Write the query whose rows name files: columns path, bytes, sha256; None after a fault."""
    schema, _, name = str(item["from"]).rpartition(".")
    if "path" not in item:
        faults.error(
            "files.from: it is not said what the files are called", item.places["from"], "path: '{year}/{name}.fits'"
        )
        return None
    parts = []
    for part in holes(item["path"], "files.path", faults):
        if isinstance(part, str):
            parts.append(literal(part))
            continue
        if part.spec:
            faults.error(
                "files.path: a number's form cannot be said here", item["path"].at(part.offset), "make it a column"
            )
            return None
        constant = around.constants.get(part.text)
        tree = inner(item["path"], part, "files.path", faults) if constant is None else None
        if constant is None and tree is None:
            return None
        parts.append(literal(str(constant)) if tree is None else f"CAST({write(tree)} AS VARCHAR)")
    items = [f"{' || '.join(parts)} AS path"] if parts else []
    for key, column in (("size", "bytes"), ("sha256", "sha256")):
        if key in item:
            tree = expression(item[key], f"files.{key}", faults)
            items += [] if tree is None else [f"{write(tree)} AS {column}"]
    if not parts:
        return None
    return f'SELECT DISTINCT {", ".join(items)} FROM "{schema or around.schema}"."{name}" AS target'


def options(item: Fields, where: Root, text: str | None) -> dict[str, Any]:
    """Write the options of the source."""
    found: dict[str, Any] = {key: str(item[key]) for key in ("title", "description", "type") if key in item}
    found |= {key: [str(one) for one in item[key]] for key in ("files", "ignore", "writers") if key in item}
    found |= {key: value for key, value in (("root", where.address), ("at", where.at), ("adql", text)) if value}
    found |= {"options": dict(where.options)} if where.options else {}
    found |= {"direct": True} if where.direct else {}
    return found | ({"checksums": bool(item["checksums"])} if "checksums" in item else {})
