"""A network as one file for other runtimes: ONNX, OpenVINO, TorchScript, PT2.

The file holds the folded network (`segmenter.folded`), images float32 (N, 3, H, W), normalised, to logits (N, K, H, W);
or the whole path, frames uint8 (N, H, W, 3) to class maps uint8 (N, H, W). After writing it is loaded by its own
runtime and compared with the network; a file that disagrees is not kept.

Of a fixed size N is 1, but TorchScript, which is traced, takes any size whatever was asked for. Where sizes are
dynamic, any N will do, and what the network sees may have any height and width from 33 pixels on: smaller ones leave
its last stage a single row, which PT2 takes for a constant.
"""

import dataclasses
import io
import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from bisenet.augment import resampled, to_tensor
from bisenet.config import Size, choose
from bisenet.inference import engines
from bisenet.inference.segmenter import folded
from bisenet.model import BiSeNetV2

TOLERANCE = 1e-3  # of a logit, fp32
TRIED = ((1, 96, 96), (2, 65, 163))  # batch, height and width at which a file of dynamic size is verified
AUTO = torch.export.Dim.AUTO
METADATA = "bisenet.json"


class Whole(nn.Module):
    """Frames, uint8 (N, H, W, 3), seen at `seen`, or at their own size, to class maps, uint8 (N, H, W).

    As `Plain`, but what is resized stays float: runtimes differ in last bits, and rounded to grey levels these could
    be whole ones. And mean and deviation are buffers, which go with the network to another device; a constant that the
    exporter finds would stay on that of the export.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: BiSeNetV2, seen: Size | None):
        super().__init__()
        self.network, self.seen = network, seen
        for name, value in zip(("mean", "std"), network.normalisation, strict=True):
            self.register_buffer(name, 255 * torch.tensor(value))

    def forward(self, frames: Tensor) -> Tensor:
        pixels = resampled(frames.float(), self.seen) if self.seen else frames.float()
        images = ((pixels - self.mean) / self.std).permute(0, 3, 1, 2)
        return self.network(images, size=(frames.shape[1], frames.shape[2])).argmax(1).to(torch.uint8)


@dataclasses.dataclass(frozen=True)
class Graph:
    """What a file holds: the size of what goes in, or None for any, and whether frames go in and class maps come out.

    `seen` is what frames are resized to inside; None: they are seen at their own size.
    """

    given: Size | None
    whole: bool = False
    seen: Size | None = None

    def __post_init__(self) -> None:
        if self.seen and not self.whole:
            raise ValueError(f"images are not resized inside, to {self.seen}: only whole graphs do that, from frames")
        if min(*(self.given or (1, 1)), *(self.seen or (1, 1))) < 1:
            raise ValueError(f"sizes are {self.given} and {self.seen}: they must be (height, width), both at least 1")

    @property
    def names(self) -> tuple[str, str]:
        return ("frames", "classes") if self.whole else ("images", "logits")

    def module(self, network: BiSeNetV2) -> nn.Module:
        return Whole(network, self.seen) if self.whole else network

    def inputs(self, batch: int, size: Size) -> Tensor:
        """Random frames or images, the same each time."""
        generator = torch.Generator().manual_seed(0)
        if self.whole:
            return torch.randint(0, 256, (batch, *size, 3), dtype=torch.uint8, generator=generator)
        return torch.randn(batch, 3, *size, generator=generator)

    def example(self) -> Tensor:
        """For tracing; dynamic with a batch of two, since a one is taken for a constant."""
        return self.inputs(1, self.given) if self.given else self.inputs(2, TRIED[1][1:])

    def dynamic(self, batch: object = AUTO, height: object = AUTO, width: object = AUTO) -> tuple[dict, ...] | None:
        """Which sides of the input are, as `torch.export` wants it."""
        first = 1 if self.whole else 2
        return None if self.given else ({0: batch, first: height, first + 1: width},)

    def difference(self, output: Tensor, network: BiSeNetV2, inputs: Tensor) -> float:
        """The largest of the logits from the network's; of a class map, by how much its class misses the largest logit.

        Infinite for an output of another shape or type, or classes that are none.
        """
        if not self.whole:
            logits = network(inputs)
            return (output - logits).abs().max().item() if output.shape == logits.shape else math.inf
        images = resampled(inputs.float(), self.seen) if self.seen else inputs
        logits = network(to_tensor(images, network.normalisation), size=(inputs.shape[1], inputs.shape[2]))
        if (output.shape, output.dtype) != (inputs.shape[:3], torch.uint8) or output.max() >= logits.shape[1]:
            return math.inf
        return (logits.amax(1) - logits.gather(1, output[:, None].long())[:, 0]).max().item()


# --- formats --------------------------------------------------------------------------------------------------------
# Each has a function that writes a module to a path, and one that loads the file in its own runtime.

Metadata = dict[str, str]


def _write_onnx(module: nn.Module, graph: Graph, path: Path, metadata: Metadata) -> None:
    sides = graph.dynamic("batch", "height", "width")
    engines.to_onnx(module, graph.example(), path, sides, graph.names, metadata)


def _load_onnx(path: Path) -> engines.Runner:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def _write_openvino(module: nn.Module, graph: Graph, path: Path, metadata: Metadata) -> None:
    import openvino

    model = engines.to_openvino(module, graph.example())
    if graph.given:
        model.reshape(list(graph.example().shape))
    for port, name in zip((model.input(), model.output()), graph.names, strict=True):
        port.set_names({name})
    for key, value in metadata.items():
        model.set_rt_info(value, ["bisenet", key])
    openvino.save_model(model, path, compress_to_fp16=False)


def _load_openvino(path: Path) -> engines.Runner:
    precision = {"INFERENCE_PRECISION_HINT": "f32"}  # where a CPU has bf16, OpenVINO would use that
    model = engines.openvino_core().compile_model(path, "CPU", precision)
    return lambda x: torch.from_numpy(model([x.numpy()])[0])


def _write_torchscript(module: nn.Module, graph: Graph, path: Path, metadata: Metadata) -> None:
    traced = torch.jit.trace(module, graph.example(), check_trace=False)
    content = io.BytesIO()  # on a disk that fills up PyTorch would end the process
    torch.jit.save(traced, content, _extra_files={METADATA: json.dumps(metadata)})
    path.write_bytes(content.getvalue())


def _load_torchscript(path: Path) -> engines.Runner:
    return torch.jit.load(path)


def _write_pt2(module: nn.Module, graph: Graph, path: Path, metadata: Metadata) -> None:
    program = torch.export.export(module, (graph.example(),), dynamic_shapes=graph.dynamic())
    for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten._assert_tensor_metadata.default):
        program.graph.erase_node(node)  # it asks for the device of the export
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA: json.dumps(metadata)})
    path.write_bytes(content.getvalue())


def _load_pt2(path: Path) -> engines.Runner:
    return torch.export.load(path).module()


@dataclasses.dataclass(frozen=True)
class Format:
    """`engine` is one that needs the same packages."""

    suffix: str
    write: Callable[[nn.Module, Graph, Path, Metadata], None]
    load: Callable[[Path], engines.Runner]
    engine: str = "torch"


FORMATS = {
    "onnx": Format(".onnx", _write_onnx, _load_onnx, "onnxruntime"),
    "openvino": Format(".xml", _write_openvino, _load_openvino, "openvino"),
    "torchscript": Format(".pt", _write_torchscript, _load_torchscript),
    "pt2": Format(".pt2", _write_pt2, _load_pt2),
}

# --- writing --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def export(network: BiSeNetV2, to: str, graph: Graph, path: str | os.PathLike[str]) -> float:
    """Write a network, on the CPU and in `eval()`, in one of `FORMATS`; its largest difference from what it was.

    ValueError for a format, name or package that is missing; RuntimeError if the file does not agree with the network,
    in which case what was there before is untouched. OpenVINO's weights are in a second file, which ends with .bin.
    """
    form, path = FORMATS[choose("format", to, FORMATS)], Path(path)
    if problem := engines.why_not(form.engine, "fp32", torch.device("cpu")):
        raise ValueError(problem)
    if path.suffix != form.suffix:
        raise ValueError(f"{path} cannot be a file for {to}: its name must end with {form.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of exporters, about their own future
        partial = Path(folder) / path.name
        form.write(graph.module(folded(network)), graph, partial, _metadata(network, graph))
        difference = _verify(form.load(partial), network, graph, to)
        _move(partial, path)
    return difference


def _verify(run: engines.Runner, network: BiSeNetV2, graph: Graph, to: str) -> float:
    tried = ((1, *graph.given),) if graph.given else TRIED
    inputs = [graph.inputs(batch, (height, width)) for batch, height, width in tried]
    differences = [graph.difference(run(x), network, x) for x in inputs]
    if not all(difference <= TOLERANCE for difference in differences):  # nor is NaN
        raise RuntimeError(
            f"the {to} file differs from the network by {max(differences):.2g} in a logit, more than {TOLERANCE}, and "
            "was not kept; does this version of the runtime compute in fp32?"
        )
    return max(differences)


def _metadata(network: BiSeNetV2, graph: Graph) -> Metadata:
    """As text: classes and their number, the normalisation of images (inside, if the graph is whole), the sizes."""
    mean, std = network.normalisation
    values = {"num_classes": network.config.num_classes, "classes": network.classes, "mean": mean, "std": std}
    values |= dataclasses.asdict(graph)
    return {name: json.dumps(value) for name, value in values.items()}


def _move(partial: Path, path: Path) -> None:
    """To where it belongs, and with it the weights of OpenVINO; an .xml is never there with the .bin of another one."""
    weights = partial.with_suffix(".bin")
    if weights.exists():
        path.unlink(missing_ok=True)
        weights.replace(path.with_suffix(".bin"))
    partial.replace(path)


def described(graph: Graph, num_classes: int) -> str:
    """What goes in and what comes out, as in "images float32 (1, 3, 64, 128) -> logits float32 (1, 19, 64, 128)"."""
    batch, size = ("1", f"{graph.given[0]}, {graph.given[1]}") if graph.given else ("N", "H, W")
    if not graph.whole:
        return f"images float32 ({batch}, 3, {size}), normalised -> logits float32 ({batch}, {num_classes}, {size})"
    seen = f", seen at {graph.seen[0]}x{graph.seen[1]}" if graph.seen else ""
    return f"frames uint8 ({batch}, {size}, 3){seen} -> classes uint8 ({batch}, {size})"
