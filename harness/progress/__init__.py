"""What the learner has done: attempts, hints and medals in SQLite, replaced answers in an archive.

Everything lives in ``.harness/`` beside the tracks. A tree that cannot be written is no reason to
stop grading: ``ProgressError`` says what could not be kept.
"""

from harness.progress.archive import Kept, keep, kept_of, put
from harness.progress.changed import changed_days, with_changes
from harness.progress.store import Attempt, ProgressError, Store

__all__ = [
    "Attempt", "Kept", "ProgressError", "Store", "changed_days", "keep", "kept_of", "put",
    "with_changes",
]  # fmt: skip
