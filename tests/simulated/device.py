"""An accelerator that is not there: tensors on ``sim:0``, ``sim:1``, ... compute on the CPU by the rules of a GPU.

An operation that mixes devices fails, as it does on a GPU. Copies and all that would let the processor wait for the
device are noted. Random numbers come from the CPU's generator, so that a program draws here what it draws on the CPU.
PyTorch trains on the first of the devices alone, and in a process only where this module is imported before anything
is trained.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from lightning.pytorch.accelerators import CUDAAccelerator
from simulated.log import LOG, Log
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from genreclf.devices import DEVICE_TYPES

KIND = "sim"
"""The type of the devices."""

DEVICES = 2
"""How many there are."""

aten = torch.ops.aten

WAITS = {
    aten._local_scalar_dense.default,
    aten._unique2.default,
    aten.bincount.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.repeat_interleave.Tensor,
    aten.unique_dim.default,
}
"""Operations after which a GPU's processor knows a value or a size, and so has waited for it."""

INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
"""Operations that take an index from the CPU to the device."""


class DeviceMismatch(RuntimeError):
    """An operation on tensors of several devices."""


class UnfinishedCopy(RuntimeError):
    """A copy to the CPU that nobody waits for: PyTorch makes it into pinned memory, where it arrives later."""


class SimulatedTensor(Tensor):
    """A tensor on a simulated device, around the one on the CPU that holds its values."""

    values: Tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls: "type[SimulatedTensor]", values: Tensor, index: int = 0) -> "SimulatedTensor":
        """Put `values` on device `index`."""
        LOG.devices.add(index)
        with torch.inference_mode(values.is_inference()):
            made: SimulatedTensor = Tensor._make_wrapper_subclass(
                cls,
                values.size(),
                strides=values.stride(),
                storage_offset=values.storage_offset(),
                dtype=values.dtype,
                layout=values.layout,
                device=torch.device(KIND, index),
            )
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute outside of `SimulatedDevices`, such as in a thread."""
        return _compute(func, args, kwargs or {})

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Save the values."""
        return self.values.detach().__reduce_ex__(protocol)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        """Show the values."""
        return f"SimulatedTensor({self.values!r}, {self.device})"

    @property
    def data(self) -> Any:
        """The tensor without its history."""
        return Tensor.data.__get__(self)  # type: ignore[attr-defined]

    @data.setter
    def data(self, other: Any) -> None:
        Tensor.data.__set__(self, other)  # type: ignore[attr-defined]
        self.values = other.values


class SimulatedDevices(TorchDispatchMode):
    """Lets tensors be made on simulated devices."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute one operation."""
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute an operation on the CPU, and put what it returns where a GPU would."""
    flat, structure = pytree.tree_flatten((args, kwargs))
    tensors = [item for item in flat if isinstance(item, Tensor)]
    ours = [item for item in tensors if isinstance(item, SimulatedTensor)]
    asked = kwargs.get("device")
    target = ours[0].device if asked is None and ours else torch.device(asked or "cpu")
    if not ours and target.type != KIND:
        return func(*args, **kwargs)
    if func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd):
        with SimulatedDevices():  # In inference mode, they come here before they are taken apart.
            return func.decompose(*args, **kwargs)
    if func is aten._fused_sdp_choice.default:
        return 0  # The kernel that consists of other operations.
    if func is aten._to_copy.default:
        if kwargs.get("non_blocking") and ours and target.type == "cpu":
            raise UnfinishedCopy
        _note_copy(args[0], target, bool(kwargs.get("non_blocking")))
    elif func is aten.copy_.default:
        _note_copy(args[1], args[0].device, bool(kwargs.get("non_blocking", args[2] if len(args) > 2 else False)))
    elif ours:
        _check(func, args, ours, [item for item in tensors if not isinstance(item, SimulatedTensor)])
    on_cpu_args, on_cpu_kwargs = pytree.tree_unflatten([_on_cpu(item) for item in flat], structure)
    if "pin_memory" in on_cpu_kwargs:
        on_cpu_kwargs["pin_memory"] = False
    results = func(*on_cpu_args, **on_cpu_kwargs)
    if func is aten._to_copy.default and results is on_cpu_args[0]:
        results = results.clone()
    known = {id(_on_cpu(item)): item for item in tensors}  # What an operation in place returns.

    def placed(item: Any) -> Any:
        if not isinstance(item, Tensor):
            return item
        return known.get(id(item), item) if id(item) in known or target.type != KIND else _wrap(item, target)

    return pytree.tree_map(placed, results)


def _wrap(values: Tensor, device: torch.device) -> SimulatedTensor:
    return SimulatedTensor(values, device.index or 0)


def _on_cpu(item: Any) -> Any:
    if isinstance(item, SimulatedTensor):
        return item.values
    return torch.device("cpu") if isinstance(item, torch.device) and item.type == KIND else item


def _note_copy(source: Tensor, target: torch.device, non_blocking: bool) -> None:
    """Note a copy from one device to another; one into pageable memory of the CPU waits in any case."""
    if source.device != target:
        waits = target.type != KIND or not non_blocking
        LOG.note(f"copy {tuple(source.shape)} {source.device} to {target}", waits=waits, copies=True)


def _check(func: Any, args: Any, ours: Sequence[SimulatedTensor], theirs: Sequence[Tensor]) -> None:
    """Note that an operation waits for the device.

    Raises:
        DeviceMismatch: It takes tensors, other than numbers, from several devices.
    """
    elsewhere = [item for item in theirs if item.dim()]
    if func in INDEXING and isinstance(args[0], SimulatedTensor):
        if elsewhere:
            LOG.note(f"{func} of an index on the CPU", waits=True, copies=True)
            elsewhere = []
        if any(item.dtype in (torch.bool, torch.uint8) for item in args[1] if item is not None):
            LOG.note(f"{func} of a mask", waits=True)
    if func in WAITS:
        LOG.note(str(func), waits=True)
    devices = {item.device for item in (*ours, *elsewhere)}
    if len(devices) > 1:
        raise DeviceMismatch(f"{func}: expected all tensors to be on the same device, but they are on {devices}")


class _Recurrence(torch.autograd.Function):
    """A whole GRU or LSTM as one operation, which it is on a GPU, and which PyTorch has for its own devices alone."""

    @staticmethod
    def forward(ctx: Any, layer: Callable[..., Any], device: torch.device, *tensors: Tensor) -> Any:
        """Return the outputs and the last states."""
        inputs = [item.values.detach().requires_grad_(item.requires_grad) for item in tensors]
        with torch.enable_grad():
            outputs = layer(inputs)
        ctx.inputs, ctx.outputs, ctx.device = inputs, outputs, device
        return tuple(_wrap(output.detach(), device) for output in outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return the gradients of the inputs."""
        wanted = [item for item in ctx.inputs if item.requires_grad]
        given = torch.autograd.grad(ctx.outputs, wanted, [_on_cpu(gradient) for gradient in gradients])
        of = dict(zip(map(id, wanted), given, strict=True))
        return None, None, *(_wrap(of[id(item)], ctx.device) if id(item) in of else None for item in ctx.inputs)


def _recurrent(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return PyTorch's function of a GRU or an LSTM, which takes simulated tensors as well."""

    def compute(x: Tensor, state: Any, weights: Sequence[Tensor], *settings: Any) -> Any:
        if not isinstance(x, SimulatedTensor):
            return original(x, state, weights, *settings)
        states = list(state) if isinstance(state, tuple) else [state]

        def layer(tensors: Sequence[Tensor]) -> Any:
            x, *rest = tensors
            first = rest[: len(states)]
            return original(x, tuple(first) if isinstance(state, tuple) else first[0], rest[len(states) :], *settings)

        return _Recurrence.apply(layer, x.device, x, *states, *weights)

    return compute


def _made_of_numbers(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return `torch.tensor` or `torch.as_tensor`, which can put its result on a simulated device as well."""

    def make(data: Any, *, device: Any = None, **arguments: Any) -> Tensor:
        made = original(data, device=None if _is_simulated(device) else device, **arguments)
        return made.to(device) if _is_simulated(device) else made

    return make


def _is_simulated(device: Any) -> bool:
    return device is not None and torch.device(device).type == KIND


class _Backend:
    """What ``torch.sim`` is."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return DEVICES

    def manual_seed_all(self, seed: int) -> None:
        """Leave the random numbers to the CPU's generator."""

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        return 2**34, 2**34

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def _is_in_bad_fork(self) -> bool:
        return False


_setup_privateuseone_for_python_backend(KIND, backend_module=_Backend())


@contextmanager
def simulated_devices() -> Iterator[Log]:
    """Let PyTorch know the simulated devices, and Lightning and the commands take them for NVIDIA's."""
    LOG.events.clear()
    LOG.devices.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "tensor", _made_of_numbers(torch.tensor))
        patch.setattr(torch, "as_tensor", _made_of_numbers(torch.as_tensor))
        for name in ("gru", "lstm"):
            patch.setattr(torch._VF, name, _recurrent(getattr(torch._VF, name)))
        patch.setattr("genreclf.devices.DEVICE_TYPES", {*DEVICE_TYPES, KIND})
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: DEVICES)
        patch.setattr(torch.cuda, "get_device_name", lambda *_: "Simulated GPU")
        patch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        patch.setattr(torch.cuda.nccl, "version", lambda: ())
        patch.setattr(torch.backends.cudnn, "version", lambda: 0)
        patch.setattr(CUDAAccelerator, "is_available", staticmethod(lambda: True))
        patch.setattr(CUDAAccelerator, "setup_device", lambda self, device: None)
        patch.setattr(CUDAAccelerator, "setup", lambda self, trainer: None)
        patch.setattr(
            CUDAAccelerator,
            "get_parallel_devices",
            staticmethod(lambda devices: [torch.device(KIND, index) for index in devices]),
        )
        with SimulatedDevices():
            yield LOG
