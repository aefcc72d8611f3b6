"""Engines: what runs a network at inference. PyTorch as it is or compiled, OpenVINO, ONNX Runtime, TensorRT.

An engine is made for one shape of input. It takes a tensor on the network's device and gives a float32 tensor there.
All but PyTorch's own are optional extras. What was compiled for a CPU is kept on disk (`kept`), if it gets a name.
"""

import contextlib
import copy
import dataclasses
import functools
import importlib.util
import io
import json
import logging
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bisenet.config import choose, cpu_computes_in_bf16
from bisenet.files import first_line
from bisenet.inference import kept
from bisenet.inference.compiler import ONE_AT_A_TIME, compiled

Runner = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Engine:
    """`precisions` by type of device; `packages` and the `extra` of this project that installs them, if any."""

    precisions: dict[str, tuple[str, ...]]
    packages: tuple[str, ...] = ()
    extra: str = ""


_OF_TORCH = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "tf32", "bf16", "fp16")}
ENGINES = {
    "torch": Engine(_OF_TORCH),
    "compile": Engine(_OF_TORCH),
    "openvino": Engine({"cpu": ("fp32", "bf16", "int8")}, ("openvino",), "openvino"),
    "onnxruntime": Engine({"cpu": ("fp32",)}, ("onnxruntime", "onnx", "onnxscript"), "onnx"),
    "tensorrt": Engine({"cuda": ("fp32", "bf16", "fp16")}, ("torch_tensorrt",), "tensorrt"),
}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
DIFFERENCE = {"fp32": 0.01, "tf32": 0.05, "fp16": 0.05, "bf16": 0.2}  # that rounding may make, in the norm of logits


def why_not(name: str, precision: str, device: torch.device) -> str:
    """Why an engine cannot run in a precision on a device, or nothing; ValueError with near matches for a name."""
    engine = ENGINES[choose("engine", name, ENGINES)]
    if device.type not in engine.precisions:
        return f"engine {name!r} runs on {' and '.join(engine.precisions)}, not on {device.type}"
    if precision not in engine.precisions[device.type]:
        known = ", ".join(engine.precisions[device.type])
        return f"engine {name!r} computes on {device.type} in {known}, not in {precision!r}"
    if missing := [package for package in engine.packages if importlib.util.find_spec(package) is None]:
        return f"engine {name!r} needs {', '.join(missing)}: pip install -e '.[{engine.extra}]'"
    if precision == "bf16" and device.type == "cpu" and not cpu_computes_in_bf16():
        return "this CPU does not compute in bf16; emulated it is slower than fp32"
    if precision == "int8" and importlib.util.find_spec("nncf") is None:
        return f"int8 needs nncf, which quantises: pip install -e '.[{engine.extra}]'"
    return ""


def prepare(
    network: nn.Module,
    example: Tensor,
    name: str,
    precision: str = "fp32",
    calibration: Iterable[Tensor] = (),
    identity: str = "",
) -> Runner:
    """An engine for inputs of the shape, type and device of `example`; the network, in `eval()`, is left as it is.

    The network takes one tensor and gives one. `calibration` are inputs from which "int8" learns the range of every
    activation. `identity` tells networks apart, by `kept.hash_of`; without one nothing is kept. ValueError where the
    engine cannot do that here (`why_not`), or is installed and does not start.
    """
    if problem := why_not(name, precision, example.device):
        raise ValueError(problem)
    calibration = _calibration(precision, calibration)
    file = identity and kept.hash_of(identity, name, precision, example.shape, *calibration)
    try:
        with torch.no_grad():  # weights born in inference mode would be no constants
            return _started(network, example, name, precision, calibration, file)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of many kinds: no home folder, a library that is missing, an unknown operation
        raise ValueError(
            f"engine {name!r} is installed, but does not start here ({first_line(error)}); try another"
        ) from error


def _calibration(precision: str, given: Iterable[Tensor]) -> list[Tensor]:
    if precision == "int8" and not (given := list(given)):
        raise ValueError(
            "int8 needs calibration, a hundred frames or so: in Python, Segmenter(..., calibration=frames)"
        )
    return list(given)


def _started(
    network: nn.Module, example: Tensor, name: str, precision: str, calibration: Iterable[Tensor], file: str
) -> Runner:
    if name == "openvino":
        return _openvino(network, example, precision, calibration, file)
    if name == "onnxruntime":
        return _onnxruntime(network, example, file)
    network = copy.deepcopy(network).to(memory_format=torch.channels_last)
    if precision in DTYPES:
        network = _InPrecision(network, DTYPES[precision])
    if name == "tensorrt":
        return _tensorrt(network, example)
    return _inference(compiled(network, (example,), file) if name == "compile" else network, example.device, precision)


def choose_fastest(
    network: nn.Module, example: Tensor, precision: str, calibration: Iterable[Tensor] = (), identity: str = ""
) -> tuple[str, Runner, str]:
    """What "auto" is, its runner, and where the choice is from: the engine that was the fastest when they were tried.

    With an `identity` (as in `prepare`) that is remembered, and they are not tried again.
    """
    calibration = _calibration(precision, calibration)
    file = identity and kept.hash_of(identity, "auto", precision, example.shape, *calibration)
    if file and (path := kept.find(file, ".json")):
        with contextlib.suppress(ValueError, OSError):  # it no longer starts, or was removed by another process
            name = json.loads(path.read_text(encoding="utf-8"))["engine"]
            runner = prepare(network, example, name, precision, calibration, identity)
            return name, runner, f"remembered in {kept.folder()}"
    seconds, runners = _tried(network, example, precision, calibration, identity)
    if not seconds:
        return "torch", prepare(network, example, "torch", precision, calibration), "as no other starts"
    best = min(seconds, key=lambda name: seconds[name])
    if file:
        kept.keep(json.dumps({"engine": best, "seconds": seconds}).encode(), file, ".json")
    return best, runners[best], f"the fastest of {len(seconds)} tried now"


def _tried(
    network: nn.Module, example: Tensor, precision: str, calibration: Iterable[Tensor], identity: str
) -> tuple[dict[str, float], dict[str, Runner]]:
    """Seconds and runners of the runtimes that are installed, or else of the compiler.

    One that does not start, or does not answer as the network does, is passed over with a warning. Seconds are the
    median of five runs after one that warms up.
    """
    seconds: dict[str, float] = {}
    runners: dict[str, Runner] = {}
    for name in [*runtimes(precision, example.device), "compile"]:
        if name == "compile" and seconds:
            break
        try:
            runners[name] = prepare(network, example, name, precision, calibration, identity)
            check_answer(runners[name](example), network, example, name, precision)
        except Exception as error:  # the first run, too, may fail in many ways
            warnings.warn(f"{first_line(error)}; passed over", stacklevel=4)
            continue
        seconds[name] = statistics.median([_seconds(runners[name], example) for _ in range(6)][1:])
    return seconds, runners


def check_answer(answer: Tensor, network: nn.Module, example: Tensor, name: str, precision: str) -> None:
    """ValueError if an engine's answer is not that of the network; int8 is to differ, by how much its user measures."""
    with torch.inference_mode():
        expected = network(example).float()
    difference = float((answer - expected).norm() / expected.norm())
    if not difference <= DIFFERENCE.get(precision, math.inf):
        raise ValueError(f"engine {name!r} answers otherwise than the network, by {difference:.1%} in {precision}")


def runtimes(precision: str, device: torch.device) -> list[str]:
    """Those that are installed and compute in a precision; ValueError with near matches for an unknown one."""
    known = [each for engine in ENGINES.values() for each in engine.precisions.get(device.type, ())]
    choose("precision", precision, dict.fromkeys(known))
    return [name for name in ("tensorrt", "openvino", "onnxruntime") if not why_not(name, precision, device)]


def _seconds(run: Runner, example: Tensor) -> float:
    began = time.perf_counter()
    run(example).cpu()
    return time.perf_counter() - began


class _InPrecision(nn.Module):
    """A network whose weights and activations are of another type than its input and output."""

    def __init__(self, network: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.network = network.to(dtype)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.to(self.dtype) if x.is_floating_point() else x).float()


def _inference(network: Callable[[Tensor], Tensor], device: torch.device, precision: str) -> Runner:
    """PyTorch would compute float32 convolutions on a GPU in TF32 unless told not to."""
    flags = {"enabled": True, "benchmark": True, "allow_tf32": precision == "tf32"}

    @torch.inference_mode()
    def run(x: Tensor) -> Tensor:
        if device.type != "cuda":
            return network(x)
        with ONE_AT_A_TIME, torch.backends.cudnn.flags(**flags):  # these are of the whole process
            return network(x)

    return run


# --- other runtimes ---------------------------------------------------------------------------------------------


def openvino_core() -> Any:
    """The one `Core` that this package makes in a process, never let go.

    Each gives its thread a stack for signals. Two that are let go in the order in which they came leave the first one's
    stack in use although it is gone, and the next signal with a handler (Ctrl-C, a data loader's) ends the process.
    """
    with ONE_AT_A_TIME:  # of two threads that ask first each would make one
        return _core()


@functools.cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def to_openvino(network: nn.Module, example: Tensor) -> Any:
    """A model of OpenVINO for any size and batch of input."""
    import openvino

    with warnings.catch_warnings(action="ignore"):  # of an exporter, about its own future
        return openvino.convert_model(network, example_input=example)


def to_onnx(
    network: nn.Module,
    example: Tensor,
    path: Path,
    dynamic: Any = None,
    names: tuple[str, str] = ("input", "output"),
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write an ONNX file; `dynamic` as in `torch.export`, `names` of its input and output."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        options: dict[str, Any] = {"input_names": names[:1], "output_names": names[1:], "dynamic_shapes": dynamic}
        program = torch.onnx.export(network, (example,), dynamo=True, verbose=False, **options)
        assert program is not None  # since dynamo=True
        program.model.metadata_props.update(metadata or {})
        program.save(path, external_data=False)
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _openvino(network: nn.Module, example: Tensor, precision: str, calibration: Iterable[Tensor], file: str) -> Runner:
    settings = _settings(precision)

    def make(path: Path) -> None:
        model = to_openvino(network, example)
        if precision == "int8":
            model = quantised(model, calibration)
        model.reshape(list(example.shape))
        openvino_core().compile_model(model, "CPU", settings).export_model(stream := io.BytesIO())
        path.write_bytes(stream.getvalue())

    def load(path: Path) -> Any:
        return openvino_core().import_model(path.read_bytes(), "CPU", settings)

    request = kept.through_file(file, ".blob", make, load).create_infer_request()

    def run(x: Tensor) -> Tensor:
        (output,) = request.infer([x.numpy()], share_inputs=True).values()
        return torch.from_numpy(output)

    return run


def _settings(precision: str) -> dict[str, str]:
    """Of OpenVINO on a CPU."""
    hint, threads = "bf16" if precision == "bf16" else "f32", str(torch.get_num_threads())
    return {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}


def openvino_profile(network: nn.Module, example: Tensor, runs: int) -> dict[str, float]:
    """Milliseconds of every node of a network in OpenVINO, fp32, the least of some runs, by the node's name."""
    model = to_openvino(network, example)
    model.reshape(list(example.shape))
    settings = _settings("fp32") | {"PERF_COUNT": "YES"}
    request, best = openvino_core().compile_model(model, "CPU", settings).create_infer_request(), dict[str, float]()
    for _ in range(runs):
        request.infer([example.numpy()])
        for node in request.profiling_info:
            ms = 1000 * node.real_time.total_seconds()
            best[node.node_name] = min(best.get(node.node_name, ms), ms)
    return best


def quantised(model: Any, calibration: Iterable[Tensor]) -> Any:
    """A model of OpenVINO in int8, after training: ranges of activations are those of `calibration`."""
    import nncf

    inputs = [x.numpy() for x in calibration]
    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        return nncf.quantize(model, nncf.Dataset(inputs), subset_size=len(inputs))


def _onnxruntime(network: nn.Module, example: Tensor, file: str) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")  # its threads would disturb ours after a run

    def load(path: Path) -> Any:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    session = kept.through_file(file, ".onnx", functools.partial(to_onnx, network, example), load)
    name = session.get_inputs()[0].name

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: x.numpy()})[0])

    return run


def _tensorrt(network: nn.Module, example: Tensor) -> Runner:
    import torch_tensorrt

    options = {"use_explicit_typing": True, "disable_tf32": True}  # it computes in the precision of the weights
    with warnings.catch_warnings(action="ignore"):
        built = torch_tensorrt.compile(network, ir="dynamo", arg_inputs=[example], min_block_size=1, **options)
    return _inference(built, example.device, "fp32")
