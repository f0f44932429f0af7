"""Training data, as tensors or from a loader of any form, in batches of inputs and targets on the network's device."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, IterableDataset

from activebmr import checks
from activebmr.pruning.data.checks import module
from activebmr.pruning.data.digests import digest, digest_of_dataset
from activebmr.pruning.data.loaders import examples_of_loader, length_of
from activebmr.pruning.data.modes import evaluating

__all__ = ["Batches", "Data", "Inputs", "call", "device_of", "length_of_batch", "to_device", "tried"]

Inputs = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]
"""What a network is called with: a tensor, or its arguments by place or by name."""
Data = tuple[Inputs, Any] | DataLoader[Any]
"""A pair of all inputs and all targets, or a loader of such pairs."""
Pair = tuple[Any, Any]


def call(net: nn.Module, inputs: Any) -> Any:
    """What a network makes of inputs: a tensor is its only argument, a tuple or list its arguments, a dict those by name."""
    if isinstance(inputs, Mapping):
        return net(**inputs)
    if isinstance(inputs, (tuple, list)) and not isinstance(inputs, PackedSequence):
        return net(*inputs)
    return net(inputs)


def tried(net: nn.Module, inputs: Any, name: str) -> Any:
    """Outputs of a network in evaluation mode, for a first call: what it says of its inputs is said of the argument.

    Args:
        net: any module; all its parts have the modes that they had afterwards.
        inputs: see `call`.
        name: of the argument that the inputs are from.

    Raises:
        ValueError: if it cannot be called with them, whatever error that is.
    """
    with evaluating(net), torch.no_grad():
        try:
            return call(net, inputs)
        except torch.OutOfMemoryError:  # nothing is wrong with the inputs
            raise
        except Exception as error:  # whatever user code raises
            raise ValueError(
                f"{name} must hold what net can be called with; it raises {type(error).__name__}: {error}"
            ) from error


def device_of(net: nn.Module) -> torch.device:
    """Device of a network's first parameter or buffer; the CPU if it has neither.

    Raises:
        TypeError: if it is no module.
    """
    module(net)
    return next((t.device for t in (*net.parameters(), *net.buffers())), torch.device("cpu"))


def to_device(value: Any, device: torch.device | None) -> Any:
    """Tensors, and whatever has a method ``to``, on a device; tuples, lists and dicts of them alike. None moves nothing."""
    if device is None:
        return value
    if isinstance(value, Tensor):
        if value.device == device:
            return value
        return value.to(device, non_blocking=device.type == "cuda" and value.is_pinned())
    if isinstance(value, PackedSequence):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: to_device(x, device) for key, x in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(to_device(x, device) for x in value))
    if isinstance(value, (tuple, list)):
        return type(value)(to_device(x, device) for x in value)
    return value.to(device) if hasattr(value, "to") else value


def length_of_batch(inputs: Any, targets: Any = None) -> int:
    """Examples in a batch: the length of its targets, if these are a tensor or a list of dicts (one for each example), or else
    that of its inputs, or of the first tensor in either.

    Raises:
        TypeError: if neither has a tensor with an axis of examples.
    """
    if not _has_length(targets):
        if isinstance(targets, (list, tuple)) and targets and all(isinstance(t, Mapping) for t in targets):
            return len(targets)
        targets = inputs if _has_length(inputs) else (targets, inputs)
    for leaf in tree_leaves(targets, is_leaf=lambda x: isinstance(x, Mapping) and not isinstance(x, dict)):
        if _has_length(leaf):
            return len(leaf)
        if isinstance(leaf, Mapping):
            return length_of_batch(dict(leaf))
    kinds = f"{type(inputs).__name__} and {type(targets).__name__}"
    raise TypeError(f"batches must hold tensors with an axis of examples; got {kinds}")


def _has_length(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0


class Batches:
    """Pairs of inputs and targets. Inputs are a tensor, or several (a tuple, a list, a dict): see `call`.

    Args:
        data: a pair of tensors ``(n, ...)``, inputs and targets, or a `torch.utils.data.DataLoader` of such pairs. In place of
            a tensor there may be a tuple, a list or a dict of tensors, all with n examples.
        n_examples: examples of an epoch, >= 1, where a loader does not say it (an `IterableDataset` without a length), or says
            it wrong. By default those that its sampler really shows, each counted once.
        batch_to: makes a pair (inputs, targets) of a batch of a loader, where batches are dicts, triples or anything else.
        device: where batches go; None leaves them where they are.
        name: of the data, as errors call them.

    Attributes:
        n: number of examples.
        x, y: inputs and targets, of pairs alone.

    Raises:
        TypeError: if data is neither, or a batch is no pair.
        ValueError: if lengths differ, there is nothing, numbers are not finite, or ``n_examples`` is needed or wrong.

    Example:
        >>> data = Batches(loader, batch_to=lambda batch: (batch["image"], batch["label"]), device=device_of(net))
        >>> for inputs, targets in data.shuffled(128):
        ...     loss = F.cross_entropy(call(net, inputs), targets)
    """

    def __init__(
        self,
        data: Data,
        *,
        n_examples: int | None = None,
        batch_to: Callable[[Any], Pair] | None = None,
        device: torch.device | str | None = None,
        name: str = "data",
    ) -> None:
        if n_examples is not None and (not checks.is_whole(n_examples) or n_examples < 1):
            raise ValueError(f"n_examples must be None or a whole number >= 1; got {checks.brief(n_examples)}")
        if batch_to is not None and not callable(batch_to):
            raise TypeError(f"batch_to must be a function of a batch, or None; got {type(batch_to).__name__}")
        checks.text(name, "name")
        self.device = None if device is None else _device(device)
        if self.device is not None and self.device.type == "cuda" and self.device.index is None:
            self.device = torch.device("cuda", torch.cuda.current_device())
        self.batch_to, self.name = batch_to, name
        self.loader: DataLoader[Any] | None = data if isinstance(data, DataLoader) else None
        self._promised: int | None = None
        self._n_batches: int | None = None
        self._identity: list[Any] | None = None
        if self.loader is None:
            if batch_to is not None:
                raise ValueError(f"batch_to is for batches of a loader; {name} is a pair already")
            self.x, self.y, self.n = _checked(data, name)
            if n_examples not in (None, self.n):
                raise ValueError(f"n_examples must be None or the {self.n} examples of the tensors; got {n_examples}")
        elif n_examples is not None:
            self.n = n_examples
        else:
            self.n, self._promised = examples_of_loader(self.loader)
            if not self.n:
                raise ValueError(self._nothing)

    @property
    def _nothing(self) -> str:
        return f"{self.name} must hold some examples; the loader has none"

    def new_epoch(self, epoch: int, seed: int) -> None:
        """Let a loader draw what this epoch of this seed draws, whatever has been drawn before: generators of its own begin
        anew, and samplers that want to know the epoch (`set_epoch`) are told. All else follows torch's own random numbers.
        """
        epoch, seed = checks.whole_from(epoch, "epoch", 0), checks.whole_from(seed, "seed", 0)
        if self.loader is None:
            return
        batches: Any = self.loader.batch_sampler
        parts = (self.loader, self.loader.sampler, batches, getattr(batches, "sampler", None), self.loader.dataset)
        for part in {id(part): part for part in parts}.values():
            if callable(getattr(part, "set_epoch", None)):
                part.set_epoch(epoch)
            generator = getattr(part, "generator", None)
            if isinstance(generator, torch.Generator):
                generator.manual_seed(seed)

    # --- batches -------------------------------------------------------------------------------------------------------
    def first(self) -> Pair:
        """All of the tensors, or the first batch of the loader."""
        if self.loader is None:
            return to_device((self.x, self.y), self.device)
        for batch in self.loader:
            return self._pair(batch)
        raise ValueError(self._nothing)

    def shuffled(self, size: int) -> Iterator[Pair]:
        """One epoch; torch's own random numbers decide the order. A loader has sizes and an order of its own."""
        if self.loader is not None:
            yield from self._loaded()
            return
        size = checks.whole_from(size, "size", 1)
        order = torch.randperm(self.n)
        for i in range(0, self.n, size):
            yield self._rows(order[i : i + size])

    def in_order(self, size: int = 2000) -> Iterator[Pair]:
        """All examples once, or one epoch of the loader."""
        if self.loader is not None:
            yield from self._loaded()
            return
        size = checks.whole_from(size, "size", 1)
        for i in range(0, self.n, size):
            yield self._rows(slice(i, i + size))

    def n_batches(self, size: int) -> int:
        """Batches of an epoch. Of a stream that does not say it, what its first batch makes likely until an epoch is over."""
        if self.loader is None:
            return -(-self.n // checks.whole_from(size, "size", 1))
        if self._n_batches is None:
            self._n_batches = length_of(self.loader)
        if self._n_batches is None:
            with torch.random.fork_rng(devices=[]):  # a look ahead must not change what is drawn afterwards
                self._n_batches = max(1, -(-self.n // length_of_batch(*self.first())))
        return self._n_batches

    def _rows(self, rows: Tensor | slice) -> Pair:
        def take(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value[rows.to(value.device) if isinstance(rows, Tensor) else rows]
            if isinstance(value, Mapping):
                return {key: take(x) for key, x in value.items()}
            return tuple(take(x) for x in value)  # arguments by place

        return to_device((take(self.x), take(self.y)), self.device)

    def _loaded(self) -> Iterator[Pair]:
        """One epoch of the loader, and whether it showed what its samplers had promised."""
        assert self.loader is not None
        shown = count = 0
        for batch in self.loader:
            inputs, targets = self._pair(batch)
            shown += length_of_batch(inputs, targets)
            count += 1
            yield inputs, targets
        if not shown:
            raise ValueError(self._nothing)
        if length_of(self.loader) is None:
            self._n_batches = count
        if self._promised not in (None, shown) and not _varies(self.loader):
            warnings.warn(
                f"the loader showed {shown} examples in an epoch where its samplers say {self._promised}: "
                f"counted are {self.n}, give n_examples if that is wrong",
                stacklevel=2,
            )
            self._promised = None  # once is enough

    def _pair(self, batch: Any) -> Pair:
        if self.batch_to is not None:
            batch = self.batch_to(batch)
            what = "batch_to must return a pair (inputs, targets)"
        else:
            what = f"batches of {self.name} must be pairs (inputs, targets), or batch_to must make pairs of them"
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise TypeError(f"{what}; got {_in_words(batch)}")
        return to_device((batch[0], batch[1]), self.device)

    # --- identity ------------------------------------------------------------------------------------------------------
    def identity(self) -> list[Any]:
        """What tells data apart in a checkpoint: a digest of all tensors; of a loader what can be known without reading its
        examples (its data set's tensors, arrays and lengths, see `digest_of_dataset`, and how it draws and batches them).
        """
        if self._identity is None:
            if self.loader is None:
                shape = list(self.x.shape) if isinstance(self.x, Tensor) else [self.n]
                self._identity = ["tensors", shape, digest(self.x, self.y)]
            else:
                loader = self.loader
                order = [x for x in (loader.sampler, loader.batch_sampler) if x is not None]
                found = [digest_of_dataset(loader.dataset), *(digest_of_dataset(x, inner=False) for x in order)]
                self._identity = ["loader", self.n, loader.batch_size, loader.drop_last, *found]
        return self._identity


def _device(value: Any) -> torch.device:
    if not isinstance(value, (str, torch.device)):
        raise TypeError(f"device must be a torch.device, or the name of one; got {checks.brief(value)}")
    try:
        return torch.device(value)
    except RuntimeError as error:
        raise ValueError(f"device must be one that torch knows; got {value!r} ({str(error).splitlines()[0]})") from None


def _varies(loader: DataLoader[Any]) -> bool:
    """Whether the examples of an epoch may rightly be another number each time: batches of a sampler of the user's own."""
    return not isinstance(loader.dataset, IterableDataset) and loader.batch_size is None


def _in_words(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a dict with the keys {list(batch)}"
    if isinstance(batch, (tuple, list)):
        return f"a {type(batch).__name__} of {len(batch)}: {', '.join(type(x).__name__ for x in batch)}"
    return type(batch).__name__


def _checked(data: Any, name: str) -> tuple[Any, Any, int]:
    """Inputs, targets and number of examples of a pair."""
    if not (isinstance(data, (tuple, list)) and len(data) == 2 and all(map(_is_tensors, data))):
        raise TypeError(f"{name} must be a pair of tensors (inputs, targets) or a DataLoader; got {_in_words(data)}")
    x, y = data
    shapes = [tuple(t.shape) for part in data for t in _leaves(part)]
    lengths = {shape[0] if shape else 0 for shape in shapes}
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(f"{name} must hold as many targets as inputs, and some; got {' and '.join(map(str, shapes))}")
    for what, part in (("inputs", x), ("targets", y)):
        for t in _leaves(part):
            checks.dense_tensor(t, f"{what} of {name}")
            if t.is_floating_point() and not torch.isfinite(t).all():
                raise ValueError(f"{what} of {name} must be finite; they hold {t[~torch.isfinite(t)][0].item()}")
    return x, y, lengths.pop()


def _is_tensors(part: Any) -> bool:
    inner = part.values() if isinstance(part, Mapping) else part if isinstance(part, (tuple, list)) else None
    return isinstance(part, Tensor) or (inner is not None and len(inner) > 0 and all(map(_is_tensors, inner)))


def _leaves(part: Any) -> list[Tensor]:
    if isinstance(part, Tensor):
        return [part]
    return [t for inner in (part.values() if isinstance(part, Mapping) else part) for t in _leaves(inner)]
