from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from lrp_bench.contracts import BenchError
from lrp_bench.models import MLP, LeNet, MiniVGG, TutorialCNN, check_fits, torchvision_classifier

CONF = Path(__file__).parents[2] / "conf" / "model"
PICTURES = [[1, 8, 8], [1, 28, 28], [3, 32, 32]]
# these are not sized to the data, or are for texts
FIXED = {"pt2", "tutorial_cnn", "lstm", "sequence_lstm", "text_transformer"}


def load(name: str, shape: list[int], classes: int, **overrides: object) -> nn.Module:
    root = OmegaConf.create({"dataset": {"shape": shape, "classes": classes}})
    root.model = OmegaConf.merge(OmegaConf.load(CONF / f"{name}.yaml"), overrides)
    model: nn.Module = instantiate(root.model)
    return model


@pytest.mark.parametrize("shape", PICTURES, ids=str)
@pytest.mark.parametrize("name", [path.stem for path in sorted(CONF.glob("*.yaml")) if path.stem not in FIXED])
def test_every_config_is_sized_to_the_data(name: str, shape: list[int]) -> None:
    model = load(name, shape, classes=7)
    assert model(torch.randn(2, *shape)).shape == (2, 7)
    check_fits(model, shape, 7)


def test_mlp_takes_tables_and_any_depth() -> None:
    assert load("mlp", [4], 3)(torch.randn(5, 4)).shape == (5, 3)
    linear = MLP([1, 2, 2], 3, hidden=[])
    assert [type(layer) for layer in linear.layers] == [nn.Linear]
    deep = load("mlp", [4], 3, hidden=[5, 6, 7], activation={"path": "torch.nn.GELU"})
    widths = [layer.out_features for layer in deep.modules() if isinstance(layer, nn.Linear)]
    assert widths == [5, 6, 7, 3]
    assert sum(isinstance(layer, nn.GELU) for layer in deep.modules()) == 3


@pytest.mark.parametrize("hidden", [[0], [2.5], "abc", 3])
def test_mlp_refuses_widths_that_are_none(hidden: list[int]) -> None:
    with pytest.raises(BenchError, match="hidden"):
        MLP([4], 3, hidden=hidden)


def test_the_tutorials_network_sums_four_neighbours_and_ends_in_one_pixel() -> None:
    model = load("tutorial_cnn", [1, 32, 32], 10).double()
    shapes = [tuple(layer.weight.shape) for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert shapes == [(10, 1, 5, 5), (25, 10, 5, 5), (100, 25, 4, 4), (10, 100, 1, 1)]
    x = expected = torch.randn(3, 1, 32, 32, dtype=torch.float64)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            expected = nn.functional.conv2d(expected, layer.weight, layer.bias)
            if layer.out_channels != 10 or layer.in_channels == 1:
                rectified = expected.clamp(min=0)
                height, width = (side // 2 * 2 for side in rectified.shape[2:])
                rectified = rectified[:, :, :height, :width]
                corners = [rectified[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]
                expected = torch.stack(corners).sum(0)
    torch.testing.assert_close(model(x), expected[:, :, 0, 0])
    with pytest.raises(BenchError, match=r"32 x 32.*dataset\.padding"):
        TutorialCNN([1, 28, 28], 10)
    with pytest.raises(BenchError, match="32 x 32"):
        TutorialCNN([1, 64, 64], 10)


def test_minivgg_is_the_published_network_on_cifar10() -> None:
    model = MiniVGG([3, 32, 32], 10)
    sizes = [tuple(layer.weight.shape) for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert sizes == [(32, 3, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3), (256, 8192), (10, 256)]
    assert [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)] == [0.35, 0.35, 0.45]
    kinds = [type(layer).__name__ for layer in model.features]
    block = ["Conv2d", "ReLU", "Dropout", "Conv2d", "ReLU", "MaxPool2d"]
    assert kinds == block * 2
    assert [type(layer).__name__ for layer in model.classifier] == ["Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    assert all(layer.inplace for layer in model.modules() if isinstance(layer, nn.ReLU))


@pytest.mark.parametrize("model", [MLP([1, 8, 8], 3), LeNet([1, 8, 8], 3)], ids=["mlp", "lenet"])
def test_captums_lrp_takes_the_small_models(model: nn.Module) -> None:
    from captum.attr import LRP

    x = torch.randn(2, 1, 8, 8, requires_grad=True)
    assert LRP(model.eval()).attribute(x, target=0).shape == x.shape


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v3_small", "vit_b_32", "googlenet"])
def test_torchvision_classifiers_take_any_channels_and_classes(name: str) -> None:
    check_fits(torchvision_classifier(name, [1, 64, 64], 7), [1, 64, 64], 7)


def test_only_what_does_not_fit_is_made_anew() -> None:
    torch.manual_seed(0)
    ours = torchvision_classifier("resnet18", [1, 32, 32], 7).state_dict()
    theirs = torchvision_classifier("resnet18", [3, 32, 32], 1000).state_dict()
    differing = {name for name in ours if ours[name].shape != theirs[name].shape}
    assert differing == {"conv1.weight", "fc.weight", "fc.bias"}
    assert "conv1.bias" not in ours


def test_pretrained_weights_keep_all_but_the_last_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    pretrained = torchvision_classifier("resnet18", [3, 32, 32], 1000).state_dict()
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", lambda *_, **__: pretrained)
    tuned = torchvision_classifier("resnet18", [3, 32, 32], 7, weights="DEFAULT").state_dict()
    assert tuned["fc.weight"].shape == (7, 512)
    assert all(torch.equal(tuned[name], pretrained[name]) for name in tuned if not name.startswith("fc."))


@pytest.mark.parametrize(
    ("name", "shape", "weights", "message"),
    [
        ("resnt18", [3, 32, 32], None, "got 'resnt18'.*resnet18"),
        ("resnet18", [4], None, r"Expected pictures.*got \[4\]"),
        ("vit_b_16", [3, 28, 28], None, "vit_b_16.*indivisible"),
        ("maxvit_t", [3, 32, 32], None, "maxvit_t.*not divisible"),
        ("resnet18", [3, 32, 32], "BEST", "weights BEST"),
    ],
)
def test_what_torchvision_cannot_build_is_said(name: str, shape: list[int], weights: str | None, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        torchvision_classifier(name, shape, 10, weights=weights)


@pytest.mark.parametrize("kind", [LeNet, MiniVGG])
def test_convolutional_models_refuse_tables_and_tiny_pictures(kind: type[LeNet] | type[MiniVGG]) -> None:
    for shape in ([4], [1, 3, 8]):
        with pytest.raises(BenchError, match="Expected pictures"):
            kind(shape, 3)


@pytest.mark.parametrize(
    ("model", "classes", "got"),
    [
        (LeNet([3, 8, 8], 4), 4, "3 channels"),
        (LeNet([1, 8, 8], 5), 4, r"its output is \[2, 5\]"),
        (nn.LSTM(8, 4), 4, "LSTM"),
    ],
)
def test_a_misfit_is_said_and_the_model_comes_back_untouched(model: nn.Module, classes: int, got: str) -> None:
    model.train()
    next(model.children(), model).eval()
    modes, state = [m.training for m in model.modules()], {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(BenchError, match=f"{got}.*does not fit the data's shape"):
        check_fits(model, [1, 8, 8], classes)
    assert [module.training for module in model.modules()] == modes
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)


def test_checking_leaves_batch_norm_statistics_alone() -> None:
    model = torchvision_classifier("resnet18", [1, 32, 32], 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    check_fits(model, [1, 32, 32], 3)
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert all(module.training for module in model.modules())
