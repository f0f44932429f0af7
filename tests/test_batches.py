"""Data in batches, from tensors and loaders, and checkpoints that are whole or not there."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from activebmr.pruning.data.batches import Batches  # noqa: E402
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


def test_an_interrupted_write_leaves_the_last_one(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    save_checkpoint(path, IDENTITY, {"epoch": 1})
    real = torch.save

    def broken(content, where):
        real(content, where)
        where.write_bytes(where.read_bytes()[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, IDENTITY, {"epoch": 2})
    monkeypatch.undo()
    assert load_checkpoint(path, IDENTITY)["epoch"] == 1
    save_checkpoint(path, IDENTITY, {"epoch": 3})
    assert load_checkpoint(path, IDENTITY)["epoch"] == 3 and len(list(tmp_path.iterdir())) == 1


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
