"""Given: pretraining by several processes, which torchrun starts.

    torchrun --standalone --nproc-per-node 2 -m tracks.pytorch.day32 pretrain

Every process reads its share of each batch. Of the weights it keeps a part (PyTorch's FSDP2), and
of the experts some (expert parallelism). Losses and weights are those of one process, but for
rounding. A run that was stopped goes on with any number of processes.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import Shard, distribute_tensor

if TYPE_CHECKING:
    from tracks.pytorch.day31 import DeepSeekModel
    from tracks.pytorch.day32 import Batch


# The experts ---------------------------------------------------------------------------------


class Exchange(torch.autograd.Function):
    """Rows to other processes: ``send[r]`` of them to process r, which sends us ``receive[r]``."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, send: list[int], receive: list[int], group: Any
    ) -> torch.Tensor:
        ctx.how = receive, send, group
        got = rows.new_empty(sum(receive), *rows.shape[1:])
        dist.all_to_all_single(got, rows.contiguous(), receive, send, group=group)
        return got

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        return Exchange.apply(grads[0], *ctx.how), None, None, None


class SharedExperts(nn.Module):
    """Day 30's Experts, of which each process of ``mesh`` holds an equal part, in their order.

    A token goes to the processes that have its experts, and what they make of it comes back. With
    s processes, each way moves tokens · k · hidden_size elements of each process, of which 1 / s
    stay where they are on average; the backward moves the same again. No weight is moved.

    Parameters have the names and shapes of those in Experts: checkpoints are the same.
    """

    def __init__(self, experts: nn.Module, mesh: DeviceMesh) -> None:
        super().__init__()
        n, hidden_size, inner = experts.down_proj.shape
        self.share, self.group = n // mesh.size(), mesh.get_group()
        for name, p in experts.named_parameters():
            setattr(self, name, nn.Parameter(distribute_tensor(p.detach(), mesh, [Shard(0)])))
        with torch.device("meta"):
            few = type(experts)(self.share, hidden_size, inner)
        self.few = (few,)  # which computes; in a tuple it is no part of this module

    def forward(
        self, x: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        tokens, k = indices.shape
        size = dist.get_world_size(self.group)
        found, order = indices.flatten().sort(stable=True)
        mine = torch.bincount(found, minlength=size * self.share)
        theirs = torch.empty_like(mine)
        dist.all_to_all_single(theirs, mine, group=self.group)
        send, receive = (n.view(size, -1).sum(1).tolist() for n in (mine, theirs))
        rows = Exchange.apply(x[order // k], send, receive, self.group)
        which = torch.arange(self.share, device=x.device).repeat(size).repeat_interleave(theirs)
        local = {name: p.to_local() for name, p in self.named_parameters()}
        inputs = rows, which[:, None], weights.new_ones(len(rows), 1)
        made = torch.func.functional_call(self.few[0], local, inputs)
        made = Exchange.apply(made, receive, send, self.group)
        made = made * weights.flatten()[order][:, None]
        back = torch.empty_like(made).index_copy(0, order, made)
        return back.view(tokens, k, -1).sum(1).to(x.dtype)


def spread(model: DeepSeekModel, ep: int | None = None) -> None:
    """Leave each process its part of ``model``, in place; all come with the same weights.

    The experts are divided among ``ep`` processes; world size / ep groups of processes have all of
    them, and each of a group's processes a part of its experts' weights. None: as many as divide
    both. Everything else is divided among all. Gradients are sums over all processes.
    """
    size, device = dist.get_world_size(), next(model.parameters()).device.type
    experts = model.config.n_routed_experts
    ep = math.gcd(size, experts) if ep is None else ep
    if size % ep or experts % ep:
        raise ValueError(f"ep {ep} has to divide {size} processes and {experts} experts")
    everyone = init_device_mesh(device, (size,), mesh_dim_names=("all",))
    grid = init_device_mesh(device, (size // ep, ep), mesh_dim_names=("dp", "ep"))
    for i, block in enumerate(model.model["layers"]):
        if model.config.is_sparse(i):
            block.mlp.experts = SharedExperts(block.mlp.experts, grid["ep"])
            # along axis 1: axis 0 is that of the experts, and is divided already
            fully_shard(block.mlp.experts, mesh=grid["dp"], shard_placement_fn=lambda p: Shard(1))
        fully_shard(block, mesh=everyone)
    fully_shard(model, mesh=everyone)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


# Training ------------------------------------------------------------------------------------


def total(x: torch.Tensor) -> torch.Tensor:
    """The sum of all processes' ``x``, which each of them has afterwards."""
    result = x.detach().clone()
    dist.all_reduce(result)
    return result


def train(
    model: DeepSeekModel,
    batch: Callable[[int], Batch],
    steps: int,
    *,
    loss: Callable[[nn.Module, Batch], tuple[torch.Tensor, int]],
    lr: float,
    warmup: int = 0,
    floor: float = 0.1,
    clip: float = 1.0,
    weight_decay: float = 0.1,
    folder: Path | None = None,
    every: int = 100,
    report: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Day 32's ``train``, of a model that is spread: the same steps, one micro-batch each.

    batch(i) draws the same numbers in all processes; each takes its rows of it. The optimizer is
    torch's AdamW with day 11's groups and state. Checkpoints are written by all processes together.
    """
    from tracks.pytorch.day11 import AdamW, warmup_cosine
    from tracks.pytorch.day32 import Batch

    groups = AdamW.for_module(model, lr=lr, weight_decay=weight_decay).param_groups
    optimizer = torch.optim.AdamW(
        [{"params": g["params"], "weight_decay": g["weight_decay"]} for g in groups if g["params"]],
        lr=lr,
        foreach=False,  # which wants all tensors on one mesh
    )
    losses = [] if folder is None else restore(folder, model, optimizer)
    rank, size = dist.get_rank(), dist.get_world_size()
    for step in range(len(losses), steps):
        part = Batch(*(x[rank::size] for x in batch(step)))
        model.train()
        lost, n = loss(model, part)
        lost.backward()
        both = total(torch.stack([lost.double(), lost.new_tensor(n, dtype=torch.float64)]))
        count = max(both[1].item(), 1)
        grads = [p.grad.to_local() for p in model.parameters() if p.grad is not None]
        for grad in grads:
            grad.div_(count)
        norm = total(torch.stack([grad.double().square().sum() for grad in grads]).sum()).sqrt()
        for grad in grads:
            grad.mul_((clip / (norm + 1e-6)).clamp(max=1.0))
        for group in optimizer.param_groups:
            group["lr"] = lr * warmup_cosine(step, warmup, steps, floor)
        if norm.isfinite():
            optimizer.step()
        optimizer.zero_grad()
        losses.append(both[0].item() / count)
        if report is not None:
            report(step + 1, losses[-1])
        if folder is not None and ((step + 1) % every == 0 or step + 1 == steps):
            save(folder, model, optimizer, losses)
    return losses


# Checkpoints ---------------------------------------------------------------------------------


def checkpoints(folder: Path) -> list[Path]:
    """The whole ones, the newest last: a folder gets its name when all processes are done."""
    found = (path for path in folder.glob("step-*") if path.suffix != ".tmp")
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def save(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, losses: list[float]
) -> None:
    """Each process writes its part; the newest three checkpoints stay."""
    path = folder / f"step-{len(losses):08}"
    temporary = path.with_suffix(".tmp")
    if dist.get_rank() == 0:
        for unfinished in folder.glob("*.tmp"):
            shutil.rmtree(unfinished)
    dist.barrier()
    weights, state = get_state_dict(model, optimizer)
    kept = {"model": weights, "optimizer": state, "losses": losses, "rng": torch.get_rng_state()}
    dcp.save(kept, checkpoint_id=temporary)
    if dist.get_rank() == 0:
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
        for old in checkpoints(folder)[:-3]:
            shutil.rmtree(old)
    dist.barrier()


def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> list[float]:
    """Go on from the newest checkpoint, of however many processes. → the losses so far"""
    newest: list[Any] = [checkpoints(folder)[-1:]]
    dist.broadcast_object_list(newest)
    if not newest[0]:
        return []
    weights, state = get_state_dict(model, optimizer)
    kept: dict[str, Any] = {
        "model": weights,
        "optimizer": state,
        "losses": [],
        "rng": torch.get_rng_state(),
    }
    dcp.load(kept, checkpoint_id=newest[0][0])
    set_state_dict(
        model, optimizer, model_state_dict=kept["model"], optim_state_dict=kept["optimizer"]
    )
    torch.set_rng_state(kept["rng"])
    return list(kept["losses"])


def whole(model: nn.Module) -> dict[str, Any]:
    """The model's state as one process has it, on the CPU; process 0 gets it, the others {}."""
    return get_model_state_dict(
        model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )


# The program ---------------------------------------------------------------------------------


class Team:
    """The processes of this run, and one voice for all of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.folder = options.folder / "sharded"
        self.store, self.rank, self.size = next(dist.rendezvous("env://"))
        backend = "gloo"
        if options.device == "cuda":
            options.device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
            torch.cuda.set_device(options.device)
            backend = "cpu:gloo,cuda:nccl"
        self.listen()
        dist.init_process_group(backend, store=self.store, rank=self.rank, world_size=self.size)

    def leave(self, text: str, wait: float = 0.0) -> NoReturn:
        """End this process; what it says is printed if no other one has said something before."""
        try:
            first = self.store.add("said", 1) == 1
        except RuntimeError:  # torchrun has ended, and with it the store
            first = True
        if first:
            print(f"\n{text}", file=sys.stderr, flush=True)
        time.sleep(wait)
        os._exit(1)  # whatever the other threads wait for

    def lost(self, wait: float = 0.0) -> NoReturn:
        kept = [path.name for path in checkpoints(self.folder)[-1:]]
        whence = f"its last checkpoint, {kept[0]}" if kept else "its beginning"
        text = f"a process of {self.size} was stopped: `pretrain` goes on from {whence}"
        self.leave(text, wait)

    def listen(self) -> None:
        """torchrun stops the others when one has ended: they say so, whatever they wait for."""
        reads, writes = os.pipe()
        os.set_blocking(writes, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(writes)

        def heard() -> None:
            os.read(reads, 1)
            self.lost()

        threading.Thread(target=heard, daemon=True).start()


def program(options: argparse.Namespace) -> None:
    """A command of day 32's program, in one of torchrun's processes."""
    team = Team(options)
    try:
        pretrain(options, team)
    except SystemExit as error:
        team.leave(str(error.code))
    except NotImplementedError as error:
        team.leave(f"{error} is not written yet")
    except (RuntimeError, dcp.api.CheckpointException) as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            team.lost(wait=2)  # for torchrun, which names the first to end as the cause
        raise
    dist.destroy_process_group()


def pretrain(options: argparse.Namespace, team: Team) -> None:
    from tqdm import tqdm

    from tracks.pytorch import arithmetic
    from tracks.pytorch.day14 import CheckpointManager

    if options.command != "pretrain":
        sys.exit(f"`{options.command}` is for one process: start it without torchrun")
    first = team.rank == 0
    arithmetic.begin(options, write=first)
    dist.barrier()
    run = arithmetic.open_run(options)
    settings, steps = run.settings, run.steps("pretrain")
    if run.finished("pretrain"):
        if first:
            print(f"pretrain: {steps} steps are done already")
        return
    if any((run.folder / "pretrain").glob("step-*.pt")):
        sys.exit("this run was begun by one process: it goes on without torchrun")
    if settings["batch"] < team.size:
        sys.exit(f"a batch of {settings['batch']} texts is too small for {team.size} processes")
    run.everywhere = total
    torch.manual_seed(settings["seed"])
    try:
        spread(run.model, options.ep)
    except ValueError as error:
        sys.exit(str(error))
    bar = tqdm(total=steps, desc="pretrain", unit="step", disable=None if first else True)
    began, tokens, ends = time.perf_counter(), 0, []

    def read(i: int) -> Batch:
        nonlocal tokens
        batch = run.read(i)
        tokens += int(batch.mask.sum())
        return batch

    def report(step: int, loss: float) -> None:
        ends.append((time.perf_counter(), tokens))
        if first:
            run.log("pretrain", step, {"loss": loss})
            bar.update(step - bar.n)
            bar.set_postfix({"loss": f"{loss:.3f}"}, refresh=False)

    train(
        run.model,
        read,
        steps,
        loss=run.balanced,
        lr=settings["pretrain_lr"],
        warmup=min(50, steps // 10),
        folder=team.folder,
        every=settings["every"],
        report=report,
    )
    bar.close()
    speed = ""
    if len(ends) > 1:  # the first step makes what all need, and is not counted
        (t0, n0), (t1, n1) = ends[0], ends[-1]
        speed = f", {(n1 - n0) / (t1 - t0):,.0f} tokens/s"
    state = whole(run.model)
    if first:
        run = arithmetic.open_run(options)
        run.model.load_state_dict(state)
        CheckpointManager(run.folder / "pretrain").save(steps, run.model)
        run.plot()
        whom = f"{team.size} process{'es' * (team.size > 1)}"
        print(
            f"pretrain: {time.perf_counter() - began:.0f} s{speed} by {whom}; "
            f"{arithmetic.score(run.model, run.held)}"
        )
    dist.barrier()
