"""What all tests share: Qwen3's tokenizer, no network, no skip that goes unseen, no task left behind."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from relay_core.tokenizer import Tokenizer

# Before anything imports them: nothing is fetched, nothing is drawn, and one core is enough.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models are slower with two threads that wait for each other

pytest_plugins = ["testing.fixtures"]

# Tests on real servers need vLLM, which `make test` installs; `make test WITH_VLLM=no` leaves them out. Said aloud by a
# variable, so that none goes missing unseen where vLLM failed to install.
collect_ignore = []
if os.environ.get("WITH_VLLM", "yes") != "yes":
    collect_ignore += [
        "benchmarks/test_real_servers.py",
        "engines/test_docs_vllm.py",
        "engines/openai/test_engine.py",
        "engines/openai/test_faults.py",
        "engines/openai/test_warming.py",
        "engines/test_parity.py",
        "engines/test_vllm.py",
        "engines/test_vllm_requests.py",
        "test_template_vllm.py",
        "train/policies/test_colocate.py",
        "train/policies/test_server.py",
    ]

# Tests in the environment of the evaluation harnesses; evaluate/test_harnesses.py runs them there.
if importlib.util.find_spec("lighteval") is None:
    collect_ignore.append("evaluate/harnesses")

# Tests on pretrained models, which no clone has: `make test-real` names them.
if "RELAY_REAL_MODELS" not in os.environ:
    collect_ignore.append("real")

DATA = Path(__file__).parent / "data"


def pytest_configure(config: pytest.Config) -> None:
    """With UNPINNED set, as `make test-newest` does, show the warnings of versions that nobody has seen yet."""
    if os.environ.get("UNPINNED"):
        filters = config.getini("filterwarnings")
        filters[filters.index("error")] = "default"


# The same examples in every run: what CI finds, a developer finds.
settings.register_profile(
    "relay", derandomize=True, deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", settings.get_profile("relay"), max_examples=6)  # --hypothesis-profile=quick
settings.load_profile("relay")


@pytest.fixture(scope="session")
def packages_after() -> Callable[[str], set[str]]:
    """The packages that are loaded after some code, in a process of its own."""
    show = "\nimport json, sys; print(json.dumps([*{name.partition('.')[0] for name in sys.modules}]))"

    def after(code: str) -> set[str]:
        command = [sys.executable, "-c", code + show]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return set(json.loads(done.stdout.splitlines()[-1]))

    return after


@pytest.fixture(scope="session")
def qwen3_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Qwen3's tokenizer and chat template; no model in it."""
    folder = tmp_path_factory.mktemp("qwen3")
    for source in (DATA / "qwen3").iterdir():
        if source.suffix == ".xz":
            with lzma.open(source) as packed, open(folder / source.stem, "wb") as plain:
                shutil.copyfileobj(packed, plain)
        elif not (source.parent / f"{source.name}.xz").exists():
            shutil.copy(source, folder / source.name)
    return folder


def _rendering(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, its template known to end: then it renders without a thread, also where a clock stands still."""
    from relay_core.chat import Conversation, render

    render(tokenizer, Conversation.of("Hi"))
    return tokenizer


@pytest.fixture(scope="session")
def qwen3(qwen3_path: Path) -> Tokenizer:
    """Qwen3's tokenizer: the real vocabulary of 151,669 entries."""
    from relay_core.tokenizer import Tokenizer

    return _rendering(Tokenizer.load(qwen3_path))


TINY_CORPUS = [
    "so 47 * 6 = <call>3</call>282. Done.",
    "a b c the answer is \\boxed{12} and then\n\nwe go on, step by step: 1 2 3 4 5 6 7 8 9 0",
    "<|im_start|>system user assistant tool <|im_end|>",
]


@pytest.fixture(scope="session")
def tiny(qwen3: Tokenizer) -> Tokenizer:
    """A small byte-level vocabulary of its own, with Qwen3's chat template; ``</call>`` ends inside a token."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

    from relay_core.tokenizer import Tokenizer

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(TINY_CORPUS, trainer)
    backend.add_special_tokens([AddedToken(t, special=True) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    hf.chat_template = qwen3.hf.chat_template
    return _rendering(Tokenizer(hf, "tiny"))


@pytest.fixture(scope="session")
def metaspace(qwen3: Tokenizer) -> Tokenizer:
    """A vocabulary in SentencePiece's manner: a space before whatever begins a text, bytes for what it lacks."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

    from relay_core.tokenizer import Tokenizer

    backend = Backend(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False)
    backend.train_from_iterator(TINY_CORPUS, trainer)
    spec = json.loads(backend.to_str())
    spec["added_tokens"] = [t for t in spec["added_tokens"] if not t["content"].startswith("<0x")]
    backend = Backend.from_str(json.dumps(spec))
    backend.add_special_tokens([AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True)])
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", unk_token="<unk>")
    hf.chat_template = qwen3.hf.chat_template
    return _rendering(Tokenizer(hf, "metaspace"))


class _Timeless(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while anything runs, and jumps when all wait."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = 0.0
        select = self._selector.select

        def at_once(timeout: float | None = None) -> object:
            events = select(0 if timeout is not None else None)
            self._clock += (timeout or 0.0) if not events else 0.0
            return events

        self._selector.select = at_once

    def time(self) -> float:
        return self._clock


@pytest.fixture
def timeless() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine in which hours of waiting take no time, and slow machines none either."""

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=_Timeless) as runner:
            return runner.run(work)

    return run


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[Callable[[], bool]], None]]:
    """``ctrl_c(ready)``: interrupts the main thread once ``ready()`` is true and that thread waits for an answer."""
    over = threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def waits() -> bool:
        frame = sys._current_frames()[main]
        names = {frame.f_code.co_name, frame.f_back.f_code.co_name if frame.f_back else ""}
        return bool(names & {"result", "iterate"})

    def interrupt(ready: Callable[[], bool]) -> None:
        while not over.wait(0.001):
            if ready() and waits() and not over.wait(0.01) and waits():
                return signal.pthread_kill(main, signal.SIGINT)

    threads: list[threading.Thread] = []

    def soon(ready: Callable[[], bool]) -> None:
        threads.append(threading.Thread(target=interrupt, args=[ready]))
        threads[-1].start()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
    yield soon
    over.set()
    for thread in threads:
        thread.join()
    signal.signal(signal.SIGINT, before)


# -- a skip is a failure in CI, except for want of a GPU -------------------------------------------------------


# For want of a GPU; and tests of LangChain's suites for images, audio and PDF (tests/langchain/conftest.py names them).
MAY_SKIP = ("gpu", "modality")


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    may_skip = any(item.get_closest_marker(name) for name in MAY_SKIP)
    if report.skipped and not hasattr(report, "wasxfail") and _in_ci() and not may_skip:
        report.outcome, report.longrepr = "failed", f"skipped, which CI=true does not allow: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    report = yield
    if report.outcome == "skipped" and _in_ci():
        report.outcome, report.longrepr = "failed", f"skipped, which CI=true does not allow: {report.longrepr}"
    return report


# -- no asyncio task outlives its test -------------------------------------------------------------------------


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fails a test that leaves tasks running on its loop; those about to end are given a second."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=1)
    assert not left, f"the test left tasks running: {sorted(map(repr, left))}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(inspect.unwrap(item.obj)):
            item.fixturenames.insert(0, "no_task_left")
