"""VadCLIP as its authors evaluate and train it, in PyTorch: the texts encoded for every video and batch, windows by a mask."""
from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from published_layers import Weights, linear, on_device, random_classes
from wvad_core.data.batches import Batch
from wvad_core.methods.vadclip import Config, prompt_layout

LENGTH, WINDOW, CONTEXT = 256, 8, 77


def quick(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def mlp(w: Weights, x: Tensor, name: str) -> Tensor:
    return linear(w, quick(linear(w, x, f"{name}.c_fc")), f"{name}.c_proj")


def norm(w: Weights, x: Tensor, name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def block(w: Weights, x: Tensor, name: str, heads: int, mask: Tensor) -> Tensor:
    """PyTorch's multi-head attention with a mask (T, T) that is added. x (T, B, C)."""
    normed = norm(w, x, f"{name}.ln_1")
    attended, _ = F.multi_head_attention_forward(
        normed, normed, normed, x.shape[-1], heads, w[f"{name}.attn.in_proj_weight"], w[f"{name}.attn.in_proj_bias"], None,
        None, False, 0.0, w[f"{name}.attn.out_proj.weight"], w[f"{name}.attn.out_proj.bias"], need_weights=False, attn_mask=mask)
    x = x + attended
    return x + mlp(w, norm(w, x, f"{name}.ln_2"), f"{name}.mlp")


def windows(size: int) -> Tensor:
    """-inf but within each window of 8, (T, T)."""
    places = torch.arange(size) // WINDOW
    return torch.zeros(size, size).masked_fill(places[:, None] != places, -math.inf)


def similarities(x: Tensor, lengths: list[int]) -> Tensor:
    """One video after another. x (B, T, C) -> (B, T, T)."""
    norms = x.norm(p=2, dim=2, keepdim=True)
    cosines = x @ x.permute(0, 2, 1) / (norms @ norms.permute(0, 2, 1) + 1e-20)
    found = torch.zeros_like(cosines)
    for i, n in enumerate(lengths):
        found[i, :n, :n] = F.threshold(cosines[i, :n, :n], 0.7, 0).softmax(1)
    return found


def distances(x: Tensor) -> Tensor:
    """(B, T, T), by the cities' distances of NumPy's places, as a matrix for each video."""
    places = np.arange(x.shape[1], dtype=np.float32)
    one = torch.from_numpy(np.exp(-np.abs(places[:, None] - places) / math.e)).to(x.device)
    return one.unsqueeze(0).repeat(len(x), 1, 1)


def graph(w: Weights, x: Tensor, name: str, matrix: Tensor) -> Tensor:
    residual = x
    if f"{name}.residual.weight" in w:
        residual = F.conv1d(x.permute(0, 2, 1), w[f"{name}.residual.weight"], w[f"{name}.residual.bias"], padding=2).permute(0, 2, 1)
    return quick(matrix @ (x @ w[f"{name}.weight"]) + residual)


def visual(w: Weights, chunks: Tensor, lengths: list[int]) -> Tensor:
    """(B, T, D) -> (B, T, D)."""
    x = (chunks + w["frame_position_embeddings.weight"]).permute(1, 0, 2)
    mask = windows(LENGTH).to(x.device)
    for k in range(2):
        x = block(w, x, f"temporal.resblocks.{k}", 1, mask)
    x = x.permute(1, 0, 2)
    near, far = similarities(x, lengths), distances(x)
    x1, x2 = graph(w, graph(w, x, "gc1", near), "gc2", near), graph(w, graph(w, x, "gc3", far), "gc4", far)
    return linear(w, torch.cat([x1, x2], 2), "linear")


def texts(w: Weights, config: Config) -> Tensor:
    """(C, D), of all 77 places of each class's text."""
    layout, ends = prompt_layout(config)
    ids = torch.full((len(layout), CONTEXT), -1)
    ids[:, :layout.shape[1]] = torch.from_numpy(layout)
    ids = ids.to(w["classifier.weight"].device)
    words = F.embedding(ids.clamp(min=0), w["clipmodel.token_embedding.weight"])
    x = torch.where((ids >= 0)[..., None], words, w["text_prompt_embeddings.weight"]) + w["clipmodel.positional_embedding"]
    mask, x = torch.full((CONTEXT, CONTEXT), -math.inf).triu(1).to(x.device), x.permute(1, 0, 2)
    for k in range(config.text_depth):
        x = block(w, x, f"clipmodel.transformer.resblocks.{k}", config.text_heads, mask)
    x = norm(w, x.permute(1, 0, 2), "clipmodel.ln_final")
    return x[torch.arange(len(x)), torch.from_numpy(ends)] @ w["clipmodel.text_projection"]


def outputs(w: Weights, chunks: Tensor, lengths: list[int], config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """t (C, D), logits (B, T) and class logits (B, T, C)."""
    v = visual(w, chunks, lengths)
    logits = linear(w, v + mlp(w, v, "mlp2"), "classifier")
    t = texts(w, config)
    prompt = logits.permute(0, 2, 1) @ v
    u = t.expand(len(v), -1, -1) + prompt / prompt.norm(dim=-1, keepdim=True)
    u = u + mlp(w, u, "mlp1")
    unit = v / v.norm(dim=-1, keepdim=True)
    return t, logits[..., 0], unit @ (u / u.norm(dim=-1, keepdim=True)).permute(0, 2, 1) / 0.07


def scores(weights: Weights, video: np.ndarray) -> np.ndarray:
    """One of the crops, its chunks as a batch; both branches, of which the classifier's is scored. video (N, T, D) -> (T,)."""
    config = Config()
    with torch.inference_mode():
        crop = on_device(video[config.test_crop])
        steps = len(crop)
        count = steps // LENGTH + 1
        chunks = F.pad(crop, (0, 0, 0, count * LENGTH - steps)).view(count, LENGTH, -1)
        lengths = [min(LENGTH, steps - i * LENGTH) for i in range(count)]
        _, logits, classes = outputs(weights, chunks, lengths, config)
        classes.reshape(count * LENGTH, -1)[:steps].softmax(-1)
        return torch.sigmoid(logits.reshape(-1)[:steps]).cpu().numpy()


def given(config: Config, labels: np.ndarray) -> dict:
    """What a random batch has besides features."""
    return {"classes": random_classes(len(config.classes), labels)}


def loss(w: Weights, batch: Batch, config: Config, random: bool, past: dict) -> Tensor:
    """The total loss, one video after another."""
    lengths = batch.true_lengths().tolist()
    t, logits, classes = outputs(w, on_device(batch.features), lengths, config)
    places = batch.class_indices(len(config.classes))
    mil, aligned = [], []
    for i, n in enumerate(lengths):
        k = n // 16 + 1
        mil.append(torch.sigmoid(logits[i, :n]).topk(k).values.mean())
        label = torch.zeros(len(t), device=t.device)
        label[places[i][places[i] >= 0]] = 1
        mean = classes[i, :n].topk(k, dim=0).values.mean(0)
        aligned.append(-((label / label.sum()) * mean.log_softmax(0)).sum())
    unit = t / t.norm(dim=-1, keepdim=True)
    separation = sum((unit[0] @ unit[c]).abs() for c in range(1, len(t))) / (len(t) - 1)
    labels = on_device(batch.labels.astype(np.float32))
    return (F.binary_cross_entropy(torch.stack(mil), labels) + torch.stack(aligned).mean()
            + config.separation_weight * separation)
