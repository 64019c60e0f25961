"""Keys of addresses that a table had on another server, and of what they answer."""

from typing import Annotated, Literal

from pydantic import Field

from hven.descriptor.value_schema import Condition, DescriptorSection, Expression, OneOrMore, RetypedText, Text


class EndpointParameterSection(
    DescriptorSection,
    short="type",
    hints={"if": "where", "condition": "where", "enum": "values", "options": "values"},
    name="parameter",
):
    """A parameter of an old address; expressions of the address call its value param.NAME."""

    type: Text
    "float64, int32, string, timestamp, boolean ...; default: string"
    unit: Text
    "unit in which clients give the value: arcsec"
    in_: Text
    "unit of the value in conditions, if it is different: deg"
    ucd: Text
    "UCD1+"
    description: Text
    "what the parameter is, without an article: right ascension"
    default: RetypedText
    "value if a request does not give one"
    required: bool
    "true: a request without it is refused"
    values: OneOrMore[RetypedText]
    "the only valid values"
    minimum: float
    "smallest valid number"
    maximum: float
    "largest valid number"
    where: Condition
    (
        "condition on the rows if the parameter is given: exp_date_updated >= param.date_updated_from. It"
        " may name other parameters, which are then required"
    )
    columns: dict[str, OneOrMore[Text]]
    'columns of the result, by the value of the parameter: {"false": [exp_id, target_ra]}'


class VotableShapeSection(
    DescriptorSection,
    empty=True,
    hints={"xmlns": "namespace", "encoding": "serialization", "serialisation": "serialization", "media_type": "type"},
    name="shape",
):
    """How an old address writes its VOTables."""

    version: Literal["1.4", "1.5"]
    "VOTable version. Default: 1.4"
    namespace: Literal["1.1", "1.2", "1.3", "1.4", "1.5"]
    (
        "version whose namespace the document declares, for clients that read no other: 1.4 for "
        "http://www.ivoa.net/xml/VOTable/v1.4. Default: 1.3, as in the standard"
    )
    serialization: Literal["TABLEDATA", "BINARY", "BINARY2"]
    "serialization. Default: BINARY2"
    type: Text
    "media type of the answer: text/xml"
    params: dict[str, RetypedText]
    (
        "PARAMs of the result: {status: OK, last_mod_date: '{updated}'}; {updated} is the publication time of "
        "the table, {source_updated} the time of the newest file in its source"
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
    """An address that a table had on another server, and that its clients still ask."""

    path: OneOrMore[Text]
    (
        "the old address without its host, or several: /search.votable. The address of a page ends with a"
        " column of the row in braces: /detail/exposure/{exp_id}"
    )
    like: Literal["query", "page", "sitools2"]
    (
        "what the address returns: query (default), rows selected by its own parameters; page, the page of a "
        "row; sitools2, a SITools2 data set with its count, records and archives"
    )
    title: Text
    "heading"
    description: Text
    "what the address was, and who uses it"
    params: dict[str, EndpointParameterSection]
    "its parameters; their case is ignored"
    columns: OneOrMore[Text]
    (
        "columns of the result: names, or expressions with a name: exp_mjd AS mjd. Default: all columns that are "
        "not hidden"
    )
    where: Condition
    "condition for the rows that it can return"
    order: OneOrMore[Expression]
    "order of the rows: [exp_date_updated, exp_id DESC]"
    rows: Annotated[int, Field(ge=1)]
    "number of rows if a request does not give MAXREC. Default: that of the site"
    format: Text
    "format if a request does not give RESPONSEFORMAT: csv. Default: votable"
    votable: VotableShapeSection
    "how its VOTables are written: {namespace: '1.4', serialization: TABLEDATA}"
    cadence: dict[str, Condition]
    (
        "for sitools2: rows that the filter CADENCE keeps, with the step as param.seconds: {mask_cadence: "
        "'MOD(t_rec_index, param.seconds / 12) = 0'}"
    )
    archives: dict[str, Literal["tar", "zip"]]
    "for sitools2: format of the archive, by the end of the address. Default: {plugin02: tar, plugin03: zip}"
