"""The report in a real browser: nothing fetched, nothing refused, nothing sticks out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report.chromium import Browser, browser, found
from tests.report.conftest import html_of

pytestmark = pytest.mark.skipif(not found(), reason="no Chromium here: apt install chromium")

OUTSIDE = """[...document.querySelectorAll('main *, header *, footer *')].filter(e => {
    const box_of_its_own = '.scroll, pre, svg';
    if (e.parentElement.closest(box_of_its_own) || e.closest('.unseen, .skip')) return false;
    const box = e.getBoundingClientRect();
    return box.width && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(e => e.tagName + '.' + e.getAttribute('class') + ' ' + e.textContent.slice(0, 40))"""
SMALL = """[...document.querySelectorAll('svg.plot text')].filter(
    e => e.getBoundingClientRect().width && e.getBoundingClientRect().height < 9).length"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = found()
    assert program
    with browser(program, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.mark.parametrize("state", ["new", "worked"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_shown_whole(
    tab: Browser, state: str, dark: bool, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(state)
    file = root / "report.html"
    file.write_text(html_of(root, editor=True), encoding="utf-8")
    for width in (320, 390, 1280):
        tab.look(width, dark)
        tab.open(file)
        assert tab.requested() == [file.as_uri()], "it fetches something"
        tab.value("document.querySelectorAll('details').forEach(d => d.open = true)")
        whole = tab.value("[document.documentElement.scrollWidth, innerWidth]")
        assert whole == [width, width], f"the page is {whole[0]} wide on a screen of {width}"
        assert tab.value(OUTSIDE) == []
        assert tab.value(SMALL) == 0, "the plots' text is too small to read"
        assert tab.complaints() == []
        # the styles are in force, and of the theme that was asked for
        light = tab.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert light is not dark


def test_a_script_in_the_page_would_not_run(tab: Browser, worked: Path, tmp_path: Path) -> None:
    """The policy is the second wall: escaping is the first."""
    html = html_of(worked).replace("</main>", "<script>document.title = 'it ran'</script></main>")
    file = tmp_path / "attacked.html"
    file.write_text(html, encoding="utf-8")
    tab.open(file)
    assert tab.value("document.title").startswith("My progress")
    assert "Content Security Policy" in " ".join(tab.complaints())


def test_the_keyboard_sees_where_it_is(tab: Browser, worked: Path) -> None:
    file = worked / "report.html"
    file.write_text(html_of(worked), encoding="utf-8")
    tab.look(390)
    tab.open(file)
    for kind in ("keyDown", "keyUp"):
        tab.call(
            "Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9
        )
    first = tab.value("[document.activeElement.className, "
                      "document.activeElement.getBoundingClientRect().top >= 0, "
                      "getComputedStyle(document.activeElement).outlineStyle]")  # fmt: skip
    assert first == ["skip", True, "solid"], "the first stop is the way past the header, and seen"
