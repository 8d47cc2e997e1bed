"""The baselines as the command line composes them."""

from __future__ import annotations

from lrp_bench.cli import configure

USUAL = {
    "captum_saliency",
    "captum_input_x_gradient",
    "captum_integrated_gradients",
    "captum_deep_lift",
    "captum_lrp",
}


def test_baselines_are_explainers_under_their_own_names() -> None:
    baselines = configure("baselines=captum").baselines
    assert set(baselines) == USUAL
    for name in baselines:
        assert baselines[name] == configure(f"explainer={name}").explainer


def test_baselines_are_chosen_on_the_command_line() -> None:
    assert set(configure("baselines=gradient").baselines) == {"captum_saliency", "captum_input_x_gradient"}
    assert configure("baselines=none").baselines == {}
    fewer = configure(
        "baselines=captum", "~baselines.captum_lrp", "baselines.captum_integrated_gradients.n_steps=20"
    ).baselines
    assert set(fewer) == USUAL - {"captum_lrp"}
    assert fewer.captum_integrated_gradients.n_steps == 20


def test_any_explainer_can_be_a_baseline() -> None:
    added = configure("+explainer@baselines.sobel=sobel").baselines
    assert set(added) == USUAL | {"sobel"}
