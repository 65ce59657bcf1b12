import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.train.microbatches import loss_share, micro_batches, rows_of_update, select


@given(st.lists(st.integers(1, 200), min_size=1, max_size=60), st.integers(1, 1000), st.integers(1, 20))
def test_every_row_is_in_one_batch_within_the_budget(lengths, budget, at_least):
    batches = micro_batches(lengths, budget, at_least=at_least)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget
    assert len(batches) >= min(at_least, len(lengths))


def test_rows_of_similar_length_are_together():
    assert micro_batches([9, 1, 2, 10], 20) == [[1, 2], [0, 3]]
    assert micro_batches([50, 1], 20) == [[1], [0]]
    assert micro_batches([1] * 8, 100, at_least=3) == [[0, 1], [2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_an_update_has_the_same_groups_on_any_number_of_processes(processes):
    prompts, size, updates = 8, 3, 2
    rows = prompts * size // processes
    for u in range(updates):
        groups = {
            (rank * rows + row) // size for rank in range(processes) for row in rows_of_update(u, updates, rows, size)
        }
        assert groups == set(range(u, prompts, updates))


def test_select_cuts_what_is_padding_in_all_rows():
    import torch

    inputs = {
        "prompt_ids": torch.tensor([[0, 0, 5], [0, 6, 7]]), "prompt_mask": torch.tensor([[0, 0, 1], [0, 1, 1]]),
        "completion_ids": torch.tensor([[1, 2, 3, 0], [4, 0, 0, 0]]),
        "completion_mask": torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]),
        "advantages": torch.tensor([0.5, -0.5]), "num_items_in_batch": torch.tensor(4),
        "importance_sampling_ratio": torch.ones(2, 1),
    }  # fmt: skip
    part = select(inputs, torch.tensor([1]), trim=True)
    assert part["prompt_ids"].tolist() == [[6, 7]] and part["completion_ids"].tolist() == [[4]]
    assert part["advantages"].tolist() == [-0.5] and part["num_items_in_batch"] == 4
    assert part["importance_sampling_ratio"].shape == (1, 1)
    assert loss_share(part, inputs, "grpo") == 0.5
    assert loss_share(part, inputs, "bnpo") == 0.25
    assert loss_share(part, inputs, "dapo") == 1.0
