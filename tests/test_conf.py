"""Every option of every group composes and can be built; what is misspelt fails."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningDataModule
from torch import nn

from lrp_bench.cli import CONF, configure, flags_first, label
from lrp_bench.contracts import BenchError
from lrp_bench.engine.composites import Composite, Site
from lrp_bench.engine.rules import Flat, Gamma, Rule, ZPlus
from lrp_bench.run import build


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def parametrize(group: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", options(group))


def test_every_group_of_the_design_has_options() -> None:
    for group in [
        "dataset",
        "model",
        "rule",
        "explainer",
        "baselines",
        "metric",
        "imputer",
        "trainer",
        "tracker",
        "paths",
        "experiment",
        "hydra/launcher",
    ]:
        assert options(group), group


@parametrize("rule")
def test_a_rule_builds(name: str) -> None:
    assert isinstance(build(configure(f"rule={name}").rule), Rule | Composite)


@pytest.mark.parametrize("rule", ["zbox", "deep_taylor", "epsilon_gamma_box"])
def test_the_box_is_that_of_the_data_as_the_model_sees_it(rule: str) -> None:
    grey = configure(f"rule={rule}", "dataset.mean=0.25", "dataset.std=0.5").rule
    assert (grey.low, grey.high) == (-0.5, 1.5)
    colour = configure(f"rule={rule}", "dataset=cifar10", "dataset.mean=[0.5,0.25,0]", "dataset.std=0.5").rule
    assert (list(colour.low), list(colour.high)) == ([-1.0, -0.5, 0.0], [1.0, 1.5, 2.0])
    assert callable(build(configure(f"rule={rule}", "dataset=cifar10").explainer))


@parametrize("dataset")
def test_a_dataset_builds(name: str, tmp_path: Path) -> None:
    for folder in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "images" / folder).mkdir(parents=True)
    node = configure(f"dataset={name}", f"paths.data={tmp_path}", f"paths.outputs={tmp_path}").dataset
    assert isinstance(build(node), LightningDataModule)


@parametrize("model")
def test_a_model_builds_to_the_size_of_its_data(name: str) -> None:
    if name == "pt2":
        pytest.skip("needs a file")
    dataset = {"lstm": "sst", "text_transformer": "sst", "sequence_lstm": "arithmetic"}.get(name, "cifar10")
    model = build(configure(f"model={name}", f"dataset={dataset}").model)
    assert isinstance(model, nn.Module)


@parametrize("explainer")
def test_an_explainer_waits_for_its_model(name: str) -> None:
    assert callable(build(configure(f"explainer={name}").explainer))


@parametrize("metric")
def test_a_metric_builds_alone(name: str) -> None:
    assert list(configure(f"metric=[{name}]").metric) == [name]
    assert set(build(configure(f"metric=[{name}]").metric)) == {name}


@parametrize("imputer")
@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
def test_an_imputer_is_chosen_for_the_metrics(name: str, dataset: str) -> None:
    cfg = configure(f"imputer={name}", f"dataset={dataset}", "metric=[flipping]")
    assert build(cfg.metric)["flipping"].curves["morf"].imputer == build(cfg.imputer)
    assert cfg.names.imputer == name


def test_the_mean_of_standardised_data_is_zero() -> None:
    x = torch.ones(2, 3, 4, 4)
    for dataset in ("cifar10", "image_folder"):
        fill = build(configure("imputer=dataset_mean", f"dataset={dataset}").imputer)(x, seed=0)
        torch.testing.assert_close(fill(torch.arange(2), x > 0), torch.zeros_like(x))


@parametrize("trainer")
def test_a_trainer_builds(name: str) -> None:
    assert callable(build(configure(f"trainer={name}").trainer).train)


@parametrize("baselines")
def test_baselines_are_explainers_by_name(name: str) -> None:
    assert all(callable(explainer) for explainer in build(configure(f"baselines={name}").baselines).values())


@parametrize("experiment")
def test_an_experiment_composes_and_resolves(name: str) -> None:
    assert OmegaConf.to_container(configure(f"experiment={name}"), resolve=True)


@pytest.mark.parametrize(
    "overrides",
    [["rule=epsilonn"], ["rule.epsilom=1"], ["sampels=3"], ["metric.flipping.stepps=3"], ["nonsense=1"]],
)
def test_what_is_misspelt_does_not_compose(overrides: list[str]) -> None:
    with pytest.raises((ConfigCompositionException, HydraException)):
        configure(*overrides)


@pytest.mark.parametrize(
    ("override", "group", "expected"),
    [
        ("+rule.x=1", "rule", "unexpected keyword argument 'x'"),
        ("rule.epsilon=abc", "rule", "'abc'"),
        ("rule.epsilon=-1", "rule", "-1"),
        ("rule.bias=aborb", "rule", "absorb, exclude, redistribute"),
        ("trainer.max_epochs=many", "trainer", "'many'"),
        ("metric.flipping.steps=0", "metric", "0"),
    ],
)
def test_what_cannot_be_meant_does_not_build(override: str, group: str, expected: str) -> None:
    with pytest.raises(BenchError, match=f"Expected.*{expected}"):
        build(configure(override)[group])


def test_alpha_and_beta_must_differ_by_one() -> None:
    with pytest.raises(BenchError, match=r"beta of AlphaBeta to be alpha - 1 = 2, got 1\.0"):
        build(configure("rule=alphabeta", "rule.alpha=3").rule)


def test_a_name_says_what_was_changed() -> None:
    names = configure("rule=gamma", "rule.gamma=0.5", "dataset=synthetic", "dataset.classes=3").names
    assert names == {
        "dataset": "synthetic(classes=3)",
        "model": "mlp",
        "method": "gamma(gamma=0.5)",
        "imputer": "constant",
    }
    assert configure("explainer=captum_saliency").names.method == "captum_saliency"


def test_a_part_of_a_composite_may_be_changed_from_the_command_line() -> None:
    flat, plus = "lrp_bench.engine.rules.Flat", "lrp_bench.engine.rules.ZPlus"
    cfg = configure(
        "rule=layered",
        f"rule.first={{_target_: {flat}}}",
        f"+rule.names={{head.*: {{_target_: {plus}, epsilon: 0.1}}}}",
    )
    assert cfg.names.method == "layered(first={Flat}, names={head.*: {ZPlus, epsilon: 0.1}})"
    composite = build(cfg.explainer).keywords["rule"]
    assert composite.rule(Site("stem", "convolution", first=True, last=False)) == Flat()
    assert composite.rule(Site("body", "convolution", first=False, last=False)) == Gamma(0.25)
    assert composite.rule(Site("head.0", "linear", first=False, last=False)) == ZPlus(0.1)


def test_the_label_of_a_group_is_its_choice() -> None:
    settings = DictConfig({"runtime": {"choices": {"rule": "zero", "explainer": "lrp"}}, "overrides": {"task": []}})
    assert label("method", settings) == "zero"


def test_multirun_may_stand_anywhere() -> None:
    assert flags_first(["rule=a,b", "--multirun", "samples=3"]) == ["--multirun", "rule=a,b", "samples=3"]
