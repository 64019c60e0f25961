"""Keys of data sets of samples in time."""

from typing import Literal

from hven.descriptor._syncing import Duration
from hven.descriptor.value_schema import Condition, Keys, Loose, Many, Needed, Text


class Bins(Keys, hints={"centres": "centers", "units": "unit", "min_max": "ranges"}):
    """What the elements of an array stand for: channels of frequency, of energy."""

    name: Needed[Text]
    "the quantity: frequency"
    unit: Text
    "its unit"
    centers: Many[Loose]
    "a value for each element: [10.5, 11.5]; or the column that has them for each sample"
    ranges: Many[Many[Loose]]
    "lowest and highest value of each element: [[10, 11], [11, 12]]; or the column that has them"
    label: Text
    "for axes"
    description: Text
    "for people"


class Series(
    Keys, short="time", hints={"dataset": "id", "columns": "parameters", "variables": "parameters", "filter": "where"}
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
    time: Text
    "the column that says when a sample was taken; default: by UCD"
    parameters: Many[Text]
    "the columns it has, in order; default: all that can be one"
    where: Condition
    "the rows it has: band = 'B1'"
    cadence: Duration
    "time between two samples: 0.1 s"
    stamp: Literal["begin", "center", "end", "other"]
    "what of a sample its time is; default: center"
    bins: dict[str, Many[Bins]]
    "of columns that are arrays, what their elements stand for, a map for each dimension: {flux: {name: frequency, unit: MHz, centers: [..]}}"
