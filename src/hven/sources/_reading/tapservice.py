"""Queries to a TAP service (1.0, 1.1), sync or async, and their answers as tables; what is broken is asked for again, never half taken."""

from __future__ import annotations

import re
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TypeVar
from urllib.parse import urlunsplit

import pyarrow as pa

from hven.formats import Refused
from hven.model import plugins, split_address
from hven.model.errors import Forbidden, HvenError, SourceError, StorageError, TooLarge
from hven.sources import Offer
from hven.sources._reading.service import Broken, words
from hven.sources.remote import Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hven.formats import Head, Read
    from hven.sources._reading.service import Service
    from hven.sources.remote import Streamed

MAX_PAGE_BYTES = 512 << 20  # of an answer whose rows are held in memory
IN_MEMORY = 64 << 20  # bytes of an answer; larger ones wait on disk
LOOK, SELDOM = 0.25, 10.0  # seconds between two looks at a job: first, and later
JOB = 24 * 3600.0  # seconds that a job may take
QUICK = 30.0  # seconds for small answers
REASONS = 1 << 20  # bytes of an error document
_SLOW = re.compile(r"time[ds]?[\s-]*(out|limit|is over)|too long|execution ?duration|deadline|abort", re.IGNORECASE)
_DAMAGED = re.compile(r"break off|breaks off|well-formed|empty|not base64|ends? early", re.IGNORECASE)
_PHASE = re.compile(r"\b(PENDING|QUEUED|EXECUTING|COMPLETED|ERROR|ABORTED|UNKNOWN|HELD|SUSPENDED|ARCHIVED)\b")
T = TypeVar("T")


NO_JOBS = {404, 405, 501}  # how a service without /async answers a POST to it


class TooSlow(SourceError):
    """The service gave a query up for its time limit, or never began to answer: as a job it may go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A whole answer. `overflow`: the service says that there is more."""

    head: Head
    table: pa.Table
    overflow: bool


class TruncatedAnswerError(SourceError):
    """An answer that must be whole was cut off by its service."""


class TapService:
    """A TAP service.

    Parameters
    ----------
    service
        Its address is that of the resource above ``/sync``.
    mode
        ``sync``, ``async``, ``auto``: sync, and as a job what takes too long for that.
    wanted
        What is asked for as RESPONSEFORMAT: a VOTable of some kind.
    """

    def __init__(self, service: Service, *, mode: str, wanted: str) -> None:
        self.service = service
        self.mode = mode
        self.wanted = wanted

    def page(self, adql: str, maxrec: int, *, small: bool = False, whole: bool = False) -> Page:
        """Ask, and read the whole answer into memory.

        Parameters
        ----------
        whole
            There must be no more rows than the answer has.

        Raises
        ------
        SourceError
            The service refuses the query (with its words), does not answer, or answers with something else than a VOTable.
        """

        def read_answer(job: bool) -> Page:
            with self._obtained(adql, maxrec, job, QUICK if small else None, MAX_PAGE_BYTES) as file:
                return self._whole(file)

        page = self._tried(read_answer, jobs=not small)
        if whole and page.overflow:
            raise TruncatedAnswerError(
                f"{self.service.host} cut its answer off (QUERY_STATUS=OVERFLOW) after {page.table.num_rows:,} rows: there are more",
                remedy="tell its operator: what a service says of its own tables must be there as a whole",
            )
        return page

    @contextmanager
    def stream(self, adql: str, maxrec: int, batch: int) -> Iterator[Read]:
        """Ask, and read the answer from disk: it is here as a whole before its first row is given. Errors are those of `page`."""
        with self._tried(lambda job: self._obtained(adql, maxrec, job, None), jobs=True) as file:
            try:
                found = _opened(file, batch)
            except SourceError as error:
                raise self._refused(error) from error
            yield found

    def _tried(self, what: Callable[[bool], T], *, jobs: bool) -> T:
        if self.mode == "async" and jobs:
            return self.service.tried(lambda: what(True))
        try:
            return self.service.tried(lambda: what(False))
        except TooSlow:
            if self.mode != "auto" or not jobs:
                raise
        return self.service.tried(lambda: what(True))

    def _whole(self, file: IO[bytes]) -> Page:
        try:
            read = _opened(file)
            batches = list(read.batches)
        except SourceError as error:
            raise self._refused(error) from error
        schema = (
            batches[0].schema
            if batches
            else pa.schema([column.arrow.with_nullable(True) for column in read.head.columns])
        )
        return Page(head=read.head, table=pa.Table.from_batches(batches, schema), overflow=overflows(read.head))

    def _refused(self, error: SourceError) -> SourceError:
        """Classify a failed answer: its fault, and whether to try again."""
        if isinstance(error, Refused):
            said = error.message.partition(": ")[2]
            kind = TooSlow if _SLOW.search(said) else SourceError
            return kind(f"{self.service.host} says: {said}", remedy="try the query at the service itself")
        if _DAMAGED.search(error.message):
            return Broken(f"its answer is damaged: {error.message}")
        return SourceError(
            f"{self.service.host} gives no table: {error.message}", remedy="open the address in a browser and look"
        )

    # --- the two ways to ask ------------------------------------------------------------------------------------

    def _obtained(self, adql: str, maxrec: int, job: bool, seconds: float | None, most: int | None = None) -> IO[bytes]:
        form = [
            ("REQUEST", "doQuery"),
            ("LANG", "ADQL"),
            ("QUERY", adql),
            ("MAXREC", str(maxrec)),
            ("FORMAT", self.wanted),
            ("RESPONSEFORMAT", self.wanted),
        ]
        if job:
            return self._done_as_job(form, most)
        try:
            with self.service.asked("POST", f"{self.service.url}/sync", form, seconds=seconds) as answer:
                return self._kept(answer, most)
        except Silent as error:
            if self.mode != "auto" and seconds is None:
                raise
            raise TooSlow(
                f"{self.service.host} has not begun to answer after {seconds or self.service.seconds:g} s"
            ) from error

    def _kept(self, answer: Streamed, most: int | None) -> IO[bytes]:
        """Fetch an answer to memory or disk, of `most` bytes; an error document is an error."""
        if answer.status != 200:
            raise self._failed(answer)
        file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, prefix="hven-tap-")  # noqa: SIM115  (the caller closes it)
        try:
            for part in answer.parts:
                file.write(part)
                self._check_size(file.tell(), most)
            file.seek(0)
        except OSError as error:
            file.close()
            raise StorageError(
                f"the answer of {self.service.host} cannot be kept: {error.strerror}",
                remedy="make room for temporary files",
            ) from error
        except BaseException:
            file.close()
            raise
        return file

    def _check_size(self, size: int, most: int | None) -> None:
        """Refuse an answer that is too large to be held in memory."""
        if most is not None and size > most:
            raise TooLarge(
                f"{self.service.host} sends more than {most:,} bytes at once", remedy="ask for fewer at once: `page`"
            )

    def _failed(self, answer: Streamed) -> SourceError:
        """Find the service's words in an answer that is no good."""
        if answer.status in {401, 403}:
            return SourceError(
                f"{self.service.host} lets nobody in like this ({answer.status})",
                remedy="say `token` or `login`, the names of secrets",
            )
        if answer.status == 404:
            return SourceError(
                f"no TAP service at {self.service.url} (404)",
                remedy="`url` is the address above /sync: https://host/tap",
            )
        with tempfile.SpooledTemporaryFile(max_size=REASONS) as file:
            size = 0
            with suppress(HvenError):  # what came is enough for a message
                for part in answer.parts:
                    file.write(part)
                    size += len(part)
                    if size > REASONS:
                        break
            file.seek(0)
            try:
                _opened(file)
            except Refused as error:
                return self._refused(error)
            except SourceError:
                pass
            file.seek(0)
            text = words(file.read(REASONS))
        said = f"answers {answer.status}" + (f": {text}" if text else "")
        return (
            Broken(said)
            if answer.status >= 500
            else SourceError(f"{self.service.host} {said}", remedy="try the query at the service itself")
        )

    def _done_as_job(self, form: list[tuple[str, str]], most: int | None) -> IO[bytes]:
        """Run a query as a job (UWS 1.1): make it, wait for its end, fetch its result, destroy it."""
        with self.service.asked("POST", f"{self.service.url}/async", [*form, ("PHASE", "RUN")], follow=False) as answer:
            if answer.status in NO_JOBS:
                slow = "its /sync takes too long for this query" if self.mode == "auto" else "`mode: async` needs it"
                raise SourceError(
                    f"{self.service.host} runs no jobs ({self.service.url}/async answers {answer.status}), and {slow}",
                    remedy="ask for less at a time with `page:`, or wait longer with `mode: sync` and `seconds:`",
                )
            if answer.status not in {301, 302, 303, 307, 308} or not answer.location:
                raise (
                    self._failed(answer)
                    if answer.status != 200
                    else SourceError(
                        f"{self.service.host} makes no job: it answers 200, and says not where it is",
                        remedy="say `mode: sync`",
                    )
                )
            place = self._secure(answer.location.rstrip("/"))
        try:
            phase = self._ended(place)
            if phase != "COMPLETED":
                raise SourceError(
                    f"{self.service.host}: the job ended as {phase}: {self._reason(place) or 'it does not say why'}"
                )
            return self.service.tried(lambda: self._result(place, most))
        finally:
            with suppress(HvenError):
                self._destroyed(place)

    def _secure(self, place: str) -> str:
        """Keep an address on https: services behind a proxy often name their jobs by http.

        Raises
        ------
        Forbidden
            The job would be at another host, without https.
        """
        there, here = split_address(place), split_address(self.service.url)
        if here.scheme != "https" or there.scheme == "https":
            return place
        if there.hostname != here.hostname:
            raise Forbidden(
                f"{self.service.host} makes a job at {there.hostname}, without https", remedy="say `mode: sync`"
            )
        return urlunsplit((here.scheme, here.netloc, *there[2:]))

    def _ended(self, place: str) -> str:
        """Wait for the end of a job."""
        begun, pause = time.monotonic(), LOOK
        while (phase := self.service.tried(lambda: self._phase(place))) not in {"COMPLETED", "ERROR", "ABORTED"}:
            if phase == "PENDING":  # it did not take PHASE=RUN at once
                with self.service.asked("POST", f"{place}/phase", [("PHASE", "RUN")], seconds=QUICK) as answer:
                    if answer.status >= 400:
                        raise self._failed(answer)
            if time.monotonic() - begun > JOB:
                raise SourceError(
                    f"{self.service.host} has not done the job within a day",
                    remedy="ask for less: a watermark, fewer columns",
                )
            time.sleep(pause)
            pause = min(SELDOM, 1.5 * pause)
        return phase

    def _phase(self, place: str) -> str:
        with self.service.asked("GET", f"{place}/phase", seconds=QUICK) as answer:
            if answer.status != 200:
                raise self._failed(answer)
            found = _PHASE.search(words(answer))
            if found is None:
                raise Broken("gives no phase of the job")
            return found[1]

    def _result(self, place: str, most: int | None) -> IO[bytes]:
        with self.service.asked("GET", f"{place}/results/result") as answer:
            return self._kept(answer, most)

    def _reason(self, place: str) -> str:
        """Ask a job why it failed: an error document, as a rule."""
        with suppress(HvenError), self.service.asked("GET", f"{place}/error", seconds=QUICK) as answer:
            if answer.status != 200:
                return ""
            with tempfile.SpooledTemporaryFile(max_size=REASONS) as file:
                for part in answer.parts:
                    file.write(part)
                    if file.tell() > REASONS:
                        break
                file.seek(0)
                try:
                    _opened(file)
                except Refused as error:
                    return error.message.partition(": ")[2]
                except SourceError:
                    file.seek(0)
                    return words(file.read(REASONS))
        return ""

    def _destroyed(self, place: str) -> None:
        with self.service.asked("DELETE", place, follow=False, seconds=QUICK) as answer:
            if answer.status not in {405, 501}:
                return
        with self.service.asked("POST", place, [("ACTION", "DELETE")], follow=False, seconds=QUICK):
            return


def overflows(head: Head) -> bool:
    """Check whether the service says that there is more; known when all rows were read."""
    return any(info.name.upper() == "QUERY_STATUS" and info.value.upper() == "OVERFLOW" for info in head.infos)


def offers(tap: TapService) -> list[Offer]:
    """List the tables of a service, but those about itself."""
    found = tap.page("SELECT table_name, table_type FROM TAP_SCHEMA.tables", 100_000, whole=True).table
    pairs = zip(*(column.to_pylist() for column in found.columns), strict=True)
    listed = [
        Offer(choice=str(name).strip(), view=str(kind).strip().lower() == "view")
        for name, kind in pairs
        if name and str(name).strip().strip('"').lower().partition(".")[0] not in {"tap_schema", "tap_upload"}
    ]
    return sorted(listed, key=lambda offer: str(offer.choice).lower())


def _opened(file: IO[bytes], batch: int = 131_072) -> Read:
    read: Read = plugins.load("formats", "votable").FORMAT.read(file, batch=batch)
    return read
