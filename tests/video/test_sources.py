"""Frames of files, folders of pictures, iterables and addresses: which, in which order, how often, and what is counted."""
import http.server
import threading
from contextlib import contextmanager

import drawn
import numpy as np
import pytest
from PIL import Image

import wvad_core as wv
from wvad_core.video import containers
from wvad_core.video.pictures import natural


def read(source):
    return np.stack([frame for frame, _ in source])


def pictures(folder, frames, name="frame_{}.png"):
    """Written in the order of their names, which is not that of the frames where there are ten and more."""
    folder.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name.format(index))
    return folder


@pytest.mark.parametrize("recipe", wv.video.recipes())
def test_file_pictures_and_iterable_give_the_same_clips_bit_for_bit(recipe, tmp_path):
    frames = drawn.frames(21, 60, 80)
    sources = (drawn.write(tmp_path / "a.mkv", frames, **drawn.LOSSLESS), pictures(tmp_path / "a", frames), list(frames),
               (frame for frame in frames))
    file, *others = (list(wv.video.snippets(source, recipe)) for source in sources)
    for clips in others:
        assert len(clips) == len(file) and all(np.array_equal(a, b) for a, b in zip(clips, file, strict=True))


def test_a_lossy_file_gives_what_its_pictures_give(tmp_path):
    """H.264 in 4:2:0, as surveillance cameras write it: its frames as PNG, and as arrays."""
    path = drawn.write(tmp_path / "a.mp4", drawn.frames(18))
    decoded = read(wv.video.open(path))
    assert len(decoded) == 18 and decoded.shape == (18, 48, 64, 3)
    assert 0 < np.abs(decoded.astype(int) - drawn.frames(18)).mean() < 25
    assert np.array_equal(read(wv.video.open(pictures(tmp_path / "a", decoded))), decoded)


@pytest.mark.parametrize("height, width, given", [(47, 63, {"pix_fmt": "yuv444p"}), (48, 64, {"pix_fmt": "yuv420p10le"}),
                                                  (48, 64, {"codec": "mpeg4"}), (48, 64, {"codec": "mjpeg", "pix_fmt": "yuvj420p"})])
def test_odd_sizes_ten_bits_and_other_codecs(height, width, given, tmp_path):
    """Smooth pictures, which all of these keep within some levels."""
    ramp = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)
    frames = np.repeat(np.stack([ramp, ramp + 40, 200 - ramp], axis=2)[None], 5, axis=0)
    found = read(wv.video.open(drawn.write(tmp_path / "a.mkv", frames, **given)))
    assert found.shape == frames.shape and np.abs(found.astype(int) - frames).mean() < 4


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_turned_as_the_file_says(degrees, tmp_path):
    """As players do: against the clock by the matrix's angle, and as OpenCV does."""
    frames = drawn.frames(3)
    path = drawn.write(tmp_path / "a.mp4", frames, **{**drawn.LOSSLESS, "rotation": degrees})
    with containers.required("av", "PyAV", "").open(str(path)) as file:
        said = next(file.decode(video=0)).rotation
    assert said % 360 == degrees
    assert np.array_equal(read(wv.video.open(path)), np.rot90(frames, said // 90, axes=(1, 2)))


def test_every_decoded_frame_counts_whatever_its_time(tmp_path):
    times = [0, 1, 2, 10, 11, 50, 51, 52]
    source = wv.video.open(drawn.write(tmp_path / "a.mkv", drawn.frames(8), times=times, rate=10))
    assert source.frame_rate is None
    found = list(source)
    assert [time for _, time in found] == pytest.approx([t / 10 for t in times], abs=1e-3)
    assert source.frames == 8 and source.frame_rate is not None


def test_times_of_what_has_none_follow_from_the_frame_rate(tmp_path):
    assert [time for _, time in wv.video.open(drawn.frames(3))] == [None] * 3
    folder = pictures(tmp_path / "a", drawn.frames(3))
    assert [time for _, time in wv.video.open(folder, frame_rate=2.0)] == [0, 0.5, 1]


def test_a_file_is_read_as_often_as_it_is_iterated(tmp_path):
    source = wv.video.open(drawn.write(tmp_path / "a.mp4", drawn.frames(4)))
    assert np.array_equal(read(source), read(source)) and source.frames == 4


def test_pictures_come_as_people_count(tmp_path):
    frames = drawn.frames(12)
    assert np.array_equal(read(wv.video.open(pictures(tmp_path / "a", frames))), frames)
    names = ["2.png", "10.png", "a2b.png", "a10.png"]
    assert sorted(sorted(names), key=lambda name: natural(tmp_path / name)) == names


def test_other_files_in_a_folder_are_left_alone(tmp_path):
    folder = pictures(tmp_path / "a", drawn.frames(2))
    (folder / "notes.txt").write_text("no picture")
    (folder / ".frame_9.png").write_text("what a file manager leaves")
    (folder / "more.png").mkdir()
    assert len(read(wv.video.open(folder))) == 2


@pytest.mark.parametrize("names", [("flow_x_{}.png", "flow_y_{}.png"), ("img_{}x.png", "img_{}y.png"), ("x/{}.png", "y/{}.png"),
                                   ("u_{}.png", "v_{}.png"), ("flow_x/{}.png", "flow_y/{}.png"), ("{}_flowx.png", "{}_flowy.png")])
def test_flow_is_pairs_of_pictures(names, tmp_path):
    flow = drawn.frames(12)[..., :2]
    for axis, name in enumerate(names):
        for index, frame in enumerate(flow):
            path = tmp_path / name.format(index)
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.ascontiguousarray(frame[..., axis])).save(path)
    assert np.array_equal(read(wv.video.open(tmp_path)), flow)
    (clip,) = wv.video.snippets(tmp_path, "rtfm")
    assert clip.shape == (10, 16, 224, 224, 2)


def test_flow_without_its_other_axis_is_named(tmp_path):
    for name in ("x_0", "y_0", "x_1"):
        Image.new("L", (8, 8)).save(tmp_path / f"{name}.png")
    with pytest.raises(wv.InputError, match=r"x_1.png: has no other axis beside it, expected pairs of x and y$"):
        wv.video.open(tmp_path)


def test_pictures_of_videos_whose_names_begin_with_an_axis_are_no_flow(tmp_path):
    """UCF-101 calls its videos v_Archery_g01_c01."""
    assert read(wv.video.open(pictures(tmp_path / "a", drawn.frames(2), "v_Archery_{}.png"))).shape == (2, 48, 64, 3)


def test_one_array_that_is_filled_again_and_again(tmp_path):
    """As cv2.VideoCapture.read(image) does."""
    def filled():
        for frame in frames:
            buffer[...] = frame
            yield buffer

    frames = drawn.frames(20)
    buffer = np.empty_like(frames[0])
    reused, fresh = (list(wv.video.snippets(given, "vadclip")) for given in (filled(), frames))
    assert all(np.array_equal(a, b) for a, b in zip(reused, fresh, strict=True))


def test_names_and_frame_rates_that_are_given(tmp_path):
    path = drawn.write(tmp_path / "a.mp4", drawn.frames(2), rate=10)
    source = wv.video.open(path, name="door", frame_rate=5.0)
    assert len(list(source)) == 2 and (source.name, source.frame_rate) == ("door", 10)
    assert wv.video.open(source) is source


@contextmanager
def served(answer):
    """An address where a server of this process calls `answer(handler)`."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/camera.ts"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sending(content, length=None):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(length or len(content)))
        handler.end_headers()
        handler.wfile.write(content)
    return answer


def test_an_address_gives_what_the_file_gives(tmp_path):
    path = drawn.write(tmp_path / "a.ts", drawn.frames(40))
    with served(sending(path.read_bytes())) as address:
        source = wv.video.open(address)
        assert np.array_equal(read(source), read(wv.video.open(path))) and source.name == address and source.frames == 40


def test_a_stream_that_ends_early_gives_what_came(tmp_path):
    path = drawn.write(tmp_path / "a.ts", drawn.frames(40, 96, 128))
    content = path.read_bytes()
    with served(sending(content[:len(content) // 2], len(content))) as address:
        source = wv.video.open(address)
        assert 4 < len(list(source)) < 40 and source.remarks()


def test_a_stream_that_stops_answering_is_told_and_what_came_is_given(tmp_path):
    def half(handler):
        sending(content[:len(content) // 2], len(content))(handler)
        handler.wfile.flush()
        asleep.wait(60)

    content, asleep = drawn.write(tmp_path / "a.ts", drawn.frames(40, 96, 128)).read_bytes(), threading.Event()
    with served(half) as address:
        source = containers.stream(address, patience=1.5)
        given = len(list(source))
        asleep.set()
        assert 4 < given < 40 and source.remarks() == ["1 damaged packet", "ends early: no answer within 1.5 s"]


@pytest.mark.parametrize("address, why", [("http://127.0.0.1:1/a.mp4", "Connection refused"), ("rtsp://127.0.0.1:1/a", "Connection refused"),
                                          ("nowhere://a/b", "Protocol not found")])
def test_an_address_where_nothing_answers_is_one_line(address, why):
    with pytest.raises(wv.InputError, match=rf"^{address}: cannot be read as a video \({why}\)$"):
        list(wv.video.open(address))
