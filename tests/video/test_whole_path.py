"""From frames to features, as the published extraction does it: the case ten_crop_features."""
import devices
import numpy as np

import golden
import wvad_core as wv
from compare import OUTPUT, assert_close
from wvad_core.video.recipe import from_dict


def test_frames_to_features(backend):
    """Recipe `gowtham` at other sizes: 44 frames, of which 12 are dropped, 10 crops, D = 2048, of which every eighth is stored."""
    case = golden.load("ten_crop_features")
    about = case.about["config"]
    recipe = from_dict(wv.video.find_recipe("gowtham").as_dict() | {key: about[key] for key in ("resize", "crop", "tail", "filter")})
    extractor = wv.from_published(about["network"], case.weights(), backend, devices.of(backend), scale=recipe.scale)
    clips = wv.video.snippets(case.outputs["input:frames"], recipe)
    features = np.stack([extractor.features(clip) for clip in clips])
    assert features.shape == tuple(case.outputs["features_shape"])
    assert_close(features[..., ::8], case.outputs["features"], OUTPUT)
    assert_close(np.linalg.norm(features.astype(np.float64), axis=-1), case.outputs["feature_norms"], OUTPUT)
