"""``python -m harness``."""

import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_UPDATE = os.path.join(_ROOT, ".harness", "update")

if os.name == "nt":
    sys.exit(
        "Windows alone cannot run the days: clone the project in WSL 2, and work there as on Linux."
    )

if os.path.exists(os.path.join(_UPDATE, "pending")):
    # An interrupted update: this tree may be half new. Its own finisher needs none of the project.
    import subprocess

    subprocess.call([sys.executable, os.path.join(_UPDATE, "finish.py")])

from harness.shadows import clear_path, shadow_sentence  # noqa: E402

clear_path(_ROOT)
_said = shadow_sentence(_ROOT)
if _said:
    print(_said, file=sys.stderr)
    sys.exit(3)

try:
    from harness.cli import main

    main()
except BaseException as error:  # Ctrl-C, before the commands are there to say it themselves
    cause: BaseException | None = error
    while cause and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__  # while a class is made, Python 3.11 wraps it in a RuntimeError
    if cause is None:
        raise
    print("stopped", file=sys.stderr)
    sys.exit(130)
