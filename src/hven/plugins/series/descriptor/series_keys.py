"""Keys of data sets of samples in time."""

from typing import Literal

from hven.descriptor.api.keys import Duration
from hven.descriptor.value_schema import Condition, DescriptorSection, OneOrMore, Required, RetypedText, Text

ScaleType = Literal["linear", "log"]


class ArrayBinsSection(
    DescriptorSection,
    hints={"centres": "centers", "units": "unit", "min_max": "ranges", "scale": "scale_type"},
    name="bins",
):
    """The meaning of an array's elements, for example frequency or energy channels."""

    name: Required[Text]
    "name of the quantity, for example frequency"
    unit: Text
    "unit of the quantity"
    centers: OneOrMore[RetypedText]
    (
        "one value for each element, for example [10.5, 11.5], or the column that contains these values for each "
        "sample. For samples in files, write the variables with these values, not a column"
    )
    ranges: OneOrMore[OneOrMore[RetypedText]]
    (
        "lowest and highest value of each element, for example [[10, 11], [11, 12]], or the column that contains these "
        "values"
    )
    label: Text
    "label of the axis"
    description: Text
    "description for readers"
    scale_type: ScaleType
    "scale of the axis in plots. Default: log if the highest centre is more than 30 times the lowest"


class AddedTimeVariableSection(DescriptorSection, short="of", name="part"):
    """A variable that Hven adds to the times in a file."""

    of: Required[Text]
    "name of the variable"
    unit: Text
    "unit of the variable: d, h, min, s, ms, us or ns"


class SampleTimeSection(
    DescriptorSection,
    short="of",
    hints={"column": "of", "variable": "of", "from": "since", "epoch": "since", "zero": "since"},
    name="time",
):
    """When samples were taken."""

    of: Required[Text]
    "column, or variable in the file, that contains the times"
    unit: Text
    "for samples in files: unit of the numbers, if the file does not state it: d, h, min, s, ms, us or ns"
    since: RetypedText
    (
        "for samples in files: the moment that the number 0 represents. Write a date, 'JD', 'MJD', a pattern for part "
        "of the file's name (for example orf%Y%m%d), or cards in the file's header (for example DATE-OBS TIME-OBS)"
    )
    scale: Literal["UTC", "TAI", "TT", "TDB", "GPS"]
    (
        "for samples in files: time scale of the clock. Default: the time scale at the end of 'since' or of the unit "
        "(for example 1993-01-01 TAI), or TIMESYS in FITS, or else UTC"
    )
    plus: AddedTimeVariableSection
    (
        "for samples in files: a variable that Hven adds to the times, for example the fraction of a Julian day, or "
        "the milliseconds of the day"
    )


class FileVariableSection(
    DescriptorSection,
    short="of",
    hints={"from": "of", "columns": "of", "units": "unit", "clock": "time", "index": "element"},
    name="variable",
):
    """A parameter that Hven reads from files."""

    of: OneOrMore[Text]
    (
        "variable in the file, or several variables whose elements Hven concatenates. Default: the variable that has "
        "the parameter's name. For a variable in another part of the file, write the name or number of that part "
        "and a dot before the variable's name, for example 2.DATA"
    )
    time: OneOrMore[Text]
    "one time variable for each variable in 'of', if these variables have different times"
    element: int
    "index in the last dimension, counted from 0, for example to select a polarisation"
    unit: Text
    "unit, if the file does not state it"
    description: Text
    "description, if the file does not contain one"
    label: Text
    "label of the axis"
    fill: float
    "value that marks missing values, if the file does not state it"


class VectorSection(
    DescriptorSection, short="system", hints={"frame": "system", "coordinates": "system", "axes": "components"}
):
    """The coordinate system of a vector, or of one of its coordinates."""

    system: Required[Text]
    "coordinate system, by its SPASE name, for example GSE, RTN or HEEQ"
    components: OneOrMore[
        Literal["x", "y", "z", "r", "rho", "latitude", "colatitude", "longitude", "longitude0", "altitude", "other"]
    ]
    "names of the vector's elements, in order. Default for three elements: x, y, z"


class TimeSeriesSection(
    DescriptorSection,
    short="time",
    hints={
        "dataset": "id",
        "columns": "parameters",
        "variables": "parameters",
        "filter": "where",
        "scales": "scale_types",
    },
    name="series",
):
    """A HAPI and das2 data set: samples over time."""

    id: Text
    "name of the data set, for example a name that clients already use. Default: schema_table"
    das2: Text
    "path in das2's catalogue, for example Nancay/NDA/Routine/routine_jup_lh. Default: the 'id', or else schema/table"
    title: Text
    "heading. Default: the title of the table"
    description: Text
    "what the data set is. Default: the description of the table"
    file: Text
    (
        "path of the file that contains the samples of a row, as a template that can use the row's columns, for "
        "example '{target.path}'. The columns with the UCDs time.start and time.end contain the file's time span"
    )
    reader: Text
    (
        "for files that Hven cannot read: the program or function that reads them. Write the name of a program in "
        "hven.toml (maser for [readers.maser]), or a Python file in the descriptor's directory and the name of its "
        "function (nda.py:read)"
    )
    part: RetypedText
    (
        "for samples in files: name or number of the table or array with the samples. Default: the first table or "
        "array that contains the time"
    )
    time: SampleTimeSection
    "column, or variable in the file, that contains each sample's time. Default: Hven finds the column by its UCD"
    parameters: OneOrMore[Text]
    (
        "columns, or variables in the file, that the data set contains, in this order. Default: all suitable columns "
        "or variables"
    )
    variables: dict[str, FileVariableSection]
    (
        "for samples in files: parameters that do not correspond to exactly one variable in the file, for example "
        "{stokesi: {of: [STOKESI_B1, STOKESI_B2], time: [TIME_B1, TIME_B2]}}"
    )
    version: Text
    (
        "for samples in files: column that contains each file's version. If two files cover the same time, Hven uses "
        "the file with the higher value in this column. Default: the number after _v in the file names"
    )
    where: Condition
    "condition for the rows that belong to the data set, for example band = 'B1'"
    cadence: Duration
    "time between two samples, for example 0.1 s"
    ahead: Duration
    (
        "for data that keep growing: how far beyond the last sample HAPI requests may reach, for example 1 d. "
        "stopDate is this much later than the last sample"
    )
    stamp: Literal["begin", "center", "end", "other"]
    "moment within each sample to which the sample's time refers. Default: 'center'"
    bins: dict[str, OneOrMore[ArrayBinsSection]]
    (
        "what the elements of array columns mean, with one map for each dimension, for example {flux: {name: "
        "frequency, unit: MHz, centers: [..]}}"
    )
    colors: dict[str, dict[str, Text]]
    (
        "colours for values of text columns. Regular expressions select the values, for example {quality: {good: "
        "green, 'bad.*': '#FF0000'}}"
    )
    vectors: dict[str, VectorSection]
    (
        "coordinate systems of parameters that are vectors or single components of vectors, for example {b: GSE, lat: "
        "{system: HGI, components: latitude}}"
    )
    scale_types: dict[str, ScaleType]
    (
        "scales of parameters in plots, for example {flux: log}. Default: lines have a scale that fits their values, "
        "and the colours of spectra are linear"
    )
