"""Word deletion and the arithmetic task, against plain loops and SciPy."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import pearsonr
from torch import Tensor
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explanation, NotApplicable
from lrp_bench.metrics import Context, Summands, WordDeletion

VOCABULARY, CLASSES = 40, 3


def scores_of_words() -> Tensor:
    return torch.randn(VOCABULARY, CLASSES, generator=torch.Generator().manual_seed(0))


def bag(ids: Tensor) -> Tensor:
    """The sum of the words' scores, and what a shorter sentence gets on top."""
    present = (ids != 0).unsqueeze(2)
    return (scores_of_words()[ids] * present).sum(1) + present.sum(1) * torch.tensor([0.02, 0.0, -0.02])


def texts() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(3, 13, (60,), generator=generator)
    ids = torch.randint(1, VOCABULARY, (60, 12), generator=generator).masked_fill(torch.arange(12) >= words[:, None], 0)
    relevance = torch.randn(60, 12, generator=generator)
    return ids, relevance, torch.randint(0, CLASSES, (60,), generator=generator)


def explained(ids: Tensor, relevance: Tensor, target: Tensor) -> Explanation:
    logits = bag(ids)
    return Explanation(ids, logits, target, logits.gather(1, target[:, None])[:, 0], relevance)


def by_hand(ids: Tensor, relevance: Tensor, target: Tensor, words: int, at_least: int) -> dict[str, list[float]]:
    """One sentence and one word at a time, on lists that really become shorter."""
    found: dict[str, list[float]] = {
        f"word_deletion/{kind}_{k}": [] for kind in ("correct", "wrong") for k in range(1, words + 1)
    }
    for sentence, R, label in zip(ids.tolist(), relevance.tolist(), target.tolist(), strict=True):
        pairs = [(r, i, word) for i, (r, word) in enumerate(zip(R, sentence, strict=True)) if word]
        right = bag(torch.tensor([[word for _, _, word in pairs]])).argmax().item() == label
        for kind in ("correct", "wrong"):
            meant = len(pairs) >= at_least and right == (kind == "correct")
            order = sorted(pairs, reverse=kind == "correct")
            for k in range(1, words + 1):
                left = [word for _, _, word in sorted(order[k:], key=lambda pair: pair[1])]
                predicted = bag(torch.tensor([left])).argmax().item() if meant else None
                found[f"word_deletion/{kind}_{k}"].append(float(predicted == label) if meant else float("nan"))
    return found


@pytest.mark.parametrize("parts", [1, 4])
def test_word_deletion_is_what_a_plain_loop_finds(parts: int) -> None:
    ids, relevance, target = texts()
    metric = WordDeletion(words=4, at_least=6, max_batch=50)
    for rows in torch.arange(60).chunk(parts):
        metric.update(explained(ids[rows], relevance[rows], target[rows]), Context(bag))
    values = metric.compute().values
    expected = by_hand(ids, relevance, target, words=4, at_least=6)
    assert set(values) == {*expected, "word_deletion/ties"}
    for name, each in expected.items():
        assert_close(values[name], torch.tensor(each), equal_nan=True)
    defined = [sum(e == e for e in expected[f"word_deletion/{kind}_1"]) for kind in ("correct", "wrong")]
    assert min(defined) >= 5
    assert sum(defined) < 60


def test_relevance_that_is_the_score_beats_its_negative() -> None:
    ids, _, target = texts()
    relevance = scores_of_words()[ids].gather(2, target[:, None, None].expand(-1, 12, 1))[..., 0]
    means = []
    for sign in (1, -1):
        metric = WordDeletion(words=3, at_least=3)
        metric.update(explained(ids, sign * relevance, target), Context(bag))
        values = metric.compute().values
        means.append([values[f"word_deletion/{kind}_3"].nanmean() for kind in ("correct", "wrong")])
    (correct, wrong), (correct_of_bad, wrong_of_bad) = means
    assert correct < correct_of_bad
    assert wrong > wrong_of_bad


def test_word_deletion_is_for_texts() -> None:
    x = torch.randn(2, 1, 4, 4)
    with pytest.raises(NotApplicable, match="for Tokens"):
        WordDeletion().update(Explanation(x, x[:, 0, 0], torch.zeros(2).long(), x[:, 0, 0, 0], x), Context(bag))


@pytest.mark.parametrize("arguments", [{"words": 0}, {"words": 5, "at_least": 4}, {"padding": -1}])
def test_settings_of_word_deletion_are_checked_at_once(arguments: dict[str, int]) -> None:
    with pytest.raises(BenchError, match="Expected"):
        WordDeletion(**arguments)


def sequences(operation: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs (n, 4 steps of 3), relevance near to what each number contributes, and both contributions (n, 2)."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(50, 4, generator=generator, dtype=torch.float64) * 2 - 1
    x = torch.zeros(50, 4, 3, dtype=torch.float64)
    x[:, 0, 0], x[:, 1, 1], x[:, 2, 0], x[:, 3, 2] = numbers.unbind(1)
    contribution = torch.stack([numbers[:, 1], numbers[:, 3] * (1 if operation == "sum" else -1)], 1)
    relevance = torch.randn(x.shape, generator=generator, dtype=torch.float64) * 0.1
    relevance[:, 1, 1] += contribution[:, 0]
    relevance[:, 3, 2] += contribution[:, 1]
    return x.flatten(1), relevance.flatten(1), contribution, relevance


def summands(operation: str, x: Tensor, R: Tensor, parts: int = 1) -> dict[str, Tensor]:
    metric = Summands(operation)
    for inputs, relevance in zip(x.chunk(parts), R.chunk(parts), strict=True):
        score = relevance.sum(1)
        metric.update(Explanation(inputs, score[:, None], score.long() * 0, score, relevance), Context(bag))
    return dict(metric.compute().values)


@pytest.mark.parametrize("operation", ["sum", "difference"])
def test_the_mean_is_the_correlation(operation: str) -> None:
    x, R, contribution, steps = sequences(operation)
    values = summands(operation, x, R, parts=3)
    for name, step, truth in (("first", 1, contribution[:, 0]), ("second", 3, contribution[:, 1])):
        expected = pearsonr(steps[:, step].sum(1).numpy(), truth.numpy()).statistic
        assert 0.9 < expected < 1
        assert values[f"summands/{name}"].mean().item() == pytest.approx(expected, abs=1e-12)
    share = steps[:, [0, 2]].abs().sum((1, 2)) / steps.abs().sum((1, 2))
    assert_close(values["summands/others"], share)


def test_relevance_that_is_proportional_reaches_its_bounds() -> None:
    x, _, contribution, _ = sequences("difference")
    R = torch.zeros(50, 4, 3, dtype=torch.float64)
    R[:, 1, 1], R[:, 3, 2] = 3 * contribution[:, 0], -contribution[:, 1]
    values = summands("difference", x, R.flatten(1))
    assert_close(values["summands/first"], torch.ones(50, dtype=torch.float64))
    assert values["summands/second"].mean().item() == pytest.approx(-1)
    assert not values["summands/others"].any()
    constant = summands("sum", x, torch.zeros_like(x))
    assert all(bool(each.isnan().all()) for each in constant.values())


def test_summands_are_of_the_arithmetic_task() -> None:
    with pytest.raises(BenchError, match="sum"):
        Summands("product")
    x = torch.randn(2, 4)
    with pytest.raises(NotApplicable, match="dataset=arithmetic"):
        summands("sum", x, x)
