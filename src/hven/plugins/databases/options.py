"""The options of a database in a descriptor."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Options(BaseModel):
    """What a descriptor may state about a database."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = Field(
        None,
        description=(
            "A URL (`mysql://user@host/database`), an ODBC connection string (`DRIVER={..};SERVER=..`), or `$NAME`, "
            "where the secret NAME contains one of these. Put passwords into secrets. Error messages never show "
            "secrets."
        ),
        examples=["$HFC_DB"],
    )
    file: str | None = Field(
        None,
        description="Instead of `url`: the path of an SQLite file, relative to the descriptor.",
        examples=["OpenNGC.sqlite"],
    )
    table: str | None = Field(
        None, description="A table or view, with its schema if necessary.", examples=["hfc.flares"]
    )
    query: str | None = Field(
        None,
        description="Instead of `table`: a SELECT statement in the database's own SQL.",
        examples=["SELECT * FROM cat WHERE magnitude < 12"],
    )

    encoding: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]+$",
        description=(
            "MariaDB: the actual encoding of text, if it differs from the encoding that the columns declare. Write "
            "`utf-8`, or one of MariaDB's own names."
        ),
        examples=["utf-8"],
    )
    seconds: float = Field(
        600,
        gt=0,
        description="MariaDB: Hven aborts the run if the server sends no data for this many seconds.",
        examples=[120],
    )
    longest: int = Field(
        65_536,
        ge=1,
        le=16_777_216,
        description=(
            "ODBC: maximum size in bytes of a string in a column that declares no length. A longer string causes an "
            "error, because Hven does not truncate it."
        ),
        examples=[200000],
    )

    @model_validator(mode="after")
    def _check_options(self) -> Options:
        if (self.url is None) == (self.file is None):
            raise ValueError("give either `url` or `file`")
        if (self.table is None) == (self.query is None):
            raise ValueError("give either `table` or `query`")
        return self
