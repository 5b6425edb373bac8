"""One of two processes that share a batch norm, under torchrun: `python batch_norm_child.py IN OUT_PREFIX`.

IN holds the whole batch `x` and the wanted gradient of the output; each process takes its half.
"""

import sys

import torch
import torch.distributed as dist

from faceloom.training.translator.batch_norm import use_global_statistics


def main() -> None:
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    data = torch.load(sys.argv[1], weights_only=True)
    x = data["x"].chunk(size)[rank].clone().requires_grad_()
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(x.shape[1]))
    network.load_state_dict(data["state"])
    use_global_statistics(network)
    y = network(x)
    y.backward(data["gradient"].chunk(size)[rank])
    evaluated = network.eval()(x).detach()
    grads = {name: parameter.grad for name, parameter in network.named_parameters()}
    for gradient in grads.values():
        dist.all_reduce(gradient)
    torch.save(
        {
            "y": y.detach(),
            "x.grad": x.grad,
            "evaluated": evaluated,
            "grads": grads,
            "state": network.state_dict(),
        },
        f"{sys.argv[2]}{rank}",
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
