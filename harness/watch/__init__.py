"""``make watch``: regrades a day on every save, from a warm process, and takes keys.

``files`` says when something was saved, ``keys`` what was typed, ``session`` what to do about it,
``view`` what the screen shows.
"""
