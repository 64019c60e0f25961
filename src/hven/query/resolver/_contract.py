"""What a resolver answers (`ResolvedName`), what it is asked (`NameRequest`), what a provider is (`NameProvider`).

When two names are one (`normalize_name`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.auth import AccessPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedName:
    """What is known of a name.

    Attributes
    ----------
    name
        The object's main name, as its source writes it.
    position
        Longitude and latitude in degrees, in `frame`; None: it has no fixed place (a planet).
    epoch
        Julian year that the position is of; None: its source does not say.
    proper_motion
        Of longitude (with cos(latitude)) and latitude, in mas/yr.
    ids
        Its other names.
    kind
        What it is, in its source's words.
    confidence
        0 to 1: 1 for the object's own name, less for one of its aliases or a guess.
    source
        Who said so.
    age
        Seconds since the source said so.
    note
        What else a person should know.
    """

    name: str
    position: tuple[float, float] | None = None
    frame: str = "ICRS"
    epoch: float | None = None
    proper_motion: tuple[float, float] | None = None
    ids: Sequence[str] = ()
    kind: str | None = None
    confidence: float = 1.0
    source: str
    age: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRequest:
    """A question to a provider: the name as it was given, its `name_key`, and who asks for whom.

    Attributes
    ----------
    site
        That asks.
    policies
        What readers may see.
    """

    name: str
    name_key: str
    site: Site
    policies: Sequence[AccessPolicy]


@dataclass(frozen=True, slots=True, kw_only=True)
class NameProvider:
    """Somebody who knows names.

    Attributes
    ----------
    name
        As its module's.
    order
        The lowest is asked first.
    offered
        Whether this site asks it at all; nothing is downloaded unless the site's settings allow it.
    place
        Where it looks, for messages.
    remedy
        How it is switched on, for messages.
    find
        Gives everything that has the name: nothing, one, or several (then the name is ambiguous). Raises an `HvenError`
        if it cannot tell.
    remote
        True if it asks others: its answers are remembered, and so is that it knows nothing, or is out of reach.
    """

    name: str
    order: int
    offered: Callable[[Settings], bool]
    place: Callable[[Settings], str]
    remedy: str
    find: Callable[[NameRequest], Sequence[ResolvedName]]
    remote: bool = False


def normalize_name(name: str) -> str:
    """Normalize a name: ``M31``, ``M 31`` and ``m31`` are one (case and blanks do not count).

    Parameters
    ----------
    name
        As a person writes it.

    Returns
    -------
    key
        What its spellings have in common.
    """
    return str(normalize_names(pa.array([name], pa.string()))[0].as_py())


def normalize_names(names: pa.ChunkedArray | pa.Array) -> Any:
    """Normalize whole columns as `normalize_name` does."""
    text = pc.utf8_upper(pc.utf8_normalize(names, form="NFKC"))
    return pc.replace_substring_regex(text, r"[\s\p{Z}]+", "")
