"""Map errors to HTTP statuses, and write the error documents of DALI, cone search and plain pages."""

from __future__ import annotations

import errno
import json
import logging
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.responses import Response

from hven.formats import escape_xml, quote_attribute
from hven.model import errors, plugins
from hven.services.params import get_request_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

logger = logging.getLogger("hven")

# the first class that matches counts, so subclasses stand before their base classes
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
# the directories of an absolute path, without the file's name
_DIRECTORY_PATTERN = re.compile(r"(?<![\w/.:])/(?:[^/\s:'\"]+/)+(?=[^/\s])|(?<=:)//+(?:[^/\s:'\"]+/)+")
INTERNAL_ERROR_MESSAGE = (
    "an unexpected error occurred in the service; its operators can find the error in the log by the id of the request"
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
    """Check whether the machine lacks disk space, file handles or permissions, which is no fault of the program."""
    return isinstance(error, OSError) and error.errno in _RESOURCE_ERRNOS


def find_http_status(error: BaseException) -> int:
    """Map an error to its HTTP status; an unexpected error has 500.

    Parameters
    ----------
    error
        Any exception.

    Returns
    -------
    status
        HTTP status from 400 to 504.
    """
    if _is_resource_shortage(error):
        return 503
    for error_class, status in HTTP_STATUS_BY_ERROR:
        if isinstance(error, error_class):
            return status
    return 500


# errors that clients cause are in the access log only; all others concern the owner and are logged with details
_CLIENT_ERRORS = (
    errors.UserError,
    errors.UsageError,
    errors.TimeLimitError,
    errors.OperationCancelledError,
    errors.OverloadedError,
)


def log_error_and_write_message(error: BaseException, request_id: str = "") -> str:
    """Write the message for the client, log the error, and drop its traceback.

    The message for an unexpected error does not reveal details; the log has them.

    Parameters
    ----------
    error
        Any exception; it loses its traceback and its cause.
    request_id
        Id of the request in the log.

    Returns
    -------
    message
        Message without paths of this machine.
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
            "the service cannot answer the request at the moment: {reason}; try again later",
            errors.format_message(reason),
        )
    else:
        text = errors.format_message(INTERNAL_ERROR_MESSAGE)
    if isinstance(error, errors.StorageError) and _DIRECTORY_PATTERN.search(text):
        text = _DIRECTORY_PATTERN.sub("", text)  # paths on this machine are for the log only
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
        Any exception; None and errors that clients cause are not logged.
    request_id
        Id of the request.
    """
    if error is None or isinstance(error, _CLIENT_ERRORS):
        return
    error_name = type(error).__name__
    if isinstance(error, errors.UpstreamError):  # the fault is on another server: its message is enough
        logger.error("%s in request %s: %s (%s)", error_name, request_id, error, _find_root_cause(error))
        return
    if isinstance(error, errors.HvenError):  # its message names the place
        where = ""
    else:
        where = f", in {plugins.describe_error_origin(error)}"
    logger.error("%s in request %s%s: %s", error_name, request_id or "without id", where, error, exc_info=error)


def _remove_traceback(error: BaseException | None) -> None:
    """Remove the traceback of an error and its causes.

    Its frames would keep the request's data, and the future that holds the error, until the next garbage collection.
    """
    while error is not None:
        previous_error = error.__cause__ or error.__context__
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error = previous_error


def build_retry_after_header(error: BaseException) -> Mapping[str, str]:
    """Return the headers of an error that say when to try again. The request middleware adds how to log in.

    Parameters
    ----------
    error
        Any exception.
    """
    if isinstance(error, errors.TooManyRequestsError):
        return {"retry-after": str(math.ceil(error.retry_after_seconds))}
    if isinstance(error, errors.OverloadedError):
        retry_seconds = max(math.ceil(error.retry_after_seconds), 1)
        return {"retry-after": str(min(retry_seconds, 60))}
    if isinstance(error, errors.StorageError) or _is_resource_shortage(error):
        return {"retry-after": "5"}
    return {}


def write_votable_error(message: str, namespace: str | None = None) -> bytes:
    """Serialize the error document of DALI 1.1, 4.2: INFO QUERY_STATUS=ERROR, no table.

    Parameters
    ----------
    message
        Message for the client.
    namespace
        VOTable version whose namespace the client requests; None for the standard one.

    Returns
    -------
    document
        VOTable.
    """
    return _write_votable(
        f'<RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">{escape_xml(message)}</INFO></RESOURCE>',
        namespace or "1.3",
    )


def write_cone_search_error(message: str) -> bytes:
    """Serialize the error document of Simple Cone Search 1.03, 2.3: INFO name="Error" below VOTABLE.

    Parameters
    ----------
    message
        Message for the client.

    Returns
    -------
    document
        VOTable.
    """
    value = quote_attribute(message)
    return _write_votable(f'<INFO ID="Error" name="Error" value={value}/><RESOURCE type="results"/>')


def write_json_error(message: str, status: int) -> bytes:
    """Serialize an error as JSON, for scripts.

    Parameters
    ----------
    message
        Message for the client.
    status
        HTTP status.

    Returns
    -------
    document
        JSON.
    """
    return json.dumps({"error": message, "status": status}).encode()


def _write_votable(content_xml: str, namespace: str = "1.3") -> bytes:
    version = namespace if namespace < "1.3" else "1.4"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<VOTABLE version="{version}" xmlns="http://www.ivoa.net/xml/VOTable/v{namespace}">{content_xml}</VOTABLE>\n'
    ).encode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorResponder:
    """Answer to errors as a protocol requires; as plain text where its standard has no error document.

    Attributes
    ----------
    write_document
        Writes the error document of a message.
    media_type
        Media type of the document.
    headers
        Headers of each error answer.
    answers_with_200
        Whether errors of the request have the status 200, as in protocols older than DALI.
    label_error
        Returns the word with which the message of an error begins; None for no word.
    """

    write_document: Callable[[str], bytes] = str.encode
    media_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    answers_with_200: bool = False
    label_error: Callable[[Exception], str] | None = None

    def __call__(self, request: Request, error: Exception) -> Response:
        """Build the answer to an error."""
        status = find_http_status(error)
        is_client_error = isinstance(error, errors.UserError) and status in {400, 413}
        if self.answers_with_200 and is_client_error:
            status = 200
        message = log_error_and_write_message(error, get_request_id(request))
        if self.label_error is not None:
            message = f"{self.label_error(error)}: {message}"
        body = self.write_document(message)
        headers = {**build_retry_after_header(error), **self.headers}
        return Response(body, status, headers, media_type=self.media_type)


def get_dali_fault_label(error: Exception) -> str:
    """Return the word for an error in SIA 2.0 (section 3.2) and DataLink 1.1 (section 3.4).

    Parameters
    ----------
    error
        Any exception.
    """
    labels_by_status = dict.fromkeys((408, 429, 503), "TransientFault") | {500: "FatalFault"}
    return labels_by_status.get(find_http_status(error), "UsageFault")


PLAIN_TEXT_ERRORS = ErrorResponder()
TEXT_LINE_ERRORS = ErrorResponder(write_document=lambda message: f"{message}\n".encode())
VOTABLE_ERRORS = ErrorResponder(write_document=write_votable_error, media_type="application/x-votable+xml")
LABELLED_VOTABLE_ERRORS = ErrorResponder(
    write_document=write_votable_error, media_type="application/x-votable+xml", label_error=get_dali_fault_label
)
