"""What goes on in the network: class activation maps (Figure 8), features and gates (Figure 9).

The maps come from the package `grad-cam`. What goes wrong with it in silence is avoided here: one of its objects may
swap several layers, so each stage has an object of its own; it changes the network that it is given, so that is a
copy; it hooks what a layer gives out before a ReLU in place overwrites it, so whole stages are hooked; and it scales
each map from its minimum to its maximum, after which no two can be compared, so ours are raw, and `scaled` is apart.
"""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the name everybody knows
from pytorch_grad_cam import GradCAM, HiResCAM, LayerCAM
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget
from torch import Tensor, nn

from bisenet.augment import to_size, to_tensor
from bisenet.config import Size, choose
from bisenet.dataset import IGNORE
from bisenet.looking.architecture import stages
from bisenet.model import BilateralGuidedAggregation, BiSeNetV2

# Grad-CAM is the paper's: it weighs each channel by the mean of its gradients. HiResCAM multiplies gradients and
# activations place by place, and LayerCAM does so with the positive gradients; both keep where a gradient was.
METHODS: dict[str, type[BaseCAM]] = {"gradcam": GradCAM, "hirescam": HiResCAM, "layercam": LayerCAM}

DETAIL = ("detail.stage1", "detail.stage2", "detail.stage3")

Maps = dict[str, np.ndarray]


def maps(
    model: BiSeNetV2,
    image: np.ndarray,
    labels: np.ndarray,
    category: int,
    size: Size,
    chosen: Sequence[str] = DETAIL,
    methods: Sequence[str] = ("gradcam",),
) -> dict[str, Maps]:
    """Raw class activation maps, by method and stage: float32 (h, w) at the stage's own resolution, none negative.

    What is explained is the sum of the logits of class `category` over the pixels that are of this class in `labels`,
    (H, W). The network sees `image`, uint8 (H', W', 3), at `size`, as in the paper's protocol. ValueError for unknown
    stages and methods, where `labels` has no pixel of the class, and for a network that is not in `eval()`.
    """
    mask = labels == category
    if not mask.any():
        present = ", ".join(map(str, sorted(set(np.unique(labels).tolist()) - {IGNORE})))
        raise ValueError(f"no pixel is of class {category}, so there is nothing to explain; present are {present}")
    if model.training:
        raise ValueError("the network is in training, where its output depends on the batch; call eval() first")
    seen = _SeenAt(copy.deepcopy(model).requires_grad_(False), mask.shape)
    known = stages(seen.model)
    layers = {name: known[choose("stage", name, known)] for name in chosen}
    for layer in layers.values():
        list(layer.parameters())[-1].requires_grad_(True)  # gradients are needed behind the stages only
    kinds = {name: METHODS[choose("method", name, METHODS)] for name in methods}
    cams = {(method, name): kinds[method](seen, [layer]) for method in kinds for name, layer in layers.items()}
    target = SemanticSegmentationTarget(category, mask.astype(np.float32))
    images = _seen(seen.model, image, size)
    next(iter(cams.values()))(images, [target])  # one pass; each object has hooks of its own, and all are filled
    raw = {key: _raw(cam, images, target) for key, cam in cams.items()}
    return {method: {name: raw[method, name] for name in layers} for method in kinds}


class _SeenAt(nn.Module):
    """A network with logits at the size of the labels: `grad-cam` calls it with the images alone."""

    def __init__(self, model: BiSeNetV2, size: tuple[int, ...]):
        super().__init__()
        self.model, self.size = model, size

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images, size=self.size)


def _raw(cam: BaseCAM, images: Tensor, target: SemanticSegmentationTarget) -> np.ndarray:
    """The map of the one layer of `cam` before it is scaled; its hooks are removed."""
    hooks = cam.activations_and_grads
    (activations,), (gradients,) = hooks.activations, hooks.gradients  # exactly one of each, or an error
    raw = cam.get_cam_image(images, cam.target_layers[0], [target], activations.numpy(), gradients.numpy(), False)
    hooks.release()
    return np.maximum(raw[0], 0)


@torch.inference_mode()
def strengths(model: BiSeNetV2, image: np.ndarray, size: Size) -> Maps:
    """How strong the features are, by stage: the root of their mean square over the channels, float32 (h, w).

    The network sees `image`, uint8 (H, W, 3), at `size`.
    """
    features = model.features(_seen(model, image, size))
    return {name: of_stage[0].square().mean(0).sqrt().cpu().numpy() for name, of_stage in features.items()}


@torch.inference_mode()
def gates(model: BiSeNetV2, image: np.ndarray, size: Size) -> Maps:
    """What Bilateral Guided Aggregation multiplies the details with: "detail" (C, h, w), "semantic" (C, h/4, w/4).

    Both are made by the Semantic Branch; the first acts at 1/8 and the second at 1/32. Values are in (0, 1). ValueError
    for a network that merges its branches in another way.
    """
    if not isinstance(model.aggregation, BilateralGuidedAggregation):
        raise ValueError(f"gates are of aggregation 'bga', this network's is {model.config.aggregation!r}")
    features = model.features(_seen(model, image, size))
    semantic = features["stage5_5" if model.config.context else "stage5_4"]
    of_detail, of_semantic = model.aggregation.gates(semantic, features["detail.stage3"].shape[2:])
    return {"detail": of_detail[0].cpu().numpy(), "semantic": of_semantic[0].cpu().numpy()}


def _seen(model: BiSeNetV2, image: np.ndarray, size: Size) -> Tensor:
    """A picture as the network sees it, (1, 3, *size)."""
    device = next(model.parameters()).device
    return to_tensor(torch.from_numpy(np.array(to_size(image, size)))[None].to(device), model.normalisation)


def scaled(maps: Mapping[str, np.ndarray]) -> Maps:
    """Maps for display, in [0, 1]: each from its own minimum to its own maximum, as in the paper's Figure 8.

    A constant map is 0.
    """
    return {name: (each - each.min()) / (np.ptp(each) or 1) for name, each in maps.items()}


def enlarge(each: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A map, float (h, w), at (height, width), bilinear."""
    return F.interpolate(torch.from_numpy(each)[None, None], size, mode="bilinear", align_corners=False).numpy()[0, 0]
