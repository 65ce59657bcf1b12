"""What is known of the base: its licence and its hub id, from whatever its folder holds."""

import json

import pytest

from relay_core.train import base_model as module
from relay_core.train.base_model import UNKNOWN, BaseModel, base_model

CARD = (
    "---\nlicense: other\nlicense_name: gemma\nlicense_link: https://x.y/terms\nbase_model: owner/base\n---\n# A model"
)
APACHE = "                                 Apache License\n                           Version 2.0, January 2004\n"


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": CARD}, {"license": "other", "license_name": "gemma", "license_link": "https://x.y/terms"}),
        ({"README.md": "---\nlicense: mit\n---\n", "LICENSE": APACHE}, {"license": "mit"}),
        ({"README.md": "# no head", "config.json": json.dumps({"license": "mit"})}, {"license": "mit"}),
        ({"config.json": "{}", "LICENSE.txt": APACHE}, {"license": "apache-2.0"}),
        ({"config.json": "{}", "LICENSE": "Our Terms\nof use"}, {"license": "other", "license_name": "Our Terms"}),
        ({"README.md": "---\nlicense: [mit\n---\n"}, UNKNOWN),
        ({"README.md": "---\n- mit\n---\n", "config.json": "[]"}, UNKNOWN),
        ({"config.json": "{}", "LICENSE": ""}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_the_licence_of_a_folder(tmp_path, files, licence):
    folder = tmp_path / "my-base"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    base = base_model(str(folder))
    assert base.licence == licence and base.name == "my-base"
    assert base.hub_id == ("owner/base" if files.get("README.md") == CARD else None)


def test_the_bundled_student_is_under_the_packages_licence():
    assert base_model("bundled:student-base") == BaseModel("bundled:student-base", None, {"license": "apache-2.0"})


def test_a_hub_id_is_known_by_its_card(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    monkeypatch.setattr(module.hub, "download_options", lambda source: {"local_files_only": True})
    asked = []

    def download(hub_id, name, **options):
        asked.append((hub_id, name, options))
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert base_model("Qwen/Qwen3-0.6B") == BaseModel("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", {"license": "apache-2.0"})
    assert asked == [("Qwen/Qwen3-0.6B", "README.md", {"local_files_only": True})]


def test_a_hub_that_fails_leaves_the_licence_unknown(monkeypatch):
    def unreachable(source):
        raise TimeoutError("a client's own error")

    monkeypatch.setattr(module.hub, "download_options", unreachable)
    assert base_model("Qwen/Qwen3-0.6B") == BaseModel("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", UNKNOWN)
