"""The package without a clone: notebooks and records travel with it, results go where the user is."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from bisenet.data.places import NOTEBOOKS, REPOSITORY
from bisenet.runs.store import published, records_folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder where `pip install .` puts things."""
    source, prefix = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("prefix")
    for name in ("bisenet", "notebooks", "results/records"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    pip += ["--ignore-installed"]  # or the one that runs these tests would be removed
    subprocess.run([*pip, "--prefix", prefix, source], check=True, capture_output=True)
    return prefix


def run(installed: Path, folder: Path, *words: str) -> str:
    library = sysconfig.get_path("purelib", vars={"base": str(installed), "platbase": str(installed)})
    environment = {name: value for name, value in os.environ.items() if name != "BISENET_RESULTS"}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env={**environment, "PYTHONPATH": library}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_that_is_read_travels(installed, tmp_path):
    code = """
from pathlib import Path
from bisenet.data import places
from bisenet.runs.store import published, records_folder, results_folder
assert not places.CLONED and results_folder() == Path.cwd() / "results"
print(len(list(places.NOTEBOOKS.glob("*.ipynb"))), len(list(records_folder().rglob("*.*"))), len(published().records()))
"""
    there = [*NOTEBOOKS.glob("*.ipynb")], [*records_folder().rglob("*.*")], published().records()
    assert [int(word) for word in run(installed, tmp_path, "-c", code).split()] == [len(each) for each in there]


def test_what_is_run_goes_to_the_folder_of_the_user(installed, tmp_path):
    run(installed, tmp_path, "-m", "bisenet", "train", "--row", "table_2.detail", "--scale", "smoke")
    said = run(installed, tmp_path, "-m", "bisenet", "reproduce", "--only", "table_1", "--scale", "smoke")
    assert f"results: {tmp_path / 'results' / 'index.html'}" in said
    assert len(list((tmp_path / "results" / "runs").glob("*/record.json"))) == 1
