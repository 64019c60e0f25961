"""Spark Connect, as far as it is needed: relations as its messages, and a session of ours on a server.

The package `pyspark` is loaded with the first one.

The messages are sent without the client's own session, which retries a dead server for minutes.
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

from hven.engines.hats import error_translation
from hven.engines.hats.cell_matches import QUERY_NAME_MARK
from hven.engines.hats.servers import SERVER_NAME, SUPPORTED_MAJOR_VERSION, quote_identifier
from hven.engines.hats.spark_functions import WORKER_FUNCTION_TYPES, build_worker_call
from hven.model import show_pandas
from hven.model.errors import HvenError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hven.engines._query_deadlines import DeadlineWatcher

    Relation = Any  # a message of the protocol

CONNECT_TIMEOUT_SECONDS = 2.0  # seconds until a server is taken for gone
SESSION_TIMEOUT_SECONDS = 60.0  # seconds that one may take to begin a session: the first one loads much
CHUNK_BYTES = 1 << 20  # bytes of a message, where many are sent
RETRY_DELAY_SECONDS, MAX_INTERRUPTS = 0.1, 50  # seconds until a server is told again to stop a query, and how often
# seconds between the times at which jobs of a stopped query are stopped
SWEEP_DELAYS_SECONDS = (*(0.1,) * 10, *(0.25,) * 8, *(1.0,) * 3, *(2.0,) * 6, *(4.0,) * 3)
MAX_WAITING_MESSAGES = 2  # messages of an answer that wait here
READ_AHEAD_BYTES = 512 << 10  # bytes of it that are on their way: a server repeats no more than the last 10 MB
KEEP_ALIVE_SECONDS = (
    2.0  # seconds after which a server is told that somebody still wants an answer that nobody reads on
)
STOP_MARKER_SQL = "stopped by hven"  # it is no SQL
USER_ID = "hven"
MIN_CACHED_BYTES = 1 << 20  # bytes of rows that are sent once, before the query
_QUERY_NUMBERS = itertools.count(1)  # queries of this process, whose sessions are its own
_ARROW_UDF_EVAL_TYPE = 250  # SQL_SCALAR_ARROW_UDF
_SESSION_SETTINGS = {
    "spark.sql.ansi.enabled": "true",  # overflow and bad casts are errors
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",  # "Name" and "name" are two columns
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
    # 10,000 names are looked at in 1 s, by a job of their own in 37 s
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
}


@contextlib.contextmanager
def _set_main_file() -> Iterator[None]:
    """Give the main module a file for as long as the client is loaded.

    Without one (``python -c``, workers of other programs) it takes itself for tested, and ends the process.
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


def load_protocol() -> Any:
    """Load the protocol.

    Raises
    ------
    UsageError
        The package is not installed.
    """
    show_pandas()  # the client needs it
    try:
        with warnings.catch_warnings(), _set_main_file():
            warnings.simplefilter("ignore")  # it is not sure of pandas 3, which is not asked here
            import pyspark.sql.connect.proto as messages  # noqa: PLC0415  (a second to load, wanted by few)
            import pyspark.sql.connect.proto.base_pb2_grpc  # noqa: PLC0415
            import pyspark.sql.types  # noqa: F401, PLC0415
    except ImportError as error:
        raise UsageError(
            f"the client of Apache Spark cannot be loaded: {error}", remedy="pip install 'hven[spark]'"
        ) from None
    return messages


class SparkConnectSession:
    """A session on a server, with our settings and functions. Thread-safe.

    Parameters
    ----------
    url
        ``sc://host:port/;token=..``.

    Raises
    ------
    HvenError
        Nobody answers within `CONNECT_TIMEOUT_SECONDS`, it refuses, or is of another version.
    """

    def __init__(self, url: str, server_name: str) -> None:
        self.messages = load_protocol()
        import grpc  # noqa: PLC0415  (with the client)
        from pyspark.sql.connect.proto import base_pb2_grpc  # noqa: PLC0415

        self.server_name = server_name
        self._channel, self._metadata = _open_channel(url, server_name)
        self._stub = base_pb2_grpc.SparkConnectServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._session_id = str(uuid.uuid4())
        self._server_session_id = ""  # its own name of the session: another one if the server began anew
        self._lock = threading.Lock()
        self._defined_functions: set[str] = set()
        self._sent_artifacts: set[str] = set()
        self._numbers = itertools.count(1)
        self.transport_errors: tuple[type[Exception], ...] = (grpc.RpcError, ConnectionError)
        try:
            self.wait_for_server()
            self._apply_settings(_SESSION_SETTINGS)
            self.version = self._fetch_version()
            check_server_version(self.version, server_name)
        except self.transport_errors as error:
            self.close()
            raise error_translation.translate_error(error, server_name=server_name) from error
        except HvenError:
            self.close()
            raise

    def wait_for_server(self) -> None:
        """Wait until the server can be reached, for `CONNECT_TIMEOUT_SECONDS` at most."""
        import grpc  # noqa: PLC0415

        try:
            grpc.channel_ready_future(self._channel).result(timeout=CONNECT_TIMEOUT_SECONDS)
        except grpc.FutureTimeoutError:
            raise ConnectionError("nobody answers") from None

    def check_alive(self) -> None:
        """Ask for a sign of life, for `CONNECT_TIMEOUT_SECONDS` at most.

        Raises
        ------
        HvenError
            There is none.
        """
        request = self._build_request("ConfigRequest")
        request.operation.get.keys.append("spark.sql.ansi.enabled")
        try:
            self._stub.Config(request, metadata=self._metadata, timeout=CONNECT_TIMEOUT_SECONDS)
        except self.transport_errors as error:
            if not error_translation.is_session_lost(error):  # it began anew, and the next query will
                raise error_translation.translate_error(error, server_name=self.server_name) from error

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
        """Ask for the version by SQL: the protocol's own answer is that of Spark from whoever speaks it."""
        request = self._build_request("ExecutePlanRequest")
        sql_relation = self.create_sql_relation("SELECT version() AS v", {}, {})
        request.plan.root.CopyFrom(sql_relation)
        answer = self._stub.ExecutePlan(request, metadata=self._metadata, timeout=SESSION_TIMEOUT_SECONDS)
        return str(pa.Table.from_batches(iterate_batches(answer)).column(0)[0]).split()[0]

    def analyse_relation(self, relation: Relation) -> None:
        """Have a relation looked at, and nothing computed."""
        request = self._build_request("AnalyzePlanRequest")
        request.schema.plan.root.CopyFrom(relation)
        self._stub.AnalyzePlan(request, metadata=self._metadata, timeout=SESSION_TIMEOUT_SECONDS)

    def execute_relation(self, relation: Relation, deadline_watcher: DeadlineWatcher | None = None) -> ClusterAnswer:
        """Ask for rows. Who leaves the answer before its end has it stopped in the cluster, if there is a `deadline_watcher`; nobody waits for that."""
        operation = str(uuid.uuid4())

        def interrupt_operation() -> None:
            if deadline_watcher is not None:
                self._interrupt_operation(operation, deadline_watcher)

        def release_operation(was_stopped: bool) -> None:
            self._release_operation(
                operation,
                lambda: (
                    self._stop_late_jobs(operation, deadline_watcher)
                    if was_stopped and deadline_watcher is not None
                    else None
                ),
            )

        pieces = ResponseStream(
            lambda: self._execute_operation(operation, relation), lambda last: self._resume_operation(operation, last)
        )
        return ClusterAnswer(pieces, on_abandoned=interrupt_operation, on_ended=release_operation)

    def _execute_operation(self, operation: str, relation: Relation) -> Any:
        request = self._build_request("ExecutePlanRequest")
        request.operation_id = operation
        # so that it can be released: others stay with the server until they count as abandoned, and nobody can stop
        # their jobs then
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
        """Have the server forget an operation that has ended."""
        request = self._build_request("ReleaseExecuteRequest")
        request.operation_id = operation
        request.release_all.SetInParent()
        with contextlib.suppress(ValueError):  # the channel is closed, and with it all that was asked
            release_call = self._stub.ReleaseExecute.future(
                request, metadata=self._metadata, timeout=SESSION_TIMEOUT_SECONDS
            )
            release_call.add_done_callback(lambda _: on_released())

    def _interrupt_operation(
        self, operation: str, deadline_watcher: DeadlineWatcher, remaining_attempts: int = MAX_INTERRUPTS
    ) -> None:
        """Stop an operation. The server may not know of it yet: it is told again."""

        def retry_interrupt(answer: Any) -> None:
            if remaining_attempts and answer.exception() is None and not answer.result().interrupted_ids:
                deadline_watcher.call_at(
                    time.monotonic() + RETRY_DELAY_SECONDS,
                    lambda: self._interrupt_operation(operation, deadline_watcher, remaining_attempts - 1),
                )

        request = self._build_request("InterruptRequest")
        request.interrupt_type = request.INTERRUPT_TYPE_OPERATION_ID
        request.operation_id = operation
        with contextlib.suppress(ValueError):  # the channel is closed, and with it all that was asked
            self._stub.Interrupt.future(
                request, metadata=self._metadata, timeout=SESSION_TIMEOUT_SECONDS
            ).add_done_callback(retry_interrupt)

    def _stop_late_jobs(
        self, operation: str, deadline_watcher: DeadlineWatcher, delays_seconds: Sequence[float] = SWEEP_DELAYS_SECONDS
    ) -> None:
        """Stop jobs that an operation began after it was stopped.

        Spark stops the thread of an operation and the jobs that it has by then. Other threads that plan parts of the
        same query go on, and begin jobs that nobody knows of any more. They bear the operation's name, and the server
        stops all jobs of a name when an operation fails: so one of the same name is asked for that is no SQL.
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
            call.add_done_callback(
                lambda _=call: self._release_operation(operation, schedule_sweep)
            )  # held: else it is cancelled

    def define_functions(self, function_names: Sequence[str]) -> None:
        """Define functions of ours that are not known yet."""
        with self._lock:
            for name in function_names:
                if name not in self._defined_functions:
                    self.register_function(name, build_worker_call(name), WORKER_FUNCTION_TYPES[name][1])
                    self._defined_functions.add(name)

    def register_function(self, name: str, function: Callable[..., pa.Array], result_type: str) -> None:
        """Define one function: an Arrow UDF, which is sent by value."""
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
        """Leave the session, and the server."""
        if self._server_session_id:
            request = self._build_request("ReleaseSessionRequest")
        else:
            request = None
        if request is not None:
            release_call = self._stub.ReleaseSession.future(
                request, metadata=self._metadata, timeout=CONNECT_TIMEOUT_SECONDS
            )
            release_call.add_done_callback(lambda _: self._channel.close())
        else:
            self._channel.close()

    # --- relations

    def _create_relation(self) -> Relation:
        """Make a relation that has a number: what others name must have one."""
        relation = self.messages.Relation()
        relation.common.plan_id = next(self._numbers)
        return relation

    def create_file_relation(self, column_types: Mapping[str, str], paths: Sequence[str]) -> Relation:
        """Make a relation of Parquet files: with their columns and types Spark looks into no footer before it reads.

        Parameters
        ----------
        column_types
            Name -> type in Spark's words.
        paths
            As the cluster sees them; there may be none.
        """
        relation = self._create_relation()
        relation.read.data_source.format = "parquet"
        relation.read.data_source.schema = ", ".join(
            f"{quote_identifier(name)} {kind}" for name, kind in column_types.items()
        )
        relation.read.data_source.paths.extend(paths)
        return relation

    def create_row_relation(self, rows: pa.Table) -> Relation:
        """Make a relation of rows in memory; many of them are sent once, before the query."""
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
        return self._cache_rows(relation)

    def _cache_rows(self, relation: Relation) -> Relation:
        """Send rows to the server, by their checksum."""
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
        """Cut an artifact into messages."""
        for begin in range(0, len(data), CHUNK_BYTES):
            request = self._build_request("AddArtifactsRequest")
            if not begin:
                first_chunk = request.begin_chunk
                first_chunk.name = artifact_name
                first_chunk.total_bytes = len(data)
                first_chunk.num_chunks = -(-len(data) // CHUNK_BYTES)
            if begin:
                chunk = request.chunk
            else:
                chunk = request.begin_chunk.initial_chunk
            chunk.data = data[begin : begin + CHUNK_BYTES]
            chunk.crc = zlib.crc32(chunk.data)
            yield request

    def create_sql_relation(self, sql: str, arguments: Mapping[str, object], views: Mapping[str, Relation]) -> Relation:
        """Make a relation of SQL, over others by their names.

        Spark makes them views of the session while it plans, with no thought of another query that has the same names
        and is planned at the same time: it would read the other's rows, or find none. So each has names of its own,
        where there is `QUERY_NAME_MARK`.
        """
        name_suffix = f"_{next(_QUERY_NUMBERS)}"
        sql = sql.replace(QUERY_NAME_MARK, name_suffix)
        views = {name.replace(QUERY_NAME_MARK, name_suffix): view for name, view in views.items()}
        sql_relation = self._create_relation()
        sql_relation.sql.query = sql
        for name, value in arguments.items():
            literal = sql_relation.sql.named_arguments[name].literal
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
        if not views:
            return sql_relation
        relation_with_views = self._create_relation()
        relation_with_views.with_relations.root.CopyFrom(sql_relation)
        for name, view in views.items():
            named_view = self._create_relation()
            named_view.subquery_alias.alias = name
            named_view.subquery_alias.input.CopyFrom(view)
            relation_with_views.with_relations.references.append(named_view)
        return relation_with_views

    def limit_relation(self, relation: Relation, row_limit: int) -> Relation:
        """Make a relation of the first rows of another."""
        limited_relation = self._create_relation()
        limited_relation.limit.input.CopyFrom(relation)
        limited_relation.limit.limit = row_limit
        return limited_relation


def check_server_version(version: str, server_name: str) -> None:
    """Refuse a server of another version.

    Raises
    ------
    StorageError
        It is another than Spark 4.
    """
    if version.split(".", maxsplit=1)[0] != SUPPORTED_MAJOR_VERSION:
        raise StorageError(
            f"the server at {server_name} is {SERVER_NAME} {version}, and {SUPPORTED_MAJOR_VERSION} is wanted",
            remedy=f"install {SERVER_NAME} {SUPPORTED_MAJOR_VERSION} there, or name another server (spark in [hats])",
        )


def _open_channel(url: str, server_name: str) -> tuple[Any, list[tuple[str, str]]]:
    """Open a channel to ``sc://host:port/;token=..;use_ssl=true``, and make what goes with each call.

    A token goes through TLS, but for this machine.
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
    if token:
        headers = [("authorization", f"Bearer {token}")]
    else:
        headers = []
    if url_options.get("use_ssl", "").lower() == "true" or (token and not is_local):
        return grpc.secure_channel(server_name, grpc.ssl_channel_credentials(), options), headers
    return grpc.insecure_channel(server_name, options), headers


class ResponseStream:
    """The messages of an answer, each once, in whatever parts the server gives them.

    A server ends its parts after some time, and forgets what nobody has asked for since: it cannot tell who reads
    slowly from who has died.

    Parameters
    ----------
    start_stream
        Asks for the first part.
    reattach_stream
        Asks for the next one, after the message with this name; empty: from the first.
    """

    def __init__(self, start_stream: Callable[[], Any], reattach_stream: Callable[[str], Any]) -> None:
        self._start_stream = start_stream
        self._reattach_stream = reattach_stream
        self._current_part: Any = None
        self._previous_part: Any = None  # the part before, if the next one was asked for early
        self._last_response_id = ""
        self._request_time = 0.0

    def __iter__(self) -> ResponseStream:
        return self

    def __next__(self) -> Any:
        if self._current_part is None:
            self._current_part = self._start_stream()
            self._request_time = time.monotonic()
        while True:
            try:
                response = next(self._current_part)
            except StopIteration:
                if (
                    time.monotonic() < self._request_time + RETRY_DELAY_SECONDS
                ):  # one that ends its parts at once is not asked without a pause
                    time.sleep(RETRY_DELAY_SECONDS)
                self._current_part = self._reattach_stream(self._last_response_id)
                self._request_time = time.monotonic()
                continue
            except Exception as error:
                if self._previous_part is None or not error_translation.is_operation_lost(error):
                    raise
                # all of the answer has been sent, and is here
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
        """Have the server keep what nobody reads for the moment."""
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


class ClusterAnswer:
    """The messages of an answer, as they come.

    A thread reads them: who waits for the next one can leave at once, while the server is told to stop and says that it
    has. A call that is cancelled instead would hide that, and be kept there as abandoned.

    Parameters
    ----------
    response_stream
        The messages.
    on_abandoned
        Called when somebody leaves before the end.
    on_ended
        Called when the server has ended it, with whether somebody had left.
    """

    def __init__(
        self, response_stream: ResponseStream, *, on_abandoned: Callable[[], object], on_ended: Callable[[bool], object]
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
        except BaseException as error:  # noqa: BLE001  (of whoever asks)
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
        """Give the messages; none any more once somebody left."""
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
        """Want no more of it."""
        with self._changed:
            is_first_call = not self._is_complete and not self._is_abandoned
            self._is_abandoned = True
            self._waiting_messages.clear()
            self._changed.notify_all()
        if is_first_call:
            self._on_abandoned()


def iterate_batches(answer: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    """Read the batches of an answer as they come."""
    for response in answer:
        if response.HasField("arrow_batch"):
            with pa.ipc.open_stream(response.arrow_batch.data) as reader:
                yield from reader


__all__ = ["ClusterAnswer", "ResponseStream", "SparkConnectSession", "iterate_batches", "load_protocol"]
