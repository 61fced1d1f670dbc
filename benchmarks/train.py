"""Training speed of `foundry train` against a plain loop over the same transformers model.

    python benchmarks/train.py data.train=PATH [key=value ...]

Both train configs/shakespeare_char.yaml on the same text for as many steps, in turn, in processes
of their own, and report tokens a second without start-up, evaluation and saving. Only the ratio
means something: machines are shared and differ.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = Path(__file__).parents[1] / "configs" / "shakespeare_char.yaml"
ROUNDS = 5
STEPS = 300


def ours(overrides: list[str]) -> float:
    """Return tokens a second of the whole loop, with logging, from its own metrics."""
    from model_foundry import load_config, train
    from model_foundry.training.metrics import read_metrics

    with tempfile.TemporaryDirectory() as directory:
        settings = [f"output_dir={directory}/run", f"training.max_steps={STEPS}", *overrides]
        result = train(load_config(CONFIG, overrides=settings))
        lines = read_metrics(result.output_dir / "metrics.jsonl")
    speeds = [line["train/tokens_per_second"] for line in lines if "train/loss" in line]
    return statistics.harmonic_mean(speeds)  # equal stretches of steps


def plain(overrides: list[str]) -> float:
    """Return tokens a second of the loop that one would write by hand."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from model_foundry import load_config
    from model_foundry.preparation import prepare

    config = load_config(CONFIG, overrides=overrides)
    prepared = prepare(config)
    section, training = config.model.transformer, config.training
    assert section is not None
    tokens = torch.from_numpy(prepared.train.stream.tokens.astype("int64"))
    length, rows = config.data.max_sequence_length, training.per_device_train_batch_size
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(prepared.tokenizer),
            n_positions=length,
            n_embd=section.hidden_size,
            n_layer=section.layers,
            n_head=section.attention_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )
    model.loss_type = "ForCausalLM"
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    begun = time.perf_counter()
    for step in range(STEPS):
        starts = torch.randint(len(tokens) - length, (rows,)).tolist()
        batch = torch.stack([tokens[start : start + length] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if (step + 1) % training.logging_steps == 0:
            print(step + 1, loss.item(), file=sys.stderr)
    return STEPS * rows * length / (time.perf_counter() - begun)


def main() -> None:
    """Run both in turn and print medians, ranges and the ratio of each round."""
    overrides = sys.argv[1:]
    speeds: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(ROUNDS):
        for name in speeds if number % 2 == 0 else reversed(speeds):
            command = [sys.executable, __file__, "--one", name, *overrides]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            speeds[name].append(json.loads(done.stdout.splitlines()[-1]))
    for name, values in speeds.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:6} {middle:9,.0f} tokens/s  ({low:,.0f} to {high:,.0f})")
    ratios = sorted(a / b for a, b in zip(speeds["ours"], speeds["plain"], strict=True))
    print(
        f"ratio  {statistics.median(ratios):9.2f}           ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps({"ours": ours, "plain": plain}[sys.argv[2]](sys.argv[3:])))
    else:
        main()
