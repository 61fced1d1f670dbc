"""Compare the nats of sentences by other tools with a direct count.

    python compatibility/scores.py MODELS TEXTS

MODELS is a directory of exported models, TEXTS a file with a sentence a line. It runs in an
environment with transformers and minicons or lm-eval or both, and needs nothing of this package;
exit code 1 where a tool is more than `TOLERANCE` nats off.

The rules, which are those of training:

- A causal model reads what its tokenizer puts in front of a text (BOS, or the end of a document
  where documents begin with no token of their own) and predicts all that follows; the end of the
  document is not predicted. In minicons leave `bos_token=False`: the tokenizer puts it there.
- lm-eval scores a text without context behind `tokenizer.bos_token`, which is that same token.
- A masked model's score is the pseudo-log-likelihood: each token of the text hidden by itself,
  between the two tokens that its tokenizer puts around. lm-eval has none for masked models.
- Of two sentences the likelier is right; a tie, which lm-eval's `acc` gives to the first, is wrong.
- The string of a special token in a text is that token for these tools. `foundry generate` and
  minimal pairs read it as text, as a corpus is read; the sentences here have none.
"""

import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

TOLERANCE = 1e-4
TASK = """task: sentences
dataset_path: json
dataset_kwargs: {{data_files: {{validation: {file}}}}}
validation_split: validation
output_type: multiple_choice
doc_to_text: ""
doc_to_choice: "{{{{[sentence, sentence]}}}}"
doc_to_target: 0
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""


def is_masked(directory: Path) -> bool:
    """Return whether a model fills masks, by the class that its configuration names."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    return all("MaskedLM" in name for name in config["architectures"])


def causal_nats(model: Any, tokenizer: Any, text: str) -> float:
    """Return the nats of all tokens of a text but the first."""
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits[0, :-1].double()
    return -float(logits.log_softmax(-1).gather(-1, inputs["input_ids"][0, 1:, None]).sum())


def masked_nats(model: Any, tokenizer: Any, text: str) -> float:
    """Return the nats of each token between the frame, hidden by itself."""
    inputs = tokenizer(text, return_tensors="pt")
    total = 0.0
    for place in range(1, inputs["input_ids"].shape[1] - 1):
        hidden = inputs["input_ids"].clone()
        original, hidden[0, place] = int(hidden[0, place]), tokenizer.mask_token_id
        with torch.no_grad():
            logits = model(**{**inputs, "input_ids": hidden}).logits[0, place].double()
        total -= float(logits.log_softmax(-1)[original])
    return total


def by_minicons(directory: Path, texts: list[str], *, masked: bool) -> list[float]:
    """Return the nats of sentences as minicons counts them, all in one padded batch."""
    from minicons import scorer

    kind = scorer.MaskedLMScorer if masked else scorer.IncrementalLMScorer
    # minicons hands this only to the model, and would let the tokenizer ask for it
    tokenizer = AutoTokenizer.from_pretrained(str(directory), trust_remote_code=True)
    found = kind(str(directory), "cpu", tokenizer=tokenizer, trust_remote_code=True)
    return [-s for s in found.sequence_score(texts, reduction=lambda scores: scores.sum(0).item())]


def by_lm_eval(directory: Path, texts: list[str]) -> list[float]:
    """Return the nats of sentences as lm-eval counts them in a local task."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    with tempfile.TemporaryDirectory() as place:
        rows = Path(place, "sentences.jsonl")
        lines = (json.dumps({"sentence": text}) + "\n" for text in texts)
        rows.write_text("".join(lines), encoding="utf-8")
        Path(place, "sentences.yaml").write_text(TASK.format(file=rows), encoding="utf-8")
        found = lm_eval.simple_evaluate(
            model=HFLM(str(directory), device="cpu", batch_size=4, trust_remote_code=True),
            tasks=["sentences"],
            task_manager=TaskManager(include_path=place, include_defaults=False),
            bootstrap_iters=0,
            log_samples=True,
        )
    samples = sorted(found["samples"]["sentences"], key=lambda sample: sample["doc_id"])
    return [-float(sample["filtered_resps"][0][0]) for sample in samples]


def differences(directory: Path, texts: list[str]) -> dict[str, float]:
    """Return the largest error of each installed tool, in nats."""
    masked = is_masked(directory)
    auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    tokenizer = AutoTokenizer.from_pretrained(str(directory), trust_remote_code=True)
    model = auto.from_pretrained(str(directory), trust_remote_code=True).eval()
    count = masked_nats if masked else causal_nats
    expected = [count(model, tokenizer, text) for text in texts]
    found = {}
    if find_spec("minicons"):
        found["minicons"] = by_minicons(directory, texts, masked=masked)
    if find_spec("lm_eval") and not masked:
        found["lm-eval"] = by_lm_eval(directory, texts)
    return {
        tool: max(abs(a - b) for a, b in zip(nats, expected, strict=True))
        for tool, nats in found.items()
    }


def main(models: Path, texts_file: Path) -> int:
    """Print a line for each model; return the exit code."""
    texts = texts_file.read_text(encoding="utf-8").splitlines()
    wrong = 0
    for directory in sorted(path.parent for path in models.glob("*/config.json")):
        off = differences(directory, texts)
        wrong += sum(not nats <= TOLERANCE for nats in off.values())
        print(directory.name, *(f"{tool} {nats:.1e}" for tool, nats in off.items()), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: scores.py MODELS TEXTS")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
