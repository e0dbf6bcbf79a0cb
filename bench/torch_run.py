#!/usr/bin/env python3
"""Trains in PyTorch what `bench_peer inputs` wrote: the same tokens in the same order from the same weights.

usage: torch_run.py DIR... --log FILE [--variants NAME...] [--sequences N] [--device cuda|cpu]

Model, optimizer, schedule and clipping are those of DIR/run.toml: AdamW (matrices decay, vectors do not), the gradient of
the loss averaged over the step's targets, clipped by its norm. Every DIR is trained once in each variant, and scored on
DIR/validation.bin where there is one. Products are bf16, norms, rotation, softmax and loss f32, as autocast has them.
Variants differ in rounding alone:

  compiled         blocks compiled, cuDNN attention, activations between blocks in bf16
  eager            nothing compiled, flash attention, activations between blocks in the dtype of the weights
  eager-efficient  eager, with the attention kernels named memory-efficient
  fp32             eager, everything in f32 with TF32 products: what the roundings to bf16 do
  master           compiled; bf16 weights are rounded from f32 ones, which the optimizer updates
  master-eager     eager; the same

With precision "bf16" weights and states are f32; with "bf16-stochastic", weights, gradients and states are bf16 and are
rounded to nearest, by the fused AdamW; master keeps weights in f32 and, with more than 4e9 of them, the states in bf16.

FILE gets JSON lines: {"run", "variant", "step", "loss", "grad_norm", "lr"} for each step, {"run", "variant",
"validation_loss", "validation_tokens"}, {"run", "variant", "steps", "seconds", "tokens_per_s", "gib", ...}; seconds leave
the first three steps out. Needs PyTorch, numpy and safetensors. One file, so that it can be copied to another computer.
"""
import argparse
import gc
import json
import math
import pathlib
import time
import tomllib
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

BF16, F32 = torch.bfloat16, torch.float32
WARM_UP = 3
LOGGED_TOGETHER = 20  # steps whose losses leave the GPU together
MANY_WEIGHTS = 4e9
BEGUN = time.time()


@dataclass(frozen=True)
class Variant:
    compiled: bool
    attention: str
    compute: torch.dtype = BF16
    master: bool = False


VARIANTS = {
    "compiled": Variant(True, "cudnn"),
    "eager": Variant(False, "flash"),
    "eager-efficient": Variant(False, "efficient"),
    "fp32": Variant(False, "efficient", F32),
    "master": Variant(True, "cudnn", master=True),
    "master-eager": Variant(False, "flash", master=True),
}


def say(text):
    print(f"[{time.time() - BEGUN:7.1f} s] {text}", flush=True)


# ---------------------------------------------------------------- inputs
class Batches:
    """A file of micro-batches (src/train/batch_file.h)."""

    def __init__(self, path):
        form, self.batches, self.sequences, self.seq_len = np.fromfile(path, np.int64, 4).tolist()
        if form != 1:
            raise SystemExit(f"{path} has format {form}, not 1")
        shape = (self.batches, 2, self.sequences, self.seq_len)
        self.values = np.memmap(path, np.int32, "r", 32, shape)

    def count(self, first, last):
        return int((self.values[first:last, 1] >= 0).sum())

    def parts(self, first, last, sequences, device):
        """Tokens and targets of micro-batches [first, last), `sequences` rows at a time."""
        for batch in range(first, last):
            for row in range(0, self.sequences, sequences):
                rows = torch.from_numpy(self.values[batch, :, row:row + sequences].astype(np.int64))
                tokens, targets = rows.to(device, non_blocking=True)
                yield tokens, targets


def learning_rate(run, step):
    """src/train/schedule.h"""
    highest, warmup, last = run["learning_rate"], run["warmup_steps"], run["max_steps"]
    if step < warmup:
        return highest * (step + 1) / warmup
    rest = max(1, last - warmup)
    falling = rest
    if run["schedule"] == "wsd":
        falling = min(max(run["decay_steps"] or last // 5, 1), rest)
    begin = max(warmup, last - falling)
    progress = min(max((step - begin) / falling, 0), 1)
    left = {"constant": 1, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2,
            "wsd": 1 - math.sqrt(progress)}[run["schedule"]]
    least = 1 if run["schedule"] == "constant" else run["min_lr_ratio"]
    return highest * (least + (1 - least) * left)


# ---------------------------------------------------------------- model
class Linear(nn.Module):
    def __init__(self, inside, outside, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outside, inside))
        self.bias = nn.Parameter(torch.empty(outside)) if bias else None

    def forward(self, x):
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class Norm(nn.Module):
    def __init__(self, width, kind, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width)) if kind == "layernorm" else None
        self.eps = eps

    def forward(self, x, dtype):
        x = x.float()
        if self.bias is not None:
            return F.layer_norm(x, x.shape[-1:], self.weight.float(), self.bias.float(), self.eps).to(dtype)
        return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight.float()).to(dtype)


def rotated(x, cosine, sine):
    low, high = x.float().chunk(2, dim=-1)
    return torch.cat((low * cosine - high * sine, high * cosine + low * sine), dim=-1).to(x.dtype)


class Block(nn.Module):
    def __init__(self, m):
        super().__init__()
        width, inside = m["hidden_size"], m["intermediate_size"]
        self.heads, self.kv_heads, self.size = m["num_attention_heads"], m["num_key_value_heads"], m["head_dim"]
        self.gated = m["activation"] == "swiglu"
        self.repeat = 1  # copies of each key and value head, for kernels that know no groups
        self.attn_norm, self.mlp_norm = norm_of(m), norm_of(m)
        self.qkv = Linear(width, (self.heads + 2 * self.kv_heads) * self.size, m["attention_bias"])
        self.o = Linear(self.heads * self.size, width, m["attention_output_bias"])
        self.up = Linear(width, (2 if self.gated else 1) * inside, m["mlp_bias"])
        self.down = Linear(inside, width, m["mlp_bias"])

    def forward(self, x, cosine, sine, dtype):
        batch, tokens, _ = x.shape
        parts = self.qkv(self.attn_norm(x, dtype)).view(batch, tokens, -1, self.size).transpose(1, 2)
        q, k, v = parts.split((self.heads, self.kv_heads, self.kv_heads), 1)
        if cosine is not None:
            q, k = rotated(q, cosine, sine), rotated(k, cosine, sine)
        if self.repeat > 1:
            k, v = k.repeat_interleave(self.repeat, 1), v.repeat_interleave(self.repeat, 1)
        groups = k.shape[1] != self.heads
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=groups)
        x = x + self.o(y.transpose(1, 2).reshape(batch, tokens, -1))
        h = self.up(self.mlp_norm(x, dtype))
        if self.gated:
            gate, up = h.chunk(2, -1)
            h = F.silu(gate) * up
        else:
            h = F.gelu(h, approximate="tanh")
        return x + self.down(h)


def norm_of(m):
    eps = m["layer_norm_epsilon"] if m["norm"] == "layernorm" else m["rms_norm_eps"]
    return Norm(m["hidden_size"], m["norm"], eps)


class Model(nn.Module):
    def __init__(self, m, seq_len):
        super().__init__()
        width, vocab = m["hidden_size"], m["vocab_size"]
        if m["sliding_window"]:
            raise SystemExit("this program knows no sliding window")
        self.embed = nn.Parameter(torch.empty(vocab, width))
        learned = m["positions"] == "learned"
        self.places = nn.Parameter(torch.empty(m["max_position_embeddings"], width)) if learned else None
        self.blocks = nn.ModuleList(Block(m) for _ in range(m["num_hidden_layers"]))
        self.norm = norm_of(m)
        self.head = None if m["tie_word_embeddings"] else nn.Parameter(torch.empty(vocab, width))
        self.seq_len, self.size, self.theta = seq_len, m["head_dim"], m["rope_theta"]
        self.compiled = [torch.compile(block, dynamic=False) for block in self.blocks]

    def angles(self, device):
        if self.places is not None:
            return None, None
        half = torch.arange(0, self.size, 2, device=device, dtype=F32)
        angles = torch.outer(torch.arange(self.seq_len, device=device, dtype=F32), self.theta ** (-half / self.size))
        return angles.cos(), angles.sin()

    def hidden(self, tokens, angles, variant, compiled):
        x = F.embedding(tokens, self.embed)
        if self.places is not None:
            x = x + self.places
        if variant.compiled:
            x = x.to(BF16)
        for block in self.compiled if compiled else self.blocks:
            x = block(x, *angles, variant.compute)
        return self.norm(x, variant.compute).flatten(0, 1)

    def head_weight(self):
        return self.embed if self.head is None else self.head


def score(logits, targets, inverse):
    """The chunk's share of the mean loss, and its gradient."""
    logits32 = logits.float()
    counted = targets >= 0
    place = targets.clamp(min=0)[:, None]
    lse = torch.logsumexp(logits32, -1, keepdim=True)
    loss = torch.where(counted, (lse - logits32.gather(1, place)).squeeze(1), 0).sum() * inverse
    hit = torch.arange(logits.shape[1], device=logits.device)[None] == place
    grad = (torch.exp(logits32 - lse) - hit.float()) * (counted[:, None] * inverse)
    return loss, grad.to(logits.dtype)


class HeadLoss(torch.autograd.Function):
    """Head and loss in chunks of tokens, with the gradients made on the way: no chunk's logits are kept."""

    @staticmethod
    def forward(ctx, x, weight, targets, inverse, chunk, scored):
        cast = weight.to(x.dtype)
        dx, dw, loss = torch.empty_like(x), torch.zeros_like(weight), torch.zeros((), device=x.device)
        for begin in range(0, len(x), chunk):
            part = x[begin:begin + chunk]
            share, grad = scored(part @ cast.t(), targets[begin:begin + chunk], inverse)
            loss += share
            torch.mm(grad, cast, out=dx[begin:begin + chunk])
            if dw.dtype == grad.dtype:
                dw.addmm_(grad.t(), part)
            else:
                dw += grad.t() @ part
        ctx.save_for_backward(dx, dw)
        return loss

    @staticmethod
    def backward(ctx, one):
        dx, dw = ctx.saved_tensors
        return dx, dw, None, None, None, None  # `one` is 1: the loss ends the graph


@torch.no_grad()
def loss_sum(model, variant, tokens, targets, angles, chunk):
    x, targets = model.hidden(tokens, angles, variant, False), targets.flatten()
    weight, total = model.head_weight().to(x.dtype), torch.zeros((), device=x.device, dtype=torch.float64)
    for begin in range(0, len(x), chunk):
        logits = (x[begin:begin + chunk] @ weight.t()).float()
        total += F.cross_entropy(logits, targets[begin:begin + chunk], ignore_index=-1, reduction="sum")
    return total


# ---------------------------------------------------------------- weights
def llama_tensors(files, layers, tied):
    def joined(prefix, names, suffix):
        found = [files[f"{prefix}{name}.{suffix}"] for name in names if f"{prefix}{name}.{suffix}" in files]
        return torch.cat(found) if found else None

    yield "embed", files["model.embed_tokens.weight"]
    yield "norm.weight", files["model.norm.weight"]
    if not tied:
        yield "head", files["lm_head.weight"]
    for i in range(layers):
        here = f"model.layers.{i}."
        yield f"blocks.{i}.attn_norm.weight", files[here + "input_layernorm.weight"]
        yield f"blocks.{i}.mlp_norm.weight", files[here + "post_attention_layernorm.weight"]
        for suffix in ("weight", "bias"):
            yield f"blocks.{i}.qkv.{suffix}", joined(here + "self_attn.", ("q_proj", "k_proj", "v_proj"), suffix)
            yield f"blocks.{i}.o.{suffix}", joined(here + "self_attn.", ("o_proj",), suffix)
            yield f"blocks.{i}.up.{suffix}", joined(here + "mlp.", ("gate_proj", "up_proj"), suffix)
            yield f"blocks.{i}.down.{suffix}", joined(here + "mlp.", ("down_proj",), suffix)


def gpt2_tensors(files, layers):
    yield "embed", files["transformer.wte.weight"]
    yield "places", files["transformer.wpe.weight"]
    for suffix in ("weight", "bias"):
        yield f"norm.{suffix}", files[f"transformer.ln_f.{suffix}"]
        for i in range(layers):
            here = f"transformer.h.{i}."
            yield f"blocks.{i}.attn_norm.{suffix}", files[f"{here}ln_1.{suffix}"]
            yield f"blocks.{i}.mlp_norm.{suffix}", files[f"{here}ln_2.{suffix}"]
            for own, theirs in (("qkv", "attn.c_attn"), ("o", "attn.c_proj"), ("up", "mlp.c_fc"), ("down", "mlp.c_proj")):
                tensor = files[f"{here}{theirs}.{suffix}"]
                yield f"blocks.{i}.{own}.{suffix}", tensor.t() if suffix == "weight" else tensor


@torch.no_grad()
def load_weights(model, m, directory, device):
    files = load_file(f"{directory}/model/model.safetensors", device=str(device))
    layers = m["num_hidden_layers"]
    gpt2 = m["positions"] == "learned"
    tensors = gpt2_tensors(files, layers) if gpt2 else llama_tensors(files, layers, m["tie_word_embeddings"])
    wanted = dict(model.named_parameters())
    for name, tensor in tensors:
        if tensor is not None:
            parameter = wanted.pop(name)
            if parameter.shape != tensor.shape:
                raise SystemExit(f"{directory}: {name} is {tuple(tensor.shape)}, not {tuple(parameter.shape)}")
            parameter.copy_(tensor)
    if wanted:
        raise SystemExit(f"{directory} lacks {sorted(wanted)}")


# ---------------------------------------------------------------- optimizers
def groups_of(parameters, decay):
    return [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0}]


class FusedAdamW:
    def __init__(self, parameters, run):
        self.parameters, self.clip = parameters, run["clip_norm"]
        self.inner = torch.optim.AdamW(groups_of(parameters, run["weight_decay"]), lr=0.0,
                                       betas=(run["beta1"], run["beta2"]), eps=run["eps"], fused=True)

    def step(self, lr):
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip or math.inf, foreach=True)
        for group in self.inner.param_groups:
            group["lr"] = lr
        self.inner.step()
        self.inner.zero_grad(set_to_none=True)
        return norm.float()


class MasterAdamW:
    """AdamW on f32 copies of the weights; each weight is its copy rounded to nearest."""

    def __init__(self, parameters, run):
        self.run, self.done = run, 0
        state = BF16 if sum(p.numel() for p in parameters) > MANY_WEIGHTS else F32
        self.rows = [(p, p.detach().float(), torch.zeros_like(p, dtype=state), torch.zeros_like(p, dtype=state))
                     for p in parameters]

    @torch.no_grad()
    def step(self, lr):
        run = self.run
        self.done += 1
        norms = [torch.linalg.vector_norm(p.grad, dtype=F32) for p, *_ in self.rows]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        factor = (run["clip_norm"] / (norm + 1e-6)).clamp(max=1.0) if run["clip_norm"] else torch.ones_like(norm)
        for p, master, m, v in self.rows:
            self.update(p, master, m, v, factor, lr)
        return norm

    def update(self, p, master, m, v, factor, lr):
        beta1, beta2 = self.run["beta1"], self.run["beta2"]
        grad = p.grad.float().mul_(factor)
        first = m.float().lerp_(grad, 1 - beta1)
        second = v.float().mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        m.copy_(first)
        v.copy_(second)
        if p.dim() > 1:
            master.mul_(1 - lr * self.run["weight_decay"])
        root = second.sqrt().div_(math.sqrt(1 - beta2 ** self.done)).add_(self.run["eps"])  # f32 states: second is v
        master.addcdiv_(first, root, value=-lr / (1 - beta1 ** self.done))
        p.copy_(master)
        p.grad = None


# ---------------------------------------------------------------- training
def choose_attention(model, m, wanted, dtype, device):
    """Allows one kernel, grouped or with heads repeated; the next where it refuses the shape. Says which."""
    if device.type != "cuda":
        return "cpu"
    allow = {"cudnn": torch.backends.cuda.enable_cudnn_sdp, "flash": torch.backends.cuda.enable_flash_sdp,
             "efficient": torch.backends.cuda.enable_mem_efficient_sdp, "math": torch.backends.cuda.enable_math_sdp}
    heads, kv_heads, size = m["num_attention_heads"], m["num_key_value_heads"], m["head_dim"]
    group = heads // kv_heads
    for name in sorted(allow, key=lambda kernel: kernel != wanted):
        for kernel, switch in allow.items():
            switch(kernel == name)
        for repeat in sorted({1, group}):
            q = torch.randn(1, heads, 256, size, device=device, dtype=dtype, requires_grad=True)
            k = torch.randn(1, kv_heads * repeat, 256, size, device=device, dtype=dtype, requires_grad=True)
            try:
                F.scaled_dot_product_attention(q, k, k, is_causal=True, enable_gqa=repeat != group).sum().backward()
                torch.cuda.synchronize()
            except RuntimeError:
                continue
            for block in model.blocks:
                block.repeat = repeat
            return name + ("" if repeat == 1 else ", heads repeated")
    raise SystemExit("no kernel computes this attention")


class Log:
    def __init__(self, path):
        self.file = open(path, "w")

    def add(self, **fields):
        self.file.write(json.dumps(fields) + "\n")
        self.file.flush()


class Session:
    """Runs of one model shape on one device, so that what is compiled is compiled once."""

    def __init__(self, directory, arguments):
        self.run = tomllib.loads((directory / "run.toml").read_text())
        self.m, self.device = self.run["model"], torch.device(arguments.device)
        self.arguments = arguments
        self.weight_dtype = BF16 if self.run["precision"] == "bf16-stochastic" else F32
        self.chunk = 8192 if self.m["vocab_size"] < 1e5 else 4096
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.weight_dtype)
        with self.device:
            self.model = Model(self.m, self.run["seq_len"])
        torch.set_default_dtype(before)
        self.angles = self.model.angles(self.device)
        self.scores = {True: torch.compile(score, dynamic=False), False: score}

    def train(self, directory, name, log):
        run, variant = tomllib.loads((directory / "run.toml").read_text()), VARIANTS[name]
        if run["model"] != self.m:
            raise SystemExit(f"{directory} has another model than the first directory")
        load_weights(self.model, self.m, directory, self.device)
        kernel = choose_attention(self.model, self.m, variant.attention, variant.compute, self.device)
        parameters = list(self.model.parameters())
        optimizer = (MasterAdamW if variant.master else FusedAdamW)(parameters, run)
        labels = {"run": directory.name, "variant": name}
        say(f"{directory.name} {name}: {sum(p.numel() for p in parameters)} weights, attention {kernel}")
        seconds = self.steps(directory, run, variant, optimizer, lambda **fields: log.add(**labels, **fields))
        del optimizer
        rate = seconds["tokens"] / seconds["seconds"] if seconds["seconds"] else 0
        gib = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0  # of all runs so far
        log.add(**labels, steps=run["max_steps"], seconds=round(seconds["seconds"], 2), tokens_per_s=round(rate),
                first_steps_s=round(seconds["first"], 2), gib=round(gib, 2), attention=kernel,
                tool=f"PyTorch {torch.__version__}")
        say(f"{directory.name} {name}: {run['max_steps']} steps, {rate:.0f} tokens/s, the first {WARM_UP} took "
            f"{seconds['first']:.1f} s, {gib:.1f} GiB")
        if (directory / "validation.bin").exists():
            self.validate(directory, variant, lambda **fields: log.add(**labels, **fields))

    def steps(self, directory, run, variant, optimizer, add):
        batches = Batches(directory / "train.bin")
        accumulated, pending = run["grad_accum_steps"], []
        begun, first, counted = time.time(), 0.0, 0
        for step in range(run["max_steps"]):
            if step == WARM_UP:
                self.wait()
                first, begun = time.time() - begun, time.time()
            lr = learning_rate(run, step)
            bounds = (step * accumulated, (step + 1) * accumulated)
            loss = self.gradients(batches, bounds, variant)
            pending.append((step + 1, loss, optimizer.step(lr), lr))
            counted += batches.sequences * batches.seq_len * accumulated if step >= WARM_UP else 0
            if len(pending) == LOGGED_TOGETHER or step + 1 == run["max_steps"]:
                for number, value, norm, rate in pending:
                    add(step=number, loss=value.item(), grad_norm=norm.item(), lr=rate)
                pending.clear()
        self.wait()
        return {"first": first, "seconds": time.time() - begun, "tokens": counted}

    def gradients(self, batches, bounds, variant):
        inverse = 1.0 / batches.count(*bounds)
        total = torch.zeros((), device=self.device)
        sequences = self.arguments.sequences or batches.sequences
        inverse = torch.tensor(inverse, device=self.device)
        for tokens, targets in batches.parts(*bounds, sequences, self.device):
            x = self.model.hidden(tokens, self.angles, variant, variant.compiled)
            loss = HeadLoss.apply(x, self.model.head_weight(), targets.flatten(), inverse, self.chunk,
                                  self.scores[variant.compiled])
            loss.backward()
            total += loss.detach()
        return total

    def validate(self, directory, variant, add):
        batches = Batches(directory / "validation.bin")
        count, total = batches.count(0, batches.batches), torch.zeros((), device=self.device, dtype=torch.float64)
        sequences = self.arguments.sequences or batches.sequences
        for tokens, targets in batches.parts(0, batches.batches, sequences, self.device):
            total += loss_sum(self.model, variant, tokens, targets, self.angles, self.chunk)
        add(validation_loss=total.item() / count, validation_tokens=count)
        say(f"{directory.name}: validation loss {total.item() / count:.5f} of {count} tokens")

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directories", nargs="+", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--log", required=True)
    parser.add_argument("--variants", nargs="+", default=["compiled"], choices=VARIANTS)
    parser.add_argument("--sequences", type=int, help="sequences of a forward; those of the file unless given")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    torch._dynamo.config.recompile_limit = 64
    log, session = Log(arguments.log), Session(arguments.directories[0], arguments)
    for name in arguments.variants:
        for directory in arguments.directories:
            try:
                session.train(directory, name, log)
            except torch.OutOfMemoryError as error:  # the other variants may need less
                say(f"{directory.name} {name}: {str(error).splitlines()[0]}")
            gc.collect()
            torch.cuda.empty_cache()


main()
