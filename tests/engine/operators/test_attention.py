"""Attention, gates and norms against the propositions of Achtibat et al. 2024, written out on small matrices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from slow_attention import EPSILON, attend_slowly, dense, layer_norm, matmul, softmax, stable
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explanation
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import CPLRP, AttnLRP, Composite, Layered, Uniform
from lrp_bench.engine.rules import Attention, Epsilon, Gamma, Rule, Zero, ZPlus

pytestmark = pytest.mark.usefixtures("float64", "captured_once")


class Function(nn.Module):
    """A plain function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def explain(model: nn.Module, x: Tensor, rule: Rule | Composite, weights: Tensor | None = None) -> Explanation:
    """The explanation, once its ledger is found to close and to say where all that is missing went."""
    e = LRP(model, rule, example=x)(x, weights)
    assert_close(e.logits, model(x))
    lost = e.score - e.relevance.flatten(1).sum(1)
    total = torch.zeros_like(lost)
    for entry in e.ledger.values():
        assert_close(entry.arrived, entry.passed + entry.bias + entry.stabilizer + entry.rule, rtol=1e-9, atol=1e-11)
        total = total + entry.bias + entry.stabilizer + entry.rule
    assert_close(lost, total, rtol=1e-9, atol=1e-9)
    return e


def one_hot(e: Explanation) -> Tensor:
    return F.one_hot(e.target, e.logits.shape[1]).to(e.logits.dtype)


def test_softmax_is_proposition_3_1() -> None:
    x, weights = torch.randn(3, 5), torch.randn(3, 5)
    e = explain(nn.Softmax(1), x, AttnLRP(), weights)
    assert_close(e.relevance, softmax(x, weights * x.softmax(1)))


def test_log_softmax_is_its_taylor_expansion() -> None:
    x, weights = torch.randn(3, 5), torch.randn(3, 5)
    e = explain(nn.LogSoftmax(1), x, Uniform(Zero()), weights)
    for sample in range(3):
        J = torch.autograd.functional.jacobian(lambda v: v.log_softmax(0), x[sample])
        R_over_y = weights[sample]  # the relevance of y is weight * y
        assert_close(e.relevance[sample], x[sample] * (J.T @ R_over_y))


@pytest.mark.parametrize("product", [torch.matmul, torch.bmm, lambda a, b: torch.baddbmm(torch.zeros(1, 1, 1), a, b)])
def test_a_product_of_two_activations_is_proposition_3_3(product: Callable[[Tensor, Tensor], Tensor]) -> None:
    x = torch.randn(2, 7, 4)  # A: 3 tokens of 4, V: 4 of 4
    model = Function(lambda x: product(x[:, :3], x[:, 3:]).flatten(1))
    weights = torch.randn(2, 12)
    e = explain(model, x, AttnLRP(), weights)
    for sample in range(2):
        A, V = x[sample, :3], x[sample, 3:]
        RA, RV = matmul(A, V, weights[sample].view(3, 4) * (A @ V))
        assert_close(e.relevance[sample], torch.cat([RA, RV]), rtol=1e-4, atol=1e-5)  # baddbmm: one more epsilon
    assert_close(e.relevance.sum((1, 2)), e.score, rtol=1e-4, atol=1e-4)


def test_elementwise_product_shares_half_and_half() -> None:
    x = torch.randn(4, 6) + 3
    e = explain(Function(lambda x: x[:, :3] * x[:, 3:]), x, AttnLRP(1e-9))
    z = x[:, :3] * x[:, 3:] * one_hot(e)
    assert_close(e.relevance, torch.cat([z, z], 1) / 2)


def test_square_passes_on() -> None:
    """Both operands are the same tensor: half and half is all of it."""
    x = torch.randn(4, 6) + 3
    for f in (torch.square, lambda x: x * x, lambda x: x**2):
        e = explain(Function(f), x, AttnLRP(1e-9))
        assert_close(e.relevance, x.square() * one_hot(e))


GATES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "signal first": lambda signal, gate: signal * gate.sigmoid(),
    "gate first": lambda signal, gate: gate.sigmoid() * signal,
    "hard": lambda signal, gate: F.hardsigmoid(gate) * signal,
    "softmax": lambda signal, gate: gate.softmax(1) * signal,
    "moved and scaled": lambda signal, gate: (0.5 * gate.sigmoid()).unsqueeze(2).squeeze(2) * signal,
    "glu": lambda signal, gate: F.glu(torch.cat([signal, gate], 1), 1),
}


@pytest.mark.parametrize("gate", GATES)
def test_the_signal_takes_all(gate: str) -> None:
    x = torch.randn(4, 6) + 1
    model = Function(lambda x: GATES[gate](x[:, :3], x[:, 3:]))
    e = explain(model, x, Uniform(Epsilon(1e-9)))
    assert_close(e.relevance, torch.cat([model(x) * one_hot(e), torch.zeros(4, 3)], 1), atol=1e-6, rtol=1e-6)
    half = explain(model, x, AttnLRP(1e-9))
    assert_close(half.relevance[:, :3], e.relevance[:, :3] / 2, atol=1e-6, rtol=1e-6)


def test_two_gates_share_half_and_half() -> None:
    x = torch.randn(4, 6)
    model = Function(lambda x: x[:, :3].sigmoid() * x[:, 3:].sigmoid())
    e = explain(model, x, Uniform(Epsilon(1e-9)))
    z = model(x) * one_hot(e)
    assert_close(e.relevance, torch.cat([z, z], 1) / 2, atol=1e-6, rtol=1e-6)


def tokens(n: int = 4) -> Tensor:
    return torch.randn(2, n, 6)


@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm(bias: bool) -> None:
    norm = nn.LayerNorm(6, bias=bias)
    nn.init.normal_(norm.weight)
    if bias:
        nn.init.normal_(norm.bias)
    x = tokens()
    weights = torch.randn(2, 24)
    e = explain(nn.Sequential(norm, nn.Flatten()), x, AttnLRP(), weights)
    R = weights.view(2, 4, 6) * norm(x)
    assert_close(e.relevance, torch.stack([layer_norm(x[i], norm, R[i]) for i in range(2)]))


NORMS: dict[str, tuple[Callable[[], nn.Module], Callable[[Tensor], Tensor]]] = {
    "layer": (lambda: nn.LayerNorm(6), lambda x: (x - x.mean(-1, keepdim=True)) / _deviation(x, (-1,))),
    "layer of two": (
        lambda: nn.LayerNorm((4, 6)),
        lambda x: (x - x.mean((1, 2), keepdim=True)) / _deviation(x, (1, 2)),
    ),
    "rms": (lambda: nn.RMSNorm(6, eps=1e-5), lambda x: x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt().detach()),
    "rms written out, its scale in another shape": (
        lambda: Function(lambda x: x * torch.rsqrt(x.pow(2).mean(-1) + 1e-5).view(x.shape[0], -1, 1)),
        lambda x: x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt().detach(),
    ),
    "rms written out": (
        lambda: Function(lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)),
        lambda x: x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt().detach(),
    ),
    "divided by its length": (
        lambda: Function(lambda x: F.normalize(x, dim=-1)),
        lambda x: x / x.norm(dim=-1, keepdim=True).detach(),
    ),
    "group": (
        lambda: nn.GroupNorm(2, 4),
        lambda x: torch.cat([(g - g.mean((1, 2), keepdim=True)) / _deviation(g, (1, 2)) for g in x.split(2, 1)], 1),
    ),
    "instance": (
        lambda: nn.InstanceNorm1d(4, affine=True),
        lambda x: (x - x.mean(2, keepdim=True)) / _deviation(x, (2,)),
    ),
    "instance with running statistics": (
        lambda: nn.InstanceNorm1d(4, track_running_stats=True),
        lambda x: x / (1 + 1e-5) ** 0.5,
    ),
}


def _deviation(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return (x.var(dims, correction=0, keepdim=True) + 1e-5).sqrt().detach()


@pytest.mark.parametrize("norm", NORMS)
def test_norms_are_input_times_gradient_of_a_constant_scale(norm: str) -> None:
    """LRP-0 through an affine layer whose logits are weighted by w is x * J^T w."""
    make, written_out = NORMS[norm]
    x, weights = tokens(), torch.randn(2, 24)
    e = explain(nn.Sequential(make(), nn.Flatten()).eval(), x, Uniform(Zero()), weights)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(written_out(leaf).flatten(1), leaf, weights)
    assert_close(e.relevance, x * gradient)


def test_norm_bias_is_redistributed_to_its_own_feature() -> None:
    norm = nn.LayerNorm(6)
    nn.init.normal_(norm.bias)
    x = tokens()
    e = explain(nn.Sequential(norm, nn.Flatten()), x, AttnLRP(bias="redistribute"))
    assert_close(e.relevance.sum((1, 2)), e.score)


def test_norm_takes_no_signed_rule() -> None:
    with pytest.raises(BenchError, match="Expected Zero or Epsilon for layer_norm"):
        Layered({"layer_norm": ZPlus()})
    model = nn.Sequential(nn.LayerNorm(6), nn.Flatten(), nn.Linear(24, 3))
    composite = Layered(names={"*": Gamma()}, otherwise=Zero())
    coverage = {row.module: row.rule for row in LRP(model, composite, example=tokens()).coverage}
    assert coverage["2"] == repr(Gamma())
    assert coverage["0"] == repr(Epsilon())


class Attend(nn.Module):
    """Multi-head self-attention of torch, then a mean over tokens and a head."""

    def __init__(self, *, batch_first: bool = True, weights: bool = False, mask: Tensor | None = None) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(6, 2, batch_first=batch_first)
        nn.init.normal_(self.attend.in_proj_bias)
        self.head = nn.Linear(6, 3)
        self.options = {"need_weights": weights}
        self.batch_first, self.mask = batch_first, mask

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        y = self.attend(x, x, x, attn_mask=self.mask, **self.options)[0]
        return self.head(y.mean(1 if self.batch_first else 0))


def slow(model: Attend, x: Tensor, e: Explanation, *, constant: bool) -> Tensor:
    received = []
    for sample, weight in zip(x, one_hot(e), strict=True):
        y = model.attend(sample, sample, sample, attn_mask=model.mask)[0]
        R = dense(y.mean(0)[None], model.head.weight, model.head.bias, (weight * model.head(y.mean(0)))[None])[0]
        R = y / stable(y.sum(0) / len(y)) / len(y) * R
        received.append(attend_slowly(model.attend, sample, R, model.mask, constant=constant))
    return torch.stack(received).detach()


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masked", [False, True])
def test_multi_head_attention(weights: bool, batch_first: bool, masked: bool) -> None:
    mask = nn.Transformer.generate_square_subsequent_mask(4).double() if masked else None
    model, x = Attend(batch_first=batch_first, weights=weights, mask=mask).eval(), tokens()
    for rule, constant in ((AttnLRP(EPSILON), False), (CPLRP(EPSILON), True)):
        e = explain(model, x, rule)
        assert_close(e.relevance, slow(model, x, e, constant=constant), rtol=1e-3, atol=1e-4)


def test_attention_weights_take_nothing_in_cp_lrp() -> None:
    model, x = Attend().eval(), tokens()
    lrp = LRP(model, CPLRP(), example=x)
    ledger = lrp(x).ledger
    (weights,) = [row for row in lrp.coverage if "softmax" in row.operator]
    assert weights.rule == "softmax: constant"
    assert not ledger[weights.module].arrived.any()
    assert {row.rule for row in lrp.coverage if "matmul" in row.operator} <= {
        "product: the signal takes all",
        "product: half each",
    }


@pytest.mark.parametrize("causal", [False, True])
def test_scaled_dot_product_attention_is_its_parts(causal: bool) -> None:
    def attend(x: Tensor) -> Tensor:
        q, k, v = x.chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=0.7).flatten(1)

    def by_hand(x: Tensor) -> Tensor:
        q, k, v = x.chunk(3, -1)
        scores = q @ k.transpose(1, 2) * 0.7
        if causal:
            scores = scores.masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)
        return (scores.softmax(2) @ v).flatten(1)

    x, weights = tokens(), torch.randn(2, 8)
    together, apart = (explain(Function(f), x, AttnLRP(), weights) for f in (attend, by_hand))
    assert_close(together.relevance, apart.relevance)


def encoder(*, norm_first: bool, batch_first: bool = True) -> nn.Sequential:
    layer = nn.TransformerEncoderLayer(6, 2, 8, activation="gelu", batch_first=batch_first, norm_first=norm_first)
    stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    for p in stack.parameters():
        nn.init.normal_(p, std=0.4)
    return nn.Sequential(stack, nn.Flatten(), nn.Linear(24, 3)).eval()


class Written(nn.Module):
    """A transformer encoder, written out with linear layers, products and softmax alone."""

    def __init__(self, encoder: nn.TransformerEncoder, head: nn.Linear) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.encoder.layers:
            assert isinstance(layer, nn.TransformerEncoderLayer)
            if layer.norm_first:
                x = x + self.attend(layer.self_attn, layer.norm1(x))
                x = x + layer.linear2(F.gelu(layer.linear1(layer.norm2(x))))
            else:
                x = layer.norm1(x + self.attend(layer.self_attn, x))
                x = layer.norm2(x + layer.linear2(F.gelu(layer.linear1(x))))
        return self.head(x.flatten(1))

    def attend(self, m: nn.MultiheadAttention, x: Tensor) -> Tensor:
        batch, length, E = x.shape
        parts = zip(m.in_proj_weight.split(E), m.in_proj_bias.split(E), strict=True)
        q, k, v = (F.linear(x, w, b).view(batch, length, m.num_heads, -1).transpose(1, 2) for w, b in parts)
        A = (q @ k.transpose(2, 3) * (E // m.num_heads) ** -0.5).softmax(-1)
        return m.out_proj((A @ v).transpose(1, 2).reshape(batch, length, E))


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_encoder_is_its_parts(norm_first: bool) -> None:
    model, x = encoder(norm_first=norm_first), tokens()
    written = Written(model[0], model[2]).eval()
    for rule in (AttnLRP(), CPLRP()):
        one, other = explain(model, x, rule), explain(written, x, rule)
        assert_close(one.logits, other.logits)
        assert_close(one.relevance, other.relevance, rtol=1e-3, atol=1e-4)
    for rule in (AttnLRP(gamma=0.25), Uniform(ZPlus())):
        explain(model, x, rule)


class Padded(nn.Module):
    """A transformer encoder of sequences of several lengths, read at the first token."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(6, 3)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        return self.head(self.encoder(x, src_key_padding_mask=padding)[:, 0])


def test_what_is_padded_takes_no_part() -> None:
    """A sequence is explained as if the padding behind it were not there."""
    model, x = Padded().eval(), tokens()
    padding = torch.tensor([[False, False, False, True], [False, False, True, True]])
    together = LRP(model, AttnLRP(1e-12), example=(x, padding))((x, padding))
    alone = LRP(model, AttnLRP(1e-12), example=x)
    for sample, length in ((0, 3), (1, 2)):
        e = alone(x[sample : sample + 1, :length], together.target[sample : sample + 1])
        assert_close(together.relevance[0][sample, :length], e.relevance[0], rtol=1e-6, atol=1e-9)
        assert not together.relevance[0][sample, length:].any()


def test_keys_of_another_size() -> None:
    """Torch's own decomposition once took the batch of the example for another dimension here."""
    attend, head = nn.MultiheadAttention(6, 2, batch_first=True, kdim=3, vdim=3).eval(), nn.Linear(6, 2)
    x = torch.randn(3, 5, 6)
    lrp = LRP(Function(lambda x: head(attend(x, x[..., :3], x[..., 3:])[0].mean(1))), AttnLRP(), example=x)
    together, alone = lrp(x), [lrp(x[i : i + 1]) for i in range(3)]
    assert_close(together.relevance, torch.cat([e.relevance for e in alone]))


def test_samples_are_told_apart_wherever_they_lie() -> None:
    """Tokens first, or the batch first: the same ledger, sample by sample, and no sample knows of another."""
    torch.manual_seed(3)
    model, x = Attend(batch_first=False).eval(), torch.randn(3, 4, 6)
    lrp = LRP(model, AttnLRP(), example=x)
    together, alone = lrp(x), [lrp(x[i : i + 1]) for i in range(3)]
    assert_close(together.relevance, torch.cat([e.relevance for e in alone]))
    for name, entry in together.ledger.items():
        for part, values in vars(entry).items():
            assert_close(values, torch.cat([getattr(e.ledger[name], part) for e in alone]), rtol=1e-8, atol=1e-9)
        each = torch.cat([e.amplification[name] for e in alone])
        assert_close(together.amplification[name], each, rtol=1e-8, atol=1e-9, equal_nan=True)


def test_conserves_when_bias_is_redistributed() -> None:
    model, x = encoder(norm_first=True), tokens()
    e = explain(model, x, AttnLRP(bias="redistribute"))
    assert_close(e.relevance.sum((1, 2)), e.score, rtol=1e-6, atol=1e-6)


def test_class_token_takes_its_share() -> None:
    """A constant that is as long as the batch: what goes to it is in the ledger as bias."""

    class Classified(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.place = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(1, 5, 6))
            self.head = nn.Linear(6, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place.expand(x.shape[0], -1, -1)
            return self.head(x.sum(1))

    model, x = Classified(), tokens()
    lrp = LRP(model, Uniform(Zero()), example=x)
    e = explain(model, x, Uniform(Zero()))
    weight = model.head.weight[e.target]
    assert_close(e.relevance, x * weight[:, None, :])
    (join,) = [e.ledger[name] for name in e.ledger if name.endswith("cat")]
    assert_close(join.bias, (model.token[0, 0] * weight).sum(1))
    (grown,) = [e.amplification[name] for name in e.ledger if name.endswith("cat")]
    token = (model.token[0, 0] * weight).abs().sum(1)
    assert_close(grown, e.relevance.abs().sum((1, 2)) / (e.relevance.abs().sum((1, 2)) + token))
    assert any("constants take theirs" in row.rule for row in lrp.coverage)


def test_products_with_a_constant_matrix_follow_the_linear_rule() -> None:
    W, M = torch.randn(6, 3), torch.randn(5, 4)
    x, weights = tokens(), torch.randn(2, 15)
    model = Function(lambda x: (M @ (x @ W)).flatten(1))
    e = explain(model, x, Uniform(Zero()), weights)
    assert_close(e.relevance, x * torch.einsum("st,bsp,fp->btf", M, weights.view(2, 5, 3), W))
    assert {row.rule for row in LRP(model, Gamma(), example=x).coverage if "matmul" in row.operator} == {repr(Gamma())}


EINSUMS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "scores": (
        lambda x: torch.einsum("bid,bjd->bij", x[..., :3], x[..., 3:]),
        lambda x: x[..., :3] @ x[..., 3:].transpose(1, 2),
    ),
    "heads": (
        lambda x: torch.einsum("b i h, b j h -> h b i j", x, x + 1).permute(1, 0, 2, 3),
        lambda x: x.transpose(1, 2).unsqueeze(3) @ (x + 1).transpose(1, 2).unsqueeze(2),
    ),
    "linear": (lambda x: torch.einsum("bid,ed->bie", x, FIXED), lambda x: x @ FIXED.T),
    "implicit": (lambda x: torch.einsum("bid,dz", x, FIXED.T), lambda x: x @ FIXED.T),
    "summed": (lambda x: torch.einsum("bid,ed->be", x, FIXED), lambda x: x.sum(1) @ FIXED.T),
}
FIXED = torch.arange(18.0, dtype=torch.float64).reshape(3, 6).sin()


@pytest.mark.parametrize("name", EINSUMS)
def test_einsum_is_a_matrix_product(name: str) -> None:
    x = tokens()
    summed, written = (explain(nn.Sequential(Function(f), nn.Flatten()), x, AttnLRP(1e-9)) for f in EINSUMS[name])
    assert_close(summed.logits, written.logits)
    assert_close(summed.relevance, written.relevance)


def test_an_einsum_that_is_none_is_refused() -> None:
    with pytest.raises(BenchError, match="got aten::einsum"):
        LRP(Function(lambda x: torch.einsum("bii->bi", x)), AttnLRP(), example=torch.rand(2, 3, 3))


def test_addmm_is_a_linear_layer() -> None:
    linear = nn.Linear(6, 3)
    x = torch.randn(2, 6)
    model = Function(lambda x: torch.addmm(linear.bias, x, linear.weight.T))
    for rule in (Epsilon(), ZPlus()):
        assert_close(explain(model, x, rule).relevance, explain(linear, x, rule).relevance)


def test_relative_epsilon_needs_the_batch_first() -> None:
    with pytest.raises(BenchError, match="samples do not lie along the first dimension"):
        LRP(Attend(batch_first=False), Epsilon(0.1, relative=True), example=tokens())


@pytest.mark.parametrize("model", [Function(lambda x: x.cumprod(1)), Function(lambda x: torch.cat([x, x.ceil()], 1))])
def test_unknown_operators_are_named(model: nn.Module) -> None:
    with pytest.raises(BenchError, match=r"got aten::(cumprod|ceil) in the model itself"):
        LRP(model, AttnLRP(), example=torch.rand(2, 3))


def test_options_are_checked() -> None:
    with pytest.raises(BenchError, match="Expected matmul of Attention to be one of half, signal"):
        Attention(matmul="all")  # type: ignore[arg-type]
