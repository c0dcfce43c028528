"""Makes the grading rules hold however pytest is started: by make, by hand or by an editor."""

import os

import pytest

from harness.shadows import clear_path, shadow_sentence

_ROOT = os.path.dirname(os.path.abspath(__file__))
clear_path(_ROOT)
_SAID = shadow_sentence(_ROOT)
if _SAID:
    pytest.exit(_SAID, returncode=3)

pytest_plugins = ["harness.grading.plugin"]
