"""Installs the wheel with each extra into an empty environment, and answers a question there as the docs say.

    python benchmarks/try_extras.py                                             # all; 15 minutes on two cores
    python benchmarks/try_extras.py base langchain --python python3.12 --newest

The endpoints are vLLM's servers of the bundled pair, which run in the environment of this script (`make vllm`). Only
the environment of the extra is under test: it is empty, and lies outside the clone. The exit status is 1 if an answer
is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from relay_core import bundled
from relay_core.bundled import task
from testing.servers import vllm_server

ROOT = Path(__file__).parents[1]
QUESTION = "A pen costs 62 coins. Sam wants a pen. First, Sam buys 3 pens and then 4 more. What does Sam pay in all?"
RIGHT = "434"

SMALL = (
    "--warmup.problems 6 --warmup.trainer.num_train_epochs 1 --relay.max_tokens 200 --filter.problems 3 "
    "--filter.samples 2 --filter.keep 0 --grpo.updates 1 --grpo.prompts 2 --grpo.group_size 2 --grpo.rollouts 1 "
    "--measure.problems 4"
).split()

RELAY = """
import sys
from relay_core import Relay
print(Relay({student!r}, {teacher!r}).generate({question!r}).text)
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
WITHOUT_LOCAL = """
from relay_core import Relay, RelayError
try:
    Relay().generate("?")
except RelayError as error:
    print(error)
"""
LANGCHAIN = """
from langchain.agents import create_agent
from langchain_relay import ChatRelay
message = ChatRelay({models}).invoke({question!r})
print(message.text, message.response_metadata["relay"]["calls"])
create_agent(ChatRelay({models}), [])
"""
LLAMAINDEX = """
from llama_index.core.agent.workflow import FunctionAgent
from llamaindex_relay import RelayLLM
print(RelayLLM({models}).complete({question!r}).text)
FunctionAgent(llm=RelayLLM({models}), tools=[])
"""
PARQUET = """
import json, sys
import pyarrow, pyarrow.parquet
rows = [json.loads(line) for line in open("rows.jsonl", encoding="utf-8")]
pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), "rows.parquet")
from relay_core import Relay
from relay_core.evaluate.graders import math
from relay_core.evaluate.task import task_from_spec
assert math("So it is $1/2$.", "0.5")
task = task_from_spec({{"path": "rows.parquet", "grader": "number"}})
problems = task.problems("test", 10)
answers = Relay({student!r}, {teacher!r}).batch([problem.messages for problem in problems])
print(sum(task.grade(answer.text, problem) for answer, problem in zip(answers, problems, strict=True)))
"""


@dataclass(frozen=True)
class Environment:
    """An environment with the wheel and one extra in it; ``folder`` is where its commands run."""

    folder: Path
    student: str
    teacher: str

    def run(self, *command: str) -> str:
        """The stdout of a command; ``command[0]`` is a program of the environment."""
        program = self.folder / "venv" / "bin" / command[0]
        unset = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        variables = {name: value for name, value in os.environ.items() if name not in unset}
        variables |= {"HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "unused"}
        done = subprocess.run([program, *command[1:]], cwd=self.folder, env=variables, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(command)[:300]}: exit {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}"
            )
        return done.stdout

    def python(self, code: str, *arguments: str, **values: str) -> str:
        """The stdout of some Python; ``values`` and the names of the models are filled in."""
        names = {"student": self.student, "teacher": self.teacher, "question": QUESTION, **values}
        return self.run("python", "-c", code.format(**names), *arguments)

    @property
    def endpoints(self) -> str:
        """Both endpoints as arguments of a plugin's model."""
        return f"student={self.student!r}, teacher={self.teacher!r}"


def right(output: str) -> None:
    """Raise unless an answer is right."""
    if RIGHT not in output:
        raise RuntimeError(f"the answer is {output!r}; right is {RIGHT}")


def try_base(env: Environment) -> None:
    """Endpoints on both sides, in Python and on the command line; what a local model needs is said."""
    right(env.python(RELAY))
    options = ["--student", env.student, "--teacher", env.teacher, "--json"]
    right(json.loads(env.run("relay", "ask", QUESTION, *options))["text"])
    message = env.python(WITHOUT_LOCAL)
    if "pip install" not in message or "torch" not in message:
        raise RuntimeError(f"without the extra local, the bundled pair says: {message!r}")


def try_local(env: Environment) -> None:
    """The bundled pair."""
    answer = json.loads(env.run("relay", "ask", QUESTION, "--json"))
    right(answer["text"])
    if not answer["usage"]["calls"]:
        raise RuntimeError("the student made no call")


def try_langchain(env: Environment) -> None:
    """``ChatRelay`` with endpoints on both sides, and LangChain's agents, which docs/langchain.md uses."""
    right(env.python(LANGCHAIN, models=env.endpoints))


def try_llamaindex(env: Environment) -> None:
    """``RelayLLM`` with endpoints on both sides, and LlamaIndex's agents, which docs/llamaindex.md uses."""
    right(env.python(LLAMAINDEX, models=env.endpoints))


def try_langchain_local(env: Environment) -> None:
    """The first example of docs/langchain.md."""
    right(env.python(LANGCHAIN, models=""))


def try_llamaindex_local(env: Environment) -> None:
    """The first example of docs/llamaindex.md."""
    right(env.python(LLAMAINDEX, models=""))


def try_train(env: Environment) -> None:
    """All stages of the training in miniature, on the bundled pair, and an answer of that pair."""
    report = json.loads(env.run("python", "-m", "relay_core.train", "all", "--out", "run", "--json", *SMALL))
    if not (env.folder / "run" / "training.png").is_file() or "relay" not in report["methods"]:
        raise RuntimeError(f"the training reports {report}")
    try_local(env)


def try_eval(env: Environment) -> None:
    """A Parquet file as a task, answered with endpoints on both sides, and the grader of mathematics."""
    problems = task.problems(400, split="test", form="question")  # of a file's rows, a tenth are test
    rows = [{"question": problem.question, "answer": str(problem.answer)} for problem in problems]
    (env.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    right_count = int(env.python(PARQUET))
    if right_count < 8:
        raise RuntimeError(f"{right_count} of 10 answers are right")


def try_all(env: Environment) -> None:
    """What the extras are tried with, one after the other."""
    for tried in (try_train, try_eval, try_langchain_local, try_llamaindex_local):
        tried(env)


TRIALS: dict[str, Callable[[Environment], None]] = {
    "base": try_base,
    "local": try_local,
    "langchain": try_langchain,
    "langchain,local": try_langchain_local,
    "llamaindex": try_llamaindex,
    "llamaindex,local": try_llamaindex_local,
    "train": try_train,
    "eval": try_eval,
    "all": try_all,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=f"of {' '.join(TRIALS)}; by default all")
    parser.add_argument("--python", default=sys.executable, help="the Python of the empty environments")
    parser.add_argument("--newest", action="store_true", help="what pip finds, in place of constraints.txt")
    options = parser.parse_args()
    if unknown := set(options.extras) - set(TRIALS):
        parser.error(f"no extra is called {', '.join(sorted(unknown))}; there are {' '.join(TRIALS)}")
    failed = []
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as servers:
        folder = Path(scratch)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", scratch, str(ROOT)], check=True)
        (wheel,) = folder.glob("*.whl")
        specs = []
        for role, model in (("student", "student-relay"), ("teacher", "teacher")):
            log = folder / f"{role}.log"
            url = servers.enter_context(vllm_server(bundled.path(model), log, name=role, context=2048))
            specs.append(f"openai:{role}@{url}/v1")
        for extra in options.extras or TRIALS:
            began = time.monotonic()
            with tempfile.TemporaryDirectory(dir=scratch) as empty:
                env = Environment(Path(empty), *specs)
                subprocess.run([options.python, "-m", "venv", f"{empty}/venv"], check=True)
                pins = [] if options.newest else ["-c", str(ROOT / "constraints.txt")]
                target = f"{wheel}[{extra}]" if extra != "base" else str(wheel)
                env.run("python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install", *pins, target)
                installed_s = time.monotonic() - began
                try:
                    TRIALS[extra](env)
                except RuntimeError as error:
                    failed.append(extra)
                    print(f"{extra}: FAILED: {error}", flush=True)
                else:
                    print(f"{extra}: right, installed in {installed_s:.0f} s", flush=True)
    if failed:
        sys.exit(f"failed: {' '.join(failed)}")


if __name__ == "__main__":
    main()
