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
    """A parameter of an old address. Expressions refer to the parameter's value as param.NAME."""

    type: Text
    "type of the value, for example float64, int32, string, timestamp or boolean. Default: string"
    unit: Text
    "unit of the value in requests, for example arcsec"
    in_: Text
    "unit of the value in conditions, if it differs from the unit in requests, for example deg"
    ucd: Text
    "UCD1+"
    description: Text
    "meaning of the parameter, in a few words, for example right ascension"
    default: RetypedText
    "value that Hven uses if a request does not have the parameter"
    required: bool
    "whether Hven rejects requests without this parameter"
    values: OneOrMore[RetypedText]
    "the only valid values"
    minimum: float
    "smallest valid number"
    maximum: float
    "largest valid number"
    where: Condition
    (
        "condition on the rows, which applies if a request has the parameter, for example exp_date_updated >= "
        "param.date_updated_from. It can refer to other parameters, which are then required"
    )
    columns: dict[str, OneOrMore[Text]]
    'columns of the result for each value of the parameter, for example {"false": [exp_id, target_ra]}'


class VotableShapeSection(
    DescriptorSection,
    empty=True,
    hints={"xmlns": "namespace", "encoding": "serialization", "serialisation": "serialization", "media_type": "type"},
    name="shape",
):
    """Form of the VOTables at an old address."""

    version: Literal["1.4", "1.5"]
    "VOTable version. Default: 1.4"
    namespace: Literal["1.1", "1.2", "1.3", "1.4", "1.5"]
    (
        "version of the namespace that the document declares, for clients that accept no other. For example, 1.4 means "
        "http://www.ivoa.net/xml/VOTable/v1.4. Default: 1.3, as in the standard"
    )
    serialization: Literal["TABLEDATA", "BINARY", "BINARY2"]
    "how the VOTable encodes its rows. Default: BINARY2"
    type: Text
    "media type of the response, for example text/xml"
    params: dict[str, RetypedText]
    (
        "PARAMs of the result, for example {status: OK, last_mod_date: '{updated}'}. {updated} is the time at which "
        "the table was published. {source_updated} is the time of the newest file in the table's source. {param.NAME} "
        "is the value of the request's parameter NAME"
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
    """An address that a table had on another server, and that clients still use."""

    path: OneOrMore[Text]
    (
        "the old address without its host, for example /search.votable, or a list of such addresses. The address of a "
        "page ends with a column of the row in braces, for example /detail/exposure/{exp_id}"
    )
    like: Literal["query", "page", "sitools2"]
    (
        "what the address returns. 'query' (default): the rows that its own parameters select. 'page': the page of a "
        "row. 'sitools2': a SITools2 data set with its count, records and archives"
    )
    title: Text
    "heading"
    description: Text
    "what the address was used for, and who uses it"
    params: dict[str, EndpointParameterSection]
    "parameters of the address. Hven ignores the case of their names"
    columns: OneOrMore[Text]
    (
        "columns of the result: names, or expressions with a name, for example exp_mjd AS mjd. Default: all columns "
        "that are not hidden"
    )
    where: Condition
    "condition for the rows that the address can return"
    order: OneOrMore[Expression]
    "order of the rows, for example [exp_date_updated, exp_id DESC]"
    rows: Annotated[int, Field(ge=1)]
    "maximum number of rows if a request does not set MAXREC. Default: the site's limit"
    format: Text
    "format of the response if a request does not set RESPONSEFORMAT, for example csv. Default: votable"
    votable: VotableShapeSection
    "form of the VOTables at this address, for example {namespace: '1.4', serialization: TABLEDATA}"
    cadence: dict[str, Condition]
    (
        "for 'like: sitools2', the condition that rows must meet to pass the filter CADENCE. It refers to the step in "
        "seconds as param.seconds, for example {mask_cadence: 'MOD(t_rec_index, param.seconds / 12) = 0'}"
    )
    archives: dict[str, Literal["tar", "zip"]]
    (
        "for 'like: sitools2': the last part of each archive's address, with the archive's format. Default: "
        "{plugin02: tar, plugin03: zip}"
    )
