"""The result of a query: the head of the answer, its batches, and how it ended.

It counts the rows, stops at MAXREC, and knows the overflow at its end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc

from hven import __version__
from hven.adql import locate_evaluation_error
from hven.formats import InfoElement, ResultStatus, TableMetadata
from hven.model import LruCache
from hven.model.errors import EvaluationError, HvenError, OperationCancelledError, ServiceError, StorageError
from hven.model.sky import frames
from hven.query._service_descriptors import SITE_URL_PLACEHOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hven.adql.syntax_tree import Query
    from hven.engines import QueryExecution
    from hven.model.deadlines import Deadline
    from hven.model.params import Param, RequestParams
    from hven.model.settings import Settings
    from hven.model.table import Column, ColumnGroup, ReferenceFrame, Table, TableConstant
    from hven.site.auth import AccessScope
    from hven.site.counters import ProcessCounters

MIN_PIECE_ROWS = 1024  # a batch with fewer rows is not divided
MAX_PIECE_CELLS = 2**20  # of a piece; the deadline is checked before each piece
# Approximate size of a piece in memory: its text is several times as big, and many clients read at once.
MAX_PIECE_BYTES = 2 * 1024**2
SERVER_SOFTWARE = f"Hven/{__version__}"
WARNING_INFO_NAME = "warning"  # name of the INFO that says what of a request was not used
MAX_NAMED_PARAMETERS = 10  # parameters that this warning names
MAX_PARAMETER_NAME_CHARACTERS = 60
CONTEXT_CACHE_BYTES = 1024**2
COLUMN_CONTEXT_BYTES = 200  # approximate size of the context of a column
_SOFTWARE_INFO = InfoElement(name="server_software", value=SERVER_SOFTWARE)


@dataclass(slots=True, kw_only=True)
class QueryResult:
    """The result of a query.

    Iterate `iterate_batches` once, then call `build_status`. Always `close` the result, which is a context manager.

    Attributes
    ----------
    columns
        The columns of the answer, in order.
    tables
        The stored tables that the query reads.
    scope
        Key under which the answer may be cached.
    version
        Version of the published state. With `scope` and the query it makes an ETag.
    row_limit
        MAXREC in force, or None.
    row_count
        Number of rows read so far.
    small
        True if `begin_execution` takes well below a millisecond, so that it may be called on an event loop. After
        `begin_execution`: true if the answer is ready, or nearly.
    volatile
        True if the same query may have other rows next time (RAND), so that the answer is not cached.
    overflow
        True if there are more rows than `row_limit`; known at the end.
    error, failure
        The error that ended the rows: for the user, and for the log.
    request_id
        Id of the request, which is shown with an error.
    hides_rows
        True if a policy hides rows. An engine may compute a value before it drops its row, so errors quote no values.
    sampled_fraction
        Fraction of the rows of the table that are read; below 1 for a sample.
    deadline
        Deadline of the request, until its last row is written; None: there is none.
    renamed_columns
        Renamed columns: name in the table, name in the answer.
    origins, descriptors
        The origins of the rows, and the services that take their values, for the head of the answer.
    wait_seconds
        Seconds for which the query waited for its turn; known at the end.
    client_seconds
        Seconds for which it waited for its client after its first rows; known at the end.
    """

    columns: tuple[Column, ...]
    tables: tuple[Table, ...]
    scope: AccessScope
    version: str
    row_limit: int | None
    small: bool
    volatile: bool = False
    row_count: int = 0
    overflow: bool = False
    error: str | None = None
    failure: Exception | None = None
    request_id: str = ""
    hides_rows: bool = False
    sampled_fraction: float = 1.0
    deadline: Deadline | None = None
    origins: tuple[InfoElement, ...] = ()
    renamed_columns: tuple[tuple[str, str], ...] = ()
    descriptors: tuple[str, ...] = ()
    wait_seconds: float = 0.0
    client_seconds: float = 0.0
    _report_start: Callable[[QueryResult], None] | None = field(default=None, repr=False)
    _report_end: Callable[[QueryResult, float], None] | None = field(default=None, repr=False)
    _start_execution: Callable[[], QueryExecution] | None = field(default=None, repr=False)
    _count_rows: Callable[[], int | None] | None = field(default=None, repr=False)
    _explain_storage_error: Callable[[StorageError], HvenError] | None = field(default=None, repr=False)
    _query_text: str = field(default="", repr=False)
    _bound_query: Query | None = field(default=None, repr=False)
    _counters: ProcessCounters | None = field(default=None, repr=False)
    _settings: Settings | None = field(default=None, repr=False)
    _execution: QueryExecution | None = field(default=None, repr=False)
    _cancelled: bool = field(default=False, repr=False)
    _closed: bool = field(default=False, repr=False)
    _casts_by_column: Mapping[int, pa.DataType] = field(default_factory=dict, repr=False)

    def iterate_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows as Arrow batches, at most `row_limit` of them.

        Raises
        ------
        EvaluationError, TimeLimitError, OperationCancelledError, OverloadedError, TooLargeError, StorageError
            At the first batch or later; `build_status` then says so too. Nothing runs before the first batch is asked
            for.
        ServiceError
            Anything unforeseen, which is its cause and `failure`; its own words are fit for readers.
        """
        if self._start_execution is None:  # MAXREC=0: metadata only (DALI 1.1 section 3.4.4)
            self.overflow = True
            return
        started = time.perf_counter()
        if self._counters is not None:
            self._counters.count_query_start()
        report_end = None
        try:
            self.begin_execution()
            if not self.small and self._report_start is not None:
                self._report_start(self)
                report_end = self._report_end
            yield from self._limit_batches()
        except HvenError as error:
            phrased_error = self._explain_error_to_user(error)
            self.error = str(phrased_error)
            self.failure = phrased_error
            raise phrased_error from None if phrased_error is not error else error.__cause__
        except Exception as error:
            service_error = ServiceError(
                "the result ended before its last row",
                remedy="report the error to the site's operators, who can find its cause in the log",
            )
            self.error = str(service_error)
            self.failure = error
            raise service_error from error
        finally:
            if self._execution is not None:
                self.wait_seconds = self._execution.wait_seconds
                self.client_seconds = self._execution.client_seconds
            self.close()
            duration_seconds = time.perf_counter() - started
            if self._counters is not None:
                if self.failure is None:
                    failure_label = None
                else:
                    failure_label = _find_failure_label(self.failure)
                self._counters.count_query_end(self.row_count, duration_seconds, failure_label)
            if report_end is not None:
                report_end(self, duration_seconds)

    def _limit_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches of the execution up to `row_limit`, in pieces."""
        for batch in self.begin_execution():
            if self.deadline is not None:
                self.deadline.check()
            if self.row_limit is not None and self.row_count + batch.num_rows > self.row_limit:
                remaining_rows = self.row_limit - self.row_count
                self.row_count = self.row_limit
                self.overflow = True
                if remaining_rows:
                    yield from _split_batch(self._cast_batch(batch.slice(0, remaining_rows)))
                return
            self.row_count += batch.num_rows
            yield from _split_batch(self._cast_batch(batch) if self._casts_by_column else batch)

    def write_small_answer_and_close(
        self, write_rows: Callable[[Sequence[tuple[Any, ...]]], bytes | None]
    ) -> bytes | None:
        """Write all rows at once, if they are here and the engine has them as values; then the answer is over.

        Parameters
        ----------
        write_rows
            Makes the body of all rows, tuples of Python values; None if it cannot.

        Returns
        -------
        body
            None: nothing was used up, and the rows must be read from `iterate_batches`.
        """
        if self._execution is None or not self.small or self._casts_by_column or self._is_stopped():
            return None
        started = time.perf_counter()
        rows = self._execution.read_small_answer()
        if rows is None or (self.row_limit is not None and len(rows) > self.row_limit):
            return None
        body = write_rows(rows)
        if body is not None:
            self.row_count = len(rows)
            self.close()
            if self._counters is not None:
                self._counters.count_query_start()
                self._counters.count_query_end(self.row_count, time.perf_counter() - started, None)
        return body

    def replace_column_metadata(self, columns: tuple[Column, ...]) -> None:
        """Present the same columns with other metadata; those of another type are converted, batch by batch.

        Parameters
        ----------
        columns
            As many as there are, in their order.
        """
        pairs = zip(columns, self.columns, strict=True)
        self._casts_by_column = {
            number: new.type.arrow for number, (new, old) in enumerate(pairs) if new.type.arrow != old.type.arrow
        }
        self.columns = columns

    def _cast_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        for number, arrow_type in self._casts_by_column.items():
            values = batch.column(number)
            if pa.types.is_list(arrow_type) and pa.types.is_string(values.type):  # numbers with spaces between
                values = pc.split_pattern(values, " ")
            batch = batch.set_column(number, batch.schema.names[number], values.cast(arrow_type))
        return batch

    def _explain_error_to_user(self, error: HvenError) -> HvenError:
        """Phrase an error as its reader may and should hear it."""
        if isinstance(error, StorageError) and self._explain_storage_error is not None:
            return self._explain_storage_error(error)
        if self.hides_rows and isinstance(error, EvaluationError):
            return EvaluationError(
                "a value cannot be computed", remedy="check the casts, divisions and functions in the query"
            )
        if isinstance(error, EvaluationError):
            return locate_evaluation_error(error, self._query_text, self._bound_query)
        return error

    def begin_execution(self) -> QueryExecution:
        """Begin to run, if that has not happened; afterwards `small` says whether the answer is ready, or nearly.

        Returns
        -------
        execution
            Running; the same one at each call.

        Raises
        ------
        OperationCancelledError
            It was stopped or closed before.
        """
        execution = self._execution
        if execution is None:
            if self._start_execution is None or self._is_stopped():
                raise OperationCancelledError("the query was stopped before it began")
            try:
                execution = self._execution = self._start_execution()
            except (EvaluationError, StorageError) as error:
                raise self._explain_error_to_user(error) from None
            self.small = self.small and execution.small
            # another thread may have stopped it meanwhile, and seen nothing to stop
            if self._is_stopped():
                self._execution = None
                execution.close()
                raise OperationCancelledError("the query was stopped before it began")
        return execution

    def request_turn(self, notify: Callable[[], object]) -> None:
        """Queue for a turn: costs no time, and who would wait in vain is told at once.

        Parameters
        ----------
        notify
            Called, in any thread, when it is worth calling `has_turn_come`.

        Raises
        ------
        OverloadedError
            The turn would not come in time.
        """
        self.begin_execution().request_turn(notify)

    def has_turn_come(self) -> bool:
        """Check whether the turn has come.

        Raises
        ------
        OverloadedError
            It did not come in time.
        OperationCancelledError
            It was stopped or closed before.
        """
        return self.begin_execution().has_turn_come()

    @property
    def awaited_file_descriptor(self) -> int | None:
        """The file descriptor at which the answer will show for which `begin_execution` has asked.

        None: it is here, or only a thread can wait for it.
        """
        if self._execution is None:
            return None
        return self._execution.awaited_file_descriptor

    def has_answer_arrived(self) -> bool:
        """Return whether the answer that is `awaited_file_descriptor` has come, without waiting; then it is `small`."""
        self.small = self._execution is not None and self._execution.has_answer_arrived()
        return self.small

    def _is_stopped(self) -> bool:
        return self._cancelled or self._closed

    @property
    def is_computed(self) -> bool:
        """True once every row is in memory: what is left is to write them."""
        execution = self._execution
        if execution is None:
            return self._closed
        return execution.is_computed

    @property
    def total_row_count(self) -> int | None:
        """The number of rows, if it is known without running the query; None if it is not."""
        if self._count_rows is not None:
            return self._count_rows()
        return None

    @property
    def site_url(self) -> str:
        """Address of the site."""
        if self._settings is None:
            return ""
        return self._settings.site_url

    def build_status(self) -> ResultStatus:
        """Return how it ended; for `TableFormat.write`."""
        error = (
            f"{self.error} [request {self.request_id}]" if self.error is not None and self.request_id else self.error
        )
        return ResultStatus(overflow=self.overflow, error_message=error, row_count=self.row_count)

    def read_table(self) -> pa.Table:
        """Read everything into one Arrow table (small answers, tests).

        Returns
        -------
        rows
            All of them, in memory.
        """
        schema = pa.schema([column.arrow_field.with_nullable(True) for column in self.columns])
        batches = list(self.iterate_batches())
        return pa.Table.from_batches(batches, schema=batches[0].schema if batches else schema)

    def cancel(self) -> None:
        """Stop the query from any thread, whether it runs already or not."""
        self._cancelled = True
        execution = self._execution
        if execution is not None:
            execution.cancel()

    def close(self) -> None:
        """Free everything, from any thread; may be called twice."""
        self._closed = True
        execution = self._execution
        self._execution = None
        if execution is not None:
            execution.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _find_failure_label(failure: Exception) -> str:
    """Return the label of a failure for the counters."""
    if isinstance(failure, HvenError):
        return failure.label
    return type(failure).__name__


def _split_batch(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch that is big, without copying."""
    max_piece_rows = max(1, MAX_PIECE_CELLS // max(batch.num_columns, 1))
    if batch.num_rows <= min(MIN_PIECE_ROWS, max_piece_rows):  # to weigh it takes longer than to write a row
        yield batch
        return
    size = batch.nbytes
    step = min(
        max(MIN_PIECE_ROWS, MAX_PIECE_BYTES * batch.num_rows // size) if size > MAX_PIECE_BYTES else batch.num_rows,
        max_piece_rows,
    )
    if step >= batch.num_rows:
        yield batch
        return
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


# --- the head --------------------------------------------------------------------------------------------------------


class ReferencedColumnMetadata(NamedTuple):
    """The frames, groups and constants that columns refer to.

    It keeps the columns alive, so that no other columns get their id().

    Attributes
    ----------
    tables
        The tables of the columns.
    frames, groups, enums, params
        Those of the tables that the columns refer to.
    """

    columns: tuple[Column, ...]
    tables: tuple[Table, ...]
    frames: tuple[ReferenceFrame, ...]
    groups: tuple[ColumnGroup, ...]
    enums: Mapping[str, Mapping[str, str]]
    params: tuple[tuple[Column, object], ...]


_context_cache: LruCache[ReferencedColumnMetadata] = LruCache(CONTEXT_CACHE_BYTES, CONTEXT_CACHE_BYTES // 4)


def _collect_referenced_column_metadata(
    columns: tuple[Column, ...], tables: tuple[Table, ...], renamed_columns: tuple[tuple[str, str], ...] = ()
) -> ReferencedColumnMetadata:
    """Collect the context of the columns of a plan once, because many answers need it."""
    context = _context_cache.find(id(columns))
    if context is None or context.tables is not tables:
        params = _select_common_params(tables)
        enum_names = {column.enum for column in (*columns, *params.values()) if column.enum}
        enums: dict[str, Mapping[str, str]] = {}
        groups: tuple[ColumnGroup, ...] = ()
        for table in tables:
            if enum_names and table.enums:
                enums |= {name: words for name, words in table.enums.items() if name in enum_names}
            if table.groups:
                available_names = {column.name for column in columns} | params.keys()
                groups += _select_column_groups(table, available_names, dict(renamed_columns))
        frame_ids = {column.frame for column in columns if column.frame}
        context = ReferencedColumnMetadata(
            columns=columns,
            tables=tables,
            frames=_select_coordinate_frames(tables, frame_ids) if frame_ids else (),
            groups=groups,
            enums=enums,
            params=tuple((param, param.value) for param in params.values()) if params else (),
        )
        _context_cache.store(id(columns), context, COLUMN_CONTEXT_BYTES * len(columns))
    return context


def _select_common_params(tables: tuple[Table, ...]) -> dict[str, TableConstant]:
    """Return the constants of the tables by name; one with different values in several tables is left out."""
    params: dict[str, TableConstant] = {}
    differing_names = set()
    for table in tables:
        for param in table.params:
            if params.setdefault(param.name, param) != param:
                differing_names.add(param.name)
    for name in differing_names:
        del params[name]
    return params


def _select_column_groups(
    table: Table, answer_columns: set[str], names_in_answer: Mapping[str, str]
) -> tuple[ColumnGroup, ...]:
    """Return the groups whose members are all in the answer, with the names that they have there."""
    groups = []
    for group in table.groups:
        roles = {
            role: name if name in answer_columns else names_in_answer.get(name, name)
            for role, name in group.roles.items()
        }
        if answer_columns.issuperset(roles.values()):
            groups.append(group if roles == group.roles else replace(group, roles=roles))
    return tuple(groups)


def _select_coordinate_frames(tables: tuple[Table, ...], frame_ids: set[str]) -> tuple[ReferenceFrame, ...]:
    """Return the frames of the columns.

    If several frames have the same id, only what they agree on remains: of two bodies that are both called ``body``,
    that the frame is one of a body. Other frames that disagree are left out.
    """
    frames_by_id: dict[str, ReferenceFrame | None] = {}
    for frame in (frame for table in tables for frame in table.frames if frame.id in frame_ids):
        agreed_frame = frames_by_id.get(frame.id, frame)
        if agreed_frame is not None and agreed_frame != frame:
            agreed_frame = replace(agreed_frame, refposition=None)
            if agreed_frame != replace(frame, refposition=None) or agreed_frame.system != frames.BODY_FRAME_NAME:
                agreed_frame = None
        frames_by_id[frame.id] = agreed_frame
    return tuple(frame for frame in frames_by_id.values() if frame is not None)


def build_unused_parameter_warnings(
    request_params: RequestParams, declared_params: Iterable[Param], *undeclared_names: str
) -> tuple[InfoElement, ...]:
    """Warn of parameters of a request that the service does not know.

    DALI ignores such parameters, and the user should not assume that the answer depends on them.

    Parameters
    ----------
    request_params
        The parameters of the request.
    declared_params
        The parameters that the service declares.
    undeclared_names
        Names of parameters that the service reads without declaring them.

    Returns
    -------
    infos
        One warning, or none.
    """
    declared_params = tuple(declared_params)
    names = request_params.list_unused_names(declared_params, *undeclared_names)
    if not names:
        return ()
    shown_names = [ascii(name[:MAX_PARAMETER_NAME_CHARACTERS]).strip("'\"") for name in names[:MAX_NAMED_PARAMETERS]]
    unused_names = ", ".join(shown_names)
    if len(names) > MAX_NAMED_PARAMETERS:
        unused_names += f" and {len(names) - MAX_NAMED_PARAMETERS} more"
    known_names = ", ".join(param.name for param in declared_params)
    text = f"parameters that are not used: {unused_names}; known parameters: {known_names}"
    return (InfoElement(name=WARNING_INFO_NAME, value=text),)


def build_result_metadata(
    query_result: QueryResult,
    *,
    infos: Sequence[InfoElement] = (),
    name: str | None = None,
    has_query_status: bool = True,
    site_url: str = "",
) -> TableMetadata:
    """Describe a result for a format.

    Parameters
    ----------
    query_result
        A result, with its columns.
    infos
        Further INFO elements, which come first.
    name
        Name of the table in the document.
    has_query_status
        Whether the document has QUERY_STATUS (DALI 1.1, section 4.4).
    site_url
        Address of the site as the request has it; empty: that of the settings.

    Returns
    -------
    head
        Columns, the frames, groups and constants that they refer to, and the origin of the rows.
    """
    context = _collect_referenced_column_metadata(
        query_result.columns, query_result.tables, query_result.renamed_columns
    )
    descriptors_xml: tuple[str, ...] = ()
    if query_result.descriptors:
        base_url = site_url or query_result.site_url
        descriptors_xml = tuple(xml.replace(SITE_URL_PLACEHOLDER, base_url) for xml in query_result.descriptors)
    return TableMetadata(
        columns=query_result.columns,
        name=name,
        infos=(*infos, _SOFTWARE_INFO, *query_result.origins),
        frames=context.frames,
        groups=context.groups,
        enums=context.enums,
        params=context.params,
        tables=query_result.tables,
        descriptors_xml=descriptors_xml,
        includes_query_status=has_query_status,
    )
