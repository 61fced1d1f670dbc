"""The loop that one writes by hand over a transformers model: AdamW, clipping, a schedule."""

from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from benchmarks.contenders.work import Rows, Work
from benchmarks.shapes import Shape


def transformers_model(shape: Shape) -> PreTrainedModel:
    """Return the model of a shape as transformers has it, without dropout."""
    if shape.is_masked:
        config = BertConfig(
            vocab_size=shape.vocabulary,
            max_position_embeddings=shape.block,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=4 * shape.width,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        return BertForMaskedLM(config)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=shape.vocabulary,
            n_positions=shape.block,
            n_embd=shape.width,
            n_layer=shape.layers,
            n_head=shape.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    model.loss_type = "ForCausalLM"  # what its name does not tell transformers
    return model


def update(loss: Tensor, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Make one update."""
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def run(work: Work) -> None:
    """Train without end."""
    shape, rows = work.shape, Rows(work)
    model: Any = transformers_model(shape).to(work.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1_000_000)
    mask_id = 0
    if shape.is_masked:
        mask_id = AutoTokenizer.from_pretrained(work.directory / "tokenizer").mask_token_id
    step = 0
    while True:
        ids, labels = rows.masked(mask_id) if shape.is_masked else [rows()] * 2
        with work.autocast():
            loss = model(input_ids=ids, labels=labels).loss
        update(loss, model, optimizer)
        scheduler.step()
        step += 1
        if step % shape.steps == 0:
            work.tick(step, loss)
