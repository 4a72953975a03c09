"""The score of weighted particles against that of a Gaussian."""

import torch

from scruot.dynamics.device import make_generator
from scruot.dynamics.fields import Field
from scruot.dynamics.score import Particles, denoising_loss, learn_score
from scruot.dynamics.train import Schedule

CPU = torch.device("cpu")
WIDTH = torch.tensor([0.3, 0.5])


def particles():
    # a lattice, whose weights make it a Gaussian that moves and narrows
    axis = torch.linspace(-4, 4, 32)
    x = torch.cartesian_prod(axis, axis)
    times = torch.linspace(0, 1, 21)
    centre, width = times[:, None, None] * torch.tensor([1.0, -1.0]), 1.0 - 0.4 * times[:, None]
    log_w = -(x - centre).square().sum(2) / (2 * width**2)
    return Particles(times, x.expand(21, 1024, 2), log_w, WIDTH.expand(21, 2))


def test_score_of_a_weighted_gaussian():
    law = particles()
    score = Field(2, {"score": 2}, width=32, generator=make_generator(CPU, 0))
    schedule = Schedule(steps=200, learning_rate=0.05, ema=0.98)
    state = learn_score(score, law, schedule, batch_size=256, generator=make_generator(CPU, 1))
    assert state.history["loss"][-1] < 0.2 * state.history["loss"][0]
    for t in (0.0, 0.5, 1.0):
        at = t * torch.tensor([1.0, -1.0])
        x = at + torch.randn(200, 2, generator=torch.Generator().manual_seed(3)) * (1 - 0.4 * t)
        with torch.no_grad():
            found = score(torch.full((200,), t), x)["score"]
        expected = -(x - at) / ((1 - 0.4 * t) ** 2 + WIDTH**2)
        error = (found - expected).square().mean() / expected.square().mean()
        assert float(error) < 0.02


def test_loss_is_least_at_the_score_of_the_smoothed_law():
    # two particles: the score of their mixture is known at every point
    x = torch.tensor([[-1.0], [1.0]])
    law = Particles(torch.zeros(1), x[None], torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5]]))
    weight = torch.softmax(law.log_weights[0], 0)

    class Exact(Field):
        def forward(self, t, y):
            density = weight * torch.exp(-((y - x.T) ** 2) / (2 * 0.25))
            share = density / density.sum(1, keepdim=True)
            return {"score": self.scale * (share @ x - y) / 0.25}

    losses = []
    for scale in (0.9, 1.0, 1.1):
        exact = Exact(1, {"score": 1})
        exact.scale = scale
        losses.append(float(denoising_loss(exact, law, 4096, make_generator(CPU, 0))))
    assert losses[1] < 1e-9
    assert min(losses[0], losses[2]) > 1e-3
