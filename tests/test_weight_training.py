"""`prune_weights`: the same again, on from where it was interrupted, back where a removal was too much, and what it finds."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.distributions import Gamma, Normal, kl_divergence  # noqa: E402
from torch.optim.optimizer import register_optimizer_step_pre_hook  # noqa: E402
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset  # noqa: E402

from activebmr.pruning.data.batches import Batches  # noqa: E402
from activebmr.pruning.weights.bayes import attach_posterior  # noqa: E402
from activebmr.pruning.weights.criteria import ByEvidence  # noqa: E402
from activebmr.pruning.weights.free_energies import free_energy, learn_scales, refresh_statistics  # noqa: E402
from activebmr.pruning.weights.horseshoe import HorseshoeModule  # noqa: E402
from activebmr.pruning.weights.likelihoods import Categorical, GaussianNoise, Likelihood  # noqa: E402
from activebmr.pruning.weights.settings import WeightFit, WeightTraining  # noqa: E402
from activebmr.pruning.weights.training import prune_weights  # noqa: E402

N, INPUTS = 44, 4
SMALL = WeightTraining(epochs=3, retrain=2, rounds=2, batch=10, lr=0.02, samples=3, step_back=False, patience=0)
"""The last batch of an epoch is a smaller one."""
INFERENCES = ("bbb-local", "vbp", "ivon")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Weakest:
    """Removes the share of weights with the most evidence for it, in every round."""

    share: float = 0.2
    name: str = "weakest"

    def select(self, posterior, round):
        order = posterior.removal_evidence().argsort(descending=True, stable=True)
        mask = torch.zeros_like(posterior.alive)
        mask[order[: int(self.share * posterior.n)]] = True
        return mask & posterior.alive


@dataclass(frozen=True)
class Strongest:
    """Removes what is needed most, from a round on; before it nothing is wrong."""

    start: int = 0
    name: str = "strongest"

    def select(self, posterior, round):
        evidence = torch.where(posterior.alive, posterior.removal_evidence(), torch.inf)
        if round < self.start:
            return ByEvidence().select(posterior, round)
        mask = torch.zeros_like(posterior.alive)
        mask[evidence.argsort()[: posterior.n // 2]] = True
        return mask & posterior.alive


@dataclass(frozen=True)
class Nothing:
    name: str = "nothing"

    def select(self, posterior, round):
        return torch.zeros_like(posterior.alive)


def numbers(n=N, n_out=1, seed=0):
    """A curve in four dimensions, or two of them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, INPUTS, generator=generator)
    y = torch.stack([torch.sin(x[:, 0]) + 0.5 * x[:, 1], x[:, 2].abs()], dim=1)[:, :n_out]
    return x, y + 0.1 * torch.randn(n, n_out, generator=generator)


def classes(n=N, seed=0):
    x, y = numbers(n, seed=seed)
    return x, (y[:, 0] > 0).long() + (x[:, 3] > 1).long()


def made(inference="bbb-local", n_out=1, seed=0, n=N):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(INPUTS, 6), nn.ReLU(), nn.Linear(6, n_out))
    return attach_posterior(net, inference, sd=None if inference == "ivon" else 0.1, n_examples=n, hessian=2.0)


def everything(bayes, likelihood):
    return {f"bayes {k}": v for k, v in bayes.state_dict().items()} | {
        f"likelihood {k}": v for k, v in likelihood.state_dict().items()
    }


def assert_identical(a, b):
    """Bit for bit."""
    assert a.keys() == b.keys()
    for key in a:
        assert a[key].dtype == b[key].dtype and torch.equal(a[key], b[key]), key


def assert_same_fit(a, b):
    assert a.losses == b.losses and a.outcome == b.outcome and len(a.seconds) == len(b.seconds)
    assert repr(a.rounds) == repr(b.rounds) and repr((a.vfe, a.vfe_trained)) == repr((b.vfe, b.vfe_trained))


def trained(inference, settings=SMALL, criterion=Weakest(), data=None, **kwargs):  # noqa: B008
    bayes, likelihood = made(inference, n_out=1), GaussianNoise(1, N)
    found = prune_weights(bayes, likelihood, numbers() if data is None else data, settings, criterion=criterion, **kwargs)
    return everything(bayes, likelihood), found


# --- again, and on -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inference", [*INFERENCES, "bbb-global"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(inference):
    def run(settings, disturb):
        torch.manual_seed(disturb)  # what the user has drawn before must not matter
        torch.rand(disturb)
        return trained(inference, settings)

    (one, report), (two, again), (other, _) = (run(s, d) for s, d in ((SMALL, 1), (SMALL, 5), (replace(SMALL, seed=1), 1)))
    assert_identical(one, two)
    assert_same_fit(report, again)
    assert not torch.equal(one["bayes posterior.location"], other["bayes posterior.location"])
    assert len(report.losses) == 3 + 2 * 2 and [r.removed for r in report.rounds] == [7, 7]
    assert [r.removed_in_all for r in report.rounds] == [7 / 37, 14 / 37] and report.outcome == "all 2 rounds done"


# watch is called after epochs 1, 2, 3, after the first removal, after 4 and 5, after the second removal, and so on
@pytest.mark.parametrize("calls", [1, 3, 4, 5, 7, 9, 10])
@pytest.mark.parametrize("inference", INFERENCES)
def test_interrupted_and_resumed_it_comes_to_the_same_bits(tmp_path, inference, calls):
    whole, report = trained(inference, checkpoint=tmp_path / "whole.pt")
    seen = []

    def stop(epoch, bayes, fit):
        seen.append((epoch, len(fit.rounds)))
        if len(seen) == calls:
            raise KeyboardInterrupt

    _, first = trained(inference, checkpoint=tmp_path / "parts" / "x.pt", watch=stop)
    assert first.interrupted and not report.interrupted
    assert seen[-1] == [(1, 0), (2, 0), (3, 0), (3, 1), (4, 1), (5, 1), (5, 2), (6, 2), (7, 2), (7, 2)][calls - 1]
    assert (tmp_path / "parts" / "x.pt").exists() == (calls > 1)  # what is watched is not saved yet
    bayes, likelihood = made(inference, seed=0 if calls == 1 else 99), GaussianNoise(1, N)  # weights are the checkpoint's
    second = prune_weights(bayes, likelihood, numbers(), SMALL, criterion=Weakest(), checkpoint=tmp_path / "parts" / "x.pt")
    assert_identical(whole, everything(bayes, likelihood))
    assert_same_fit(report, second)
    assert not second.interrupted and bayes.posterior.n_removed == 14
    assert [p.name for p in (tmp_path / "parts").iterdir()] == ["x.pt"]


@pytest.mark.parametrize("inference", INFERENCES)
def test_interrupted_in_the_middle_of_an_epoch_the_same_object_goes_on(tmp_path, inference):
    whole, report = trained(inference)
    bayes, likelihood, count = made(inference), GaussianNoise(1, N), []

    def stop(*_):
        count.append(1)
        if len(count) == 18:
            raise KeyboardInterrupt

    run = lambda: prune_weights(bayes, likelihood, numbers(), SMALL, criterion=Weakest(), checkpoint=tmp_path / "x.pt")  # noqa: E731
    handle = register_optimizer_step_pre_hook(stop)
    try:
        assert run().interrupted
    finally:
        handle.remove()
    assert_same_fit(report, run())
    assert_identical(whole, everything(bayes, likelihood))


def test_interrupted_between_a_bad_removal_and_the_step_back_it_steps_back(tmp_path):
    settings = replace(SMALL, step_back=True, epochs=30)
    whole, report = trained("vbp", settings, Strongest())
    assert report.outcome.startswith("step back")

    def stop(epoch, bayes, fit):
        if epoch == 31:
            raise KeyboardInterrupt

    _, first = trained("vbp", settings, Strongest(), checkpoint=tmp_path / "x.pt", watch=stop)
    assert first.interrupted and len(first.rounds) == 1
    parts, second = trained("vbp", settings, Strongest(), checkpoint=tmp_path / "x.pt")
    assert_identical(whole, parts)
    assert_same_fit(report, second)


def test_without_a_checkpoint_an_interruption_is_the_callers():
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained("vbp", watch=stop)


def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    done, report = trained("ivon", checkpoint=tmp_path / "x.pt")
    before = (tmp_path / "x.pt").read_bytes()
    monkeypatch.setattr("activebmr.pruning.weights.ivon.IVON.step", lambda *_: pytest.fail("trained again"))
    other, again = trained("ivon", checkpoint=tmp_path / "x.pt", settings=replace(SMALL, patience=7))
    assert_identical(done, other)
    assert_same_fit(report, again)
    assert again.seconds == report.seconds and (tmp_path / "x.pt").read_bytes() == before


def test_checkpoints_of_other_settings_data_criteria_and_networks_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    trained("vbp", checkpoint=path)
    before = path.read_bytes()
    others = [
        ("vbp", replace(SMALL, seed=1), Weakest(), numbers()),
        ("vbp", replace(SMALL, lr=0.03), Weakest(), numbers()),
        ("vbp", replace(SMALL, scale_prior=(2.0, 2.0)), Weakest(), numbers()),
        ("vbp", SMALL, Weakest(0.3), numbers()),
        ("vbp", SMALL, None, numbers()),
        ("vbp", SMALL, Weakest(), numbers(seed=1)),
        ("bbb-local", SMALL, Weakest(), numbers()),
        ("ivon", SMALL, Weakest(), numbers()),
    ]
    for inference, settings, criterion, data in others:
        with pytest.raises(ValueError, match=r"x\.pt belongs to other settings, data or another network"):
            trained(inference, settings, criterion, data, checkpoint=path)
    wider = attach_posterior(nn.Sequential(nn.Linear(INPUTS, 7), nn.ReLU(), nn.Linear(7, 1)), "vbp")
    with pytest.raises(ValueError, match="belongs to other"):
        prune_weights(wider, GaussianNoise(1, N), numbers(), SMALL, criterion=Weakest(), checkpoint=path)
    assert path.read_bytes() == before


def test_truncated_checkpoints_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    trained("vbp", checkpoint=path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"x\.pt cannot be read: truncated or damaged"):
        trained("vbp", checkpoint=path)


def test_checkpoints_of_another_likelihood_are_refused(tmp_path):
    path, settings = tmp_path / "x.pt", replace(SMALL, samples=0)
    data = (numbers()[0], torch.zeros(N, dtype=torch.int64))  # as class numbers, and with the same sum as numbers
    prune_weights(made("bbb-local"), Categorical(), data, settings, checkpoint=path)
    with pytest.raises(ValueError, match="belongs to other"):
        prune_weights(made("bbb-local"), GaussianNoise(1, N), (data[0], torch.zeros(N, 1)), settings, checkpoint=path)


def test_runs_with_criteria_of_users_go_on(tmp_path):
    """As users write them: no dataclass."""

    class Plain:
        name = "plain"

        def select(self, posterior, round):
            return Weakest().select(posterior, round)

    first = Plain()
    _, report = trained("vbp", criterion=first, checkpoint=tmp_path / "x.pt")
    assert_same_fit(trained("vbp", criterion=Plain(), checkpoint=tmp_path / "x.pt")[1], report)


def test_criteria_of_users_with_other_numbers_are_refused(tmp_path):
    class Plain:
        name = "plain"

        def __init__(self, share):
            self.share = share

        def select(self, posterior, round):
            return Weakest(self.share).select(posterior, round)

    trained("vbp", criterion=Plain(0.1), checkpoint=tmp_path / "x.pt")
    with pytest.raises(ValueError, match="belongs to other"):
        trained("vbp", criterion=Plain(0.3), checkpoint=tmp_path / "x.pt")


@pytest.mark.parametrize("inference", INFERENCES)
def test_means_may_be_written_between_an_interruption_and_going_on(tmp_path, inference):
    whole, report = trained(inference)
    bayes, likelihood = made(inference), GaussianNoise(1, N)

    def stop(epoch, *_):
        if epoch == 5:
            raise KeyboardInterrupt

    run = {"criterion": Weakest(), "checkpoint": tmp_path / "x.pt"}
    assert prune_weights(bayes, likelihood, numbers(), SMALL, watch=stop, **run).interrupted
    bayes.write_means()
    assert_same_fit(prune_weights(bayes, likelihood, numbers(), SMALL, **run), report)
    assert torch.equal(bayes.posterior.mean, whole["bayes posterior.location"].where(bayes.posterior.alive, torch.zeros(())))


# --- the loop ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inference", INFERENCES)
def test_a_removal_that_costs_too_much_is_undone_to_the_last_bit(inference):
    bayes, likelihood, states = made(inference, n=200), GaussianNoise(1, 200), {}

    def watch(epoch, model, fit):
        states[epoch, len(fit.rounds)] = copy.deepcopy(everything(model, likelihood))

    settings = WeightTraining(epochs=60, retrain=2, batch=40, lr=0.3 if inference == "ivon" else 0.03, samples=5)
    found = prune_weights(bayes, likelihood, numbers(200), settings, criterion=Strongest(), watch=watch)
    assert found.outcome.startswith("step back: retraining after round 1 ended ")
    assert found.outcome.endswith(" nats above what was before it")
    assert float(found.outcome.split("ended ")[1].split()[0]) > 0
    assert [r.undone for r in found.rounds] == [True] and found.rounds[0].removed == 18
    assert len(found.losses) == 62 and found.losses[-1] > found.losses[59] + 0.1
    assert bayes.posterior.n_removed == 0
    assert_identical(everything(bayes, likelihood), states[60, 0])
    assert states[61, 1]["bayes posterior.alive"].sum() == 19
    assert found.vfe == found.vfe_trained == found.rounds[0].vfe


def test_steps_of_ivon_are_no_larger_than_they_may_be():
    for clip, moved in ((None, True), (0.5, False)):
        bayes, likelihood = made("ivon", n=200), GaussianNoise(1, 200, variance=1e-4)
        before = bayes.posterior.mean.clone()
        settings = WeightTraining(epochs=1, batch=200, lr=0.02, schedule="constant", samples=0, clip=clip)
        prune_weights(bayes, likelihood, numbers(200), settings)
        assert bool(((bayes.posterior.mean - before).abs() > 0.02 * 0.5 * (1 + 1e-4)).any()) == moved


def test_only_the_last_removal_is_undone():
    bayes, likelihood = made("vbp", n=200), GaussianNoise(1, 200)
    settings = WeightTraining(epochs=100, retrain=40, batch=50, lr=0.05)
    found = prune_weights(bayes, likelihood, numbers(200), settings, criterion=Strongest(start=1))
    assert [r.undone for r in found.rounds] == [False, True] and found.outcome.startswith("step back: retraining after round 2")
    assert bayes.posterior.n_removed == found.rounds[0].removed > 0
    assert found.vfe == found.rounds[1].vfe < found.vfe_trained


def test_without_step_back_a_bad_removal_stays():
    settings = replace(SMALL, epochs=30, rounds=1, step_back=False)
    state, found = trained("vbp", settings, Strongest())
    assert found.outcome == "all 1 rounds done" and not found.rounds[0].undone
    assert state["bayes posterior.alive"].sum() == 37 - 18 and found.vfe > found.vfe_trained


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_rounds_are_a_limit(rounds):
    _, found = trained("vbp", replace(SMALL, rounds=rounds, samples=0), Weakest(0.1))
    assert len(found.rounds) == rounds and found.outcome == f"all {rounds} rounds done"
    assert [r.epoch for r in found.rounds] == [3 + 2 * i for i in range(rounds)]
    assert len(found.losses) == 3 + 2 * rounds


def test_it_stops_where_nothing_new_goes_unless_it_is_told_not_to():
    _, found = trained("vbp", replace(SMALL, rounds=None), Nothing())
    assert found.outcome == "nothing new to remove after 0 rounds" and len(found.losses) == 3 and found.rounds == []
    _, found = trained("vbp", replace(SMALL, rounds=3, stop=False), Nothing())
    assert found.outcome == "all 3 rounds done" and [r.removed for r in found.rounds] == [0, 0, 0]
    assert len(found.losses) == 3 + 2 * 3
    _, found = trained("vbp", replace(SMALL, rounds=None), ByEvidence())
    assert found.outcome.startswith("nothing new to remove after")
    assert found.rounds[-1].removed > 0 and all(r.removed > 0 for r in found.rounds)


def test_naive_pruning_is_one_removal_without_retraining():
    bayes, likelihood = made("vbp"), GaussianNoise(1, N)
    settings = replace(SMALL, epochs=40, rounds=1)
    first = prune_weights(bayes, likelihood, numbers(), replace(settings, rounds=0))
    assert first.outcome == "trained" and first.rounds == [] and len(first.losses) == 40
    expected = ByEvidence().select(bayes.posterior, 0)
    gain = bayes.posterior.removal_evidence()[expected].sum().item()
    moved = bayes.posterior.location.detach().clone()
    once = prune_weights(bayes, likelihood, numbers(), replace(settings, epochs=0, retrain=0), criterion=ByEvidence())
    assert once.outcome == "removed, without retraining" and once.losses == []
    assert torch.equal(~bayes.posterior.alive, expected) and torch.equal(bayes.posterior.location, moved)
    (only,) = once.rounds
    assert only.vfe == once.vfe_trained == first.vfe and once.vfe == only.vfe_observed
    assert_allclose(only.vfe_predicted, only.vfe - gain, rtol=1e-9)
    assert only.near_ties == int((bayes.posterior.removal_evidence()[~expected].abs() < 0.1).sum())
    assert not bayes.training


def test_there_may_be_nothing_to_do():
    _, found = trained("vbp", replace(SMALL, epochs=0, rounds=None), None)
    assert found.rounds == [] and found.losses == [] and math.isfinite(found.vfe)


def test_watch_and_progress_are_told_everything(capsys):
    seen, lines = [], []
    trained(
        "vbp",
        watch=lambda epoch, bayes, fit: seen.append((epoch, len(fit.rounds), bayes.posterior.n_removed)),
        progress=lambda epoch, line: lines.append((epoch, line)),
    )
    assert seen == [
        (1, 0, 0),
        (2, 0, 0),
        (3, 0, 0),
        (3, 1, 7),
        (4, 1, 7),
        (5, 1, 7),
        (5, 2, 14),
        (6, 2, 14),
        (7, 2, 14),
        (7, 2, 14),
    ]
    assert [e for e, _ in lines] == [e for e, _, _ in seen]
    assert lines[0][1].startswith("epoch 1: loss ") and lines[0][1].endswith("0.0% removed, round 0")
    assert lines[3][1] == "round 1: 7 removed, 18.9% in all" and lines[-1][1] == "all 2 rounds done"
    trained("vbp", progress=True)
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == len(lines)


# --- learning rates ----------------------------------------------------------------------------------------------------------
def rates_of(settings, inference="bbb-local", criterion=Weakest()):  # noqa: B008
    """Rates of all steps: of the posterior and of the likelihood."""
    seen = []
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: seen.append([g["lr"] for g in optimizer.param_groups]))
    try:
        trained(inference, settings, criterion)
    finally:
        handle.remove()
    if inference == "ivon":  # its own optimiser, then Adam for the likelihood
        seen = [[*a, *b] for a, b in zip(seen[::2], seen[1::2], strict=True)]
    assert all(len(s) == 2 for s in seen)
    return np.array(seen).T


LONG = replace(SMALL, epochs=10, retrain=5, rounds=2, lr=0.02, likelihood_lr=0.05, samples=0)
PER_EPOCH = 5


@pytest.mark.parametrize("inference", ["bbb-local", "ivon"])
def test_constant_rates_are_constant(inference):
    own, others = rates_of(replace(LONG, schedule="constant"), inference)
    assert len(own) == 20 * PER_EPOCH and (own == 0.02).all() and (others == 0.05).all()


@pytest.mark.parametrize("inference", ["bbb-local", "ivon"])
def test_rates_fall_to_nothing_over_the_last_part_of_each_phase(inference):
    own, others = rates_of(replace(LONG, schedule="phases"), inference)
    assert_allclose(others, own * 2.5, rtol=1e-12)
    for phase in np.split(own, [10 * PER_EPOCH, 15 * PER_EPOCH]):
        flat = round(0.6 * len(phase))
        assert (phase[:flat] == 0.02).all() and (np.diff(phase[flat:]) < 0).all()
        assert phase[-1] < 0.02 * 0.07
        assert_allclose(phase[flat + (len(phase) - flat) // 2], 0.01, rtol=1e-9)  # halfway down, half the rate


@pytest.mark.parametrize("inference", ["bbb-local", "ivon"])
def test_rates_fall_to_nothing_as_a_cosine_over_all_epochs(inference):
    own, others = rates_of(replace(LONG, schedule="cosine"), inference)
    assert_allclose(others, own * 2.5, rtol=1e-12)
    assert own[0] == 0.02 and (np.diff(own) < 0).all() and own[-1] < 0.02 * 1e-3
    assert_allclose(own[50], 0.01, rtol=1e-12)
    assert_allclose(own + own[::-1], 0.02 + own[-1], rtol=2e-2)


def test_a_step_back_or_a_new_phase_does_not_keep_a_fallen_rate(tmp_path):
    """Also where the run was interrupted while it was low."""
    settings = replace(LONG, schedule="phases")

    def stop(epoch, *_):
        if epoch == 9:
            raise KeyboardInterrupt

    seen = []
    assert trained("bbb-local", settings, checkpoint=tmp_path / "x.pt", watch=stop)[1].interrupted
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: seen.append(optimizer.param_groups[0]["lr"]))
    try:
        trained("bbb-local", settings, checkpoint=tmp_path / "x.pt")
    finally:
        handle.remove()
    assert_allclose(seen, rates_of(settings)[0][-len(seen) :], rtol=1e-12)
    assert max(seen) == 0.02


# --- what it learns from -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inference", ["bbb-local", "ivon"])
def test_loaders_train_as_tensors_do(inference):
    x, y = numbers(120)
    settings = WeightTraining(epochs=40, retrain=5, rounds=1, batch=40, lr=0.3 if inference == "ivon" else 0.05, samples=20)
    found = []
    for data in ((x, y), DataLoader(TensorDataset(x, y), batch_size=40, shuffle=True)):
        bayes, likelihood = made(inference, n=120), GaussianNoise(1, 120)
        fit = prune_weights(bayes, likelihood, data, settings, criterion=ByEvidence())
        assert fit.losses[-1] < fit.losses[0] and fit.rounds[0].removed > 0
        found.append((fit, (bayes.eval()(x) - y).square().mean().item()))
    few = replace(settings, epochs=2, retrain=1)
    twice = [made(inference, n=120) for _ in range(2)]
    for bayes in twice:  # a loader shuffles by torch's numbers
        prune_weights(bayes, GaussianNoise(1, 120), data, few, criterion=ByEvidence())
    assert torch.equal(twice[0].posterior.location, twice[1].posterior.location)
    (one, error), (two, other) = found
    assert max(error, other) < 0.2 and abs(one.vfe - two.vfe) < 0.15 * abs(one.vfe)


def test_free_energy_of_a_loader_is_that_of_its_tensors():
    x, y = numbers(60)
    bayes, likelihood = made("vbp"), GaussianNoise(1, 60)
    want = free_energy(bayes, likelihood, (x, y))
    for loader in (DataLoader(TensorDataset(x, y), batch_size=7, shuffle=True), DataLoader(TensorDataset(x, y), batch_size=60)):
        assert_allclose(free_energy(bayes, likelihood, loader), want, rtol=1e-6)


@pytest.mark.parametrize("inference", INFERENCES)
def test_two_outputs_are_learned(inference):
    x, y = numbers(150, n_out=2)
    bayes, likelihood = made(inference, n_out=2, n=150), GaussianNoise(2, 150)
    settings = WeightTraining(epochs=80, retrain=20, rounds=2, batch=50, lr=0.4 if inference == "ivon" else 0.06, samples=5)
    prune_weights(bayes, likelihood, (x, y), settings, criterion=ByEvidence())
    assert ((bayes.eval()(x) - y).square().mean(dim=0) < 0.5 * y.var(dim=0)).all()
    assert 0 < bayes.posterior.n_removed < bayes.posterior.n and likelihood.beta.shape == (2,)


@pytest.mark.parametrize("inference", [*INFERENCES, "bbb-global"])
def test_classes_are_learned(inference):
    x, y = classes(150)
    bayes = made(inference, n_out=3, n=150)
    settings = WeightTraining(epochs=40, retrain=10, rounds=2, batch=30, lr=0.3 if inference == "ivon" else 0.05, samples=5)
    found = prune_weights(bayes, Categorical(), (x, y), replace(settings, step_back=False), criterion=Weakest())
    assert (bayes.eval()(x).argmax(dim=1) == y).double().mean() > 0.75 and bayes.posterior.n_removed == 2 * 10
    assert found.losses[-1] < found.losses[0] and math.isfinite(found.vfe)


@pytest.mark.parametrize(
    "inference",
    [
        "bbb-local",
        "ivon",
        "vbp",
    ],
)
def test_parameters_without_a_posterior_learn_at_the_likelihoods_rate(inference):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(INPUTS, 6), nn.ReLU(), nn.Linear(6, 1))
    before = copy.deepcopy(net.state_dict())
    bayes = attach_posterior(net, inference, names=["0.weight", "2.weight"], n_examples=N)
    settings = WeightTraining(epochs=1, rounds=0, batch=N, likelihood_lr=1e-3, schedule="constant", samples=0)
    prune_weights(bayes, GaussianNoise(1, N), numbers(), settings)
    for name in ("0.weight", "2.weight"):
        assert torch.equal(net.get_parameter(name), before[name])
    step = net.get_parameter("2.bias") - before["2.bias"]
    assert_allclose(step.abs().item(), 1e-3, rtol=1e-3)  # the first one of Adam


def test_horseshoe_networks_are_trained_too():
    torch.manual_seed(0)
    bayes = HorseshoeModule(nn.Sequential(nn.Linear(INPUTS, 6), nn.Tanh(), nn.Linear(6, 1)))
    settings = replace(SMALL, epochs=4, rounds=0)
    before = {name: p.detach().clone() for name, p in bayes.named_parameters() if p.requires_grad}
    found = prune_weights(bayes, GaussianNoise(1, N), numbers(), settings)
    assert found.outcome == "trained" and math.isfinite(found.vfe)
    assert all(not torch.equal(bayes.get_parameter(name), p) for name, p in before.items())


# --- data of every form ------------------------------------------------------------------------------------------------------
class Rows(Dataset):
    """Examples as dicts."""

    def __init__(self, n=N):
        self.x, self.y = numbers(n)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"x": self.x[i], "y": self.y[i], "index": i}


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(*numbers(), strict=True)


FEW = replace(SMALL, epochs=2, retrain=1, rounds=1)


@pytest.mark.parametrize("inference", INFERENCES)
def test_loaders_of_every_form_train_to_the_same_numbers(inference):
    """The same batches, as pairs, as dicts of which a function makes pairs, and from a stream of so many examples."""
    x, y = numbers()
    forms = [
        (DataLoader(TensorDataset(x, y), 10), {}),
        (DataLoader(Rows(), 10), {"batch_to": lambda batch: (batch["x"], batch["y"])}),
        (DataLoader(Stream(), 10), {"n_examples": N}),
    ]
    found = []
    for data, options in forms:
        bayes, likelihood = made(inference), GaussianNoise(1, N)
        fit = prune_weights(bayes, likelihood, data, replace(FEW, schedule="constant"), criterion=Weakest(), **options)
        found.append((fit, bayes.posterior.location.detach(), free_energy(bayes, likelihood, data, 3, **options)))
    for fit, location, energy in found[1:]:
        assert_same_fit(fit, found[0][0])
        assert torch.equal(location, found[0][1]) and energy == found[0][2]


def test_batches_that_are_no_pairs_are_refused_as_such():
    with pytest.raises(TypeError, match=r"batches of data must be pairs .* got a dict with the keys \['x', 'y', 'index'\]"):
        prune_weights(made(), GaussianNoise(1, N), DataLoader(Rows(), 10), FEW)
    bayes = made()
    with pytest.raises(ValueError, match="n_examples and batch_to are for tensors and loaders; data are Batches"):
        free_energy(bayes, GaussianNoise(1, N), Batches(numbers()), n_examples=N)


@pytest.mark.parametrize("inference", INFERENCES)
def test_posteriors_and_likelihoods_for_another_number_of_examples_are_refused(inference):
    if inference == "ivon":
        with pytest.raises(ValueError, match="n_examples of the posterior must be that of the data, 44; got 1000"):
            prune_weights(made(inference, n=1000), GaussianNoise(1, N), numbers(), FEW)
    with pytest.raises(ValueError, match="n_examples of the likelihood must be that of the data, 44; got 50"):
        prune_weights(made(inference), GaussianNoise(1, 50), numbers(), FEW)


class Sum(nn.Module):
    """A network with two inputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(2, 3), nn.Linear(2, 3)
        self.out = nn.Linear(3, 1)

    def forward(self, left, right):
        return self.out(torch.tanh(self.a(left) + self.b(right)))


@pytest.mark.parametrize("inference", ["bbb-local", "bbb-global", "ivon"])
@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_networks_with_several_inputs_are_trained(inference, form):
    x, y = numbers()
    parts = (x[:, :2], x[:, 2:])
    inputs = parts if form == "tuple" else dict(zip(("left", "right"), parts, strict=True))
    bayes = attach_posterior(Sum(), inference, sd=None if inference == "ivon" else 0.1, n_examples=N, hessian=2.0)
    settings = replace(SMALL, epochs=40, lr=0.1, rounds=1)
    fit = prune_weights(bayes, GaussianNoise(1, N), (inputs, y), settings, criterion=Weakest())
    assert fit.losses[-1] < fit.losses[0] and bayes.predict(inputs, 5).shape == (5, N, 1)
    assert math.isfinite(free_energy(bayes, GaussianNoise(1, N), (inputs, y), 3))


class Laplace(Likelihood):
    """A user's own, for outputs in a dict."""

    def check(self, y, outputs):
        if y.shape != outputs["mean"].shape:
            raise ValueError("targets must have the shape of the mean")

    def nll(self, outputs, y, variance=None):
        return (y - outputs["mean"]).abs().sum(dim=1)


class InADict(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(INPUTS, 1)

    def forward(self, x):
        return {"mean": self.fc(x)}


def test_likelihoods_of_users_take_what_their_networks_give():
    x, y = numbers()
    bayes = attach_posterior(InADict(), "bbb-local", sd=0.1)
    fit = prune_weights(bayes, Laplace(), (x, y), replace(SMALL, epochs=30, rounds=0))
    assert fit.losses[-1] < fit.losses[0]
    with pytest.raises(TypeError, match=r"outputs of the network must be a tensor; got a dict with the keys \['mean'\]"):
        prune_weights(attach_posterior(InADict()), GaussianNoise(1, N), (x, y), FEW)
    with pytest.raises(ValueError, match="targets must have the shape of the mean"):
        prune_weights(bayes, Laplace(), (x, y[:, 0]), FEW)


class Mean(Laplace):
    def nll(self, outputs, y, variance=None):
        return super().nll(outputs, y).mean()


class First(nn.Module):
    """Gives out one row, whatever the batch."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(INPUTS, 1)

    def forward(self, x):
        return self.fc(x)[:1]


def test_losses_and_outputs_that_are_not_by_example_are_refused():
    with pytest.raises(ValueError, match=r"nll of the likelihood must have one number for each example \(n,\); got \(\)"):
        prune_weights(attach_posterior(InADict()), Mean(), numbers(), FEW)
    with pytest.raises(ValueError, match=r"outputs must have a row for each of 2 examples; got \(1, 1\)"):
        prune_weights(attach_posterior(First()), GaussianNoise(1, N), numbers(), FEW)


@pytest.mark.parametrize("inference", ["bbb-local", "ivon"])
def test_classes_for_every_place_are_learned(inference):
    torch.manual_seed(0)
    x = torch.randint(0, 5, (60, 4))
    net = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 5))
    bayes = attach_posterior(net, inference, sd=None if inference == "ivon" else 0.05, n_examples=60, hessian=2.0)
    settings = WeightTraining(epochs=40, rounds=0, batch=20, lr=0.3 if inference == "ivon" else 0.05, samples=4)
    fit = prune_weights(bayes, Categorical(axis=-1), (x, (x + 1) % 5), settings)
    assert (bayes(x).argmax(-1) == (x + 1) % 5).double().mean() > 0.9
    assert fit.losses[0] == pytest.approx(4 * math.log(5), rel=0.6)  # of four places


# --- modes and statistics ----------------------------------------------------------------------------------------------------
class Watched(nn.Module):
    """Notes in which mode it is called."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, x):
        self.seen.append(self.training)
        return x


def watched(*modes):
    """A network in training mode with parts in these modes, and what they note."""
    torch.manual_seed(0)
    seen = [[] for _ in modes]
    net = nn.Sequential(nn.Linear(INPUTS, 6), *(Watched(s) for s in seen), nn.Linear(6, 1))
    bayes = attach_posterior(net, "bbb-local", sd=0.1).train()
    for module, mode in zip(net[1:-1], modes, strict=True):
        module.train(mode)
    return bayes, seen


def test_parts_are_trained_in_the_modes_that_they_are_found_in():
    bayes, (on, off) = watched(True, False)
    prune_weights(bayes, GaussianNoise(1, N), numbers(), SMALL, criterion=Weakest())
    assert any(on) and not any(off) and not any(m.training for m in bayes.modules())
    on.clear()
    prune_weights(bayes, GaussianNoise(1, N), numbers(), SMALL, criterion=Weakest())  # goes on as before
    assert any(on) and not any(off)
    bayes.train()
    prune_weights(bayes, GaussianNoise(1, N), numbers(), FEW)  # by now all are on
    assert any(off)


def test_a_network_in_evaluation_mode_is_trained_in_training_mode():
    for freeze in (lambda bayes: bayes.eval(), lambda bayes: bayes.net.eval()):
        bayes, (one, other) = watched(True, True)
        freeze(bayes)
        modes = [m.training for m in bayes.modules()]
        with pytest.raises(ValueError):
            prune_weights(bayes, GaussianNoise(1, N), (X, Y / 0), FEW)
        assert [m.training for m in bayes.modules()] == modes  # what is refused has changed nothing
        prune_weights(bayes, GaussianNoise(1, N), numbers(), FEW)
        assert any(one) and any(other)


@pytest.mark.parametrize("inference", ["bbb-local", "bbb-global", "ivon"])
def test_free_energy_is_without_dropout_and_leaves_modes_and_statistics(inference):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(INPUTS, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 1))
    bayes = attach_posterior(net, inference, sd=None if inference == "ivon" else 0.1, n_examples=N).train()
    net[2].eval()
    modes, state = [m.training for m in bayes.modules()], copy.deepcopy(bayes.state_dict())
    one = free_energy(bayes, GaussianNoise(1, N), numbers(), 3)
    assert [m.training for m in bayes.modules()] == modes
    assert_identical(bayes.state_dict(), state)
    bayes.eval()
    net[2].train()
    assert free_energy(bayes, GaussianNoise(1, N), numbers(), 3) == one
    assert free_energy(bayes, GaussianNoise(1, N), numbers(), 3, batch=7) != one  # other draws for other batches
    assert net[2].training and not net[1].training


def normed(inference="ivon", seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(INPUTS, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 1))
    return attach_posterior(net, inference, sd=None if inference == "ivon" else 0.1, n_examples=N, hessian=2.0)


@pytest.mark.parametrize("inference", ["bbb-local", "bbb-global", "ivon"])
def test_running_statistics_are_those_of_the_means_at_the_end(inference):
    bayes, (x, y) = normed(inference), numbers()
    prune_weights(bayes, GaussianNoise(1, N), (x, y), replace(SMALL, epochs=20), criterion=Weakest())
    norm, hidden = bayes.net[1], bayes.write_means()[0](x)
    assert_allclose(norm.running_mean, hidden.mean(0).detach(), rtol=1e-4, atol=1e-5)
    assert_allclose(norm.running_var, hidden.var(0).detach(), rtol=1e-4, atol=1e-6)
    assert norm.momentum == 0.1 and not norm.training


def test_statistics_that_are_frozen_stay():
    bayes = normed().train()
    bayes.net[1].eval()
    before = bayes.net[1].running_mean.clone()
    prune_weights(bayes, GaussianNoise(1, N), numbers(), SMALL, criterion=Weakest())
    assert torch.equal(bayes.net[1].running_mean, before) and bayes.net[1].num_batches_tracked == 0
    assert refresh_statistics(bayes, numbers()) == 0


def test_statistics_are_means_over_batches_whatever_keeps_them():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3, momentum=None), nn.InstanceNorm1d(3, affine=True, track_running_stats=True)
    )
    bayes, x = attach_posterior(net).train(), numbers(41)[0].view(41, 2, 2)
    net.add_module("off", nn.Dropout())
    modes, state = [m.training for m in bayes.modules()], torch.get_rng_state()
    assert refresh_statistics(bayes, (x, torch.zeros(41)), batch=10) == 2
    assert [m.training for m in bayes.modules()] == modes and torch.equal(torch.get_rng_state(), state)
    assert net[1].momentum is None and net[2].momentum == 0.1 and net[1].num_batches_tracked == 4  # not that of one example
    outputs = net[0](x)
    assert_allclose(net[1].running_mean, outputs.mean((0, 2)).detach(), atol=0.08)
    assert net[2].running_mean.abs().max() < 1e-6 and net[2].running_var.min() > 0.5


@pytest.mark.parametrize("inference", ["bbb-local", "ivon"])
def test_networks_with_statistics_are_resumed_to_the_same_bits(tmp_path, inference):
    def run(stop=None, path=None, seed=0):
        bayes, likelihood = normed(inference, seed), GaussianNoise(1, N)
        fit = prune_weights(bayes, likelihood, numbers(), SMALL, criterion=Weakest(), checkpoint=path, watch=stop)
        return everything(bayes, likelihood), fit

    def stop(epoch, *_):
        if epoch == 5:
            raise KeyboardInterrupt

    assert run(stop, tmp_path / "x.pt")[1].interrupted
    (whole, fit), (parts, again) = run(), run(None, tmp_path / "x.pt", seed=4)
    assert_identical(whole, parts)
    assert_same_fit(fit, again)


def test_shared_weights_are_resumed_to_the_same_bits(tmp_path):
    """What local draws have learned of a network, they learn anew without a trace."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.out = nn.Linear(INPUTS, INPUTS), nn.Linear(INPUTS, 1)

        def forward(self, x):
            return self.out(torch.tanh(self.a(torch.tanh(self.a(x)))))

    def run(stop=None, path=None, seed=0):
        torch.manual_seed(seed)
        bayes, likelihood = attach_posterior(Twice(), "bbb-local", sd=0.1), GaussianNoise(1, N)
        prune_weights(bayes, likelihood, numbers(), SMALL, criterion=Weakest(), checkpoint=path, watch=stop)
        return everything(bayes, likelihood)

    def stop(epoch, *_):
        if epoch == 5:
            raise KeyboardInterrupt

    run(stop, tmp_path / "x.pt")
    assert_identical(run(), run(None, tmp_path / "x.pt", seed=4))


# --- what is refused ---------------------------------------------------------------------------------------------------------
X, Y = numbers()
NAN = torch.where(torch.arange(N)[:, None] == 5, math.nan, X)


@pytest.mark.parametrize(
    "likelihood, n_out, data, match",
    [
        (
            GaussianNoise(1, N),
            1,
            (X, Y[:, 0]),
            r"targets must be floats of shape \(n, 1\), as outputs; got torch.float32 \(44,\)",
        ),
        (GaussianNoise(1, N), 1, (X, Y.expand(N, 2)), r"shape \(n, 1\), as outputs; got torch.float32 \(44, 2\) and \(44, 1\)"),
        (GaussianNoise(2, N), 2, (X, Y), r"shape \(n, 2\), as outputs; got torch.float32 \(44, 1\) and \(44, 2\)"),
        (GaussianNoise(1, N), 1, (X, torch.ones(N, 1, dtype=torch.int64)), r"must be floats of .*; got torch.int64 \(44, 1\)"),
        (GaussianNoise(1, N), 1, (X[:-1], Y), r"as many targets as inputs.*\(43, 4\) and \(44, 1\)"),
        (GaussianNoise(1, N), 1, (NAN, Y), "inputs of data must be finite; they hold nan"),
        (GaussianNoise(1, N), 1, (X, Y / 0), "targets of data must be finite; they hold -?inf"),
        (Categorical(), 3, (X, torch.full((N,), 3)), r"targets must lie in 0\.\.2; got 3 to 3"),
        (Categorical(), 3, (X, torch.full((N,), -1)), r"targets must lie in 0\.\.2; got -1 to -1"),
        (Categorical(), 3, (X, torch.zeros(N)), r"targets must be class numbers \(n,\), int64; got torch.float32"),
        (Categorical(), 3, (X, torch.zeros(N, 3, dtype=torch.int64)), r"class numbers \(n,\), int64; got torch.int64 of shape"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_anything_happens(tmp_path, likelihood, n_out, data, match):
    bayes = made(n_out=n_out)
    before = copy.deepcopy(bayes.state_dict())
    with pytest.raises(ValueError, match=match):
        prune_weights(bayes, likelihood, data, SMALL, checkpoint=tmp_path / "x.pt")
    assert_identical(bayes.state_dict(), before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", [X, [X, Y.tolist()], None, {"x": X}])
def test_what_is_no_data_is_refused(data):
    with pytest.raises(TypeError, match="data must be a pair of tensors"):
        prune_weights(made(), GaussianNoise(1, N), data, SMALL)


@pytest.mark.parametrize("inference", INFERENCES)
def test_a_loss_that_is_no_longer_finite_is_told(inference):
    """Here through a loader, of which only the first batch is looked at."""
    loader = DataLoader(TensorDataset(NAN.flip(0), Y), batch_size=10)
    with pytest.raises(ValueError, match="the loss must stay finite; it is nan after epoch 0"):
        prune_weights(made(inference), GaussianNoise(1, N), loader, SMALL)
    wild = replace(SMALL, lr=1e30, epochs=20)
    with pytest.raises(ValueError, match=r"the loss must stay finite; .* \(a smaller lr may help\)|evidence must be finite"):
        trained(inference, wild)


@pytest.mark.parametrize(
    "wrong, match",
    [
        *((dict(epochs=v), "epochs of WeightTraining must be a whole number >= 0; got") for v in (-1, 1.0, True)),
        (dict(retrain=-1), "retrain of WeightTraining must be a whole number >= 0"),
        (dict(batch=0), "batch of WeightTraining must be a whole number >= 1; got 0"),
        (dict(samples=-1), "samples of WeightTraining must be a whole number >= 0"),
        (dict(seed=None), "seed of WeightTraining must be a whole number >= 0"),
        (dict(rounds=-1), "rounds of WeightTraining must be a whole number >= 0 or None; got -1"),
        *((dict(lr=v), "lr of WeightTraining must be a finite number > 0") for v in (0.0, -1.0, math.nan, math.inf)),
        (dict(likelihood_lr=0.0), "likelihood_lr of WeightTraining must be a finite number > 0"),
        (dict(memory=0.0), "memory of WeightTraining must be a finite number > 0"),
        *((dict(clip=v), "clip of WeightTraining must be None or a finite number > 0; got") for v in (0.0, float("inf"))),
        (dict(schedule="step"), r"schedule of WeightTraining must be one of \['constant', 'phases', 'cosine'\]; got 'step'"),
        (dict(schedule="cosine"), "rounds of WeightTraining must be given for schedule 'cosine'"),
        (dict(stop=False), "rounds of WeightTraining must be given"),
    ],
)
def test_wrong_settings_are_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        WeightTraining(**wrong)


# --- free energy -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inference", [*INFERENCES, "bbb-global"])
def test_free_energy_repeats_and_leaves_everything_as_it_was(inference):
    bayes, likelihood, data = made(inference), GaussianNoise(1, N), numbers()
    bayes.train()
    state, before = torch.get_rng_state(), copy.deepcopy(everything(bayes, likelihood))
    one = free_energy(bayes, likelihood, data, samples=4, seed=1)
    assert bayes.training and torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    bayes.eval()
    assert free_energy(bayes, likelihood, data, samples=4, seed=1) == one and not bayes.training
    assert_identical(everything(bayes, likelihood), before)
    assert all(p.grad is None for p in bayes.parameters())
    other = free_energy(bayes, likelihood, data, samples=4, seed=2)
    assert (other == one) == (inference == "vbp")
    if inference == "vbp":
        assert_allclose(free_energy(bayes, likelihood, data, samples=1, batch=7), one, rtol=1e-6)


@pytest.mark.parametrize("inference", [*INFERENCES, "bbb-global"])
def test_free_energy_is_minus_the_bound_on_the_log_evidence(inference):
    """Draws of weights and precisions of a linear model, with torch's own distributions; some weights are removed."""
    x, y = numbers(20)
    torch.manual_seed(0)
    bayes = attach_posterior(nn.Linear(INPUTS, 1).double(), inference, prior_variance=0.7, n_examples=20, hessian=1.0)
    if inference != "ivon":
        with torch.no_grad():
            bayes.posterior.log_sd.uniform_(-2, -1)
    bayes.posterior.remove(torch.tensor([False, True, False, False, False]))
    q, likelihood = bayes.posterior, GaussianNoise(1, 20).double()
    x, y = x.double(), y.double()
    alpha, beta = torch.tensor(11.0, dtype=torch.float64), likelihood.beta.detach()
    weights = Normal(q.mean.detach(), q.variance.detach().sqrt().clamp_min(1e-12))
    w, tau = weights.sample((20_000,)), Gamma(alpha, beta).sample((20_000,))[:, 0]
    means = w[:, :4] @ x.T + w[:, 4:]
    each = -Normal(means, tau[:, None].rsqrt()).log_prob(y[:, 0]).sum(dim=1)
    one = torch.ones((), dtype=torch.float64)
    kl = kl_divergence(Normal(q.raw_mean(), q.raw_variance().sqrt()), Normal(0.0 * one, math.sqrt(0.7) * one))[q.alive].sum()
    want = each.mean() + kl + kl_divergence(Gamma(alpha, beta), Gamma(one, one)).sum()
    if inference == "vbp":  # its inputs have variances of 1e-3, here seen by weights of second moments E w^2
        second = (q.mean**2 + q.variance)[:4].sum().detach()
        want = want + 20 * 0.5 * float(alpha / beta) * 1e-3 * float(second)
    found = free_energy(bayes, likelihood, (x, y), samples=2000)
    error = each.std().item() * math.sqrt(1 / 20_000 + 1 / 2000)
    assert abs(found - want.item()) < 5 * error


def test_free_energy_without_draws_is_refused_where_it_needs_them():
    with pytest.raises(ValueError, match="samples must be 1 or more for inference 'bbb-local'; got 0"):
        free_energy(made(), GaussianNoise(1, N), numbers(), samples=0)
    vbp, noise = made("vbp"), GaussianNoise(1, N)
    assert free_energy(vbp, noise, numbers(), samples=0) == free_energy(vbp, noise, numbers())


# --- what it finds -----------------------------------------------------------------------------------------------------------
TRUE = torch.tensor([2.0, 0.0, -1.5, 0.0, 0.0, 1.0, 0.0, 0.0])


def linear_data(n=200):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, 8, generator=generator)
    return x, (x @ TRUE)[:, None] + 0.3 * torch.randn(n, 1, generator=generator)


@pytest.mark.parametrize("inference", [*INFERENCES, "bbb-global"])
def test_zeros_of_a_linear_problem_are_removed_and_nothing_else(inference):
    torch.manual_seed(0)
    bayes = attach_posterior(
        nn.Linear(8, 1, bias=False), inference, n_examples=200, hessian=1.0, sd=0.1 if inference != "ivon" else None
    )
    likelihood = GaussianNoise(1, 200)
    lr = 0.1 if inference == "ivon" else 0.05
    settings = WeightTraining(epochs=60, retrain=20, batch=40, lr=lr, likelihood_lr=0.05, samples=20)
    found = prune_weights(bayes, likelihood, linear_data(), settings, criterion=ByEvidence(0.1))
    assert torch.equal(bayes.posterior.alive, TRUE != 0)
    assert (bayes.posterior.mean.detach() - TRUE).abs().max() < 0.1
    assert abs(likelihood.beta.item() / likelihood.alpha - 0.1) < 0.025  # the prior and inputs of vbp add about 0.01 each
    assert found.vfe < found.vfe_trained - 5
    assert not any(r.undone for r in found.rounds)


def test_evidence_predicts_the_free_energy_that_is_observed():
    """Where data say nothing of one weight through another: columns that are orthogonal, noise that is known."""
    x, _ = linear_data()
    x = torch.linalg.qr(x)[0] * math.sqrt(200)
    y = (x @ TRUE)[:, None] + 0.3 * torch.randn(200, 1, generator=torch.Generator().manual_seed(4))
    torch.manual_seed(0)
    bayes, likelihood = attach_posterior(nn.Linear(8, 1, bias=False), "vbp", sd=0.1), GaussianNoise(1, 200)
    settings = WeightTraining(epochs=300, retrain=0, rounds=1, batch=200, lr=0.03)
    found = prune_weights(bayes, likelihood, (x, y), settings, criterion=ByEvidence())
    (only,) = found.rounds
    assert only.removed == 5 and only.vfe - only.vfe_predicted > 5
    assert abs(only.vfe_observed - only.vfe_predicted) < 0.3


# --- scales ------------------------------------------------------------------------------------------------------------------
def scaled(shapes):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(*shapes[0]), nn.LayerNorm(shapes[0][1]), nn.Linear(*shapes[1]))
    return attach_posterior(net, sd=0.05)


def test_learned_scales_are_posterior_means_of_precisions():
    """By summing over a grid of precisions; the expected log likelihood of a weight needs only its second moment."""
    bayes = scaled([(6, 5), (5, 4)])
    q = bayes.posterior
    q.remove(torch.rand(q.n, generator=torch.Generator().manual_seed(1)) < 0.3)
    second = ((q.raw_mean() - q.prior_mean) ** 2 + q.raw_variance()).detach()
    grid = torch.linspace(1e-3, 80, 200_000, dtype=torch.float64)
    found = learn_scales(bayes, 3.0, 0.5)
    for layer, slices in q.layers.items():
        log_density = Gamma(torch.tensor(3.0), torch.tensor(0.5)).log_prob(grid)
        for i in (i for s in slices for i in range(*s) if q.alive[i]):
            log_density += 0.5 * grid.log() - 0.5 * grid * second[i]
        weight = torch.softmax(log_density, dim=0)
        assert_allclose(found[layer], 1 / float((weight * grid).sum()), rtol=1e-3)
        for s in slices:
            assert_allclose(q.prior_variance[slice(*s)], found[layer], rtol=1e-6)


def test_learned_scales_are_those_of_the_weights_and_the_priors_without_any():
    bayes = scaled([(100, 60), (60, 40)])
    q = bayes.posterior
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        q.location.copy_(q.prior_mean + 0.2 * torch.randn(q.n, generator=generator))
    found = learn_scales(bayes)
    assert abs(found["0"] / (0.2**2 + 0.05**2) - 1) < 0.05
    q.remove(torch.ones(q.n, dtype=torch.bool))
    assert learn_scales(bayes, 2.0, 6.0) == {"0": 3.0, "1": 3.0, "2": 3.0}


def test_scales_are_learned_from_the_first_removal_on():
    seen = []
    settings = replace(SMALL, scale_prior=(2.0, 2.0))
    trained("vbp", settings, watch=lambda epoch, bayes, fit: seen.append((epoch, bayes.posterior.prior_variance[0].item())))
    values = dict(seen)
    assert values[1] == values[2] == 1.0 and len({values[e] for e in (2, 3, 4, 5, 6, 7)}) == 6
    kept = []
    trained("vbp", SMALL, watch=lambda epoch, bayes, fit: kept.append(bayes.posterior.prior_variance.clone()))
    assert all((v == 1).all() for v in kept)


def test_an_empty_fit_says_nothing():
    empty = WeightFit()
    assert empty.rounds == [] and math.isnan(empty.vfe) and not empty.interrupted


def test_dropout_is_no_part_of_the_free_energy():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(INPUTS, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3))
    data = torch.randn(N, INPUTS), torch.randint(3, (N,))
    bayes = attach_posterior(net, "bbb-local", sd=0.1)
    found = [free_energy(bayes, Categorical(), data, 2, batch=batch) for batch in (N, N)]
    net[2].p = 0.0
    assert found == [free_energy(bayes, Categorical(), data, 2, batch=N)] * 2
    bayes.train()
    free_energy(bayes, Categorical(), data, 1)
    assert net[2].training
