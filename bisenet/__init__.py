"""A reproducible companion to BiSeNet V2 (https://arxiv.org/abs/2004.02147).

The network, its training and its use, each loaded when it is first asked for:

    from bisenet import BiSeNetV2, ModelConfig, TrainConfig, Execution, fit, open_dataset, Segmenter
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bisenet.data import open_dataset
    from bisenet.execution import Execution
    from bisenet.inference.segmenter import Segmenter
    from bisenet.model import BiSeNetV2, ModelConfig
    from bisenet.train import TrainConfig, fit

__all__ = ["BiSeNetV2", "Execution", "ModelConfig", "Segmenter", "TrainConfig", "fit", "open_dataset"]

WHERE = {"BiSeNetV2": "model", "ModelConfig": "model", "TrainConfig": "train", "fit": "train"}
WHERE |= {"Execution": "execution", "open_dataset": "data", "Segmenter": "inference.segmenter"}

# Threads that wait for each other must sleep, not spin: a data worker beside two spinning threads on two cores
# makes training ten times slower. OpenMP reads this once, so it has to be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in WHERE:
        raise AttributeError(f"module 'bisenet' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"bisenet.{WHERE[name]}"), name)
