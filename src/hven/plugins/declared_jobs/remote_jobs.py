"""Run a job at a service elsewhere (UWS 1.1, TAP's async): send its parameters, follow its phase, fetch its results.

The remote job is created PENDING, its address is stored, and only then is it told to run. So if a process dies in
between, the worker that continues knows the remote job, and never creates a second one that runs.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.etree import ElementTree as ET  # documents with a DTD are refused before: no entities

from hven.model import split_address
from hven.model.errors import (
    ForbiddenError,
    HvenError,
    NotFoundError,
    OperationCancelledError,
    OverloadedError,
    SourceError,
    TimeLimitError,
    TooLargeError,
    UserError,
)
from hven.site.store import REMOTE_PROGRESS_KEY
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hven.jobs import RunningJob
    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.store import JobRecord
    from hven.sources.http_client import HttpAnswer

LONG_POLL_SECONDS = 2  # the service may hold an answer back this long; aborts are forwarded between two requests
FIRST_POLL_SECONDS, MAX_POLL_SECONDS = 0.1, 5.0  # first and longest pause between requests to services without WAIT
UNREACHABLE_LIMIT_SECONDS = 600.0  # a service may be out of reach this long
REQUEST_TIMEOUT_SECONDS = 20.0
ABORT_TIMEOUT_SECONDS = 3.0
CREATE_TIMEOUT_SECONDS = 600.0  # with the upload of its files
DEFAULT_RESULT_LIMIT_BYTES = 100 * 1024**3
MAX_RESULTS = 100  # of one job
MAX_QUOTED_CHARACTERS = 2000  # of a message of the service
ACTIVE_PHASES = {"PENDING", "QUEUED", "EXECUTING", "UNKNOWN", "SUSPENDED", "HELD"}
OWN_PARAMETERS = {"PHASE", "RUNID", "DESTRUCTION", "EXECUTIONDURATION", "ACTION", "WAIT"}
REQUEST_HEADERS = {"Accept": "application/xml, text/xml;q=0.9, */*;q=0.1"}
_RESULT_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJobRunner:
    """Run jobs at a service elsewhere.

    Attributes
    ----------
    url
        The job list of the service: ``https://other.example/tap/async``.
    fixed_parameters
        Parameters that are always sent; they win over the client's.
    forwarded_parameters
        Names of the client's parameters that are forwarded; None: all.
    result_limit_bytes
        Largest size of one result.
    """

    url: str
    fixed_parameters: Mapping[str, str]
    forwarded_parameters: frozenset[str] | None = None
    result_limit_bytes: int = DEFAULT_RESULT_LIMIT_BYTES

    def __call__(self, running_job: RunningJob) -> None:
        """Run a job at the service.

        Raises
        ------
        UserError
            The remote job failed or is gone; the error has its message.
        TimeLimitError
            The remote job was aborted.
        OverloadedError
            The service cannot be reached.
        """
        client = _RemoteJobClient(running_job.site.settings)
        address = running_job.progress.get(REMOTE_PROGRESS_KEY)
        if address is None:
            address = self._create_remote_job(running_job, client)
            running_job.save_progress(**{REMOTE_PROGRESS_KEY: address})
        job_url = str(address)
        running_job.set_stop_function(lambda: self._stop_remote_job(running_job, client, job_url))
        job_document = self._start_and_wait_for_remote_end(running_job, client, job_url)
        phase = _find_element_text(job_document, "phase")
        if phase != "COMPLETED":
            message = _find_element_text(job_document, "errorSummary/message") or "no reason was given"
            message = message[:MAX_QUOTED_CHARACTERS]
            if phase == "ABORTED":  # by its time limit, or by a user there; so this job ends, too
                raise TimeLimitError(f"the job at {self._host} was aborted: {message}")
            running_job.add_final_action(lambda: client.send_and_ignore_errors("DELETE", job_url))
            failure_text = "failed" if phase == "ERROR" else f"is {phase}"
            raise UserError(f"the job at {self._host} {failure_text}: {message}")
        self._fetch_results(running_job, job_document, job_url)
        # only at the end: if this worker dies now, another worker continues, and finds the remote job
        running_job.add_final_action(lambda: client.send_and_ignore_errors("DELETE", job_url))
        running_job.progress.pop(REMOTE_PROGRESS_KEY, None)

    def send_abort_or_delete(self, site: Site, job: JobRecord, is_destroyed: bool) -> None:
        """Forward an abort or a destruction of a job that no worker has."""
        job_url = job.progress.get(REMOTE_PROGRESS_KEY)
        if job_url is None:
            return
        client = _RemoteJobClient(site.settings)
        if is_destroyed:
            client.send_and_ignore_errors("DELETE", str(job_url))
        else:
            client.send_and_ignore_errors("POST", f"{job_url}/phase", PHASE="ABORT")

    @property
    def _host(self) -> str:
        return split_address(self.url).hostname or self.url

    def _create_remote_job(self, running_job: RunningJob, client: _RemoteJobClient) -> str:
        """Create the remote job, which is PENDING, and return its address."""
        form_fields: list[tuple[str, str]] = []
        for name, values in running_job.params.values.items():
            if self._is_forwarded(name):
                form_fields += [(name, value) for value in values]
        form_fields += list(self.fixed_parameters.items())
        if running_job.job.run_id is not None:
            form_fields.append(("RUNID", running_job.job.run_id))
        if running_job.job.duration:
            form_fields.append(("EXECUTIONDURATION", str(running_job.job.duration)))
        answer = client.send_request(
            "POST", self.url, form=form_fields, files=running_job.input_files, total_seconds=CREATE_TIMEOUT_SECONDS
        )
        if answer.status not in {301, 302, 303, 307, 308} or not answer.location:
            raise UserError(
                f"{self._host} did not create a job, but returned status "
                f"{answer.status}{_extract_answer_excerpt(answer)}"
            )
        job_host = split_address(answer.location).hostname
        if job_host != split_address(self.url).hostname:
            raise UserError(f"{self._host} created the job on a different host ({job_host})")
        return answer.location

    def _is_forwarded(self, parameter_name: str) -> bool:
        fixed_names = {name.upper() for name in self.fixed_parameters}
        if parameter_name in OWN_PARAMETERS or parameter_name in fixed_names:
            return False
        return self.forwarded_parameters is None or parameter_name in self.forwarded_parameters

    def _start_and_wait_for_remote_end(
        self, running_job: RunningJob, client: _RemoteJobClient, job_url: str
    ) -> ET.Element:
        """Wait until the remote job has ended, and report its progress; return its last document."""
        phase = ""
        pause_seconds = FIRST_POLL_SECONDS
        unreachable_since: float | None = None
        while True:
            if running_job.stopped.is_set():
                raise OperationCancelledError("the job was stopped")
            request_start = time.monotonic()
            request_url = job_url
            if phase in ACTIVE_PHASES:
                request_url = f"{job_url}?WAIT={LONG_POLL_SECONDS}&PHASE={phase}"
            try:
                answer = client.send_request("GET", request_url)
                job_document = _parse_job_document(answer, self._host)
                if _find_element_text(job_document, "phase") == "PENDING":
                    self._start_remote_job(client, job_url)
                unreachable_since = None
            except (_RemoteJobGoneError, ForbiddenError):
                raise
            except HvenError as error:
                unreachable_since = unreachable_since or request_start
                if request_start - unreachable_since > UNREACHABLE_LIMIT_SECONDS:
                    raise OverloadedError(
                        f"{self._host} has been unavailable for {UNREACHABLE_LIMIT_SECONDS:g} seconds: {error.message}"
                    ) from error
                running_job.report_progress(note=f"{self._host} does not respond")
                running_job.stopped.wait(MAX_POLL_SECONDS)
                continue
            previous_phase = phase
            phase = _find_element_text(job_document, "phase") or "UNKNOWN"
            if phase not in ACTIVE_PHASES:
                return job_document
            _report_remote_progress(running_job, phase, job_document)
            if phase != previous_phase:
                pause_seconds = FIRST_POLL_SECONDS
            else:
                pause_seconds = min(2 * pause_seconds, MAX_POLL_SECONDS)
            # a fast answer means that the service knows no WAIT, or that the phase changed
            if time.monotonic() - request_start < LONG_POLL_SECONDS / 2:
                running_job.stopped.wait(pause_seconds)

    def _start_remote_job(self, client: _RemoteJobClient, job_url: str) -> None:
        """Start the remote job."""
        answer = client.send_request("POST", f"{job_url}/phase", form=[("PHASE", "RUN")])
        if answer.status >= 400:
            client.send_and_ignore_errors("DELETE", job_url)
            raise _RemoteJobGoneError(
                f"{self._host} did not start the job, but returned status "
                f"{answer.status}{_extract_answer_excerpt(answer)}"
            )

    def _fetch_results(self, running_job: RunningJob, job_document: ET.Element, job_url: str) -> None:
        """Fetch the results, and stream each of them to the disk."""
        result_elements = job_document.findall(".//{*}result")
        if len(result_elements) > MAX_RESULTS:
            raise UserError(f"the job at {self._host} has {len(result_elements)} results; the limit is {MAX_RESULTS}")
        download_directory = running_job.directory / f"from-{running_job.job.attempts}"
        used_names: set[str] = set()
        for number, element in enumerate(result_elements, 1):
            links = (value for key, value in element.attrib.items() if _strip_namespace(key) == "href")
            name = unquote(element.get("id") or "")
            if not _RESULT_NAME_PATTERN.fullmatch(name) or name in used_names:
                name = f"result{number}"
            used_names.add(name)
            path = http_client.download_file(
                next(links, "") or f"{job_url}/results/{name}",
                download_directory,
                byte_limit=self.result_limit_bytes,
                allow_private=running_job.site.settings.allow_private,
                on_progress=lambda byte_count, _: _report_download_and_check_stop(running_job, byte_count),
            )
            media_type = element.get("mime-type") or ""
            if not media_type or not media_type.isprintable():
                media_type = "application/octet-stream"
            running_job.adopt_file_as_result(name, path, media_type=media_type, extension=path.suffix[:12])
            with contextlib.suppress(OSError):
                path.parent.rmdir()

    def _stop_remote_job(self, running_job: RunningJob, client: _RemoteJobClient, job_url: str) -> None:
        """Abort or destroy the remote job, unless another worker continues with it."""
        if running_job.stop_reason == "stop":
            return
        if running_job.stop_reason == "gone":
            try:
                job = running_job.site.store.jobs.get_job(running_job.job.id)
            except NotFoundError:
                client.send_and_ignore_errors("DELETE", job_url)
                return
            except HvenError:
                return
            if job.phase != "ABORTED":  # another worker has the job
                return
        client.send_and_ignore_errors("POST", f"{job_url}/phase", PHASE="ABORT")


class _RemoteJobGoneError(UserError):
    """The remote job does not exist any more, or will not run, so that another request would not help."""


class _RemoteJobClient:
    """A client of the service, which sends all requests through `http_client`."""

    def __init__(self, settings: Settings) -> None:
        self._allow_private = settings.allow_private

    def send_request(
        self,
        method: str,
        url: str,
        *,
        form: Sequence[tuple[str, str]] = (),
        files: Mapping[str, Path] | None = None,
        total_seconds: float | None = None,
    ) -> HttpAnswer:
        """Send a request.

        Raises
        ------
        OverloadedError
            The service cannot be reached, or is overloaded.
        ForbiddenError, TooLargeError
            The address is not allowed, or the answer is too large.
        """
        try:
            answer = http_client.send_request_once(
                method,
                url,
                form_fields=form,
                files=files,
                headers=REQUEST_HEADERS,
                timeout_seconds=REQUEST_TIMEOUT_SECONDS,
                total_timeout_seconds=total_seconds,
                allow_private=self._allow_private,
            )
        except (ForbiddenError, TooLargeError):
            raise
        except UserError as error:
            raise OverloadedError(error.message, remedy=error.remedy) from error
        if answer.status >= 500 or answer.status == 429:
            raise OverloadedError(
                f"{split_address(url).hostname} returned status {answer.status}{_extract_answer_excerpt(answer)}"
            )
        return answer

    def send_and_ignore_errors(self, method: str, url: str, **form: str) -> None:
        """Send a request whose failure does not matter here."""
        with contextlib.suppress(HvenError):
            http_client.send_request_once(
                method,
                url,
                form_fields=list(form.items()),
                timeout_seconds=ABORT_TIMEOUT_SECONDS,
                allow_private=self._allow_private,
            )


def _report_remote_progress(running_job: RunningJob, phase: str, job_document: ET.Element) -> None:
    row_count = _find_element_text(job_document, "jobInfo/rows")
    if row_count.isdigit():
        running_job.report_progress(there=phase, rows=int(row_count))
    else:
        running_job.report_progress(there=phase)


def _report_download_and_check_stop(running_job: RunningJob, byte_count: int) -> None:
    if running_job.stopped.is_set():
        raise OperationCancelledError("the job was stopped")
    running_job.report_progress(bytes=byte_count)


def _parse_job_document(answer: HttpAnswer, host: str) -> ET.Element:
    """Parse the document of a remote job.

    Raises
    ------
    SourceError
        The answer has no such document.
    """
    text = answer.body
    if answer.status in {404, 410}:
        raise _RemoteJobGoneError(f"the job at {host} no longer exists (status {answer.status})")
    if answer.status != 200:
        raise SourceError(f"{host} returned status {answer.status}{_extract_answer_excerpt(answer)}")
    if b"<!DOCTYPE" in text.upper() or b"<!ENTITY" in text.upper():
        raise SourceError(f"{host} returned a web page instead of a job")
    try:
        root = ET.fromstring(text)  # noqa: S314  (see above)
    except ET.ParseError as error:
        raise SourceError(f"{host} returned a document that is not XML: {error}") from error
    if _strip_namespace(root.tag) != "job":
        raise SourceError(f"{host} returned a <{_strip_namespace(root.tag):.40}> document instead of a job")
    return root


def _find_element_text(node: ET.Element, path: str) -> str:
    """Return the text of the first element on a path of local names; empty if there is none."""
    text = node.findtext("/".join(f"{{*}}{name}" for name in path.split("/"))) or ""
    return " ".join(text.split())


def _strip_namespace(tag: str) -> str:
    return tag.rpartition("}")[2]


def _extract_answer_excerpt(answer: HttpAnswer) -> str:
    """Return the first words of an answer, without its tags, for a message."""
    text = re.sub(r"<[^>]*>", " ", answer.body[:20_000].decode("utf-8", "replace"))
    words = " ".join(text.split())[:300]
    return f": {words}" if words else ""
