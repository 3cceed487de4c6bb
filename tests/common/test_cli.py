import errno
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from common import cli


@pytest.mark.parametrize("error", [ValueError("no such tag"), FileNotFoundError("no such file")])
def test_a_users_mistake_is_one_line_and_code_2(capsys, error):
    def main():
        raise error

    assert cli.run(main) == 2
    assert capsys.readouterr().err == f"error: {error}\n"


def test_a_defect_of_ours_keeps_its_traceback():
    def main():
        raise AssertionError

    with pytest.raises(AssertionError):
        cli.run(main)


def test_a_polite_kill_cleans_up_and_gives_130(tmp_path):
    program = textwrap.dedent(
        """
        import sys, time
        from common import cli
        from common.files import atomic_path
        def main():
            with atomic_path(sys.argv[1]) as temporary:
                temporary.write_text("half")
                sys.stdout.write("ready\\n"); sys.stdout.flush()
                while True:
                    time.sleep(0.05)
        raise SystemExit(cli.run(main))
        """
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.txt")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": "."}
    ) as child:
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 130
    assert not list(tmp_path.iterdir())


def test_what_the_system_says_names_the_file_and_a_full_disk_says_what_to_do(capsys):
    def main():
        raise OSError(errno.ENOSPC, "No space left on device", "/data/a.bin")

    assert cli.run(main) == 2
    assert capsys.readouterr().err == "error: /data/a.bin: No space left on device; make room on the disk\n"


def test_no_memory_is_no_traceback(capsys):
    def main():
        raise MemoryError("7 TiB")

    assert cli.run(main) == 2
    assert "out of memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("redirect", "settings", "expected"), [(">&-", "", ""), ("", "PYTHONIOENCODING=ascii ", "60.0\\xb0\n")]
)
def test_streams_that_are_closed_or_narrow_stop_nothing(tmp_path, redirect, settings, expected):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom common import cli\n"
        "def main():\n    sys.stdout.write('60.0\\u00b0\\n')\n    return 0\nsys.exit(cli.run(main))\n",
        encoding="utf-8",
    )
    command = f"{settings}{sys.executable} {program} {redirect}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected
