"""`fit`: the same again for the same seed, on from where it was interrupted, and the loss, rates and masks that it promises."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import nets  # noqa: E402
import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402
from torch.optim.optimizer import register_optimizer_step_pre_hook  # noqa: E402

from activebmr.pruning import (  # noqa: E402
    BMRS_U,
    L2Norm,
    MeanBelow,
    RandomRank,
    Training,
    accuracy,
    attach_noise,
    compact,
    fit,
    prune,
)

N, CLASSES = 96, 4
SMALL = Training(epochs=4, fine_tune=2, batch=20, lr=5e-3, noise_lr=0.1, weight=2.0, warm_up=1, prune_from=1)
"""The last batch of an epoch is a smaller one."""


@dataclass(frozen=True)
class Weakest:
    """Removes what is in the lowest part of its layer: some structures, from the first epoch on, others later."""

    part: float = 0.3
    name: str = "weakest"
    decides: bool = True

    def scores(self, posterior, weights=None):
        mean = posterior.log_moment(1)
        return mean.quantile(self.part) - mean


RULE = Weakest()


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def data():
    """Four clouds in 10 dimensions."""
    generator = torch.Generator().manual_seed(7)
    y = torch.arange(N) % CLASSES
    centres = 2 * torch.randn(CLASSES, 10, generator=generator)
    return centres[y] + torch.randn(N, 10, generator=generator), y


def plain(seed=0):
    torch.manual_seed(seed)
    return nets.mlp()


def noisy_net(seed=0):
    return attach_noise(plain(seed))


def with_batch_norm(seed=0):
    torch.manual_seed(seed)
    return attach_noise(
        nn.Sequential(
            nn.Linear(10, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)
        )
    )


def with_(settings, **changes):
    return Training(**{**settings.__dict__, **changes})


def masks(noisy):
    return {name: noisy.of(name).alive.clone() for name in noisy.sites}


def assert_identical(a, b):
    """Bit for bit."""
    assert a.keys() == b.keys()
    for key in a:
        if isinstance(a[key], torch.Tensor):
            assert a[key].dtype == b[key].dtype and torch.equal(a[key], b[key]), key
        else:
            assert a[key] == b[key], key


def optimiser_of(path):
    """What a checkpoint holds of the optimiser, flat."""
    held = torch.load(path, weights_only=True)["optimizer"]
    flat = {f"{i} {key}": value for i, state in held["state"].items() for key, value in state.items()}
    return flat | {f"group {i} {key}": value for i, group in enumerate(held["param_groups"]) for key, value in group.items()}


# --- again, and on -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [plain, noisy_net, with_batch_norm])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(make, data):
    def trained(settings, disturb):
        torch.manual_seed(disturb)  # what the user has drawn before must not matter
        net = make()
        torch.rand(disturb)
        return net, fit(net, data, settings)

    (one, report), (two, again), (other, _) = (trained(s, d) for s, d in ((SMALL, 1), (SMALL, 5), (with_(SMALL, seed=1), 1)))
    assert_identical(one.state_dict(), two.state_dict())
    assert report.losses == again.losses and report.steps == again.steps
    assert not all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert not one.training


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("at", ["watch", "progress"])
@pytest.mark.parametrize("epoch", [0, 2, 4])
def test_interrupted_and_resumed_it_comes_to_the_same_bits(tmp_path, data, at, epoch, schedule):
    settings = with_(SMALL, schedule=schedule)

    def run(path, interrupt=None, net=None):
        def stop(e, _):
            if e == interrupt:
                raise KeyboardInterrupt

        net = with_batch_norm() if net is None else net
        call = {at: stop} if interrupt is not None else {}
        return net, fit(net, data, settings, criterion=RULE, validation=data, checkpoint=tmp_path / path, **call)

    whole, report = run("whole.pt")
    _, first = run("parts/x.pt", interrupt=epoch)
    assert first.interrupted and not report.interrupted
    begun = (tmp_path / "parts" / "x.pt").exists()
    assert begun == ((at, epoch) != ("watch", 0))
    parts, second = run("parts/x.pt", net=with_batch_norm(99 if begun else 0))  # weights are then those of the checkpoint
    assert not second.interrupted
    assert_identical(whole.state_dict(), parts.state_dict())
    assert_identical(optimiser_of(tmp_path / "whole.pt"), optimiser_of(tmp_path / "parts" / "x.pt"))
    assert second.losses == report.losses and second.steps == report.steps
    assert len(second.seconds) == 6 and whole.n_removed > 0
    assert [p.name for p in (tmp_path / "parts").iterdir()] == ["x.pt"]  # no half-written file is left


def test_interrupted_in_the_middle_of_an_epoch_it_comes_to_the_same_bits(tmp_path, data):
    whole = noisy_net()
    fit(whole, data, SMALL, criterion=RULE)
    parts = noisy_net()
    seen = []

    def stop(*_):
        seen.append(1)
        if len(seen) == 13:  # third batch of the third epoch
            raise KeyboardInterrupt

    handle = register_optimizer_step_pre_hook(stop)
    try:
        assert fit(parts, data, SMALL, criterion=RULE, checkpoint=tmp_path / "x.pt").interrupted
    finally:
        handle.remove()
    assert torch.load(tmp_path / "x.pt", weights_only=True)["epoch"] == 2
    fit(parts, data, SMALL, criterion=RULE, checkpoint=tmp_path / "x.pt")  # with the same object, halfway as it is
    assert_identical(whole.state_dict(), parts.state_dict())


def test_without_a_checkpoint_an_interruption_is_the_callers(data):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(noisy_net(), data, SMALL, watch=stop)


def test_a_finished_checkpoint_is_not_trained_again(tmp_path, data, monkeypatch):
    done, path = noisy_net(), tmp_path / "x.pt"
    report = fit(done, data, SMALL, checkpoint=path)
    before = path.read_bytes()
    monkeypatch.setattr(torch.optim.Adam, "step", lambda *_, **__: pytest.fail("trained again"))
    other = noisy_net(5)
    again = fit(other, data, SMALL, checkpoint=path)
    assert_identical(done.state_dict(), other.state_dict())
    assert (again.losses, again.steps, again.seconds) == (report.losses, report.steps, report.seconds)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["empty", "half", "text", "other", "folder"])
def test_damaged_checkpoints_are_refused_by_name(tmp_path, data, damage):
    path = tmp_path / "run.pt"
    fit(plain(), data, with_(SMALL, epochs=1), checkpoint=path)
    content = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "other":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "text": b"no checkpoint"}[damage])
    net = plain()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=r"checkpoint .*run\.pt (cannot be read|belongs to other)"):
        fit(net, data, with_(SMALL, epochs=1), checkpoint=path)
    assert_identical(net.state_dict(), before)


def test_checkpoints_of_other_settings_data_networks_and_criteria_are_refused(tmp_path, data):
    path = tmp_path / "run.pt"
    x, y = data
    fit(noisy_net(), data, SMALL, criterion=RULE, checkpoint=path)
    shifted = y.clone()
    shifted[0] += 1
    others = [
        *((noisy_net(), data, with_(SMALL, **{key: value}), RULE) for key, value in (("seed", 1), ("lr", 6e-3), ("epochs", 5))),
        (noisy_net(), data, SMALL, None),
        (noisy_net(), data, SMALL, Weakest(0.4)),
        (noisy_net(), data, SMALL, BMRS_U(4.0)),
        (noisy_net(), (x[:-1], y[:-1]), SMALL, RULE),
        (noisy_net(), (x + 0.01, y), SMALL, RULE),
        (noisy_net(), (x, shifted), SMALL, RULE),
        (with_batch_norm(), data, SMALL, RULE),
        (plain(), data, SMALL, None),
    ]
    content = path.read_bytes()
    for net, pair, settings, criterion in others:
        with pytest.raises(ValueError, match=r"run\.pt belongs to other settings, data or another network"):
            fit(net, pair, settings, criterion=criterion, checkpoint=path)
    assert path.read_bytes() == content


def test_nothing_in_a_checkpoint_is_ever_run(tmp_path, data):
    class Harmful:
        def __reduce__(self):
            return (pytest.fail, ("code of a checkpoint was run",))

    torch.save({"identity": Harmful()}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        fit(plain(), data, SMALL, checkpoint=tmp_path / "x.pt")


# --- masks -------------------------------------------------------------------------------------------------------------------
def test_masks_only_grow_and_nothing_passes_through_what_is_gone(data):
    noisy, seen = noisy_net(), []
    report = fit(noisy, data, SMALL, criterion=RULE, watch=lambda _, net: seen.append(masks(net)))
    assert noisy.n_removed > 5
    for before, after in zip(seen, seen[1:], strict=False):
        assert all(not (after[name] & ~before[name]).any() for name in before)
    for step, mask in zip(report.steps, seen, strict=True):
        assert step.left == {name: int(m.sum()) for name, m in mask.items()}
    small = noisy.net
    with torch.no_grad():  # incoming and outgoing weights of what is gone may be anything
        want = noisy(data[0])
        for name, reader in (("0", "2"), ("2", "4")):
            dead = ~noisy.of(name).alive
            small.get_submodule(name).weight[dead] = 1e3
            small.get_submodule(name).bias[dead] = -7.0
            small.get_submodule(reader).weight[:, dead] = 1e3
        torch.testing.assert_close(noisy(data[0]), want)
        noisy.train()
        torch.manual_seed(0)
        drawn = noisy(data[0])
        small[4].weight[:, ~noisy.of("2").alive] = -1e6
        torch.manual_seed(0)
        assert torch.equal(noisy(data[0]), drawn)


def test_pruning_begins_and_ends_when_settings_say(data):
    """After fine-tuning has begun, masks stay: the rule would take more, but is not asked."""
    asked = []

    class Greedy(MeanBelow):
        def scores(self, posterior, weights=None):
            asked.append(1)
            return torch.ones_like(posterior.mu) * torch.where(torch.arange(len(posterior.mu)) < len(asked), 1.0, -1.0)

    noisy, seen = noisy_net(), []
    settings = with_(SMALL, epochs=4, fine_tune=3, prune_from=2)
    fit(noisy, data, settings, criterion=Greedy(), watch=lambda _, net: seen.append(masks(net)))
    assert len(asked) == 2 * 2  # two sites, epochs 2 and 3
    assert all(m.all() for mask in seen[:2] for m in mask.values())
    assert noisy.n_removed == 3 + 4
    for mask in seen[3:]:
        assert_identical(mask, seen[3])


def test_weights_go_on_learning_while_masks_stay(data):
    noisy, seen = noisy_net(), []
    fit(noisy, data, SMALL, criterion=RULE, watch=lambda _, net: seen.append(copy.deepcopy(net.state_dict())))
    before, after = seen[3], seen[-1]
    assert all(torch.equal(before[k], after[k]) for k in before if k.endswith("alive"))
    assert all(not torch.equal(before[k], after[k]) for k in before if k.startswith("net."))


# --- loss and rates ----------------------------------------------------------------------------------------------------------
def slopes_of(noisy, data, settings, **kwargs):
    """d loss / d KL of every step, as autograd sees it: the weight of the divergence over N."""
    found, kl = [], noisy.kl

    def watched():
        value = kl()
        value.register_hook(lambda g: found.append(float(g)))
        return value

    noisy.kl = watched
    fit(noisy, data, settings, **kwargs)
    return np.array(found)


def test_weight_of_the_divergence_rises_linearly_and_is_at_most_1_in_fine_tuning(data):
    settings = with_(SMALL, epochs=4, fine_tune=2, weight=8.0, warm_up=2, batch=24)  # 4 steps an epoch
    found = slopes_of(noisy_net(), data, settings) * N
    np.testing.assert_allclose(found, [1, 2, 3, 4, 5, 6, 7, 8, *[8] * 8, *[1] * 8], rtol=1e-12)


def test_weights_below_1_stay_below_1_and_0_leaves_the_divergence_out(data):
    found = slopes_of(noisy_net(), data, with_(SMALL, epochs=1, fine_tune=1, weight=0.25, warm_up=0, batch=48)) * N
    np.testing.assert_allclose(found, [0.25] * 4, rtol=1e-12)
    assert len(slopes_of(noisy_net(), data, with_(SMALL, weight=0.0))) == 0


def test_loss_is_cross_entropy_and_weighted_divergence_per_example(data):
    """One batch of all examples, learning rates of next to nothing: the reported loss is that of the untrained network."""
    settings = Training(epochs=1, fine_tune=0, batch=N, lr=1e-12, noise_lr=1e-12, weight=3.0, warm_up=0)
    noisy = noisy_net()
    kl = float(noisy.kl().detach())
    with torch.no_grad():
        noisy.eval()
        plain_loss = float(F.cross_entropy(noisy(data[0]), data[1]))
    report = fit(noisy, data, settings)
    # theta has a standard deviation of e^-5 at the start
    assert report.losses[0] == pytest.approx(plain_loss + 3.0 * kl / N, abs=0.01)
    assert 3.0 * kl / N > 0.5  # so that it would show


def test_a_smaller_last_batch_counts_by_its_examples(data):
    net = plain()
    with torch.no_grad():
        want = float(F.cross_entropy(net(data[0]), data[1]))
    report = fit(net, data, Training(epochs=1, fine_tune=0, batch=90, lr=1e-12))
    assert report.losses[0] == pytest.approx(want, rel=1e-5)


def rates_of(net, data, settings):
    """Learning rates of all groups at every step."""
    found = []
    handle = register_optimizer_step_pre_hook(lambda opt, *_: found.append([g["lr"] for g in opt.param_groups]))
    try:
        fit(net, data, settings)
    finally:
        handle.remove()
    return np.array(found)


@pytest.mark.parametrize(("epochs", "fine_tune", "constant"), [(4, 2, 8), (6, 0, 8), (3, 0, 4)])
def test_learning_rates_fall_to_0_at_the_end_as_a_cosine(data, epochs, fine_tune, constant):
    settings = with_(SMALL, epochs=epochs, fine_tune=fine_tune, batch=48, lr=1e-3, noise_lr=1e-2, schedule="cosine")
    found = rates_of(noisy_net(), data, settings)
    steps = 2 * (epochs + fine_tune)
    falling = [(1 + math.cos(math.pi * i / (steps - constant))) / 2 for i in range(steps - constant)]
    want = np.array([1.0] * constant + falling)
    np.testing.assert_allclose(found, want[:, None] * [1e-3, 1e-2], rtol=1e-9)


def test_learning_rates_stay_as_they_are_by_default(data):
    found = rates_of(noisy_net(), data, SMALL)
    assert len(found) == 5 * 6 and (found == [SMALL.lr, SMALL.noise_lr]).all()
    assert (rates_of(plain(), data, SMALL) == [[SMALL.lr]]).all()


def test_every_example_is_seen_once_an_epoch_in_another_order(data):
    seen = []

    class Watched(nn.Sequential):
        def forward(self, x):
            if self.training:
                seen.append(x[:, 0].clone())
            return super().forward(x)

    fit(Watched(nn.Linear(10, 4)), data, with_(SMALL, epochs=2, fine_tune=0))
    assert [len(x) for x in seen] == [20, 20, 20, 20, 16] * 2
    first, second = torch.cat(seen[:5]), torch.cat(seen[5:])
    assert torch.equal(first.sort().values, data[0][:, 0].sort().values) and torch.equal(
        second.sort().values, data[0][:, 0].sort().values
    )
    assert not torch.equal(first, second)


# --- what it says ------------------------------------------------------------------------------------------------------------
def test_every_epoch_is_reported(data, capsys):
    told = []
    report = fit(
        noisy_net(), data, SMALL, criterion=RULE, validation=data, progress=lambda epoch, line: told.append((epoch, line))
    )
    assert [epoch for epoch, _ in told] == list(range(6)) == [s.epoch for s in report.steps]
    for (epoch, line), step, loss in zip(told, report.steps, report.losses, strict=True):
        assert line == f"epoch {epoch + 1}/6: loss {loss:.4f}, {step}"
        assert f"0 {step.left['0']}/12, 2 {step.left['2']}/9; compression {step.compression:.1%}" in line
        assert step.total == {"0": 12, "2": 9} and 0 <= step.accuracy <= 1
        assert (step.evidence is None) == (not 1 <= epoch < 4)
    for before, step in zip(report.steps, report.steps[1:], strict=False):
        lost = step.removed or {"0": 0, "2": 0}
        assert {n: before.left[n] - step.left[n] for n in step.left} == lost
    assert str(report) == "\n".join(str(s) for s in report.steps)
    assert len(report.seconds) == 6 and min(report.seconds) > 0
    fit(plain(), data, with_(SMALL, epochs=1, fine_tune=0), progress=True)
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("epoch 1/1: loss ") and "no noise" in shown.err


def test_accuracy_is_that_of_the_network_as_it_is_after_the_epoch(data):
    seen = []
    held = (data[0][:30], data[1][:30])
    report = fit(noisy_net(), data, SMALL, criterion=RULE, validation=held, watch=lambda _, n: seen.append(copy.deepcopy(n)))
    for step, net in zip(report.steps, seen, strict=True):
        net.eval()
        with torch.no_grad():
            assert step.accuracy == np.mean([int(net(x[None])[0].argmax()) == int(y) for x, y in zip(*held, strict=True)])


def test_accuracy_against_a_count_by_hand():
    class Says(nn.Module):
        def __init__(self):
            super().__init__()
            self.modes = []

        def forward(self, x):
            self.modes.append(self.training)
            return F.one_hot(x[:, 0].long(), 3).float()

    net, x = Says(), torch.tensor([[0.0], [1.0], [2.0], [1.0], [0.0], [2.0], [2.0]])
    y = torch.tensor([0, 1, 1, 1, 2, 2, 2])
    for batch in (1, 2, 3, 7, 1000):
        assert accuracy(net, x, y, batch) == 5 / 7
    assert set(net.modes) == {False} and net.training
    net.eval()
    assert accuracy(net, x, y) == 5 / 7 and not net.training


def test_it_learns_and_plain_networks_learn_without_noise(data):
    net = plain()
    report = fit(net, data, Training(epochs=15, fine_tune=0, batch=16, lr=1e-2), validation=data)
    assert accuracy(net, *data) == report.steps[-1].accuracy >= 0.95
    assert report.losses[-1] < 0.3 * report.losses[0]
    assert all(s.left == {} and s.compression == 0 and s.evidence is None for s in report.steps)
    assert not any("mu" in k for k in net.state_dict())
    noisy = noisy_net()
    fit(noisy, data, Training(epochs=15, fine_tune=0, batch=16, lr=1e-2), validation=data)
    assert accuracy(noisy, *data) >= 0.95


def test_structures_that_data_do_not_need_go_and_others_stay(data):
    """Clouds in two dimensions of ten: with a divergence that weighs, most of 12 + 9 neurons go, the classes stay known."""
    noisy = noisy_net()
    settings = Training(epochs=60, fine_tune=10, batch=16, lr=1e-2, noise_lr=0.1, weight=1.0, warm_up=10, prune_from=20)
    fit(noisy, data, settings, criterion=BMRS_U(4.0))
    assert noisy.n_removed >= 10 and accuracy(noisy, *data) >= 0.95
    small = compact(noisy, data[0][:2])
    torch.testing.assert_close(small(data[0]), noisy(data[0]), atol=1e-4, rtol=1e-4)


# --- what is refused ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("criterion", [L2Norm(), RandomRank()])
def test_criteria_that_only_rank_are_refused(data, criterion):
    with pytest.raises(ValueError, match="criterion must decide by itself"):
        fit(noisy_net(), data, SMALL, criterion=criterion)


def test_networks_without_noise_cannot_be_pruned(data):
    with pytest.raises(ValueError, match="needs a network with noise"):
        fit(plain(), data, SMALL, criterion=RULE)


@pytest.mark.parametrize("make", [plain, noisy_net])
def test_a_loss_that_is_no_longer_finite_is_an_error_and_leaves_the_last_good_epoch(tmp_path, data, make):
    net, path = make(), tmp_path / "x.pt"

    def spoil(epoch, model):
        if epoch == 1:
            with torch.no_grad():
                next(model.parameters())[0] = math.nan

    with pytest.raises(ValueError, match="the loss must stay finite; it is nan after epoch 2"):
        fit(net, data, SMALL, watch=spoil, checkpoint=path)
    assert torch.load(path, weights_only=True)["epoch"] == 2
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 4))
    with pytest.raises(ValueError, match="the loss must stay finite.*a smaller learning rate may help"):
        fit(net, data, with_(SMALL, lr=1e20))


def test_noise_that_is_no_number_removes_nothing(data):
    noisy = noisy_net()
    with torch.no_grad():
        noisy.of("0").mu[3] = math.nan
    with pytest.raises(ValueError, match="finite"):
        fit(noisy, data, SMALL, criterion=RULE)
    assert noisy.n_removed == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("epochs", v) for v in (0, -1, 2.0, True, "3", None)),
        *(("fine_tune", v) for v in (-1, 0.5)),
        *(("batch", v) for v in (0, 1.5)),
        *(("warm_up", v) for v in (-1, 2.5)),
        *(("prune_from", v) for v in (-1, None)),
        *(("seed", v) for v in (-1, 0.0)),
        *((n, v) for n in ("lr", "noise_lr") for v in (0.0, -1e-3, math.nan, math.inf)),
        *(("weight", v) for v in (-0.1, math.nan, math.inf)),
        *(("schedule", v) for v in ("linear", "", None)),
    ],
)
def test_wrong_settings_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} of Training must"):
        Training(**{name: value})


@pytest.mark.parametrize("as_validation", [False, True])
def test_wrong_data_are_refused_by_name(data, as_validation):
    x, y = data
    broken = x.clone()
    broken[5, 2] = math.inf
    name = "validation" if as_validation else "data"
    for wrong, error, message in [
        (x, TypeError, f"{name} must be a pair of tensors"),
        ((x, y.numpy()), TypeError, f"{name} must be a pair of tensors"),
        ((x, y, y), TypeError, f"{name} must be a pair of tensors"),
        (
            (x, y[:-1]),
            ValueError,
            rf"{name} must hold as many labels \(n,\) as examples \(n, ...\); got \(96, 10\) and \(95,\)",
        ),
        ((x, F.one_hot(y)), ValueError, f"{name} must hold as many labels"),
        ((x[:0], y[:0]), ValueError, f"{name} must hold as many labels"),
        ((broken, y), ValueError, f"examples of {name} must be finite"),
        ((x, y.float()), ValueError, f"labels of {name} must be class numbers"),
        ((x, y.int()), ValueError, f"labels of {name} must be class numbers"),
        ((x, y - 1), ValueError, f"labels of {name} must be class numbers"),
    ]:
        with pytest.raises(error, match=message):
            fit(plain(), data if as_validation else wrong, SMALL, validation=wrong if as_validation else None)


def test_tied_weights_and_networks_without_structures_are_refused_before_training():
    net = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 2))
    net[2].weight = net[0].weight
    with pytest.raises(ValueError, match="2: its weights are those of '0'"):
        attach_noise(net)
    with pytest.raises(ValueError, match="it has none"):
        attach_noise(nn.Linear(5, 2))


# --- a loop of one's own -----------------------------------------------------------------------------------------------------
def test_a_loop_of_ones_own_needs_no_fit(data):
    """As in the docstring of `attach_noise`, with another optimiser; afterwards `prune` and `compact` do their work."""
    x, y = data
    net = plain()
    noisy = attach_noise(net)
    optimizer = torch.optim.RAdam(noisy.parameter_groups(5e-3, 0.1))
    generator = torch.Generator().manual_seed(0)
    noisy.train()
    for i in range(400):
        rows = torch.randint(N, (24,), generator=generator)
        loss = F.cross_entropy(noisy(x[rows]), y[rows]) + min(1.0, i / 100) * noisy.kl() / N
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    step = prune(noisy, BMRS_U(4.0))
    assert sum(step.removed.values()) == noisy.n_removed > 0
    assert accuracy(noisy, x, y) >= 0.9
    small = compact(noisy, x[:2])
    noisy.eval()
    torch.testing.assert_close(small(x), noisy(x), atol=1e-4, rtol=1e-4)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())


def test_labels_without_an_output_are_refused_by_number(data):
    x, y = data
    with pytest.raises(ValueError, match=r"labels of data must lie in 0..3, one for each output of the network; got 4"):
        fit(plain(), (x, torch.where(y == 3, 4, y)), SMALL)
