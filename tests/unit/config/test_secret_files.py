"""Settings from the files of a folder, as Kubernetes, Docker and systemd mount secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import load_settings, to_toml
from pipeline.errors import InvalidSettings

PASSWORD = "correct-horse-battery"
NAME = "MILLSTREAM_LOG__OPTIONS__SASL_PLAIN_PASSWORD"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLSTREAM_SECRETS", str(tmp_path / "secrets"))
    (tmp_path / "secrets").mkdir()
    return tmp_path / "secrets"


def test_a_file_sets_what_the_variable_of_its_name_would(folder: Path) -> None:
    (folder / NAME).write_text(PASSWORD + "\n")
    (folder / "MILLSTREAM_SERVE__API_KEYS").write_text(f"{PASSWORD}1,{PASSWORD}2")
    (folder / "postgres").write_text("of another program")
    (folder / "..data").mkdir()
    settings = load_settings()
    assert settings.log.secrets == {"sasl_plain_password": PASSWORD}
    assert [key.get_secret_value() for key in settings.serve.api_keys] == [f"{PASSWORD}1", f"{PASSWORD}2"]
    assert PASSWORD not in to_toml(settings)


def test_an_editors_byte_order_mark_and_line_break_are_no_part_of_a_secret(folder: Path) -> None:
    (folder / NAME).write_bytes(b"\xef\xbb\xbf" + PASSWORD.encode() + b"\r\n")
    assert load_settings().log.secrets == {"sasl_plain_password": PASSWORD}


def test_the_environment_comes_before_and_the_file_of_settings_after(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "millstream.toml").write_text(
        '[log.options]\nsasl_plain_password = "of the file"\nsasl_plain_username = "learner"\n'
    )
    (folder / NAME).write_text(PASSWORD)
    assert load_settings().log.secrets == {
        "sasl_plain_password": PASSWORD,
        "sasl_plain_username": "learner",
    }
    monkeypatch.setenv(NAME, "of the environment")
    assert load_settings().log.secrets["sasl_plain_password"] == "of the environment"


def test_a_file_for_a_table_that_does_not_exist_is_named(folder: Path) -> None:
    (folder / "MILLSTREAM_LGO__URL").write_text(PASSWORD)
    with pytest.raises(InvalidSettings, match="MILLSTREAM_LGO__URL sets nothing") as refused:
        load_settings()
    assert PASSWORD not in str(refused.value)


def test_a_file_with_one_underscore_too_few_is_named(folder: Path) -> None:
    (folder / "MILLSTREAM_SERVE_API_KEYS").write_text(PASSWORD)
    with pytest.raises(InvalidSettings, match="did you mean MILLSTREAM_SERVE__API_KEYS") as refused:
        load_settings()
    assert PASSWORD not in str(refused.value)


def test_a_folder_that_is_not_there_is_named(folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(InvalidSettings, match="MILLSTREAM_SECRETS names .*No such file"):
        load_settings()


def test_a_file_that_is_no_text_is_named_and_not_shown(folder: Path) -> None:
    (folder / NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match=f"{NAME} cannot be read: it is no text"):
        load_settings()
