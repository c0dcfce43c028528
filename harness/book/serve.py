"""Shows the book on this machine and builds it anew when a file of the tracks is saved."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from harness.curriculum import ROOT

PORT = 8102
CHANGED = "/__changed"
RELOAD = f"""<script>
(async () => {{
  const seen = await (await fetch("{CHANGED}")).text();
  setInterval(async () => {{
    const now = await (await fetch("{CHANGED}")).text();
    if (now !== seen) location.reload();
  }}, 1000);
}})();
</script></body>"""


class Pages(http.server.SimpleHTTPRequestHandler):
    """Files of the book; to a page a script is added that asks once a second what build it is."""

    def __init__(self, *args: Any, builds: list[int], **options: Any) -> None:
        self.builds = builds
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path /= "index.html"
        if self.path == CHANGED:
            self._send(str(self.builds[0]), "text/plain")
        elif path.suffix == ".html" and path.exists():
            page = path.read_text(encoding="utf-8")
            self._send(page.replace("</body>", RELOAD), "text/html; charset=utf-8")
        else:
            super().do_GET()

    def _send(self, text: str, kind: str) -> None:
        data = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is for what the build says."""


def serve_book(build: Callable[[], int], site: Path, port: int = PORT) -> int:
    """Until Ctrl-C. A build that fails leaves what it made, and its words in the terminal."""
    from watchfiles import watch

    build()
    builds = [0]
    handler = partial(Pages, directory=str(site), builds=builds)
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}  (built anew on every save; Ctrl-C ends)")
        for _ in watch(ROOT / "tracks", ROOT / "harness" / "book", raise_interrupt=False):
            if build() == 0:
                print("built anew", flush=True)
            builds[0] += 1
        server.shutdown()
    return 0
