"""OAI-PMH 2.0 at ``/oai``: records for registries (Registry Interfaces 1.1), as VOResource and as Dublin Core."""

from __future__ import annotations

import hmac
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape, quoteattr

import anyio.to_thread
import orjson

from hven import services
from hven.formats.votable import replace_illegal_characters
from hven.model.errors import NotFoundError, ParamError
from hven.services import _vosi as vosi
from hven.services._registry_records import (
    EMAIL_PATTERN,
    RECORDS_PER_PAGE,
    REGISTRY_INTERFACE_NAMESPACE,
    PublishingRegistry,
    list_registry_capabilities,
    split_record,
)
from hven.services.errors import PLAIN_TEXT_ERRORS
from hven.services.face import Face, ServiceContext, create_route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from hven.model.resource import RegistryRecord

MANAGED_SET = "ivo_managed"
TOKEN_LIFETIME_SECONDS = 86_400  # seconds that a resumption token may be used
MAX_FORM_BYTES = 64 * 1024  # bytes of a form
FORM_MEDIA_TYPE = "application/x-www-form-urlencoded"
# verb -> arguments that it must have, and may have; a token stands alone
VERB_ARGUMENTS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "Identify": (frozenset(), frozenset()),
    "ListMetadataFormats": (frozenset(), frozenset({"identifier"})),
    "ListSets": (frozenset(), frozenset({"resumptionToken"})),
    "GetRecord": (frozenset({"identifier", "metadataPrefix"}), frozenset()),
    "ListIdentifiers": (frozenset({"metadataPrefix"}), frozenset({"from", "until", "set", "resumptionToken"})),
    "ListRecords": (frozenset({"metadataPrefix"}), frozenset({"from", "until", "set", "resumptionToken"})),
}
OAI_DC_NAMESPACE = "http://www.openarchives.org/OAI/2.0/oai_dc/"
# prefix -> namespace, schema
METADATA_FORMATS = {
    "ivo_vor": (REGISTRY_INTERFACE_NAMESPACE, REGISTRY_INTERFACE_NAMESPACE),
    "oai_dc": (OAI_DC_NAMESPACE, "http://www.openarchives.org/OAI/2.0/oai_dc.xsd"),
}
DOCUMENT_OPENING = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xsi:schemaLocation="http://www.openarchives.org/OAI/2.0/ http://www.openarchives.org/OAI/2.0/OAI-PMH.xsd">'
)
DAY_PATTERN, SECOND_PATTERN = r"\d{4}-\d\d-\d\d", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
NAME_PATTERN = r"[A-Za-z0-9\-_.!~*'()]+"  # of formats and sets


class OaiError(ParamError):
    """A request that OAI-PMH has a code for."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, name="verb")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class _ListRequest:
    """A list that is told in parts: what was asked, and how far it is."""

    verb: str
    prefix: str
    since: str | None = None
    until: str | None = None
    last_number: int = 0  # number of the last record that was told
    cursor: int = 0


class _Repository:
    """Answers one request after the other; what it knows stands in the system state."""

    def __init__(self, context: ServiceContext, publishing_registry: PublishingRegistry) -> None:
        self._context = context
        self._publishing_registry = publishing_registry
        self._record_store = context.site.store.registry
        self._url = f"{context.site.settings.site_url}/oai"

    def answer_request(self, arguments: Sequence[tuple[str, str]]) -> str:
        """Return the document that answers some arguments.

        Raises
        ------
        NotFoundError
            The site cannot be harvested: nobody could be asked about it.
        """
        settings = self._context.site.settings
        if not EMAIL_PATTERN.fullmatch(settings.contact_email or ""):
            raise NotFoundError(
                "this site is no publishing registry: it does not say whom to write to",
                remedy="contact_email in hven.toml",
            )
        moment = vosi.format_time(datetime.now(UTC))
        self._publishing_registry.refresh()
        argument_values = dict(arguments)
        try:
            verb = _check_arguments(arguments)
            inside = [f"<{verb}>", *getattr(self, f"_{verb}")(argument_values), f"</{verb}>"]
        except OaiError as error:
            inside = [f'<error code="{error.code}">{escape(replace_illegal_characters(error.message))}</error>']
            if error.code in {"badVerb", "badArgument"}:
                argument_values = {}
        words = "".join(
            f" {name}={quoteattr(replace_illegal_characters(value))}" for name, value in argument_values.items()
        )
        head = f"{DOCUMENT_OPENING}<responseDate>{moment}</responseDate><request{words}>{escape(self._url)}</request>"
        return "".join([head, *inside, "</OAI-PMH>\n"])

    def _Identify(self, _: Mapping[str, str]) -> Iterator[str]:  # noqa: N802  (verbs of the protocol, as those below)
        settings = self._context.site.settings
        own_ivoid = settings.registry.ids.get("registry") or f"ivo://{settings.authority}/registry"
        own_record = self._record_store.find_record(own_ivoid)
        repository_name = escape(replace_illegal_characters(settings.title or settings.name))
        earliest_change = self._record_store.find_earliest_change() or vosi.format_time(datetime.now(UTC))
        yield f"<repositoryName>{repository_name}</repositoryName><baseURL>{escape(self._url)}</baseURL>"
        yield f"<protocolVersion>2.0</protocolVersion><adminEmail>{escape(settings.contact_email or '')}</adminEmail>"
        yield f"<earliestDatestamp>{earliest_change}</earliestDatestamp>"
        yield "<deletedRecord>transient</deletedRecord><granularity>YYYY-MM-DDThh:mm:ssZ</granularity>"
        if own_record is not None:
            yield from ("<description>", *_write_metadata(own_record, "ivo_vor"), "</description>")

    def _ListMetadataFormats(self, arguments: Mapping[str, str]) -> Iterator[str]:  # noqa: N802
        if "identifier" in arguments:
            self._require_record(arguments["identifier"])
        for prefix, (namespace, schema) in METADATA_FORMATS.items():
            yield (
                f"<metadataFormat><metadataPrefix>{prefix}</metadataPrefix><schema>{schema}</schema>"
                f"<metadataNamespace>{namespace}</metadataNamespace></metadataFormat>"
            )

    def _ListSets(self, arguments: Mapping[str, str]) -> Iterator[str]:  # noqa: N802
        if "resumptionToken" in arguments:  # the list is whole at once
            raise OaiError("badResumptionToken", "ListSets gives no resumption tokens")
        yield f"<set><setSpec>{MANAGED_SET}</setSpec><setName>What is published here</setName></set>"

    def _GetRecord(self, arguments: Mapping[str, str]) -> Iterator[str]:  # noqa: N802
        record = self._require_record(arguments["identifier"])
        yield from _write_record(record, _parse_prefix(arguments))

    def _ListIdentifiers(self, arguments: Mapping[str, str]) -> Iterator[str]:  # noqa: N802
        return self._list_page(arguments, lambda one, _: (_write_header(one),), headers_only=True)

    def _ListRecords(self, arguments: Mapping[str, str]) -> Iterator[str]:  # noqa: N802
        return self._list_page(arguments, _write_record, headers_only=False)

    def _list_page(
        self,
        arguments: Mapping[str, str],
        write_record: Callable[[RegistryRecord, str], Iterable[str]],
        *,
        headers_only: bool,
    ) -> Iterator[str]:
        if "resumptionToken" in arguments:
            list_request = self._parse_resumption_token(arguments)
        else:
            list_request = _parse_list_request(arguments)
        if headers_only:
            without = {"body", "dublin"}
        else:
            without = {"dublin" if list_request.prefix == "ivo_vor" else "body"}
        page_records = self._record_store.list_records(
            list_request.last_number,
            RECORDS_PER_PAGE + 1,
            list_request.since,
            list_request.until,
            omitted_columns=without,
        )
        if not page_records and not list_request.cursor:
            raise OaiError("noRecordsMatch", "no record changed between these moments")
        shown_records = page_records[:RECORDS_PER_PAGE]
        for record in shown_records:
            yield from write_record(record, list_request.prefix)
        if len(page_records) > RECORDS_PER_PAGE or list_request.cursor:
            size = self._record_store.count_records(list_request.since, list_request.until)
            next_token = until = ""
            if len(page_records) > RECORDS_PER_PAGE:
                expiry_time = int(time.time()) + TOKEN_LIFETIME_SECONDS
                until = f' expirationDate="{vosi.format_time(datetime.fromtimestamp(expiry_time, UTC))}"'
                next_token = self._make_resumption_token(
                    list_request, shown_records[-1].number, list_request.cursor + len(shown_records), expiry_time
                )
            yield (
                f'<resumptionToken{until} completeListSize="{max(size, 1)}" '
                f'cursor="{list_request.cursor}">{next_token}</resumptionToken>'
            )

    def _make_resumption_token(
        self, list_request: _ListRequest, last_number: int, cursor: int, expiry_time: int
    ) -> str:
        body = _encode_base64(
            orjson.dumps(
                [
                    list_request.verb,
                    list_request.prefix,
                    list_request.since,
                    list_request.until,
                    last_number,
                    cursor,
                    expiry_time,
                ]
            )
        )
        return f"{body}.{self._sign(body)}"

    def _sign(self, body: str) -> str:
        token_secret = self._record_store.get_token_secret()
        return _encode_base64(hmac.new(token_secret, body.encode(), sha256).digest()[:18])

    def _parse_resumption_token(self, arguments: Mapping[str, str]) -> _ListRequest:
        body, _, signature = arguments["resumptionToken"].partition(".")
        if not hmac.compare_digest(self._sign(body).encode(), signature.encode("utf-8", "replace")):
            raise OaiError(
                "badResumptionToken", "the resumption token is none of this registry's; begin the list again"
            )
        verb, prefix, since, until, after, cursor, expiry_time = orjson.loads(
            urlsafe_b64decode(body + "=" * (-len(body) % 4))
        )
        if verb != arguments["verb"]:
            raise OaiError("badResumptionToken", f"the resumption token is of {verb}, not of {arguments['verb']}")
        if expiry_time < time.time():
            raise OaiError("badResumptionToken", "the resumption token has expired; begin the list again")
        return _ListRequest(verb=verb, prefix=prefix, since=since, until=until, last_number=after, cursor=cursor)

    def _require_record(self, ivoid: str) -> RegistryRecord:
        record = self._record_store.find_record(ivoid)
        if record is None:
            raise OaiError("idDoesNotExist", f"there is no record {ivoid[:200]}")
        return record


def _check_arguments(arguments: Sequence[tuple[str, str]]) -> str:
    """Check which arguments a verb has, and return it."""
    verbs = [value for name, value in arguments if name == "verb"]
    if len(verbs) != 1 or verbs[0] not in VERB_ARGUMENTS:
        if not verbs:
            why = "is missing"
        elif len(verbs) > 1:
            why = "stands there twice"
        else:
            why = f"{verbs[0][:40]!r} is none"
        raise OaiError("badVerb", f"verb {why}; known: {', '.join(VERB_ARGUMENTS)}")
    verb = verbs[0]
    names = [name for name, _ in arguments if name != "verb"]
    must, may = VERB_ARGUMENTS[verb]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OaiError("badArgument", f"{', '.join(twice)[:80]} stands there twice")
    unknown = sorted(set(names) - must - may)
    if unknown:
        raise OaiError(
            "badArgument",
            f"{verb} knows no {', '.join(unknown)[:80]}; it takes {', '.join(sorted(must | may)) or 'none'}",
        )
    if "resumptionToken" in names:
        if len(names) > 1:
            raise OaiError("badArgument", "a resumption token stands alone")
    elif lacking := sorted(must - set(names)):
        raise OaiError("badArgument", f"{verb} needs {', '.join(lacking)}")
    return verb


def _parse_prefix(arguments: Mapping[str, str]) -> str:
    prefix = arguments["metadataPrefix"]
    if not re.fullmatch(NAME_PATTERN, prefix):
        raise OaiError("badArgument", f"metadataPrefix={prefix[:40]!r} is no name of a format")
    if prefix not in METADATA_FORMATS:
        raise OaiError(
            "cannotDisseminateFormat", f"there is no format {prefix[:40]}; known: {', '.join(METADATA_FORMATS)}"
        )
    return prefix


def _parse_list_request(arguments: Mapping[str, str]) -> _ListRequest:
    prefix = _parse_prefix(arguments)
    since = arguments.get("from")
    until = arguments.get("until")
    for name, value in (("from", since), ("until", until)):
        if value is not None and not _is_time(value):
            raise OaiError("badArgument", f"{name}={value[:40]!r} is no moment: 2026-11-24, or 2026-11-24T01:02:03Z")
    if since and until:
        if len(since) != len(until):
            raise OaiError("badArgument", "from and until must both be days, or both be moments")
        if since > until:
            raise OaiError("badArgument", "from is later than until")
    chosen = arguments.get("set")
    if chosen is not None:
        if not re.fullmatch(rf"{NAME_PATTERN}(:{NAME_PATTERN})*", chosen):
            raise OaiError("badArgument", f"set={chosen[:40]!r} is no name of a set")
        if chosen != MANAGED_SET:
            raise OaiError("noRecordsMatch", f"there is no set {chosen[:40]}; known: {MANAGED_SET}")
    return _ListRequest(
        verb=arguments["verb"],
        prefix=prefix,
        since=_complete_time(since, "00:00:00"),
        until=_complete_time(until, "23:59:59"),
    )


def _complete_time(text: str | None, time_of_day: str) -> str | None:
    if text is not None and "T" not in text:
        return f"{text}T{time_of_day}Z"
    return text


def _is_time(text: str) -> bool:
    if not re.fullmatch(f"{DAY_PATTERN}|{SECOND_PATTERN}", text, re.ASCII):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _encode_base64(body: bytes) -> str:
    return urlsafe_b64encode(body).decode().rstrip("=")


def _write_header(record: RegistryRecord) -> str:
    status_attribute = ' status="deleted"' if record.deleted else ""
    return (
        f"<header{status_attribute}><identifier>{escape(record.ivoid)}</identifier>"
        f"<datestamp>{record.changed}</datestamp><setSpec>{MANAGED_SET}</setSpec></header>"
    )


def _write_record(record: RegistryRecord, prefix: str) -> Iterable[str]:
    if record.deleted:
        return "<record>", _write_header(record), "</record>\n"
    return "<record>", _write_header(record), "<metadata>", *_write_metadata(record, prefix), "</metadata></record>\n"


def _write_metadata(record: RegistryRecord, prefix: str) -> tuple[str, str, str]:
    if prefix == "ivo_vor":
        return split_record(record)
    space, schema = METADATA_FORMATS[prefix]
    where = f'xsi:schemaLocation="{space} {schema}"'
    return (
        f'<oai_dc:dc xmlns:oai_dc="{OAI_DC_NAMESPACE}" xmlns:dc="http://purl.org/dc/elements/1.1/" {where}>',
        record.dublin,
        "</oai_dc:dc>",
    )


def build_routes(context: ServiceContext) -> Sequence[BaseRoute]:
    """Build the routes of ``/oai``, and of its VOSI resources."""
    site = context.site
    records = PublishingRegistry(context)
    harvest_limiter = anyio.CapacityLimiter(2)
    site.add_change_listener(lambda _: records.refresh_in_background())

    async def answer_request(request: Request) -> Response:
        text = request.url.query
        if request.method == "POST":
            if (
                request.headers.get("content-type", FORM_MEDIA_TYPE).partition(";")[0].strip().lower()
                != FORM_MEDIA_TYPE
            ):
                raise ParamError("a body of this type is not understood", name="verb", remedy=f"send {FORM_MEDIA_TYPE}")
            text = f"{text}&{(await services.read_body(request, MAX_FORM_BYTES)).decode('utf-8', 'replace')}"
        arguments = parse_qsl(text.strip("&"), keep_blank_values=True)
        body = await anyio.to_thread.run_sync(
            _Repository(context, records).answer_request, arguments, limiter=harvest_limiter
        )
        headers = {"content-type": "text/xml; charset=utf-8", "cache-control": "no-cache", "vary": "accept-encoding"}
        return services.answer_with_body(request, body.encode(), headers)

    async def answer_capabilities(request: Request) -> Response:
        body = vosi.write_capabilities(list_registry_capabilities(site.settings.site_url))
        cache_headers = services.build_cache_headers(services.compute_etag(body), is_public=True)
        return services.answer_with_etag(request, cache_headers, vosi.MEDIA_TYPE, body)

    async def answer_availability(request: Request) -> Response:
        body = vosi.write_availability(is_available=True, start_time=context.start_time)
        return services.answer_with_body(request, body, {"content-type": vosi.MEDIA_TYPE, "cache-control": "no-store"})

    route = create_route("/oai", answer_request, PLAIN_TEXT_ERRORS, ["GET", "POST"])
    return [
        route,
        create_route("/oai/capabilities", answer_capabilities),
        create_route("/oai/availability", answer_availability),
    ]


FACE = Face(
    name="oai",
    title="Publishing registry (OAI-PMH)",
    description="Records of all that is published here, for the registries of the Virtual Observatory.",
    applies=lambda _: True,
    build_routes=build_routes,
)
