"""VOSI 1.1: availability, capabilities and tables, as XML from what is known anyway."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from xml.sax.saxutils import escape, quoteattr

from hven.formats.votable import replace_illegal_characters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hven.model.params import Param
    from hven.model.settings import Settings
    from hven.model.table import Column, ForeignKey, Schema, Table
    from hven.model.types import Type

XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
XSI_NAMESPACE = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
VODATASERVICE_NAMESPACE = 'xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"'
VORESOURCE_NAMESPACE = 'xmlns:vr="http://www.ivoa.net/xml/VOResource/v1.0"'
MEDIA_TYPE = "text/xml"
# pyvo decides by these alone; SSO 2.0 has no name for bearer tokens yet
SECURITY_METHOD_IVOIDS = {"Basic": "ivo://ivoa.net/sso#BasicAA", "ivoa_cookie": "ivo://ivoa.net/sso#cookie"}


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
    extension_xml
        Finished XML after the interface: TAPRegExt, ConeSearch elements.
    security_methods
        How one may say who one is (SSO 2.0 section 2.1): an interface for each of these IVOIDs; None: one need not.
    attributes_xml
        Finished XML attributes of the capability element, e.g. its xsi:type and namespaces.
    mirrors
        Further addresses at which it answers.
    test_query
        Parameters that find something.
    """

    standard_id: str | None
    url: str
    use: str = "full"
    interface: str = "vs:ParamHTTP"
    role: str | None = None
    version: str | None = None
    description: str | None = None
    extension_xml: str = ""
    attributes_xml: str = ""
    params: Sequence[Param] = ()
    security_methods: Sequence[str | None] = (None,)
    mirrors: Sequence[str] = ()
    test_query: str | None = None


def list_security_methods(settings: Settings, *, login_required: bool = False) -> Sequence[str | None]:
    """List the ways to say who one is; None.

    One need not, as long as it is not `login_required` and the site is open.
    """
    free = () if login_required or settings.login.required else (None,)
    return (*free, *(method for scheme, method in SECURITY_METHOD_IVOIDS.items() if scheme in settings.login.schemes))


def format_time(instant: datetime) -> str:
    """Write a time as VOSI does: UTC with Z, whole seconds."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_availability(*, is_available: bool, start_time: datetime) -> bytes:
    """Write the availability document (VOSI 1.1 section 3)."""
    return (
        f'{XML_DECLARATION}<availability xmlns="http://www.ivoa.net/xml/VOSIAvailability/v1.0">'
        f"<available>{'true' if is_available else 'false'}</available><upSince>{format_time(start_time)}</upSince></availability>\n"
    ).encode()


def write_capabilities(capabilities: Iterable[Capability]) -> bytes:
    """Write the capabilities document (VOSI 1.1 section 2)."""
    inside = "".join(write_capability(item) for item in capabilities)
    return (
        f'{XML_DECLARATION}<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" '
        f"{XSI_NAMESPACE} {VODATASERVICE_NAMESPACE} {VORESOURCE_NAMESPACE}>\n{inside}</vosi:capabilities>\n"
    ).encode()


def write_capability(capability: Capability) -> str:
    """Write one capability (VOResource 1.1 section 3.2.2)."""
    if capability.standard_id:
        standard = f" standardID={quoteattr(capability.standard_id)}"
    else:
        standard = ""
    if capability.role:
        role = f' role="{capability.role}"'
    else:
        role = ""
    if capability.version:
        version = f' version="{capability.version}"'
    else:
        version = ""
    if capability.description:
        described = f"<description>{escape(capability.description)}</description>"
    else:
        described = ""
    params = "".join(_write_param(param) for param in capability.params)
    mirrors = "".join(f"<mirrorURL>{escape(url)}</mirrorURL>" for url in capability.mirrors)
    # an interface has one way to log in at most; without one it is for everybody (VOResource 1.1 section 3.2.4). The
    # first is the standard's: of several such clients would not know which to take
    interfaces = "".join(
        f"<interface xsi:type={quoteattr(capability.interface)}{role if number == 0 else ''}{version}>"
        f'<accessURL use="{capability.use}">{escape(capability.url)}</accessURL>{mirrors}'
        f"{f'<securityMethod standardID={quoteattr(method)}/>' if method else ''}{_write_text_element('testQueryString', capability.test_query)}{params}</interface>"
        for number, method in enumerate(capability.security_methods)
    )
    return f"<capability{standard}{' ' + capability.attributes_xml if capability.attributes_xml else ''}>{described}{interfaces}{capability.extension_xml}</capability>\n"


def _write_param(param: Param) -> str:
    """Write an input parameter (VODataService 1.1 section 3.3)."""
    use = "required" if param.required else "optional"
    return (
        f'<param use="{use}" std="true"><name>{escape(param.name)}</name>{_write_text_element("description", param.description)}'
        f"{_write_text_element('unit', param.unit)}{_write_text_element('ucd', param.ucd)}<dataType>{name_simple_type(param.type)}</dataType></param>"
    )


def name_simple_type(column_type: Type) -> str:
    """Name a type in the words of VODataService 1.1 section 3.3."""
    if column_type.is_string or column_type.is_timestamp:
        return "string"
    if column_type.is_integer:
        return "integer"
    return "boolean" if column_type.is_boolean else "real"


class TableStatistics(Protocol):
    """What was counted when the rows of a table were published."""

    @property
    def rows(self) -> int | None:
        """How many there are; None: it is not known."""

    @property
    def statistics(self) -> Mapping[str, Mapping[str, object]]:
        """Of its columns, as `hven.engines.Snapshot` has them."""


def find_no_statistics(_: Table) -> TableStatistics | None:
    """Tell nothing of any table."""
    return None


def write_tableset(
    schemas: Iterable[Schema],
    *,
    detail: str | None,
    quote_name: Callable[[str], str],
    find_statistics: Callable[[Table], TableStatistics | None] = find_no_statistics,
) -> bytes:
    """Write the tableset (VOSI 1.1 section 4.1).

    ``detail="min"`` leaves columns and keys out, ``stats`` has what was counted, too.
    """
    inside = "".join(
        write_schema(table_schema, detail=detail, quote_name=quote_name, find_statistics=find_statistics)
        for table_schema in schemas
    )
    return (
        f'{XML_DECLARATION}<vosi:tableset xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" {XSI_NAMESPACE} '
        f"{VODATASERVICE_NAMESPACE}>\n{inside}</vosi:tableset>\n"
    ).encode()


def write_table(
    table: Table,
    *,
    quote_name: Callable[[str], str],
    detail: str | None = None,
    find_statistics: Callable[[Table], TableStatistics | None] = find_no_statistics,
) -> bytes:
    """Write a single table (VOSI 1.1 section 4.3)."""
    return (
        f'{XML_DECLARATION}<vosi:table xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" {XSI_NAMESPACE} {VODATASERVICE_NAMESPACE} type="{_get_table_type(table)}">'
        f"{_write_table_content(table, quote_name, find_statistics(table), detail=detail)}</vosi:table>\n"
    ).encode()


def write_schema(
    schema: Schema,
    *,
    detail: str | None,
    quote_name: Callable[[str], str],
    find_statistics: Callable[[Table], TableStatistics | None] = find_no_statistics,
) -> str:
    """Write one schema with its tables (VODataService 1.2 section 3.3)."""
    parts = [
        f"<schema><name>{escape(quote_name(schema.name))}</name>{_write_text_element('title', schema.title)}",
        f"{_write_text_element('description', schema.description)}{_write_text_element('utype', schema.utype)}\n",
    ]
    for schema_table in schema.tables:
        parts.append(f'<table type="{_get_table_type(schema_table)}">')
        table_statistics = find_statistics(schema_table)
        parts.append(
            _write_table_content(schema_table, quote_name, table_statistics, detail=detail)
            if detail != "min"
            else _write_table_names(schema_table, quote_name, table_statistics)
        )
        parts.append("</table>\n")
    parts.append("</schema>\n")
    return "".join(parts)


def _get_table_type(table: Table) -> str:
    return "view" if table.view is not None else "table"


def format_full_name(table: Table, quote_name: Callable[[str], str]) -> str:
    """Return the name of a table as a query must write it."""
    return f"{quote_name(table.schema)}.{quote_name(table.name)}"


def _write_table_names(table: Table, quote_name: Callable[[str], str], statistics: TableStatistics | None) -> str:
    if statistics is not None:
        rows = statistics.rows
    else:
        rows = None
    return (
        f"<name>{escape(format_full_name(table, quote_name))}</name>{_write_text_element('title', table.title)}"
        f"{_write_text_element('description', table.description)}{_write_text_element('utype', table.utype)}{f'<nrows>{rows}</nrows>' if rows is not None else ''}"
    )


def _write_table_content(
    table: Table, quote_name: Callable[[str], str], statistics: TableStatistics | None, *, detail: str | None
) -> str:
    counted = statistics if detail == "stats" else None
    columns = "".join(
        _write_column(column, table, quote_name, counted) for column in table.columns if not column.hidden
    )
    keys = "".join(_write_foreign_key(key, quote_name) for key in table.keys)
    return f"{_write_table_names(table, quote_name, statistics)}\n{columns}{keys}"


def _write_column_statistics(column: Column, statistics: TableStatistics | None) -> str:
    """Write what was counted of a column (vs:Stats, draft of VODataService 1.3)."""
    if statistics is not None:
        facts = statistics.statistics.get(column.name)
    else:
        facts = None
    if statistics is None or not facts or not statistics.rows:
        return ""
    rows = statistics.rows
    nulls = facts.get("nulls")
    parts = [
        f"<{name}>{value!r}</{name}>"
        for name, value in (("min", facts.get("minimum")), ("max", facts.get("maximum")))
        if column.type.is_numeric and isinstance(value, int | float)
    ]
    if isinstance(nulls, int):
        parts.append(f"<fillFactor>{(rows - nulls) / rows:.4g}</fillFactor>")
    top: Any = facts.get("top") or ()
    # names of rows are no distribution
    if not any((count > 1 for _, count in top)):
        top = ()
    options = [*top, *([(None, nulls)] if top and nulls else [])]
    parts += [
        (
            f"<option "
            f'freq="{count / rows:.4g}">{"" if value is None else escape(replace_illegal_characters(str(value)))}</option>'
        )
        for value, count in options
    ]
    if parts:
        return f"<stats>{''.join(parts)}</stats>"
    return ""


def _write_column(
    column: Column, table: Table, quote_name: Callable[[str], str], statistics: TableStatistics | None
) -> str:
    kind = column.type
    if kind.metadata_arraysize is not None:
        size = f" arraysize={quoteattr(kind.metadata_arraysize)}"
    else:
        size = ""
    if kind.xtype is not None:
        xtype = f" extendedType={quoteattr(kind.xtype)}"
    else:
        xtype = ""
    flags = ""
    if column.name in table.primary:
        flags += "<flag>primary</flag>"
    if column.name in table.indexed_column_names or column.name in (table.position or ()):
        flags += "<flag>indexed</flag>"
    if not column.required and column.name not in table.primary:
        flags += "<flag>nullable</flag>"
    std = ' std="true"' if column.std else ""
    return (
        f"<column{std}><name>{escape(quote_name(column.name))}</name>{_write_text_element('description', column.description)}{_write_text_element('unit', column.unit)}"
        f"{_write_text_element('ucd', column.ucd)}{_write_text_element('utype', column.utype)}{_write_column_statistics(column, statistics)}"
        f'<dataType xsi:type="vs:VOTableType"{size}{xtype}>{kind.datatype}</dataType>{flags}</column>\n'
    )


def _write_foreign_key(key: ForeignKey, quote_name: Callable[[str], str]) -> str:
    pairs = "".join(
        f"<fkColumn><fromColumn>{escape(quote_name(a))}</fromColumn><targetColumn>{escape(quote_name(b))}</targetColumn></fkColumn>"
        for a, b in zip(key.columns, key.target_columns, strict=True)
    )
    target = ".".join(quote_name(part) for part in key.target.split("."))
    return (
        f"<foreignKey><targetTable>{escape(target)}</targetTable>{pairs}{_write_text_element('description', key.description)}"
        f"{_write_text_element('utype', key.utype)}</foreignKey>\n"
    )


def _write_text_element(name: str, value: str | None) -> str:
    if value:
        return f"<{name}>{escape(value)}</{name}>"
    return ""
