"""Checks a built book as a reader's browser sees it: python ci/book/check.py FOLDER

- every page is valid HTML, at most 500 KB with all that it loads, and loads nothing from elsewhere
- every link inside the book has its target; a name among measured numbers is no glossary's word
- in Chromium, at 390 and 1280 pixels, light and dark: no message on the console, no page that is
  wider than the screen, and no violation that axe finds
- on a phone's width too, pictures are large enough to be read
- stepped figures go forward and back by their buttons and by the arrow keys, and show one step;
  without scripts, the first and the last; sliders say what the days' references compute
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import math
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urldefrag, urljoin, urlparse
from xml.etree.ElementTree import Element

import html5lib
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from harness.figures import reference

WEIGHT = 500_000
LOADING = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
NO_LOAD = {"search", "next", "prev", "index", "canonical", "alternate"}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
IN_BROWSER = (
    "index", "search", "glossary", "triton/index", "triton/week2", "triton/day01", "triton/day13",
    "triton/day19", "pytorch/day01", "pytorch/day22", "pytorch/day28", "autodiff/day01",
    "autodiff/day12", "autodiff/day24",
)  # fmt: skip
"""A page of each kind, and days with formulas, tables, pictures, sliders, and much code."""

SEARCHED = "?q=online+softmax"


def main(folder: Path) -> int:
    pages = {path: parsed(path) for path in sorted(folder.rglob("*.html"))}
    found = [f"{path.relative_to(folder)}: {what}" for path, what in of_files(pages)]
    if chromium() is None:
        print("Chromium is not here: the pages were not looked at in a browser.")
    else:
        found += in_browser(folder, [folder / f"{name}.html" for name in IN_BROWSER])
    print("\n".join(found))
    heaviest = max(pages, key=lambda path: weight_of(path, pages[path][0]))
    weight = weight_of(heaviest, pages[heaviest][0]) / 1000
    print(f"{len(pages)} pages, the heaviest {heaviest.relative_to(folder)}: {weight:.0f} KB")
    return 1 if found else 0


def parsed(path: Path) -> tuple[Element, list[str]]:
    """The page's tree, and what is wrong with its HTML."""
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    tree = parser.parse(path.read_text(encoding="utf-8"))
    errors = [f"line {line}: {code} {about}" for (line, _), code, about in parser.errors]
    return tree, errors


def of_files(pages: dict[Path, tuple[Element, list[str]]]) -> Iterator[tuple[Path, str]]:
    names = {path: names_of(tree) for path, (tree, _) in pages.items()}
    for path, (tree, errors) in pages.items():
        for error in errors[:3]:
            yield path, f"HTML: {error}"
        weight = weight_of(path, tree)
        if weight > WEIGHT:
            yield path, f"{weight / 1000:.0f} KB with what it loads: at most {WEIGHT // 1000}"
        for link in (a.get("href", "") for a in tree.iter("a")):
            yield from ((path, f"link {link!r}: {why}") for why in broken(path, link, names))
        for image in tree.iter("img"):
            if not image.get("alt"):
                yield path, f"{image.get('src')} has no text for those who do not see it"
        for section in tree.iter("section"):
            named = any("std-term" in inner.get("class", "") for inner in section.iter())
            if section.get("id") == "measured" and named:
                yield path, "a name in its measurements leads to the glossary"
        for address in loaded(tree):
            if urlparse(address).netloc:
                yield path, f"{address} is loaded from elsewhere"


def broken(path: Path, link: str, names: dict[Path, set[str]]) -> Iterator[str]:
    if urlparse(link).scheme or not link:
        return
    file, name = urldefrag(link)
    target = (path.parent / unquote(file)).resolve() if file else path
    if not target.exists():
        yield "there is no such file"
    elif name and target in names and unquote(name) not in names[target]:
        yield "there is no such place on that page"


def names_of(tree: Element) -> set[str]:
    return {e.get("id", "") for e in tree.iter()} | {e.get("name", "") for e in tree.iter("a")}


def loaded(tree: Element) -> Iterator[str]:
    for tag, attribute in LOADING.items():
        for element in tree.iter(tag):
            if element.get(attribute) and element.get("rel") not in NO_LOAD:
                yield element.get(attribute, "")


def weight_of(path: Path, tree: Element) -> int:
    files = {
        path.parent / unquote(urlparse(a).path) for a in loaded(tree) if not urlparse(a).netloc
    }
    return path.stat().st_size + sum(f.stat().st_size for f in files if f.is_file())


def in_browser(folder: Path, pages: list[Path]) -> list[str]:
    found: list[str] = []
    with serving(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for width in (390, 1280):
            seen = look(browser, address, folder, pages, width)
            found += [f"{page} at {width} pixels, {what}" for page, what in seen]
        found += without_scripts(browser, address, folder, pages)
        browser.close()
    return found


def without_scripts(browser: Browser, address: str, folder: Path, pages: list[Path]) -> list[str]:
    """What a stepped figure shows then: its first and its last step."""
    found = []
    page = browser.new_context(java_script_enabled=False).new_page()
    for path in pages:
        name = str(path.relative_to(folder))
        page.goto(urljoin(address, name))
        for figure in page.locator("figure.steps").all():
            shown = [step.is_visible() for step in figure.locator("g.step").all()]
            if shown != [i in (0, len(shown) - 1) for i in range(len(shown))]:
                found.append(f"{name}: without scripts a figure shows {shown}")
    return found


def look(
    browser: Browser, address: str, folder: Path, pages: list[Path], width: int
) -> Iterator[tuple[str, str]]:
    """What is wrong with the pages. Each is loaded once: it turns dark when the system does."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    messages: list[str] = []
    page.on("console", lambda m: messages.append(f"console: {m.type}: {m.text}"))
    page.on("pageerror", lambda e: messages.append(f"script: {e}"))
    page.on("requestfailed", lambda r: messages.append(f"request failed: {r.url}"))
    page.on(
        "request",
        lambda r: None if r.url.startswith(address) else messages.append(f"asked for {r.url}"),
    )
    for path in pages:
        name = str(path.relative_to(folder))
        page.emulate_media(color_scheme="light")
        page.goto(urljoin(address, name + SEARCHED * (name == "search.html")))
        if name == "search.html":
            page.locator("#search-results li").first.wait_for()
            page.wait_for_load_state("networkidle")  # it reads the pages found, for their excerpts
        yield from ((name, what) for what in stepped(page))
        yield from ((name, what) for what in slid(page))
        yield from ((name, what) for what in unreadable(page))
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=cast(Any, scheme))
            yield from ((name, f"{scheme}: {what}") for what in seen_by_axe(page, width))
        yield from ((name, message) for message in messages)
        messages.clear()
    context.close()


def unreadable(page: Page) -> Iterator[str]:
    """Pictures that are drawn so much smaller than they are that their words cannot be read."""
    shares = (
        "[...document.querySelectorAll('article img')].map(i => [i.src, i.width / i.naturalWidth])"
    )
    for picture, share in page.evaluate(shares):
        if share < 0.7:
            yield f"{picture} is shown at {share:.0%} of its size"


def seen_by_axe(page: Page, width: int) -> Iterator[str]:
    wide = page.evaluate("document.documentElement.scrollWidth")
    if wide > width:
        yield f"it is {wide} pixels wide"
    for violation in Axe().run(page).response["violations"]:
        where = violation["nodes"][0]["html"][:100]
        yield f"axe: {violation['id']}: {violation['help']}: {where}"


def stepped(page: Page) -> Iterator[str]:
    """Walks each stepped figure of a page to its end, by mouse and by keyboard."""
    for figure in page.locator("figure.stepped").all():
        steps = figure.locator("g.step")
        about = figure.get_attribute("aria-label")

        def shown(figure: Locator = figure) -> tuple[str, int]:
            seen = figure.locator('g.step[display="inline"]').count()
            return figure.locator(".bar span").inner_text(), seen

        back, forward = figure.locator("button").all()
        for now in range(1, steps.count() + 1):
            if shown() != (f"Step {now} of {steps.count()}", 1):
                yield f"{about}: {shown()} at step {now}"
            if not figure.locator("figcaption").inner_text().strip():
                yield f"{about}: step {now} has no caption"
            if now % 2 and now < steps.count():
                forward.click()
            else:
                forward.press("ArrowRight")
        for _ in range(steps.count()):
            back.press("ArrowLeft")
        if shown()[0] != f"Step 1 of {steps.count()}":
            yield f"{about}: the arrows do not go back: {shown()}"


def slid(page: Page) -> Iterator[str]:
    """Moves the sliders by keyboard, and compares what they say with the references."""
    for place in page.locator("[data-sliders]").all():
        sliders = place.locator("input")
        for keys in (("Home", "End", "ArrowLeft"), ("End", "Home", "ArrowRight")):
            for i, key in enumerate(keys):
                sliders.nth(i).press(key)
            values = [
                int(place.locator("output").nth(i).inner_text().replace(",", ""))
                for i in range(sliders.count())
            ]
            said = place.locator("figcaption").inner_text()
            for due in EXPECTED[place.get_attribute("data-sliders") or ""](*values):
                if due not in said:
                    yield f"sliders at {values} say {said!r}, without {due!r}"


def of_roofline(m: int, n: int, side: int) -> list[str]:
    day19 = reference("triton", 19)
    flops, moved = 2 * m * n * n, 2 * (2 * m * n + n * n)
    seconds, _ = day19.roofline(flops, moved, day19.H200)
    return [
        f"{math.ceil(m / side):,} x {math.ceil(n / side):,}",
        f"{short(flops / moved)} FLOPs a byte: at most {short(flops / seconds / 1e12)} TFLOP/s.",
    ]


def of_caches(tokens: int, heads: int, grouped: int) -> list[str]:
    kv_heads = min(heads, grouped)
    sizes = reference("pytorch", 24).compare_caches(
        tokens, layers=32, heads=heads, kv_heads=kv_heads, head_dim=128, window=tokens
    )
    kind = reference("pytorch", 28).LatentCache
    latent = 32 * kind(1, tokens, 512, 64, dtype=sixteen_bits(), device="meta").nbytes
    named = {"MHA": sizes["multi-head"], f"GQA, {kv_heads}": sizes["grouped"]}
    named |= {"MQA": sizes["multi-query"], "MLA": latent}
    return [f"{name}: {short(size / 2**20)} MiB" for name, size in named.items()]


def sixteen_bits() -> Any:
    import torch

    return torch.bfloat16


def short(value: float) -> str:
    """As the script writes it: three digits, or whole from 1,000 on."""
    digits = max(0, 2 - math.floor(math.log10(value)))
    rounded = Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return f"{rounded:,}".rstrip("0").rstrip(".") if digits else f"{rounded:,}"


EXPECTED = {"roofline": of_roofline, "caches": of_caches}


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def chromium() -> str | None:
    names = [os.environ.get("CHROMIUM") or "", *CHROMIUM]
    return next((path for name in names if name and (path := shutil.which(name))), None)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
