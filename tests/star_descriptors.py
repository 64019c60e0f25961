"""The descriptor of a file of stars, which tests publish that need some rows."""

from __future__ import annotations

from pathlib import Path

COLUMNS = {
    "id": "{type: int32, ucd: meta.id}",
    "name": "{type: string, ucd: meta.id}",
    "ra": "{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}",
    "dec": "{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}",
    "vmag": "{type: float64, unit: mag, ucd: phot.mag;em.opt.V}",
    "x": "float64",
}


def write_stars_descriptor(site: Path, file: Path) -> Path:
    """Describe a CSV file of stars as the collection ``stars``, with its first column as the key.

    Parameters
    ----------
    site
        Directory of the site.
    file
        The file. Its headings are keys of `COLUMNS`, in any case, with or without units: ``Vmag (mag)``.
    """
    with file.open(encoding="utf-8") as opened:
        headings = opened.readline().strip().split(",")
    names = {heading: heading.partition(" (")[0].lower() for heading in headings}
    lines = ["collection: stars", "title: Stars", "tables:", "  main:", f"    primary: [{names[headings[0]]}]"]
    if {"ra", "dec"} <= set(names.values()):
        lines.append("    position: [ra, dec]")
    lines += [f"    source: {{kind: csv, files: {file}}}", "    columns:"]
    lines += [f"      {name}: {COLUMNS[name]}" for name in names.values()]
    lines[-len(names)] = lines[-len(names)].replace("meta.id", "meta.id;meta.main")
    renamed = {name: heading for heading, name in names.items() if heading != name}
    if renamed:
        lines += ["    map:", *(f"      {name}: '\"{heading}\"'" for name, heading in renamed.items())]
    path = site / "collections/stars/stars.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
