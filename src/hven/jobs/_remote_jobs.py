"""A job of a service elsewhere (UWS 1.1, TAP's async).

Parameters go there, its phase is followed, its results come here.

The job there is made PENDING, its address written into the store, and only then told to run. So whatever dies in
between, the worker that goes on knows the job there, and never makes a second one that runs.
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

    from hven.jobs._job_types import RunningJob
    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.store import JobRecord
    from hven.sources.http_client import HttpAnswer

LONG_POLL_SECONDS = 2  # seconds that the service is asked to hold an answer back; aborts are forwarded meanwhile
FIRST_POLL_SECONDS, MAX_POLL_SECONDS = (
    0.1,
    5.0,
)  # seconds between two looks at a service that does not wait: first, and later
UNREACHABLE_LIMIT_SECONDS = 600.0  # seconds for which a service may be out of reach
REQUEST_TIMEOUT_SECONDS = 20.0  # for one answer
ABORT_TIMEOUT_SECONDS = 3.0  # ... of an abort
MAX_RESULTS = 100  # of one job
ACTIVE_PHASES = {"PENDING", "QUEUED", "EXECUTING", "UNKNOWN", "SUSPENDED", "HELD"}
OWN_PARAMETERS = {"PHASE", "RUNID", "DESTRUCTION", "EXECUTIONDURATION", "ACTION", "WAIT"}
REQUEST_HEADERS = {"Accept": "application/xml, text/xml;q=0.9, */*;q=0.1"}
_RESULT_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJobRunner:
    """A service elsewhere.

    Attributes
    ----------
    url
        Its list of jobs: ``https://other.example/tap/async``.
    fixed_parameters
        Parameters that are always sent; they win over the reader's.
    forwarded_parameters
        Names of the parameters that are forwarded; None: all.
    result_limit_bytes
        Bytes of one result at most.
    """

    url: str
    fixed_parameters: Mapping[str, str]
    forwarded_parameters: frozenset[str] | None = None
    result_limit_bytes: int = 100 * 1024**3

    def __call__(self, running_job: RunningJob) -> None:
        """Run a job at the service elsewhere.

        Raises
        ------
        UserError
            The job there failed or has gone; its words are told.
        TimeLimitError
            It was aborted there.
        OverloadedError
            The service cannot be reached.
        """
        client = _RemoteClient(running_job.site.settings)
        address = running_job.progress.get(REMOTE_PROGRESS_KEY)
        if address is None:
            address = self._create_remote_job(running_job, client)
            running_job.save_progress(**{REMOTE_PROGRESS_KEY: address})
        job_url = str(address)
        running_job.set_stop_function(lambda: self._send_stop(running_job, client, job_url))
        job_document = self._wait_for_end(running_job, client, job_url)
        phase = _find_text(job_document, "phase")
        if phase != "COMPLETED":
            message = _find_text(job_document, "errorSummary/message") or "it does not say why"
            if phase == "ABORTED":  # out of time, or by somebody there: so is ours
                raise TimeLimitError(f"the job at {self._host} was aborted: {message[:2000]}")
            running_job.add_final_action(lambda: client.send_and_ignore_errors("DELETE", job_url))
            if phase == "ERROR":
                failure_text = "failed"
            else:
                failure_text = f"is {phase}"
            raise UserError(f"the job at {self._host} {failure_text}: {message[:2000]}")
        self._fetch_results(running_job, job_document, job_url)
        # not at once: whoever goes on with the job, if this worker dies now or has been taken for dead, finds it there
        running_job.add_final_action(lambda: client.send_and_ignore_errors("DELETE", job_url))
        running_job.progress.pop(REMOTE_PROGRESS_KEY, None)

    def send_drop(self, site: Site, job: JobRecord, is_destroyed: bool) -> None:
        """Forward an abort or a destruction while no worker has the job."""
        job_url = job.progress.get(REMOTE_PROGRESS_KEY)
        if job_url is not None:
            client = _RemoteClient(site.settings)
            if is_destroyed:
                client.send_and_ignore_errors("DELETE", str(job_url))
            else:
                client.send_and_ignore_errors("POST", f"{job_url}/phase", PHASE="ABORT")

    @property
    def _host(self) -> str:
        return split_address(self.url).hostname or self.url

    def _create_remote_job(self, running_job: RunningJob, client: _RemoteClient) -> str:
        """Create the job there, PENDING."""
        form_fields = [
            (name, value)
            for name, values in running_job.params.values.items()
            if self._is_forwarded(name)
            for value in values
        ]
        form_fields += list(self.fixed_parameters.items())
        if running_job.job.run_id is not None:
            form_fields.append(("RUNID", running_job.job.run_id))
        if running_job.job.duration:
            form_fields.append(("EXECUTIONDURATION", str(running_job.job.duration)))
        answer = client.send_request(
            "POST", self.url, form=form_fields, files=running_job.input_files, total_seconds=600.0
        )
        if answer.status not in {301, 302, 303, 307, 308} or not answer.location:
            raise UserError(f"{self._host} did not make a job: it answers {answer.status}{_quote_answer(answer)}")
        if split_address(answer.location).hostname != split_address(self.url).hostname:
            raise UserError(
                f"{self._host} made a job, and says that it is at another host, "
                f"{split_address(answer.location).hostname}"
            )
        return answer.location

    def _is_forwarded(self, parameter_name: str) -> bool:
        fixed = {key.upper() for key in self.fixed_parameters}
        return (
            parameter_name not in OWN_PARAMETERS
            and parameter_name not in fixed
            and (self.forwarded_parameters is None or parameter_name in self.forwarded_parameters)
        )

    def _wait_for_end(self, running_job: RunningJob, client: _RemoteClient, job_url: str) -> ET.Element:
        """Wait until the job there has ended; tell how far it is."""
        phase = ""
        pause = FIRST_POLL_SECONDS
        lost_since = None
        while True:
            if running_job.stopped.is_set():
                raise OperationCancelledError("the job was stopped")
            request_start = time.monotonic()
            try:
                answer = client.send_request(
                    "GET",
                    f"{job_url}?WAIT={LONG_POLL_SECONDS}&PHASE={phase}"
                    if phase in ACTIVE_PHASES and phase
                    else job_url,
                )
                job_document = _parse_job_document(answer, self._host)
                if _find_text(job_document, "phase") == "PENDING":
                    self._start_remote_job(client, job_url)
                lost_since = None
            except (_RemoteJobGoneError, ForbiddenError):
                raise
            except HvenError as error:
                lost_since = lost_since or request_start
                if request_start - lost_since > UNREACHABLE_LIMIT_SECONDS:
                    raise OverloadedError(
                        f"{self._host} has not answered for {UNREACHABLE_LIMIT_SECONDS:g} seconds: {error.message}"
                    ) from error
                running_job.report_progress(note=f"{self._host} does not answer")
                running_job.stopped.wait(MAX_POLL_SECONDS)
                continue
            before = phase
            phase = _find_text(job_document, "phase") or "UNKNOWN"
            if phase not in ACTIVE_PHASES:
                return job_document
            rows = _find_text(job_document, "jobInfo/rows")
            running_job.report_progress(there=phase, **({"rows": int(rows)} if rows.isdigit() else {}))
            if phase != before:
                pause = FIRST_POLL_SECONDS
            else:
                pause = min(2 * pause, MAX_POLL_SECONDS)
            if time.monotonic() - request_start < LONG_POLL_SECONDS / 2:  # it does not wait, or there was a change
                running_job.stopped.wait(pause)

    def _start_remote_job(self, client: _RemoteClient, job_url: str) -> None:
        """Start the job there."""
        form = [("PHASE", "RUN")]
        answer = client.send_request("POST", f"{job_url}/phase", form=form)
        if answer.status >= 400:
            client.send_and_ignore_errors("DELETE", job_url)
            raise _RemoteJobGoneError(
                f"{self._host} does not run the job: it answers {answer.status}{_quote_answer(answer)}"
            )

    def _fetch_results(self, running_job: RunningJob, job_document: ET.Element, job_url: str) -> None:
        """Fetch the results, each as a stream to disk."""
        result_elements = [item for item in job_document.iter() if _strip_namespace(item.tag) == "result"]
        if len(result_elements) > MAX_RESULTS:
            raise UserError(f"the job at {self._host} has {len(result_elements)} results; the limit is {MAX_RESULTS}")
        used_names: set[str] = set()
        for number, item in enumerate(result_elements, 1):
            href = next((value for name, value in item.attrib.items() if _strip_namespace(name) == "href"), "")
            name = unquote(item.get("id") or "")
            if not _RESULT_NAME_PATTERN.fullmatch(name) or name in used_names:
                name = f"result{number}"
            used_names.add(name)
            if not href:
                href = f"{job_url}/results/{name}"
            path = http_client.download_file(
                href,
                running_job.directory / f"from-{running_job.job.attempts}",
                byte_limit=self.result_limit_bytes,
                allow_private=running_job.site.settings.allow_private,
                on_progress=lambda got, _: _report_download(running_job, got),
            )
            media_type = item.get("mime-type") or "application/octet-stream"
            running_job.adopt_file_as_result(
                name,
                path,
                media_type=media_type if media_type.isprintable() else "application/octet-stream",
                extension=path.suffix[:12],
            )
            with contextlib.suppress(OSError):
                path.parent.rmdir()

    def _send_stop(self, running_job: RunningJob, client: _RemoteClient, job_url: str) -> None:
        """Forward why it is to stop: abort or destroy it there; leave it alone if another worker goes on with it."""
        if running_job.stop_reason == "stop":
            return
        if running_job.stop_reason == "gone":
            try:
                job = running_job.site.store.jobs.get_job(running_job.job.id)
                phase = job.phase
            except NotFoundError:
                client.send_and_ignore_errors("DELETE", job_url)
                return
            except HvenError:
                return
            if phase != "ABORTED":  # somebody else has it
                return
        client.send_and_ignore_errors("POST", f"{job_url}/phase", PHASE="ABORT")


class _RemoteJobGoneError(UserError):
    """Asking again would not help: the job there is no more, or will not run."""


class _RemoteClient:
    """The service, by the one outward client."""

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
            It cannot be reached, or has too much to do.
        ForbiddenError, TooLargeError
            It must not be asked, or says too much.
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
            raise OverloadedError(f"{split_address(url).hostname} answers {answer.status}{_quote_answer(answer)}")
        return answer

    def send_and_ignore_errors(self, method: str, url: str, **form: str) -> None:
        """Send it something that must not fail for us."""
        with contextlib.suppress(HvenError):
            form_fields = list(form.items())
            http_client.send_request_once(
                method,
                url,
                form_fields=form_fields,
                timeout_seconds=ABORT_TIMEOUT_SECONDS,
                allow_private=self._allow_private,
            )


def _report_download(running_job: RunningJob, byte_count: int) -> None:
    if running_job.stopped.is_set():
        raise OperationCancelledError("the job was stopped")
    running_job.report_progress(bytes=byte_count)


def _parse_job_document(answer: HttpAnswer, host: str) -> ET.Element:
    """Read a job.

    Raises
    ------
    SourceError
        It is none.
    """
    text = answer.body
    if answer.status in {404, 410}:
        raise _RemoteJobGoneError(f"the job at {host} has gone: it answers {answer.status}")
    if answer.status != 200:
        raise SourceError(f"{host} answers {answer.status}{_quote_answer(answer)}")
    if b"<!DOCTYPE" in text.upper() or b"<!ENTITY" in text.upper():
        raise SourceError(f"{host} answers with a page instead of a job")
    try:
        root = ET.fromstring(text)  # noqa: S314  (see above)
    except ET.ParseError as error:
        raise SourceError(f"{host} answers with something that is no XML: {error}") from error
    if _strip_namespace(root.tag) != "job":
        raise SourceError(f"{host} answers with a document <{_strip_namespace(root.tag):.40}> instead of a job")
    return root


def _find_text(node: ET.Element, path: str) -> str:
    """Find the text of an element by local names."""
    level = [node]
    for step in path.split("/"):
        level = [child for parent_element in level for child in parent_element if _strip_namespace(child.tag) == step]
    if level:
        return " ".join((level[0].text or "").split())
    return ""


def _strip_namespace(tag: str) -> str:
    return tag.rpartition("}")[2]


def _quote_answer(answer: HttpAnswer) -> str:
    """Return what an answer says for people, without its tags."""
    text = re.sub(r"<[^>]*>", " ", answer.body[:20_000].decode("utf-8", "replace"))
    words = " ".join(text.split())[:300]
    return f": {words}" if words else ""
