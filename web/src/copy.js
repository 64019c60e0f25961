// A button that copies the text of the code beside it.
export function mount(box, { t }) {
  if (!navigator.clipboard) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = t("Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(box.querySelector("code").textContent);
    button.textContent = t("Copied");
    setTimeout(() => { button.textContent = t("Copy"); }, 1500);
  });
  box.append(button);
}
