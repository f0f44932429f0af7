"""How much a compaction is worth: `measure` a network, `compare` two of them, `compaction_report`."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from activebmr import checks
from activebmr.pruning.data.batches import call, tried
from activebmr.pruning.data.checks import runnable
from activebmr.pruning.data.modes import evaluating
from activebmr.pruning.structures.compaction import structure_of
from activebmr.pruning.structures.noisy import NoisyModule, check_noisy
from activebmr.pruning.units.inputs import Inputs, check_inputs

__all__ = ["CompactionReport", "Comparison", "Measurement", "compaction_report", "compare", "measure"]


@dataclass(frozen=True)
class Measurement:
    """``parameters``: their number. ``flops``: floating-point operations of a call, a multiplication and an addition being two,
    matrix products, convolutions and attention alone. ``latency_ms``: median time of a call on one thread, milliseconds.

    Example:
        >>> found = measure(net, x[:1])
        >>> found.parameters, found.flops
        (259, 448)
    """

    parameters: int
    flops: int
    latency_ms: float


@dataclass(frozen=True)
class Comparison:
    """Two networks with the same inputs; ``latency_ratio``: median over pairs of times of after / before, below 1 if faster.

    Example:
        >>> found = compare(net, nn.Linear(4, 3), x[:1])
        >>> found.before.parameters, found.after.parameters
        (259, 15)
        >>> print(found.latency_ratio)
    """

    before: Measurement
    after: Measurement
    latency_ratio: float


@dataclass(frozen=True)
class CompactionReport(Comparison):
    """What a compaction is worth.

    Attributes:
        structures: by site, structures before, those that are not pruned, and those in the smaller network.
        left: by layer and reason, structures that are pruned and had to stay in place, switched off.

    Example:
        >>> step = prune_share(noisy, L2Norm(), 0.5)
        >>> report = compaction_report(noisy, compact(noisy, x[:1]), x[:1])
        >>> report.structures, report.after.parameters
        ({'0': (32, 16, 16)}, 131)
    """

    structures: dict[str, tuple[int, int, int]]
    left: dict[str, dict[str, list[int]]]

    def __str__(self) -> str:
        width = max(20, *(len(name) + 2 for name in self.structures))
        lines = [f"{'':{width}}{'before':>12}{'after':>12}{'ratio':>9}"]
        for name, a, b, ratio, form in (
            ("parameters", self.before.parameters, self.after.parameters, None, ","),
            ("FLOPs", self.before.flops, self.after.flops, None, ","),
            ("latency (ms)", self.before.latency_ms, self.after.latency_ms, self.latency_ratio, ".3f"),
        ):
            share = ratio if ratio is not None else b / a if a else 1.0
            lines.append(f"{name:{width}}{a:>12{form}}{b:>12{form}}{share:>9.3f}")
        lines += ["", f"{'structures':{width}}{'before':>12}{'not pruned':>12}{'after':>12}"]
        lines += [f"{name:{width}}{n:>12}{alive:>12}{after:>12}" for name, (n, alive, after) in self.structures.items()]
        for name, reasons in self.left.items():
            lines += [f"switched off in {name}, not removed: {len(which)} ({reason})" for reason, which in reasons.items()]
        return "\n".join(lines)


def measure(model: nn.Module, example_inputs: Inputs, repeats: int = 20) -> Measurement:
    """Parameters, FLOPs and latency of a network in evaluation mode; ``repeats`` blocks of calls are timed.

    Example:
        >>> measure(nn.Linear(4, 3), x[:1]).flops
        24
    """
    runnable(model, "model")
    return compare(model, model, example_inputs, repeats).before


def compare(before: nn.Module, after: nn.Module, example_inputs: Inputs, repeats: int = 20) -> Comparison:
    """Measure two networks, their times in turn, so that what else the computer does meets both.

    Raises:
        TypeError: if the inputs are of another type than `compact` takes.
        ValueError: if ``repeats`` is not at least 1.

    Example:
        >>> found = compare(net, nn.Linear(4, 3), x[:1], repeats=5)
        >>> found.before.flops, found.after.flops
        (448, 24)
    """
    check_inputs(example_inputs)
    repeats = checks.whole_from(repeats, "repeats", 1)
    for name, net in (("before", before), ("after", after)):
        tried(runnable(net, name), example_inputs, f"example_inputs of {name}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with evaluating(before), evaluating(after):
            flops = [_flops(net, example_inputs) for net in (before, after)]
            times = _interleaved((before, after), example_inputs, repeats)
    finally:
        torch.set_num_threads(threads)
    measured = [
        Measurement(sum(p.numel() for p in net.parameters()), f, statistics.median(t))
        for net, f, t in zip((before, after), flops, times, strict=True)
    ]
    return Comparison(*measured, statistics.median(b / a for a, b in zip(*times, strict=True)))


def _flops(net: nn.Module, inputs: Inputs) -> int:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter knows neither fused attention nor the fast path to it
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
            call(net, inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops())


def _interleaved(nets: tuple[nn.Module, ...], inputs: Inputs, repeats: int) -> list[list[float]]:
    """Times of a call, ms, by network and repeat; calls of less than a millisecond are timed several at a time."""

    def timed(net: nn.Module, calls: int) -> float:
        cuda = next((p.is_cuda for p in net.parameters()), False)
        start = time.perf_counter()
        for _ in range(calls):
            call(net, inputs)
        if cuda:
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - start) / calls

    times: list[list[float]] = [[] for _ in nets]
    with torch.no_grad():
        calls = [max(1, int(1.0 / max(min(timed(net, 1) for _ in range(3)), 1e-3))) for net in nets]
        for _ in range(repeats):
            for mine, net, n in zip(times, nets, calls, strict=True):
                mine.append(timed(net, n))
    return times


def compaction_report(noisy: NoisyModule, small: nn.Module, example_inputs: Inputs, repeats: int = 20) -> CompactionReport:
    """Compare the network under a noisy module, without its noise, with what `compact` has made of it.

    Example:
        >>> print(compaction_report(noisy, compact(noisy, x[:1]), x[:1]))
    """
    check_noisy(noisy)
    last = structure_of(small)[-1]
    found = compare(noisy.net, small, example_inputs, repeats)
    structures = {
        name: (site.n, int(noisy.of(name).alive.sum()), len(last.sites[name]["kept"]) if name in last.sites else site.n)
        for name, site in noisy.sites.items()
    }
    return CompactionReport(found.before, found.after, found.latency_ratio, structures, last.left)
