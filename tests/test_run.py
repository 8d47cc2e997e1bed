"""run(cfg) as a plain function: what it returns, what it records, and what it refuses before anything long starts."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from treebank import write_trees

from lrp_bench.cli import configure
from lrp_bench.contracts import Batch, BenchError, Explanation, NotApplicable
from lrp_bench.evaluation import Evaluation, evaluate
from lrp_bench.explainers.reference import Random
from lrp_bench.metrics import Agreement, Conservation, Context, Flipping
from lrp_bench.report.store import maps
from lrp_bench.run import Method, Study, run
from lrp_bench.tracking.memory import MemoryTracker, Record

SMALL = ("dataset=synthetic", "samples=12", "trainer=fast", "baselines=gradient", "tracker=memory", "pictures=2")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


def study(outputs: Path, *overrides: str) -> Study:
    return Study(configure(*SMALL, f"paths.outputs={outputs}", *overrides), parent=None)


def scored(outputs: Path, folder: Path, *overrides: str) -> tuple[Evaluation, MemoryTracker]:
    made = study(outputs, *overrides)
    evaluation = Method(made, "method", made.cfg.explainer).score(folder)
    assert evaluation is not None
    assert isinstance(made.tracker, MemoryTracker)
    return evaluation, made.tracker


def test_a_run_gives_one_value_per_sample_and_measure(outputs: Path, tmp_path: Path) -> None:
    cfg = configure(*SMALL, f"paths.outputs={outputs}")
    evaluation = run(cfg, folder=tmp_path)
    assert evaluation is not None
    assert len(evaluation.index) == 12
    assert all(values.shape == (12,) for values in evaluation.values.values())
    assert set(evaluation.values) == set(evaluation.measures)
    assert (tmp_path / "heatmaps.png").exists()
    kept = maps.read(tmp_path)
    assert kept is not None
    assert kept.sample.tolist() == evaluation.index[[0, 6]].tolist()  # pictures=2 of 12
    torch.testing.assert_close(torch.from_numpy(kept.relevance), evaluation.relevance.sum(1))
    assert 0 <= kept.inputs.min() < kept.inputs.max() <= 1  # as shown, not as the model takes them
    assert (tmp_path / "random" / "scores.parquet").exists()


def test_of_texts_the_sentences_are_drawn(outputs: Path, tmp_path: Path) -> None:
    text = ("dataset=sst", f"paths.data={write_trees(tmp_path)}", "model=lstm", "explainer=word_gradient_x_input")
    scored(outputs, tmp_path / "run", *text, "metric=[word_deletion]", "baselines=none", "samples=3", "pictures=3")
    page = (tmp_path / "run" / "sentences.html").read_text(encoding="utf-8")
    assert all(f">{word}</span>" in page for word in ("a", "(", "Bad", "1/2", "good", "&lt;b&gt;"))
    assert page.count('">true ') == 3
    assert (tmp_path / "run" / "sentences.png").exists()
    assert not (tmp_path / "run" / "heatmaps.png").exists()
    kept = maps.read(tmp_path / "run")
    assert kept is not None
    assert kept.kind == "text"
    assert all(f">{html.escape(word)}</span>" in page for place in range(3) for word in kept.sentence(place))


def test_the_batch_size_does_not_change_the_numbers(outputs: Path, tmp_path: Path) -> None:
    whole, _ = scored(outputs, tmp_path / "whole", "batch_size=12")
    parts, _ = scored(outputs, tmp_path / "parts", "batch_size=5")
    for name, values in whole.values.items():
        torch.testing.assert_close(values, parts.values[name], rtol=1e-4, atol=1e-5, equal_nan=True)


def test_what_is_tracked(outputs: Path, tmp_path: Path) -> None:
    evaluation, tracker = scored(outputs, tmp_path, "rule=alphabeta", "dataset.classes=3")
    training, explanation = sorted(tracker.runs.values(), key=lambda run: run.kind, reverse=True)
    assert (training.kind, explanation.kind) == ("training", "explanation")
    assert {training.status, explanation.status} == {"FINISHED"}
    assert explanation.tags["training_run"] == training.id
    assert explanation.params["rule.alpha"] == "2.0"
    files = {"scores.parquet", "layers.parquet", "measures.json", "config.yaml", "coverage.csv", "heatmaps.png"}
    files |= {"maps.npz"}
    assert files <= set(explanation.files)
    mean = evaluation.values["conservation/error"].mean().item()
    assert explanation.metrics["conservation/error"] == pytest.approx(mean)
    assert [step for step, _ in explanation.curves["flipping/morf_probability"]] == list(range(33))


def test_the_label_can_be_explained_instead_of_the_prediction(outputs: Path, tmp_path: Path) -> None:
    predicted, _ = scored(outputs, tmp_path / "a")
    labelled, _ = scored(outputs, tmp_path / "b", "target=label")
    right = predicted.prediction == predicted.label
    torch.testing.assert_close(predicted.score[right], labelled.score[right])


def test_a_baseline_that_cannot_explain_the_model_is_named_with_its_reason(outputs: Path, tmp_path: Path) -> None:
    gelu = "model.activation.path=torch.nn.GELU"  # for which Captum's LRP has no rule
    evaluation, tracker = scored(outputs, tmp_path, "baselines=captum", gelu, "metric=[agreement]")
    assert "agreement/captum_lrp" in evaluation.unavailable
    assert "agreement/captum_saliency/spearman" in evaluation.values
    (record,) = [run for run in tracker.runs.values() if run.kind == "explanation"]
    assert record.tags["unavailable.agreement/captum_lrp"]


def test_without_baselines_agreement_is_not_measured(outputs: Path, tmp_path: Path) -> None:
    evaluation, tracker = scored(outputs, tmp_path, "baselines=none")
    assert {measure.family for measure in evaluation.measures.values()} == {"conservation", "flipping"}
    assert "choose baselines" in evaluation.unavailable["agreement"]
    assert {run.status for run in tracker.runs.values()} == {"FINISHED"}


def test_baselines_are_explained_only_for_who_compares_with_them(outputs: Path, tmp_path: Path) -> None:
    """Agreement that nobody asked for is not missing."""
    gelu = "model.activation.path=torch.nn.GELU"  # for which Captum's LRP has no rule
    evaluation, _ = scored(outputs, tmp_path, "baselines=captum", gelu, "metric=[flipping]")
    assert evaluation.unavailable == {}


def test_a_baseline_that_fails_on_a_later_batch_is_named_and_left_out() -> None:
    class Relevance:
        def __init__(self, batches: int, model: nn.Module, example: Tensor) -> None:
            self.batches, self.model = batches, model

        def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
            self.batches -= 1
            if self.batches < 0:
                raise BenchError("Expected another batch.")
            logits = self.model(inputs)
            target = logits.argmax(1) if target is None else target
            return Explanation(inputs, logits, target, logits.amax(1), inputs)

    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    evaluation = evaluate(
        explainer=partial(Relevance, 9),
        baselines={"tired": partial(Relevance, 1), "steady": partial(Relevance, 9)},
        metrics={"agreement": Agreement()},
        batches=[Batch(x[i : i + 2], torch.zeros(2, dtype=torch.int64), torch.arange(i, i + 2)) for i in (0, 2, 4)],
        model=nn.Linear(4, 3).requires_grad_(requires_grad=False),
        device=torch.device("cpu"),
        explain_label=False,
        pictures=torch.empty(0, dtype=torch.int64),
    )
    assert evaluation.unavailable == {"agreement/tired": "Expected another batch."}
    assert set(evaluation.values) == set(evaluation.measures)
    assert not [name for name in evaluation.values if "tired" in name]
    torch.testing.assert_close(evaluation.values["agreement/steady/cosine"], torch.ones(6))


def test_every_step_of_the_way_is_told() -> None:
    x, steps = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), list[str]()
    evaluate(
        explainer=partial(Random, seed=0),
        baselines={},
        metrics={"conservation": Conservation(), "flipping": Flipping(steps=2)},
        batches=[Batch(part, torch.zeros(len(part)).long(), torch.arange(len(part))) for part in x.split(2)],
        model=nn.Linear(3, 2).requires_grad_(requires_grad=False),
        device=torch.device("cpu"),
        explain_label=False,
        pictures=torch.empty(0, dtype=torch.int64),
        step=steps.append,
    )
    assert steps == ["explanations", "conservation", "flipping"] * 3


class Mute(Conservation):
    """A metric that has nothing to say about these data."""

    def update(self, explanation: Explanation, context: Context) -> None:
        raise NotApplicable("Expected masks, got none.")


@pytest.mark.parametrize("others", [{"conservation": Conservation()}, {}])
def test_a_metric_that_does_not_apply_is_named_beside_those_that_do(others: dict[str, Any]) -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    told = pytest.raises(NotApplicable, match="masks") if not others else nullcontext()
    with told:
        evaluation = evaluate(
            explainer=partial(Random, seed=0),
            baselines={},
            metrics={"localisation": Mute(), **others},
            batches=[Batch(x, torch.zeros(4, dtype=torch.int64), torch.arange(4))],
            model=nn.Linear(3, 2).requires_grad_(requires_grad=False),
            device=torch.device("cpu"),
            explain_label=False,
            pictures=torch.empty(0, dtype=torch.int64),
        )
        assert evaluation.unavailable == {"localisation": "Expected masks, got none."}
        assert "conservation/error" in evaluation.values


def flipping(**changed: Any) -> Flipping:
    return Flipping(steps=2, **changed)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (flipping, partial(flipping, score="logit"), r"flipping/ties from the metrics one and other"),
        (Conservation, Conservation, r"conservation/\w+ from the metrics one and other"),
        (flipping, partial(flipping, name="again"), None),
    ],
)
@pytest.mark.parametrize("batches", [1, 9])
def test_two_metrics_never_share_a_name(
    one: type[Conservation], other: type[Conservation], expected: str | None, batches: int
) -> None:
    x = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    seen = []

    def batched() -> Iterator[Batch]:
        for start in range(batches):
            seen.append(start)
            yield Batch(x, torch.zeros(3, dtype=torch.int64), torch.arange(3))

    with pytest.raises(BenchError, match=expected) if expected else nullcontext():
        evaluate(
            explainer=partial(Random, seed=0),
            baselines={},
            metrics={"one": one(), "other": other()},
            batches=batched(),
            model=nn.Linear(4, 3).requires_grad_(requires_grad=False),
            device=torch.device("cpu"),
            explain_label=False,
            pictures=torch.empty(0, dtype=torch.int64),
        )
    assert len(seen) <= 1 if expected else len(seen) == batches


@pytest.mark.parametrize("override", ["batch_size=7", "threads=1", "seed=3", "device=meta"])
def test_what_the_cost_depends_on_is_in_the_fingerprint(outputs: Path, override: str) -> None:
    studies = [study(outputs, "metric=[cost]", *more) for more in ([], [], [override])]
    one, again, other = (Method(each, "method", each.cfg.explainer).fingerprint for each in studies)
    assert one == again
    assert one != other


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["samples=0"], "Expected samples"),
        (["batch_size=0"], "Expected batch_size"),
        (["seed=-1"], "Expected seed"),
        (["target=truth"], "Expected target"),
        (["threads=0"], "Expected threads"),
        (["pictures=true"], "Expected pictures to be a whole number >= 0, got True"),
        (["device=tpu9"], "Expected device"),
        (["samples=5000"], "Expected samples <= 200, got 5000"),
        (["dataset.shape=[4]", "model=lenet"], "Expected"),
        (["dataset.classes=1"], "Expected"),
        (["model=torchvision", "model.name=resnet81"], "resnet18"),
        (["+explainer.x=1"], "x"),
        (["metric=[agreement]", "baselines=none"], "other methods to agree with, got none"),
        (["metric=[localisation]"], "data with masks"),
    ],
)
def test_bad_input_is_told_before_a_training(
    outputs: Path, tmp_path: Path, overrides: list[str], expected: str
) -> None:
    with pytest.raises(BenchError, match=expected):
        run(configure(*SMALL, f"paths.outputs={outputs}", "dataset.train=333", *overrides), folder=tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_failure_marks_the_run_and_trains_nothing(outputs: Path, tmp_path: Path) -> None:
    made = study(outputs, "dataset.train=444", "+explainer.x=1")
    with pytest.raises(BenchError):
        Method(made, "method", made.cfg.explainer).score(tmp_path)
    assert isinstance(made.tracker, MemoryTracker)
    (record,) = made.tracker.runs.values()
    assert (record.kind, record.status) == ("explanation", "FAILED")
    assert "x" in record.tags["error"]


@pytest.mark.parametrize(
    ("overrides", "expected"), [(["seed=-1"], "seed"), (["device=tpu9"], "device"), (["samples=${nowhere}"], "nowhere")]
)
def test_what_fails_before_the_method_runs_is_recorded_too(
    overrides: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: dict[str, Record] = {}
    monkeypatch.setattr(MemoryTracker, "__init__", lambda self: setattr(self, "runs", runs))
    with pytest.raises(BenchError, match=expected):
        Study(configure(*SMALL, *overrides), parent="sweep")
    (record,) = runs.values()
    assert (record.kind, record.status, record.parent) == ("explanation", "FAILED", "sweep")
    assert record.tags["method"] == "epsilon"
    assert expected in record.tags["error"]


def test_outputs_without_room_for_locks_are_told_and_recorded(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("")
    made = Study(configure(*SMALL, f"paths.outputs={tmp_path}"), parent="sweep")
    with pytest.raises(BenchError, match=r"Expected room to write in .*locks"):
        Method(made, "epsilon", made.cfg.explainer).score(tmp_path)
    assert isinstance(made.tracker, MemoryTracker)
    assert [run.status for run in made.tracker.runs.values()] == ["FAILED"]


def test_an_unwritable_folder_is_told(outputs: Path, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(BenchError, match="writable"):
        scored(outputs, blocker / "folder")


def weights_of(model: nn.Module) -> list[Tensor]:
    return [weight for name, weight in model.state_dict().items() if name != "keep"]


def test_a_twin_is_the_model_of_another_seed_and_whoever_asks_again_gets_it_back(outputs: Path, tmp_path: Path) -> None:
    made, other = study(outputs), study(outputs, "seed=1000")
    Method(made, "method", made.cfg.explainer).score(tmp_path)
    again, twin = made.retrain(), made.retrain(twin=1)
    assert isinstance(made.tracker, MemoryTracker)
    trainings = [run for run in made.tracker.runs.values() if run.kind == "training"]
    torch.testing.assert_close(weights_of(twin), weights_of(other.fitted(nn.Module.eval).model))
    torch.testing.assert_close(weights_of(again), weights_of(made.fitted(nn.Module.eval).model))
    assert not torch.equal(weights_of(twin)[0], weights_of(again)[0])
    made.retrain(twin=1)
    assert [run for run in made.tracker.runs.values() if run.kind == "training"] == trainings


def test_a_model_that_keeps_some_inputs_sees_no_others(outputs: Path, tmp_path: Path) -> None:
    made = study(outputs)
    Method(made, "method", made.cfg.explainer).score(tmp_path)
    keep = torch.zeros(made.data.shape[-1], dtype=torch.bool)
    keep[:3] = True
    model, (batch, *_) = made.retrain(keep=keep), made.data.explained_batches(4)
    blind = batch.inputs.clone()
    blind[..., 3:] += 5.0
    assert torch.equal(model(blind), model(batch.inputs))
    blind[..., :3] += 5.0
    assert not torch.equal(model(blind), model(batch.inputs))
    first = next(weight for weight in weights_of(model) if weight.dim() == 2)
    others = next(weight for weight in weights_of(made.retrain(keep=~keep)) if weight.dim() == 2)
    assert not torch.equal(first, others)


def test_before_the_training_twins_are_untrained_and_a_given_model_has_none(outputs: Path, tmp_path: Path) -> None:
    made = study(outputs, "seed=77")
    assert made.retrain(twin=3)(torch.zeros(2, *made.data.shape)).shape == (2, made.data.classes)
    assert isinstance(made.tracker, MemoryTracker)
    assert not made.tracker.runs
    given, _ = scored(outputs, tmp_path, "trainer=none", "metric=[two_models,conservation]")
    assert "Expected a model that is trained here" in given.unavailable["two_models"]


def test_the_maps_of_an_ensemble_are_drawn(outputs: Path, tmp_path: Path) -> None:
    small = ("dataset=digits", "trainer.max_epochs=1", "metric=[uncertainty]", "metric.uncertainty.members=2")
    evaluation, tracker = scored(outputs, tmp_path, *small, "samples=40", "pictures=0")
    panels = evaluation.panels["uncertainty"]
    assert set(panels.maps) == {"mean relevance", "standard deviation"}
    assert len(panels.rows) == len(panels.inputs)
    (record,) = [run for run in tracker.runs.values() if run.kind == "explanation"]
    assert "uncertainty.png" in record.files
