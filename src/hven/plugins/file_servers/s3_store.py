"""Read files in buckets of S3 and compatible stores.

They are web servers with signed requests (AWS Signature Version 4) and lists.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, unquote_plus

from hven.model import split_address
from hven.model.errors import UpstreamError, UserError
from hven.plugins.file_servers.listed_files import select_files
from hven.plugins.file_servers.web_store import WebStore, build_refusal_error
from hven.sources.remote_stores import (
    OWNER_REMEDY,
    RemoteFileFacts,
    find_directory_before_wildcard,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

S3_OPTIONS = ("endpoint_url", "region", "key", "secret", "token", "anon")
FILES_PER_LIST_PAGE = 1000
MAX_LIST_PAGE_BYTES = 16 << 20
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_BUCKET_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")


class S3Store(WebStore):
    """A bucket, or the files of it whose names begin with a path.

    Parameters
    ----------
    options
        `endpoint_url` of a store that is not Amazon's, `region`, `key` and `secret` (`token`, too, if they are for a
        time); without these, or with `anon`, it is asked as everybody may. Nothing is taken from this machine's
        environment.
    """

    def __init__(
        self, address: str, options: Mapping[str, str], *, allow_private: bool, timeout_seconds: float
    ) -> None:
        strange = next((name for name in options if name not in S3_OPTIONS), None)
        if strange is not None:
            raise UserError(f"{strange!r} is not a valid S3 option", remedy=f"choose from {', '.join(S3_OPTIONS)}")
        parts = split_address(address)
        if not _BUCKET_PATTERN.fullmatch(parts.netloc):
            raise UserError("the address contains no valid bucket name", remedy="write s3://bucket or s3://bucket/path")
        self._region = options.get("region") or "us-east-1"
        base = options.get("endpoint_url", "").rstrip("/")
        if not base and "." not in parts.netloc:
            base = f"https://{parts.netloc}.s3.{self._region}.amazonaws.com"
        else:  # certificates have no names with further points
            base = f"{base or f'https://s3.{self._region}.amazonaws.com'}/{parts.netloc}"
        self._bucket = base
        self._prefix = f"{unquote(parts.path).strip('/')}/".lstrip("/")
        signs = "key" in options and options.get("anon", "").lower() not in {"true", "1", "yes"}
        self._keys = (options["key"], options.get("secret", ""), options.get("token")) if signs else None
        super().__init__(
            f"{base}/{quote(self._prefix)}", {}, allow_private=allow_private, timeout_seconds=timeout_seconds
        )

    def _sign_request(self, method: str, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Sign a request without a body."""
        if self._keys is None:
            return headers
        key, secret, token = self._keys
        parts = split_address(url)
        now = dt.datetime.now(dt.UTC)
        moment = now.strftime("%Y%m%dT%H%M%SZ")
        day = now.strftime("%Y%m%d")
        host = parts.netloc.removesuffix({"https": ":443", "http": ":80"}[parts.scheme])
        signed = {"host": host, "x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": moment}
        signed |= {"x-amz-security-token": token} if token else {}
        names = ";".join(signed)
        lines = [method, parts.path, parts.query, *(f"{name}:{value}" for name, value in signed.items()), "", names]
        scope = f"{day}/{self._region}/s3/aws4_request"
        asked = hashlib.sha256("\n".join([*lines, EMPTY_SHA256]).encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{asked}"
        signing_key = f"AWS4{secret}".encode()
        for word in (*scope.split("/"), text):
            signing_key = hmac.new(signing_key, word.encode(), "sha256").digest()
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signing_key.hex()}"
        )
        return {**headers, **{name: signed[name] for name in signed if name != "host"}, "Authorization": authorization}

    def list_files(
        self, patterns: Sequence[str], ignore_patterns: Sequence[str]
    ) -> Iterator[tuple[str, RemoteFileFacts]]:
        """List the files that patterns match, a thousand with each request."""
        facts_by_path: dict[str, RemoteFileFacts] = {}
        for below in {find_directory_before_wildcard(pattern) for pattern in patterns}:
            facts_by_path |= self._list_files_by_prefix(f"{self._prefix}{below}/" if below else self._prefix)
        yield from select_files(facts_by_path, patterns, ignore_patterns)

    def _list_files_by_prefix(self, prefix: str) -> Iterator[tuple[str, RemoteFileFacts]]:
        from lxml import etree  # noqa: PLC0415  (for those who list)

        continuation_token: str | None = ""
        while continuation_token is not None:
            query = {"encoding-type": "url", "list-type": "2", "max-keys": str(FILES_PER_LIST_PAGE), "prefix": prefix}
            query |= {"continuation-token": continuation_token} if continuation_token else {}
            query_text = "&".join(f"{name}={quote(query[name], safe='')}" for name in sorted(query))
            with self._request_url("GET", f"{self._bucket}/?{query_text}", {}) as answer:
                if answer.status != 200:
                    raise build_refusal_error(answer.status)
                body = bytearray()
                for part in answer.parts:
                    body += part
                    if len(body) > MAX_LIST_PAGE_BYTES:
                        raise UpstreamError("the server's list of files is too long", remedy=OWNER_REMEDY)
            parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
            try:
                page = etree.fromstring(bytes(body), parser)
            except etree.XMLSyntaxError as error:
                raise UpstreamError("the server's list of files is not an S3 list", remedy=OWNER_REMEDY) from error
            plain = unquote_plus if page.findtext("{*}EncodingType") == "url" else str
            for entry in page.iterfind("{*}Contents"):
                path = plain(entry.findtext("{*}Key") or "")
                if path.startswith(self._prefix) and not path.endswith("/"):  # which stands for a directory
                    yield path[len(self._prefix) :], _parse_file_entry(entry)
            continuation_token = page.findtext("{*}NextContinuationToken") or None

    def _build_redirect_error(self) -> UpstreamError:
        return UpstreamError(
            "the server redirects to another address, perhaps because the bucket is in a different region",
            remedy="set `region` to the region of the bucket",
        )


def _parse_file_entry(entry: object) -> RemoteFileFacts:
    """Read an entry of a list; times have whole seconds, as those of the file itself."""
    tags = ("Size", "LastModified", "ETag")
    size, moment, tag = (entry.findtext(f"{{*}}{name}") or "" for name in tags)  # type: ignore[attr-defined]
    try:
        modified = dt.datetime.fromisoformat(moment).astimezone(dt.UTC).replace(tzinfo=None, microsecond=0)
    except ValueError:
        modified = None
    return RemoteFileFacts(bytes=int(size) if size.isdigit() else None, modified=modified, tag=tag or None)
