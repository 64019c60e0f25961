"""What a service says that it can: its capabilities document as records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.lint.documents import children, kind, text

if TYPE_CHECKING:
    from hven.sources.remote import Answer

TAP = "ivo://ivoa.net/std/tap"
REGEXT = "ivo://ivoa.net/std/tapregext#"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One interface: its type, role, version, addresses."""

    kind: str
    role: str
    version: str
    urls: tuple[str, ...]
    uses: tuple[str, ...]
    security: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A query language with its versions (version, ivo-id) and features (type, form)."""

    name: str
    versions: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A default or hard limit: its name, which of both, its unit, its text."""

    name: str
    which: str
    unit: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The document; `standards` lower case -> interfaces; the TAP capability's own parts."""

    root: Any
    answer: Answer
    standards: tuple[tuple[str, tuple[Interface, ...]], ...]
    taps: int
    interfaces: tuple[Interface, ...]
    version: str
    models: tuple[tuple[str, str], ...]
    languages: tuple[Language, ...]
    outputs: tuple[tuple[str, tuple[str, ...], str], ...]  # mime, aliases, ivo-id
    uploads: tuple[str, ...]
    limits: tuple[Limit, ...]

    def of(self, standard: str) -> tuple[Interface, ...]:
        """Return the interfaces of a standard, by the start of its identifier in lower case."""
        return tuple(one for name, found in self.standards if name.startswith(standard) for one in found)

    @property
    def adql(self) -> tuple[str, ...]:
        """Versions of ADQL, as declared."""
        return tuple(version for one in self.languages if one.name.upper() == "ADQL" for version, _ in one.versions)

    def feature(self, name: str) -> bool:
        """Return whether an optional feature or a function of that name is declared."""
        return any(
            form.split("(")[0].strip().lower() == name.lower() for one in self.languages for _, form in one.features
        )


def read(root: Any, answer: Answer) -> Capabilities:
    """Read the document, whatever is missing in it."""
    standards = tuple(
        (str(one.get("standardID", "")).strip().lower(), tuple(_interface(each) for each in children(one, "interface")))
        for one in children(root, "capability")
    )
    taps = [one for one in children(root, "capability") if str(one.get("standardID", "")).strip().lower() == TAP]
    tap = taps[0] if taps else None
    parts = list(tap) if tap is not None else []
    interfaces = tuple(_interface(one) for one in parts if one.tag is not None and _is(one, "interface"))
    return Capabilities(
        root=root,
        answer=answer,
        standards=standards,
        taps=len(taps),
        interfaces=interfaces,
        version=next((one.version for one in interfaces if one.role == "std"), ""),
        models=tuple((one.get("ivo-id", ""), text(one)) for one in parts if _is(one, "dataModel")),
        languages=tuple(_language(one) for one in parts if _is(one, "language")),
        outputs=tuple(
            (text(one, "mime"), tuple(text(alias) for alias in children(one, "alias")), one.get("ivo-id", ""))
            for one in parts
            if _is(one, "outputFormat")
        ),
        uploads=tuple(one.get("ivo-id", "") for one in parts if _is(one, "uploadMethod")),
        limits=tuple(
            Limit(name=name, which=which, unit=value.get("unit", ""), value=text(value))
            for name in ("retentionPeriod", "executionDuration", "outputLimit", "uploadLimit")
            for one in parts
            if _is(one, name)
            for which in ("default", "hard")
            for value in children(one, which)
        ),
    )


def _is(element: Any, name: str) -> bool:
    return isinstance(element.tag, str) and element.tag.rpartition("}")[2] == name


def _interface(element: Any) -> Interface:
    urls = children(element, "accessURL")
    return Interface(
        kind=kind(element), role=element.get("role", ""), version=element.get("version", ""), urls=tuple(text(one) for one in urls),
        uses=tuple(one.get("use", "") for one in urls),
        security=tuple(one.get("standardID", "") for one in children(element, "securityMethod")),
    )  # fmt: skip


def _language(element: Any) -> Language:
    return Language(
        name=text(element, "name"),
        versions=tuple((text(one), one.get("ivo-id", "")) for one in children(element, "version")),
        features=tuple(
            (features.get("type", ""), text(feature, "form"))
            for features in children(element, "languageFeatures")
            for feature in children(features, "feature")
        ),
    )
