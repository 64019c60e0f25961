"""The records of name resolution: `ResolvedName`, `NameRequest` and `NameProvider`.

`normalize_object_name` defines which spellings are the same name.
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

DEFAULT_CACHE_DAYS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedName:
    """An object that a name stands for.

    Attributes
    ----------
    name
        The object's main name, as its source writes it.
    position
        Longitude and latitude in degrees, in `frame`; None if the object has no fixed position (a planet).
    epoch
        Julian year of the position; None if its source does not state it.
    proper_motion
        Proper motion in longitude (with cos(latitude)) and in latitude, in mas/yr.
    ids
        Other names of the object.
    kind
        Type of the object, as its source names it.
    confidence
        0 to 1: 1 for the object's own name, less for an alias or a guess.
    source
        Source of the answer.
    age
        Seconds since the source gave the answer.
    note
        A remark for the user.
    radius_degrees
        Radius of the object in degrees; 0 for a point, and if its source does not state it.
    licence
        Licence of the answer, by name or address; empty: its source does not state it.
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
    radius_degrees: float = 0.0
    licence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRequest:
    """A request to a provider: the name as the user wrote it, its `name_key`, the site and the policies.

    Attributes
    ----------
    site
        The site that resolves the name.
    policies
        Access policies: what users may see.
    """

    name: str
    name_key: str
    site: Site
    policies: Sequence[AccessPolicy]


@dataclass(frozen=True, slots=True, kw_only=True)
class NameProvider:
    """A provider of names.

    Attributes
    ----------
    name
        Name of its module.
    order
        The provider with the lowest number is asked first.
    offered
        Returns whether the site uses it. Nothing is downloaded unless the site's settings allow it.
    place
        Returns where it looks, for messages.
    remedy
        How to enable it, for messages.
    find
        Returns all objects that have the name: none, one, or several, so that the name is ambiguous. It raises an
        `HvenError` if it cannot tell.
    remote
        Whether it asks other services. Their answers are cached, and so are unknown names and failures.
    max_cache_days
        Returns for how many days the answers of a remote provider are cached.
    is_general
        Whether it knows enough names for ``ivo_simbadpoint``. A site that only has other providers does not offer this
        function.
    complete
        Returns names that begin with what a user has typed, each with its object, which appears once: called with the
        text, and the maximum number of names. Names that equal the text come first.
    name_table
        Returns the table of the site that has the names, as schema.table, from which pages complete names; None: there
        is none.
    """

    name: str
    order: int
    offered: Callable[[Settings], bool]
    place: Callable[[Settings], str]
    remedy: str
    find: Callable[[NameRequest], Sequence[ResolvedName]]
    remote: bool = False
    max_cache_days: Callable[[Settings], float] = lambda _: DEFAULT_CACHE_DAYS
    is_general: bool = True
    complete: Callable[[str, int], Sequence[tuple[str, ResolvedName]]] = lambda *_: ()
    name_table: Callable[[Settings], str | None] = lambda _: None


def normalize_object_name(name: str) -> str:
    """Normalize a name, ignoring case and blanks: ``M31``, ``M 31`` and ``m31`` are the same.

    Parameters
    ----------
    name
        A name as a user writes it.

    Returns
    -------
    key
        The same text for all spellings of the name.
    """
    return str(normalize_object_names(pa.array([name], pa.string()))[0].as_py())


def normalize_object_names(names: pa.ChunkedArray | pa.Array) -> Any:
    """Normalize a column of names in the same way as `normalize_object_name`.

    Parameters
    ----------
    names
        Names as users write them, of shape (names,).

    Returns
    -------
    keys
        The key of each name, of shape (names,).
    """
    text = pc.utf8_upper(pc.utf8_normalize(names, form="NFKC"))
    # most blanks are plain ones, which are replaced six times as fast without a pattern
    text = pc.replace_substring(text, " ", "")
    return pc.replace_substring_regex(text, r"[\s\p{Z}]+", "")
