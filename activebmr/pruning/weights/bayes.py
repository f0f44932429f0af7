"""`attach_posterior`: a Gaussian posterior over the weights of any network, without touching it.

Four ways to the posterior, one interface. ``"bbb-global"``: one draw of the weights a batch (Blundell et al. 2015);
``"bbb-local"``: where a weight is used once, in a linear map or a convolution, its outputs are drawn instead, one by one, which
makes gradients less noisy (Kingma, Salimans & Welling 2015; see `activebmr.pruning.weights.uses`); ``"vbp"``: closed-form
moments (`activebmr.pruning.weights.propagation`); ``"ivon"``: natural gradients (`activebmr.pruning.weights.ivon`). In
evaluation mode the network has the means as its weights.

Statistics of batch normalisation are updated in training, under draws of the weights. `prune_weights` takes them anew at its
end, with the means (`activebmr.pruning.weights.free_energies.refresh_statistics`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from activebmr import checks
from activebmr.pruning.data.batches import Inputs, call, length_of_batch, to_device, tried
from activebmr.pruning.data.checks import module, runnable
from activebmr.pruning.data.holding import held_weights, hold_weights, release_weights
from activebmr.pruning.data.modes import Modes, evaluating
from activebmr.pruning.weights.ivon import IVON
from activebmr.pruning.weights.posterior import MeanField, NaturalGaussian, WeightPosterior, parameters_of, set_frozen
from activebmr.pruning.weights.propagation import propagate
from activebmr.pruning.weights.uses import LocalDraws, call_with

__all__ = ["INFERENCES", "BayesianModule", "attach_posterior", "rows_of"]

INFERENCES = ("bbb-local", "bbb-global", "vbp", "ivon")
_TINY = 1e-16
"""Added to variances of outputs before their root, which has no gradient at 0."""


class BayesianModule(nn.Module):
    """A network with a posterior over its weights; made by `attach_posterior`.

    Call it like the network: in training mode with weights (or outputs of layers) drawn from the posterior, in evaluation mode
    with their means. ``kl()`` is what the posterior adds to a loss; IVON needs no such term, it is in its steps.

    Attributes:
        net: the network; its own parameters stay as they are until `write_means`.
        posterior: over its weights.
        inference: one of `INFERENCES`.
        trained_in: modes of all modules in the last training by `prune_weights`, if there was one.

    Example:
        >>> bayes = attach_posterior(net)
        >>> bayes.predict(x, samples=20).shape
        torch.Size([20, 24, 3])
        >>> net = bayes.write_means()
    """

    def __init__(self, net: nn.Module, posterior: WeightPosterior, inference: str) -> None:
        super().__init__()
        checks.choice(inference, "inference", INFERENCES)
        module(net)
        checks.an(WeightPosterior)(posterior, "posterior")
        self.net, self.posterior, self.inference = net, posterior, inference
        set_frozen(net, posterior.places, True)  # until `write_means`
        self._take_over_held()
        self.trained_in: Modes | None = None
        self._shared: set[str] = set()  # parameters that were seen to be used more than once in a pass

    def _take_over_held(self) -> None:
        """Weights that the network holds are removed ones; the posterior sees to them from now on."""
        held = {name: gone for name, (gone, _) in held_weights(self.net).items() if name in self.posterior.places}
        if held:
            mask = torch.zeros_like(self.posterior.alive)
            for name, part in self.posterior.split(mask).items():
                part.copy_(held.get(name, part))
            self.posterior.remove(mask)
            release_weights(self.net, held)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.training:
            return self.sampled(*args, **kwargs)
        return self.with_weights(self.mean_weights(), *args, **kwargs)

    def sampled(self, *args: Any, **kwargs: Any) -> Any:
        """Outputs of the network under draws from the posterior, in whatever mode it is.

        Raises:
            ValueError: if gradients are wanted and weights are used under activation checkpointing; if inference is ``"vbp"``
                and the network has modules that it does not go through.
        """
        if self.inference == "bbb-local":
            return self._with_local_noise(*args, **kwargs)
        if self.inference == "vbp":
            mean, variance = self.moments(*args, **kwargs)
            tiny = max(_TINY, torch.finfo(mean.dtype).tiny)
            return mean + (variance + tiny).sqrt() * torch.randn_like(mean)
        return self.with_weights(self._draw(), *args, **kwargs)

    def mean_weights(self) -> Tensor:
        """Weights ``(n,)`` of the network in evaluation mode."""
        return self.posterior.mean

    def with_weights(self, flat: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Outputs of the network with these weights ``(n,)``, in the type of its own.

        Raises:
            TypeError, ValueError: if they are no tensor of that shape.
        """
        if not isinstance(flat, Tensor) or not flat.is_floating_point():
            got = flat.dtype if isinstance(flat, Tensor) else checks.brief(flat)
            raise TypeError(f"flat must be a tensor of floating-point numbers; got {got}")
        return call_with(self.net, self.posterior.split(flat.to(self._type())), args, kwargs)

    def _type(self) -> torch.dtype:
        owner, _, key = next(iter(self.posterior.places)).rpartition(".")
        p = self.net.get_submodule(owner)._parameters[key]
        assert p is not None
        return p.dtype

    def _draw(self) -> Tensor:
        q = self.posterior
        if isinstance(q, NaturalGaussian):
            return q.drawn()
        if isinstance(q, MeanField):
            drawn = torch.addcmul(q.location, q.log_sd.exp(), torch.randn_like(q.location))
            return drawn if q.is_whole else torch.where(q.alive, drawn, q.prior_mean)
        return q.sample()

    # --- local reparameterisation ----------------------------------------------------------------------------------------
    def _moments_of_weights(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Means and standard deviations of the weights by parameter name."""
        kind = self._type()
        return self.posterior.split(self.posterior.mean.to(kind)), self.posterior.split(self.posterior.sd.to(kind))

    def _with_local_noise(self, *args: Any, **kwargs: Any) -> Any:
        means, sds = self._moments_of_weights()
        held = _Held(self.net, self.posterior.alive.device)
        while True:
            drawn = {name: torch.addcmul(mean, sds[name], torch.randn_like(mean)) for name, mean in means.items()}
            uses = LocalDraws(drawn, means, sds, self._shared)
            outputs = call_with(self.net, drawn, args, kwargs, uses)
            if not uses.again:
                return outputs
            self._shared |= uses.again  # from now on they have one draw a pass; this pass begins anew, once and for all
            held.restore()

    # --- what else is known of the outputs -------------------------------------------------------------------------------
    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the outputs by variance back-propagation.

        Raises:
            ValueError: if the network has modules that it does not go through.
        """
        means, sds = self._moments_of_weights()
        weights = {n: (p, torch.zeros_like(p)) for n, p in self.net.named_parameters() if n not in means}
        return propagate(self.net, weights | {n: (means[n], sds[n].square()) for n in means}, x)

    @torch.no_grad()
    def predict(self, x: Inputs, samples: int = 100, seed: int = 0, batch: int = 2000) -> Any:
        """Outputs ``(samples, n, ...)`` under draws of all weights from the posterior, the same for the same seed.

        Args:
            x: inputs of n examples: a tensor, or several (a tuple, a list, a dict; see `activebmr.pruning.data.batches.call`).
            samples: draws, >= 1.
            seed: of the draws.
            batch: examples at a time.

        Returns:
            a tensor; where the network gives out several, in a tuple or a dict, as many in the same order.

        Raises:
            ValueError: if ``samples`` or ``batch`` is below 1, or outputs are not tensors with a row for each example.
        """
        samples, batch = checks.whole_number(samples, "samples", 1), checks.whole_number(batch, "batch", 1)
        seed = checks.whole_number(seed, "seed", 0)
        if not any(isinstance(t, Tensor) and t.dim() for t in tree_leaves(x)):
            raise TypeError(f"x must hold tensors with an axis of examples; got {checks.brief(x)}")
        for t in tree_leaves(x):
            if isinstance(t, Tensor):  # rows can be taken of dense ones alone
                checks.dense_tensor(t, "x")
        tried(self, rows_of(x, length_of_batch(x), slice(2)), "x")
        generator = torch.Generator(device=self.posterior.alive.device).manual_seed(seed)
        out, n = [], length_of_batch(x)
        x = to_device(x, self.posterior.alive.device)
        with evaluating(self):
            for _ in range(samples):
                net: Any = partial(self.with_weights, self.draw_weights(generator))
                out.append(_joined([call(net, rows_of(x, n, slice(i, i + batch))) for i in range(0, max(n, 1), batch)], n))
        self._check_draws(out, rows_of(x, n, slice(0, batch)))
        return tree_map(lambda *draws: torch.stack(draws), *out)

    @torch.no_grad()
    def _check_draws(self, out: list[Any], x: Any) -> None:
        """Refuse a network that goes on with the weights of its first call (kept from evaluation to evaluation, say)."""
        if len(out) < 2:
            return
        first, second = (tree_leaves(o) for o in out[:2])
        if not all(torch.equal(a, b) for a, b in zip(first, second, strict=True)):
            return
        generator = torch.Generator().manual_seed(0)  # other weights altogether, also where they are removed
        mean = self.mean_weights()
        other = mean + torch.randn(mean.shape, generator=generator).to(mean)
        with evaluating(self):
            third = tree_leaves(call(partial(self.with_weights, other), x))
        if all(torch.equal(a[: len(b)], b) for a, b in zip(first, third, strict=True)):
            raise RuntimeError(
                "net must compute its outputs anew in each call: with other weights it gives the same (does a module keep "
                "something made of its weights in evaluation mode?)"
            )

    def draw_weights(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw of all weights ``(n,)`` from the posterior; `TypeError` if ``generator`` is none of torch's."""
        return self.posterior.sample(generator)

    # --- training --------------------------------------------------------------------------------------------------------
    def kl(self) -> Tensor:
        """Divergence of the posterior from its prior, nats: loss = mean nll + kl() / n_examples. IVON adds it by itself."""
        return self.posterior.kl()

    def optimizer(self, lr: float | None = None, **options: Any) -> torch.optim.Optimizer:
        """Adam for means and log standard deviations (1e-2 by default), or IVON (0.1 by default).

        Parameters of the network that have no posterior are not in it.

        Raises:
            TypeError, ValueError: if the learning rate is no finite number > 0, or an option none of the optimiser's.
        """
        lr = None if lr is None else checks.number(lr, "lr", checks.POSITIVE)
        if isinstance(self.posterior, NaturalGaussian):
            return IVON(self.posterior, **({} if lr is None else {"lr": lr}), **options)
        return torch.optim.Adam(self.posterior.parameters(), lr=1e-2 if lr is None else lr, **options)

    def remove(self, mask: Tensor, optimizer: torch.optim.Optimizer | None = None) -> int:
        """Remove weights ``(n,)``, also from the memory of an optimiser; returns how many were new.

        Raises:
            TypeError, ValueError: if the mask is none of that shape, or the optimiser none.
        """
        if optimizer is not None:
            checks.an(torch.optim.Optimizer)(optimizer, "optimizer")
        new = self.posterior.remove(mask)
        if isinstance(optimizer, IVON):
            optimizer.forget(~self.posterior.alive)
        elif optimizer is not None:
            for p in self.posterior.parameters():
                for value in optimizer.state.get(p, {}).values():
                    if isinstance(value, Tensor) and value.shape == p.shape:
                        value.masked_fill_(~self.posterior.alive, 0)
        return new

    def alive(self) -> dict[str, Tensor]:
        """Which weights are left, by parameter name, in their shapes."""
        return self.posterior.split(self.posterior.alive)

    @torch.no_grad()
    def write_means(self, hold: bool | None = None) -> nn.Module:
        """Write the means (0 where weights are removed) into the network's own parameters, which learn again, and return it.

        Args:
            hold: whether removed weights stay what they are while the network is trained further, with any optimiser of torch
                (see `activebmr.pruning.data.holding`). ``write_means(hold=False)`` or `release_weights` lets them go again;
                None holds them if the network does so already.

        Raises:
            TypeError: if ``hold`` is none of these.
        """
        hold = None if hold is None else checks.flag(hold, "hold")
        parameters = dict(self.net.named_parameters())
        for name, mean in self.posterior.split(self.mean_weights()).items():
            parameters[name].copy_(mean)
        set_frozen(self.net, self.posterior.places, False)
        if hold is None:
            hold = not self.posterior.places.keys().isdisjoint(held_weights(self.net))
        release_weights(self.net, self.posterior.places)
        if hold:
            at = self.posterior.split(self.posterior.prior_mean)
            hold_weights(self.net, {name: (~alive, at[name]) for name, alive in self.alive().items()})
        return self.net


def rows_of(inputs: Any, n: int, rows: slice) -> Any:
    """Some of n examples: these rows of all tensors that have one for each of them; tuples, lists and dicts alike."""
    if isinstance(inputs, Tensor):
        return inputs[rows] if inputs.dim() and len(inputs) == n else inputs
    if isinstance(inputs, Mapping):
        return {key: rows_of(value, n, rows) for key, value in inputs.items()}
    if type(inputs) in (tuple, list):
        return type(inputs)(rows_of(value, n, rows) for value in inputs)
    return inputs


def _joined(parts: list[Any], n: int) -> Any:
    """Outputs of n examples from those of some of them."""
    leaves = [tree_leaves(part) for part in parts]
    for of_one in zip(*leaves, strict=True):
        if not all(isinstance(t, Tensor) for t in of_one):
            raise ValueError(f"outputs of the network must be tensors; one is a {type(of_one[0]).__name__}")
        if len(parts) > 1 and sum(len(t) if t.dim() else 0 for t in of_one) != n:
            raise ValueError(
                f"outputs of the network must have a row for each of {n} examples; got {tuple(of_one[0].shape)} for the first "
                "of them (a larger batch may help)"
            )
    return tree_map(lambda *of_one: torch.cat(of_one) if len(parts) > 1 else of_one[0], *parts)


class _Held:
    """Buffers and random numbers as they are now: what a pass that is made anew must find as it was."""

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        self.buffers = [(m, name, b, b.clone()) for m in net.modules() for name, b in m._buffers.items() if b is not None]
        self.device, self.random = device, torch.get_rng_state()
        self.random_cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    @torch.no_grad()
    def restore(self) -> None:
        for owner, name, buffer, value in self.buffers:
            owner._buffers[name] = buffer.copy_(value)
        torch.set_rng_state(self.random)
        if self.random_cuda is not None:
            torch.cuda.set_rng_state(self.random_cuda, self.device)


def attach_posterior(
    net: nn.Module,
    inference: str = "bbb-local",
    *,
    prior_variance: float | Mapping[str, float] = 1.0,
    sd: float | None = None,
    names: list[str] | None = None,
    n_examples: int | None = None,
    hessian: float = 0.1,
) -> BayesianModule:
    """Put a Gaussian posterior on the weights of a network; its means begin at the network's weights.

    Args:
        net: any module; it is wrapped, and its parameters are frozen: the posterior learns for them. Weights that it holds
            (see `BayesianModule.write_means`) count as removed.
        inference: see the module. ``"bbb-local"`` takes the rows of a batch as the examples, and draws places of an image and
            tokens independently, although they share their weights: each output has the right distribution, an average over
            places too narrow a one. A pass in which it first sees that a weight is used more than once begins anew, with
            buffers and random numbers as they were.
        prior_variance: of every weight, > 0; a number, or by parameter name. Priors are around 0, and around 1 for the gains of
            normalisation layers, which would otherwise be pruned to 0.
        sd: first standard deviation of every weight, > 0; by default the prior's (not for IVON, whose first Hessian says it).
        names: parameters that get a posterior; by default all. Tied parameters are one, by any of their names.
        n_examples: training examples; IVON needs to know.
        hessian: see `NaturalGaussian`.

    Raises:
        TypeError: if ``net`` is no module.
        ValueError: if it has no parameters that learn, some share memory without being one tensor, or an argument is out of
            range.

    Example:
        >>> bayes = attach_posterior(net, "bbb-local", sd=0.05)
        >>> optimizer = bayes.optimizer()
        >>> loss = F.cross_entropy(bayes(x), y) + bayes.kl() / len(x)
    """
    checks.choice(inference, "inference", INFERENCES)
    parameters = parameters_of(net, names)
    runnable(net)
    gains = {
        f"{name}.weight".lstrip("."): 1.0
        for name, m in net.named_modules()
        if isinstance(m, (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase))
    }
    if inference == "ivon":
        if n_examples is None:
            raise ValueError("n_examples must be given for inference 'ivon'")
        q: WeightPosterior = NaturalGaussian(parameters, prior_variance, gains, n_examples=n_examples, hessian=hessian)
    else:
        if sd is not None:
            checks.number(sd, "sd", checks.POSITIVE)
        n = sum(p.numel() for p in parameters.values())
        q = MeanField(
            parameters, prior_variance, gains, None if sd is None else torch.full((n,), float(sd) ** 2, dtype=torch.float64)
        )
    return BayesianModule(net, q, inference)
