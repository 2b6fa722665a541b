"""Where the weights go: one device, several GPUs, or GPUs and the CPU where that is allowed.

Knows accelerate's `device_map` and `max_memory` and what a spread-out model's users should be
told. Loads nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gemma_space.errors import ModelTooLargeError
from gemma_space.memory import Device

OFFLOAD_NOTE = (
    "Part of this model runs on the CPU, because the GPU has no room for it; replies are slow."
)


def arguments(
    device: Device,
    room_bytes: int,
    cpu_room_bytes: int = 0,
    *,
    needed_bytes: int | None = None,
    free_bytes: Sequence[int] = (),
) -> dict[str, Any]:
    """Keyword arguments of `from_pretrained` that place the weights.

    Args:
        device: what models run on here.
        room_bytes: what the GPUs may take together; shared out in proportion to their memory.
        cpu_room_bytes: what may go to the machine's memory beside GPUs; 0 where that is not
            allowed.
        needed_bytes: what the model takes; one that fits a single GPU is not spread out.
        free_bytes: of each GPU, right now; left out: all of it.
    """
    if device.kind != "cuda":
        return {"device_map": device.kind}
    shares = _shares(device, room_bytes, free_bytes or device.gpu_bytes)
    roomiest = max(shares, key=lambda gpu: shares[gpu])
    if needed_bytes is not None and needed_bytes <= shares[roomiest]:
        return {"device_map": {"": roomiest}}
    if len(shares) == 1 and not cpu_room_bytes:
        return {"device_map": {"": 0}}
    # Without an entry for the CPU, accelerate would spill over into the machine's memory.
    return {"device_map": "auto", "max_memory": {**shares, "cpu": cpu_room_bytes}}


def _shares(device: Device, room_bytes: int, free_bytes: Sequence[int]) -> dict[int | str, int]:
    """What each GPU may take; the part of it that the budget leaves free stays free."""
    total = sum(device.gpu_bytes)
    shares: dict[int | str, int] = {}
    for gpu, (own, free) in enumerate(zip(device.gpu_bytes, free_bytes, strict=True)):
        share = min(own, room_bytes * own // total)
        shares[gpu] = max(0, min(share, free - (own - share)))
    return shares


def notes(device_map: Mapping[str, Any] | None, title: str) -> tuple[str, ...]:
    """What users should know about where a loaded model is.

    Raises:
        ModelTooLargeError: part of it was left on the disk, where it cannot run usefully.
    """
    places: Sequence[str] = [str(place) for place in (device_map or {}).values()]
    if "disk" in places:
        raise ModelTooLargeError(
            f"{title} does not fit into the GPUs' memory.",
            "Choose a lower precision or a smaller model.",
        )
    gpus = {place for place in places if place.isdecimal() or place.startswith("cuda")}
    if gpus and "cpu" in places:
        return (OFFLOAD_NOTE,)
    return ()
