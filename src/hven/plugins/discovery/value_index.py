"""Index the values of tables, so that readers find them by the words in them.

The values are names, titles, targets, instruments and codes, each with the number of its rows.

Values are counted once for each state of a table, over the rows that a reader may see, and kept in memory. A search
only looks at the values in memory.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import syntax_tree
from hven.engines import LiveRelation
from hven.model import LruCache, RetryBackoffLog
from hven.model.errors import HvenError
from hven.portal.api.column_values import (
    COUNT_ITEM,
    MAX_VALUE_CHARACTERS,
    SharedArrayFileCache,
    build_column_ref,
    has_externally_written_rows,
    has_hidden_rows,
    list_code_phrases,
    write_choice_condition,
)
from hven.portal.conditions import CASE_SENSITIVE_COLUMNS, LIST_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from hven.model.table import Column, Table
    from hven.portal.api.table_rows import QueryRunner

MAX_COLUMN_VALUES = 50_000  # distinct values of one column; a column with more is searched in the table's own form
MAX_TABLE_VALUES = 150_000  # of all columns of a table, those with few values first
MAX_CACHE_BYTES = 128 * 1024**2  # of all values that a process keeps in memory
COLUMN_TIMEOUT_SECONDS = 10.0  # for one column: it is counted in the background
MAX_UNKNOWN_COLUMNS = 16  # columns of a view or a live table: there are no statistics to choose them by
UNKNOWN_TIMEOUT_SECONDS = 30.0  # for all columns of such a table together
LIVE_CACHE_SECONDS = 600.0  # how long the values of a live table (rows that other programs write) are used
RETRY_SECONDS = 120.0  # after which columns that failed are counted again
MAX_LIVE_ROWS = 5_000_000  # a larger live table is not counted: its database has other work
MIN_WORD_LETTERS = 3  # letters of a word that means something by itself
COMPARED_BYTES = 12  # bytes of a prefix
MAX_VALUE_WORDS = 8  # indexed words of one value
_FIRST_WORD_PATTERN = r"^[^\s_\-/.,;:+()\[\]]*[\s_\-/.,;:+()\[\]]+"  # the first word of a text and its separators
COMBINED_WEIGHT = 30.0  # weight of a match with values of several columns
MAX_TRIED_STATES = 100_000  # the set of counted table states is cleared beyond this size
MAX_WEIGHED_VALUES = 64  # values of one table that are weighed
# columns with these UCDs hold nothing that readers look for
EXCLUDED_UCDS = (
    "meta.ref",
    "meta.code.mime",
    "pos.outline",
    "meta.checksum",
    "meta.note",
)
EXCLUDED_NAMES = ("url", "md5", "checksum", "access_format", "s_region", "coverage", "granule_uid")
ARRAY_FIELDS = (
    "texts",
    "begins",
    "whose",
    "first",
    "sizes",
    "columns",
    "rows",
)  # fields of `TableValueSearchIndex` in files
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueMatch:
    """A match: rows of a table that have a value.

    `conditions` are written as in an address, `values` as the table stores them. `row_count` is None for several values
    together, and for live tables (`is_live`).
    """

    table: Table
    text: str
    conditions: tuple[tuple[str, str], ...]
    row_count: int | None
    score: float
    values: tuple[str, ...] = ()
    is_live: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableValueSearchIndex:
    """The values of one table: their texts, and the column and the number of rows of each.

    Attributes
    ----------
    begins, whose
        Sorted folded texts (`normalize_search_texts`), each from the beginning of one word of a value on, and the
        number of that value. Words are found by binary search.
    first, sizes
        The folded prefix and the folded length of each value; for a code, those of its first phrase.
    phrases
        For each column: code -> its phrases in all languages.
    recount_time
        The monotonic time at which the values are counted again; infinite, unless a column failed or the table is live.
    is_live
        Whether other programs write the rows.
    is_mapped
        Whether the arrays lie in a file that all processes share.
    """

    table: Table
    texts: pa.StringArray
    begins: npt.NDArray[np.bytes_]
    whose: npt.NDArray[np.int32]
    first: npt.NDArray[np.bytes_]
    sizes: npt.NDArray[np.int32]
    columns: npt.NDArray[np.int16]
    rows: npt.NDArray[np.int64]
    names: tuple[str, ...]
    phrases: tuple[Mapping[str, tuple[str, ...]], ...]
    recount_time: float = math.inf
    is_live: bool = False
    is_mapped: bool = False

    @property
    def memory_bytes(self) -> int:
        """The approximate memory that the values take in this process."""
        if self.is_mapped:
            return 2_000
        arrays = (self.texts, self.begins, self.whose, self.first, self.sizes, self.columns, self.rows)
        array_bytes = sum(int(array.nbytes) for array in arrays)
        return array_bytes + 2_000

    def fold_values_for_search(self, value_numbers: npt.NDArray[np.int64]) -> pa.StringArray:
        """Return the folded texts of some values, codes together with their phrases."""
        texts = self.texts.take(pa.array(value_numbers))
        if any(self.phrases):
            column_phrases = [self.phrases[column_number] for column_number in self.columns[value_numbers]]
            phrased_texts = []
            for text, words in zip(texts.to_pylist(), column_phrases, strict=True):
                phrases = words.get(text, ())
                phrased_texts.append(" ".join((text, *phrases)))
            texts = pa.array(
                phrased_texts,
                pa.string(),
            )
        return normalize_search_texts(texts)


class ValueIndex:
    """Keep the values of tables, by table state and access. Thread-safe; one table is counted at a time."""

    def __init__(self) -> None:
        self.catalogues: tuple[Mapping[str, str], ...] = ()  # of the languages of the pages
        self._values: LruCache[TableValueSearchIndex] = LruCache(MAX_CACHE_BYTES)
        # the values of all tables that a reader sees, and the monotonic time until which they are valid
        self._value_lists: LruCache[tuple[float, list[TableValueSearchIndex]]] = LruCache(8)
        self._count_lock = threading.Lock()
        self._queue_condition = threading.Condition()
        self._tried_states: set[Hashable] = set()  # table states that need no second count
        self._queued_tables: dict[tuple[Hashable, ...], tuple[Table, QueryRunner]] = {}
        self._counting_key: tuple[Hashable, ...] | None = None  # the table state that the thread counts now

    def index_tables(self, tables: Iterable[Table], runner: QueryRunner) -> None:
        """Count the tables whose values are not known yet, and wait for the result. Small tables come first."""
        published_tables = runner.published_state.tables_by_name
        for table in sorted(tables, key=lambda table: published_tables[table.qualified_name].rows or 0):
            state_key = _build_state_key(table, runner)
            self._index_table_once(state_key, table, runner, -1)

    def find_values(
        self, tables: Iterable[Table], runner: QueryRunner, timeout_seconds: float, cache_key: Hashable = None
    ) -> tuple[list[TableValueSearchIndex], bool]:
        """Return the values of tables, and whether some are still to be counted.

        A background thread counts the tables that take longer than `timeout_seconds`.

        `cache_key` names the tables, their state and the reader's access to them. Without it each table is looked up.
        """
        if cache_key is None:
            cached_list = None
        else:
            cached_list = self._value_lists.find(cache_key)
        start_time = time.monotonic()
        if cached_list is not None and start_time < cached_list[0]:
            return cached_list[1], False
        until = start_time + timeout_seconds
        value_tables: list[TableValueSearchIndex] = []
        uncounted: dict[tuple[Hashable, ...], tuple[Table, QueryRunner]] = {}
        outdated: dict[tuple[Hashable, ...], tuple[Table, QueryRunner]] = {}
        for table in tables:
            state_key = _build_state_key(table, runner)
            values = self._values.find(state_key)
            if values is None and not self._is_indexed_or_paused(state_key, runner):
                remaining_seconds = until - time.monotonic()
                # a thread counts the tables that may take longer
                is_quick = remaining_seconds > 0 and not _has_no_statistics(table, runner)
                if is_quick:
                    values = self._index_table_once(state_key, table, runner, remaining_seconds)
                else:
                    values = None
                if values is None and not self._is_indexed_or_paused(state_key, runner):
                    uncounted[state_key] = (table, runner)
            if values is not None:
                value_tables.append(values)
                if values.recount_time < start_time:  # outdated values are used until the new ones are there
                    outdated[state_key] = (table, runner)
        if uncounted or outdated:
            value_tables += self._index_in_background(uncounted, outdated, until)
        elif cache_key is not None:
            recount_times = (value_table.recount_time for value_table in value_tables)
            next_recount = min((recount_times), default=math.inf)
            self._value_lists.store(
                cache_key,
                (next_recount, value_tables),
            )
        return value_tables, bool(uncounted)

    def _index_in_background(
        self,
        uncounted: dict[tuple[Hashable, ...], tuple[Table, QueryRunner]],
        outdated: Mapping[tuple[Hashable, ...], tuple[Table, QueryRunner]],
        deadline: float,
    ) -> list[TableValueSearchIndex]:
        """Let a thread count tables, wait until `deadline`, and remove the counted ones from `uncounted`."""
        with self._queue_condition:
            own_keys = uncounted.keys() - self._queued_tables.keys() - {self._counting_key}
            is_idle = self._counting_key is None and not self._queued_tables
            self._queued_tables |= {**uncounted, **outdated}
            if is_idle:
                threading.Thread(target=self._index_queued_tables, name="words", daemon=True).start()
            while own_keys & self._queued_tables.keys() or self._counting_key in own_keys:
                if not self._queue_condition.wait(deadline - time.monotonic()):
                    break
            counted_values = {}
            for key in own_keys:
                values = self._values.find(key)
                if values is not None:
                    counted_values[key] = values
        for key in own_keys:
            if key in counted_values or self._is_indexed_or_paused(key, uncounted[key][1]):
                del uncounted[key]
        return list(counted_values.values())

    def _is_indexed_or_paused(self, key: tuple[Hashable, ...], runner: QueryRunner) -> bool:
        """Return whether a table need not be counted now.

        It has been counted already, or it failed too recently to be tried again.
        """
        if key in self._tried_states:
            return True
        failure_log = runner.site.get_or_create(RetryBackoffLog)
        return failure_log.is_retry_paused(("words", *key))

    def _index_queued_tables(self) -> None:
        while True:
            with self._queue_condition:
                self._counting_key = next(iter(self._queued_tables), None)
                self._queue_condition.notify_all()
                if self._counting_key is None:
                    return
                table, runner = self._queued_tables.pop(self._counting_key)
                key = self._counting_key
            self._index_table_once(key, table, runner, -1)

    def _index_table_once(
        self, key: tuple[Hashable, ...], table: Table, runner: QueryRunner, timeout_seconds: float
    ) -> TableValueSearchIndex | None:
        """Count a table, unless another thread counts tables for longer than `timeout_seconds`.

        Return None if the count failed or could not start.
        """
        failure_log = runner.site.get_or_create(RetryBackoffLog)
        if not self._count_lock.acquire(timeout=timeout_seconds):
            return None
        try:
            values = self._values.find(key)
            is_missing = values is None and not self._is_indexed_or_paused(key, runner)
            is_outdated = values is not None and values.recount_time < time.monotonic()
            if is_missing or is_outdated:
                if len(self._tried_states) > MAX_TRIED_STATES:
                    self._tried_states.clear()
                values = self._load_or_index_values(key, table, runner, timeout_seconds)
                if values is None:
                    return None
                if self._values.total_bytes + values.memory_bytes > MAX_CACHE_BYTES:
                    log.warning(
                        "the values in all tables take up more than %s MB, so some of these values are not searched",
                        MAX_CACHE_BYTES >> 20,
                    )
                self._values.store(key, values, values.memory_bytes)
                self._tried_states.add(key)
        except Exception:  # the site may be closing, or the table is gone
            log.info("the values in %s could not be counted", table.qualified_name, exc_info=True)
            failure_log.record_failure(("words", *key), f"the values of {table.qualified_name}", "see the log")
            return None
        else:
            failure_log.record_success(("words", *key))
            return values
        finally:
            self._count_lock.release()

    def _load_or_index_values(
        self, key: tuple[Hashable, ...], table: Table, runner: QueryRunner, timeout_seconds: float
    ) -> TableValueSearchIndex | None:
        """Return the values that another process has counted, or count them for all processes.

        Each process counts a live table for itself. Return None while another process counts.
        """
        if has_externally_written_rows(table, runner):
            return index_table_values(table, runner, self.catalogues)
        files = SharedArrayFileCache(runner.site.settings.var_directory / "words")
        column_phrases = {column.name: list_code_phrases(table, column, self.catalogues) for column in table.columns}
        owner = (key[0], key[-1])
        column_meanings = [(column.name, column.ucd) for column in table.columns]
        content_key = (key, column_phrases, column_meanings)
        stored = files.read_arrays(owner, content_key)
        counting_lock: AbstractContextManager[bool]
        if stored is None:
            counting_lock = files.wait_for_counting_lock(timeout_seconds)
        else:
            counting_lock = nullcontext(True)
        with counting_lock as has_lock:
            if not has_lock:
                return None
            stored = stored or files.read_arrays(owner, content_key)
            if stored is None:
                counted_values = index_table_values(table, runner, self.catalogues)
                if counted_values.recount_time == math.inf:
                    new_arrays = {name: getattr(counted_values, name) for name in ARRAY_FIELDS}
                    files.write_arrays_and_remove_old_files(owner, content_key, counted_values.names, new_arrays)
                    stored = files.read_arrays(owner, content_key)
                if stored is None:
                    return counted_values
        names, arrays = stored
        return TableValueSearchIndex(
            table=table,
            names=tuple(names),
            phrases=tuple(column_phrases[name] for name in names),
            is_mapped=True,
            **arrays,
        )


def _build_state_key(table: Table, runner: QueryRunner) -> tuple[Hashable, ...]:
    """Build the key of a table's state as a reader sees it.

    Readers with the same access share the key of a table with hidden rows. The key of a view has the states of the
    tables that it reads.
    """
    published_tables = runner.published_state.tables_by_name
    item = published_tables[table.qualified_name]
    if has_hidden_rows(table, runner):
        access_key = runner.published_state.find_access_key(runner.principal, runner.policies)
    else:
        access_key = ""
    shown_columns = tuple(column.name for column in table.columns if not column.hidden)
    read_states = []
    for name in sorted(item.read_tables):
        if name in published_tables:
            read_table = published_tables[name]
            read_states.append((name, read_table.run_id, read_table.updated))
    return (table.qualified_name, item.run_id, item.updated, table.view, tuple(read_states), shown_columns, access_key)


def _has_no_statistics(table: Table, runner: QueryRunner) -> bool:
    """Return whether a table has no statistics of its values, as views and live tables have none."""
    return table.view is not None or has_externally_written_rows(table, runner)


def list_searched_columns(table: Table, runner: QueryRunner) -> list[Column]:
    """Return the columns whose values are searched, those with few values first.

    These are texts that are names or choices, but no addresses, outlines or checksums.
    """
    item = runner.find_table_with_visible_counts(table)
    statistics = item.statistics
    lacks_statistics = _has_no_statistics(table, runner)
    if isinstance(item.relation, LiveRelation) and (item.relation.rows or 0) > MAX_LIVE_ROWS:
        return []
    candidates = []
    for column in table.columns:
        name = column.name.lower()
        ucd = (column.ucd or "").lower()
        is_word_column = column.type.is_string or column.enum or list_code_phrases(table, column, ())
        if column.hidden or not is_word_column or column.type.is_array or column.type.is_geometry:
            continue
        has_excluded_name = name in EXCLUDED_NAMES or name.endswith(("_url", "_md5", "_checksum"))
        if has_excluded_name or ucd.startswith(EXCLUDED_UCDS) or column.type.xtype:
            continue
        distinct = statistics.get(column.name, {}).get("distinct")
        distinct_count = 0.0
        if isinstance(distinct, int | float):
            distinct_count = float(distinct)
        if column.enum or lacks_statistics or 0 < distinct_count <= MAX_COLUMN_VALUES:
            candidates.append((distinct_count, column.rank, column))
    total = 0.0
    chosen_columns = []
    for distinct, _, column in sorted(candidates, key=lambda candidate: candidate[:2]):
        total += distinct
        if total <= MAX_TABLE_VALUES:
            chosen_columns.append(column)
    if lacks_statistics:
        return chosen_columns[:MAX_UNKNOWN_COLUMNS]
    return chosen_columns


def index_table_values(
    table: Table, runner: QueryRunner, catalogues: Sequence[Mapping[str, str]] = ()
) -> TableValueSearchIndex:
    """Count the values of a table, column by column; `catalogues` translate the phrases of codes."""
    columns = list_searched_columns(table, runner)
    lacks_statistics = _has_no_statistics(table, runner)
    live = has_externally_written_rows(table, runner)
    if lacks_statistics:
        give_up_time = time.monotonic() + UNKNOWN_TIMEOUT_SECONDS
    else:
        give_up_time = math.inf
    total, is_complete = 0, True
    texts = []
    keys = []
    numbers = []
    rows = []
    further_words: list[tuple[str, int]] = []  # a further phrase of a code, and its value number
    words = tuple(list_code_phrases(table, column, catalogues) for column in columns)
    first_number = 0
    for column_number, column in enumerate(columns):
        query = _build_value_query(table, column)
        timeout_seconds = min(COLUMN_TIMEOUT_SECONDS, give_up_time - time.monotonic())
        try:
            with runner.run_query(query, timeout_seconds=max(timeout_seconds, 0.01)) as result:
                value_rows = result.read_table()
        except HvenError:
            is_complete = False
            continue
        value_count = len(value_rows)
        is_too_large = value_count > MAX_COLUMN_VALUES or total + value_count > MAX_TABLE_VALUES
        if lacks_statistics and is_too_large:
            continue
        total += value_count
        distinct_values = value_rows.column(0).combine_chunks()
        row_counts = value_rows.column(1).combine_chunks()
        values, group_counts = _group_values(column, distinct_values, row_counts)
        texts.append(values)
        phrases = words[column_number]
        if phrases:
            keys.append(_replace_codes_by_phrases(values, phrases))
            for number, code in enumerate(values.to_pylist(), first_number):
                further_words += [(phrase, number) for phrase in (code, *phrases.get(code, ())[1:])]
        else:
            keys.append(values)
        first_number += len(values)
        numbers.append(np.full(len(values), column_number, np.int16))
        rows.append(np.asarray(group_counts, np.int64))
    key_texts = pa.concat_arrays([pa.array([], pa.string()), *keys])
    further_texts = pa.array([text for text, _ in further_words], pa.string())
    further_numbers = [number for _, number in further_words]
    all_numbers = np.concatenate([np.arange(len(key_texts)), further_numbers]).astype(np.int32)
    word_starts, value_numbers = _index_word_starts(pa.concat_arrays([key_texts, further_texts]), all_numbers)
    folded_keys = normalize_search_texts(key_texts)
    return TableValueSearchIndex(
        table=table,
        texts=pa.concat_arrays(texts) if texts else pa.array([], pa.string()),
        begins=word_starts,
        whose=value_numbers,
        first=_to_comparison_prefixes(folded_keys),
        sizes=np.asarray(pc.binary_length(folded_keys), np.int32),
        columns=np.concatenate(numbers) if numbers else np.zeros(0, np.int16),
        rows=np.concatenate(rows) if rows else np.zeros(0, np.int64),
        names=tuple(column.name for column in columns),
        phrases=words,
        is_live=live,
        recount_time=_choose_recount_time(is_complete=is_complete, is_live=live),
    )


def _build_value_query(table: Table, column: Column) -> syntax_tree.Query:
    """Build the query of the values of a column with their row counts."""
    table_path = (syntax_tree.Ident(table.schema, quoted=True), syntax_tree.Ident(table.name, quoted=True))
    source = syntax_tree.TableRef(table_path)
    name = build_column_ref(column.name)
    is_present = syntax_tree.NullPredicate(name, negated=True)
    items = (syntax_tree.SelectItem(name, syntax_tree.Ident("v")), COUNT_ITEM)
    top = syntax_tree.Literal(2 * MAX_COLUMN_VALUES)
    return syntax_tree.Query(syntax_tree.Select(items, source, where=is_present, group_by=(name,), top=top))


def _choose_recount_time(*, is_complete: bool, is_live: bool) -> float:
    """Return the time, on the monotonic clock, from which the values are to be counted again."""
    if not is_complete:
        return time.monotonic() + RETRY_SECONDS
    if is_live:
        return time.monotonic() + LIVE_CACHE_SECONDS
    return math.inf


def _to_comparison_prefixes(texts: pa.StringArray) -> npt.NDArray[np.bytes_]:
    """Return the first `COMPARED_BYTES` bytes of each text."""
    prefixes = [text.encode()[:COMPARED_BYTES] for text in texts.to_pylist()]
    return np.array(prefixes, dtype=f"S{COMPARED_BYTES}")


def _index_word_starts(
    texts: pa.StringArray, value_numbers: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.int32]]:
    """Return the sorted texts from the beginning of each word on, and the number of the value of each.

    `value_numbers` are the numbers of the values that `texts` belong to.
    """
    word_starts = []
    numbers = []
    remaining = texts
    for _ in range(MAX_VALUE_WORDS):
        if not len(remaining):
            break
        word_starts.append(_to_comparison_prefixes(normalize_search_texts(remaining)))
        numbers.append(value_numbers)
        shorter = pc.replace_substring_regex(remaining, _FIRST_WORD_PATTERN, "")
        shorter_lengths = pc.binary_length(shorter)
        has_lost_word = pc.less(shorter_lengths, pc.binary_length(remaining))
        is_shorter = np.asarray(pc.and_(has_lost_word, pc.greater(shorter_lengths, 0)))
        remaining = shorter.filter(pa.array(is_shorter))
        value_numbers = value_numbers[is_shorter]
    if not word_starts:
        return np.zeros(0, f"S{COMPARED_BYTES}"), np.zeros(0, np.int32)
    all_starts = np.concatenate(word_starts)
    order = np.argsort(all_starts, kind="stable")
    return all_starts[order], np.concatenate(numbers)[order]


def _group_values(column: Column, values: pa.Array, row_counts: pa.Array) -> tuple[pa.StringArray, pa.Array]:
    """Group the values that one condition finds: items of lists ``a#b``, and spellings that differ only in case."""
    text = values.cast(pa.string())
    if column.name.lower() in LIST_COLUMNS:
        group = pc.utf8_trim_whitespace(text)
    else:
        group = text
    if column.name.lower() in LIST_COLUMNS and pc.any(pc.match_substring(text, "#")).as_py():
        parts = pc.split_pattern(text, "#")
        group = pc.utf8_trim_whitespace(pc.list_flatten(parts))
        parents = pc.list_parent_indices(parts)
        pairs = pa.table([parents, group], names=["p", "v"])
        distinct_items = pairs.group_by(["p", "v"]).aggregate([])
        group = distinct_items.column("v").combine_chunks()
        row_counts = row_counts.take(distinct_items.column("p").combine_chunks())
    if column.name.lower() in CASE_SENSITIVE_COLUMNS or not column.type.is_string:
        group_keys = group
    else:
        group_keys = pc.utf8_lower(group)
    grouped_rows = pa.table([group_keys, group, row_counts], names=["k", "v", "n"]).group_by("k", use_threads=False)
    sums = grouped_rows.aggregate([("v", "first"), ("n", "sum")])
    size = pc.utf8_length(sums.column("v_first"))
    has_valid_size = pc.and_(pc.greater(size, 0), pc.less_equal(size, MAX_VALUE_CHARACTERS))
    valid_groups = sums.filter(has_valid_size)
    return valid_groups.column("v_first").combine_chunks(), valid_groups.column("n_sum").combine_chunks()


def _replace_codes_by_phrases(values: pa.StringArray, code_phrases: Mapping[str, tuple[str, ...]]) -> pa.StringArray:
    """Replace each code by its first phrase."""
    phrases = [code_phrases.get(value, (value,))[0] for value in values.to_pylist()]
    return pa.array(phrases, pa.string())


def normalize_search_texts(texts: pa.Array) -> pa.StringArray:
    """Fold texts for comparison: without accents, capitals, blanks, hyphens and underscores (``M 31`` is ``m31``)."""
    decomposed = pc.utf8_normalize(texts, form="NFKD")
    stripped = pc.replace_substring_regex(decomposed, r"[\p{Mn}\s_\-]+", "")
    return pc.utf8_lower(stripped)


def normalize_search_text(text: str) -> str:
    """Fold one text as `normalize_search_texts` does."""
    folded = normalize_search_texts(pa.array([text], pa.string()))
    return str(folded[0].as_py())


Candidate = tuple[
    float, "TableValueSearchIndex", tuple[int, ...]
]  # the weight, and the numbers of values that match together


def find_value_candidates(
    words: Sequence[str], values: TableValueSearchIndex, table_text: str, max_candidates: int
) -> list[Candidate]:
    """Find the values of a table that contain all words.

    A word may occur in the description of the table (`table_text`) instead.

    Parameters
    ----------
    words
        Folded words (`normalize_search_text`); each matches the beginning of a word of a value.
    table_text
        The folded titles of the table and of its collection.
    """
    words = _join_short_words(words)
    if not len(values.rows) or not words:
        return []
    hits = [_mark_values_with_word(word, values) for word in words]
    value_hits = [hit for word, hit in zip(words, hits, strict=True) if word not in table_text]
    if value_hits:
        is_hit = np.logical_and.reduce(value_hits)
    else:
        is_hit = np.logical_or.reduce(hits)
    value_numbers = np.flatnonzero(is_hit)
    if not len(value_numbers):
        # nobody counts the rows of a live table that have several values together
        if not values.is_live and all(hit.any() for hit in value_hits):
            return _find_combined_values(words, hits, values, table_text)
        return []
    # words that only the table's title contains do not make a value better
    joined_words = "".join(word for word, hit in zip(words, hits, strict=True) if hit.any())
    if len(value_numbers) > MAX_WEIGHED_VALUES:
        half_count = MAX_WEIGHED_VALUES // 2
        is_best_named = _mark_values_with_word(joined_words, values, half_count)
        best_named = np.flatnonzero(is_best_named & np.logical_or.reduce(hits))
        most_rows_first = np.argpartition(-values.rows[value_numbers], half_count)
        most_rows = value_numbers[most_rows_first[:half_count]]
        value_numbers = np.unique(np.concatenate([best_named, most_rows]))
    low, high = _build_prefix_range(joined_words)
    first = values.first[value_numbers]
    sizes = values.sizes[value_numbers]
    is_prefix = (first >= low) & (first <= high)
    prefix_weight = np.where(sizes == len(joined_words.encode()), 150.0, 50.0)
    weight = np.where(is_prefix, prefix_weight, 0.0)
    weight += sum(5.0 * hit[value_numbers] for hit in hits)
    weight += np.log10(values.rows[value_numbers] + 1.0)
    weight -= np.minimum(sizes, 60) / 6.0
    best_order = np.argsort(-weight, kind="stable")[:max_candidates]
    candidates: list[Candidate] = []
    for place in best_order:
        value_number = int(value_numbers[place])
        candidates.append((float(weight[place]), values, (value_number,)))
    return candidates


def _mark_values_with_word(
    word: str, values: TableValueSearchIndex, max_values: int | None = None
) -> npt.NDArray[np.bool_]:
    """Mark the values with a word that begins with `word`; with `max_values`, only the first in order."""
    first, last = _build_prefix_range(word)
    low = int(np.searchsorted(values.begins, first, "left"))
    end = int(np.searchsorted(values.begins, last, "right"))
    high = end
    if max_values is not None:
        high = min(end, low + max_values)
    is_marked = np.zeros(len(values.rows), bool)
    is_marked[values.whose[low:high]] = True
    if len(word.encode()) > COMPARED_BYTES and end > low:
        marked_numbers = np.flatnonzero(is_marked)
        folded_values = values.fold_values_for_search(marked_numbers)
        is_marked[marked_numbers] = np.asarray(pc.match_substring(folded_values, word))
    return is_marked


def _build_prefix_range(word: str) -> tuple[np.bytes_, np.bytes_]:
    """Return the lowest and the highest prefix of the texts that begin with a word."""
    text = word.encode()
    lowest = text[:COMPARED_BYTES]
    highest = (text + b"\xff" * COMPARED_BYTES)[:COMPARED_BYTES]
    return np.bytes_(lowest), np.bytes_(highest)


def _join_short_words(words: Sequence[str]) -> list[str]:
    """Join short words to the words before them: ``M 31`` becomes ``M31``.

    A letter or a number occurs in many names and means little by itself.
    """
    joined: list[str] = []
    for word in words:
        if joined and (len(word) < MIN_WORD_LETTERS or len(joined[-1]) < MIN_WORD_LETTERS):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _find_combined_values(
    words: Sequence[str], hits: Sequence[npt.NDArray[np.bool_]], values: TableValueSearchIndex, table_text: str
) -> list[Candidate]:
    """Find values of several columns that together contain all words: ``olivine CRISM``."""
    chosen_values: dict[int, int] = {}
    for word, hit in zip(words, hits, strict=True):
        if chosen_values:
            is_candidate = hit & ~np.isin(values.columns, list(chosen_values))
        else:
            is_candidate = hit
        matching_numbers = np.flatnonzero(is_candidate)
        if not len(matching_numbers):
            if word in table_text or any(hit[chosen_number] for chosen_number in chosen_values.values()):
                continue
            return []
        # the shortest value is nearest to the word; among equals, the one with most rows
        order = np.lexsort((-values.rows[matching_numbers], values.sizes[matching_numbers]))
        chosen_number = int(matching_numbers[order[0]])
        chosen_values[int(values.columns[chosen_number])] = chosen_number
    if len(chosen_values) > 1:
        return [(COMBINED_WEIGHT, values, tuple(chosen_values.values()))]
    return []


def build_value_match(candidate: Candidate) -> ValueMatch:
    """Build the match of a candidate: its values as conditions of an address."""
    weight, values, value_numbers = candidate
    texts = []
    stored = []
    conditions = []
    for value_number in value_numbers:
        text = values.texts[value_number].as_py()
        column_number = int(values.columns[value_number])
        column = values.table.find_column(values.names[column_number])
        phrases = values.phrases[column_number].get(text, (text,))
        texts.append(phrases[0])
        stored.append(text)
        conditions.append((column.name, write_choice_condition([text])))
    if len(value_numbers) == 1 and not values.is_live:
        rows = int(values.rows[value_numbers[0]])
    else:
        rows = None
    return ValueMatch(
        table=values.table,
        text=", ".join(texts),
        conditions=tuple(conditions),
        row_count=rows,
        score=weight,
        values=tuple(stored),
        is_live=values.is_live,
    )
