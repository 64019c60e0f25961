"""VOSI 1.1: availability, capabilities and tables, as XML."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from hven.formats import escape_xml, quote_attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hven.model.params import Param
    from hven.model.settings import Settings
    from hven.model.table import Column, ForeignKey, Schema, Table
    from hven.model.types import ColumnType

XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
XSI_NAMESPACE = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
VODATASERVICE_NAMESPACE = 'xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"'
VORESOURCE_NAMESPACE = 'xmlns:vr="http://www.ivoa.net/xml/VOResource/v1.0"'
MEDIA_TYPE = "text/xml"
# pyvo decides by these only; SSO 2.0 has no name for bearer tokens yet
SECURITY_METHOD_IVOIDS = {"Basic": "ivo://ivoa.net/sso#BasicAA", "ivoa_cookie": "ivo://ivoa.net/sso#cookie"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One capability of a service (VOResource 1.1, section 3.2.2).

    Attributes
    ----------
    standard_id
        IVOID of the standard; None if there is none.
    url
        Address of the interface.
    interface
        ``vs:ParamHTTP`` or ``vr:WebBrowser``.
    use
        ``base`` (the client appends parameters), ``full``.
    role
        ``std`` for the interface of a standard.
    version
        Version of the standard.
    params
        Parameters of the interface.
    description
        Description for people.
    extension_xml
        XML elements after the interface: those of TAPRegExt, ConeSearch.
    security_methods
        IVOIDs of login methods (SSO 2.0, section 2.1), one interface for each; None for one without login.
    attributes_xml
        XML attributes of the capability element, such as its xsi:type and namespaces.
    mirrors
        Further addresses of the service.
    test_query
        Parameters of a query that returns something.
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


def list_security_methods(settings: Settings, *, is_login_required: bool = False) -> Sequence[str | None]:
    """List the login methods of a site.

    Parameters
    ----------
    settings
        Settings of the site.
    is_login_required
        Whether the service is only for accounts, also on an open site.

    Returns
    -------
    methods
        IVOIDs; None stands for access without login, if the site is open.
    """
    methods: list[str | None] = []
    if not is_login_required and not settings.login.required:
        methods.append(None)
    methods += [method for scheme, method in SECURITY_METHOD_IVOIDS.items() if scheme in settings.login.schemes]
    return methods


def format_time(instant: datetime) -> str:
    """Write a time as VOSI does: UTC with Z, whole seconds.

    Parameters
    ----------
    instant
        A time with a time zone.

    Returns
    -------
    text
        ``2026-11-20T09:51:05Z``.
    """
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_availability(*, is_available: bool, start_time: datetime) -> bytes:
    """Write the availability document (VOSI 1.1, section 3).

    Parameters
    ----------
    is_available
        Whether the service answers now.
    start_time
        Since when it does.

    Returns
    -------
    document
        A complete document.
    """
    return (
        f'{XML_DECLARATION}<availability xmlns="http://www.ivoa.net/xml/VOSIAvailability/v1.0">'
        f"<available>{'true' if is_available else 'false'}</available>"
        f"<upSince>{format_time(start_time)}</upSince></availability>\n"
    ).encode()


def write_capabilities(capabilities: Iterable[Capability]) -> bytes:
    """Write the capabilities document (VOSI 1.1 section 2).

    Parameters
    ----------
    capabilities
        The capabilities of a service.

    Returns
    -------
    document
        A complete document.
    """
    inside = "".join(write_capability(item) for item in capabilities)
    return (
        f'{XML_DECLARATION}<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" '
        f"{XSI_NAMESPACE} {VODATASERVICE_NAMESPACE} {VORESOURCE_NAMESPACE}>\n{inside}</vosi:capabilities>\n"
    ).encode()


def write_capability(capability: Capability) -> str:
    """Write one capability (VOResource 1.1, section 3.2.2).

    Parameters
    ----------
    capability
        The capability.

    Returns
    -------
    xml
        The element ``capability``.
    """
    attributes = ""
    if capability.standard_id:
        attributes += f" standardID={quote_attribute(capability.standard_id)}"
    if capability.attributes_xml:
        attributes += f" {capability.attributes_xml}"
    # an interface has one login method at most, and is for everybody without one (VOResource 1.1, section 3.2.4); the
    # first is that of the standard: of several standard interfaces, clients would not know which to use
    interfaces = [
        _write_interface(capability, method, is_first=number == 0)
        for number, method in enumerate(capability.security_methods)
    ]
    content = _write_text_element("description", capability.description) + "".join(interfaces)
    return f"<capability{attributes}>{content}{capability.extension_xml}</capability>\n"


def _write_interface(capability: Capability, security_method: str | None, *, is_first: bool) -> str:
    """Write one interface of a capability: that with a login method, or without login (None)."""
    attributes = f"xsi:type={quote_attribute(capability.interface)}"
    if capability.role and is_first:
        attributes += f' role="{capability.role}"'
    if capability.version:
        attributes += f' version="{capability.version}"'
    parts = [f'<accessURL use="{capability.use}">{escape_xml(capability.url)}</accessURL>']
    parts += [f"<mirrorURL>{escape_xml(url)}</mirrorURL>" for url in capability.mirrors]
    if security_method:
        parts.append(f"<securityMethod standardID={quote_attribute(security_method)}/>")
    parts.append(_write_text_element("testQueryString", capability.test_query))
    parts += map(_write_param, capability.params)
    return f"<interface {attributes}>{''.join(parts)}</interface>"


def _write_param(param: Param) -> str:
    """Write an input parameter (VODataService 1.1, section 3.3)."""
    use = "required" if param.required else "optional"
    content = (
        f"<name>{escape_xml(param.name)}</name>{_write_text_element('description', param.description)}"
        f"{_write_text_element('unit', param.unit)}{_write_text_element('ucd', param.ucd)}"
        f"<dataType>{get_vodataservice_type_name(param.type)}</dataType>"
    )
    return f'<param use="{use}" std="true">{content}</param>'


def get_vodataservice_type_name(column_type: ColumnType) -> str:
    """Return the name of a type in VODataService 1.1, section 3.3."""
    if column_type.is_string or column_type.is_timestamp:
        return "string"
    if column_type.is_integer:
        return "integer"
    if column_type.is_boolean:
        return "boolean"
    return "real"


class TableStatistics(Protocol):
    """Statistics of a published table."""

    @property
    def rows(self) -> int | None:
        """Number of rows; None if it is not known."""

    @property
    def statistics(self) -> Mapping[str, Mapping[str, object]]:
        """Statistics of its columns, as in `hven.engines.Snapshot`."""


def find_no_statistics(_: Table) -> TableStatistics | None:
    """Return no statistics for any table."""
    return None


def write_tableset(
    schemas: Iterable[Schema],
    *,
    detail: str | None,
    quote_name: Callable[[str], str],
    find_statistics: Callable[[Table], TableStatistics | None] = find_no_statistics,
) -> bytes:
    """Write the tableset (VOSI 1.1, section 4.1).

    ``detail="min"`` omits columns and keys; ``stats`` adds statistics.
    """
    schema_elements = []
    for schema in schemas:
        schema_xml = write_schema_xml(schema, detail=detail, quote_name=quote_name, find_statistics=find_statistics)
        schema_elements.append(schema_xml)
    content = "".join(schema_elements)
    return (
        f'{XML_DECLARATION}<vosi:tableset xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" {XSI_NAMESPACE} '
        f"{VODATASERVICE_NAMESPACE}>\n{content}</vosi:tableset>\n"
    ).encode()


def write_vosi_table_document(
    table: Table,
    *,
    quote_name: Callable[[str], str],
    detail: str | None = None,
    find_statistics: Callable[[Table], TableStatistics | None] = find_no_statistics,
) -> bytes:
    """Write a single table (VOSI 1.1, section 4.3).

    Parameters
    ----------
    table
        The table.
    quote_name
        Quotes a name, if ADQL needs it.
    detail
        ``stats``: with statistics of its columns.
    find_statistics
        Finds the statistics of a table; None if it has none.

    Returns
    -------
    document
        The XML document.
    """
    content = _write_table_content_xml(table, quote_name, find_statistics(table), detail=detail)
    return (
        f'{XML_DECLARATION}<vosi:table xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" {XSI_NAMESPACE} '
        f'{VODATASERVICE_NAMESPACE} type="{_get_table_type(table)}">{content}</vosi:table>\n'
    ).encode()


def write_schema_xml(
    schema: Schema,
    *,
    detail: str | None,
    quote_name: Callable[[str], str],
    find_statistics: Callable[[Table], TableStatistics | None] = find_no_statistics,
) -> str:
    """Write one schema with its tables (VODataService 1.2, section 3.3).

    Parameters
    ----------
    schema
        The schema.
    detail
        ``min`` omits columns and keys, ``stats`` adds statistics of columns; None: neither.
    quote_name
        Quotes a name if ADQL requires it.
    find_statistics
        Finds the statistics of a table that its readers may see.

    Returns
    -------
    xml
        The element ``schema``.
    """
    parts = [
        f"<schema><name>{escape_xml(quote_name(schema.name))}</name>{_write_text_element('title', schema.title)}",
        f"{_write_text_element('description', schema.description)}{_write_text_element('utype', schema.utype)}\n",
    ]
    for table in schema.tables:
        table_statistics = find_statistics(table)
        if detail == "min":
            content = _write_table_header_xml(table, quote_name, table_statistics)
        else:
            content = _write_table_content_xml(table, quote_name, table_statistics, detail=detail)
        parts.append(f'<table type="{_get_table_type(table)}">{content}</table>\n')
    parts.append("</schema>\n")
    return "".join(parts)


def _get_table_type(table: Table) -> str:
    if table.view is not None:
        return "view"
    return "table"


def format_full_name(table: Table, quote_name: Callable[[str], str]) -> str:
    """Return the name of a table as a query must write it."""
    return f"{quote_name(table.schema)}.{quote_name(table.name)}"


def _write_table_header_xml(table: Table, quote_name: Callable[[str], str], statistics: TableStatistics | None) -> str:
    row_count = ""
    if statistics is not None and statistics.rows is not None:
        row_count = f"<nrows>{statistics.rows}</nrows>"
    return (
        f"<name>{escape_xml(format_full_name(table, quote_name))}</name>{_write_text_element('title', table.title)}"
        f"{_write_text_element('description', table.description)}{_write_text_element('utype', table.utype)}"
        f"{row_count}"
    )


def _write_table_content_xml(
    table: Table, quote_name: Callable[[str], str], statistics: TableStatistics | None, *, detail: str | None
) -> str:
    column_statistics = statistics if detail == "stats" else None
    visible_columns = [column for column in table.columns if not column.hidden]
    columns = "".join(_write_column(column, table, quote_name, column_statistics) for column in visible_columns)
    keys = "".join(_write_foreign_key(key, quote_name) for key in table.keys)
    return f"{_write_table_header_xml(table, quote_name, statistics)}\n{columns}{keys}"


def _write_column_statistics(column: Column, statistics: TableStatistics | None) -> str:
    """Write the statistics of a column (vs:Stats, draft of VODataService 1.3)."""
    if statistics is None or not statistics.rows:
        return ""
    facts = statistics.statistics.get(column.name)
    if not facts:
        return ""
    row_count = statistics.rows
    null_count = facts.get("nulls")
    parts = []
    if column.type.is_numeric:
        for name, fact in (("min", "minimum"), ("max", "maximum")):
            extreme = facts.get(fact)
            if isinstance(extreme, int | float):
                parts.append(f"<{name}>{extreme!r}</{name}>")
    if isinstance(null_count, int):
        parts.append(f"<fillFactor>{(row_count - null_count) / row_count:.4g}</fillFactor>")
    top: Any = facts.get("top") or ()
    if any(count > 1 for _, count in top):  # values that are all different, such as names, are no distribution
        parts += [_write_statistics_option(value, count / row_count) for value, count in top]
        if isinstance(null_count, int) and null_count:
            parts.append(_write_statistics_option(None, null_count / row_count))
    if parts:
        return f"<stats>{''.join(parts)}</stats>"
    return ""


def _write_statistics_option(value: object, frequency: float) -> str:
    text = ""
    if value is not None:
        text = escape_xml(str(value))
    return f'<option freq="{frequency:.4g}">{text}</option>'


def _write_column(
    column: Column, table: Table, quote_name: Callable[[str], str], statistics: TableStatistics | None
) -> str:
    type_attributes = 'xsi:type="vs:VOTableType"'
    if column.type.metadata_arraysize is not None:
        type_attributes += f" arraysize={quote_attribute(column.type.metadata_arraysize)}"
    if column.type.xtype is not None:
        type_attributes += f" extendedType={quote_attribute(column.type.xtype)}"
    flags = ""
    if column.name in table.primary:
        flags += "<flag>primary</flag>"
    if column.name in table.indexed_column_names or column.name in (table.position or ()):
        flags += "<flag>indexed</flag>"
    if not column.required and column.name not in table.primary:
        flags += "<flag>nullable</flag>"
    std = ' std="true"' if column.std else ""
    return (
        f"<column{std}><name>{escape_xml(quote_name(column.name))}</name>"
        f"{_write_text_element('description', column.description)}{_write_text_element('unit', column.unit)}"
        f"{_write_text_element('ucd', column.ucd)}{_write_text_element('utype', column.utype)}"
        f"{_write_column_statistics(column, statistics)}"
        f"<dataType {type_attributes}>{column.type.datatype}</dataType>{flags}</column>\n"
    )


def _write_foreign_key(key: ForeignKey, quote_name: Callable[[str], str]) -> str:
    pairs = []
    for column, target_column in zip(key.columns, key.target_columns, strict=True):
        from_column = f"<fromColumn>{escape_xml(quote_name(column))}</fromColumn>"
        to_column = f"<targetColumn>{escape_xml(quote_name(target_column))}</targetColumn>"
        pairs.append(f"<fkColumn>{from_column}{to_column}</fkColumn>")
    target = ".".join(quote_name(part) for part in key.target.split("."))
    return (
        f"<foreignKey><targetTable>{escape_xml(target)}</targetTable>{''.join(pairs)}"
        f"{_write_text_element('description', key.description)}{_write_text_element('utype', key.utype)}"
        f"</foreignKey>\n"
    )


def _write_text_element(name: str, value: str | None) -> str:
    if value:
        return f"<{name}>{escape_xml(value)}</{name}>"
    return ""
