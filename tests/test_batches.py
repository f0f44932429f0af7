"""Data in batches, from tensors and loaders, and checkpoints that are whole or not there."""

from __future__ import annotations

import math
import random
from collections import UserDict
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.data import (  # noqa: E402
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from activebmr.folders import remove_parts  # noqa: E402
from activebmr.pruning.data.batches import Batches, call, device_of, length_of_batch, to_device  # noqa: E402
from activebmr.pruning.data.checkpoints import load_checkpoint, save_checkpoint  # noqa: E402


def pair(n=23):
    return torch.arange(2.0 * n).view(n, 2), torch.arange(n)


def loader(n=23, **kwargs):
    return DataLoader(TensorDataset(*pair(n)), **{"batch_size": 5, **kwargs})


def together(batches):
    parts = list(batches)
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


# --- batches ---------------------------------------------------------------------------------------------------------------
def test_an_epoch_has_every_pair_once_in_an_order_that_torchs_numbers_decide():
    data = Batches(pair())
    assert data.n == 23 and data.n_batches(5) == 5 and data.n_batches(23) == 1
    torch.manual_seed(0)
    one, two = together(data.shuffled(5)), together(data.shuffled(5))
    torch.manual_seed(0)
    again = together(data.shuffled(5))
    assert not torch.equal(one[1], two[1]) and torch.equal(one[1], again[1])
    for x, y in (one, two):
        assert torch.equal(y.sort()[0], pair()[1])
        assert torch.equal(x[:, 0], 2.0 * y)  # pairs stay pairs
    assert [len(x) for x, _ in data.shuffled(5)] == [5, 5, 5, 5, 3]


def test_in_order_means_in_order():
    data = Batches(pair())
    for size in (4, 23, 2000):
        x, y = together(data.in_order(size))
        assert torch.equal(x, pair()[0]) and torch.equal(y, pair()[1])
    assert data.first()[0] is data.x


def test_batches_of_a_loader_come_as_it_gives_them():
    data = Batches(loader())
    assert data.n == 23 and data.n_batches(99) == 5
    assert [len(x) for x, _ in data.shuffled(99)] == [5, 5, 5, 5, 3] == [len(x) for x, _ in data.in_order(99)]
    assert torch.equal(together(data.shuffled(99))[1], pair()[1])
    assert torch.equal(data.first()[1], torch.arange(5))
    mixed = Batches(loader(shuffle=True))
    torch.manual_seed(0)
    one = together(mixed.shuffled(99))
    torch.manual_seed(0)
    assert torch.equal(together(mixed.shuffled(99))[1], one[1]) and not torch.equal(one[1], pair()[1])


def test_lists_are_pairs_too():
    assert Batches(list(pair())).n == 23


@pytest.mark.parametrize(
    "data, match",
    [
        ((torch.zeros(3, 2), torch.zeros(4)), r"as many targets as inputs, and some; got \(3, 2\) and \(4,\)"),
        ((torch.zeros(0, 2), torch.zeros(0)), r"and some; got \(0, 2\) and \(0,\)"),
        ((torch.tensor([[1.0], [math.nan]]), torch.zeros(2)), "inputs of data must be finite; they hold nan"),
        ((torch.zeros(2, 1), torch.tensor([0.0, -math.inf])), "targets of data must be finite; they hold -inf"),
    ],
)
def test_wrong_tensors_are_refused(data, match):
    with pytest.raises(ValueError, match=match):
        Batches(data)


@pytest.mark.parametrize(
    "data",
    [torch.zeros(3, 2), (torch.zeros(3, 2),), (torch.zeros(2), [0, 1]), None, TensorDataset(torch.zeros(2), torch.zeros(2))],
)
def test_what_is_no_pair_is_refused(data):
    with pytest.raises(TypeError, match=r"data must be a pair of tensors \(inputs, targets\) or a DataLoader; got"):
        Batches(data)


def test_an_empty_loader_is_refused_when_it_is_read():
    empty = DataLoader(TensorDataset(torch.zeros(3, 1), torch.zeros(3)), batch_size=5, drop_last=True)
    with pytest.raises(ValueError, match="data must hold some examples; the loader has none"):
        Batches(empty).first()


def test_other_numbers_have_another_identity():
    x, y = pair()
    one = Batches((x, y)).identity()
    assert Batches((x.clone(), y.clone())).identity() == one
    others = [(x + 1, y), (x, y + 1), (x[:-1], y[:-1]), (x.view(46)[:23], y)]
    assert all(Batches(data).identity() != one for data in others)
    assert Batches(loader()).identity() not in (one, Batches(loader(22)).identity())


# --- loaders of every form ---------------------------------------------------------------------------------------------------
class Pairs(BatchSampler):
    """A batch sampler of a user's: pairs of rows by chance, of torch, numpy, and random."""

    def __init__(self, n, generator=None):
        self.n, self.generator = n, generator

    def __iter__(self):
        order = torch.randperm(self.n, generator=self.generator).tolist()
        random.shuffle(order)
        np.random.shuffle(order)  # noqa: NPY002
        yield from ([*order[i : i + 2]] for i in range(0, self.n - 1, 2))

    def __len__(self):
        return self.n // 2


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(*pair(), strict=True)


class StreamOfKnownLength(Stream):
    def __init__(self, n=23):
        self.n = n

    def __len__(self):
        return self.n


def loaders():
    rows = TensorDataset(*pair(1000))
    weights = torch.ones(1000)
    return [
        (DataLoader(rows, 10, shuffle=True), 1000),
        (DataLoader(rows, 10, sampler=SubsetRandomSampler(range(50))), 50),
        (DataLoader(rows, 30, drop_last=True), 990),
        (DataLoader(rows, 30, sampler=SubsetRandomSampler(range(50)), drop_last=True), 30),
        (DataLoader(rows, 10, sampler=RandomSampler(rows, num_samples=70)), 70),
        (DataLoader(rows, 10, sampler=WeightedRandomSampler(weights, 80)), 80),
        (DataLoader(rows, 10, sampler=WeightedRandomSampler(weights, 3000)), 1000),  # shown three times, and yet so many
        (DataLoader(Subset(rows, range(7)), 4), 7),
        (DataLoader(ConcatDataset([rows, Subset(rows, [1, 2])]), 4), 1002),
        (DataLoader(rows, batch_sampler=BatchSampler(SequentialSampler(range(41)), 8, drop_last=False)), 41),
        (DataLoader(rows, batch_sampler=BatchSampler(SubsetRandomSampler(range(41)), 8, drop_last=True)), 40),
        (DataLoader(rows, batch_sampler=Pairs(41, torch.Generator())), 40),
        (DataLoader(rows, batch_sampler=[[1, 2, 3], [4]]), 4),
        (DataLoader(StreamOfKnownLength(), 5), 23),
        (DataLoader(StreamOfKnownLength(), 5, drop_last=True), 20),
    ]


@pytest.mark.parametrize("which", range(15))
def test_examples_are_those_that_an_epoch_shows(which):
    data, n = loaders()[which]
    found = Batches(data)
    assert found.n == n and found.n_batches(7) == len(data)
    seen = torch.cat([y for _, y in found.shuffled(7)])
    assert len(seen) == (3000 if n == 1000 and len(data) == 300 else n)


def test_counting_leaves_samplers_and_chance_as_they_were():
    def epoch(count):
        for seed in (random.seed, np.random.seed, torch.manual_seed):  # noqa: NPY002
            seed(3)
        data = DataLoader(TensorDataset(*pair(40)), batch_sampler=Pairs(40, torch.Generator().manual_seed(1)))
        if count:
            assert Batches(data).n == 40
        return torch.cat([y for _, y in data])

    assert torch.equal(epoch(True), epoch(False))


class WithoutCopy(Sampler):
    def __len__(self):
        return 4

    def __deepcopy__(self, memo):
        raise TypeError("no copies")


@pytest.mark.parametrize(
    "data, why",
    [
        (DataLoader(Stream(), 5), "Stream has no length"),
        (DataLoader(TensorDataset(*pair()), batch_size=None), "TensorDataset makes batches by itself"),
        (DataLoader(StreamOfKnownLength(), batch_size=None), "StreamOfKnownLength makes batches by itself"),
        (DataLoader(TensorDataset(*pair()), batch_sampler=WithoutCopy()), "with a sampler that cannot be counted"),
    ],
)
def test_loaders_that_cannot_be_counted_need_the_number(data, why):
    with pytest.raises(ValueError, match=f"n_examples must be given: .*{why}"):
        Batches(data)
    assert Batches(data, n_examples=17).n == 17


def test_a_stream_counts_its_batches_when_an_epoch_is_over():
    data = Batches(DataLoader(Stream(), 5), n_examples=100)
    assert data.n_batches(9) == 20  # of 100 examples, as was said
    assert len(list(data.shuffled(9))) == 5 == data.n_batches(9)


def test_a_loader_that_shows_something_else_than_it_says_is_noticed_once():
    def some(rows):  # drops what it does not like
        kept = [r for r in rows if r[1] % 2 == 0]
        return torch.stack([x for x, _ in kept]), torch.stack([y for _, y in kept])

    data = Batches(loader(collate_fn=some))
    with pytest.warns(UserWarning, match="showed 12 examples in an epoch where its samplers say 23.*give n_examples"):
        assert len(list(data.in_order())) == 5
    list(data.in_order())  # warnings are errors here
    list(Batches(loader(collate_fn=some), n_examples=12).in_order())


@pytest.mark.parametrize("n", [0, -1, True, 2.0, "3"])
def test_numbers_of_examples_are_checked(n):
    with pytest.raises(ValueError, match="n_examples must be None or a whole number >= 1; got"):
        Batches(loader(), n_examples=n)


def test_tensors_say_themselves_how_many_they_are():
    assert Batches(pair(), n_examples=23).n == 23
    with pytest.raises(ValueError, match="n_examples must be None or the 23 examples of the tensors; got 24"):
        Batches(pair(), n_examples=24)


class Rows(Dataset):
    """Rows in the form that is asked for."""

    def __init__(self, form):
        self.form = form

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return self.form(torch.full((3,), float(i)), i)


FORMS = {
    "a dict with the keys .'x', 'y'.": lambda x, y: {"x": x, "y": y},
    "a list of 3: Tensor, Tensor, Tensor": lambda x, y: (x, y, y),
    "Tensor": lambda x, y: x,  # two rows: not to be taken for inputs and targets
}


@pytest.mark.parametrize("words", FORMS)
def test_batches_that_are_no_pairs_are_refused_or_made_pairs(words):
    data = DataLoader(Rows(FORMS[words]), 2)
    with pytest.raises(TypeError, match=rf"must be pairs \(inputs, targets\), or batch_to must .*; got {words}"):
        list(Batches(data).shuffled(2))
    with pytest.raises(TypeError, match=f"batch_to must return a pair .*; got {words}"):
        Batches(data, batch_to=lambda batch: batch).first()
    found = Batches(data, batch_to=lambda batch: (torch.ones(2, 3), torch.zeros(2)))
    assert found.first()[0].shape == (2, 3)


def test_what_makes_pairs_is_a_function_and_for_loaders_alone():
    with pytest.raises(TypeError, match="batch_to must be a function of a batch, or None; got int"):
        Batches(loader(), batch_to=3)
    with pytest.raises(ValueError, match="batch_to is for batches of a loader; data is a pair already"):
        Batches(pair(), batch_to=lambda batch: batch)


# --- several inputs, and devices ---------------------------------------------------------------------------------------------
class Sum(nn.Module):
    def forward(self, a, b):
        return a + 2 * b


@pytest.mark.parametrize("form", [lambda a, b: (a, b), lambda a, b: [a, b], lambda a, b: {"b": b, "a": a}])
def test_inputs_may_be_several(form):
    x, y = pair()
    data = Batches((form(x, 10 * x), y))
    assert data.n == 23
    for order in (data.shuffled(5), data.in_order(5)):
        for inputs, targets in order:
            assert torch.equal(call(Sum(), inputs), 21 * x[targets])
    other = Batches((form(x, 10 * x + 1), y))
    assert other.identity() != data.identity() == Batches((form(x, 10 * x), y)).identity()
    loaded = DataLoader(TensorDataset(x, 10 * x, y), 5)
    for inputs, targets in Batches(loaded, batch_to=lambda b: (form(b[0], b[1]), b[2])).shuffled(5):
        assert torch.equal(call(Sum(), inputs), 21 * x[targets])
    assert torch.equal(call(nn.Identity(), x), x)
    with pytest.raises(ValueError, match=r"as many targets as inputs, and some; got \(2[23], 2\) and \(2[23], 2\) and \(23,\)"):
        Batches((form(x, x[:-1]), y))


def test_lengths_of_batches_are_those_of_examples():
    x, y = torch.zeros(5, 2), torch.zeros(7)
    boxes = [{"boxes": torch.zeros(3, 4)}, {"boxes": torch.zeros(0, 4)}]
    for inputs, targets, n in [
        (x, y, 7),
        (x, None, 5),
        (x, torch.tensor(1.0), 5),
        ({"a": x}, None, 5),
        ([x, y], 3, 5),
        (([torch.zeros(3, 8, 8), torch.zeros(3, 9, 9)],), boxes, 2),
        (x, {"a": y}, 5),
        ("text", UserDict(a=y), 7),
    ]:
        assert length_of_batch(inputs, targets) == n
    with pytest.raises(TypeError, match="batches must hold tensors with an axis of examples; got str and"):
        length_of_batch("text", 3)


def test_batches_go_to_the_device():
    """The device "meta" stands for an accelerator."""
    net = nn.Linear(2, 3, device="meta")
    for data in (pair(), loader()):
        found = Batches(data, device=device_of(net))
        for x, y in (found.first(), *found.shuffled(5), *found.in_order(5)):
            assert x.device.type == y.device.type == "meta"
    moved = to_device({"a": [torch.zeros(1), ("text", 3)]}, torch.device("meta"))
    assert moved["a"][0].device.type == "meta" and moved["a"][1] == ("text", 3)
    assert device_of(nn.ReLU()).type == "cpu"


# --- identity ----------------------------------------------------------------------------------------------------------------
def test_identity_is_that_of_every_number_not_of_sums():
    x, y = pair()
    swapped = x.clone()
    swapped[[0, 1]] = x[[1, 0]]
    assert Batches((swapped, y)).identity() != Batches((x, y)).identity()  # equal sums
    assert Batches((x.bfloat16(), y)).identity() != Batches((x, y)).identity()


def test_identity_of_a_loader_says_what_can_be_known():
    class Mine(Dataset):
        def __init__(self, scale=1.0, labels=(0, 1)):
            self.array, self.labels, self.read = scale * np.arange(3.0), list(labels), 0

        def __len__(self):
            return 2

        def __getitem__(self, i):
            self.read += 1  # counting is no change of data
            return torch.tensor(self.array), self.labels[i]

    def of(*args, rows=(0, 1), **kwargs):
        data = Subset(Mine(*args), rows)
        found = Batches(DataLoader(data, **kwargs)).identity()
        data[0]
        assert Batches(DataLoader(data, **kwargs)).identity() == found
        return found

    known = [
        of(),
        of(2.0),
        of(1.0, (1, 0)),
        of(rows=(1, 0)),
        of(batch_size=2),
        of(shuffle=True),
        of(sampler=SubsetRandomSampler([0])),
        of(sampler=SubsetRandomSampler([1])),
        of(batch_sampler=[[0], [1]]),
        of(batch_sampler=[[1], [0]]),
    ]
    assert of() == known[0] and len({str(k) for k in known}) == len(known)


# --- checkpoints -----------------------------------------------------------------------------------------------------------
IDENTITY = {"settings": {"lr": 0.1, "rounds": None}, "shapes": {"w": [2, 3]}}


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "some" / "run.pt"
    assert load_checkpoint(path, IDENTITY) is None
    state = {"w": torch.randn(2, 3, dtype=torch.float64), "epoch": 3, "vfe": [math.nan, 0.1], "nested": {"a": [(1, 2.5)]}}
    save_checkpoint(path, IDENTITY, state)
    held = load_checkpoint(path, IDENTITY)
    assert torch.equal(held["w"], state["w"]) and held["epoch"] == 3 and held["nested"] == {"a": [(1, 2.5)]}
    assert math.isnan(held["vfe"][0]) and held["vfe"][1] == 0.1
    save_checkpoint(path, IDENTITY, {"epoch": 4})
    assert load_checkpoint(path, IDENTITY)["epoch"] == 4
    assert [p.name for p in path.parent.iterdir()] == ["run.pt"]


@pytest.mark.parametrize("what", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_write_that_is_not_finished_leaves_the_last_one_and_no_part(tmp_path, monkeypatch, what):
    path = tmp_path / "run.pt"
    assert save_checkpoint(path, IDENTITY, {"epoch": 1})
    real = Path.write_bytes

    def broken(part, content):
        real(part, content[:100])
        raise what

    monkeypatch.setattr(Path, "write_bytes", broken)
    if what is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(path, IDENTITY, {"epoch": 2})
    else:
        with pytest.warns(UserWarning, match=r"checkpoint .*run\.pt could not be written \(No space left.*the run goes on"):
            assert not save_checkpoint(path, IDENTITY, {"epoch": 2})
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"] and load_checkpoint(path, IDENTITY)["epoch"] == 1
    save_checkpoint(path, IDENTITY, {"epoch": 3})
    assert load_checkpoint(path, IDENTITY)["epoch"] == 3 and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_made_costs_the_checkpoint_alone(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="could not be written"):
        assert not save_checkpoint(tmp_path / "file" / "run.pt", IDENTITY, {})


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path, monkeypatch):
    path, real = tmp_path / "run.pt", Path.write_bytes

    def slow(part, content):
        real(part, content)
        monkeypatch.undo()
        save_checkpoint(path, IDENTITY, {"epoch": 2})  # another one comes and goes meanwhile

    monkeypatch.setattr(Path, "write_bytes", slow)
    assert save_checkpoint(path, IDENTITY, {"epoch": 1})
    assert load_checkpoint(path, IDENTITY)["epoch"] == 1 and len(list(tmp_path.iterdir())) == 1


def test_what_killed_writers_left_is_removed(tmp_path):
    (tmp_path / "inner").mkdir()
    parts = [tmp_path / ".run.pt.123-ab.part", tmp_path / "inner" / ".rows.json.5-cd.part"]
    for part in (*parts, tmp_path / "inner" / "rows.json"):
        part.write_text("x")
    remove_parts(tmp_path)
    assert not any(p.exists() for p in parts) and (tmp_path / "inner" / "rows.json").exists()


@pytest.mark.parametrize("damage", ["empty", "half", "text", "folder", "code"])
def test_damaged_files_are_refused_by_name(tmp_path, damage):
    path = tmp_path / "run.pt"
    save_checkpoint(path, IDENTITY, {"w": torch.zeros(1000)})
    content = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "code":
        torch.save({"identity": IDENTITY, "net": torch.nn.Linear(2, 2)}, path)
    else:
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "text": b"no checkpoint"}[damage])
    with pytest.raises(ValueError, match=r"checkpoint .*run\.pt cannot be read: truncated or damaged \(\w+\)"):
        load_checkpoint(path, IDENTITY)


@pytest.mark.parametrize("content", [{"identity": {"settings": {}}}, {"w": torch.zeros(2)}, torch.zeros(2), 3])
def test_files_of_others_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "run.pt")
    with pytest.raises(
        ValueError, match=r"run\.pt belongs to other settings, data or another network: remove it or choose another"
    ):
        load_checkpoint(tmp_path / "run.pt", IDENTITY)
