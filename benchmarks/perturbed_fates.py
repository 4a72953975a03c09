"""Changes of fates by a perturbation, against the true law.

    python benchmarks/perturbed_fates.py

``datasets.branching``, 1500 cells in five dimensions, true sizes given, ``method="wfr"``. Cells of
the first time are moved along one of the two forks and continued with the exact law, and with
``tl.perturbation``: with the fates around them, with the flow to the next time and the fates there,
and with the flow to the end. The last line says how much of the shift is left after one interval.
"""

import argparse

import numpy as np
import pandas as pd

import scruot
from scruot.datasets._forks import N_CORE, Forks, continue_cells

FORKS = {"first": 1, "second": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shift", type=float, default=0.3)
    given = parser.parse_args()
    adata = scruot.datasets.branching(1500, 5, n_continue=0, random_state=given.seed)
    truth = adata.uns["truth"]
    law = Forks(
        tuple(truth["parameters"]["growth_rates"]),
        truth["parameters"]["bias"],
        truth["parameters"]["turnover"],
        truth["sigma"],
        truth["parameters"]["lean"],
    )
    mass = dict(zip(truth["population"]["time"], truth["population"]["size"], strict=True))
    scruot.tl.fit_dynamics(adata, "wfr", use_rep="X_sim", mass=mass, progress=False)
    scruot.tl.fate_probabilities(adata, "cell_type")
    first = (adata.obs["time"] == 0).to_numpy()
    core = adata.obsm["X_core"][first].astype(float)

    def shares(cells: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(0)  # the same noise for all
        p, descendants = continue_cells(law, cells, 4.0, 100, 0.05, rng)
        total = (p * descendants[:, None]).sum(0)
        return total / total.sum()

    late = adata.copy()
    late.obsm["fate_probabilities"].loc[first] = np.nan
    rows, usual = [], shares(core)
    for fork, axis in FORKS.items():
        for sign in (-1, 1):
            push = np.zeros(truth["rotation"].shape[0])
            push[axis] = sign * given.shift
            shift = truth["rotation"] @ push
            found = {"truth": shares(core + push[:N_CORE]) - usual}
            for name, (data, groupby) in {
                "fates where cells are": (adata, None),
                "flow to the next time, fates there": (late, None),
                "flow to the end": (adata, "cell_type"),
            }.items():
                table = scruot.tl.perturbation(data, shift, groupby=groupby, n_cells=None)
                found[name] = table.set_index("group").loc[["A", "B", "C"], "share_change"]
            for way, change in found.items():
                named = dict(zip("ABC", change, strict=True))
                rows.append({"fork": fork, "shift": sign * given.shift, "way": way, **named})
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    rng = np.random.default_rng(0)
    push = given.shift * np.eye(N_CORE)[1]
    noise = [rng.standard_normal(core.shape) for _ in range(40)]
    ends = []
    for x in (core, core + push):
        for step in noise:
            x = x + 0.025 * law.drift(x) + truth["sigma"] * 0.025**0.5 * step
        ends.append(x)
    x = adata.obsm["X_sim"][first]
    moved = truth["rotation"][:, 1] * given.shift
    model = scruot.get.dynamics(adata)
    flown = [model.simulate(y.astype(np.float32), [0, 1]).x[-1].numpy() for y in (x, x + moved)]
    left = (flown[1] - flown[0]) @ truth["rotation"][:, 1]
    print(f"left of {given.shift}: {(ends[1] - ends[0])[:, 1].mean():.2f}, flow {left.mean():.2f}")


if __name__ == "__main__":
    main()
