"""Chain codes in a source, by the names of HFC's columns: the region that ``hven new`` proposes for them, or what is missing for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.sky import contours

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._proposing import Proposer
    from hven.descriptor._source_facts import Fact

CODE = r"^\s*[0-7]{2,}\s*$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain code that was recognised.

    Attributes
    ----------
    image, outline
        Expressions: the disc that its pixels belong to, and the contour in an image ``{image}``.
    facts
        The columns that they read.
    lacking
        What the source does not have for them, for people; empty if it has all.
    """

    image: str
    outline: str
    facts: Sequence[Fact]
    lacking: str = ""

    @property
    def hint(self) -> str:
        """Say what is to be done for what is missing."""
        code = self.facts[0].source
        return (
            f"{code} is a chain code on an image whose {self.lacking} are not in this table: join its observation (HFC: OBSERVATIONS by "
            f"OBSERVATIONS_ID, or take the view VIEW_.._HQI, which has it), then {self.outline.format(image='disc(..)')}"
        )


def chain_of(facts: Sequence[Fact]) -> Chain | None:
    """Recognise a chain code and its first pixel, and look for the image.

    Parameters
    ----------
    facts
        Columns, and their first values.

    Returns
    -------
    chain
        None: there is none, or it lies in a dynamic spectrum.
    """
    named = {fact.source.upper(): fact for fact in facts}
    code, x, y = (_columns(named, what) for what in ("chain", "x", "y"))
    if not (code and x and y) or not code[0].mostly(CODE) or not (x[0].is_number and y[0].is_number):
        return None
    if "CC_X_UTC" in named:
        return None
    centre, scale, radius = (_columns(named, what) for what in ("centre", "scale", "radius"))
    observer, number = _columns(named, "observer"), _columns(named, "rotation")
    when = [fact for fact in _columns(named, "date") if (fact.time() or ("",))[0] == "stamp"]
    lacking = [
        words
        for words, there in (("centre", centre), ("scale", scale), ("radius", radius), ("date", when or observer))
        if not there
    ]
    outline = f"chain_contour({code[0].sql}, {x[0].sql}, {y[0].sql}, {{image}})"
    used = (*code, *x, *y)
    if lacking:
        return Chain(image="", outline=outline, facts=used, lacking=", ".join(lacking))
    first = [f"{fact.sql} - 1" if fact.source.upper().startswith("CRPIX") else fact.sql for fact in centre]
    steps = [fact.sql for fact in (scale * 2)[:2]]
    if observer:
        seen = [fact.sql for fact in observer]
    else:
        time = (when[0].time() or ("", ""))[1]
        seen = [f"sun_l0({', '.join([time, *(fact.sql for fact in number)])})", f"sun_b0({time})"]
    image = f"disc({', '.join([*first, *steps, f'{radius[0].sql} * {steps[0]}', *seen])})"
    return Chain(image=image, outline=outline, facts=(*used, *centre, *scale, *radius, *observer, *when, *number))


def contoured(proposer: Proposer) -> None:
    """Propose the region of a chain code for s_region; with it come the bounds, and cells where no polygon says it."""
    chain, made = chain_of(proposer.facts), proposer.made
    if chain is None or "s_region" in made.settings:
        return
    if chain.lacking:
        made.fill["s_region"] = chain.hint
        return
    taken = {fact.source.lower() for fact in proposer.facts}
    image, outline = (next(word for word in (name, f"{name}_of_cc") if word not in taken) for name in ("image", "hole"))
    made.lets = {image: chain.image, outline: chain.outline.format(image=image)}
    made.frame, made.families = "body", ["region"]
    made.map("s_region", outline, f"guessed from the chain code {chain.facts[0].source}: c1min .. c2max, coverage and region_quality follow")  # fmt: skip
    made.set("spatial_coordinate_description", "Carrington", "guessed: longitudes by the date of the image")
    made.used.update(fact.source for fact in chain.facts)


def _columns(named: Mapping[str, Fact], what: str) -> list[Fact]:
    """Find the columns that HFC's names say."""
    for words in contours.HFC[what]:
        names = words.split(",")
        if all(name in named for name in names):
            return [named[name] for name in names]
    return []
