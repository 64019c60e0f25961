"""Parse web addresses from any origin: a text that is not an address gives a definite result, not an exception."""

from __future__ import annotations

from urllib.parse import SplitResult, urljoin, urlsplit

from hven.model.errors import UserError

EMPTY_ADDRESS = SplitResult("", "", "", "", "")


def split_address(url: str) -> SplitResult:
    """Split an address that a user, a file or a server gave.

    Parameters
    ----------
    url
        Any text.

    Returns
    -------
    parts
        As `urllib.parse.urlsplit` has them; the host and the port can be read.

    Raises
    ------
    UserError
        It is no address: ``https://[``, or a port that is no number.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError as error:
        raise UserError(f"{url[:80]!r} is not an http or https address", remedy="write https://host/path") from error
    return parts


def split_address_or_empty(url: str) -> SplitResult:
    """Split an address that is only shown: one that cannot be read has no parts.

    Parameters
    ----------
    url
        Any text, as a row has it.

    Returns
    -------
    parts
        Empty ones for what is no address.
    """
    try:
        return split_address(url)
    except UserError:
        return EMPTY_ADDRESS


def resolve_relative_address(base: str, url: str) -> str:
    """Resolve an address against another one.

    Parameters
    ----------
    base
        Absolute.
    url
        Absolute or relative.

    Returns
    -------
    address
        Absolute.

    Raises
    ------
    UserError
        `url` is no address.
    """
    try:
        return urljoin(base, url)
    except ValueError as error:
        raise UserError(f"{url[:80]!r} is not an http or https address", remedy="write https://host/path") from error
