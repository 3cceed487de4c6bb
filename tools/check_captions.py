"""Find captions that name what is not to be seen, with both towers of Wan's CLIP; write a report and a cleaned list.

Every object phrase of a caption is compared with frames of its video. Scores are kept in OUTPUT_DIR/scores.jsonl as
they are made, so the same command goes on where it was stopped; report.html shows the lowest ones. With --threshold, or
one chosen on --labels, --action writes STEM.cleaned.jsonl beside each list; the lists themselves are never changed.
docs/caption-check.md has the whole of it.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import arguments, cli
from common.files import atomic_path, require_writable
from common.logs import get_logger, setup_logging
from wan.config import WAN_CONFIGS, CLIPConfig

if TYPE_CHECKING:
    import numpy as np

    from dataset.sources import ItemGroup
    from tools.caption_check.labels import Label
    from tools.caption_check.report import Judged
    from tools.caption_check.scoring import Cosines
    from tools.caption_check.store import Scores
    from tools.caption_check.threshold import Criterion, Point
    from tools.caption_check.work import Work

log = get_logger("captions")

_SHOWN = 10


@dataclass(frozen=True)
class Encoder:
    """CLIP, known but not loaded: where every score is there already, it is never loaded."""

    identity: str
    """Of weights, tokenizer, dtype and the way of scoring."""
    load: Callable[[], "Cosines"]


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset_config", metavar="PATH", help="TOML (or JSON) file of the data set")
    source.add_argument("--jsonl", metavar="PATH", help="instead of it: one list of videos or images")
    add = parser.add_argument
    add("--output_dir", metavar="DIR", required=True, help="folder for the scores and the report")
    arguments.add_task(parser, WAN_CONFIGS, default="i2v-14B")
    add("--clip", metavar="PATH", help="CLIP with both towers; default: the task's under weights/")
    add("--tokenizer", metavar="PATH", help="tokenizer.json of XLM-RoBERTa, or its folder; default: beside --clip")
    add("--allow_download", action="store_true", help="let the tokenizer come from the Hugging Face hub")
    add("--frames", type=int, default=8, help="look at so many frames of each video, evenly spaced")
    threshold = parser.add_mutually_exclusive_group()
    threshold.add_argument("--threshold", type=float, help="phrases of a lower score are wrong")
    threshold.add_argument("--labels", metavar="PATH", help="choose it on this .jsonl or .csv: path, phrase, present")
    add("--criterion", choices=("youden", "f1"), default="youden", help="what is best about the threshold chosen")
    add(
        "--action",
        choices=("none", "drop", "strip"),
        default="none",
        help="write cleaned lists, without the items with a wrong phrase (drop) or without the phrases (strip)",
    )
    add("--overwrite", action="store_true", help="replace cleaned lists that are there with other lines")
    add("--report_items", type=int, default=100, help="show so many items in the report")
    add("--num_workers", type=int, default=2, help="decode ahead in so many threads")
    arguments.add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Find the encoder, score what is not scored yet, choose the threshold, write everything."""
    args = build_parser().parse_args(argv)
    setup_logging()
    _check(args)
    return check_captions(args, find_encoder(args))


def check_captions(args: argparse.Namespace, encoder: Encoder) -> int:
    """Everything behind the options: score, judge, report, clean.

    Args:
        args: of `build_parser`, checked.
        encoder: from `find_encoder`.

    Raises:
        FileNotFoundError, ValueError: a list, a label or a file of weights is missing or wrong.
    """
    from tools.caption_check.cleaning import cleaned_file
    from tools.caption_check.labels import phrases_by_medium, read_labels
    from tools.caption_check.report import judge
    from tools.caption_check.store import read_scores
    from tools.caption_check.work import load_groups, work_of

    folder = Path(args.output_dir)
    groups = load_groups(args.dataset_config, args.jsonl)
    if args.action != "none":
        for group in groups:
            require_writable(cleaned_file(group).parent, f"--action {args.action}")
    media = [item.path for group in groups for item in group.items]
    labels = read_labels(args.labels, media) if args.labels else []
    work = work_of(groups, phrases_by_medium(labels), args.frames, encoder.identity)
    known = read_scores(folder / "scores.jsonl")
    todo = [one for one in work if one.fingerprint not in known]
    log.info(f"{len(work)} captions with phrases: {len(work) - len(todo)} scored already, {len(todo)} to do")
    new, unread = score(todo, encoder, args, folder / "scores.jsonl") if todo else ({}, [])
    scores = {**known, **new}

    chosen = choose_threshold(labels, work, scores, args.criterion, folder) if labels else None
    threshold = args.threshold if chosen is None else chosen[1].threshold
    judged = judge(work, scores, threshold)
    facts = _facts(args, judged, unread, threshold)
    write_results(folder, judged, facts, chosen, args.report_items)
    if args.action != "none":
        write_cleaned_lists(groups, judged, args)
    return 0


def score(
    todo: Sequence["Work"], encoder: Encoder, args: argparse.Namespace, path: Path
) -> tuple[dict[str, "Scores"], list[str]]:
    """Score what is not scored yet, one item after the other, while the next ones are decoded.

    Returns:
        the new scores by fingerprint, and what could not be read: its message, for each.
    """
    from common.progress import progress
    from dataset.ahead import loaded_batches
    from tools.caption_check.scoring import score_phrases
    from tools.caption_check.store import Scores, scores_file

    cosines = encoder.load()
    found: dict[str, Scores] = {}
    unread: list[str] = []
    decode = partial(_decode, count=args.frames)
    loaded = loaded_batches([[one] for one in todo], decode, lambda decoded: decoded[0], args.num_workers)
    with scores_file(path) as keep, progress(len(todo), "scoring captions", "video") as bar:
        for (one,), decoded in loaded:
            if isinstance(decoded, str):
                unread.append(decoded)
            else:
                numbers, pictures = decoded
                phrases = score_phrases(cosines, pictures, (*one.own, *one.extra))
                found[one.fingerprint] = Scores(tuple(numbers), tuple(phrases))
                keep(one.fingerprint, found[one.fingerprint])
            bar.update()
    for message in unread[:_SHOWN]:
        log.warning("%s", cli.printable(message))
    if len(unread) > _SHOWN:
        log.warning("... and %d more media that could not be read", len(unread) - _SHOWN)
    return found, unread


def _decode(work: "Work", count: int) -> "tuple[list[int], list[np.ndarray]] | str":
    """Numbers and pictures of the frames to look at, or why there are none: one bad video must not stop the rest."""
    from tools.caption_check.work import chosen_frames, read_frames

    try:
        numbers = chosen_frames(work.items, count)
        return numbers, read_frames(work.item, numbers)
    except (ValueError, OSError) as error:
        return str(error)


def choose_threshold(
    labels: Sequence["Label"],
    work: Sequence["Work"],
    scores: Mapping[str, "Scores"],
    criterion: "Criterion",
    folder: Path,
) -> "tuple[list[Point], Point]":
    """The operating points on the labels and the best of them; writes threshold.csv and roc.svg.

    Raises:
        ValueError: the labels have no score, or are all present or all absent.
    """
    from tools.caption_check.phrases import key_of
    from tools.caption_check.threshold import area_under_roc, best_point, operating_points, roc_picture, write_table

    by_phrase = {
        (one.subject[0], key_of(phrase.phrase)): phrase.score
        for one in work
        if one.fingerprint in scores
        for phrase in scores[one.fingerprint].phrases
    }
    scored = [label for label in labels if (label.path, key_of(label.phrase)) in by_phrase]
    if len(scored) < len(labels):
        log.warning("%d labels are left out: their media could not be read", len(labels) - len(scored))
    values = [by_phrase[label.path, key_of(label.phrase)] for label in scored]
    points = operating_points(values, [label.present for label in scored])
    best = best_point(points, criterion)
    write_table(folder / "threshold.csv", points)
    with atomic_path(folder / "roc.svg") as temporary:
        temporary.write_text(roc_picture(points, best) + "\n", encoding="utf-8")
    log.info(
        f"threshold {best.threshold:.4f} by {criterion} on {len(scored)} labels: precision {best.precision:.3f}, "
        f"recall {best.recall:.3f}; area under the ROC curve {area_under_roc(points):.3f}"
    )
    return points, best


def write_results(
    folder: Path,
    judged: Sequence["Judged"],
    facts: Mapping[str, str],
    chosen: "tuple[list[Point], Point] | None",
    report_items: int,
) -> None:
    """Write ranking.jsonl, all items with the lowest score first, and report.html, which shows the first of them."""
    from common.progress import progress
    from tools.caption_check.report import write_report
    from tools.caption_check.work import read_frames

    with atomic_path(folder / "ranking.jsonl") as temporary:
        lines = [json.dumps(_ranking_line(one), ensure_ascii=False) + "\n" for one in judged]
        temporary.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")

    def pictures(one: "Judged", places: Sequence[int]) -> "Sequence[np.ndarray]":
        bar.update()
        return read_frames(one.work.item, [one.scores.frames[place] for place in places])

    shown = judged[:report_items]
    with progress(len(shown), "writing the report", "video") as bar:
        write_report(folder / "report.html", shown, facts, chosen, pictures)
    log.info(f"wrote {folder / 'report.html'}")


def _ranking_line(judged: "Judged") -> dict[str, object]:
    return {
        "path": str(judged.work.item.path),
        "caption": judged.work.item.caption,
        "suspects": judged.suspects,
        "phrases": [{**asdict(phrase), "frame": judged.scores.frames[phrase.frame]} for phrase in judged.phrases],
    }


def write_cleaned_lists(groups: Sequence["ItemGroup"], judged: Sequence["Judged"], args: argparse.Namespace) -> None:
    """Write a cleaned list for each list of the data set."""
    from tools.caption_check.cleaning import cleaned_file, cleaned_lines, write_cleaned

    suspects = {one.work.subject: one.suspects for one in judged}
    for path, group in {cleaned_file(group): group for group in groups}.items():
        lines = cleaned_lines(group, lambda subject: suspects.get(subject, ()), args.action)
        write_cleaned(path, lines, args.overwrite)
        log.info(f"wrote {path} ({len(lines)} lines)")
        if group.entry.jsonl_file is None:
            log.info(f"to train on it: {group.entry.media}_jsonl_file in place of the directory, and a cache_directory")


def find_encoder(args: argparse.Namespace) -> Encoder:
    """CLIP's files, found and identified.

    Raises:
        FileNotFoundError: there are no weights, or no tokenizer.
        ValueError: the task's CLIP has no text tower.
    """
    import torch

    from common.precision import compute_dtype, dtype_name, pick_device
    from common.tensor_files import tensor_files
    from dataset.fingerprint import encoder_identity, file_fingerprint
    from tools.caption_check.scoring import SCORING_VERSION, clip_cosines
    from wan.loading import load_clip_text
    from wan.placing import find_weights
    from wan.tokenizer import XLM_ROBERTA, find_tokenizer

    config = _both_towers(args.task)
    weights = arguments.model_path(args.clip, WAN_CONFIGS[args.task].weights.clip, "clip")
    file = find_weights(weights, "clip")
    tokenizer = find_tokenizer(file, args.tokenizer, args.allow_download, XLM_ROBERTA)
    device = pick_device(args.device)
    dtype = compute_dtype(None, device, torch.float16)
    identity = (encoder_identity(tensor_files(file), dtype_name(dtype)), file_fingerprint(tokenizer), SCORING_VERSION)

    def load() -> "Cosines":
        return clip_cosines(load_clip_text(weights, config, device=device, dtype=dtype, tokenizer=tokenizer))

    return Encoder(" ".join(identity), load)


def _both_towers(task: str) -> CLIPConfig:
    """The configuration of a task's CLIP, which must have a text tower."""
    config = WAN_CONFIGS[task].clip
    if config is None or config.text is None:
        lack = "no CLIP" if config is None else "a CLIP without a text tower"
        able = [name for name, other in WAN_CONFIGS.items() if other.clip is not None and other.clip.text is not None]
        raise ValueError(
            f"--task {task} has {lack}, and captions are compared by both towers; use one of {', '.join(able)}"
        )
    return config


def _check(args: argparse.Namespace) -> None:
    """Refuse options that cannot be obeyed, before any work."""
    arguments.check_ranges(args, frames=1, report_items=0, num_workers=1, threshold=None)
    if args.action != "none" and args.threshold is None and args.labels is None:
        raise ValueError(
            f"--action {args.action}: below which score is a phrase wrong? Pass --threshold, or --labels to choose it"
        )
    require_writable(arguments.named(args.output_dir, "--output_dir"), "--output_dir")


def _facts(
    args: argparse.Namespace, judged: Sequence["Judged"], unread: Sequence[str], threshold: float | None
) -> dict[str, str]:
    """The summary of the report; its numbers are logged too."""
    suspects = sum(bool(one.suspects) for one in judged)
    facts = {
        "data": args.dataset_config or args.jsonl,
        "captions scored": str(len(judged)),
        "captions with a phrase below the threshold": "no threshold given" if threshold is None else str(suspects),
        "threshold": "none" if threshold is None else f"{threshold:.4f}",
        "frames of each video": str(args.frames),
        "media that could not be read": str(len(unread)),
        **{f"not read, {number}": message for number, message in enumerate(unread, start=1)},
    }
    log.info(
        "; ".join(f"{name}: {value}" for name, value in facts.items() if not name.startswith(("data", "not read")))
    )
    return facts


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main()))
