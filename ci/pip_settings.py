"""The machine's pip configuration, made into one file for a build that cannot see it.

``python3 ci/pip_settings.py pip.conf /machine`` writes the file and prints the local paths that its
settings name, a line each. They have to be mounted as well, below ``/machine``, where the file says
that they are: mounted at their own place they would be in the way of the build (of the package
ca-certificates, which writes to the file that pip reads).
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit


def main(target: str, below: str) -> None:
    settings: dict[str, str] = {}
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # global.cert='…', a line each. What the environment says wins, as with pip itself.
    for line in sorted(listing.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        if key != "config-file":
            settings[key] = ast.literal_eval(value)
    lines, found = ["[global]"], set()
    for key, value in settings.items():
        parts = []
        for part in value.split():
            path = urlsplit(part).path if part.startswith("file:") else part
            if path.startswith("/") and Path(path).exists():
                # An index on disk may keep its files beside itself.
                found.add(str(Path(path).parent) if key.endswith("index-url") else path)
                part = part.replace(path, below + path)
            parts.append(part)
        lines.append(f"{key} = " + "\n    ".join(parts))
    Path(target).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(sorted(found)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
