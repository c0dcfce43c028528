"""@triton.autotune without a clock: the first valid configuration, by the tuner's own rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from triton.runtime.autotuner import Autotuner

from harness.kernels.interpreter import launch, report
from harness.kernels.interpreter.errors import KernelError, place_of


def run(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Replaces Autotuner.run. A configuration that the compiler's static_assert refuses is skipped,
    as when timing; pruning, hooks, reset_to_zero and restore_value work as on a GPU."""
    named = dict(zip(self.arg_names, args, strict=False))
    self.nargs = named
    try:
        return _run(self, named, args, kwargs)
    finally:
        self.nargs = None


def _run(tuner: Any, named: dict[str, Any], args: Any, kwargs: dict[str, Any]) -> Any:
    key = _key(tuner, {**named, **kwargs})
    for config in tuner.configs:
        twice = kwargs.keys() & config.kwargs.keys()
        if twice:
            raise KernelError(
                "bad launch",
                f"`{', '.join(sorted(twice))}` is given in the launch and in the configurations: "
                "leave it to @triton.autotune.",
                kernel=tuner.base_fn.__name__,
            )
    if len(tuner.configs) == 1:
        return _launch(tuner, tuner.configs[0], named, args, kwargs)
    if key in tuner.cache:
        return _launch(tuner, tuner.cache[key], named, args, kwargs)
    try:
        candidates = tuner.prune_configs(kwargs)
    except Exception as error:
        file, line, _ = place_of(error.__traceback__)
        raise KernelError(
            "failed",
            f"pruning the configurations failed: {type(error).__name__}: {error}",
            kernel=tuner.base_fn.__name__,
            file=file,
            line=line,
            operation="triton.autotune",
        ) from error
    refused: KernelError | None = None
    for config in candidates:
        # Timing ends with reset_to_zero's tensors zeroed, once per key.
        if _hooked(tuner):
            tuner.pre_hook({**named, **kwargs, **config.all_kwargs()}, reset_only=True)
        with launch.repeatable() as again:
            try:
                result = _launch(tuner, config, named, args, kwargs)
            except KernelError as error:
                if "CompileTimeAssertionFailure" not in error.data.get("error", ""):
                    raise
                refused = refused or error
                continue
            tuner.cache[key] = config
            tuner.configs_timings = {config: [0.0, 0.0, 0.0]}
            _check_repeatable(tuner, config, named, kwargs, again)
        return result
    if refused is not None:
        raise refused
    raise KernelError(
        "bad launch", "no configuration is left after pruning.", kernel=tuner.base_fn.__name__
    )


def _hooked(tuner: Any) -> bool:
    return bool(tuner.reset_to_zero or tuner.restore_value or tuner.user_defined_pre_hook)


def _key(tuner: Any, every: dict[str, Any]) -> tuple[Any, ...]:
    given = {name: value for name, value in every.items() if name in tuner.arg_names}
    key = [given[name] for name in tuner.keys if name in given]
    key += [str(value.dtype) for value in given.values() if hasattr(value, "dtype")]
    return tuple(key)


def _launch(
    tuner: Any, config: Any, named: dict[str, Any], args: Any, kwargs: dict[str, Any]
) -> Any:
    tuner.best_config = config
    if config.pre_hook is not None:
        config.pre_hook({**named, **kwargs, **config.all_kwargs()})
    return tuner.fn.run(*args, **kwargs, **config.all_kwargs())


def _check_repeatable(
    tuner: Any, config: Any, named: dict[str, Any], kwargs: Any, again: Callable[[], bool]
) -> None:
    """Timing runs the kernel many times: what it updates in place must be put back each time.
    Where it reads what it later writes, it is run once more, and must give the same."""
    if tuner.user_defined_pre_hook or config.pre_hook is not None:
        return
    launches = report.launch_report()
    kept = {*tuner.reset_to_zero, *tuner.restore_value}
    changed = [a for a in launches[-1].arguments if a.written] if launches else []
    suspects = [a.name for a in changed if a.read_first and a.name not in kept]
    if not suspects:
        return
    every = {**named, **kwargs}
    tensors = {a.name: every[a.name] for a in changed if hasattr(every.get(a.name), "clone")}
    after = {name: tensor.clone() for name, tensor in tensors.items()}
    try:
        for name in tuner.reset_to_zero:
            every[name].zero_()
        same = again()
        different = [
            name
            for name in suspects
            if name not in tensors or not _equal(tensors[name], after[name])
        ]
    finally:
        for name, tensor in tensors.items():
            tensor.copy_(after[name])
    if same and not different:
        return
    name = (different or suspects)[0]
    raise KernelError(
        "bad launch",
        f"`{name}` is read and then written in place, and the kernel has "
        f"{len(tuner.configs)} configurations: on a GPU tuning runs it many times over, and the "
        f"result is wrong. Name it in reset_to_zero=[{name!r}] or restore_value=[{name!r}].",
        kernel=tuner.base_fn.__name__,
        tensor=name,
        operation="triton.autotune",
    )


def _equal(left: Any, right: Any) -> bool:
    """Bit for bit: nan equals nan."""
    flat = (left.contiguous().view(-1), right.contiguous().view(-1))
    raw = [each.view(dtype=_byte()) if each.numel() else each for each in flat]
    return bool((raw[0] == raw[1]).all())


def _byte() -> Any:
    import torch

    return torch.uint8


def install() -> None:
    Autotuner.run = run
