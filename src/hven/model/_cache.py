"""A cache with a limit on its entries or on their bytes, which drops the least recently used entries."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")
MAX_ARGUMENT_LENGTH = 500  # characters of a text, numbers of a shape


class LruCache(Generic[Value]):
    """A map that forgets what was least recently used. Thread-safe.

    Parameters
    ----------
    byte_limit
        Bytes, about.
    max_value_bytes
        Bytes of one thing; what is larger is not kept. None: as many as the budget has.
    """

    def __init__(self, byte_limit: int, max_value_bytes: int | None = None) -> None:
        self._byte_limit = byte_limit
        self._max_value_bytes = byte_limit if max_value_bytes is None else max_value_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self.total_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: Hashable) -> Value | None:
        """Return what was kept under a key; it counts as used now.

        Parameters
        ----------
        key
            As it was kept.

        Returns
        -------
        made
            None if it was not kept, or is forgotten.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def store(self, key: Hashable, value: Value, size: int = 1) -> None:
        """Keep something; what was not used for longest is forgotten for it.

        Parameters
        ----------
        key
            What it is found by.
        value
            The thing; None cannot be kept.
        size
            Bytes, about; where things are counted, 1.
        """
        if size > self._max_value_bytes:
            return
        with self._lock:
            old_entry = self._entries.pop(key, None)
            self._entries[key] = value, size
            self.total_bytes += size - (old_entry[1] if old_entry is not None else 0)
            while self.total_bytes > self._byte_limit:
                self.total_bytes -= self._entries.popitem(last=False)[1][1]


class SingletonRegistry:
    """What rooms keep for a site in this process; each looks after its own."""

    def __init__(self) -> None:
        self._singletons: dict[Callable[..., Any], Any] = {}

    def get_or_create(self, factory: Callable[..., Value], *arguments: Any) -> Value:
        """Return what `kind(*given)` made at first.

        Parameters
        ----------
        factory
            A class or function; one thing is kept for each.
        arguments
            Its arguments, at the first call.

        Returns
        -------
        made
            The same object at each call.
        """
        singleton: Value | None = self._singletons.get(factory)
        return self._singletons.setdefault(factory, factory(*arguments)) if singleton is None else singleton


def cache_results(max_results: int) -> Callable[[Callable[Arguments, Value]], Callable[Arguments, Value]]:
    """Keep the results of a function of texts and tuples, as `functools.lru_cache` does.

    Those of long ones are made anew.

    Parameters
    ----------
    max_results
        Number of results that are kept.

    Returns
    -------
    decorator
        For the function.
    """

    def wrap_function(function: Callable[Arguments, Value]) -> Callable[Arguments, Value]:
        cached_function = lru_cache(max_results)(function)

        @wraps(function)
        def call_cached(*args: Arguments.args, **keywords: Arguments.kwargs) -> Value:
            for argument in args:
                if isinstance(argument, (str, tuple)) and len(argument) > MAX_ARGUMENT_LENGTH:
                    return function(*args, **keywords)
            return cached_function(*args, **keywords)  # type: ignore[arg-type]  # its own types know no names

        return call_cached

    return wrap_function
