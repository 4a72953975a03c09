"""A pretended accelerator: real numbers, computed on the CPU, that refuse to mix with the CPU's.

Tensors on it carry the device type that torch reserves for third parties. A dispatch mode runs
every operation on the wrapped CPU tensors, and raises where CUDA would: when an operation is
given tensors of both devices (CPU scalars in element-wise operations aside), or draws random
numbers with another device's generator. It is stricter in one thing: to draw without any
generator is refused as well.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import scruot.dynamics.device as home

DEVICE = torch.device("privateuseone", 0)
# torch before 2.10 cannot be told of a device in Python, and one device beside the CPU is all
# that its autograd can have
SUPPORTED = (
    hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
    and not torch.cuda.is_available()
)
# now, and for the rest of the process: the first backward pass counts the devices
if SUPPORTED and not hasattr(torch, "elsewhere"):
    backend_registration._setup_privateuseone_for_python_backend("elsewhere")

aten = torch.ops.aten
CROSSING = {aten.copy_.default, aten._to_copy.default}
SCALAR_VALUE = {aten.index_put_.default, aten.index_put.default}


class Elsewhere(torch.Tensor):
    """A tensor that says it is on the device and holds its numbers in ``inner``."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "Elsewhere":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        made.inner = inner
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Elsewhere({self.inner!r})"

    def tolist(self) -> Any:
        """Copy to the CPU first, as CUDA tensors do."""
        return self.inner.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Refuse, as CUDA tensors do."""
        msg = f"can't convert {DEVICE} device type tensor to numpy; use Tensor.cpu() first"
        raise TypeError(msg)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.numpy()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


class ElsewhereGenerator(torch.Generator):
    """A generator of the device."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where it draws."""
        return DEVICE


def make_generator(device: torch.device, seed: int) -> torch.Generator:
    """Stand in for :func:`scruot.dynamics.device.make_generator`."""
    generator = ElsewhereGenerator() if device.type == DEVICE.type else torch.Generator()
    generator.manual_seed(seed)
    return generator


def dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Check where everything is, compute on the CPU, and wrap what belongs to the device."""
    leaves = tree_leaves((args, kwargs))
    tensors = [v for v in leaves if isinstance(v, torch.Tensor)]
    wrapped = {id(t.inner): t for t in tensors if isinstance(t, Elsewhere)}
    there = bool(wrapped)
    if func not in CROSSING:
        _refuse_mixture(func, args, tensors)
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]).type == DEVICE.type
        kwargs = {**kwargs, "device": torch.device("cpu") if there else kwargs["device"]}
    if there:
        _refuse_global_draw(func, leaves)
    args, kwargs = tree_map(lambda v: v.inner if isinstance(v, Elsewhere) else v, (args, kwargs))
    result = func(*args, **kwargs)

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in wrapped:  # what an operation in place returns
            return wrapped[id(value)]
        return Elsewhere(value) if there else value

    return tree_map(wrap, result)


def _refuse_mixture(func: Any, args: Any, tensors: list[torch.Tensor]) -> None:
    free = (
        tensors if torch.Tag.pointwise in func.tags else args[2:3] if func in SCALAR_VALUE else []
    )
    scalars = {id(t) for t in free if t.ndim == 0}
    devices = {t.device for t in tensors if id(t) not in scalars or t.device == DEVICE}
    if len(devices) > 1:
        msg = f"{func}: expected all tensors on one device, found {sorted(map(str, devices))}"
        raise RuntimeError(msg)


def _refuse_global_draw(func: Any, leaves: list[Any]) -> None:
    seeded = any(isinstance(v, torch.Generator) for v in leaves)
    if torch.Tag.nondeterministic_seeded in func.tags and not seeded:
        msg = f"{func}: draws from the global generator of {DEVICE}"
        raise RuntimeError(msg)


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What torch decides above the dispatcher: where values go, and whose generator it is."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            # torch copies these to the device below all modes
            device = kwargs.pop("device", None)
            made = func(*args, **kwargs)
            return made if device is None else made.to(device)
        if func is torch.Tensor.new_tensor:
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(
                args[0].device
            )
        generator = kwargs.get("generator")
        if generator is not None:
            first = args[0].device if args and isinstance(args[0], torch.Tensor) else "cpu"
            target = torch.device(kwargs.get("device") or first)
            if target.type != generator.device.type:
                msg = f"{func}: expected a generator of {target}, found one of {generator.device}"
                raise RuntimeError(msg)
        return func(*args, **kwargs)


@contextmanager
def fake_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Keep watch while the context lasts, and make generators of the device where they are made."""
    real = home.make_generator
    with monkeypatch.context() as patch, ExitStack() as modes:
        for module in [m for n, m in sys.modules.items() if n.startswith("scruot")]:
            if getattr(module, "make_generator", None) is real:
                patch.setattr(module, "make_generator", make_generator)
        modes.enter_context(_Functions())
        modes.enter_context(_Dispatch())
        yield DEVICE
