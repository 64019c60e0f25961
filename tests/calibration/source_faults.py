"""Draw faults that tests should catch: fixing commits undone, and mutants of the lines that they changed."""

from __future__ import annotations

import ast
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FIX_WORDS = re.compile(
    r"\b(mend|fix|fault|wrong|bug|refus|lost|lose|leak|crash|repair|any more|no longer|never|correct)\w*", re.IGNORECASE
)
MAX_COMMITS = 900  # commits, the newest first
MAX_FAULTS_PER_FILE = 3
OPPOSITE_OPERATORS: dict[type[ast.AST], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes
    ----------
    name
        The commit and the place; it identifies the fault in all runs.
    kind
        ``undone``: the source lines before a commit; ``mutant``: one changed expression.
    path
        The first file that it changes.
    line
        The line in that file, from 1.
    what
        The change in a few words.
    commit
        The fixing commit.
    tests
        The test modules that this commit changed.
    texts
        File -> its text with the fault.
    """

    name: str
    kind: str
    path: str
    line: int
    what: str
    commit: str
    tests: tuple[str, ...]
    texts: dict[str, str]


def run_git(root: Path, *words: str, stdin: str | None = None, check: bool = True) -> str:
    """Run Git in a checkout."""
    return subprocess.run(
        ["git", "-C", str(root), *words], check=check, capture_output=True, text=True, input=stdin
    ).stdout


def list_fix_commits(root: Path) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Yield commits that fixed something, with the sources and the test modules that they changed."""
    told = run_git(
        root, "log", f"--max-count={MAX_COMMITS}", "--no-merges", "--name-only", "--format=%x1e%H%x1f%s%x1f%b%x1f"
    )
    for part in told.split("\x1e")[1:]:
        commit, title, body, names = part.split("\x1f")
        paths = [name for name in names.split("\n") if name]
        sources = tuple(
            name for name in paths if name.startswith("src/hven/") and name.endswith(".py") and (root / name).exists()
        )
        tests = tuple(
            name for name in paths if re.fullmatch(r"tests/(.*/)?test_\w+\.py", name) and (root / name).exists()
        )
        if sources and tests and FIX_WORDS.search(f"{title} {body}"):
            yield commit, sources, tests


def draw_faults(root: Path, seed: int, count: int) -> list[Fault]:
    """Draw the faults of a seed; a tenth of them are undone commits, as far as these can be undone."""
    numbers = random.Random(seed)
    mends = list(list_fix_commits(root))
    numbers.shuffle(mends)
    faults: list[Fault] = []
    of_file: dict[str, int] = {}
    for commit, sources, tests in mends:
        if len(faults) == count:
            break
        undone = (
            undo_commit(root, commit, sources, tests) if 10 * sum(f.kind == "undone" for f in faults) < count else None
        )
        fault = undone or draw_mutant(root, commit, sources, tests, numbers)
        if fault is not None and of_file.get(fault.path, 0) < MAX_FAULTS_PER_FILE:
            faults.append(fault)
            of_file[fault.path] = of_file.get(fault.path, 0) + 1
    numbers.shuffle(mends)
    for commit, sources, tests in mends:  # a commit may give a second one
        if len(faults) == count:
            break
        fault = draw_mutant(root, commit, sources, tests, numbers)
        if (
            fault is not None
            and of_file.get(fault.path, 0) < MAX_FAULTS_PER_FILE
            and fault.name not in {f.name for f in faults}
        ):
            faults.append(fault)
            of_file[fault.path] = of_file.get(fault.path, 0) + 1
    return faults


def undo_commit(root: Path, commit: str, sources: tuple[str, ...], tests: tuple[str, ...]) -> Fault | None:
    """Undo the change of a commit in the sources, if it is one hunk that is still unchanged."""
    patch = run_git(root, "show", "--format=", "-U3", commit, "--", *sources)
    if len(re.findall(r"^@@", patch, re.MULTILINE)) != 1:
        return None
    path = sources[0] if len(sources) == 1 else next(iter(re.findall(r"^\+\+\+ b/(\S+)", patch, re.MULTILINE)))
    if not list_added_lines(root, commit, path):
        return None  # it only took lines away
    applied = subprocess.run(["git", "-C", str(root), "apply", "-R", "--check", "-"], input=patch, text=True, capture_output=True, check=False)  # fmt: skip
    if applied.returncode:
        return None
    hunk = re.search(r"^@@ -\S+ \+(\d+)", patch, re.MULTILINE)
    assert hunk
    text = revert_patch(root, patch, path)
    if not is_module(text):
        return None
    return Fault(
        f"{commit[:10]} undone",
        "undone",
        path,
        int(hunk[1]),
        "one hunk is as it was before",
        commit,
        tests,
        {path: text},
    )


def revert_patch(root: Path, patch: str, path: str) -> str:
    """Return the text of a file without the change of a patch; the checkout does not change."""
    lines = (root / path).read_text(encoding="utf-8").split("\n")
    body = re.split(r"^@@.*@@.*\n", patch, maxsplit=1, flags=re.MULTILINE)[1].rstrip("\n").split("\n")
    body = [line for line in body if not line.startswith("\\")]
    new = [line[1:] for line in body if line[:1] in " +" or not line]
    old = [line[1:] for line in body if line[:1] in " -" or not line]
    for at in range(len(lines) - len(new) + 1):
        if lines[at : at + len(new)] == new:
            return "\n".join([*lines[:at], *old, *lines[at + len(new) :]])
    return ""


def is_module(text: str) -> bool:
    """Return whether a text is a valid module."""
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return bool(text)


def list_added_lines(root: Path, commit: str, path: str) -> set[str]:
    """List the lines that a commit wrote into a file."""
    told = run_git(root, "show", "--format=", "-U0", commit, "--", path)
    return {line[1:] for line in told.split("\n") if line.startswith("+") and not line.startswith("+++")}


def draw_mutant(
    root: Path, commit: str, sources: tuple[str, ...], tests: tuple[str, ...], numbers: random.Random
) -> Fault | None:
    """Change one expression on a line that a commit wrote and that is still there."""
    choices: list[tuple[str, int, str, int, int, str]] = []
    for path in sources:
        text = (root / path).read_text(encoding="utf-8")
        wanted = {
            line for line in list_added_lines(root, commit, path) if line.strip() and not line.strip().startswith("#")
        }
        numbered = {number for number, line in enumerate(text.split("\n"), 1) if line in wanted}
        choices += [(path, *mutation) for mutation in iterate_mutations(text) if mutation[0] in numbered]
    if not choices:
        return None
    path, line, what, begin, end, new = numbers.choice(choices)
    raw = (root / path).read_bytes()
    text = (raw[:begin] + new.encode() + raw[end:]).decode()
    if not is_module(text):
        return None
    return Fault(
        f"{commit[:10]} {path.removeprefix('src/hven/')}:{line} {what}",
        "mutant",
        path,
        line,
        what,
        commit,
        tests,
        {path: text},
    )


def iterate_mutations(text: str) -> Iterator[tuple[int, str, int, int, str]]:
    """Yield the possible mutations of a module: line, description, byte span and new text."""
    tree = ast.parse(text)
    raw = text.encode()
    starts = [0]
    for line in raw.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)

    def span(node: ast.AST) -> tuple[int, int]:
        assert isinstance(node, ast.expr | ast.stmt)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    skipped = {id(child) for node in ast.walk(tree) for child in iterate_skipped_nodes(node)}
    for node in ast.walk(tree):
        if id(node) not in skipped:
            yield from iterate_node_mutations(node, span, raw)


def iterate_skipped_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield nodes without an effect at run time: annotations, decorators, blocks for type checkers."""
    below: list[ast.AST] = []
    if isinstance(node, ast.AnnAssign):
        below.append(node.annotation)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        below += [one.annotation for one in ast.walk(node.args) if isinstance(one, ast.arg) and one.annotation]
        below += [node.returns] if node.returns else []
        below += node.decorator_list
    elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        below.append(node)
    for each in below:
        yield from ast.walk(each)


def iterate_node_mutations(
    node: ast.AST, span: Callable[[ast.AST], tuple[int, int]], raw: bytes
) -> Iterator[tuple[int, str, int, int, str]]:
    """Yield the possible mutations at a node: line, description, byte span and new text."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPPOSITE_OPERATORS:
        begin, end = span(node.left)[1], span(node.comparators[0])[0]
        between = raw[begin:end].decode()
        new = OPPOSITE_OPERATORS[type(node.ops[0])]
        old = re.search(r"not\s+in|is\s+not|[<>=!]=|[<>]|\bin\b|\bis\b", between)
        if old:
            yield node.lineno, f"{old[0]} -> {new}", begin, end, between[: old.start()] + new + between[old.end() :]
    elif isinstance(node, ast.BoolOp):
        begin, end = span(node.values[0])[1], span(node.values[1])[0]
        between = raw[begin:end].decode()
        old_word, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        if len(node.values) == 2 and between.count(old_word) == 1:
            yield node.lineno, f"{old_word} -> {new}", begin, end, between.replace(old_word, new)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.lineno, "not dropped", span(node)[0], span(node.operand)[0], " "
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        begin, end = span(node.test)
        yield node.test.lineno, "condition negated", begin, end, f"(not ({raw[begin:end].decode()}))"
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        begin, end = span(node.value)
        yield node.lineno, "returns None", begin, end, "None"
    elif isinstance(node, ast.Raise) and node.exc is not None:
        begin, end = span(node)
        yield node.lineno, "does not raise", begin, end, "pass"
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        begin, end = span(node)
        yield node.lineno, f"{node.value} -> {not node.value}", begin, end, str(not node.value)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        begin, end = span(node)
        yield node.lineno, f"{node.value} -> {node.value + 1}", begin, end, str(node.value + 1)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        begin, end = span(node)
        yield node.lineno, "call dropped", begin, end, "pass"
