"""The caption check from list to cleaned list, with an encoder that tells colours, and with a tiny CLIP."""

import json
import re
from argparse import Namespace
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch

from camera.language import parse
from common import cli, media
from common.weights import write_tensors
from dataset.config import load_config
from dataset.sources import load_items
from tests.tools.test_caption_phrases import TAGS
from tools.caption_check.scoring import NEUTRAL, PREFIX, PhraseScore, score_phrases
from tools.caption_check.store import Scores, read_scores, scores_file
from tools.check_captions import Encoder, build_parser, check_captions, main
from wan.clip_text import CLIPImageText
from wan.config import WAN_CONFIGS, CLIPTextConfig
from wan.keys_clip_text import clip_image_text_table
from wan.keys_encoders import to_official
from wan.loading import load_clip_text
from wan.pixels import to_tensor

COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}


class ColourEyes:
    """Cosines in a narrow band, which is in another place for every picture, as CLIP's: higher where a text names the
    picture's colour, lower where it names another one."""

    def __init__(self, stop_after=None):
        self.seen, self.stop_after = 0, stop_after

    def __call__(self, pictures, texts):
        if self.seen == self.stop_after:
            raise KeyboardInterrupt
        self.seen += 1
        colours = [list(COLOURS)[int(picture.mean(axis=(0, 1)).argmax())] for picture in pictures]
        return np.array([[self.cosine(colour, text) for text in texts] for colour in colours])

    @staticmethod
    def cosine(colour, text):
        band = {"red": 0.1, "green": 0.15, "blue": 0.2}[colour]
        named = [name for name in COLOURS if name in text]
        return band + (0.0 if not named else 0.05 if colour in named else -0.05)

    def encoder(self, identity="eyes"):
        return Encoder(identity, lambda: self)


def video(path, *colours, each=4):
    frames = np.stack([np.full((32, 48, 3), COLOURS[colour], np.uint8) for colour in colours for _ in range(each)])
    path.parent.mkdir(parents=True, exist_ok=True)
    media.write_video(path, frames, 16)


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """Three videos; the caption of b.mp4 names a green cup that is not there, and that of c.mp4 one that comes late."""
    video(tmp_path / "v" / "a.mp4", "red", "blue")
    video(tmp_path / "v" / "b.mp4", "red")
    video(tmp_path / "v" / "c.mp4", "red", "red", "green")
    lines = [
        {"video_path": "v/a.mp4", "caption": f"Object: A red ball on a blue table. ; Camera: {TAGS}", "my note": 1},
        {"video_path": "v/b.mp4", "caption": f"Object: A red ball, and a green cup. ; Camera: {TAGS}", "fps": 16},
        {"video_path": "v/c.mp4", "caption": f"Object: A red ball, and a green cup. ; Camera: {TAGS}"},
    ]
    write_lines(tmp_path / "list.jsonl", lines)
    return tmp_path


def arguments(folder, *words) -> Namespace:
    source = () if "--dataset_config" in words else ("--jsonl", str(folder / "list.jsonl"))
    return build_parser().parse_args([*source, "--output_dir", str(folder / "out"), *map(str, words)])


def check(folder, *words, eyes=None, identity="eyes"):
    """Run it; returns the ranking."""
    eyes = eyes or ColourEyes()
    assert check_captions(arguments(folder, *words), eyes.encoder(identity)) == 0
    return lines_of(folder / "out" / "ranking.jsonl")


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def suspects(ranking):
    return {Path(line["path"]).name: line["suspects"] for line in ranking}


def test_what_is_in_no_frame_is_a_suspect_and_comes_first(folder):
    ranking = check(folder, "--threshold", 0)
    assert suspects(ranking) == {"a.mp4": [], "b.mp4": ["a green cup"], "c.mp4": []}
    assert Path(ranking[0]["path"]).name == "b.mp4"
    late = next(line for line in ranking if line["path"].endswith("c.mp4"))
    (cup,) = [phrase for phrase in late["phrases"] if phrase["phrase"] == "a green cup"]
    assert cup["score"] == pytest.approx(5) and cup["frame"] >= 8
    assert suspects(check(folder)) == {"a.mp4": [], "b.mp4": [], "c.mp4": []}, "no threshold, no suspects"


def test_scores_are_margins_over_the_neutral_texts_of_the_best_frame():
    table = np.array([[0.30, 0.10], [0.26, 0.24]])
    neutral = np.array([[0.25], [0.20]]) + np.linspace(-0.01, 0.01, len(NEUTRAL))

    def cosines(pictures, texts):
        assert texts == [*(f"{PREFIX} {name}" for name in NEUTRAL), f"{PREFIX} a cup", f"{PREFIX} NASA"]
        return np.hstack([neutral, table])

    pictures = [np.zeros((2, 2, 3), np.uint8)] * 2
    cup, man = score_phrases(cosines, pictures, ["A cup", "NASA"])
    # the first frame has the higher cosine, the second one the higher margin
    assert (cup.frame, cup.score) == (1, pytest.approx(6)) and (man.frame, man.score) == (1, pytest.approx(4))
    with pytest.raises(ValueError, match="not all numbers"):
        score_phrases(lambda pictures, texts: np.full((2, len(texts)), np.nan), pictures, ["a"])


def test_only_frames_that_are_trained_on_count(folder):
    """The green of c.mp4 begins at frame 8: a data set of 5-frame clips from the head never shows it."""
    for frames, expected in ((5, ["a green cup"]), (9, [])):
        text = f'[[datasets]]\nvideo_jsonl_file = "list.jsonl"\ncache_directory = "c"\ntarget_frames = [{frames}]\n'
        (folder / "d.toml").write_text(text, encoding="utf-8")
        ranking = check(folder, "--dataset_config", folder / "d.toml", "--threshold", 0)
        assert suspects(ranking)["c.mp4"] == expected
    # of two data sets that share the list, all frames of either
    both = "".join(
        f'[[datasets]]\nvideo_jsonl_file = "list.jsonl"\ncache_directory = "c{n}"\ntarget_frames = [{n}]\n'
        for n in (5, 9)
    )
    (folder / "d.toml").write_text(both, encoding="utf-8")
    ranking = check(folder, "--dataset_config", folder / "d.toml", "--threshold", 0)
    assert len(ranking) == 3 and suspects(ranking)["c.mp4"] == []


def test_it_goes_on_where_it_was_stopped(folder):
    stopped = ColourEyes(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        check(folder, eyes=stopped)
    assert len(read_scores(folder / "out" / "scores.jsonl")) == 1
    again = ColourEyes()
    check(folder, eyes=again)
    assert again.seen == 2
    whole = (folder / "out" / "scores.jsonl").read_bytes()

    def never():
        raise AssertionError("nothing is to be scored, and CLIP is loaded")

    assert check_captions(arguments(folder), Encoder("eyes", never)) == 0
    assert (folder / "out" / "scores.jsonl").read_bytes() == whole


def test_only_what_changed_is_scored_again(folder):
    check(folder)
    lines = lines_of(folder / "list.jsonl")
    lines[0]["caption"] = lines[0]["caption"].replace("forward", "left")
    lines[1]["caption"] = lines[1]["caption"].replace("cup", "plate")
    write_lines(folder / "list.jsonl", lines)
    for expected, identity, words in ((1, "eyes", ()), (3, "other weights", ()), (3, "eyes", ("--frames", 3))):
        eyes = ColourEyes()
        check(folder, *words, eyes=eyes, identity=identity)
        assert eyes.seen == expected
    video(folder / "v" / "a.mp4", "green")
    eyes = ColourEyes()
    assert len(check(folder, eyes=eyes)) == 3 and eyes.seen == 1


def test_a_file_of_scores_cut_anywhere_is_gone_on_with(tmp_path):
    path = tmp_path / "scores.jsonl"
    scores = Scores((0, 7), (PhraseScore("一个女人", -1.25, 1), PhraseScore('"a" cup', 2.0, 0)))
    with scores_file(path) as keep:
        for name in "abc":
            keep(name, scores)
    whole = path.read_bytes()
    assert read_scores(path) == dict.fromkeys("abc", scores)
    for length in range(0, len(whole), 5):
        path.write_bytes(whole[:length])
        finished = whole[:length].count(b"\n")
        assert list(read_scores(path)) == list("abc")[:finished]
        with scores_file(path) as keep:
            keep("d", scores)
        assert list(read_scores(path)) == [*list("abc")[:finished], "d"]
    path.write_text('{"fingerprint": "a"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"scores\.jsonl line 1: not a line of scores"):
        read_scores(path)


def test_drop_and_strip_write_new_lists_that_train(folder):
    before = (folder / "list.jsonl").read_bytes()
    check(folder, "--threshold", 0, "--action", "strip")
    cleaned = folder / "list.cleaned.jsonl"
    old, new = before.decode().splitlines(), cleaned.read_text(encoding="utf-8").splitlines()
    assert [new[0], new[2]] == [old[0], old[2]], "what is right stays to the character"
    assert json.loads(new[1]) == {**json.loads(old[1]), "caption": f"Object: A red ball. ; Camera: {TAGS}"}
    assert parse(json.loads(new[1])["caption"]) == parse(TAGS)
    toml = '[[datasets]]\nvideo_jsonl_file = "list.cleaned.jsonl"\ncache_directory = "c"\n'
    (folder / "d.toml").write_text(toml, encoding="utf-8")
    (group,) = load_items(load_config(folder / "d.toml"))
    assert [item.path.name for item in group.items] == ["a.mp4", "b.mp4", "c.mp4"]

    check(folder, "--threshold", 0, "--action", "strip")
    with pytest.raises(ValueError, match=r"list\.cleaned\.jsonl is there already, with other lines; pass --overwrite"):
        check(folder, "--threshold", 0, "--action", "drop")
    assert cleaned.read_text(encoding="utf-8").splitlines() == new
    check(folder, "--threshold", 0, "--action", "drop", "--overwrite")
    assert cleaned.read_text(encoding="utf-8").splitlines() == [old[0], old[2]]
    with pytest.raises(ValueError, match="every item would be dropped"):
        check(folder, "--threshold", 100, "--action", "drop", "--overwrite")
    assert (folder / "list.jsonl").read_bytes() == before


def test_a_folder_of_videos_and_captions_gets_a_list(folder):
    for name, caption in (("a", "A red ball on a blue table"), ("b", "a green cup, a red ball"), ("c", "a blue table")):
        (folder / "v" / f"{name}.txt").write_text(f"{caption} ; Camera: {TAGS}", encoding="utf-8")
    toml = '[[datasets]]\nvideo_directory = "v"\ncaption_extension = ".txt"\ntarget_frames = [9]\n'
    (folder / "d.toml").write_text(toml + "horizontal_flip = true\n", encoding="utf-8")
    check(folder, "--dataset_config", folder / "d.toml", "--threshold", 0, "--action", "strip")
    lines = lines_of(folder / "v" / "videos.cleaned.jsonl")
    # a red ball is what is left of b.mp4; nothing is left of c.mp4; twins are made by the flip again
    assert [line["video_path"] for line in lines] == ["a.mp4", "b.mp4"]
    assert lines[1]["caption"] == f"a red ball ; Camera: {TAGS}"


def test_the_threshold_is_chosen_on_labels(folder, caplog):
    rows = ["path,phrase,present", "v/a.mp4,a red ball,yes", "v/b.mp4,green cup,no", "v/c.mp4,a green cup,yes"]
    # a phrase that no caption has is scored for its label, and never shown or stripped
    rows += ["v/b.mp4,a blue whale,no"]
    (folder / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    ranking = check(folder, "--labels", folder / "labels.csv", "--action", "strip")
    assert suspects(ranking) == {"a.mp4": [], "b.mp4": ["a green cup"], "c.mp4": []}
    assert "whale" not in json.dumps(ranking)
    table = (folder / "out" / "threshold.csv").read_text(encoding="utf-8").splitlines()
    assert table[2] == "0.0000,2,0,0,2,1.0000,1.0000,0.0000,1.0000,1.0000"
    assert "<svg" in (folder / "out" / "roc.svg").read_text(encoding="utf-8")
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "area 1.000" in page and '<tr class="chosen"><td>0.0000</td>' in page


class Tags(HTMLParser):
    """The tags of a page and what they refer to."""

    def __init__(self):
        super().__init__()
        self.names, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]


def test_the_report_loads_nothing_and_obeys_no_caption(folder):
    lines = lines_of(folder / "list.jsonl")
    lines[1]["caption"] = "<script>alert(1)</script>, a green <img src=http://x/y.png> & cup"
    write_lines(folder / "list.jsonl", lines)
    check(folder, "--threshold", 0, "--report_items", 2)
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert tags.names.count("section") == 2 and "script" not in tags.names
    assert len(tags.links) == tags.names.count("img") == 8
    assert all(link.startswith("data:image/jpeg;base64,") for link in tags.links)
    assert page.index("b.mp4") < page.index("a.mp4") and "c.mp4" not in page
    assert re.search(r'<tr class="low"><td>a green [^<]*</td><td>-5\.00</td>', page)


def test_a_video_that_cannot_be_read_is_told_and_kept(folder, caplog):
    (folder / "v" / "b.mp4").write_bytes(b"no video")
    with caplog.at_level("WARNING", "omnicam"):
        ranking = check(folder, "--threshold", 0, "--action", "drop")
    assert [Path(line["path"]).name for line in ranking] == ["a.mp4", "c.mp4"]
    assert len(lines_of(folder / "list.cleaned.jsonl")) == 3
    assert "b.mp4" in (folder / "out" / "report.html").read_text(encoding="utf-8")


def test_images_are_checked_as_well(tmp_path):
    for name, colour in (("a", "red"), ("b", "green")):
        media.write_image(tmp_path / f"{name}.png", np.full((20, 30, 3), COLOURS[colour], np.uint8))
    write_lines(tmp_path / "list.jsonl", [{"image_path": f"{name}.png", "caption": "a red ball"} for name in "ab"])
    assert suspects(check(tmp_path, "--threshold", 0)) == {"a.png": [], "b.png": ["a red ball"]}


WORDS = ["<s>", "<pad>", "</s>", "<unk>", *PREFIX.split(), "a", "red", "green", "ball", "cup", "an", "object", "scene"]


@pytest.fixture
def tiny_clip(tmp_path, monkeypatch):
    """i2v-tiny with a text tower of random weights, which the real one has not; returns the file and its config."""
    task = WAN_CONFIGS["i2v-tiny"]
    assert task.clip is not None
    text = CLIPTextConfig(vocab_size=len(WORDS), dim=24, num_heads=3, num_layers=2, positions=20)
    config = replace(task.clip, image_size=28, text=text)
    monkeypatch.setitem(WAN_CONFIGS, "i2v-tiny", replace(task, clip=config))
    torch.manual_seed(0)
    path = tmp_path / "weights" / "clip.safetensors"
    write_tensors(path, to_official(CLIPImageText(config).state_dict(), clip_image_text_table(config, text)))
    model = tokenizers.models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    (path.parent / "xlm-roberta-large").mkdir()
    tokenizer.save(str(path.parent / "xlm-roberta-large" / "tokenizer.json"))
    return path, config


def test_the_whole_tool_with_a_tiny_clip(folder, tiny_clip):
    """Random weights know nothing: what is compared is every number, by another way of computing it."""
    path, config = tiny_clip
    words = ["--jsonl", folder / "list.jsonl", "--output_dir", folder / "out", "--clip", path, "--frames", 3]
    words += ["--task", "i2v-tiny", "--device", "cpu"]
    assert main([str(word) for word in words]) == 0
    clip = load_clip_text(path, config, device="cpu", dtype=torch.float32)
    for line in lines_of(folder / "out" / "ranking.jsonl"):
        count = media.probe_video(line["path"]).frames
        numbers = np.linspace(0, count - 1, 3).round().astype(int).tolist()
        frames = np.stack(list(media.pick_frames(line["path"], numbers)))
        images = to_tensor(frames, torch.device("cpu")).movedim(1, 0)
        for phrase in line["phrases"]:
            said = phrase["phrase"].replace("A ", "a ")
            texts = [f"{PREFIX} {name}" for name in (*NEUTRAL, said)]
            cosines = clip.similarity(images, texts) / clip.log_scale.exp()
            margins = 100 * (cosines[:, -1] - cosines[:, :-1].mean(dim=1))
            assert phrase["score"] == pytest.approx(margins.max().item(), abs=2e-3)
            assert phrase["frame"] == numbers[int(margins.argmax())]
    assert (folder / "out" / "report.html").stat().st_size > 5000
    lowest = lines_of(folder / "out" / "ranking.jsonl")[0]["phrases"][0]
    words += ["--threshold", lowest["score"] + 1e-3, "--action", "strip"]
    assert main([str(word) for word in words]) == 0
    old, new = (lines_of(folder / name) for name in ("list.jsonl", "list.cleaned.jsonl"))
    assert sum(line not in old for line in new) + len(old) - len(new) == 1
    assert all(parse(line["caption"]) == parse(TAGS) for line in new)


@pytest.mark.parametrize(
    "words, message",
    [
        (("--task", "i2v-tiny"), "--task i2v-tiny has a CLIP without a text tower.*use one of .*i2v-14B"),
        (("--task", "t2v-14B"), "--task t2v-14B has no CLIP"),
        (("--clip", "nowhere.pth"), "--clip: nowhere.pth does not exist"),
        (("--action", "drop"), "--action drop: below which score is a phrase wrong"),
        (("--frames", "0"), "--frames 0: expected a number, 1 or more"),
        (("--threshold", "nan"), "--threshold nan: expected a finite number"),
        (("--num_workers", "0"), "--num_workers 0"),
    ],
)
def test_what_cannot_be_done_is_told_before_any_work(folder, capsys, words, message):
    argv = ["--jsonl", str(folder / "list.jsonl"), "--output_dir", str(folder / "out"), *words]
    assert cli.run(lambda: main(argv)) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (folder / "out").exists()


def test_a_tokenizer_is_asked_for_before_the_weights_are_read(folder, tiny_clip, capsys):
    path, _ = tiny_clip
    (path.parent / "xlm-roberta-large" / "tokenizer.json").unlink()
    argv = ["--jsonl", folder / "list.jsonl", "--output_dir", folder / "out", "--clip", path, "--task", "i2v-tiny"]
    assert cli.run(lambda: main([str(word) for word in argv])) == 2
    assert "xlm-roberta-large" in capsys.readouterr().err
