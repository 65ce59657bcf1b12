import copy

import torch

from relay_core.train.optimizer import MuonAndAdamW


def model():
    torch.manual_seed(0)
    return torch.nn.ModuleDict({"embed": torch.nn.Embedding(7, 4), "layer": torch.nn.Linear(4, 4, bias=True)})


def steps(m, optimizer, n):
    for _ in range(n):
        optimizer.zero_grad()
        m["layer"](m["embed"].weight).square().sum().backward()
        optimizer.step()


def new(m):
    return MuonAndAdamW(m, matrix_lr=0.02, lr=0.01, betas=(0.9, 0.98), weight_decay=0.0)


def test_each_parameter_has_one_optimizer_and_all_learn():
    m = model()
    before = {name: p.clone() for name, p in m.named_parameters()}
    optimizer = new(m)
    assert [(g["lr"], len(g["params"])) for g in optimizer.param_groups] == [(0.02, 1), (0.01, 2)]
    assert optimizer.param_groups[0]["params"][0] is m["layer"].weight
    steps(m, optimizer, 1)
    assert all(not torch.equal(p, before[name]) for name, p in m.named_parameters())


def test_a_schedule_scales_both_rates():
    m = model()
    optimizer = new(m)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    before = {name: p.clone() for name, p in m.named_parameters()}
    steps(m, optimizer, 2)
    assert all(torch.equal(p, before[name]) for name, p in m.named_parameters())
    assert schedule.get_last_lr() == [0.0, 0.0]


def test_state_comes_back():
    a, b = model(), model()
    one, two = new(a), new(b)
    steps(a, one, 3)
    b.load_state_dict(a.state_dict())
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    two.param_groups[0]["lr"] = one.param_groups[0]["lr"] = 0.005  # still the rates that are used
    steps(a, one, 2)
    steps(b, two, 2)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q)
