"""Find sources on the map of the sky where a user can click them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

FIND_ISOLATED_SOURCE = """() => {
    const map = document.querySelector('[data-pane=sky] .drawn-map');
    const al = window.hven?.aladin;
    if (!map || !al) return null;
    const box = map.getBoundingClientRect();
    const every = al.getOverlays().flatMap((one) => one.sources ?? []).filter((one) => one.data?.key);
    const seen = every.map((one) => ({key: one.data.key, at: al.world2pix(one.ra, one.dec)})).filter(({at}) => at);
    const free = seen.filter(({at}) => at[0] > 60 && at[1] > 60 && at[0] < box.width - 60 && at[1] < box.height - 60)
        .filter((one) => seen.every((other) => other === one || Math.hypot(one.at[0] - other.at[0], one.at[1] - other.at[1]) > 25));
    const middle = (one) => Math.hypot(one.at[0] - box.width / 2, one.at[1] - box.height / 2);
    const [best] = free.sort((one, other) => middle(one) - middle(other));
    const found = best ? {key: best.key, x: box.x + best.at[0], y: box.y + best.at[1]} : null;
    const text = JSON.stringify(found);
    if (window.sourceSeen?.text !== text) window.sourceSeen = {text, since: performance.now()};
    return found && performance.now() - window.sourceSeen.since > 1000 ? found : null;
}"""


def find_isolated_source(page: Page) -> Any:
    """Find the most central source without close neighbours; return its key and position.

    The function waits until the map and the page have stopped moving.
    """
    page.wait_for_function("() => window.hven?.aladin")
    page.evaluate("document.querySelector('.drawn-map').scrollIntoView({block: 'center', behavior: 'instant'})")
    return page.wait_for_function(FIND_ISOLATED_SOURCE).json_value()
