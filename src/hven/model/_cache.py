"""The cache: a map of so many bytes, about (or things), that forgets what was least recently used."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Given = ParamSpec("Given")
Made = TypeVar("Made")
SHORT = 500  # characters of a text, numbers of a shape


class Cache(Generic[Made]):
    """A map that forgets what was least recently used. Thread-safe.

    Parameters
    ----------
    budget
        Bytes, about.
    largest
        Bytes of one thing; what is larger is not kept. None: as many as the budget has.
    """

    def __init__(self, budget: int, largest: int | None = None) -> None:
        self._budget = budget
        self._largest = budget if largest is None else largest
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Made, int]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Hashable) -> Made | None:
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
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def keep(self, key: Hashable, made: Made, size: int = 1) -> None:
        """Keep something; what was not used for longest is forgotten for it.

        Parameters
        ----------
        key
            What it is found by.
        made
            The thing; None cannot be kept.
        size
            Bytes, about; where things are counted, 1.
        """
        if size > self._largest:
            return
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = made, size
            self.bytes += size - (before[1] if before is not None else 0)
            while self.bytes > self._budget:
                self.bytes -= self._kept.popitem(last=False)[1][1]


class Keeping:
    """What rooms keep for a site in this process; each looks after its own."""

    def __init__(self) -> None:
        self._kept: dict[Callable[..., Any], Any] = {}

    def kept(self, kind: Callable[..., Made], *given: Any) -> Made:
        """Return what `kind(*given)` made at first.

        Parameters
        ----------
        kind
            A class or function; one thing is kept for each.
        given
            Its arguments, at the first call.

        Returns
        -------
        made
            The same object at each call.
        """
        found: Made | None = self._kept.get(kind)
        return self._kept.setdefault(kind, kind(*given)) if found is None else found


def cached(most: int) -> Callable[[Callable[Given, Made]], Callable[Given, Made]]:
    """Keep the results of a function of texts and tuples, as `functools.lru_cache` does; those of long ones are made anew.

    Parameters
    ----------
    most
        Number of results that are kept.

    Returns
    -------
    decorator
        For the function.
    """

    def wrap(call: Callable[Given, Made]) -> Callable[Given, Made]:
        remembered = lru_cache(most)(call)

        @wraps(call)
        def ask(*args: Given.args, **named: Given.kwargs) -> Made:
            for one in args:
                if isinstance(one, (str, tuple)) and len(one) > SHORT:
                    return call(*args, **named)
            return remembered(*args, **named)  # type: ignore[arg-type]  # its own types know no names

        return ask

    return wrap
