"""The contract of every evaluator in conf/metric, and of some with other settings."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from linear import InputXGradient, Linear
from omegaconf import OmegaConf
from torch import Tensor
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explainer, Explanation, NotApplicable, Scores
from lrp_bench.metrics import (
    Adversarial,
    Agreement,
    Conservation,
    Context,
    Evaluator,
    Flipping,
    Localisation,
    NormalisedAOPC,
    Randomisation,
    RandomLogit,
    Robustness,
    Sparseness,
)
from lrp_bench.metrics.evaluators.agreement.agreement import KINDS
from lrp_bench.metrics.flipping import (
    Blur,
    Constant,
    Features,
    Noise,
    Patches,
    PerturbationCurve,
    Road,
    Sample,
    Superpixels,
)
from lrp_bench.metrics.functional import auc

# times, columns of tables, texts, and what trains other models or knows the data's range: see test_cost.py,
# test_columns.py, test_text.py, test_retraining.py and test_adversarial.py
ELSEWHERE = {"cost", "relevance", "permutation", "word_deletion", "summands"}
ELSEWHERE |= {"two_models", "uncertainty", "selection", "adversarial"}
FOLDER = Path(__file__).parents[3] / "conf" / "metric"
CONFIGS = sorted(path for path in FOLDER.glob("*.yaml") if path.stem not in ELSEWHERE)
BATCH, SHAPE, CLASSES = 12, (2, 6, 6), 3


# what is made for larger images
SMALLER = {
    "samek": {"samek": {"unit": {"size": 2}, "steps": 9, "draws": 2}},
    "flipping_bluecher": {"flipping_bluecher": {"unit": {"segments": 9}, "draws": 2}},
    "naopc": {"naopc": {"beam": 2, "unit": {"_target_": "lrp_bench.metrics.flipping.Patches", "size": 2}}},
}


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


INPUTS, WEIGHTS = drawn(BATCH, *SHAPE, seed=0), drawn(CLASSES, *SHAPE, seed=1) / 6


def wrong(x: Tensor, weight: Tensor) -> Tensor:
    """Of the opposite sign, in another order, and rough."""
    return -weight * x * (1.5 + torch.sin(300 * x))


class Blind(InputXGradient):
    """Wrong, and the same for every class and every model: of the trained model and its predicted class."""

    def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
        trained = WEIGHTS[InputXGradient(Linear(WEIGHTS)).explain(inputs).target]
        return replace(super().explain(inputs, target), relevance=wrong(inputs, trained))


model = Linear(WEIGHTS)
LOGITS = model(INPUTS).detach()
TARGET = LOGITS.argmax(1)
TRAINING = drawn(20, *SHAPE, seed=2)
GOOD = WEIGHTS[TARGET] * INPUTS
BAD = wrong(INPUTS, WEIGHTS[TARGET])
MASK = GOOD.sum(1) >= GOOD.sum(1).flatten(1).topk(9).values[:, -1, None, None]
BASELINES = {"input_x_gradient": GOOD, "saliency": WEIGHTS[TARGET].abs()}


def context(
    baselines: Mapping[str, Tensor] = BASELINES,
    rows: slice = slice(None),
    explainer: Callable[[Linear], Explainer] = InputXGradient,
    mask: Tensor | None = MASK,
) -> Context:
    held = {name: other[rows] for name, other in baselines.items()}
    given = None if mask is None else mask[rows]
    return Context(model, held, explainer(model), explainer, mask=given, background=TRAINING)


def explained(relevance: Tensor, rows: slice = slice(None)) -> Explanation:
    score = LOGITS.gather(1, TARGET[:, None])[:, 0]
    return Explanation(INPUTS[rows], LOGITS[rows], TARGET[rows], score[rows], relevance[rows])


def configured(path: Path) -> Evaluator:
    root = {"seed": 0, "imputer": {"_target_": "lrp_bench.metrics.flipping.Constant"}}
    config = OmegaConf.merge(root, {"metric": OmegaConf.load(path)}, {"metric": SMALLER.get(path.stem, {})})
    (name,) = config.metric
    assert name == path.stem
    return instantiate(config.metric[name])


EVALUATORS: dict[str, Callable[[], Evaluator]] = {
    **{path.stem: lambda path=path: configured(path) for path in CONFIGS if path.stem != "cost"},  # see test_cost
    "flipping_logit_patches_noise": lambda: Flipping(Patches(4), 5, Noise(), "logit", seed=3),
    "flipping_log_odds_blur": lambda: Flipping(steps=[0.1, 0.5], imputer=Blur(1.0), score="log_odds", max_batch=7),
    "flipping_accuracy": lambda: Flipping(score="accuracy", spacing="log"),
    "adversarial": lambda: Adversarial(0.3, low=-9.0, high=9.0),
    "agreement_half": lambda: Agreement(top_share=0.5),
    "mprt_last_step": lambda: Randomisation(layers=1, seed=5),
    "agreement_all_on_patches": lambda: Agreement(list(KINDS), 0.5, patch=2),
    "agreement_all_absolute": lambda: Agreement(list(KINDS), absolute=True, mask_zeros=True),
    "robustness_as_it_is": lambda: Robustness(0.3, 3, 7, 0.4, 1.0, rescale=False, seed=3, max_batch=5),
}
every_evaluator = pytest.mark.parametrize("make", EVALUATORS.values(), ids=EVALUATORS)


def evaluate(
    make: Callable[[], Evaluator],
    relevance: Tensor,
    sizes: tuple[int, ...] = (BATCH,),
    explainer: Callable[[Linear], Explainer] = InputXGradient,
) -> Scores:
    evaluator, start = make(), 0
    for size in sizes:
        rows = slice(start, start + size)
        evaluator.update(explained(relevance, rows), context(rows=rows, explainer=explainer))
        start += size
    return evaluator.compute()


PARTLY = {"adversarial/spearman_predicted"}  # said of those samples alone whose class the perturbation changes


def test_every_config_is_held_to_the_contract() -> None:
    known = {"agreement", "conservation", "flipping", "localisation", "mprt", "random_logit", "robustness"}
    assert {path.stem for path in CONFIGS} >= known
    assert {path.stem for path in CONFIGS} <= set(EVALUATORS)


@every_evaluator
def test_one_finite_value_per_sample_within_bounds(make: Callable[[], Evaluator]) -> None:
    scores = evaluate(make, GOOD)
    assert set(scores.values) == set(scores.measures)
    assert any(measure.headline for measure in scores.measures.values())
    for name, values in scores.values.items():
        measure = scores.measures[name]
        assert values.shape == (BATCH,)
        defined = values[values.isfinite()]
        assert len(defined) == BATCH or (name in PARTLY and len(defined))
        assert (defined >= measure.lower - 1e-6).all()
        assert (defined <= measure.upper + 1e-6).all()
        assert name.startswith(measure.family + "/")
    for curve in scores.curves.values():
        assert curve.scores.shape == (BATCH, *curve.fractions.shape)


@every_evaluator
def test_direction_is_honest(make: Callable[[], Evaluator]) -> None:
    good, bad = evaluate(make, GOOD), evaluate(make, BAD, explainer=Blind)
    # saliency has no sign and is not what the planted explanations differ in
    directed = {name: each for name, each in good.measures.items() if "saliency" not in name}
    for name, measure in directed.items():
        better, worse = good.values[name].mean(), bad.values[name].mean()
        if measure.higher_is_better is not None:
            assert better > worse if measure.higher_is_better else better < worse, name


def test_only_sparseness_has_no_direction() -> None:
    scores = {path.stem: evaluate(lambda path=path: configured(path), GOOD) for path in CONFIGS}
    undirected = {
        name for name, each in scores.items() if all(m.higher_is_better is None for m in each.measures.values())
    }
    assert undirected == {"sparseness"}


@every_evaluator
@pytest.mark.parametrize("sizes", [(5, 7), (1,) * BATCH, (11, 1)])
def test_no_batch_split_changes_the_values(make: Callable[[], Evaluator], sizes: tuple[int, ...]) -> None:
    relevance = (GOOD * 20).round()
    whole, parts = evaluate(make, relevance), evaluate(make, relevance, sizes)
    assert_close(parts.values, dict(whole.values), equal_nan=True)
    for name, curve in whole.curves.items():
        assert_close(parts.curves[name].scores, curve.scores)
        assert_close(parts.curves[name].fractions, curve.fractions)


@every_evaluator
def test_same_seed_same_bits(make: Callable[[], Evaluator]) -> None:
    first, again = evaluate(make, GOOD), evaluate(make, GOOD)
    assert_close(again.values, dict(first.values), rtol=0, atol=0, equal_nan=True)


@every_evaluator
def test_a_single_sample_keeps_its_axis(make: Callable[[], Evaluator]) -> None:
    scores = evaluate(make, GOOD, (1,))
    assert {values.shape for values in scores.values.values()} == {(1,)}


@every_evaluator
def test_a_table_is_evaluated_by_column(make: Callable[[], Evaluator]) -> None:
    evaluator, columns = make(), WEIGHTS.flatten(1)[:, :5]
    x = INPUTS.flatten(1)[:, :5]
    R = columns[TARGET] * x
    table = Explanation(x, x @ columns.T, TARGET, R.sum(1), R)
    net = Linear(columns)
    background = TRAINING.flatten(1)[:, :5]
    gradient = {"gradient": columns[TARGET]}
    beside = Context(net, gradient, InputXGradient(net), InputXGradient, mask=x > 0, background=background)
    if for_images(evaluator):
        with pytest.raises(NotApplicable, match="images"):
            evaluator.update(table, beside)
    else:
        evaluator.update(table, beside)
        assert {values.shape for values in evaluator.compute().values.values()} == {(BATCH,)}


@pytest.mark.parametrize(
    "make",
    [Agreement, Localisation, Sparseness, Robustness, RandomLogit, Randomisation],
    ids=lambda make: make.__name__,
)
def test_three_axes_are_not_guessed_at_and_four_are_clear(make: Callable[[], Evaluator]) -> None:
    """Tokens with embeddings and signals with channels have one shape; as four axes both are given as they are."""
    for shape in ((4, 18), (4, 1, 18)):
        x, weights = INPUTS.reshape(BATCH, *shape), WEIGHTS.reshape(CLASSES, *shape)
        net = Linear(weights)
        explanation = InputXGradient(net).explain(x)
        beside = Context(
            net, {"saliency": weights[TARGET].abs()}, InputXGradient(net), InputXGradient, mask=x[:, 0] > 0
        )
        evaluator = make()
        if len(shape) == 2:
            with pytest.raises(NotApplicable, match=r"2, 4 or more axes, got \(12, 4, 18\)"):
                evaluator.update(explanation, beside)
        else:
            evaluator.update(explanation, beside)
            assert all(values.isfinite().all() for values in evaluator.compute().values.values())


def for_images(evaluator: Evaluator) -> bool:
    if isinstance(evaluator, Agreement):
        return evaluator.patches is not None
    if isinstance(evaluator, NormalisedAOPC):
        return evaluator.unit is not None
    return isinstance(evaluator, Flipping) and any(
        isinstance(part, Patches | Superpixels | Blur | Road)
        for curve in evaluator.curves.values()
        for part in (evaluator.unit, curve.imputer)
    )


@every_evaluator
def test_reset_copy_and_pickle(make: Callable[[], Evaluator]) -> None:
    evaluator = make()
    evaluator.update(explained(GOOD), context())
    expected = dict(evaluator.compute().values)
    for twin in (copy.deepcopy(evaluator), pickle.loads(pickle.dumps(evaluator))):
        assert_close(dict(twin.compute().values), expected, equal_nan=True)
    evaluator.reset()
    evaluator.update(explained(GOOD, slice(4)), context({"other": GOOD}, slice(4)))
    assert {len(values) for values in evaluator.compute().values.values()} == {4}


@every_evaluator
def test_several_processes_gather_their_samples(make: Callable[[], Evaluator]) -> None:
    evaluator = make()
    evaluator.distributed_available_fn = lambda: True
    evaluator.dist_sync_fn = lambda state, group: [state, state]
    evaluator.update(explained(GOOD), context())
    alone = evaluate(make, GOOD)
    assert_close(
        dict(evaluator.compute().values),
        {name: torch.cat([values, values]) for name, values in alone.values.items()},
        equal_nan=True,
    )


@every_evaluator
def test_relevance_that_cannot_be_used_is_named(make: Callable[[], Evaluator]) -> None:
    infinite = GOOD.clone()
    infinite[3, 0, 0, 0] = float("inf")
    for relevance, words in ((infinite, "1 of 12 samples"), (GOOD[:, :1], r"\(12, 2, 6, 6\), got \(12, 1, 6, 6\)")):
        with pytest.raises(BenchError, match=words):
            make().update(explained(relevance), context())


@every_evaluator
def test_compute_wants_a_batch(make: Callable[[], Evaluator]) -> None:
    with pytest.raises(BenchError, match="call update first"):
        make().compute()


def test_all_zero_relevance_is_a_result() -> None:
    zero = torch.zeros_like(GOOD)
    conservation, flipping, agreement = (evaluate(make, zero) for make in (Conservation, Flipping, Agreement))
    localisation, sparseness, robustness = (evaluate(make, zero) for make in (Localisation, Sparseness, Robustness))
    assert_close(conservation.values["conservation/error"], torch.ones(BATCH))
    assert_close(flipping.values["flipping/ties"], torch.ones(BATCH))
    assert_close(flipping.values["flipping/srg_probability"], torch.zeros(BATCH))
    assert_close(agreement.values["agreement/zeros"], torch.ones(BATCH))
    for kind in ("spearman", "cosine", "top_k"):
        assert agreement.values[f"agreement/saliency/{kind}"].isnan().all()
    for kind in ("relevance_mass", "relevance_rank", "pointing_game"):
        assert localisation.values[f"localisation/{kind}"].isnan().all()
    assert all(values.isnan().all() for values in sparseness.values.values())
    assert robustness.values["robustness/max_sensitivity"].isnan().all()
    assert (robustness.values["robustness/infidelity"] > 0).all()


def test_conservation_of_planted_relevance() -> None:
    scores = evaluate(Conservation, 1.5 * GOOD)
    assert_close(scores.values["conservation/error"], torch.full((BATCH,), 0.5))
    assert_close(scores.values["conservation/delta"], -0.5 * explained(GOOD).score)


def test_agreement_is_on_pixels() -> None:
    moved = GOOD.flip(1)  # other channels, same pixels
    scores = evaluate(Agreement, moved)
    for kind in ("spearman", "cosine", "top_k"):
        assert_close(scores.values[f"agreement/input_x_gradient/{kind}"], torch.ones(BATCH))


def test_agreement_names_what_is_wrong_with_baselines() -> None:
    with pytest.raises(BenchError, match="relevance of saliency"):
        Agreement().update(explained(GOOD), Context(model, {"saliency": GOOD / 0}))
    agreement = Agreement()
    agreement.update(explained(GOOD), Context(model, BASELINES, background=TRAINING))
    with pytest.raises(BenchError, match="of the first batch"):
        agreement.update(explained(GOOD), Context(model, {**BASELINES, "late": GOOD}))


def test_a_baseline_missing_from_a_later_batch_is_left_out() -> None:
    agreement = Agreement()
    for rows, baselines in ((slice(5), BASELINES), (slice(5, BATCH), {"saliency": BASELINES["saliency"]})):
        held = {name: other[rows] for name, other in baselines.items()}
        agreement.update(explained(GOOD, rows), Context(model, held))
    expected = {name: values for name, values in evaluate(Agreement, GOOD).values.items() if "gradient" not in name}
    assert_close(dict(agreement.compute().values), expected)


@pytest.mark.parametrize(
    ("make", "lacking"),
    [
        (Agreement, {"baselines": {}}),
        (Localisation, {"mask": None}),
        (lambda: Agreement(patch=2), {"baselines": {}}),
    ],
)
def test_what_does_not_apply_is_told(make: Callable[[], Evaluator], lacking: dict[str, object]) -> None:
    with pytest.raises(NotApplicable, match="leave out the metric"):
        make().update(explained(GOOD), context(**lacking))


def test_flipping_refuses_to_mix_sizes() -> None:
    flipping, small = Flipping(steps=7), GOOD[:, :, :5, :5]
    flipping.update(explained(GOOD), Context(model, {}))
    other = Explanation(small, LOGITS, TARGET, LOGITS[:, 0], small)
    with pytest.raises(BenchError, match="first batch's size"):
        flipping.update(other, Context(lambda x: x.flatten(1)[:, :3], {}))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Conservation(0),
        lambda: Agreement(top_share=2.0),
        lambda: Flipping(steps=0),
        lambda: Flipping(score="x"),
        lambda: Flipping(readings=["aopc"]),
        lambda: Flipping(readings=["sufficiency"]),
        lambda: Flipping(readings=["sufficiency"], steps=[0.0, 0.1, 0.5]),
        lambda: Flipping(readings=["comprehensiveness", "sufficiency"], steps=[0.1, 0.5, 1.0]),
        lambda: Flipping(readings=[]),
        lambda: Flipping(readings="srg"),
        lambda: Flipping(headlines=("sgr",)),
        lambda: Flipping(readings=["insertion"], headlines=["srg"]),
        lambda: Flipping(steps=[0.0]),
        lambda: NormalisedAOPC(beam=0),
    ],
)
def test_settings_are_checked_at_once(make: Callable[[], Evaluator]) -> None:
    with pytest.raises(BenchError, match=r"Expected .* got "):
        make()


def test_values_of_one_sweep_do_not_collide() -> None:
    names = [name for make in (configured(path) for path in CONFIGS) for name in getattr(make, "measures", {})]
    assert len(names) == len(set(names))


def test_an_imputer_gets_the_training_inputs() -> None:
    own, given = (Flipping(steps=3, imputer=imputer, score="logit") for imputer in (Sample(TRAINING), Sample()))
    for evaluator in (own, given):
        evaluator.update(explained(GOOD), Context(model, background=TRAINING))
    assert_close(dict(given.compute().values), dict(own.compute().values))
    with pytest.raises(BenchError, match="training inputs, got none"):
        Flipping(imputer=Sample()).update(explained(GOOD), Context(model))


def test_readings_of_planted_curves() -> None:
    """The model sums up what is left, relevance is the input: everything is known in closed form."""
    x = torch.tensor([[4.0, 3.0, 2.0, 1.0, 0.0]] * 2)
    target = torch.tensor([0, 0])
    explanation = Explanation(x, x, target, x.sum(1), x)
    readings = ["aopc_morf", "aopc_lerf", "abpc", "srg", "deletion", "insertion", "remaining_morf", "remaining_lerf"]
    context = Context(lambda z: torch.stack([z.sum(1), 0 * z.sum(1)], 1))
    found = {}
    for options in (
        {"readings": readings, "steps": 5},
        {"readings": ["comprehensiveness", "sufficiency"], "steps": [0.2, 0.6], "name": "eraser"},
    ):
        evaluator = Flipping(Features(), imputer=Constant(0.0), score="logit", **options)
        evaluator.update(explanation, context)
        found |= {name: values[0].item() for name, values in evaluator.compute().values.items()}
    morf, lerf = [10, 6, 3, 1, 0, 0], [10, 10, 9, 7, 4, 0]
    expected = {
        "flipping/aopc_morf_logit": 10 - sum(morf) / 6,
        "flipping/aopc_lerf_logit": 10 - sum(lerf) / 6,
        "flipping/abpc_logit": (sum(lerf) - sum(morf)) / 6,
        "flipping/deletion_logit": (sum(morf) - 5) / 5,
        "flipping/insertion_logit": (sum(lerf) - 5) / 5,
        "flipping/srg_logit": (sum(lerf) - sum(morf)) / 5,
        "flipping/remaining_morf_logit": sum(morf[1:]) / 5,
        "flipping/remaining_lerf_logit": sum(lerf[1:]) / 5,
        "flipping/ties": 0.0,
        "eraser/comprehensiveness_logit": ((10 - 6) + (10 - 1)) / 2,
        "eraser/sufficiency_logit": ((10 - 4) + (10 - 9)) / 2,
        "eraser/ties": 0.0,
    }
    assert found == pytest.approx(expected)


def test_comprehensiveness_and_sufficiency_of_four_features() -> None:
    """Each share is at least a feature: 1, 1, 1, 1 and 2 of the four are removed, and kept."""
    x, target = torch.tensor([[8.0, 4.0, 2.0, 1.0]]), torch.tensor([0])
    evaluator = configured(FOLDER / "comprehensiveness.yaml")
    probability = lambda z: torch.stack([z.sum(1).sigmoid().logit(), 0 * z.sum(1)], 1)  # noqa: E731
    evaluator.update(Explanation(x, probability(x), target, x.sum(1), x), Context(probability))
    values = evaluator.compute().values
    p = lambda *left: 1 / (1 + math.exp(-sum(left)))  # noqa: E731
    expected = {
        "comprehensiveness": p(8, 4, 2, 1) - (4 * p(4, 2, 1) + p(2, 1)) / 5,
        "sufficiency": p(8, 4, 2, 1) - (4 * p(8) + p(8, 4)) / 5,
    }
    for name, value in expected.items():
        assert values[f"comprehensiveness/{name}_probability"].item() == pytest.approx(value, abs=1e-5)


def test_fractions_up_to_everything_are_read_by_all_but_sufficiency() -> None:
    readings = ["aopc_morf", "srg", "comprehensiveness"]
    evaluator = Flipping(steps=[0.0, 0.5, 1.0], readings=readings)
    evaluator.update(explained(GOOD), context())
    scores = evaluator.compute()
    assert all(scores.values[f"flipping/{each}_probability"].isfinite().all() for each in readings)
    assert {curve.fractions.shape for curve in scores.curves.values()} == {(3,)}


@pytest.mark.parametrize(("unit", "steps", "units"), [(Patches(2), 10, 9), (Patches(4), 5, 4), (None, 37, 36)])
def test_one_unit_a_step_needs_as_many_units(unit: Patches | None, steps: int, units: int) -> None:
    with pytest.raises(BenchError, match=rf"at least {steps} units.*got {units} in an input: set steps .*unit\.size"):
        Flipping(unit, steps, spacing="unit").update(explained(GOOD), context())
    Flipping(unit, units, spacing="unit").update(explained(GOOD), context())


def test_superpixels_are_read_at_their_own_fractions() -> None:
    evaluator = Flipping(Superpixels(9), 4, Constant(0.0), "logit")
    evaluator.update(explained(GOOD), Context(model))
    curve = PerturbationCurve(Superpixels(9), "morf", 4, Constant(0.0), "logit")
    morf = curve.trace(model, INPUTS, curve.unit(INPUTS, GOOD), TARGET)
    lerf = replace(curve, order="lerf").trace(model, INPUTS, curve.unit(INPUTS, GOOD), TARGET)
    assert len(morf.fractions.unique(dim=0)) > 1
    expected = auc(lerf.fractions, lerf.scores) - auc(morf.fractions, morf.scores)
    assert_close(evaluator.compute().values["flipping/srg_logit"], expected)
