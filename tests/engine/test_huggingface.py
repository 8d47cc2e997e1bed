"""Classifiers and language models of Hugging Face, tiny and untrained, called by name with an attention mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.engine import LRP
from lrp_bench.engine.composites import AttnLRP

transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("float64"), pytest.mark.filterwarnings("ignore")]

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 30,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 30, "n_positions": 32}
OPT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "ffn_dim": 24,
    "vocab_size": 30,
    "max_position_embeddings": 32,
    "word_embed_proj_dim": 16,
}


class NextToken(nn.Module):
    """A causal language model's logits at the last position."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits[:, -1]


def made(name: str, configuration: str, **sizes: Any) -> nn.Module:
    configured = getattr(transformers, configuration)(**sizes)
    configured.use_cache = False
    model: nn.Module = getattr(transformers, name)(configured)
    for weight in model.parameters():
        if weight.dim() > 1 or not bool((weight == 1).all()):
            nn.init.normal_(weight, std=0.3)
    return model.eval()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "BERT": lambda: made("BertForSequenceClassification", "BertConfig", **SIZES),
    "RoBERTa": lambda: made("RobertaForSequenceClassification", "RobertaConfig", **SIZES),
    "GPT-2": lambda: NextToken(made("GPT2LMHeadModel", "GPT2Config", **GPT2)),
    "OPT": lambda: NextToken(made("OPTForCausalLM", "OPTConfig", **OPT)),
    "Llama": lambda: NextToken(made("LlamaForCausalLM", "LlamaConfig", **SIZES, num_key_value_heads=1)),
}


@pytest.mark.parametrize("bias", ["absorb", "redistribute"])
@pytest.mark.parametrize("name", MODELS)
def test_padding_receives_nothing(name: str, bias: str) -> None:
    """Left padding for language models, right for classifiers; Llama computes its norms in float32 whatever it is."""
    model = MODELS[name]()
    there = torch.arange(7) < torch.tensor([[7], [4], [5]])
    there = there.flip(1) if isinstance(model, NextToken) else there
    ids = torch.randint(3, 30, (3, 7)) * there
    given = {"input_ids": ids, "attention_mask": there.long()}
    output = None if isinstance(model, NextToken) else "logits"
    lrp = LRP(model, AttnLRP(bias=bias), example=given, output=output)
    e = lrp(given)
    relevance, slack = e.relevance["input_ids"], 1e-5 if name == "Llama" else 1e-9
    assert not relevance[~there].any()
    assert_close(lrp({**given, "input_ids": torch.where(there, ids, 7)}).logits, e.logits, rtol=slack, atol=slack)
    lost = sum(entry.bias + entry.stabilizer + entry.rule for entry in e.ledger.values())
    assert_close(e.score, relevance.sum(1) + lost, rtol=slack, atol=slack)
    if bias == "redistribute":
        assert_close(e.score, relevance.sum(1), rtol=slack, atol=slack)
