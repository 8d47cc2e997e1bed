"""Models rewritten so that methods which hook modules see every computation, each module once."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable

import torch
from captum.attr._utils.custom_modules import Addition_Module
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

_RELU = {F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"}
_ADD = {operator.add, operator.iadd, torch.add, "add", "add_"}


def hookable(
    model: nn.Module,
    example: Tensor,
    *,
    addition: Callable[[], nn.Module] = Addition_Module,
    merge_norms: bool = False,
) -> nn.Module:
    """The same function as `model`, in a form that module hooks see right.

    Captum hooks modules and their tensors, and therefore is wrong without a word about functional additions and
    activations, about a tensor with two readers, and about two hooked modules in a row (ReLU, then max pooling). Here
    functional relu and + become modules, a reused module becomes one module per use, nothing works in place, and every
    module reads a tensor of its own. A model that torch.fx cannot trace keeps its form, apart from the last two points.

    Args:
        model: in eval mode, and the caller's to give away: its modules become part of the result.
        example: (batch, ...), an input on which the rewritten model must give the same logits.
        addition: makes the module that stands for a +, and is called with the two tensors.
        merge_norms: whether a batch norm becomes part of the convolution or linear layer before it, where nothing else
            reads that layer.
    """
    net = out_of_place(nn.Sequential(model) if _is_leaf(model) else model)
    net = _traced(net, example, addition, merge_norms) or net
    for layer in leaves(net):
        layer.register_forward_pre_hook(_own_tensors)
    return net


def leaves(model: nn.Module) -> Iterable[nn.Module]:
    """The modules without children, each once."""
    return filter(_is_leaf, model.modules())


def computed(net: nn.Module, example: Tensor, kinds: type | tuple[type, ...]) -> list[tuple[nn.Module, object]]:
    """The modules of these kinds in the order of their use, each with its output, once for every use."""
    uses: list[tuple[nn.Module, object]] = []
    modules = [module for module in net.modules() if isinstance(module, kinds)]
    handles = [module.register_forward_hook(lambda used, _, output: uses.append((used, output))) for module in modules]
    with torch.no_grad():
        net(example)
    for handle in handles:
        handle.remove()
    return uses


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _own_tensors(_: nn.Module, args: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(arg.clone() if isinstance(arg, Tensor) else arg for arg in args)


def out_of_place(model: nn.Module) -> nn.Module:
    """The same modules, none of which writes into its input."""
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # nn.Module declares its attributes as tensors
    return model


def _traced(
    model: nn.Module, example: Tensor, addition: Callable[[], nn.Module], merge_norms: bool
) -> nn.Module | None:
    try:
        net = fx.symbolic_trace(model)
        with torch.no_grad():
            _MarkTensors(net).run(example)
    except Exception:  # tracing runs the user's code on stand-ins: anything may be raised
        return None
    _rewrite(net, addition)
    if merge_norms:
        _merge_norms(net)
    with torch.no_grad():
        same = torch.allclose(net(example), model(example), rtol=1e-4, atol=1e-5)
    return net if same else None


class _MarkTensors(fx.Interpreter):
    """Notes at every node whether its value is a tensor: a + of two sizes is no addition of activations."""

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        n.meta["is_tensor"] = isinstance(value, Tensor)
        return value


def _rewrite(net: fx.GraphModule, addition: Callable[[], nn.Module]) -> None:
    used: set[str] = set()
    for node in list(net.graph.nodes):
        if node.op == "call_module":
            if node.target in used:
                node.target = _add_module(net, node, copy.deepcopy(net.get_submodule(node.target)))
            used.add(node.target)
        elif node.target in _RELU and len(node.args) >= 1:
            _replace(net, node, nn.ReLU(), node.args[:1])
        elif node.target in _ADD and _adds_activations(node):
            _replace(net, node, addition(), node.args)
    net.recompile()


def _merge_norms(net: fx.GraphModule) -> None:
    for node in list(net.graph.nodes):
        layer = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(layer, fx.Node) or layer.op != "call_module" or len(layer.users) > 1:
            continue
        norm, before = net.get_submodule(node.target), net.get_submodule(str(layer.target))
        if isinstance(norm, _BatchNorm) and isinstance(before, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            net.set_submodule(str(layer.target), _merged(before, norm))
            node.replace_all_uses_with(layer)
            net.graph.erase_node(node)
    net.delete_all_unused_submodules()
    net.recompile()


def _merged(layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d, norm: _BatchNorm) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    merged: nn.Module = fuse_conv_bn_eval(layer, norm)
    return merged


def _adds_activations(node: fx.Node) -> bool:
    return len(node.args) == 2 and not node.kwargs and all(map(_is_activation, node.args))


def _is_activation(arg: fx.node.Argument) -> bool:
    return isinstance(arg, fx.Node) and arg.op != "get_attr" and arg.meta["is_tensor"]


def _add_module(net: fx.GraphModule, node: fx.Node, module: nn.Module) -> str:
    name = f"hookable_{node.name}"
    net.add_submodule(name, module)
    return name


def _replace(net: fx.GraphModule, node: fx.Node, module: nn.Module, args: tuple[fx.node.Argument, ...]) -> None:
    with net.graph.inserting_before(node):
        call = net.graph.call_module(_add_module(net, node, module), args)
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    net.graph.erase_node(node)
