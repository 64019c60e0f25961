"""Describe what the rows of a table lead to, in templates over the row (DataLink 1.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.model.errors import TextPlace
    from hven.model.params import Param


class TemplateExpression(NamedTuple):
    """Hold an ADQL expression in a template, which takes its value from a row.

    Attributes
    ----------
    expression
        The expression, over the row as ``target``.
    format_spec
        Format of the value: ``.1f``, ``05d``; empty: the value as it is.
    """

    expression: str
    format_spec: str = ""


Template = tuple[str | TemplateExpression, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceParameter:
    """Describe a parameter of a service that rows lead to.

    Attributes
    ----------
    param
        Name, type, unit, UCD and allowed values.
    value
        A value that is always sent; empty if the client chooses it.
    low, high
        Bounds of the value.
    example
        A value that works.
    """

    param: Param
    value: Template = ()
    low: Template = ()
    high: Template = ()
    example: Template = ()


@dataclass(frozen=True, kw_only=True)
class ServiceDescriptor:
    """Describe a service that takes values of a row (DataLink 1.1, section 4).

    Attributes
    ----------
    address
        Address of the service; `SITE_URL_EXPRESSION` in it is the site's address.
    inputs
        Parameters of the service.
    standard_id
        IVOID of the standard that the service implements.
    ivoid
        IVOID under which the service is registered.
    """

    address: Template
    inputs: tuple[ServiceParameter, ...] = ()
    standard_id: str | None = None
    ivoid: str | None = None

    @property
    def templates(self) -> Iterator[Template]:
        """All templates that take values of the row."""
        yield self.address
        for parameter in self.inputs:
            yield from (parameter.value, parameter.low, parameter.high, parameter.example)

    @cached_property
    def row_dependent_input_positions(self) -> tuple[int, ...]:
        """Positions of the parameters that take values of the row."""
        positions = []
        for position, parameter in enumerate(self.inputs):
            parts = (*parameter.value, *parameter.low, *parameter.high, *parameter.example)
            if any(isinstance(part, TemplateExpression) for part in parts):
                positions.append(position)
        return tuple(positions)


@dataclass(frozen=True, kw_only=True)
class LinkTemplate:
    """Describe rows of DataLink: one for each row of the table, or for each row of another table that belongs to it.

    Attributes
    ----------
    semantics
        A word of DataLink's vocabulary, with ``#``, or the address of another word.
    address
        Address of the target; `SITE_URL_EXPRESSION` in it is the site's address. If one of its values is null, there is
        no link.
    is_file
        Whether `address` is the path of a file of the collection.
    type, description, size
        Media type, description and size (bytes) of the target.
    content_qualifier
        Kind of product; `to_content_qualifier` converts it to ``content_qualifier``.
    local_semantics
        ``local_semantics``.
    condition
        ADQL over the row; the link exists only where it is true.
    extension_media_types
        Allowed endings of the target's path (without the dot, in lower case; a query may follow), and the media type of
        each. The link exists only for these endings. Empty: any ending.
    source, alias, where, order
        Another table (``schema.table``), its name in expressions, the condition that joins its rows with a row
        (``target``), and their order.
    service
        A service instead of an address.
    needs_file_access
        Whether the link is made from the row's files, and exists only where the reader may take one of them.
    adapt_service
        Adapts the service, with the row's values, to the row's own file. It gets the path of the file (None: there is
        none here, or not for this reader), and the notes on files of other services of the list. It returns None if the
        row has no such service.
    check_addresses
        Returns for each address whether its target suits the link (null: there is no target). The link exists only
        where it does.
    page_text
        Text of the link on pages, which catalogues of the pages translate; ``{name}`` stands for the name of the file.
        Empty: `description`.
    places
        Key -> its place in the descriptor.
    """

    semantics: str
    address: Template
    is_file: bool = False
    type: Template = ()
    description: Template = ()
    size: Template = ()
    content_qualifier: Template = ()
    local_semantics: Template = ()
    condition: str | None = None
    extension_media_types: tuple[tuple[str, str], ...] = ()
    source: str | None = None
    alias: str | None = None
    where: str | None = None
    order: str | None = None
    service: ServiceDescriptor | None = None
    needs_file_access: bool = False
    adapt_service: Callable[[ServiceDescriptor, str | None, dict[str, Any]], ServiceDescriptor | None] | None = None
    check_addresses: Callable[[Sequence[str | None]], Sequence[bool]] | None = None
    page_text: str = ""
    places: Mapping[str, TextPlace] = field(default_factory=dict, compare=False, repr=False)

    @property
    def templates(self) -> Iterator[Template]:
        """All templates that take values of the row."""
        yield from (self.address, self.type, self.description, self.size, self.content_qualifier, self.local_semantics)
        if self.service is not None:
            yield from self.service.templates

    @cached_property
    def row_expressions(self) -> tuple[str, ...]:
        """The expressions over the row, in ADQL."""
        expressions: dict[str, None] = {}
        for template in self.templates:
            for part in template:
                if isinstance(part, TemplateExpression) and part != SITE_URL_EXPRESSION:
                    expressions[part.expression] = None
        return tuple(expressions)


FILES_UTYPE = "hven:files"  # utype of the table of a collection's files
DATALINK_STANDARD_ID = "ivo://ivoa.net/std/DataLink#links-1.1"
DATALINK_MEDIA_TYPE = "application/x-votable+xml;content=datalink"  # media type of a list of links
SITE_URL_EXPRESSION = TemplateExpression("site.url")
TARGET_ALIAS = "target"  # name of the row in expressions

THIS_SEMANTICS = "#this"
RASTER_EXTENSIONS = ("gif", "jp2", "jpeg", "jpg", "png", "tif", "tiff", "webp")  # endings of pictures
# words of ObsCore and codes of EPN-TAP -> DataLink's: those of the vocabulary product-type
_PRODUCT_TYPES = {
    "image": "image",
    "cube": "cube",
    "spectrum": "spectrum",
    "sed": "sed",
    "timeseries": "timeseries",
    "visibility": "visibility",
    "measurements": "measurements",
    "event": "event-list",
    "im": "image",
    "ma": "image",
    "sp": "spectrum",
    "ds": "dynamic-spectrum",
    "sc": "spectral-cube",
    "pr": "spatial-profile",
    "cu": "cube",
    "ts": "timeseries",
}
_TEXT_EXTENSIONS = {"xml", "lbl", "tab", "txt"}  # endings of products, and of many other files


def list_standard_links(utype: str | None, units_by_column: Mapping[str, str | None]) -> Iterator[LinkTemplate]:
    """Yield the links of a table that follow from its columns (name -> unit).

    They are the links of EPN-TAP and ObsCore, and of the table of files.
    """

    def build_column_template(name: str, pattern: str = "{}") -> Template:
        if name in units_by_column:
            return (TemplateExpression(pattern.format(write_target_column_reference(name))),)
        return ()

    if utype == FILES_UTYPE:
        media_type, size, title = map(build_column_template, ("media_type", "bytes", "title"))
        address = build_column_template("url")
        yield LinkTemplate(semantics=THIS_SEMANTICS, address=address, type=media_type, size=size, description=title)
        return
    if "access_url" in units_by_column:
        file_size: Template = ()
        if units_by_column.get("access_estsize") is not None:
            file_size = build_column_template("access_estsize", "ROUND(IN_UNIT({}, 'byte'))")
        yield LinkTemplate(
            semantics=THIS_SEMANTICS,
            address=build_column_template("access_url"),
            type=build_column_template("access_format"),
            size=file_size,
        )
    for name, semantics in (("thumbnail_url", "#thumbnail"), ("preview_url", "#preview")):
        if name in units_by_column:
            yield LinkTemplate(semantics=semantics, address=build_column_template(name))


def write_target_column_reference(name: str) -> str:
    """Return the expression for a column of the row itself, for templates.

    Parameters
    ----------
    name
        Name of the column.
    """
    quoted_name = name.replace('"', '""')
    return f'{TARGET_ALIAS}."{quoted_name}"'


def to_content_qualifier(product_type: str | None) -> str | None:
    """Convert the kind of a product to DataLink's word.

    Parameters
    ----------
    product_type
        A word of the vocabulary product-type with its ``#``, the address of another word, or the ``dataproduct_type``
        of a row of ObsCore or EPN-TAP.

    Returns
    -------
    word
        ``#image``; None if the kind is unknown, or if there are several.
    """
    if product_type is None or product_type.startswith("#") or "://" in product_type:
        return product_type
    word = _PRODUCT_TYPES.get(product_type.strip().lower())
    return word and f"#{word}"


def list_drawable_extensions() -> tuple[str, ...]:
    """List the endings of files that can be drawn, such as ``.fits``; labels and texts are not among them.

    Returns
    -------
    endings
        Endings of the media types whose libraries are installed, and of pictures.
    """
    extensions = set(RASTER_EXTENSIONS)
    for medium in plugins.load_plugin_records("media").values():
        extensions |= set(medium.extensions) - _TEXT_EXTENSIONS
    return tuple(f".{extension}" for extension in sorted(extensions))
