"""What the key ``joint_search`` contains."""

from hven.descriptor.value_schema import DescriptorSection, LocalizedText, OneOrMore, Required, RetypedText, Text


class JointTableSection(DescriptorSection, short="table"):
    """A table of a joint search."""

    table: Required[Text]
    "the table with its collection, for example oidb.logs. It can be in another collection"
    label: LocalizedText
    "what its rows are, in the plural, for example OIFITS files. Default: the title of the table"


class JointChoiceSection(DescriptorSection, short="value"):
    """A choice of a field. Write `value` or `where`."""

    value: RetypedText
    "the condition on the column of the field, for example 1.9..2.5 um"
    where: OneOrMore[dict[str, RetypedText]]
    (
        "conditions on columns, which must all hold, for example {data_rights: secure}. In a list, one of the entries "
        "must hold. `now` stands for the current time"
    )
    label: LocalizedText
    "the word that readers see. Default: the name of the choice"


class JointFieldSection(
    DescriptorSection, short="column", empty=True, hints={"values": "choices", "colors": "colours", "title": "label"}
):
    """A field of the form, which is also a column of the list."""

    column: Text
    (
        "the column in all tables; t stands for the two columns t_min and t_max. Default: the name of the field. "
        "Tables without this column can't answer the field"
    )
    columns: dict[str, Text]
    "the column in some tables, where it differs from `column`, for example {logs: instrument_name}"
    choices: dict[str, JointChoiceSection]
    "the choices of the field, in order. A row shows the first choice that applies to it"
    colours: OneOrMore[RetypedText]
    "values or choices that the list shows in colours, in the order of the colours (at most 8)"
    label: LocalizedText
    "label of the field. Default: that of the first table's column"


class JointSearchSection(DescriptorSection):
    """One form for several tables."""

    title: LocalizedText
    "heading of the page, and of the links to it"
    tables: Required[dict[str, JointTableSection]]
    "the tables, by short names that the fields use. Readers see only the tables to which they have access"
    fields: Required[dict[str, JointFieldSection]]
    "the fields, in order"
