"""`transformers.Trainer` over the same transformers model, with its defaults."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.contenders.transformers_loop import transformers_model
from benchmarks.contenders.work import MASKED, Work


class Blocks(Dataset[dict[str, Tensor]]):
    """The text in consecutive rows."""

    def __init__(self, work: Work) -> None:
        self.tokens, self.length = work.tokens(), work.shape.block

    def __len__(self) -> int:
        return len(self.tokens) // self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.tokens[index * self.length : (index + 1) * self.length]}


class Ticks(TrainerCallback):
    """Writes a tick whenever the trainer logs."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Report the step."""
        if logs and "loss" in logs:
            self.work.tick(state.global_step, float(logs["loss"]))


def run(work: Work) -> None:
    """Train for as long as anyone looks."""
    shape = work.shape
    tokenizer = AutoTokenizer.from_pretrained(work.directory / "tokenizer")
    trainer = Trainer(
        model=transformers_model(shape),
        args=TrainingArguments(
            output_dir=str(Path(work.ticks).with_suffix(".trainer")),
            per_device_train_batch_size=shape.batch,
            max_steps=1_000_000,
            learning_rate=1e-4,
            bf16=work.bf16,
            logging_steps=shape.steps,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=Blocks(work),
        data_collator=DataCollatorForLanguageModeling(
            tokenizer, mlm=shape.is_masked, mlm_probability=MASKED if shape.is_masked else None
        ),
        callbacks=[Ticks(work)],
    )
    trainer.train()
