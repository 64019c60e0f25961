"""A job of a service elsewhere (UWS 1.1, TAP's async): parameters go there, its phase is followed, its results come here.

The job there is made PENDING, its address written into the store, and only then told to run. So whatever dies in between, the
worker that goes on knows the job there, and never makes a second one that runs.
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
    Cancelled,
    Forbidden,
    HvenError,
    NotFound,
    Overloaded,
    SourceError,
    Timeout,
    TooLarge,
    UserError,
)
from hven.site.store import REMOTE
from hven.sources import remote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hven.jobs._types import Work
    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.store import Job
    from hven.sources.remote import Answer

WAIT = 2  # seconds that the service is asked to hold an answer back; aborts are forwarded meanwhile
LOOK, SELDOM = 0.1, 5.0  # seconds between two looks at a service that does not wait: first, and later
PATIENCE = 600.0  # seconds for which a service may be out of reach
SECONDS = 20.0  # for one answer
QUICK = 3.0  # ... of an abort
RESULTS = 100  # of one job
ACTIVE = {"PENDING", "QUEUED", "EXECUTING", "UNKNOWN", "SUSPENDED", "HELD"}
OUR_OWN = {"PHASE", "RUNID", "DESTRUCTION", "EXECUTIONDURATION", "ACTION", "WAIT"}
WANTED = {"Accept": "application/xml, text/xml;q=0.9, */*;q=0.1"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A service elsewhere.

    Attributes
    ----------
    url
        Its list of jobs: ``https://other.example/tap/async``.
    fixed
        Parameters that are always sent; they win over the reader's.
    params
        Names of the parameters that are forwarded; None: all.
    limit
        Bytes of one result at most.
    """

    url: str
    fixed: Mapping[str, str]
    params: frozenset[str] | None = None
    limit: int = 100 * 1024**3

    def __call__(self, work: Work) -> None:
        """Run a job at the service elsewhere.

        Raises
        ------
        UserError
            The job there failed or has gone; its words are told.
        Timeout
            It was aborted there.
        Overloaded
            The service cannot be reached.
        """
        there = _There(work.site.settings)
        address = work.progress.get(REMOTE)
        if address is None:
            address = self._made(work, there)
            work.lasting(**{REMOTE: address})
        place = str(address)
        work.stoppable(lambda: self._stopped(work, there, place))
        told = self._followed(work, there, place)
        phase = _text(told, "phase")
        if phase != "COMPLETED":
            message = _text(told, "errorSummary/message") or "it does not say why"
            if phase == "ABORTED":  # out of time, or by somebody there: so is ours
                raise Timeout(f"the job at {self._host} was aborted: {message[:2000]}")
            work.afterwards(lambda: there.quietly("DELETE", place))
            how = "failed" if phase == "ERROR" else f"is {phase}"
            raise UserError(f"the job at {self._host} {how}: {message[:2000]}")
        self._fetched(work, told, place)
        # not at once: whoever goes on with the job, if this worker dies now or has been taken for dead, finds it there
        work.afterwards(lambda: there.quietly("DELETE", place))
        work.progress.pop(REMOTE, None)

    def dropped(self, site: Site, job: Job, destroyed: bool) -> None:
        """Forward an abort or a destruction while no worker has the job."""
        place = job.progress.get(REMOTE)
        if place is not None:
            there = _There(site.settings)
            if destroyed:
                there.quietly("DELETE", str(place))
            else:
                there.quietly("POST", f"{place}/phase", PHASE="ABORT")

    @property
    def _host(self) -> str:
        return split_address(self.url).hostname or self.url

    def _made(self, work: Work, there: _There) -> str:
        """Create the job there, PENDING."""
        given = [
            (name, value) for name, values in work.params.values.items() if self._forwarded(name) for value in values
        ]
        given += list(self.fixed.items())
        if work.job.run_id is not None:
            given.append(("RUNID", work.job.run_id))
        if work.job.duration:
            given.append(("EXECUTIONDURATION", str(work.job.duration)))
        answer = there.said("POST", self.url, form=given, files=work.files, total=600.0)
        if answer.status not in {301, 302, 303, 307, 308} or not answer.location:
            raise UserError(f"{self._host} did not make a job: it answers {answer.status}{_words(answer)}")
        if split_address(answer.location).hostname != split_address(self.url).hostname:
            raise UserError(
                f"{self._host} made a job, and says that it is at another host, {split_address(answer.location).hostname}"
            )
        return answer.location

    def _forwarded(self, name: str) -> bool:
        fixed = {key.upper() for key in self.fixed}
        return name not in OUR_OWN and name not in fixed and (self.params is None or name in self.params)

    def _followed(self, work: Work, there: _There, place: str) -> ET.Element:
        """Wait until the job there has ended; tell how far it is."""
        phase, pause, lost = "", LOOK, None
        while True:
            if work.stopped.is_set():
                raise Cancelled("the job was stopped")
            begun = time.monotonic()
            try:
                answer = there.said("GET", f"{place}?WAIT={WAIT}&PHASE={phase}" if phase in ACTIVE and phase else place)
                told = _job(answer, self._host)
                if _text(told, "phase") == "PENDING":
                    self._begun(there, place)
                lost = None
            except (_Final, Forbidden):
                raise
            except HvenError as error:
                lost = lost or begun
                if begun - lost > PATIENCE:
                    raise Overloaded(
                        f"{self._host} has not answered for {PATIENCE:g} seconds: {error.message}"
                    ) from error
                work.told(note=f"{self._host} does not answer")
                work.stopped.wait(SELDOM)
                continue
            before, phase = phase, _text(told, "phase") or "UNKNOWN"
            if phase not in ACTIVE:
                return told
            rows = _text(told, "jobInfo/rows")
            work.told(there=phase, **({"rows": int(rows)} if rows.isdigit() else {}))
            pause = LOOK if phase != before else min(2 * pause, SELDOM)
            if time.monotonic() - begun < WAIT / 2:  # it does not wait, or there was a change
                work.stopped.wait(pause)

    def _begun(self, there: _There, place: str) -> None:
        """Start the job there."""
        answer = there.said("POST", f"{place}/phase", form=[("PHASE", "RUN")])
        if answer.status >= 400:
            there.quietly("DELETE", place)
            raise _Final(f"{self._host} does not run the job: it answers {answer.status}{_words(answer)}")

    def _fetched(self, work: Work, told: ET.Element, place: str) -> None:
        """Fetch the results, each as a stream to disk."""
        found = [item for item in told.iter() if _local(item.tag) == "result"]
        if len(found) > RESULTS:
            raise UserError(f"the job at {self._host} has {len(found)} results; the limit is {RESULTS}")
        taken: set[str] = set()
        for number, item in enumerate(found, 1):
            href = next((value for name, value in item.attrib.items() if _local(name) == "href"), "")
            name = unquote(item.get("id") or "")
            if not _NAME.fullmatch(name) or name in taken:
                name = f"result{number}"
            taken.add(name)
            if not href:
                href = f"{place}/results/{name}"
            path = remote.download(
                href,
                work.directory / f"from-{work.job.attempts}",
                limit=self.limit,
                allow_private=work.site.settings.allow_private,
                progress=lambda got, _: _go_on(work, got),
            )
            media_type = item.get("mime-type") or "application/octet-stream"
            work.taking(
                name,
                path,
                media_type=media_type if media_type.isprintable() else "application/octet-stream",
                extension=path.suffix[:12],
            )
            with contextlib.suppress(OSError):
                path.parent.rmdir()

    def _stopped(self, work: Work, there: _There, place: str) -> None:
        """Forward why it is to stop: abort or destroy it there; leave it alone if another worker goes on with it."""
        if work.why == "stop":
            return
        if work.why == "gone":
            try:
                phase = work.site.store.jobs.one(work.job.id).phase
            except NotFound:
                there.quietly("DELETE", place)
                return
            except HvenError:
                return
            if phase != "ABORTED":  # somebody else has it
                return
        there.quietly("POST", f"{place}/phase", PHASE="ABORT")


class _Final(UserError):
    """Asking again would not help: the job there is no more, or will not run."""


class _There:
    """The service, by the one outward client."""

    def __init__(self, settings: Settings) -> None:
        self._private = settings.allow_private

    def said(
        self,
        method: str,
        url: str,
        *,
        form: Sequence[tuple[str, str]] = (),
        files: Mapping[str, Path] | None = None,
        total: float | None = None,
    ) -> Answer:
        """Send a request.

        Raises
        ------
        Overloaded
            It cannot be reached, or has too much to do.
        Forbidden, TooLarge
            It must not be asked, or says too much.
        """
        try:
            answer = remote.exchange(
                method,
                url,
                form=form,
                files=files,
                headers=WANTED,
                seconds=SECONDS,
                total=total,
                allow_private=self._private,
            )
        except (Forbidden, TooLarge):
            raise
        except UserError as error:
            raise Overloaded(error.message, remedy=error.remedy) from error
        if answer.status >= 500 or answer.status == 429:
            raise Overloaded(f"{split_address(url).hostname} answers {answer.status}{_words(answer)}")
        return answer

    def quietly(self, method: str, url: str, **form: str) -> None:
        """Send it something that must not fail for us."""
        with contextlib.suppress(HvenError):
            remote.exchange(method, url, form=list(form.items()), seconds=QUICK, allow_private=self._private)


def _go_on(work: Work, got: int) -> None:
    if work.stopped.is_set():
        raise Cancelled("the job was stopped")
    work.told(bytes=got)


def _job(answer: Answer, host: str) -> ET.Element:
    """Read a job.

    Raises
    ------
    SourceError
        It is none.
    """
    text = answer.body
    if answer.status in {404, 410}:
        raise _Final(f"the job at {host} has gone: it answers {answer.status}")
    if answer.status != 200:
        raise SourceError(f"{host} answers {answer.status}{_words(answer)}")
    if b"<!DOCTYPE" in text.upper() or b"<!ENTITY" in text.upper():
        raise SourceError(f"{host} answers with a page instead of a job")
    try:
        root = ET.fromstring(text)  # noqa: S314  (see above)
    except ET.ParseError as error:
        raise SourceError(f"{host} answers with something that is no XML: {error}") from error
    if _local(root.tag) != "job":
        raise SourceError(f"{host} answers with a document <{_local(root.tag):.40}> instead of a job")
    return root


def _text(node: ET.Element, path: str) -> str:
    """Find the text of an element by local names."""
    level = [node]
    for step in path.split("/"):
        level = [child for one in level for child in one if _local(child.tag) == step]
    return " ".join((level[0].text or "").split()) if level else ""


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _words(answer: Answer) -> str:
    """Return what an answer says for people, without its tags."""
    text = re.sub(r"<[^>]*>", " ", answer.body[:20_000].decode("utf-8", "replace"))
    words = " ".join(text.split())[:300]
    return f": {words}" if words else ""
