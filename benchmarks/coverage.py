"""What pruning finds in networks of every kind, and what is left of them, beside torch-pruning.

    python benchmarks/coverage.py [--family NAME ...] [--full] [--timm] [--transformers] [--reasons]

For each family of `activebmr.pruning.networks.families`: the share of units (rows of weights) that have a theta, the number of
layers left out, and parameters and FLOPs that are left when every second unit of each site is removed and the network is made
smaller; how far outputs are then from those of the noisy network, relative to their largest; parameters that the noisy network
reports less those that are there; and seconds of processor time. The last layer, whose outputs are the network's, does not
count as one that could be pruned. torch-pruning prunes to half, by magnitude, each layer for itself; heads where there are
any. It fails if it raises, takes more than 30 s, or leaves a network that cannot be called or has outputs of other shapes.

``--full`` adds ResNet-50 at its published size; ``--timm`` and ``--transformers`` add forms of these packages with random
weights, if they are installed; ``--reasons`` prints what was left out and why, and why something fails.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils._pytree import tree_leaves, tree_map  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from activebmr.pruning import attach_noise, compact  # noqa: E402
from activebmr.pruning.networks.families import FAMILIES, Family, resnet50_family  # noqa: E402

PROJECTIONS = (("qkv",), ("c_attn",), ("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("q_lin", "k_lin", "v_lin"))
"""Names under which attention keeps the layers that make queries, keys and values; one name for all three in one."""
HEADS = ("num_heads", "num_attention_heads", "n_head", "n_heads")
"""Attributes that hold the number of heads."""
SECONDS, GIGABYTES = 30, 8
"""What torch-pruning may take for a network."""


@dataclass
class Row:
    """One line of the table; what is None could not be had."""

    family: str
    units: int = 0
    found: float | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    parameters: float | None = None
    flops: float | None = None
    difference: float | None = None
    amiss: float | None = None
    attach_s: float | None = None
    compact_s: float | None = None
    other_parameters: float | None = None
    other_flops: float | None = None
    other_s: float | None = None
    problems: dict[str, str] = field(default_factory=dict)


# --- networks --------------------------------------------------------------------------------------------------------
@torch.no_grad()
def shaken(net: nn.Module, inputs: Any) -> nn.Module:
    """The network in evaluation mode, without zeros and ones that would hide errors, with statistics of its own maps."""
    for p in net.parameters():
        spread = float(p.float().std()) if p.dim() > 1 else 0.0
        p.add_((0.5 * spread or 0.2) * torch.randn_like(p))
    net.train()
    for _ in range(3):
        call(net, inputs)
    return net.eval()


def call(net: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return net(**inputs)
    return net(inputs) if isinstance(inputs, Tensor) else net(*inputs)


def rows_of(module: nn.Module) -> int:
    """Units that a layer makes; 0 for what makes none of its own (norms, embeddings, containers)."""
    if isinstance(module, nn.RNNBase):
        return int(module.hidden_size * module.num_layers * (2 if module.bidirectional else 1))
    if isinstance(module, nn.MultiheadAttention):
        return int(3 * module.embed_dim)
    for name in ("out_channels", "out_features", "nf"):
        if isinstance(size := getattr(module, name, None), int) and isinstance(getattr(module, "weight", None), Tensor):
            return size
    return 0


def units_by_layer(net: nn.Module, inputs: Any) -> dict[str, int]:
    """Units by layer, without the last layer that runs."""
    order: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: order.append(name))  # type: ignore[misc]
        for name, module in net.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d))
    ]
    with torch.no_grad():
        call(net, inputs)
    for handle in handles:
        handle.remove()
    return {name: n for name, module in net.named_modules() if name != order[-1] and (n := rows_of(module))}


def size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def last_layer(net: nn.Module, inputs: Any) -> nn.Module:
    kept = units_by_layer(net, inputs)
    (name,) = (n for n, m in net.named_modules() if rows_of(m) and n not in kept)
    return net.get_submodule(name)


def flops(net: nn.Module, inputs: Any) -> int:
    if any(isinstance(module, nn.RNNBase) for module in net.modules()):  # single precision hides them from the counter
        net, inputs = copy.deepcopy(net).double(), tree_map(lambda x: x.double() if x.is_floating_point() else x, inputs)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter knows neither fused attention nor the fast path to it
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
            call(net, inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops())


def apart(first: Any, second: Any) -> float:
    """Largest difference of outputs, relative to the largest output."""
    pairs = zip(*([x for x in tree_leaves(y) if isinstance(x, Tensor)] for y in (first, second)), strict=True)
    return max(float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-12)) for a, b in pairs)


# --- ours ------------------------------------------------------------------------------------------------------------
@torch.no_grad()
def ours(row: Row, net: nn.Module, inputs: Any) -> None:
    dense, work, layers = size(net), flops(net, inputs), units_by_layer(net, inputs)
    row.units = sum(layers.values())
    start = time.process_time()
    noisy = attach_noise(net, example_inputs=inputs).eval()
    row.attach_s = time.process_time() - start
    row.left_out = dict(noisy.left_out)
    row.found = 1 - sum(n for name, n in layers.items() if name in row.left_out) / row.units
    noisy.remove({name: torch.arange(site.n) % 2 == 1 for name, site in noisy.sites.items()})
    reported = noisy.cost("parameters")
    start = time.process_time()
    small = compact(noisy, inputs)
    row.compact_s = time.process_time() - start
    row.parameters, row.flops = size(small) / dense, flops(small, inputs) / work
    row.amiss = reported - size(small)
    row.difference = apart(call(small, inputs), call(noisy, inputs))


# --- torch-pruning -----------------------------------------------------------------------------------------------------
def attention(net: nn.Module) -> list[tuple[nn.Module, tuple[nn.Module, ...], int]]:
    """Modules of attention, their layers for queries, keys and values, and their numbers of heads (0 if it cannot be told)."""
    found = []
    for module in net.modules():
        for names in PROJECTIONS:
            layers = tuple(getattr(module, name, None) for name in names)
            if all(isinstance(layer, nn.Module) and rows_of(layer) for layer in layers):
                heads = next((getattr(module, key) for key in HEADS if isinstance(getattr(module, key, None), int)), 0)
                if not heads and isinstance(getattr(module, "head_dim", None), int):
                    heads = rows_of(layers[0]) // module.head_dim  # type: ignore[arg-type]
                found.append((module, layers, heads))
    return found


def heads_by_layer(net: nn.Module) -> dict[nn.Module, int]:
    """Heads of each layer for queries, keys or values; fewer of keys and values where several queries share them."""
    heads = {}
    for _, layers, n in attention(net):
        for layer in layers if n else ():
            heads[layer] = n * rows_of(layer) // rows_of(layers[0])
    return heads


def set_sizes(net: nn.Module, heads: dict[nn.Module, int]) -> None:
    """What users of torch-pruning write after it: the attributes that attention cuts its heads out by."""
    for module, layers, n in attention(net):
        if not n:
            continue
        left, width = heads[layers[0]], rows_of(layers[0]) // (3 if len(layers) == 1 else 1)
        values = dict.fromkeys(HEADS, left)
        values |= dict.fromkeys(("head_dim", "attention_head_size"), width // left)
        values |= dict.fromkeys(("all_head_size", "attn_dim", "embed_dim", "n_embd", "split_size"), width)
        if len(layers) == 3 and heads[layers[1]]:
            values["num_key_value_groups"] = left // heads[layers[1]]
        for key, value in values.items():
            if isinstance(getattr(module, key, None), int):
                setattr(module, key, value)


def torch_pruning(row: Row, net: nn.Module, inputs: Any) -> None:
    """Prune by torch-pruning in a process of its own: there are networks on which it takes all memory and time there is."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_limited, args=(send, net, inputs))
    child.start()
    send.close()
    try:
        found = receive.recv()
    except EOFError:
        found = f"killed after {SECONDS} s or at {GIGABYTES} GB"
    child.join()
    if isinstance(found, str):
        raise RuntimeError(found)
    row.other_parameters, row.other_flops, row.other_s = found


def _limited(send: Any, net: nn.Module, inputs: Any) -> None:
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30, GIGABYTES << 30))
    signal.alarm(SECONDS)
    heads, dense = heads_by_layer(net), copy.deepcopy(net)
    try:
        found: Any = _halved(net, inputs, heads)
    except Exception as problem:  # noqa: BLE001
        found = f"{type(problem).__name__}: {problem}"
        if heads:  # some forms of attention it prunes only where it is told nothing of heads
            with contextlib.suppress(Exception):
                found = _halved(dense, inputs, {})
    send.send(found)


def _halved(net: nn.Module, inputs: Any, heads: dict[nn.Module, int]) -> tuple[float, float, float]:
    """Shares of parameters and FLOPs that torch-pruning leaves, and seconds that it takes."""
    import torch_pruning as tp

    dense, work, before = size(net), flops(net, inputs), call(net, inputs)
    start = time.process_time()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        pruner = tp.pruner.BasePruner(
            net,
            inputs,
            importance=tp.importance.MagnitudeImportance(p=2),
            global_pruning=False,
            pruning_ratio=0.5,
            ignored_layers=[last_layer(net, inputs)],
            num_heads=heads,
            prune_num_heads=bool(heads),
            prune_head_dims=not heads,
            head_pruning_ratio=0.5 if heads else 0.0,
            in_channel_groups={},  # its defaults are shared between calls
            out_channel_groups={},
            forward_fn=call,
        )
        pruner.step()
    took = time.process_time() - start
    if heads:
        set_sizes(net, pruner.num_heads)
    shapes = [[x.shape for x in tree_leaves(y) if isinstance(x, Tensor)] for y in (before, call(net, inputs))]
    if shapes[0] != shapes[1]:
        raise ValueError(f"outputs have shapes {shapes[1]} and not {shapes[0]}")
    return size(net) / dense, flops(net, inputs) / work, took


# --- forms of packages ---------------------------------------------------------------------------------------------------
def timm_forms() -> dict[str, Family]:
    """Networks of timm with random weights, for images of 64 pixels where they can be told so."""
    import timm

    def form(name: str, **options: Any) -> Family:
        side = options.get("img_size", 64)

        def make() -> tuple[nn.Module, Any]:
            return timm.create_model(name, pretrained=False, num_classes=10, **options).eval(), torch.randn(2, 3, side, side)

        return make

    plain = (
        "resnet18",
        "resnext50_32x4d",
        "regnety_002",
        "mobilenetv3_small_050",
        "efficientnet_b0",
        "convnext_atto",
        "densenet121",
    )
    tokens = {"vit_tiny_patch16_224": 64, "deit_tiny_patch16_224": 64, "mixer_s32_224": 64, "swin_tiny_patch4_window7_224": 224}
    return {f"timm {name}": form(name) for name in plain} | {
        f"timm {name}": form(name, img_size=side) for name, side in tokens.items()
    }


def transformers_forms() -> dict[str, Family]:
    """Networks of transformers with random weights, narrow."""
    import transformers as t

    texts = {"input_ids": torch.randint(60, (2, 12)), "attention_mask": torch.ones(2, 12, dtype=torch.int64)}
    few = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    gpt = {"vocab_size": 60, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4}
    distil = {"vocab_size": 60, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}
    vit = {key: value for key, value in few.items() if key != "vocab_size"} | {"image_size": 32, "patch_size": 8}
    return {
        "hf bert": lambda: (t.BertForSequenceClassification(t.BertConfig(**few)), texts),
        "hf distilbert": lambda: (t.DistilBertForSequenceClassification(t.DistilBertConfig(**distil)), texts),
        "hf gpt2": lambda: (t.GPT2LMHeadModel(t.GPT2Config(**gpt, use_cache=False)), texts),
        "hf llama": lambda: (t.LlamaForCausalLM(t.LlamaConfig(**few, num_key_value_heads=2, use_cache=False)), texts),
        "hf vit": lambda: (t.ViTForImageClassification(t.ViTConfig(**vit)), {"pixel_values": torch.randn(2, 3, 32, 32)}),
    }


# --- the table -------------------------------------------------------------------------------------------------------
def measured(family: str, make: Family, repeats: int = 1) -> Row:
    """One row; what raises is named in its problems, and the other half goes on. Times are the least of all repeats."""
    torch.manual_seed(0)
    row, times = Row(family), ("attach_s", "compact_s", "other_s")
    net, inputs = make()
    shaken(net, inputs)
    steps: dict[str, Callable[[Row, nn.Module, Any], None]] = {"activebmr": ours, "torch-pruning": torch_pruning}
    for repeat in range(repeats):  # in turn, so that what else the computer does meets both
        best = {key: getattr(row, key) for key in times}
        for name, step in steps.items():
            try:
                step(row, copy.deepcopy(net), inputs)
            except Exception as problem:  # noqa: BLE001
                row.problems[name] = f"{type(problem).__name__}: {problem}"
        for key in times if repeat else ():
            setattr(row, key, min((x for x in (best[key], getattr(row, key)) if x is not None), default=None))
    return row


def cells(row: Row) -> list[str]:
    def cell(value: float | None, form: str, scale: float = 1.0) -> str:
        return "-" if value is None else f"{scale * value:{form}}"

    def share(value: float | None, who: str) -> str:
        return "fails" if value is None and who in row.problems else cell(value, ".0f", 100)

    found = [row.family, str(row.units), share(row.found, "activebmr"), "-" if row.found is None else str(len(row.left_out))]
    for mine, other in ((row.parameters, row.other_parameters), (row.flops, row.other_flops)):
        found += [share(mine, "activebmr"), share(other, "torch-pruning")]
    found += [cell(row.difference, ".0e"), cell(row.amiss, ".0f")]
    return found + [cell(value, ".2f") for value in (row.attach_s, row.compact_s, row.other_s)]


HEADER = (
    "family|units|with theta, %|left out|parameters, %|tp|FLOPs, %|tp|difference|reported - real|attach, s|compact, s|tp, s"
)


def table(rows: list[Row], reasons: bool) -> None:
    """The rows as a table in Markdown, columns of one width."""
    lines = [HEADER.split("|"), *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for i, line in enumerate(lines):
        first, *rest = (text.rjust(w) if j else text.ljust(w) for j, (text, w) in enumerate(zip(line, widths, strict=True)))
        print("| " + " | ".join([first, *rest]) + " |")
        if i == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")
    if reasons:
        for row in rows:
            for name, why in row.left_out.items():
                print(f"{row.family}: {name} left out: {why}")
            for who, problem in row.problems.items():
                print(f"{row.family}: {who} fails: {' '.join(problem.split())[:300]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", nargs="+", default=list(FAMILIES), choices=list(FAMILIES), metavar="NAME")
    parser.add_argument("--full", action="store_true", help="ResNet-50 at its published size, too")
    parser.add_argument("--timm", action="store_true", help="forms of timm, too")
    parser.add_argument("--transformers", action="store_true", help="forms of transformers, too")
    parser.add_argument("--reasons", action="store_true", help="what was left out and why, and why something fails")
    options = parser.parse_args()
    torch.set_num_threads(1)
    makers = {name: FAMILIES[name] for name in options.family}
    for package, forms in (("timm", timm_forms), ("transformers", transformers_forms)):
        if getattr(options, package):
            try:
                makers |= forms()
            except ImportError as missing:
                parser.error(f"--{package} needs the package {package}: {missing}")
    if options.full:
        makers["resnet50, full"] = lambda: resnet50_family(full=True)
    rows = [measured(name, make, 3 if name == "resnet50, full" else 1) for name, make in makers.items()]
    table(rows, options.reasons)
    for row in rows:
        if row.family == "resnet50, full" and None not in (row.attach_s, row.compact_s, row.other_s):
            mine, other = row.attach_s + row.compact_s, row.other_s  # type: ignore[operator]
            print(f"{row.family}: attach and compact {mine:.1f} s, torch-pruning {other:.1f} s, ratio {mine / other:.2f}")  # type: ignore[operator]


if __name__ == "__main__":
    main()
