import pytest

from relay_core import ConfigurationError, bundled
from relay_core.train.models import folder_of


@pytest.mark.parametrize(
    ("spec", "folder"),
    [
        ("bundled", str(bundled.WEIGHTS / "student-base")),
        ("bundled:student-warm", str(bundled.WEIGHTS / "student-warm")),
        ("transformers:Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("./student", "./student"),
    ],
)
def test_the_folder_of_a_student(spec, folder):
    assert folder_of(spec) == folder


@pytest.mark.parametrize("spec", ["vllm:Qwen/Qwen3-0.6B", "openai:m@http://x/v1"])
def test_a_student_outside_this_process_cannot_be_trained(spec):
    with pytest.raises(ConfigurationError, match="cannot be trained here: write bundled:NAME"):
        folder_of(spec)
