"""What a descriptor may say of a database."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Options(BaseModel):
    """What a descriptor may say of a database."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = Field(
        None, description="SQLAlchemy URL, or `$NAME` of a secret that holds it; passwords belong into secrets."
    )
    file: str | None = Field(None, description="A SQLite file, relative to the descriptor, instead of `url`.")
    table: str | None = Field(None, description="A table or view, with its schema if need be.")
    query: str | None = Field(None, description="A SELECT in the database's own language, instead of `table`.")

    @model_validator(mode="after")
    def _one_of_each(self) -> Options:
        if (self.url is None) == (self.file is None):
            raise ValueError("give either `url` or `file`")
        if (self.table is None) == (self.query is None):
            raise ValueError("give either `table` or `query`")
        return self
