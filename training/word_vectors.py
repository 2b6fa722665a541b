"""First token embeddings: which tokens speak of which topic.

A bag of tokens is classified into topics; the token vectors that come out are a better start for
the embedding table than noise, because the layers above then begin with words that mean something.
"""

import torch
from transformers import Gemma3ForCausalLM, GemmaTokenizer

from training.dialogues import Conversations

BATCH = 256


def warm_start(
    model: Gemma3ForCausalLM, tokenizer: GemmaTokenizer, conversations: Conversations, steps: int
) -> float:
    """Set the embeddings of the tokens that occur in questions; returns the last accuracy."""
    table = model.model.embed_tokens.weight
    vectors = torch.nn.EmbeddingBag(table.shape[0], table.shape[1], mode="mean")
    torch.nn.init.normal_(vectors.weight, std=0.3)
    names = {name: i for i, name in enumerate(conversations.corpus.topics)}
    classes = torch.nn.Linear(table.shape[1], len(names))
    optimizer = torch.optim.Adam([*vectors.parameters(), *classes.parameters()], lr=0.01)
    accuracy, seen = 0.0, torch.zeros(len(table), dtype=torch.bool)
    for step in range(steps):
        pairs = [conversations.question() for _ in range(BATCH)]
        bags = tokenizer([text for _, text in pairs], add_special_tokens=False)["input_ids"]
        offsets = torch.tensor([0, *map(len, bags)]).cumsum(0)[:-1]
        ids = torch.tensor([i for bag in bags for i in bag])
        wanted = torch.tensor([names[topic.id] for topic, _ in pairs])
        logits = classes(vectors(ids, offsets))
        loss = torch.nn.functional.cross_entropy(logits, wanted)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 - step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen[ids] = True
        accuracy += 0.02 * ((logits.argmax(1) == wanted).float().mean().item() - accuracy)
    with torch.no_grad():
        learned = vectors.weight - vectors.weight[seen].mean(0)
        scale = table.std() / learned[seen].std()
        table[seen] = learned[seen] * scale
    return accuracy
