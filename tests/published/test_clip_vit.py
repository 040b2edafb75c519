"""CLIP's image tower: frames of a clip, the files that it is published in, sizes seen from them."""
import devices
import numpy as np
import pytest
from bf16 import bf16_or_refusal

import golden
import wvad_core as wv
from compare import OUTPUT, REDUCED, SPECIFICATION, assert_close, error
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents
from wvad_core.checkpoints.identification.recognition import identify
from wvad_core.extractors.clip_vit import Config

CASE = golden.load("clip_vit_small")
CONFIG = Config(**CASE.about["config"])
TEXT_LAYERS = 12


def extractor(backend: str, precision: str = "float32") -> wv.Extractor:
    config = CASE.about["config"]
    return wv.from_published("clip-vit", CASE.weights(), backend, devices.of(backend), precision, **config)


def clips(count: int, frames: int, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(frames).normal(size=(count, frames, 64, 64, 3)).astype(dtype)


@pytest.mark.parametrize("count, frames", [(1, 1), (3, 16), (2, 17), (1, 5)])
def test_a_clip_is_the_mean_of_its_frames(backend, count, frames):
    """Also where more frames come than pass the tower together."""
    dtype, tolerance = (np.float64, SPECIFICATION) if backend == "numpy" else (np.float32, OUTPUT)
    given, made = clips(count, frames, dtype), extractor(backend)
    apart = np.stack([made.features(given[:, i:i + 1]) for i in range(frames)])
    assert_close(made.features(given), apart.mean(0), tolerance)
    assert frames == 1 or error(apart[0], apart.mean(0)) > 0.1


def test_frames_of_another_size_are_refused():
    for frames, rows, columns in ((1, 64, 48), (16, 224, 224)):
        expected = "clip-vit takes at least 1 frames and height 64 and width 64"
        with pytest.raises(wv.InputError, match=f"{frames} frames of {rows} x {columns} .*, {expected}$"):
            extractor("numpy").features(np.zeros((1, frames, rows, columns, 3), np.uint8))


def test_sizes_that_do_not_fit_are_refused():
    for settings, message in (({"resolution": 100}, "a divisor of resolution = 100"),
                              ({"heads": 5}, "a divisor of width = 768")):
        with pytest.raises(wv.InputError, match=message):
            wv.create("clip-vit", **settings)


def text_tower() -> dict[str, np.ndarray]:
    """What CLIP's checkpoints hold beside the image tower, with small sizes."""
    width, rng = 8, np.random.default_rng(0)
    shapes = {"positional_embedding": (77, width), "text_projection": (width, 80), "logit_scale": (),
              "token_embedding.weight": (100, width), "ln_final.weight": (width,), "ln_final.bias": (width,)}
    block = {"attn.in_proj_weight": (3 * width, width), "attn.in_proj_bias": (3 * width,),
             "attn.out_proj.weight": (width, width), "attn.out_proj.bias": (width,), "ln_1.weight": (width,),
             "ln_1.bias": (width,), "mlp.c_fc.weight": (4 * width, width), "mlp.c_fc.bias": (4 * width,),
             "mlp.c_proj.weight": (width, 4 * width), "mlp.c_proj.bias": (width,),
             "ln_2.weight": (width,), "ln_2.bias": (width,)}
    shapes |= {f"transformer.resblocks.{k}.{name}": shape for k in range(TEXT_LAYERS) for name, shape in block.items()}
    found = {name: np.asarray(rng.normal(size=shape), np.float32) for name, shape in shapes.items()}
    return found | {name: np.array(7, np.int64) for name in ("input_resolution", "context_length", "vocab_size")}


def half(state: dict) -> dict[str, np.ndarray]:
    return {name: value.astype(np.float16) if value.dtype == np.float32 else value for name, value in state.items()}


FORMS = {"CLIP's": lambda state: text_tower() | state, "the image tower's": dict,
         "without prefix": lambda state: {name.removeprefix("visual."): value for name, value in state.items()},
         "in float16": lambda state: half(text_tower() | state)}


@pytest.mark.parametrize("form", FORMS)
def test_state_dicts(tmp_path, form):
    """All sizes are seen from the tensors; the text tower is dropped, name by name."""
    state = FORMS[form](CASE.weights())
    formats.by_suffix(tmp_path / "x.pt").write(tmp_path / "x.pt", Contents(state, {}))
    contents = formats.read(tmp_path / "x.pt")[1]
    loaded = wv.load(tmp_path / "x.pt")
    assert loaded.config == CONFIG and loaded.assumed.settings == {"scale": "clip"}
    others = {name for name in state if not name.startswith("visual.")} if form != "without prefix" else set()
    assert set(identify(contents, "x.pt").dropped) == others
    expected = half(CASE.weights()) if form == "in float16" else CASE.weights()
    found = loaded.weights()
    assert {name.removeprefix("visual.") for name in expected} == set(found)
    for name, value in expected.items():
        value, arrived = value.astype(np.float32), found[name.removeprefix("visual.")]
        assert arrived.dtype == np.float32 and np.array_equal(arrived, value)


@pytest.mark.needs("torch")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_the_torchscript_archive(tmp_path):
    """As OpenAI publishes it: the traced model with both towers in float16. It is read where PyTorch is not asked."""
    import torch

    class Clip(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = extractor("torch").network
            for name, value in text_tower().items():
                *path, last = name.split(".")
                owner = self
                for part in path:
                    if not hasattr(owner, part):
                        setattr(owner, part, torch.nn.Module())
                    owner = getattr(owner, part)
                value = torch.from_numpy(value.copy())
                owner.register_buffer(last, value)

        def forward(self, clips):
            return self.visual(clips) * self.logit_scale

    with torch.no_grad():
        traced = torch.jit.trace(Clip().eval(), torch.rand(1, 3, 1, 64, 64), check_trace=False)
    torch.jit.save(traced.half(), tmp_path / "ViT.pt")
    loaded = wv.load(tmp_path / "ViT.pt")
    assert (loaded.name, loaded.config) == ("clip-vit", CONFIG)
    found = loaded.weights()
    assert all(np.array_equal(found[name.removeprefix("visual.")], value.astype(np.float16).astype(np.float32))
               for name, value in CASE.weights().items())
    given = clips(1, 2)
    assert_close(loaded.features(given), extractor("numpy").features(given), 2e-3)


def test_published_names_are_those_of_clip():
    names = wv.published_names("clip-vit", **CASE.about["config"])
    assert set(names) == set(CASE.weights()) and all(name == f"visual.{ours}" for name, ours in names.items())


@pytest.mark.needs("torch")
def test_bf16():
    with bf16_or_refusal():
        reduced, exact = (extractor("torch", precision).features(clips(2, 16)) for precision in ("bf16", "float32"))
        assert 0 < error(reduced, exact) < REDUCED
