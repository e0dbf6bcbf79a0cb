"""Writes the golden files of a tiny GPT-2 beside this script: logits, loss and gradients by transformers.

Run:  python tests/golden/make_gpt2_goldens.py
README.md says what each file holds. Deterministic: the same machine writes the same bytes.
"""

import pathlib

import torch
import transformers
from make_goldens import BATCH, C, FF, H, IGNORED, L, PACKED, V, Case, loss_sum, prefixed, random_tokens, stored
from safetensors.torch import save_file

POSITIONS = 64
CASES = {"gpt2_batch": Case(tied=True, **BATCH), "gpt2_packed": Case(tied=True, **PACKED)}

# centavo's name, transformers' name, and whether a projection stores its weight [in, out]
LAYER = {
    "attn_norm": ("ln_1", False), "qkv": ("attn.c_attn", True), "o": ("attn.c_proj", True),
    "mlp_norm": ("ln_2", False), "up": ("mlp.c_fc", True), "down": ("mlp.c_proj", True),
}  # fmt: skip


def names():
    """centavo's name of each tensor: transformers' name and whether it is transposed."""
    table = {"embed.weight": ("transformer.wte.weight", False), "position_embed.weight": ("transformer.wpe.weight", False)}
    for i in range(L):
        for ours, (theirs, transposed) in LAYER.items():
            theirs = f"transformer.h.{i}.{theirs}"
            table[f"layers.{i}.{ours}.weight"] = (theirs + ".weight", transposed)
            table[f"layers.{i}.{ours}.bias"] = (theirs + ".bias", False)
    table |= {f"norm.{kind}": (f"transformer.ln_f.{kind}", False) for kind in ("weight", "bias")}
    return table


def in_centavos_words(tensors):
    return {ours: tensors[theirs].T if transposed else tensors[theirs] for ours, (theirs, transposed) in names().items()}


def new_model():
    config = transformers.GPT2Config(
        vocab_size=V, n_positions=POSITIONS, n_embd=C, n_layer=L, n_head=H, n_inner=FF, layer_norm_epsilon=1e-5,
        activation_function="gelu_new", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, tie_word_embeddings=True,
        attn_implementation="eager", bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config).eval()


def set_random_weights(model):
    """Matrices 0.3 normal, norm weights 1 + 0.1 normal, biases 0.1 normal, in f32."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            is_norm_weight = p.dim() == 1 and name.endswith(".weight")
            p.copy_(1 + 0.1 * noise if is_norm_weight else (0.3 if p.dim() > 1 else 0.1) * noise)


def answers(weights, case, tokens, targets, dtype):
    """Logits, loss and gradients of the loss sum, one document at a time, all in `dtype`."""
    model = new_model()
    model.load_state_dict(weights, strict=True)
    model.to(dtype)
    logits = torch.cat([model(d[None]).logits[0] for d in tokens.split(case.lengths)])
    loss = loss_sum(logits, targets)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return logits.detach(), loss.detach().view(1), in_centavos_words(gradients)


def golden(case):
    model = new_model()
    set_random_weights(model)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tokens, targets = random_tokens(case, seed=2)
    logits, loss, grads = answers(weights, case, tokens, targets, torch.float64)
    out = {
        "in/tokens": tokens,
        "in/targets": targets,
        "in/positions": case.positions,
        "in/cu_seqlens": case.cu_seqlens,
        "f32/logits": logits,
        "f32/loss": loss,
        "f32/count": (targets != IGNORED).sum().view(1),
        "bf16/logits": answers(weights, case, tokens, targets, torch.bfloat16)[0],
    }
    out |= prefixed("w/", in_centavos_words(weights)) | prefixed("g/", grads)
    return {name: stored(t) for name, t in out.items()}


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    source = f"make_gpt2_goldens.py, torch {torch.__version__}, transformers {transformers.__version__}"
    for name, case in CASES.items():
        path = pathlib.Path(__file__).parent / f"{name}.safetensors"
        save_file(golden(case), path, metadata={"source": source})
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
