"""Networks: shapes, reproducible starts, and targets in units of their own."""

import json

import numpy as np
import pytest
import torch

from scruot.dynamics.fields import Ensemble, Field

HEADS = {"velocity": 3, "growth": 1}


def make(seed=0, **options):
    return Field(
        3, HEADS, width=8, depth=2, generator=torch.Generator().manual_seed(seed), **options
    )


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(5)
    return torch.rand(7, generator=generator), torch.randn(7, 3, generator=generator)


def test_shapes(points):
    out = make()(*points)
    assert {k: tuple(v.shape) for k, v in out.items()} == {"velocity": (7, 3), "growth": (7,)}


def test_starts_by_its_generator_alone(points):
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, same, other = (make(seed)(*points)["velocity"] for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.isclose(first, other).any()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


def test_output_scale(points):
    field = make()
    before = field(*points)
    field.set_output_scale("velocity", torch.tensor([1.0, 2.0, 3.0]), torch.tensor(5.0))
    field.set_output_scale("growth", torch.tensor([-1.0]), torch.tensor(0.5))
    after = field(*points)
    expected = torch.tensor([1.0, 2.0, 3.0]) + 5 * before["velocity"]
    torch.testing.assert_close(after["velocity"], expected)
    torch.testing.assert_close(after["growth"], 0.5 * before["growth"] - 1)


def test_rebuilt_from_its_config_and_state(points):
    field = make(span=2.0, n_frequencies=5)
    field.set_output_scale("growth", torch.tensor([-1.0]), torch.tensor(0.5))
    again = Field(**json.loads(json.dumps(field.config)))
    assert not again(*points)["velocity"].any()
    again.load_state_dict(field.state_dict())
    for name, value in field(*points).items():
        assert torch.equal(again(*points)[name], value)


def test_time_matters_between_the_ends(points):
    field, x = make(span=3.0), points[1]
    outs = [field(torch.full((7,), t), x)["growth"] for t in (0.0, 0.1, 1.5, 3.0)]
    for i in range(4):
        for j in range(i):
            assert not torch.isclose(outs[i], outs[j]).any()


def test_ensemble(points):
    members = [make(0), make(1), make(2)]
    ensemble = Ensemble(members)
    outs = torch.stack([m(*points)["velocity"] for m in members])
    torch.testing.assert_close(ensemble(*points)["velocity"], outs.mean(0))
