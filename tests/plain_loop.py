"""Tiny networks with cells to score, and the plain loop that says what is right."""

import random

import torch
import transformers
from tiny_models import save_model

from promptopt.models._batch import Pair
from promptopt.models._network import Network

KINDS = ("llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3", "gpt2", "gpt_neox")
ANY = range(5, 200)


class Ids:
    """Stands for a tokenizer: the text is the ids."""

    def decode(self, ids, skip_special_tokens):
        return " ".join(map(str, ids))


def network(folder, kind, **options):
    save_model(folder / kind, kind)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / kind, dtype="float32", **options)
    return Network(model.eval(), Ids())


def cells(seed=1):
    """Return pairs of prompts of all lengths under shared beginnings, with options of several lengths."""
    draw = random.Random(seed)

    def text(size):
        return tuple(draw.choices(ANY, k=size))

    start, system = text(3), text(20)
    pairs = []
    for size, head in ((4, ()), (30, system), (80, ()), (60, system)):
        prompt = start + head + text(size)
        pairs.append(Pair(prompt, text(2)))
        for length in (5, 25, 50, 20):
            shown = prompt + text(length)
            pairs += [Pair(shown, text(k)) for k in (1, 1, 3, 0)]
    return pairs


def plain(net, pair):
    ids = torch.tensor([pair.prompt + pair.continuation], device=net.device)
    with torch.no_grad():
        logprobs = net.model(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
    begin = len(pair.prompt) - 1
    return sum(float(logprobs[begin + k, token]) for k, token in enumerate(pair.continuation))
