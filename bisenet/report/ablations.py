"""From records to the tables of the ablations. Nothing here trains or runs a network."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from bisenet import paper
from bisenet.evaluate import iou, miou
from bisenet.paper import BASES, Row
from bisenet.report.verdict import NOT_RUN, ONE_SEED, Gain, gain, rank_correlation
from bisenet.runs.provenance import where_measured
from bisenet.runs.record import Record

NOT_COUNTED = "not counted"  # by a record that knows nothing of boundaries

# Of one claim and of several, what became of them.
SAID = {
    "holds": ("holds", "hold"),
    "fails": ("fails", "fail"),
    "unresolved": ("is unresolved", "are unresolved"),
    ONE_SEED: ("is of one seed", "are of one seed"),
    NOT_RUN: ("is not run", "are not run"),
}

Records = Mapping[str, Sequence[Record]]


def comparison(rows: Sequence[Row], records: Records, gflops: Mapping[str, float]) -> pd.DataFrame:
    """One line a row of a table of the paper: mIoU, what it gains over the base of the table, GFLOPs.

    `miou_here` and `miou_std` are mean and sample standard deviation over the n seeds recorded, in percent;
    `gain_low` to `gain_high` is the 95 % interval of the gain (`verdict.gain`). NaN where there are too few, and where
    the paper prints no number. `records` and `gflops` are by row id.
    """
    base = next(row for row in rows if row.name == BASES[rows[0].table])
    lines = []
    for row in rows:
        mean, std, n = spread(scores(records.get(row.id, ())))
        gained = Gain(math.nan) if row is base else gain_over(row, base, records)
        lines.append(
            {
                "row": row.name,
                "miou_paper": row.miou,
                "miou_here": mean,
                "miou_std": std,
                "n": n,
                "gain_paper": math.nan if row is base else row.miou - base.miou,
                "gain": gained.points,
                "gain_low": gained.low,
                "gain_high": gained.high,
                "gflops_paper": row.gflops,
                "gflops_here": gflops[row.id],
            }
        )
    return pd.DataFrame(lines)


def scores(records: Sequence[Record], score: Callable[[np.ndarray], float] = miou) -> list[float]:
    """A score of each record, by default its mIoU in percent."""
    return [score(record.matrix) for record in records]


def gain_over(row: Row, base: Row, records: Records) -> Gain:
    """What a row gains over another, in points of mIoU."""
    return gain(scores(records.get(row.id, ())), scores(records.get(base.id, ())))


def gains(table: pd.DataFrame) -> list[Gain]:
    """The gains of a table of `comparison`, one for each row."""
    return [Gain(*line) for line in table[["gain", "gain_low", "gain_high"]].itertuples(index=False)]


def claims(records: Records, tables: Sequence[str] = paper.TABLES) -> pd.DataFrame:
    """What the paper claims of its ablations and what is seen here, one line a claim (`paper.claims`) of some tables.

    Columns `claim, said, of, paper, here, low, high, verdict`: points of mIoU, here with the 95 % interval.
    """
    lines = []
    for said in paper.claims():
        better, worse = paper.row(said["better"]), paper.row(said["worse"])
        if better.table not in tables:
            continue
        here = gain_over(better, worse, records)
        numbers = (better.miou - worse.miou, here.points, here.low, here.high)
        lines.append((said["claim"], said["said"], f"{better.id} - {worse.name}", *numbers, told(here)))
    return pd.DataFrame(lines, columns=["claim", "said", "of", "paper", "here", "low", "high", "verdict"])


def told(here: Gain) -> str:
    """What is seen of a claim that something gains: it "holds" or "fails" where the gain is resolved, by its sign."""
    if here.verdict != "resolved":
        return here.verdict
    return "holds" if here.points > 0 else "fails"


def sentence(table: pd.DataFrame, setting: str) -> str:
    """What became of the claims in a table of `claims`, those that fail by name."""
    found = table["verdict"].value_counts()
    told = ", ".join(f"{n} {SAID[word][int(n > 1)]}" for word in SAID if (n := found.get(word, 0)))
    failed = "; ".join(table["claim"][table["verdict"] == "fails"])
    return f"{setting}: {len(table)} claims of the paper: {told}." + (f" Fails: {failed}." if failed else "")


def show_claims(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `claims` for reading."""
    numbers = {name: [number(gained, sign="+") for gained in table[name]] for name in ("paper", "here")}
    intervals = [Gain(*line).interval for line in table[["here", "low", "high"]].itertuples(index=False)]
    shown = pd.DataFrame({**numbers, "95 % interval": intervals, "verdict": table["verdict"], "said": table["said"]})
    return shown.set_index(pd.Index(table["claim"], name="claim"))


def spread(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean and sample standard deviation of n values, NaN where there are too few; and n."""
    n = len(values)
    return float(np.mean(values)) if n else math.nan, float(np.std(values, ddof=1)) if n > 1 else math.nan, n


def by_place(rows: Sequence[Row], records: Records) -> pd.DataFrame:
    """mIoU near the boundaries of the labels and elsewhere, one line a row and place: `row, place, scores`.

    `scores` is a list, in percent, of those of the seeds whose records count the two apart, by today's radius.
    """
    lines = []
    for row in rows:
        counted = [both for record in records.get(row.id, ()) if (both := record.by_place)]
        for number, place in enumerate(("near", "elsewhere")):
            lines.append((row.name, place, [miou(both[number]) for both in counted]))
    return pd.DataFrame(lines, columns=["row", "place", "scores"])


def claim(places: pd.DataFrame, better: str, worse: str, place: str) -> dict[str, str]:
    """Is the row `better` of `by_place` better at a place than the row `worse`? `here, 95 % interval, verdict`."""
    of_row = places[places["place"] == place].set_index("row")["scores"]
    here = gain(of_row[better], of_row[worse])
    return {"here": number(here.points, sign="+"), "95 % interval": here.interval, "verdict": told(here)}


def show(table: pd.DataFrame, rows: Sequence[Row], setting: str) -> pd.DataFrame:
    """The table for reading: numbers as text, "not run" where nothing is recorded, gains over the base of the table.

    `setting` says what the networks here were trained on, such as "streets, short".
    """
    base = BASES[rows[0].table]
    ours = [score_text(*line) for line in zip(table["miou_here"], table["miou_std"], table["n"], strict=True)]
    over = {row.name: row.label for row in rows}[base]
    of_row = list(zip(rows, gains(table), strict=True))
    return pd.DataFrame(
        {
            "mIoU % paper (Cityscapes val)": table["miou_paper"].map(number),
            f"mIoU % here ({setting})": ours,
            "n": table["n"].astype(str),
            f"paper's gain over {over}": [number(gained, sign="+") for gained in table["gain_paper"]],
            "gain here": ["" if row.name == base else number(gained.points, sign="+") for row, gained in of_row],
            "95 % interval": [gained.interval for _, gained in of_row],
            "verdict": verdicts(table, base),
            **(_gflops(table, rows) if table["gflops_paper"].notna().any() else {}),
        }
    ).set_index(pd.Index([row.label for row in rows], name="row"))


def _gflops(table: pd.DataFrame, rows: Sequence[Row]) -> dict[str, list[str]]:
    counted = table["gflops_here"].tolist()
    return {
        "GFLOPs paper": [number(row.gflops, row.gflops_decimals) for row in rows],
        "here": [number(of_row) for of_row in counted],
        "agree": [gflops_verdict(row, of_row) for row, of_row in zip(rows, counted, strict=True)],
    }


def verdicts(table: pd.DataFrame, base: str) -> list[str]:
    """Of each row of a table of `comparison` its gain's verdict, and whether its sign is that of the paper's gain.

    "base not run" where the row is recorded and what it gains over is not.
    """
    lines = zip(table["row"], gains(table), table["gain_paper"], table["n"], strict=True)
    return ["" if row == base else _verdict(*line) for row, *line in lines]


def _verdict(gained: Gain, printed: float, n: int) -> str:
    return "base not run" if n and gained.verdict == NOT_RUN else gained.beside(printed)


def score_text(mean: float, std: float, n: int) -> str:
    return NOT_RUN if not n else f"{mean:.2f}" + (f" ± {std:.2f}" if n > 1 else "")


def number(value: float, decimals: int = 2, sign: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{sign}.{decimals}f}"


def gflops_verdict(row: Row, here: float) -> str:
    """Whether a count agrees with the printed one: to the last digit, within 0.1 %, or "open"; "" for none."""
    if math.isnan(row.gflops):
        return ""
    if f"{here:.{row.gflops_decimals}f}" == f"{row.gflops:.{row.gflops_decimals}f}":
        return "to the last digit"
    return "within 0.1 %" if abs(here / row.gflops - 1) <= 1e-3 else "open: see gflops_ledger"


def order(table: pd.DataFrame) -> str:
    """How far the mIoU here has the order of the paper's, as a sentence (`verdict.rank_correlation`)."""
    both, what = table[["miou_paper", "miou_here"]].dropna(), "rank correlation with the paper's mIoU"
    if len(both) < 3:
        return f"{what}: it takes three rows, recorded: {len(both)}"
    if both["miou_here"].nunique() == 1:
        return f"{what}: undefined, all scores here are equal"
    found = rank_correlation(both["miou_paper"].tolist(), both["miou_here"].tolist())
    interval = "" if math.isnan(found.low) else f"95 % interval {found.low:+.2f} to {found.high:+.2f}, "
    return f"{what} over {len(both)} rows: {found.rho:+.2f} ({interval}p = {found.chance:.3f})"


def per_class(rows: Sequence[Row], records: Records, classes: Sequence[str]) -> pd.DataFrame:
    """IoU in percent of each class (lines) for each row (columns), mean over the seeds recorded."""
    columns = {
        row.label: 100 * pd.DataFrame([iou(record.matrix) for record in records[row.id]]).mean().to_numpy()
        for row in rows
        if records.get(row.id)
    }
    return pd.DataFrame(columns, index=pd.Index(classes, name="class")).round(1)


def source(records: Records) -> str:
    """Where the numbers come from, in a sentence; each run's record says the rest."""
    found = [record for of_row in records.values() for record in of_row]
    if not found:
        return NOT_RUN
    seen = [_origin(record) for record in found]
    facts = (f"{name} {', '.join(sorted({each[name] for each in seen}))}" for name in seen[0])
    return f"{len({record.hash for record in found})} runs; {'; '.join(facts)}"


def _origin(record: Record) -> dict[str, str]:
    process, git = record.processes[-1], record.processes[-1]["git"]
    return {
        "seeds": str(record.seed),
        "images in training and test": f"{record.images['train']} and {record.images['test']} ({record.source})",
        "precision": process["precision"],
        "on": where_measured(process),
        "commit": (git["commit"] or "unknown")[:7] + (" with changes" if git["dirty"] else ""),
    }
