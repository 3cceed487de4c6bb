"""The clause of a caption that names a pose file: the fork's `#trajectory {path}`, the other way than tags."""

import re

_TRAJECTORY = re.compile(r"#trajectory\s*:?\s*\{(?P<path>(?:[^{}]|\$\{[^{}]*\})*)\}")
_CLAUSE = re.compile(r"\s*;?\s*(?:Caption|Camera)\s*:[^;]*" + _TRAJECTORY.pattern + r"\s*\.?", re.IGNORECASE)

CLAUSE_CONVENTION = "opencv_w2c"
"""Of a camera file of the fork (`camera.formats.fork`) that such a clause names: RealCam-Vid's, passed through."""


def split_trajectory(caption: str) -> tuple[str, str | None]:
    """A caption without the clause that names a pose file, which says nothing to a text encoder, and that path.

    The clause is `#trajectory {path}` or `#trajectory:{path}` (Yangxiaoda1/OmniCam-Wan2, inferdemo/scirpt), with the
    sentence after `Caption:` or `Camera:` that it stands in. Both are as they were where there is no such clause, and
    the path is None.
    """
    found = _TRAJECTORY.search(caption)
    if found is None:
        return caption, None
    clause = _CLAUSE.search(caption) or found
    rest = f"{caption[: clause.start()].rstrip(' ;')} {caption[clause.end() :].lstrip(' ;.').rstrip(' ;')}"
    return rest.strip(), found["path"].strip()
