"""Policies: where the student decodes during rollouts (``grpo.policy`` in a recipe).

    base.py          the protocol Policy
    choice.py        the policy that a recipe names
    live.py          live: the weights in this process, on transformers
    copied.py        live on a copy of the weights, in another dtype
    colocate.py      colocate: TRL's vLLM in this process
    stepper.py       the thread that steps TRL's vLLM, and the engine on it
    server.py        server: a vLLM server that receives the weights

| policy | take it | weights | processes |
| --- | --- | --- | --- |
| live | for small models, on a CPU, and to try a recipe: it needs nothing but transformers | shared | one, or DDP |
| colocate | for real models on the GPUs that train | copied for each rollout | any that TRL knows; a vLLM in each |
| server | if GPUs of their own can decode | sent by NCCL for each rollout | any that TRL knows |
"""
