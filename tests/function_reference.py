"""Write the tables of functions of docs/reference/adql.md."""

from hven.adql.functions import MAPPING_FUNCTIONS, STANDARD_FUNCTIONS
from hven.adql.signatures import FunctionDefinition, FunctionSignature


def write_function_reference() -> str:
    """Generate the tables of functions of docs/reference/adql.md.

    Returns
    -------
    page
        The tables as Markdown.
    """
    lines: list[str] = []
    for group, title in GROUP_TITLES.items():
        group_entries = [entry for entry in MAPPING_FUNCTIONS if entry.group == group]
        lines += [f"### {title}", "", "| Function | Returns | Description | Example |", "|---|---|---|---|"]
        for entry in sorted(group_entries, key=lambda entry: entry.name):
            function_name = entry.name if entry in STANDARD_FUNCTIONS else entry.name.lower()
            plain_signatures = [
                signature
                for signature in entry.signatures
                if "coordsys" not in signature.text and "more" not in signature.text
            ]
            signatures = plain_signatures or list(entry.signatures)
            calls = "<br>".join(
                f"`{function_name}{_format_signature_arguments(signature)}`" for signature in signatures
            )
            result = signatures[0].result
            result_phrase = _RESULT_PHRASES.get(result, result)
            lines.append(f"| {calls} | {result_phrase} | {entry.doc} | {_format_function_example(entry)} |")
        lines.append("")
    return "\n".join(lines)


def _format_function_example(entry: FunctionDefinition) -> str:
    call, _, result = entry.example.partition(" is ")
    if entry not in STANDARD_FUNCTIONS:
        call = call.replace(entry.name, entry.name.lower())
    call_text = call.replace("|", "\\|")
    if result:
        return f"`{call_text}` is `{result.lstrip('~')}`"
    return f"`{call_text}`"


_RESULT_PHRASES = {
    "ELEMENT": "type of the elements",
    "TOTAL": "BIGINT or DOUBLE",
    "INTEGER[]": "array of INTEGER",
    "SAME": "type of its argument",
    "COMMON": "common type of its arguments",
    "SUM": "BIGINT or DOUBLE",
}


def _format_signature_arguments(signature: FunctionSignature) -> str:
    """Write the arguments of a signature: ``(x, [n])``."""
    texts = []
    for parameter in signature.parameters:
        text = parameter.name
        if parameter.is_optional:
            text = f"[{parameter.name}]"
        elif parameter.is_repeated:
            text = f"{parameter.name} .."
        texts.append(text)
    return f"({', '.join(texts)})"


GROUP_TITLES = {
    "math": "Mathematical",
    "trigonometry": "Trigonometric, in radians",
    "aggregate": "Aggregate",
    "string": "Strings",
    "conditional": "Conditional",
    "unit": "Units",
    "geometry": "Geometry, in degrees",
    "udf": "User defined, declared in the capabilities",
    "mapping": "In descriptors only",
}
