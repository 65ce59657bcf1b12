"""Python's garbage collector and the hundreds of thousands of objects that torch, vLLM or LangChain are made of.

A full collection goes through all that lives: with torch and transformers imported, some 0.1 s in which no token is
delivered. What was imported stays as long as the process, so it need not be looked at again: it is set aside with
:func:`gc.freeze`, as vLLM's own server does.
"""

from __future__ import annotations

import gc
import threading

_once = threading.Lock()
_done = False


def freeze_imports() -> None:
    """Collect, and set aside what then lives; only the first call in a process does anything.

    To be called when the heavy imports are done and before the first model is made. Objects set aside are freed as
    ever when their last reference goes; only cycles among them are not, until somebody calls :func:`gc.unfreeze`.
    """
    global _done
    with _once:
        if not _done:
            _done = True
            gc.collect()
            gc.freeze()
