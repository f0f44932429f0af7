"""Expected negative log likelihoods and divergences against integrals, other libraries and the exact evidence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import gammaln
from scipy.stats import gamma, norm

torch = pytest.importorskip("torch")

from activebmr.pruning.weights.likelihoods import Categorical, GaussianNoise, Likelihood, likelihood_named  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def double(x):
    return torch.as_tensor(x, dtype=torch.float64)


def noise(n_out=1, n_examples=10, beta=None, **prior) -> GaussianNoise:
    """In double precision, with rates of our choice."""
    made = GaussianNoise(n_out, n_examples, **prior).double()
    if beta is not None:
        with torch.no_grad():
            made.log_beta.copy_(double(beta).log().expand(n_out))
    return made


def data(rng, n=12, n_out=1):
    y, outputs = rng.normal(size=(n, n_out)) * 2 + 1, rng.normal(size=(n, n_out))
    return double(outputs), double(y), double(rng.uniform(0.05, 0.8, (n, n_out)))


# --- numbers ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n_examples, beta", [(1, 0.7), (10, 3.0), (10, 40.0), (500, 80.0)])
def test_expected_loss_of_numbers_is_that_of_quadrature(rng, n_examples, beta):
    outputs, y, variance = data(rng, 3)
    likelihood = noise(1, n_examples, beta)
    tau = gamma(likelihood.alpha, scale=1 / beta)
    ends = tau.ppf([1e-15, 1 - 1e-15])
    u = np.linspace(-12, 12, 801)
    for spread in (None, variance):
        ours = likelihood.nll(outputs, y, spread).detach()
        assert ours.shape == (3,)
        for i in range(3):
            # over the output, then over the precision
            f = outputs[i].item() + (0 if spread is None else math.sqrt(spread[i].item())) * u
            apart = ((y[i].item() - f) ** 2 * norm.pdf(u)).sum() * (u[1] - u[0])
            exact = quad(lambda t, a=apart: tau.pdf(t) * 0.5 * (math.log(2 * math.pi / t) + t * a), *ends, epsabs=0, limit=200)[
                0
            ]
            assert_allclose(ours[i], exact, rtol=1e-8)


@pytest.mark.parametrize("prior", [{}, dict(shape=2.5, rate=0.4)], ids=str)
def test_divergence_of_the_precision_is_that_of_torch(prior):
    beta = double([0.3, 2.0, 7.7, 300.0])
    likelihood = noise(4, 25, beta, **prior)
    a0, b0 = prior.get("shape", 1.0), prior.get("rate", 1.0)
    q, p = torch.distributions.Gamma(double(a0 + 12.5), beta), torch.distributions.Gamma(double(a0), double(b0))
    assert_allclose(likelihood.kl().item(), torch.distributions.kl_divergence(q, p).sum(), rtol=1e-9)
    assert_allclose(likelihood.beta.detach(), beta, rtol=1e-12)
    one = noise(1, 25, 2.0, **prior)
    law, prior_law = gamma(one.alpha, scale=0.5), gamma(a0, scale=1 / b0)
    exact = quad(lambda t: law.pdf(t) * (law.logpdf(t) - prior_law.logpdf(t)), 1e-9, 60, epsabs=0, limit=200)[0]
    assert_allclose(one.kl().item(), exact, rtol=1e-7)


def test_two_outputs_are_two_single_outputs(rng):
    """The authors' code counts part of the loss of two outputs twice."""
    outputs, y, variance = data(rng, 7, 2)
    beta = double([2.0, 9.0])
    both = noise(2, 7, beta)
    single = [noise(1, 7, b) for b in beta]
    for spread in (None, variance):
        apart = [
            one.nll(outputs[:, [i]], y[:, [i]], None if spread is None else spread[:, [i]]) for i, one in enumerate(single)
        ]
        assert_allclose(both.nll(outputs, y, spread).detach(), sum(apart).detach(), rtol=1e-12)
    assert_allclose(both.kl().item(), sum(one.kl().item() for one in single), rtol=1e-12)


@pytest.mark.parametrize("n_examples", [1, 2, 455, 10**6])
@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.25, 3.0)], ids=str)
def test_shape_is_exact_and_noise_begins_with_the_priors(n_examples, prior):
    likelihood = GaussianNoise(3, n_examples, *prior)
    assert likelihood.alpha == prior[0] + n_examples / 2
    assert [name for name, _ in likelihood.named_parameters()] == ["log_beta"]
    assert_allclose((likelihood.beta / likelihood.alpha).detach(), prior[1] / prior[0], rtol=1e-5)
    assert likelihood.beta.shape == (3,)


def test_rates_can_differ_from_output_to_output(rng):
    y, outputs = (double(rng.normal(size=(7, 2))) for _ in range(2))
    both = noise(2, 7, [3.0, 5.0], shape=2.0, rate=[0.25, 4.0])
    single = [noise(1, 7, [b], shape=2.0, rate=r) for b, r in ((3.0, 0.25), (5.0, 4.0))]
    assert_allclose(both.kl().detach(), sum(one.kl().item() for one in single), rtol=1e-12)
    parts = sum(one.nll(outputs[:, [i]], y[:, [i]]) for i, one in enumerate(single))
    assert_allclose(both.nll(outputs, y).detach(), parts.detach(), rtol=1e-12)
    first = GaussianNoise(2, 7, rate=[0.25, 4.0])
    assert_allclose((first.beta / first.alpha).detach(), [0.25, 4.0], rtol=1e-6)
    later = GaussianNoise(2, 7, rate=[0.25, 4.0], variance=0.3)
    assert_allclose((later.beta / later.alpha).detach(), [0.3, 0.3], rtol=1e-6)


@pytest.mark.parametrize("prior", [{}, dict(shape=3.0, rate=0.5)], ids=str)
def test_the_best_rate_is_the_priors_and_half_the_sum_of_squares(rng, prior):
    outputs, y, variance = data(rng, 12, 2)
    b0 = prior.get("rate", 1.0)
    best = b0 + 0.5 * ((y - outputs) ** 2 + variance).sum(dim=0)

    def loss(beta):
        likelihood = noise(2, 12, beta, **prior)
        total = likelihood.nll(outputs, y, variance).sum() + likelihood.kl()
        return total, torch.autograd.grad(total, likelihood.log_beta)[0]

    at, slope = loss(best)
    assert_allclose(slope, 0.0, atol=1e-10)
    for factor in (0.5, 0.99, 1.01, 2.0):
        assert loss(factor * best)[0] > at
    # the best one that a search finds, of the first output while the second has its own
    found = minimize_scalar(
        lambda x: loss(torch.stack((double(math.exp(x)), best[1])))[0].item(), bounds=(-3, 6), method="bounded"
    )
    assert_allclose(math.exp(found.x), best[0].item(), rtol=1e-3)


@pytest.mark.parametrize("n, a0, b0", [(1, 1.0, 1.0), (6, 1.0, 1.0), (40, 2.5, 0.3)])
def test_at_the_best_rate_the_bound_is_the_exact_evidence(rng, n, a0, b0):
    """With known outputs the Gamma posterior is exact: nothing is lost. The evidence is that of a Student distribution."""
    outputs, y, _ = data(rng, n)
    beta = b0 + 0.5 * ((y - outputs) ** 2).sum().item()
    likelihood = noise(1, n, beta, shape=a0, rate=b0)
    bound = (likelihood.nll(outputs, y).sum() + likelihood.kl()).item()
    evidence = (
        gammaln(a0 + n / 2) - gammaln(a0) + a0 * math.log(b0) - (a0 + n / 2) * math.log(beta) - n / 2 * math.log(2 * math.pi)
    )
    assert_allclose(bound, -evidence, rtol=1e-9)


def test_slopes_of_numbers(rng):
    outputs, y, variance = data(rng, 4, 2)
    likelihood = noise(2, 9)

    def loss(o, v, log_beta):
        terms = torch.func.functional_call(likelihood, {"log_beta": log_beta}, (o, y, v))
        return terms

    likelihood.forward = lambda o, t, v: torch.cat((likelihood.nll(o, t, v), likelihood.kl()[None]))
    leaves = [outputs.requires_grad_(), variance.requires_grad_(), double([0.3, 1.2]).requires_grad_()]
    assert torch.autograd.gradcheck(loss, leaves)


def test_single_precision_is_kept_and_loses_little(rng):
    outputs, y, variance = (x.float() for x in data(rng, 50, 2))
    many = GaussianNoise(2, 20_000)
    nll = many.nll(outputs, y, variance)
    assert nll.dtype == many.kl().dtype == torch.float32
    exact = GaussianNoise(2, 20_000).double()
    assert_allclose(nll.detach(), exact.nll(outputs.double(), y.double(), variance.double()).detach(), rtol=1e-4)
    assert_allclose(many.kl().item(), exact.kl().item(), rtol=1e-4)


# --- classes ---------------------------------------------------------------------------------------------------------------
def test_loss_of_classes_is_minus_the_log_probability(rng):
    logits, y = double(rng.normal(size=(20, 4)) * 3), torch.as_tensor(rng.integers(0, 4, 20))
    exact = -torch.log(torch.softmax(logits, dim=1))[torch.arange(20), y]
    likelihood = Categorical()
    assert_allclose(likelihood.nll(logits, y), exact, rtol=1e-10)
    assert_allclose(likelihood.nll(logits, y.to(torch.uint8)), exact, rtol=1e-10)
    assert_allclose(likelihood.nll(logits, y, torch.zeros_like(logits)), exact, atol=1e-4)
    assert likelihood.kl().item() == 0 and list(likelihood.parameters()) == []


def test_loss_of_classes_with_variances_is_that_of_draws():
    mean, variance, n = double([0.5, -0.3]), double([0.8, 1.5]), 50_000
    torch.manual_seed(0)
    draws = Categorical().nll(mean.expand(n, 2), torch.zeros(n, dtype=torch.int64), variance.expand(n, 2))
    # of two logits only their difference counts
    u = np.linspace(-12, 12, 2001)
    loss = np.logaddexp(0, -(0.8 + math.sqrt(2.3) * u))
    assert abs(draws.mean().item() - (loss * norm.pdf(u)).sum() * (u[1] - u[0])) < 5 * draws.std().item() / math.sqrt(n)


def test_variances_of_zero_have_finite_slopes():
    logits, variance = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    Categorical().nll(logits, torch.tensor([0, 2]), variance).sum().backward()
    assert torch.isfinite(logits.grad).all() and torch.isfinite(variance.grad).all()


# --- a class for every place -------------------------------------------------------------------------------------------------
PLACES = {
    "tokens": ((3, 5, 4), (3, 5), -1),
    "pixels": ((3, 4, 5, 6), (3, 5, 6), 1),
    "patches": ((3, 5, 6, 4), (3, 5, 6), -1),
    "series": ((3, 4, 7), (3, 7), 1),
}


@pytest.mark.parametrize("kind", PLACES)
def test_loss_of_an_example_is_the_sum_over_its_places(rng, kind):
    shape, places, axis = PLACES[kind]
    logits, y = double(rng.normal(size=shape) * 2), torch.as_tensor(rng.integers(0, 4, places))
    exact = -torch.log_softmax(logits, axis).gather(axis, y.unsqueeze(axis)).flatten(1).sum(dim=1)
    likelihood = Categorical()
    likelihood.check(y, logits)
    assert_allclose(likelihood.nll(logits, y), exact, rtol=1e-10)
    assert_allclose(Categorical(axis).nll(logits, y), exact, rtol=1e-10)
    with pytest.raises(ValueError, match=rf"outputs must be logits .* got .* with classes on axis {-axis}"):
        Categorical(-axis).nll(logits, y)
    with pytest.raises(ValueError, match=r"targets must lie in 0\.\.3; got 0 to 4"):
        likelihood.check(torch.full(places, 4).where(torch.arange(places[-1]) > 0, 0), logits)


def test_places_that_do_not_count_add_nothing(rng):
    logits, y = double(rng.normal(size=(3, 5, 4))), torch.as_tensor(rng.integers(0, 4, (3, 5)))
    y[0, 2:], y[2] = -100, -100
    likelihood = Categorical()
    likelihood.check(y, logits)
    whole = Categorical().nll(logits[:2], y[:2].clamp_min(0))
    short = Categorical().nll(logits[:1, :2], y[:1, :2])
    assert_allclose(likelihood.nll(logits, y), [short[0], whole[1], 0.0], rtol=1e-12)
    with pytest.raises(ValueError, match=r"targets must lie in 0\.\.3; got -100 to"):
        Categorical(ignore=None).check(y, logits)
    with pytest.raises(ValueError, match=r"targets must lie in 0\.\.3; got -100 to"):  # examples always count
        likelihood.check(y[:, 0], logits[:, 0])
    other = torch.where(y < 0, 7, y)
    Categorical(ignore=7).check(other, logits)
    assert torch.equal(Categorical(ignore=7).nll(logits, other), likelihood.nll(logits, y))


def test_classes_on_either_of_two_axes_must_be_told(rng):
    """As many places as classes. What `check` has found holds for shapes that fit both ways later on."""
    logits, y = double(rng.normal(size=(3, 4, 4))), torch.as_tensor(rng.integers(0, 4, (3, 4)))
    for use in (Categorical().check, lambda y, logits: Categorical().nll(logits, y)):
        with pytest.raises(ValueError, match=r"axis 1 or -1 for targets \(3, 4\): say it with Categorical\(axis=1\)"):
            use(y, logits)
    for axis in (1, -1):
        exact = -torch.log_softmax(logits, axis).gather(axis, y.unsqueeze(axis)).flatten(1).sum(dim=1)
        assert_allclose(Categorical(axis).nll(logits, y), exact)
        found = Categorical()
        found.check(y[:, :3], logits[:, :3] if axis == -1 else logits[:, :, :3])
        assert_allclose(found.nll(logits, y), exact)


@pytest.mark.parametrize("likelihood", [Categorical(), GaussianNoise(2, 3)], ids=["classes", "numbers"])
@pytest.mark.parametrize(
    "outputs, said", [({"logits": torch.zeros(3, 2)}, r"dict with the keys \['logits'\]"), ((1, 2), "tuple")]
)
def test_outputs_that_are_no_tensor_are_refused(likelihood, outputs, said):
    y = torch.zeros(3, dtype=torch.int64) if isinstance(likelihood, Categorical) else torch.zeros(3, 2)
    with pytest.raises(TypeError, match=f"outputs of the network must be a tensor; got a {said}.*wrap the network"):
        likelihood.check(y, outputs)


@pytest.mark.parametrize("y", [[0, 1], {"y": 1}, None])
def test_targets_that_are_no_tensor_are_refused(y):
    for likelihood in (Categorical(), GaussianNoise(2, 3)):
        with pytest.raises(ValueError, match=f"targets must be .*got {type(y).__name__}"):
            likelihood.check(y, torch.zeros(2, 2))


@pytest.mark.parametrize(
    "made, match",
    [
        *((dict(axis=v), f"axis must be 1, -1 or None; got {v}") for v in (0, 2, -2)),
        *((dict(ignore=v), f"ignore must be a whole number or None; got {v}") for v in (1.0, True)),
    ],
    ids=str,
)
def test_wrong_axes_and_labels_are_refused(made, match):
    with pytest.raises(ValueError, match=match):
        Categorical(**made)


# --- names and errors ------------------------------------------------------------------------------------------------------
def test_likelihoods_have_names():
    assert isinstance(likelihood_named("categorical"), Categorical)
    found = likelihood_named("gaussian", 2, 9)
    assert isinstance(found, GaussianNoise) and found.n_out == 2 and found.alpha == 5.5
    with pytest.raises(ValueError, match=r"likelihood must be one of \['categorical', 'gaussian'\]; got 'poisson'"):
        likelihood_named("poisson")


def test_the_base_class_leaves_the_loss_to_others():
    with pytest.raises(NotImplementedError):
        Likelihood().nll(torch.zeros(1, 1), torch.zeros(1, 1))
    with pytest.raises(NotImplementedError):
        Likelihood().check(torch.zeros(1, 1), torch.zeros(1, 1))
    assert Likelihood().kl().item() == 0


@pytest.mark.parametrize(
    "y, outputs, match",
    [
        (torch.zeros(3), torch.zeros(3, 2), r"class numbers \(n,\), int64; got torch.float32 of shape \(3,\)"),
        (torch.zeros(3, dtype=torch.bool), torch.zeros(3, 2), "got torch.bool"),
        (torch.zeros(3, 1, dtype=torch.int64), torch.zeros(3, 2), r"got torch.int64 of shape \(3, 1\)"),
        (
            torch.tensor([0, 1]),
            torch.zeros(2),
            r"outputs must be logits \(n, n_classes\), one row for each of 2 targets; got \(2,\)",
        ),
        (torch.tensor([0, 2]), torch.zeros(2, 2), r"targets must lie in 0\.\.1; got 0 to 2"),
        (torch.tensor([-1, 1]), torch.zeros(2, 2), r"targets must lie in 0\.\.1; got -1 to 1"),
        (torch.tensor([0, 1, 1]), torch.zeros(4, 2), r"one row for each of 3 targets; got \(4, 2\)"),
    ],
)
def test_wrong_labels_are_refused(y, outputs, match):
    with pytest.raises(ValueError, match=match):
        Categorical().check(y, outputs)


@pytest.mark.parametrize(
    "y, outputs",
    [
        (torch.zeros(3), torch.zeros(3)),
        (torch.zeros(3), torch.zeros(3, 2)),
        (torch.zeros(3, 1), torch.zeros(3, 2)),
        (torch.zeros(3, 1), torch.zeros(3, 1)),
        (torch.zeros(4, 2), torch.zeros(3, 2)),
        (torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 2)),
    ],
)
def test_wrong_numbers_are_refused(y, outputs):
    with pytest.raises(ValueError, match=r"targets must be floats of shape \(n, 2\), as outputs; got torch\.") as error:
        GaussianNoise(2, 3).check(y, outputs)
    assert str(tuple(y.shape)) in str(error.value) and str(tuple(outputs.shape)) in str(error.value)


def test_right_targets_pass():
    GaussianNoise(2, 3).check(torch.zeros(3, 2), torch.zeros(3, 2))
    GaussianNoise(2, 3).check(torch.zeros(0, 2), torch.zeros(0, 2))
    for dtype in (torch.int64, torch.int32, torch.uint8):
        Categorical().check(torch.tensor([0, 1], dtype=dtype), torch.zeros(2, 2))
    Categorical().check(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2))


@pytest.mark.parametrize(
    "made, match",
    [
        (dict(n_out=0), "n_out must be a whole number >= 1; got 0"),
        (dict(n_examples=0), "n_examples must be a whole number >= 1; got 0"),
        (dict(n_examples=3.0), "n_examples must be a whole number >= 1; got 3.0"),
        (dict(shape=0.0), "shape must be a finite number > 0; got 0.0"),
        (dict(rate=[1.0, 2.0, 3.0]), r"rate must be a number or one for each of the \d outputs; got shape \(3,\)"),
        (dict(variance=0.0), "variance must be a finite number > 0; got 0.0"),
        (dict(rate=-1.0), "rate must be finite numbers > 0; got -1.0"),
        (dict(rate=math.nan), "rate must be finite numbers > 0; got nan"),
    ],
    ids=str,
)
def test_wrong_priors_of_the_precision_are_refused(made, match):
    with pytest.raises(ValueError, match=match):
        GaussianNoise(**{"n_out": 1, "n_examples": 3, **made})
