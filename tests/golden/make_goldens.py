"""Writes the golden files beside this script: a tiny Llama's logits, loss, gradients and ten AdamW steps by PyTorch.

Run:  python tests/golden/make_goldens.py
README.md says what each file holds. Deterministic: the same machine writes the same bytes.
"""

import pathlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file

V, C, L, H, K, D, FF = 61, 32, 2, 4, 2, 8, 40
EPS, THETA = 1e-5, 10000.0
N = 24  # tokens of a micro-batch
ADAMW_STEPS = 10
ADAMW_SEED = 300  # no gradient element so near 0 that fp32 and fp64 steps part (README.md)
IGNORED = -100


# ---- the reference model: weights are a dict of tensors, activations [N, C], one dense mask ----


def statistic(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def rmsnorm(x, weight):
    wide = x.to(statistic(x.dtype))
    normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS)
    return weight * normed.to(x.dtype)


def rope_table(positions, dtype):
    inverse = THETA ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    angles = positions.double()[:, None] * inverse
    angles = torch.cat([angles, angles], -1)[:, None, :]  # [N, 1, D]: the same for every head
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rope(x, table):
    cos, sin = table
    first, second = x[..., : D // 2], x[..., D // 2 :]
    return x * cos + torch.cat([-second, first], -1) * sin


def attention_mask(cu_seqlens, window):
    """[N, N], true where token i attends token j: same document, j <= i, i - j < window."""
    document = torch.searchsorted(cu_seqlens.long(), torch.arange(N), right=True)
    distance = torch.arange(N)[:, None] - torch.arange(N)[None, :]
    near = distance < window if window else torch.ones_like(distance, dtype=torch.bool)
    return (document[:, None] == document[None, :]) & (distance >= 0) & near


def attention(qkv, table, mask):
    q, k, v = qkv.view(N, H + 2 * K, D).split([H, K, K], 1)
    q, k = rope(q, table), rope(k, table)
    k, v = (t.repeat_interleave(H // K, 1) for t in (k, v))
    scores = torch.matmul(q.transpose(0, 1), k.permute(1, 2, 0)) * D**-0.5  # [H, N, N]
    scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(-1, dtype=statistic(qkv.dtype)).to(qkv.dtype)
    return torch.matmul(weights, v.transpose(0, 1)).transpose(0, 1).reshape(N, H * D)


def mlp(x, gate_up, down):
    gate, up = F.linear(x, gate_up).split(FF, -1)
    return F.linear(F.silu(gate) * up, down)


def forward(w, tokens, positions, mask):
    x = F.embedding(tokens, w["embed.weight"])
    table = rope_table(positions, x.dtype)
    for i in range(L):
        layer = f"layers.{i}."
        qkv = F.linear(rmsnorm(x, w[layer + "attn_norm.weight"]), w[layer + "qkv.weight"])
        x = x + F.linear(attention(qkv, table, mask), w[layer + "o.weight"])
        h = rmsnorm(x, w[layer + "mlp_norm.weight"])
        x = x + mlp(h, w[layer + "gate_up.weight"], w[layer + "down.weight"])
    return F.linear(rmsnorm(x, w["norm.weight"]), w.get("head.weight", w["embed.weight"]))


def loss_sum(logits, targets):
    """Sum over counted targets, in fp32 (fp64 for fp64 logits)."""
    return F.cross_entropy(logits.to(statistic(logits.dtype)), targets, ignore_index=IGNORED, reduction="sum")


# ---- cases ----


@dataclass
class Case:
    tied: bool
    lengths: list  # of the documents
    max_docs: int
    window: int = 0
    bf16: bool = True
    adamw: bool = False

    @property
    def cu_seqlens(self):
        ends = torch.tensor([0] + self.lengths).cumsum(0)
        return torch.cat([ends, ends[-1:].repeat(self.max_docs - len(self.lengths))])

    @property
    def positions(self):
        return torch.cat([torch.arange(n) for n in self.lengths])

    @property
    def mask(self):
        return attention_mask(self.cu_seqlens, self.window)


BATCH = dict(lengths=[12, 12], max_docs=2)
PACKED = dict(lengths=[5, 1, 11, 7], max_docs=6)
CASES = {
    "llama_tied_batch": Case(tied=True, **BATCH, adamw=True),
    "llama_tied_packed": Case(tied=True, **PACKED),
    "llama_untied_batch": Case(tied=False, **BATCH),
    "llama_untied_packed": Case(tied=False, **PACKED, adamw=True),
    "llama_untied_window": Case(tied=False, **BATCH, window=4, bf16=False),
}


def weight_shapes(tied):
    shapes = {"embed.weight": [V, C]}
    for i in range(L):
        layer = f"layers.{i}."
        shapes[layer + "attn_norm.weight"] = [C]
        shapes[layer + "qkv.weight"] = [(H + 2 * K) * D, C]
        shapes[layer + "o.weight"] = [C, H * D]
        shapes[layer + "mlp_norm.weight"] = [C]
        shapes[layer + "gate_up.weight"] = [2 * FF, C]
        shapes[layer + "down.weight"] = [C, FF]
    shapes["norm.weight"] = [C]
    return shapes if tied else shapes | {"head.weight": [V, C]}


def random_weights(tied):
    generator = torch.Generator().manual_seed(1)
    return {
        name: 1 + 0.1 * torch.randn(shape, generator=generator)
        if len(shape) == 1
        else 0.3 * torch.randn(shape, generator=generator)
        for name, shape in weight_shapes(tied).items()
    }


def random_tokens(case, seed):
    """Each document is drawn one token longer than it is, so its last token has a target; three are ignored."""
    generator = torch.Generator().manual_seed(seed)
    documents = [torch.randint(0, V, (n + 1,), generator=generator) for n in case.lengths]
    tokens = torch.cat([d[:-1] for d in documents])
    targets = torch.cat([d[1:] for d in documents])
    targets[torch.randperm(N, generator=generator)[:3]] = IGNORED
    return tokens, targets


# ---- what is stored ----


def leaves(weights, dtype):
    return {name: w.to(dtype, copy=True).requires_grad_() for name, w in weights.items()}


def answers(case, weights, tokens, targets, dtype):
    """Logits, loss and gradients of the loss sum, computed in `dtype`."""
    w = leaves(weights, dtype)
    logits = forward(w, tokens, case.positions, case.mask)
    loss = loss_sum(logits, targets)
    loss.backward()
    return logits.detach(), loss.detach().view(1), {name: p.grad for name, p in w.items()}


def train(case, weights, dtype=torch.float32):
    """Ten AdamW steps on the mean loss, fresh tokens each, the gradient's norm clipped to 1."""
    w = leaves(weights, dtype)
    groups = [
        {"params": [p for p in w.values() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in w.values() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), eps=1e-8, foreach=False, fused=False)
    steps = [random_tokens(case, ADAMW_SEED + step) for step in range(ADAMW_STEPS)]
    losses, norms = [], []
    for tokens, targets in steps:
        optimizer.zero_grad()
        loss = loss_sum(forward(w, tokens, case.positions, case.mask), targets) / (targets >= 0).sum()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(w.values(), 1.0).detach())
        optimizer.step()
        losses.append(loss.detach())
    out = {
        "tokens": torch.stack([t for t, _ in steps]),
        "targets": torch.stack([t for _, t in steps]),
        "losses": torch.stack(losses),
        "norms": torch.stack(norms),
    }
    return out | {f"final/{name}": p.detach() for name, p in w.items()}


def stored(tensor):
    return tensor.to(torch.float32 if tensor.is_floating_point() else torch.int32).contiguous()


def prefixed(prefix, tensors):
    return {prefix + name: t for name, t in tensors.items()}


def golden(case):
    weights = random_weights(case.tied)
    tokens, targets = random_tokens(case, seed=2)
    logits, loss, grads = answers(case, weights, tokens, targets, torch.float64)
    check_against_transformers(case, weights, tokens, targets, logits, grads)
    out = {
        "in/tokens": tokens,
        "in/targets": targets,
        "in/positions": case.positions,
        "in/cu_seqlens": case.cu_seqlens,
        "f32/logits": logits,
        "f32/loss": loss,
        "f32/count": (targets >= 0).sum().view(1),
    }
    out |= prefixed("w/", weights) | prefixed("g/", grads)
    if case.bf16:
        logits, loss, grads = answers(case, weights, tokens, targets, torch.bfloat16)
        out |= {"bf16/logits": logits, "bf16/loss": loss} | prefixed("bf16/g/", grads)
    if case.adamw:
        out |= prefixed("adamw/", train(case, weights))
    return {name: stored(t) for name, t in out.items()}


# ---- the reference model against transformers ----


def transformers_names(weights):
    """The same weights, cut and named as transformers has them."""
    out = {"model.embed_tokens.weight": weights["embed.weight"], "model.norm.weight": weights["norm.weight"]}
    out["lm_head.weight"] = weights.get("head.weight", weights["embed.weight"])
    for i in range(L):
        ours, theirs = f"layers.{i}.", f"model.layers.{i}."
        q, k, v = weights[ours + "qkv.weight"].split([H * D, K * D, K * D])
        gate, up = weights[ours + "gate_up.weight"].split(FF)
        out |= prefixed(theirs + "self_attn.", {"q_proj.weight": q, "k_proj.weight": k, "v_proj.weight": v})
        out[theirs + "self_attn.o_proj.weight"] = weights[ours + "o.weight"]
        out |= prefixed(theirs + "mlp.", {"gate_proj.weight": gate, "up_proj.weight": up})
        out[theirs + "mlp.down_proj.weight"] = weights[ours + "down.weight"]
        out[theirs + "input_layernorm.weight"] = weights[ours + "attn_norm.weight"]
        out[theirs + "post_attention_layernorm.weight"] = weights[ours + "mlp_norm.weight"]
    return out


def transformers_model(case, weights):
    """LlamaForCausalLM; Mistral where there is a window (the same model otherwise)."""
    shape = dict(
        vocab_size=V, hidden_size=C, intermediate_size=FF, num_hidden_layers=L, num_attention_heads=H,
        num_key_value_heads=K, head_dim=D, rms_norm_eps=EPS, max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": THETA}, tie_word_embeddings=case.tied,
        attn_implementation="eager", bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    if case.window:
        config = transformers.MistralConfig(**shape, sliding_window=case.window)
        model = transformers.MistralForCausalLM(config)
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape))
    model.load_state_dict(transformers_names(weights))
    return model.eval()


def check_close(what, ours, theirs, bound):
    error = (ours.double() - theirs.double()).abs().max().item()
    assert error <= bound, f"{what}: differs from transformers by {error}, more than {bound}"


def check_against_transformers(case, weights, tokens, targets, logits, grads):
    """fp32 transformers, one document at a time: logits within 1e-5, gradients within 1e-5 of their largest element."""
    model = transformers_model(case, weights)
    theirs = torch.cat([model(d[None]).logits[0] for d in tokens.split(case.lengths)])
    check_close("logits", logits, theirs, 1e-5)
    loss_sum(theirs, targets).backward()
    ours = transformers_names(grads)
    for name, p in model.named_parameters():
        check_close(name, ours[name], p.grad, 1e-5 * p.grad.abs().max().item())


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    source = f"make_goldens.py, torch {torch.__version__}, transformers {transformers.__version__}"
    for name, case in CASES.items():
        path = pathlib.Path(__file__).parent / f"{name}.safetensors"
        save_file(golden(case), path, metadata={"source": source})
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
