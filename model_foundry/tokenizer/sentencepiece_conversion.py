"""Conversion of a SentencePiece model to the tokenizers library, with the same ids.

The conversions of transformers 5 are not faithful: they treat leading and double spaces
differently, or read the string of a special token in a text as that token.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

ModelType = Literal["unigram", "bpe"]

SPACE = "\u2581"  # the space in pieces


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _read_field(message: bytes, number: int) -> bytes:
    """Return the bytes of field `number` of a protobuf message; empty if the field is absent.

    Supports the two wire types of SentencePiece's normalizer only: numbers (0) and bytes (2).
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        size, position = _varint(message, position)
        if key & 7 == 2:
            if key >> 3 == number:
                return message[position : position + size]
            position += size
    return b""


def _normalizer(model: bytes, *, trims_spaces: bool) -> normalizers.Normalizer:
    spec = sentencepiece.SentencePieceNormalizer(model_proto=model).serialized_normalizer_spec()
    charsmap = _read_field(spec, 2)
    steps: list[normalizers.Normalizer] = []
    if charsmap:
        # Precompiled looks up whole graphemes and drops all combining marks but the first of a
        # decomposed one (Vietnamese, Hangul). NFKC, of which the charsmap is a variant, composes
        # them first, as in the trainer's text.
        steps += [normalizers.NFKC(), normalizers.Precompiled(charsmap)]
    if trims_spaces:
        # \A and \z, because ^ and $ match at every line break
        steps += [
            normalizers.Replace(Regex(r"\A +| +\z"), ""),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Prepend(" "),
        ]
    return normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])


def _decoder(*, trims_spaces: bool) -> decoders.Decoder:
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if trims_spaces else steps)


def special_starts(special_tokens: Iterable[str]) -> str:
    """Return the pattern of the brackets that begin a special token or a byte piece in a text.

    A split after them prevents `<s>` or `<0x41>` in a text from being read as that piece. Nothing
    else changes: SentencePiece learns no piece that mixes letters with signs or digits.
    """
    # brackets, and the rest from the first letter, which each special token has
    pairs = [re.split("(?=[A-Za-z])", token, maxsplit=1) for token in special_tokens]
    specials = [f"{re.escape(start)}(?={re.escape(rest)})" for start, rest in pairs]
    return "|".join([*specials, "<0(?=x[0-9A-F]{2}>)"])


def _merges(vocab: Mapping[str, int], pieces: Iterable[str]) -> list[tuple[str, str]]:
    """Return all merges of two pieces into a third, ordered by the id of the result."""
    return [
        (piece[:cut], piece[cut:])
        for piece in sorted(pieces, key=vocab.__getitem__)
        for cut in range(1, len(piece))
        if piece[:cut] in vocab and piece[cut:] in vocab
    ]


def _model(model: bytes, *, model_type: ModelType, byte_fallback: bool) -> models.Model:
    library = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = range(library.vocab_size())
    pieces = [library.id_to_piece(index) for index in ids]
    if model_type == "unigram":
        scored = [(piece, library.get_score(index)) for index, piece in enumerate(pieces)]
        return models.Unigram(scored, unk_id=library.unk_id(), byte_fallback=byte_fallback)
    meta = (library.is_control, library.is_unknown, library.is_byte)
    learned = [pieces[index] for index in ids if not any(kind(index) for kind in meta)]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    return models.BPE(
        vocab,
        _merges(vocab, learned),
        unk_token=pieces[library.unk_id()],
        fuse_unk=True,
        byte_fallback=byte_fallback,
    )


def rebuild(
    model: bytes, *, model_type: ModelType, trims_spaces: bool, special_tokens: Mapping[str, str]
) -> Tokenizer:
    """Return a tokenizer with the ids of a serialized SentencePiece model."""
    library = sentencepiece.SentencePieceProcessor(model_proto=model)
    byte_fallback = library.is_byte(library.piece_to_id("<0x00>"))
    backend = Tokenizer(_model(model, model_type=model_type, byte_fallback=byte_fallback))
    backend.normalizer = _normalizer(model, trims_spaces=trims_spaces)
    starts = Regex(special_starts(special_tokens.values()))
    backend.pre_tokenizer = pre_tokenizers.Split(starts, "merged_with_previous")
    backend.decoder = _decoder(trims_spaces=trims_spaces)
    return backend
