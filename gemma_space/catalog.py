"""Which checkpoints exist on the Hub, as data: one row each.

Knows parameter counts, context lengths, licences, sampling defaults, stop ids and precision
advice. Does not know what is in memory, what fits, or who may use what.

Sources: parameter counts are exact counts of the published architectures instantiated without
weights; sampling defaults and stop ids are those of the official `generation_config.json` (from
Google's conversion scripts); precision advice: the model cards (Gemma 1 has a float16 branch),
Hugging Face's Gemma 2 announcement (27B-it is erratic in fp16) and the fp16 overflows reported
for Gemma 3 (transformers issue 36822).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gemma_space.types import Precision, Variant

DEMO_REPO_ID = "gemma-space/demo"  # the checkpoint this project trains and ships itself
DEMO_ADAPTER_ID = "gemma-space/demo-pirate"  # and its LoRA adapter
ALL_PRECISIONS = (
    Precision.FP32, Precision.BF16, Precision.FP16, Precision.INT8, Precision.INT4,
)  # fmt: skip
NO_FP16 = (Precision.FP32, Precision.BF16, Precision.INT8, Precision.INT4)
GEMMA_SAMPLING = {"temperature": 1.0, "top_k": 64, "top_p": 0.95}
GREEDY = {"temperature": 0.0}  # a generation_config without sampling keys decodes greedily


@dataclass(frozen=True, slots=True)
class KVGroup:
    """Layers whose KV cache has the same shape.

    Attributes:
        layers: how many; layers that share another layer's cache are not counted.
        kv_heads, head_dim: of one layer's keys, and of its values.
        window: tokens a sliding layer keeps at most; None for a layer that keeps all.
    """

    layers: int
    kv_heads: int
    head_dim: int
    window: int | None = None


@dataclass(frozen=True, slots=True)
class Linears:
    """The linear layers that bitsandbytes quantizes: all but the output layer.

    Attributes:
        parameters: their weights, counted together.
        rows: output features of all of them together; int8 keeps one fp32 scale for each.
        layers: how many; int4 keeps a little table for each.
    """

    parameters: int
    rows: int
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One row of the catalogue.

    Attributes:
        repo_id: Hub id, or the path of a local folder exactly as it was given.
        family: architecture generation: gemma1, gemma2, gemma3, gemma3n, gemma4 or codegemma.
        parameters: exact count, vision and audio towers included.
        linears: what int8 and int4 apply to; embeddings, per-layer embeddings and fused experts
            stay in 16 bits.
        left_out: parameters of the files that are never loaded (Gemma 3n's towers).
        context_length: tokens, prompt and reply together.
        license: `gemma` (Gemma Terms of Use), `apache-2.0`, or what the folder's card says.
        sampling: keys of the official generation_config; temperature 0 where it has none.
        stop_ids: token ids that end a reply.
        kv: the layout of the KV cache; empty where only the files can tell.
        precisions: those offered; fp16 only where the generation is known to survive it.
        fp16_revision: a branch whose files are in fp16 already; empty where there is none.
        path: the folder that holds the files, for local checkpoints.
        base: the checkpoint an adapter attaches to; its terms and its gate apply.
        quantization: set when the files are quantized already; no other precision is possible.
        note: one sentence a visitor should know.
        is_remote: another server runs it; there are no files of it here.
    """

    repo_id: str
    title: str
    family: str
    parameters: int
    linears: Linears
    left_out: int = 0
    context_length: int
    variant: Variant
    license: str
    gated: bool
    sampling: dict[str, float] = field(hash=False)
    stop_ids: tuple[int, ...]
    kv: tuple[KVGroup, ...] = ()
    precisions: tuple[Precision, ...]
    revision: str = "main"
    fp16_revision: str = ""
    path: Path | None = None
    base: "Checkpoint | None" = None
    quantization: Literal["int8", "int4"] | None = None
    note: str = ""
    is_remote: bool = False

    @property
    def is_local(self) -> bool:
        return self.path is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """A base and instruct pair of one size; numbers as in `Checkpoint`."""

    base: str
    instruct: str
    title: str
    parameters: int
    linears: Linears
    left_out: int = 0
    context_length: int
    kv: tuple[KVGroup, ...]
    fp16: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Generation:
    """What all sizes of one generation share; `stop_ids` are the instruct models'."""

    family: str
    license: str
    gated: bool
    sampling: dict[str, float]
    stop_ids: tuple[int, ...]
    fp16_revision: str = ""


def _rows(generation: _Generation, *sizes: _Size) -> tuple[Checkpoint, ...]:
    return tuple(
        _row(generation, size, repo, variant)
        for size in sizes
        for repo, variant in _variants(size)
        if repo
    )


def _variants(size: _Size) -> tuple[tuple[str, Variant], ...]:
    return (size.instruct, "instruct"), (size.base, "base")


def _row(generation: _Generation, size: _Size, repo: str, variant: Variant) -> Checkpoint:
    instruct = variant == "instruct"
    return Checkpoint(
        repo_id=f"google/{repo}",
        title=f"{size.title} {'Instruct' if instruct else 'Base'}",
        family=generation.family,
        parameters=size.parameters,
        linears=size.linears,
        left_out=size.left_out,
        context_length=size.context_length,
        variant=variant,
        license=generation.license,
        gated=generation.gated,
        sampling=generation.sampling,
        stop_ids=generation.stop_ids if instruct else (1,),
        kv=size.kv,
        precisions=ALL_PRECISIONS if size.fp16 else NO_FP16,
        fp16_revision=generation.fp16_revision,
        note=size.note,
    )


GEMMA_1 = _rows(
    _Generation(family="gemma1", license="gemma", gated=True, sampling=GREEDY,
                stop_ids=(1, 107), fp16_revision="float16"),
    _Size(base="gemma-2b", instruct="gemma-2b-it", title="Gemma 2B", parameters=2_506_172_416,
          linears=Linears(1_981_808_640, 709_632, 126), context_length=8192,
          kv=(KVGroup(18, 1, 256),), fp16=True),
    _Size(base="", instruct="gemma-1.1-2b-it", title="Gemma 1.1 2B", parameters=2_506_172_416,
          linears=Linears(1_981_808_640, 709_632, 126), context_length=8192,
          kv=(KVGroup(18, 1, 256),), fp16=True),
    _Size(base="gemma-7b", instruct="gemma-7b-it", title="Gemma 7B", parameters=8_537_680_896,
          linears=Linears(7_751_073_792, 1_892_352, 196), context_length=8192,
          kv=(KVGroup(28, 16, 256),), fp16=True),
    _Size(base="", instruct="gemma-1.1-7b-it", title="Gemma 1.1 7B", parameters=8_537_680_896,
          linears=Linears(7_751_073_792, 1_892_352, 196), context_length=8192,
          kv=(KVGroup(28, 16, 256),), fp16=True),
)  # fmt: skip
GEMMA_2 = _rows(
    _Generation(family="gemma2", license="gemma", gated=True, sampling=GREEDY,
                stop_ids=(1, 107)),
    _Size(base="gemma-2-2b", instruct="gemma-2-2b-it", title="Gemma 2 2B",
          parameters=2_614_341_888,
          linears=Linears(2_024_275_968, 705_536, 182), context_length=8192,
          kv=(KVGroup(13, 4, 256), KVGroup(13, 4, 256, 4096)), fp16=True),
    _Size(base="gemma-2-9b", instruct="gemma-2-9b-it", title="Gemma 2 9B",
          parameters=9_241_705_984,
          linears=Linears(8_323_596_288, 1_849_344, 294), context_length=8192,
          kv=(KVGroup(21, 8, 256), KVGroup(21, 8, 256, 4096)), fp16=True),
    _Size(base="gemma-2-27b", instruct="gemma-2-27b-it", title="Gemma 2 27B",
          parameters=27_227_128_320,
          linears=Linears(26_046_627_840, 4_192_256, 322), context_length=8192,
          kv=(KVGroup(23, 16, 128), KVGroup(23, 16, 128, 4096))),
)  # fmt: skip
GEMMA_3 = _rows(
    _Generation(family="gemma3", license="gemma", gated=True, sampling=GEMMA_SAMPLING,
                stop_ids=(1, 106)),
    _Size(base="gemma-3-270m", instruct="gemma-3-270m-it", title="Gemma 3 270M",
          parameters=268_098_176,
          linears=Linears(100_270_080, 124_416, 126), context_length=32_768,
          kv=(KVGroup(3, 1, 256), KVGroup(15, 1, 256, 512))),
    _Size(base="gemma-3-1b-pt", instruct="gemma-3-1b-it", title="Gemma 3 1B",
          parameters=999_885_952,
          linears=Linears(697_761_792, 459_264, 182), context_length=32_768,
          kv=(KVGroup(4, 1, 256), KVGroup(22, 1, 256, 512))),
    _Size(base="gemma-3-4b-pt", instruct="gemma-3-4b-it", title="Gemma 3 4B",
          parameters=4_300_079_472,
          linears=Linears(3_619_713_024, 1_281_392, 400), context_length=131_072,
          kv=(KVGroup(5, 4, 256), KVGroup(29, 4, 256, 1024))),
    _Size(base="gemma-3-12b-pt", instruct="gemma-3-12b-it", title="Gemma 3 12B",
          parameters=12_187_325_040,
          linears=Linears(11_169_460_224, 2_508_144, 498), context_length=131_072,
          kv=(KVGroup(8, 8, 256), KVGroup(40, 8, 256, 1024))),
    _Size(base="gemma-3-27b-pt", instruct="gemma-3-27b-it", title="Gemma 3 27B",
          parameters=27_432_406_640,
          linears=Linears(26_009_432_064, 4_112_752, 596), context_length=131_072,
          kv=(KVGroup(10, 16, 128), KVGroup(52, 16, 128, 1024))),
)  # fmt: skip
# Only the text half is loaded, so that no vision library is needed; its small AltUp layers stay
# in 16 bits.
GEMMA_3N = _rows(
    _Generation(family="gemma3n", license="gemma", gated=True, sampling=GEMMA_SAMPLING,
                stop_ids=(1, 106)),
    _Size(base="gemma-3n-E2B", instruct="gemma-3n-E2B-it", title="Gemma 3n E2B",
          parameters=5_439_595_456, left_out=1_004_412_768,
          linears=Linears(1_883_766_784, 848_768, 317), context_length=32_768,
          kv=(KVGroup(4, 2, 256), KVGroup(16, 2, 256, 512))),
    _Size(base="gemma-3n-E4B", instruct="gemma-3n-E4B-it", title="Gemma 3n E4B",
          parameters=7_850_135_376, left_out=1_014_899_808,
          linears=Linears(3_948_150_784, 1_558_208, 362), context_length=32_768,
          kv=(KVGroup(4, 2, 256), KVGroup(16, 2, 256, 512))),
)  # fmt: skip
GEMMA_4 = _rows(
    _Generation(family="gemma4", license="apache-2.0", gated=False, sampling=GEMMA_SAMPLING,
                stop_ids=(1, 106, 50)),
    _Size(base="gemma-4-E2B", instruct="gemma-4-E2B-it", title="Gemma 4 E2B",
          parameters=5_104_297_504,
          linears=Linears(2_336_555_008, 1_337_600, 525), context_length=131_072,
          kv=(KVGroup(3, 1, 512), KVGroup(12, 1, 256, 512))),
    _Size(base="gemma-4-E4B", instruct="gemma-4-E4B-it", title="Gemma 4 E4B",
          parameters=7_941_100_832,
          linears=Linears(4_434_886_656, 1_722_624, 592), context_length=131_072,
          kv=(KVGroup(4, 2, 512), KVGroup(20, 2, 256, 512))),
    _Size(base="gemma-4-12B", instruct="gemma-4-12B-it", title="Gemma 4 12B",
          parameters=11_959_730_176,
          linears=Linears(10_943_692_800, 2_252_032, 331), context_length=262_144,
          kv=(KVGroup(8, 1, 512), KVGroup(40, 8, 256, 1024))),
    _Size(base="gemma-4-26B-A4B", instruct="gemma-4-26B-A4B-it", title="Gemma 4 26B-A4B",
          parameters=25_805_933_872,
          linears=Linears(2_205_329_408, 942_304, 426), context_length=262_144,
          kv=(KVGroup(5, 2, 512), KVGroup(25, 8, 256, 1024)),
          note="bitsandbytes leaves the experts of this model in 16 bits, so int8 and int4 save "
               "hardly any memory."),
    _Size(base="gemma-4-31B", instruct="gemma-4-31B-it", title="Gemma 4 31B",
          parameters=31_273_086_512,
          linears=Linears(29_838_747_648, 4_623_584, 601), context_length=262_144,
          kv=(KVGroup(10, 4, 512), KVGroup(50, 16, 256, 1024))),
)  # fmt: skip

SPECIAL = (
    Checkpoint(
        repo_id="RichardErkhov/google_-_gemma-2b-it-8bits",
        title="Gemma 2B Instruct, 8-bit files", family="gemma1", parameters=2_506_172_416,
        linears=Linears(1_981_808_640, 709_632, 126), context_length=8192, variant="instruct",
        license="gemma", gated=False, sampling=GREEDY, stop_ids=(1, 107),
        kv=(KVGroup(18, 1, 256),), precisions=(Precision.INT8,), quantization="int8",
        note="These files are quantized already, so the precision is fixed; the Gemma terms "
             "apply although the copy is not gated.",
    ),
)  # fmt: skip


def hub_catalog() -> tuple[Checkpoint, ...]:
    """Every Hub checkpoint in display order: Gemma 3, then new before old; small before large."""
    return (*GEMMA_3, *GEMMA_4, *GEMMA_3N, *GEMMA_2, *GEMMA_1, *SPECIAL)
