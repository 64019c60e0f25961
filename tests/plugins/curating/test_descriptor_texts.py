"""Texts are changed where they stand in a descriptor: every other line stays, and what is read again is what was written."""

from __future__ import annotations

import difflib
import random
from collections import Counter
from pathlib import Path

import pytest

from example_sites import list_examples
from hven.model.errors import DescriptorError, UserError
from hven.plugins.curating.descriptor_texts import read_descriptor_texts, replace_descriptor_texts

PLACES = [*Path(__file__).parents[3].glob("examples/*"), *list_examples().values()]
EXAMPLES = sorted({path for place in PLACES for path in place.glob("**/*.yaml")})
BEGIN = """\
# who reads this: write to vo@example.org
collection: cubes   # its name
title: Cubes        # of Mars
description: >      # folded
  Cubes of reflectance,
  in 352 channels.

subjects: [Mars]    # more to come
tables:
  cubes:
    # the main one
    title: {en: The cubes, fr: Les cubes}   # two languages
    source: {kind: csv, file: a.csv}
  maps:
    description:
      en: Maps   # old
      fr: |
        Des cartes
        en deux lignes
    source: &s {kind: csv, file: b.csv}
"""


def test_a_text_is_changed_where_it_stands() -> None:
    wanted = {
        ("title",): {"en": "Cubes of Mars"},
        ("description",): {"en": "One line"},
        ("tables", "cubes", "title"): {"en": "The cubes", "fr": "Tous les cubes"},
        ("tables", "maps", "title"): {"en": "Maps", "fr": "Cartes: toutes"},
        ("tables", "maps", "description"): {"en": "Maps of ice", "fr": "Des cartes\nen trois\nlignes"},
    }
    made = replace_descriptor_texts(BEGIN.encode(), "cubes.yaml", wanted, "en").decode()
    diff = list(difflib.unified_diff(BEGIN.splitlines(), made.splitlines(), n=0, lineterm=""))[2:]
    gone, come = ([line[1:] for line in diff if line[0] == sign] for sign in "-+")
    assert gone == [
        "title: Cubes        # of Mars",
        "description: >      # folded",
        "  Cubes of reflectance,",
        "  in 352 channels.",
        "    title: {en: The cubes, fr: Les cubes}   # two languages",
        "      en: Maps   # old",
        "      fr: |",
        "        en deux lignes",
    ]
    assert come == [
        "title: Cubes of Mars        # of Mars",
        "description: One line      # folded",
        "    title: {en: The cubes, fr: Tous les cubes}   # two languages",
        '    title: {en: Maps, fr: "Cartes: toutes"}',
        "      en: Maps of ice   # old",
        "      fr: |-",
        "        en trois",
        "        lignes",
    ]
    assert read_descriptor_texts(made.encode(), "", "en") | wanted == read_descriptor_texts(made.encode(), "", "en")


@pytest.mark.parametrize(
    ("before", "path", "told", "after"),
    [
        ("collection: a\ntitle: A # c\n", "title", {"en": "A", "fr": "Â"}, 'collection: a\ntitle: {en: A, fr: "Â"} # c\n'),
        ("collection: a\ntitle: {en: A, fr: B}\n", "title", {"en": "A"}, "collection: a\ntitle: {en: A}\n"),
        ("collection: a\ntitle: {en: A, fr: B}\n", "title", {"fr": "B"}, "collection: a\ntitle: {fr: B}\n"),
        ("collection: a\ntitle:\n  en: A\n  # said so\n  fr: B\nindex: 1\n", "title", {"en": "A"}, "collection: a\ntitle:\n  en: A\n  # said so\nindex: 1\n"),
        ("collection: a\ntitle: A\ndescription: B\nindex: 1", "description", {}, "collection: a\ntitle: A\nindex: 1"),
        ("collection: a\nindex: 1", "title", {"en": "yes"}, 'collection: a\ntitle: "yes"\nindex: 1'),
        ("index: 1\n", "title", {"en": "010"}, 'title: "010"\nindex: 1\n'),
        ("collection: a\ntitle:\nindex: 1\n", "title", {"en": "A"}, "collection: a\ntitle: A\nindex: 1\n"),
        ("{collection: a, index: 1}\n", "description", {"en": "b, c"}, '{description: "b, c", collection: a, index: 1}\n'),
        ("collection: a\ntitle: 'It''s'\n", "title", {"en": "It is\na #b"}, "collection: a\ntitle: |-\n  It is\n  a #b\n"),
        ("collection: a\r\ntitle: A\r\n", "title", {"en": "B"}, "collection: a\r\ntitle: B\r\n"),
    ],
)  # fmt: skip
def test_every_way_to_write_it(before: str, path: str, told: dict[str, str], after: str) -> None:
    made = replace_descriptor_texts(before.encode(), "a.yaml", {(path,): told}, "en")
    assert made.decode() == after
    assert read_descriptor_texts(made, "a.yaml", "en")[path,] == told


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("let: &x A\ntitle: *x\n", ("title",)),
        ("title: &x A\ndescription: *x\n", ("title",)),
        ("b: &b {title: A}\ntables:\n  t:\n    <<: *b\n    c: 1\n", ("tables", "t", "title")),
        ("tables:\n  t: &b {title: A}\n  u: *b\n", ("tables", "u", "title")),
        ("title: A\n", ("title",)),
    ],
)
def test_what_is_written_together_with_something_else_is_refused(text: str, path: tuple[str, ...]) -> None:
    told = {} if text == "title: A\n" else {"en": "Other"}
    with pytest.raises(UserError, match="cannot be changed here without changing other parts of the file"):
        replace_descriptor_texts(text.encode(), "a.yaml", {path: told}, "en")


def test_a_file_that_cannot_be_read_is_told() -> None:
    for text in (b"title: [\n", b"\xff\xfe", b"a: 1\na: 2\n"):
        with pytest.raises(DescriptorError):
            replace_descriptor_texts(text, "a.yaml", {("title",): {"en": "A"}}, "en")
    for text in (b"- a\n", b"", b"text"):
        with pytest.raises(UserError):
            read_descriptor_texts(text, "a.yaml", "en")


def test_any_text_in_any_example() -> None:
    """Texts made of what YAML gives a meaning to come back as they are, and no line of another key changes."""
    draw = random.Random(22)
    signs = ["# ", ": ", "- ", "'", '"', "\\", "{", "}", "[", "&a", "*a", "|", ">", "%", "@", "`", "é", "\u2028", "\t", "\n", "\n\n", "  ", "no", "1:30", "word ", "mot, " * 30]  # fmt: skip
    tried: Counter[str] = Counter()
    for file in EXAMPLES:
        data = file.read_bytes()
        try:
            known = read_descriptor_texts(data, file.name, "en")
        except (UserError, DescriptorError):
            continue  # a standard of its own, or a part
        for path in known:
            told = {one: "".join(draw.choices(signs, k=draw.randrange(1, 9))).strip() for one in draw.choice((["en"], ["fr"], ["en", "fr"]))}  # fmt: skip
            told = {one: text for one, text in told.items() if text}
            if not told:
                continue
            try:
                made = replace_descriptor_texts(data, file.name, {path: told}, "en")
            except UserError:
                tried["refused"] += 1
                continue
            tried["written"] += 1
            after = read_descriptor_texts(made, file.name, "en")
            assert {**known, path: told} == {**after, path: after[path]}
            kept = Counter(line for line in data.decode().splitlines() if "#" in line) - Counter(made.decode().splitlines())  # fmt: skip
            assert all("title" in line or "description" in line for line in kept), "comments stay"
    assert tried["written"] > 60
    assert tried["refused"] <= tried["written"] // 20
