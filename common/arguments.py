"""Arguments that several scripts share, written once so that they mean the same everywhere."""

import argparse
import math
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from common.files import require_file

ROOT = Path(__file__).resolve().parents[1]
"""The repository: default paths are relative to it, whatever the working directory."""

CONVERT_FLAGS = {
    "convention": "--convention NAME",
    "fps": "--fps FPS",
    "size": "--from_size HEIGHT WIDTH",
    "format": "--from FORMAT",
}
"""What states to `tools/camera.py convert` what a pose file leaves open, by `camera.formats.Unstated.argument`."""

DEFAULT_FOV_DEG = 60.0
"""Horizontal field of view of a lens that nobody states."""

LOW_CONFIDENCE = 0.5
"""Of a camera that was found in pictures, 0 to 1: below it a user is warned."""

DUST3R_WEIGHTS = "weights/DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth"
"""Where `tools/download_weights.py` puts them, below the repository."""

Intrinsics = tuple[float, float, float, float]
"""Normalised (fx/W, fy/H, cx/W, cy/H)."""

LensChoice = float | Intrinsics | Literal["estimate"] | None
"""A lens as `--intrinsics` and `--fov_deg` say it: a horizontal field of view in degrees, normalised intrinsics, to be
found in the pictures, or None where nothing was said."""

HIGHEST = {"fps": 1000, "seed": 2**63 - 1}
"""Beyond these, video files and random generators overflow."""


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults, except where there is none to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:
            return action.help
        return super()._get_help_string(action)


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser that shows defaults and takes no abbreviated flags (an abbreviation breaks when a flag is added)."""
    return argparse.ArgumentParser(description=description, formatter_class=HelpFormatter, allow_abbrev=False)


def add_task(
    parser: argparse._ActionsContainer, tasks: Iterable[str], default: str, generated_only: Iterable[str] = ()
) -> None:
    """`--task`: which network, and with it every default path and number.

    Args:
        parser: gets the option.
        tasks: what may be chosen.
        default: one of them.
        generated_only: tasks to refuse with a word on what can be done with them.
    """
    refused = set(generated_only) - set(tasks)

    def task_name(text: str) -> str:
        if text in refused:
            raise argparse.ArgumentTypeError(
                f"{text} has no caches and no training yet; wan_generate_video.py can generate with it. "
                f"Here, choose from {', '.join(tasks)}"
            )
        return text

    parser.add_argument(
        "--task",
        type=task_name,
        choices=list(tasks),
        default=default,
        help="the network; it also chooses default paths and sizes",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`: as torch spells it."""
    parser.add_argument("--device", help="cuda, cuda:1, cpu; default: cuda where there is one")


def add_model_paths(parser: argparse._ActionsContainer, *names: str) -> None:
    """`--vae`, `--t5`, `--clip`, `--dit`: files of weights; each defaults to the task's place under weights/."""
    meanings = {
        "dit": "diffusion transformer (.safetensors, or any file of a sharded set)",
        "vae": "Wan VAE (.pth or .safetensors)",
        "t5": "umT5 text encoder (.pth or .safetensors)",
        "clip": "CLIP image encoder (.pth or .safetensors)",
    }
    for name in names:
        parser.add_argument(f"--{name}", metavar="PATH", help=f"{meanings[name]}; default: the task's under weights/")


def add_tokenizer(parser: argparse._ActionsContainer) -> None:
    """`--tokenizer`: where the text encoder's tokenizer lies."""
    parser.add_argument(
        "--tokenizer", metavar="PATH", help="tokenizer file or folder; default: the task's, or one beside --t5"
    )
    parser.add_argument(
        "--allow_download",
        action="store_true",
        help="let the tokenizer come from the Hugging Face hub if it is not here",
    )


def add_fp8_t5(parser: argparse._ActionsContainer) -> None:
    """`--fp8_t5`: the text encoder in less memory."""
    parser.add_argument(
        "--fp8_t5", action="store_true", help="keep the text encoder's linear layers in fp8, with a scale per row"
    )


def fp8_mode(base: bool, scaled: bool) -> Literal["none", "base", "scaled"]:
    """What `--fp8` (or `--fp8_base`) and `--fp8_scaled` ask for; the latter alone is enough."""
    return "scaled" if scaled else "base" if base else "none"


def add_caching(parser: argparse.ArgumentParser) -> None:
    """The flags that all three cache scripts take, as in musubi-tuner."""
    group = parser.add_argument_group("caching")
    group.add_argument("--dataset_config", metavar="PATH", required=True, help="TOML (or JSON) file of the data set")
    group.add_argument("--batch_size", type=int, help="at most this many items at once; can only shrink the TOML's")
    group.add_argument("--num_workers", type=int, help="read and resize ahead in so many; default: cores - 1")
    group.add_argument("--skip_existing", action="store_true", help="leave caches alone that are there and up to date")
    pruning = group.add_mutually_exclusive_group()
    pruning.add_argument(
        "--keep_cache",
        action="store_true",
        help="delete nothing; else, caches made from this set that it no longer has",
    )
    pruning.add_argument(
        "--prune_foreign", action="store_true", help="delete every cache of no item of the set, whoever made it"
    )


def pruning_of(args: argparse.Namespace) -> Literal["none", "own", "foreign"]:
    """What `--keep_cache` and `--prune_foreign` let a cache script delete."""
    return "none" if args.keep_cache else "foreign" if args.prune_foreign else "own"


def add_preview(parser: argparse.ArgumentParser) -> None:
    """The flags of musubi-tuner's preview of a data set."""
    group = parser.add_argument_group("preview")
    group.add_argument(
        "--debug_mode",
        choices=["image", "console", "video"],
        help="show the clips with their cameras instead of encoding them, no VAE needed: contact sheets or 16 fps "
        "videos in CACHE_DIRECTORY/preview (musubi-tuner opens windows), or characters in the console",
    )
    group.add_argument("--console_width", type=int, default=80, help="width of a preview in the console, characters")
    group.add_argument("--console_back", help="background colour of a preview in the console: BLACK, RED, GREEN ...")
    group.add_argument("--console_num_images", type=int, help="show so many items of each data set, and do not ask")


def add_intrinsics(parser: argparse._ActionsContainer, prefix: str = "") -> None:
    """`--intrinsics` and `--fov_deg`, with `prefix` before their names: the lens, where no file states it."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        f"--{prefix}intrinsics",
        type=float,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="lens of the source picture, divided by its width and height",
    )
    group.add_argument(
        f"--{prefix}fov_deg",
        type=float,
        default=DEFAULT_FOV_DEG,
        help="horizontal field of view of the source, degrees",
    )


def add_lens(parser: argparse._ActionsContainer, unstated: str) -> None:
    """`--intrinsics` and `--fov_deg` where the lens may also be found in the pictures (`lens_choice_of`).

    Args:
        parser: gets the options.
        unstated: what is taken where nothing is said, for the help.
    """
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--intrinsics",
        nargs="+",
        metavar="LENS",
        help="lens of the source picture: FX FY CX CY divided by its width and height (or FX,FY,CX,CY), `estimate` to "
        f"find it in the picture, or `default` for {DEFAULT_FOV_DEG:g} degrees; default: {unstated}",
    )
    group.add_argument("--fov_deg", type=float, help="the same as a horizontal field of view, degrees")


def add_pose_backend(parser: argparse._ActionsContainer) -> None:
    """`--pose_backend` and `--dust3r`: who finds cameras in pictures."""
    parser.add_argument(
        "--pose_backend",
        choices=["auto", "dust3r", "colmap"],
        default="auto",
        help="who finds cameras in pictures: colmap needs pycolmap, dust3r weights for non-commercial use; auto takes "
        "colmap where there is texture and parallax, else dust3r",
    )
    parser.add_argument(
        "--dust3r", metavar="PATH", help=f"weights of DUSt3R; default: {DUST3R_WEIGHTS}, if it is there"
    )


def dust3r_weights(args: argparse.Namespace) -> Path | None:
    """The file that `--dust3r` names, or the default place if there is one; None without both.

    Raises:
        FileNotFoundError: the file that was named is not there.
    """
    if args.dust3r is not None:
        return require_file(named(args.dust3r, "--dust3r"), "--dust3r", "See weights/README.md.")
    return ROOT / DUST3R_WEIGHTS if (ROOT / DUST3R_WEIGHTS).exists() else None


def check_ranges(args: argparse.Namespace, **lowest: float | None) -> None:
    """Refuse numbers that are not finite or below the lowest allowed (None: any); flags that were not given pass.

    Raises:
        ValueError: names the flag, its value and what is allowed.
    """
    for flag, low in lowest.items():
        given = getattr(args, flag)
        for value in given if isinstance(given, list) else [] if given is None else [given]:
            if not math.isfinite(value) or (low is not None and value < low) or value > HIGHEST.get(flag, math.inf):
                wanted = "a finite number" if low is None else f"a number, {low:g} or more"
                limit = f", at most {HIGHEST[flag]}" if flag in HIGHEST else ""
                raise ValueError(f"--{flag} {value}: expected {wanted}{limit}")


def lens_of(args: argparse.Namespace, prefix: str = "") -> float | Intrinsics:
    """What `--intrinsics` or `--fov_deg` say: normalised fx, fy, cx, cy, or a horizontal field of view in degrees.

    Raises:
        ValueError: the angle or a focal length is out of range.
    """
    intrinsics, fov_deg = getattr(args, f"{prefix}intrinsics"), getattr(args, f"{prefix}fov_deg")
    if intrinsics is None:
        return _checked_fov(fov_deg, f"--{prefix}fov_deg")
    return _checked_intrinsics(intrinsics, f"--{prefix}intrinsics")


def lens_choice_of(args: argparse.Namespace) -> LensChoice:
    """What the flags of `add_lens` say.

    Raises:
        ValueError: other words than the flag knows, or numbers out of range.
    """
    words: list[str] | None = args.intrinsics
    if words is None:
        return None if args.fov_deg is None else _checked_fov(args.fov_deg, "--fov_deg")
    if words == ["estimate"]:
        return "estimate"
    if words == ["default"]:
        return DEFAULT_FOV_DEG
    try:
        numbers = [float(number) for number in " ".join(words).replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise ValueError(
            f"--intrinsics {' '.join(words)}: expected four numbers FX FY CX CY, or one of the words estimate, default"
        )
    return _checked_intrinsics(numbers, "--intrinsics")


def _checked_fov(fov_deg: float, flag: str) -> float:
    if not 0 < fov_deg < 180:
        raise ValueError(f"{flag} {fov_deg:g}: expected an angle between 0 and 180 degrees")
    return fov_deg


def _checked_intrinsics(numbers: Sequence[float], flag: str) -> Intrinsics:
    fx, fy, cx, cy = numbers
    said = f"{flag} {fx:g} {fy:g} {cx:g} {cy:g}"
    if not (0 < cx < 1 and 0 < cy < 1):
        raise ValueError(
            f"{said}: the optical axis must lie in the picture, CX and CY between 0 and 1; divide pixels by width and "
            "height"
        )
    if not (0 < fx < math.inf and 0 < fy < math.inf):
        raise ValueError(f"{said}: the focal lengths must be finite and above 0")
    return fx, fy, cx, cy


def how_to_convert(path: str | Path, argument: str, fps: float) -> str:
    """The command that states, once and for all, what a pose file leaves open.

    Args:
        path: the file.
        argument: what is open, as `camera.formats.Unstated.argument` names it.
        fps: frames per second of its video.
    """
    return (
        f"python tools/camera.py convert {shlex.quote(str(path))} OUT.safetensors {CONVERT_FLAGS[argument]}, with "
        f"--fps {fps:g} if the file has no times; then name OUT.safetensors instead"
    )


def tokenizer_path(given: str | None, default: str) -> Path | None:
    """Where to look for the tokenizer: the file or folder a user named, the task's default if it is there, or None."""
    if given is not None:
        return require_file(named(given, "--tokenizer"), "--tokenizer", "Pass a tokenizer.json or its folder.")
    return ROOT / default if (ROOT / default).exists() else None


def named(given: str, flag: str) -> str:
    """Return a path that a user gave; an empty one, as an unset shell variable makes it, is refused."""
    if not given.strip():
        raise ValueError(f"{flag} is empty; give a path or leave the flag out")
    return given


def model_path(given: str | None, default: str, flag: str, hint: str = "") -> Path:
    """The file a user named, or the task's default below the repository; it must exist.

    `hint` adds to the message what else could be meant.

    Raises:
        FileNotFoundError: names the file, the flag and the page that says where to get it.
    """
    return require_file(
        ROOT / default if given is None else named(given, f"--{flag}"),
        f"--{flag}",
        f"Pass --{flag} PATH, or put the file there (see weights/README.md). {hint}",
    )
