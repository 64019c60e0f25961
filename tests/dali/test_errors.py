"""Errors -> status and documents."""

from __future__ import annotations

import errno
import inspect
import re

import pytest
from lxml import etree

from hven.model import errors
from hven.services.errors import (
    HTTP_STATUS_BY_ERROR,
    build_retry_after_header,
    find_http_status,
    log_error_and_write_message,
    write_cone_search_error,
    write_votable_error,
)

V = {"v": "http://www.ivoa.net/xml/VOTable/v1.3"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotFoundError("x"), 404),
        (errors.ForbiddenError("x"), 403),
        (errors.UnauthenticatedError("x"), 401),
        (errors.TooLargeError("x"), 413),
        (errors.ConflictError("x"), 409),
        (errors.ParseError("x"), 400),
        (errors.ParamError("x"), 400),
        (errors.TimeLimitError("x"), 408),
        (errors.OverloadedError("x"), 503),
        (errors.StorageError("x"), 503),
        (OSError(errno.ENOSPC, "No space left on device", "/var/x"), 503),
        (OSError(errno.EMFILE, "Too many open files"), 503),
        (FileNotFoundError(errno.ENOENT, "No such file", "/var/x"), 500),
        (ZeroDivisionError("x"), 500),
    ],
)
def test_each_class_has_its_status(error: Exception, status: int) -> None:
    assert find_http_status(error) == status


def test_every_class_of_the_tree_has_a_status_and_children_come_first() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.HvenError)]
    assert all(any(issubclass(kind, known) for known, _ in HTTP_STATUS_BY_ERROR) for kind in kinds)
    for number, (kind, _) in enumerate(HTTP_STATUS_BY_ERROR):
        assert not any(issubclass(kind, earlier) for earlier, _ in HTTP_STATUS_BY_ERROR[:number]), (
            f"{kind.__name__} can never be reached"
        )


@pytest.mark.parametrize(
    "error",
    [
        errors.StorageError(
            "the system state sqlite:////srv/site/var/hven.sqlite cannot be written: x",
            remedy="free some space on the disk that contains var/",
        ),
        errors.StorageError("the part /srv/site/var/snapshots/a.b/1/0.arrow: input/output error"),
        OSError(errno.EROFS, "Read-only file system", "/srv/site/var/jobs/1"),
    ],
)
def test_what_the_machine_lacks_is_told_without_a_path(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    told = log_error_and_write_message(error, "abc")
    assert "/srv" not in told
    assert "site/" not in told
    assert re.search(
        "hven.sqlite cannot be written: x; free some space on the disk that contains var/|0.arrow: input/output "
        "error|at the moment: read-only",
        told,
    )
    assert "/srv/site/var" in caplog.text
    assert build_retry_after_header(error) == {"retry-after": "5"}


def test_unforeseen_errors_tell_readers_nothing_but_the_id(caplog: pytest.LogCaptureFixture) -> None:
    text = log_error_and_write_message(ZeroDivisionError("secret /etc/passwd"), "abc")
    assert "secret" not in text
    assert "abc" in text
    assert "secret" in caplog.text


@pytest.mark.parametrize("text", ["plain", "<&>\"'", "nul \x00 bell \x07 lone \ud800", "smart \u2019quotes\u2019"])
def test_documents_are_well_formed_whatever_the_message(text: str) -> None:
    tree = etree.fromstring(write_votable_error(text))
    (info,) = tree.xpath("v:RESOURCE[@type='results']/v:INFO[@name='QUERY_STATUS']", namespaces=V)
    assert info.get("value") == "ERROR"
    assert info.text
    (info,) = etree.fromstring(write_cone_search_error(text)).xpath("v:INFO[@name='Error']", namespaces=V)
    assert info.get("value")


def test_where_things_lie_on_the_disk_is_not_told() -> None:
    error = errors.StorageError(
        "the system state sqlite:////srv/site/var/hven.sqlite cannot be written: database or disk is full"
    )
    assert "/srv" not in log_error_and_write_message(error)
    assert "hven.sqlite cannot be written: database or disk is full" in log_error_and_write_message(error)
