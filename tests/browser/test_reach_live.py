"""Reach: the pages by keyboard alone, on a phone and without scripts; nothing is far away, and nothing leaps aside from one page to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabs import Tab

if TYPE_CHECKING:
    from playwright.sync_api import Page


def menu(page: Page) -> None:
    """What the menu of a narrow page is: one line, opened and shut by keys, with all that a wide one has."""
    assert page.evaluate("document.querySelector('header').offsetHeight") <= 56, "one line"
    assert not page.is_visible("header nav")
    page.focus("header .menu-button")
    page.keyboard.press("Enter")
    page.wait_for_selector("header nav a:has-text('ADQL')", state="visible")
    for name in ("Jobs", "Help", "Français", "Dark", "Log in"):
        assert page.is_visible(f"header a:has-text('{name}')"), name
    page.keyboard.press("Escape")
    page.wait_for_selector("header nav", state="hidden")


def test_the_head_of_a_phone_is_one_line_with_a_menu(phone: Tab) -> None:
    page = phone.go("/collections/sz/clusters")
    menu(page)
    page.click("header .menu-button")
    assert phone.axe() == []
    phone.press("header nav a:has-text('Help')")
    assert "/help" in page.url


def test_the_menu_needs_no_scripts(still: Tab) -> None:
    page = still.go("/")
    assert page.is_visible("header nav")
    assert not page.is_visible("header .menu-button")
    page.set_viewport_size({"width": 390, "height": 844})
    menu(page)


def test_all_pages_are_of_one_width(tab: Tab) -> None:
    edges = set()
    tab.page.set_viewport_size({"width": 1920, "height": 900})
    for path in (
        "/",
        "/jobs",
        "/login",
        "/collections/sz",
        "/collections/sz/clusters",
        "/adql",
        "/help",
        "/search/epn",
    ):
        page = tab.go(path)
        edges |= set(
            page.evaluate(
                """() => ['header > div', 'main', 'footer > div'].map((one) => {
                    const { left, right } = document.querySelector(one).getBoundingClientRect();
                    return `${left} to ${right}`;
                })"""
            )
        )
    assert len(edges) == 1, edges
