"""Say what files of weights, LoRAs, camera adapters and caches are, from their headers: large files answer at once."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import arguments, cli
from common.logs import setup_logging
from common.precision import dtype_name
from common.tensor_headers import Header, read_header
from tools.inspect_parts import compare_with_task, describe_adapter, describe_camera_layers, describe_lora
from wan.placing import find_weights
from wan.recognise import FLAGS, UNKNOWN, Contents, recognise, tasks_in_words

NETWORKS = ("dit", "vae", "t5", "clip")
# so many tensors are listed without --keys; a cache has fewer, a network more
_FEW = 8


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    parser.add_argument("files", metavar="FILE", nargs="+", help="files, any of a set of shards, an index, or folders")
    parser.add_argument("--json", action="store_true", help="one JSON object per file, a line each")
    parser.add_argument("--keys", action="store_true", help="list every tensor, and every missing or unexpected one")
    parser.add_argument(
        "--network", choices=NETWORKS, help="which part of a diffusers pipeline or official download; default: dit"
    )
    return parser


def inspect(path: str | Path, network: str | None = None) -> dict[str, Any]:
    """Everything that is known of a file, ready for JSON.

    Args:
        path: a file, an index or a folder.
        network: which part to look at where the folder is a whole pipeline.

    Raises:
        FileNotFoundError, ValueError: it cannot be opened, or is no file of tensors.
    """
    header = read_header(find_weights(path, network or "dit"))
    contents = recognise(header)
    found: dict[str, Any] = {
        "path": str(path),
        "files": [str(file) for file in header.files],
        "bytes": sum(file.stat().st_size for file in header.files),
        "what": contents.words,
        "network": contents.network,
        "style": contents.style,
        "tasks": list(contents.tasks),
        "parameters": contents.parameters,
        "dtypes": dict(contents.dtypes),
        "pass_at": FLAGS.get(contents.network),
        "fp8_scales": contents.scale_key,
        "metadata": dict(header.metadata),
        "tensors": {name: [dtype_name(e.dtype), list(e.shape)] for name, e in header.entries.items()},
    }
    return found | _particulars(header, contents)


def _particulars(header: Header, contents: Contents) -> dict[str, Any]:
    if contents.network == "lora":
        return {"lora": describe_lora(header)}
    if contents.network == "adapter":
        return {"adapter": describe_adapter(header)}
    if contents.network not in NETWORKS:
        return {}
    task, misfit = compare_with_task(header, contents)
    fit = {"task": task, "missing": misfit.missing, "unexpected": misfit.unexpected, "misshapen": misfit.misshapen}
    camera = describe_camera_layers(header) if contents.network == "dit" else None
    return {"fit": fit} if camera is None else {"fit": fit, "fork_camera": camera}


def report(found: Mapping[str, Any], keys: bool) -> str:
    """The same in lines of text."""
    tasks = tasks_in_words(found["tasks"]) if found["tasks"] else "no task by its sizes"
    lines = [f"{found['path']}", f"  {found['what']}"]
    if found["network"] in (*NETWORKS, "adapter"):
        lines.append(f"  for {tasks}; pass it at {found['pass_at']}")
    types = ", ".join(f"{number:,} in {name}" for name, number in found["dtypes"].items())
    lines.append(f"  {found['parameters']:,} parameters ({types})")
    size = f"{found['bytes'] / 1e9:.2f} GB" if found["bytes"] > 1e8 else f"{found['bytes'] / 1e6:.3f} MB"
    lines.append(f"  {len(found['tensors'])} tensors in {len(found['files'])} file(s), {size}, {found['style']} names")
    if found["fp8_scales"]:
        lines.append(f"  scaled fp8 of another program ({found['fp8_scales']}): not supported")
    if "fit" in found:
        lines += _fit_lines(found["fit"], keys)
    for part in ("lora", "adapter", "fork_camera"):
        if part in found:
            lines += [f"  {name}: {value}" for name, value in found[part].items()]
    if keys or len(found["tensors"]) <= _FEW or found["network"] == UNKNOWN:
        shown = list(found["tensors"].items())[: None if keys else _FEW]
        lines += [f"  {name}  {dtype} {shape}" for name, (dtype, shape) in shown]
    lines += [f"  metadata {name}: {cli.shortened(value)}" for name, value in found["metadata"].items()]
    return cli.printed_lines(lines)


def _fit_lines(fit: Mapping[str, Any], keys: bool) -> list[str]:
    lines = []
    for kind in ("missing", "unexpected", "misshapen"):
        names = fit[kind]
        if names:
            shown = ", ".join(names if keys else names[:5])
            lines.append(f"  {len(names)} {kind} against task {fit['task']}: {shown}{'' if keys else ', ...'}")
    return lines or [f"  every weight of task {fit['task']} is there"]


def main(argv: Sequence[str] | None = None) -> int:
    """Look at each file and write what it is to standard output; a file that cannot be read does not stop the rest."""
    args = build_parser().parse_args(argv)
    setup_logging()
    code = 0
    for path in args.files:
        try:
            found = inspect(path, args.network)
        except (ValueError, OSError) as error:
            code = cli.report(error)
            continue
        # all but ASCII is escaped in JSON: a terminal obeys some of what JSON lets through
        sys.stdout.write(json.dumps(found) + "\n" if args.json else report(found, args.keys))
    return code


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main()))
