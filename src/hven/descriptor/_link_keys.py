"""Keys of links that follow from what rows share."""

from hven.descriptor._sync_policies import Duration
from hven.descriptor.value_schema import DescriptorSection, OneOrMore, Required, Text


class DerivedLinkSection(
    DescriptorSection, short="by", hints={"from": "in", "table": "in", "times": "time"}, name="derived"
):
    """Rows that were made of each other."""

    by: Required[OneOrMore[Text]]
    "columns of both tables that are equal in both rows: obs_id, or the programme. A target alone is not enough"
    in_: Text
    "the other table: raw, or schema.table. Default: this one"
    within: Duration
    "largest gap between the times of both rows, if they do not overlap: 10 min"
    time: OneOrMore[Text]
    "columns of both tables, in days, where a row begins and ends. Default: t_min and t_max, or time_min and time_max"
    other_time: OneOrMore[Text]
    "these columns in the other table, if they have other names there"
    level: Text
    "column of both tables that is larger in the derived row. Default: calib_level, or processing_level"
