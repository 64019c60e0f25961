"""The options of a database in a descriptor."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Options(BaseModel):
    """What a descriptor may state about a database."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = Field(
        None,
        description=(
            "A URL (`mysql://user@host/database`), a line of ODBC (`DRIVER={..};SERVER=..`), or "
            "`$NAME` of a secret that holds it. Passwords belong into secrets, and no error shows "
            "them."
        ),
        examples=["$HFC_DB"],
    )
    file: str | None = Field(
        None, description="A SQLite file, relative to the descriptor, instead of `url`.", examples=["OpenNGC.sqlite"]
    )
    table: str | None = Field(None, description="A table or view, with its schema if need be.", examples=["hfc.flares"])
    query: str | None = Field(
        None,
        description="A SELECT in the language of the database, instead of `table`.",
        examples=["SELECT * FROM cat WHERE magnitude < 12"],
    )

    encoding: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]+$",
        description=(
            "MariaDB: what the bytes of texts really are, where columns say something else: `utf-8`, "
            "or one of its own names."
        ),
        examples=["utf-8"],
    )
    seconds: float = Field(
        600, gt=0, description="MariaDB: the server is given up after this many seconds without a byte.", examples=[120]
    )
    longest: int = Field(
        65_536,
        ge=1,
        le=16_777_216,
        description=(
            "ODBC: bytes of the longest text of a column without a length. A longer text is an error,"
            " not a shorter text."
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
