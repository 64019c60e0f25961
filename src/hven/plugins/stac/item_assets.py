"""Write the assets of items: what the lists of DataLink have for the rows.

Tables whose only links are those of standard columns need no query for these lists.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import literal, units
from hven.services import datalinks
from hven.services.addresses import find_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.model.table import Column, Table
    from hven.plugins.stac.item_tables import ItemTable
    from hven.plugins.stac.reader_catalogue import ReaderCatalogue

    Integers = npt.NDArray[np.integer[npt.NBitBase]]

ASSET_KEYS = {"this": "data"}  # word of DataLink -> key of the asset, if they differ
ASSET_ROLES = {"this": "data", "preview": "overview", "documentation": "metadata"}
_STANDARD_COLUMNS = (("this", "access_url"), ("thumbnail", "thumbnail_url"), ("preview", "preview_url"))
_LINK_SCHEMA = pa.schema(
    {
        "row": pa.int32(),
        "word": pa.string(),
        "access_url": pa.string(),
        "description": pa.string(),
        "content_type": pa.string(),
        "content_length": pa.int64(),
    }
)
_VOCABULARY_PATTERN = "^.*[#/]"
EMPTY_TEXT = literal.to_arrow_string_scalar("")
_FIRST = pa.scalar(1)


def has_link_lists(item_table: ItemTable) -> bool:
    """Return whether DataLink lists the links of items by their ids.

    Parameters
    ----------
    item_table
        The table of the items.
    """
    table = item_table.table
    identifier = table.identifier_column
    is_served = table.is_served_by("datalink") and bool(table.effective_links or table.has_service_links)
    return is_served and identifier is not None and identifier.name == item_table.id_column.name


def read_link_lists(catalogue: ReaderCatalogue, item_table: ItemTable, rows: pa.Table) -> pa.Table | None:
    """Read the links of rows to files, unless the rows themselves tell all of them.

    Parameters
    ----------
    catalogue
        What the reader sees.
    item_table
        The table of the rows.
    rows
        Rows with all columns of the table.

    Returns
    -------
    links
        Number of the row, word of DataLink's vocabulary, address, description, media type and size in bytes, ordered by
        row. None if `read_standard_links` reads them.
    """
    table = item_table.table
    if not rows.num_rows or not has_link_lists(item_table):
        return None
    has_own_links = table.is_observation_view or bool(table.links or catalogue.context.list_links(table))
    if not has_own_links and not _has_own_files(catalogue, item_table, rows):
        return None
    ids = read_column(rows, item_table.id_column).cast(pa.string())
    links = _list_links(catalogue, table, ids.to_pylist())
    if table.is_observation_view:  # its rows lead to lists of other tables
        tables = catalogue.published_state.get_catalogue(catalogue.principal, catalogue.context.policies)
        links = datalinks.expand_link_lists(
            links,
            catalogue.site.settings.site_url,
            lambda name, identifiers: _list_links(catalogue, find_table(name, tables), identifiers),
        )
    links = links.filter(pc.and_(pc.is_valid(links["access_url"]), pc.is_null(links["error_message"])))
    words = pc.replace_substring_regex(links["semantics"], _VOCABULARY_PATTERN, "")
    columns = [pc.index_in(links["ID"], ids), words, *(links[name] for name in _LINK_SCHEMA.names[2:])]
    return _sort_links(pa.table(columns, schema=_LINK_SCHEMA))


def _has_own_files(catalogue: ReaderCatalogue, item_table: ItemTable, rows: pa.Table) -> bool:
    """Return whether rows lead to files of this site, of which DataLink tells access, type and size."""
    state = catalogue.published_state
    urls = {catalogue.base_url, catalogue.site.settings.site_url, *state.ingest_site_urls}
    columns = [read_column_texts(item_table, rows, name) for _, name in _STANDARD_COLUMNS]
    return any(
        pc.any(pc.starts_with(addresses, f"{url}/collections/")).as_py()
        for addresses in columns
        if addresses is not None
        for url in urls
    )


def _list_links(catalogue: ReaderCatalogue, table: Table, identifiers: Sequence[str]) -> pa.Table:
    return datalinks.list_row_links(
        table,
        identifiers,
        principal=catalogue.principal,
        site=catalogue.site,
        policies=catalogue.context.policies,
        published_state=catalogue.published_state,
        base_url=catalogue.base_url,
        face_links=catalogue.context.list_links(table),
    )


def read_column(rows: pa.Table, column: Column) -> pa.Array:
    """Read the values of a column.

    Parameters
    ----------
    rows
        Rows with all columns of the table.
    column
        A column of it.
    """
    return literal.combine_chunks(rows.column(column.name))


def read_column_texts(item_table: ItemTable, rows: pa.Table, name: str) -> pa.Array | None:
    """Read the values of a column of texts, without empty ones; None if there is no such column.

    Parameters
    ----------
    item_table
        The table of the rows.
    rows
        Rows with all columns of the table.
    name
        Name of the column in lower case.
    """
    column = item_table.columns_by_name.get(name)
    if column is None or not column.type.is_string or column.type.xtype not in {None, "", "uri"}:
        return None
    texts = read_column(rows, column).cast(pa.string())
    is_blank = pc.equal(pc.utf8_trim_whitespace(texts), EMPTY_TEXT)
    return pc.if_else(is_blank, literal.NULL_STRING, texts) if pc.any(is_blank).as_py() else texts


def read_standard_links(item_table: ItemTable, rows: pa.Table) -> pa.Table:
    """Read the links that standard columns of EPN-TAP and ObsCore have.

    Parameters
    ----------
    item_table
        The table of the rows.
    rows
        Rows with all columns of the table.

    Returns
    -------
    links
        As those of `read_link_lists`.
    """
    row_numbers = pa.array(np.arange(rows.num_rows, dtype=np.int32))
    missing_texts, missing_sizes = pa.nulls(rows.num_rows, pa.string()), pa.nulls(rows.num_rows, pa.int64())
    parts = [_LINK_SCHEMA.empty_table()]
    for word, name in _STANDARD_COLUMNS:
        addresses = read_column_texts(item_table, rows, name)
        if addresses is None:
            continue
        facts = [missing_texts, missing_sizes]
        if word == "this":
            formats = read_column_texts(item_table, rows, "access_format")
            facts = [missing_texts if formats is None else formats, _compute_file_sizes(item_table, rows)]
        part = [row_numbers, pa.repeat(word, rows.num_rows), addresses, missing_texts, *facts]
        parts.append(pa.table(part, schema=_LINK_SCHEMA))
    links = pa.concat_tables(parts)
    return _sort_links(links.filter(pc.is_valid(links["access_url"])))


def _compute_file_sizes(item_table: ItemTable, rows: pa.Table) -> pa.Array:
    """Compute sizes in bytes, as DataLink does; null without a column of sizes in a unit of data."""
    column = item_table.columns_by_name.get("access_estsize")
    if column is None or not column.type.is_numeric or not units.are_units_convertible(column.unit, "byte"):
        return pa.nulls(rows.num_rows, pa.int64())
    factor = units.compute_unit_factor(column.unit, "byte")
    sizes = read_column(rows, column).cast(pa.float64())
    return pc.round(pc.multiply(sizes, factor)).cast(pa.int64(), safe=False)


def _sort_links(links: pa.Table) -> pa.Table:
    order = np.argsort(np.asarray(links["row"]), kind="stable")
    return links.take(pa.array(order)).combine_chunks()


def write_assets_with_size_flags(links: pa.Table, row_count: int) -> tuple[pa.Array, pa.Array]:
    """Write the assets of rows.

    Parameters
    ----------
    links
        Links, as `read_link_lists` returns them.
    row_count
        Number of rows.

    Returns
    -------
    texts, has_size
        Members of the object with the assets, and whether an asset has a size, each of shape (rows,).
    """
    rows = np.asarray(links["row"])
    words = literal.combine_chunks(links["word"]).dictionary_encode()
    distinct_words = words.dictionary.to_pylist()
    keys, roles = (
        pa.array([literals.get(word, word) for word in distinct_words], pa.string()).take(words.indices)
        for literals in (ASSET_KEYS, ASSET_ROLES)
    )
    numbers = _assign_numbers_by_row_and_word(rows, np.asarray(words.indices), len(distinct_words))
    number_texts = literal.concat_text_columns("-", numbers.cast(pa.string()))
    suffixes = pc.if_else(pc.equal(numbers, _FIRST), EMPTY_TEXT, number_texts)
    addresses, titles, media_types, sizes = (literal.combine_chunks(links[name]) for name in _LINK_SCHEMA.names[2:])
    members: list[pa.Array | str] = [
        literal.quote_json_strings(literal.concat_text_columns(keys, suffixes)),
        ':{"roles":[',
        literal.quote_json_strings(roles),
        '],"href":',
        literal.quote_json_strings(addresses),
    ]
    optional_members = {
        "title": literal.quote_json_strings(titles),
        "type": literal.quote_json_strings(media_types),
        "file:size": sizes.cast(pa.string()),
    }
    for name, texts in optional_members.items():
        if texts.null_count < len(texts):
            members.append(literal.fill_nulls(literal.concat_text_columns(f",{json.dumps(name)}:", texts)))
    asset_texts = literal.concat_text_columns(*members, "}")
    offsets = np.searchsorted(rows, np.arange(row_count + 1)).astype(np.int32)
    texts_by_row = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), asset_texts), ",")
    size_counts = np.bincount(rows[np.asarray(pc.is_valid(sizes))], minlength=row_count)
    return texts_by_row, pa.array(size_counts > 0)


def _assign_numbers_by_row_and_word(rows: Integers, words: Integers, word_count: int) -> pa.Array:
    """Assign each link its number, from 1, among the links of its row that have the same word."""
    codes = rows.astype(np.int64) * word_count + words
    order = np.argsort(codes, kind="stable")
    sorted_codes = codes[order]
    numbers = np.empty(len(codes), np.int64)
    numbers[order] = np.arange(len(codes)) - np.searchsorted(sorted_codes, sorted_codes) + 1
    return pa.array(numbers)
