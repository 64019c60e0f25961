"""Read ahead, and write behind, in other threads, so that reading, mapping and writing overlap.

The queues are short, so that only a few batches are in memory.
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
# new objects before Python's garbage collector runs: more than the rows of the batches in memory
GC_OBJECT_THRESHOLD = 150_000


class ReadAheadIterator(Generic[T]):
    """An iterator that another thread runs ahead of the consumer, who must close it."""

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
        except BaseException as error:  # noqa: BLE001  (raised again in the thread of the consumer)
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
        """Stop the reading, and wait for the thread."""
        self._stop_event.set()
        self._thread.join()


class _GcThrottle:
    """Run Python's garbage collector less often while any thread reads.

    Rows of a database are tuples, which the collector would visit again and again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._usual_thresholds = gc.get_threshold()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Count one more reader until the block ends."""
        with self._lock:
            if not self._readers:
                self._usual_thresholds = gc.get_threshold()
                first_threshold, *other_thresholds = self._usual_thresholds
                gc.set_threshold(max(GC_OBJECT_THRESHOLD, first_threshold), *other_thresholds)
            self._readers += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
                if not self._readers:
                    gc.set_threshold(*self._usual_thresholds)


_GC_THROTTLE = _GcThrottle()


class WriteBehindQueue(Generic[T]):
    """Call a function with each item, in order, in another thread.

    At the end, call `wait_until_done`, or `stop_and_discard_items` to give up.
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
                continue  # the queue must be emptied, or its producer would wait for ever
            try:
                self._consume(item)
            except BaseException as error:  # noqa: BLE001  (raised again in the thread of the producer)
                self._failure = error

    def enqueue(self, item: T) -> None:
        """Pass an item to the thread; raise the error of an earlier item."""
        if self._failure is not None:
            raise self._failure
        self._queue.put(item)

    def wait_until_done(self) -> None:
        """Wait until the function has received all items; raise its error."""
        self._queue.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def stop_and_discard_items(self) -> None:
        """Stop the thread, and discard the items that wait."""
        self._stop_event.set()
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
