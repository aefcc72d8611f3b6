"""The public face loads what it is asked for, and no extra."""

import sys

import bisenet

assert "torch" not in sys.modules and "fit" in dir(bisenet)
assert bisenet.BiSeNetV2 and not {"torchvision", "lightning_fabric", "scipy", "pandas"} & {*sys.modules}
assert bisenet.Segmenter and not {"torchvision", "lightning_fabric", "torch._dynamo"} & {*sys.modules}
assert bisenet.fit and not {"papermill", "IPython", "openvino", "pandas"} & {*sys.modules}
