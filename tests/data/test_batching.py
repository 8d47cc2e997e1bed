from __future__ import annotations

from itertools import pairwise

import torch

from lrp_bench.data.batching import AlikeBatches


def test_batches_of_like_lengths_hold_every_sentence_once_in_a_new_order() -> None:
    sizes = torch.randint(1, 40, (1003,), generator=torch.Generator().manual_seed(0))
    index = torch.arange(0, 1003, 2)
    batches = AlikeBatches(index, 20, seed=3, sizes=sizes)
    epochs = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        epochs.append(list(batches))
    assert [len(batch) for batch in epochs[0]] == [20] * 25 + [2]
    for drawn in epochs:
        assert torch.equal(torch.cat(drawn).sort().values, index)
        spans = sorted((int(sizes[batch].min()), int(sizes[batch].max())) for batch in drawn[:-1])
        assert all(low <= high for (_, low), (high, _) in pairwise(spans))  # they do not overlap
    assert not torch.equal(torch.cat(epochs[0]), torch.cat(epochs[1]))
    assert torch.equal(torch.cat(epochs[0]), torch.cat(epochs[2]))
    means = torch.tensor([sizes[batch].double().mean() for batch in epochs[0]])
    assert not torch.equal(means, means.sort().values)
