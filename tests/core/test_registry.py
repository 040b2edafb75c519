"""Models of other packages: found through entry points, checked when they are asked for, in nobody's way."""
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import mean_colour
import numpy as np
import pytest

import wvad_core as wv
from wvad_core import registry
from wvad_core.checkpoints.contents import Contents
from wvad_core.checkpoints.identification.recognition import identify
from wvad_core.cli.methods import main as list_methods
from wvad_core.registry import ExtractorSpecification, MethodSpecification, Models, specification
from wvad_core.scoring import cost
from wvad_core.training.planning import plan

FOLDER = Path(wv.__file__).parent / "methods"
SPECIFICATION = """
    from dataclasses import dataclass
    from wvad_core.blocks import configuration
    from wvad_core.blocks.tensors import Parameter

    @dataclass(frozen=True)
    class Config(configuration.Config):
        feature_dim: int = 4

    def parameters(config):
        return {"weight": Parameter((config.feature_dim,), 1.0)}

    def forward(features, p, config):
        return features @ p["weight"]

    def losses(batch, p, config):
        return {"total": forward(batch.features, p, config).mean()}
    """


@pytest.fixture
def methods(monkeypatch) -> Models:
    """The methods, read anew: as in a process that starts now."""
    found = Models("methods", MethodSpecification)
    monkeypatch.setattr(registry, "METHODS", found)
    return found


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install(package, groups, {module: source}): a package as pip installs it, on the path. groups: {group: [lines]}."""
    number = iter(range(100))

    def made(package: str, groups: dict[str, list[str]], sources: dict[str, str]) -> None:
        site = tmp_path / str(next(number))
        about = site / f"{package.replace('-', '_')}-1.5.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
        (about / "entry_points.txt").write_text(
            "\n".join(line for group, lines in groups.items() for line in (f"[{group}]", *lines)))
        for module, source in sources.items():
            (site / f"{module}.py").write_text(textwrap.dedent(source))
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.syspath_prepend(site)

    return made


def refusal(function, *given) -> str:
    with pytest.raises(wv.InputError) as raised:
        function(*given)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_package_adds_a_method(methods, install):
    install("others", {"wvad.methods": ["dot-product = others_dot"]}, {"others_dot": SPECIFICATION})
    assert "dot-product" in wv.list_methods() and set(specification_names()) < set(wv.list_methods())
    made = wv.create("dot-product", feature_dim=3)
    features = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.allclose(made.score(features), features @ made.weights()["weight"])
    with pytest.raises(wv.InputError, match="dot-product has no setting 'feature_dims'; did you mean feature_dim"):
        wv.create("dot-product", feature_dims=3)
    # a network of its own gets its fresh weights by its configuration alone
    assert np.array_equal(registry.first_weights(made.config, 0, None)["weight"], made.weights()["weight"])


def specification_names() -> list[str]:
    return sorted(path.stem.replace("_", "-") for path in FOLDER.glob("[a-z]*.py"))


def test_what_a_specification_leaves_out(methods, install):
    install("others", {"wvad.methods": ["dot-product = others_dot"]}, {"others_dot": SPECIFICATION})
    spec = specification("dot-product")
    config, scores = spec.Config(), np.ones(3)
    assert spec.published(config).names == {"weight": "weight"} and wv.published_names("dot-product") == {"weight": "weight"}
    assert (spec.PAPER, spec.DEMO, spec.RECIPES, spec.PROBABILITIES) == (None, None, {}, True)
    assert spec.memory(config) is None and spec.stages(config) == (config,) and spec.classes(config) == ()
    assert spec.postprocess(scores, config) is scores and spec.infer({"weight": (4,)}) == {}
    assert specification("dot-product") is spec and spec.module.__name__ == "others_dot"


def test_a_method_without_a_recipe_is_not_trained(methods, install):
    install("others", {"wvad.methods": ["dot-product = others_dot"]}, {"others_dot": SPECIFICATION})
    assert refusal(plan, "dot-product", "demo", None, "torch") == (
        "dot-product has no recipe for demo, nor for any other dataset; expected RECIPES in others_dot")


@pytest.mark.needs("torch")
def test_the_demos_features_say_their_size(methods, install):
    recipe = "\n    RECIPES = {'ucf-crime': {'segments': 4, 'videos': 2, 'steps': 3, 'settings': {'feature_dim': 7}}}\n"
    install("others", {"wvad.methods": ["dot-product = others_dot"]}, {"others_dot": SPECIFICATION + recipe})
    assert plan("dot-product", "demo", None, "torch", recipe="ucf-crime").config.feature_dim == 32
    assert plan("dot-product", "demo", None, "torch", "auto", {"feature_dim": 5}, "ucf-crime").config.feature_dim == 5


def test_what_this_librarys_methods_offer_is_theirs():
    for method in specification_names():
        spec = specification(method)
        own = [part for part in ("published", "PROBABILITIES", "postprocess", "classify") if hasattr(spec.module, part)]
        for part in ("Config", "parameters", "forward", "losses", "PAPER", "RECIPES", "PROTOCOLS", "DEMO", *own):
            assert getattr(spec, part) is getattr(spec.module, part), (method, part)


BROKEN = {
    "does-not-exist": ("others_none", None, "cannot be imported: ModuleNotFoundError: No module named 'others_none'"),
    "raises": ("others_raises", "1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
    "exits": ("others_exits", "import sys\nsys.exit('no licence')", "cannot be imported: SystemExit: no licence"),
    "lines": ("others_lines", "raise SyntaxError('two\\nlines')", "cannot be imported: SyntaxError: two lines"),
    "lacks": ("others_lacks", SPECIFICATION.partition("def losses")[0].replace("def forward", "def forwards"),
              ": module others_lacks lacks forward, losses"),
    "halves": ("others_halves", SPECIFICATION + "\n    def stages(config):\n        return (config,)\n",
               ": module others_halves lacks next_stage"),
    "no-classes": ("others_classify", SPECIFICATION + "\n    def classify(features, p, config):\n        return features\n",
                   ": module others_classify lacks classes"),
    "foreign-config": ("others_foreign", "from wvad_core.methods.saa import *\n",
                       ": Config of module others_foreign, expected a class of its own, derived from "
                       "wvad_core.blocks.configuration.Config"),
    "plain-config": ("others_plain", SPECIFICATION.replace("(configuration.Config)", ""), ": Config of module others_plain"),
    "no-module": ("others_dot:Config", None, ": a type, expected a module"),
    "under_score": ("others_dot", None, ": its name has other characters than a-z, 0-9 and single hyphens"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_package_is_told_in_one_line(name, methods, install):
    module, source, message = BROKEN[name]
    sources = {"others_dot": SPECIFICATION} | ({} if source is None else {module: source})
    install("others", {"wvad.methods": [f"{name} = {module}", "dot-product = others_dot"]}, sources)
    assert name in wv.list_methods()
    begin = f"method {name} (entry point {name} = {module} in wvad.methods of others 1.5)"
    for _ in range(2):
        assert refusal(wv.create, name).startswith(begin) and message in refusal(wv.create, name)
    assert wv.create("dot-product").config.feature_dim == 4
    assert [found for found, _ in methods.usable()] == [found for found in wv.list_methods() if found != name]


def test_a_broken_package_is_in_no_files_way(methods, install):
    install("others", {"wvad.methods": ["raises = others_raises", "saa = others_dot"]},
            {"others_raises": "1 / 0", "others_dot": SPECIFICATION})
    tensors = wv.create("rtfm", feature_dim=16, hidden_dims=(12, 6)).weights()
    assert identify(Contents(tensors, {}), "x.pt").method == "rtfm"
    assert "cannot be imported" in refusal(identify, Contents(tensors, {}), "x.pt", "raises")


def test_a_file_of_another_packages_method(methods, install):
    """Known by its tensors, under its own names, whether or not others are published."""
    install("others", {"wvad.methods": ["dot-product = others_dot"]}, {"others_dot": SPECIFICATION})
    found = identify(Contents({"module.weight": np.ones(7, np.float32)}, {}), "x.pt")
    assert (found.method, found.config.feature_dim, found.assumed.alternatives) == ("dot-product", 7, ())


TOGETHER = SPECIFICATION.replace("feature_dim: int = 4", "feature_dim: int = 4\n        a: int = 1\n        b: int = 2\n"
                                 "        c: int = 4").replace("{", '{"all": Parameter((config.a * config.b * config.c,)), ')
INFER = """
    def infer(shapes):
        a = round((shapes["all"][0] / 8) ** (1 / 3))
        return {"a": a, "b": 2 * a, "c": 4 * a}
    """


def test_what_a_method_reads_off_by_itself(methods, install):
    """Numbers that tensors show together only are not found by trying. What is given is not inferred."""
    install("others", {"wvad.methods": ["tried = others_tried", "inferred = others_inferred"]},
            {"others_tried": TOGETHER, "others_inferred": TOGETHER + INFER})
    tensors = {"all": np.zeros(216, np.float32), "weight": np.ones(6, np.float32)}
    assert "tensor all has shape (216,), expected (8,)" in refusal_of_tensors(tensors, "tried")
    found = identify(Contents(tensors, {}), "x.pt", "inferred")
    assert found.config.as_dict() == {"feature_dim": 6, "a": 3, "b": 6, "c": 12} and not found.assumed.settings
    given = identify(Contents(tensors, {}), "x.pt", "inferred", {"b": 3, "c": 24})
    assert given.config.as_dict() == {"feature_dim": 6, "a": 3, "b": 3, "c": 24}
    assert "missing tensor all" in refusal_of_tensors({"weight": tensors["weight"]}, "inferred")
    raising = tensors | {"all": np.zeros((), np.float32)}
    assert "tensor all has shape" in refusal_of_tensors(raising, "inferred")


def refusal_of_tensors(tensors: dict, method: str) -> str:
    with pytest.raises(wv.InputError) as raised:
        identify(Contents(tensors, {}), "x.pt", method)
    return str(raised.value)


def test_two_that_have_one_name(methods, install):
    install("others", {"wvad.methods": ["saa = others_dot", "dot-product = others_dot"]}, {"others_dot": SPECIFICATION})
    install("more", {"wvad.methods": ["dot-product = others_dot"]}, {})
    assert wv.list_methods().count("saa") == wv.list_methods().count("dot-product") == 1
    expected = "(group wvad.methods), expected in one of them: uninstall or rename the other"
    assert refusal(wv.create, "saa") == f"method saa is in wvad_core itself and in others 1.5 {expected}"
    assert refusal(wv.create, "dot-product") == f"method dot-product is in more 1.5 and in others 1.5 {expected}"
    assert wv.create("rtfm", feature_dim=16).method == "rtfm"


def test_a_name_that_is_none():
    assert refusal(wv.create, "bn_wvad") == (
        f"unknown method 'bn_wvad' (did you mean bn-wvad?); the methods are {', '.join(wv.list_methods())}")
    assert refusal(wv.create, "transformer") == (
        f"unknown method 'transformer'; the methods are {', '.join(wv.list_methods())}")


def test_networks(methods, install):
    package = "wvad_core"  # whose methods have no Network
    install("others", {"wvad.methods": ["dot-product = others_dot"], "wvad.methods.abacus": ["dot-product = others_abacus"],
                       "wvad.methods.quill": ["dot-product = others_dot"]},
            {"others_dot": SPECIFICATION, "others_abacus": "class Network: pass"})
    assert registry.network_module("dot-product", "abacus", package).__name__ == "others_abacus"
    assert refusal(registry.network_module, "dot-product", "slate", package) == (
        "method dot-product has no network for the slate backend, expected an entry point dot-product in the group "
        "wvad.methods.slate; the numpy backend runs the specification itself")
    assert refusal(registry.network_module, "dot-product", "quill", package) == (
        "method dot-product (entry point dot-product = others_dot in wvad.methods.quill of others 1.5): module others_dot "
        "lacks Network")
    assert "unknown method 'dot_product' (did you mean dot-product?)" in refusal(
        registry.network_module, "dot_product", "abacus", package)


@pytest.mark.needs("mindspore", "torch")
def test_a_backend_without_a_network_says_so(methods, install, framework):
    install("others", {"wvad.methods": ["dot-product = others_dot"]}, {"others_dot": SPECIFICATION})
    assert refusal(wv.create, "dot-product", framework).startswith(
        f"method dot-product has no network for the {framework} backend")


EXTRACTOR = Path(mean_colour.__file__).read_text()


def test_extractors_are_found_in_the_same_way(install, monkeypatch):
    extractors = Models("extractors", ExtractorSpecification)
    monkeypatch.setattr(registry, "EXTRACTORS", extractors)
    install("others", {"wvad.extractors": ["mean-colour = others_mean"], "wvad.extractors.abacus": ["mean-colour = others_mean"]},
            {"others_mean": EXTRACTOR + "\n\nclass Network:\n    pass\n"})
    assert "mean-colour" in wv.list_extractors() and "mean-colour" not in wv.list_methods()
    assert registry.network_module("mean-colour", "abacus", "wvad_core").Network
    made = wv.create("mean-colour")
    assert type(made) is wv.Extractor and made.config.feature_dim == 3
    clips = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 4, 3)).astype(np.uint8)
    assert np.allclose(made.features(clips), 2 * clips.mean((1, 2, 3)) / 127.5 - 2)
    assert refusal(wv.create, "mean-color").startswith("unknown extractor 'mean-color' (did you mean mean-colour?); the extractors")
    assert refusal(extractors.specification, "mean").startswith("unknown extractor 'mean'")


def test_a_method_is_no_extractor(install):
    extractors = Models("extractors", ExtractorSpecification)
    install("others", {"wvad.extractors": ["dot-product = others_dot"]}, {"others_dot": SPECIFICATION})
    assert refusal(extractors.specification, "dot-product").endswith("module others_dot lacks clip_sizes")
    install("more", {"wvad.extractors": ["dot-two = more_dot"]},
            {"more_dot": SPECIFICATION + "\n    def clip_sizes(config):\n        return None\n"})
    assert refusal(extractors.specification, "dot-two").endswith(
        "Config of module more_dot, expected a class of its own, derived from wvad_core.blocks.configuration.ExtractorConfig")


def test_methods_of_other_packages_load_no_framework(tmp_path, install):
    install("others", {"wvad.methods": ["dot-product = others_dot"], "wvad.methods.torch": ["dot-product = torch"]},
            {"others_dot": SPECIFICATION})
    code = ("import sys, wvad_core as wv; wv.create('dot-product').score([[1, 2, 3, 4.0]]); "
            "assert 'dot-product' in wv.list_methods() and 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(tmp_path / "0")})


def test_the_command_that_lists_methods(methods, install, capsys, monkeypatch):
    """One that cannot be used is told of; a paper and recipes may be missing."""
    monkeypatch.setattr(cost, "multiply_accumulates", lambda *given: 0)  # which takes seconds
    install("others", {"wvad.methods": ["dot-product = others_dot", "raises = others_raises"]},
            {"others_dot": SPECIFICATION, "others_raises": "1 / 0"})
    list_methods([])
    entries = {words.split()[0]: words for words in capsys.readouterr().out.split("\n\n")}
    assert list(entries) == list(wv.list_methods())
    expected = r"dot-product +no paper\n +0.0 M parameters; published: none known\n +recipes: none"
    assert re.fullmatch(expected, entries["dot-product"])
    assert re.fullmatch(r"raises +cannot be used: method raises \(.*\) cannot be imported: .*\n", entries["raises"] + "\n")
    list_methods(["--markdown"])
    table = capsys.readouterr().out
    assert "\n| `dot-product` | no paper | none known | 0.0 M | 0.0 M |\n" in table and "raises" not in table
