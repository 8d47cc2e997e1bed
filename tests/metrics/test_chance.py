from __future__ import annotations

import torch
from torch.testing import assert_close

from lrp_bench.metrics.chance import random_bits, random_order, random_uniform

MASK = 2**64 - 1


def split_mix(state: int) -> int:
    """SplitMix64's output function in Python's own integers."""
    z = state & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def test_equals_split_mix_in_python() -> None:
    x, seed, purpose, golden = torch.tensor([[3, 9], [-4, 2]]), 5, 1, 0x9E3779B97F4A7C15
    for row, bits in zip(x.tolist(), random_bits(x, 3, seed, purpose).tolist(), strict=True):
        content = sum(split_mix((value & MASK) ^ (i * golden & MASK)) for i, value in enumerate(row, 1))
        key = split_mix(split_mix(content + seed) + purpose)
        assert [value & MASK for value in bits] == [split_mix(key + i * golden) for i in (1, 2, 3)]


def test_draws_belong_to_the_sample() -> None:
    x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert_close(random_uniform(x, 0, 1)[3:], random_uniform(x[3:], 0, 1), rtol=0, atol=0)
    assert_close(random_order(x.flip(0), 9, 0, 1), random_order(x, 9, 0, 1).flip(0), rtol=0, atol=0)


def test_draws_differ_by_sample_seed_and_purpose() -> None:
    x = torch.zeros(2, 64)
    x[1, 0] = 1e-6
    bits = [random_bits(x, 8, seed, purpose) for seed, purpose in ((0, 0), (1, 0), (0, 1), (2**63 + 5, 0))]
    assert torch.cat(bits).unique().numel() == 4 * 2 * 8


def test_uniform_is_uniform() -> None:
    u = random_uniform(torch.randn(50, 400, generator=torch.Generator().manual_seed(0)), 0, 1)
    assert 0 <= u.min() <= u.max() < 1
    assert_close(u.mean(), torch.tensor(0.5), rtol=0, atol=0.01)
    assert_close(u.var(), torch.tensor(1 / 12), rtol=0, atol=0.003)
    assert abs(torch.corrcoef(u)[0, 1:]).max() < 0.2


def test_orders_are_fair_permutations() -> None:
    orders = random_order(torch.randn(2000, 5, generator=torch.Generator().manual_seed(0)), 4, 0, 1)
    assert_close(orders.sort(1).values, torch.arange(4).expand(2000, 4))
    counts = torch.stack([(orders == unit).sum(0) for unit in range(4)])
    assert_close(counts, torch.full((4, 4), 500), rtol=0, atol=100)


def test_float64_inputs_give_float64_numbers() -> None:
    assert random_uniform(torch.randn(1, 3, dtype=torch.float64), 0, 1).dtype == torch.float64
