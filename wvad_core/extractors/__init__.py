"""The extractors, a module each, in the form of `wvad_core.methods`; other packages add some through entry points. A module offers

    Config                                  its configuration, a frozen dataclass of its own, derived from
                                            `blocks.configuration.ExtractorConfig`
    parameters(config)                      {canonical tensor name: Parameter}
    forward(clips, p, config)               features of normalised clips, (B, C, F, H, W) -> (B, D)
    clip_sizes(config)                      the `blocks.clips.ClipSizes` that it takes

and, where what `wvad_core.registry.ExtractorSpecification` takes for them by default is not right,

    published(config)                       the tensor names of its published checkpoints; else the canonical ones. A
                                            classifier behind the features is a part of its own, a training part
    infer(shapes)                           {setting: value} of settings that {canonical tensor name: shape} show at once
    RELEASES                                {what its names are called: function({name: array}) -> {published name: array}},
                                            of checkpoints under other names or in other layouts than the published ones; a
                                            function gives None for what is no such checkpoint; else {}
    PAPER                                   where it was published; else None
"""
