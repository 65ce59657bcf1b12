import subprocess
import sys

import pytest

from relay_core import ConfigurationError
from relay_core.evaluate.task import Task, task_from_spec
from testing.tasks import FixedTask


def test_the_bundled_task_by_name():
    task = task_from_spec("bundled")
    assert isinstance(task, Task) and task.name == "bundled" and list(task.groups) == ["easy", "medium", "hard"]
    problems = task.problems("test", 20)
    assert [sum(p.group == g for p in problems) for g in task.groups] == [8, 10, 2]
    assert task.grade(f"\\boxed{{{problems[0].answer}}}", problems[0])


def test_a_task_object_is_returned_unchanged():
    task = FixedTask()
    assert task_from_spec(task) is task


@pytest.mark.parametrize("spec", ["chess", 3, None, ""])
def test_a_bad_spec_is_refused_with_the_accepted_forms(spec):
    with pytest.raises(ConfigurationError, match=r"write bundled, gsm8k, .*, the path of a JSONL or Parquet file"):
        task_from_spec(spec)


def test_a_class_of_ones_own_by_its_name():
    task = task_from_spec("testing.tasks:FixedTask")
    assert isinstance(task, FixedTask) and task.name == "fixed"


@pytest.mark.parametrize("spec", ["testing.tasks:Missing", "no_such_module:Task", "collections:OrderedDict"])
def test_a_class_that_is_missing_or_no_task_is_refused(spec):
    with pytest.raises(ConfigurationError, match=f"task '{spec}' (cannot be imported .*MODULE:CLASS|lacks members)"):
        task_from_spec(spec)


def test_a_folder_without_a_slash_is_found_and_its_splits_are_asked_for(tmp_path, monkeypatch):
    (tmp_path / "sums").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"sums is a folder: write task\.splits"):
        task_from_spec("sums")


def test_nothing_bundled_is_loaded_before_a_user_names_it():
    code = (
        "import sys, relay_core.evaluate.comparison, relay_core.evaluate.dataset, relay_core.cli.demo, "
        "relay_core.train.stages, relay_core.train.data_filter, relay_core.train.grpo; "
        "assert not [name for name in sys.modules if name.startswith('relay_core.bundled')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
