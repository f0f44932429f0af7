"""Pruning where the network is: on a CUDA device if there is one, whatever it does with floats, and on the CPU.

What runs on both is there to be the same on both. Tests of CUDA are skipped where there is none.
"""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402
from torch.utils._pytree import tree_leaves, tree_map  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from activebmr.pruning import (  # noqa: E402
    BMRS_N,
    ByEvidence,
    Categorical,
    RandomRank,
    SNRBelow,
    Training,
    WeightTraining,
    accuracy,
    attach_noise,
    attach_posterior,
    compact,
    compact_weights,
    fit,
    free_energy,
    load_compact,
    prune,
    prune_ranked,
    prune_share,
    prune_weights,
    save_compact,
    sparsify,
)
from activebmr.pruning.networks.families import FAMILIES  # noqa: E402

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch sees none")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]
PRECISIONS = torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn
"""What holds whether CUDA computes single precision in full (``ieee``) or shortens factors (``tf32``)."""


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["ieee", "tf32"])
def precision(request):
    before = [held.fp32_precision for held in PRECISIONS]
    for held in PRECISIONS:
        held.fp32_precision = request.param
    yield request.param
    for held, value in zip(PRECISIONS, before, strict=True):
        held.fp32_precision = value


class Net(nn.Module):
    """A stem, a residual block, and two linear layers: 3 x 8 x 8 to 3 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.inner, self.back = nn.Conv2d(16, 24, 3, padding=1), nn.Conv2d(24, 16, 1)
        self.hidden, self.out = nn.Linear(16, 20), nn.Linear(20, 3)

    def forward(self, x):
        x = F.relu(self.bn(self.stem(x)))
        x = x + self.back(F.relu(self.inner(x)))
        return self.out(F.gelu(self.hidden(x.mean((2, 3)))))


def images(n=120):
    """Three classes that differ by the brightest channel."""
    y = torch.arange(n) % 3
    return torch.randn(n, 3, 8, 8) + 2.0 * F.one_hot(y, 3)[:, :, None, None], y


def table(n=120):
    """Three classes in six columns, of which two matter."""
    x = torch.randn(n, 6)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def mlp():
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


def on(device, net):
    """Whether all that a network holds is there."""
    return all(t.device.type == device for t in (*net.parameters(), *net.buffers()))


def apart(a, b):
    """Largest difference, relative to the largest value."""
    pairs = list(zip(tree_leaves(a), tree_leaves(b), strict=True))
    return max(float((x.double() - y.double()).abs().max() / y.double().abs().max().clamp(min=1e-6)) for x, y in pairs)


def every_second(noisy):
    noisy.remove({name: torch.arange(site.n) % 2 == 1 for name, site in noisy.sites.items()})


def uneven(noisy):
    """Means of theta that differ, as after training."""
    with torch.no_grad():
        for name in noisy.sites:
            noise = noisy.of(name)
            noise.mu.copy_(torch.linspace(-0.7, 0.5, noise.mu.numel()))
    return noisy


def size(net):
    return sum(p.numel() for p in net.parameters())


# --- structures --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("device", DEVICES)
def test_fit_prune_and_compact_stay_on_the_device_of_the_network(device, precision, tmp_path):
    """Data lie on the CPU, as loaders hand them over; TF32 of the user's must not look like a fault of the compaction."""
    x, y = images()
    noisy = attach_noise(Net().to(device), example_inputs=x[:4].to(device))
    assert on(device, noisy)
    loader = DataLoader(TensorDataset(x, y), 40, shuffle=True, pin_memory=device == "cuda")
    settings = Training(epochs=3, fine_tune=1, warm_up=1, prune_from=1, lr=5e-3, weight=0.1)
    found = fit(noisy, loader, settings, criterion=BMRS_N(), validation=(x, y))
    assert len(found.losses) == 4 and found.steps[-1].accuracy > 0.5
    prune_share(noisy, SNRBelow(), 0.4)
    small = compact(noisy, x[:4].to(device))
    assert on(device, noisy) and on(device, small)
    assert size(small) == noisy.cost("parameters") < size(noisy.net)
    assert [held.fp32_precision for held in PRECISIONS] == [precision] * 3
    with torch.no_grad():
        assert apart(small(x.to(device)), noisy(x.to(device))) < (1e-4 if precision == "ieee" else 1e-2)
    assert accuracy(small, x, y) == pytest.approx(accuracy(noisy, x, y), abs=0.02)
    save_compact(small, tmp_path)
    for place in {device, "cpu"}:
        again = load_compact(Net().to(place), tmp_path, x[:4].to(place))
        assert on(place, again)
        with torch.no_grad():
            assert apart(again(x.to(place)).cpu(), small(x.to(device)).cpu()) < (1e-4 if precision == "ieee" else 1e-2)


@pytest.mark.parametrize("settings", ["all", "matmul", "conv"])
def test_tf32_may_be_set_by_either_interface(settings):
    """torch refuses to tell by its old flags what was set by its new ones; a user of the new ones must get no error."""
    held = {"all": PRECISIONS, "matmul": PRECISIONS[:1], "conv": PRECISIONS[1:2]}[settings]
    before = [h.fp32_precision for h in PRECISIONS]
    x, _ = images(4)
    try:
        for h in held:
            h.fp32_precision = "ieee" if settings == "conv" else "tf32"
        wanted = [h.fp32_precision for h in PRECISIONS]
        noisy = attach_noise(Net().eval(), example_inputs=x)
        every_second(noisy)
        compact(noisy, x)
        assert [h.fp32_precision for h in PRECISIONS] == wanted
    finally:
        for h, value in zip(PRECISIONS, before, strict=True):
            h.fp32_precision = value


@pytest.mark.parametrize("device", DEVICES)
def test_autocast_to_bfloat16_trains_and_compacts(device):
    """Under autocast theta stays in double precision, structures are found, and what is compacted computes the same."""
    x, y = (t.to(device) for t in images())
    with torch.autocast(device, torch.bfloat16):
        noisy = attach_noise(Net().to(device), example_inputs=x[:4])
    optimizer = torch.optim.Adam(noisy.parameter_groups(5e-3))
    losses = []
    for _ in range(12):
        with torch.autocast(device, torch.bfloat16):
            loss = F.cross_entropy(noisy.train()(x), y) + 0.1 * noisy.kl() / len(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    every_second(noisy.eval())
    with torch.autocast(device, torch.bfloat16), torch.no_grad():
        small = compact(noisy, x[:4])
        assert apart(small(x), noisy(x)) < 0.05
    assert losses[-1] < 0.8 * losses[0]
    assert all(noisy.of(name).mu.dtype == torch.float64 for name in noisy.sites)
    with torch.no_grad():
        assert apart(small(x), noisy(x)) < 1e-4
    assert size(small) == noisy.cost("parameters") < 0.5 * size(noisy.net)


@needs_cuda
def test_a_noisy_network_moves_between_devices():
    """Attached on the CPU, moved, used, and moved back: nothing that was kept for speed stays behind."""
    x, _ = images(6)
    noisy = uneven(attach_noise(Net().eval(), example_inputs=x[:4])).eval()
    every_second(noisy)
    with torch.no_grad():
        want = noisy(x)
        noisy.to("cuda")
        assert on("cuda", noisy) and noisy(x.cuda()).device.type == "cuda"
        assert apart(noisy(x.cuda()).cpu(), want) < 1e-3
        assert apart(compact(noisy, x[:4].cuda())(x.cuda()).cpu(), want) < 1e-3
        copy.deepcopy(noisy).train()(x.cuda())
        noisy.cpu()
        assert apart(noisy(x), want) < 1e-6


@pytest.mark.parametrize("device", DEVICES)
def test_random_ranks_are_those_of_the_cpu(device):
    """The same seed removes the same structures wherever the network is."""
    x, _ = images(4)
    masks = []
    for place in ("cpu", device):
        noisy = attach_noise(Net().to(place), example_inputs=x.to(place))
        prune_share(noisy, RandomRank(seed=3), 0.5)
        masks.append(torch.cat([noisy.of(name).alive.cpu() for name in noisy.sites]))
    assert torch.equal(*masks) and not masks[0].all()


@pytest.mark.parametrize("device", DEVICES)
def test_ranked_pruning_with_retraining(device):
    x, y = (t.to(device) for t in images())
    noisy = attach_noise(Net().to(device), example_inputs=x[:4])
    settings = Training(epochs=1, fine_tune=0, warm_up=0)
    fit(noisy, (x, y), settings)
    prune(noisy, BMRS_N())
    steps = []
    for step in prune_ranked(noisy, RandomRank(), lambda n: fit(n, (x, y), settings), at_once=10, until=-1.0):
        steps.append(step)
        if len(steps) == 2:
            break
    assert sum(steps[-1].left.values()) == noisy.n_structures - noisy.n_removed < noisy.n_structures


@pytest.mark.parametrize("device", DEVICES)
def test_fitting_goes_on_from_a_checkpoint_on_the_device(device, tmp_path):
    """A run that stops after two epochs and goes on is the run that does not stop."""
    x, y = table()
    settings = Training(epochs=4, fine_tune=0, warm_up=1, prune_from=1)
    start = mlp()

    class Stopped(Exception):
        pass

    def stop(epoch, _):
        if epoch == 1:
            raise Stopped

    whole = attach_noise(copy.deepcopy(start).to(device), example_inputs=x[:4].to(device))
    fit(whole, (x, y), settings, criterion=BMRS_N())
    path = tmp_path / "run.pt"
    with pytest.raises(Stopped):
        parts = attach_noise(copy.deepcopy(start).to(device), example_inputs=x[:4].to(device))
        fit(parts, (x, y), settings, criterion=BMRS_N(), checkpoint=path, watch=stop)
    parts = attach_noise(copy.deepcopy(start).to(device), example_inputs=x[:4].to(device))
    fit(parts, (x, y), settings, criterion=BMRS_N(), checkpoint=path)
    assert on(device, parts)
    for (name, a), (_, b) in zip(whole.state_dict().items(), parts.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)


# --- single weights ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inference", ["ivon", "bbb-local", "bbb-global", "vbp"])
@pytest.mark.parametrize("device", DEVICES)
def test_sparsify_and_compact_weights(device, inference):
    """The loader is on the CPU, the network on the device."""
    x, y = table()
    loader = DataLoader(TensorDataset(x, y), 40, shuffle=True)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).to(device)
    found = sparsify(net, loader, inference=inference, epochs=6, start=3)
    assert on(device, found.net) and found.bayes.posterior.mean.device.type == device
    assert all(torch.isfinite(p).all() for p in found.net.parameters())
    few = x[:5].to(device)
    with torch.no_grad():
        found.bayes.eval()
        want = found.net(few)
        small = compact_weights(found.bayes, few)
        assert on(device, small) and apart(small(few), want) < 1e-3
        assert found.bayes.predict(few, 3).device.type == device


@pytest.mark.parametrize("device", DEVICES)
def test_prune_weights_with_tensors_of_the_cpu(device):
    x, y = table()
    bayes = attach_posterior(mlp().to(device), "bbb-local", sd=0.05)
    likelihood = Categorical().to(device)
    settings = WeightTraining(epochs=3, retrain=1, rounds=1, batch=40, samples=2)
    found = prune_weights(bayes, likelihood, (x, y), settings, criterion=ByEvidence())
    assert len(found.rounds) == 1 and on(device, bayes)
    assert float(free_energy(bayes, likelihood, (x, y), 2)) > 0


# --- every kind of network -----------------------------------------------------------------------------------------------
@needs_cuda
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_on_cuda(name, precision):
    """Operations have other names on CUDA: what is found and what is left must be what is found and left on the CPU."""
    net, inputs = FAMILIES[name]()
    sizes = {}
    for device in ("cpu", "cuda"):
        here = tree_map(lambda t, device=device: t.to(device), inputs)
        noisy = uneven(attach_noise(copy.deepcopy(net).to(device), example_inputs=here)).eval()
        every_second(noisy)
        small = compact(noisy, here)
        sizes[device] = size(small)
        assert sizes[device] == noisy.cost("parameters") and on(device, small)
        with torch.no_grad():
            args = () if isinstance(here, dict) else here if isinstance(here, tuple) else (here,)
            kwargs = here if isinstance(here, dict) else {}
            outputs = small(*args, **kwargs), noisy(*args, **kwargs)
        if name == "segmentation":  # class numbers: rounding may decide some
            assert float((outputs[0] != outputs[1]).double().mean()) < 0.01
        else:
            assert apart(*outputs) < (1e-3 if precision == "ieee" else 5e-2)
    assert sizes["cuda"] == sizes["cpu"]
