"""The training loop: batches in, a trained model out.

Knows tensors and time. Knows nothing of what the tokens say.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from transformers import Gemma3ForCausalLM


@dataclass(frozen=True)
class Plan:
    """How long and how hard to train."""

    tokens: int
    peak_rate: float = 2.5e-3
    warmup: float = 0.03
    decay: float = 0.45
    stop: float = 1.0  # the share of the schedule after which this stage hands over
    weight_decay: float = 0.05

    def rate(self, done: float) -> float:
        """Learning rate after the share `done` of the run: warm up, hold, cosine to zero."""
        if done < self.warmup:
            return self.peak_rate * done / self.warmup
        if done < 1 - self.decay:
            return self.peak_rate
        return self.peak_rate * 0.5 * (1 + math.cos(math.pi * (done - 1 + self.decay) / self.decay))


@dataclass(frozen=True)
class Outcome:
    """What a run cost and where it ended."""

    tokens: int
    seconds: float
    loss: float
    device: str


ROUND = 256


def total(stages: list[Outcome]) -> Outcome:
    """Several stages as one run."""
    last = stages[-1]
    tokens, seconds = sum(s.tokens for s in stages), sum(s.seconds for s in stages)
    return Outcome(tokens, seconds, last.loss, last.device)


Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]
Optimizers = list[torch.optim.Optimizer]


def weighted_loss(
    model: Gemma3ForCausalLM, ids: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Cross entropy over the weighted positions only; the others never reach the output layer."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
    targets, shares = ids[:, 1:].flatten(), weights[:, 1:].flatten()
    wanted = shares.nonzero().squeeze(1)
    spare = -len(wanted) % ROUND  # few distinct shapes: CPU kernels are compiled per shape
    share = torch.nn.functional.pad(shares[wanted], (0, spare))
    wanted = torch.nn.functional.pad(wanted, (0, spare))
    logits = model.lm_head(hidden[wanted]).float()
    losses = torch.nn.functional.cross_entropy(logits, targets[wanted], reduction="none")
    return (losses * share).sum() / share.sum()


def _optimizers(model: Gemma3ForCausalLM, plan: Plan) -> Optimizers:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    inner = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    return [
        torch.optim.Muon(
            inner,
            lr=plan.peak_rate,
            weight_decay=plan.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(
            others, lr=plan.peak_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        ),
    ]


def fit(
    model: Gemma3ForCausalLM,
    batches: Batches,
    plan: Plan,
    on_pause: Callable[[], None] = lambda: None,
    make_optimizers: Callable[[Gemma3ForCausalLM, Plan], Optimizers] = _optimizers,
) -> Outcome:
    """Train until the plan's tokens are spent; `on_pause` is called now and then."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.nn.Module.to(model, device).train()
    optimizers = make_optimizers(model, plan)
    started, seen, mean, step = time.monotonic(), 0, 8.0, 0
    while seen < plan.tokens * plan.stop:
        ids, weights = (tensor.to(device) for tensor in next(batches))
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = max(1e-6, plan.rate(seen / plan.tokens))
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = weighted_loss(model, ids, weights)
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        seen, step = seen + ids.numel(), step + 1
        mean += 0.02 * (loss.item() - mean)
        if step % 100 == 0:
            speed = seen / (time.monotonic() - started)
            print(f"{seen / plan.tokens:6.1%}  loss {mean:.3f}  {speed:,.0f} tokens/s", flush=True)
            on_pause()
    torch.nn.Module.to(model, torch.device("cpu")).eval()
    return Outcome(seen, time.monotonic() - started, mean, device.type)
