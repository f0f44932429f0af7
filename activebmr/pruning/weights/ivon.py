"""IVON: a Gaussian posterior at the price of Adam, by natural-gradient steps.

Shen et al. (2024), arXiv 2402.17641, algorithm 1. Each step draws weights theta = m + sigma eps, takes the gradient g of the
mean loss there, and estimates the diagonal Hessian from it alone, as g eps / sigma (Price's theorem). The Hessian's update
stays positive by itself (Lin, Schmidt & Khan 2020).

Both are linear in gradients and lie in ``.grad`` of parameters (see `NaturalGaussian`): several backward passes before a step,
each with its draw, add up to the gradient and the estimate of their loss as a whole, and clipping and scaling of gradients work
as for any optimiser. A norm of all gradients has that of ``curvature`` in it, which is smaller by about a factor sigma.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from activebmr import checks
from activebmr.pruning.data.checks import bool_mask
from activebmr.pruning.weights.posterior import NaturalGaussian

__all__ = ["IVON"]


class IVON(torch.optim.Optimizer):
    """Optimiser of a `NaturalGaussian`.

    Args:
        posterior: what it moves. A step uses up the gradients: the draws that they come from belong to the posterior before.
        lr: step of the means, > 0; about 100 times Adam's, because gradients are divided by Hessians and not by their roots.
        betas: memories of gradient and Hessian, in [0, 1).
        clip: largest step of a weight before the learning rate, > 0.

    Raises:
        TypeError, ValueError: if the posterior is no `NaturalGaussian`, or a number is out of range.

    Example:
        >>> bayes = attach_posterior(net, inference="ivon", n_examples=len(x))
        >>> optimizer = bayes.optimizer(lr=0.1)
        >>> F.cross_entropy(bayes(x), y).backward()
        >>> optimizer.step()
    """

    def __init__(
        self,
        posterior: NaturalGaussian,
        lr: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.9999),
        clip: float = float("inf"),
    ) -> None:
        checks.an(NaturalGaussian)(posterior, "posterior")
        lr = checks.number(lr, "lr", checks.POSITIVE)
        betas = checks.pair(betas, "betas", checks.SHARE)
        clip = checks.number(clip, "clip", checks.POSITIVE_OR_INFINITE)
        super().__init__([posterior.location, posterior.curvature], {"lr": lr, "betas": betas, "clip": clip})
        self.posterior = posterior
        self.state[posterior.location] = {"step": 0, "momentum": torch.zeros_like(posterior.location)}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; a closure computes loss and gradient first.

        Raises:
            TypeError: if the closure is no function.
            RuntimeError: if no gradient of a draw is there.
        """
        loss = None
        if closure is not None:
            checks.function(closure, "closure")
            with torch.enable_grad():
                loss = closure()
        q, group = self.posterior, self.param_groups[0]
        gradient, product = q.location.grad, q.curvature.grad
        if gradient is None or product is None:
            raise RuntimeError("IVON needs the gradient of a forward pass in training mode: call backward before step")
        own, (beta1, beta2) = self.state[q.location], group["betas"]
        own["step"] += 1
        delta = 1 / (q.n_examples * q.prior_variance)
        precision = q.hessian + delta
        if not q.is_whole:  # also what has been removed since the draw
            gradient.mul_(q.alive)
            product.mul_(q.alive)
        # Hessian: h <- b h + (1 - b) h^ + (1 - b)^2 (h - h^)^2 / (2 (h + delta)), h^ = g eps / sigma = (g eps sigma) / sigma^2
        change = product.mul_(precision).mul_(q.n_examples).sub_(q.hessian).mul_(1 - beta2)
        q.hessian.add_(change).addcdiv_(change.square_(), precision, value=0.5)
        # mean: m <- m - lr (momentum + delta (m - prior mean)) / (h + delta)
        momentum: Tensor = own["momentum"].lerp_(gradient, 1 - beta1)
        pull = (q.location - q.prior_mean).mul_(delta).add_(momentum, alpha=1 / (1 - beta1 ** own["step"]))
        pull.div_(precision.copy_(q.hessian).add_(delta))
        if group["clip"] < float("inf"):
            pull.clamp_(-group["clip"], group["clip"])
        q.location.sub_(pull.mul_(q.alive), alpha=group["lr"])
        q.location.grad = q.curvature.grad = None
        return loss

    def forget(self, removed: Tensor) -> None:
        """Take removed weights ``(n,)`` out of the optimiser's memory; ValueError if the mask is none of that shape."""
        mask = bool_mask(removed, "removed", tuple(self.posterior.alive.shape))
        self.state[self.posterior.location]["momentum"].masked_fill_(mask.to(self.posterior.alive.device), 0)
