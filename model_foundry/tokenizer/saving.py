"""Tokenizer directories that any version of transformers from 4.51 on reads with equal ids.

transformers writes what only its own version understands. Only `tokenizer.json` decides what text
becomes; of the settings beside it those are kept that every version reads alike.
"""

import json
import shutil
from pathlib import Path

from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from model_foundry.data.tokens.document_frame import DOCUMENT_FRAME
from model_foundry.tokenizer.loading import ROLES, SETTINGS, TOKENS_MAP, directory_of

# The name under which 4.x and 5.x know the generic class; any other would rebuild the tokenizer.
CLASS = "PreTrainedTokenizerFast"
PROVENANCE = ("tokenizer.model", "spiece.model")
OLD_LIST, NEW_LIST = "additional_special_tokens", "extra_special_tokens"
# Not among them: add_bos_token and its like, for which some versions rebuild the frame of a text.
READ_ALIKE = (*(f"{role}_token" for role in ROLES), "chat_template", DOCUMENT_FRAME)
# Said though they may be the defaults of this version, since those of others differ.
SAID = ("padding_side", "truncation_side", "model_input_names", "clean_up_tokenization_spaces")


def save_tokenizer(
    tokenizer: PreTrainedTokenizerFast,
    directory: Path,
    *,
    positions: int | None = None,
    source: str | Path | None = None,
) -> None:
    """Write a tokenizer into a directory.

    Args:
        positions: of the model that it goes with, beyond which `truncation=True` cuts a text; None:
            the model has no limit.
        source: what the tokenizer was loaded from; the files are copied that tell how it was made.
    """
    if source is not None:
        for path in (directory_of(source) / name for name in PROVENANCE):
            if path.exists():
                shutil.copyfile(path, directory / path.name)
    tokenizer.save_pretrained(directory)
    path = directory / SETTINGS
    written = json.loads(path.read_text(encoding="utf-8"))
    # a file of 4.x, which would be read beside the settings
    (directory / TOKENS_MAP).unlink(missing_ok=True)
    kept = {name: written[name] for name in READ_ALIKE if written.get(name) is not None}
    kept |= {name: getattr(tokenizer, name) for name in SAID}
    others = written.get(OLD_LIST) or written.get(NEW_LIST) or []
    if isinstance(others, list) and others:
        kept[OLD_LIST] = others  # 5.x reads the old name too
    kept |= {"tokenizer_class": CLASS, "model_max_length": positions or VERY_LARGE_INTEGER}
    path.write_text(
        json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )
