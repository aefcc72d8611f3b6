"""What is said of a GPU that is there and not used."""

import pytest
import torch

from bisenet.runs import provenance


@pytest.fixture
def card(tmp_path, monkeypatch):
    """A machine with a driver, and a PyTorch that finds nothing."""
    monkeypatch.setattr(provenance, "DRIVER", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_driver_that_is_too_old_or_a_build_without_cuda(card, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    assert "cannot use it: its CUDA 13.2 may need a newer driver" in provenance.unused_gpu()
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "is built without CUDA; other builds: docs/devices.md" in provenance.unused_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hidden on purpose
    assert provenance.unused_gpu() == ""


def test_a_card_that_is_too_old(card, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90", "compute_90"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    assert "has no code for Tesla V100 (sm_70)" in provenance.unused_gpu()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 9))
    assert provenance.unused_gpu() == ""


def test_a_machine_without_a_card(card, monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "DRIVER", tmp_path / "nowhere")
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert provenance.unused_gpu() == ""
