"""Normalize names of targets as people and headers write them, and find equal ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import DataError
from hven.model.sky.api.ragged_arrays import map_in_threads
from hven.query.resolver import normalize_object_names

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.table import Column

    Rows = npt.NDArray[np.int64]

NAME_SEPARATOR_PATTERN = "[#|;]"  # between several names in one text
SIMBAD_PREFIX_PATTERN = r"^(NAME|V\*|EM\*|\*\*|\*)"
SHORT_LETTERS_PATTERN = r"^(MU|NU|PI)\."  # SIMBAD writes mu. Sco
LEADING_ZEROS_PATTERN = r"(^|[^0-9.])0+([0-9])"  # HD048915
GREEK_LETTERS = {
    "ALPHA": "ALF",
    "BETA": "BET",
    "GAMMA": "GAM",
    "DELTA": "DEL",
    "EPSILON": "EPS",
    "ZETA": "ZET",
    "THETA": "TET",
    "IOTA": "IOT",
    "KAPPA": "KAP",
    "LAMBDA": "LAM",
    "OMICRON": "OMI",
    "SIGMA": "SIG",
    "UPSILON": "UPS",
    "OMEGA": "OME",
    "KHI": "CHI",
    "XI": "KSI",
}
GREEK_PATTERN = "^(" + "|".join(GREEK_LETTERS) + r")([0-9]*[A-Z]{3})$"
MAX_EQUAL_PAIRS = 20_000_000
NAMES_PER_THREAD = 100_000


def normalize_target_names(names: pa.Array) -> pa.Array:
    """Normalize names: case, blanks, ``_``, SIMBAD's prefixes, leading zeros and names of Greek letters don't matter.

    Parameters
    ----------
    names
        Names, shape (n,).

    Returns
    -------
    keys
        Equal texts for equal names; null for empty names. Shape (n,).
    """
    pieces = [names.slice(start, NAMES_PER_THREAD) for start in range(0, len(names), NAMES_PER_THREAD)]
    return pa.concat_arrays([pa.array([], pa.string()), *map_in_threads(_normalize_piece, pieces)])


def _normalize_piece(names: pa.Array) -> pa.Array:
    """Normalize names; each distinct one once."""
    dictionary = names.cast(pa.string()).dictionary_encode()
    keys = pc.replace_substring(normalize_object_names(dictionary.dictionary), "_", "")
    keys = pc.replace_substring_regex(keys, SIMBAD_PREFIX_PATTERN, "")
    keys = pc.replace_substring_regex(keys, SHORT_LETTERS_PATTERN, r"\1")
    keys = pc.replace_substring_regex(keys, LEADING_ZEROS_PATTERN, r"\1\2")
    is_greek = pc.match_substring_regex(keys, GREEK_PATTERN)
    if pc.any(is_greek).as_py():
        greek_keys = keys.filter(is_greek)
        for word, letters in GREEK_LETTERS.items():
            greek_keys = pc.replace_substring_regex(greek_keys, f"^{word}([0-9]*[A-Z]{{3}})$", letters + r"\1")
        keys = pc.replace_with_mask(keys, is_greek, greek_keys)
    keys = pc.if_else(pc.equal(keys, ""), None, keys)
    return keys.take(dictionary.indices)


def split_names(values: pa.Array, column: Column) -> tuple[pa.Array, Rows]:
    """Split texts with several names, or lists of names.

    Parameters
    ----------
    values
        Values of a column, shape (n,).
    column
        The column.

    Returns
    -------
    names, rows
        The names, and the row of each.
    """
    if column.type.is_string:
        values = pc.split_pattern_regex(values.cast(pa.string()), NAME_SEPARATOR_PATTERN)
    return pc.list_flatten(values).cast(pa.string()), np.asarray(pc.list_parent_indices(values), np.int64)


def encode_keys(keys: pa.Array, known_keys: pa.Array) -> Rows:
    """Return the number of each key among known keys; -1: it is null or unknown.

    Parameters
    ----------
    keys
        Keys, shape (n,).
    known_keys
        Unique keys without nulls.
    """
    codes = pc.fill_null(pc.index_in(keys, value_set=known_keys), -1)
    return np.where(np.asarray(keys.is_null()), -1, np.asarray(codes)).astype(np.int64)


def find_equal_code_pairs(first: Rows, second: Rows) -> tuple[Rows, Rows]:
    """Find all pairs of equal codes.

    Parameters
    ----------
    first, second
        Codes from 0; -1: equal to nothing. Shapes (n,) and (m,).

    Returns
    -------
    first_rows, second_rows
        The rows of each pair, ordered by the first and then the second.

    Raises
    ------
    DataError
        There are too many pairs.
    """
    order = np.argsort(second, kind="stable")
    sorted_codes = second[order]
    begins = np.searchsorted(sorted_codes, first, side="left")
    counts = np.where(first < 0, 0, np.searchsorted(sorted_codes, first, side="right") - begins)
    pair_count = int(counts.sum())
    if pair_count > MAX_EQUAL_PAIRS:
        raise DataError(
            f"{pair_count:,} pairs of a target and an object have equal names; the limit is {MAX_EQUAL_PAIRS:,}",
            remedy="use `where` to leave out rows with names such as TEST, or choose other columns with `names`",
        )
    first_rows = np.repeat(np.arange(len(first)), counts)
    offsets = np.arange(pair_count) - np.repeat(np.cumsum(counts) - counts, counts)
    return first_rows, order[np.repeat(begins, counts) + offsets]
