"""Service descriptors that an answer carries (DataLink 1.1, section 4).

They are collected once for each plan, for every table whose rows have services.
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.adql.syntax_tree import ColumnRef, DerivedTable, Join, Select, SelectItem, TableRef, walk_tree
from hven.formats.votable import assign_xml_ids, write_service_descriptor
from hven.model import plugins
from hven.model.params import Param
from hven.model.table import (
    DATALINK_STANDARD_ID,
    SITE_URL_EXPRESSION,
    ServiceDescriptor,
    ServiceParameter,
    write_target_column_reference,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.adql.syntax_tree import BoundQuery, FromItem
    from hven.model.table import LinkTemplate, Table, Template

SITE_URL_PLACEHOLDER = "{site.url}"  # stands for the site's address, which depends on the request
_ID_INPUT = ServiceParameter(param=Param(name="ID", ucd="meta.id;meta.main"))


def write_service_descriptors(bound_query: BoundQuery) -> tuple[str, ...]:
    """Describe the services that take values of a column of the answer.

    Parameters
    ----------
    bound_query
        A query, bound to the tables that its user may see.

    Returns
    -------
    resources
        An XML element RESOURCE for each service, with `SITE_URL_PLACEHOLDER`: the list of links and services of files,
        if the answer has a table's identifier unchanged, and services of its rows, if the answer has all columns that
        they take.
    """
    body = bound_query.query.body
    if not isinstance(body, Select) or body.source is None:
        return ()
    field_ids = assign_xml_ids(tuple(map(attrgetter("name"), bound_query.columns)))
    ids_by_column: dict[tuple[int, str], str] = {}
    for item, field_id in zip(body.items, field_ids, strict=True):
        if isinstance(item, SelectItem) and isinstance(item.expr, ColumnRef):
            ids_by_column[item.expr.source, item.expr.name.name] = field_id
    descriptors_by_key: dict[str, str] = {}
    for number, table, source in sorted(_iterate_from_tables(body.source), key=itemgetter(0)):
        if table is None or table.identifier_column is None or not table.is_served_by("datalink"):
            continue
        id_reference = ids_by_column.get((number, table.identifier_column.name))
        if (id_reference is None and not table.links) or not _has_row_links(table):
            continue
        table_name = table.qualified_name
        references = {}
        for (source_number, name), field_id in ids_by_column.items():
            if source_number == number:
                references[write_target_column_reference(name)] = field_id
        if id_reference is not None:
            descriptors_by_key.setdefault(table_name, _write_datalink_descriptor(table, id_reference))
            for service_name, link in _build_file_service_links(table, source).items():
                _add_link_descriptor(descriptors_by_key, f"{table_name} {service_name}", link, references)
        for link_number, link in enumerate(table.links):
            _add_link_descriptor(descriptors_by_key, f"{table_name} {link_number}", link, references)
    return tuple(descriptors_by_key.values())


def _has_row_links(table: Table) -> bool:
    """Return whether the rows of a table have links: its own, or those to other tables of a series."""
    return bool(table.effective_links or table.has_service_links)


@plugins.cache_until_selection
def _load_file_services() -> Mapping[str, Callable[[Table], LinkTemplate | None]]:
    """Load the services of files that the packages in use add, by their names."""
    return dict(plugins.iterate_package_objects("file_services"))


def _build_file_service_links(table: Table, source: FromItem) -> dict[str, LinkTemplate]:
    """Build links to the services of the files of a table, or of a table that its view of observations reads."""
    file_tables = [item for item in (table, *_iterate_view_tables(table, source)) if item.has_row_files]
    if not file_tables:
        return {}
    links = {}
    for service_name, build_link in _load_file_services().items():
        if any(file_table.is_served_by(service_name) for file_table in file_tables):
            link = build_link(table)
            if link is not None:
                links[service_name] = link
    return links


def _add_link_descriptor(
    descriptors_by_key: dict[str, str], key: str, link: LinkTemplate, ids_by_column: Mapping[str, str]
) -> None:
    """Add the descriptor of a link's service, if it has one and there is none with the same key."""
    if link.service is None:
        return
    descriptor = _write_link_descriptor(link, link.service, ids_by_column)
    if descriptor is not None:
        descriptors_by_key.setdefault(key, descriptor)


def _write_link_descriptor(
    link: LinkTemplate, service: ServiceDescriptor, ids_by_column: Mapping[str, str]
) -> str | None:
    """Describe a service that is the same for all rows, by the columns that it takes.

    None if the service differs between rows, or the answer does not have all these columns unchanged.
    """
    if link.condition is not None or link.source is not None:
        return None
    inputs = []
    references = {}
    for service_input in service.inputs:
        constant_value = service_input.value
        column_parts = [part for part in service_input.value if not isinstance(part, str)]
        if column_parts:
            column_part = column_parts[0]
            is_whole_value = len(service_input.value) == 1 and not column_part.format_spec
            if not is_whole_value or column_part.expression not in ids_by_column:
                return None
            references[service_input.param.name] = ids_by_column[column_part.expression]
            constant_value = ()
        constant_input = replace(
            service_input,
            value=constant_value,
            low=_keep_template_if_constant(service_input.low),
            high=_keep_template_if_constant(service_input.high),
            example=(),
        )
        inputs.append(constant_input)
    address = tuple(SITE_URL_PLACEHOLDER if part == SITE_URL_EXPRESSION else part for part in service.address)
    if _keep_template_if_constant(address) != address:
        return None
    return write_service_descriptor(
        replace(service, address=address, inputs=tuple(inputs)),
        name=link.semantics.rpartition("#")[2],
        description="".join(map(str, _keep_template_if_constant(link.description))),
        content_type="".join(map(str, _keep_template_if_constant(link.type))),
        field_ids=references,
    )


def _keep_template_if_constant(template: Template) -> Template:
    """Return a template that is the same for all rows; an empty one if it contains columns."""
    if all(isinstance(part, str) for part in template):
        return template
    return ()


def _iterate_from_tables(from_item: FromItem) -> Iterator[tuple[int, Table | None, FromItem]]:
    """Yield the tables and views that a query names, with their numbers."""
    if isinstance(from_item, Join):
        yield from _iterate_from_tables(from_item.left)
        yield from _iterate_from_tables(from_item.right)
    elif isinstance(from_item, TableRef):
        yield from_item.number, from_item.table, from_item
    elif isinstance(from_item, DerivedTable):
        yield from_item.number, from_item.view, from_item


def _iterate_view_tables(table: Table, from_item: FromItem) -> Iterator[Table]:
    """Yield the tables that a view of observations reads, as the user may see them."""
    if not table.is_observation_view:
        return
    for node in walk_tree(from_item):
        if isinstance(node, TableRef) and node.table is not None:
            yield node.table


def _write_datalink_descriptor(table: Table, id_reference: str) -> str:
    """Describe the service of links, whose ID is a value of a column."""
    service = ServiceDescriptor(
        address=(f"{SITE_URL_PLACEHOLDER}/datalink/{quote(table.qualified_name)}",),
        inputs=(_ID_INPUT,),
        standard_id=DATALINK_STANDARD_ID,
    )
    return write_service_descriptor(
        service,
        name="links",
        description=f"Links from the rows of {table.qualified_name}",
        field_ids={_ID_INPUT.param.name: id_reference},
    )
