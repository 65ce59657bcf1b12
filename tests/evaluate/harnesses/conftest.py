"""The same problems as a task of each harness, and what a plain ``Relay`` makes of them.

These tests need the harnesses, which are in .venv-harnesses; tests/evaluate/test_harnesses.py runs them there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from relay_core import Prices, Relay, RelaySettings, Usage
from relay_core.bundled.task import problems

ROOT = Path(__file__).parents[3]
MAX_TOKENS = 200
PRICES = Prices(student_input=1, student_output=2, teacher_input=10, teacher_output=20, teacher_cached_input=3)
KEY = "planted-5f2c81"

LM_EVAL = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/data/test.jsonl}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
"""
GENERATIVE = """
output_type: generate_until
doc_to_target: "{{answer}}"
generation_kwargs: {until: [], max_gen_toks: 200}
filter_list:
  - name: boxed
    filter:
      - {function: regex, regex_pattern: 'boxed\\{([^{}]*)\\}', group_select: -1}
      - {function: take_first}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
CHOICE = """
output_type: multiple_choice
doc_to_target: 0
doc_to_choice: ["{{answer}}", "7"]
metric_list: [{metric: acc}]
"""
INSPECT = r"""
import json, re
from pathlib import Path
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, accuracy, scorer
from inspect_ai.solver import generate

ROWS = Path(__file__).with_name("data") / "test.jsonl"

@scorer(metrics=[accuracy()])
def boxed():
    async def score(state, target):
        found = re.findall(r"\\boxed\{([^{}]*)\}", state.output.completion)
        return Score(value="C" if found[-1:] == [target.text] else "I")
    return score

@task
def words():
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    samples = [Sample(input=row["question"], target=row["answer"]) for row in rows]
    return Task(dataset=samples, solver=generate(), scorer=boxed())
"""
LIGHTEVAL = r"""
import re
import numpy as np
from pathlib import Path
from lighteval.metrics.metrics import Metrics
from lighteval.metrics.metrics_sample import SampleLevelComputation
from lighteval.metrics.utils.metric_utils import SampleLevelMetric
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc, SamplingMethod

class Boxed(SampleLevelComputation):
    def compute(self, doc, model_response, **kwargs):
        found = re.findall(r"\\boxed\{([^{}]*)\}", model_response.final_text[0])
        return float(found[-1:] == doc.get_golds())

def prompt(line, task_name=None):
    return Doc(task_name=task_name, query=line["question"], choices=[line["answer"]], gold_index=0)

BOXED = SampleLevelMetric(
    metric_name="boxed", sample_level_fn=Boxed(), category=SamplingMethod.GENERATIVE, corpus_level_fn=np.mean,
    higher_is_better=True,
)
COMMON = dict(
    prompt_function=prompt, hf_repo=str(Path(__file__).with_name("data")), hf_subset="default",
    hf_avail_splits=["test"], evaluation_splits=["test"], few_shots_split=None, few_shots_select=None,
    stop_sequence=[], generation_size=200,
)
TASKS_TABLE = [
    LightevalTaskConfig(name="words", metrics=[BOXED], **COMMON),
    LightevalTaskConfig(name="likely", metrics=[Metrics.loglikelihood_acc], **COMMON),
]
"""


@dataclass(frozen=True)
class Plain:
    """What a plain relay wrote for the problems: the usage of all answers, the cost, and the share of right ones."""

    usage: Usage
    cost: float
    accuracy: float


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the problems, and a task of each harness that asks them."""
    folder = tmp_path_factory.mktemp("harnesses")
    (folder / "data").mkdir()
    drawn = problems(10, form="question", split="test", seed=1, mix={"easy": 0.3, "medium": 0.5, "hard": 0.2})
    rows = [{"question": p.question, "answer": str(p.answer)} for p in drawn]
    (folder / "data" / "test.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for name, rest in (("words", GENERATIVE), ("choice", CHOICE)):
        (folder / f"{name}.yaml").write_text(LM_EVAL.format(name=f"relay_{name}", folder=folder) + rest)
    (folder / "inspect_task.py").write_text(INSPECT, encoding="utf-8")
    (folder / "lighteval_task.py").write_text(LIGHTEVAL, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def plain(folder: Path) -> Plain:
    """A plain relay's answers to the problems, with the settings that the tests give to the harnesses."""
    rows = [json.loads(line) for line in (folder / "data" / "test.jsonl").read_text().splitlines()]
    settings = RelaySettings(max_calls=5, max_tokens=MAX_TOKENS, prices=PRICES)
    with Relay("bundled", "bundled", settings) as relay:
        results = relay.batch([row["question"] for row in rows])
    right = [
        re.findall(r"\\boxed\{([^{}]*)\}", result.text)[-1:] == [row["answer"]]
        for result, row in zip(results, rows, strict=True)
    ]
    usage = Usage.total(result.usage for result in results)
    assert usage.calls > 0 and 0 < sum(right) < len(right), "the problems tell nothing"
    return Plain(usage, usage.cost(PRICES), sum(right) / len(right))


def written(usage: Usage) -> dict[str, int]:
    """What each model wrote, and the calls. What they read from a cache depends on which answers ran together."""
    names = ("prompt_tokens", "student_tokens", "command_tokens", "teacher_tokens", "calls", "teacher_prompt_tokens")
    return {name: getattr(usage, name) for name in names}


def run(command: str, *arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a harness's own command line, offline, and with a key in the environment that must not be shown."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "OMP_NUM_THREADS": "1"}
    env |= {"PYTHONPATH": str(ROOT), "RELAY_TEACHER_API_KEY": KEY, **variables}
    program = [sys.executable, "-m", command] if "." in command else [str(Path(sys.executable).with_name(command))]
    return subprocess.run([*program, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=400)
