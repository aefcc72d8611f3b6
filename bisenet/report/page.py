"""One page of results: `results/index.html`, and `results/README.md` for those who read on the web.

Both hold what the records say (`bisenet.report.summary`). `index.html` has the figures and main tables of the executed
notebooks too, and each notebook as HTML beside it; it needs no network and no script. `README.md` knows only what came
with the repository, `index.html` your runs too.
"""

from __future__ import annotations

import html
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mistune
import nbformat
import pandas as pd
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from bisenet import paper
from bisenet.files import write_text
from bisenet.report import summary
from bisenet.report.summary import Recorded
from bisenet.runs.provenance import NOTEBOOKS, REPOSITORY
from bisenet.runs.store import published, records_folder, results_folder, yours

RESULT = "result"  # the tag of cells whose tables are shown on the page

INTRODUCTION = """`python -m bisenet report` makes this page from the records in [`records/`](records/README.md) and
from what the notebooks store; it is not edited by hand. The same command writes `index.html` beside it, with the
figures and with your own runs. What each folder holds is said [there](records/README.md)."""

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 72rem; margin: auto; padding: 1rem }
h2 { border-top: 1px solid #ccc; padding-top: 1rem }
img { max-width: 100%; height: auto; display: block; margin: 1rem 0 }
.wide, pre { overflow-x: auto }
table { border-collapse: collapse; font-size: .875rem; border: 0 }
th, td { padding: .25rem .6rem; border: 0; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
td { white-space: nowrap }
code, p, li { overflow-wrap: anywhere }
summary { cursor: pointer }
summary, a { color: #0072B2 }
.anchor-link { display: none }
.highlight { background: #f6f6f6; padding: .1rem .6rem }
.output_html, .rendered_html { overflow-x: auto }
"""
STYLE += HtmlFormatter().get_style_defs(".highlight")


def build() -> Path:
    """Write `index.html` into the folder of results, and `README.md` if it is the repository's; returns the first."""
    folder = results_folder()
    recorded = Recorded(published(), yours(), folder=folder)
    contents = "".join(f'<li><a href="#{path.stem}">{html.escape(title(path))}</a></li>' for path in notebooks())
    parts = [
        "<h1>BiSeNet V2: results</h1>",
        _html(summary.KEY),
        _html(summary.overview(recorded)),
        f"<ul>{contents}</ul>",
    ]
    if folder == records_folder().parent:
        write_text(folder / "README.md", readme())
    for path in notebooks():
        parts += [f'<h2 id="{path.stem}">{html.escape(title(path))}</h2>', _html(text(path.stem, recorded))]
        parts += _editions(path, folder)
    return write_text(folder / "index.html", _document("BiSeNet V2: results", "\n".join(parts)))


def readme() -> str:
    """What came with the repository, as Markdown, without figures."""
    recorded = Recorded(published(), folder=records_folder().parent)
    parts = ["# Results", INTRODUCTION, summary.KEY, summary.overview(recorded)]
    for path in notebooks():
        tables = [_markdown(output["text/html"]) for output in _outputs(_read(path), RESULT)]
        link = f"[The notebook](../notebooks/{path.name})"
        parts += [f"## {title(path)}", *filter(None, [text(path.stem, recorded)]), *tables, link]
    return "\n\n".join(parts) + "\n"


def notebooks() -> list[Path]:
    """All of them: the first to read, the tables, the figures, the others."""
    kinds = ("quickstart", "table", "claims", "recipes", "figure", "speed", "gflops", "data")

    def place(path: Path) -> tuple[int, int]:
        kind, number = (*path.stem.split("_"), "")[:2]
        return kinds.index(kind), int(number) if number.isdigit() else 0

    return sorted(NOTEBOOKS.glob("*.ipynb"), key=place)


def title(path: Path) -> str:
    """The first heading of a notebook."""
    return _read(path).cells[0].source.splitlines()[0].lstrip("# ")


def text(stem: str, recorded: Recorded) -> str:
    """What the records say of the tables of a notebook; nothing for one that has none."""
    name = "_".join(stem.split("_")[:2])
    if name == "figure_9":
        return summary.by_place(recorded)
    if name in paper.PUBLISHED:
        return summary.benchmark(name, recorded)
    tables = [table for table in paper.TABLES if table.rstrip("abc") == name]
    return "\n\n".join(summary.ablation(table, recorded) for table in tables)


def _editions(path: Path, folder: Path) -> Iterator[str]:
    """Figures and main tables of a notebook as it came, and as you executed it, and links to the whole of each."""
    yours = {mine.parent.name: mine for mine in sorted(folder.glob(f"reproduced/*/{path.name}"))}
    for edition, executed in {"as shipped": path, **yours}.items():
        notebook = _read(executed)
        target = folder / "html" / edition.replace(" ", "-") / path.with_suffix(".html").name
        write_text(target, _document(title(path), _whole(notebook, executed.parent, target.parent)))
        link = f'<a href="{html.escape(target.relative_to(folder).as_posix())}">{path.stem}, {html.escape(edition)}</a>'
        yield f"<p>The whole notebook: {link}</p>"
        yield from (f'<div class="wide">{output["text/html"]}</div>' for output in _outputs(notebook, RESULT))
        pictures = [output["image/png"].strip() for output in _outputs(notebook) if "image/png" in output]
        for number, picture in enumerate(pictures, start=1):
            alt = f"{title(path)}: figure {number} of {len(pictures)}, {edition}"
            yield f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{picture}">'


def _outputs(notebook: Any, tag: str = "") -> Iterator[dict[str, str]]:
    """What the cells gave out, by kind; with `tag` the tables of the cells tagged so."""
    for cell in notebook.cells:
        if tag and tag not in cell.metadata.get("tags", ()):
            continue
        for output in cell.get("outputs", ()):
            if "data" in output and ("text/html" in output.data or not tag):
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


def _markdown(table: str) -> str:
    """A table that pandas wrote as HTML, whose index and columns may have several levels."""
    frame = pd.read_html(io.StringIO(table), flavor="bs4", keep_default_na=False)[0]
    levels = [column if isinstance(column, tuple) else (column,) for column in frame.columns]
    frame.columns = [" ".join(dict.fromkeys(part for part in parts if "Unnamed" not in part)) for parts in levels]
    return summary.markdown(frame)


def _html(markdown: str) -> str:
    rendered = str(mistune.create_markdown(escape=False, plugins=["table"])(markdown))
    return rendered.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")


def _document(name: str, body: str) -> str:
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{html.escape(name)}</title><style>{STYLE}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def _read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)
