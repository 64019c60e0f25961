"""Run the queries of a page with the rights of its user, under the same policies and limits as all queries.

Answers that many users share are computed once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven import query
from hven.adql import syntax_tree
from hven.adql.adql_writer import write_adql
from hven.engines import LiveRelation
from hven.model import LruCache, RetryBackoffLog
from hven.model.errors import HvenError, TimeLimitError
from hven.site.auth import collect_row_filters

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from hven.model.table import Table
    from hven.query import QueryResult
    from hven.site import PublishedState, PublishedTable, Site
    from hven.site.auth import AccessPolicy, Principal

QUERY_TIMEOUT_SECONDS = 20.0  # readers leave pages that take longer
COUNT_TIMEOUT_SECONDS = 2.0  # for counts for a reader from whom rows are hidden
MAX_CACHE_BYTES = 32 * 1024**2  # of answers that a process caches
MAX_CACHED_ANSWER_BYTES = 1024**2  # of one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRunner:
    """A user and a published state: all parts of a page see the same state.

    Attributes
    ----------
    site
        The site.
    principal
        The user.
    policies
        Policies that hide rows.
    published_state
        The published state.
    on_query_start
        Called with each query that begins, so that it can be cancelled when the reader leaves.
    """

    site: Site
    principal: Principal
    policies: Sequence[AccessPolicy]
    published_state: PublishedState
    on_query_start: Callable[[QueryResult], QueryResult] | None = None

    def with_start_callback(self, on_query_start: Callable[[QueryResult], QueryResult]) -> QueryRunner:
        """Return a copy of the runner that reports its queries to `on_query_start`.

        Parameters
        ----------
        on_query_start
            Called with each query that begins.

        Returns
        -------
        runner
            The copy.
        """
        return replace(self, on_query_start=on_query_start)

    def run_query(
        self,
        statement: syntax_tree.Query | str,
        *,
        row_limit: int | None = None,
        timeout_seconds: float | None = QUERY_TIMEOUT_SECONDS,
        sample_rows: int | None = None,
    ) -> QueryResult:
        """Start a query with at most `row_limit` rows; `sample_rows` is as in `hven.query.run_query`.

        Parameters
        ----------
        statement
            The query.
        row_limit
            Maximum number of rows; None: that of the site.
        timeout_seconds
            Seconds that the query may take.
        sample_rows
            Number of rows of a sample that it reads instead of all.

        Returns
        -------
        result
            The result.
        """
        result = query.run_query(
            statement,
            self.principal,
            site=self.site,
            policies=self.policies,
            literal_values=(),
            published_state=self.published_state,
            maxrec=row_limit,
            timeout_seconds=timeout_seconds,
            sample_row_count=sample_rows,
        )
        if self.on_query_start is None:
            return result
        return self.on_query_start(result)

    def fetch_table(
        self,
        statement: syntax_tree.Query,
        *,
        row_limit: int | None = None,
        timeout_seconds: float = QUERY_TIMEOUT_SECONDS,
    ) -> pa.Table:
        """Return all rows of a small answer.

        The answer is cached for this published state and for readers with the same access. Readers who ask at the same
        time share one computation.

        Parameters
        ----------
        statement
            The query.
        row_limit
            Maximum number of rows; None: that of the site.
        timeout_seconds
            Seconds that the query may take.

        Returns
        -------
        rows
            The rows.

        Raises
        ------
        TimeLimitError, TooLargeError, OverloadedError, EvaluationError
            As for every query.
        """
        return self._fetch_from_cache_or_query(statement, row_limit, timeout_seconds, None)[0]

    def fetch_sample(
        self, statement: syntax_tree.Query, *, sample_rows: int, timeout_seconds: float = QUERY_TIMEOUT_SECONDS
    ) -> tuple[pa.Table, float]:
        """Return the answer over a sample of about `sample_rows` rows of the queried table, and the sampled fraction.

        The fraction is 1 if all rows are read: there are no more, or the engine cannot sample.

        Parameters
        ----------
        statement
            The query.
        sample_rows
            Number of rows of the sample.
        timeout_seconds
            Seconds that the query may take.

        Returns
        -------
        rows, fraction
            The rows, and the sampled fraction, without a unit.
        """
        return self._fetch_from_cache_or_query(statement, None, timeout_seconds, sample_rows)

    def _fetch_from_cache_or_query(
        self, statement: syntax_tree.Query, row_limit: int | None, timeout_seconds: float, sample_rows: int | None
    ) -> SampledAnswer:
        answers = self.site.get_or_create(QueryAnswerCache)
        key = (
            self.published_state.version,
            self.published_state.find_access_key(self.principal, self.policies),
            write_adql(statement),
            row_limit,
            sample_rows,
        )
        cached_answer = answers.find(key)
        if cached_answer is not None:
            return cached_answer
        run = self.run_query(statement, row_limit=row_limit, timeout_seconds=timeout_seconds, sample_rows=sample_rows)
        with run as result:
            if result.volatile:  # a live table, or a random function
                return result.read_table(), result.sampled_fraction
            return answers.get_or_compute(key, lambda: (result.read_table(), result.sampled_fraction))

    def fetch_cached_until_change(
        self, statement: syntax_tree.Query, table: Table, *, row_limit: int | None = None, timeout_seconds: float
    ) -> pa.Table | None:
        """Return the answer of a query of one table, cached until that table changes; None if it takes too long.

        A query that was too slow is tried again after a pause that grows (`hven.model.RetryBackoffLog`).

        Parameters
        ----------
        statement
            The query.
        table
            The table that it reads.
        row_limit
            Maximum number of rows; None: that of the site.
        timeout_seconds
            Seconds that the query may take.

        Returns
        -------
        rows
            The rows; None if it takes too long.
        """
        item = self.published_state.tables_by_name[table.qualified_name]
        if item.relation is None or isinstance(item.relation, LiveRelation):
            return None
        answers = self.site.get_or_create(QueryAnswerCache)
        if self.has_hidden_rows(table):
            access_key = self.published_state.find_access_key(self.principal, self.policies)
        else:
            access_key = ""
        key = (table.qualified_name, item.run_id, item.updated, access_key, row_limit, write_adql(statement))
        failures = self.site.get_or_create(RetryBackoffLog)
        if failures.is_retry_paused(key):
            return None

        def compute_answer() -> SampledAnswer:
            with self.run_query(statement, row_limit=row_limit, timeout_seconds=timeout_seconds) as result:
                return result.read_table(), 1.0

        try:
            answer_table = answers.get_or_compute(key, compute_answer)[0]
        except TimeLimitError as error:
            failures.record_failure(key, f"counts of {table.qualified_name}", str(error))
            return None
        failures.record_success(key)
        return answer_table

    def fetch_and_fold_rows(
        self,
        statement: syntax_tree.Query,
        table: Table,
        fold: Fold,
        *,
        fold_name: Hashable,
        timeout_seconds: float,
        row_limit: int | None = None,
        sample_rows: int | None = None,
    ) -> SampledAnswer:
        """Fold the rows of a query of one table batch by batch; return the result and the fraction of rows read.

        The result is cached until the table changes; results of live tables are not cached. `fold_name` identifies the
        fold in the cache.

        Parameters
        ----------
        statement
            The query.
        table
            The table that it reads.
        fold
            Folds the batches of the answer.
        fold_name
            Identifies what `fold` does.
        timeout_seconds
            Seconds that the query may take.
        row_limit
            Maximum number of rows; None: that of the site.
        sample_rows
            Number of rows of a sample that it reads instead of all.

        Returns
        -------
        folded
            What `fold` returns, and the fraction of rows that was read, without a unit.

        Raises
        ------
        TimeLimitError, TooLargeError, OverloadedError, EvaluationError
            As for every query.
        """

        def compute_answer() -> SampledAnswer:
            run = self.run_query(
                statement, row_limit=row_limit, timeout_seconds=timeout_seconds, sample_rows=sample_rows
            )
            with run as result:
                return fold(result.iterate_batches()), result.sampled_fraction

        item = self.published_state.tables_by_name[table.qualified_name]
        if isinstance(item.relation, LiveRelation):
            return compute_answer()
        access_scope: Hashable = ""
        if item.relation is None or self.has_hidden_rows(table):  # a view may read a table with hidden rows
            access_key = self.published_state.find_access_key(self.principal, self.policies)
            access_scope = (self.published_state.version, access_key)
        key = (
            table.qualified_name,
            item.run_id,
            item.updated,
            access_scope,
            write_adql(statement),
            fold_name,
            row_limit,
            sample_rows,
        )
        return self.site.get_or_create(QueryAnswerCache).get_or_compute(key, compute_answer)

    def fetch_number(self, statement: syntax_tree.Query, *, timeout_seconds: float = QUERY_TIMEOUT_SECONDS) -> int:
        """Return the single number of a query's answer.

        Parameters
        ----------
        statement
            The query.
        timeout_seconds
            Seconds that the query may take.

        Returns
        -------
        number
            The number.
        """
        table = self.fetch_table(statement, timeout_seconds=timeout_seconds)
        return int(table.column(0)[0].as_py() or 0)

    def find_table_with_visible_counts(self, table: Table) -> PublishedTable:
        """Return the published facts of a table, with counts of the visible rows if a policy hides some of them.

        Parameters
        ----------
        table
            A table.

        Returns
        -------
        published_table
            Its facts.
        """
        item = self.published_state.tables_by_name[table.qualified_name]
        if not self.has_hidden_rows(table):
            return item
        rows, statistics = self._count_visible_rows_and_values(table)
        return replace(item, rows=rows, statistics=statistics, byte_count=0, coverage=None)

    def _count_visible_rows_and_values(self, table: Table) -> tuple[int | None, dict[str, dict[str, object]]]:
        """Count the visible rows, and the distinct values of the columns with choices."""
        columns = [column for column in table.columns if column.type.can_be_choice and not column.hidden]
        items: list[str | syntax_tree.Expr] = [syntax_tree.FunctionCall("COUNT", star=True)]
        for column in columns:
            name = (syntax_tree.build_column_ref(column.name),)
            items += [syntax_tree.FunctionCall("COUNT", name), syntax_tree.FunctionCall("COUNT", name, distinct=True)]
        try:
            table_query = syntax_tree.build_table_query(table, items)
            counts_table = self.fetch_cached_until_change(table_query, table, timeout_seconds=COUNT_TIMEOUT_SECONDS)
        except HvenError:
            counts_table = None  # as for a table without statistics
        if counts_table is None:
            return None, {}
        rows, *counts = (int(count_column[0].as_py()) for count_column in counts_table.columns)
        statistics: dict[str, dict[str, object]] = {}
        for column, filled, distinct in zip(columns, counts[::2], counts[1::2], strict=True):
            statistics[column.name] = {"nulls": rows - filled, "distinct": distinct}
        return rows, statistics

    def has_hidden_rows(self, table: Table) -> bool:
        """Return whether a policy hides rows of a table from the user.

        If so, nothing that was counted over all rows may be shown.

        Parameters
        ----------
        table
            A table.

        Returns
        -------
        has_hidden_rows
            Whether it hides some.
        """
        return bool(collect_row_filters([table], self.principal, self.policies))


SampledAnswer = tuple[pa.Table, float]
Fold = Callable[[Iterator[pa.RecordBatch]], pa.Table]


class _PendingAnswer:
    """An answer that is being computed; it stays None if the computation fails."""

    def __init__(self) -> None:
        self.is_finished = threading.Event()
        self.answer: SampledAnswer | None = None


class QueryAnswerCache(LruCache[SampledAnswer]):
    """Small answers of one process, by published state, access and query. Thread-safe."""

    def __init__(self) -> None:
        super().__init__(MAX_CACHE_BYTES)
        self._pending_answers: dict[Hashable, _PendingAnswer] = {}
        self._pending_lock = threading.Lock()

    def get_or_compute(self, key: Hashable, compute: Callable[[], SampledAnswer]) -> SampledAnswer:
        """Return an answer from the cache, from a running computation, or by computing it.

        If a running computation fails, one of the waiting threads computes the answer.
        """
        while True:
            with self._pending_lock:
                cached_answer = self.find(key)
                if cached_answer is not None:
                    return cached_answer
                pending = self._pending_answers.get(key)
                if pending is None:
                    own_answer = self._pending_answers[key] = _PendingAnswer()
                    break
            pending.is_finished.wait()
            if pending.answer is not None:
                return pending.answer
        try:
            own_answer.answer = compute()
            table, share = own_answer.answer
            if table.nbytes <= MAX_CACHED_ANSWER_BYTES:
                # a copy: views of a mapped file would keep it on the disk after its snapshot was dropped
                if table.num_rows:
                    copied_table = table.take(pa.array(np.arange(table.num_rows)))
                else:
                    copied_table = table
                entry_bytes = int(copied_table.nbytes) + 2048  # with the key and the objects around the table
                self.store(key, (copied_table, share), entry_bytes)
            return own_answer.answer
        finally:
            with self._pending_lock:
                del self._pending_answers[key]
            own_answer.is_finished.set()
