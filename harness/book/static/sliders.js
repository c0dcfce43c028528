// Sliders under a picture: without this script the picture above stands alone.
const SVG = "http://www.w3.org/2000/svg";
const PEAK = 989e12, BANDWIDTH = 4.8e12, RUNNING = 132; // H200, data sheet: 16-bit FLOP/s, bytes/s
const many = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 0 });
const short = (value) =>
  value < 1000 ? value.toLocaleString("en-US", { maximumSignificantDigits: 3 }) : many(value);

function element(parent, name, attributes, text = "") {
  const made = parent instanceof SVGElement || name === "svg"
    ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  parent.append(made);
  return made;
}

const KINDS = {
  roofline: {
    title: "A product on an H200, in 16 bits",
    sliders: [
      ["rows of a", 0, 13, 12, (i) => 2 ** i],
      ["k, and columns of b", 8, 14, 12, (i) => 2 ** i],
      ["side of a tile", 4, 8, 7, (i) => 2 ** i],
    ],
    compute([m, n, side]) {
      const [down, across] = [Math.ceil(m / side), Math.ceil(n / side)];
      const tiles = down * across, flops = 2 * m * n * n;
      const once = 2 * (m * n + n * n + m * n);
      const apart = 2 * (tiles * 2 * side * n + m * n);
      const rate = (bytes) => Math.min(PEAK, (flops / bytes) * BANDWIDTH);
      return { down, across, tiles, flops, once, apart, rate };
    },
    text({ down, across, tiles, flops, once, apart, rate }) {
      const line = (bytes) => `${short(bytes / 1e6)} MB, ${short(flops / bytes)} FLOPs a byte: ` +
        `at most ${short(rate(bytes) / 1e12)} TFLOP/s`;
      const waves = Math.ceil(tiles / RUNNING);
      return `Grid ${many(down)} x ${many(across)}: ${many(tiles)} ` +
        `program${tiles === 1 ? "" : "s"} in ${many(waves)} wave${waves === 1 ? "" : "s"}. Each matrix moved once (circle): ${line(once)}. ` +
        `Every tile's strips from memory (square): ${line(apart)}.`;
    },
    draw(svg, { down, across, flops, once, apart, rate }) {
      const scale = Math.min(120 / across, 120 / down), dense = scale < 3;
      const [wide, high] = [across * scale, down * scale];
      element(svg, "rect", { class: "a", x: 6, y: 26, width: Math.max(wide, 1), height: Math.max(high, 1) });
      for (let i = 1; i < across && !dense; i++)
        element(svg, "path", { class: "line", d: `M${6 + i * scale} 26v${high}` });
      for (let i = 1; i < down && !dense; i++)
        element(svg, "path", { class: "line", d: `M6 ${26 + i * scale}h${wide}` });
      element(svg, "text", { class: "start", x: 6, y: 16 }, dense ? "grid (too fine to draw)" : "grid");
      const x = (intensity) => 176 + 38 * Math.log10(Math.min(Math.max(intensity, 0.3), 2e4) / 0.3);
      const y = (flop) => 146 - 30 * Math.log10(Math.max(flop, 1e12) / 1e12);
      const ridge = PEAK / BANDWIDTH;
      element(svg, "path", { class: "line",
        d: `M${x(0.3)} ${y(0.3 * BANDWIDTH)}L${x(ridge)} ${y(PEAK)}H350` });
      element(svg, "text", { class: "end", x: 350, y: 46 }, "989 TFLOP/s");
      element(svg, "text", { class: "end", x: 350, y: 164 }, "FLOPs a byte");
      element(svg, "circle", { class: "c strong", r: 6, cx: x(flops / once), cy: y(rate(once)) });
      element(svg, "rect", { class: "b strong", width: 10, height: 10,
        x: x(flops / apart) - 5, y: y(rate(apart)) - 5 });
    },
  },
  caches: {
    title: "The cache of one text: 32 layers, heads of 128, 16 bits a number",
    sliders: [
      ["tokens", 9, 17, 15, (i) => 2 ** i],
      ["heads of queries", 3, 7, 5, (i) => 2 ** i],
      ["heads of keys, where they are grouped", 0, 7, 3, (i) => 2 ** i],
    ],
    compute([tokens, heads, grouped]) {
      const kept = (numbers) => 32 * tokens * numbers * 2;
      const shared = Math.min(heads, grouped);
      return { "MHA": kept(2 * heads * 128), [`GQA, ${shared}`]: kept(2 * shared * 128),
        "MQA": kept(2 * 128), "MLA": kept(512 + 64) };
    },
    text: (sizes) => Object.entries(sizes)
      .map(([name, bytes]) => `${name}: ${short(bytes / 2 ** 20)} MiB`).join("; ") +
      ". MLA keeps a latent of 512 and a rope key of 64, whatever the heads.",
    draw(svg, sizes) {
      const most = Math.max(...Object.values(sizes));
      Object.entries(sizes).forEach(([name, bytes], i) => {
        const y = 10 + 38 * i, wide = Math.max(1, (170 * bytes) / most);
        element(svg, "text", { class: "end", x: 74, y: y + 18 }, name);
        element(svg, "rect", { class: "abcd"[i], x: 80, y, width: wide, height: 26 });
        element(svg, "text", { class: "start", x: 86 + wide, y: y + 18 }, `${short(bytes / 2 ** 20)} MiB`);
      });
    },
  },
};

for (const place of document.querySelectorAll("[data-sliders]")) {
  const kind = KINDS[place.dataset.sliders];
  const figure = element(place, "figure", { class: "steps", role: "group", "aria-label": kind.title });
  element(figure, "p", { class: "title" }, kind.title);
  const inputs = kind.sliders.map(([name, min, max, value]) => {
    const label = element(figure, "label", { class: "slider" });
    element(label, "span", {}, name);
    const input = element(label, "input", { type: "range", min, max, step: 1, value });
    return { input, shown: element(label, "output", {}) };
  });
  const svg = element(figure, "svg", { viewBox: "0 0 360 170", role: "img" });
  const caption = element(figure, "figcaption", { "aria-live": "polite" });
  const redraw = () => {
    const values = inputs.map(({ input, shown }, i) => {
      const value = kind.sliders[i][4](Number(input.value));
      shown.textContent = many(value);
      input.setAttribute("aria-valuetext", many(value));
      return value;
    });
    const found = kind.compute(values);
    svg.replaceChildren();
    kind.draw(svg, found);
    caption.textContent = kind.text(found);
    svg.setAttribute("aria-label", caption.textContent);
  };
  for (const { input } of inputs) input.addEventListener("input", redraw);
  redraw();
}
