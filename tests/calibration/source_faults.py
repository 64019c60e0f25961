"""Faults that tests should catch: faults of the past, put back by hand, and mutants of lines that corrections wrote."""

from __future__ import annotations

import ast
import random
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FIX_WORDS = re.compile(
    r"\b(mend|fix|fault|wrong|bug|refus|lost|lose|leak|crash|repair|any more|no longer|never|correct)\w*", re.IGNORECASE
)
OLD_FAULTS = Path(__file__).with_name("old_faults.toml")
MAX_COMMITS = 3000  # commits, the newest first
IGNORED_COMMITS = ".git-blame-ignore-revs"  # they renamed and formatted whole packages
MAX_FAULTS_PER_FILE = 3
MAX_FIXED_FILES = 6  # source files that a correction changes; a commit that changes more does something else, too
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
        The commit and the place, or the name of an old fault; it identifies the fault in all runs.
    kind
        ``old``: a fault that Hven once had, in the present code; ``mutant``: one changed expression.
    path
        The first file that it changes.
    line
        The line in that file, from 1.
    what
        The change in a few words.
    commit
        The fixing commit of a mutant.
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
    told = run_git(root, "log", f"--max-count={MAX_COMMITS}", "--no-merges", "--name-only", "--format=%x1e%H%x1f%s%x1f")
    for part in told.split("\x1e")[1:]:
        commit, title, names = part.split("\x1f")
        paths = [name for name in names.split("\n") if name]
        sources = tuple(
            name for name in paths if name.startswith("src/hven/") and name.endswith(".py") and (root / name).exists()
        )
        tests = tuple(
            name for name in paths if re.fullmatch(r"tests/(.*/)?test_\w+\.py", name) and (root / name).exists()
        )
        if tests and 0 < len(sources) <= MAX_FIXED_FILES and FIX_WORDS.search(title):
            yield commit, sources, tests


def read_old_faults(root: Path) -> list[Fault]:
    """Read the faults that Hven once had, rewritten for the present code, but for those of deleted packages.

    Each has a ``name``, the source ``path``, the ``old`` text, which must occur once, and the ``new`` text, which has
    the fault.

    Raises
    ------
    ValueError
        The source has changed, so a fault can no longer be put back; it names all such faults.
    """
    faults, outdated = [], []
    for entry in tomllib.loads(OLD_FAULTS.read_text(encoding="utf-8"))["fault"]:
        path = root / entry["path"]
        package = re.match(r"src/hven/plugins/\w+/", entry["path"])
        if package and not (root / package[0] / "plugin.py").exists():
            continue
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        faulty = text.replace(entry["old"], entry["new"])
        if text.count(entry["old"]) != 1 or not is_module(faulty):
            outdated.append(entry["name"])
            continue
        line = text[: text.index(entry["old"])].count("\n") + 1
        faults.append(Fault(entry["name"], "old", entry["path"], line, entry["what"], "", (), {entry["path"]: faulty}))
    if outdated:
        message = f"rewrite these faults in {OLD_FAULTS.name} for the present source: {', '.join(outdated)}"
        raise ValueError(message)
    return faults


def draw_faults(root: Path, seed: int, count: int) -> list[Fault]:
    """Draw the faults of a seed: faults of the past, and if there are fewer than the count, mutants.

    A mutant changes a line that a fixing commit wrote; renamed and formatted lines count as written by the commit before.
    """
    numbers = random.Random(seed)
    faults = read_old_faults(root)
    numbers.shuffle(faults)
    faults = faults[:count]
    tests_by_commit = {commit: tests for commit, _, tests in list_fix_commits(root)}
    paths = sorted(run_git(root, "ls-files", "src/hven/*.py").split())
    for _ in range(MAX_FAULTS_PER_FILE):
        numbers.shuffle(paths)
        for path in paths:
            if len(faults) == count:
                return faults
            fault = draw_mutant(root, path, tests_by_commit, numbers)
            if fault is not None and fault.name not in {known.name for known in faults}:
                faults.append(fault)
    return faults


def is_module(text: str) -> bool:
    """Return whether a text is a valid module."""
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return bool(text)


def draw_mutant(
    root: Path, path: str, tests_by_commit: dict[str, tuple[str, ...]], numbers: random.Random
) -> Fault | None:
    """Change one expression on a line of a file that a fixing commit wrote."""
    raw = (root / path).read_bytes()
    commits = list_line_commits(root, path)
    choices = [one for one in iterate_mutations(raw.decode()) if commits[one[0] - 1] in tests_by_commit]
    if not choices:
        return None
    line, what, begin, end, new = numbers.choice(choices)
    text = (raw[:begin] + new.encode() + raw[end:]).decode()
    if not is_module(text):
        return None
    commit = commits[line - 1]
    name = f"{commit[:10]} {path.removeprefix('src/hven/')}:{line} {what}"
    return Fault(name, "mutant", path, line, what, commit, tests_by_commit[commit], {path: text})


def list_line_commits(root: Path, path: str) -> list[str]:
    """List the commit that wrote each line of a file."""
    words = ["blame", "-w", "--ignore-revs-file", IGNORED_COMMITS, "--line-porcelain", "HEAD", "--", path]
    return re.findall(r"^([0-9a-f]{40}) \d+ \d+(?: \d+)?$", run_git(root, *words), re.MULTILINE)


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
    elif isinstance(node, ast.ClassDef):  # frozen or not, slots or not: no program that works sees the difference
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
    elif isinstance(node, ast.Constant) and type(node.value) is int and node.value in {0, 1}:
        # the neighbour of a larger number, which is a limit or a size, is often as right
        begin, end = span(node)
        yield node.lineno, f"{node.value} -> {node.value + 1}", begin, end, str(node.value + 1)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        begin, end = span(node)
        yield node.lineno, "call dropped", begin, end, "pass"
