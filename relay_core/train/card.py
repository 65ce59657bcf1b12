"""The model card of a trained student: ``README.md`` in its folder, with the YAML head that the hub expects.

The card names the recipe, the figures, the licence of the base, and how to use the student. What it shows of specs and
of the recipe can be published (``published.py``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relay_core.train.base_model import BaseModel, base_model
from relay_core.train.published import public_spec, published
from relay_core.train.recipe import Recipe

PLOT = "training.png"
_PAPER = "[RelayLLM](https://arxiv.org/abs/2601.05167)"


def write(
    folder: Path,
    recipe: Recipe,
    *,
    is_reinforced: bool = True,
    measured: Mapping[str, Any] | None = None,
    rollouts: Sequence[Mapping[str, Any]] = (),
    plot: Path | None = None,
    cost: str = "",
) -> None:
    """Write the card into a student's folder, and the plot beside it; both replace earlier ones atomically.

    Args:
        folder: the folder of the trained student, or of its adapter.
        recipe: the run's values.
        is_reinforced: whether the student was trained with GRPO; otherwise it comes from warm-up.
        measured: the content of the run's ``measured.json``; ``None`` if the stage has not run.
        rollouts: the rows of ``rollouts.jsonl``; the last one is shown if nothing is measured.
        plot: the run's ``training.png``.
        cost: a sentence on what training took.
    """
    has_plot = plot is not None and plot.is_file()
    if plot is not None and has_plot:
        shutil.copyfile(plot, folder / f".{PLOT}.tmp")
        os.replace(folder / f".{PLOT}.tmp", folder / PLOT)
    text = card(
        recipe,
        base_model(recipe.student, recipe.lora.base),
        name=folder.name,
        is_adapter=(folder / "adapter_config.json").is_file(),
        is_reinforced=is_reinforced,
        figures=_measured(measured, folder.name) if measured else _sampled(rollouts),
        plot=PLOT if has_plot else None,
        cost=cost,
    )
    temporary = folder / ".README.md.tmp"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, folder / "README.md")


def card(
    recipe: Recipe,
    base: BaseModel,
    *,
    name: str,
    is_adapter: bool,
    is_reinforced: bool = True,
    figures: str = "",
    plot: str | None = None,
    cost: str = "",
) -> str:
    """The text of a card.

    Args:
        recipe: the run's values.
        base: the model that training started from.
        name: the name of the student's folder.
        is_adapter: whether the folder holds an adapter of peft's instead of a whole model.
        is_reinforced: whether the student was trained with GRPO.
        figures: a table in Markdown; empty to leave it out.
        plot: the name of the plot's file; ``None`` to leave it out.
        cost: a sentence on what training took; empty to leave it out.
    """
    import yaml

    head = yaml.safe_dump(
        _head(recipe, base, is_adapter=is_adapter, is_reinforced=is_reinforced), sort_keys=False, allow_unicode=True
    )
    values = yaml.safe_dump(published(recipe.as_dict()), sort_keys=False, allow_unicode=True)
    licence = base.licence.get("license_name", base.licence["license"])
    terms = f"is {licence}" if licence != "unknown" else "is unknown: look it up before you publish this model"
    parts = [
        f"# {name}",
        _about(recipe, base),
        f"The licence of {base.name} {terms}.",
        "## How it was trained",
        " ".join(filter(None, (_training(recipe, base, is_reinforced=is_reinforced), cost))),
        *(["## Figures", figures] if figures else []),
        *([f"![Figures of the rollouts during training]({plot})"] if plot else []),
        "## Use",
        _use(recipe, name, is_adapter=is_adapter),
        "## Recipe",
        f"```yaml\n{values}```",
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def _head(recipe: Recipe, base: BaseModel, *, is_adapter: bool, is_reinforced: bool) -> dict[str, Any]:
    head: dict[str, Any] = dict(base.licence)
    if hub_id := recipe.lora.base or base.hub_id:
        head |= {"base_model": hub_id, "base_model_relation": "adapter" if is_adapter else "finetune"}
    head |= {"library_name": "peft" if is_adapter else "transformers", "pipeline_tag": "text-generation"}
    return {**head, "tags": ["relay-decoding", "relayllm", *(["grpo"] if is_reinforced else []), "trl"]}


def _about(recipe: Recipe, base: BaseModel) -> str:
    if not recipe.grpo.calls:
        return f"{base.name}, trained with GRPO, without calls to a teacher."
    return (
        f"A student for *relay decoding* ({_PAPER}): it writes the answer, and where it needs help it writes "
        f"`<call>n</call>`; a teacher ({public_spec(_teacher(recipe))}) then writes the next n tokens. It needs a "
        "runtime that makes the calls, as below; elsewhere its commands stay in its text."
    )


def _training(recipe: Recipe, base: BaseModel, *, is_reinforced: bool) -> str:
    """A sentence for each stage: distillation, warm-up, and GRPO."""
    grpo, teacher = recipe.grpo, public_spec(_teacher(recipe))
    source = {
        "random": "its own answers, with commands inserted at random places",
        "guided": "its own answers, with calls opened where the teacher would hardly have written the next token",
        "told": "its own answers, in which instructions had told it when to call; the instructions were then left out",
        "answers": f"right answers of {teacher}, with calls opened where the student was not sure how they go on",
    }[recipe.warmup.source]
    distilled = f"{base.name} was first trained on right answers of {teacher}, to {recipe.distill.problems} problems. "
    distilled = distilled if recipe.distills else ""
    warmed = "it" if recipe.distills else base.name
    with_calls = f"{distilled}Supervised warm-up trained {warmed} on {source}. " if grpo.calls else ""
    if not is_reinforced:
        return f"{with_calls}It was not trained with GRPO."
    answered = f"by the student and {teacher}, whose tokens are masked in the loss" if grpo.calls else "by the student"
    model = "it" if grpo.calls else base.name
    trained = f"a LoRA adapter of rank {recipe.lora.r} on {model}" if recipe.lora.r else model
    return (
        f"{with_calls}GRPO (TRL) trained {trained} for {grpo.rollouts} rollouts of {grpo.prompts} problems with "
        f"{grpo.group_size} answers each, written {answered}, under the reward `{grpo.reward}`."
    )


def _use(recipe: Recipe, name: str, *, is_adapter: bool) -> str:
    if not recipe.grpo.calls:
        return f"```python\nfrom relay_core import Relay\n\nprint(Relay('./{name}', None).generate('...').text)\n```"
    limits = {n: v for n, v in recipe.relay.items() if isinstance(v, (bool, int, float, str))}
    settings = ", ".join(f"{n}={v!r}" for n, v in limits.items())
    use = f"""\
With the package relay-decoding, under the limits of its training:

```python
from relay_core import Relay, RelaySettings

pair = {{"student": "./{name}", "teacher": "{public_spec(_teacher(recipe))}"}}
limits = dict({settings})
with Relay(**pair, settings=RelaySettings(**limits)) as relay:
    print(relay.generate("...").text)
```

In LangChain and in LlamaIndex, with the same `pair` and `limits`:

```python
from langchain_relay import ChatRelay
from llamaindex_relay import RelayLLM

chat = ChatRelay(**pair, **limits)  # LangChain
llm = RelayLLM(**pair, **limits)  # LlamaIndex
```"""
    if is_adapter:
        base = f"./{name}?base=PATH_OR_ID"
        return f"{use}\n\nThis is an adapter. To load it onto your own copy of its base, write `{base}` as the student."
    return f"""{use}

On a vLLM server, the student is the spec `openai:student@http://localhost:8001/v1`:

```sh
vllm serve ./{name} --served-model-name student --port 8001
```"""


def _teacher(recipe: Recipe) -> str:
    return recipe.teacher if isinstance(recipe.teacher, str) else recipe.teacher[0]


def _measured(measured: Mapping[str, Any], student: str) -> str:
    """The table of ``measured.json``: each method on held-out problems, with greedy decoding."""
    methods: Mapping[str, Mapping[str, Any]] = measured["methods"]
    groups = list(next(iter(methods.values()))["bands"])
    lines = [["", "accuracy", *groups, "call ratio", "calls per answer"]]
    for name, m in methods.items():
        accuracies = [f"{share:.3f}" for share in (m["accuracy"], *(m["bands"][group] for group in groups))]
        calls = "" if name == "teacher" else f"{m['calls']:.2f}"
        lines.append([name, *accuracies, f"{m['call_ratio']:.2%}", calls])
    recovered = measured.get("recovered")
    about = f" `relay` is `{student}` with calls allowed; in every other row, a model answers alone, calls refused."
    about = about if "relay" in methods else ""
    about += "" if recovered is None else f" The relay recovers {recovered:.0%} of the gap between student and teacher."
    return f"{measured['problems']} held-out problems, greedy decoding.{about}\n\n{_markdown(lines)}"


def _sampled(rollouts: Sequence[Mapping[str, Any]]) -> str:
    names = ("accuracy", "call_ratio", "calls", "requested", "reward")
    last = [(n, rollouts[-1][n]) for n in names if n in rollouts[-1]] if rollouts else []
    if not last:
        return ""
    table = _markdown([[n for n, _ in last], [f"{value:.3f}" for _, value in last]])
    return f"The last rollout of training (sampled answers; nothing was measured on held-out problems).\n\n{table}"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    heading, *rows = (f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join([heading, f"|{' --- |' * len(lines[0])}", *rows])
