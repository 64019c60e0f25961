"""What the key ``progress`` contains."""

from hven.descriptor.value_schema import DescriptorSection, OneOrMore, Text


class ProgressSection(DescriptorSection, hints={"stage": "column", "state": "column", "order": "stages"}):
    """The progress of the rows of a table. Write `column`, `calendar` or both."""

    column: Text
    "column that contains the stage of each row, for example planned or observed"
    stages: OneOrMore[Text]
    "the stages, from the first to the last. Default: the codes of the column's `enum`, in their order"
    by: OneOrMore[Text]
    "columns by which the page also counts the stages, for example the programme"
    calendar: Text
    "column with a time. A calendar shows the number of rows for each day"
