// Language and colours: their links keep the state that the page has come to since it was drawn.
export function mount(box) {
  box.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='?']");
    if (!link) return;
    const next = new URLSearchParams(location.search);
    for (const [name, value] of new URLSearchParams(link.search)) if (name === "lang" || name === "_theme") next.set(name, value);
    link.search = `?${next}`;
    link.hash = location.hash;
  });
}
