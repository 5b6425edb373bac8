"""MixNet-S keeps timm's layout, and the report's arithmetic is right."""

import numpy as np
import pytest
import torch

from faceloom.quality.network import MixedConv2d, MixNetS, SamePadConv2d, split_channels
from faceloom.training.quality.report import (
    auc,
    calibration_bins,
    choose_threshold,
    expected_calibration_error,
    operating_point,
)


def test_layout_is_that_of_timms_mixnet_s() -> None:
    with torch.device("meta"):
        network, imagenet = MixNetS(num_classes=2), MixNetS(num_classes=1000)
    assert len(network.state_dict()) == 396
    assert sum(p.numel() for p in network.parameters()) == 2_600_680
    assert sum(p.numel() for p in imagenet.parameters()) == 4_134_606


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv_stem.weight", (16, 3, 3, 3)),
        ("bn1.running_var", (16,)),
        ("blocks.0.0.conv_dw.weight", (16, 1, 3, 3)),
        ("blocks.1.0.conv_pw.1.weight", (48, 8, 1, 1)),
        ("blocks.2.0.conv_dw.2.weight", (48, 1, 7, 7)),
        ("blocks.2.1.se.conv_reduce.weight", (20, 240, 1, 1)),
        ("blocks.4.1.conv_dw.3.weight", (90, 1, 9, 9)),
        ("blocks.5.0.conv_dw.0.weight", (144, 1, 3, 3)),
        ("blocks.5.2.conv_pwl.1.weight", (100, 600, 1, 1)),
        ("conv_head.weight", (1536, 200, 1, 1)),
        ("classifier.weight", (2, 1536)),
    ],
)
def test_parameters_have_timms_names(name: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        state = MixNetS().state_dict()
    assert tuple(state[name].shape) == shape


def test_split_gives_the_remainder_to_the_first_part() -> None:
    assert split_channels(40, 3) == [14, 13, 13]
    conv = MixedConv2d(40, 40, (3, 5, 7), 1, depthwise=True, tf_padding=False)
    assert list(conv.state_dict()) == ["0.weight", "1.weight", "2.weight"]
    assert conv(torch.zeros(1, 40, 9, 9)).shape == (1, 40, 9, 9)


@pytest.mark.parametrize("tf_padding", [False, True])
@pytest.mark.parametrize("side", [33, 64])
def test_any_input_size_gives_logits(tf_padding: bool, side: int) -> None:
    network = MixNetS(num_classes=3, tf_padding=tf_padding).eval()
    with torch.inference_mode():
        assert network(torch.randn(2, 3, side, side)).shape == (2, 3)


def test_tensorflow_padding_depends_on_the_input_and_pads_the_end_first() -> None:
    conv = SamePadConv2d(1, 1, 3, 2, bias=False)
    torch.nn.init.ones_(conv.weight)
    with torch.inference_mode():
        even, odd = conv(torch.ones(1, 1, 4, 4)), conv(torch.ones(1, 1, 5, 5))
    assert even.flatten().tolist() == [9, 6, 6, 4]
    assert odd[0, 0, 0].tolist() == [4, 6, 4]


def test_tensorflow_variant_has_its_own_epsilon() -> None:
    with torch.device("meta"):
        assert MixNetS(tf_padding=True).bn1.eps == 1e-3
        assert MixNetS().bn1.eps == 1e-5


def test_auc_counts_ordered_pairs_and_half_the_ties() -> None:
    keep = np.array([True, True, False, False])
    assert auc(np.array([0.9, 0.8, 0.2, 0.1]), keep) == 1
    assert auc(np.array([0.9, 0.5, 0.5, 0.1]), keep) == 0.875


def test_threshold_is_the_lowest_from_which_precision_holds() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    keep = np.array([True, True, False, True, True, False])
    assert choose_threshold(scores, keep, 0.9).threshold == 0.8
    # At 0.5 precision is 0.8 again, but at 0.7 it is not: the higher dip decides.
    assert choose_threshold(scores, keep, 0.75).threshold == 0.8
    assert choose_threshold(scores, keep, 0.6).threshold == 0.4


def test_threshold_falls_back_to_the_most_precise_point() -> None:
    scores = np.array([0.9, 0.8, 0.7])
    point = choose_threshold(scores, np.array([False, True, True]), 0.9)
    assert point.precision == pytest.approx(2 / 3)


def test_operating_point_and_calibration() -> None:
    scores, keep = np.array([0.95, 0.95, 0.05, 0.05]), np.array([True, True, False, True])
    point = operating_point(scores, keep, 0.5)
    assert (point.precision, point.recall, point.accepted_share) == (1, 2 / 3, 0.5)
    bins = calibration_bins(scores, keep)
    assert [b["count"] for b in bins] == [2, 2]
    assert expected_calibration_error(bins) == pytest.approx((0.05 + 0.45) / 2)
