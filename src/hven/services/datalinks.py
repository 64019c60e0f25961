"""What rows lead to: the links of their table, asked by the one road and written in the columns of DataLink (1.1, section 3.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby, product
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc

from hven import adql, query
from hven.adql.adql_writer import write_adql, write_literal
from hven.adql.syntax_tree import ColumnRef, Comparison, Ident, split_conjuncts, transform_tree
from hven.formats.votable import DescriptorTemplate, format_placeholder, write_service_descriptor
from hven.model.errors import TooLargeError, format_message
from hven.model.table import (
    DATALINK_MEDIA_TYPE,
    SITE_URL_EXPRESSION,
    LinkTemplate,
    ServiceDescriptor,
    ServiceParameter,
    find_root,
    format_time,
    is_time_format,
    parse_columns,
    to_content_qualifier,
)
from hven.model.types import STRING
from hven.services import collection_files
from hven.services.addresses import ADDRESS_CHARACTERS, FILE_PATH_PATTERN
from hven.services.face import ServiceContext
from hven.site.auth import ANONYMOUS_PRINCIPAL, has_public_access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.model.table import Table, Template
    from hven.site import PublishedState, Site
    from hven.site.auth import AccessPolicy, Principal

LINK_COLUMNS = parse_columns("""
    ID                | string  |      | meta.id;meta.main   | Identifier of the row, as it was asked for
    access_url        | string  |      | meta.ref.url        | Where it leads to
    service_def       | string  |      | meta.ref            | XML ID of the descriptor of a service
    error_message     | string  |      | meta.code.error     | Why there is no link
    description       | string  |      | meta.note           | What is there
    semantics         | string  |      | meta.code           | What it is to the row
    content_type      | string  |      | meta.code.mime      | Media type of what is there
    content_length    | int64   | byte | phys.size;meta.file | Size of what is there
    content_qualifier | string  |      |                     | Kind of product
    local_semantics   | string  |      | meta.id.assoc       | What is alike in all rows of this table
    link_auth         | string  |      | meta.code           | Whether one must log in: false, optional, true
    link_authorized   | boolean |      | meta.code           | Whether you may take it
""")
LINK_SCHEMA = pa.schema([column.arrow_field for column in LINK_COLUMNS])
THIS_SEMANTICS = "#this"
ColumnValue = Any  # of a link: an array, or what is the same in each row: text, truth, number, None
_WORK_COLUMN_TYPES = {
    **{field.name: field.type for field in LINK_SCHEMA},
    **dict.fromkeys(("_at", "_link", "_row"), pa.int32()),
    "_path": pa.string(),
}
_ROW_NOT_FOUND_MESSAGE = "NotFoundFault: no row of {table} has this identifier"
_FILE_NOT_FOUND_MESSAGE = "NotFoundFault: the collection has no such file (any more)"
_IDENTIFIER_COLUMN = "_id"
_EXTENSION_PATTERN = re.compile(r"\.([^./?]+)(?:\?[^?]*)?$")
_UNESCAPED_PATTERNS = {
    safe: rf"\A[A-Za-z0-9._~{re.escape(safe)}-]*\z" for safe in (ADDRESS_CHARACTERS, "", "/")
}  # what an address has as it is
MAX_IDENTIFIER_CHARACTERS = 200_000  # characters of identifiers in a query
# with their types: for a literal without one Arrow looks for pandas, each time anew, for a tenth of a millisecond
_NULL_TEXT, _INTEGER_ONE = pa.scalar(None, pa.string()), pa.scalar(1, pa.int32())
_BOOLEAN_TRUE, _BOOLEAN_FALSE = (pa.scalar(one, pa.bool_()) for one in (True, False))
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
    """Ask what rows lead to.

    Parameters
    ----------
    table
        Whose rows they are.
    identifiers
        Values of its identifier, or publisher's dataset identifiers (``ivo://authority/collection?value``).
    principal, site, policies, published_state
        As of `hven.query.run_query`.
    base_url
        Address of the site, without a final slash.
    face_links
        Links besides those of the table: of faces.
    with_link_numbers
        True: with a column ``_link`` besides, the number of a link among those of the table.

    Returns
    -------
    rows
        Of `LINK_SCHEMA`; those of an identifier together and in the order of the links. Identifiers without a row, or
        whose row the reader may not know of, have one with an error. ``service_def`` is the whole descriptor, for
        `extract_descriptors`.

    Raises
    ------
    HvenError
        As of a query.
    """
    # 7 and 007 are one
    first: dict[object, tuple[str, str | int | None]] = {}
    for item in identifiers:
        key = _parse_identifier(table, item)
        first.setdefault(("none", item) if key is None else key, (item, key))
    requested_identifiers = [item for item, _ in first.values()]
    valid_keys = [key for _, key in first.values() if key is not None]
    places = {
        str(key): identifier_indexes for identifier_indexes, (_, key) in enumerate(first.values()) if key is not None
    }

    def run_link_query(text: str, subject: Principal = principal) -> pa.Table:
        row_limit = site.settings.limits.maxrec_hard
        with query.run_query(
            text, subject, site=site, policies=policies, published_state=published_state, maxrec=row_limit
        ) as result:
            batches = [*result.iterate_batches()]
            if result.overflow:  # never a part of what a row leads to
                raise TooLargeError(
                    format_message("there are more than {most:,} links", result.row_count),
                    remedy="ask for fewer identifiers at a time",
                )
            if not batches:
                return pa.schema([column.arrow_field for column in result.columns]).empty_table()
            return pa.Table.from_batches(batches)

    was = {
        item.path[:-1]: item.to.removeprefix(files)[:-1]
        for files in (f"/collections/{table.schema}/files/",)
        for item in site.settings.alias
        if item.path.endswith("/*") and item.to.startswith(files)
    }
    link_batches: list[pa.RecordBatch] = []
    serving: list[_RowService] = []
    answered_rows: set[int] = set()
    links = (*table.effective_links, *face_links)
    numbers = {id(link): identifier_indexes for identifier_indexes, link in enumerate(links)}
    is_public = has_public_access(table, principal, policies)
    rights = _write_access_expressions(table, principal, is_public=is_public)
    path = (
        () if table.policy is None or table.policy.path is None else (f"target.{adql.quote_name(table.policy.path)}",)
    )
    groups = [list(group) for _, group in groupby(sorted(links, key=_make_group_key), _make_group_key)]
    if not groups or groups[0][0].source is not None:
        groups.insert(0, [])
    for group_links, keys in product(groups, _split_identifiers(valid_keys)):
        names: dict[str, str] = {}
        query_result = _LinkQueryResult(
            run_link_query(_write_link_query(table, group_links, keys, names, (*rights, *path))), names, base_url
        )
        identifier_indexes = pa.array(
            [places.get(str(key)) for key in query_result.rows[_IDENTIFIER_COLUMN].to_pylist()], pa.int32()
        )
        visible = None
        if not group_links or group_links[0].source is None:
            answered_rows.update(identifier_indexes.to_pylist())
        else:
            value_set = pa.array(sorted(answered_rows), pa.int32())
            visible = pc.is_in(identifier_indexes, value_set=value_set)
        columns = []
        rows_of = pa.array(range(len(identifier_indexes)), pa.int32())
        for link in group_links:
            link_columns = _build_link_columns(link, query_result, (table.schema, was)) | _build_access_columns(
                link, query_result, rights, table
            )
            link_columns |= {"_link": numbers[id(link)], "_at": identifier_indexes, "_row": rows_of}
            if path and "link_auth" in link_columns and not link.is_file:
                link_columns["_path"] = query_result.get_column(path[0])
            if link.service is not None:  # by the files that there are, which are not known yet
                serving.append(_RowService(link, link.service, query_result, link_columns, identifier_indexes, visible))
                continue
            columns.append(link_columns)
        if columns:
            all_rows = _join_link_rows(columns, len(identifier_indexes))
            is_kept = _select_existing_links(columns, len(identifier_indexes), visible)
            if is_kept.true_count:
                link_batches.append(all_rows if is_kept.true_count == len(is_kept) else all_rows.filter(is_kept))
    checked_rows = None
    if link_batches:
        (joined,) = pa.Table.from_batches(link_batches).combine_chunks().to_batches()
        checked_rows, own_files = _check_linked_files(
            joined,
            table,
            links,
            ServiceContext.create_for_principal(site, principal, policies),
            principal,
            published_state,
            base_url,
        )
        served = _build_service_rows(serving, own_files)
        if served:
            checked_rows = pa.concat_batches([*([] if checked_rows is None else [checked_rows]), *served])
    missing = [
        identifier_indexes
        for identifier_indexes in range(len(requested_identifiers))
        if identifier_indexes not in answered_rows
    ]
    identifier_indexes = pa.array(missing, pa.int32())
    lost = {
        "error_message": _ROW_NOT_FOUND_MESSAGE.format(table=table.qualified_name),
        "semantics": THIS_SEMANTICS,
        "_at": identifier_indexes,
        "_link": 0,
        "_row": 0,
    }
    if missing or checked_rows is None:
        parts = [_join_link_rows([lost], len(missing))]
    else:
        parts = []
    all_rows = pa.Table.from_batches([*parts, *([] if checked_rows is None else [checked_rows])])
    order = all_rows["_link"].to_pylist()
    if len(requested_identifiers) > 1 or order != sorted(order):
        all_rows = all_rows.sort_by([("_at", "ascending"), ("_link", "ascending"), ("_row", "ascending")])
    identifier_texts = pa.array(requested_identifiers, pa.string()).take(all_rows["_at"].combine_chunks())
    all_rows = all_rows.set_column(all_rows.schema.get_field_index("ID"), "ID", identifier_texts)
    if with_link_numbers:
        return all_rows
    return pa.table([all_rows[name] for name in LINK_SCHEMA.names], schema=LINK_SCHEMA)


def extract_descriptors(link_rows: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """Take the descriptors of services out of rows, each once.

    Parameters
    ----------
    link_rows
        As `list_row_links` gives them, or some of them.

    Returns
    -------
    rows, resources
        With the XML IDs of descriptors as ``service_def``; and these.
    """
    services = link_rows["service_def"].combine_chunks().dictionary_encode()
    if not len(services.dictionary):
        return link_rows, ()
    named = [f"service_{number}" for number in range(1, len(services.dictionary) + 1)]
    named_descriptors = zip(services.dictionary.to_pylist(), named, strict=True)
    return (
        link_rows.set_column(2, LINK_SCHEMA.field("service_def"), pa.array(named, pa.string()).take(services.indices)),
        tuple(text.replace(_DESCRIPTOR_ID_PLACEHOLDER, name, 1) for text, name in named_descriptors),
    )


def find_link_lists(link_rows: pa.Table, base_url: str) -> dict[str, dict[str, int]]:
    """Find rows that lead to lists of links here, as those of observations do.

    Parameters
    ----------
    link_rows
        As `list_row_links` gives them.
    base_url
        Address of the site, as its views write it.

    Returns
    -------
    lists
        Table, as addresses name it -> identifier -> the row.
    """
    begin = f"{base_url}/datalink/"
    led = dict[str, dict[str, int]]()
    pairs = zip(*(link_rows[name].to_pylist() for name in ("access_url", "content_type")), strict=True)
    for row_number, (address, kind) in enumerate(pairs):
        if kind == DATALINK_MEDIA_TYPE and (address or "").startswith(begin):
            table, _, ident = address.removeprefix(begin).partition("?ID=")
            led.setdefault(unquote(table), {})[unquote(ident)] = row_number
    return led


def expand_link_lists(link_rows: pa.Table, base_url: str, list_links: Callable[[str, list[str]], pa.Table]) -> pa.Table:
    """Put in place of rows that lead to a list of links what stands in it, so that nobody is sent from one list to the next.

    Parameters
    ----------
    link_rows, base_url
        As of `find_link_lists`.
    list_links
        Asks what rows of a table lead to.

    Returns
    -------
    rows
        With the identifiers that were asked for.
    """
    led = find_link_lists(link_rows, base_url)
    places = pa.array(
        [row_indexes for rows_by_identifier in led.values() for row_indexes in rows_by_identifier.values()], pa.int32()
    )
    order = pa.array(range(link_rows.num_rows), pa.int32())
    is_kept = pc.invert(pc.is_in(order, value_set=places))
    parts = [link_rows.append_column("_at", order).filter(is_kept)]
    for name, rows_by_identifier in led.items():
        linked_rows = list_links(name, list(rows_by_identifier))
        row_indexes = pa.array(
            [rows_by_identifier.get(identifier) for identifier in linked_rows["ID"].to_pylist()], pa.int32()
        )
        linked_rows = linked_rows.set_column(
            linked_rows.schema.get_field_index("ID"), "ID", link_rows["ID"].combine_chunks().take(row_indexes)
        )
        parts.append(linked_rows.append_column("_at", row_indexes))
    all_rows = pa.concat_tables(parts)
    all_rows = all_rows.append_column("_nth", pa.array(range(all_rows.num_rows), pa.int32()))
    return all_rows.sort_by([("_at", "ascending"), ("_nth", "ascending")]).select(link_rows.column_names)


class _LinkQueryResult:
    """What was asked for some links.

    Rows, the names of their columns by what these were asked as, and the texts that are made of them.
    """

    def __init__(self, rows: pa.Table, column_names: Mapping[str, str], base_url: str) -> None:
        self.rows = rows
        self.column_names = column_names
        self.base_url = base_url
        self._encoded_columns: dict[tuple[str, str, str | None], pa.Array] = {}  # several links have the same file

    def get_column(self, text: str) -> pa.Array:
        return self.rows[self.column_names[text]].combine_chunks()

    def fill_template(self, template: Template, *, is_address: bool = False) -> ColumnValue:
        """Fill a template: one text, if it is the same for all rows."""
        fixed = _fill_constant_template(template, self.base_url)
        if fixed is not None or not template:
            return fixed
        return self.fill_rows(template, is_address=is_address)

    def fill_rows(self, template: Template, *, is_address: bool = False) -> pa.Array:
        """Fill a template for each row; null where one of its values is."""
        fixed = _fill_constant_template(template, self.base_url)
        if fixed is not None or not template:
            return pa.array([fixed] * self.rows.num_rows, pa.string())
        parts: list[Any] = []
        query = False
        for part_index, part in enumerate(template):
            if isinstance(part, str):
                parts.append(_to_scalar(part))
                query = query or "?" in part
            elif part == SITE_URL_EXPRESSION:
                parts.append(_to_scalar(self.base_url))
            else:
                key = (
                    part.expression,
                    part.format_spec,
                    None if not is_address else ADDRESS_CHARACTERS if part_index == 0 else "" if query else "/",
                )
                if key not in self._encoded_columns:
                    self._encoded_columns[key] = _encode_values(self.get_column(part.expression), *key[1:])
                parts.append(self._encoded_columns[key])
        if len(parts) == 1:
            return parts[0]
        return pc.binary_join_element_wise(*parts, _to_scalar(""))


@dataclass(frozen=True, slots=True)
class _RowService:
    """A service of rows: it is described when it is known which files of theirs may be had."""

    link: LinkTemplate
    service: ServiceDescriptor
    query_result: _LinkQueryResult
    link_columns: dict[str, ColumnValue]
    identifier_indexes: pa.Array
    is_visible: pa.Array | None


def _build_service_rows(
    row_services: Sequence[_RowService], own_files: Mapping[int, tuple[str, str]]
) -> list[pa.RecordBatch]:
    """Make the rows of services; `own_files`.

    The row's own file and whether one must log in for it, by the place of its identifier.
    """
    looked: dict[str, Any] = {}
    service_batches = []
    for _, group in groupby(row_services, key=lambda service_row: id(service_row.query_result)):
        group_services = list(group)
        for service_row in group_services:
            if service_row.link.adapt_service is not None:
                auth = [
                    own_files[identifier_index][1] if identifier_index in own_files else None
                    for identifier_index in service_row.identifier_indexes.to_pylist()
                ]
                link_auth = pa.array(auth, pa.string())
                service_row.link_columns.update(link_auth=link_auth, link_authorized=True)
            service_row.link_columns["service_def"] = _describe_services(service_row, own_files, looked)
        columns = [service_row.link_columns for service_row in group_services]
        is_kept = _select_existing_links(
            columns, len(group_services[0].identifier_indexes), group_services[0].is_visible
        )
        if is_kept.true_count:
            service_batches.append(_join_link_rows(columns, len(group_services[0].identifier_indexes)).filter(is_kept))
    return service_batches


def _describe_services(
    row_service: _RowService, own_files: Mapping[int, tuple[str, str]], file_cache: dict[str, Any]
) -> pa.Array:
    """Describe a service for each row; null where an address, or what is always sent, is not known."""
    link = row_service.link
    service = row_service.service
    link_columns = row_service.link_columns
    identifier_indexes = row_service.identifier_indexes
    query_result = row_service.query_result
    base = row_service.query_result.base_url

    def fill_rows(template: Template, *, address: bool = False) -> list[str | None]:
        return _to_list(query_result.fill_template(template, is_address=address), query_result.rows.num_rows)

    addresses = fill_rows(service.address, address=True)
    own_values = service.row_dependent_positions
    values = {
        identifier_indexes: [
            fill_rows(template) for template in _list_input_templates(service.inputs[identifier_indexes])
        ]
        for identifier_indexes in own_values
    }
    name = link.semantics.rpartition("#")[2]
    if all(isinstance(part, str) for part in link.local_semantics):  # the name is the descriptor's, not the row's
        name = "".join(map(str, link.local_semantics)) or name
    steady = _fill_constant_template(service.address, base) is not None
    told_of = (_to_list(link_columns[name], len(identifier_indexes)) for name in ("description", "content_type"))
    about = zip(*told_of, identifier_indexes.to_pylist(), strict=True)
    frames: dict[tuple[bool, ...], DescriptorTemplate] = {}
    descriptors: list[str | None] = []
    for row, (address, (description, kind, place_of_row)) in enumerate(zip(addresses, about, strict=True)):
        inputs = list(service.inputs)
        description_texts = [description or "", kind or ""]
        lost = address is None
        for place in own_values:
            service_input = service.inputs[place]
            row_values = [column[row] for column in values[place]]
            lost = lost or bool(service_input.value and row_values[0] is None)
            description_texts += [text or "" for text in row_values]
            inputs[place] = _fill_input(service_input, row_values)
        # written out: `replace` costs a list of a thousand rows a tenth of its time
        if lost:
            fit = None
        else:
            fit = ServiceDescriptor(
                address=(str(address),), inputs=tuple(inputs), standard_id=service.standard_id, ivoid=service.ivoid
            )
        if fit is not None and link.adapt_service is not None:
            fit = link.adapt_service(fit, own_files[place_of_row][0] if place_of_row in own_files else None, file_cache)
        if fit is None:
            descriptors.append(None)
            continue
        if not (
            steady and len(fit.inputs) == len(inputs) and all(map(is_, fit.inputs, inputs))
        ):  # it has bounds of its own
            descriptors.append(
                write_service_descriptor(
                    fit,
                    xml_id=_DESCRIPTOR_ID_PLACEHOLDER,
                    name=name,
                    description=description_texts[0],
                    content_type=description_texts[1],
                )
            )
            continue
        form = tuple(map(bool, description_texts))
        frame = frames.get(form)
        if frame is None:
            gaps = [format_placeholder(number) if text else None for number, text in enumerate(description_texts)]
            for number, place in enumerate(own_values):
                inputs[place] = _fill_input(service.inputs[place], gaps[2 + 4 * number : 6 + 4 * number])
            text = write_service_descriptor(
                replace(fit, inputs=tuple(inputs)),
                xml_id=_DESCRIPTOR_ID_PLACEHOLDER,
                name=name,
                description=gaps[0] or "",
                content_type=gaps[1] or "",
            )
            frame = frames[form] = DescriptorTemplate(text)
        descriptors.append(frame.fill_placeholders(description_texts))
    return pa.array(descriptors, pa.string())


def _list_input_templates(parameter: ServiceParameter) -> tuple[Template, ...]:
    return parameter.value, parameter.low, parameter.high, parameter.example


def _fill_input(parameter: ServiceParameter, texts: Sequence[str | None]) -> ServiceParameter:
    value, low, high, example = (() if text is None else (str(text),) for text in texts)
    return ServiceParameter(param=parameter.param, value=value, low=low, high=high, example=example)


def _make_group_key(link: LinkTemplate) -> tuple[str, str, str]:
    return link.source or "", link.where or "", link.order or ""


def _parse_identifier(table: Table, identifier: str) -> str | int | None:
    """Read an identifier; None: no row can have it."""
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
    """Cut identifiers into as many queries as their texts need."""
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
        expressions.append(
            "1"
            if condition is None
            else _write_truth_expression(write_adql(transform_tree(condition, _qualify_column)))
        )
    return expressions[0], expressions[1]


def _qualify_column(node: Any) -> Any:
    if isinstance(node, ColumnRef):
        return ColumnRef(Ident(node.name.name, quoted=True), (Ident("target"),))
    return node


def _build_access_columns(
    link: LinkTemplate, query_result: _LinkQueryResult, access_expressions: tuple[str, str], table: Table
) -> dict[str, ColumnValue]:
    """Say of links to the row's own files whether one must log in, and whether this reader may take them."""
    if not link.is_file and link.adapt_service is None:
        link_templates = (link.address, *(() if link.service is None else link.service.templates))
        used_columns = {
            hole.expression.replace('"', "")
            for template in link_templates
            for hole in template
            if not isinstance(hole, str)
        }
        if used_columns.isdisjoint(f"target.{name}" for name in table.file_column_names):
            return {}
    everybody, theirs = (
        pc.equal(query_result.get_column(text), _INTEGER_ONE) if text in query_result.column_names else text == "1"
        for text in access_expressions
    )
    if isinstance(everybody, bool):
        return {"link_auth": "false" if everybody else "true", "link_authorized": theirs}
    return {"link_auth": pc.if_else(everybody, _to_scalar("false"), _to_scalar("true")), "link_authorized": theirs}


@lru_cache(maxsize=64)
def _compile_file_pattern(bases: frozenset[str]) -> Callable[[str], re.Match[str] | None]:
    """Return what finds the parts of addresses of files here."""
    return re.compile(f"(?:{'|'.join(map(re.escape, sorted(bases)))}){FILE_PATH_PATTERN}").match


def _check_linked_files(
    link_rows: pa.RecordBatch,
    table: Table,
    links: Sequence[LinkTemplate],
    context: ServiceContext,
    principal: Principal,
    published_state: PublishedState,
    base_url: str,
) -> tuple[pa.RecordBatch, dict[int, tuple[str, str]]]:
    """Ask of each file that is led to, or that something is made of, what its address asks.

    Nothing else is offered than what can be had.

    Returns
    -------
    rows
        Without those to files that the reader may not know of; with media types and sizes, whether one must log in,
        whether they may take it, and an error in place of the address of what is not there.
    own
        Place of an identifier -> the path of the row's own file, that the reader may take, and its ``link_auth``.
    """
    columns_by_name = dict(zip(link_rows.schema.names, link_rows.columns, strict=True))
    match = _compile_file_pattern(published_state.ingest_site_urls | {base_url, context.site.settings.site_url})
    addresses = columns_by_name["access_url"].to_pylist()
    hints = columns_by_name["_path"].to_pylist()
    matches = [None if item is None else match(item) for item in addresses]
    if not any(matches) and columns_by_name["_path"].null_count == link_rows.num_rows:
        return link_rows, {}
    # the file of each row: its collection and path
    files = [
        (table.schema, hint) if item is None else (_unquote_path(item["collection"]), _unquote_path(item["path"]))
        for item, hint in zip(matches, hints, strict=True)
    ]
    paths_by_collection: dict[str, dict[str, None]] = {}
    for name, path in files:
        if path is not None:
            paths_by_collection.setdefault(name, {})[path] = None
    states_by_file = {
        (name, path): state
        for name, collection_paths in paths_by_collection.items()
        for path, state in _list_file_states(context, principal, name, [*collection_paths], published_state)
    }
    states = [states_by_file.get(item) for item in files]
    columns = {name: columns_by_name[name].to_pylist() for name in _FILE_STATE_COLUMNS}
    is_kept = [True] * len(files)
    own_files = dict[int, tuple[str, str]]()
    faces = len(table.effective_links)
    filed_at = set[int]()
    numbers = columns_by_name["_link"].to_pylist()
    places = columns_by_name["_at"].to_pylist()
    for row, (item, state) in enumerate(zip(matches, states, strict=True)):
        if state is None:
            continue
        if item is not None and state.auth is None:
            # of what is made of a file that is lost this is not told once more
            is_kept[row] = not state.is_hidden and numbers[row] < faces
            columns["access_url"][row], columns["error_message"][row] = None, _FILE_NOT_FOUND_MESSAGE
            continue
        if state.auth is not None:
            columns["link_auth"][row], columns["link_authorized"][row] = state.auth, state.can_access
        if item is not None and item["what"] == "files":
            columns["content_type"][row] = columns["content_type"][row] or state.media_type
            if columns["content_length"][row] is None:
                columns["content_length"][row] = state.size
            columns["access_url"][row] = state.direct_url or columns["access_url"][row]
        link = links[numbers[row]]
        if link.is_file and state.can_access:
            filed_at.add(places[row])
            if link.semantics == THIS_SEMANTICS:
                own_files.setdefault(places[row], (files[row][1], str(state.auth)))
    for row in (row for row, number in enumerate(numbers) if links[number].needs_file_access):
        is_kept[row] = is_kept[row] and places[row] in filed_at
    columns_by_name |= {name: pa.array(columns[name], _WORK_COLUMN_TYPES[name]) for name in _FILE_STATE_COLUMNS}
    batch = pa.RecordBatch.from_arrays(
        [columns_by_name[name] for name in _WORK_COLUMN_TYPES], names=list(_WORK_COLUMN_TYPES)
    )
    return batch if all(is_kept) else batch.filter(pa.array(is_kept)), own_files


class _FileState(NamedTuple):
    """What there is of a file for a reader: ``auth`` None: nothing, or it is hidden from them."""

    auth: str | None
    can_access: bool
    is_hidden: bool
    media_type: str | None = None
    size: int | None = None
    direct_url: str | None = None


def _list_file_states(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    paths: Sequence[str],
    published_state: PublishedState,
) -> Iterator[tuple[str, _FileState]]:
    """Yield of files of a collection what they are, where they are if another server gives them, who may take them, and know of them."""
    file_access = everybodys = collection_files.check_file_access(
        context, principal, collection, paths, published_state
    )
    if not principal.is_anonymous and (
        file_access.policy_tables
        or not file_access.listed
        or not has_public_access(file_access.listed[0][0], principal, context.policies)
    ):
        everybodys = collection_files.check_file_access(
            context, ANONYMOUS_PRINCIPAL, collection, paths, published_state
        )
    free = {path for _, rows_of in everybodys.listed for path in rows_of["path"].to_pylist()}
    for files, rows_of in file_access.listed:
        facts = (rows_of[column].to_pylist() for column in ("path", "media_type", "bytes", "url"))
        elsewhere = any(root.redirects_clients for root in files.roots)
        for path, kind, size, url in zip(*facts, strict=True):
            if elsewhere and find_root(path, files.roots)[0].redirects_clients:
                direct = url
            else:
                direct = None
            yield path, _FileState("false" if path in free else "true", True, False, kind, size, direct)
    accessible_paths = {path for _, rows_of in file_access.listed for path in rows_of["path"].to_pylist()}
    for path in paths:
        if path not in accessible_paths:
            yield (
                path,
                _FileState(
                    "true" if path in file_access.locking_tables else None, False, path in file_access.hidden_paths
                ),
            )


def _unquote_path(text: str) -> str:
    if "%" not in text:
        return text
    return unquote(text)


def _write_link_query(
    table: Table,
    links: Sequence[LinkTemplate],
    identifiers: Sequence[str | int],
    column_names: dict[str, str],
    access_expressions: Sequence[str],
) -> str:
    """Write what asks for all that some links are made of; `column_names` takes expression -> column."""
    assert table.identifier_column is not None  # noqa: S101  (tables without one have no links)
    key = f"target.{adql.quote_name(table.identifier_column.name)}"
    items = [f'{key} AS "{_IDENTIFIER_COLUMN}"']

    def add_select_item(text: str) -> None:
        if text not in column_names:
            column_names[text] = f"_{len(column_names)}"
            items.append(f'{text} AS "{column_names[text]}"')

    for text in access_expressions:
        if text not in {"0", "1"}:  # which nobody need compute
            add_select_item(text)
    for link in links:
        for text in link.row_expressions:
            add_select_item(text)
        if link.condition is not None:
            add_select_item(_write_truth_expression(link.condition))
    first = links[0] if links else None
    if len(identifiers) == 1:
        listed = f"= {write_literal(identifiers[0])}"
    else:
        listed = f"IN ({', '.join(map(write_literal, identifiers))})"
    text = f" FROM {_quote_table_name(table.qualified_name, table)} AS target"
    where = f"{key} {listed}"
    if first is not None and first.source is not None and first.where is not None:
        other_table = f"{_quote_table_name(first.source)} AS {adql.quote_name(first.alias or '')}"
        equal, has_other_conditions = _find_equal_columns(first.where, table.identifier_column.name)
        if (
            equal
            and not has_other_conditions
            and not any("target." in item for item in (*items[1:], first.order or ""))
        ):
            # the row is asked for by other links: nothing is to be joined
            items[0], text, where = (
                f'{equal[0]} AS "{_IDENTIFIER_COLUMN}"',
                f" FROM {other_table}",
                f"{equal[0]} {listed}",
            )
        else:
            # said of the other table as well, whose index then finds its rows
            text += f" JOIN {other_table} ON {first.where}"
            where = " AND ".join([where, *(f"{column} {listed}" for column in equal)])
    text = f"SELECT {', '.join(items)}{text} WHERE {where}"
    return text + (f" ORDER BY {first.order}" if first is not None and first.order else "")


@lru_cache(maxsize=1024)
def _find_equal_columns(join_condition: str, identifier_name: str) -> tuple[list[str], bool]:
    """List columns of the other table that are the row's identifier, by the condition that joins them.

    And whether it says more.
    """
    equal_columns = []
    has_other_conditions = False
    for part in split_conjuncts(adql.parse_condition(join_condition)):
        sides = (part.left, part.right) if isinstance(part, Comparison) and part.op == "=" else ()
        columns = [write_adql(side) for side in sides if isinstance(side, ColumnRef)]
        other_columns = [column for column in columns if column.replace('"', "") != f"target.{identifier_name}"]
        if (
            len(columns) == 2
            and len(other_columns) == 1
            and not other_columns[0].replace('"', "").startswith("target.")
        ):
            equal_columns.append(other_columns[0])
        else:
            has_other_conditions = True
    return equal_columns, has_other_conditions or len(equal_columns) > 1


def _write_truth_expression(condition: str) -> str:
    return f"CASE WHEN {condition} THEN 1 ELSE 0 END"


def _quote_table_name(qualified: str, table: Table | None = None) -> str:
    if table is not None:
        schema, _, name = (table.schema, "", table.name)
    else:
        schema, _, name = qualified.rpartition(".")
    return f"{adql.quote_name(schema)}.{adql.quote_name(name)}"


def _build_link_columns(
    link: LinkTemplate, query_result: _LinkQueryResult, file_location: tuple[str, Mapping[str, str]]
) -> dict[str, ColumnValue]:
    """Make the columns of a link; `file_location`.

    The collection of its files, what old addresses of them begin with -> what their paths do.
    """
    address: ColumnValue
    if link.is_file:
        file = _resolve_old_paths(query_result.fill_rows(link.address), file_location[1])
        begin = f"{query_result.base_url}/collections/{quote(file_location[0])}/files/"
        address = pc.binary_join_element_wise(begin, _encode_values(file, "", "/"), "")
    else:
        address = query_result.fill_template(link.address, is_address=True)
    kind = query_result.fill_template(link.type)
    if link.extension_media_types:  # fewer steps than in Arrow, where each is dear for a row
        type_by_extension = dict(link.extension_media_types)
        texts = _to_list(address, query_result.rows.num_rows)
        ends = (None if text is None else _EXTENSION_PATTERN.search(text.lower()) for text in texts)
        kind = [None if end is None else type_by_extension.get(end[1]) for end in ends]
        address = pa.array(
            [text if media_type else None for text, media_type in zip(texts, kind, strict=True)], pa.string()
        )
        kind = pa.array(kind, pa.string())
    if link.check_addresses is not None:
        texts = _to_list(address, query_result.rows.num_rows)
        suited = zip(texts, link.check_addresses(texts), strict=True)
        address = pa.array([text if suits else None for text, suits in suited], pa.string())
    link_columns = {
        "access_url": address,
        "description": query_result.fill_template(link.description),
        "semantics": link.semantics,
        "content_type": kind,
        "content_length": _parse_integers(query_result.fill_rows(link.size)) if link.size else None,
        "content_qualifier": _convert_content_qualifiers(query_result.fill_template(link.content_qualifier)),
        "local_semantics": query_result.fill_template(link.local_semantics),
    }
    if link.condition is not None:
        link_columns["_if"] = pc.equal(query_result.get_column(_write_truth_expression(link.condition)), _INTEGER_ONE)
    return link_columns


def _convert_content_qualifiers(texts: ColumnValue) -> ColumnValue:
    """Say kinds of products in DataLink's words, each distinct one once."""
    if texts is None or isinstance(texts, str):
        return to_content_qualifier(texts)
    if texts.null_count == len(texts):
        return None
    coded = texts.dictionary_encode()
    return pa.array([to_content_qualifier(text) for text in coded.dictionary.to_pylist()], pa.string()).take(
        coded.indices
    )


def _resolve_old_paths(files: pa.Array, old_prefixes: Mapping[str, str]) -> pa.Array:
    """Make paths of old addresses of files (`alias`), each distinct one once."""
    if not old_prefixes:
        return files
    coded = files.dictionary_encode()

    def resolve_path(text: str) -> str:
        begin = max((prefix for prefix in old_prefixes if text.startswith(prefix)), key=len, default=None)
        if begin is None:
            return text
        return old_prefixes[begin] + unquote(text[len(begin) :])

    return pa.array(
        [None if text is None else resolve_path(text) for text in coded.dictionary.to_pylist()], pa.string()
    ).take(coded.indices)


def _select_existing_links(
    columns: Sequence[Mapping[str, ColumnValue]], row_count: int, is_visible: pa.Array | None
) -> pa.Array:
    """Tell which rows of some links there are.

    They lead somewhere, their condition is met, and the reader may know of their row (None: of all).
    """
    leads = _join_columns(
        [column_values.get("service_def", column_values["access_url"]) for column_values in columns],
        row_count,
        pa.string(),
    )
    meets = [column_values.get("_if", True) for column_values in columns]
    is_kept = pc.is_valid(leads)
    if is_visible is not None:
        is_kept = pc.and_(is_kept, pa.concat_arrays([is_visible] * len(columns)))
    if all(condition is True for condition in meets):
        return is_kept
    return pc.fill_null(pc.and_(is_kept, _join_columns(meets, row_count, pa.bool_())), _BOOLEAN_FALSE)


def _to_list(value: ColumnValue, row_count: int) -> list[Any]:
    return value.to_pylist() if isinstance(value, pa.Array) else [value] * row_count


def _to_array(value: ColumnValue, row_count: int, arrow_type: pa.DataType) -> pa.Array:
    if isinstance(value, pa.Array):
        if value.type == arrow_type:
            return value
        return value.cast(arrow_type)
    if value is None:
        return pa.nulls(row_count, arrow_type)
    return pa.array([value] * row_count, arrow_type)


def _join_columns(values: Sequence[ColumnValue], row_count: int, arrow_type: pa.DataType) -> pa.Array:
    """Put the column of some links below each other; what is the same in all rows of a link costs next to nothing."""
    if len(values) == 1:
        return _to_array(values[0], row_count, arrow_type)
    if not any(isinstance(column_value, pa.Array) for column_value in values):
        return pa.array([column_value for column_value in values for _ in range(row_count)], arrow_type)
    return pa.concat_arrays([_to_array(column_value, row_count, arrow_type) for column_value in values])


@lru_cache(maxsize=4096)
def _fill_constant_template(template: Template, base_url: str) -> str | None:
    """Return the text of a template that is the same for all rows; None: it is not, or there is none."""
    if not template or not all(isinstance(part, str) or part == SITE_URL_EXPRESSION for part in template):
        return None
    return "".join(part if isinstance(part, str) else base_url for part in template)


@lru_cache(maxsize=1024)
def _to_scalar(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.string())


def _parse_integers(texts: pa.Array) -> pa.Array:
    """Read whole numbers; what is none is not known."""
    return pc.cast(pc.if_else(pc.match_substring_regex(texts, r"^\d{1,18}$"), texts, _NULL_TEXT), pa.int64())


def _encode_values(values: pa.Array, spec: str, safe_characters: str | None) -> pa.Array:
    """Write values as text, each distinct one once; `safe_characters`.

    As a part of an address, with these characters left as they are.
    """
    if (
        not spec
        and pa.types.is_string(values.type)
        and (
            safe_characters is None
            or pc.all(pc.match_substring_regex(values, _UNESCAPED_PATTERNS[safe_characters]), min_count=0).as_py()
        )
    ):
        return values
    coded = values.dictionary_encode()

    def format_value(value: Any) -> str | None:
        text: str | None
        if spec and is_time_format(spec):
            text = format_time(value, spec)
        elif spec:
            text = format(value, spec)
        elif isinstance(value, float):
            text = repr(value).removesuffix(".0")
        else:
            text = str(value)
        if safe_characters is None or text is None:
            return text
        return quote(text, safe=safe_characters)

    words = [None if value is None else format_value(value) for value in coded.dictionary.to_pylist()]
    return pa.array(words, pa.string()).take(coded.indices)


def _join_link_rows(links: Sequence[Mapping[str, ColumnValue]], row_count: int) -> pa.RecordBatch:
    """Put the rows of some links below each other: with the columns that are missing, in one order and type."""
    nulls: dict[pa.DataType, pa.Array] = {}
    columns = []
    for name, kind in _WORK_COLUMN_TYPES.items():
        values = [item.get(name) for item in links]
        if all(item is None for item in values):
            nulls[kind] = column = nulls[kind] if kind in nulls else pa.nulls(row_count * len(links), kind)
        else:
            column = _join_columns(values, row_count, kind)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=list(_WORK_COLUMN_TYPES))
