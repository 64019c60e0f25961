"""Each page template has one context, whose fields are exactly the variables that the template uses."""

import dataclasses
import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest
from jinja2 import meta, nodes

import hven.portal
from hven.portal._pages import PageFrame, TemplateContext, load_templates
from hven.portal._pages.package_pages import PAGE_PLACES, list_page_part_templates

ENVIRONMENT = load_templates()
FRAME_NAMES = {field.name for field in dataclasses.fields(PageFrame)}
PART_NAMES = {"edits", "frame_values"}  # of these, for parts of packages


def iterate_subclasses(base: type[TemplateContext]) -> Iterator[type[TemplateContext]]:
    for subclass in base.__subclasses__():
        yield from iterate_subclasses(subclass)
        # a class with slots replaces the one that was decorated, which stays a subclass until it is collected
        if getattr(importlib.import_module(subclass.__module__), subclass.__name__) is subclass:
            yield subclass


def load_contexts() -> list[type[TemplateContext]]:
    for module in pkgutil.walk_packages(hven.portal.__path__, "hven.portal."):
        importlib.import_module(module.name)
    return sorted(iterate_subclasses(TemplateContext), key=lambda context: context.template)


CONTEXTS = load_contexts()


@cache
def parse_template(name: str) -> nodes.Template:
    assert ENVIRONMENT.loader is not None
    return ENVIRONMENT.parse(ENVIRONMENT.loader.get_source(ENVIRONMENT, name)[0])


def list_references(name: str) -> list[str]:
    """List the templates that one extends, includes and imports; None stands for a name that a variable has."""
    return [found for found in meta.find_referenced_templates(parse_template(name)) if found is not None]


def find_set_names(node: nodes.Node) -> set[str]:
    """Find the names that a template sets itself, outside its macros: of values, macros and imported templates."""
    match node:
        case nodes.Macro():
            return {node.name}
        case nodes.Import():
            return {node.target}
        case nodes.Assign(target=nodes.Name(name=name)) | nodes.AssignBlock(target=nodes.Name(name=name)):
            return {name}
    return set().union(*(find_set_names(child) for child in node.iter_child_nodes()))


def find_optional_names(name: str) -> set[str]:
    """Find the names for which a template has a default: only a template that extends it sets them."""
    filters = parse_template(name).find_all(nodes.Filter)
    return {node.node.name for node in filters if node.name == "default" and isinstance(node.node, nodes.Name)}


@cache
def find_used_names(name: str) -> frozenset[str]:
    """Find the variables of a template and of its references."""
    undeclared = meta.find_undeclared_variables(parse_template(name)) - find_optional_names(name)
    used = undeclared.union(*(find_used_names(reference) for reference in list_references(name)))
    return frozenset(used - find_set_names(parse_template(name)))


def list_place_variables(name: str) -> set[str]:
    """List the variables that parts of packages can use on the page of a template."""
    names = {name, *list_references(name)}
    return {variable for place in PAGE_PLACES.values() if place.template in names for variable in place.variables}


def list_field_names(context: type[TemplateContext]) -> set[str]:
    return {field.name for field in dataclasses.fields(context)}


def test_each_template_has_one_context():
    templates = ENVIRONMENT.list_templates(extensions=["html"])
    parts = {reference for name in templates for reference in list_references(name)}
    parts |= {part for place in PAGE_PLACES for part in list_page_part_templates(place)}
    counts = Counter(context.template for context in CONTEXTS)
    assert set(counts.values()) == {1}
    assert set(counts) <= set(templates)
    assert set(templates) - set(counts) <= parts


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context.template)
def test_the_fields_are_the_variables_of_the_template(context):
    names = find_used_names(context.template) | list_place_variables(context.template)
    # parts also use variables that the page sets itself
    used = names - FRAME_NAMES - ENVIRONMENT.globals.keys() - find_set_names(parse_template(context.template))
    assert list_field_names(context) == used
    assert not list_field_names(context) & FRAME_NAMES


def test_templates_use_each_variable_of_the_frame():
    used = {name for context in CONTEXTS for name in find_used_names(context.template)}
    assert used | PART_NAMES >= FRAME_NAMES


@pytest.mark.parametrize("place_name", PAGE_PLACES)
def test_parts_of_packages_use_the_variables_of_their_places(place_name):
    place = PAGE_PLACES[place_name]
    assert f'_parts("{place_name}"' in ENVIRONMENT.loader.get_source(ENVIRONMENT, place.template)[0]
    for part in list_page_part_templates(place_name):
        assert find_used_names(part) - FRAME_NAMES - ENVIRONMENT.globals.keys() <= set(place.variables), part


def test_contexts_are_frozen_and_say_what_their_fields_mean():
    for context in [PageFrame, *CONTEXTS]:
        assert context.__dataclass_params__.frozen
        assert "__dict__" not in dir(context)
        described = " ".join(base.__doc__ or "" for base in context.__mro__ if dataclasses.is_dataclass(base))
        names = [field.name for field in dataclasses.fields(context)]
        assert [name for name in names if not re.search(rf"\b{name}\b", described)] == []


def read_templates() -> dict[str, str]:
    assert ENVIRONMENT.loader is not None
    names = [name for name in ENVIRONMENT.list_templates() if name.endswith(".html")]
    return {name: ENVIRONMENT.loader.get_source(ENVIRONMENT, name)[0] for name in names}


def test_colons_are_those_of_the_language():
    pattern = re.compile(r"(?:\}\}|%\}|</(?:b|strong|code|dt|span|a)>):\s")
    assert [name for name, source in read_templates().items() if pattern.search(source)] == []
    texts = {language: load_templates(language).from_string("Mars{{ colon }}4") for language in ("en", "fr")}
    assert texts["en"].render() == "Mars: 4"
    assert texts["fr"].render() == "Mars\N{NO-BREAK SPACE}: 4"


def test_a_message_and_its_remedy_are_joined_in_one_way():
    assert [
        name for name, source in read_templates().items() if re.search(r"\{%-? if [\w.]*remedy -?%\}", source)
    ] == []
    template = ENVIRONMENT.from_string("{{ message | with_remedy(remedy) }}")
    assert template.render(message="no <row>", remedy="") == "no &lt;row&gt;"
    assert template.render(message="no <row>", remedy="add <one>") == "no &lt;row&gt; \N{EN DASH} add &lt;one&gt;"
