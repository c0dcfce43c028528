"""Does this triton have what the checked interpreter builds on? Asked once, when it starts."""

from __future__ import annotations

import inspect

# Module, class or "" and the names that must be there, with the parameters relied on.
_NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    "triton.runtime.interpreter": {
        "_get_np_dtype": ("tt_dtype",),
        "_patch_lang": ("fn",),
        "_rewrap_tensor": ("t", "original_tensor"),
        "_LangPatchScope.set_attr": ("self", "obj", "name", "value"),
        "_LangPatchScope.restore": ("self",),
        "FunctionRewriter._transform_ast": ("self", "src"),
        "FunctionRewriter._compile_and_exec": ("self", "transformed_ast"),
        "InterpretedFunction.run": ("self",),
        "InterpretedFunction.rewrite": ("self",),
        "InterpreterBuilder.binary_op": ("self", "lhs", "rhs", "op"),
        "InterpreterBuilder.cast_impl": ("self", "src", "dst_type"),
        "InterpreterBuilder.set_grid_dim": ("self", "nx", "ny", "nz"),
        "InterpreterBuilder.create_load": ("self", "ptr"),
        "InterpreterBuilder.create_masked_load": ("self", "ptrs", "mask", "other"),
        "InterpreterBuilder.create_masked_store": ("self", "ptrs", "value", "mask"),
        "InterpreterBuilder.create_atomic_rmw": ("self", "rmwOp", "ptr", "val", "mask", "sem"),
        "InterpreterBuilder.create_atomic_cas": ("self", "ptr", "cmp", "val", "sem"),
        "InterpreterBuilder.create_addptr": ("self", "ptr", "offset"),
        "InterpreterBuilder.create_dot": ("self", "a", "b", "d", "input_precision"),
        "InterpreterBuilder.create_tensor_pointer_load": ("self", "ptr", "boundary_check"),
        "InterpreterBuilder.create_descriptor_load": ("self", "desc", "indices"),
        "InterpreterBuilder.create_descriptor_store": ("self", "desc", "value", "indices"),
        "InterpreterBuilder.create_assert": ("self", "condition", "message"),
        "BlockPointerHandle.materialize_pointers": ("self", "boundary_check"),
    },
    "triton.language.semantic": {
        "TritonSemantic._load_legacy": ("self", "ptr", "mask", "other"),
    },
    "triton.runtime.autotuner": {
        "Autotuner.run": ("self",),
        "Autotuner.prune_configs": ("self", "kwargs"),
    },
    "triton.runtime.jit": {
        "JITFunction._pack_args": ("self", "backend", "kwargs", "bound_args", "specialization"),
        "JITCallable.get_capture_scope": ("self",),
        "create_function_from_signature": ("sig", "kparams", "backend"),
        "get_jit_fn_file_line": ("fn",),
    },
    "triton.compiler.code_generator": {
        "CodeGenerator.get_Attribute": ("self", "lhs", "attr"),
        "CodeGenerator.call_Function": ("self", "node", "fn", "args", "kws"),
        "BoundJITMethod.__init__": ("self",),
    },
}


class DoesNotFit(RuntimeError):
    """This triton version is not one the checked interpreter fits."""


def _problem(problem: str) -> DoesNotFit:
    import triton

    return DoesNotFit(
        f"triton {triton.__version__} {problem}: the checked interpreter does not fit this "
        "version. Install the one in requirements.txt."
    )


def before() -> None:
    """Names and parameters, before anything is changed."""
    import importlib

    import triton

    if not triton.knobs.runtime.interpret:
        raise RuntimeError(
            "the interpreter is off: set TRITON_INTERPRET=1 before triton is imported."
        )
    for module_name, needed in _NEEDED.items():
        module = importlib.import_module(module_name)
        for path, parameters in needed.items():
            found = module
            for part in path.split("."):
                found = getattr(found, part, None)  # type: ignore[assignment]
            if found is None:
                raise _problem(f"moved {module_name}.{path}")
            if inspect.isclass(found):
                continue
            names = list(inspect.signature(found).parameters)  # type: ignore[arg-type]
            if tuple(names[: len(parameters)]) != parameters:
                raise _problem(f"moved {module_name}.{path}'s parameters ({', '.join(names)})")


def after() -> None:
    """One kernel that is right and one that is wrong, through everything that was changed."""
    import torch

    from harness.kernels.interpreter import report, selftest_kernels
    from harness.kernels.interpreter.errors import KernelError

    x = torch.zeros(3, dtype=torch.bfloat16)
    y = torch.empty(3, dtype=torch.bfloat16)
    selftest_kernels.add_third[(2,)](x, y, 3, BLOCK=2)
    if y.tolist() != [0.333984375] * 3:
        raise _problem("computes bfloat16 in another way")
    try:
        selftest_kernels.add_third[(2,)](x, y, 4, BLOCK=2)
    except KernelError as error:
        if error.kind != "out of bounds" or error.tensor != "x" or not error.line:
            raise _problem(f"reports accesses in another way ({error})") from error
    else:
        raise _problem("reads memory by another way")
    report.reset()
