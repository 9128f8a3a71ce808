"""The model that answers: in its own words, with its adapter, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import BadRequest
from eval.mtbench.decoding import Decoder, Wish
from eval.mtbench.items import Question
from eval.mtbench.speaker import Speaker
from eval.mtbench.templates import ChatTemplate, FastChatTemplate
from sparsegrad import SparseGradError, calibrate, convert, save
from tests.eval.mtbench.llama_folder import save_chat_model

QUESTION = Question(question_id=81, category="writing", turns=("writing? ", "And then?"), references=())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chat model."""
    return save_chat_model(tmp_path_factory.mktemp("chat") / "tiny-chat")


@pytest.fixture(scope="module")
def speaker(folder: Path) -> Speaker:
    """The chat model, loaded."""
    return Speaker.load(str(folder))


class TestTemplates:
    """The tokenizer's own, or FastChat's by name; nothing in silence."""

    def test_the_first_prompt_is_shown_as_the_model_gets_it(self, speaker: Speaker, folder: Path) -> None:
        assert speaker.first_prompt(QUESTION) == "<s><|user|>\nwriting? </s>\n<|assistant|>\n"
        vicuna = Speaker.load(str(folder), conv_template="vicuna_v1.1")
        assert vicuna.first_prompt(QUESTION).endswith("USER: writing?  ASSISTANT:")

    @pytest.mark.parametrize("name", ["vicuna_v1.1", "llama-2", "alpaca", "mistral", "zero_shot", "one_shot"])
    def test_fastchats_are_fastchats(self, name: str) -> None:
        from fastchat.conversation import get_conv_template

        theirs = get_conv_template(name)
        for role, text in zip(theirs.roles * 2, ["q1", "a1", "q2", None], strict=True):
            theirs.append_message(role, text)
        ours = FastChatTemplate(name=name)
        assert ours.prompt(["q1", "q2"], ["a1"]) == theirs.get_prompt() == ours.prompt(["q1", "q2"], ["a1"])

    def test_a_stop_string_ends_the_answer(self, speaker: Speaker) -> None:
        wish = Wish(prompt="Go on.", temperature=0, seed=0, max_new_tokens=40)
        text = speaker.say([wish])[0].text
        stop = next(letter for letter in text[5:] if letter.isascii() and letter.isalnum() and letter not in text[:5])
        stopping = replace(ChatTemplate(tokenizer=speaker._tokenizer), stop_strings=("no such thing", stop))
        (said,) = Decoder(speaker._decoder._model, speaker._tokenizer, stopping).say([wish])
        assert (said.text, said.ending) == (text[: text.index(stop)].strip(), "stop")

    def test_no_template_is_one_line_with_close_names(self, tmp_path: Path) -> None:
        bare = save_chat_model(tmp_path / "vicuna-7b-v1.5", chat_template=None)
        with pytest.raises(BadRequest, match=r"no chat template.*--conv-template.*vicuna_v1\.1"):
            Speaker.load(str(bare))
        assert Speaker.load(str(bare), conv_template="vicuna_v1.1").config()["template"] == "vicuna_v1.1"

    def test_an_unknown_template_is_one_line_with_close_names(self, folder: Path) -> None:
        with pytest.raises(BadRequest, match=r"'vicuna' is not known; close: .*vicuna_v1\.1"):
            Speaker.load(str(folder), conv_template="vicuna")

    def test_a_template_that_takes_no_second_turn_is_found_before_the_first(self, tmp_path: Path) -> None:
        template = "{% if messages|length > 1 %}{{ raise_exception('one!') }}{% endif %}"
        raising = save_chat_model(tmp_path / "m", chat_template=template)
        with pytest.raises(BadRequest, match=r"two turns.*--conv-template"):
            Speaker.load(str(raising))


class TestAdapters:
    """This project's, and PEFT's."""

    @pytest.fixture
    def model(self, folder: Path) -> Any:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(folder)

    def trained(self, model: Any, **options: Any) -> Any:
        """Converted, and with every trainable weight moved."""
        ids = torch.arange(2, 34).reshape(2, 16)
        batches = [{"input_ids": ids + k, "labels": ids + k} for k in range(2)]
        basis: dict[str, Any] = {"basis": "per-block", "kept": 0.01} if options else {}
        bases = calibrate(model, batches, steps=2, **basis)
        convert(model, bases, **options)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        return model

    def logits(self, model: Any) -> torch.Tensor:
        with torch.no_grad():
            return model.eval()(input_ids=torch.arange(2, 18).reshape(1, 16)).logits

    @pytest.mark.parametrize("options", [{}, {"support": "fixed"}], ids=["dynamic", "compact"])
    def test_ours_speaks_as_the_trained_model(
        self, options: dict[str, Any], model: Any, folder: Path, tmp_path: Path
    ) -> None:
        trained = self.trained(model, **options)
        save(trained, tmp_path)
        speaker = Speaker.load(str(folder), adapter=tmp_path)
        torch.testing.assert_close(self.logits(speaker._decoder._model), self.logits(trained), rtol=1e-4, atol=1e-4)
        plain = Speaker.load(str(folder))
        assert not torch.allclose(self.logits(plain._decoder._model), self.logits(trained), atol=1e-2)
        assert speaker.name == f"tiny-chat+{tmp_path.name}" and speaker.config() != plain.config()

    def test_pefts_speaks_as_the_trained_model(self, model: Any, folder: Path, tmp_path: Path) -> None:
        import peft

        trained = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False))
        trained.save_pretrained(str(tmp_path))
        speaker = Speaker.load(str(folder), adapter=tmp_path)
        torch.testing.assert_close(self.logits(speaker._decoder._model), self.logits(trained))
        assert speaker.say([Wish(prompt="Go.", temperature=0.7, seed=0, max_new_tokens=4)])

    def test_a_peft_adapter_that_lacks_weights_is_refused(self, model: Any, folder: Path, tmp_path: Path) -> None:
        import peft
        from safetensors.torch import load_file, save_file

        config = peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False)
        peft.get_peft_model(model, config).save_pretrained(str(tmp_path))
        path = tmp_path / "adapter_model.safetensors"
        tensors = load_file(path)
        tensors.pop(min(tensors))
        save_file(tensors, path)
        with pytest.raises(BadRequest, match="lacks weights"):
            Speaker.load(str(folder), adapter=tmp_path)

    def test_a_folder_without_an_adapter_is_one_line(self, folder: Path, tmp_path: Path) -> None:
        for place in (tmp_path, tmp_path / "none"):
            with pytest.raises(BadRequest, match="--adapter"):
                Speaker.load(str(folder), adapter=place)

    @pytest.mark.parametrize(
        "name", ["adapter_config.json", "sparsegrad.safetensors", "sparsegrad_adapter.safetensors"]
    )
    def test_a_damaged_adapter_is_one_line(self, name: str, folder: Path, tmp_path: Path) -> None:
        (tmp_path / name).write_text("{")
        with pytest.raises((BadRequest, SparseGradError)) as caught:
            Speaker.load(str(folder), adapter=tmp_path)
        assert "\n" not in str(caught.value)


def test_an_encoder_writes_no_answers(minilm_folder: Path) -> None:
    with pytest.raises(BadRequest, match="encoder"):
        Speaker.load(str(minilm_folder))


def test_a_name_that_is_like_none_is_told_what_there_is(folder: Path) -> None:
    with pytest.raises(BadRequest, match=r"such as vicuna_v1\.1, ") as caught:
        Speaker.load(str(folder), conv_template="\u00e4\u00f6\u00fc")
    for name in str(caught.value).rsplit("such as ", 1)[1].split(", "):
        assert FastChatTemplate(name=name).prompt(["q"], [])
