"""Ask servers (HEAD) how large the products behind http addresses are, without fetching them."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import HvenError
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CONCURRENT_REQUESTS = 8  # requests
REQUEST_TIMEOUT_SECONDS = 15.0  # for one answer
MAX_HOST_FAILURES = 20  # failures to reach a host, without a success, after which it is left in peace
MAX_CACHED_ADDRESSES = 1_000_000  # addresses
_WEB_ADDRESS_PATTERN = r"(?i)^https?://"


class RemoteSizeReader:
    """Asks each address once, whatever number of rows name it.

    Attributes
    ----------
    failure_counts
        Why there is no size -> how many addresses.
    first_failed_addresses
        Why there is no size -> the first address.
    """

    def __init__(self, *, allow_private: bool = False) -> None:
        self.allow_private = allow_private
        self.failure_counts: Counter[str] = Counter()
        self.first_failed_addresses: dict[str, str] = {}
        self._sizes_by_address: dict[str, int | None] = {}
        self._host_failures: Counter[str] = Counter()  # hosts that could not be reached, in a row
        self._lock = threading.Lock()

    def __call__(self, addresses: pa.Array) -> pa.Array:
        """Return bytes (int64); null where there is no http address, or no size behind it."""
        texts = addresses.cast(pa.string())
        is_web_address = pc.match_substring_regex(texts, _WEB_ADDRESS_PATTERN)
        if not pc.any(is_web_address).as_py():
            return pa.nulls(len(texts), pa.int64())
        encoded = pc.if_else(is_web_address, texts, pa.scalar(None, pa.string())).dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        if len(self._sizes_by_address) > MAX_CACHED_ADDRESSES:
            self._sizes_by_address.clear()
        unknown = [text for text in distinct if text not in self._sizes_by_address]
        with ThreadPoolExecutor(max_workers=MAX_CONCURRENT_REQUESTS) as pool:
            self._sizes_by_address.update(zip(unknown, pool.map(self._request_size, unknown), strict=True))
        return pa.array([self._sizes_by_address[text] for text in distinct], pa.int64()).take(encoded.indices)

    def iterate_failures(self) -> Iterator[tuple[str, int, str]]:
        """Yield why addresses gave no size, how many, and the first of them."""
        for reason, count in self.failure_counts.most_common():
            yield reason, count, self.first_failed_addresses[reason]

    def _request_size(self, url: str) -> int | None:
        size_or_reason = self._read_size(url, url.split("/", 3)[2].lower())
        if isinstance(size_or_reason, int):
            return size_or_reason
        with self._lock:
            self.failure_counts[size_or_reason] += 1
            self.first_failed_addresses.setdefault(size_or_reason, url)
        return None

    # each reason why a size is unknown has its return
    def _read_size(self, url: str, host: str) -> int | str:  # noqa: PLR0911
        """Return the size, or why there is none."""
        if self._host_failures[host] >= MAX_HOST_FAILURES:
            return f"{host} was not asked any more"
        try:
            with http_client.stream_answer(
                "HEAD",
                url,
                headers={"Accept-Encoding": "identity"},
                timeout_seconds=REQUEST_TIMEOUT_SECONDS,
                allow_private=self.allow_private,
            ) as answer:
                status = answer.status
                headers = answer.headers
        except http_client.UnreachableError:
            with self._lock:
                self._host_failures[host] += 1
            return f"{host} does not answer"
        except http_client.PrivateAddressError:
            return f"{host} is not on the public internet (allow_private in hven.toml lets it through)"
        except HvenError as error:
            return error.message.replace(url, host)
        with self._lock:
            self._host_failures[host] = 0
        if status != 200:
            return f"{host} answers {status}"
        length = headers.get("content-length", "")
        if length.isdigit() and "content-encoding" not in headers:
            return int(length)
        return f"{host} says no size"
