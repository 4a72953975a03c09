"""CPU seconds and peak memory of fates at size, each run in a process of its own.

    OMP_NUM_THREADS=1 python benchmarks/fate_cost.py --cells 20000 --carried-by transport sf2m

Data: ``datasets.branching`` in ten dimensions with three fates, true sizes given. ``transport`` is
the automatic rule; a solver is fitted and its model simulated, ``--simulations`` times each cell,
with the couplings that its fates are compared with. CPU seconds (user plus system) are those of
``tl.fate_probabilities`` alone, the peak is that of the whole process, imports, data and fit
included.
"""

import argparse
import json
import logging
import resource
import subprocess
import sys
import time

import scruot


def work(carried_by: str, n_cells: int, n_simulations: int) -> dict:
    """Make cells, fit where that is asked for, and compute fates."""
    adata = scruot.datasets.branching(n_cells, 10, n_continue=0, dt=0.1, random_state=5)
    population = adata.uns["truth"]["population"]
    mass = dict(zip(population["time"], population["size"], strict=True))
    reading = {"use_rep": "X_sim", "mass": mass}
    options = {"source": "transport", **reading}
    if carried_by != "transport":
        scruot.tl.fit_dynamics(adata, carried_by, progress=False, device="cpu", **reading)
        options = {"stochastic": True, "n_simulations": n_simulations}
    fitted = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.process_time()
    scruot.tl.fate_probabilities(adata, "cell_type", **options)
    spent = time.process_time() - begin
    ended = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": spent, "before": fitted.ru_maxrss / 1e6, "peak": ended.ru_maxrss / 1e6}


def main() -> None:
    """Run every way in a fresh process, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--carried-by", nargs="+", default=["transport", "sf2m"])
    parser.add_argument("--one", help="run this way here")
    given = parser.parse_args()
    if given.one:
        logging.basicConfig()
        print(json.dumps(work(given.one, given.cells, given.simulations)))
        return
    print("| carried by | cells | CPU s | peak GB | before the call |")
    print("| --- | --- | --- | --- | --- |")
    for way in given.carried_by:
        call = [sys.executable, __file__, "--one", way, "--cells", str(given.cells)]
        call += ["--simulations", str(given.simulations)]
        done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        row = f"{found['cpu']:.0f} | {found['peak']:.2f} | {found['before']:.2f}"
        print(f"| `{way}` | {given.cells} | {row} |", flush=True)


if __name__ == "__main__":
    main()
