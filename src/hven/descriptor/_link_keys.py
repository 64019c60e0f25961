"""Keys of links that follow from what rows share."""

from hven.descriptor._sync_policies import Duration
from hven.descriptor.value_schema import DescriptorSection, OneOrMore, Required, Text


class DerivedLinkSection(
    DescriptorSection, short="by", hints={"from": "in", "table": "in", "times": "time"}, name="derived"
):
    """Links between two rows, one of which was made from the other."""

    by: Required[OneOrMore[Text]]
    (
        "columns of both tables that must have the same values in the two rows, for example obs_id or the observing "
        "programme. It is not enough that the two rows have the same target"
    )
    in_: Text
    "the other table, for example raw, or schema.table. Default: this table"
    within: Duration
    "largest gap between the times of the two rows, if these times do not overlap, for example 10 min"
    time: OneOrMore[Text]
    (
        "columns of both tables that contain a row's start and end times, in days. Default: t_min and t_max, or "
        "time_min and time_max"
    )
    other_time: OneOrMore[Text]
    "names of the time columns in the other table, if they differ from those in this table"
    level: Text
    "column of both tables whose value is larger in the derived row. Default: calib_level, or processing_level"
