"""``server``: the student decodes on a vLLM server, to which the training processes send the weights.

Take it if GPUs of their own can decode: the trainer then keeps all memory of its GPUs, and the server may use tensor
parallelism. Start the server with the student's weights and tokenizer:

    VLLM_SERVER_DEV_MODE=1 vllm serve STUDENT --weight-transfer-config '{"backend": "nccl"}' \\
        --logprobs-mode processed_logprobs --max-logprobs -1

and write ``grpo.policy: server`` and ``grpo.policy_url: http://HOST:PORT``. Each process sends its own requests. Before
each rollout TRL's main process broadcasts the weights by NCCL and clears the server's prefix cache. TRL has no barrier
after that, so we wait there for all processes: otherwise the others would decode with half of the new weights.

The transfer itself was never run: NCCL needs CUDA, and this was developed without a GPU. The tests run the rest on a
real vLLM server, with a transfer that only records its call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from relay_core import portal
from relay_core.engines.openai import OpenAIEngine
from relay_core.engines.openai.protocol import Mode
from relay_core.errors import ConfigurationError, EngineError, MissingExtraError
from relay_core.tokenizer import as_tokenizer

START = (
    'VLLM_SERVER_DEV_MODE=1 vllm serve STUDENT --weight-transfer-config \'{"backend": "nccl"}\' '
    "--logprobs-mode processed_logprobs --max-logprobs -1"
)
_TIMEOUT_S = 10.0


class ServerPolicy:
    """Sends the requests of a rollout to a vLLM server, once all processes know that it has the weights.

    Args:
        tokenizer: the student's tokenizer.
        url: the server's base URL, such as ``http://10.0.0.2:8000``.

    Raises:
        MissingExtraError: vLLM, whose client sends the weights, is not installed here.
    """

    def __init__(self, tokenizer: Any, url: str) -> None:
        if find_spec("vllm") is None:
            raise MissingExtraError("grpo.policy: server", "vllm")
        self._url = url.rstrip("/").removesuffix("/v1")
        self._tokenizer = as_tokenizer(tokenizer)
        self._engine: OpenAIEngine | None = None
        self.trainer_values: Mapping[str, Any] = {
            "use_vllm": True,
            "vllm_mode": "server",
            "vllm_server_base_url": self._url,
            "vllm_importance_sampling_mode": "token_truncate",  # a whole answer of 8k tokens would often be dropped
        }

    @property
    def engine(self) -> OpenAIEngine:
        assert self._engine is not None, "attach comes first"
        return self._engine

    @contextlib.contextmanager
    def building(self, model: Any, args: Any) -> Iterator[None]:
        """Check the devices and the server before TRL connects to it, and waits for minutes.

        Raises:
            ConfigurationError: there is no GPU here, or the server cannot be used; the message says how to start it.
        """
        check_device(args.device)
        check_server(self._url)
        yield

    def attach(self, trainer: Any) -> None:
        """Make an engine on the server, which takes and gives token ids with their log-probabilities.

        Raises:
            ConfigurationError: the server does not take token ids, or has another vocabulary.
        """
        self._engine = OpenAIEngine(
            served_model(self._url), f"{self._url}/v1", role="student", mode=Mode.IDS, tokenizer=self._tokenizer,
            logprobs=True,
        )  # fmt: skip
        portal.run(self._engine.start)

    @contextlib.contextmanager
    def generating(self, trainer: Any) -> Iterator[None]:
        """Wait until every process has taken part in sending the weights; then requests may be sent."""
        trainer.accelerator.wait_for_everyone()
        yield

    def release(self) -> None:
        """Close the connections."""
        if self._engine is not None:
            portal.run(self._engine.aclose)


def check_device(device: Any) -> None:
    """Raise ConfigurationError unless NCCL can send the weights from ``device``."""
    if device.type != "cuda":
        raise ConfigurationError(
            f"grpo.policy is server, which sends the weights by NCCL from a GPU, but the trainer's device is {device}: "
            "write grpo.policy: live or colocate"
        )


def check_server(url: str) -> None:
    """Check that a vLLM server answers, and that it can receive weights.

    Raises:
        ConfigurationError: it cannot; the message says how to start it.
    """
    if _get(url, "/health").status_code != 200:
        raise ConfigurationError(f"grpo.policy_url: the server at {url} is not ready; start it with: {START}")
    info = _get(url, "/server_info?config_format=json")
    if info.status_code != 200:
        raise ConfigurationError(
            f"grpo.policy_url: the server at {url} does not let anyone send weights; start it with: {START}"
        )
    config = info.json().get("vllm_config") or {}
    if config.get("weight_transfer_config") is None:
        raise ConfigurationError(
            f"grpo.policy_url: the server at {url} has no --weight-transfer-config; start it with: {START}"
        )
    mode = (config.get("model_config") or {}).get("logprobs_mode")
    if mode != "processed_logprobs":
        raise ConfigurationError(
            f"grpo.policy_url: the server at {url} runs with --logprobs-mode {mode}, whose log-probabilities are not "
            f"those of the sampled distribution; start it with: {START}"
        )


def served_model(url: str) -> str:
    """The name of the model that the server serves."""
    try:
        return str(_get(url, "/v1/models").json()["data"][0]["id"])
    except (ValueError, LookupError, TypeError) as error:
        raise EngineError(f"the server at {url} does not list its model") from error


def _get(url: str, path: str) -> Any:
    import httpx

    try:
        return httpx.get(url + path, timeout=_TIMEOUT_S)
    except httpx.HTTPError as error:
        raise ConfigurationError(
            f"grpo.policy_url: no server answers at {url} ({type(error).__name__}); start it with: {START}"
        ) from error
