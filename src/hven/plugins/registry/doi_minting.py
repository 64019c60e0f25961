"""Create, publish and update DOIs with DataCite's REST interface (api.datacite.org/dois).

After any failure the same call can be repeated: it never creates a second DOI.
"""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import orjson

from hven import __version__
from hven.descriptor.api.file_replacement import replace_file
from hven.model.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ServiceError,
    UnauthenticatedError,
    UserError,
)
from hven.model.resource import DoiRecord
from hven.model.resource import parse_doi as bare_doi
from hven.plugins.registry import datacite
from hven.plugins.registry.doi_store import CitationStore
from hven.plugins.registry.settings import get_doi_settings
from hven.services import citations
from hven.services.face import ServiceContext
from hven.site.auth import ANONYMOUS_PRINCIPAL
from hven.sources import http_client
from hven.sources.kind_traits import list_mirrored_site_addresses

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.services.citations import CitationMetadata
    from hven.site import Site
    from hven.site.store import StateStore

JSON_API_MEDIA_TYPE = "application/vnd.api+json"
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
RETRY_REMEDY = "run the same command again; it continues with the same DOI and does not create a second one"
EVENTS_BY_STATE = {"findable": "publish", "withdrawn": "publish"}  # DataCite's event for each target state


class DataCiteClient:
    """A client of one DataCite repository.

    Parameters
    ----------
    settings
        Settings of the site with the section ``[doi]``.

    Raises
    ------
    UserError
        ``[doi]`` is incomplete, or the password would be sent without encryption.
    """

    def __init__(self, settings: Settings) -> None:
        doi_settings = get_doi_settings(settings)
        missing_keys = [key for key in ("prefix", "repository", "password") if getattr(doi_settings, key) is None]
        if missing_keys:
            raise UserError(
                f"hven.toml has no {' and no '.join(missing_keys)} under [doi]",
                remedy='write the values from DataCite; put the password in a secret, and write password = "$NAME"; '
                "if a library registers the DOI, use --to FILE instead",
            )
        endpoint_parts = urlsplit(doi_settings.endpoint)
        self._is_local = endpoint_parts.hostname in LOOPBACK_HOSTS
        if endpoint_parts.scheme != "https" and not self._is_local:
            raise UserError(
                f"{doi_settings.endpoint} is not an https address, so the password would be sent without encryption",
                remedy='write endpoint = "https://.." under [doi]',
            )
        self._settings = settings
        self._doi_settings = doi_settings
        self._base_url = doi_settings.endpoint.rstrip("/")
        password = settings.resolve_secret_address(doi_settings.password or "")
        login = f"{doi_settings.repository}:{password}"
        encoded_login = base64.b64encode(login.encode()).decode()
        self._headers = {
            "Authorization": f"Basic {encoded_login}",
            "Content-Type": JSON_API_MEDIA_TYPE,
            "Accept": JSON_API_MEDIA_TYPE,
            "User-Agent": f"Hven/{__version__} ({settings.site_url})",
        }

    def find_doi(self, doi: str) -> dict[str, Any] | None:
        """Find a DOI at DataCite.

        Parameters
        ----------
        doi
            DOI without a prefix such as ``doi:``.

        Returns
        -------
        attributes
            Attributes of the DOI at DataCite; None if it does not exist.
        """
        status, body = self._send_request("GET", f"/dois/{quote(doi, safe='/')}")
        if status == 404:
            return None
        return self._read_attributes(status, body, "did not return the DOI")

    def create_doi(self, doi: str, attributes: Mapping[str, Any]) -> dict[str, Any] | None:
        """Create a DOI.

        Parameters
        ----------
        doi
            DOI without a prefix such as ``doi:``.
        attributes
            Metadata of the DOI with `url` and `event`.

        Returns
        -------
        attributes
            Attributes of the DOI at DataCite; None if the DOI exists already.
        """
        status, body = self._send_request("POST", "/dois", {**attributes, "doi": doi})
        if status == 422 and "taken" in _format_answer_errors(body):
            return None
        return self._read_attributes(status, body, "did not create the DOI")

    def update_doi(self, doi: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Update the metadata of a DOI.

        Parameters
        ----------
        doi, attributes
            As for `create_doi`.

        Returns
        -------
        attributes
            Attributes of the DOI at DataCite after the update.
        """
        status, body = self._send_request("PUT", f"/dois/{quote(doi, safe='/')}", attributes)
        return self._read_attributes(status, body, "did not change the DOI")

    def _send_request(self, method: str, path: str, attributes: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        content = None
        if attributes is not None:
            content = orjson.dumps({"data": {"type": "dois", "attributes": attributes}})
        timeout_seconds = self._doi_settings.seconds
        try:
            answer = http_client.send_request_once(
                method,
                f"{self._base_url}{path}",
                content=content,
                headers=self._headers,
                timeout_seconds=timeout_seconds,
                total_timeout_seconds=timeout_seconds,
                allow_private=self._is_local or self._settings.allow_private,
            )
        except UserError as error:  # the connection may also have broken after DataCite did what was requested
            raise ServiceError(f"DataCite cannot be reached: {error.message}", remedy=RETRY_REMEDY) from error
        try:
            if answer.body.strip():
                body = orjson.loads(answer.body)
            else:
                body = {}
        except orjson.JSONDecodeError:
            body = None
        return answer.status, body

    def _read_attributes(self, status: int, body: Any, failed_action: str) -> dict[str, Any]:
        """Return the attributes of an answer.

        Raises
        ------
        UnauthenticatedError, ForbiddenError
            DataCite does not accept the account, or it lacks the permission.
        UserError
            DataCite refuses the metadata.
        ServiceError
            DataCite fails at the moment, or its answer cannot be understood.
        """
        if status in {200, 201}:
            attributes = _get_json_member(_get_json_member(body, "data"), "attributes")
            if not isinstance(attributes, dict) or not isinstance(attributes.get("doi"), str):
                raise ServiceError(
                    f"DataCite {failed_action}: this version of Hven does not understand the response",
                    remedy=f"check `endpoint` under [doi] ({self._base_url}); then {RETRY_REMEDY}",
                )
            return attributes
        error_text = _format_answer_errors(body) or f"status {status}"
        if status == 401:
            raise UnauthenticatedError(
                f"DataCite {failed_action}: the repository or the password is wrong ({error_text})",
                remedy="check the secret, and [doi] in hven.toml",
            )
        if status == 403:
            raise ForbiddenError(
                f"DataCite {failed_action}: the repository {self._doi_settings.repository!r} has no permission "
                f"({error_text})",
                remedy=f"check that {self._doi_settings.prefix} is the prefix of the repository, and that no "
                "other repository has the DOI",
            )
        if status == 429 or status >= 500:
            raise ServiceError(
                f"DataCite {failed_action} because of a temporary problem: {error_text}",
                remedy=f"wait, then {RETRY_REMEDY}",
            )
        raise UserError(
            f"DataCite {failed_action}: {error_text}",
            remedy="correct the descriptor; to see the metadata that is sent, run `hven doi NAME`",
        )


def _get_json_member(json_value: Any, key: str) -> Any:
    """Find a member of a JSON object; None where the value is no object or has no such member."""
    if isinstance(json_value, dict):
        return json_value.get(key)
    return None


def _format_answer_errors(body: Any) -> str:
    """Return the errors that an answer lists, as one text of at most 500 characters."""
    error_list = _get_json_member(body, "errors")
    if not isinstance(error_list, list):
        return ""
    error_texts = []
    for error_entry in error_list:
        if isinstance(error_entry, dict):
            parts = [str(error_entry[key]) for key in ("source", "title", "detail") if error_entry.get(key)]
            error_texts.append(": ".join(parts))
    return "; ".join(error_texts)[:500]


def choose_own_or_new_doi(settings: Settings, citation_metadata: CitationMetadata, suffix: str = "") -> str:
    """Return the DOI for a collection or release: its own if that has the site's prefix, else one made from its name.

    Parameters
    ----------
    settings
        Settings of the site.
    citation_metadata
        Metadata of the collection or release.
    suffix
        Part of the DOI behind the prefix; if empty, the names of collection and release in lower case.

    Raises
    ------
    ConflictError
        The DOI has another prefix, so the site cannot change it.
    UserError
        The settings have no prefix, or the suffix is not valid.
    """
    doi_settings = get_doi_settings(settings)
    prefix = doi_settings.prefix
    if prefix is None:
        raise UserError(
            "hven.toml has no prefix under [doi]", remedy='write prefix = "10.xxxx", the prefix that DataCite gave you'
        )
    existing_doi = citation_metadata.doi
    if existing_doi is not None:
        if not existing_doi.lower().startswith(f"{prefix}/"):
            raise ConflictError(
                f"{citation_metadata.title!r} has the DOI {existing_doi}, but the prefix of this site is {prefix}",
                remedy="write the metadata to a file with --to FILE, send the file to the owner of the DOI, and ask "
                "the owner to update the DOI",
            )
        return existing_doi
    name = citation_metadata.resource.name
    if citation_metadata.label:
        name = f"{name}.{citation_metadata.label}"
    doi_suffix = suffix or f"{doi_settings.suffix}{name}".lower()
    if not re.fullmatch(r"[A-Za-z0-9._/-]+", doi_suffix):
        raise UserError(
            f"{doi_suffix!r:.60} is not valid in a DOI", remedy="use only letters, digits and the characters . _ - /"
        )
    return f"{prefix}/{doi_suffix}"


def build_datacite_attributes(citation_metadata: CitationMetadata, doi: str) -> dict[str, Any]:
    """Return the metadata of a DOI for DataCite.

    Parameters
    ----------
    citation_metadata
        Metadata of a collection or release.
    doi
        DOI that the record names.
    """
    datacite_record = datacite.build_datacite_record(replace(citation_metadata, doi=doi))
    return {**datacite_record, "url": citation_metadata.address}


def mint_doi(
    settings: Settings, store: StateStore, citation_metadata: CitationMetadata, target_state: str, suffix: str = ""
) -> tuple[DoiRecord, str]:
    """Bring a DOI into a state at DataCite. A call that fails can be repeated.

    The state store reserves the DOI before DataCite is asked for it, and the DOI is looked up before it is created.

    Parameters
    ----------
    settings, store
        Settings and state store of the site.
    citation_metadata
        Metadata of the collection or release that the DOI names.
    target_state
        ``draft``, ``findable``, or ``withdrawn``.
    suffix
        As for `choose_own_or_new_doi`.

    Returns
    -------
    citation, outcome
        Citation as stored, and what was done: ``made``, ``changed``, ``as it was``.

    Raises
    ------
    UserError
        The metadata lack what DataCite requires, or DataCite refuses them.
    ConflictError
        The DOI belongs to another repository or leads to another page.
    ServiceError
        DataCite cannot be reached now, or the connection broke.
    """
    missing_metadata = datacite.list_missing_metadata(citation_metadata)
    errors = [message for severity, message in missing_metadata if severity == "error"]
    if errors:
        raise UserError(f"{citation_metadata.title!r}: {'; '.join(errors)}")
    service = DataCiteClient(settings)
    citation_store = store.get_or_create(CitationStore)
    known_citation = citation_store.find_doi_record(citation_metadata.resource.name, citation_metadata.label)
    if known_citation is not None and known_citation.doi is not None:
        doi = known_citation.doi
    else:
        doi = choose_own_or_new_doi(settings, citation_metadata, suffix)
    citation = citation_store.reserve_doi(_create_doi_record(citation_metadata, doi))
    attributes = build_datacite_attributes(citation_metadata, doi)
    if target_state == "draft" and citation.state not in {"reserved", "draft"}:
        raise ConflictError(
            f"{doi} is {citation.state}: a published DOI cannot become a draft again",
            remedy="update the DOI with --publish",
        )
    if (citation.state, citation.told) == (target_state, attributes):
        return citation, "unchanged"
    datacite_attributes, outcome = _create_or_update_doi(service, citation, doi, attributes, target_state)
    if str(datacite_attributes["doi"]).lower() != doi.lower():
        raise ServiceError(f"DataCite returned {datacite_attributes['doi']} instead of {doi}", remedy=RETRY_REMEDY)
    datacite_state = str(datacite_attributes.get("state", target_state))
    if target_state != "draft" and datacite_state != "findable":
        raise ServiceError(
            f"DataCite reports the state {datacite_state!r} for {doi} instead of 'findable'", remedy=RETRY_REMEDY
        )
    reason = None
    if target_state == "withdrawn":
        reason = citation.reason
    changed_citation = replace(
        citation, state=target_state, url=citation_metadata.address, told=attributes, reason=reason
    )
    return citation_store.save_citation(changed_citation), outcome


def _create_doi_record(citation_metadata: CitationMetadata, doi: str | None) -> DoiRecord:
    return DoiRecord(
        collection=citation_metadata.resource.name,
        label=citation_metadata.label,
        doi=doi,
        url=citation_metadata.address,
    )


def _create_or_update_doi(
    service: DataCiteClient, citation: DoiRecord, doi: str, attributes: Mapping[str, Any], target_state: str
) -> tuple[dict[str, Any], str]:
    """Create or update a DOI at DataCite.

    Returns
    -------
    attributes, outcome
        Attributes of the DOI at DataCite, and ``made`` or ``changed``.

    Raises
    ------
    ConflictError
        The DOI belongs to another repository or leads to another page.
    """
    datacite_attributes = service.find_doi(doi)
    is_findable = datacite_attributes is not None and datacite_attributes.get("state") == "findable"
    request_attributes = dict(attributes)
    if target_state in EVENTS_BY_STATE and not is_findable:
        request_attributes["event"] = EVENTS_BY_STATE[target_state]
    if datacite_attributes is None:
        new_attributes = service.create_doi(doi, request_attributes)
        if new_attributes is not None:
            return new_attributes, "made"
        # another repository has created it, or an earlier request of ours whose answer was lost
        datacite_attributes = service.find_doi(doi)
        if datacite_attributes is None:
            raise ConflictError(f"{doi} belongs to another repository", remedy="choose a different DOI with --suffix")
    _check_doi_target(datacite_attributes, citation)
    return service.update_doi(str(citation.doi), request_attributes), "changed"


def _check_doi_target(datacite_attributes: Mapping[str, Any], citation: DoiRecord) -> None:
    """Check that a DOI that DataCite has leads to the citation's page, and not to another one of this repository.

    Raises
    ------
    ConflictError
        The DOI leads to another page.
    """
    url = datacite_attributes.get("url")
    if citation.state == "reserved" and url and url != citation.url:
        raise ConflictError(
            f"{citation.doi} already exists and resolves to {url}",
            remedy=(
                "choose a different DOI with --suffix; if the address is the page of this collection, run the command "
                f"with --is {citation.doi}"
            ),
        )


def record_external_doi(store: StateStore, citation_metadata: CitationMetadata, text: str) -> DoiRecord:
    """Record a DOI that another institution registered, such as an institute's library.

    Parameters
    ----------
    store
        State store of the site.
    citation_metadata
        Metadata of the collection or release that the DOI names.
    text
        The DOI, in any common notation.

    Returns
    -------
    citation
        Citation as stored.

    Raises
    ------
    UserError
        The text is not a DOI.
    ConflictError
        The collection or release has another DOI, or something else has this one.
    """
    doi = bare_doi(text)
    if doi is None:
        raise UserError(f"{text!r:.80} is not a DOI", remedy="write the DOI as 10.xxxx/..")
    citation_store = store.get_or_create(CitationStore)
    citation = citation_store.reserve_doi(_create_doi_record(citation_metadata, doi))
    if (citation.doi or "").lower() != doi.lower():
        raise ConflictError(f"{citation_metadata.title!r} already has the DOI {citation.doi}")
    attributes = build_datacite_attributes(citation_metadata, doi)
    return citation_store.save_citation(replace(citation, state="findable", told=attributes))


def record_withdrawal(store: StateStore, citation_metadata: CitationMetadata, reason: str) -> DoiRecord:
    """Record a withdrawal and its reason; the page stays as a tombstone, also after the data are removed.

    Parameters
    ----------
    store
        State store of the site.
    citation_metadata
        Metadata of the collection or release.
    reason
        Reason of the withdrawal, for people.

    Returns
    -------
    citation
        Citation as stored.
    """
    citation_store = store.get_or_create(CitationStore)
    known_citation = citation_store.find_doi_record(citation_metadata.resource.name, citation_metadata.label)
    citation = known_citation or _create_doi_record(citation_metadata, citation_metadata.doi)
    if (citation.state, citation.reason) == ("withdrawn", reason):  # the date of the first withdrawal stays
        return citation
    doi = citation.doi or citation_metadata.doi
    # the attributes that DataCite has stay on record until DataCite knows of the withdrawal
    attributes = citation.told
    if not attributes and doi:
        attributes = build_datacite_attributes(citation_metadata, doi)
    elif not attributes:
        attributes = datacite.build_datacite_record(citation_metadata)
    withdrawn_citation = replace(citation, doi=doi, state="withdrawn", reason=reason, told=attributes)
    return citation_store.save_citation(withdrawn_citation)


def record_tombstone_citation(site: Site, collection: str) -> DoiRecord | None:
    """Record the citation of a collection before it is removed, if it has a DOI that the site did not mint.

    Parameters
    ----------
    site
        Site that still publishes the collection.
    collection
        Name of the collection.

    Returns
    -------
    citation
        Citation for the collection's tombstone; None if it has no DOI of its own, is not public, or its DOI is on
        record already.
    """
    context = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL)
    published_state = site.get_published_state()
    try:
        catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, context.policies)
        citation_metadata = citations.collect_citation_metadata(context, published_state, catalogue, collection)
    except NotFoundError:
        return None
    # the DOI of a mirror leads to the original site
    is_mirror = bool(list_mirrored_site_addresses(citation_metadata.resource))
    known_citation = site.store.get_or_create(CitationStore).find_doi_record(collection)
    if citation_metadata.doi is None or is_mirror or known_citation is not None:
        return None
    try:
        return record_external_doi(site.store, citation_metadata, citation_metadata.doi)
    except ConflictError:  # a release has the same DOI, and its page stays as the tombstone
        return None


def write_doi_to_descriptor(path: Path, doi: str) -> bool:
    """Write a DOI into a descriptor, behind the line that names the collection, and leave all other lines as they are.

    Parameters
    ----------
    path
        Path of the descriptor.
    doi
        DOI without a prefix such as ``doi:``.

    Returns
    -------
    done
        False if the descriptor has a DOI already or no single line for the collection; nothing was changed then.
    """
    try:
        text = path.read_bytes().decode()
        lines = text.splitlines(keepends=True)
        collection_lines = [number for number, line in enumerate(lines) if re.match(r"collection\s*:", line)]
        has_doi = any(re.match(r"doi\s*:", line) for line in lines)
        if len(collection_lines) != 1 or has_doi:
            return False
        line_number = collection_lines[0]
        if lines[line_number].endswith("\r\n"):
            line_end = "\r\n"
        else:
            line_end = "\n"
        lines[line_number] = lines[line_number].rstrip("\r\n") + line_end
        lines.insert(line_number + 1, f"doi: {doi}{line_end}")
        replace_file(path, "".join(lines))
    except (OSError, UnicodeDecodeError):
        return False
    return True
