"""Captum's methods against closed forms and slow float64 twins; models that Captum gets wrong are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import zennit.attribution
import zennit.composites
import zennit.rules
import zennit.types
from captum import attr
from torch import Tensor, nn
from torch.nn import functional as F
from untouched import untouched

from lrp_bench.contracts import BenchError
from lrp_bench.explainers.captum import LRP, DeepLift, InputXGradient, IntegratedGradients, Saliency, Sensitivity

METHODS = [Saliency, Sensitivity, InputXGradient, IntegratedGradients, DeepLift, LRP]


class Residual(nn.Module):
    """A functional +, one ReLU used twice, a functional relu, a tensor with two readers, and an addition in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 3, padding=1)
        self.branch = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(3 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        z = self.stem(x)
        y = self.branch(F.relu(z)) + z
        y = self.relu(y)
        z = self.branch(y)
        z += y
        return self.head(torch.flatten(self.relu(z), 1))


class Functional(nn.Module):
    """Two linear maps with any function between."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Linear(6, 8), nn.Linear(8, 3), between

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x)))


class Branching(nn.Module):
    """Control flow on values: torch.fx cannot trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.second = nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.second(self.relu(h) if h.isfinite().all() else h)


class Reused(nn.Module):
    """Captum raises in the middle of its work: layers used twice, which control flow keeps from being told apart."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu = nn.Linear(72, 72), nn.ReLU()
        self.head = nn.Linear(72, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.first(x.flatten(1)))
        return self.head(self.relu(self.first(h)) if h.isfinite().all() else h)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 9), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 4)
    )


def minivgg() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Dropout(0.3),
        nn.Conv2d(5, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(3),
        nn.Flatten(),
        nn.Linear(6, 8),
        nn.ReLU(inplace=True),
        nn.Linear(8, 4),
    )


def images(batch: int = 5, seed: int = 1) -> Tensor:
    return torch.randn(batch, 2, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(batch: int = 5, seed: int = 1) -> Tensor:
    return torch.randn(batch, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """The model in float64, eval mode; batch norm with statistics that are not the identity."""
    torch.manual_seed(0)
    model = build().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model


def gradient(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).gather(1, target[:, None]).sum(), x)[0]


# closed forms


def test_saliency_is_the_gradient_with_or_without_sign_and_sensitivity_its_square() -> None:
    model, x = seeded(minivgg), images()
    expected = gradient(model, x, model(x).argmax(1))
    torch.testing.assert_close(Saliency(model, x, absolute=False).explain(x).relevance, expected)
    torch.testing.assert_close(Saliency(model, x).explain(x).relevance, expected.abs())
    torch.testing.assert_close(Sensitivity(model, x).explain(x).relevance, expected**2)


def test_input_x_gradient_on_a_linear_model_is_x_times_w() -> None:
    model, x, target = seeded(lambda: nn.Linear(6, 4)), rows(), torch.tensor([0, 3, 1, 2, 3])
    torch.testing.assert_close(InputXGradient(model, x).explain(x, target).relevance, x * model.weight[target])


@pytest.mark.parametrize("internal_batch_size", [1, 7, 512])
def test_integrated_gradients_on_a_quadratic_model(internal_batch_size: int) -> None:
    a = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    class Quadratic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("bi,cij,bj->bc", x, a, x)

    x, target, x0 = rows(), torch.tensor([2, 0, 1, 1, 2]), 0.7
    method = IntegratedGradients(Quadratic(), x, baseline=x0, internal_batch_size=internal_batch_size)
    expected = (x - x0) * torch.einsum("bij,bj->bi", (a + a.mT)[target], (x + x0) / 2)
    torch.testing.assert_close(method.explain(x, target).relevance, expected, rtol=1e-6, atol=1e-6)


def test_integrated_gradients_sum_to_the_change_of_the_score() -> None:
    model, x = seeded(minivgg), images()
    explanation = IntegratedGradients(model, x, n_steps=400).explain(x)
    start = model(torch.zeros_like(x)).gather(1, explanation.target[:, None])[:, 0]
    total = explanation.relevance.flatten(1).sum(1)
    torch.testing.assert_close(total, explanation.score - start, rtol=1e-2, atol=1e-2)


def test_deep_lift_is_the_rescale_rule() -> None:
    model, x, x0 = seeded(lambda: nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4))), rows(), 0.3
    explanation = DeepLift(model, x, baseline=x0).explain(x)
    z, z0 = model[0](x), model[0](torch.full_like(x, x0))
    multiplier = (z.relu() - z0.relu()) / (z - z0) * model[2].weight[explanation.target]
    torch.testing.assert_close(explanation.relevance, (x - x0) * (multiplier @ model[0].weight))


def test_deep_lift_sums_to_the_change_of_the_score_where_captum_alone_does_not() -> None:
    model, x = seeded(minivgg), images()
    explanation = DeepLift(model, x, baseline=0.5).explain(x)
    x0 = torch.full_like(x, 0.5)
    change = explanation.score - model(x0).gather(1, explanation.target[:, None])[:, 0]
    torch.testing.assert_close(explanation.relevance.flatten(1).sum(1), change)

    with pytest.warns(UserWarning, match="Setting forward, backward hooks"):
        alone = attr.DeepLift(copy.deepcopy(model)).attribute(x.clone().requires_grad_(), x0, target=explanation.target)
    assert not torch.allclose(alone.detach().flatten(1).sum(1), change, rtol=1e-2)


def test_deep_lift_without_biases_is_input_x_gradient() -> None:
    model, x = seeded(Residual), images()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.zeros_(parameter)
    explanation = DeepLift(model, x).explain(x)
    torch.testing.assert_close(explanation.relevance, x * gradient(model, x, explanation.target))


# LRP


def matrix_lrp(layers: list[nn.Module], x: Tensor, start: Tensor, epsilon: float) -> Tensor:
    """One sample through affine layers written as matrices: R_j = sum_k x_j w_jk R_k / (z_k + epsilon sign(z_k))."""
    values = [x]
    for layer in layers:
        values.append(layer(values[-1][None])[0])
    relevance = start
    for layer, a in zip(reversed(layers), reversed(values[:-1]), strict=True):
        relevance = matrix_step(layer, a, relevance, epsilon)
    return relevance


def matrix_step(layer: nn.Module, a: Tensor, relevance: Tensor, epsilon: float) -> Tensor:
    if isinstance(layer, nn.ReLU | nn.Tanh | nn.Dropout):
        return relevance
    if isinstance(layer, nn.Flatten):
        return relevance.view(a.shape)
    if isinstance(layer, nn.MaxPool2d):
        _, winner = F.max_pool2d(a[None], layer.kernel_size, return_indices=True)
        return torch.zeros_like(a.flatten(1)).scatter_add(1, winner[0].flatten(1), relevance.flatten(1)).view(a.shape)
    w = torch.autograd.functional.jacobian(lambda v: layer(v[None])[0].flatten(), a).flatten(1)
    z = layer(a[None])[0].flatten()
    share = relevance.flatten() / (z + epsilon * torch.where(z >= 0, 1.0, -1.0))
    return (a.flatten() * (w.T @ share)).view(a.shape)


@pytest.mark.parametrize(("build", "x"), [(mlp, rows()), (minivgg, images())])
@pytest.mark.parametrize("epsilon", [1e-6, 0.05])
def test_lrp_is_the_epsilon_rule_in_matrix_form(build: Callable[[], nn.Module], x: Tensor, epsilon: float) -> None:
    model = seeded(build)
    explanation = LRP(model, x, epsilon=epsilon).explain(x)
    start = F.one_hot(explanation.target, 4) * explanation.logits
    slow = copy.deepcopy(model)
    for module in slow.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    expected = torch.stack([matrix_lrp(list(slow), x[i], start[i], epsilon) for i in range(len(x))])
    torch.testing.assert_close(explanation.relevance, expected.detach(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("build", "x"), [(mlp, rows()), (minivgg, images())])
def test_lrp_agrees_with_zennit(build: Callable[[], nn.Module], x: Tensor) -> None:
    model, epsilon = seeded(build), 0.05
    explanation = LRP(model, x, epsilon=epsilon).explain(x)
    rule = zennit.rules.Epsilon(epsilon=epsilon)
    affine = (zennit.types.Linear, zennit.types.AvgPool, zennit.types.BatchNorm)
    composite = zennit.composites.LayerMapComposite(
        [(zennit.types.Activation, zennit.rules.Pass()), *((kind, rule) for kind in affine)]
    )
    start = F.one_hot(explanation.target, 4) * explanation.logits
    with zennit.attribution.Gradient(copy.deepcopy(model), composite) as attributor:
        _, expected = attributor(x, start)
    torch.testing.assert_close(explanation.relevance, expected, rtol=1e-4, atol=1e-7)


def test_lrp_of_a_relu_network_with_residuals_is_input_x_gradient() -> None:
    model, x = seeded(Residual), images()
    explanation = LRP(model, x, epsilon=1e-12).explain(x)
    expected = x * gradient(model, x, explanation.target)
    torch.testing.assert_close(explanation.relevance, expected, rtol=1e-4, atol=1e-7)


# refusals


OVERLAPPING = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(3, 1), nn.Flatten(), nn.Linear(12, 3))
WRONG = [
    pytest.param(LRP, Functional(torch.sigmoid), rows(), "input x gradient", id="lrp-sigmoid"),
    pytest.param(LRP, Functional(lambda z: z * z.sigmoid()), rows(), "input x gradient", id="lrp-gate"),
    pytest.param(LRP, Functional(lambda z: z.view(-1, 4, 2).mean(2).repeat(1, 2)), rows(), "input x", id="lrp-mean"),
    pytest.param(LRP, Functional(nn.GELU()), rows(), "no rule for GELU", id="lrp-gelu"),
    pytest.param(LRP, nn.Sequential(nn.Linear(6, 3), nn.Softmax(1)), rows(), "no rule for Softmax", id="lrp-softmax"),
    pytest.param(DeepLift, Functional(torch.sigmoid), rows(), "do not sum", id="deeplift-sigmoid"),
    pytest.param(DeepLift, Functional(nn.GELU()), rows(), "do not sum", id="deeplift-gelu"),
    pytest.param(DeepLift, nn.Sequential(nn.Linear(6, 3), nn.Softmax(1)), rows(), "do not sum", id="deeplift-softmax"),
    pytest.param(DeepLift, OVERLAPPING, images(), "do not sum", id="deeplift-overlapping-pool"),
]


@pytest.mark.parametrize(("method", "model", "x", "reason"), WRONG)
@pytest.mark.parametrize("example", ["real", "zero"])
def test_what_captum_gets_wrong_is_refused(
    method: type, model: nn.Module, x: Tensor, reason: str, example: str
) -> None:
    torch.manual_seed(0)
    with pytest.raises(BenchError, match=reason):
        method(model.double(), x if example == "real" else torch.zeros_like(x))


@pytest.mark.parametrize("method", METHODS)
def test_token_ids_are_refused(method: type) -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(BenchError, match=r"floating-point inputs, got torch\.int64"):
        method(model, torch.randint(0, 9, (2, 3)))


@pytest.mark.parametrize("method", METHODS)
def test_a_failure_inside_captum_is_one_clear_error(method: type) -> None:
    with pytest.raises(BenchError, match=f"Captum's {method.__name__} cannot explain this model: "):
        method(Functional(lambda z: z.detach()), rows().float())


@pytest.mark.parametrize("method", METHODS)
def test_a_model_without_classes_is_refused(method: type) -> None:
    with pytest.raises(BenchError, match=r"gives \(5, classes\), got shape \(5, 2, 6, 6\)"):
        method(nn.Identity(), images())


@pytest.mark.parametrize(
    "build",
    [
        lambda m, x: Saliency(m, x, absolute="no"),
        lambda m, x: IntegratedGradients(m, x, n_steps=0),
        lambda m, x: IntegratedGradients(m, x, n_steps="abc"),
        lambda m, x: IntegratedGradients(m, x, internal_batch_size=0),
        lambda m, x: IntegratedGradients(m, x, baseline="mean"),
        lambda m, x: DeepLift(m, x, baseline=float("nan")),
        lambda m, x: LRP(m, x, epsilon=0),
        lambda m, x: LRP(m, x, epsilon="abc"),
    ],
)
def test_a_bad_parameter_says_what_was_expected(build: Callable[[nn.Module, Tensor], object]) -> None:
    with pytest.raises(BenchError, match=r"^Expected .*, got "):
        build(nn.Linear(6, 4).double(), rows())


@pytest.mark.parametrize("target", [torch.tensor([0, 1]), torch.zeros(5), torch.full((5,), 4), torch.full((5,), -1)])
def test_a_target_that_is_no_class_is_refused(target: Tensor) -> None:
    method = Saliency(nn.Linear(6, 4).double(), rows())
    with pytest.raises(BenchError, match="Expected target"):
        method.explain(rows(), target)


# every method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("build", "x"), [(minivgg, images()), (Residual, images()), (Branching, rows()), (mlp, rows())]
)
def test_an_explanation_names_what_it_explains(method: type, build: Callable[[], nn.Module], x: Tensor) -> None:
    model = seeded(build)
    explainer = method(model, x)
    predicted = explainer.explain(x)
    logits = model(x).detach()
    torch.testing.assert_close(predicted.logits, logits)
    torch.testing.assert_close(predicted.target, logits.argmax(1))
    torch.testing.assert_close(predicted.score, logits.amax(1))
    assert predicted.relevance.shape == x.shape
    assert not predicted.relevance.requires_grad
    assert not predicted.layers
    assert not predicted.ledger

    other = explainer.explain(x, (predicted.target + 1) % logits.shape[1])
    assert not torch.allclose(other.relevance, predicted.relevance)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(method: type, context: Callable[[], torch.no_grad]) -> None:
    model, x = seeded(minivgg), images()
    expected = method(model, x).explain(x).relevance
    with context():
        explainer, target = method(model, x + 0), model(x).argmax(1)
        relevance = explainer.explain(x + 0, target).relevance
    torch.testing.assert_close(relevance, expected)


@pytest.mark.parametrize("method", METHODS)
def test_the_batch_does_not_matter(method: type) -> None:
    model, x = seeded(minivgg), images(6)
    x[:3, :, :3] = 0.0  # equal to the baseline: DeepLift's quotients are 0 / 0 there
    explainer = method(model, x)
    whole = explainer.explain(x).relevance
    parts = torch.cat([explainer.explain(part).relevance for part in x.split([1, 3, 2])])
    torch.testing.assert_close(parts, whole)


def gelu() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(72, 4), nn.GELU(), nn.Linear(4, 4))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("build", [minivgg, Residual])
def test_the_model_comes_back_untouched(method: type, build: Callable[[], nn.Module]) -> None:
    model, x = seeded(build), images()
    with untouched(model, x):
        method(model, x).explain(x)


@pytest.mark.parametrize("method", [DeepLift, LRP])
@pytest.mark.parametrize("build", [gelu, Reused])
def test_the_model_comes_back_untouched_when_refused(method: type, build: Callable[[], nn.Module]) -> None:
    model, x = seeded(build), images()
    with untouched(model, x), pytest.raises(BenchError, match="cannot explain this model"):
        method(model, x)


def test_a_model_in_training_mode_is_explained_as_it_predicts() -> None:
    model, x = seeded(minivgg), images()
    expected = Saliency(model, x).explain(x).relevance
    torch.testing.assert_close(Saliency(model.train(), x).explain(x).relevance, expected)
