"""Convert cells of JSON arrays to Arrow lists: the columns of ECSV that have a shape."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.sources._reading.cells import parse_cells, replace_null_words, strip_blanks

_NUMBER_ARRAY_PATTERN = r"^\[[\[\],\s\w.+-]*\]$"
_TEXT_ARRAY_PATTERN = r"(?s)^\[.*\]$"


def is_list_type(arrow_type: pa.DataType) -> bool:
    """Check whether `parse_json_arrays` reads a type."""
    return bool(pa.types.is_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type))


def parse_json_arrays(cells: pa.Array, arrow_type: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Read arrays of numbers, truth values or texts; those of several dimensions are laid out in the order of the text.

    Parameters
    ----------
    cells
        Texts, as ``[1.0, NaN, null]``, ``[[1, 2], [3, 4]]``, ``["a", "b"]``.
    arrow_type
        A list, or one of fixed size.

    Returns
    -------
    values, bad
        `values` has null where `bad` (a boolean array, or None if every cell fits) is true.
    """
    text = replace_null_words(strip_blanks(cells), ["null"])
    is_text = pa.types.is_string(arrow_type.value_type)
    fits = pc.match_substring_regex(text, _TEXT_ARRAY_PATTERN if is_text else _NUMBER_ARRAY_PATTERN)
    bad = np.asarray(pc.fill_null(pc.invert(fits), False))
    text = pc.if_else(pa.array(bad), pa.scalar(None, text.type), text)
    if is_text:
        counts, items, wrong = _parse_text_arrays(text)
    else:
        counts, items, wrong = _parse_number_arrays(text, arrow_type.value_type)
    bad |= wrong
    if pa.types.is_fixed_size_list(arrow_type):
        bad |= np.asarray(pc.is_valid(text)) & (counts != arrow_type.list_size)
    missing = np.asarray(pc.is_null(text)) | bad
    values = _build_lists(counts, items, missing, arrow_type)
    return values, pa.array(bad) if bad.any() else None


def _parse_number_arrays(text: pa.Array, item_type: pa.DataType) -> tuple[np.ndarray, pa.Array, np.ndarray]:
    """Return the number of items of each cell, all items, and the cells with an item that is none."""
    flat = pc.replace_substring_regex(pc.fill_null(text, ""), r"[\[\]\s]", "")
    parts = pc.split_pattern(flat, ",")
    empty = np.asarray(pc.equal(flat, ""))
    lengths = np.asarray(pc.list_value_length(parts))
    owners = np.repeat(np.arange(len(text)), lengths)
    words = parts.flatten().filter(pa.array(~empty[owners]))
    items, odd = parse_cells(words, item_type)
    owners = owners[~empty[owners]]
    if odd is None:
        odd_items = np.zeros(len(words), bool)
    else:
        odd_items = np.asarray(odd)
    odd_items |= np.asarray(pc.equal(words, ""))  # [1,,2]
    wrong = np.zeros(len(text), bool)
    wrong[owners[odd_items]] = True
    return np.where(empty, 0, lengths), items, wrong


def _parse_text_arrays(text: pa.Array) -> tuple[np.ndarray, pa.Array, np.ndarray]:
    from pyarrow import json  # noqa: PLC0415  (asked by few)

    lines = pc.binary_join_element_wise('{"a":', pc.fill_null(text, "[]"), "}", "")
    data = ("\n".join(lines.to_pylist()) + "\n").encode()
    schema = pa.schema([("a", pa.list_(pa.string()))])
    try:
        table = json.read_json(
            io.BytesIO(data),
            read_options=json.ReadOptions(block_size=len(data) + 1, use_threads=False),
            parse_options=json.ParseOptions(explicit_schema=schema, newlines_in_values=False),
        )
    except pa.ArrowInvalid:  # which of them is none is not known
        return np.zeros(len(text), np.int64), pa.array([], pa.string()), np.asarray(pc.is_valid(text))
    lists = table.column("a").combine_chunks()
    return np.asarray(pc.list_value_length(lists)), lists.flatten(), np.zeros(len(text), bool)


def _build_lists(counts: np.ndarray, items: pa.Array, missing: np.ndarray, arrow_type: pa.DataType) -> pa.Array:
    """Build lists of the items of all cells; cells without a value keep none."""
    starts = np.cumsum(counts) - counts
    if pa.types.is_fixed_size_list(arrow_type):
        size = arrow_type.list_size
        places = np.where(missing, 0, starts)[:, None] + np.arange(size)
        picked_items = items.take(pa.array(places.ravel(), mask=np.repeat(missing, size)))
        mask = pa.array(missing)
        return pa.FixedSizeListArray.from_arrays(picked_items, type=arrow_type, mask=mask)
    item_counts = np.where(missing, 0, counts)
    items = items.filter(pa.array(np.repeat(~missing, counts)))
    offsets = np.concatenate([[0], np.cumsum(item_counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), items.cast(arrow_type.value_type), type=arrow_type, mask=pa.array(missing)
    )
