"""Small tokenizers of the kinds on the hub, by name."""

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = ["the quick brown fox jumps over lazy dogs.", "a dog  near the café runs\n and jumps"] * 20
LOADED = ("gpt2", "llama", "no bos in its template", "bert")


def _byte_level(specials: Sequence[str], **roles: str) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=1024, **roles)


def _template(tokenizer: PreTrainedTokenizerFast, single: str, pair: str) -> None:
    parts = {part.partition(":")[0] for part in f"{single} {pair}".split()}
    names = sorted(part for part in parts if not part.startswith("$"))
    ids = [(name, tokenizer.convert_tokens_to_ids(name)) for name in names]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=ids
    )


def loaded(name: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer as loaded; that of GPT-2 has one token for three roles, and no pad."""
    if name == "gpt2":
        end = "<|endoftext|>"
        return _byte_level(
            [end, "<mask>"], bos_token=end, eos_token=end, unk_token=end, mask_token="<mask>"
        )
    roles = {"bos": "<s>", "eos": "</s>", "mask": "<mask>"}
    if name == "bert":
        roles = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
    tokens = {f"{role}_token": token for role, token in roles.items()}
    tokenizer = _byte_level(list(roles.values()), **tokens)
    if name == "bert":
        _template(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
        tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    if name == "llama":
        _template(tokenizer, "<s> $A", "<s> $A <s> $B")
    return tokenizer
