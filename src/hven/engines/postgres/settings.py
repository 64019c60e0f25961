"""What hven.toml says of PostgreSQL: [postgres], where the rows of the engine are, and [[foreign]], tables of other databases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.model.settings import Section, said, setting

if TYPE_CHECKING:
    from hven.model.settings import Settings

_DATABASE = r"^(\$[A-Za-z_][A-Za-z0-9_]*|postgres(ql)?://([^/:@]*@)?[^/@]*(/.*)?)$"  # a password is a secret's
DRIVERS = ("psycopg", "adbc_driver_postgresql")
ROOM = 16 * 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """The engine ``postgres``: where its rows are, and how many connections a process may have."""

    url: str | None = setting(
        None,
        "postgresql://user@host/database, or $NAME of a secret that holds it",
        pattern=_DATABASE,
        example="'postgresql://user@host/database', or '$NAME' of a secret where there is a password in it",
        placed="the database of the rows",
    )
    namespace: str = setting(
        "hven",
        "schema of the database in which snapshots are kept",
        pattern="^[a-z_][a-z0-9_]{0,40}$",
        example="a plain name in lower case, such as 'hven'",
    )
    read_role: str | None = setting(
        None,
        "role that queries run as: one that the owner of the snapshots may become, and that may read them and nothing else",
        pattern="^\\S{1,63}$",
        example="the name of a role, such as 'hven_reader'",
    )
    read_url: str | None = setting(
        None,
        "another login for queries instead, written as url is",
        pattern=_DATABASE,
        example="'postgresql://reader@host/database', or '$NAME' of a secret where there is a password in it",
    )
    pool: int = setting(10, "connections of one process for queries", ge=1, le=1000)
    reaches: int = setting(
        ROOM,
        "bytes of the database that copies of what readers under policies see may take: 16 GiB; 0: none are made, and times tell of hidden rows",
        ge=0,
        size=True,
    )
    position: str = setting(
        "",
        "how positions are indexed: pgsphere, q3c or healpix; default: the best that the database has",
        pattern="^(pgsphere|q3c|healpix)?$",
        example="'pgsphere', 'q3c' or 'healpix'",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """Tables of another PostgreSQL database, which `hven fdw` makes foreign tables of ours: ``[[foreign]]``."""

    name: str = field(metadata=said("name of the foreign server", pattern="^[A-Za-z_][A-Za-z0-9_]{0,40}$"))
    url: str = field(
        metadata=said(
            "postgresql://reader@host/database of the other database, or $NAME of a secret that holds it",
            pattern=_DATABASE,
            example="'postgresql://user@host/database', or '$NAME' of a secret where there is a password in it",
        )
    )
    namespace: str = setting("public", "schema of the tables there")
    tables: tuple[str, ...] = field(metadata=said("their names", min_length=1))
    into: str | None = setting(None, "schema of the foreign tables here; default: the name")
    roles: tuple[str, ...] = setting((), "who may read them here; default: the roles of the engine postgres")
    fetch_size: int = setting(10_000, "rows that travel at a time", ge=100, le=1000000)
    extensions: tuple[str, ...] | None = setting(
        None,
        "extensions whose functions may be sent there; default: those that both databases have, of pg_sphere, q3c and some others",
    )


SECTIONS = (
    Section(
        name="postgres",
        kind=Postgres,
        doc="the engine postgres",
        after="data",
        needs=DRIVERS,
        first="""# [postgres]              # rows may also be kept in PostgreSQL: `engine: postgres` in a descriptor
# url = "$DATABASE_URL"   # a secret: postgresql://user:password@host/database

""",
    ),
    Section(
        name="foreign",
        kind=Foreign,
        doc="tables of other PostgreSQL databases, which `hven fdw` sets up as foreign tables",
        many=True,
        after="alias",
    ),
)


def of(settings: Settings) -> Postgres:
    """Return ``[postgres]``."""
    said: Postgres = settings.brought.get("postgres", Postgres())
    return said


def foreign(settings: Settings) -> tuple[Foreign, ...]:
    """Return what ``[[foreign]]`` says."""
    said: tuple[Foreign, ...] = settings.brought.get("foreign", ())
    return said
