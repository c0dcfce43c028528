"""A script's ending was left in the file."""

import sys


def double(x):
    return x


sys.exit(0)
