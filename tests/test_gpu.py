"""On a GPU the numbers of the CPU, a step that does not wait, and calls from other threads: `make test-gpu`."""

import dataclasses
import re
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from bisenet import paper
from bisenet.augment import to_tensor
from bisenet.checkpoint import Checkpoint, Fitted
from bisenet.data import open_dataset
from bisenet.dataset import IGNORE
from bisenet.evaluate import evaluate, miou
from bisenet.execution import Execution, memory_format
from bisenet.files import SHIPPED_SIZE, SHIPPED_WEIGHTS
from bisenet.inference import export
from bisenet.inference.segmenter import Plain, Segmenter
from bisenet.model import BiSeNetV2
from bisenet.runs import memory
from bisenet.runs.clock import between, clock_of
from bisenet.runs.forecast import forecast_runs
from bisenet.runs.many import needed
from bisenet.runs.plan import plan
from bisenet.runs.rehearse import ITERATIONS, rehearse
from bisenet.runs.training import find_or_train
from bisenet.speed.machine import machine_peak
from bisenet.train import prepare, step, total_loss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU, or this run does not see it")
CPU, GPU = torch.device("cpu"), torch.device("cuda")
RECIPE = paper.recipe("cityscapes", "paper")


def of_device(device: torch.device, precision: str = "32-true") -> Execution:
    return Execution(accelerator=device.type, precision=precision, workers=0)  # type: ignore[arg-type]


def test_evaluation_gives_the_score_of_the_cpu():
    scenes, used = open_dataset("streets", "val", size=SHIPPED_SIZE), range(20)
    of_device(GPU).fabric()  # fp32 is without TF32
    on_cpu, on_gpu = (
        miou(evaluate(BiSeNetV2.load(SHIPPED_WEIGHTS).to(device), scenes, SHIPPED_SIZE, device, used).cpu().numpy())
        for device in (CPU, GPU)
    )
    assert on_gpu == pytest.approx(on_cpu, abs=0.01)


@pytest.mark.parametrize("keep", [1 / 16, 0.999])  # the threshold decides; the share decides
def test_loss_and_its_gradients(keep):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 19, (4, 128, 256), generator=generator)
    labels[0, :40] = IGNORE
    strides = {"head": 8, "stage2": 4, "stage5_4": 32}
    made = {p: 6 * torch.randn(4, 19, 128 // s, 256 // s, generator=generator) for p, s in strides.items()}
    found = []
    for device in (CPU, GPU):
        logits = {place: value.to(device).requires_grad_() for place, value in made.items()}
        config = dataclasses.replace(RECIPE, ohem_keep=keep)
        loss = total_loss(logits, labels.to(device), config, of_device(device).fabric())
        loss.backward()
        found.append((loss.item(), [value.grad.cpu() for value in logits.values() if value.grad is not None]))
    (first, slopes), (second, others) = found
    assert second == pytest.approx(first, rel=1e-5)
    assert all((a - b).norm() < 1e-3 * a.norm() for a, b in zip(slopes, others, strict=True))


@pytest.mark.parametrize(("precision", "least"), [("32-true", 0.9999), ("bf16-mixed", 0.9)])
def test_gradient_of_the_network(precision, least):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (4, 128, 256, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 19, (4, 128, 256), generator=generator)

    def gradient(execution: Execution) -> torch.Tensor:
        fabric = execution.fabric()
        torch.manual_seed(0)
        bare, network, _ = prepare(BiSeNetV2(paper.row("table_2.ohem").model), RECIPE, fabric)
        seen = to_tensor(images.to(fabric.device)).contiguous(memory_format=memory_format(fabric))
        fabric.backward(total_loss(network(seen), labels.to(fabric.device), RECIPE, fabric))
        return torch.cat([p.grad.float().flatten().cpu() for p in bare.parameters() if p.grad is not None])

    first, second = gradient(of_device(CPU)), gradient(of_device(GPU, precision))
    assert F.cosine_similarity(first, second, dim=0) > least


def begun(precision: str):
    """A training on the GPU: network, what makes a step of it, and what is saved of it."""
    fabric, config = of_device(GPU, precision).fabric(), dataclasses.replace(RECIPE, batch=4, lr=1e-3)
    torch.manual_seed(0)
    bare, *parts = prepare(BiSeNetV2(paper.row("table_2.ohem").model), config, fabric)
    images = torch.randint(256, (4, 128, 256, 3), dtype=torch.uint8, device=fabric.device)
    labels = torch.randint(0, 19, (4, 128, 256), device=fabric.device)
    saved = Checkpoint(None, bare, parts[1].optimizer, fabric.strategy.precision, {})
    return bare, lambda: step(*parts, images, labels, config, fabric), saved


@pytest.mark.parametrize(("precision", "most"), [("32-true", 1), ("bf16-mixed", 1), ("16-mixed", 2)])
def test_a_step_waits_for_the_gpu_once(precision, most):
    """For how many pixels are hard; in float16 also for whether all gradients are finite."""
    bare, take_step, _ = begun(precision)
    for _ in range(3):
        take_step()
    benchmark = []
    bare.head.register_forward_hook(lambda *_: benchmark.append(torch.backends.cudnn.benchmark))
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            take_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [f"{each.filename}, line {each.lineno}" for each in caught if "synchroniz" in str(each.message)]
    assert len(waits) <= most, waits
    assert benchmark == [True] and not torch.backends.cudnn.benchmark


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_a_training_goes_on_where_it_was(precision, tmp_path):
    """With the scale of the loss, and averages that lie as their weights do."""
    (_, step_of_whole, whole), (_, step_of_again, again) = begun(precision), begun(precision)
    whole.path = again.path = tmp_path / "c.safetensors"
    for _ in range(3):
        step_of_whole()
    whole.save(Fitted(torch.zeros(3).numpy(), 0.0, []))
    again.load({})
    assert again.precision.state_dict() == whole.precision.state_dict()
    assert step_of_again().item() == pytest.approx(step_of_whole().item(), rel=1e-3)
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        momenta = [run.optimizer.state[p]["momentum_buffer"] for run, p in ((whole, one), (again, other))]
        # A side of one pixel may have any stride.
        strides = [[stride for stride, side in zip(m.stride(), m.shape, strict=True) if side > 1] for m in momenta]
        assert strides[0] == strides[1] and momenta[1].device == other.device


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("engine", ["torch", "compile"])
def test_segmenters_answer_as_the_plain_network_in_any_thread_or_say_why_not(engine, precision):
    picture = open_dataset("streets", "val", size=SHIPPED_SIZE).load(0)[0]
    with torch.inference_mode():
        expected = Plain(BiSeNetV2.load(SHIPPED_WEIGHTS), SHIPPED_SIZE)(torch.from_numpy(picture.copy())[None])[
            0
        ].numpy()
    segmenter, least = Segmenter(engine=engine, precision=precision), 0.999 if precision == "fp32" else 0.99
    assert np.mean(segmenter(picture) == expected) > least
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(segmenter, picture)
    if engine == "compile":
        with pytest.raises(RuntimeError, match="answers in the thread that loaded it"):
            other.result()
    else:
        assert np.mean(other.result() == expected) > least


def test_a_training_is_recorded_with_its_gpu(results):
    record = find_or_train(plan(paper.row("table_2.ohem"), "streets", "smoke", 0), execution=of_device(GPU))
    assert record.processes[0]["device"]["gpu"] == torch.cuda.get_device_name() and not record.processes[0]["tf32"]


# --- what is said of memory and time -------------------------------------------------------------------------------

SMALL = dataclasses.replace(RECIPE, batch=4, input_size=(256, 512))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_forecast_of_memory_is_the_peak_of_the_real_step_in_the_precision_that_trains(precision):
    fabric, model = of_device(GPU, precision).fabric(), paper.row("table_2.ohem").model
    before = torch.cuda.memory_allocated()
    trial = memory.attempt(model, SMALL, fabric)
    assert trial.factor == 1
    need = trial.need(1)
    del trial
    memory.let_go(GPU)
    assert torch.cuda.memory_allocated() - before < 2**27  # what libraries keep to work in
    _, network, optimizer = prepare(BiSeNetV2(model), SMALL, fabric)
    images = torch.zeros(4, 256, 512, 3, dtype=torch.uint8, device=GPU)
    for _ in range(2):
        memory.forget_peak(GPU)
        step(network, optimizer, images, images[..., 0], SMALL, fabric)
    assert need == pytest.approx(memory.peak(GPU) - before, rel=0.1)


def test_a_batch_that_does_not_fit_is_halved_and_a_part_counts():
    fabric, model = of_device(GPU, "bf16-mixed").fabric(), paper.row("table_2.ohem").model
    assert memory.attempt(model, SMALL, fabric, 2).factor == 2  # two images of four
    memory.let_go(GPU)
    torch.cuda.set_per_process_memory_fraction(3 * 2**30 / torch.cuda.get_device_properties(GPU).total_memory)
    try:
        assert 1 < memory.attempt(model, dataclasses.replace(SMALL, batch=128), fabric).factor <= 64
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_forecast_takes_the_real_batch_and_leaves_no_network(results):
    runs = needed(["table_2"], "streets", "short", [0])[:3]
    before = torch.cuda.memory_allocated()
    said = forecast_runs(runs, of_device(GPU, "bf16-mixed"), notebooks=0, reading=0.0, start=lambda: 0.0)
    assert torch.cuda.get_device_name() in str(said) and "pixels" not in str(said)
    assert torch.cuda.memory_allocated() - before < 2**27
    assert min(said.seconds.values()) > 0


def test_a_rehearsal_says_what_it_took(capsys):
    rehearse(paper.row("table_2.ohem"), "camvid", "short", None, dataclasses.replace(of_device(GPU), precision="auto"))
    said = capsys.readouterr().out
    assert f"{ITERATIONS['cuda']} iterations in" in said and f"after {ITERATIONS['cuda'] // 2} of them" in said
    allocated, kept = map(float, re.search(r"peak memory: ([\d.]+) GiB, ([\d.]+) with what is kept", said).groups())
    assert 0 < allocated <= kept


def test_events_agree_with_a_clock_that_waits():
    a, clock = torch.randn(4096, 4096, device=GPU), clock_of(GPU)
    for _ in range(3):
        a @ a
    torch.cuda.synchronize()
    began, moments = time.perf_counter(), [clock()]
    for _ in range(50):
        a @ a
        moments.append(clock())
    seconds = between(moments)  # waits
    assert sum(seconds) == pytest.approx(time.perf_counter() - began, rel=0.2)


def test_peaks_are_those_of_the_precision():
    peaks = {precision: machine_peak(GPU, precision)["gflops"] for precision in ("fp32", "tf32", "bf16", "fp16")}
    assert not torch.backends.cuda.matmul.allow_tf32
    if torch.cuda.get_device_capability() >= (8, 0):  # matrix units for TF32 and bf16
        assert peaks["fp32"] < 1.2 * peaks["tf32"] and peaks["tf32"] < peaks["bf16"], peaks


# --- exports -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [export.Graph(SHIPPED_SIZE), export.Graph(None, whole=True, seen=(128, 256))])
@pytest.mark.parametrize("to", ["pt2", "torchscript"])
def test_files_that_were_exported_on_the_cpu_run_on_the_gpu(to, graph, tmp_path):
    path, network = tmp_path / f"a{export.FORMATS[to].suffix}", BiSeNetV2.load(SHIPPED_WEIGHTS)
    export.export(network, to, graph, path)
    moved = torch.jit.load(path, map_location=GPU) if to == "torchscript" else torch.export.load(path).module().to(GPU)
    inputs = graph.inputs(1, SHIPPED_SIZE)
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        output = moved(inputs.to(GPU))
    assert output.device.type == "cuda" and graph.difference(output.cpu(), network, inputs) < 0.01
