"""What a service says that it can: its capabilities document as records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.lint.xml_documents import find_children, get_text, get_xsi_type

if TYPE_CHECKING:
    from hven.sources.http_client import HttpAnswer

TAP_STANDARD_ID = "ivo://ivoa.net/std/tap"
TAPREGEXT_PREFIX = "ivo://ivoa.net/std/tapregext#"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInterface:
    """One interface: its type, role, version, addresses."""

    kind: str
    role: str
    version: str
    urls: tuple[str, ...]
    uses: tuple[str, ...]
    security: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLanguage:
    """A query language with its versions (version, ivo-id) and features (type, form)."""

    name: str
    versions: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredLimit:
    """A default or hard limit: its name, which of both, its unit, its text."""

    name: str
    kind: str
    unit: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCapabilities:
    """The document; `standards` lower case -> interfaces; the TAP capability's own parts."""

    root: Any
    answer: HttpAnswer
    standards: tuple[tuple[str, tuple[ServiceInterface, ...]], ...]
    tap_count: int
    interfaces: tuple[ServiceInterface, ...]
    version: str
    data_models: tuple[tuple[str, str], ...]
    languages: tuple[QueryLanguage, ...]
    output_formats: tuple[tuple[str, tuple[str, ...], str], ...]  # mime, aliases, ivo-id
    upload_methods: tuple[str, ...]
    limits: tuple[DeclaredLimit, ...]

    def find_interfaces(self, standard: str) -> tuple[ServiceInterface, ...]:
        """Return the interfaces of a standard, by the start of its identifier in lower case."""
        return tuple(
            interface for name, interfaces in self.standards if name.startswith(standard) for interface in interfaces
        )

    @property
    def adql_versions(self) -> tuple[str, ...]:
        """Versions of ADQL, as declared."""
        return tuple(
            version
            for language in self.languages
            if language.name.upper() == "ADQL"
            for version, _ in language.versions
        )

    def has_feature(self, name: str) -> bool:
        """Return whether an optional feature or a function of that name is declared."""
        return any(
            form.split("(")[0].strip().lower() == name.lower()
            for language in self.languages
            for _, form in language.features
        )


def parse_capabilities(root: Any, answer: HttpAnswer) -> ServiceCapabilities:
    """Read the document, whatever is missing in it."""
    standards = tuple(
        (
            str(element.get("standardID", "")).strip().lower(),
            tuple(_parse_interface(interface_element) for interface_element in find_children(element, "interface")),
        )
        for element in find_children(root, "capability")
    )
    tap_elements = [
        element
        for element in find_children(root, "capability")
        if str(element.get("standardID", "")).strip().lower() == TAP_STANDARD_ID
    ]
    tap_element = tap_elements[0] if tap_elements else None
    if tap_element is not None:
        parts = list(tap_element)
    else:
        parts = []
    interfaces = tuple(
        _parse_interface(element) for element in parts if element.tag is not None and _has_name(element, "interface")
    )
    return ServiceCapabilities(
        root=root,
        answer=answer,
        standards=standards,
        tap_count=len(tap_elements),
        interfaces=interfaces,
        version=next((element.version for element in interfaces if element.role == "std"), ""),
        data_models=tuple(
            (element.get("ivo-id", ""), get_text(element)) for element in parts if _has_name(element, "dataModel")
        ),
        languages=tuple(_parse_language(element) for element in parts if _has_name(element, "language")),
        output_formats=tuple(
            (
                get_text(element, "mime"),
                tuple(get_text(alias) for alias in find_children(element, "alias")),
                element.get("ivo-id", ""),
            )
            for element in parts
            if _has_name(element, "outputFormat")
        ),
        upload_methods=tuple(element.get("ivo-id", "") for element in parts if _has_name(element, "uploadMethod")),
        limits=tuple(
            DeclaredLimit(name=name, kind=limit_kind, unit=value.get("unit", ""), value=get_text(value))
            for name in ("retentionPeriod", "executionDuration", "outputLimit", "uploadLimit")
            for element in parts
            if _has_name(element, name)
            for limit_kind in ("default", "hard")
            for value in find_children(element, limit_kind)
        ),
    )


def _has_name(element: Any, name: str) -> bool:
    return isinstance(element.tag, str) and element.tag.rpartition("}")[2] == name


def _parse_interface(element: Any) -> ServiceInterface:
    urls = find_children(element, "accessURL")
    return ServiceInterface(
        kind=get_xsi_type(element),
        role=element.get("role", ""),
        version=element.get("version", ""),
        urls=tuple(get_text(url_element) for url_element in urls),
        uses=tuple(url_element.get("use", "") for url_element in urls),
        security=tuple(url_element.get("standardID", "") for url_element in find_children(element, "securityMethod")),
    )


def _parse_language(element: Any) -> QueryLanguage:
    return QueryLanguage(
        name=get_text(element, "name"),
        versions=tuple(
            (get_text(version_element), version_element.get("ivo-id", ""))
            for version_element in find_children(element, "version")
        ),
        features=tuple(
            (features.get("type", ""), get_text(feature, "form"))
            for features in find_children(element, "languageFeatures")
            for feature in find_children(features, "feature")
        ),
    )
