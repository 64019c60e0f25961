"""Descriptors made to take time or memory, or to break what reads them: faults with their places, in bounded time."""

from __future__ import annotations

from pathlib import Path

import pytest

from hven.adql import scope
from hven.descriptor import check_descriptor
from hven.model.settings import Settings

HEAD = "collection: x\ntitle: X\n"
DIGITS = "9" * 5000


def table(column: str = "int64", files: str = "a.csv", more: str = "") -> str:
    return f"{HEAD}tables:\n  main:\n    source: {{kind: csv, files: {files}}}\n    columns: {{a: {column}}}\n{more}"


def laughs(text: str, item: str) -> str:
    lines = [f"  a{n}: &a{n} {item.format(', '.join([f'*a{n - 1}'] * 10))}\n" for n in range(1, 12)]
    return f"{HEAD}let:\n  a0: &a0 {text}\n{''.join(lines)}"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (table(f"{{type: int64, minimum: {DIGITS}}}"), 6, "the number has more than 400 digits"),
        (table(f"{{type: int64, rank: {DIGITS}}}"), 6, "the number has more than 400 digits"),
        (table(f"'int64[{DIGITS}]'"), 6, "the number has more than 400 digits"),
        (table(more=f"    set: {{a: {DIGITS}}}\n"), 7, "the number has more than 400 digits"),
        (table(more=f"    map: {{a: '{DIGITS} + b'}}\n"), 7, "the number has more than 400 digits"),
        (table(more='    map: {a: "' + r"\x39" * 5000 + '"}\n'), 7, "the number has more than 400 digits"),
        (f"{HEAD}sync: {{cron: '{DIGITS} * * * *'}}\n", 3, "the number has more than 400 digits"),
        (f"{HEAD}sync: {{cron: '² * * * *'}}\n", 3, "sync.cron: '²' is not a valid"),
        (f"{HEAD}sync: {{cron: '*/² * * * *'}}\n", 3, "sync.cron: '*/²' is not a valid"),
        (table(files="x" * 300), 5, f"'{'x' * 60}' .. cannot be the name of a file"),
        (table(files="'" + "*a" * 200 + "'"), 5, f"'{'*a' * 30}' .. cannot be the name of a file"),
        (table(files="x/" * 5000), 5, f"'{'x/' * 30}' .. cannot be the name of a file"),
        (table(files='"a\\0.csv"'), 5, "'a\\x00.csv' .. cannot be the name of a file"),
        (f"{HEAD}include: {'x' * 300}.yaml\n", 3, "there is no file xxx"),
        (f"{HEAD}include: {'x/' * 3000}x.yaml\n", 3, "the path under 'include' is not a valid file path"),
        (f'{HEAD}include: "a\\0.yaml"\n', 3, "the path under 'include' is not a valid file path"),
        (f"{HEAD}functions: {'x' * 300}.py\n", 3, "there is no file xxx"),
        (f'{HEAD}functions: "a\\0.py"\n', 3, "there is no file a\0"),
        (table(more=f"    map: {{a: '{'b + ' * 50_000}b'}}\n"), 7, "more than 200 nested operations"),
        (table(more=f"    map: {{a: '{'(' * 50_000}b{')' * 50_000}'}}\n"), 7, "nested too deeply"),
        (f"{HEAD}let: {'[' * 100_000}\n", 3, "nested more than 60 levels deep"),
        (laughs("[x]", "[{}]"), 9, "more than 200,000 values"),
        (laughs("{x: 1}", "{{<<: [{}]}}"), 9, "more than 200,000 values"),
        (
            f"{HEAD}for:\n  - each: {{n: [{', '.join(map(str, range(5000)))}]}}\n    tables: {{'t{{n}}': {{columns: {{{', '.join(f'c{n}: int64' for n in range(50))}}}}}}}\n",
            4,
            "the loops create more than 200,000 values",
        ),
        (f"{HEAD}include: i0.yaml\n", 1, "more than 500 files are included"),
        (f"{HEAD}include: c.yaml\n", 1, "includes itself"),
        (f"{HEAD}description: a\0b\n", 3, "a NUL byte"),
    ],
)
def test_bombs(text: str, line: int, said: str, tmp_path: Path) -> None:
    home = tmp_path / "collections/x"
    home.mkdir(parents=True)
    (home / "a.csv").write_text("a,b\n1,2\n")
    (home / "c.yaml").write_text("include: c.yaml\n")
    for number in range(40):  # each twice: 2^40 files
        (home / f"i{number}.yaml").write_text(f"include: [i{number + 1}.yaml, ./i{number + 1}.yaml]\n")
    (home / "i40.yaml").write_text("licence: x\n")
    (home / "x.yaml").write_text(text, encoding="utf-8")
    found = check_descriptor(home / "x.yaml", Settings(directory=tmp_path))
    assert any(said in fault.message and fault.place.line == line for fault in found), found[:5]


def test_what_is_known_of_a_column_is_worked_out_a_few_times_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was once for each pair of columns: half a minute for 2,500 of them."""
    asked: list[str] = []
    made = scope.build_column_meta
    monkeypatch.setattr(scope, "build_column_meta", lambda column: asked.append(column.name) or made(column))
    names = [f"c{n}" for n in range(100)]
    home = tmp_path / "collections/x"
    home.mkdir(parents=True)
    (home / "a.csv").write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    columns = ", ".join(f"{name}: int64" for name in names)
    (home / "x.yaml").write_text(
        f"{HEAD}tables:\n  main:\n    source: {{kind: csv, files: a.csv}}\n    columns: {{{columns}}}\n"
    )
    assert check_descriptor(home / "x.yaml", Settings(directory=tmp_path)) == []
    assert 0 < len(asked) <= 10 * len(names)
