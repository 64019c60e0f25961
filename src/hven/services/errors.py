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

from hven.formats.votable import replace_illegal_characters
from hven.model import errors, plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import HTTPConnection, Request

logger = logging.getLogger("hven")

# the first class that fits counts: children before parents
HTTP_STATUS_BY_ERROR: tuple[tuple[type[BaseException], int], ...] = (
    (errors.GoneError, 410),
    (errors.NotFoundError, 404),
    (errors.ForbiddenError, 403),
    (errors.UnauthenticatedError, 401),
    (errors.TooLargeError, 413),
    (errors.PreconditionFailedError, 412),
    (errors.ConflictError, 409),
    (errors.TooManyRequestsError, 429),
    (errors.UserError, 400),
    (errors.UsageError, 400),
    (errors.TimeLimitError, 408),
    (errors.OperationCancelledError, 499),
    (errors.OverloadedError, 503),
    (errors.StorageError, 503),
    (errors.UpstreamTimeoutError, 504),
    (errors.UpstreamError, 502),
    (errors.HvenError, 500),
)
# all of an absolute path but the file's name
_DIRECTORY_PATTERN = re.compile(r"(?<![\w/.:])/(?:[^/\s:'\"]+/)+(?=[^/\s])|(?<=:)//+(?:[^/\s:'\"]+/)+")
INTERNAL_ERROR_MESSAGE = (
    "something went wrong; this is a fault of the service; its owner finds it in the log under the request's id"
)

_RESOURCE_ERRNOS = {
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


def _is_resource_shortage(error: BaseException) -> bool:
    """Return whether the machine has no room, no files left, or does not let us.

    That passes, and is no fault of the program.
    """
    return isinstance(error, OSError) and error.errno in _RESOURCE_ERRNOS


def find_http_status(error: BaseException) -> int:
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
    if _is_resource_shortage(error):
        return 503
    return next((status for kind, status in HTTP_STATUS_BY_ERROR if isinstance(error, kind)), 500)


# what readers and circumstances bring about is in the access log; everything else is the owner's business
_CLIENT_ERRORS = (
    errors.UserError,
    errors.UsageError,
    errors.TimeLimitError,
    errors.OperationCancelledError,
    errors.OverloadedError,
)


def write_error_message(error: BaseException, request_id: str = "") -> str:
    """Phrase what a reader is told. Of unforeseen errors only that they happened; the log has the rest.

    The error is over then.

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
    log_service_error(error, request_id)
    _remove_traceback(error)
    if isinstance(error, errors.HvenError):
        text = str(error)
    elif _is_resource_shortage(error):
        reason = ""
        if isinstance(error, OSError):
            reason = (error.strerror or "").lower()
        text = errors.format_message(
            "the service cannot do this now: {reason}; try again later", errors.format_message(reason)
        )
    else:
        text = errors.format_message(INTERNAL_ERROR_MESSAGE)
    if isinstance(error, errors.StorageError) and _DIRECTORY_PATTERN.search(text):
        text = _DIRECTORY_PATTERN.sub("", text)  # where things lie on the disk is for the log
    if request_id:
        return errors.format_message("{message} [request {request}]", errors.format_message(text), request_id)
    return text


def _find_root_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def log_service_error(error: BaseException | None, request_id: str = "") -> None:
    """Log an error that is the service's own fault, with its traceback and the request's id.

    Parameters
    ----------
    error
        Any; None and readers' faults are not written.
    request_id
        Of the request.
    """
    if error is not None and not isinstance(error, _CLIENT_ERRORS):
        # ours say themselves whose fault it is
        if isinstance(error, errors.HvenError):
            where = ""
        else:
            where = f", in {plugins.locate_error(error)}"
        if isinstance(error, errors.UpstreamError):  # nothing here is wrong: what was said there is enough
            logger.error("%s in request %s: %s (%s)", type(error).__name__, request_id, error, _find_root_cause(error))
            return
        logger.error(
            "%s in request %s%s: %s", type(error).__name__, request_id or "without id", where, error, exc_info=error
        )


def _remove_traceback(error: BaseException | None) -> None:
    """Forget where an error came from.

    Those frames hold all that was asked, and the future that holds the error, until the collector's next round.
    """
    while error is not None:
        before = error.__cause__ or error.__context__
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error = before


def build_error_headers(error: BaseException) -> Mapping[str, str]:
    """Return the headers that belong to an error: when to come back. How to log in is said at the edge.

    Parameters
    ----------
    error
        Any.
    """
    if isinstance(error, errors.TooManyRequestsError):
        return {"retry-after": "60"}
    if isinstance(error, errors.OverloadedError):
        return {"retry-after": str(min(max(math.ceil(error.retry_after_seconds), 1), 60))}
    if isinstance(error, errors.StorageError) or _is_resource_shortage(error):
        return {"retry-after": "5"}
    return {}


def write_votable_error(message: str, namespace: str | None = None) -> bytes:
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
    return _write_votable(
        f'<RESOURCE type="results"><INFO name="QUERY_STATUS" '
        f'value="ERROR">{escape(replace_illegal_characters(message))}</INFO></RESOURCE>',
        namespace or "1.3",
    )


def write_cone_error(message: str) -> bytes:
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
    return _write_votable(
        f'<INFO ID="Error" name="Error" value={quoteattr(replace_illegal_characters(message))}/><RESOURCE '
        f'type="results"/>'
    )


def get_request_id(request: HTTPConnection) -> str:
    """Return the id under which the log knows a request; it stands in error documents too.

    Parameters
    ----------
    request
        Any.
    """
    return str(request.scope.get("hven.request_id", ""))


def write_json_error(message: str, status: int) -> bytes:
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


def _write_votable(content_xml: str, namespace: str = "1.3") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v{namespace}">' + content_xml + "</VOTABLE>\n"
    ).encode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorResponder:
    """How a face words what went wrong; plain text, where its standard has no document.

    Attributes
    ----------
    write_document
        Writes a message as the standard has it.
    media_type
        The document's media type.
    headers
        Of each such answer.
    answers_with_200
        Faults of the request are told under status 200, as protocols from before DALI do.
    label_error
        Makes the word of an error with which its message begins.
    """

    write_document: Callable[[str], bytes] = str.encode
    media_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    answers_with_200: bool = False
    label_error: Callable[[Exception], str] | None = None

    def __call__(self, request: Request, error: Exception) -> Response:
        """Make the answer to an error."""
        status = find_http_status(error)
        if self.answers_with_200 and isinstance(error, errors.UserError) and status in {400, 413}:
            status = 200
        message = write_error_message(error, get_request_id(request))
        body = self.write_document(message if self.label_error is None else f"{self.label_error(error)}: {message}")
        return Response(body, status, {**build_error_headers(error), **self.headers}, media_type=self.media_type)


def name_dali_fault(error: Exception) -> str:
    """Return the word of SIA 2.0 (section 3.2) and DataLink 1.1 (section 3.4) for an error.

    Parameters
    ----------
    error
        Any.
    """
    status = find_http_status(error)
    return {503: "TransientFault", 408: "TransientFault", 500: "FatalFault"}.get(status, "UsageFault")


PLAIN_TEXT_ERRORS, TEXT_LINE_ERRORS = (
    ErrorResponder(),
    ErrorResponder(write_document=lambda message: f"{message}\n".encode()),
)
VOTABLE_ERRORS = ErrorResponder(write_document=write_votable_error, media_type="application/x-votable+xml")
LABELLED_VOTABLE_ERRORS = ErrorResponder(
    write_document=write_votable_error, media_type="application/x-votable+xml", label_error=name_dali_fault
)
