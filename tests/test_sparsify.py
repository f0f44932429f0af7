"""`sparsify` and `compact_weights`: most weights gone, classes known, and smaller networks that compute the same."""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

import nets  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset  # noqa: E402

from activebmr.pruning.networks.for_weights import mixer, small_vit, swish_mlp, tanh_lenet  # noqa: E402
from activebmr.pruning.weights import compacting  # noqa: E402
from activebmr.pruning.weights.bayes import attach_posterior  # noqa: E402
from activebmr.pruning.weights.compacting import compact_weights  # noqa: E402
from activebmr.pruning.weights.criteria import ByEvidence  # noqa: E402
from activebmr.pruning.weights.likelihoods import Categorical  # noqa: E402
from activebmr.pruning.weights.sparsify import (  # noqa: E402
    SPARSE_CRITERIA,
    Sparsified,
    first_hessian,
    first_rate,
    sparse_training,
    sparsify,
)

SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=1000, seed=0):
    return torch.randn(n, *SHAPE, generator=seeded(seed))


def blobs(n=400, classes=4, seed=0):
    """Classes light up one quarter of an image each, under noise."""
    y = torch.arange(n) % classes
    x = 0.7 * torch.randn(n, *SHAPE, generator=seeded(seed))
    for k in range(classes):
        rows, columns = divmod(k, 2)
        x[y == k, :, 4 * rows : 4 * rows + 3, 4 * columns : 4 * columns + 3] += 1.0
    return x, y


def net(seed=0):
    torch.manual_seed(seed)
    return swish_mlp(SHAPE, 4, (24, 16))


def right(model, data):
    x, y = data
    with torch.no_grad():
        return (model(x).argmax(dim=1) == y).double().mean().item()


def size(model):
    return sum(p.numel() for p in model.parameters())


# --- one call ----------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def found():
    return sparsify(net(), blobs(), epochs=60, start=30, batch=20)


def test_most_weights_go_and_classes_are_known(found):
    test = blobs(seed=1)
    assert right(found.net, test) > 0.95
    assert found.bayes.posterior.n_removed > 0.5 * found.bayes.posterior.n
    drawn = found.bayes.predict(test[0], 20).softmax(dim=-1).mean(dim=0)
    assert (drawn.argmax(dim=1) == test[1]).double().mean() > 0.95
    assert len(found.fit.losses) == 60 and len(found.fit.rounds) == 30 and found.fit.outcome == "all 30 rounds done"
    shares = [r.removed_in_all for r in found.fit.rounds]
    assert shares == sorted(shares) and shares[0] > 0


def test_the_network_is_the_users_with_zeros_where_weights_are_removed(found):
    means = found.bayes.posterior.split(found.bayes.posterior.mean)
    alive = found.bayes.alive()
    for name, p in found.net.named_parameters():
        assert torch.equal(p, means[name]) and not p[~alive[name]].any() and p[alive[name]].all()
    mine = net()
    assert sparsify(mine, blobs(80), epochs=1, start=1, batch=40).net is mine


def test_it_says_what_is_gone_and_how_it_ended(found):
    q = found.bayes.posterior
    text = str(found)
    assert text.startswith(f"{q.n_removed / q.n:.1%} of 2028 weights removed (fc1 ") and text.endswith("); all 30 rounds done")
    assert "fc2 " in text and "fc3 0.0%" in text  # the last layer is spared


def test_what_is_left_makes_a_smaller_network(found):
    want = found.bayes.eval()(images())
    small = compact_weights(found.bayes, images(2))
    assert size(small) < 0.95 * size(found.net)
    assert_close(small(images()), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        dict(method="bmr"),
        dict(method="bmr-rhs", start=37),
        dict(method=ByEvidence(0.5), learn_scales=True),
        dict(inference="bbb-local", prior_variance=0.3, lr=0.02),
        dict(inference="bbb-global", lr=0.02),
        dict(lr=3.0, memory=20.0),
    ],
    ids=str,
)
def test_other_ways_prune_and_learn_too(changes):
    found = sparsify(net(), blobs(), epochs=40, batch=20, **{"start": 20, **changes})
    assert right(found.net, blobs(seed=1)) > 0.85
    assert found.bayes.posterior.n_removed > 0.1 * found.bayes.posterior.n
    assert found.bayes.inference == changes.get("inference", "ivon")
    assert len(found.bayes.posterior.prior_variance.unique()) == (3 if "learn_scales" in changes else 1)


def test_numbers_are_predicted_too():
    x = torch.randn(150, 5, generator=seeded(0))
    y = torch.stack([x[:, 0] - x[:, 1], x[:, 2]], dim=1) + 0.1 * torch.randn(150, 2, generator=seeded(1))
    torch.manual_seed(0)
    for inference, lr in (("ivon", None), ("vbp", 0.05)):
        made = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
        found = sparsify(made, (x, y), "gaussian", inference=inference, epochs=120, start=60, batch=30, lr=lr)
        assert ((found.net(x) - y).square().mean(dim=0) < 0.3 * y.var(dim=0)).all()
        assert found.bayes.posterior.n_removed > 5 and found.likelihood.n_out == 2


def test_the_same_call_gives_the_same_bits_and_loaders_are_taken(tmp_path):
    def run(data=None, **kwargs):
        found = sparsify(net(), data or blobs(160), epochs=3, start=1, batch=40, **kwargs)
        return found.bayes.state_dict()

    one = run()
    torch.rand(3)
    for other in (run(), run(checkpoint=tmp_path / "x.pt"), run(checkpoint=tmp_path / "x.pt")):
        assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert not torch.equal(run(seed=1)["posterior.location"], one["posterior.location"])
    loader = DataLoader(TensorDataset(*blobs()), batch_size=20, shuffle=True)
    found = sparsify(net(), loader, epochs=40, start=20, batch=999)
    assert isinstance(found, Sparsified) and right(found.net, blobs(seed=1)) > 0.95


def test_interrupted_it_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    """Here one after every epoch."""
    monkeypatch.setattr(
        sys.modules[sparsify.__module__], "sparse_training", lambda *a: replace(sparse_training(*a), patience=0)
    )

    def stop(epoch, *_):
        if epoch == 4:
            raise KeyboardInterrupt

    whole = sparsify(net(), blobs(160), epochs=5, start=2, batch=40)
    first = sparsify(net(), blobs(160), epochs=5, start=2, batch=40, checkpoint=tmp_path / "x.pt", watch=stop)
    assert first.fit.interrupted and first.bayes.posterior.n_removed > 0
    seen = []
    again = sparsify(
        net(3), blobs(160), epochs=5, start=2, batch=40, checkpoint=tmp_path / "x.pt", watch=lambda e, *_: seen.append(e)
    )
    assert seen[0] >= 3 and not again.fit.interrupted
    for key, value in whole.bayes.state_dict().items():
        assert torch.equal(value, again.bayes.state_dict()[key])


def test_a_network_can_be_trained_further():
    mine = net()
    first = sparsify(mine, blobs(160), epochs=2, start=1, batch=40)
    again = sparsify(first.net, blobs(160), epochs=2, start=1, batch=40)
    assert again.net is mine


@pytest.mark.parametrize("n", [120, 1437, 50_000, 200_000])
def test_first_weights_are_as_uncertain_whatever_the_number_of_examples(n):
    posterior = attach_posterior(nn.Linear(3, 2), "ivon", n_examples=n, prior_variance=0.3, hessian=first_hessian(n)).posterior
    assert_close(posterior.variance.sqrt(), torch.full((8,), 0.013), rtol=0.02, atol=0)
    assert first_rate(n, "ivon") >= 0.1 and first_rate(60_000, "ivon") == 0.1 and first_rate(n, "bbb-local") == 5e-3


def test_settings_prune_after_every_epoch():
    settings = sparse_training(20, 5, 32, "ivon", 0.1, True, 5.0, 3)
    assert settings.epochs + settings.rounds * settings.retrain == 20
    assert (settings.retrain, settings.stop, settings.step_back, settings.seed, settings.batch) == (1, False, False, 3, 32)
    assert settings.scale_prior and not sparse_training(20, 5, 32, "ivon", 0.1, False, 5.0, 3).scale_prior
    assert set(SPARSE_CRITERIA) == {c.name for c in SPARSE_CRITERIA.values()} == {"bmr", "bmr-ss", "bmr-rhs"}


@pytest.mark.parametrize(
    "changes, match",
    [
        (dict(method="snr"), r"method must be one of \['bmr', 'bmr-ss', 'bmr-rhs'\] or a criterion; got 'snr'"),
        *(
            (dict(epochs=e, start=s), f"start must lie in 1..epochs; got {s!r} and {e!r}".replace(".", r"\."))
            for e, s in ((5, 0), (5, 6), (5, None))
        ),
        *((dict(epochs=e, start=1), f"epochs must be a whole number >= 1; got {e!r}") for e in (0, 5.0)),
        (dict(inference="adam"), "inference must be one of"),
        (dict(likelihood="poisson"), r"likelihood must be one of \['categorical', 'gaussian'\]; got 'poisson'"),
        (dict(likelihood="gaussian"), "targets must be floats of shape"),
        (dict(prior_variance=0.0), "prior_variance must be a finite number > 0"),
        (dict(lr=0.0), "lr must be a finite number > 0"),
        (dict(batch=0), "batch must be a whole number >= 1"),
        (dict(seed=-1), "seed must be a whole number >= 0"),
        (dict(inference="vbp"), r"goes through Sequential.*'act1' is a SiLU"),
    ],
)
def test_wrong_arguments_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        sparsify(net(), blobs(40), **changes)


def test_negative_prior_variances_are_refused_by_name():
    with pytest.raises(ValueError, match="prior_variance must be a finite number > 0"):
        sparsify(net(), blobs(40), inference="bbb-local", prior_variance=-1.0)


# --- networks and data of every kind -----------------------------------------------------------------------------------------
class Residual(nn.Module):
    """Convolutions with batch normalisation and a sum."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv, self.norm2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 4, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.norm2(self.conv(x)))
        return self.head(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


class LanguageModel(nn.Module):
    """Its output layer is its embedding."""

    def __init__(self):
        super().__init__()
        self.embed, self.up, self.down = nn.Embedding(6, 8), nn.Linear(8, 24), nn.Linear(24, 8)
        self.head = nn.Linear(8, 6, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.down(nn.functional.gelu(self.up(self.embed(tokens)))))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(8, 12, batch_first=True), nn.Linear(8 * 12, 4)

    def forward(self, x):
        return self.out(self.rnn(x.squeeze(1))[0].flatten(1))


class Segments(nn.Module):
    """A class for every pixel: ``(n, classes, height, width)``."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 8, 3, padding=1), nn.ConvTranspose2d(8, 2, 3, padding=1)

    def forward(self, x):
        return self.out(torch.relu(self.conv(x)))


KINDS = {
    "batch normalisation": (Residual, blobs, {}),
    "recurrent": (Recurrent, lambda: blobs(200), {"lr": 3.0}),
    "a class for every token": (LanguageModel, lambda: (t := torch.randint(6, (80, 5), generator=seeded()), (t + 1) % 6), {}),
    "a class for every pixel": (Segments, lambda: (x := images(60), (x[:, 0] > 0.3).long()), {}),
}


@pytest.mark.parametrize("inference", ["ivon", "bbb-local"])
@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_every_kind_are_trained_and_pruned(kind, inference):
    make, data, options = KINDS[kind]
    torch.manual_seed(0)
    mine = make()
    x, y = data()
    options = options if inference == "ivon" else {"lr": 0.02}
    found = sparsify(mine, (x, y), epochs=40, start=25, batch=20, inference=inference, **options)
    with torch.no_grad():
        outputs = found.net(x)
    axis = 1 if kind.endswith("pixel") else -1
    assert (outputs.argmax(axis) == y).double().mean() > 0.85
    assert found.bayes.posterior.n_removed > 0 or kind == "a class for every pixel"  # which leaves no weight in doubt
    assert not found.net.training and torch.equal(found.bayes.eval()(x), outputs)
    if kind == "a class for every token":
        assert mine.head.weight is mine.embed.weight and "head.weight" not in found.bayes.posterior.places


def test_samples_that_are_really_shown_are_counted():
    loader = DataLoader(TensorDataset(*blobs()), 10, sampler=SubsetRandomSampler(range(50)))
    assert sparsify(net(), loader, epochs=1, start=1).bayes.posterior.n_examples == 50

    def rows(batch):
        return [{"image": x, "label": y} for x, y in batch]

    loader = DataLoader(TensorDataset(*blobs(40)), 10, collate_fn=rows)
    found = sparsify(
        net(),
        loader,
        epochs=1,
        start=1,
        n_examples=40,
        batch_to=lambda batch: (torch.stack([b["image"] for b in batch]), torch.stack([b["label"] for b in batch])),
    )
    assert found.bayes.posterior.n_examples == 40


def test_likelihoods_may_be_given():
    x = torch.randint(5, (40, 5), generator=seeded())  # as many places as classes
    y = torch.where(x == 0, -100, (x + 1) % 5)
    mine = nn.Sequential(nn.Embedding(5, 16), nn.Linear(16, 5))
    with pytest.raises(ValueError, match=r"axis 1 or -1 .* Categorical\(axis=1\)"):
        sparsify(mine, (x, y), epochs=2, start=1)
    says = Categorical(axis=-1)
    found = sparsify(mine, (x, y), says, epochs=60, start=40, batch=20)
    assert found.likelihood is says and (found.net(x).argmax(-1) == y)[x > 0].double().mean() > 0.9


class InADict(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 4)

    def forward(self, x):
        return {"logits": self.fc(x.flatten(1))}


@pytest.mark.parametrize("likelihood", ["categorical", "gaussian"])
def test_outputs_in_a_dict_are_refused(likelihood):
    with pytest.raises(TypeError, match=r"outputs of the network must be a tensor; got a dict with the keys \['logits'\]"):
        sparsify(InADict(), blobs(40), likelihood, epochs=1, start=1)


def test_numbers_without_an_axis_of_outputs_are_refused():
    x = torch.randn(40, 3, generator=seeded())
    with pytest.raises(ValueError, match=r"targets must be floats of shape \(n, 1\), as outputs; got torch.float32 \(40,\)"):
        sparsify(nn.Linear(3, 1), (x, x[:, 0]), "gaussian", epochs=1, start=1)


def test_parts_that_are_frozen_stay_frozen():
    torch.manual_seed(0)
    mine = Residual().train()
    mine.norm.eval()
    before = mine.norm.running_mean.clone()
    found = sparsify(mine, blobs(80), epochs=2, start=1, batch=20)
    assert torch.equal(found.net.norm.running_mean, before) and found.net.norm2.running_mean.any()


# --- smaller networks --------------------------------------------------------------------------------------------------------
class Summed(nn.Module):
    """Convolutions whose outputs are added, without normalisation."""

    def __init__(self, curve=nn.ReLU):
        super().__init__()
        self.stem, self.act0 = nn.Conv2d(1, 6, 3, padding=1), curve()
        self.conv1, self.act1 = nn.Conv2d(6, 5, 3, padding=1), curve()
        self.conv2, self.act2 = nn.Conv2d(5, 6, 3, padding=1), curve()
        self.pool, self.flat, self.head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)

    def forward(self, x):
        x = self.act0(self.stem(x))
        x = self.act2(x + self.conv2(self.act1(self.conv1(x))))
        return self.head(self.flat(self.pool(x)))


def layers(curve):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), curve(), nn.Linear(12, 9), curve(), nn.Linear(9, 4))


SMALL = dict(patch=2, width=12, depth=2)
NETS = {
    "swish mlp": lambda: swish_mlp(SHAPE, 4, (12, 9)),
    "lenet": lambda: tanh_lenet(SHAPE, 4),
    "vit": lambda: small_vit(SHAPE, 4, num_heads=3, **SMALL),
    "mixer": lambda: mixer(SHAPE, 4, hidden=20, tokens_hidden=10, **SMALL),
    "attention of the library": lambda: nets.ViT(library=True),
    "sums": Summed,
    "sums of tanh": lambda: Summed(nn.Tanh),
    "sigmoids": lambda: layers(nn.Sigmoid),
    "softplus": lambda: layers(nn.Softplus),
    "sums of sigmoids": lambda: Summed(nn.Sigmoid),
    "gelu": lambda: layers(nn.GELU),
}


def cut(net, seed=0, dead=0.35):
    """Weights removed at random, and the rows and columns of some units as a whole."""
    generator = seeded(seed)

    def share(*shape, p):
        return torch.rand(shape, generator=generator) < p

    bayes = attach_posterior(nets.lively(net))
    with torch.no_grad():
        bayes.posterior.location.add_(0.1 * torch.randn(bayes.posterior.n, generator=generator))
    masks = bayes.posterior.split(torch.zeros(bayes.posterior.n, dtype=torch.bool))
    for mask in masks.values():
        mask |= share(*mask.shape, p=0.3)
    found = [(n, m) for n, m in net.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    for name, _ in found:
        if name != found[-1][0]:  # outputs stay
            mask = masks[f"{name}.weight"]
            unfed = share(len(mask), p=dead)
            mask[unfed] = True
            masks[f"{name}.bias"][unfed & share(len(mask), p=0.8)] = True
        mask = masks[f"{name}.weight"]
        mask[:, share(mask.shape[1], p=dead)] = True
    bayes.remove(torch.cat([m.flatten() for m in masks.values()]))
    return bayes.eval()


@pytest.mark.parametrize("kind, seed", [(k, s) for k in NETS for s in ((0,) if k in ("lenet", "vit", "mixer") else (0, 1))])
def test_smaller_networks_compute_the_same(kind, seed):
    torch.manual_seed(seed)
    bayes, x = cut(NETS[kind](), seed), images()
    with torch.no_grad():
        want = bayes(x)
        small = compact_weights(bayes, x[:2])
        got = small(x)
        assert torch.equal(bayes(x), want)  # the posterior is what it was
    assert size(small) < size(bayes.net) and not small.training
    assert (got - want).abs().max() <= 1e-5 * max(1.0, want.abs().max().item())


def widths(model):
    return [m.out_features for m in model.modules() if isinstance(m, nn.Linear)]


def remove(bayes, **parts):
    """From an index by parameter name with ``_`` for dots."""
    mask = torch.zeros(bayes.posterior.n, dtype=torch.bool)
    for name, index in parts.items():
        bayes.posterior.split(mask)[name.lstrip("_").replace("_", ".")][index] = True
    bayes.remove(mask)


@pytest.mark.parametrize("curve", [nn.SiLU, nn.Tanh, nn.ReLU, nn.GELU, nn.Sigmoid, nn.Softplus])
def test_units_that_nobody_reads_go_and_units_without_weights_where_nothing_stays_nothing(curve):
    torch.manual_seed(0)
    bayes = attach_posterior(nets.lively(layers(curve)))
    remove(bayes, _3_weight=(slice(None), slice(3)))  # three of the twelve are unread
    remove(bayes, _3_weight=[0, 4], _3_bias=[0, 4])  # two of the nine are not fed: 0, or what the curve makes of it
    want = bayes.eval()(images())
    small = compact_weights(bayes, images(2))
    odd = curve in (nn.Sigmoid, nn.Softplus)
    assert widths(small) == [9, 9 if odd else 7, 4]
    assert_close(small(images()), want, rtol=0, atol=1e-5)


def test_a_bias_that_is_left_keeps_its_unit():
    torch.manual_seed(0)
    bayes = attach_posterior(nets.lively(layers(nn.Tanh)))
    remove(bayes, _1_weight=[0, 1], _1_bias=[0])
    small = compact_weights(bayes, images(2))
    assert widths(small) == [11, 9, 4]
    assert_close(small(images()), bayes.eval()(images()), rtol=0, atol=1e-5)


def test_what_only_lost_units_read_goes_too():
    """From the outputs back to the inputs: unit 1 is read by unit 2 alone, and unit 2 by nobody."""
    torch.manual_seed(0)
    bayes = attach_posterior(nets.lively(layers(nn.Tanh)))
    keep_out = [i for i in range(9) if i != 2]
    remove(bayes, _5_weight=(slice(None), 2), _3_weight=(keep_out, 1))
    small = compact_weights(bayes, images(2))
    assert widths(small) == [11, 8, 4]
    # and on from the inputs: what only units without weights feed
    torch.manual_seed(0)
    bayes = attach_posterior(nets.lively(layers(nn.Tanh)))
    others = [i for i in range(12) if i != 1]
    remove(bayes, _1_weight=1, _1_bias=1, _3_weight=(2, others), _3_bias=2)
    small = compact_weights(bayes, images(2))
    assert widths(small)[0] == 11
    assert_close(small(images()), bayes.eval()(images()), rtol=0, atol=1e-5)


def test_heads_that_nobody_reads_go():
    torch.manual_seed(0)
    for model, name in ((small_vit(SHAPE, 4, num_heads=3, **SMALL), "blocks.0.attn.proj.weight"), (nets.ViT(True), None)):
        bayes = attach_posterior(nets.lively(model))
        name = name or "encoders.0.attn.out_proj.weight"
        mask = torch.zeros(bayes.posterior.n, dtype=torch.bool)
        bayes.posterior.split(mask)[name][:, 4:8] = True  # of the second of three
        bayes.remove(mask)
        small = compact_weights(bayes, images(2))
        assert_close(small(images(200)), bayes.eval()(images(200)), rtol=0, atol=1e-5)
        assert size(small) == size(model) - (3 * 4 * 13 + 4 * 12)


@pytest.mark.parametrize("curve", [nn.Tanh, nn.Sigmoid])
def test_a_layer_or_a_network_without_any_weight_is_left_with_one_unit(curve):
    for everything in (False, True):
        torch.manual_seed(0)
        bayes = attach_posterior(nets.lively(layers(curve)))
        remove(bayes, _3_weight=slice(None))
        if everything:
            remove(bayes, **{f"_{i}_{kind}": slice(None) for i in (1, 3, 5) for kind in ("weight", "bias")})
        small = compact_weights(bayes, images(2))
        assert widths(small)[0] == 1 and min(widths(small)) >= 1
        assert_close(small(images()), bayes.eval()(images()), rtol=0, atol=1e-5)


def test_whole_networks_stay_as_large_as_they_are():
    torch.manual_seed(0)
    bayes = attach_posterior(nets.lively(layers(nn.SiLU)))
    remove(bayes, _3_weight=([0, 1, 2], [3, 4, 5]))
    small = compact_weights(bayes, images(2))
    assert size(small) == size(bayes.net)
    assert_close(small(images()), bayes.eval()(images()), rtol=0, atol=1e-5)


def test_the_users_network_has_the_posteriors_means_afterwards():
    torch.manual_seed(0)
    bayes = attach_posterior(nets.lively(layers(nn.Tanh)))
    remove(bayes, _3_weight=(slice(None), 0))
    compact_weights(bayes, images(2))
    means = bayes.posterior.split(bayes.posterior.mean)
    assert all(torch.equal(p, means[name]) for name, p in bayes.net.named_parameters())


def test_networks_without_structures_are_refused():
    bayes = attach_posterior(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    with pytest.raises(ValueError, match="net must have a structure that can be pruned"):
        compact_weights(bayes, images(2))


def test_copies_are_compacted_alike():
    torch.manual_seed(0)
    bayes = cut(layers(nn.SiLU))
    one, two = compact_weights(copy.deepcopy(bayes), images(2)), compact_weights(bayes, images(2))
    assert_close(one(images()), two(images()), rtol=0, atol=0)
    assert math.isfinite(float(one(images(1)).sum().detach()))


def test_a_layer_that_must_stay_keeps_all_its_structures_beside_one_that_shrinks(monkeypatch):
    """Numbers of structures are those of the layers that may go, however many come before them."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight[1], layer.bias[1] = 0.0, 0.0  # nothing feeds the second structure of either
    bayes = attach_posterior(net)
    real = compacting.attach_noise

    def keeping(*args, **kwargs):
        noisy = real(*args, **kwargs)
        sites = {n: replace(s, stays="it must") if n == "0" else s for n, s in noisy.plan.sites.items()}
        return SimpleNamespace(plan=replace(noisy.plan, sites=sites))

    monkeypatch.setattr(compacting, "attach_noise", keeping)
    x = torch.randn(5, 4)
    small = compact_weights(bayes, x)
    assert small[0].out_features == 8 and small[2].out_features == 5
    assert_close(small(x), bayes.write_means().eval()(x))
