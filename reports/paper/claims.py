"""What the paper claims: one typed line each, with where it stands, how agreement is told, and what would test it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reports.paper.printed import Printed, certain, disagree, elsewhere
from reports.paper.published import MODELS, TASKS

__all__ = ["CLAIMS", "LLAMA_COMMAND", "SPARSITY_COMMAND", "SPEED_COMMAND", "PaperClaim", "glue_command"]


@dataclass(frozen=True, kw_only=True)
class PaperClaim:
    """One claim in our words."""

    id: str
    sentence: str
    where: str
    """Table, figure or section."""
    printed: Mapping[str, Printed]
    """The figures that it names, by what they are; empty for a claim of direction."""
    tolerance: str
    """When a measurement agrees with it, in words; the rule of that id is the same in code."""
    to_test: str
    """The command that would give it a verdict in the paper's own setting."""
    everywhere: int = 1
    """Settings of its own in which it must hold, each of them, before it is reproduced: models, or models and tasks."""


SPEED_COMMAND = (
    "python -m bench.speed --device cuda --model roberta-base --task cola --methods lora meprop sparsegrad-regular "
    "sparsegrad-sd"
)
_MEMORY = SPEED_COMMAND.replace("bench.speed", "bench.memory")
_TASKS = " ".join(TASKS)
SPARSITY_COMMAND = f"python -m eval.sparsity --model bert-base --task {_TASKS} --protocol paper"
_IN_EVERY_ROLE = "in every role of any pretrained encoder on a GLUE task"
_GRADIENTS = "python -m bench.gradients --model bert-base --task cola"
LLAMA_COMMAND = (
    "python -m eval.chat --preset paper --methods full lora meprop sparsegrad-planned --seeds 3 --save adapter; python "
    "-m eval.mtbench --questions mt-bench-inf on each model it saved, then once with --answers of all of them"
)


def glue_command(model: str) -> str:
    """What fine-tunes one of the paper's encoders on all eight tasks by its protocol."""
    return (
        f"python -m eval.glue --model {model} --task {_TASKS} --protocol paper --trainable all --methods full lora "
        "meprop sparsegrad-planned --seeds 3"
    )


_GLUE = "; ".join(map(glue_command, MODELS))


def _claim(
    id: str,
    where: str,
    sentence: str,
    tolerance: str,
    to_test: str,
    printed: Mapping[str, Printed] | None = None,
    everywhere: int = 1,
) -> PaperClaim:
    return PaperClaim(
        id=id,
        where=where,
        sentence=sentence,
        tolerance=tolerance,
        to_test=to_test,
        printed=MappingProxyType(dict(printed or {})),
        everywhere=everywhere,
    )


CLAIMS: Mapping[str, PaperClaim] = MappingProxyType(
    {
        claim.id: claim
        for claim in (
            _claim(
                "C1",
                "abstract, 3.3",
                "In the rotated basis about 1% of a layer's gradient entries stay significant.",
                f"the largest 1% of the entries hold nine tenths of the squared norm, {_IN_EVERY_ROLE}",
                _GRADIENTS,
                {"of the entries, %": certain(1)},
            ),
            _claim(
                "C2",
                "figure 2",
                "The rotated gradient is sparser than the original one.",
                f"the largest 1% hold a larger share of the squared norm than in the original space, {_IN_EVERY_ROLE}",
                _GRADIENTS,
            ),
            _claim(
                "C3",
                "3.3, figure 3",
                "Most rows of the gradient are wholly zero, through training.",
                "more than half of the rows of dL/dy are exactly zero, on any GLUE task padded to the maximum",
                f"{_GRADIENTS}, or python -m bench.speed --model bert-base --task cola",
            ),
            _claim(
                "C4",
                "3.1",
                "One pair of bases shared by all blocks suffices.",
                f"the shared bases hold at least nine tenths of what bases of each block's own hold, {_IN_EVERY_ROLE}",
                _GRADIENTS,
            ),
            _claim(
                "C5",
                "3.2",
                "Outputs and input gradients of the layer equal the original layer's.",
                "losses of the first step, before any update, are those of full fine-tuning within rounding; input "
                "gradients are held by the tests, in float64",
                SPEED_COMMAND,
            ),
            _claim(
                "C6",
                "4, table 3",
                "The sparse-by-dense product is almost five times as fast as the regular one.",
                "95% interval of the speed ratio within 4.5 and 5.1, what 4.3 steps/s over a rounded 0.9 can be",
                SPEED_COMMAND,
                {"speed ratio": certain(round(4.3 / 0.9, 2))},
            ),
            _claim(
                "C7",
                "4",
                "The sparse-by-dense product saves about 12% of the regular one's peak memory (the table: 16%).",
                "peak ratio within 0.02 of 0.84 to 0.88",
                _MEMORY,
                {"saved by the text, %": certain(12), "by the table, %": certain(16)},
            ),
            _claim(
                "C8",
                "4",
                "In speed LoRA comes first, then SparseGrad, then full fine-tuning.",
                "both ratios are above 1, by more than the A/A noise",
                SPEED_COMMAND,
            ),
            _claim(
                "C9",
                "4",
                "LoRA saves 30% of full fine-tuning's peak memory, SparseGrad 20% (the table: 24%).",
                "peak ratios within 0.02 of 0.70, and of 0.76 to 0.80",
                _MEMORY,
                {"LoRA saves, %": certain(30), "SparseGrad, %": certain(20), "by the table, %": certain(24)},
            ),
            _claim(
                "C10",
                "5.1, appendix C",
                "Quality declines when fewer than 22k entries a layer (1%) are kept (the appendix: under 0.8%).",
                "18k are worse than all entries, 22k and more are not, by paired tests with Holm's correction",
                SPARSITY_COMMAND,
                {"kept entries": elsewhere(22_000, 18_000)},
            ),
            _claim(
                "C11",
                "5.1",
                "SparseGrad beats LoRA on all encoder models at equal trainable parameters.",
                "better in the paired mean over GLUE's eight tasks on each of the three models",
                _GLUE,
                everywhere=len(MODELS),
            ),
            _claim(
                "C12",
                "5.1",
                "On BERT SparseGrad exceeds regular fine-tuning.",
                "better in the paired mean over GLUE's eight tasks",
                _GLUE,
            ),
            _claim(
                "C13",
                "5.1",
                "MeProp is weaker than SparseGrad everywhere but for RoBERTa-large on CoLA.",
                "worse in the paired difference on every model and task, that one left out",
                _GLUE,
                everywhere=len(MODELS) * len(TASKS) - 1,
            ),
            _claim(
                "C14",
                "5.1",
                "The original space's histogram is flatter, so that MeProp drops more that matters.",
                "(sum g^2)^2 / (N sum g^4), 1 where entries are equal, is larger in the original space, "
                f"{_IN_EVERY_ROLE}",
                _GRADIENTS,
            ),
            _claim(
                "C15",
                "table 6",
                "On LLaMA-2-7B SparseGrad has the best valid loss and MT-Bench Inf score.",
                "pretrained, on OpenAssistant: better than each of the others by paired tests over conversations and "
                "seeds, and over questions rated by GPT-4",
                LLAMA_COMMAND,
                {"valid loss": disagree(1.247, 1.222), "MT-Bench Inf": certain(5.132)},
            ),
            _claim(
                "C16",
                "5.2, appendix E",
                "The model tuned by LoRA overlooks nuances in its answers.",
                "of the same models: LoRA's answers are rated lower than SparseGrad's, paired over questions; the "
                "paper shows two answers",
                LLAMA_COMMAND,
            ),
            _claim(
                "C17",
                "abstract",
                "Memory requirements are identical to LoRA's and MeProp's.",
                "peak ratios to both within 0.05 of 1",
                _MEMORY,
            ),
            _claim(
                "C18",
                "8",
                "The preliminary phase costs 276 MB and 78 s (BERT), 5.2 GB and 668 s (LLaMA), on a CPU.",
                "on a CPU, all gradients stacked as written: seconds within a factor of two (another processor), bytes "
                "beside the model within a tenth",
                "python -m bench.gradients --model bert-base --random-weights --preliminary",
                {"BERT, s": certain(78), "BERT, MB": certain(276), "LLaMA, s": certain(668), "LLaMA, GB": certain(5.2)},
            ),
            _claim(
                "C19",
                "9",
                "Only 0.1% of the weights are updated (elsewhere 0.2%, 0.5% and 1%).",
                "the share that a step updates rounds to 0.1%",
                "python -m bench.memory --model roberta-base --random-weights --methods sparsegrad-sd",
                {"updated, %": elsewhere(0.1, 0.2, 0.5, 1.0)},
            ),
            _claim(
                "C20",
                "table 1",
                "MLP blocks hold about half of the parameters.",
                "between 45% and 55%, counted, in each of the four models",
                "python -m reports",
                {"of the parameters, %": certain(50)},
            ),
        )
    }
)
