"""The page of an evaluation: one HTML file with tables, and its pictures embedded."""

import base64
import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.files import atomic_path
from tools.camera_evaluation.scores import METRICS
from tools.camera_evaluation.summary import Interval, Summary
from tools.camera_evaluation.targets import Target

_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:1240px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}"
    "td,th{padding:.25em .7em;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}.met{color:#186a2c}.missed{color:#a31515}small{color:#777}"
    "img{max-width:100%;image-rendering:auto;display:block;margin:.4em 0 1.2em}pre{white-space:pre-wrap}"
)
COLUMNS = (
    ("rotation, last (deg)", "rotation_last_deg", 1.0, 2),
    ("rotation, mean (deg)", "rotation_mean_deg", 1.0, 2),
    ("translation, last", "translation_last", 1.0, 3),
    ("gain", "gain", 1.0, 3),
    ("sign, main (%)", "main_sign", 100.0, 1),
    ("signs, all (%)", "all_signs", 100.0, 1),
    ("failed, last (%)", "failed_last", 100.0, 1),
    ("PSNR (dB)", "psnr_db", 1.0, 2),
    ("PSNR seen (dB)", "psnr_seen_db", 1.0, 2),
)
"""Heading, metric, factor and digits of the columns of the main table."""
MEDIANS = ("rotation_last_deg", "translation_last", "gain")
"""Metrics whose median is shown beside the mean."""


def number(value: float, digits: int = 2) -> str:
    """A number for people; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def cell(found: Interval, factor: float, digits: int) -> str:
    """A value and its interval."""
    shown = number(factor * found.value, digits)
    if math.isnan(found.low) or found.low == found.high:
        return shown
    return f"{shown} <small>[{number(factor * found.low, digits)}, {number(factor * found.high, digits)}]</small>"


def row_table(summaries: Mapping[str, Summary]) -> list[list[str]]:
    """The main table as HTML cells, with its heading."""
    rows = [["row", *(name for name, *_ in COLUMNS), "speed ratio"]]
    for name, summary in summaries.items():
        cells = []
        for _, metric, factor, digits in COLUMNS:
            stats = summary.overall[metric]
            text = cell(stats.mean, factor, digits)
            if metric in MEDIANS:
                text += f"<br>median {cell(stats.median, factor, digits)}"
            cells.append(text)
        rows.append([html.escape(name), *cells, cell(summary.speed_ratio, 1.0, 2)])
    return rows


def write_evaluation_page(
    path: Path,
    settings: Mapping[str, object],
    summaries: Mapping[str, Summary],
    targets: Sequence[Target],
    judged: str,
    pictures: Mapping[str, Sequence[Path]],
) -> None:
    """Write the page.

    Args:
        path: of the page; whole or not there.
        settings: what to print at its end.
        summaries: by judgement.
        targets: the project's, with what was found.
        judged: the row whose classes are tabled.
        pictures: by heading, PNG files to embed.
    """
    parts = [
        "<h1>Does the camera obey?</h1>",
        "<p>Means over held-out clips with 95 % bootstrap intervals. A frame that could not be tracked keeps the pose "
        "before it, so failures count as errors. Errors are against each row's command; see docs/evaluation.md.</p>",
        "<h2>Rows</h2>",
        _table(row_table(summaries)),
        f"<h2>Targets, held against “{html.escape(judged)}”</h2>",
        _table(_target_rows(targets)),
    ]
    if judged in summaries:
        parts += ["<h2>Per motion and speed</h2>", _table(_motion_rows(summaries[judged])), _timing(summaries)]
    for heading, paths in pictures.items():
        parts.append(f"<h2>{html.escape(heading)}</h2>")
        for picture in paths:
            data = base64.b64encode(picture.read_bytes()).decode("ascii")
            parts.append(f"<div>{html.escape(picture.stem)}</div><img alt='' src='data:image/png;base64,{data}'>")
    described = "\n".join(f"{name}: {value}" for name, value in settings.items())
    meanings = "\n".join(f"{name}: {meaning}" for name, meaning in METRICS.items())
    parts += ["<h2>Settings</h2>", f"<pre>{html.escape(described)}</pre>", "<h2>Metrics</h2>"]
    parts.append(f"<pre>{html.escape(meanings)}</pre>")
    head = f"<meta charset='utf-8'><title>Camera evaluation</title><style>{_STYLE}</style>"
    with atomic_path(path) as temporary:
        temporary.write_text(
            f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>", encoding="utf-8"
        )


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML already; the first row is the head."""
    tags = ["th", *["td"] * (len(rows) - 1)]
    lines = ["".join(f"<{tag}>{text}</{tag}>" for text in row) for tag, row in zip(tags, rows, strict=True)]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _target_rows(targets: Sequence[Target]) -> list[list[str]]:
    rows = [["target", "wanted", "found", "", "missed by"]]
    for target in targets:
        verdict = "<span class='met'>met</span>" if target.met else "<span class='missed'>missed</span>"
        missed = "" if target.met else number(target.miss, 3)
        rows.append([html.escape(target.name), html.escape(target.wanted), cell(target.found, 1.0, 3), verdict, missed])
    return rows


def _motion_rows(summary: Summary) -> list[list[str]]:
    """The judged row by class, by motion and by speed."""
    rows = [["motion", "clips", *(name for name, *_ in COLUMNS[:-2]), "standing (deg)"]]
    for groups in (summary.by_kind, summary.by_motion, summary.by_speed):
        for name, stats in groups.items():
            cells = [cell(stats[metric].mean, factor, digits) for _, metric, factor, digits in COLUMNS[:-2]]
            standing = cell(stats["static_deg"].mean, 1.0, 2)
            rows.append([html.escape(name), str(stats["failed_last"].clips), *cells, standing])
    return rows


def _timing(summaries: Mapping[str, Summary]) -> str:
    rows = [["row", "starts and stops measured", "start (frames)", "stop (frames)"]]
    for name, summary in summaries.items():
        times = [cell(summary.overall[metric].mean, 1.0, 2) for metric in ("start_frames", "stop_frames")]
        rows.append([html.escape(name), f"{summary.onsets_measured} of {summary.onsets_commanded}", *times])
    return "<h2>When moves start and stop</h2>" + _table(rows)
