"""Programs that wait for each other: right ones end, wrong ones are told why they cannot."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from tests.kernels.gallery.cases import right, wrong
from tests.kernels.gallery.right_kernels import DEVICE, near, randn

READ = "read of another program's write"


def zeros(*shape, dtype=torch.int32):
    return torch.zeros(*shape, dtype=dtype, device=DEVICE)


@triton.jit
def stream_kernel(x, partial, out, flags, B: tl.constexpr):
    program = tl.program_id(0)
    i = tl.arange(0, B)
    value = tl.load(x + program * B + i)
    if program % 2 == 0:
        while tl.atomic_cas(flags + program + 1, 1, 1) != 1:
            pass
        tl.store(out + program // 2 * B + i, value + tl.load(partial + (program + 1) * B + i))
    else:
        tl.store(partial + program * B + i, value)
        tl.debug_barrier()
        tl.atomic_xchg(flags + program, 1)


@right
def even_programs_wait_for_the_next():
    x, out = randn(6, 16), torch.empty(3, 16, device=DEVICE)
    stream_kernel[(6,)](x, torch.empty_like(x), out, zeros(6), B=16)
    near(out, x[0::2] + x[1::2])


@triton.jit
def grid_barrier_kernel(part, out, arrived, P: tl.constexpr):
    program = tl.program_id(0)
    tl.store(part + program, program + 1)
    tl.atomic_add(arrived, 1, sem="release")
    while tl.atomic_add(arrived, 0, sem="acquire") < P:
        pass
    tl.store(out + program, tl.sum(tl.load(part + tl.arange(0, P))))


@right
def barrier_across_the_grid():
    out = zeros(16)
    grid_barrier_kernel[(16,)](zeros(16), out, zeros(1), P=16)
    assert out.tolist() == [136] * 16


@triton.jit
def meeting_kernel(places, size):
    place = places + tl.program_id(0) % size
    if tl.atomic_xchg(place, 1) == 0:
        tl.atomic_xchg(place, 2)
    else:
        while tl.atomic_xchg(place, 3) != 2:
            pass


@right
def pairs_meet_while_both_run():
    places = zeros(3)
    meeting_kernel[(6,)](places, 3)
    assert places.tolist() == [3] * 3


@triton.jit
def flag_kernel(data, flag, out, B: tl.constexpr):
    i = tl.arange(0, B)
    program = tl.program_id(0)
    if program == 2:
        tl.store(data + i, i)
        tl.debug_barrier()
        tl.atomic_xchg(flag, 1.5, sem="release")
    else:
        while tl.load(flag, volatile=True) == 0.0:
            pass
        tl.store(out + program * B + i, tl.load(data + i, volatile=True))


@right
def a_flag_of_floats_read_by_volatile_loads():
    out = zeros(2, 8)
    flag_kernel[(3,)](zeros(8), zeros(1, dtype=torch.float32), out, B=8)
    assert out.tolist() == [list(range(8))] * 2


@triton.jit
def waits_in_vain(flag, x):
    while tl.atomic_add(flag, 0) != 7:  # in vain
        pass
    tl.store(x + tl.program_id(0), 1)


@wrong("failed", "waits for a value of `flag`", "nobody will write", at="# in vain")
def programs_wait_for_what_never_comes():
    waits_in_vain[(3,)](zeros(1), zeros(3))


@triton.jit
def lock_kernel(x, lock, out, TAKE: tl.constexpr, GIVE: tl.constexpr, SCOPE: tl.constexpr):
    value = tl.load(x + tl.program_id(0))
    while tl.atomic_cas(lock, 0, 1, sem=TAKE, scope=SCOPE) == 1:  # takes it
        pass
    tl.store(out, tl.load(out) + value)  # under the lock
    tl.debug_barrier()
    tl.atomic_xchg(lock, 0, sem=GIVE, scope=SCOPE)


def locked(take: str, give: str, scope: str = "gpu"):
    x, out = randn(4), zeros(1, dtype=torch.float32)
    lock_kernel[(4,)](x, zeros(1), out, TAKE=take, GIVE=give, SCOPE=scope)
    near(out, x.sum().reshape(1))


@right
def locks_that_acquire_and_release():
    locked("acquire", "release")
    locked("acq_rel", "acq_rel", "sys")


@wrong(READ, "`out`", at="# under the lock")
def lock_of_relaxed_atomics():
    locked("relaxed", "relaxed")


@wrong(READ, "`out`", at="# under the lock")
def lock_taken_without_acquire():
    locked("relaxed", "release")


@wrong(READ, "`out`", at="# under the lock")
def lock_given_back_without_release():
    locked("acquire", "acquire")


@wrong("race", 'scope="cta"', "`lock`", at="# takes it")
def lock_within_one_program_only():
    locked("acq_rel", "acq_rel", "cta")


@triton.jit
def own_counters_kernel(part, counters, out):
    program = tl.program_id(0)
    tl.store(part + program, program)
    tl.atomic_add(counters + program, 1)
    before = 0
    for k in range(program):
        before += tl.load(part + k)  # of the others
    tl.store(out + program, before)


@wrong(READ, "`part`", at="# of the others")
def counters_of_ones_own_order_nothing():
    own_counters_kernel[(4,)](zeros(4), zeros(4), zeros(4))


@triton.jit
def count_not_looked_at_kernel(part, count, out, ASSIGNED: tl.constexpr):
    program = tl.program_id(0)
    tl.store(part + program, program)
    if ASSIGNED:
        before = tl.atomic_add(count, 1)  # noqa: F841
    else:
        tl.atomic_add(count, 1)
    if program == 3:
        tl.store(out, tl.load(part) + tl.load(part + 1))  # without a look


@wrong(READ, "`part`", at="# without a look")
def count_that_is_not_looked_at():
    count_not_looked_at_kernel[(4,)](zeros(4), zeros(1), zeros(1), ASSIGNED=False)


@wrong(READ, "`part`", at="# without a look")
def count_that_is_only_assigned():
    count_not_looked_at_kernel[(4,)](zeros(4), zeros(1), zeros(1), ASSIGNED=True)


@triton.jit
def last_block_of_tiles_kernel(part, count, out, P, BARRIER: tl.constexpr, B: tl.constexpr):
    program = tl.program_id(0)
    i = tl.arange(0, B)
    tl.store(part + program * B + i, i)
    if BARRIER:
        tl.debug_barrier()
    if tl.atomic_add(count, 1) == P - 1:
        for k in range(P):
            tl.store(out + k * B + i, tl.load(part + k * B + i))  # the tiles


@right
def last_program_copies_tiles():
    out = zeros(4, 64)
    last_block_of_tiles_kernel[(4,)](zeros(4, 64), zeros(1), out, 4, BARRIER=True, B=64)
    assert out.tolist() == [list(range(64))] * 4


@wrong(READ, "`part`", at="# the tiles")
def tile_counted_before_all_threads_wrote_it():
    last_block_of_tiles_kernel[(4,)](zeros(4, 64), zeros(1), zeros(4, 64), 4, BARRIER=False, B=64)
