"""What transformers makes of the same loads: in its own process, without HTTP, in bf16.

    transformers_peer.py FOLDER THREADS

Each line of the standard input asks for one measurement: `SEED`. Its answer is a line of JSON, tokens a second: `one`, `steady` and `whole` of eight
sequences in one batch, `prefill`. The first line says that the model is loaded.
"""

import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM

PROMPT, ANSWER, LONG_PROMPT, STREAMS = 64, 128, 512, 8


def main() -> None:
    torch.set_num_threads(int(sys.argv[2]))
    network = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16).eval()
    vocabulary = network.config.vocab_size

    def seconds(prompts: torch.Tensor, count: int) -> float:
        start = time.perf_counter()
        ids = network.generate(
            prompts, attention_mask=torch.ones_like(prompts), do_sample=False, max_new_tokens=count, min_new_tokens=count, pad_token_id=3
        )
        assert ids.shape[1] == prompts.shape[1] + count, ids.shape
        return time.perf_counter() - start

    def measured(seed: int) -> dict:
        torch.manual_seed(seed)

        def prompts(rows: int, length: int) -> torch.Tensor:
            return torch.randint(300, vocabulary, (rows, length))

        one = prompts(1, PROMPT)
        first = seconds(one, 1)
        rate_of_one = (ANSWER - 1) / (seconds(one, ANSWER) - first)
        eight = prompts(STREAMS, PROMPT)
        first = seconds(eight, 1)
        whole = seconds(eight, ANSWER)
        prefill = min(seconds(prompts(1, LONG_PROMPT), 1) for _ in range(4))
        return dict(one=rate_of_one, steady=STREAMS * (ANSWER - 1) / (whole - first), whole=STREAMS * ANSWER / whole, prefill=LONG_PROMPT / prefill)

    with torch.inference_mode():
        measured(0)
        print("ready", flush=True)
        for line in sys.stdin:
            print(json.dumps(measured(int(line))), flush=True)


if __name__ == "__main__":
    main()
