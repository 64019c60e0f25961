"""What hven.toml says of the engine hats: [hats], where its catalogues are, and the cluster that computes over many files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.settings import Section, setting

if TYPE_CHECKING:
    from hven.model.settings import Settings

NEAR = 512 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Hats:
    """The engine ``hats``: tables as HEALPix-partitioned Parquet."""

    roots: tuple[str, ...] = setting(
        (),
        "directories of catalogues, which the cluster sees by the same paths; new snapshots are written below the first",
    )
    spark: str | None = setting(
        None,
        "sc://host:15002 of Spark Connect, or $NAME of a secret that holds it; default: no cluster, and queries of more than near_bytes are refused",
        pattern=r"^(\$[A-Za-z_][A-Za-z0-9_]*|sc://[^\s?#]+)$",
        example="'sc://host:15002', or '$NAME' of a secret where there is a token in it",
        placed="the cluster of the rows",
    )
    near_bytes: int = setting(NEAR, "bytes of files up to which a query is computed here: 512 MB", ge=0, size=True)
    at_once: int = setting(4, "statements of one process in the cluster", ge=1, le=1000)


SECTIONS = (Section(name="hats", kind=Hats, doc="the engine hats, for tables that outgrow one machine", after="data"),)


def of(settings: Settings) -> Hats:
    """Return ``[hats]``."""
    said: Hats = settings.brought.get("hats", Hats())
    return said
