"""Seeds and counts: one clear error in every public function, before anything is read."""

import inspect

import numpy as np
import pytest
from anndata import AnnData

import scruot
from scruot._checks import check_seed

FUNCTIONS = {
    f"{facade.__name__.split('.')[1]}.{name}": thing
    for facade in (scruot.tl, scruot.datasets)
    for name in facade.__all__
    if inspect.isfunction(thing := getattr(facade, name))
}


def parameters():
    """Yield every seed and every count, with what its function also takes."""
    for function, thing in FUNCTIONS.items():
        for name in inspect.signature(thing).parameters:
            seeds = name == "random_state"
            # whether columns or components are there is known once the data are read
            if seeds or (name.startswith("n_") and name not in {"n_dims", "n_pcs", "n_active"}):
                yield function, name


def call(function, **given):
    """Call with as little else as the function demands."""
    needed = {
        name: AnnData(np.zeros((2, 2))) if name == "adata" else "x"
        for name, parameter in inspect.signature(FUNCTIONS[function]).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }
    FUNCTIONS[function](**needed, **given)


@pytest.mark.parametrize(("function", "name"), list(parameters()))
def test_anything_but_a_whole_number_is_refused(function, name):
    optional = "None" in str(inspect.signature(FUNCTIONS[function]).parameters[name].annotation)
    for bad in (1.5, "2", True, -1, [0]) if optional else (1.5, "2", True, -1, [0], None):
        with pytest.raises(ValueError, match=rf"{name}(=| is ).*; expected"):
            call(function, **{name: bad})


@pytest.mark.parametrize("good", [0, np.int64(7), 2**32 - 1])
def test_seeds_are_whole_numbers_of_any_kind(good):
    found = check_seed(good)
    assert type(found) is int
    assert found == good
    assert np.random.default_rng(found).random() == np.random.default_rng(good).random()


def test_a_seed_that_is_too_large_says_what_is_possible():
    with pytest.raises(ValueError, match="from 0 to 4294967295"):
        check_seed(2**32)


def test_generators_take_generators():
    call = {"n_cells": 10, "n_times": 2}
    first = scruot.datasets.three_gene(**call, random_state=3)
    again = scruot.datasets.three_gene(**call, random_state=np.random.default_rng(3))
    np.testing.assert_array_equal(first.obsm["X_genes"], again.obsm["X_genes"])
