"""Results for people: tables in a terminal, and one offline page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from r1rl.aha.figures.bootstrap import LEAST_PROMPTS, Estimate
from r1rl.aha.judge.labels import visible
from r1rl.eval.curves import svg
from r1rl.eval.evaluation import Results
from r1rl.eval.harness import Figure, Plan
from r1rl.eval.measuring import TRUNCATED_FROM, Comparison, Score
from r1rl.ground import whole_files

Rows = tuple[list[str], list[list[str]]]
"""Head and rows of a table, as text."""

_CSS = """
body { margin: 0; background: #fbfbf9; color: #1f2328; font: 15px/1.55 system-ui, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.5rem; margin: 0 0 4px; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 32px 0 8px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 18px 4px 0; border-bottom: 1px solid #e3e5e3; white-space: nowrap; }
th { font-weight: 600; color: #5d6670; font-size: .85rem; }
p { margin: 6px 0; max-width: 75ch; } .note { color: #5d6670; font-size: .9rem; } img { width: 100%; height: auto; }
"""


def percent(estimate: Estimate) -> str:
    """A share with its interval: `12.5 % [10.1, 15.2]`."""
    if estimate.value is None:
        return "–"
    value = f"{100 * estimate.value:.1f} %"
    return value if estimate.low is None else f"{value} [{100 * estimate.low:.1f}, {100 * (estimate.high or 0):.1f}]"


def points(estimate: Estimate) -> str:
    """A difference of shares in percentage points, with its interval."""
    if estimate.value is None:
        return "–"
    value = f"{100 * estimate.value:+.1f}"
    return value if estimate.low is None else f"{value} [{100 * estimate.low:+.1f}, {100 * (estimate.high or 0):+.1f}]"


def scores_table(scores: list[Score]) -> Rows:
    """One row a target: the mean, the ends of the curves, and rates."""
    most = max((score.ks[-1] for score in scores if score.ks), default=1)
    head = ["target", "questions", "pass@1"]
    head += [f"pass@{most}", f"maj@{most}"] if most > 1 else []
    cot = any(score.cot_pass_at for score in scores)
    head += ["CoT-pass@1"] + ([f"CoT-pass@{most}"] if most > 1 else []) if cot else []
    head += ["truncated", "answered", "tokens"]
    rows = []
    for score in scores:
        row = [visible(score.label), f"{score.questions:,}", percent(score.avg)]
        row += [percent(_last(score.pass_at)), percent(_last(score.maj_at))] if most > 1 else []
        if cot:
            curve = score.cot_pass_at or []
            row += [percent(curve[0] if curve else Estimate(None))]
            row += [percent(_last(curve))] if most > 1 else []
        row += [
            _share(score.truncated),
            _share(score.answered),
            "–" if score.tokens is None else f"{score.tokens:,.0f}",
        ]
        rows.append(row)
    return head, rows


def curve_table(scores: list[Score]) -> Rows:
    """Every k of the curves."""
    head = ["target", "", *(f"k = {k}" for k in max((score.ks for score in scores), key=len, default=[]))]
    rows = []
    for score in scores:
        for name, curve in (("pass@k", score.pass_at), ("maj@k", score.maj_at), ("CoT-pass@k", score.cot_pass_at)):
            if curve:
                cells = [percent(estimate) for estimate in curve]
                rows.append([visible(score.label), name, *cells, *[""] * (len(head) - 2 - len(cells))])
    return head, rows


def comparison_table(comparisons: list[Comparison]) -> Rows:
    """Differences in percentage points, p, and p adjusted for the number of k."""
    rows = []
    for compared in comparisons:
        for k, difference, adjusted in zip(compared.ks, compared.pass_at, compared.adjusted, strict=True):
            rows.append(
                [
                    f"{visible(compared.second)} less {visible(compared.first)}",
                    f"pass@{k}",
                    f"{difference.questions:,}",
                    points(difference.estimate),
                    _p(difference.p),
                    _p(adjusted),
                ]
            )
    return ["difference", "", "questions", "points", "p", "p (Holm)"], rows


def kind_tables(scores: list[Score]) -> Iterator[tuple[str, Rows]]:
    """pass@1 by level, subject and the like."""
    for column in scores[0].kinds if scores else ():
        kinds = sorted({kind for score in scores for kind in score.kinds.get(column, {})}, key=_in_order)
        rows = []
        for kind in kinds:
            found = [score.kinds.get(column, {}).get(kind, (0, Estimate(None))) for score in scores]
            rows.append([visible(kind), f"{max(n for n, _ in found):,}", *(percent(e) for _, e in found)])
        yield column, ([column, "questions", *(visible(score.label) for score in scores)], rows)


def remarks(results: Results) -> list[str]:
    """What a reader must know before the figures."""
    said = []
    if results.facts["left_out"]:
        said.append(f"{results.facts['left_out']} questions are left out: their gold answer cannot be judged.")
    if 0 < results.facts["questions"] < LEAST_PROMPTS:
        said.append(f"Fewer than {LEAST_PROMPTS} questions give no interval.")
    for score in results.scores:
        label = visible(score.label)
        if score.incomplete:
            said.append(
                f"{label}: {score.incomplete} questions lack samples and do not count, here and in differences; "
                "--resume asks them again."
            )
        if score.truncated is not None and score.truncated >= TRUNCATED_FROM:
            said.append(
                f"{label}: {100 * score.truncated:.0f} % of the samples were cut off before they ended; a larger "
                "--max-completion-length may score more."
            )
        for what, counts in (("failed", score.asked.get("failed")), ("tried again", score.asked.get("tried_again"))):
            if counts:
                every = "; ".join(f"{visible(reason)} × {count}" for reason, count in counts.items())
                said.append(f"{label}: {what}: {every}.")
        if score.asked.get("stopped"):
            said.append(f"{label}: stopped, {score.asked['stopped']}.")
        if score.asked.get("cost") is not None:
            said.append(f"{label}: cost {score.asked['cost']:.4g} in {score.asked['requests']:,} requests.")
    if results.failure:
        said.append(f"Not asked to the end: {visible(results.failure)}.")
    return said


def protocol_words(results: Results) -> str:
    """The protocol in a line."""
    how = results.facts["protocol"]
    warm = "greedy" if how["temperature"] == 0 else f"temperature {how['temperature']:g}, top-p {how['top_p']:g}"
    return (
        f"{results.facts['task']}: {results.facts['questions']:,} questions × {how['samples']} samples, {warm}, "
        f"graded by {results.facts['verifier']}"
    )


def print_results(results: Results, console: Console) -> None:
    """The tables for a terminal; text from models and data never becomes markup."""
    console.print(Text(protocol_words(results), style="bold"))
    tables = [scores_table(results.scores)]
    tables += [comparison_table(results.comparisons)] if results.comparisons else []
    tables += [rows for _, rows in kind_tables(results.scores)]
    for content in tables:
        print_table(content, console)
    for remark in remarks(results):
        console.print(Text(remark))


def print_table(content: Rows, console: Console) -> None:
    """One table and an empty line."""
    head, rows = content
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in head:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    console.print()


def harness_table(figures: list[Figure]) -> Rows:
    """Another harness's figures, as it calls them; shares as shares."""
    rows = []
    for figure in figures:
        value = figure.estimate.value
        share = value is not None and 0 <= value <= 1 and not figure.metric.endswith("perplexity")
        name = figure.metric if figure.filter in ("none", "") else f"{figure.metric} ({figure.filter})"
        asked = "–" if figure.questions is None else f"{figure.questions:,}"
        shown = percent(figure.estimate) if share else "–" if value is None else f"{value:.4g}"
        rows.append([visible(figure.target), asked, visible(figure.task), visible(name), shown])
    return ["target", "questions", "task", "figure", "value"], rows


def write_harness_page(plan: Plan, figures: list[Figure]) -> Path:
    """Write eval.html for another harness's figures; returns the page."""
    title = f"{plan.path.name}: {plan.task} by lm-eval"
    parts = [
        *_head(title, plan.path.name, f"{plan.task}, asked and graded by lm-eval"),
        f"<h2>Targets</h2>{_table(harness_table(figures))}",
        '<p class="note">Intervals of 95 %: 1.96 of lm-eval\'s standard errors.</p></main></body></html>',
    ]
    page = plan.path / "eval.html"
    whole_files.write_text(page, "\n".join(parts) + "\n", durable=False)
    return page


def write_page(results: Results, folder: Path) -> Path:
    """Write eval.html and curves.svg; returns the page."""
    title = f"{results.facts['name']}: {protocol_words(results)}"
    picture = svg(results.scores, title)
    whole_files.write_text(folder / "curves.svg", picture, durable=False)
    page = folder / "eval.html"
    whole_files.write_text(page, _html(results, picture, title), durable=False)
    return page


def _head(title: str, name: str, words: str) -> list[str]:
    """How a page begins."""
    digest = base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()
    return [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'sha256-{digest}'\">",
        f"<title>{escape(visible(title))}</title><style>{_CSS}</style></head><body><main>",
        f"<h1>{escape(visible(name))}</h1><p>{escape(visible(words))}</p>",
    ]


def _html(results: Results, picture: str, title: str) -> str:
    parts = [
        *_head(title, results.facts["name"], protocol_words(results)),
        *(f'<p class="note">{escape(remark)}</p>' for remark in remarks(results)),
        f"<h2>Targets</h2>{_table(scores_table(results.scores))}",
        f"<h2>pass@k against k</h2>{_image(picture, title)}{_table(curve_table(results.scores))}",
    ]
    if results.comparisons:
        parts.append(
            f"<h2>Differences</h2>{_table(comparison_table(results.comparisons))}"
            '<p class="note">Question by question; the interval draws questions anew, p swaps the targets.</p>'
        )
    parts += [f"<h2>pass@1 by {escape(column)}</h2>{_table(rows)}" for column, rows in kind_tables(results.scores)]
    parts.append(
        '<p class="note">Intervals are of 95 % for new questions of the same kind. pass@k and maj@k are expectations '
        "over all subsets of k samples; answers vote together where the verifier finds them equivalent, and ties are "
        "split.</p></main></body></html>"
    )
    return "\n".join(parts) + "\n"


def _image(svg: str, title: str) -> str:
    """A picture as an image: its own styles are none of the page's, which allows no others."""
    data = base64.b64encode(svg.encode()).decode()
    return (
        f'<img alt="{escape(visible(title))}: the table below has its figures" src="data:image/svg+xml;base64,{data}">'
    )


def _table(content: Rows) -> str:
    head, rows = content
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def _last(curve: list[Estimate]) -> Estimate:
    return curve[-1] if curve else Estimate(None)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _in_order(kind: str) -> tuple[int, str]:
    return (int(kind) if kind.isdecimal() and len(kind) < 10 else 0, kind)
