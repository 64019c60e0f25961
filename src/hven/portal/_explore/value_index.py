"""The values of rows as words that readers look for.

Names, titles, targets, instruments, codes, each with how many rows have it.

They are counted once for each state of a table, over the rows that a reader may see, and kept in memory; a question
only looks at what is kept.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import syntax_tree
from hven.engines import LiveRelation
from hven.model import Cache, FailureLog
from hven.model.errors import HvenError
from hven.portal._explore.column_labels import list_code_phrases
from hven.portal._explore.count_trees import has_hidden_rows
from hven.portal._explore.facets import MAX_VALUE_CHARACTERS, write_choices
from hven.portal._explore.search import COUNT_ITEM, build_column_ref
from hven.portal._explore.value_files import ValueFiles
from hven.portal.conditions import CASE_SENSITIVE_COLUMNS, LIST_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import QueryRunner

MAX_COLUMN_VALUES = 50_000  # different values of one column; of more, names are looked for in the table's own form
MAX_TABLE_VALUES = 150_000  # of all columns of a table, those with few values first
MAX_CACHE_BYTES = 128 * 1024**2  # of all values that a process remembers
COLUMN_TIMEOUT_SECONDS = 10.0  # seconds for one column: nobody waits for it
MAX_UNKNOWN_COLUMNS = 16  # columns of a view or a live table, of which nothing is known beforehand ..
UNKNOWN_TIMEOUT_SECONDS = 30.0  # .. and seconds for all of them
LIVE_CACHE_SECONDS = 600.0  # seconds that values of rows which other programs write are good for
RETRY_SECONDS = 120.0  # seconds after which columns that failed are asked again
MAX_LIVE_ROWS = 5_000_000  # rows of a live table that is not asked: its database has other work
MIN_WORD_LETTERS = 3  # letters of a word that means something by itself
COMPARED_BYTES = 12  # bytes of a beginning
MAX_VALUE_WORDS = 8  # of one value
_FIRST_WORD_PATTERN = r"^[^\s_\-/.,;:+()\[\]]*[\s_\-/.,;:+()\[\]]+"  # the first word of a text, and what is behind it
COMBINED_WEIGHT = 30.0  # weight of values of several columns
MAX_TRIED_STATES = 100_000  # states of tables that were tried, after which all are tried again
MAX_WEIGHED_VALUES = 64  # values of one table that are weighed
EXCLUDED_UCDS = (
    "meta.ref",
    "meta.code.mime",
    "pos.outline",
    "meta.checksum",
    "meta.note",
)  # UCDs of what nobody looks for
EXCLUDED_NAMES = ("url", "md5", "checksum", "access_format", "s_region", "coverage", "granule_uid")
ARRAY_FIELDS = ("texts", "begins", "whose", "first", "sizes", "columns", "rows")  # of `ValueTable`, as files have them
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueMatch:
    """Rows of a table that have a value: `conditions` as an address has them; `values` as they are stored.

    `row_count` None where nobody counted them together, and where they are `is_live`.
    """

    table: Table
    text: str
    conditions: tuple[tuple[str, str], ...]
    row_count: int | None
    score: float
    values: tuple[str, ...] = ()
    is_live: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueTable:
    """The values of one table: as they are written, the column and the rows of each.

    Attributes
    ----------
    begins, whose
        What follows from the beginning of each word of each value on, `fold_texts` and in order, and the place of that
        value: words are looked for by binary search.
    first, sizes
        How each value begins, and how long it is, `fold_texts`; of a code its word.
    phrases
        By column: code -> its words in all languages.
    recount_time
        When they are to be counted again (monotonic): never, but where a column failed, or they are live.
    is_live
        Other programs write the rows.
    is_mapped
        They lie in a file that all processes share.
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
        """The memory that they take of this process, about."""
        if self.is_mapped:
            return 2_000
        arrays = (self.texts, self.begins, self.whose, self.first, self.sizes, self.columns, self.rows)
        return sum(int(array.nbytes) for array in arrays) + 2_000

    def fold_values(self, value_numbers: npt.NDArray[np.int64]) -> pa.StringArray:
        """Return some values as they are compared: codes with their words."""
        texts = self.texts.take(pa.array(value_numbers))
        if any(self.phrases):
            column_phrases = [self.phrases[column_number] for column_number in self.columns[value_numbers]]
            texts = pa.array(
                [
                    " ".join((text, *words.get(text, ())))
                    for text, words in zip(texts.to_pylist(), column_phrases, strict=True)
                ],
                pa.string(),
            )
        return fold_texts(texts)


class ValueIndex:
    """Values of tables in their states, as readers see them. Thread-safe; one table is counted at a time."""

    def __init__(self) -> None:
        self.catalogues: tuple[Mapping[str, str], ...] = ()  # of the languages of the pages, where there are pages
        self._values: Cache[ValueTable] = Cache(MAX_CACHE_BYTES)
        self._value_lists: Cache[tuple[float, list[ValueTable]]] = Cache(
            8
        )  # of all tables that readers see, and until when
        self._count_lock = threading.Lock()
        self._queue_condition = threading.Condition()
        self._tried_states: set[Hashable] = set()  # what was counted: where it does not fit, it is not counted again
        self._queued_tables: dict[tuple[Hashable, ...], tuple[Table, QueryRunner]] = {}
        self._counting_key: tuple[Hashable, ...] | None = None  # what the thread counts at this moment

    def count_values(self, tables: Iterable[Table], runner: QueryRunner) -> None:
        """Count what is not known yet, now."""
        for table in sorted(
            tables, key=lambda one: runner.published_state.tables_by_name[one.qualified_name].rows or 0
        ):
            state_key = _build_state_key(table, runner)
            self._count_once(state_key, table, runner, -1)

    def find_values(
        self, tables: Iterable[Table], runner: QueryRunner, timeout_seconds: float, cache_key: Hashable = None
    ) -> tuple[list[ValueTable], bool]:
        """Return the values of tables, and whether some are still to be counted.

        What cannot be in so many seconds a thread goes on with.

        `cache_key`: names the tables, their state and what the reader sees of them; None: they are looked up one by
        one.
        """
        if cache_key is None:
            cached_list = None
        else:
            cached_list = self._value_lists.find(cache_key)
        start_time = time.monotonic()
        if cached_list is not None and start_time < cached_list[0]:
            return cached_list[1], False
        until = start_time + timeout_seconds
        value_tables: list[ValueTable] = []
        uncounted: dict[tuple[Hashable, ...], tuple[Table, QueryRunner]] = {}
        outdated: dict[tuple[Hashable, ...], tuple[Table, QueryRunner]] = {}
        for table in tables:
            state_key = _build_state_key(table, runner)
            values = self._values.find(state_key)
            if values is None and not self._is_tried(state_key, runner):
                remaining_seconds = until - time.monotonic()
                # what may take longer a thread counts, and goes on with
                is_quick = remaining_seconds > 0 and not _has_no_statistics(table, runner)
                if is_quick:
                    values = self._count_once(state_key, table, runner, remaining_seconds)
                else:
                    values = None
                if values is None and not self._is_tried(state_key, runner):
                    uncounted[state_key] = (table, runner)
            if values is not None:
                value_tables.append(values)
                if values.recount_time < start_time:  # those of before are good enough until then
                    outdated[state_key] = (table, runner)
        if uncounted or outdated:
            value_tables += self._count_in_background(uncounted, outdated, until)
        elif cache_key is not None:
            self._value_lists.store(
                cache_key,
                (min((value_table.recount_time for value_table in value_tables), default=math.inf), value_tables),
            )
        return value_tables, bool(uncounted)

    def _count_in_background(
        self,
        uncounted: dict[tuple[Hashable, ...], tuple[Table, QueryRunner]],
        outdated: Mapping[tuple[Hashable, ...], tuple[Table, QueryRunner]],
        deadline: float,
    ) -> list[ValueTable]:
        """Have a thread count tables; who asks for one first waits for it so long, and takes it from `uncounted`."""
        with self._queue_condition:
            own_keys = uncounted.keys() - self._queued_tables.keys() - {self._counting_key}
            is_idle = self._counting_key is None and not self._queued_tables
            self._queued_tables |= {**uncounted, **outdated}
            if is_idle:
                threading.Thread(target=self._count_queued, name="words", daemon=True).start()
            while own_keys & self._queued_tables.keys() or self._counting_key in own_keys:
                if not self._queue_condition.wait(deadline - time.monotonic()):
                    break
            counted_values = {key: values for key in own_keys if (values := self._values.find(key)) is not None}
        for key in own_keys:
            if key in counted_values or self._is_tried(key, uncounted[key][1]):
                del uncounted[key]
        return list(counted_values.values())

    def _is_tried(self, key: tuple[Hashable, ...], runner: QueryRunner) -> bool:
        """Return whether a table need not be counted now.

        Its values do not fit, or it is too soon to try again what failed.
        """
        return key in self._tried_states or runner.site.get_or_create(FailureLog).is_paused(("words", *key))

    def _count_queued(self) -> None:
        while True:
            with self._queue_condition:
                self._counting_key = next(iter(self._queued_tables), None)
                self._queue_condition.notify_all()
                if self._counting_key is None:
                    return
                table, runner = self._queued_tables.pop(self._counting_key)
                key = self._counting_key
            self._count_once(key, table, runner, -1)

    def _count_once(
        self, key: tuple[Hashable, ...], table: Table, runner: QueryRunner, timeout_seconds: float
    ) -> ValueTable | None:
        """Count a table, unless another thread does so in the meantime; None.

        It failed, or another one is at it for longer.
        """
        if not self._count_lock.acquire(timeout=timeout_seconds):
            return None
        try:
            values = self._values.find(key)
            if (values is None and not self._is_tried(key, runner)) or (
                values and values.recount_time < time.monotonic()
            ):
                if len(self._tried_states) > MAX_TRIED_STATES:
                    self._tried_states.clear()
                values = self._read_or_count(key, table, runner, timeout_seconds)
                if values is None:
                    return None
                if self._values.total_bytes + values.memory_bytes > MAX_CACHE_BYTES:
                    log.warning(
                        "the values of all tables take more than %s MB: some are not searched", MAX_CACHE_BYTES >> 20
                    )
                self._values.store(key, values, values.memory_bytes)
                self._tried_states.add(key)
        except Exception:  # the site may just be closing, or the table is gone: it is not searched
            log.info("the values of %s could not be counted", table.qualified_name, exc_info=True)
            runner.site.get_or_create(FailureLog).record_failure(
                ("words", *key), f"the values of {table.qualified_name}", "see the log"
            )
            return None
        else:
            runner.site.get_or_create(FailureLog).record_success(("words", *key))
            return values
        finally:
            self._count_lock.release()

    def _read_or_count(
        self, key: tuple[Hashable, ...], table: Table, runner: QueryRunner, timeout_seconds: float
    ) -> ValueTable | None:
        """Return what another process has counted, or count it for all of them.

        What other programs write, each counts for itself. None: another one is at it.
        """
        if is_live(table, runner):
            return count_table_values(table, runner, self.catalogues)
        files = ValueFiles(runner.site.settings.var_directory / "words")
        column_phrases = {column.name: list_code_phrases(table, column, self.catalogues) for column in table.columns}
        owner = (key[0], key[-1])
        page_context = (key, column_phrases, [(column.name, column.ucd) for column in table.columns])
        stored = files.read_arrays(owner, page_context)
        with nullcontext(True) if stored is not None else files.lock_counting(timeout_seconds) as has_lock:
            if not has_lock:
                return None
            stored = stored or files.read_arrays(owner, page_context)
            if stored is None:
                counted_values = count_table_values(table, runner, self.catalogues)
                if counted_values.recount_time == math.inf:
                    files.write_arrays(
                        owner,
                        page_context,
                        counted_values.names,
                        {name: getattr(counted_values, name) for name in ARRAY_FIELDS},
                    )
                    stored = files.read_arrays(owner, page_context)
                if stored is None:
                    return counted_values
        names, arrays = stored
        return ValueTable(
            table=table,
            names=tuple(names),
            phrases=tuple(column_phrases[name] for name in names),
            is_mapped=True,
            **arrays,
        )


def _build_state_key(table: Table, runner: QueryRunner) -> tuple[Hashable, ...]:
    """Name a state of a table as a reader sees it.

    Where rows are hidden from somebody, those who see the same share it; a view's is that of what it reads.
    """
    published_tables = runner.published_state.tables_by_name
    item = published_tables[table.qualified_name]
    if has_hidden_rows(table, runner):
        access_key = runner.published_state.find_access_key(runner.principal, runner.policies)
    else:
        access_key = ""
    shown_columns = tuple(column.name for column in table.columns if not column.hidden)
    read_states = tuple(
        (name, published_tables[name].run_id, published_tables[name].updated)
        for name in sorted(item.read_tables)
        if name in published_tables
    )
    return (table.qualified_name, item.run_id, item.updated, table.view, read_states, shown_columns, access_key)


def is_live(table: Table, runner: QueryRunner) -> bool:
    """Return whether other programs write the rows of a table, or of what it reads."""
    published_tables = runner.published_state.tables_by_name
    return any(
        isinstance(published_tables[name].relation, LiveRelation)
        for name in (table.qualified_name, *published_tables[table.qualified_name].read_tables)
        if name in published_tables
    )


def _has_no_statistics(table: Table, runner: QueryRunner) -> bool:
    """Return whether nothing is known of the values beforehand: of views, and of rows that other programs write."""
    return table.view is not None or is_live(table, runner)


def list_searched_columns(table: Table, runner: QueryRunner) -> list[Column]:
    """Return the columns whose values are looked for.

    Texts that are names or choices, not addresses, outlines, checksums; those with few values first.
    """
    item = runner.find_published_table(table)
    statistics = item.statistics
    lacks_statistics = _has_no_statistics(table, runner)
    if isinstance(item.relation, LiveRelation) and (item.relation.rows or 0) > MAX_LIVE_ROWS:
        return []
    candidates = []
    for column in table.columns:
        name = column.name.lower()
        ucd = (column.ucd or "").lower()
        if (
            column.hidden
            or not (column.type.is_string or column.enum or list_code_phrases(table, column, ()))
            or column.type.is_array
            or column.type.is_geometry
        ):
            continue
        if (
            ucd.startswith(EXCLUDED_UCDS)
            or column.type.xtype
            or name in EXCLUDED_NAMES
            or name.endswith(("_url", "_md5", "_checksum"))
        ):
            continue
        distinct = statistics.get(column.name, {}).get("distinct")
        if column.enum or lacks_statistics or (isinstance(distinct, int | float) and 0 < distinct <= MAX_COLUMN_VALUES):
            candidates.append((float(distinct) if isinstance(distinct, int | float) else 0.0, column.rank, column))
    total = 0.0
    chosen_columns = []
    for distinct, _, column in sorted(candidates, key=lambda one: one[:2]):
        total += distinct
        if total <= MAX_TABLE_VALUES:
            chosen_columns.append(column)
    return chosen_columns[:MAX_UNKNOWN_COLUMNS] if lacks_statistics else chosen_columns


def count_table_values(table: Table, runner: QueryRunner, catalogues: Sequence[Mapping[str, str]] = ()) -> ValueTable:
    """Count the values of a table, by its columns; `catalogues` have the words of codes."""
    columns = list_searched_columns(table, runner)
    lacks_statistics = _has_no_statistics(table, runner)
    live = is_live(table, runner)
    if lacks_statistics:
        give_up_time = time.monotonic() + UNKNOWN_TIMEOUT_SECONDS
    else:
        give_up_time = math.inf
    total, is_complete = 0, True
    texts = []
    keys = []
    numbers = []
    rows = []
    further_words: list[tuple[str, int]] = []  # further words of a code, and its place
    words = tuple(list_code_phrases(table, phrase, catalogues) for phrase in columns)
    first_number = 0
    source = syntax_tree.TableRef(
        (syntax_tree.Ident(table.schema, quoted=True), syntax_tree.Ident(table.name, quoted=True))
    )
    for column_number, column in enumerate(columns):
        name = build_column_ref(column.name)
        is_present = syntax_tree.NullPredicate(name, negated=True)
        items = (syntax_tree.SelectItem(name, syntax_tree.Ident("v")), COUNT_ITEM)
        top = syntax_tree.Literal(2 * MAX_COLUMN_VALUES)
        query = syntax_tree.Query(syntax_tree.Select(items, source, where=is_present, group_by=(name,), top=top))
        timeout_seconds = min(COLUMN_TIMEOUT_SECONDS, give_up_time - time.monotonic())
        try:
            with runner.run_query(query, timeout_seconds=max(timeout_seconds, 0.01)) as result:
                value_rows = result.read_table()
        except HvenError:
            is_complete = False
            continue
        if lacks_statistics and (len(value_rows) > MAX_COLUMN_VALUES or total + len(value_rows) > MAX_TABLE_VALUES):
            continue
        total += len(value_rows)
        values, number = _group_values(
            column, value_rows.column(0).combine_chunks(), value_rows.column(1).combine_chunks()
        )
        texts.append(values)
        keys.append(_replace_codes(values, words[column_number]) if words[column_number] else values)
        further_words += [
            (phrase, first_number + number)
            for number, code in enumerate(values.to_pylist() if words[column_number] else ())
            for phrase in (code, *words[column_number].get(code, ())[1:])
        ]
        first_number += len(values)
        numbers.append(np.full(len(values), column_number, np.int16))
        rows.append(np.asarray(number, np.int64))
    if keys:
        key_texts = pa.concat_arrays(keys)
    else:
        key_texts = pa.array([], pa.string())
    word_starts, value_numbers = _index_word_starts(
        pa.concat_arrays([key_texts, pa.array([text for text, _ in further_words], pa.string())]),
        np.concatenate([np.arange(len(key_texts)), [phrase for _, phrase in further_words]]).astype(np.int32),
    )
    return ValueTable(
        table=table,
        texts=pa.concat_arrays(texts) if texts else pa.array([], pa.string()),
        begins=word_starts,
        whose=value_numbers,
        first=_to_comparison_prefixes(fold_texts(key_texts)),
        sizes=np.asarray(pc.binary_length(fold_texts(key_texts)), np.int32),
        columns=np.concatenate(numbers) if numbers else np.zeros(0, np.int16),
        rows=np.concatenate(rows) if rows else np.zeros(0, np.int64),
        names=tuple(column.name for column in columns),
        phrases=words,
        is_live=live,
        recount_time=time.monotonic()
        + (RETRY_SECONDS if not is_complete else LIVE_CACHE_SECONDS if live else math.inf),
    )


def _to_comparison_prefixes(texts: pa.StringArray) -> npt.NDArray[np.bytes_]:
    """Return how texts begin, as far as is compared."""
    return np.array([text.encode()[:COMPARED_BYTES] for text in texts.to_pylist()], dtype=f"S{COMPARED_BYTES}")


def _index_word_starts(
    texts: pa.StringArray, value_numbers: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.int32]]:
    """Return what follows from the beginning of each word on, in order, and the place (`value_numbers`) that its text is of."""
    word_starts = []
    numbers = []
    remaining = texts
    for _ in range(MAX_VALUE_WORDS):
        if not len(remaining):
            break
        word_starts.append(_to_comparison_prefixes(fold_texts(remaining)))
        numbers.append(value_numbers)
        shorter = pc.replace_substring_regex(remaining, _FIRST_WORD_PATTERN, "")
        is_shorter = np.asarray(
            pc.and_(
                pc.less(pc.binary_length(shorter), pc.binary_length(remaining)),
                pc.greater(pc.binary_length(shorter), 0),
            )
        )
        remaining = shorter.filter(pa.array(is_shorter))
        value_numbers = value_numbers[is_shorter]
    if word_starts:
        all_starts = np.concatenate(word_starts)
    else:
        all_starts = np.zeros(0, f"S{COMPARED_BYTES}")
    order = np.argsort(all_starts, kind="stable")
    return all_starts[order], (np.concatenate(numbers) if numbers else np.zeros(0, np.int32))[order]


def _group_values(column: Column, values: pa.Array, row_counts: pa.Array) -> tuple[pa.StringArray, pa.Array]:
    """Put together what one condition finds: items of lists ``a#b``, spellings in small letters and capitals."""
    text = values.cast(pa.string())
    if column.name.lower() in LIST_COLUMNS:
        group = pc.utf8_trim_whitespace(text)
    else:
        group = text
    if column.name.lower() in LIST_COLUMNS and pc.any(pc.match_substring(text, "#")).as_py():
        parts = pc.split_pattern(text, "#")
        group = pc.utf8_trim_whitespace(pc.list_flatten(parts))
        parents = pc.list_parent_indices(parts)
        distinct_items = pa.table([parents, group], names=["p", "v"]).group_by(["p", "v"]).aggregate([])
        group = distinct_items.column("v").combine_chunks()
        row_counts = row_counts.take(distinct_items.column("p").combine_chunks())
    if column.name.lower() in CASE_SENSITIVE_COLUMNS or not column.type.is_string:
        group_keys = group
    else:
        group_keys = pc.utf8_lower(group)
    sums = (
        pa.table([group_keys, group, row_counts], names=["k", "v", "n"])
        .group_by("k", use_threads=False)
        .aggregate([("v", "first"), ("n", "sum")])
    )
    size = pc.utf8_length(sums.column("v_first"))
    valid_groups = sums.filter(pc.and_(pc.greater(size, 0), pc.less_equal(size, MAX_VALUE_CHARACTERS)))
    return valid_groups.column("v_first").combine_chunks(), valid_groups.column("n_sum").combine_chunks()


def _replace_codes(values: pa.StringArray, code_phrases: Mapping[str, tuple[str, ...]]) -> pa.StringArray:
    """Write codes as they are called."""
    return pa.array([code_phrases.get(value, (value,))[0] for value in values.to_pylist()], pa.string())


def fold_texts(texts: pa.Array) -> pa.StringArray:
    """Leave accents, capitals, blanks, hyphens and underscores out: ``M 31`` is ``m31``."""
    stripped = pc.replace_substring_regex(pc.utf8_normalize(texts, form="NFKD"), r"[\p{Mn}\s_\-]+", "")
    return pc.utf8_lower(stripped)


def fold_text(text: str) -> str:
    """Do the same to one text."""
    return str(fold_texts(pa.array([text], pa.string()))[0].as_py())


Candidate = tuple[float, "ValueTable", tuple[int, ...]]  # its weight, and the places of values that are meant together


def find_candidates(words: Sequence[str], values: ValueTable, table_text: str, max_candidates: int) -> list[Candidate]:
    """Find the values of a table that have all words in them.

    Some of the words may be in what is said of the table (`table_text`) instead.

    Parameters
    ----------
    words
        As `fold_text` writes them; a word of a value begins with each.
    table_text
        What is said of the table and of its collection, in the same way.
    """
    words = _join_short_words(words)
    if not len(values.rows) or not words:
        return []
    hits = [_mark_values(word, values) for word in words]
    value_hits = [hit for word, hit in zip(words, hits, strict=True) if word not in table_text]
    value_numbers = np.flatnonzero(np.logical_and.reduce(value_hits) if value_hits else np.logical_or.reduce(hits))
    if not len(value_numbers):
        # what others write is counted by nobody: nothing is promised of values together
        if not values.is_live and all(hit.any() for hit in value_hits):
            return _find_combined_values(words, hits, values, table_text)
        return []
    # words that the table's own title says are no reason to prefer a value
    joined_words = "".join(word for word, hit in zip(words, hits, strict=True) if hit.any())
    if len(value_numbers) > MAX_WEIGHED_VALUES:
        half_count = MAX_WEIGHED_VALUES // 2
        best_named = np.flatnonzero(_mark_values(joined_words, values, half_count) & np.logical_or.reduce(hits))
        most_rows = value_numbers[np.argpartition(-values.rows[value_numbers], half_count)[:half_count]]
        value_numbers = np.unique(np.concatenate([best_named, most_rows]))
    low, high = _build_prefix_range(joined_words)
    first = values.first[value_numbers]
    sizes = values.sizes[value_numbers]
    is_prefix = (first >= low) & (first <= high)
    weight = np.where(is_prefix, np.where(sizes == len(joined_words.encode()), 150.0, 50.0), 0.0)
    weight += sum(5.0 * hit[value_numbers] for hit in hits) + np.log10(values.rows[value_numbers] + 1.0)
    weight -= np.minimum(sizes, 60) / 6.0
    best_order = np.argsort(-weight, kind="stable")[:max_candidates]
    return [
        (float(weight[candidate_number]), values, (int(value_numbers[candidate_number]),))
        for candidate_number in best_order
    ]


def _mark_values(word: str, values: ValueTable, max_values: int | None = None) -> npt.NDArray[np.bool_]:
    """Mark the values of which a word begins so; `max_values`: those that are nearest to it."""
    first, last = _build_prefix_range(word)
    low = int(np.searchsorted(values.begins, first, "left"))
    high = int(np.searchsorted(values.begins, last, "right"))
    is_marked = np.zeros(len(values.rows), bool)
    is_marked[values.whose[low : high if max_values is None else min(high, low + max_values)]] = True
    if len(word.encode()) > COMPARED_BYTES and high > low:
        marked_numbers = np.flatnonzero(is_marked)
        is_marked[marked_numbers] = np.asarray(pc.match_substring(values.fold_values(marked_numbers), word))
    return is_marked


def _build_prefix_range(word: str) -> tuple[np.bytes_, np.bytes_]:
    """Return the first and the last of what begins with a word, as far as is compared."""
    text = word.encode()
    return np.bytes_(text[:COMPARED_BYTES]), np.bytes_((text + b"\xff" * COMPARED_BYTES)[:COMPARED_BYTES])


def _join_short_words(words: Sequence[str]) -> list[str]:
    """Join short words to the ones before them, ``M 31``.

    A letter or a number is in many names, and means little by itself.
    """
    joined: list[str] = []
    for word in words:
        if joined and (len(word) < MIN_WORD_LETTERS or len(joined[-1]) < MIN_WORD_LETTERS):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _find_combined_values(
    words: Sequence[str], hits: Sequence[npt.NDArray[np.bool_]], values: ValueTable, table_text: str
) -> list[Candidate]:
    """Find values of several columns that have all words between them: ``olivine CRISM``."""
    chosen_values: dict[int, int] = {}
    for word, hit in zip(words, hits, strict=True):
        matching_numbers = np.flatnonzero(hit & ~np.isin(values.columns, list(chosen_values)) if chosen_values else hit)
        if not len(matching_numbers):
            if word in table_text or any(hit[chosen_number] for chosen_number in chosen_values.values()):
                continue
            return []
        # nearest to the word itself, then what most rows have
        chosen_number = int(
            matching_numbers[np.lexsort((-values.rows[matching_numbers], values.sizes[matching_numbers]))[0]]
        )
        chosen_values[int(values.columns[chosen_number])] = chosen_number
    if len(chosen_values) > 1:
        return [(COMBINED_WEIGHT, values, tuple(chosen_values.values()))]
    return []


def build_match(candidate: Candidate) -> ValueMatch:
    """Tell what was found: the value, or several, as conditions of an address."""
    weight, values, value_numbers = candidate
    texts = []
    stored = []
    conditions = []
    for value_number in value_numbers:
        text = values.texts[value_number].as_py()
        column = values.table.find_column(values.names[int(values.columns[value_number])])
        texts.append(values.phrases[int(values.columns[value_number])].get(text, (text,))[0])
        stored.append(text)
        conditions.append((column.name, write_choices([text])))
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
