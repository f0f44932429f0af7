"""What a loader shows in an epoch: how many examples and batches, read from its samplers without reading data."""

from __future__ import annotations

import copy
import random
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

__all__ = ["examples_of_loader", "length_of"]


def length_of(thing: Any) -> int | None:
    """``len(thing)``, or None where there is none."""
    try:
        return len(thing)
    except (TypeError, NotImplementedError):
        return None


def examples_of_loader(loader: DataLoader[Any]) -> tuple[int, int]:
    """Examples of one epoch: how many different ones there are at most, and how many are shown.

    Both follow from the sampler and the sizes of batches. They differ where examples are drawn with replacement and more are
    shown than the data set has: what is shown twice says nothing new.

    Raises:
        ValueError: if neither samplers nor lengths say how many there are (then ``n_examples`` has to).
    """
    shown = _shown(loader)
    if shown is None:
        raise ValueError(
            f"n_examples must be given: the loader does not say how many examples it shows "
            f"({type(loader.dataset).__name__}{_why(loader)})"
        )
    held = length_of(loader.dataset)
    return (shown if held is None else min(shown, held)), shown


def _why(loader: DataLoader[Any]) -> str:
    if loader.batch_sampler is None:
        return " makes batches by itself"
    return " has no length" if isinstance(loader.dataset, IterableDataset) else ", with a sampler that cannot be counted"


def _shown(loader: DataLoader[Any]) -> int | None:
    if loader.batch_sampler is None and loader.batch_size is None:  # the data set's items are batches of unknown sizes
        return None
    if isinstance(loader.dataset, IterableDataset):
        n, size, drops = length_of(loader.dataset), loader.batch_size, loader.drop_last
    else:
        batches: Any = loader.batch_sampler
        if not isinstance(batches, BatchSampler) or type(batches).__iter__ is not BatchSampler.__iter__:
            return _counted(batches, loader.dataset)
        n, size, drops = length_of(batches.sampler), batches.batch_size, batches.drop_last
    if n is None or size is None:
        return None
    return n // size * size if drops else n


def _counted(batches: Any, dataset: Any) -> int | None:
    """Indices in all batches of a sampler of the user's own, which is asked in a copy, so that its next epoch is what it would
    have been.
    """
    n = length_of(batches)
    if n is None:
        return None
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 (samplers of users may draw from it)
    try:
        with torch.random.fork_rng(devices=[]):
            mine = copy.deepcopy(batches, {id(dataset): dataset})
            return sum(len(batch) for batch in islice(iter(mine), n))
    except (TypeError, RuntimeError, NotImplementedError):  # no copy can be made, or batches are no lists
        return None
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
