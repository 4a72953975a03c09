"""The training loop: averages, best weights, interruption to the bit, and what it refuses."""

import math
import os
import signal
import threading

import numpy as np
import pytest
import torch

from scruot.dynamics.fields import Field
from scruot.dynamics.train import Schedule, averaged_weights, make_optimizers, train

OPTIMIZERS = ["muon", "adamw"]


def field(seed=0):
    generator = torch.Generator().manual_seed(seed)
    heads = {"velocity": 2, "growth": 1}
    return Field(2, heads, width=8, depth=2, generator=generator)


class Task:
    """A regression with random batches, that can do something at a chosen call."""

    def __init__(self, model, at=None, then=None):
        self.model, self.at, self.then, self.calls = model, at, then, 0

    def __call__(self, generator):
        self.calls += 1
        if self.calls == self.at:
            self.then()
        x, t = torch.randn(16, 2, generator=generator), torch.rand(16, generator=generator)
        out = self.model(t, x)
        velocity = (out["velocity"] - 3 * x).square().mean()
        growth = (out["growth"] - t).square().mean()
        return {"loss": velocity + growth, "velocity": velocity, "growth": growth}


def fit(schedule, *, seed=0, at=None, then=None, task=None, **options):
    model = field()
    state = train(
        model,
        task(model) if task else Task(model, at, then),
        schedule,
        generator=torch.Generator().manual_seed(seed),
        **options,
    )
    return model, state


def same_weights(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.fixture(scope="module")
def whole():
    """What uninterrupted runs end with."""
    return {name: fit(Schedule(steps=12, optimizer=name)) for name in OPTIMIZERS}


def interrupt_by_signal():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("at", [1, 5, 12])
def test_resumes_after_sigint_to_the_bit(optimizer, at, whole, tmp_path):
    schedule, path = Schedule(steps=12, optimizer=optimizer), tmp_path / "state.npz"
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(schedule, at=at, then=interrupt_by_signal, checkpoint=path)
    assert signal.getsignal(signal.SIGINT) is before
    assert path.exists()
    model, state = fit(schedule, seed=99, checkpoint=path)
    assert same_weights(model, whole[optimizer][0])
    assert state.history == whole[optimizer][1].history
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumes_after_an_exception_within_a_step(optimizer, whole, tmp_path):
    def stop():
        raise KeyboardInterrupt

    schedule, path = Schedule(steps=12, optimizer=optimizer), tmp_path / "state.npz"
    with pytest.raises(KeyboardInterrupt):
        fit(schedule, at=8, then=stop, checkpoint=path, checkpoint_seconds=-1.0)
    model, state = fit(schedule, seed=99, checkpoint=path)
    assert same_weights(model, whole[optimizer][0])
    assert state.history == whole[optimizer][1].history


def test_a_loss_that_changes_is_told_every_step_once(tmp_path):
    schedule, path, told = Schedule(steps=12), tmp_path / "state.npz", []
    with pytest.raises(KeyboardInterrupt):
        fit(schedule, at=5, then=interrupt_by_signal, checkpoint=path, before_step=told.append)
    fit(schedule, checkpoint=path, before_step=told.append)
    assert told == list(range(12))


def test_a_step_is_never_cut_in_half():
    calls = []

    def twice():
        interrupt_by_signal()
        interrupt_by_signal()

    class Watched(Task):
        def __call__(self, generator):
            terms = super().__call__(generator)
            calls.append(len(calls))
            return terms

    with pytest.raises(KeyboardInterrupt):
        fit(Schedule(steps=12), task=lambda m: Watched(m, at=4, then=twice))
    assert len(calls) == 4


def test_a_finished_run_is_not_trained_further(tmp_path):
    path = tmp_path / "state.npz"
    first, _ = fit(Schedule(steps=12), checkpoint=path)
    tasks = []

    def task(model):
        tasks.append(Task(model))
        return tasks[-1]

    second, state = fit(Schedule(steps=12), checkpoint=path, task=task)
    assert tasks[0].calls == 0
    assert state.step == 12
    assert same_weights(first, second)


def test_resumes_with_its_validation(tmp_path):
    def values():
        # the third validation is the best; the figure after the restart goes on from there
        return iter([5.0, 4.0, 1.0, 3.0, 2.0, 6.0])

    schedule, path = Schedule(steps=12, validate_every=2), tmp_path / "state.npz"
    given = values()
    whole, state = fit(schedule, validate=lambda: next(given))
    given = values()
    with pytest.raises(KeyboardInterrupt):
        fit(
            schedule,
            at=9,
            then=interrupt_by_signal,
            checkpoint=path,
            validate=lambda: next(given),
        )
    resumed, again = fit(schedule, checkpoint=path, validate=lambda: next(given))
    assert same_weights(whole, resumed)
    assert again.validation == state.validation
    assert state.validation["step"] == [2, 4, 6, 8, 10, 12]


def test_works_outside_the_main_thread(whole):
    results = []
    schedule = Schedule(steps=12, optimizer="muon")
    thread = threading.Thread(target=lambda: results.append(fit(schedule)[0]))
    thread.start()
    thread.join()
    assert same_weights(results[0], whole["muon"][0])


# the checkpoint


def test_checkpoint_of_another_fit_is_refused(tmp_path):
    path = tmp_path / "state.npz"
    fit(Schedule(steps=2), checkpoint=path, fingerprint="one")
    with pytest.raises(ValueError, match="belongs to other data or other parameters; delete it"):
        fit(Schedule(steps=2), checkpoint=path, fingerprint="other")


def truncated(path):
    path.write_bytes(path.read_bytes()[:500])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def pickled(path):
    np.savez(path, meta=np.array([{"a": 1}], dtype=object), generator=np.zeros(3))


def foreign(path):
    np.savez(path, x=np.zeros(3))


def single(path):
    with path.open("wb") as handle:
        np.save(handle, np.zeros(3))


@pytest.mark.parametrize(
    "damage",
    [truncated, flipped, pickled, foreign, single, lambda path: path.write_bytes(b"")],
    ids=["truncated", "flipped", "pickled", "foreign", "single", "empty"],
)
def test_damaged_checkpoint_is_refused(tmp_path, damage):
    path = tmp_path / "state.npz"
    fit(Schedule(steps=2), checkpoint=path)
    damage(path)
    with pytest.raises(ValueError, match=r"state\.npz is not a readable checkpoint .*; delete it"):
        fit(Schedule(steps=2), checkpoint=path)


def test_checkpoint_holds_plain_arrays(tmp_path):
    path = tmp_path / "state.npz"
    fit(Schedule(steps=2), checkpoint=path)
    with np.load(path, allow_pickle=False) as file:
        assert {file[name].dtype.kind for name in file.files} <= set("fiuUb")


# averages and best weights


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_average_is_the_formula(optimizer):
    decay, weights, model = 0.9, [], field()

    class Recorder(Task):
        def __call__(self, generator):
            # the weights after the step before
            weights.append([p.detach().clone().double() for p in model.parameters()])
            return super().__call__(generator)

    schedule = Schedule(steps=7, ema=decay, optimizer=optimizer)
    last = []
    train(
        model,
        Recorder(model),
        schedule,
        generator=torch.Generator().manual_seed(0),
        validate=lambda: last.append(1) or math.nan,
    )
    raw, _ = fit(Schedule(steps=7, ema=0.0, optimizer=optimizer))
    seen = [*weights[1:], [p.detach().double() for p in raw.parameters()]]
    for i, averaged in enumerate(model.parameters()):
        numerator = sum(decay ** (7 - k) * w[i] for k, w in enumerate(seen, start=1))
        expected = numerator / sum(decay ** (7 - k) for k in range(1, 8))
        torch.testing.assert_close(averaged.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_average_of_one_step_is_that_step():
    averaged, _ = fit(Schedule(steps=1, ema=0.99))
    raw, _ = fit(Schedule(steps=1, ema=0.0))
    for a, b in zip(averaged.parameters(), raw.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_early_stopping_returns_the_best_weights(ema):
    figures = iter([3.0, 1.0, 2.0, 2.0, 0.0])
    model, seen = field(), []

    def validate():
        seen.append([p.detach().clone() for p in model.parameters()])
        return next(figures)

    schedule = Schedule(steps=100, validate_every=3, patience=2, ema=ema)
    state = train(
        model, Task(model), schedule, generator=torch.Generator().manual_seed(0), validate=validate
    )
    # the second was best, two without progress followed
    assert state.step == 12
    assert len(seen) == 4
    assert state.best_value == 1.0
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), seen[1], strict=True))
    assert not any(torch.equal(p, q) for p, q in zip(model.parameters(), seen[3], strict=True))
    # true copies: what moves on does not move them
    kept = {name: value.clone() for name, value in state.best.items()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    assert all(torch.equal(state.best[name], value) for name, value in kept.items())


def test_validation_does_not_disturb_training():
    plain, _ = fit(Schedule(steps=9, validate_every=2))
    values = iter(range(10, 0, -1))
    _, state = fit(Schedule(steps=9, validate_every=2), validate=lambda: float(next(values)))
    final = averaged_weights(state, Schedule())
    assert all(torch.equal(p, final[n]) for n, p in plain.named_parameters())


# the rest


def test_two_kinds_of_optimizer():
    model = field()
    muon, adamw = make_optimizers(model, Schedule(optimizer="muon"))
    assert isinstance(muon, torch.optim.Muon)
    owned = [p for o in (muon, adamw) for group in o.param_groups for p in group["params"]]
    assert {id(p) for p in owned} == {id(p) for p in model.parameters()}
    assert len(owned) == len(list(model.parameters()))
    hidden = {id(p) for group in muon.param_groups for p in group["params"]}
    assert hidden == {id(layer.weight) for layer in model.trunk}
    (alone,) = make_optimizers(model, Schedule(optimizer="adamw"))
    assert isinstance(alone, torch.optim.AdamW)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_learns(optimizer):
    rate = 0.05 if optimizer == "muon" else 0.02
    _, state = fit(Schedule(steps=150, optimizer=optimizer, learning_rate=rate))
    loss = state.history["loss"]
    assert np.mean(loss[-20:]) < 0.1 * np.mean(loss[:5])


def test_rate_rises_and_falls():
    schedule = Schedule(steps=1000)
    rates = [schedule.rate(step) for step in range(1000)]
    assert np.argmax(rates) in (29, 30)
    assert max(rates) == 1.0
    assert (np.diff(rates[:30]) > 0).all()
    assert (np.diff(rates[30:]) < 0).all()
    assert rates[0] == pytest.approx(1 / 30)
    assert rates[-1] == pytest.approx(1e-3, rel=0.01)


def test_every_term_of_every_step_is_kept():
    _, state = fit(Schedule(steps=7))
    assert {k: len(v) for k, v in state.history.items()} == {"loss": 7, "velocity": 7, "growth": 7}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_at_once(value):
    class Broken(Task):
        def __call__(self, generator):
            terms = super().__call__(generator)
            if self.calls == 3:
                terms["loss"] = terms["loss"] * value
            return terms

    message = r"The loss became (nan|inf) at step 3; lower learning_rate \(now 0.05\)"
    with pytest.raises(FloatingPointError, match=message):
        fit(Schedule(steps=10, learning_rate=0.05), task=Broken)


def test_same_seed_same_bits_other_seed_other_bits():
    first, again, other = (fit(Schedule(steps=5), seed=s)[0] for s in (0, 0, 1))
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_global_random_states_are_left_alone():
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fit(Schedule(steps=3))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
