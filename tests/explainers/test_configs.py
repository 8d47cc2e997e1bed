"""The explainers and baselines as the command line composes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from lrp_bench.contracts import Explainer

CONF = Path(__file__).parents[2] / "conf"
CAPTUM = sorted(path.stem for path in (CONF / "explainer").glob("captum_*.yaml"))


BUILT = [*CAPTUM, "random", "activation_shares", "by_hand"]


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(None, [*overrides, "+seed=7"])


@pytest.mark.parametrize("name", BUILT)
def test_every_explainer_config_builds_one_that_explains(name: str) -> None:
    partial = instantiate(composed(f"+explainer={name}").explainer)
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    explainer: Explainer = partial(model=nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)), example=x)
    assert explainer.explain(x).relevance.shape == x.shape


@pytest.mark.parametrize("name", BUILT)
def test_an_unknown_parameter_fails(name: str) -> None:
    partial = instantiate(composed(f"+explainer={name}", "+explainer.colour=1").explainer)
    with pytest.raises(TypeError, match="colour"):
        partial(model=nn.Linear(6, 2), example=torch.zeros(1, 6))


def test_baselines_are_explainers_under_their_own_names() -> None:
    baselines = composed("+baselines=captum").baselines
    assert sorted(baselines) == CAPTUM
    for name in CAPTUM:
        assert baselines[name] == composed(f"+explainer={name}").explainer


def test_baselines_are_chosen_on_the_command_line() -> None:
    assert set(composed("+baselines=gradient").baselines) == {"captum_saliency", "captum_input_x_gradient"}
    assert composed("+baselines=none").baselines == {}
    fewer = composed("+baselines=captum", "~baselines.captum_lrp", "baselines.captum_integrated_gradients.n_steps=20")
    assert set(fewer.baselines) == set(CAPTUM) - {"captum_lrp"}
    assert fewer.baselines.captum_integrated_gradients.n_steps == 20
