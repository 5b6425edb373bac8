"""Batch norm over the batch of all processes; PyTorch's SyncBatchNorm does not run on CPU."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx


class _Sum(torch.autograd.Function):
    """Sum over processes. What one process puts in is felt by the losses of all, so gradients add up too."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """[N, C, H, W] normalised by the mean and variance over all processes, which hold equal shares.

    Running statistics are the same in every process. In evaluation it is plain batch norm.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        processes = dist.get_world_size()
        values = x.float()
        mean = self._mean(values.mean((0, 2, 3)), processes)
        centred = values - mean[:, None, None]
        # Around the common mean: the difference of two large sums would lose digits.
        variance = self._mean(centred.square().mean((0, 2, 3)), processes)
        self._remember(mean.detach(), variance.detach(), processes * (x.numel() // x.shape[1]))
        scale = self.weight * (variance + self.eps).rsqrt()
        return torch.addcmul(self.bias[:, None, None], centred, scale[:, None, None]).to(x.dtype)

    @staticmethod
    def _mean(local: Tensor, processes: int) -> Tensor:
        total: Tensor = _Sum.apply(local)  # type: ignore[no-untyped-call]
        return total / processes

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        running_mean, running_var, batches = (
            self.running_mean,
            self.running_var,
            self.num_batches_tracked,
        )
        assert running_mean is not None and running_var is not None and batches is not None
        assert self.momentum is not None
        running_mean.lerp_(mean, self.momentum)
        running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        batches.add_(1)


def use_global_statistics(network: nn.Module) -> None:
    """Replace every batch norm of the network in place, with its parameters and names."""
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                replacement = GlobalBatchNorm2d(child.num_features, child.eps, child.momentum)
                replacement.load_state_dict(child.state_dict())
                setattr(module, name, replacement)
