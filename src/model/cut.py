"""Cut a backbone where learning begins: trunk (frozen, run once per image) | tail (learns, run every step).
requires_grad decides where.

The trace is by torch.fx (Reed et al. 2022, arXiv:2112.08429). Nothing is assumed about the model: the two
halves are proven equal to the whole.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath, get_notrace_functions, get_notrace_modules
from torch import Tensor, fx, nn

DROPOUTS = (F.dropout, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)


class CannotCut(Exception):
    """Why this model has no separate trunk: it then trains whole, from the decoded images."""


def set_mode(module: nn.Module, training: bool) -> None:
    """train() or eval(), except that a part holding parameters of which none learns stays in eval.

    requires_grad=False does not stop BatchNorm's running statistics, nor dropout inside a frozen block.
    """
    nn.Module.train(module, training)
    for part in module.modules():
        parameters = list(part.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            nn.Module.train(part, False)


class Tracer(fx.Tracer):
    """Layers whose forward asks `self.training`, or that timm marks as untraceable, stay whole."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self.whole = (DropPath, *get_notrace_modules())

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        is_whole = isinstance(module, self.whole) or "Norm" in type(module).__name__
        return is_whole or super().is_leaf_module(module, name)

    def create_args_for_root(
        self, root_fn: Callable, is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable, list]:
        # one image; other arguments, such as ViT's attn_mask, keep their defaults
        return root_fn, [self.root, self.create_proxy("placeholder", "image", (), {})]


def trace(backbone: nn.Module) -> fx.Graph:
    """The backbone as a graph, with each F.dropout turned into an nn.Dropout of the part that called it (else
    the trace bakes self.training in).
    """
    graph = Tracer().trace(backbone)
    for number, node in enumerate(list(graph.nodes)):
        if node.op != "call_function" or node.target not in DROPOUTS:
            continue
        p = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
        owner = next(reversed(node.meta.get("nn_module_stack", {"": ("", None)})), "")
        name = f"{owner}.dropout_{number}".lstrip(".")
        backbone.set_submodule(name, nn.Dropout(p))
        with graph.inserting_before(node):
            node.replace_all_uses_with(graph.call_module(name, (node.args[0],)))
        graph.erase_node(node)
    return graph


def is_live(node: fx.Node, backbone: nn.Module) -> bool:
    """Does this node itself learn, or draw at random while the others learn? (backbone is in
    training mode)
    """
    if node.op == "get_attr":
        value = backbone
        for part in node.target.split("."):
            value = getattr(value, part)
        return isinstance(value, nn.Parameter) and value.requires_grad
    if node.op != "call_module":
        return False
    module = backbone.get_submodule(node.target)
    rate = getattr(module, "p", 0) or getattr(module, "drop_prob", 0) or 0
    drops = module.training and "Drop" in type(module).__name__ and rate > 0
    return drops or any(p.requires_grad for p in module.parameters())


def find_end(graph: fx.Graph, backbone: nn.Module) -> fx.Node:
    """The last node before anything live where one value that depends on the image crosses to what follows.
    Raises CannotCut where there is none after the image itself.
    """
    place = {node: i for i, node in enumerate(graph.nodes)}
    end, crossing = None, []
    last_use: dict[fx.Node, int] = {}  # of each value that depends on the image
    for i, node in enumerate(graph.nodes):
        if node.op == "output" or is_live(node, backbone):
            break
        if node.op == "placeholder" or any(parent in last_use for parent in node.all_input_nodes):
            last_use[node] = max((place[user] for user in node.users), default=i)
        crossing = [value for value, last in last_use.items() if last > i]
        if len(crossing) == 1:
            end = crossing[0]
    if end is None:
        raise CannotCut("no place where a single tensor crosses")
    if end.op == "placeholder" and len(crossing) == 1:
        raise CannotCut("learning begins at the first layer")
    if end.op == "placeholder":
        raise CannotCut(
            f"learning begins at {node.name}, where {len(crossing)} tensors cross, as between branches side"
            " by side, and a trunk passes on one"
        )
    return end


def copy_ancestors(into: fx.Graph, node: fx.Node, copies: dict[fx.Node, fx.Node]) -> fx.Node:
    """Copy `node` and what it needs, in the order of the graph; `copies` has what is copied already.
    Constants (ViT's attn_mask) are copied along.
    """
    needed, waiting = set(), [node]
    while waiting:
        one = waiting.pop()
        if one not in needed and one not in copies:
            needed.add(one)
            waiting.extend(one.all_input_nodes)
    for one in node.graph.nodes:
        if one in needed:
            copies[one] = into.node_copy(one, lambda n: copies[n])
    return copies[node]


def split_graph(graph: fx.Graph, backbone: nn.Module, end: fx.Node) -> tuple[nn.Module, nn.Module]:
    """Two modules that share the backbone's parameters, by their own names: up to and with `end`, and all
    that follows.
    """
    (result,) = next(n for n in graph.nodes if n.op == "output").args
    front, back = fx.Graph(), fx.Graph()
    front.output(copy_ancestors(front, end, {}))
    back.output(copy_ancestors(back, result, {end: back.placeholder("features")}))
    if any(node.op == "placeholder" for node in list(back.nodes)[1:]):
        raise CannotCut("more than one tensor crosses")
    return fx.GraphModule(backbone, front), fx.GraphModule(backbone, back)


@torch.no_grad()
def prove(backbone: nn.Module, trunk: nn.Module, tail: nn.Module, image: Tensor) -> None:
    """The halves equal the whole bit for bit: in eval, in training with the same seed, and in eval again.
    Raises CannotCut.
    """
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    for training in (False, True, False):
        outputs = []
        for run in (lambda: backbone(image), lambda: tail(trunk(image))):
            backbone.load_state_dict(state)  # training mode moves the statistics of the norms that learn
            set_mode(backbone, training)
            set_mode(tail, training)
            trunk.eval()
            with torch.random.fork_rng(devices=[image.device] if image.is_cuda else []):
                torch.manual_seed(0)
                outputs.append(run())
        if not torch.equal(*outputs):
            raise CannotCut(f"the halves differ from the whole {'in training' if training else 'in eval'}")
    backbone.load_state_dict(state)


def cut(backbone: nn.Module, image: Tensor, *, is_proven: bool = False) -> tuple[nn.Module, nn.Module, str]:
    """(trunk, tail, name of the node where the trunk ends) by the parameters' requires_grad. image: one
    random normalised (2, C, H, W).

    is_proven skips the proof, for a model that this run has proven before. Raises CannotCut, saying why; the
    caller then trains without a trunk.
    """
    if any(m.p > 0 for name, m in backbone.named_modules() if name.endswith("attn_drop") and hasattr(m, "p")):
        raise CannotCut("attn_drop > 0 draws inside the attention, where a trace cannot see it")
    if not any(p.requires_grad for p in backbone.parameters()):
        return backbone, nn.Identity(), "all"
    try:
        set_mode(backbone, False)
        graph = trace(backbone)
        set_mode(backbone, True)
        end = find_end(graph, backbone)
        trunk, tail = split_graph(graph, backbone, end)
    except CannotCut:
        raise
    except Exception as error:  # whatever fx meets in a model it can't follow; the reason is reported
        first_line = next(iter(str(error).splitlines()), "")[:120]
        raise CannotCut(f"torch.fx cannot follow it ({type(error).__name__}: {first_line})") from error
    if not is_proven:
        prove(backbone, trunk, tail, image)
    return trunk, tail, end.name
