"""`fit` and `accuracy` with what users bring: loaders, losses of their own, targets for tokens and pixels, modes."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

import nets  # noqa: E402
import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset, IterableDataset, SequentialSampler, TensorDataset  # noqa: E402

from activebmr.pruning import Training, accuracy, attach_noise, fit, prune_ranked  # noqa: E402
from activebmr.pruning.structures.criteria import RandomRank  # noqa: E402

N = 48
ONE = Training(epochs=1, fine_tune=0, batch=N, lr=1e-2, noise_lr=1e-1, weight=2.0, warm_up=0)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def clouds(n=N):
    generator = torch.Generator().manual_seed(7)
    y = torch.arange(n) % 4
    centres = 2 * torch.randn(4, 10, generator=generator)
    return centres[y] + torch.randn(n, 10, generator=generator), y


def noisy_net(make=nets.mlp):
    torch.manual_seed(0)
    return attach_noise(make())


def after(data, settings=ONE, make=nets.mlp, plain=False, **options):
    torch.manual_seed(0)
    net = make()
    net = net if plain else attach_noise(net)
    report = fit(net, data, settings, **options)
    return net.state_dict(), report


def assert_close(a, b):
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-5, atol=1e-7)


# --- loaders -----------------------------------------------------------------------------------------------------------------
def test_steps_by_loader_are_those_by_tensors():
    """One step with all examples: order does not matter, and the divergence is divided by the same number of them."""
    x, y = clouds()
    by_tensors = after((x, y), plain=True)
    by_loader = after(DataLoader(TensorDataset(x, y), N), plain=True)
    assert_close(by_tensors[0], by_loader[0])
    assert by_loader[1].losses == pytest.approx(by_tensors[1].losses, rel=1e-5)


class Rows(Dataset):
    def __init__(self, form):
        self.rows, self.form = clouds(), form

    def __len__(self):
        return N

    def __getitem__(self, i):
        return self.form(self.rows[0][i], self.rows[1][i])


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(*clouds(), strict=True)


OTHERS = {
    "batch sampler": (
        lambda: DataLoader(TensorDataset(*clouds()), batch_sampler=[[*range(16 * i, 16 * i + 16)] for i in range(3)]),
        {},
    ),
    "dicts": (
        lambda: DataLoader(Rows(lambda x, y: {"image": x, "label": y}), 16),
        {"batch_to": lambda batch: (batch["image"], batch["label"])},
    ),
    "triples": (lambda: DataLoader(Rows(lambda x, y: (y, x, y)), 16), {"batch_to": lambda batch: batch[1:]}),
    "arguments": (lambda: DataLoader(Rows(lambda x, y: ((x,), y)), 16), {}),
    "stream": (lambda: DataLoader(Stream(), 16), {"n_examples": N}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_loaders_of_any_form_train_alike(name):
    loader, options = OTHERS[name]
    want, report = after(DataLoader(TensorDataset(*clouds()), 16), Training(epochs=2, fine_tune=1, schedule="cosine"))
    found, other = after(loader(), Training(epochs=2, fine_tune=1, schedule="cosine"), validation=loader(), **options)
    assert_close(want, found)
    assert other.losses == pytest.approx(report.losses, rel=1e-6) and other.steps[-1].accuracy is not None


def test_the_divergence_is_shared_by_the_examples_that_are_shown():
    x, y = clouds()

    def kl_share(data, **options):
        noisy, found = noisy_net(), []
        kl = noisy.kl

        def watched():
            value = kl()
            value.register_hook(lambda g: found.append(float(g)))
            return value

        noisy.kl = watched
        fit(noisy, data, ONE, **options)
        return 1 / found[0]

    shown = DataLoader(TensorDataset(x, y), 8, sampler=SequentialSampler(range(16)))
    assert kl_share((x, y)) == pytest.approx(N / 2) and kl_share(shown) == pytest.approx(16 / 2)
    assert kl_share(DataLoader(Stream(), 16), n_examples=480) == pytest.approx(480 / 2)


@pytest.mark.parametrize("own_generator", [False, True])
def test_training_by_loader_goes_on_to_the_same_bits(tmp_path, own_generator):
    settings = Training(epochs=4, fine_tune=1, batch=9)

    def run(path, stop=None):
        def watch(epoch, _):
            if epoch == stop:
                raise KeyboardInterrupt

        options = {"generator": torch.Generator().manual_seed(5)} if own_generator else {}
        loader = DataLoader(TensorDataset(*clouds()), 16, shuffle=True, **options)
        return after(loader, settings, checkpoint=tmp_path / path, watch=watch)

    whole = run("whole.pt")
    assert run("parts.pt", 2)[1].interrupted
    parts = run("parts.pt")
    assert all(torch.equal(whole[0][k], parts[0][k]) for k in whole[0]) and parts[1].losses == whole[1].losses


def test_samplers_are_told_the_epoch():
    class Told(SequentialSampler):
        def set_epoch(self, epoch):
            told.append(epoch)

    told = []
    after(DataLoader(TensorDataset(*clouds()), 16, sampler=Told(range(N))), Training(epochs=2, fine_tune=1))
    assert told == [0, 1, 2]


def test_a_checkpoint_of_other_data_with_the_same_sums_is_refused(tmp_path):
    x, y = clouds()
    fit(noisy_net(), (x, y), ONE, checkpoint=tmp_path / "x.pt")
    swapped = x.clone()
    swapped[[0, 4]] = x[[4, 0]]  # of one class: all sums stay
    with pytest.raises(ValueError, match="belongs to other settings, data or another network"):
        fit(noisy_net(), (swapped, y), ONE, checkpoint=tmp_path / "x.pt")
    with pytest.raises(ValueError, match="belongs to other settings, data or another network"):
        fit(noisy_net(), (x, y), ONE, loss=F.cross_entropy, checkpoint=tmp_path / "x.pt")


def test_labels_of_later_batches_are_checked_too():
    x, y = clouds()
    y[40] = 4
    with pytest.raises(ValueError, match=r"labels of data must lie in 0..3, one for each output of the network; got 4"):
        fit(noisy_net(), DataLoader(TensorDataset(x, y), 16), ONE)
    with pytest.raises(ValueError, match=r"labels of validation must lie in 0..3"):
        fit(noisy_net(), clouds(), ONE, validation=(x, y))


# --- losses ------------------------------------------------------------------------------------------------------------------
def regression():
    x = torch.randn(N, 10, generator=torch.Generator().manual_seed(3))
    return x, x[:, :4] - x[:, 4:8]


LOSSES = {
    "mean": lambda outputs, targets: F.mse_loss(outputs, targets),
    "each": lambda outputs, targets: F.mse_loss(outputs, targets, reduction="none").mean(dim=1),
    "each number": lambda outputs, targets: F.mse_loss(outputs, targets, reduction="none") / 4,
    "one number": lambda outputs, targets: F.mse_loss(outputs, targets).view(1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_users_are_means_or_nats_of_examples(name):
    settings = Training(epochs=3, fine_tune=0, batch=20, weight=0.0)
    data = regression()
    want, report = after(data, settings, loss=LOSSES["mean"], validation=data)
    found, other = after(data, settings, loss=LOSSES[name], validation=data)
    assert_close(want, found)
    assert other.losses == pytest.approx(report.losses, rel=1e-5)
    assert [s.loss for s in other.steps] == pytest.approx([s.loss for s in report.steps], rel=1e-5)
    assert other.steps[-1].accuracy is None and "validation loss" in str(other.steps[-1])


def test_the_validation_loss_is_the_loss_of_the_network_as_it_is():
    noisy, data = noisy_net(), regression()
    report = fit(noisy, data, ONE, loss=nn.MSELoss(), validation=DataLoader(TensorDataset(*data), 7))
    with torch.no_grad():
        assert report.steps[-1].loss == pytest.approx(float(F.mse_loss(noisy(data[0]), data[1])), rel=1e-5)


def test_what_no_loss_can_be_is_refused():
    data = regression()
    for loss, error, message in [
        (3, TypeError, "loss must be a function of outputs and targets, or None; got int"),
        (lambda o, t: 0.5, TypeError, "loss must return a tensor, a mean or nats of each example .*; got float"),
        (
            lambda o, t: o[:5].sum(dim=1),
            ValueError,
            r"loss must return a mean or nats of each of the 48 examples .*; got \(5,\)",
        ),
    ]:
        with pytest.raises(error, match=message):
            fit(noisy_net(), data, ONE, loss=loss)
    with pytest.raises(ValueError, match=r"labels of data must be class numbers >= 0 \(int64\), or `loss` be given"):
        fit(noisy_net(), data, ONE)


def test_cross_entropy_with_smoothing_has_an_accuracy_and_probabilities_none():
    x, y = clouds()
    smooth = fit(noisy_net(), (x, y), ONE, loss=nn.CrossEntropyLoss(label_smoothing=0.1), validation=(x, y))
    assert smooth.steps[-1].accuracy is not None and smooth.steps[-1].loss is not None
    soft = (x, F.one_hot(y).float())
    report = fit(noisy_net(), soft, ONE, loss=nn.CrossEntropyLoss(), validation=soft)
    assert report.steps[-1].accuracy is None and report.steps[-1].loss is not None


def test_outputs_in_a_dict_need_a_loss():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nets.mlp()

        def forward(self, x):
            return {"logits": self.net(x)}

    torch.manual_seed(0)
    with pytest.raises(TypeError, match="outputs of the network must be a tensor, unless a `loss` is given .*; got dict"):
        fit(Net(), clouds(), ONE)
    want = after(clouds(), plain=True)[0]
    found = after(clouds(), plain=True, make=Net, loss=lambda out, y: F.cross_entropy(out["logits"], y))[0]
    assert_close(want, {k.removeprefix("net."): v for k, v in found.items()})


# --- targets for tokens and pixels -------------------------------------------------------------------------------------------
def tokens(n=32, length=5, words=6):
    x = torch.randint(0, words, (n, length), generator=torch.Generator().manual_seed(1))
    return x, (x + 1) % words


def language():
    return nn.Sequential(nn.Embedding(6, 8), nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, 6))


def test_an_example_is_worth_the_nats_of_all_its_tokens_that_count():
    x, y = tokens()
    y[:, 3:] = -100
    torch.manual_seed(0)
    net = language()
    with torch.no_grad():
        want = 3 * float(F.cross_entropy(net(x)[:, :3].flatten(0, 1), y[:, :3].flatten()))
    report = fit(net, (x, y), Training(epochs=1, fine_tune=0, batch=32, lr=1e-12))
    assert report.losses[0] == pytest.approx(want, rel=1e-5)


def test_tokens_are_learned_and_counted():
    x, y = tokens()
    noisy = noisy_net(language)
    y[0] = -100
    report = fit(noisy, (x, y), Training(epochs=30, fine_tune=0, batch=8, lr=2e-2), validation=(x, y))
    right = noisy(x).argmax(-1) == y
    assert report.steps[-1].accuracy == accuracy(noisy, x, y) == float(right[1:].double().mean()) > 0.9
    with pytest.raises(ValueError, match="targets of data must hold some class numbers that count; all are -100"):
        accuracy(noisy, x[:1], y[:1])


def test_pixels_have_their_classes_on_the_first_axis():
    x = torch.randn(6, 2, 4, 5, generator=torch.Generator().manual_seed(2))
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 16, 1), nn.ReLU(), nn.Conv2d(16, 3, 1))
    with torch.no_grad():
        want = 20 * float(F.cross_entropy(net(x), y))
    report = fit(net, (x, y), Training(epochs=1, fine_tune=0, batch=6, lr=1e-12))
    assert report.losses[0] == pytest.approx(want, rel=1e-5)
    assert accuracy(net, x, y) == float((net(x).argmax(1) == y).double().mean())


@pytest.mark.parametrize(
    "outputs, targets, match",
    [
        ((6, 4, 4), (6, 4), "do not say which axis holds the classes: give `loss`"),
        ((6, 4), (6, 4), "must hold as many labels as there are rows of logits"),
        ((6, 4), (6, 1), r"got \([26], 1\) for outputs \([26], 4\)"),
        ((6, 5, 4), (6, 3), r"got \([26], 3\) for outputs \([26], 5, 4\)"),
        ((6,), (6,), r"got \([26],\) for outputs \([26],\)"),
    ],
)
def test_shapes_that_do_not_fit_or_say_which_axis_are_refused(outputs, targets, match):
    x, y = torch.randn(*outputs), torch.zeros(targets, dtype=torch.long)
    with pytest.raises(ValueError, match=match):
        fit(nn.Sequential(nn.Identity(), nn.Dropout(0.1)), (x, y), ONE)
    with pytest.raises(ValueError, match=match):
        accuracy(nn.Identity(), x, y)


def test_accuracy_of_loaders_and_several_inputs():
    x, y = clouds()
    net = nets.mlp()
    want = float((net(x).argmax(1) == y).double().mean())
    assert (
        accuracy(net, DataLoader(TensorDataset(x, y), 7)) == accuracy(net, {"input": x}, y) == accuracy(net, (x,), y, 5) == want
    )
    assert accuracy(net, DataLoader(Stream(), 7)) == want  # how many there are matters not
    triples = DataLoader(TensorDataset(y, x, y), 7)
    assert accuracy(net, triples, batch_to=lambda batch: batch[1:]) == want
    with pytest.raises(ValueError, match="y must be None where x is a loader"):
        accuracy(net, DataLoader(TensorDataset(x, y), 7), y)
    with pytest.raises(TypeError, match="data must be a pair of tensors"):
        accuracy(net, x)


# --- modes and devices -------------------------------------------------------------------------------------------------------
def frozen_net():
    net = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4))
    return net


def modes_in_training(noisy):
    found = set()
    handle = noisy.net[1].register_forward_hook(
        lambda *_: found.add((noisy.net.training, noisy.net[1].training, noisy.net[3].training)) if noisy.training else None
    )
    return found, handle


def test_parts_in_evaluation_mode_stay_so_in_training_and_in_every_round_of_it():
    x, y = clouds()
    noisy = noisy_net(frozen_net).train()
    noisy.net[1].eval()
    start = copy.deepcopy(noisy.net[1].state_dict())
    found, _ = modes_in_training(noisy)
    short = Training(epochs=1, fine_tune=0, weight=0.0)
    fit(noisy, (x, y), Training(epochs=2, fine_tune=1), validation=(x, y))
    for _ in prune_ranked(noisy, RandomRank(), lambda net: fit(net, (x, y), short), at_once=3, until=-1.0):
        pass
    assert found == {(True, False, True)} and not any(m.training for m in noisy.modules())
    assert torch.equal(noisy.net[1].running_mean, start["running_mean"])


def test_what_is_wholly_in_evaluation_mode_is_trained_as_a_whole():
    noisy = attach_noise(frozen_net().eval())
    found, _ = modes_in_training(noisy)
    fit(noisy, clouds(), ONE)
    assert found == {(True, True, True)}


def test_accuracy_leaves_all_modes_as_they_were():
    net = frozen_net().train()
    net[3].eval()
    accuracy(net, *clouds())
    assert [m.training for m in net] == [True, True, True, False, True] and net.training
    with pytest.raises(ValueError, match="data must hold what net can be called with; it raises RuntimeError"):
        accuracy(net, torch.zeros(3, 7), torch.zeros(3, dtype=torch.long))
    assert [m.training for m in net] == [True, True, True, False, True]
