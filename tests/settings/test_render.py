"""The examples and the reference page are what the models say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from daemon.settings import DcimanagerSettings, load
from daemon.settings.base import About, SettingsModel, about_field
from daemon.settings.examples import EXAMPLES
from daemon.settings.kinds import models_below
from daemon.settings.render import main, outputs
from daemon.settings.secrets import secret_refs

from .conftest import Folder

NAMES = sorted(outputs())


@pytest.mark.parametrize("name", NAMES)
def test_the_file_in_the_repository_is_the_produced_one(name: str, request: pytest.FixtureRequest):
    path = Path(str(request.config.rootpath)) / name
    assert path.read_text(encoding="utf-8") == outputs()[name], "run: python -m daemon.settings.render"


def test_the_command_writes_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--check"], tmp_path) == 1
    assert "differs" in capsys.readouterr().out
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0


def examples(tmp_path: Path, change: str = "") -> Folder:
    folder = Folder(tmp_path / "config")
    for name, text in outputs().items():
        if name.startswith("config/"):
            text = re.sub(r"(?m)^#(?=\S|  )", "", text) if change == "uncomment" else text  # noqa: PLW2901
            folder.write(name.removeprefix("config/"), text)
    for name in ("dci-main", "ipm-main", "mail", "db"):
        folder.write(f"credentials/{name}", "secret\n")
    return folder


def test_the_examples_load(tmp_path: Path):
    settings = load(examples(tmp_path).path / "provisiond.yaml", environ={})
    assert [module.name for module in settings.modules] == ["by-hand", "dci-main"]
    assert settings.warnings == ()


def test_the_examples_load_with_everything_switched_on(tmp_path: Path):
    settings = load(examples(tmp_path, "uncomment").path / "provisiond.yaml", environ={})
    module = settings.module("dci-main")
    assert isinstance(module, DcimanagerSettings)
    assert module.panel.save_fields is not None
    assert settings.daemon.mail is not None
    assert len(secret_refs(settings.daemon)) == 1


def test_what_is_switched_off_in_an_example_is_the_default(tmp_path: Path):
    """Switching everything on changes nothing but what has no default."""
    plain = load(examples(tmp_path / "a").path / "provisiond.yaml", environ={})
    full = load(examples(tmp_path / "b", "uncomment").path / "provisiond.yaml", environ={})
    for one, other in zip(plain.modules, full.modules, strict=True):
        for field in type(one).model_fields:
            about = about_field(type(one), field)
            if about is not None and not about.example and field not in {"panel", "traffic", "burst", "power"}:
                assert getattr(one, field) == getattr(other, field), field


def all_models() -> set[type[SettingsModel]]:
    found: set[type[SettingsModel]] = set()
    waiting = [example.model for example in EXAMPLES]
    while waiting:
        model = waiting.pop()
        if model not in found and issubclass(model, SettingsModel):
            found.add(model)
            waiting += [below for info in model.model_fields.values() for below in models_below(info.annotation)]
    return found


@pytest.mark.parametrize("model", sorted(all_models(), key=repr))
def test_every_field_is_explained(model: type[SettingsModel]):
    for name in model.model_fields:
        about = about_field(model, name)
        assert isinstance(about, About), f"{model.__name__}.{name}"
        assert about.text[0].islower() or about.text[:2].isupper() or about.text.startswith("PostgreSQL"), name
        assert not about.text.endswith("."), name


def test_the_reference_page_names_every_setting():
    page = outputs()["docs/reference/settings.md"]
    for model in all_models():
        for name, info in model.model_fields.items():
            assert f"| `{info.alias or name}` |" in page, f"{model.__name__}.{name}"
