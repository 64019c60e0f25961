"""`Sizes`: how large products are that lie behind http addresses, as their servers say (HEAD), without fetching them."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import HvenError
from hven.sources import remote

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = 8  # requests
SECONDS = 15.0  # for one answer
ENOUGH = 20  # failures to reach a host, without a success, after which it is left in peace
REMEMBERED = 1_000_000  # addresses
_ADDRESS = r"(?i)^https?://"


class Sizes:
    """Asks each address once, whatever number of rows name it.

    Attributes
    ----------
    failed
        Why there is no size -> how many addresses.
    first
        Why there is no size -> the first address.
    """

    def __init__(self, *, allow_private: bool = False) -> None:
        self.allow_private = allow_private
        self.failed: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self._known: dict[str, int | None] = {}
        self._away: Counter[str] = Counter()  # hosts that could not be reached, in a row
        self._lock = threading.Lock()

    def __call__(self, addresses: pa.Array) -> pa.Array:
        """Return bytes (int64); null where there is no http address, or no size behind it."""
        texts = addresses.cast(pa.string())
        wanted = pc.match_substring_regex(texts, _ADDRESS)
        if not pc.any(wanted).as_py():
            return pa.nulls(len(texts), pa.int64())
        encoded = pc.if_else(wanted, texts, pa.scalar(None, pa.string())).dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        if len(self._known) > REMEMBERED:
            self._known.clear()
        unknown = [text for text in distinct if text not in self._known]
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            self._known.update(zip(unknown, pool.map(self._ask, unknown), strict=True))
        return pa.array([self._known[text] for text in distinct], pa.int64()).take(encoded.indices)

    def told(self) -> Iterator[tuple[str, int, str]]:
        """Yield why addresses gave no size, how many, and the first of them."""
        for why, count in self.failed.most_common():
            yield why, count, self.first[why]

    def _ask(self, url: str) -> int | None:
        found = self._size(url, url.split("/", 3)[2].lower())
        if isinstance(found, int):
            return found
        with self._lock:
            self.failed[found] += 1
            self.first.setdefault(found, url)
        return None

    def _size(self, url: str, host: str) -> int | str:
        """Return the size, or why there is none."""
        if self._away[host] >= ENOUGH:
            return f"{host} was not asked any more"
        try:
            with remote.stream(
                "HEAD", url, headers={"Accept-Encoding": "identity"}, seconds=SECONDS, allow_private=self.allow_private
            ) as answer:
                status, headers = answer.status, answer.headers
        except remote.Unreachable:
            with self._lock:
                self._away[host] += 1
            return f"{host} does not answer"
        except remote.Private:
            return f"{host} is not on the public internet (allow_private in hven.toml lets it through)"
        except HvenError as error:
            return error.message.replace(url, host)
        with self._lock:
            self._away[host] = 0
        if status != 200:
            return f"{host} answers {status}"
        length = headers.get("content-length", "")
        return int(length) if length.isdigit() and "content-encoding" not in headers else f"{host} says no size"
