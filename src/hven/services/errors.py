"""One table error -> HTTP status, and the error documents of DALI, cone search and plain pages."""

from __future__ import annotations

import errno
import json
import logging
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from starlette.responses import Response

from hven.formats.votable import legal
from hven.model import errors, plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import HTTPConnection, Request

log = logging.getLogger("hven")

# the first class that fits counts: children before parents
STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (errors.Gone, 410),
    (errors.NotFound, 404),
    (errors.Forbidden, 403),
    (errors.Unauthenticated, 401),
    (errors.TooLarge, 413),
    (errors.Outdated, 412),
    (errors.Conflict, 409),
    (errors.TooOften, 429),
    (errors.UserError, 400),
    (errors.UsageError, 400),
    (errors.Timeout, 408),
    (errors.Cancelled, 499),
    (errors.Overloaded, 503),
    (errors.StorageError, 503),
    (errors.FarSilence, 504),
    (errors.FarFault, 502),
    (errors.HvenError, 500),
)
# all of an absolute path but the file's name
_PATH = re.compile(r"(?<![\w/.:])/(?:[^/\s:'\"]+/)+(?=[^/\s])|(?<=:)//+(?:[^/\s:'\"]+/)+")
OURS = "something went wrong; this is a fault of the service; its owner finds it in the log under the request's id"

_MACHINE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EMFILE,
    errno.ENFILE,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ESTALE,
}


def _shortage(error: BaseException) -> bool:
    """Return whether the machine has no room, no files left, or does not let us: that passes, and is no fault of the program."""
    return isinstance(error, OSError) and error.errno in _MACHINE


def status_of(error: BaseException) -> int:
    """Map an error to its HTTP status; anything unforeseen is 500.

    Parameters
    ----------
    error
        Any.

    Returns
    -------
    status
        400 to 504.
    """
    return 503 if _shortage(error) else next((status for kind, status in STATUS if isinstance(error, kind)), 500)


# what readers and circumstances bring about is in the access log; everything else is the owner's business
_USUAL = (errors.UserError, errors.UsageError, errors.Timeout, errors.Cancelled, errors.Overloaded)


def message_of(error: BaseException, request_id: str = "") -> str:
    """Phrase what a reader is told. Of unforeseen errors only that they happened; the log has the rest. The error is over then.

    Parameters
    ----------
    error
        Any.
    request_id
        Under which the log knows it.

    Returns
    -------
    message
        Without paths of this machine.
    """
    note(error, request_id)
    _let_go(error)
    if isinstance(error, errors.HvenError):
        text = str(error)
    elif _shortage(error):
        why = ((isinstance(error, OSError) and error.strerror) or "").lower()
        text = errors.say("the service cannot do this now: {reason}; try again later", errors.say(why))
    else:
        text = errors.say(OURS)
    if isinstance(error, errors.StorageError) and _PATH.search(text):
        text = _PATH.sub("", text)  # where things lie on the disk is for the log
    return errors.say("{message} [request {request}]", errors.say(text), request_id) if request_id else text


def _first(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def note(error: BaseException | None, request_id: str = "") -> None:
    """Log an error that is the service's own fault, with its traceback and the request's id.

    Parameters
    ----------
    error
        Any; None and readers' faults are not written.
    request_id
        Of the request.
    """
    if error is not None and not isinstance(error, _USUAL):
        # ours say themselves whose fault it is
        where = "" if isinstance(error, errors.HvenError) else f", in {plugins.blamed(error)}"
        if isinstance(error, errors.FarFault):  # nothing here is wrong: what was said there is enough
            log.error("%s in request %s: %s (%s)", type(error).__name__, request_id, error, _first(error))
            return
        log.error(
            "%s in request %s%s: %s", type(error).__name__, request_id or "without id", where, error, exc_info=error
        )


def _let_go(error: BaseException | None) -> None:
    """Forget where an error came from: those frames hold all that was asked, and the future that holds the error, until the collector's next round."""
    while error is not None:
        before = error.__cause__ or error.__context__
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error = before


def headers_of(error: BaseException) -> Mapping[str, str]:
    """Return the headers that belong to an error: when to come back. How to log in is said at the edge.

    Parameters
    ----------
    error
        Any.
    """
    if isinstance(error, errors.TooOften):
        return {"retry-after": "60"}
    if isinstance(error, errors.Overloaded):
        return {"retry-after": str(min(max(math.ceil(error.seconds), 1), 60))}
    return {"retry-after": "5"} if isinstance(error, errors.StorageError) or _shortage(error) else {}


def votable_error(message: str, namespace: str | None = None) -> bytes:
    """Serialize the error document of DALI 1.1, 4.2: INFO QUERY_STATUS=ERROR, no table.

    Parameters
    ----------
    message
        For the reader.
    namespace
        The version whose namespace a client wants; None: the standard's.

    Returns
    -------
    document
        VOTable.
    """
    return _votable(
        f'<RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">{escape(legal(message))}</INFO></RESOURCE>',
        namespace or "1.3",
    )


def cone_error(message: str) -> bytes:
    """Serialize the error document of Simple Cone Search 1.03, 2.3: INFO name="Error" below VOTABLE.

    Parameters
    ----------
    message
        For the reader.

    Returns
    -------
    document
        VOTable.
    """
    return _votable(f'<INFO ID="Error" name="Error" value={quoteattr(legal(message))}/><RESOURCE type="results"/>')


def request_id(request: HTTPConnection) -> str:
    """Return the id under which the log knows a request; it stands in error documents too.

    Parameters
    ----------
    request
        Any.
    """
    return str(request.scope.get("hven.request_id", ""))


def json_error(message: str, status: int) -> bytes:
    """Serialize an error for scripts.

    Parameters
    ----------
    message
        For the reader.
    status
        Of HTTP.

    Returns
    -------
    document
        JSON.
    """
    return json.dumps({"error": message, "status": status}).encode()


def _votable(inside: str, namespace: str = "1.3") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v{namespace}">' + inside + "</VOTABLE>\n"
    ).encode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How a face words what went wrong; plain text, where its standard has no document.

    Attributes
    ----------
    write
        Writes a message as the standard has it.
    kind
        The document's media type.
    headers
        Of each such answer.
    patient
        Faults of the request are told under status 200, as protocols from before DALI do.
    label
        Makes the word of an error with which its message begins.
    """

    write: Callable[[str], bytes] = str.encode
    kind: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    patient: bool = False
    label: Callable[[Exception], str] | None = None

    def __call__(self, request: Request, error: Exception) -> Response:
        """Make the answer to an error."""
        status = status_of(error)
        if self.patient and isinstance(error, errors.UserError) and status in {400, 413}:
            status = 200
        said = message_of(error, request_id(request))
        body = self.write(said if self.label is None else f"{self.label(error)}: {said}")
        return Response(body, status, {**headers_of(error), **self.headers}, media_type=self.kind)


def fault_word(error: Exception) -> str:
    """Return the word of SIA 2.0 (section 3.2) and DataLink 1.1 (section 3.4) for an error.

    Parameters
    ----------
    error
        Any.
    """
    status = status_of(error)
    return {503: "TransientFault", 408: "TransientFault", 500: "FatalFault"}.get(status, "UsageFault")


PLAIN, LINE = Faults(), Faults(write=lambda message: f"{message}\n".encode())
VOTABLE = Faults(write=votable_error, kind="application/x-votable+xml")
LABELLED = Faults(write=votable_error, kind="application/x-votable+xml", label=fault_word)
