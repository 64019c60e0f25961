"""YAML with positions: every character of a value is found again in the file; nothing is retyped."""

from __future__ import annotations

import string

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from hven.descriptor.written_yaml import (
    LocatedYamlList,
    LocatedYamlMap,
    LocatedYamlScalar,
    YamlFileText,
    decode_yaml_file,
    detect_misleading_retyping,
    detect_yaml_retyping,
    parse_yaml_file,
)


def read(text):
    faults = []
    value = parse_yaml_file(YamlFileText("x.yaml", text), faults)
    assert faults == []
    return value


def to_plain_types(value):
    """The same structure in Python's own types, to compare with PyYAML's."""
    if isinstance(value, LocatedYamlMap):
        return {str(key): to_plain_types(item) for key, item in value.items()}
    if isinstance(value, LocatedYamlList):
        return [to_plain_types(item) for item in value]
    return str(value)


texts = st.text(
    st.sampled_from(string.ascii_letters + string.digits + " .,:;#'\"|>(){}[]&*!%@`-+=/\\é☉\U0001d6fc\n\t"), max_size=40
)
documents = st.recursive(
    texts,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(string.ascii_letters, min_size=1, max_size=8), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(documents, st.sampled_from([None, True, False]), st.sampled_from([None, '"', "'", "|", ">"]))
def test_the_structure_is_that_of_pyyaml(document, flow, style):
    text = yaml.dump({"k": document}, default_flow_style=flow, default_style=style, allow_unicode=True, width=30)
    assert to_plain_types(read(text)) == yaml.load(text, Loader=yaml.BaseLoader)  # BaseLoader: everything is text, too


@given(
    documents, st.sampled_from([None, True, False]), st.sampled_from([None, '"', "'", "|", ">"]), st.integers(10, 80)
)
def test_every_character_is_found_in_the_file(document, flow, style, width):
    text = yaml.dump({"k": document}, default_flow_style=flow, default_style=style, allow_unicode=True, width=width)
    lines = text.split("\n")

    def look(value):
        if isinstance(value, LocatedYamlMap):
            for key, item in value.items():
                look(key)
                look(item)
        elif isinstance(value, LocatedYamlList):
            for item in value:
                look(item)
        else:
            before = (0, 0)
            for offset, character in enumerate(value):
                place = value.locate_character(offset)
                here = (place.line, place.column)
                assert here >= before
                before = here
                if not character.isspace() and character.isascii() and character not in "\\\"'":
                    assert lines[place.line - 1][place.column - 1] == character

    look(read(text))


def test_positions_in_every_style():
    value = read("a: é x\nb: 'q''q'\nc: \"a\\tb\\u00e9c\"\nd: |\n  one\n   two\ne: >-\n  x\n  yz\nf: multi\n  line\n")
    assert [str(value["b"].locate_character(n)) for n in range(3)] == ["x.yaml:2:5", "x.yaml:2:7", "x.yaml:2:8"]
    assert str(value["a"].locate_character(2)) == "x.yaml:1:6"
    assert str(value["c"].locate_character(4)) == "x.yaml:3:15"
    assert str(value["d"].locate_character(5)) == "x.yaml:6:4"
    assert str(value["e"].locate_character(2)) == "x.yaml:9:3"
    assert str(value["f"].locate_character(6)) == "x.yaml:11:3"


TRAPS = [
    "no",
    "No",
    "off",
    "yes",
    "on",
    "true",
    "FALSE",
    "010",
    "-017",
    "0_7",
    "1:30",
    "12:30:45.5",
    "1",
    "-2",
    "3.5",
    "1e3",
    "1_000",
    "0x1f",
    ".5",
    "2026-11-20",
    "2026-11-20T01:02:03Z",
]


@pytest.mark.parametrize("text", TRAPS)
def test_a_trap_is_what_yaml_would_retype(text):
    assert not isinstance(yaml.safe_load(text), str) or text == "1e3"  # 1.1 wants a dot there, 1.2 does not
    assert detect_yaml_retyping(read(f"k: {text}\n")["k"]) is not None


@given(st.text(st.sampled_from("0123456789:-+.eExabf_noyesNOYESTZ"), min_size=1, max_size=12))
def test_what_yaml_retypes_is_a_trap(text):
    assume(text.strip() == text)
    try:
        loaded = yaml.safe_load(f"k: {text}\n")
    except (yaml.YAMLError, ValueError):
        return
    assume(isinstance(loaded, dict))
    value = (
        read(f"k: {text}\n")["k"]
        if isinstance(loaded.get("k"), (str, int, float, bool)) or loaded.get("k") is None
        else None
    )
    if value is None or not isinstance(value, LocatedYamlScalar) or isinstance(loaded["k"], str) or value.is_null:
        return
    found = detect_yaml_retyping(value)
    assert found is not None, f"YAML reads {text} as {loaded['k']!r}"
    if (
        isinstance(loaded["k"], int)
        and not isinstance(loaded["k"], bool)
        and str(loaded["k"]) not in text
        and not text.startswith(("0x", "0b", "+0x", "-0x", "+0b", "-0b"))
        and "_" not in text
    ):
        assert detect_misleading_retyping(value) is not None  # it would be another number


@pytest.mark.parametrize("text", ["'no'", '"010"', "word", "12 apples", "v1.2.3", "!!str 010", "a:b"])
def test_text_is_no_trap(text):
    assert detect_yaml_retyping(read(f"k: {text}\n")["k"]) is None


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_fault(data):
    faults = []
    page = decode_yaml_file(data, "x.yaml", faults)
    if page is not None:
        value = parse_yaml_file(page, faults)
        assert (
            value is not None or faults or not page.text.strip() or page.text.lstrip().startswith(("#", "-", "%", "."))
        )
    else:
        assert faults


def test_crlf_and_bom_are_nothing_special():
    faults = []
    page = decode_yaml_file(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", "x.yaml", faults)
    assert faults == []
    value = parse_yaml_file(page, faults)
    assert (str(value["b"]), str(value["b"].place)) == ("2", "x.yaml:2:4")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    from hven.descriptor.written_yaml import MAX_FILE_BYTES, read_yaml_file

    path = tmp_path / "big.yaml"
    path.write_bytes(b"# " + b"x" * MAX_FILE_BYTES)
    faults = []
    assert read_yaml_file(path, "big.yaml", faults) is None
    assert "a descriptor may have" in faults[0].message
