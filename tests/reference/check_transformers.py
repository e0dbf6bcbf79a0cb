"""Do transformers load what centavo exports, and compute the same?

    CENTAVO_KEEP=/tmp/exports build/cpu-release/model_test --gtest_filter='ModelDirectory.ALoadedModel*'
    python3 -m venv build/venv && build/venv/bin/pip install torch transformers safetensors
    build/venv/bin/python tests/reference/check_transformers.py /tmp/exports

For each directory NAME (Llama, Mistral, Qwen2, GPT-2) with logits NAME.json (of the tokens below, as centavo computed them):
loads it with AutoModelForCausalLM and asserts that no key is missing, unexpected or of another shape; that every weight
has the file's dtype; that saved again it has the same tensors, which is what centavo reads; and that the logits agree, by
norm, within 1e-5 in float32. In bfloat16 both sides round every activation, each in its own places: there the two are
compared with the same weights computed in float64, and centavo's error may be at most 1.25 times that of transformers.
"""

import json
import pathlib
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

TOKENS = [(7 * t * t + 3) % 61 for t in range(12)]


def distance(a, b):
    return ((a - b).norm() / b.norm()).item()


def load(path, dtype):
    model, info = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, output_loading_info=True, attn_implementation="eager"
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not info.get(kind), f"{path}: {kind}: {info[kind]}"
    return model


def logits(model):
    with torch.no_grad():
        return model(torch.tensor([TOKENS])).logits[0].double()


def check_saved_again(path, model):
    with tempfile.TemporaryDirectory() as again:
        model.save_pretrained(again)
        ours, theirs = (load_file(pathlib.Path(p) / "model.safetensors") for p in (path, again))
    assert ours.keys() == theirs.keys(), f"{path}: {ours.keys() ^ theirs.keys()}"
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), f"{path}: {name}"


def check(path):
    config = AutoConfig.from_pretrained(path)
    model = load(path, "auto")
    check_saved_again(path, model)
    assert {p.dtype for p in model.parameters()} == {config.dtype}, f"{path}: {config.dtype}"
    ours = torch.tensor(json.loads(path.with_suffix(".json").read_text())["logits"], dtype=torch.float64)
    ours = ours.view(len(TOKENS), config.vocab_size)
    theirs = logits(model)
    apart = distance(ours, theirs)
    line = f"{path.name:<24}{type(model).__name__:<22}{str(config.dtype):<16}apart {apart:.1e}"
    if config.dtype == torch.float32:
        assert apart < 1e-5, line
    else:
        exact = logits(load(path, torch.float64))
        errors = distance(ours, exact), distance(theirs, exact)
        line += f"  from float64: centavo {errors[0]:.1e}, transformers {errors[1]:.1e}"
        assert errors[0] <= 1.25 * errors[1], line
    print(line)


def main():
    paths = sorted(p for p in pathlib.Path(sys.argv[1]).iterdir() if p.is_dir() and p.with_suffix(".json").exists())
    assert paths, f"no exports in {sys.argv[1]}"
    for path in paths:
        check(path)
    print(f"{len(paths)} directories agree")


if __name__ == "__main__":
    main()
