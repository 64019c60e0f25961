"""The options of a database in a descriptor."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Options(BaseModel):
    """What a descriptor may state about a database."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = Field(
        None,
        description="A URL (`mysql://user@host/database`), a line of ODBC, or `$NAME` of a secret that holds it; "
        "passwords "
        "belong into secrets.",
    )
    file: str | None = Field(None, description="A SQLite file, relative to the descriptor, instead of `url`.")
    table: str | None = Field(None, description="A table or view, with its schema if need be.")
    query: str | None = Field(None, description="A SELECT in the database's own language, instead of `table`.")

    encoding: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="MariaDB: what the bytes of texts are in truth, where columns say otherwise: `utf-8`, or one of "
        "its "
        "own names.",
    )
    seconds: float = Field(600, gt=0, description="MariaDB: without a byte for so long, the server is given up.")
    longest: int = Field(
        65_536, ge=1, le=16_777_216, description="ODBC: bytes of the longest text of a column without a length."
    )

    @model_validator(mode="after")
    def _check_options(self) -> Options:
        if (self.url is None) == (self.file is None):
            raise ValueError("give either `url` or `file`")
        if (self.table is None) == (self.query is None):
            raise ValueError("give either `table` or `query`")
        return self
