"""VOSI 1.1: availability, capabilities and tables, as XML from what is known anyway."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from xml.sax.saxutils import escape, quoteattr

from hven.formats.votable import legal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hven.model.params import Param
    from hven.model.settings import Settings
    from hven.model.table import Column, Key, Schema, Table
    from hven.model.types import Type

HEADER = '<?xml version="1.0" encoding="UTF-8"?>\n'
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
VS = 'xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"'
VR = 'xmlns:vr="http://www.ivoa.net/xml/VOResource/v1.0"'
MEDIA_TYPE = "text/xml"
# pyvo decides by these alone; SSO 2.0 has no name for bearer tokens yet
SECURITY = {"Basic": "ivo://ivoa.net/sso#BasicAA", "ivoa_cookie": "ivo://ivoa.net/sso#cookie"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One capability of a service (VOResource 1.1 section 3.2.2).

    Attributes
    ----------
    standard_id
        IVOID of the standard; None: there is none.
    url
        Its address.
    interface
        ``vs:ParamHTTP`` or ``vr:WebBrowser``.
    use
        ``base`` (the client appends), ``full``.
    role
        ``std`` of a standard's own interface.
    version
        Of the standard.
    params
        That it understands.
    description
        For people: what the elements cannot say.
    inside
        Finished XML after the interface: TAPRegExt, ConeSearch elements.
    security
        How one may say who one is (SSO 2.0 section 2.1): an interface for each of these IVOIDs; None: one need not.
    attributes
        Finished XML attributes of the capability element, e.g. its xsi:type and namespaces.
    mirrors
        Further addresses at which it answers.
    test
        Parameters that find something.
    """

    standard_id: str | None
    url: str
    use: str = "full"
    interface: str = "vs:ParamHTTP"
    role: str | None = None
    version: str | None = None
    description: str | None = None
    inside: str = ""
    attributes: str = ""
    params: Sequence[Param] = ()
    security: Sequence[str | None] = (None,)
    mirrors: Sequence[str] = ()
    test: str | None = None


def security(settings: Settings, *, needed: bool = False) -> Sequence[str | None]:
    """List the ways to say who one is; None: one need not, as long as it is not `needed` and the site is open."""
    free = () if needed or settings.login.required else (None,)
    return (*free, *(method for scheme, method in SECURITY.items() if scheme in settings.login.schemes))


def iso(when: datetime) -> str:
    """Write a time as VOSI does: UTC with Z, whole seconds."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def availability(*, up: bool, since: datetime) -> bytes:
    """Write the availability document (VOSI 1.1 section 3)."""
    return (
        f'{HEADER}<availability xmlns="http://www.ivoa.net/xml/VOSIAvailability/v1.0">'
        f"<available>{'true' if up else 'false'}</available><upSince>{iso(since)}</upSince></availability>\n"
    ).encode()


def capabilities(found: Iterable[Capability]) -> bytes:
    """Write the capabilities document (VOSI 1.1 section 2)."""
    inside = "".join(capability(item) for item in found)
    return (
        f'{HEADER}<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" {XSI} {VS} {VR}>\n{inside}</vosi:capabilities>\n'
    ).encode()


def capability(item: Capability) -> str:
    """Write one capability (VOResource 1.1 section 3.2.2)."""
    standard = f" standardID={quoteattr(item.standard_id)}" if item.standard_id else ""
    role = f' role="{item.role}"' if item.role else ""
    version = f' version="{item.version}"' if item.version else ""
    described = f"<description>{escape(item.description)}</description>" if item.description else ""
    params = "".join(_param(param) for param in item.params)
    mirrors = "".join(f"<mirrorURL>{escape(url)}</mirrorURL>" for url in item.mirrors)
    # an interface has one way to log in at most; without one it is for everybody (VOResource 1.1 section 3.2.4). The first is the
    # standard's: of several such clients would not know which to take
    interfaces = "".join(
        f"<interface xsi:type={quoteattr(item.interface)}{role if number == 0 else ''}{version}>"
        f'<accessURL use="{item.use}">{escape(item.url)}</accessURL>{mirrors}'
        f"{f'<securityMethod standardID={quoteattr(method)}/>' if method else ''}{_text('testQueryString', item.test)}{params}</interface>"
        for number, method in enumerate(item.security)
    )
    return f"<capability{standard}{' ' + item.attributes if item.attributes else ''}>{described}{interfaces}{item.inside}</capability>\n"


def _param(param: Param) -> str:
    """Write an input parameter (VODataService 1.1 section 3.3)."""
    use = "required" if param.required else "optional"
    return (
        f'<param use="{use}" std="true"><name>{escape(param.name)}</name>{_text("description", param.description)}'
        f"{_text('unit', param.unit)}{_text('ucd', param.ucd)}<dataType>{simple(param.type)}</dataType></param>"
    )


def simple(kind: Type) -> str:
    """Name a type in the words of VODataService 1.1 section 3.3."""
    if kind.is_string or kind.is_timestamp:
        return "string"
    if kind.is_integer:
        return "integer"
    return "boolean" if kind.is_boolean else "real"


class Counted(Protocol):
    """What was counted when the rows of a table were published."""

    @property
    def rows(self) -> int | None:
        """How many there are; None: it is not known."""

    @property
    def statistics(self) -> Mapping[str, Mapping[str, object]]:
        """Of its columns, as `hven.engines.Snapshot` has them."""


def uncounted(_: Table) -> Counted | None:
    """Tell nothing of any table."""
    return None


def tables(
    schemas: Iterable[Schema],
    *,
    detail: str | None,
    quote: Callable[[str], str],
    counted: Callable[[Table], Counted | None] = uncounted,
) -> bytes:
    """Write the tableset (VOSI 1.1 section 4.1); ``detail="min"`` leaves columns and keys out, ``stats`` has what was counted, too."""
    inside = "".join(schema(one, detail=detail, quote=quote, counted=counted) for one in schemas)
    return f'{HEADER}<vosi:tableset xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" {XSI} {VS}>\n{inside}</vosi:tableset>\n'.encode()


def table(
    one: Table,
    *,
    quote: Callable[[str], str],
    detail: str | None = None,
    counted: Callable[[Table], Counted | None] = uncounted,
) -> bytes:
    """Write a single table (VOSI 1.1 section 4.3)."""
    return (
        f'{HEADER}<vosi:table xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" {XSI} {VS} type="{_kind(one)}">'
        f"{_inside(one, quote, counted(one), detail=detail)}</vosi:table>\n"
    ).encode()


def schema(
    given: Schema,
    *,
    detail: str | None,
    quote: Callable[[str], str],
    counted: Callable[[Table], Counted | None] = uncounted,
) -> str:
    """Write one schema with its tables (VODataService 1.2 section 3.3)."""
    parts = [
        f"<schema><name>{escape(quote(given.name))}</name>{_text('title', given.title)}",
        f"{_text('description', given.description)}{_text('utype', given.utype)}\n",
    ]
    for one in given.tables:
        parts.append(f'<table type="{_kind(one)}">')
        known = counted(one)
        parts.append(_inside(one, quote, known, detail=detail) if detail != "min" else _names(one, quote, known))
        parts.append("</table>\n")
    parts.append("</schema>\n")
    return "".join(parts)


def _kind(one: Table) -> str:
    return "view" if one.view is not None else "table"


def full_name(one: Table, quote: Callable[[str], str]) -> str:
    """Return the name of a table as a query must write it."""
    return f"{quote(one.schema)}.{quote(one.name)}"


def _names(one: Table, quote: Callable[[str], str], known: Counted | None) -> str:
    rows = known.rows if known is not None else None
    return (
        f"<name>{escape(full_name(one, quote))}</name>{_text('title', one.title)}"
        f"{_text('description', one.description)}{_text('utype', one.utype)}{f'<nrows>{rows}</nrows>' if rows is not None else ''}"
    )


def _inside(one: Table, quote: Callable[[str], str], known: Counted | None, *, detail: str | None) -> str:
    counted = known if detail == "stats" else None
    columns = "".join(_column(column, one, quote, counted) for column in one.columns if not column.hidden)
    keys = "".join(_key(key, quote) for key in one.keys)
    return f"{_names(one, quote, known)}\n{columns}{keys}"


def _stats(column: Column, known: Counted | None) -> str:
    """Write what was counted of a column (vs:Stats, draft of VODataService 1.3)."""
    facts = known.statistics.get(column.name) if known is not None else None
    if known is None or not facts or not known.rows:
        return ""
    rows, nulls = known.rows, facts.get("nulls")
    parts = [
        f"<{name}>{value!r}</{name}>"
        for name, value in (("min", facts.get("minimum")), ("max", facts.get("maximum")))
        if column.type.is_numeric and isinstance(value, int | float)
    ]
    if isinstance(nulls, int):
        parts.append(f"<fillFactor>{(rows - nulls) / rows:.4g}</fillFactor>")
    top: Any = facts.get("top") or ()
    top = top if any(count > 1 for _, count in top) else ()  # names of rows are no distribution
    options = [*top, *([(None, nulls)] if top and nulls else [])]
    parts += [
        f'<option freq="{count / rows:.4g}">{"" if value is None else escape(legal(str(value)))}</option>'
        for value, count in options
    ]
    return f"<stats>{''.join(parts)}</stats>" if parts else ""


def _column(column: Column, one: Table, quote: Callable[[str], str], counted: Counted | None) -> str:
    kind = column.type
    size = f" arraysize={quoteattr(kind.told)}" if kind.told is not None else ""
    xtype = f" extendedType={quoteattr(kind.xtype)}" if kind.xtype is not None else ""
    flags = ""
    if column.name in one.primary:
        flags += "<flag>primary</flag>"
    if column.name in one.searched or column.name in (one.position or ()):
        flags += "<flag>indexed</flag>"
    if not column.required and column.name not in one.primary:
        flags += "<flag>nullable</flag>"
    std = ' std="true"' if column.std else ""
    return (
        f"<column{std}><name>{escape(quote(column.name))}</name>{_text('description', column.description)}{_text('unit', column.unit)}"
        f"{_text('ucd', column.ucd)}{_text('utype', column.utype)}{_stats(column, counted)}"
        f'<dataType xsi:type="vs:VOTableType"{size}{xtype}>{kind.datatype}</dataType>{flags}</column>\n'
    )


def _key(key: Key, quote: Callable[[str], str]) -> str:
    pairs = "".join(
        f"<fkColumn><fromColumn>{escape(quote(a))}</fromColumn><targetColumn>{escape(quote(b))}</targetColumn></fkColumn>"
        for a, b in zip(key.columns, key.target_columns, strict=True)
    )
    target = ".".join(quote(part) for part in key.target.split("."))
    return (
        f"<foreignKey><targetTable>{escape(target)}</targetTable>{pairs}{_text('description', key.description)}"
        f"{_text('utype', key.utype)}</foreignKey>\n"
    )


def _text(name: str, value: str | None) -> str:
    return f"<{name}>{escape(value)}</{name}>" if value else ""
