"""What an evaluation of a seed may do in a process of its own."""

from __future__ import annotations

import os
import signal
import time

from relay_core.errors import ConfigurationError


def threads_of(seed: int) -> tuple[int, int, int]:
    """The seed, the number of this process, and torch's threads in it."""
    import torch

    return seed, os.getpid(), torch.get_num_threads()


def fails_with(failing: int, seed: int) -> int:
    """Raises with one seed; with any other it takes a minute."""
    if seed == failing:
        raise ConfigurationError(f"seed {seed} cannot be evaluated")
    time.sleep(60)
    return seed


def is_killed(seed: int) -> int:
    """Ends as if the system had killed it."""
    os.kill(os.getpid(), signal.SIGKILL)
    return seed


def says_who_it_is(folder: str, seed: int) -> int:
    """Writes its process's number into a file, and takes a minute."""
    with open(os.path.join(folder, f"{seed}.part"), "w") as file:
        file.write(str(os.getpid()))
    os.rename(file.name, os.path.join(folder, str(seed)))
    time.sleep(60)
    return seed
