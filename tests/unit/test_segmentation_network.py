"""BiSeNet keeps zllrunning's layout at width 1 and runs at any width and size."""

import pytest
import torch

from faceloom.segmentation.network import BiSeNet


def test_layout_is_that_of_the_published_checkpoint() -> None:
    with torch.device("meta"):
        network = BiSeNet()
    state = network.state_dict()
    assert len(state) == 191
    assert sum(p.numel() for p in network.parameters()) == 13_300_416
    assert sum(name.startswith("cp.resnet.") for name in state) == 120


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cp.resnet.conv1.weight", (64, 3, 7, 7)),
        ("cp.resnet.layer2.0.downsample.0.weight", (128, 64, 1, 1)),
        ("cp.resnet.layer4.1.bn2.running_mean", (512,)),
        ("cp.arm16.conv.conv.weight", (128, 256, 3, 3)),
        ("cp.arm32.bn_atten.weight", (128,)),
        ("cp.conv_head32.bn.bias", (128,)),
        ("cp.conv_avg.conv.weight", (128, 512, 1, 1)),
        ("ffm.convblk.conv.weight", (256, 256, 1, 1)),
        ("ffm.conv1.weight", (64, 256, 1, 1)),
        ("conv_out.conv_out.weight", (19, 256, 1, 1)),
        ("conv_out16.conv.conv.weight", (64, 128, 3, 3)),
        ("conv_out32.conv_out.weight", (19, 64, 1, 1)),
    ],
)
def test_parameters_have_the_published_names(name: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        state = BiSeNet().state_dict()
    assert tuple(state[name].shape) == shape


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 70)])
def test_scores_have_the_inputs_size(height: int, width: int) -> None:
    network = BiSeNet(classes=19, width=0.125).eval()
    with torch.inference_mode():
        scores = network(torch.randn(2, 3, height, width))
    assert scores.shape == (2, 19, height, width)


def test_training_heads_come_at_their_own_sizes() -> None:
    network = BiSeNet(classes=5, width=0.125)
    main, context8, context16 = network.forward_heads(torch.randn(2, 3, 64, 96))
    assert main.shape == context8.shape == (2, 5, 8, 12)
    assert context16.shape == (2, 5, 4, 6)
