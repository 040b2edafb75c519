"""The demo set and its bundled checkpoints."""
import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import wvad_core as wv
from wvad_core.cli.command import main
from wvad_core.data import Dataset, TrainingSet, demo, demo_scenes, load_table
from wvad_core.data.annotations import TABLES
from wvad_core.errors import Failure
from wvad_core.registry import specification

AUC = {"adplg": 0.94661, "ar-net": 0.96871, "bn-wvad": 0.97199, "clip-tsa": 0.96651, "deep-mil": 0.97923, "mgfn": 0.98000,
       "pel4vad": 0.96834, "rtfm": 0.96985, "s3r": 0.97463, "saa": 0.95235, "ssrl": 0.95176,
       "ur-dmu": 0.98909, "vadclip": 0.95616}
"""Of the bundled checkpoints, on NumPy."""
COMPANIONS = {("pel4vad", "prompts"), ("s3r", "dictionary")}
"""Of methods that train with some: what is bundled beside their checkpoints."""
SHA256 = {"Arson001": "c323d483c2205efd20ca47b81aa99674791e14bcf709bedbc871cf0ceb7d275c",
          "Arson011": "7075e73374762a8d1881892f8a7fbc3d2f40f1f6d0e438caa52ce22dc2d040c6",
          "Fighting013": "ab2d453bd52052e4b08c0c313969388d3fa97282cc2412b8599be843d0fda74b",
          "Normal048": "5bc9c0b7fa41d053f1f08f585e14f53614080e365772bc383a90e21346107e67"}
"""Of the crops' values one after another: the generator must make these bits on every machine."""
PATCHES_SHA256 = {"Arson001": "c29f36ffb741c8738699c19bbe781172e3e9f2fc846f0c4380d879e1ec53c3cb",
                  "Arson011": "6ce9e8f0def040f73124fab69947b347e3782866e9f641714368ea11552979db",
                  "Fighting013": "d27c0768ad6ac015296701bca0b9ad0cb88cb993b2d75834b15520b3141382d0",
                  "Normal048": "6e5d6e2afd2b5aa044a8ba494d2d9bd95a443385b95a2bbb21cb0fd66b302663"}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return demo.demo_features(tmp_path_factory.mktemp("demo") / "features")


@pytest.fixture(scope="module")
def folders(features, tmp_path_factory):
    """{layout: folder}."""
    made = tmp_path_factory.mktemp("layouts")
    return {layout: demo.demo_features(made / layout, layout) for layout in demo.LAYOUTS} | {"crops": features}


@pytest.fixture(scope="module")
def test_set(features):
    return Dataset.open("demo", features)


def snippets(video):
    return -(-video.frames // 16)


def test_the_table_follows_from_the_seed():
    assert (TABLES / "demo.csv").read_text(encoding="utf-8") == demo.demo_table()
    assert load_table("demo") == demo.demo_videos()


@pytest.mark.parametrize("split, each", [("train", 40), ("test", 12)])
def test_the_splits(split, each):
    videos = [video for video in load_table("demo") if video.split == split]
    assert [sum(video.abnormal is kind for video in videos) for kind in (True, False)] == [each, each]
    assert {name for video in videos for name in video.categories} == {*demo_scenes.CATEGORIES, "Normal"}
    assert all(bool(video.intervals) == (video.abnormal and split == "test") for video in videos)
    for kind in (True, False):
        assert min(snippets(video) for video in videos if video.abnormal is kind) == 1
    assert sum(snippets(video) > 2000 for video in videos) == (split == "test")


def test_the_published_layout(features):
    videos = load_table("demo")
    files = {f"{v.name}__{n}.npy" for v in videos for n in range(10)}
    assert {file.name for file in features.iterdir()} == files | {demo.MARK}
    assert sum(file.stat().st_size for file in features.iterdir()) < 30e6
    for video in videos:
        for crop in range(10):
            array = np.load(features / f"{video.name}__{crop}.npy", mmap_mode="r", allow_pickle=False)
            assert (array.shape, array.dtype) == ((snippets(video), 32), np.float32)


@pytest.mark.parametrize("layout, rows", [("single", 1), ("patches", 59)])
def test_the_other_layouts(features, tmp_path, layout, rows):
    folder = demo.demo_features(tmp_path / "features", layout)
    for split, count in (("train", 80), ("test", 24)):
        crops = {item.video.name: item.features.read() for item in Dataset.open("demo", features, split)}
        found = {item.video.name: item.features.read() for item in Dataset.open("demo", folder, split)}
        assert len(found) == count and found.keys() == crops.keys()
        for name, array in found.items():
            assert array.shape == (rows, *crops[name].shape[1:])
            expected = crops[name].mean(0, keepdims=True) if rows == 1 else crops[name]
            assert np.allclose(array[:10], expected, rtol=1e-3, atol=1e-3)
    with pytest.raises(wv.InputError, match="not the whole demo set in its layout 'crops'"):
        demo.demo_features(folder)


def test_patches_see_what_happens_near_them():
    """An event leaves its patch grid's far corner as it was, and shows in some patches more than in any crop."""
    video = next(v for v in demo.demo_videos() if v.name == "Fighting013")
    patches, crops = demo_scenes.patch_features(video), demo_scenes.crop_features(video)
    assert len(patches) == sum(rows * columns for rows, columns in demo_scenes.GRIDS) == 49
    assert np.isfinite(patches).all() and patches.min() == 0
    spread = patches.mean((1, 2)).std() / crops.mean((1, 2)).std()
    assert spread > 2


@pytest.mark.parametrize("name", SHA256)
def test_the_same_bits_on_every_machine(features, name):
    state = hashlib.sha256()
    for crop in range(10):
        state.update(np.load(features / f"{name}__{crop}.npy").tobytes())
    assert state.hexdigest() == SHA256[name]
    video = next(video for video in demo.demo_videos() if video.name == name)
    assert hashlib.sha256(demo_scenes.patch_features(video).tobytes()).hexdigest() == PATCHES_SHA256[name]


def test_features_look_pooled_and_their_magnitude_says_nothing(test_set):
    arrays = [item.features.read() for item in test_set]
    values = np.concatenate([array.ravel() for array in arrays])
    assert values.min() == 0 and 0.2 < (values == 0).mean() < 0.6
    magnitude = np.concatenate([array.mean((0, 2)) for array in arrays])
    assert 0.4 < wv.metrics.roc_auc(np.concatenate([item.abnormal_fraction for item in test_set]), magnitude) < 0.6


def test_both_splits_open(features, test_set):
    train = Dataset.open("demo", features, "train")
    assert (len(train), len(test_set)) == (80, 24)
    assert all(item.abnormal_fraction.any() == item.abnormal for item in test_set)
    training_set = TrainingSet(train, 10)
    assert training_set.features.shape == (80, 10, 10, 32) and training_set.labels.sum() == 40


def test_the_folder_is_used_again(features, monkeypatch):
    monkeypatch.setattr(np, "save", None)
    assert demo.demo_features(features) == features


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "given").mkdir()
    assert len(list(demo.demo_features(tmp_path / "given").iterdir())) == 1041


@pytest.mark.parametrize("raised, seen", [(KeyboardInterrupt(), KeyboardInterrupt), (RuntimeError(), RuntimeError),
                                          (OSError(28, "No space left on device"), Failure)])
def test_whole_or_not_at_all(tmp_path, monkeypatch, raised, seen):
    saved, save = [], np.save

    def failing(path, array):
        if len(saved) == 25:
            raise raised
        saved.append(path)
        save(path, array)

    monkeypatch.setattr(np, "save", failing)
    with pytest.raises(seen):
        demo.demo_features(tmp_path / "features")
    assert len(saved) == 25 and not list(tmp_path.iterdir())


def test_two_at_once(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(demo.demo_features, [tmp_path / "features"] * 2))
    assert found == [tmp_path / "features"] * 2 == list(tmp_path.iterdir()) * 2
    assert len(list(found[0].iterdir())) == 1041


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "Arson001__0.npy").write_bytes(b"mine")
    with pytest.raises(wv.InputError, match="not the whole demo set"):
        demo.demo_features(tmp_path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"mine"]


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "features"):
        with pytest.raises(wv.InputError, match="cannot be written"):
            demo.demo_features(folder)


def test_the_default_folder_belongs_to_the_generator(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = demo.demo_features()
    assert folder.parent == tmp_path / "wvad" and folder.name.startswith("demo-")
    monkeypatch.setattr(demo_scenes, "__file__", str(TABLES / "demo.csv"))  # any other text
    assert demo._cache("crops") != folder != demo._cache("single")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert demo._cache("crops").parent == tmp_path / "home" / ".cache" / "wvad"


@pytest.mark.parametrize("method", AUC)
def test_the_bundled_checkpoints(folders, method):
    path = demo.demo_checkpoint(method)
    assert path.stat().st_size < 2e6
    detector = wv.load(path, method=method)
    assert detector.config == specification(method).DEMO
    test_set = Dataset.open("demo", folders[detector.config.layout])
    auc = wv.evaluate(detector, test_set, replicates=1).metrics["auc"]
    assert 0.9 < auc < 1 and auc == pytest.approx(AUC[method], abs=1e-3)


def test_every_bundled_checkpoint_is_tested():
    folder = demo.demo_checkpoint("saa").parent
    assert set(AUC) == set(wv.list_methods())
    files = {f"{m.replace('-', '_')}.safetensors" for m in AUC}
    assert {file.name for file in folder.iterdir()} == files | {f"{m.replace('-', '_')}.{name}.npy" for m, name in COMPANIONS}


@pytest.mark.parametrize("method", AUC)
def test_the_bundled_companions(method):
    """Those that the method trains with, of this set's D; each is small."""
    found = demo.demo_companions(method)
    assert {(method, name) for name in found} == {pair for pair in COMPANIONS if pair[0] == method}
    assert set(found) == set(specification(method).COMPANIONS) and all(path.stat().st_size < 1e5 for path in found.values())


def test_the_bundled_dictionary_is_what_the_command_makes(folders, tmp_path):
    main(["dictionary", "--dataset", "demo", "--features", str(folders["crops"]), "--ratio", "0.5", "--output", str(tmp_path / "d.npy")])
    bundled = np.load(demo.demo_companions("s3r")["dictionary"])
    assert bundled.shape == (20, 32) and np.allclose(np.load(tmp_path / "d.npy"), bundled, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", AUC)
def test_a_fresh_network_is_near_half(folders, method):
    fresh = wv.create(method, seed=1, **specification(method).DEMO.as_dict())  # 0 is where training begins, in parity's tests
    test_set = Dataset.open("demo", folders[fresh.config.layout])
    assert 0.35 < wv.evaluate(fresh, test_set, replicates=1).metrics["auc"] < 0.65


def test_no_checkpoint(monkeypatch):
    with pytest.raises(wv.InputError, match="unknown method 'none'"):
        demo.demo_checkpoint("none")
    monkeypatch.setattr(demo, "module_name", lambda method: "another")
    with pytest.raises(wv.InputError, match="no checkpoint of another, expected one of .*bn-wvad, .*saa"):
        demo.demo_checkpoint("another")
