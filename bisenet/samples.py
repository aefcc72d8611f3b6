"""What training sees: an endless sequence of augmented samples, and batches of it for each device."""

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader, Dataset

from bisenet.augment import Augmentation
from bisenet.dataset import PairDataset
from bisenet.execution import Execution, keep_freed_memory


class Samples(Dataset):
    """Sample number n is a pure function of (data set, augmentation, seed, n); `images`: only the first so many."""

    def __init__(self, dataset: PairDataset, augmentation: Augmentation, seed: int, images: int | None = None):
        self.dataset, self.augment, self.seed = dataset, augmentation, seed
        self.images = min(len(dataset), images or len(dataset))

    def __getitem__(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, place = divmod(n, self.images)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.images)
        return self.augment(*self.dataset.load(int(order[place])), np.random.default_rng((self.seed, epoch, n)))


def make_loader(samples: Samples, batch: int, iterations: range, fabric: Fabric, execution: Execution) -> DataLoader:
    """Batches of this device for some iterations, in order; every device takes its share of each batch."""
    share = batch // fabric.world_size
    if batch % (fabric.world_size * execution.accumulation):
        parts = f" and {execution.accumulation} parts each" if execution.accumulation > 1 else ""
        raise ValueError(f"batch {batch} is not divisible by {fabric.world_size} devices{parts}")
    first = fabric.global_rank * share
    numbers = [iteration * batch + first + slot for iteration in iterations for slot in range(share)]
    loader = DataLoader(
        samples,
        batch_size=share,
        sampler=numbers,
        num_workers=execution.resolved_workers,
        worker_init_fn=keep_freed_memory,
        pin_memory=fabric.device.type == "cuda",
        multiprocessing_context="spawn" if execution.resolved_workers and torch.cuda.is_available() else None,
    )
    return fabric.setup_dataloaders(loader, use_distributed_sampler=False)  # type: ignore[return-value]
