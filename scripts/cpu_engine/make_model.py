"""A tiny random Llama with a locally trained tokenizer: real serving without a download.

    python scripts/cpu_engine/make_model.py [DIRECTORY]     prints the directory

1 layer, hidden size 64, vocabulary 1024, context 8192; random weights from a fixed seed, a
byte-level BPE trained on ``corpus.py`` and a chat template. What it says is noise; how it is
scheduled is real.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cpu_engine.corpus import sentences

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

REPOSITORY = Path(__file__).resolve().parents[2]
VOCABULARY = 1024
CONTEXT = 8192
# Their ids are their places in this list; </s> ends an answer.
SPECIAL_TOKENS = ["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
EOS_ID = SPECIAL_TOKENS.index("</s>")
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def default_directory() -> Path:
    """Under the git-ignored ``build/``; the name changes with the recipe, so no model is stale."""
    recipe = hashlib.sha256()
    for source in ("make_model.py", "corpus.py"):
        recipe.update(Path(__file__).with_name(source).read_bytes())
    return REPOSITORY / "build" / f"tiny-llama-{recipe.hexdigest()[:12]}"


def make_model(directory: str | Path | None = None) -> Path:
    """Write the model unless it is there already.

    Two processes may do this at once: each writes aside, and the first rename wins.

    Raises:
        FileExistsError: ``directory`` holds something else than a finished model.
    """
    target = Path(directory) if directory is not None else default_directory()
    if (target / "config.json").exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=target.name + ".", dir=target.parent))
    try:
        _write_tokenizer(aside)
        _write_weights(aside)
        aside.chmod(0o755)  # mkdtemp's 0o700 is for secrets
        os.rename(aside, target)
    except OSError as error:
        if not (target / "config.json").exists():
            raise FileExistsError(
                f"cannot put the model into {target} ({error}); remove it or name another directory"
            ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _write_tokenizer(directory: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(sentences(8000), trainer)
    if bpe.get_vocab_size() != VOCABULARY:
        raise RuntimeError(f"the corpus gives {bpe.get_vocab_size()} tokens, not {VOCABULARY}")
    fast: PreTrainedTokenizerFast = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=CONTEXT,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(directory)


def _write_weights(directory: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=CONTEXT,
        pad_token_id=SPECIAL_TOKENS.index("<pad>"),
        bos_token_id=SPECIAL_TOKENS.index("<s>"),
        eos_token_id=EOS_ID,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():  # the caller's random numbers stay as they are
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(directory)


if __name__ == "__main__":
    print(make_model(*sys.argv[1:2]))
