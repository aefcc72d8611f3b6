"""One page of results: `results/index.html`, and `results/README.md` for those who read on the web.

Both collect what cells tagged `result` gave out, tables and pictures, and compute nothing. `index.html` has all figures
of the notebooks, as they came and as you executed them, each as HTML beside it; it needs no network and no script.
"""

import base64
import html
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from pygments.formatters import HtmlFormatter

from bisenet.data.places import NOTEBOOKS, REPOSITORY, check_writable
from bisenet.files import write_text
from bisenet.runs.store import records_folder, results_folder

BLOCKS = {"results": "table_2_components", "claims": "claims"}  # of the README, and in which notebook each is made
BEGIN, END = "<!-- begin: {}, written by python -m bisenet report -->\n", "<!-- end: {} -->"
RESULT = "result"  # the tag of cells whose tables and pictures are shown in both
PICTURES = "pictures"  # the folder with those of `results/README.md`

INTRODUCTION = """Made by `python -m bisenet report` of what the notebooks store. `index.html`, made beside it, shows
also what you have executed; [`results.csv`](results.csv) has a line for each run and each speed;
[records](records/README.md) says what lies where."""

KEY = """GFLOPs agree to the last printed digit, or within 0.1 %. A gain, in points of mIoU over the base of its table,
has its 95 % interval (Welch, over seeds) and is *resolved* if that excludes zero, otherwise *unresolved*; of *one seed*
there is no interval, of what is *not run* no record. *Same* or *other sign* compares with the paper's gain. A claim
*holds* or *fails* if its gain is resolved. Tables 7 to 9 compare the value itself, by the interval of its mean, where
data set and recipe are the paper's; elsewhere only a sign can be compared."""

STYLE = "\n" + Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
STYLE += HtmlFormatter().get_style_defs(".highlight")


def build() -> Path:
    """Write `index.html` into the folder of results, and `README.md` if it is the repository's; returns the first."""
    folder = results_folder()
    check_writable(folder)
    contents = "".join(f'<li><a href="#{path.stem}">{html.escape(title(path))}</a></li>' for path in notebooks())
    parts = ["<h1>BiSeNet V2: results</h1>", markdown2html(KEY), f"<ul>{contents}</ul>"]
    if folder == records_folder().parent:
        write_text(folder / "README.md", readme())
        for old in (folder / PICTURES).glob("*.png"):
            old.unlink()
        for name, picture in pictures().items():
            (folder / PICTURES / name).write_bytes(picture)
        write_text(REPOSITORY / "README.md", with_results((REPOSITORY / "README.md").read_text(encoding="utf-8")))
    for path in notebooks():
        parts += [f'<h2 id="{path.stem}">{html.escape(title(path))}</h2>', *_editions(path, folder)]
    return write_text(folder / "index.html", _document("BiSeNet V2: results", "\n".join(parts)))


def readme() -> str:
    """What came with the repository, as Markdown: the tables and pictures of the result cells."""
    parts = ["# Results", INTRODUCTION, KEY]
    for path in notebooks():
        if found := _results(path):
            parts += [f"## {title(path)}", *found, f"[The notebook](../notebooks/{path.name})"]
    return "\n\n".join(parts) + "\n"


def pictures() -> dict[str, bytes]:
    """The pictures of all result cells as PNG, by the names of their files."""
    found = {path.stem: _outputs(_read(path), "image/png", RESULT) for path in notebooks()}
    named = ((_picture(stem, n), data) for stem, of_stem in found.items() for n, data in enumerate(of_stem))
    return {name: base64.b64decode(data["image/png"]) for name, data in named}


def _picture(stem: str, number: int) -> str:
    return f"{stem}_{number + 1}.png" if number else f"{stem}.png"


def with_results(text: str) -> str:
    """The README with the tables that cells tagged `readme` store, each between the two comments that stand there."""
    for block, notebook in BLOCKS.items():
        stored = next(_outputs(_read(NOTEBOOKS / f"{notebook}.ipynb"), "text/markdown", "readme"))
        before, begin, rest = text.partition(BEGIN.format(block))
        _, end, after = rest.partition(END.format(block))
        if not (begin and end):
            raise ValueError(f"README.md has no place for {block}: {BEGIN.format(block)!r} and {END.format(block)!r}")
        text = f"{before}{begin}{stored['text/markdown']}\n{end}{after}"
    return text


def notebooks() -> list[Path]:
    """All of them: the claims, the first to read, the tables, the figures, the others."""
    kinds = ("claims", "quickstart", "network", "table", "figure", "speed", "gflops", "recipes", "data")

    def place(path: Path) -> tuple[int, int]:
        kind, number = (*path.stem.split("_"), "")[:2]
        return kinds.index(kind), int(number) if number.isdigit() else 0

    return sorted(NOTEBOOKS.glob("*.ipynb"), key=place)


def title(path: Path) -> str:
    """The first heading of a notebook."""
    return _read(path).cells[0].source.splitlines()[0].lstrip("# ")


def _editions(path: Path, folder: Path) -> Iterator[str]:
    """Figures and main tables of a notebook as it came, and as you executed it, and links to the whole of each."""
    yours = {mine.parent.name: mine for mine in sorted(folder.glob(f"reproduced/*/{path.name}"))}
    for edition, executed in {"as shipped": path, **yours}.items():
        notebook = _read(executed)
        target = folder / "html" / edition.replace(" ", "-") / path.with_suffix(".html").name
        write_text(target, _document(title(path), _whole(notebook, executed.parent, target.parent)))
        link = f'<a href="{html.escape(target.relative_to(folder).as_posix())}">{path.stem}, {html.escape(edition)}</a>'
        yield f"<p>The whole notebook: {link}</p>"
        yield from (
            f'<div class="wide">{output["text/html"]}</div>' for output in _outputs(notebook, "text/html", RESULT)
        )
        pictures = [output["image/png"].strip() for output in _outputs(notebook, "image/png")]
        for number, picture in enumerate(pictures, start=1):
            alt = f"{title(path)}: figure {number} of {len(pictures)}, {edition}"
            yield f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{picture}">'


def _results(path: Path) -> list[str]:
    """What a notebook's result cells gave out, as Markdown; ValueError where one gave nothing: it was not executed."""
    parts, drawn = list[str](), 0
    for cell in (cell for cell in _read(path).cells if RESULT in cell.metadata.get("tags", ())):
        before = len(parts)
        for data in (output.get("data", {}) for output in cell.get("outputs", ())):
            if "image/png" in data:
                parts.append(f"![{title(path)}]({PICTURES}/{_picture(path.stem, drawn)})")
                drawn += 1
            elif "text/markdown" in data:
                parts.append(data["text/markdown"])
        if len(parts) == before:
            raise ValueError(f"{path.name}: the result cell {cell.source[:40]!r}... stores nothing: make notebooks")
    return parts


def _outputs(notebook: Any, kind: str, tag: str = "") -> Iterator[dict[str, str]]:
    """What the cells gave out of a kind, such as "image/png"; with `tag` the cells tagged so."""
    for cell in notebook.cells:
        if tag and tag not in cell.metadata.get("tags", ()):
            continue
        for output in cell.get("outputs", ()):
            if kind in output.get("data", ()):
                yield output.data


def _whole(notebook: Any, edition: Path, folder: Path) -> str:
    """A notebook as HTML that lies in a folder; its mathematics stays as it is written.

    Links to other notebooks lead to those of the same edition, or else to those that came with the repository.
    """

    def other(link: re.Match[str]) -> str:
        beside = "" if (edition / f"{link[1]}.ipynb").is_file() else "../as-shipped/"
        return f'href="{beside}{link[1]}.html'

    body = HTMLExporter(template_name="basic").from_notebook_node(notebook)[0]
    body = body.replace('href="../', f'href="{Path(os.path.relpath(REPOSITORY, folder)).as_posix()}/')
    return re.sub(r'href="(\w+)\.ipynb', other, body)


def _document(name: str, body: str) -> str:
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{html.escape(name)}</title><style>{STYLE}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def _read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)
