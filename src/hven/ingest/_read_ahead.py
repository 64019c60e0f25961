"""Reading ahead in a thread of its own, so that reading, mapping and writing overlap.

A few batches wait, never more.
"""

from __future__ import annotations

import gc
import queue
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
QUEUE_LENGTH = 2
GC_OBJECT_THRESHOLD = (
    150_000  # containers that are made before the collector looks: more than the rows of the batches under way
)


class ReadAhead(Generic[T]):
    """An iterator that another thread runs ahead of its reader. Close it."""

    def __init__(self, source: Iterator[T], size: int = QUEUE_LENGTH) -> None:
        self._queue: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(size)
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(source,), name="reading", daemon=True)
        self._thread.start()

    def _run(self, source: Iterator[T]) -> None:
        failure: BaseException | None = None
        try:
            with _GC_THROTTLE():
                for item in source:
                    if not self._enqueue((item, None)):
                        break
        except BaseException as error:  # noqa: BLE001  (raised again in the reader's thread)
            failure = error
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()
        self._enqueue((None, failure))

    def _enqueue(self, pair: tuple[T | None, BaseException | None]) -> bool:
        while not self._stop_event.is_set():
            try:
                self._queue.put(pair, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[T]:
        while True:
            item, failure = self._queue.get()
            if failure is not None:
                raise failure
            if item is None:
                return
            yield item

    def close(self) -> None:
        """Stop reading and wait for the thread."""
        self._stop_event.set()
        self._thread.join()


class _GcThrottle:
    """While anybody reads, Python's collector looks for cycles less often.

    Rows of a database are tuples, which it would count again and again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._usual_thresholds = gc.get_threshold()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Count one reader more until the block ends."""
        with self._lock:
            if not self._readers:
                self._usual_thresholds = gc.get_threshold()
                gc.set_threshold(max(GC_OBJECT_THRESHOLD, self._usual_thresholds[0]), *self._usual_thresholds[1:])
            self._readers += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
                if not self._readers:
                    gc.set_threshold(*self._usual_thresholds)


_GC_THROTTLE = _GcThrottle()


class WriteBehind(Generic[T]):
    """Calls a function with each item, in order, in a thread of its own.

    `wait_until_done` it, or `close` it to give up.
    """

    def __init__(self, consume: Callable[[T], None], size: int = QUEUE_LENGTH) -> None:
        self._consume = consume
        self._queue: queue.Queue[T | None] = queue.Queue(size)
        self._failure: BaseException | None = None
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writing", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if self._failure is not None or self._stop_event.is_set():
                continue  # go on emptying the queue, so that nobody waits for it for ever
            try:
                self._consume(item)
            except BaseException as error:  # noqa: BLE001  (raised again in the giver's thread)
                self._failure = error

    def enqueue(self, item: T) -> None:
        """Hand over an item; raises what an earlier one caused."""
        if self._failure is not None:
            raise self._failure
        self._queue.put(item)

    def wait_until_done(self) -> None:
        """Wait until everything is taken; raises what went wrong."""
        self._queue.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop: what waits is forgotten."""
        self._stop_event.set()
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
