"""The perturbation engine against closed forms on linear models, and against a slow twin, one unit at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.metrics.flipping import (
    Blur,
    Constant,
    DatasetMean,
    Features,
    ImageMean,
    Imputer,
    Noise,
    Patches,
    PerturbationCurve,
    Pixels,
    Unit,
    default_unit,
)
from lrp_bench.metrics.functional import aopc, auc, srg

BATCH, CHANNELS, HEIGHT, WIDTH, CLASSES = 5, 2, 5, 6, 3
TARGET = torch.tensor([0, 1, 2, 2, 1])
ORDERS = ("morf", "lerf", "random")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


IMAGES, RELEVANCE = drawn(BATCH, CHANNELS, HEIGHT, WIDTH), drawn(BATCH, CHANNELS, HEIGHT, WIDTH, seed=1)
WEIGHTS, BIAS = drawn(CLASSES, CHANNELS, HEIGHT, WIDTH, seed=2) / 4, drawn(CLASSES, seed=3)


def linear(x: Tensor) -> Tensor:
    return x.flatten(1) @ WEIGHTS.flatten(1).T + BIAS


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(CHANNELS, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(CLASSES)).double()
    layers(IMAGES)
    return layers.eval()


def groups_of(unit: Unit) -> list[Tensor]:
    """The positions of each unit of an image, (height, width) bool, found without the unit's own code."""
    size = unit.size if isinstance(unit, Patches) else 1
    groups = []
    for top in range(0, HEIGHT, size):
        for left in range(0, WIDTH, size):
            group = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
            group[top : top + size, left : left + size] = True
            groups.append(group)
    return groups


def slow_curve(
    curve: PerturbationCurve, model: Callable[[Tensor], Tensor], fill: Tensor, score: Callable[[Tensor, int], Tensor]
) -> Tensor:
    groups = groups_of(curve.unit)
    table = torch.zeros(BATCH, int(str(curve.steps)) + 1, dtype=torch.float64)
    for i in range(BATCH):
        worth = [RELEVANCE[i].sum(0)[group].mean().item() for group in groups]
        order = sorted(range(len(groups)), key=lambda unit: worth[unit], reverse=curve.order == "morf")
        for step in range(table.shape[1]):
            x = IMAGES[i].clone()
            for unit in order[: math.floor(len(groups) * step / (table.shape[1] - 1) + 0.5)]:
                x[:, groups[unit]] = fill[i][:, groups[unit]]
            table[i, step] = score(model(x.unsqueeze(0))[0], int(TARGET[i]))
    return table


SCORES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "logit": lambda z, c: z[c],
    "probability": lambda z, c: z.exp()[c] / z.exp().sum(),
    "log_odds": lambda z, c: (z.softmax(0)[c] / (1 - z.softmax(0)[c])).log(),
    "accuracy": lambda z, c: (z.argmax() == c).double(),
}


@pytest.mark.parametrize("unit", [Pixels(), Patches(1), Patches(2), Patches(5)], ids=repr)
@pytest.mark.parametrize("order", ["morf", "lerf"])
@pytest.mark.parametrize("score", SCORES)
def test_equals_the_slow_twin(unit: Unit, order: str, score: str) -> None:
    curve = PerturbationCurve(unit, order, 4, Constant(0.3), score, seed=0)
    model = network()
    _, scores = curve(model, IMAGES, RELEVANCE, TARGET)
    with torch.no_grad():
        assert_close(scores, slow_curve(curve, model, torch.full_like(IMAGES, 0.3), SCORES[score]))


@pytest.mark.parametrize("order", ["morf", "lerf"])
@pytest.mark.parametrize("steps", [1, 7, 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_closed_form_of_pixels_on_a_linear_model(order: str, steps: int, dtype: torch.dtype) -> None:
    contributions = (WEIGHTS[TARGET] * IMAGES).sum(1).flatten(1).sort(1, descending=order == "morf").values
    lost = torch.cat([torch.zeros(BATCH, 1), contributions.cumsum(1)], 1)
    expected = (
        linear(IMAGES).gather(1, TARGET[:, None])
        - lost[:, [math.floor(30 * k / steps + 0.5) for k in range(steps + 1)]]
    )

    def model(x: Tensor) -> Tensor:
        return linear(x.double())

    curve = PerturbationCurve(Pixels(), order, steps, Constant(0.0), "logit", 0)
    fractions, scores = curve(model, IMAGES.to(dtype), (WEIGHTS[TARGET] * IMAGES).to(dtype), TARGET)
    assert fractions.shape == (steps + 1,)
    assert_close(scores, expected, rtol=0, atol=1e-6)
    assert_close(aopc(scores), (expected[:, :1] - expected).sum(1) / (steps + 1), rtol=0, atol=1e-6)


def test_closed_form_of_a_table() -> None:
    x, weight = drawn(4, 6), drawn(2, 6, seed=1)
    target = torch.tensor([0, 1, 1, 0])
    R = weight[target] * x
    fractions, scores = PerturbationCurve(Features(), "morf", 6, Constant(0.0), "logit", 0)(
        lambda z: z @ weight.T, x, R, target
    )
    expected = R.sum(1, keepdim=True) - torch.cat([torch.zeros(4, 1), R.sort(1, descending=True).values.cumsum(1)], 1)
    assert_close(fractions, torch.arange(7, dtype=torch.float64) / 6)
    assert_close(scores, expected)
    assert default_unit(x) == Features()
    assert default_unit(IMAGES) == Pixels()


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(ORDERS), st.integers(1, 40), st.sampled_from(["linear", "log"]), st.integers(0, 100))
def test_ends_are_the_input_and_the_fill(order: str, steps: int, spacing: str, seed: int) -> None:
    curve = PerturbationCurve(Pixels(), order, steps, Constant(0.2), "logit", seed, spacing)
    fractions, scores = curve(linear, IMAGES, RELEVANCE, TARGET)
    assert fractions.shape == (steps + 1,)
    assert scores.shape == (BATCH, steps + 1)
    assert (fractions.diff() >= 0).all()
    assert_close(fractions[[0, -1]], torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert_close(scores[:, 0], linear(IMAGES).gather(1, TARGET[:, None])[:, 0])
    assert_close(scores[:, -1], linear(torch.full_like(IMAGES, 0.2)).gather(1, TARGET[:, None])[:, 0])


@pytest.mark.parametrize(
    ("steps", "spacing", "counts"),
    [
        (4, "linear", [0, 8, 15, 23, 30]),
        (4, "log", [0, 2, 5, 13, 30]),
        (1, "log", [0, 30]),
        ([0.1, 0.5], "linear", [0, 3, 15]),
        ([0, 0.5, 1], "linear", [0, 15, 30]),
    ],
)
def test_fractions_are_the_true_shares(steps: int | list[float], spacing: str, counts: list[int]) -> None:
    fractions, scores = PerturbationCurve(steps=steps, spacing=spacing)(linear, IMAGES, RELEVANCE, TARGET)
    assert_close(fractions, torch.tensor(counts, dtype=torch.float64) / 30)
    assert scores.shape == (BATCH, len(counts))


@pytest.mark.parametrize("imputer", [Constant(0.1), Noise(), Blur(), ImageMean()], ids=repr)
@pytest.mark.parametrize("order", ORDERS)
def test_no_batch_split_changes_a_curve(imputer: Imputer, order: str) -> None:
    tied = RELEVANCE.round()
    curve = PerturbationCurve(Pixels(), order, 7, imputer, "probability", 3)
    _, together = curve(linear, IMAGES, tied, TARGET)
    for max_batch in (1, 3, 16):
        _, cut = replace(curve, max_batch=max_batch)(linear, IMAGES, tied, TARGET)
        assert_close(cut, together)
    single = [curve(linear, IMAGES[i : i + 1], tied[i : i + 1], TARGET[i : i + 1])[1] for i in range(BATCH)]
    assert_close(torch.cat(single), together)
    _, turned = curve(linear, IMAGES.flip(0), tied.flip(0), TARGET.flip(0))
    assert_close(turned.flip(0), together)
    assert_close(curve(linear, IMAGES, tied, TARGET)[1], together, rtol=0, atol=0)


def test_the_model_sees_each_input_once_in_bounded_batches() -> None:
    sizes: list[int] = []

    def counting(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return linear(x)

    PerturbationCurve(Patches(3), steps=32, max_batch=8)(counting, IMAGES, RELEVANCE, TARGET)
    assert sum(sizes) == BATCH * 5  # 4 patches, so 5 different states
    assert max(sizes) <= 8
    assert max(sizes) - min(sizes) <= 1


def test_inputs_and_model_come_back_untouched() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(IMAGES[0].numel(), CLASSES)).double()
    x, before = IMAGES.clone(), [p.clone() for p in model.parameters()]
    _, scores = PerturbationCurve(steps=3)(model, x, RELEVANCE, TARGET)
    assert_close(x, IMAGES, rtol=0, atol=0)
    assert_close(list(model.parameters()), before, rtol=0, atol=0)
    assert not scores.requires_grad


def test_weights_as_target() -> None:
    weights = torch.nn.functional.one_hot(TARGET, CLASSES).double()
    for score in ("logit", "probability"):
        curve = PerturbationCurve(steps=4, score=score)
        assert_close(curve(linear, IMAGES, RELEVANCE, weights), curve(linear, IMAGES, RELEVANCE, TARGET))


# -- ties and chance


def test_share_of_ties() -> None:
    R = torch.tensor([[1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [0.0] * 8])
    assert_close(Features()(R, R).ties(), torch.tensor([5 / 8, 0.0, 1.0]))


def test_all_zero_relevance_is_a_random_order_with_no_gain() -> None:
    zero, curve = torch.zeros_like(IMAGES), PerturbationCurve(order="morf", steps=10)
    fractions, morf = curve(linear, IMAGES, zero, TARGET)
    _, lerf = replace(curve, order="lerf")(linear, IMAGES, zero, TARGET)
    _, chance = replace(curve, order="random")(linear, IMAGES, RELEVANCE, TARGET)
    assert_close(morf, chance)
    assert_close(srg(fractions, lerf, morf), torch.zeros(BATCH, dtype=torch.float64), rtol=0, atol=0)


def test_ties_are_broken_anew_by_each_seed_and_only_ties() -> None:
    tied = RELEVANCE.sign()
    curves = [PerturbationCurve(steps=10, seed=seed)(linear, IMAGES, tied, TARGET)[1] for seed in (0, 1)]
    assert not torch.allclose(*curves)
    untied = [PerturbationCurve(steps=10, seed=seed)(linear, IMAGES, RELEVANCE, TARGET)[1] for seed in (0, 1)]
    assert_close(*untied, rtol=0, atol=0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_turning_the_sign_turns_the_gain(seed: int) -> None:
    R = drawn(*IMAGES.shape, seed=seed).round()
    gains = []
    for signed in (R, -R):
        fractions, morf = PerturbationCurve(order="morf", steps=9)(linear, IMAGES, signed, TARGET)
        _, lerf = PerturbationCurve(order="lerf", steps=9)(linear, IMAGES, signed, TARGET)
        gains.append(srg(fractions, lerf, morf))
    assert_close(gains[0], -gains[1])


def test_random_attribution_gains_nothing_and_a_good_one_does() -> None:
    x = drawn(300, CHANNELS, HEIGHT, WIDTH, seed=8).requires_grad_()
    model = network()
    logits = model(x)
    target = logits.argmax(1)
    (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), x)
    x = x.detach()

    def gain(R: Tensor) -> tuple[float, float]:
        fractions, morf = PerturbationCurve(order="morf", steps=15)(model, x, R, target)
        _, lerf = PerturbationCurve(order="lerf", steps=15)(model, x, R, target)
        values = srg(fractions, lerf, morf)
        return values.mean().item(), 1.96 * values.std().item() / math.sqrt(len(values))

    chance, half_width = gain(drawn(*x.shape, seed=9))
    assert abs(chance) < half_width
    good, half_width = gain(gradient * x)
    assert good > 5 * half_width


# -- imputers


def filled(imputer: Imputer, x: Tensor, seed: int = 0) -> Tensor:
    """What an imputer puts everywhere."""
    return imputer(x, seed)(torch.arange(len(x)), torch.ones(len(x), *(1,) * (x.dim() - 1), dtype=torch.bool))


def test_constant_and_means() -> None:
    assert_close(filled(Constant(-2), IMAGES), torch.full_like(IMAGES, -2))
    assert_close(
        filled(ImageMean(), IMAGES)[3, 1], torch.full((HEIGHT, WIDTH), float(IMAGES[3, 1].numpy().mean())).double()
    )
    per_channel = filled(DatasetMean([0.5, -1]), IMAGES)
    assert_close(per_channel[:, 0], torch.full_like(IMAGES[:, 0], 0.5))
    assert_close(per_channel[:, 1], torch.full_like(IMAGES[:, 1], -1.0))
    assert_close(filled(DatasetMean(IMAGES.mean(0)), IMAGES)[2], IMAGES.mean(0))
    assert_close(filled(DatasetMean([1.0, 2.0]), torch.zeros(3, 2)), torch.tensor([[1.0, 2.0]] * 3))


@pytest.mark.parametrize("sigma", [0.5, 2.0, 20.0])
def test_blur_equals_scipy(sigma: float) -> None:
    def scipy_sum(image: Tensor) -> Tensor:
        return torch.from_numpy(gaussian_filter(image.numpy(), sigma, mode="constant", truncate=100))

    expected = scipy_sum(IMAGES[1, 0]) / scipy_sum(torch.ones_like(IMAGES[1, 0]))
    assert_close(filled(Blur(sigma), IMAGES)[1, 0], expected)


def test_noise_is_drawn_once_for_each_value_of_each_sample() -> None:
    noise = filled(Noise(2, 3), IMAGES)
    assert noise.unique().numel() == noise.numel()
    assert 2 <= noise.min() <= noise.max() < 3
    assert not torch.allclose(noise, filled(Noise(2, 3), IMAGES, seed=1))


@pytest.mark.parametrize("imputer", [Constant(9.0), Noise(), Blur(), ImageMean(), DatasetMean([1.0, 2.0])], ids=repr)
def test_only_what_is_removed_changes(imputer: Imputer) -> None:
    rows, removed = torch.tensor([4, 0, 4]), drawn(3, 1, HEIGHT, WIDTH) > 0
    x = imputer(IMAGES, 0)(rows, removed)
    everywhere = removed.expand_as(x)
    assert_close(x[~everywhere], IMAGES[rows][~everywhere], rtol=0, atol=0)
    assert_close(x[everywhere], filled(imputer, IMAGES)[rows][everywhere], rtol=0, atol=0)


# -- bad input

NOT_FINITE = RELEVANCE.clone()
NOT_FINITE[2, 0, 0, 0] = float("nan")


@pytest.mark.parametrize(
    "call",
    [
        lambda: PerturbationCurve(order="most"),
        lambda: PerturbationCurve(score="softmax"),
        lambda: PerturbationCurve(spacing="cubic"),
        lambda: PerturbationCurve(steps=0),
        lambda: PerturbationCurve(steps=2.5),
        lambda: PerturbationCurve(steps="many"),
        lambda: PerturbationCurve(steps=[]),
        lambda: PerturbationCurve(steps=[0.5, 0.2]),
        lambda: PerturbationCurve(steps=[0.5, 1.2]),
        lambda: PerturbationCurve(steps=[-0.5, 1]),
        lambda: PerturbationCurve(steps=["a"]),
        lambda: PerturbationCurve(max_batch=0),
        lambda: PerturbationCurve(seed="x"),
        lambda: Patches(0),
        lambda: Blur(0),
        lambda: Noise(1, 1),
        lambda: Constant("x"),
        lambda: PerturbationCurve()(linear, IMAGES, RELEVANCE[:, :1], TARGET),
        lambda: PerturbationCurve()(linear, IMAGES, NOT_FINITE, TARGET),
        lambda: PerturbationCurve()(linear, IMAGES, RELEVANCE, TARGET[:2]),
        lambda: PerturbationCurve()(linear, IMAGES, RELEVANCE, torch.tensor(1)),
        lambda: PerturbationCurve(Pixels())(linear, IMAGES[:, :, 0, 0], IMAGES[:, :, 0, 0], TARGET),
        lambda: PerturbationCurve(Patches(2))(linear, IMAGES[:, :, 0], IMAGES[:, :, 0], TARGET),
        lambda: PerturbationCurve(Patches(6))(linear, IMAGES, RELEVANCE, TARGET),
        lambda: PerturbationCurve(Features())(linear, IMAGES, RELEVANCE, TARGET),
        lambda: PerturbationCurve(score="log_odds")(linear, IMAGES, RELEVANCE, torch.ones(BATCH, CLASSES)),
        lambda: PerturbationCurve(score="accuracy")(linear, IMAGES, RELEVANCE, torch.ones(BATCH, CLASSES)),
        lambda: PerturbationCurve()(lambda x: linear(x)[:, :1], IMAGES, RELEVANCE, TARGET * 0),
        lambda: Blur()(IMAGES[:, :, 0], 0),
        lambda: ImageMean()(IMAGES[:, :, 0, 0], 0),
        lambda: DatasetMean([1.0, 2.0, 3.0])(IMAGES, 0),
    ],
)
def test_mistakes_are_named(call: Callable[[], object]) -> None:
    with pytest.raises(BenchError, match=r"(?s)Expected .* got .*: "):
        call()


def test_auc_of_a_log_spaced_curve_uses_the_true_fractions() -> None:
    fractions, scores = PerturbationCurve(Pixels(), "random", 6, Constant(0.0), "logit", 0, spacing="log")(
        lambda x: torch.stack([(x != 0).flatten(1).double().mean(1)] * 2, 1), IMAGES, RELEVANCE, TARGET * 0
    )
    assert_close(scores, (1 - fractions).expand(BATCH, -1))
    assert_close(auc(fractions, scores), torch.full((BATCH,), 0.5, dtype=torch.float64))
