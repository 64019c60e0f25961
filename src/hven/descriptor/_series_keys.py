"""Keys of data sets of samples in time."""

from typing import Literal

from hven.descriptor._sync_policies import Duration
from hven.descriptor.value_schema import Condition, DescriptorSection, OneOrMore, Required, RetypedText, Text


class BinsSection(DescriptorSection, hints={"centres": "centers", "units": "unit", "min_max": "ranges"}):
    """What the elements of an array stand for: channels of frequency, of energy."""

    name: Required[Text]
    "the quantity: frequency"
    unit: Text
    "its unit"
    centers: OneOrMore[RetypedText]
    (
        "a value for each element: [10.5, 11.5]; or the column that has them for each sample; of files the variables "
        "that have them"
    )
    ranges: OneOrMore[OneOrMore[RetypedText]]
    "lowest and highest value of each element: [[10, 11], [11, 12]]; or the column that has them"
    label: Text
    "for axes"
    description: Text
    "for people"


class PartSection(DescriptorSection, short="of"):
    """A variable of a file that is added to its times."""

    of: Required[Text]
    "the variable"
    unit: Text
    "its unit: d, h, min, s, ms, us, ns"


class TimeSection(
    DescriptorSection,
    short="of",
    hints={"column": "of", "variable": "of", "from": "since", "epoch": "since", "zero": "since"},
):
    """When samples were taken."""

    of: Required[Text]
    "the column, or the file's variable"
    unit: Text
    "of files: unit of the numbers, if the file does not say it: d, h, min, s, ms, us, ns"
    since: RetypedText
    (
        "of files: when the numbers are 0: a date, JD, MJD; what the file's name has: orf%Y%m%d; cards of its "
        "header: DATE-OBS TIME-OBS"
    )
    scale: Literal["UTC", "TAI", "TT", "TDB", "GPS"]
    (
        "of files: the clock that they show; default: what the file says (FITS: TIMESYS; the end of since: "
        "1993-01-01 TAI), else UTC"
    )
    plus: PartSection
    "of files: a variable that is added: the fraction of a Julian day, milliseconds of the day"


class VariableSection(
    DescriptorSection,
    short="of",
    hints={"from": "of", "columns": "of", "units": "unit", "clock": "time", "index": "element"},
):
    """What of a file is a parameter."""

    of: OneOrMore[Text]
    (
        "the file's variable, or several whose elements stand one behind the other; default: the one of this name. "
        "Of another part with its name or number before it: 2.DATA"
    )
    time: OneOrMore[Text]
    "the variables with the times of each of several, where they have times of their own"
    element: int
    "of the last dimension: which one it is, from 0: a polarisation"
    unit: Text
    "its unit, if the file does not say it"
    description: Text
    "what it is, if the file does not say it"
    label: Text
    "for axes"
    fill: float
    "a value that stands for none, if the file does not say it"


class VectorSection(
    DescriptorSection, short="system", hints={"frame": "system", "coordinates": "system", "axes": "components"}
):
    """Which coordinates a vector has, or one of them."""

    system: Required[Text]
    "the system, as SPASE calls it: GSE, RTN, HEEQ"
    components: OneOrMore[
        Literal["x", "y", "z", "r", "rho", "latitude", "colatitude", "longitude", "longitude0", "altitude", "other"]
    ]
    "what its elements are, in their order; default: x, y, z of three"


class SeriesSection(
    DescriptorSection,
    short="time",
    hints={"dataset": "id", "columns": "parameters", "variables": "parameters", "filter": "where"},
):
    """A data set of HAPI and das2: samples in time."""

    id: Text
    "its name there, where it has one already; default: schema_table"
    das2: Text
    "its path in das2's tree: Nancay/NDA/Routine/routine_jup_lh; default: schema_table"
    title: Text
    "heading, if not the table's"
    description: Text
    "what it is, if not what the table is"
    file: Text
    (
        "the samples stand in the file of each row: its path, as a template over the row: '{target.path}'. Its times "
        "are those of the row, by UCD (time.start, time.end)"
    )
    reader: Text
    (
        "of files that Hven cannot read: the program that does, by its name in hven.toml ([readers.maser]: maser); "
        "or a Python file beside the descriptor, and its function: nda.py:read"
    )
    part: RetypedText
    "of files: name or number of the table or array that has the samples; default: the first that has the time"
    time: TimeSection
    "the column, or the file's variable, that says when a sample was taken; default: by UCD"
    parameters: OneOrMore[Text]
    "the columns, or the file's variables, it has, in order; default: all that can be one"
    variables: dict[str, VariableSection]
    (
        "of files: what is not plainly a variable of the file: {stokesi: {of: [STOKESI_B1, STOKESI_B2], time: "
        "[TIME_B1, TIME_B2]}}"
    )
    version: Text
    (
        "of files: the column whose higher value holds where two files have the same time; default: the number "
        "behind _v in their names"
    )
    where: Condition
    "the rows it has: band = 'B1'"
    cadence: Duration
    "time between two samples: 0.1 s"
    ahead: Duration
    "of data that keep coming: how far behind the last sample HAPI may be asked (its stopDate lies so far ahead): 1 d"
    stamp: Literal["begin", "center", "end", "other"]
    "what of a sample its time is; default: center"
    bins: dict[str, OneOrMore[BinsSection]]
    (
        "of columns that are arrays, what their elements stand for, a map for each dimension: {flux: {name: "
        "frequency, unit: MHz, centers: [..]}}"
    )
    colors: dict[str, dict[str, Text]]
    (
        "of columns that are texts, the colors of what they say, by regular expressions: {quality: {good: green, "
        "'bad.*': '#FF0000'}}"
    )
    vectors: dict[str, VectorSection]
    "of parameters that are vectors, or one of their coordinates: {b: GSE, lat: {system: HGI, components: latitude}}"
