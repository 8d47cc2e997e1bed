"""Draws that belong to a sample: against Python's own integers, and the properties that all users rely on."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.metrics.flipping import Features, Noise, PerturbationCurve, Road, Sample

MASK, STEP = 2**64 - 1, 0x9E3779B97F4A7C15


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def split_mix(z: int) -> int:
    """SplitMix64's output function in Python's own integers."""
    z &= MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


@pytest.mark.parametrize("seed", [5, 2**63 - 1, 2**63 + 5])
@pytest.mark.parametrize("purpose", [Purpose.RANDOM_MAP, Purpose.ROAD_NOISE])
def test_equals_split_mix_in_python(seed: int, purpose: Purpose) -> None:
    x, starts = drawn(2, 3), torch.tensor([0, 7])
    found = chance.bits(x, 4, seed, purpose, starts)
    for row, start, bits in zip(x.tolist(), starts.tolist(), found.tolist(), strict=True):
        words = [struct.unpack("<i", struct.pack("<f", value))[0] for value in row]
        content = sum(split_mix(word + i * STEP) for i, word in enumerate(words))
        key = split_mix((content & MASK) ^ split_mix(seed))
        expected = [split_mix(key + (purpose * 2**40 + start + i) * STEP) for i in range(4)]
        assert [value & MASK for value in bits] == expected


def test_draws_belong_to_the_sample() -> None:
    x, purpose = drawn(5, 3, 4, 4), Purpose.FILL_NOISE
    assert_close(chance.uniform_like(x, 0, purpose)[3:], chance.uniform_like(x[3:], 0, purpose), rtol=0, atol=0)
    assert_close(chance.order(x.flip(0), 9, 0, purpose), chance.order(x, 9, 0, purpose).flip(0), rtol=0, atol=0)


def test_draws_differ_by_sample_seed_and_purpose() -> None:
    x = torch.zeros(2, 64)
    x[1, 0] = 1e-6
    bits = [chance.bits(x, 8, seed, purpose) for seed in (0, 1, 2**63 + 5) for purpose in Purpose]
    assert torch.cat(bits).unique().numel() == 3 * len(Purpose) * 2 * 8


def test_the_next_draw_goes_on_where_the_last_one_stopped() -> None:
    x, purpose = drawn(3, 2, 5), Purpose.SMPRT_NOISE
    whole = chance.normal(x, 40, 3, purpose).float().view(3, 4, 2, 5)
    assert_close(chance.normal_like(x, 3, purpose, 2), whole[:, 2], rtol=0, atol=0)
    each = chance.normal_like(x, 3, purpose, torch.tensor([0, 3, 1]))
    assert_close(each, whole[torch.arange(3), [0, 3, 1]], rtol=0, atol=0)


def tied(x: Tensor) -> Tensor:
    curve = PerturbationCurve(Features(), score="logit")
    return curve(lambda z: z @ torch.arange(12.0).view(6, 2), x, torch.zeros_like(x), torch.zeros(len(x)).long())[1]


@pytest.mark.parametrize(
    "result",
    [
        lambda x: Noise()(x, 3)(torch.arange(len(x)), torch.ones_like(x, dtype=torch.bool)),
        lambda x: Sample(drawn(50, 6))(x, 3)(torch.arange(len(x)), torch.ones_like(x, dtype=torch.bool)),
        lambda x: Road(1.0)(x.view(-1, 1, 2, 3), 3)(torch.arange(len(x)), torch.ones(len(x), 1, 2, 3).bool()),
        tied,
    ],
    ids=["noise", "sample", "road", "ties"],
)
def test_minus_zero_and_zero_are_one_value(result: Callable[[Tensor], Tensor]) -> None:
    x = drawn(4, 6).abs()
    x[:, ::2] = 0.0
    negative = torch.where(x == 0, -0.0, x)
    assert negative.signbit().sum() == 12
    assert_close(result(negative), result(x), rtol=0, atol=0)


def test_uniform_is_uniform_and_normal_is_normal() -> None:
    x = drawn(50, 400)
    u, n = chance.uniform(x, 400, 0, Purpose.FILL_NOISE), chance.normal(x, 400, 0, Purpose.FILL_NOISE, start=400)
    assert 0 < u.min() <= u.max() < 1
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 0.01
    assert stats.kstest(n.flatten().numpy(), "norm").pvalue > 0.01
    assert abs(torch.corrcoef(u)[0, 1:]).max() < 0.2


def test_orders_are_fair_permutations_and_indices_are_fair() -> None:
    x = drawn(2000, 5)
    orders = chance.order(x, 4, 0, Purpose.TIED_UNITS)
    assert_close(orders.sort(1).values, torch.arange(4).expand(2000, 4))
    counts = torch.stack([(orders == unit).sum(0) for unit in range(4)])
    assert_close(counts, torch.full((4, 4), 500), rtol=0, atol=100)
    assert_close(
        torch.bincount(chance.index(x, 4, 8, 0, Purpose.FILL_SAMPLE).flatten()),
        torch.full((8,), 1000),
        rtol=0,
        atol=150,
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_numbers_have_the_type_of_the_sample(dtype: torch.dtype) -> None:
    assert chance.uniform_like(torch.ones(1, 3, dtype=dtype), 0, Purpose.FILL_NOISE).dtype == dtype
