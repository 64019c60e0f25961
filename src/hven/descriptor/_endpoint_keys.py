"""Keys of addresses that a table had on another server, and of what they answer."""

from typing import Annotated, Literal

from pydantic import Field

from hven.descriptor.value_schema import Condition, DescriptorSection, Expression, OneOrMore, RetypedText, Text


class ParameterSection(
    DescriptorSection, short="type", hints={"if": "where", "condition": "where", "enum": "values", "options": "values"}
):
    """A parameter of an old address; expressions of the address call its value param.NAME."""

    type: Text
    "float64, int32, string, timestamp, boolean ...; default: string"
    unit: Text
    "unit in which clients say it: arcsec"
    in_: Text
    "unit in which conditions have it, if that is another one: deg"
    ucd: Text
    "UCD1+"
    description: Text
    "what it is, without an article: right ascension"
    default: RetypedText
    "value where a request does not say it"
    required: bool
    "true: a request without it is refused"
    values: OneOrMore[RetypedText]
    "the only values that may be asked"
    minimum: float
    "smallest number that may be asked"
    maximum: float
    "largest number that may be asked"
    where: Condition
    (
        "which rows are answered where it is given: exp_date_updated >= param.date_updated_from; it may name other "
        "parameters, which are then needed, too"
    )
    columns: dict[str, OneOrMore[Text]]
    'columns of the answer by its value: {"false": [exp_id, target_ra]}'


class ShapeSection(
    DescriptorSection,
    empty=True,
    hints={"xmlns": "namespace", "encoding": "serialization", "serialisation": "serialization", "media_type": "type"},
):
    """How an old address writes its VOTables."""

    version: Literal["1.4", "1.5"]
    "of VOTable; default: 1.4"
    namespace: Literal["1.1", "1.2", "1.3", "1.4", "1.5"]
    (
        "whose namespace stands in the document, http://www.ivoa.net/xml/VOTable/v1.4, for clients that read no "
        "other; default: the standard's, 1.3"
    )
    serialization: Literal["TABLEDATA", "BINARY", "BINARY2"]
    "default: BINARY2"
    type: Text
    "media type of the answer: text/xml"
    params: dict[str, RetypedText]
    (
        "PARAMs of the answer: {status: OK, last_mod_date: '{updated}'}; {updated} is when the table was published, "
        "{source_updated} when the newest file of its source was written"
    )


class EndpointSection(
    DescriptorSection,
    hints={
        "url": "path",
        "address": "path",
        "parameters": "params",
        "inputParams": "params",
        "responseformat": "format",
    },
):
    """An address that a table had on another server, and its clients still ask."""

    path: OneOrMore[Text]
    (
        "the old address without its host, or several: /search.votable; a page's ends with the row's column in "
        "braces: /detail/exposure/{exp_id}"
    )
    like: Literal["query", "page", "sitools2"]
    (
        "what answers it: query, rows by its own parameters (default); page, the row's page; sitools2, a data set of "
        "SITools2 with its count, records and archives"
    )
    title: Text
    "heading"
    description: Text
    "what it was, who asks it"
    params: dict[str, ParameterSection]
    "its parameters, compared without case"
    columns: OneOrMore[Text]
    "columns of the answer: names, or expressions with a name: exp_mjd AS mjd; default: all that are shown"
    where: Condition
    "which rows it has at all"
    order: OneOrMore[Expression]
    "in which order: [exp_date_updated, exp_id DESC]"
    rows: Annotated[int, Field(ge=1)]
    "rows where a request does not say MAXREC; default: as many as the site gives"
    format: Text
    "what is answered where a request does not say RESPONSEFORMAT: csv; default: votable"
    votable: ShapeSection
    "how its VOTables are written: {namespace: '1.4', serialization: TABLEDATA}"
    cadence: dict[str, Condition]
    (
        "of sitools2: filter CADENCE -> rows that it leaves, with the step as param.seconds: {mask_cadence: "
        "'MOD(t_rec_index, param.seconds / 12) = 0'}"
    )
    archives: dict[str, Literal["tar", "zip"]]
    "of sitools2: end of an address -> the archive that it gives: {plugin02: tar, plugin03: zip}, which is the default"
