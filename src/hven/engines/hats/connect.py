"""Spark Connect, as far as it is needed: relations as its messages, and a session of ours on a server. The package `pyspark` is loaded with the first one.

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

from hven.engines.hats import faults
from hven.engines.hats.matches import MARK
from hven.engines.hats.servers import MAJOR, NAME, quoted
from hven.engines.hats.spark_functions import TYPES, call_of
from hven.model import show_pandas
from hven.model.errors import HvenError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hven.engines._clock import Watch

    Relation = Any  # a message of the protocol

WAIT = 2.0  # seconds until a server is taken for gone
OPEN = 60.0  # seconds that one may take to begin a session: the first one loads much
PIECE = 1 << 20  # bytes of a message, where many are sent
AGAIN, TOLD = 0.1, 50  # seconds until a server is told again to stop a query, and how often
# seconds between the times at which jobs of a stopped query are stopped
SWEEPS = (*(0.1,) * 10, *(0.25,) * 8, *(1.0,) * 3, *(2.0,) * 6, *(4.0,) * 3)
AHEAD = 2  # messages of an answer that wait here
LOOKAHEAD = 512 << 10  # bytes of it that are on their way: a server repeats no more than the last 10 MB
KEEP = 2.0  # seconds after which a server is told that somebody still wants an answer that nobody reads on
STOPPED = "stopped by hven"  # it is no SQL
USER = "hven"
LARGE = 1 << 20  # bytes of rows that are sent once, before the query
_OWN = itertools.count(1)  # queries of this process, whose sessions are its own
_ARROW_UDF = 250  # SQL_SCALAR_ARROW_UDF
_SETTINGS = {
    "spark.sql.ansi.enabled": "true",  # overflow and bad casts are errors
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",  # "Name" and "name" are two columns
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",  # 10,000 names are looked at in 1 s, by a job of their own in 37 s
    "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
}


@contextlib.contextmanager
def _begun() -> Iterator[None]:
    """Give the main module a file for as long as the client is loaded: without one (``python -c``, workers of other programs) it takes itself for tested, and ends the process."""
    main = sys.modules["__main__"]
    bare = "__file__" not in vars(main)
    if bare:
        main.__file__ = "-c"
    try:
        yield
    finally:
        if bare:
            del main.__file__


def load() -> Any:
    """Load the protocol.

    Raises
    ------
    UsageError
        The package is not installed.
    """
    show_pandas()  # the client needs it
    try:
        with warnings.catch_warnings(), _begun():
            warnings.simplefilter("ignore")  # it is not sure of pandas 3, which is not asked here
            import pyspark.sql.connect.proto as messages  # noqa: PLC0415  (a second to load, wanted by few)
            import pyspark.sql.connect.proto.base_pb2_grpc  # noqa: PLC0415
            import pyspark.sql.types  # noqa: F401, PLC0415
    except ImportError as error:
        raise UsageError(
            f"the client of Apache Spark cannot be loaded: {error}", remedy="pip install 'hven[spark]'"
        ) from None
    return messages


class Session:
    """A session on a server, with our settings and functions. Thread-safe.

    Parameters
    ----------
    url
        ``sc://host:port/;token=..``.

    Raises
    ------
    HvenError
        Nobody answers within `WAIT`, it refuses, or is of another version.
    """

    def __init__(self, url: str, where: str) -> None:
        self.messages = load()
        import grpc  # noqa: PLC0415  (with the client)
        from pyspark.sql.connect.proto import base_pb2_grpc  # noqa: PLC0415

        self.where = where
        self._channel, self._metadata = _channel(url, where)
        self._stub = base_pb2_grpc.SparkConnectServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._id = str(uuid.uuid4())
        self._server = ""  # its own name of the session: another one if the server began anew
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._sent: set[str] = set()
        self._numbers = itertools.count(1)
        self.errors: tuple[type[Exception], ...] = (grpc.RpcError, ConnectionError)
        try:
            self.reach()
            self._set(_SETTINGS)
            self.version = self._version()
            check_version(self.version, where)
        except self.errors as error:
            self.close()
            raise faults.translate(error, where=where) from error
        except HvenError:
            self.close()
            raise

    def reach(self) -> None:
        """Wait until the server can be reached, for `WAIT` at most."""
        import grpc  # noqa: PLC0415

        try:
            grpc.channel_ready_future(self._channel).result(timeout=WAIT)
        except grpc.FutureTimeoutError:
            raise ConnectionError("nobody answers") from None

    def answers(self) -> None:
        """Ask for a sign of life, for `WAIT` at most.

        Raises
        ------
        HvenError
            There is none.
        """
        request = self._headed("ConfigRequest")
        request.operation.get.keys.append("spark.sql.ansi.enabled")
        try:
            self._stub.Config(request, metadata=self._metadata, timeout=WAIT)
        except self.errors as error:
            if not faults.lost(error):  # it began anew, and the next query will
                raise faults.translate(error, where=self.where) from error

    # --- messages

    def _headed(self, kind: str) -> Any:
        request = getattr(self.messages, kind)(session_id=self._id, client_type="hven")
        request.user_context.user_id = USER
        if self._server and kind != "ReleaseSessionRequest":
            request.client_observed_server_side_session_id = self._server
        return request

    def _set(self, settings: Mapping[str, str]) -> None:
        request = self._headed("ConfigRequest")
        for key, value in settings.items():
            request.operation.set.pairs.add(key=key, value=value)
        self._server = self._stub.Config(request, metadata=self._metadata, timeout=OPEN).server_side_session_id

    def _version(self) -> str:
        """Ask for the version by SQL: the protocol's own answer is that of Spark from whoever speaks it."""
        request = self._headed("ExecutePlanRequest")
        request.plan.root.CopyFrom(self.sql("SELECT version() AS v", {}, {}))
        answer = self._stub.ExecutePlan(request, metadata=self._metadata, timeout=OPEN)
        return str(pa.Table.from_batches(batches(answer)).column(0)[0]).split()[0]

    def schema(self, relation: Relation) -> None:
        """Have a relation looked at, and nothing computed."""
        request = self._headed("AnalyzePlanRequest")
        request.schema.plan.root.CopyFrom(relation)
        self._stub.AnalyzePlan(request, metadata=self._metadata, timeout=OPEN)

    def ask(self, relation: Relation, watch: Watch | None = None) -> Answer:
        """Ask for rows. Who leaves the answer before its end has it stopped in the cluster, if there is a `watch`; nobody waits for that."""
        operation = str(uuid.uuid4())

        def left() -> None:
            if watch is not None:
                self._interrupt(operation, watch)

        def ended(stopped: bool) -> None:
            self._release(operation, lambda: self._sweep(operation, watch) if stopped and watch is not None else None)

        pieces = Pieces(lambda: self._execute(operation, relation), lambda last: self._reattach(operation, last))
        return Answer(pieces, left=left, ended=ended)

    def _execute(self, operation: str, relation: Relation) -> Any:
        request = self._headed("ExecutePlanRequest")
        request.operation_id = operation
        # so that it can be released: others stay with the server until they count as abandoned, and nobody can stop their jobs then
        request.request_options.add().reattach_options.reattachable = True
        request.plan.root.CopyFrom(relation)
        return self._stub.ExecutePlan(request, metadata=self._metadata)

    def _reattach(self, operation: str, last: str) -> Any:
        request = self._headed("ReattachExecuteRequest")
        request.operation_id = operation
        if last:
            request.last_response_id = last
        return self._stub.ReattachExecute(request, metadata=self._metadata)

    def _release(self, operation: str, then: Callable[[], object]) -> None:
        """Have the server forget an operation that has ended."""
        request = self._headed("ReleaseExecuteRequest")
        request.operation_id = operation
        request.release_all.SetInParent()
        with contextlib.suppress(ValueError):  # the channel is closed, and with it all that was asked
            done = self._stub.ReleaseExecute.future(request, metadata=self._metadata, timeout=OPEN)
            done.add_done_callback(lambda _: then())

    def _interrupt(self, operation: str, watch: Watch, left: int = TOLD) -> None:
        """Stop an operation. The server may not know of it yet: it is told again."""

        def told(answer: Any) -> None:
            if left and answer.exception() is None and not answer.result().interrupted_ids:
                watch.at(time.monotonic() + AGAIN, lambda: self._interrupt(operation, watch, left - 1))

        request = self._headed("InterruptRequest")
        request.interrupt_type = request.INTERRUPT_TYPE_OPERATION_ID
        request.operation_id = operation
        with contextlib.suppress(ValueError):  # the channel is closed, and with it all that was asked
            self._stub.Interrupt.future(request, metadata=self._metadata, timeout=OPEN).add_done_callback(told)

    def _sweep(self, operation: str, watch: Watch, pauses: Sequence[float] = SWEEPS) -> None:
        """Stop jobs that an operation began after it was stopped.

        Spark stops the thread of an operation and the jobs that it has by then. Other threads that plan parts of the same query go on, and
        begin jobs that nobody knows of any more. They bear the operation's name, and the server stops all jobs of a name when an operation
        fails: so one of the same name is asked for that is no SQL.
        """
        relation = self._relation()
        relation.sql.query = STOPPED

        def again() -> None:
            if pauses:
                watch.at(time.monotonic() + pauses[0], lambda: self._sweep(operation, watch, pauses[1:]))

        with contextlib.suppress(ValueError):
            call = self._execute(operation, relation)
            call.add_done_callback(lambda _=call: self._release(operation, again))  # held: else it is cancelled

    def define(self, names: Sequence[str]) -> None:
        """Define functions of ours that are not known yet."""
        with self._lock:
            for name in names:
                if name not in self._known:
                    self.register(name, call_of(name), TYPES[name][1])
                    self._known.add(name)

    def register(self, name: str, function: Callable[..., pa.Array], result: str) -> None:
        """Define one function: an Arrow UDF, which is sent by value."""
        from pyspark import cloudpickle  # noqa: PLC0415
        from pyspark.sql import types  # noqa: PLC0415

        names = {"BOOLEAN": ("boolean", types.BooleanType), "DOUBLE": ("double", types.DoubleType), "BIGINT": ("long", types.LongType), "VARCHAR": ("string", types.StringType)}  # fmt: skip
        word, scalar = names[result.removesuffix("[]")]
        kind = types.ArrayType(scalar()) if result.endswith("[]") else scalar()
        request = self._headed("ExecutePlanRequest")
        made = request.plan.command.register_function
        made.function_name, made.deterministic = name, True
        made.python_udf.eval_type = _ARROW_UDF
        made.python_udf.python_ver = ".".join(map(str, sys.version_info[:2]))
        made.python_udf.command = cloudpickle.dumps((function, kind))  # type: ignore[no-untyped-call]
        told = made.python_udf.output_type
        if result.endswith("[]"):
            told.array.contains_null = True
            told = told.array.element_type
        getattr(told, word).SetInParent()
        list(self._stub.ExecutePlan(request, metadata=self._metadata, timeout=OPEN))

    def close(self) -> None:
        """Leave the session, and the server."""
        request = self._headed("ReleaseSessionRequest") if self._server else None
        if request is not None:
            leaving = self._stub.ReleaseSession.future(request, metadata=self._metadata, timeout=WAIT)
            leaving.add_done_callback(lambda _: self._channel.close())
        else:
            self._channel.close()

    # --- relations

    def _relation(self) -> Relation:
        """Make a relation that has a number: what others name must have one."""
        made = self.messages.Relation()
        made.common.plan_id = next(self._numbers)
        return made

    def files(self, columns: Mapping[str, str], paths: Sequence[str]) -> Relation:
        """Make a relation of Parquet files: with their columns and types Spark looks into no footer before it reads.

        Parameters
        ----------
        columns
            Name -> type in Spark's words.
        paths
            As the cluster sees them; there may be none.
        """
        made = self._relation()
        made.read.data_source.format = "parquet"
        made.read.data_source.schema = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
        made.read.data_source.paths.extend(paths)
        return made

    def rows(self, rows: pa.Table) -> Relation:
        """Make a relation of rows in memory; many of them are sent once, before the query."""
        made = self._relation()
        if not rows.num_columns:
            made.range.end, made.range.step = rows.num_rows, 1
            return made
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            for batch in rows.to_batches():
                writer.write_batch(batch)
        made.local_relation.data = sink.getvalue().to_pybytes()
        return made if len(made.local_relation.data) < LARGE else self._kept(made)

    def _kept(self, relation: Relation) -> Relation:
        """Send rows to the server, by their checksum."""
        data = relation.local_relation.SerializeToString()
        name = hashlib.sha256(data).hexdigest()
        with self._lock:
            if name not in self._sent:
                self._stub.AddArtifacts(self._pieces(f"cache/{name}", data), metadata=self._metadata)
                self._sent.add(name)
        made = self._relation()
        made.cached_local_relation.hash = name
        return made

    def _pieces(self, name: str, data: bytes) -> Iterator[Any]:
        """Cut an artifact into messages."""
        for begin in range(0, len(data), PIECE):
            request = self._headed("AddArtifactsRequest")
            if not begin:
                first = request.begin_chunk
                first.name, first.total_bytes, first.num_chunks = name, len(data), -(-len(data) // PIECE)
            chunk = request.chunk if begin else request.begin_chunk.initial_chunk
            chunk.data = data[begin : begin + PIECE]
            chunk.crc = zlib.crc32(chunk.data)
            yield request

    def sql(self, text: str, arguments: Mapping[str, object], views: Mapping[str, Relation]) -> Relation:
        """Make a relation of SQL, over others by their names.

        Spark makes them views of the session while it plans, with no thought of another query that has the same names and is planned at
        the same time: it would read the other's rows, or find none. So each has names of its own, where there is `MARK`.
        """
        own = f"_{next(_OWN)}"
        text = text.replace(MARK, own)
        views = {name.replace(MARK, own): view for name, view in views.items()}
        made = self._relation()
        made.sql.query = text
        for name, value in arguments.items():
            literal = made.sql.named_arguments[name].literal
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
            return made
        whole = self._relation()
        whole.with_relations.root.CopyFrom(made)
        for name, view in views.items():
            named = self._relation()
            named.subquery_alias.alias = name
            named.subquery_alias.input.CopyFrom(view)
            whole.with_relations.references.append(named)
        return whole

    def limited(self, relation: Relation, rows: int) -> Relation:
        """Make a relation of the first rows of another."""
        made = self._relation()
        made.limit.input.CopyFrom(relation)
        made.limit.limit = rows
        return made


def check_version(version: str, where: str) -> None:
    """Refuse a server of another version.

    Raises
    ------
    StorageError
        It is another than Spark 4.
    """
    if version.split(".", maxsplit=1)[0] != MAJOR:
        raise StorageError(
            f"the server at {where} is {NAME} {version}, and {MAJOR} is wanted",
            remedy=f"install {NAME} {MAJOR} there, or name another server (spark in [hats])",
        )


def _channel(url: str, where: str) -> tuple[Any, list[tuple[str, str]]]:
    """Open a channel to ``sc://host:port/;token=..;use_ssl=true``, and make what goes with each call; a token goes through TLS, but for this machine."""
    import grpc  # noqa: PLC0415  (with the client)

    said = dict(part.partition("=")[::2] for part in url.split(";")[1:])
    token = said.get("token", "")
    options = [
        ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0),
        ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", LOOKAHEAD),
        ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", int(WAIT * 1000)), ("grpc.max_reconnect_backoff_ms", 1000),
    ]  # fmt: skip
    here = where.rpartition(":")[0] in {"localhost", "127.0.0.1", "[::1]"}
    headers = [("authorization", f"Bearer {token}")] if token else []
    if said.get("use_ssl", "").lower() == "true" or (token and not here):
        return grpc.secure_channel(where, grpc.ssl_channel_credentials(), options), headers
    return grpc.insecure_channel(where, options), headers


class Pieces:
    """The messages of an answer, each once, in whatever parts the server gives them.

    A server ends its parts after some time, and forgets what nobody has asked for since: it cannot tell who reads slowly from who has died.

    Parameters
    ----------
    begin
        Asks for the first part.
    again
        Asks for the next one, after the message with this name; empty: from the first.
    """

    def __init__(self, begin: Callable[[], Any], again: Callable[[str], Any]) -> None:
        self._begin, self._again = begin, again
        self._part: Any = None
        self._before: Any = None  # the part before, if the next one was asked for early
        self._last = ""
        self._asked = 0.0

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> Any:
        if self._part is None:
            self._part, self._asked = self._begin(), time.monotonic()
        while True:
            try:
                response = next(self._part)
            except StopIteration:
                if (
                    time.monotonic() < self._asked + AGAIN
                ):  # one that ends its parts at once is not asked without a pause
                    time.sleep(AGAIN)
                self._part, self._asked = self._again(self._last), time.monotonic()
                continue
            except Exception as error:
                if self._before is None or not faults.forgotten(error):
                    raise
                self._part, self._before = self._before, None  # all of the answer has been sent, and is here
                continue
            if self._before is not None:
                self._before.cancel()
                self._before = None
            if response.HasField("result_complete"):
                raise StopIteration
            self._last = response.response_id
            return response

    def keep(self) -> None:
        """Have the server keep what nobody reads for the moment."""
        if self._part is None or time.monotonic() < self._asked + KEEP:
            return
        with contextlib.suppress(ValueError):  # the channel is closed
            part, self._asked = self._again(self._last), time.monotonic()
            if self._before is None:
                self._before = self._part
            else:
                self._part.cancel()
            self._part = part


class Answer:
    """The messages of an answer, as they come.

    A thread reads them: who waits for the next one can leave at once, while the server is told to stop and says that it has. A call that
    is cancelled instead would hide that, and be kept there as abandoned.

    Parameters
    ----------
    pieces
        The messages.
    left
        Called when somebody leaves before the end.
    ended
        Called when the server has ended it, with whether somebody had left.
    """

    def __init__(self, pieces: Pieces, *, left: Callable[[], object], ended: Callable[[bool], object]) -> None:
        self._pieces, self._left, self._ended = pieces, left, ended
        self._waiting: deque[Any] = deque()
        self._turn = threading.Condition()
        self._over = self._gone = False
        threading.Thread(target=self._read, name="hven-cluster", daemon=True).start()

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            for response in self._pieces:
                self._put(response)
        except BaseException as error:  # noqa: BLE001  (of whoever asks)
            end = error
        with self._turn:
            self._over = True
            self._waiting.append(end)
            self._turn.notify_all()
            gone = self._gone
        self._ended(gone and end is not None)

    def _put(self, response: Any) -> None:
        with self._turn:
            while len(self._waiting) >= AHEAD and not self._gone:
                self._turn.wait(KEEP / 2)
                if not self._gone:
                    self._pieces.keep()
            if not self._gone:
                self._waiting.append(response)
                self._turn.notify_all()

    def __iter__(self) -> Iterator[Any]:
        """Give the messages; none any more once somebody left."""
        while True:
            with self._turn:
                while not self._waiting and not self._gone:
                    self._turn.wait()
                if self._gone:
                    return
                response = self._waiting.popleft()
                self._turn.notify_all()
            if response is None:
                return
            if isinstance(response, BaseException):
                raise response
            yield response

    def leave(self) -> None:
        """Want no more of it."""
        with self._turn:
            left = not self._over and not self._gone
            self._gone = True
            self._waiting.clear()
            self._turn.notify_all()
        if left:
            self._left()


def batches(answer: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    """Read the batches of an answer as they come."""
    for response in answer:
        if response.HasField("arrow_batch"):
            with pa.ipc.open_stream(response.arrow_batch.data) as reader:
                yield from reader


__all__ = ["Answer", "Pieces", "Session", "batches", "load"]
