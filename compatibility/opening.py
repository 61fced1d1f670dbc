"""Open saved models in a process without the foundry: ids, logits, generation, ...

    python -I opening.py EXPORTS RESULT [LIBRARIES ...]

Writes a JSON object to RESULT: for each directory below EXPORTS and each check "yes", "-" where it
does not apply, or the error. LIBRARIES are directories that precede others. Written for
the oldest transformers that it runs with.
"""

import builtins
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path[:0] = sys.argv[3:]
sys.modules["model_foundry"] = None  # whoever imports it fails
os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp()

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

TOLERANCE = 1e-5  # of logits, and of the largest of them where that is above 1
FAR_TOO_LONG = "The old farmer sees the birds near the garden. " * 40


class Opened:
    """One exported directory, opened."""

    def __init__(self, directory):
        expected = json.loads((directory / "expected.json").read_text(encoding="utf-8"))
        self.path, self.expected = str(directory / "model"), expected
        self.logits_expected = load_file(directory / "logits.safetensors")
        self.code = {"trust_remote_code": True} if expected["own_code"] else {}

    def loads(self):
        """Load tokenizer and model."""
        auto = "AutoModelForMaskedLM" if self.expected["masked"] else "AutoModelForCausalLM"
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.path, **self.code)
        self.model = getattr(transformers, auto).from_pretrained(self.path, **self.code).eval()

    def ids(self):
        """Get the ids of texts, and texts from ids."""
        for text, ids, decoded in self.triples():
            found = self.tokenizer(text)["input_ids"]
            assert found == ids, f"ids of {text!r}: {found} for {ids}"
            back = self.tokenizer.decode(ids, skip_special_tokens=True)
            assert back == decoded, f"decoded to {back!r} for {decoded!r}"

    def triples(self):
        return zip(*(self.expected[key] for key in ("texts", "ids", "decoded")))  # noqa: B905

    def logits(self):
        """Get the logits of each text, alone and padded on the right in a batch."""
        self.tokenizer.padding_side = "right"
        texts = list(self.expected["texts"])
        with torch.no_grad():
            alone = [self.model(**self.tokenizer(t, return_tensors="pt")).logits[0] for t in texts]
            batch = self.tokenizer(texts, padding=True, return_tensors="pt")
            padded = self.model(**batch).logits
        for i, row in enumerate(alone):
            wanted = self.logits_expected[str(i)]
            for found in (row, padded[i, : len(row)]):
                off = (found - wanted).abs().max().item()
                scale = max(1.0, wanted.abs().max().item())
                assert off <= TOLERANCE * scale, f"logits of up to {scale:.1f} are off by {off:.1e}"

    def generation(self):
        """Continue prompts that are padded on the left."""
        if self.expected["masked"]:
            return "-"
        self.tokenizer.padding_side = "left"
        batch = self.tokenizer(list(self.expected["prompts"]), padding=True, return_tensors="pt")
        longest = max(map(len, self.expected["continued"]))
        made = self.model.generate(**batch, max_new_tokens=longest, do_sample=False)
        made = made[:, batch["input_ids"].shape[1] :].tolist()
        for row, wanted in zip(made, self.expected["continued"]):  # noqa: B905
            found = row[: len(wanted)]
            assert found == wanted, f"generated {found} for {wanted}"
        return None

    def unasked(self):
        """Load the tokenizer alone, which needs no code, without a word about code."""
        transformers.AutoTokenizer.from_pretrained(self.path)

    def limits(self):
        """Truncate a text that is too long, on request."""
        ids = self.tokenizer(FAR_TOO_LONG, truncation=True, return_tensors="pt")
        positions = self.expected["positions"]
        length = ids["input_ids"].shape[1]
        assert positions is None or length <= positions, f"{length} tokens for {positions}"
        self.model(**ids)

    def processor(self):
        """Let AutoProcessor find the tokenizer."""
        found = transformers.AutoProcessor.from_pretrained(self.path, **self.code)
        text = self.expected["texts"][0]
        assert found(text)["input_ids"] == self.expected["ids"][0]

    def pipeline(self, task):
        return transformers.pipeline(task, model=self.path, tokenizer=self.path, **self.code)

    def text_generation(self):
        """Continue a text by a pipeline, whose own limit is beyond the positions."""
        if self.expected["masked"]:
            return "-"
        (made,) = self.pipeline("text-generation")("The old", do_sample=False)
        assert isinstance(made["generated_text"], str)
        return None

    def fill_mask(self):
        """Fill the gap of a text by a pipeline."""
        if not self.expected["masked"]:
            return "-"
        made = self.pipeline("fill-mask")(f"The {self.tokenizer.mask_token} sees.")
        assert sum(each["score"] for each in made) > 0
        return None

    def feature_extraction(self):
        """Get vectors of the width in the configuration."""
        text = self.expected["texts"][0]
        found = torch.tensor(self.pipeline("feature-extraction")(text))[0]
        shape = (len(self.expected["ids"][0]), self.model.config.hidden_size)
        assert tuple(found.shape) == shape, f"shape {tuple(found.shape)} for {shape}"


TRIED = {
    "loads": Opened.loads,
    "ids": Opened.ids,
    "logits": Opened.logits,
    "generation": Opened.generation,
    "limits": Opened.limits,
    "AutoTokenizer asks nothing": Opened.unasked,
    "AutoProcessor": Opened.processor,
    "text-generation": Opened.text_generation,
    "fill-mask": Opened.fill_mask,
    "feature-extraction": Opened.feature_extraction,
}


class AskedError(BaseException):
    """The user would have been asked, as whether to run code; `except Exception` misses it."""


def refuse_to_answer(*question):
    """Fail where a user would be asked."""
    raise AskedError("a question on the terminal")


def try_out(directory):
    """Return the result of each check of one directory."""
    opened, found = Opened(directory), {}
    for name, attempt in TRIED.items():
        try:
            found[name] = attempt(opened) or "yes"
        except (Exception, AskedError) as error:
            found[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            if name == "loads":
                break
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    builtins.input = refuse_to_answer
    places = sorted(path.parent for path in Path(sys.argv[1]).glob("*/expected.json"))
    found = {"transformers": transformers.__version__}
    found["exports"] = {place.name: try_out(place) for place in places}
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")
