"""The page of results, and what the README says of them."""

import re
import shutil
from pathlib import Path

import pytest

from bisenet import paper
from bisenet.data.places import NOTEBOOKS, REPOSITORY
from bisenet.report import page
from bisenet.runs.many import find_all
from bisenet.runs.store import records_folder


def test_what_the_readme_says_is_what_the_notebooks_store() -> None:
    said = (REPOSITORY / "README.md").read_text()
    assert page.with_results(said) == said, "python -m bisenet report"
    assert said.count("| guided aggregation merges better than a sum") == 1
    for link in re.findall(r"\]\((?!http|\.\./\.\./actions)([^)#]+)", said):  # the badge is the code host's
        assert (REPOSITORY / link).exists(), link
    missing = [
        row.id
        for name in paper.TABLES[1:]
        for row in paper.table(name)
        if not find_all([row], "streets", "short", [0])[row.id]
    ]
    assert "every row but the three that begin with ImageNet weights" in said
    assert missing == ["table_6.shufflenet", "table_6.mobilenet", "table_6.resnet"]


def test_readme_says_what_came_with_the_repository() -> None:
    """If this fails: python -m bisenet report"""
    committed = records_folder().parent / "README.md"
    assert committed.read_text() == page.readme() and committed.stat().st_size < 60_000
    shown = {path.name: path.read_bytes() for path in (committed.parent / page.PICTURES).iterdir()}
    assert shown == page.pictures()
    for link in re.findall(r"\]\(([^)]+)\)", committed.read_text()):
        assert (committed.parent / link).exists(), link


def test_page_stands_by_itself_and_has_what_you_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BISENET_RESULTS", str(tmp_path))
    edition = tmp_path / "reproduced" / "streets-short"
    edition.mkdir(parents=True)
    for name in ("table_1_architecture", "table_2_components"):  # which lead to other notebooks
        shutil.copy(NOTEBOOKS / f"{name}.ipynb", edition)
    index = page.build()
    content = index.read_text()
    assert not re.findall(r"<script|<link|src=[\"\'](?!data:)", content)
    assert_links(index)
    assert content.count("Table 2: streets, short") == 2 and "as-shipped/table_2" in content  # and as you executed it
    for notebook in page.notebooks():
        whole = tmp_path / "html" / "as-shipped" / f"{notebook.stem}.html"
        assert not re.findall(r"<script|<link|src=[\"\'](?!data:)", whole.read_text()), notebook
    wholes = sorted(tmp_path.glob("html/*/*.html"))
    assert len(wholes) == len(page.notebooks()) + 2
    for whole in wholes:
        assert_links(whole)


def assert_links(path: Path) -> None:
    """Every link leads to a file that is there, or to a place of the page itself, or to the web."""
    content = path.read_text()
    for link in set(re.findall(r'href="([^"]+)"', content)):
        file, _, place = link.partition("#")
        assert link.startswith("https:") or (
            f'id="{place}"' in content if not file else (path.parent / file).exists()
        ), link
