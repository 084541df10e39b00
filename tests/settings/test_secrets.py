"""Secrets stay unseen, and come from private files only."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from daemon.domain.errors import ConfigError
from daemon.settings import Credentials, Secret, SecretRef


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    return Credentials(tmp_path)


def put(folder: Path, name: str, content: bytes, mode: int = 0o600) -> Path:
    path = folder / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_only_reveal_shows_a_secret():
    secret = Secret("hunter2")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>20}", repr([secret]), "%s" % secret]  # noqa: UP031
    assert all("hunter2" not in text for text in shown)
    assert secret.reveal() == "hunter2"


def test_a_secret_is_neither_pickled_nor_dumped_nor_hashed():
    secret = Secret("hunter2")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        hash(secret)


def test_secrets_compare_by_value_and_never_with_text():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"x\n", "x"), (b"x\r\n", "x"), (b"x", "x"), (b"x\n\n", "x\n"), (b" x \n", " x "), ("ä:€\n".encode(), "ä:€")],
)
def test_one_newline_at_the_end_is_not_part_of_a_secret(credentials: Credentials, content: bytes, value: str):
    put(credentials.directory, "c", content)
    assert credentials.resolve(SecretRef("c")).reveal() == value


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o610])
def test_a_file_that_others_may_use_is_refused_by_name(credentials: Credentials, mode: int):
    path = put(credentials.directory, "c", b"x", mode)
    with pytest.raises(ConfigError, match=f"{path} may be read by others .mode {mode:04o}.: chmod 600"):
        credentials.resolve(SecretRef("c"))


def test_systemds_folder_is_not_judged_by_mode(tmp_path: Path):
    put(tmp_path, "c", b"x", 0o444)
    found = Credentials.choose(Path("/nowhere"), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found.resolve(SecretRef("c")).reveal() == "x"


def test_a_missing_credential_names_its_place(credentials: Credentials):
    with pytest.raises(ConfigError, match=f"no file {credentials.directory}/c") as caught:
        credentials.resolve(SecretRef("c"))
    assert caught.value.code == "credential_missing"


@pytest.mark.parametrize("content", [b"", b"\n", b"a\x00b", b"\xff\xfe", b"x" * 70_000])
def test_content_that_cannot_be_a_secret_is_refused_without_showing_it(credentials: Credentials, content: bytes):
    put(credentials.directory, "c", content)
    with pytest.raises(ConfigError) as caught:
        credentials.resolve(SecretRef("c"))
    assert "xxx" not in str(caught.value)


def test_a_folder_in_place_of_a_credential_is_refused(credentials: Credentials):
    (credentials.directory / "c").mkdir()
    with pytest.raises(ConfigError, match="is not a file"):
        credentials.read_bytes("c")


def test_raw_bytes_are_given_as_they_are(credentials: Credentials):
    put(credentials.directory, "master", bytes(range(32)))
    assert credentials.read_bytes("master") == bytes(range(32))
    assert credentials.read_bytes("other") is None
