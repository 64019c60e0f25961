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


class TemplateExpression(NamedTuple):
    """An ADQL expression in a template, which a row gives a value.

    Attributes
    ----------
    expression
        Over the row, as ``target``.
    format_spec
        How the value is written: ``.1f``, ``05d``; empty: as it is.
    """

    expression: str
    format_spec: str = ""


Template = tuple[str | TemplateExpression, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceParameter:
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
class ServiceDescriptor:
    """A service that takes values of a row (DataLink 1.1, section 4).

    Attributes
    ----------
    address
        Where it is asked; `SITE_URL_EXPRESSION` in it is the site's address.
    inputs
        Its parameters.
    standard_id
        IVOID of the standard that it keeps.
    ivoid
        IVOID under which it is registered.
    """

    address: Template
    inputs: tuple[ServiceParameter, ...] = ()
    standard_id: str | None = None
    ivoid: str | None = None

    @property
    def templates(self) -> Iterator[Template]:
        """All that is filled with values of the row."""
        yield self.address
        for parameter in self.inputs:
            yield from (parameter.value, parameter.low, parameter.high, parameter.example)

    @cached_property
    def row_dependent_positions(self) -> tuple[int, ...]:
        """Which of its parameters have values of the row."""
        dependences = (
            any(
                isinstance(part, TemplateExpression)
                for template in (parameter.value, parameter.low, parameter.high, parameter.example)
                for part in template
            )
            for parameter in self.inputs
        )
        return tuple(position for position, depends_on_row in enumerate(dependences) if depends_on_row)


@dataclass(frozen=True, kw_only=True)
class LinkTemplate:
    """Rows of DataLink: one for each row of the table, or for each row of another one that goes with it.

    Attributes
    ----------
    semantics
        A word of DataLink's vocabulary, with ``#``, or the address of another one.
    address
        Where it leads to; `SITE_URL_EXPRESSION` in it is the site's address. Null where one of its values is: no link.
    is_file
        True: `address` is the path of a file of the collection.
    type, description, size
        Of what is there: media type, words, bytes.
    content_qualifier
        What kind of product it is: `to_content_qualifier` makes ``content_qualifier`` of it.
    local_semantics
        ``local_semantics``.
    condition
        ADQL over the row; where it is not true, there is no such link.
    extension_media_types
        How the path may end to which it leads (without the dot, in lower case; a query may follow), and the media type
        of what is there then; where it ends otherwise, there is no such link. None given: as it likes.
    source, alias, where, order
        Another table (``schema.table``), the name that expressions have for it, how its rows go with a row
        (``target``), and their order.
    service
        Instead of an address: a service.
    needs_file_access
        True: it is made of the row's files; where the reader may take none of these, there is no such link.
    adapt_service
        Fits that service, filled with the row's values, to the row's own file, of which it gets the path (None: it has
        none here, or not for this reader), and what services of the same list have noted of files; None: this row has
        no such service.
    check_addresses
        Says of addresses whether what is there suits the link (null: there is none); where it does not, there is no
        such link.
    places
        Key -> where it stands in the descriptor.
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
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)

    @property
    def templates(self) -> Iterator[Template]:
        """All that is filled with values of the row."""
        yield from (self.address, self.type, self.description, self.size, self.content_qualifier, self.local_semantics)
        if self.service is not None:
            yield from self.service.templates

    @cached_property
    def row_expressions(self) -> tuple[str, ...]:
        """What it asks of the row: ADQL."""
        expressions = (
            part
            for template in self.templates
            for part in template
            if isinstance(part, TemplateExpression) and part != SITE_URL_EXPRESSION
        )
        return tuple(dict.fromkeys(expression.expression for expression in expressions))


FILES_UTYPE = "hven:files"  # utype of the table of a collection's files
DATALINK_STANDARD_ID = "ivo://ivoa.net/std/DataLink#links-1.1"
DATALINK_MEDIA_TYPE = "application/x-votable+xml;content=datalink"  # media type of a list of links
SITE_URL_EXPRESSION = TemplateExpression("site.url")
TARGET_ALIAS = "target"  # what expressions call the row

THIS_SEMANTICS = "#this"
RASTER_EXTENSIONS = ("gif", "jp2", "jpeg", "jpg", "png", "tif", "tiff", "webp")  # endings of pictures
# words of ObsCore and codes of EPN-TAP -> DataLink's: those of the vocabulary product-type
_PRODUCT_TYPES = {
    **{word: word for word in ("image", "cube", "spectrum", "sed", "timeseries", "visibility", "measurements")},
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
_TEXT_EXTENSIONS = {"xml", "lbl", "tab", "txt"}  # of products, and of much else


def list_standard_links(utype: str | None, units_by_column: Mapping[str, str | None]) -> Iterator[LinkTemplate]:
    """Yield the links that a table has by its columns (name -> unit).

    Those that EPN-TAP and ObsCore have for them, and of the table of files.
    """

    def build_column_template(name: str, pattern: str = "{}") -> Template:
        quoted = name.replace('"', '""')
        if name in units_by_column:
            return (TemplateExpression(pattern.format(f'{TARGET_ALIAS}."{quoted}"')),)
        return ()

    if utype == FILES_UTYPE:
        media_type, size, title = map(build_column_template, ("media_type", "bytes", "title"))
        yield LinkTemplate(
            semantics=THIS_SEMANTICS,
            address=build_column_template("url"),
            type=media_type,
            size=size,
            description=title,
        )
        return
    if "access_url" in units_by_column:
        has_size = units_by_column.get("access_estsize") is not None
        yield LinkTemplate(
            semantics=THIS_SEMANTICS,
            address=build_column_template("access_url"),
            type=build_column_template("access_format"),
            size=build_column_template("access_estsize", "ROUND(IN_UNIT({}, 'byte'))") if has_size else (),
        )
    for name, semantics in (("thumbnail_url", "#thumbnail"), ("preview_url", "#preview")):
        if name in units_by_column:
            yield LinkTemplate(semantics=semantics, address=build_column_template(name))


def to_content_qualifier(product_type: str | None) -> str | None:
    """Say what kind of product it is in the words of DataLink.

    Parameters
    ----------
    product_type
        A word of the vocabulary product-type with its ``#``, the address of another one; the ``dataproduct_type`` of a
        row, as ObsCore or EPN-TAP has it.

    Returns
    -------
    word
        ``#image``; None: nobody says it, or several.
    """
    if product_type is None or product_type.startswith("#") or "://" in product_type:
        return product_type
    word = _PRODUCT_TYPES.get(product_type.strip().lower())
    return word and f"#{word}"


def list_drawable_extensions() -> tuple[str, ...]:
    """List how names of files end of which there are pictures, ``.fits``; of labels and texts nothing is promised.

    Returns
    -------
    endings
        By the media whose libraries are installed.
    """
    extensions = {
        extension for medium in plugins.load_records("media").values() for extension in medium.extensions
    } - _TEXT_EXTENSIONS
    return tuple(f".{extension}" for extension in sorted({*extensions, *RASTER_EXTENSIONS}))


__all__ = [
    "DATALINK_MEDIA_TYPE",
    "DATALINK_STANDARD_ID",
    "FILES_UTYPE",
    "RASTER_EXTENSIONS",
    "SITE_URL_EXPRESSION",
    "TARGET_ALIAS",
    "LinkTemplate",
    "ServiceDescriptor",
    "ServiceParameter",
    "Template",
    "TemplateExpression",
    "list_drawable_extensions",
    "list_standard_links",
    "to_content_qualifier",
]
