"""Batch norm over the images of all processes.

On a GPU, PyTorch's SyncBatchNorm does it. That does not compute on a CPU, where the same statistics are
exchanged here.
"""

from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from thorax.models.backbones import timm

__all__ = ["norms_over_processes"]


class _Normalize(torch.autograd.Function):
    """Normalization with mean and variance over all processes, in two exchanges per step."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Any:
        images = values.float()
        dims = [0, *range(2, values.ndim)]
        variance, mean = torch.var_mean(images, dim=dims, correction=0)
        # Sums in float64, whose difference of squares is exact enough.
        variance, mean = variance.double(), mean.double()
        here = images.numel() // images.shape[1]
        sums = torch.cat([here * mean, here * (variance + mean.square()), mean.new_tensor([here])])
        dist.all_reduce(sums)
        count = sums[-1]
        mean, squares = (sums[:-1] / count).chunk(2)
        variance = (squares - mean.square()).clamp(min=0)
        scale = (variance + eps).rsqrt().float()
        normalized = (images - _along(mean.float(), values)) * _along(scale, values)
        ctx.save_for_backward(normalized, weight, scale)
        ctx.count = float(count)
        ctx.mark_non_differentiable(mean, variance, count)
        result = normalized * _along(weight, values) + _along(bias, values)
        return result.to(values.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_statistics: Tensor) -> Any:
        normalized, weight, scale = ctx.saved_tensors
        dims = [0, *range(2, gradient.ndim)]
        gradient_sum = gradient.float().sum(dim=dims)
        product_sum = (gradient.float() * normalized).sum(dim=dims)
        sums = torch.cat([gradient_sum, product_sum]).double()
        dist.all_reduce(sums)
        mean, product = (sums / ctx.count).float().chunk(2)
        own = gradient.float() - _along(mean, gradient) - normalized * _along(product, gradient)
        # Those of the weights are of the own images: DDP adds them up.
        of_values = (own * _along(weight * scale, gradient)).to(gradient.dtype)
        return of_values, product_sum, gradient_sum, None


class _OnCpu(nn.SyncBatchNorm):
    """The layer with an exchange that works on a CPU."""

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.momentum is None or not self.affine:
            return super().forward(values)
        result, mean, variance, count = _Normalize.apply(values, self.weight, self.bias, self.eps)
        if self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                self.running_mean.lerp_(mean.float(), self.momentum)
                self.running_var.lerp_((variance * count / (count - 1)).float(), self.momentum)
        return result


class _ActOnCpu(timm.layers.SyncBatchNormAct, _OnCpu):  # type: ignore[misc]
    """The same with timm's activation."""


_ON_CPU: Final[dict[type[nn.Module], type[nn.Module]]] = {
    nn.SyncBatchNorm: _OnCpu,
    timm.layers.SyncBatchNormAct: _ActOnCpu,
}


def norms_over_processes(net: nn.Module) -> nn.Module:
    """Return a net whose batch norms take their statistics over all processes; its names stay the same.

    Args:
        net: The net, on its device.
    """
    synchronized: nn.Module = timm.layers.convert_sync_batchnorm(net)
    if next(net.parameters()).device.type == "cpu":
        for module in synchronized.modules():
            if type(module) in _ON_CPU:
                module.__class__ = _ON_CPU[type(module)]
    return synchronized


def _along(values: Tensor, like: Tensor) -> Tensor:
    """Reshape one value per channel so that it broadcasts over a batch."""
    return values.view(1, -1, *[1] * (like.ndim - 2))
