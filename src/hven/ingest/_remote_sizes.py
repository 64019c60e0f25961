"""Read the sizes of the products behind http addresses with HEAD requests, without fetching the products."""

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

MAX_CONCURRENT_REQUESTS = 8
REQUEST_TIMEOUT_SECONDS = 15.0
MAX_HOST_FAILURES = 20  # after this number of failed connections without a success, a host is not asked again
MAX_CACHED_ADDRESSES = 1_000_000
_WEB_ADDRESS_PATTERN = r"(?i)^https?://"


class RemoteProductSizeReader:
    """Read the size of each address once, however many rows have it.

    Attributes
    ----------
    failure_counts
        Reason -> number of addresses without a size.
    first_failed_addresses
        Reason -> the first address without a size.
    """

    def __init__(self, *, allow_private: bool = False) -> None:
        self.allow_private = allow_private
        self.failure_counts: Counter[str] = Counter()
        self.first_failed_addresses: dict[str, str] = {}
        self._sizes_by_address: dict[str, int | None] = {}
        self._host_failures: Counter[str] = Counter()  # failed connections since the last success
        self._lock = threading.Lock()

    def __call__(self, addresses: pa.Array) -> pa.Array:
        """Return sizes in bytes (int64); null for other texts than http addresses, and for unknown sizes."""
        texts = addresses.cast(pa.string())
        is_web_address = pc.match_substring_regex(texts, _WEB_ADDRESS_PATTERN)
        if not pc.any(is_web_address).as_py():
            return pa.nulls(len(texts), pa.int64())
        web_addresses = pc.if_else(is_web_address, texts, pa.scalar(None, pa.string()))
        encoded = web_addresses.dictionary_encode()
        distinct_addresses = encoded.dictionary.to_pylist()
        if len(self._sizes_by_address) > MAX_CACHED_ADDRESSES:
            self._sizes_by_address.clear()
        new_addresses = [address for address in distinct_addresses if address not in self._sizes_by_address]
        with ThreadPoolExecutor(max_workers=MAX_CONCURRENT_REQUESTS) as pool:
            new_sizes = pool.map(self._request_size_or_record_failure, new_addresses)
            self._sizes_by_address.update(zip(new_addresses, new_sizes, strict=True))
        sizes = pa.array([self._sizes_by_address[address] for address in distinct_addresses], pa.int64())
        return sizes.take(encoded.indices)

    def iterate_failures(self) -> Iterator[tuple[str, int, str]]:
        """Yield each reason for missing sizes, the number of addresses, and the first of them."""
        for reason, count in self.failure_counts.most_common():
            yield reason, count, self.first_failed_addresses[reason]

    def _request_size_or_record_failure(self, url: str) -> int | None:
        host = url.split("/", 3)[2].lower()
        size_or_reason = self._request_size_or_reason(url, host)
        if isinstance(size_or_reason, int):
            return size_or_reason
        with self._lock:
            self.failure_counts[size_or_reason] += 1
            self.first_failed_addresses.setdefault(size_or_reason, url)
        return None

    # each reason why a size is unknown has its own return
    def _request_size_or_reason(self, url: str, host: str) -> int | str:  # noqa: PLR0911
        """Return the size, or the reason why it is unknown."""
        if self._host_failures[host] >= MAX_HOST_FAILURES:
            return f"{host} failed too often, so Hven sent it no more requests"
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
            return f"{host} does not respond"
        except http_client.PrivateAddressError:
            return f"{host} is not on the public internet; to permit this, set allow_private in hven.toml"
        except HvenError as error:
            return error.message.replace(url, host)
        with self._lock:
            self._host_failures[host] = 0
        if status != 200:
            return f"{host} returned status {status}"
        length = headers.get("content-length", "")
        if length.isdigit() and "content-encoding" not in headers:
            return int(length)
        return f"{host} did not state a size"
