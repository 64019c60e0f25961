"""Keys of data sets of samples in time."""

from typing import Literal

from hven.descriptor._sync_policies import Duration
from hven.descriptor.value_schema import Condition, DescriptorSection, OneOrMore, Required, RetypedText, Text


class ArrayBinsSection(
    DescriptorSection, hints={"centres": "centers", "units": "unit", "min_max": "ranges"}, name="bins"
):
    """What the elements of an array stand for: channels of frequency, of energy."""

    name: Required[Text]
    "the quantity: frequency"
    unit: Text
    "its unit"
    centers: OneOrMore[RetypedText]
    (
        "a value for each element: [10.5, 11.5]; or the column with these values for each sample; in files, the "
        "variables with these values"
    )
    ranges: OneOrMore[OneOrMore[RetypedText]]
    "lowest and highest value of each element: [[10, 11], [11, 12]]; or the column with these values"
    label: Text
    "label of axes"
    description: Text
    "for people"


class TimePartSection(DescriptorSection, short="of", name="part"):
    """A variable of a file that is added to its times."""

    of: Required[Text]
    "the variable"
    unit: Text
    "its unit: d, h, min, s, ms, us, ns"


class SampleTimeSection(
    DescriptorSection,
    short="of",
    hints={"column": "of", "variable": "of", "from": "since", "epoch": "since", "zero": "since"},
    name="time",
):
    """When samples were taken."""

    of: Required[Text]
    "column, or variable of the file"
    unit: Text
    "in files: unit of the numbers, if the file does not give it: d, h, min, s, ms, us, ns"
    since: RetypedText
    (
        "in files: the moment of number 0: a date, JD, MJD; a part of the file's name: orf%Y%m%d; cards "
        "of its header: DATE-OBS TIME-OBS"
    )
    scale: Literal["UTC", "TAI", "TT", "TDB", "GPS"]
    (
        "in files: time scale of the clock. Default: the time scale in the file (FITS: TIMESYS; the end of "
        "since: 1993-01-01 TAI), else UTC"
    )
    plus: TimePartSection
    "in files: a variable that is added: the fraction of a Julian day, milliseconds of the day"


class FileVariableSection(
    DescriptorSection,
    short="of",
    hints={"from": "of", "columns": "of", "units": "unit", "clock": "time", "index": "element"},
    name="variable",
):
    """What of a file is a parameter."""

    of: OneOrMore[Text]
    (
        "variable of the file, or several whose elements are put one after the other. Default: the variable with "
        "this name. For a variable in another part, write the part's name or number before it: 2.DATA"
    )
    time: OneOrMore[Text]
    "time variables, one for each of several variables that have their own times"
    element: int
    "index in the last dimension, from 0: a polarisation"
    unit: Text
    "unit, if the file does not give it"
    description: Text
    "description, if the file does not give it"
    label: Text
    "label of axes"
    fill: float
    "value that means 'no value', if the file does not give it"


class VectorSection(
    DescriptorSection, short="system", hints={"frame": "system", "coordinates": "system", "axes": "components"}
):
    """Which coordinates a vector has, or one of them."""

    system: Required[Text]
    "coordinate system, as SPASE calls it: GSE, RTN, HEEQ"
    components: OneOrMore[
        Literal["x", "y", "z", "r", "rho", "latitude", "colatitude", "longitude", "longitude0", "altitude", "other"]
    ]
    "names of its elements, in order. Default: x, y, z for three"


class TimeSeriesSection(
    DescriptorSection,
    short="time",
    hints={"dataset": "id", "columns": "parameters", "variables": "parameters", "filter": "where"},
    name="series",
):
    """A data set of HAPI and das2: samples in time."""

    id: Text
    "name of the data set, for example an earlier one. Default: schema_table"
    das2: Text
    "path in the tree of das2: Nancay/NDA/Routine/routine_jup_lh. Default: schema_table"
    title: Text
    "heading. Default: the title of the table"
    description: Text
    "what the data set is. Default: the description of the table"
    file: Text
    (
        "path of the file with the samples of each row, as a template over the row: '{target.path}'. The columns "
        "with the UCDs time.start and time.end give its times"
    )
    reader: Text
    (
        "for files that Hven cannot read: a program, by its name in hven.toml ([readers.maser]: maser), "
        "or a Python file beside the descriptor, and its function: nda.py:read"
    )
    part: RetypedText
    "in files: name or number of the table or array with the samples. Default: the first that has the time"
    time: SampleTimeSection
    "column, or variable of the file, with the time of a sample. Default: by UCD"
    parameters: OneOrMore[Text]
    "columns, or variables of the file, in the data set, in order. Default: all suitable ones"
    variables: dict[str, FileVariableSection]
    (
        "in files: parameters that are not simply one variable of the file: {stokesi: {of: [STOKESI_B1, "
        "STOKESI_B2], time: [TIME_B1, TIME_B2]}}"
    )
    version: Text
    (
        "in files: if two files have the same time, Hven uses the one with the higher value in this column. "
        "Default: the number after _v in their names"
    )
    where: Condition
    "condition: the rows that belong to the data set: band = 'B1'"
    cadence: Duration
    "time between two samples: 0.1 s"
    ahead: Duration
    (
        "for data that keep growing: how far after the last sample HAPI clients may request data (stopDate is "
        "that far ahead): 1 d"
    )
    stamp: Literal["begin", "center", "end", "other"]
    "which moment of a sample its time marks. Default: center"
    bins: dict[str, OneOrMore[ArrayBinsSection]]
    (
        "what the elements of array columns mean, with a map for each dimension: {flux: {name: frequency, unit: "
        "MHz, centers: [..]}}"
    )
    colors: dict[str, dict[str, Text]]
    "colours for values of text columns, by regular expressions: {quality: {good: green, 'bad.*': '#FF0000'}}"
    vectors: dict[str, VectorSection]
    (
        "coordinate systems of parameters that are vectors, or one of their coordinates: {b: GSE, lat: "
        "{system: HGI, components: latitude}}"
    )
