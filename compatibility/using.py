"""Use saved models with other tools, in a process without the foundry.

    python -I using.py EXPORTS RESULT [LIBRARIES ...]

HF Trainer, LoRA by peft, torch.export and ONNX, on each directory below EXPORTS. Writes a JSON
object to RESULT, as `opening.py` does. peft, onnx, onnxscript and onnxruntime are needed.
"""

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

sys.path[:0] = sys.argv[3:]
sys.modules["model_foundry"] = None  # whoever imports it fails
os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp()

import onnxruntime  # noqa: E402
import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

SENTENCES = [
    f"The {kind} {noun} {verb}."
    for kind in ("old", "small")
    for noun in ("dog", "bird", "farmer and the big cat", "cat")
    for verb in ("runs", "sees the garden near the house")
]
# Modules by their names, of each kind of model; LoRA finds no matrix inside of torch's own LSTM.
ADAPTED = {
    "gpt2": ["c_attn"],
    "bert": ["query", "value"],
    "foundry_rnn": ["embed", "lm_head"],
    "foundry_transformer": ["query_key_value"],
    "llama": ["q_proj", "v_proj"],
}
ADAPTED_TIED = ["embed"]
CLOSE = 1e-5
TOLD = "told"


class Used:
    """One exported directory."""

    def __init__(self, directory):
        self.expected = json.loads((directory / "expected.json").read_text(encoding="utf-8"))
        self.path = str(directory / "model")
        self.code = {"trust_remote_code": True} if self.expected["own_code"] else {}
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.path, **self.code)
        self.tokenizer.padding_side = "right"

    def load(self, auto=None, **kwargs):
        """Load the model as a class, by default that of its training."""
        auto = auto or (
            "AutoModelForMaskedLM" if self.expected["masked"] else "AutoModelForCausalLM"
        )
        load = getattr(transformers, auto).from_pretrained
        torch.manual_seed(0)  # of a new head
        return load(self.path, **self.code, **kwargs).eval()

    def without_dropout(self, auto=None, **kwargs):
        config = transformers.AutoConfig.from_pretrained(self.path, **self.code)
        if hasattr(config, "attention_dropout"):  # of a function, not of a module
            kwargs["attention_dropout"] = 0.0
        model = self.load(auto, **kwargs)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return model

    def after_one_step(self, rows, accumulation, batches, make, told):
        """Return the weights and the loss after one step of HF Trainer."""
        with tempfile.TemporaryDirectory() as directory:
            arguments = transformers.TrainingArguments(
                directory,
                max_steps=1,
                per_device_train_batch_size=rows,
                gradient_accumulation_steps=accumulation,
                optim="sgd",
                learning_rate=0.1,
                max_grad_norm=0.0,  # else gradients that are four times too large look the same
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                use_cpu=True,
                disable_tqdm=True,
            )
            model = make()
            trainer = transformers.Trainer(
                model, arguments, train_dataset=batches, data_collator=self.collate
            )
            if told:
                trainer.model_accepts_loss_kwargs = False
            trainer.train()
        loss = next(each["loss"] for each in trainer.state.log_history if "loss" in each)
        return dict(model.named_parameters()), loss

    def collate(self, features):
        """Pad ids and, where each token has one, labels."""
        given = [{k: v for k, v in each.items() if k != "labels"} for each in features]
        batch = self.tokenizer.pad(given, return_tensors="pt")
        labels = [each["labels"] for each in features]
        if isinstance(labels[0], list):
            width = batch["input_ids"].shape[1]
            labels = [each + [-100] * (width - len(each)) for each in labels]
        return {**batch, "labels": torch.tensor(labels)}

    def accumulate(self, examples, make):
        """Compare a step over 16 rows at once with one over 4 times 4.

        Some of transformers' own classes take the number of all targets and do not divide by it,
        and Trainer does not divide either, unless it knows that they do not.
        """
        try:
            self.compare_steps(examples, make, told=False)
        except AssertionError:
            if self.expected["own_code"]:
                raise
        else:
            return None
        try:
            self.compare_steps(examples, make, told=True)
        except AssertionError:  # a mean of means weighs batches alike, whatever they hold
            length = min(len(each["input_ids"]) for each in examples)
            even = [
                {k: v[:length] if isinstance(v, list) else v for k, v in each.items()}
                for each in examples
            ]
            self.compare_steps(even, make, told=True)
            return f"{TOLD}, batches of as many targets"
        return TOLD

    def compare_steps(self, examples, make, *, told):
        whole, loss = self.after_one_step(16, 1, examples, make, told)
        parts, other_loss = self.after_one_step(4, 4, examples, make, told)
        off = max((whole[name] - parts[name]).abs().max().item() for name in whole)
        losses = f"loss {loss:.4f} and {other_loss:.4f}"
        assert off <= CLOSE, f"weights after 16 x 1 and 4 x 4 rows differ by {off:.1e}, {losses}"
        assert abs(loss - other_loss) < 1e-3 * loss, losses

    def classification(self):
        """Fine-tune a classifier of texts by HF Trainer."""
        examples = [{**self.tokenizer(t), "labels": i % 2} for i, t in enumerate(SENTENCES)]
        auto = "AutoModelForSequenceClassification"
        config = transformers.AutoConfig.from_pretrained(self.path, **self.code)
        if self.expected["own_code"] and auto not in config.auto_map:
            return "-"
        return self.accumulate(examples, lambda: self.without_dropout(auto, num_labels=2))

    def language_modelling(self):
        """Train on by HF Trainer, as a language model."""
        encoded = [dict(self.tokenizer(text)) for text in SENTENCES]
        examples = [{**each, "labels": list(each["input_ids"])} for each in encoded]
        return self.accumulate(examples, self.without_dropout)

    def lora(self):
        """Train, save and load an adapter."""
        model = self.without_dropout()
        tied = getattr(model.config, "tie_word_embeddings", False)
        kind = model.config.model_type
        names = ADAPTED_TIED if tied and kind == "foundry_rnn" else ADAPTED[kind]
        adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=names, r=4))
        batch = self.tokenizer(SENTENCES, padding=True, return_tensors="pt")
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        optimizer = torch.optim.SGD((p for p in adapted.parameters() if p.requires_grad), lr=0.1)
        losses = []
        for _ in range(3):
            loss = adapted(**batch, labels=labels).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[-1] < losses[0], f"losses {losses}"
        with tempfile.TemporaryDirectory() as directory, torch.no_grad():
            adapted.save_pretrained(directory)
            again = peft.PeftModel.from_pretrained(self.load(), directory).eval()
            off = (again(**batch).logits - adapted.eval()(**batch).logits).abs().max().item()
        assert off <= CLOSE, f"logits of the adapter that was saved differ by {off:.1e}"
        return ", ".join(names)

    def exported(self):
        """Return the model, the inputs of its trace, and the free dimensions."""
        ids = torch.tensor([self.expected["ids"][0]] * 2)
        rows, length = torch.export.Dim("rows", min=1), torch.export.Dim("length", min=2, max=90)
        free = {0: rows, 1: length}
        model = self.load()
        model.config.use_cache = False
        return OnlyLogits(model), (ids, torch.ones_like(ids)), (free, free)

    def others(self):
        """Return a batch of another shape, padded, and the logits that it must have."""
        texts = [*self.expected["texts"], *SENTENCES[:2]]
        batch = self.tokenizer(texts, padding=True, return_tensors="pt")
        inputs = (batch["input_ids"], batch["attention_mask"])
        with torch.no_grad():
            return inputs, OnlyLogits(self.load())(*inputs)

    def compare(self, logits, wanted, mask):
        off = ((logits - wanted) * mask[..., None]).abs().max().item()
        scale = max(1.0, wanted.abs().max().item())
        assert off <= 10 * CLOSE * scale, f"logits of up to {scale:.1f} are off by {off:.1e}"

    def torch_export(self):
        """Trace by torch.export with a free number of rows and tokens."""
        model, inputs, free = self.exported()
        program = torch.export.export(model, inputs, dynamic_shapes=free)
        inputs, wanted = self.others()
        self.compare(program.module()(*inputs), wanted, inputs[1])

    def onnx(self):
        """Write an ONNX file with a free number of rows and tokens, and run it."""
        model, inputs, free = self.exported()
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "model.onnx"
            torch.onnx.export(model, inputs, file, dynamic_shapes=free, dynamo=True, verbose=False)
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        inputs, wanted = self.others()
        names = [each.name for each in session.get_inputs()]
        given = {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
        self.compare(torch.from_numpy(session.run(None, given)[0]), wanted, inputs[1])


class OnlyLogits(torch.nn.Module):
    """A model that takes and returns tensors, as ONNX does."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


TRIED = {
    "Trainer, classification": Used.classification,
    "Trainer, language": Used.language_modelling,
    "LoRA": Used.lora,
    "torch.export": Used.torch_export,
    "ONNX": Used.onnx,
}


def try_out(directory):
    """Return the result of each check of one directory."""
    used, found = Used(directory), {}
    for name, attempt in TRIED.items():
        try:
            found[name] = attempt(used) or "yes"
        except Exception as error:
            found[name] = f"no: {type(error).__name__}: {' '.join(str(error).split())}"[:300]
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    places = sorted(path.parent for path in Path(sys.argv[1]).glob("*/expected.json"))
    found = {"transformers": transformers.__version__}
    found["exports"] = {place.name: try_out(place) for place in places}
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")
