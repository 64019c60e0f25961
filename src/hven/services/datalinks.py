"""Links of rows: query the links of a table and write them in the columns of DataLink (1.1, section 3.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby, product
from operator import is_
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc

from hven import adql, query
from hven.adql.adql_writer import write_adql, write_adql_literal
from hven.adql.syntax_tree import ColumnRef, Comparison, Ident, split_conjuncts, transform_tree
from hven.formats.votable import DescriptorTemplate, format_placeholder, write_service_descriptor
from hven.model.errors import BindError, ParseError, ServiceError, TooLargeError, format_message
from hven.model.table import (
    DATALINK_MEDIA_TYPE,
    LinkTemplate,
    ServiceDescriptor,
    ServiceParameter,
    parse_column_lines,
)
from hven.model.types import STRING
from hven.services._link_columns import (
    LinkQueryResult,
    concat_link_columns,
    convert_to_content_qualifiers,
    fill_constant_template,
    format_template_values,
    parse_integers,
    replace_old_addresses_with_paths,
    to_list,
    to_scalar,
)
from hven.services._linked_files import LinkedFileState, read_file_states
from hven.services.address_rewriting import load_address_rewriters
from hven.services.addresses import FILE_PATH_PATTERN
from hven.services.face import ServiceContext
from hven.site.auth import ANONYMOUS_PRINCIPAL, has_same_access_as_public

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Table, Template
    from hven.services._link_columns import ColumnValue
    from hven.site import PublishedState, Site
    from hven.site.auth import AccessPolicy, Principal

LINK_COLUMNS = parse_column_lines("""
    ID                | string  |      | meta.id;meta.main   | Identifier of the row, as in the request
    access_url        | string  |      | meta.ref.url        | Address of the linked resource
    service_def       | string  |      | meta.ref            | XML ID of the descriptor of a service
    error_message     | string  |      | meta.code.error     | Why there is no link
    description       | string  |      | meta.note           | Description of the linked resource
    semantics         | string  |      | meta.code           | Relation of the linked resource to the row
    content_type      | string  |      | meta.code.mime      | Media type of the linked resource
    content_length    | int64   | byte | phys.size;meta.file | Size of the linked resource
    content_qualifier | string  |      |                     | Kind of product
    local_semantics   | string  |      | meta.id.assoc       | Identifier of similar links in all rows of this table
    link_auth         | string  |      | meta.code           | Whether a log-in is needed: false, optional, true
    link_authorized   | boolean |      | meta.code           | Whether you may download it
""")
LINK_SCHEMA = pa.schema([column.arrow_field for column in LINK_COLUMNS])
THIS_SEMANTICS = "#this"
_WORK_COLUMN_TYPES = {
    **{field.name: field.type for field in LINK_SCHEMA},
    **dict.fromkeys(("_at", "_link", "_row"), pa.int32()),
    "_path": pa.string(),
}
_ROW_NOT_FOUND_MESSAGE = "NotFoundFault: no row of {table} has this identifier"
_FILE_NOT_FOUND_MESSAGE = "NotFoundFault: the collection does not have this file, or no longer has it"
_IDENTIFIER_COLUMN = "_id"
_EXTENSION_PATTERN = re.compile(r"\.([^./?]+)(?:\?[^?]*)?$")
MAX_IDENTIFIER_CHARACTERS = 200_000  # characters of identifiers in a query
# typed scalars: for an untyped literal Arrow tries to import pandas each time, which takes 0.1 ms
_INTEGER_ONE = pa.scalar(1, pa.int32())
_BOOLEAN_FALSE = pa.scalar(False, pa.bool_())
_FILE_STATE_COLUMNS = ("access_url", "error_message", "content_type", "content_length", "link_auth", "link_authorized")
_DESCRIPTOR_ID_PLACEHOLDER = "service_here"  # XML ID in a descriptor that has none yet


def list_row_links(
    table: Table,
    identifiers: Sequence[str],
    *,
    principal: Principal,
    site: Site,
    policies: Sequence[AccessPolicy],
    published_state: PublishedState,
    base_url: str,
    face_links: Sequence[LinkTemplate] = (),
    with_link_numbers: bool = False,
) -> pa.Table:
    """List the links of rows.

    Parameters
    ----------
    table
        Table of the rows.
    identifiers
        Values of the table's identifier, or publisher's dataset identifiers (``ivo://authority/collection?value``).
    principal, site, policies, published_state
        As in `hven.query.run_query`.
    base_url
        Address of the site, without a final slash.
    face_links
        Links of faces, besides those of the table.
    with_link_numbers
        True: add a column ``_link``, the number of the link among those of the table.

    Returns
    -------
    rows
        Rows of `LINK_SCHEMA`, ordered by identifier and link. An identifier without a row, or with a row that the
        reader may not know of, has one row with an error. ``service_def`` is the whole descriptor: see
        `extract_descriptors`.

    Raises
    ------
    HvenError
        As for a query.
    """
    requested = _parse_identifiers(table, identifiers)
    links = (*table.effective_links, *face_links)
    link_numbers = {id(link): number for number, link in enumerate(links)}
    file_location = (table.schema, _map_old_file_prefixes(site, table.schema))
    is_public = has_same_access_as_public(table, principal, policies)
    access_expressions = _write_access_expressions(table, principal, is_public=is_public)
    path_expressions: tuple[str, ...] = ()
    if table.policy is not None and table.policy.path is not None:
        path_expressions = (f"target.{adql.quote_adql_name(table.policy.path)}",)
    link_batches: list[pa.RecordBatch] = []
    row_services: list[_DeferredServiceLink] = []
    answered_indexes: set[int] = set()
    for group_links, keys in product(_group_links(links), _split_identifiers(requested.valid_keys)):
        names: dict[str, str] = {}
        text = _write_link_query_and_name_columns(
            table, group_links, keys, names, (*access_expressions, *path_expressions)
        )
        queried_rows = _run_link_query(
            text,
            principal,
            table_name=table.qualified_name,
            site=site,
            policies=policies,
            published_state=published_state,
        )
        query_result = LinkQueryResult(queried_rows, names, base_url)
        identifier_indexes = requested.find_indexes(queried_rows[_IDENTIFIER_COLUMN].to_pylist())
        is_visible = None
        if not group_links or group_links[0].source is None:
            answered_indexes.update(identifier_indexes.to_pylist())
        else:
            value_set = pa.array(sorted(answered_indexes), pa.int32())
            is_visible = pc.is_in(identifier_indexes, value_set=value_set)
        columns = []
        row_numbers = pa.array(range(len(identifier_indexes)), pa.int32())
        for link in group_links:
            link_columns = _build_link_columns(link, query_result, file_location)
            link_columns |= _build_access_columns(link, query_result, access_expressions, table)
            link_columns |= {"_link": link_numbers[id(link)], "_at": identifier_indexes, "_row": row_numbers}
            if path_expressions and "link_auth" in link_columns and not link.is_file:
                link_columns["_path"] = query_result.get_column(path_expressions[0])
            if link.service is None:
                columns.append(link_columns)
                continue
            # a service is described later: it depends on the files that exist, which are not known yet
            row_service = _DeferredServiceLink(
                link, link.service, query_result, link_columns, identifier_indexes, is_visible
            )
            row_services.append(row_service)
        link_batch = _concat_existing_link_rows(columns, len(identifier_indexes), is_visible)
        if link_batch is not None:
            link_batches.append(link_batch)
    batches: list[pa.RecordBatch] = []
    if link_batches:
        (link_rows,) = pa.Table.from_batches(link_batches).combine_chunks().to_batches()
        checked_rows, own_files = _apply_file_access_to_links(
            link_rows,
            table,
            links,
            context=ServiceContext.create_for_principal(site, principal, policies),
            principal=principal,
            published_state=published_state,
            base_url=base_url,
        )
        batches = [checked_rows, *_build_service_link_rows(row_services, own_files)]
    missing_indexes = [index for index in range(len(requested.texts)) if index not in answered_indexes]
    if missing_indexes or not batches:
        batches.insert(0, _build_unknown_identifier_rows(table, missing_indexes))
    all_rows = _sort_and_identify_link_rows(pa.Table.from_batches(batches), requested.texts)
    if with_link_numbers:
        return all_rows
    return pa.table([all_rows[name] for name in LINK_SCHEMA.names], schema=LINK_SCHEMA)


def _sort_and_identify_link_rows(link_rows: pa.Table, identifiers: Sequence[str]) -> pa.Table:
    """Sort rows by identifier and link, and write the identifiers into them."""
    row_links = link_rows["_link"].to_pylist()
    if len(identifiers) > 1 or row_links != sorted(row_links):
        sort_keys = [(name, "ascending") for name in ("_at", "_link", "_row")]
        link_rows = link_rows.sort_by(sort_keys)
    identifier_indexes = link_rows["_at"].combine_chunks()
    identifier_texts = pa.array(identifiers, pa.string()).take(identifier_indexes)
    return link_rows.set_column(link_rows.schema.get_field_index("ID"), "ID", identifier_texts)


@dataclass(frozen=True, slots=True)
class _RequestedIdentifiers:
    """The distinct identifiers of a request.

    ``texts``: as they were written; ``valid_keys``: those that a row can have; ``positions``: key -> index in `texts`.
    """

    texts: list[str]
    valid_keys: list[str | int]
    positions: dict[str, int]

    def find_indexes(self, keys: Sequence[object]) -> pa.Array:
        """Find the indexes of the identifiers that keys of rows belong to."""
        indexes = [self.positions.get(str(key)) for key in keys]
        return pa.array(indexes, pa.int32())


def _parse_identifiers(table: Table, identifiers: Sequence[str]) -> _RequestedIdentifiers:
    """Parse identifiers; of two that mean the same row (7 and 007), the first is kept."""
    requested = _RequestedIdentifiers([], [], {})
    seen_keys: set[object] = set()
    for text in identifiers:
        key = _parse_identifier(table, text)
        seen_key = ("none", text) if key is None else key
        if seen_key in seen_keys:
            continue
        seen_keys.add(seen_key)
        if key is not None:
            requested.positions[str(key)] = len(requested.texts)
            requested.valid_keys.append(key)
        requested.texts.append(text)
    return requested


def _map_old_file_prefixes(site: Site, collection: str) -> dict[str, str]:
    """Map prefixes of old addresses of a collection's files to prefixes of their paths."""
    files_prefix = f"/collections/{collection}/files/"
    new_prefixes = {}
    for rewriter in load_address_rewriters(site.settings):
        for old_prefix, path_prefix in rewriter.map_path_prefixes().items():
            if path_prefix.startswith(files_prefix):
                new_prefixes[old_prefix] = path_prefix.removeprefix(files_prefix)
    return new_prefixes


def _group_links(links: Sequence[LinkTemplate]) -> list[list[LinkTemplate]]:
    """Group links by their query; the first group reads the table itself."""
    sorted_links = sorted(links, key=_make_link_group_key)
    groups = [list(group) for _, group in groupby(sorted_links, _make_link_group_key)]
    if not groups or groups[0][0].source is not None:
        groups.insert(0, [])
    return groups


def _run_link_query(
    query_text: str,
    principal: Principal,
    *,
    table_name: str,
    site: Site,
    policies: Sequence[AccessPolicy],
    published_state: PublishedState,
) -> pa.Table:
    row_limit = site.settings.limits.maxrec_hard
    try:
        run = query.run_query(
            query_text, principal, site=site, policies=policies, published_state=published_state, maxrec=row_limit
        )
    except (ParseError, BindError) as error:
        # the descriptor is the cause, and the position is one in a query that the user does not know
        message = format_message("the links of {table} cannot be queried: its descriptor is not valid", table_name)
        raise ServiceError(message, remedy="ask the site's operators to run `hven check`") from error
    with run as result:
        batches = [*result.iterate_batches()]
        if result.overflow:  # an incomplete list of links would mislead
            message = format_message("there are more than {most:,} links", result.row_count)
            raise TooLargeError(message, remedy="request fewer identifiers at a time")
        if not batches:
            return pa.schema([column.arrow_field for column in result.columns]).empty_table()
        return pa.Table.from_batches(batches)


def _build_unknown_identifier_rows(table: Table, identifier_indexes: Sequence[int]) -> pa.RecordBatch:
    """Build the rows of identifiers without a row in the table."""
    columns = {
        "error_message": _ROW_NOT_FOUND_MESSAGE.format(table=table.qualified_name),
        "semantics": THIS_SEMANTICS,
        "_at": pa.array(identifier_indexes, pa.int32()),
        "_link": 0,
        "_row": 0,
    }
    return _concat_link_rows([columns], len(identifier_indexes))


def extract_descriptors(link_rows: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """Move the service descriptors of rows out of the table, each distinct one once.

    Parameters
    ----------
    link_rows
        Rows of `list_row_links`, or some of them.

    Returns
    -------
    rows, resources
        The rows with XML IDs of descriptors as ``service_def``; and the descriptors.
    """
    services = link_rows["service_def"].combine_chunks().dictionary_encode()
    if not len(services.dictionary):
        return link_rows, ()
    xml_ids = [f"service_{number}" for number in range(1, len(services.dictionary) + 1)]
    descriptors = []
    for text, xml_id in zip(services.dictionary.to_pylist(), xml_ids, strict=True):
        descriptors.append(text.replace(_DESCRIPTOR_ID_PLACEHOLDER, xml_id, 1))
    row_ids = pa.array(xml_ids, pa.string()).take(services.indices)
    rows = link_rows.set_column(2, LINK_SCHEMA.field("service_def"), row_ids)
    return rows, tuple(descriptors)


def find_link_list_rows(link_rows: pa.Table, base_url: str) -> dict[str, dict[str, int]]:
    """Find rows that lead to lists of links of this site, as rows of observations do.

    Parameters
    ----------
    link_rows
        Rows of `list_row_links`.
    base_url
        Address of the site, as its views write it.

    Returns
    -------
    lists
        Table, as addresses name it -> identifier -> number of the row.
    """
    prefix = f"{base_url}/datalink/"
    rows_by_table = dict[str, dict[str, int]]()
    addresses = link_rows["access_url"].to_pylist()
    media_types = link_rows["content_type"].to_pylist()
    for row_number, (address, media_type) in enumerate(zip(addresses, media_types, strict=True)):
        if media_type == DATALINK_MEDIA_TYPE and (address or "").startswith(prefix):
            table, _, identifier = address.removeprefix(prefix).partition("?ID=")
            rows_by_table.setdefault(unquote(table), {})[unquote(identifier)] = row_number
    return rows_by_table


def expand_link_lists(link_rows: pa.Table, base_url: str, list_links: Callable[[str, list[str]], pa.Table]) -> pa.Table:
    """Replace rows that lead to a list of links by the rows of that list, so that clients need no second request.

    Parameters
    ----------
    link_rows, base_url
        As in `find_link_list_rows`.
    list_links
        Lists the links of rows of a table.

    Returns
    -------
    rows
        The rows, with the identifiers of the request.
    """
    rows_by_table = find_link_list_rows(link_rows, base_url)
    replaced_rows: list[int] = []
    for rows_by_identifier in rows_by_table.values():
        replaced_rows.extend(rows_by_identifier.values())
    row_numbers = pa.array(range(link_rows.num_rows), pa.int32())
    is_replaced = pc.is_in(row_numbers, value_set=pa.array(replaced_rows, pa.int32()))
    is_kept = pc.invert(is_replaced)
    parts = [link_rows.append_column("_at", row_numbers).filter(is_kept)]
    requested_identifiers = link_rows["ID"].combine_chunks()
    for table_name, rows_by_identifier in rows_by_table.items():
        linked_rows = list_links(table_name, list(rows_by_identifier))
        linked_identifiers = linked_rows["ID"].to_pylist()
        index_list = [rows_by_identifier.get(text) for text in linked_identifiers]
        row_indexes = pa.array(index_list, pa.int32())
        id_index = linked_rows.schema.get_field_index("ID")
        linked_rows = linked_rows.set_column(id_index, "ID", requested_identifiers.take(row_indexes))
        parts.append(linked_rows.append_column("_at", row_indexes))
    all_rows = pa.concat_tables(parts)
    positions = pa.array(range(all_rows.num_rows), pa.int32())
    all_rows = all_rows.append_column("_nth", positions)
    sorted_rows = all_rows.sort_by([("_at", "ascending"), ("_nth", "ascending")])
    return sorted_rows.select(link_rows.column_names)


@dataclass(frozen=True, slots=True)
class _DeferredServiceLink:
    """A service of rows that is described later, when it is known which of their files the reader may access."""

    link: LinkTemplate
    service: ServiceDescriptor
    query_result: LinkQueryResult
    link_columns: dict[str, ColumnValue]
    identifier_indexes: pa.Array
    is_visible: pa.Array | None


def _build_service_link_rows(
    row_services: Sequence[_DeferredServiceLink], own_files: Mapping[int, tuple[str, str]]
) -> list[pa.RecordBatch]:
    """Build the rows of services.

    Parameters
    ----------
    row_services
        Services of the rows.
    own_files
        Index of the identifier -> the row's own file and its ``link_auth``.
    """
    file_cache: dict[str, Any] = {}
    service_batches = []
    for _, group in groupby(row_services, key=lambda row_service: id(row_service.query_result)):
        group_services = list(group)
        for row_service in group_services:
            link_columns = row_service.link_columns
            if row_service.link.adapt_service is not None:
                link_auth: list[str | None] = []
                for identifier_index in row_service.identifier_indexes.to_pylist():
                    own_file = own_files.get(identifier_index)
                    link_auth.append(None if own_file is None else own_file[1])
                link_columns.update(link_auth=pa.array(link_auth, pa.string()), link_authorized=True)
            link_columns["service_def"] = _write_service_descriptor_per_row(row_service, own_files, file_cache)
        columns = [row_service.link_columns for row_service in group_services]
        row_count = len(group_services[0].identifier_indexes)
        service_batch = _concat_existing_link_rows(columns, row_count, group_services[0].is_visible)
        if service_batch is not None:
            service_batches.append(service_batch)
    return service_batches


def _write_service_descriptor_per_row(
    row_service: _DeferredServiceLink, own_files: Mapping[int, tuple[str, str]], file_cache: dict[str, Any]
) -> pa.Array:
    """Describe a service for each row; null where its address or a constant parameter is not known."""
    link = row_service.link
    service = row_service.service
    link_columns = row_service.link_columns
    query_result = row_service.query_result
    row_count = query_result.rows.num_rows

    def fill_rows(template: Template, *, is_address: bool = False) -> list[str | None]:
        return to_list(query_result.fill_template(template, is_address=is_address), row_count)

    addresses = fill_rows(service.address, is_address=True)
    varying_positions = service.row_dependent_input_positions
    input_texts = {
        position: list(map(fill_rows, _list_input_templates(service.inputs[position])))
        for position in varying_positions
    }
    service_name = link.semantics.rpartition("#")[2]
    if all(isinstance(part, str) for part in link.local_semantics):  # one name for the descriptor of all rows
        service_name = "".join(map(str, link.local_semantics)) or service_name
    has_constant_address = fill_constant_template(service.address, query_result.base_url) is not None
    identifier_indexes = row_service.identifier_indexes.to_pylist()
    descriptions = to_list(link_columns["description"], len(identifier_indexes))
    media_types = to_list(link_columns["content_type"], len(identifier_indexes))
    row_facts = zip(addresses, descriptions, media_types, identifier_indexes, strict=True)
    descriptor_templates: dict[tuple[bool, ...], DescriptorTemplate] = {}
    descriptors: list[str | None] = []
    for row, (address, description, media_type, identifier_index) in enumerate(row_facts):
        inputs = list(service.inputs)
        texts = [description or "", media_type or ""]
        is_incomplete = address is None
        for position in varying_positions:
            service_input = service.inputs[position]
            row_values = [column[row] for column in input_texts[position]]
            is_incomplete = is_incomplete or bool(service_input.value and row_values[0] is None)
            texts += [text or "" for text in row_values]
            inputs[position] = _fill_input(service_input, row_values)
        row_descriptor: ServiceDescriptor | None = None
        if not is_incomplete:
            # not `replace`, which would take a tenth of the time of a list of a thousand rows
            row_descriptor = ServiceDescriptor(
                address=(str(address),), inputs=tuple(inputs), standard_id=service.standard_id, ivoid=service.ivoid
            )
        if row_descriptor is not None and link.adapt_service is not None:
            own_file = own_files.get(identifier_index)
            own_path = None if own_file is None else own_file[0]
            row_descriptor = link.adapt_service(row_descriptor, own_path, file_cache)
        if row_descriptor is None:
            descriptors.append(None)
            continue
        has_common_inputs = _is_same_sequence(row_descriptor.inputs, inputs)
        if not (has_constant_address and has_common_inputs):  # the row has bounds of its own
            descriptor_text = write_service_descriptor(
                row_descriptor,
                xml_id=_DESCRIPTOR_ID_PLACEHOLDER,
                name=service_name,
                description=texts[0],
                content_type=texts[1],
            )
            descriptors.append(descriptor_text)
            continue
        template_key = tuple(map(bool, texts))
        descriptor_template = descriptor_templates.get(template_key)
        if descriptor_template is None:
            placeholders = [format_placeholder(number) if text else None for number, text in enumerate(texts)]
            descriptor_template = _build_descriptor_template(
                row_descriptor, service_name, placeholders, varying_positions
            )
            descriptor_templates[template_key] = descriptor_template
        descriptors.append(descriptor_template.fill_placeholders(texts))
    return pa.array(descriptors, pa.string())


def _is_same_sequence(first: Sequence[object], second: Sequence[object]) -> bool:
    """Check whether two sequences hold the same objects."""
    return len(first) == len(second) and all(map(is_, first, second))


def _build_descriptor_template(
    descriptor: ServiceDescriptor,
    name: str,
    placeholders: Sequence[str | None],
    varying_positions: Sequence[int],
) -> DescriptorTemplate:
    """Build a template of descriptors that differ in texts only.

    The placeholders are those of the description, of the media type, and four of each input that varies.
    """
    inputs = list(descriptor.inputs)
    for number, position in enumerate(varying_positions):
        input_placeholders = placeholders[2 + 4 * number : 6 + 4 * number]
        inputs[position] = _fill_input(inputs[position], input_placeholders)
    text = write_service_descriptor(
        replace(descriptor, inputs=tuple(inputs)),
        xml_id=_DESCRIPTOR_ID_PLACEHOLDER,
        name=name,
        description=placeholders[0] or "",
        content_type=placeholders[1] or "",
    )
    return DescriptorTemplate(text)


def _list_input_templates(parameter: ServiceParameter) -> tuple[Template, ...]:
    return parameter.value, parameter.low, parameter.high, parameter.example


def _fill_input(parameter: ServiceParameter, texts: Sequence[str | None]) -> ServiceParameter:
    templates: list[Template] = []
    for text in texts:
        if text is None:
            templates.append(())
        else:
            templates.append((str(text),))
    value, low, high, example = templates
    return ServiceParameter(param=parameter.param, value=value, low=low, high=high, example=example)


def _make_link_group_key(link: LinkTemplate) -> tuple[str, str, str]:
    return link.source or "", link.where or "", link.order or ""


def _parse_identifier(table: Table, identifier: str) -> str | int | None:
    """Parse an identifier; return None if no row can have it."""
    if table.identifier_column is not None:
        kind = table.identifier_column.type
    else:
        kind = STRING
    if identifier.startswith("ivo://") and f"/{table.schema}?" in identifier:
        text = identifier.partition("?")[2]
    else:
        text = identifier
    if kind.is_string:
        return text
    if text.removeprefix("-").isdecimal() and len(text) < 19:
        return int(text)
    return None


def _split_identifiers(keys: Sequence[Any]) -> list[list[Any]]:
    """Split identifiers into portions whose texts fit into a query each."""
    portions: list[list[Any]] = []
    remaining_characters = 0
    for key in keys:
        if remaining_characters <= 0:
            portions.append([])
            remaining_characters = MAX_IDENTIFIER_CHARACTERS
        portions[-1].append(key)
        remaining_characters -= len(str(key)) + 4
    return portions


def _write_access_expressions(table: Table, principal: Principal, *, is_public: bool) -> tuple[str, str]:
    """Write whether everybody, and whether a reader, may take a row's files, as 1 or 0."""
    if table.rights is None:
        return "1" if is_public else "0", "1"
    expressions = []
    for subject in (ANONYMOUS_PRINCIPAL, principal):
        condition = table.rights.find_file_condition(subject)
        if condition is None:
            expressions.append("1")
            continue
        condition_text = write_adql(transform_tree(condition, _qualify_column))
        expressions.append(_write_condition_as_integer(condition_text))
    return expressions[0], expressions[1]


def _qualify_column(node: Any) -> Any:
    if isinstance(node, ColumnRef):
        return ColumnRef(Ident(node.name.name, quoted=True), (Ident("target"),))
    return node


def _build_access_columns(
    link: LinkTemplate, query_result: LinkQueryResult, access_expressions: tuple[str, str], table: Table
) -> dict[str, ColumnValue]:
    """Build the columns that describe the access rights of links to the row's own files."""
    if not link.is_file and link.adapt_service is None:
        used_columns = _collect_template_columns(link)
        if used_columns.isdisjoint(f"target.{name}" for name in table.file_column_names):
            return {}
    access_values: list[ColumnValue] = []
    for expression in access_expressions:
        if expression in query_result.column_names:
            access_values.append(pc.equal(query_result.get_column(expression), _INTEGER_ONE))
        else:
            access_values.append(expression == "1")
    public_access, reader_access = access_values
    if isinstance(public_access, bool):
        return {"link_auth": "false" if public_access else "true", "link_authorized": reader_access}
    link_auth = pc.if_else(public_access, to_scalar("false"), to_scalar("true"))
    return {"link_auth": link_auth, "link_authorized": reader_access}


def _collect_template_columns(link: LinkTemplate) -> set[str]:
    """Collect the columns from which the address and the service of a link are built."""
    templates = [link.address]
    if link.service is not None:
        templates.extend(link.service.templates)
    used_columns = set()
    for template in templates:
        for part in template:
            if not isinstance(part, str):
                used_columns.add(part.expression.replace('"', ""))
    return used_columns


@lru_cache(maxsize=64)
def _compile_file_pattern(bases: frozenset[str]) -> Callable[[str], re.Match[str] | None]:
    """Return a function that finds the collection and the path in addresses of files of this site."""
    return re.compile(f"(?:{'|'.join(map(re.escape, sorted(bases)))}){FILE_PATH_PATTERN}").match


def _apply_file_access_to_links(
    link_rows: pa.RecordBatch,
    table: Table,
    links: Sequence[LinkTemplate],
    *,
    context: ServiceContext,
    principal: Principal,
    published_state: PublishedState,
    base_url: str,
) -> tuple[pa.RecordBatch, dict[int, tuple[str, str]]]:
    """Check the files to which links lead, or from which products are made, by the rules of their addresses.

    Returns
    -------
    rows
        The rows without links to files that the reader may not know of. The others have media types, sizes and access
        rights; where the file does not exist, an error replaces the address.
    own_files
        Path of the row's own file, if the reader may access it, and its ``link_auth``, by the index of the identifier.
    """
    columns_by_name = dict(zip(link_rows.schema.names, link_rows.columns, strict=True))
    match_file_path = _compile_file_pattern(
        published_state.ingest_site_urls | {base_url, context.site.settings.site_url}
    )
    addresses = columns_by_name["access_url"].to_pylist()
    matches = [None if address is None else match_file_path(address) for address in addresses]
    if not any(matches) and columns_by_name["_path"].null_count == link_rows.num_rows:
        return link_rows, {}
    files = _parse_row_file_paths(table.schema, matches, columns_by_name["_path"].to_pylist())
    states_by_file = read_file_states(context, principal, files, published_state)
    columns = {name: columns_by_name[name].to_pylist() for name in _FILE_STATE_COLUMNS}
    is_kept = [True] * len(files)
    own_files = dict[int, tuple[str, str]]()
    indexes_with_file = set[int]()
    table_link_count = len(table.effective_links)
    link_numbers = columns_by_name["_link"].to_pylist()
    identifier_indexes = columns_by_name["_at"].to_pylist()
    for row, (path_match, file) in enumerate(zip(matches, files, strict=True)):
        state = states_by_file.get(file)
        if state is None:
            continue
        if path_match is not None and state.auth is None:
            # the link of the table reports the missing file; links of faces need not repeat it
            is_kept[row] = not state.is_hidden and link_numbers[row] < table_link_count
            columns["access_url"][row] = None
            columns["error_message"][row] = _FILE_NOT_FOUND_MESSAGE
            continue
        if state.auth is not None:
            columns["link_auth"][row] = state.auth
            columns["link_authorized"][row] = state.can_access
        if path_match is not None and path_match["what"] == "files":
            _fill_file_columns(columns, row, state)
        link = links[link_numbers[row]]
        if link.is_file and state.can_access:
            indexes_with_file.add(identifier_indexes[row])
            if link.semantics == THIS_SEMANTICS:
                own_files.setdefault(identifier_indexes[row], (str(file[1]), str(state.auth)))
    _drop_links_without_files(is_kept, links, link_numbers, identifier_indexes, indexes_with_file)
    for name in _FILE_STATE_COLUMNS:
        columns_by_name[name] = pa.array(columns[name], _WORK_COLUMN_TYPES[name])
    arrays = [columns_by_name[name] for name in _WORK_COLUMN_TYPES]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(_WORK_COLUMN_TYPES))
    if not all(is_kept):
        batch = batch.filter(pa.array(is_kept))
    return batch, own_files


def _parse_row_file_paths(
    collection: str, matches: Sequence[re.Match[str] | None], policy_paths: Sequence[str | None]
) -> list[tuple[str, str | None]]:
    """Return collection and path of each row's file: those of its address, or the path by which its policy goes."""
    files: list[tuple[str, str | None]] = []
    for path_match, policy_path in zip(matches, policy_paths, strict=True):
        if path_match is None:
            files.append((collection, policy_path))
        else:
            files.append((_unquote_path(path_match["collection"]), _unquote_path(path_match["path"])))
    return files


def _drop_links_without_files(
    is_kept: list[bool],
    links: Sequence[LinkTemplate],
    link_numbers: Sequence[int],
    identifier_indexes: Sequence[int],
    indexes_with_file: set[int],
) -> None:
    """Drop links that need access to a file of their row, where the reader has none."""
    for row, number in enumerate(link_numbers):
        if links[number].needs_file_access:
            is_kept[row] = is_kept[row] and identifier_indexes[row] in indexes_with_file


def _unquote_path(text: str) -> str:
    if "%" not in text:
        return text
    return unquote(text)


def _fill_file_columns(columns: Mapping[str, list[Any]], row: int, state: LinkedFileState) -> None:
    """Fill what a link to a file itself does not say: media type and size; and the address on another server."""
    columns["content_type"][row] = columns["content_type"][row] or state.media_type
    if columns["content_length"][row] is None:
        columns["content_length"][row] = state.size
    columns["access_url"][row] = state.direct_url or columns["access_url"][row]


def _write_link_query_and_name_columns(
    table: Table,
    links: Sequence[LinkTemplate],
    identifiers: Sequence[str | int],
    column_names: dict[str, str],
    access_expressions: Sequence[str],
) -> str:
    """Write the query for everything from which some links are built.

    `column_names` is filled: expression -> name of its column in the result.
    """
    assert table.identifier_column is not None  # noqa: S101  (tables without one have no links)
    key = f"target.{adql.quote_adql_name(table.identifier_column.name)}"
    items = [f'{key} AS "{_IDENTIFIER_COLUMN}"']

    def add_select_item(text: str) -> None:
        if text not in column_names:
            column_names[text] = f"_{len(column_names)}"
            items.append(f'{text} AS "{column_names[text]}"')

    for text in access_expressions:
        if text not in {"0", "1"}:  # constants need no column
            add_select_item(text)
    for link in links:
        for text in link.row_expressions:
            add_select_item(text)
        if link.condition is not None:
            add_select_item(_write_condition_as_integer(link.condition))
    first_link = links[0] if links else None
    if len(identifiers) == 1:
        key_condition = f"= {write_adql_literal(identifiers[0])}"
    else:
        key_condition = f"IN ({', '.join(map(write_adql_literal, identifiers))})"
    from_clause = f" FROM {adql.quote_table_name(table)} AS target"
    where = f"{key} {key_condition}"
    if first_link is not None and first_link.source is not None and first_link.where is not None:
        schema, _, name = first_link.source.rpartition(".")
        other_table = f"{adql.quote_adql_name(schema)}.{adql.quote_adql_name(name)}"
        other_table += f" AS {adql.quote_adql_name(first_link.alias or '')}"
        key_columns, has_other_conditions = _find_equal_columns(first_link.where, table.identifier_column.name)
        other_expressions = (*items[1:], first_link.order or "")
        uses_table = any("target." in expression for expression in other_expressions)
        if key_columns and not has_other_conditions and not uses_table:
            # the other table has the identifier, and nothing of the row is selected: no join is needed
            items[0] = f'{key_columns[0]} AS "{_IDENTIFIER_COLUMN}"'
            from_clause = f" FROM {other_table}"
            where = f"{key_columns[0]} {key_condition}"
        else:
            # the condition is repeated for the other table, whose index then finds its rows
            from_clause += f" JOIN {other_table} ON {first_link.where}"
            where = " AND ".join([where, *(f"{column} {key_condition}" for column in key_columns)])
    text = f"SELECT {', '.join(items)}{from_clause} WHERE {where}"
    if first_link is not None and first_link.order:
        text += f" ORDER BY {first_link.order}"
    return text


@lru_cache(maxsize=1024)
def _find_equal_columns(join_condition: str, identifier_name: str) -> tuple[list[str], bool]:
    """Find columns of the other table that equal the row's identifier, in the condition of the join.

    Returns
    -------
    columns, has_other_conditions
        The columns; and whether the condition says more than one such equality.
    """
    equal_columns = []
    has_other_conditions = False
    for part in split_conjuncts(adql.parse_condition(join_condition)):
        column = _find_column_joined_to_identifier(part, identifier_name)
        if column is None:
            has_other_conditions = True
        else:
            equal_columns.append(column)
    return equal_columns, has_other_conditions or len(equal_columns) > 1


def _find_column_joined_to_identifier(condition: Any, identifier_name: str) -> str | None:
    """Return the column of the other table that a condition equates with the row's identifier, else None."""
    if not isinstance(condition, Comparison) or condition.op != "=":
        return None
    sides = (condition.left, condition.right)
    columns = [write_adql(side) for side in sides if isinstance(side, ColumnRef)]
    other_columns = [column for column in columns if column.replace('"', "") != f"target.{identifier_name}"]
    if len(columns) != 2 or len(other_columns) != 1:
        return None
    if other_columns[0].replace('"', "").startswith("target."):
        return None
    return other_columns[0]


def _write_condition_as_integer(condition: str) -> str:
    return f"CASE WHEN {condition} THEN 1 ELSE 0 END"


def _build_link_columns(
    link: LinkTemplate, query_result: LinkQueryResult, file_location: tuple[str, Mapping[str, str]]
) -> dict[str, ColumnValue]:
    """Build the columns of a link.

    Parameters
    ----------
    link, query_result
        The link, and the rows of its query.
    file_location
        The collection of its files; and prefixes of old addresses -> prefixes of their paths.
    """
    row_count = query_result.rows.num_rows
    address: ColumnValue
    if link.is_file:
        collection, new_prefixes = file_location
        paths = replace_old_addresses_with_paths(query_result.fill_template_for_rows(link.address), new_prefixes)
        prefix = f"{query_result.base_url}/collections/{quote(collection)}/files/"
        address = pc.binary_join_element_wise(prefix, format_template_values(paths, "", "/"), "")
    else:
        address = query_result.fill_template(link.address, is_address=True)
    media_type = query_result.fill_template(link.type)
    if link.extension_media_types:  # in Python: each step of Arrow costs more than a row here
        address, media_type = _select_addresses_and_media_types(
            to_list(address, row_count), dict(link.extension_media_types)
        )
    if link.check_addresses is not None:
        texts = to_list(address, row_count)
        is_suitable = link.check_addresses(texts)
        checked_texts = zip(texts, is_suitable, strict=True)
        suitable_texts = [text if suits else None for text, suits in checked_texts]
        address = pa.array(suitable_texts, pa.string())
    content_length = None
    if link.size:
        content_length = parse_integers(query_result.fill_template_for_rows(link.size))
    link_columns = {
        "access_url": address,
        "description": query_result.fill_template(link.description),
        "semantics": link.semantics,
        "content_type": media_type,
        "content_length": content_length,
        "content_qualifier": convert_to_content_qualifiers(query_result.fill_template(link.content_qualifier)),
        "local_semantics": query_result.fill_template(link.local_semantics),
    }
    if link.condition is not None:
        condition_values = query_result.get_column(_write_condition_as_integer(link.condition))
        link_columns["_if"] = pc.equal(condition_values, _INTEGER_ONE)
    return link_columns


def _select_addresses_and_media_types(
    addresses: Sequence[str | None], type_by_extension: Mapping[str, str]
) -> tuple[pa.Array, pa.Array]:
    """Return addresses and their media types, by their file extensions; null for an extension that is not known."""
    known_addresses: list[str | None] = []
    media_types: list[str | None] = []
    for address in addresses:
        extension_match = None
        if address is not None:
            extension_match = _EXTENSION_PATTERN.search(address.lower())
        media_type = None
        if extension_match is not None:
            media_type = type_by_extension.get(extension_match[1])
        media_types.append(media_type)
        known_addresses.append(address if media_type else None)
    return pa.array(known_addresses, pa.string()), pa.array(media_types, pa.string())


def _concat_existing_link_rows(
    columns: Sequence[Mapping[str, ColumnValue]], row_count: int, is_visible: pa.Array | None
) -> pa.RecordBatch | None:
    """Join the rows of some links and drop those that do not exist; return None if none exists."""
    if not columns:
        return None
    is_kept = _build_existing_link_mask(columns, row_count, is_visible)
    if not is_kept.true_count:
        return None
    link_rows = _concat_link_rows(columns, row_count)
    if is_kept.true_count == len(is_kept):
        return link_rows
    return link_rows.filter(is_kept)


def _build_existing_link_mask(
    columns: Sequence[Mapping[str, ColumnValue]], row_count: int, is_visible: pa.Array | None
) -> pa.Array:
    """Select the rows of some links that exist.

    They have an address or a service, their condition holds, and the reader may know of their row (`is_visible`; None:
    of all rows).
    """
    targets = [column_values.get("service_def", column_values["access_url"]) for column_values in columns]
    conditions = [column_values.get("_if", True) for column_values in columns]
    is_kept = pc.is_valid(concat_link_columns(targets, row_count, pa.string()))
    if is_visible is not None:
        is_kept = pc.and_(is_kept, pa.concat_arrays([is_visible] * len(columns)))
    if all(condition is True for condition in conditions):
        return is_kept
    is_met = concat_link_columns(conditions, row_count, pa.bool_())
    return pc.fill_null(pc.and_(is_kept, is_met), _BOOLEAN_FALSE)


def _concat_link_rows(links: Sequence[Mapping[str, ColumnValue]], row_count: int) -> pa.RecordBatch:
    """Concatenate the rows of some links, with all columns in one order and type; missing ones are null."""
    nulls: dict[pa.DataType, pa.Array] = {}
    columns = []
    for name, arrow_type in _WORK_COLUMN_TYPES.items():
        values = [link_columns.get(name) for link_columns in links]
        if any(value is not None for value in values):
            columns.append(concat_link_columns(values, row_count, arrow_type))
            continue
        if arrow_type not in nulls:
            nulls[arrow_type] = pa.nulls(row_count * len(links), arrow_type)
        columns.append(nulls[arrow_type])
    return pa.RecordBatch.from_arrays(columns, names=list(_WORK_COLUMN_TYPES))
