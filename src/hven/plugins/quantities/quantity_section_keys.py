"""What the keys ``origins`` and ``quantities`` contain."""

from hven.descriptor.value_schema import DescriptorSection, Expression, LocalizedText, OneOrMore, Required, Text

ORIGINS_KEY, QUANTITIES_KEY = "origins", "quantities"


class OriginSection(DescriptorSection, short="title", name="origin"):
    """Where the values of quantities come from."""

    title: Required[Text]
    "name of the catalogue or method, which readers see"
    bibcode: Text
    "ADS bibcode of the reference"
    doi: Text
    "DOI of the reference, for example 10.26093/cds/vizier.1280"
    url: Text
    "address of the reference"


class QuantitySection(DescriptorSection, empty=True, hints={"inputs": "from", "source": "origin", "units": "unit"}):
    """A value with its error, its bounds, its origin and its confidence. Each of these is a column."""

    type: Text
    "type of the value. Default: float64"
    unit: Text
    "unit of the value, the error and the bounds, in VOUnits syntax"
    ucd: Text
    "UCD1+ of the value, from which Hven derives the UCDs of the other columns"
    utype: Text
    "utype of the value, from a data model"
    description: LocalizedText
    "one sentence for readers"
    label: LocalizedText
    "heading that readers see instead of the name"
    display: Text
    "how pages write the value, for example '.3f'"
    section: Text
    "heading under which pages show the columns"
    value: Expression
    (
        "expression for the value. If it uses other quantities, for example target.V - target.K, the value is a "
        "computed value. Default: the source's column with the name of the quantity"
    )
    error: Expression
    (
        "expression for the error: the column e_NAME. With 'first order', Hven computes the error of a computed "
        "value from the errors of the quantities that the value uses"
    )
    lower: Expression
    "expression for the lower bound of the confidence interval: the column NAME_lower"
    upper: Expression
    "expression for the upper bound of the confidence interval: the column NAME_upper"
    origin: Expression
    (
        "a title in 'origins', or an expression for the code of the origin: the column NAME_origin. Default of a "
        "computed value: the origin whose title is 'computed'"
    )
    confidence: Expression
    (
        "none, low, medium or high, or an expression for the codes 0 to 3: the column NAME_confidence. Default of a "
        "computed value: the lowest confidence of the quantities that it uses"
    )
    from_: OneOrMore[Text]
    (
        "quantities from which the value is computed, in addition to those that 'value' names. If one of them is "
        "null, the value is null, too"
    )
