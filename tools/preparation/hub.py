"""Data sets from the Hugging Face hub, by huggingface_hub, which is imported only here and only when it is asked for.

`snapshot_download` with `local_dir` goes on where it was stopped and fetches only what changed (huggingface_hub,
"Download files from the Hub"). HF_TOKEN and HF_ENDPOINT are its own variables.
"""

import importlib
from pathlib import Path
from typing import Any

from common.files import require_room
from common.logs import get_logger

logger = get_logger("prepare")


def fetch(repo: str, folder: Path, dry_run: bool) -> None:
    """Download a data set's files.

    Args:
        repo: OWNER/NAME of a dataset repository.
        folder: gets its files, in their folders.
        dry_run: only tell what would come.

    Raises:
        ValueError: huggingface_hub is not installed.
        ConnectionError: the hub cannot be reached, or has no such data set for this user.
        OSError: there is less room than bytes to come.
    """
    hub = _hub()
    try:
        siblings = hub.HfApi().dataset_info(repo, files_metadata=True).siblings or []
    except _errors(hub) as error:
        raise ConnectionError(_refused(repo, error)) from None
    sizes = {each.rfilename: each.size or 0 for each in siblings}
    missing = sum(size for name, size in sizes.items() if not _is_there(folder / name, size))
    logger.info(f"{repo}: {len(sizes)} files, {sum(sizes.values()) / 1e9:.2f} GB, {missing / 1e9:.2f} GB to come")
    if dry_run:
        return
    folder.mkdir(parents=True, exist_ok=True)
    require_room(folder, missing, f"what is to come of {repo}")
    try:
        hub.snapshot_download(repo, repo_type="dataset", local_dir=folder)
    except _errors(hub) as error:
        raise ConnectionError(f"{_refused(repo, error)}. What came is kept: run the command again") from None


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise ValueError(
            "downloading needs huggingface_hub: pip install huggingface_hub; or fetch the files yourself, and name "
            "their folder by --local"
        ) from None


def _errors(hub: Any) -> tuple[type[Exception], ...]:
    """What huggingface_hub raises: OSErrors, and those of its HTTP library, of which its own error is one."""
    return (OSError, *hub.errors.HfHubHTTPError.__bases__)


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _refused(repo: str, error: Exception) -> str:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return f"https://huggingface.co/datasets/{repo}: {reason} (for a data set that is not public, set HF_TOKEN)"
