"""Batch norm over the images of all processes.

On a GPU, PyTorch's SyncBatchNorm does it. That does not compute on a CPU, where the same statistics are
exchanged here.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from thorax.models.backbones import timm

__all__ = ["take_norms_over_processes"]


_BatchNormAct2d: Any = timm.layers.BatchNormAct2d


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
        # Gradients of the weights come from the images of this process: DDP adds them up.
        of_values = (own * _along(weight * scale, gradient)).to(gradient.dtype)
        return of_values, product_sum, gradient_sum, None


def _normalized(layer: nn.modules.batchnorm._BatchNorm, values: Tensor) -> Tensor:
    """Normalize a share of a batch with the statistics of the batch, and renew the running ones."""
    normalize: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]] = _Normalize.apply
    result, mean, variance, count = normalize(values, layer.weight, layer.bias, layer.eps)
    if layer.running_mean is not None and layer.running_var is not None:
        assert layer.num_batches_tracked is not None
        with torch.no_grad():
            layer.num_batches_tracked.add_(1)
            # Without a momentum, they are the means of all steps.
            share = 1 / int(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
            layer.running_mean.lerp_(mean.float(), share)
            layer.running_var.lerp_((variance * count / (count - 1)).float(), share)
    return result


class _Norm1d(nn.BatchNorm1d):
    def forward(self, values: Tensor) -> Tensor:
        return _normalized(self, values) if self.training else super().forward(values)


class _Norm2d(nn.BatchNorm2d):
    def forward(self, values: Tensor) -> Tensor:
        return _normalized(self, values) if self.training else super().forward(values)


class _NormAct2d(_BatchNormAct2d):  # type: ignore[misc]
    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = (
            self.act(self.drop(_normalized(self, values))) if self.training else super().forward(values)
        )
        return result


_ON_CPU: Final[dict[type[nn.Module], type[nn.Module]]] = {
    nn.BatchNorm1d: _Norm1d,
    nn.BatchNorm2d: _Norm2d,
    _BatchNormAct2d: _NormAct2d,
}


def take_norms_over_processes(net: nn.Module) -> None:
    """Let the batch norms of a net take their statistics over all processes; its names stay the same.

    Args:
        net: The net, on its device.
    """
    if next(net.parameters()).device.type != "cpu":
        timm.layers.convert_sync_batchnorm(net)
        return
    for module in net.modules():
        if type(module) in _ON_CPU:
            module.__class__ = _ON_CPU[type(module)]


def _along(values: Tensor, like: Tensor) -> Tensor:
    """Reshape one value per channel so that it broadcasts over a batch."""
    return values.view(1, -1, *[1] * (like.ndim - 2))
