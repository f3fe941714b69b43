"""vLLM's own offline `LLM.chat` on the prompts of a batch file, in a process of its own: prints tokens and seconds.

python benchmarks/_offline_chat.py INPUT.jsonl MODEL_DIRECTORY MAX_NUM_SEQS
"""

import json
import sys
import time
from pathlib import Path

from _servers import KV_CACHE_GIB, MAX_MODEL_LEN


def main(source: str, model: str, max_num_seqs: str) -> None:
    from vllm import LLM, SamplingParams

    bodies = [json.loads(line)["body"] for line in Path(source).read_text(encoding="utf-8").splitlines()]
    llm = LLM(
        model,
        max_model_len=MAX_MODEL_LEN,
        dtype="bfloat16",
        kv_cache_memory_bytes=int(KV_CACHE_GIB * 2**30),
        block_size=32,
        enforce_eager=True,
        enable_chunked_prefill=False,
        max_num_batched_tokens=MAX_MODEL_LEN,
        max_num_seqs=int(max_num_seqs),
    )
    params = SamplingParams(temperature=0, max_tokens=bodies[0]["max_tokens"], ignore_eos=True)
    begin = time.perf_counter()
    outputs = llm.chat([body["messages"] for body in bodies], params, use_tqdm=False)
    elapsed = time.perf_counter() - begin
    print(json.dumps({"tokens": sum(len(output.outputs[0].token_ids) for output in outputs), "seconds": elapsed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
