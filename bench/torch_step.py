#!/usr/bin/env python3
"""One training step of a Llama-style model in PyTorch on the CPU: the peer of bench/cpu_step.cpp.

usage: torch_step.py SIZE fp32|bf16 THREADS STEPS [--compile]

The same model (RMSNorm, rotary positions, causal attention, SwiGLU, tied head), sizes, fresh random tokens every step,
gradient clipped at 1.0, fused AdamW; bf16 is autocast with fp32 weights. The median of STEPS steps after three, as a
line of JSON. Needs PyTorch.
"""
import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

from step_sizes import SIZES

WARM_UP = 3


def rotated(x, cosine, sine):
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cosine - high * sine, high * cosine + low * sine), dim=-1)


class Layer(nn.Module):
    def __init__(self, hidden, heads, intermediate):
        super().__init__()
        self.heads = heads
        self.attn_norm = nn.RMSNorm(hidden)
        self.qkv = nn.Linear(hidden, 3 * hidden, bias=False)
        self.o = nn.Linear(hidden, hidden, bias=False)
        self.mlp_norm = nn.RMSNorm(hidden)
        self.gate_up = nn.Linear(hidden, 2 * intermediate, bias=False)
        self.down = nn.Linear(intermediate, hidden, bias=False)

    def forward(self, x, cosine, sine):
        batch, tokens, hidden = x.shape
        heads = self.qkv(self.attn_norm(x)).view(batch, tokens, 3, self.heads, hidden // self.heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(rotated(q, cosine, sine), rotated(k, cosine, sine), v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(batch, tokens, hidden))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, hidden, layers, heads, intermediate, vocab, tokens):
        super().__init__()
        self.embed = nn.Embedding(vocab, hidden)
        self.layers = nn.ModuleList(Layer(hidden, heads, intermediate) for _ in range(layers))
        self.norm = nn.RMSNorm(hidden)
        half = hidden // heads // 2
        angles = torch.outer(torch.arange(tokens).float(), 10000.0 ** (-torch.arange(half).float() / half))
        self.register_buffer("cosine", angles.cos())
        self.register_buffer("sine", angles.sin())
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)

    def forward(self, tokens, targets):
        x = self.embed(tokens)
        cosine, sine = self.cosine.to(x.dtype), self.sine.to(x.dtype)
        for layer in self.layers:
            x = layer(x, cosine, sine)
        logits = self.norm(x) @ self.embed.weight.t()
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("precision", choices=("fp32", "bf16"))
    parser.add_argument("threads", type=int)
    parser.add_argument("steps", type=int)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    hidden, layers, heads, intermediate, vocab, batch, length = SIZES[args.size]
    model = Model(hidden, layers, heads, intermediate, vocab, length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    forward = torch.compile(model) if args.compile else model
    seconds = []
    for step in range(WARM_UP + args.steps):
        text = torch.randint(vocab, (batch, length + 1))
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
            loss = forward(text[:, :-1], text[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step >= WARM_UP:
            seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    print(json.dumps({"tool": "PyTorch " + torch.__version__, "compiled": args.compile, "size": args.size,
                      "precision": args.precision, "threads": args.threads, "step_ms": 1e3 * median,
                      "best_ms": 1e3 * min(seconds), "tokens_per_s": batch * length / median, "loss": loss.item()}))


main()
