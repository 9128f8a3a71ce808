"""The words of ``python -m eval.chat``, and the typed question they make."""

from __future__ import annotations

import argparse

from bench.cli import Parser, add_run_words
from bench.errors import BadRequest
from bench.request import parse_kept, resolve_device
from eval.chat.presets import CHAT_PRESETS
from eval.chat.saving import SAVED_AS
from eval.chat.sources import HUB
from eval.chat.study import Study
from eval.chat.synthetic import LLAMA, SYNTHETIC
from eval.words import add_workers_word
from sparsegrad.methods import METHODS

__all__ = ["PROG", "parser", "study_of"]

PROG = "eval.chat"
_PRESETS_OWN = "the preset's, fp32 or bf16"


def _default_methods() -> list[str]:
    """The model as it is, and each mathematics once, in the last of the ways of computing it."""
    ways = {method.same_as or name: name for name, method in METHODS.items() if method.trains}
    return [*(name for name in METHODS if name in ways.values()), "frozen"]


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog=PROG,
        description=(
            "Fine-tune a causal model on conversations with each method, on the same linears, texts and seeds,\n"
            "through the Hugging Face Trainer, with the loss on the replies alone, and compare the loss on held-out\n"
            "conversations pair by pair. Each run is a record under --out; the same command goes on where it stopped.\n"
            f"Without words: {LLAMA}, a LLaMA of the project's own, on generated conversations."
        ),
        example="python -m eval.chat --model FOLDER --data chats.jsonl --methods full lora --save merged",
    )
    _add_text_words(made)
    _add_method_words(made)
    _add_protocol_words(made)
    add_run_words(made)
    add_workers_word(made)
    made.set_defaults(dtype=_PRESETS_OWN)  # which the help shows
    return made


def _add_text_words(made: Parser) -> None:
    group = made.add_argument_group("model and text")
    group.add_argument("--preset", choices=tuple(CHAT_PRESETS), default="quick", help="what is left open is quick's or "
                       "the paper's: llama-2-7b on oasst1, up and down projections of every third block, 100,000 kept, "
                       "lr 9e-4, 1 epoch, LoRA rank 32, bf16 (default: %(default)s)")  # fmt: skip
    group.add_argument("--model", metavar="M", help="preset, hub id or local folder of a causal model (default: the "
                       "preset's)")  # fmt: skip
    group.add_argument("--random-weights", action="store_true", help="the model's shape alone: no weights are read")
    group.add_argument("--tokenizer", metavar="DIR", help="folder (default: the model's own)")
    group.add_argument("--data", metavar="D", help=f"{HUB} (OpenAssistant, from the hub), {SYNTHETIC} (generated) or a "
                       "FILE.jsonl[.gz]: OpenAssistant's messages or trees, instruction/input/output, or messages "
                       "(default: the preset's)")  # fmt: skip
    group.add_argument("--lang", metavar="L", help="of OpenAssistant's messages, or all (default: en)")
    group.add_argument("--limit", type=int, metavar="N", help="conversation trees of each part at most (default: all)")
    group.add_argument("--conv-template", "--template", metavar="NAME", help="FastChat's template, such as "
                       "vicuna_v1.1 (default: the tokenizer's own)")  # fmt: skip


def _add_method_words(made: Parser) -> None:
    listed = "; ".join(f"{name}: {method.summary}" for name, method in METHODS.items())
    group = made.add_argument_group("methods")
    group.add_argument("--methods", nargs="+", default=_default_methods(), metavar="NAME", help=f"any of {listed} "
                       f"(default: {' '.join(_default_methods())})")  # fmt: skip
    group.add_argument("--reference", metavar="NAME", help="method that differences are taken to (default: full if it "
                       "is compared, else the first)")  # fmt: skip
    group.add_argument("--kept", metavar="K", help="entries of each layer's gradient kept a step: a count (22000) or a "
                       "share (0.01, 1%%) (default: the preset's, 0.01 or 100,000)")  # fmt: skip
    group.add_argument("--core", type=int, nargs=2, metavar=("R", "C"), help="rows and columns of the "
                       "rotated space that a fixed support lies in (default: the smallest square with a side divisible "
                       "by 32 that holds --kept)")  # fmt: skip
    group.add_argument("--fixed-basis", choices=("per-block", "shared"), default="per-block", help="bases of a fixed "
                       "support (default: %(default)s)")  # fmt: skip
    group.add_argument(
        "--lora-rank", type=int, metavar="R", help="of LoRA and its kin (default: the preset's, 7 or 32)"
    )
    group.add_argument("--targets", metavar="REGEX", help="names of the linears (default: the preset's or the model's)")
    group.add_argument("--every", type=int, metavar="N", help="block stride (default: the preset's or the model's)")
    group.add_argument("--calibration-steps", type=int, default=30, metavar="N", help="batches that bases are made "
                       "from (default: %(default)s, the paper's)")  # fmt: skip


def _add_protocol_words(made: Parser) -> None:
    quick, paper = (CHAT_PRESETS[name].protocol for name in ("quick", "paper"))
    group = made.add_argument_group("protocol")
    group.add_argument("--seeds", type=int, default=3, metavar="N", help="how many, from --seed up (default: "
                       "%(default)s)")  # fmt: skip
    group.add_argument("--lr", type=float, metavar="X", help="learning rate (default: the preset's, 1e-3 or 9e-4)")
    group.add_argument("--steps", type=int, metavar="N", help=f"updates (default: quick {quick.steps})")
    group.add_argument("--epochs", type=int, metavar="N", help=f"instead of --steps (default: paper {paper.epochs})")
    group.add_argument("--batch-size", type=int, metavar="N", help="conversations an update (default: the preset's, "
                       f"{quick.batch_size} or {paper.batch_size})")  # fmt: skip
    group.add_argument("--accumulate", type=int, metavar="N", help="backwards an update: the same batch in N parts, "
                       "for less memory (default: 1)")  # fmt: skip
    group.add_argument("--gradient-checkpointing", action="store_true", help="compute activations again in backward, "
                       "for less memory (default: keep them)")  # fmt: skip
    group.add_argument("--max-length", type=int, metavar="N", help="tokens; what is longer is cut (default: the "
                       f"preset's, {quick.max_length} or {paper.max_length})")  # fmt: skip
    group.add_argument("--save", choices=SAVED_AS, help="keep each trained model under OUT/models for eval.mtbench: "
                       "what its method adds to the base (full: merged all the same), or a whole model (default: keep "
                       "none)")  # fmt: skip


def study_of(args: argparse.Namespace) -> Study:
    """The typed question; BadRequest where a word does not fit."""
    preset = CHAT_PRESETS[args.preset]
    names = ("steps", "epochs", "batch_size", "accumulate", "max_length")
    if args.steps is not None and args.epochs is not None:
        raise BadRequest("--steps and --epochs exclude each other; give one")
    methods = tuple(dict.fromkeys(args.methods))
    study = Study(
        model=args.model or preset.model,
        random_weights=args.random_weights,
        tokenizer=args.tokenizer,
        conv_template=args.conv_template,
        data=args.data or preset.data,
        lang=args.lang,
        limit=args.limit,
        methods=methods,
        reference=args.reference or ("full" if "full" in methods else methods[0]),
        seeds=args.seeds,
        seed=args.seed,
        lr=preset.lr if args.lr is None else args.lr,
        kept=preset.kept if args.kept is None else parse_kept(args.kept),
        core=None if args.core is None else (args.core[0], args.core[1]),
        fixed_basis=args.fixed_basis,
        lora_rank=preset.lora_rank if args.lora_rank is None else args.lora_rank,
        targets=args.targets or preset.targets,
        every=preset.every if args.every is None else args.every,
        protocol=preset.protocol.with_words(**{name: getattr(args, name) for name in names}),
        gradient_checkpointing=args.gradient_checkpointing,
        calibration_steps=args.calibration_steps,
        save=args.save,
        models=args.out / "models",
        device=resolve_device(args.device),
        dtype=preset.dtype if args.dtype == _PRESETS_OWN else args.dtype,
    )
    if args.lora_rank is not None and not study.ranked:
        raise BadRequest(f"--lora-rank {args.lora_rank} is of LoRA and its kin: add lora to --methods")
    return study
