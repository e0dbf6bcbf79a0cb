"""The models of bench/cpu_step.cpp, bench/cpu_step.py and bench/torch_step.py."""

# hidden, layers, heads, intermediate, vocabulary, sequences, tokens of a sequence; as in bench/cpu_step.cpp
SIZES = {
    "1m": (128, 4, 4, 344, 4096, 16, 256),
    "10m": (384, 6, 6, 1024, 4096, 8, 256),
    "30m": (512, 8, 8, 1376, 8192, 4, 512),
    "124m": (768, 12, 12, 2048, 50304, 2, 512),
}
