"""``hven new --standard``: a first descriptor of a table of EPN-TAP or ObsCore, which passes the check; guesses and gaps are marked in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import yaml

from hven.descriptor import _credits
from hven.descriptor._epn_proposals import epn_tap
from hven.descriptor._loading import check
from hven.descriptor._merging import standards
from hven.descriptor._obscore_proposals import obscore
from hven.descriptor._proposing import Proposal, Proposer
from hven.descriptor._source_facts import facts_of
from hven.descriptor._yaml_text import comment, flow, folded, scalar
from hven.model.errors import UsageError, nearest
from hven.model.sky import region_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from hven.descriptor._carried import Carried
    from hven.descriptor._guesses import Guess
    from hven.model.settings import Settings

STANDARDS = {"epn-tap": epn_tap, "obscore": obscore}
ENOUGH = 4  # required columns by their own names: the source is a table of the standard already
ROUNDS = 40  # proposals that are taken back, one check after the other


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A source that was looked at, for a table of a standard.

    Attributes
    ----------
    standard
        Its full name: ``epn-tap-2.0``.
    words
        Text in which the target may be named: file, title, description.
    images
        What images with WCS cards show: ``sky`` or ``body``; None: there are none.
    credits, by_builder
        As of `_credits.head`.
    carried
        What features in time and frequency have besides: their geometries and properties are columns of their own; None: the rows are none.
    """

    name: str
    standard: str
    kind: str
    options: Mapping[str, Any]
    guesses: Sequence[Guess]
    sample: Mapping[str, pa.Array]
    key: Sequence[Guess]
    position: tuple[Guess, Guess] | None
    rows: int
    complete: bool
    notes: Sequence[str]
    title: str | None
    description: str | None
    origin: str
    words: str = ""
    images: str | None = None
    carried: Carried | None = None
    credits: Mapping[str, str] = field(default_factory=dict)
    by_builder: bool = False
    created: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())

    def proposal(self, table: Mapping[str, Any]) -> Proposal:
        """Guess the mapping."""
        propose = next(function for stem, function in STANDARDS.items() if self.standard.startswith(stem))
        facts = facts_of(self.guesses, self.sample)
        needed = [fact for fact in facts if table["columns"].get(fact.source.lower(), {}).get("required")]
        gaps = [fact for fact in needed if 0 < len(fact.filled) < len(fact.sample)] if len(needed) >= ENOUGH else []
        whole: Any = None  # the standard's own table, with lines that hold nothing
        for fact in gaps:
            there = pc.fill_null(pc.not_equal(fact.sample, ""), False) if fact.is_text else pc.is_valid(fact.sample)
            whole = there if whole is None else pc.and_(whole, there)
        if gaps:
            facts = facts_of(self.guesses, {name: values.filter(whole) for name, values in self.sample.items()})
        made = propose(
            Proposer(
                table["columns"],
                facts,
                name=self.name,
                words=self.words,
                key=self.key,
                position=self.position,
                lists=facts_of(self.guesses, self.sample, lists=True),
                files="files" in self.options,
                images=self.images,
                words_of={
                    str(rule["columns"]): frozenset(
                        str(word).lower() for word in table["vocabularies"][rule["of"]]["values"]
                    )
                    for rule in table.get("rules", {}).values()
                    if rule.get("check") == "words" and rule.get("severity", "error") == "error"
                },
            )
        )
        if gaps:
            made.where = " AND ".join(
                f"{fact.sql} <> ''" if fact.is_text else f"{fact.sql} IS NOT NULL" for fact in gaps
            )
        if self.carried is not None and "access_url" in table["columns"]:
            uid = "granule_uid = '{target.granule_uid}'"
            asked = f"SELECT * FROM {self.name}.{self.table(table)} WHERE {uid}".replace(" ", "+")
            made.settings |= {
                "dataproduct_type": ("set", "ev", "each row is an event"),
                "access_url": ("text", f"{{site.url}}/tap/sync?LANG=ADQL&RESPONSEFORMAT=tfcat&QUERY={asked}", "itself, as TFCat"),
                "access_format": ("set", "application/json", ""),
                "access_estsize": ("map", "CAST(1 + LENGTH(geometry) / 1000 AS INTEGER)", ""),
            }  # fmt: skip
            made.used.update(item.source for item in self.own)
            made.fill.pop("access_url", None)
        return made

    @property
    def own(self) -> list[Guess]:
        """Columns that the table has besides those of the standard."""
        return [
            item
            for item in self.guesses
            if self.carried is not None and item.column.utype not in {region_files.tfcat.ID, region_files.tfcat.DERIVED}
        ]

    def _credit_lines(self) -> list[str]:
        """Write who made the data as the source says, and what only the curator knows."""
        said = [line for line in _credits.head(self.credits, by_builder=self.by_builder) if not line.startswith("#")]
        lacking = {
            "creators": '# creators: [{name: "Brahe, T."}]  # to fill: who made the data, in the order of citation',
            "publisher": "# publisher: {name: Observatory}  # to fill",
            "licence": "# licence: CC-BY-4.0  # to fill",
        }
        return [*said, *(line for key, line in lacking.items() if not any(one.startswith(f"{key}:") for one in said))]

    def text(self, made: Proposal, table: Mapping[str, Any]) -> str:
        """Write the descriptor."""
        columns: Mapping[str, Any] = table["columns"]
        lines = [
            f"# A first descriptor for {self.standard}, guessed from {comment(self.origin)}. What stands behind '# guessed' may be wrong; where '# to fill' stands,",
            f"# only you know. `hven check {self.name}` tells every fault, `hven ingest {self.name}` publishes it as {self.name}.{self.table(table)}.",
            f"collection: {scalar(self.name)}",
            f"title: {scalar(self.title or self.name.replace('_', ' ').capitalize())}"
            + ("" if self.title else "  # to fill: one line for people"),
            *(
                folded("description", self.description)
                if self.description
                else ["# description: to fill: some sentences - what, from where, how good"]
            ),
            f"created: {self.created}  # guessed: today; creation_date of the rows, unless they have one",
            *self._credit_lines(),
            "tables:",
            f"  {self.table(table)}:",
            f"    # {self.rows:,} rows"
            if self.complete
            else f"    # guessed from the first {self.rows - self.rows % 1000:,} rows",
            *(f"    # {comment(note)}" for note in self.notes),
            f"    standard: {self.standard}",
        ]
        if made.frame is not None:
            frame = scalar(made.frame) if made.frame not in {None, "none"} else '"none"'
            lines.append(f"    frame: {frame}  # guessed: what c1, c2, c3 are")
        optional = [*_optional(made, table), *made.families]
        if optional:
            lines.append(f"    optional: {flow(optional)}")
        lines.append("    source: " + flow({"kind": self.kind, **self.options}))
        if made.where is not None:
            lines.append(f"    where: {scalar(made.where)}  # guessed: other rows lack what the standard needs")
        lines += ["    let:"] if made.lets else []
        lines += [f"      {name}: {scalar(text)}" for name, text in made.lets.items()]
        lines += ["    columns:"] if made.types or self.own else []
        lines += [f"      {name}: {flow({'type': kind})}  # {comment(why)}" for name, (kind, why) in made.types.items()]
        for item in self.own:
            if item.column.name in columns or self.carried is None:
                continue
            said = {
                key: value for key in ("unit", "ucd", "utype", "description") if (value := getattr(item.column, key))
            }
            kind = "string" if item.column.type.is_string and item.column.type.xtype is None else str(item.column.type)
            lines.append(
                f"      {scalar(item.column.name)}: {flow({'type': kind, **said, **self.carried.of(item.column)})}"
            )
        width = max([len(name) for name in made.settings] or [0])
        for how in ("set", "text", "map"):
            mine = [
                (name, made.settings[name])
                for name in columns
                if name in made.settings and made.settings[name][0] == how
            ]
            lines += [f"    {how}:"] if mine else []
            for name, (_, text, why) in mine:
                line = f"      {name}:".ljust(width + 7) + " " + scalar(text)
                lines.append(line + (f"  # {comment(why)}" if why else ""))
        lines += [
            f"    # to fill: {name}: {comment(hint)}" for name, hint in made.fill.items() if name not in made.settings
        ]
        lines += self.carried.lines(frames=False) if self.carried is not None else []
        unused = [item.source for item in self.guesses if item.source and item.source not in made.used]
        if unused:
            lines.append(f"    # not used: {comment(', '.join(unused))}")
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def table(self, table: Mapping[str, Any]) -> str:
        """Name the table."""
        return str(table.get("called", "main"))


def full_name(standard: str, settings: Settings | None = None) -> str:
    """Find the newest standard of a name: ``epn-tap`` is epn-tap-2.0.

    Raises
    ------
    UsageError
        There is none, or none that a mapping can be guessed for.
    """
    known = [
        name
        for name in standards(settings)
        if any(re.fullmatch(re.escape(stem) + r"(-[\d.]+)?", name) for stem in STANDARDS)
    ]
    found = [name for name in known if name == standard or name.rpartition("-")[0] == standard]
    if not found:
        raise UsageError(
            f"no mapping can be guessed for {standard!r}",
            remedy=nearest(standard, [*STANDARDS, *known]) or f"known: {', '.join(STANDARDS)}",
        )
    return max(found)


def passing(draft: Draft, path: Path, settings: Settings) -> str:
    """Write the descriptor to `path`, and take back what does not pass the check; return the text."""
    shipped = standards(settings)[draft.standard]
    said = yaml.load(shipped.read_text(encoding="utf-8"), yaml.CSafeLoader)  # that of C is ten times as fast
    table: Mapping[str, Any] = next(iter(said["tables"].values()))
    made = draft.proposal(table)
    text = draft.text(made, table)
    for _ in range(ROUNDS):
        path.write_text(text, encoding="utf-8")
        wrong = [fault for fault in check(path, settings) if fault.severity == "error"]
        broken: dict[str, str] = {}
        for fault in wrong:
            found = re.search(r"\.(?:map|set)\.(\w+)", fault.message)
            if found is not None and found[1] in made.settings:
                broken.setdefault(found[1], fault.message.partition(": ")[2])
        if not broken:
            break
        for column, reason in broken.items():
            made.without(column, reason)
        text = draft.text(made, table)
    return text


def _optional(made: Proposal, table: Mapping[str, Any]) -> list[str]:
    """List the optional columns that are used, and those that belong to them."""
    known: Mapping[str, Any] = table["columns"]
    wanted = {name for name in made.settings if known[name].get("optional")}
    families: Mapping[str, Sequence[str]] = table.get("families", {})
    for group in table.get("together", ()):
        members = [
            member for item in ([group] if isinstance(group, str) else group) for member in families.get(item, [item])
        ]
        if wanted & set(members):
            wanted |= set(members)
    return [name for name in known if name in wanted]
