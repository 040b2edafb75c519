"""Entry points are read once, and again when a package comes or goes."""
from importlib import metadata

from wvad_core.installed import entry_points


def install(site, name: str) -> None:
    about = site / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[wvad.nothing]\n{name} = {name}:something\n")


def test_they_are_those_of_importlib(monkeypatch):
    found = entry_points(group="wvad.backends")
    assert [entry.name for entry in found] == [entry.name for entry in metadata.entry_points(group="wvad.backends")]
    assert entry_points(group="wvad.backends", name="numpy")["numpy"].load().name == "numpy"
    monkeypatch.delattr(metadata, "entry_points")  # nothing is read again
    assert list(entry_points(group="wvad.backends")) == list(found)


def test_packages_come_and_go(tmp_path, monkeypatch):
    def names() -> set:
        return set(entry_points(group="wvad.nothing").names)

    assert names() == set()
    monkeypatch.syspath_prepend(tmp_path)
    assert names() == set()
    install(tmp_path, "one")
    assert names() == {"one"}
    install(tmp_path, "other")
    assert names() == {"one", "other"}
    (tmp_path / "one-1.0.dist-info").rename(tmp_path / "removed")
    assert names() == {"other"}
    monkeypatch.undo()
    assert names() == set()
