"""The simulated device keeps the rules of a GPU: what the tests on it find depends on that."""

from collections.abc import Callable, Iterator

import pytest
import torch
from simulated.device import DeviceMismatch, UnfinishedCopy, simulated_devices
from simulated.log import Log
from torch import Tensor, nn

Operation = Callable[[Tensor, Tensor], object]
"""On a tensor of the device and one of the CPU, both ``(4,)``."""


@pytest.fixture
def log() -> Iterator[Log]:
    with simulated_devices() as log:
        yield log


WAITING: list[Operation] = [
    lambda there, here: there.sum().item(),
    lambda there, here: bool(there[0] > 0),
    lambda there, here: there.cpu(),
    lambda there, here: here.to("sim"),
    lambda there, here: here.copy_(there),
    lambda there, here: here.copy_(there, non_blocking=True),
    lambda there, here: there.copy_(here),
    lambda there, here: there[there > 1],
    lambda there, here: there[here.long()],
    lambda there, here: there.nonzero(),
    lambda there, here: torch.tensor(1.0, device="sim"),
    lambda there, here: there.repeat_interleave(there.long()),
]

SILENT: list[Operation] = [
    lambda there, here: there.add_(1).mul(2).sum(),
    lambda there, here: here.to("sim", non_blocking=True),
    lambda there, here: torch.zeros(3, device="sim") + torch.arange(3, device="sim"),
    lambda there, here: there[there.long()],
    lambda there, here: there * torch.tensor(3.0),
    lambda there, here: torch.where(there > 1, there, 0.0),
    lambda there, here: there.clone().zero_(),
]

MISTAKEN: list[Operation] = [
    lambda there, here: there + here,
    lambda there, here: here[there.long()],
    lambda there, here: torch.cat([there, here]),
    lambda there, here: here.add_(there),
    lambda there, here: there + there.to("sim:1"),
]


@pytest.mark.parametrize(("operations", "waits"), [(WAITING, True), (SILENT, False)])
def test_notes_what_waits_for_the_device(operations: list[Operation], waits: bool, log: Log) -> None:
    for operation in operations:
        there, here = torch.arange(4.0).to("sim"), torch.arange(4.0)
        log.events.clear()
        operation(there, here)
        assert any(event.waits for event in log.events) == waits, log.events


def test_refuses_to_mix_devices(log: Log) -> None:
    for operation in MISTAKEN:
        with pytest.raises(DeviceMismatch):
            operation(torch.arange(4.0).to("sim"), torch.arange(4.0))


def test_refuses_copies_to_the_cpu_that_nobody_waits_for(log: Log) -> None:
    with pytest.raises(UnfinishedCopy):
        torch.arange(4.0).to("sim").to("cpu", non_blocking=True)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_trains_what_the_cpu_trains(kind: type[nn.GRU] | type[nn.LSTM], log: Log) -> None:
    trained = {}
    for device in ("cpu", "sim:0"):
        torch.manual_seed(0)
        layer = kind(3, 4, batch_first=True, bidirectional=True)
        network = nn.Sequential(nn.Linear(3, 3), layer).to(device)
        optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        for _ in range(2):
            optimizer.zero_grad()
            outputs, _ = network(torch.randn(2, 5, 3).to(device))
            outputs.square().mean().backward()
            optimizer.step()
        trained[device] = [parameter.detach().cpu() for parameter in network.parameters()]
        assert {parameter.device for parameter in network.parameters()} == {torch.device(device)}
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*trained.values(), strict=True))
