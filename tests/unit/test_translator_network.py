"""The pSp encoder against slow, plain numpy written here from the papers, and the translator around it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from faceloom.store.model import open_model
from faceloom.training.runs import save_model
from faceloom.translator.model import Translator, load_translator, mix, stored_tensors
from faceloom.translator.network import BottleneckIRSE, GradualStyleBlock, GradualStyleEncoder

Array = np.ndarray[Any, np.dtype[np.float64]]

DECODER = {"size": 16, "style_dim": 12, "n_mlp": 1, "channels": {"4": 8, "8": 8, "16": 4}}
SMALL = {"side": 32, "blocks": (1, 2, 1, 1), "widths": (4, 4, 6, 8)}


def randomised(network: nn.Module) -> nn.Module:
    """Every weight and every statistic drawn anew: no layer may hide behind its initial values."""
    random = torch.Generator().manual_seed(1)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=random) - 0.3)
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=random) + 0.5)
    return network.eval()


def arrays(network: nn.Module) -> dict[str, Array]:
    return {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}


def conv(x: Array, weight: Array, stride: int, padding: int) -> Array:
    """x [C, H, W], weight [O, C, k, k], pixel by pixel."""
    side = weight.shape[-1]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    rows = range(0, x.shape[1] - side + 1, stride)
    columns = range(0, x.shape[2] - side + 1, stride)
    out = np.zeros((len(weight), len(rows), len(columns)))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            window = x[:, top : top + side, left : left + side]
            out[:, i, j] = (weight * window).sum((1, 2, 3))
    return out


def batch_norm(x: Array, state: dict[str, Array], name: str) -> Array:
    mean, var, weight, bias = (
        state[f"{name}.{part}"][:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def prelu(x: Array, slope: Array) -> Array:
    return np.where(x > 0, x, x * slope[:, None, None])


def block(x: Array, state: dict[str, Array], stride: int) -> Array:
    """The improved residual block with squeeze and excitation."""
    if "shortcut_layer.0.weight" in state:
        shortcut = conv(x, state["shortcut_layer.0.weight"], stride, 0)
        shortcut = batch_norm(shortcut, state, "shortcut_layer.1")
    else:
        shortcut = x[:, ::stride, ::stride]
    y = batch_norm(x, state, "res_layer.0")
    y = conv(y, state["res_layer.1.weight"], 1, 1)
    y = prelu(y, state["res_layer.2.weight"])
    y = batch_norm(conv(y, state["res_layer.3.weight"], stride, 1), state, "res_layer.4")
    squeezed = state["res_layer.5.fc1.weight"][:, :, 0, 0] @ y.mean((1, 2))
    gate = state["res_layer.5.fc2.weight"][:, :, 0, 0] @ np.maximum(squeezed, 0)
    return y / (1 + np.exp(-gate))[:, None, None] + shortcut


def style(x: Array, state: dict[str, Array], name: str) -> Array:
    """map2style: halved to one pixel, then an equalised linear layer."""
    index = 0
    while x.shape[-1] > 1:
        y = conv(x, state[f"{name}convs.{index}.weight"], 2, 1)
        y += state[f"{name}convs.{index}.bias"][:, None, None]
        x, index = np.where(y > 0, y, 0.01 * y), index + 2
    weight, bias = state[f"{name}linear.weight"], state[f"{name}linear.bias"]
    return weight @ x[:, 0, 0] / np.sqrt(len(bias)) + bias


def upsampled(x: Array, side: int) -> Array:
    """Bilinear with aligned corners."""
    places = np.arange(side) * (x.shape[-1] - 1) / (side - 1)
    near = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(x.shape[-1])))
    return np.einsum("ih,chw,jw->cij", near, x, near)


@pytest.mark.parametrize(
    ("styles", "keys", "parameters"),
    [(14, 565, 209_449_536), (16, 593, 238_292_544), (18, 621, 267_135_552)],
)
def test_the_layout_is_that_of_the_published_encoders(
    styles: int, keys: int, parameters: int
) -> None:
    with torch.device("meta"):
        encoder = GradualStyleEncoder(input_nc=1, n_styles=styles)

    assert len(encoder.state_dict()) == keys
    assert sum(weight.numel() for weight in encoder.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("input_layer.0.weight", (64, 19, 3, 3)),
        ("input_layer.2.weight", (64,)),
        ("body.0.res_layer.1.weight", (64, 64, 3, 3)),
        ("body.3.shortcut_layer.0.weight", (128, 64, 1, 1)),
        ("body.6.res_layer.5.fc1.weight", (8, 128, 1, 1)),
        ("body.20.res_layer.4.running_var", (256,)),
        ("body.23.res_layer.5.fc2.weight", (512, 32, 1, 1)),
        ("styles.2.convs.6.weight", (512, 512, 3, 3)),
        ("styles.6.convs.8.bias", (512,)),
        ("styles.17.convs.10.weight", (512, 512, 3, 3)),
        ("styles.17.linear.weight", (512, 512)),
        ("latlayer1.weight", (512, 256, 1, 1)),
        ("latlayer2.bias", (512,)),
    ],
)
def test_parameters_have_the_published_names(name: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        state = GradualStyleEncoder(input_nc=19, n_styles=18).state_dict()

    assert tuple(state[name].shape) == shape
    # Coarse heads halve 16 pixels, middle ones 32, fine ones 64.
    assert [f"styles.{i}.convs.8.weight" in state for i in (0, 2, 3, 6)] == [False] * 2 + [True] * 2
    assert [f"styles.{i}.convs.10.weight" in state for i in (6, 7, 17)] == [False, True, True]
    # Units whose first block keeps the width have no shortcut of their own.
    assert "body.0.shortcut_layer.0.weight" not in state


@pytest.mark.parametrize(("channels", "wider", "stride"), [(5, 5, 2), (5, 5, 1), (4, 18, 2)])
def test_a_residual_block_computes_what_the_paper_says(
    channels: int, wider: int, stride: int
) -> None:
    network = randomised(BottleneckIRSE(channels, wider, stride))
    x = torch.randn(1, channels, 8, 8, generator=torch.Generator().manual_seed(2))

    with torch.inference_mode():
        got = network(x)

    want = block(x[0].double().numpy(), arrays(network), stride)
    np.testing.assert_allclose(got[0].numpy(), want, rtol=1e-4, atol=1e-4)


def test_a_map_becomes_a_style_as_the_paper_says() -> None:
    network = randomised(GradualStyleBlock(3, 7, side=8))
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))

    with torch.inference_mode():
        got = network(x)

    want = style(x[0].double().numpy(), arrays(network), "")
    np.testing.assert_allclose(got[0].numpy(), want, rtol=1e-4, atol=1e-4)


def test_a_whole_encoder_computes_what_the_paper_says() -> None:
    network = randomised(GradualStyleEncoder(2, n_styles=8, style_dim=3, **SMALL))
    x = torch.rand(1, 2, 32, 32, generator=torch.Generator().manual_seed(4))

    with torch.inference_mode():
        got = network(x)

    state = arrays(network)
    y = batch_norm(
        conv(x[0].double().numpy(), state["input_layer.0.weight"], 1, 1), state, "input_layer.1"
    )
    y = prelu(y, state["input_layer.2.weight"])
    maps = []
    for index, stride in enumerate((2, 2, 1, 2, 2)):
        part = f"body.{index}."
        own = {
            name.removeprefix(part): value for name, value in state.items() if name.startswith(part)
        }
        y = block(y, own, stride)
        maps.append(y)
    fine, middle, coarse = maps[2:]
    lateral = conv(middle, state["latlayer1.weight"], 1, 0) + state["latlayer1.bias"][:, None, None]
    middle = lateral + upsampled(coarse, middle.shape[-1])
    lateral = conv(fine, state["latlayer2.weight"], 1, 0) + state["latlayer2.bias"][:, None, None]
    fine = lateral + upsampled(middle, fine.shape[-1])
    seen = [coarse] * 3 + [middle] * 4 + [fine]
    want = [style(seen[i], state, f"styles.{i}.") for i in range(8)]
    np.testing.assert_allclose(got[0].numpy(), want, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("side", [16, 48, 0])
def test_a_side_that_cannot_be_halved_to_one_pixel_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        GradualStyleEncoder(1, 4, side=side)


@pytest.mark.parametrize(
    "decoder",
    [
        {"size": 32, "style_dim": 16, "n_mlp": 2, "channel_multiplier": 1},
        {"size": 64, "style_dim": 24, "n_mlp": 8, "channels": dict.fromkeys([4, 8, 16, 32, 64], 4)},
        DECODER,
    ],
)
def test_a_decoder_may_have_any_size_depth_and_width(decoder: dict[str, Any]) -> None:
    # pSp's own code fixes 8 mapping layers and a channel multiplier of 2.
    translator = Translator(decoder, {"sketch": SMALL}).eval()

    with torch.inference_mode():
        w_plus = translator.w_plus("sketch", torch.rand(2, 1, 32, 32))
        faces = translator.decoder.synthesis(w_plus)

    assert w_plus.shape == (2, 2 * (int(np.log2(decoder["size"])) - 1), decoder["style_dim"])
    assert faces.shape == (2, 3, decoder["size"], decoder["size"])


def test_an_encoder_answers_offsets_from_the_mean_latent() -> None:
    translator = Translator(DECODER, {"sketch": SMALL}).eval()
    translator.decoder.latent_avg.copy_(torch.arange(12.0))
    for head in translator.encoders["sketch"].styles:  # type: ignore[union-attr]
        head.linear.weight.data.zero_()

    with torch.inference_mode():
        w_plus = translator.w_plus("sketch", torch.rand(1, 1, 32, 32))

    assert torch.equal(w_plus, torch.arange(12.0).expand(1, 6, 12))


@pytest.mark.parametrize(
    ("encoders", "says"),
    [
        ({"edges": SMALL}, "no task 'edges'"),
        ({"sketch": {**SMALL, "input_nc": 3}}, "input_nc of the sketch encoder is 3, not 1"),
        ({"segmentation": {**SMALL, "n_styles": 18}}, "n_styles of the segmentation encoder is 18"),
        ({"face": {**SMALL, "style_dim": 512}}, "style_dim of the face encoder is 512, not 12"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused(encoders: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Translator(DECODER, encoders)


def test_a_style_is_mixed_into_the_named_layers_only() -> None:
    code, style_a = torch.full((1, 4, 2), 10.0), torch.full((1, 4, 2), 20.0)
    styles = torch.cat([style_a, style_a + 10])

    mixed = mix(code, styles, [1, 3], alpha=0.25)

    # 0.25 * 20 + 0.75 * 10, and 0.25 * 30 + 0.75 * 10
    assert mixed[:, :, 0].tolist() == [[10, 12.5, 10, 12.5], [10, 15, 10, 15]]
    assert torch.equal(mix(code, styles, [0, 1, 2, 3]), styles)
    assert torch.equal(mix(code, styles, [1], alpha=0), code.expand(2, 4, 2))
    assert torch.equal(mix(code, styles, []), code.expand(2, 4, 2))
    assert torch.equal(code, torch.full((1, 4, 2), 10.0))


def described(folder: Path, tensors: dict[str, Tensor]) -> Path:
    save_model(
        folder, service="translator", network={"decoder": DECODER, "encoders": {"sketch": SMALL}},
        options={}, weights=tensors, licence="MIT", sources=[], metrics={}, half=True,
    )  # fmt: skip
    return folder


def test_a_translator_is_stored_flat_and_comes_back_whole(tmp_path: Path) -> None:
    torch.manual_seed(5)
    translator = Translator(DECODER, {"sketch": SMALL}).eval()
    translator.decoder.latent_avg.copy_(torch.randn(12))
    tensors = stored_tensors(translator)

    again = load_translator(open_model(described(tmp_path, tensors)), "cpu")

    assert {name.partition(".")[0] for name in tensors} == {"decoder", "sketch"}
    assert {"decoder.latent_avg", "sketch.styles.0.linear.weight"} <= set(tensors)
    # Half precision at rest keeps eleven bits; computing is in float32.
    assert all(weight.dtype == torch.float32 for weight in again.parameters())
    torch.testing.assert_close(
        again.decoder.latent_avg, translator.decoder.latent_avg, rtol=2**-11, atol=0
    )
    x = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(
            again.w_plus("sketch", x), translator.w_plus("sketch", x), rtol=0, atol=0.02
        )


@pytest.mark.parametrize("missing", ["decoder.latent_avg", "sketch.latlayer1.bias"])
def test_a_translator_with_a_hole_is_not_loaded(tmp_path: Path, missing: str) -> None:
    translator = Translator(DECODER, {"sketch": SMALL})
    tensors = stored_tensors(translator)
    del tensors[missing]

    with pytest.raises(RuntimeError, match=missing):
        load_translator(open_model(described(tmp_path, tensors)), "cpu")


def test_the_description_of_a_translator_is_plain_json() -> None:
    network = {"decoder": DECODER, "encoders": {"sketch": {"input_nc": 1, **SMALL}}}

    state = Translator(**json.loads(json.dumps(network))).state_dict()

    assert state["encoders.sketch.input_layer.0.weight"].shape == (4, 1, 3, 3)
