// A plain table of an answer as the server tells it: {columns, rows}; text is text, whatever it says.
export function table({ columns, rows }, t) {
  const box = Object.assign(document.createElement("div"), { className: "grid scroll", tabIndex: 0 });
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", t("Rows"));
  const made = Object.assign(document.createElement("table"), { className: "rows" });
  const head = made.createTHead().insertRow();
  for (const column of columns) {
    const th = Object.assign(document.createElement("th"), { scope: "col", title: column.description, textContent: column.label });
    if (column.numeric) th.className = "n";
    if (column.unit) th.append(" ", Object.assign(document.createElement("small"), { textContent: column.unit }));
    head.append(th);
  }
  const body = made.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    row.forEach((value, number) => fill(line.insertCell(), value, columns[number], t));
  }
  box.append(made);
  return box;
}

const LONG = 30; // characters: a column may cut what is longer

/** Put a value into a cell: text, or an object with text, href, title; what is long is told in full when one points at it. */
export function fill(cell, value, column, t) {
  if (column.numeric) cell.className = "n";
  if (value === null) return;
  if (typeof value === "string") { cell.textContent = value; if (value.length > LONG) cell.title = value; return; }
  if (value.title || value.text.length > LONG) cell.title = value.title || value.text;
  if (value.corners) { cell.textContent = t("polygon of {count} corners", { count: value.corners }); return; }
  if (value.picture && value.href && pictured(value.href)) {
    const link = Object.assign(document.createElement("a"), { href: value.href, rel: "noopener", className: "thumbnail" });
    link.textContent = value.text;
    thumbnail(link);
    cell.append(link);
    return;
  }
  if (value.href && /^(https?|ftp):/i.test(value.href)) {
    cell.append(Object.assign(document.createElement("a"), { href: value.href, rel: "noopener", textContent: value.text }));
  } else {
    cell.textContent = value.text;
  }
}

/** Whether the site lets its pages show a picture of that address: its own, and of origins that the site file names. */
export function pictured(href) {
  try {
    const { origin, protocol, host } = new URL(href);
    if (origin === location.origin) return true;
    return (document.documentElement.dataset.images ?? "").split(" ").some((one) => one === origin || (one.startsWith(`${protocol}//*.`) && host.endsWith(one.slice(protocol.length + 3))));
  } catch {
    return false;
  }
}

/** Show a small picture instead of the text of the link to it. */
export function thumbnail(link) {
  const text = link.textContent;
  const image = Object.assign(document.createElement("img"), { src: link.href, alt: text, title: text, loading: "lazy", decoding: "async", width: 40, height: 24 });
  image.addEventListener("error", () => image.replaceWith(text)); // gone: the link stays
  link.className = "thumbnail";
  link.replaceChildren(image);
}
