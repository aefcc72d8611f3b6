"""Commands that use a network: on photographs and videos, from and for other programs."""

import argparse
import sys
from pathlib import Path
from typing import Any

from bisenet import cost
from bisenet.commands.common import PROGRAM, Command, CommandError, path_of, weights_of
from bisenet.config import choose
from bisenet.data import DATASETS, palette
from bisenet.files import SHIPPED_WEIGHTS
from bisenet.inference import engines, photos
from bisenet.inference.convert import convert
from bisenet.inference.segmenter import Segmenter
from bisenet.model import BiSeNetV2

GIVEN = "a .safetensors file, or one of the package: streets (drawn scenes), camvid (photographs) (default: streets)"
SIZE = "what the network sees (default: what the weights were tested at, or else 512x1024)"


def _predict_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", type=path_of, metavar="PATH", help="a photograph, a video, a folder of them"
    )
    parser.add_argument("--overlay", action="store_true", help="lay the colours of the classes over the frames")
    parser.add_argument(
        "--out", type=path_of, default=Path("predicted"), metavar="FOLDER", help="(default: %(default)s)"
    )
    parser.add_argument("--weights", type=weights_of, default=SHIPPED_WEIGHTS, metavar="FILE", help=GIVEN)
    parser.add_argument("--size", type=_size, metavar="HEIGHTxWIDTH", help=SIZE)
    parser.add_argument(
        "--engine", default="auto", metavar="NAME", help=f"auto, {', '.join(engines.ENGINES)} (default: %(default)s)"
    )
    parser.add_argument(
        "--precision", default="fp32", metavar="NAME", help="fp32, bf16, tf32, fp16 (default: %(default)s)"
    )


def _predict(arguments: argparse.Namespace) -> None:
    files, others = photos.find(arguments.paths)
    photos.check(files, arguments.out, arguments.overlay)  # before the engines are tried, which takes half a minute
    photos.check_any_begins(files)
    segmenter = Segmenter(
        arguments.weights, size=arguments.size, engine=arguments.engine, precision=arguments.precision
    )
    colours = palette(segmenter.num_classes)
    failed = photos.segment(files, segmenter, colours, arguments.out, arguments.overlay)
    ignored = f"; {others} that are no pictures or videos were passed over" if others else ""
    print(f"{len(files) - len(failed)} of {len(files)} files: {arguments.out}{ignored}")
    print(", ".join(filter(None, (f"engine {segmenter.engine}", segmenter.precision, segmenter.chosen))))
    for path, reason in failed.items():
        print(f"{path}: {reason}", file=sys.stderr)
    if failed:
        raise CommandError(f"{len(failed)} of {len(files)} files failed, for the reasons above")


def _convert_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=path_of, metavar="FILE", help="such as model_final_v2_city.pth")
    parser.add_argument(
        "--classes", nargs="+", default=(), metavar="NAME", help="names, in the place of those in the file"
    )
    colour: dict[str, Any] = {"nargs": 3, "type": float, "metavar": ("R", "G", "B")}
    parser.add_argument("--mean", **colour, help="of the images it was trained on, 0 to 1 (default: the published)")
    parser.add_argument("--std", **colour, help="their standard deviation")
    parser.add_argument("--out", type=path_of, metavar="FILE", help="(default: named after the file, in this folder)")


def _convert(arguments: argparse.Namespace) -> None:
    if (arguments.mean is None) != (arguments.std is None):
        raise CommandError("--mean and --std belong together: give both, or neither")
    normalisation = (tuple(arguments.mean), tuple(arguments.std)) if arguments.mean else None
    network, found = convert(arguments.checkpoint, arguments.classes, normalisation)
    path = arguments.out or Path(f"{arguments.checkpoint.stem}.safetensors")
    if path.exists():
        raise CommandError(f"{path} is there already; give --out another name, or move it away")
    network.save(path)
    print(f"{arguments.checkpoint}: {found}\n{path}: written")
    size = " --size 1024x2048" if network.classes == DATASETS["cityscapes"].classes else ""  # as in their evaluation
    print(f"to use it: {PROGRAM} predict PHOTOGRAPH --weights {path}{size}")


def _export_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", nargs="?", type=weights_of, default=SHIPPED_WEIGHTS, metavar="WEIGHTS", help=GIVEN)
    parser.add_argument("--to", required=True, metavar="FORMAT", help="onnx, openvino, torchscript, pt2")
    parser.add_argument("--size", type=_size, metavar="HEIGHTxWIDTH", help=SIZE)
    whole = "from frames, uint8 RGB (N, H, W, 3), to class maps, uint8 (N, H, W), instead of images to logits"
    parser.add_argument("--whole", action="store_true", help=whole)
    frames = parser.add_mutually_exclusive_group()
    frames.add_argument("--dynamic", action="store_true", help="any size; resized inside to --size, if that is given")
    frame = "size of the frames, resized inside to --size (default: that of --size)"
    frames.add_argument("--frame", type=_size, metavar="HEIGHTxWIDTH", help=frame)
    parser.add_argument(
        "--out", type=path_of, metavar="FILE", help="(default: named after the weights, in this folder)"
    )


def _export(arguments: argparse.Namespace) -> None:
    from bisenet.inference import export
    from bisenet.runs.errors import out_of_memory

    form = export.FORMATS[choose("format", arguments.to, export.FORMATS)]
    network = BiSeNetV2.load(arguments.weights)
    size = arguments.size or network.seen_at or cost.PAPER_INPUT
    given = None if arguments.dynamic else arguments.frame or size
    seen = size if arguments.frame else arguments.size if arguments.dynamic else None
    graph = export.Graph(given, arguments.whole, seen)
    path = arguments.out or Path(arguments.weights.stem + form.suffix)
    try:
        difference = export.export(network, arguments.to, graph, path)
    except RuntimeError as error:
        raise CommandError(f"{path} was not written: {out_of_memory(error) or error}") from error
    print(f"{path}: {export.described(graph, network.config.num_classes)}")
    print(f"loaded again and compared with the network: a logit differs by at most {difference:.1e}")


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 512x1024 (height x width)")
    return int(height), int(width)


COMMANDS: dict[str, Command] = {
    "predict": ("Segment photographs and videos: a class map for every frame.", _predict_flags, _predict),
    "convert": (
        "Read a checkpoint of CoinCheung/BiSeNet or mmsegmentation into a file of this package.",
        _convert_flags,
        _convert,
    ),
    "export": ("Write a network for another runtime, and compare it there with what it was.", _export_flags, _export),
}
