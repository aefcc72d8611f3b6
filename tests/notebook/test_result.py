"""A result in its two forms."""

import pandas as pd

from bisenet.notebook.result import Result


def test_a_result_is_html_and_markdown() -> None:
    levels = pd.MultiIndex.from_tuples([("miou", "near"), ("miou", "elsewhere")], names=[None, "place"])
    table = pd.DataFrame([["1.0 | 2", "<b>"]], columns=levels, index=pd.Index(["a"], name="row"))
    shown = Result(table, "Table 0: x, y")._repr_mimebundle_()
    assert shown["text/markdown"].splitlines() == [
        "**Table 0: x, y**",
        "",
        "| row | miou near | miou elsewhere |",
        "| --- | --- | --- |",
        "| a | 1.0 / 2 | &lt;b> |",
    ]
    assert "<td>1.0 | 2</td>" in shown["text/html"] and "&lt;b&gt;" in shown["text/html"]
