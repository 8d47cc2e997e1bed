"""The perturbation engine against closed forms on linear models, and against a slow twin, one unit at a time."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import product

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from scipy.stats import chisquare, kstest
from skimage.segmentation import slic
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, NotApplicable
from lrp_bench.metrics.flipping import (
    Blur,
    Constant,
    DatasetMean,
    Features,
    ImageMean,
    Imputer,
    Inpaint,
    Noise,
    Patches,
    PerturbationCurve,
    Pixels,
    Road,
    Sample,
    Superpixels,
    Tokens,
    Unit,
    default_unit,
)
from lrp_bench.metrics.functional import aopc, auc, srg
from lrp_bench.metrics.imputers import FromData

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


SEGMENTS = torch.from_numpy(
    np.stack([slic(image.movedim(0, -1).numpy(), 6, 0.1, start_label=0, channel_axis=-1) for image in IMAGES])
)
TEXT, TEXT_RELEVANCE = drawn(BATCH, 7, 3, seed=4), drawn(BATCH, 7, 3, seed=5)
TEXT[1, 4:] = TEXT[2, 1:] = 0.0  # padding
TABLE, TABLE_RELEVANCE = drawn(BATCH, 9, seed=6), drawn(BATCH, 9, seed=7)
DATA = {
    "Pixels": (IMAGES, RELEVANCE),
    "Patches": (IMAGES, RELEVANCE),
    "Superpixels": (IMAGES, RELEVANCE),
    "Tokens": (TEXT, TEXT_RELEVANCE),
    "Features": (TABLE, TABLE_RELEVANCE),
}
UNITS = [Pixels(), Patches(1), Patches(2), Patches(5), Superpixels(6), Tokens(padding=0), Tokens(), Features()]


def groups_of(unit: Unit, sample: int) -> list[Tensor]:
    """What each unit of a sample holds, as masks of the sample's shape, found without the unit's own code."""
    x = DATA[type(unit).__name__][0][sample]
    empty = torch.zeros(x.shape, dtype=torch.bool)
    groups = []
    if isinstance(unit, Features | Tokens):
        length = {1: 4, 2: 1}.get(sample, 7) if unit == Tokens(padding=0) else len(x)
        for place in range(length):
            groups.append(empty.clone())
            groups[-1][place] = True
    elif isinstance(unit, Superpixels):
        groups = [(SEGMENTS[sample] == label).expand(x.shape) for label in range(int(SEGMENTS[sample].max()) + 1)]
    else:
        size = unit.size if isinstance(unit, Patches) else 1
        for top in range(0, HEIGHT, size):
            for left in range(0, WIDTH, size):
                groups.append(empty.clone())
                groups[-1][:, top : top + size, left : left + size] = True
    return groups


def slow_curve(
    curve: PerturbationCurve, model: Callable[[Tensor], Tensor], fill: Tensor, score: Callable[[Tensor, int], Tensor]
) -> tuple[Tensor, Tensor]:
    """(fractions, scores), sample by sample and step by step."""
    x, relevance = DATA[type(curve.unit).__name__]
    shares, table = torch.zeros(2, BATCH, int(str(curve.steps)) + 1, dtype=torch.float64)
    for i in range(BATCH):
        groups = groups_of(curve.unit, i)
        worth = [relevance[i][group].sum().item() / group.sum().item() for group in groups]
        order = sorted(range(len(groups)), key=lambda unit: worth[unit], reverse=curve.order == "morf")
        gone = [sum(int(groups[unit].sum()) for unit in order[:count]) for count in range(len(groups) + 1)]
        for step in range(table.shape[1]):
            wanted = Fraction(gone[-1] * step, table.shape[1] - 1)
            count = min(range(len(gone)), key=lambda n: (abs(gone[n] - wanted), -n))
            z = x[i].clone()
            for unit in order[:count]:
                z[groups[unit]] = fill[i][groups[unit]]
            shares[i, step] = gone[count] / gone[-1]
            table[i, step] = score(model(z.unsqueeze(0))[0], int(TARGET[i]))
    return shares, table


SCORES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "logit": lambda z, c: z[c],
    "probability": lambda z, c: z.exp()[c] / z.exp().sum(),
    "log_odds": lambda z, c: (z.softmax(0)[c] / (1 - z.softmax(0)[c])).log(),
    "accuracy": lambda z, c: (z.argmax() == c).double(),
}


def wavy(x: Tensor) -> Tensor:
    """A model for every shape of input that no linear one replaces."""
    weights = drawn(x[0].numel(), CLASSES, seed=11) / 4
    return (x.flatten(1) @ weights).tanh() + (x.flatten(1) @ weights).square() / 9


@pytest.mark.parametrize("unit", UNITS, ids=repr)
@pytest.mark.parametrize("order", ["morf", "lerf"])
@pytest.mark.parametrize("score", SCORES)
def test_equals_the_slow_twin(unit: Unit, order: str, score: str) -> None:
    curve = PerturbationCurve(unit, order, 4, Constant(0.3), score, seed=0)
    x, relevance = DATA[type(unit).__name__]
    trace = curve.trace(wavy, x, unit(x, relevance), TARGET)
    shares, scores = slow_curve(curve, wavy, torch.full_like(x, 0.3), SCORES[score])
    assert_close(trace.fractions, shares)
    assert_close(trace.scores, scores)
    one_size = unit(x, relevance).sizes is None
    assert_close(trace.grid, shares[0] if one_size else torch.linspace(0, 1, 5, dtype=torch.float64))
    assert_close(curve(wavy, x, relevance, TARGET), (trace.grid, trace.scores))


@pytest.mark.parametrize("unit", UNITS, ids=repr)
@pytest.mark.parametrize(
    "imputer", [Constant(0.7), DatasetMean(), ImageMean(), Noise(), Blur(), Road(0.1), Inpaint(), Sample()], ids=repr
)
def test_closed_form_of_every_unit_and_imputer_on_a_linear_model(unit: Unit, imputer: Imputer) -> None:
    x, relevance = DATA[type(unit).__name__]
    if x.dim() != 4 and isinstance(imputer, Blur | Road | Inpaint | ImageMean):
        pytest.skip("for images")
    ready = imputer.fitted(x.flip(0) / 2) if isinstance(imputer, FromData) else imputer
    weights = drawn(CLASSES, *x.shape[1:], seed=9)
    regions = unit(x, relevance)
    curve = PerturbationCurve(unit, "morf", regions.scores.shape[1], ready, "logit", 5, "unit")
    trace = curve.trace(lambda z: torch.einsum("b...,c...->bc", z, weights), x, regions, TARGET)
    numbers = regions.spread(torch.arange(regions.scores.shape[1]).expand(BATCH, -1)).expand(x.shape)
    fill = ready(x, 5)
    for i in range(BATCH):
        groups = groups_of(unit, i)
        worth = torch.stack([relevance[i][group].sum() / group.sum() for group in groups])
        best = worth.argsort(descending=True)
        state, expected = torch.zeros_like(numbers[i : i + 1], dtype=torch.bool), []
        for count in range(trace.scores.shape[1]):
            if 0 < count <= len(groups):
                state = state | groups[best[count - 1]].unsqueeze(0)
            mask = state if x.dim() == 2 else state[:, :1] if x.dim() == 4 else state[..., :1]
            value = fill(torch.tensor([i]), mask)[0]
            kept, filled = x[i][~state[0]], value[state[0]]
            weight = weights[TARGET[i]]
            expected.append((kept * weight[~state[0]]).sum() + (filled * weight[state[0]]).sum())
        assert_close(trace.scores[i], torch.stack(expected), rtol=0, atol=1e-6)
        assert_close(aopc(trace.scores)[i], expected[0] - torch.stack(expected).mean(), rtol=0, atol=1e-6)


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


@pytest.mark.parametrize(
    ("imputer", "unit"),
    [
        (Constant(0.1), Superpixels(6)),
        (Noise(), Pixels()),
        (Blur(), Patches(4)),
        (ImageMean(), Pixels()),
        (Road(0.5), Pixels()),
        (Inpaint(), Pixels()),
        (Sample(drawn(7, CHANNELS, HEIGHT, WIDTH, seed=12)), Pixels()),
    ],
    ids=repr,
)
@pytest.mark.parametrize("order", ORDERS)
def test_no_batch_split_changes_a_curve(imputer: Imputer, unit: Unit, order: str) -> None:
    tied = RELEVANCE.round()
    curve = PerturbationCurve(unit, order, 7, imputer, "probability", 3, draws=2)
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


def neighbours(image: Tensor, removed: Tensor) -> Tensor:
    """ROAD's linear system of one channel, pixel by pixel, solved by SciPy."""
    places = {tuple(place): row for row, place in enumerate(removed.nonzero().tolist())}
    system, known = lil_matrix((len(places), len(places))), np.zeros(len(places))
    for (i, j), row in places.items():
        for di, dj in product((-1, 0, 1), repeat=2):
            weight = {0: 0.0, 1: 1 / 6, 2: 1 / 12}[abs(di) + abs(dj)]
            there = (i + di, j + dj)
            if weight and 0 <= there[0] < image.shape[0] and 0 <= there[1] < image.shape[1]:
                system[row, row] += weight
                if there in places:
                    system[row, places[there]] -= weight
                else:
                    known[row] += weight * image[there].item()
    filled = image.clone()
    filled[removed] = torch.from_numpy(np.atleast_1d(spsolve(system.tocsc(), known)))
    return filled


@pytest.mark.parametrize("shape", [(5, 6), (17, 13), (32, 32)])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 0.999])
def test_road_solves_the_sparse_system(shape: tuple[int, int], share: float) -> None:
    images, noise = drawn(3, 2, *shape), drawn(3, 1, *shape, seed=1)
    removed = noise < noise.flatten(1).quantile(share, dim=1).reshape(3, 1, 1, 1)
    removed[2, 0, : shape[0] // 2] = share > 0  # half the image is one hole
    if share == 0.999:
        removed[0], removed[0, 0, 0, 0] = True, False  # all but a corner
    found = Road(sigma=0)(images, 0)(torch.arange(3), removed)
    for sample, channel in product(range(3), range(2)):
        expected = neighbours(images[sample, channel], removed[sample, 0])
        assert_close(found[sample, channel], expected, rtol=0, atol=1e-4)


def test_road_of_nothing_left_is_noise_of_the_given_size() -> None:
    images = drawn(20, 3, 30, 30)
    assert_close(filled(Road(sigma=0), images), torch.zeros_like(images))
    noise = filled(Road(sigma=0.3), images)
    assert_close(noise.std().item(), 0.3, rtol=0.02, atol=0)
    assert_close(noise.mean().item(), 0.0, rtol=0, atol=0.01)
    assert kstest(noise.flatten()[::7].numpy() / 0.3, "norm").pvalue > 1e-3
    assert noise.unique().numel() > 0.99 * noise.numel()
    assert not torch.allclose(noise, filled(Road(sigma=0.3), images, seed=1))


def test_road_in_single_precision() -> None:
    removed = drawn(BATCH, 1, 32, 32, seed=3) < 1
    images = drawn(BATCH, 3, 32, 32)
    single = Road(sigma=0)(images.float(), 0)(torch.arange(BATCH), removed)
    assert_close(single.double(), Road(0.0, 1e-10)(images, 0)(torch.arange(BATCH), removed), rtol=0, atol=1e-3)


METHODS = {"telea": cv2.INPAINT_TELEA, "navier_stokes": cv2.INPAINT_NS}
BLOCK = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
BLOCK[..., 10:14, 10:14] = True


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1 / 64, -2.0)])
def test_inpaint_equals_opencv_on_grey_levels_and_sees_nothing_of_the_holes(
    method: str, scale: float, shift: float
) -> None:
    removed = drawn(BATCH, 1, 28, 28, seed=3) < -0.5
    waves = torch.linspace(0, 4, 28).sin() * torch.linspace(1, 7, 28).cos()[:, None]
    grey = ((drawn(BATCH, 2, 28, 28).float() * 0.1 + waves).clamp(-1, 1) * 127.5 + 127.5).round()
    grey[..., 0, 0], grey[..., 0, 1], removed[..., 0, :2] = 0, 255, False  # all grey levels are known
    x = Inpaint(method)(grey * scale + shift, 0)(torch.arange(BATCH), removed)
    visible = grey.masked_fill(removed, 0.0).byte()
    expected = cv2.inpaint(visible[3, 1].numpy(), removed[3, 0].byte().numpy(), 3, METHODS[method])
    found = (x[3, 1] - shift) / scale
    assert_close(found, torch.from_numpy(expected).float(), rtol=0, atol=2.0)  # OpenCV rounds, and paints from that
    assert_close(found[~removed[3, 0]], grey[3, 1][~removed[3, 0]], rtol=0, atol=1e-4)
    other = torch.where(removed, grey * 5 + 2, grey) * scale + shift
    assert_close(Inpaint(method)(other, 0)(torch.arange(BATCH), removed), x)
    assert_close(filled(Inpaint(method), IMAGES), torch.zeros_like(IMAGES))


@pytest.mark.parametrize("method", METHODS)
def test_inpaint_goes_on_with_what_is_around_a_hole(method: str) -> None:
    constant = torch.full((1, 2, 28, 28), 0.3)
    assert_close(Inpaint(method)(constant, 0)(torch.tensor([0]), BLOCK), constant)
    ramp = torch.linspace(-1, 3, 28).expand(1, 1, 28, 28)
    assert_close(Inpaint(method)(ramp, 0)(torch.tensor([0]), BLOCK), ramp, rtol=0, atol=0.15)  # a pixel's step


def test_samples_are_of_the_training_set() -> None:
    pool = drawn(4, CHANNELS, HEIGHT, WIDTH, seed=20)
    many = drawn(400, CHANNELS, HEIGHT, WIDTH, seed=21)
    which = (filled(Sample(pool), many)[:, None] == pool).flatten(2).all(2)
    assert (which.sum(1) == 1).all()
    assert chisquare(which.sum(0).numpy()).pvalue > 1e-3
    columns = filled(Sample(TABLE), drawn(400, 9, seed=22))
    place = columns[:, None] == TABLE
    assert (place.sum(1) == 1).all()  # each column draws for itself
    assert place.all(2).any(1).float().mean() < 0.1
    assert chisquare(place.sum((0, 2)).numpy()).pvalue > 1e-3
    assert_close(Sample().fitted(pool).pool, pool)
    assert_close(Sample(pool).fitted(many).pool, pool)


def test_means_of_the_training_set() -> None:
    assert_close(filled(DatasetMean().fitted(IMAGES), IMAGES * 2)[1], IMAGES.mean(0))
    assert DatasetMean([1.0, 2.0]).fitted(IMAGES) == DatasetMean([1.0, 2.0])


def test_a_mask_token_takes_the_place_of_ids() -> None:
    ids = torch.arange(12).reshape(3, 4)
    x = Constant(103)(ids, 0)(torch.tensor([2, 0]), torch.tensor([[True, False, False, False], [False] * 4]))
    assert x.tolist() == [[103, 9, 10, 11], [0, 1, 2, 3]]


def test_superpixels_are_those_of_scikit_image() -> None:
    regions = Superpixels(6)(IMAGES, RELEVANCE)
    assert_close(Superpixels(6).labels(IMAGES), SEGMENTS.long())
    for i, label in product(range(BATCH), range(int(SEGMENTS.max()) + 1)):
        inside = SEGMENTS[i] == label
        assert regions.positions()[i, label] == inside.sum()
        if inside.any():
            assert_close(regions.scores[i, label], RELEVANCE[i].sum(0)[inside].mean())
    assert len({int(labels.max()) for labels in SEGMENTS}) > 1  # images differ in their number of segments
    assert_close(Superpixels(6).labels(IMAGES * 3 + 1), SEGMENTS.long())


@pytest.mark.parametrize("channels", [1, 3])
def test_superpixels_follow_the_image_at_the_default(channels: int) -> None:
    left, top = (torch.zeros(1, channels, 28, 28) for _ in range(2))
    left[..., :11], top[:, :, :11] = 1.0, 1.0
    labels = Superpixels().labels(torch.cat([left, top]))
    assert not torch.equal(labels[0], labels[1])
    for image, found in zip((left[0, 0], top[0, 0]), labels, strict=True):
        dark, bright = (set(found[image == value].tolist()) for value in (0, 1))
        assert not dark & bright  # no segment crosses the edge


@pytest.mark.parametrize(
    "imputer",
    [Constant(9.0), Noise(), Blur(), ImageMean(), DatasetMean([1.0, 2.0]), Sample(IMAGES.flip(0))],
    ids=repr,
)
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
        lambda: PerturbationCurve(steps=[0.0]),
        lambda: PerturbationCurve(steps=[0.5, 0.2]),
        lambda: PerturbationCurve(steps=[0.5, 1.2]),
        lambda: PerturbationCurve(steps=[-0.5, 1]),
        lambda: PerturbationCurve(steps=["a"]),
        lambda: PerturbationCurve(max_batch=0),
        lambda: PerturbationCurve(draws=0),
        lambda: Superpixels(1),
        lambda: Superpixels(compactness=0),
        lambda: Superpixels(sigma=-1),
        lambda: Tokens(padding=-1),
        lambda: Road(sigma=-1),
        lambda: Road(tolerance=0),
        lambda: Inpaint("paint"),
        lambda: Inpaint(radius=0),
        lambda: Sample()(IMAGES, 0),
        lambda: Sample(IMAGES[:, :1])(IMAGES, 0),
        lambda: DatasetMean()(IMAGES, 0),
        lambda: Constant(0.5)(IMAGES.long(), 0),
        lambda: Tokens()(TABLE, TABLE_RELEVANCE[:, :3]),
        lambda: Tokens()(TABLE, TABLE_RELEVANCE / 0),
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


@pytest.mark.parametrize(
    ("part", "x"),
    [
        *((unit, TABLE) for unit in (Pixels(), Patches(), Superpixels())),
        *((unit, IMAGES) for unit in (Features(), Tokens())),
        *((imputer, TABLE) for imputer in (ImageMean(), Blur(), Road(), Inpaint())),
        *((imputer, TABLE.long()) for imputer in (Noise(), DatasetMean([0.0] * 9))),
        *((imputer, IMAGES.long()) for imputer in (ImageMean(), Road(), Inpaint())),
    ],
    ids=repr,
)
def test_what_the_data_do_not_have_is_not_applicable(part: Unit | Imputer, x: Tensor) -> None:
    with pytest.raises(NotApplicable, match=r"Expected .* got .*: use"):
        part(x, x if isinstance(part, Pixels | Patches | Superpixels | Features | Tokens) else 0)


def test_missing_opencv_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BenchError, match=r"lrp-bench\[inpaint\]"):
        Inpaint()(IMAGES, 0)


@pytest.mark.parametrize("imputer", [Noise(), Sample(IMAGES.flip(0)), Road(1.0)], ids=repr)
def test_draws_are_averaged_and_all_different(imputer: Imputer) -> None:
    curve = PerturbationCurve(Patches(2), steps=3, imputer=imputer, score="logit")
    one, four = (replace(curve, draws=draws)(linear, IMAGES, RELEVANCE, TARGET)[1] for draws in (1, 4))
    assert_close(four[:, 0], one[:, 0])
    assert (four[:, 1:] != one[:, 1:]).all(1).any()
    single = [
        replace(curve, seed=draw * 2**32)(linear, IMAGES, RELEVANCE, TARGET)[1] for draw in range(4)
    ]  # as long as nothing is tied
    assert_close(four, torch.stack(single).mean(0))


def test_padding_is_never_removed() -> None:
    ids = torch.tensor([[5, 6, 7, 0], [8, 0, 0, 0], [0, 0, 0, 0]])
    seen: list[Tensor] = []

    def model(x: Tensor) -> Tensor:
        seen.append(x)
        return torch.nn.functional.one_hot(x, 10).sum(1).float()

    curve = PerturbationCurve(Tokens(padding=0), steps=4, imputer=Constant(9), score="logit")
    trace = curve.trace(model, ids, curve.unit(ids, torch.rand(3, 4)), torch.tensor([9, 9, 9]))
    assert all(((x == 0) == (ids[0] == 0)).all(1).any() or (x[0] == 0).sum() >= 3 for x in seen)
    assert_close(trace.scores[:, -1], torch.tensor([3.0, 1.0, 0.0]))  # mask tokens
    assert_close(trace.fractions[0], torch.tensor([0.0, 1 / 3, 2 / 3, 2 / 3, 1.0]))
    assert_close(trace.fractions[1], torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0]))
    assert auc(trace.fractions, trace.scores)[2].isnan()
    assert default_unit(ids) == Tokens()


def test_one_unit_a_step() -> None:
    trace = PerturbationCurve(Patches(4), steps=6, spacing="unit")
    fractions, _ = trace(linear, IMAGES, RELEVANCE, TARGET)
    assert_close(fractions, torch.tensor([0, 0.25, 0.5, 0.75, 1, 1, 1], dtype=torch.float64))
    fractions, _ = PerturbationCurve(steps=3, spacing="unit")(linear, IMAGES, RELEVANCE, TARGET)
    assert_close(fractions, torch.arange(4, dtype=torch.float64) / 30)


@pytest.mark.parametrize(
    ("units", "morf", "lerf"),
    [(10, [1, 1, 5, 9], [1, 1, 5, 9]), (3, [1, 1, 2, 2], [1, 1, 2, 2]), (1, [1, 1, 1, 1], [0, 0, 0, 0])],
)
def test_given_fractions_remove_something_and_leave_something(units: int, morf: list[int], lerf: list[int]) -> None:
    x, counts = torch.ones(1, 10), {"morf": morf, "lerf": lerf}
    x[:, units:] = 0  # padding
    for order in ("morf", "lerf"):
        curve = PerturbationCurve(Tokens(padding=0), order, [0.01, 0.1, 0.5, 0.99], Constant(7), "logit")
        trace = curve.trace(lambda z: (z == 7).sum(1, keepdim=True).float(), x, curve.unit(x, x), TARGET[:1])
        assert trace.scores[0].tolist() == [0, *counts[order]]


def test_auc_of_a_log_spaced_curve_uses_the_true_fractions() -> None:
    fractions, scores = PerturbationCurve(Pixels(), "random", 6, Constant(0.0), "logit", 0, spacing="log")(
        lambda x: torch.stack([(x != 0).flatten(1).double().mean(1)] * 2, 1), IMAGES, RELEVANCE, TARGET * 0
    )
    assert_close(scores, (1 - fractions).expand(BATCH, -1))
    assert_close(auc(fractions, scores), torch.full((BATCH,), 0.5, dtype=torch.float64))
