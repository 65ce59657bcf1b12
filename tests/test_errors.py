import inspect
import json
import pickle
import subprocess
import sys

import pytest

import relay_core
from relay_core import errors
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError, MissingExtraError, RelayError
from relay_core.transcript import Transcript

ALL = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]


@pytest.mark.parametrize("error", ALL)
def test_every_error_is_a_relay_error_drawn_in_the_tree_and_exported(error: type[RelayError]) -> None:
    assert issubclass(error, RelayError)
    assert error.transcript is None
    assert error.__name__ in (errors.__doc__ or "")
    assert getattr(relay_core, error.__name__) is error


def test_the_builtin_exceptions_that_catch_our_errors() -> None:
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(errors.BudgetError, ValueError)
    assert issubclass(MissingExtraError, ImportError)
    assert issubclass(ContextOverflow, EngineError)


def test_an_engine_error_names_the_role() -> None:
    assert str(EngineError("no answer")) == "no answer"
    assert str(EngineError("no answer", role="student")) == "student: no answer"
    transcript = Transcript()
    error = errors.TeacherUnavailable("gone", transcript=transcript)
    assert (str(error), error.role, error.transcript) == ("teacher: gone", "teacher", transcript)


def test_a_missing_extra_says_how_to_install_it() -> None:
    for extra, package in (("vllm", "'vllm>="), ("train", "'trl>="), ("local", "'torch>=")):
        message = str(MissingExtraError("this", extra))
        assert message.startswith("this needs packages that are not installed: pip install '") and package in message
        assert "relay-decoding" not in message, "it is on no index"


@pytest.mark.parametrize("error", ALL)
def test_every_error_comes_back_from_a_worker_process(error: type[RelayError]) -> None:
    raised = MissingExtraError("this", "vllm") if error is MissingExtraError else error("wrong")
    received = pickle.loads(pickle.dumps(raised))
    assert (type(received), str(received), received.role) == (error, str(raised), raised.role)


def test_a_local_model_without_its_extra_says_so() -> None:
    """Before, whatever of the engine imported torch first raised its bare ModuleNotFoundError."""
    code = """
import sys
sys.modules.update(dict.fromkeys("torch transformers tokenizers safetensors numpy jinja2 psutil".split()))
from relay_core import MissingExtraError, Relay
for student in ("bundled", "bundled:teacher"):
    try:
        Relay(student, None).generate("?")
    except MissingExtraError as error:
        print(error)
from relay_core.cli import app
sys.argv = ["relay", "doctor", "--json"]
app(standalone_mode=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    first, second, report = done.stdout.split("\n", 2)
    assert first == second and "pip install" in first and "torch" in first
    assert json.loads(report)["bundled"]
