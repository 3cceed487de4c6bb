"""What several tests of the camera commands start from."""

import pytest

from camera.language import Move
from camera.trajectory import compile
from common import cli
from tools.camera import main


@pytest.fixture
def run(capsys):
    """Run a command as the shell would; returns exit code, standard output, standard error."""

    def runner(*words):
        code = cli.run(lambda: main([str(word) for word in words]))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return runner


@pytest.fixture
def plan(tmp_path):
    """A camera cache of an orbit to the right, 81 frames at 16 a second, on disk."""
    compile([Move(0, 5, 1.0, "right")], 81, 16.0).save(tmp_path / "plan.safetensors")
    return tmp_path / "plan.safetensors"
