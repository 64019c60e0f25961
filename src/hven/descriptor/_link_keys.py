"""Keys of links that follow from what rows share."""

from hven.descriptor._sync_policies import Duration
from hven.descriptor.value_schema import DescriptorSection, OneOrMore, Required, Text


class DerivedSection(DescriptorSection, short="by", hints={"from": "in", "table": "in", "times": "time"}):
    """Rows that were made of each other."""

    by: Required[OneOrMore[Text]]
    (
        "columns that both tables have, and that are equal in both rows: obs_id, or the programme. A target alone "
        "says nothing"
    )
    in_: Text
    "the other table: raw, or schema.table; default: this one"
    within: Duration
    "their times overlap, or lie no further apart than this: 10 min"
    time: OneOrMore[Text]
    "columns of both tables, in days, where a row begins and ends; default: t_min and t_max, or time_min and time_max"
    other_time: OneOrMore[Text]
    "the same columns of the other table, where it calls them otherwise"
    level: Text
    "column of both tables that is larger in what was made of the other; default: calib_level, or processing_level"
