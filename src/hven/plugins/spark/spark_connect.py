"""A client of Spark Connect: relations as messages of its protocol, and a session on a server.

The package `pyspark` is loaded with the first session. The messages are sent without the session of `pyspark`, which
retries a dead server for minutes.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import sys
import threading
import time
import uuid
import warnings
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model import restore_pandas_imports
from hven.model.errors import HvenError, StorageError, UsageError
from hven.plugins.spark import error_translation
from hven.plugins.spark.cell_matches import QUERY_NAME_MARK
from hven.plugins.spark.spark_functions import WORKER_FUNCTION_TYPES, build_worker_function
from hven.plugins.spark.spark_server import SERVER_NAME, SUPPORTED_MAJOR_VERSION, quote_identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hven.engines.api.executions import DeadlineWatcher

    Relation = Any  # a message of the protocol

CONNECT_TIMEOUT_SECONDS = 2.0  # time after which a server counts as down
SESSION_TIMEOUT_SECONDS = 60.0  # a server loads much for its first session
CHUNK_BYTES = 1 << 20  # size of a message when many are sent
RETRY_DELAY_SECONDS, MAX_INTERRUPTS = 0.1, 50  # of requests to stop a query
# Delays between the attempts to stop the late jobs of a stopped query.
SWEEP_DELAYS_SECONDS = (*(0.1,) * 10, *(0.25,) * 8, *(1.0,) * 3, *(2.0,) * 6, *(4.0,) * 3)
MAX_WAITING_MESSAGES = 2  # messages of an answer that are kept here
READ_AHEAD_BYTES = 512 << 10  # bytes of an answer in transit; a server repeats only the last 10 MB
KEEP_ALIVE_SECONDS = 2.0  # time after which the server is told that an answer which is not read is still wanted
STOP_MARKER_SQL = "stopped by hven"  # no valid SQL, on purpose
USER_ID = "hven"
MIN_CACHED_BYTES = 1 << 20  # at least so large rows in memory are sent once, before the query
_QUERY_NUMBERS = itertools.count(1)  # numbers of the queries of this process, which has its own sessions
_ARROW_UDF_EVAL_TYPE = 250  # SQL_SCALAR_ARROW_UDF
_SESSION_SETTINGS = {
    "spark.sql.ansi.enabled": "true",  # overflow and bad casts are errors
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",  # "Name" and "name" are two columns
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
    # The driver lists 10,000 paths in 1 s; a job for them takes 37 s.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
}


@contextlib.contextmanager
def _set_temporary_main_file() -> Iterator[None]:
    """Give the main module a file while the client is loaded.

    Without one (``python -c``, workers of other programs) the client believes that it is tested, and ends the process.
    """
    main_module = sys.modules["__main__"]
    has_no_file = "__file__" not in vars(main_module)
    if has_no_file:
        main_module.__file__ = "-c"
    try:
        yield
    finally:
        if has_no_file:
            del main_module.__file__


def load_spark_protocol() -> Any:
    """Load the protocol.

    Raises
    ------
    UsageError
        The package is not installed.
    """
    restore_pandas_imports()  # the client needs it
    try:
        with warnings.catch_warnings(), _set_temporary_main_file():
            warnings.simplefilter("ignore")  # the client warns of pandas 3, which is not used here
            import pyspark.sql.connect.proto as messages  # noqa: PLC0415  (it takes a second to load)
            import pyspark.sql.connect.proto.base_pb2_grpc  # noqa: PLC0415
            import pyspark.sql.types  # noqa: F401, PLC0415
    except ImportError as error:
        raise UsageError(
            f"the Apache Spark client cannot be loaded: {error}", remedy="run `pip install 'hven[spark]'`"
        ) from None
    return messages


class SparkConnectSession:
    """A session on a server, with Hven's settings and functions. Thread-safe.

    Parameters
    ----------
    url
        Address of the server: ``sc://host:port/;token=..``.
    server_name
        The server, as messages show it.

    Raises
    ------
    HvenError
        The server does not respond within `CONNECT_TIMEOUT_SECONDS`, refuses the session, or has another version.
    """

    def __init__(self, url: str, server_name: str) -> None:
        self.messages = load_spark_protocol()
        import grpc  # noqa: PLC0415  (with the client)
        from pyspark.sql.connect.proto import base_pb2_grpc  # noqa: PLC0415

        self.server_name = server_name
        self._channel, self._metadata = _open_channel(url, server_name)
        self._stub = base_pb2_grpc.SparkConnectServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._session_id = str(uuid.uuid4())
        self._server_session_id = ""  # the server's own name of the session, which changes when it restarts
        self._lock = threading.Lock()
        self._defined_functions: set[str] = set()
        self._sent_artifacts: set[str] = set()
        self._numbers = itertools.count(1)
        self.transport_errors: tuple[type[Exception], ...] = (grpc.RpcError, ConnectionError)
        try:
            self.wait_for_server()
            self._apply_settings(_SESSION_SETTINGS)
            self.version = self._fetch_version()
            check_spark_version(self.version, server_name)
        except self.transport_errors as error:
            self.close()
            raise error_translation.translate_spark_error(error, server_name=server_name) from error
        except HvenError:
            self.close()
            raise

    def wait_for_server(self) -> None:
        """Wait until the server is connected, at most for `CONNECT_TIMEOUT_SECONDS`."""
        import grpc  # noqa: PLC0415

        try:
            grpc.channel_ready_future(self._channel).result(timeout=CONNECT_TIMEOUT_SECONDS)
        except grpc.FutureTimeoutError:
            raise ConnectionError("no server responds") from None

    def check_server_alive(self) -> None:
        """Check that the server answers within `CONNECT_TIMEOUT_SECONDS`.

        Raises
        ------
        HvenError
            The server does not respond.
        """
        request = self._build_request("ConfigRequest")
        request.operation.get.keys.append("spark.sql.ansi.enabled")
        try:
            self._stub.Config(request, metadata=self._metadata, timeout=CONNECT_TIMEOUT_SECONDS)
        except self.transport_errors as error:
            if not error_translation.is_session_lost(error):  # a restarted server is alive
                raise error_translation.translate_spark_error(error, server_name=self.server_name) from error

    # --- messages

    def _build_request(self, request_type: str) -> Any:
        request = getattr(self.messages, request_type)(session_id=self._session_id, client_type="hven")
        request.user_context.user_id = USER_ID
        if self._server_session_id and request_type != "ReleaseSessionRequest":
            request.client_observed_server_side_session_id = self._server_session_id
        return request

    def _apply_settings(self, settings: Mapping[str, str]) -> None:
        request = self._build_request("ConfigRequest")
        for key, value in settings.items():
            request.operation.set.pairs.add(key=key, value=value)
        self._server_session_id = self._stub.Config(
            request, metadata=self._metadata, timeout=SESSION_TIMEOUT_SECONDS
        ).server_side_session_id

    def _fetch_version(self) -> str:
        """Fetch the version by SQL: the version of the protocol may be that of another server that speaks it."""
        request = self._build_request("ExecutePlanRequest")
        sql_relation = self.create_sql_relation("SELECT version() AS v", {}, {})
        request.plan.root.CopyFrom(sql_relation)
        answer = self._stub.ExecutePlan(request, metadata=self._metadata, timeout=SESSION_TIMEOUT_SECONDS)
        return str(pa.Table.from_batches(iterate_answer_batches(answer)).column(0)[0]).split()[0]

    def analyse_relation(self, relation: Relation) -> None:
        """Let the server analyse a relation without computing it."""
        request = self._build_request("AnalyzePlanRequest")
        request.schema.plan.root.CopyFrom(relation)
        self._stub.AnalyzePlan(request, metadata=self._metadata, timeout=SESSION_TIMEOUT_SECONDS)

    def execute_relation(
        self, relation: Relation, deadline_watcher: DeadlineWatcher | None = None
    ) -> SparkAnswerStream:
        """Execute a relation.

        If the answer is abandoned before its end, and there is a `deadline_watcher`, the cluster is told to stop.
        Nobody waits for that.
        """
        operation = str(uuid.uuid4())

        def interrupt_operation() -> None:
            if deadline_watcher is not None:
                self._interrupt_operation(operation, deadline_watcher)

        def release_operation(was_stopped: bool) -> None:
            def stop_late_jobs() -> None:
                if was_stopped and deadline_watcher is not None:
                    self._stop_late_jobs(operation, deadline_watcher)

            self._release_operation(operation, stop_late_jobs)

        responses = ReattachableResponseStream(
            lambda: self._execute_operation(operation, relation),
            lambda last_response_id: self._resume_operation(operation, last_response_id),
        )
        return SparkAnswerStream(responses, on_abandoned=interrupt_operation, on_ended=release_operation)

    def _execute_operation(self, operation: str, relation: Relation) -> Any:
        request = self._build_request("ExecutePlanRequest")
        request.operation_id = operation
        # Only a reattachable operation can be released. The server keeps others until they count as abandoned, and
        # their jobs cannot be stopped then.
        request.request_options.add().reattach_options.reattachable = True
        request.plan.root.CopyFrom(relation)
        return self._stub.ExecutePlan(request, metadata=self._metadata)

    def _resume_operation(self, operation: str, last: str) -> Any:
        request = self._build_request("ReattachExecuteRequest")
        request.operation_id = operation
        if last:
            request.last_response_id = last
        return self._stub.ReattachExecute(request, metadata=self._metadata)

    def _release_operation(self, operation: str, on_released: Callable[[], object]) -> None:
        """Let the server forget an operation that has ended."""
        request = self._build_request("ReleaseExecuteRequest")
        request.operation_id = operation
        request.release_all.SetInParent()
        with contextlib.suppress(ValueError):  # the channel is closed, with all requests
            release_call = self._stub.ReleaseExecute.future(
                request, metadata=self._metadata, timeout=SESSION_TIMEOUT_SECONDS
            )
            release_call.add_done_callback(lambda _: on_released())

    def _interrupt_operation(
        self, operation: str, deadline_watcher: DeadlineWatcher, remaining_attempts: int = MAX_INTERRUPTS
    ) -> None:
        """Stop an operation; repeat the request if the server does not know the operation yet."""

        def retry_interrupt(answer: Any) -> None:
            if remaining_attempts and answer.exception() is None and not answer.result().interrupted_ids:
                deadline_watcher.call_at(
                    time.monotonic() + RETRY_DELAY_SECONDS,
                    lambda: self._interrupt_operation(operation, deadline_watcher, remaining_attempts - 1),
                )

        request = self._build_request("InterruptRequest")
        request.interrupt_type = request.INTERRUPT_TYPE_OPERATION_ID
        request.operation_id = operation
        with contextlib.suppress(ValueError):  # the channel is closed, with all requests
            interrupt_call = self._stub.Interrupt.future(
                request, metadata=self._metadata, timeout=SESSION_TIMEOUT_SECONDS
            )
            interrupt_call.add_done_callback(retry_interrupt)

    def _stop_late_jobs(
        self, operation: str, deadline_watcher: DeadlineWatcher, delays_seconds: Sequence[float] = SWEEP_DELAYS_SECONDS
    ) -> None:
        """Stop jobs that an operation began after it was stopped.

        Spark stops the thread of an operation and the jobs that it has then. Other threads that plan parts of the same
        query continue, and begin jobs that are not stopped any more. They have the operation's name, and the server
        stops all jobs of a name when an operation fails. Therefore this method starts an operation of the same name
        that fails.
        """
        relation = self._create_relation()
        relation.sql.query = STOP_MARKER_SQL

        def schedule_sweep() -> None:
            if delays_seconds:
                deadline_watcher.call_at(
                    time.monotonic() + delays_seconds[0],
                    lambda: self._stop_late_jobs(operation, deadline_watcher, delays_seconds[1:]),
                )

        with contextlib.suppress(ValueError):
            call = self._execute_operation(operation, relation)
            # The default argument keeps a reference to the call, which would otherwise be cancelled.
            call.add_done_callback(lambda _=call: self._release_operation(operation, schedule_sweep))

    def define_functions(self, function_names: Sequence[str]) -> None:
        """Define functions of Hven that are not defined yet."""
        with self._lock:
            for name in function_names:
                if name not in self._defined_functions:
                    self.register_function(name, build_worker_function(name), WORKER_FUNCTION_TYPES[name][1])
                    self._defined_functions.add(name)

    def register_function(self, name: str, function: Callable[..., pa.Array], result_type: str) -> None:
        """Register a function as an Arrow UDF, which is sent by value."""
        from pyspark import cloudpickle  # noqa: PLC0415
        from pyspark.sql import types  # noqa: PLC0415

        names = {
            "BOOLEAN": ("boolean", types.BooleanType),
            "DOUBLE": ("double", types.DoubleType),
            "BIGINT": ("long", types.LongType),
            "VARCHAR": ("string", types.StringType),
        }
        type_word, scalar = names[result_type.removesuffix("[]")]
        spark_type = types.ArrayType(scalar()) if result_type.endswith("[]") else scalar()
        request = self._build_request("ExecutePlanRequest")
        registration = request.plan.command.register_function
        registration.function_name = name
        registration.deterministic = True
        registration.python_udf.eval_type = _ARROW_UDF_EVAL_TYPE
        registration.python_udf.python_ver = ".".join(map(str, sys.version_info[:2]))
        registration.python_udf.command = cloudpickle.dumps((function, spark_type))  # type: ignore[no-untyped-call]
        output_type = registration.python_udf.output_type
        if result_type.endswith("[]"):
            output_type.array.contains_null = True
            output_type = output_type.array.element_type
        getattr(output_type, type_word).SetInParent()
        list(self._stub.ExecutePlan(request, metadata=self._metadata, timeout=SESSION_TIMEOUT_SECONDS))

    def close(self) -> None:
        """Release the session, and close the channel."""
        if not self._server_session_id:
            self._channel.close()
            return
        request = self._build_request("ReleaseSessionRequest")
        release_call = self._stub.ReleaseSession.future(
            request, metadata=self._metadata, timeout=CONNECT_TIMEOUT_SECONDS
        )
        release_call.add_done_callback(lambda _: self._channel.close())

    # --- relations

    def _create_relation(self) -> Relation:
        """Create a relation with a number, which others need to refer to it."""
        relation = self.messages.Relation()
        relation.common.plan_id = next(self._numbers)
        return relation

    def create_file_relation(self, column_types: Mapping[str, str], paths: Sequence[str]) -> Relation:
        """Create a relation of Parquet files; Spark need not read footers to find the columns and their types.

        Parameters
        ----------
        column_types
            Name -> type, as Spark writes it.
        paths
            Paths of the files, as the cluster sees them; there may be none.
        """
        relation = self._create_relation()
        relation.read.data_source.format = "parquet"
        relation.read.data_source.schema = ", ".join(
            f"{quote_identifier(name)} {kind}" for name, kind in column_types.items()
        )
        relation.read.data_source.paths.extend(paths)
        return relation

    def create_row_relation(self, rows: pa.Table) -> Relation:
        """Create a relation of rows in memory; many rows are sent once, before the query."""
        relation = self._create_relation()
        if not rows.num_columns:
            relation.range.end, relation.range.step = rows.num_rows, 1
            return relation
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            for batch in rows.to_batches():
                writer.write_batch(batch)
        relation.local_relation.data = sink.getvalue().to_pybytes()
        if len(relation.local_relation.data) < MIN_CACHED_BYTES:
            return relation
        return self._send_rows_once(relation)

    def _send_rows_once(self, relation: Relation) -> Relation:
        """Send rows to the server unless it has them, and refer to them by their checksum."""
        data = relation.local_relation.SerializeToString()
        name = hashlib.sha256(data).hexdigest()
        with self._lock:
            if name not in self._sent_artifacts:
                self._stub.AddArtifacts(self._split_artifact(f"cache/{name}", data), metadata=self._metadata)
                self._sent_artifacts.add(name)
        cached_relation = self._create_relation()
        cached_relation.cached_local_relation.hash = name
        return cached_relation

    def _split_artifact(self, artifact_name: str, data: bytes) -> Iterator[Any]:
        """Divide an artifact into messages."""
        for begin in range(0, len(data), CHUNK_BYTES):
            request = self._build_request("AddArtifactsRequest")
            if begin:
                chunk = request.chunk
            else:
                first_chunk = request.begin_chunk
                first_chunk.name = artifact_name
                first_chunk.total_bytes = len(data)
                first_chunk.num_chunks = -(-len(data) // CHUNK_BYTES)
                chunk = first_chunk.initial_chunk
            chunk.data = data[begin : begin + CHUNK_BYTES]
            chunk.crc = zlib.crc32(chunk.data)
            yield request

    def create_sql_relation(self, sql: str, arguments: Mapping[str, object], views: Mapping[str, Relation]) -> Relation:
        """Create a relation of SQL over other relations, which it calls by their names in `views`.

        Spark makes them views of the session while it plans. Another query that is planned at the same time with the
        same names would read the wrong rows, or find none. Therefore each query gets names of its own, in place of
        `QUERY_NAME_MARK`.
        """
        name_suffix = f"_{next(_QUERY_NUMBERS)}"
        sql_relation = self._create_relation()
        sql_relation.sql.query = sql.replace(QUERY_NAME_MARK, name_suffix)
        for name, value in arguments.items():
            _set_literal_value(sql_relation.sql.named_arguments[name].literal, value)
        if not views:
            return sql_relation
        relation_with_views = self._create_relation()
        relation_with_views.with_relations.root.CopyFrom(sql_relation)
        for name, view in views.items():
            named_view = self._create_relation()
            named_view.subquery_alias.alias = name.replace(QUERY_NAME_MARK, name_suffix)
            named_view.subquery_alias.input.CopyFrom(view)
            relation_with_views.with_relations.references.append(named_view)
        return relation_with_views

    def limit_relation(self, relation: Relation, row_limit: int) -> Relation:
        """Create a relation of the first rows of another one."""
        limited_relation = self._create_relation()
        limited_relation.limit.input.CopyFrom(relation)
        limited_relation.limit.limit = row_limit
        return limited_relation


def _set_literal_value(literal: Any, value: object) -> None:
    """Set the value of a literal message."""
    if value is None:
        literal.null.SetInParent()
        literal.null.null.SetInParent()
    elif isinstance(value, bool):
        literal.boolean = value
    elif isinstance(value, int) and -(2**63) <= value < 2**63:
        literal.long = value
    elif isinstance(value, int | float):
        literal.double = value
    else:
        literal.string = str(value)


def check_spark_version(version: str, server_name: str) -> None:
    """Refuse a server of another version.

    Raises
    ------
    StorageError
        The server does not have the version `SUPPORTED_MAJOR_VERSION`.
    """
    if version.split(".", maxsplit=1)[0] != SUPPORTED_MAJOR_VERSION:
        raise StorageError(
            f"the server at {server_name} runs {SERVER_NAME} {version}, but Hven needs version "
            f"{SUPPORTED_MAJOR_VERSION}",
            remedy=f"install {SERVER_NAME} {SUPPORTED_MAJOR_VERSION} on that server, or set `spark` under [hats] "
            "to another server",
        )


def _open_channel(url: str, server_name: str) -> tuple[Any, list[tuple[str, str]]]:
    """Open a channel to ``sc://host:port/;token=..;use_ssl=true``, and return it with the headers of each call.

    A token is sent over TLS only, except to this machine.
    """
    import grpc  # noqa: PLC0415  (with the client)

    url_options = dict(part.partition("=")[::2] for part in url.split(";")[1:])
    token = url_options.get("token", "")
    options = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.enable_retries", 0),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", READ_AHEAD_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", int(CONNECT_TIMEOUT_SECONDS * 1000)),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    is_local = server_name.rpartition(":")[0] in {"localhost", "127.0.0.1", "[::1]"}
    headers = []
    if token:
        headers = [("authorization", f"Bearer {token}")]
    if url_options.get("use_ssl", "").lower() == "true" or (token and not is_local):
        return grpc.secure_channel(server_name, grpc.ssl_channel_credentials(), options), headers
    return grpc.insecure_channel(server_name, options), headers


class ReattachableResponseStream:
    """The messages of an answer, each once, in the parts that the server sends.

    A server ends a part after some time, and forgets an answer that is not requested again: it cannot distinguish a
    slow client from a dead one.

    Parameters
    ----------
    start_stream
        Function that requests the first part.
    reattach_stream
        Function that requests the next part, after the message with this id; empty: from the first message.
    """

    def __init__(self, start_stream: Callable[[], Any], reattach_stream: Callable[[str], Any]) -> None:
        self._start_stream = start_stream
        self._reattach_stream = reattach_stream
        self._current_part: Any = None
        self._previous_part: Any = None  # the former part, if the next one was requested early
        self._last_response_id = ""
        self._request_time = 0.0

    def __iter__(self) -> ReattachableResponseStream:
        return self

    def __next__(self) -> Any:
        if self._current_part is None:
            self._current_part = self._start_stream()
            self._request_time = time.monotonic()
        while True:
            try:
                response = next(self._current_part)
            except StopIteration:
                # A server that ends its parts at once is not asked without a pause.
                if time.monotonic() < self._request_time + RETRY_DELAY_SECONDS:
                    time.sleep(RETRY_DELAY_SECONDS)
                self._current_part = self._reattach_stream(self._last_response_id)
                self._request_time = time.monotonic()
                continue
            except Exception as error:
                if self._previous_part is None or not error_translation.is_operation_lost(error):
                    raise
                # The server has sent the whole answer, and the former part has the rest of it.
                self._current_part = self._previous_part
                self._previous_part = None
                continue
            if self._previous_part is not None:
                self._previous_part.cancel()
                self._previous_part = None
            if response.HasField("result_complete"):
                raise StopIteration
            self._last_response_id = response.response_id
            return response

    def keep_alive(self) -> None:
        """Request the next part early, so that the server keeps an answer that is not read for the moment."""
        if self._current_part is None or time.monotonic() < self._request_time + KEEP_ALIVE_SECONDS:
            return
        with contextlib.suppress(ValueError):  # the channel is closed
            part = self._reattach_stream(self._last_response_id)
            self._request_time = time.monotonic()
            if self._previous_part is None:
                self._previous_part = self._current_part
            else:
                self._current_part.cancel()
            self._current_part = part


class SparkAnswerStream:
    """The messages of an answer, as they come.

    A thread reads them, so that the client can leave at once, while the server is told to stop and confirms it. If the
    call were cancelled instead, the confirmation would be lost, and the server would keep the operation as abandoned.

    Parameters
    ----------
    response_stream
        The messages.
    on_abandoned
        Function that is called when the client leaves before the end.
    on_ended
        Function that is called when the server has ended the answer; its argument tells whether the client had left.
    """

    def __init__(
        self,
        response_stream: ReattachableResponseStream,
        *,
        on_abandoned: Callable[[], object],
        on_ended: Callable[[bool], object],
    ) -> None:
        self._response_stream = response_stream
        self._on_abandoned = on_abandoned
        self._on_ended = on_ended
        self._waiting_messages: deque[Any] = deque()
        self._changed = threading.Condition()
        self._is_complete = self._is_abandoned = False
        threading.Thread(target=self._read_responses, name="hven-cluster", daemon=True).start()

    def _read_responses(self) -> None:
        end: BaseException | None = None
        try:
            for response in self._response_stream:
                self._add_response(response)
        except BaseException as error:  # noqa: BLE001  (the iteration raises it)
            end = error
        with self._changed:
            self._is_complete = True
            self._waiting_messages.append(end)
            self._changed.notify_all()
            was_abandoned = self._is_abandoned
        self._on_ended(was_abandoned and end is not None)

    def _add_response(self, response: Any) -> None:
        with self._changed:
            while len(self._waiting_messages) >= MAX_WAITING_MESSAGES and not self._is_abandoned:
                self._changed.wait(KEEP_ALIVE_SECONDS / 2)
                if not self._is_abandoned:
                    self._response_stream.keep_alive()
            if not self._is_abandoned:
                self._waiting_messages.append(response)
                self._changed.notify_all()

    def __iter__(self) -> Iterator[Any]:
        """Yield the messages, until the answer is abandoned."""
        while True:
            with self._changed:
                while not self._waiting_messages and not self._is_abandoned:
                    self._changed.wait()
                if self._is_abandoned:
                    return
                response = self._waiting_messages.popleft()
                self._changed.notify_all()
            if response is None:
                return
            if isinstance(response, BaseException):
                raise response
            yield response

    def abandon(self) -> None:
        """Stop reading, and tell the server if the answer has not ended."""
        with self._changed:
            is_first_call = not self._is_complete and not self._is_abandoned
            self._is_abandoned = True
            self._waiting_messages.clear()
            self._changed.notify_all()
        if is_first_call:
            self._on_abandoned()


def iterate_answer_batches(answer: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an answer as they come."""
    for response in answer:
        if response.HasField("arrow_batch"):
            with pa.ipc.open_stream(response.arrow_batch.data) as reader:
                yield from reader
