"""Link: what the rows of a table lead to, as its descriptor says it in templates over the row (DataLink 1.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.model.errors import Place
    from hven.model.params import Param


class Hole(NamedTuple):
    """What a template takes from the row: an ADQL expression, and how its value is written: ``.1f``, ``05d``, or as it is."""

    text: str
    spec: str = ""


Template = tuple[str | Hole, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A parameter of a service that rows lead to.

    Attributes
    ----------
    param
        What it is: name, type, unit, UCD, the values that are allowed.
    value
        What is always sent; empty: whoever asks says it.
    low, high
        Bounds of what may be asked.
    example
        A value that works.
    """

    param: Param
    value: Template = ()
    low: Template = ()
    high: Template = ()
    example: Template = ()


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that takes values of a row (DataLink 1.1, section 4).

    Attributes
    ----------
    address
        Where it is asked; `SITE` in it is the site's address.
    inputs
        Its parameters.
    standard
        IVOID of the standard that it keeps.
    registered
        IVOID under which it is registered.
    """

    address: Template
    inputs: tuple[Input, ...] = ()
    standard: str | None = None
    registered: str | None = None

    @property
    def templates(self) -> Iterator[Template]:
        """All that is filled with values of the row."""
        yield self.address
        for one in self.inputs:
            yield from (one.value, one.low, one.high, one.example)

    @cached_property
    def varying(self) -> tuple[int, ...]:
        """Which of its parameters have values of the row."""
        said = (any(isinstance(part, Hole) for template in (one.value, one.low, one.high, one.example) for part in template) for one in self.inputs)  # fmt: skip
        return tuple(at for at, own in enumerate(said) if own)


@dataclass(frozen=True, kw_only=True)
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
    qualifier
        What kind of product it is: `kind` makes ``content_qualifier`` of it.
    local
        ``local_semantics``.
    condition
        ADQL over the row; where it is not true, there is no such link.
    endings
        How the path may end to which it leads (without the dot, in lower case; a query may follow), and the media type of what is there then; where
        it ends otherwise, there is no such link. None given: as it likes.
    source, alias, where, order
        Another table (``schema.table``), the name that expressions have for it, how its rows go with a row (``target``), and their order.
    service
        Instead of an address: a service.
    packed
        True: it is made of the row's files; where the reader may take none of these, there is no such link.
    narrowed
        Fits that service, filled with the row's values, to the row's own file, of which it gets the path (None: it has none here, or not for
        this reader), and what services of the same list have noted of files; None: this row has no such service.
    suits
        Says of addresses whether what is there suits the link (null: there is none); where it does not, there is no such link.
    places
        Key -> where it stands in the descriptor.
    """

    semantics: str
    address: Template
    file: bool = False
    type: Template = ()
    description: Template = ()
    size: Template = ()
    qualifier: Template = ()
    local: Template = ()
    condition: str | None = None
    endings: tuple[tuple[str, str], ...] = ()
    source: str | None = None
    alias: str | None = None
    where: str | None = None
    order: str | None = None
    service: Service | None = None
    packed: bool = False
    narrowed: Callable[[Service, str | None, dict[str, Any]], Service | None] | None = None
    suits: Callable[[Sequence[str | None]], Sequence[bool]] | None = None
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)

    @property
    def templates(self) -> Iterator[Template]:
        """All that is filled with values of the row."""
        yield from (self.address, self.type, self.description, self.size, self.qualifier, self.local)
        if self.service is not None:
            yield from self.service.templates

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """What it asks of the row: ADQL."""
        holes = (part for template in self.templates for part in template if isinstance(part, Hole) and part != SITE)
        return tuple(dict.fromkeys(hole.text for hole in holes))


FILES = "hven:files"  # utype of the table of a collection's files
LINKS = "ivo://ivoa.net/std/DataLink#links-1.1"
DATALINK = "application/x-votable+xml;content=datalink"  # media type of a list of links
SITE = Hole("site.url")
TARGET = "target"  # what expressions call the row

THIS = "#this"
RASTER = ("gif", "jp2", "jpeg", "jpg", "png", "tif", "tiff", "webp")  # endings of pictures
# words of ObsCore and codes of EPN-TAP -> DataLink's: those of the vocabulary product-type
_KINDS = {
    **{word: word for word in ("image", "cube", "spectrum", "sed", "timeseries", "visibility", "measurements")},
    "event": "event-list", "im": "image", "ma": "image", "sp": "spectrum", "ds": "dynamic-spectrum", "sc": "spectral-cube",
    "pr": "spatial-profile", "cu": "cube", "ts": "timeseries",
}  # fmt: skip
_LABELS = {"xml", "lbl", "tab", "txt"}  # of products, and of much else


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


def kind(said: str | None) -> str | None:
    """Say what kind of product it is in the words of DataLink.

    Parameters
    ----------
    said
        A word of the vocabulary product-type with its ``#``, the address of another one; the ``dataproduct_type`` of a row, as ObsCore or EPN-TAP has it.

    Returns
    -------
    word
        ``#image``; None: nobody says it, or several.
    """
    if said is None or said.startswith("#") or "://" in said:
        return said
    found = _KINDS.get(said.strip().lower())
    return found and f"#{found}"


def drawn() -> tuple[str, ...]:
    """List how names of files end of which there are pictures, ``.fits``; of labels and texts nothing is promised.

    Returns
    -------
    endings
        By the media whose libraries are installed.
    """
    found = {ending for medium in plugins.records("media").values() for ending in medium.endings} - _LABELS
    return tuple(f".{ending}" for ending in sorted({*found, *RASTER}))


__all__ = [
    "DATALINK",
    "FILES",
    "LINKS",
    "RASTER",
    "SITE",
    "TARGET",
    "Hole",
    "Input",
    "Link",
    "Service",
    "Template",
    "drawn",
    "kind",
    "standard",
]
