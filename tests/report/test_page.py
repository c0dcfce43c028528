"""The report: what is on it, that it fetches nothing, and that it can be read by everybody."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from harness.cli.report import write_report
from harness.curriculum import ROOT, find_tracks
from harness.report.collect import collect
from harness.report.html import Html, join, tag
from harness.report.html import text as escaped
from harness.report.page import STYLE
from tests.report.conftest import EVIL, NOW, html_of


class Seen(HTMLParser):
    """Every start tag with its attributes, what is open at the end, and all text."""

    VOID = ("meta", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"<{tag}> has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_what_is_not_html_is_escaped() -> None:
    assert escaped(EVIL) == "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"
    made = tag("a", EVIL, tag("b", 1), None, "", title=EVIL, hidden=True, id=None, class_="x")
    assert made.count("<") == 4 and made.count('"') == 4
    assert "hidden" in made and "id=" not in made
    assert join(["<", Html("<br>")], ">") == "&lt;&gt;<br>"


def test_what_is_on_the_page(worked: Path) -> None:
    seen = Seen(html_of(worked))
    assert "1 of 102" in seen.text and "1 gold" in seen.text
    assert f"reverse{EVIL}" in seen.text, "the failing exercise is not named"
    assert re.search(r"\d+ earlier attempts", seen.text) and len(seen.all("time")) > 32
    assert "1, Hello, Triton: benched, gold medal" in seen.text
    assert "2, Memory operations: started" in seen.text
    missing = 102 - sum(len(track.days) for track in find_tracks())
    assert seen.text.count("still to come") >= missing, "days that do not exist yet"


def test_benches(worked: Path) -> None:
    seen = Seen(html_of(worked))
    assert "softmax in numbers" in seen.text and "transpose in numbers" in seen.text
    assert "softmax of old" not in seen.text, "only the newest result of a day counts"
    assert "wrong answer" in seen.text, "a wrong answer's time is not shown as if it counted"
    assert f"untrusted: throttled {EVIL}" in seen.text
    plots = [svg["aria-label"] or "" for svg in seen.all("svg") if svg.get("class") == "plot"]
    assert any("GB/s by n" in said and "yours" in said for said in plots)
    assert any("roofline" in said and "copy 3," in said for said in plots)
    assert "NVIDIA" in seen.text


def test_kernels(worked: Path) -> None:
    seen = Seen(html_of(worked))
    for said in ("fill_kernel", "128 bits", "50% (registers)", "8 bytes", "no such name"):
        assert said in seen.text
    assert "Your file has changed" not in seen.text
    assert "present files of days 2, 3" in seen.text, "started, and nobody compiled them"
    file = worked / "tracks" / "triton" / "day01.py"
    before = file.read_text()
    file.write_text(before + "# changed\n")
    assert "Your file has changed" in Seen(html_of(worked)).text
    file.write_text(before)


def test_files_that_cannot_be_read_are_named(worked: Path) -> None:
    seen = Seen(html_of(worked))
    assert "cut.json" in seen.text and "day02.json" in seen.text


def test_day_zero_says_how_to_begin(new: Path) -> None:
    text = Seen(html_of(new)).text
    for command in (
        "make lesson TRACK=triton DAY=1",
        "make triton DAY=1",
        "make bench",
        "make xray",
    ):
        assert command in text
    assert "0 of 102" in text and "none yet" in text
    assert not (new / ".harness").exists(), "looking at nothing writes something"


@pytest.mark.parametrize("state", ["new", "worked"])
def test_nothing_is_fetched_and_nothing_runs(state: str, request: pytest.FixtureRequest) -> None:
    html = html_of(request.getfixturevalue(state))
    seen = Seen(html)
    assert not seen.open, f"left open: {seen.open}"
    for name in ("script", "link", "iframe", "img", "object", "form", "base", "image", "use"):
        assert not seen.all(name)
    for name, attributes in seen.tags:
        assert "style" not in attributes and not any(key.startswith("on") for key in attributes)
        for key in ("src", "href", "srcset", "data"):
            address = attributes.get(key) or ""
            assert not urlparse(address).scheme and not address.startswith("//"), (name, address)
    style = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)[0]
    assert "url(" not in style and "@import" not in style
    policy = next(m["content"] for m in seen.all("meta") if "http-equiv" in m) or ""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")


@pytest.mark.parametrize("state", ["new", "worked"])
def test_accessible(state: str, request: pytest.FixtureRequest) -> None:
    seen = Seen(html_of(request.getfixturevalue(state)))
    assert seen.all("html")[0]["lang"] == "en"
    for landmark in ("header", "main", "footer", "nav"):
        assert len(seen.all(landmark)) == 1
    assert all(s.get("aria-label") or s.get("aria-hidden") for s in seen.all("svg"))
    assert len(seen.all("table")) == len(seen.all("caption")) >= 3
    assert all(th.get("scope") in ("col", "row", "rowgroup") for th in seen.all("th"))
    boxes = [div for div in seen.all("div") if div.get("class") == "scroll"]
    assert len(boxes) == len(seen.all("table")) and all(box["tabindex"] == "0" for box in boxes)
    regions = [a["aria-label"] for _, a in seen.tags if a.get("role") == "region"]
    assert len(regions) == len(set(regions)), "two regions with one name"
    ids = [a["id"] for _, a in seen.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag, _ in seen.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    steps = [b - a for a, b in zip(levels, levels[1:], strict=False)]
    assert max(steps) <= 1, "a heading skips a level"
    for labelled in (a["aria-labelledby"] for _, a in seen.tags if "aria-labelledby" in a):
        assert labelled in ids
    for place in (a["href"] or "" for a in seen.all("a") if (a["href"] or "").startswith("#")):
        assert place[1:] in ids


@pytest.mark.parametrize("editor", [False, True])
def test_links_lead_to_files(worked: Path, editor: bool) -> None:
    links = [a["href"] or "" for a in Seen(html_of(worked, editor)).all("a")]
    files = [link for link in links if not link.startswith("#")]
    assert len(files) > 120
    vscode = [link for link in files if link.startswith("vscode://file/")]
    assert bool(vscode) == editor
    for link in files:
        there = Path(unquote(urlparse(link).path))
        assert (worked / ".harness" / there).resolve().is_file(), link


def contrast(one: str, other: str) -> float:
    """Of two #rrggbb colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast_is_enough_in_both_themes(theme: int) -> None:
    """4.5 for text, 3 for what a plot draws (WCAG 2.2, AA: 1.4.3 and 1.4.11)."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(encoding="utf-8"), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[theme]))
    pairs = [(text, page, 4.5) for text in ("text", "muted", "link", "good", "bad")
             for page in ("page", "card")]  # fmt: skip
    pairs += [(f"l{level}-text", f"l{level}", 4.5) for level in range(5)]
    pairs += [(f"s{series}", "page", 3.0) for series in range(8)]
    for text, behind, least in pairs:
        found = contrast(colours[text], colours[behind])
        assert found >= least, f"{text} on {behind}: {found:.2f}, at least {least} is needed"


def test_every_colour_of_the_style_is_checked() -> None:
    """A colour that is written anywhere but in the two themes would escape the test above."""
    style = STYLE.read_text(encoding="utf-8")
    rest = re.sub(r":root \{.*?\}", "", style, flags=re.DOTALL)
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(", rest)
    assert "prefers-reduced-motion" in style and ":focus-visible" in style


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_command(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "my report.html"
    done = harness("-X", "importtime", "-m", "harness", "report", "--to", str(target))
    assert done.returncode == 0 and target.name in done.stdout.replace("\n", " ")
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [f.name for f in target.parent.iterdir()] == [target.name], "a temporary file is left"
    assert not re.search(r"\| +(torch|triton|matplotlib)\n", done.stderr), "a slow import"
    assert harness("-m", "harness", "report", "--to", str(target.parent)).returncode == 0
    assert (target.parent / "report.html").is_file(), "in a folder it has its own name"
    refused = harness("-m", "harness", "report", "--to", str(target / "in a file.html"))
    assert refused.returncode == 2 and "no folder" in refused.stderr
    said = json.loads(harness("-m", "harness", "report", "--json").stdout)
    assert {"progress", "attempts", "benches", "kernels"} <= set(said)


def test_levels(worked: Path) -> None:
    learner = collect(worked, NOW)
    assert learner.level("triton", 1) == 4, "passed, and it has a medal"
    assert learner.level("triton", 7) == 0, "benched, and never passed"
    assert learner.level("triton", 3) == 1 and learner.level("nothing", 1) == 0


def test_what_is_missing_is_compiled_on_request(
    worked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def xray_day(track: str, number: str, *_: object) -> int:
        asked.append(f"{track} {number}")
        print("a long report")
        if number == "2":
            raise RuntimeError("no compiler here")
        return 0

    monkeypatch.setattr("harness.cli.xray.xray_day", xray_day)
    monkeypatch.setattr("harness.cli.report.collect", lambda: collect(worked, NOW))
    assert write_report(str(tmp_path / "page.html"), compile_kernels=False, as_json=False) == 0
    assert asked == [], "a plain report compiles nothing"
    assert write_report(str(tmp_path / "page.html"), compile_kernels=True, as_json=False) == 0
    assert asked == ["triton 2", "triton 3"], "started, and without a report of the present file"
