"""Special tokens: strings by role, their rules, and the tokenizer object with them.

Two styles: BERT's frame ([CLS] ... [SEP]) for WordPiece and GPT's (<s> in front) for the rest.
`framing` adapts the frame to a model.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokenizers import AddedToken, Tokenizer, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from model_foundry.config.sections import SPECIAL_TOKEN_ROLES
from model_foundry.errors import ConfigError
from model_foundry.foundation.token_roles import first_token_id

# Without `token_type_ids`: recurrent models have none, and GPT-2 adds an embedding for each.
MODEL_INPUT_NAMES = ("input_ids", "attention_mask")
# Brackets around an ASCII letter. Every kind of tokenizer separates the two in ordinary text (but
# `word`, which replaces such words), so no vocabulary entry learned from a corpus can equal a
# special token.
_FORM = re.compile(r"(?=[!-9;-~]+\Z)[<\[({|].*[A-Za-z].*[>\])}|]")
OF_MODELS = ("pad", "bos", "eos", "cls", "sep", "mask")
_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class SpecialTokenStyle:
    """The special tokens and frames of one style of tokenizers.

    Attributes:
        defaults: role -> string, in the order of the ids.
        single: template of one text, as roles and `$A`.
        pair: template of two texts, all in segment 0, the only one of training.
    """

    defaults: Mapping[str, str]
    single: tuple[str, ...]
    pair: tuple[str, ...]


BERT_STYLE = SpecialTokenStyle(
    defaults={role: f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")},
    single=("cls", "$A", "sep"),
    pair=("cls", "$A", "sep", "cls", "$B", "sep"),
)
GPT_STYLE = SpecialTokenStyle(
    defaults={"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>", "mask": "<mask>"},
    single=("bos", "$A"),
    pair=("bos", "$A", "eos", "bos", "$B"),
)


def _checked(role: str, token: str | None) -> str:
    if role not in SPECIAL_TOKEN_ROLES:
        raise ConfigError(
            f"tokenizer.special_tokens: {role!r} is not a role; the roles are "
            f"{', '.join(SPECIAL_TOKEN_ROLES)}."
        )
    if token is None:
        raise ConfigError(
            f"tokenizer.special_tokens.{role}: must be text, got null; only mask can be null."
        )
    if not _FORM.fullmatch(token) or _BYTE_PIECE.fullmatch(token):
        raise ConfigError(
            f"tokenizer.special_tokens.{role}: {token!r} could occur as ordinary text; write an "
            "ASCII word in brackets without blanks or colons, such as '<name>' or '[NAME]'."
        )
    return token


def resolve_special_tokens(
    style: SpecialTokenStyle, overrides: Mapping[str, str | None] | None
) -> dict[str, str]:
    """Return role -> string, in the order of the ids: the defaults of the style with overrides.

    Roles may be written as in transformers, `pad_token` for `pad`. None removes the mask.

    Raises:
        ConfigError: an unknown role, a string that ordinary text could equal, or one string twice.
    """
    changed = {role.removesuffix("_token"): token for role, token in (overrides or {}).items()}
    given = {**style.defaults, **changed}
    if given.get("mask", "") is None:
        del given["mask"]
    resolved: dict[str, str] = {}
    owner: dict[str, str] = {}
    for role, value in given.items():
        resolved[role] = token = _checked(role, value)
        if token in owner:
            raise ConfigError(
                f"tokenizer.special_tokens: {token!r} is given to both {owner[token]} and {role}; "
                "each role needs its own string."
            )
        owner[token] = role
    return resolved


def wrap(
    backend: Tokenizer, style: SpecialTokenStyle, special_tokens: Mapping[str, str]
) -> PreTrainedTokenizerFast:
    """Return the transformers tokenizer over `backend`, whose model has the special tokens.

    Sets the frame, the roles and the names of the model inputs. Its class is the generic one; the
    class of an architecture would rebuild the tokenizer when it is loaded.
    """

    def fill(template: tuple[str, ...]) -> list[str]:
        return [f"{special_tokens.get(part, part)}:0" for part in template]

    ids = [(token, backend.token_to_id(token)) for token in special_tokens.values()]
    backend.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token, _ in ids]
    )
    backend.post_processor = processors.TemplateProcessing(
        single=fill(style.single), pair=fill(style.pair), special_tokens=ids
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        padding_side="right",
        model_input_names=list(MODEL_INPUT_NAMES),
        clean_up_tokenization_spaces=False,
        **{f"{role}_token": token for role, token in special_tokens.items()},
    )


def with_tokens(
    tokenizer: PreTrainedTokenizerBase, names: Sequence[str]
) -> PreTrainedTokenizerBase:
    """Return a tokenizer with further special tokens; those that it has keep their ids."""
    missing = [name for name in names if name not in tokenizer.get_vocab()]
    if not missing:
        return tokenizer
    larger = copy.deepcopy(tokenizer)
    tokens = [AddedToken(name, special=True, normalized=False) for name in missing]
    larger.add_tokens(tokens, special_tokens=True)
    return larger


def special_token_ids(tokenizer: PreTrainedTokenizerBase | None) -> dict[str, int | None]:
    """Return the special token ids that a model stores in its config.

    cls and sep stand in for bos and eos that a tokenizer lacks. A pad id that is also another
    special token is left out, since BERT would never train its embedding.
    """
    if tokenizer is None:
        return {}
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in OF_MODELS}
    for roles in (("bos", "cls"), ("eos", "sep")):
        ids[f"{roles[0]}_token_id"] = first_token_id(tokenizer, *roles)
    meant = {index for role, index in ids.items() if role != "pad_token_id"}
    if ids["pad_token_id"] in meant:
        ids["pad_token_id"] = None
    return ids
