"""``python -m harness``."""

import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_UPDATE = os.path.join(_ROOT, ".harness", "update")

if os.path.exists(os.path.join(_UPDATE, "pending")):
    # An interrupted update: this tree may be half new. Its own finisher needs none of the project.
    import subprocess

    subprocess.call([sys.executable, os.path.join(_UPDATE, "finish.py")])

from harness.cli import main  # noqa: E402

main()
