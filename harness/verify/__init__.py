"""Proves that a day keeps the project's promises: its stub fails, its reference passes, every known
bug is rejected, its lesson runs, and its hints, docstrings and types are there."""
