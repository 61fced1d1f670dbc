"""Names of settings in other programs, and the settings here that correspond to them.

They are those of HuggingFace `TrainingArguments`, its GPT-2 and BERT configurations, nanoGPT and
others. A table only: `error_messages` reads it.
"""

from typing import Final

_NAMES: Final[dict[str, str]] = {
    "training.learning_rate": "lr max_lr peak_lr",
    "training.min_learning_rate": "min_lr",
    "training.optimizer": "optim opt optimizer_type optimizer_name",
    "training.optimizer: adam": "adam",
    "training.optimizer: adamw": "adamw",
    "training.metrics": "eval_metrics compute_metrics",
    "training.losses": "loss loss_fn criterion",
    "training.lr_scheduler_type": "scheduler lr_scheduler lr_schedule lr_decay decay_lr",
    "training.per_device_train_batch_size": (
        "batch batch_size train_batch_size micro_batch_size per_gpu_train_batch_size"
    ),
    "training.per_device_eval_batch_size": "eval_batch_size",
    "training.gradient_accumulation_steps": (
        "accumulation_steps accumulate_grad_batches grad_accum grad_accumulation_steps "
        "gradient_accumulation"
    ),
    "training.epochs": "epoch n_epochs num_epochs max_epochs num_train_epochs",
    "training.max_steps": (
        "steps iters max_iters lr_decay_iters n_steps num_steps train_steps num_train_steps "
        "total_steps"
    ),
    "training.min_epochs": "min_num_epochs",
    "training.warmup_steps": "warmup warmup_iters num_warmup_steps",
    "training.weight_decay": "wd l2",
    "training.adam_beta1": "beta1",
    "training.adam_beta2": "beta2",
    "training.adam_epsilon": "adam_eps",
    "training.adam_epsilon or model.backbone.norm.eps": "eps epsilon",
    "training.max_grad_norm": (
        "clip grad_clip clip_norm clip_grad_norm gradient_clip_val gradient_clipping"
    ),
    "training.max_grad_value": "clip_value clip_grad_value gradient_clip_value",
    "training.sgd.momentum or training.rmsprop.momentum or training.muon.momentum": "momentum",
    "training.sgd.nesterov or training.muon.nesterov": "nesterov",
    "training.mixed_precision: fp16": "fp16",
    "training.mixed_precision: bf16": "bf16",
    "training.mixed_precision: no": "fp32",
    "training.mixed_precision": "amp dtype torch_dtype precision",
    "training.speed.fp32_products: tf32": "tf32",
    "training.compile": "torch_compile",
    "training.gradient_checkpointing": "activation_checkpointing",
    "training.attn_implementation": "attention attn",
    "training.attn_implementation: flash_attention_2": (
        "flash_attn flash_attention use_flash_attention_2"
    ),
    "training.logging_steps": "log_interval log_every log_every_n_steps",
    "training.eval_steps": "eval_interval eval_every",
    "training.early_stopping_patience": "early_stopping",
    "training.early_stopping_patience or training.reduce_lr_on_plateau.patience": "patience",
    "training.early_stopping_threshold": "min_delta early_stopping_min_delta",
    "training.ema_decay": "ema use_ema ema_rate",
    "training.save_steps": "save_interval save_every checkpoint_every",
    "training.milestones.save_only_model": "save_only_model",
    "training.mlm_probability": "mlm_prob mask_prob",
    "training.dataloader_num_workers": "num_workers n_workers",
    "data.preprocessing_num_workers": "num_proc",
    "training.speed.threads": "n_threads num_threads",
    "training.distributed.strategy: fsdp2": "fsdp",
    "training.distributed.timeout_minutes": "ddp_timeout",
    "training.objective": "task",
    "training.objective: masked_lm": "mlm",
    "training.objective: causal_lm": "clm",
    "experiment_name": "name run_name exp_name",
    "tracking.trackers": "report_to logger log_with",
    "tracking.trackers: [wandb]": "wandb_log",
    "tracking.wandb.project": "wandb_project",
    "tracking.wandb.name": "wandb_run_name",
    "output_dir": "out_dir outdir save_dir logging_dir",
    "seed": "random_seed manual_seed seed",
    "seed: {data: ...}": "data_seed",
    "training": "trainer training_args training_arguments",
    "training or data.train": "train",
    "data": "dataset datasets",
    "data.train": "train_file train_data train_path corpus data_dir data_path",
    "data.train: {hub: ...}": "dataset_name",
    "data.validation": "validation_file valid_file eval_file eval_data val_data",
    "data.test": "test_file",
    "data.validation_fraction": (
        "val_split val_fraction val_size test_size validation_split validation_split_percentage"
    ),
    "data.max_sequence_length": (
        "block_size chunk_size context_length context_size seq_len seq_length sequence_length "
        "max_len max_length max_seq_len max_seq_length bptt"
    ),
    "data.document_overlap": "stride",
    "data.text_column": "text_field text_column_name",
    "tokenizer.path": "tokenizer_name tokenizer_path pretrained_tokenizer",
    "tokenizer.tokenizer_type": "tokenizer_class",
    "tokenizer.vocab_size": "vocabulary_size n_vocab",
    "tokenizer.lowercase": "do_lower_case",
    "tokenizer.min_frequency": "min_freq",
    "model.architecture": "arch model_type model_name",
    "model.init_from": "model_name_or_path pretrained from_pretrained _name_or_path",
    "model.transformer.layers or model.rnn.num_layers": (
        "n_layer n_layers nlayers num_layers layers num_hidden_layers depth"
    ),
    "model.transformer.attention_heads": "n_head n_heads heads nhead num_heads num_attention_heads",
    "model.transformer.hidden_size or model.rnn.embedding_size": "n_embd n_embed",
    "model.transformer.hidden_size or model.rnn.hidden_size": "d_model dim",
    "model.rnn.embedding_size or model.transformer.embedding_size": (
        "emsize emb_dim embed_dim embedding_dim input_size"
    ),
    "model.rnn.hidden_size or model.transformer.hidden_size": "nhid n_hidden hidden_dim",
    "model.transformer.intermediate_hidden_size": "n_inner d_ff ffn_dim intermediate_size",
    "model.transformer.activation_function": "hidden_act",
    "model.transformer.activation_function or model.backbone.feed_forward.activation or "
    "model.dense.activation": "activation",
    "model.transformer.max_position_embeddings": "n_positions n_ctx",
    "model.transformer.dropout": "resid_pdrop embd_pdrop hidden_dropout_prob",
    "model.transformer.dropout or model.rnn.dropout": "dropout_rate",
    "model.transformer.attention_dropout": "attn_pdrop attention_probs_dropout_prob attn_dropout",
    "model.rnn.tie_word_embeddings": "tie_weights tied",
    "model.backbone.initializer_range": "initializer_range init_std",
}
OURS: Final = {
    name: tuple(settings.split(" or "))
    for settings, names in _NAMES.items()
    for name in names.split()
}
"""The setting here for a foreign name, with its value if the name implies one; two if ambiguous."""

_REASONS: Final[dict[str, str]] = {
    "training.optimizer names one, and its settings stand in training.<name>": (
        "optim_args optim_target_modules"
    ),
    "the device is chosen: a GPU if there is one; CUDA_VISIBLE_DEVICES selects it": (
        "device devices gpu gpus n_gpu num_gpus cuda no_cuda use_cuda use_mps_device "
        "use_gpu accelerator device_map"
    ),
    "trackio keeps a local database, and `trackio sync` uploads it": (
        "trackio_space_id trackio_bucket_id trackio_static_space_id"
    ),
    "nothing is uploaded; the model is a directory in the run": (
        "push_to_hub hub_model_id hub_token hub_strategy hub_private_repo hub_always_push "
        "hub_revision"
    ),
    "it follows from training.eval_steps, save_steps and logging_steps": (
        "eval_strategy evaluation_strategy logging_strategy eval_delay "
        "eval_on_start logging_first_step always_save_checkpoint"
    ),
    "the same command resumes a run by itself; --fresh starts again": (
        "resume resume_from_checkpoint ignore_data_skip overwrite_output_dir "
        "enable_jit_checkpoint restore_callback_states_from_checkpoint"
    ),
    "the command decides: foundry train, validate, generate": (
        "do_train do_eval do_predict eval_only"
    ),
    "the loss is plain cross-entropy, and training.losses adds others": (
        "label_names neftune_noise_alpha problem_type"
    ),
    "training.dataloader_num_workers is the only setting of the data loader": (
        "dataloader_drop_last dataloader_in_order pin_memory dataloader_pin_memory "
        "dataloader_prefetch_factor dataloader_persistent_workers shuffle "
        "dataloader_multiprocessing_context train_sampling_strategy"
    ),
    "it is always done": (
        "full_determinism average_tokens_across_devices include_num_input_tokens_seen "
        "prediction_loss_only"
    ),
    "a non-finite loss ends the run": "logging_nan_inf_filter",
    "training.distributed and the launcher (torchrun) set up several processes": (
        "ddp_backend ddp_broadcast_buffers ddp_bucket_cap_mb ddp_find_unused_parameters "
        "ddp_static_graph backend deepspeed fsdp_config parallelism_config accelerator_config "
        "local_rank num_nodes"
    ),
    "ids follow from the tokenizer; tokenizer.special_tokens names the tokens": (
        "bos_token_id eos_token_id pad_token_id mask_token_id"
    ),
    "it is fixed, as in the published models": (
        "layer_norm_eps layer_norm_epsilon scale_attn_weights "
        "scale_attn_by_inverse_layer_idx reorder_and_upcast_attn chunk_size_feed_forward "
        "position_embedding_type add_cross_attention is_decoder is_encoder_decoder"
    ),
    "it is an argument when the model is called, not a setting of training": (
        "output_attentions output_hidden_states return_dict use_cache id2label label2id "
        "classifier_dropout summary_activation summary_first_dropout summary_type "
        "summary_proj_to_labels summary_use_proj"
    ),
    "the log is a line of standard error every training.logging_steps": (
        "disable_tqdm log_level_replica verbose log_on_each_node skip_memory_metrics"
    ),
    "validation reads all held-out text, with training.per_device_eval_batch_size rows": (
        "eval_accumulation_steps batch_eval_metrics eval_iters eval_do_concat_batches "
        "eval_use_gather_object include_for_metrics fp16_full_eval bf16_full_eval"
    ),
    "rows are cut from text; data.text_column names the column that holds it": (
        "remove_unused_columns length_column_name group_by_length"
    ),
    "gradient_checkpointing and a smaller per_device_train_batch_size save memory": (
        "auto_find_batch_size torch_empty_cache_steps"
    ),
    "see training.speed": "use_liger_kernel liger_kernel_config",
    "training.compile is the only setting": "torch_compile_backend torch_compile_mode",
    "training.gradient_checkpointing is the only setting": (
        "gradient_checkpointing_kwargs activation_checkpointing_kwargs"
    ),
    "training.lr_scheduler_type names one, and its settings stand in training.<name>": (
        "lr_scheduler_kwargs"
    ),
    "the warm-up is counted in steps: training.warmup_steps": "warmup_ratio",
    "one process writes the run for all": "save_on_each_node",
    "set model.rnn.bidirectional and training.objective: masked_lm": "bidirectional_lstm",
    "model.architecture names one": "architectures",
    "it follows from the environment": "transformers_version",
    "a run has none yet": "callbacks",
    "a file names those below it in 'extends', and the command line chooses groups: model=NAME": (
        "defaults _base_ inherit imports"
    ),
    "it stands at the top of a file, not in a section or on the command line": "extends",
    "names of registered things choose what is made: model.architecture, training.optimizer": (
        "_target_ _partial_ _recursive_ _convert_ _args_"
    ),
    "there is no Hydra here: output_dir names the run, and its config.yaml keeps the settings": (
        "hydra"
    ),
    "rows are filled with text, and padded only at its end": "padding",
    "long documents are cut into rows, and nothing is lost": "truncation",
}
ABSENT: Final = {name: reason for reason, names in _REASONS.items() for name in names.split()}
"""The reason why there is no such setting, as the end of a sentence."""

# fmt: off
VALUES: Final[dict[str, str]] = {
    "clm": "causal_lm", "mlm": "masked_lm", "causal": "causal_lm", "masked": "masked_lm",
    "char": "character", "chars": "character", "spm": "sentencepiece",
    "unigram": "sentencepiece", "byte_level_bpe": "bpe", "whitespace": "word",
    "bfloat16": "bf16", "float16": "fp16", "half": "fp16", "fp32": "no", "float32": "no",
    "none": "no", "flash": "flash_attention_2", "flash_attn": "flash_attention_2",
    "constant_with_warmup": "constant", "cosine_with_min_lr": "cosine",
    "cosine_annealing": "cosine", "cosine_warmup_with_min_lr": "cosine", "noam": "inverse_sqrt",
    "wsd": "warmup_stable_decay", "trapezoidal": "warmup_stable_decay",
    "plateau": "reduce_lr_on_plateau", "reducelronplateau": "reduce_lr_on_plateau",
    "adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_hf": "adamw",
    "acc": "accuracy", "ppl": "perplexity", "bpb": "bits_per_byte", "eval_loss": "loss",
    "swish": "silu", "gelu_fast": "gelu_pytorch_tanh", "fsdp": "fsdp2",
}
# fmt: on
"""Values of other programs and their names here; only an allowed one is proposed."""
