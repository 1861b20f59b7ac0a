"""The processes of a run that torchrun started, joined by torch.distributed."""

import atexit
import json
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from inspect import signature
from typing import Any, Final

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float64
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from thorax.errors import ThoraxError
from thorax.training.compute import own_device
from thorax.training.heartbeat import Heartbeat, end_with
from thorax.training.launched import Launched
from thorax.training.ranks import LossUnexplained, ProcessLost, Ranks

__all__ = ["ProcessGroup", "join"]

_TCPStore: Final[Any] = dist.TCPStore  # type: ignore[attr-defined]
_PrefixStore: Final[Any] = dist.PrefixStore  # type: ignore[attr-defined]

_OWN_BUFFERS: Final[dict[str, Any]] = (
    {"forward_sync_buffers": False}
    if "forward_sync_buffers" in signature(DistributedDataParallel).parameters
    else {"broadcast_buffers": False}  # before torch 2.13
)
"""DDP would give the buffers of the first process to all at each step; `Ranks.average` keeps those of all."""

_TIMEOUT: Final = timedelta(days=7)
"""Of one exchange: whether the other processes are alive, the heartbeat says."""


class ProcessGroup(Ranks):
    """Several processes; `join` returns that of this program.

    Args:
        launched: Which of them this one is.
        heartbeat: Watches whether the others are alive.
    """

    def __init__(self, launched: Launched, heartbeat: Heartbeat) -> None:
        self.rank, self.size = launched.rank, launched.size
        self._launched, self._heartbeat = launched, heartbeat
        self._asked: tuple[Tensor, dist.Work] | None = None

    def any(self, here: bool) -> bool:  # noqa: FBT001  (as in Ranks)
        """Return whether it is true in any process."""
        flag = torch.tensor([int(here)])
        with self.watched():
            dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())

    def any_lately(self, here: bool) -> bool:  # noqa: FBT001  (as in Ranks)
        """Return whether it was true in any process at the last call; the answer of this one is under way.

        All processes return the same, so they stop at the same step. Waiting for the answer after each step
        took 6 % of the rate of two processes (bench/ddp.py).
        """
        with self.watched():
            if self._asked is not None:
                flag, answer = self._asked
                self._asked = None
                answer.wait()
                if flag.item():
                    return True
            flag = torch.tensor([int(here)])
            self._asked = flag, dist.all_reduce(flag, dist.ReduceOp.MAX, async_op=True)
        return False

    def from_first(self, make: Callable[[], Any]) -> Any:
        """Return what the first process makes, a value that JSON can hold."""
        content = json.dumps(make()).encode() if self.is_first else b""
        size = torch.tensor([len(content)])
        with self.watched():
            dist.broadcast(size, 0)
            text = torch.empty(int(size.item()), dtype=torch.uint8)
            if self.is_first:
                text.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
            dist.broadcast(text, 0)
        return json.loads(text.numpy().tobytes())

    def tensors_from_first(self, tensors: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        """Return the tensors of the first process."""

        def shapes() -> list[tuple[str, list[int], str]]:
            assert tensors is not None
            return [(name, list(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in tensors.items()]

        received = {}
        for name, shape, dtype in self.from_first(shapes):
            if tensors is not None and self.is_first:
                tensor = tensors[name].detach().cpu().contiguous()
            else:
                tensor = torch.empty(shape, dtype=getattr(torch, dtype))
            with self.watched():
                dist.broadcast(tensor, 0)
            received[name] = tensor
        return received if tensors is None else tensors

    def whole_batch(self, logits: Tensor, *, count: int) -> Tensor:
        """Return the logits of the whole batch, in order, of which only the own ones have a gradient."""
        shares = [share.stop - share.start for share in self.shares(count)]
        # Losses are computed in float32 anyway, and gloo does not exchange every type.
        own = logits.float()
        padded = own.new_zeros((max(shares), *own.shape[1:]))
        padded[: len(own)] = own.detach()
        parts = [torch.empty_like(padded) for _ in shares]
        with self.watched():
            dist.all_gather(parts, padded)
        parts = [part[:share] for part, share in zip(parts, shares, strict=True)]
        parts[self.rank] = own
        return torch.cat(parts)

    def all_rows(
        self, own: Float64[np.ndarray, "share k"], *, counts: Sequence[int]
    ) -> Float64[np.ndarray, "n k"]:
        """Return the rows of all processes in order."""
        padded = torch.zeros((max(counts), own.shape[1]), dtype=torch.float64)
        padded[: len(own)] = torch.from_numpy(own)
        parts = [torch.empty_like(padded) for _ in counts]
        with self.watched():
            dist.all_gather(parts, padded)
        return np.concatenate([part[:count].numpy() for part, count in zip(parts, counts, strict=True)])

    def exchange(
        self, incoming: Tensor, outgoing: Tensor, *, received: Sequence[int], given: Sequence[int]
    ) -> None:
        """Give each process its part of `outgoing`, and fill `incoming` with what they give, by rank."""
        with self.watched():
            dist.all_to_all_single(incoming, outgoing, list(received), list(given))

    def wrapped(self, net: nn.Module, *, like: Tensor | None) -> nn.Module:
        """Return a net whose backward pass adds up the gradients of all processes."""
        unused = like is not None and _has_unused(net, like)
        with self.watched():
            for buffer in net.buffers():
                dist.broadcast(buffer, 0)
            joined = DistributedDataParallel(net, find_unused_parameters=unused, **_OWN_BUFFERS)
            joined.register_comm_hook(None, _sum)
            if like is not None and not unused:
                # Gradients are exchanged in buckets, which are laid out anew after the first step, and the
                # layout decides in which order three or more processes are added up: a resumed run must
                # begin with the layout that it was stopped with.
                joined.eval()
                joined(like).sum().backward()
                joined.zero_grad()
                joined.train()  # type: ignore[no-untyped-call]
        return joined

    def average(self, tensors: Collection[Tensor]) -> None:
        """Replace the tensors by their means over the processes."""
        if not tensors:
            return
        with torch.no_grad(), self.watched():
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            dist.all_reduce(flat)
            flat /= self.size
            means = torch.split(flat, [tensor.numel() for tensor in tensors])
            for tensor, mean in zip(tensors, means, strict=True):
                tensor.copy_(mean.view_as(tensor))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Name the loss of another process what it is."""
        try:
            yield
        except RuntimeError as error:
            if not _is_of_connections(error):
                raise
            raise ProcessLost(self._heartbeat.describe_loss()) from error

    def speaks(self, error: ThoraxError, *, shared: tuple[type[ThoraxError], ...]) -> bool:
        """Return whether this process is the one that reports an error.

        Args:
            error: The error of this process.
            shared: Errors that all processes have at the same step; the first one reports them.

        Raises:
            LossUnexplained: Another process was lost, and the one that started both knows how it ended.
        """
        if isinstance(error, shared):
            return self.is_first
        if isinstance(error, ProcessLost):
            time.sleep(1)  # a process that knows the reason comes first
            if self._launched.by_thorax and not self._heartbeat.named:
                raise LossUnexplained(str(error)) from error
        return self._heartbeat.claims()


@cache
def join(launched: Launched, device: str) -> ProcessGroup:
    """Join the processes of this program; once, until it ends.

    Args:
        launched: Which process this is.
        device: "auto", "cpu" or "cuda".

    Raises:
        RecipeError: There is no such device, or there are fewer GPUs than processes.
    """
    own = own_device(device, launched)
    if launched.starter is not None:
        end_with(launched.starter)
    if launched.by_thorax:
        # Only this machine takes part, so nothing listens elsewhere.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    if own.type == "cuda":
        torch.cuda.set_device(own)
    backend = "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo"
    size, rank = launched.size, launched.rank
    store = _PrefixStore(f"thorax-{launched.restarts}", _store(launched))
    dist.init_process_group(backend, store=store, world_size=size, rank=rank, timeout=_TIMEOUT)
    # For the heartbeat, which must not wait behind the training.
    notes = _PrefixStore(f"notes-{launched.restarts}", _client(launched, seconds=6))
    heartbeat = Heartbeat(notes, rank=rank, size=size)
    heartbeat.start()
    atexit.register(_leave, heartbeat)
    return ProcessGroup(launched, heartbeat)


def _store(launched: Launched) -> Any:
    """Return the store through which the processes find each other."""
    host, port = _address()
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" or not launched.is_first:
        return _client(launched, seconds=900)
    here = {}
    if launched.by_thorax:  # only processes of this machine can reach the port
        here["master_listen_fd"] = socket.create_server((host, port)).detach()
    return _TCPStore(host, port, launched.size, is_master=True, wait_for_workers=False, **here)


def _client(launched: Launched, *, seconds: int) -> Any:
    """Return a connection to the store of the first process or of its agent."""
    timeout = timedelta(seconds=seconds)
    return _TCPStore(*_address(), launched.size, is_master=False, wait_for_workers=False, timeout=timeout)


def _address() -> tuple[str, int]:
    return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])


def _leave(heartbeat: Heartbeat) -> None:
    heartbeat.stop()
    if dist.is_initialized():
        dist.destroy_process_group()


def _is_of_connections(error: RuntimeError) -> bool:
    """Return whether an error says that another process cannot be reached."""
    text = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in text or "nccl" in text or "connection" in text


def _sum(
    _state: None,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[Tensor]:
    """Add up a bucket of gradients over the processes; DDP's own way divides by their number."""
    exchange = dist.all_reduce(bucket.buffer(), async_op=True)
    future: torch.futures.Future[Tensor] = exchange.get_future().then(lambda done: done.value()[0])
    return future


def _has_unused(net: nn.Module, like: Tensor) -> bool:
    """Return whether a parameter that learns gets no gradient, as the second norm of some backbones."""
    net.eval()
    net(like).sum().backward()
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    unused = any(parameter.grad is None for parameter in learning)
    net.zero_grad()
    net.train()
    return unused
