"""Check the e-mail addresses that users enter."""

from __future__ import annotations

import re
from email.headerregistry import Address

from hven.model.errors import ParamError

MAX_ADDRESS_CHARACTERS = 254  # RFC 5321, 4.5.3.1.3: a path without its brackets
MAX_LOCAL_CHARACTERS = 64
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL_PATTERN = re.compile(rf"{_ATOM}(\.{_ATOM})*")
_DOMAIN_PATTERN = re.compile(r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]")


def parse_email_address(text: str) -> str:
    """Return an address as mail servers take it; the domain may have letters of any language.

    Quoted names, comments, domains in brackets and names outside ASCII are refused: many servers lose mail to them.

    Parameters
    ----------
    text
        What the user entered.

    Raises
    ------
    ParamError
        It is not one plain address.
    """
    local_part, _, domain = text.strip().rpartition("@")
    try:
        domain = domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        domain = ""
    is_plain = _LOCAL_PATTERN.fullmatch(local_part) and _DOMAIN_PATTERN.fullmatch(domain)
    address = f"{local_part}@{domain}"
    if not is_plain or len(local_part) > MAX_LOCAL_CHARACTERS or len(address) > MAX_ADDRESS_CHARACTERS:
        raise ParamError(
            "Hven cannot use this e-mail address",
            name="ADDRESS",
            remedy="enter one address without a name, such as anna@example.org",
        )
    return Address(addr_spec=address).addr_spec
