"""FOLDER OHEM_KEEP...: the gradients of one step, summed over all processes, a file for each value."""

import dataclasses
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from bisenet import paper
from bisenet.execution import Execution
from bisenet.model import BiSeNetV2, ModelConfig
from bisenet.train import total_loss

fabric = Execution(accelerator="cpu", precision="32-true").fabric()
torch.manual_seed(0)
model = BiSeNetV2(ModelConfig(num_classes=5)).train()
for module in model.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        module.eval()
images, labels = torch.randn(4, 3, 64, 96), torch.randint(0, 5, (4, 64, 96))
labels[0] = 255
share = slice(fabric.global_rank * 4 // fabric.world_size, (fabric.global_rank + 1) * 4 // fabric.world_size)
network = fabric.setup(model)
assert not getattr(network._forward_module, "broadcast_buffers", False)  # of DDP, before each step
folder, *values = sys.argv[1:]
for keep in values:
    config = dataclasses.replace(
        paper.recipe("streets", "smoke"), ohem=keep != "none", ohem_keep=float(keep.replace("none", "1"))
    )
    network.zero_grad()
    fabric.backward(total_loss(network(images[share]), labels[share], config, fabric))
    if fabric.is_global_zero:
        Path(folder).mkdir(exist_ok=True)
        save_file({name: p.grad for name, p in model.named_parameters()}, Path(folder, keep))
