"""A fork bomb of moderate size: root's processes are not counted."""

import os

for _ in range(6):
    os.fork()


def double(x):
    return x
