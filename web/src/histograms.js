// Small histograms beside the columns of a table: each is asked for when it comes into view, a few at a time.
const NS = "http://www.w3.org/2000/svg";
const AT_ONCE = 2;

export function mount(box, workspace) {
  const { t } = workspace;
  const here = box.dataset.here;
  const waiting = [];
  let running = 0;

  async function next() {
    if (running >= AT_ONCE || !waiting.length) return;
    const cell = waiting.shift();
    running++;
    try {
      const found = await workspace.ask(`${here}/histogram`, { state: new URLSearchParams({ _x: cell.dataset.histogram }) });
      if (found.counts.length > 1) cell.prepend(drawn(found));
    } catch {
      // the static numbers stay
    } finally {
      running--;
      next();
    }
  }

  function drawn(found) {
    const { counts } = found;
    const most = Math.max(...counts, 1);
    const total = counts.reduce((sum, count) => sum + count, 0);
    const svg = document.createElementNS(NS, "svg");
    svg.setAttribute("viewBox", `0 0 ${counts.length} 20`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("class", "little-bars");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", t("Histogram of {name}, {total} rows", { name: found.label, total: total.toLocaleString(workspace.language) }));
    const path = document.createElementNS(NS, "path");
    path.setAttribute("d", counts.map((count, at) => (count ? `M${at} 20V${(20 - Math.max((count / most) * 20, 0.7)).toFixed(1)}h.9V20z` : "")).join(""));
    svg.append(path);
    return svg;
  }

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      waiting.push(entry.target);
      next();
    }
  }, { rootMargin: "100px" });
  for (const cell of box.querySelectorAll("[data-histogram]")) seen.observe(cell);
}
