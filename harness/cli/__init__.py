"""The commands. ``python -m harness --help`` lists them; ``make`` calls them.

Exit codes: 0 all passed, 1 something failed, 2 wrong usage, 3 the environment.
"""

from harness.cli.app import grade_file, main

__all__ = ["grade_file", "main"]
