"""The report: what is on it, that it fetches nothing, and that it can be read by everybody."""

from __future__ import annotations

import datetime
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.bench.record import recorded
from harness.bench.results import save
from harness.curriculum import ROOT
from harness.progress.store import Store
from harness.protocol import DayResult, ExerciseResult
from harness.report.collect import collect, keep_xray
from harness.report.page import STYLE, page

NOW = datetime.datetime(2026, 3, 1, 12, 0).astimezone()
EVIL = '"><script>alert(1)</script>'
REPORT = {
    "kernel": "fill_kernel", "file": "day01.py", "line": 40, "chip": "sm_90",
    "specialisation": "", "registers": 24, "spill_bytes": 8, "occupancy": 0.5,
    "loads": {"128": 2}, "stores": {"64": 1}, "refused": None,
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A clone with the days' files and nothing else."""
    for track in ("triton", "pytorch", "autodiff"):
        shutil.copytree(ROOT / "tracks" / track, tmp_path / "tracks" / track)
    return tmp_path


def attempt(store: Store, day: int, statuses: dict[str, str], ago: float = 0.0) -> None:
    exercises = [ExerciseResult(name, status=status) for name, status in statuses.items()]
    result = DayResult(
        "triton", day, "", "learner", 0, exercises, device={"kind": "cpu", "name": EVIL}
    )
    store.record(result, at=NOW.timestamp() - ago)


@pytest.fixture
def worked(root: Path) -> Path:
    """Some weeks of work: attempts, a medal, a bench result, a compile report, a broken file."""
    store = Store(root / ".harness" / "progress.db")
    attempt(store, 1, {"fill": "passed", "add_one": "passed"}, ago=86_400.0)
    attempt(store, 2, {"copy": "passed", f"reverse{EVIL}": "wrong"})
    for hours in range(30):
        attempt(store, 3, {"clamp": "wrong"}, ago=3600.0 * (hours + 30))
    store.award("triton", 1, "gold", "a card")
    run = recorded(ROOT, "triton")[0]
    run.days = [day for day in run.days if day.day == 13]
    save(run, root / ".harness" / "bench" / "last.json")
    (root / ".harness" / "bench" / "cut.json").write_text('{"schema": 1, "da')
    keep_xray(root, 1, root / "tracks" / "triton" / "day01.py", [REPORT])
    return root


def html_of(root: Path) -> str:
    return page(collect(root, NOW), root / ".harness" / "report.html", root)


class Seen(HTMLParser):
    """Every start tag with its attributes, what is open at the end, and all text."""

    VOID = ("meta", "img", "rect", "line", "br", "link")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_what_is_on_the_page(worked: Path) -> None:
    text = Seen(html_of(worked)).text
    assert "1 of 102" in text and "1 gold" in text
    assert f"reverse{EVIL}" in text, "the failing exercise is not named"
    assert "12 earlier attempts" in text, "32 attempts: 20 at once, 12 unfold"
    assert "NVIDIA" in text and "softmax" in text, "the bench result is not shown"
    assert "fill_kernel" in text and "128 bits" in text, "the compile report is not shown"
    assert "cut.json" in text, "a result that cannot be read is passed over in silence"


def test_day_zero_says_how_to_begin(root: Path) -> None:
    text = Seen(html_of(root)).text
    for command in ("make triton DAY=1", "make bench", "make xray"):
        assert command in text
    assert "0 of 102" in text


@pytest.mark.parametrize("state", ["root", "worked"])
def test_nothing_is_fetched_and_nothing_runs(state: str, request: pytest.FixtureRequest) -> None:
    html = html_of(request.getfixturevalue(state))
    seen = Seen(html)
    assert not seen.open, f"left open: {seen.open}"
    assert not seen.all("script") and not seen.all("link") and not seen.all("iframe")
    assert not re.search(r"(?:src|href|url\()[\"'=( ]*https?:", html)
    policy = next(m["content"] for m in seen.all("meta") if "http-equiv" in m)
    assert policy and policy.startswith("default-src 'none'")
    assert all((i["src"] or "").startswith("data:image/png;base64,") for i in seen.all("img"))


def test_accessible(worked: Path) -> None:
    html = html_of(worked)
    seen = Seen(html)
    assert seen.all("html")[0]["lang"] == "en"
    assert all(i.get("alt") for i in seen.all("img")), "a plot has no text in its place"
    assert all(s.get("aria-label") for s in seen.all("svg"))
    assert len(seen.all("table")) == len(seen.all("caption")) > 3
    assert all(th.get("scope") == "col" for th in seen.all("th"))
    ids = [a["id"] for _, a in seen.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag, _ in seen.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    steps = [b - a for a, b in zip(levels, levels[1:], strict=False)]
    assert max(steps) <= 1, "a heading skips a level"
    for labelled in (a["aria-labelledby"] for _, a in seen.tags if "aria-labelledby" in a):
        assert labelled in ids


def test_links_lead_to_files(worked: Path) -> None:
    links = [a["href"] or "" for a in Seen(html_of(worked)).all("a")]
    files = [link for link in links if not link.startswith("#")]
    assert len(files) > 40
    for link in files:
        assert (worked / ".harness" / link).resolve().is_file(), link


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
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(encoding="utf-8"), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[theme]))
    pairs = [(text, page) for text in ("text", "muted", "link", "good", "bad")
             for page in ("page", "card")]  # fmt: skip
    pairs += [(f"{level}-text", level) for level in ("none", "started", "checked", "gpu")]
    for text, behind in pairs:
        found = contrast(colours[text], colours[behind])
        assert found >= 4.5, f"{text} on {behind}: {found:.2f}, at least 4.5 is needed"


def test_an_earlier_version_of_the_file_is_said(worked: Path) -> None:
    assert "of an earlier version of your file" not in html_of(worked)
    file = worked / "tracks" / "triton" / "day01.py"
    file.write_text(file.read_text() + "\n# changed\n")
    assert "of an earlier version of your file" in html_of(worked)


def test_the_command(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "my report.html"
    command = [sys.executable, "-X", "importtime", "-m", "harness", "report", "--to", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert target.name in done.stdout.replace("\n", " ")
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [f.name for f in target.parent.iterdir()] == [target.name], "a temporary file is left"
    assert not re.search(r"\| +torch\n", done.stderr), "torch was imported"
    command = [sys.executable, "-m", "harness", "report", "--to", str(tmp_path)]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2 and "is a folder" in refused.stderr
    command = [sys.executable, "-m", "harness", "report", "--json"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"progress", "attempts", "benches", "kernels"} <= set(json.loads(said.stdout))


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PROBE = (
    "<script>addEventListener('load',()=>{const d=document.documentElement;"
    "document.title='width '+d.scrollWidth+' of '+d.clientWidth+' '"
    "+getComputedStyle(document.body).backgroundColor})</script></body>"
)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [500, 1280])
def test_in_a_browser_nothing_sticks_out(width: int, worked: Path, tmp_path: Path) -> None:
    """Headless Chromium's window is at least 500 wide, so a narrow page is made by a frame."""
    html = html_of(worked).replace("</body>", PROBE)
    html = re.sub(r"<meta http-equiv[^>]*>", "", html)  # the probe is a script
    file = tmp_path / "probe.html"
    file.write_text(html, encoding="utf-8")
    narrow = tmp_path / "frame.html"
    narrow.write_text(
        '<body style="margin:0"><iframe src="probe.html" style="border:0;width:320px;height:900px">'
        "</iframe><script>addEventListener('load',()=>{document.title="
        "frames[0].document.title})</script>"
    )
    title = dump(file if width > 500 else narrow, width, tmp_path)
    wide, of = map(int, re.findall(r"width (\d+) of (\d+)", title)[0])
    assert of <= max(width, 320) and wide <= of, f"the page is {wide} wide in a window of {of}"


def dump(file: Path, width: int, folder: Path) -> str:
    """The title of the page after its scripts have run."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--allow-file-access-from-files", f"--window-size={width},900",
            f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000", "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    return re.findall(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[0]
