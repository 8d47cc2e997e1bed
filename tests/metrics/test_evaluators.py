"""The contract of every evaluator in conf/metric, and of some with other settings."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explanation, Scores
from lrp_bench.metrics import Agreement, Conservation, Context, Evaluator, Flipping
from lrp_bench.metrics.flipping import Blur, Noise, Patches

DESCRIBING = {"relevance", "permutation"}  # columns of tables, held to what they say in test_columns.py
FOLDER = Path(__file__).parents[2] / "conf" / "metric"
CONFIGS = sorted(path for path in FOLDER.glob("*.yaml") if path.stem not in DESCRIBING)
BATCH, SHAPE, CLASSES = 12, (2, 6, 6), 3


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


INPUTS, WEIGHTS = drawn(BATCH, *SHAPE, seed=0), drawn(CLASSES, *SHAPE, seed=1) / 6


def model(x: Tensor) -> Tensor:
    return x.flatten(1) @ WEIGHTS.flatten(1).T


LOGITS = model(INPUTS)
TARGET = LOGITS.argmax(1)
GOOD = WEIGHTS[TARGET] * INPUTS
BASELINES = {"input_x_gradient": GOOD, "saliency": WEIGHTS[TARGET].abs()}


def explained(relevance: Tensor, rows: slice = slice(None)) -> Explanation:
    score = LOGITS.gather(1, TARGET[:, None])[:, 0]
    return Explanation(INPUTS[rows], LOGITS[rows], TARGET[rows], score[rows], relevance[rows])


def configured(path: Path) -> Evaluator:
    config = OmegaConf.merge({"seed": 0}, {"metric": OmegaConf.load(path)})
    (name,) = config.metric
    assert name == path.stem
    return instantiate(config.metric[name])


EVALUATORS: dict[str, Callable[[], Evaluator]] = {
    **{path.stem: lambda path=path: configured(path) for path in CONFIGS},
    "flipping_logit_patches_noise": lambda: Flipping(Patches(4), 5, Noise(), "logit", seed=3),
    "flipping_log_odds_blur": lambda: Flipping(steps=[0.1, 0.5], imputer=Blur(1.0), score="log_odds", max_batch=7),
    "flipping_accuracy": lambda: Flipping(score="accuracy", spacing="log"),
    "agreement_half": lambda: Agreement(top_share=0.5),
}
every_evaluator = pytest.mark.parametrize("make", EVALUATORS.values(), ids=EVALUATORS)


def evaluate(make: Callable[[], Evaluator], relevance: Tensor, sizes: tuple[int, ...] = (BATCH,)) -> Scores:
    evaluator, start = make(), 0
    for size in sizes:
        rows = slice(start, start + size)
        baselines = {name: other[rows] for name, other in BASELINES.items()}
        evaluator.update(explained(relevance, rows), Context(model, baselines))
        start += size
    return evaluator.compute()


def test_every_config_is_held_to_the_contract() -> None:
    assert {path.stem for path in CONFIGS} >= {"conservation", "flipping", "agreement"}
    assert {path.stem for path in CONFIGS} <= set(EVALUATORS)


@every_evaluator
def test_one_finite_value_per_sample_within_bounds(make: Callable[[], Evaluator]) -> None:
    scores = evaluate(make, GOOD)
    assert set(scores.values) == set(scores.measures)
    assert any(measure.headline for measure in scores.measures.values())
    for name, values in scores.values.items():
        measure = scores.measures[name]
        assert values.shape == (BATCH,)
        assert values.isfinite().all()
        assert (values >= measure.lower - 1e-6).all()
        assert (values <= measure.upper + 1e-6).all()
        assert name.startswith(measure.family + "/")
    for curve in scores.curves.values():
        assert curve.scores.shape == (BATCH, *curve.fractions.shape)


@every_evaluator
def test_direction_is_honest(make: Callable[[], Evaluator]) -> None:
    good, bad = evaluate(make, GOOD), evaluate(make, -GOOD)
    judged = 0
    for name, measure in good.measures.items():
        # the top k are chosen by |relevance|, and saliency has no sign: both explanations look the same to these
        if measure.higher_is_better is None or name.endswith("top_k") or "saliency" in name:
            continue
        better, worse = good.values[name].mean(), bad.values[name].mean()
        assert better > worse if measure.higher_is_better else better < worse, name
        judged += 1
    assert judged >= 1


def test_direction_of_top_k_is_honest() -> None:
    name = "agreement/input_x_gradient/top_k"
    good, bad = evaluate(Agreement, GOOD), evaluate(Agreement, 1 / GOOD)
    assert good.measures[name].higher_is_better
    assert good.values[name].mean() > bad.values[name].mean()


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
    if isinstance(evaluator, Flipping) and (evaluator.unit or isinstance(evaluator.morf_curve.imputer, Blur)):
        pytest.skip("patches and blur need images")
    R = columns[TARGET] * x
    table = Explanation(x, x @ columns.T, TARGET, R.sum(1), R)
    evaluator.update(table, Context(lambda z: z @ columns.T, {"gradient": columns[TARGET]}))
    assert {values.shape for values in evaluator.compute().values.values()} == {(BATCH,)}


@every_evaluator
def test_reset_copy_and_pickle(make: Callable[[], Evaluator]) -> None:
    evaluator = make()
    evaluator.update(explained(GOOD), Context(model, BASELINES))
    expected = dict(evaluator.compute().values)
    for twin in (copy.deepcopy(evaluator), pickle.loads(pickle.dumps(evaluator))):
        assert_close(dict(twin.compute().values), expected, equal_nan=True)
    evaluator.reset()
    evaluator.update(explained(GOOD, slice(4)), Context(model, {"other": GOOD[:4]}))
    assert {len(values) for values in evaluator.compute().values.values()} == {4}


@every_evaluator
def test_several_processes_gather_their_samples(make: Callable[[], Evaluator]) -> None:
    evaluator = make()
    evaluator.distributed_available_fn = lambda: True
    evaluator.dist_sync_fn = lambda state, group: [state, state]
    evaluator.update(explained(GOOD), Context(model, BASELINES))
    alone = evaluate(make, GOOD)
    assert_close(
        dict(evaluator.compute().values),
        {name: torch.cat([values, values]) for name, values in alone.values.items()},
    )


@every_evaluator
def test_relevance_that_cannot_be_used_is_named(make: Callable[[], Evaluator]) -> None:
    infinite = GOOD.clone()
    infinite[3, 0, 0, 0] = float("inf")
    for relevance, words in ((infinite, "1 of 12 samples"), (GOOD[:, :1], r"\(12, 2, 6, 6\), got \(12, 1, 6, 6\)")):
        with pytest.raises(BenchError, match=words):
            make().update(explained(relevance), Context(model, BASELINES))


@every_evaluator
def test_compute_wants_a_batch(make: Callable[[], Evaluator]) -> None:
    with pytest.raises(BenchError, match="call update first"):
        make().compute()


def test_all_zero_relevance_is_a_result() -> None:
    zero = torch.zeros_like(GOOD)
    conservation, flipping, agreement = (evaluate(make, zero) for make in (Conservation, Flipping, Agreement))
    assert_close(conservation.values["conservation/error"], torch.ones(BATCH))
    assert_close(flipping.values["flipping/ties"], torch.ones(BATCH))
    assert_close(flipping.values["flipping/srg_probability"], torch.zeros(BATCH))
    assert_close(agreement.values["agreement/zeros"], torch.ones(BATCH))
    for kind in ("spearman", "cosine", "top_k"):
        assert agreement.values[f"agreement/saliency/{kind}"].isnan().all()


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
    agreement.update(explained(GOOD), Context(model, BASELINES))
    with pytest.raises(BenchError, match="of the first batch"):
        agreement.update(explained(GOOD), Context(model, {**BASELINES, "late": GOOD}))


def test_a_baseline_missing_from_a_later_batch_is_left_out() -> None:
    agreement = Agreement()
    for rows, baselines in ((slice(5), BASELINES), (slice(5, BATCH), {"saliency": BASELINES["saliency"]})):
        held = {name: other[rows] for name, other in baselines.items()}
        agreement.update(explained(GOOD, rows), Context(model, held))
    expected = {name: values for name, values in evaluate(Agreement, GOOD).values.items() if "gradient" not in name}
    assert_close(dict(agreement.compute().values), expected)
    agreement.update(explained(GOOD), Context(model, {}))
    assert agreement.compute() == Scores({}, {})


def test_agreement_with_nothing_is_nothing() -> None:
    agreement = Agreement()
    agreement.update(explained(GOOD), Context(model, {}))
    assert agreement.compute() == Scores({}, {})


def test_flipping_refuses_to_mix_sizes() -> None:
    flipping, small = Flipping(steps=7), GOOD[:, :, :5, :5]
    flipping.update(explained(GOOD), Context(model, {}))
    other = Explanation(small, LOGITS, TARGET, LOGITS[:, 0], small)
    with pytest.raises(BenchError, match="first batch's size"):
        flipping.update(other, Context(lambda x: x.flatten(1)[:, :3], {}))


@pytest.mark.parametrize(
    "make", [lambda: Conservation(0), lambda: Agreement(2.0), lambda: Flipping(steps=0), lambda: Flipping(score="x")]
)
def test_settings_are_checked_at_once(make: Callable[[], Evaluator]) -> None:
    with pytest.raises(BenchError, match=r"Expected .* got "):
        make()
