"""The command line loads where no extra is installed."""

import sys

EXTRAS = ("IPython", "papermill", "openvino", "onnxruntime", "pytorchcv", "av", "pytorch_grad_cam", "nbconvert", "cv2")
sys.modules.update(dict.fromkeys(EXTRAS))  # None: not to be had

from bisenet.__main__ import make_parser  # noqa: E402

make_parser()
