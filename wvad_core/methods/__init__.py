"""The methods, a module each; other packages add some through entry points (docs/adding_a_method.md). A module offers

    Config                                  its configuration, a frozen dataclass of its own
    parameters(config)                      {canonical tensor name: Parameter}
    forward(features, p, config)            anomaly scores, (B, T, D) or (B, N, T, D) -> (B, T)
    losses(batch, p, config)                {"total": ..., term: ...} of a Batch with the normal half first, or, where
                                            `Config.halves` is False, of any videos in any order

and, where what `wvad_core.registry.MethodSpecification` takes for them by default is not right,

    published(config)                       the tensor names of its published checkpoints; else the canonical ones
    infer(shapes)                           {setting: value} of settings that {canonical tensor name: shape} show at once
    infer_names(names)                      {setting: value} of settings that the names of a file's tensors, canonical or published,
                                            show only together, such as the depth of every stage; others are found by trying
    RELEASES                                {what its names are called: function({name: array}) -> {published name: array}},
                                            of checkpoints under other names or in other layouts than the published ones; a
                                            function gives None for what is no such checkpoint; else {}
    PAPER                                   where it was published, with which results; else None
    RECIPES                                 how it is trained, {dataset: {field of `training.recipe.Recipe`: value}}, as
                                            published and on the demo set; else {}
    PROTOCOLS                               how its authors evaluate it, {dataset, or "" for all others:
                                            `conventions.Protocol`}, for `wvad test --protocol published`: Protocol() where that
                                            is as the library does it, which is `uniform`; else {}, which says nothing of it
    DEMO                                    a small configuration, for the demo set; else None
    COMPANIONS                              the names of the arrays of a dataset that training takes; else (). `losses` finds
                                            them in a batch; one with the name of a tensor is that tensor's first value
    SAMPLERS                                how training videos become segments, {name in a recipe: Sampler}; else {}
    loss_weights(config)                    {term: its weight in `total`}, of those that count other than once
    PROBABILITIES                           whether a score is the probability, from 0 to 1, that a snippet is anomalous, as by
                                            default; where it is none, no report has what is taken at the score 0.5
    postprocess(scores, config)             what becomes of a video's scores (T,), crops averaged; else they stay as they are
    memory(config)                          what training remembers besides the weights: an object with state() ->
                                            {name: array} and restore(state), which raises InputError for what state() does
                                            not give, that `losses` finds as p.memory; else None
    stages(config) and                      the configurations that lead to this one, which is the last; else it alone
    next_stage(weights, config, seed)       the weights that a stage starts from, made of those that the one before ended with
    classes(config)                         the categories that it trains with, as tables name them: `Batch.classes` are their
                                            places in this tuple; else (), and batches have none
    deployed(weights, config)               (weights, config) of a detector that scores and classifies alike without what training
                                            alone takes; else they stay as they are
    classify(features, p, config)           their probabilities, (B, T, K), of a method that tells them apart; else None
    score_and_classify(features, p, config) both, of features that pass the network once; else it does so for each. Networks of
                                            the frameworks may have a method of this name too, for the same
"""
