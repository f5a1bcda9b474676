"""What a family must do under one attention implementation to be called accepted. Each check says what it found.

Stock transformers, loaded a second time from the same files, is the measure: nothing of ullme touches that copy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ullme import AttentionPatcher, LoadedBackbone, UllmeError, probe_attention
from ullme.model.states import hidden_states
from ullme_plugins.commands._subject import CLOSE, Subject, distance, padded
from ullme_plugins.commands._training import checkpointing, gradients, lora

if TYPE_CHECKING:
    from torch import Tensor


def problems(subject: Subject, *, fast: bool) -> Iterator[str]:
    """Every check that fails, in words; the probe has been asked before."""
    checks: list[Callable[[Subject], str | None]] = [padding, like_stock]
    if not fast:
        checks += [threads, generation]
        if subject.trains:
            checks += [gradients, checkpointing, lora]  # the last one changes the model
    for check in checks:
        try:
            found = check(subject)
        except UllmeError as error:
            found = str(error)
        except Exception as error:  # a family whose code fails here is not accepted, whatever the reason
            found = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if found:
            yield f"{check.__name__.replace('_', ' ')}: {found}"


def refused_by_probe(loaded: LoadedBackbone, mode: AttentionPatcher) -> str | None:
    """Why `build_embedder` would refuse: neighbour reaction layer by layer and padding, as the probe finds them."""
    try:
        return probe_attention(loaded, mode).problem(mode, type(mode).__name__.lower())
    except UllmeError as error:
        return str(error).partition(": ")[2]


def padding(subject: Subject) -> str | None:
    """Texts of three lengths, each alone and padded on either side: the same states, in both modes."""
    import torch

    texts = [subject.tokens(length, seed) for seed, length in enumerate((9, 5, 3))]
    for mode in subject.modes:
        with torch.no_grad(), mode.active():
            alone = [hidden_states(subject.loaded, *padded(tokens))[0] for tokens in texts]
            for left in (False, True)[: 1 if subject.loaded.recurrent else 2]:
                together = hidden_states(subject.loaded, *padded(*texts, left=left))
                for row, own in zip(together, alone, strict=True):
                    moved = distance(row[-len(own) :] if left else row[: len(own)], own)
                    if moved > CLOSE:
                        return f"padding on the {'left' if left else 'right'} moves states by {moved:.1g}"
    return None


def like_stock(subject: Subject) -> str | None:
    """Causal mode: bit-equal to stock, alone and padded; head(body) gives the model's logits. Encoders: as stock."""
    import torch

    if subject.stock is None:
        return None
    compare = _encoder_like_stock if subject.causal is None else _decoder_like_stock
    batches = padded(subject.tokens(9, 0)), padded(subject.tokens(8, 8), subject.tokens(5, 5))
    with torch.no_grad():
        return next(filter(None, (compare(subject, ids, mask) for ids, mask in batches)), None)


def _encoder_like_stock(subject: Subject, ids: Tensor, mask: Tensor) -> str | None:
    real = mask.bool()
    with subject.ahead.active():
        states = hidden_states(subject.loaded, ids, mask)
    apart = distance(states[real], subject.stock(input_ids=ids, attention_mask=mask).last_hidden_state[real])
    return f"states differ from stock by {apart:.1g}" if apart > CLOSE else None


def _decoder_like_stock(subject: Subject, ids: Tensor, mask: Tensor) -> str | None:
    import torch

    assert subject.causal is not None
    loaded, real, given = subject.loaded, mask.bool(), {"input_ids": ids, "attention_mask": mask}
    stock = subject.stock(**given).logits[real]
    with subject.ahead.active():
        hidden_states(loaded, ids, mask)  # must leave nothing behind
    with subject.causal.active():
        same = loaded.model(**given).logits[real]
        states = hidden_states(loaded, ids, mask)
    if not torch.equal(same, stock):
        return f"causal logits are not those of stock, bit for bit: they differ by {distance(same, stock):.1g}"
    if loaded.head is None:
        return "no likelihoods: head and body do not give the model's own logits"
    mine = loaded.head(states)
    apart = distance((loaded.logits(mine) if loaded.logits else mine)[real], stock)
    return f"head(body) differs from the model's logits by {apart:.1g}" if apart > CLOSE else None


def threads(subject: Subject) -> str | None:
    """Both modes at once, two threads each: nobody is given another's attention."""
    import torch

    ids, mask = padded(subject.tokens(7, 5))
    modes = (subject.modes * 2)[:2]

    def states(mode: AttentionPatcher) -> Tensor:
        with torch.no_grad(), mode.active():
            return hidden_states(subject.loaded, ids, mask)

    expected = [states(mode) for mode in modes]
    wrong: list[str] = []

    def work(number: int) -> None:
        try:
            for _ in range(8):
                if not torch.equal(states(modes[number]), expected[number]):
                    wrong.append("a call was given the attention of another thread")
        except Exception as error:  # what a thread raises is lost otherwise
            wrong.append(f"{type(error).__name__}: {error}")

    running = [threading.Thread(target=work, args=(number,)) for number in (0, 1, 0, 1)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return wrong[0] if wrong else None


def generation(subject: Subject) -> str | None:
    """Tokens generated after embedding are those that stock generates."""
    import torch

    if subject.causal is None or subject.stock is None:
        return None
    ids, mask = padded(subject.tokens(6, 6))
    options = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    with torch.no_grad():
        with subject.ahead.active():
            hidden_states(subject.loaded, ids, mask)
        mine, theirs = (model.generate(**options) for model in (subject.loaded.model, subject.stock))  # type: ignore[operator]
    return None if torch.equal(mine, theirs) else "generated tokens differ from stock after an embedding call"
