"""What the tests of the days are written with.

    from harness.testing import close, exercise, layouts, shapes, watch
    from tracks.triton import day13

    @exercise("softmax")
    @shapes("rows, columns", (0, 5), (1, 1), (3, 127), gpu=[(4096, 8192)])
    def test_matches_float64(rows, columns, device, rng):
        x = rng.normal(rows, columns)
        close(day13.softmax(x), torch.softmax(x.double(), -1), dtype=x.dtype, terms=columns)

The fixtures ``device`` and ``rng`` come from the pytest plugin ``harness.grading.plugin``.
"""

from harness.testing.again import again
from harness.testing.close import Mismatch, close
from harness.testing.launches import one_launch
from harness.testing.layouts import far_apart, layouts
from harness.testing.marks import exercise, shapes
from harness.testing.modules import in_float64, random_weights, same_compiled
from harness.testing.philox import philox_uniform, philox_words
from harness.testing.refused import refused
from harness.testing.rng import ArrayRng, TensorRng
from harness.testing.watching import Launch, Seen, watch
from harness.testing.widths import why_narrow

__all__ = [
    "ArrayRng",
    "Launch",
    "Mismatch",
    "Seen",
    "TensorRng",
    "again",
    "close",
    "compiled",
    "exercise",
    "far_apart",
    "in_float64",
    "layouts",
    "one_launch",
    "philox_uniform",
    "philox_words",
    "random_weights",
    "refused",
    "same_compiled",
    "shapes",
    "watch",
    "why_narrow",
]


def __getattr__(name: str) -> object:
    """``compiled`` pulls in the compiler's report; only the days that ask for it pay for it."""
    if name == "compiled":
        from harness.kernels.xray.testing import compiled

        return compiled
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
