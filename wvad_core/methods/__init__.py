"""The methods. A method is a module of this package, which offers

    Config                                  its configuration, a frozen dataclass
    parameters(config)                      {canonical tensor name: Parameter}
    forward(features, p, config)            anomaly scores, (B, T, D) or (B, N, T, D) -> (B, T)
    losses(batch, p, config)                {"total": ..., term: ...} of a Batch with the normal half first
    published(config)                       the tensor names of its published checkpoints
    PROBABILITIES                           whether a score is the probability, from 0 to 1, that a snippet is anomalous; where
                                            it is none, no report has what is taken at the score 0.5
    PAPER                                   where it was published, with which results
    RECIPES                                 how it is trained, {dataset: Recipe}: as published, and on the demo set
    DEMO                                    a small configuration, for the demo set

and, where training remembers more than the weights,

    memory(config)                          an object with state() -> {name: array} and restore(state), that `losses` finds
                                            as p.memory

and, where training has stages,

    stages(config)                          the configurations that lead to this one, which is the last
    next_stage(weights, config, seed)       the weights that a stage starts from, made of those that the one before ended with
"""
