"""Descriptors of services that go with an answer (DataLink 1.1, section 4).

They are collected once for each plan, for every table whose rows have services.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.adql.syntax_tree import ColumnRef, DerivedTable, Join, Select, SelectItem, TableRef, walk_tree
from hven.formats.media import cutout_params
from hven.formats.votable import assign_field_ids, write_service_descriptor
from hven.model.params import Param
from hven.model.table import DATALINK_STANDARD_ID, SITE_URL_EXPRESSION, ServiceDescriptor, ServiceParameter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.adql.syntax_tree import BoundQuery, FromItem
    from hven.model.table import LinkTemplate, Table, Template

SITE_URL_PLACEHOLDER = "{site.url}"  # in a descriptor: the site's address, which may be another one for each reader
_ID_INPUT = ServiceParameter(param=Param(name="ID", ucd="meta.id;meta.main"))


def describe_services(bound_query: BoundQuery) -> tuple[str, ...]:
    """Describe the services that take a value of an answer's column.

    Parameters
    ----------
    bound_query
        A query, bound to tables as its reader knows them.

    Returns
    -------
    resources
        XML of a RESOURCE each, with `SITE_URL_PLACEHOLDER` in it: the list of links, where the identifier of a table is
        there as it is; services of its rows, where all columns are that they take.
    """
    body = bound_query.query.body
    if not isinstance(body, Select) or body.source is None:
        return ()
    ids = assign_field_ids(tuple(column.name for column in bound_query.columns))
    ids_by_column = {
        (item.expr.source, item.expr.name.name): ident
        for item, ident in zip(body.items, ids, strict=True)
        if isinstance(item, SelectItem) and isinstance(item.expr, ColumnRef)
    }
    descriptors_by_key: dict[str, str] = {}
    for number, table, item in sorted(_iterate_tables(body.source), key=lambda observed_table: observed_table[0]):
        if (
            table is None
            or table.identifier_column is None
            or not table.is_served_by("datalink")
            or not (table.effective_links or table.spanned_series_ids)
        ):
            continue
        ref = ids_by_column.get((number, table.identifier_column.name))
        if ref is not None:
            descriptors_by_key.setdefault(table.qualified_name, _describe_links(table, ref))
            if any(
                observed_table.is_served_by("soda") and observed_table.has_row_files
                for observed_table in (table, *_iterate_observed_tables(table, item))
            ):
                descriptors_by_key.setdefault(f"{table.qualified_name} cut", _describe_cutout(table, ref))
        refs = {f'target."{name}"': ident for (of, name), ident in ids_by_column.items() if of == number}
        for link_number, link in enumerate(table.links):
            if link.service is None:
                text = None
            else:
                text = _describe_row_service(link, link.service, refs)
            if text is not None:
                descriptors_by_key.setdefault(f"{table.qualified_name} {link_number}", text)
    return tuple(descriptors_by_key.values())


def _describe_row_service(
    link: LinkTemplate, service: ServiceDescriptor, ids_by_column: Mapping[str, str]
) -> str | None:
    """Describe a service that is the same for all rows, by the columns that it takes.

    None if the answer does not have all these columns unchanged.
    """
    if link.condition is not None or link.source is not None:
        return None
    inputs = []
    refs = {}
    for service_input in service.inputs:
        column_parts = [part for part in service_input.value if not isinstance(part, str)]
        if column_parts and (
            len(service_input.value) > 1
            or column_parts[0].format_spec
            or column_parts[0].expression not in ids_by_column
        ):
            return None
        if column_parts:
            refs[service_input.param.name] = ids_by_column[column_parts[0].expression]
        inputs.append(
            replace(
                service_input,
                value=() if column_parts else service_input.value,
                low=_keep_constant_template(service_input.low),
                high=_keep_constant_template(service_input.high),
                example=(),
            )
        )
    address = tuple(SITE_URL_PLACEHOLDER if part == SITE_URL_EXPRESSION else part for part in service.address)
    if _keep_constant_template(address) != address:
        return None
    constant_service = replace(service, address=address, inputs=tuple(inputs))
    name = link.semantics.rpartition("#")[2]
    kind = "".join(map(str, _keep_constant_template(link.type)))
    description = "".join(map(str, _keep_constant_template(link.description)))
    return write_service_descriptor(
        constant_service,
        name=name,
        description=description,
        content_type=kind,
        field_ids=refs,
    )


def _keep_constant_template(template: Template) -> Template:
    """Return the part of a template that is the same for all rows; nothing if it differs."""
    if all(isinstance(part, str) for part in template):
        return template
    return ()


def _iterate_tables(item: FromItem) -> Iterator[tuple[int, Table | None, FromItem]]:
    """Yield the tables and views that a query names, with their numbers."""
    if isinstance(item, Join):
        yield from _iterate_tables(item.left)
        yield from _iterate_tables(item.right)
    elif isinstance(item, TableRef | DerivedTable):
        yield item.number, item.table if isinstance(item, TableRef) else item.view, item


def _iterate_observed_tables(table: Table, item: FromItem) -> Iterator[Table]:
    """Yield the tables whose rows a view of observations has, as the user may see them."""
    if table.is_observation_view:
        yield from (
            table_ref.table
            for table_ref in walk_tree(item)
            if isinstance(table_ref, TableRef) and table_ref.table is not None
        )


def _describe_links(table: Table, id_reference: str) -> str:
    """Describe the service of links, whose ID is a value of a column."""
    links = ServiceDescriptor(
        address=(f"{SITE_URL_PLACEHOLDER}/datalink/{quote(table.qualified_name)}",),
        inputs=(_ID_INPUT,),
        standard_id=DATALINK_STANDARD_ID,
    )
    field_ids = {_ID_INPUT.param.name: id_reference}
    return write_service_descriptor(
        links,
        name="links",
        description=f"What rows of {table.qualified_name} lead to",
        field_ids=field_ids,
    )


def _describe_cutout(table: Table, id_reference: str) -> str:
    """Describe the cut-out service of a row's file; pyvo looks for it beside the service of links."""
    table_input = ServiceParameter(param=cutout_params.TABLE_PARAM, value=(table.qualified_name,))
    inputs = (
        ServiceParameter(param=cutout_params.ID_PARAM),
        table_input,
        *(ServiceParameter(param=param) for param in cutout_params.CUTOUT_PARAMS),
    )
    cuts = ServiceDescriptor(
        address=(f"{SITE_URL_PLACEHOLDER}/soda/sync",), inputs=inputs, standard_id=cutout_params.SODA_STANDARD_ID
    )
    words = f"Parts of the files of {table.qualified_name}"
    field_ids = {cutout_params.ID_PARAM.name: id_reference}
    return write_service_descriptor(
        cuts,
        name="cuts",
        description=words,
        content_type="application/fits",
        field_ids=field_ids,
    )
