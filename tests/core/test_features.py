"""Feature folders in every published layout, and every way in which they can be wrong."""
import os
import pickle

import numpy as np
import pytest

from wvad_core.data import npy, read_features
from wvad_core.data.annotations import Video
from wvad_core.data.features import open_features
from wvad_core.data.video_features import VideoFeatures, check_finite
from wvad_core.errors import InputError

DIM = 6


def video(name, frames=None):
    return Video(name, "test", "", frames, ())


def content(names, crops=10, lengths=(7, 10, 3)):
    """{name: (N, T, D) float32}, the same for the same names."""
    rng = np.random.default_rng(0)
    return {name: rng.random((crops, lengths[i % len(lengths)], DIM), np.float32) for i, name in enumerate(names)}


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def save_crops(folder, arrays, pattern="{name}__{crop}.npy"):
    for name, values in arrays.items():
        for crop, one in enumerate(values):
            save(folder / pattern.format(name=name, crop=crop), one)


def whole(axes, pattern="{name}.npy", order="C"):
    def write(folder, arrays):
        for name, values in arrays.items():
            save(folder / pattern.format(name=name), np.asarray(values.transpose(axes), order=order))
    return write


def by_crop(pattern):
    return lambda folder, arrays: save_crops(folder, arrays, pattern)


NAMES = ("Abuse028", "01_0015", "Film.2008__#0-27-17_label_A")
LAYOUTS = {
    "crop files": by_crop("{name}__{crop}.npy"),
    "crop files, x264": by_crop("{name}_x264__{crop}.npy"),
    "crop files, one underscore": by_crop("{name}_{crop}.npy"),
    "crop files, subfolders": by_crop("crop{crop}/{name}_x264_i3d_{crop}.npy"),
    "(T, N, D)": whole((1, 0, 2)),
    "(T, N, D), RTFM's names": whole((1, 0, 2), "{name}_x264_i3d.npy"),
    "(T, N, D), i3d": whole((1, 0, 2), "{name}_i3d.npy"),
    "(T, N, D), Fortran order": whole((1, 0, 2), order="F"),
    "(N, T, D)": whole((0, 1, 2), "{name}_x264.npy"),
    "(N, T, D), Fortran order": whole((0, 1, 2), order="F"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_arrays(tmp_path, layout):
    """The second video has T = 10 = N: the folder's other videos decide which axis is which."""
    arrays = content(NAMES)
    LAYOUTS[layout](tmp_path, arrays)
    opened = open_features(tmp_path, [video(name) for name in NAMES], feature_dim=DIM)
    assert list(opened) == list(NAMES)
    for name, features in opened.items():
        values = features.read()
        assert features.shape == values.shape == arrays[name].shape
        assert values.dtype == np.float32 and values.flags.c_contiguous
        assert np.array_equal(values, arrays[name])
    check_finite(opened)


@pytest.mark.parametrize("crops", [5, 1])
def test_crop_files_of_other_numbers(tmp_path, crops):
    arrays = content(NAMES, crops)
    save_crops(tmp_path, arrays)
    for name, features in open_features(tmp_path, [video(name) for name in NAMES]).items():
        assert np.array_equal(features.read(), arrays[name])


def test_one_crop_in_one_file(tmp_path):
    arrays = content(NAMES, crops=1)
    for name, values in arrays.items():
        save(tmp_path / f"{name}.npy", values[0])
    for name, features in open_features(tmp_path, [video(name) for name in NAMES]).items():
        assert np.array_equal(features.read(), arrays[name])


def test_two_axes_of_ten_alone_are_t_n_d(tmp_path):
    values = content("a", lengths=(10,))["a"]
    save(tmp_path / "a.npy", values.transpose(1, 0, 2))
    assert np.array_equal(open_features(tmp_path, [video("a")])["a"].read(), values)


@pytest.mark.parametrize("axes", [(1, 0, 2), (0, 1, 2)])
def test_an_axis_of_ten_is_the_crops_even_where_all_videos_have_one_length(tmp_path, axes):
    arrays = content("abc", lengths=(7,))
    whole(axes)(tmp_path, arrays)
    for name, features in open_features(tmp_path, [video(name) for name in "abc"]).items():
        assert np.array_equal(features.read(), arrays[name])


@pytest.mark.parametrize("axes", [(1, 0, 2), (0, 1, 2)])
def test_crops_and_patches_together(tmp_path, axes):
    arrays = content("abcd", crops=31, lengths=(7, 10, 31, 12))
    whole(axes)(tmp_path, arrays)
    for name, features in open_features(tmp_path, [video(name) for name in "abcd"]).items():
        assert np.array_equal(features.read(), arrays[name])


def test_a_mixed_folder_of_both_whole_layouts(tmp_path):
    arrays = content("abc", lengths=(7, 8, 9))
    whole((1, 0, 2))(tmp_path, {"a": arrays["a"], "b": arrays["b"]})
    whole((0, 1, 2))(tmp_path, {"c": arrays["c"]})
    for name, features in open_features(tmp_path, [video(name) for name in "abc"]).items():
        assert np.array_equal(features.read(), arrays[name])


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
def test_dtypes_on_disk(tmp_path, dtype):
    values = content("a")["a"].astype(dtype)
    save_crops(tmp_path, {"a": values})
    read = open_features(tmp_path, [video("a")])["a"].read()
    assert read.dtype == np.float32
    assert np.array_equal(read, values.astype(np.float32))


def test_a_file_is_the_video_it_is_wholly_named_after(tmp_path):
    """"cam_1" is a video and not crop 1 of "cam", even where only "cam" is asked for."""
    save(tmp_path / "cam.npy", np.ones((4, DIM), np.float32))
    save(tmp_path / "cam_1.npy", np.zeros((9, DIM), np.float32))
    opened = open_features(tmp_path, [video("cam")], others=[video("cam_1")])
    assert opened["cam"].shape == (1, 4, DIM)
    with pytest.raises(InputError, match="cam: cam.npy and files for its crops are both there"):
        open_features(tmp_path, [video("cam")])


def test_files_of_other_videos_are_left_alone(tmp_path):
    arrays = content(NAMES)
    save_crops(tmp_path, arrays)
    (tmp_path / "other__0.npy").write_bytes(b"")
    (tmp_path / f"{NAMES[1]}__0.txt").write_bytes(b"")
    (tmp_path / f"{NAMES[2]}__0.npy").write_bytes(b"not asked for")
    opened = open_features(tmp_path, [video(NAMES[0])], others=[video(NAMES[2])])
    assert list(opened) == [NAMES[0]]


def test_headers_alone_are_read_when_a_folder_is_opened(tmp_path, monkeypatch):
    save_crops(tmp_path, content("ab"))

    def forbidden(*args, **kwargs):
        raise AssertionError("values were read")
    monkeypatch.setattr(npy, "fill_bytes", forbidden)
    opened = open_features(tmp_path, [video("a"), video("b")])
    assert opened["a"].shape == (10, 7, DIM)
    for use in (VideoFeatures.read, VideoFeatures.flaw):
        with pytest.raises(AssertionError, match="values were read"):
            use(opened["a"])


def test_every_read_is_fresh(tmp_path):
    save_crops(tmp_path, content("a"))
    features = open_features(tmp_path, [video("a")])["a"]
    features.read()[:] = 0
    assert features.read().any()
    np.save(features.files[3], np.full((7, DIM), 5, np.float32))
    assert (features.read()[3] == 5).all()


def broken(tmp_path, change, crops=10, names="abc", frames=None, feature_dim=None):
    """The message about a folder of crop files after `change(folder, arrays)`."""
    arrays = content(names, crops)
    save_crops(tmp_path, arrays)
    change(tmp_path, arrays)
    with pytest.raises(InputError) as caught:
        open_features(tmp_path, [video(name, frames) for name in names], feature_dim=feature_dim)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: the features cannot be used\n  ")
    return message.split("\n  ")[1:]


def pickled(folder, arrays):
    np.save(folder / "b__2.npy", np.array([{"a": 1}], object))


def truncated(folder, arrays):
    path = folder / "b__2.npy"
    path.write_bytes(path.read_bytes()[:-5])


SIZE = 128 + 10 * DIM * 4
FILE_FLAWS = {
    "empty": (lambda f, a: (f / "b__2.npy").write_bytes(b""), "b: b__2.npy is empty (0 bytes)"),
    "text": (lambda f, a: (f / "b__2.npy").write_bytes(b"hello, world"), "b: b__2.npy is not a .npy file"),
    "bare pickle": (lambda f, a: (f / "b__2.npy").write_bytes(pickle.dumps([1])), "b: b__2.npy is not a .npy file"),
    "half a header": (lambda f, a: (f / "b__2.npy").write_bytes((f / "b__2.npy").read_bytes()[:50]),
                      "b: b__2.npy is not a .npy file"),
    "truncated": (truncated, f"b: b__2.npy is cut short: {SIZE - 5} bytes, expected {SIZE}"),
    "pickled": (pickled, "b: b__2.npy holds pickled Python objects, which are never loaded, expected an array of f"),
    "integers": (lambda f, a: np.save(f / "b__2.npy", np.zeros((10, DIM), np.int32)),
                 "b: b__2.npy holds int32, expected float32, float16 or float64"),
    "no snippets": (lambda f, a: save_crops(f, {"b": a["b"][:, :0]}),
                    f"b: b__0.npy has shape (0, {DIM}), expected (T, D), (T, N, D) or (N, T, D) without a 0 "
                    "(and 9 more of its files)"),
    "one axis": (lambda f, a: np.save(f / "b__2.npy", np.zeros(10, np.float32)), "b: b__2.npy has shape (10,)"),
    "three axes": (lambda f, a: np.save(f / "b__2.npy", np.zeros((10, 10, DIM), np.float32)),
                   f"b: b__2.npy has shape (10, 10, {DIM}), expected (10, {DIM}) as in the other crops"),
    "all three axes": (lambda f, a: save_crops(f, {"b": np.zeros((10, 9, 10, DIM), np.float32)}),
                       f"b: b__0.npy has shape (9, 10, {DIM}), expected (T, D)"),
    "other T": (lambda f, a: np.save(f / "b__0.npy", np.zeros((9, DIM), np.float32)),
                f"b: b__0.npy has shape (9, {DIM}), expected (10, {DIM}) as in the other crops"),
    "other D": (lambda f, a: np.save(f / "b__9.npy", np.zeros((10, 5), np.float32)),
                f"b: b__9.npy has shape (10, 5), expected (10, {DIM}) as in the other crops"),
    "D of a video": (lambda f, a: save_crops(f, {"b": a["b"][:, :, :4]}),
                     f"b: D = 4, expected {DIM} as in the other videos"),
    "crop missing": (lambda f, a: (f / "b__2.npy").unlink(), "b: no file of crop 2, expected crops 0 to 9"),
    "last crops missing": (lambda f, a: [(f / f"b__{crop}.npy").unlink() for crop in (8, 9)],
                           "b: no file of crop 8, 9, expected crops 0 to 9"),
    "no file": (lambda f, a: [path.unlink() for path in f.glob("b__*.npy")], "b: no feature file"),
    "two files of a crop": (lambda f, a: np.save(f / "b_x264__2.npy", a["b"][2]),
                            "b: {folder}/b__2.npy and {folder}/b_x264__2.npy are both there, expected one of them"),
    "a dead link": (lambda f, a: ((f / "b__2.npy").unlink(), (f / "b__2.npy").symlink_to(f / "gone.npy")),
                    "b: b__2.npy cannot be read (No such file or directory)"),
}


@pytest.mark.parametrize("flaw", FILE_FLAWS)
def test_a_flaw_is_named_with_its_video_and_file(tmp_path, flaw):
    change, expected = FILE_FLAWS[flaw]
    lines = broken(tmp_path, change)
    assert len(lines) == 1
    assert lines[0].startswith(expected.format(folder=tmp_path))


def test_one_crop_too_many(tmp_path):
    lines = broken(tmp_path, lambda f, a: np.save(f / "b__5.npy", a["b"][2]), crops=5)
    assert lines == ["b: b__5.npy is too many, expected crops 0 to 4 as elsewhere"]


@pytest.mark.parametrize("name", "ab")
def test_of_two_videos_the_one_with_fewer_crops_is_at_fault(tmp_path, name):
    lines = broken(tmp_path, lambda f, a: (f / f"{name}__4.npy").unlink(), crops=5, names="ab")
    assert lines == [f"{name}: no file of crop 4, expected crops 0 to 4"]


@pytest.mark.parametrize("shape, expected", [((9, 9, DIM), f"(9, 9, {DIM}), expected 10 crops"),
                                             ((9, DIM), f"(9, {DIM}), expected 10 crops")])
def test_whole_files_of_other_crops(tmp_path, shape, expected):
    whole((1, 0, 2))(tmp_path, content("abc"))
    np.save(tmp_path / "b.npy", np.zeros(shape, np.float32))
    with pytest.raises(InputError) as caught:
        open_features(tmp_path, [video(name) for name in "abc"])
    assert str(caught.value).endswith(f"\n  b: b.npy has shape {expected} as in the other videos")


def test_a_crop_file_beside_a_whole_file(tmp_path):
    whole((1, 0, 2))(tmp_path, content("abc"))
    np.save(tmp_path / "b__0.npy", np.zeros((10, DIM), np.float32))
    with pytest.raises(InputError, match="b: b.npy and files for its crops are both there, expected one or the"):
        open_features(tmp_path, [video(name) for name in "abc"])


def test_the_d_that_is_needed(tmp_path):
    lines = broken(tmp_path, lambda f, a: save_crops(f, {"b": a["b"][:, :, :4]}), feature_dim=4)
    assert lines == [f"2 videos: D = {DIM}, expected 4", f"b: D = 4, expected {DIM} as in the other videos"]


@pytest.mark.parametrize("snippets", [3, 4, 5, 6, 7])
def test_frames_of_the_table_may_differ_by_two_snippets(tmp_path, snippets):
    save_crops(tmp_path, content("a", lengths=(snippets,)))
    assert open_features(tmp_path, [video("a", frames=65)])["a"].shape[1] == snippets


@pytest.mark.parametrize("snippets", [2, 8])
def test_frames_of_the_table_that_differ_by_three_snippets(tmp_path, snippets):
    save_crops(tmp_path, content("a", lengths=(snippets,)))
    with pytest.raises(InputError) as caught:
        open_features(tmp_path, [video("a", frames=65)])
    assert str(caught.value).endswith(f"a: T = {snippets}, expected 5 (give or take 2) for the table's 65 frames")


def test_all_flaws_come_at_once_ten_of_them_and_a_count(tmp_path):
    names = [f"v{i:02}" for i in range(20)]

    def change(folder, arrays):
        (folder / "v03__1.npy").write_bytes(b"")
        (folder / "v05__1.npy").unlink()
        save_crops(folder, {"v06": arrays["v06"][:, :, :3]})
        for name in names[8:]:
            for path in folder.glob(f"{name}__*.npy"):
                path.unlink()
    lines = broken(tmp_path, change, names=names)
    assert lines[:4] == ["v03: v03__1.npy is empty (0 bytes)", "v05: no file of crop 1, expected crops 0 to 9",
                         f"v06: D = 3, expected {DIM} as in the other videos", "v08: no feature file"]
    assert len(lines) == 11
    assert lines[-1] == "... and 5 more"


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder, expected a folder of features"):
        open_features(tmp_path / "nowhere", [video("a")])


@pytest.mark.parametrize("files, found", [
    ((), "none of the 0 .npy files is named after a video of the table (found nothing; a video of the table is a)"),
    (("x.npy", "y.npy", "z__1.npy", "zz.npy"), "none of the 4 .npy files is named after a video of the table "
                                               "(found x.npy, y.npy, z__1.npy, ...; a video of the table is a)")])
def test_no_known_layout(tmp_path, files, found):
    for file in files:
        np.save(tmp_path / file, np.zeros((3, DIM), np.float32))
    with pytest.raises(InputError) as caught:
        open_features(tmp_path, [video("a")])
    assert str(caught.value).startswith(f"{tmp_path}: {found}")
    assert "expected NAME__0.npy, NAME__1.npy ... or NAME_0.npy" in str(caught.value)


@pytest.mark.parametrize("layout", ["crop files", "(T, N, D)", "(N, T, D)"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_all_found_before_any_is_used(tmp_path, layout, value):
    arrays = content("abc", lengths=(7, 10, 12))
    arrays["a"][3, 5, 1] = arrays["a"][1, 6, 0] = value
    arrays["c"][0, 11, 5] = value
    LAYOUTS[layout](tmp_path, arrays)
    opened = open_features(tmp_path, [video(name) for name in "abc"])
    a, c = {"crop files": ("a__3", "c__0"), "(T, N, D)": ("a", "c"), "(N, T, D)": ("a_x264", "c_x264")}[layout]
    with pytest.raises(InputError) as caught:
        check_finite(opened)
    assert str(caught.value).split("\n  ") == [
        "2 of 3 videos have features that are not finite",
        f"a: {a}.npy has {value} in snippet 5 (crop 3)", f"c: {c}.npy has {value} in snippet 11 (crop 0)"]
    with pytest.raises(InputError) as caught:
        opened["a"].read()
    assert str(caught.value) == f"{tmp_path}: {a}.npy has {value} in snippet 5 (crop 3)"
    assert np.array_equal(opened["b"].read(), arrays["b"])


def test_infinities_that_cancel_are_found(tmp_path):
    values = np.zeros((1, 4, DIM), np.float32)
    values[0, 2, 0], values[0, 2, 1] = np.inf, -np.inf
    save_crops(tmp_path, {"a": values})
    with pytest.raises(InputError, match="a__0.npy has inf in snippet 2"):
        check_finite(open_features(tmp_path, [video("a")]))


@pytest.mark.parametrize("dtype, value", [(np.float32, 3e38), (np.float16, 6e4)])
def test_finite_values_pass_even_where_their_sum_is_not(tmp_path, dtype, value):
    save_crops(tmp_path, {"a": np.full((2, 400, DIM), value, dtype)})
    opened = open_features(tmp_path, [video("a")])
    check_finite(opened)
    assert np.isfinite(opened["a"].read()).all()


def test_float64_beyond_float32_is_not_finite(tmp_path):
    save_crops(tmp_path, {"a": np.full((1, 4, DIM), 1e300)})
    opened = open_features(tmp_path, [video("a")])
    with pytest.raises(InputError, match="a: a__0.npy has inf in snippet 0"):
        check_finite(opened)
    with pytest.raises(InputError, match="a__0.npy has inf in snippet 0"):
        opened["a"].read()


def test_progress_sees_every_video(tmp_path):
    save_crops(tmp_path, content(NAMES))
    seen = []

    def progress(names):
        for name in names:
            yield name
            seen.append(name)
    check_finite(open_features(tmp_path, [video(name) for name in NAMES]), progress)
    assert seen == list(NAMES)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("unpickled")
    monkeypatch.setattr(pickle, "load", forbidden)
    broken(tmp_path, pickled)


CHANGES = {
    "one snippet": (lambda f: np.save(f, np.ones((1, DIM), np.float32)), f"has shape (1, {DIM}), expected (7, {DIM}) as when"),
    "another D": (lambda f: np.save(f, np.ones((7, 1), np.float32)), f"has shape (7, 1), expected (7, {DIM}) as when"),
    "two axes swapped": (lambda f: np.save(f, np.ones((DIM, 7), np.float32)), f"has shape ({DIM}, 7), expected"),
    "integers": (lambda f: np.save(f, np.ones((7, DIM), np.int64)), "holds int64, expected float32"),
    "objects": (lambda f: np.save(f, np.array([None])), "holds pickled Python objects"),
    "cut short": (lambda f: os.truncate(f, 200), "is cut short: 200 bytes, expected 296"),
    "empty": (lambda f: os.truncate(f, 0), "is empty (0 bytes)"),
    "gone": (lambda f: f.unlink(), "cannot be read (No such file or directory)"),
    "a pipe": (lambda f: (f.unlink(), os.mkfifo(f)), "cannot be read (a pipe, expected a file)"),
}


@pytest.mark.parametrize("use", [VideoFeatures.read, VideoFeatures.flaw])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_after_it_was_opened(tmp_path, use, change):
    save_crops(tmp_path, content("a"))
    features, (changed, expected) = open_features(tmp_path, [video("a")])["a"], CHANGES[change]
    changed(tmp_path / "a__3.npy")
    with pytest.raises(npy.Unreadable) as caught:
        use(features)
    assert str(caught.value).startswith(f"{tmp_path / 'a__3.npy'} {expected}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("axes", [(1, 0, 2), (0, 1, 2)])
def test_a_whole_file_whose_axes_change_after_it_was_opened(tmp_path, axes):
    whole(axes)(tmp_path, content("a"))
    features = open_features(tmp_path, [video("a")])["a"]
    np.save(tmp_path / "a.npy", np.load(tmp_path / "a.npy")[:1])
    with pytest.raises(npy.Unreadable, match=r"a.npy has shape \(1, .*as when it was opened$"):
        features.read()


@pytest.mark.parametrize("use", [VideoFeatures.read, VideoFeatures.flaw])
@pytest.mark.parametrize("layout", ["crop files", "(T, N, D)"])
def test_a_file_that_is_cut_while_it_is_read(tmp_path, monkeypatch, use, layout):
    """A memory map would end the process."""
    arrays = content("a", lengths=(3000,))
    LAYOUTS[layout](tmp_path, arrays)
    features, fill = open_features(tmp_path, [video("a")])["a"], npy.fill

    def cutting(values, file):
        os.truncate(features.files[-1], 4096)
        fill(values, file)

    monkeypatch.setattr(npy, "fill", cutting)
    with pytest.raises(npy.Unreadable, match=r"a(__9)?\.npy (was cut short while it was read|is cut short: 4096 bytes)"):
        use(features)


def test_changed_videos_are_named_all_at_once_and_apart_from_those_that_are_not_finite(tmp_path):
    arrays = content("abcd")
    arrays["b"][0, 0, 0] = np.nan
    save_crops(tmp_path, arrays)
    opened = open_features(tmp_path, [video(name) for name in "abcd"])
    for name in "ac":
        np.save(tmp_path / f"{name}__0.npy", np.ones((2, DIM), np.float32))
    with pytest.raises(InputError) as caught:
        check_finite(opened)
    first, *lines = str(caught.value).split("\n  ")
    assert first == "2 of 4 videos have features that cannot be read"
    assert [line.split(" has shape (2, 6), expected")[0] for line in lines] == [
        f"{name}: {tmp_path}/{name}__0.npy" for name in "ac"]


def test_a_folder_is_entered_once_however_many_links_lead_back(tmp_path):
    """2 ** 40 ways lead to the last of 40 folders with two links each."""
    arrays = content("ab")
    save_crops(tmp_path, arrays, "crops/{name}__{crop}.npy")
    (tmp_path / "crops" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "other way").symlink_to(tmp_path / "crops", target_is_directory=True)
    for number in range(40):
        (tmp_path / str(number)).mkdir()
        for link in "xy":
            (tmp_path / str(number) / link).symlink_to(tmp_path / str(number + 1), target_is_directory=True)
    opened = open_features(tmp_path, [video("a"), video("b")])
    assert np.array_equal(opened["a"].read(), arrays["a"])


def circle(folder):
    folder.symlink_to(folder)


def leading_nowhere(folder):
    folder.symlink_to(folder.with_name("gone"))


@pytest.mark.parametrize("make, flaw", [
    (circle, "the link crop9 cannot be followed (Too many levels of symbolic links)"),
    (leading_nowhere, "the link crop9 cannot be followed (No such file or directory)")])
def test_a_folder_that_may_have_a_video_and_cannot_be_entered_is_named_with_it(tmp_path, make, flaw):
    save_crops(tmp_path, content("ab", crops=9), "crop{crop}/{name}__{crop}.npy")
    save(tmp_path / "a__9.npy", np.ones((7, DIM), np.float32))
    make(tmp_path / "crop9")
    with pytest.raises(InputError) as caught:
        open_features(tmp_path, [video("a"), video("b")])
    assert str(caught.value).split("\n  ")[1:] == [f"b: no file of crop 9, expected crops 0 to 9; {flaw}"]
    with pytest.raises(InputError, match="none of the .* files is named after a video of the table") as caught:
        open_features(tmp_path, [video("x")])
    assert str(caught.value).endswith(f"; {flaw}")


def test_a_folder_that_cannot_be_read_is_named_with_the_video(tmp_path, monkeypatch):
    save_crops(tmp_path, content("ab", crops=10), "crop{crop}/{name}__{crop}.npy")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("crop9"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)  # nothing is closed to root
    save(tmp_path / "a__9.npy", np.ones((7, DIM), np.float32))
    with pytest.raises(InputError) as caught:
        open_features(tmp_path, [video("a"), video("b")])
    assert str(caught.value).split("\n  ")[1:] == [
        "b: no file of crop 9, expected crops 0 to 9; the folder crop9 cannot be read (Permission denied)"]


def test_a_folder_that_is_named_like_a_file(tmp_path):
    save_crops(tmp_path, content("a"))
    (tmp_path / "b.npy").mkdir()
    with pytest.raises(InputError, match="b: no feature file; b.npy is a folder$"):
        open_features(tmp_path, [video("a"), video("b")])


@pytest.mark.parametrize("make, flaw", [
    (os.mkfifo, "a pipe, expected a file"), (lambda path: path.symlink_to("/dev/zero"), "a device, expected a file"),
    (lambda path: path.symlink_to(path), "Too many levels of symbolic links")])
def test_what_is_no_file_is_named(tmp_path, make, flaw):
    save_crops(tmp_path, content("ab"))
    (tmp_path / "b__2.npy").unlink()
    make(tmp_path / "b__2.npy")
    with pytest.raises(InputError) as caught:
        open_features(tmp_path, [video("a"), video("b")])
    assert str(caught.value).split("\n  ")[1:] == [f"b: b__2.npy cannot be read ({flaw})"]
    (tmp_path / "b__2.npy").rename(tmp_path / "c.npy")
    with pytest.raises(InputError, match="c.npy cannot be read"):
        read_features(tmp_path / "c.npy")
