"""What a descriptor may state about row documents (`enrich:`)."""

from __future__ import annotations

import re
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hven.model import plugins
from hven.model.types import ColumnType, parse_type
from hven.sources.api.services import AttemptCount, Login, SilenceSeconds, Token

PLACEHOLDER_PATTERN = re.compile(r"\{([^{}]+)\}")
URL_HOST_PATTERN = re.compile(r"https?://[^/{}?#]+/")
_BRACE_LIST_PATTERN = re.compile(r"\{([^{}]*,[^{}]*)\}")


def _wrap_key_in_mapping(value: object) -> object:
    if isinstance(value, str | list):
        return {"key": value}
    return value


def _expand_key_braces(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _BRACE_LIST_PATTERN.search(value)
    if match is None:
        return [value]
    before = value[: match.start()]
    after = value[match.end() :]
    return [before + word.strip() + after for word in match[1].split(",")]


class DocumentColumn(BaseModel):
    """A column whose values are taken from documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Annotated[list[str], BeforeValidator(_expand_key_braces, json_schema_input_type=str | list[str])] = Field(
        min_length=1,
        description=(
            "Keyword in the header or label (without the word HIERARCH), path in the record (`a.b.0`, or `a/b/@c` in "
            "XML), or `*` for the whole text. If you write a list of keys, or a key with alternatives in braces, the "
            "column is an array."
        ),
        examples=["ESO ISS PBL{12,13,23} START"],
    )
    type: str = Field(
        "string", description="Type of a value: string (default), float64, int32, boolean ...", examples=["float64"]
    )
    unit: str | None = Field(None, description="Unit of the value, in VOUnits syntax.", examples=["s"])
    ucd: str | None = Field(None, description="UCD of the value (UCD1+).", examples=["time.duration;obs.exposure"])
    description: str | None = Field(None, description="One sentence for readers.", examples=["Local sidereal time"])
    array: bool = Field(False, description="`true`: the value is an array even for a single key.", examples=[True])

    @field_validator("type")
    @classmethod
    def _check_type(cls, value: str) -> str:
        kind = parse_type(value)
        if kind.is_array or not (kind.is_numeric or kind.is_string or str(kind) == "boolean"):
            raise ValueError(
                f"the type {value} is not numeric, string or boolean; for an array, set `key` to a list; "
                "for a time, use `map`"
            )
        return value

    @property
    def is_array(self) -> bool:
        """Whether the values are arrays."""
        return self.array or len(self.key) > 1

    @property
    def column_type(self) -> ColumnType:
        """The type of the column."""
        if not self.is_array:
            return parse_type(self.type)
        length = len(self.key)
        if parse_type(self.type).is_string:
            return parse_type(f"string[64x{length}]")
        return parse_type(f"{self.type}[{length}]")

    @property
    def value_kind(self) -> str:
        """The kind of the values, as `extract_values` knows it."""
        kind = parse_type(self.type)
        if kind.is_string:
            return "text"
        if pa.types.is_boolean(kind.arrow):
            return "bool"
        if pa.types.is_floating(kind.arrow):
            return "float"
        return "int"


def list_form_names() -> list[str]:
    """List the names of the forms of documents in alphabetical order."""
    return sorted(plugins.list_plugins("documents"))


def _add_form_names(json_schema: dict[str, Any]) -> None:
    json_schema["enum"] = list_form_names()


class DocumentEnrichmentOptions(BaseModel):
    """What a descriptor may state about the documents of its rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = Field(
        None,
        description=(
            "Address of the documents, with the source's columns in braces. Hven encodes each value as one part of the "
            "address. The host must not contain a column."
        ),
        examples=["https://archive.example/hdr?DpId={dp_id}"],
    )
    file: str | None = Field(
        None,
        description="Instead of `url`, a path below the descriptor's directory.",
        examples=["headers/{dp_id}.hdr"],
    )
    id: str = Field(
        description=("Column that identifies the document. Hven uses its value as the name of the stored document."),
        examples=["dp_id"],
    )
    modified: str | None = Field(
        None,
        description=(
            "Column of times or numbers. If its value changes, Hven fetches the document again. Hven fetches newer "
            "documents first."
        ),
        examples=["last_mod_date"],
    )
    format: str = Field(
        "header",
        description=(
            "Format of the documents: `header`, `json`, `xml`, or a format that a plug-in adds. A `header` is a FITS "
            "header in any form: cards of 80 columns, lines, the `<pre>` of a page, or the beginning of a file."
        ),
        examples=["json"],
        json_schema_extra=_add_form_names,
    )
    columns: dict[
        str,
        Annotated[
            DocumentColumn,
            BeforeValidator(_wrap_key_in_mapping, json_schema_input_type=DocumentColumn | str | list[str]),
        ],
    ] = Field(
        min_length=1,
        description=(
            "The columns that Hven reads from each document, as `name: KEYWORD` or `name: {key: .., type: .., unit: "
            "..}`."
        ),
        examples=[{"lst": {"key": "LST", "type": "float64", "unit": "s"}, "mode": "ESO INS MODE"}],
    )
    rate: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="Maximum number of documents per second. The limits in `[ceilings]` in hven.toml also apply.",
        examples=[5],
    )
    at_once: int = Field(
        4, ge=1, le=64, description=("Number of documents that Hven fetches at the same time."), examples=[8]
    )
    total: float = Field(
        600.0,
        gt=0,
        description=(
            "Maximum number of seconds that one run spends on fetching documents. The next run fetches the remaining "
            "documents."
        ),
        examples=[1800],
    )
    again: float = Field(
        86_400.0,
        ge=0,
        description="Number of seconds after which Hven retries a document that was missing, refused or broken.",
        examples=[3600],
    )
    age: float | None = Field(
        None,
        gt=0,
        description="Number of seconds after which Hven fetches a document again even if its row has not changed.",
        examples=[604800],
    )
    bytes: int = Field(
        4 << 20, gt=0, le=1 << 30, description=("Maximum size of one document in bytes."), examples=[100000]
    )
    seconds: SilenceSeconds = 30.0
    tries: AttemptCount = 3
    token: Token = None
    login: Login = None

    @field_validator("format")
    @classmethod
    def _check_format(cls, name: str) -> str:
        form_names = list_form_names()
        if name in form_names:
            return name
        package = plugins.find_disabled_package("documents", name)
        if package is not None:
            raise ValueError(
                f"{name!r} belongs to the plug-in package {package}, but `plugins` does not list this package"
            )
        *first_names, last_name = map(repr, form_names)
        raise ValueError(f"Input should be {', '.join(first_names)} or {last_name}")

    @model_validator(mode="after")
    def _check_location(self) -> DocumentEnrichmentOptions:
        if (self.url is None) == (self.file is None):
            raise ValueError("write either `url` or `file`")
        if self.url is not None and not URL_HOST_PATTERN.match(self.url):
            raise ValueError(
                "`url` must begin with https:// or http://, followed by a host name without columns in braces"
            )
        if not PLACEHOLDER_PATTERN.search(self.template):
            raise ValueError(
                "put a column of the source in braces; without a column, all rows would have the same document"
            )
        return self

    @property
    def template(self) -> str:
        """Where the documents are: a URL or a path, with columns in braces."""
        return self.url or self.file or ""

    @property
    def required_columns(self) -> list[str]:
        """Columns of the source that the documents need."""
        names = [self.id]
        if self.modified:
            names.append(self.modified)
        names += PLACEHOLDER_PATTERN.findall(self.template)
        return list(dict.fromkeys(names))
