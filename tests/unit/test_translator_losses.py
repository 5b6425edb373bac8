"""The terms of the translator's loss against plain numpy, and the published loss networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.reference import losses
from tests.translator_data import small_options, write_lpips
from torch import Tensor, nn
from torch.nn import functional as F

from faceloom.core.errors import UsageError
from faceloom.training.translator.identity import IRSE50, IdentityDistance, load_identity
from faceloom.training.translator.losses import (
    Criterion,
    LiteDistance,
    feature_distance,
    latent_distance,
    w_norm,
)
from faceloom.training.translator.lpips import load_lpips


def images(count: int, side: int, seed: int) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_feature_distance_is_lpips_without_weights() -> None:
    random = np.random.default_rng(0)
    ours = [random.normal(size=(2, 4, 3, 3)), random.normal(size=(2, 6, 2, 2))]
    theirs = [random.normal(size=layer.shape) for layer in ours]
    expected = np.zeros(2)
    for a, b in zip(ours, theirs, strict=True):
        for n in range(2):
            for y in range(a.shape[2]):
                for x in range(a.shape[3]):
                    p, q = a[n, :, y, x], b[n, :, y, x]
                    difference = p / np.linalg.norm(p) - q / np.linalg.norm(q)
                    expected[n] += (difference**2).sum() / a.shape[2] ** 2 / len(ours)

    got = feature_distance([torch.tensor(a) for a in ours], [torch.tensor(b) for b in theirs])

    np.testing.assert_allclose(got.numpy(), expected)


def test_w_norm_is_the_mean_length_of_the_offsets() -> None:
    offsets = torch.zeros(2, 3, 4)
    offsets[0, 1, 2], offsets[0, 2, 3] = 3.0, 4.0
    offsets[1] = 1.0

    assert w_norm(offsets) == pytest.approx((5 + 12**0.5) / 2)
    # At the mean latent itself, where a run begins, there is a slope.
    start = torch.zeros(1, 2, 2, requires_grad=True)
    w_norm(start).backward()
    assert start.grad.isfinite().all()


def test_latent_distance_counts_in_standard_deviations() -> None:
    w = torch.tensor([[1.0, 10.0]])
    spread = torch.tensor([0.5, 4.0])
    exact = w[:, None].expand(1, 3, 2).clone()
    assert latent_distance(exact, w, spread) == 0

    wrong = exact.clone()
    wrong[0, 1, 0] += 0.25  # half a deviation: 0.5 * 0.5 ** 2
    wrong[0, 2, 1] -= 12.0  # three deviations: 3 - 0.5
    assert latent_distance(wrong, w, spread) == pytest.approx((0.125 + 2.5) / 6)


class Brightness(nn.Module):
    """A stand-in for a perceptual distance: the difference of mean brightness."""

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        return (image.mean((1, 2, 3)) - target.mean((1, 2, 3))).abs()


def test_the_criterion_weighs_its_terms() -> None:
    options = small_options(
        l2_weight=2, perceptual_weight=3, identity_weight=5, w_norm_weight=7, latent_weight=11
    )
    criterion = Criterion(options, torch.ones(2), torch.ones(2), Brightness(), Brightness())
    w_plus = torch.ones(1, 2, 2)
    w_plus[0, 0] += torch.tensor([3.0, 4.0])
    image, face = torch.full((1, 3, 8, 8), 0.5), torch.zeros(1, 3, 4, 4)

    terms = criterion.latent_terms(w_plus, torch.ones(1, 2)) | criterion.image_terms(image, face)

    assert {name: round(float(term), 6) for name, term in terms.items()} == {
        "w_norm": 5.0, "latent": (2.5 + 3.5) / 4, "l2": 0.25, "perceptual": 0.5, "identity": 0.5,
    }  # fmt: skip
    assert criterion.total(terms) == pytest.approx(7 * 5 + 11 * 1.5 + 2 * 0.25 + 3 * 0.5 + 5 * 0.5)


def test_a_larger_image_is_compared_at_the_faces_size() -> None:
    criterion = Criterion(small_options(), torch.zeros(2), torch.ones(2), Brightness())
    # A chequerboard of single pixels is grey from afar.
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    terms = criterion.image_terms(board.expand(1, 3, 8, 8), torch.zeros(1, 3, 4, 4))

    assert terms["l2"] == 0
    assert "identity" not in terms


def test_lite_distance_is_0_for_the_same_picture_and_grows() -> None:
    distance = LiteDistance()
    face = images(2, 64, 0)
    noise = images(2, 64, 1)

    assert distance(face, face).abs().max() < 1e-6
    near, far = distance(face + 0.1 * noise, face), distance(noise, face)
    assert near.shape == (2,) and (near > 0).all() and (near < far).all()
    moving = (face + 0.1 * noise).requires_grad_()
    distance(moving, face).sum().backward()
    assert moving.grad.abs().sum() > 0


# --- LPIPS


def test_lpips_is_what_the_paper_says(tmp_path: Path) -> None:
    network = load_lpips([write_lpips(tmp_path / "both.pth")])
    image, target = images(2, 64, 0), images(2, 64, 1)

    got = network(image, target)

    assert got.shape == (2,) and (got > 0).all()
    torch.testing.assert_close(got, losses.lpips(network.state_dict(), image, target))
    assert network(image, image).abs().max() == 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_lpips_reads_the_two_published_files(tmp_path: Path) -> None:
    both = torch.load(write_lpips(tmp_path / "both.pth"), weights_only=True)
    heads = {name: tensor for name, tensor in both.items() if name.startswith("lin")}
    # torchvision's AlexNet, and the names of LPIPS v0.1's alex.pth.
    assert sum(both[f"features.{i}.weight"].numel() + both[f"features.{i}.bias"].numel()
               for i in (0, 3, 6, 8, 10)) == 2_469_696  # fmt: skip
    assert sorted(heads) == [f"lin{index}.model.1.weight" for index in range(5)]
    assert [heads[name].shape[1] for name in sorted(heads)] == [64, 192, 384, 256, 256]
    torch.save(heads, tmp_path / "alex.pth")
    torch.save({k: v for k, v in both.items() if k not in heads}, tmp_path / "alexnet.pth")

    network = load_lpips([tmp_path / "alexnet.pth", tmp_path / "alex.pth"])

    image, target = images(1, 64, 0), images(1, 64, 1)
    torch.testing.assert_close(
        network(image, target), load_lpips([tmp_path / "both.pth"])(image, target)
    )
    with pytest.raises(UsageError, match=r"alexnet\.pth: no lin0\.model\.1\.weight, "):
        load_lpips([tmp_path / "alexnet.pth"])


def test_a_pickle_that_would_execute_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"features.0.weight": Trap()}, tmp_path / "trap.pth")

    with pytest.raises(UsageError, match=r"trap\.pth asks for .*; only data is read"):
        load_lpips([tmp_path / "trap.pth"])
    assert not (tmp_path / "sprung").exists()


# --- identity


@pytest.fixture(scope="module")
def irse50() -> IRSE50:
    torch.manual_seed(0)
    return IRSE50().eval().requires_grad_(False)


def test_ir_se50_has_the_published_tensors(irse50: IRSE50) -> None:
    state = irse50.state_dict()

    # Facts of the published model_ir_se50.pth: 397 keys, 43.8 million parameters.
    assert len(state) == 397
    assert round(sum(parameter.numel() for parameter in irse50.parameters()) / 1e6, 1) == 43.8
    for name, shape in {
        "input_layer.0.weight": (64, 3, 3, 3),
        "input_layer.2.weight": (64,),
        "body.3.shortcut_layer.0.weight": (128, 64, 1, 1),
        "body.23.res_layer.5.fc2.weight": (512, 32, 1, 1),
        "output_layer.3.weight": (512, 25088),
        "output_layer.4.running_var": (512,),
    }.items():
        assert tuple(state[name].shape) == shape, name


def test_identity_distance_is_one_minus_the_cosine_of_the_middle(irse50: IRSE50) -> None:
    distance = IdentityDistance(irse50)
    image, target = images(2, 256, 0), images(2, 256, 1)

    crops = [F.adaptive_avg_pool2d(x[:, :, 35:223, 32:220], 112) for x in (image, target)]
    features = [irse50(crop) for crop in crops]
    cosine = F.cosine_similarity(*features)
    torch.testing.assert_close(distance(image, target), 1 - cosine, atol=1e-5, rtol=1e-4)
    assert distance(image, image).abs().max() < 1e-5
    # Outside of the face nothing counts.
    border = image.clone()
    border[..., :35, :] = 1.0
    border[..., 220:] = -1.0
    assert distance(border, image).abs().max() < 1e-5


def test_ir_se50_is_read_strictly(irse50: IRSE50, tmp_path: Path) -> None:
    state = irse50.state_dict()
    torch.save(state, tmp_path / "model_ir_se50.pth")
    face, other = images(1, 64, 0), images(1, 64, 1)

    read = load_identity(tmp_path / "model_ir_se50.pth")

    assert torch.equal(read(face, other), IdentityDistance(irse50)(face, other))
    torch.save({k: v for k, v in state.items() if k != "body.0.res_layer.1.weight"}, tmp_path / "x")
    with pytest.raises(UsageError, match=r"x: no body\.0\.res_layer\.1\.weight$"):
        load_identity(tmp_path / "x")
