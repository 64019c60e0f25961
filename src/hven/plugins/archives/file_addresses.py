"""Addresses of the files of rows: those in a column of a result, or those in the lists of links of the rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote

from hven import services
from hven.model import split_address
from hven.model.errors import HvenError, ParamError, format_message
from hven.services import datalinks, scripts
from hven.services.addresses import list_base_urls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from starlette.requests import Request

    from hven.model.table import Table
    from hven.query import QueryResult
    from hven.services.face import ServiceContext

_FILE_PATH_PATTERN = r"/collections/([^/?#]+)/files/([^?#]+)"
_DATALINK_PATH_PATTERN = r"/datalink/([^/?#]+)\?"


def read_file_addresses(result: QueryResult, base_url: str, columns: Sequence[str] = ()) -> list[str]:
    """Read the addresses to which the rows of a result lead.

    Parameters
    ----------
    result
        The result, whose rows are read.
    base_url
        Address of the site, without a final slash.
    columns
        Names of the columns; empty: a column with addresses of files, else the identifier of rows that have links.

    Returns
    -------
    addresses
        Addresses for `archive_plans.plan_archive`.

    Raises
    ------
    ParamError
        There is no such column.
    """
    names = [column.name for column in result.columns]
    identifier = _find_identifier_column(result)
    names_by_lower_case = {name.lower(): name for name in reversed(names)}
    chosen_names = [names_by_lower_case.get(column.lower(), "") for column in columns]
    if not columns:
        chosen_names = [_find_address_column(result) or identifier or ""]
    if "" in chosen_names:
        if columns:
            missing_column = columns[chosen_names.index("")]
            message = format_message("{name}={value}: the result has no such column", "COLUMN", missing_column[:60])
            remedy = format_message("use one of {names}", ", ".join(names))
        else:
            message = format_message("Hven found no column with links to files in the result")
            remedy = format_message("set COLUMN to one of these columns: {names}", ", ".join(names))
        raise ParamError(message, name="COLUMN", remedy=remedy)
    indexes = [names.index(name) for name in chosen_names]
    addresses: list[str] = []
    for batch in result.iterate_batches():
        cells = [batch.column(index).to_pylist() for index in indexes]
        addresses.extend(str(cell) for row in zip(*cells, strict=True) for cell in row if cell not in {None, ""})
    if chosen_names != [identifier]:
        return addresses
    links_url = build_datalink_url(result.tables[0], base_url)
    return [links_url + quote(text, safe="") for text in addresses]


def _find_address_column(result: QueryResult) -> str | None:
    """Find a column with addresses: by its name, else by its UCD."""
    text_columns = [column for column in result.columns if column.type.is_string]
    text_names = {column.name for column in text_columns}
    names = [name for name in scripts.ADDRESS_COLUMNS if name in text_names and name != "datalink_url"]
    names += [column.name for column in text_columns if (column.ucd or "").lower().startswith("meta.ref.url")]
    return next(iter(names), None)


def _find_identifier_column(result: QueryResult) -> str | None:
    """Return the identifier of rows that have links, if the result has it."""
    if len(result.tables) != 1:
        return None
    table = result.tables[0]
    identifier = table.identifier_column
    names = {column.name for column in result.columns}
    if table.effective_links and identifier is not None and identifier.name in names:
        return identifier.name
    return None


def build_datalink_url(table: Table, base_url: str) -> str:
    """Return the address of lists of links of a table's rows, up to the identifier.

    Parameters
    ----------
    table
        Table of the rows.
    base_url
        Address of the site, without a final slash.
    """
    return f"{base_url}/datalink/{quote(table.qualified_name)}?ID="


def find_addressed_files(
    context: ServiceContext, request: Request, addresses: Sequence[str], *, include_all: bool = False
) -> tuple[dict[str, tuple[str, str] | None], list[tuple[str, str]]]:
    """Find the files of addresses; lists of links are replaced by the files to which they lead.

    Parameters
    ----------
    context
        Service context of the site.
    request
        Request of the client.
    addresses
        Addresses of files, or of lists of links of this site.
    include_all
        True: all of the site's files to which a list leads; False: the rows' own files.

    Returns
    -------
    file_by_address
        Address -> collection and path of the file; None for a file elsewhere.
    missing_files
        Lists that lead to no file, each with the reason.
    """
    site_urls = _list_site_urls(request, context)
    match_list_address = _compile_address_pattern(site_urls, _DATALINK_PATH_PATTERN)
    match_file_address = _compile_address_pattern(site_urls, _FILE_PATH_PATTERN)
    lists_by_table = _parse_datalink_addresses(addresses, match_list_address)
    list_addresses = {address for lists in lists_by_table.values() for _, address in lists}
    files_by_list: dict[str, list[str]] = {}
    missing_files: list[tuple[str, str]] = []
    for table_name, lists in lists_by_table.items():
        address_by_identifier = dict(lists)
        try:
            link_rows = _list_datalink_rows(context, request, table_name, [*address_by_identifier], site_urls[0])
        except HvenError as error:
            missing_files += [(address, flatten_message(error)) for _, address in lists]
            continue
        for row in link_rows:
            list_address = address_by_identifier[row["ID"]]
            file_address = row["access_url"]
            is_own_file = row["semantics"] == datalinks.THIS_SEMANTICS
            if file_address is not None:
                if is_own_file or (include_all and match_file_address(file_address)):
                    files_by_list.setdefault(list_address, []).append(file_address)
            elif row["error_message"] is not None and (is_own_file or include_all):
                missing_files.append((list_address, str(row["error_message"])))
    answered_addresses = {address for address, _ in missing_files} | {*files_by_list}
    file_addresses: list[str] = []
    for address in dict.fromkeys(addresses):
        if address not in list_addresses:
            file_addresses.append(address)
            continue
        file_addresses += files_by_list.get(address, ())
        if address not in answered_addresses:
            missing_files.append((address, "it does not lead to a file that you may download here"))
    file_by_address: dict[str, tuple[str, str] | None] = dict.fromkeys(file_addresses)
    for address in file_by_address:
        file_match = match_file_address(address)
        if file_match is not None:
            file_by_address[address] = (unquote(file_match[1]), unquote(file_match[2]))
    return file_by_address, missing_files


def _parse_datalink_addresses(
    addresses: Iterable[str], match_list_address: Callable[[str], re.Match[str] | None]
) -> dict[str, list[tuple[str, str]]]:
    """Parse the addresses of lists of links: table -> identifiers, each with its address."""
    lists_by_table: dict[str, list[tuple[str, str]]] = {}
    for address in addresses:
        list_match = match_list_address(address)
        if list_match is None:
            continue
        for name, value in parse_qsl(split_address(address).query):
            if name.upper() == "ID":
                lists_by_table.setdefault(unquote(list_match[1]), []).append((value, address))
    return lists_by_table


def _list_datalink_rows(
    context: ServiceContext, request: Request, table_name: str, identifiers: Sequence[str], base_url: str
) -> list[dict[str, Any]]:
    principal = context.identify_principal(request)
    published_state = context.site.get_published_state()
    catalogue = published_state.get_catalogue(principal, context.policies)
    link_rows = datalinks.list_row_links(
        services.find_table(table_name, catalogue),
        identifiers,
        principal=principal,
        site=context.site,
        policies=context.policies,
        published_state=published_state,
        base_url=base_url,
    )
    rows: list[dict[str, Any]] = link_rows.to_pylist()
    return rows


def _list_site_urls(request: Request, context: ServiceContext) -> list[str]:
    """List the addresses of the site, and those that it had when rows were written.

    A server at another port has the same files.
    """
    base_urls = list_base_urls(request, context.site.settings)
    earlier_urls = sorted(context.site.get_published_state().ingest_site_urls)
    return list(dict.fromkeys([*base_urls, *earlier_urls]))


def _compile_address_pattern(base_urls: Sequence[str], path_pattern: str) -> Callable[[str], re.Match[str] | None]:
    """Return a function that finds the parts of an address of this site."""
    return re.compile(f"(?:{'|'.join(map(re.escape, base_urls))}){path_pattern}").match


def flatten_message(error: HvenError) -> str:
    """Return the message of an error as one line."""
    return str(error).replace("\n", " ")
