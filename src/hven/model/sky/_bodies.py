"""Bodies of the Solar System: names, NAIF codes, what they are, and how large.

The one table that name resolution and mappings read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# name, NAIF code, IAU designations and other names
_PLANETS = "Mercury 199, Venus 299, Earth 399, Mars 499, Jupiter 599, Saturn 699, Uranus 799, Neptune 899"
_MOONS = {
    "Earth": "Moon 301",
    "Mars": "Phobos 401, Deimos 402",
    "Jupiter": (
        "Io 501, Europa 502, Ganymede 503, Callisto 504, Amalthea 505, Himalia 506, Elara 507, Thebe 514, Adrastea "
        "515, Metis 516"
    ),
    "Saturn": (
        "Mimas 601, Enceladus 602, Tethys 603, Dione 604, Rhea 605, Titan 606, Hyperion 607, Iapetus 608, Phoebe "
        "609, Janus 610, Epimetheus 611, Prometheus 616, Pandora 617, Pan 618, Helene 612, Telesto 613, Calypso "
        "614, Atlas 615, Methone 632, Pallene 633, Polydeuces 634, Daphnis 635, Anthe 649, Aegaeon 653"
    ),
    "Uranus": "Ariel 701, Umbriel 702, Titania 703, Oberon 704, Miranda 705, Puck 715",
    "Neptune": "Triton 801, Nereid 802, Proteus 808",
    "Pluto": "Charon 901, Nix 902, Hydra 903, Kerberos 904, Styx 905",
}
_MOON_NUMERALS = {
    "Mars": "I II",
    "Jupiter": "I II III IV V VI VII XIV XV XVI",
    "Saturn": "I II III IV V VI VII VIII IX X XI XVI XVII XVIII XII XIII XIV XV XXXII XXXIII XXXIV XXXV XLIX LIII",
    "Uranus": "I II III IV V XV",
    "Neptune": "I II VIII",
    "Pluto": "I II III IV V",
}
_MINOR_BODIES = (
    ("dwarf planet", "Pluto", 999, ("134340 Pluto", "(134340) Pluto")),
    *(
        ("dwarf planet", name, 2_000_000 + number, (f"{number} {name}", f"({number}) {name}"))
        for number, name in ((1, "Ceres"), (136108, "Haumea"), (136199, "Eris"), (136472, "Makemake"))
    ),
    *(
        ("asteroid", name, 2_000_000 + number, (f"{number} {name}", f"({number}) {name}"))
        for number, name in (
            (2, "Pallas"),
            (3, "Juno"),
            (4, "Vesta"),
            (10, "Hygiea"),
            (16, "Psyche"),
            (21, "Lutetia"),
            (253, "Mathilde"),
            (243, "Ida"),
            (433, "Eros"),
            (951, "Gaspra"),
            (2867, "Steins"),
            (25143, "Itokawa"),
            (99942, "Apophis"),
            (101955, "Bennu"),
            (162173, "Ryugu"),
            (65803, "Didymos"),
        )
    ),
    *(
        ("comet", f"{number}P/{name}", code, (f"{number}P", *((name,) if alone else ())))
        for number, name, code, alone in (
            (1, "Halley", 1_000_036, False),
            (2, "Encke", 1_000_025, False),
            (9, "Tempel 1", 1_000_093, False),
            (67, "Churyumov-Gerasimenko", 1_000_012, True),
            (81, "Wild 2", 1_000_107, False),
            (103, "Hartley 2", 1_000_041, False),
        )
    ),
)

# equatorial and polar radius in km: IAU working group on cartographic coordinates, report of 2015 (Archinal et al.
# 2018)
_RADII_KM = {
    "Sun": (695700.0, 695700.0),
    "Mercury": (2440.53, 2438.26),
    "Venus": (6051.8, 6051.8),
    "Earth": (6378.1366, 6356.7519),
    "Moon": (1737.4, 1737.4),
    "Mars": (3396.19, 3376.20),
    "Jupiter": (71492.0, 66854.0),
    "Saturn": (60268.0, 54364.0),
    "Uranus": (25559.0, 24973.0),
    "Neptune": (24764.0, 24341.0),
    "Pluto": (1188.3, 1188.3),
    "Charon": (606.0, 606.0),
    "Ganymede": (2631.2, 2631.2),
    "Callisto": (2410.3, 2410.3),
    "Ceres": (487.3, 446.0),
}


@dataclass(frozen=True, slots=True)
class SolarSystemBody:
    """A body: `kind` is ``planet``, ``moon of Mars``, ``dwarf planet`` ..; `ids` are other names, the NAIF code last.

    Attributes
    ----------
    name
        As the IAU writes it.
    """

    name: str
    kind: str
    ids: tuple[str, ...]

    @property
    def target_class(self) -> str:
        """The class of the target, a word of EPN-TAP 2.0 (``target_class``)."""
        if self.kind.startswith("moon of"):
            return "satellite"
        return {"star of the Solar System": "star", "dwarf planet": "dwarf_planet#asteroid"}.get(self.kind, self.kind)

    @property
    def radii(self) -> tuple[float, float] | None:
        """Equatorial and polar radius in km, if they are those of an ellipsoid of revolution that is known here."""
        return _RADII_KM.get(self.name)


def iterate_solar_system_bodies() -> Iterator[SolarSystemBody]:
    """List every body of the table.

    Yields
    ------
    body
        The Sun, planets, moons, then dwarf planets, asteroids and comets.
    """

    def build_body(name: str, kind: str, code: int | str, *ids: str) -> SolarSystemBody:
        return SolarSystemBody(name, kind, (*ids, f"NAIF {code}"))

    def split_pairs(text: str) -> list[list[str]]:
        return [item.split() for item in text.split(", ")]

    yield build_body("Sun", "star of the Solar System", 10)
    for name, code in split_pairs(_PLANETS):
        yield build_body(name, "planet", code)
    for planet, text in _MOONS.items():
        numerals = _MOON_NUMERALS.get(planet, "").split()
        for index, (name, code) in enumerate(split_pairs(text)):
            yield build_body(
                name, f"moon of {planet}", code, *((f"{planet} {numerals[index]}",) if numerals else ("Luna",))
            )
    for kind, name, number, ids in _MINOR_BODIES:
        yield build_body(name, kind, number, *ids)


@cache
def _map_bodies_by_name() -> Mapping[str, SolarSystemBody]:
    bodies_by_name: dict[str, SolarSystemBody] = {}
    for body in iterate_solar_system_bodies():
        for word in (body.name, *body.ids):
            bodies_by_name.setdefault(_normalize_body_name(word), body)
    return bodies_by_name


def _normalize_body_name(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name).strip().lower()


def find_solar_system_body(name: str) -> SolarSystemBody | None:
    """Find a body by one of its names.

    Parameters
    ----------
    name
        In any case, with ``_`` for blanks; a name, a numeral (``Jupiter II``) or a NAIF code.

    Returns
    -------
    body
        None if it is not in this table.
    """
    return _map_bodies_by_name().get(_normalize_body_name(name))


_COMET_PATTERN = re.compile(r"(?:\d+[PDI](?:/.+|-[A-Z]+)?|[CPDXAI]/-?\d{1,4} [A-Z]\d*(?:-[A-Z]+)?(?: .+)?)")
_ASTEROID_PATTERN = re.compile(r"(?:\(?\d+\)? .+|\d{4} [A-Z]{2}\d*|\d{4} (?:P-L|T-[123]))")


def classify_target(name: str) -> str | None:
    """Classify a target by its name, or by the form of a designation of a comet or asteroid.

    Parameters
    ----------
    name
        As `find_solar_system_body` takes it, or ``C/1995 O1``, ``2004 MN4``.

    Returns
    -------
    class
        A word of EPN-TAP 2.0; None: not known here.
    """
    body = find_solar_system_body(name)
    if body is not None:
        return body.target_class
    text = name.replace("_", " ").strip()
    if _COMET_PATTERN.fullmatch(text):
        return "comet"
    if _ASTEROID_PATTERN.fullmatch(text):
        return "asteroid"
    return None


def find_iau_name(name: str) -> str | None:
    """Return a body's name as the IAU writes it.

    Parameters
    ----------
    name
        As `find_solar_system_body` takes it.

    Returns
    -------
    name
        None: not known here.
    """
    body = find_solar_system_body(name)
    if body is None:
        return None
    return body.name


def compute_polar_radius_ratio(name: str) -> float | None:
    """Return polar by equatorial radius of a body.

    Parameters
    ----------
    name
        As `find_solar_system_body` takes it.

    Returns
    -------
    ratio
        Dimensionless, 0 to 1; None if this table does not have the radii.
    """
    body = find_solar_system_body(name)
    radii = None if body is None else body.radii
    if radii is None:
        return None
    return radii[1] / radii[0]
