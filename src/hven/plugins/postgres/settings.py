"""The settings of PostgreSQL in hven.toml.

``[postgres]`` names the database of the engine, and ``[[foreign]]`` names tables of other databases.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.model.settings import SettingsSection, build_setting_metadata, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings

# The url must not contain a password: that belongs in a secret.
_DATABASE_URL_PATTERN = r"^(\$[A-Za-z_][A-Za-z0-9_]*|postgres(ql)?://([^/:@]*@)?[^/@]*(/.*)?)$"
DRIVER_MODULES = ("psycopg", "adbc_driver_postgresql")
DEFAULT_COPY_BYTES = 16 * 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """The section ``[postgres]``: the database of the engine, and the connections of a process."""

    url: str | None = define_setting(
        None,
        (
            "address of the database, postgresql://user@host/database, or $NAME, where the secret NAME contains this "
            "address"
        ),
        pattern=_DATABASE_URL_PATTERN,
        example="'postgresql://user@host/database', or '$NAME' of a secret if it contains a password",
        placed="the database of the rows",
    )
    namespace: str = define_setting(
        "hven",
        "schema in which Hven stores snapshots",
        pattern="^[a-z_][a-z0-9_]{0,40}$",
        example="a plain name in lower case, such as 'hven'",
    )
    read_role: str | None = define_setting(
        None,
        (
            "database role with which Hven executes queries. The role can only read the snapshots. The role that owns "
            "the snapshots must be allowed to switch to read_role"
        ),
        pattern="^\\S{1,63}$",
        example="the name of a role, such as 'hven_reader'",
    )
    read_url: str | None = define_setting(
        None,
        "address with a separate login for queries, in the same form as url. Set either this or read_role",
        pattern=_DATABASE_URL_PATTERN,
        example="'postgresql://reader@host/database', or '$NAME' of a secret if it contains a password",
    )
    pool: int = define_setting(10, "number of connections for queries in each process", ge=1, le=1000)
    reaches: int = define_setting(
        DEFAULT_COPY_BYTES,
        (
            "maximum total size of the copies of rows that Hven stores in the database. Each copy contains only rows "
            "that a reader is allowed to see, so that query times do not reveal hidden rows. Default: 16 GiB. 0: Hven "
            "makes no copies"
        ),
        ge=0,
        size=True,
    )
    position: str = define_setting(
        "",
        "how Hven indexes positions: pgsphere, q3c or healpix. Default: the best of these that the database has",
        pattern="^(pgsphere|q3c|healpix)?$",
        example="'pgsphere', 'q3c' or 'healpix'",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignDatabaseSettings:
    """Tables of another PostgreSQL database, which `hven fdw` makes foreign tables of ours: ``[[foreign]]``."""

    name: str = field(
        metadata=build_setting_metadata("name of the foreign server", pattern="^[A-Za-z_][A-Za-z0-9_]{0,40}$")
    )
    url: str = field(
        metadata=build_setting_metadata(
            (
                "address of the other database, postgresql://reader@host/database, or $NAME, where the secret NAME "
                "contains this address"
            ),
            pattern=_DATABASE_URL_PATTERN,
            example="'postgresql://user@host/database', or '$NAME' of a secret if it contains a password",
        )
    )
    namespace: str = define_setting("public", "schema of the tables in the other database")
    tables: tuple[str, ...] = field(metadata=build_setting_metadata("names of the tables", min_length=1))
    into: str | None = define_setting(
        None, "schema of the foreign tables in Hven's database. Default: the setting `name`"
    )
    roles: tuple[str, ...] = define_setting(
        (), "roles that can read the foreign tables. Default: the roles of the engine postgres"
    )
    fetch_size: int = define_setting(10_000, "number of rows in each transfer", ge=100, le=1000000)
    extensions: tuple[str, ...] | None = define_setting(
        None,
        "extensions whose functions PostgreSQL can send to the other database. Default: pg_sphere, q3c and some "
        "others, if both databases have them",
    )


POSTGRES_SECTION = SettingsSection(
    name="postgres",
    settings_class=PostgresSettings,
    doc="the engine postgres",
    previous_setting="data",
    required_modules=DRIVER_MODULES,
    template_text=(
        "# [postgres]              # rows may also be kept in PostgreSQL: `engine: postgres` in a descriptor\n"
        '# url = "$DATABASE_URL"   # a secret: postgresql://user:password@host/database\n'
        "\n"
    ),
    example_text="""\
[postgres]
url = "$DATABASE_URL"
namespace = "snapshots"
read_role = "hven_reader"
read_url = "$READER_URL"           # instead of read_role
pool = 20
reaches = "4 GiB"
position = "q3c"
""",
)
FOREIGN_SECTION = SettingsSection(
    name="foreign",
    settings_class=ForeignDatabaseSettings,
    doc="tables of other PostgreSQL databases, which `hven fdw` sets up as foreign tables",
    is_repeated=True,
    previous_setting="alias",
    example_text="""\
[[foreign]]
name = "operations"
url = "$OPERATIONS_URL"
namespace = "archive"
tables = ["observations", "targets"]
into = "operations"
roles = ["hven_reader"]
fetch_size = 10_000
extensions = ["pg_sphere"]
""",
)


def get_postgres_settings(settings: Settings) -> PostgresSettings:
    """Return ``[postgres]``."""
    postgres_settings: PostgresSettings = settings.brought.get("postgres", PostgresSettings())
    return postgres_settings


def get_foreign_settings(settings: Settings) -> tuple[ForeignDatabaseSettings, ...]:
    """Return the blocks ``[[foreign]]``."""
    foreign_settings: tuple[ForeignDatabaseSettings, ...] = settings.brought.get("foreign", ())
    return foreign_settings
