"""
Day 33: Convolution and pooling
===============================
Estimated time: 3 hours
Prerequisites: Day 19 (matmul), Day 23 (context), Day 27 (higher order)
Lesson: lessons/day33.md

Learning objectives:
- Look at all windows of an image without copying any of them
- Turn a convolution into one matrix product for each group, in memory that does not grow
- See one sum behind a convolution and its two gradients, so that each is the others' backward
- Pool by the largest element, by the mean, and to a size that is given

A convolution adds up products of three arrays: images x, filters w, and, once it is differentiated,
a gradient y. Whoever has two of them can make the third, and there are no more than three ways:

    x, w ──> Convolve  ──> y          backward of Convolve:   ToImages (x), ToFilters (w)
    y, w ──> ToImages  ──> x          backward of ToImages:   Convolve (y), ToFilters (w)
    x, y ──> ToFilters ──> w          backward of ToFilters:  ToImages (x), Convolve  (y)

ToImages is also known as the transposed convolution.

Hints:
- A window that moves is a view with more axes and well-chosen strides.
- Every place of the kernel sees a whole image, a little shifted.
- The adjoint of reading at several places is adding at them.

Resources:
- K. Chellapilla, S. Puri, P. Simard, High performance convolutional neural networks for document
  processing, 2006: https://inria.hal.science/inria-00112631
- V. Dumoulin, F. Visin, A guide to convolution arithmetic for deep learning, 2016:
  https://arxiv.org/abs/1603.07285
- numpy.lib.stride_tricks.as_strided:
  https://numpy.org/doc/stable/reference/generated/numpy.lib.stride_tricks.as_strided.html
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tracks.autodiff import day22
from tracks.autodiff import operations as ops
from tracks.autodiff.day18 import needs_floats
from tracks.autodiff.day22 import Function, to
from tracks.autodiff.day28 import Tensor

Pair = int | tuple[int, int]
BLOCK = 1 << 21
"""How many bytes of columns are made at a time, if those of one image do not take more: what a
core's own cache holds."""
SHORT = 8
"""numpy copies and adds along one row at a time. Where rows are no longer than this, the same pixel
of all images, one next to the other in memory, makes a longer one: see ``images``."""


class Window(NamedTuple):
    """How a window moves over an image, along (height, width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    """What is added to an image: rows (above, below) and columns (left, right). A negative number
    takes rows or columns away, at the end only."""
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def places(self, size: tuple[int, ...]) -> tuple[int, int]:
        """At how many places the window stands, in an image of ``size`` (height, width)."""
        height, width = (
            (n + sum(around) - d * (k - 1) - 1) // s + 1
            for n, k, s, around, d in zip(size, *self[:4], strict=True)
        )
        return height, width


def pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def window_of(
    what: str,
    kernel: Pair,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Window:
    """The Window that a user means by these numbers: one for both axes, or a pair.

    - padding n: n before and n after. "valid": none.
    - padding "same": as much as keeps the size at stride 1, dilation · (kernel - 1) along an axis,
      half of it before and half after. Where that is odd, there is one more *after*.
    - ValueError, naming ``what`` and the value that is wrong, for a kernel, stride, dilation or
      groups below 1, a negative padding, another word, and "same" with a stride other than 1 (then
      naming "same").

    >>> window_of("conv2d", (3, 4), padding="same").padding
    ((1, 1), (1, 2))
    """
    # TODO: pairs; the padding of both axes; refusals.
    # HINT: three kinds of padding come in, and one kind goes out.
    ### BEGIN SOLUTION
    # HINT: (n, n) for each axis, if it is numbers; "valid" is 0.
    # HINT: for "same" the total is d * (k - 1): total // 2 before, and total - total // 2 after.
    kernel, stride, dilation = pair(kernel), pair(stride), pair(dilation)
    for name, least in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        if min(least) < 1:
            raise ValueError(f"{what}: a {name} of {least}, and it is at least 1")
    if groups < 1:
        raise ValueError(f"{what}: {groups} groups")
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"{what}: padding 'same' at stride {stride}: it goes with 1 only")
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        rows, columns = ((t // 2, t - t // 2) for t in total)
        return Window(kernel, stride, (rows, columns), dilation, groups)
    if isinstance(padding, str) and padding != "valid":
        raise ValueError(f"{what}: a padding of {padding!r}: 'same', 'valid' or numbers")
    h, w = (0, 0) if isinstance(padding, str) else pair(padding)
    if min(h, w) < 0:
        raise ValueError(f"{what}: a padding of {(h, w)}, and it cannot be negative")
    return Window(kernel, stride, ((h, h), (w, w)), dilation, groups)
    ### END SOLUTION


def check_fit(what: str, window: Window, size: tuple[int, ...]) -> None:
    """ValueError, naming ``what``, kernel and size, if the window has no place in an image."""
    if min(window.places(size)) < 1:
        raise ValueError(
            f"{what}: a kernel of {window.kernel}, dilation {window.dilation}, does not fit into "
            f"an image of {tuple(size)} with a padding of {window.padding}"
        )


def images(
    n: int, c: int, height: int, width: int, dtype: Any, rows: int | None = None
) -> np.ndarray:
    """Memory for images (N, C, H, W), nothing in it yet. Its order is N, C, H, W too; but where
    rows are SHORT, N comes last: C, H, W, N. numpy's operations keep the order that they find.

    ``rows``: the length that decides, if it is not the width."""
    if (width if rows is None else rows) <= SHORT:
        return np.moveaxis(np.empty((c, height, width, n), dtype), -1, 0)
    return np.empty((n, c, height, width), dtype)


def padded(x: np.ndarray, window: Window, value: float = 0.0) -> np.ndarray:
    """The images with what the window's padding adds, filled with ``value``, or takes away."""
    (above, below), (left, right) = window.padding
    if not (above or below or left or right):
        return x
    n, c, height, width = x.shape
    x = x[:, :, : height + min(below, 0), : width + min(right, 0)]
    canvas = images(n, c, above + height + below, left + width + right, x.dtype, rows=width)
    canvas.fill(value)
    canvas[:, :, above : above + height, left : left + width] = x
    return canvas


def windows(x: np.ndarray, window: Window) -> np.ndarray:
    """All windows of images (N, C, H, W) that are padded already, as a view of the same memory:

        windows(x, window)[n, c, a, b, i, j] = x[n, c, i · sh + a · dh, j · sw + b · dw]

    The view is (N, C, kh, kw, OH, OW): place (a, b) of the kernel, when the window stands at
    (i, j). It is read-only, since many of its elements are one number in memory. x has any strides;
    N or C may be 0. The window fits. OH and OW count its places in x itself: the padding of
    ``window`` is in x already, and ``window.places`` would add it once more.

    Nothing is copied, and there is no loop.

    >>> windows(np.arange(9.0).reshape(1, 1, 3, 3), Window((2, 2)))[0, 0, :, :, 1, 0]
    array([[3., 4.],
           [6., 7.]])
    """
    # TODO: a shape of six axes, and six strides.
    # HINT: by how many bytes does memory move on, when a grows by 1? When i does?
    ### BEGIN SOLUTION
    # HINT: window._replace(padding=((0, 0), (0, 0))).places(x.shape[2:]) are OH and OW.
    # HINT: the strides are (n, c, dh · h, dw · w, sh · h, sw · w), where x.strides is (n, c, h, w).
    images, channels, *size = x.shape
    n, c, h, w = x.strides
    (sh, sw), (dh, dw) = window.stride, window.dilation
    places = window._replace(padding=((0, 0), (0, 0))).places(tuple(size))
    shape = (images, channels, *window.kernel, *places)
    return as_strided(x, shape, (n, c, dh * h, dw * w, sh * h, sw * w), writeable=False)
    ### END SOLUTION


def fold(columns: np.ndarray, window: Window, size: tuple[int, int]) -> np.ndarray:
    """What undoes reading in windows: each element of ``columns`` is added where ``windows`` would
    have read it, in images of ``size`` (H, W), without their padding.

        x[n, c, i · sh + a · dh - above, j · sw + b · dw - left] += columns[n, c, a, b, i, j]

    columns (N, C, kh, kw, OH, OW) → (N, C, H, W) of the same dtype. What would fall into the
    padding, above, below, left or right, is lost. Elements that nothing falls on are 0.

    Limit: the number of steps depends on the kernel alone, not on the number or size of images.

    >>> fold(np.ones((1, 1, 2, 2, 2, 2)), Window((2, 2)), (3, 3))[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    # TODO: zeros with the padding around them; add; cut the padding off.
    # HINT: two windows may overlap. Do two places (i, j) meet, for one (a, b)?
    ### BEGIN SOLUTION
    # HINT: for one place (a, b) of the kernel columns[:, :, a, b] is a whole image. It falls on
    # rows a · dh, a · dh + sh, a · dh + 2 · sh, …: a slice with a step.
    # HINT: canvas[:, :, a·dh : a·dh + sh·(OH-1) + 1 : sh, …] += columns[:, :, a, b]. Of a padding
    # below that is negative nothing is needed: max(below, 0).
    n, c, kh, kw, rows, across = columns.shape
    (sh, sw), (dh, dw) = window.stride, window.dilation
    (above, below), (left, right) = window.padding
    height, width = above + size[0] + max(below, 0), left + size[1] + max(right, 0)
    canvas = np.zeros_like(columns[:, :, 0, 0], shape=(n, c, height, width))  # in its order
    for a in range(kh):
        down = slice(a * dh, a * dh + sh * (rows - 1) + 1, sh)
        for b in range(kw):
            along = slice(b * dw, b * dw + sw * (across - 1) + 1, sw)
            canvas[:, :, down, along] += columns[:, :, a, b]
    return canvas[:, :, above : above + size[0], left : left + size[1]]
    ### END SOLUTION


def stacked(a: np.ndarray, groups: int) -> np.ndarray:
    """(N, C, …, OH, OW) as a stack of matrices (S, groups, C / groups · …, L): one for each image,
    with a column for each place; or, where rows are SHORT, one for each place, with a column for
    each image. Of whole images, as ``images`` or np.empty makes them, and of a slice along N it is
    a view; of ``windows`` and of a part of each image a copy: what is written there is lost."""
    n, c, *kernel, rows, across = a.shape
    depth = c // groups * math.prod(kernel)
    if across <= SHORT:
        a = np.moveaxis(a, (-2, -1, 0), (0, 1, -1))
        return a.reshape(rows * across, groups, depth, n)
    return a.reshape(n, groups, depth, rows * across)


def unstacked(matrices: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The view of ``shape`` (N, C, …, OH, OW) that ``stacked`` has made these matrices of."""
    n, *inner, rows, across = shape
    if across <= SHORT:
        matrices = matrices.reshape(rows, across, *inner, n)
        return np.moveaxis(matrices, (0, 1, -1), (-2, -1, 0))
    return matrices.reshape(shape)


def lined_up(a: np.ndarray, groups: int) -> np.ndarray:
    """(N, C, …, OH, OW) as a matrix for each group (groups, C / groups · …, N · OH · OW): a column
    for each place of each image, in an order that depends on N, OH and OW alone."""
    n, c, *kernel, rows, across = a.shape
    depth = c // groups * math.prod(kernel)
    a = np.moveaxis(a, 0, -1 if across <= SHORT else -3)
    return a.reshape(groups, depth, n * rows * across)


def filters_of(w: np.ndarray, window: Window) -> np.ndarray:
    """Filters as matrices (groups, M / groups, C / groups · kh · kw)."""
    return w.reshape(window.groups, len(w) // window.groups, math.prod(w.shape[1:]))


def as_convolution(
    w: np.ndarray, window: Window, size: tuple[int, ...], places: tuple[int, ...]
) -> tuple[np.ndarray, Window] | None:
    """The filters and the window with which ``Convolve`` makes, of y with ``places`` (OH, OW), what
    ``ToImages`` makes: images of ``size`` (H, W). None where there are none, or it is no faster.

    At stride 1, element a of the kernel reads pixel p when the window stands at i = p + above -
    d · a. With b = k - 1 - a that is p + d · b - (d · (k - 1) - above): so p gets its sum from a
    window on y, of the same kernel, that stands at p, of a y padded by d · (k - 1) - above. The
    filters are turned by 180° for it, and channels and filters change places in each group.
    """
    groups, m = window.groups, len(w) // window.groups
    padding = [
        (d * (k - 1) - above, n - o + above)
        for k, d, (above, _), n, o in zip(
            window.kernel, window.dilation, window.padding, size, places, strict=True
        )
    ]
    if window.stride != (1, 1) or min(padding)[0] < 0 or m > w.shape[1]:
        return None
    w = w.reshape(groups, m, *w.shape[1:])[..., ::-1, ::-1].swapaxes(1, 2)
    w = w.reshape(groups * w.shape[1], m, *window.kernel)
    return w, window._replace(padding=(padding[0], padding[1]))


def blocks(x: Any, y: Any, window: Window, itemsize: int) -> Iterator[slice]:
    """Cut N images into slices, in order. x is the shape (N, C, H, W), y that of (N, M, OH, OW).

    One image, its columns, and its result: the largest of these takes, for all images of a slice,
    at most BLOCK bytes; or there is one image."""
    n, c, *size = x
    places = math.prod(y[2:])
    columns = c * math.prod(window.kernel) * places
    each = max(columns, c * math.prod(size), y[1] * places, 1) * itemsize
    step = max(1, BLOCK // each)
    return (slice(i, i + step) for i in range(0, n, step))


class Convolve(Function):
    """Images x (N, C, H, W), filters w (M, C / groups, kh, kw) → y (N, M, OH, OW):

        y[n, m, i, j] = Σ_{c, a, b} w[m, c, a, b] · padded x[n, c, i · sh + a · dh, j · sw + b · dw]

    Channels and filters are cut, in order, into ``window.groups`` groups of equal size; c runs over
    the channels of the group that m is in. For each image and group that is one product of
    matrices, ``filters_of`` w times its windows as columns; ``stacked`` makes a stack of them.

    All three Functions of today: sizes fit, and need no check. Arrays have any strides and one
    dtype, float32 or float64, which is that of the result. ``window`` and ``size`` are options,
    given by name (``apply(x, w, window=window)``): a backward gives two shares.

    Limits of all three: no Python loop over elements, channels, filters or groups; ``blocks`` says
    how many images are looked at in one step. A forward needs at its peak, beside arguments and
    result, at most 4 · BLOCK bytes, or 4 times the largest of one image, its columns and its
    result, if that is more. The graph keeps an argument only if the other one needs a gradient, and
    no columns.
    """

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, w: np.ndarray, window: Window) -> np.ndarray:
        # TODO: what the backward needs; for each block its columns, and a product.
        # HINT: np.matmul multiplies stacks of matrices, and writes into ``out=`` if it is told to.
        ### BEGIN SOLUTION
        # HINT: columns = stacked(windows(padded(x[some], window), window), groups) has four axes,
        # filters_of(w, window) three: they broadcast.
        # HINT: for some in blocks(…): out[some] = unstacked(filters @ columns, out[some].shape).
        # np.matmul(filters, columns, out=stacked(out[some], groups)) writes there at once.
        # images(…) makes an out in the order that the next layer reads fastest.
        of_x, of_w = ctx.needs_input_grad
        ctx.window, ctx.size = window, x.shape[2:]
        ctx.save_for_backward(x if of_w else None, w if of_x else None)
        out = images(len(x), len(w), *window.places(x.shape[2:]), x.dtype)
        filters, groups = filters_of(w, window), window.groups
        for some in blocks(x.shape, out.shape, window, x.itemsize):
            columns = stacked(windows(padded(x[some], window), window), groups)
            np.matmul(filters, columns, out=stacked(out[some], groups))
        return out
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Both shares, by ``apply`` of the two others: they are differentiable themselves."""
        # TODO: the share of x if it needs one, and that of w.
        # HINT: look at the drawing at the top: who makes an x, of what?
        ### BEGIN SOLUTION
        # HINT: x has the size (H, W) of the argument: keep it in the forward, as ctx.size.
        # HINT: ToImages.apply(grad, w, window=…, size=…) and ToFilters.apply(x, grad, window=…)
        x, w = ctx.saved_tensors
        of_x, of_w = ctx.needs_input_grad
        return (
            ToImages.apply(grad, w, window=ctx.window, size=ctx.size) if of_x else None,
            ToFilters.apply(x, grad, window=ctx.window) if of_w else None,
        )
        ### END SOLUTION


class ToImages(Function, op="to_images"):
    """y (N, M, OH, OW), filters w (M, C / groups, kh, kw) → images (N, C, H, W) of ``size`` (H, W).

    Each y[n, m, i, j] is handed back to all that it was made of in ``Convolve``, with the weight
    that it was made with: the filters' matrix transposed, times y, is columns, and ``fold`` adds
    them up. Where ``as_convolution`` knows a faster way to the same images, that may be taken; if
    it is by ``Convolve.forward(ctx, …)``, that saves too, and what is saved here comes after it.
    """

    @staticmethod
    def forward(
        ctx: Any, y: np.ndarray, w: np.ndarray, window: Window, size: tuple[int, int]
    ) -> np.ndarray:
        # TODO: what the backward needs; for each block a product, and fold.
        # HINT: which axis of the filters' matrices is summed over this time?
        ### BEGIN SOLUTION
        # HINT: columns = filters_of(w, window).transpose(0, 2, 1) @ stacked(y[some], groups)
        # HINT: unstacked(columns, shape) reads the product as (N, C, kh, kw, OH, OW), for fold.
        # HINT: if as_convolution(…) gives filters and a window, Convolve.forward(ctx, y, *them) is
        # the result.
        channels, groups = window.groups * w.shape[1], window.groups
        convolution = as_convolution(w, window, size, y.shape[2:])
        if convolution:
            out = Convolve.forward(ctx, y, *convolution)
        else:
            out = images(len(y), channels, *size, y.dtype)
            filters = filters_of(w, window).transpose(0, 2, 1)
            for some in blocks(out.shape, y.shape, window, y.itemsize):
                columns = filters @ stacked(y[some], groups)
                shape = len(y[some]), channels, *window.kernel, *y.shape[2:]
                out[some] = fold(unstacked(columns, shape), window, size)
        of_y, of_w = ctx.needs_input_grad
        ctx.window = window
        ctx.save_for_backward(y if of_w else None, w if of_y else None)
        return out
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # TODO: the share of y, and that of w.
        # HINT: grad is in the place of images here.
        ### BEGIN SOLUTION
        # HINT: y is what Convolve makes.
        # HINT: ToFilters takes images first: ToFilters.apply(grad, y, window=…)
        y, w = ctx.saved_tensors
        of_y, of_w = ctx.needs_input_grad
        return (
            Convolve.apply(grad, w, window=ctx.window) if of_y else None,
            ToFilters.apply(grad, y, window=ctx.window) if of_w else None,
        )
        ### END SOLUTION


class ToFilters(Function, op="to_filters"):
    """Images x (N, C, H, W), y (N, M, OH, OW) → filters (M, C / groups, kh, kw).

    Each w[m, c, a, b] is the sum of all products that it was part of, over images and places. A
    product for each image would be as large as all filters together, often larger than its columns:
    the images of a block stand side by side in one matrix instead, with N · OH · OW columns.
    """

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, y: np.ndarray, window: Window) -> np.ndarray:
        # TODO: what the backward needs; for each block a product, added to the sum of all blocks.
        # HINT: which axis has to come next to the places, before a reshape makes them one?
        ### BEGIN SOLUTION
        # HINT: lined_up does so, for the windows (C / groups · kh · kw rows in each group) as for y
        # (M / groups rows).
        # HINT: total += maps @ columns.transpose(0, 2, 1), from zeros of the shape of one product.
        # BLAS is faster the other way round, columns @ maps.transpose(0, 2, 1), transposed at last.
        of_x, of_y = ctx.needs_input_grad
        ctx.window, ctx.size = window, x.shape[2:]
        ctx.save_for_backward(x if of_y else None, y if of_x else None)
        groups, shape = window.groups, (y.shape[1], x.shape[1] // window.groups, *window.kernel)
        total = np.zeros((groups, math.prod(shape[1:]), y.shape[1] // groups), x.dtype)
        for some in blocks(x.shape, y.shape, window, x.itemsize):
            columns = lined_up(windows(padded(x[some], window), window), groups)
            total += columns @ lined_up(y[some], groups).transpose(0, 2, 1)
        return total.transpose(0, 2, 1).reshape(shape)
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # TODO: the share of x, and that of y.
        # HINT: grad is in the place of filters here.
        ### BEGIN SOLUTION
        # HINT: as in Convolve, ctx.size is the size of x.
        # HINT: ToImages.apply(y, grad, …) and Convolve.apply(x, grad, …)
        x, y = ctx.saved_tensors
        of_x, of_y = ctx.needs_input_grad
        return (
            ToImages.apply(y, grad, window=ctx.window, size=ctx.size) if of_x else None,
            Convolve.apply(x, grad, window=ctx.window) if of_y else None,
        )
        ### END SOLUTION


def of_images(f: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Given: what all functions of images have in common. f sees Tensors of float32 or float64, and
    images of four axes.

    - TypeError, naming f, if an argument in the place of a Tensor is not one, is not of floats, or
      is of another dtype than the first. Only a bias may be None.
    - Images (C, H, W) are seen as (1, C, H, W), and the result loses that axis again. ValueError,
      naming f and the shape, for any other number of axes.
    - float16 is computed in float32 and rounded once.
    """
    what = f.__name__

    @functools.wraps(f)
    def call(x: Tensor, *args: Any, **options: Any) -> Tensor:
        given = dict(zip(("weight", "bias"), args, strict=False)) | options
        tensors = [x]
        if "conv" in what:
            bias = given.get("bias")
            tensors += [given.get("weight"), *([] if bias is None else [bias])]
        for t in tensors:
            if not isinstance(t, day22.Tensor):
                raise TypeError(f"{what}: a {type(t).__name__} in the place of a Tensor")
            if t.dtype != x.dtype:
                raise TypeError(f"{what}: tensors of {x.dtype} and of {t.dtype}")
        needs_floats(what, x)
        if x.ndim not in (3, 4):
            raise ValueError(f"{what}: images are (N, C, H, W) or (C, H, W), not {x.shape}")
        dtype, one = x.dtype, x.ndim == 3
        if dtype == np.float16:
            args = tuple(ops.widened(a) if isinstance(a, day22.Tensor) else a for a in args)
            options = {
                k: ops.widened(a) if isinstance(a, day22.Tensor) else a for k, a in options.items()
            }
            x = ops.widened(x)
        y = f(ops.unsqueeze(x, 0) if one else x, *args, **options)
        return to(ops.squeeze(y, 0) if one else y, dtype)

    return call


def with_bias(what: str, y: Tensor, bias: Tensor | None) -> Tensor:
    """y (N, M, OH, OW) and a bias (M,) for all places of a channel; or None."""
    if bias is None:
        return y
    if bias.shape != y.shape[1:2]:
        raise ValueError(f"{what}: a bias of {bias.shape} for {y.shape[1]} channels")
    return ops.add(y, ops.reshape(bias, (1, -1, 1, 1)))


@of_images
def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """The convolution of images (N, C, H, W), or one image (C, H, W), with M filters (M, C /
    groups, kh, kw), by ``Convolve``, plus ``bias`` (M,) at every place of a filter's result.

    → (N, M, OH, OW), or (M, OH, OW): along an axis of n numbers, with p of padding in all, there
    are ⌊(n + p - dilation · (k - 1) - 1) / stride⌋ + 1 places.

    The filter is not turned round: mathematicians call this a cross-correlation. stride, padding
    and dilation are numbers or pairs, padding also a word: see ``window_of``.

    ValueError, naming ``conv2d`` and the numbers or shapes, if the weight has not four axes, C is
    not groups · weight.shape[1], groups does not divide M, the bias is not (M,), or the window does
    not fit (``check_fit``). What ``of_images`` and ``window_of`` refuse is refused.

    >>> x = Tensor(np.arange(9.0).reshape(1, 3, 3))
    >>> conv2d(x, Tensor(np.ones((1, 1, 2, 2)))).tolist()
    [[[8.0, 12.0], [20.0, 24.0]]]
    """
    # TODO: check; a window; one Function; the bias.
    # HINT: all the work is done already. What can be wrong?
    ### BEGIN SOLUTION
    # HINT: window_of("conv2d", weight.shape[2:], …) once the weight is known to have four axes.
    # HINT: with_bias("conv2d", Convolve.apply(x, weight, window=window), bias)
    if weight.ndim != 4:
        raise ValueError(f"conv2d: a weight (M, C / groups, kh, kw), not {weight.shape}")
    window = window_of("conv2d", weight.shape[2:], stride, padding, dilation, groups)
    if x.shape[1] != groups * weight.shape[1] or len(weight) % groups:
        raise ValueError(
            f"conv2d: images of {x.shape} and filters of {weight.shape} in {groups} group(s)"
        )
    check_fit("conv2d", window, x.shape[2:])
    return with_bias("conv2d", Convolve.apply(x, weight, window=window), bias)
    ### END SOLUTION


@of_images
def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Tensor:
    """What ``conv2d`` does to a gradient, as an operation of its own: it makes images larger.

    x (N, M, H, W) or (M, H, W), weight (M, C / groups, kh, kw), bias (C,) or None
    → (N, C, OH, OW) or (C, OH, OW), by ``ToImages``. Along each axis

        OH = (H - 1) · stride - 2 · padding + dilation · (kh - 1) + output_padding + 1

    - A convolution with these numbers makes H of OH. With a stride it makes the same H of several
      OH: output_padding, which is smaller than stride or dilation, says which. It adds rows below
      and columns on the right; in ``Window.padding`` that is as much *less* there.
    - ValueError, naming ``conv_transpose2d`` and the numbers or shapes, if the weight has not four
      axes, x has not M channels, groups does not divide M, output_padding is negative or not
      smaller than the larger of stride and dilation, the result would have a size below 1, the
      bias is not (C,), or padding is a word ("same" and "valid" are for ``conv2d``). What
      ``of_images`` and ``window_of`` refuse is refused.

    Dumoulin and Visin 2016, chapter 4.

    >>> conv_transpose2d(Tensor([[[1.0, 2.0]]]), Tensor([[[[1.0, 1.0]]]]), stride=2).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """
    # TODO: check; the size; a window whose padding accounts for output_padding; ToImages; bias.
    # HINT: for which padding has the window exactly (H, W) places in an image of (OH, OW)?
    ### BEGIN SOLUTION
    # HINT: x is in the place of y: the filters read C / groups channels of each group.
    # HINT: ((p, p - extra), …) instead of ((p, p), …): window._replace(padding=…).
    what = "conv_transpose2d"
    if isinstance(padding, str):
        raise ValueError(f"{what}: a padding of {padding!r}: it takes numbers")
    if weight.ndim != 4:
        raise ValueError(f"{what}: a weight (M, C / groups, kh, kw), not {weight.shape}")
    window = window_of(what, weight.shape[2:], stride, padding, dilation, groups)
    extra = pair(output_padding)
    if len(weight) != x.shape[1] or len(weight) % groups:
        raise ValueError(f"{what}: x {x.shape} and filters {weight.shape} in {groups} group(s)")
    larger = np.maximum(window.stride, window.dilation)
    if min(extra) < 0 or (extra >= larger).any():
        raise ValueError(
            f"{what}: an output_padding of {extra} with stride {window.stride} and dilation "
            f"{window.dilation}"
        )
    size = tuple(
        (n - 1) * s - sum(around) + d * (k - 1) + e + 1
        for n, k, s, around, d, e in zip(x.shape[2:], *window[:4], extra, strict=True)
    )
    if min(size) < 1:
        raise ValueError(f"{what}: a result of size {size}, of images {x.shape}")
    (top, left), (below, right) = zip(*window.padding, strict=True)
    less = ((top, below - extra[0]), (left, right - extra[1]))
    y = ToImages.apply(x, weight, window=window._replace(padding=less), size=size)
    return with_bias(what, y, bias)
    ### END SOLUTION


class Take(Function):
    """Given: for each place of ``index`` (N, C, OH, OW) the element of that channel's image with
    this number; pixels are numbered row by row."""

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, index: np.ndarray) -> np.ndarray:
        ctx.size = x.shape[2:]
        ctx.save_for_backward(index)
        n, c, rows, across = index.shape
        flat = x.reshape(n, c, math.prod(ctx.size))
        found = np.take_along_axis(flat, index.reshape(n, c, rows * across), 2)
        return found.reshape(index.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return Put.apply(grad, ctx.saved_tensors[0], size=ctx.size), None


class Put(Function):
    """Given: images of ``size`` (H, W), in which each element of y is added where Take reads it."""

    @staticmethod
    def forward(ctx: Any, y: np.ndarray, index: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        ctx.save_for_backward(index)
        n, c = y.shape[:2]
        pixels = math.prod(size)
        first = pixels * np.arange(n * c).reshape(n, c, 1, 1)
        out = np.zeros(n * c * pixels, y.dtype)
        np.add.at(out, (index + first).reshape(-1), y.reshape(-1))
        ordered = images(n, c, *size, y.dtype)
        ordered[...] = out.reshape(n, c, *size)
        return ordered

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return Take.apply(grad, ctx.saved_tensors[0]), None


class Largest(Function):
    """The largest element of every window: x (N, C, H, W) → (N, C, OH, OW), of the dtype of x.

    - What the window's padding adds is never the largest, not even beside -inf.
    - A window with a nan gives nan.
    - The gradient of a result goes to one element: the first of the largest ones, row by row; where
      there is a nan, to a nan. The padding gets none, in a window of -inf either.

    Limits: no Python loop over images, channels or pixels; over the kernel's places there may be
    one. The graph keeps one number of 8 bytes for each result, and nothing else.
    """

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, window: Window) -> np.ndarray:
        # TODO: for every window the largest element, and the number of its pixel, as Take reads it.
        # HINT: for one place (a, b) of the kernel windows(…)[:, :, a, b] is a whole image. How does
        # a maximum go through a list, and what does it remember?
        ### BEGIN SOLUTION
        # HINT: pad with -inf; begin with a best of -inf and a rank, the number a · kw + b of the
        # place that the best is from, of 0. A piece is taken where it is above the best: of equal
        # ones the first stays. ~(piece <= best) says where.
        # HINT: that is True beside a nan as well, as it should be for the first one. Once the best
        # is a nan nothing is above it, and only where best == best may anything be taken.
        # HINT: the padding comes before the image: np.maximum(rank, the first place that is in the
        # image at all). -(-a // b) rounds up.
        # HINT: at (i, j) place (a, b) is on pixel (i·sh + a·dh - above)·W + j·sw + b·dw - left:
        # a table of kh · kw offsets, taken at rank, plus what depends on i and j.
        (sh, sw), (dh, dw), (kh, kw) = window.stride, window.dilation, window.kernel
        (above, _), (left, _) = window.padding
        width = x.shape[3]
        ctx.size = x.shape[2:]
        view = windows(padded(x, window, -np.inf), window)
        best = np.full_like(view[:, :, 0, 0], -np.inf)  # in its order
        rank = np.zeros_like(best, np.min_scalar_type(kh * kw))
        for k in range(kh * kw):
            piece = view[:, :, k // kw, k % kw].copy("K")  # it is read twice
            more = ~(piece <= best)
            more &= best == best
            np.maximum(rank, np.multiply(more, k, dtype=rank.dtype), out=rank)  # k only grows
            np.maximum(best, piece, out=best)
        top, side = (np.arange(n) * s for n, s in zip(best.shape[2:], window.stride, strict=True))
        rows = np.clip(-((top - above) // dh), 0, kh - 1)[:, None]
        across = np.clip(-((side - left) // dw), 0, kw - 1)
        rank = np.maximum(rank, (rows * kw + across).astype(rank.dtype))
        offsets = (np.arange(kh) * dh * width)[:, None] + np.arange(kw) * dw
        number = offsets.reshape(-1)[rank]
        number += (top - above)[:, None] * width + side - left
        ctx.save_for_backward(number)
        return best
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # TODO: one line: it is differentiable again.
        # HINT: a gradient is put where its element was taken.
        ### BEGIN SOLUTION
        # HINT: Put is given: it takes the numbers as its second argument.
        # HINT: Put.apply(grad, numbers, size=(H, W))
        return Put.apply(grad, ctx.saved_tensors[0], size=ctx.size)
        ### END SOLUTION


def pooling(
    what: str, x: Tensor, kernel: Pair, stride: Pair | None, padding: Pair, dilation: Pair = 1
) -> Window:
    """The window of a pool, checked: at most half of it may lie in the padding, and wherever it
    stands it meets a pixel of the image, which a dilated one need not."""
    if isinstance(padding, str):
        raise ValueError(f"{what}: a padding of {padding!r}: pools take numbers")
    window = window_of(what, kernel, kernel if stride is None else stride, padding, dilation)
    for k, d, (n, _) in zip(window.kernel, window.dilation, window.padding, strict=True):
        if 2 * n > d * (k - 1) + 1:
            raise ValueError(f"{what}: a padding of {n} is more than half of a kernel of {k}")
    check_fit(what, window, x.shape[2:])
    for k, s, d, (before, _), n, count in zip(
        *(window.kernel, window.stride, window.dilation, window.padding),
        *(x.shape[2:], window.places(x.shape[2:])),
        strict=True,
    ):
        pixels = np.arange(count)[:, None] * s + np.arange(k) * d - before
        if not ((pixels >= 0) & (pixels < n)).any(1).all():
            raise ValueError(f"{what}: a kernel of {k} at dilation {d} meets no pixel of {n}")
    return window


@of_images
def max_pool2d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> Tensor:
    """``Largest`` of images (N, C, H, W) or (C, H, W): a window of ``kernel_size`` that moves by
    ``stride``, or by its own size if that is None. There are as many places as in ``conv2d``.

    Windows are cut off at no side: rows and columns that fill no window any more are left out.
    ``pooling`` makes the window, and refuses, naming ``max_pool2d``: padding of more than half of
    the kernel (dilated), a window that does not fit, or, dilated, meets no pixel where it stands,
    and what ``window_of`` refuses, with "same".

    >>> max_pool2d(Tensor([[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 8.0, 6.0]]]), 2).tolist()
    [[[5.0, 8.0]]]
    """
    # TODO: a window, and a Function.
    # HINT: who knows what a stride of None means?
    ### BEGIN SOLUTION
    # HINT: pooling("max_pool2d", x, …)
    # HINT: Largest.apply(x, window=…)
    window = pooling("max_pool2d", x, kernel_size, stride, padding, dilation)
    return Largest.apply(x, window=window)
    ### END SOLUTION


@of_images
def avg_pool2d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    *,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of every window of every channel; the window is that of ``max_pool2d``.

    What is padded counts as zeros: a window's sum is divided by kh · kw. With ``count_include_pad``
    False it is divided by the number of its elements that lie in the image.

    Each channel of each image is an image of one channel, and a sum is a convolution with ones, so
    ``Convolve`` makes values and all derivatives. ``pooling`` refuses, naming ``avg_pool2d``.

    >>> x = Tensor([[[1.0, 2.0], [3.0, 6.0]]])
    >>> avg_pool2d(x, 2).tolist()
    [[[3.0]]]
    >>> avg_pool2d(x, 2, padding=1, count_include_pad=False).tolist()
    [[[1.0, 2.0], [3.0, 6.0]]]
    """
    # TODO: sums; how many elements each has; a quotient.
    # HINT: how many are in the image is again a sum of windows: of which image?
    ### BEGIN SOLUTION
    # HINT: ops.reshape(x, (N · C, 1, H, W)), and a filter (1, 1, kh, kw) of ones, of the dtype of
    # x: x._made(array) is a Tensor on an array.
    # HINT: windows(padded(np.ones((1, 1, H, W)), window), window).sum((2, 3)) are the counts.
    n, c, *size = x.shape
    window = pooling("avg_pool2d", x, kernel_size, stride, padding)
    ones = x._made(np.ones((1, 1, *window.kernel), x.dtype))
    sums = Convolve.apply(ops.reshape(x, (n * c, 1, *size)), ones, window=window)
    sums = ops.reshape(sums, (n, c, *window.places(tuple(size))))
    if count_include_pad:
        return sums / float(math.prod(window.kernel))
    inside = padded(np.ones((1, 1, *size), x.dtype), window)
    return sums / x._made(windows(inside, window).sum((2, 3)))
    ### END SOLUTION


@of_images
def adaptive_avg_pool2d(x: Tensor, output_size: int | tuple[int | None, int | None]) -> Tensor:
    """The mean of OH · OW regions of every channel, for images of any size:

        region i of n:   from ⌊i · H / n⌋ up to, and without, ⌈(i + 1) · H / n⌉

    (N, C, H, W) → (N, C, OH, OW), or both without N. output_size is a number for both axes, or a
    pair; a None in it keeps that size. Neighbouring regions overlap where n does not divide H, and
    n may be larger than H. What does not lie in a region has no say in its mean, nan and inf
    neither.

    ValueError, naming ``adaptive_avg_pool2d`` and the number or shape, for a negative size, or a
    height or width of 0.

    Limit: a forward needs at its peak at most 32 times the bytes of x and of the result together,
    so not n · H elements for n regions of H numbers.

    >>> adaptive_avg_pool2d(Tensor([[[1.0, 2.0, 4.0]]]), (1, 2)).tolist()
    [[[1.5, 3.0]]]
    """
    # TODO: the regions of one axis, their means; the same along the other one.
    # HINT: a mean over a rectangle is a mean of means.
    ### BEGIN SOLUTION
    # HINT: places = start[:, None] + np.arange(longest) is (n, longest), and inside = places <
    # end[:, None] says which count. x[..., np.minimum(places, H - 1)] is (…, n, longest).
    # HINT: ops.where(inside, picked, 0) and a sum over the last axis, divided by end - start.
    # HINT: ops.transpose(x, -1, -2) before and after, for the other axis. -(-a // b) rounds up.
    # Where n divides H a reshape to (…, n, H / n) and a mean do all of this.
    sizes = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    for axis, n in zip((-1, -2), sizes[::-1], strict=True):
        have = x.shape[axis]
        n = have if n is None else n
        if n < 0 or have < 1:
            raise ValueError(f"adaptive_avg_pool2d: {x.shape} to a size of {sizes}")
        x = ops.transpose(x, axis, -1)
        if n and have % n == 0:  # no two regions have an element in common
            means = ops.mean(ops.reshape(x, (*x.shape[:-1], n, have // n)), -1)
        else:
            start = np.arange(n) * have // n if n else np.zeros(0, int)
            end = -(-(np.arange(n) + 1) * have // n) if n else start
            places = start[:, None] + np.arange((end - start).max(initial=0))
            inside = x._made(places < end[:, None])
            picked = ops.getitem(x, (..., np.minimum(places, have - 1)))
            total = ops.sum(ops.where(inside, picked, 0), -1)
            means = total / x._made((end - start).astype(x.dtype))
        x = ops.transpose(means, axis, -1)
    return x
    ### END SOLUTION


def test_window() -> None:
    assert window_of("conv2d", 3, padding="same").padding == ((1, 1), (1, 1))
    view = windows(np.arange(16.0).reshape(1, 1, 4, 4), Window((2, 2), (2, 2)))
    assert view[0, 0, :, :, 1, 1].tolist() == [[10.0, 11.0], [14.0, 15.0]]
    assert fold(np.ones((1, 1, 1, 2, 1, 2)), Window((1, 2)), (1, 3)).tolist() == [[[[1, 2, 1]]]]


def test_convolution() -> None:
    x = Tensor(np.arange(9.0).reshape(1, 1, 3, 3), requires_grad=True)
    w = Tensor([[[[1.0, 0.0], [0.0, 10.0]]]], requires_grad=True, dtype="float64")
    y = conv2d(x, w)
    assert y.tolist() == [[[[40.0, 51.0], [73.0, 84.0]]]]
    y.backward([[[[1.0, 0.0], [0.0, 0.0]]]])
    assert x.grad is not None and w.grad is not None
    assert x.grad.tolist() == [[[[1.0, 0.0, 0.0], [0.0, 10.0, 0.0], [0.0, 0.0, 0.0]]]]
    assert w.grad.tolist() == [[[[0.0, 1.0], [3.0, 4.0]]]]


def test_transposed() -> None:
    y = conv_transpose2d(Tensor([[[1.0, 10.0]]]), Tensor([[[[1.0, 2.0, 3.0]]]]), stride=2)
    assert y.tolist() == [[[1.0, 2.0, 13.0, 20.0, 30.0]]]


def test_pools() -> None:
    x = Tensor([[[4.0, 1.0, 4.0], [0.0, 2.0, 3.0]]], requires_grad=True)
    y = max_pool2d(x, 2, stride=1)
    assert y.tolist() == [[[4.0, 4.0]]]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]
    assert avg_pool2d(x, (1, 2)).tolist() == [[[2.5], [1.0]]]
    assert adaptive_avg_pool2d(x, (1, 2)).tolist() == [[[1.75, 2.5]]]


if __name__ == "__main__":
    from harness import main

    main(__file__)
