"""Link: what the rows of a table lead to, as its descriptor says it in templates over the row (DataLink 1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Hole(NamedTuple):
    """What a template takes from the row: an ADQL expression, and how its value is written: ``.1f``, ``05d``, or as it is."""

    text: str
    spec: str = ""


Template = tuple[str | Hole, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Rows of DataLink: one for each row of the table, or for each row of another one that goes with it.

    Attributes
    ----------
    semantics
        A word of DataLink's vocabulary, with ``#``, or the address of another one.
    address
        Where it leads to; `SITE` in it is the site's address. Null where one of its values is: no link.
    file
        True: `address` is the path of a file of the collection.
    type, description, size
        Of what is there: media type, words, bytes.
    qualifier, local
        ``content_qualifier`` and ``local_semantics``.
    condition
        ADQL over the row; where it is not true, there is no such link.
    source, alias, where, order
        Another table (``schema.table``), the name that expressions have for it, how its rows go with a row (``target``), and their order.
    """

    semantics: str
    address: Template
    file: bool = False
    type: Template = ()
    description: Template = ()
    size: Template = ()
    qualifier: str | None = None
    local: str | None = None
    condition: str | None = None
    source: str | None = None
    alias: str | None = None
    where: str | None = None
    order: str | None = None


FILES = "hven:files"  # utype of the table of a collection's files
LINKS = "ivo://ivoa.net/std/DataLink#links-1.1"
DATALINK = "application/x-votable+xml;content=datalink"  # media type of a list of links
SITE = Hole("site.url")
TARGET = "target"  # what expressions call the row

THIS = "#this"


def standard(utype: str | None, there: Mapping[str, str | None]) -> Iterator[Link]:
    """Yield the links that a table has by its columns (name -> unit): those that EPN-TAP and ObsCore have for them, and of the table of files."""

    def value(name: str, of: str = "{}") -> Template:
        quoted = name.replace('"', '""')
        return (Hole(of.format(f'{TARGET}."{quoted}"')),) if name in there else ()

    if utype == FILES:
        kind, size, title = map(value, ("media_type", "bytes", "title"))
        yield Link(semantics=THIS, address=value("url"), type=kind, size=size, description=title)
        return
    if "access_url" in there:
        sized = there.get("access_estsize") is not None
        yield Link(
            semantics=THIS,
            address=value("access_url"),
            type=value("access_format"),
            size=value("access_estsize", "ROUND(IN_UNIT({}, 'byte'))") if sized else (),
        )
    for name, semantics in (("thumbnail_url", "#thumbnail"), ("preview_url", "#preview")):
        if name in there:
            yield Link(semantics=semantics, address=value(name))


__all__ = ["DATALINK", "FILES", "LINKS", "SITE", "TARGET", "Hole", "Link", "Template", "standard"]
