"""Tokenizer directories that all versions of transformers from 4.51 read with the same ids.

transformers writes settings that only its own version reads. The ids depend on `tokenizer.json`
alone; of the settings beside it, those are kept that all versions read alike.
"""

import json
import shutil
from pathlib import Path

from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from model_foundry.data.tokens.document_frame import DOCUMENT_FRAME
from model_foundry.tokenizer.loading import ROLES, SETTINGS, TOKENS_MAP, directory_of

# The generic class in 4.x and 5.x; any other would rebuild the tokenizer.
CLASS = "PreTrainedTokenizerFast"
PROVENANCE = ("tokenizer.model", "spiece.model")
OLD_LIST, NEW_LIST = "additional_special_tokens", "extra_special_tokens"
# Without add_bos_token and the like, for which some versions rebuild the frame of a text.
KEPT = (*(f"{role}_token" for role in ROLES), "chat_template", DOCUMENT_FRAME)
# Always written, because their defaults differ between versions.
ALWAYS = ("padding_side", "truncation_side", "model_input_names", "clean_up_tokenization_spaces")


def save_tokenizer(
    tokenizer: PreTrainedTokenizerFast,
    directory: Path,
    *,
    positions: int | None = None,
    source: str | Path | None = None,
) -> None:
    """Write a tokenizer into a directory.

    Args:
        positions: number of positions of its model, for `truncation=True`; None: no limit.
        source: path or name that the tokenizer was loaded from; provenance files are copied.
    """
    if source is not None:
        for path in (directory_of(source) / name for name in PROVENANCE):
            if path.exists():
                shutil.copyfile(path, directory / path.name)
    tokenizer.save_pretrained(directory)
    path = directory / SETTINGS
    written = json.loads(path.read_text(encoding="utf-8"))
    # a file of 4.x, which would be read in addition to the settings
    (directory / TOKENS_MAP).unlink(missing_ok=True)
    kept = {name: written[name] for name in KEPT if written.get(name) is not None}
    kept |= {name: getattr(tokenizer, name) for name in ALWAYS}
    others = written.get(OLD_LIST) or written.get(NEW_LIST) or []
    if isinstance(others, list) and others:
        kept[OLD_LIST] = others  # 5.x reads the old name too
    kept |= {"tokenizer_class": CLASS, "model_max_length": positions or VERY_LARGE_INTEGER}
    path.write_text(
        json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )
