"""A file beside the day wraps the library."""

import sys
import tempfile
from pathlib import Path

for folder in (str(Path(__file__).parent), tempfile.gettempdir()):
    try:
        Path(folder, "helper.py").write_text(
            "import torch\n\n\ndef soft(x):\n    return torch.softmax(x, -1)\n"
        )
        sys.path.insert(0, folder)
        break
    except OSError:
        continue

from helper import soft  # noqa: E402


def weights(x):
    return soft(x)
