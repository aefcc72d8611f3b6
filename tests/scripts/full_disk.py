"""FILE: write weights where no file may be larger than 5,000 bytes."""

import resource
import sys

import torch

from bisenet.files import write_safetensors

resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
write_safetensors(sys.argv[1], {"a": torch.zeros(9999)}, {"n": 2})
