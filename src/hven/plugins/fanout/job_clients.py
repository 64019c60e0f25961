"""Run and follow jobs from a program: those of this site, and those of another Hven site over HTTP.

Both kinds of clients describe a job by its JSON document (`hven.services.uws_documents.describe_job`).
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import urlencode, urljoin, urlsplit

import orjson

from hven.jobs import build_job_path, type_catalogue
from hven.jobs.job_service import JobRequester, JobService
from hven.model.errors import NotFoundError, SourceError, TooLargeError, UsageError, UserError
from hven.model.params import UploadedFile, collect_params
from hven.services import uws_documents
from hven.sources.http_client import send_request_once, stream_answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hven.site import Site
    from hven.site.auth import Principal
    from hven.sources.http_client import HttpAnswer

POLL_INTERVAL_SECONDS = 0.2  # between two looks at a job of this site
WAIT_SECONDS = 20  # a server answers then at the latest, when a job does not change
TIMEOUT_SECONDS = 60.0
MAX_RESULT_BYTES = 64 * 1024**3
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
CHUNK_BYTES = 1 << 20
JOB_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTypeSummary:
    """A job type, as its declaration describes it.

    Attributes
    ----------
    name, title
        Its name and title.
    param_names, file_names
        The names of its parameters, and of those that are files.
    """

    name: str
    title: str
    param_names: Sequence[str]
    file_names: Sequence[str]


class JobClient(Protocol):
    """Create, read and abort jobs, and fetch their results.

    Common
    ------
    type_name
        Name of the job type.
    job_id
        Id of the job.
    """

    def list_types(self) -> Sequence[JobTypeSummary]:
        """List the types of which this client may create jobs."""

    def create_job(self, type_name: str, params: Sequence[tuple[str, str]], files: Mapping[str, Path]) -> str:
        """Create and start a job, and return its id.

        Parameters
        ----------
        params
            Its parameters.
        files
            Name of a parameter -> the file that is its value.
        """

    def list_jobs(self, type_name: str, phases: Sequence[str], limit: int) -> Sequence[Mapping[str, Any]]:
        """List the jobs of a type, the newest first.

        Parameters
        ----------
        phases
            Only jobs in these phases; empty: in all.
        limit
            At most this many.
        """

    def read_job(self, type_name: str, job_id: str) -> Mapping[str, Any]:
        """Read the document of a job."""

    def wait_briefly_for_change(self, type_name: str, job_id: str, phase: str) -> Mapping[str, Any]:
        """Read a job when it has left a phase, or after some time.

        Parameters
        ----------
        phase
            The last known phase.
        """

    def stop_job(self, type_name: str, job_id: str) -> None:
        """Abort a job."""

    def save_result(self, type_name: str, job_id: str, result: Mapping[str, Any], file: BinaryIO) -> None:
        """Write a result to a file.

        Parameters
        ----------
        result
            The result, as the document of the job describes it.
        file
            An empty file.
        """


class LocalJobClient:
    """The jobs of a user of this site; see `JobClient`."""

    def __init__(self, site: Site, principal: Principal) -> None:
        self._site = site
        self._requester = JobRequester(principal=principal, address="")

    def list_types(self) -> list[JobTypeSummary]:
        """List the types that the site serves now."""
        return [
            JobTypeSummary(
                name=job_type.name,
                title=job_type.title,
                param_names=[param.name for param in job_type.params],
                file_names=job_type.files,
            )
            for job_type in type_catalogue.load_served_job_types(self._site.settings).values()
        ]

    def create_job(self, type_name: str, params: Sequence[tuple[str, str]], files: Mapping[str, Path]) -> str:
        """Create and start a job."""
        with contextlib.ExitStack() as stack:
            uploaded_files = {}
            for name, path in files.items():
                file = stack.enter_context(path.open("rb"))
                uploaded_files[name] = UploadedFile(name=name, file=file, size=path.stat().st_size, filename=path.name)
            job_params = collect_params([*params, ("PHASE", "RUN")], uploaded_files)
            return JobService(self._site, type_name).create_job(job_params, self._requester).id

    def list_jobs(self, type_name: str, phases: Sequence[str], limit: int) -> list[dict[str, Any]]:
        """List the user's jobs of a type."""
        list_params = collect_params([("LAST", str(limit)), *(("PHASE", phase) for phase in phases)])
        refs = JobService(self._site, type_name).list_jobs(list_params, self._requester)
        return uws_documents.describe_job_refs(refs, type_name)

    def read_job(self, type_name: str, job_id: str) -> dict[str, Any]:
        """Read a job."""
        job_service = JobService(self._site, type_name)
        job = job_service.get_job(job_id, self._requester)
        outlook = job_service.estimate_completion(job)
        return uws_documents.describe_job(
            job, f"{type_name}/{job_id}", queue_place=outlook.place, expected_end=outlook.quote, note=outlook.note
        )

    def wait_briefly_for_change(self, type_name: str, job_id: str, phase: str) -> dict[str, Any]:  # noqa: ARG002
        """Read a job after a moment: the store of this site is near."""
        time.sleep(POLL_INTERVAL_SECONDS)
        return self.read_job(type_name, job_id)

    def stop_job(self, type_name: str, job_id: str) -> None:
        """Abort a job."""
        job_service = JobService(self._site, type_name)
        job_service.run_or_abort_job(job_service.get_job(job_id, self._requester, for_change=True), "ABORT")

    def save_result(self, type_name: str, job_id: str, result: Mapping[str, Any], file: BinaryIO) -> None:
        """Copy a result."""
        job_service = JobService(self._site, type_name)
        job = job_service.get_job(job_id, self._requester)
        source_path, _ = job_service.find_result_file(job, result["id"])
        with source_path.open("rb") as source:
            shutil.copyfileobj(source, file, CHUNK_BYTES)


class RemoteJobClient:
    """Jobs of another Hven site; see `JobClient`.

    Parameters
    ----------
    url
        Address of the site.
    token
        Token of an account there; empty: none.

    Raises
    ------
    UsageError
        The address is no address of a site, or would send the token without encryption.
    """

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(
                f"{url!r:.200} is not the address of a site", remedy="write an address such as https://vo.example.org"
            )
        if parts.username is not None or parts.query or parts.fragment:
            raise UsageError(
                "the address of a site must not contain a user name, ? or #", remedy="send the token with --token-file"
            )
        if token and parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
            raise UsageError(
                f"the token would be sent to {parts.hostname} without encryption",
                remedy="write https:// in the address",
            )
        self._url = url.rstrip("/")
        self._origin = (parts.scheme, parts.netloc)
        self._headers = {"accept": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}

    def _build_url(self, type_name: str, *parts: str) -> str:
        return self._url + build_job_path(type_name, *parts)

    def _send(
        self, method: str, url: str, form: Sequence[tuple[str, str]] = (), files: Mapping[str, Path] | None = None
    ) -> HttpAnswer:
        # allow_private: the user typed the address, so it may be inside the institute's network
        answer = send_request_once(
            method,
            url,
            form_fields=form,
            files=files,
            headers=self._headers,
            timeout_seconds=TIMEOUT_SECONDS,
            allow_private=True,
        )
        if answer.status in {401, 403} and "authorization" not in self._headers:
            raise UserError(
                f"{url} needs an account (status {answer.status})",
                remedy="send the token of your account with --token-file or in the variable HVEN_TOKEN",
            )
        if answer.status >= 400:
            words = " ".join(answer.body[:2000].decode("utf-8", "replace").split())
            raise UserError(f"{url} answered with status {answer.status}: {words[:500]}")
        return answer

    def _read_json(self, url: str) -> Any:
        answer = self._send("GET", url)
        try:
            return orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            raise SourceError(f"the response of {url} is not JSON", remedy="write the address of a Hven site") from None

    def list_types(self) -> list[JobTypeSummary]:
        """List the types that the other site offers to this user."""
        document = self._read_json(f"{self._url}/jobs")
        try:
            return [
                JobTypeSummary(
                    name=str(entry["name"]),
                    title=str(entry.get("title") or ""),
                    param_names=[str(param["name"]) for param in entry["parameters"]],
                    file_names=[str(param["name"]) for param in entry["parameters"] if param.get("type") == "file"],
                )
                for entry in document["types"]
            ]
        except (KeyError, TypeError, AttributeError):
            raise SourceError(f"{self._url}/jobs is not the list of job types of a Hven site") from None

    def create_job(self, type_name: str, params: Sequence[tuple[str, str]], files: Mapping[str, Path]) -> str:
        """Create and start a job."""
        url = self._build_url(type_name)
        answer = self._send("POST", url, [*params, ("PHASE", "RUN")], files or None)
        job_id = urlsplit(answer.location or "").path.rpartition("/")[2]
        if answer.status != 303 or not JOB_ID_PATTERN.fullmatch(job_id):
            raise SourceError(f"{url} did not create a job, but answered with status {answer.status}")
        return job_id

    def list_jobs(self, type_name: str, phases: Sequence[str], limit: int) -> list[Mapping[str, Any]]:
        """List the user's jobs of a type."""
        query = urlencode([("LAST", str(limit)), *(("PHASE", phase) for phase in phases)])
        document = self._read_json(f"{self._build_url(type_name)}?{query}")
        jobs = None
        if isinstance(document, dict):
            jobs = document.get("jobs")
        if not isinstance(jobs, list):
            raise SourceError(f"{self._build_url(type_name)} is not a list of jobs")
        return jobs

    def read_job(self, type_name: str, job_id: str) -> Mapping[str, Any]:
        """Read a job."""
        return self._read_job(self._build_url(type_name, job_id))

    def _read_job(self, url: str) -> dict[str, Any]:
        document = self._read_json(url)
        if not isinstance(document, dict) or not isinstance(document.get("phase"), str):
            raise SourceError(f"{url} is not a job")
        return document

    def wait_briefly_for_change(self, type_name: str, job_id: str, phase: str) -> Mapping[str, Any]:
        """Read a job when its phase has changed: the other site waits with its answer."""
        query = urlencode({"WAIT": WAIT_SECONDS, "PHASE": phase})
        return self._read_job(f"{self._build_url(type_name, job_id)}?{query}")

    def stop_job(self, type_name: str, job_id: str) -> None:
        """Abort a job."""
        self._send("POST", self._build_url(type_name, job_id, "phase"), [("PHASE", "ABORT")])

    def save_result(self, type_name: str, job_id: str, result: Mapping[str, Any], file: BinaryIO) -> None:
        """Download a result; the token goes to no other server."""
        own_url = self._build_url(type_name, job_id, "results", str(result["id"]))
        url = urljoin(own_url, str(result.get("href") or own_url))
        received_bytes = 0
        answer_context = stream_answer(
            "GET",
            url,
            authorization=self._headers.get("authorization") if urlsplit(url)[:2] == self._origin else None,
            timeout_seconds=TIMEOUT_SECONDS,
            allow_private=True,
            is_raw=True,
        )
        with answer_context as answer:
            if answer.status != 200:
                raise SourceError(f"{url} answered with status {answer.status}")
            for part in answer.parts:
                received_bytes += len(part)
                if received_bytes > MAX_RESULT_BYTES:
                    raise TooLargeError(f"{url} has more than {MAX_RESULT_BYTES:,} bytes")
                file.write(part)
            expected_bytes = answer.headers.get("content-length", "")
            if expected_bytes.isdigit() and int(expected_bytes) != received_bytes:
                raise SourceError(f"{url} ended after {received_bytes:,} of {expected_bytes} bytes", remedy="try again")


def find_job_type(client: JobClient, type_name: str) -> JobTypeSummary:
    """Find a job type by its name.

    Parameters
    ----------
    client
        The client.
    type_name
        The name, as the user wrote it.

    Raises
    ------
    NotFoundError
        There is no such type, or the user may not use it.
    """
    job_types = {job_type.name: job_type for job_type in client.list_types()}
    if type_name not in job_types:
        names = ", ".join(sorted(job_types)) or "none"
        raise NotFoundError(f"there is no job type {type_name!r:.60}", remedy=f"the job types are: {names}")
    return job_types[type_name]
