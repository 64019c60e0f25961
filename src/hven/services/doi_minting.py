"""DOIs by DataCite's REST interface (api.datacite.org/dois): a draft, published, brought up to date.

Asked again after any failure, nothing is made twice.
"""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import orjson

from hven import __version__
from hven.descriptor.mirroring import list_mirrored_sites
from hven.model.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ServiceError,
    UnauthenticatedError,
    UserError,
)
from hven.model.resource import Citation
from hven.model.resource import parse_doi as bare_doi
from hven.services import citations
from hven.services.face import ServiceContext
from hven.site.auth import ANONYMOUS_PRINCIPAL
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.services.citations import CitationMetadata
    from hven.site import Site
    from hven.site.store import StateStore

JSON_API_MEDIA_TYPE = "application/vnd.api+json"
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
RETRY_REMEDY = "run the same command again: it goes on with the same DOI, and makes no second one"
EVENTS_BY_STATE = {"findable": "publish", "withdrawn": "publish"}  # what DataCite is told, by what is wanted


class DataCiteClient:
    """One repository at DataCite.

    Parameters
    ----------
    settings
        Of the site: ``[doi]``.

    Raises
    ------
    UserError
        Something of ``[doi]`` is missing, or the password would be sent in the open.
    """

    def __init__(self, settings: Settings) -> None:
        doi_settings = settings.doi
        lacking = [key for key in ("prefix", "repository", "password") if getattr(doi_settings, key) is None]
        if lacking:
            raise UserError(
                f"hven.toml says no {' and no '.join(lacking)} under [doi]",
                remedy="write what DataCite gave you, the password as $NAME of a secret; or --to FILE for a library "
                "that registers it",
            )
        parts = urlsplit(doi_settings.endpoint)
        self._is_local = parts.hostname in LOOPBACK_HOSTS
        if parts.scheme != "https" and not self._is_local:
            raise UserError(
                f"{doi_settings.endpoint} is no https address: the password would be sent in the open",
                remedy='endpoint = "https://.." under [doi]',
            )
        self._settings = settings
        self._base_url = doi_settings.endpoint.rstrip("/")
        login = f"{doi_settings.repository}:{settings.resolve_address(doi_settings.password or '')}"
        self._headers = {
            "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
            "Content-Type": JSON_API_MEDIA_TYPE,
            "Accept": JSON_API_MEDIA_TYPE,
            "User-Agent": f"Hven/{__version__} ({settings.site_url})",
        }

    def find_doi(self, doi: str) -> dict[str, Any] | None:
        """Return what DataCite has of a DOI.

        Parameters
        ----------
        doi
            Bare.

        Returns
        -------
        attributes
            None: it has none.
        """
        status, body = self._send_request("GET", f"/dois/{quote(doi, safe='/')}")
        if status == 404:
            return None
        return self._read_attributes(status, body, "says nothing of the DOI")

    def create_doi(self, doi: str, attributes: Mapping[str, Any]) -> dict[str, Any] | None:
        """Make a DOI.

        Parameters
        ----------
        doi
            Bare.
        attributes
            Its metadata, with `url` and `event`.

        Returns
        -------
        attributes
            As DataCite has them now; None: there is one of that name already.
        """
        status, body = self._send_request("POST", "/dois", {**attributes, "doi": doi})
        if status == 422 and "taken" in _read_errors(body):
            return None
        return self._read_attributes(status, body, "does not make the DOI")

    def update_doi(self, doi: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Bring a DOI up to date.

        Parameters
        ----------
        doi, attributes
            As of `create_doi`.

        Returns
        -------
        attributes
            As DataCite has them now.
        """
        status, body = self._send_request("PUT", f"/dois/{quote(doi, safe='/')}", attributes)
        return self._read_attributes(status, body, "does not change the DOI")

    def _send_request(self, method: str, path: str, attributes: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        if attributes is None:
            content = None
        else:
            content = orjson.dumps({"data": {"type": "dois", "attributes": attributes}})
        seconds = self._settings.doi.seconds
        try:
            answer = http_client.send_request_once(
                method,
                f"{self._base_url}{path}",
                content=content,
                headers=self._headers,
                timeout_seconds=seconds,
                total_timeout_seconds=seconds,
                allow_private=self._is_local or self._settings.allow_private,
            )
        except UserError as error:  # also what broke off in the middle: it may have been done
            raise ServiceError(f"DataCite cannot be asked: {error.message}", remedy=RETRY_REMEDY) from error
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
            The account is not taken, or may not do it.
        UserError
            The metadata are refused.
        ServiceError
            It cannot at the moment, or answers rubbish.
        """
        if status in {200, 201}:
            if isinstance(body, dict):
                data = body.get("data")
            else:
                data = None
            if isinstance(data, dict):
                attributes = data.get("attributes")
            else:
                attributes = None
            if not isinstance(attributes, dict) or not isinstance(attributes.get("doi"), str):
                raise ServiceError(
                    f"DataCite {failed_action}: its answer is none that this Hven knows",
                    remedy=f"look at endpoint under [doi], {self._base_url}; then {RETRY_REMEDY}",
                )
            return attributes
        error_text = _read_errors(body) or f"status {status}"
        if status == 401:
            raise UnauthenticatedError(
                f"DataCite {failed_action}: the repository or the password is wrong ({error_text})",
                remedy="look at [doi] in hven.toml and at the secret",
            )
        if status == 403:
            raise ForbiddenError(
                f"DataCite {failed_action}: {self._settings.doi.repository} may not ({error_text})",
                remedy=f"is {self._settings.doi.prefix} its prefix? is the DOI another repository's?",
            )
        if status == 429 or status >= 500:
            raise ServiceError(f"DataCite {failed_action} now: {error_text}", remedy=f"later, {RETRY_REMEDY}")
        raise UserError(
            f"DataCite {failed_action}: {error_text}", remedy="mend the descriptor: hven doi NAME shows what is sent"
        )


def _read_errors(body: Any) -> str:
    """Return what an answer says is wrong."""
    if isinstance(body, dict):
        error_list = body.get("errors")
    else:
        error_list = None
    if not isinstance(error_list, list):
        return ""
    error_texts = [
        ": ".join(str(error_entry[key]) for key in ("source", "title", "detail") if error_entry.get(key))
        for error_entry in error_list
        if isinstance(error_entry, dict)
    ]
    return "; ".join(error_texts)[:500]


def propose_doi(settings: Settings, citation_metadata: CitationMetadata, suffix: str = "") -> str:
    """Return the DOI that something gets: its own if it has one of this prefix, else one made of its name.

    Parameters
    ----------
    settings
        Of the site.
    citation_metadata
        A collection or a release.
    suffix
        What shall stand behind the prefix; empty: collection and release, in small letters.

    Raises
    ------
    ConflictError
        It has one of another prefix, which is not ours to change.
    UserError
        There is no prefix.
    """
    prefix = settings.doi.prefix
    if prefix is None:
        raise UserError("hven.toml says no prefix under [doi]", remedy='prefix = "10.xxxx", as DataCite gave it to you')
    if citation_metadata.doi is not None:
        if not citation_metadata.doi.lower().startswith(f"{prefix}/"):
            raise ConflictError(
                f"{citation_metadata.title} has the DOI {citation_metadata.doi}, which is not of our prefix {prefix}",
                remedy="whoever registered it keeps it up to date: --to FILE writes what to send them",
            )
        return citation_metadata.doi
    if citation_metadata.label:
        name = f"{citation_metadata.resource.name}.{citation_metadata.label}"
    else:
        name = citation_metadata.resource.name
    doi_suffix = suffix or f"{settings.doi.suffix}{name}".lower()
    if not re.fullmatch(r"[A-Za-z0-9._/-]+", doi_suffix):
        raise UserError(f"{doi_suffix!r:.60} cannot stand in a DOI", remedy="letters, digits and . _ - /")
    return f"{prefix}/{doi_suffix}"


def build_attributes(citation_metadata: CitationMetadata, doi: str) -> dict[str, Any]:
    """Return what DataCite is told.

    Parameters
    ----------
    citation_metadata
        A collection or a release.
    doi
        Its own.
    """
    datacite_record = citations.build_datacite_record(replace(citation_metadata, doi=doi))
    return {**datacite_record, "url": citation_metadata.address}


def mint_doi(
    settings: Settings, store: StateStore, citation_metadata: CitationMetadata, target_state: str, suffix: str = ""
) -> tuple[Citation, str]:
    """Bring a DOI into a state. Whatever fails can be done again.

    The DOI is kept before it is asked for, and looked up before it is made.

    Parameters
    ----------
    settings, store
        Of the site.
    citation_metadata
        What it is of.
    target_state
        ``draft``, ``findable``, or ``withdrawn``.
    suffix
        As of `propose_doi`.

    Returns
    -------
    citation, done
        As it is kept; and what was done: ``made``, ``changed``, ``as it was``.

    Raises
    ------
    UserError
        It lacks what DataCite asks for, or is refused.
    ConflictError
        The DOI is somebody else's, or of something else.
    ServiceError
        DataCite cannot be asked now, or broke off.
    """
    wrong = [message for severity, message in citations.list_missing_metadata(citation_metadata) if severity == "error"]
    if wrong:
        raise UserError(f"{citation_metadata.title}: {'; '.join(wrong)}")
    service = DataCiteClient(settings)
    before = store.citations.find_citation(citation_metadata.resource.name, citation_metadata.label)
    if before is not None and before.doi is not None:
        doi = before.doi
    else:
        doi = propose_doi(settings, citation_metadata, suffix)
    named = Citation(
        collection=citation_metadata.resource.name,
        label=citation_metadata.label,
        doi=doi,
        url=citation_metadata.address,
    )
    citation = store.citations.reserve_doi(named)
    attributes = build_attributes(citation_metadata, doi)
    if target_state == "draft" and citation.state not in {"reserved", "draft"}:
        raise ConflictError(
            f"{doi} is {citation.state}: what was published once is no draft any more",
            remedy="--publish brings it up to date",
        )
    if (citation.state, citation.told) == (target_state, attributes):
        return citation, "as it was"
    datacite_attributes = service.find_doi(doi)
    outcome = "changed"
    request_attributes = {
        **attributes,
        **(
            {"event": EVENTS_BY_STATE[target_state]}
            if target_state in EVENTS_BY_STATE and (datacite_attributes or {}).get("state") != "findable"
            else {}
        ),
    }
    if datacite_attributes is None:
        datacite_attributes = service.create_doi(doi, request_attributes)
        outcome = "made"
        if datacite_attributes is None:  # by somebody else, or by a request of ours whose answer was lost
            datacite_attributes = service.find_doi(doi)
            if datacite_attributes is None:
                raise ConflictError(f"{doi} is taken, and not by this repository", remedy="give another: --suffix")
            datacite_attributes = service.update_doi(
                _check_doi_target(datacite_attributes, citation), request_attributes
            )
            outcome = "changed"
    else:
        datacite_attributes = service.update_doi(_check_doi_target(datacite_attributes, citation), request_attributes)
    if str(datacite_attributes["doi"]).lower() != doi.lower():
        raise ServiceError(
            f"DataCite answers for {datacite_attributes['doi']}, and was asked for {doi}", remedy=RETRY_REMEDY
        )
    state = str(datacite_attributes.get("state", target_state))
    if target_state != "draft" and state != "findable":
        raise ServiceError(f"{doi} is {state} at DataCite, and not findable", remedy=RETRY_REMEDY)
    reason = citation.reason if target_state == "withdrawn" else None
    return store.citations.save_citation(
        replace(
            citation,
            state=target_state,
            url=citation_metadata.address,
            told=attributes,
            reason=reason,
        )
    ), outcome


def _check_doi_target(datacite_attributes: Mapping[str, Any], citation: Citation) -> str:
    """See that a DOI that DataCite has is the one that we mean, and not something else of this repository; return it.

    Raises
    ------
    ConflictError
        It leads elsewhere.
    """
    url = datacite_attributes.get("url")
    if citation.state == "reserved" and url and url != citation.url:
        raise ConflictError(
            f"{citation.doi} is there already, and leads to {url}",
            remedy="give another: --suffix; or --is, if that is the same",
        )
    return str(citation.doi)


def record_external_doi(store: StateStore, citation_metadata: CitationMetadata, text: str) -> Citation:
    """Keep a DOI that somebody else registered: an institute's library.

    Parameters
    ----------
    store
        Of the site.
    citation_metadata
        What it is of.
    text
        The DOI.

    Returns
    -------
    citation
        As it is kept.

    Raises
    ------
    UserError
        It is none.
    ConflictError
        It has another one, or something else has that one.
    """
    doi = bare_doi(text)
    if doi is None:
        raise UserError(f"{text!r:.80} is no DOI", remedy="10.xxxx/..")
    citation = store.citations.reserve_doi(
        Citation(
            collection=citation_metadata.resource.name,
            label=citation_metadata.label,
            doi=doi,
            url=citation_metadata.address,
        )
    )
    if (citation.doi or "").lower() != doi.lower():
        raise ConflictError(f"{citation_metadata.title} has the DOI {citation.doi} already")
    attributes = build_attributes(citation_metadata, doi)
    return store.citations.save_citation(replace(citation, state="findable", told=attributes))


def record_withdrawal(store: StateStore, citation_metadata: CitationMetadata, reason: str) -> Citation:
    """Keep that something is withdrawn, and why: its page stays as a tombstone, also when its data are taken away.

    Parameters
    ----------
    store
        Of the site.
    citation_metadata
        What.
    reason
        For people.

    Returns
    -------
    citation
        As it is kept.
    """
    name = citation_metadata.resource.name
    label = citation_metadata.label
    before = store.citations.find_citation(name, label) or Citation(
        collection=name, label=label, url=citation_metadata.address, doi=citation_metadata.doi
    )
    if (before.state, before.reason) == ("withdrawn", reason):  # the day stays that of the first time
        return before
    doi = before.doi or citation_metadata.doi
    # what DataCite has is kept until it has been told
    return store.citations.save_citation(
        replace(
            before,
            doi=doi,
            state="withdrawn",
            reason=reason,
            told=before.told
            or (
                build_attributes(citation_metadata, doi) if doi else citations.build_datacite_record(citation_metadata)
            ),
        )
    )


def keep_tombstone(site: Site, name: str) -> Citation | None:
    """Keep the citation of a collection before it is removed, if it has a DOI that was not minted by the site.

    Parameters
    ----------
    site
        In which it is still published.
    name
        Of the collection.

    Returns
    -------
    citation
        What its tombstone will say; None: it has no DOI of its own, not everybody sees it, or the site knows of its DOI
        already.
    """
    context = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL)
    now = site.get_published_state()
    try:
        catalogue = now.get_catalogue(ANONYMOUS_PRINCIPAL, context.policies)
        citation_metadata = citations.collect_citation_metadata(context, now, catalogue, name)
    except NotFoundError:
        return None
    mirror = list_mirrored_sites(citation_metadata.resource)  # its DOI leads to the site that it reproduces
    if citation_metadata.doi is None or mirror or site.store.citations.find_citation(name) is not None:
        return None
    try:
        return record_external_doi(site.store, citation_metadata, citation_metadata.doi)
    except ConflictError:  # a release has the same DOI, and its page goes on telling of it
        return None


def write_doi_to_descriptor(path: Path, doi: str) -> bool:
    """Write a DOI into a descriptor, behind the line that names the collection; all else stays as it is.

    Parameters
    ----------
    path
        Of the descriptor.
    doi
        Bare.

    Returns
    -------
    done
        False: it cannot be written there by a line; nothing was changed.
    """
    try:
        text = path.read_bytes().decode()
        lines = text.splitlines(keepends=True)
        at = [number for number, line in enumerate(lines) if re.match(r"collection\s*:", line)]
        if len(at) != 1 or any(re.match(r"doi\s*:", line) for line in lines):
            return False
        if lines[at[0]].endswith("\r\n"):
            end = "\r\n"
        else:
            end = "\n"
        lines[at[0]] = lines[at[0]].rstrip("\r\n") + end
        lines.insert(at[0] + 1, f"doi: {doi}{end}")
        path.write_bytes("".join(lines).encode())
    except (OSError, UnicodeDecodeError):
        return False
    return True


__all__ = [
    "DataCiteClient",
    "build_attributes",
    "mint_doi",
    "propose_doi",
    "record_external_doi",
    "record_withdrawal",
    "write_doi_to_descriptor",
]
