"""The evaluators, imputers and explainers on the device that is not there: their numbers, and what is waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import methodcaller

import pytest
import test_evaluators as usual
import torch
from linear import InputXGradient, Linear
from made_up.device import DEVICE, back, counted, moved
from test_text import scores_of_words, texts
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.cli import CONF, configure
from lrp_bench.contracts import Batch, BenchError, Explanation
from lrp_bench.engine.rules import Epsilon
from lrp_bench.evaluation import evaluate
from lrp_bench.explainers.lrp import LRPExplainer
from lrp_bench.metrics import Conservation, Context, Evaluator, Flipping, Randomisation, RandomLogit, Robustness
from lrp_bench.run import build

Given = tuple[Explanation, Context]

METRICS = sorted(path.stem for path in (CONF / "metric").glob("*.yaml"))
IMPUTERS = sorted(path.stem for path in (CONF / "imputer").glob("*.yaml"))

UNITS = 9  # patches of a picture in test_evaluators, which naopc removes
WAITS = {  # of an update, where one look is not enough
    "flipping_bluecher": 3,  # scikit-image cuts pictures on the CPU; then how many units are gone at each step
    "naopc": 1 + 2 * UNITS,  # which sets are left decides what the model sees next, in two searches
    "road": 1 + 12,  # every four iterations: whether the systems are solved
    "cost": 0,  # looks at the clock alone, for which CUDA is waited for
}


def retrained(device: str, *, twin: int = 0, keep: Tensor | None = None) -> nn.Module:
    weights = torch.randn(usual.WEIGHTS.shape, generator=torch.Generator().manual_seed(twin))
    return Linear(weights.to(device) if keep is None else weights.to(device) * keep)


def pictures(device: str, rows: slice) -> Given:
    model = Linear(usual.WEIGHTS.to(device))
    put = methodcaller("to", device)
    label = (usual.TARGET + (torch.arange(usual.BATCH) % 3 == 0)) % usual.CLASSES
    context = replace(
        usual.context(rows=rows),
        model=model,
        baselines={name: put(each[rows]) for name, each in usual.BASELINES.items()},
        method=InputXGradient(model),
        label=put(label[rows]),
        mask=put(usual.MASK[rows]),
        background=put(usual.TRAINING),
        background_label=put(torch.arange(len(usual.TRAINING)) % usual.CLASSES),
        retrain=partial(retrained, device),
    )
    explanation = usual.explained(usual.GOOD, rows)
    parts = (explanation.inputs, explanation.logits, explanation.target, explanation.score, explanation.relevance)
    return Explanation(*(put(part) for part in parts)), context


def table(device: str, rows: slice) -> Given:
    model = Linear(usual.WEIGHTS.flatten(1)[:, :6].to(device))
    explanation = InputXGradient(model).explain(usual.INPUTS.flatten(1)[rows, :6].to(device))
    return explanation, Context(model, method=InputXGradient(model), label=explanation.target)


def sentences(device: str, rows: slice) -> Given:
    ids, relevance, target = (part[: usual.BATCH][rows].to(device) for part in texts())
    worth = scores_of_words().to(device)

    def model(x: Tensor) -> Tensor:
        return (worth[x] * (x != 0).unsqueeze(2)).sum(1)

    logits = model(ids)
    return Explanation(ids, logits, target, logits.gather(1, target[:, None])[:, 0], relevance), Context(model)


DATA = {"relevance": table, "permutation": table, "summands": table, "word_deletion": sentences}


def made(name: str) -> Evaluator:
    if name in usual.EVALUATORS:
        return usual.EVALUATORS[name]()
    return build(configure(f"metric={name}").metric[name])


CASES = [*METRICS, *(name for name in usual.EVALUATORS if name not in METRICS)]
HALVES = slice(7), slice(7, 12)


@pytest.mark.parametrize("name", CASES)
def test_an_evaluator_finds_what_it_finds_on_the_cpu_and_looks_once(name: str) -> None:
    data, here, there = DATA.get(name, pictures), made(name), made(name)
    for rows in HALVES:
        here.update(*data("cpu", rows))
        given = data(DEVICE, rows)
        with counted() as found:
            there.update(*given)
    assert "blocking upload" not in found
    assert sum(found.values()) == WAITS.get(name, 1)
    if name != "cost":
        assert_close(back(dict(there.compute().values)), dict(here.compute().values), rtol=0, atol=0, equal_nan=True)
    assert {values.device.type for values in there.compute().values.values()} == {DEVICE}


@pytest.mark.parametrize("name", [name for name in CASES if name != "cost"])
def test_relevance_that_cannot_be_used_is_named_as_on_the_cpu_and_nothing_is_kept(name: str) -> None:
    data, messages = DATA.get(name, pictures), []
    for device in ("cpu", DEVICE):
        evaluator = made(name)
        explanation, context = data(device, HALVES[0])
        broken = explanation.relevance.clone()
        broken[3:5] = float("nan")
        evaluator.update(explanation, context)
        with pytest.raises(BenchError, match=r"2 of 7 samples \(the first at position 3") as caught:
            evaluator.update(replace(explanation, relevance=broken), context)
        messages.append(str(caught.value))
        assert {len(values) for values in evaluator.compute().values.values()} == {7}
    assert messages[0] == messages[1]


@pytest.mark.parametrize("name", IMPUTERS)
def test_an_imputer_fills_as_on_the_cpu(name: str) -> None:
    if name == "inpaint":
        pytest.importorskip("cv2")
    found = []
    for device in ("cpu", DEVICE):
        imputer = build(configure(f"imputer={name}", "dataset.mean=0.1").imputer)
        evaluator = Flipping(imputer=imputer, score="logit", steps=4)
        for rows in HALVES:
            given = pictures(device, rows)
            with counted() as waits:
                evaluator.update(*given)
        found.append(back(dict(evaluator.compute().values)))
    assert_close(found[1], found[0], rtol=0, atol=0)
    if name not in ("inpaint", "road"):  # which paint on the CPU, and look whether they are done
        assert waits == {"_local_scalar_dense": 1}


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3)
    return nn.Sequential(*layers).eval().requires_grad_(False)


STEPS = 2  # layers that MPRT makes random
WITH_EXPLANATIONS: dict[str, tuple[Callable[[], Evaluator], int]] = {
    "random_logit": (RandomLogit, 1),
    "robustness": (lambda: Robustness(draws=3, removals=4, max_batch=5), 1),
    "conservation": (Conservation, 1),
    "mprt": (Randomisation, 1 + STEPS),  # whether the captured program still is the model's, at each step
}


@pytest.mark.parametrize("name", WITH_EXPLANATIONS)
def test_explanations_within_an_update_are_looked_at_with_it(name: str) -> None:
    make, expected = WITH_EXPLANATIONS[name]
    net, x = network().to(DEVICE), moved(usual.INPUTS)
    explainer = partial(LRPExplainer, example=x, rule=Epsilon())
    method, evaluator = explainer(net), make()
    context = Context(net, method=method, explainer=explainer)
    for _ in range(2):  # the first makes methods for other models
        explanation = method.explain(x)
        with counted() as found:
            evaluator.update(explanation, context)
    assert sum(found.values()) == expected


def test_an_evaluation_waits_once_for_each_method_and_each_metric_of_a_batch() -> None:
    """And nothing else: the inputs go up, and all numbers come down at the end."""
    net = network().to(DEVICE)
    metrics = {"conservation": Conservation(), "flipping": Flipping(steps=4), "random_logit": RandomLogit()}
    seen = []

    def batches(count: int) -> list[Batch]:
        index = torch.arange(usual.BATCH)
        return [Batch(usual.INPUTS[rows], usual.TARGET[rows], index[rows]) for rows in index.chunk(count)]

    for count in (2, 4):
        with counted() as found:
            evaluate(
                explainer=partial(LRPExplainer, rule=Epsilon()),
                baselines={},
                metrics=dict(metrics),
                batches=batches(count),
                model=net,
                device=torch.device(DEVICE),
                explain_label=False,
                pictures=torch.tensor([0, 5]),
            )
        for metric in metrics.values():
            metric.reset()
        seen.append(found["_local_scalar_dense"] + found["nonzero"] + found["_unique2"])
    assert seen[1] - seen[0] == 2 * (1 + len(metrics))
