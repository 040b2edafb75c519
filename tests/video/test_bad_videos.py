"""Files that are no videos, or damaged ones: one line that names the file, or frames and what was lost."""
import os

import drawn
import numpy as np
import pytest
from PIL import Image

import wvad_core as wv
from wvad_core.video import source as sources


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("hello world\n" * 200)


def no_frames(path):
    drawn.write(path, drawn.frames(0))


def half(path):
    content = drawn.write(path, drawn.frames(20)).read_bytes()
    path.write_bytes(content[:len(content) // 2])


def playlist(path):
    drawn.write(path.with_name("other.mp4"), drawn.frames(2))
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")


def session(path):
    path.write_text("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n")


def address(path):
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n")


@pytest.mark.parametrize("name, made, message", [
    ("a.mp4", empty, "cannot be read as a video (Invalid data found when processing input)"),
    ("a.mp4", text, "cannot be read as a video (Invalid data found when processing input)"),
    ("a.txt", text, "is text, expected a video"),
    ("a.mp4", half, "cannot be read as a video (Invalid data found when processing input)"),
    ("a.mp4", drawn.sound, "no video stream (found audio), expected a video"),
    ("a.avi", no_frames, "no frames, expected a video"),
    ("a.mp4", no_frames, "no video stream (found no stream), expected a video"),
    ("a.mp4", playlist, "is a playlist, expected a video"),
    ("a.sdp", session, ""), ("a.m3u8", address, "")])
def test_what_is_no_video_is_one_line(name, made, message, tmp_path):
    path = tmp_path / name
    made(path)
    with pytest.raises(wv.InputError) as caught:
        list(wv.video.snippets(path, "rtfm"))
    assert str(caught.value).startswith(f"{path}: {message}") and "\n" not in str(caught.value)


def test_paths_where_no_video_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in ((tmp_path / "a.mp4", "no such file"), (tmp_path / "pipe", "is no file"), (tmp_path, "no pictures")):
        with pytest.raises(wv.InputError, match=f"^{path}: {message}, expected a"):
            wv.video.open(path)
    with pytest.raises(wv.InputError, match="^a int is no video, expected a path, an address or frames$"):
        wv.video.open(3)


@pytest.mark.parametrize("name", ["a b/ä ✓ 日本.mp4", "a:b|c,d;e.mp4", "%d.mp4", "-i.mp4", "http:a.mp4", "a'\"\\$(x).mp4", "*?.mp4"])
def test_names_with_unicode_spaces_and_separators(name, tmp_path, monkeypatch):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    drawn.write(tmp_path / "a.mp4", drawn.frames(2)).rename(path)
    monkeypatch.chdir(tmp_path)
    assert len(list(wv.video.open(path))) == len(list(wv.video.open(name))) == 2


def test_damaged_packets_are_counted_and_the_others_decoded(tmp_path):
    """Every frame is decoded by itself in this file: as many are lost as are destroyed."""
    frames = drawn.frames(30)
    path = drawn.write(tmp_path / "a.avi", frames, codec="mjpeg", pix_fmt="yuvj420p")
    content = bytearray(path.read_bytes())
    starts = [i for i in range(len(content)) if content[i:i + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 30
    for index in (4, 17):
        length = starts[index + 1] - starts[index] - 8  # the next one's header in the container stays
        content[starts[index]:starts[index] + length] = bytes(length)
    whole = [frame for frame, _ in wv.video.open(path)]
    path.write_bytes(content)
    source = wv.video.open(path)
    kept = [frame for frame, _ in source]
    assert source.damaged == 2 and source.frames == len(kept) == 28
    assert all(np.array_equal(a, b) for a, b in zip(kept, whole[:4] + whole[5:17] + whole[18:], strict=True))
    assert source.remarks() == ["2 damaged packets", "the file says 30 frames, 28 were decoded"]
    assert len(list(wv.video.snippets(source, "rtfm"))) == 2 and source.damaged == 2


def test_a_damaged_stream_gives_more_than_the_frames_before_the_damage(tmp_path):
    """MPEG-TS finds its place again; what a decoder conceals, it says of some frames."""
    path = drawn.write(tmp_path / "a.ts", drawn.frames(60, 96, 128), options={"g": "10"})
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    for start in rng.integers(2000, len(content) - 400, 12):
        content[start:start + 60] = rng.bytes(60)
    path.write_bytes(content)
    source = wv.video.open(path)
    assert 20 < len(list(source)) <= 60 and source.damaged and source.remarks()[0] == f"{source.damaged} damaged packets"


def test_a_file_that_ends_before_its_length(tmp_path):
    """Matroska has no number of frames, but a duration."""
    path = drawn.write(tmp_path / "a.mkv", drawn.frames(60, 96, 128))
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 3])
    source = wv.video.open(path)
    given = len(list(source))
    assert 5 < given < 35
    assert source.remarks()[-1] == f"ends early: the file says 2.4 s, its last frame is at {(given - 1) / 25:.1f} s"


def test_a_container_that_lies_about_its_length(tmp_path):
    """Frames are counted by decoding, of a file whose index is at its begin and whose second half is gone."""
    path = drawn.write(tmp_path / "a.mp4", drawn.frames(40, 96, 128), container={"movflags": "faststart"}, options={"g": "5"})
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 2])
    source = wv.video.open(path)
    clips = list(wv.video.snippets(source, "gowtham"))
    assert source.expected_frames == 40 and 5 < source.frames < 40 and len(clips) == max(source.frames // 16, 1)
    assert any("40 frames" in remark for remark in source.remarks())


def test_a_video_that_changes_its_size_midway(tmp_path):
    """Each frame is resized by itself."""
    small, large = drawn.frames(8, 48, 64), drawn.frames(8, 96, 80)
    parts = [drawn.write(tmp_path / f"{index}.ts", frames) for index, frames in enumerate((small, large))]
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    source = wv.video.open(path)
    (clip,) = wv.video.snippets(source, "gowtham")
    assert source.frames == 16 and source.remarks() == ["80 x 96 from frame 8 on"]
    expected = [next(wv.video.snippets(part, "gowtham"))[:, :8] for part in parts]
    assert np.array_equal(clip, np.concatenate(expected, axis=1))


def test_frames_of_more_pixels_than_memory_should_hold_are_refused(tmp_path, monkeypatch):
    path = drawn.write(tmp_path / "a.mp4", drawn.frames(2))
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    monkeypatch.setattr(sources, "MOST_PIXELS", 3000)
    for given in (path, tmp_path):
        with pytest.raises(wv.InputError, match="frames of 64 x 48, expected at most 3000 pixels$"):
            list(wv.video.open(given))


@pytest.mark.parametrize("content", [b"", b"no picture", b"cut"])
def test_a_damaged_picture_is_named(content, tmp_path):
    Image.fromarray(drawn.frames(1)[0]).save(tmp_path / "1.png")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "2.png").write_bytes(whole[:len(whole) // 2] if content == b"cut" else content)
    with pytest.raises(wv.InputError, match=rf"^{tmp_path / '2.png'}: cannot be read as a picture \("):
        list(wv.video.snippets(tmp_path, "rtfm"))


def test_pictures_of_sixteen_bits_are_refused(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "1.png")
    with pytest.raises(wv.InputError, match="1.png: more than 8 bits a channel .*, expected 8$"):
        list(wv.video.open(tmp_path))


@pytest.mark.parametrize("frame, found", [(np.zeros((4, 4, 3), np.float32), "float32 of shape (4, 4, 3)"), (np.zeros((4, 4), np.uint8), "uint8 of shape (4, 4)"),
                                          (np.zeros((4, 4, 4), np.uint8), "uint8 of shape (4, 4, 4)"), (np.zeros((0, 4, 3), np.uint8), "uint8 of shape (0, 4, 3)"),
                                          (np.zeros((4, 4, 2), np.uint8), "uint8 of shape (4, 4, 2)")])
def test_arrays_that_are_no_frames_are_refused_with_their_place(frame, found):
    with pytest.raises(wv.InputError) as caught:
        list(wv.video.open([np.zeros((4, 4, 3), np.uint8), frame], name="door"))
    assert str(caught.value).startswith(f"door, frame 1: {found}, expected uint8 (H, W, 3) RGB")


def test_no_frames_at_all():
    with pytest.raises(wv.InputError, match="^frames: no frames, expected a video$"):
        list(wv.video.snippets([], "rtfm"))


@pytest.mark.parametrize("module, package, made", [("av", "PyAV", "a.mp4"), ("PIL.Image", "Pillow", "a")])
def test_what_is_not_installed_is_said(module, package, made, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "1.png")
    drawn.write(tmp_path / "a.mp4", drawn.frames(1))
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(wv.InputError, match=rf'needs {package}, which cannot be imported: pip install "wvad\[video\]"$'):
        list(wv.video.snippets(tmp_path / made, "roc-ng"))
