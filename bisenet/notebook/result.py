"""The result of a cell, in the two forms in which it is read: HTML in the notebook, Markdown in `results/README.md`."""

import html
from typing import Any

import pandas as pd


class Result:
    """A table with a title, as the last line of a cell tagged `result`: the page of results collects these."""

    def __init__(self, table: pd.DataFrame, title: str):
        self.table, self.title = table, title

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        with pd.option_context("display.max_colwidth", None):
            shown = self.table.to_html(notebook=True)
        return {
            "text/plain": f"{self.title}\n{self.table.to_string()}",
            "text/html": f"<p><b>{html.escape(self.title)}</b></p>\n{shown}",
            "text/markdown": f"**{self.title}**\n\n{markdown(self.table)}",
        }


def markdown(table: pd.DataFrame) -> str:
    """A table of texts and numbers; levels of columns become words in one line, an index without a name goes."""
    named = any(name is not None for name in table.index.names)
    flat = table.reset_index(drop=not named and isinstance(table.index, pd.RangeIndex))
    flat = flat.rename(columns={"index": ""})
    flat.columns = [" ".join(str(part) for part in (c if isinstance(c, tuple) else (c,)) if part) for c in flat.columns]
    cells = flat.astype(str).map(lambda text: text.replace("|", "/").replace("<", "&lt;").replace("\n", " "))
    lines = [list(cells.columns), ["---"] * cells.shape[1], *cells.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
