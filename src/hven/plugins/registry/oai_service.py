"""OAI-PMH 2.0 at ``/oai``: records for registries (Registry Interfaces 1.1) in VOResource and Dublin Core."""

from __future__ import annotations

import hmac
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import anyio.to_thread
import orjson

from hven import services
from hven.formats import escape_xml, quote_attribute
from hven.model.errors import NotFoundError, ParamError
from hven.plugins.registry.record_store import RegistryRecordStore
from hven.plugins.registry.registry_records import (
    EMAIL_PATTERN,
    RECORDS_PER_PAGE,
    REGISTRY_INTERFACE_NAMESPACE,
    PublishingRegistry,
    list_registry_capabilities,
    write_registry_record_pieces,
)
from hven.services.api import vosi
from hven.services.errors import PLAIN_TEXT_ERRORS
from hven.services.face import ServiceContext, ServiceFace, create_route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from hven.plugins.registry.record_store import RegistryRecord

MANAGED_SET = "ivo_managed"
TOKEN_LIFETIME_SECONDS = 86_400
SIGNATURE_BYTES = 18  # of a resumption token
MAX_FORM_BYTES = 64 * 1024
FORM_MEDIA_TYPE = "application/x-www-form-urlencoded"
# required and optional arguments of each verb; a resumption token excludes all others
VERB_ARGUMENTS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "Identify": (frozenset(), frozenset()),
    "ListMetadataFormats": (frozenset(), frozenset({"identifier"})),
    "ListSets": (frozenset(), frozenset({"resumptionToken"})),
    "GetRecord": (frozenset({"identifier", "metadataPrefix"}), frozenset()),
    "ListIdentifiers": (frozenset({"metadataPrefix"}), frozenset({"from", "until", "set", "resumptionToken"})),
    "ListRecords": (frozenset({"metadataPrefix"}), frozenset({"from", "until", "set", "resumptionToken"})),
}
OAI_DC_NAMESPACE = "http://www.openarchives.org/OAI/2.0/oai_dc/"
# namespace and schema of each metadata prefix
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
NAME_PATTERN = r"[A-Za-z0-9\-_.!~*'()]+"  # names of formats and sets


class OaiError(ParamError):
    """An error for which OAI-PMH has a code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, name="verb")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class _OaiListRequest:
    """The request of a page of a list: its conditions, and the position in the list."""

    verb: str
    prefix: str
    since: str | None = None
    until: str | None = None
    last_number: int = 0  # number of the last record of the page before
    cursor: int = 0  # number of records on the pages before


class _OaiRepository:
    """Answer requests from the records in the state store."""

    def __init__(self, context: ServiceContext, publishing_registry: PublishingRegistry) -> None:
        self._context = context
        self._publishing_registry = publishing_registry
        self._record_store = context.site.store.get_or_create(RegistryRecordStore)
        self._url = f"{context.site.settings.site_url}/oai"

    def write_answer_document(self, arguments: Sequence[tuple[str, str]]) -> str:
        """Write the document that answers the arguments of a request.

        Raises
        ------
        NotFoundError
            The site cannot be harvested, because it has no contact address.
        """
        settings = self._context.site.settings
        if not EMAIL_PATTERN.fullmatch(settings.contact_email or ""):
            raise NotFoundError(
                "this site is not a publishing registry, because it has no contact address",
                remedy="set contact_email in hven.toml",
            )
        response_date = vosi.format_time(datetime.now(UTC))
        self._publishing_registry.refresh_listing_conflicts()
        argument_values = dict(arguments)
        try:
            verb = _check_arguments(arguments)
            write_verb_content = getattr(self, f"_{verb}")
            content = [f"<{verb}>", *write_verb_content(argument_values), f"</{verb}>"]
        except OaiError as error:
            message = escape_xml(error.message)
            content = [f'<error code="{error.code}">{message}</error>']
            if error.code in {"badVerb", "badArgument"}:
                argument_values = {}
        attributes = "".join(f" {name}={quote_attribute(value)}" for name, value in argument_values.items())
        opening = (
            f"{DOCUMENT_OPENING}<responseDate>{response_date}</responseDate>"
            f"<request{attributes}>{escape_xml(self._url)}</request>"
        )
        return "".join([opening, *content, "</OAI-PMH>\n"])

    def _Identify(self, _: Mapping[str, str]) -> Iterator[str]:  # noqa: N802  (named like the protocol's verb)
        settings = self._context.site.settings
        own_ivoid = settings.registry.ids.get("registry") or f"ivo://{settings.authority}/registry"
        own_record = self._record_store.find_record(own_ivoid)
        repository_name = escape_xml(settings.title or settings.name)
        earliest_change = self._record_store.find_earliest_change() or vosi.format_time(datetime.now(UTC))
        yield f"<repositoryName>{repository_name}</repositoryName><baseURL>{escape_xml(self._url)}</baseURL>"
        admin_email = escape_xml(settings.contact_email or "")
        yield f"<protocolVersion>2.0</protocolVersion><adminEmail>{admin_email}</adminEmail>"
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
        if "resumptionToken" in arguments:  # all sets fit into one answer
            raise OaiError("badResumptionToken", "ListSets does not use resumption tokens")
        yield f"<set><setSpec>{MANAGED_SET}</setSpec><setName>What is published here</setName></set>"

    def _GetRecord(self, arguments: Mapping[str, str]) -> Iterator[str]:  # noqa: N802
        record = self._require_record(arguments["identifier"])
        yield from _write_oai_record(record, _parse_metadata_prefix(arguments))

    def _ListIdentifiers(self, arguments: Mapping[str, str]) -> Iterator[str]:  # noqa: N802
        return self._write_list_page(
            arguments, lambda record, _: (_write_oai_record_header(record),), is_header_only=True
        )

    def _ListRecords(self, arguments: Mapping[str, str]) -> Iterator[str]:  # noqa: N802
        return self._write_list_page(arguments, _write_oai_record, is_header_only=False)

    def _write_list_page(
        self,
        arguments: Mapping[str, str],
        write_record: Callable[[RegistryRecord, str], Iterable[str]],
        *,
        is_header_only: bool,
    ) -> Iterator[str]:
        if "resumptionToken" in arguments:
            list_request = self._parse_resumption_token(arguments)
        else:
            list_request = _parse_list_request(arguments)
        omitted_columns = {"body", "dublin"}
        if not is_header_only:
            if list_request.prefix == "ivo_vor":
                omitted_columns = {"dublin"}
            else:
                omitted_columns = {"body"}
        read_records = self._record_store.list_records(
            list_request.last_number,
            RECORDS_PER_PAGE + 1,
            list_request.since,
            list_request.until,
            omitted_columns=omitted_columns,
        )
        if not read_records and not list_request.cursor:
            raise OaiError("noRecordsMatch", "no record changed in this period")
        page_records = read_records[:RECORDS_PER_PAGE]
        has_next_page = len(read_records) > RECORDS_PER_PAGE
        for record in page_records:
            yield from write_record(record, list_request.prefix)
        if has_next_page or list_request.cursor:
            list_size = self._record_store.count_records(list_request.since, list_request.until)
            expiry_attribute = next_token = ""
            if has_next_page:
                expiry_time = int(time.time()) + TOKEN_LIFETIME_SECONDS
                expiry_date = vosi.format_time(datetime.fromtimestamp(expiry_time, UTC))
                expiry_attribute = f' expirationDate="{expiry_date}"'
                next_request = replace(
                    list_request,
                    last_number=page_records[-1].number,
                    cursor=list_request.cursor + len(page_records),
                )
                next_token = self._make_resumption_token(next_request, expiry_time)
            yield (
                f'<resumptionToken{expiry_attribute} completeListSize="{max(list_size, 1)}" '
                f'cursor="{list_request.cursor}">{next_token}</resumptionToken>'
            )

    def _make_resumption_token(self, list_request: _OaiListRequest, expiry_time: int) -> str:
        token_values = [
            list_request.verb,
            list_request.prefix,
            list_request.since,
            list_request.until,
            list_request.last_number,
            list_request.cursor,
            expiry_time,
        ]
        body = _encode_base64(orjson.dumps(token_values))
        return f"{body}.{self._sign_token_body(body)}"

    def _sign_token_body(self, body: str) -> str:
        token_secret = self._context.site.store.get_site_secret()
        digest = hmac.new(token_secret, body.encode(), sha256).digest()
        return _encode_base64(digest[:SIGNATURE_BYTES])

    def _parse_resumption_token(self, arguments: Mapping[str, str]) -> _OaiListRequest:
        body, _, signature = arguments["resumptionToken"].partition(".")
        if not hmac.compare_digest(self._sign_token_body(body).encode(), signature.encode("utf-8", "replace")):
            raise OaiError("badResumptionToken", "the resumption token is not from this registry; start the list again")
        padding = "=" * (-len(body) % 4)
        token_values = orjson.loads(urlsafe_b64decode(body + padding))
        verb, prefix, since, until, last_number, cursor, expiry_time = token_values
        if verb != arguments["verb"]:
            raise OaiError("badResumptionToken", f"the resumption token is for {verb}, not for {arguments['verb']}")
        if expiry_time < time.time():
            raise OaiError("badResumptionToken", "the resumption token has expired; start the list again")
        return _OaiListRequest(
            verb=verb, prefix=prefix, since=since, until=until, last_number=last_number, cursor=cursor
        )

    def _require_record(self, ivoid: str) -> RegistryRecord:
        record = self._record_store.find_record(ivoid)
        if record is None:
            raise OaiError("idDoesNotExist", f"there is no record {ivoid[:200]}")
        return record


def _check_arguments(arguments: Sequence[tuple[str, str]]) -> str:
    """Check the arguments of a request against its verb, and return the verb."""
    verbs = [value for name, value in arguments if name == "verb"]
    if len(verbs) != 1 or verbs[0] not in VERB_ARGUMENTS:
        if not verbs:
            problem = "is missing"
        elif len(verbs) > 1:
            problem = "is given twice"
        else:
            problem = f"{verbs[0][:40]!r} is not known"
        raise OaiError("badVerb", f"'verb' {problem}; use one of {', '.join(VERB_ARGUMENTS)}")
    verb = verbs[0]
    names = [name for name, _ in arguments if name != "verb"]
    required_names, optional_names = VERB_ARGUMENTS[verb]
    repeated_names = sorted({name for name in names if names.count(name) > 1})
    if repeated_names:
        repeated_text = ", ".join(map(repr, repeated_names))
        raise OaiError("badArgument", f"the request contains {repeated_text[:80]} more than once")
    known_names = required_names | optional_names
    unknown_names = sorted(set(names) - known_names)
    if unknown_names:
        known_text = f"use only {', '.join(sorted(known_names))}" if known_names else "use no arguments"
        raise OaiError(
            "badArgument", f"{verb} does not accept {', '.join(map(repr, unknown_names))[:80]}; {known_text}"
        )
    missing_names = sorted(required_names - set(names))
    if "resumptionToken" in names:
        if len(names) > 1:
            raise OaiError("badArgument", "a request with a resumption token must not have other arguments")
    elif missing_names:
        raise OaiError("badArgument", f"{verb} needs {' and '.join(map(repr, missing_names))}")
    return verb


def _parse_metadata_prefix(arguments: Mapping[str, str]) -> str:
    prefix = arguments["metadataPrefix"]
    if not re.fullmatch(NAME_PATTERN, prefix):
        raise OaiError("badArgument", f"metadataPrefix={prefix[:40]!r} is not the name of a format")
    if prefix not in METADATA_FORMATS:
        raise OaiError(
            "cannotDisseminateFormat", f"there is no format {prefix[:40]!r}; use one of {', '.join(METADATA_FORMATS)}"
        )
    return prefix


def _parse_list_request(arguments: Mapping[str, str]) -> _OaiListRequest:
    prefix = _parse_metadata_prefix(arguments)
    since = arguments.get("from")
    until = arguments.get("until")
    for name, value in (("from", since), ("until", until)):
        if value is not None and not _is_oai_time(value):
            raise OaiError(
                "badArgument", f"{name}={value[:40]!r} is not a time; write 2026-11-24 or 2026-11-24T01:02:03Z"
            )
    if since and until:
        if len(since) != len(until):
            raise OaiError(
                "badArgument", "'from' and 'until' must have the same form: both with a time of day, or both without"
            )
        if since > until:
            raise OaiError("badArgument", "'from' is later than 'until'")
    set_name = arguments.get("set")
    if set_name is not None:
        if not re.fullmatch(rf"{NAME_PATTERN}(:{NAME_PATTERN})*", set_name):
            raise OaiError("badArgument", f"set={set_name[:40]!r} is not the name of a set")
        if set_name != MANAGED_SET:
            raise OaiError("noRecordsMatch", f"there is no set {set_name[:40]!r}; use {MANAGED_SET}")
    return _OaiListRequest(
        verb=arguments["verb"],
        prefix=prefix,
        since=_complete_time(since, "00:00:00"),
        until=_complete_time(until, "23:59:59"),
    )


def _complete_time(text: str | None, time_of_day: str) -> str | None:
    if text is not None and "T" not in text:
        return f"{text}T{time_of_day}Z"
    return text


def _is_oai_time(text: str) -> bool:
    if not re.fullmatch(f"{DAY_PATTERN}|{SECOND_PATTERN}", text, re.ASCII):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _encode_base64(body: bytes) -> str:
    return urlsafe_b64encode(body).decode().rstrip("=")


def _write_oai_record_header(record: RegistryRecord) -> str:
    status_attribute = ' status="deleted"' if record.deleted else ""
    return (
        f"<header{status_attribute}><identifier>{escape_xml(record.ivoid)}</identifier>"
        f"<datestamp>{record.changed}</datestamp><setSpec>{MANAGED_SET}</setSpec></header>"
    )


def _write_oai_record(record: RegistryRecord, prefix: str) -> Iterable[str]:
    if record.deleted:
        return "<record>", _write_oai_record_header(record), "</record>\n"
    return (
        "<record>",
        _write_oai_record_header(record),
        "<metadata>",
        *_write_metadata(record, prefix),
        "</metadata></record>\n",
    )


def _write_metadata(record: RegistryRecord, prefix: str) -> tuple[str, str, str]:
    if prefix == "ivo_vor":
        return write_registry_record_pieces(record)
    namespace, schema = METADATA_FORMATS[prefix]
    location = f'xsi:schemaLocation="{namespace} {schema}"'
    return (
        f'<oai_dc:dc xmlns:oai_dc="{OAI_DC_NAMESPACE}" xmlns:dc="http://purl.org/dc/elements/1.1/" {location}>',
        record.dublin,
        "</oai_dc:dc>",
    )


def build_oai_routes(context: ServiceContext) -> Sequence[BaseRoute]:
    """Build the routes of ``/oai`` and of its VOSI resources."""
    site = context.site
    publishing_registry = PublishingRegistry(context)
    harvest_limiter = anyio.CapacityLimiter(2)
    site.add_change_listener(lambda _: publishing_registry.refresh_in_background_if_harvested())

    async def answer_request(request: Request) -> Response:
        query_text = request.url.query
        if request.method == "POST":
            content_type = request.headers.get("content-type", FORM_MEDIA_TYPE)
            media_type = content_type.partition(";")[0].strip().lower()
            if media_type != FORM_MEDIA_TYPE:
                raise ParamError(
                    "request bodies of this type are not supported", name="verb", remedy=f"send {FORM_MEDIA_TYPE}"
                )
            form = await services.read_body(request, MAX_FORM_BYTES)
            query_text = f"{query_text}&{form.decode('utf-8', 'replace')}"
        arguments = parse_qsl(query_text.strip("&"), keep_blank_values=True)
        repository = _OaiRepository(context, publishing_registry)
        body = await anyio.to_thread.run_sync(repository.write_answer_document, arguments, limiter=harvest_limiter)
        headers = {"content-type": "text/xml; charset=utf-8", "cache-control": "no-cache", "vary": "accept-encoding"}
        return services.answer_with_body(request, body.encode(), headers)

    async def answer_capabilities(request: Request) -> Response:
        body = vosi.write_capabilities(list_registry_capabilities(site.settings.site_url))
        cache_headers = services.build_cache_headers(services.compute_etag(body), is_public=True)
        return services.answer_with_etag(request, cache_headers, vosi.MEDIA_TYPE, body)

    async def answer_availability(request: Request) -> Response:
        body = vosi.write_availability(is_available=True, start_time=context.start_time)
        return services.answer_with_body(request, body, {"content-type": vosi.MEDIA_TYPE, "cache-control": "no-store"})

    return [
        create_route("/oai", answer_request, PLAIN_TEXT_ERRORS, ["GET", "POST"]),
        create_route("/oai/capabilities", answer_capabilities),
        create_route("/oai/availability", answer_availability),
    ]


FACE = ServiceFace(
    name="oai",
    title="Publishing registry (OAI-PMH)",
    description="Records of everything that is published here, for the registries of the Virtual Observatory.",
    applies=lambda _: True,
    is_site_wide=True,
    build_routes=build_oai_routes,
)
