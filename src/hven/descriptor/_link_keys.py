"""Keys of links that follow from what rows share."""

from hven.descriptor._sync_policies import Duration
from hven.descriptor.value_schema import DescriptorSection, OneOrMore, Required, Text


class DerivedLinkSection(
    DescriptorSection, short="by", hints={"from": "in", "table": "in", "times": "time"}, name="derived"
):
    """Links between rows of which one was made from the other."""

    by: Required[OneOrMore[Text]]
    (
        "columns of both tables whose values are equal in the two rows, for example obs_id, or the programme. A target "
        "alone is not enough"
    )
    in_: Text
    "the other table, for example raw, or schema.table. Default: this table"
    within: Duration
    "largest gap between the times of the two rows, if these times do not overlap, for example 10 min"
    time: OneOrMore[Text]
    (
        "columns of both tables with the times, in days, at which a row begins and ends. Default: t_min and t_max, or "
        "time_min and time_max"
    )
    other_time: OneOrMore[Text]
    "columns of the other table with these times, if they have different names in that table"
    level: Text
    "column of both tables whose value is larger in the derived row. Default: calib_level, or processing_level"
