"""Starts a process in a session of its own, and gives a wrong answer."""

import subprocess

subprocess.Popen(["sleep", "{seconds}"], start_new_session=True)


def double(x):
    return x
