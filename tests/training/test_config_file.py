"""`--config_file`: sections, types, the command line over it, and what is wrong in it."""

from pathlib import Path

import pytest

from training.config import TrainingConfig, read_training_options
from training.config_file import parse_with_config_file
from wan_train_network import build_parser


def read(file: Path, text: str, *flags: str) -> TrainingConfig:
    file.write_text(text, encoding="utf-8")
    return read_training_options(parse_with_config_file(build_parser(), ["--config_file", str(file), *flags]))


TEXT = """
dataset_config = "data.toml"
[optimizer]
learning_rate = 1e-4
optimizer_args = ["weight_decay=0.1", "eps=1e-6"]
lr_warmup_steps = "5%"
[training.time]
timestep_sampling = "shift"
gradient_checkpointing = true
save_state = false
validation_sigmas = [0.2, 0.8]
"""


def test_sections_are_flattened_and_types_kept(tmp_path: Path) -> None:
    config = read(tmp_path / "run.toml", TEXT)
    assert config.learning_rate == 1e-4 and config.lr_warmup_steps == 0.05
    assert config.optimizer_args == ["weight_decay=0.1", "eps=1e-6"]
    assert config.gradient_checkpointing and not config.save_state
    assert config.timestep_sampling == "shift" and config.validation_sigmas == [0.2, 0.8]


def test_the_command_line_wins(tmp_path: Path) -> None:
    config = read(
        tmp_path / "run.toml", TEXT, "--learning_rate", "3e-5", "--optimizer_args", "eps=1e-7", "--save_state"
    )
    assert config.learning_rate == 3e-5 and config.optimizer_args == ["eps=1e-7"] and config.save_state


def test_the_suffix_is_optional_and_the_file_needed(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(TEXT)
    args = parse_with_config_file(build_parser(), ["--config_file", str(tmp_path / "run")])
    assert args.dataset_config == "data.toml"
    with pytest.raises(FileNotFoundError, match=r"--config_file: .*other\.toml"):
        parse_with_config_file(build_parser(), ["--config_file", str(tmp_path / "other")])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("learning_rat = 1e-4", "learning_rat is no flag of this script; learning_rate is one"),
        ("learning_rate = [1, 2]", "expected one value"),
        ("learning_rate = '1e-4'", "expected a number without quotes"),
        ("save_state = 1", "expected true or false"),
        ("seed = true", "expected a value"),
        ("help = true", "help is no flag"),
        ("seed = ", "no TOML"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"run.toml.*{said}"):
        read(tmp_path / "run.toml", line)


def test_a_value_of_another_kind_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read(tmp_path / "run.toml", "dataset_config = 'd.toml'\nlr_scheduler = 'cosin'")
    assert "--lr_scheduler" in capsys.readouterr().err
