"""The pair of models that ships with the package, the task that it solves, and the build that made it.

:func:`path` returns the folder of a model. ``smollm2-135m-relay`` is no model of the pair: it is an adapter for
SmolLM2-135M-Instruct, trained by the recipe ``smollm2-135m`` (docs/real-models.md). These modules make the problems:

    task               the bundled task: draws problems, grades answers
    arithmetic         draws the numbers of a problem, which determine its split
    wording            the families of situations, as templates
    telling            puts a problem and its reference answer into words
    retrieved_context  the context of a problem, as retrieval would return it
    prompt_forms       the forms of a prompt: bare question, system message, retrieved context

These modules build the models, in the order of the build's stages:

    build              the command line: python -m relay_core.bundled.build
    build_progress     the progress bars of the build
    tokenizer          trains the tokenizer
    examples           problems, calculations and look-ups as token ids and labels
    corpus             the mix of texts in the training corpus, and the order of its batches
    pretrain_recipe    sizes and training schedules of the teacher and the base student
    initial_model      the weights of teacher and base student before training
    muon               the optimizer for the matrices
    pretrain           the training loop of teacher and base student
    scores             measures the pass rates of a built model
"""

from __future__ import annotations

from pathlib import Path

from relay_core.errors import ConfigurationError

NAMES: tuple[str, ...] = (
    "teacher",
    "student-base",
    "student-warm",
    "student-relay",
    "student-grpo",
    "smollm2-135m-relay",
)
# Each model's folder holds its own copy of the shared tokenizer, so that it is an ordinary model folder wherever the
# package is installed. The four extra copies take 237 kB on disk, and 43 kB in a wheel of 8.2 MB. With a single copy,
# the folders would have to be assembled at run time, which needs a writable cache, locks between processes and, if hard
# links fail, copies of 9 MB of weights.
WEIGHTS = Path(__file__).with_name("weights")
#: of a whole model, or of an adapter, whose base the user has
WEIGHT_FILES = ("model.safetensors", "adapter_model.safetensors")


def path(name: str) -> Path:
    """The folder of a bundled model: config, tokenizer, chat template and safetensors.

    Args:
        name: one of :data:`NAMES`.

    Raises:
        ConfigurationError: there is no such model, or it has not been built on this machine.
    """
    if name not in NAMES:
        raise ConfigurationError(f"no bundled model is called {name!r}; there are: {', '.join(NAMES)}")
    folder = WEIGHTS / name
    if not any((folder / name).is_file() for name in WEIGHT_FILES):
        raise ConfigurationError(
            f"the bundled model {name!r} has no weights in {folder}; "
            "build them with: python -m relay_core.bundled.build"
        )
    return folder
