"""Large files over HTTP(S) with the standard library: resumed, retried, and checked before they get their name.

While it is incomplete a file is called NAME.part, with NAME.part.json beside it, which says what it is a part of.
Proxies come from the environment, as everywhere in Python.
"""

import errno
import fcntl
import hashlib
import http.client
import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from common.logs import get_logger
from common.progress import byte_progress

log = get_logger("download")

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
TRIES = 6
"""Failures in a row, none of which brought a byte, before a download is given up."""
CHUNK = 1 << 20
LONGEST_WAIT = 60.0
Wait = Callable[[float], Any]
_wait: Wait = threading.Event().wait

_PASSING = (408, 425, 429, 500, 502, 503, 504)
_SHA256, _SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Remote:
    """What a server says of a file before it is fetched; None where it says nothing."""

    url: str
    """Its address."""
    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    """SHA-256 of the content, hexadecimal."""
    git_sha1: str | None = None
    """SHA-1 of git's blob of the content, which the hub gives for small files."""

    @property
    def identity(self) -> str:
        """Tells this content from another at the same address, as well as the server allows."""
        return self.sha256 or self.git_sha1 or f"{self.size} bytes"


def probe(url: str, token: str | None = None, is_hub: bool = False, tries: int = TRIES, wait: Wait = _wait) -> Remote:
    """Ask for a file's size and hash.

    Args:
        url: of the file.
        token: access token, sent to this host alone.
        is_hub: whether the server is the Hugging Face hub or a mirror of it, whose ETag is a hash of the content
            (`X-Linked-Etag`, `X-Linked-Size` of large files; see huggingface_hub's `get_hf_file_metadata`).
        tries: how often, before it is given up.
        wait: called with the seconds to wait before a further try.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError: there is no such file, it is not for everybody, or the
            server cannot be reached; the address is named.
    """
    for attempt in range(1, tries + 1):
        try:
            return _remote(url, _head(url, token), is_hub)
        except ConnectionError as error:
            if attempt == tries:
                raise
            log.warning("%s; trying again", error)
            wait(2.0**attempt)
    raise AssertionError("tries is 1 or more")


def _head(url: str, token: str | None) -> Message:
    """Headers of the answer; those of a redirection to a store, where the hub says what a large file is."""
    try:
        with _open(url, {}, token, "HEAD") as response:
            return response.headers
    except urllib.error.HTTPError as error:
        if error.code in (405, 501):
            return Message()
        if 300 <= error.code < 400 and error.headers.get("X-Linked-Etag"):
            return error.headers
        raise _final(url, error) from None
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(f"{url}: {_reason(error)}") from None


def _remote(url: str, headers: Message, is_hub: bool) -> Remote:
    length = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
    if length == "0":
        raise ConnectionError(f"{url}: the server has an empty file there")
    tag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
    return Remote(
        url,
        int(length) if length.isdigit() else None,
        tag if is_hub and _SHA256.fullmatch(tag) else None,
        tag if is_hub and _SHA1.fullmatch(tag) else None,
    )


def part_of(target: Path) -> Path:
    """Where the bytes are while the file is incomplete."""
    return target.with_name(f"{target.name}.part")


def download(remote: Remote, target: Path, token: str | None = None, wait: Wait = _wait) -> None:
    """Fetch a file; a part that is there already is gone on with.

    Args:
        remote: what `probe` said.
        target: the file's name, which it gets when it is whole and checked.
        token: access token, sent to the first host alone.
        wait: called with the seconds to wait before a further try.

    Raises:
        FileNotFoundError, PermissionError: the server refuses.
        ConnectionError: it cannot be reached, or breaks off again and again; what came is kept.
        ValueError: what came is not what was promised; it is removed.
        OSError: the disk is full or the place cannot be written to.
    """
    part = part_of(target)
    part.parent.mkdir(parents=True, exist_ok=True)
    with _held(part):
        _fill(remote, part, target.name, token, wait)
        _check(remote, part, target.name)
        with part.open("rb") as whole:
            os.fsync(whole.fileno())
        part.replace(target)
        _record_of(part).unlink(missing_ok=True)


@contextmanager
def _held(part: Path) -> Iterator[None]:
    """Keep other downloads from writing to the same part, as long as this process lives; an empty part is removed."""
    with part.open("ab") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConnectionError(f"{part} is being written by another download; wait for it, or stop it") from None
        try:
            yield
        finally:
            if part.exists() and not _size(part):
                part.unlink()
                _record_of(part).unlink(missing_ok=True)


def _fill(remote: Remote, part: Path, name: str, token: str | None, wait: Wait) -> None:
    """Append to the part until it is as long as was promised."""
    _drop_other(part, remote)
    failures = 0
    with byte_progress(remote.size, name, _size(part)) as bar:
        while remote.size is None or _size(part) < remote.size:
            before = _size(part)
            asked = None
            try:
                _get(remote, part, token, bar)
                if remote.size is None or _size(part) >= remote.size:
                    break
                reason = f"the server sent {_size(part)} of {remote.size} bytes"
            except urllib.error.HTTPError as error:
                if error.code == 416:  # the server has no more than is here; the check says whether that is all
                    break
                if error.code not in _PASSING:
                    raise _final(remote.url, error) from None
                reason, asked = f"the server answers {error.code}", error.headers.get("Retry-After")
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EIO):
                    raise
                reason = _reason(error)
            failures = 1 if _size(part) > before else failures + 1
            if failures >= TRIES:
                raise ConnectionError(
                    f"{remote.url}: {reason}, {failures} times in a row; {_size(part)} bytes are kept, and the same "
                    "command goes on from there"
                )
            seconds = min(LONGEST_WAIT, float(asked) if asked and asked.isdigit() else 2.0**failures)
            log.warning("%s: %s; trying again in %.0f s", name, reason, seconds)
            wait(seconds)


def file_hash(path: Path, kind: str = "sha256") -> str:
    """SHA-256 of a file, or (`git_sha1`) the SHA-1 of git's blob of it; hexadecimal."""
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file, byte_progress(path.stat().st_size, f"checking {path.name}") as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def mismatch(remote: Remote, path: Path) -> str | None:
    """What about a file is not as its server says; None if all is."""
    size = _size(path)
    if remote.size is not None and size != remote.size:
        return f"has {size} bytes instead of {remote.size}"
    kind = "sha256" if remote.sha256 else "git_sha1"
    wanted = remote.sha256 or remote.git_sha1
    if wanted and (found := file_hash(path, kind)) != wanted:
        return f"has the {kind} {found} instead of {wanted}"
    return None


def _check(remote: Remote, part: Path, name: str) -> None:
    wrong = mismatch(remote, part)
    if wrong:
        part.unlink()
        _record_of(part).unlink(missing_ok=True)
        raise ValueError(f"{name} from {remote.url} {wrong}; it was removed, run the same command again")


def _get(remote: Remote, part: Path, token: str | None, bar: Any) -> None:
    """Append what is missing, or start again where the server knows no ranges or has something else by now."""
    have = _size(part)
    headers = {"Range": f"bytes={have}-"} if have else {}
    validator = _record(part).get("validator")
    if have and validator:
        headers["If-Range"] = validator
    with _open(remote.url, headers, token) as response:
        resumed = response.status == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise http.client.HTTPException("the server sent another range than it was asked for")
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if validator and validator.startswith("W/"):
            validator = response.headers.get("Last-Modified")
        _write_record(part, remote, validator)
        bar.n = came = have if resumed else 0
        promised = response.headers.get("Content-Length")
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        # http.client says nothing of a body that ends too early when it is read in pieces
        if promised and _size(part) - came < int(promised):
            raise http.client.HTTPException("the connection broke off")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirections, but never with a token to another host, nor from https to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The next request, or None where the answer is in the redirection itself."""
        if req.get_method() == "HEAD" and headers.get("X-Linked-Etag"):
            return None
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if old.scheme == "https" != new.scheme:
            raise urllib.error.URLError(f"redirected from https to {newurl}")
        # Python 3.10 does not know 308, which means the same for a request without a body
        following = super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)
        if following is not None:
            following.method = req.get_method()
            if old.netloc != new.netloc:
                following.remove_header("Authorization")
        return following

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


def _open(url: str, headers: Mapping[str, str], token: str | None, method: str = "GET") -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "omnicam-wan", **headers}, method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except ValueError as error:  # an address, here or in a redirection, that is none
        raise urllib.error.URLError(str(error)) from None


def _final(url: str, error: urllib.error.HTTPError) -> OSError:
    if error.code in (404, 410):
        return FileNotFoundError(f"{url}: there is no such file (the server answers {error.code})")
    if error.code in (401, 403):
        return PermissionError(
            f"{url}: the server answers {error.code}; for a file that is not public set HF_TOKEN, or try --mirror"
        )
    return ConnectionError(f"{url}: the server answers {error.code} {error.reason}")


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(cause) or type(cause).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _record_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _record(part: Path) -> dict[str, str]:
    """What the part is said to be a part of, with the validator of the answer it came from; empty if unknown."""
    try:
        record = json.loads(_record_of(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _drop_other(part: Path, remote: Remote) -> None:
    if _size(part) and _record(part).get("identity") != remote.identity:
        log.warning("%s is part of another file than the server has now; starting again", part.name)
        os.truncate(part, 0)


def _write_record(part: Path, remote: Remote, validator: str | None) -> None:
    record = {"identity": remote.identity, "validator": validator, "url": remote.url}
    _record_of(part).write_text(json.dumps(record), encoding="utf-8")
