"""Models and tasks that do not suit each other: one line, exit code 2, and nothing written."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.config.conftest import CORPUS, GOOD

LLAMA = "{model_type: llama, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2}"
MAMBA = "{model_type: mamba, hidden_size: 16, num_hidden_layers: 1}"
T5 = "model={architecture: t5, transformer: {layers: 1, hidden_size: 8, attention_heads: 2}}"
DENSE = "model={architecture: dense, dense: {hidden_sizes: [8]}}"
BACKBONE = "backbone: {layers: 1, hidden_size: 8, attention_heads: 2}"
ENCODER = f"model={{architecture: transformer_encoder, {BACKBONE}}}"


def of_hub(section: str) -> str:
    return f"model={{architecture: huggingface, huggingface: {section}}}"


BART = of_hub(
    "{model_type: bart, d_model: 16, encoder_layers: 1, decoder_layers: 1, "
    "encoder_attention_heads: 2, decoder_attention_heads: 2}"
)
MISTAKES = {
    "a type that is near another": (
        [of_hub(LLAMA.replace("llama", "lama"))],
        "model.huggingface.model_type: 'lama' is no model type of transformers; did you mean 'lla",
    ),
    "a type that is near none": (
        [of_hub("{model_type: zzzqqq}")],
        "'zzzqqq' is no model type of transformers; use llama, for instance",
    ),
    "a type without texts": (
        [of_hub("{model_type: vit}")],
        "'vit' has no language model; use llama, for instance",
    ),
    "a kernel that cannot run": (
        [of_hub(LLAMA), "training.attn_implementation=flash_attention_2"],
        "training.attn_implementation (=flash_attention_2) cannot run: it needs a CUDA device",
    ),
    "an encoder-decoder for a language model": (
        [of_hub("{model_type: t5}")],
        "needs a causal head, but t5 has seq2seq head; use another type, or seq2seq_lm",
    ),
    "a language model for pairs": (
        [of_hub(LLAMA), "training.objective=seq2seq_lm"],
        "training.objective (=seq2seq_lm) needs a seq2seq head, but llama has causal head; use",
    ),
    "a tokenizer of the targets": (
        [BART, "training.objective=seq2seq_lm", "training.seq2seq_lm.target_tokenizer={}"],
        "training.seq2seq_lm.target_tokenizer: 'huggingface' has one vocabulary for sources and",
    ),
    "a tokenizer of T5's targets": (
        [T5, "training.objective=seq2seq_lm", "training.seq2seq_lm.target_tokenizer={}"],
        "training.seq2seq_lm.target_tokenizer: 't5' has one vocabulary for sources and targets",
    ),
    "fewer positions than tokens": (
        [of_hub(LLAMA.replace("}", ", max_position_embeddings: 4}"))],
        "tokens need model.huggingface.max_position_embeddings to be ",
    ),
    "packed documents": (
        [of_hub(MAMBA), "data.packing=documents"],
        "data.packing (=documents) needs the law 'documents' (a packed document gives the same as",
    ),
    "a head that a type lacks": (
        [of_hub(LLAMA), "training.objective=masked_lm"],
        "training.objective (=masked_lm) needs a masked head, but llama has causal head",
    ),
    "pairs for a language model": (
        ["training.objective=seq2seq_lm"],
        "'seq2seq_lm' trains models of kind 'encoder_decoder', but 'gpt2' is of kind 'language'",
    ),
    "images for a language model": (
        ["training.objective=image_classification"],
        "'image_classification' trains models of kind 'image_classifier', but 'gpt2' is of kind ",
    ),
    "a text for pairs": (
        [T5],
        "'causal_lm' trains models of kind 'language', but 't5' is of kind 'encoder_decoder'; arc",
    ),
    "labels of texts for images": (
        [DENSE, "training.objective=sequence_classification"],
        "trains models of kind 'text_classifier', but 'dense' is of kind 'image_classifier'; arch",
    ),
    "a loss of labels": (
        ["training.losses={label_loss: 1.0}"],
        "training.losses: 'label_loss' needs a task with label_smoothing, unlike 'causal_lm'; use",
    ),
    "a metric of written texts": (
        ["training.metrics=[loss, bleu]"],
        "training.metrics: 'causal_lm' writes no texts; leave out 'bleu'",
    ),
    "a metric of several labels": (
        ["training.metrics=[loss, micro_f1]"],
        "training.metrics: 'micro_f1' needs real targets (N, C), 0 or 1 for each label, got int64",
    ),
    "an encoder that continues texts": (
        [ENCODER],
        "'causal_lm' does not suit architecture 'transformer_encoder'; use masked_lm",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_it_is_told_in_one_line_and_nothing_is_written(
    mistake: str, here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (here / "good.yaml").write_text(GOOD)
    (here / "corpus.txt").write_text(CORPUS)
    overrides, message = MISTAKES[mistake]
    for command in ("validate", "train"):
        code, _, err = cli(command, "good.yaml", *overrides)
        [line] = [line for line in err.splitlines() if line.startswith("error: ")]
        assert code == 2 and message in line, err
        assert err.endswith(f"{line}\n") and "Traceback" not in err
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    "mistake",
    [
        *("a type that is near another", "a head that a type lacks", "a language model for pairs"),
        *("a tokenizer of the targets", "a tokenizer of T5's targets"),
    ],
)
def test_a_wrong_type_is_told_before_the_data_are_read(mistake: str, here: Path, cli: Cli) -> None:
    (here / "good.yaml").write_text(GOOD)
    overrides, message = MISTAKES[mistake]
    for command in ("validate", "train"):
        code, _, err = cli(command, "good.yaml", *overrides, "data.train=gone.txt")
        assert code == 2 and message in err and "gone.txt" not in err
