"""Which model a run uses: from preset, folder or hub id to a value that builds it, the same each time."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.errors import BadRequest
from bench.hub import first_line, quiet, snapshot
from bench.presets import PRESETS, Preset

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["ModelSource", "local_folder", "max_positions", "resolve_model"]

_DECODERS = re.compile(r"llama|mistral|gpt2|qwen.*")
_DROPOUT = re.compile(r"dropout|pdrop")
_META = ("*.json", "*.txt", "*.model", "*.jinja")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model that can be built any number of times, here or, pickled, in another process."""

    name: str
    """Preset, hub id or the folder's own name."""
    preset: Preset | None
    hub_id: str | None
    folder: Path | None
    """Where its files are; None for a preset with random weights."""
    random_weights: bool
    config: PreTrainedConfig
    causal: bool
    """A decoder that predicts its next token; otherwise an encoder under a classification head."""
    seed: int
    """Of random weights, and of the head that pretrained weights do not have."""

    def build(self) -> torch.nn.Module:
        """A fresh module: fp32, on the CPU, in train mode, with the same weights at each call.

        BadRequest if the weights cannot be read or do not belong to this configuration.
        """
        auto, config = _auto_class(self.causal), copy.deepcopy(self.config)
        if self.random_weights:
            with _seeded(self.seed), quiet():
                return _named_loss(auto.from_config(config, dtype=torch.float32)).train()
        try:
            with _seeded(self.seed), quiet():
                module, info = auto.from_pretrained(
                    str(self.folder),
                    config=config,
                    dtype=torch.float32,
                    local_files_only=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
        except MemoryError:
            raise
        except Exception as error:
            # safetensors, pickle, zipfile and transformers each raise their own for a file that is no good.
            raise BadRequest(
                f"cannot load the weights in {self.folder} ({first_line(error)}); give another --model"
            ) from error
        self._refuse_missing(info["missing_keys"], module.base_model_prefix)
        return _named_loss(module).train()

    def outline(self) -> torch.nn.Module:
        """The same modules on the meta device: names and shapes in a moment, without memory, even at 7B."""
        with torch.device("meta"), quiet():
            module: torch.nn.Module = _auto_class(self.causal).from_config(copy.deepcopy(self.config))
        return module

    def _refuse_missing(self, missing: set[str], base: str) -> None:
        """transformers fills what a file lacks with random numbers; that is right for a new head alone."""
        body = {key for key in missing if self.causal or (key.startswith(f"{base}.") and "pooler" not in key)}
        if body:
            raise BadRequest(
                f"the weights in {self.folder} lack {len(body)} tensors of this model (such as {min(body)}); "
                f"give another --model, or add --random-weights for the shape alone"
            )

    def fingerprint(self) -> str:
        """16 hex digits of sha256 over the configuration, the seed and, if read, the files of the weights.

        Of each file its size and first and last MiB: a changed header, tensor count or final layer shows,
        and a 13 GB model need not be read whole.
        """
        config = self.config.to_dict()
        for key in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
            config.pop(key, None)
        digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
        digest.update(f"seed {self.seed}".encode())
        for path in [] if self.random_weights or self.folder is None else _weight_files(self.folder):
            size = path.stat().st_size
            with path.open("rb") as file:
                digest.update(f"{path.name} {size}".encode() + file.read(_MIB))
                file.seek(max(0, size - _MIB))
                digest.update(file.read(_MIB))
        return digest.hexdigest()[:16]


def resolve_model(model: str, *, random_weights: bool, labels: int, dropout: float, seed: int) -> ModelSource:
    """What `--model` names, with `labels` outputs (1: regression) and every dropout probability set.

    BadRequest if it cannot be had: no such folder or id, no hub, files missing or damaged, no such head.
    """
    preset = PRESETS.get(model)
    folder = None if preset else local_folder(model, "--model")
    hub_id = preset.hub_id if preset else None if folder else model
    if preset is None and hub_id is not None:
        preset = next((known for known in PRESETS.values() if known.hub_id == hub_id), None)
    if folder is None and not (random_weights and preset):
        folder = _from_hub(model, str(hub_id), weights=not random_weights)
    if folder is None:
        assert preset is not None
        config = preset.config()
    else:
        config = _read_config(folder, weights=not random_weights)
    causal = _is_causal(config)
    _set_dropout(config, dropout)
    if causal:
        config.use_cache = False  # for generation; in training it only keeps keys and values alive
    else:
        config.num_labels = labels
        config.problem_type = "regression" if labels == 1 else "single_label_classification"
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = 0  # what fills a padded batch; the attention mask hides it
    source = ModelSource(
        name=Path(model).resolve().name if folder is not None and hub_id is None else model,
        preset=preset,
        hub_id=hub_id,
        folder=folder,
        random_weights=random_weights,
        config=config,
        causal=causal,
        seed=seed,
    )
    _try_shape(source, model)
    return source


def local_folder(text: str, option: str) -> Path | None:
    """The folder that an option's text names, None for a hub id; BadRequest for a path that is no folder."""
    path = Path(text).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise BadRequest(f"{option} {text} is a file; give the folder it lies in")
    if text.startswith(("/", ".", "~")) or text.count("/") > 1 or "\\" in text:
        raise BadRequest(f"{option} {text}: there is no such folder")
    return None


def max_positions(config: PreTrainedConfig) -> int | None:
    """The most tokens that a model's position embeddings can hold; None where it names no number."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    # RoBERTa and its kin count positions from the padding id up: 514 hold 512.
    return positions - (config.pad_token_id + 1 if "roberta" in config.model_type else 0)


def _from_hub(model: str, hub_id: str, *, weights: bool) -> Path:
    asked = f"{model!r} (hub id {hub_id})" if model != hub_id else f"{model!r}"
    presets = f"or name a preset ({', '.join(PRESETS)}) with --random-weights"
    alone = "or add --random-weights for the shape alone" if model in PRESETS else presets
    choices = [(*_META, "*.safetensors"), (*_META, "pytorch_model*.bin")] if weights else [_META]

    def complete(folder: Path) -> bool:
        return (folder / "config.json").is_file() and (not weights or bool(_weight_files(folder)))

    return snapshot(
        hub_id,
        choices=choices,
        complete=complete,
        asked=asked,
        remedy=f"give --model FOLDER, {alone}",
    )


def _named_loss(module: Any) -> torch.nn.Module:
    """transformers reads the loss off the class's name. In GPT2LMHeadModel it finds none, and takes this one, with a
    warning in every process."""
    if getattr(module, "loss_type", "") is None:
        module.loss_type = "ForCausalLM"
    built: torch.nn.Module = module
    return built


def _read_config(folder: Path, *, weights: bool) -> PreTrainedConfig:
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise BadRequest(f"--model {folder} has no config.json; give the folder of a transformers model")
    try:
        with quiet():
            config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        # Bad JSON, an unknown model_type, a value of the wrong type: each another exception.
        raise BadRequest(f"cannot read {folder / 'config.json'} ({first_line(error)})") from error
    files = _weight_files(folder) if weights else []
    if weights and not files:
        raise BadRequest(
            f"--model {folder} has no weights ({' or '.join(_WEIGHTS)}, every shard of them); "
            f"add --random-weights for the shape alone"
        )
    for path in files:
        if path.suffix == ".safetensors":
            # Opening reads the header and compares it with the file's size: a cut download shows here.
            try:
                with safe_open(path, framework="pt"):
                    pass
            except (SafetensorError, OSError) as error:
                raise BadRequest(
                    f"{path} is damaged ({first_line(error)}); fetch it again, or add --random-weights"
                ) from error
    return config


def _weight_files(folder: Path) -> list[Path]:
    """The files a model's weights are in, all of them there; empty otherwise."""
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        try:
            shards = json.loads((folder / f"{name}.index.json").read_bytes())["weight_map"].values()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        files = [folder / shard for shard in sorted(set(shards))]
        if all(path.is_file() for path in files):
            return files
    return []


def _is_causal(config: PreTrainedConfig) -> bool:
    heads = config.architectures or []
    if any(head.endswith("ForSequenceClassification") for head in heads):
        return False
    return any(head.endswith("ForCausalLM") for head in heads) or bool(_DECODERS.fullmatch(config.model_type))


def _set_dropout(config: PreTrainedConfig, probability: float) -> None:
    for name, value in config.to_dict().items():
        # None stands for "as hidden_dropout" and the like; a bool is a switch, not a probability.
        if _DROPOUT.search(name) and (value is None or type(value) in (int, float)):
            setattr(config, name, probability)


def _try_shape(source: ModelSource, model: str) -> None:
    """Is there such a head, such a shape?"""
    try:
        source.outline()
    except Exception as error:
        kind = "causal language" if source.causal else "sequence classification"
        raise BadRequest(
            f"--model {model} makes no {kind} model ({first_line(error)}); give an encoder or a decoder"
        ) from error


def _auto_class(causal: bool) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    return AutoModelForCausalLM if causal else AutoModelForSequenceClassification


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The CPU generator at `seed` for the time of a block; every generator is afterwards as it was."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the accelerators, which are not restored here.
        torch.default_generator.manual_seed(seed)
        yield
