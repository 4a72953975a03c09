"""Draw what outliers do to a coupling: `python docs/figures/outliers.py` writes the picture."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch

from scruot.transport import Penalty, couple, outlier_influence

OUT = Path(__file__).parent.parent / "_static" / "outliers.svg"
SHIFT = 3.0
TAU = 20.0
PENALTIES = {
    "exact (balanced)": (Penalty("exact"), "#D55E00", "-"),
    "KL": (Penalty("kl", TAU), "#0072B2", "-"),
    "TV": (Penalty("tv", TAU), "#009E73", (0, (4, 1.5))),
}


def clouds(n: int = 150) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two Gaussian clouds, the second moved to the right."""
    rng = np.random.default_rng(0)
    x0, x1 = rng.normal(size=(2, n, 2))
    return torch.tensor(x0), torch.tensor(x1) + torch.tensor([SHIFT, 0.0])


def displacement(x0: torch.Tensor, x1: torch.Tensor, penalty: Penalty, outlier: tuple) -> float:
    """Return the mean displacement of what is moved, with a share of the source at a point."""
    share, distance = outlier
    n = len(x0)
    place = x1.mean(0) - torch.tensor([distance, 0.0])
    cloud = torch.cat([x0, place[None]])
    a = torch.full((n + 1,), (1 - share) / n, dtype=torch.float64)
    a[-1] = share
    b = torch.full((n,), 1 / n, dtype=torch.float64)
    plan = couple(cloud, x1, a, b, source=penalty, target=penalty)
    way = x1[plan.col] - cloud[plan.row]
    return float(((plan.mass[:, None] * way).sum(0) / plan.mass.sum())[0])


def main() -> None:
    """Compute and draw."""
    x0, x1 = clouds()
    n = len(x0)
    mass = torch.full((n,), 1 / n, dtype=torch.float64)
    distances = np.geomspace(3.2, 100, 25)
    curves = outlier_influence(
        x0,
        x1,
        mass,
        mass,
        penalties=[penalty for penalty, *_ in PENALTIES.values()],
        distances=distances.tolist(),
    ).numpy()
    shares = np.array([0.001, 0.05, 0.1, 0.2, 0.3, 0.4])
    # close together where an outlier is just worth moving
    harmful = [*np.linspace(3.2, 15, 40), 100.0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.6, 2.6), layout="constrained")
    for (name, (penalty, color, line)), curve in zip(PENALTIES.items(), curves, strict=True):
        left.plot(distances, curve, color=color, linestyle=line, label=name)
        clean = displacement(x0, x1, penalty, (0.0, SHIFT))
        error = [
            max(abs(displacement(x0, x1, penalty, (s, r)) - clean) for r in harmful) for s in shares
        ]
        right.plot(shares, error, color=color, linestyle=line)
    left.axhline(2 * TAU, color="0.6", linewidth=0.8)
    left.text(90, 2.2 * TAU, "2 τ", color="0.4", fontsize=8, va="bottom", ha="right")
    left.set(xscale="log", yscale="log", xlim=(3, 100), ylim=(0.5, 2e4))
    left.set_xticks([3, 10, 30, 100], ["3", "10", "30", "100"])
    left.minorticks_off()
    left.set_xlabel("distance of the outlier")
    left.set_ylabel("influence on the value")
    left.legend(frameon=False, fontsize=8)
    right.axhline(SHIFT, color="0.6", linewidth=0.8)
    right.text(0.4, 1.03 * SHIFT, "displacement of the cells", color="0.4", fontsize=8, ha="right")
    right.set(ylim=(0, 2 * SHIFT), xlim=(0, 0.4))
    right.set_xlabel("share of outliers")
    right.set_ylabel("largest error of the\nmean displacement")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    with mpl.rc_context({"svg.hashsalt": "scruot", "svg.fonttype": "path"}):
        figure.savefig(OUT, metadata={"Date": None})


if __name__ == "__main__":
    main()
