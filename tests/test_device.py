"""Nothing leaves the device that it was asked to compute on, and nothing else moves there.

Without an accelerator this is checked on a pretended one (see ``_fake_device.py``).
"""

import math

import numpy as np
import pytest
import torch
import torchsde._brownian.brownian_interval as brownian_interval
from anndata import AnnData

from scruot import get, tl
from scruot.displacement.icnn import fit_icnn
from scruot.dynamics import Dynamics, Scale, Snapshots
from scruot.dynamics import device as home
from scruot.dynamics.fields import Ensemble, Field
from scruot.dynamics.simulate import integrate_flow, integrate_flow_adaptively, integrate_sde
from scruot.dynamics.train import Schedule, train
from scruot.geometry import Bridge, Geodesic, travelling_dirac
from scruot.geometry.neighbours import typical_spacing
from scruot.solvers.kernel_field import kernel_mean
from scruot.solvers.leaves import leaf_order
from scruot.solvers.pair_sampler import PairSampler
from scruot.solvers.run import fit_snapshots
from scruot.solvers.wfrfm import WFRFM, WFRFMParams
from scruot.tl._couple import couple_interval, couple_snapshots
from scruot.tl._transport_params import make_params
from scruot.transport import (
    Penalty,
    auto_delta,
    auto_settings,
    auto_tau,
    couple,
    interpolate,
    pairs,
    static_floor,
    wfr_coupling,
)
from tests._fake_device import SUPPORTED, Elsewhere, fake_device, make_generator

faked = pytest.mark.skipif(not SUPPORTED, reason="this torch knows no devices made in Python")


@pytest.fixture
def device(monkeypatch):
    """Return the pretended device, which exists while a test lasts."""
    with fake_device(monkeypatch) as there:
        yield there


def clouds(n=(10, 12, 11), d=3):
    generator = torch.Generator().manual_seed(0)
    x = tuple(torch.randn(m, d, generator=generator) + k / 2 for k, m in enumerate(n))
    weights = tuple(torch.ones(m, dtype=torch.float64) for m in n)
    return Snapshots((0.0, 1.0, 2.5)[: len(n)], x, weights)


def is_there(*tensors):
    return all(isinstance(t, Elsewhere) for t in tensors)


# the watch itself


MIXTURES = {
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a @ b,
    "in place": lambda a, b: a.add_(b),
    "in place on the cpu": lambda a, b: b.add_(a),
    "concatenation": lambda a, b: torch.cat([a, b]),
    "stack": lambda a, b: torch.stack([b, a]),
    "index": lambda a, b: a[torch.tensor([0, 1])],
    "index on the cpu": lambda a, b: b[(a > 0)[:, 0]],
    "where": lambda a, b: torch.where(a > 0, a, b),
    "linear": lambda a, b: torch.nn.functional.linear(a, b),
    "distance": lambda a, b: torch.cdist(a, b),
    "foreach": lambda a, b: torch._foreach_lerp_([a], [b], 0.5),
    "search": lambda a, b: torch.searchsorted(a[0].contiguous(), b[0].contiguous()),
    "numpy": lambda a, b: np.asarray(a),
    "from numpy": lambda a, b: a + torch.from_numpy(np.ones((3, 3), dtype=np.float32)),
    "new tensor": lambda a, b: a + torch.tensor([1.0, 2.0, 3.0]),
    "cpu generator": lambda a, b: torch.rand(
        3, device=a.device, generator=make_generator(b.device, 0)
    ),
    "its generator on the cpu": lambda a, b: b.uniform_(generator=make_generator(a.device, 0)),
    "global generator": lambda a, b: torch.rand_like(a),
}


class TestHarness:
    """The pretended device must catch what a real one would, or it proves nothing."""

    pytestmark = faked

    @pytest.mark.parametrize("name", MIXTURES)
    def test_mixtures_are_refused(self, device, name):
        here = torch.ones(3, 3)
        there = here.to(device)
        with pytest.raises((RuntimeError, TypeError), match=r"device|elsewhere"):
            MIXTURES[name](there, here)

    def test_a_wrong_loss_is_caught(self, device):
        field = Field(2, {"velocity": 2}, width=4, device=device)
        t = torch.zeros(5, device=device)

        def wrong(generator):
            x = torch.randn(5, 2, generator=make_generator(torch.device("cpu"), 0))
            return {"loss": field(t, x)["velocity"].square().mean()}

        with pytest.raises(RuntimeError, match="all tensors on one device"):
            train(field, wrong, Schedule(steps=1), generator=make_generator(device, 0))

    def test_what_cuda_allows_is_allowed(self, device):
        there = torch.ones(3, 3, device=device)
        assert is_there(there * torch.tensor(2.0), there + 1, there.to(device), there.double())
        there[0] = 5.0
        there.copy_(torch.zeros(3, 3))
        assert there.cpu().tolist() == [[0.0] * 3] * 3
        assert float(there.sum()) == 0.0
        assert there.tolist() == there.cpu().tolist()

    def test_numbers_are_real(self, device):
        x = torch.linspace(0, 1, 5)
        there = x.to(device).requires_grad_()
        (first,) = torch.autograd.grad((there**3).sum(), there, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), there)
        torch.testing.assert_close(first.detach().cpu(), 3 * x**2)
        torch.testing.assert_close(second.cpu(), 6 * x)
        jacobian = torch.func.vmap(torch.func.jacrev(lambda v: v**2))(there.detach()[:, None])
        torch.testing.assert_close(jacobian.cpu().flatten(), 2 * x)

    def test_generators_are_seeded(self, device):
        one, same, other = (
            torch.rand(4, device=device, generator=home.make_generator(device, seed)).cpu()
            for seed in (0, 0, 1)
        )
        assert torch.equal(one, same)
        assert not torch.isclose(one, other).any()


# every part


@faked
def test_resolve(device):
    assert home.resolve_device(device) == device


@faked
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_training(device, optimizer, tmp_path):
    def fit(where, checkpoint=None):
        generator = home.make_generator(where, 0)
        field = Field(2, {"velocity": 2, "growth": 1}, width=8, generator=generator, device=where)
        field.set_output_scale("velocity", torch.ones(2, device=where), torch.ones(()))
        zero, point = torch.zeros(1, device=where), torch.ones(1, 2, device=where)

        def loss(rng):
            x = torch.randn(16, 2, generator=rng, device=where)
            out = field(torch.rand(16, generator=rng, device=where), x)
            return {"loss": (out["velocity"] - x).square().mean() + out["growth"].square().mean()}

        state = train(
            field,
            loss,
            Schedule(steps=6, optimizer=optimizer, validate_every=2),
            generator=generator,
            validate=lambda: float(field(zero, point)["growth"].detach()),
            checkpoint=checkpoint,
        )
        return field, state

    there, _ = fit(device)
    here, _ = fit(torch.device("cpu"))
    assert is_there(*there.parameters(), *there.buffers())
    for a, b in zip(there.parameters(), here.parameters(), strict=True):
        torch.testing.assert_close(a.detach().cpu(), b.detach())
    # a checkpoint goes through the CPU and back
    fit(device, tmp_path / "state.npz")
    again, state = fit(device, tmp_path / "state.npz")
    assert is_there(*state.average.values(), *state.best.values())
    for a, b in zip(again.parameters(), here.parameters(), strict=True):
        torch.testing.assert_close(a.detach().cpu(), b.detach())


@faked
def test_checkpointed_generator(device, tmp_path):
    draws = []

    def fit(stop):
        field = Field(1, {"velocity": 1}, width=4, device=device)

        def loss(rng):
            if len(draws) == stop:
                raise KeyboardInterrupt
            draws.append(torch.rand(1, generator=rng, device=device).cpu())
            return {
                "loss": field(draws[-1].to(device), draws[-1].to(device)[:, None])["velocity"].sum()
            }

        train(
            field,
            loss,
            Schedule(steps=6),
            generator=home.make_generator(device, 7),
            checkpoint=tmp_path / "state.npz",
            checkpoint_seconds=-1.0,
        )

    with pytest.raises(KeyboardInterrupt):
        fit(3)
    fit(None)
    expected = torch.rand(6, generator=make_generator(torch.device("cpu"), 7))
    assert draws == expected.tolist()


@faked
def test_geometry(device):
    x = clouds()
    x0, x1 = x.x[0].to(device), x.x[1][:10].to(device)
    ones = torch.ones(10, device=device)
    assert is_there(*travelling_dirac(ones / 2, x0, x1, ones, 2 * ones, 1.0))
    moved = x.to(device)
    assert is_there(*moved.x, *moved.weights)
    assert typical_spacing(moved.x) == pytest.approx(typical_spacing(x.x))
    scaled, scale = x.standardised()
    assert scaled.to(device).masses == pytest.approx(x.masses)
    assert is_there(scale.x_in(x0), scale.x_out(x0))
    assert is_there(*moved.select([torch.ones(len(c), device=device) > 0 for c in moved.x]).x)


@faked
@pytest.mark.parametrize(
    "options",
    [
        {"reg": 0.0, "tau": 1.0},
        {"reg": 0.5, "growth": "rate", "growth_iterations": 2},
        {"method": "balanced", "reg": 0.0},
        {"method": "semi_relaxed", "penalty": "l2", "reg": 0.5},
        {"penalty": "tv", "tau": 2.0, "reg": 0.0},
        {"method": "partial", "moved": 0.8},
        {"method": "wfr"},
    ],
)
def test_static_transport(device, options):
    here = clouds()
    params = make_params(options)
    rates = [np.linspace(0, 1, len(x)) for x in here.x] if "growth" in options else None
    expected = couple_snapshots(here, params, rates=rates)
    found = couple_snapshots(here.to(device), params, rates=rates)
    assert found.resolved.keys() == expected.resolved.keys()
    for one, two in zip(found.matrices, expected.matrices, strict=True):
        np.testing.assert_allclose(one.toarray(), two.toarray(), atol=1e-9)
    solved = couple_interval(here.to(device), params, 0, rates=rates)
    assert is_there(solved.plan.mass)


@faked
@pytest.mark.parametrize(
    ("delta", "options"),
    [(0.3, {}), (2.0, {}), (2.0, {"blur": 1.0}), (2.0, {"method": "hierarchical"})],
)
def test_couplings(device, delta, options):
    here = clouds()
    there = here.to(device)

    def coupled(where):
        return wfr_coupling(*where.x[:2], *where.weights[:2], delta, **options)

    plan, expected = coupled(there), coupled(here)
    assert is_there(plan.row, plan.col, plan.mass, plan.a, plan.b, plan.row_mass, plan.col_mass)
    assert plan.primal == pytest.approx(expected.primal)
    assert plan.dual == pytest.approx(expected.dual)
    table = pairs(plan)
    assert is_there(table.source, table.target, table.m0, table.m1)
    assert is_there(table.sample(10, make_generator(device, 0)))
    assert auto_delta(there.x) == pytest.approx(auto_delta(here.x))
    assert static_floor([plan], delta=delta, durations=[1.0]) == pytest.approx(
        static_floor([expected], delta=delta, durations=[1.0])
    )


@faked
@pytest.mark.parametrize("kinds", [("kl", "exact"), ("tv", "tv"), ("chi2", "l2"), ("tv", "kl")])
@pytest.mark.parametrize("options", [{}, {"reg": 0.5}, {"method": "hierarchical"}])
def test_penalised_couplings(device, kinds, options):
    here = clouds()
    there = here.to(device)
    source, target = (Penalty(k) if k == "exact" else Penalty(k, 2.0) for k in kinds)

    def coupled(where):
        return couple(*where.x[:2], *where.weights[:2], source=source, target=target, **options)

    plan, expected = coupled(there), coupled(here)
    assert is_there(plan.row, plan.col, plan.mass, plan.a, plan.b, plan.row_mass, plan.col_mass)
    assert plan.primal == pytest.approx(expected.primal, rel=1e-5)
    assert plan.dual == pytest.approx(expected.dual, rel=1e-5)
    assert is_there(*interpolate(plan, *there.x[:2], share=0.5))


@faked
def test_settings_of_couplings(device):
    here = clouds()
    there = here.to(device)
    one, two = (auto_settings(c.x, c.weights, c.times) for c in (here, there))
    assert is_there(two.metric)
    assert two.reg == pytest.approx(one.reg)
    assert auto_tau(there.x) == pytest.approx(auto_tau(here.x))


@faked
@pytest.mark.parametrize(
    ("path", "quantities"),
    [(Geodesic(0.8), ("velocity", "growth")), (Bridge(0.3), ("velocity", "growth", "score"))],
)
def test_pair_sampler(device, path, quantities):
    def batch(where):
        x = clouds().to(where)
        tables = [
            pairs(wfr_coupling(a, b, v, w, 0.8))
            for a, b, v, w in zip(x.x, x.x[1:], x.weights, x.weights[1:], strict=False)
        ]
        sampler = PairSampler(x, tables, path, noise=0.1, quantities=quantities)
        drawn = sampler.draw(50, home.make_generator(where, 0))
        return [drawn.t, drawn.x, drawn.weight, *drawn.targets.values(), *drawn.precision.values()]

    there, here = batch(device), batch(torch.device("cpu"))
    assert is_there(*there)
    for a, b in zip(there, here, strict=True):
        torch.testing.assert_close(a.cpu(), b)


@faked
def test_kernel_mean_over_leaves(device):
    generator = torch.Generator().manual_seed(0)
    where, values = (torch.rand(256, 3, generator=generator) for _ in range(2))
    x, log_mass = torch.rand(40, 3, generator=generator), torch.zeros(256)

    def mean(target):
        w, v, q, m = (a.to(target) for a in (where, values, x, log_mass))
        order = leaf_order(w, 64)
        return kernel_mean(q, w[order], m, v[order], torch.tensor(0.2).to(target), 64)

    there = mean(device)
    assert is_there(there)
    torch.testing.assert_close(there.cpu(), mean(torch.device("cpu")))


def rates(t, x):
    return -x * t[:, None], x[:, 0] - t


@faked
def test_flows(device):
    x, log_w = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(6)
    for integrate in (
        lambda a, b: integrate_flow(rates, a, b, [0.0, 1.0, 1.5], 0.1),
        lambda a, b: integrate_flow_adaptively(rates, a, b, [1.5, 0.5]),
    ):
        there = integrate(x.to(device), log_w.to(device))
        assert is_there(*there)
        for a, b in zip(there, integrate(x, log_w), strict=True):
            torch.testing.assert_close(a.cpu(), b)


@pytest.fixture
def torchsde_draws_there(monkeypatch):
    """Let torchsde draw on the pretended device, for which torch makes no generator."""

    def randn(size, dtype, device, seed):
        generator = make_generator(torch.device(device), int(seed))
        return torch.randn(size, dtype=dtype, device=device, generator=generator)

    monkeypatch.setattr(brownian_interval, "_randn", randn)


@faked
@pytest.mark.usefixtures("torchsde_draws_there")
def test_noise(device):
    def run(where):
        x, sigma = torch.ones(6, 2, device=where), torch.tensor([0.5, 0.1], device=where)
        return integrate_sde(rates, x, x[:, 0] * 0, [0.0, 0.7, 1.5], 0.1, sigma, 3)

    there, here = run(device), run(torch.device("cpu"))
    assert is_there(*there)
    for a, b in zip(there, here, strict=True):
        torch.testing.assert_close(a.cpu(), b)


class Noisy(Field):
    """A field with a score, for a stochastic model."""

    def __init__(self, **options):
        super().__init__(2, {"drift": 2, "score": 2, "growth": 1}, width=4, **options)


@faked
@pytest.mark.usefixtures("torchsde_draws_there")
@pytest.mark.parametrize("n_models", [1, 2])
def test_model(device, n_models):
    def make(where):
        seeds = [home.make_generator(where, seed) for seed in range(n_models)]
        fields = [Noisy(generator=generator, device=where) for generator in seeds]
        return Dynamics(
            fields[0] if n_models == 1 else Ensemble(fields),
            Scale(shift=(1.0, 2.0), length=3.0, origin=5.0, time=2.0),
            method="hand",
            learns=("drift", "score", "growth"),
            times=(5.0, 9.0),
            masses=(1.0, 1.0),
            sigma=(0.5, 0.2),
            device=where,
        )

    there, here = make(device), make(torch.device("cpu"))
    x = np.random.default_rng(0).normal(size=(7, 2))
    for name in ("velocity", "drift", "growth", "score"):
        expected = getattr(here, name)(6.0, x)
        for t in (6.0, np.full(7, 6.0), torch.full((7,), 6.0), torch.full((7,), 6.0).to(device)):
            np.testing.assert_allclose(getattr(there, name)(t, x), expected, rtol=1e-5)
        assert is_there(getattr(there, name)(6.0, torch.from_numpy(x).to(device)))
        assert not is_there(getattr(there, name)(6.0, torch.from_numpy(x)))
        if n_models > 1:
            np.testing.assert_allclose(
                there.spread(name, 6.0, x), here.spread(name, 6.0, x), rtol=1e-4, atol=1e-6
            )
    for options in ({}, {"stochastic": False}, {"stochastic": False, "step": "adaptive"}):
        for weights in (None, torch.ones(7).to(device)):
            run = there.simulate(x, [5.0, 5.5], weights=weights, **options)
            assert run.x.device.type == run.weights.device.type == run.times.device.type == "cpu"
        same = here.simulate(x, [5.0, 5.5], weights=np.ones(7), **options)
        torch.testing.assert_close(run.x, same.x)
        torch.testing.assert_close(run.weights, same.weights)
    moved = there.to("cpu")
    assert not is_there(*moved.field.parameters())
    np.testing.assert_allclose(moved.growth(6.0, x), here.growth(6.0, x), rtol=1e-5)


@faked
def test_jacobians(device):
    def derived(where, quantity, x):
        generator = home.make_generator(where, 0)
        field = Noisy(generator=generator, device=where)
        model = Dynamics(
            field,
            Scale(shift=(1.0, 2.0), length=3.0, origin=5.0, time=2.0),
            method="hand",
            learns=("drift", "score", "growth"),
            times=(5.0, 9.0),
            masses=(1.0, 1.0),
            sigma=(0.5, 0.2),
            device=where,
        )
        return model.jacobian(quantity, 6.0, x)

    x = np.random.default_rng(0).normal(size=(7, 2))
    for quantity, shape in (("velocity", (7, 2, 2)), ("drift", (7, 2, 2)), ("growth", (7, 2))):
        expected = derived(torch.device("cpu"), quantity, x)
        assert expected.shape == shape
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(derived(device, quantity, x), expected, rtol=1e-4, atol=1e-7)
        assert is_there(derived(device, quantity, torch.from_numpy(x).to(device)))


@faked
@pytest.mark.parametrize("wish", [{"n_active": 2}, {"tradeoff": 0.5}, {"strength": 0.1}])
@pytest.mark.parametrize("weighted", [False, True])
def test_neural_displacement(device, wish, weighted):
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(30, 4)), rng.normal(size=(40, 4)) + np.array([2, 1, 0, 0])
    weights = (rng.uniform(1, 2, 30), rng.uniform(1, 2, 40)) if weighted else (None, None)
    asked = {"rounds": 4, "block": 2, "trials": 2, "width": 8, **wish}
    here, there = (
        fit_icnn(source, target, *weights, device=str(where), **asked) for where in ("cpu", device)
    )
    assert is_there(there._centre, *there._potential.parameters())
    moved = here.displacement(source)
    assert np.abs(moved).max() > 0
    np.testing.assert_allclose(there.displacement(source), moved, rtol=1e-3, atol=1e-4)
    assert there.strength == pytest.approx(here.strength, rel=1e-4)


@faked
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"validation": 0.2, "optimizer": "adamw"},
        {"delta": 0.05},
    ],
)
def test_whole_fit(device, options, tmp_path):
    params = WFRFMParams(steps=4, batch_size=32, width=8, **options)

    def fit(where, **more):
        return fit_snapshots(clouds(), WFRFM, params, device=where, **more)

    here, there = fit(torch.device("cpu")), fit(device, checkpoint=tmp_path / "state.npz")
    again = fit(device, checkpoint=tmp_path / "state.npz")
    x = clouds().x[0]
    for model in (there, again):
        assert is_there(*model.dynamics.field.parameters())
        torch.testing.assert_close(
            model.dynamics.velocity(1.0, x), here.dynamics.velocity(1.0, x), rtol=1e-4, atol=1e-5
        )
    assert there.quality == pytest.approx(here.quality, rel=1e-5, abs=1e-9)
    assert there.resolved == pytest.approx(here.resolved)


@faked
def test_public_functions(device):
    rng = np.random.default_rng(0)
    adata = AnnData(np.zeros((40, 1), dtype=np.float32))
    adata.obs["time"] = np.repeat([0.0, 1.0], 20)
    adata.obs_names = [f"cell{i}" for i in range(40)]
    adata.obsm["X_pca"] = rng.normal(size=(40, 3))
    tl.fit_dynamics(adata, steps=3, n_models=2, device=str(device), progress=False)
    model = get.dynamics(adata, device=str(device))
    assert is_there(*model.field.parameters())
    simulated = tl.simulate(adata, [0.0, 0.4], device=str(device))
    assert np.isfinite(simulated.obsm["X_pca"]).all()
    tl.evaluate(adata, device=str(device))
    assert np.isfinite(adata.uns["dynamics_evaluation"]["table"].select_dtypes("number")).any(
        axis=None
    )
    at_cells = model.velocity(adata.obs["time"].to_numpy(), adata.obsm["X_pca"])
    np.testing.assert_allclose(adata.obsm["velocity_pca"], at_cells, rtol=1e-5, atol=1e-6)
    assert not is_there(*get.dynamics(adata).field.parameters())


# a real one


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"coupling": "hierarchical"}])
def test_cuda_fits_as_the_cpu_does(options):
    params = WFRFMParams(steps=300, batch_size=512, width=64, **options)
    x = clouds((200, 250, 300))
    here, there, again = (
        fit_snapshots(x, WFRFM, params, device=torch.device(d)) for d in ("cpu", "cuda", "cuda")
    )
    assert {p.device.type for p in there.dynamics.field.parameters()} == {"cuda"}
    # the couplings are the same problem, so its value is
    for name in ("action_floor_dual", "action_floor_primal"):
        assert there.quality[name] == pytest.approx(here.quality[name], rel=1e-4)
    # other random numbers: the fits agree as two seeds do
    cells = torch.cat(x.x)
    for name in ("velocity", "growth"):
        a, b = (getattr(m.dynamics, name)(1.2, cells).numpy() for m in (here, there))
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9
    run = there.dynamics.simulate(cells, [0.0, 2.5])
    assert math.isfinite(float(run.mass[-1]))
    # the same call on the same device gives the same bits
    assert torch.equal(
        again.dynamics.velocity(1.2, cells.cuda()), there.dynamics.velocity(1.2, cells.cuda())
    )


@pytest.mark.gpu
def test_cuda_draws_noise():
    x = torch.zeros(20_000, 2, device="cuda")
    sigma = torch.ones(2, device="cuda")
    run, again = (
        integrate_sde(lambda t, v: (-v, 0 * t), x, x[:, 0], [0.0, 1.0], 0.02, sigma, 0)[0]
        for _ in range(2)
    )
    assert torch.equal(run, again)
    assert float(run[-1].var()) == pytest.approx((1 - math.exp(-2)) / 2, rel=0.05)
