// Figures that are stepped by hand. Without this script they show their first and last step.
for (const figure of document.querySelectorAll("figure.steps:has(.step)")) {
  const svg = figure.querySelector("svg");
  const steps = [...svg.querySelectorAll("g.step")];
  const button = (text, by) => {
    const made = Object.assign(document.createElement("button"), { type: "button" });
    made.textContent = text;
    made.addEventListener("click", () => show(at + by));
    return made;
  };
  const back = button("Back", -1);
  const next = button("Next", 1);
  const count = document.createElement("span");
  const bar = Object.assign(document.createElement("div"), { className: "bar" });
  bar.append(back, next, count);
  const caption = document.createElement("figcaption");
  caption.setAttribute("aria-live", "polite");
  let at = 0;

  function show(wanted) {
    at = Math.min(Math.max(wanted, 0), steps.length - 1);
    steps.forEach((step, i) => step.setAttribute("display", i === at ? "inline" : "none"));
    // A button that is disabled would lose the focus.
    back.setAttribute("aria-disabled", at === 0);
    next.setAttribute("aria-disabled", at === steps.length - 1);
    count.textContent = `Step ${at + 1} of ${steps.length}`;
    const lines = [...steps[at].querySelectorAll(".caption text")];
    caption.textContent = lines.map((line) => line.textContent).join(" ");
  }

  svg.setAttribute("viewBox", `0 0 ${svg.viewBox.baseVal.width} ${svg.dataset.height}`);
  for (const step of steps) step.removeAttribute("transform");
  figure.classList.add("stepped");
  figure.append(bar, caption);
  figure.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault(); // elsewhere on the page the arrows go to another page
    event.stopPropagation();
    show(at + by);
  });
  show(0);
}
