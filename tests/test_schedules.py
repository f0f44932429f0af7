"""What is removed, how much of a network that is, and when pruning stops: against counts by hand."""

from __future__ import annotations

import inspect
import math

import pytest

torch = pytest.importorskip("torch")

import nets  # noqa: E402
from torch import nn  # noqa: E402

from activebmr.pruning import (  # noqa: E402
    BMRS_N,
    BMRS_U,
    L2Norm,
    MeanBelow,
    RandomRank,
    SNRBelow,
    Step,
    attach_noise,
    compact,
    compression,
    measure,
    prune,
    prune_ranked,
    prune_share,
)
from activebmr.pruning.structures.criteria import criterion_for  # noqa: E402

DECIDING = [BMRS_N.released(), BMRS_N(), BMRS_U(8.0), BMRS_U(4.0), MeanBelow(), SNRBelow()]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def with_noise(name, seed=0):
    """Posteriors from sure of 1 to the prior's."""
    noisy = attach_noise(nets.made(name))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for noise in noisy.noise.values():
            noise.mu.uniform_(-12.0, 0.5, generator=generator)
            noise.log_sigma.uniform_(-3.0, 4.0, generator=generator)
    return noisy.eval()


class Given:
    """Scores that the test gives, by the number of structures of a layer; they decide."""

    name = "given"
    decides = True

    def __init__(self, **scores):
        self.scores_of = {len(v): torch.tensor(v, dtype=torch.float64) for v in scores.values()}

    def scores(self, posterior, weights=None):
        return self.scores_of[len(posterior.mu)].clone()


def alive(noisy):
    return {name: noisy.of(name).alive.tolist() for name in noisy.sites}


def dead(n, *which):
    return torch.isin(torch.arange(n), torch.tensor(which))


# --- compression -------------------------------------------------------------------------------------------------------------
def test_compression_of_the_multilayer_perceptron_by_hand():
    noisy = attach_noise(nets.mlp())
    assert compression(noisy) == 0 and Step.of(noisy).parameters == 289
    nets.to_sizes(noisy, **{"0": 5, "2": 4})
    left = (10 * 5 + 5) + (5 * 4 + 4) + (4 * 4 + 4)
    assert Step.of(noisy).parameters == left
    # all there were: 289 and mu and log sigma of 12 + 9 neurons
    assert compression(noisy) == pytest.approx((289 - left + 2 * (7 + 5)) / (289 + 2 * 21), rel=1e-12)
    assert Step.of(noisy).compression == 1 - left / 289  # of the network alone


def test_compression_of_lenet_by_hand():
    noisy = attach_noise(nets.LeNet())
    nets.to_sizes(noisy, conv1=5, conv2=11, fc1=19, fc2=13)
    left = (25 * 5 + 5) + (25 * 5 * 11 + 11) + (25 * 11 * 19 + 19) + (19 * 13 + 13) + (13 * 10 + 10)
    removed = 1 + 5 + 101 + 71
    assert Step.of(noisy).parameters == left
    assert compression(noisy) == pytest.approx((61706 - left + 2 * removed) / (61706 + 2 * (6 + 16 + 120 + 84)), rel=1e-12)


def test_compression_of_a_residual_network_by_hand():
    """What is added up stands and falls together: a channel goes from all that write and read it."""
    noisy = attach_noise(nets.Residual())
    noisy.remove({"stem": dead(6, 1), "blocks.0.conv1": dead(6, 3), "blocks.1.conv2": dead(8, 4)})
    useless = [
        3 * 9 + 1 + 2,  # stem: output 1 with bias and its BatchNorm
        (6 * 9 + 2) + 6 * 9 - 9,  # blocks.0.conv1: output 3 and its BatchNorm, input 1
        (6 * 9 + 2) + 6 * 9 - 9,  # blocks.0.conv2: output 1, input 3
        8 * 9,  # blocks.1.conv1: input 1
        8 * 9 + 2,  # blocks.1.conv2: output 4
        8 + (6 + 2) - 1,  # blocks.1.short: input 1, output 4
        8 * 9,  # blocks.2.conv1: input 4
        8 * 9 + 2,  # blocks.2.conv2: output 4
        5,  # head: input 4
    ]
    total = 180 + (2 * 324 + 24) + (432 + 576 + 32 + 48 + 16) + (2 * 576 + 32) + 45
    structures = 6 + 6 + 8 + 8 + 8
    assert (noisy.n_structures, noisy.n_removed) == (structures, 3)
    assert Step.of(noisy).parameters == total - sum(useless)
    assert Step.of(noisy).compression == pytest.approx(sum(useless) / total, rel=1e-12)
    assert compression(noisy) == pytest.approx((sum(useless) + 2 * 3) / (total + 2 * structures), rel=1e-12)


@pytest.mark.parametrize("library", [False, True])
def test_compression_of_heads_by_hand(library):
    noisy = attach_noise(nets.ViT(library))
    noisy.remove({"encoders.0.attn": dead(3, 1), "encoders.1.fc1": dead(20, 0, 3, 4, 11, 19)})
    head = 3 * 4 * (12 + 1) + 12 * 4  # rows of q, k and v with biases, columns of the projection
    neurons = 5 * (12 + 1) + 12 * 5
    encoder = 2 * 24 + 4 * (144 + 12) + 20 * 13 + 12 * 21
    total = (12 * 4 + 12) + 12 + 17 * 12 + 2 * encoder + 24 + 5 * 13
    assert Step.of(noisy).parameters == total - head - neurons
    assert compression(noisy) == pytest.approx((head + neurons + 2 * 6) / (total + 2 * (12 + 2 * 23)), rel=1e-12)


@pytest.mark.parametrize(
    ("options", "useless"),
    [
        ({"kdim": 6, "vdim": 5}, 4 * 8 + 4 * 6 + 4 * 5 + 3 * 4 + 8 * 4),
        ({"bias": False}, 3 * 4 * 8 + 8 * 4),
    ],
)
def test_compression_of_heads_of_every_multihead_attention(options, useless):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(8, 4, batch_first=True, **options), nn.Linear(8, 3)

        def forward(self, x):
            keys, values = x[..., : options.get("kdim", 8)], x[..., : options.get("vdim", 8)]
            return self.head(self.attention(x, keys, values, need_weights=False)[0])

    noisy = attach_noise(Net())
    noisy.remove({"attention": dead(4, 0, 3)})
    assert Step.of(noisy).parameters == sum(p.numel() for p in noisy.net.parameters()) - useless


@pytest.mark.parametrize("name", ["mlp", "lenet", "vit", "vit-mha"])
def test_parameters_that_count_as_useless_are_those_without_a_gradient(name):
    net = nets.made(name)
    for key, module in net.named_children():
        if isinstance(module, nn.ReLU):  # some of its outputs would be 0 for all examples
            setattr(net, key, nn.Tanh())
    noisy = nets.pruned(net).double()
    chance = torch.Generator().manual_seed(0)
    moving: dict[str, torch.Tensor] = {}
    for _ in range(3):  # gradients that are 0 but for rounding (attention's biases of keys) may be exactly 0 now and then
        out = noisy(torch.randn(300, *nets.SHAPES[name], generator=chance, dtype=torch.float64))
        noisy.zero_grad()
        (out * torch.randn(out.shape, generator=chance, dtype=torch.float64)).sum().backward()
        for key, p in noisy.net.named_parameters():
            if p.grad is not None:
                moving[key] = moving.get(key, torch.zeros_like(p.grad, dtype=torch.bool)) | (p.grad != 0)
    moved = sum(int(m.sum()) for m in moving.values())
    assert Step.of(noisy).parameters == moved < sum(p.numel() for p in noisy.net.parameters())


# --- one shot ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["mlp", "residual", "vit"])
@pytest.mark.parametrize("criterion", DECIDING, ids=lambda c: f"{c.name}{getattr(c, 'log_prior_odds', 0):.1f}")
def test_one_shot_removes_what_has_a_score_of_at_least_0(name, criterion):
    noisy = with_noise(name)
    wanted, kept = {}, 0
    for site in noisy.sites:
        posterior = noisy.of(site).posterior
        wanted[site] = (criterion.scores(posterior) >= 0).tolist()
        if all(wanted[site]):
            wanted[site][int(posterior.mean().argmax())] = False
            kept += 1
    step = prune(noisy, criterion)
    assert alive(noisy) == {site: [not w for w in want] for site, want in wanted.items()}
    assert step.removed == {site: sum(want) for site, want in wanted.items()}
    if criterion != BMRS_N():  # it removes hardly anything
        assert 0 < noisy.n_removed < noisy.n_structures
    again = prune(noisy, criterion)
    assert not any(again.removed.values()) and again.left == step.left


def test_a_score_of_exactly_0_goes_and_the_likeliest_of_a_layer_stays():
    noisy = attach_noise(nets.mlp())
    with torch.no_grad():
        noisy.of("2").mu[6] = 0.5
    prune(noisy, Given(a=[0.0, -1e-300, *[-1.0] * 10], b=[1.0] * 9))
    assert alive(noisy) == {"0": [False] + [True] * 11, "2": [i == 6 for i in range(9)]}


def test_criteria_that_only_rank_are_refused_in_one_shot():
    noisy = attach_noise(nets.mlp())
    for criterion in (L2Norm(), RandomRank()):
        with pytest.raises(ValueError, match=f"criterion '{criterion.name}' only ranks: use prune_share"):
            prune(noisy, criterion)
    assert noisy.n_removed == 0


ACTIONS = {
    "prune": prune,
    "prune_share": lambda noisy, criterion: prune_share(noisy, criterion, 0.5),
    "prune_ranked": lambda noisy, criterion: next(prune_ranked(noisy, criterion, lambda _: None)),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_evidence_that_is_no_number_is_an_error_and_removes_nothing(action, value):
    noisy = attach_noise(nets.mlp())
    with pytest.raises(ValueError, match="scores of given must be finite; those of '2' are not"):
        ACTIONS[action](noisy, Given(a=[1.0] * 12, b=[1.0] * 8 + [value]))
    assert noisy.n_removed == 0


@pytest.mark.parametrize("criterion", [*DECIDING, L2Norm()], ids=lambda c: f"{c.name}{getattr(c, 'log_prior_odds', 0):.1f}")
@pytest.mark.parametrize("parameter", ["mu", "log_sigma"])
def test_posteriors_that_are_no_numbers_are_an_error_and_remove_nothing(criterion, parameter):
    noisy = with_noise("mlp")
    with torch.no_grad():
        getattr(noisy.of("2"), parameter)[3] = math.nan
    for name in ACTIONS if criterion.decides else ("prune_share", "prune_ranked"):
        with pytest.raises(ValueError, match="must be finite"):
            ACTIONS[name](noisy, criterion)
        assert noisy.n_removed == 0


# --- a share -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["mlp", "residual", "vit"])
@pytest.mark.parametrize("criterion", [BMRS_U(4.0), L2Norm(), RandomRank()], ids=lambda c: c.name)
def test_a_share_is_that_share_and_the_highest_scores_go(name, criterion):
    n = with_noise(name).n_structures
    for share in (0.0, 0.1, 0.25, 1 / 3, 0.5, 0.8, 0.95, 0.999):
        noisy = with_noise(name)
        scores = {name: noisy.scores(criterion_for(criterion, name))[name] for name in noisy.sites}
        step = prune_share(noisy, criterion, share)
        assert noisy.n_removed == sum(step.removed.values()) == min(round(share * n), n - len(noisy.sites))
        assert min(step.left.values()) >= 1
        gone = torch.cat([scores[s][~noisy.of(s).alive] for s in scores])
        rest = torch.cat([scores[s][noisy.of(s).alive] for s in scores if step.left[s] > 1] or [torch.tensor([-torch.inf])])
        assert len(gone) == 0 or gone.min() >= rest.max()
        for s, score in scores.items():  # the last one of a layer is its lowest
            if step.left[s] == 1:
                assert score[noisy.of(s).alive].item() == score.min()


def test_the_last_one_of_a_layer_stays_and_others_go_in_its_place():
    noisy = attach_noise(nets.mlp())
    rule = Given(a=[5.0, 4.0, 3.0, 6.0, *[7.0] * 8], b=[-5.0, -4.0, -9.0, *[-9.5] * 6])
    step = prune_share(noisy, rule, 12 / 21)
    assert step.removed == {"0": 11, "2": 1}
    assert alive(noisy) == {"0": [i == 2 for i in range(12)], "2": [i != 1 for i in range(9)]}


def test_shares_add_to_what_has_gone_before():
    noisy = attach_noise(nets.mlp())
    rule = Given(a=[float(i) for i in range(12)], b=[0.5 + i for i in range(9)])
    prune_share(noisy, rule, 3 / 21)
    assert alive(noisy) == {"0": [i < 9 for i in range(12)], "2": [True] * 9}
    step = prune_share(noisy, rule, 3 / 21)  # 8.5, 8 and 7.5
    assert step.removed == {"0": 1, "2": 2} and noisy.n_removed == 6


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, math.nan])
def test_shares_outside_their_range_are_refused(share):
    noisy = attach_noise(nets.mlp())
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\); got"):
        prune_share(noisy, L2Norm(), share)
    assert noisy.n_removed == 0


def costs(noisy, x):
    """Parameters and floating-point operations of the network as it is compacted."""
    found = measure(compact(noisy, x), x, repeats=1)
    return {"parameters": found.parameters, "flops": found.flops}


@pytest.mark.parametrize("name", ["lenet", "residual", "vit"])
@pytest.mark.parametrize("of", ["parameters", "flops"])
def test_a_share_of_a_cost_is_saved_by_as_few_structures_as_do_it(name, of):
    x = torch.randn(1, *nets.SHAPES[name], generator=torch.Generator().manual_seed(0))
    for share in (0.0, 0.3, 0.6):
        noisy = attach_with(nets.made(name), x)
        whole = costs(noisy, x)[of]
        step = prune_share(noisy, RandomRank(), share, of, example_inputs=x)
        assert costs(noisy, x)[of] <= (1 - share) * whole
        assert step.parameters == pytest.approx(costs(noisy, x)["parameters"], abs=0.01 * whole)
        one_less = attach_with(nets.made(name), x)
        count = sum(step.removed.values())
        if count:
            prune_share(one_less, RandomRank(), (count - 1) / noisy.n_structures)
            assert one_less.n_removed == count - 1 and costs(one_less, x)[of] > (1 - share) * whole
        else:
            assert share == 0


def attach_with(net, x):
    """`attach_noise`, with example inputs where it takes them."""
    takes = "example_inputs" in inspect.signature(attach_noise).parameters
    return attach_noise(net.eval(), **({"example_inputs": x} if takes else {})).eval()


def test_a_share_of_latency_is_saved():
    x = torch.randn(512, 256)
    layers = [nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 4)]
    noisy = attach_with(nn.Sequential(*layers), x)
    prune_share(noisy, RandomRank(), 0.5, "latency", example_inputs=x)  # on a crowded machine, 0.7 is not to be had
    assert 0.1 < noisy.n_removed / noisy.n_structures < 0.9  # half of the time is about a third of the units


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("flop", "flops"),
        ("param", "parameters"),
        ("params", "parameters"),
        ("parameter", "parameters"),
        ("structure", "structures"),
    ],
)
def test_short_names_of_costs_are_known(words, kind):
    x = torch.randn(2, 10)
    one, two = (attach_with(nets.mlp(), x) for _ in range(2))
    a, b = (prune_share(net, RandomRank(), 0.5, of, example_inputs=x) for net, of in ((one, words), (two, kind)))
    assert a.left == b.left and sum(a.removed.values())


def test_costs_that_are_unknown_or_cannot_be_saved_are_refused():
    x = torch.randn(2, 10)
    noisy = attach_with(nn.Sequential(nn.Linear(10, 50), nn.Tanh(), nn.Linear(50, 3), nn.Linear(3, 400)), x)
    for of in ("energy", "FLOPS", None, 3):
        with pytest.raises(ValueError, match=r"of must be one of \['structures', 'parameters', 'flops', 'latency'\]; got"):
            prune_share(noisy, RandomRank(), 0.5, of)
    with pytest.raises(ValueError, match="share must be one that can be saved: with what may go, .*% of the parameters"):
        prune_share(noisy, RandomRank(), 0.99, "parameters")
    with pytest.raises(ValueError, match="example_inputs must be given for a share of latency; got None"):
        prune_share(noisy, RandomRank(), 0.5, "latency")
    for multiple in (0, -8, 1.5, True, None):
        with pytest.raises(ValueError, match="multiple_of must be a whole number >= 1; got"):
            prune_share(noisy, RandomRank(), 0.5, multiple_of=multiple)
    assert noisy.n_removed == 0


# --- multiples ---------------------------------------------------------------------------------------------------------------
def layers_of(*sizes):
    layers, n = [], 5
    for size in sizes:
        layers += [nn.Linear(n, size), nn.Tanh()]
        n = size
    return attach_with(nn.Sequential(*layers, nn.Linear(n, 2)), torch.randn(2, 5))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("multiple", [4, 8])
def test_what_is_left_is_a_multiple_or_the_whole_layer(share, multiple):
    noisy = layers_of(40, 21, 7, 3, 16)
    step = prune_share(noisy, RandomRank(), share, multiple_of=multiple)
    for name, left in step.left.items():
        n = step.total[name]
        assert left == n or (left % multiple == 0 and left >= multiple), (name, left)
    possible = sum(n - multiple for n in step.total.values() if n >= multiple)
    assert noisy.n_removed >= min(round(share * noisy.n_structures), possible)
    if share == 0:
        assert noisy.n_removed == 0


@pytest.mark.parametrize("library", [False, True])
def test_multiples_of_heads_are_those_of_their_width(library):
    """Heads of 4 dimensions: two and three of them are 8 and, as a whole, 12."""
    x = torch.randn(1, *nets.SHAPES["vit"])
    for share in (0.2, 0.5, 0.9):
        step = prune_share(attach_with(nets.ViT(library), x), RandomRank(), share, multiple_of=8)
        assert all(step.left[name] in (2, 3) for name in step.left if name.endswith("attn")), step.left
        assert all(left % 8 == 0 or left == step.total[name] for name, left in step.left.items() if not name.endswith("attn"))
    fours = prune_share(attach_with(nets.ViT(library), x), RandomRank(), 0.9, multiple_of=4)
    assert fours.left["encoders.0.attn"] == 1  # one head is a multiple of 4 wide


def test_multiples_keep_the_lowest_scores_of_each_layer():
    noisy = layers_of(16, 12)
    rule = Given(a=[float(i) for i in range(16)], b=[-1.0 - i for i in range(12)])
    step = prune_share(
        noisy, rule, 9 / 28, multiple_of=4
    )  # 9 by score leave 7: 8 stay, and of the other layer 4 go in place of one
    assert alive(noisy)["0"] == [i < 4 for i in range(16)] and step.left == {"0": 4, "2": 12}


def test_layers_that_were_pruned_before_come_to_a_multiple():
    noisy = layers_of(16, 12)
    prune_share(noisy, Given(a=[5.0, 4.0, 3.0, *[-1.0] * 13], b=[-2.0] * 12), 3 / 28)
    step = prune_share(noisy, Given(a=[-1.0] * 16, b=[-2.0] * 12), 0.0, multiple_of=8)
    assert step.left == {"0": 8, "2": 12}


# --- evidence given up -------------------------------------------------------------------------------------------------------
def test_a_step_says_how_much_evidence_a_target_gives_up():
    scores = {"a": [2.0, 1.0, 0.5, *[-3.0] * 9], "b": [4.0, *[-5.0] * 8]}
    more = prune_share(attach_noise(nets.mlp()), Given(**scores), 6 / 21)
    assert (more.against, more.kept, more.beyond) == (2, 0, 6.0)
    less = prune_share(attach_noise(nets.mlp()), Given(**scores), 2 / 21)
    assert (less.against, less.kept, less.beyond) == (0, 2, 1.5)
    exact = prune_share(attach_noise(nets.mlp()), Given(**scores), 4 / 21)
    assert (exact.against, exact.kept, exact.beyond) == (0, 0, 0.0) and exact == prune(
        attach_noise(nets.mlp()), Given(**scores)
    )
    assert "6.0 nats beyond the evidence (2 removed and 0 kept against it)" in str(more) and "evidence" not in str(exact)
    ranks = prune_share(attach_noise(nets.mlp()), L2Norm(), 0.5)
    assert (ranks.against, ranks.kept, ranks.beyond) == (None, None, None)


def test_random_masks_of_layers_are_independent_and_the_same_again():
    def masks(seed):
        noisy = layers_of(64, 64)
        prune_share(noisy, RandomRank(seed), 0.5)
        return alive(noisy)

    one, again, other = masks(1), masks(1), masks(2)
    assert one == again != other
    agree = sum(a == b for a, b in zip(one["0"], one["2"], strict=True))
    assert 16 <= agree <= 48


# --- ranked ------------------------------------------------------------------------------------------------------------------
def test_ranked_removes_a_few_at_a_time_from_the_highest_score_on_and_trains_in_between():
    noisy = attach_noise(nets.mlp())
    rule = Given(a=[float(i) for i in range(12)], b=[0.5 + i for i in range(9)])
    events, judged = [], []

    def retrain(net):
        assert net is noisy
        events.append(net.n_removed)

    def judge(net):
        judged.append(net.n_removed)
        return net.n_removed / 100

    steps = list(prune_ranked(noisy, rule, retrain, at_once=4, until=6.0, judge=judge))
    # of 11, 10, 9, 8.5, 8, 7.5, 7, 6.5, 6 each round takes four, the last round the rest
    assert [s.removed for s in steps] == [{"0": 3, "2": 1}, {"0": 2, "2": 2}, {"0": 1, "2": 0}]
    assert events == judged == [4, 8, 9]
    assert [s.accuracy for s in steps] == [0.04, 0.08, 0.09]
    assert [s.beyond for s in steps[:2]] == [None, None]  # what is still there may go in the next round
    assert alive(noisy) == {"0": [i < 6 for i in range(12)], "2": [0.5 + i < 6 for i in range(9)]}


def test_ranked_never_removes_below_the_end_and_scores_anew_in_every_round():
    """Training changes posteriors: structures whose scores fall between two rounds stay."""
    noisy = with_noise("mlp")
    rule = SNRBelow()
    seen = []

    def retrain(net):
        seen.append({n: s.clone() for n, s in net.scores(rule).items()})
        with torch.no_grad():
            for noise in net.noise.values():
                noise.log_sigma -= 0.2

    before = {n: s.clone() for n, s in noisy.scores(rule).items()}
    wanted = sum(int((s >= 0.1).sum()) for s in before.values())
    for step in prune_ranked(noisy, rule, retrain, at_once=2, until=0.1):
        assert sum(step.removed.values()) <= 2
        lost = {n: (~noisy.of(n).alive) & (s > -torch.inf) for n, s in before.items()}
        assert all((before[n][lost[n]] >= 0.1).all() for n in before)
        assert {n: int(m.sum()) for n, m in lost.items()} == step.removed
        before = {n: s.clone() for n, s in noisy.scores(rule).items()}
    left = torch.cat(list(noisy.scores(rule).values()))
    assert left.max() < 0.1 and 0 < noisy.n_removed < wanted


def test_ranked_with_nothing_to_remove_trains_nothing():
    noisy = attach_noise(nets.mlp())
    assert list(prune_ranked(noisy, BMRS_U(4.0), lambda _: pytest.fail("trained for nothing"))) == []
    assert noisy.n_removed == 0


def test_ranked_goes_on_to_other_layers_when_one_has_lost_all_it_can():
    noisy = attach_noise(nets.mlp())
    rule = Given(a=[5.0] * 12, b=[2.0, 1.0, *[-1.0] * 7])
    steps = list(prune_ranked(noisy, rule, lambda _: None, at_once=3))
    assert [s.left for s in steps][-1] == {"0": 1, "2": 7}
    assert [sum(s.removed.values()) for s in steps] == [3, 3, 3, 3, 1]
    noisy = attach_noise(nets.mlp())
    steps = list(prune_ranked(noisy, L2Norm(), lambda _: None, at_once=7, until=-math.inf))
    assert steps[-1].left == {"0": 1, "2": 1} and len(steps) == 3


def test_ranked_takes_a_twentieth_at_once_by_default_and_stops_when_the_caller_does():
    noisy = attach_noise(nets.LeNet())
    for step in prune_ranked(noisy, RandomRank(), lambda _: None, until=-1.0):
        assert sum(step.removed.values()) == (6 + 16 + 120 + 84) // 20
        break
    assert noisy.n_removed == 11
    small = attach_noise(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    steps = list(prune_ranked(small, RandomRank(), lambda _: None, until=-1.0))
    assert [s.removed["0"] for s in steps] == [1, 1, 1]
    for few in (0, -2):
        with pytest.raises(ValueError, match="at_once must be a whole number >= 1; got"):
            next(prune_ranked(noisy, RandomRank(), lambda _: None, at_once=few))


# --- reports -----------------------------------------------------------------------------------------------------------------
def test_a_step_says_what_there_was_what_went_and_what_is_left():
    noisy = attach_noise(nets.mlp())
    rule = Given(a=[1.0, 2.0, *[-4.0] * 9, -6.0], b=[*[-1.0] * 8, 3.0])
    step = prune(noisy, rule)
    assert step.total == {"0": 12, "2": 9}
    assert step.left == {"0": 10, "2": 8} and step.removed == {"0": 2, "2": 1}
    assert step.evidence == {"0": pytest.approx((9 * -4.0 - 6.0) / 10), "2": -1.0}  # of what is left
    assert step.parameters == (10 * 10 + 10) + (10 * 8 + 8) + (8 * 4 + 4)
    assert step.compression == 1 - step.parameters / 289
    assert (step.accuracy, step.epoch) == (None, None)
    assert str(step) == "0 10/12, 2 8/9; compression 19.0%"
    whole = Step.of(attach_noise(nets.mlp()))
    assert (whole.left, whole.removed, whole.evidence) == ({"0": 12, "2": 9}, {}, None)


def test_text_of_a_step():
    step = Step({"conv1": 3, "fc": 20}, {"conv1": 6, "fc": 84}, compression=0.8765, accuracy=0.97125)
    assert str(step) == "conv1 3/6, fc 20/84; compression 87.6%, accuracy 97.12%"
    assert str(Step()) == "no noise; compression 0.0%"


def test_every_schedule_reports_alike():
    rule = Given(a=[1.0, 2.0, *[-4.0] * 10], b=[*[-1.0] * 8, 3.0])
    nets_ = [attach_noise(nets.mlp()) for _ in range(3)]
    steps = [
        prune(nets_[0], rule),
        prune_share(nets_[1], rule, 3 / 21),
        *prune_ranked(nets_[2], rule, lambda _: None, at_once=3),
    ]
    assert len(steps) == 3 and steps[0] == steps[1] == steps[2]
