"""The terms of the loss. Every term is a mean over pictures, so it does not depend on how a batch is cut.

pSp (Richardson et al., "Encoding in Style", 2021) compares pictures: L2, perceptual, identity, and the norm
of the offsets. Here every face also knows the latent it was made from, and the encoder is told that too.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceloom.training.features import LiteFeatures
from faceloom.training.translator.options import TrainingOptions

TERMS = ("l2", "perceptual", "identity", "w_norm", "latent")


class LiteDistance(nn.Module):
    """Perceptual distance in the frozen features of EfficientNet-Lite0, in the manner of LPIPS.

    Images [N, 3, S, S] in [-1, 1] twice -> [N]. Raises ModuleNotFoundError without the features' package.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = LiteFeatures()

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            theirs = self.features(target)
        return feature_distance(self.features(image), theirs)


def feature_distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """Perceptual distance of pictures given by their features, in the manner of LPIPS.

    Args:
        ours: Maps at several scales, each [N, C, H, H].
        theirs: The same of the pictures to compare with.

    Returns:
        [N], 0 to 4: the squared difference of features of unit length, mean over places and scales.
    """
    scales = [
        (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean((1, 2))
        for a, b in zip(ours, theirs, strict=True)
    ]
    return torch.stack(scales).mean(0)


def w_norm(offsets: Tensor) -> Tensor:
    """Mean length of the offsets [N, n_styles, style_dim] from the mean latent; keeps faces likely."""
    norms: Tensor = torch.linalg.vector_norm(offsets, dim=(1, 2))
    return norms.mean()


def latent_distance(w_plus: Tensor, w: Tensor, spread: Tensor) -> Tensor:
    """Smooth L1 between w+ [N, n_styles, style_dim] and the true w [N, style_dim] in every style.

    `spread` [style_dim] is the standard deviation of w over the dataset: a dimension counts by what of its
    own variety is missed.
    """
    return F.smooth_l1_loss(w_plus / spread, (w / spread)[:, None].expand_as(w_plus))


class Criterion(nn.Module):
    """All terms, and their weighted sum.

    Args:
        options: The weights.
        latent_avg: Mean latent of the decoder, [style_dim].
        spread: Standard deviation of w over the dataset, [style_dim].
        perceptual: Images twice -> distances [N].
        identity: The same, or nothing.
    """

    latent_avg: Tensor
    spread: Tensor

    def __init__(
        self,
        options: TrainingOptions,
        latent_avg: Tensor,
        spread: Tensor,
        perceptual: nn.Module,
        identity: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.weights = {name: float(getattr(options, f"{name}_weight")) for name in TERMS}
        self.register_buffer("latent_avg", latent_avg.clone())
        # A dimension that never varies is known anyway.
        self.register_buffer("spread", spread.clamp(min=1e-4))
        self.perceptual = perceptual
        self.identity = identity

    def latent_terms(self, w_plus: Tensor, w: Tensor) -> dict[str, Tensor]:
        """What can be said without decoding: w+ [N, n_styles, style_dim], the true w [N, style_dim]."""
        return {
            "w_norm": w_norm(w_plus - self.latent_avg),
            "latent": latent_distance(w_plus, w, self.spread),
        }

    def image_terms(self, images: Tensor, faces: Tensor) -> dict[str, Tensor]:
        """What decoded images [N, 3, size, size] say; they are pooled to the size of the true faces."""
        images = F.adaptive_avg_pool2d(images, faces.shape[-1])
        terms = {
            "l2": F.mse_loss(images, faces),
            "perceptual": self.perceptual(images, faces).mean(),
        }
        if self.identity is not None:
            terms["identity"] = self.identity(images, faces).mean()
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum."""
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
