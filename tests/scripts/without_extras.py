"""The command line loads where no extra is installed."""

import sys

EXTRAS = ("IPython", "papermill", "openvino", "onnxruntime", "pytorchcv", "av", "pytorch_grad_cam", "nbconvert", "cv2")
sys.modules.update(dict.fromkeys(EXTRAS))  # None: not to be had

import bisenet.__main__  # noqa: E402, F401
