// Menus of a bar: one is open at a time; Escape and a click elsewhere shut it.
export function mount(box) {
  const menus = [...box.querySelectorAll("details.menu")];
  for (const one of menus) {
    one.addEventListener("toggle", () => { if (one.open) for (const other of menus) if (other !== one) other.open = false; });
    one.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !one.open) return;
      one.open = false;
      one.querySelector("summary").focus();
    });
  }
  document.addEventListener("pointerdown", (event) => { if (!box.contains(event.target)) for (const one of menus) one.open = false; });
}
