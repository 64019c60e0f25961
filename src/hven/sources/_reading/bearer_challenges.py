"""Answer the challenge ``ivoa_bearer`` (SSO 2.0) of services that exchange a password for a token."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from hven.model import split_address
from hven.model.errors import SourceError
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Iterator

TLS_WITH_PASSWORD, BASIC_AUTH = "ivo://ivoa.net/sso#tls-with-password", "ivo://ivoa.net/sso#BasicAA"
_CHALLENGE_PATTERN = re.compile(r"""\bivoa_bearer\s+((?:[\w-]+\s*=\s*(?:"[^"]*"|[^\s,"]+)\s*,?\s*)+)""", re.IGNORECASE)
_PARAMETER_PATTERN = re.compile(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))""")


def find_ivoa_token_endpoints(text: str) -> Iterator[tuple[str, str]]:
    """Find the standard and the address for a token in a header WWW-Authenticate."""
    for match in _CHALLENGE_PATTERN.finditer(text):
        parameters = {name.lower(): quoted or word for name, quoted, word in _PARAMETER_PATTERN.findall(match[1])}
        if "standard_id" in parameters and "access_url" in parameters:
            yield parameters["standard_id"], parameters["access_url"]


def request_token(challenge_header: str, login: str, *, timeout_seconds: float, allow_private: bool) -> str | None:
    """Request a token from the server that a challenge names.

    Parameters
    ----------
    challenge_header
        The header WWW-Authenticate of the response with status 401.
    login
        ``user:password``.

    Returns
    -------
    authorization
        The header Authorization for further requests; None: no challenge accepts a password.

    Raises
    ------
    SourceError
        The password would be sent over http, or it is wrong.
    """
    for standard, url in find_ivoa_token_endpoints(challenge_header):
        if standard not in {TLS_WITH_PASSWORD, BASIC_AUTH}:
            continue
        host = split_address(url).hostname or url[:80]
        if split_address(url).scheme != "https" and not allow_private:
            raise SourceError(
                f"the service asks Hven to send the password to {host} over plain http, where others can read it",
                remedy="ask the operators of the service for an https address, or for a token to use as `token: $NAME`",
            )
        user, _, password = login.partition(":")
        if standard == TLS_WITH_PASSWORD:
            form = [("username", user), ("password", password)]
        else:
            form = []
        if standard == BASIC_AUTH:
            basic = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
        else:
            basic = {}
        answer = http_client.send_request_once(
            "POST" if form else "GET",
            url,
            form_fields=form,
            headers=basic,
            timeout_seconds=timeout_seconds,
            allow_private=allow_private,
        )
        token_text = answer.headers.get("x-vo-bearer", "").strip()
        if answer.status != 200 or not token_text or not token_text.isprintable():
            raise SourceError(
                f"{host} returned no token (status {answer.status})",
                remedy="check the user and the password in `login`",
            )
        return f"Bearer {token_text}"
    return None
