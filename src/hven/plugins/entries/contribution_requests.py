"""Requests of users to the pages of this package: forms, JSON and XML, with the same fields and limits."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np
import orjson
import pyarrow as pa

from hven import services
from hven.model.errors import (
    ForbiddenError,
    NotFoundError,
    ParamError,
    TooLargeError,
    UnauthenticatedError,
    format_message,
)
from hven.plugins.entries.contribution_tables import find_contribution_table
from hven.plugins.entries.entry_forms import ColumnWording, build_entry_fields
from hven.plugins.entries.entry_workflow import format_row_key
from hven.plugins.push.flat_xml import parse_flat_xml_records
from hven.portal.api.pages import PageLink, read_whole_number_parameter
from hven.portal.api.table_rows import MAX_KEY_CHARACTERS, build_table_path, build_table_view, fetch_row
from hven.services.addresses import is_cross_site_change_request
from hven.site.auth import invitations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Table
    from hven.plugins.entries.contribution_tables import AnyContributionTable, ContributionTable
    from hven.plugins.entries.entry_forms import EntryField
    from hven.portal.api.pages import PageContext

MAX_REQUEST_BYTES = 256 * 1024
MAX_NUMBER = 2**53  # in an address
MAX_TOKEN_CHARACTERS = 200
XML_MEDIA_TYPES = {"application/xml", "text/xml"}
VALUE_PREFIX = "VALUE."  # of the fields of forms that hold values of columns
PRIVATE_HEADERS = {"cache-control": "private, no-store"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionRequest:
    """The request of a user.

    Attributes
    ----------
    texts
        Parameters by their names in lower case.
    values
        Values of columns; None: the request has none.
    rows
        Rows of JSON; None: the request has none.
    is_json
        Whether it is JSON or XML, so that the answer is a document instead of another page.
    """

    texts: Mapping[str, str]
    values: Mapping[str, object] | None = None
    rows: Sequence[object] | None = None
    is_json: bool = False

    def read_text(self, name: str) -> str:
        """Return a parameter, or an empty text."""
        return self.texts.get(name, "")


async def read_contribution(page_context: PageContext, byte_limit: int = MAX_REQUEST_BYTES) -> ContributionRequest:
    """Read a request that changes something.

    Parameters
    ----------
    page_context
        The request of a page.
    byte_limit
        Largest number of bytes of JSON. Forms and XML may have `MAX_REQUEST_BYTES`.

    Raises
    ------
    ForbiddenError
        A page of another site sent it.
    TooLargeError, ParamError
        It is too large, or neither a form, a JSON object nor a record of XML.
    """
    request = page_context.request
    if is_cross_site_change_request(request, page_context.context.site.settings):
        raise ForbiddenError("the request comes from a page on another site", remedy="use the form on this page")
    token = request.headers.get("idempotency-key", "")
    etag = request.headers.get("if-match", "").strip().removeprefix("W/").strip('"')
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    rows: Sequence[object] | None = None
    try:
        if media_type == "application/json":
            document = _parse_json_object(await services.read_body(request, byte_limit))
            rows = document.pop("rows", None)
            if rows is not None and not isinstance(rows, list):
                raise ParamError("`rows` is not a list", remedy="send a list of objects with columns and their values")
            values = document.pop("values", None)
            if values is not None and not isinstance(values, dict):
                raise ParamError("`values` is not an object", remedy="send an object with columns and their values")
            row = document.pop("row", None)
            texts = {name: str(text) for name, text in document.items()}
            if row is not None:
                texts["row"] = format_row_key(row)
            is_json = True
        elif media_type in XML_MEDIA_TYPES:
            texts = _parse_xml_record(await services.read_body(request, MAX_REQUEST_BYTES))
            values, is_json = None, True
        else:
            params = await services.read_params(request, MAX_REQUEST_BYTES)
            texts, values, is_json = {}, {}, False
            for name in params.values:
                text = params.read_one(name) or ""
                if name.startswith(VALUE_PREFIX):
                    values[name.removeprefix(VALUE_PREFIX)] = text
                else:
                    texts[name.lower()] = text
    except TooLargeError:
        most_bytes = byte_limit if media_type == "application/json" else MAX_REQUEST_BYTES
        message = format_message("a request may have at most {most:,} bytes", most_bytes)
        raise TooLargeError(message, remedy="shorten the texts") from None
    texts.setdefault("token", token)
    texts.setdefault("etag", etag)
    if len(texts["token"]) > MAX_TOKEN_CHARACTERS:
        message = format_message("an Idempotency-Key may have at most {most} characters", MAX_TOKEN_CHARACTERS)
        raise ParamError(message, remedy="send a UUID")
    return ContributionRequest(texts=texts, values=values or None, rows=rows, is_json=is_json)


def _parse_json_object(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except ValueError as error:
        message = format_message("the request is not JSON: {message}", error)
        raise ParamError(message, remedy="send a JSON object") from None
    if not isinstance(document, dict):
        raise ParamError(
            "the request is JSON, but not an object", remedy="send an object whose `action` names the step to take"
        )
    return document


def _parse_xml_record(body: bytes) -> dict[str, str]:
    """Parse a record of XML, as clients of OiDB send it: attributes and elements are parameters."""
    records = parse_flat_xml_records(body)
    if len(records) != 1:
        raise ParamError("the document has several records", remedy="send one record in each request")
    return {name.lower(): text or "" for name, text in records[0].items()}


def find_visible_table(page_context: PageContext, name: str) -> Table:
    """Find a table that the user may see.

    Parameters
    ----------
    page_context
        The request of a page.
    name
        ``schema.table``.

    Raises
    ------
    NotFoundError
        The user sees no such table.
    """
    for table in page_context.catalogue.iterate_tables():
        if table.qualified_name == name:
            return table
    message = format_message("there is no table {name!r:.120} here", name)
    raise NotFoundError(message, remedy="see the collections on the home page")


def read_visible_row(page_context: PageContext, table: Table, row_key: str) -> tuple[str, dict[str, str]]:
    """Check that a user sees a row, and return its key and its values.

    Parameters
    ----------
    page_context
        The request of a page.
    table
        The table, as the user sees it.
    row_key
        Key of the row as JSON text, as in addresses of rows.

    Returns
    -------
    row_key, values
        The key in the form that is stored; and the values of the columns as text.

    Raises
    ------
    NotFoundError
        The user sees no such row.
    """
    table_view = build_table_view(page_context, table)
    page = None
    if len(row_key) <= MAX_KEY_CHARACTERS:
        page = fetch_row(table_view.search, table_view.runner, row_key)
    if page is None or not page.keys:
        message = format_message("there is no row {key!r:.120} in {table}", row_key, table.qualified_name)
        raise NotFoundError(message, remedy="open the table, and choose a row there")
    values = {}
    for number, column in enumerate(page.columns):
        values[column.name] = _format_value(page.rows.column(number)[0])
    return format_row_key(json.loads(row_key)), values


def _format_value(scalar: pa.Scalar) -> str:
    """Write a value as readers see it: numbers with the digits of their type, and times in ISO 8601."""
    value = scalar.as_py()
    if value is None:
        return ""
    if pa.types.is_float32(scalar.type):
        return str(np.float32(value))
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def build_older_address(
    page_context: PageContext, address: str, numbers: Sequence[int], page_size: int, parameter: str = "before"
) -> str:
    """Build the address of the same page with the contributions before the listed ones; empty: there are none.

    Parameters
    ----------
    page_context
        The request of the page.
    address
        Address of the page, without parameters.
    numbers
        Numbers of the listed contributions, the newest first.
    page_size
        Largest number of contributions in a list.
    parameter
        Parameter of the page that has the number.
    """
    if len(numbers) < page_size:
        return ""
    return f"{address}?{urlencode({**page_context.request.query_params, parameter: numbers[-1]})}"


def read_before_number(page_context: PageContext, parameter: str = "before") -> int | None:
    """Read the number of the contribution before which a list begins; None: it begins with the newest.

    Parameters
    ----------
    page_context
        The request of the page.
    parameter
        Parameter of the page that has the number.
    """
    return read_whole_number_parameter(page_context, parameter, 0, MAX_NUMBER) or None


def is_blind_referee(page_context: PageContext, table: Table) -> bool:
    """Return whether the user must not learn names, because authors of contributions may be authors of the data.

    Parameters
    ----------
    page_context
        The request of a page.
    table
        The table of the contributions.
    """
    return f"{invitations.BLIND_REVIEW_GROUP_PREFIX}{table.schema}" in page_context.principal.groups


def build_table_link(page_context: PageContext, table: Table) -> PageLink:
    """Build the link to the page of a table.

    Parameters
    ----------
    page_context
        The request of a page.
    table
        The table.
    """
    title = table.title or table.qualified_name
    return PageLink(title=str(title), url=f"{page_context.base}/collections/{build_table_path(table)}")


def list_contribution_tables(
    table_class: type[AnyContributionTable], page_context: PageContext
) -> list[AnyContributionTable]:
    """List the tables to which the user of a page may contribute.

    Parameters
    ----------
    table_class
        The kind of contributions.
    page_context
        The request of the page.

    Raises
    ------
    UnauthenticatedError
        The user has no account.
    """
    if page_context.principal.name is None:
        raise UnauthenticatedError("this page requires a login", remedy="log in at /login")
    contribution_tables = []
    for table in page_context.catalogue.iterate_tables():
        contribution_table = find_contribution_table(table_class, page_context.context.site, table)
        if contribution_table is not None and contribution_table.can_submit(page_context.principal):
            contribution_tables.append(contribution_table)
    return contribution_tables


def build_form_fields(contribution_table: ContributionTable, page_context: PageContext) -> list[EntryField]:
    """Build the fields of the form of a table, with labels in the language of the page.

    Parameters
    ----------
    contribution_table
        The table.
    page_context
        The request of the page.
    """
    table = contribution_table.table
    labels = page_context.build_column_labels(table)
    wording = ColumnWording(
        write_label=lambda column: labels.label_column(column, column.unit or ""),
        write_description=lambda column: str(column.description or ""),
        find_code_words=labels.find_code_words,
    )
    return build_entry_fields(contribution_table.spec, contribution_table.options, table, wording)
