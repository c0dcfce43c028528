"""
Day 4: Autograd in depth
========================
Estimated time: 2-3 hours
Prerequisites: Day 3 (autograd: the graph, leaves, backward)
Lesson: lessons/day04.md

Learning objectives:
- Write operations with a backward of your own, and check them with gradcheck and gradgradcheck
- Choose what to save for the backward: the output, a mask, or as little as nothing
- Look into a running backward pass with hooks
- Trade memory for time with checkpointing, and find graphs that are kept alive by mistake

What is saved in the forward pass stays in memory until the backward pass has used it. That is
where the memory of training goes:

    operation         its backward needs     saved for n float32 elements
    y = exp(x)        g · y                  y, which is alive anyway
    y = sign(x)       g · [|x| <= 1]         n bytes: a bool for each element
    y = f(x), large   all that is inside f   checkpointed: x alone

    forward  x ──▶ f ──▶ f ──▶ f ──▶ loss    saved_tensors_hooks sees what is
                    │     │     │            saved: pack(tensor) going forwards,
    saved           ▣     ▣     ▣            unpack(its result) on the way back

Hints:
- ctx.save_for_backward is for tensors that are inputs or outputs, or made in setup_context.
- A backward returns one value for each argument of forward; None for what has no gradient.
- Closures made in a loop all see the loop's last value.

Resources:
- Extending autograd: https://docs.pytorch.org/docs/stable/notes/extending.html
- Saved tensors and their hooks: https://docs.pytorch.org/docs/stable/notes/autograd.html
- Straight-through estimator, Bengio et al. 2013: https://arxiv.org/abs/1308.3432
- Binarised networks, Hubara et al. 2016, equation 4: https://arxiv.org/abs/1602.02830
- Checkpointing, Chen et al. 2016: https://arxiv.org/abs/1604.06174
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks


class Exp(torch.autograd.Function):
    """``Exp.apply(x)``: e to the power of every element, with a backward of its own.

    dy/dx = exp(x) = y: the backward multiplies the incoming gradient by the *output*. Nothing
    but the output is saved: it is alive anyway, so saving it costs no memory.

    ``x`` has any shape, strides and floating dtype. The backward can be differentiated again.

    >>> x = torch.tensor(0.0, requires_grad=True)
    >>> Exp.apply(x)
    tensor(1., grad_fn=<ExpBackward>)
    """

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        """e to the power of ``x``. Autograd does not record what happens in here."""
        # TODO: the value.
        ### BEGIN SOLUTION
        return x.exp()
        ### END SOLUTION

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        """Called after ``forward`` with its arguments and its result: save what backward needs."""
        # TODO: one call.
        # HINT: ctx.result = output would keep the output alive for ever: it holds ctx in turn.
        ### BEGIN SOLUTION
        # HINT: ctx.save_for_backward takes the tensors, one after the other.
        ctx.save_for_backward(output)
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        """The gradient of the loss with respect to ``x``; ``grad`` is that of the output."""
        # TODO: the chain rule, with ordinary differentiable operations.
        ### BEGIN SOLUTION
        # HINT: ctx.saved_tensors is a tuple, also of one.
        (y,) = ctx.saved_tensors
        return grad * y
        ### END SOLUTION


class SignSTE(torch.autograd.Function):
    """``SignSTE.apply(x)``: 1 where x >= 0, else -1, with a straight-through gradient.

    The true derivative is zero nearly everywhere, and nothing would ever be learnt. The
    straight-through estimator pretends that the operation was the identity, as long as x is not
    far out (Hubara et al. 2016, equation 4): the gradient passes unchanged where |x| <= 1 and is
    zero elsewhere, whatever comes in there, inf and nan included.

    ``x`` has any shape and floating dtype, which is that of the result. What is saved takes one
    byte an element.

    >>> x = torch.tensor([-3.0, -0.5, 0.0], requires_grad=True)
    >>> SignSTE.apply(x).sum().backward(), x.grad
    (None, tensor([0., 1., 1.]))
    """

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        """1 or -1 for each element, in the dtype of ``x``."""
        # TODO: torch.sign has a third value; here 0 counts as positive.
        ### BEGIN SOLUTION
        # HINT: (x >= 0) is 0 or 1; twice that minus one is -1 or 1.
        return (x >= 0).to(x.dtype) * 2 - 1
        ### END SOLUTION

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        """Save what backward needs, one byte an element."""
        # TODO: backward asks one question of each element, yes or no.
        # HINT: a bool tensor takes one byte an element; x itself takes two to eight.
        ### BEGIN SOLUTION
        (x,) = inputs
        ctx.save_for_backward(x.abs() > 1)
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        """``grad`` where |x| <= 1, else zero."""
        # TODO: let the gradient through, or not.
        ### BEGIN SOLUTION
        # HINT: inf · 0 is nan; masked_fill does no arithmetic on what it replaces.
        # HINT: ctx.saved_tensors is a tuple, also of one; grad.masked_fill(outside, 0).
        (outside,) = ctx.saved_tensors
        return grad.masked_fill(outside, 0)
        ### END SOLUTION


class Clamp(torch.autograd.Function):
    """``Clamp.apply(x, low, high)``: every element of ``x`` brought into [low, high].

    ``low`` and ``high`` are Python floats, low <= high, and have no gradient. That of ``x`` is the
    incoming one where low <= x <= high, the bounds included as in torch.clamp, and zero outside
    whatever comes in there. What is saved takes one byte an element of ``x``.

    >>> x = torch.tensor([-3.0, 0.5, 2.0], requires_grad=True)
    >>> Clamp.apply(x, -1.0, 2.0).sum().backward(), x.grad
    (None, tensor([0., 1., 1.]))
    """

    @staticmethod
    def forward(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
        """``x`` with what lies outside moved to the nearer bound."""
        # TODO: the value.
        ### BEGIN SOLUTION
        return x.clamp(low, high)
        ### END SOLUTION

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[torch.Tensor, float, float], output: torch.Tensor
    ) -> None:
        """Save what backward needs, one byte an element."""
        # TODO: which elements let no gradient through?
        # HINT: can you tell from the output which inputs lay exactly on a bound?
        ### BEGIN SOLUTION
        # HINT: one bool tensor is enough: (x < low) | (x > high) marks what lies outside.
        x, low, high = inputs
        ctx.save_for_backward((x < low) | (x > high))
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """One gradient for each argument of ``forward``."""
        # TODO: three values.
        ### BEGIN SOLUTION
        # HINT: the gradient of x is grad, filled with 0 where the mask says so; masked_fill does no
        # arithmetic on what it replaces. low and high get None each.
        (outside,) = ctx.saved_tensors
        return grad.masked_fill(outside, 0), None, None
        ### END SOLUTION


def grad_norm_hook(module: nn.Module) -> tuple[dict[str, torch.Tensor], Callable[[], None]]:
    """Watch the gradients of a module: return (norms, remove).

    From now on every backward pass puts, for each parameter that it reaches, the Euclidean length
    of the gradient into the dict ``norms``, under the name that ``module.named_parameters()``
    gives: a 0-d tensor, float32 (float64 for a float64 gradient) also where gradients are half
    precision. It is the gradient of that backward pass alone, not what has gathered in .grad.
    ``remove()`` ends it; ``norms`` keeps what it holds.

    - Parameters that do not require a gradient now are left out.
    - The gradients themselves are not changed, and no norm carries a graph, even if the backward
      pass is recorded (create_graph=True).
    - Nothing waits for the GPU: no .item(), no .cpu().

    >>> model = nn.Linear(1, 1, bias=False)
    >>> norms, remove = grad_norm_hook(model)
    >>> (2 * model.weight).sum().backward()
    >>> norms
    {'weight': tensor(2.)}
    """
    norms: dict[str, torch.Tensor] = {}

    # TODO: register a hook on every parameter, and keep what is needed to remove them.
    # HINT: Tensor.register_hook(h) calls h(grad) in each backward; if h returns a tensor, that
    # replaces the gradient.
    ### BEGIN SOLUTION
    # HINT: def hook(grad): norms[name] = ... in a loop: at the time of the call, what is name?
    # HINT: a function that takes the name and returns the hook gives each hook its own.
    # HINT: torch.linalg.vector_norm(grad, dtype=...) rounds only the result.
    def watching(name: str) -> Callable[[torch.Tensor], None]:
        def hook(grad: torch.Tensor) -> None:
            wide = torch.promote_types(grad.dtype, torch.float32)
            norms[name] = torch.linalg.vector_norm(grad.detach(), dtype=wide)

        return hook

    handles = [
        parameter.register_hook(watching(name))
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    ]

    def remove() -> None:
        for handle in handles:
            handle.remove()

    ### END SOLUTION
    return norms, remove


def _random_states(device: torch.device) -> list[torch.Tensor]:
    """Where the generators of random numbers stand now."""
    on_gpu = device.type == "cuda"
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if on_gpu else [])]


@contextmanager
def _replayed(states: list[torch.Tensor], device: torch.device) -> Iterator[None]:
    """In the block the random numbers come again that came after ``states``; then all goes on."""
    with torch.random.fork_rng(devices=[device] if len(states) > 1 else []):
        torch.set_rng_state(states[0])
        if len(states) > 1:
            torch.cuda.set_rng_state(states[1], device)
        yield


def checkpointed(f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """``f(x)``, which keeps nothing for the backward but ``x``, and runs ``f`` again when needed.

    Values and all gradients are those of ``f(x)``: of ``x``, and of the parameters that ``f``
    uses, with backward() and with autograd.grad, also when ``x`` itself requires no gradient.
    Differentiating twice works too.

    - Between the two passes only ``x`` and the result are alive, none of what ``f`` makes inside.
    - ``f`` runs once forwards, and once more in a backward pass, not before. What the second run
      makes is freed as it is used, also in a backward pass with retain_graph=True; another
      backward runs ``f`` again.
    - The second run draws the same random numbers as the first (else dropout would drop others),
      and does not disturb those of the program: ``_random_states`` and ``_replayed`` are there
      for that.

    Idea: Chen et al. 2016. torch.utils.checkpoint is the exercise, not the answer.
    """
    # TODO: run f with hooks that forget every saved tensor and number it; make them again later.
    # HINT: with saved_tensors_hooks(pack, unpack): what f saves goes through pack; what pack
    # returns is kept in its place, and is given to unpack when the backward needs it.
    ### BEGIN SOLUTION
    # HINT: the same f on the same x saves the same tensors in the same order: pack can return
    # 0, 1, 2, ..., and unpack runs f again if it does not have the tensor of that number.
    # HINT: the second run has hooks of its own, which put tensor number i into a dict.
    # HINT: the backward may run with grad mode off; f needs it on to save anything. The second
    # run gets x.detach().requires_grad_(x.requires_grad), and stores detached tensors.
    # HINT: pop a tensor when it is asked for, so that it dies as soon as it has been used.
    states = _random_states(x.device)
    numbers = itertools.count()
    rebuilt: dict[int, torch.Tensor] = {}

    def run_again() -> None:
        again = itertools.count()

        def keep(tensor: torch.Tensor) -> int:
            number = next(again)
            rebuilt[number] = tensor.detach()
            return number

        hooks = saved_tensors_hooks(keep, rebuilt.__getitem__)
        with torch.enable_grad(), _replayed(states, x.device), hooks:
            f(x.detach().requires_grad_(x.requires_grad))

    def unpack(number: int) -> torch.Tensor:
        if number not in rebuilt:
            run_again()
        return rebuilt.pop(number)

    with saved_tensors_hooks(lambda tensor: next(numbers), unpack):
        return f(x)
    ### END SOLUTION


class Leak(NamedTuple):
    """A tensor that keeps a graph alive; see ``find_leaked_graph``."""

    path: tuple[Any, ...]
    nodes: int
    bytes: int


def _saved(node: Any) -> Iterator[torch.Tensor]:
    """The tensors that a node of a graph keeps for its backward; none once they are freed."""
    for name in ("saved_tensors", *(n for n in dir(node) if n.startswith("_saved_"))):
        try:
            value = getattr(node, name, None)
        except RuntimeError:  # freed by a backward pass
            continue
        for one in value if isinstance(value, (tuple, list)) else [value]:
            if isinstance(one, torch.Tensor):
                yield one


def find_leaked_graph(kept: Any) -> list[Leak]:
    """Which tensors in ``kept`` hold a graph, and how much hangs on each.

    ``kept`` is what outlives a training step: a tensor, or dicts, lists and tuples of anything,
    nested. A tensor holds a graph when it is the result of a recorded operation (``grad_fn``);
    leaves, detached tensors and all other objects hold none. In the order in which they stand,
    each such tensor gives a ``Leak``:

    - path: keys and positions that lead to it, ("losses", 3) for kept["losses"][3]; () for itself
    - nodes: how many nodes can be reached from its grad_fn over next_functions, that one
      included, each counted once; graphs may be 100,000 nodes deep
    - bytes: the storages of all tensors that these nodes save (``_saved``), each storage once and
      whole, but for those of leaves (an AccumulateGrad node has its leaf as ``node.variable``) and
      of the tensor itself, which are alive anyway

    >>> w = torch.ones(4, requires_grad=True)
    >>> find_leaked_graph({"step": 7, "losses": [w.exp().sum(), w.sum().detach()]})
    [Leak(path=('losses', 0), nodes=3, bytes=16)]
    """
    leaks: list[Leak] = []

    # TODO: walk through the containers; walk through the graph of each tensor that has one.
    # HINT: Python gives up at about a thousand nested calls: the graph wants a list of nodes
    # still to visit, and a set of those already seen.
    ### BEGIN SOLUTION
    # HINT: next_functions holds pairs (node, number); node is None where no gradient goes.
    # HINT: untyped_storage() has data_ptr(), which tells storages apart, and nbytes().
    # HINT: collect {data_ptr: nbytes} of what is saved, and a set of data_ptr to leave out.
    def graph_of(tensor: torch.Tensor) -> tuple[int, int]:
        alive = {tensor.untyped_storage().data_ptr()}
        saved: dict[int, int] = {}
        seen = {tensor.grad_fn}
        waiting = [tensor.grad_fn]
        while waiting:
            node: Any = waiting.pop()
            if hasattr(node, "variable"):
                alive.add(node.variable.untyped_storage().data_ptr())
            for storage in (one.untyped_storage() for one in _saved(node)):
                saved[storage.data_ptr()] = storage.nbytes()
            for further, _ in node.next_functions:
                if further is not None and further not in seen:
                    seen.add(further)
                    waiting.append(further)
        return len(seen), sum(size for place, size in saved.items() if place not in alive)

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        if isinstance(value, torch.Tensor) and value.grad_fn is not None:
            leaks.append(Leak(path, *graph_of(value)))
        elif isinstance(value, dict):
            for key, one in value.items():
                walk(one, (*path, key))
        elif isinstance(value, (list, tuple)):
            for position, one in enumerate(value):
                walk(one, (*path, position))

    walk(kept, ())
    ### END SOLUTION
    return leaks


def test_exp() -> None:
    x = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Exp.apply, (x,))


def test_sign_ste() -> None:
    x = torch.tensor([-3.0, -0.5, 0.0], requires_grad=True)
    y = SignSTE.apply(x)
    y.sum().backward()
    assert y.tolist() == [-1, -1, 1]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1]


def test_clamp() -> None:
    x = torch.tensor([-3.0, 0.5, 2.0], requires_grad=True)
    y = Clamp.apply(x, -1.0, 2.0)
    y.sum().backward()
    assert y.tolist() == [-1, 0.5, 2]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1]


def test_grad_norm_hook() -> None:
    model = nn.Linear(2, 1)
    norms, remove = grad_norm_hook(model)
    model(torch.tensor([3.0, 4.0])).sum().backward()
    assert {name: norm.item() for name, norm in norms.items()} == {"weight": 5, "bias": 1}
    remove()


def test_checkpointed() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    checkpointed(lambda x: (x * x).sin().sum(), x).backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 2 * x.detach() * x.detach().square().cos())


def test_find_leaked_graph() -> None:
    w = torch.ones(4, requires_grad=True)
    kept = {"step": 7, "losses": [w.exp().sum(), w.sum().detach()]}
    assert find_leaked_graph(kept) == [(("losses", 0), 3, 16)]


if __name__ == "__main__":
    from harness import main

    main(__file__)
