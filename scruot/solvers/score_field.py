"""A network whose score starts from that of Gaussians with the moments of the snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scruot.dynamics.fields import Field
from scruot.dynamics.snapshots import Snapshots

# share of the mean variance that is added to every variance: a snapshot may be flat
_RIDGE = 0.01


class ScoreField(Field):
    """A field that learns what its score has beside a Gaussian one.

    The Gaussian score ``-P(t) (x - m(t))``, with mean and precision of the snapshots linear in
    between, leaves less to be learned from noisy targets. Far from all cells, where no target
    is, it leads back to them, and a simulation with noise stays where the cells are.

    Parameters
    ----------
    dim, heads
        As in :class:`~scruot.dynamics.fields.Field`; ``"score"`` is among the heads.
    **options
        As there; ``knots`` are the times of the snapshots.
    """

    means: Tensor
    precisions: Tensor

    def __init__(self, dim: int, heads: dict[str, int], **options: Any) -> None:
        super().__init__(dim, heads, **options)
        n, device = len(self.knots), self.knots.device
        self.register_buffer("means", torch.zeros(n, dim, device=device))
        self.register_buffer("precisions", torch.zeros(n, dim, dim, device=device))

    def set_moments(self, clouds: Snapshots, noise: float) -> None:
        """Take mean and covariance of every snapshot, with noise of that standard deviation."""
        for k, (x, w) in enumerate(zip(clouds.x, clouds.weights, strict=True)):
            share = (w / w.sum()).float()
            mean = share @ x
            cov = (x - mean).T @ (share[:, None] * (x - mean))
            extra = noise**2 + _RIDGE * cov.diagonal().mean() + 1e-6
            self.means[k] = mean
            # on the CPU: not every device inverts
            matrix = cov.cpu().double() + float(extra) * torch.eye(len(cov), dtype=torch.float64)
            self.precisions[k] = torch.linalg.inv(matrix).float().to(x.device)

    def set_score_scale(self, clouds: Snapshots, variance: float) -> None:
        """Learn the score in units of its own size: one over a local standard deviation.

        Parameters
        ----------
        clouds
            The clouds.
        variance
            What the paths add to the variance of the cells, per coordinate, on average.
        """
        spread = (local_variance(clouds) + variance + 1e-6) ** -0.5
        score = self.get_buffer("score_mean")
        self.set_output_scale("score", torch.zeros_like(score), score.new_tensor(spread))

    def forward(self, t: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return every quantity at times ``t`` (n,) and states ``x`` (n, d)."""
        result = super().forward(t, x)
        result["score"] = result["score"] + self._gaussian_score(t, x)
        return result

    def _gaussian_score(self, t: Tensor, x: Tensor) -> Tensor:
        k = torch.bucketize(t.contiguous(), self.knots[1:-1].contiguous(), right=True)
        start, stop = self.knots[k], self.knots[k + 1]
        s = ((t - start) / (stop - start)).clamp(0, 1)[:, None]
        away = x - ((1 - s) * self.means[k] + s * self.means[k + 1])
        # all snapshots at once: a matrix per row would not fit
        pulled = torch.einsum("nd,kde->nke", away, self.precisions)
        rows = torch.arange(len(x), device=x.device)
        return -((1 - s) * pulled[rows, k] + s * pulled[rows, k + 1])


def local_variance(clouds: Snapshots, n_cells: int = 1000) -> float:
    """Return the mean square distance to the nearest tenth of a snapshot, per coordinate.

    It is the median over at most ``n_cells`` evenly spaced cells of every snapshot, averaged.
    """
    found = []
    for x in clouds.x:
        part = x[:: -(-len(x) // n_cells)]
        nearest = torch.cdist(part, part).square().sort(dim=1).values
        found.append(nearest[:, : max(2, len(part) // 10)].mean(1).median())
    return float(torch.stack(found).mean()) / clouds.dim


def build(config: Mapping[str, Any]) -> ScoreField:
    """Return an untrained field from its configuration."""
    return ScoreField(**config)
