"""The environment does not train: the same weights under hostile variables, or one line."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_foundry.config import save_config
from model_foundry.doctor.checks import examine
from model_foundry.errors import ConfigError
from model_foundry.experiment import check, train
from model_foundry.foundation.atomic_files import file_sha256
from model_foundry.foundation.environment_variables import (
    HARMLESS,
    check_launch,
    launched,
    without_variables,
)
from tests.children import train_in_child
from tests.experiments import MODELS, tiny_experiment

HOSTILE = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "8",
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_DYNAMO_BACKEND": "inductor",
    "ACCELERATE_DYNAMO_MODE": "max-autotune",
    "ACCELERATE_TORCH_DEVICE": "meta",
    "ACCELERATE_USE_CPU": "true",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_MEGATRON_LM": "true",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "true",
    "ACCELERATE_DOWNCAST_BF16": "true",
    "FSDP_VERSION": "2",
    "PARALLELISM_CONFIG_TP_SIZE": "2",
    "MEGATRON_LM_GRADIENT_CLIPPING": "0.1",
    "ATEN_CPU_CAPABILITY": "default",
    "DNNL_DEFAULT_FPMATH_MODE": "ANY",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "MKL_NUM_THREADS": "3",
    "OMP_DYNAMIC": "true",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "NVIDIA_TF32_OVERRIDE": "1",
    "TORCHINDUCTOR_MAX_AUTOTUNE": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "TRANSFORMERS_SDPA_FORCE_GQA": "1",
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "PMI_SIZE": "2",
}
ALLOWED = {
    "ACCELERATE_DEBUG_MODE": "false",
    "TORCHINDUCTOR_CACHE_DIR": "cache-of-inductor",
    "PYTHONHASHSEED": "7",
    "TOKENIZERS_PARALLELISM": "true",
    "RAYON_NUM_THREADS": "2",
    "CUDA_VISIBLE_DEVICES": "",
    "MASTER_ADDR": "nowhere.invalid",
}
# What `foundry train` does, for several files in one process.
COMMANDS = """
import sys
from model_foundry.cli import main
for file in sys.argv[1:]:
    sys.argv = ["foundry", "train", file]
    try:
        main()
    except SystemExit as ended:
        assert ended.code == 0, ended.code
"""


@pytest.mark.slow
def test_a_hostile_environment_changes_no_weight(tmp_path: Path, project: Path) -> None:
    files = []
    for kind in MODELS:
        assert train_in_child(kind, tmp_path / kind / "plain", "training.max_steps=3").code == 0
        config = tiny_experiment(kind, tmp_path / kind / "hostile", "training.max_steps=3")
        files.append(tmp_path / f"{kind}.yaml")
        files[-1].write_text(save_config(config))
    ended = subprocess.run(
        [sys.executable, "-c", COMMANDS, *map(str, files)],
        env=os.environ | {"PYTHONPATH": str(project)} | HOSTILE | ALLOWED,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if "environment: " in line]
    assert [name for name in HOSTILE if name not in line] == []
    assert [name for name in ALLOWED if name in line] == []
    weights = "run/model/model.safetensors"
    for kind in MODELS:
        plain, hostile = (tmp_path / kind / way / weights for way in ("plain", "hostile"))
        assert file_sha256(plain) == file_sha256(hostile), kind


@pytest.mark.slow
def test_from_python_what_is_read_late_is_taken_out_and_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = train(tiny_experiment("lstm", tmp_path / "plain", "training.max_steps=3"))
    late = {n: v for n, v in HOSTILE.items() if n.startswith(("ACCELERATE_", "FSDP_", "PMI_"))}
    for name, value in (late | {"LOCAL_RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    caplog.clear()
    config = tiny_experiment("lstm", tmp_path / "hostile", "training.max_steps=3")
    check(config)
    hostile = train(config)
    assert file_sha256(plain.model_dir / "model.safetensors") == file_sha256(
        hostile.model_dir / "model.safetensors"
    )
    assert all(os.environ[name] == value for name, value in late.items())
    lines = [line for line in caplog.messages if line.startswith("environment: ")]
    assert len(lines) == 2
    assert all(name in lines[1] for name in (*late, "LOCAL_RANK"))


@pytest.mark.parametrize(
    "name", ["ATEN_CPU_CAPABILITY", "DNNL_DEFAULT_FPMATH_MODE", "TORCHINDUCTOR_MAX_AUTOTUNE"]
)
def test_from_python_what_torch_has_read_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    config = tiny_experiment("lstm", tmp_path)
    for do in (train, check, lambda config: list(examine(config))):
        with pytest.raises(ConfigError, match=rf"^environment: {name} .*unset it before"):
            do(config)
    assert not config.output_dir.exists()


def test_what_only_shows_or_caches_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for pattern in HARMLESS:
        monkeypatch.setenv(pattern.replace("*", "X"), "1")
    before = dict(os.environ)
    with caplog.at_level(logging.INFO), without_variables():
        assert dict(os.environ) == before
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"RANK": "2"}, "RANK=2, WORLD_SIZE=2, .* contradict each other"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK=1, LOCAL_WORLD_SIZE=1 contradict each other"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a number >= 0, got 'two'"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR must be set where RANK is"),
    ],
)
def test_a_launch_that_cannot_be_is_refused(
    changed: dict[str, str], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    for name, value in {**whole, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", **changed}.items():
        monkeypatch.setenv(name, value)
    assert launched()
    with pytest.raises(ConfigError, match=f"{fault}; start with torchrun, or unset RANK"):
        check_launch()
    with pytest.raises(ConfigError, match=fault):
        train(tiny_experiment("lstm", tmp_path))
    assert not (tmp_path / "run").exists()
